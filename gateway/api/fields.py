"""The fields of a request: what each may be, as JSON Schema says it and as the gateway checks it. One list for both.

Knows no verb and no HTTP. What passes here is safe for journal, log and terminals; whether it makes sense as things are
is decided behind the verbs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from gateway.api.problem import refuse, shown
from gateway.control import NUMBER_MAX, TEXT_CHARS_MAX
from gateway.core.foreign_text import is_clean
from gateway.core.instant import Instant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STEERING: Final = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
#: One line without control characters, with at least one character that can be seen.
TEXT_PATTERN: Final = rf"^[^{_STEERING}]*[^{_STEERING}\s][^{_STEERING}]*$"
NAME_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
#: From 1970 to 2199, which every clock and every column here can hold.
TIME_PATTERN: Final = (
    r"^(19[7-9][0-9]|2[01][0-9][0-9])-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
#: Digits of a number in a path or a query; more is no number of anything here.
DIGITS_MAX: Final = 19
FIELDS_SHOWN_MAX: Final = 20
#: The field with which a person signs.
PASSPHRASE: Final = "passphrase"  # noqa: S105 - the name of a field, not a passphrase
PASSPHRASE_CHARS_MAX: Final = 128


class Kind(Protocol):
    """What a field may be."""

    @property
    def allowed(self) -> str:
        """In words."""

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""

    def takes(self, value: object) -> bool:
        """Whether it may be that."""

    def of_text(self, text: str) -> object:
        """What a text in a path or a query stands for; the text itself where it stands for nothing."""


class Text(NamedTuple):
    """A text in one line."""

    chars_max: int = TEXT_CHARS_MAX

    @property
    def allowed(self) -> str:
        """In words."""
        return f"a text of 1 to {self.chars_max} characters in one line, without control characters"

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return {"type": "string", "minLength": 1, "maxLength": self.chars_max, "pattern": TEXT_PATTERN}

    def takes(self, value: object) -> bool:
        """Whether it may be that."""
        return isinstance(value, str) and 1 <= len(value) <= self.chars_max and bool(value.strip()) and is_clean(value)

    def of_text(self, text: str) -> object:
        """The text."""
        return text


class Listed(NamedTuple):
    """Several things in one text, as the command line writes them; ``example``: two of them."""

    example: str

    @property
    def allowed(self) -> str:
        """In words."""
        return f'{Text().allowed}, with commas between the parts, such as "{self.example}"'

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return Text().schema()

    def takes(self, value: object) -> bool:
        """Whether it may be that."""
        return Text().takes(value)

    def of_text(self, text: str) -> object:
        """The text."""
        return text


class Matching(NamedTuple):
    """A text of a certain form."""

    pattern: str
    allowed: str

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return {"type": "string", "pattern": self.pattern}

    def takes(self, value: object) -> bool:
        """Whether it may be that."""
        return isinstance(value, str) and re.fullmatch(self.pattern[1:-1], value) is not None

    def of_text(self, text: str) -> object:
        """The text."""
        return text


class Time(NamedTuple):
    """A point in time with its offset from UTC."""

    @property
    def allowed(self) -> str:
        """In words."""
        return "a point in time with its offset from UTC, 1970 to 2199, such as 2026-05-28T06:00:00+02:00"

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return {"type": "string", "format": "date-time", "pattern": TIME_PATTERN}

    def takes(self, value: object) -> bool:
        """Whether it may be that."""
        if not isinstance(value, str) or re.fullmatch(TIME_PATTERN[1:-1], value) is None:
            return False
        try:
            return 0 <= int(Instant(value)) <= NUMBER_MAX
        except (ValueError, OverflowError):
            return False

    def of_text(self, text: str) -> object:
        """The text. A '+' that nobody quoted has become a space, and can mean nothing else here."""
        return text.replace(" ", "+")


class Whole(NamedTuple):
    """A whole number; never a float, however round."""

    low: int
    high: int

    @property
    def allowed(self) -> str:
        """In words."""
        return f"a whole number, {self.low} to {self.high}"

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return {"type": "integer", "minimum": self.low, "maximum": self.high}

    def takes(self, value: object) -> bool:
        """Whether it may be that."""
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def of_text(self, text: str) -> object:
        """The number of plain digits."""
        return int(text) if text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX else text


class Flag(NamedTuple):
    """True or false, as JSON says it."""

    @property
    def allowed(self) -> str:
        """In words."""
        return "true, false"

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return {"type": "boolean"}

    def takes(self, value: object) -> bool:
        """Whether it may be that."""
        return isinstance(value, bool)

    def of_text(self, text: str) -> object:
        """What these two words stand for."""
        return {"true": True, "false": False}.get(text, text)


class Choice(NamedTuple):
    """One of some words."""

    words: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """In words."""
        return ", ".join(self.words)

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return {"type": "string", "enum": list(self.words)}

    def takes(self, value: object) -> bool:
        """Whether it may be that."""
        return isinstance(value, str) and value in self.words

    def of_text(self, text: str) -> object:
        """The text."""
        return text


class Hidden(NamedTuple):
    """A passphrase: it is never shown, not even where it is wrong."""

    @property
    def allowed(self) -> str:
        """In words."""
        return f"a text of 1 to {PASSPHRASE_CHARS_MAX} characters"

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return {"type": "string", "minLength": 1, "maxLength": PASSPHRASE_CHARS_MAX, "format": "password"}

    def takes(self, value: object) -> bool:
        """Whether it may be that."""
        return isinstance(value, str) and 1 <= len(value) <= PASSPHRASE_CHARS_MAX

    def of_text(self, text: str) -> object:
        """The text; but it belongs into a body only."""
        return text


class Field(NamedTuple):
    """One field of a request. ``text``: what it means."""

    name: str
    kind: Kind
    text: str
    required: bool = True

    def schema(self) -> dict[str, Any]:
        """As JSON Schema, with what it means."""
        return {**self.kind.schema(), "description": f"{self.text[0].upper()}{self.text[1:]}."}


def body_schema(fields: Sequence[Field]) -> dict[str, Any]:
    """JSON Schema of a body with these fields and no other."""
    needed = [field.name for field in fields if field.required]
    return {
        "type": "object",
        "properties": {field.name: field.schema() for field in fields},
        "additionalProperties": False,
        **({"required": needed} if needed else {}),
    }


def checked(fields: Sequence[Field], found: Mapping[str, object], where: str) -> dict[str, Any]:
    """The same fields, all right. Raises ProblemError (BAD_FIELD) with everything that is wrong.

    ``where``: body, query or path, for the message.
    """
    known = {field.name: field for field in fields}
    wrong = [_unknown(name, known) for name in found if name not in known]
    for field in fields:
        if field.name not in found:
            if field.required:
                wrong.append({"field": field.name, "found": "nothing", "allowed": field.kind.allowed})
        elif not field.kind.takes(found[field.name]):
            value = "what is not shown" if isinstance(field.kind, Hidden) else shown(found[field.name])
            wrong.append({"field": field.name, "found": value, "allowed": field.kind.allowed})
    if wrong:
        raise wrong_fields(wrong, where)
    return dict(found)


def of_texts(fields: Sequence[Field], texts: Sequence[tuple[str, str]], where: str) -> dict[str, Any]:
    """Fields of a path or a query, checked. Raises ProblemError (BAD_FIELD)."""
    kinds = {field.name: field.kind for field in fields}
    found: dict[str, object] = {}
    for name, text in texts:
        if name in found:
            raise wrong_fields([{"field": shown(name), "found": "more than one", "allowed": "one"}], where)
        found[name] = kinds[name].of_text(text) if name in kinds else text
    return checked(fields, found, where)


def wrong_fields(wrong: Sequence[dict[str, str]], where: str) -> Exception:
    """The refusal of these; at most ``FIELDS_SHOWN_MAX`` are named."""
    told = tuple(wrong[:FIELDS_SHOWN_MAX])
    detail = "; ".join(f"{one['field']}: found {one['found']}, allowed: {one['allowed']}" for one in told)
    return refuse("BAD_FIELD", f"{where}: {detail}", fields=told, todo="see /openapi.json for what each field may be")


def _unknown(name: str, known: Mapping[str, Field]) -> dict[str, str]:
    return {"field": shown(name), "found": "an unknown field", "allowed": ", ".join(known) or "no field here"}
