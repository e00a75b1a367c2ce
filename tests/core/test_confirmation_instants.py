"""Around the golden case of pieces and timer: exactly so many, the very instant, two things at once, a restart."""

from __future__ import annotations

import pytest

from gateway.core.duration import Duration
from gateway.core.model import CalendarPlan, Confirmation, PlannedTime
from gateway.core.rules import ConfirmRule, OrderRule
from gateway.core.snapshot import decode, encode

ON = {"orders": OrderRule(at_target="continue")}
MIN = Duration("1 min")
EARLY, LATE = "2026-05-28/F", "2026-05-28/S"


def shifts(floor, end_ns):
    """The early shift ends at ``end_ns``, the late one begins."""
    begin = floor.now_ns
    floor.put(CalendarPlan(begin, (PlannedTime(begin, None, EARLY), PlannedTime(begin + end_ns, None, LATE))))
    return begin


def restarted(floor):
    floor.state = decode(floor.unit, encode(floor.unit, floor.state))


def told(floor, begin):
    return [(c.good, c.trigger, (c.created_ns - begin) / MIN, c.shift) for c in floor.all(Confirmation)]


def test_exactly_so_many_are_enough_and_one_less_is_not(rig):
    floor = rig(confirm=ConfirmRule(every_pieces=100, every=Duration("30 min")), **ON)
    begin = floor.now_ns
    floor.order("A", 1000)
    floor.make(0)
    for at, pieces in (("5 min", 99), ("6 min", 1), ("8 min", 99), ("9 min", 1), ("39 min", 0)):
        floor.at(at).make(pieces)
    assert told(floor, begin) == [(100, "pieces", 6.0, ""), (100, "pieces", 9.0, "")]


def test_pieces_at_the_very_instant_of_the_timer(rig):
    floor = rig(confirm=ConfirmRule(every=Duration("30 min")), **ON)
    begin = floor.now_ns
    floor.order("A", 1000)
    floor.at("10 min").make(3)
    floor.at("30 min").make(2)
    floor.at("60 min").wait()
    first, second = told(floor, begin)
    assert (first, second) == ((3, "timer", 30.0, ""), (2, "timer", 60.0, "")), "the end of a period is not in it"


@pytest.mark.parametrize("restart", [False, True])
def test_the_piece_that_is_enough_with_the_end_of_the_shift(rig, restart):
    floor = rig(calendar="plant", confirm=ConfirmRule(every_pieces=10), **ON)
    begin = shifts(floor, 10 * MIN)
    floor.order("A", 1000)
    floor.at("1 min").make(4)
    if restart:
        restarted(floor)
    floor.at("10 min").make(6)
    floor.at("12 min").wait()
    assert told(floor, begin) == [(4, "shift end", 10.0, EARLY)], "what is counted at its end is of the next shift"
    floor.at("13 min").make(4)
    assert told(floor, begin)[1:] == [(10, "pieces", 13.0, LATE)]


def test_the_end_of_the_shift_while_pieces_wait_for_the_least_interval(rig):
    floor = rig(calendar="plant", confirm=ConfirmRule(every_pieces=10, min_interval=Duration("5 min")), **ON)
    begin = shifts(floor, 10 * MIN)
    floor.order("A", 1000)
    floor.at("8 min").make(10)
    floor.at("9 min").make(12)
    restarted(floor)
    floor.at("20 min").wait()
    assert told(floor, begin) == [(10, "pieces", 8.0, EARLY), (12, "shift end", 10.0, EARLY)]


def test_a_restart_within_the_least_interval_and_longer_than_it(rig):
    floor = rig(confirm=ConfirmRule(every_pieces=10, min_interval=Duration("5 min")), **ON)
    begin = floor.now_ns
    floor.order("A", 1000)
    floor.at("1 min").make(12)
    restarted(floor)
    floor.at("2 min").make(1)
    restarted(floor)
    floor.at("60 min").make(7)
    floor.at("61 min").wait()
    assert told(floor, begin) == [(13, "pieces", 5.0, "")], "at its time, whenever somebody looks"
    floor.at("62 min").make(3)
    assert told(floor, begin)[1:] == [(10, "pieces", 62.0, "")]


def test_two_words_at_one_instant_are_one_confirmation(rig):
    floor = rig(confirm=ConfirmRule(every_pieces=10, every=Duration("30 min")), **ON)
    begin = floor.now_ns
    floor.order("A", 1000)
    floor.at("10 min").make(7)
    floor.at("20 min").says("interrupt", "A")
    floor.says("confirm", "A")
    floor.at("90 min").wait()
    assert told(floor, begin) == [(7, "interruption", 20.0, "")]
