"""Checks the fields of one order, whatever document they stand in, and collects every reason against them.

Pure. Each method returns the value, or a harmless stand-in after noting what was found and what is allowed; the caller
throws the order away if any reason was noted.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping

ID_MAX_CHARS: Final = 64
TEXT_MAX_CHARS: Final = 500
QUANTITY_MAX: Final = Decimal(10) ** 12
QUANTITY_MAX_DECIMALS: Final = 6
INTEGER_MAX: Final = 2**53
CYCLE_MIN_S: Final = Decimal("0.000001")
CYCLE_MAX_S: Final = Decimal(7 * 86_400)
SHOWN_MAX_CHARS: Final = 40

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_TRUE: Final = frozenset({"true", "yes", "1", "x"})
_FALSE: Final = frozenset({"false", "no", "0", ""})


class OrderFields:
    """The fields of one mapping. ``where`` begins each reason: ``orders[3].`` or ``line 7, ``.

    Numbers may be text or numbers; a missing field, None and (where ``blank_is_missing``) empty text are the same.
    """

    def __init__(
        self, image: Mapping[str, Any], where: str, reasons: list[str], *, blank_is_missing: bool = False
    ) -> None:
        self._image = image
        self._where = where
        self._reasons = reasons
        self._blank_is_missing = blank_is_missing

    def refuse(self, name: str, found: object, allowed: str) -> None:
        """Note a reason."""
        shown = repr(found) if not isinstance(found, Decimal) else str(found)
        if len(shown) > SHOWN_MAX_CHARS:
            shown = shown[: SHOWN_MAX_CHARS - 3] + "..."
        self._reasons.append(f"{self._where}{name}: found {shown}, allowed: {allowed}")

    def raw(self, name: str) -> Any:
        """The value as it stands, None where it is missing."""
        value = self._image.get(name)
        if self._blank_is_missing and isinstance(value, str) and not value.strip():
            return None
        return value

    def identifier(self, name: str, *, default: str | None = None, forbidden: str = "") -> str:
        """A short name without control characters, at most ``ID_MAX_CHARS``."""
        return self._text(name, default, ID_MAX_CHARS, forbidden)

    def text(self, name: str) -> str:
        """A text, "" where it is missing, at most ``TEXT_MAX_CHARS``."""
        return self._text(name, "", TEXT_MAX_CHARS, "")

    def quantity(self, name: str, *, default: Decimal | None = None) -> Decimal:
        """A number above 0, at most 6 decimals."""
        value = self.raw(name)
        if value is None and default is not None:
            return default
        number = _decimal(value)
        if number is None or not 0 < number < QUANTITY_MAX or _decimals(number) > QUANTITY_MAX_DECIMALS:
            self._missing_or(name, value, f"a number above 0 with at most {QUANTITY_MAX_DECIMALS} decimals")
            return Decimal(1)
        return number

    def integer(self, name: str, *, default: int | None = None) -> int:
        """A whole number from 0 on."""
        value = self.raw(name)
        if value is None and default is not None:
            return default
        number = _decimal(value)
        if number is None or not 0 <= number <= INTEGER_MAX or number != number.to_integral_value():
            self._missing_or(name, value, "a whole number from 0 on")
            return 0
        return int(number)

    def cycle_ns(self, name: str) -> int | None:
        """Seconds of one piece, as nanoseconds; None where it is missing."""
        value = self.raw(name)
        if value is None:
            return None
        number = _decimal(value)
        if number is None or not CYCLE_MIN_S <= number <= CYCLE_MAX_S:
            self.refuse(name, value, f"seconds, {CYCLE_MIN_S} to {CYCLE_MAX_S}")
            return None
        return int(number * NS_PER_S)

    def time_ns(self, name: str) -> int | None:
        """An ISO 8601 time with its offset, as nanoseconds UTC; None where it is missing."""
        value = self.raw(name)
        if value is None:
            return None
        try:
            since = dt.datetime.fromisoformat(value) - _EPOCH  # without an offset: TypeError
        except (ValueError, TypeError, OverflowError):
            self.refuse(name, value, "ISO 8601 with an offset, such as '2026-11-22T06:00:00Z'")
            return None
        return (since // dt.timedelta(microseconds=1)) * 1000

    def flag(self, name: str) -> bool:
        """True or false; false where it is missing."""
        value = self.raw(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        word = str(value).strip().lower()
        if word in _TRUE:
            return True
        if word not in _FALSE:
            self.refuse(name, value, "true or false")
        return False

    def _text(self, name: str, default: str | None, max_chars: int, forbidden: str) -> str:
        value = self.raw(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            self._missing_or(name, value, "text")
            return ""
        text = value.strip()
        if (not text and default is None) or len(text) > max_chars or not _is_plain(text, forbidden):
            without = f", without {' '.join(forbidden)}" if forbidden else ""
            self.refuse(name, value, f"1 to {max_chars} characters{without}, no control characters")
        return text

    def _missing_or(self, name: str, value: object, allowed: str) -> None:
        if value is None:
            self._reasons.append(f"{self._where}{name}: is missing; it must be {allowed}")
        else:
            self.refuse(name, value, allowed)


def _decimal(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return None
    try:
        # Underscores and spaces are Python's habit, not a number's.
        if isinstance(value, str) and (not value.isascii() or "_" in value):
            return None
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _decimals(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def _is_plain(text: str, forbidden: str) -> bool:
    return text.isprintable() and not any(character in text for character in forbidden)
