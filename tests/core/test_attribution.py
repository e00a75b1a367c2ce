"""The table of attribution, data/attribution_cases.txt; and what it does to confirmations and to what is not known."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import snapshot
from gateway.core.duration import Duration
from gateway.core.entries import StandingHoldEntry, UndoEntry
from gateway.core.entries_work import LotEntry, PresenceEntry
from gateway.core.model import (
    CalendarPlan,
    Confirmation,
    CountersRead,
    CountEvent,
    DataValue,
    OperatorEntry,
    OperatorVerb,
    OrderReceived,
    PiecesProduced,
    PlannedTime,
    Role,
    Status,
    UnknownInterval,
)
from gateway.core.orders.attribution import CHANGES_MAX, Dating, PastOrders, shares
from gateway.core.orders.read_at_change import do_names_matter, is_read_first, names_of, next_by_itself
from gateway.core.orders.shares import LeadTold
from gateway.core.orders.standing_holds import HoldScope
from gateway.core.rate import Rate
from gateway.core.rules import CounterRule, OrderRule, PulseRule
from gateway.core.rules_counting import StartEndRule
from gateway.core.rules_state import SetupRule, StateRule

TABLE = Path(__file__).parent / "data" / "attribution_cases.txt"
START_NS = 1_780_000_000_000_000_000  # of the rig
S = 1_000_000_000
GOOD = CounterRule(mode="counter", signal="plc.good")
SCRAP = CounterRule(mode="counter", signal="plc.scrap", role=Role.SCRAP)
BOOKS = re.compile(r"A (\d+), B (\d+), nobody (\d+)( estimated)?")
COUNTS = {
    "counter": CounterRule(mode="counter", signal="plc.n", max_rate=Rate.parse("2 /s")),
    "pulse": PulseRule(mode="pulse", signal="plc.n", debounce=Duration(0)),
    "start_end": StartEndRule(mode="start_end", signal="plc.start", end_signal="plc.n", debounce=Duration(0)),
}


def cases():
    for block in TABLE.read_text().split("\ncase ")[1:]:
        title, *lines = block.splitlines()
        yield pytest.param([line.strip() for line in lines if line.strip()], id=title.split()[0])


def happens(floor, words, read_ns):
    """One line; when the counter was read last."""
    match words:
        case ["job", name]:
            floor.value("plc.job", name)
        case ["says", verb, order]:
            floor.says(verb, order)
        case ["read"]:
            floor.put(CountersRead(floor.now_ns, read_ns))
        case ["missed"]:
            floor.put(CountersRead(floor.now_ns, 0, ("plc.n",)))
        case ["start", level]:
            floor.value("plc.start", int(level))
        case [value]:
            floor.value("plc.n", int(value))
            return floor.now_ns
    return read_ns


def play(rig, lines, *, restart=False):
    """The rig after the lines of a case, and what it should have booked."""
    chosen = dict(pair.split("=") for pair in lines[0].split()[1:])
    job = {"choose": "job_signal", "job_signal": "plc.job", "job_format": "{order}"} if "job" in str(lines) else {}
    orders = OrderRule(
        **({"choose": "command"} | job),
        transport_delay_pieces=int(chosen.get("delay", 0)),
        transport_delay=Duration(f"{chosen.get('seconds', 0)} s"),
    )
    floor = rig(COUNTS[chosen["rule"]], ideal_cycle=Duration("18 s"), orders=orders)
    for name in "AB":
        floor.order(name, chosen.get("target", 1000) if name == "A" else 1000)
    if not job:
        floor.says("start", "A")
    wanted, read_ns = None, 0
    for line in lines[1:]:
        first, _, rest = line.partition(" ")
        rest = rest.strip()
        if first == "books":
            wanted = BOOKS.fullmatch(rest).groups()
            break
        floor.at(f"{first} s")
        if restart:
            stored = json.loads(json.dumps(snapshot.encode(floor.unit, floor.state)))
            floor.state = snapshot.decode(floor.unit, stored)._replace(detectors=floor.state.detectors)
        read_ns = happens(floor, rest.split(), read_ns)
    return floor, wanted


@pytest.mark.parametrize("lines", list(cases()))
@pytest.mark.parametrize("restart", [False, True], ids=["", "restarts"])
def test_the_table(rig, lines, restart):
    floor, (of_a, of_b, nobodys, estimated) = play(rig, lines, restart=restart)
    floor.at("2 h").wait()
    booked = Counter()
    for made in floor.all(PiecesProduced):
        booked[made.order] += made.pieces
    assert (booked["A"], booked["B"], booked[None]) == (int(of_a), int(of_b), int(nobodys))
    crossing = [made.estimated for made in floor.all(PiecesProduced)]
    if COUNTS["counter"] in floor.unit.rules.counters and estimated is None:
        # A counter that moved by several is estimated in its cycle times anyway; the sharing adds nothing.
        crossing = [False]
    assert any(crossing) == (estimated is not None)
    floor.close_books()


def test_late_pieces_are_confirmed_to_the_order_that_made_them(rig):
    floor, _ = play(rig, [*next(iter(cases())).values[0]])
    told = [(c.job.order, c.good, c.trigger) for c in floor.all(Confirmation)]
    assert told == [("A", 1, "late pieces")]


def test_what_is_on_the_conveyor_is_confirmed_when_it_is_through(rig):
    lines = next(case.values[0] for case in cases() if case.id == "O06")
    floor, _ = play(rig, lines)
    told = [(c.job.order, c.good, c.trigger) for c in floor.all(Confirmation)]
    assert told == [("A", 1, "interruption"), ("A", 3, "late pieces")]


def test_what_a_reset_at_the_change_cost_was_the_former_orders(rig):
    """What was counted since the reset is the new order's, what was lost before it the old one's."""
    rule = CounterRule(mode="counter", signal="plc.n", order_reset="plc.job")
    orders = OrderRule(choose="job_signal", job_signal="plc.job", job_format="{order}")
    floor = rig(rule, ideal_cycle=Duration("1 s"), orders=orders)
    for name in "AB":
        floor.order(name)
    floor.value("plc.job", "A")
    floor.value("plc.n", 500)
    floor.at("5 s").value("plc.n", 504)
    floor.at("10 s").value("plc.job", "B")
    floor.value("plc.n", 3)
    assert floor.booked == [("A", 4), ("B", 3)]
    (lost,) = floor.all(UnknownInterval)
    assert (lost.order, lost.flag, lost.max_pieces) == ("A", "RESET", 11)


@given(
    changes=st.lists(st.integers(0, 100), max_size=CHANGES_MAX).map(sorted),
    span=st.tuples(st.integers(0, 100), st.integers(0, 100)).map(sorted),
    pieces=st.integers(1, 1000),
    dating=st.sampled_from(Dating),
)
def test_no_piece_is_lost_or_doubled_by_sharing(changes, span, pieces, dating):
    past = PastOrders()
    for number, until_ns in enumerate(changes):
        past = past.after((str(number), "10"), until_ns, 0)
    event = CountEvent("plc.n", pieces, span[0], span[1], "OK")
    after, found = shares(past, event, pieces, pieces, dating=dating, stop_ns=20, running=("now", "10"))
    assert after == past
    assert sum(share.pieces for share in found) == sum(share.cycles for share in found) == pieces
    assert all(share.pieces >= 0 for share in found)
    for share in found:
        if share.key is not None:
            assert changes[int(share.key[0])] > span[0], "an order takes nothing that began after it"


@given(
    changes=st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 6)), max_size=12),
    delay=st.integers(1, 5),
)
def test_the_conveyor_holds_what_it_holds(changes, delay):
    """Never more than fits between machine and sensor, whatever the orders."""
    past = PastOrders()
    for order, counted in changes:
        past = past.after((order, "10"), 0, delay)
        assert sum(one.pieces for one in past.transit) == delay
        event = CountEvent("plc.n", counted, 0, 1, "OK")
        if counted:
            before = sum(one.pieces for one in past.transit)
            past, found = shares(past, event, counted, counted, dating=Dating.START, stop_ns=0, running=None)
            assert sum(share.pieces for share in found) == counted
            assert before - sum(one.pieces for one in past.transit) == min(counted, before)


def test_a_decision_says_which_counter_it_could_not_go_by(rig):
    floor = rig()
    floor.order("A")
    floor.put(CountersRead(floor.now_ns, 0, ("plc.good",)))
    (code, detail) = floor.notices[-1]
    assert code == "CHANGE_NOT_READ"
    assert detail["signals"] == "plc.good"
    assert "shared by time" in detail["reason"]


def test_the_undo_of_a_change_that_was_read_leaves_no_boundary(rig):
    """The boundary is older than the decision; taken back, it is gone."""
    floor = rig(orders=OrderRule(choose="command"))
    for name in "AB":
        floor.order(name)
    floor.says("start", "A")
    floor.make(0)
    floor.at("10 s").make(4)
    read_ns = floor.now_ns
    floor.at("10100 ms").put(CountersRead(floor.now_ns, read_ns))
    floor.says("start", "B")
    floor.at("12 s").put(UndoEntry(floor.now_ns, "ann"))
    assert floor.running == "A"
    floor.at("20 s").make(8)
    assert floor.booked == [("A", 4), ("A", 8)]


ENTRIES = {
    "lot": LotEntry(0, mounts=True, feeder="F", lot="L-1", who="ann"),
    "machine held": StandingHoldEntry(0, HoldScope.MACHINE, "", begins=True, reason="crash", who="ann"),
    "undo": UndoEntry(0, "ann"),
    "calendar": CalendarPlan(0, ()),
} | {verb.value: OperatorEntry(0, verb, "A", "", "ann") for verb in OperatorVerb}
ALWAYS = {
    "lot", "machine held", "start", "scan", "interrupt", "finish", "hold", "release", "reopen", "cancel", "rush",
    "complete-setup", "approve-first-article", "confirm",
}  # fmt: skip


def test_an_image_that_an_erp_hands_over_once_more_reads_nothing(rig):
    orders = OrderRule()
    floor = rig(orders=orders)
    floor.order("A")
    floor.says("start", "A")
    held = floor.state.running.job

    def asked(job):
        return is_read_first(OrderReceived(floor.now_ns, job), floor.state, orders)

    newer = held._replace(revision=held.revision + 1)
    assert [asked(held), asked(held._replace(revision=held.revision - 1, cancelled=True))] == [False, False]
    assert [asked(newer), asked(held._replace(cancelled=True))] == [True, True]
    assert not asked(newer._replace(order="B"))


@pytest.mark.parametrize("advance", ["auto", "off"])
@pytest.mark.parametrize("runs", [True, False])
def test_for_which_words_the_counters_are_read_first(rig, job, advance, runs):
    orders = OrderRule(auto_advance=advance)
    floor = rig(orders=orders)
    if runs:
        floor.order("A")
        floor.says("start", "A")
        assert floor.running == "A"
    starts = not runs and advance == "auto"
    found = {name for name, one in ENTRIES.items() if is_read_first(one, floor.state, orders)}
    assert found == ALWAYS | ({"dispatch", "acknowledge-documents", "material-ready"} if starts else set())
    for order, wanted in (("A", runs or starts), ("Z", starts)):
        assert is_read_first(OrderReceived(0, job(order)._replace(revision=9), None), floor.state, orders) is wanted
    assert is_read_first(LeadTold(0, job("A")), floor.state, orders) is not runs
    assert is_read_first(LeadTold(0, None), floor.state, orders) is runs


def test_an_order_that_the_machine_names_already_starts_behind_a_reading(rig, job):
    orders = OrderRule(choose="job_signal", job_signal="plc.job")
    floor = rig(orders=orders)

    def asked(name):
        return is_read_first(OrderReceived(floor.now_ns, job(name), None), floor.state, orders)

    assert not asked("A")
    floor.value("plc.job", "A-0010")
    assert (asked("A"), asked("B")) == (True, False)
    floor.order("A")
    assert floor.running == "A"
    assert not asked("B")


def test_who_logs_in_where_an_order_waits_starts_it_behind_a_reading(rig, job):
    orders, came = OrderRule(), PresenceEntry(0, begins=True, person="ann", who="ann")
    floor = rig(orders=orders)
    assert not is_read_first(came, floor.state, orders)
    waits = floor.state._replace(next_told="ORDER_WAITS A/0010: nobody can do it")
    assert is_read_first(came, waits, orders)
    assert not is_read_first(came._replace(begins=False), waits, orders)
    assert not is_read_first(came, waits, OrderRule(auto_advance="off"))


@pytest.mark.parametrize("restart", [False, True])
def test_a_cycle_that_names_its_job_is_that_job_s_whoever_runs(rig, restart):
    orders = OrderRule(choose="command", cycle_job_signal="plc.name", job_format="{order}")
    floor = rig(orders=orders)
    floor.make(0)
    for name in "ABC":
        floor.order(name)
    floor.says("start", "A")

    def cycle(name, pieces):
        nonlocal floor
        if restart:
            floor.state = snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state))
        floor.now_ns += 10 * S
        values = floor.unit.in_order(
            [
                DataValue("plc.good", floor._shown["plc.good"] + pieces, Status.GOOD, None, floor.now_ns),
                DataValue("plc.name", name, Status.GOOD, None, floor.now_ns),
            ]
        )
        floor._shown["plc.good"] += pieces
        for one in values:
            floor.put(one)

    cycle("A", 1)
    cycle("B ", 2)  # it began before anybody said so
    assert floor.running == "A"
    floor.says("start", "B")
    cycle("A", 3)  # late
    cycle("B", 4)
    cycle("other", 5)
    cycle("", 6)
    floor.says("hold", "A")
    cycle("A", 7)
    assert floor.booked == [("A", 1), ("B", 2), ("A", 3), ("B", 4), (None, 5), ("B", 6), ("A", 7)]
    assert floor.records["A", "0010"].good == 4, "the others wait for a verdict"
    assert floor.state.unallocated.good == 5
    assert [one[:3] for one in floor.confirmed] == [("A", 1, 1)], "no confirmation for each cycle"
    floor.says("finish", "B")
    assert floor.confirmed[-1][:3] == ("B", 1, 12)


def test_what_names_the_job_of_a_cycle_excludes_guesses_of_time():
    for more in ({"transport_delay_pieces": 3}, {"job_signal": "plc.name", "choose": "job_signal"}):
        with pytest.raises(ValueError, match="cycle_job_signal: found"):
            OrderRule(cycle_job_signal="plc.name", **more)


# --- what comes by itself ---------------------------------------------------------------------------------------------


def by_shifts(rig, **rule):
    """Order A at work; the shift ends after 10 s, and so does the next one after 20 s."""
    floor = rig(GOOD, SCRAP, orders=OrderRule(**rule), calendar="plant")
    plan = [PlannedTime(floor.now_ns + at * S, None, shift) for at, shift in ((0, "F"), (10, "S"), (20, ""))]
    floor.put(CalendarPlan(floor.now_ns, tuple(plan)))
    floor.order("A", 100)
    floor.order("B", 100, sequence_no=1)
    floor.make(0)
    floor.make(0, "plc.scrap")
    return floor


def is_read(floor, at, *missing):
    """The counters were read at that time for the end of the shift, and what they showed was handed over."""
    floor.at(at).put(CountersRead(floor.now_ns, 0 if missing else floor.now_ns, missing, START_NS + 10 * S))


def test_the_end_of_a_shift_goes_by_what_was_read_right_before_it(rig):
    floor = by_shifts(rig, at_shift_end="interrupt")
    floor.at("9 s").make(4)
    floor.make(0, "plc.scrap")
    is_read(floor, "9 s")
    floor.at("9500 ms").make(1)  # looked at once more: A's, too
    stored = json.loads(json.dumps(snapshot.encode(floor.unit, floor.state)))
    floor.state = snapshot.decode(floor.unit, stored)._replace(detectors=floor.state.detectors)
    floor.at("11 s").make(6)
    floor.make(2, "plc.scrap")
    assert floor.booked == [("A", 4), ("A", 1), (None, 6), (None, 2)]
    assert floor.confirmed == [("A", 1, 5, "partial", "shift end")]
    assert not [one for one in floor.all(Confirmation) if one.flags]


def test_without_that_reading_it_is_shared_by_time(rig):
    floor = by_shifts(rig, at_shift_end="interrupt")
    is_read(floor, "9900 ms", "plc.good")
    assert floor.notices[-1][0] == "CHANGE_NOT_READ"
    assert "shared by time" in floor.notices[-1][1]["reason"]
    floor.at("20 s").make(4)
    assert floor.booked == [("A", 2), (None, 2)]


def test_a_reading_that_comes_behind_the_end_of_the_shift_is_no_boundary(rig):
    floor = by_shifts(rig)
    is_read(floor, "10100 ms")
    floor.at("15 s").says("start", "B")
    floor.at("20 s").make(20)
    assert floor.booked == [("A", 15), ("B", 5)], "the decision is the boundary"


def test_what_ends_an_order_before_the_shift_ends_is_its_own_boundary(rig):
    floor = by_shifts(rig, at_shift_end="go_on")
    is_read(floor, "9100 ms")
    floor.at("9900 ms").says("start", "B")
    (ceased,) = floor.state.past.ceased
    assert ceased.until_ns == floor.now_ns, "not what was read before"
    floor.at("10 s").wait()
    assert floor.state.past.read_ns == floor.state.past.due_ns == 0, "over"


def test_a_shift_that_what_runs_goes_on_over_says_what_it_means(rig):
    floor = by_shifts(rig)
    is_read(floor, "9900 ms", "plc.good")
    assert floor.notices[-1][1]["reason"].endswith("is confirmed in the shift in which it is read")


def test_it_is_read_for_the_end_of_a_shift_in_which_something_runs(rig):
    floor = by_shifts(rig)
    rule = floor.unit.rules.orders
    assert next_by_itself(floor.state, rule) == START_NS + 10 * S
    floor.at("15 s").wait()
    assert next_by_itself(floor.state, rule) == START_NS + 20 * S
    assert next_by_itself(floor.state._replace(running=None), rule) is None, "nothing runs"
    floor.at("25 s").wait()
    assert next_by_itself(floor.state, rule) is None, "nobody knows when the next shift begins"


@pytest.mark.parametrize(("rule", "read"), [("go_on", False), ("interrupt", True)])
def test_it_is_read_for_the_beginning_of_a_shift_with_which_an_order_starts(rig, rule, read):
    floor = rig(orders=OrderRule(at_shift_end=rule), calendar="plant")
    floor.put(CalendarPlan(floor.now_ns, (PlannedTime(floor.now_ns + 10 * S, None, "F"),)))
    assert next_by_itself(floor.state, floor.unit.rules.orders) is None, "nothing waits"
    floor.order("A")
    found = next_by_itself(floor.state, floor.unit.rules.orders)
    assert found == (START_NS + 10 * S if read else None)


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ({}, {"plc.tool", "plc.recipe"}),
        ({"auto_advance": "propose"}, set()),
        ({"choose": "command"}, set()),
        ({"choose": "job_signal", "job_signal": "plc.job"}, {"plc.job"}),
    ],
    ids=["by sequence", "proposed", "by command", "by the job's name"],
)
def test_which_names_set_off_a_change_by_themselves(rig, rule, names):
    setup = SetupRule(tool_signal="plc.tool", recipe_signal="plc.recipe")
    floor = rig(orders=OrderRule(**rule), state=StateRule(setup=setup))
    assert names_of(floor.unit.rules) == names
    state, rules = floor.state, floor.unit.rules
    assert do_names_matter(names, state, rules) == ("plc.job" in names)
    assert do_names_matter(names, state._replace(next_told="it waits for its tool"), rules) == bool(names)
    assert not do_names_matter((), state._replace(next_told="it waits for its tool"), rules)


@pytest.mark.parametrize("choose", ["command", "sequence"])
def test_a_release_matters_while_a_setup_goes_on(rig, choose):
    setup = SetupRule(end="plc_release", release_signal="plc.release")
    floor = rig(orders=OrderRule(choose=choose), state=StateRule(setup=setup))
    assert names_of(floor.unit.rules) == {"plc.release"}
    told = floor.state._replace(next_told="it waits for its tool")
    assert not do_names_matter({"plc.release"}, told, floor.unit.rules), "it sets nothing up"
    machine = told.track._replace(setup=told.track.setup._replace(since_ns=floor.now_ns))
    assert do_names_matter({"plc.release"}, told._replace(track=machine), floor.unit.rules)
