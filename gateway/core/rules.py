"""The rules of a work unit, exactly as the configuration file writes them.

Plain frozen dataclasses: the loader validates the YAML against these very classes, so there is no mapping in between.
Checks across fields stand in ``__post_init__`` and raise ValueError in the words of the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal

from gateway.core.duration import Duration
from gateway.core.model import MachineState, Role
from gateway.core.rate import Rate
from gateway.core.tagged import TaggedBy

FORBID_UNKNOWN_KEYS: Final[dict[str, Any]] = {"extra": "forbid"}
MODULUS_MAX: Final = 2**64
PIECES_PER_COUNT_MAX: Final = 100_000
COUNTERS_PER_WORK_UNIT_MAX: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterRule:
    """A free-running counter in the PLC: survives restarts of the gateway, roll-over and resets.

    Attributes:
        mode: ``counter``.
        signal: ``source.name`` of the counter value.
        role: what a counted piece is: good, scrap or rework.
        pieces: pieces per count (cavities of a mould, pieces in a carton).
        modulus: the value at which it starts again at 0 (16-bit: 65536); none: it never rolls over.
        max_rate: the fastest that is possible, such as "40 /min"; default 1.5 times the work unit's ideal cycle.
        reset_to: the value after a reset.
        jitter: an older value up to this many counts behind is a late answer, not a reset.
        confirm_samples: 1: a suspicious value waits for the next sample; 0: decide at once (slow machines).
        count_on_reset: ``value``: counts since the reset are booked; ``zero``: the first sample after it is not.
        slack: counts that are always plausible, whatever the time between two samples.
        remember_old_track: how long a value from before a reset is remembered, in case it comes back.
        restart_evidence: signals whose change means the PLC restarted (boot counter, start time).
        restart_uptime: signals that only rise while the PLC runs (uptime, seconds since boot): a fall means that it
            restarted. A 32-bit count of milliseconds starts again after 49.7 days and looks like a restart then; that
            is harmless, because the counter's next value fits.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    mode: Literal["counter"]
    signal: str
    role: Role = Role.GOOD
    pieces: int = 1
    modulus: int | None = None
    max_rate: Rate | None = None
    reset_to: int = 0
    jitter: int = 0
    confirm_samples: Literal[0, 1] = 1
    count_on_reset: Literal["value", "zero"] = "value"
    slack: int = 2
    remember_old_track: Duration = Duration("10 min")
    restart_evidence: tuple[str, ...] = ()
    restart_uptime: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Ranges that a counter can have."""
        if not 1 <= self.pieces <= PIECES_PER_COUNT_MAX:
            raise ValueError(f"pieces: found {self.pieces}, allowed 1 to {PIECES_PER_COUNT_MAX}")
        if self.modulus is not None and not 2 <= self.modulus <= MODULUS_MAX:  # noqa: PLR2004 - a counter has two values at least
            raise ValueError(f"modulus: found {self.modulus}, allowed 2 to {MODULUS_MAX}")
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
        pieces: pieces per pulse.
        edge: which edge counts.
        debounce: a level must hold this long to be believed; the edge is dated at its beginning.
        min_cycle: an edge sooner after the last counted one is rejected.
        max_cycle: a longer time between two edges is a stop, not a cycle time.
        stuck_after: a level that holds longer is reported as stuck.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    mode: Literal["pulse"]
    signal: str
    role: Role = Role.GOOD
    pieces: int = 1
    edge: Literal["rising", "falling", "both"] = "rising"
    debounce: Duration = Duration("5 ms")
    min_cycle: Duration = Duration(0)
    max_cycle: Duration | None = None
    stuck_after: Duration | None = None

    def __post_init__(self) -> None:
        """Thresholds against each other."""
        if not 1 <= self.pieces <= PIECES_PER_COUNT_MAX:
            raise ValueError(f"pieces: found {self.pieces}, allowed 1 to {PIECES_PER_COUNT_MAX}")
        if self.min_cycle and self.debounce >= self.min_cycle:
            raise ValueError(f"debounce ({self.debounce}) must be shorter than min_cycle ({self.min_cycle})")
        if self.max_cycle is not None and self.max_cycle <= self.min_cycle:
            raise ValueError(f"max_cycle ({self.max_cycle}) must be longer than min_cycle ({self.min_cycle})")


CountingRule = Annotated[CounterRule | PulseRule, TaggedBy("mode")]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRule:
    """How the running job order of a machine is chosen, and when it is complete.

    Attributes:
        choose: ``sequence``: the next dispatched order starts by itself; ``job_signal``: the PLC names it; ``command``:
            a person starts it.
        job_signal: ``source.name`` of the text that names the running job (only with ``choose: job_signal``).
        job_format: how that text is built from order and operation.
        at_target: ``complete``: the order ends at its target, further pieces belong to the next one; ``continue``: it
            runs on until someone ends it.
        target_counts: ``good_plus_scrap`` (default) or ``good`` (SAP counts yield).
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    choose: Literal["sequence", "job_signal", "command"] = "sequence"
    job_signal: str | None = None
    job_format: str = "{order}-{operation}"
    at_target: Literal["complete", "continue"] = "complete"
    target_counts: Literal["good_plus_scrap", "good"] = "good_plus_scrap"

    def __post_init__(self) -> None:
        """The signal goes with the choice."""
        if (self.choose == "job_signal") != (self.job_signal is not None):
            raise ValueError("job_signal is needed with choose: job_signal, and only then")
        if "{order}" not in self.job_format:
            raise ValueError(f"job_format: found {self.job_format!r}, it must contain {{order}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmRule:
    """When a confirmation is made; the end of an order always makes the final one.

    Attributes:
        every_pieces: as soon as this many pieces are unconfirmed.
        every: this long after the last confirmation, if anything was made since.
        also_to: further connectors that get a copy of every confirmation, besides the one the order came from.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    every_pieces: int | None = None
    every: Duration | None = None
    also_to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Positive, where given."""
        if self.every_pieces is not None and self.every_pieces < 1:
            raise ValueError(f"every_pieces: found {self.every_pieces}, allowed 1 and above")
        if self.every is not None and self.every <= 0:
            raise ValueError("every: found 0 s, allowed more than that")


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRule:
    """How the machine's state is derived.

    Attributes:
        signal: ``source.name`` of an explicit state; none: the time since the last cycle decides.
        map: value of that signal (as text) to machine state.
        stop_detect: no cycle for this long is a stop; default twice the ideal cycle, at least 5 s.
        micro_stop_max: a stop up to this long is a micro stop.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    signal: str | None = None
    map: dict[str, MachineState] = field(default_factory=dict)
    stop_detect: Duration | None = None
    micro_stop_max: Duration = Duration("5 min")

    def __post_init__(self) -> None:
        """A map goes with a signal."""
        if (self.signal is not None) != bool(self.map):
            raise ValueError("signal and map belong together: name both or neither")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkUnitRules:
    """One machine (ISA-95 work unit): what counts, how orders are chosen, when to confirm.

    Attributes:
        work_center: the ERP's name of it; orders for this work center run here.
        ideal_cycle: shortest sensible time of one cycle (one count); rate limits and stop detection follow from it.
        counters: what is counted.
        orders: how the running order is chosen.
        confirm: when to confirm.
        state: how the machine's state is derived.
        max_source_skew: a device's time stamp further from the gateway's than this is not used.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    work_center: str
    ideal_cycle: Duration | None = None
    counters: tuple[CountingRule, ...]
    orders: OrderRule = OrderRule()
    confirm: ConfirmRule = ConfirmRule()
    state: StateRule = StateRule()
    max_source_skew: Duration = Duration("5 s")

    def __post_init__(self) -> None:
        """Something must be counted, each signal once."""
        if not 1 <= len(self.counters) <= COUNTERS_PER_WORK_UNIT_MAX:
            raise ValueError(f"counters: found {len(self.counters)}, allowed 1 to {COUNTERS_PER_WORK_UNIT_MAX}")
        if self.ideal_cycle is not None and self.ideal_cycle <= 0:
            raise ValueError("ideal_cycle: found 0 s, allowed more than that")
        signals = [rule.signal for rule in self.counters]
        doubled = sorted({signal for signal in signals if signals.count(signal) > 1})
        if doubled:
            raise ValueError(f"counters: {', '.join(doubled)} is counted twice")
        counters = [rule for rule in self.counters if isinstance(rule, CounterRule)]
        changing = {signal for rule in counters for signal in rule.restart_evidence}
        both = sorted(changing & {signal for rule in counters for signal in rule.restart_uptime})
        if both:
            raise ValueError(f"counters: {', '.join(both)} is in restart_evidence and in restart_uptime; choose one")
