"""Reconciliation: data/reconciliation_cases.txt case by case, each row of the table, and what always holds."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.confirming.quantities import NOTHING, Pieces
from gateway.core.orders import reconciliation
from gateway.core.orders.reconciliation import (
    BY_PERSON,
    TABLE,
    Action,
    EdgeFacts,
    ErpFacts,
    ErpQuantities,
    FindingCode,
    LookedUp,
    compare,
    report,
)

CASES = Path(__file__).parent / "data" / "reconciliation_cases.txt"
PIECES = {"acked": "acked", "doubt": "in_doubt", "accepted": "accepted", "waiting": "waiting"}
KEYS = {"keys": "acked_keys", "doubtful": "in_doubt_keys", "rejected": "rejected_keys", "closed": "closed_period_keys"}


def facts(words):
    pairs = [word.partition("=") for word in words]
    return {key: value for key, _, value in pairs}


def erp_pieces(text):
    return ErpQuantities(*map(Decimal, text.split("/")))


def edge_of(words):
    told = facts(words)
    made = {"known": "unknown" not in told, "running": "running" in told}
    made |= {PIECES[key]: Pieces(*map(int, text.split("/"))) for key, text in told.items() if key in PIECES}
    made |= {KEYS[key]: tuple(text.split("+")) for key, text in told.items() if key in KEYS}
    if "external" in told:
        made["external"] = erp_pieces(told["external"])
    epochs = tuple(told["epochs"].split("+")) if "epochs" in told else ()
    return EdgeFacts(
        "4711",
        "0010",
        epochs=epochs,
        seq=int(told.get("seq", 0)),
        waiting_behind=int(told.get("behind", 0)),
        **made,
    )


def erp_of(words):
    told = facts(words)
    highest = [one.split(":") for one in told["highest"].split("+")] if "highest" in told else []
    said = [one.split(":") for one in told["said"].split("+")] if "said" in told else []
    return ErpFacts(
        "unknown" not in told,
        "closed" in told,
        erp_pieces(told.get("has", "0/0/0")),
        tuple((epoch, int(seq)) for epoch, seq in highest),
        tuple((key, LookedUp(answer)) for key, answer in said),
    )


def cases():
    for block in CASES.read_text().split("\ncase ")[1:]:
        name, *lines = block.splitlines()
        parts = [line.strip().partition(" ") for line in lines if line.strip()]
        edge, erp = (next(rest.split() for word, _, rest in parts if word == side) for side in ("edge", "erp"))
        found = [[part.strip() for part in rest.split("|")] for word, _, rest in parts if word == "finds"]
        yield pytest.param(edge_of(edge), erp_of(erp), found, id=name)


@pytest.mark.parametrize(("edge", "erp", "expected"), list(cases()))
def test_a_case(edge, erp, expected):
    findings = compare(edge, erp)
    told = [[one.code.value, one.text, *(["+".join(one.keys)] if one.keys else [])] for one in findings]
    assert told == expected
    actions = {row.code: row.action for row in TABLE}
    for one in findings:
        assert (one.order, one.operation, one.action) == ("4711", "0010", actions[one.code])
        assert str(one).endswith(f"proposed: {one.action}")


def test_every_row_has_a_case():
    assert {code for case in cases() for code, *_ in case.values[2]} == set(FindingCode)
    assert [row.code for row in TABLE] == list(FindingCode)


@pytest.mark.parametrize(
    ("code", "action", "person"),
    [
        ("IN_BUFFER", Action.NONE, False),
        ("LOOK_UP", Action.LOOK_UP_BY_KEY, False),
        ("MISSING_IN_ERP", Action.RESEND_SAME_KEY, False),
        ("MISMATCH", Action.TASK, True),
        ("EXTERNAL_CONFIRMATION", Action.IMPORT_EXTERNAL, True),
        ("ERP_CLOSED", Action.HOLD, False),
        ("EDGE_DATA_LOST", Action.NEW_EPOCH, False),
        ("DEAD_LETTER", Action.SETTLE_DEAD_LETTER, True),
        ("ACK_LOST", Action.RESEND_SAME_KEY, False),
        ("PERIOD_CLOSED", Action.POST_IN_PRESENT_PERIOD, True),
        ("UNKNOWN_IN_ERP", Action.ASK_ERP, True),
    ],
)
def test_what_each_row_proposes(code, action, person):
    (row,) = [row for row in TABLE if row.code == code]
    assert row.action is action
    assert (action in BY_PERSON) == person


def test_the_difference_is_told_exactly():
    (one,) = compare(EdgeFacts("4711", "0010", acked=Pieces(500, 10)), ErpFacts(confirmed=erp_pieces("520.5/10/1")))
    assert one.difference == ErpQuantities(Decimal("20.5"), Decimal(0), Decimal(1))


SUMS = st.builds(Pieces, *[st.integers(0, 9)] * 3)
ERP_SUMS = st.builds(ErpQuantities, *[st.integers(0, 20).map(Decimal)] * 3)


@given(SUMS, SUMS, SUMS, ERP_SUMS, ERP_SUMS)
def test_one_explanation_of_a_difference(acked, doubt, waiting, external, has):
    """Quantities lead to one of: they agree, it flows, the ERP has less, it has more, or both."""
    edge = EdgeFacts(
        "A",
        "0010",
        acked=acked,
        in_doubt=doubt,
        waiting=waiting,
        external=external,
        acked_keys=("k1",),
        in_doubt_keys=("k2",) if any(doubt) else (),
    )
    codes = {one.code for one in compare(edge, ErpFacts(confirmed=has))}
    assert (FindingCode.ACK_LOST in codes) == any(doubt)
    quantity = codes - {FindingCode.ACK_LOST}
    assert len(quantity) <= 1
    least = [one + more for one, more in zip(acked[:3], external, strict=True)]
    most = [one + maybe for one, maybe in zip(least, doubt[:3], strict=True)]
    fewer = any(there < one for there, one in zip(has, least, strict=True))
    more = any(there > one for there, one in zip(has, most, strict=True))
    if fewer:
        assert quantity == {FindingCode.MISMATCH if more else FindingCode.LOOK_UP}
    elif more:
        assert quantity == {FindingCode.EXTERNAL_CONFIRMATION}
    else:
        assert quantity == ({FindingCode.IN_BUFFER} if waiting != NOTHING else set())


@given(SUMS, ERP_SUMS)
def test_what_was_taken_over_is_found_once(acked, more):
    """Importing what a finding says makes both sides agree; it is never imported twice."""
    has = ErpQuantities(*(one + extra for one, extra in zip(acked[:3], more, strict=True)))
    edge = EdgeFacts("A", "0010", acked=acked)
    found = compare(edge, ErpFacts(confirmed=has))
    if any(more):
        (one,) = found
        found = compare(edge._replace(external=one.difference), ErpFacts(confirmed=has))
    assert found == ()


def test_the_report_counts_what_it_leaves_out(monkeypatch):
    agree = (EdgeFacts("A", "0010"), ErpFacts())
    closed = (EdgeFacts("B", "0010", running=True, rejected_keys=("k1",)), ErpFacts(closed=True))
    whole = report(7, [agree, closed, closed])
    assert (whole.at_ns, whole.compared, whole.left_out, len(whole.findings)) == (7, 3, 0, 4)
    assert dict(whole.counts) == {"DEAD_LETTER": 2, "ERP_CLOSED": 2}
    monkeypatch.setattr(reconciliation, "FINDINGS_MAX", 3)
    short = report(7, [agree, closed, closed])
    assert (short.left_out, short.findings, short.counts) == (1, whole.findings[:3], whole.counts)


def test_a_report_is_json():
    found = report(7, [(EdgeFacts("A", "0010", acked=Pieces(5)), ErpFacts(confirmed=erp_pieces("7/0/0")))])
    stored = json.loads(json.dumps(found._asdict(), default=str))
    assert stored["findings"][0][0] == "EXTERNAL_CONFIRMATION"
    assert stored["findings"][0][5] == ["2", "0", "0"]


def test_one_number_of_two_erps_is_two_findings_of_one_operation():
    """Each with a name of its own, so that who settles one settles no other; alone it is named as ever."""
    edge, erp = EdgeFacts("4711", "0010", acked=Pieces(10)), ErpFacts(confirmed=erp_pieces("12/0/0"))
    (alone,) = compare(edge, erp)
    told = report(0, [(edge._replace(source=name), erp) for name in ("sap", "bc")])
    assert [one.text for one in told.findings] == [f"{name}: {alone.text}" for name in ("sap", "bc")]
    assert (told.compared, len({one.identity for one in (alone, *told.findings)})) == (2, 3)
    ((*_, said),) = told.said
    assert said == tuple((one.code, one.identity) for one in told.findings)
    refused = edge._replace(acked=Pieces(12), rejected_keys=("k1",))
    told = report(0, [(refused._replace(source=name), erp) for name in ("sap", "bc")])
    assert len({one.identity for one in told.findings}) == 2, "also where the same keys are named"
