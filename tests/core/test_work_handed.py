"""A leader's times and lots are its originals': in sum exactly what one order alone would have had."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import document, snapshot
from gateway.core.access.roles import ActorRole
from gateway.core.entries import LotEntry, MaterialEntry, MergeEntry, PresenceEntry, SplitEntry, UnmergeEntry
from gateway.core.model import Confirmation
from gateway.core.orders.handover import with_images
from gateway.core.orders.job_image import with_image
from gateway.core.orders.order_image import Component, ImageOperation, OrderImage
from gateway.core.rules import CounterRule, OrderRule, Role
from gateway.core.rules_material import BackflushRule, FeederRule, LotRule, WorkRule
from gateway.core.work.backflush import Backflush
from gateway.core.work.handed_work import ToldTimes, shared_times, with_work
from gateway.core.work.lots import Certainty, LotUse
from gateway.core.work.rounding import Exact
from gateway.core.work.run_work import MadeLot, RunWork

RING = Component("RING", Decimal(2), "PC", lot_required=True)
OIL = Component("OIL", Decimal(5), "L", fixed=True)
TIMES = ("machine_setup_min", "labour_setup_min", "machine_min", "labour_min")
WORK = WorkRule(
    lots=LotRule(feeders={"bowl": FeederRule(item="RING")}, missing="flag"),
    backflush=BackflushRule(unit_decimals={"PC": 0}),
)


def image(order, quantity):
    operation = ImageOperation("0010", "WC-1", Decimal(quantity))
    return OrderImage("erp", order, 1, "ART-1", "PC", Decimal(quantity), (operation,), components=(RING, OIL))


@pytest.fixture
def floor(rig, job):
    counters = [CounterRule(mode="counter", signal=f"plc.{role}", role=role) for role in (Role.GOOD, Role.SCRAP)]
    made = rig(*counters, orders=OrderRule(choose="command", at_target="continue"), work=WORK)
    for role in ("good", "scrap"):
        made.make(0, f"plc.{role}")
    for order, quantity in (("A", 60), ("B", 30)):
        made.receive(with_image(job(order, quantity), image(order, quantity)))
    return made


def merge(floor, leader="L", orders=("A", "B")):
    floor.put(MergeEntry(floor.now_ns, leader, orders, "", "one setup", "ann"))


def told(floor, order=None):
    found = [document.fields(floor.unit.identity, one) for one in floor.all(Confirmation)]
    return [one for one in found if order in (None, one["order_id"])]


def minutes(documents):
    return {name: sum(Decimal(one["times"][name] or 0) for one in documents) for name in TIMES}


def states(documents):
    sums = Counter()
    for one in documents:
        sums.update({name: Decimal(text) for name, text in (one["machine_states"] or {}).items()})
    return sums


def lots(documents):
    sums = Counter()
    for one in documents:
        for line in one["components"]:
            sums.update({(line["item"], lot["lot"]): int(lot["qty"]) for lot in line["lots"]})
    return sums


def play(floor, order):
    """Three confirmations over 20 minutes with two lots, a person who logs in, scrap, and a thing that is issued."""
    floor.at("1 s").put(LotEntry(floor.now_ns, True, "bowl", "L1", "ann", quantity=Decimal(41)))
    floor.says("start", order)
    floor.make(0)
    floor.put(PresenceEntry(floor.now_ns, True, "ann", who="ann"))
    floor.at("7 min").make(25)
    floor.make(2, "plc.scrap")
    floor.put(LotEntry(floor.now_ns, True, "bowl", "L2", "ann"))
    floor.says("interrupt", order)
    floor.at("9 min").says("start", order)
    floor.make(0)
    floor.at("11 min").make(1)
    floor.put(MaterialEntry(floor.now_ns, order, "0010", "RING", Decimal(3), False, "ann"))
    floor.says("interrupt", order)
    floor.says("start", order)
    floor.at("20 min").make(43)
    floor.says("finish", order)
    floor.at("3 h").wait()


def test_the_originals_are_told_what_the_leader_took(floor, rig, job):
    merge(floor)
    play(floor, "L")
    alone = floor.__class__(*floor.unit.rules.counters, orders=floor.unit.rules.orders, work=WORK)
    for role in ("good", "scrap"):
        alone.make(0, f"plc.{role}")
    alone.receive(with_image(job("L", 90), image("L", 90)))
    play(alone, "L")
    together, single = told(floor), told(alone)
    assert {one["order_id"] for one in together} == {"A", "B"}
    assert minutes(together) == minutes(single)
    assert states(together) == states(single)
    assert minutes(told(floor, "A"))["machine_min"] > minutes(told(floor, "B"))["machine_min"] > 0
    assert lots(together) == lots(single)
    assert sum(lots(together).values()) == 2 * 71 + 3
    assert {one["operators"][0] for one in together if one["operators"]} == {"ann"}
    oil = [(one["order_id"], line["qty"]) for one in together for line in one["components"] if line["item"] == "OIL"]
    assert sorted(name for name, _ in oil) == ["A", "B"], "each has its own, once"
    assert [code for code, _ in floor.notices if code == "TIMES_AFTER_FINAL"] == []
    links = [link for one in floor.all(Confirmation) for link in one.work.links]
    assert {link.parent.number for link in links} == {"L1", "L2", "UNKNOWN"}
    assert {link.run.split("/")[0] for link in links} == {"A", "B"}
    floor.close_books()


def test_what_an_original_took_before_the_merge_stays_its_own(floor):
    floor.at("1 s").says("start", "A")
    floor.make(0)
    floor.at("5 min").make(10)
    floor.says("interrupt", "A")
    before = minutes(told(floor, "A"))["machine_min"]
    assert before > 4
    merge(floor)
    floor.at("2 h").wait()
    assert floor.state.work.ledger(("A", "0010")) is not None
    floor.put(UnmergeEntry(floor.now_ns, "L", "", "not yet", "ann"))
    floor.says("start", "A")
    floor.make(0)
    floor.at("130 min").make(1)
    floor.says("finish", "A")
    assert minutes(told(floor, "A"))["machine_min"] == before + 10
    floor.at("4 h").wait()
    assert [code for code, _ in floor.notices if code == "TIMES_AFTER_FINAL"] == []


def test_the_time_of_a_parent_that_made_nothing_is_told_when_it_is_split(floor):
    floor.at("1 s").says("start", "A")
    floor.make(0)
    floor.at("3 min").says("interrupt", "A")
    floor.put(SplitEntry(floor.now_ns, "A", "", (Decimal(20), Decimal(40)), "two machines", "ann"))
    floor.at("2 h").wait()
    assert [code for code, _ in floor.notices if code == "TIMES_AFTER_FINAL"] == []


def test_a_leader_survives_a_restart_between_its_confirmations(floor):
    merge(floor)
    floor.at("1 s").says("start", "L")
    floor.make(0)
    floor.at("7 min").make(9)
    images = {run.job.image_digest: run.job.image for run in floor.state.all_runs()}
    floor.state = with_images(snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state)), images)
    floor.make(0)
    floor.at("9 min").make(3)
    floor.says("finish", "L")
    floor.at("3 h").wait()
    assert [code for code, _ in floor.notices if code == "TIMES_AFTER_FINAL"] == []
    assert sum(lots(told(floor)).values()) == 24


@settings(max_examples=200)
@given(
    steps=st.lists(st.integers(0, 10**6), min_size=4, max_size=4),
    weights=st.lists(st.integers(0, 1000), min_size=1, max_size=50),
)
def test_times_are_shared_to_the_last_step(steps, weights):
    parts = shared_times(ToldTimes(tuple(steps), (("PRODUCING", steps[0]),)), weights)
    assert [sum(column) for column in zip(*(one.minutes for one in parts), strict=True)] == steps
    assert sum(number for one in parts for _, number in one.states) == steps[0]


@settings(max_examples=200)
@given(
    pieces=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 300), max_size=4),
    setups=st.integers(0, 3),
)
def test_lots_go_with_the_pieces_exactly(pieces, cuts, setups):
    whole = sum(pieces)
    edges = [0, *sorted(min(one, whole) for one in cuts), whole]
    made = tuple(
        MadeLot(
            f"P{at}", to - since,
            (LotUse("bowl", "RING", f"L{at}", to - since, Exact.of(Fraction(to - since, 7)), 0, 9, Certainty.EXACT),),
        )
        for at, (since, to) in enumerate(pairwise(edges))
    )  # fmt: skip
    parts = with_work(RunWork(made=made, setups=setups), [RunWork()] * len(pieces), pieces)
    assert [sum(lot.pieces for lot in one.made) for one in parts] == pieces
    assert sum(one.setups for one in parts) == setups
    assert all(one.material == Backflush() for one in parts)
    for at, lot in enumerate(made):
        uses = [use for one in parts for part in one.made if part.lot == lot.lot for use in part.uses]
        assert sum(use.pieces for use in uses) == lot.pieces
        assert sum(use.quantity.fraction for use in uses) == Fraction(lot.pieces, 7), at


# --- what is used once per order -------------------------------------------------------------------------------------


def oil(floor, item="OIL"):
    """What was told of it, by shop order."""
    found = Counter()
    for one in told(floor):
        for line in one["components"]:
            if line["item"] == item:
                found[one["shop_order"] or one["order_id"]] += Decimal(line["qty"])
    return found


def split(floor, order, *quantities):
    floor.put(SplitEntry(floor.now_ns, order, "", tuple(map(Decimal, quantities)), "", "ann"))


def through(floor, *orders, pieces=10):
    """Each order makes some pieces and is finished."""
    for order in orders:
        floor.now_ns += 60 * 10**9
        floor.says("start", order)
        floor.make(pieces)
        floor.says("finish", order)


@pytest.mark.parametrize(
    ("before", "order", "expected"),
    [
        (0, ("A-001", "A-002", "A-003"), {"A-001": 5}),
        (0, ("A-003", "A-001", "A-002"), {"A-003": 5}),  # whoever starts first takes it
        (7, ("A-002", "A-001"), {"A": 5}),
    ],
)
def test_what_is_used_once_is_taken_by_one_part_of_an_order(floor, before, order, expected):
    if before:
        floor.says("start", "A")
        floor.make(before)
        floor.says("interrupt", "A")
    split(floor, "A", 20, 20, 20 - before)
    through(floor, *order)
    assert oil(floor) == expected


def test_a_part_that_goes_unbegun_leaves_to_the_others_what_is_used_once(floor):
    split(floor, "A", 20, 20, 20)
    floor.says("cancel", "A-001", role=ActorRole.PLANNER)
    split(floor, "A-003", 10, 10)
    through(floor, "A-003-002", "A-002")
    assert oil(floor) == {"A-003-002": 5}


def test_parts_that_are_merged_again_take_once_what_is_used_once(floor):
    split(floor, "A", 20, 40)
    merge(floor, orders=("A-001", "A-002", "B"))
    through(floor, "L", pieces=90)
    assert sum(oil(floor).values()) == 10
    assert {one["order_id"] for one in told(floor) for line in one["components"] if line["item"] == "OIL"} == {"A", "B"}


def test_what_is_mounted_goes_down_by_what_is_told(rig, job):
    feeders = LotRule(feeders={"can": FeederRule(item="OIL")}, missing="flag")
    floor = rig(
        CounterRule(mode="counter", signal="plc.good"), orders=OrderRule(choose="command"), work=WorkRule(lots=feeders)
    )
    floor.make(0)
    for order in ("A", "B", "C"):
        floor.receive(with_image(job(order, 20), image(order, 20)))
    floor.put(LotEntry(floor.now_ns, True, "can", "K1", "ann", quantity=Decimal(100)))
    split(floor, "A", 10, 10)
    merge(floor, orders=("A-002", "B", "C"))
    through(floor, "L", pieces=50)
    through(floor, "A-001", pieces=5)
    assert sum(oil(floor).values()) == 15
    lines = [line for one in told(floor) for line in one["components"] if line["item"] == "OIL"]
    assert {lot["lot"] for line in lines for lot in line["lots"]} == {"K1"}
    ((lot,),) = [one.lots for one in floor.state.work.feeders]
    assert lot.remaining == Exact.of(85)


def test_what_was_rounded_off_before_a_split_is_told_after_it(rig, job):
    floor = rig(CounterRule(mode="counter", signal="plc.good"), orders=OrderRule(choose="command"), work=WORK)
    floor.make(0)
    third = image("A", 30)._replace(components=(Component("FOIL", Decimal("0.4"), "PC"),))
    floor.receive(with_image(job("A", 30), third))
    for order, quantities in (("A", (29,)), ("A-001", (28,)), ("A-001-001", (27,))):
        floor.says("start", order)
        floor.make(1)
        floor.says("interrupt", order)
        split(floor, order, *quantities)
    through(floor, "A-001-001-001", pieces=27)
    assert sum(oil(floor, "FOIL").values()) == 12


@pytest.mark.parametrize("end", ["split", "cancel", "unmerge"])
def test_what_a_person_issued_is_told_though_nothing_was_made(floor, end):
    order = "A"
    if end == "unmerge":
        merge(floor)
        order = "L"
    floor.put(MaterialEntry(floor.now_ns, order, "0010", "RING", Decimal(3), False, "ann"))
    if end == "split":
        split(floor, "A", 30, 30)
        through(floor, "A-001")
    elif end == "cancel":
        floor.says("cancel", "A", role=ActorRole.PLANNER)
    else:
        floor.put(UnmergeEntry(floor.now_ns, "L", "", "", "ann"))
        through(floor, "A", "B")
    lines = [line for one in told(floor) for line in one["components"] if line["item"] == "RING"]
    assert [line["qty"] for line in lines if line["kind"] == "purge"] == ["3"]
    assert [told(floor)[0]["order_id"], told(floor)[0]["seq"]] == ["A", 1]
