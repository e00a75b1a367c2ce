"""Candidates in turn, window by window, and the table of what they cost. Knows no protocol of a machine."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rig import RigError, until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rig import Candidate, Rig
    from subscriber import Arrival, Subscriber

MARK = "daemon"
BASE = "bare loop"
EARLIER = "other daemon"
# The daemon sorts its memory once, 5 s after its start. No multiple of a scan: a window would begin on the edge of one.
WARM_UP_S = 6.43
WARM_UP_QUICK_S = 0.33
LEAST_QUICK = 4
# After a window, for what was under way.
SETTLE_S, SETTLE_QUICK_S = 0.5, 0.2


class Delivered(NamedTuple):
    """What a window's messages carried.

    Attributes:
        values: how many values arrived.
        latencies_ms: of each message or value.
        lost: scans, notifications or changes that never arrived.
        expected: how many values should have arrived; None: the nominal rate tells.
        gaps_ms: from one scan of a device to its next.
    """

    values: int
    latencies_ms: list[float]
    lost: int
    expected: int | None = None
    gaps_ms: tuple[float, ...] = ()


@dataclass
class Found:
    """All windows of one candidate."""

    cpu_per_1000: list[float] = field(default_factory=list)
    cpu_percent: list[float] = field(default_factory=list)
    delivered: list[float] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    messages_per_s: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    pss_mb: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    gaps_ms: list[float] = field(default_factory=list)

    def summary(self) -> dict:
        """The figures of the table."""
        return {
            "cpu_s_per_1000_values": _spread(self.cpu_per_1000, 5),
            "cpu_percent": _spread(self.cpu_percent, 2),
            "latency_p50_ms": round(_percentile(self.latencies_ms, 50), 2),
            "latency_p99_ms": round(_percentile(self.latencies_ms, 99), 2),
            "delivered_percent": round(statistics.mean(self.delivered), 1),
            "lost": sum(self.lost),
            "scan_gap_p50_ms": round(_percentile(self.gaps_ms, 50), 1) if self.gaps_ms else None,
            "scan_gap_p99_ms": round(_percentile(self.gaps_ms, 99), 1) if self.gaps_ms else None,
            "messages_per_s": round(statistics.mean(self.messages_per_s), 1),
            "rss_mb": round(max(self.rss_mb), 1),
            "pss_mb": round(max(self.pss_mb), 1),
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long, how often; a window goes on until as many messages as ``least`` have come."""

    rounds: int
    least: int
    window_s: float
    warm_up_s: float
    settle_s: float


def arguments(description: str) -> argparse.Namespace:
    """The command line that all comparisons share; ``plan`` is in the answer."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=3, help="windows per candidate (3)")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a window (8)")
    parser.add_argument("--quick", action="store_true", help="one short window each: does it work at all?")
    parser.add_argument("--against", type=Path, help="another tree of the gateway's source, measured in turn as well")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    chosen = parser.parse_args()
    chosen.plan = (
        Plan(rounds=1, least=LEAST_QUICK, window_s=1.0, warm_up_s=WARM_UP_QUICK_S, settle_s=SETTLE_QUICK_S)
        if chosen.quick
        else Plan(rounds=chosen.rounds, least=0, window_s=chosen.seconds, warm_up_s=WARM_UP_S, settle_s=SETTLE_S)
    )
    return chosen


def daemons(rig: Rig, sources: str, against: Path | None) -> dict[str, Callable[[], Candidate]]:
    """The daemon, and the one of another source tree if there is one to compare with."""
    found = {MARK: partial(rig.daemon, sources, MARK)}
    if against is not None:
        found[EARLIER] = partial(rig.daemon, sources, EARLIER, tree=against)
    return found


def compare(
    candidates: Mapping[str, Callable[[], Candidate]],
    subscriber: Subscriber,
    judge: Callable[[list[Arrival], int, int], Delivered],
    plan: Plan,
    values_per_s: float,
) -> dict[str, Found]:
    """Measure every candidate once a round, the order turned round each time. Raises RigError."""
    found = {name: Found() for name in candidates}
    for number in range(plan.rounds):
        order = list(candidates) if number % 2 == 0 else list(reversed(candidates))
        for name in order:
            _window(candidates[name], found[name], subscriber, judge, plan, values_per_s)
    return found


def _window(start, found: Found, subscriber: Subscriber, judge, plan: Plan, values_per_s: float) -> None:
    subscriber.arrivals.clear()
    candidate = start()
    try:
        until(lambda: len(subscriber.arrivals) > 1, f"values of the {candidate.name} arrive", candidate.check)
        time.sleep(plan.warm_up_s)
        cpu_s, from_ns = candidate.cpu_s(), time.monotonic_ns()
        time.sleep(plan.window_s)
        until(
            lambda: len(subscriber.between(from_ns, time.monotonic_ns())) >= plan.least,
            f"{plan.least} messages of the {candidate.name} arrive",
            candidate.check,
        )
        cpu_s, to_ns = candidate.cpu_s() - cpu_s, time.monotonic_ns()
        memory = candidate.memory()
        candidate.check()
        time.sleep(plan.settle_s)
    finally:
        candidate.stop()
    arrivals = subscriber.between(from_ns, to_ns)
    delivered = judge(arrivals, from_ns, to_ns)
    if not delivered.values:
        raise RigError(f"nothing of the {candidate.name} arrived in a window of {plan.window_s:g} s")
    seconds = (to_ns - from_ns) / 1e9
    found.cpu_per_1000.append(cpu_s / delivered.values * 1000)
    found.cpu_percent.append(cpu_s / seconds * 100)
    expected = values_per_s * seconds if delivered.expected is None else delivered.expected
    found.delivered.append(delivered.values / expected * 100)
    found.messages_per_s.append(len(arrivals) / seconds)
    found.latencies_ms += delivered.latencies_ms
    found.rss_mb.append(memory.rss)
    found.pss_mb.append(memory.pss)
    found.lost.append(delivered.lost)
    found.gaps_ms += delivered.gaps_ms


def report(title: str, found: dict[str, Found], plan: Plan, *, as_json: bool) -> None:
    """Print the table, or the same as JSON."""
    summaries = {name: one.summary() for name, one in found.items()}
    marks = [name for name in found if name != BASE]
    result = {
        "benchmark": title,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, Linux {platform.release()}",
        "rounds": plan.rounds,
        "window_s": plan.window_s,
        **summaries,
        "cpu_ratio": {name: _ratio(found[name].cpu_per_1000, found[BASE].cpu_per_1000) for name in marks},
        "added_latency_ms": {
            name: {
                key: round(summaries[name][f"latency_{key}_ms"] - summaries[BASE][f"latency_{key}_ms"], 2)
                for key in ("p50", "p99")
            }
            for name in marks
        },
    }
    print(json.dumps(result) if as_json else _table(result, summaries))  # noqa: T201 - a benchmark prints


def _ratio(marks: list[float], bases: list[float]) -> dict:
    return _spread([mark / base for mark, base in zip(marks, bases, strict=True)], 3)


def _table(result: dict, summaries: dict[str, dict]) -> str:
    rows = [("", *summaries)]
    for label, key in (
        ("CPU s / 1000 values", "cpu_s_per_1000_values"),
        ("CPU % of one core", "cpu_percent"),
        ("latency p50 ms", "latency_p50_ms"),
        ("latency p99 ms", "latency_p99_ms"),
        ("values delivered %", "delivered_percent"),
        ("readings lost", "lost"),
        ("scan gap p50 ms", "scan_gap_p50_ms"),
        ("scan gap p99 ms", "scan_gap_p99_ms"),
        ("messages / s", "messages_per_s"),
        ("RSS MB", "rss_mb"),
        ("PSS MB", "pss_mb"),
    ):
        cells = [one[key] for one in summaries.values()]
        if cells[0] is not None:
            rows.append((label, *(_text(cell) if isinstance(cell, dict) else f"{cell}" for cell in cells)))
    width = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        f"{result['benchmark']}",
        f"{result['rounds']} rounds of {result['window_s']:g} s, {result['machine']}",
    ]
    lines += ["  ".join(cell.ljust(size) for cell, size in zip(row, width, strict=True)).rstrip() for row in rows]
    for name, ratio in result["cpu_ratio"].items():
        added = result["added_latency_ms"][name]
        lines.append(
            f"{name} / {BASE}: ratio of CPU {_text(ratio)}; "
            f"added latency p50 {added['p50']:+g} ms, p99 {added['p99']:+g} ms"
        )
    return "\n".join(lines)


def _text(spread: dict) -> str:
    return f"{spread['median']:g} ({spread['min']:g}..{spread['max']:g})"


def _spread(values: list[float], digits: int) -> dict:
    return {
        "median": round(statistics.median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
        "rounds": [round(value, digits) for value in values],
    }


def _percentile(values: list[float], percent: int) -> float:
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def fail(error: Exception) -> int:
    """Say why there is no result."""
    print(f"benchmark: {error}", file=sys.stderr)  # noqa: T201 - a benchmark prints
    return 1
