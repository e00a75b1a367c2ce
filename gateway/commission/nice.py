"""Round numbers that a person would write: lengths of time and rates. Pure."""

from __future__ import annotations

from typing import Final

from gateway.core.duration import NS_PER_UNIT, Duration
from gateway.core.rate import Rate

#: Mantissas of a round length, and of a round rate.
STEPS: Final = (10, 15, 20, 25, 30, 40, 50, 60, 80)
SHORTEST_NS: Final = NS_PER_UNIT["us"]


def down(length_ns: float) -> Duration:
    """The longest round length that is not longer; at least 1 us."""
    power = SHORTEST_NS
    best = SHORTEST_NS
    while power <= length_ns:
        for step in STEPS:
            if step * power // 10 <= length_ns:
                best = step * power // 10
        power *= 10
    return Duration(best)


def two_digits_down(length_ns: float) -> Duration:
    """The longest length with two significant digits that is not longer; at least 1 us."""
    power = SHORTEST_NS
    while length_ns >= 100 * power:
        power *= 10
    return Duration(max(SHORTEST_NS, int(length_ns // power) * power))


def within(low_ns: float, high_ns: float, wish_ns: float) -> Duration:
    """A round length above ``low_ns`` and below ``high_ns``, near the wish; exact microseconds where none fits."""
    round_one = down(wish_ns)
    if low_ns < round_one < high_ns:
        return round_one
    middle = int(min(max(wish_ns, low_ns), high_ns))
    exact = -(-middle // SHORTEST_NS) * SHORTEST_NS
    return Duration(exact if exact < high_ns else max(SHORTEST_NS, int(high_ns) - 1))


def rate_up(counts: float, per_ns: float) -> Rate:
    """The lowest round rate that is not lower, per second, minute or hour, whichever gives a whole number from 2 on."""
    for unit in ("s", "min", "h"):
        number = counts * NS_PER_UNIT[unit] / per_ns
        if number >= 2 or unit == "h":  # noqa: PLR2004 - below 2 the next unit is finer
            break
    power = 1
    while True:
        for step in STEPS:
            candidate = step * power / 10
            if candidate == int(candidate) and candidate >= number:
                return Rate.parse(f"{int(candidate)} /{unit}")
        power *= 10
