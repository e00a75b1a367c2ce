"""Which reading of some registers is what the machine's display shows. Pure; the readings are the driver's own."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drivers.modbus.registers import Decoding

#: What a raw number may be multiplied by to become the displayed one, the likeliest first.
SCALES: Final = ("1", "0.1", "0.01", "0.001", "10", "100", "1000", "0.0001")
#: Floats are hardly ever scaled, but for kilo and milli.
FLOAT_SCALES: Final = ("1", "0.001", "1000")
#: The likelier a type, the higher up it stands.
TYPE_RANK: Final = {
    "float32": 0, "uint16": 0, "int16": 1, "uint32": 1, "int32": 2, "bcd16": 3, "bcd32": 3, "float64": 3, "uint64": 4,
    "int64": 5, "uint8": 4, "int8": 5, "float16": 6, "string": 0,
}  # fmt: skip
ORDER_RANK: Final = {"ABCD": 0, "CDAB": 1, "DCBA": 2, "BADC": 3}
FLOATS: Final = frozenset({"float16", "float32", "float64"})
#: Smaller floats are other data read as floats.
FLOAT_LEAST: Final = 1e-20
SCALED_FLOAT_RANK: Final = 4
#: Registers of one read.
WORDS_MAX: Final = 125
WORD_MAX: Final = 65_535


class Shown(NamedTuple):
    """What the display shows: a number with what it may be off by, or a text."""

    text: str
    number: Fraction | None
    tolerance: Fraction


class Match(NamedTuple):
    """A reading that fits. ``also`` are types that read the same here and cannot be told apart by this value."""

    offset: int
    type: str
    order: str
    byte: str | None
    registers: int
    scale: str
    value: float | str
    also: tuple[str, ...] = ()

    def signal(self, table: str, address: int) -> dict[str, Any]:
        """The keys of the signal as the configuration has them; ``address`` is that of the first register given."""
        keys: dict[str, Any] = {"table": table, "address": address + self.offset, "type": self.type}
        if self.type == "string":
            keys["length"] = len(str(self.value)) + len(str(self.value)) % 2
        if self.byte is not None:
            keys["byte"] = self.byte
        if self.order != "ABCD":
            keys["order"] = self.order
        if self.scale != "1":
            keys["scale"] = self.scale
        return keys


def parse_shown(text: str, tolerance: str | None = None) -> Shown:
    """The display's text. Without a tolerance a number may be off by half of its last digit. Raises ValueError."""
    if not text.strip():
        raise ValueError("--shows: found nothing, allowed what the display shows, such as 123.4")
    try:
        number = Decimal(text.strip().replace(",", "."))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        if tolerance is not None:
            raise ValueError(f"tolerance: found {tolerance}, but {text!r} is no number")
        return Shown(text.strip(), None, Fraction(0))
    if tolerance is None:
        exponent = number.as_tuple().exponent
        assert isinstance(exponent, int), "a finite number has one"
        return Shown(text, Fraction(number), Fraction(10) ** exponent / 2)
    try:
        allowed = Decimal(tolerance.replace(",", "."))
    except InvalidOperation:
        allowed = Decimal(-1)
    if not allowed.is_finite() or allowed < 0:
        raise ValueError(f"tolerance: found {tolerance!r}, allowed a number from 0, such as 0.05")
    return Shown(text, Fraction(number), Fraction(allowed))


def parse_words(texts: Sequence[str]) -> list[int]:
    """Registers as a person copies them: decimal or 0x..., between spaces or commas. Raises ValueError."""
    words = []
    for text in " ".join(texts).replace(",", " ").split():
        try:
            word = int(text, 16 if text.lower().startswith("0x") else 10)
        except ValueError:
            word = -1
        if not 0 <= word <= WORD_MAX:
            raise ValueError(f"found {text!r}, allowed registers from 0 to {WORD_MAX}, or 0x0000 to 0xffff")
        words.append(word)
    if not 1 <= len(words) <= WORDS_MAX:
        raise ValueError(f"found {len(words)} registers, allowed 1 to {WORDS_MAX}")
    return words


def matches(words: Sequence[int], shown: Shown) -> list[Match]:
    """Every reading that fits, the likeliest first; one that begins at any of the registers."""
    from drivers.modbus.registers import decode_all

    found: dict[tuple[object, ...], Match] = {}
    for offset in range(len(words)):
        for decoding in decode_all(words[offset:]):
            for scale in _fitting(decoding, shown):
                value = _shown_value(decoding.value, scale, shown)
                key = (offset, decoding.registers, decoding.order, decoding.byte, scale, value)
                match = Match(offset, decoding.type, decoding.order, decoding.byte, decoding.registers, scale, value)
                known = found.get(key)
                if known is None:
                    found[key] = match
                elif _rank(match) < _rank(known):
                    found[key] = match._replace(also=(*known.also, known.type))
                else:
                    found[key] = known._replace(also=(*known.also, match.type))
    return sorted(found.values(), key=_rank)


def _fitting(decoding: Decoding, shown: Shown) -> Iterator[str]:
    value = decoding.value
    if isinstance(value, str):
        if shown.number is None and shown.text and value.startswith(shown.text):
            yield "1"
        return
    if shown.number is None or value is None:
        return
    if _says_nothing(value, shown.number):
        return
    raw = Fraction(value)
    for scale in FLOAT_SCALES if decoding.type in FLOATS else SCALES:
        if abs(raw * Fraction(scale) - shown.number) <= shown.tolerance:
            yield scale


def _says_nothing(value: float, shown: Fraction) -> bool:
    """Nothing at all, or a float so small that no machine means it: it fits any display with a wide tolerance."""
    return bool(shown) and (not value or (isinstance(value, float) and abs(value) < FLOAT_LEAST))


def _shown_value(value: object, scale: str, shown: Shown) -> float | str:
    if isinstance(value, str):
        return shown.text
    assert isinstance(value, int | float), "only numbers and texts match"
    exact = Fraction(value) * Fraction(scale)
    return int(exact) if exact.denominator == 1 else float(exact)


def _rank(match: Match) -> tuple[int, int]:
    scaled = SCALED_FLOAT_RANK if match.type in FLOATS and match.scale != "1" else 0
    return (
        TYPE_RANK[match.type] + ORDER_RANK[match.order] + SCALES.index(match.scale) + scaled,
        match.offset,
    )
