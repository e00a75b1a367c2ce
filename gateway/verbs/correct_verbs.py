"""Confirmations put right by people: correct, reverse, refuse an approval, give one.

Corrections are the work unit's to decide. An approval changes a posting only, in one transaction with its entry in the
audit trail.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import structlog

from buffer.entry import OutboxState
from buffer.errors import OutboxError, PostingMovedError
from gateway.access.caller import CALLER
from gateway.asking.refusing import of_entry, of_posting
from gateway.asking.speaker import runner_of, speaker, told
from gateway.control import NUMBER_MAX, RequestError, text_of
from gateway.core.access.permissions import Action
from gateway.core.audit.entry import AuditEntryError, Change, EntryContent
from gateway.core.audit.told import Told, plain
from gateway.core.entries import CorrectEntry, RejectEntry
from gateway.core.model import Confirmation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buffer.entry import OutboxEntry
    from gateway.audit.auditing import Auditing
    from gateway.control import Verb
    from gateway.core.entries import PersonsEntry
    from gateway.core.model import Output
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock
    from gateway.work_unit.runner import Runner

ROLES: Final = ("good", "scrap", "rework")

log = structlog.get_logger(__name__)


class CorrectVerbs:
    """These verbs of one running gateway."""

    def __init__(self, parts: Parts, clock: SteadyClock, auditing: Auditing | None) -> None:
        self._parts = parts
        self._clock = clock
        self._auditing = auditing

    def table(self) -> dict[str, Verb]:
        """Every verb by name."""
        return {
            "order.correct": self._correct,
            "order.reverse": self._correct,
            "order.reject": self._reject,
            "outbox.approve": self._approve,
        }

    async def _correct(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        reverses = text_of(request, "verb") == "order.reverse"
        order, operation, number, reason = _named(request)
        entry = CorrectEntry(
            self._clock.now_ns(),
            order,
            operation,
            number,
            reason,
            pieces=None if reverses else _pieces(request),
            signed_by=str(request.get("signed_by", "")),
            **speaker(request),
        )
        what = "reverse" if reverses else "correct"
        made = await _decided(runner, entry, f"{machine}: cannot {what} confirmation {number} of {order}")
        done = "reversed" if reverses else "corrected"
        return f"{machine}: confirmation {number} of {order} {done}{_by(made)}"

    async def post_today(self, request: Mapping[str, Any]) -> Any:
        """What the ERP refused for its closed period, made anew to be posted today; ``request`` names all of it."""
        machine, runner = runner_of(self._parts, request)
        order, operation, number, reason = _named(request)
        entry = CorrectEntry(self._clock.now_ns(), order, operation, number, reason, today=True, **speaker(request))
        made = await _decided(runner, entry, f"{machine}: cannot post confirmation {number} of {order} today")
        dates = ", ".join(one.posting_date for one in made if isinstance(one, Confirmation) and not one.reverses)
        return f"{machine}: confirmation {number} of {order} is posted on {dates}{_by(made)}"

    async def _reject(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        order, operation, number, reason = _named(request)
        entry = RejectEntry(self._clock.now_ns(), order, operation, number, reason, **speaker(request))
        made = await _decided(runner, entry, f"{machine}: cannot reject confirmation {number} of {order}")
        return f"{machine}: confirmation {number} of {order} rejected{_by(made)}"

    async def _approve(self, request: Mapping[str, Any]) -> Any:
        """What was made beyond a tolerance may be sent: a person's word, and his name."""
        which, who, reason = which_of(request), text_of(request, "who"), text_of(request, "reason")
        outbox = self._parts.outbox
        try:
            found = [await outbox.entry(which)] if isinstance(which, int) else await outbox.page(key=which)
            audit = self._told([one for one in found if one is not None], reason)
            approved = await outbox.approve(which, self._clock.now_ns(), who=f"{who}: {reason}", audit=audit)
        except OutboxError as error:
            raise of_posting(error, which) from error
        except AuditEntryError as error:
            raise of_entry(error) from error
        caller = CALLER.get()
        if caller is not None and audit:
            caller.told = True
        for entry in approved:
            log.warning("posting approved", target=entry.target, key=entry.key, who=who, reason=reason)
        for name in {entry.target for entry in approved} & set(self._parts.forwarders):
            self._parts.forwarders[name].wake()
        return "; ".join(f"{entry.id}: {entry.key} for {entry.target} may be sent" for entry in approved)

    def _told(self, entries: Sequence[OutboxEntry], reason: str) -> tuple[EntryContent, ...]:
        """What the audit trail is told of an approval; a signature is put under what the confirmation says."""
        caller = CALLER.get()
        if self._auditing is None or caller is None:
            return ()
        made: list[EntryContent] = []
        for one in entries:
            if one.state is not OutboxState.NEEDS_APPROVAL:
                continue
            document = json.loads(one.payload)
            said = {name: document.get(name) for name in ("idempotency_key", "type", "qty", "hash")}
            found = Told(
                Action.APPROVE_OVER_TOLERANCE.value,
                "confirmation",
                one.key,
                change=Change.MODIFY.value,
                field="state",
                old=one.state.value,
                new=plain({**said, "target": one.target, "state": "approved"}),
                order=one.order,
            )
            made += self._auditing.decision(found, caller.actor, reason)
        return tuple(made)


def which_of(request: Mapping[str, Any]) -> int | str:
    """The posting that is meant, by its number or its key. Raises RequestError."""
    number = request["number"] if "number" in request else request["which"]  # the API has it in its path
    if not isinstance(number, int):
        return text_of(request, "which")
    if not 1 <= number <= NUMBER_MAX:
        text = f"number of a posting: found {str(number)[:40]}, allowed 1 to {NUMBER_MAX}"
        raise RequestError(text, guard="FIELD", what_to_do="linegate outbox list shows them")
    return number


async def _decided(runner: Runner, entry: PersonsEntry, what: str) -> Sequence[Output]:
    try:
        return told(await runner.submit(entry), what)
    except PostingMovedError as error:
        todo = "look at it (linegate outbox list), then decide anew"
        text = f"{what}: it is being sent just now; {todo}"
        raise RequestError(text, guard="ANSWER_OUTSTANDING", found=str(error), what_to_do=todo) from error


def _by(outputs: Sequence[Output]) -> str:
    numbers = ", ".join(str(one.seq) for one in outputs if isinstance(one, Confirmation))
    return f", by number {numbers}" if numbers else ""


def _named(request: Mapping[str, Any]) -> tuple[str, str, int, str]:
    operation = text_of(request, "operation") if request.get("operation") else ""
    number = _whole("confirmation", request.get("confirmation"), least=1)
    return text_of(request, "order"), operation, number, text_of(request, "reason")


def _pieces(request: Mapping[str, Any]) -> tuple[int, int, int]:
    good, scrap, rework = (_whole(name, request.get(name)) for name in ROLES)
    return good, scrap, rework


def _whole(name: str, found: Any, *, least: int = 0) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= NUMBER_MAX:
        shown, allowed = f"{str(found)[:40]!a}", f"a whole number, {least} and more"
        raise RequestError(f"{name}: found {shown}, allowed: {allowed}", guard="FIELD", found=shown, allowed=allowed)
    return found
