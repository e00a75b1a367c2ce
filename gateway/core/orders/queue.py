"""The dispatch queue of a work unit: in which sequence its orders run, and whether the next one starts by itself.

Decides only: it starts nothing and interrupts nothing.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.model import JobOrderState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.core.orders.guards import GuardRefusal
    from gateway.core.rules_orders import AutoAdvance

QUEUE_MAX: Final = 2000  # orders of one work unit
_S: Final = JobOrderState
QUEUED: Final = (_S.DISPATCHED, _S.INTERRUPTED, _S.ON_HOLD)


class QueueEntry(NamedTuple):
    """One order that waits at a work unit, with what decides its place and its start.

    ``sequence_no`` ascends; ``priority`` 1 is the most urgent, 0 none. ``rush_no`` above 0: a rush order, the first one
    first; ``resumes``: a rush order interrupted it. ``waits_for_person``: a person interrupted it. ``holds`` are
    active; ``tool`` "" is any; ``setup_planned``: its start begins with a setup; ``lots_missing`` of those it requires.
    """

    order: str
    operation: str
    state: JobOrderState = _S.DISPATCHED
    sequence_no: int = 0
    priority: int = 0
    planned_start_ns: int | None = None
    rush_no: int = 0
    resumes: bool = False
    waits_for_person: bool = False
    holds: tuple[str, ...] = ()
    tool: str = ""
    setup_planned: bool = False
    lots_missing: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Order and operation."""
        return (self.order, self.operation)


class AdvanceFacts(NamedTuple):
    """The machine, when one order may follow another. ``running`` None: none runs.

    ``tool`` is in it by its signal, else by the last order; None: nobody knows. ``refusals`` are what the guards of a
    start say of ``head(queue)``.
    """

    running: tuple[str, str] | None = None
    tool: str | None = None
    refusals: tuple[GuardRefusal, ...] = ()


class WaitReason(enum.StrEnum):
    """Why no order starts by itself."""

    OFF = "AUTO_ADVANCE_OFF"
    EMPTY = "QUEUE_EMPTY"
    BUSY = "MACHINE_BUSY"
    HOLD = "HOLD"
    PERSON = "WAITS_FOR_PERSON"
    TOOL = "TOOL_CHANGE_WITHOUT_SETUP"
    LOT = "LOT_MISSING"
    GUARD = "GUARD"


class Start(NamedTuple):
    """This order starts now, in this state."""

    entry: QueueEntry
    state_to: JobOrderState


class Propose(NamedTuple):
    """A person is asked to start this order; what the guards warn of is shown."""

    entry: QueueEntry
    state_to: JobOrderState
    warnings: tuple[GuardRefusal, ...]


class Wait(NamedTuple):
    """Nothing starts. ``order`` is what stands in the way, "" if none does."""

    reason: WaitReason
    order: str
    text: str


class RushInserted(NamedTuple):
    """The queue with a rush order at its place. ``interrupt``: what runs now stops for it, and resumes after it."""

    queue: tuple[QueueEntry, ...]
    interrupt: tuple[str, str] | None


def rank(entry: QueueEntry) -> tuple[int, int, int, int, int, int, str, str]:
    """What the queue is sorted by.

    Rush orders, what a rush order interrupted, then sequence number, priority, planned start (none: last), and the
    names, so that two gateways sort alike.
    """
    group = 0 if entry.rush_no else 1 if entry.resumes else 2
    priority = (not entry.priority, entry.priority)
    start = (entry.planned_start_ns is None) * 2**63 + (entry.planned_start_ns or 0)
    return (group, entry.rush_no, entry.sequence_no, *priority, start, entry.order, entry.operation)


def ordered(entries: Iterable[QueueEntry]) -> tuple[QueueEntry, ...]:
    """The queue in its sequence.

    Raises ValueError for more than QUEUE_MAX, for one that is in it twice, and for a state that nothing starts from.
    """
    queue = tuple(sorted(entries, key=rank))
    for entry in queue:
        if entry.state not in QUEUED:
            raise ValueError(f"queue: found {entry.order} {entry.state}, allowed {', '.join(QUEUED)}")
    if len(queue) > QUEUE_MAX:
        raise ValueError(f"queue: found {len(queue)} orders, allowed {QUEUE_MAX}")
    if len({entry.key for entry in queue}) < len(queue):
        raise ValueError("queue: found an order twice, allowed each once")
    return queue


def ahead(queue: Sequence[QueueEntry], key: tuple[str, str]) -> tuple[str, ...]:
    """Orders before this one that could start: what guard G8 is told. An order that is not queued has none."""
    before: list[str] = []
    for entry in ordered(queue):
        if entry.key == key:
            return tuple(before)
        if _obstacle(entry) is None and not entry.waits_for_person:
            before.append(entry.order)
    return ()


def insert_rush(
    queue: Sequence[QueueEntry], entry: QueueEntry, running: tuple[str, str] | None, *, running_is_rush: bool = False
) -> RushInserted:
    """A rush order goes before all others but earlier rush orders, and interrupts what runs unless that is one."""
    number = max((one.rush_no for one in queue), default=0) + 1
    others = [one for one in queue if one.key != entry.key]
    inserted = ordered([*others, entry._replace(rush_no=number)])
    first = not any(one.rush_no for one in others)
    interrupt = running if running is not None and running != entry.key and first and not running_is_rush else None
    return RushInserted(inserted, interrupt)


def head(queue: Sequence[QueueEntry]) -> QueueEntry | None:
    """The first order that need not wait for a person; None: there is none."""
    return next((entry for entry in ordered(queue) if not entry.waits_for_person), None)


def next_order(queue: Sequence[QueueEntry], facts: AdvanceFacts, mode: AutoAdvance) -> Start | Propose | Wait:
    """Whether the first order of the queue starts, is proposed, or why it waits.

    What stands in the way of the first is not walked around: an order behind it does not start by itself either. Only
    what a person interrupted is left to that person.
    """
    if mode == "off":
        return Wait(WaitReason.OFF, "", "auto_advance is off: a person, the PLC or the ERP starts orders")
    if facts.running is not None:
        return Wait(WaitReason.BUSY, facts.running[0], f"order {facts.running[0]} runs")
    first = head(queue)
    if first is None and queue:
        text = f"order {queue[0].order} was interrupted by a person; start it, or another one, by hand"
        return Wait(WaitReason.PERSON, queue[0].order, text)
    if first is None:
        return Wait(WaitReason.EMPTY, "", "no order is dispatched; the ERP releases one")
    obstacle = _obstacle(first) or _of_the_machine(first, facts)
    if obstacle is not None:
        return obstacle
    state_to = _S.SETUP if first.setup_planned else _S.IN_PROGRESS
    warnings = tuple(refusal for refusal in facts.refusals if not refusal.blocks)
    return Propose(first, state_to, warnings) if mode == "propose" else Start(first, state_to)


def _obstacle(entry: QueueEntry) -> Wait | None:
    """What is in the order itself."""
    name = f"order {entry.order}"
    if entry.state is _S.ON_HOLD or entry.holds:
        shown = ", ".join(entry.holds) or "hold"
        return Wait(
            WaitReason.HOLD, entry.order, f"{name} is on hold ({shown}); release it, or take it out of the queue"
        )
    if entry.lots_missing:
        missing = ", ".join(entry.lots_missing)
        return Wait(WaitReason.LOT, entry.order, f"{name} needs a lot of {missing}; scan it at the machine")
    return None


def _of_the_machine(entry: QueueEntry, facts: AdvanceFacts) -> Wait | None:
    if entry.tool and facts.tool not in (None, entry.tool) and not entry.setup_planned:
        text = f"order {entry.order} needs tool {entry.tool}, found {facts.tool or 'none'}; set the machine up for it"
        return Wait(WaitReason.TOOL, entry.order, text)
    for refusal in facts.refusals:
        if refusal.blocks:
            return Wait(WaitReason.GUARD, entry.order, f"order {entry.order}: {refusal}")
    return None


def entry_from(document: Mapping[str, Any]) -> QueueEntry:
    """What ``_asdict`` and JSON made of a ``QueueEntry``."""
    lists = {name: tuple(document[name]) for name in ("holds", "lots_missing")}
    return QueueEntry(**{**document, **lists, "state": _S(document["state"])})
