"""The steps of a stored posting as a person or a program is shown them: state, message, baseline, references.

The same for the command line and the API. Reads nothing and asks nobody.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from buffer.entry import OVER, OutboxState
from gateway.connectors.base import step_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from buffer.entry import OutboxEntry
    from buffer.steps import StepRow

#: A step whose turn has not come, or never came.
WAITS: Final = "waits"
NOT_SENT: Final = "not_sent"


def shown(
    entry: OutboxEntry, rows: Sequence[StepRow], named: Callable[[int | None], str | None]
) -> list[dict[str, Any]]:
    """Each step, also that of a posting with one message alone. ``named``: a stored time in UTC."""
    known = {row.step: row for row in rows}
    found: list[dict[str, Any]] = []
    for at in range(entry.steps):
        row = known.get(at)
        alone = entry.steps == 1
        first = (entry.body, entry.content_type, entry.name)
        message = first if at == 0 else (row.body, row.content_type, row.name) if row is not None else (None,) * 3
        accepted = row.accepted if row is not None else ""
        reference = row.reference if row is not None else ""
        if alone:
            own = entry.state is OutboxState.ACCEPTED
            accepted, reference = accepted or (entry.reference if own else ""), "" if own else entry.reference
        found.append(
            {
                "step": at,
                "state": _state(entry, row, at),
                "message_id": step_id(entry.message_id, at),
                "sent": named(row.sent_ns if row is not None and not alone else entry.first_sent_ns if alone else None),
                "settled": named(entry.settled_ns if alone else row.settled_ns if row is not None else None),
                "accepted": accepted,
                "reference": reference,
                "baseline": text_of(row.baseline) if row is not None and row.baseline is not None else None,
                "message": _message(*message),
            }
        )
    return found


def text_of(content: bytes) -> str:
    """What is shown of bytes that a connector kept: the text, or base64 where it is none."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(content).decode()}"


def _state(entry: OutboxEntry, row: StepRow | None, at: int) -> str:
    if row is not None and row.outcome:
        return row.outcome
    if at == entry.step:
        return entry.state.value
    if at < entry.step:  # it was booked before its outcome was kept
        return OutboxState.POSTED.value
    return NOT_SENT if entry.state in OVER else WAITS


def _message(body: bytes | None, content_type: str | None, name: str | None) -> dict[str, Any] | None:
    if body is None:
        return None
    return {"content_type": content_type, "name": name, "body": body.decode("utf-8", errors="replace")}
