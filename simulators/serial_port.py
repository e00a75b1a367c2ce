"""A serial line that ends in a simulator: a pseudo-terminal whose other end a client opens like ``/dev/ttyUSB0``.

Carries Modbus serial frames. Speed and parity have no meaning on it: bytes arrive as fast as they are written.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from typing import TYPE_CHECKING, Any, Final

from simulators.control import SimulatorError
from simulators.modbus_frames import RTU_CHUNK, rtu_requests

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.modbus_bus import Bus

#: Where pseudo-terminals are: a link to one is ours to replace.
TERMINALS: Final = "/dev/pts/"


class SerialPort:
    """One pseudo-terminal; ``link`` is a symbolic link to it whose name outlives a cut (the terminal's does not)."""

    def __init__(self, bus: Bus, *, link: Path | None) -> None:
        self._bus = bus
        self._link = link
        self._ends: tuple[int, int] | None = None  # ours, the client's
        self._linked = False
        self._device = ""
        self._line: _SerialLine | None = None
        self._serving: asyncio.Task[None] | None = None
        self._restoring: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Make the terminal, and its link. Raises SimulatorError."""
        if self._ends is not None:
            return
        try:
            ours, theirs = os.openpty()
        except OSError as error:
            raise SimulatorError(f"no pseudo-terminal: {error.strerror}; are too many open?") from error
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        # The client's end stays open here, too: otherwise ours would break whenever the last client closes.
        self._ends = (ours, theirs)
        self._device = os.ttyname(theirs)
        reader = asyncio.StreamReader()
        asyncio.get_running_loop().add_reader(ours, self._receive, ours, reader)
        self._line = _SerialLine(ours)
        self._serving = asyncio.create_task(self._serve(reader, self._line))
        self._make_link()

    async def cut(self, seconds: float) -> None:
        """Pull the adapter out for so long: the device is gone, a client's reading fails."""
        if self._restoring is not None:
            self._restoring.cancel()
        self.drop_connections()
        self._restoring = asyncio.create_task(self._restore(seconds))

    def end_cut(self) -> None:
        """Plug it in again now, if it is out."""
        if self._restoring is not None:
            self._restoring.cancel()
            self._restoring = asyncio.create_task(self._restore(0.0))

    def drop_connections(self) -> None:
        """Take the terminal away."""
        if self._ends is None:
            return
        if self._serving is not None and self._line is not None:
            self._serving.cancel()
            self._line.unplug()
        asyncio.get_running_loop().remove_reader(self._ends[0])
        for end in self._ends:
            os.close(end)
        self._ends = None
        if self._link is not None and self._linked:
            self._linked = False
            with contextlib.suppress(OSError):  # somebody else tidied up
                self._link.unlink()

    async def close(self) -> None:
        """End everything."""
        if self._restoring is not None:
            self._restoring.cancel()
        self.drop_connections()
        if self._serving is not None:
            await asyncio.gather(self._serving, return_exceptions=True)

    def facts(self) -> dict[str, Any]:
        """Where clients find it."""
        return {"device": str(self._link or self._device), "tty": self._device}

    def _make_link(self) -> None:
        if self._link is None:
            return
        try:
            if self._link.is_symlink() and str(self._link.readlink()).startswith(TERMINALS):
                self._link.unlink()  # of a run that was killed
            self._link.symlink_to(self._device)
            self._linked = True
        except OSError as error:
            self.drop_connections()
            text = f"--link {self._link}: {error.strerror}; name a path that is free and can be written"
            raise SimulatorError(text) from error

    @staticmethod
    def _receive(ours: int, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(BlockingIOError):
            reader.feed_data(os.read(ours, RTU_CHUNK))

    async def _serve(self, reader: asyncio.StreamReader, line: _SerialLine) -> None:
        async for request in rtu_requests(reader):
            await self._bus.respond(line, request)
            line.mute = False  # there is no connection that could be silent for ever: only this answer was

    async def _restore(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._restoring = None
        await self.open()


class _SerialLine:
    """The wire back to whoever has opened the terminal."""

    def __init__(self, ours: int) -> None:
        self.mute = False
        self._ours: int | None = ours

    def write(self, data: bytes) -> None:
        """Send what fits: nobody has to read on the other side."""
        if self._ours is not None:
            with contextlib.suppress(OSError):
                os.write(self._ours, data)

    def hang_up(self) -> None:
        """There is no connection to close."""

    def unplug(self) -> None:
        """Forget the terminal: its number may soon be another file's."""
        self._ours = None
