"""What a person tells a work unit: a stop's reason, a setup, what pieces are. Nothing that was made is made or lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import journal, snapshot
from gateway.core.duration import Duration
from gateway.core.entries import Decided, PiecesReclassified, ReclassifyEntry, SetupEntry, StopReasonEntry
from gateway.core.model import CalendarPlan, Confirmation, MachineState, Notice, PlannedTime, Role, StateChanged
from gateway.core.rules import ConfirmRule, CounterRule, OrderRule, StateRule
from gateway.core.state.annotations import AnnotationError, StopReasonAssigned, annotated, check
from gateway.core.state.cycle_limit import CycleLimit
from gateway.core.state.interval import StateInterval
from gateway.core.state.setup import SetupEnded, SetupObservation, SetupStarted
from gateway.core.state.timeline_state import ReasonRequired

S = 1_000_000_000
M = MachineState
COUNTERS = tuple(CounterRule(mode="counter", signal=f"plc.{role}", role=role) for role in Role)
STATES = StateRule(stop_detect=CycleLimit.parse("20 s"), micro_stop_max=CycleLimit.parse("1 min"))


@pytest.fixture
def floor(rig):
    """An order of a hundred runs, ten seconds a piece, and every role has its counter."""
    made = rig(*COUNTERS, ideal_cycle=Duration("10 s"), state=STATES)
    for role in Role:
        made.make(0, f"plc.{role}")
    made.at("1 s").order("4711", 100)
    return made


@pytest.fixture
def shop(rig):
    """The same without an ideal cycle: any number of pieces may come at once."""
    made = rig(*COUNTERS)
    for role in Role:
        made.make(0, f"plc.{role}")
    made.at("1 s").order("4711", 100)
    return made


def judged(floor, pieces, before, after, order="4711"):
    entry = ReclassifyEntry(floor.now_ns, order, "", pieces, Role(before), Role(after), "bent", "ann")
    return told(floor, entry)


def told(floor, entry):
    """What followed from a person's word, which is written down first."""
    outputs = floor.put(entry)
    (first,) = [one for one in outputs if isinstance(one, Decided)]
    rest = [one for one in outputs if one is not first]
    assert first.who == entry.who
    refused = [one for one in rest if isinstance(one, Notice) and one.code == "REFUSED"]
    assert bool(first.refused) is bool(refused)
    assert journal.row(first)[0] == "decision"
    return rest


def refusal(outputs):
    (notice,) = outputs
    assert notice.code == "REFUSED"
    detail = dict(notice.detail)
    assert detail["guard"]
    assert detail["what_to_do"]
    return detail["reason"]


# --- pieces ----------------------------------------------------------------------------------------------------------


def test_good_pieces_that_are_scrap(shop):
    shop.at("2 s").make(10)
    (said,) = judged(shop, 3, "good", "scrap")
    assert said == PiecesReclassified(shop.now_ns, "4711", "0010", 3, Role.GOOD, Role.SCRAP, "bent", "ann")
    assert journal.row(said)[0] == "reclassified"
    run = shop.state.running
    assert (run.good, run.scrap, run.open_good, run.open_scrap, run.open_pieces) == (7, 3, 7, 3, 10)
    shop.says("interrupt", "4711")
    (confirmation,) = shop.all(Confirmation)
    assert (confirmation.good, confirmation.scrap, confirmation.total_scrap) == (7, 3, 3)
    shop.close_books()


@pytest.mark.parametrize("after", ["good", "scrap", "rework"])
def test_held_pieces_get_their_disposition(shop, after):
    shop.at("2 s").make(4, "plc.hold")
    judged(shop, 4, "hold", after)
    assert (shop.state.running.open_hold, getattr(shop.state.running, f"open_{after}")) == (0, 4)
    shop.close_books()


def test_held_pieces_that_are_good_may_fill_the_order(shop):
    shop.at("2 s").make(99)
    shop.make(5, "plc.hold")
    judged(shop, 5, "hold", "good")
    assert shop.running is None
    assert shop.confirmed == [("4711", 1, 104, "final", "target reached")]
    shop.close_books()


def test_an_order_that_waits_is_judged_too(shop):
    shop.at("2 s").make(10)
    shop.says("interrupt", "4711")
    assert "found 1 piece, allowed up to 0" in refusal(judged(shop, 1, "good", "scrap"))
    assert shop.queued == ["4711"]


@pytest.mark.parametrize(
    ("pieces", "before", "after", "order", "said"),
    [
        (11, "good", "scrap", "4711", "found 11 pieces, allowed up to 10: so many good ones are not confirmed yet"),
        (0, "good", "scrap", "4711", "found 0 pieces, allowed 1 and more"),
        (1, "good", "good", "4711", "found good to good, allowed from one of good, scrap, rework, hold to another one"),
        (1, "good", "hold", "4711", "found good to hold"),
        (1, "test", "good", "4711", "found test to good"),
        (1, "good", "scrap", "4712", "order 4712 is not open at this work unit; open orders: 4711/0010"),
    ],
)
def test_what_cannot_be_judged_says_why_and_changes_nothing(shop, pieces, before, after, order, said):
    shop.at("2 s").make(10)
    before_state = shop.state
    assert said in refusal(judged(shop, pieces, before, after, order))
    assert shop.state._replace(journal_seq=0) == before_state._replace(journal_seq=0)


def test_what_is_confirmed_is_not_judged_anew(rig):
    floor = rig(
        confirm=ConfirmRule(every_pieces=8, min_interval=Duration("0 s")), orders=OrderRule(at_target="continue")
    )
    floor.order()
    floor.make(8)
    floor.make(2)
    why = refusal(judged(floor, 3, "good", "scrap"))
    assert "allowed up to 2" in why
    assert "8 are confirmed, and are corrected where the operation is named, too" in why
    judged(floor, 2, "good", "scrap")
    floor.close_books()


WORDS = st.lists(
    st.tuples(
        st.sampled_from(("make", "make", "judge", "judge", "say", "order")),
        st.sampled_from(tuple(Role)),
        st.sampled_from(tuple(Role)),
        st.integers(0, 12),
    ),
    max_size=40,
)


@given(WORDS, st.sampled_from((None, 5)), st.sampled_from(("complete", "continue")), st.booleans())
@settings(max_examples=150)
def test_no_piece_is_made_or_lost_by_judging(rig, words, every, at_target, restart):
    """Role by role every counted piece is confirmed, open or unallocated, and no confirmation is negative."""
    floor = rig(
        *COUNTERS,
        confirm=ConfirmRule(every_pieces=every, min_interval=Duration("0 s")),
        orders=OrderRule(at_target=at_target),
    )
    made = 0
    for role in Role:
        floor.make(0, f"plc.{role}")
    for what, before, after, number in words:
        floor.now_ns += S
        order = ("A", "B")[number % 2]
        if what == "make":
            floor.make(number, f"plc.{before}")
            made += number
        elif what == "judge":
            judged(floor, number, before, after, order)
        elif what == "say":
            floor.says(("start", "interrupt", "finish")[number % 3], order)
        else:
            floor.order(order, number + 1)
        if restart:
            floor.state = snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state))
            for role in Role:
                floor.make(0, f"plc.{role}")
        floor.close_books()
    assert sum(floor.state.counted) == made
    for confirmation in floor.all(Confirmation):
        assert min(getattr(confirmation, role) for role in Role) >= 0
    for run in floor.state.open_runs():
        assert all(0 <= getattr(run, f"open_{role}") <= getattr(run, role) for role in Role)


# --- setups ----------------------------------------------------------------------------------------------------------


def test_a_person_begins_and_ends_a_setup(floor):
    floor.at("2 s").make(1)
    floor.at("12 s").put(SetupEntry(floor.now_ns, begins=True, who="ann"))
    assert floor.state.track.state is M.SETUP
    floor.at("10 min").put(SetupEntry(floor.now_ns, begins=False, who="bob"))
    (began,), (ended,) = floor.all(SetupStarted), floor.all(SetupEnded)
    assert (began.trigger, began.who, ended.trigger, ended.who) == ("operator", "ann", "operator_confirm", "bob")
    (seen,) = floor.all(SetupObservation)
    assert (seen.trigger, seen.duration_ns) == ("operator", 598 * S)
    floor.at("12 min").wait()
    assert sum(one.length_ns for one in floor.all(StateInterval) if one.state is M.SETUP) == 598 * S


def test_a_setup_is_begun_once_and_ended_once(floor):
    assert "no setup goes on" in refusal(told(floor, SetupEntry(floor.now_ns, begins=False, who="ann")))
    floor.put(SetupEntry(floor.now_ns, begins=True, who="ann"))
    assert "goes on already" in refusal(told(floor, SetupEntry(floor.now_ns, begins=True, who="ann")))


# --- reasons ---------------------------------------------------------------------------------------------------------


def stop(floor, until="10 min"):
    """Two pieces, then nothing until then, then one piece; the stop is final after that."""
    floor.at("10 s").make(1)
    floor.at("20 s").make(1)
    floor.at(until).wait()


def view(floor):
    row = tuple(floor.all(StateInterval))
    return annotated(row, tuple(floor.all(StopReasonAssigned)))


def named(floor, reason, at=None, to=None):
    return told(floor, StopReasonEntry(floor.now_ns, at, to, reason, "ann"))


def test_the_stop_that_goes_on_is_named_from_its_beginning_to_its_end(floor):
    stop(floor, "2 min")
    (said,) = named(floor, "NO_MATERIAL")
    assert (said.reason, said.who, said.to_ns) == ("NO_MATERIAL", "ann", None)
    shown = floor.unit.machine.display.shown(floor.state.track)
    assert (shown.reason, shown.reason_source) == ("NO_MATERIAL", "operator")
    floor.at("20 min").make(1)
    floor.at("30 min").make(1)
    floor.at("31 min").make(1)
    floor.at("32 min").wait()
    raw = [one for one in floor.all(StateInterval) if one.state is M.STOPPED]
    stops = [one for one in view(floor) if one.state is M.STOPPED]
    assert raw[0].reason == "UNSPECIFIED", "what was told of it stays"
    assert stops[0] == raw[0]._replace(reason="NO_MATERIAL", reason_source="operator")
    assert len(stops) == 2, "the next stop has its own reason"
    assert stops[1].reason == "UNSPECIFIED"
    assert [one.stop_from_ns for one in floor.all(ReasonRequired)] == [stops[1].stop_from_ns], "asked for one"
    assert floor.state.track.named == ""


def test_a_stop_may_be_named_before_it_is_one(floor):
    """A micro stop that goes on becomes a stop; its reason goes with it, also over a restart."""
    stop(floor, "45 s")
    assert floor.state.track.state is M.MICRO_STOP
    named(floor, "JAM")
    floor.at("5 min").wait()
    floor.state = snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state))
    assert (floor.state.track.state, floor.state.track.named) == (M.STOPPED, "JAM")


def test_a_stop_that_is_over_is_named_by_an_instant(floor):
    stop(floor)
    floor.make(1)
    at = floor.now_ns - 60 * S
    assert [one for one in floor.state.track.timeline.row if one.from_ns <= at < one.to_ns], "it is not final yet"
    (said,) = named(floor, "TOOL_BROKEN", at)
    assert (said.from_ns, said.to_ns) == (at, None)
    assert floor.state.track.named == "", "it is not the stop that goes on"
    floor.at("20 min").wait()
    (found,) = [one for one in view(floor) if one.from_ns <= at < one.to_ns]
    assert found.reason == "TOOL_BROKEN"


def test_where_nothing_stands_there_is_nothing_to_name(floor):
    floor.at("10 s").make(1)
    floor.at("20 s").make(1)
    assert "no stop goes on" in refusal(named(floor, "JAM"))
    assert "it did not stand then" in refusal(named(floor, "JAM", floor.now_ns - 1 * S))
    assert "not final yet" in refusal(named(floor, "JAM", floor.now_ns - 1 * S, floor.now_ns))


def test_the_whole_standstill_means_all_its_parts():
    row = (
        StateInterval(M.PRODUCING, 0, 100),
        StateInterval(M.STOPPED, 100, 400, "JAM", "alarm", shift="F", stop_from_ns=100),
        StateInterval(M.STOPPED, 400, 500, "JAM", "alarm", shift="S", stop_from_ns=100),
        StateInterval(M.STOPPED, 600, 700, "UNSPECIFIED", stop_from_ns=600),
    )
    said = StopReasonAssigned(450, 450, None, "LUNCH", "mia")
    check(row, said)
    assert [one.reason for one in annotated(row, (said,))] == ["", "LUNCH", "LUNCH", "UNSPECIFIED"]
    with pytest.raises(AnnotationError, match="outside of a stop"):
        check(row, said._replace(from_ns=50))
    assert annotated(row, (said._replace(from_ns=50),)) == row


# --- what is shown of a state that goes on, and on a confirmation ----------------------------------------------------


def test_what_is_shown_live_is_what_the_interval_says_later(floor):
    stop(floor, "50 s")
    display = floor.unit.machine.display
    assert display.shown(floor.state.track)[:2] == ("MICRO_STOP", "rule")
    floor.at("2 min").wait()
    assert display.shown(floor.state.track)[:2] == ("UNSPECIFIED", "")
    floor.make(1)
    floor.at("131 s").make(1)
    floor.at("146 s").make(1)
    assert floor.state.track.state is M.PRODUCING
    assert display.shown(floor.state.track).reduced_speed, "the last cycle took 15 s in place of 10"
    assert [one.reason for one in floor.all(StateChanged)]


def test_a_confirmation_names_the_shift_in_which_its_period_ended(rig):
    floor = rig(confirm=ConfirmRule(every=Duration("10 min")), ideal_cycle=Duration("10 s"), calendar="plant")
    begin = floor.now_ns
    floor.put(
        CalendarPlan(
            begin,
            (
                PlannedTime(begin, None, "2026-05-28/F"),
                PlannedTime(begin + 1200 * S, None, "2026-05-28/S"),
                PlannedTime(begin + 2400 * S, M.NOT_SCHEDULED, ""),
            ),
        )
    )
    floor.order()
    for minute in ("1 min", "11 min", "25 min", "41 min", "55 min"):
        floor.at(minute).wait()
        floor.make(1)
    floor.at("70 min").wait()
    found = [(c.period_to_ns - begin, c.shift) for c in floor.all(Confirmation)]
    assert found == [
        (600 * S, "2026-05-28/F"),
        (1200 * S, "2026-05-28/F"),  # it ends with the shift: its pieces were made in it
        (1800 * S, "2026-05-28/S"),
        (2400 * S, "2026-05-28/S"),  # its times: nothing was made since
        (3000 * S, ""),
        (3600 * S, ""),
    ]
