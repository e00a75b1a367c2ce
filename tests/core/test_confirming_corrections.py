"""Corrections: data/confirming_corrections.txt case by case, and random histories whose sums must close."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.confirming.corrections import (
    Capability,
    CorrectionRefused,
    Entry,
    EntryKind,
    Ledger,
    Origin,
    Who,
    carried_out,
    reclassify,
    replace,
    restored,
    reverse,
)
from gateway.core.confirming.hold_back import IN_DOUBT, VOIDABLE, Delivery
from gateway.core.confirming.quantities import NOTHING, Pieces
from gateway.core.model import Role

TABLE = Path(__file__).parent / "data" / "confirming_corrections.txt"
ANN = Who(7, "ann", "wrong box")
LEDGER = re.compile(r"(\w+) (\w+) (\w+) (\S+)(?: of (\w+))?")
#: The ERP's ways of holding a confirmation, on its way and there.
ON_ITS_WAY = [one for one in Delivery if one is not Delivery.VOIDED_BEFORE_SEND]


def pieces_of(text):
    return Pieces(*map(int, text.split("/")))


def shown(pieces):
    assert not any(pieces[3:])
    return "/".join(map(str, pieces[:3]))


def cases():
    for block in TABLE.read_text().split("\ncase ")[1:]:
        name, *lines = block.splitlines()
        yield pytest.param([line.split(None, 1) for line in lines if line.strip()], id=name)


def done(ledger, what, capability):
    verb, *rest = what.split()
    by = ANN._replace(signed_by="ann") if rest[-1] == "signed" else ANN
    if verb == "reverse":
        return reverse(ledger, rest[0], by, capability)
    if verb == "replace":
        return replace(ledger, rest[0], pieces_of(rest[1]), by, capability)
    return reclassify(ledger, int(rest[0]), Role(rest[1]), Role(rest[2]), by, capability)


def told(draft):
    parts = [draft.kind, draft.delivery, shown(draft.pieces)]
    parts += ["of", draft.content_of] if draft.content_of else []
    parts += ["reverses", draft.reverses] if draft.reverses else []
    return " ".join([*parts, draft.origin])


@pytest.mark.parametrize("lines", list(cases()))
def test_a_case(lines):
    given_ = [(word, rest) for word, rest in lines if word in {"erp", "ledger", "open", "do"}]
    expected = {word: [rest for other, rest in lines if other == word] for word, _ in lines}
    entries = []
    for word, rest in given_:
        if word == "ledger":
            name, kind, delivery, pieces, of = LEDGER.fullmatch(rest).groups()
            entries.append(Entry(name, EntryKind(kind), pieces_of(pieces), Delivery(delivery), of or ""))
    ledger = Ledger(tuple(entries), pieces_of(expected.get("open", ["0/0/0"])[0]))
    plan = done(ledger, expected["do"][0], Capability(expected["erp"][0]))
    if "refuses" in expected:
        assert isinstance(plan, CorrectionRefused), plan
        assert plan.code == expected["refuses"][0]
        assert plan.text
        assert plan.what_to_do in str(plan)
        return
    assert not isinstance(plan, CorrectionRefused), plan
    assert list(plan.voided) == expected.get("void", [""])[0].split()
    assert [told(draft) for draft in plan.drafts] == expected.get("makes", [])
    assert shown(plan.open_change) == expected.get("opens", ["0/0/0"])[0]
    assert shown(plan.book_change) == expected.get("books", ["0/0/0"])[0]
    for draft in plan.drafts:
        assert draft.by.who == "ann"
        assert draft.sign == (-1 if draft.kind is EntryKind.REVERSAL else 1)
    after = carried_out(ledger, plan, "c{}".format)
    assert after.book == ledger.book.plus(plan.book_change)


@pytest.mark.parametrize(
    ("by", "code"),
    [
        (ANN._replace(who=" "), "WHO_MISSING"),
        (ANN._replace(reason=""), "REASON_MISSING"),
        (ANN._replace(reason="x" * 401), "REASON_MISSING"),
    ],
)
def test_nobody_corrects_without_a_name_and_a_reason(by, code):
    ledger = Ledger((Entry("c1", EntryKind.PARTIAL, Pieces(5), Delivery.POSTED),))
    for refused in (
        reverse(ledger, "c1", by, Capability.CANCEL),
        replace(ledger, "c1", Pieces(4), by, Capability.CANCEL),
        reclassify(ledger, 1, Role.GOOD, Role.SCRAP, by, Capability.CANCEL),
    ):
        assert isinstance(refused, CorrectionRefused)
        assert refused.code == code


def test_every_delivery_is_one_of_three_kinds():
    settled = {Delivery.POSTED, Delivery.VOIDED_BEFORE_SEND}
    assert VOIDABLE | IN_DOUBT | settled == set(Delivery)
    assert not VOIDABLE & IN_DOUBT
    assert not settled & (VOIDABLE | IN_DOUBT)


PIECES = st.builds(Pieces, *[st.integers(0, 20)] * 5)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("make"), PIECES),
        st.tuples(st.just("close"), st.sampled_from(ON_ITS_WAY)),
        st.tuples(st.just("deliver"), st.integers(0, 30), st.sampled_from(ON_ITS_WAY)),
        st.tuples(st.just("reverse"), st.integers(0, 30)),
        st.tuples(st.just("replace"), st.integers(0, 30), PIECES),
        st.tuples(st.just("reclassify"), st.integers(1, 30), st.sampled_from(Role), st.sampled_from(Role)),
    ),
    min_size=4,
    max_size=20,
)


def key_of(seq):
    return f"P1/e0/4711/0010/{seq}"


def after_step(ledger, step, capability):
    """The ledger after one step of a history, and by how much the book changed."""
    word, *rest = step
    if word == "make":
        return ledger._replace(open=ledger.open.plus(rest[0])), rest[0]
    if word == "close":
        new = Entry(key_of(len(ledger.entries) + 1), EntryKind.PARTIAL, ledger.open, rest[0])
        return Ledger((*ledger.entries, new)), NOTHING
    live = ledger.live()
    if word == "deliver":
        key = live[rest[0] % len(live)].key if live else ""
        entries = [one._replace(delivery=rest[1]) if one.key == key else one for one in ledger.entries]
        return ledger._replace(entries=tuple(entries)), NOTHING
    by = ANN._replace(signed_by="ann")
    if word == "reclassify":
        plan = reclassify(ledger, *rest, by, capability)
    else:
        if not live:
            return ledger, NOTHING
        key = live[rest[0] % len(live)].key
        plan = (
            reverse(ledger, key, by, capability) if word == "reverse" else replace(ledger, key, rest[1], by, capability)
        )
    if isinstance(plan, CorrectionRefused):
        return ledger, NOTHING
    untouched = {one.key: one for one in ledger.entries if one.key not in plan.voided}
    after = carried_out(ledger, plan, key_of)
    assert all(one == untouched.get(one.key, one) for one in after.entries), "nothing is edited"
    assert all(one.delivery in VOIDABLE for one in ledger.entries if one.key in plan.voided)
    return after, plan.book_change


@given(STEPS, st.sampled_from(Capability))
def test_the_sums_close(steps, capability):
    """Over all confirmations with their reversals, and over those that are not void: confirmed and open is the book."""
    ledger, book = Ledger(), NOTHING
    for step in steps:
        ledger, change = after_step(ledger, step, capability)
        book = book.plus(change)
        assert ledger.book == book
        assert ledger.sent.plus(ledger.open) == book, "void ones cancel each other out"
        assert min(ledger.sent) >= 0
        assert min(ledger.open) >= 0
        keys = [one.key for one in ledger.entries]
        assert len(keys) == len(set(keys))
        taken_back = [one.reverses for one in ledger.entries if one.reverses]
        assert len(taken_back) == len(set(taken_back)), "once only"
        if capability is not Capability.NEGATIVE:
            partials = [one for one in ledger.entries if one.kind is not EntryKind.REVERSAL]
            below = [one for one in partials if min(one.pieces) < 0 and one.delivery is not Delivery.BY_HAND]
            assert capability is Capability.MANUAL or not below
        assert restored(json.loads(json.dumps(ledger._asdict()))) == ledger


@given(STEPS, st.sampled_from(Capability))
def test_a_reclassification_makes_no_piece(steps, capability):
    ledger = Ledger()
    for step in steps:
        after, change = after_step(ledger, step, capability)
        if step[0] == "reclassify":
            assert change.total == 0
            assert after.book.total == ledger.book.total
        ledger = after


def test_origins_are_those_of_the_document():
    assert {one.value for one in Origin} == {"auto", "operator", "allocation", "correction"}
