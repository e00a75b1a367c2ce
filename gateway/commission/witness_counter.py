"""What a counter did while parts were made: steps, roll-over, resets, jumps, pace. Pure; times in nanoseconds."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.commission.findings import Findings, Spread, Sureness, sureness_of
from gateway.commission.nice import down, rate_up, two_digits_down
from gateway.core.duration import NS_PER_UNIT

if TYPE_CHECKING:
    from collections.abc import Sequence

MS: Final = NS_PER_UNIT["ms"]
#: Where counters start again at 0: 8, 16, 32 bit and decimal displays.
MODULI: Final = (256, 10_000, 32_768, 65_536, 100_000, 1_000_000, 2**31, 2**32)
#: A fall from the last tenth to the first tenth of a range is a roll-over.
ROLLOVER_SHARE: Final = 10
#: A value so little behind that comes back is a late answer.
LATE_MAX: Final = 3
#: A step this many times the usual one, and at least this large, is a jump.
JUMP_FACTOR: Final = 5
JUMP_MIN: Final = 10
#: max_rate keeps this distance from the fastest that was seen.
RATE_MARGIN: Final = 1.5
SCAN_MIN_NS: Final = 10 * MS
SCAN_MAX_NS: Final = 1_000 * MS
SCANS_PER_STEP: Final = 2
#: With fewer samples in a cycle its time is not taken from a single one.
SAMPLES_PER_CYCLE: Final = 10
#: A cycle this much longer than usual had a stop in it.
STOP_FACTOR: Final = 1.7
#: Off by this much with enough parts is the part that was under way at the beginning or at the end.
UNDER_WAY: Final = 1
UNDER_WAY_PARTS: Final = 5


class Sample(NamedTuple):
    """A sampled value and when it was seen."""

    t_ns: int
    value: int


class CounterStudy(NamedTuple):
    """What was measured. ``steps`` are forward moves with the time since the one before (0: the first)."""

    steps: tuple[tuple[int, int], ...]
    rollover: int | None
    resets: tuple[Sample, ...]
    jumps: tuple[int, ...]
    dropouts: int
    late: int
    interval: Spread | None

    @property
    def counted(self) -> int:
        """Counts forward, jumps left out."""
        return sum(step for step, _ in self.steps) - sum(self.jumps)


def study(samples: Sequence[Sample]) -> CounterStudy:
    """Measure; samples in order of time."""
    steps: list[tuple[int, int]] = []
    resets: list[Sample] = []
    rollover: int | None = None
    dropouts = late = 0
    moved_ns: int | None = None
    before = samples[0].value if samples else 0
    for at, sample in enumerate(samples[1:], start=1):
        if sample.value == before:
            continue
        step = sample.value - before
        if step < 0:
            if (modulus := rolled(before, sample.value)) is not None:
                rollover, step = modulus, step + modulus
            elif (comes_back := _comes_back(samples, at, before)) and sample.value == 0:
                dropouts += samples[at - 1].value != 0
                continue
            elif comes_back and -step <= LATE_MAX:
                late = max(late, -step)
                continue
            else:
                resets.append(sample)
                # What it counted since it was at 0 belongs to this measurement.
                step = sample.value
        if step:
            steps.append((step, 0 if moved_ns is None else sample.t_ns - moved_ns))
        moved_ns, before = sample.t_ns, sample.value
    sizes = [step for step, _ in steps]
    limit = max(JUMP_MIN, JUMP_FACTOR * median(sizes)) if sizes else 0
    return CounterStudy(
        steps=tuple(steps),
        rollover=rollover,
        resets=tuple(resets),
        jumps=tuple(size for size in sizes if size > limit),
        dropouts=dropouts,
        late=late,
        interval=Spread.of([since_ns for _, since_ns in steps if since_ns]),
    )


def findings(
    signal: str, samples: Sequence[Sample], parts: int | None, resolution_ns: int, modulus: int | None
) -> Findings:
    """The proposal for a counter. ``modulus``: from its data type, None where it is not known."""
    found = study(samples)
    counted = found.counted
    if counted <= 0:
        return Findings.nothing(
            "counter",
            signal,
            f"the value never rose (it stayed at {samples[-1].value})" if samples else "no value came",
            "compare it with the display while parts are made; to find the right register: linegate watch, linegate "
            "decode",
        )
    remarks: list[str] = []
    doubts: list[str] = []
    rule: dict[str, Any] = {"mode": "counter", "signal": signal, "role": "good"}
    pieces = _pieces(counted, parts, remarks, doubts)
    if pieces > 1:
        rule["pieces"] = pieces
    if (rolls_at := found.rollover or modulus) is not None:
        rule["modulus"] = rolls_at
    rate = _fastest(found)
    if rate is not None:
        rule["max_rate"] = str(rate_up(rate[0] * RATE_MARGIN, rate[1]))
    if found.late:
        rule["jitter"] = found.late
    _tell(found, remarks, doubts)
    source: dict[str, Any] = {}
    ideal = None
    if rate is not None:
        per_count = rate[1] / rate[0]
        ideal = two_digits_down(_usual_ns(found) if resolution_ns * SAMPLES_PER_CYCLE > per_count else per_count)
        scan = down(min(max(per_count / SCANS_PER_STEP, SCAN_MIN_NS), SCAN_MAX_NS))
        source["scan"] = str(scan)
        if resolution_ns > per_count / SCANS_PER_STEP and any(step > 1 for step, _ in found.steps):
            remarks.append(f"several counts came between two samples; single cycles are seen with scan: {scan}")
    fits = parts is None or counted * pieces == parts
    return Findings(
        kind="counter",
        signal=signal,
        counted=counted,
        parts=parts,
        sure=sureness_of(counted * pieces, parts, doubts) if fits else Sureness.UNSURE,
        rule=rule,
        source=source,
        ideal_cycle_ns=ideal,
        measured={
            "counts": counted,
            "changes": len(found.steps),
            "largest_step": max(step for step, _ in found.steps),
            "interval": found.interval,
            "rollover": found.rollover,
            "resets": len(found.resets),
            "jumps": list(found.jumps),
            "dropouts": found.dropouts,
            "late": found.late,
        },
        remarks=tuple(remarks),
        doubts=tuple(doubts),
    )


def _pieces(counted: int, parts: int | None, remarks: list[str], doubts: list[str]) -> int:
    if parts is None:
        doubts.append("nobody said how many parts were made: repeat with --parts to know what one count means")
        return 1
    if counted == parts:
        return 1
    if parts % counted == 0:
        remarks.append(f"{parts} parts made {counted} counts: {parts // counted} pieces a count")
        return parts // counted
    if abs(counted - parts) <= UNDER_WAY and parts >= UNDER_WAY_PARTS:
        doubts.append(
            f"{counted} counts for {parts} parts: off by one; was a part under way at the beginning or the end? "
            f"Measure again from standstill to standstill"
        )
    elif counted % parts == 0:
        doubts.append(
            f"{counted} counts for {parts} parts: {counted // parts} counts a part. This is no piece counter (strokes? "
            f"length?); look for another register, or have the PLC count pieces"
        )
    else:
        doubts.append(
            f"{counted} counts for {parts} parts do not fit: is it this machine's counter, and good or total?"
        )
    return 1


def _tell(found: CounterStudy, remarks: list[str], doubts: list[str]) -> None:
    if found.rollover is not None:
        remarks.append(f"it rolled over at {found.rollover}")
    if found.resets:
        doubts.append(
            f"it was reset {len(found.resets)} times (last to {found.resets[-1].value}); who resets it: a shift, an "
            f"order, a person? Name a boot counter as restart_evidence if the PLC restarted"
        )
    if found.jumps:
        doubts.append(f"it jumped by {', '.join(map(str, found.jumps))}; jumps are not counted here")
    if found.dropouts:
        doubts.append(
            f"it read 0 and came back {found.dropouts} times: a bad value that the device gives as good; such zeros "
            f"are waited for with confirm_samples: 1 (the default)"
        )
    if found.late:
        remarks.append(f"older values came late, up to {found.late} behind: jitter")


def _fastest(found: CounterStudy) -> tuple[int, int] | None:
    """Counts and time of the fastest interval, jumps left out."""
    usable = [(step, since_ns) for step, since_ns in found.steps if since_ns > 0 and step not in found.jumps]
    return max(usable, key=lambda one: one[0] / one[1], default=None)


def _usual_ns(found: CounterStudy) -> float:
    """Time of one count, from many of them: single ones are as rough as the sampling."""
    usable = [(step, since_ns) for step, since_ns in found.steps if since_ns > 0 and step not in found.jumps]
    limit_ns = STOP_FACTOR * median(since_ns / step for step, since_ns in usable)
    running = [(step, since_ns) for step, since_ns in usable if since_ns / step <= limit_ns]
    return sum(since_ns for _, since_ns in running) / sum(step for step, _ in running)


def rolled(before: int, now: int) -> int | None:
    """The modulus, where the fall from one value to the other looks like a roll-over; else None."""
    for modulus in MODULI:
        top, bottom = modulus - modulus // ROLLOVER_SHARE, modulus // ROLLOVER_SHARE
        if top <= before < modulus and 0 <= now < bottom:
            return modulus
    return None


def _comes_back(samples: Sequence[Sample], at: int, before: int) -> bool:
    """Whether the next different value goes on where it was."""
    value = samples[at].value
    later = next((sample.value for sample in samples[at + 1 :] if sample.value != value), None)
    return later is not None and 0 <= later - before <= max(JUMP_MIN, before // ROLLOVER_SHARE)
