"""The rule of a number that says whether a machine works: motor current, pressure, power. Decides no state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from gateway.core.duration import Duration
from gateway.core.ratio import decimal_of
from gateway.core.rules_inputs import FORBID_UNKNOWN_KEYS


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningRule:
    """A number that says whether the machine works: motor current, pressure, power.

    It decides where the machine has no state of its own, until its first piece, and for slow machines
    (``fallback_above``); otherwise the time between the pieces does.

    Attributes:
        signal: ``source.name`` of the number.
        hi: from this value up the machine works, a decimal number in quotes.
        lo: from this value down it does not; in between nothing changes.
        on_delay: hi must hold this long.
        off_delay: lo must hold this long.
        max_gap: a loss of the signal up to this long changes nothing.
        off: what it means that it is off: ``stopped``, or ``nothing``: the time between the pieces decides.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    signal: str
    hi: str
    lo: str
    on_delay: Duration = Duration("100 ms")
    off_delay: Duration = Duration("200 ms")
    max_gap: Duration = Duration("10 s")
    off: Literal["stopped", "nothing"] = "stopped"

    def __post_init__(self) -> None:
        """Thresholds against each other."""
        if decimal_of("hi", self.hi) <= decimal_of("lo", self.lo):
            raise ValueError(f"hi ({self.hi}) must be above lo ({self.lo}): between them nothing changes")
