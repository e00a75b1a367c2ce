"""An operation's life at one work unit: setup, holds, reopening, guards, the queue, and what the ERP changes."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import journal, snapshot
from gateway.core.duration import Duration
from gateway.core.entries import ReclassifyEntry
from gateway.core.model import Confirmation, JobChanged, JobOrderState, OrderReceived, Role
from gateway.core.orders.job_image import with_image
from gateway.core.orders.lifecycle import ActorRole, following
from gateway.core.orders.order_changes import AckKind, OrderAck
from gateway.core.orders.order_image import ImageOperation, OrderImage, OrderKind
from gateway.core.rules import ConfirmRule, CounterRule, OrderRule, StateRule
from gateway.core.rules_orders import GuardRule
from gateway.core.rules_state import SetupRule

S = JobOrderState
COUNTERS = tuple(CounterRule(mode="counter", signal=f"plc.{role}", role=role) for role in Role)
COMMAND = OrderRule(choose="command")
OPERATION = ImageOperation("0010", "WC-1", Decimal(10))


def image(order="A", operations=(OPERATION,), quantity=10, **over):
    plain = {"source": "erp", "order": order, "revision": 1, "product": "ART-1", "uom": "PC"}
    return OrderImage(**plain | {"quantity": Decimal(quantity), "operations": operations} | over)


def released(floor, job, given, operation="0010"):
    """The order of this image is released to the work unit."""
    work = given.operation(operation)
    fields = {
        "operation": operation, "revision": given.revision, "work_center": work.work_center, "product": given.product,
        "uom": given.uom, "sequence_no": given.sequence_no, "cancelled": given.cancelled, "echo": given.echo,
    }  # fmt: skip
    return floor.receive(with_image(job(given.order, str(work.quantity), **fields), given))


def states(floor, order="A"):
    """The states that an order went through."""
    found = [one.record.state for one in floor.all(JobChanged) if one.record.job.order == order]
    return [state for at, state in enumerate(found) if at == 0 or found[at - 1] is not state]


def refusal(floor):
    code, detail = floor.notices[-1]
    assert code == "REFUSED"
    return detail["reason"]


# --- setup -----------------------------------------------------------------------------------------------------------


def setting_up(rig, **rules):
    floor = rig(orders=OrderRule(), state=StateRule(setup=SetupRule(end="operator_confirm")), **rules)
    floor.order("A", 2)
    floor.order("B", 2, product="ART-2")
    floor.make(2)
    return floor


def test_an_order_of_another_product_is_set_up_before_it_runs(rig):
    floor = setting_up(rig)
    assert states(floor, "B") == [S.RELEASED, S.DISPATCHED, S.SETUP]
    floor.at("5 min").says("complete-setup", "B")
    assert states(floor, "B") == [S.RELEASED, S.DISPATCHED, S.SETUP, S.IN_PROGRESS]
    floor.make(2)
    assert states(floor, "B")[-1] is S.COMPLETED
    floor.says("complete-setup", "B")
    assert refusal(floor).startswith("ILLEGAL_TRANSITION: order B/0010 has ended, COMPLETED; a supervisor opens it")


def test_what_a_setup_makes_may_fill_the_order(rig):
    floor = setting_up(rig)
    floor.make(2)
    assert states(floor, "B") == [S.RELEASED, S.DISPATCHED, S.SETUP, S.IN_PROGRESS, S.COMPLETED]
    floor.close_books()


def test_an_order_in_setup_is_not_finished_but_interrupted(rig):
    floor = setting_up(rig)
    floor.says("finish", "B")
    assert refusal(floor).startswith("ILLEGAL_TRANSITION: SETUP to COMPLETED is not allowed; allowed from here: ")
    floor.says("interrupt", "B")
    assert states(floor, "B")[-1] is S.INTERRUPTED
    floor.says("start", "B")
    assert states(floor, "B")[-1] is S.SETUP, "the setup goes on"


def test_a_setup_inside_of_an_order(rig):
    floor = rig(orders=COMMAND, state=StateRule(setup=SetupRule(tool_signal="plc.tool")))
    floor.value("plc.tool", "T1")
    floor.order("A", 10)
    floor.says("start", "A")
    floor.make(1)
    floor.value("plc.tool", "T2")
    assert states(floor) == [S.RELEASED, S.DISPATCHED, S.IN_PROGRESS, S.SETUP]
    floor.at("1 min").make(1)
    assert states(floor)[-1] is S.IN_PROGRESS


def test_the_timer_confirms_what_a_setup_makes(rig):
    floor = setting_up(rig, confirm=ConfirmRule(every=Duration("10 min")))
    floor.make(1)
    floor.at("11 min").wait()
    assert floor.confirmed[-1][:2] == ("B", 1)


def test_a_changeover_may_begin_with_the_wrong_tool_but_not_end_with_it(rig, job):
    floor = rig(orders=COMMAND, state=StateRule(setup=SetupRule(tool_signal="plc.tool", end="operator_confirm")))
    floor.value("plc.tool", "T1")
    released(floor, job, image(operations=(OPERATION._replace(tool="T2"),)))
    floor.says("start", "A")
    assert states(floor)[-1] is S.SETUP
    floor.says("complete-setup", "A")
    assert refusal(floor).startswith("G4 tool and recipe: found tool T1, wanted tool T2; set the machine up")
    assert states(floor)[-1] is S.SETUP
    floor.value("plc.tool", "T2")
    floor.says("complete-setup", "A")
    assert states(floor)[-1] is S.IN_PROGRESS


@pytest.mark.parametrize("mode", ["off", "warn", "block"])
def test_an_order_waits_for_its_recipe_and_starts_once_it_is_loaded(rig, job, mode):
    rule = StateRule(setup=SetupRule(recipe_signal="plc.recipe"))
    floor = rig(orders=OrderRule(guards=GuardRule(tool=mode)), state=rule)
    floor.value("plc.recipe", "R-1")
    released(floor, job, image(operations=(OPERATION._replace(recipe="R-2"),)))
    started = [one.trigger for one in floor.all(JobChanged) if one.record.state is S.IN_PROGRESS]
    if mode == "block":
        assert (floor.running, floor.notices[-1][0]) == (None, "ORDER_WAITS")
        assert "G4 tool and recipe: found recipe R-1, wanted recipe R-2" in floor.notices[-1][1]["reason"]
        floor.value("plc.recipe", "R-3")
        assert floor.running is None
        floor.value("plc.recipe", "R-2")
    else:
        assert ("despite G4 tool and recipe: found recipe R-1" in started[0]) == (mode == "warn")
    assert floor.running == "A"


# --- holds -----------------------------------------------------------------------------------------------------------


def test_what_runs_on_hold_is_made_but_waits_for_a_verdict(rig):
    floor = rig(*COUNTERS, orders=OrderRule(), confirm=ConfirmRule(every_pieces=5, min_interval=Duration("0 s")))
    floor.order("A", 10)
    floor.order("B", 10)
    for role in Role:
        floor.make(0, f"plc.{role}")
    floor.make(4, "plc.good")
    floor.says("hold", "A", reason="crack")
    assert floor.confirmed == [("A", 1, 4, "partial", "hold")]
    record = floor.records["A", "0010"]
    assert (record.state, record.held_from, record.hold_reason) == (S.ON_HOLD, S.IN_PROGRESS, "crack")
    floor.make(30, "plc.good")
    floor.make(3, "plc.scrap")
    assert floor.running == "A", "what is on hold does not end"
    assert (floor.state.running.good, floor.state.running.open_hold, floor.state.running.open_scrap) == (4, 30, 3)
    assert len(floor.confirmed) == 1
    floor.put(ReclassifyEntry(floor.now_ns, "A", "", 6, Role.HOLD, Role.GOOD, "checked", "eve"))
    assert floor.running == "A", "full, but on hold"
    floor.close_books()
    floor.says("release", "A")
    assert states(floor)[-1] is S.INTERRUPTED, "the 24 that wait for a verdict keep it open"
    assert floor.running == "B"
    floor.close_books()
    floor.put(ReclassifyEntry(floor.now_ns, "A", "", 24, Role.HOLD, Role.SCRAP, "cracked", "eve"))
    assert states(floor)[-1] is S.COMPLETED
    assert floor.confirmed[-1] == ("A", 3, 0, "final", "target reached")
    floor.close_books()


def test_a_held_order_makes_way_and_stays_held(rig):
    floor = rig(orders=COMMAND)
    floor.order("A", 10)
    floor.order("B", 10)
    floor.says("start", "A")
    floor.says("hold", "A")
    floor.says("start", "B")
    assert (floor.running, floor.queued) == ("B", ["A"])
    assert floor.records["A", "0010"].held_from is S.INTERRUPTED
    floor.says("start", "A")
    assert refusal(floor).startswith(
        "G1 no active hold: found hold without a reason, wanted no active hold; quality or"
    )
    floor.says("release", "A")
    assert states(floor)[-1] is S.INTERRUPTED
    floor.says("start", "A")
    assert floor.running == "A"


def test_nothing_starts_by_itself_past_a_hold(rig):
    floor = rig(orders=OrderRule())
    floor.order("A", 1)
    floor.order("B", 1)
    floor.order("C", 1)
    floor.says("hold", "B", reason="lot recalled")
    floor.make(1)
    assert (floor.running, floor.queued) == (None, ["B", "C"])
    (told,) = [detail for code, detail in floor.notices if code == "ORDER_WAITS"]
    assert "order B is on hold (lot recalled); release it" in told["reason"]
    floor.order("D", 1)
    assert [code for code, _ in floor.notices] == ["ORDER_WAITS"], "said once"
    floor.says("release", "B")
    assert floor.running == "B"


@pytest.mark.parametrize(
    ("verb", "role", "allowed"),
    [
        ("hold", ActorRole.OPERATOR, False),
        ("hold", ActorRole.QUALITY, True),
        ("start", ActorRole.PLANNER, False),
        ("start", ActorRole.OPERATOR, True),
        ("cancel", ActorRole.SUPERVISOR, False),
        ("cancel", ActorRole.PLANNER, True),
    ],
)
def test_who_may_decide(rig, verb, role, allowed):
    floor = rig(orders=COMMAND)
    floor.order("A", 10)
    before = floor.state
    floor.says(verb, "A", role=role)
    assert (floor.state._replace(journal_seq=0) != before._replace(journal_seq=0)) is allowed
    if not allowed:
        assert "is not allowed" in refusal(floor)


def test_release_of_what_is_not_held_and_hold_of_what_is(rig):
    floor = rig(orders=COMMAND)
    floor.order("A", 10)
    floor.says("release", "A")
    assert refusal(floor).startswith("ILLEGAL_TRANSITION: it is not on hold but DISPATCHED; decide so of an order that")
    floor.says("hold", "A")
    floor.says("hold", "A")
    assert "ILLEGAL_TRANSITION: ON_HOLD to ON_HOLD is not allowed" in refusal(floor)
    floor.says("interrupt", "A")
    assert refusal(floor).startswith("ILLEGAL_TRANSITION: it is not running but ON_HOLD; decide so of an order that")
    floor.says("finish", "A")
    assert "ON_HOLD to COMPLETED is not allowed: it was held in DISPATCHED" in refusal(floor)
    assert dict(floor.notices[-1][1])["what_to_do"] == "release its hold first (order release)"


def test_the_erp_holds_and_releases_but_not_what_a_person_held(rig, job):
    floor = rig(orders=COMMAND)
    released(floor, job, image(hold="customs"))
    assert states(floor) == [S.RELEASED, S.DISPATCHED, S.ON_HOLD]
    released(floor, job, image(revision=2))
    assert states(floor)[-1] is S.DISPATCHED
    floor.says("hold", "A", reason="crack")
    released(floor, job, image(revision=3, hold="customs"))
    released(floor, job, image(revision=4))
    assert (states(floor)[-1], floor.records["A", "0010"].hold_reason) == (S.ON_HOLD, "crack")


# --- the end, and behind it ------------------------------------------------------------------------------------------


def test_reopened_it_runs_on_with_its_numbers_until_a_person_ends_it(rig):
    floor = rig(orders=OrderRule())
    floor.order("A", 5)
    floor.make(5)
    floor.says("reopen", "A", reason="three more")
    assert states(floor) == [S.RELEASED, S.DISPATCHED, S.IN_PROGRESS, S.COMPLETED, S.IN_PROGRESS]
    assert floor.notices[-1][0] == "FINAL_TO_REVERSE"
    floor.make(3)
    assert floor.running == "A"
    floor.says("finish", "A")
    assert [(seq, good, kind) for _, seq, good, kind, _ in floor.confirmed] == [(1, 5, "final"), (2, 3, "final")]
    assert floor.all(Confirmation)[-1].total_good == 8
    floor.close_books()


def test_what_cannot_be_reopened(rig):
    floor = rig(orders=OrderRule())
    floor.order("A", 5)
    floor.says("reopen", "A")
    assert refusal(floor) == "ILLEGAL_TRANSITION: it is open, IN_PROGRESS; go on with it"
    floor.order("B", 5)
    floor.make(5)
    floor.says("reopen", "A")
    assert refusal(floor).startswith(
        "G6 machine free: found order B running, wanted a free machine; interrupt or finish"
    )
    floor.says("reopen", "A", role=ActorRole.OPERATOR)
    assert refusal(floor).startswith("ROLE_NOT_ALLOWED")
    floor.says("reopen", "Z")
    assert "no single operation of order Z is remembered here" in refusal(floor)
    floor.order("B", 5, cancelled=True)
    floor.says("reopen", "B")
    assert "CANCELLED is an end; release a new order" in refusal(floor)


def test_an_order_with_pieces_that_wait_for_a_verdict_is_not_finished(rig):
    floor = rig(*COUNTERS, orders=COMMAND)
    floor.order("A", 10)
    floor.says("start", "A")
    floor.make(0, "plc.hold")
    floor.make(2, "plc.hold")
    floor.says("finish", "A")
    assert refusal(floor).startswith("no piece waits for a verdict: found 2 pieces on hold, wanted none; judge them")
    floor.put(ReclassifyEntry(floor.now_ns, "A", "", 2, Role.HOLD, Role.SCRAP, "", "eve"))
    floor.says("finish", "A")
    assert states(floor)[-1] is S.COMPLETED


def test_a_campaign_does_not_end_at_its_quantity(rig, job):
    floor = rig(orders=OrderRule())
    released(floor, job, image(order_kind=OrderKind.CAMPAIGN))
    floor.make(25)
    assert (floor.running, floor.state.running.good) == ("A", 25)


# --- the queue -------------------------------------------------------------------------------------------------------


def test_proposed_orders_are_told_once_and_started_by_a_person(rig):
    floor = rig(orders=OrderRule(auto_advance="propose"))
    floor.order("A", 1)
    floor.order("B", 1)
    assert floor.running is None
    assert [(code, detail["order"]) for code, detail in floor.notices] == [("ORDER_PROPOSED", "A")]
    floor.says("start", "A")
    floor.make(1)
    assert [detail["order"] for _, detail in floor.notices] == ["A", "B"]


def test_auto_advance_off(rig):
    floor = rig(orders=OrderRule(auto_advance="off"))
    floor.order("A", 1)
    assert (floor.running, floor.notices) == (None, [])


@pytest.mark.parametrize(
    ("rule", "running", "other"),
    [("interrupt", "B", S.INTERRUPTED), ("complete", "B", S.COMPLETED), ("refuse", "A", S.IN_PROGRESS)],
)
def test_what_a_start_does_to_what_runs(rig, rule, running, other):
    floor = rig(orders=OrderRule(choose="command", when_running=rule))
    floor.order("A", 10)
    floor.order("B", 10)
    floor.says("start", "A")
    floor.says("start", "B")
    assert (floor.running, states(floor)[-1]) == (running, other)
    if rule == "refuse":
        assert "G6 machine free: found order A running" in refusal(floor)


@pytest.mark.parametrize(("mode", "started"), [("off", True), ("warn", True), ("block", False)])
def test_out_of_sequence(rig, mode, started):
    floor = rig(orders=OrderRule(choose="command", guards=GuardRule(sequence=mode)))
    floor.order("A", 10)
    floor.order("B", 10)
    floor.says("start", "B")
    assert (floor.running == "B") is started
    codes = [code for code, detail in floor.notices if "G8 sequence: found order A before it" in detail["reason"]]
    assert codes == {"off": [], "warn": ["START_WARNING"], "block": ["REFUSED"]}[mode]


def test_the_operation_before_must_be_complete_where_it_is_known(rig, job):
    both = image(operations=(OPERATION, OPERATION._replace(operation="0020")))
    floor = rig(orders=COMMAND)
    released(floor, job, both)
    released(floor, job, both, "0020")
    floor.says("start", "A", "0020")
    assert "G2 predecessor: found operation 0010 DISPATCHED" in refusal(floor)
    floor.says("start", "A", "0010")
    floor.says("finish", "A", "0010")
    floor.says("start", "A", "0020")
    assert floor.state.running.job.operation == "0020"


def test_a_job_tag_does_not_start_what_is_on_hold(rig):
    floor = rig(orders=OrderRule(choose="job_signal", job_signal="plc.job"))
    floor.order("A", 10)
    floor.order("B", 10)
    floor.value("plc.job", "A-0010")
    floor.says("hold", "B")
    floor.value("plc.job", "B-0010")
    assert floor.running is None
    assert floor.notices[-1][0] == "ORDER_WAITS"
    floor.says("release", "B")
    assert floor.running == "B"


# --- the ERP's changes -----------------------------------------------------------------------------------------------


def acks(floor):
    return [ack.kind for ack in floor.all(OrderAck)]


def test_every_image_is_answered(rig, job):
    floor = rig(orders=OrderRule())
    released(floor, job, image())
    released(floor, job, image())
    released(floor, job, image(revision=2, priority=1))
    floor.make(3)
    released(floor, job, image(revision=3, product="ART-9"))
    released(floor, job, image(revision=1))
    released(floor, job, image(revision=4, cancelled=True))
    kinds = (
        "ORDER_ACCEPTED",
        "DUPLICATE",
        "ORDER_CHANGE_ACCEPTED",
        "ORDER_CHANGE_REJECTED",
        "STALE",
        "CANCEL_ACCEPTED",
    )
    assert acks(floor) == [AckKind(kind) for kind in kinds]
    assert floor.all(OrderAck)[-1].produced == (("0010", Decimal(3)),)
    for ack in floor.all(OrderAck):
        kind, data = journal.row(ack)
        assert (kind, json.loads(json.dumps(data))["order"]) == ("order_ack", "A")


def test_a_lower_quantity_than_was_made_ends_it(rig, job):
    floor = rig(orders=OrderRule(at_target="continue"))
    released(floor, job, image())
    floor.make(8)
    released(floor, job, image(revision=2, quantity=5, operations=(OPERATION._replace(quantity=Decimal(5)),)))
    assert states(floor)[-1] is S.COMPLETED
    assert [code for code, _ in floor.notices] == ["OVER_DELIVERY"]


def test_a_started_order_may_be_kept_from_cancellation(rig, job):
    floor = rig(orders=OrderRule(cancel_in_progress="reject"))
    released(floor, job, image())
    floor.make(1)
    released(floor, job, image(cancelled=True))
    assert (floor.running, acks(floor)[-1]) == ("A", AckKind.CANCEL_REJECTED)
    floor.says("cancel", "A", role=ActorRole.PLANNER)
    assert "cancel policy" in refusal(floor)


def test_another_operation_that_has_begun_elsewhere_keeps_the_product(rig, job):
    """All or nothing: two operations of one order never make two products."""
    both = image(operations=(OPERATION, ImageOperation("0020", "WC-2", Decimal(10))))
    floor = rig(orders=COMMAND)
    released(floor, job, both)
    held = floor.state.queue[0]
    there = held.record()._replace(job=held.job._replace(operation="0020", work_center="WC-2"), state=S.IN_PROGRESS)
    after = with_image(held.job._replace(revision=2, product="ART-2"), both._replace(revision=2, product="ART-2"))
    floor.put(OrderReceived(floor.now_ns, after, floor.records["A", "0010"], (there,)))
    assert acks(floor)[-1] is AckKind.ORDER_CHANGE_REJECTED
    assert floor.state.queue[0].job.product == "ART-1"
    floor.put(OrderReceived(floor.now_ns, after, floor.records["A", "0010"], (there._replace(state=S.DISPATCHED),)))
    assert floor.state.queue[0].job.product == "ART-2"


# --- always ----------------------------------------------------------------------------------------------------------

VERBS = ("start", "interrupt", "finish", "hold", "release", "reopen", "cancel", "complete-setup")
STEPS = st.lists(
    st.tuples(
        st.sampled_from((*VERBS, "make", "order", "erp cancels", "restart", "tool")),
        st.integers(0, 5),
        st.sampled_from(tuple(ActorRole)),
    ),
    max_size=60,
)


@given(STEPS, st.sampled_from(("sequence", "command")), st.sampled_from(("interrupt", "complete", "refuse")))
@settings(max_examples=200)
def test_whatever_happens_every_change_is_in_the_table_and_no_piece_is_lost(rig, steps, choose, when_running):
    rule = OrderRule(choose=choose, when_running=when_running)
    setup = StateRule(setup=SetupRule(tool_signal="plc.tool"))
    floor = rig(*COUNTERS, orders=rule, state=setup, confirm=ConfirmRule(every_pieces=7, min_interval=Duration("0 s")))
    for role in Role:
        floor.make(0, f"plc.{role}")
    for what, number, role in steps:
        floor.now_ns += 1_000_000_000
        order = "ABC"[number % 3]
        if what == "make":
            floor.make(number, f"plc.{tuple(Role)[number % 4]}")
        elif what == "tool":
            floor.value("plc.tool", f"T{number % 2}")
        elif what in ("order", "erp cancels"):
            product = f"ART-{number % 2}"
            cancelled = what == "erp cancels"
            floor.order(order, number + 2, revision=1 + number, product=product, cancelled=cancelled)
        elif what == "restart":
            floor.state = snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state))
            for one in Role:
                floor.make(0, f"plc.{one}")
        else:
            floor.says(what, order, role=role if number % 2 else None)
        floor.close_books()
    held_from = {}
    for change in floor.all(JobChanged):
        key, now = change.record.job.key, change.record.state
        if change.previous is not None and change.previous is not now:
            assert now in following(change.previous, held_from.get(key)), change
        held_from[key] = change.record.held_from


def test_a_state_of_the_version_before_is_loaded(rig):
    floor = rig(orders=COMMAND)
    floor.order("A", 10)
    floor.order("B", 10)
    floor.says("start", "A")
    floor.make(3)
    plain = {"v": 3, "unallocated": [0, 0, 0, 0, 0], "unallocated_since_ns": None}
    old = json.loads(snapshot.dump(floor.unit, floor.state)) | plain
    del old["next_told"], old["bucket"], old["previous"]
    for run in (old["running"], *old["queue"]):
        for name in ("held_from", "hold_reason", "reopened"):
            del run[name]
        del run["job"]["image_digest"]
    assert snapshot.decode(floor.unit, old) == floor.unit.restored(floor.state)._replace(last_word=None)
