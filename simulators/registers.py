"""The data tables of the assembly machine's PLC, as Modbus sees them: addresses to 16-bit words and bits.

Pure: no socket, no clock. Which piece is counted when is the server's business.
"""

from __future__ import annotations

import random
from typing import Final

WORD: Final = 0x1_0000
JOB_CHARACTERS: Final = 16
#: From here on every address is illegal (exception 2).
FIRST_ILLEGAL: Final = 60_000
#: With ``ramp``, these holding registers change with every request that touches them.
RAMP: Final = range(1000, 2000)

# Values of the state word.
STOPPED, AUTO_RUN, FAULT, STARVED = 1, 2, 3, 5
# Motor current in 0.1 A: mean running, mean standing, noise to either side. Standing it may be below zero.
CURRENT_RUNNING: Final = 42
CURRENT_STANDING: Final = 0
CURRENT_NOISE: Final = 3
TOOL: Final = 7


class Registers:
    """Counters and states of ASM-01.

    Holding registers: 0 good, 1 scrap (16 bits, roll over), 2-3 total (32 bits, low word first), 4 state word, 5 alarm,
    6 boot counter, 7 motor current (signed, 0.1 A), 8-15 job id (16 ASCII characters, high byte first), 16 tool. Any
    other holding or input register has its address as value, any coil or discrete input the lowest bit of it.
    """

    def __init__(self, *, good: int, scrap: int, ramp: bool, seed: int) -> None:
        self.good = good
        self.scrap = scrap
        self.total = good + scrap
        self.state = AUTO_RUN
        self.alarm = 0
        self.boots = 1
        self.job = ""
        self.all_zero = False
        self._ramp = 0 if ramp else None
        self._random = random.Random(f"current/{seed}")

    def count(self, good: int, scrap: int) -> None:
        """Pieces were made."""
        self.good += good
        self.scrap += scrap
        self.total += good + scrap

    def restart(self) -> None:
        """A power cycle: the counters were not retentive."""
        self.good = self.scrap = self.total = 0
        self.boots = (self.boots + 1) % WORD

    def holding(self, address: int, count: int) -> list[int]:
        """The words of holding registers."""
        if self.all_zero:
            return [0] * count
        if self._ramp is not None and address < RAMP.stop and address + count > RAMP.start:
            self._ramp += 1
        named = self._named() if address <= max(NAMED) else {}
        return [named[at] if at in named else self._plain(at) for at in range(address, address + count)]

    def inputs(self, address: int, count: int) -> list[int]:
        """The words of input registers."""
        return [0 if self.all_zero else at for at in range(address, address + count)]

    def bits(self, address: int, count: int) -> list[int]:
        """Coils or discrete inputs."""
        return [0 if self.all_zero else at & 1 for at in range(address, address + count)]

    def _plain(self, address: int) -> int:
        if self._ramp is not None and address in RAMP:
            return (address + self._ramp) % WORD
        return address

    def _named(self) -> dict[int, int]:
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
            *(job[at] * 256 + job[at + 1] for at in range(0, JOB_CHARACTERS, 2)),
            TOOL,
        )
        return dict(zip(NAMED, (word % WORD for word in words), strict=True))


NAMED: Final = range(17)
