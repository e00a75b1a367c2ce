"""Bits that toggle at random, and the instant of each toggle: what the devices of ``bench_latency.py`` have in common.

Each toggle is one line of JSON on standard output, ``{"bit": 3, "state": true, "at_ns": 81623411}``, CLOCK_MONOTONIC.
Speaks no protocol.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# Random, because a fixed rhythm locks in phase with a scan; above the scan, so that no candidate can miss a state.
LEAST_S, MOST_S = 0.2, 0.4
SEED = 7


async def toggle(bits: int, show: Callable[[int, bool], Awaitable[None]]) -> None:
    """Toggle for ever; ``show`` puts a state where clients can see it."""
    await asyncio.gather(*(_toggle(bit, random.Random(SEED + bit), show) for bit in range(bits)))


async def _toggle(bit: int, rng: random.Random, show: Callable[[int, bool], Awaitable[None]]) -> None:
    state = False
    while True:
        await asyncio.sleep(rng.uniform(LEAST_S, MOST_S))
        state = not state
        at_ns = time.monotonic_ns()
        await show(bit, state)
        say({"bit": bit, "state": state, "at_ns": at_ns})


def say(line: dict) -> None:
    """One line of JSON on standard output, at once."""
    print(json.dumps(line), flush=True)  # noqa: T201 - this is how a device of a benchmark speaks
