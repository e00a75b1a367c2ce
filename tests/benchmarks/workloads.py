"""Work units and what they are fed with, for the benchmarks of the core: one of each counting mode, and everything on.

The values are those of a machine that runs: every input of a mode's workload is one that the mode has to look at, and
``everything on`` is a line with scans, scrap, stops, alarms, changes of tool and order, a calendar and restarts of its
PLC. Measures nothing.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import count, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.core.document import Identity
from gateway.core.duration import Duration
from gateway.core.model import CalendarPlan, DataValue, JobOrder, MachineState, OrderReceived, PlannedTime, Role, Status
from gateway.core.rate import Rate
from gateway.core.ratio import Ratio
from gateway.core.rules import ConfirmRule, CounterRule, PulseRule, StateRule, WorkUnitRules
from gateway.core.rules_counting import AnalogRule, PartResultRule, ResultRule, RolesRule, StartEndRule
from gateway.core.rules_packml import PackmlRule
from gateway.core.rules_pieces import CavityRule, UnitsRule
from gateway.core.rules_state import DataLossRule, SetupRule, StopReasonRule
from gateway.core.rules_weighing import WeighingRule
from gateway.core.work_unit import WorkUnit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.core.model import Input, Scalar
    from gateway.core.unit_state import State

MS = 1_000_000
S = 1_000_000_000
START_NS = 1_780_000_000 * S
CYCLE_NS = S  # of every mode's workload
CAVITIES = 4
PULSES_PER_CARTON = 24

#: The line with everything on.
SCAN_NS = 500 * MS
SCANS_PER_PIECE = 3
PIECES_PER_SCRAP = 50
PIECES_PER_STOP = 400  # then an alarm, and a minute of standing
PIECES_PER_ORDER = 2_500
PIECES_PER_BOOT = 20_000
SCANS_PER_PLAN = 7_200  # an hour
SHIFT_NS = 8 * 3600 * S


class Workload(NamedTuple):
    """Rules, and the inputs without end that go with them, the same in every run."""

    rules: WorkUnitRules
    inputs: Callable[[], Iterator[Input]]

    def first(self, inputs: int) -> list[Input]:
        """So many inputs of a machine whose baselines are known."""
        return list(islice(self.inputs(), inputs))


def unit_of(rules: WorkUnitRules, number: int = 0) -> WorkUnit:
    """One of several work units with these rules."""
    identity = Identity(
        plant="P", epoch="e", gateway_id="gw", line="L", machine=f"M-{number}", work_center=rules.work_center
    )
    return WorkUnit(rules, identity)


def fed(unit: WorkUnit, state: State, inputs: list[Input]) -> State:
    """The state after these inputs; what they led to is thrown away."""
    handle = unit.handle
    for given in inputs:
        state, _ = handle(state, given)
    return state


def order(number: int = 4711, quantity: int = 10**12, product: str = "ART") -> JobOrder:
    """A job order, by default one that never ends."""
    return JobOrder(
        order=str(number),
        operation="0010",
        sequence="0",
        revision=1,
        work_center="WC",
        product=product,
        product_revision="",
        uom="PC",
        quantity=Decimal(quantity),
        sequence_no=number,
        std_cycle_ns=None,
        planned_start_ns=None,
        planned_end_ns=None,
        cancelled=False,
        source="erp",
    )


# --- one mode each ---------------------------------------------------------------------------------------------------


def _counter(signal: str, **over: Any) -> CounterRule:
    return CounterRule(mode="counter", signal=signal, modulus=2**32, max_rate=Rate.parse("100 /s"), **over)


def _pulse(signal: str) -> PulseRule:
    return PulseRule(mode="pulse", signal=signal)


def _verdict(cavity: int) -> Callable[[int], Scalar]:
    return lambda cycle: 2 if (cycle + cavity) % PIECES_PER_SCRAP == 0 else 1


def _amps(tenth: int) -> Callable[[int], Scalar]:
    return lambda cycle: 3.0 + cycle % 2 if tenth > 5 else 21.5 + tenth / 4


def _kilograms(tenth: int) -> Callable[[int], Scalar]:
    return lambda cycle: 25.0 + cycle % 7 / 10 + tenth % 2 / 100 if tenth > 3 else 0.01 * tenth


#: A mode's rule, and what its signals show at a tenth of a cycle: (tenth, signal, value of the cycle's number).
_Shown = tuple[int, str, "Callable[[int], Scalar]"]
_MODES: dict[str, tuple[Any, tuple[_Shown, ...]]] = {
    "counter": (_counter("m.n"), ((0, "m.n", lambda n: 1000 + n),)),
    "pulse": (_pulse("m.n"), ((0, "m.n", lambda _n: True), (5, "m.n", lambda _n: False))),
    "start_end": (
        StartEndRule(mode="start_end", signal="m.start", end_signal="m.end"),
        (
            (0, "m.start", lambda _n: True),
            (2, "m.start", lambda _n: False),
            (7, "m.end", lambda _n: True),
            (9, "m.end", lambda _n: False),
        ),
    ),
    "analog": (
        AnalogRule(mode="analog", signal="m.amps", hi="20", lo="5"),
        tuple((tenth, "m.amps", _amps(tenth)) for tenth in range(10)),
    ),
    "part_result": (
        PartResultRule(mode="part_result", signal="m.part", results=ResultRule(ok="m.ok", nok="m.nok")),
        (
            (0, "m.part", lambda _n: True),
            (2, "m.ok", lambda n: n % PIECES_PER_SCRAP != 0),
            (2, "m.nok", lambda n: n % PIECES_PER_SCRAP == 0),
            (5, "m.part", lambda _n: False),
            (5, "m.ok", lambda _n: False),
            (5, "m.nok", lambda _n: False),
        ),
    ),
    "roles": (
        RolesRule(mode="roles", total=_counter("m.total"), good=_counter("m.good"), scrap=_counter("m.scrap")),
        (
            (0, "m.scrap", lambda n: n // PIECES_PER_SCRAP),
            (0, "m.good", lambda n: n - n // PIECES_PER_SCRAP),
            (0, "m.total", lambda n: n),
        ),
    ),
    "packml": (
        PackmlRule(mode="packml", processed="m.processed", defective="m.defective", max_rate=Rate.parse("100 /s")),
        ((0, "m.defective", lambda n: n // PIECES_PER_SCRAP), (0, "m.processed", lambda n: n)),
    ),
    "cavity": (
        CavityRule(
            mode="cavity",
            cycle=_counter("m.n"),
            cavities=CAVITIES,
            verdict_signals=tuple(f"m.v{number}" for number in range(CAVITIES)),
        ),
        (
            *(
                (0, f"m.v{number}", lambda n, k=number: 2 if (n + k) % PIECES_PER_SCRAP == 0 else 1)
                for number in range(CAVITIES)
            ),
            (0, "m.n", lambda n: n),
        ),
    ),
    "units": (
        UnitsRule(mode="units", count=_pulse("m.n"), pulses_per_unit=Ratio.parse(str(PULSES_PER_CARTON))),
        ((0, "m.n", lambda _n: True), (5, "m.n", lambda _n: False)),
    ),
    "weighing": (
        WeighingRule(
            mode="weighing",
            signal="m.kg",
            unit_weight=Ratio.parse("0.25"),
            tare="0.8",
            resolution="0.01",
            tolerance="0.02",
            empty_below="0.5",
            max_weight="60",
            stable_for=Duration("200 ms"),
        ),
        tuple((tenth, "m.kg", _kilograms(tenth)) for tenth in range(10)),
    ),
}


def _mode(rule: Any, shown: tuple[_Shown, ...]) -> Workload:
    rules = WorkUnitRules(
        work_center="WC",
        ideal_cycle=Duration(CYCLE_NS),
        counters=(rule,),
        confirm=ConfirmRule(every_pieces=100, every=Duration("30 min")),
    )

    def inputs() -> Iterator[Input]:
        yield OrderReceived(START_NS, order(), None)
        for number in count():
            for tenth, signal, value in shown:
                at_ns = START_NS + number * CYCLE_NS + tenth * CYCLE_NS // 10
                yield DataValue(signal, value(number), Status.GOOD, at_ns, at_ns)

    return Workload(rules, inputs)


def modes() -> dict[str, Workload]:
    """Every counting mode by its name."""
    return {name: _mode(rule, shown) for name, (rule, shown) in _MODES.items()}


# --- everything on ---------------------------------------------------------------------------------------------------

EVERYTHING = WorkUnitRules(
    work_center="WC",
    ideal_cycle=Duration(SCAN_NS * SCANS_PER_PIECE),
    counters=(
        RolesRule(
            mode="roles",
            total=_counter("m.total", restart_evidence=("m.boots",)),
            good=_counter("m.good", restart_evidence=("m.boots",)),
            scrap=_counter("m.scrap", restart_evidence=("m.boots",)),
        ),
    ),
    confirm=ConfirmRule(every_pieces=100, every=Duration("5 min")),
    state=StateRule(
        signal="m.state",
        map="packml",
        mode_signal="m.mode",
        data_loss=DataLossRule(stale_after=Duration("30 s")),
        reasons=StopReasonRule(alarm_signals=("m.alarm",), alarms={"101": "TECH.FEEDER_JAM"}),
        setup=SetupRule(tool_signal="m.tool", end="n_good_in_tolerance", good_in_a_row=3, pieces_as="good"),
    ),
    calendar="three shifts",
)
_EXECUTE, _ABORTED = 6, 9


def everything(scans_per_piece: int = SCANS_PER_PIECE) -> Workload:
    """Three counters in roles beside state, mode, alarm, tool and boot counter, all of them in every scan."""
    return Workload(EVERYTHING, lambda: _line(scans_per_piece))


def _line(scans_per_piece: int) -> Iterator[Input]:
    made = scrap = phase = standing = ordered = 0
    for scan in count():
        at_ns = START_NS + scan * SCAN_NS
        if scan % SCANS_PER_PLAN == 0:
            yield _plan(at_ns)
        if made >= ordered * PIECES_PER_ORDER:
            ordered += 1
            # Two of every three orders are of the same product and its tool.
            yield OrderReceived(at_ns, order(ordered, PIECES_PER_ORDER, f"ART-{ordered // 3 % 2}"), None)
        phase += 1
        if standing:
            standing -= 1
        elif phase >= scans_per_piece:
            phase, made = 0, made + 1
            scrap += made % PIECES_PER_SCRAP == 0
            standing = 120 if made % PIECES_PER_STOP == 0 else 0
        shown = {
            "boots": made // PIECES_PER_BOOT,
            "state": _ABORTED if standing else _EXECUTE,
            "mode": 1,
            "alarm": 101 if standing else 0,
            "tool": ordered // 3 % 2,
            "scrap": scrap,
            "good": made - scrap,
            "total": made,
        }
        for name, value in shown.items():
            yield DataValue(f"m.{name}", value, Status.GOOD, at_ns, at_ns)


def _plan(at_ns: int) -> CalendarPlan:
    """The shift that goes on, half an hour of break in the middle of each, and the next two."""
    entries: list[PlannedTime] = []
    first = at_ns // SHIFT_NS
    for shift in range(first, first + 3):
        name, from_ns = f"{shift // 3}/{'FSN'[shift % 3]}", shift * SHIFT_NS
        paused_ns = from_ns + SHIFT_NS // 2
        entries += [
            PlannedTime(from_ns, None, name),
            PlannedTime(paused_ns, MachineState.PLANNED_STOP, name),
            PlannedTime(paused_ns + 1800 * S, None, name),
        ]
    return CalendarPlan(at_ns, tuple(entry for entry in entries if entry.from_ns >= at_ns - SHIFT_NS))


def roles_counted(state: State) -> dict[str, int]:
    """What a state has counted, by role; so that a benchmark can show that nothing was skipped."""
    return {role.value: pieces for role, pieces in zip(Role, state.counted, strict=True) if pieces}
