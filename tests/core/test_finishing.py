"""The final checklist, the target and manual confirmations as a work unit decides them, whoever ends an order."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from gateway.core.confirming.run_checks import UNKNOWN_KEPT_MAX, RunChecks, acknowledged, merged, with_unknown
from gateway.core.document import fields
from gateway.core.entries import AllocateEntry, ExternalEntry, ReclassifyEntry
from gateway.core.model import Confirmation, MachineState, Role, Status
from gateway.core.orders.lifecycle import ActorRole
from gateway.core.orders.order_image import Control, ImageOperation, OrderImage
from gateway.core.orders.stop_request import StopRequested
from gateway.core.refusal import NAMED_MAX, Refusal, all_of
from gateway.core.rules import ConfirmRule, CounterRule, OrderRule, WorkUnitRules
from gateway.core.rules_confirming import ChecklistRule, DeliveryRule
from gateway.core.rules_counting import PartResultRule, ResultRule
from gateway.core.snapshot import decode, encode

ON = {"orders": OrderRule(at_target="continue")}
GOOD = CounterRule(mode="counter", signal="plc.good")
STOP = DeliveryRule(at_target="request_plc_stop", stop_signal="plc.stop")


def checklist(**points):
    return ConfirmRule(checklist=replace(ChecklistRule(), **points))


def image(*, inspection=False, under=None):
    operation = ImageOperation(
        operation="0010", work_center="WC-1", quantity=Decimal(10), control=Control(inspection=inspection)
    )
    return OrderImage(
        source="erp",
        order="A",
        revision=1,
        product="ART-1",
        uom="PC",
        quantity=Decimal(10),
        operations=(operation,),
        under_tolerance=under,
    )


def started(floor, quantity=10, **over):
    floor.order("A", quantity, **over)
    floor.at("1 s").make(0)
    floor.at("2 s")
    return floor


def decode_again(floor):
    """What was stored of the orders, as after a restart."""
    again = decode(floor.unit, encode(floor.unit, floor.state))
    return floor.state._replace(running=again.running, queue=again.queue)


def refusal(floor):
    code, told = floor.notices[-1]
    assert code == "REFUSED"
    return told


# --- a person finishes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "tolerance", "reason", "guard"),
    [
        (10, Decimal(0), "", None),
        (9, Decimal(0), "", "checklist under_delivery"),
        (9, Decimal(0), "NO_MATERIAL", None),
        (9, Decimal(10), "", None),
        (8, Decimal(10), "", "checklist under_delivery"),
        (1, None, "", None),
    ],
)
def test_who_ends_an_order_short_says_why(rig, made, tolerance, reason, guard):
    floor = started(rig(**ON), image=image(under=tolerance), image_digest="x")
    floor.make(made)
    floor.says("finish", "A", reason=reason)
    if guard is None:
        assert floor.confirmed[-1] == ("A", 1, made, "final", f"finish by ann{': ' + reason if reason else ''}")
        assert floor.all(Confirmation)[-1].reason == reason
    else:
        told = refusal(floor)
        assert told["guard"] == guard
        assert told["found"] == f"{made} of 10 made"
        assert told["allowed"].endswith("and above, or a reason")
        assert "--reason" in told["what_to_do"]
        assert floor.running == "A"
    floor.close_books()


def test_what_was_confirmed_in_the_erp_is_not_missing_at_the_end(rig):
    floor = started(rig(), image=image(under=Decimal(0)), image_digest="x")
    confirmed_in_the_erp(floor)
    floor.at("10 s").make(7)
    assert floor.running is None, "ten of ten"
    assert floor.confirmed == [("A", 1, 7, "final", "target reached")]


@pytest.mark.parametrize(("pieces", "waits"), [(7, False), (8, True)])
def test_what_was_confirmed_in_the_erp_counts_against_the_tolerance(rig, pieces, waits):
    floor = started(rig(confirm=ConfirmRule(delivery=DeliveryRule(over_tolerance="5")), **ON))
    confirmed_in_the_erp(floor)
    floor.at("10 s").make(pieces)
    floor.says("finish", "A")
    (final,) = floor.all(Confirmation)
    assert final.needs_approval is waits


def test_an_inspection_is_waited_for_at_the_target_and_loses_no_piece(rig):
    floor = started(rig(), image=image(inspection=True), image_digest="x")
    floor.order("B", 5, sequence_no=1)
    floor.make(12)
    assert ("COMPLETION_WAITS", "A") in [(code, told.get("order")) for code, told in floor.notices]
    assert floor.running == "B"
    assert floor.queued == ["A"]
    assert floor.state.running.good == 2, "what is beyond belongs to the next one"
    floor.state = decode_again(floor)
    floor.says("inspect", "A", verdict="passed", role=ActorRole.OPERATOR)
    assert refusal(floor)["guard"] == "ROLE_NOT_ALLOWED"
    floor.says("inspect", "A", verdict="fine", role=ActorRole.QUALITY)
    assert refusal(floor)["guard"] == "VERDICT"
    floor.says("inspect", "A", verdict="passed", role=ActorRole.QUALITY)
    assert floor.queued == []
    finals = [c for c in floor.all(Confirmation) if c.kind.value == "final"]
    assert [(c.job.order, c.total_good) for c in finals] == [("A", 10)]
    floor.close_books()


def test_every_point_that_is_in_the_way_is_named_with_what_to_do_in_its_order(rig):
    points = checklist(counters="block", under_delivery="block")
    floor = started(rig(confirm=points, **ON), image=image(inspection=True, under=Decimal(0)), image_digest="x")
    floor.make(4)
    run = floor.state.running
    floor.state = floor.state._replace(running=run._replace(checks=run.checks._replace(review=40)))
    floor.says("finish", "A")
    told = refusal(floor)
    guards = ["checklist counters", "checklist inspection", "checklist under_delivery"]
    assert told["guard"] == "; ".join(guards)
    found = ["40 pieces set aside", "no verdict of the inspection", "4 of 10 made"]
    assert told["found"] == "; ".join(f"{guard}: {one}" for guard, one in zip(guards, found, strict=True))
    todo = told["what_to_do"]
    assert todo.index("acknowledge-data") < todo.index("order inspect") < todo.index("finish --reason")
    assert told["allowed"].count("; ") == 2
    floor.says("acknowledge-data", "A")
    floor.says("finish", "A", reason="NO_MATERIAL")
    assert (refusal(floor)["guard"], refusal(floor)["found"]) == ("checklist inspection", found[1])


def test_a_refusal_names_so_many_objections_and_counts_the_others():
    many = [Refusal(f"G{at}: found {at}", f"G{at}", found=str(at), what_to_do="ask") for at in range(NAMED_MAX + 3)]
    joined = all_of(many)
    assert joined.found.split("; ") == [*(f"G{at}: {at}" for at in range(NAMED_MAX)), "and 3 more"]
    assert (joined.what_to_do, joined.allowed) == ("ask; and 3 more", "")
    assert joined.endswith("; and 3 more")
    assert all_of(many[:1]) is many[0]
    assert all_of(()) == ""


def test_an_inspection_is_asked_for_when_a_person_ends_it(rig):
    floor = started(rig(**ON), image=image(inspection=True), image_digest="x")
    floor.make(10)
    floor.says("finish", "A")
    assert refusal(floor)["guard"] == "checklist inspection"
    floor.says("inspect", "A", verdict="failed", role=ActorRole.QUALITY)
    floor.says("finish", "A")
    assert floor.confirmed[-1][3] == "final"


@pytest.mark.parametrize(("mode", "ends"), [("block", False), ("warn", True), ("off", True)])
def test_time_without_data(rig, mode, ends):
    floor = started(rig(confirm=checklist(unknown=mode), **ON))
    floor.make(4)
    floor.at("3 s").value("plc.good", None, Status.BAD)
    floor.at("20 min").wait()
    assert floor.state.track.state is MachineState.UNKNOWN
    floor.at("21 min").make(6)
    floor.at("40 min").make(0)
    floor.state = decode_again(floor)
    floor.says("finish", "A")
    assert (floor.running is None) is ends
    if ends:
        assert floor.all(Confirmation)[-1].flags.count("CHECKLIST_UNKNOWN") == (mode == "warn")
        told = [why["reason"] for code, why in floor.notices if code == "FINISH_WARNING"]
        assert len(told) == (mode == "warn")
        assert all("checklist unknown: found 1 unknown interval, the longest 1258 s, wanted" in one for one in told), (
            told
        )
        return
    assert refusal(floor)["guard"] == "checklist unknown"
    floor.says("acknowledge-data", "A", reason="looked")
    floor.says("finish", "A")
    assert floor.confirmed[-1][3] == "final"


def test_held_pieces_may_go_where_the_rule_says_so(rig):
    floor = started(rig(confirm=checklist(holds="warn"), **ON))
    floor.make(3)
    floor.says("hold", "A", reason="crack")
    floor.make(2)
    floor.says("release", "A")
    floor.says("finish", "A")
    final = floor.all(Confirmation)[-1]
    assert (final.kind.value, final.hold, final.flags) == ("final", 2, ("CHECKLIST_HOLDS",))


def test_a_run_of_no_time_is_a_warning(rig):
    floor = rig(**ON)
    floor.order("A", 10)
    floor.says("finish", "A")
    assert floor.all(Confirmation)[-1].flags == ("CHECKLIST_DURATION",)


def test_counts_set_aside_are_asked_about_by_the_order_that_ran(rig):
    floor = started(rig(confirm=checklist(counters="block"), **ON))
    run = floor.state.running
    floor.state = floor.state._replace(running=run._replace(checks=run.checks._replace(review=40)))
    floor.says("finish", "A")
    assert refusal(floor)["found"] == "40 pieces set aside"
    floor.says("acknowledge-data", "A")
    floor.says("finish", "A")
    assert floor.running is None


def test_another_order_takes_its_place_only_if_it_may_end(rig):
    floor = started(
        rig(orders=OrderRule(at_target="continue", when_running="complete")),
        image=image(inspection=True),
        image_digest="x",
    )
    floor.order("B", 5, sequence_no=1)
    floor.make(3)
    floor.says("start", "B")
    assert refusal(floor)["guard"] == "checklist inspection"
    assert floor.running == "A"


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_a_person_confirms_now(rig):
    floor = started(rig(**ON))
    floor.says("confirm", "A")
    assert refusal(floor)["guard"] == "NOTHING_OPEN"
    floor.make(7)
    floor.says("confirm", "A", reason="shift talk", role=ActorRole.OPERATOR)
    floor.says("confirm", "A", role=ActorRole.PLANNER)
    assert refusal(floor)["guard"] == "ROLE_NOT_ALLOWED"
    (confirmation,) = floor.all(Confirmation)
    assert (confirmation.good, confirmation.trigger, confirmation.by) == (7, "manual", "ann")
    assert confirmation.release_ns == confirmation.created_ns + 5_000_000_000, "it can be undone so long"
    floor.close_books()


def test_what_waits_for_a_verdict_stays_open(rig):
    floor = started(rig(**ON))
    floor.says("hold", "A", reason="crack")
    floor.make(4)
    floor.put(ReclassifyEntry(floor.now_ns, "A", "", 1, Role.HOLD, Role.GOOD, "looked", "ann"))
    floor.says("confirm", "A")
    assert floor.all(Confirmation)[-1].hold == 0
    assert floor.all(Confirmation)[-1].good == 1
    assert floor.state.running.open_hold == 3
    floor.says("confirm", "A")
    assert refusal(floor)["guard"] == "NOTHING_OPEN"
    floor.close_books()


# --- at the target ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [(12,), (4, 4, 4), (10, 2), (9, 3)])
def test_pieces_beyond_the_target_are_nobodys(rig, steps):
    floor = started(rig(confirm=ConfirmRule(delivery=DeliveryRule(at_target="stop_booking")), **ON))
    for number, pieces in enumerate(steps):
        floor.at(f"{10 + number} s").make(pieces)
    assert floor.state.running.good == 10
    assert floor.state.unallocated.good == 2
    assert floor.running == "A"
    floor.close_books()


@pytest.mark.parametrize("orders", [OrderRule(at_target="continue"), OrderRule()])
def test_the_machine_is_asked_to_stop_once(rig, orders):
    floor = started(rig(orders=orders, confirm=ConfirmRule(delivery=STOP)))
    for number, pieces in enumerate((4, 5, 3, 2)):
        floor.at(f"{10 + number} s").make(pieces)
    (asked,) = floor.all(StopRequested)
    assert (asked.order, asked.signal, asked.value) == ("A", "plc.stop", "1")
    floor.close_books()


def allocated(floor):
    floor.put(AllocateEntry(floor.now_ns, "A", "", 3, Role.GOOD, "its own", "ann"))


def confirmed_in_the_erp(floor):
    floor.put(ExternalEntry(floor.now_ns, "A", "", 3, 0, 0, "by hand in the ERP", "ann"))


def lowered(floor):
    floor.order("A", 7, revision=2)


def judged_good(floor):
    floor.put(ReclassifyEntry(floor.now_ns, "A", "", 3, Role.REWORK, Role.GOOD, "good after all", "ann"))


@pytest.mark.parametrize("orders", [OrderRule(at_target="continue"), OrderRule()])
@pytest.mark.parametrize("how", [allocated, confirmed_in_the_erp, lowered, judged_good])
def test_the_machine_is_asked_to_stop_however_its_order_comes_to_its_target(rig, how, orders):
    rework = CounterRule(mode="counter", signal="plc.rework", role=Role.REWORK)
    floor = rig(GOOD, rework, orders=orders, confirm=ConfirmRule(delivery=STOP))
    floor.make(0)
    floor.make(0, "plc.rework")
    floor.at("1 s").make(3)  # nobody's
    floor.order("A", 10)
    floor.at("60 s").make(3, "plc.rework")
    floor.at("70 s").make(7)
    assert floor.all(StopRequested) == []
    floor.state = decode_again(floor)
    floor.at("80 s")
    how(floor)
    (asked,) = floor.all(StopRequested)
    assert (asked.order, asked.signal, asked.value, asked.at_ns) == ("A", "plc.stop", "1", floor.now_ns)
    floor.state = decode_again(floor)
    floor.at("90 s").make(4)
    assert floor.all(StopRequested) == [asked], "once"
    floor.close_books()


def test_pieces_confirmed_in_the_erp_bring_the_stop_forward(rig):
    floor = started(rig(confirm=ConfirmRule(delivery=STOP)))
    confirmed_in_the_erp(floor)
    floor.at("10 s").make(6)
    assert floor.all(StopRequested) == []
    floor.at("20 s").make(1)
    assert floor.running is None, "it is full"
    (asked,) = floor.all(StopRequested)
    assert asked.order == "A"


def test_an_order_that_waits_asks_no_machine_to_stop(rig):
    floor = started(rig(confirm=ConfirmRule(delivery=STOP), orders=OrderRule(choose="command", at_target="continue")))
    floor.says("start", "A")
    floor.at("10 s").make(7)
    floor.says("interrupt", "A")
    confirmed_in_the_erp(floor)
    assert floor.all(StopRequested) == []


def test_an_order_that_lost_pieces_and_is_filled_anew_asks_anew(rig):
    floor = started(rig(confirm=ConfirmRule(delivery=STOP), **ON))
    floor.at("10 s").make(10)
    floor.put(ReclassifyEntry(floor.now_ns, "A", "", 2, Role.GOOD, Role.REWORK, "burr", "ann"))
    floor.at("20 s").make(1)
    assert len(floor.all(StopRequested)) == 1
    floor.at("30 s").make(1)
    assert len(floor.all(StopRequested)) == 2, "somebody set the machine going for what was missing"


def test_a_rule_that_would_do_nothing():
    counter = CounterRule(mode="counter", signal="plc.good")
    confirm = ConfirmRule(delivery=DeliveryRule(at_target="stop_booking"))
    with pytest.raises(ValueError, match=r"found stop_booking, allowed with orders\.at_target: continue"):
        WorkUnitRules(work_center="WC-1", counters=(counter,), confirm=confirm)


# --- scrap by signal -------------------------------------------------------------------------------------------------


def test_a_counter_of_scrap_names_its_reason(rig):
    good = CounterRule(mode="counter", signal="plc.good")
    burr = CounterRule(mode="counter", signal="plc.burr", role=Role.SCRAP, scrap_reason="BURR")
    short = CounterRule(mode="counter", signal="plc.short", role=Role.SCRAP, scrap_reason="SHORT")
    floor = rig(good, burr, short, **ON)
    floor.order("A", 1000)
    for signal, pieces in (("plc.good", 0), ("plc.burr", 0), ("plc.short", 0)):
        floor.make(pieces, signal)
    for number, (signal, pieces) in enumerate((("plc.burr", 2), ("plc.good", 9), ("plc.short", 1), ("plc.burr", 1))):
        floor.at(f"{5 + number} s").make(pieces, signal)
    floor.says("interrupt", "A")
    (confirmation,) = floor.all(Confirmation)
    assert confirmation.scrap_reasons == (("BURR", 3), ("SHORT", 1))
    floor.close_books()


def test_a_reason_goes_with_scrap_only():
    with pytest.raises(ValueError, match="scrap_reason: found 'BURR' with role good"):
        CounterRule(mode="counter", signal="plc.good", scrap_reason="BURR")
    with pytest.raises(ValueError, match="reasons: found 1, allowed values that are scrap: 2"):
        ResultRule(signal="plc.result", map={"1": "good", "2": "scrap"}, reasons={"1": "BURR"})


def test_a_part_result_names_its_reason(rig):
    results = ResultRule(signal="plc.result", map={"1": "good", "2": "scrap"}, reasons={"2": "BURR"})
    floor = rig(PartResultRule(mode="part_result", signal="plc.part", results=results), **ON)
    floor.order("A", 1000)
    floor.value("plc.result", 0)
    floor.value("plc.part", 0)
    for second, verdict in ((10, 1), (20, 2), (30, 2)):
        floor.at(f"{second} s").value("plc.part", 1)
        floor.at(f"{second}.1 s").value("plc.result", verdict)
        floor.at(f"{second + 2} s").value("plc.part", 0)
        floor.at(f"{second + 3} s").value("plc.result", 0)
    floor.at("60 s").wait()
    floor.says("interrupt", "A")
    (confirmation,) = floor.all(Confirmation)
    assert (confirmation.good, confirmation.scrap_reasons) == (1, (("BURR", 2),))


# --- coverage --------------------------------------------------------------------------------------------------------


def test_the_share_of_the_time_in_which_the_machine_was_heard(rig):
    floor = started(rig(**ON))
    floor.make(4)
    floor.says("confirm", "A")
    floor.at("3 s").value("plc.good", None, Status.BAD)
    floor.at("20 min").wait()
    floor.at("40 min").make(6)
    floor.says("confirm", "A")
    first, second = (fields(floor.unit.identity, one)["coverage"] for one in floor.all(Confirmation))
    assert first is None, "no state is settled yet"
    assert 0 <= Decimal(second) < 1


# --- golden P --------------------------------------------------------------------------------------------------------


def test_golden_p(rig):
    """N = 100, T = 30 min, confirmed at 09:50; 10:00 +40, 10:05 +40, 10:06 +25: 105 at 10:06, the next timer 10:36."""
    floor = rig(confirm=ConfirmRule(every_pieces=100, every=1_800_000_000_000), **ON)
    floor.order("A", 1000)
    floor.make(0)
    floor.at("1 s").make(1)
    floor.at("10 min").says("confirm", "A")  # 09:50
    for minute, pieces in ((20, 40), (25, 40), (26, 25)):
        floor.at(f"{minute} min").make(pieces)
    last = floor.all(Confirmation)[-1]
    assert (last.good, last.trigger, last.created_ns) == (105, "pieces", floor.now_ns)
    next_ns = floor.now_ns + 1_800_000_000_000
    floor.at("56 min").wait()
    assert len(floor.all(Confirmation)) == 2, "nothing was made, nothing is confirmed"
    floor.at("57 min").make(3)
    floor.wait()
    last = floor.all(Confirmation)[-1]
    assert (last.good, last.trigger) == (3, "timer")
    assert last.created_ns >= next_ns


# --- what is remembered ----------------------------------------------------------------------------------------------


def test_what_is_remembered_is_bounded():
    checks = with_unknown(RunChecks(), [(10 * one, 10 * one + 1 + one % 7) for one in range(100)])
    assert len(checks.unknown) == UNKNOWN_KEPT_MAX
    assert merged([(5, 9), (1, 5), (20, 30), (22, 24)]) == ((1, 9), (20, 30))
    assert acknowledged(checks, 7, ("GRAN",)) == RunChecks(acknowledged_ns=7, lots_accepted=("GRAN",))
