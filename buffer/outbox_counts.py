"""How many postings of a target are where, from a tally that is kept with every change. Changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from buffer.entry import OPEN_STATES, OutboxCounts, OutboxState

if TYPE_CHECKING:
    from collections.abc import Sequence

_COUNTS: Final = """
    SELECT 'posting', state, postings FROM outbox_tally WHERE target = ?1
    UNION ALL SELECT 'answer', state, postings FROM answer_tally WHERE target = ?1
    UNION ALL SELECT 'notice', state, postings FROM notice_tally WHERE target = ?1
    UNION ALL SELECT 'oldest', NULL, (
        SELECT created_ns FROM outbox
        WHERE target = ?1 AND head = 1 AND kind NOT IN ('ack', 'notice') ORDER BY id LIMIT 1
    )
    UNION ALL SELECT 'goods', NULL, (
        SELECT count(*) FROM outbox WHERE target = ?1 AND state = 'posted' AND error_kind = 'goods_movement_error'
    )
"""


def counts_query(target: str) -> tuple[str, tuple[Any, ...]]:
    """SQL and values whose rows ``counts_of`` takes."""
    return _COUNTS, (target,)


def counts_of(rows: Sequence[Sequence[Any]]) -> OutboxCounts:
    """The counts in the rows of ``counts_query``."""
    answers = {str(state): number for what, state, number in rows if what == "answer"}
    notices = {str(state): number for what, state, number in rows if what == "notice"}
    found = {
        str(state): number - answers.get(state, 0) - notices.get(state, 0)
        for what, state, number in rows
        if what == "posting"
    }
    oldest_created_ns = next(created_ns for what, _, created_ns in rows if what == "oldest")
    waits = [state for state in OPEN_STATES if state is not OutboxState.PARKED]
    return OutboxCounts(
        waiting=sum(found.get(state, 0) for state in waits),
        uncertain=found.get(OutboxState.UNCERTAIN, 0),
        parked=found.get(OutboxState.PARKED, 0),
        accepted=found.get(OutboxState.ACCEPTED, 0),
        posted=found.get(OutboxState.POSTED, 0),
        delivered=found.get(OutboxState.DELIVERED, 0),
        oldest_created_ns=oldest_created_ns,
        held=found.get(OutboxState.HELD, 0),
        needs_approval=found.get(OutboxState.NEEDS_APPROVAL, 0),
        goods_errors=next(number for what, _, number in rows if what == "goods"),
        answers_waiting=sum(answers.get(state, 0) for state in waits),
        answers_parked=answers.get(OutboxState.PARKED, 0),
        notices_waiting=sum(notices.get(state, 0) for state in waits),
        notices_parked=notices.get(OutboxState.PARKED, 0),
    )
