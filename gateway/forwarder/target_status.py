"""What a person wants to know of a target, and whether it can be reached. Plain data."""

from __future__ import annotations

import enum
from typing import NamedTuple

from gateway.core.confirming.stamps import Stages


class Link(enum.StrEnum):
    """Whether the target can be reached."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"


class TargetStatus(NamedTuple):
    """What a person wants to know of a target. Times are nanoseconds UTC, None where it has not happened.

    ``held`` wait for the end of their window, ``needs_approval`` for a person; ``goods_errors`` are
    booked without their material. Of the newest confirmations that were
    answered: ``latency_last_ns``, ``latency_median_ns`` and ``latency_p95_ns`` from the last event to the answer,
    ``stages_p95`` of each stage by itself; ``late`` took longer than ``late_after_ns``.
    ``breaker``: closed, open or half_open, ``breaker_since_ns`` since when; ``failures`` of the target itself in a row;
    ``last_success_ns`` is the last answer of any kind.
    ``delivered``: taken over by a target that never says whether it booked them. Answers to orders are counted apart
    from confirmations.
    """

    name: str
    link: Link
    since_ns: int
    waiting: int
    uncertain: int
    parked: int
    accepted: int
    posted: int
    oldest_waiting_ns: int | None
    last_posted_ns: int | None
    last_error: str
    next_retry_ns: int | None
    held: int = 0
    needs_approval: int = 0
    goods_errors: int = 0
    latency_last_ns: int | None = None
    latency_median_ns: int | None = None
    latency_p95_ns: int | None = None
    stages_p95: Stages = Stages(None, None, None, None)
    late: int = 0
    late_after_ns: int = 0
    breaker: str = "closed"
    breaker_since_ns: int | None = None
    failures: int = 0
    last_success_ns: int | None = None
    answers_waiting: int = 0
    answers_parked: int = 0
    notices_waiting: int = 0
    notices_parked: int = 0
    delivered: int = 0
