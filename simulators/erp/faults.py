"""What the fake ERP does wrong on command: how often, for how long, and on which path.

Holds counters only; ``double.py`` asks it before and after it books.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators.control import Control

Route = Literal["confirmations", "orders", "lookups"]
MS_PER_S: Final = 1000
ROUTES: Final[tuple[Route, ...]] = ("confirmations", "orders", "lookups")

_COUNTED: Final = ("lose-answers", "lose-requests", "half", "locked", "refuse", "hang", "garbage", "twice", "hang-up")


class Due(NamedTuple):
    """A fault whose turn it is: its name, and the number that belongs to it (status or seconds)."""

    name: str
    number: float = 0.0


class Faults:
    """Counters of faults still to come; ``taken`` counts those that came."""

    def __init__(self) -> None:
        self.rejected: set[str] = set()
        self.poisoned: dict[str, int] = {}
        self.taken = 0
        self._spared = 0
        self._left: dict[tuple[str, Route], tuple[float, int]] = {}
        self._signed_out_until_s = 0.0

    @property
    def signed_out(self) -> bool:
        """True while nobody is signed in, for as long as ``signed-out`` said."""
        return time.monotonic() < self._signed_out_until_s

    def declare(self, control: Control) -> None:
        """Add the commands."""
        for name in _COUNTED:
            control.add(f"{name} COUNT", self._counted(name))
        for name in ("error", "error-booked"):
            control.add(f"{name} STATUS COUNT", self._numbered(name))
        for name in ("slow", "late-book", "unavailable", "too-many"):
            control.add(f"{name} SECONDS COUNT", self._numbered(name))
        control.add("drip MS COUNT", lambda ms, count: self._set("drip", ms / MS_PER_S, count))
        control.add("signed-out SECONDS", self._sign_out)
        control.add("poison STATUS ORDER", lambda status, order: self.poisoned.update({order: status}))
        control.add("heal ORDER", lambda order: self.poisoned.pop(order, None) and None)
        for name in ("html", "unauthorized"):
            control.add(f"{name} COUNT [PATH]", self._on_path(name))
        control.add("spare COUNT", self._spare)
        control.add("reject ORDER", self.rejected.add)
        control.add("accept ORDER", self.rejected.discard)
        control.add("faults", self._status)
        control.add("clear", self._clear)

    def take(self, path: Route, *names: str) -> Due | None:
        """The first of these faults whose turn it is on this path; it counts as done."""
        for name in names:
            number, left = self._left.get((name, path), (0.0, 0))
            if left > 0:
                self._left[name, path] = (number, left - 1)
                self.taken += 1
                return Due(name, number)
        return None

    def spared(self) -> bool:
        """Whether this message is one that ``spare`` lets through, so that a fault hits a later one; it counts."""
        self._spared -= bool(left := self._spared)
        return bool(left)

    def _spare(self, count: int) -> None:
        self._spared = count

    def _counted(self, name: str) -> Callable[[int], None]:
        return lambda count: self._set(name, 0.0, count)

    def _numbered(self, name: str) -> Callable[[float, int], None]:
        return lambda number, count: self._set(name, number, count)

    def _on_path(self, name: str) -> Callable[..., None]:
        return lambda count, path="confirmations": self._set(name, 0.0, count, path)

    def _set(self, name: str, number: float, count: int, path: str = "confirmations") -> None:
        for one in ROUTES:
            if path in {one, "all"}:
                self._left[name, one] = (number, count)

    def _sign_out(self, seconds: float) -> None:
        self._signed_out_until_s = time.monotonic() + seconds

    def _status(self) -> dict[str, object]:
        left = {f"{name} {path}": count for (name, path), (_, count) in self._left.items() if count}
        shown = {"rejected": sorted(self.rejected), "poisoned": dict(sorted(self.poisoned.items()))}
        return {"left": left, **shown, "taken": self.taken, "t_ns": time.time_ns()}

    def _clear(self) -> None:
        self._left.clear()
        self._spared = 0
        self.rejected.clear()
        self.poisoned.clear()
        self._signed_out_until_s = 0.0
