"""One name for an operation of SAP: number, sub-operation and sequence in one word, and back. Pure.

``0010`` is operation 0010 of the standard sequence, ``0010.0005`` its sub-operation, ``0010-1`` the one of sequence 1.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.connectors.sap_odata.edm import without_zeros


class Address(NamedTuple):
    """Where a confirmation belongs within its order; ``sequence`` "0" is the standard one, ``sub`` "" is none."""

    operation: str
    sub: str = ""
    sequence: str = "0"


def name_of(address: Address) -> str:
    """The word for an operation."""
    sub = f".{address.sub}" if address.sub else ""
    sequence = without_zeros(address.sequence or "0")
    return address.operation + sub + ("" if sequence == "0" else f"-{sequence}")


def address_of(name: str) -> Address:
    """What the word stands for."""
    rest, _, sequence = name.partition("-")
    operation, _, sub = rest.partition(".")
    return Address(operation, sub, sequence or "0")


def same(one: str, other: str) -> bool:
    """Whether two words mean the same operation: leading zeros make no difference."""
    return _key(one) == _key(other)


def _key(name: str) -> tuple[str, ...]:
    address = address_of(name)
    return tuple(without_zeros(part) if part else "" for part in address)
