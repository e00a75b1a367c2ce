"""A work unit takes short cuts for the usual value; without them it says the same and remembers the same."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.duration import Duration
from gateway.core.entries import AllocateEntry, MergeEntry, ReportEntry, SplitEntry
from gateway.core.model import CalendarPlan, MachineState, PlannedTime, Role, Status
from gateway.core.orders.shares import MemberRow, MemberTold
from gateway.core.rules import ConfirmRule, CounterRule, OrderRule, PulseRule, StateRule
from gateway.core.rules_state import DataLossRule, SetupRule, StopReasonRule
from gateway.core.work_unit import WorkUnit

#: Of the profile: `make soak` gives more.
EXAMPLES = settings().max_examples

MS = 1_000_000
STATES = {"1": MachineState.PRODUCING, "2": MachineState.STOPPED, "3": MachineState.SETUP}


VERBS = ("start", "interrupt", "finish", "rush", "approve-first-article", "hold", "release")
PARTS = {"plc.good": "P-0", "plc.scrap": "P-1", "plc.rework": "P-1"}


class NoShortCut:
    """Nothing is its case."""

    def due_ns(self, _state):
        return None

    def live(self, _state):
        return None

    def cycle(self, *_given):
        return None

    def later(self, *_given):
        return None

    def running(self, *_given, on):
        return None


class Step(NamedTuple):
    """What happens, so many milliseconds after the step before, and its details."""

    what: str
    after_ms: int
    amount: int


#: Mostly pieces in time: the ideal cycle is 1 s, slow from 1.2 s on, a stop from 5 s on.
STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(
            ("good",) * 12
            + ("same",) * 4
            + ("scrap", "pulse", "pulse", "late") * 2
            + ("state", "order", "say", "alarm")
            + ("plan", "bad", "time", "tool", "member", "divide", "give", "report")
        ),
        st.sampled_from((0, 250, 900, 1000, 1000, 1100, 1200, 1300, 2400, 4900, 5000, 5001, 6200, 16_000, 400_000)),
        st.integers(0, 7),
    ),
    min_size=5,
    max_size=60,
)


@st.composite
def rules(draw) -> dict[str, Any]:
    explicit = draw(st.booleans())
    stale_after = draw(st.sampled_from((None, None, Duration("10 s"))))
    own_word = {"signal": "plc.state", "map": STATES} if explicit else {}
    return {
        "ideal_cycle": draw(st.sampled_from((None, Duration("1 s"), Duration("1 s")))),
        "confirm": ConfirmRule(
            every_pieces=draw(st.sampled_from((None, 5))),
            every=Duration("1 min"),
            min_interval=draw(st.sampled_from((Duration("0 s"), Duration("20 s")))),
        ),
        "orders": OrderRule(
            at_target=draw(st.sampled_from(("complete", "continue"))),
            first_article=draw(st.sampled_from(("as_ordered", "as_ordered", "always"))),
            **draw(st.sampled_from(({}, {}, {"max_parallel_orders": 2, "parts": PARTS}))),
        ),
        "state": StateRule(
            **own_word,
            data_loss=DataLossRule(stale_after=stale_after),
            reasons=StopReasonRule(alarm_signals=("plc.alarm",)),
            setup=SetupRule(tool_signal="plc.tool", pieces_as="good"),
        ),
    }


class Machine:
    """Plays steps to a rig; the same steps always give the same inputs."""

    def __init__(self, rig: Any, chosen: dict[str, Any], *, short_cuts: bool) -> None:
        counters = (
            CounterRule(mode="counter", signal="plc.good"),
            CounterRule(mode="counter", signal="plc.scrap", role=Role.SCRAP),
            PulseRule(mode="pulse", signal="plc.rework", role=Role.REWORK),
        )
        self.rig = rig(*counters, **chosen)
        if not short_cuts:
            machine = self.rig.unit.machine
            may_differ = machine.may_differ
            machine._timeline._steady = NoShortCut()
            # While signals are lost the reason names those that were silent when that was found; later it differs.
            machine.may_differ = lambda before, track: not track.watch.lost or may_differ(before, track)
        self.began_ns, self.inputs = self.rig.now_ns, []
        put = self.rig.put
        self.rig.put = lambda given: self.inputs.append(given) or put(given)
        self.good, self.scrap, self.high, self.orders, self.shared = 100, 0, False, 0, 0
        for signal, value in (("good", 100), ("scrap", 0), ("rework", False), ("state", 1), ("alarm", 0), ("tool", 1)):
            self.rig.value(f"plc.{signal}", value)
        self.play(Step("order", 0, 7))

    def play(self, step: Step) -> None:  # noqa: C901, PLR0912 - one case for each word
        rig = self.rig
        rig.now_ns += step.after_ms * MS
        match step.what:
            case "good" | "same":
                self.good += 0 if step.what == "same" else 1 + step.amount // 6
                rig.value("plc.good", self.good)
            case "late":
                self.good += 1
                rig.value("plc.good", self.good, source_ns=rig.now_ns - step.amount * 300 * MS)
            case "scrap":
                self.scrap += 1
                rig.value("plc.scrap", self.scrap)
            case "pulse":
                self.high = not self.high
                rig.value("plc.rework", self.high, source_ns=rig.now_ns - step.amount * 20 * MS)
            case "state":
                rig.value("plc.state", step.amount % 4)
            case "order":
                self.orders += 1
                std_cycle_ns = (None, 800 * MS, 1500 * MS)[step.amount % 3]
                rig.order(
                    f"O-{self.orders}", 3 + 10 * step.amount, product=f"P-{step.amount % 2}", std_cycle_ns=std_cycle_ns
                )
            case "say":
                rig.says(VERBS[(step.amount + self.good) % len(VERBS)], f"O-{1 + step.amount % max(self.orders, 1)}")
            case "member":
                self.shared += step.amount
                name = f"O-{1 + step.amount % max(self.orders, 1)}"
                row = MemberRow(1 + step.amount, name, "0010", good=self.shared, to_ns=rig.now_ns)
                rig.put(MemberTold(rig.now_ns, "M-02", rig.now_ns, (row,)))
            case "divide" | "give" | "report":
                self.say(step)
            case "alarm" | "tool":
                rig.value(f"plc.{step.what}", step.amount % 3)
            case "plan":
                planned = (None, None, MachineState.PLANNED_STOP, MachineState.NOT_SCHEDULED)
                ahead = [
                    PlannedTime(rig.now_ns + n * 3000 * MS, planned[(step.amount + n) % 4], f"S{n}") for n in range(4)
                ]
                rig.put(CalendarPlan(rig.now_ns, tuple(ahead)))
            case "bad":
                rig.value("plc.good", None, Status.BAD)
            case "time":
                rig.wait()

    def say(self, step: Step) -> None:
        """What a person says of orders besides decisions."""
        name, other = (f"O-{1 + (step.amount + n) % max(self.orders, 1)}" for n in (0, 1))
        said: Any = ReportEntry(self.rig.now_ns, f"O-{self.orders}", "", 0, 1, step.amount % 2, "why", "ann")
        if step.what == "give":
            said = AllocateEntry(self.rig.now_ns, name, "", 1 + step.amount, Role.GOOD, "why", "ann")
        elif step.what == "divide" and step.amount % 2:
            said = MergeEntry(self.rig.now_ns, f"L-{self.orders}", (name, other), "", "why", "ann")
        elif step.what == "divide":
            parts = (Decimal(1), Decimal(2 + 10 * step.amount))
            said = SplitEntry(self.rig.now_ns, name, "", parts, "why", "ann")
        self.rig.put(said)


@settings(max_examples=3 * EXAMPLES // 2)
@given(chosen=rules(), steps=STEPS)
def test_short_cuts_change_nothing(rig, chosen, steps):
    quick, thorough = Machine(rig, chosen, short_cuts=True), Machine(rig, chosen, short_cuts=False)
    for step in steps:
        quick.play(step)
        thorough.play(step)
        assert quick.rig.said == thorough.rig.said
        assert quick.rig.state == thorough.rig.state
        assert quick.rig.unit.next_deadline(quick.rig.state) == thorough.rig.unit.next_deadline(thorough.rig.state)


@settings(max_examples=3 * EXAMPLES // 10)
@given(chosen=rules(), steps=STEPS)
def test_what_a_work_unit_noted_is_no_memory(rig, identity, chosen, steps):
    """One that never saw the states before answers the same."""
    known = Machine(rig, chosen, short_cuts=True)
    for step in steps:
        known.play(step)
    state, said = known.rig.unit.initial(known.began_ns), []
    for one in known.inputs:
        state, outputs = WorkUnit(known.rig.unit.rules, identity).handle(state, one)
        said += outputs
    assert said == known.rig.said
    assert state == known.rig.state
