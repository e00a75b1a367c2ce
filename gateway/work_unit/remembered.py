"""What the database knows of lots and serial numbers, handed to a work unit with the input that asks for it.

Reads only, and decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from buffer import genealogy
from gateway.core.entries import LotNameEntry, SerialEntry
from gateway.core.model import Status
from gateway.core.work_unit import TEXT_CHARS_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buffer.store import Store
    from gateway.core.model import DataValue, Input
    from gateway.core.unit_state import State


async def informed(store: Store, machine: str, given: LotNameEntry | SerialEntry) -> LotNameEntry | SerialEntry:
    """The entry with what is remembered of it. Raises StoreError."""
    if isinstance(given, LotNameEntry):
        return given._replace(told=await genealogy.unknown(store, given.order, given.operation, machine))
    return given._replace(earlier=await genealogy.serials(store, given.serial))


async def serial_of(store: Store, state: State, value: DataValue) -> SerialEntry | None:
    """What a reader shows, where it is another serial number than before. Raises StoreError."""
    if value.status is not Status.GOOD or value.value is None:
        return None
    serial = str(value.value)[:TEXT_CHARS_MAX]
    if serial == state.work.read:
        return None
    return SerialEntry(value.received_time_ns, serial, earlier=await genealogy.serials(store, serial))


def behind(inputs: Sequence[Input], value: DataValue, read: SerialEntry) -> tuple[Input, ...]:
    """The inputs with what a reader showed right behind the value that showed it: so a recording has them."""
    at = next(place for place, one in enumerate(inputs) if one is value) + 1
    return (*inputs[:at], read, *inputs[at:])
