"""The ways manuals write an address, and the PDU address behind each. Pure; knows no settings class."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from drivers.modbus.layout import ADDRESSES, Table

Addressing = Literal["pdu", "one_based", "manual"]

#: First digit of a manual's number, and the table that it stands for.
TABLE_OF_DIGIT: Final[dict[str, Table]] = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
DIGIT_OF_TABLE: Final = {table: digit for digit, table in TABLE_OF_DIGIT.items()}
DEFAULT_TABLE: Final[Table] = "holding"
#: Below this a number without quotes lost its leading zero, or was read as octal because of it.
MANUAL_NUMBER_MIN: Final = 10_001
_MANUAL = re.compile(r"([0134])(\d{4}|\d{5})")
_HEX = re.compile(r"0[xX][0-9a-fA-F]{1,4}")
_SUM = re.compile(r"(\w+)\s*\+\s*(\d{1,5})")
#: A decimal number of so few digits is no manual's number: it can only be a PDU address.
_SHORT = re.compile(r"\d{1,4}")


class Place(NamedTuple):
    """Where a value is: one of the four tables, and the PDU address, counted from 0."""

    table: Table
    address: int

    def __str__(self) -> str:
        number = f"{DIGIT_OF_TABLE[self.table]}{self.address + 1:05d}"
        return f"{self.table} {self.address} (PDU address; {number} in manuals)"

    def check_span(self, length: int) -> None:
        """Whether so many registers (or bits) from here on exist. Raises ValueError."""
        if self.address + length > ADDRESSES:
            raise ValueError(
                f"address: found {self.address} with a length of {length}, allowed 0 to {ADDRESSES - 1} "
                f"(PDU address: a manual's 40001 is 0 in the holding table)"
            )


def place_of(address: int | str, table: Table | None, addressing: Addressing) -> Place:
    """The place that an address as written stands for.

    A text is a manual's number with its table ("40001", "400001", "00033") or a PDU address in hexadecimal ("0x1024"),
    whatever ``addressing`` says; "+3" behind it counts on from there, also behind a short PDU address ("12+3"). A
    number follows ``addressing``. Raises ValueError.
    """
    if isinstance(address, str):
        return _of_text(address.strip(), table)
    if addressing == "manual":
        if address < MANUAL_NUMBER_MIN:
            raise ValueError(
                f"address: found {address}, allowed with addressing: manual a number with its table such as 40001; "
                f'write one with leading zeros in quotes ("00033"), YAML reads it as octal otherwise'
            )
        return _of_text(str(address), table)
    found = address - 1 if addressing == "one_based" else address
    if not 0 <= found < ADDRESSES:
        counted = "1 to 65536 (one_based: the first register is 1)" if addressing == "one_based" else "0 to 65535"
        hint = "" if addressing == "one_based" else " (PDU address: a manual's 40001 is 0 in the holding table)"
        raise ValueError(f"address: found {address}, allowed {counted}{hint}")
    return Place(table or DEFAULT_TABLE, found)


def _of_text(text: str, table: Table | None) -> Place:
    added = _SUM.fullmatch(text)
    if added is not None:
        base = added[1]
        place = Place(table or DEFAULT_TABLE, int(base)) if _SHORT.fullmatch(base) else _of_text(base, table)
        place = place._replace(address=place.address + int(added[2]))
        place.check_span(1)
        return place
    if _HEX.fullmatch(text):
        return Place(table or DEFAULT_TABLE, int(text, 16))
    match = _MANUAL.fullmatch(text)
    if match is None or not 1 <= int(match[2]) <= ADDRESSES:
        raise ValueError(
            f'address: found "{text}", allowed as a text a manual\'s number with its table ("40001" or "400001" '
            f'holding, "30001" input, "10001" discrete, "00001" coil) or a hexadecimal PDU address ("0x1024"); '
            f'"+3" behind it counts on'
        )
    implied = TABLE_OF_DIGIT[match[1]]
    if table is not None and table != implied:
        raise ValueError(
            f'address: "{text}" is in the table {implied}, but table says {table}; leave table out, or correct one'
        )
    return Place(implied, int(match[2]) - 1)
