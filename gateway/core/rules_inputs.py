"""The rules of a single counting input, exactly as the configuration file writes them: a counter, and a pulse.

What they do stands in ``counting/counter.py`` and ``counting/pulse.py``; composed modes hold them inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

from gateway.core.duration import Duration
from gateway.core.model import Role
from gateway.core.rate import Rate
from gateway.core.tagged import TaggedBy

FORBID_UNKNOWN_KEYS: Final[dict[str, Any]] = {"extra": "forbid"}
MODULUS_MAX: Final = 2**64
PIECES_PER_COUNT_MAX: Final = 100_000
SCRAP_REASON_CHARS_MAX: Final = 64


def check_scrap_reason(role: Role, reason: str) -> None:
    """A reason of scrap for what is scrap. Raises ValueError."""
    if reason and role is not Role.SCRAP:
        raise ValueError(f"scrap_reason: found {reason!r} with role {role}, allowed with role: scrap only")
    if len(reason) > SCRAP_REASON_CHARS_MAX:
        raise ValueError(f"scrap_reason: found {len(reason)} characters, allowed up to {SCRAP_REASON_CHARS_MAX}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterRule:
    """A free-running counter in the PLC: survives restarts of the gateway, roll-over and resets.

    Attributes:
        mode: ``counter``.
        signal: ``source.name`` of the counter value.
        role: what a counted piece is: good, scrap or rework.
        scrap_reason: with ``role: scrap``, why they are: a code that the ERP knows.
        pieces: pieces per count (cavities of a mould, pieces in a carton).
        modulus: the value at which it starts again at 0 (16-bit: 65536); none: it never rolls over.
        max_rate: the fastest that is possible, such as "40 /min"; default 1.5 times the work unit's ideal cycle.
        direction: ``down``: it counts down, from reset_to to 0 (pieces that are left) or, with a modulus, round and
            round. Where each order is set to another number, name the largest, with ``count_on_reset: zero``.
        reset_to: the value after a reset.
        jitter: an older value up to this many counts behind is a late answer, not a reset.
        confirm_samples: 1: a suspicious value waits for the next sample; 0: decide at once (slow machines).
        count_on_reset: ``value``: counts since the reset are booked; ``zero``: the first sample after it is not.
        slack: counts that are always plausible, whatever the time between two samples.
        remember_old_track: how long a value from before a reset is remembered, in case it comes back.
        restart_evidence: signals whose change means the PLC restarted (boot counter, start time).
        restart_uptime: signals that only rise while the PLC runs (uptime, seconds since boot): a fall means that it
            restarted (one of 1 % at most is an older answer). A 32-bit count of milliseconds starts again after
            49.7 days and looks like a restart then; that is harmless, because the counter's next value fits.
        reset_evidence: signals whose change means that the counter is set back (a reset bit, a batch number): a value
            below the last one is that reset, and needs no second sample.
        order_reset: the same for the signal that names the job, where the PLC sets the counter back for a new one.
        reset_within: how long after such a change the reset may come.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    mode: Literal["counter"]
    signal: str
    role: Role = Role.GOOD
    scrap_reason: str = ""
    pieces: int = 1
    modulus: int | None = None
    max_rate: Rate | None = None
    direction: Literal["up", "down"] = "up"
    reset_to: int = 0
    jitter: int = 0
    confirm_samples: Literal[0, 1] = 1
    count_on_reset: Literal["value", "zero"] = "value"
    slack: int = 2
    remember_old_track: Duration = Duration("10 min")
    restart_evidence: tuple[str, ...] = ()
    restart_uptime: tuple[str, ...] = ()
    reset_evidence: tuple[str, ...] = ()
    order_reset: str | None = None
    reset_within: Duration = Duration("10 s")

    def __post_init__(self) -> None:
        """Ranges that a counter can have."""
        check_scrap_reason(self.role, self.scrap_reason)
        if not 1 <= self.pieces <= PIECES_PER_COUNT_MAX:
            raise ValueError(f"pieces: found {self.pieces}, allowed 1 to {PIECES_PER_COUNT_MAX}")
        if self.modulus is not None and not 2 <= self.modulus <= MODULUS_MAX:  # noqa: PLR2004 - a counter has two values at least
            raise ValueError(f"modulus: found {self.modulus}, allowed 2 to {MODULUS_MAX}")
        if self.direction == "down" and (self.modulus is None) == (self.reset_to == 0):
            raise ValueError(
                "direction: found down with both modulus and reset_to or with neither, allowed one of them"
            )
        if min(self.reset_to, self.jitter, self.slack) < 0:
            raise ValueError("reset_to, jitter and slack: found a negative number, allowed 0 and above")
        if self.modulus is not None and max(self.reset_to, self.jitter) >= self.modulus:
            raise ValueError(f"reset_to and jitter must be below the modulus {self.modulus}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PulseRule:
    """Edges of a digital signal, counted as they come.

    Edges while the gateway is down are lost: they are declared as unknown, with their interval and bound.

    Attributes:
        mode: ``pulse``.
        signal: ``source.name`` of the digital value.
        role: what a counted piece is: good, scrap or rework.
        scrap_reason: with ``role: scrap``, why they are: a code that the ERP knows.
        pieces: pieces per pulse.
        edge: which edge counts.
        debounce: a level must hold this long to be believed; the edge is dated at its beginning.
        min_cycle: an edge sooner after the last counted one is rejected.
        max_cycle: a longer time between two edges is a stop, not a cycle time.
        stuck_after: a level that holds longer is reported as stuck; where the machine has a state signal or a running
            signal, only once it is reported as running for so long.
        pulse_width: the shortest time that the signal is high, and low. A signal that is polled must be looked at twice
            in it; where every edge is seen it is not needed.
        accept_missed_pulses: go on although pulses are shorter than that: what is missed leaves no trace.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    mode: Literal["pulse"]
    signal: str
    role: Role = Role.GOOD
    scrap_reason: str = ""
    pieces: int = 1
    edge: Literal["rising", "falling", "both"] = "rising"
    debounce: Duration = Duration("5 ms")
    min_cycle: Duration = Duration(0)
    max_cycle: Duration | None = None
    stuck_after: Duration | None = None
    pulse_width: Duration | None = None
    accept_missed_pulses: bool = False

    def __post_init__(self) -> None:
        """Thresholds against each other."""
        check_scrap_reason(self.role, self.scrap_reason)
        if not 1 <= self.pieces <= PIECES_PER_COUNT_MAX:
            raise ValueError(f"pieces: found {self.pieces}, allowed 1 to {PIECES_PER_COUNT_MAX}")
        if self.min_cycle and self.debounce >= self.min_cycle:
            raise ValueError(f"debounce ({self.debounce}) must be shorter than min_cycle ({self.min_cycle})")
        if self.max_cycle is not None and self.max_cycle <= self.min_cycle:
            raise ValueError(f"max_cycle ({self.max_cycle}) must be longer than min_cycle ({self.min_cycle})")


CountingRule = Annotated[CounterRule | PulseRule, TaggedBy("mode")]
