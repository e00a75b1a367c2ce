"""What a lost database leaves unknown is declared with a bound, at the first reading of a signal; nothing is booked.

One row of the table: the rule, the last value in the lost database, its age, the first reading, and the bound.
"""

from __future__ import annotations

import json

import pytest

from gateway.core import snapshot
from gateway.core.duration import Duration
from gateway.core.model import DatabaseLost, LostCounter, Role, Status, UnknownInterval
from gateway.core.orders.lost_database import DATABASE_LOST
from gateway.core.rate import Rate
from gateway.core.rules import CounterRule, PulseRule
from gateway.core.rules_counting import RolesRule

S = 1_000_000_000
PULSE = PulseRule(mode="pulse", signal="plc.good", min_cycle=Duration("2 s"))


def counter(*, max_rate=None, **over):
    return CounterRule(mode="counter", signal="plc.good", max_rate=max_rate and Rate.parse(max_rate), **over)


def lost(floor, *, since_s, value=None, **more):
    """The database is lost, ``since_s`` before the clock's start."""
    since_ns = floor.now_ns - since_s * S
    return floor.put(DatabaseLost(floor.now_ns, (LostCounter("plc.good", since_ns, value, **more),)))


@pytest.mark.parametrize(
    ("rule", "known", "since_s", "found", "bound"),
    [
        ({"max_rate": "2/s"}, 100, 60, 130, 30),  # exactly what the register moved by
        ({"max_rate": "2/s"}, 100, 60, 100, 0),  # nothing was made
        ({"max_rate": "2/s", "modulus": 65_536}, 65_530, 60, 20, 26),  # over the end of its range
        ({"modulus": 65_536}, 65_530, 60, 20, 26),  # the same without a rate, near both ends
        ({"modulus": 65_536}, 30_000, 60, 20, None),  # without a rate this may be anything
        ({"max_rate": "2/s"}, 100, 60, 20, 144),  # set back meanwhile: what the rate allows
        ({"max_rate": "2/s"}, 100, 60, 9000, 144),  # no machine made so many: another track
        ({"max_rate": "2/s", "modulus": 100}, 10, 60, 30, 144),  # it may have gone round unseen
        ({"max_rate": "2/s"}, None, 60, 130, 144),  # its last value is gone
        ({}, 100, 60, 130, 30),
        ({}, 100, 60, 20, None),
        ({}, None, 60, 130, None),  # nobody can say
        ({"max_rate": "2/s", "pieces": 4}, 100, 60, 130, 120),  # pieces, not counts
    ],
)
def test_the_first_reading_bounds_what_was_made(rig, rule, known, since_s, found, bound):
    floor = rig(counter(slack=0, **rule))
    said = lost(floor, since_s=since_s, value=known, order="4711", operation="0010")
    assert [one.code for one in said] == [DATABASE_LOST], "said at once, also while the device is away"
    assert floor.all(UnknownInterval) == []
    floor.value("plc.good", found)
    (one,) = floor.all(UnknownInterval)
    assert one.max_pieces == bound
    assert (one.signal, one.role, one.flag) == ("plc.good", Role.GOOD, DATABASE_LOST)
    assert (one.order, one.operation) == ("4711", "0010")
    assert (one.t_from_ns, one.t_to_ns) == (floor.now_ns - since_s * S, floor.now_ns)
    assert floor.state.unknown == (one,)
    floor.at("10 s").value("plc.good", found + 1)
    assert floor.all(UnknownInterval) == [one], "once"
    assert [pieces for _, pieces in floor.booked] == [rule.get("pieces", 1)], "what came later, and nothing of before"
    floor.close_books()


@pytest.mark.parametrize("since_s", [60, -60])
def test_a_time_that_is_not_to_be_believed_bounds_nothing(rig, since_s):
    floor = rig(counter(slack=0, max_rate="2/s"))
    lost(floor, since_s=since_s, measured=since_s < 0)
    floor.value("plc.good", 130)
    assert [one.max_pieces for one in floor.all(UnknownInterval)] == [None]
    assert all(one.t_from_ns <= one.t_to_ns for one in floor.all(UnknownInterval))


def test_a_reading_without_quality_is_waited_out_also_over_a_restart(rig):
    floor = rig(counter(slack=0, max_rate="2/s"))
    lost(floor, since_s=60, value=100)
    floor.value("plc.good", None, Status.BAD)
    assert floor.all(UnknownInterval) == []
    floor.state = snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state))
    floor.at("60 s").value("plc.good", 180)
    (one,) = floor.all(UnknownInterval)
    assert (one.max_pieces, one.t_to_ns - one.t_from_ns) == (80, 120 * S)
    assert floor.state.lost == ()


def test_a_pulse_input_has_no_register_and_is_bounded_by_its_shortest_cycle(rig):
    floor = rig(PULSE)
    lost(floor, since_s=60)
    floor.value("plc.good", False)
    assert [one.max_pieces for one in floor.all(UnknownInterval)] == [31]


def test_a_rule_of_several_signals_is_declared_at_once_without_a_bound(rig):
    floor = rig(RolesRule(mode="roles", total=PULSE, scrap=PulseRule(mode="pulse", signal="plc.bad")))
    floor.put(DatabaseLost(floor.now_ns, floor.unit.lost.nothing_left(0, floor.now_ns - S, measured=True).counters))
    (one,) = floor.all(UnknownInterval)
    assert (one.max_pieces, one.t_from_ns, one.t_to_ns) == (None, floor.now_ns - S, floor.now_ns)


def test_what_the_lost_state_knew(rig):
    """Order, last value and unconfirmed pieces; its own declarations stay known, what it still owed is declared now."""
    old = rig(counter(slack=0, max_rate="2/s"), CounterRule(mode="counter", signal="plc.bad", role=Role.SCRAP))
    old.order("4711", 100)
    old.make(0)
    old.at("60 s").make(5)
    old.value("plc.bad", 7)
    old.at("61 s").value("plc.bad", 9)
    before = UnknownInterval("plc.good", Role.GOOD, old.now_ns - 9 * S, old.now_ns - 8 * S, 4, "X", None, None)
    old.state = old.state._replace(unknown=(before,))
    shift_ns = 3600 * S
    new = rig(counter(slack=0, max_rate="2/s"), CounterRule(mode="counter", signal="plc.bad", role=Role.SCRAP))
    new.at("2 h")
    new.put(new.unit.lost.left_in(old.state, new.now_ns, shift_ns, measured=True))
    gone = {(one.role, one.order): one.max_pieces for one in new.all(UnknownInterval)}
    assert gone == {(Role.GOOD, "4711"): 5, (Role.SCRAP, "4711"): 2}
    assert sum(new.state.counted) == 0
    first = new.state.unknown[0]
    assert (first.flag, first.t_to_ns) == ("X", before.t_to_ns + shift_ns), "on the time axis of now"
    assert first not in new.said, "not told twice"
    new.value("plc.good", 1005 + 40)
    new.value("plc.bad", 9)
    moved = {one.signal: (one.max_pieces, one.order) for one in new.all(UnknownInterval)[-2:]}
    assert moved == {"plc.good": (40, "4711"), "plc.bad": (0, "4711")}


def test_what_the_lost_state_had_not_declared_yet_is_declared_and_pieces_of_no_order_are(rig):
    rule = counter(slack=0, max_rate="2/s")
    owing, nobodys, new = rig(rule), rig(rule), rig(rule)
    lost(owing, since_s=60, value=100)
    new.put(new.unit.lost.left_in(owing.state, new.now_ns, 0, measured=True))
    new.value("plc.good", 150)
    assert [one.max_pieces for one in new.all(UnknownInterval)] == [50]
    nobodys.make(1)
    nobodys.at("60 s").make(3)
    left = new.unit.lost.left_in(nobodys.state, nobodys.now_ns, 0, measured=True)
    assert [(one.max_pieces, one.order) for one in left.pieces] == [(nobodys.state.unallocated.good, None)]


def test_an_older_state_owes_nothing(rig):
    floor = rig()
    data = json.loads(snapshot.dump(floor.unit, floor.state))
    del data["lost"]
    assert snapshot.decode(floor.unit, data).lost == ()
