"""Electronic signatures: who may sign what, that a signature fits one record only, and how it stands in the trail."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.access.permissions import Action
from gateway.core.audit.chain import Broken, Fault, Verified, genesis, head_of, linked, verify
from gateway.core.audit.entry import AuditEntryError, EntryContent
from gateway.core.audit.signature import (
    FRESH_NS,
    MEANINGS,
    Authentication,
    Component,
    Signature,
    SigningRefused,
    fault_behind,
    fault_of,
    from_text,
    of_mapping,
    sign,
    signed,
    to_text,
)

RECORD = b'{"order":"4711","operation":"0010","hold":"H-7","release":true}'
NOW_NS = 1_000 * FRESH_NS
BY = Authentication("quinn", "Quinn Q\u00fcrk", "quality", ("token", "passphrase"), NOW_NS)
HELD = EntryContent(
    at_ns=NOW_NS,
    utc_ns=NOW_NS,
    time_quality=4,
    utc_offset_s=0,
    time_zone="UTC",
    user="quinn",
    role="quality",
    auth="token",
    client="",
    action="release",
    change="event",
    entity="hold",
    entity_id="4711/0010/H-7",
    new=RECORD.decode(),
    reason_text="measured again",
)


def signing(record=RECORD, action=Action.RELEASE, by=BY, now_ns=NOW_NS, entity="hold", entity_id="4711/0010/H-7"):
    return sign(record, entity, entity_id, action, by, now_ns=now_ns, utc_ns=now_ns)


@pytest.mark.parametrize("action", list(MEANINGS))
def test_a_signature_says_who_what_and_when(action):
    by = BY._replace(role="supervisor")
    found = signing(action=action, by=by)
    assert (found.signer, found.full_name, found.role) == ("quinn", "Quinn Q\u00fcrk", "supervisor")
    assert (found.meaning, found.at_ns, found.utc_ns) == (MEANINGS[action], NOW_NS, NOW_NS)
    assert fault_of(found, RECORD, action) == ""


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"action": Action.START}, "NOTHING_TO_SIGN", "start is not signed; allowed: release, approve_over_tolerance"),
        ({"by": BY._replace(role="operator")}, "ROLE_NOT_ALLOWED", "release is not allowed for operator"),
        ({"by": BY._replace(role="boss")}, "INVALID", "role: found 'boss'"),
        ({"by": BY._replace(components=("token",))}, "TWO_COMPONENTS", "found token, missing: passphrase"),
        ({"by": BY._replace(components=("token", "token"))}, "TWO_COMPONENTS", "missing: passphrase"),
        ({"by": BY._replace(components=("passphrase",))}, "TWO_COMPONENTS", "missing: token"),
        ({"by": BY._replace(components=())}, "TWO_COMPONENTS", "found nothing, missing: passphrase, token"),
        ({"now_ns": NOW_NS + FRESH_NS + 1}, "NOT_FRESH", "checked 120 s ago, allowed: 120 s; enter it again"),
        ({"now_ns": NOW_NS - 1}, "NOT_FRESH", "enter it again"),
        ({"by": BY._replace(full_name=" ")}, "INVALID", "full_name: found"),
        ({"by": BY._replace(user="q\nq")}, "INVALID", "user: found"),
        ({"entity": ""}, "INVALID", "entity: found"),
        ({"entity_id": "x" * 201}, "INVALID", "entity_id: found"),
    ],
)
def test_a_signing_that_is_refused(changes, code, said):
    refused = signing(**changes)
    assert isinstance(refused, SigningRefused)
    assert refused.code == code
    assert said in refused.text


def test_the_last_moment_is_fresh():
    assert isinstance(signing(now_ns=NOW_NS + FRESH_NS), Signature)


@given(st.binary(max_size=80))
def test_it_fits_no_other_record(other):
    said = fault_of(signing(), other, Action.RELEASE)
    assert (said == "") is (other == RECORD)
    assert said == "" or "the record was changed" in said


@given(st.data())
def test_no_change_of_it_goes_unseen(data):
    found = signing()
    name = data.draw(st.sampled_from([name for name in found._fields if name != "components"]))
    held = getattr(found, name)
    strategy = st.integers(-(2**70), 2**70) if isinstance(held, int) else st.text(max_size=20)
    value = data.draw(strategy.filter(lambda value: value != held))
    assert fault_of(found._replace(**{name: value}), RECORD, Action.RELEASE)
    assert fault_of(found._replace(components=("token",)), RECORD, Action.RELEASE)


def test_one_for_one_thing_is_not_one_for_another():
    by = BY._replace(role="supervisor")
    for action in MEANINGS:
        for other in Action:
            assert (fault_of(signing(action=action, by=by), RECORD, other) == "") is (other is action)


def test_it_survives_json():
    found = signing()
    assert of_mapping(json.loads(json.dumps(found._asdict()))) == found
    assert from_text(to_text(found)) == found
    assert Authentication(**{**json.loads(json.dumps(BY._asdict())), "components": BY.components}) == BY
    for text in ("", "[]", "{}", '{"components":5}', "[" * 50_000):
        with pytest.raises(ValueError, match=r"^signature: found"):
            from_text(text)


# --- in the trail ----------------------------------------------------------------------------------------------------


def trail(*contents):
    entries, head = [], genesis("epoch")
    for content in contents:
        entries.append(linked(head, content))
        head = head_of(entries[-1])
    return verify(genesis("epoch"), entries, (), fault_behind)


def test_a_signature_stands_behind_what_was_signed():
    kept = signed(signing(), HELD)
    assert (kept.action, kept.change, kept.user, kept.detail) == ("signed", "create", "quinn", MEANINGS[Action.RELEASE])
    assert kept.auth == "passphrase+token"
    assert isinstance(trail(HELD, kept), Verified)
    assert isinstance(trail(HELD, HELD), Verified), "whether one was needed is the profile's"


@pytest.mark.parametrize(
    ("contents", "seq"),
    [
        ([signed(signing(), HELD)], 1),
        ([HELD, HELD._replace(action="see"), signed(signing(), HELD)], 3),
        ([HELD._replace(new="{}"), signed(signing(), HELD)], 2),
        ([HELD._replace(entity_id="another"), signed(signing(), HELD)], 2),
        ([HELD._replace(user="ann"), signed(signing(), HELD)], 2),
        ([HELD._replace(action="correct_after_final"), signed(signing(), HELD)], 2),
        ([HELD._replace(action="config_changed"), signed(signing(), HELD)], 2),
        ([HELD, signed(signing(), HELD)._replace(new="{}")], 2),
        ([HELD, signed(signing(), HELD)._replace(new=None)], 2),
        ([HELD, signed(signing(), HELD), signed(signing(), HELD)], 3),
    ],
)
def test_a_signature_that_is_not_one_of_the_entry_before(contents, seq):
    broken = trail(*contents)
    assert isinstance(broken, Broken)
    assert (broken.seq, broken.fault) == (seq, Fault.NOT_SIGNED)
    assert f"entry {seq} is no valid signature: " in broken.why


@pytest.mark.parametrize(
    "other", [{"user": "ann"}, {"new": "{}"}, {"new": None}, {"entity": "order"}, {"action": "hold"}]
)
def test_it_is_not_kept_beside_another_entry(other):
    with pytest.raises(AuditEntryError, match="sign this very record"):
        signed(signing(), HELD._replace(**other))


def test_components_have_their_names():
    assert {component.value for component in Component} == set(BY.components)
