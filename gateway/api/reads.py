"""What the API can be asked without changing anything: machines, orders, states, the outbox, whether it is ready.

Each answer is plain JSON, with times in UTC. Decides nothing, and asks nobody who he is.
"""

from __future__ import annotations

import asyncio
import heapq
import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from buffer import steps
from buffer.audit_chain import ChainReader, Wanted
from buffer.closing import records
from buffer.entry import OutboxState
from buffer.readonly import ReadOnlyStore
from gateway.api.problem import Problem, ProblemError, refuse, shown
from gateway.core.access.permissions import permitted
from gateway.core.audit.chain import anchor_text
from gateway.core.audit.entry import as_mapping
from gateway.core.document import utc
from gateway.core.instant import Instant
from gateway.core.orders.lifecycle import ActorRole
from gateway.core.state.report import By
from gateway.forwarder.advice import suggested_for
from gateway.own_thread import Turns
from gateway.shown.posting_times import latency_ms, posting_times
from gateway.shown.states_read import StatesError, read
from gateway.shown.states_text import document
from gateway.shown.status import to_json
from gateway.shown.views import named_job

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from buffer.entry import OutboxEntry
    from gateway.control import Verb
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

OUTBOX_LIMIT: Final = 50
#: Of a long page so many are written down at a time: nobody else waits for the whole of it.
POSTINGS_AT_A_TIME: Final = 50
AUDIT_LIMIT: Final = 50
DAYS_LIMIT: Final = 31
#: Of one answer; some 4 MB.
INTERVALS_MAX: Final = 10_000
MACHINES_SHOWN_MAX: Final = 20


class Reads:
    """These verbs of one running gateway."""

    def __init__(self, parts: Parts, clock: SteadyClock, database: Path) -> None:
        self._parts = parts
        self._clock = clock
        self._database = database
        # One at a time: each takes processor time from the counting. What nobody waits for any more holds up neither
        # another part nor the end of the process.
        self._long_reads = Turns("api-states")

    def table(self) -> dict[str, Verb]:
        """Every verb by name."""
        return {
            "health": self._health,
            "ready": self._ready,
            "me": self._me,
            "work_units": self._work_units,
            "work_unit": self._work_unit,
            "orders": self._orders,
            "states": self._states,
            "outbox": self._outbox,
            "posting": self._posting,
            "audit": self._audit,
            "audit.anchors": self._anchors,
            "days": self._days,
        }

    async def _health(self, _request: Mapping[str, Any]) -> Any:
        return {"status": "ok"}

    async def _ready(self, _request: Mapping[str, Any]) -> Any:
        """Raises StoreError where the database cannot be read."""
        await self._parts.outbox.targets()
        held_up = [name for name in self._parts.runners if name in self._parts.troubled()]
        if held_up:
            names = ", ".join(held_up[:MACHINES_SHOWN_MAX])
            todo = "see linegate status for what keeps them"
            raise ProblemError(Problem("NOT_READY", f"cannot go on now: {names}", todo=todo))
        return {"status": "ready", "machines": len(self._parts.runners)}

    async def _me(self, request: Mapping[str, Any]) -> Any:
        role = ActorRole(request["role"])
        return {
            "user": request["who"],
            "full_name": request["full_name"],
            "role": role.value,
            "expires": utc(request["expires_ns"]),
            "may": [action.value for action in permitted(role)],
        }

    async def _work_units(self, _request: Mapping[str, Any]) -> Any:
        return {"work_units": [self._view(name) for name in self._parts.runners]}

    async def _work_unit(self, request: Mapping[str, Any]) -> Any:
        self._known(request["machine"])
        return self._view(request["machine"])

    async def _orders(self, request: Mapping[str, Any]) -> Any:
        machines = list(self._parts.runners)
        if "machine" in request:
            self._known(request["machine"])
            machines = [request["machine"]]
        wanted = request.get("state")
        listed = [named_job(name, job) for name in machines for job in self._view(name)["queue"]]
        return {"orders": [job for job in listed if wanted in {None, job["state"]}]}

    async def _states(self, request: Mapping[str, Any]) -> Any:
        chosen = [name for name in ("shift", "day", "order") if name in request]
        if len(chosen) > 1 or (chosen and {"from", "to"} & set(request)):
            both = ", ".join(name for name in ("from", "to", "shift", "day", "order") if name in request)
            allowed = "from and to, or one of shift, day, order"
            raise refuse("BAD_FIELD", f"query: found {both} together, allowed: {allowed}")
        self._known(request["machine"])
        times = {f"{name}_utc_ns": int(Instant(request[name])) for name in ("from", "to") if name in request}
        by = request.get("by") or ("order" if "order" in request else "day" if "day" in request else "shift")
        which = {name: request[name] for name in chosen}
        try:
            return await self._long_reads.run(partial(self._states_now, request, times, by, which))
        except StatesError as error:
            raise refuse("NOT_FOUND", str(error)) from error

    def _states_now(self, request: Mapping[str, Any], times: dict[str, int], by: str, which: dict[str, str]) -> Any:
        with ReadOnlyStore(self._database) as store, store.moment():
            found = read(store, request["machine"], by=By(by), **times, **which)  # type: ignore[arg-type]  # names checked
            sums_only = request.get("sums") == "true"
            if len(found.row) > INTERVALS_MAX and not sums_only:
                text = f"intervals: found {len(found.row)}, allowed: {INTERVALS_MAX}"
                raise refuse("BAD_FIELD", text, todo="choose a shorter time, or sums=true")
            return document(found, sums_only=sums_only)

    async def _outbox(self, request: Mapping[str, Any]) -> Any:
        state = request.get("state")
        found = await self._parts.outbox.page(
            state=None if state is None else OutboxState(state),
            order=request.get("order"),
            key=request.get("key"),
            kind=request.get("kind"),
            before_id=request.get("before"),
            limit=request.get("limit", OUTBOX_LIMIT),
            contents=False,
        )
        postings: list[dict[str, Any]] = []
        for first in range(0, len(found), POSTINGS_AT_A_TIME):
            if first:
                await asyncio.sleep(0)
            postings += map(self._summary, found[first : first + POSTINGS_AT_A_TIME])
        return {"postings": postings}

    async def _posting(self, request: Mapping[str, Any]) -> Any:
        found = await self._parts.outbox.whole(request["number"])
        if found is None:
            raise refuse("NOT_FOUND", f"number: found {request['number']}: no such posting, or no longer")
        entry, message = found.entry, None
        if entry.body is not None:
            body = entry.body.decode("utf-8", errors="replace")
            message = {"content_type": entry.content_type, "name": entry.name, "body": body}
        answer = None
        if found.answer is not None:
            at_ns, attempt, said = found.answer
            told = {"status": said.status, "headers": dict(said.headers), "body": said.body}
            answer = {"at": self._named(at_ns), "attempt": attempt, **told}
        return {
            **self._summary(entry),
            **posting_times(entry.stamps, self._named),
            "suggested": suggested_for(entry),
            **found.links._asdict(),
            "confirmation": json.loads(entry.payload),
            "message": message,
            "messages": steps.told(found.steps, self._named),
            "answer": answer,
        }

    async def _audit(self, request: Mapping[str, Any]) -> Any:
        times = [int(Instant(request[name])) if name in request else None for name in ("from", "to")]
        wanted = Wanted(request.get("order"), request.get("who_did"), times[0], times[1], request.get("before"))
        limit = request.get("limit", AUDIT_LIMIT)
        return await self._long_reads.run(partial(self._audit_now, wanted, limit))

    def _audit_now(self, wanted: Wanted, limit: int) -> Any:
        with ChainReader.open(self._database) as reader:
            found = reader.newest(limit, wanted)
        entries = [as_mapping(one) for one in found]
        for entry in entries:
            entry["at"] = utc(entry["utc_ns"])
        return {"entries": entries}

    async def _anchors(self, request: Mapping[str, Any]) -> Any:
        return await self._long_reads.run(partial(self._anchors_now, request.get("limit", AUDIT_LIMIT)))

    def _anchors_now(self, limit: int) -> Any:
        with ChainReader.open(self._database) as reader:
            anchors = reader.anchors(limit)  # before the end: none may be behind it
            head = reader.head()
        return {
            "entries": head.seq,
            "hash": head.hash if head.seq else "",
            "anchors": [{"entry": one.seq, "line": anchor_text(one)} for one in anchors],
        }

    async def _days(self, request: Mapping[str, Any]) -> Any:
        return await self._long_reads.run(partial(self._days_now, request))

    def _days_now(self, request: Mapping[str, Any]) -> Any:
        found = records(self._database, day=request.get("day"), work_unit=request.get("machine"))
        newest = heapq.nlargest(request.get("limit", DAYS_LIMIT), found, key=lambda one: (one.end_ns, one.work_unit))
        return {"days": [json.loads(one.document) for one in newest]}

    def _summary(self, entry: OutboxEntry) -> dict[str, Any]:
        return {
            "number": entry.id,
            "key": entry.key,
            "state": entry.state.value,
            "target": entry.target,
            "order": entry.order,
            "operation": entry.operation,
            "seq": entry.seq,
            "kind": entry.kind,
            "attempts": entry.attempts,
            "lookups": entry.lookups,
            "created": self._named(entry.created_ns),
            "last_sent": self._named(entry.last_sent_ns),
            "settled": self._named(entry.settled_ns),
            "due": self._named(entry.due_ns),
            "event": self._named(entry.event_ns),
            "derived": self._named(entry.derived_ns),
            "latency_ms": latency_ms(entry.stamps),
            "reference": entry.reference,
            "step": entry.step,
            "steps": entry.steps,
            "released": bool(entry.released),
            "error": " ".join(filter(None, (entry.error_kind, entry.error_code, entry.error_text))),
        }

    def _named(self, steady_ns: int | None) -> str | None:
        return None if steady_ns is None else utc(self._clock.utc_ns(steady_ns))

    def _view(self, name: str) -> dict[str, Any]:
        return to_json(self._parts.work_unit_view(name), self._clock.utc_ns)

    def _known(self, name: str) -> None:
        if name not in self._parts.runners:
            known = ", ".join(list(self._parts.runners)[:MACHINES_SHOWN_MAX])
            raise refuse("NOT_FOUND", f"machine: found {shown(name)}, allowed: {known}")
