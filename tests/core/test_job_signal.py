"""The PLC names the running order."""

from __future__ import annotations

import pytest

from gateway.core.model import Status
from gateway.core.rules import OrderRule

RULE = OrderRule(choose="job_signal", job_signal="plc.job")


def test_the_tag_starts_interrupts_and_comes_back(rig):
    floor = rig(orders=RULE)
    floor.order("A", 10)
    floor.order("B", 10)
    assert floor.running is None
    floor.value("plc.job", "A-0010")
    assert floor.running == "A"
    floor.make(3)
    floor.value("plc.job", "B-0010")
    assert (floor.running, floor.confirmed) == ("B", [("A", 1, 3, "partial", "interruption")])
    floor.value("plc.job", "A-0010")
    floor.make(7)
    assert floor.confirmed[-1] == ("A", 2, 7, "final", "target reached")
    assert floor.running is None


def test_the_tag_may_come_before_its_order(rig):
    floor = rig(orders=RULE)
    floor.value("plc.job", "A-0010")
    assert floor.notices == [("UNKNOWN_JOB", {"job_signal": "A-0010"})]
    floor.make(2)
    floor.order("A", 10)
    assert floor.running == "A"
    floor.make(2)
    assert floor.booked == [(None, 2), ("A", 2)]


def test_an_unknown_job_interrupts_and_its_pieces_are_nobodys(rig):
    floor = rig(orders=RULE)
    floor.order("A", 10)
    floor.value("plc.job", "A-0010")
    floor.value("plc.job", "X-0010")
    floor.make(4)
    assert floor.running is None
    assert floor.notices == [("UNKNOWN_JOB", {"job_signal": "X-0010"})]
    assert floor.booked == [(None, 4)]


@pytest.mark.parametrize("blank", ["", "   ", "\0\0\0"])
def test_a_blank_tag_means_no_job(rig, blank):
    floor = rig(orders=RULE)
    floor.order("A", 10)
    floor.value("plc.job", "A-0010")
    floor.value("plc.job", blank)
    assert (floor.running, floor.queued, floor.notices) == (None, ["A"], [])


def test_padding_and_repetition_are_nothing_new(rig):
    floor = rig(orders=RULE)
    floor.order("A", 10)
    floor.value("plc.job", "A-0010")
    told = len(floor.said)
    for padded in ("A-0010", "A-0010\0\0\0", "  A-0010 \r\n"):
        floor.value("plc.job", padded)
    assert len(floor.said) == told


def test_a_bad_tag_changes_nothing(rig):
    floor = rig(orders=RULE)
    floor.order("A", 10)
    floor.value("plc.job", "A-0010")
    floor.value("plc.job", None, Status.BAD)
    assert floor.running == "A"


@pytest.mark.parametrize(
    ("job_format", "value"),
    [
        ("{order}", "4711"),
        ("{order}", 4711),
        ("{order}/{operation}", "4711/0010"),
        ("OP{operation}:{order}", "OP0010:4711"),
    ],
)
def test_the_format_of_the_tag(rig, job_format, value):
    floor = rig(orders=OrderRule(choose="job_signal", job_signal="plc.job", job_format=job_format))
    floor.order("4711", 10)
    floor.value("plc.job", value)
    assert floor.running == "4711"


def test_a_finished_job_that_is_still_named_is_unknown(rig):
    floor = rig(orders=RULE)
    floor.order("A", 2)
    floor.value("plc.job", "A-0010")
    floor.make(3)
    assert floor.booked == [("A", 2), (None, 1)]
    assert floor.notices == [("UNKNOWN_JOB", {"job_signal": "A-0010"})]


@pytest.mark.parametrize("rule", [{"choose": "job_signal"}, {"job_signal": "plc.job"}, {"job_format": "{operation}"}])
def test_rules_that_contradict_themselves(rule):
    with pytest.raises(ValueError, match=r"job_signal is needed with choose|must contain \{order\}"):
        OrderRule(**rule)
