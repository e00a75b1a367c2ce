"""Times, people, material and lots through a whole work unit: golden cases, and sums over all confirmations."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import document, snapshot
from gateway.core.confirming.booked import Confirmed, content_of
from gateway.core.confirming.corrections import Capability
from gateway.core.confirming.hold_back import Delivery
from gateway.core.entries import (
    CorrectEntry,
    LotEntry,
    MaterialEntry,
    PresenceEntry,
    PresenceShared,
    SerialEntry,
    UndoEntry,
)
from gateway.core.model import Confirmation, Notice
from gateway.core.orders.job_image import with_image
from gateway.core.orders.order_image import Component, ImageOperation, OrderImage
from gateway.core.rules import CounterRule, OrderRule, Role
from gateway.core.rules_material import BackflushRule, FeederRule, LotRule, WorkRule
from gateway.core.state.interval import StateInterval
from gateway.core.work.presence import logged_in_now
from gateway.core.work.rounding import Exact

COUNTERS = [
    CounterRule(mode="counter", signal=f"plc.{role}", role=role) for role in (Role.GOOD, Role.SCRAP, Role.REWORK)
]
GRANULATE = Component("GRAN", Decimal("1.2"), "G", scrap=Decimal("0.5"))
RING = Component("RING", Decimal(1), "PC", lot_required=True)
FIVE = Decimal("4.983")  # minutes, less the second before the lot was there
MIN = 60_000_000_000


def image(quantity, *components):
    operation = ImageOperation("0010", "WC-1", Decimal(quantity))
    return OrderImage("erp", "4711", 1, "ART-1", "PC", Decimal(quantity), (operation,), components=components)


@pytest.fixture(scope="session")
def floor_of(rig, job):
    """``floor_of(quantity, *components, work=...)``: a machine, and the order that its ERP released."""

    def made(quantity, *components, work=None):
        floor = rig(*COUNTERS, orders=OrderRule(at_target="continue"), work=work or WorkRule())
        for role in ("good", "scrap", "rework"):
            floor.make(0, f"plc.{role}")
        released = with_image(job("4711", quantity), image(quantity, *components))
        floor.receive(released)
        return floor

    return made


def documents(floor):
    return [document.fields(floor.unit.identity, one) for one in floor.all(Confirmation)]


def ring(missing="block"):
    return WorkRule(
        lots=LotRule(feeders={"bowl": FeederRule(item="RING")}, missing=missing),
        backflush=BackflushRule(unit_decimals={"PC": 0}),
    )


def test_b1_backflush(floor_of):
    floor = floor_of(1000, GRANULATE)
    for hour, (good, scrap, rework) in enumerate(((200, 10, 0), (0, 5, 5), (400, 0, 0)), 1):
        floor.at(f"{hour} h").make(good)
        floor.make(scrap, "plc.scrap")
        floor.make(rework, "plc.rework")
        floor.says("interrupt", "4711")
        floor.says("start", "4711")
    floor.at("4 h").says("finish", "4711")
    lines = [line for one in documents(floor) for line in one["components"]]
    assert sum(Decimal(one["qty"]) for one in lines) == Decimal("747.72")
    assert {(one["item"], one["uom"], one["kind"], one["posting"]) for one in lines} == {
        ("GRAN", "G", "pieces", "confirmation")
    }


def test_b2_a_lot_that_is_used_up_is_followed_by_the_next(floor_of):
    floor = floor_of(1000, RING, work=ring())
    assert floor.running is None
    assert [code for code, _ in floor.notices if code == "ORDER_WAITS"], "no lot, no start"
    floor.at("1 s").put(LotEntry(floor.now_ns, True, "bowl", "L1", "ann", quantity=Decimal(400)))
    assert floor.running == "4711"
    floor.make(0)  # the counter is read at each change, so its next interval begins there
    floor.at("10 min").make(400)
    assert [code for code, _ in floor.notices if code == "LOT_EXHAUSTED"] == ["LOT_EXHAUSTED"]
    floor.at("11 min").put(LotEntry(floor.now_ns, True, "bowl", "L2", "ann"))
    floor.make(0)
    floor.at("20 min").make(220)
    floor.says("finish", "4711")
    used = {}
    for one in documents(floor):
        for line in one["components"]:
            for part in line["lots"]:
                used[part["lot"]] = used.get(part["lot"], 0) + Decimal(part["qty"])
    assert used == {"L1": 400, "L2": 220}
    links = [link for one in floor.all(Confirmation) for link in one.work.links]
    assert {(link.parent.number, link.child.number, int(link.quantity.fraction)) for link in links} == {
        ("L1", "4711", 400),
        ("L2", "4711", 220),
    }


def test_without_a_lot_the_material_is_of_an_unknown_one(floor_of):
    floor = floor_of(100, RING, work=ring("flag"))
    for minute in (1, 2, 3):
        floor.at(f"{minute} min").make(5)
    floor.says("finish", "4711")
    (one,) = documents(floor)
    assert one["components"][0]["lots"] == [{"lot": "UNKNOWN", "qty": "15"}]
    assert "LOT_UNKNOWN" in one["data_quality_flags"]
    assert [code for code, _ in floor.notices].count("LOT_MISSING") == 1, "told once in a confirmation"


def test_b3_labour(floor_of):
    """06:00 is the start; the machine runs 06:30 to 09:30."""
    floor = floor_of(1_000_000)
    floor.says("interrupt", "4711")

    def present(at, begins, person):
        floor.at(at).put(PresenceEntry(floor.now_ns, begins, person, person))

    present("1 s", True, "A")
    floor.at("30 min").says("start", "4711")
    made = 30
    for at, what in ((60, ("B", True)), (120, ("A", 2)), (180, ("B", False)), (210, ("A", 1))):
        while made < at:
            made += 1
            floor.at(f"{made} min").make(100)
        person, how = what
        if isinstance(how, bool):
            present(f"{at} min", how, person)
        else:
            floor.put(PresenceShared(floor.now_ns, person, how))
    floor.says("finish", "4711")
    told = sum(Decimal(one["times"]["labour_min"]) for one in documents(floor))
    assert told == Decimal("4.25") * 60
    assert sum(Decimal(one["times"]["machine_min"]) for one in documents(floor)) == 180
    assert documents(floor)[-1]["times_cumulative"] == {
        name: str(sum(Decimal(one["times"][name]) for one in documents(floor))) for name in documents(floor)[0]["times"]
    }
    assert documents(floor)[-1]["operators"] == ["A", "B"]


def test_material_without_pieces(floor_of):
    floor = floor_of(100, GRANULATE)
    floor.at("1 min").put(MaterialEntry(floor.now_ns, "4711", "", "GRAN", Decimal("3.5"), False, "ann"))
    floor.put(MaterialEntry(floor.now_ns, "4711", "", "SAND", Decimal(1), False, "ann"))
    assert [(code, said["guard"]) for code, said in floor.notices if code == "REFUSED"] == [
        ("REFUSED", "UNKNOWN_MATERIAL")
    ]
    floor.make(1)
    floor.says("finish", "4711")
    lines = {one["kind"]: one for one in documents(floor)[-1]["components"]}
    assert (lines["purge"]["qty"], lines["purge"]["separate"]) == ("3.500", "purge")
    assert lines["pieces"]["qty"] == "1.206"


STEPS = st.lists(
    st.tuples(st.sampled_from(("make", "stop", "confirm", "present", "gone", "restore")), st.integers(1, 2000)),
    max_size=30,
)


@settings(max_examples=60)
@given(steps=STEPS)
def test_all_minutes_told_are_the_exact_time_rounded_once(floor_of, steps):
    floor = floor_of(1_000_000)
    floor.make(1)
    for what, tenths in steps:
        floor.now_ns += tenths * 100_000_000
        if what == "make":
            floor.make(3)
        elif what == "confirm":
            floor.make(1)
            floor.says("interrupt", "4711")
            floor.says("start", "4711")
        elif what in ("present", "gone"):
            floor.put(PresenceEntry(floor.now_ns, what == "present", "A", "A"))
        elif what == "restore":
            stored = json.loads(json.dumps(snapshot.encode(floor.unit, floor.state)))
            assert snapshot.decode(floor.unit, stored).work == floor.state.work
        else:
            floor.wait()
    floor.now_ns += 1_000_000_000
    floor.make(1)
    floor.says("finish", "4711")
    floor.now_ns += 3600 * 1_000_000_000
    floor.wait()
    assert "TIMES_AFTER_FINAL" not in [code for code, _ in floor.notices]
    rows = [one for one in floor.all(StateInterval) if one.order == "4711"]
    told = documents(floor)
    busy_ns = sum(one.length_ns for one in rows if one.state not in ("UNKNOWN", "IDLE_NO_ORDER"))
    step_ns = MIN // 1000
    minutes = sum(Decimal(one["times"]["machine_min"]) for one in told)
    assert minutes == Decimal((2 * busy_ns + step_ns) // (2 * step_ns)).scaleb(-3)
    by_state = {}
    for one in told:
        for state, text in one["machine_states"].items():
            by_state[state] = by_state.get(state, 0) + Decimal(text)
    for state in {one.state for one in rows}:
        exact_ns = sum(one.length_ns for one in rows if one.state is state)
        assert by_state.get(state, 0) == Decimal((2 * exact_ns + step_ns) // (2 * step_ns)).scaleb(-3), state
    assert floor.state.work.ledgers == (), "nothing is kept of what is told"


def undo(floor, who="ann"):
    return [one.code for one in floor.put(UndoEntry(floor.now_ns, who)) if isinstance(one, Notice)]


def test_a_log_in_and_a_log_out_are_undone_from_then_on(floor_of):
    floor = floor_of(1000)
    for minute, begins in ((1, True), (3, False)):
        floor.at(f"{minute} min")
        floor.put(PresenceEntry(floor.now_ns, begins, "bob", "ann"))
        assert [one.person for one in logged_in_now(floor.state.work)] == ["bob"] * begins
        floor.state = snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state))
        assert undo(floor) == []
        assert [one.person for one in logged_in_now(floor.state.work)] == ["bob"] * (not begins)
        if begins:
            floor.at("2 min")
            floor.put(PresenceEntry(floor.now_ns, True, "bob", "ann"))


def test_a_mount_is_undone_while_no_piece_took_of_it(floor_of):
    floor = floor_of(1000, RING, work=ring("flag"))

    def mounted():
        return [(one.lot, one.remaining) for one in floor.state.work.feeders[0].mounted_at(floor.now_ns)]

    def lot(mounts, name, left=None, *, replace=False):
        quantity = None if left is None else Decimal(left)
        floor.put(LotEntry(floor.now_ns, mounts, "bowl", name, "ann", quantity=quantity, replace=replace))

    lot(True, "L1", 50)
    assert (undo(floor), mounted()) == ([], [])
    floor.at("10 s")
    lot(True, "L1", 50)
    floor.make(0)
    floor.at("20 s").make(20)
    assert undo(floor) == ["REFUSED"], "later than the window, and pieces took of it"
    floor.at("30 s")
    lot(False, "L1")
    assert (undo(floor), mounted()) == ([], [("L1", Exact(30))])
    floor.at("50 s")
    lot(True, "L2", replace=True)
    assert undo(floor) == ["REFUSED"]


def test_a_mount_that_started_an_order_is_not_undone(floor_of):
    floor = floor_of(1000, RING, work=ring())
    assert floor.running is None
    floor.put(LotEntry(floor.now_ns, True, "bowl", "L1", "ann"))
    assert (floor.running, undo(floor), floor.running) == ("4711", ["REFUSED"], "4711")


def test_an_issue_is_not_undone_and_says_what_to_do(floor_of):
    floor = floor_of(100, GRANULATE)
    floor.put(MaterialEntry(floor.now_ns, "4711", "", "GRAN", Decimal(1), False, "ann"))
    assert undo(floor) == ["REFUSED"]
    assert floor.notices[-1][1]["guard"] == "UNDO"


@pytest.mark.parametrize("restarts", [False, True])
def test_what_an_undone_finish_told_of_lots_is_linked_once(floor_of, restarts):
    floor = floor_of(1000, RING, work=ring())
    floor.at("1 s").put(LotEntry(floor.now_ns, True, "bowl", "L1", "ann"))
    floor.make(0)
    floor.at("5 min").make(7)
    for serial in ("S0", "S1"):  # what a reader shows first of all was made before
        floor.put(SerialEntry(floor.now_ns, serial))
    floor.says("finish", "4711")
    identity = floor.unit.identity
    for cycle in range(3):
        if restarts:
            restart(floor)
        told = floor.all(Confirmation)[-1]
        back = content_of(json.loads(document.encode(document.fields(identity, told))), Delivery.HELD)
        floor.put(UndoEntry(floor.now_ns, told.by or "ann", contents=(back,)))
        assert floor.state.running.work.confirmed == (0, 0, 0, 0), "what was never sent is in no total"
        assert floor.running == "4711"
        if restarts:
            restart(floor)
        floor.at(f"{6 + cycle} min").make(1)
        floor.put(SerialEntry(floor.now_ns, f"T{cycle}"))
        floor.says("finish", "4711")
    last = documents(floor)[-1]
    assert (last["lots"], last["serials"]) == ([{"lot": "4711", "qty": "10"}], ["S1", "T0", "T1", "T2"])
    assert [one["lots"] for one in last["components"]] == [[{"lot": "L1", "qty": "10"}]]
    once_each(floor, {("L1", "4711"): 10} | {("4711", name): 1 for name in ("S1", "T0", "T1", "T2")})


def test_what_is_taken_back_and_confirmed_again_keeps_its_lots_and_is_linked_once(floor_of):
    floor = floor_of(1000, RING, work=ring())
    floor.at("1 s").put(LotEntry(floor.now_ns, True, "bowl", "L1", "ann"))
    floor.make(0)
    floor.at("5 min").make(7)
    for serial in ("S0", "S1"):  # what a reader shows first of all was made before
        floor.put(SerialEntry(floor.now_ns, serial))
    floor.says("interrupt", "4711")
    floor.says("start", "4711")
    (told,) = floor.all(Confirmation)
    back = content_of(json.loads(document.encode(document.fields(floor.unit.identity, told))), Delivery.POSTED)
    known = floor.records["4711", "0010"]
    ledger = Confirmed((back,), Capability.NEGATIVE)
    floor.put(CorrectEntry(floor.now_ns, "4711", "", 1, "not yet", "ann", known=known, ledger=ledger))
    floor.at("6 min").make(3)
    floor.says("finish", "4711")
    first, reversal, last = documents(floor)
    assert [one["lots"] for one in (first, reversal, last)] == [
        [{"lot": "4711", "qty": qty}] for qty in ("7", "-7", "10")
    ]
    told = [(Decimal(one["times"]["machine_min"]), one["times_cumulative"]["machine_min"]) for one in documents(floor)]
    assert told == [(FIVE, "4.983"), (-FIVE, "0.000"), (told[2][0], str(told[2][0]))], "what stands, in all"
    assert last["serials"] == ["S1"]
    assert [one["components"][0]["lots"] for one in (first, reversal, last)] == [
        [{"lot": "L1", "qty": qty}] for qty in ("7", "-7", "10")
    ]
    once_each(floor, {("L1", "4711"): 10, ("4711", "S1"): 1})


def restart(floor):
    stored = json.loads(json.dumps(snapshot.encode_whole(floor.unit, floor.state)))
    floor.state = snapshot.decode(floor.unit, stored)


def once_each(floor, expected):
    found = {}
    for one in floor.all(Confirmation):
        for link in one.work.links:
            ends = (link.parent.number, link.child.number)
            found[ends] = found.get(ends, 0) + link.quantity.fraction
    assert found == expected
