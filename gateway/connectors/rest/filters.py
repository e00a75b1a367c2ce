"""What a placeholder may do with its value: a fixed list of small functions, each with at most one argument. Pure."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import escape as xml_escape

from gateway.connectors.base import MappingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LENGTH_MAX: Final = 4000
#: Characters of a digest at most: 160 bits, five a character.
DIGEST_MAX: Final = 32
DECIMALS_MAX: Final = 6
#: What stands in stored bytes for a reference that is not known yet; no field may hold it.
MARK: Final = "@@reference."


class FilterError(ValueError):
    """A value cannot be written so; the text says what is allowed."""


class Scope(NamedTuple):
    """The values of a template, the zone of the target's clock, its tables.

    ``mode`` is how a value stands in a text: ``xml`` and ``url`` are escaped, and nothing keeps its type there.
    """

    values: Mapping[str, Any]
    zone: dt.tzinfo
    tables: Mapping[str, Mapping[str, str]]
    mode: str = ""

    def with_row(self, row: Any) -> Scope:
        """The same inside a ``for_each``."""
        return self._replace(values={**self.values, "row": row})

    def escape(self, value: Any, *, hole: bool) -> str:
        """A value inside a text."""
        text = written(value)
        if not hole or not self.mode:
            return text
        return xml_escape(text, {'"': "&quot;"}) if self.mode == "xml" else quote(text, safe="@")

    def check(self, name: str, value: Any) -> None:
        """Raises MappingError for a value that would be taken for the mark of a reference."""
        if isinstance(value, str) and MARK in value and not name.startswith("step."):
            raise MappingError(f"{name}: found {MARK!r} in it, allowed: any other text")


class Filter(NamedTuple):
    """One filter. ``problem`` says what is allowed where its argument is wrong, "" where it is right."""

    run: Callable[[Any, str, Scope], Any]
    problem: Callable[[str], str]


def written(value: Any) -> str:
    """A value as text: no exponent, ``true`` and ``false``, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _decimal(value: Any) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, (str, int, Decimal)) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise FilterError("a number")
    return number


def _number(value: Any, _argument: str, _scope: Scope) -> Any:
    if isinstance(value, str) and value.startswith(MARK):
        return f"{value.removesuffix('@@')}.number@@"
    return _decimal(value)


def _integer(value: Any, _argument: str, _scope: Scope) -> Any:
    number = _decimal(value)
    if number != number.to_integral_value():
        raise FilterError("a whole number")
    return int(number)


def _round(value: Any, argument: str, _scope: Scope) -> Any:
    return _decimal(value).quantize(Decimal(1).scaleb(-int(argument)), ROUND_HALF_UP)


def _times(value: Any, argument: str, _scope: Scope) -> Any:
    return _decimal(value) * Decimal(argument)


def _max(value: Any, argument: str, _scope: Scope) -> Any:
    text = written(value)
    if len(text) > int(argument):
        raise FilterError(f"at most {argument} characters")
    return text


def _needed(value: Any, _argument: str, _scope: Scope) -> Any:
    if value is None or value == "":
        raise FilterError("a value: the target needs it")
    return value


def _digest(value: Any, argument: str, _scope: Scope) -> Any:
    raw = hashlib.sha256(written(value).encode()).digest()[: DIGEST_MAX * 5 // 8]
    return base64.b32encode(raw).decode()[: int(argument)]


def _instant(value: Any) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise FilterError("a time in ISO 8601") from None
    return moment


def _date(value: Any, argument: str, scope: Scope) -> Any:
    moment = _instant(value)
    # A day is a day: the posting date has no hour that a zone could move.
    local = moment.astimezone(scope.zone) if moment.tzinfo is not None else moment
    return local.strftime(argument or "%Y-%m-%d")


def _zoned(value: Any, argument: str, scope: Scope) -> Any:
    if value is None or value == "":
        return None
    try:
        moment = dt.datetime.strptime(written(value), argument) if argument else _instant(value)  # noqa: DTZ007 - the zone comes next
    except ValueError:
        raise FilterError(f"a time like {argument or '2026-11-22T06:00:00'}") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=scope.zone)).isoformat()


def _table(value: Any, argument: str, scope: Scope) -> Any:
    rows = scope.tables.get(argument, {})
    text = written(value)
    found = rows.get(text, rows.get("*"))
    if found is None:
        raise FilterError(f"a word of the table {argument}: {', '.join(sorted(rows)[:20])}")
    return found


def _split(text: str, argument: str, *, before: bool) -> str:
    left, found, right = text.rpartition(argument)
    if not found:
        raise FilterError(f"a text with {argument!r} in it")
    return left if before else right


def _nothing(argument: str) -> str:
    return "no argument" if argument else ""


def _anything(_argument: str) -> str:
    return ""


def _some(argument: str) -> str:
    return "" if argument else "an argument after a colon"


def _between(low: int, high: int) -> Callable[[str], str]:
    def problem(argument: str) -> str:
        right = argument.isascii() and argument.isdigit() and low <= int(argument) <= high
        return "" if right else f"a number from {low} to {high} after a colon"

    return problem


def _factor(argument: str) -> str:
    try:
        right = Decimal(argument).is_finite()
    except InvalidOperation:
        right = False
    return "" if right else "a number after a colon"


#: ``omit`` is done by the template itself: it takes the whole key away.
FILTERS: Final[dict[str, Filter]] = {
    "after_last": Filter(lambda value, argument, _: _split(written(value), argument, before=False), _some),
    "before_last": Filter(lambda value, argument, _: _split(written(value), argument, before=True), _some),
    "blank": Filter(lambda value, argument, _: "" if written(value) == argument else value, _some),
    "cut": Filter(lambda value, argument, _: written(value)[: int(argument)], _between(1, LENGTH_MAX)),
    "date": Filter(_date, _anything),
    "default": Filter(lambda value, argument, _: argument if value is None or value == "" else value, _anything),
    "digest": Filter(_digest, _between(16, DIGEST_MAX)),
    "hex": Filter(lambda value, _argument, _: written(value).replace("-", ""), _nothing),
    "integer": Filter(_integer, _nothing),
    "lower": Filter(lambda value, _argument, _: written(value).lower(), _nothing),
    "max": Filter(_max, _between(1, LENGTH_MAX)),
    "needed": Filter(_needed, _nothing),
    "number": Filter(_number, _nothing),
    "omit": Filter(lambda value, _argument, _: value, _nothing),
    "prefix": Filter(lambda value, argument, _: f"{argument}{text}" if (text := written(value)) else "", _some),
    "quoted": Filter(lambda value, argument, _: written(value).replace(argument, argument * 2), _some),
    "round": Filter(_round, _between(0, DECIMALS_MAX)),
    "table": Filter(_table, _some),
    "text": Filter(lambda value, _argument, _: written(value), _nothing),
    "times": Filter(_times, _factor),
    "upper": Filter(lambda value, _argument, _: written(value).upper(), _nothing),
    "zeros": Filter(lambda value, argument, _: written(value).zfill(int(argument)), _between(1, 40)),
    "zoned": Filter(_zoned, _anything),
}
