"""Notices to an ERP: what of a step is told, once and whole; the document as the page about it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema_rs
import pytest

from gateway.connectors.canonical_json import written
from gateway.connectors.file.settings import FileSettings
from gateway.connectors.mqtt.settings import MqttTargetSettings
from gateway.connectors.rest.settings import RestSettings
from gateway.core import document as canonical
from gateway.core.duration import Duration
from gateway.core.entries import AllocateEntry, ReclassifyEntry, StandingHoldEntry
from gateway.core.model import OperatorEntry, OperatorVerb, Role
from gateway.core.orders import erp_notice
from gateway.core.orders.erp_notice import LISTED_MAX, NoticeType
from gateway.core.orders.noticed import GROWING_NS, notices_of
from gateway.core.orders.standing_holds import HoldScope
from gateway.core.rules import OrderRule
from gateway.core.rules_orders import GuardRule

PAGE = Path(erp_notice.__file__).parents[2] / "connectors" / "NOTICES.md"
SCHEMA = json.loads(PAGE.with_name("notice.schema.json").read_text())
REPORT = {
    "compared": 3, "counts": {"UNDERBOOKED": 1}, "left_out": 2, "not_compared": ["order 9: who knows"],
    "findings": [
        {
            "code": "UNDERBOOKED", "order": "4711", "operation": "0010", "text": "less", "proposed": "resend",
            "keys": ["k"], "difference": {"good": "-2", "scrap": "0", "rework": "0"}, "identity": "i", "settled": None,
        }
    ] * (LISTED_MAX + 1),
}  # fmt: skip


class Told:
    """A rig whose every step is held against what there is to tell of it."""

    def __init__(self, floor):
        self.floor = floor
        self.all = []

    def __call__(self, act):
        """What this step tells, as (type, event, detail)."""
        before, said = self.floor.state, len(self.floor.said)
        act(self.floor)
        found = notices_of(before, self.floor.said[said:], self.floor.state)
        self.all += found
        return [(one.type.value, one.event, dict(one.detail)) for one in found if not one.again]

    @property
    def offered_again(self):
        """The sums of what grew, offered where nothing came."""
        return [one.detail["waiting"]["good"] for one in self.all if one.again]


def reclassify(floor, pieces, to=Role.SCRAP, reason="crack"):
    floor.put(ReclassifyEntry(floor.now_ns, "4711", "0010", pieces, Role.GOOD, to, reason, "eve"))


def test_each_change_of_state_is_told_with_where_it_came_from(rig):
    told = Told(rig(orders=OrderRule(choose="command")))
    steps = [
        told(lambda floor: floor.order("4711", 100)),
        told(lambda floor: floor.says("start", "4711")),
        told(lambda floor: floor.make(3)),
        told(lambda floor: floor.says("confirm", "4711")),
        told(lambda floor: floor.at("10 s").says("interrupt", "4711")),
        told(lambda floor: floor.says("finish", "4711")),
    ]
    states = [[(one[2]["previous_state"], one[2]["state"]) for one in step if one[0] == "status"] for step in steps]
    assert states[0][0][0] is None, "it was not known before"
    path = [pair for step in states for pair in step]
    assert [after for _, after in path[:-1]] == [before for before, _ in path[1:]], "no change is left out"
    assert [after for _, after in path[-3:]] == ["IN_PROGRESS", "INTERRUPTED", "COMPLETED"]
    assert states[2] == states[3] == [], "numbers that change are a confirmation's"
    assert all(one.job.order == "4711" and one.at_utc_ns <= one.made_utc_ns for one in told.all)


def test_a_hold_its_end_a_judgement_and_the_first_article_are_quality(rig):
    told = Told(
        rig(orders=OrderRule(choose="command", first_article="always", guards=GuardRule(first_article="block")))
    )
    told(lambda floor: floor.order("4711", 100))
    told(lambda floor: floor.says("start", "4711"))
    (approved,) = [
        one for one in told(lambda floor: floor.says("approve-first-article", "4711")) if one[0] == "quality"
    ]
    assert (approved[1], approved[2]["who"]) == ("first_article_approved", "ann")
    told(lambda floor: floor.make(0))
    told(lambda floor: floor.at("10 s").make(5))
    (judged,) = told(lambda floor: reclassify(floor, 2))
    assert judged[:2] == ("quality", "judged")
    named = {name: value for name, value in judged[2].items() if value is not None}
    assert named == {"pieces": "2", "judged_from": "good", "judged_to": "scrap", "reason": "crack", "who": "eve"}
    assert told(lambda floor: reclassify(floor, 99)) == [], "what is refused is not told"
    held = told(lambda floor: floor.says("hold", "4711", reason="odour"))
    assert [one[:2] for one in held] == [("status", "state_changed"), ("quality", "held")]
    assert (held[1][2]["state"], held[1][2]["reason"], held[1][2]["who"]) == ("ON_HOLD", "odour", "ann")
    ended = told(lambda floor: floor.says("release", "4711", reason="aired"))
    assert [one[:2] for one in ended if one[0] == "quality"] == [("quality", "hold_ended")]


def test_of_many_words_in_one_step_each_change_has_its_own(rig):
    told = Told(rig(orders=OrderRule(choose="command")))
    told(lambda floor: floor.order("4711", 100))

    def both(floor):
        for verb, who, why in (("hold", "ann", "odour"), ("release", "bob", "aired")):
            floor.put(OperatorEntry(floor.now_ns, OperatorVerb(verb), "4711", "0010", who, why))

    quality = [one for one in told(both) if one[0] == "quality"]
    assert [(event, one["reason"], one["who"]) for _, event, one in quality] == [
        ("held", "odour", "ann"), ("hold_ended", "aired", "bob"),
    ]  # fmt: skip
    made = told(lambda f: f.put(StandingHoldEntry(f.now_ns, HoldScope("machine"), "", True, "smell", "eve")))
    assert [(one["reason"], one["who"]) for _, event, one in made if event == "held"] == [("machine: smell", "eve")]


def test_nobodys_hold_is_not_told_as_the_word_of_who_spoke_before_it(rig):
    told = Told(rig(orders=OrderRule(choose="command")))
    told(lambda floor: floor.order("4711", 100))

    def both(floor):
        floor.put(StandingHoldEntry(floor.now_ns, HoldScope("machine"), "", True, "smell", "eve"))
        floor.order("4712", 100)

    held = [one for one in told(both) if one[1] == "held"]
    assert [(one["reason"], one["who"]) for _, _, one in held] == [("machine: smell", "eve"), ("machine: smell", None)]


def test_a_piece_that_is_heard_of_behind_the_end_of_its_stretch_is_told_with_the_next_one(rig):
    told = Told(rig(orders=OrderRule(choose="command")))
    told(lambda floor: floor.make(0))
    told(lambda floor: floor.at("1 s").make(1))
    floor = told.floor
    to_end_ns = GROWING_NS - floor.now_ns % GROWING_NS
    floor.now_ns += to_end_ns + 1
    assert [one[1] for one in told(lambda floor: floor.wait())] == ["growing"]
    at_ns = floor.now_ns

    def late(floor):  # made right before the end, handled right behind it
        floor.now_ns = at_ns - 2
        floor.make(4)

    assert told(late) == []
    floor.now_ns = at_ns + GROWING_NS
    (last,) = told(lambda floor: floor.wait())
    assert (last[1], last[2]["waiting"]["good"]) == ("growing", "5")


def test_a_hold_of_a_machine_is_told_once_beside_what_it_holds(rig):
    told = Told(rig(orders=OrderRule(choose="command")))
    told(lambda floor: floor.order("4711", 100))
    told(lambda floor: floor.order("4712", 100))
    made = told(lambda f: f.put(StandingHoldEntry(f.now_ns, HoldScope("machine"), "", True, "smell", "eve")))
    assert [one[1] for one in made].count("standing_hold_set") == 1
    assert [one[1] for one in made].count("held") == 2
    made = told(lambda f: f.put(StandingHoldEntry(f.now_ns, HoldScope("machine"), "", False, "aired", "eve")))
    assert [one[1] for one in made].count("standing_hold_released") == 1


def test_pieces_of_no_order_are_told_first_as_they_grow_and_when_they_are_given(rig):
    told = Told(rig(orders=OrderRule(choose="command")))
    told(lambda floor: floor.make(0))
    assert [one[:2] for one in told(lambda floor: floor.at("10 s").make(3))] == [("unallocated", "collecting")]
    assert told(lambda floor: floor.at("20 s").make(2)) == [], "not one by one"
    (grown,) = told(lambda floor: floor.at("20 min").wait())
    assert grown[:2] == ("unallocated", "growing")
    assert (grown[2]["waiting"]["good"], grown[2]["given"]) == ("5", [])
    assert told(lambda floor: floor.at("40 min").wait()) == [], "nothing came"
    assert told.offered_again == ["5"], "for whom that told something else"
    assert told(lambda floor: floor.at("44 min").wait()) == []
    assert told.offered_again == ["5"], "once a stretch"
    told(lambda floor: floor.order("4711", 100))
    given = AllocateEntry(told.floor.now_ns, "4711", "0010", 4, Role.GOOD, "they were its own", "eve")
    (allocated,) = [one for one in told(lambda floor: floor.put(given)) if one[0] == "unallocated"]
    assert allocated[1] == "allocated"
    assert (allocated[2]["waiting"]["good"], allocated[2]["allocated"]["good"]) == ("1", "4")
    assert sum(int(one["pieces"]) for one in allocated[2]["given"]) == 4
    assert {one["order_id"] for one in allocated[2]["given"]} == {"4711"}


@pytest.mark.parametrize("steps", [1, 2, 7, 60])
def test_however_time_is_cut_what_grows_is_told_once_a_stretch(rig, steps):
    floor = rig(orders=OrderRule(choose="command"))
    floor.make(0)
    floor.at("1 s").make(1)
    told = Told(floor)
    events = []
    for minute in range(1, 121):
        events += told(lambda f, minute=minute: f.at(f"{minute} min").make(1 if minute <= 60 else 0))
        if minute % steps == 0:
            events += told(lambda f: f.wait())
    first, last = floor.now_ns // GROWING_NS - 8, floor.now_ns // GROWING_NS
    assert {one[:2] for one in events} == {("unallocated", "growing")}
    assert 4 <= len(events) <= 5 <= last - first, "for the hour in which some came, and no more"
    assert events[-1][2]["waiting"]["good"] == "61", "the last word says all"


def every_kind(rig, identity):
    """One document of each type and more."""
    told = Told(rig(orders=OrderRule(choose="command")))
    told(lambda floor: floor.make(0))
    told(lambda floor: floor.at("10 s").make(3))
    told(lambda floor: floor.order("4711", 100))
    told(lambda floor: floor.says("hold", "4711"))
    told(lambda floor: floor.says("release", "4711"))
    given = AllocateEntry(told.floor.now_ns, "4711", "0010", 3, Role.GOOD, "its own", "eve")
    told(lambda floor: floor.put(given))
    made = [*told.all, erp_notice.reported(7, "nightly", told.floor.now_ns, REPORT)]
    return [erp_notice.document(identity, one, "erp", seq) for seq, one in enumerate(made, start=1)]


def paths(value, at=""):
    if isinstance(value, dict) and not at.endswith(("counts", "difference")):
        return {one for name, inner in value.items() for one in paths(inner, f"{at}.{name}".lstrip("."))}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {one for inner in value for one in paths(inner, at)}
    return {at}


@pytest.mark.parametrize("type_", NoticeType)
def test_the_page_lists_every_field_of_every_type_and_no_other(rig, identity, type_):
    text = PAGE.read_text()
    head, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    own = next(one for one in sections if one.startswith(f"`{type_}`"))
    rows = [line.split("|")[1] for line in (head + own).splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    made = [one for one in every_kind(rig, identity) if one["notice"] == type_]
    assert made
    found = set().union(*(paths(one) for one in made)) - {"detail.given"}
    assert found == listed
    events = {one["event"] for one in made}
    assert all(f"`{event}`" in own for event in events)


def named_in(schema):
    """Paths of what a schema names, lists and their entries under one name."""
    schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    inner = {**schema.get("properties", {}), **schema.get("items", {}).get("properties", {})}
    return {
        f"{name}.{one}".rstrip(".")
        for name, of in inner.items()
        for one in (named_in(of) if "$ref" in of or "properties" in of or "items" in of else {""}) or {""}
    }


@pytest.mark.parametrize("type_", NoticeType)
def test_the_schema_names_every_field_of_every_type_and_takes_no_other_value(rig, identity, type_):
    jsonschema_rs.meta.validate(SCHEMA)
    made = [one for one in every_kind(rig, identity) if one["notice"] == type_]
    own = next(one["then"] for one in SCHEMA["allOf"] if one["if"]["properties"]["notice"]["const"] == type_)
    found = set().union(*(paths(one) for one in made)) - {"detail.given"}
    assert named_in(SCHEMA) - {"detail"} | named_in({"properties": {"detail": own["properties"]["detail"]}}) == found
    check = jsonschema_rs.validator_for(SCHEMA)
    for one in made:
        check.validate(one)
        assert one["event"] in own["properties"]["event"]["enum"]
        for part in (one, one["detail"]):
            for name in list(part):
                kept = part.pop(name)
                # One that waited since before there was this field goes out as it was made.
                assert check.is_valid(one) is (name == "left_out"), f"{name} is missing"
                part[name] = {"of": "another kind"} if not isinstance(kept, dict) else "of another kind"
                assert not check.is_valid(one), f"{name} is of another kind"
                part[name] = kept


def test_a_document_names_its_key_and_is_the_same_every_time(rig, identity):
    first, again = every_kind(rig, identity), every_kind(rig, identity)
    assert [canonical.encode(one) for one in first] == [canonical.encode(one) for one in again]
    keys = [one["idempotency_key"] for one in first]
    assert len(set(keys)) == len(keys)
    assert all(one["message_id"] == canonical.message_id_of(one["idempotency_key"]) for one in first)
    report = first[-1]
    assert (report["order_id"], report["idempotency_key"]) == (None, f"P1/e0//~notice/erp/{report['seq']}")
    assert (len(report["detail"]["findings"]), report["detail"]["findings_more"]) == (LISTED_MAX, 3)
    assert json.loads(written(report)) == report


def test_a_child_of_a_split_is_told_under_the_order_that_the_erp_knows(rig, identity, job):
    notice = erp_notice.ErpNotice(NoticeType.STATUS, "state_changed", 0, 0, {}, job("4711-001", erp_order="4711"))
    made = erp_notice.document(identity, notice, "erp", 1)
    assert (made["order_id"], made["shop_order"], made["operation"]) == ("4711", "4711-001", "0010")
    assert Duration("15 min") == GROWING_NS


SETTINGS = {
    "rest by template": (
        RestSettings,
        {
            "connector": "rest", "url": "https://erp", "profile": "kingdee",
            "values": {"account": "a", "user": "u", "organisation": "o"}, "secrets": {"password": {"env": "P"}},
        },
        "the profile has no notice",
    ),
    "files without a place": (FileSettings, {"connector": "file", "folder": "."}, "without notices_folder"),
    "mqtt without its link": (
        MqttTargetSettings, {"connector": "mqtt", "host": "localhost", "confirmations_topic": None},
        "without confirmations_topic",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SETTINGS)
def test_who_cannot_tell_them_says_so_at_the_start(case):
    kind, plain, why = SETTINGS[case]
    with pytest.raises(ValueError, match=f"^notices: .*{why}"):
        kind(**plain, notices=(NoticeType.STATUS,))
