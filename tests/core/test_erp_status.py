"""What an ERP says of the status of an order (planned, released, dispatched, closed), and when one is closed."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.core.duration import Duration
from gateway.core.model import Confirmation, FinalAcknowledged, JobChanged, JobOrderState, Role
from gateway.core.orders.job_image import with_image
from gateway.core.orders.order_changes import AckKind, OrderAck
from gateway.core.orders.order_image import ImageOperation, OrderImage, OrderStatus
from gateway.core.rules import CounterRule, OrderRule

S = JobOrderState
T = OrderStatus
COUNTERS = tuple(CounterRule(mode="counter", signal=f"plc.{role}", role=role) for role in Role)
BY_HAND = OrderRule(dispatch="by_hand")


def image(revision=1, status=T.RELEASED, quantity=10, **over):
    plain = {"source": "erp", "order": "A", "revision": revision, "product": "ART-1", "uom": "PC", "status": status}
    work = ImageOperation("0010", over.pop("work_center", "WC-1"), Decimal(quantity))
    return OrderImage(**plain | {"quantity": Decimal(quantity), "operations": (work,)} | over)


@pytest.fixture
def floor(rig):
    def made(orders=None):
        return rig(*COUNTERS, orders=orders or OrderRule())

    return made


@pytest.fixture
def hear(job):
    def heard(floor, given):
        work = given.operations[0]
        fields = {"operation": "0010", "revision": given.revision, "work_center": work.work_center,
                  "product": given.product, "uom": given.uom, "cancelled": given.cancelled}  # fmt: skip
        return floor.receive(with_image(job("A", str(work.quantity), **fields), given))

    return heard


def states(floor):
    found = [one.record.state for one in floor.all(JobChanged)]
    return [state for at, state in enumerate(found) if at == 0 or found[at - 1] is not state]


def test_a_planned_order_is_shown_and_neither_starts_nor_stands_in_the_way(floor, hear):
    line = floor()
    hear(line, image(status=T.PLANNED))
    assert states(line) == [S.PLANNED]
    assert [run.state for run in line.state.queue] == [S.PLANNED]
    line.says("start", "A")
    assert line.notices[-1][0] == "REFUSED"
    line.order("B", 5)
    assert line.state.running.job.order == "B"


def test_it_starts_once_it_is_released_with_or_without_a_new_revision(floor, hear):
    for revision in (1, 2):
        line = floor()
        hear(line, image(status=T.PLANNED))
        hear(line, image(revision))
        assert states(line) == [S.PLANNED, S.RELEASED, S.DISPATCHED, S.IN_PROGRESS]


def test_what_is_not_dispatched_cannot_be_rushed_and_hinders_no_rush(floor, hear):
    line = floor()
    hear(line, image(status=T.PLANNED))
    line.order("B", 5)
    line.order("C", 5)
    line.says("rush", "A")
    assert line.notices[-1][0] == "REFUSED"
    line.says("rush", "C")
    assert line.notices[-1][0] != "REFUSED" or line.state.running.job.order == "C"
    assert line.state.running.job.order == "C"


def test_by_hand_a_released_order_waits_for_the_dispatch_list(floor, hear):
    line = floor(BY_HAND)
    hear(line, image())
    assert states(line) == [S.RELEASED]
    line.says("dispatch", "A")
    assert states(line) == [S.RELEASED, S.DISPATCHED, S.IN_PROGRESS]


def test_what_was_dispatched_can_be_revoked_until_it_starts(floor, hear):
    line = floor(OrderRule(dispatch="by_hand", auto_advance="off"))
    hear(line, image())
    line.says("dispatch", "A")
    line.says("revoke", "A")
    assert states(line) == [S.RELEASED, S.DISPATCHED, S.RELEASED]
    hear(line, image(2, T.DISPATCHED))
    hear(line, image(3))
    assert states(line)[-2:] == [S.DISPATCHED, S.RELEASED]
    hear(line, image(4, T.DISPATCHED))
    line.says("start", "A")
    line.says("revoke", "A")
    assert line.notices[-1][0] == "REFUSED"
    assert states(line)[-1] is S.IN_PROGRESS


def test_a_change_of_something_else_dispatches_and_revokes_nothing(floor, hear):
    line = floor(OrderRule(dispatch="by_hand", auto_advance="off"))
    hear(line, image())
    line.says("dispatch", "A")
    hear(line, image(2, quantity=20))
    assert states(line)[-1] is S.DISPATCHED


def test_closed_there_while_it_runs_here_is_a_hold_and_what_is_made_is_unallocated(floor, hear):
    line = floor()
    hear(line, image())
    line.make(3)
    outputs = hear(line, image(status=T.CLOSED))
    assert [one.kind for one in outputs if isinstance(one, OrderAck)] == [AckKind.ORDER_CHANGE_ACCEPTED]
    assert [one.good for one in line.all(Confirmation)] == [3]
    assert states(line)[-1] is S.ON_HOLD
    assert "ERP_CLOSED" in {code for code, _ in line.notices}
    line.make(2)
    assert line.state.running is None
    assert line.state.unallocated.good == 2
    hear(line, image(2))
    assert states(line)[-1] in {S.INTERRUPTED, S.IN_PROGRESS}


def test_closed_there_before_it_began_here_is_the_end_of_it(floor, hear):
    line = floor(BY_HAND)
    hear(line, image())
    hear(line, image(status=T.CLOSED))
    assert states(line) == [S.RELEASED, S.CANCELLED]


@pytest.mark.parametrize(("unbooked", "reconciled", "ends"), [(0, True, True), (1, True, False), (0, False, False)])
def test_a_complete_operation_is_closed_once_all_is_booked_and_nothing_is_against_it(
    floor, hear, unbooked, reconciled, ends
):
    line = floor()
    hear(line, image(quantity=2))
    line.make(2)
    record = line.all(JobChanged)[-1].record
    assert record.state is S.COMPLETED
    line.put(FinalAcknowledged(line.now_ns, "A", "0010", reconciled, unbooked, record))
    assert (states(line)[-1] is S.CLOSED) is ends


def test_what_is_open_again_is_not_closed(floor, hear):
    line = floor()
    hear(line, image(quantity=2))
    line.make(2)
    record = line.all(JobChanged)[-1].record._replace(state=S.IN_PROGRESS)
    line.put(FinalAcknowledged(line.now_ns, "A", "0010", True, 0, record))
    assert states(line)[-1] is S.COMPLETED


def test_an_interrupted_operation_moves_as_an_interrupted_one(floor, hear):
    line = floor()
    hear(line, image())
    line.make(3)
    line.says("interrupt", "A")
    hear(line, image(2, work_center="WC-9"))
    last = line.all(JobChanged)[-1]
    assert (last.previous, last.record.state, last.record.job.work_center) == (S.INTERRUPTED, S.INTERRUPTED, "WC-9")


def test_an_unstable_plan_is_counted(floor, hear):
    line = floor()
    hear(line, image())
    line.make(1)
    for revision in (2, 3):
        hear(line, image(revision, sequence_no=revision))
    assert line.state.running.plan_changes == 2
    assert [detail["changes"] for code, detail in line.notices if code == "PLAN_UNSTABLE"] == ["1", "2"]


def test_close_after_is_a_length_of_time():
    assert OrderRule(close_after=Duration("2 h")).close_after == Duration("2 h")


def held_and_closed(floor, hear, orders=None):
    """A person held what runs, then the ERP closed it."""
    line = floor(orders)
    hear(line, image())
    line.make(3)
    line.says("hold", "A", reason="crack")
    hear(line, image(status=T.CLOSED))
    assert (states(line)[-1], line.state.queue[0].hold_reason) == (S.ON_HOLD, "crack")
    return line


def test_what_a_person_held_and_the_erp_closed_does_not_run_again_by_the_release(floor, hear):
    line = held_and_closed(floor, hear)
    line.says("release", "A")
    assert (states(line)[-1], line.state.queue[0].hold_reason) == (S.ON_HOLD, "ERP_CLOSED")
    assert line.state.running is None
    line.says("release", "A")
    code, why = line.notices[-1]
    assert (code, why["guard"], why["found"]) == ("REFUSED", "not closed in the ERP", "ERP_CLOSED")
    assert why["what_to_do"] == "have it opened again in the ERP (that releases it), or cancelled there"
    hear(line, image(2))
    assert (states(line)[-1], line.state.running.job.order) == (S.IN_PROGRESS, "A")


def test_what_the_erp_opens_again_stays_on_the_hold_of_a_person(floor, hear):
    line = held_and_closed(floor, hear)
    hear(line, image(2))
    assert (states(line)[-1], line.state.queue[0].hold_reason) == (S.ON_HOLD, "crack")
    line.says("release", "A")
    assert (states(line)[-1], line.state.running.job.order) == (S.IN_PROGRESS, "A")


def test_an_erp_that_ends_its_hold_and_closes_the_order_at_once_lets_it_not_run(floor, hear):
    line = floor()
    hear(line, image(hold="recall"))
    hear(line, image(2, status=T.CLOSED))
    assert (states(line), line.state.queue[0].hold_reason) == ([S.RELEASED, S.DISPATCHED, S.ON_HOLD], "ERP_CLOSED")


def test_nobody_reopens_what_the_erp_closed(floor, hear):
    line = floor()
    hear(line, image())
    line.make(3)
    line.says("finish", "A", reason="short")
    hear(line, image(2, status=T.CLOSED))
    line.says("reopen", "A")
    code, why = line.notices[-1]
    assert (code, why["guard"]) == ("REFUSED", "not closed in the ERP")
    assert states(line)[-1] is S.COMPLETED
    hear(line, image(3))
    line.says("reopen", "A")
    assert states(line)[-1] is S.IN_PROGRESS


@pytest.mark.parametrize(("begun", "after"), [(False, S.CANCELLED), (True, S.ON_HOLD)])
def test_what_moves_here_closed_does_not_start(floor, hear, begun, after):
    line = floor(OrderRule(choose="command"))
    hear(line, image())
    if begun:
        line.says("start", "A")
        line.make(3)
        line.says("interrupt", "A")
    hear(line, image(2, work_center="WC-2"))
    hear(line, image(3, status=T.CLOSED))
    assert states(line)[-1] is after
    line.says("start", "A")
    assert line.state.running is None
