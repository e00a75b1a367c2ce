"""Lots at a feeder: data/work_lots.txt case by case, and what holds for any scans and counts."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.rules_material import FeederRule, LotRule
from gateway.core.work import lots as work
from gateway.core.work.refused import WorkRefused
from gateway.core.work.rounding import Exact

TABLE = Path(__file__).parent / "data" / "work_lots.txt"
S_NS = 1_000_000_000
ONE = Exact(1)


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


def shown(uses):
    return ", ".join(f"{one.lot} {one.pieces} {one.quantity.fraction} {one.certainty}" for one in uses)


def told(notice):
    if notice.code == "LOT_MISSING":
        return f"missing {notice.amount.fraction}"
    return f"exhausted {notice.lot} {notice.amount.fraction} {notice.next_lot or '-'}"


class Bench:
    def __init__(self):
        self.feeder, self.uses = work.Feeder("F1", "X"), ()

    def scan(self, verb, lot, at, *more):
        if verb == "unmount":
            return work.unmount(self.feeder, lot, int(at) * S_NS)
        numbers = [word for word in more if word != "replace"]
        quantity = Exact.of(Fraction(numbers[0])) if numbers else None
        return work.mount(self.feeder, lot, "X", int(at) * S_NS, quantity=quantity, replace="replace" in more)

    def do(self, line):
        given_, _, expected = line.partition(" = ")
        verb, *words = given_.split()
        if verb in ("mount", "unmount"):
            self.feeder = self.scan(verb, *words)
            assert isinstance(self.feeder, work.Feeder), str(self.feeder)
            return
        if verb == "refused":
            found = self.scan(*words[1:])
            assert isinstance(found, WorkRefused), line
            assert found.code == words[0]
            assert all(found)
            return
        assert getattr(self, f"do_{verb}")(*words) == expected, line

    def do_draw(self, pieces, begin, end, *each):
        amount = Exact.of(Fraction(each[1])) if each else ONE
        draw = work.Draw(int(pieces), amount, int(begin) * S_NS, int(end) * S_NS)
        self.feeder, uses, notices = work.drawn(self.feeder, draw)
        self.uses = work.collected(self.uses, uses)
        return shown(uses) + (f" ! {', '.join(map(told, notices))}" if notices else "")

    def do_left(self, lot):
        (found,) = [one.remaining for one in self.feeder.lots if one.lot == lot]
        return "unknown" if found is None else str(found.fraction)

    def do_name(self, lot):
        self.uses = work.named(self.uses, "F1", lot)
        return shown(self.uses)

    def do_total(self):
        return shown(self.uses)

    def do_missing(self, at):
        found = work.missing(self.feeder, int(at) * S_NS, ONE, LotRule())
        return "no" if found is None else found.code


@pytest.mark.parametrize("lines", list(cases()))
def test_a_feeder(lines):
    bench = Bench()
    for line in lines:
        bench.do(line)
        assert work.feeder_from(json.loads(json.dumps(bench.feeder._asdict()))) == bench.feeder
        assert tuple(work.use_from(json.loads(json.dumps(one._asdict()))) for one in bench.uses) == bench.uses


def test_the_wrong_material():
    found = work.mount(work.Feeder("F1", "X"), "L1", "Y", 0)
    assert (found.code, found.found, found.allowed) == ("WRONG_ITEM", "item Y", "item X")
    assert "mount the right material" in str(found)


def test_a_feeder_is_bounded_and_forgets_what_was_taken_off():
    feeder = work.Feeder("F1", "X")
    for n in range(work.LOTS_PER_FEEDER_MAX):
        feeder = work.mount(feeder, f"L{n}", "X", n)
    assert work.mount(feeder, "L", "X", 99).code == "FEEDER_FULL"
    feeder = work.unmount(feeder, "L3", 99)
    feeder = work.mount(feeder, "L", "X", 100)
    assert [one.lot for one in feeder.lots if one.lot in ("L3", "L")] == ["L"]
    feeder = work.unmount(feeder, "L", 200)
    assert "L" in [one.lot for one in work.swept(feeder, 200).lots]
    assert "L" not in [one.lot for one in work.swept(feeder, 201).lots]


def test_uses_are_bounded():
    one = work.LotUse("F1", "X", "L", 1, ONE, 0, 1, work.Certainty.EXACT)
    many = [one._replace(lot=f"L{n}") for n in range(work.USES_MAX)]
    assert len(work.collected(many, [one._replace(lot="L0")])) == work.USES_MAX
    with pytest.raises(ValueError, match="confirm more often"):
        work.collected(many, [one])


def test_who_may_start_without_a_lot():
    feeder = work.Feeder("F1", "X")
    optional = {"F1": FeederRule(item="X", required=False)}
    assert work.missing(feeder, 0, ONE, LotRule(missing="flag")) is None
    assert work.missing(feeder, 0, ONE, LotRule(feeders=optional)) is None
    assert work.missing(feeder, 0, ONE, LotRule(feeders={"F1": FeederRule(item="X")})).code == "LOT_MISSING"
    little = work.mount(feeder, "L1", "X", 0, quantity=Exact(1, 2))
    assert work.missing(little, 0, ONE, LotRule()).code == "LOT_MISSING"
    assert work.missing(little, 0, Exact(1, 2), LotRule()) is None


def test_naming_what_is_known():
    assert work.named((), "F1", "L1").code == "NOTHING_UNKNOWN"
    use = work.LotUse("F1", "X", "UNKNOWN", 1, ONE, 0, 1, work.Certainty.ASSUMED)
    assert work.incomplete([use, use, use._replace(lot="L1", feeder="F2")]) == ("F1",)
    assert work.named([use], "F2", "L1").code == "NOTHING_UNKNOWN"


@pytest.mark.parametrize("draw", [work.Draw(-1, ONE, 0, 1), work.Draw(1, Exact(), 0, 1), work.Draw(1, ONE, 1, 0)])
def test_draws_that_cannot_be(draw):
    with pytest.raises(ValueError, match="allowed 0 pieces and above"):
        work.drawn(work.Feeder("F1", "X"), draw)


def test_a_told_quantity_by_lot():
    uses = [
        work.LotUse("F1", "X", "L1", 400, Exact(400), 0, 1, work.Certainty.EXACT),
        work.LotUse("F1", "X", "L2", 220, Exact(220), 0, 1, work.Certainty.EXACT),
        work.LotUse("F1", "X", "L1", 1, Exact(1), 0, 1, work.Certainty.INTERVAL),
    ]
    assert work.by_lot(Decimal("620.000"), 3, uses[:2]) == (("L1", Decimal("400.000")), ("L2", Decimal("220.000")))
    assert work.by_lot(Decimal("747.720"), 3, uses[:2]) == (("L1", Decimal("482.400")), ("L2", Decimal("265.320")))
    assert work.by_lot(Decimal(1), 0, uses) == (("L1", Decimal(1)),)
    assert work.by_lot(Decimal("0.5"), 1, []) == (("UNKNOWN", Decimal("0.5")),)
    with pytest.raises(ValueError, match="at most 0 decimals"):
        work.by_lot(Decimal("0.5"), 0, uses)


# -- any scans and counts -------------------------------------------------------------------------------------------

quantities = st.one_of(st.none(), st.fractions(Fraction(1, 10), 60, max_denominator=12))


@st.composite
def shifts(draw):
    """Scans in the order of time, and counts that may lie anywhere before the latest of them."""
    acts, at = [], 0
    for n in range(draw(st.integers(1, 14))):
        verb = draw(st.sampled_from(("mount", "unmount", "draw", "draw")))
        at += draw(st.integers(0, 50))
        if verb == "mount":
            acts.append(("mount", f"L{draw(st.integers(0, n))}", at, draw(quantities), draw(st.booleans())))
        elif verb == "unmount":
            acts.append(("unmount", f"L{draw(st.integers(0, n))}", at))
        else:
            begin = draw(st.integers(0, at))
            each = draw(st.fractions(Fraction(1, 10), 5, max_denominator=12))
            acts.append(("draw", draw(st.integers(0, 80)), Exact.of(each), begin, draw(st.integers(begin, at))))
    return acts


@given(shifts())
def test_the_sum_over_lots_is_what_was_used(acts):
    feeder, uses = work.Feeder("F1", "X"), ()
    brought, pieces, used = {}, 0, Fraction(0)
    for act in acts:
        if act[0] == "mount":
            quantity = None if act[3] is None else Exact.of(act[3])
            found = work.mount(feeder, act[1], "X", act[2], quantity=quantity, replace=act[4])
            if isinstance(found, work.Feeder):
                feeder = found
                brought.setdefault(act[1], []).append(act[3])
        elif act[0] == "unmount":
            found = work.unmount(feeder, act[1], act[2])
            feeder = found if isinstance(found, work.Feeder) else feeder
        else:
            before = feeder
            feeder, more, notices = work.drawn(feeder, work.Draw(*act[1:]))
            each = act[2].fraction
            assert sum(one.pieces for one in more) == act[1]
            assert sum(one.quantity.fraction for one in more) == (act[1] or 1) * each
            for one in more:
                # A piece is of one lot: each lot has whole pieces, and all that these take.
                assert one.quantity.fraction == one.pieces * each or not act[1]
                assert act[3] <= one.from_ns <= one.to_ns <= act[4]
                there = [lot.lot for lot in before.mounted_at(one.from_ns)]
                assert one.lot in there or one.lot == work.UNKNOWN_LOT
            assert sum(one.code == "LOT_MISSING" for one in notices) == any(one.lot == "UNKNOWN" for one in more)
            uses = work.collected(uses, more)
            pieces, used = pieces + act[1], used + (act[1] or 1) * each
    assert sum(one.pieces for one in uses) == pieces
    assert sum(one.quantity.fraction for one in uses) == used
    for lot, row in brought.items():
        taken = sum(one.quantity.fraction for one in uses if one.lot == lot)
        left = sum(one.remaining.fraction for one in feeder.lots if one.lot == lot and one.remaining is not None)
        assert all(one.remaining is None or one.remaining.fraction >= 0 for one in feeder.lots)
        if None not in row:
            assert taken + left == sum(row)


@given(shifts(), st.decimals(0, 10**6, places=3))
def test_a_told_quantity_is_shared_exactly(acts, quantity):
    feeder, uses = work.mount(work.Feeder("F1", "X"), "L", "X", 0, quantity=Exact(30)), ()
    for act in acts:
        if act[0] == "draw":
            feeder, more, _ = work.drawn(feeder, work.Draw(*act[1:]))
            uses = work.collected(uses, more)
    parts = work.by_lot(quantity, 3, uses)
    assert sum((part for _, part in parts), Decimal(0)) == quantity
    assert len({lot for lot, _ in parts}) == len(parts)
    assert all(part > 0 for _, part in parts) or not uses
