"""When a confirmation of an operation is due, and why: any one of the triggers is enough.

What cuts a period is never delayed, because what follows belongs to something else: another shift, lot, order or state.
What only measures an amount (pieces, time, a full handling unit) waits for ``min_interval`` since the last confirmation
and goes with whichever confirmation comes first. A confirmation takes all that is open: the piece that fills the
hundred does not cut it at a hundred. Makes no confirmation and knows nothing of its content but how much it is.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.core.rules_confirming import ConfirmingRule


class Trigger(enum.StrEnum):
    """What asks for a confirmation, the one that names it first where several do."""

    COMPLETION = "completion"
    SHIFT_END = "shift end"
    INTERRUPTION = "interruption"
    HOLD = "hold"
    LOT_CHANGE = "lot change"
    LATE_PIECES = "late pieces"
    MANUAL = "manual"
    HANDLING_UNIT = "handling unit"
    PIECES = "pieces"
    TIMER = "timer"


#: Triggers that wait for ``min_interval``.
DELAYED: Final = frozenset({Trigger.HANDLING_UNIT, Trigger.PIECES, Trigger.TIMER})
#: Triggers that the content and the time are themselves; nobody hands them in.
DERIVED: Final = frozenset({Trigger.PIECES, Trigger.TIMER})

_STRENGTH: Final = {trigger: place for place, trigger in enumerate(Trigger)}


class OpenContent(NamedTuple):
    """What is made and not confirmed. ``pieces`` good, scrap, rework and on hold; ``samples`` were taken out.

    ``time_ns`` is the sum of the activity times that are not confirmed.
    """

    pieces: int = 0
    samples: int = 0
    time_ns: int = 0

    @property
    def anything_made(self) -> bool:
        """Whether a quantity is open; time alone is none."""
        return bool(self.pieces or self.samples)


class TriggerState(NamedTuple):
    """Of one operation. ``confirmed_ns``: the last confirmation, or the beginning of the run.

    ``waiting`` were handed in and wait for ``min_interval``; at most one of each.
    """

    confirmed_ns: int
    waiting: tuple[Trigger, ...] = ()


def restored(data: Mapping[str, Any]) -> TriggerState:
    """What ``_asdict`` and JSON made of a state. Raises KeyError or ValueError for anything else."""
    return TriggerState(data["confirmed_ns"], tuple(Trigger(one) for one in data["waiting"]))


class Confirm(NamedTuple):
    """Confirm all that is open now. ``also`` are further triggers that it answers."""

    at_ns: int
    trigger: Trigger
    also: tuple[Trigger, ...] = ()

    @property
    def final(self) -> bool:
        """Whether it is the last one of its operation."""
        return self.trigger is Trigger.COMPLETION


class Wait(NamedTuple):
    """A confirmation is due, and comes at that time unless a stronger trigger takes it along."""

    until_ns: int
    triggers: tuple[Trigger, ...]


class Suppressed(NamedTuple):
    """Somebody asked, and there is nothing to confirm."""

    triggers: tuple[Trigger, ...]


Decision = Confirm | Wait | Suppressed | None  # None: nobody asks


def decide(
    rule: ConfirmingRule, state: TriggerState, content: OpenContent, at_ns: int, asked: Iterable[Trigger] = ()
) -> tuple[TriggerState, Decision]:
    """What happens now: call it after pieces were booked, at the ``deadline``, and when something of ``asked`` occurs.

    A final confirmation is made even of nothing: that it is final is its content. A shift's end confirms times without
    pieces; nothing else does, the times go with the next one.
    """
    asked = set(asked)
    assert not asked & DERIVED, "pieces and timer follow from content and time"
    candidates = asked | set(state.waiting)
    candidates |= _derived(rule, state, content, at_ns)
    if not candidates:
        return state, None
    due = tuple(sorted((one for one in candidates if _worth(one, content)), key=_STRENGTH.__getitem__))
    if not due:
        return state._replace(waiting=()), Suppressed(tuple(sorted(candidates, key=_STRENGTH.__getitem__)))
    free_ns = state.confirmed_ns + rule.spacing_ns
    if at_ns < free_ns and all(one in DELAYED for one in due):
        return state._replace(waiting=tuple(one for one in due if one not in DERIVED)), Wait(free_ns, due)
    return TriggerState(at_ns), Confirm(at_ns, due[0], due[1:])


def deadline(rule: ConfirmingRule, state: TriggerState, content: OpenContent) -> int | None:
    """When ``decide`` is due although nothing happens; None: not before something does."""
    if not content.anything_made:
        return None
    if state.waiting or _filled(rule, content):
        return state.confirmed_ns + rule.spacing_ns
    return None if rule.every is None else state.confirmed_ns + rule.every


def _derived(rule: ConfirmingRule, state: TriggerState, content: OpenContent, at_ns: int) -> set[Trigger]:
    found = {Trigger.PIECES} if _filled(rule, content) else set()
    if rule.every is not None and content.anything_made and at_ns >= state.confirmed_ns + rule.every:
        found.add(Trigger.TIMER)
    return found


def _filled(rule: ConfirmingRule, content: OpenContent) -> bool:
    return rule.every_pieces is not None and content.pieces >= rule.every_pieces


def _worth(trigger: Trigger, content: OpenContent) -> bool:
    if trigger is Trigger.COMPLETION:
        return True
    return content.anything_made or (trigger is Trigger.SHIFT_END and content.time_ns > 0)
