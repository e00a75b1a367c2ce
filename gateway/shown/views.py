"""What a work unit's state looks like from outside. Reads the core's state; changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.core.duration import NS_PER_UNIT
from gateway.core.orders.engineering_change import waits
from gateway.core.orders.foreign_states import WORDS
from gateway.core.orders.standing_holds import shown
from gateway.core.work.presence import logged_in_now
from gateway.core.work.rounding import decimal_text
from gateway.shown.machine_events import shift_and_day
from gateway.shown.status import ClockView, WorkUnitView

if TYPE_CHECKING:
    from gateway.core.model import UnknownInterval
    from gateway.core.orders.job_run import JobRun
    from gateway.core.state.display import StateDisplay
    from gateway.core.unit_state import State
    from gateway.core.work.labour import LogIn
    from gateway.core.work.lots import Feeder, MountedLot
    from gateway.timing.clock import SteadyClock

NS_PER_MS: Final = NS_PER_UNIT["ms"]


def work_unit_view(unit_id: str, state: State, display: StateDisplay) -> WorkUnitView:
    """The view of one machine at its last committed state; ``display`` holds its rules of states."""
    run, loose, counted = state.running, state.unallocated, state.counted
    told = display.shown(state.track)
    shift, day = shift_and_day(told.shift)
    return WorkUnitView(
        id=unit_id,
        state=state.track.state.value,
        state_since_ns=state.track.since_ns,
        reason=told.reason,
        reason_source=told.reason_source,
        evidence=state.track.reason,
        reduced_speed=told.reduced_speed,
        shift=shift,
        production_day=day,
        planned=None if told.planned is None else told.planned.value,
        order=run.job.order if run else None,
        operation=run.job.operation if run else None,
        product=run.job.product if run else None,
        target=str(run.job.quantity) if run else "",
        good=run.good if run else 0,
        scrap=run.scrap if run else 0,
        rework=run.rework if run else 0,
        hold=run.hold if run else 0,
        test=run.test if run else 0,
        last_piece_ns=state.last_piece_ns,
        unconfirmed_good=run.open_good if run else 0,
        unconfirmed_scrap=run.open_scrap if run else 0,
        unconfirmed_rework=run.open_rework if run else 0,
        unconfirmed_hold=run.open_hold if run else 0,
        unconfirmed_test=run.open_test if run else 0,
        unallocated_good=loose.good,
        unallocated_scrap=loose.scrap,
        unallocated_rework=loose.rework,
        unallocated_hold=loose.hold,
        unallocated_test=loose.test,
        unallocated_since_ns=state.unallocated_since_ns,
        written_off=state.bucket.written_off,
        review_pieces=state.review,
        unknown=tuple(_unknown(interval) for interval in state.unknown),
        counted_good=counted.good,
        counted_scrap=counted.scrap,
        counted_rework=counted.rework,
        counted_hold=counted.hold,
        counted_test=counted.test,
        holds=tuple(shown(one) for one in state.standing),
        queue=tuple(_queued(waiting) for waiting in state.open_runs()),
        operators=tuple(_operator(one) for one in logged_in_now(state.work)),
        lots=tuple(_lot(feeder, one) for feeder in state.work.feeders for one in feeder.mounted_at(state.at_ns)),
        serials_held=len(state.work.holds),
    )


def clock_view(clock: SteadyClock) -> ClockView:
    """What is known of the time, with steady times."""
    return ClockView(
        quality=clock.quality.name.lower(),
        known=clock.quality.known,
        since_ns=clock.quality_since_ns,
        utc_offset_ms=clock.offset_ns // NS_PER_MS,
        offset_ms=clock.wall_error_ns() // NS_PER_MS,
    )


def named_job(machine: str, job: dict[str, Any]) -> dict[str, Any]:
    """An open order of a view with its machine, and its state in the words of others."""
    return {"machine": machine, **job, "foreign": WORDS[job["state"]]}


def _unknown(interval: UnknownInterval) -> dict[str, Any]:
    return {
        "signal": interval.signal,
        "role": interval.role.value,
        "from_ns": interval.t_from_ns,
        "to_ns": interval.t_to_ns,
        "max_pieces": interval.max_pieces,
        "flag": interval.flag,
        "order": interval.order,
        "operation": interval.operation,
    }


def _operator(one: LogIn) -> dict[str, Any]:
    return {"person": one.person, "from_ns": one.from_ns if one.since_ns is None else one.since_ns}


def _lot(feeder: Feeder, lot: MountedLot) -> dict[str, Any]:
    left = None if lot.remaining is None else decimal_text(lot.remaining)
    return {"feeder": feeder.name, "item": feeder.item, "lot": lot.lot, "since_ns": lot.mounted_ns, "left": left}


def _queued(run: JobRun) -> dict[str, Any]:
    return {
        "order": run.job.order,
        "operation": run.job.operation,
        "state": run.state.value,
        "quantity": str(run.job.quantity),
        "good": run.good,
        "scrap": run.scrap,
        "rework": run.rework,
        "hold": run.hold,
        "test": run.test,
        "hold_reason": "; ".join(run.holds),
        "bom_waits": waits(run.job),
        "rush": run.rush_no > 0,
        "before_good": run.before_good,
        "exceeds_predecessor": run.exceeds,
        "waits_for": _waits_for(run),
    }


def _waits_for(run: JobRun) -> tuple[str, ...]:
    """Whom or what it waits for, so that it does not go on by itself."""
    article = run.awaits_article and run.waits_for_verdict
    return (*(("first_article",) if article else ()), *(("person",) if run.waits_for_person else ()))
