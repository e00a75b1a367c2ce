"""What confirmations say of the time in each machine state: the difference to what was told before, never below zero.

Before the last confirmation of an order only what is decided is told, so that nothing is taken back. Where a state
turns out to have been told too much nevertheless (the order was opened again, a device told late), as much of the
others is held back: the sum never exceeds the time. Decides no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.work.rounding import Exact, RoundingCarry
from gateway.core.work.time_account import MINUTE_STEP_NS

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What was told of each state, by its name.
ToldStates = tuple[tuple[str, RoundingCarry], ...]


def told_states(told: ToldStates, sums: Iterable[tuple[str, int]]) -> tuple[ToldStates, tuple[tuple[str, int], ...]]:
    """What was told in all after a confirmation, and what it says: thousandths of a minute, of each state above zero.

    ``sums`` are nanoseconds of all that is known of the order, by state.
    """
    lengths = dict(sums)
    carries = {name: RoundingCarry(told=carry.told) for name, carry in told}
    carries |= {
        name: carries.get(name, RoundingCarry())._replace(total=Exact.of(length)) for name, length in lengths.items()
    }
    due = {name: carry.due(MINUTE_STEP_NS) for name, carry in sorted(carries.items())}
    held = -sum(steps for steps in due.values() if steps < 0)
    said: dict[str, int] = {}
    for name in sorted(due, key=lambda one: (-due[one], one)):  # the most goes first, so that little is left out
        kept = min(held, max(due[name], 0))
        held -= kept
        said[name] = max(due[name], 0) - kept
    after = tuple((name, carries[name]._replace(told=carries[name].told + said[name])) for name in sorted(carries))
    return after, tuple((name, said[name]) for name in sorted(said) if said[name])
