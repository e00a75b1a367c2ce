"""Random days of a whole machine: late values, losses, restarts, plans, orders, alarms, modes, setups, a motor current.

Whatever comes: what it did is told once and without a gap, no loss of data is a stop, every timer moves on, and the
rhythm in which time is handed over changes nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import snapshot
from gateway.core.duration import Duration
from gateway.core.model import CalendarPlan, MachineState, PlannedTime, Role, StateChanged, Status, TimePassed
from gateway.core.rules import CounterRule, OrderRule, StateRule
from gateway.core.rules_state import DataLossRule, RunningRule, SetupRule, StopReasonRule
from gateway.core.state.interval import StateInterval
from gateway.core.state.timeline import CONTEXTS_MAX, ROW_MAX

#: Of the profile: `make soak` gives more.
EXAMPLES = settings().max_examples

S = 1_000_000_000
M = MachineState
START_NS = 1_780_000_000 * S
GOOD = CounterRule(mode="counter", signal="plc.good")
SCRAP = CounterRule(mode="counter", signal="plc.scrap", role=Role.SCRAP)
LATE_MAX_S = 5  # an older stamp is not used
VALUES = {
    "state": (1, 2, 3, 7, 99),
    "mode": (0, 2, 9),
    "alarm": (0, 1, 2),
    "tool": (1, 2),
    "amps": (0, 7, 20.5),
    "release": (0, 1),
}
PLANNED = (None, M.PLANNED_STOP, M.NOT_SCHEDULED)
WORDS = ("good",) * 8 + ("order",) * 2 + ("seen",) * 4 + ("scrap", "bad", "lost", "restart", "plan", "say", *VALUES)


class Step(NamedTuple):
    """What happens so many half seconds after the step before; how late it is told; which of several."""

    word: str
    after: int
    late: int
    which: int


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(WORDS),
        st.sampled_from((0, 0, 1, 20, 20, 20, 22, 24, 40, 41, 60, 122, 620, 622, 1400, 8000)),
        st.sampled_from((0, 0, 0, 1, 4, 9, 10, 120)),
        st.integers(0, 50),
    ),
    min_size=12,
    max_size=60,
)


@st.composite
def rules(draw):
    """A machine as a configuration could write it."""
    words: dict[str, Any] = {}
    if draw(st.booleans()):
        table = {"1": M.PRODUCING, "2": M.STOPPED, "3": M.BLOCKED, "7": M.SETUP}
        words = {"signal": "plc.state", "map": table, "mode_signal": "plc.mode"}
        words["modes"] = {"2": M.MAINTENANCE, "9": M.SETUP}
    if draw(st.booleans()):
        words["running"] = RunningRule(signal="plc.amps", hi="10", lo="5")
    end = draw(st.sampled_from(("first_good", "n_good_in_tolerance", "operator_confirm", "plc_release")))
    return {
        "ideal_cycle": draw(st.sampled_from((None, Duration("10 s"), Duration("10 s"), Duration("90 s")))),
        "orders": OrderRule(choose=draw(st.sampled_from(("sequence", "command")))),
        "calendar": "shifts",
        "state": StateRule(
            **words,
            data_loss=DataLossRule(stale_after=draw(st.sampled_from((None, Duration("40 s"))))),
            reasons=StopReasonRule(alarm_signals=("plc.alarm",), alarms={"1": "JAM"}),
            setup=SetupRule(
                end=end,
                tool_signal="plc.tool",
                release_signal="plc.release" if end == "plc_release" else None,
                planned=draw(st.sampled_from((None, Duration("1 min")))),
            ),
        ),
    }


class Day:
    """One machine and what was told of it; ``ask``: time is handed over often, and what is remembered is checked."""

    def __init__(self, rig: Any, job: Any, given_rules: dict[str, Any], *, ask: bool) -> None:
        self.rig, self._job, self._ask = rig(GOOD, SCRAP, **given_rules), job, ask
        self.shown = {"good": 0, "scrap": 0}
        self.unheard: list[tuple[int, int]] = []
        self._unheard_ns: int | None = START_NS

    def play(self, step: Step) -> None:
        after_ns = step.after * S // 2
        if step.word == "restart":  # half of the time it is still alive
            self._wait(after_ns // 2)
            self._pass(after_ns - after_ns // 2)
            unit = self.rig.unit
            self.rig.state = snapshot.load(unit, snapshot.dump(unit, self.rig.state))
        else:
            self._wait(after_ns)
        self._tell(step)
        self._wait(0)
        self._look()

    def _pass(self, length_ns: int) -> None:
        self.rig.now_ns += length_ns

    def _wait(self, length_ns: int) -> None:
        if self._ask and length_ns:
            third_ns = length_ns // 3
            self._pass(third_ns)
            self.rig.wait()
            self._pass(length_ns - third_ns)
        else:
            self._pass(length_ns)
        self.rig.wait()

    def _tell(self, step: Step) -> None:
        rig, word, which = self.rig, step.word, step.which
        source_ns = rig.now_ns - step.late * S // 2
        if word in self.shown:
            self.shown[word] += min(which % 8, 2) if which % 8 != 7 else 5
            rig.value(f"plc.{word}", self.shown[word], source_ns=source_ns)
        elif word in VALUES:
            rig.value(f"plc.{word}", VALUES[word][which % len(VALUES[word])], source_ns=source_ns)
        elif word == "seen":
            for name in (*self.shown, "state"):
                rig.value(f"plc.{name}", self.shown.get(name, 1))
        elif word == "bad":
            rig.value(f"plc.{('good', 'scrap', *VALUES)[which % 8]}", None, Status.BAD)
        elif word == "lost":
            for name in (*self.shown, *VALUES):
                rig.value(f"plc.{name}", None, Status.BAD)
        else:
            self._decide(word, which)

    def _decide(self, word: str, which: int) -> None:
        """What people and calendars say."""
        rig = self.rig
        if word == "order":
            rig.receive(self._job("ABC"[which % 3], 1 + which % 9, product=f"P{which % 2}", revision=which))
        elif word == "say":
            rig.says(("start", "interrupt", "finish")[which % 3], "ABC"[which % 2])
        elif word == "plan":
            entries = [
                PlannedTime(
                    rig.now_ns + (number * 300 - which) * S, PLANNED[(which + number) % 3], "d/FSN"[: 3 + number]
                )
                for number in range(1 + which % 3)
            ]
            rig.put(CalendarPlan(rig.now_ns, tuple(entries)))

    def _look(self) -> None:
        """What always holds between two inputs."""
        rig = self.rig
        track, timeline = rig.state.track, rig.state.track.timeline
        due_ns = rig.unit.next_deadline(rig.state)
        assert due_ns is None or due_ns > rig.now_ns, "a timer that fired is not due again"
        assert len(timeline.row) <= ROW_MAX
        assert len(timeline.contexts) <= CONTEXTS_MAX + 1
        begins = [context.from_ns for context in timeline.contexts]
        assert begins == sorted(set(begins))
        if not track.watch.lost and self._unheard_ns is not None:
            # A machine's own word may be as old as a stamp that is used.
            self.unheard.append((self._unheard_ns, rig.now_ns - LATE_MAX_S * S))
            self._unheard_ns = None
        elif track.watch.lost and self._unheard_ns is None:
            self._unheard_ns = rig.now_ns

    @property
    def row(self) -> list[StateInterval]:
        """What is final, and what waits to be."""
        return [*self.rig.all(StateInterval), *self.rig.state.track.timeline.row]


def played(rig: Any, job: Any, chosen: dict[str, Any], steps: list[Step], *, ask: bool = False) -> Day:
    day = Day(rig, job, chosen, ask=ask)
    for step in (Step("seen", 2, 0, 0), Step("order", 2, 0, 8), Step("say", 0, 0, 4), *steps):
        day.play(step)
    day.play(Step("time", 14_400, 0, 0))
    return day


@settings(max_examples=3 * EXAMPLES // 4)
@given(chosen=rules(), steps=STEPS)
def test_what_a_machine_did_is_told_once_and_without_a_gap(rig, job, chosen, steps):
    day = played(rig, job, chosen, steps)
    row = day.row
    assert not row or row[0].from_ns == START_NS
    assert all(first.to_ns == second.from_ns for first, second in pairwise(row))
    assert all(one.to_ns > one.from_ns for one in row)
    told = day.rig.all(StateChanged)
    assert all(first.state is second.previous for first, second in pairwise(told))
    assert all(first.at_ns <= second.at_ns for first, second in pairwise(told))
    times = day.rig.unit.machine.time_model.total(row)
    elements = (
        times.apt_ns,
        times.aust_ns,
        times.adet_ns,
        times.adot_ns,
        times.pdot_ns,
        times.unk_ns,
        times.outside_ns,
    )
    assert sum(elements) == sum(one.length_ns for one in row)


@settings(max_examples=3 * EXAMPLES // 4)
@given(chosen=rules(), steps=STEPS)
def test_a_loss_of_data_is_never_a_stop(rig, job, chosen, steps):
    day = played(rig, job, chosen, steps)
    for from_ns, to_ns in day.unheard:
        for one in day.row:
            if max(one.from_ns, from_ns) < min(one.to_ns, to_ns):
                assert one.state is M.UNKNOWN or (one.state is M.PRODUCING and one.estimated), one


@settings(max_examples=EXAMPLES // 2)
@given(chosen=rules(), steps=STEPS)
def test_the_rhythm_of_time_changes_nothing(rig, job, chosen, steps):
    plain, asked = (played(rig, job, chosen, steps, ask=ask) for ask in (False, True))
    assert asked.rig.said == plain.rig.said
    assert asked.rig.state == plain.rig.state


def test_an_old_time_is_harmless(rig):
    floor = rig()
    floor.at("1 h").wait()
    state = floor.state
    floor.put(TimePassed(START_NS))
    assert floor.state == state
