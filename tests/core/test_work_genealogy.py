"""Produced lots, serials and genealogy: data/work_genealogy.txt line by line, and what holds for any links."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.rules_material import ActivityRule, FeederRule, LotRule, WorkRule
from gateway.core.work import genealogy as work
from gateway.core.work.lots import Certainty, LotUse
from gateway.core.work.produced_lots import (
    LotFacts,
    ProducedLot,
    SerialAccepted,
    SerialHold,
    SerialRecord,
    produced_from,
    produced_lot,
    serial_read,
)
from gateway.core.work.refused import WorkRefused
from gateway.core.work.rounding import Exact

TABLE = Path(__file__).parent / "data" / "work_genealogy.txt"
SIGNS = {">": Certainty.EXACT, "~": Certainty.INTERVAL, "?": Certainty.ASSUMED}


def lines(*kinds):
    for line in TABLE.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind in kinds:
            before, _, expected = rest.rpartition(" =")
            head, _, wanted = before.rpartition(" :")
            yield pytest.param(kind, head.split(), wanted.split(), expected.strip(), id=" ".join(line.split()))


def node(name):
    return work.Tracked(work.TrackedKind.LOT, "X", name)


def link(text):
    return work.GenealogyLink(node(text[0]), node(text[2]), Exact(1), "G", "4711/0010/M1", 5, 6, SIGNS[text[1]])


@pytest.mark.parametrize(("kind", "head", "steps", "expected"), list(lines("lot")))
def test_a_produced_lot(kind, head, steps, expected):
    rule = LotRule(produced=head[0], lot_format=head[2] if head[1:2] == ["format"] else None)
    facts, now, names = LotFacts("4711", "0010", "M1", ""), ProducedLot(), []
    for step in steps:
        plain = dict(one.split("=") for one in step.split(","))
        if "mat" in plain:
            plain["materials"] = tuple(tuple(one.split("/")) for one in plain.pop("mat").split("+"))
        facts = facts._replace(**plain)
        found = produced_lot(now, facts, rule)
        if isinstance(found, WorkRefused):
            assert all(found)
            assert found.what_to_do in str(found)
            names.append(found.code)
            continue
        now = found
        names.append(now.lot)
        assert produced_from(json.loads(json.dumps(now._asdict()))) == now
    assert " ".join(names) == expected


@pytest.mark.parametrize(("kind", "head", "wanted", "expected"), list(lines("serial")))
def test_a_serial(kind, head, wanted, expected):
    earlier = [SerialRecord("X", "S1", *one.split("/"), 7) for one in head]
    strange = [SerialRecord("X", "S2", "4711", "0010", 7), SerialRecord("Y", "S1", "4711", "0010", 7)]
    record = SerialRecord("X", "S1", *wanted[0].split("/"), 9)
    found = serial_read(record, [*strange, *earlier], rework="rework" in wanted)
    if isinstance(found, SerialHold):
        assert found.code == expected
        assert found.earlier in earlier
        assert "look at both pieces" in str(found)
        return
    assert found == SerialAccepted(record, first_pass=expected == "first")
    assert SerialRecord(**json.loads(json.dumps(record._asdict()))) == record


@pytest.mark.parametrize("serial", ["", "  ", "a\x00b", "x" * 81])
def test_a_serial_that_cannot_be_read(serial):
    found = serial_read(SerialRecord("X", serial, "4711", "0010", 9), [])
    assert isinstance(found, WorkRefused)
    assert found.code == "SERIAL_NAME"


@pytest.mark.parametrize(("kind", "head", "wanted", "expected"), list(lines("used", "from")))
def test_a_trace(kind, head, wanted, expected):
    links = [link(text) for text in head]
    trace = (work.where_used if kind == "used" else work.where_from)(links, node(wanted[0]))
    assert ", ".join(f"{one.node.number}@{one.depth} {one.certainty}" for one in trace.reached) == expected
    assert trace.complete
    assert {one.node for one in trace.reached} | {trace.start} >= {end for one in trace.links for end in one[:2]}


@pytest.mark.parametrize(("kind", "head", "wanted", "expected"), list(lines("link")))
def test_one_more_link(kind, head, wanted, expected):
    links = tuple(link(text) for text in head)
    found = work.linked(links, link(wanted[0]))
    if isinstance(found, WorkRefused):
        assert found.code == expected
        assert all(found)
        return
    assert (found, expected) == ((*links, link(wanted[0])), "ok")


def test_the_same_again_is_one_link():
    first = link("A>B")
    more = first._replace(quantity=Exact(1, 3), from_ns=3, to_ns=9)
    (both,) = work.linked((first,), more)
    assert both == first._replace(quantity=Exact(4, 3), from_ns=3, to_ns=9)
    assert work.link_from(json.loads(json.dumps(both._asdict()))) == both
    for other in (first._replace(run="4711/0010/M2"), link("A~B"), first._replace(uom="KG")):
        assert work.linked((first,), other) == (first, other)


@pytest.mark.parametrize(
    "over",
    [{"quantity": Exact()}, {"to_ns": 4}, {"child": node("UNKNOWN")}, {"child": node("")}, {"parent": node("")}],
)
def test_links_that_cannot_be(over):
    found = work.linked((), link("A>B")._replace(**over))
    assert isinstance(found, WorkRefused)
    assert found.code == "LINK_VALUE"


def test_from_lots_to_the_product():
    uses = [
        LotUse("F1", "GRAN", "L1", 400, Exact(400), 0, 9, Certainty.EXACT),
        LotUse("F1", "GRAN", "UNKNOWN", 20, Exact(20), 9, 10, Certainty.ASSUMED),
    ]
    child = work.Tracked(work.TrackedKind.LOT, "CAP", "4711")
    unit = work.Tracked(work.TrackedKind.HANDLING_UNIT, "", "PAL-1")
    links = ()
    for one in work.links_of(uses, child, "4711/0010/M1", {"GRAN": "G"}):
        links = work.linked(links, one)
    links = work.linked(links, work.GenealogyLink(child, unit, Exact(420), "PC", "pack", 10, 11, Certainty.EXACT))
    trace = work.where_used(links, work.Tracked(work.TrackedKind.LOT, "GRAN", "L1"))
    assert [str(one.node) for one in trace.reached] == ["lot 4711 of CAP", "handling_unit PAL-1"]
    back = work.where_from(links, unit)
    assert [(one.node.number, one.certainty.value) for one in back.reached] == [
        ("4711", "exact"),
        ("L1", "exact"),
        ("UNKNOWN", "assumed"),
    ]
    assert {one.uom for one in work.links_of(uses, child, "4711/0010/M1", {})} == {""}


def test_a_set_of_links_is_bounded(monkeypatch):
    monkeypatch.setattr(work, "LINKS_MAX", 2)
    links = (link("A>B"), link("B>C"))
    assert work.linked(links, link("C>D")).code == "GENEALOGY_FULL"
    assert len(work.linked(links, link("A>B"))) == 2


@pytest.mark.parametrize(("most", "complete"), [(4, False), (5, True), (6, True)])
def test_a_trace_is_bounded_and_says_so(monkeypatch, most, complete):
    monkeypatch.setattr(work, "NODES_MAX", most)
    links = [link("A>B"), link("B>C"), link("C>D"), link("B>E"), link("D>F")]
    trace = work.where_used(links, node("A"))
    assert ([one.node.number for one in trace.reached], trace.complete) == (list("BCEDF")[:most], complete)
    assert all(one.child.number in "BCEDF"[:most] for one in trace.links)


# -- any links ------------------------------------------------------------------------------------------------------

texts = st.lists(
    st.tuples(st.sampled_from("ABCDEFG"), st.sampled_from(">~?"), st.sampled_from("ABCDEFG")),
    max_size=25,
)


def closure(links, worst):
    """Pairs that are connected by links of at least this certainty, by brute force."""
    pairs = {(one.parent, one.child) for one in links if list(Certainty).index(one.certainty) <= worst}
    while True:
        more = {(a, d) for a, b in pairs for c, d in pairs if b == c} - pairs
        if not more:
            return pairs
        pairs |= more


@given(texts)
def test_links_never_close_a_cycle_and_lead_both_ways(row):
    links, refused = (), []
    for parts in row:
        found = work.linked(links, link("".join(parts)))
        if isinstance(found, WorkRefused):
            refused.append(link("".join(parts)))
        else:
            links = found
    assert work.cycle_in(links) == ()
    for one in refused:
        way = work.cycle_in((*links, one))
        assert way[0] == way[-1]
        pairs = {(each.parent, each.child) for each in (*links, one)}
        assert all(pair in pairs for pair in itertools.pairwise(way))
    levels = [closure(links, worst) for worst in range(3)]
    for name in "ABCDEFG":
        for act, end in ((work.where_used, 0), (work.where_from, 1)):
            trace = act(links, node(name))
            for worst, certainty in enumerate(Certainty):
                expected = {pair[1 - end] for pair in levels[worst] if pair[end] == node(name)}
                sure = [one for one in trace.reached if list(Certainty).index(one.certainty) <= worst]
                assert {one.node for one in sure} == expected, certainty
            on_the_way = {one.node for one in trace.reached} | {trace.start}
            assert set(trace.links) == {one for one in links if one[end] in on_the_way}
            depths = {trace.start: 0} | {one.node: one.depth for one in trace.reached}
            for one in trace.links:
                near, far = (one.parent, one.child) if end == 0 else (one.child, one.parent)
                assert depths[far] <= depths[near] + 1
        assert {one.node for one in work.where_used(links, node(name)).reached} == {
            other
            for other in map(node, "ABCDEFG")
            if node(name) in {one.node for one in work.where_from(links, other).reached}
        }


# -- the rules ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "text"),
    [
        ({"feeders": {"F1": FeederRule(item="X"), "F2": FeederRule(item="X")}}, "feeders: X is at two feeders"),
        ({"feeders": {str(n): FeederRule(item=str(n)) for n in range(33)}}, "feeders: found 33, allowed at most 32"),
        ({"produced": "erp", "lot_format": "{order}"}, "the ERP names the lot"),
        ({"lot_format": "{order}" + "x" * 80}, "found 87 characters, allowed at most 80"),
        ({"lot_format": "{order"}, "which is no format"),
        ({"lot_format": "{order}{week}"}, r"allowed \{day\}"),
        ({"lot_format": "{order!r}"}, r"allowed \{day\}"),
        ({"lot_format": "{order:>9}"}, r"allowed \{day\}"),
        ({"lot_format": "{}{order}"}, r"allowed \{day\}"),
        ({"lot_format": "{day}"}, r"without \{order\}: two lots would have one name"),
        ({"produced": "shift", "lot_format": "{order}{day}"}, r"without \{shift\}"),
        ({"produced": "material_change", "lot_format": "{order}"}, r"without \{n\}"),
    ],
)
def test_rules_that_cannot_be(plain, text):
    with pytest.raises(ValueError, match=text):
        LotRule(**plain)


def test_the_usual_rules():
    assert WorkRule() == WorkRule(times=ActivityRule(machine_time_basis="busy"))
    assert LotRule(produced="shift", lot_format="{order}.{day}.{shift}").format == "{order}.{day}.{shift}"
