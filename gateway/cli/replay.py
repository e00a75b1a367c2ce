"""``linegate replay``: runs a recording through the rules of a configuration, and shows what would be different."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.cli.hours import hours_of
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse

    from config.settings import Settings
    from gateway.trial.recording import Recording
    from gateway.trial.replay import Difference, Result

COLUMN: Final = 18


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``replay``."""
    parser = commands.add_parser(
        "replay",
        help="run a recording through rules, and compare",
        description="Runs a file of linegate record through the rules of a configuration, in no time and without a "
        "machine: counts, states, confirmations. With --against: the difference to other rules, and where it begins.",
    )
    parser.add_argument("recording", type=Path, metavar="FILE", help="a file of linegate record")
    parser.add_argument("--config", "-c", type=Path, required=True, metavar="NEW", help="configuration with the rules")
    parser.add_argument("--against", type=Path, metavar="OLD", help="configuration to compare with")
    parser.add_argument("--json", action="store_true", help="print the result for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 replayed, different or not; 1 where it cannot be."""
    from gateway.cli.config import load_or_complain
    from gateway.trial.machine import TooMuchError
    from gateway.trial.recording import RecordingError, lines_of, parsed
    from gateway.trial.replay import machines_in

    new = load_or_complain(args.config)
    old = None if args.against is None else load_or_complain(args.against)
    if new is None or (args.against is not None and old is None):
        return 1
    try:
        with args.recording.open(encoding="utf-8", errors="replace") as file:
            recording = parsed(lines_of(file), str(args.recording))
        names = machines_in(recording, new.work_units)
        results = {name: _machine(recording, name, new, old) for name in names}
    except OSError as error:
        print(f"linegate: {args.recording}: cannot be read: {error.strerror}", file=sys.stderr)
        return 1
    except (RecordingError, TooMuchError) as error:
        print(clean(f"linegate: {error}", 2000), file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps({"recording": _about(recording), "machines": results}, indent=2))
    else:
        _print(recording, results)
    return 0


def _machine(recording: Recording, name: str, new: Settings, old: Settings | None) -> dict[str, Any]:
    from gateway.trial.replay import began_ns, first_difference, replayed

    after = replayed(recording, name, new.work_units[name], hours_of(new, name))
    result: dict[str, Any] = {"new": _plain(after)}
    if old is not None and name not in old.work_units:
        result["note"] = f"{old.file} has no work unit {name}"
    elif old is not None:
        before = replayed(recording, name, old.work_units[name], hours_of(old, name))
        result["old"] = _plain(before)
        found = first_difference(before.ended, after.ended, began_ns(recording))
        result["same"] = found is None and result["old"] == result["new"]
        result["first_difference"] = None if found is None else _difference(found, recording)
    return result


def _plain(result: Result) -> dict[str, Any]:
    durations = {state.value: ns for state, ns in result.durations_ns.items()}
    return {"numbers": dict(result.numbers), "states_ns": durations, "unread": list(result.unread)}


def _difference(found: Difference, recording: Recording) -> dict[str, Any]:
    from gateway.core.document import utc
    from gateway.trial.replay import began_ns

    return {
        "at": utc(found.at_ns + recording.utc_offset_ns),
        "at_ns": found.at_ns,
        "after_ns": found.at_ns - began_ns(recording),
        "old": found.before,
        "new": found.after,
        "timeline": list(found.timeline),
    }


def _about(recording: Recording) -> dict[str, Any]:
    header = recording.header
    about = {key: value for key, value in header._asdict().items() if key != "state"}
    about["utc_offset_ns"] = recording.utc_offset_ns
    return {**about, "inputs": len(recording.inputs), "ended_ns": recording.ended_ns, "ended": recording.ended}


def _print(recording: Recording, results: dict[str, dict[str, Any]]) -> None:
    from gateway.core.document import utc

    header, offset_ns = recording.header, recording.utc_offset_ns
    began, ended = utc(header.started_ns + offset_ns), utc(recording.ended_ns + offset_ns)
    print(clean(f"{header.kind} {header.name}, {began} to {ended}, {len(recording.inputs)} inputs, {recording.ended}"))
    for name, result in results.items():
        print()
        print(name)
        for line in _table(result):
            print(clean(line, 200))


def _table(result: dict[str, Any]) -> list[str]:
    from gateway.trial.telling import length, moment

    new, old = result["new"], result.get("old")
    rows = [("", "old", "new", "difference")] if old else [("", "new", "", "")]
    for key, value in new["numbers"].items():
        before = old["numbers"][key] if old else None
        if value or before:
            rows.append(_row(key.replace("_", " "), value, before, str))
    for state in dict.fromkeys([*(old["states_ns"] if old else {}), *new["states_ns"]]):
        before = old["states_ns"].get(state, 0) if old else None
        rows.append(_row(state, new["states_ns"].get(state, 0), before, length))
    lines = [f"  {first:<{COLUMN}}{a:>{COLUMN}}{b:>{COLUMN}}{c:>{COLUMN}}".rstrip() for first, a, b, c in rows]
    lines += [f"  not in the recording: {signal}, which the rules read" for signal in new["unread"]]
    lines += [f"  {result['note']}"] if "note" in result else []
    found = result.get("first_difference")
    if found:
        lines.append(f"  first difference at {found['at']}, {moment(found['after_ns'])} after the beginning:")
        lines += [f"    {which}: {found[which] or 'nothing'}" for which in ("old", "new")]
        lines += [f"    {line}" for line in found["timeline"]]
    elif result.get("same"):
        lines.append("  no difference")
    return lines


def _row(name: str, new: int, old: int | None, shown: Any) -> tuple[str, str, str, str]:
    if old is None:
        return (name, shown(new), "", "")
    sign = "+" if new > old else "-"
    return (name, shown(old), shown(new), "" if new == old else f"{sign}{shown(abs(new - old))}")
