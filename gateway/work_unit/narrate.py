"""Tells in the log what a person wants to know of a committed step: orders, doubts, what people said. Never a count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from gateway.core.document import utc
from gateway.core.entries import PiecesReclassified
from gateway.core.model import Confirmation, CountEvent, JobChanged, Notice, UnknownInterval
from gateway.core.orders.unallocated import CountAllocation
from gateway.core.state.annotations import StopReasonAssigned
from gateway.core.state.setup import SetupEnded, SetupOverrun, SetupStarted
from gateway.core.state.timeline_state import ReasonRequired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.core.model import Output

#: Flags of ordinary life; every other flag is a doubt that someone should know of.
_ORDINARY: Final = frozenset(
    {"BASELINE", "ROLLOVER", "RESTART_RETENTIVE", "PENDING", "SPIKE_DROPPED", "COUNTER_JITTER", "PULSES_POSSIBLY_LOST"}
)

log = structlog.get_logger(__name__)


def narrate(work_unit: str, outputs: Iterable[Output], utc_ns: Callable[[int], int]) -> None:
    """One line for each output that is worth one. ``utc_ns`` says what UTC was at a steady time."""
    for output in outputs:
        match output:
            case Notice(code=code, detail=detail):
                log.warning("notice", work_unit=work_unit, code=code, **dict(detail))
            case UnknownInterval():
                log.warning(
                    "pieces that nobody can know",
                    work_unit=work_unit,
                    signal=output.signal,
                    since=utc(utc_ns(output.t_from_ns)),
                    until=utc(utc_ns(output.t_to_ns)),
                    max_pieces=output.max_pieces,
                    code=output.flag,
                )
            case CountEvent(flag=flag) if flag not in _ORDINARY:
                log.warning(
                    "count",
                    work_unit=work_unit,
                    signal=output.signal,
                    code=flag,
                    booked=output.delta,
                    under_review=output.review,
                )
            case JobChanged(record=record, previous=previous) if record.state is not previous:
                log.info(
                    "order",
                    work_unit=work_unit,
                    order=record.job.order,
                    operation=record.job.operation,
                    state=record.state.value,
                    trigger=output.trigger,
                )
            case ReasonRequired() | SetupOverrun() | SetupStarted() | SetupEnded():
                _of_state(work_unit, output, utc_ns)
            case StopReasonAssigned() | PiecesReclassified() | CountAllocation():
                _said(work_unit, output, utc_ns)
            case Confirmation(job=job):
                log.info(
                    "confirmation",
                    work_unit=work_unit,
                    order=job.order,
                    operation=job.operation,
                    seq=output.seq,
                    kind=output.kind.value,
                    good=output.good,
                    scrap=output.scrap,
                    trigger=output.trigger,
                )
            case _:
                pass


def _of_state(
    work_unit: str, output: ReasonRequired | SetupOverrun | SetupStarted | SetupEnded, utc_ns: Callable[[int], int]
) -> None:
    match output:
        case ReasonRequired(stop_from_ns=since_ns, state=state):
            log.warning("reason wanted", work_unit=work_unit, state=state.value, since=utc(utc_ns(since_ns)))
        case SetupOverrun(since_ns=since_ns):
            log.warning("setup takes long", work_unit=work_unit, since=utc(utc_ns(since_ns)))
        case SetupStarted(from_ns=since_ns, trigger=trigger, who=who):
            log.info("setup began", work_unit=work_unit, since=utc(utc_ns(since_ns)), trigger=trigger, who=who)
        case SetupEnded(trigger=trigger, who=who):
            log.info("setup ended", work_unit=work_unit, trigger=trigger, who=who)


def _said(
    work_unit: str, output: StopReasonAssigned | PiecesReclassified | CountAllocation, utc_ns: Callable[[int], int]
) -> None:
    if isinstance(output, StopReasonAssigned):
        stop = utc(utc_ns(output.from_ns))
        log.info("stop named", work_unit=work_unit, stop=stop, reason=output.reason, who=output.who)
        return
    if isinstance(output, CountAllocation):
        log.info(
            "pieces allocated" if output.order else "pieces written off",
            work_unit=work_unit,
            order=output.order,
            operation=output.operation,
            pieces=output.what.pieces,
            was=output.what.role.value,
            now=output.role_to.value,
            since=utc(utc_ns(output.what.t_from_ns)),
            until=utc(utc_ns(output.what.t_to_ns)),
            reason=output.reason,
            who=output.by,
        )
        return
    log.info(
        "pieces judged anew",
        work_unit=work_unit,
        order=output.order,
        operation=output.operation,
        pieces=output.pieces,
        was=output.from_role.value,
        now=output.to_role.value,
        reason=output.reason,
        who=output.who,
    )
