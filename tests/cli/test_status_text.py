"""The status as a person reads it: what stands in the lines, and what never does."""

from __future__ import annotations

import pytest

from gateway.shown.status import FeedView, SourceView, TargetView, to_json
from gateway.shown.status_text import feed_line, source_line, target_line

S = 1_000_000_000
NOW_NS = 1000 * S


def line(**changes):
    view = TargetView(name="erp", since_ns=0, last_error="business_reject: order closed", **{"link": "up", **changes})
    return target_line(to_json(view), NOW_NS)


@pytest.mark.parametrize(
    "changes",
    [
        {"parked": 1, "oldest_waiting_ns": NOW_NS},
        {"uncertain": 1, "waiting": 1, "oldest_waiting_ns": NOW_NS},
        {"waiting": 1, "oldest_waiting_ns": NOW_NS - 61 * S},
        {"link": "down"},
    ],
    ids=" ".join,
)
def test_the_reason_is_shown_where_something_is_held_up(changes):
    assert "order closed" in line(**changes)


@pytest.mark.parametrize("changes", [{}, {"waiting": 1, "oldest_waiting_ns": NOW_NS - S}], ids=str)
def test_an_old_error_is_not_shown_while_everything_flows(changes):
    assert "order closed" not in line(**changes)


def test_how_long_answers_take_and_which_stage_takes_longest():
    stages = {"detection": 90, "trigger": 4_000, "waiting": 3, "answer": None}
    shown = line(latency_last_ms=120, latency_median_ms=110, latency_p95_ms=4_200, stages_p95_ms=stages, goods_errors=2)
    assert "  last answer after 120 ms, median 110 ms, p95 4200 ms (trigger 4000 ms)" in shown
    assert "  goods errors 2" in shown


def test_orders_for_others_and_refused_ones_are_counted():
    view = FeedView(name="erp", received=3, elsewhere=2, refused=({"place": "orders[0]", "reasons": ["qty"]},))
    assert feed_line(to_json(view)).split() == (
        ["erp", "orders:", "3", "operations", "received,", "2", "for", "other", "work", "centers,", "1", "refused"]
    )
    assert "refused" not in feed_line(to_json(FeedView(name="erp")))


def test_a_source_that_is_down_says_why_and_when_it_is_tried_again():
    view = SourceView(
        name="plc", state="down", since_ns=NOW_NS - 60 * S, last_value_ns=NOW_NS - 90 * S, last_error="no route",
        next_retry_ns=NOW_NS + 7 * S, reconnects=3,
    )  # fmt: skip
    assert source_line(to_json(view), NOW_NS).split("plc", 1)[1].strip().split("  ") == [
        "down for 1 min", "last value 1 min ago", "3 reconnects", "no route", "next attempt in 7 s",
    ]  # fmt: skip


def test_problems_and_notices_of_a_source_stand_below_it():
    view = SourceView(
        name="plc", state="up", since_ns=NOW_NS, last_error="long ago", problems={"plc.x": "no such register"},
        notices={"clock": "the device's clock shows\n2000-01-01"},
    )  # fmt: skip
    lines = source_line(to_json(view), NOW_NS).splitlines()
    assert [line.strip() for line in lines] == [
        "plc          up for 0 s", "plc.x: no such register", "note: the device's clock shows 2000-01-01",
    ]  # fmt: skip
