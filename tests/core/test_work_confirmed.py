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
from gateway.core.duration import Duration
from gateway.core.entries import (
    CorrectEntry,
    LotEntry,
    MaterialEntry,
    MergeEntry,
    PresenceEntry,
    PresenceShared,
    ReclassifyEntry,
    SerialEntry,
    UndoEntry,
)
from gateway.core.model import Confirmation, Notice
from gateway.core.orders.job_image import with_image
from gateway.core.orders.order_image import Component, ComponentKind, ImageOperation, OrderImage
from gateway.core.rules import ConfirmRule, CounterRule, OrderRule, Role
from gateway.core.rules_material import BackflushRule, FeederRule, LotRule, WorkRule
from gateway.core.state.interval import StateInterval
from gateway.core.work.genealogy import Tracked, TrackedKind, where_from, where_used
from gateway.core.work.packing import Packed, UnitPacked
from gateway.core.work.presence import logged_in_now
from gateway.core.work.rounding import Exact

COUNTERS = [
    CounterRule(mode="counter", signal=f"plc.{role}", role=role)
    for role in (Role.GOOD, Role.SCRAP, Role.REWORK, Role.TEST)
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

    def made(quantity, *components, work=None, **more):
        floor = rig(*COUNTERS, orders=OrderRule(at_target="continue"), work=work or WorkRule(), **more)
        for role in ("good", "scrap", "rework", "test"):
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


def corrected(floor, number, pieces):
    """Confirmation ``number`` has these pieces instead; what every confirmation says then, the reversal before it."""
    known = floor.records["4711", "0010"]
    contents = tuple(
        content_of(json.loads(document.encode(document.fields(floor.unit.identity, one))), Delivery.POSTED)
        for one in floor.all(Confirmation)
    )
    ledger = Confirmed(contents, Capability.NEGATIVE)
    entry = CorrectEntry(floor.now_ns, "4711", "", number, "miscounted", "ann", pieces, known=known, ledger=ledger)
    floor.put(entry._replace(signed_by="ann"))
    return documents(floor)


def lines_of(told):
    return [(one["item"], one["kind"], one["qty"], [(lot["lot"], lot["qty"]) for lot in one["lots"]]) for one in told]


def test_a_correction_shares_what_it_says_by_the_lots_that_were_told(floor_of):
    floor = floor_of(1000, RING, work=ring())
    floor.at("1 s").put(LotEntry(floor.now_ns, True, "bowl", "L1", "ann", quantity=Decimal(4)))
    floor.put(LotEntry(floor.now_ns, True, "bowl", "L2", "ann"))
    floor.make(0)
    floor.at("5 min").make(10)
    floor.says("interrupt", "4711")
    first, reversal, last = corrected(floor, len(documents(floor)), (7, 0, 0))[-3:]
    assert lines_of(first["components"]) == [("RING", "pieces", "10", [("L1", "4"), ("L2", "6")])]
    assert lines_of(reversal["components"]) == [("RING", "pieces", "-10", [("L1", "-4"), ("L2", "-6")])]
    assert lines_of(last["components"]) == [("RING", "pieces", "7", [("L1", "3"), ("L2", "4")])]


def test_a_correction_reckons_every_line_of_an_item_and_what_was_not_told_before(floor_of):
    twice = (GRANULATE, Component("GRAN", Decimal(3), "G", fixed=True), Component("GRAN", Decimal(1), "G"))
    floor = floor_of(1000, *twice)
    floor.at("5 min").make(10)
    floor.says("finish", "4711")
    *_, last = corrected(floor, 1, (5, 0, 0))
    assert lines_of(last["components"]) == [("GRAN", "pieces", "11.030", []), ("GRAN", "fixed", "3.000", [])]
    *_, last = corrected(floor, len(documents(floor)), (0, 0, 0))
    *_, last = corrected(floor, len(documents(floor)), (2, 0, 0))
    assert lines_of(last["components"])[0] == ("GRAN", "pieces", "4.412", [])


def test_what_is_made_besides_is_told_apart_and_is_no_yield(floor_of):
    besides = (
        Component("LID", Decimal(2), "PC", kind=ComponentKind.CO_PRODUCT),
        Component("RING", Decimal("0.25"), "PC", kind=ComponentKind.BY_PRODUCT),  # also the item of a feeder
    )
    floor = floor_of(1000, RING, *besides, work=ring())
    floor.at("1 s").put(LotEntry(floor.now_ns, True, "bowl", "L1", "ann", quantity=Decimal(100)))
    floor.make(0)
    floor.at("5 min").make(10)
    floor.make(2, "plc.scrap")
    floor.says("finish", "4711")
    (told,) = documents(floor)
    assert (told["qty"]["good"], told["qty_cumulative"]["good"]) == ("10", "10"), "never summed into the yield"
    assert lines_of(told["components"]) == [
        ("RING", "pieces", "12", [("L1", "12")]),
        ("LID", "co_product", "20", []),
        ("RING", "by_product", "3", []),
    ]
    assert [(one["posting"], one["separate"]) for one in told["components"]] == [
        ("confirmation", None),
        ("separate", "co_product"),
        ("separate", "by_product"),
    ]
    feeder = floor.state.work.feeders[0].lots[0]
    assert feeder.remaining.fraction == 88, "what falls off takes from no lot"
    _, reversal, last = corrected(floor, 1, (7, 2, 0))
    assert [line[2] for line in lines_of(reversal["components"])] == ["-12", "-20", "-3"]
    assert [line[2] for line in lines_of(last["components"])] == ["9", "14", "2"]


def test_what_is_made_besides_is_not_issued_to_an_order(floor_of):
    floor = floor_of(1000, Component("LID", Decimal(2), "PC", kind=ComponentKind.CO_PRODUCT))
    floor.put(MaterialEntry(floor.now_ns, "4711", "", "LID", Decimal(1), startup=False, who="ann"))
    assert [dict(detail)["guard"] for code, detail in floor.notices if code == "REFUSED"] == ["UNKNOWN_MATERIAL"]


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


@pytest.mark.parametrize("more", [0, 5])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_piece_that_waited_for_its_verdict_is_of_the_lot_that_it_was_made_from(floor_of, restarts, more):
    floor = floor_of(1000, RING, RING, work=ring())  # two lines of the BOM: each piece takes two
    floor.at("1 s").put(LotEntry(floor.now_ns, True, "bowl", "L1", "ann", quantity=Decimal(20)))
    floor.put(LotEntry(floor.now_ns, True, "bowl", "L2", "ann"))
    floor.make(0)
    floor.at("5 min").make(10)
    for _ in range(2):
        floor.put(SerialEntry(floor.now_ns, "S1", "ann"))
    assert floor.state.running.open_hold == 1
    floor.says("confirm", "4711")
    if restarts:
        restart(floor)
    if more:
        floor.at("6 min").make(more)
    floor.put(ReclassifyEntry(floor.now_ns, "4711", "0010", 1, Role.HOLD, Role.GOOD, "fine", "ann"))
    floor.says("finish", "4711")
    first, last = documents(floor)
    assert (first["qty"]["good"], first["qty"]["hold"], last["qty"]["good"]) == ("9", "0", str(1 + more))
    assert [one["lots"] for one in first["components"]] == [[{"lot": "L1", "qty": "18"}]]
    taken = {"L1": "2", "L2": str(2 * more)} if more else {"L1": "2"}
    assert [one["lots"] for one in last["components"]] == [[{"lot": lot, "qty": qty} for lot, qty in taken.items()]]
    assert (first["lots"], last["lots"]) == ([{"lot": "4711", "qty": "9"}], [{"lot": "4711", "qty": str(1 + more)}])
    once_each(floor, {("L1", "4711"): 20, ("4711", "S1"): 1} | ({("L2", "4711"): 2 * more} if more else {}))


def test_a_piece_that_waited_without_a_known_lot_flags_the_confirmation_that_tells_it(floor_of):
    floor = floor_of(1000, RING, work=ring("flag"))
    floor.at("5 min").make(10)
    for _ in range(2):
        floor.put(SerialEntry(floor.now_ns, "S1", "ann"))
    floor.says("confirm", "4711")
    floor.put(ReclassifyEntry(floor.now_ns, "4711", "0010", 1, Role.HOLD, Role.GOOD, "fine", "ann"))
    floor.says("interrupt", "4711")
    first, last = documents(floor)
    assert [one["lots"] for one in last["components"]] == [[{"lot": "UNKNOWN", "qty": "1"}]]
    assert "LOT_UNKNOWN" in first["data_quality_flags"]
    assert "LOT_UNKNOWN" in last["data_quality_flags"]


def test_test_pieces_used_material_that_is_told_apart_and_once(floor_of):
    floor = floor_of(1000, RING, work=ring())
    floor.at("1 s").put(LotEntry(floor.now_ns, True, "bowl", "L1", "ann", quantity=Decimal(100)))
    floor.make(0)
    floor.make(0, "plc.test")
    floor.at("5 min").make(10)
    floor.make(2, "plc.test")
    floor.says("interrupt", "4711")
    (told,) = documents(floor)
    lines = [("RING", "pieces", "10", [("L1", "10")]), ("RING", "startup", "2", [("L1", "2")])]
    assert (told["qty"]["test"], lines_of(told["components"])) == ("2", lines)
    assert [(one["posting"], one["separate"]) for one in told["components"]][1] == ("separate", "startup")
    assert floor.state.work.feeders[0].lots[0].remaining.fraction == 88
    _, reversal, last = corrected(floor, 1, (7, 0, 0))
    assert [line[1:3] for line in lines_of(reversal["components"])] == [("pieces", "-10"), ("startup", "-2")]
    assert [line[1:3] for line in lines_of(last["components"])] == [("pieces", "7"), ("startup", "2")]


HELD_OF_TWO_LOTS = {
    # What a verdict on held pieces that are confirmed tells of material, by what the ERP takes: in sum what was used.
    Capability.CANCEL: [
        ("-10", ["-10 L1"]),
        ("13", ["12 L1", "1 L2"]),
        ("-13", ["-12 L1", "-1 L2"]),
        ("15", ["12 L1", "3 L2"]),
    ],
    Capability.NEGATIVE: [("3", ["2 L1", "1 L2"]), ("2", ["2 L2"])],
    Capability.MANUAL: [("3", ["2 L1", "1 L2"]), ("2", ["2 L2"])],
}


def confirmed_with_held(floor, good, held):
    """Confirms all that was made, and so many of it that wait for their verdict."""
    floor.at("1 s").put(LotEntry(floor.now_ns, True, "bowl", "L1", "ann", quantity=Decimal(good + 2)))
    floor.put(LotEntry(floor.now_ns, True, "bowl", "L2", "ann"))
    floor.make(0)
    floor.at("5 min").make(good + held)
    for number in range(held):
        floor.put(SerialEntry(floor.now_ns, f"S{number}", "ann"))
        floor.put(SerialEntry(floor.now_ns, f"S{number}", "ann"))
    assert floor.state.running.open_hold == held
    floor.says("interrupt", "4711")


def judges(floor, pieces, to_role, capability):
    contents = tuple(content_of(json.loads(document.encode(one)), Delivery.POSTED) for one in documents(floor))
    known = Confirmed(contents, capability)
    floor.put(
        ReclassifyEntry(floor.now_ns, "4711", "0010", pieces, Role.HOLD, to_role, "looked at", "ann", ledger=known)
    )


def rings(told):
    return [
        (one["qty"], [f"{lot['qty']} {lot['lot']}" for lot in one["lots"]])
        for each in told
        for one in each["components"]
    ]


@pytest.mark.parametrize("capability", list(Capability))
def test_what_was_confirmed_as_held_brings_its_lots_with_its_verdict(floor_of, capability):
    floor = floor_of(1000, RING, work=ring())
    confirmed_with_held(floor, 10, 5)
    (first,) = documents(floor)
    assert rings([first]) == [("10", ["10 L1"])], "what waits is no line yet"
    held = [{"item": "RING", "uom": "PC", "lots": [{"lot": "L1", "qty": "2"}, {"lot": "L2", "qty": "3"}]}]
    assert first["components_held"] == held
    judges(floor, 3, Role.GOOD, capability)
    judges(floor, 2, Role.SCRAP, capability)
    assert rings(documents(floor)[1:]) == HELD_OF_TWO_LOTS[capability]
    assert "components_held" not in documents(floor)[-1] or capability is not Capability.CANCEL
    sums = {}
    for one in documents(floor):
        for name, told in (("lots", one["components"]), ("held", one.get("components_held", ()))):
            for lot in (lot for line in told for lot in line["lots"]):
                key = (name, lot["lot"])
                sums[key] = sums.get(key, 0) + int(lot["qty"])
    assert sums == {("lots", "L1"): 12, ("lots", "L2"): 3, ("held", "L1"): 0, ("held", "L2"): 0}
    floor.close_books()


def test_held_pieces_that_are_taken_back_wait_with_their_lots(floor_of):
    floor = floor_of(1000, RING, work=ring())
    confirmed_with_held(floor, 10, 5)
    corrected(floor, 1, None)
    (run,) = floor.state.open_runs()
    assert (run.open_good, run.open_hold) == (10, 5)
    assert sum(one.pieces for one in run.work.made) == 15, "those on hold are among those of their lot"
    floor.says("start", "4711")
    floor.says("interrupt", "4711")
    first, reversal, again = documents(floor)
    assert again["components_held"] == first["components_held"]
    assert first["lots"] == again["lots"] == [{"lot": "4711", "qty": "15"}], "its pieces are in their lot once"
    assert [lot["qty"] for lot in reversal["components_held"][0]["lots"]] == ["-2", "-3"]
    assert rings([reversal, again]) == [("-10", ["-10 L1"]), ("10", ["10 L1"])]


@pytest.mark.parametrize("follows", [True, False])
def test_a_handling_unit_leads_to_its_lots_and_serial_numbers_and_back(floor_of, follows):
    work = ring() if follows else WorkRule()
    floor = floor_of(1000, RING, work=work, confirm=ConfirmRule(handling_unit_signal="plc.pallet"))
    if follows:
        floor.at("1 s").put(LotEntry(floor.now_ns, True, "bowl", "L1", "ann", quantity=Decimal(100)))
    floor.make(0)
    floor.at("10 s").make(3)  # before any unit was named
    floor.value("plc.pallet", "BOX-1")
    floor.at("1 min").make(10)
    floor.make(2, "plc.scrap")
    floor.put(SerialEntry(floor.now_ns, "S1", "ann"))
    restart(floor)
    floor.at("5 min").value("plc.pallet", "BOX-2")
    floor.at("6 min").make(4)
    floor.says("finish", "4711")
    floor.value("plc.pallet", "")
    full = floor.all(UnitPacked)
    assert [one.unit for one in full] == ["BOX-1", "BOX-2"]
    links = [link for one in full for link in one.links]
    assert [(one.parent.kind, one.parent.number, one.child.number, one.quantity.fraction) for one in links] == [
        (TrackedKind.LOT, "4711", "BOX-1", 10),
        (TrackedKind.SERIAL, "S1", "BOX-1", 1),
        (TrackedKind.LOT, "4711", "BOX-2", 4),
    ]
    links += [link for one in floor.all(Confirmation) for link in one.work.links]
    assert {link.run for link in links} == {"4711/0010/M-01"}, "they go with their order"
    box = Tracked(TrackedKind.HANDLING_UNIT, "", "BOX-1")
    back = [str(one.node) for one in where_from(links, box).reached]
    assert back == ["lot 4711 of ART-1", "serial S1 of ART-1", *(["lot L1 of RING"] if follows else [])]
    start = Tracked(TrackedKind.LOT, *(("RING", "L1") if follows else ("ART-1", "4711")))
    assert {"handling_unit BOX-1", "handling_unit BOX-2"} <= {str(one.node) for one in where_used(links, start).reached}
    assert floor.state.work.packed == ()


def test_a_unit_whose_lot_nobody_knows_yet_is_told_with_the_confirmation_that_names_it(floor_of):
    floor = floor_of(1000, confirm=ConfirmRule(handling_unit_signal="plc.pallet", min_interval=Duration("5 min")))
    floor.make(0)
    floor.at("6 min").make(1)
    floor.says("interrupt", "4711")
    floor.says("start", "4711")
    floor.make(0)
    floor.value("plc.pallet", "BOX-1")
    floor.at("7 min").make(5)
    floor.value("plc.pallet", "BOX-2")
    floor.at("8 min").make(6)
    floor.value("plc.pallet", "BOX-3")
    floor.at("20 min").wait()
    told = [
        (link.parent.number, one.unit, link.quantity.fraction) for one in floor.all(UnitPacked) for link in one.links
    ]
    assert told == [("4711", "BOX-1", 5), ("4711", "BOX-2", 6)]


def test_what_a_leader_packed_is_of_the_lots_of_its_originals(rig, job):
    """Where lots are not followed, a unit is linked with what each original was told of; nothing waits for ever."""
    confirm = ConfirmRule(handling_unit_signal="plc.pallet", min_interval=Duration("0 s"))
    floor = rig(orders=OrderRule(choose="command", at_target="continue"), work=WorkRule(), confirm=confirm)
    for name in "AB":
        floor.receive(job(name, 50))
    floor.put(MergeEntry(floor.now_ns, "L", ("A", "B"), "", "r", "ann"))
    floor.says("start", "L")
    floor.make(0)
    floor.value("plc.pallet", "BOX-1")
    floor.at("1 min").make(60)
    floor.value("plc.pallet", "BOX-2")
    floor.at("9 min").make(31)
    floor.value("plc.pallet", "")
    floor.says("finish", "L")
    told = [
        (one.unit, link.parent.number, link.run, link.quantity.fraction)
        for one in floor.all(UnitPacked)
        for link in one.links
    ]
    assert told == [
        ("BOX-1", "A", "A/0010/M-01", 30),
        ("BOX-1", "B", "B/0010/M-01", 30),
        ("BOX-2", "A", "A/0010/M-01", 16),
        ("BOX-2", "B", "B/0010/M-01", 15),
    ]
    assert floor.state.work.packed == ()


def test_what_no_order_here_will_ever_name_takes_no_place_in_the_next_units(floor_of):
    floor = floor_of(1000, confirm=ConfirmRule(handling_unit_signal="plc.pallet"))
    floor.value("plc.pallet", "BOX-1")
    gone = Packed("BOX-0", "4710", "0010", "ART-1", "PC", "", "", 5, floor.now_ns, floor.now_ns)
    work = floor.state.work
    floor.state = floor.state._replace(work=work._replace(packed=(gone, gone._replace(unit="BOX-1"))))
    floor.value("plc.pallet", "BOX-2")
    assert floor.state.work.packed == ()
    assert floor.all(UnitPacked) == []
