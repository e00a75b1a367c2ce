"""What is seen live does not flicker: no piece that follows in time changes the state, with or without an order.

And parts that wait for their verdict: the machine works when they come, not when they are decided.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import snapshot
from gateway.core.duration import Duration
from gateway.core.entries import SetupEntry
from gateway.core.model import (
    CalendarPlan,
    MachineState,
    PiecesProduced,
    PlannedTime,
    Role,
    StateChanged,
    Status,
)
from gateway.core.rules import StateRule
from gateway.core.rules_counting import PartResultRule, ResultRule, StartEndRule
from gateway.core.rules_state import SetupRule
from gateway.core.state.interval import StateInterval

#: Of the profile: `make soak` gives more.
EXAMPLES = settings().max_examples

S = 1_000_000_000
MS = 1_000_000
M = MachineState
START_NS = 1_780_000_000 * S
STOP_DETECT_S = 5
MODES = {
    "part_result": PartResultRule(
        mode="part_result",
        signal="plc.part",
        debounce=Duration("0 s"),
        results=ResultRule(ok="plc.ok", nok="plc.nok", window=Duration("35 min"), settle=Duration("300 ms")),
    ),
    "start_end": StartEndRule(
        mode="start_end",
        signal="plc.start",
        end_signal="plc.part",
        debounce=Duration("0 s"),
        results=ResultRule(ok="plc.ok", nok="plc.nok", window=Duration("35 min"), settle=Duration("300 ms")),
    ),
}


def live(rig, since_ns=0):
    """State and second of every change that was told."""
    told = (one for one in rig.all(StateChanged) if one.at_ns >= since_ns)
    return [((one.at_ns - START_NS) / S, one.state) for one in told]


def final(rig):
    """What it did, as far as it is judged: from, to, state."""
    row = [*rig.all(StateInterval), *rig.state.track.timeline.row]
    return [((one.from_ns - START_NS) / S, (one.to_ns - START_NS) / S, one.state) for one in row]


def joined(row):
    """The same with neighbours of one state as one."""
    found = []
    for begin, end, state in row:
        goes_on = found and found[-1][1:] == (begin, state)
        found.append((found.pop()[0] if goes_on else begin, end, state))
    return found


# --- flicker ---------------------------------------------------------------------------------------------------------


@st.composite
def machines(draw):
    """Rules, whether an order runs, what is planned, and the gaps between pieces in milliseconds."""
    ideal_s = draw(st.sampled_from((None, "0.1 s", "2 s")))
    return (
        {"ideal_cycle": None if ideal_s is None else Duration(ideal_s), "calendar": "shifts"},
        draw(st.booleans()),
        draw(st.sampled_from((None, M.PLANNED_STOP, M.NOT_SCHEDULED))),
        draw(st.booleans()),
        draw(st.lists(st.one_of(st.integers(50, 5000), st.sampled_from([5001, 9000, 61_000])), min_size=20)),
    )


@settings(max_examples=3 * EXAMPLES // 4)
@given(machine=machines())
def test_the_state_changes_with_pauses_and_never_with_pieces(rig, machine):
    rules, ordered, planned, setup, gaps_ms = machine
    limit_ms = 1000 * (STOP_DETECT_S if rules["ideal_cycle"] else 60)  # without an ideal cycle a minute
    one = rig(state=StateRule(setup=SetupRule(end="first_good", tool_signal="plc.tool")), **rules)
    one.put(CalendarPlan(START_NS, (PlannedTime(START_NS, planned, "F"),)))
    one.value("plc.tool", 1)
    if ordered:
        one.order(quantity=10**6)
    one.make(0)
    if setup:  # it ends with the first piece
        one.value("plc.tool", 2)
    began_ns = one.now_ns
    for gap_ms in gaps_ms:
        one.now_ns += gap_ms * MS
        one.make(1)
    pauses = sum(gap_ms > limit_ms for gap_ms in gaps_ms[1:])
    changes = live(one, began_ns + 1)
    assert len(changes) <= 2 + 2 * pauses, changes
    assert len(changes) >= 2 * pauses, "a pause is seen, and so is its end"
    one.now_ns += 600 * S
    one.wait()
    expected = planned or (M.STOPPED if ordered else M.IDLE_NO_ORDER)
    assert live(one)[-1][1] is expected
    # The last production is as long as a cycle, and what lies in one gap is not cut further.
    assert len(joined(final(one))) <= 4 + 2 * sum(1 for gap_ms in gaps_ms if gap_ms > limit_ms)


def test_a_thousand_pieces_without_an_order_are_two_changes(rig):
    one = rig(ideal_cycle=Duration("0.1 s"))
    one.make(0)
    for number in range(1000):
        one.now_ns += (90 + number * 7919 % 40) * MS
        one.make(1)
    one.now_ns += 60 * S
    one.wait()
    last = (one.state.last_piece_ns - START_NS) / S
    assert live(one)[1:] == [(0.09, M.PRODUCING), (last + 5 + 1e-9, M.IDLE_NO_ORDER)]
    assert joined(final(one))[0] == (0, last, M.PRODUCING)


# --- parts that wait for their verdict -------------------------------------------------------------------------------


class Station:
    """A work unit whose parts wait for a verdict; a part every two seconds."""

    def __init__(self, rig, mode, *, ordered=True, **rules):
        self.mode, self.rig = mode, rig(MODES[mode], ideal_cycle=Duration("2 s"), **rules)
        for name in ("start", "part", "ok", "nok") if mode == "start_end" else ("part", "ok", "nok"):
            self.rig.value(f"plc.{name}", value=False)
        if ordered:
            self.rig.order(quantity=10**6)
        self.parts = 0

    def pulse(self, name):
        self.rig.value(f"plc.{name}", value=True)
        self.rig.now_ns += MS
        self.rig.value(f"plc.{name}", value=False)

    def part(self, verdict="ok", after_ms=400, every_s=2):
        """A part, and its verdict "" for none so much later; then the time to the next part."""
        rest_ns = every_s * S - MS
        if self.mode == "start_end":
            self.pulse("start")
            rest_ns -= MS
        self.pulse("part")
        self.parts += 1
        if verdict:
            self.rig.now_ns += after_ms * MS
            self.pulse(verdict)
            rest_ns -= after_ms * MS + MS
        self.rig.now_ns += rest_ns
        self.rig.wait()

    def wait(self, seconds):
        self.rig.now_ns += seconds * S
        self.rig.wait()


@pytest.mark.parametrize("mode", list(MODES))
@pytest.mark.parametrize("ordered", [True, False])
def test_a_verdict_that_never_comes_is_no_stop(rig, mode, ordered):
    station = Station(rig, mode, ordered=ordered)
    for number in range(40):
        # Three never get one: from then on every part is decided by the verdict of a later one.
        station.part("" if number in (10, 15, 20) else "ok" if number % 5 else "nok")
    told = [state for _, state in live(station.rig)]
    assert told[told.index(M.PRODUCING) :] == [M.PRODUCING]
    assert len(station.rig.state.detectors[0].verdicts.open) == 3
    last_s = (station.rig.state.track.timeline.gap.cycle_ns - START_NS) / S
    assert last_s == pytest.approx(78, abs=0.05), "known when it came"
    station.wait(20)
    seen_s, state = live(station.rig)[-1]
    assert (seen_s, state) == (pytest.approx(last_s + 5), M.MICRO_STOP if ordered else M.IDLE_NO_ORDER)
    station.wait(3000)
    assert sum(one.pieces for one in station.rig.all(PiecesProduced)) == station.parts
    if ordered:
        assert station.rig.state.running.open_cycles == station.parts, "every cycle is booked once"
        row = joined(final(station.rig))
        assert [state for *_, state in row] == [M.PRODUCING, M.STOPPED]
        assert row[0][1] == last_s + 2, "the last cycle began with the last part"


@pytest.mark.parametrize("mode", list(MODES))
@pytest.mark.parametrize("how", ["loss", "restart"])
def test_before_a_loss_it_produced_up_to_its_last_part(rig, mode, how):
    station = Station(rig, mode)
    for _ in range(10):
        station.part()
    station.part("")
    station.part("")
    if how == "loss":
        for name in ("start", "part", "ok", "nok"):
            station.rig.value(f"plc.{name}", None, Status.BAD)
    station.rig.now_ns += 20 * S
    if how == "restart":
        unit = station.rig.unit
        station.rig.state = snapshot.load(unit, snapshot.dump(unit, station.rig.state))
    for name in ("start", "part", "ok", "nok"):
        station.rig.value(f"plc.{name}", value=False)
    for _ in range(10):
        station.part()
    station.wait(3000)
    row = joined(final(station.rig))
    assert [state for *_, state in row] == [M.PRODUCING, M.UNKNOWN, M.PRODUCING, M.STOPPED]
    # The first part afterwards was made while nobody listened; what came before and was decided later was not.
    assert 22 <= row[1][0] <= 26.01
    assert row[1][1] == 44
    assert sum(one.pieces for one in station.rig.all(PiecesProduced)) == station.parts


@pytest.mark.parametrize("after_ms", [400, 1700])
@pytest.mark.parametrize("end", ["first_good", "n_good_in_tolerance"])
@pytest.mark.parametrize("mode", ["part_result"])
def test_a_setup_ends_with_its_part_and_not_with_its_verdict(rig, mode, end, after_ms):
    setup = SetupRule(end=end, good_in_a_row=2, tool_signal="plc.tool")
    station = Station(rig, mode, state=StateRule(setup=setup))
    station.rig.value("plc.tool", 1)
    for _ in range(5):
        station.part()
    station.rig.value("plc.tool", 2)
    station.wait(60)
    for verdict in ("nok", "", "", "ok", "ok", "ok", "ok", "ok", "ok"):  # the 2nd is good, decided after the 4th came
        station.part(verdict, after_ms)
    station.wait(3000)
    states = joined(final(station.rig))
    assert [state for *_, state in states] == [M.PRODUCING, M.SETUP, M.PRODUCING, M.STOPPED]
    ended_s = 72 if end == "first_good" else 74  # the second part of the setup, or the one after it
    assert states[1][1] == pytest.approx(ended_s, abs=0.1)
    assert states[2][1] == pytest.approx(70 + 2 * 8 + 2, abs=0.1), "its parts go on while verdicts wait"
    made = dict.fromkeys(Role, 0)
    for one in station.rig.all(PiecesProduced):
        made[one.role] += one.pieces
    assert sum(made.values()) == station.parts
    assert station.rig.state.track.awaited == ()


def test_a_setup_that_a_person_ends_has_the_parts_that_came_in_it(rig):
    station = Station(rig, "part_result", state=StateRule(setup=SetupRule(end="operator_confirm")))
    for _ in range(5):
        station.part()
    one = station.rig
    one.put(SetupEntry(one.now_ns, begins=True, who="ann"))
    for verdict in ("ok", "", "", "ok"):
        station.part(verdict)
    assert len(one.state.track.awaited) == 2
    one.put(SetupEntry(one.now_ns, begins=False, who="ann"))
    assert one.state.track.awaited == ()
    for _ in range(5):
        station.part()
    assert live(one)[-1] == (pytest.approx(18, abs=0.1), M.PRODUCING)
    station.wait(3000)
    states = joined(final(one))
    assert [state for *_, state in states] == [M.PRODUCING, M.SETUP, M.PRODUCING, M.STOPPED]
    assert states[2][:2] == (pytest.approx(18, abs=0.1), pytest.approx(28, abs=0.1))
    assert sum(made.pieces for made in one.all(PiecesProduced)) == station.parts


def test_parts_that_waited_before_an_update_are_heard_of_once(rig):
    """A memory of before does not know whether a part was told: then it is told with its verdict."""
    station = Station(rig, "part_result")
    for verdict in ("ok", "ok", "", ""):
        station.part(verdict)
    unit, one = station.rig.unit, station.rig
    data = snapshot.encode(unit, one.state)
    del data["track"]["awaited"]
    for part in data["detectors"]["plc.part"]["state"]["verdicts"]["open"]:
        del part["shown"]
    one.state = snapshot.decode(unit, data)
    assert [part.shown for part in one.state.detectors[0].verdicts.open] == [False, False]
    for name in ("part", "ok", "nok"):
        one.value(f"plc.{name}", value=False)
    station.part()
    station.wait(3000)
    assert sum(made.pieces for made in one.all(PiecesProduced)) == station.parts
