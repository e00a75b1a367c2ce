"""What is asked of a connector beside a send: its message, and whether a key is booked. Whatever it raises, it is told.

It decides nothing about the answer, and changes nothing in the outbox.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from gateway.connectors.base import Lookup, LookupKind, MappingError
from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    from gateway.connectors.base import Connector, Posting, Rendered


def message_of(connector: Connector, payload: bytes) -> Rendered:
    """The exact message for a canonical document. Raises MappingError, whatever the connector raises."""
    try:
        return connector.render(json.loads(payload))
    except MappingError:
        raise
    except Exception as error:
        # A connector that cannot render must not stop other lanes.
        raise MappingError(f"the connector failed: {error!r}") from error


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
