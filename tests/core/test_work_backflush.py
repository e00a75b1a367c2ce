"""Backflush: data/work_backflush.txt case by case, and what holds for any components and confirmations."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.orders.order_image import Component, ComponentKind, FlushMethod, ImageOperation, OrderImage
from gateway.core.rules_material import BackflushRule
from gateway.core.work import backflush as work
from gateway.core.work.rounding import decimal_steps, half_up

TABLE = Path(__file__).parent / "data" / "work_backflush.txt"


def cases():
    name, lines = "", []
    for line in TABLE.read_text().splitlines():
        if line.startswith("case "):
            if lines:
                yield pytest.param(lines, id=name)
            name, lines = line.removeprefix("case "), []
        elif line.startswith("  "):
            lines.append(line.strip())
    yield pytest.param(lines, id=name)


def component_of(item, quantity, uom, *more):
    words = list(more)
    return Component(
        item,
        Decimal(quantity),
        uom,
        fixed="fixed" in words,
        scrap=Decimal(words[words.index("scrap") + 1]) if "scrap" in words else Decimal(0),
        flush_method=next((FlushMethod(one) for one in ("manual", "erp") if one in words), FlushMethod.BACKFLUSH),
        serialised="serialised" in words,
        lot_required="lot" in words,
        kind=next((kind for kind in ComponentKind if kind.value in words), ComponentKind.CONSUMED),
    )


def rule_of(lines):
    plain, units, purge = {}, {}, {}
    for verb, *words in (line.split() for line in lines):
        if verb == "basis":
            plain["basis"] = words[0]
        elif verb == "decimals":
            plain["decimals"] = int(words[0])
        elif verb == "unit":
            units[words[0]] = int(words[1])
        elif verb == "purge":
            purge[words[0]] = words[1]
    return BackflushRule(**plain, unit_decimals=units, purge=purge)


def used_of(words, components):
    numbers = [Decimal(word) for word in words[:3]]
    named = dict(zip(words[3::2], words[4::2], strict=False))
    made = work.Made(*numbers, startup=int(named.get("startup", 0)))
    return work.Used(tuple(components), made, int(named.get("setups", 0)))


def shown(line):
    reason = [line.separate] if line.separate else []
    return " ".join([line.item, str(line.quantity), line.uom, line.kind, line.posting, *reason])


@pytest.mark.parametrize("lines", list(cases()))
def test_a_backflush(lines):
    rule, state, said = rule_of(lines), work.Backflush(), ()
    components = [component_of(*line.split()[1:]) for line in lines if line.startswith("component ")]
    for line in lines:
        given_, _, expected = line.partition("=")
        verb, *words = given_.split()
        final = "final" in words
        words = [word for word in words if word != "final"]
        if verb == "made":
            state, said = work.flushed(state, used_of(words, components), rule, final=final)
            assert ", ".join(map(shown, said)) == expected.strip(), line
        elif verb == "back":
            state = work.taken_back(state, said, rule)
        elif verb == "refused":
            with pytest.raises(ValueError, match="more is taken back than was made"):
                work.flushed(state, used_of(words[1:], components), rule)
        assert work.backflush_from(json.loads(json.dumps(state._asdict()))) == state
    required = {one.item: one.lot_required for one in components}
    assert all(line.lot_required == required.get(line.item, False) for line in said)


amounts = st.decimals(Decimal("0.000001"), 1000, places=6)
components_strategy = st.lists(
    st.builds(
        Component,
        item=st.sampled_from("ABC"),
        quantity=amounts,
        uom=st.sampled_from(("G", "PC")),
        fixed=st.booleans(),
        scrap=st.decimals(0, 50, places=2),
        flush_method=st.sampled_from(FlushMethod),
        serialised=st.booleans(),
        kind=st.sampled_from((ComponentKind.CONSUMED, ComponentKind.CONSUMED, *ComponentKind)),
    ),
    max_size=6,
)
confirmations = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 50), st.integers(0, 50), st.integers(0, 20), st.integers(0, 2)),
    min_size=1,
    max_size=12,
)


@given(components_strategy, confirmations, st.sampled_from(("produced", "good")), st.integers(0, 6))
def test_all_lines_of_an_item_are_its_use_rounded_once(components, parts, basis, places):
    rule = BackflushRule(basis=basis, decimals=places, unit_decimals={"PC": 0}, purge={"A": "12.5"})
    state, told = work.Backflush(), {}
    for good, scrap, rework, startup, setups in parts:
        made = work.Made(good, scrap, rework, startup)
        state, lines = work.flushed(state, work.Used(tuple(components), made, setups), rule)
        for line in lines:
            assert line.quantity > 0
            assert -line.quantity.as_tuple().exponent == rule.places(line.uom)
            key = (line.item, line.uom, line.kind, line.posting)
            told[key] = told.get(key, 0) + line.quantity
    sums = [sum(column) for column in zip(*parts, strict=True)]
    units = sums[0] if basis == "good" else sum(sums[:3])
    due = {}

    def add(one, kind, amount):
        posting = {FlushMethod.MANUAL: "manual", FlushMethod.ERP: "erp"}.get(one.flush_method)
        apart = one.serialised or kind not in ("pieces", "fixed")
        if posting == "erp" and kind in ("startup", "purge"):
            posting = "separate"  # an ERP reckons from the pieces
        posting = posting or ("separate" if apart else "confirmation")
        due[one.item, one.uom, kind, posting] = due.get((one.item, one.uom, kind, posting), 0) + amount

    used = [one for one in components if one.kind is ComponentKind.CONSUMED]
    for one in components:
        if one not in used:
            each = sums[0] if one.kind is ComponentKind.CO_PRODUCT else units
            add(
                one,
                one.kind.value,
                Fraction(one.quantity) * (1 if one.fixed else each * (1 + Fraction(one.scrap) / 100)),
            )
        elif one.fixed:
            add(one, "fixed", Fraction(one.quantity))
        else:
            each = Fraction(one.quantity) * (1 + Fraction(one.scrap) / 100)
            add(one, "pieces", units * each)
            add(one, "startup", sums[3] * each)
    if any(one.item == "A" for one in used):
        # What the last line with this item is posted by decides; a purge is no matter of its lines.
        last = [one for one in used if one.item == "A"][-1]
        add(last, "purge", sums[4] * Fraction(25, 2))
    expected = {
        key: decimal_steps(half_up(amount * 10 ** rule.places(key[1])), rule.places(key[1]))
        for key, amount in due.items()
    }
    assert told == {key: amount for key, amount in expected.items() if amount}
    assert work.backflush_from(json.loads(json.dumps(state._asdict()))) == state


@given(components_strategy, confirmations)
def test_a_reversal_and_the_same_again_is_the_same(components, parts):
    rule, state = BackflushRule(), work.Backflush()
    for good, scrap, rework, startup, setups in parts:
        used = work.Used(tuple(components), work.Made(good, scrap, rework, startup), setups)
        state, lines = work.flushed(state, used, rule)
        back = work.taken_back(state, lines, rule)
        again, repeated = work.flushed(back, work.Used(tuple(components), work.Made()), rule)
        assert (again, sorted(repeated)) == (state, sorted(lines))


def test_a_line_that_was_never_told_is_not_taken_back():
    line = work.MaterialLine("X", "G", Decimal("1.000"), work.LineKind.PIECES, work.Posting.CONFIRMATION)
    with pytest.raises(ValueError, match="allowed what was told before"):
        work.taken_back(work.Backflush(), [line], BackflushRule())
    back = line._replace(kind=work.LineKind.RETURN)
    assert work.taken_back(work.Backflush(), [back], BackflushRule()) == work.Backflush()


def test_accounts_are_bounded():
    many = tuple(Component(f"X{n}", Decimal(1), "G") for n in range(work.ACCOUNTS_MAX + 1))
    with pytest.raises(ValueError, match="allowed at most 1000"):
        work.flushed(work.Backflush(), work.Used(many, work.Made(1)), BackflushRule())


def test_what_an_operation_uses():
    operations = tuple(ImageOperation(number, "WC-1", Decimal(1)) for number in ("0010", "0020"))
    parts = tuple(Component(item, Decimal(1), "G", op) for item, op in (("A", "0010"), ("B", "0020"), ("C", "")))
    image = OrderImage("erp", "4711", 1, "CAP", "PC", Decimal(1), operations, components=parts)
    assert [one.item for one in work.components_of(image, "0010")] == ["A", "C"]
    assert [one.item for one in work.components_of(image, "0020")] == ["B"]


@pytest.mark.parametrize(
    ("plain", "text"),
    [
        ({"decimals": 7}, "decimals: found 7, allowed 0 to 6"),
        ({"unit_decimals": {"PC": -1}}, r"unit_decimals.PC: found -1"),
        ({"unit_decimals": {str(n): 0 for n in range(101)}}, "unit_decimals: found 101 entries"),
        ({"purge": {str(n): "1" for n in range(33)}}, "purge: found 33 entries"),
        ({"purge": {"X": "0"}}, 'purge.X: found "0", allowed more than "0"'),
        ({"purge": {"X": "much"}}, "purge.X: found 'much'"),
    ],
)
def test_rules_that_cannot_be(plain, text):
    with pytest.raises(ValueError, match=text):
        BackflushRule(**plain)


def test_two_lines_of_what_is_made_besides_are_told_alike_each_time():
    """The one that is reckoned once says how the other is told, too: not only in the first confirmation."""
    each = Component("A", Decimal(2), "G", kind=ComponentKind.CO_PRODUCT)
    once = each._replace(quantity=Decimal(1), fixed=True, lot_required=True, serialised=True)
    state, told = work.Backflush(), []
    for _ in range(2):
        state, lines = work.flushed(state, work.Used((each, once), work.Made(5)), BackflushRule())
        told += [(str(line.quantity), line.separate, line.lot_required) for line in lines]
    assert told == [("11.000", "serialised", True), ("10.000", "serialised", True)]
