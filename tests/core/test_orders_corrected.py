"""Confirmations put right at a work unit: by how far they got and what the ERP can, and what must always add up."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.confirming.booked import Confirmed, content_of
from gateway.core.confirming.corrections import Capability
from gateway.core.confirming.hold_back import VOIDABLE, Delivery
from gateway.core.document import encode, fields
from gateway.core.entries import (
    CorrectEntry,
    ExternalEntry,
    MergeEntry,
    ReclassifyEntry,
    RejectEntry,
    SplitEntry,
    UndoEntry,
)
from gateway.core.model import Confirmation, JobOrderState, OperatorEntry, OperatorVerb, Role, Voided
from gateway.core.orders.lifecycle import ActorRole
from gateway.core.orders.order_image import ImageOperation, OrderImage
from gateway.core.rules import ConfirmRule, CounterRule, OrderRule
from gateway.core.snapshot import decode
from gateway.core.snapshot import encode as encode_state

ON = {"orders": OrderRule(at_target="continue"), "confirm": ConfirmRule(every_pieces=10)}
ROLES = ("good", "scrap", "rework", "hold", "test")


class Erp:
    """What the outbox does with the confirmations of a rig, without any sending: each has a state that tests set."""

    def __init__(self, floor, capability=Capability.CANCEL):
        self.floor = floor
        self.capability = capability
        self.delivery = {}

    def seen(self):
        """Confirmations that were made since, in the state in which they begin; what is void stays so."""
        for one in self.floor.said:
            if isinstance(one, Confirmation) and one.key not in self.delivery:
                first = one.delivery or ("NEEDS_APPROVAL" if one.needs_approval else "READY")
                self.delivery[one.key] = Delivery(first)
            elif isinstance(one, Voided):
                assert self.delivery[one.key] in (*VOIDABLE, Delivery.VOIDED_BEFORE_SEND), "it was under way"
                self.delivery[one.key] = Delivery.VOIDED_BEFORE_SEND

    def becomes(self, number, state, order="A"):
        self.seen()
        self.delivery[next(one.key for one in self.all(order) if one.seq == number)] = state

    def all(self, order="A"):
        return [one for one in self.floor.all(Confirmation) if one.job.order == order]

    def ledger(self, order="A"):
        self.seen()
        identity = self.floor.unit.identity
        contents = [
            content_of(json.loads(encode(fields(identity, one))), self.delivery[one.key]) for one in self.all(order)
        ]
        return Confirmed(tuple(contents), self.capability)

    def facts(self, order="A"):
        return {"known": self.floor.records.get((order, "0010")), "ledger": self.ledger(order)}

    def correct(self, number, pieces=None, order="A", **more):
        floor = self.floor
        entry = CorrectEntry(floor.now_ns, order, "", number, "wrong box", "ann", pieces, **more)
        return floor.put(entry._replace(**self.facts(order)))

    def judge(self, pieces, before, after, order="A", **more):
        floor = self.floor
        entry = ReclassifyEntry(floor.now_ns, order, "", pieces, Role(before), Role(after), "BURR", "ann", **more)
        return floor.put(entry._replace(**self.facts(order)))

    def sums(self, order="A"):
        """What the ERP has or will have: all that is not void."""
        self.seen()
        live = [one for one in self.all(order) if self.delivery[one.key] is not Delivery.VOIDED_BEFORE_SEND]
        return tuple(sum(getattr(one, role) for one in live) for role in ROLES)

    def close(self, order="A"):
        """Its sum and what is open is the total of the order, role by role."""
        run = next((one for one in self.floor.state.open_runs() if one.job.order == order), None)
        record = self.floor.records[order, "0010"] if run is None else run
        still_open = [0] * 5 if run is None else [getattr(run, f"open_{role}") for role in ROLES]
        booked = [one + two for one, two in zip(self.sums(order), still_open, strict=True)]
        assert booked == [getattr(record, role) for role in ROLES]
        seqs = [one.seq for one in self.all(order)]
        assert seqs == list(range(1, len(seqs) + 1)), "numbers without a gap"
        chain = [one.digest for one in self.all(order)]
        assert [one.previous_digest for one in self.all(order)] == ["", *chain[:-1]][: len(chain)]
        for one in self.all(order):
            assert min(one.total_good, one.total_scrap, one.total_rework) >= 0


def short(erp, order="A"):
    return [(one.seq, one.kind.value, one.good, one.scrap, erp.delivery[one.key].value) for one in erp.all(order)]


def refused(outputs):
    return next((dict(one.detail) for one in outputs if getattr(one, "code", "") == "REFUSED"), None)


@pytest.fixture
def floor(rig):
    """Order A runs and has confirmed twice ten pieces."""
    made = rig(**ON)
    made.order("A", 1000)
    made.make(0)
    for second in (90, 180):
        made.at(f"{second} s").make(10)
    made.make(3)
    return made


CANCEL, NEGATIVE, MANUAL = Capability.CANCEL, Capability.NEGATIVE, Capability.MANUAL
REPLACED = {
    (Delivery.HELD, CANCEL): [(3, "reversal", -10, 0, "VOIDED_BEFORE_SEND"), (4, "partial", 8, 1, "READY")],
    (Delivery.READY, MANUAL): [(3, "reversal", -10, 0, "VOIDED_BEFORE_SEND"), (4, "partial", 8, 1, "READY")],
    (Delivery.PARKED, CANCEL): [(3, "reversal", -10, 0, "VOIDED_BEFORE_SEND"), (4, "partial", 8, 1, "READY")],
    (Delivery.POSTED, CANCEL): [(3, "reversal", -10, 0, "READY"), (4, "partial", 8, 1, "READY")],
    (Delivery.POSTED, NEGATIVE): [(3, "reversal", -10, 0, "READY"), (4, "partial", 8, 1, "READY")],
    (Delivery.POSTED, MANUAL): [(3, "reversal", -10, 0, "BY_HAND"), (4, "partial", 8, 1, "BY_HAND")],
}


@pytest.mark.parametrize(("state", "capability"), REPLACED)
def test_a_confirmation_gets_other_numbers(floor, state, capability):
    erp = Erp(floor, capability)
    erp.becomes(1, state)
    erp.becomes(2, Delivery.READY)
    made = erp.correct(1, (8, 1, 0))
    assert refused(made) is None
    erp.seen()
    assert short(erp)[2:] == REPLACED[state, capability]
    assert [one.key for one in made if isinstance(one, Voided)] == ([erp.all()[0].key] if state in VOIDABLE else [])
    reversal, new = erp.all()[2:]
    assert (reversal.reverses, reversal.origin, reversal.by, reversal.reason) == (
        erp.all()[0].key,
        "correction",
        "ann",
        "wrong box",
    )
    assert (new.period_from_ns, new.period_to_ns, new.posting_date) == (
        reversal.period_from_ns,
        reversal.period_to_ns,
        erp.all()[0].posting_date,
    )
    assert (new.total_good, new.total_scrap) == (18, 1), "all that is confirmed with it"
    document = fields(floor.unit.identity, reversal)
    assert (document["type"], document["reverses"], document["audit_ref"]) == (
        "reversal",
        erp.all()[0].key,
        f"confirmation/{reversal.key}",
    )
    erp.close()
    floor.close_books()
    floor.says("finish", "A")
    erp.close()
    assert erp.all()[-1].total_good == 21


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (Delivery.SENDING, "ANSWER_OUTSTANDING"),
        (Delivery.UNCERTAIN, "ANSWER_OUTSTANDING"),
        (Delivery.RETRY_WAIT, "ANSWER_OUTSTANDING"),
        (Delivery.ELSEWHERE, "NOT_OURS"),
        (Delivery.VOIDED_BEFORE_SEND, "ALREADY_REVERSED"),
    ],
)
def test_what_is_not_known_is_not_corrected(floor, state, code):
    erp = Erp(floor)
    erp.becomes(1, state)
    before = floor.state
    detail = refused(erp.correct(1, (8, 1, 0)))
    assert detail["guard"] == code
    assert detail["what_to_do"]
    assert floor.state.running == before.running
    assert refused(erp.correct(7))["guard"] == "UNKNOWN_CONFIRMATION"


@pytest.mark.parametrize("state", [Delivery.READY, Delivery.POSTED])
def test_a_reversal_opens_the_pieces_and_their_times_again(floor, state):
    erp = Erp(floor)
    erp.becomes(1, state)
    told = [one.work.minutes.machine for one in erp.all()]
    erp.correct(1)
    run = floor.state.running
    assert (run.open_good, run.good, run.open_from_ns) == (13, 23, erp.all()[0].period_from_ns)
    erp.close()
    floor.state = decode(floor.unit, encode_state(floor.unit, floor.state))
    floor.says("interrupt", "A")
    last = erp.all()[-1]
    assert last.good == 13
    assert last.work.minutes.machine >= told[0], "what was taken back is told with the next one"
    live = [one for one in erp.all() if one.work is not None]
    assert sum(one.work.minutes.machine for one in live) == sum(told) + last.work.minutes.machine - told[0]
    erp.close()
    floor.close_books()


def test_what_the_erp_refused_for_its_period_is_posted_today(floor):
    erp = Erp(floor)
    erp.becomes(1, Delivery.PARKED)
    first = erp.all()[0]
    assert refused(erp.correct(1, today=True))["guard"] == "PERIOD_CLOSED", "it is of today"
    floor.at("30 h").make(0)
    erp.becomes(2, Delivery.POSTED)
    assert refused(erp.correct(2, today=True))["guard"] == "PARKED"
    before = erp.sums()
    erp.correct(1, today=True)
    erp.seen()
    back, anew = erp.all()[-2:]
    assert (erp.delivery[first.key], back.delivery) == (Delivery.VOIDED_BEFORE_SEND, "VOIDED_BEFORE_SEND")
    assert (anew.good, anew.kind, anew.reason, anew.by) == (first.good, first.kind, "wrong box", "ann")
    assert (first.posting_date, anew.posting_date) == ("2026-05-28", "2026-05-30")
    kept = ("event_day", "period_from_ns", "period_to_ns", "last_event_ns", "shift")
    assert [getattr(anew, name) for name in kept] == [getattr(first, name) for name in kept], "when it happened stays"
    assert anew.digest != first.digest
    assert erp.sums() == before
    erp.close()
    assert refused(erp.correct(back.seq, today=True))["guard"] in ("PARKED", "TAKES_BACK")


def test_after_the_final_one_it_is_signed(floor):
    erp = Erp(floor)
    floor.says("finish", "A")
    for number in (1, 2, 3):
        erp.becomes(number, Delivery.POSTED)
    assert refused(erp.correct(3, (2, 0, 0)))["guard"] == "SIGNATURE_REQUIRED"
    assert refused(erp.correct(3, (2, 0, 0), signed_by="ann", role=ActorRole.OPERATOR))["guard"] == "ROLE_NOT_ALLOWED"
    assert refused(erp.correct(3))["guard"] == "ORDER_OPEN"
    assert refused(erp.correct(3, (2, 0, 0), signed_by="ann")) is None
    erp.seen()
    assert short(erp)[3:] == [(4, "reversal", -3, 0, "READY"), (5, "final", 2, 0, "READY")]
    record = floor.records["A", "0010"]
    assert (record.good, record.seq, record.state) == (22, 5, JobOrderState.COMPLETED)
    erp.close()


@pytest.mark.parametrize("capability", list(Capability))
def test_pieces_that_are_confirmed_are_judged_otherwise(floor, capability):
    """Three are open, ten not sent, ten at the ERP: in this order."""
    erp = Erp(floor, capability)
    erp.becomes(1, Delivery.POSTED)
    erp.becomes(2, Delivery.HELD)
    assert refused(erp.judge(15, "good", "scrap")) is None
    erp.seen()
    run = floor.state.running
    assert (run.good, run.scrap, run.open_good, run.open_scrap) == (8, 15, 0, 3)
    assert run.open_scrap_reasons == (("BURR", 3),)
    late = {
        CANCEL: [(4, "reversal", -10, 0, "READY"), (5, "partial", 8, 2, "READY")],
        NEGATIVE: [(4, "partial", -2, 2, "READY")],
        MANUAL: [(4, "partial", -2, 2, "BY_HAND")],
    }[capability]
    last = 3 + len(late) + 1
    assert short(erp)[2:] == [
        (3, "reversal", -10, 0, "VOIDED_BEFORE_SEND"),
        *late,
        (last, "partial", 0, 10, "READY"),
    ]
    reasons = [one.scrap_reasons for one in erp.all()[3:] if one.scrap > 0]
    assert reasons == [(("BURR", 2),), (("BURR", 10),)]
    erp.close()
    floor.close_books()


def test_more_than_there_are_is_refused(floor):
    erp = Erp(floor)
    for number in (1, 2):
        erp.becomes(number, Delivery.POSTED)
    before = floor.state.running
    assert refused(erp.judge(24, "good", "scrap"))["guard"] == "NOT_ENOUGH"
    assert floor.state.running == before


@pytest.mark.parametrize("capability", [CANCEL, NEGATIVE])
@pytest.mark.parametrize("state", [Delivery.HELD, Delivery.POSTED])
def test_opened_again_the_final_one_is_a_partial_one(floor, state, capability):
    erp = Erp(floor, capability)
    floor.says("finish", "A")
    erp.becomes(3, state)
    floor.put(OperatorEntry(floor.now_ns, OperatorVerb.REOPEN, "A", "", "ann", **erp.facts()))
    erp.seen()
    back = "READY" if state is Delivery.POSTED else "VOIDED_BEFORE_SEND"
    assert short(erp)[3:] == [(4, "reversal", -3, 0, back), (5, "partial", 3, 0, "READY")]
    assert not [code for code, _ in floor.notices if code == "FINAL_TO_REVERSE"]
    floor.make(4)
    floor.says("finish", "A")
    assert (erp.all()[-1].seq, erp.all()[-1].kind.value, erp.all()[-1].good) == (6, "final", 4)
    erp.close()
    floor.close_books()


def test_opened_again_although_nobody_knows_of_the_final_one(floor):
    erp = Erp(floor)
    floor.says("finish", "A")
    erp.becomes(3, Delivery.UNCERTAIN)
    floor.put(OperatorEntry(floor.now_ns, OperatorVerb.REOPEN, "A", "", "ann", **erp.facts()))
    assert floor.running == "A"
    assert floor.notices[-1][0] == "FINAL_TO_REVERSE"
    assert "nobody knows yet" in floor.notices[-1][1]["reason"]


def image(over):
    operation = ImageOperation(operation="0010", work_center="WC-1", quantity=Decimal(10))
    plain = {"source": "erp", "order": "A", "revision": 1, "product": "ART-1", "uom": "PC", "quantity": Decimal(10)}
    return OrderImage(**plain, operations=(operation,), over_tolerance=over)


@pytest.mark.parametrize("ends", [False, True])
def test_what_is_not_approved_is_confirmed_as_far_as_tolerated(rig, ends):
    floor = rig(orders=OrderRule(at_target="continue"))
    floor.order("A", 10, image=image(Decimal(10)), image_digest="x")
    floor.make(0)
    floor.make(15)
    floor.says("finish" if ends else "interrupt", "A")
    erp = Erp(floor)
    erp.seen()
    assert short(erp)[0][4] == "NEEDS_APPROVAL"
    entry = RejectEntry(floor.now_ns, "A", "", 1, "not ordered", "ann")
    assert refused(floor.put(entry._replace(**erp.facts()))) is None
    erp.seen()
    kind = "final" if ends else "partial"
    assert short(erp)[1:] == [(2, "reversal", -15, 0, "VOIDED_BEFORE_SEND"), (3, kind, 11, 0, "READY")]
    assert floor.state.unallocated.good == 4
    erp.close()
    floor.close_books()
    entry = RejectEntry(floor.now_ns, "A", "", 3, "not ordered", "ann")
    assert refused(floor.put(entry._replace(**erp.facts())))["guard"] == "NOT_WAITING"
    why = refused(floor.put(entry._replace(number=9, **erp.facts())))
    assert (why["guard"], why["found"], why["allowed"]) == ("UNKNOWN_CONFIRMATION", "9", "1, 2, 3")


def test_who_finishes_by_mistake_takes_it_back(rig):
    floor = rig(orders=OrderRule(choose="command", at_target="continue"))
    floor.make(0)
    for order in "AB":
        floor.order(order, 100)
    floor.says("start", "A")
    floor.at("60 s").make(7)
    whole = floor.state.running
    erp = Erp(floor)
    floor.at("70 s").says("finish", "A")
    ((_, _, key, _),) = floor.state.last_word.confirmed
    floor.state = decode(floor.unit, encode_state(floor.unit, floor.state))
    floor.at("73 s").put(UndoEntry(floor.now_ns, "ann", contents=erp.ledger().contents))
    erp.seen()
    assert erp.delivery[key] is Delivery.VOIDED_BEFORE_SEND
    run = floor.state.running
    assert (run.job.order, run.state, run.open_good, run.open_from_ns) == ("A", whole.state, 7, whole.open_from_ns)
    for second in (74, 80, 86):
        floor.at(f"{second} s").make(1)
    floor.says("finish", "A")
    assert [one.good for one in erp.all()] == [7, -7, 10]
    assert erp.all()[-1].work.minutes.machine > erp.all()[0].work.minutes.machine, "its whole time is told"
    erp.close()
    floor.close_books()


def test_a_finish_that_is_under_way_is_not_taken_back(rig):
    floor = rig(orders=OrderRule(choose="command", at_target="continue"))
    floor.make(0)
    floor.order("A", 100)
    floor.says("start", "A")
    floor.make(7)
    erp = Erp(floor)
    floor.says("finish", "A")
    erp.becomes(1, Delivery.SENDING)
    detail = refused(floor.put(UndoEntry(floor.now_ns, "ann", contents=erp.ledger().contents)))
    assert "linegate order reopen" in detail["what_to_do"]
    assert floor.running is None


def test_an_interruption_that_is_taken_back_is_not_confirmed(floor):
    erp = Erp(floor)
    floor.says("interrupt", "A")
    assert erp.all()[-1].good == 3
    floor.put(UndoEntry(floor.now_ns, "ann", contents=(erp.ledger().contents[-1],)))
    erp.seen()
    assert short(erp)[2:] == [(3, "partial", 3, 0, "VOIDED_BEFORE_SEND"), (4, "reversal", -3, 0, "VOIDED_BEFORE_SEND")]
    assert (floor.running, floor.state.running.open_good) == ("A", 3)
    erp.close()


STEP = st.one_of(
    st.tuples(st.just("make"), st.integers(0, 25), st.sampled_from(["plc.good", "plc.scrap"])),
    st.tuples(
        st.just("sent"), st.integers(1, 12), st.sampled_from(sorted(set(Delivery) - {Delivery.VOIDED_BEFORE_SEND}))
    ),
    st.tuples(st.just("correct"), st.integers(1, 12), st.tuples(*[st.integers(0, 15)] * 3)),
    st.tuples(st.just("reverse"), st.integers(1, 12), st.booleans()),
    st.tuples(st.just("judge"), st.integers(1, 15), st.permutations(["good", "scrap", "rework"])),
    st.tuples(st.sampled_from(["finish", "reopen", "interrupt", "start", "undo", "restart"]), st.none(), st.none()),
)


@given(steps=st.lists(STEP, max_size=25), capability=st.sampled_from(list(Capability)))
@settings(max_examples=150)
def test_what_the_erp_has_and_what_is_open_is_what_was_made(rig, steps, capability):  # noqa: C901 - a row of each kind
    counters = tuple(CounterRule(mode="counter", signal=f"plc.{role}", role=role) for role in (Role.GOOD, Role.SCRAP))
    floor = rig(*counters, **ON)
    for counter in counters:
        floor.make(0, counter.signal)
    floor.order("A", 100_000)
    erp = Erp(floor, capability)
    for number, (verb, first, second) in enumerate(steps, 1):
        floor.at(f"{number * 31} s")
        made = erp.all()
        match verb:
            case "make":
                floor.make(first, second)
            case "sent" if first <= len(made):
                one = made[first - 1]
                erp.seen()
                if erp.delivery[one.key] not in (Delivery.VOIDED_BEFORE_SEND, Delivery.POSTED):
                    erp.delivery[one.key] = Delivery(second)
            case "correct":
                erp.correct(first, second, signed_by="ann")
            case "reverse":
                erp.correct(first, signed_by="ann" if second else "")
            case "judge":
                erp.judge(first, *second[:2], signed_by="ann")
            case "reopen":
                floor.put(OperatorEntry(floor.now_ns, OperatorVerb.REOPEN, "A", "", "ann", **erp.facts()))
            case "undo":
                word = floor.state.last_word
                first_no = word.confirmed[0][3] if word is not None and word.confirmed else 10**9
                contents = tuple(one for one in erp.ledger().contents if one.seq >= first_no)
                floor.put(UndoEntry(floor.now_ns, "ann", contents=contents))
            case "restart":
                floor.state = decode(floor.unit, encode_state(floor.unit, floor.state))
            case "finish" | "interrupt" | "start":
                floor.says(verb, "A")
        erp.seen()
        erp.close()
        floor.close_books()


# --- orders that were divided ----------------------------------------------------------------------------------------


def told(floor, text="CORRECTION"):
    return [dict(one.detail) for one in floor.said if getattr(one, "code", "") == text]


def quantities(floor):
    return {run.job.order: int(run.job.quantity) for run in floor.state.open_runs()}


@pytest.fixture
def led(rig):
    """A, B and C (60, 50, 20) under L, which made a hundred: 46, 39 and 15 are confirmed."""
    floor = rig(orders=OrderRule(choose="command", target_counts="good"))
    floor.make(0)
    for name, quantity in (("A", 60), ("B", 50), ("C", 20)):
        floor.order(name, quantity)
    floor.put(MergeEntry(floor.now_ns, "L", ("A", "B", "C"), "", "one setup", "ann"))
    floor.says("start", "L")
    floor.at("90 s").make(100)
    floor.says("interrupt", "L")
    floor.says("start", "L")
    return floor


def sums_of(erp):
    return {name: erp.sums(name)[0] for name in "ABC"}


def all_adds_up(floor, erp, open_good):
    """What the originals confirmed and what the leader has open is the leader's."""
    leader = floor.state.running
    assert (leader.open_good, leader.good) == (open_good, sum(sums_of(erp).values()) + open_good)
    given = {
        run.job.order: shares for run, shares in zip(leader.merged.runs, leader.merged.given[0].given, strict=True)
    }
    assert given == sums_of(erp) == {run.job.order: run.good for run in leader.merged.runs}


@pytest.mark.parametrize("capability", [CANCEL, NEGATIVE, MANUAL])
@pytest.mark.parametrize("state", [Delivery.HELD, Delivery.POSTED])
def test_what_is_taken_back_of_an_original_is_shared_anew(led, state, capability):
    erp = Erp(led, capability)
    assert sums_of(erp) == {"A": 46, "B": 39, "C": 15}
    erp.becomes(1, state, "B")
    erp.correct(1, order="B")
    all_adds_up(led, erp, 39)
    assert sums_of(erp) == {"A": 46, "B": 0, "C": 15}
    led.at("180 s").make(10)
    led.says("interrupt", "L")
    assert sums_of(erp) == {"A": 51, "B": 42, "C": 17}, "what 110 pieces are by open quantity"
    led.says("start", "L")
    led.at("270 s").make(20)
    assert sums_of(erp) == {"A": 60, "B": 50, "C": 20}
    assert [one.kind.value for one in erp.all("B")][-1] == "final"
    assert led.running is None


def test_other_numbers_of_an_original_are_its_leaders(led):
    erp = Erp(led)
    erp.becomes(1, Delivery.POSTED, "A")
    erp.correct(1, (40, 2, 0))
    all_adds_up(led, erp, 0)
    assert (led.state.running.good, led.state.running.scrap) == (94, 2)
    erp.judge(3, "good", "scrap", "B")
    all_adds_up(led, erp, 0)
    assert (led.state.running.good, led.state.running.scrap) == (91, 5)
    restored = decode(led.unit, encode_state(led.unit, led.state) | {"images": {}})
    assert restored.running.merged.given[0].given == (40, 36, 15)
    led.at("180 s").make(39)
    assert sums_of(erp) == {"A": 60, "B": 50, "C": 20}, "each is filled with what it lacks now"
    assert led.records["A", "0010"].state is JobOrderState.MERGED


def test_an_original_is_corrected_behind_the_end_of_its_leader(led):
    erp = Erp(led)
    led.at("180 s").make(30)
    assert led.running is None
    erp.becomes(2, Delivery.POSTED, "B")
    assert refused(erp.correct(2, (9, 2, 0), "B"))["guard"] == "SIGNATURE_REQUIRED"
    assert refused(erp.correct(2, (9, 2, 0), "B", signed_by="Ann Berg")) is None
    assert erp.sums("B")[:2] == (48, 2)
    assert (led.records["B", "0010"].good, led.records["B", "0010"].state) == (48, JobOrderState.MERGED)
    why = refused(erp.correct(1, None, "B", signed_by="Ann Berg"))
    assert why["guard"] == "ORDER_OPEN"


def test_what_was_confirmed_before_the_merge_waits_for_its_end(rig):
    floor = rig(orders=OrderRule(choose="command", target_counts="good"))
    floor.make(0)
    for name in "AB":
        floor.order(name, 50)
    floor.says("start", "A")
    floor.at("90 s").make(10)
    floor.says("interrupt", "A")
    floor.put(MergeEntry(floor.now_ns, "L", ("A", "B"), "", "one setup", "ann"))
    erp = Erp(floor)
    before, said = floor.state, len(floor.all(Confirmation))
    why = refused(erp.correct(1, (8, 0, 0)))
    assert why["guard"] == "LEADER"
    assert "finish L or undo its merge first" in why["reason"]
    assert (floor.state.queue, len(floor.all(Confirmation))) == (before.queue, said)


def test_pieces_of_a_leader_that_are_confirmed_are_judged_at_its_originals(led):
    erp = Erp(led)
    why = refused(
        led.put(ReclassifyEntry(led.now_ns, "L", "", 2, Role.GOOD, Role.SCRAP, "BURR", "ann", **erp.facts("L")))
    )
    assert why["guard"] == "LEADER", why
    assert "name the original order that is confirmed" in why["reason"]
    assert refused(erp.judge(2, "good", "scrap", "A")) is None


@pytest.mark.parametrize(
    ("pieces", "wanted", "left"),
    [
        ((35, 0, 0), {"A-001": 20, "A-002": 45}, []),
        ((60, 0, 0), {"A-001": 20, "A-002": 20}, []),
        ((85, 0, 0), {"A-001": 14, "A-002": 1}, []),
        ((99, 0, 0), {"A-002": 1}, ["-5"]),
    ],
)
def test_a_split_order_is_corrected_and_its_children_make_the_difference(rig, pieces, wanted, left):
    floor = rig(orders=OrderRule(choose="command", target_counts="good"))
    floor.make(0)
    floor.order("A", 100)
    floor.says("start", "A")
    floor.at("90 s").make(40)
    floor.says("interrupt", "A")
    floor.put(SplitEntry(floor.now_ns, "A", "", (Decimal(20), Decimal(40)), "r", "ann"))
    floor.says("start", "A-001")
    floor.at("180 s").make(5)
    erp = Erp(floor)
    erp.becomes(1, Delivery.POSTED)
    assert refused(erp.correct(1, pieces)) is None
    assert quantities(floor) == wanted
    assert [one["pieces"] for one in told(floor, "REMAINING_NOT_DIVIDED")] == left
    assert (floor.records["A", "0010"].good, floor.records["A", "0010"].state) == (pieces[0], JobOrderState.SPLIT)
    assert erp.sums("A")[0] == pieces[0]
    if not left:
        assert pieces[0] + sum(quantities(floor).values()) == 100, "the children get what remains"


def test_a_child_leaves_no_more_than_it_still_wants_without_what_the_erp_was_told(rig):
    floor = rig(orders=OrderRule(choose="command", target_counts="good"))
    floor.make(0)
    floor.order("A", 100)
    floor.says("start", "A")
    floor.at("90 s").make(40)
    floor.says("interrupt", "A")
    floor.put(SplitEntry(floor.now_ns, "A", "", (Decimal(20), Decimal(40)), "r", "ann"))
    floor.put(ExternalEntry(floor.now_ns, "A", "", 30, 0, 0, "by hand there", "ann"))
    erp = Erp(floor)
    erp.becomes(1, Delivery.POSTED)
    assert refused(erp.correct(1, (60, 0, 0))) is None
    assert quantities(floor) == {"A-001": 10, "A-002": 30}


def test_an_order_at_its_target_waits_for_the_verdict_on_held_pieces_that_are_confirmed(rig):
    """At the ERP they are neither good nor scrap: a final confirmation would leave them so for ever."""
    floor = rig(confirm=ConfirmRule(every_pieces=10))
    floor.order("A", 30)
    floor.make(0)
    floor.says("hold", "A", reason="crack")
    floor.at("90 s").make(10)
    floor.says("release", "A")
    floor.at("3 min").make(10)
    assert [(one.good, one.hold) for one in floor.all(Confirmation)] == [(0, 10), (10, 0)]
    erp = Erp(floor)
    erp.becomes(1, Delivery.POSTED)
    floor.at("6 min").make(20)
    outputs = floor.says("finish", "A")
    assert (refused(outputs)["guard"], refused(outputs)["found"]) == (
        "no piece waits for a verdict",
        "10 pieces on hold",
    )
    erp.judge(9, "hold", "scrap")
    assert floor.all(Confirmation)[-1].kind.value != "final"
    erp.judge(1, "hold", "scrap")
    assert floor.all(Confirmation)[-1].kind.value == "final"
    assert erp.sums() == (30, 10, 0, 0, 0)
    erp.close()
