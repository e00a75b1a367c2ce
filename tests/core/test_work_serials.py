"""Serial numbers and lots that are named later, through a whole work unit."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.core import document, snapshot
from gateway.core.entries import LotEntry, LotNamed, LotNameEntry, PiecesReclassified, SerialEntry, SerialRead
from gateway.core.model import Confirmation
from gateway.core.orders.job_image import with_image
from gateway.core.orders.order_image import Component, ImageOperation, OrderImage, OrderKind
from gateway.core.rules import CounterRule, OrderRule
from gateway.core.rules_material import FeederRule, LotRule, WorkRule
from gateway.core.work.produced_lots import SerialRecord
from gateway.core.work.run_work import SERIALS_MAX

RING = Component("RING", Decimal(1), "PC", lot_required=True)
WORK = WorkRule(lots=LotRule(feeders={"bowl": FeederRule(item="RING")}, missing="flag"), serial_signal="plc.serial")


@pytest.fixture
def floor(rig, job):
    """A machine whose order runs, and takes a ring for each piece."""
    made = rig(CounterRule(mode="counter", signal="plc.good"), orders=OrderRule(at_target="continue"), work=WORK)
    made.make(0)
    made.receive(ordered(job))
    read(made, "OLD", who="")
    return made


def ordered(job, order="4711", kind=OrderKind.DISCRETE):
    operation = ImageOperation("0010", "WC-1", Decimal(1000))
    image = OrderImage("erp", order, 1, "ART-1", "PC", Decimal(1000), (operation,), components=(RING,))
    return with_image(job(order, 1000), image._replace(order_kind=kind))


def read(floor, serial, who="", **more):
    return floor.put(SerialEntry(floor.now_ns, serial, who, **more))


def codes(outputs):
    return [getattr(one, "code", type(one).__name__) for one in outputs]


def test_each_further_text_of_the_reader_is_a_piece(floor):
    for at, serial in enumerate(("S1", "S1", "", "S2", "S2"), 1):
        floor.at(f"{at} s").make(1 if serial and serial != "S2" else 0)
        read(floor, serial)
    assert [one.record.serial for one in floor.all(SerialRead)] == ["S1", "S2"]
    floor.says("finish", "4711")
    (one,) = floor.all(Confirmation)
    assert document.fields(floor.unit.identity, one)["serials"] == ["S1", "S2"]
    serials = [(link.parent.number, link.child.number) for link in one.work.links if link.child.kind.value == "serial"]
    assert serials == [("4711", "S1"), ("4711", "S2")]


def test_what_the_reader_showed_is_remembered_over_a_restart(floor):
    read(floor, "S1")
    floor.state = snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state))
    assert not [one for one in read(floor, "S1") if isinstance(one, SerialRead)]
    assert codes(read(floor, "S2")) == ["SerialRead"]


@pytest.mark.parametrize("counted_first", [True, False])
def test_a_duplicate_holds_one_piece(floor, counted_first):
    floor.at("1 s").make(1)
    read(floor, "S1")
    floor.says("interrupt", "4711")  # confirms, so that nothing is open
    floor.says("start", "4711")
    earlier = (floor.all(SerialRead)[0].record,)
    if counted_first:
        floor.at("2 s").make(1)
    out = read(floor, "S1x")
    assert codes(out) == ["SerialRead"]
    out = floor.put(SerialEntry(floor.now_ns, "S1", earlier=earlier))
    assert codes(out) == (["DUPLICATE_SERIAL", "PiecesReclassified"] if counted_first else ["DUPLICATE_SERIAL"])
    floor.state = snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state))
    if not counted_first:
        floor.at("2 s").make(1)
    run = floor.state.running
    assert (run.good, run.hold, run.open_hold, floor.state.work.holds) == (1, 1, 1, ())
    assert len(floor.all(PiecesReclassified)) == 1
    floor.close_books()


def test_a_duplicate_of_an_order_that_ended_holds_nothing_else(floor):
    read(floor, "S1")
    read(floor, "")
    read(floor, "S1")
    assert len(floor.state.work.holds) == 1
    floor.says("finish", "4711")
    assert floor.state.work.holds == ()
    floor.close_books()


def test_rework_may_bring_a_piece_again(floor, job):
    earlier = (SerialRecord("ART-1", "S1", "4700", "0010", 5),)
    floor.says("finish", "4711")
    floor.receive(ordered(job, "4712", OrderKind.REWORK))
    out = read(floor, "S1", earlier=earlier)
    assert codes(out) == ["SerialRead"]
    assert not out[0].first_pass


@pytest.mark.parametrize(
    ("serial", "order", "guard"),
    [("x" * 81, "", "SERIAL_NAME"), ("\x07", "", "SERIAL_NAME"), ("S1", "9999", "ORDER_OPEN")],
)
def test_a_person_is_refused(floor, serial, order, guard):
    decided = read(floor, serial, "ann", order=order)[0]
    assert (decided.verb, decided.guard) == ("lots.serial", guard)


def test_without_an_order_somebody_is_told(floor):
    floor.says("finish", "4711")
    assert codes(read(floor, "S1")) == ["SERIAL_WITHOUT_ORDER"]


def test_the_serials_of_a_confirmation_are_bounded(floor):
    for number in range(SERIALS_MAX + 3):
        read(floor, f"S{number}")
    floor.says("finish", "4711")
    (one,) = floor.all(Confirmation)
    assert (len(one.work.serials), len(floor.all(SerialRead))) == (SERIALS_MAX, SERIALS_MAX + 3)


def test_a_lot_is_named_in_what_is_open_and_in_what_is_confirmed(floor):
    floor.at("1 min").make(5)
    floor.put(LotEntry(floor.now_ns, True, "bowl", "L2", "ann"))
    floor.make(0)
    floor.at("2 min").make(3)
    told = (("4711/0010/M-01", "RING"), ("4711/0010/M-01", "NUT"))
    out = floor.put(LotNameEntry(floor.now_ns, "4711", "", "bowl", "L1", "label found", "ann", told=told))
    assert [(one.run, one.item, one.lot) for one in out if isinstance(one, LotNamed)] == [(*told[0], "L1")]
    floor.says("finish", "4711")
    fields = document.fields(floor.unit.identity, floor.all(Confirmation)[-1])
    lots = {one["lot"] for line in fields["components"] for one in line["lots"]}
    assert "UNKNOWN" not in lots
    assert "L1" in lots or floor.all(Confirmation)[0].flags == ("LOT_UNKNOWN",)


@pytest.mark.parametrize(
    ("order", "feeder", "lot", "guard"),
    [
        ("4711", "bowl", "UNKNOWN", "LOT_NAME"),
        ("4711", "hopper", "L1", "UNKNOWN_FEEDER"),
        ("4711", "bowl", "L1", "NOTHING_UNKNOWN"),
        ("9999", "bowl", "L1", "ORDER_OPEN"),
    ],
)
def test_what_cannot_be_named_is_refused(floor, order, feeder, lot, guard):
    decided = floor.put(LotNameEntry(floor.now_ns, order, "", feeder, lot, "", "ann"))[0]
    assert (decided.verb, decided.guard) == ("lots.name", guard)
