"""The data tables of the assembly machine's PLC, as Modbus sees them: addresses to 16-bit words and bits.

No socket, no framing. Which piece is counted when is the machine's business.
"""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, Final

from simulators.modbus_pdu import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulators.faults import Faults

WORD: Final = 0x1_0000
LONG: Final = WORD * WORD
JOB_CHARACTERS: Final = 16
#: From here on every address is illegal (exception 2).
FIRST_ILLEGAL: Final = 60_000
#: With ``ramp``, these holding registers change with every request that touches them.
RAMP: Final = range(1000, 2000)
NAMED: Final = range(17)
TOTAL: Final = range(2, 4)
#: The only registers that can be written.
JOB: Final = range(8, 16)

# Values of the state word.
OFF, STOPPED, AUTO_RUN, FAULT, SETUP, STARVED, BLOCKED = range(7)
# Motor current in 0.1 A: mean running, mean standing, noise to either side. Standing it may be below zero.
CURRENT_RUNNING: Final = 42
CURRENT_STANDING: Final = 0
CURRENT_NOISE: Final = 3
TOOL: Final = 7


class Registers:
    """Counters and states of ASM-01.

    Holding registers: 0 good, 1 scrap (16 bits, roll over), 2-3 total (32 bits, low word first), 4 state word, 5 alarm,
    6 boot counter, 7 motor current (signed, 0.1 A), 8-15 job id (16 ASCII characters, high byte first), 16 tool. Any
    other holding or input register has its address as value, any coil or discrete input the lowest bit of it. Only the
    job id can be written; ``on_job`` hears it.

    Obeys the faults ``zero``, ``frozen`` and ``torn-total``.
    """

    def __init__(
        self, faults: Faults, *, good: int, scrap: int, ramp: bool, seed: int, on_job: Callable[[str], None]
    ) -> None:
        self.good = good
        self.scrap = scrap
        self.total = good + scrap
        self.state = AUTO_RUN
        self.alarm = 0
        self.boots = 1
        self.job = ""
        self._faults = faults
        self._frozen: list[int] = []
        self._ramp = 0 if ramp else None
        self._random = random.Random(f"current/{seed}")
        self._on_job = on_job

    def count(self, good: int, scrap: int) -> None:
        """Pieces were made."""
        self.good += good
        self.scrap += scrap
        self.total += good + scrap

    def reset(self) -> None:
        """Somebody sets the counters to 0."""
        self.good = self.scrap = self.total = 0

    def restart(self, *, keep: bool) -> None:
        """A power cycle; ``keep``: the counters are retentive."""
        if not keep:
            self.reset()
        self.boots = (self.boots + 1) % WORD

    def counters(self) -> dict[str, int]:
        """What can be overwritten, as a client reads it."""
        return {"good": self.good % WORD, "scrap": self.scrap % WORD, "total": self.total % LONG}

    def freeze(self) -> None:
        """Keep what a client reads now for as long as the fault ``frozen`` lasts."""
        self._frozen = self._fresh()

    def coils(self, address: int, count: int) -> Sequence[int]:
        """The lowest bits of the addresses."""
        _check(address, count)
        return [0] * count if self._faults.on("zero") else [at & 1 for at in range(address, address + count)]

    def discrete(self, address: int, count: int) -> Sequence[int]:
        """The lowest bits of the addresses."""
        return self.coils(address, count)

    def inputs(self, address: int, count: int) -> Sequence[int]:
        """The addresses."""
        _check(address, count)
        return [0] * count if self._faults.on("zero") else range(address, address + count)

    def holding(self, address: int, count: int) -> Sequence[int]:
        """Counters and states, and the addresses behind them."""
        _check(address, count)
        if self._faults.on("zero"):
            return [0] * count
        frozen = self._faults.on("frozen")
        end = address + count
        if self._ramp is not None and not frozen and address < RAMP.stop and end > RAMP.start:
            self._ramp += 1
        if address >= NAMED.stop:
            return [self._plain(at) for at in range(address, end)]
        named = self._frozen if frozen else self._fresh()
        if address < TOTAL.stop and end > TOTAL.start and named[3] and self._faults.take("torn-total"):
            # Read between the PLC's two writes: the low word is new, the high word still old.
            named = [*named[:3], named[3] - 1, *named[4:]]
        return named[address:end] + [self._plain(at) for at in range(NAMED.stop, end)]

    def write_coils(self, address: int, values: Sequence[int]) -> None:  # noqa: ARG002 - the protocol's signature
        """No coil can be written."""
        raise Refused(ILLEGAL_FUNCTION)

    def write_holding(self, address: int, values: Sequence[int]) -> None:
        """The job id, whole or in part."""
        if not JOB.start <= address <= address + len(values) <= JOB.stop:
            raise Refused(ILLEGAL_ADDRESS)
        words = self._fresh()
        words[address : address + len(values)] = values
        text = struct.pack(f">{len(JOB)}H", *words[JOB.start : JOB.stop]).decode("ascii", errors="replace")
        self.job = text.rstrip("\0 ")
        self._on_job(self.job)

    def _plain(self, address: int) -> int:
        if self._ramp is not None and address in RAMP:
            return (address + self._ramp) % WORD
        return address

    def _fresh(self) -> list[int]:
        mean = CURRENT_RUNNING if self.state == AUTO_RUN else CURRENT_STANDING
        current = mean + self._random.randint(-CURRENT_NOISE, CURRENT_NOISE)
        job = self.job.encode("ascii", errors="replace")[:JOB_CHARACTERS].ljust(JOB_CHARACTERS)
        words = (
            self.good,
            self.scrap,
            self.total,
            self.total // WORD,
            self.state,
            self.alarm,
            self.boots,
            current,
            *struct.unpack(f">{len(JOB)}H", job),
            TOOL,
        )
        return [word % WORD for word in words]


def _check(address: int, count: int) -> None:
    if address + count > FIRST_ILLEGAL:
        raise Refused(ILLEGAL_ADDRESS)
