"""LOGDATE and LOGTIME of a ticket: SAP books in their sequence, and equal ones in any. Pure, and nothing is remembered.

Within an operation they must grow by a second at least, however close together confirmations were made. A function of
the time of making alone cannot do that, and one that looks at the ticket before would not be pure. So every number of
a confirmation has room of its own: the time of making, and ``step_s`` seconds for each number. As numbers grow one by
one and times of making do not go back, stamps grow by ``step_s`` at least; the tickets of one confirmation share its
room, a second each. It leads the clock by what it gave away, so that all of it is put back by a fixed ``lag_s``. It is
in UTC: the plant's own time has an hour twice in autumn.
"""

from __future__ import annotations

from typing import Final

from gateway.connectors.base import MappingError

STEP_MAX_S: Final = 32


def log_second(created_s: int, seq: int, ticket: int, *, step_s: int, lag_s: int) -> int:
    """Seconds since 1970 of a ticket; ``seq`` from 1 on, ``ticket`` from 0 on. Raises MappingError: no room for it."""
    if ticket >= step_s:
        raise MappingError(
            f"qty.scrap: found more than {step_s} reasons in one confirmation, allowed: log_step of them; raise it"
        )
    return created_s - lag_s + (seq - 1) * step_s + ticket
