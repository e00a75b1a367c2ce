"""What is written down of every person's word: who, in which role, how recognised, what, and whether it was done.

One row of ``VERBS`` for each kind of entry. Decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.core.entries import (
    AllocateEntry,
    CorrectEntry,
    Decided,
    ExternalEntry,
    LotEntry,
    LotNameEntry,
    MaterialEntry,
    MergeEntry,
    PresenceEntry,
    ReclassifyEntry,
    RejectEntry,
    ReportEntry,
    SerialEntry,
    SetupEntry,
    SplitEntry,
    StandingHoldEntry,
    StopCutEntry,
    StopReasonEntry,
    UndoEntry,
    UnmergeEntry,
)
from gateway.core.model import FinalAcknowledged, Notice, OperatorEntry, OrderReceived
from gateway.core.orders.lifecycle import ActorRole
from gateway.core.refusal import REFUSED, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.core.entries import PersonsEntry
    from gateway.core.model import Input, Output

#: The verb of each kind of entry, as the command line and the API name it.
VERBS: Final[dict[type, Callable[[Any], str]]] = {
    OperatorEntry: lambda entry: f"order.{entry.verb}",
    SetupEntry: lambda entry: "setup.begin" if entry.begins else "setup.end",
    StopReasonEntry: lambda _entry: "reason",
    StopCutEntry: lambda entry: "stop.merge" if entry.merge else "stop.split",
    StandingHoldEntry: lambda entry: "hold.set" if entry.begins else "hold.release",
    ReclassifyEntry: lambda _entry: "order.reclassify",
    CorrectEntry: lambda entry: (
        "outbox.post_today" if entry.today else "order.correct" if entry.pieces is not None else "order.reverse"
    ),
    RejectEntry: lambda _entry: "order.reject",
    AllocateEntry: lambda _entry: "order.allocate",
    SplitEntry: lambda _entry: "order.split",
    MergeEntry: lambda _entry: "order.merge",
    UnmergeEntry: lambda _entry: "order.unmerge",
    ReportEntry: lambda _entry: "order.report",
    ExternalEntry: lambda _entry: "reconcile.accept",
    UndoEntry: lambda _entry: "undo",
    PresenceEntry: lambda entry: "labour.in" if entry.begins else "labour.out",
    LotEntry: lambda entry: "lot.mount" if entry.mounts else "lot.unmount",
    MaterialEntry: lambda _entry: "material.issue",
    LotNameEntry: lambda _entry: "lots.name",
    SerialEntry: lambda _entry: "lots.serial",
}
#: Entries that come with what the database knows of lots and serial numbers.
REMEMBERED: Final = (LotNameEntry, SerialEntry)
#: Fields that have a place of their own, or say nothing to a person.
_TOLD_ELSEWHERE: Final = frozenset(
    {
        *("at_ns", "who", "role", "auth", "client", "order", "operation", "reason", "verb", "known", "begins", "taken"),
        *("ledger", "contents", "told", "earlier", "today", "code"),
    }
)
_ASK: Final = (
    OrderReceived,
    OperatorEntry,  # of an order that is over some things can be decided, and of the others it says so
    FinalAcknowledged,
    AllocateEntry,
    SplitEntry,
    MergeEntry,
    ReclassifyEntry,
    CorrectEntry,
    RejectEntry,
    UndoEntry,
    *REMEMBERED,
)


def decided(entry: OperatorEntry | PersonsEntry, made: Sequence[Output]) -> Decided:
    """What is written down of an entry; ``made`` are the outputs that it had."""
    refusal = next((one for one in made if isinstance(one, Notice) and one.code == REFUSED), None)
    parts = None if refusal is None else parts_of(refusal)
    more = tuple(
        (name, ", ".join(map(str, value)) if isinstance(value, tuple) else str(value))
        for name, value in entry._asdict().items()
        if name not in _TOLD_ELSEWHERE and value not in (None, ()) and not (name == "signed_by" and not value)
    )
    return Decided(
        entry.at_ns,
        VERBS[type(entry)](entry),
        entry.who,
        (entry.role or ActorRole.SUPERVISOR).value,
        entry.auth,
        entry.client,
        getattr(entry, "order", ""),
        getattr(entry, "operation", ""),
        getattr(entry, "reason", ""),
        more,
        "" if parts is None else parts.text,
        "" if parts is None else parts.guard,
    )


def asks(given: Input) -> bool:
    """Whether an input needs what is remembered of an order, which must be read behind everything before it."""
    return isinstance(given, _ASK)
