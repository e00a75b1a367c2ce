"""Which lot a product belongs to, and whether a serial number was seen before.

Names and decisions only: links between lots are ``genealogy.py``'s, holds are kept by the order book.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.work.lots import LOT_CHARS_MAX
from gateway.core.work.refused import WorkRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.core.rules_material import LotRule

SERIAL_CHARS_MAX: Final = 80


class LotFacts(NamedTuple):
    """What is so while a piece is made.

    ``day`` is the production day (2026-03-27), ``shift`` its shift, "" outside of any; ``batch`` the lot that the ERP
    names, "" for none; ``materials`` are feeder and lot of what is mounted.
    """

    order: str
    operation: str
    machine: str
    day: str
    shift: str = ""
    batch: str = ""
    materials: tuple[tuple[str, str], ...] = ()


class ProducedLot(NamedTuple):
    """The lot that is made now; one of these for each operation of an order on a machine.

    ``number`` counts its lots from 1; ``basis`` is what may not change within one.
    """

    number: int = 0
    lot: str = ""
    basis: tuple[str, ...] = ()


def produced_lot(now: ProducedLot, facts: LotFacts, rule: LotRule) -> ProducedLot | WorkRefused:
    """The lot of a piece that is made now: the same, or a new one where what it rests on has changed.

    Codes: BATCH_MISSING (the ERP should name it and does not), LOT_NAME (too long).
    """
    basis = _basis(facts, rule)
    if basis == now.basis and now.number:
        return now
    number = now.number + 1
    lot = facts.batch if rule.produced == "erp" else _name(facts, rule, number)
    where = f"order {facts.order}, operation {facts.operation}, its lot"
    if not lot:
        what = "let the ERP name a batch, or choose another policy (produced)"
        return WorkRefused("BATCH_MISSING", where, "none from the ERP", "a batch", what)
    if len(lot) > LOT_CHARS_MAX:
        what = "choose a shorter lot_format"
        return WorkRefused("LOT_NAME", where, f"{len(lot)} characters", f"at most {LOT_CHARS_MAX}", what)
    return ProducedLot(number, lot, basis)


def _basis(facts: LotFacts, rule: LotRule) -> tuple[str, ...]:
    own: dict[str, tuple[str, ...]] = {
        "order": (),
        "shift": (facts.day, facts.shift),
        "material_change": tuple(text for pair in sorted(facts.materials) for text in pair),
        "erp": (facts.batch,),
    }
    return (facts.order, *own[rule.produced])


def _name(facts: LotFacts, rule: LotRule, number: int) -> str:
    return rule.format.format_map(
        {
            "order": facts.order,
            "operation": facts.operation,
            "machine": facts.machine,
            "day": facts.day.replace("-", ""),
            "shift": facts.shift,
            "n": number,
        }
    )


class SerialRecord(NamedTuple):
    """A piece with a serial number that passed an operation."""

    item: str
    serial: str
    order: str
    operation: str
    at_ns: int


class SerialAccepted(NamedTuple):
    """The record to keep. ``first_pass``: the piece was never at this operation before."""

    record: SerialRecord
    first_pass: bool


class SerialHold(NamedTuple):
    """The piece is to be held until a person has decided; ``earlier`` is whose number it was."""

    code: str
    record: SerialRecord
    earlier: SerialRecord

    def __str__(self) -> str:
        first = self.earlier
        return (
            f"{self.record.item}, serial {self.record.serial}: {self.code}: found at order {self.record.order}, "
            f"operation {self.record.operation}, and before at order {first.order}, operation {first.operation}, "
            f"{first.at_ns} ns; allowed: once at each operation of one order; look at both pieces, then release one"
        )


def serial_read(
    record: SerialRecord, earlier: Sequence[SerialRecord], *, rework: bool = False
) -> SerialAccepted | SerialHold | WorkRefused:
    """What to do about a serial number that was read; ``earlier`` are all records of this item and number.

    A piece goes on through the operations of its order. Only rework brings it to one of them, or to an order, again.
    Codes: DUPLICATE_SERIAL (a hold), SERIAL_NAME (nothing readable).
    """
    if not record.serial.strip() or len(record.serial) > SERIAL_CHARS_MAX or not record.serial.isprintable():
        where = f"order {record.order}, operation {record.operation}, serial"
        found = f"{len(record.serial)} characters"
        return WorkRefused("SERIAL_NAME", where, found, f"1 to {SERIAL_CHARS_MAX} printable", "read it again")
    same = [one for one in earlier if (one.item, one.serial) == (record.item, record.serial)]
    again = [one for one in same if one.operation == record.operation]
    if not rework:
        for one in same:
            if one.order != record.order or one.operation == record.operation:
                return SerialHold("DUPLICATE_SERIAL", record, one)
    return SerialAccepted(record, first_pass=not again)


def produced_from(document: Mapping[str, Any]) -> ProducedLot:
    """What ``_asdict`` and JSON made of a ``ProducedLot``."""
    return ProducedLot(document["number"], document["lot"], tuple(document["basis"]))
