"""Templates of profiles: what a placeholder becomes, what is refused before anything is sent, what stays typed."""

import datetime as dt
import json
import re
import zoneinfo
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from gateway import connectors
from gateway.connectors.base import MappingError, Posting, step_id
from gateway.connectors.http import HttpAnswer
from gateway.connectors.mapping.settings import MappingSettings
from gateway.connectors.rest import PLUGIN, messages
from gateway.connectors.rest.filters import Scope
from gateway.connectors.rest.placeholders import Fields, TemplateError, compiled, filled
from gateway.connectors.rest.plan import DOCUMENT, LISTS, NOTICE_FIELDS, NOTICE_ROOTS, PlanError, plan_of
from gateway.connectors.rest.profile import Profile
from gateway.connectors.rest.profiles import ProfileError, read
from gateway.connectors.rest.settings import RestSettings
from gateway.connectors.rest.tree import NoTreeError, first, tree_of, values

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
VALUES = {
    "a": "x", "n": "12.50", "none": None, "empty": "", "id": "11111111-2222-3333-4444-555555555555",
    "at": "2026-03-29T00:59:30.000Z", "day": "2026-11-22", "rows": [{"r": "1"}, {"r": "2"}], "key": "P1/e/o/1/1",
    "sly": "<a href=\"x\">&'{{", "dash": "MO-7-2", "local": "22.11.2026 06:00",
}  # fmt: skip
FIELDS = Fields(frozenset(VALUES), (), ("rows",))
SCOPE = Scope(VALUES, BERLIN, {"t": {"x": "X!", "*": "other"}, "strict": {"y": "Y"}})


def fill(image, mode=""):
    return filled(compiled(image, "t", FIELDS), SCOPE._replace(mode=mode), "t")


CASES = [
    ("plain {{braces}}", "plain {braces}"),
    ("{a}", "x"),
    ("<{a}|{n}>", "<x|12.50>"),
    ("{n|number}", Decimal("12.50")),
    ("{n|round:0}", Decimal(13)),
    ("{n|times:60|integer}", 750),
    ("{none}", None),
    ("{none|default:7}", "7"),
    ("{empty|default:7}", "7"),
    ("{id|hex|upper|cut:9}", "111111112"),
    ("{key|digest:26}", "KQXXBDQCUZWSQ6CVDC5ZW6FLMX"),
    ("{at|date:%d.%m.%Y %H:%M}", "29.03.2026 01:59"),
    ("{day|date:%y%m%d}", "261122"),
    ("{local|zoned:%d.%m.%Y %H:%M}", "2026-11-22T06:00:00+01:00"),
    ("{none|zoned}", None),
    ("{a|table:t}", "X!"),
    ("{n|table:t}", "other"),
    ("{a|zeros:4}", "000x"),
    ("{dash|before_last:-}", "MO-7"),
    ("{dash|after_last:-}", "2"),
    ("{a|blank:x|prefix:-}", ""),
    ("{n|blank:x|prefix:-}", "-12.50"),
    ({"kept": 1, "gone": "{empty|omit}", "list": ["{none|omit}", "{a}"]}, {"kept": 1, "list": ["x"]}),
    ({"l": {"for_each": "rows", "make": {"q": "{row.r|integer}"}}}, {"l": [{"q": 1}, {"q": 2}]}),
    ("{rows.1.r}", "2"),
    (True, True),
]


@pytest.mark.parametrize(("image", "wanted"), CASES, ids=[str(case[0])[:40] for case in CASES])
def test_what_a_template_becomes(image, wanted):
    if image == "{key|digest:26}":
        found = fill(image)
        assert len(found) == 26
        assert set(found) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
        assert found == fill(image)
    else:
        assert fill(image) == wanted
        assert type(fill(image)) is type(wanted)


def test_what_is_filled_in_is_escaped():
    assert fill("<v a='{a}'>{sly}</v>", "xml") == "<v a='x'>&lt;a href=&quot;x&quot;&gt;&amp;'{{</v>"
    assert fill("/orders('{sly}')", "url") == "/orders('%3Ca%20href%3D%22x%22%3E%26%27%7B%7B')"
    assert fill("{n}", "url") == "12.50"


WRONG = [
    ("{b}", "found the field 'b', allowed: "),
    ("{a|shout}", "found the filter 'shout', allowed: after_last, "),
    ("{a|cut}", "found 'cut', allowed: a number from 1 to 4000 after a colon"),
    ("{a|digest:8}", "allowed: a number from 16 to 32"),
    ("{a|hex:3}", "allowed: no argument"),
    ("{a", "found a single '{'"),
    ("a}", "found a single '}'"),
    ("{}", "found the field ''"),
    ("{row.r}", "found the field 'row.r'"),
    ({"for_each": "rows"}, "found for_each, allowed: for_each and make"),
    ({"for_each": "a", "make": 1}, "found 'a', allowed: rows"),
    ({"x": [{"y": "{zz}"}]}, "t.x.0.y: found the field 'zz'"),
    ("{a.__class__}", "found the field 'a.__class__'"),
]


@pytest.mark.parametrize(("image", "text"), WRONG)
def test_a_wrong_template_is_refused_with_its_place(image, text):
    with pytest.raises(TemplateError) as raised:
        compiled(image, "t", FIELDS)
    assert text in str(raised.value)
    assert str(raised.value).startswith("t")


def test_more_levels_than_allowed_are_refused():
    image = "x"
    for _ in range(30):
        image = [image]
    with pytest.raises(TemplateError, match="more than 20 levels"):
        compiled(image, "t", FIELDS)


UNFIT = [
    ("{a|number}", "t: a: found 'x', allowed: a number"),
    ("{n|integer}", "allowed: a whole number"),
    ("{none|needed}", "allowed: a value"),
    ("{dash|max:3}", "allowed: at most 3 characters"),
    ("{a|date}", "allowed: a time in ISO 8601"),
    ("{a|table:strict}", "allowed: a word of the table strict: y"),
    ("{a|after_last:-}", "allowed: a text with '-' in it"),
    ("{a|zoned:%Y}", "allowed: a time like %Y"),
]


@pytest.mark.parametrize(("image", "text"), UNFIT)
def test_a_value_that_does_not_fit_is_refused(image, text):
    with pytest.raises(MappingError) as raised:
        fill(image)
    assert text in str(raised.value)


def test_every_field_of_a_document_may_be_named():
    images = json.loads((Path(__file__).parents[1] / "core" / "data" / "confirmation.json").read_text("utf-8"))

    def names(image, prefix=""):
        for name, value in image.items():
            if isinstance(value, dict) and name not in ("echo", "machine_states"):
                yield from names(value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    found = {name for image in images for name in names(image)} - {"schema_version", "echo", "machine_states"}
    assert found <= DOCUMENT | LISTS


def test_every_field_of_a_notice_may_be_named():
    schema = json.loads((Path(connectors.__file__).parent / "notice.schema.json").read_text("utf-8"))
    assert NOTICE_FIELDS | set(NOTICE_ROOTS) == set(schema["properties"])


# --- steps -------------------------------------------------------------------------------------------------------

PROFILE = """
values: {kind: a}
answer: {reference: [id]}
probe: {request: {method: GET, path: /}}
steps:
  - name: one
    repeatable: true
    when: {field: value.kind, any_of: [a]}
    request: {path: "/one/{order_id}", query: {q: "a b&{operation}"}, form: {x: "{order_id}"}}
  - name: two
    repeatable: true
    request: {path: "/two/{step.one}", json: {text: "{step.one}", part: "{step.one.1|omit|number}"}}
"""


def plan(text=PROFILE, given=None, **changes):
    image = yaml.safe_load(text)
    profile = TypeAdapter(Profile).validate_json(json.dumps({**image, **changes}), strict=True)
    return plan_of(profile, given or {}, (), idempotent=False)


def posting(document, rendered, number, references):
    part = (rendered, *rendered.more)[number]
    return Posting(
        document["idempotency_key"], step_id(document["confirmation_id"], number), document["order_id"],
        document["operation"], document["seq"], 1, part, document["type"], number, 2, references,
    )  # fmt: skip


def test_references_of_earlier_steps_are_filled_in_when_the_message_leaves(document):
    image = document(1, order='A/"1')
    rendered = messages.rendered(plan(), MappingSettings(), dt.UTC, image)
    assert rendered.name == "one() POST /one/A%2F%221?q=a%20b%260010"
    assert rendered.body == b"x=A%2F%221"
    (second,) = rendered.more
    assert b"@@reference.0@@" in second.body
    leaving = messages.leaving(posting(image, rendered, 1, ('r"1/42',)))
    assert leaving.target == "/two/r%221%2F42"
    assert json.loads(leaving.body) == {"text": 'r"1/42', "part": 42}
    assert messages.leaving(posting(image, rendered, 1, ('r"1/42',))) == leaving
    with pytest.raises(MappingError, match="gave no reference"):
        messages.leaving(posting(image, rendered, 1, ()))
    with pytest.raises(MappingError, match="allowed: a whole number"):
        messages.leaving(posting(image, rendered, 1, ("a/b",)))


def test_a_field_cannot_pass_for_a_reference(document):
    image = document(1, order="@@reference.0@@")
    with pytest.raises(MappingError, match="allowed: any other text"):
        messages.rendered(plan(), MappingSettings(), dt.UTC, image)


def test_a_step_is_left_out_where_it_is_not_needed(document):
    rendered = messages.rendered(plan(given={"kind": "b"}), MappingSettings(), dt.UTC, document(1))
    assert rendered.name == "two() POST /two/"
    assert rendered.more == ()


def test_numbers_of_json_keep_their_digits():
    assert (
        messages.json_text({"a": Decimal("0.10"), "b": [1, True, None, "ü\n"]}) == '{"a":0.10,"b":[1,true,null,"ü\\n"]}'
    )


BAD = [
    ({"values": {"kind": None}}, None, "values: kind missing"),
    ({}, {"other": "1"}, "values: found 'other', allowed: what the profile uses: kind"),
    ({"steps": []}, None, "steps: found none"),
    ({"steps": [{"name": "a", "request": {"path": "/x"}}]}, None, "steps.0: found no lookup"),
    ({"steps": [{"name": "a b", "repeatable": True, "request": {"path": "/"}}]}, None, "steps.0.name: found 'a b'"),
    (
        {"steps": [{"name": "a", "repeatable": True, "request": {"path": "/{step.b}"}}]},
        None, "steps.0.request.path: found the field 'step.b'",
    ),
    (
        {"steps": [{"name": "a", "repeatable": True, "request": {"path": "/", "headers": {"X": "{qty.good}"}}}]},
        None, "steps.0.request.headers.X: found the field 'qty.good', allowed: ",
    ),
    ({"notice": {"request": {"path": "/{qty.good}"}}}, None, "notice.request.path: found the field 'qty.good'"),
    (
        {"notice": {"request": {"path": "/", "headers": {"X": "{event}"}}}},
        None, "notice.request.headers.X: found the field 'event', allowed: ",
    ),
    (
        {"steps": [{"name": "a", "repeatable": True, "for_each": "order_id", "request": {"path": "/"}}]},
        None, "steps.0.for_each: found 'order_id'",
    ),
    (
        {"steps": [{"name": "a", "repeatable": True, "when": {"field": "x", "any_of": []}, "request": {"path": "/"}}]},
        None, "steps.0.when.field: found 'x'",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "given", "text"), BAD)
def test_a_wrong_profile_is_refused_with_its_place(changes, given, text):
    with pytest.raises(PlanError) as raised:
        plan(given=given, **changes)
    assert text in str(raised.value)


def test_a_request_has_one_body_and_a_path():
    for request in ({"path": "/", "json": 1, "xml": "<a/>"}, {"path": "x"}, {"path": "/a b"}):
        with pytest.raises(ValidationError, match="allowed"):
            plan(probe={"request": request})


# --- settings ----------------------------------------------------------------------------------------------------

REFUSED = [
    ({"values": {"a": "b"}}, "values: belongs to a profile by template"),
    ({"profile": "sap"}, "profile: found 'sap', allowed: linegate, kingdee, or a file"),
    ({"profile": "kingdee"}, "values: account, organisation, user missing"),
    ({"profile": "x.yaml", "orders_path": "/x"}, "orders_path: belongs to the profile linegate"),
    ({"profile": "x.yaml", "correction": "negative"}, "correction: found negative"),
    ({"profile": "kingdee", "values": {"account": "a", "user": "u", "organisation": "o"}}, "secret.password"),
]


@pytest.mark.parametrize(("changes", "text"), REFUSED)
def test_settings_that_do_not_fit_their_profile(changes, text):
    with pytest.raises(ValueError, match=":") as raised:
        RestSettings(connector="rest", url="http://127.0.0.1:1", **changes)
    assert text in str(raised.value)


def test_a_file_is_checked_before_anything_starts(tmp_path, context):
    settings = RestSettings(connector="rest", url="http://127.0.0.1:1", profile="my.yaml")
    assert "No such file" in PLUGIN.check(settings, tmp_path)[0]
    (tmp_path / "my.yaml").write_text(PROFILE.replace("{order_id}", "{ordr}"))
    assert "steps.0.request.path: found the field 'ordr'" in PLUGIN.check(settings, tmp_path)[0]
    (tmp_path / "my.yaml").write_text("steps: 2026-01-01")
    with pytest.raises(ProfileError, match="is no YAML of texts"):
        read(tmp_path / "my.yaml")
    (tmp_path / "my.yaml").write_text("steps: []\nstep: 1\n")
    assert "step: " in PLUGIN.check(settings, tmp_path)[0]
    (tmp_path / "my.yaml").write_text(PROFILE.replace("steps:", "steps: [", 1))
    line = PROFILE[: PROFILE.index("steps:")].count("\n") + 2
    assert re.search(rf"my.yaml: line {line}, column \d+: is no YAML", PLUGIN.check(settings, tmp_path)[0])
    (tmp_path / "my.yaml").write_text(PROFILE.replace("request:", "demand:", 1))
    assert re.search(
        r"(steps.0|probe).demand: found an unknown key, allowed: .*request", PLUGIN.check(settings, tmp_path)[0]
    )
    (tmp_path / "my.yaml").write_text(PROFILE)
    assert PLUGIN.check(settings, tmp_path) == []
    assert PLUGIN.build(settings, context()).capabilities.can_lookup


# --- answers -----------------------------------------------------------------------------------------------------


def answer(body, kind="application/json"):
    return HttpAnswer(200, {"content-type": kind}, body)


def test_paths_into_an_answer():
    tree = tree_of(answer(b'{"a": [{"b": 1.10}, {"b": 2}], "@odata.context": "c"}'))
    assert values(tree, "a.*.b") == [Decimal("1.10"), 2]
    assert first(tree, "a.1.b") == 2
    assert first(tree, "@odata.context") == "c"
    assert values(tree, "a.7.b") == values(tree, "a.b") == values(tree, "x") == []
    assert values(tree, "") == [tree]


def test_xml_is_a_tree_too():
    tree = tree_of(answer(b'<s:E xmlns:s="u"><s:O id="1">x</s:O><s:O id="2"/><N>5</N></s:E>', "text/xml"))
    assert values(tree, "E.O.*.@id") == ["1", "2"]
    assert first(tree, "E.N") == "5"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html></html>", "text/html"),
        (b'{"a": 1', "application/json"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "text/xml"),
        (b"", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"a": NaN}', "application/json"),
    ],
)
def test_what_is_no_tree(body, kind):
    with pytest.raises(NoTreeError):
        tree_of(answer(body, kind))
