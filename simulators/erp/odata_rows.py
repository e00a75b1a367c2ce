"""The little of OData V4 that fake ERPs answer: filters of ``eq`` with ``and``, ``or`` and brackets, and pages.

Anything else is refused aloud, so that no query is silently answered with everything.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from simulators.erp.checks import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulators.erp.http import Request

    Condition = Callable[[Mapping[str, Any]], bool]

#: A bracket, a text (with the type of an enum before it), a number, or a name.
_TOKEN: Final = re.compile(r"\s*(?:(\(|\))|([A-Za-z_.]+)?'((?:[^']|'')*)'|(-?\d+(?:\.\d+)?)|([A-Za-z_@.][\w@.]*))")


def condition_of(text: str) -> Condition:
    """Whether a row fits a filter; "" fits all. Raises RefusedError."""
    tokens: list[tuple[str, str]] = []
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise RefusedError("BadRequest", f"$filter: cannot be read from {text[at : at + 20]!r} on", 400)
        bracket, _, quoted, number, name = match.groups()
        if bracket:
            tokens.append(("bracket", bracket))
        elif quoted is not None:
            tokens.append(("value", quoted.replace("''", "'")))
        elif number is not None:
            tokens.append(("value", number))
        else:
            tokens.append(("name", name))
        at = match.end()
    if not tokens:
        return lambda _row: True
    condition = _either(tokens)
    if tokens:
        raise RefusedError("BadRequest", f"$filter: {tokens[0][1]!r} is too much", 400)
    return condition


def page_of(rows: list[dict[str, Any]], request: Request, base_url: str, size: int) -> dict[str, Any]:
    """One page of rows, and where the next one is."""
    query = dict(request.query)
    if "$top" in query:
        rows = rows[: int(query["$top"])]
    start = int(query.get("$skiptoken", "0"))
    found: dict[str, Any] = {"@odata.context": f"{base_url}/$metadata", "value": rows[start : start + size]}
    if start + size < len(rows):
        query["$skiptoken"] = str(start + size)
        written = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        found["@odata.nextLink"] = f"{base_url}{request.path}?{written}"
    return found


def _either(tokens: list[tuple[str, str]]) -> Condition:
    parts = [_both(tokens)]
    while tokens and tokens[0] == ("name", "or"):
        tokens.pop(0)
        parts.append(_both(tokens))
    return lambda row: any(part(row) for part in parts)


def _both(tokens: list[tuple[str, str]]) -> Condition:
    parts = [_one(tokens)]
    while tokens and tokens[0] == ("name", "and"):
        tokens.pop(0)
        parts.append(_one(tokens))
    return lambda row: all(part(row) for part in parts)


def _one(tokens: list[tuple[str, str]]) -> Condition:
    if tokens and tokens[0] == ("bracket", "("):
        tokens.pop(0)
        inner = _either(tokens)
        if not tokens or tokens.pop(0) != ("bracket", ")"):
            raise RefusedError("BadRequest", "$filter: a bracket is not closed", 400)
        return inner
    if len(tokens) < 3 or tokens[0][0] != "name" or tokens[1] != ("name", "eq") or tokens[2][0] != "value":  # noqa: PLR2004 - name, eq, value
        raise RefusedError("BadRequest", f"$filter: only NAME eq VALUE is understood, found {tokens[:3]}", 400)
    (_, name), _, (_, value) = tokens.pop(0), tokens.pop(0), tokens.pop(0)
    return lambda row: name in row and _same(row[name], value)


def _same(found: Any, wanted: str) -> bool:
    return str(found) == wanted or (isinstance(found, (int, float)) and str(float(found)) == str(wanted) + ".0")
