"""What an ERP may change: data/order_changes.txt line by line; acknowledgements; several operations; all or nothing."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.orders.change_table import OPERATION_FIELDS, ORDER_FIELDS, PHASES, TABLE, ChangeKind, Phase
from gateway.core.orders.order_changes import (
    AckKind,
    ChangeAccepted,
    ChangeIgnored,
    ChangeRefused,
    RunFacts,
    decide,
    differences,
)
from gateway.core.orders.order_image import Component, Control, ImageOperation, OrderImage

CASES = Path(__file__).parent / "data" / "order_changes.txt"
GRANULATE = Component("GRAN", Decimal("1.2"), "G", "0010")
FIRST = ImageOperation("0010", "WC-1", Decimal(100))
HELD = OrderImage("erp", "4711", 1, "CAP", "PC", Decimal(100), (FIRST,), components=(GRANULATE,))
STOP = "stop_and_confirm"


def second(**over):
    return ImageOperation("0020", "WC-2", Decimal(100))._replace(**over)


def value_of(old, text):
    return Decimal(text) if isinstance(old, Decimal) else int(text) if text.isdecimal() else text


def changed(text, held=HELD):
    """The held image as the new one says it."""
    new = held._replace(revision=2)
    for pair in text.split():
        name, _, value = pair.partition("=")
        if name == "component":
            parts = tuple(one._replace(quantity=Decimal(value)) for one in new.components) if value != "0" else ()
            new = new._replace(components=parts)
        elif name == "operation":
            new = new._replace(operations=(*new.operations, second(operation=value)))
        elif name == "cancelled":
            new = new._replace(cancelled=True)
        elif "." in name:
            number, field = name.split(".")
            operations = [
                one._replace(**{field: value_of(getattr(one, field), value)}) if one.operation == number else one
                for one in new.operations
            ]
            new = new._replace(operations=tuple(operations))
        else:
            new = new._replace(**{name: value_of(getattr(new, name), value)})
            if name == "quantity":
                operations = tuple(one._replace(quantity=new.quantity) for one in new.operations)
                new = new._replace(operations=operations)
    return new


def facts_of(text):
    phase, *words = text.split()
    told = dict(word.split("=") for word in words if "=" in word)
    facts = RunFacts(
        Phase(phase),
        Decimal(told.get("produced", 0)),
        running="running" in words,
        work_center=told.get("at", ""),
        on_hold="on_hold" in words,
        ended="ended" in words,
    )
    return facts, told.get("policy", STOP)


def outcome(decision):
    match decision:
        case ChangeAccepted():
            return ["accepted", *dict.fromkeys(due.effect for due in decision.effects)]
        case ChangeRefused():
            return ["refused", *dict.fromkeys(refusal.code for refusal in decision.refusals)]
        case ChangeIgnored():
            return ["ignored", decision.code]


def cases():
    for line in CASES.read_text().splitlines():
        if line and not line.startswith("#"):
            name, change, facts, expected = (part.strip() for part in line.split("|"))
            yield pytest.param(change, facts, expected, id=f"{name}-{facts}")


@pytest.mark.parametrize(("change", "facts", "expected"), list(cases()))
def test_a_change(change, facts, expected):
    run, policy = facts_of(facts)
    new = changed(change)
    decision = decide(HELD, {"0010": run}, new, policy)
    word, *rest = expected.split()
    found, *effects = outcome(decision)
    assert (found, set(effects)) == (word, set(rest))
    assert len(effects) == len(rest)
    assert decision.ack.order == "4711"
    assert decision.ack.revision == new.revision
    if word == "accepted":
        assert decision.image.revision == decision.ack.held_revision == new.revision
        assert decision.image == (HELD._replace(cancelled=True, revision=new.revision) if new.cancelled else new)
        return
    assert decision.ack.held_revision == 1
    assert decision.ack.reasons
    if word == "refused":
        for refusal, reason in zip(decision.refusals, decision.ack.reasons, strict=True):
            assert all(part in reason for part in refusal)
            assert all(refusal)


def test_every_cell_of_the_table_has_a_case():
    met = set()
    for case in cases():
        change, facts, _ = case.values
        run, _ = facts_of(facts)
        new = changed(change)
        kinds = {ChangeKind.CANCEL} if new.cancelled else {one.kind for one in differences(HELD, new)}
        met |= {(kind, run.phase) for kind in kinds}
    assert met == {(kind, phase) for kind in TABLE for phase in PHASES}


def test_every_field_of_an_image_is_of_a_kind():
    apart = {"source", "order", "revision", "quantity", "operations", "components", "former", "cancelled", "status"}
    assert set(OrderImage._fields) == set(ORDER_FIELDS) | apart
    assert set(ImageOperation._fields) == set(OPERATION_FIELDS) | {"operation", "quantity"}


OTHER = {
    int: 77,
    str: "other",
    Decimal: Decimal(77),
    tuple: (("a", "b"),),
    type(None): 77,
    Control: Control(milestone=True),
}


@pytest.mark.parametrize("name", [*ORDER_FIELDS, *(f"0010.{name}" for name in OPERATION_FIELDS)])
def test_every_field_that_differs_is_found(name):
    if name.startswith("0010."):
        field = name.removeprefix("0010.")
        new = HELD._replace(operations=(FIRST._replace(**{field: OTHER[type(getattr(FIRST, field))]}),))
        (found,) = differences(HELD, new)
        assert (found.path, found.operation) == (f"operations[0010].{field}", "0010")
        assert found.kind is OPERATION_FIELDS[field]
        return
    new = HELD._replace(**{name: OTHER.get(type(getattr(HELD, name)), "other")})
    (found,) = differences(HELD, new)
    assert (found.path, found.kind, found.operation) == (name, ORDER_FIELDS[name], "")


# --- acknowledgements ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "facts", "kind"),
    [
        ("quantity=150", "setup", AckKind.ORDER_CHANGE_ACCEPTED),
        ("product=OTHER", "setup", AckKind.ORDER_CHANGE_REJECTED),
        ("cancelled=yes", "setup running", AckKind.CANCEL_ACCEPTED),
        ("cancelled=yes", "setup running policy=reject", AckKind.CANCEL_REJECTED),
        ("revision=1", "setup", AckKind.DUPLICATE),
        ("revision=0", "setup", AckKind.STALE),
    ],
)
def test_what_the_erp_is_told(change, facts, kind):
    run, policy = facts_of(facts)
    ack = decide(HELD, {"0010": run}, changed(change), policy).ack
    assert ack.kind is kind
    assert not ack.resend


def test_a_change_of_an_unknown_order_asks_for_it():
    decision = decide(None, {}, changed("quantity=150"), STOP)
    assert outcome(decision) == ["ignored", "UNKNOWN_ORDER"]
    assert decision.ack.kind is AckKind.UNKNOWN_ORDER
    assert decision.ack.resend
    assert decision.ack.held_revision is None
    assert "send it whole" in decision.ack.reasons[0]


def test_a_cancellation_says_what_was_made():
    run, _ = facts_of("after_first_piece produced=7 running")
    ack = decide(HELD, {"0010": run}, changed("cancelled=yes"), STOP).ack
    assert ack.produced == (("0010", Decimal(7)),)


def test_a_cancelled_order_does_not_come_back():
    cancelled = HELD._replace(cancelled=True)
    decision = decide(cancelled, {}, HELD._replace(revision=2), STOP)
    assert outcome(decision) == ["refused", "ORDER_ENDED"]
    assert outcome(decide(cancelled, {}, cancelled, STOP)) == ["ignored", "DUPLICATE"]


def test_a_hold_is_lifted():
    held = HELD._replace(hold="complaint")
    decision = decide(held, {}, held._replace(revision=2, hold=""), STOP)
    assert outcome(decision) == ["accepted", "RELEASE_HOLD"]


# --- several operations ----------------------------------------------------------------------------------------------

TWO = HELD._replace(operations=(FIRST, second()))
RUNS = RunFacts(Phase.AFTER_FIRST_PIECE, Decimal(40), running=True)


def test_an_operation_that_has_not_started_may_move():
    new = changed("0020.work_center=WC-9", TWO)
    decision = decide(TWO, {"0010": RUNS}, new, STOP)
    assert outcome(decision) == ["accepted", "MOVE"]
    assert decision.effects[0].operation == "0020"


def test_what_concerns_the_whole_order_is_as_far_as_its_furthest_operation():
    decision = decide(TWO, {"0010": RUNS}, changed("product=OTHER", TWO), STOP)
    assert outcome(decision) == ["refused", "CLOSE_AND_CREATE_NEW"]
    assert outcome(decide(TWO, {"0020": RUNS}, changed("product=OTHER", TWO), STOP)) == outcome(decision)


def test_over_delivery_is_told_where_it_is():
    decision = decide(TWO, {"0010": RUNS}, changed("quantity=30", TWO), STOP)
    assert [(due.effect, due.operation) for due in decision.effects] == [
        ("OVER_DELIVERY", "0010"),
        ("COMPLETE", "0010"),
    ]


def test_an_operation_that_is_gone_is_structure():
    for old, new in ((TWO, HELD), (HELD, TWO)):
        (found,) = differences(old, new)
        assert (found.kind, found.path) == (ChangeKind.STRUCTURE, "operations[0020]")
    assert bool(differences(TWO, HELD)[0].old) != bool(differences(TWO, HELD)[0].new)


def test_another_sequence_of_operations_is_structure():
    turned = TWO._replace(operations=TWO.operations[::-1])
    (found,) = differences(TWO, turned)
    assert (found.kind, found.old, found.new) == (ChangeKind.STRUCTURE, "0010, 0020", "0020, 0010")


def test_another_sequence_of_components_is_none():
    more = HELD._replace(components=(GRANULATE, GRANULATE._replace(item="CARTON")))
    assert differences(more, more._replace(components=more.components[::-1])) == ()
    assert len(differences(more, more._replace(components=(GRANULATE, GRANULATE)))) == 2


def test_cancelling_stops_what_was_started_and_nothing_else():
    done = RunFacts(Phase.AFTER_FIRST_PIECE, Decimal(100), ended=True)
    third = second(operation="0030")
    image = TWO._replace(operations=(*TWO.operations, third))
    decision = decide(image, {"0010": done, "0020": RUNS}, changed("cancelled=yes", image), STOP)
    assert [(due.effect, due.operation) for due in decision.effects] == [("STOP_AND_CONFIRM", "0020"), ("CANCEL", "")]
    assert decision.ack.produced == (("0010", Decimal(100)), ("0020", Decimal(40)))


SINGLE = st.sampled_from(
    [change for case in cases() if "cancelled" not in (change := case.values[0]) and "revision" not in change]
)
FACTS = st.sampled_from([case.values[1] for case in cases()])


@given(st.lists(SINGLE, min_size=1, max_size=4), FACTS)
def test_all_or_nothing(changes, facts):
    """Several changes at once are taken exactly when each alone would be."""
    run, policy = facts_of(facts)
    together = decide(HELD, {"0010": run}, changed(" ".join(changes)), policy)
    # An engineering change makes the other's components one, too: what one says counts for all.
    shared = [word for change in changes for word in change.split() if word.startswith(("change_", "effective_"))]
    last = {word.partition("=")[0]: word for change in changes for word in change.split()}
    alone = [decide(HELD, {"0010": run}, changed(" ".join([word, *shared])), policy) for word in last.values()]
    assert isinstance(together, ChangeAccepted) == all(isinstance(one, ChangeAccepted) for one in alone)
    if isinstance(together, ChangeRefused):
        assert together.ack.held_revision == HELD.revision
