"""Writes a notice as a file: the canonical document as JSON, UTF-8. Pure: same document, same bytes and same file name.

Whatever the format of confirmations is, a notice is JSON: its lists have no place in a line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import MappingError, Rendered
from gateway.connectors.canonical_json import written

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME_PART_MAX_CHARS: Final = 40
SHORT_ID_CHARS: Final = 12
SEQ_DIGITS: Final = 6
REQUIRED: Final = ("notice", "message_id", "idempotency_key", "seq")
#: Stands in the name where a notice is about no order.
NO_ORDER: Final = "gateway"
#: Every name that is given here, and hardly any other.
NAME: Final = re.compile(
    r"[A-Za-z0-9_-]{1,40}-(status|quality|unallocated|reconciliation)-\d{6,19}-[0-9A-Fa-f]{12}\.json"
)

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def render(document: Mapping[str, Any]) -> Rendered:
    """The file's bytes and its name. Raises MappingError, naming the field."""
    missing = [name for name in REQUIRED if document.get(name) in (None, "")]
    if missing:
        raise MappingError(f"the notice has no {', '.join(missing)}; every notice must have them")
    about = _UNSAFE.sub("_", document.get("order_id") or NO_ORDER)[:NAME_PART_MAX_CHARS]
    short_id = _UNSAFE.sub("", document["message_id"]).replace("-", "")[:SHORT_ID_CHARS]
    seq = str(document["seq"]).zfill(SEQ_DIGITS)
    return Rendered(written(document), "application/json", f"{about}-{document['notice']}-{seq}-{short_id}.json")
