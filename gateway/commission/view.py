"""Values and tables as text for a person. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.core.duration import NS_PER_UNIT
from gateway.core.foreign_text import clean
from gateway.core.model import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.model import Scalar

#: A cell longer than this is cut; ``--json`` cuts nothing.
CELL_MAX: Final = 100
#: A 32-bit float has no more digits than this; printed in full it shows digits that the device never had.
FLOAT_DIGITS: Final = 9
QUALITY: Final = {Status.GOOD: "good", Status.UNCERTAIN: "uncertain", Status.BAD: "bad"}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with aligned columns, two spaces apart; the last column is as wide as it is."""
    cells = [[clean(cell, CELL_MAX) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def value_text(value: Scalar) -> str:
    """A value as a person reads it; ``-`` where there is none."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        short = f"{value:.{FLOAT_DIGITS - 2}g}"
        return short if len(repr(value)) > FLOAT_DIGITS else repr(value)
    return str(value)


def length_text(length_ns: float | None) -> str:
    """A length of time with three digits and a fitting unit; ``-`` where there is none."""
    if length_ns is None:
        return "-"
    for unit in ("h", "min", "s", "ms"):
        if abs(length_ns) >= NS_PER_UNIT[unit]:
            return f"{length_ns / NS_PER_UNIT[unit]:.3g} {unit}"
    return f"{length_ns / NS_PER_UNIT['us']:.3g} us" if length_ns else "0 s"


def flow(mapping: dict[str, Any]) -> str:
    """A mapping as YAML on one line, ready to paste: ``{ table: holding, address: 0 }``."""
    return "{ " + ", ".join(f"{key}: {scalar(value)}" for key, value in mapping.items()) + " }"


def scalar(value: object) -> str:
    """A YAML scalar: texts that YAML would take for something else, or that have signs of its own, are quoted."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(scalar, value)) + "]"
    text = str(value)
    plain = text.replace("_", "").replace("-", "").replace(".", "").replace(" ", "")
    if plain.isalnum() and plain.isascii() and not _like_a_number(text) and text.lower() not in _YAML_WORDS:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_YAML_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


def _like_a_number(text: str) -> bool:
    if text[:1] in "-. " or text[-1:] == " ":
        return True
    try:
        float(text.replace("_", ""))
    except ValueError:
        return text.lower().startswith("0x")
    return True
