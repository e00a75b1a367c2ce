"""The way to one unit: sources behind the same port share a connection and take turns.

A connection serves one request at a time, in the order in which they were wanted. After a missing, broken or cut-off
answer it is thrown away and the next request opens a fresh one. Where answers carry no number, the unit that failed is
besides left alone for a quiet time and then has to answer a check (``doubt.py``): its late answer is never taken for
another's. Knows no layouts and no schedule.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from drivers.base import DriverError, WriteRefusedError
from drivers.modbus.client import (
    Connection,
    ConnectionBrokenError,
    ForeignAnswerError,
    RequestRefused,
    TlsBrokenError,
)
from drivers.modbus.doubt import ECHO, Doubt, Question
from drivers.modbus.endpoint import UNNUMBERED
from gateway.core.duration import seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from drivers.modbus.encode import MaskedWrite
    from drivers.modbus.endpoint import Endpoint
    from drivers.modbus.layout import Table

__all__ = ["ModbusLink", "RequestRefused", "link_for"]

T = TypeVar("T")


class _Line:
    """One port, shared by the units behind it."""

    def __init__(self, key: tuple[str, str], endpoint: Endpoint) -> None:
        self.key = key
        self.form = (endpoint.serial, endpoint.tls)
        self.turn = asyncio.Lock()
        self.users = 0
        #: Connections that the other side ended: every user has to learn of each.
        self.losses = 0
        self._connection: Connection | None = None
        self._free_at_s = 0.0  # loop time of the last answer
        self._doubts: dict[int, Doubt] = {}  # by unit

    def doubt_of(self, endpoint: Endpoint) -> Doubt | None:
        """What is in doubt of a unit; None where answers carry a number."""
        return self._doubts.setdefault(endpoint.unit, Doubt()) if endpoint.transport in UNNUMBERED else None

    def lost_because(self) -> str | None:
        """Why the connection ended since the last request, if the other side ended it; counts that as a loss."""
        connection = self._connection
        if connection is None or connection.alive:
            return None
        self.losses += 1
        self._close()
        return connection.lost_because

    async def ready(self, endpoint: Endpoint, base_dir: Path) -> Connection:
        """A live connection after the pauses; to be called in one's turn. Raises ConnectionBrokenError, DriverError."""
        connection = self._connection
        if connection is None:
            connection = Connection(endpoint, base_dir)
            try:
                await connection.open()
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            if endpoint.pause_after_connect:
                await asyncio.sleep(seconds(endpoint.pause_after_connect))
        if endpoint.gap_ns:
            left_s = self._free_at_s + seconds(endpoint.gap_ns) - asyncio.get_running_loop().time()
            if left_s > 0:
                await asyncio.sleep(left_s)
        return connection

    def answered(self) -> None:
        """The line is free from now on."""
        self._free_at_s = asyncio.get_running_loop().time()

    def spoilt(self) -> None:
        """A request found no proper end: a fresh connection next."""
        self._close()

    def leave(self) -> None:
        """One user less; the last one closes the connection."""
        self.users -= 1
        if not self.users:
            self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


#: Lines in use, for each event loop; lines without users stay, because a late answer may.
_LINES: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], _Line]] = WeakKeyDictionary()


def _line_for(endpoint: Endpoint) -> _Line:
    lines = _LINES.setdefault(asyncio.get_running_loop(), {})
    where = os.path.realpath(endpoint.where) if endpoint.transport == "rtu" else endpoint.where
    key = (endpoint.transport, where)
    line = lines.get(key)
    if line is None or (not line.users and line.form != (endpoint.serial, endpoint.tls)):
        line = lines[key] = _Line(key, endpoint)
    if line.form != (endpoint.serial, endpoint.tls):
        what = "serial" if endpoint.transport == "rtu" else "tls"
        raise DriverError(
            f"{endpoint.where} unit {endpoint.unit}: another source uses this port with other settings; "
            f"sources behind one port share it, so make their {what} the same"
        )
    return line


def link_for(endpoint: Endpoint, base_dir: Path = Path()) -> ModbusLink:
    """The way to a unit; does no I/O. ``endpoint`` may be a whole ``ModbusSettings``.

    ``base_dir``: where relative paths of certificates start.
    """
    return ModbusLink(endpoint, base_dir)


class ModbusLink:
    """One user of a port. Between ``connect`` and ``close`` requests may be made from any task."""

    def __init__(self, endpoint: Endpoint, base_dir: Path) -> None:
        self._endpoint = endpoint
        self._base_dir = base_dir
        self._timeout_s = seconds(endpoint.timeout)
        self._place = f"{endpoint.where} unit {endpoint.unit}"
        self._line: _Line | None = None
        self._losses_known = 0

    def __str__(self) -> str:
        return self._place

    async def connect(self) -> None:
        """Connect, or join the connection of the others behind this port. Raises DriverError."""
        line = _line_for(self._endpoint)
        line.users += 1
        self._line = line
        try:
            async with line.turn:
                line.lost_because()
                self._losses_known = line.losses
                await self._ready(line)
        except BaseException:
            self.close()
            raise

    async def read(self, table: Table, address: int, count: int) -> Sequence[int] | Sequence[bool]:
        """Read ``count`` registers or bits from a PDU address on.

        Raises RequestRefused where the device answers with an exception, DriverError where the link is lost or
        something else answers.
        """
        return await self._in_turn(
            lambda connection: connection.read(self._endpoint.unit, table, address, count, self._timeout_s),
            Question.reading(table, address, count),
        )

    async def write_coil(self, address: int, *, state: bool) -> None:
        """Switch a coil (function 5).

        Raises RequestRefused where the device refuses, WriteRefusedError where nothing was sent, DriverError where no
        proper answer came: then nobody knows whether it happened.
        """
        await self._in_turn(
            lambda connection: connection.write_coil(self._endpoint.unit, address, state, self._timeout_s),
            Question(5, "coil", address, 1),
        )

    async def write_registers(self, address: int, words: Sequence[int], *, multiple: bool) -> None:
        """Write holding registers: function 6 for one unless ``multiple``, else 16. Raises as ``write_coil`` does."""
        unit = self._endpoint.unit
        many = multiple or len(words) > 1
        await self._in_turn(
            lambda connection: (
                connection.write_registers(unit, address, words, self._timeout_s)
                if many
                else connection.write_register(unit, address, words[0], self._timeout_s)
            ),
            Question(16 if many else 6, "holding", address, len(words)),
        )

    async def mask_register(self, address: int, change: MaskedWrite) -> None:
        """Change a part of a holding register (function 22). Raises as ``write_coil`` does."""
        await self._in_turn(
            lambda connection: connection.mask_register(self._endpoint.unit, address, change, self._timeout_s),
            Question(22, "holding", address, 1),
        )

    def close(self) -> None:
        """Leave the connection to the others; the last one closes it. Does nothing without ``connect``."""
        line, self._line = self._line, None
        if line is not None:
            line.leave()

    async def _in_turn(self, ask: Callable[[Connection], Awaitable[T]], question: Question) -> T:
        line = self._line
        assert line is not None, "a request comes after connect()"
        sent = False
        doubt = line.doubt_of(self._endpoint)
        try:
            while True:
                if doubt is not None and (quiet_s := _left_s(doubt)) > 0:
                    await asyncio.sleep(quiet_s)
                async with line.turn:
                    if doubt is not None and _left_s(doubt) > 0:
                        continue  # somebody else asked this unit in vain while we waited
                    connection = await self._ready(line)
                    if doubt is not None and (check := doubt.check_before(question)) is not None:
                        await self._check(line, connection, doubt, check)
                        connection = await self._ready(line)
                    sent = True
                    answer = await self._ask(line, connection, doubt, question, ask)
                    now_s = asyncio.get_running_loop().time()
                    if doubt is not None and (check := doubt.check_behind(question, now_s)) is not None:
                        await self._check(line, await self._ready(line), doubt, check)
                    return answer
        except (DriverError, asyncio.CancelledError) as error:
            if sent or question.reads:
                raise
            why = str(error) or f"{self._place}: given up while it waited for its turn"
            raise WriteRefusedError(f"{why}; {question} was not sent") from error

    async def _ask(
        self,
        line: _Line,
        connection: Connection,
        doubt: Doubt | None,
        question: Question,
        ask: Callable[[Connection], Awaitable[T]],
    ) -> T:
        asked_s = asyncio.get_running_loop().time()
        try:
            answer = await ask(connection)
        except RequestRefused:
            if doubt is not None:
                doubt.answered()
            raise
        except BaseException as error:
            # Also a cancellation: its answer may still come.
            line.spoilt()
            if doubt is not None:
                doubt.missed(question, asked_s, self._timeout_s, seconds(self._endpoint.quiet_ns))
            self._complain(error, str(question))
            raise
        finally:
            line.answered()
        if doubt is not None:
            doubt.answered()
        return answer

    async def _check(self, line: _Line, connection: Connection, doubt: Doubt, check: Question) -> None:
        """Have the unit prove that an earlier answer is not to come any more. Raises DriverError where it does not."""
        unit, loop = self._endpoint.unit, asyncio.get_running_loop()
        asked_s = loop.time()
        try:
            if check is ECHO:
                await connection.echo(unit, self._timeout_s)
            else:
                await connection.read(unit, check.table, check.address, check.length, self._timeout_s)
        except BaseException as error:
            refused = isinstance(error, RequestRefused)
            if refused and doubt.refusal_proves(check, loop.time()):
                doubt.proved(check, refused=True)
                return
            line.spoilt()
            doubt.check_missed(check, asked_s, self._timeout_s, seconds(self._endpoint.quiet_ns))
            if refused:
                raise DriverError(
                    f"{self._place}: {check}, asked because an earlier answer was missing, was refused with {error}, "
                    f"which may be that answer; it is tried in another way after a pause"
                ) from error
            self._complain(error, f"{check}, asked because an earlier answer was missing,")
            raise
        finally:
            line.answered()
        doubt.proved(check, refused=False)

    async def _ready(self, line: _Line) -> Connection:
        reason = line.lost_because()
        if self._losses_known != line.losses:
            raise DriverError(f"{self._place}: no connection any more: {reason or 'the device closed the connection'}")
        try:
            return await line.ready(self._endpoint, self._base_dir)
        except ConnectionBrokenError as error:
            raise DriverError(f"{self._place}: {error}") from error

    def _complain(self, error: BaseException, request: str) -> None:
        if isinstance(error, TlsBrokenError):
            raise DriverError(f"{self._place}: no connection: {error}") from error
        if isinstance(error, ConnectionBrokenError):
            raise DriverError(
                f"{self._place}: no usable answer to {request} within {self._timeout_s:g} s;"
                " is the device on, and is it this unit?"
            ) from error
        if isinstance(error, ForeignAnswerError):
            raise DriverError(
                f"{self._place}: the answer to {request} does not belong to it: {error}; "
                f"check that nothing else uses this address"
            ) from error


def _left_s(doubt: Doubt) -> float:
    """How long the unit must not be asked yet."""
    return doubt.quiet_until_s - asyncio.get_running_loop().time()
