"""When a confirmation is made, and what stands in it."""

from __future__ import annotations

import pytest

from gateway.core.document import digest_of, fields
from gateway.core.duration import Duration
from gateway.core.model import ClockTold, Confirmation, JobChanged
from gateway.core.rate import Rate
from gateway.core.rules import ConfirmRule, CounterRule, OrderRule, PulseRule, Role

HUNDRED_OR_HALF_HOUR = ConfirmRule(every_pieces=100, every=Duration("30 min"))
AT_ONCE = Duration("0 s")
ON = {"orders": OrderRule(at_target="continue")}


def clock(hhmm):
    """Minutes after 9 o'clock, when the rigs of this file start."""
    hours, minutes = map(int, hhmm.split(":"))
    return f"{(hours - 9) * 60 + minutes} min"


def test_golden_pieces_and_timer(rig):
    """100 pieces or 30 minutes; the last confirmation was at 9:50 (domain, golden P)."""
    floor = rig(confirm=HUNDRED_OR_HALF_HOUR, **ON)
    floor.at(clock("9:20")).order("A", 1000)
    floor.make(1)
    floor.at(clock("9:50")).wait()
    assert floor.confirmed == [("A", 1, 1, "partial", "timer")]
    floor.at(clock("10:00")).make(40)
    floor.at(clock("10:05")).make(40)
    assert len(floor.confirmed) == 1
    floor.at(clock("10:06")).make(25)
    assert floor.confirmed[1:] == [("A", 2, 105, "partial", "pieces")], "not cut to 100"
    assert floor.unit.next_deadline(floor.state) is not None
    floor.at(clock("10:30")).make(3)
    floor.at(clock("11:00")).wait()
    assert floor.confirmed[2:] == [("A", 3, 3, "partial", "timer")]
    second, third = floor.all(Confirmation)[1:]
    assert third.created_ns - second.created_ns == Duration("30 min"), "10:36"
    assert (third.period_from_ns, third.period_to_ns) == (second.period_to_ns, third.created_ns)


def test_the_timer_never_confirms_nothing(rig):
    floor = rig(confirm=HUNDRED_OR_HALF_HOUR, **ON)
    floor.order("A", 1000)
    floor.at("8 h").wait()
    assert floor.confirmed == []
    start = floor.now_ns
    floor.at("9 h").make(1)
    floor.wait()
    (confirmation,) = floor.all(Confirmation)
    assert confirmation.created_ns - start == Duration("1 h"), (
        "long overdue: with the first piece, not 30 minutes later"
    )


@pytest.mark.parametrize(
    ("every_pieces", "steps", "expected"),
    [
        (1, [1, 1, 3], [1, 1, 3]),
        (10, [9, 1, 9], [10]),
        (10, [9, 2, 9, 1], [11, 10]),
        (10, [25], [25]),
        (None, [500, 500], []),
    ],
)
def test_by_pieces(rig, every_pieces, steps, expected):
    floor = rig(confirm=ConfirmRule(every_pieces=every_pieces, min_interval=AT_ONCE), **ON)
    floor.order("A", 1000)
    for pieces in steps:
        floor.make(pieces)
    assert [c.good for c in floor.all(Confirmation)] == expected


def test_scrap_and_rework_count_for_the_hundred(rig):
    counters = [CounterRule(mode="counter", signal=f"plc.{role}", role=role) for role in Role]
    floor = rig(*counters, confirm=ConfirmRule(every_pieces=10, min_interval=AT_ONCE), **ON)
    floor.order("A", 1000)
    floor.make(4)
    floor.make(3, "plc.scrap")
    floor.make(3, "plc.rework")
    (confirmation,) = floor.all(Confirmation)
    assert (confirmation.good, confirmation.scrap, confirmation.rework) == (4, 3, 3)


def test_the_end_confirms_and_the_pieces_do_not_confirm_again(rig):
    floor = rig(confirm=ConfirmRule(every_pieces=10, min_interval=AT_ONCE))
    floor.order("A", 10)
    floor.make(10)
    assert floor.confirmed == [("A", 1, 10, "final", "target reached")]


def test_every_confirmation_updates_the_record_with_it(rig):
    floor = rig(confirm=ConfirmRule(every_pieces=5, min_interval=AT_ONCE), **ON)
    floor.order("A", 1000)
    floor.make(5)
    at = next(index for index, said in enumerate(floor.said) if isinstance(said, Confirmation))
    confirmation, change = floor.said[at : at + 2]
    assert isinstance(change, JobChanged)
    assert (change.record.seq, change.record.last_hash) == (confirmation.seq, confirmation.digest)
    assert (change.record.good, change.previous) == (5, "IN_PROGRESS")


def test_several_steps_are_estimated_and_flagged_until_confirmed(rig):
    rule = CounterRule(mode="counter", signal="plc.good", modulus=65536, max_rate=Rate.parse("2 /s"), pieces=2)
    floor = rig(rule, confirm=ConfirmRule(every=Duration("1 h")), **ON)
    floor.order("A", 1000)
    for second, value in enumerate((65534, 65535, 1, 2, 5)):
        floor.at(f"{second + 1} s").value("plc.good", value)
    floor.at("1 h").wait()
    floor.value("plc.good", 6)
    floor.at("2 h").wait()
    first, second = floor.all(Confirmation)
    assert (first.good, first.cycles, first.estimated_pieces, first.flags) == (14, 7, 10, ("ROLLOVER",))
    assert (second.good, second.cycles, second.estimated_pieces, second.flags) == (2, 1, 0, ())
    assert second.total_good == 16


def test_no_more_flags_than_fit(rig):
    floor = rig(**ON)
    floor.order("A", 1000)
    flags = [f"F{number}" for number in range(20)]
    floor.state = floor.state._replace(running=floor.state.running._replace(open_flags=tuple(flags[:16])))
    floor.value("plc.good", 1000)
    floor.state = floor.state._replace(detectors=(floor.state.detectors[0]._replace(evidence="restart"),))
    floor.value("plc.good", 1001)
    assert floor.state.running.open_flags == tuple(flags[:16])


def test_pulses_are_single_cycles(rig):
    floor = rig(PulseRule(mode="pulse", signal="box.n", pieces=24), **ON)
    floor.order("A", 1000)
    for second in range(5):
        floor.at(f"{second + 1} s").value("box.n", second % 2 == 1)
    floor.at("10 s").says("finish", "A")
    (final,) = floor.all(Confirmation)
    assert (final.good, final.cycles, final.estimated_pieces) == (48, 2, 0)


@pytest.mark.parametrize("rule", [{"every_pieces": 0}, {"every_pieces": -1}, {"every": Duration(0)}])
def test_rules_out_of_range(rule):
    with pytest.raises(ValueError, match=r"every(_pieces)?: found .*, allowed"):
        ConfirmRule(**rule)


def test_times_are_shown_in_utc_as_it_is_known_when_they_are_confirmed(rig):
    """The clock was learned late: pieces that were stamped before it carry the right time, and nothing else changes."""
    plain, learned = rig(), rig()
    for floor in (plain, learned):
        floor.order("A", 5)
        floor.at("10 s").make(2)
        if floor is learned:
            floor.put(ClockTold(floor.now_ns, 3_600_000_000_000))
        floor.at("20 s").make(3)
    (before,), (after,) = (floor.all(Confirmation) for floor in (plain, learned))
    shown, right = (fields(floor.unit.identity, found) for floor, found in ((plain, before), (learned, after)))
    assert shown["event_time_last"] == "2026-05-28T20:27:00.000Z"
    assert right["event_time_last"] == "2026-05-28T21:27:00.000Z"
    assert right["period"] == {"from": "2026-05-28T21:26:40.000Z", "to": "2026-05-28T21:27:00.000Z"}
    assert right["created_at"] == "2026-05-28T21:27:00.000Z"
    assert (before.created_ns, before.period_from_ns) == (after.created_ns, after.period_from_ns), "the order of things"
    assert digest_of(learned.unit.identity, after) == after.digest
    same = set(shown) - {"event_time_last", "period", "created_at", "hash"}
    assert {name: shown[name] for name in same} == {name: right[name] for name in same}
