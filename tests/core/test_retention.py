"""Retention: every class, its age to the nanosecond, and what stays whatever happens."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.duration import Duration
from gateway.core.retention import THINNED_FIRST, Kept, Purge, RecordClass, Retained, decide
from gateway.core.rules_confirming import RetentionRule

RULE = RetentionRule()
AGED = [one for one in RecordClass if one is not RecordClass.AUDIT]


def test_every_class_but_the_audit_trail_has_an_age():
    assert {field.name for field in fields(RetentionRule)} == {one.value for one in AGED}


@pytest.mark.parametrize("record_class", AGED)
def test_a_class_at_its_age(record_class):
    record = Retained(record_class, 1000, confirmed=True)
    until_ns = 1000 + getattr(RULE, record_class.value)
    assert decide(RULE, record, until_ns - 1) == Purge(Kept.TOO_YOUNG, until_ns)
    assert decide(RULE, record, until_ns) == Purge(None)
    assert decide(RULE, record, until_ns).allowed
    assert decide(RULE, record, until_ns - 1, disk_full=True).allowed == (record_class in THINNED_FIRST)


def test_a_time_that_went_back_deletes_nothing():
    record = Retained(RecordClass.RAW_JOURNAL, 1000, confirmed=True)
    assert decide(RULE, record, 999, disk_full=True).kept is Kept.TOO_YOUNG
    assert decide(RULE, record, 1000, disk_full=True).allowed


def test_raw_data_is_thinned_first():
    assert THINNED_FIRST == (RecordClass.RAW_JOURNAL, RecordClass.CYCLE)


@given(
    st.sampled_from(RecordClass),
    st.none() | st.integers(0, 10**18),
    st.booleans(),
    st.integers(0, 2 * 10**18),
    st.booleans(),
)
def test_what_is_never_purged(record_class, closed_ns, confirmed, now_ns, disk_full):
    found = decide(RULE, Retained(record_class, closed_ns, confirmed), now_ns, disk_full=disk_full)
    if record_class is RecordClass.AUDIT:
        assert found == Purge(Kept.NEVER_PURGED)
    elif closed_ns is None:
        assert found == Purge(Kept.OPEN)
    elif not confirmed:
        assert found == Purge(Kept.UNCONFIRMED)
    elif now_ns < closed_ns:
        assert found.kept is Kept.TOO_YOUNG, "a time that went back deletes nothing"
    assert found.allowed == (found.kept is None)
    if found.until_ns is not None:
        assert decide(RULE, Retained(record_class, closed_ns, confirmed), found.until_ns).allowed


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"cycles": Duration("23 h")}, "cycles: found 23 h, allowed 1 d and above"),
        ({"confirmations": Duration("30 d")}, r"confirmations: found 30 d, allowed no less than orders \(1100 d\)"),
    ],
)
def test_a_rule_that_cannot_be(settings, text):
    with pytest.raises(ValueError, match=text):
        RetentionRule(**settings)
