"""The two nests of the leak tester and the input module that they are wired to, as Modbus sees it.

Six digital inputs, three for each nest: part present, OK, NOK. The module counts the rising edges of each by itself. No
socket, no framing, and no clock: machine time is handed in. When a part is tested is the machine's business.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from simulators.machine import NS_PER_S
from simulators.modbus_pdu import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, ILLEGAL_VALUE, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulators.faults import Faults

NESTS: Final = 2
PRESENT, OK, NOK = 0, 1, 2
PER_NEST: Final = 3
CHANNELS: Final = NESTS * PER_NEST
CHANNEL_NAMES: Final = tuple(f"{what}-{nest + 1}" for nest in range(NESTS) for what in ("present", "ok", "nok"))
#: The inputs themselves (discrete inputs), of which the last are not wired.
INPUTS: Final = 16
#: The module's tables: discrete and input registers end here.
END: Final = 64
#: Two registers for each input, high word first; then the leak rate of each nest, signed, 0.01 mbar/s; the inputs as
#: one word.
COUNTERS: Final = 16
LEAK: Final = 40
INPUT_WORD: Final = 48
#: Coils: whether an input is counted (always), and writing 1 sets its counter to 0.
OPERATE: Final = 256
CLEAR: Final = 272
#: How long verdict and part stay after the test, and when the next part lies in the nest (machine time).
SHOWN_NS: Final = NS_PER_S // 2
NEXT_PART_NS: Final = NS_PER_S
LONG: Final = 1 << 32
WORD: Final = 1 << 16
#: Leak rates of good and bad parts: mean and spread, in 0.01 mbar/s. A tight part may show a little below zero.
LEAK_GOOD: Final = (12, 6)
LEAK_BAD: Final = (180, 40)


class Nest:
    """One nest: a part lies in it, is tested, shows its verdict, goes."""

    def __init__(self) -> None:
        self.leak = 0
        self._lies = False
        self._verdicts: tuple[int, ...] = ()
        self._verdict_ns = -NEXT_PART_NS  # the first part lies there from the beginning

    def settle(self, now_ns: int) -> bool:
        """Let time pass; True if the next part has come just now."""
        if not self._lies and now_ns >= self._verdict_ns + NEXT_PART_NS:
            self._lies = True
            return True
        return False

    def judge(self, now_ns: int, verdicts: tuple[int, ...], leak: int) -> None:
        """The test is over; ``verdicts``: the inputs that show it, OK or NOK, none or both if something is broken."""
        self._lies = False
        self._verdicts = verdicts
        self._verdict_ns = now_ns
        self.leak = leak

    def levels(self, now_ns: int) -> tuple[int, int, int]:
        """Part present, OK, NOK."""
        shown = now_ns < self._verdict_ns + SHOWN_NS
        verdicts = self._verdicts if shown else ()
        return int(self._lies or shown), int(OK in verdicts), int(NOK in verdicts)


class InputModule:
    """The tables of TST-01's unit.

    Obeys the faults ``zero``, ``frozen``, ``missing`` and ``both`` (verdicts), ``stuck N`` (input N stays on and its
    counter stands) and ``bounce N`` (its edges are counted twice). ``now_ns`` gives machine time; ``on_clear`` hears
    that a client set a counter to 0.
    """

    def __init__(
        self, faults: Faults, *, seed: int, now_ns: Callable[[], int], on_clear: Callable[[str], None]
    ) -> None:
        self.counters = [0] * CHANNELS
        self._nests = [Nest() for _ in range(NESTS)]
        self._faults = faults
        self._now_ns = now_ns
        self._on_clear = on_clear
        self._frozen: tuple[list[int], list[int]] = ([], [])
        self._random = random.Random(f"leak/{seed}")
        self._settle(0)

    def tested(self, nest: int, at_ns: int, *, good: bool) -> dict[str, Any]:
        """A part was tested; what the wires show of it, for the truth."""
        self._settle(at_ns)
        mean, spread = LEAK_GOOD if good else LEAK_BAD
        leak = mean + self._random.randint(-spread, spread) - (self._random.randint(0, spread) if good else 0)
        verdicts: tuple[int, ...] = (OK if good else NOK,)
        if self._faults.take("missing"):
            verdicts = ()
        elif self._faults.take("both"):
            verdicts = (OK, NOK)
        for verdict in verdicts:
            self._count(nest * PER_NEST + verdict)
        self._nests[nest].judge(at_ns, verdicts, leak)
        return {"nest": nest + 1, "shown": [("", "ok", "nok")[verdict] for verdict in verdicts], "leak": leak}

    def reset(self) -> None:
        """All counters to 0."""
        self.counters = [0] * CHANNELS

    def freeze(self) -> None:
        """Keep what a client reads now for as long as the fault ``frozen`` lasts."""
        self._frozen = (self._levels(), self._words())

    def coils(self, address: int, count: int) -> Sequence[int]:
        """Counting: on; clearing: always reads 0."""
        bits = dict.fromkeys(range(OPERATE, OPERATE + INPUTS), 1) | dict.fromkeys(range(CLEAR, CLEAR + INPUTS), 0)
        if not all(at in bits for at in range(address, address + count)):
            raise Refused(ILLEGAL_ADDRESS)
        return [bits[at] for at in range(address, address + count)]

    def discrete(self, address: int, count: int) -> Sequence[int]:
        """The inputs."""
        if address + count > INPUTS:
            raise Refused(ILLEGAL_ADDRESS)
        if self._faults.on("zero"):
            return [0] * count
        levels = self._frozen[0] if self._faults.on("frozen") else self._levels()
        return levels[address : address + count]

    def inputs(self, address: int, count: int) -> Sequence[int]:
        """Counters and leak rates."""
        if address + count > END:
            raise Refused(ILLEGAL_ADDRESS)
        if self._faults.on("zero"):
            return [0] * count
        words = self._frozen[1] if self._faults.on("frozen") else self._words()
        return words[address : address + count]

    def holding(self, address: int, count: int) -> Sequence[int]:  # noqa: ARG002 - the protocol's signature
        """There are none."""
        raise Refused(ILLEGAL_FUNCTION)

    def write_coils(self, address: int, values: Sequence[int]) -> None:
        """Set counters to 0."""
        channels = range(address - CLEAR, address - CLEAR + len(values))
        if not 0 <= channels.start <= channels.stop <= INPUTS:
            raise Refused(ILLEGAL_ADDRESS)
        if not all(values):
            raise Refused(ILLEGAL_VALUE)  # the module knows no "do not clear"
        for channel in channels:
            if channel < CHANNELS:
                self._on_clear(CHANNEL_NAMES[channel])
                self.counters[channel] = 0

    def write_holding(self, address: int, values: Sequence[int]) -> None:  # noqa: ARG002 - the protocol's signature
        """There are none."""
        raise Refused(ILLEGAL_FUNCTION)

    def _settle(self, now_ns: int) -> None:
        for number, nest in enumerate(self._nests):
            if nest.settle(now_ns):
                self._count(number * PER_NEST + PRESENT)

    def _count(self, channel: int) -> None:
        if not self._faults.on(f"stuck {channel}"):
            edges = 2 if self._faults.take(f"bounce {channel}") else 1
            self.counters[channel] = (self.counters[channel] + edges) % LONG

    def _levels(self) -> list[int]:
        now_ns = self._now_ns()
        self._settle(now_ns)
        levels = [level for nest in self._nests for level in nest.levels(now_ns)] + [0] * (INPUTS - CHANNELS)
        return [1 if self._faults.on(f"stuck {at}") else level for at, level in enumerate(levels)]

    def _words(self) -> list[int]:
        levels = self._levels()
        words = [0] * END
        for channel, counter in enumerate(self.counters):
            words[COUNTERS + 2 * channel : COUNTERS + 2 * channel + 2] = divmod(counter, WORD)
        for number, nest in enumerate(self._nests):
            words[LEAK + number] = nest.leak % WORD
        words[INPUT_WORD] = sum(level << at for at, level in enumerate(levels))
        return words
