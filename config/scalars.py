"""What an unquoted word means: the core schema of YAML 1.2, and a refusal of what YAML 1.1 would have read otherwise.

A word that two readers of YAML understand differently (``no``, ``010``, ``1_000``) is an error here, not a guess.
"""

from __future__ import annotations

import math
import re
from typing import Final

DIGITS_MAX: Final = 40  # of a whole number; the largest sensible one is 2**64

_CONSTANTS: Final = (
    dict.fromkeys(("", "~", "null", "Null", "NULL"))
    | dict.fromkeys(("true", "True", "TRUE"), True)
    | dict.fromkeys(("false", "False", "FALSE"), False)
)
_OLD_BOOL = frozenset({"y", "yes", "on", "n", "no", "off"})
_INT = re.compile(r"[-+]?[0-9]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_OTHER_BASE = re.compile(r"[-+]?0[obOB][0-7]+")
_UNDERSCORES = re.compile(r"[-+]?(0x[0-9a-fA-F_]+|[0-9][0-9_]*(\.[0-9_]*)?)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class AmbiguousWord(str):
    """A word such as ``off``: text to YAML 1.2, a truth value to 1.1.

    It is let through only where it is one of the allowed words (the machine state OFF); see ``config/loader.py``.
    """

    __slots__ = ()

    REFUSAL: Final = "some readers take this word for a truth value; write true or false, or put it in quotes"


def plain_scalar(text: str) -> bool | int | float | str | None:
    """The value of an unquoted word. Raises ValueError saying what to write instead (never repeating the word)."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text.casefold() in _OLD_BOOL:
        return AmbiguousWord(text)
    if _LEADING_ZERO.fullmatch(text):
        raise ValueError("a number with a leading zero is octal to some readers; drop the zero, or put it in quotes")
    if _OTHER_BASE.fullmatch(text):
        raise ValueError("octal and binary numbers are not allowed; write it decimal or 0x..., or put it in quotes")
    if "_" in text and _UNDERSCORES.fullmatch(text):
        raise ValueError("a number with underscores; write the digits only, or put it in quotes")
    if _INT.fullmatch(text) or _HEX.fullmatch(text):
        return _whole(text)
    return _fraction(text) if _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text) else text


def _whole(text: str) -> int:
    if len(text) > DIGITS_MAX:
        raise ValueError(f"a number of more than {DIGITS_MAX} digits; put it in quotes if it is text")
    return int(text, 16 if text.startswith("0x") else 10)


def _fraction(text: str) -> float:
    number = math.inf if _NOT_FINITE.fullmatch(text) else float(text)
    if not math.isfinite(number):
        raise ValueError("not a finite number; put it in quotes if it is text")
    return number


def refuse_unprintable(text: str) -> None:
    """Raise ValueError for characters that no name, path or message can carry (NUL, half a surrogate pair)."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("a character that cannot be part of a text (NUL or half a surrogate pair); remove it")
