"""The cookies of one target, kept by us: a session that a sign-in opened, or that a token is bound to.

Pure. Knows one target, so neither domains nor paths; knows no clock, so no Expires: a cookie lives until the target
takes it back, or until ``clear``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.connectors.http import HttpAnswer

COOKIES_MAX: Final = 50
COOKIE_MAX_CHARS: Final = 4096


class Cookies:
    """Name to value. What cannot stand in a header is not kept."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    def keep(self, answer: HttpAnswer) -> None:
        """Take over what an answer sets, and drop what it takes back (``Max-Age`` 0 or less, or no value)."""
        for line in answer.cookies:
            pair, *attributes = line.split(";")
            name, _, value = (part.strip() for part in pair.partition("="))
            if not name or len(pair) > COOKIE_MAX_CHARS or not pair.isascii() or not pair.isprintable():
                continue
            if not value or any(map(_taken_back, attributes)):
                self._kept.pop(name, None)
            elif name in self._kept or len(self._kept) < COOKIES_MAX:
                self._kept[name] = value

    def header(self) -> dict[str, str]:
        """The Cookie header; empty where there are none."""
        text = "; ".join(f"{name}={value}" for name, value in self._kept.items())
        return {"Cookie": text} if text else {}

    def clear(self) -> None:
        """Forget the session."""
        self._kept.clear()


def _taken_back(attribute: str) -> bool:
    name, _, value = (part.strip() for part in attribute.partition("="))
    return name.lower() == "max-age" and (value.startswith("-") or value.strip("0") == "") and bool(value)
