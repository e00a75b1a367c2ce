"""What persons decide about postings that wait for them: retry, release, edit, post today, discard.

Each is written into the audit trail in the transaction that changes the posting. A retry sends the same key and
the same bytes; a release does so too, and the target is told that a person has seen its warning. An edit is a
correction of the confirmation (``correct_verbs``): the old key becomes void, a new one says the corrected numbers, and
the sums of the order stay right.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import structlog

from buffer.entry import GOODS_ERROR, OPEN_STATES, RELEASED_FROM, RETRIED_FROM, SUPERSEDED_FROM, OutboxState, Settlement
from buffer.errors import OutboxError
from gateway.access.caller import CALLER
from gateway.asking.refusing import of_entry, of_posting
from gateway.control import RequestError, text_of
from gateway.core.access.permissions import Action
from gateway.core.audit.entry import AuditEntryError, Change, EntryContent
from gateway.core.audit.signature import MEANINGS
from gateway.core.audit.told import Told, plain
from gateway.core.confirming.hold_back import Delivery
from gateway.core.orders.erp_notice import BESIDE
from gateway.forwarder.advice import suggested_for
from gateway.verbs.correct_verbs import CorrectVerbs, which_of
from gateway.work_unit.ledgers import delivery_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buffer.entry import OutboxEntry
    from gateway.audit.auditing import Auditing
    from gateway.control import Verb
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

#: How many open postings are told in one answer; more are refused, because half of them would look like all.
OPEN_MAX: Final = 5_000
#: How often it is looked whether a machine shows what is committed, and the seconds in between: 5 s in all.
SHOWN_LOOKS_MAX: Final = 1_000
SHOWN_LOOK_S: Final = 0.005
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
            "outbox.post_today": self._post_today,
            "outbox.discard": self._discard,
            "outbox.material-posted": self._material_posted,
        }

    async def _open_postings(self, _request: Mapping[str, Any]) -> Any:
        """Every one of them at one moment: what is in neither this answer nor the ERP's books is lost.

        Whoever asks for the status next finds no piece of them there as not yet confirmed.
        """
        found, journal = await self._parts.outbox.not_over(OPEN_MAX + 1)
        await self._shown(journal)
        if len(found) > OPEN_MAX:
            text = f"more than {OPEN_MAX} postings are open"
            raise RequestError(text, guard="BUSY", what_to_do="list them in pages: linegate outbox list --state STATE")
        return [_posting(entry) for entry in reversed(found)]

    async def _shown(self, journal: Mapping[str, int]) -> None:
        """Wait until every machine shows what was committed: the database is ahead of it by a turn of the event loop.

        Raises RequestError where that takes too long: a slow card holds up the step behind its commit.
        """
        behind: list[str] = []
        for _ in range(SHOWN_LOOKS_MAX):
            behind = sorted(name for name, seq in journal.items() if self._is_behind(name, seq))
            if not behind:
                return
            await asyncio.sleep(SHOWN_LOOK_S)
        raise RequestError(
            f"{', '.join(behind)}: does not show yet what is committed, found so {SHOWN_LOOKS_MAX} times",
            guard="BUSY",
            what_to_do="ask again; if it stays, look at the storage device and the log",
        )

    def _is_behind(self, name: str, seq: int) -> bool:
        # A machine that was removed from the configuration has a journal, and shows nothing.
        runner = self._parts.runners.get(name)
        return runner is not None and runner.state.journal_seq < seq

    async def _retry(self, request: Mapping[str, Any]) -> Any:
        which = which_of(request)
        reason = text_of(request, "reason") if request.get("reason") else ""
        try:
            audit = self._told(await self._found(which), RETRIED_FROM, "ready", reason)
            done = await self._parts.outbox.retry(which, self._clock.now_ns(), audit=audit)
        except OutboxError as error:
            raise of_posting(error, which) from error
        except AuditEntryError as error:
            raise of_entry(error) from error
        return self._decided(done, audit)

    async def _release(self, request: Mapping[str, Any]) -> Any:
        """What is held goes out now; what is parked goes again, and its target may pass over the warning it gave."""
        which, who, reason = which_of(request), text_of(request, "who"), text_of(request, "reason")
        try:
            audit = self._told(await self._found(which), RELEASED_FROM, "released", reason, Action.RELEASE_POSTING)
            done = await self._parts.outbox.release(which, self._clock.now_ns(), who=f"{who}: {reason}", audit=audit)
        except OutboxError as error:
            raise of_posting(error, which) from error
        except AuditEntryError as error:
            raise of_entry(error) from error
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
            raise of_posting(error, which) from error
        except AuditEntryError as error:
            raise of_entry(error) from error
        for entry in discarded:
            log.warning("posting discarded", target=entry.target, key=entry.key, who=who, reason=reason)
        return self._decided(discarded, audit)

    async def _material_posted(self, request: Mapping[str, Any]) -> Any:
        """The material of a booked confirmation that the target had not booked is there now, as a person says."""
        which, who, reason = which_of(request), text_of(request, "who"), text_of(request, "reason")
        found = [one for one in await self._found(which) if one.error_kind == GOODS_ERROR]
        if not found:
            text = (
                f"outbox, {which}: found nothing that was booked without its material, allowed: what status counts so"
            )
            raise RequestError(
                text, guard="GOODS_MOVEMENT", what_to_do="linegate outbox list --state posted shows them"
            )
        try:
            audit = self._told(found, (OutboxState.POSTED,), "posted", reason)
            done = await self._parts.outbox.material_posted(
                which, self._clock.now_ns(), who=f"{who}: {reason}", audit=audit
            )
        except OutboxError as error:
            raise of_posting(error, which) from error
        except AuditEntryError as error:
            raise of_entry(error) from error
        return self._decided(done, audit)

    async def _edit(self, request: Mapping[str, Any]) -> Any:
        """A parked confirmation with other numbers: a new key takes the place of the old one."""
        told = await self._parked(request, "edited")
        return await self._correct.table()["order.correct"]({**request, **told, "verb": "order.correct"})

    async def _post_today(self, request: Mapping[str, Any]) -> Any:
        """A parked confirmation of a closed period, the same with the date of today and a new key."""
        return await self._correct.post_today({**request, **await self._parked(request, "posted today")})

    async def _parked(self, request: Mapping[str, Any], what: str) -> dict[str, Any]:
        """Which confirmation it is. Raises RequestError where it is none that is surely not booked."""
        which = which_of(request)
        found = await self._found(which)
        one = next((entry for entry in found if entry.state is OutboxState.PARKED), None)
        if one is None:
            states = ", ".join(sorted({entry.state.value for entry in found})) or "not there"
            text = f"outbox, {which}: is {states} and cannot be {what}; allowed: a parked confirmation"
            raise RequestError(
                text,
                guard="PARKED",
                found=states,
                allowed="parked",
                what_to_do="linegate outbox list --state parked shows them",
            )
        if one.kind in {*BESIDE, "reversal"}:
            raise RequestError(
                f"outbox, {which}: found {one.kind}, allowed: a confirmation of pieces",
                guard="KIND",
                what_to_do="correct the confirmation that it is about",
            )
        if delivery_of(one) is not Delivery.PARKED:
            todo = suggested_for(one)
            text = f"outbox, {which}: may be booked ({one.error_kind}), and is not {what} before that is known; {todo}"
            raise RequestError(text, guard="MAY_BE_BOOKED", found=one.error_kind, what_to_do=todo)
        machine = str(json.loads(one.payload).get("machine", ""))
        return {"machine": machine, "order": one.order, "operation": one.operation, "confirmation": one.seq}

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
    quantities = document.get("qty") or NO_QUANTITIES  # an answer to an order, and a notice, has none
    return {
        "id": entry.id,
        "target": entry.target,
        "key": entry.key,
        "state": entry.state.value,
        "machine": document.get("machine") or "",
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
