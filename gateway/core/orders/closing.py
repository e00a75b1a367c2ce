"""Closes what is open of a job order into confirmations: when a trigger asks, at its end, with all that goes with it.

Posting date, tolerance, milestone and hold-back are decided here, by the pure modules of ``confirming/``. Changes the
numbers of one job order; neither starts nor ends any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.confirmation import (
    CLOCK_NOT_SYNCHRONISED,
    Closing,
    confirm,
    content_of,
    due_by_pieces,
    shift_of,
    trigger_state,
    with_nothing_open,
)
from gateway.core.confirming import triggers
from gateway.core.confirming.checklist import beyond_tolerance
from gateway.core.confirming.corrections import Origin
from gateway.core.confirming.hold_back import admitted
from gateway.core.confirming.milestone import confirmed_by
from gateway.core.confirming.posting_date import PostingDate, posting_date
from gateway.core.confirming.triggers import Confirm, Trigger
from gateway.core.document import utc
from gateway.core.model import ConfirmationKind, JobChanged, JobOrderState
from gateway.core.orders.job_run import filled
from gateway.core.orders.merged import handed
from gateway.core.orders.progress import EXCEEDS, flagged
from gateway.core.work.handed_work import handed_over, shared_times, with_times
from gateway.core.work.work_book import WorkBook

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.calendar.shift_calendar import ShiftCalendar, Zone
    from gateway.core.document import Identity
    from gateway.core.model import Confirmation, Output
    from gateway.core.orders.job_run import JobRun
    from gateway.core.rules import WorkUnitRules
    from gateway.core.state.state_unit import MachineStateUnit
    from gateway.core.unit_state import State
    from gateway.core.work.handed_work import ToldTimes

__all__ = ["CLOCK_NOT_SYNCHRONISED", "Closer", "Said"]

_DATE_CHARS: Final = 10  # of "2026-03-27T06:00:00.000Z"


class Said:
    """Whose word causes a confirmation, and why; ``flags`` are further ones of it."""

    __slots__ = ("by", "flags", "origin", "reason")

    def __init__(
        self, by: str = "", reason: str = "", origin: Origin = Origin.AUTO, flags: tuple[str, ...] = ()
    ) -> None:
        self.by, self.reason, self.origin, self.flags = by, reason, origin, flags


NOBODY: Final = Said()


class Closer:
    """The rules of confirmations at one work unit, prepared.

    ``calendar`` and ``zone`` say on which production day something is posted; without a zone it is the day in UTC.
    """

    def __init__(
        self,
        rules: WorkUnitRules,
        identity: Identity,
        machine: MachineStateUnit,
        *,
        calendar: ShiftCalendar | None = None,
        zone: Zone | None = None,
    ) -> None:
        self.rule = rules.confirm
        self.identity = identity
        self.work = WorkBook(rules, identity.machine, machine)
        self._orders = rules.orders
        self._target_counts = rules.orders.target_counts
        #: Its orders are another machine's, which confirms them.
        self.silent = rules.orders.shares_with is not None
        self._people_count = rules.orders.counting_source == "operator"
        self._calendar = calendar
        self._zone = zone

    def close(
        self,
        state: State,
        run: JobRun,
        at_ns: int,
        kind: ConfirmationKind,
        trigger: str,
        said: Said = NOBODY,
        led: ToldTimes | None = None,
        *,
        last: bool,
    ) -> tuple[JobRun, Confirmation]:
        """The next confirmation of a job order; ``led``: its part of its leader's times; ``last``: none follows."""
        dated = self.dated(run.open_from_ns + state.utc_offset_ns, at_ns + state.utc_offset_ns)
        over, approval = self.over(run)
        window = admitted(self.rule, "", at_ns, by_person=bool(said.by))
        milestone = None if run.job.image is None else _milestone(run)
        shift, final = shift_of(state.track.timeline, at_ns), kind is ConfirmationKind.FINAL
        run, work = self.work.confirmed(state, run, at_ns, shift, final=final, last=last)
        work = work if led is None else with_times(work, led)
        closing = Closing(
            at_ns=at_ns,
            kind=kind,
            trigger=trigger,
            utc_offset_ns=state.utc_offset_ns,
            clock_known=state.clocks.known,
            shift=shift,
            posting_date=dated.posting,
            event_day=dated.event_day,
            origin=Origin.OPERATOR if self._people_count and said.origin is Origin.AUTO else said.origin,
            by=said.by,
            reason=said.reason,
            over_target=over,
            needs_approval=approval,
            clear_reservations=kind is ConfirmationKind.FINAL and self.rule.clear_reservations,
            kept_back=milestone or "",
            release_ns=window.release_ns,
            flags=self._flags(run, said),
            work=work,
            tool=state.track.setup.tool,
        )
        return confirm(self.identity, run, closing)

    def _flags(self, run: JobRun, said: Said) -> tuple[str, ...]:
        more = flagged(run, self._orders, self.rule.delivery) and EXCEEDS not in said.flags
        return (*said.flags, EXCEEDS) if more else said.flags

    def asked(
        self, state: State, run: JobRun, at_ns: int, out: list[Output], *asked: Trigger, said: Said = NOBODY
    ) -> JobRun:
        """The job order after these triggers: confirmed, or it waits, or there is nothing to say."""
        if self.silent:
            return run
        # Asked only where it decides: what was made is confirmed in any case.
        time_ns = 0 if run.open_pieces else self.work.open_time_ns(state, run, at_ns)
        kept, decision = triggers.decide(self.rule, trigger_state(run), content_of(run, time_ns), at_ns, asked)
        if not isinstance(decision, Confirm):
            return run if kept.waiting == run.waiting else run._replace(waiting=kept.waiting)
        return self.partial(state, run, at_ns, decision.trigger.value, out, said=said)

    def by_pieces(self, state: State, run: JobRun, at_ns: int, out: list[Output]) -> JobRun:
        """After pieces were booked: the confirmation that they fill, unless the last one was just made."""
        if not due_by_pieces(self.rule, run) or at_ns < run.confirmed_ns + self.rule.spacing_ns:
            return run
        return self.asked(state, run, at_ns, out)

    def partial(
        self,
        state: State,
        run: JobRun,
        at_ns: int,
        trigger: str,
        out: list[Output],
        *,
        said: Said = NOBODY,
        last: bool = False,
    ) -> JobRun:
        """A partial confirmation now, whatever the triggers say; ``last``: none follows here."""
        if self.silent:
            return run
        after = self.closed(state, run, at_ns, ConfirmationKind.PARTIAL, trigger, out, said=said, last=last)
        out.append(JobChanged(at_ns, after.record(), after.state, trigger))
        return after

    def closed(
        self,
        state: State,
        run: JobRun,
        at_ns: int,
        kind: ConfirmationKind,
        trigger: str,
        out: list[Output],
        *,
        said: Said = NOBODY,
        last: bool = False,
    ) -> JobRun:
        """What is open of a job order, confirmed: by itself, or where it leads others, by each of these.

        ``last``: none of it follows here, also where the ERP does not hear that it is the final one.
        """
        last = last or kind is ConfirmationKind.FINAL
        if run.merged is None:
            said_as = _kind(kind, run, _others(state, run))
            after, confirmation = self.close(state, run, at_ns, said_as, trigger, said, last=last)
            out.append(confirmation)
            return after
        merged, final = handed(run.merged, run), kind is ConfirmationKind.FINAL
        run, times = self.work.timed(state, run, at_ns, last=last)
        led = shared_times(times, merged.weights)
        outside, runs = _others(state, run), list(merged.runs)
        if flagged(run, self._orders, self.rule.delivery):
            said = Said(said.by, said.reason, said.origin, (*said.flags, EXCEEDS))
        for at, one in enumerate(merged.runs):
            if not one.anything_open and not led[at].takes_time and not final:
                continue
            said_as = _kind(kind, one, [*outside, *merged.runs[at + 1 :]])
            runs[at], confirmation = self.close(state, one, at_ns, said_as, trigger, said, led[at], last=last)
            told = runs[at]._replace(state=JobOrderState.MERGED).record()
            out.extend((confirmation, JobChanged(at_ns, told, JobOrderState.MERGED, trigger)))
        empty = with_nothing_open(run, at_ns)
        return empty._replace(merged=merged._replace(runs=tuple(runs)), work=handed_over(run.work))

    def over(self, run: JobRun) -> tuple[bool, bool]:
        """Whether more is made than the target, and more than is tolerated."""
        made = filled(run, self._target_counts)
        if made <= run.job.quantity:
            return False, False
        image = run.job.image
        tolerance = None if image is None else image.allowed_over
        # An image that a connector made up of a few fields names no kind of order, and so no tolerance.
        return True, beyond_tolerance(self.rule.delivery, run.job.quantity, tolerance, made)

    def dated(self, from_utc_ns: int, to_utc_ns: int) -> PostingDate:
        """Posting date and production day of a period."""
        if self._zone is not None:
            try:
                return posting_date(self._calendar, self._zone, from_utc_ns, max(from_utc_ns, to_utc_ns))
            except (ValueError, OverflowError):  # a clock that is years off: the day in UTC
                pass
        day = (utc(max(to_utc_ns - 1, 0)) or "")[:_DATE_CHARS]
        return PostingDate(day, day)


def _others(state: State, run: JobRun) -> list[JobRun]:
    """All that is open here, originals too, but this order and what it leads."""
    found: list[JobRun] = []
    for one in state.open_runs():
        if one.job.key != run.job.key:
            found += (one, *(() if one.merged is None else one.merged.runs))
    return found


def _kind(kind: ConfirmationKind, run: JobRun, others: Sequence[JobRun]) -> ConfirmationKind:
    """To the ERP the children of a split are one order: the last one alone ends it."""
    if kind is ConfirmationKind.FINAL and any(
        one.job.erp_key == run.job.erp_key and one.job.key != run.job.key for one in others
    ):
        return ConfirmationKind.PARTIAL
    return kind


def _milestone(run: JobRun) -> str | None:
    assert run.job.image is not None, "asked before"
    try:
        return confirmed_by(run.job.image, run.job.operation)
    except KeyError:  # the order names no such operation
        return None
