"""The central types: what enters the core, what leaves it, and what the ERP hears.

Times are integer nanoseconds UTC on the gateway's steady clock (it never steps back, see ``gateway/timing/clock.py``).
Counts are integers; quantities that an ERP names are ``Decimal``. Nothing here is ever a float.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from gateway.core.job_order import JobOrder, JobOrderState, JobRecord, LastNumber, Operation, ProductionOrder
from gateway.core.job_response import Confirmation, ConfirmationKind, Voided

if TYPE_CHECKING:
    from gateway.core.confirming.booked import Confirmed
    from gateway.core.entries import Decided, LotNamed, PersonsEntry, PiecesReclassified, PresenceShared, SerialRead
    from gateway.core.orders.lifecycle import ActorRole
    from gateway.core.orders.order_changes import OrderAck
    from gateway.core.orders.shares import LeadTold, MemberPieces, MemberTold
    from gateway.core.orders.standing_holds import StandingHold, StandingHoldChanged
    from gateway.core.orders.stop_request import StopRequested
    from gateway.core.orders.unallocated import CountAllocation
    from gateway.core.state.annotations import StopMerge, StopReasonAssigned, StopReasonWithdrawn, StopSplit
    from gateway.core.state.interval import StateInterval
    from gateway.core.state.setup import SetupOutput
    from gateway.core.state.timeline_state import ReasonRequired
    from gateway.core.work.packing import UnitPacked

__all__ = [
    "CalendarPlan",
    "ClockTold",
    "Confirmation",
    "ConfirmationKind",
    "CountEvent",
    "DataValue",
    "DatabaseLost",
    "FinalAcknowledged",
    "Input",
    "JobChanged",
    "JobOrder",
    "JobOrderState",
    "JobRecord",
    "LostCounter",
    "MachineState",
    "Notice",
    "Operation",
    "OperatorEntry",
    "OperatorVerb",
    "OrderProgress",
    "OrderReceived",
    "Output",
    "PiecesProduced",
    "PlannedTime",
    "ProductionOrder",
    "Role",
    "Scalar",
    "StateChanged",
    "Status",
    "TimePassed",
    "UnknownInterval",
    "Voided",
]


class Status(enum.IntEnum):
    """Quality of a sampled value (severity bits of an OPC UA StatusCode, OPC 10000-4 7.38)."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


#: What a driver may deliver as the value of a signal. Integers are exact at any width.
Scalar = bool | int | float | str | None


class DataValue(NamedTuple):
    """One sampled value of one signal (OPC UA DataValue).

    ``signal`` is ``source.name``. ``source_time_ns`` is the device's or kernel's stamp, None where it has none. Both
    times are steady (see ``DriverContext.utc_offset_ns``). ``value`` is None where ``status`` is BAD.
    """

    signal: str
    value: Scalar
    status: Status
    source_time_ns: int | None
    received_time_ns: int


class TimePassed(NamedTuple):
    """The only way time enters the core."""

    at_ns: int


class MachineState(enum.StrEnum):
    """What a machine is doing, one value at a time (ISO 22400 time model; PackML and others are maps onto it)."""

    PRODUCING = "PRODUCING"
    MICRO_STOP = "MICRO_STOP"
    STOPPED = "STOPPED"
    BLOCKED = "BLOCKED"
    STARVED = "STARVED"
    SETUP = "SETUP"
    CLEANING = "CLEANING"
    MAINTENANCE = "MAINTENANCE"
    PLANNED_STOP = "PLANNED_STOP"
    IDLE_NO_ORDER = "IDLE_NO_ORDER"
    NOT_SCHEDULED = "NOT_SCHEDULED"
    OFF = "OFF"
    UNKNOWN = "UNKNOWN"


class Role(enum.StrEnum):
    """What a counted piece is. HOLD waits for a person's verdict, TEST was taken out as a sample: neither is good."""

    GOOD = "good"
    SCRAP = "scrap"
    REWORK = "rework"
    HOLD = "hold"
    TEST = "test"


class OrderReceived(NamedTuple):
    """An ERP's image of a job order, with what the gateway already remembers of it (None: never seen).

    ``known`` is read when the input is handled, behind everything that was committed before; an older one would give
    out confirmation numbers twice. ``others`` are the records of the other operations of this order, wherever they are,
    and of the orders that it was split into. ``forgotten`` is what is left of it where it was known once.
    """

    at_ns: int
    job: JobOrder
    known: JobRecord | None = None
    others: tuple[JobRecord, ...] = ()
    forgotten: LastNumber | None = None


class OrderProgress(NamedTuple):
    """How far other operations of an order have got, wherever in this gateway they are made."""

    at_ns: int
    records: tuple[JobRecord, ...]


class OperatorVerb(enum.StrEnum):
    """What a person may tell a work unit (OPC 10031-4 command vocabulary)."""

    START = "start"
    INTERRUPT = "interrupt"
    FINISH = "finish"
    HOLD = "hold"
    RELEASE = "release"
    REOPEN = "reopen"
    CANCEL = "cancel"
    COMPLETE_SETUP = "complete-setup"
    DISPATCH = "dispatch"
    REVOKE = "revoke"
    RUSH = "rush"
    APPROVE_FIRST_ARTICLE = "approve-first-article"
    ACKNOWLEDGE_DOCUMENTS = "acknowledge-documents"
    ACKNOWLEDGE_DATA = "acknowledge-data"
    INSPECT = "inspect"
    CONFIRM = "confirm"
    SCAN = "scan"
    MATERIAL_READY = "material-ready"
    MATERIAL_MISSING = "material-missing"


class OperatorEntry(NamedTuple):
    """A person's decision about a job order. ``operation`` may be empty where the order has only one here.

    ``role`` None: as a supervisor. ``known``: as that of ``OrderReceived``, for an order that is over. ``auth``: how
    the person was recognised, ``client`` from where. ``interrupt``: with ``start``, what runs is interrupted whatever
    the rule says, and is next. ``documents``: those that were read, none: all. ``verdict``: passed or failed.
    ``ledger``: with ``reopen``, what is confirmed of the operation. ``signed_by`` as that of ``CorrectEntry``.
    ``code``: the barcode that names the order; with ``scan`` it stands in ``order``.
    """

    at_ns: int
    verb: OperatorVerb
    order: str
    operation: str
    who: str
    reason: str = ""
    role: ActorRole | None = None
    known: JobRecord | None = None
    auth: str = ""
    client: str = ""
    interrupt: bool = False
    documents: tuple[str, ...] = ()
    verdict: str = ""
    ledger: Confirmed | None = None
    signed_by: str = ""
    code: str = ""


class FinalAcknowledged(NamedTuple):
    """The ERP has acknowledged the final confirmation of a complete operation.

    ``known`` and ``unbooked`` (confirmations that are not acknowledged) are read when the input is handled.
    ``reconciled`` False: the ERP says something else of it.
    """

    at_ns: int
    order: str
    operation: str
    reconciled: bool = True
    unbooked: int = 0
    known: JobRecord | None = None


class ClockTold(NamedTuple):
    """UTC is the steady time plus ``utc_offset_ns``, also of what is stamped already; ``known``: it is vouched for."""

    at_ns: int
    utc_offset_ns: int
    known: bool = True


class CountersRead(NamedTuple):
    """The counters were read for the change of orders that is handed over next: what they show is the boundary.

    ``until_ns`` is the time of what they showed; 0: none of them could be read. ``missing`` could not: what those moved
    by is shared by time. ``due_ns``: the change comes by itself, then (a shift begins or ends); 0: it is handed over.
    """

    at_ns: int
    until_ns: int
    missing: tuple[str, ...] = ()
    due_ns: int = 0


class PlannedTime(NamedTuple):
    """From ``from_ns`` on: NOT_SCHEDULED, PLANNED_STOP or None (working time), and whose shift it is.

    ``shift`` is production day and name, such as ``2026-03-27/F``; empty outside of shifts.
    """

    from_ns: int
    planned: MachineState | None
    shift: str


class CalendarPlan(NamedTuple):
    """What the calendar says of the time ahead, as it is known at ``at_ns``; the first stretch holds then."""

    at_ns: int
    entries: tuple[PlannedTime, ...]


Input: TypeAlias = (
    "DataValue | TimePassed | OrderReceived | OrderProgress | OperatorEntry | PersonsEntry | PresenceShared"
    " | ClockTold | CountersRead | CalendarPlan | FinalAcknowledged | MemberTold | LeadTold | DatabaseLost"
)


class CountEvent(NamedTuple):
    """What one counter or pulse input moved by: never negative.

    ``delta`` in counts; ``flag`` says how it was decided (OK, RESET ...); ``review`` counts are set aside for a person;
    ``max_lost`` bounds what nobody can know in ``[t_from_ns, t_to_ns]``, -1 where no rate gives a bound. ``estimated``:
    more than one count fell between two samples. ``cycle_ns`` is the time of one single cycle, where it was measured.
    ``role`` None is the rule's own; ``part`` names the product of a family tool; ``reason``: why it is scrap.
    ``cycles`` are the machine's counts behind ``delta`` where they differ (a mould makes eight pieces). ``activity``
    are those that the machine's state hears of: of a part that waits for its verdict at once, of the verdict none.
    """

    signal: str
    delta: int
    t_from_ns: int
    t_to_ns: int
    flag: str
    estimated: bool = False
    review: int = 0
    max_lost: int = 0
    cycle_ns: int | None = None
    role: Role | None = None
    part: str | None = None
    cycles: int | None = None
    activity: int | None = None
    reason: str = ""


class PiecesProduced(NamedTuple):
    """Pieces booked to a job order, or to the unallocated bucket where ``order`` is None.

    ``part`` names the product of a family tool that makes several.
    """

    at_ns: int
    signal: str
    role: Role
    pieces: int
    order: str | None
    operation: str | None
    t_from_ns: int
    estimated: bool
    part: str | None = None


class UnknownInterval(NamedTuple):
    """Pieces that may have been made and that nobody can know: named, dated and bounded.

    ``max_pieces`` is an upper bound; None where no rate limit is configured to derive one.
    """

    signal: str
    role: Role
    t_from_ns: int
    t_to_ns: int
    max_pieces: int | None
    flag: str
    order: str | None
    operation: str | None


class LostCounter(NamedTuple):
    """What is known of one signal's counting in a database that was lost.

    ``since_ns``: from then on nothing is known. ``value`` is the counter's last baseline, None where it is gone or
    there is none. ``order`` and ``operation`` ran then, None where that is not known. ``measured``: whether the time
    since then gives a bound; not where a clock is not to be believed, or where more may be missing than since then.
    """

    signal: str
    since_ns: int
    value: int | None = None
    order: str | None = None
    operation: str | None = None
    measured: bool = True


class DatabaseLost(NamedTuple):
    """The work unit begins anew because its database was lost; the first thing that it hears.

    ``counters``: one of each counting rule. ``pieces`` were counted and not confirmed by then: known exactly, and gone.
    ``before`` are intervals that the lost database had declared: they are kept in sight, not declared again.
    ``standing`` are the holds that stood: they stand on.
    """

    at_ns: int
    counters: tuple[LostCounter, ...] = ()
    pieces: tuple[UnknownInterval, ...] = ()
    before: tuple[UnknownInterval, ...] = ()
    standing: tuple[StandingHold, ...] = ()


class StateChanged(NamedTuple):
    """The machine's state from ``at_ns`` on."""

    at_ns: int
    state: MachineState
    previous: MachineState
    reason: str


class JobChanged(NamedTuple):
    """A job order's state or numbers changed; the record replaces the remembered one."""

    at_ns: int
    record: JobRecord
    previous: JobOrderState | None
    trigger: str


class Notice(NamedTuple):
    """Something a person should see: a code of the domain, and the facts as name and value."""

    at_ns: int
    code: str
    detail: tuple[tuple[str, str], ...] = ()


Output: TypeAlias = (
    "CountEvent | PiecesProduced | UnknownInterval | StateChanged | StateInterval | ReasonRequired | SetupOutput"
    " | StopReasonAssigned | StopReasonWithdrawn | StopSplit | StopMerge | PiecesReclassified | Decided | JobChanged"
    " | Notice | Confirmation | Voided | OrderAck | CountAllocation | LotNamed | SerialRead | MemberPieces"
    " | StopRequested | StandingHoldChanged | UnitPacked"
)
