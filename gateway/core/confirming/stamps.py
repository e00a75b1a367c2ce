"""Five times of a confirmation, from the last event in it to the ERP's answer, and figures of how long that takes.

Steady times only: a clock that is set makes nothing early or late. Exact: nothing is rounded, nothing is a float.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The share below which the 95th percentile lies (nearest rank).
_P95: Final = Fraction(95, 100)


class Stamps(NamedTuple):
    """When the last event happened, was derived, and was queued with its confirmation; when that was sent and acked.

    Nanoseconds of the steady clock. ``t_sent_ns`` is of the attempt that was answered, or of the last one so far.
    ``t_event_ns`` None: a confirmation without events.
    """

    t_event_ns: int | None
    t_derived_ns: int | None
    t_queued_ns: int
    t_sent_ns: int | None = None
    t_acked_ns: int | None = None

    @property
    def latency_ns(self) -> int | None:
        """From the event to the answer; None while there is none of them."""
        if self.t_event_ns is None or self.t_acked_ns is None:
            return None
        return self.t_acked_ns - self.t_event_ns


class Stages(NamedTuple):
    """Where the time went. None where a stage has not ended, or has no event."""

    detection_ns: int | None  # until the event was derived
    trigger_ns: int | None  # until its confirmation was queued
    waiting_ns: int | None  # until the attempt that was answered
    answer_ns: int | None  # until the answer


class LatencyFigures(NamedTuple):
    """Of so many confirmations that were ``answered``; without any there is no median.

    ``late`` took longer than what is tolerated. ``p95_ns`` is the nearest rank: one that really occurred.
    """

    answered: int
    median_ns: Fraction | None
    p95_ns: int | None
    longest_ns: int | None
    late: int


def queued(t_event_ns: int | None, t_derived_ns: int | None, t_queued_ns: int) -> Stamps:
    """A confirmation was closed and queued.

    A device's clock may be ahead by what is tolerated: an event is never later than it was derived. Raises ValueError
    for an event that was never derived, or derived after it was queued.
    """
    if (t_event_ns is None) != (t_derived_ns is None):
        raise ValueError("stamps: found an event without its derivation, allowed both or none")
    if t_derived_ns is not None and t_derived_ns > t_queued_ns:
        raise ValueError(f"stamps: found derived at {t_derived_ns}, allowed up to the queueing at {t_queued_ns}")
    event_ns = None if t_event_ns is None or t_derived_ns is None else min(t_event_ns, t_derived_ns)
    return Stamps(event_ns, t_derived_ns, t_queued_ns)


def sent(stamps: Stamps, at_ns: int) -> Stamps:
    """An attempt begins. Raises ValueError after the answer, or before it was queued."""
    if stamps.t_acked_ns is not None:
        raise ValueError(f"stamps: found an attempt at {at_ns}, after the answer at {stamps.t_acked_ns}")
    if at_ns < max(stamps.t_queued_ns, stamps.t_sent_ns or 0):
        raise ValueError(f"stamps: found an attempt at {at_ns}, before it was queued or tried at {stamps.t_queued_ns}")
    return stamps._replace(t_sent_ns=at_ns)


def acked(stamps: Stamps, at_ns: int) -> Stamps:
    """The ERP has booked it. The first answer counts. Raises ValueError for an answer to nothing."""
    if stamps.t_sent_ns is None or at_ns < stamps.t_sent_ns:
        raise ValueError(f"stamps: found an answer at {at_ns}, sent at {stamps.t_sent_ns}")
    return stamps if stamps.t_acked_ns is not None else stamps._replace(t_acked_ns=at_ns)


def stages(stamps: Stamps) -> Stages:
    """How long each stage took: until derived, until queued, until sent, until answered. They add up to the latency."""
    event_ns, derived_ns = stamps.t_event_ns, stamps.t_derived_ns
    return Stages(
        None if event_ns is None or derived_ns is None else derived_ns - event_ns,
        None if derived_ns is None else stamps.t_queued_ns - derived_ns,
        None if stamps.t_sent_ns is None else stamps.t_sent_ns - stamps.t_queued_ns,
        None if stamps.t_acked_ns is None or stamps.t_sent_ns is None else stamps.t_acked_ns - stamps.t_sent_ns,
    )


def figures(latencies_ns: Iterable[int], late_after_ns: int) -> LatencyFigures:
    """Median (the mean of the two in the middle), 95th percentile and how many took longer than ``late_after_ns``."""
    ordered = sorted(latencies_ns)
    count = len(ordered)
    if not count:
        return LatencyFigures(0, None, None, None, 0)
    middle = count // 2
    median = Fraction(ordered[middle]) if count % 2 else Fraction(ordered[middle - 1] + ordered[middle], 2)
    late = sum(one > late_after_ns for one in ordered)
    return LatencyFigures(count, median, _p95(ordered), ordered[-1], late)


def stages_p95(answered: Sequence[Stamps]) -> Stages:
    """The 95th percentile (nearest rank) of each stage by itself: they need not add up. None where none has it."""
    columns = zip(*(stages(one) for one in answered), strict=True)
    found = [sorted(length for length in column if length is not None) for column in columns]
    return Stages(*(_p95(one) for one in found)) if found else Stages(None, None, None, None)


def _p95(ordered: Sequence[int]) -> int | None:
    """The nearest rank of lengths in ascending order."""
    return ordered[-(-len(ordered) * _P95.numerator // _P95.denominator) - 1] if ordered else None


def overdue(stamps: Stamps, now_ns: int, late_after_ns: int) -> bool:
    """Whether a confirmation that is not answered yet takes longer than tolerated already."""
    return stamps.t_event_ns is not None and stamps.t_acked_ns is None and now_ns - stamps.t_event_ns > late_after_ns
