"""What an ERP is told of an order image: one answer once every operation of it here has said what it makes of it.

The answer is a document of its own with a key of its own, never a confirmation. It stores and sends nothing.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.document import SCHEMA_VERSION, message_id_of, utc
from gateway.core.orders.order_changes import AckKind, OrderAck

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.core.document import Identity
    from gateway.core.model import JobOrder, Output
    from gateway.core.unit_state import State

#: The kind of a posting that is an answer and no confirmation.
ACK: Final = "ack"
#: The operation of such a posting: none, so that its lane is no confirmation's.
NO_OPERATION: Final = ""
REASONS_MAX: Final = 50  # in one answer; further ones are counted


class AnswerKind(enum.StrEnum):
    """What became of an image, the weightiest first: one operation that refuses it refuses it whole."""

    REFUSED = "refused"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    STALE = "stale"
    DUPLICATE = "duplicate"


_KIND_OF: Final = {
    AckKind.ORDER_ACCEPTED: AnswerKind.ACCEPTED,
    AckKind.ORDER_CHANGE_ACCEPTED: AnswerKind.ACCEPTED,
    AckKind.CANCEL_ACCEPTED: AnswerKind.ACCEPTED,
    AckKind.ORDER_CHANGE_REJECTED: AnswerKind.REFUSED,
    AckKind.CANCEL_REJECTED: AnswerKind.REFUSED,
    AckKind.DUPLICATE: AnswerKind.DUPLICATE,
    AckKind.STALE: AnswerKind.STALE,
    AckKind.UNKNOWN_ORDER: AnswerKind.UNKNOWN,
}
_WEIGHT: Final = tuple(AnswerKind)


class OperationAnswer(NamedTuple):
    """What one operation says. ``expected`` are the operations whose answers belong together, its own included."""

    target: str
    order: str
    operation: str
    revision: int
    expected: tuple[str, ...]
    at_utc_ns: int
    ack: OrderAck


def answers_to(
    received: Sequence[JobOrder],
    outputs: Sequence[Output],
    state: State,
    answers_with: Callable[[JobOrder], tuple[str, ...] | None],
) -> tuple[OperationAnswer, ...]:
    """What a step says of the orders that it received, for those whose ERP wants to hear."""
    jobs = {job.key: job for job in received}
    told: list[OperationAnswer] = []
    for ack in outputs:
        if not isinstance(ack, OrderAck) or (ack.order, ack.operation) not in jobs:
            continue
        job = jobs[ack.order, ack.operation]
        expected = answers_with(job)
        if expected is not None and ack.operation in expected:  # else the order was sent without it: the others answer
            at_utc_ns = state.at_ns + state.utc_offset_ns
            told.append(OperationAnswer(job.source, ack.order, ack.operation, ack.revision, expected, at_utc_ns, ack))
    return tuple(told)


def data_of(answer: OperationAnswer) -> dict[str, Any]:
    """One operation's part of the document, as JSON data."""
    ack = answer.ack
    return {
        "operation": answer.operation,
        "answer": _KIND_OF[ack.kind].value,
        "kind": ack.kind.value,
        "held_revision": ack.held_revision,
        "reasons": list(ack.reasons),
        "produced": {operation: str(made) for operation, made in ack.produced},
        "resend": ack.resend,
    }


def refusal(reasons: Sequence[str]) -> dict[str, Any]:
    """What is said of an order that reached none of its operations, as ``data_of`` says of one."""
    return {
        "operation": NO_OPERATION,
        "answer": AnswerKind.REFUSED.value,
        "kind": AckKind.ORDER_CHANGE_REJECTED.value,
        "held_revision": None,
        "reasons": list(reasons),
        "produced": {},
        "resend": False,
    }


def replaces(before: dict[str, Any] | None, after: dict[str, Any]) -> bool:
    """Whether a further word of an operation counts, where the former one (None: there is none) waits to be told.

    An image that comes again because the gateway ended in between is a duplicate only to who was told of it.
    """
    return before is None or after["answer"] != AnswerKind.DUPLICATE


def key_of(identity: Identity, order: str, seq: int) -> str:
    """The idempotency key of the ``seq``-th answer to an order: it has one part more than a confirmation's."""
    return f"{identity.plant}/{identity.epoch}/{order}/{NO_OPERATION}/{ACK}/{seq}"


def document(
    identity: Identity, order: str, revision: int, seq: int, at_utc_ns: int, parts: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The whole answer, in its fixed order. ``parts`` are what ``data_of`` made, in the sequence of the operations."""
    kind = min((AnswerKind(part["answer"]) for part in parts), key=_WEIGHT.index)
    told = [": ".join(filter(None, (part["operation"], reason))) for part in parts for reason in part["reasons"]]
    if len(told) > REASONS_MAX:
        told[REASONS_MAX:] = [f"... and {len(told) - REASONS_MAX} more"]
    held = [part["held_revision"] for part in parts if part["held_revision"] is not None]
    key = key_of(identity, order, seq)
    return {
        "schema_version": SCHEMA_VERSION,
        "type": "order_ack",
        "message_id": message_id_of(key),
        "idempotency_key": key,
        "gateway_id": identity.gateway_id,
        "plant": identity.plant,
        "order_id": order,
        "order_revision": revision,
        "seq": seq,
        "answer": kind.value,
        # Where one operation still holds an older revision, that is what the ERP can rely on.
        "held_revision": min(held, default=None),
        "reasons": told,
        "produced": _produced(parts),
        "resend": any(part["resend"] for part in parts),
        "operations": [
            {name: part[name] for name in ("operation", "answer", "kind", "held_revision")}
            for part in parts
            if part["operation"] != NO_OPERATION
        ],
        "created_at": utc(at_utc_ns),
    }


def _produced(parts: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What each operation had made: by its own word, else by that of one that knows what is remembered of it."""
    said = {operation: made for part in parts for operation, made in part["produced"].items()}
    own = {part["operation"]: part["produced"] for part in parts}
    return {operation: own.get(operation, {}).get(operation, made) for operation, made in said.items()}
