"""What signals beside a counter say about it: that its PLC restarted, or that it was set back.

Compares what a signal shows with what it showed before. What follows for the counter is the counter's own business.
"""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final, Literal

from gateway.core.model import Status

if TYPE_CHECKING:
    from gateway.core.model import Scalar
    from gateway.core.rules_inputs import CounterRule

Kind = Literal["restart", "uptime", "reset"]

UPTIME_LATE_PERCENT: Final = 1  # an uptime so little below the last one is an older answer, not a restart


def kinds_of(rule: CounterRule) -> dict[str, Kind]:
    """The signals that are evidence for a counter, and of what."""
    kinds: dict[str, Kind] = dict.fromkeys(rule.restart_evidence, "restart")
    kinds |= dict.fromkeys(rule.restart_uptime, "uptime")
    kinds |= dict.fromkeys(rule.reset_evidence, "reset")
    if rule.order_reset is not None:
        kinds[rule.order_reset] = "reset"
    return kinds


def shown(value: Scalar, status: Status, *, uptime: bool) -> str | None:
    """What a signal shows, as text to compare; None where it shows nothing."""
    if status is not Status.GOOD or (uptime and not _is_uptime(value)):
        return None
    return str(value)


def is_told(text: str, known: str | None, *, uptime: bool) -> bool:
    """Whether this is news: an uptime that fell by more than a late answer would, or anything else that changed."""
    if known is None or text == known:
        return False
    return _fell(text, known) if uptime else True


def _fell(text: str, known: str) -> bool:
    try:
        return Decimal(text) * 100 < Decimal(known) * (100 - UPTIME_LATE_PERCENT)
    except InvalidOperation:  # remembered from a configuration in which this signal was something else
        return False


def _is_uptime(value: Scalar) -> bool:
    """A number that can be compared: no text, no truth value, no infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
