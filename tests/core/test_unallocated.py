"""Pieces of no order: data/unallocated_cases.txt case by case, and that none of them is lost; who counts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.confirming.quantities import Pieces, total_of
from gateway.core.duration import Duration
from gateway.core.model import CountEvent, Role
from gateway.core.orders.attribution import Dating, PastOrders, Share, shares
from gateway.core.orders.counting_source import Booked, CountingSource, CountRefused, Observed, judged, may_change
from gateway.core.orders.unallocated import (
    AllocationRefused,
    AllocationRequest,
    Bucket,
    Found,
    NextOrder,
    PreviousOrder,
    add,
    allocate,
    by_policy,
    restored,
    review_of,
)
from gateway.core.rules_confirming import UnallocatedRule

TABLE = Path(__file__).parent / "data" / "unallocated_cases.txt"
MIN = Duration("1 min")


def minute(text):
    hours, minutes = map(int, text.split(":"))
    return (hours * 60 + minutes) * MIN


def span(text):
    return tuple(minute(part) for part in text.split("-"))


def clock(t_ns):
    return f"{t_ns // MIN // 60:02}:{t_ns // MIN % 60:02}"


def options(words):
    return dict(word.split("=", 1) for word in words)


def cases():
    for block in TABLE.read_text().split("\ncase ")[1:]:
        name, *lines = block.splitlines()
        yield pytest.param([line.split() for line in lines if line.strip()], id=name)


class Floor:
    """One machine's bucket, taken through the lines of a case."""

    def __init__(self):
        self.rule = UnallocatedRule()
        self.bucket = Bucket()
        self.given = []
        self.refused = None

    def take(self, word, *rest):
        if word in {"found", "asks", "begins", "before"}:
            assert not self.given, "every allocation is told"
            assert self.refused is None
        getattr(self, word)(*rest)

    def found(self, times, pieces, role, *words):
        more = {"signal": "plc.good"} | options(words)
        t_from, t_to = span(times)
        estimated = int(more.pop("estimated", 0))
        found = Found(role=Role(role), pieces=int(pieces), t_from_ns=t_from, t_to_ns=t_to, estimated=estimated, **more)
        self.bucket = add(self.rule, self.bucket, found)

    def asks(self, at, pieces, role, order, *words):
        more = options(words)
        request = AllocationRequest(
            at_ns=minute(at),
            who=more.get("who", "ann"),
            order=order.replace("-", ""),
            operation="0010" if order != "-" else "",
            product=more.get("product", "P"),
            pieces=int(pieces),
            role=Role(role),
            role_to=Role(more["as"]) if "as" in more else None,
            numbers=tuple(map(int, more["of"].split("+"))) if "of" in more else (),
            reason=more.get("reason", ""),
        )
        done = allocate(self.bucket, request)
        if isinstance(done, AllocationRefused):
            self.refused = done
        else:
            self.bucket, allocations = done
            self.given = list(allocations)
            assert all(one.by == "ann" and one.at_ns == minute(at) for one in allocations)

    def begins(self, at, order, *words):
        more = options(words)
        room = int(more["room"]) if "room" in more else None
        self.policy(minute(at), NextOrder(order, "0010", more["product"], minute(at), room), None)

    def before(self, at, order, *words):
        more = options(words)
        self.policy(minute(at), None, PreviousOrder(order, "0010", more["product"], minute(at), int(more["room"])))

    def policy(self, at_ns, follows, before):
        self.bucket, allocations = by_policy(self.rule, self.bucket, at_ns, follows, before)
        self.given = list(allocations)
        assert all(one.by == self.rule.policy for one in allocations)

    def gives(self, order, pieces, role, times, *words):
        more = options(words)
        one = self.given.pop(0)
        found = (one.order or "-", one.what.pieces, one.role_to, one.what.t_from_ns, one.what.t_to_ns)
        assert found == (order, int(pieces), Role(role), *span(times))
        assert one.what.estimated == int(more.get("estimated", 0))
        assert one.reason == more.get("reason", "")
        assert one.operation == ("" if order == "-" else "0010")

    def refuses(self, code):
        assert self.refused is not None
        assert self.refused.code == code
        assert self.refused.what_to_do in str(self.refused)
        self.refused = None

    def left(self, text):
        assert "/".join(map(str, self.bucket.left)) == text

    def sums(self, allocated, scrapped):
        assert "/".join(map(str, self.bucket.allocated)) == allocated
        assert "/".join(map(str, self.bucket.scrapped)) == scrapped

    def entries(self, number):
        assert len(self.bucket.entries) == int(number)

    def holds(self, number, pieces, role, times, *words):
        more = options(words)
        one = next(one for one in self.bucket.entries if one.number == int(number))
        assert (one.what.pieces, one.what.role) == (int(pieces), Role(role))
        assert f"{clock(one.what.t_from_ns)}-{clock(one.what.t_to_ns)}" == times
        assert one.merged == int(more.get("merged", 0))
        if one.merged:
            assert (one.what.product, one.what.lot, one.what.tool) == (more.get("product", ""), "", "")


@pytest.mark.parametrize("lines", list(cases()))
def test_a_case(lines):
    floor = Floor()
    for word, *rest in lines:
        if word == "rule":
            lengths = {"within", "join_within"}
            floor.rule = UnallocatedRule(
                **{
                    key: Duration(value) if key in lengths else int(value) if key == "entries_max" else value
                    for key, value in options(rest).items()
                }
            )
        else:
            floor.take(word, *rest)
    assert not floor.given, "every allocation is told"
    assert floor.refused is None, "every refusal is told"
    bucket = floor.bucket
    assert bucket.received == bucket.allocated.plus(bucket.scrapped).plus(bucket.left)


def test_every_refusal_has_a_case():
    told = set(re.findall(r"^  refuses (\w+)", TABLE.read_text(), re.MULTILINE))
    source = Path(allocate.__code__.co_filename).read_text()
    assert told == set(re.findall(r'AllocationRefused\("(\w+)"', source))


FOUND = st.builds(
    Found,
    st.sampled_from(["a", "b"]),
    st.sampled_from(Role),
    st.integers(1, 9),
    st.integers(0, 60).map(lambda minutes: minutes * MIN),
    st.integers(60, 90).map(lambda minutes: minutes * MIN),
    *[st.sampled_from(["", "P", "Q"])] * 3,
    st.integers(0, 1),
)
REQUESTS = st.builds(
    AllocationRequest,
    st.just(0),
    st.just("ann"),
    st.sampled_from(["A", "A", ""]),
    st.just("0010"),
    st.sampled_from(["P", "Q"]),
    st.integers(1, 12),
    st.sampled_from(Role),
    st.none() | st.sampled_from(Role),
    st.just(()) | st.just(()) | st.tuples(st.integers(1, 9)),
    st.sampled_from(["because", ""]),
)
MOMENTS = st.integers(0, 100).map(lambda minutes: minutes * MIN)
FOLLOWS = st.builds(
    NextOrder, st.just("N"), st.just("0010"), st.sampled_from("PQ"), MOMENTS, st.none() | st.integers(0, 20)
)
BEFORE = st.builds(PreviousOrder, st.just("L"), st.just("0010"), st.sampled_from("PQ"), MOMENTS, st.integers(0, 20))
POLICIES = ["ask", "to_next_order_if_same_product_within", "to_previous_if_within_tolerance", "scrap_as_setup"]


@given(
    st.sampled_from(POLICIES),
    st.integers(8, 12),
    st.lists(st.one_of(FOUND, FOUND, FOUND, REQUESTS, st.tuples(FOLLOWS, BEFORE)), max_size=40),
)
def test_what_came_in_was_allocated_scrapped_or_is_left(policy, most, steps):
    rule = UnallocatedRule(policy=policy, entries_max=most, within=Duration("30 min"))
    bucket, received, gone = Bucket(), Pieces(), []
    for step in steps:
        before, done = bucket, ()
        if isinstance(step, Found):
            bucket = add(rule, bucket, step)
            received = received.plus(Pieces.of(step.role, step.pieces))
        elif isinstance(step, AllocationRequest):
            result = allocate(bucket, step)
            if isinstance(result, AllocationRefused):
                continue
            bucket, done = result
            assert sum(one.what.pieces for one in done) == step.pieces
        else:
            bucket, done = by_policy(rule, bucket, 0, *step)
        gone.extend(done)
        taken = total_of(Pieces.of(one.what.role, one.what.pieces) for one in done)
        if done:
            assert bucket.left == before.left.minus(taken)
        assert bucket.received == received == bucket.allocated.plus(bucket.scrapped).plus(bucket.left)
        assert total_of(Pieces.of(one.what.role, one.what.pieces) for one in gone).plus(bucket.left) == received
        assert min(bucket.allocated) >= 0
        assert min(bucket.scrapped) >= 0
        assert len(bucket.entries) <= most
        numbers = [one.number for one in bucket.entries]
        assert numbers == sorted(set(numbers))
        assert all(0 <= one.what.estimated <= one.what.pieces for one in bucket.entries)
        assert all(one.what.pieces > 0 for one in bucket.entries)
        assert restored(json.loads(json.dumps(bucket._asdict()))) == bucket
    for one in gone:
        assert one.order or one.role_to is Role.SCRAP
        assert one.what.t_from_ns <= one.what.t_to_ns
    scrapped = [one for one in gone if not one.order or (one.role_to is Role.SCRAP and one.what.role is not Role.SCRAP)]
    assert total_of(Pieces.of(one.what.role, one.what.pieces) for one in scrapped) == bucket.scrapped


def test_the_age_is_that_of_the_oldest_piece():
    bucket = Bucket()
    assert bucket.age_ns(5) is None
    for t_from in (100, 50):
        bucket = add(UnallocatedRule(join_within=Duration(0)), bucket, Found("a", Role.GOOD, 1, t_from, t_from))
    assert bucket.age_ns(170) == 120
    assert bucket.age_ns(20) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        Found("a", Role.GOOD, 0, 0, 1),
        Found("a", Role.GOOD, -1, 0, 1),
        Found("a", Role.GOOD, 1, 2, 1),
        Found("a", Role.GOOD, 1, 0, 1, estimated=2),
    ],
)
def test_pieces_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="unallocated: found Found"):
        add(UnallocatedRule(), Bucket(), wrong)


@pytest.mark.parametrize("most", [7, 1001])
def test_a_bucket_that_cannot_be_kept(most):
    with pytest.raises(ValueError, match=f"entries_max: found {most}, allowed 8 to 1000"):
        UnallocatedRule(entries_max=most)


# --- shared by time --------------------------------------------------------------------------------------------------


def test_golden_o11_a_change_while_the_link_was_down():
    """300 pieces in ten minutes without a link, the order changed after four: a person looks at it."""
    past = PastOrders().after(("A", "0010"), 4 * MIN, 0)
    event = CountEvent("plc.good", 300, 0, 10 * MIN, "OK", estimated=True)
    _, found = shares(past, event, 300, 300, dating=Dating.READINGS, stop_ns=MIN, running=("B", "0010"))
    task = review_of(event, found, ("B", "0010"))
    assert task.parts == (("A", "0010", 120), ("B", "0010", 180))
    assert (task.signal, task.t_from_ns, task.t_to_ns) == ("plc.good", 0, 10 * MIN)
    assert "120 to A, 180 to B" in str(task)
    assert all(one.estimated for one in found)


def test_nobody_looks_at_what_is_sure():
    event = CountEvent("plc.good", 3, 0, MIN, "OK")
    assert review_of(event, [Share(None, 3, 3)], ("B", "0010")) is None
    task = review_of(event, [Share(("A", "0010"), 1, 1, estimated=True), Share(None, 2, 2, estimated=True)], None)
    assert task.parts == (("A", "0010", 1), ("", "", 2))
    assert "2 to nobody" in str(task)


# --- who counts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "told_by", "expected"),
    [
        ("machine", "machine", Booked(5)),
        ("machine", "operator", "COUNTED_BY_MACHINE"),
        ("operator", "operator", Booked(5)),
        ("operator", "machine", Observed(5)),
    ],
)
def test_machine_and_operator_never_both_count(source, told_by, expected):
    found = judged(CountingSource(source), CountingSource(told_by), 5)
    if isinstance(found, CountRefused):
        assert found.code == expected
        assert found.what_to_do in str(found)
    else:
        assert found == expected
        assert type(found) is type(expected)


@given(st.sampled_from(CountingSource), st.lists(st.tuples(st.sampled_from(CountingSource), st.integers(0, 99))))
def test_booked_is_what_one_of_them_told(source, told):
    booked = sum(one.pieces for who, pieces in told if isinstance(one := judged(source, who, pieces), Booked))
    assert booked == sum(pieces for who, pieces in told if who is source)


def test_the_source_changes_before_the_first_piece_only():
    assert may_change(0)
    assert not may_change(1)


def test_a_negative_number_is_nobodys():
    with pytest.raises(ValueError, match="pieces: found -1, allowed 0 and above"):
        judged(CountingSource.MACHINE, CountingSource.MACHINE, -1)
