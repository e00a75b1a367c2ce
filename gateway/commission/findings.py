"""What a measurement found, and how sure it is: the same for pulses and counters. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from gateway.core.duration import Duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Fewer parts than this prove little.
PARTS_SURE: Final = 10


class Sureness(enum.StrEnum):
    """How far a proposal can be trusted."""

    SURE = "sure"
    FAIR = "fair"
    UNSURE = "unsure"


class Spread(NamedTuple):
    """Shortest, usual and longest of several lengths, nanoseconds."""

    least_ns: int
    median_ns: int
    most_ns: int

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Self | None:
        """None where there is nothing to measure."""
        return cls(min(lengths), int(median(lengths)), max(lengths)) if lengths else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """A proposal with its reasons.

    Attributes:
        kind: ``pulse`` or ``counter``.
        signal: ``source.name``.
        counted: pulses or counts seen.
        parts: parts that a person says were made; None where nobody did.
        sure: how far the proposal can be trusted.
        rule: keys of the counting rule, empty where nothing can be proposed.
        source: keys of the source.
        ideal_cycle_ns: the work unit's ideal cycle, None where fewer than two counts were seen.
        measured: names of measurements to numbers, lengths or spreads.
        remarks: what is worth knowing.
        doubts: why it is not surer, and what to do.
    """

    kind: str
    signal: str
    counted: int
    parts: int | None
    sure: Sureness
    rule: dict[str, Any]
    source: dict[str, Any] = field(default_factory=dict)
    ideal_cycle_ns: Duration | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @classmethod
    def nothing(cls, kind: str, signal: str, *why: str) -> Findings:
        """Nothing was seen: why, and what to do."""
        return cls(kind=kind, signal=signal, counted=0, parts=None, sure=Sureness.UNSURE, rule={}, doubts=why)

    def with_doubts(self, doubts: Iterable[str]) -> Findings:
        """The same with further doubts, and no surer than they allow."""
        more = tuple(doubts)
        if not more:
            return self
        sure = Sureness.FAIR if self.sure is Sureness.SURE else self.sure
        return replace(self, doubts=(*self.doubts, *more), sure=sure)


def sureness_of(counted: int | None, parts: int | None, doubts: Sequence[str]) -> Sureness:
    """Sure needs a count that fits, enough parts and no doubt."""
    if parts is None or counted != parts:
        return Sureness.UNSURE
    return Sureness.SURE if parts >= PARTS_SURE and not doubts else Sureness.FAIR
