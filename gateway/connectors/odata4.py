"""Reads rows by OData V4: a query, its pages, and nothing else. Numbers are decimals.

Pages follow ``@odata.nextLink``, of which only path and query count: what it names as host is never asked. What a row
means is the connector's business.
"""

from __future__ import annotations

import json
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from gateway.connectors.base import ConnectorError, OutcomeKind
from gateway.connectors.http import TransportError
from gateway.connectors.signed_client import SignInRefusedError
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.connectors.http import HttpAnswer
    from gateway.connectors.signed_client import SignedClient

ROWS_MAX: Final = 50_000
PAGES_MAX: Final = 500
PAGE_MAX_BYTES: Final = 16 * 1024 * 1024
NEXT: Final = "@odata.nextLink"
SHOWN_MAX_CHARS: Final = 200


class QueryError(ConnectorError):
    """The rows could not be read. ``kind``: whether it is a matter of the sign-in (AUTH), or of later (NOT_SENT)."""

    def __init__(self, text: str, kind: OutcomeKind = OutcomeKind.NOT_SENT) -> None:
        super().__init__(text)
        self.kind = kind


def text(value: str) -> str:
    """A text as a filter writes it."""
    return "'" + value.replace("'", "''") + "'"


def any_of(field: str, values: Iterable[str]) -> str:
    """A filter for one of some texts."""
    return "(" + " or ".join(f"{field} eq {text(value)}" for value in values) + ")"


def target(path: str, query: Mapping[str, str]) -> str:
    """Path and query as they are sent: a blank is %20, which every server reads."""
    written = "&".join(f"{quote(name, safe='$-_')}={quote(value, safe='')}" for name, value in query.items())
    return f"{path}?{written}" if written else path


async def rows(
    client: SignedClient,
    base_path: str,
    path: str,
    query: Mapping[str, str],
    *,
    headers: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """All rows of a query. ``base_path``: the path of the client's own address. Raises QueryError."""
    found: list[dict[str, Any]] = []
    where, asked = clean(path, SHOWN_MAX_CHARS), target(path, query)
    for _ in range(PAGES_MAX):
        try:
            answer = await client.request(
                "GET", asked, headers={"Accept": "application/json", **(headers or {})}, body_max_bytes=PAGE_MAX_BYTES
            )
        except TransportError as error:
            kind = OutcomeKind.AUTH if isinstance(error, SignInRefusedError) else OutcomeKind.NOT_SENT
            raise QueryError(f"{where}: {error}", kind) from error
        page = _page(answer, where)
        found += page["value"]
        if len(found) > ROWS_MAX:
            raise QueryError(f"{where}: more than {ROWS_MAX} rows; narrow the filter of the orders")
        following = page.get(NEXT)
        if not isinstance(following, str) or not following:
            return found
        asked = _next(following, base_path, where)
    raise QueryError(f"{where}: more than {PAGES_MAX} pages; make page_size larger")


def _page(answer: HttpAnswer, where: str) -> dict[str, Any]:
    if answer.status != HTTPStatus.OK:
        kind = OutcomeKind.NOT_SENT
        if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            kind = OutcomeKind.AUTH
        raise QueryError(f"{where}: HTTP {answer.status}, allowed: 200; check the address and the user's rights", kind)
    try:
        page = json.loads(answer.body, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise QueryError(f"{where}: the answer is not JSON; does something else answer there?") from error
    if not isinstance(page, dict) or not isinstance(page.get("value"), list):
        raise QueryError(f'{where}: the answer has no "value" list; is this an OData V4 address?')
    if not all(isinstance(row, dict) for row in page["value"]):
        raise QueryError(f'{where}: "value" holds something else than objects; is this an OData V4 address?')
    return page


def _next(link: str, base_path: str, where: str) -> str:
    parts = urlsplit(link)
    if not parts.path.startswith(base_path):
        raise QueryError(f"{where}: {NEXT} leads to {clean(link, SHOWN_MAX_CHARS)!r}, allowed: below {base_path}")
    return parts.path[len(base_path) :] + (f"?{parts.query}" if parts.query else "")
