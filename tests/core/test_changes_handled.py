"""Every row of the table of changes through a whole work unit: what is answered, and what follows."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.core import snapshot
from gateway.core.entries import ExternalEntry
from gateway.core.model import Confirmation, JobChanged, JobOrderState, Notice
from gateway.core.orders.change_table import TABLE, ChangeKind
from gateway.core.orders.handover import with_images
from gateway.core.orders.job_image import with_image
from gateway.core.orders.order_answer import answers_to
from gateway.core.orders.order_changes import AckKind, OrderAck, differences
from gateway.core.orders.order_image import Component, ImageOperation, OrderImage, decode, digest_of, encode
from gateway.core.rules import OrderRule
from gateway.core.rules_state import SetupRule, StateRule

S = JobOrderState
A = AckKind
MIN_NS = 60 * 10**9
YES = (A.ORDER_CHANGE_ACCEPTED, "")
NEW = (A.ORDER_CHANGE_REJECTED, "CLOSE_AND_CREATE_NEW")
SETUP = (A.ORDER_CHANGE_REJECTED, "NOT_DURING_SETUP")
INTERRUPT = (A.ORDER_CHANGE_REJECTED, "INTERRUPT_FIRST")
GONE = (A.CANCEL_ACCEPTED, "")
NOT_GONE = (A.CANCEL_REJECTED, "CANCEL_REJECTED")

#: Where the operation is when the change comes: nothing made, nothing made, 3 made, 3 made.
PLACES = {"before": S.DISPATCHED, "setup": S.SETUP, "running": S.IN_PROGRESS, "interrupted": S.INTERRUPTED}

WORK = ImageOperation("0010", "WC-1", Decimal(10), std_setup_ns=MIN_NS, std_cycle_ns=10**9)
BOM = (Component("GRANULATE", Decimal("1.2"), "G"),)
IMAGE = OrderImage(
    source="erp", order="4711", revision=1, product="ART-1", uom="PC", quantity=Decimal(10), operations=(WORK,),
    product_revision="A", components=BOM,
)  # fmt: skip


def changed(**fields):
    """Revision 2 with these fields of the order, or (by ``work``) of its operation."""
    work = WORK._replace(**fields.pop("work", {}))
    if "quantity" in fields:
        work = work._replace(quantity=fields["quantity"])
    return IMAGE._replace(**{"revision": 2, "operations": (work,)} | fields)


def bom(**fields):
    return changed(components=(BOM[0]._replace(quantity=Decimal("1.5")),), **fields)


SECOND = ImageOperation("0020", "WC-2", Decimal(10))
ECN = {"change_number": "ECN-7", "effective_ns": 1_780_000_000_000_000_000}
K = ChangeKind
#: Kind, image, and the answer in each place.
ROWS = {
    "more": (K.QUANTITY_UP, changed(quantity=Decimal(20)), (YES, YES, YES, YES)),
    "less": (K.QUANTITY_DOWN, changed(quantity=Decimal(5)), (YES, YES, YES, YES)),
    "as many as made": (K.QUANTITY_DOWN, changed(quantity=Decimal(3)), (YES, YES, YES, YES)),
    "fewer than made": (K.QUANTITY_DOWN, changed(quantity=Decimal(2)), (YES, YES, YES, YES)),
    "dates": (K.SCHEDULE, changed(planned_start_ns=1, planned_end_ns=2), (YES, YES, YES, YES)),
    "priority": (K.SCHEDULE, changed(priority=1), (YES, YES, YES, YES)),
    "sequence": (K.SCHEDULE, changed(sequence_no=9), (YES, YES, YES, YES)),
    "work center": (K.WORK_CENTER, changed(work={"work_center": "WC-9"}), (YES, INTERRUPT, INTERRUPT, YES)),
    "cycle": (K.STANDARDS, changed(work={"std_cycle_ns": 2 * 10**9}), (YES, YES, YES, YES)),
    "setup time": (K.STANDARDS, changed(work={"std_setup_ns": 2 * MIN_NS}), (YES, YES, YES, YES)),
    "scrap": (K.STANDARDS, changed(work={"std_scrap": Decimal(2)}), (YES, YES, YES, YES)),
    "component": (K.BOM, bom(), (YES, YES, NEW, NEW)),
    "component, no time": (K.BOM, bom(change_number="ECN-7"), (YES, YES, NEW, NEW)),
    "component, no number": (K.BOM, bom(effective_ns=1), (YES, YES, NEW, NEW)),
    "component, engineering change": (K.BOM, bom(**ECN), (YES, YES, YES, YES)),
    "product": (K.STRUCTURE, changed(product="ART-2"), (YES, SETUP, NEW, NEW)),
    "product revision": (K.STRUCTURE, changed(product_revision="B"), (YES, SETUP, NEW, NEW)),
    "unit": (K.STRUCTURE, changed(uom="KG"), (YES, SETUP, NEW, NEW)),
    "operation more": (K.STRUCTURE, changed(operations=(WORK, SECOND)), (YES, SETUP, NEW, NEW)),
    "tool": (K.STRUCTURE, changed(work={"tool": "T-9"}), (YES, SETUP, NEW, NEW)),
    "tolerance": (K.TOLERANCES, changed(over_tolerance=Decimal(5)), (YES, YES, YES, YES)),
    "text": (K.INFORMATION, changed(work={"text": "careful"}), (YES, YES, YES, YES)),
    "hold": (K.HOLD, changed(hold="QM-1"), (YES, YES, YES, YES)),
    "cancel": (K.CANCEL, changed(cancelled=True), (GONE, GONE, GONE, GONE)),
}
CASES = [(name, place, at) for name in ROWS for at, place in enumerate(PLACES)]


def job_of(job, image):
    work = image.operations[0]
    fields = {"operation": "0010", "revision": image.revision, "work_center": work.work_center,
              "product": image.product, "product_revision": image.product_revision, "uom": image.uom,
              "cancelled": image.cancelled, "std_cycle_ns": work.std_cycle_ns,
              "sequence_no": image.sequence_no}  # fmt: skip
    return with_image(job(image.order, str(work.quantity), **fields), image)


@pytest.fixture
def at_place(rig, job):
    """``at_place(place)``: a line whose order is there; further arguments are rules of orders."""

    def made(place, **rules):
        setup = StateRule(setup=SetupRule(end="operator_confirm"))
        line = rig(orders=OrderRule(auto_advance="off", **rules), state=setup)
        line.order("OTHER", 1, product="ART-0")
        line.says("start", "OTHER")
        line.make(1)
        line.receive(job_of(job, IMAGE))
        if place != "before":
            line.at("1 min").says("start", "4711")
        if place in ("running", "interrupted"):
            line.at("2 min").says("complete-setup", "4711")
            line.at("3 min").make(3)
        if place == "interrupted":
            line.at("4 min").says("interrupt", "4711", reason="lunch")
        (run,) = line.state.open_runs()
        assert (run.state, run.good) == (PLACES[place], 3 if place in ("running", "interrupted") else 0)
        line.at("10 min")
        return line

    return made


def answer(outputs):
    """Kind of the only acknowledgement, and the code of its refusal."""
    (ack,) = [one for one in outputs if isinstance(one, OrderAck)]
    rejected = ack.kind in (A.ORDER_CHANGE_REJECTED, A.CANCEL_REJECTED)
    assert (ack.order, ack.operation, ack.revision) == ("4711", "0010", 2)
    assert ack.held_revision == (1 if rejected else 2)
    return ack.kind, ack.reasons[0].split(":")[0] if rejected else ""


def records(outputs):
    return [(one.previous, one.record.state) for one in outputs if isinstance(one, JobChanged)]


def confirmations(line):
    return [one for one in line.all(Confirmation) if one.job.order == "4711"]


def codes(line):
    return [code for code, _ in line.notices]


def test_every_row_of_the_table_is_here():
    for name, (kind, image, _) in ROWS.items():
        kinds = {one.kind for one in differences(IMAGE, image)}
        assert kind is K.CANCEL or kind in kinds, name
    assert {kind for kind, _, _ in ROWS.values()} == set(TABLE)


@pytest.mark.parametrize(("name", "place", "at"), CASES, ids=[f"{name}-{place}" for name, place, _ in CASES])
def test_the_answer_of_each_row_in_each_place(at_place, job, name, place, at):
    line = at_place(place)
    _, image, expected = ROWS[name]
    line.wait()
    before, seq = line.state, len(line.said)
    outputs = line.receive(job_of(job, image))
    assert answer(outputs) == expected[at]
    if expected[at][0] is A.ORDER_CHANGE_REJECTED:
        assert line.state._replace(journal_seq=before.journal_seq) == before, "nothing changes"
        assert codes(line)[-1] == "ORDER_CHANGE_REJECTED"
        assert not [one for one in line.said[seq:] if isinstance(one, (Confirmation, JobChanged))]
    elif name not in ("work center", "cancel"):
        held = next((run.job for run in line.state.open_runs()), line.records["4711", "0010"].job)
        assert held.image == image
    line.close_books()
    again = line.receive(job_of(job, image))
    if expected[at][1] == "":
        told = [one.kind for one in again if isinstance(one, OrderAck)]
        assert told in ([A.DUPLICATE], [A.STALE], []) or name == "cancel", "what comes twice changes nothing"
        assert not [one for one in again if isinstance(one, Confirmation)]
    line.close_books()


@pytest.mark.parametrize("place", PLACES)
def test_what_leaves_the_state_as_it_is(at_place, job, place):
    for name in ("more", "less", "dates", "cycle", "tolerance", "text", "component, engineering change"):
        line = at_place(place)
        outputs = line.receive(job_of(job, ROWS[name][1]))
        assert {state for _, state in records(outputs)} == {PLACES[place]}, name


@pytest.mark.parametrize("place", ["running", "interrupted"])
@pytest.mark.parametrize(("name", "over"), [("as many as made", False), ("fewer than made", True)])
def test_fewer_than_were_made_is_over_delivery_and_complete(at_place, job, place, name, over):
    line = at_place(place)
    line.receive(job_of(job, ROWS[name][1]))
    assert ("OVER_DELIVERY" in codes(line)) is over
    last = line.records["4711", "0010"]
    if over or place == "running":
        assert (last.state, last.good) == (S.COMPLETED, 3)
        final = confirmations(line)[-1]
        assert final.kind == "final"
        assert sum(one.good for one in confirmations(line)) == 3
    else:
        assert last.state is S.INTERRUPTED, "a person, or its next start, ends it"


@pytest.mark.parametrize("name", ["dates", "priority", "sequence"])
@pytest.mark.parametrize("place", PLACES)
def test_a_plan_that_changes_behind_the_first_piece_counts_in_its_stability(at_place, job, place, name):
    line = at_place(place)
    line.receive(job_of(job, ROWS[name][1]))
    (run,) = line.state.open_runs()
    assert run.plan_changes == (1 if place in ("running", "interrupted") else 0)
    assert codes(line).count("PLAN_UNSTABLE") == run.plan_changes


@pytest.mark.parametrize(("place", "state"), [("before", S.RELEASED), ("interrupted", S.INTERRUPTED)])
def test_what_moves_is_confirmed_and_begins_there(at_place, job, place, state):
    line = at_place(place)
    outputs = line.receive(job_of(job, ROWS["work center"][1]))
    last = [one for one in outputs if isinstance(one, JobChanged)][-1]
    assert (last.record.state, last.record.job.work_center) == (state, "WC-9")
    assert not list(line.state.open_runs())
    assert sum(one.good for one in confirmations(line)) == (3 if place == "interrupted" else 0)


def test_a_setup_that_was_interrupted_can_move(at_place, job):
    line = at_place("setup")
    line.says("interrupt", "4711", reason="tool is missing")
    assert answer(line.receive(job_of(job, ROWS["work center"][1]))) == YES
    assert not list(line.state.open_runs())


def test_standard_times_hold_from_the_revision_on(at_place, job):
    line = at_place("running")
    line.receive(job_of(job, ROWS["cycle"][1]))
    line.at("11 min").make(2)
    assert [one.record.job.std_cycle_ns for one in line.all(JobChanged)][-1] == 2 * 10**9
    assert line.state.running.job.std_cycle_ns == 2 * 10**9
    assert line.state.running.good == 5


@pytest.mark.parametrize("at", range(4))
def test_a_cancellation_tells_what_was_made_and_confirms_it(at_place, job, at):
    place = list(PLACES)[at]
    line = at_place(place)
    outputs = line.receive(job_of(job, ROWS["cancel"][1]))
    (ack,) = [one for one in outputs if isinstance(one, OrderAck)]
    made = 3 if at > 1 else 0
    assert ack.produced == ((("0010", Decimal(made)),) if at else ())
    assert sum(one.good for one in confirmations(line)) == made
    assert line.records["4711", "0010"].state is S.CANCELLED
    line.at("11 min").make(2)
    assert sum(line.state.unallocated) == 2


@pytest.mark.parametrize(("place", "expected"), list(zip(PLACES, (GONE, *[NOT_GONE] * 3), strict=True)))
def test_by_policy_what_was_started_is_not_cancelled(at_place, job, place, expected):
    line = at_place(place, cancel_in_progress="reject")
    assert answer(line.receive(job_of(job, ROWS["cancel"][1]))) == expected
    assert bool(list(line.state.open_runs())) is (expected is NOT_GONE)


@pytest.mark.parametrize("place", PLACES)
def test_a_hold_and_its_end_come_back_to_where_it_was(at_place, job, place):
    line = at_place(place)
    line.receive(job_of(job, ROWS["hold"][1]))
    (run,) = line.state.open_runs()
    assert (run.state, run.held_from, run.hold_reason) == (S.ON_HOLD, PLACES[place], "QM-1")
    line.receive(job_of(job, IMAGE._replace(revision=3)))
    assert [one.state for one in line.state.open_runs()] == [PLACES[place]]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (IMAGE, A.DUPLICATE),
        (IMAGE._replace(product="ART-2"), A.STALE),
        (IMAGE._replace(revision=0, hold="late"), A.STALE),
    ],
)
def test_what_comes_twice_or_late_changes_nothing(at_place, job, place, given, kind):
    line = at_place(place)
    line.wait()
    before = line.state
    outputs = line.receive(job_of(job, given))
    (ack,) = [one for one in outputs if isinstance(one, OrderAck)]
    assert (ack.kind, ack.held_revision) == (kind, 1)
    assert line.state._replace(journal_seq=before.journal_seq) == before


def test_what_was_made_before_an_engineering_change_is_of_the_former_bom(at_place, job):
    line = at_place("running")
    outputs = line.receive(job_of(job, ROWS["component, engineering change"][1]))
    (before,) = [one for one in outputs if isinstance(one, Confirmation)]
    assert (before.good, before.job.revision, before.trigger) == (3, 1, "engineering change")
    line.at("11 min").make(7)
    after = confirmations(line)[-1]
    assert (after.good, after.job.revision) == (7, 2)
    assert [[told.line.quantity for told in one.work.lines] for one in (before, after)] == [
        [Decimal("3.6")], [Decimal("10.5")],
    ]  # fmt: skip


def lines_of(line):
    return [[(told.line.item, told.line.quantity) for told in one.work.lines] for one in confirmations(line)]


FROM = 1_780_000_000_000_000_000 + 20 * MIN_NS


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("place", ["running", "interrupted"])
def test_an_engineering_change_waits_for_its_time(at_place, job, place, restart):
    line = at_place(place)
    later = bom(change_number="ECN-7", effective_ns=FROM)
    outputs = line.receive(job_of(job, later))
    (ack,) = [one for one in outputs if isinstance(one, OrderAck)]
    assert (ack.kind, ack.held_revision) == (A.ORDER_CHANGE_ACCEPTED, 2)
    assert ack.reasons == ("components: those of ECN-7 are reckoned with from 2026-05-28T20:46:40.000Z on",)
    assert [one.kind for one in line.receive(job_of(job, later)) if isinstance(one, OrderAck)] == [A.DUPLICATE]
    if place == "interrupted":
        line.at("11 min").says("start", "4711")
    line.at("15 min").make(2)
    if restart:
        run = line.state.running
        stored = snapshot.load(line.unit, snapshot.dump(line.unit, line.state))
        image = decode(encode(run.job.image))
        line.state = with_images(stored, {digest_of(image): image})
        line.make(0)
    line.at("25 min").make(5)
    line.wait()
    by_former = sum(gram for told in lines_of(line)[:-1] for _, gram in told)
    assert by_former == Decimal("6.0"), "five pieces by the former BOM"
    assert lines_of(line)[-1] == [("GRANULATE", Decimal("7.5"))], "five by the new one"
    told = [one.at_ns for one in line.all(Notice) if one.code == "BOM_IN_FORCE"]
    assert told == [FROM], "on time, not with the next piece"


def test_an_engineering_change_that_waits_is_put_off_and_drawn_near(at_place, job):
    line = at_place("running")
    line.receive(job_of(job, bom(change_number="ECN-7", effective_ns=FROM)))
    line.receive(job_of(job, bom(change_number="ECN-7", effective_ns=FROM + 60 * MIN_NS, revision=3)))
    line.at("25 min").make(2)
    assert [one.trigger for one in confirmations(line)] == []
    line.receive(job_of(job, bom(change_number="ECN-7", effective_ns=FROM, revision=4)))
    assert [one.trigger for one in confirmations(line)] == ["engineering change"]
    line.make(5)
    assert lines_of(line) == [[("GRANULATE", Decimal("6.0"))], [("GRANULATE", Decimal("7.5"))]]


def test_a_withdrawal_of_what_is_not_held_is_unknown(rig, job):
    line = rig()
    outputs = line.receive(job_of(job, ROWS["cancel"][1]))
    assert [(one.kind, one.held_revision) for one in outputs if isinstance(one, OrderAck)] == [(A.UNKNOWN_ORDER, None)]


def left_out(job, **fields):
    """What the machine of operation 0010 is told where its order is sent without it."""
    image = changed(operations=(SECOND,), **fields)
    return with_image(job_of(job, IMAGE)._replace(revision=image.revision, cancelled=image.cancelled), image)


@pytest.mark.parametrize("place", PLACES)
def test_an_operation_that_its_order_is_sent_without_goes_where_nothing_was_begun(at_place, job, place):
    line = at_place(place)
    line.wait()
    expected = {"before": YES, "setup": SETUP}.get(place, NEW)
    assert answer(line.receive(left_out(job))) == expected
    held = line.records["4711", "0010"]
    assert (held.state, held.job.revision) == ((S.CANCELLED, 2) if place == "before" else (PLACES[place], 1))
    assert [run.job.order for run in line.state.open_runs()] == ([] if place == "before" else ["4711"])
    line.close_books()


def test_an_operation_that_was_left_out_comes_back_with_a_further_revision(at_place, job):
    line = at_place("before")
    line.receive(left_out(job))
    again = changed(revision=3, operations=(WORK, SECOND))
    (ack,) = [one for one in line.receive(job_of(job, again)) if isinstance(one, OrderAck)]
    assert (ack.kind, ack.held_revision) == (A.ORDER_ACCEPTED, 3)
    (run,) = line.state.open_runs()
    assert (run.job.key, run.job.revision, run.state) == (("4711", "0010"), 3, S.DISPATCHED)
    assert [one for one in records(line.said) if S.CANCELLED in one] == [(S.DISPATCHED, S.CANCELLED)]
    line.says("start", "4711")
    line.close_books()


def test_an_operation_of_a_cancelled_order_does_not_come_back(at_place, job):
    line = at_place("before")
    line.receive(job_of(job, changed(cancelled=True)))
    (ack,) = [one for one in line.receive(job_of(job, changed(revision=3))) if isinstance(one, OrderAck)]
    assert (ack.kind, line.records["4711", "0010"].state) == (A.ORDER_CHANGE_REJECTED, S.CANCELLED)


def test_a_withdrawal_that_names_the_operation_no_more_is_one(at_place, job):
    line = at_place("interrupted")
    assert answer(line.receive(left_out(job, cancelled=True))) == GONE
    assert line.records["4711", "0010"].state is S.CANCELLED
    line.close_books()


def test_one_that_its_order_was_sent_without_answers_where_no_other_does(at_place, job):
    line = at_place("before")
    told = left_out(job)
    outputs = line.receive(told)
    assert answers_to([told], outputs, line.state, lambda _job: ("0020",)) == ()
    (alone,) = answers_to([told], outputs, line.state, lambda _job: ("0010",))
    assert (alone.operation, alone.expected) == ("0010", ("0010",))


@pytest.mark.parametrize(("external", "quantity", "over"), [(2, 5, False), (2, 4, True), (0, 4, False)])
@pytest.mark.parametrize("place", ["running", "interrupted"])
def test_a_lower_quantity_is_compared_with_what_the_erp_was_told_by_hand_too(
    at_place, job, place, external, quantity, over
):
    """3 were made here. Below all that the ERP has and gets of it the order is over; at just that a running one is."""
    line = at_place(place)
    if external:
        line.put(ExternalEntry(line.now_ns, "4711", "0010", external, 0, 0, reason="stock-taking", who="ann"))
    line.receive(job_of(job, changed(quantity=Decimal(quantity))))
    assert ("OVER_DELIVERY" in codes(line)) is over
    full = over or (place == "running" and 3 + external >= quantity)
    assert [run.job.order for run in line.state.open_runs() if run.job.order == "4711"] == ([] if full else ["4711"])
    if over:
        (detail,) = (detail for code, detail in line.notices if code == "OVER_DELIVERY")
        assert (detail["made"], detail["quantity"]) == ("5", "4")
    still_open = sum(run.open_good for run in line.state.open_runs() if run.job.order == "4711")
    assert sum(one.good for one in confirmations(line)) + still_open == 3, "no piece of the ERP's own is posted to it"


def test_a_cancellation_is_answered_with_what_was_made_here(at_place, job):
    """The ERP knows what somebody told it; a number that has it would be counted twice there."""
    line = at_place("interrupted")
    line.put(ExternalEntry(line.now_ns, "4711", "0010", 2, 0, 0, reason="stock-taking", who="ann"))
    (ack,) = [one for one in line.receive(job_of(job, changed(cancelled=True))) if isinstance(one, OrderAck)]
    assert (ack.kind, ack.produced) == (A.CANCEL_ACCEPTED, (("0010", Decimal(3)),))
