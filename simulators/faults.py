"""Which faults of a simulator are on: for a time, or for the next few times. Knows no machine and no protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulators import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators.control import Control


class Faults:
    """Named faults, each with a value, until a time (CLOCK_MONOTONIC) or for a count; 0 of either ends it."""

    def __init__(self) -> None:
        self._timed: dict[str, tuple[float, Any]] = {}
        self._counted: dict[str, list[Any]] = {}  # left, value
        self._endings: list[Callable[[], None]] = []

    def declare(self, control: Control) -> None:
        """Add the command that shows all faults or ends them."""
        control.add("faults off|show", self._command)

    def also_end(self, ending: Callable[[], None]) -> None:
        """Have ``faults off`` call this, too: for a fault that is kept somewhere else."""
        self._endings.append(ending)

    def for_seconds(self, name: str, seconds: float, value: Any = True) -> None:  # noqa: FBT002 - most faults are on or off
        """Switch on for a time; a later call replaces an earlier one."""
        self._timed[name] = (clock.monotonic_s() + seconds, value)

    def for_count(self, name: str, count: int, value: Any = True) -> None:  # noqa: FBT002 - as above
        """Switch on for so many times; a later call replaces an earlier one."""
        self._counted[name] = [count, value]

    @property
    def any(self) -> bool:
        """False if nothing at all is wrong: the short way for those who ask often."""
        return bool(self._timed or self._counted)

    def on(self, name: str) -> Any:
        """The value of a fault that is on for a time; None: it is off."""
        if name not in self._timed:
            return None
        until_s, value = self._timed[name]
        if clock.monotonic_s() < until_s:
            return value
        del self._timed[name]
        return None

    def left(self, name: str) -> int:
        """How many times more."""
        return int(self._counted[name][0]) if name in self._counted else 0

    def take(self, name: str) -> Any:
        """The value of a counted fault, which is then one less; None: it is off."""
        if name not in self._counted:
            return None
        one = self._counted[name]
        one[0] -= 1
        if one[0] <= 0:
            del self._counted[name]
        return one[1] if one[0] >= 0 else None

    def off(self) -> None:
        """End every fault."""
        self._timed.clear()
        self._counted.clear()
        for ending in self._endings:
            ending()

    def show(self) -> dict[str, float]:
        """What is on: the seconds or the times that are left."""
        timed = {
            name: round(self._timed[name][0] - clock.monotonic_s(), 3) for name in list(self._timed) if self.on(name)
        }
        return {**timed, **{name: left for name, (left, _) in self._counted.items() if left > 0}}

    def _command(self, choice: str) -> dict[str, object]:
        if choice == "off":
            self.off()
        return {"faults": self.show()}
