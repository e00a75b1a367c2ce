"""What the forwarder's page and its table of advice say, held against the tables that rule."""

import re
from pathlib import Path

import pytest

from buffer import entry
from buffer.entry import OutboxEntry, OutboxState
from gateway.connectors.base import OutcomeKind
from gateway.connectors.rest.answers import BY_CODE as REST_CODES
from gateway.forwarder.advice import (
    ACCEPTED,
    BY_CODE,
    BY_HAND,
    BY_KIND,
    STRANDED,
    UNCLEAR,
    suggested,
    suggested_for,
)
from gateway.work_unit.ledgers import _SURELY_NOT

ROOT = Path(__file__).parents[2]
README = ROOT / "gateway/forwarder/README.md"
GOOD = {OutcomeKind.POSTED, OutcomeKind.ACCEPTED}


def drawn():
    """State, state, word: the arrows of the diagram."""
    diagram = re.search(r"```mermaid\nstateDiagram-v2\n(.*?)```", README.read_text(), re.DOTALL).group(1)
    arrows = [re.fullmatch(r" {4}(\S+) --> (\S+): (.+)", line).groups() for line in diagram.splitlines()]
    return {(start, end, word) for start, end, words in arrows for word in words.split(", ")}


def ruled():
    """The same from the tables."""
    made = {("[*]", state, "made") for state in ("ready", "held", "needs_approval", "parked", "voided")}
    sent = {(one, "sending", "send") for one in entry.SENT_FROM} | {("uncertain", "sending", "repeat")}
    settled = {(one, to, "settle") for to, froms in entry.SETTLED_FROM.items() for one in froms if one != to}
    approved = {(one, to, "approve") for one in entry.APPROVED_FROM for to in ("held", "ready")}
    retried = {(one, "ready", "retry") for one in entry.RETRIED_FROM}
    given_up = {(one, "superseded", "discard") for one in entry.SUPERSEDED_FROM}
    voided = {(one, "voided", "correct") for one in entry.VOIDED_FROM}
    others = {("sending", "uncertain", "restart"), ("posted", "ready", "resend")}
    others |= {(one, to, "resend") for one in ("posted", "delivered") for to in ("ready", "uncertain")}
    others |= {(one, "ready", "release") for one in entry.RELEASED_FROM}
    others |= {(one, to, "booked") for one in entry.BOOKED_FROM for to in ("posted", "ready")}
    others |= {
        ("sending", "sending", "step"),
        *((one, "ready", "step") for one in ("sending", "uncertain", "accepted")),
    }
    found = made | sent | settled | approved | retried | given_up | voided | others
    return {tuple(map(str, arrow)) for arrow in found}


def test_the_diagram_is_what_the_tables_say():
    assert drawn() == ruled()
    assert {state for start, end, _ in drawn() for state in (start, end)} == {
        "[*]",
        *(one.value for one in OutboxState),
    }


@pytest.mark.parametrize(
    "kind", sorted({*(set(OutcomeKind) - GOOD), ACCEPTED, UNCLEAR, STRANDED, BY_HAND, *_SURELY_NOT})
)
def test_every_class_of_error_has_its_advice(kind):
    assert suggested(kind) == BY_KIND[kind]
    assert suggested(kind, "A_CODE_OF_ITS_OWN") == BY_KIND[kind]


def test_every_code_that_a_connector_knows_has_its_advice():
    for (_status, code), kind in REST_CODES.items():
        assert (kind, code) in BY_CODE
    for kind, _code in BY_CODE:
        assert kind in BY_KIND
    assert suggested("") == ""
    assert all(len(text) < 160 and text == text.strip(". ") for text in (*BY_KIND.values(), *BY_CODE.values()))


def test_what_is_advised_for_a_posting_says_what_is_there_of_it():
    def entry(state, **changes):
        given = dict.fromkeys(OutboxEntry._fields, 0) | {"error_kind": "", "error_code": "", "reference": ""}
        return OutboxEntry(**{**given, "state": state, "steps": 1, **changes})

    refused = {"error_kind": "business_reject"}
    assert "retry" not in suggested_for(entry(OutboxState.UNCERTAIN, error_kind="uncertain")), "it would be refused"
    plain = suggested_for(entry(OutboxState.PARKED, **refused))
    assert plain == suggested("business_reject")
    in_part = suggested_for(entry(OutboxState.PARKED, step=2, steps=3, **refused))
    assert "Of its 3 messages the first 2 are booked: a retry goes on behind them" in in_part
    assert "discarded, they stay booked" in in_part
    later = suggested_for(entry(OutboxState.PARKED, reference="A-1", **refused))
    assert "took it over and refused it afterwards" in later
    assert "never both" in later
    assert "linegate reconcile" in suggested_for(entry(OutboxState.DELIVERED))
    assert not suggested_for(entry(OutboxState.POSTED, reference="R"))
