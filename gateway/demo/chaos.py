"""The demo's faults: when which one strikes, drawn from a seed, and how it is planted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from gateway.demo.stage import Stage

EVERY_S: Final = 7.0  # one fault about this often
QUIET_AT_START: Final = 0.08  # share of the run
QUIET_AT_END: Final = 0.25
OUTAGE_S: Final = (2.0, 5.0)
DOWN_S: Final = (0.2, 1.5)  # how long a killed gateway stays dead
LOST_ANSWERS: Final = 2
KINDS: Final = ("erp down", "answers lost", "plc link cut", "gateway killed")


class Strike(NamedTuple):
    """One fault: when, which, and for how long (seconds)."""

    at_s: float
    kind: str
    length_s: float


def schedule(rng: Random, seconds: float) -> list[Strike]:
    """Every kind at least once, spread over the run; the end stays quiet so that things can settle."""
    first, last = seconds * QUIET_AT_START, seconds * (1 - QUIET_AT_END)
    count = max(len(KINDS), int((last - first) / EVERY_S))
    kinds = [KINDS[index % len(KINDS)] for index in range(count)]
    rng.shuffle(kinds)
    slot = (last - first) / count
    strikes = []
    for index, kind in enumerate(kinds):
        longest = DOWN_S if kind == "gateway killed" else OUTAGE_S
        length_s = min(rng.uniform(*longest), slot)
        strikes.append(Strike(first + slot * (index + rng.random()), kind, length_s))
    return strikes


async def strike(stage: Stage, fault: Strike, tell: Callable[[str], None]) -> None:
    """Plant one fault and let it end."""
    match fault.kind:
        case "erp down":
            tell(f"ERP down for {fault.length_s:.1f} s")
            assert stage.erp is not None
            await stage.erp.command(f"down {fault.length_s:.2f}")
        case "answers lost":
            tell(f"the next {LOST_ANSWERS} answers of the ERP are lost after booking")
            assert stage.erp is not None
            await stage.erp.command(f"lose-answers {LOST_ANSWERS}")
        case "plc link cut":
            tell(f"link to the PLC of ASM-01 cut for {fault.length_s:.1f} s")
            await stage.machines["ASM-01"].command(f"cut {fault.length_s:.2f}")
        case "gateway killed":
            assert stage.daemon is not None
            stage.daemon.kill()
            await stage.daemon.wait()
            tell(f"gateway killed with SIGKILL, started again after {fault.length_s:.1f} s")
            await asyncio.sleep(fault.length_s)  # dead on purpose: the machines go on meanwhile
            await stage.start_daemon()
