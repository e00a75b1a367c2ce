"""The rule of a PackML machine's product counters, exactly as the configuration file writes it.

What it does stands in ``counting/packml.py``; what the machine's state means, in ``state/maps.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from gateway.core.duration import Duration
from gateway.core.model import Role
from gateway.core.rate import Rate
from gateway.core.rules_counting import check_distinct
from gateway.core.rules_inputs import FORBID_UNKNOWN_KEYS, CounterRule

PACKML_MODULUS: Final = 2**31  # counters are Int32 and start again at 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PackmlRule:
    """The product counters of a PackML machine: processed, and defective among them or beside them.

    Attributes:
        mode: ``packml``.
        processed: ``source.name`` of ProdProcessedCount[0].AccCount (of Count where AccCount is not there).
        defective: the same member of ProdDefectiveCount[0].
        counts: ``acc_count`` never starts anew; ``count`` starts anew with each job, which needs state.
        state: ``source.name`` of StateCurrent; tells a reset of Count from a fault.
        resetting_state: the state in which the machine resets Count.
        processed_includes_defective: whether processed counts the defective products too; the standard leaves it open.
        modulus: the value at which a counter starts again at 0.
        max_rate: the fastest that is possible; default 1.5 times the work unit's ideal cycle.
        jitter: as for a counter.
        confirm_samples: as for a counter.
        slack: as for a counter.
        remember_old_track: as for a counter.
        restart_evidence: as for a counter.
        restart_uptime: as for a counter.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    mode: Literal["packml"]
    processed: str
    defective: str | None = None
    counts: Literal["acc_count", "count"] = "acc_count"
    state: str | None = None
    resetting_state: int = 15
    processed_includes_defective: bool = True
    modulus: int = PACKML_MODULUS
    max_rate: Rate | None = None
    jitter: int = 0
    confirm_samples: Literal[0, 1] = 1
    slack: int = 2
    remember_old_track: Duration = Duration("10 min")
    restart_evidence: tuple[str, ...] = ()
    restart_uptime: tuple[str, ...] = ()
    role: ClassVar[Role] = Role.GOOD
    pieces: ClassVar[int] = 1  # its events count pieces

    def __post_init__(self) -> None:
        """Count needs the state; the counters keep their own ranges."""
        if (self.counts == "count") != (self.state is not None):
            raise ValueError("state is needed with counts: count, and only then: it tells a reset from a fault")
        check_distinct({"processed": self.processed, "defective": self.defective, "state": self.state})
        self.counter(self.processed)

    def counter(self, signal: str) -> CounterRule:
        """One of its counters as a rule of its own. Raises ValueError where a setting is out of range."""
        return CounterRule(
            mode="counter",
            signal=signal,
            modulus=self.modulus,
            max_rate=self.max_rate,
            jitter=self.jitter,
            confirm_samples=self.confirm_samples,
            slack=self.slack,
            remember_old_track=self.remember_old_track,
            restart_evidence=self.restart_evidence,
            restart_uptime=self.restart_uptime,
        )

    @property
    def signal(self) -> str:
        """The signal that stands for the rule."""
        return self.processed
