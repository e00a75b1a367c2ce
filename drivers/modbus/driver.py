"""Reads a Modbus device in regular scans.

Knows nothing of bytes (``client.py``) nor of layouts (``registers.py``); does not decide what a value means.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from drivers.base import Reading, TelemetryBlock, WriteRefusedError
from drivers.modbus.client import ModbusLink, RequestRefused
from drivers.modbus.registers import decoder, fields_of, plan
from gateway.core.duration import NS_PER_S, seconds
from gateway.core.model import DataValue, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from drivers.base import DriverContext
    from drivers.modbus.registers import Request
    from drivers.modbus.settings import ModbusSettings
    from gateway.core.model import Scalar

#: Telemetry that does not change is published again this often.
TELEMETRY_REFRESH_NS: Final = 10 * NS_PER_S
#: A refused request is tried again after this, doubling up to the limit.
REFUSED_RETRY_FIRST_S: Final = 1.0
REFUSED_RETRY_MAX_S: Final = 60.0
#: Exceptions of a request that touches an address the device does not have.
ILLEGAL_ADDRESS: Final = 2


class _Slot:
    """A request with everything prepared for its answers."""

    __slots__ = (
        "decode_rules",
        "decode_telemetry",
        "last_block_ns",
        "last_words",
        "refused_times",
        "request",
        "retry_at_s",
        "rule_names",
        "telemetry_names",
    )

    def __init__(self, request: Request, rules: frozenset[str], telemetry: frozenset[str]) -> None:
        rule_fields = [field for field in request.fields if field.name in rules]
        telemetry_fields = [field for field in request.fields if field.name in telemetry]
        self.request = request
        self.rule_names = tuple(field.name for field in rule_fields)
        self.telemetry_names = tuple(field.name for field in telemetry_fields)
        self.decode_rules = decoder(request, rule_fields)
        self.decode_telemetry = decoder(request, telemetry_fields)
        self.last_words: Sequence[int] | Sequence[bool] | None = None
        self.last_block_ns = 0
        self.refused_times = 0
        self.retry_at_s = 0.0  # loop time


class ModbusDriver:
    """The Modbus side of one source (see ``drivers.base`` for who calls what)."""

    def __init__(self, settings: ModbusSettings, context: DriverContext) -> None:
        self._settings = settings
        self._now_ns = context.now_ns
        self._scan_s = seconds(settings.scan)
        self._rules = frozenset(f"{context.source}.{name}" for name in context.rule_signals)
        self._telemetry = frozenset(f"{context.source}.{name}" for name in context.telemetry_signals).union(
            f"{context.source}.{block.name}.{index}" for block in settings.blocks for index in range(block.count)
        )
        fields = fields_of(context.source, settings)
        wanted = [field for field in fields if field.name in self._rules or field.name in self._telemetry]
        self._slots = self._prepared(plan(wanted or fields, settings.max_registers, settings.max_hole))
        self._link = ModbusLink(
            host=settings.host, port=settings.port, unit=settings.unit, timeout_s=seconds(settings.timeout)
        )
        self._problems: dict[str, str] = {}
        #: Scans left out because an earlier one took too long.
        self.overruns = 0

    async def open(self) -> None:
        """Connect. Raises DriverError."""
        await self._link.connect()

    async def readings(self) -> AsyncIterator[Reading]:
        """One reading per scan, on a schedule that does not drift. Raises DriverError when the link is lost."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            yield await self._scan()
            due_s += self._scan_s
            late_s = loop.time() - due_s
            if late_s > 0:
                missed = int(late_s / self._scan_s) + 1
                self.overruns += missed
                due_s += missed * self._scan_s
            await asyncio.sleep(due_s - loop.time())

    async def close(self) -> None:
        """Close the connection."""
        self._link.close()

    async def write(self, signal: str, value: Scalar) -> None:
        """Raise WriteRefusedError: nothing is written yet."""
        raise WriteRefusedError(f"{signal}: this driver cannot write {value!r}")

    def notices(self) -> Mapping[str, str]:
        """Nothing yet."""
        return {}

    def problems(self) -> Mapping[str, str]:
        """Signals whose request the device refuses, with the exception it gives."""
        return dict(self._problems)

    def _prepared(self, requests: tuple[Request, ...]) -> list[_Slot]:
        return [_Slot(request, self._rules, self._telemetry) for request in requests]

    async def _scan(self) -> Reading:
        values: list[DataValue] = []
        blocks: list[TelemetryBlock] = []
        now_s = asyncio.get_running_loop().time()
        for slot in tuple(self._slots):
            if slot.retry_at_s > now_s:
                continue
            request = slot.request
            try:
                words = await self._link.read(request.table, request.address, request.length)
            except RequestRefused as refusal:
                self._refuse(slot, refusal, values, blocks)
            else:
                self._take(slot, words, values, blocks)
        return Reading(tuple(values), tuple(blocks))

    def _take(
        self,
        slot: _Slot,
        words: Sequence[int] | Sequence[bool],
        values: list[DataValue],
        blocks: list[TelemetryBlock],
    ) -> None:
        now_ns = self._now_ns()
        if slot.refused_times:
            slot.refused_times = 0
            for field in slot.request.fields:
                self._problems.pop(field.name, None)
        if slot.rule_names:
            values += [
                DataValue(name, value, Status.BAD if value is None else Status.GOOD, None, now_ns)
                for name, value in zip(slot.rule_names, slot.decode_rules(words), strict=True)
            ]
        if slot.telemetry_names and (words != slot.last_words or now_ns - slot.last_block_ns >= TELEMETRY_REFRESH_NS):
            slot.last_words = words
            slot.last_block_ns = now_ns
            blocks.append(TelemetryBlock(slot.telemetry_names, slot.decode_telemetry(words), now_ns))

    def _refuse(
        self,
        slot: _Slot,
        refusal: RequestRefused,
        values: list[DataValue],
        blocks: list[TelemetryBlock],
    ) -> None:
        """The device answered, but not with data: its signals are BAD, the others go on."""
        request = slot.request
        if refusal.code == ILLEGAL_ADDRESS:
            # The hole may be what the device refuses: ask again without any, before blaming the signals.
            finer = plan(request.fields, self._settings.max_registers, max_hole=0)
            if len(finer) > 1:
                place = self._slots.index(slot)
                self._slots[place : place + 1] = self._prepared(finer)
                return
        wait_s = min(REFUSED_RETRY_FIRST_S * 2.0 ** min(slot.refused_times, 30), REFUSED_RETRY_MAX_S)
        slot.retry_at_s = asyncio.get_running_loop().time() + wait_s
        slot.refused_times += 1
        reason = f"{self._link}: {request} refused with {refusal}; addresses count from 0"
        self._problems.update((field.name, reason) for field in request.fields)
        if slot.refused_times > 1:
            return
        now_ns = self._now_ns()
        slot.last_words = None
        values += [DataValue(name, None, Status.BAD, None, now_ns) for name in slot.rule_names]
        if slot.telemetry_names:
            blocks.append(TelemetryBlock(slot.telemetry_names, (None,) * len(slot.telemetry_names), now_ns))
