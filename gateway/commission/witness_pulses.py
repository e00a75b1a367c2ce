"""What a digital signal did while parts were made: pulses, gaps, bounce, missed edges. Pure; times in nanoseconds."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.commission.findings import Findings, Spread, Sureness, sureness_of
from gateway.commission.nice import down, two_digits_down, within
from gateway.core.duration import NS_PER_UNIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.duration import Duration

MS: Final = NS_PER_UNIT["ms"]
#: Levels longer than this are never taken for bounce.
BOUNCE_MAX_NS: Final = 500 * MS
#: Thresholds that are tried; more different lengths than this and only the shortest are looked at.
THRESHOLDS_MAX: Final = 256
#: Without any bounce the core's usual debounce is kept, unless the pulses are nearly as short.
DEBOUNCE_USUAL_NS: Final = 5 * MS
DEBOUNCE_SHARE: Final = 4
#: Bounce and pulses this far apart (as a ratio) cannot be taken for each other.
CLEAR_RATIO: Final = 4.0
#: Ratios count from here: the finest step of the stamps.
RATIO_FROM_NS: Final = MS // 1_000
#: min_cycle keeps this distance from the shortest cycle seen.
MIN_CYCLE_SHARE: Final = 2
#: Cycles this much longer than usual may hide a missed part.
GAP_FACTOR: Final = 1.7
#: A level must be seen this often to be surely seen, and is worth this many scans in the proposal.
SCANS_PER_LEVEL: Final = 2
SCANS_PROPOSED: Final = 3
SCAN_MIN_NS: Final = 10 * MS
SCAN_MAX_NS: Final = 1_000 * MS


class Level(NamedTuple):
    """A sampled level and when it was seen."""

    t_ns: int
    high: bool


class Pulse(NamedTuple):
    """One accepted pulse; ``fall_ns`` is None while it lasts."""

    rise_ns: int
    fall_ns: int | None


class _Run(NamedTuple):
    high: bool
    start_ns: int
    length_ns: int


class _Plateau(NamedTuple):
    """Every debounce above ``low_ns`` and up to ``high_ns`` counts the same, and no level is between the two."""

    low_ns: int
    high_ns: int
    pulses: int

    @property
    def ratio(self) -> float:
        return self.high_ns / max(self.low_ns, RATIO_FROM_NS)


class PulseStudy(NamedTuple):
    """What was measured; the runs before any debouncing, the pulses after it."""

    pulses: tuple[Pulse, ...]
    edges: int
    bounce_edges: int
    bounce_ns: int
    plateau_ratio: float
    debounce_ns: Duration
    min_cycle_ns: Duration | None
    width: Spread | None
    gap: Spread | None
    cycle: Spread | None
    late: tuple[int, ...]
    idle_high: bool


def study(levels: Sequence[Level], end_ns: int, parts: int | None) -> PulseStudy | None:
    """Measure; None where the signal never rose. ``levels`` in order of time, repeated levels are no edges."""
    runs = _runs(levels, end_ns)
    plateau = _choose(_plateaus(runs), parts)
    if plateau is None:
        return None
    debounce = _debounce(plateau)
    pulses = _pulses(runs, debounce)
    min_cycle = None
    if parts is not None and len(pulses) > parts:
        pulses, min_cycle = _with_min_cycle(pulses, parts, debounce)
    periods = [after.rise_ns - before.rise_ns for before, after in pairwise(pulses)]
    widths = [pulse.fall_ns - pulse.rise_ns for pulse in pulses if pulse.fall_ns is not None]
    gaps = [after.rise_ns - before.fall_ns for before, after in pairwise(pulses) if before.fall_ns is not None]
    cycle = Spread.of(periods)
    if min_cycle is None and cycle is not None and cycle.least_ns // MIN_CYCLE_SHARE > debounce:
        min_cycle = down(cycle.least_ns // MIN_CYCLE_SHARE)
    usual = median(periods) if periods else 0
    edges = len(runs) - 1
    high_ns = sum(run.length_ns for run in runs if run.high)
    return PulseStudy(
        pulses=tuple(pulses),
        edges=edges,
        bounce_edges=edges - _edges_left(runs, debounce),
        bounce_ns=plateau.low_ns,
        plateau_ratio=plateau.ratio,
        debounce_ns=debounce,
        min_cycle_ns=min_cycle if min_cycle is not None and min_cycle > debounce else None,
        width=Spread.of(widths),
        gap=Spread.of(gaps),
        cycle=cycle,
        late=tuple(
            pulse.rise_ns for pulse, period in zip(pulses[1:], periods, strict=True) if period > GAP_FACTOR * usual
        ),
        idle_high=2 * high_ns > sum(run.length_ns for run in runs),
    )


def findings(signal: str, levels: Sequence[Level], end_ns: int, parts: int | None, resolution_ns: int) -> Findings:
    """The proposal for a digital signal. ``resolution_ns``: time between two samples, 0 where every edge is stamped."""
    found = study(levels, end_ns, parts)
    if found is None:
        return Findings.nothing(
            "pulse",
            signal,
            "no edge from low to high was seen",
            "watch the sensor's lamp: if it blinks, check wiring, pin or address and active_low; if it does not, the "
            "sensor",
        )
    count = len(found.pulses)
    rule: dict[str, Any] = {"mode": "pulse", "signal": signal, "role": "good"}
    remarks: list[str] = []
    doubts: list[str] = []
    pieces = _pieces(count, parts, found, remarks, doubts)
    if pieces > 1:
        rule["pieces"] = pieces
    rule["debounce"] = str(found.debounce_ns)
    if found.min_cycle_ns is not None:
        rule["min_cycle"] = str(found.min_cycle_ns)
    source: dict[str, Any] = {}
    shortest = min((spread.least_ns for spread in (found.width, found.gap) if spread is not None), default=None)
    if resolution_ns and shortest is not None:
        source["scan"] = str(down(min(max(shortest // SCANS_PROPOSED, SCAN_MIN_NS), SCAN_MAX_NS)))
        if shortest < SCANS_PER_LEVEL * resolution_ns:
            doubts.append(
                f"a level lasted no longer than two samples ({shortest // MS} ms, one every {resolution_ns // MS} ms): "
                f"shorter pulses were missed without a trace; measure again with scan: {source['scan']}"
            )
        if shortest // SCANS_PROPOSED < SCAN_MIN_NS:
            doubts.append("pulses this short cannot be sampled surely; use a counter in the PLC, or a digital input")
    if found.plateau_ratio < CLEAR_RATIO:
        doubts.append(
            f"bounce (up to {found.bounce_ns / MS:.3g} ms) and real levels are close together: debounce is a guess"
        )
    if found.bounce_edges:
        remarks.append(
            f"the contact bounces: {found.bounce_edges} of {found.edges} edges, up to {found.bounce_ns / MS:.3g} ms"
        )
    if found.idle_high:
        remarks.append("the signal rests high: with a normally closed sensor set active_low, or count edge: falling")
    sure = sureness_of(count * pieces if parts is not None else None, parts, doubts)
    return Findings(
        kind="pulse",
        signal=signal,
        counted=count,
        parts=parts,
        sure=sure if parts is None or pieces * count == parts else Sureness.UNSURE,
        rule=rule,
        source=source,
        ideal_cycle_ns=two_digits_down(found.cycle.least_ns) if found.cycle is not None else None,
        measured={
            "pulses": count,
            "edges": found.edges,
            "bounce_edges": found.bounce_edges,
            "bounce_ns": found.bounce_ns,
            "missed": max(0, parts - count * pieces) if parts is not None else None,
            "width": found.width,
            "gap": found.gap,
            "cycle": found.cycle,
        },
        remarks=tuple(remarks),
        doubts=tuple(doubts),
    )


def _pieces(count: int, parts: int | None, found: PulseStudy, remarks: list[str], doubts: list[str]) -> int:
    if parts is None:
        doubts.append("nobody said how many parts were made: repeat with --parts to be sure that none is missed")
        return 1
    if count == parts:
        return 1
    if count and parts % count == 0:
        remarks.append(f"{parts} parts made {count} pulses: {parts // count} parts a pulse")
        return parts // count
    if count < parts:
        where = f"; {len(found.late)} cycles were unusually long" if found.late else ""
        doubts.append(
            f"{parts - count} of {parts} parts made no pulse{where}: check the sensor's position, and whether pulses "
            f"are shorter than what can be seen here"
        )
    else:
        doubts.append(
            f"{count} pulses for {parts} parts: {count - parts} too many; a second edge per part, or parts that nobody "
            f"counted"
        )
    return 1


def _runs(levels: Sequence[Level], end_ns: int) -> list[_Run]:
    edges: list[Level] = []
    for level in levels:
        if not edges or edges[-1].high != level.high:
            edges.append(level)
    ends = [edge.t_ns for edge in edges[1:]] + [max(end_ns, edges[-1].t_ns)] if edges else []
    return [_Run(edge.high, edge.t_ns, end - edge.t_ns) for edge, end in zip(edges, ends, strict=True)]


def _accepted(runs: Sequence[_Run], debounce_ns: int) -> list[_Run]:
    """The levels that the core would believe; the first one is known before the measurement."""
    believed: list[_Run] = list(runs[:1])
    for run in runs[1:]:
        if run.high != believed[-1].high and run.length_ns >= debounce_ns:
            believed.append(run)
    return believed


def _edges_left(runs: Sequence[_Run], debounce_ns: int) -> int:
    return len(_accepted(runs, debounce_ns)) - 1


def _pulses(runs: Sequence[_Run], debounce_ns: int) -> list[Pulse]:
    believed = _accepted(runs, debounce_ns)
    ends: list[int | None] = [run.start_ns for run in believed[1:]]
    ends.append(None)
    return [
        Pulse(run.start_ns, end) for at, (run, end) in enumerate(zip(believed, ends, strict=True)) if at and run.high
    ]


def _plateaus(runs: Sequence[_Run]) -> list[_Plateau]:
    lengths = sorted({run.length_ns for run in runs[1:-1] if run.length_ns <= BOUNCE_MAX_NS})[:THRESHOLDS_MAX]
    longer = [run.length_ns for run in runs[1:] if run.length_ns > (lengths[-1] if lengths else 0)]
    # Beyond the last one everything up to the shortest long level counts the same.
    bounds = [0, *lengths, min([*longer, BOUNCE_MAX_NS])]
    found: list[_Plateau] = []
    for low, high in pairwise(bounds):
        count = len(_pulses(runs, low + 1))
        if found and found[-1].pulses == count:
            # The shorter levels change nothing, and still are bounce.
            found[-1] = found[-1]._replace(low_ns=low, high_ns=high)
        elif high > low:
            found.append(_Plateau(low, high, count))
    return [plateau for plateau in found if plateau.pulses]


def _choose(plateaus: Sequence[_Plateau], parts: int | None) -> _Plateau | None:
    fitting = [plateau for plateau in plateaus if plateau.pulses == parts]
    return max(fitting or plateaus, key=lambda plateau: plateau.ratio, default=None)


def _debounce(plateau: _Plateau) -> Duration:
    wish = math.sqrt(max(plateau.low_ns, 1) * plateau.high_ns)
    if plateau.low_ns < DEBOUNCE_USUAL_NS <= plateau.high_ns // DEBOUNCE_SHARE:
        wish = max(DEBOUNCE_USUAL_NS, min(wish, 2 * plateau.low_ns))
    elif not plateau.low_ns:
        wish = plateau.high_ns // DEBOUNCE_SHARE
    return within(plateau.low_ns, plateau.high_ns, wish)


def _with_min_cycle(pulses: list[Pulse], parts: int, debounce_ns: int) -> tuple[list[Pulse], Duration | None]:
    """Leave out what follows too soon, where one pause between two counts gives exactly the parts."""
    periods = sorted({after.rise_ns - before.rise_ns for before, after in pairwise(pulses)})
    for low, high in pairwise(periods[: THRESHOLDS_MAX + 1]):
        kept = [pulses[0]]
        for pulse in pulses[1:]:
            if pulse.rise_ns - kept[-1].rise_ns > low:
                kept.append(pulse)
        if len(kept) == parts and high > low * 2:
            chosen = within(max(low, debounce_ns), high, math.sqrt(low * high))
            return kept, chosen
    return pulses, None
