"""Asks a Modbus device single questions, outside any source, and survives it when there is no answer.

Uses the driver's own connection; decides nothing about what to ask next.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from drivers.base import DriverError
from gateway.commission.scan import Answer, Kind
from gateway.commission.target import TargetError, checked
from gateway.core.duration import seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from drivers.modbus.client import Connection
    from drivers.modbus.endpoint import Endpoint
    from drivers.modbus.layout import Table
    from gateway.commission.address import Device

#: A device that takes no new connection right after the last one is tried again so often, so much later.
CONNECT_TIMES: Final = 3
CONNECT_PAUSE_S: Final = 0.5
#: A question that got somebody else's answer is asked so often.
FOREIGN_TIMES: Final = 2

_T = TypeVar("_T")


def endpoint_of(device: Device, text: str) -> Endpoint:
    """Where and how to ask. Raises TargetError naming ``text``."""
    from drivers.modbus.endpoint import Endpoint

    if device.driver != "modbus":
        raise TargetError(f"{text}: found {device.driver}, allowed a Modbus device such as modbus://192.0.2.10/1")
    endpoint: Endpoint = checked(Endpoint, dict(device.keys), text)
    return endpoint


class Probe:
    """One way to one or more units; connects when it first asks, and again after every missing answer."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._connection: Connection | None = None
        self._ever = False

    async def ask(self, unit: int, table: str, address: int, count: int) -> Answer:
        """The device's reaction. Raises DriverError where no connection can be made."""
        from drivers.modbus.client import ConnectionBrokenError, ForeignAnswerError, RequestRefused

        timeout_s = seconds(self._endpoint.timeout)
        why = ""
        # A late answer of the unit asked before is no answer of this one; it comes once.
        for _ in range(FOREIGN_TIMES):
            connection = await self._connected()
            try:
                words: Any = await connection.read(unit, cast("Table", table), address, count, timeout_s)
            except RequestRefused as refusal:
                return Answer(Kind.REFUSED, code=refusal.code, text=str(refusal))
            except ConnectionBrokenError as error:
                self.close()
                # Where answers carry no number, a late one must have come and gone before the next question.
                await asyncio.sleep(seconds(self._endpoint.quiet_ns))
                return Answer(Kind.SILENT, text=str(error))
            except ForeignAnswerError as error:
                self.close()
                why = f"something else answered: {error}"
            else:
                await asyncio.sleep(seconds(self._endpoint.gap_ns))
                return Answer(Kind.ANSWERS, words=words)
        return Answer(Kind.SILENT, text=why)

    async def first_answer(self, unit: int, table: str, address: int, counts: Sequence[int]) -> Answer:
        """The reaction to the first of several lengths that is not refused. Raises DriverError."""
        try:
            for count in counts:
                answer = await self.ask(unit, table, address, count)
                if answer.kind is not Kind.REFUSED:
                    break
            return answer
        finally:
            self.close()

    async def closing(self, work: Awaitable[_T]) -> _T:
        """The work's result; the connection is closed behind it."""
        try:
            return await work
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection; the next question makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def _connected(self) -> Connection:
        from drivers.modbus.client import Connection, ConnectionBrokenError

        if self._connection is not None and self._connection.alive:
            return self._connection
        self.close()
        times = CONNECT_TIMES if self._ever else 1
        for left in reversed(range(times)):
            connection = Connection(self._endpoint, Path())
            try:
                await connection.open()
            except ConnectionBrokenError as error:
                connection.close()
                if not left:
                    raise DriverError(f"{self._endpoint.where}: {error}") from error
                await asyncio.sleep(CONNECT_PAUSE_S)
            else:
                break
        self._connection, self._ever = connection, True
        await asyncio.sleep(seconds(self._endpoint.pause_after_connect))
        return connection
