"""Every counting mode inside of a work unit: roles, parts and cycles of its events, the order of a reading."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import document, snapshot
from gateway.core.counting.modes import MODES
from gateway.core.duration import Duration
from gateway.core.model import Confirmation, CountEvent, DataValue, PiecesProduced, Role, Status
from gateway.core.rate import Rate
from gateway.core.ratio import Ratio
from gateway.core.rule_signals import named
from gateway.core.rules import ConfirmRule, CounterRule, OrderRule, PulseRule
from gateway.core.rules_counting import AnalogRule, PartResultRule, ResultRule, RolesRule, StartEndRule
from gateway.core.rules_packml import PackmlRule
from gateway.core.rules_pieces import CavityRule, UnitsRule
from gateway.core.rules_weighing import WeighingRule

S = 1_000_000_000
MS = 1_000_000


def counter(signal, **over):
    return CounterRule(mode="counter", signal=signal, max_rate=Rate.parse("100 /s"), **over)


def pulse(signal):
    return PulseRule(mode="pulse", signal=signal, debounce=Duration(0))


RULES = {
    "counter": counter("m.n", order_reset="m.job", reset_evidence=("m.batch",), restart_evidence=("m.boots",)),
    "pulse": pulse("m.n"),
    "start_end": StartEndRule(mode="start_end", signal="m.start", end_signal="m.n", debounce=Duration(0)),
    "analog": AnalogRule(mode="analog", signal="m.n", hi="5", lo="3"),
    "part_result": PartResultRule(mode="part_result", signal="m.n", results=ResultRule(ok="m.ok", nok="m.nok")),
    "roles": RolesRule(mode="roles", total=counter("m.n"), scrap=counter("m.scrap"), test=pulse("m.test")),
    "packml": PackmlRule(mode="packml", processed="m.n", defective="m.bad", max_rate=Rate.parse("100 /s")),
    "cavity": CavityRule(
        mode="cavity", cycle=counter("m.n"), cavities=2, verdict_signals=("m.v1", "m.v2"), quality_signal="m.q"
    ),
    "units": UnitsRule(mode="units", count=pulse("m.n"), pulses_per_unit=Ratio.parse("3")),
    "weighing": WeighingRule(
        mode="weighing",
        signal="m.n",
        tare_signal="m.scrap",
        unit_weight=Ratio.parse("2/3"),
        tolerance="0",
        empty_below="1",
        min_weight="2",
        max_weight="7",
    ),
}


def test_every_mode_is_here():
    assert set(RULES) == set(MODES)


@pytest.mark.parametrize("mode", MODES)
def test_every_signal_that_is_read_is_named(rig, mode):
    floor = rig(RULES[mode])
    detector = MODES[mode][0](RULES[mode], None)
    assert set(detector.signals) == {signal for _, signal in named(RULES[mode])} == floor.unit.signals


def test_roles_of_events_are_booked_and_confirmed(rig, identity):
    floor = rig(RULES["roles"])
    floor.order("A")
    for signal in ("m.scrap", "m.n", "m.test"):
        floor.value(signal, 0)
    floor.at("1 s").value("m.scrap", 2)
    floor.value("m.n", 12)
    floor.value("m.test", 1)
    floor.says("finish", "A")
    assert floor.state.counted._asdict() == {"good": 10, "scrap": 2, "rework": 0, "hold": 0, "test": 1}
    (final,) = floor.all(Confirmation)
    assert (final.good, final.scrap, final.test, final.total_test, final.cycles) == (10, 2, 1, 1, 13)
    assert document.fields(identity, final)["qty"]["test"] == "1"
    floor.close_books()


def test_held_pieces_are_confirmed_apart_and_fill_no_order(rig, identity):
    floor = rig(RULES["part_result"], confirm=ConfirmRule(every_pieces=2, min_interval=Duration("0 s")))
    floor.order("A", 1)
    for signal in ("m.ok", "m.nok", "m.n"):
        floor.value(signal, False)
    for second in (1, 3):
        floor.at(f"{second} s").value("m.n", True)
        floor.at(f"{second + 1} s").value("m.n", False)
    floor.at("10 s").wait()
    assert floor.state.counted.hold == 2
    assert floor.running == "A", "a held piece fills no order"
    (partial,) = floor.all(Confirmation)
    assert (partial.good, partial.hold, partial.total_hold, partial.trigger) == (0, 2, 2, "pieces")
    assert document.fields(identity, partial)["qty"]["hold"] == "2"
    floor.close_books()


def test_test_pieces_alone_are_confirmed_at_the_end_but_are_no_pieces(rig):
    floor = rig(counter("m.n", role=Role.TEST), confirm=ConfirmRule(every_pieces=1, min_interval=Duration("0 s")))
    floor.order("A")
    floor.value("m.n", 0)
    floor.at("1 s").value("m.n", 3)
    assert floor.all(Confirmation) == []
    floor.says("interrupt", "A")
    assert [(c.test, c.trigger) for c in floor.all(Confirmation)] == [(3, "interruption")]


def test_a_part_goes_to_the_order_for_it_only(rig):
    family = CavityRule(mode="cavity", cycle=counter("m.n"), cavities=3, parts={"ART-1": (1, 2), "ART-2": (3,)})
    floor = rig(family)
    floor.order("A", product="ART-1")
    floor.value("m.n", 0)
    floor.at("1 s").value("m.n", 5)
    made = [(one.part, one.order, one.pieces) for one in floor.all(PiecesProduced)]
    assert made == [("ART-1", "A", 10), ("ART-2", None, 5)]
    assert floor.state.running.open_cycles == 5
    floor.close_books()


def test_a_cycle_that_makes_nothing_is_a_cycle(rig):
    floor = rig(RULES["cavity"])
    floor.order("A")
    for signal, value in (("m.v1", 0), ("m.v2", 0), ("m.q", 0), ("m.n", 7)):
        floor.value(signal, value)
    floor.at("1 s").value("m.n", 8)
    assert (floor.state.counted.good, floor.state.running.open_cycles, floor.state.last_piece_ns) == (0, 1, None)
    floor.close_books()


def test_a_reading_is_handed_over_in_the_order_of_its_times_and_turns(rig):
    orders = OrderRule(choose="job_signal", job_signal="m.job2")
    floor = rig(RULES["cavity"], counter("m.c"), orders=orders)

    def value(signal, ms):
        return DataValue(signal, 1, Status.GOOD, floor.now_ns + ms * MS, floor.now_ns)

    given_ = [value("m.job2", 0), value("m.n", 1), value("m.n", 5), value("m.v1", 1), value("m.q", 5), value("m.v2", 3)]
    found = [(one.signal, (one.source_time_ns - floor.now_ns) // MS) for one in floor.unit.in_order(given_)]
    assert found == [("m.v1", 1), ("m.n", 1), ("m.v2", 3), ("m.q", 5), ("m.n", 5), ("m.job2", 0)]


def test_values_of_one_signal_keep_their_order_whatever_their_times(rig):
    floor = rig(RULES["start_end"])
    given_ = [DataValue("m.n", number, Status.GOOD, floor.now_ns - number, floor.now_ns) for number in range(3)]
    assert list(floor.unit.in_order(given_)) == given_


@pytest.mark.parametrize("signal", ["m.job", "m.batch"])
def test_an_announced_reset_needs_no_second_sample(rig, signal):
    floor = rig(RULES["counter"])
    floor.order("A")
    floor.value(signal, "one")
    floor.value("m.n", 5000)
    floor.at("1 s").value(signal, "two")
    floor.value("m.n", 5001)  # it has not come yet
    floor.at("2 s").value("m.n", 1)
    assert [(event.flag, event.delta) for event in floor.all(CountEvent)] == [("BASELINE", 0), ("RESET", 1)]
    assert floor.state.counted.good == 2
    floor.at("3 s").value("m.n", 0)
    assert floor.all(CountEvent)[-1].flag == "PENDING", "one announcement is one reset"


def test_an_announcement_is_forgotten(rig):
    floor = rig(RULES["counter"])
    floor.value("m.batch", 1)
    floor.value("m.n", 5000)
    floor.at("1 s").value("m.batch", 2)
    floor.at("11 s").value("m.n", 5001)
    floor.at("12 s").value("m.n", 1)
    assert [event.flag for event in floor.all(CountEvent)] == ["BASELINE", "PENDING"]


def test_a_state_of_version_1_is_loaded(rig):
    floor = rig(counter("m.n"), pulse("m.p"))
    floor.order("A")
    floor.value("m.n", 5)
    floor.value("m.p", True)
    floor.at("1 s").value("m.n", 8)
    stored = json.loads(json.dumps(snapshot.encode(floor.unit, floor.state)))
    old = stored | {"v": 1, "counted": stored["counted"][:3], "unallocated": [0, 0, 0], "unallocated_since_ns": None}
    del old["past"], old["bucket"], old["previous"]
    del old["detectors"]["m.n"]["state"]["told_ns"]
    for name in ("hold", "test", "open_hold", "open_test"):
        del old["running"][name]
    found, expected = snapshot.decode(floor.unit, old), snapshot.decode(floor.unit, stored)
    # The machine's times are not known of such a state, so those of people begin with it.
    assert found._replace(track=None, work=None) == expected._replace(track=None, work=None)


SIGNALS = ("m.n", "m.start", "m.ok", "m.nok", "m.scrap", "m.test", "m.bad", "m.v1", "m.v2", "m.q", "m.job", "m.batch")


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=40)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(SIGNALS), st.integers(0, 8), st.sampled_from((0, 50, 1000)), st.booleans()),
        max_size=40,
    )
)
def test_a_restart_of_the_program_keeps_the_books_in_every_mode(rig, mode, steps):
    floor = rig(RULES[mode], confirm=ConfirmRule(every_pieces=5, min_interval=Duration("0 s")))
    floor.order("A", 10)
    floor.order("B", 10)
    for signal, value, after_ms, restart in steps:
        floor.now_ns += after_ms * MS
        if signal in floor.unit.signals:
            floor.value(signal, value)
        if restart:
            stored = json.loads(snapshot.dump(floor.unit, floor.state))
            floor.state = snapshot.decode(floor.unit, stored)
    floor.now_ns += 3600 * S
    floor.wait()
    floor.close_books()


@pytest.mark.parametrize("authority", ["good_scrap", "total_scrap", "total_good"])
def test_where_total_good_and_scrap_are_counted_every_piece_is_one_cycle(rig, authority):
    rule = RolesRule(
        mode="roles", total=counter("m.n"), good=counter("m.good"), scrap=counter("m.scrap"), authority=authority
    )
    floor = rig(rule, ideal_cycle=Duration("1 s"))
    floor.order("A")
    for number in range(21):
        floor.at(f"{number} s")
        for signal, shown in (("m.scrap", number // 5), ("m.good", number - number // 5), ("m.n", number)):
            floor.value(signal, shown)
    assert (floor.state.counted.good, floor.state.counted.scrap) == (16, 4)
    assert floor.state.running.open_cycles == 20
    assert floor.state.track.state == "PRODUCING"
    assert floor.state.detectors[0].carry == 0
