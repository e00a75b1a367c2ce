"""What a person is told besides "done": what was passed over, and that a rush order has not started."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.core.model import JobChanged, JobOrder, JobOrderState, JobRecord, Notice, OperatorVerb
from gateway.verbs.control_verbs import besides

S, V = JobOrderState, OperatorVerb


def changed(order, state):
    job = JobOrder(
        order, "0010", "0", 1, "WC", "P", "", "PC", Decimal(10), 1, None, None, None, cancelled=False, source="erp"
    )
    return JobChanged(1, JobRecord(job, state, 1, 10, 0, 0, ""), S.DISPATCHED, "")


def warned(code):
    return Notice(1, code, (("reason", "checklist lots: found none"),))


@pytest.mark.parametrize(
    ("verb", "made", "told"),
    [
        (V.START, [warned("START_WARNING")], "; despite checklist lots: found none"),
        (V.FINISH, [warned("FINISH_WARNING")], "; despite checklist lots: found none"),
        (V.FINISH, [warned("OTHER"), changed("R", S.COMPLETED)], ""),
        (V.RUSH, [changed("R", S.DISPATCHED), changed("R", S.SETUP)], ""),
        (V.RUSH, [changed("R", S.DISPATCHED), changed("A", S.IN_PROGRESS)], "; it has not started: what runs goes on"),
        (V.DISPATCH, [changed("R", S.DISPATCHED)], ""),
    ],
)
def test_what_is_said_besides(verb, made, told):
    found = besides(verb, "R", made)
    assert found.startswith(told)
    assert bool(found) is bool(told)
