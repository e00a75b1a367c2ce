"""What an ERP has booked, in the gateway's own words: its keys back to ours, its steps put together. Pure.

A double of a real ERP keeps the key that its ERP would know (a GUID, 32 hex digits, a number of its own) and may book
one confirmation in several steps. What it booked under a key of nobody stays as it is: it is in no machine's sum, and
so the table does not balance.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import STEPS_MAX, step_id

if TYPE_CHECKING:
    from collections.abc import Iterable

PIECES: Final = ("good", "scrap", "rework")
_SIGNS: Final = re.compile(r"[^0-9a-z]")


def in_our_words(bookings: Iterable[dict[str, Any]], postings: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The bookings by our keys, each confirmation once; one that was booked again stands there again.

    Args:
        bookings: the ledger of a double: ``key``, ``order``, ``operation``, ``good``, ``scrap`` and so on, as booked.
        postings: all postings of the gateway, with ``key``, ``message_id``, ``machine``, ``order``, ``operation``,
            ``seq``.
    """
    known: dict[str, tuple[dict[str, Any], int]] = {}
    for posting in postings:
        known[posting["key"]] = (posting, 0)
        for step in range(STEPS_MAX):
            known[_bare(step_id(posting["message_id"], step))] = (posting, step)
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    times: dict[tuple[str, int], int] = {}
    foreign: list[dict[str, Any]] = []
    for booking in bookings:
        found = known.get(str(booking["key"])) or known.get(_bare(str(booking["key"])))
        if found is None:
            foreign.append({"machine": "", **booking})
            continue
        posting, step = found
        # The same step once more is another booking of the same key: whoever sums them up has to see it twice.
        again = times.get((posting["key"], step), 0)
        times[posting["key"], step] = again + 1
        names = ("key", "machine", "order", "operation", "seq")
        row = rows.setdefault(
            (posting["key"], again), {name: posting[name] for name in names} | dict.fromkeys(PIECES, 0)
        )
        for name in PIECES:
            row[name] += _whole(booking.get(name, 0))
    return [*rows.values(), *foreign]


def not_booked(postings: Iterable[dict[str, Any]], ledger: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What still waits: of a posting whose answer was lost, or whose steps are not all booked, what is missing."""
    left: list[dict[str, Any]] = []
    booked = list(ledger)
    for posting in postings:
        there = [row for row in booked if row["key"] == posting["key"]]
        rest = {name: max(posting[name] - sum(_whole(row[name]) for row in there), 0) for name in ("good", "scrap")}
        if not there or any(rest.values()):
            left.append(posting | rest)
    return left


def _bare(key: str) -> str:
    """A GUID as one ERP writes it and as another does."""
    return _SIGNS.sub("", key.lower())


def _whole(number: object) -> int:
    exact = Decimal(str(number))
    if exact != int(exact):
        raise ValueError(f"found {number} pieces booked, allowed: whole pieces")
    return int(exact)
