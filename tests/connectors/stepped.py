"""A connector in several steps and its target: a careless ledger in this process, reached by plain calls.

It books what comes twice twice, so that its sums convict. For the fault suite, and for planted bugs.
"""

from collections import Counter
from decimal import Decimal

from gateway.connectors.base import (
    BookedOrder,
    Capabilities,
    ConnectorError,
    Health,
    Lookup,
    LookupKind,
    MappingError,
    Outcome,
    OutcomeKind,
    Rendered,
)
from gateway.contract import Booked

STEPS = 3
KINDS = {
    "busy": Outcome(OutcomeKind.BUSY, "locked"),
    "refused": Outcome(OutcomeKind.BUSINESS_REJECT, "closed", "CLOSED"),
    "login_expired": Outcome(OutcomeKind.AUTH, "expired"),
    "html": Outcome(OutcomeKind.PROTOCOL, "a page"),
}


class Ledger:
    """What is booked: message id, key, step, seq of the last booking."""

    def __init__(self, **can):
        self.can = can
        self.away = False
        self.faults = []
        self.bookings = []
        self.accepted = {}
        self.refuse_later = 0
        self.asked = Counter()
        self.later = False
        #: What each reversal was rendered with, by its key.
        self.taken_back = {}

    def book(self, posting):
        assert posting.references == tuple(f"R-{posting.key}-{step}" for step in range(posting.step)), posting
        assert posting.rendered.body == f"{posting.key} step {posting.step}".encode()
        self.bookings.append((posting.message_id, posting.key, posting.step))


class Stepped:
    """A connector in so many steps."""

    def __init__(self, ledger, steps=STEPS):
        self.ledger = ledger
        self.steps = steps

    @property
    def capabilities(self):
        return Capabilities(orders=False, **self.ledger.can)

    async def open(self):
        pass

    async def close(self):
        pass

    async def fetch_orders(self, _cursor):
        raise ConnectorError("no orders")

    def render(self, confirmation):
        try:
            key = confirmation["idempotency_key"]
            _ = confirmation["order_id"], confirmation["operation"], confirmation["seq"], confirmation["qty"]["good"]
        except KeyError as error:
            raise MappingError(f"{error}: missing") from error
        if "reverses" in confirmation:
            self.ledger.taken_back[key] = confirmation["reverses_references"]
        made = [Rendered(f"{key} step {step}".encode(), "text/plain", f"n{step}") for step in range(self.steps)]
        return made[0]._replace(more=tuple(made[1:]))

    async def baseline(self, posting):
        if self.ledger.away:
            raise ConnectorError("away")
        return str(len(self.ledger.bookings)).encode()

    async def send(self, posting):
        ledger = self.ledger
        if ledger.away:
            return Outcome(OutcomeKind.NOT_SENT, "away")
        fault = ledger.faults.pop(0) if ledger.faults else ""
        if fault in KINDS:
            return KINDS[fault]
        if fault == "lost_request":
            return Outcome(OutcomeKind.UNCERTAIN, "cut")
        reference = f"R-{posting.key}-{posting.step}"
        if ledger.later:
            ledger.accepted[posting.message_id] = posting
            outcome = Outcome(OutcomeKind.ACCEPTED, reference=f"A-{reference}")
        else:
            ledger.book(posting)
            goods = f"deficit {posting.step}" if fault == "no_goods" else ""
            outcome = Outcome(OutcomeKind.POSTED, reference=reference, goods_error=goods)
        return Outcome(OutcomeKind.UNCERTAIN, "no answer") if fault in {"lost_answer", "half_answer"} else outcome

    async def lookup(self, posting):
        ledger = self.ledger
        if ledger.away:
            return Lookup(LookupKind.UNKNOWN, detail="away")
        ledger.asked[posting.message_id] += 1
        if ledger.can.get("baseline"):
            assert posting.baseline is not None
            new = ledger.bookings[int(posting.baseline) :]
            there = any(one[0] == posting.message_id for one in new)
        else:
            there = any(one[0] == posting.message_id for one in ledger.bookings)
        if there:
            return Lookup(LookupKind.FOUND, f"R-{posting.key}-{posting.step}")
        if posting.message_id in ledger.accepted:
            if ledger.asked[posting.message_id] < 2:
                return Lookup(LookupKind.ACCEPTED, "A")
            if ledger.refuse_later:
                ledger.refuse_later -= 1
                del ledger.accepted[posting.message_id]
                return Lookup(LookupKind.REFUSED, detail="period closed", code="PERIOD_CLOSED")
            ledger.book(ledger.accepted.pop(posting.message_id))
            return Lookup(LookupKind.FOUND, f"R-{posting.key}-{posting.step}")
        return Lookup(LookupKind.ABSENT)

    async def probe(self):
        return Health(not self.ledger.away, "away" if self.ledger.away else "there")

    async def booked(self, order):
        return BookedOrder(order)


class Bench:
    def __init__(self, document, *, later=False, steps=STEPS, **can):
        self.ledger = Ledger(**can)
        self.ledger.later = later
        self.document = document
        self.steps = steps

    def build(self):
        return Stepped(self.ledger, self.steps)

    def release(self, order):
        pass

    def take_away(self):
        self.ledger.away = True

    def bookings(self, key):
        return sum(one[1] == key for one in self.ledger.bookings) + sum(
            one.key == key for one in self.ledger.accepted.values()
        )

    def fault(self, name, count=1):
        if name == "slow_booking":
            return False
        self.ledger.faults += [name] * count
        return True

    def working(self):
        return False

    def booked(self):
        # All pieces are in the last step, the steps before it move none.
        return [
            Booked(key, Decimal(10 * (step == self.steps - 1)), Decimal(step == self.steps - 1), str(step))
            for _, key, step in self.ledger.bookings
        ]
