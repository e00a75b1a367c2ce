"""The ERP of a history: books whatever it is sent, twice if it is sent twice, and writes down what it saw.

It stands behind the real connector, in place of the HTTP client: complete answers, or none. Each POST takes the next
fate. It knows keys only for look-ups. What it wrote down is checked here, from its own books alone.
"""

import asyncio
import email.utils
import json
from collections import Counter
from urllib.parse import unquote

from gateway.connectors.http import HttpAnswer, TransportError

S = 1_000_000_000
#: How long the server may still work on a request whose answer was lost; the gateway is told so.
SERVER_TIME_LIMIT_NS = 30 * S
#: What a request takes.
REQUEST_NS = S // 100
#: Failing requests a second, to one target (the budget for all of them together).
FAILURES_PER_S_MAX = 12
#: A refused posting is asked for again by nobody: so many POSTs of one key are possible at all between two decisions.
REFUSED_MAX = 3

FATES = (
    "refused", "lost", "answer lost", "late", "500", "500 booked", "429", "503 later", "html", "locked", "accepted",
    "accepted and lost", "other's answer", "die before booking", "die after booking",
)  # fmt: skip


class Died(BaseException):
    """The process ends here."""


class Erp:
    """``requests`` are (time, key, status) of POSTs; ``booked`` the documents in the order of booking."""

    def __init__(self, clock, rng):
        self.clock = clock
        self.rng = rng
        self.booked = []
        self.requests = []
        self.bodies = {}
        self.fates = []
        self.poisoned = set()
        self.refused = Counter()
        self.images = []
        self.wrong = []
        self._coming = []  # (when, document): is booked by then
        self._busy = Counter()
        self.not_before_ns = 0  # Retry-After; who dies forgets it

    # --- as the HTTP client ------------------------------------------------------------------------------------------

    async def request(self, method, path, *, query=None, headers=None, body=None, body_max_bytes=0):
        self.clock.advance(REQUEST_NS)
        self.settle()
        if method == "POST":
            return await self._post(headers["Idempotency-Key"], body)
        if path == "/orders":
            since = int((query or {}).get("since", 0))
            page = self.images[since : since + 2]
            return answer(200, {"cursor": str(since + len(page)), "orders": page})
        if path == "/health":
            return answer(200, {})
        return self._looked_up(unquote(path.rpartition("/confirmations/")[2]))

    async def close(self):
        """Nothing is open."""

    async def _post(self, key, body):
        document = json.loads(body)
        lane = (document["order_id"], document["operation"])
        if self._busy[lane]:
            self.wrong.append(f"{lane}: two under way at once")
        if self.bodies.setdefault(key, body) != body:
            self.wrong.append(f"{key}: sent with two contents")
        if document["idempotency_key"] != key:
            self.wrong.append(f"{key}: is not the key of what is in it, {document['idempotency_key']}")
        if self.clock.now_ns() < self.not_before_ns:
            self.wrong.append(f"{key}: sent {(self.not_before_ns - self.clock.now_ns()) / S} s before Retry-After")
        self._busy[lane] += 1
        try:
            for _ in range(3):
                await asyncio.sleep(0)
            found = self._fated(self.fates.pop(0) if self.fates else "ok", document, key)
        except TransportError:
            self.requests.append((self.clock.now_ns(), key, 0))
            raise
        finally:
            self._busy[lane] -= 1
        self.requests.append((self.clock.now_ns(), key, found.status))
        return found

    def _fated(self, fate, document, key):
        """What becomes of a POST: an answer, or a TransportError."""
        if document["order_id"] in self.poisoned:
            self.refused[key] += 1
            if self.refused[key] > REFUSED_MAX:
                self.wrong.append(f"{key}: refused, and sent {self.refused[key]} times")
            return answer(422, {"error": {"code": "ORDER_CLOSED", "message": "is closed"}})
        found = self._unbooked(fate, document)
        if found is None:
            self.booked.append(document)
            found = answer(201, {"reference": f"R{len(self.booked)}", "idempotency_key": key})
            if fate == "answer lost":
                raise TransportError("no answer", sent=True)
            if fate == "die after booking":
                raise Died
            if fate == "500 booked":
                found = answer(500, {"error": {"code": "OOPS", "message": "after the booking"}})
        return found

    def _unbooked(self, fate, document):
        """The answer where nothing is booked now, None where it is."""
        if fate in LOST:
            raise TransportError(fate, sent=LOST[fate])
        if fate == "die before booking":
            raise Died
        if fate in ("late", "accepted"):
            # Also what was taken over is booked in that time: the 202 may be lost with the process.
            self._coming.append((self.clock.now_ns() + self.rng.randint(1, SERVER_TIME_LIMIT_NS - S), document))
        if fate == "late":
            raise TransportError("no answer in time", sent=True)
        if fate in ("429", "503 later"):
            wait_s = self.rng.randint(2, 50)
            self.not_before_ns = self.clock.now_ns() + wait_s * S
            return answer(int(fate[:3]), {}, **{"retry-after": str(wait_s)})
        if fate == "other's answer" and self.booked:
            return answer(201, {"reference": "R1", "idempotency_key": self.booked[0]["idempotency_key"]})
        return ANSWERS.get(fate)

    def _looked_up(self, key):
        found = [one for one in self.booked if one["idempotency_key"] == key]
        if found:
            return answer(200, {"reference": "R", "idempotency_key": key})
        if self.booked and self.rng.random() < 0.3:  # somebody else's answer
            return answer(200, {"reference": "R1", "idempotency_key": self.booked[0]["idempotency_key"]})
        return answer(404, {"error": {"code": "NOT_FOUND", "message": "no such key"}})

    # --- its books ---------------------------------------------------------------------------------------------------

    def settle(self):
        """Book what was taken over and is due."""
        due = [one for one in self._coming if one[0] <= self.clock.now_ns()]
        self._coming = [one for one in self._coming if one not in due]
        self.booked += [document for _, document in sorted(due, key=lambda one: one[0])]

    @property
    def coming(self):
        """Whether something may still be booked by itself."""
        return bool(self._coming)

    def problems(self):
        """What must not be in its books, and how it must not be asked."""
        found = list(self.wrong)
        keys = Counter(one["idempotency_key"] for one in self.booked)
        found += [f"{key}: booked {count} times" for key, count in keys.items() if count > 1]
        lanes = {}
        for one in self.booked:
            lanes.setdefault((one["order_id"], one["operation"]), []).append(one["seq"])
        for lane, numbers in lanes.items():
            if numbers != list(range(1, len(numbers) + 1)):
                found.append(f"{lane}: booked in the order {numbers}")
        failed = [at for at, _, status in self.requests if not 200 <= status < 300]
        for number, at in enumerate(failed):
            ahead = failed[number : number + FAILURES_PER_S_MAX + 1]
            if len(ahead) > FAILURES_PER_S_MAX and ahead[-1] - at < S:
                found.append(f"more than {FAILURES_PER_S_MAX} failing requests in a second, from {at}")
                break
        return found


def answer(status, document, **headers):
    when = {"date": email.utils.formatdate(0, usegmt=True)}
    return HttpAnswer(status, {"content-type": "application/json", **when, **headers}, json.dumps(document).encode())


#: No answer: whether it may have left.
LOST = {"refused": False, "lost": True}
#: Answers of one that books nothing.
ANSWERS = {
    "500": answer(500, {"error": {"code": "OOPS", "message": "no"}}),
    "html": HttpAnswer(200, {"content-type": "text/html"}, b"<html>log in</html>"),
    "locked": answer(409, {"error": {"code": "LOCKED", "message": "somebody edits it"}}),
    "accepted": answer(202, {}),
    "accepted and lost": answer(202, {}),
}
