"""The status as a person reads it: what stands in the lines, and what never does."""

from __future__ import annotations

import pytest

from gateway.status import TargetView, to_json
from gateway.status_text import target_line

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
