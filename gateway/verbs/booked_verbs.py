"""A person knows that a posting is booked at its target: where the target can be asked, it is asked first.

What the target says goes before the person's word: where it surely does not have it, or names another reference, he is
refused. Where it cannot say, his word counts. It sends nothing but that question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog

from buffer import booked
from buffer.booked import Word
from buffer.entry import BOOKED_FROM, OutboxState
from buffer.errors import OutboxError
from gateway.access.caller import CALLER
from gateway.asking.refusing import of_entry, of_posting
from gateway.connectors.base import Lookup, LookupKind
from gateway.control import NUMBER_MAX, RequestError, text_of
from gateway.core.access.permissions import Action
from gateway.core.audit.entry import AuditEntryError, Change, EntryContent
from gateway.core.audit.told import Told, plain
from gateway.core.duration import Duration
from gateway.core.foreign_text import clean
from gateway.core.orders.erp_notice import BESIDE, NOTICE
from gateway.forwarder.asking import is_stepped, looked_up, step_posting
from gateway.verbs.correct_verbs import which_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buffer.entry import OutboxEntry
    from buffer.store import Store
    from gateway.audit.auditing import Auditing
    from gateway.control import Verb
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

#: The target has so long to say whether it is there; less than the API waits for the whole.
ANSWER_LIMIT_NS: Final = Duration("8 s")
REFERENCE_SHOWN_MAX: Final = 200

log = structlog.get_logger(__name__)


class BookedVerbs:
    """This verb of one running gateway."""

    def __init__(self, parts: Parts, store: Store, clock: SteadyClock, auditing: Auditing | None) -> None:
        self._parts = parts
        self._store = store
        self._clock = clock
        self._auditing = auditing

    def table(self) -> dict[str, Verb]:
        """The verb by name."""
        return {"outbox.booked": self._booked}

    async def _booked(self, request: Mapping[str, Any]) -> Any:
        which, who, reason = which_of(request), text_of(request, "who"), text_of(request, "reason")
        reference = text_of(request, "reference")
        entry = await self._meant(which)
        step = _step_of(entry, request.get("step"))
        asked = await self._asked(entry, reference)
        word = Word(step, reference, who, reason)
        try:
            audit = self._told(entry, word, asked, reason)
            made = await booked.by_person(self._store, entry.id, word, self._clock.now_ns(), audit=audit)
        except OutboxError as error:
            raise of_posting(error, which) from error
        except AuditEntryError as error:
            raise of_entry(error) from error
        log.warning(
            "posting told to be booked", target=made.target, key=made.key, step=step + 1, who=who, reason=reason
        )
        caller = CALLER.get()
        if caller is not None and audit:
            caller.told = True
        if made.target in self._parts.forwarders:
            self._parts.forwarders[made.target].wake()
        return {
            "number": made.id,
            "key": made.key,
            "target": made.target,
            "order": made.order,
            "operation": made.operation,
            "seq": made.seq,
            "state": made.state.value,
            "step": made.step,
            "steps": made.steps,
            "reference": made.reference if made.state is OutboxState.POSTED else word.reference,
            "asked": asked.kind.value,
        }

    async def _meant(self, which: int | str) -> OutboxEntry:
        outbox = self._parts.outbox
        if isinstance(which, int):
            one = await outbox.entry(which)
            found = [] if one is None else [one]
        else:
            try:
                found = await outbox.page(key=which)
            except OutboxError as error:
                raise of_posting(error, which) from error
        known = [one for one in found if one.state in BOOKED_FROM]
        if len(known) > 1:
            numbers = ", ".join(f"{one.id} ({one.target})" for one in known)
            text = f"outbox, {which}: found several, allowed one; name its number: {numbers}"
            raise RequestError(text, guard="WHICH", found=numbers, what_to_do="name its number")
        if not known:
            states = ", ".join(sorted({one.state.value for one in found})) or "no such posting"
            allowed = ", ".join(BOOKED_FROM)
            text = f"outbox, {which}: is {states}, allowed: {allowed}; see linegate outbox list"
            raise RequestError(text, guard="STATE", found=states, allowed=allowed, what_to_do="look at it again")
        if known[0].kind in BESIDE:
            todo = "retry or discard it"
            what = "a notice" if known[0].kind == NOTICE else "an answer to an order"
            text = f"outbox, {which}: found {what}, allowed: a confirmation; {todo}"
            raise RequestError(text, guard="KIND", found=known[0].kind, what_to_do=todo)
        return known[0]

    async def _asked(self, entry: OutboxEntry, reference: str) -> Lookup:
        """What the target says of the step; UNKNOWN where it cannot. Raises RequestError where it says otherwise."""
        connector = self._parts.connectors.get(entry.target)
        # What never left from here nobody can find there by its key.
        if connector is None or not connector.capabilities.can_lookup or not entry.attempts or entry.body is None:
            return Lookup(LookupKind.UNKNOWN, detail="it cannot be asked")
        rows = await self._parts.outbox.steps(entry.id) if is_stepped(entry, connector) else ()
        said = await looked_up(connector, step_posting(entry, rows), ANSWER_LIMIT_NS)
        place, own = f"outbox, {entry.id}", clean(said.reference, REFERENCE_SHOWN_MAX)
        if said.kind is LookupKind.ABSENT:
            todo = "retry it; or, where somebody booked it there by hand without this key, discard it"
            text = f"{place}: {entry.target} was asked and does not have it; {todo}"
            raise RequestError(text, guard="ABSENT_IN_ERP", found="not booked", allowed="booked", what_to_do=todo)
        if said.kind is LookupKind.REFUSED:
            todo = "correct the reason there, or edit it, or discard it"
            why = clean(said.detail, REFERENCE_SHOWN_MAX)
            text = f"{place}: {entry.target} was asked and has refused it: {why}; {todo}"
            raise RequestError(text, guard="REFUSED_IN_ERP", found=said.code, allowed="booked", what_to_do=todo)
        if said.kind is LookupKind.FOUND and own and own != reference:
            todo = "look again, and name the reference that it has there"
            text = f"{place}: {entry.target} was asked and has it as {own!a}, found {reference!a}; {todo}"
            raise RequestError(text, guard="REFERENCE", found=reference, allowed=own, what_to_do=todo)
        return said

    def _told(self, entry: OutboxEntry, word: Word, asked: Lookup, reason: str) -> tuple[EntryContent, ...]:
        caller = CALLER.get()
        if self._auditing is None or caller is None:
            return ()
        last = word.step == entry.steps - 1
        told = Told(
            Action.RESOLVE_POSTING.value,
            "confirmation",
            entry.key,
            change=Change.MODIFY.value,
            field="state",
            old=plain({"state": entry.state.value, "error": entry.error_kind, "code": entry.error_code}),
            new=plain(
                {
                    "state": OutboxState.POSTED.value if last else "step booked",
                    "step": f"{word.step + 1} of {entry.steps}",
                    "reference": word.reference,
                    "asked": asked.kind.value,
                    "target": entry.target,
                }
            ),
            order=entry.order,
        )
        return self._auditing.decision(told, caller.actor, reason)


def _step_of(entry: OutboxEntry, said: Any) -> int:
    """The step that is meant, from 0. Raises RequestError unless it is the one that is due."""
    due = entry.step + 1
    if said is None and entry.steps == 1:
        return 0
    if said is None:
        todo = f"say it of one at a time: --step {due}, with its own reference"
        text = f"outbox, {entry.id}: found no step, it has {entry.steps} messages, of which number {due} is due; {todo}"
        raise RequestError(text, guard="STEP", found="none", allowed=str(due), what_to_do=todo)
    if not isinstance(said, int) or isinstance(said, bool) or not 1 <= said <= NUMBER_MAX or said != due:
        todo = f"name step {due}: what is before it is booked, what is behind it was not sent"
        text = f"outbox, {entry.id}: found step {str(said)[:40]!a} of {entry.steps}, allowed: {due}; {todo}"
        raise RequestError(text, guard="STEP", found=str(said)[:40], allowed=str(due), what_to_do=todo)
    return due - 1
