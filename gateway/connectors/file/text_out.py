"""One value as the characters of a file: number and date form, code page, width. Pure.

A character that the code page cannot carry never becomes a question mark: it parks the confirmation, or is written in
other letters where the settings say so.
"""

from __future__ import annotations

import datetime as dt
import unicodedata
from typing import TYPE_CHECKING, Final

from gateway.connectors.base import MappingError
from gateway.connectors.file.fields import FIELDS, Amount
from gateway.connectors.mapping import moments

if TYPE_CHECKING:
    from decimal import Decimal

    from gateway.connectors.file.columns import Column, DateForm
    from gateway.connectors.file.fields import Value
    from gateway.connectors.file.settings import FileSettings

FORMS: Final[dict[DateForm, str]] = {
    "yyyymmdd": "%Y%m%d",
    "dd.mm.yyyy": "%d.%m.%Y",
    "yyyy-mm-dd": "%Y-%m-%d",
    "hhmmss": "%H%M%S",
    "hh:mm:ss": "%H:%M:%S",
    "yyyymmddhhmmss": "%Y%m%d%H%M%S",
}
#: Letters that no decomposition takes apart.
_LETTERS: Final = {
    "ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE",
    "ø": "oe", "Ø": "Oe", "å": "aa", "Å": "Aa", "œ": "oe", "Œ": "OE", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D",
    "€": "EUR", "\u0131": "i", "\u2010": "-", "\u2011": "-", "\u2013": "-", "\u2014": "-", "\u2018": "'",
    "\u2019": "'", "\u201c": "'", "\u201d": "'", "\u201e": "'", "\u2026": "...", "\u00a0": " ", "\u202f": " ",
}  # fmt: skip


class Writer:
    """Writes values by the settings. ``plant_zone``: where local times are, unless the mapping names a zone."""

    def __init__(self, settings: FileSettings, plant_zone: str) -> None:
        self._settings = settings
        named = settings.mapping.time_zone if settings.mapping else None
        self._zone = named or plant_zone

    def cell(self, column: Column, row: dict[str, Value]) -> str:
        """What stands in the column, without its width. Raises MappingError."""
        value = column.constant if column.value is None else row[column.value]
        if column.value is not None and value == "" and column.constant is not None:
            value = column.constant
        return self.carried(self.plain(column.value, value or "", column), column.name or column.value or "constant")

    def plain(self, field: str | None, value: Value, column: Column) -> str:
        """The value in its form, in any characters. Raises MappingError."""
        if isinstance(value, Amount):
            return self._number(value, column, minutes=FIELDS.get(field or "") == "minutes")
        kind = FIELDS.get(field or "")
        if kind in {"time", "day"} and value and column.date != "iso":
            return self._date(value, column.date, field or "", is_day=kind == "day")
        return value

    def carried(self, text: str, name: str) -> str:
        """The text in characters that the code page has. Raises MappingError, naming the field."""
        encoding = self._settings.encoding
        try:
            text.encode(encoding)
        except UnicodeEncodeError as error:
            found = error.object[error.start]
            if self._settings.unmappable == "transliterate":
                return "".join(self._other(character, name) for character in text)
            raise MappingError(
                f"{name}: found {found!r}, which {encoding} cannot carry; use utf-8, or unmappable: transliterate"
            ) from error
        return text

    def padded(self, text: str, column: Column, *, number: bool) -> bytes:
        """The bytes of a field of fixed length. Raises MappingError where they are too many."""
        width = column.width or 0
        body = text.encode(self._settings.encoding)
        if len(body) > width:
            if number or not column.cut:
                name = column.name or column.value
                raise MappingError(f"{name}: found {text!r}, {len(body)} bytes long, allowed {width}; make it shorter")
            while len(text.encode(self._settings.encoding)) > width:
                text = text[:-1]  # never through the middle of a character
            body = text.encode(self._settings.encoding)
        right = number if column.align is None else column.align == "right"
        fill = column.fill.encode(self._settings.encoding) * (width - len(body))
        if right and number and column.fill == "0" and body.startswith(b"-"):
            return b"-" + fill + body[1:]
        return (fill + body if right else body + fill)[:width]

    def _number(self, amount: Amount, column: Column, *, minutes: bool) -> str:
        places, mapping = column.decimals, self._settings.mapping
        if places is None and mapping is not None:
            places = mapping.time_decimals if minutes else mapping.quantity_decimals
        number = amount.rounded(places)
        text = f"{number + 0 if number else abs(number):f}".replace(".", self._settings.decimal_separator)
        if column.sign == "trailing" and text.startswith("-"):
            return f"{text[1:]}-"
        return text

    def _date(self, value: str, form: DateForm, name: str, *, is_day: bool) -> str:
        if is_day:
            try:
                found = dt.datetime.combine(dt.date.fromisoformat(value), dt.time())
            except ValueError as error:
                raise MappingError(f"{name}: found {value!r}, allowed: a date such as 2026-03-29") from error
            return value if form == "local_iso" else found.strftime(FORMS[form])
        there = moments.moment(value, name).astimezone(moments.zone(self._zone))
        return there.isoformat(timespec="seconds") if form == "local_iso" else there.strftime(FORMS[form])

    def _other(self, character: str, name: str) -> str:
        encoding = self._settings.encoding
        bare = "".join(one for one in unicodedata.normalize("NFKD", character) if not unicodedata.combining(one))
        for text in (character, _LETTERS.get(character, ""), bare):
            if text and "?" not in text.replace(character, "") and _fits(text, encoding):
                return text
        raise MappingError(f"{name}: found {character!r}, which {encoding} cannot carry in any letters; use utf-8")


def is_number(field: str | None) -> bool:
    """Whether the field is one; numbers stand at the right of their width."""
    return FIELDS.get(field or "") in {"quantity", "minutes"}


def total_text(number: Decimal, settings: FileSettings) -> str:
    """A sum for a trailer."""
    return f"{number:f}".replace(".", settings.decimal_separator)


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
