"""The times of one posting as a person and a program read them. Reads no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.core.confirming.stamps import stages
from gateway.core.duration import NS_PER_UNIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.confirming.stamps import Stages, Stamps


def in_ms(lengths: Stages) -> dict[str, int | None]:
    """How long each stage took, in whole milliseconds (rounded down), None where it is not known."""
    return {name.removesuffix("_ns"): _ms(length) for name, length in lengths._asdict().items()}


def latency_ms(stamps: Stamps) -> int | None:
    """From the last event to the answer."""
    return _ms(stamps.latency_ns)


def posting_times(stamps: Stamps, named: Callable[[int | None], str | None]) -> dict[str, Any]:
    """``stamps``: the five times, by ``named``; ``stages_ms``: what lay between them.

    ``stamps`` are steady: a clock that was set between them makes no stage longer or shorter.
    """
    told = {name.removesuffix("_ns"): named(at_ns) for name, at_ns in stamps._asdict().items()}
    return {"stamps": told, "stages_ms": in_ms(stages(stamps))}


def _ms(length_ns: int | None) -> int | None:
    return None if length_ns is None else length_ns // NS_PER_UNIT["ms"]
