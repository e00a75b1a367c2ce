"""What a work unit's outputs tell the audit trail: who, what, old, new and why, whatever is asked."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.access.roles import ActorRole
from gateway.core.audit import told
from gateway.core.audit.entry import EntryContent, checked
from gateway.core.audit.signature import Authentication, fault_of, from_text
from gateway.core.audit.told import Actor, Told, content_of, entries
from gateway.core.entries import ExternalEntry, PiecesReclassified, ReclassifyEntry, SetupEntry, StopReasonEntry
from gateway.core.model import (
    CountEvent,
    JobChanged,
    JobOrder,
    JobOrderState,
    JobRecord,
    Notice,
    OperatorEntry,
    OperatorVerb,
    OrderReceived,
    Role,
    TimePassed,
)
from gateway.core.orders.order_changes import AckKind, OrderAck
from gateway.core.state.annotations import StopReasonAssigned
from gateway.core.state.setup import SetupStarted

UTC_OFFSET_NS = 5


def common(at_ns):
    return EntryContent(
        at_ns, at_ns + UTC_OFFSET_NS, 4, 3600, "Europe/Berlin", "gateway", "service", "", "", "", "event", ""
    )


JOB = JobOrder(
    "4711", "0010", "0", 1, "WC", "P", "", "PC", Decimal(10), 1, None, None, None, cancelled=False, source="erp"
)
S = JobOrderState
ANN = Actor("ann", "quality", "token", "127.0.0.1")


def record(state=S.IN_PROGRESS, **changes):
    return JobRecord(JOB, state, 3, 10, 1, 0, "", **changes)


def changed(previous, state, at_ns=100, trigger="release by ann: checked"):
    return JobChanged(at_ns, record(state), previous, trigger)


def entry(verb, reason="checked", at_ns=100, operation="0010"):
    return OperatorEntry(at_ns, verb, "4711", operation, "ann", reason=reason, role=ActorRole.QUALITY)


@pytest.mark.parametrize("operation", ["", "0010"])
def test_a_decision_is_one_entry_with_old_new_and_why(operation):
    given_ = entry(OperatorVerb.RELEASE, operation=operation)
    (one,) = entries(given_, [changed(S.ON_HOLD, S.IN_PROGRESS)], "M-1", common, ANN)
    assert (one.user, one.role, one.auth, one.client) == ANN[:4]
    assert (one.action, one.entity, one.entity_id, one.field) == ("release", "operation", "4711/0010", "state")
    assert (one.old, one.new, one.outcome, one.reason_text) == ("ON_HOLD", "IN_PROGRESS", "done", "checked")
    assert (one.at_ns, one.utc_ns, one.order) == (100, 105, "4711")


def test_what_follows_from_a_decision_is_the_persons_too_and_what_was_due_before_is_not():
    other = JobChanged(100, record(S.INTERRUPTED)._replace(job=JOB._replace(order="9")), S.IN_PROGRESS, "start by ann")
    due = JobChanged(99, record(S.COMPLETED)._replace(job=JOB._replace(order="8")), S.IN_PROGRESS, "target reached")
    found = entries(entry(OperatorVerb.START), [due, other, changed(S.DISPATCHED, S.IN_PROGRESS)], "M-1", common, ANN)
    assert [(one.user, one.action, one.entity_id) for one in found] == [
        ("gateway", "state_changed", "8/0010"),
        ("ann", "start", "4711/0010"),
        ("ann", "state_changed", "9/0010"),
    ]
    assert found[0].at_ns == 99


def test_a_refusal_is_an_entry():
    out = [Notice(100, "REFUSED", (("reason", "G6: a machine that is free"),))]
    (one,) = entries(entry(OperatorVerb.HOLD, reason=""), out, "M-1", common, ANN)
    assert (one.action, one.outcome, one.detail) == ("hold", "refused", "G6: a machine that is free")
    assert one.new == '{"verb":"hold","order":"4711","operation":"0010"}'


def test_what_must_have_a_reason_says_where_none_was_given():
    (one,) = entries(entry(OperatorVerb.HOLD, reason=" "), [changed(S.DISPATCHED, S.ON_HOLD)], "M-1", common, ANN)
    assert (one.reason_code, one.reason_text) == ("not_given", "")


@pytest.mark.parametrize(
    ("given_", "out", "action", "entity"),
    [
        (SetupEntry(1, True, "ann"), SetupStarted(1, 1, "operator", "ann"), "setup_again", "machine"),
        (StopReasonEntry(1, 0, None, "JAM", "ann"), StopReasonAssigned(1, 0, None, "JAM", "ann"), "name_stop", "stop"),
        (
            ReclassifyEntry(1, "4711", "0010", 2, Role.GOOD, Role.SCRAP, "bent", "ann"),
            PiecesReclassified(1, "4711", "0010", 2, Role.GOOD, Role.SCRAP, "bent", "ann"),
            "scrap",
            "operation",
        ),
    ],
)
def test_words_of_persons(given_, out, action, entity):
    (one,) = entries(given_, [out], "M-1", common)
    assert (one.user, one.role, one.action, one.entity) == ("ann", "supervisor", action, entity)


class LotMountEntry(tuple):
    """A word of a person that no table knows."""

    __slots__ = ()
    at_ns, who, order = 7, "ann", ""

    def _asdict(self):
        return {"at_ns": 7, "feeder": "F1", "lot": "L 1", "who": "ann"}


def test_a_word_that_no_table_knows_has_an_entry_all_the_same():
    (one,) = entries(LotMountEntry(), [], "M-1", common)
    assert (one.action, one.entity, one.entity_id, one.new) == (
        "lot_mount",
        "machine",
        "M-1",
        '{"feeder":"F1","lot":"L 1"}',
    )
    (one,) = entries(LotMountEntry(), [], "M-1", common, ANN._replace(action="mount_lot"))
    assert one.action == "mount_lot"


def test_the_gateway_and_the_erp():
    counted = CountEvent("s", 1, 0, 1, "OK")
    assert entries(None, [counted, changed(S.IN_PROGRESS, S.IN_PROGRESS)], "M-1", common) == ()
    (one,) = entries(TimePassed(5), [changed(S.IN_PROGRESS, S.COMPLETED, trigger="target reached")], "M-1", common)
    assert (one.user, one.role, one.action, one.detail) == ("gateway", "service", "state_changed", "target reached")
    ack = OrderAck(AckKind.ORDER_CHANGE_REJECTED, "4711", 3, 2, ("quantity: found 5",))
    received = OrderReceived(100, JOB)
    new, refused = entries(received, [changed(None, S.DISPATCHED), ack], "M-1", common)
    assert (new.user, new.role, new.client, new.change, new.old) == ("erp", "planner", "erp", "create", None)
    assert (refused.action, refused.old, refused.new, refused.outcome) == ("order_received", "2", "3", "refused")
    assert refused.detail == "ORDER_CHANGE_REJECTED; quantity: found 5"
    assert (refused.at_ns, refused.utc_ns) == (100, 105), "an answer has no time of its own: that of its order"
    (late,) = entries(TimePassed(100), [ack], "M-1", common)
    (silent,) = entries(None, [changed(S.IN_PROGRESS, S.IN_PROGRESS, at_ns=70), ack], "M-1", common)
    assert (late.at_ns, silent.at_ns) == (100, 70)


def test_a_change_by_the_erp_says_each_field_old_and_new():
    fields = (("revision", "1", "2"), ("quantity", "100", "200"), ("planned_end", "", "2026-03-29"))
    ack = OrderAck(AckKind.ORDER_CHANGE_ACCEPTED, "4711", 2, 2, operation="0010", changed=fields)
    (one,) = entries(OrderReceived(100, JOB), [ack], "M-1", common)
    assert (one.user, one.change, one.field) == ("erp", "modify", "revision, quantity, planned_end")
    assert one.old == '{"revision":"1","quantity":"100","planned_end":""}'
    assert one.new == '{"revision":"2","quantity":"200","planned_end":"2026-03-29"}'
    assert (one.reason_text, one.reason_code) == ("revision 2 of the ERP", "")
    many = tuple((f"components[{number}].quantity", "1", "2") for number in range(500))
    (one,) = entries(OrderReceived(100, JOB), [ack._replace(changed=many)], "M-1", common)
    assert (len(one.field), "SHA-256" in one.new or "sha256" in one.new.lower()) == (100, True), one.new[-120:]


def test_a_signature_stands_behind_its_entry_and_is_under_the_whole_record():
    by = Authentication("ann", "Ann B", "quality", ("token", "passphrase"), 90)
    actor = ANN._replace(authentication=by)
    one, sign = entries(entry(OperatorVerb.RELEASE), [changed(S.ON_HOLD, S.IN_PROGRESS)], "M-1", common, actor)
    assert '"good":10' in one.new
    assert (sign.action, sign.user, sign.auth) == ("signed", "ann", "passphrase+token")
    assert not fault_of(from_text(sign.new), one.new.encode(), told.Action.RELEASE)
    refused = entries(entry(OperatorVerb.RELEASE), [Notice(100, "REFUSED", (("reason", "x"),))], "M-1", common, actor)
    assert len(refused) == 1, "what was refused is not signed"


def test_a_signature_that_cannot_be_given_stops_the_step():
    by = Authentication("ann", "Ann B", "quality", ("token",), 90)
    with pytest.raises(ValueError, match="SIGNATURE: found token, missing: passphrase"):
        entries(
            entry(OperatorVerb.RELEASE), [changed(S.ON_HOLD, S.IN_PROGRESS)], "M-1", common,
            ANN._replace(authentication=by),
        )  # fmt: skip


text = st.text(max_size=700)


@given(
    st.builds(
        Told, text, text, text, st.sampled_from(["event", "create", "modify", "delete"]), text, st.none() | text,
        st.none() | text, st.sampled_from(["done", "refused"]), text, text, text,
    ),
    st.builds(Actor, text, text, text, text),
    text,
)  # fmt: skip
def test_whatever_is_told_can_be_kept(found, actor, reason):
    found = found._replace(action="x")
    content = content_of(found, 1, common, actor, reason)
    assert checked(content) == content


@pytest.mark.parametrize(("before", "change", "old"), [((1, 0, 0), "modify", 1), (None, "event", None)])
def test_what_is_taken_over_of_the_erp_says_what_was_known_before(before, change, old):
    word = ExternalEntry(100, "4711", "0010", 2, 1, 0, "by hand", "ann", before=before)
    same = JobChanged(100, record(), S.IN_PROGRESS, "confirmed in the ERP")
    (one,) = entries(word, [same], "M-1", common, ANN._replace(action="resolve_posting"))
    assert (one.change, one.reason_text, one.outcome) == (change, "by hand", "done")
    assert one.old == (None if old is None else '{"good":1,"scrap":0,"rework":0}')
    assert ('{"good":3,"scrap":1,"rework":0}' if old else '"good":2') in one.new


def test_each_operation_that_answers_the_erp_says_which_one_it_is():
    found = [
        told_of(
            OrderAck(AckKind.ORDER_CHANGE_ACCEPTED, "4711", 2, 2, operation=operation, changed=(("qty", "1", "2"),))
        )
        for operation in ("0010", "0020", "")
    ]
    assert [(one.entity, one.entity_id) for one in found] == [
        ("operation", "4711/0010"), ("operation", "4711/0020"), ("order", "4711"),
    ]  # fmt: skip


def told_of(output):
    return told.TABLE[type(output)].tell(output, "M-1")
