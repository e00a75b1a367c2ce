"""Drives a machine model in real time, faster or slower than life, and obeys stop and start.

Decides nothing about pieces (``machine.py``) and nothing about how a device shows them.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from simulators import clock
from simulators.machine import Cycle, Machine

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable

    from simulators.control import Control, Truth
    from simulators.machine import Event, MachineSpec


def machine_of(spec: MachineSpec, options: argparse.Namespace) -> Machine:
    """The machine as the options want it."""
    if options.scrap_share is not None:
        spec = replace(spec, scrap_share=options.scrap_share)
    if options.even:
        spec = spec.without_chance()
    return Machine(spec.steady() if options.steady else spec, seed=options.seed)


class Pace:
    """Hands each event of a machine to ``apply`` when its time has come.

    Machine time passes ``speed`` times as fast as CLOCK_MONOTONIC, from ``run`` on. After ``stop_after``
    pieces the machine stands until somebody starts it again (None: it never stops for that).
    """

    def __init__(
        self,
        machine: Machine,
        truth: Truth,
        *,
        speed: float,
        stop_after: int | None,
        apply: Callable[[Event], Awaitable[None]],
    ) -> None:
        self.machine = machine
        self.speed = speed
        self._truth = truth
        self._stop_after = stop_after
        self._apply = apply
        self._origin_ns = clock.monotonic_ns()
        self._changed = asyncio.Event()
        self._applying = asyncio.Lock()

    def machine_now_ns(self) -> int:
        """The machine's own time."""
        return int((clock.monotonic_ns() - self._origin_ns) * self.speed)

    def monotonic_ns(self, machine_ns: int) -> int:
        """The CLOCK_MONOTONIC time at which the machine's time is so late."""
        return self._origin_ns + int(machine_ns / self.speed)

    def declare(self, control: Control) -> None:
        """Add the commands that every machine has."""
        control.add("stop [REASON] [ALARM]", self.stop)
        control.add("start", self.start)
        control.add("totals", self.totals)

    def totals(self) -> dict[str, object]:
        """What was made, and whether the machine runs."""
        return {**self._truth.totals(), "producing": self.machine.producing}

    async def run(self) -> None:
        """Go on until cancelled; the machine's time begins now."""
        self._origin_ns = clock.monotonic_ns()
        while True:
            next_ns = self.machine.next_ns
            if next_ns is not None and next_ns <= self.machine_now_ns():
                async with self._applying:
                    await self._step()
                continue
            self._changed.clear()
            wait_s = None if next_ns is None else (next_ns - self.machine_now_ns()) / self.speed / 1e9
            try:
                await asyncio.wait_for(self._changed.wait(), wait_s)
            except TimeoutError:
                continue

    async def stop(self, reason: str = "command", alarm: int = 0) -> dict[str, object]:
        """Make no more pieces; those made are in the truth when this returns."""
        async with self._applying:
            await self._halt(reason, alarm)
        return self.totals()

    async def start(self) -> dict[str, object]:
        """Go on with the interrupted cycle."""
        async with self._applying:
            self._stop_after = None if self._reached() else self._stop_after
            event = self.machine.resume(self.machine_now_ns())
            if event is not None:
                await self._apply(event)
        self._changed.set()
        return self.totals()

    async def _step(self) -> None:
        if self.machine.next_ns is None:  # halted while this waited for its turn
            return
        event = self.machine.step()
        await self._apply(event)
        if isinstance(event, Cycle) and self._reached():
            await self._halt("stop-after")

    async def _halt(self, reason: str, alarm: int = 0) -> None:
        event = self.machine.halt(self.machine_now_ns(), reason, alarm)
        if event is not None:
            await self._apply(event)
        self._changed.set()

    def _reached(self) -> bool:
        return self._stop_after is not None and self.machine.pieces >= self._stop_after
