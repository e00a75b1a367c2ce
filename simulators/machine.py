"""A seeded model of one machine: when its cycles end, what they yield, when it stops.

Pure: stepped by virtual time in integer nanoseconds from 0, holds no clock, no socket and no file. The same seed gives
the same sequence of cycles however it is stepped, and whenever somebody presses stop.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

NS_PER_S: Final = 1_000_000_000

#: Cycle time as a share of the ideal one: at least, mostly, at most. Never faster than 0.9 by contract.
CYCLE_SPREAD: Final = (0.95, 1.0, 1.15)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpec:
    """What kind of machine it is; lengths in nanoseconds of machine time, shares between 0 and 1 per cycle."""

    name: str
    ideal_cycle_ns: int
    pieces: int = 1
    scrap_share: float = 0.0
    micro_stop_share: float = 0.0
    micro_stop_ns: tuple[int, int] = (4 * NS_PER_S, 12 * NS_PER_S)
    fault_share: float = 0.0
    fault_ns: tuple[int, int] = (60 * NS_PER_S, 120 * NS_PER_S)
    alarms: tuple[int, ...] = (101, 102, 205)
    even: bool = False

    def steady(self) -> MachineSpec:
        """The same machine without any stop of its own."""
        return replace(self, micro_stop_share=0.0, fault_share=0.0)

    def without_chance(self) -> MachineSpec:
        """Steady, every cycle as long as the ideal one, and scrap in regular intervals."""
        return replace(self.steady(), even=True)


class Cycle(NamedTuple):
    """A cycle ended; its pieces are good or scrap, all of them."""

    at_ns: int
    good: int
    scrap: int
    cycle_ns: int


class Stop(NamedTuple):
    """The machine stands from here on.

    ``reason`` is micro, fault, command or stop-after, or what the command ``stop`` named; ``alarm`` 0: no fault.
    """

    at_ns: int
    reason: str
    alarm: int = 0


class Start(NamedTuple):
    """The machine runs again."""

    at_ns: int


Event = Cycle | Stop | Start


class Machine:
    """One machine, stepped from event to event.

    ``next_ns`` is the virtual time of the next event, None while the machine is halted from outside. ``good`` and
    ``scrap`` are the pieces made so far.
    """

    def __init__(self, spec: MachineSpec, *, seed: int) -> None:
        self.spec = spec
        self.good = 0
        self.scrap = 0
        # A text as seed: the same number gives different machines different days.
        self._random = random.Random(f"{spec.name}/{seed}")
        self._coming: deque[Event] = deque()
        self._standing: Stop | None = None
        self._halted_ns: int | None = None
        self._cycles = 0
        self._plan(0)

    @property
    def next_ns(self) -> int | None:
        """Virtual time of the next event; None while halted."""
        return None if self._halted_ns is not None else self._coming[0].at_ns

    @property
    def producing(self) -> bool:
        """True unless halted from outside or standing by itself."""
        return self._halted_ns is None and self._standing is None

    @property
    def pieces(self) -> int:
        """All pieces made so far."""
        return self.good + self.scrap

    def step(self) -> Event:
        """Take the next event. Only while not halted."""
        assert self._halted_ns is None, "a halted machine has no next event"
        event = self._coming.popleft()
        if isinstance(event, Cycle):
            self.good += event.good
            self.scrap += event.scrap
            self._plan(event.at_ns)
        else:
            self._standing = event if isinstance(event, Stop) else None
        return event

    def halt(self, at_ns: int, reason: str, alarm: int = 0) -> Stop | None:
        """Stop from outside; None if it was halted already."""
        if self._halted_ns is not None:
            return None
        self._halted_ns = at_ns
        return Stop(at_ns, reason, alarm)

    def resume(self, at_ns: int) -> Start | Stop | None:
        """Take up the interrupted cycle; None if it was not halted, a Stop if it had been standing by itself."""
        if self._halted_ns is None:
            return None
        pause_ns = max(0, at_ns - self._halted_ns)
        self._coming = deque(event._replace(at_ns=event.at_ns + pause_ns) for event in self._coming)
        self._halted_ns = None
        return Start(at_ns) if self._standing is None else self._standing._replace(at_ns=at_ns)

    def _plan(self, from_ns: int) -> None:
        # Every cycle draws the same number of times, so that a steady machine makes the same pieces as a troubled one.
        spec, rng = self.spec, self._random
        cycle_ns = int(spec.ideal_cycle_ns * rng.triangular(CYCLE_SPREAD[0], CYCLE_SPREAD[2], CYCLE_SPREAD[1]))
        is_scrap = rng.random() < spec.scrap_share
        trouble, length, alarm = rng.random(), rng.random(), rng.choice(spec.alarms)
        self._cycles += 1
        if spec.even:
            cycle_ns = spec.ideal_cycle_ns
            is_scrap = spec.scrap_share > 0 and self._cycles % round(1 / spec.scrap_share) == 0
        start_ns = from_ns
        if trouble < spec.fault_share:
            start_ns += _between(spec.fault_ns, length)
            self._coming += (Stop(from_ns, "fault", alarm), Start(start_ns))
        elif trouble < spec.fault_share + spec.micro_stop_share:
            start_ns += _between(spec.micro_stop_ns, length)
            self._coming += (Stop(from_ns, "micro"), Start(start_ns))
        good, scrap = (0, spec.pieces) if is_scrap else (spec.pieces, 0)
        self._coming.append(Cycle(start_ns + cycle_ns, good, scrap, cycle_ns))


def _between(limits: tuple[int, int], share: float) -> int:
    low, high = limits
    return low + int((high - low) * share)
