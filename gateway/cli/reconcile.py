"""``linegate reconcile``: what this gateway confirmed against what the ERP says it has booked."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from gateway.cli import person, state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``reconcile``."""
    parser = commands.add_parser(
        "reconcile",
        help="compare what was confirmed with what the ERP has booked",
        description="Asks the ERP what it has booked of each operation and says what differs, and what is proposed. "
        "Nothing is repaired.",
    )
    parser.add_argument("order", nargs="?", default="", help="only this order")
    parser.add_argument("operation", nargs="?", default="", help="with --accept: only this operation")
    parser.add_argument("--reports", action="store_true", help="list the last reports instead, compare nothing")
    parser.add_argument(
        "--accept",
        action="store_true",
        help="take over what the last report of ORDER and OPERATION found to be confirmed in the ERP; nothing is sent",
    )
    parser.add_argument("--reason", default="", metavar="TEXT", help="with --accept: why; stored with your name")
    parser.add_argument("--json", action="store_true", help="print for programs")
    state_dir.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 nothing differs, 1 something does or it was refused, 3 where no gateway runs."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    if args.accept and not (args.order and args.operation and args.reason):
        print("linegate: reconcile --accept: ORDER, OPERATION and --reason are needed", file=sys.stderr)
        return 2
    try:
        if args.accept:
            names = {"order": args.order, "operation": args.operation, "reason": args.reason}
            print(clean(call(where, "reconcile.accept", who=person.name(), **names), 2000))
            return 0
        if args.reports:
            return _listed(call(where, "reconcile.reports")["reports"], as_json=args.json)
        found = call(where, "reconcile", order=args.order)
    except ControlError as error:
        return state_dir.complain(error)
    if args.json:
        print(json.dumps(found))
    else:
        for one in found["findings"]:
            name = f"order {one['order']} operation {one['operation']}"
            print(clean(f"{one['code']}: {name}: {one['text']}; proposed: {one['proposed']}", 2000))
        for text in found["not_compared"]:
            print(clean(f"not compared: {text}", 2000))
        print(f"{found['compared']} operations compared, {len(found['findings'])} findings")
    return 1 if found["findings"] else 0


def _listed(reports: list[dict[str, Any]], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(reports))
        return 0
    for one in reports:
        counts = ", ".join(f"{code} {number}" for code, number in one["counts"].items()) or "nothing differs"
        print(clean(f"{one['number']:>6} {one['at']} {one['cause']:<8} {one['compared']} compared: {counts}", 2000))
    return 0
