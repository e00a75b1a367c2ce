"""One entry of the audit trail: what may be written down, its one byte form, how it travels."""

from __future__ import annotations

import csv
import hashlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.access.permissions import Action
from gateway.core.audit.chain import genesis, linked
from gateway.core.audit.entry import (
    CHARS_MAX,
    FORM,
    VALUE_CHARS_MAX,
    AuditEntry,
    AuditEntryError,
    Change,
    EntryContent,
    SystemAction,
    as_mapping,
    canonical,
    checked,
    of_mapping,
    reason_required,
)
from gateway.core.audit.export import CSV_COLUMNS, LINE_CHARS_MAX, csv_lines, entry_of_line, json_line, local_text

CONTENT = EntryContent(
    at_ns=1_000_000_000,
    utc_ns=1_775_000_000_123_456_789,
    time_quality=4,
    utc_offset_s=7200,
    time_zone="Europe/Berlin",
    user="ann",
    role="supervisor",
    auth="token",
    client="127.0.0.1",
    action="correct",
    change="modify",
    entity="confirmation",
    entity_id="4711/0010/3",
    field="qty.good",
    old="100",
    new="98",
    reason_code="MISCOUNT",
    reason_text="two test pieces",
    order="4711",
    config_version="ab12",
    sw_version="0.1.0",
)


def text(alphabet=None):
    return st.text(alphabet or st.characters(), max_size=40)


@pytest.fixture
def entry():
    return linked(genesis("epoch"), CONTENT)


def test_the_byte_form_never_changes(entry):
    """Written out by hand: who changes this breaks every chain there is."""
    assert canonical(entry).decode() == (
        '{"form":1,"seq":1,"at_ns":1000000000,"utc_ns":1775000000123456789,"time_quality":4,"utc_offset_s":7200,'
        '"time_zone":"Europe/Berlin","user":"ann","role":"supervisor","auth":"token","client":"127.0.0.1",'
        '"action":"correct","change":"modify","entity":"confirmation","entity_id":"4711/0010/3","field":"qty.good",'
        '"old":"100","new":"98","outcome":"done","detail":"","reason_code":"MISCOUNT",'
        '"reason_text":"two test pieces","order":"4711","config_version":"ab12","sw_version":"0.1.0"}'
    )
    prev = hashlib.sha256(b"linegate-audit/1/epoch").hexdigest()
    assert entry.prev_hash == prev
    assert entry.hash == hashlib.sha256(prev.encode() + canonical(entry)).hexdigest()
    assert entry.hash == "0a49a788f58d8c3c73e1a327cdf26fc500b51099471fd161e1ed666a6cf5e176"


def test_another_form_is_not_guessed(entry):
    with pytest.raises(ValueError, match="form: found 2, this linegate knows 1"):
        canonical(entry._replace(form=2))


@pytest.mark.parametrize("change", list(Change))
@pytest.mark.parametrize("action", [*Action, *SystemAction])
def test_a_change_of_recorded_data_needs_a_reason(action, change):
    bare = CONTENT._replace(action=action.value, change=change.value, reason_code="", reason_text=" ")
    if reason_required(action, change):
        with pytest.raises(AuditEntryError, match=r"found no reason, allowed: a reason code or a text; say why"):
            checked(bare)
    else:
        assert checked(bare).reason_text == ""
    assert checked(bare._replace(reason_code="X"))
    assert checked(bare._replace(reason_text="because"))
    assert checked(bare._replace(outcome="refused")), "what was refused changed nothing"


def test_reasons_are_asked_of_every_modification_and_of_marked_actions():
    assert reason_required("config_changed", "modify")
    assert reason_required("purged", "delete")
    assert reason_required("scrap", "event")
    assert not reason_required("start", "event")
    assert not reason_required("order_received", "create")


@pytest.mark.parametrize("name", list(CHARS_MAX))
def test_every_text_is_bounded(name):
    limit = CHARS_MAX[name]
    letters = "a" * limit
    assert getattr(checked(CONTENT._replace(**{name: letters})), name) == letters
    with pytest.raises(AuditEntryError, match=f"^{name}: found {limit + 1} characters, allowed: up to {limit}"):
        checked(CONTENT._replace(**{name: letters + "a"}))
    with pytest.raises(AuditEntryError, match=f"^{name}: found 5, allowed: a text"):
        checked(CONTENT._replace(**{name: 5}))


@pytest.mark.parametrize("name", ["user", "role", "action", "entity", "outcome"])
def test_what_an_entry_must_say(name):
    with pytest.raises(AuditEntryError, match=f"^{name}: found nothing"):
        checked(CONTENT._replace(**{name: " " if name != "action" else ""}))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("action", "Correct it", "allowed: a-z, 0-9 and _"),
        ("change", "edit", "allowed: event, create, modify, delete"),
        ("user", "ann\nbob", "without control characters"),
        ("entity_id", "a\u202eb", "without control characters"),
        ("at_ns", -1, "allowed: a whole number from 0"),
        ("at_ns", 2**63, "allowed: a whole number from 0"),
        ("at_ns", 1.0, "allowed: a whole number from 0"),
        ("utc_ns", True, "allowed: a whole number from 0"),
        ("time_quality", 5, "allowed: a whole number from 0 to 4"),
        ("utc_offset_s", 64_801, "allowed: a whole number from -64800 to 64800"),
    ],
)
def test_what_is_not_written_down(field, value, said):
    with pytest.raises(AuditEntryError, match=said) as found:
        checked(CONTENT._replace(**{field: value}))
    assert str(found.value).startswith(field)
    assert "\n" not in str(found.value)


def test_texts_from_outside_are_made_safe():
    kept = checked(CONTENT._replace(reason_text=" a\x1b[31m\ud800 ", detail="x\u202ey", old="a\x00b\nc", new=None))
    assert (kept.reason_text, kept.detail, kept.old, kept.new) == ("a [31m\ufffd", "x y", "a b\nc", None)


def test_of_a_long_value_beginning_length_and_hash_are_kept():
    long = "x" * 5000
    kept = checked(CONTENT._replace(old=long)).old
    assert len(kept) == VALUE_CHARS_MAX
    assert kept.startswith("xxx")
    assert kept.endswith(f"\u2026 (5000 characters, SHA-256 {hashlib.sha256(long.encode()).hexdigest()})")
    assert checked(CONTENT._replace(old="x" * VALUE_CHARS_MAX)).old == "x" * VALUE_CHARS_MAX


texts = {name: text() for name in ("old", "new", "detail", "reason_text")}


@given(st.fixed_dictionaries(texts), st.integers(0, 2**63 - 1), st.integers(-64_800, 64_800))
def test_an_entry_survives_json_and_checking_twice_changes_nothing(changes, at_ns, offset_s):
    content = checked(CONTENT._replace(**changes, at_ns=at_ns, utc_offset_s=offset_s, reason_code="X"))
    assert checked(content) == content
    entry = linked(genesis("epoch"), content)
    again = json.loads(json.dumps(entry._asdict()))
    assert AuditEntry(**{**again, "content": EntryContent(*again["content"])}) == entry
    assert EntryContent(**json.loads(json.dumps(content._asdict()))) == content
    assert of_mapping(json.loads(json.dumps(as_mapping(entry)))) == entry
    whole = {"form": entry.form, "seq": entry.seq, **content._asdict()}
    assert list((as_mapping(entry)).items())[:-2] == list(whole.items()), "in the order of canonical()"
    assert entry_of_line(json_line(entry)) == entry
    assert json_line(entry).count("\n") == 1


@given(st.lists(st.fixed_dictionaries(texts), max_size=3))
def test_csv_is_read_back_by_others(changes):
    entries = [linked(genesis("epoch"), CONTENT._replace(**one, reason_code="X")) for one in changes]
    found = list(csv.reader(io.StringIO("".join(csv_lines(entries)), newline="")))
    assert found[0] == list(CSV_COLUMNS)
    assert len(found) == 1 + len(entries)
    for row, entry in zip(found[1:], entries, strict=True):
        cells = dict(zip(CSV_COLUMNS, row, strict=True))
        assert cells["hash"] == entry.hash
        assert cells["old"].removeprefix("'") == (entry.content.old or "").removeprefix("'")
        assert not cells["detail"].startswith(("=", "@"))


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("-5", "-5"),
        ("+5.25", "+5.25"),
        ("-5+cmd", "'-5+cmd"),
        ("@x", "'@x"),
        ('a"b,c', '"a""b,c"'),
        ("a\nb", '"a\nb"'),
    ],
)
def test_a_spreadsheet_finds_no_formula(value, cell):
    entry = linked(genesis("epoch"), CONTENT._replace(entity_id="", field="", old=value, new=None))
    assert f",{cell},," in "".join(csv_lines([entry]))


def test_times_in_words():
    assert local_text(1_774_746_000_123_999_999, 3600) == "2026-03-29T02:00:00.123+01:00"
    assert local_text(0, -12_600) == "1969-12-31T20:30:00.000-03:30"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "Expecting value"),
        ("[]", "as a JSON object"),
        ("{}", "fields missing: form, seq"),
        ("[" * 50_000, "nested too deeply"),
        ("x" * (LINE_CHARS_MAX + 1), "found a line of"),
    ],
)
def test_a_line_that_is_no_entry(line, said):
    with pytest.raises(ValueError, match=said):
        entry_of_line(line)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"more": 1}, "fields unknown: more"),
        ({"seq": "1"}, "seq: found '1'"),
        ({"seq": True}, "seq: found True"),
        ({"at_ns": 1.5}, "at_ns: found 1.5"),
        ({"user": None}, "user: found None"),
    ],
)
def test_a_mapping_that_is_no_entry(entry, change, said):
    with pytest.raises(ValueError, match=said):
        of_mapping({**as_mapping(entry), **change})


def test_the_form_is_the_one_that_the_tests_are_about():
    assert FORM == 1
