"""Findings of a measurement as lines for a person, and as a document for programs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.commission.findings import Findings, Spread, Sureness
from gateway.commission.view import flow, length_text

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES: Final = {
    "pulses": "pulses",
    "edges": "edges",
    "bounce_edges": "of them bounce",
    "bounce_ns": "longest bounce",
    "missed": "parts without a pulse",
    "width": "pulse width",
    "gap": "gap between pulses",
    "cycle": "pulse to pulse",
    "counts": "counts",
    "changes": "changes of the value",
    "largest_step": "largest step",
    "interval": "change to change",
    "rollover": "rolled over at",
    "resets": "resets",
    "jumps": "jumps",
    "dropouts": "zero reads that came back",
    "late": "late answers, counts behind",
}
SURE_TEXT: Final = {
    Sureness.SURE: "sure: the count fits and nothing speaks against it",
    Sureness.FAIR: "fairly sure: read the remarks, and measure 10 parts or more",
    Sureness.UNSURE: "not sure: read the doubts before using it",
}
NAME_WIDTH: Final = 28


def lines(found: Findings) -> Iterator[str]:
    """What a person reads: measurements, remarks, the proposal, how sure it is."""
    made = f", {found.parts} parts made" if found.parts is not None else ""
    counted = "pulses" if found.kind == "pulse" else "counts"
    yield f"{found.signal}: {found.counted} {counted}{made}"
    for key, value in found.measured.items():
        if value is None or (value in (0, []) and key not in ("missed", "bounce_edges")):
            continue
        yield f"  {NAMES[key]:<{NAME_WIDTH}}{_measured(key, value)}".rstrip()
    yield from (f"  note: {remark}" for remark in found.remarks)
    yield from (f"  doubt: {doubt}" for doubt in found.doubts)
    if not found.rule:
        return
    yield ""
    yield f"proposal ({SURE_TEXT[found.sure]})"
    if found.source:
        yield f"  sources: {found.signal.partition('.')[0]}:"
        yield from (f"    {key}: {value}" for key, value in found.source.items())
    yield "  work_units: NAME:"
    if found.ideal_cycle_ns is not None:
        yield f"    ideal_cycle: {found.ideal_cycle_ns} # as seen here; the machine's data sheet knows better"
    yield "    counters:"
    yield f"      - {flow(found.rule)}"


def document(found: Findings) -> dict[str, Any]:
    """For programs; lengths in nanoseconds, spreads as least, median and most."""
    return {
        "kind": found.kind,
        "signal": found.signal,
        "counted": found.counted,
        "parts": found.parts,
        "sure": found.sure.value,
        "measured": {
            (f"{key}_ns" if isinstance(value, Spread) else key): (
                {"least": value.least_ns, "median": value.median_ns, "most": value.most_ns}
                if isinstance(value, Spread)
                else value
            )
            for key, value in found.measured.items()
        },
        "remarks": list(found.remarks),
        "doubts": list(found.doubts),
        "proposal": {
            "source": found.source,
            "ideal_cycle": None if found.ideal_cycle_ns is None else str(found.ideal_cycle_ns),
            "counter": found.rule,
        },
    }


def _measured(key: str, value: Any) -> str:
    if isinstance(value, Spread):
        texts = [length_text(length) for length in value]
        return f"{texts[0]} to {texts[2]}, usually {texts[1]}"
    if key.endswith("_ns"):
        return length_text(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
