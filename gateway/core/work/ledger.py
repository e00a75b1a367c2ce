"""How long a machine worked for each order, exactly: sums of its final intervals, and of the people's time in them.

Sums only; what a confirmation tells of them is decided in ``work_book.py``. An interval enters once, in turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.state.interval import cut
from gateway.core.work.activity_times import NO_TIME, PeriodTimes, period_from
from gateway.core.work.family_time import Together, together_from
from gateway.core.work.labour import Labour, labour_from, labour_of, settled, stretch_of, took
from gateway.core.work.lots import Feeder, feeder_from
from gateway.core.work.packing import Packed, packed_from
from gateway.core.work.rounding import carry_from_row
from gateway.core.work.time_account import TimeAccount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.core.rules_material import WorkRule
    from gateway.core.state.interval import StateInterval
    from gateway.core.state.time_elements import TimeElements, TimeModel
    from gateway.core.work.family_time import FamilyTime
    from gateway.core.work.labour import LabourSlice, RunStretch

LEDGERS_MAX: Final = 2_256  # open orders, and as many that ended as can wait for their last intervals

Key = tuple[str, str]


class RunLedger(NamedTuple):
    """All that is final of one operation on this machine.

    ``told``: what was told in all, once its final confirmation is made; from then on it waits for its last intervals.
    ``ended_ns``: when that was. ``crew``: persons that the operation is planned with. ``told_states``: of each machine
    state the thousandths of a minute that were told, once ``told`` is there.
    """

    order: str
    operation: str
    period: PeriodTimes = NO_TIME
    states: tuple[tuple[str, int], ...] = ()
    told: TimeAccount | None = None
    ended_ns: int = 0
    crew: int = 1
    told_states: tuple[tuple[str, int], ...] = ()

    @property
    def key(self) -> Key:
        """Order and operation."""
        return (self.order, self.operation)

    def with_interval(self, state: str, elements: TimeElements, length_ns: int) -> RunLedger:
        """With one interval more."""
        sums = dict(self.states)
        sums[state] = sums.get(state, 0) + length_ns
        return self._replace(period=self.period.plus(PeriodTimes(elements)), states=tuple(sorted(sums.items())))

    def with_labour(self, found: LabourSlice) -> RunLedger:
        """With the people's time of one slice more."""
        return self._replace(period=self.period.plus(PeriodTimes(labour=found.labour, labour_setup=found.labour_setup)))

    def plus(self, other: RunLedger, sign: int) -> RunLedger:
        """With the times of another one (``sign`` 1), or without them (-1)."""
        sums = dict(self.states)
        for name, length_ns in other.states:
            sums[name] = sums.get(name, 0) + sign * length_ns
        states = tuple((name, length_ns) for name, length_ns in sorted(sums.items()) if length_ns)
        return self._replace(period=self.period.plus(other.period.times(sign)), states=states)


class WorkState(NamedTuple):
    """What a work unit remembers of times, people and material besides its orders.

    ``ledgers`` by order, in their sequence of appearance; ``labour`` knows this machine only. ``read``: what the reader
    of serial numbers showed last. ``holds``: duplicates of which no piece is counted yet, by order, operation and
    who said it. ``together``: which orders shared the machine in time that is not final.
    ``packed``: what went into handling units and is not told yet.
    """

    ledgers: tuple[RunLedger, ...] = ()
    labour: Labour = Labour()
    feeders: tuple[Feeder, ...] = ()
    read: str | None = None
    holds: tuple[tuple[str, str, str], ...] = ()
    together: tuple[Together, ...] = ()
    packed: tuple[Packed, ...] = ()

    def ledger(self, key: Key) -> RunLedger | None:
        """That of an order."""
        return next((one for one in self.ledgers if one.key == key), None)


class TimeBook:
    """Enters intervals, with the rules of one machine.

    Args:
        rule: the settings.
        machine: its name.
        model: which time element a state is.
        family: how orders that run together share it.
    """

    def __init__(self, rule: WorkRule, machine: str, model: TimeModel, family: FamilyTime) -> None:
        self._family = family
        self._rule = rule
        self._machine = machine
        self._model = model

    def entered(self, work: WorkState, row: Iterable[StateInterval], crew_of: Callable[[Key], int]) -> WorkState:
        """With final intervals of the machine; ``crew_of`` says how many persons an operation is planned with."""
        ledgers = {one.key: one for one in work.ledgers}
        labour = work.labour
        for found in row:
            known = labour.machine(self._machine)
            rest = found if known is None else cut(found, known.seen_ns)[1]
            if rest is None:  # other rules told anew what is in already
                continue
            self._enter(ledgers, rest, crew_of, work.together)
            stretch = self._stretch(rest, crew_of)
            labour, slices = settled(took(labour, self._machine, rest.to_ns, stretch), self._rule.labour)
            self._work(ledgers, slices, work.together)
        return work._replace(ledgers=tuple(ledgers.values()), labour=labour)

    def fresh(self, work: WorkState, row: Iterable[StateInterval]) -> tuple[StateInterval, ...]:
        """What of final intervals is not in yet: other rules may tell anew what is."""
        known = work.labour.machine(self._machine)
        parts = (one if known is None else cut(one, known.seen_ns)[1] for one in row)
        return tuple(one for one in parts if one is not None)

    def taken_back(
        self,
        work: WorkState,
        taken: Sequence[StateInterval],
        given: Sequence[StateInterval],
        crew_of: Callable[[Key], int],
    ) -> WorkState:
        """Without intervals that were entered, and with the same as they were in truth."""
        ledgers = {one.key: one for one in work.ledgers}
        for row, sign in ((taken, -1), (given, 1)):
            for one in self._of(work, row, crew_of):
                known = ledgers.get(one.key) or RunLedger(*one.key, crew=one.crew)
                ledgers[one.key] = known.plus(one, sign)
        return work._replace(ledgers=tuple(ledgers.values()))

    def _of(
        self, work: WorkState, row: Sequence[StateInterval], crew_of: Callable[[Key], int]
    ) -> tuple[RunLedger, ...]:
        """What intervals are by themselves."""
        ledgers: dict[Key, RunLedger] = {}
        for found in row:
            self._enter(ledgers, found, crew_of, work.together)
            stretch = self._stretch(found, crew_of)
            if stretch is not None:
                span = (found.from_ns, found.to_ns)
                self._work(ledgers, labour_of([stretch], work.labour.log_ins, self._rule.labour, *span), work.together)
        return tuple(ledgers.values())

    def seeming(
        self, work: WorkState, key: Key, row: Sequence[StateInterval], crew_of: Callable[[Key], int], to_ns: int
    ) -> RunLedger:
        """One order's ledger up to an instant, with what is not final as it seems to be."""
        ledgers = {key: work.ledger(key) or RunLedger(*key)}
        known = work.labour.machine(self._machine)
        from_ns = to_ns if known is None else known.seen_ns
        stretches: list[RunStretch] = []
        for found in row:
            rest = cut(found, from_ns)[1]
            rest = None if rest is None else cut(rest, to_ns)[0]
            if rest is None or not _concerns(work.together, rest, key):
                continue
            self._enter(ledgers, rest, crew_of, work.together)
            stretch = self._stretch(rest, crew_of)
            stretches += () if stretch is None else (stretch,)
        if stretches and to_ns > from_ns:
            self._work(
                ledgers, labour_of(stretches, work.labour.log_ins, self._rule.labour, from_ns, to_ns), work.together
            )
        return ledgers[key]

    def states(self, work: WorkState, key: Key, row: Iterable[StateInterval]) -> tuple[tuple[str, int], ...]:
        """One order's time by machine state, with these intervals, as far as they are not in already."""
        known = work.labour.machine(self._machine)
        ledgers = {key: work.ledger(key) or RunLedger(*key)}
        for found in row:
            rest = found if known is None else cut(found, known.seen_ns)[1]
            if rest is not None:
                self._enter(ledgers, rest, lambda _key: 1, work.together)
        return ledgers[key].states

    def _enter(
        self,
        ledgers: dict[Key, RunLedger],
        found: StateInterval,
        crew_of: Callable[[Key], int],
        together: tuple[Together, ...],
    ) -> None:
        if found.order is None:
            return
        own = (found.order, found.operation or "")
        for one, family in self._family.stretches(together, found):
            period = PeriodTimes(self._model.of(one), late_ns=one.length_ns)  # the length is shared with the rest
            parts = [(own, period)] if family is None else self._family.parts(period, family, one.from_ns)
            for key, part in parts:
                known = (ledgers.get(key) or RunLedger(*key))._replace(crew=crew_of(key))
                ledgers[key] = known.with_interval(one.state.value, part.elements, part.late_ns)

    def _stretch(self, found: StateInterval, crew_of: Callable[[Key], int]) -> RunStretch | None:
        element = self._model.element(found)
        crew = 0 if found.order is None else crew_of((found.order, found.operation or ""))
        basis = self._rule.times.machine_time_basis
        return stretch_of(self._machine, found, element, self._rule.labour, basis=basis, crew=crew)

    def _work(
        self, ledgers: dict[Key, RunLedger], slices: Iterable[LabourSlice], together: tuple[Together, ...]
    ) -> None:
        for found in slices:
            key = (found.order, found.operation)
            family = next((one for one in reversed(together) if one.from_ns <= found.from_ns), None)
            if family is None or len(family.members) == 1 or not family.runs(key):
                ledgers[key] = (ledgers.get(key) or RunLedger(*key)).with_labour(found)
                continue
            period = PeriodTimes(labour=found.labour, labour_setup=found.labour_setup)
            for each, part in self._family.parts(period, family, found.from_ns):
                known = ledgers.get(each) or RunLedger(*each)
                ledgers[each] = known._replace(period=known.period.plus(part))


def _concerns(together: tuple[Together, ...], found: StateInterval, key: Key) -> bool:
    """Whether some of an interval may be an order's: its own, or one that ran beside."""
    if (found.order, found.operation or "") == key:
        return True
    return found.order is not None and any(one.runs(key) for one in together)


def work_state_from(document: Mapping[str, Any]) -> WorkState:
    """What ``_asdict`` and JSON made of ``WorkState``. Raises KeyError, TypeError, ValueError."""
    machines, stretches, log_ins = document["labour"]
    return WorkState(
        tuple(_ledger(*row) for row in document["ledgers"]),
        labour_from({"machines": machines, "stretches": stretches, "log_ins": log_ins}),
        tuple(feeder_from({"name": name, "item": item, "lots": lots}) for name, item, lots in document["feeders"]),
        document.get("read"),
        tuple((order, operation, who) for order, operation, who in document.get("holds", ())),
        together_from(document.get("together", ())),
        packed_from(document.get("packed", ())),
    )


def _ledger(
    order: str,
    operation: str,
    period: Sequence[Any],
    states: Sequence[Any],
    told: Sequence[Any] | None,
    ended_ns: int = 0,
    crew: int = 1,
    told_states: Sequence[Any] = (),
) -> RunLedger:
    account = None if told is None else TimeAccount(*(carry_from_row(row) for row in told))
    sums = tuple((state, length_ns) for state, length_ns in states)
    named = tuple((state, steps) for state, steps in told_states)
    return RunLedger(order, operation, period_from(period), sums, account, ended_ns, crew, named)
