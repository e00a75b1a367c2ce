"""What persons decide about postings that wait for them: retry, release, edit, discard.

Each is written into the audit trail in the transaction that changes the posting. A retry sends the same key and
the same bytes; a release does so too, and the target is told that a person has seen its warning. An edit is a
correction of the confirmation (``correct_verbs``): the old key becomes void, a new one says the corrected numbers, and
the sums of the order stay right.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import structlog

from buffer.entry import OPEN_STATES, RELEASED_FROM, RETRIED_FROM, SUPERSEDED_FROM, OutboxState, Settlement
from buffer.errors import OutboxError
from gateway.caller import CALLER
from gateway.control import RequestError, text_of
from gateway.core.access.permissions import Action
from gateway.core.audit.entry import AuditEntryError, Change, EntryContent
from gateway.core.audit.signature import MEANINGS
from gateway.core.audit.told import Told, plain
from gateway.core.confirming.hold_back import Delivery
from gateway.core.orders.order_answer import ACK
from gateway.correct_verbs import CorrectVerbs, which_of
from gateway.forwarder.advice import suggested_for
from gateway.ledgers import delivery_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buffer.entry import OutboxEntry
    from gateway.auditing import Auditing
    from gateway.clock import SteadyClock
    from gateway.control import Verb
    from gateway.parts import Parts

PAGE_MAX: Final = 1000
NO_QUANTITIES: Final[dict[str, Any]] = {"good": "0", "scrap": [], "rework": "0", "test": "0", "hold": "0"}

log = structlog.get_logger(__name__)


class OutboxVerbs:
    """These verbs of one running gateway."""

    def __init__(self, parts: Parts, clock: SteadyClock, auditing: Auditing | None, correct: CorrectVerbs) -> None:
        self._parts = parts
        self._clock = clock
        self._auditing = auditing
        self._correct = correct

    def table(self) -> dict[str, Verb]:
        """Every verb by name."""
        return {
            "outbox.open": self._open_postings,
            "outbox.retry": self._retry,
            "outbox.release": self._release,
            "outbox.edit": self._edit,
            "outbox.discard": self._discard,
        }

    async def _open_postings(self, _request: Mapping[str, Any]) -> Any:
        found: list[dict[str, Any]] = []
        there = await self._parts.outbox.states()
        for state in (one for one in OPEN_STATES if one in there):
            found += [_posting(entry) for entry in await self._parts.outbox.page(state=state, limit=PAGE_MAX)]
        return sorted(found, key=lambda posting: posting["id"])

    async def _retry(self, request: Mapping[str, Any]) -> Any:
        which = which_of(request)
        reason = text_of(request, "reason") if request.get("reason") else ""
        try:
            audit = self._told(await self._found(which), RETRIED_FROM, "ready", reason)
            done = await self._parts.outbox.retry(which, self._clock.now_ns(), audit=audit)
        except OutboxError as error:
            raise RequestError(str(error)) from error
        except AuditEntryError as error:
            raise RequestError(str(error), guard="SIGNATURE") from error
        return self._decided(done, audit)

    async def _release(self, request: Mapping[str, Any]) -> Any:
        """What is held goes out now; what is parked goes again, and its target may pass over the warning it gave."""
        which, who, reason = which_of(request), text_of(request, "who"), text_of(request, "reason")
        try:
            audit = self._told(await self._found(which), RELEASED_FROM, "released", reason, Action.RELEASE_POSTING)
            done = await self._parts.outbox.release(which, self._clock.now_ns(), who=f"{who}: {reason}", audit=audit)
        except OutboxError as error:
            raise RequestError(str(error)) from error
        except AuditEntryError as error:
            raise RequestError(str(error), guard="SIGNATURE") from error
        for entry in done:
            log.warning("posting released", target=entry.target, key=entry.key, who=who, reason=reason)
        return self._decided(done, audit)

    async def _discard(self, request: Mapping[str, Any]) -> Any:
        which, who, reason = which_of(request), text_of(request, "who"), text_of(request, "reason")
        now_ns = self._clock.now_ns()
        try:
            await self._park_stranded(which, now_ns)
            audit = self._told(await self._found(which), SUPERSEDED_FROM, "superseded", reason)
            discarded = await self._parts.outbox.supersede(which, now_ns, who=f"{who}: {reason}", audit=audit)
        except OutboxError as error:
            raise RequestError(str(error)) from error
        except AuditEntryError as error:
            raise RequestError(str(error), guard="SIGNATURE") from error
        for entry in discarded:
            log.warning("posting discarded", target=entry.target, key=entry.key, who=who, reason=reason)
        return self._decided(discarded, audit)

    async def _edit(self, request: Mapping[str, Any]) -> Any:
        """A parked confirmation with other numbers: a new key takes the place of the old one."""
        which = which_of(request)
        found = await self._found(which)
        one = next((entry for entry in found if entry.state is OutboxState.PARKED), None)
        if one is None:
            states = ", ".join(sorted({entry.state.value for entry in found})) or "not there"
            text = f"outbox, {which}: is {states} and cannot be edited; allowed: a parked confirmation"
            raise RequestError(text, guard="PARKED", found=states, allowed="parked")
        if one.kind in {ACK, "reversal"}:
            raise RequestError(f"outbox, {which}: found {one.kind}, allowed: a confirmation of pieces", guard="KIND")
        if delivery_of(one) is not Delivery.PARKED:
            todo = suggested_for(one)
            text = f"outbox, {which}: may be booked ({one.error_kind}), and is not edited before that is known; {todo}"
            raise RequestError(text, guard="MAY_BE_BOOKED", found=one.error_kind, what_to_do=todo)
        machine = str(json.loads(one.payload).get("machine", ""))
        told = {"machine": machine, "order": one.order, "operation": one.operation, "confirmation": one.seq}
        return await self._correct.table()["order.correct"]({**request, **told, "verb": "order.correct"})

    async def _found(self, which: int | str) -> list[OutboxEntry]:
        if not isinstance(which, int):
            return await self._parts.outbox.page(key=which)
        one = await self._parts.outbox.entry(which)
        return [one] if one is not None else []

    async def _park_stranded(self, which: int | str, now_ns: int) -> None:
        """Nobody works on a posting without a connector, so it would never be parked, and never be given up."""
        for entry in await self._found(which):
            if entry.target in self._parts.forwarders or entry.state not in OPEN_STATES:
                continue
            if entry.state is not OutboxState.PARKED:
                text = f"no connector {entry.target!r} takes confirmations"
                settlement = Settlement(OutboxState.PARKED, now_ns, "", "stranded", "", text)
                await self._parts.outbox.settle(entry.id, settlement, now_ns)

    def _told(
        self,
        entries: Sequence[OutboxEntry],
        allowed: Sequence[OutboxState],
        becomes: str,
        reason: str,
        action: Action = Action.RESOLVE_POSTING,
    ) -> tuple[EntryContent, ...]:
        """What the audit trail is told of each posting that changes; where it is signed, also what the posting says."""
        caller = CALLER.get()
        if self._auditing is None or caller is None:
            return ()
        made: list[EntryContent] = []
        for one in (one for one in entries if one.state in allowed):
            told = Told(
                action.value,
                "confirmation",
                one.key,
                change=Change.MODIFY.value,
                field="state",
                old=plain({"state": one.state.value, "error": one.error_kind, "code": one.error_code}),
                new=plain({**(_said(one) if action in MEANINGS else {}), "state": becomes, "target": one.target}),
                order=one.order,
            )
            made += self._auditing.decision(told, caller.actor, reason)
        return tuple(made)

    def _decided(self, entries: list[OutboxEntry], audit: Sequence[EntryContent]) -> list[dict[str, Any]]:
        caller = CALLER.get()
        if caller is not None and audit:
            caller.told = True
        for name in {entry.target for entry in entries} & set(self._parts.forwarders):
            self._parts.forwarders[name].wake()
        return [_posting(entry) for entry in entries]


def _said(entry: OutboxEntry) -> dict[str, Any]:
    """What a signature is put under: the numbers of the confirmation, and its hash."""
    document = json.loads(entry.payload)
    return {name: document.get(name) for name in ("idempotency_key", "type", "qty", "hash")}


def _posting(entry: OutboxEntry) -> dict[str, Any]:
    document = json.loads(entry.payload)
    quantities = document.get("qty") or NO_QUANTITIES  # an answer to an order has none
    return {
        "id": entry.id,
        "target": entry.target,
        "key": entry.key,
        "state": entry.state.value,
        "machine": document.get("machine", ""),
        "order": entry.order,
        "operation": entry.operation,
        "seq": entry.seq,
        "kind": entry.kind,
        "good": int(quantities["good"]),
        "rework": int(quantities["rework"]),
        "hold": int(quantities["hold"]),
        "test": int(quantities["test"]),
        "scrap": sum(int(scrap["qty"]) for scrap in quantities["scrap"]),
        "attempts": entry.attempts,
        "step": entry.step,
        "steps": entry.steps,
        "error": entry.error_text,
    }
