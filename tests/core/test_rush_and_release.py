"""Rush orders and what they interrupt; the first article; documents; pieces on hold at the target."""

from __future__ import annotations

import pytest

from gateway.core.entries import PresenceEntry, ReclassifyEntry, SetupEntry
from gateway.core.model import (
    Confirmation,
    JobChanged,
    JobOrderState,
    JobRecord,
    OrderProgress,
    OrderReceived,
    Role,
)
from gateway.core.orders.lifecycle import TRANSITIONS, ActorRole
from gateway.core.orders.order_image import Control, ImageOperation, OrderImage
from gateway.core.rules import ConfirmRule, CounterRule, OrderRule
from gateway.core.rules_material import LabourRule, WorkRule
from gateway.core.rules_orders import GuardRule

S = JobOrderState
GOOD = CounterRule(mode="counter", signal="plc.good")
HELD = CounterRule(mode="counter", signal="plc.held", role=Role.HOLD)


def image(order="A", *, control=None, **over):
    """A whole order of one operation."""
    work = ImageOperation("0010", "WC-1", 10, control=control or Control())
    return OrderImage("erp", order, 1, "ART-1", "PC", 10, (work,), **over)


def state_of(floor, order):
    return floor.records[order, "0010"].state


def reason(floor):
    return floor.notices[-1][1]["reason"]


# --- rush orders ------------------------------------------------------------------------------------------------------


def test_a_rush_order_interrupts_and_the_interrupted_one_goes_on_by_itself(rig):
    floor = rig()
    floor.order("A", 10)
    floor.order("B", 10, sequence_no=1)
    floor.order("R", 3, sequence_no=9)
    floor.make(4)
    floor.says("rush", "R")
    assert (floor.running, floor.queued) == ("R", ["A", "B"])
    assert floor.confirmed == [("A", 1, 4, "partial", "interruption")]
    floor.make(5)
    assert (floor.running, floor.state.running.good) == ("A", 6), "two pieces too many for R are A's"
    assert floor.confirmed[1:] == [("R", 1, 3, "final", "target reached")]
    floor.make(5)
    assert floor.running == "B"
    assert [c.seq for c in floor.all(Confirmation) if c.job.order == "A"] == [1, 2]
    assert (floor.records["A", "0010"].good, floor.records["R", "0010"].good, floor.state.running.good) == (10, 3, 1)
    floor.close_books()


def test_a_second_rush_order_waits_for_the_first(rig):
    floor = rig()
    for order in "ARST":
        floor.order(order, 2)
    floor.says("rush", "S")
    floor.says("rush", "R")
    floor.says("rush", "T")
    assert (floor.running, floor.queued) == ("S", ["R", "T", "A"])
    floor.make(2)
    floor.make(2)
    floor.make(2)
    assert floor.running == "A"


def test_nothing_is_stopped_for_a_rush_order_that_could_not_start(rig):
    floor = rig()
    floor.order("A", 10)
    floor.order("R", 2, image=image("R", documents=("D1",)))
    floor.says("rush", "R")
    assert (floor.running, floor.queued) == ("A", ["R"])
    assert floor.notices[-1][0] == "ORDER_WAITS"
    assert "G7 documents: found D1 not acknowledged" in reason(floor)


@pytest.mark.parametrize("rules", [{"choose": "command"}, {"auto_advance": "off"}])
def test_where_nothing_starts_by_itself_it_is_only_the_first(rig, rules):
    floor = rig(orders=OrderRule(**rules))
    for order in "ABR":
        floor.order(order, 10)
    floor.says("start", "A")
    floor.says("rush", "R")
    assert (floor.running, floor.queued) == ("A", ["R", "B"])
    floor.says("start", "R")
    assert (floor.running, floor.queued) == ("R", ["A", "B"])


def test_a_start_that_interrupts_passes_a_rule_that_refuses(rig):
    floor = rig(orders=OrderRule(when_running="refuse", choose="command"))
    for order in "ABC":
        floor.order(order, 10)
    floor.says("start", "B")
    floor.says("start", "C")
    assert "G6 machine free: found order B running" in reason(floor)
    floor.says("start", "C", interrupt=True)
    assert (floor.running, floor.queued) == ("C", ["B", "A"]), "what was interrupted for it is next"


def test_who_may_not_hurry_an_order(rig):
    floor = rig()
    floor.order("A", 10)
    floor.order("R", 10)
    floor.says("rush", "R", role=ActorRole.OPERATOR)
    assert reason(floor) == (
        "ROLE_NOT_ALLOWED: dispatch is not allowed for operator; allowed: supervisor, planner; ask one of them"
    )
    floor.says("rush", "A")
    assert "it is at the machine already" in reason(floor)


# --- first article ----------------------------------------------------------------------------------------------------


def test_production_waits_for_the_first_article(rig):
    floor = rig(confirm=ConfirmRule(every_pieces=3))
    floor.order("A", 5, image=image(control=Control(first_article=True)))
    floor.make(4)
    run = floor.state.running
    assert (run.state, run.good, run.open_hold) == (S.SETUP, 0, 4)
    assert not floor.confirmed, "what waits for a verdict is not confirmed by number"
    assert [code for code, _ in floor.notices] == ["SETUP_WAITS"], "said once"
    floor.says("complete-setup", "A")
    assert "first article approved: found no approval" in reason(floor)
    floor.says("approve-first-article", "A", role=ActorRole.OPERATOR)
    assert reason(floor).startswith("ROLE_NOT_ALLOWED: approve_first_article is not allowed for operator")
    floor.says("approve-first-article", "A", role=ActorRole.QUALITY)
    assert floor.state.running.state is S.IN_PROGRESS
    floor.make(1)
    assert floor.state.running.good == 1
    floor.put(ReclassifyEntry(floor.now_ns, "A", "", 4, Role.HOLD, Role.GOOD, "measured", "eve"))
    assert state_of(floor, "A") is S.COMPLETED
    floor.close_books()


def test_an_approval_holds_after_an_interruption_and_in_a_setup(rig):
    floor = rig(orders=OrderRule(choose="command", first_article="always"))
    floor.order("A", 5)
    floor.says("start", "A")
    floor.put(SetupEntry(floor.now_ns, True, "ann"))
    floor.says("approve-first-article", "A")
    assert floor.state.running.state is S.SETUP, "the machine is still being set up"
    floor.put(SetupEntry(floor.now_ns, False, "ann"))
    assert floor.state.running.state is S.IN_PROGRESS
    floor.says("interrupt", "A")
    floor.says("start", "A")
    assert floor.state.running.state is S.IN_PROGRESS
    floor.says("approve-first-article", "A")
    assert reason(floor) == "its first article is approved already"


def test_an_article_that_was_measured_before_the_start_is_not_waited_for(rig):
    floor = rig(orders=OrderRule(choose="command", first_article="always"))
    floor.order("A", 5)
    floor.says("approve-first-article", "A", role=ActorRole.OPERATOR)
    assert reason(floor).startswith("ROLE_NOT_ALLOWED: approve_first_article is not allowed for operator")
    floor.says("approve-first-article", "A", role=ActorRole.QUALITY)
    assert state_of(floor, "A") is S.DISPATCHED
    floor.says("start", "A")
    assert floor.state.running.state is S.IN_PROGRESS


def test_a_guard_that_only_warns_lets_it_begin(rig):
    floor = rig(orders=OrderRule(first_article="always", guards=GuardRule(first_article="warn")))
    floor.order("A", 5)
    assert floor.state.running.state is S.IN_PROGRESS
    floor.says("approve-first-article", "A")
    assert floor.state.running.article_approved


# --- documents --------------------------------------------------------------------------------------------------------


def test_documents_are_read_before_the_start(rig):
    floor = rig()
    floor.order("A", 5, image=image(documents=("D1", "D2")))
    assert floor.running is None
    assert "G7 documents: found D1, D2 not acknowledged" in reason(floor)
    floor.says("acknowledge-documents", "A", documents=("D9",))
    assert reason(floor) == "documents: found D9, allowed D1, D2"
    floor.says("acknowledge-documents", "A", documents=("D1",))
    assert floor.running is None
    floor.says("acknowledge-documents", "A")
    assert (floor.running, floor.state.running.documents_read) == ("A", ("D1", "D2"))


# --- material ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["off", "warn", "block"])
def test_an_order_without_its_material_does_not_start(rig, mode):
    floor = rig(orders=OrderRule(guards=GuardRule(material=mode)))
    floor.order("A", 5, image=image(material_available=False))
    if mode != "block":
        assert floor.running == "A"
        assert ("despite G3" in floor.all(JobChanged)[-1][3]) == (mode == "warn")
        return
    assert floor.running is None
    assert "G3 material and lots: found material not available" in reason(floor)
    floor.says("material-ready", "A", role=ActorRole.QUALITY)
    assert "ROLE_NOT_ALLOWED" in reason(floor)
    floor.says("material-ready", "A", role=ActorRole.PLANNER)
    assert floor.running == "A"


def test_who_spoke_of_the_material_last_is_right(rig):
    def hears(revision, **over):
        new = image(**over)._replace(revision=revision, quantity=revision * 10)
        floor.order("A", revision * 10, revision=revision, image=new)
        floor.says("start", "A")
        return floor.running

    floor = rig(orders=OrderRule(choose="command"))
    floor.order("A", 10, image=image(material_available=True))
    floor.says("material-missing", "A")
    floor.says("start", "A")
    assert floor.running is None
    assert "order material-ready" in reason(floor)
    assert hears(2, material_available=True) is None, "the ERP said nothing new of it"
    assert hears(3, material_available=False) is None
    assert hears(4, material_available=True) == "A"


def test_an_order_starts_by_itself_once_the_erp_says_that_its_material_is_there(rig):
    floor = rig()
    floor.order("A", 10, image=image(material_available=False))
    assert floor.running is None
    floor.order("A", 10, revision=2, image=image(material_available=True)._replace(revision=2))
    assert floor.running == "A"


# --- pieces on hold at the target -------------------------------------------------------------------------------------


def test_pieces_on_hold_at_the_target_keep_the_order_open(rig):
    floor = rig(GOOD, HELD)
    floor.make(0, "plc.good")
    floor.make(0, "plc.held")
    floor.order("A", 5)
    floor.order("B", 50)
    floor.make(2, "plc.held")
    floor.make(6, "plc.good")
    assert (state_of(floor, "A"), floor.running, floor.state.running.good) == (S.INTERRUPTED, "B", 1)
    assert floor.confirmed == [("A", 1, 5, "partial", "target reached")]
    assert floor.notices[-1][0] == "COMPLETION_WAITS"
    assert "2 pieces on hold" in reason(floor)
    floor.says("finish", "A")
    assert "no piece waits for a verdict: found 2 pieces on hold" in reason(floor)
    floor.put(ReclassifyEntry(floor.now_ns, "A", "", 1, Role.HOLD, Role.GOOD, "measured", "eve"))
    assert state_of(floor, "A") is S.INTERRUPTED
    floor.put(ReclassifyEntry(floor.now_ns, "A", "", 1, Role.HOLD, Role.SCRAP, "cracked", "eve"))
    assert state_of(floor, "A") is S.COMPLETED
    final = floor.all(Confirmation)[-1]
    assert (final.good, final.scrap, final.hold, final.total_good, final.total_hold) == (1, 1, 0, 6, 0)
    floor.close_books()


def test_a_verdict_that_makes_no_good_piece_ends_it_too(rig):
    floor = rig(GOOD, HELD, orders=OrderRule(target_counts="good"))
    floor.make(0, "plc.good")
    floor.make(0, "plc.held")
    floor.order("A", 5, sequence_no=1)
    floor.order("B", 5, sequence_no=2)
    floor.make(1, "plc.held")
    floor.make(5, "plc.good")
    assert state_of(floor, "A") is S.INTERRUPTED
    run = next(run for run in floor.state.queue if run.job.order == "A")
    assert run.waits_for_person
    floor.says("interrupt", "B")
    floor.put(ReclassifyEntry(floor.now_ns, "A", "", 1, Role.HOLD, Role.REWORK, "scratched", "eve"))
    assert state_of(floor, "A") is S.COMPLETED
    floor.close_books()


# --- the table --------------------------------------------------------------------------------------------------------


def test_every_change_of_state_stands_in_the_table(rig):
    floor = rig(GOOD, HELD)
    for order in "ABC":
        floor.order(order, 4)
    for signal in ("plc.good", "plc.held"):
        floor.make(0, signal)
    for verb, order in (("rush", "C"), ("hold", "C"), ("start", "A"), ("release", "C"), ("interrupt", "A")):
        floor.make(1)
        floor.says(verb, order, reason="r")
    floor.make(1, "plc.held")
    floor.make(9)
    pairs = {(row.state_from, row.state_to) for row in TRANSITIONS} | {(None, S.DISPATCHED)}
    changes = {(one.previous, one.record.state) for one in floor.all(JobChanged)}
    assert {(one, two) for one, two in changes if one is not two} <= pairs
    floor.close_books()


# --- the operation before, elsewhere ----------------------------------------------------------------------------------


def test_an_operation_waits_for_the_one_before_on_another_machine(rig, job):
    works = tuple(ImageOperation(number, "WC-1", 10) for number in ("0010", "0020"))
    whole = OrderImage("erp", "A", 1, "ART-1", "PC", 10, works)
    first = JobRecord(job("A", work_center="WC-0", image=whole), S.IN_PROGRESS, 1, 4, 0, 0, "")
    floor = rig()
    floor.put(OrderReceived(floor.now_ns, job("A", operation="0020", image=whole), None, (first,)))
    assert floor.running is None
    assert "G2 predecessor: found operation 0010 IN_PROGRESS" in reason(floor)
    floor.put(OrderProgress(floor.now_ns, (first._replace(state=S.INTERRUPTED),)))
    assert floor.running is None
    floor.put(OrderProgress(floor.now_ns, (first._replace(state=S.COMPLETED),)))
    assert floor.running == "A"


def test_a_complete_order_on_hold_stays_what_it_is(rig):
    floor = rig()
    floor.order("A", 1)
    floor.make(1)
    floor.says("hold", "A", reason="recall")
    key = ("A", "0010")
    assert (floor.records[key].state, floor.records[key].held_from) == (S.ON_HOLD, S.COMPLETED)
    floor.says("reopen", "A")
    assert "ILLEGAL_TRANSITION" in reason(floor)
    floor.order("A", 1, revision=1)
    assert floor.queued == [], "the ERP's image of it does not bring it back to work"
    floor.says("hold", "A")
    assert "ILLEGAL_TRANSITION" in reason(floor)
    floor.says("release", "A")
    assert (floor.records[key].state, floor.records[key].hold_reason) == (S.COMPLETED, "")
    floor.says("release", "A")
    assert "it is not on hold but COMPLETED" in reason(floor)
    floor.says("reopen", "A")
    assert floor.running == "A"


@pytest.mark.parametrize("state", [S.CLOSED, S.CANCELLED, S.SPLIT, S.MERGED])
def test_what_is_gone_is_not_held(rig, state):
    floor = rig()
    floor.order("A", 1)
    floor.make(1)
    floor.records[("A", "0010")] = floor.records[("A", "0010")]._replace(state=state)
    before = floor.state
    floor.says("hold", "A", reason="recall")
    assert floor.notices[-1][1]["guard"] == "ILLEGAL_TRANSITION"
    assert floor.state._replace(journal_seq=0) == before._replace(journal_seq=0)


def test_an_order_waits_for_somebody_who_can_do_it(rig, job):
    work = ImageOperation("0010", "WC-1", 10, skill="WELD")
    whole = OrderImage("erp", "A", 1, "ART-1", "PC", 10, (work,))
    labour = LabourRule(skills={"ann": ("WELD",), "bob": ("PAINT",)})
    floor = rig(work=WorkRule(labour=labour))
    floor.receive(job("A", image=whole))
    assert "G5 skill: found nobody with a skill logged in, wanted skill WELD" in reason(floor)
    for who, running in (("bob", None), ("ann", "A")):
        floor.put(PresenceEntry(floor.now_ns, True, who, who))
        assert floor.running == running
    open_to_all = rig()
    open_to_all.receive(job("A", image=whole))
    assert open_to_all.running == "A", "nobody tells what people can do"
