"""The status as a person reads it: what stands in the lines, and what never does."""

from __future__ import annotations

import pytest

from gateway.status import FeedView, TargetView, to_json
from gateway.status_text import feed_line, target_line

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


def test_orders_for_others_and_refused_ones_are_counted():
    view = FeedView(name="erp", received=3, elsewhere=2, refused=({"place": "orders[0]", "reasons": ["qty"]},))
    assert feed_line(to_json(view)).split() == (
        ["erp", "orders:", "3", "operations", "received,", "2", "for", "other", "work", "centers,", "1", "refused"]
    )
    assert "refused" not in feed_line(to_json(FeedView(name="erp")))
