"""A person's text against the limits of a signal: the value to write, or what is allowed. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from drivers.signal import TEXT_MAX

if TYPE_CHECKING:
    from drivers.signal import Writable
    from gateway.core.model import Scalar

DIGITS_MAX: Final = 40
SHOWN_MAX_CHARS: Final = 60

_DECIMAL = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_BOOLEANS: Final = {"true": True, "false": False}


def value_within(limits: Writable, text: str) -> Scalar:
    """The value that ``text`` means: a number, a truth value or a text, as the limits have it.

    A whole number is an integer, any other the float that prints like it. Raises ValueError with what was found and
    what is allowed.
    """
    if limits.min is not None or (limits.values and all(map(_DECIMAL.fullmatch, limits.values))):
        return _number(limits, text)
    if limits.values and set(limits.values) <= set(_BOOLEANS):
        if text not in limits.values:
            raise _refusal(limits, text)
        return _BOOLEANS[text]
    longest = TEXT_MAX if limits.max_length is None else limits.max_length
    if len(text) > longest or not text.isprintable() or (limits.values and text not in limits.values):
        raise _refusal(limits, text)
    return text


def described(limits: Writable) -> str:
    """What may be written, in words."""
    words = []
    if limits.min is not None:
        words.append(f"{limits.min} to {limits.max}")
    if limits.values:
        words.append(f"one of {', '.join(limits.values)}")
    if limits.max_length is not None:
        words.append(f"printable text of up to {limits.max_length} characters")
    return " and ".join(words)


def _number(limits: Writable, text: str) -> int | float:
    if len(text) > DIGITS_MAX or _DECIMAL.fullmatch(text) is None:
        raise _refusal(limits, text)
    number = Decimal(text)
    if limits.min is not None and limits.max is not None and not Decimal(limits.min) <= number <= Decimal(limits.max):
        raise _refusal(limits, text)
    if limits.values and number not in map(Decimal, limits.values):
        raise _refusal(limits, text)
    if number == int(number):
        return int(number)
    if Decimal(repr(float(number))) != number:
        raise ValueError(f"found {text}, allowed: a number of at most 15 significant digits")
    return float(number)


def _refusal(limits: Writable, text: str) -> ValueError:
    found = repr(text if len(text) <= SHOWN_MAX_CHARS else text[:SHOWN_MAX_CHARS] + "...")
    return ValueError(f"found {found}, allowed: {described(limits)}")
