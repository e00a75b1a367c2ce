"""Reads a Modbus device in regular scans, and writes where it is told to.

Knows nothing of bytes (``client.py``), of turns (``link.py``) nor of layouts (``registers.py``); does not decide what a
value means, nor who may write.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from drivers.asking import Asked
from drivers.base import DriverError, Reading, WriteRefusedError, WriteUnverifiedError
from drivers.modbus.encode import coil_of, mask_of, words_of
from drivers.modbus.layout import BYTES
from drivers.modbus.link import RequestRefused, link_for
from drivers.modbus.plan import Request, fields_of, halves, without_holes
from drivers.modbus.registers import decoder
from drivers.modbus.slots import Family, Sinks, Slot, groups_of
from gateway.core.duration import NS_PER_S, Duration, seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from drivers.asking import Question
    from drivers.base import DriverContext, TelemetryBlock
    from drivers.modbus.plan import Field
    from drivers.modbus.settings import ModbusSettings
    from drivers.modbus.slots import Group
    from gateway.core.model import DataValue, Scalar

#: A refused request is tried again after this, doubling up to the limit.
REFUSED_RETRY_FIRST_S: Final = 1.0
REFUSED_RETRY_MAX_S: Final = 60.0
#: A request that was split is tried as a whole again after this, doubling up to the limit.
WHOLE_RETRY_FIRST_S: Final = 60.0
WHOLE_RETRY_MAX_S: Final = 3_600.0
#: Requests that one scan may spend on finding out which signals are refused; more wait for the next scan.
SPLITS_PER_SCAN: Final = 16
#: Exceptions that mean "not now": the signals keep their last value for so many scans.
BUSY: Final = frozenset({5, 6})
BUSY_SCANS: Final = 3
#: Exceptions of a gateway that does not reach the unit: as good as no answer.
UNREACHABLE: Final = frozenset({10, 11})
_NOTHING: Final[frozenset[str]] = frozenset()


class ModbusDriver:
    """The Modbus side of one source (see ``drivers.base`` for who calls what)."""

    def __init__(self, settings: ModbusSettings, context: DriverContext) -> None:
        self._settings = settings
        self._source = context.source
        self._now_ns = context.now_ns
        self._sinks = Sinks(settings, context)
        self._groups = groups_of(context.source, settings, self._sinks)
        self._link = link_for(settings, context.base_dir)
        self._problems: dict[str, str] = {}
        self._splits_left = 0
        self._longest_ns = 0
        self._asked = Asked()
        #: Scans left out because an earlier one took too long.
        self.overruns = 0

    async def open(self) -> None:
        """Connect. Raises DriverError."""
        await self._link.connect()
        if self._settings.transport == "udp":
            # A datagram finds out only by being answered whether anybody is there.
            request = next(slot.request for group in self._groups for slot in group.slots)
            with contextlib.suppress(RequestRefused):
                await self._link.read(request.table, request.address, request.length)

    async def readings(self) -> AsyncIterator[Reading]:
        """One reading per scan, on a schedule that does not drift. Raises DriverError when the link is lost."""
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        asked: Question | None = None
        while True:
            first_ns = min(group.due_ns for group in self._groups)
            begun_s = loop.time()
            is_due = asked is None or begun_s >= start_s + seconds(first_ns)
            due = [group for group in self._groups if is_due and group.due_ns == first_ns]
            reading = await self._scan(due, asked)
            took_ns = int((loop.time() - begun_s) * NS_PER_S)
            yield reading
            elapsed_ns = int((loop.time() - start_s) * NS_PER_S)
            missed = sum(group.go_on(elapsed_ns) for group in due)
            if missed:
                self.overruns += missed
                self._longest_ns = max(self._longest_ns, took_ns)
            next_ns = min(group.due_ns for group in self._groups)
            asked = await self._asked.until(start_s + seconds(next_ns))

    def read_now(self, question: Question) -> None:
        """Read these signals out of turn."""
        self._asked.put(question)

    async def close(self) -> None:
        """Close the connection, or leave it to the others behind the same port."""
        self._link.close()

    def problems(self) -> Mapping[str, str]:
        """Signals that the device refuses, with the exception it gives."""
        return dict(self._problems)

    def notices(self) -> Mapping[str, str]:
        """Scans that were left out, and requests that are read in pieces."""
        found: dict[str, str] = {}
        if self.overruns:
            took = Duration(max(self._longest_ns // 1_000_000, 1) * 1_000_000)
            found["scan"] = (
                f"{self.overruns} scans left out since the link was made: the longest reading took {took}; "
                f"read less, less often, or in longer requests (max_registers, max_hole)"
            )
        split = [family for group in self._groups for family in group.families]
        if split:
            more = f", and {len(split) - 1} more" if len(split) > 1 else ""
            found["requests"] = f"read in pieces, which takes longer: {split[0].reason}{more}"
        return found

    async def _scan(self, due: list[Group], asked: Question | None = None) -> Reading:
        values: list[DataValue] = []
        blocks: list[TelemetryBlock] = []
        now_s = asyncio.get_running_loop().time()
        self._splits_left = SPLITS_PER_SCAN
        now = frozenset(f"{self._source}.{name}" for name in asked.signals) if asked is not None else _NOTHING
        for group in self._groups:
            is_due = group in due
            if is_due and group.families:
                await self._try_whole(group, now_s)
            waiting = [slot for slot in reversed(group.slots) if is_due or slot.has(now)]
            while waiting:
                slot = waiting.pop()
                if slot.retry_at_s <= now_s:
                    waiting += reversed(await self._ask(group, slot, values, blocks, now))
        reading = Reading(tuple(values), tuple(blocks))
        return reading if asked is None else asked.answered(reading)

    async def _ask(
        self,
        group: Group,
        slot: Slot,
        values: list[DataValue],
        blocks: list[TelemetryBlock],
        now: frozenset[str] = _NOTHING,
    ) -> list[Slot]:
        """Ask, and take what comes, of ``now`` all; returns what is to be asked instead in this scan."""
        request = slot.request
        try:
            words = await self._link.read(request.table, request.address, request.length)
        except RequestRefused as refusal:
            return self._refused(group, slot, refusal, values, blocks)
        if slot.refused_times or slot.busy_times:
            slot.refused_times = slot.busy_times = 0
            for field in request.fields:
                self._problems.pop(field.name, None)
        slot.take(words, self._now_ns(), values, blocks, now)
        return []

    def _refused(
        self,
        group: Group,
        slot: Slot,
        refusal: RequestRefused,
        values: list[DataValue],
        blocks: list[TelemetryBlock],
    ) -> list[Slot]:
        """The device answered, but not with data: its signals are BAD, the others go on."""
        reason = f"{self._link}: {slot.request} refused with {refusal}"
        if refusal.code in UNREACHABLE:
            raise DriverError(f"{reason}: nothing answers behind the gateway; is the unit on, and is it this unit?")
        if refusal.code in BUSY:
            slot.busy_times += 1
            if slot.busy_times < BUSY_SCANS:
                return []
        elif pieces := self._pieces(group, slot, reason):
            if self._splits_left <= 0:
                return []
            self._splits_left -= len(pieces)
            return pieces
        wait_s = min(REFUSED_RETRY_FIRST_S * 2.0 ** min(slot.refused_times, 30), REFUSED_RETRY_MAX_S)
        slot.retry_at_s = asyncio.get_running_loop().time() + wait_s
        slot.refused_times += 1
        self._problems.update((field.name, f"{reason}; addresses count from 0") for field in slot.request.fields)
        if slot.refused_times == 1:
            slot.take_refusal(self._now_ns(), values, blocks)
        return []

    def _pieces(self, group: Group, slot: Slot, reason: str) -> list[Slot]:
        """Put finer requests in the place of a refused one; none where it cannot be finer, or was refused before.

        First without unnamed addresses, which is what most devices refuse; then in two, down to single signals.
        """
        if slot.refused_times:
            return []
        requests = without_holes(slot.request)
        if len(requests) == 1:
            requests = halves(slot.request)
        if len(requests) == 1:
            return []
        family = slot.family
        if family is None:
            family = Family(slot.request, reason)
            family.retry_at_s = asyncio.get_running_loop().time() + WHOLE_RETRY_FIRST_S
            group.families.append(family)
        pieces = [Slot(request, self._sinks, family) for request in requests]
        place = group.slots.index(slot)
        group.slots[place : place + 1] = pieces
        return pieces

    async def _try_whole(self, group: Group, now_s: float) -> None:
        """Put a split request together again if the device takes it now: what it refused may have been a start-up."""
        for family in tuple(group.families):
            members = [slot for slot in group.slots if slot.family is family]
            if family.retry_at_s > now_s or any(slot.refused_times for slot in members):
                continue
            request = family.request
            try:
                await self._link.read(request.table, request.address, request.length)
            except RequestRefused:
                family.tries += 1
                wait_s = min(WHOLE_RETRY_FIRST_S * 2.0 ** min(family.tries, 30), WHOLE_RETRY_MAX_S)
                family.retry_at_s = now_s + wait_s
            else:
                place = group.slots.index(members[0])
                rest = [slot for slot in group.slots if slot.family is not family]
                group.slots[:] = [*rest[:place], Slot(request, self._sinks), *rest[place:]]
                group.families.remove(family)

    async def write(self, signal: str, value: Scalar) -> None:
        """Write one signal, and read it back if the settings say so.

        Raises WriteRefusedError where the device refuses, the value cannot be expressed or nothing was sent,
        WriteUnverifiedError where it was confirmed and does not read back, DriverError where no proper answer came:
        then nobody knows whether it was written.
        """
        field = self._field(signal)
        try:
            if field.table == "coil":
                await self._write_coil(field, coil_of(field, value))
            elif field.table == "holding":
                await self._write_register(field, value)
            else:
                raise WriteRefusedError(f"{field.name}: the table {field.table} can only be read")
        except RequestRefused as refusal:
            raise WriteRefusedError(
                f"{self._link}: writing {value!r} to {field.name} ({field.table} {field.address}) refused with "
                f"{refusal}; check in the manual that it can be written, and its range"
            ) from refusal

    def _field(self, signal: str) -> Field:
        wanted = f"{self._source}.{signal}"
        for field in fields_of(self._source, self._settings):
            if field.name == wanted:
                return field
        raise WriteRefusedError(f"{wanted}: there is no such signal")

    async def _write_coil(self, field: Field, state: bool) -> None:  # noqa: FBT001 - a value, not a switch
        await self._link.write_coil(field.address, state=state)
        await self._verify(field, [state])

    async def _write_register(self, field: Field, value: Scalar) -> None:
        if field.type == "bit" or field.type in BYTES:
            if not self._settings.mask_writes:
                raise WriteRefusedError(
                    f"{field.name}: a part of a register is written only with mask_writes: true (function 22), "
                    f"because the device may change the rest between reading and writing it"
                )
            change = mask_of(field, value)
            await self._link.mask_register(field.address, change)
            await self._verify(field, [change.or_mask])
            return
        words = words_of(field, value)
        await self._link.write_registers(field.address, words, multiple=self._settings.write_multiple)
        await self._verify(field, words)

    async def _verify(self, field: Field, wanted: list[int] | list[bool]) -> None:
        """Read back what was confirmed; from here on nothing may say that it was not written."""
        name = field.name.removeprefix(f"{self._source}.")
        signal = self._settings.signals.get(name)
        if signal is None or not self._settings.verifies(signal):
            return
        try:
            found = await self._link.read(field.table, field.address, len(wanted))
        except (RequestRefused, DriverError, asyncio.CancelledError) as error:
            raise WriteUnverifiedError(
                f"{self._link}: {field.name} was written and confirmed, but cannot be read back "
                f"({str(error) or 'the link is lost'}); for a register that can only be written set "
                f"verify_writes: false"
            ) from error
        # As values, because devices end texts with blanks where we do not.
        read = decoder(Request(field.table, field.address, len(wanted), (field,)), (field,))
        if read(found) != read(wanted):
            raise WriteUnverifiedError(
                f"{self._link}: {field.name} was written and confirmed, but reads back {list(found)} instead of "
                f"{list(wanted)} (raw); something else writes it too, or the device limits it. For a value that the "
                f"device takes back by itself set verify_writes: false"
            )
