"""The query options of OData V2 as far as this fake SAP knows them: $filter, $orderby, $top, $skip, $select, $expand.

Works on plain rows and knows no entity. A filter compares fields with literals, joined by ``and``, ``or``, ``not`` and
parentheses; functions are refused, as a service refuses what it cannot do.
"""

from __future__ import annotations

import operator
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Row = dict[str, Any]
#: Longest filter taken, in tokens.
TOKENS_MAX: Final = 2000

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<open>\()|(?P<close>\))|guid'(?P<guid>[^']*)'|datetime'(?P<datetime>[^']*)'"
    r"|'(?P<text>(?:[^']|'')*)'|(?P<number>-?\d+(?:\.\d+)?)[MmDdFfLl]?(?![\w'])|(?P<word>[A-Za-z_]\w*))"
)
_GUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}


class QueryError(ValueError):
    """A query option that cannot be read, or names what is not there."""


def chosen(rows: Iterable[Row], query: Mapping[str, str], fields: frozenset[str], barred: frozenset[str]) -> list[Row]:
    """The rows that a query asks for, in its sequence and of its page. Raises QueryError.

    ``fields`` are those that may be named, ``barred`` those that cannot be filtered by.
    """
    found = list(rows)
    if query.get("$filter"):
        test = _Filter(query["$filter"], fields, barred).test()
        found = [row for row in found if test(row)]
    for part in reversed([part.strip() for part in query.get("$orderby", "").split(",") if part.strip()]):
        name, _, direction = part.partition(" ")
        if name not in fields or direction.strip() not in {"", "asc", "desc"}:
            raise QueryError(f"$orderby: {part!r} cannot be sorted by")
        found.sort(key=_sorting(name), reverse=direction.strip() == "desc")
    skip = _count(query, "$skip") or 0
    top = _count(query, "$top")
    return found[skip:] if top is None else found[skip : skip + top]


def _sorting(name: str) -> Callable[[Row], str]:
    return lambda row: str(row.get(name, ""))


def selected(row: Row, query: Mapping[str, str], keep: Iterable[str]) -> Row:
    """The fields of $select, all of them without; ``keep`` stay in any case."""
    names = {name.strip() for name in query.get("$select", "").split(",") if name.strip()}
    return {name: value for name, value in row.items() if not names or name in names or name in keep}


def expanded(query: Mapping[str, str], known: Iterable[str]) -> tuple[str, ...]:
    """The navigations of $expand. Raises QueryError."""
    names = tuple(name.strip() for name in query.get("$expand", "").split(",") if name.strip())
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise QueryError(f"$expand: {unknown[0]!r} is no navigation of this entity")
    return names


class _Filter:
    def __init__(self, text: str, fields: frozenset[str], barred: frozenset[str]) -> None:
        self._fields = fields
        self._barred = barred
        self._tokens = _tokens(text)
        self._at = 0

    def test(self) -> Callable[[Row], bool]:
        made = self._any()
        if self._at < len(self._tokens):
            raise QueryError(f"$filter: {self._tokens[self._at][1]!r} is not expected there")
        return made

    def _any(self) -> Callable[[Row], bool]:
        parts = [self._all()]
        while self._took("word", "or"):
            parts.append(self._all())
        return lambda row: any(part(row) for part in parts)

    def _all(self) -> Callable[[Row], bool]:
        parts = [self._one()]
        while self._took("word", "and"):
            parts.append(self._one())
        return lambda row: all(part(row) for part in parts)

    def _one(self) -> Callable[[Row], bool]:
        if self._took("word", "not"):
            inner = self._one()
            return lambda row: not inner(row)
        if self._took("open", "("):
            inner = self._any()
            if not self._took("close", ")"):
                raise QueryError("$filter: a parenthesis is not closed")
            return inner
        return self._comparison()

    def _comparison(self) -> Callable[[Row], bool]:
        _, name = self._next("word")
        if name not in self._fields:
            raise QueryError(f"$filter: property {name!r} is not known here")
        if name in self._barred:
            raise QueryError(f"$filter: property {name!r} is not filterable")
        _, word = self._next("word")
        if word not in _COMPARE:
            raise QueryError(f"$filter: operator {word!r} is not known")
        compare, literal = _COMPARE[word], _literal(*self._next("guid", "datetime", "text", "number", "word"))

        def test(row: Row) -> bool:
            found = row.get(name)
            if isinstance(literal, Decimal):
                found = Decimal(str(found or 0))
            elif isinstance(found, str) and _GUID.fullmatch(found):
                return bool(compare(found.lower(), str(literal).lower()))
            try:
                return bool(compare(found, literal))
            except TypeError:
                return False

        return test

    def _took(self, kind: str, text: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == (kind, text):
            self._at += 1
            return True
        return False

    def _next(self, *kinds: str) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise QueryError("$filter: ends too early")
        kind, text = self._tokens[self._at]
        if kind not in kinds:
            raise QueryError(f"$filter: {text!r} is not expected there")
        self._at += 1
        return kind, text


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None or len(found) >= TOKENS_MAX:
            raise QueryError(f"$filter: cannot be read from {text[at : at + 20]!r} on")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def _literal(kind: str, text: str) -> object:
    match kind:
        case "guid":
            if not _GUID.fullmatch(text):
                raise QueryError(f"$filter: {text!r} is no Edm.Guid")
            return text.lower()
        case "number":
            return Decimal(text)
        case "word":
            if text not in {"true", "false"}:
                raise QueryError(f"$filter: {text!r} is no literal")
            return text == "true"
    return text.replace("''", "'")


def _count(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not text.isdecimal() or not text.isascii():
        raise QueryError(f"{name}: {text!r} is no whole number")
    return int(text)
