"""``linegate machine``: what a person at a machine decides on, as a screen beside it shows it. Changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from gateway.cli import state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

SHOWN_CHARS_MAX: Final = 300


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``machine``."""
    parser = commands.add_parser(
        "machine",
        help="what a person at a machine decides on: orders, what is proposed, who works there, lots, reasons",
        description="Shows one machine as a screen beside it does: running orders, the queue, what is proposed, who "
        "works there, which lots are mounted, what can be undone, and the reasons that may be said.",
    )
    parser.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
    parser.add_argument("--json", action="store_true", help="print for programs")
    state_dir.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 after printing, 1 refused, with the reason, 3 where no gateway runs."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        found = call(where, "dispatch", machine=args.machine)
    except ControlError as error:
        return state_dir.complain(error)
    if args.json:
        print(json.dumps(found))
        return 0
    for line in _lines(found):
        print(clean(line, SHOWN_CHARS_MAX))
    return 0


def _lines(found: dict[str, Any]) -> Iterator[str]:
    why = f", {found['reason']}" if found["reason"] else ""
    yield f"{found['machine']}: {found['state']} since {found['state_since']}{why}{', setup' if found['setup'] else ''}"
    if found["reason_missing"]:
        yield f"  it has no reason: linegate reason {found['machine']} REASON"
    for name in ("running", "queue"):
        yield from (_job(name, one) for one in found[name])
    if (told := found["next"]) is not None:
        what = "proposed" if told["proposed"] else "waits"
        yield f"  {what:<10} {told['order']}/{told['operation']}: {told['text']}"
    yield from (f"  {'works here':<10} {one['person']}" for one in found["operators"])
    for one in found["lots"]:
        left = "" if one["left"] is None else f", {one['left']} left"
        yield f"  {'lot':<10} {one['feeder']}: {one['lot']} of {one['item']}{left}"
    yield from (f"  {'hold':<10} {one['scope']} {one['name']}: {one['reason']}" for one in found["holds"])
    if waiting := {role: number for role, number in found["unallocated"].items() if number}:
        yield f"  {'no order':<10} " + ", ".join(f"{number} {role}" for role, number in waiting.items())
    if (undo := found["undo"]) is not None:
        yield f"  {'undo':<10} {undo['verb']} by {undo['who']}, until {undo['until']}"
    for kind in ("stop", "scrap", "rework"):
        if named := found["reasons"][kind]:
            only = "" if found["reasons"]["only"] else " ..."
            yield f"  reasons of {kind}: {', '.join(named)}{only}"


def _job(name: str, job: dict[str, Any]) -> str:
    waits = f", waits for: {', '.join(job['waits_for'])}" if job["waits_for"] else ""
    made = f"{job['good']} good, {job['scrap']} scrap of {job['quantity']}"
    return f"  {name:<10} {job['order']}/{job['operation']}  {job['state']}  {made}{waits}"
