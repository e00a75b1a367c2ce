"""What the gateway shows of itself, everywhere the same: MQTT, ``linegate status``, the control socket.

Plain values only, made by the parts that own the facts. Nothing here is stored or sent. Times are integer nanoseconds;
None or "" where there is nothing to say. The parts make views with steady times, by which lengths are measured;
``in_utc`` names the same instants in UTC, for whoever is outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

from buffer.figures import BufferFigures, EventFigures, HeldFigures, LostFigures, RoomFigures, TargetFigures

if TYPE_CHECKING:
    from collections.abc import Callable

#: Fields that are instants. Every other one that ends in ``_ns`` is a length of time.
INSTANTS: Final = frozenset(
    {
        "at_ns",
        "breaker_since_ns",
        "from_ns",
        "last_backup_ns",
        "last_commit_ns",
        "last_piece_ns",
        "last_poll_ns",
        "last_posted_ns",
        "last_success_ns",
        "last_value_ns",
        "next_retry_ns",
        "now_ns",
        "oldest_ns",
        "oldest_waiting_ns",
        "since_ns",
        "started_ns",
        "state_since_ns",
        "to_ns",
        "unallocated_since_ns",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceView:
    """The link to one device.

    Attributes:
        name: as in the configuration.
        state: the supervisor's word for the link.
        since_ns: when that state began.
        last_value_ns: when the last good value arrived; a bad one does not count.
        last_error: why the link was lost last.
        next_retry_ns: when the next attempt is due.
        reconnects: how often the link came up again since the start.
        failures: attempts in a row that did not lead to a healthy link.
        problems: signals that cannot be read now, each with its reason.
        notices: what a person should know though everything is read: a short key, and a sentence.
        simulated: it reads a simulation, not a machine.
    """

    name: str
    state: str
    since_ns: int
    last_value_ns: int | None = None
    last_error: str = ""
    next_retry_ns: int | None = None
    reconnects: int = 0
    failures: int = 0
    problems: Mapping[str, str] = field(default_factory=dict)
    notices: Mapping[str, str] = field(default_factory=dict)
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetView:
    """The link to one ERP, and what waits for it.

    Attributes:
        name: as in the configuration.
        link: the supervisor's word for the link.
        since_ns: when that state of the link began.
        waiting: confirmations not yet posted and not parked.
        uncertain: of these, sent with an unknown end.
        parked: postings that a person must decide on.
        accepted: taken over by the target, not yet booked.
        delivered: taken over by a target that never says whether it booked them.
        posted: confirmations booked since the epoch began.
        oldest_waiting_ns: when the oldest waiting confirmation was made.
        last_posted_ns: when the last one was booked.
        last_error: why the last send failed.
        next_retry_ns: when the next attempt is due.
        held: of those that wait, in the window in which they may still be replaced.
        needs_approval: of those that wait, beyond a tolerance: a person approves them first.
        goods_errors: of those that are booked, without their material: a person posts it.
        latency_last_ms: from the last piece of the newest answered confirmation to its answer, None without any.
        latency_median_ms: the middle one of the newest 200 confirmations, as far as they are answered.
        latency_p95_ms: their 95th percentile (nearest rank).
        stages_p95_ms: the same of each stage by itself: ``detection``, ``trigger``, ``waiting``, ``answer``.
        late: of these, how many took longer than ``late_after``.
        breaker: closed: everything is sent; open: nothing until ``next_retry_ns``; half_open: one trial posting.
        breaker_since_ns: since when.
        failures: of the target itself, in a row.
        last_success_ns: when it last answered, whatever it said.
        answers_waiting: answers to orders that are not told yet and not parked.
        answers_parked: answers to orders that a person must decide on.
        notices_waiting: notices that are not told yet and not parked.
        notices_parked: notices that a person must decide on.
    """

    name: str
    link: str
    since_ns: int
    waiting: int = 0
    uncertain: int = 0
    parked: int = 0
    accepted: int = 0
    delivered: int = 0
    posted: int = 0
    oldest_waiting_ns: int | None = None
    last_posted_ns: int | None = None
    last_error: str = ""
    next_retry_ns: int | None = None
    held: int = 0
    needs_approval: int = 0
    goods_errors: int = 0
    latency_last_ms: int | None = None
    latency_median_ms: int | None = None
    latency_p95_ms: int | None = None
    stages_p95_ms: Mapping[str, int | None] = field(default_factory=dict)
    late: int = 0
    breaker: str = "closed"
    breaker_since_ns: int | None = None
    failures: int = 0
    last_success_ns: int | None = None
    answers_waiting: int = 0
    answers_parked: int = 0
    notices_waiting: int = 0
    notices_parked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkUnitView:
    """One machine: its state, its order, its pieces.

    Attributes:
        id: the work unit, as in the configuration.
        state: machine state (``MachineState``).
        state_since_ns: when it began.
        reason: what a stop, a setup or the lack of data is put down to; "" where there is nothing to say.
        reason_source: of a stop's reason: ``alarm``, ``rule``, ``operator``, or "".
        evidence: what the state is derived from, in words.
        reduced_speed: it produces, but slowly.
        shift: name of the shift, None outside of shifts; ``production_day`` is the day that it belongs to.
        planned: ``PLANNED_STOP`` or ``NOT_SCHEDULED``, as the calendar says; None in working time.
        order: running order, None if none runs; ``operation`` and ``product`` go with it.
        target: its target quantity as text (an exact decimal).
        good: good pieces of the running order; ``scrap``, ``rework``, ``hold`` (waiting for a verdict) and ``test``
            (samples that were taken out) likewise.
        last_piece_ns: when the last piece was counted.
        unconfirmed_good: good pieces of it that are not confirmed; ``unconfirmed_scrap``, ``_rework``, ``_hold`` and
            ``_test`` likewise.
        unallocated_good: good pieces without an order; the other roles likewise.
        unallocated_since_ns: when the oldest of them was made, None without any.
        written_off: pieces without an order that a person wrote off as scrap.
        review_pieces: pieces set aside for a person.
        unknown: pieces nobody can know; each with signal, role, from_ns, to_ns, max_pieces, flag, order, operation.
        counted_good: good pieces this gateway ever counted here; the other roles likewise.
        queue: open orders, what runs first, each with order, operation, state, quantity, good, scrap, rework, hold,
            test, hold_reason ("" where it is not on hold), rush, before_good (good pieces of the operation before when
            that was told last, None: nobody told) and exceeds_predecessor (it was found to have more than that and the
            tolerance), waits_for (``first_article``: its approval; ``person``: one interrupted it, and starts it
            again) and bom_waits (from when on which engineering change is reckoned with, "" for none). Where
            several run at once ``order`` is the leading one.
        operators: who is logged in, by when they came; each with person and from_ns.
        lots: what is mounted, by feeder; each with feeder, item, lot, since_ns and left (text, None: nobody knows).
        holds: of the machine, of products, lots and orders; each with scope, name ("" for the machine), reason, who and
            since_ns.
        serials_held: duplicate serial numbers of which no piece is counted yet.
    """

    id: str
    state: str
    state_since_ns: int
    reason: str = ""
    reason_source: str = ""
    evidence: str = ""
    reduced_speed: bool = False
    shift: str | None = None
    production_day: str | None = None
    planned: str | None = None
    order: str | None = None
    operation: str | None = None
    product: str | None = None
    target: str = ""
    good: int = 0
    scrap: int = 0
    rework: int = 0
    hold: int = 0
    test: int = 0
    last_piece_ns: int | None = None
    unconfirmed_good: int = 0
    unconfirmed_scrap: int = 0
    unconfirmed_rework: int = 0
    unconfirmed_hold: int = 0
    unconfirmed_test: int = 0
    unallocated_good: int = 0
    unallocated_scrap: int = 0
    unallocated_rework: int = 0
    unallocated_hold: int = 0
    unallocated_test: int = 0
    unallocated_since_ns: int | None = None
    written_off: int = 0
    review_pieces: int = 0
    unknown: tuple[Mapping[str, Any], ...] = ()
    counted_good: int = 0
    counted_scrap: int = 0
    counted_rework: int = 0
    counted_hold: int = 0
    counted_test: int = 0
    queue: tuple[Mapping[str, Any], ...] = ()
    operators: tuple[Mapping[str, Any], ...] = ()
    lots: tuple[Mapping[str, Any], ...] = ()
    serials_held: int = 0
    holds: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttView:
    """The link to the broker.

    Attributes:
        connected: the broker answered and the link is up.
        last_error: why it is not, or which topic the broker refuses.
        dropped: telemetry messages thrown away since the start, because the queue was full or the link broke.
        events_dropped: events thrown away since the start, because too many waited for the broker.
    """

    connected: bool
    last_error: str = ""
    dropped: int = 0
    events_dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedView:
    """Where orders come from.

    Attributes:
        name: the connector, as in the configuration.
        up: whether the last question was answered; None before the first answer.
        last_poll_ns: when it was asked last.
        received: operations handed to machines since the start.
        elsewhere: operations whose work center is none of this gateway's.
        refused: the last orders that could not be taken, each with place and reasons.
        last_error: why it could not be asked last.
    """

    name: str
    up: bool | None = None
    last_poll_ns: int | None = None
    received: int = 0
    elsewhere: int = 0
    refused: tuple[Mapping[str, Any], ...] = ()
    last_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockView:
    """What the gateway knows of the time.

    Attributes:
        quality: who vouches for it (``TimeQuality``, in small letters).
        known: somebody does, or did.
        since_ns: since when the quality is what it is.
        utc_offset_ms: UTC minus the steady time, by which stored times are to be read.
        offset_ms: how far the system's clock is ahead of UTC as the gateway knows it.
    """

    quality: str
    known: bool
    since_ns: int
    utc_offset_ms: int
    offset_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditView:
    """The audit trail.

    Attributes:
        entries: so many there are.
        hash: of the last one.
        anchor: the newest that was kept for publishing, "" while there is none.
        anchor_day: the plant's day for which it was kept, YYYY-MM-DD.
        profile: how much is asked of a decision: standard or regulated.
    """

    entries: int
    hash: str
    anchor: str = ""
    anchor_day: str = ""
    profile: str = "standard"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconciliationView:
    """The last report of what was confirmed against what the ERPs have booked.

    Attributes:
        number: of the report.
        at_ns: when it was made.
        cause: ``nightly``, or ``asked``.
        findings: so many differences it has.
    """

    number: int
    at_ns: int
    cause: str
    findings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayView:
    """The whole gateway at one moment.

    ``mqtt`` is None where no broker is configured, ``reconciliation`` where nothing was compared yet, ``buffer`` where
    it cannot be read.
    """

    id: str
    version: str
    pid: int
    started_ns: int
    now_ns: int
    epoch: str
    state_dir: str
    config_digest: str
    clock: ClockView
    audit: AuditView | None = None
    reconciliation: ReconciliationView | None = None
    buffer: BufferFigures | None = None
    mqtt: MqttView | None = None
    sources: tuple[SourceView, ...] = ()
    targets: tuple[TargetView, ...] = ()
    feeds: tuple[FeedView, ...] = ()
    work_units: tuple[WorkUnitView, ...] = ()
    warnings: tuple[str, ...] = ()


_Views = AuditView | ClockView | ReconciliationView | SourceView | TargetView | FeedView | WorkUnitView | MqttView
_Figures = BufferFigures | EventFigures | HeldFigures | LostFigures | RoomFigures | TargetFigures
_Part = _Views | _Figures
View = TypeVar("View", bound=GatewayView | _Part)


def in_utc(view: View, utc_ns: Callable[[int], int]) -> View:
    """The same view with its instants in UTC. ``utc_ns`` says what UTC was at a steady time."""
    return replace(view, **{one.name: _named(one.name, getattr(view, one.name), utc_ns) for one in fields(view)})


def _named(name: str, value: Any, utc_ns: Callable[[int], int]) -> Any:
    if name in INSTANTS and isinstance(value, int):
        return utc_ns(value)
    if isinstance(value, Mapping):
        return {key: _named(key, item, utc_ns) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_named("", item, utc_ns) for item in value)
    if isinstance(value, _Part):
        return in_utc(value, utc_ns)
    return value


def to_json(view: View, utc_ns: Callable[[int], int] | None = None) -> dict[str, Any]:
    """The view as a JSON document: the same names, a list for every tuple; with ``utc_ns`` that of ``in_utc``."""
    document: dict[str, Any] = _plain(view, utc_ns)
    return document


def _plain(value: Any, utc_ns: Callable[[int], int] | None, name: str = "") -> Any:
    # In one go: screens ask for all machines again and again, and a view in between would be made for nothing.
    if utc_ns is not None and name in INSTANTS and isinstance(value, int):
        return utc_ns(value)
    kind = type(value)
    if kind in _LEAVES:
        return value
    if (names := _NAMES.get(kind)) is not None:
        return {one: _plain(getattr(value, one), utc_ns, one) for one in names}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, utc_ns, key) for key, item in value.items()}
    if isinstance(value, (list, tuple)):  # as ``in_utc``: nothing in a list is an instant
        return [_plain(item, utc_ns if isinstance(value, tuple) else None) for item in value]
    return value


_LEAVES: Final = frozenset({str, int, bool, float, type(None)})
_NAMES: Final = {view: tuple(one.name for one in fields(view)) for view in (GatewayView, *get_args(_Part))}
