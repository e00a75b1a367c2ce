"""What a machine did as lines for a person, and as a document for programs. Makes text only.

A ratio that cannot be is ``-`` and null, never 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.core.document import utc
from gateway.core.duration import NS_PER_S, NS_PER_UNIT
from gateway.core.state.interval import STOPS
from gateway.shown.machine_events import shift_and_day

if TYPE_CHECKING:
    from fractions import Fraction

    from gateway.core.state.interval import StateInterval
    from gateway.core.state.report import Group
    from gateway.shown.states_read import StatesFound

NS_PER_MS: Final = NS_PER_UNIT["ms"]
RATIO_DIGITS: Final = 6
_ELEMENTS: Final = ("apt", "aust", "adet", "adot", "pdot", "unk", "outside")
_SUMS: Final = ("pot", "pbt", "aupt", "aubt")
_PARTS: Final = ("overtime", "unallocated", "micro_stop", "estimated", "speed_loss")


def lines(found: StatesFound, *, sums_only: bool = False) -> list[str]:
    """The listing, then the sums, then what goes on now."""
    text: list[str] = []
    if not sums_only:
        text = [f"{'FROM':<24} {'LENGTH':>11}  {'STATE':<14} {'TIME':<7} {'ORDER':<16} REASON"]
        text += [_interval_line(*one) for one in zip(found.row, found.elements, strict=True)] + [""]
    text.append(_group_header(found.by.value))
    text += [_group_line(group) for group in found.groups]
    text += _notes(found)
    now = found.now
    text += ["", f"{found.work_unit}: {now.state.value} since {utc(now.since_ns)}; final up to {utc(now.final_ns)}"]
    return text


def document(found: StatesFound, *, sums_only: bool = False) -> dict[str, Any]:
    """The same for programs: times in UTC, lengths in milliseconds, ratios with six digits or null."""
    now = found.now
    whole: dict[str, Any] = {
        "work_unit": found.work_unit,
        "from": utc(found.row[0].from_ns),
        "to": utc(found.row[-1].to_ns),
        "by": found.by.value,
        "groups": [_group(group) for group in found.groups],
        "now": {
            "state": now.state.value,
            "since": utc(now.since_ns),
            "at": utc(now.at_ns),
            "final_up_to": utc(now.final_ns),
        },
    }
    if not sums_only:
        whole["intervals"] = [_interval(*one) for one in zip(found.row, found.elements, strict=True)]
    return whole


def stops(found: StatesFound) -> list[dict[str, Any]]:
    """The stops among the intervals as people see them: each part of one that was split is one of its own."""
    return [
        _interval(one, element) for one, element in zip(found.row, found.elements, strict=True) if one.state in STOPS
    ]


def _interval_line(found: StateInterval, element: str) -> str:
    order = f"{found.order}/{found.operation}" if found.order is not None else "-"
    marks = ("reduced_speed", "estimated", "overtime")
    notes = [
        " by ".join(filter(None, (found.reason, found.reason_source))),
        *(mark.replace("_", " ") for mark in marks if getattr(found, mark)),
        f"amended: {found.amended}" if found.amended else "",
    ]
    return (
        f"{utc(found.from_ns):<24} {_length(found.length_ns):>11}  {found.state.value:<14} {element:<7} {order:<16} "
        f"{', '.join(filter(None, notes))}"
    ).rstrip()


def _interval(found: StateInterval, element: str) -> dict[str, Any]:
    shift, day = shift_and_day(found.shift)
    return {
        "from": utc(found.from_ns),
        "to": utc(found.to_ns),
        "duration_ms": found.length_ns // NS_PER_MS,
        "state": found.state.value,
        "element": element,
        "reason": found.reason,
        "reason_source": found.reason_source,
        "alarms": list(found.alarms),
        "stop_since": utc(found.stop_from_ns),
        "order": found.order,
        "operation": found.operation,
        "shift": shift,
        "production_day": day,
        "planned": None if found.planned is None else found.planned.value,
        "reduced_speed": found.reduced_speed,
        "speed_loss_ms": found.speed_loss_ns // NS_PER_MS,
        "estimated": found.estimated,
        "overtime": found.overtime,
        "amended": found.amended,
    }


def _group_header(by: str) -> str:
    times = "".join(f"{name.upper():>11}" for name in _ELEMENTS[:-1])
    return f"{by.upper():<20}{times}  {'GOOD':>7} {'SCRAP':>6} {'AVAIL':>6} {'EFFECT':>6} {'QUAL':>6} {'OEE':>6}"


def _group_line(group: Group) -> str:
    times = "".join(f"{_length(getattr(group.times, f'{name}_ns')):>11}" for name in _ELEMENTS[:-1])
    kpis = group.kpis
    shown = (kpis.availability, kpis.effectiveness, kpis.quality_ratio, kpis.oee)
    ratios = " ".join(f"{_percent(value):>6}" for value in shown)
    return f"{group.name or '-':<20}{times}  {group.quantities.good:>7} {group.quantities.scrap:>6} {ratios}"


def _notes(found: StatesFound) -> list[str]:
    notes = [
        f"{group.name or '-'}: only {_percent(group.kpis.coverage)} of its planned busy time is known"
        for group in found.groups
        if group.kpis.uncertain
    ]
    missing = [
        group.name or "-"
        for group in found.groups
        if group.times.apt_ns and group.quantities.produced and group.kpis.effectiveness is None
    ]
    if missing:
        notes.append(
            f"no effectiveness and OEE for {', '.join(missing)}: the planned time of a piece is not known; set "
            "ideal_cycle, or have the order bring it"
        )
    return notes


def _group(group: Group) -> dict[str, Any]:
    times, kpis = group.times, group.kpis
    lengths = {f"{name}_ms": getattr(times, f"{name}_ns") // NS_PER_MS for name in (*_ELEMENTS, *_SUMS, *_PARTS)}
    ratios = {name: value for name, value in kpis._asdict().items() if not isinstance(value, bool)}
    return {
        "name": group.name,
        "from": utc(group.from_ns),
        "to": utc(group.to_ns),
        "times": lengths,
        "quantities": {**group.quantities._asdict(), "produced": group.quantities.produced},
        "kpis": {name: _rounded(value) for name, value in ratios.items()},
        "over_speed": kpis.over_speed,
        "uncertain": kpis.uncertain,
    }


def _length(length_ns: int) -> str:
    whole_s, rest_ns = divmod(length_ns, NS_PER_S)
    tenth = rest_ns // (NS_PER_S // 10)
    return f"{whole_s // 3600}:{whole_s % 3600 // 60:02d}:{whole_s % 60:02d}.{tenth}"


def _percent(value: Fraction | None) -> str:
    return "-" if value is None else f"{float(value * 100):.1f}%"


def _rounded(value: Fraction | None) -> float | None:
    return None if value is None else round(float(value), RATIO_DIGITS)
