"""The canonical document itself as a message: compact JSON. Pure; for targets that speak the gateway's own contract."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import MappingError

if TYPE_CHECKING:
    from collections.abc import Mapping

MESSAGE_MAX_BYTES: Final = 256 * 1024
_CONFIRMATION_REQUIRED: Final = ("idempotency_key", "order_id", "operation", "seq", "qty")
_REQUIRED: Final = {
    "order_ack": ("idempotency_key", "order_id", "order_revision", "answer"),
    "notice": ("idempotency_key", "notice", "seq", "detail"),
}


def written(document: Mapping[str, Any]) -> bytes:
    """The bytes of a confirmation, of an answer to an order or of a notice. Raises MappingError."""
    required = _REQUIRED.get(str(document.get("type")), _CONFIRMATION_REQUIRED)
    missing = [name for name in required if name not in document]
    if missing:
        raise MappingError(f"the confirmation has no {', '.join(missing)}; every confirmation must have them")
    try:
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise MappingError(f"the confirmation cannot be written as JSON: {error}") from error
    if len(body) > MESSAGE_MAX_BYTES:
        raise MappingError(f"the confirmation has {len(body)} bytes, allowed at most {MESSAGE_MAX_BYTES}")
    return body
