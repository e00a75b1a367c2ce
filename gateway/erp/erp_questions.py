"""Questions about a target that change nothing: what a message would be, whether it is there, what it offers and has.

The same for a running gateway and for the command line alone. Whatever a connector raises, it is told; each answer is
plain data for a program or a person. Sends nothing, moves nothing, decides nothing.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import (
    ConnectorError,
    LeavesMaterial,
    MappingError,
    Posting,
    Rendered,
    TellsHeaders,
    step_id,
)
from gateway.core.document import encode, message_id_of, utc
from gateway.core.duration import NS_PER_S, Duration
from gateway.core.foreign_text import clean
from gateway.forwarder.asking import looked_up, message_of, step_posting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buffer.entry import OutboxEntry
    from buffer.steps import StepRow
    from gateway.connectors.base import Connector, OrderPage
    from gateway.core.model import ProductionOrder

#: Longest wait for one answer of a target; the control socket waits a little longer.
ANSWER_LIMIT_NS: Final = Duration("20 s")
#: Orders that are shown of one page.
ORDERS_SHOWN_MAX: Final = 500
TEXT_MAX_CHARS: Final = 1000
DOCUMENT_MAX_BYTES: Final = 4 * 1024 * 1024
KEY_PARTS: Final = 5  # plant, epoch, order, operation, number


class QuestionError(Exception):
    """A question that cannot be asked or has no answer; says what was found and what to do."""


def rendered(connector: Connector, target: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """The exact messages that the target would be sent for a document. Raises QuestionError."""
    try:
        message = message_of(connector, encode(dict(document)))
    except MappingError as error:
        raise QuestionError(f"{target}: it cannot be expressed: {clean(str(error), TEXT_MAX_CHARS)}") from error
    return shown(target, document, message, connector)


def rendered_of(
    connector: Connector | None, entry: OutboxEntry, rows: Sequence[StepRow], why_none: str = ""
) -> dict[str, Any]:
    """The messages of a stored posting: those that were fixed, else those that would be. Raises QuestionError.

    ``connector`` None: its target is not configured any more (``why_none``).
    """
    document, message = document_of(entry.payload), stored_message(entry, rows)
    if message is not None:
        baselines = {row.step: row.baseline for row in rows if row.baseline is not None}
        return shown(entry.target, document, message, connector, baselines)
    if connector is None:
        raise QuestionError(why_none)
    return rendered(connector, entry.target, document)


def shown(
    target: str,
    document: Mapping[str, Any],
    message: Rendered,
    connector: Connector | None = None,
    baselines: Mapping[int, bytes] | None = None,
) -> dict[str, Any]:
    """Messages as data, each with its number and id; a body that is no text is in base64.

    ``not_sent``: material that no message tells and a person posts.

    ``headers``: those that the connector can name; signing in adds its own. ``baseline``: what the target said before
    it was first sent. Raises QuestionError.
    """
    steps = (message, *message.more)
    own_id = str(document.get("confirmation_id") or document.get("message_id") or "")
    known = baselines or {}
    return {
        "target": target,
        "order": document.get("order_id"),
        "operation": document.get("operation"),
        "type": document.get("type"),
        "seq": document.get("seq"),
        "not_sent": list(connector.not_sent(document)) if isinstance(connector, LeavesMaterial) else [],
        "messages": [
            {
                "step": at,
                "message_id": step_id(own_id, at) if own_id else "",
                "headers": _headers(connector, target, _posting(document, own_id, steps, at)),
                "baseline": _text_of(known[at]) if at in known else None,
                **_body(one),
            }
            for at, one in enumerate(steps)
        ],
    }


async def probed(connector: Connector, target: str) -> dict[str, Any]:
    """Whether the target answers; one that fails is an answer, too."""
    try:
        async with asyncio.timeout(ANSWER_LIMIT_NS / NS_PER_S):
            health = await connector.probe()
    except TimeoutError:
        return {"target": target, "ok": False, "detail": f"no answer within {ANSWER_LIMIT_NS // NS_PER_S} s"}
    except Exception as error:  # noqa: BLE001 - whatever a connector raises, it is told
        return {"target": target, "ok": False, "detail": clean(str(error) or repr(error), TEXT_MAX_CHARS)}
    return {"target": target, "ok": health.ok, "detail": clean(health.detail, TEXT_MAX_CHARS)}


async def offered(connector: Connector, target: str, since: str, machines: Mapping[str, str]) -> dict[str, Any]:
    """What the target offers, how it would be read, and what would be refused and why.

    ``since``: a cursor as the target gave it, "" for all that it offers. ``machines``: work center to our machine.
    Raises QuestionError: also for a cursor where giving it back moves something at the source.
    """
    can = connector.capabilities
    if not can.orders:
        raise QuestionError(f"{target}: offers no orders")
    if since and can.cursor_moves:
        raise QuestionError(
            f"{target}: --since: found a cursor, allowed none here: to give it back is to say that its orders are taken"
        )
    try:
        async with asyncio.timeout(ANSWER_LIMIT_NS / NS_PER_S):
            page = await connector.fetch_orders(since)
    except TimeoutError:
        raise QuestionError(f"{target}: no orders within {ANSWER_LIMIT_NS // NS_PER_S} s; try again") from None
    except ConnectorError as error:
        raise QuestionError(f"{target}: {clean(str(error), TEXT_MAX_CHARS)}") from error
    except Exception as error:
        raise QuestionError(f"{target}: the connector failed: {clean(repr(error), TEXT_MAX_CHARS)}") from error
    return {"target": target, **_page(page, machines)}


async def found_at(connector: Connector, target: str, posting: Posting) -> dict[str, Any]:
    """Whether the target has the posting booked."""
    if not connector.capabilities.can_lookup:
        raise QuestionError(f"{target}: cannot be asked whether a key is booked; look into the ERP itself")
    found = await looked_up(connector, posting, ANSWER_LIMIT_NS)
    return {
        "target": target,
        "key": posting.key,
        "step": posting.step,
        "steps": posting.steps,
        "message_id": posting.message_id,
        "found": found.kind.value,
        "reference": clean(found.reference, TEXT_MAX_CHARS),
        "code": clean(found.code, TEXT_MAX_CHARS),
        "detail": clean(found.detail, TEXT_MAX_CHARS),
    }


def stored_message(entry: OutboxEntry, rows: Sequence[StepRow] = ()) -> Rendered | None:
    """The messages that a posting was given already; None: it was never rendered."""
    if entry.body is None or entry.content_type is None or entry.name is None:
        return None
    more = tuple(
        Rendered(row.body, row.content_type, row.name)
        for row in rows
        if row.step > 0 and row.body is not None and row.content_type is not None and row.name is not None
    )
    return Rendered(entry.body, entry.content_type, entry.name, more)


def postings_to_ask(connector: Connector, entry: OutboxEntry, rows: Sequence[StepRow] = ()) -> list[Posting]:
    """What look-ups need of a stored posting, one for each step up to the one that is due.

    Raises QuestionError where it cannot be expressed.
    """
    if stored_message(entry) is not None:
        return [step_posting(entry, rows, at) for at in range(max(entry.step, entry.left_step) + 1)]
    try:
        message = message_of(connector, entry.payload)
    except MappingError as error:
        raise QuestionError(f"{entry.key}: was never sent: it cannot be expressed: {error}") from error
    lane = (entry.order, entry.operation, entry.seq)
    return [Posting(entry.key, entry.message_id, *lane, entry.attempts, message, entry.kind)]


def posting_of_key(key: str) -> Posting:
    """What a look-up needs of a key that this gateway has no posting of. Raises QuestionError."""
    parts = key.split("/")
    if len(parts) != KEY_PARTS or not parts[-1].isdecimal():
        raise QuestionError(f"key: found {key[:200]!r}, allowed: PLANT/EPOCH/ORDER/OPERATION/NUMBER")
    _, _, order, operation, number = parts
    return Posting(key, message_id_of(key), order, operation, int(number[:18]), 0, Rendered(b"", "", ""))


def document_of(text: bytes, bytes_max: int = DOCUMENT_MAX_BYTES) -> dict[str, Any]:
    """A confirmation as it is stored, or from a file. Raises QuestionError."""
    if len(text) > bytes_max:
        raise QuestionError(f"found more than {bytes_max} bytes, allowed: one confirmation document")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise QuestionError(f"found no JSON ({error}), allowed: one confirmation document") from error
    if not isinstance(document, dict):
        raise QuestionError(f"found {type(document).__name__}, allowed: one confirmation document, an object")
    return document


def _posting(document: Mapping[str, Any], own_id: str, steps: Sequence[Rendered], at: int) -> Posting:
    """A step as it would be handed over at its first try."""
    key = str(document.get("idempotency_key") or "")
    lane = (str(document.get("order_id") or ""), str(document.get("operation") or ""))
    seq = document.get("seq")
    return Posting(
        key,
        step_id(own_id, at) if own_id else "",
        *lane,
        seq if isinstance(seq, int) else 0,
        1,
        steps[at]._replace(more=()),
        str(document.get("type") or ""),
        step=at,
        steps=len(steps),
    )


def _headers(connector: Connector | None, target: str, posting: Posting) -> dict[str, str]:
    if not isinstance(connector, TellsHeaders):
        return {}
    try:
        return {name: clean(str(text), TEXT_MAX_CHARS) for name, text in connector.headers(posting).items()}
    except MappingError as error:
        raise QuestionError(f"{target}: {clean(str(error), TEXT_MAX_CHARS)}") from error
    except Exception as error:
        raise QuestionError(f"{target}: the connector failed: {clean(repr(error), TEXT_MAX_CHARS)}") from error


def _text_of(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(content).decode()}"


def _body(one: Rendered) -> dict[str, Any]:
    try:
        return {"content_type": one.content_type, "name": one.name, "body": one.body.decode("utf-8")}
    except UnicodeDecodeError:
        return {"content_type": one.content_type, "name": one.name, "base64": base64.b64encode(one.body).decode()}


def _page(page: OrderPage, machines: Mapping[str, str]) -> dict[str, Any]:
    return {
        "orders": [_order(one, machines) for one in page.orders[:ORDERS_SHOWN_MAX]],
        "not_shown": max(len(page.orders) - ORDERS_SHOWN_MAX, 0),
        "refused": [
            {"place": clean(one.place), "reasons": [clean(reason, TEXT_MAX_CHARS) for reason in one.reasons]}
            for one in page.refused
        ],
        "cursor": page.cursor,
    }


def _order(order: ProductionOrder, machines: Mapping[str, str]) -> dict[str, Any]:
    return {
        "order": order.order,
        "revision": order.revision,
        "product": order.product,
        "quantity": str(order.quantity),
        "uom": order.uom,
        "cancelled": order.cancelled,
        "planned_start": utc(order.planned_start_ns),
        "operations": [
            {
                "operation": one.operation,
                "work_center": one.work_center,
                "quantity": str(one.quantity),
                "machine": machines.get(one.work_center, ""),
            }
            for one in order.operations
        ],
    }
