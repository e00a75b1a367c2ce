"""What a wrong configuration is told: place, what was found, what is allowed, what to do.

Knows nothing of YAML, of settings, or of who prints an error.
"""

from __future__ import annotations

import difflib
import re
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ERRORS_RENDERED_MAX: Final = 100
SHOWN_TEXT_MAX: Final = 60  # characters of a value that an error repeats
ALLOWED_SHOWN_MAX: Final = 40  # words of a list of allowed ones
COMPARED_MAX: Final = 5000  # words that a misspelt one is compared with; a source may have 20,000

_SECRET_KEY = re.compile(r"pass(word|wd|phrase|code)|secret|token|credential|api_?key", re.IGNORECASE)
_USER_INFO = re.compile(r"(://)[^/\s@]*@")

#: Keys and list positions from the top of the document.
KeyPath = tuple[str | int, ...]


class Place(NamedTuple):
    """Where something stands; lines and columns count from 1, line 0 means the file (or the variable) as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class ConfigError(Exception):
    """One thing that is wrong, and where.

    ``path`` is dotted (``sources.asm.host``), empty where the file itself is meant.
    """

    def __init__(self, place: Place, path: str, text: str) -> None:
        super().__init__(f"{place}: {path}: {text}" if path else f"{place}: {text}")
        self.place = place
        self.path = path
        self.text = text


class ConfigErrors(Exception):  # noqa: N818 - it is the plural of ConfigError
    """Everything that is wrong with a configuration, ordered by place, each error once."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        by_text = {str(error): error for error in errors}
        self.errors: Sequence[ConfigError] = sorted(by_text.values(), key=lambda error: (error.place, error.path))
        super().__init__(self.errors)

    def __str__(self) -> str:
        lines = [str(error) for error in self.errors[:ERRORS_RENDERED_MAX]]
        left = len(self.errors) - len(lines)
        return "\n".join([*lines, f"and {left} more errors"] if left else lines)


def dotted(path: KeyPath) -> str:
    """The path as errors write it: ``work_units.ASM-01.counters.0.signal``."""
    return ".".join(map(str, path))


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the nearest allowed word, or nothing."""
    by_folded = {known.casefold(): known for known in islice(allowed, COMPARED_MAX)}
    near = difflib.get_close_matches(word.casefold(), by_folded, n=1)
    return f"; did you mean {by_folded[near[0]]!r}?" if near else ""


def listed(words: Iterable[str]) -> str:
    """Allowed words in one line, bounded."""
    every = list(words)
    tail = f" and {len(every) - ALLOWED_SHOWN_MAX} more" if len(every) > ALLOWED_SHOWN_MAX else ""
    return ", ".join(every[:ALLOWED_SHOWN_MAX]) + tail


def may_be_secret(path: KeyPath) -> bool:
    """Whether a value there may be a password that someone wrote into the file by mistake."""
    return any(isinstance(key, str) and _SECRET_KEY.search(key) for key in path)


def shown(value: object, path: KeyPath) -> str:
    """A found value as errors show it; values that may be secrets are named by their kind only."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    if may_be_secret(path):
        return "a value that is not shown here"
    if isinstance(value, bool):
        return f"{str(value).lower()} (true or false)"
    if isinstance(value, (int, float)):
        return f"{value} (a number)"
    text = _USER_INFO.sub(r"\1...@", str(value))
    return repr(text if len(text) <= SHOWN_TEXT_MAX else text[:SHOWN_TEXT_MAX] + "...")
