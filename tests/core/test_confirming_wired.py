"""Confirmations as a work unit makes them: triggers, minimum interval, scrap by reason, date, tolerance, milestone."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.core.document import fields
from gateway.core.duration import Duration
from gateway.core.entries import ReclassifyEntry
from gateway.core.model import CalendarPlan, Confirmation, DataValue, MachineState, PlannedTime, Status
from gateway.core.orders.order_image import Control, ImageOperation, OrderImage
from gateway.core.rules import ConfirmRule, OrderRule, Role
from gateway.core.snapshot import decode, encode

ON = {"orders": OrderRule(at_target="continue")}
MIN = 60_000_000_000


def image(over=None, *, milestone=False):
    control = Control(milestone=True)
    operations = tuple(
        ImageOperation(operation=number, work_center="WC-1", quantity=Decimal(10), control=control)
        if milestone and number == "0020"
        else ImageOperation(operation=number, work_center="WC-1", quantity=Decimal(10))
        for number in ("0010", "0020")
    )
    return OrderImage(
        source="erp",
        order="A",
        revision=1,
        product="ART-1",
        uom="PC",
        quantity=Decimal(10),
        operations=operations,
        over_tolerance=over,
    )


def test_pieces_wait_for_the_minimum_interval_and_go_at_its_end(rig):
    floor = rig(confirm=ConfirmRule(every_pieces=10), **ON)
    floor.order("A", 1000)
    begin = floor.now_ns
    floor.make(0)
    floor.at("10 s").make(12)
    assert floor.confirmed == []
    assert floor.unit.next_deadline(floor.state) == begin + MIN
    floor.at("30 s").make(3)
    floor.state = decode(floor.unit, encode(floor.unit, floor.state))
    floor.at("90 s").wait()
    floor.at("100 s").make(10)
    floor.at("120 s").wait()
    assert [(c.good, c.created_ns - begin, c.trigger) for c in floor.all(Confirmation)] == [
        (15, MIN, "pieces"),
        (10, 2 * MIN, "pieces"),
    ]


def test_a_full_handling_unit_confirms_what_went_into_it(rig):
    rule = ConfirmRule(handling_unit_signal="plc.pallet", min_interval=Duration("0 s"))
    floor = rig(confirm=rule, **ON)
    floor.order("A", 1000)
    floor.make(0)
    floor.at("5 s").value("plc.pallet", "P-1")
    floor.at("10 s").make(12)
    floor.at("20 s").value("plc.pallet", "P-1")
    assert floor.confirmed == []
    floor.state = decode(floor.unit, encode(floor.unit, floor.state))
    floor.at("30 s").value("plc.pallet", "P-2")
    floor.at("40 s").value("plc.pallet", "")
    assert floor.confirmed == [("A", 1, 12, "partial", "handling unit")]
    # In one reading the pieces come first, whatever order the device delivers.
    floor.at("50 s").value("plc.pallet", "P-3")
    assert floor.unit.turn(DataValue("plc.pallet", "P", Status.GOOD, None, 0)) > floor.unit.turn(
        DataValue("plc.good", 1, Status.GOOD, None, 0)
    )


def test_full_handling_units_wait_for_the_minimum_interval(rig):
    floor = rig(confirm=ConfirmRule(handling_unit_signal="plc.pallet"), **ON)
    floor.order("A", 1000)
    begin = floor.now_ns
    floor.make(0)
    floor.value("plc.pallet", 1)
    floor.at("10 s").make(12)
    floor.value("plc.pallet", 2)
    floor.at("20 s").make(5)
    assert floor.confirmed == []
    floor.at("70 s").wait()
    assert [(c.good, c.created_ns - begin) for c in floor.all(Confirmation)] == [(17, MIN)]


def test_an_interruption_does_not_wait(rig):
    floor = rig(confirm=ConfirmRule(every_pieces=10), **ON)
    floor.order("A", 1000)
    floor.make(0)
    floor.at("10 s").make(12)
    floor.at("11 s").says("interrupt", "A")
    assert floor.confirmed == [("A", 1, 12, "partial", "interruption")]


def test_a_shift_end_confirms_times_where_nothing_was_made(rig):
    """0 pieces, and its time."""
    floor = rig(calendar="plant", **ON)
    begin = floor.now_ns
    floor.put(
        CalendarPlan(
            begin,
            (
                PlannedTime(begin, None, "2026-05-28/F"),
                PlannedTime(begin + 10 * MIN, None, "2026-05-28/S"),
                PlannedTime(begin + 20 * MIN, MachineState.NOT_SCHEDULED, ""),
            ),
        )
    )
    floor.order("A", 1000)
    floor.make(0)
    floor.at("5 min").make(7)
    floor.at("30 min").wait()
    found = [(c.good, c.trigger, c.period_to_ns - begin, c.shift) for c in floor.all(Confirmation)]
    assert found == [
        (7, "shift end", 10 * MIN, "2026-05-28/F"),
        (0, "shift end", 20 * MIN, "2026-05-28/S"),
    ]


def test_scrap_by_reason_adds_up(rig):
    floor = rig(**ON)
    floor.order("A", 1000)
    floor.make(0)
    floor.make(20)
    for pieces, before, after, reason in (
        (3, Role.GOOD, Role.SCRAP, "SHORT_SHOT"),
        (2, Role.GOOD, Role.SCRAP, ""),
        (2, Role.GOOD, Role.SCRAP, "SHORT_SHOT"),
        (4, Role.GOOD, Role.SCRAP, "BURR"),
        (3, Role.SCRAP, Role.GOOD, "judged better"),
    ):
        floor.put(ReclassifyEntry(floor.now_ns, "A", "", pieces, before, after, reason, "ann"))
    floor.state = decode(floor.unit, encode(floor.unit, floor.state))
    floor.says("interrupt", "A")
    (confirmation,) = floor.all(Confirmation)
    assert (confirmation.good, confirmation.scrap) == (12, 8)
    assert fields(floor.unit.identity, confirmation)["qty"]["scrap"] == [
        {"reason": "SHORT_SHOT", "qty": "5"},
        {"reason": "BURR", "qty": "3"},
    ]
    floor.close_books()


@pytest.mark.parametrize(
    ("made", "tolerance", "over", "approval"),
    [(10, None, False, False), (11, Decimal(10), True, False), (12, Decimal(10), True, True), (99, None, True, False)],
)
def test_over_delivery_is_flagged_and_waits_for_an_approval(rig, made, tolerance, over, approval):
    floor = rig(**ON)
    floor.order("A", 10, image=image(tolerance), image_digest="x")
    floor.make(0)
    floor.make(made)
    floor.says("interrupt", "A")
    (confirmation,) = floor.all(Confirmation)
    assert (confirmation.over_target, confirmation.needs_approval) == (over, approval)
    assert confirmation.good == made, "a fact is never held back"


def test_what_a_milestone_confirms_is_kept_back(rig):
    floor = rig(**ON)
    for number in ("0010", "0020"):
        floor.order("A", 10, operation=number, image=image(milestone=True), image_digest="x")
    floor.make(0)
    floor.make(10)
    floor.says("finish", "A", "0010")
    (confirmation,) = floor.all(Confirmation)
    assert confirmation.kept_back == "0020"
    floor.make(10)
    floor.says("interrupt", "A", "0020")
    assert floor.all(Confirmation)[-1].kept_back == ""


def test_the_stamps_of_a_confirmation(rig):
    floor = rig(**ON)
    floor.order("A", 10)
    floor.make(0)
    floor.at("10 s")
    floor._shown["plc.good"] += 2
    floor.value("plc.good", floor._shown["plc.good"], source_ns=floor.now_ns - 3)
    floor.at("20 s").says("interrupt", "A")
    (confirmation,) = floor.all(Confirmation)
    at_ns = floor.now_ns - Duration("10 s")
    assert (confirmation.last_event_ns, confirmation.derived_ns) == (at_ns - 3, at_ns)
    assert confirmation.posting_date == "2026-05-28"
