"""Setup, machine and labour time of one operation on one machine, confirmation by confirmation.

Final intervals are cut where confirmations were closed; what becomes final after its confirmation was told goes into
the next one. Sums are exact; minutes are rounded in ``time_account.py``. Makes no confirmation and knows no clock.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.state.interval import cut
from gateway.core.state.time_elements import TimeElements
from gateway.core.work.rounding import NOTHING, Exact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.core.rules_material import MachineTimeBasis
    from gateway.core.state.interval import StateInterval
    from gateway.core.state.time_elements import TimeModel
    from gateway.core.work.labour import LabourSlice

CUTS_MAX: Final = 64  # confirmations that are closed and wait for their times


class PeriodTimes(NamedTuple):
    """What one period took, exactly: sums of time elements, and labour in nanoseconds of one person.

    ``late_ns`` of it lies before the period: it was not final when its own confirmation was told.
    """

    elements: TimeElements = TimeElements()
    labour: Exact = NOTHING
    labour_setup: Exact = NOTHING
    late_ns: int = 0

    @property
    def setup_ns(self) -> int:
        """Setup of the machine: AUST."""
        return self.elements.aust_ns

    def machine_ns(self, basis: MachineTimeBasis) -> int:
        """Machine time: ``busy`` AUBT - AUST, ``production`` APT."""
        elements = self.elements
        return elements.apt_ns if basis == "production" else elements.aubt_ns - elements.aust_ns

    def plus(self, other: PeriodTimes) -> PeriodTimes:
        """Both together."""
        return PeriodTimes(
            self.elements.plus(other.elements),
            self.labour.plus(other.labour.fraction),
            self.labour_setup.plus(other.labour_setup.fraction),
            self.late_ns + other.late_ns,
        )

    def times(self, number: int) -> PeriodTimes:
        """So many times that; -1: what takes it away."""
        return PeriodTimes(
            TimeElements(*(one * number for one in self.elements)),
            Exact.of(self.labour.fraction * number),
            Exact.of(self.labour_setup.fraction * number),
            self.late_ns * number,
        )


NO_TIME: Final = PeriodTimes()


class RunTimes(NamedTuple):
    """The times of an operation on one machine that are not told yet.

    ``taken_to_ns``: final intervals of the machine are in up to here; ``labour_to_ns`` the same of labour.
    ``told_to_ns``: the last confirmation whose times were told. ``cuts`` are the confirmations that are closed and not
    told, in the order of time; ``sums`` has one more, for the period that is open. ``ended``: the last one closed was
    final.
    """

    order: str
    operation: str
    taken_to_ns: int
    labour_to_ns: int
    told_to_ns: int
    cuts: tuple[int, ...] = ()
    sums: tuple[PeriodTimes, ...] = (NO_TIME,)
    ended: bool = False


def begin(order: str, operation: str, from_ns: int) -> RunTimes:
    """Nothing yet, from an instant on."""
    return RunTimes(order, operation, from_ns, from_ns, from_ns)


def taken(run: RunTimes, interval: StateInterval, model: TimeModel) -> RunTimes:
    """With the machine's next final interval, whosever it is: those of other orders only say how far it is told.

    Raises ValueError for time that is in already: it would count twice.
    """
    if interval.from_ns < run.taken_to_ns:
        raise ValueError(
            f"{run.order}/{run.operation}: found an interval from {interval.from_ns} ns, allowed from "
            f"{run.taken_to_ns} ns on: what was before is in already"
        )
    run = run._replace(taken_to_ns=interval.to_ns)
    if (interval.order, interval.operation or "") != (run.order, run.operation):
        return run
    sums = list(run.sums)
    rest: StateInterval | None = interval
    for index in range(len(sums)):
        if rest is None:
            break
        earlier, rest = cut(rest, run.cuts[index]) if index < len(run.cuts) else (rest, None)
        if earlier is not None:
            late_ns = max(0, min(earlier.to_ns, run.told_to_ns) - earlier.from_ns)
            sums[index] = sums[index].plus(PeriodTimes(model.of(earlier), late_ns=late_ns))
    return run._replace(sums=tuple(sums))


def with_labour(run: RunTimes, slices: Iterable[LabourSlice], machine: str, to_ns: int) -> RunTimes:
    """With the labour of this run that is settled up to ``to_ns``; slices of other runs and machines are not its own.

    Raises ValueError for labour that is in already.
    """
    if to_ns < run.labour_to_ns:
        raise ValueError(
            f"{run.order}/{run.operation}: found labour up to {to_ns} ns, allowed from {run.labour_to_ns} ns on"
        )
    sums = list(run.sums)
    for found in slices:
        if (found.machine, found.order, found.operation) != (machine, run.order, run.operation):
            continue
        edges = [found.from_ns, *(min(max(at, found.from_ns), found.to_ns) for at in run.cuts), found.to_ns]
        for index, (from_ns, until_ns) in enumerate(pairwise(edges)):
            part = Fraction(until_ns - from_ns, found.to_ns - found.from_ns)
            sums[index] = sums[index].plus(
                PeriodTimes(
                    labour=Exact.of(found.labour.fraction * part),
                    labour_setup=Exact.of(found.labour_setup.fraction * part),
                )
            )
    return run._replace(sums=tuple(sums), labour_to_ns=to_ns)


def closed(run: RunTimes, at_ns: int, *, final: bool = False) -> RunTimes:
    """With a confirmation closed at an instant: what comes from there on belongs to the next.

    Raises ValueError where it lies before the last one, where time after it is in already (it could not be cut any
    more), after the final one, and for more than CUTS_MAX that wait.
    """
    where = f"{run.order}/{run.operation}"
    if run.ended:
        raise ValueError(f"{where}: found a confirmation after the final one, allowed none; reopen the order first")
    earliest = max(run.told_to_ns, run.taken_to_ns, run.labour_to_ns, *run.cuts)
    if at_ns < earliest:
        raise ValueError(f"{where}: found a confirmation at {at_ns} ns, allowed from {earliest} ns on")
    if len(run.cuts) >= CUTS_MAX:
        raise ValueError(f"{where}: found {CUTS_MAX} confirmations that wait for their times, allowed no more")
    return run._replace(cuts=(*run.cuts, at_ns), sums=(*run.sums, NO_TIME), ended=final)


def not_before_ns(run: RunTimes, settle_ns: int) -> int | None:
    """The earliest instant at which the first confirmation that is closed may be told with all its times.

    None: none is closed. Its own instant once everything up to there is final; until then ``settle_ns`` later, which
    is how long after its end an interval is final. A final confirmation waits for it; one on the way may be told
    sooner, and what was not final goes into the next.
    """
    if not run.cuts:
        return None
    at_ns = run.cuts[0]
    return at_ns if is_settled(run) else at_ns + settle_ns


def is_settled(run: RunTimes) -> bool:
    """Whether all times of the first confirmation that is closed are in."""
    return bool(run.cuts) and min(run.taken_to_ns, run.labour_to_ns) >= run.cuts[0]


def told(run: RunTimes) -> tuple[RunTimes, PeriodTimes]:
    """The times of the first confirmation that is closed, as far as they are known. Raises ValueError without one."""
    if not run.cuts:
        raise ValueError(f"{run.order}/{run.operation}: found no confirmation to tell times of; close one first")
    return run._replace(told_to_ns=run.cuts[0], cuts=run.cuts[1:], sums=run.sums[1:]), run.sums[0]


def after_final(run: RunTimes) -> PeriodTimes | None:
    """Times that came after the final confirmation was told, None: none. They need a correction."""
    return run.sums[0] if run.ended and not run.cuts and run.sums[0] != NO_TIME else None


def reopened(run: RunTimes) -> RunTimes:
    """The order goes on: what came too late for the final confirmation goes into the next."""
    return run._replace(ended=False)


def run_times_from(document: Mapping[str, Any]) -> RunTimes:
    """What ``_asdict`` and JSON made of ``RunTimes``."""
    return RunTimes(
        **{**document, "cuts": tuple(document["cuts"]), "sums": tuple(period_from(one) for one in document["sums"])}
    )


def period_from(row: Sequence[Any]) -> PeriodTimes:
    """What JSON made of ``PeriodTimes``."""
    elements, labour, labour_setup, late_ns = row
    return PeriodTimes(TimeElements(*elements), Exact(*labour), Exact(*labour_setup), late_ns)
