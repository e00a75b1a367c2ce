"""What is asked of a connector beside a send: its message, and whether a key is booked. Whatever it raises, it is told.

It decides nothing about the answer, and changes nothing in the outbox.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

from buffer.entry import OVER, THERE
from buffer.errors import OutboxError
from gateway.connectors.base import (
    STEPS_MAX,
    ConnectorError,
    Lookup,
    LookupKind,
    MappingError,
    Outcome,
    OutcomeKind,
    Posting,
    Rendered,
    TakesBaseline,
    step_id,
)
from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buffer.entry import OutboxEntry
    from buffer.outbox import Outbox
    from buffer.steps import Message, StepRow
    from gateway.connectors.base import Connector


#: What a connector says before a send is kept with the posting, on a device that wears out.
BASELINE_MAX_BYTES: Final = 16 * 1024
REVERSAL: Final = "reversal"


def message_of(connector: Connector, payload: bytes, reverses_references: Sequence[str] = ()) -> Rendered:
    """The exact message for a canonical document. Raises MappingError, whatever the connector raises.

    ``reverses_references`` go into the document of a reversal.
    """
    try:
        document = json.loads(payload)
        if document.get("type") == REVERSAL:
            document["reverses_references"] = list(reverses_references)
        rendered = connector.render(document)
    except MappingError:
        raise
    except Exception as error:
        # A connector that cannot render must not stop other lanes.
        raise MappingError(f"the connector failed: {error!r}") from error
    if len(rendered.more) >= STEPS_MAX or any(one.more for one in rendered.more):
        found = f"found {1 + len(rendered.more)} messages, allowed: one row of at most {STEPS_MAX}"
        raise MappingError(f"the connector's steps: {found}; report it")
    return rendered


class NotBookedYetError(Exception):
    """What a reversal takes back is still on its way to be booked: it waits for that; says which and how it stands."""


async def reversed_references(outbox: Outbox, entry: OutboxEntry) -> tuple[str, ...]:
    """The references of what a reversal takes back, () for anything else, and where the target gave none.

    Raises NotBookedYetError, MappingError where nothing of it is known to be booked, StoreError.
    """
    if entry.kind != REVERSAL:
        return ()
    key = str(json.loads(entry.payload).get("reverses") or "")
    taken = await outbox.get(key, entry.target) if key else None
    if taken is None:
        raise MappingError(
            f"reverses: found {key!r}, which {entry.target} has no posting of (any more: retention.confirmations); "
            "take it back in the ERP by hand, then discard this"
        )
    if taken.state not in OVER:
        raise NotBookedYetError(f"reverses: {key} is {taken.state} and not booked yet; this goes once it is")
    references = await outbox.references(taken)
    if taken.state not in THERE and not references:
        raise MappingError(
            f"reverses: {key} is {taken.state}, and nothing of it is known to be booked; where somebody booked it in "
            "the ERP by hand, take it back there by hand; then discard this"
        )
    return references


def more_of(rendered: Rendered) -> tuple[Message, ...]:
    """The messages behind the first one, as they are kept."""
    return tuple((one.body, one.content_type, one.name) for one in rendered.more)


def is_stepped(entry: OutboxEntry, connector: Connector) -> bool:
    """Whether more is known of the posting than stands with it."""
    return entry.steps > 1 or connector.capabilities.baseline


def step_posting(entry: OutboxEntry, steps: Sequence[StepRow] = (), step: int | None = None) -> Posting:
    """What a connector is handed of the step that is due, or of another one. Raises OutboxError without a message."""
    at = entry.step if step is None else step
    rows = {one.step: one for one in steps}
    row = rows.get(at)
    fixed = (entry.body, entry.content_type, entry.name)
    if at > 0:
        fixed = (row.body, row.content_type, row.name) if row is not None else (None, None, None)
    body, content_type, name = fixed
    if body is None or content_type is None or name is None:
        raise OutboxError(f"outbox, {entry.key}: has no message; it cannot be sent or looked up")
    several = entry.steps > 1
    return Posting(
        entry.key,
        step_id(entry.message_id, at),
        entry.order,
        entry.operation,
        entry.seq,
        entry.attempts,
        Rendered(body, content_type, name),
        entry.kind,
        step=at,
        steps=entry.steps,
        references=tuple(rows[one].reference for one in range(at) if one in rows) if several else (),
        baseline=None if row is None else row.baseline,
        released=bool(entry.released),
        accepted=(row.accepted if row is not None else "") if several else entry.reference,
        sent_ns=row.sent_ns if row is not None else entry.first_sent_ns,
    )


async def taken_baseline(connector: Connector, posting: Posting, limit_ns: int) -> bytes | Outcome:
    """What the target says before this step is sent; the outcome NOT_SENT where it says nothing."""
    limit_s = limit_ns / NS_PER_S
    try:
        if not isinstance(connector, TakesBaseline):
            return Outcome(OutcomeKind.MAPPING, "the connector says it takes a baseline, and has none; report it")
        async with asyncio.timeout(limit_s):
            said = await connector.baseline(posting)
    except TimeoutError:
        return Outcome(OutcomeKind.NOT_SENT, f"the question before the send had no end within {limit_s:g} s")
    except ConnectorError as error:
        return Outcome(OutcomeKind.NOT_SENT, f"the question before the send: {error}")
    except Exception as error:  # noqa: BLE001 - whatever a connector raises, nothing was sent
        return Outcome(OutcomeKind.NOT_SENT, f"the question before the send failed: {error!r}")
    if len(said) > BASELINE_MAX_BYTES:
        found = f"found {len(said)} bytes before the send, allowed: {BASELINE_MAX_BYTES}"
        return Outcome(OutcomeKind.MAPPING, f"{found}; the connector must keep less; report it")
    return said


async def looked_up(connector: Connector, posting: Posting, limit_ns: int) -> Lookup:
    """Whether the posting is booked; UNKNOWN where there is no answer within ``limit_ns`` or the connector fails."""
    limit_s = limit_ns / NS_PER_S
    try:
        async with asyncio.timeout(limit_s):
            return await connector.lookup(posting)
    except TimeoutError:
        return Lookup(LookupKind.UNKNOWN, detail=f"no end within {limit_s:g} s")
    except Exception as error:  # noqa: BLE001 - whatever a connector raises, nothing was found out
        return Lookup(LookupKind.UNKNOWN, detail=f"the connector failed: {error!r}")
