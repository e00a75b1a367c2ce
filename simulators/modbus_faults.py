"""What goes wrong with Modbus answers, down to the single byte, and the commands for it.

Decides what is sent instead of an answer; sends nothing (``modbus_bus.py``), and knows no register.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, NamedTuple

from simulators.faults import Faults
from simulators.modbus_pdu import BIT_READS, EXCEPTION, READS, span

if TYPE_CHECKING:
    from simulators.control import Control
    from simulators.modbus_frames import Request

#: What a confused device takes one function for.
OTHER_FUNCTION: Final = {1: 2, 2: 1, 3: 4, 4: 3}
MS_PER_S: Final = 1000
PERCENT: Final = 100
#: The faults that spoil one answer each, the first that is on wins.
SPOILERS: Final = ("short", "half", "torn", "wrong-unit", "wrong-function", "fewer", "more", "garbage", "crc")


class Sending(NamedTuple):
    """What is really sent: the parts with a pause between them, and what becomes of the connection."""

    parts: tuple[bytes, ...]
    pause_s: float = 0.0
    then_mute: bool = False
    then_close: bool = False


class ModbusFaults(Faults):
    """The faults of one Modbus line."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._exceptions: dict[range | None, list[int]] = {}  # addresses -> code, times left
        self._random = random.Random(f"garbage/{seed}")

    def declare_answers(self, control: Control, *, checksum: bool, unit: int) -> None:
        """Add the commands; ``checksum``: also those of a serial line. ``unit`` is the one that `silent` means."""
        self.declare(control)
        control.add("blackhole SECONDS", lambda seconds: self.for_seconds("blackhole", seconds))
        control.add("silent SECONDS [UNIT]", lambda seconds, who=unit: self.for_seconds(f"silent {who}", seconds))
        control.add("exception CODE COUNT [FIRST] [LAST]", self._except)
        for name in ("short", "half", "wrong-unit", "wrong-function", "fewer", "more", "garbage"):
            self._declare_counted(control, name)
        for name in ("slow", "late", "torn"):
            self._declare_timed(control, name)
        if checksum:
            self._declare_counted(control, "crc")
            control.add(
                "noise PERCENT SECONDS", lambda percent, seconds: self.for_seconds("noise", seconds, percent / PERCENT)
            )

    def off(self) -> None:
        """End every fault."""
        self._exceptions.clear()
        super().off()

    def show(self) -> dict[str, float]:
        """What is on."""
        shown = {
            f"exception {code}" if where is None else f"exception {code} {where.start} {where.stop - 1}": left
            for where, (code, left) in self._exceptions.items()
        }
        return {**super().show(), **shown}

    @property
    def any(self) -> bool:
        """False if nothing at all is wrong."""
        return bool(self._timed or self._counted or self._exceptions)

    def take_exception(self, pdu: bytes) -> int:
        """The exception code that this request gets, 0 for none."""
        touched = span(pdu)
        for where, one in self._exceptions.items():
            if where is None or (where.start < touched.stop and touched.start < where.stop):
                one[1] -= 1
                if one[1] <= 0:
                    del self._exceptions[where]
                return one[0]
        return 0

    def spoil(self, request: Request, pdu: bytes) -> Sending:
        """What is sent instead of this answer."""
        frame = request.framing.wrap(request.unit, pdu)
        if not self.any:
            return Sending((frame,))
        for name in SPOILERS:
            value = self.take(name)
            if value is not None:
                return self._spoiled(name, request, pdu, value)
        share = self.on("noise")
        if share is not None and self._random.random() < share:
            at = self._random.randrange(len(frame))
            frame = frame[:at] + bytes([frame[at] ^ 1 << self._random.randrange(8)]) + frame[at + 1 :]
        return Sending((frame,))

    def _spoiled(self, name: str, request: Request, pdu: bytes, value: float) -> Sending:
        wrap = request.framing.wrap
        frame = wrap(request.unit, pdu)
        first, second = frame[: len(frame) // 2], frame[len(frame) // 2 :]
        if name == "short":
            return Sending((first,), then_mute=True)
        if name == "half":
            return Sending((first,), then_close=True)
        if name == "torn":
            return Sending((first, second), pause_s=value)
        if name == "wrong-unit":
            return Sending((wrap((request.unit + 1) % 256, pdu),))
        if name == "wrong-function":
            return Sending((wrap(request.unit, _other_function(pdu)),))
        if name == "garbage":
            return Sending((request.framing.garbage(frame, self._random),))
        if name == "crc":
            return Sending((frame[:-1] + bytes([frame[-1] ^ 0xFF]),))
        return Sending((wrap(request.unit, _resized(pdu, by=1 if name == "more" else -1)),))

    def _except(self, code: int, count: int, first: int | None = None, last: int | None = None) -> None:
        where = None if first is None else range(first, (first if last is None else last) + 1)
        self._exceptions.pop(where, None)
        if count > 0:
            self._exceptions[where] = [code, count]

    def _declare_counted(self, control: Control, name: str) -> None:
        control.add(f"{name} COUNT", lambda count: self.for_count(name, count))

    def _declare_timed(self, control: Control, name: str) -> None:
        control.add(f"{name} MS COUNT", lambda ms, count: self.for_count(name, count, ms / MS_PER_S))


def _other_function(pdu: bytes) -> bytes:
    flag, function = pdu[0] & EXCEPTION, pdu[0] & ~EXCEPTION
    return bytes([flag | OTHER_FUNCTION.get(function, 3)]) + pdu[1:]


def _resized(pdu: bytes, *, by: int) -> bytes:
    """An answer in good form with a register (or eight bits) more or less than were asked for."""
    if pdu[0] not in READS:
        return pdu
    unit = 1 if pdu[0] in BIT_READS else 2
    body = pdu[2:] + bytes(unit) if by > 0 else pdu[2 : len(pdu) - unit]
    return bytes([pdu[0], len(body)]) + body
