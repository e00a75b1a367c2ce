"""Splits, merges, distribution: data/order_split_merge.txt line by line, and what holds for any of them."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import JobOrderState
from gateway.core.orders.distribution import (
    ORIGINALS_MAX,
    Original,
    Shares,
    distribute,
    nothing_given,
)
from gateway.core.orders.order_image import Component, ImageOperation, OrderImage
from gateway.core.orders.split_merge import (
    Child,
    DivisionRefused,
    MergeMember,
    MergePlan,
    SplitPlan,
    SplitRequest,
    child_image,
    merge,
    split,
)

TABLE = Path(__file__).parent / "data" / "order_split_merge.txt"
S = JobOrderState
HOWS = ("by_open_qty", "sequential_by_due_date", "fixed_ratio")


def lines(kind):
    for line in TABLE.read_text().splitlines():
        if line.startswith(f"{kind} "):
            given, _, expected = line.removeprefix(kind).rpartition(" = ")
            yield pytest.param(given.strip(), expected.strip(), id=" ".join(given.split()))


@pytest.mark.parametrize(("given_", "expected"), list(lines("split")))
def test_a_split(given_, expected):
    head, _, wanted = given_.partition(":")
    state, quantity, _, made, *rest = head.split()
    taken = tuple(rest[1:]) if rest[:1] == ["taken"] else ()
    held_from = S(rest[1]) if rest[:1] == ["from"] else None
    quantities = tuple(Decimal(one) for one in wanted.split())
    plan = split(SplitRequest("4711", S(state), Decimal(quantity), Decimal(made), quantities, taken, held_from))
    if isinstance(plan, DivisionRefused):
        assert plan.code == expected
        assert all(plan)
        assert plan.what_to_do in str(plan)
        return
    assert ", ".join(f"{one.order} {one.quantity}" for one in plan.children) == expected
    assert {one.parent for one in plan.children} == {"4711"}
    assert plan.parent_keeps == Decimal(made)


@pytest.mark.parametrize(("given_", "expected"), list(lines("merge")))
def test_a_merge(given_, expected):
    how, *orders = given_.split()
    members = []
    for text in orders:
        name, _, rest = text.partition("=")
        state, product, revision, unit, open_pieces, *ratio = rest.split("/")
        members.append(
            MergeMember(name, S(state), product, revision, unit, int(open_pieces), None, *(int(one) for one in ratio))
        )
    plan = merge("L-1", members, how)
    if isinstance(plan, DivisionRefused):
        assert plan.code == expected
        assert all(plan)
        return
    assert (plan.leader, plan.open_pieces, plan.how) == ("L-1", int(expected), how)
    assert [one.order for one in plan.originals] == [one.order for one in members]
    assert plan.on_hold == tuple(one.order for one in members if one.state is S.ON_HOLD)


@pytest.mark.parametrize(("given_", "expected"), list(lines("share")))
def test_a_distribution(given_, expected):
    head, _, parts = given_.partition(":")
    how, *orders = head.split()
    originals = []
    for text in orders:
        name, _, rest = text.partition("=")
        rest, _, ratio = rest.partition("*")
        open_pieces, _, due = rest.partition("@")
        originals.append(Original(name, int(open_pieces), int(due) if due else None, int(ratio or 1)))
    shares = nothing_given(originals)
    for pieces in parts.split():
        shares = distribute(int(pieces), originals, shares, how)
    assert shares.given == tuple(int(one) for one in expected.split())


def test_the_leader_is_a_new_order():
    members = [MergeMember(name, S.RELEASED, "CAP", "", "PC", 5) for name in "AB"]
    refused = merge("X", members, "by_open_qty", taken={"X"})
    assert isinstance(refused, DivisionRefused)
    assert refused.code == "LEADER_NAME"
    assert isinstance(merge("X", members, "by_open_qty"), MergePlan)


def test_the_image_of_a_child():
    operations = tuple(ImageOperation(number, "WC-1", Decimal(100)) for number in ("0010", "0020"))
    parts = (Component("GRAN", Decimal(1), "G", "0010"), Component("LID", Decimal(1), "PC", "0020"))
    whole = Component("BOX", Decimal(1), "PC")
    image = OrderImage("erp", "4711", 3, "CAP", "PC", Decimal(100), operations, components=(*parts, whole))
    child = child_image(image, Child("4711-001", "4711", Decimal(65)), "0020")
    assert (child.order, child.quantity, child.revision) == ("4711-001", Decimal(65), 3)
    found = [(one.operation, one.quantity) for one in child.operations]
    assert found == [("0010", Decimal(100)), ("0020", Decimal(65))]
    assert child.components == (*parts, whole), "what the first operation uses is not used again"
    with pytest.raises(ValueError, match="found 0030, allowed one of order 4711"):
        child_image(image, Child("4711-001", "4711", Decimal(65)), "0030")


# --- what always holds -----------------------------------------------------------------------------------------------

AMOUNTS = st.integers(1, 10**9).map(lambda number: Decimal(number) / 1000)


@given(st.lists(AMOUNTS, min_size=1, max_size=12), AMOUNTS)
def test_children_get_exactly_what_remains(wanted, made):
    plan = split(SplitRequest("1", S.INTERRUPTED, made + sum(wanted), made, tuple(wanted)))
    assert isinstance(plan, SplitPlan)
    assert plan.parent_keeps + sum(one.quantity for one in plan.children) == made + sum(wanted)
    assert len({one.order for one in plan.children}) == len(wanted)
    less = SplitRequest("1", S.INTERRUPTED, made + sum(wanted) + Decimal("0.001"), made, tuple(wanted))
    assert isinstance(split(less), DivisionRefused)


ORIGINALS = st.lists(
    st.builds(
        Original,
        order=st.text("ABC", max_size=3),
        open_pieces=st.integers(0, 60) | st.integers(0, 3),
        due_ns=st.none() | st.integers(0, 4),
        ratio=st.integers(1, 5) | st.integers(1, 100),
    ),
    min_size=1,
    max_size=8,
)
PARTS = st.lists(st.integers(0, 3) | st.integers(0, 90), max_size=12)


@given(ORIGINALS, PARTS, st.sampled_from(HOWS))
def test_distribution_in_parts(originals, parts, how):
    """Exact, never back, nobody above what is open while another is not full, one piece from all at once."""
    caps = [one.open_pieces for one in originals]
    shares = nothing_given(originals)
    for pieces in parts:
        before = shares
        shares = distribute(pieces, originals, before, how)
        assert shares == distribute(pieces, originals, before, how)
        assert shares.total == before.total + pieces
        assert all(now >= then for now, then in zip(shares.given, before.given, strict=True))
        if shares.total <= sum(caps):
            assert all(now <= cap for now, cap in zip(shares.given, caps, strict=True))
        else:
            assert all(now >= cap for now, cap in zip(shares.given, caps, strict=True))
        at_once = distribute(shares.total, originals, nothing_given(originals), how)
        assert max(abs(one - other) for one, other in zip(shares.given, at_once.given, strict=True)) <= 1
        if shares.total == sum(caps) or how == "sequential_by_due_date":
            assert shares == at_once


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=10), st.integers(0, 10_000))
def test_one_distribution_rounds_every_share_up_or_down(caps, pieces):
    originals = [Original(str(number), cap) for number, cap in enumerate(caps)]
    shares = distribute(pieces, originals, nothing_given(originals), "by_open_qty")
    if sum(caps):
        remainders = []
        for cap, share in zip(caps, shares.given, strict=True):
            whole, rest = divmod(cap * pieces, sum(caps))
            assert share in (whole, whole + bool(rest))
            remainders.append((rest, share > whole))
        up = [rest for rest, raised in remainders if raised]
        down = [rest for rest, raised in remainders if not raised]
        assert not up or not down or min(up) >= max(down)


def test_many_pieces_are_quick():
    originals = [Original(str(number), 10**9) for number in range(ORIGINALS_MAX)]
    shares = distribute(10**10 + 7, originals, nothing_given(originals), "by_open_qty")
    assert shares.total == 10**10 + 7
    assert max(shares.given) - min(shares.given) == 1


def test_an_original_that_has_far_too_much_keeps_it():
    """Such as after reversals: nothing is taken back, and the others get what comes."""
    originals = [Original("A", 10**9), Original("B", 10**9)]
    shares = distribute(10, originals, Shares((10**8, 0)), "by_open_qty")
    assert shares.given == (10**8, 10)


def test_shares_survive_json():
    shares = distribute(7, [Original("A", 5), Original("B", 9)], Shares((0, 0)), "by_open_qty")
    stored = json.loads(json.dumps(shares._asdict()))
    assert Shares(tuple(stored["given"])) == shares


@pytest.mark.parametrize(
    ("pieces", "originals", "shares", "reason"),
    [
        (-1, [Original("A", 5)], Shares((0,)), "pieces: found -1, allowed 0 and above"),
        (1, [], Shares(()), "originals: found 0, allowed 1 to 50"),
        (1, [Original("A", 5)] * 51, Shares((0,) * 51), "originals: found 51, allowed 1 to 50"),
        (1, [Original("A", 5)], Shares((0, 0)), "allowed one from 0 on for each of 1 originals"),
        (1, [Original("A", 5)], Shares((-1,)), "allowed one from 0 on for each of 1 originals"),
        (1, [Original("A", -5)], Shares((0,)), "found open pieces below 0"),
        (1, [Original("A", 5, ratio=0)], Shares((0,)), "found open pieces below 0 or a ratio below 1"),
    ],
)
def test_what_cannot_be_distributed(pieces, originals, shares, reason):
    with pytest.raises(ValueError, match=reason):
        distribute(pieces, originals, shares, "by_open_qty")
