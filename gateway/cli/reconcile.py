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
    parser.add_argument("operation", nargs="?", default="", help="with --accept and --settle: only this operation")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--reports", action="store_true", help="list the last reports instead, compare nothing")
    instead.add_argument("--report", type=int, metavar="NUMBER", help="show one report again, compare nothing")
    instead.add_argument(
        "--settle",
        action="store_true",
        help="you have dealt with what the last report found of ORDER and OPERATION: it is no finding any more; "
        "nothing is sent, no number changes, and another difference is found again",
    )
    instead.add_argument(
        "--accept",
        action="store_true",
        help="take over what the last report of ORDER and OPERATION found to be confirmed in the ERP; nothing is sent",
    )
    parser.add_argument(
        "--reason", default="", metavar="TEXT", help="with --accept and --settle: why; stored with your name"
    )
    parser.add_argument(
        "--finding",
        default="",
        metavar="WHICH",
        help="with --settle, where there are several: the code of one, or its identity (--json), each by itself",
    )
    parser.add_argument("--json", action="store_true", help="print for programs")
    state_dir.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 nothing differs that nobody has settled, 1 something does or it was refused, 3 where no gateway runs."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    verb = "accept" if args.accept else "settle" if args.settle else ""
    if verb and not (args.order and args.operation and args.reason):
        print(f"linegate: reconcile --{verb}: ORDER, OPERATION and --reason are needed", file=sys.stderr)
        return 2
    try:
        if verb:
            names = {"order": args.order, "operation": args.operation, "reason": args.reason}
            names |= {"finding": args.finding} if args.finding and args.settle else {}
            print(clean(call(where, f"reconcile.{verb}", who=person.name(), **names), 2000))
            return 0
        if args.reports:
            return _listed(call(where, "reconcile.reports")["reports"], as_json=args.json)
        if args.report is not None:
            found = call(where, "reconcile.reports", number=args.report)["reports"][0]
        else:
            found = call(where, "reconcile", order=args.order)
    except ControlError as error:
        return state_dir.complain(error)
    return _told(found, as_json=args.json)


def _told(found: dict[str, Any], *, as_json: bool) -> int:
    """1 where something differs that nobody has settled."""
    open_ = [one for one in found["findings"] if not one.get("settled")]
    if as_json:
        print(json.dumps(found))
        return 1 if open_ or found["left_out"] else 0
    for one in found["findings"]:
        name = f"order {one['order']} operation {one['operation']}"
        by = one.get("settled")
        what = f"settled by {by['who']} {by['at']}: {by['reason']}" if by else f"proposed: {one['proposed']}"
        print(clean(f"{one['code']}: {name}: {one['text']}; {what}", 2000))
    for text in found["not_compared"]:
        print(clean(f"not compared: {text}", 2000))
    if found["left_out"]:
        print(f"{found['left_out']} more findings than a report holds; name an order")
    settled = len(found["findings"]) - len(open_)
    more = f", {settled} settled" if settled else ""
    print(f"{found['compared']} operations compared, {len(open_) + found['left_out']} findings{more}")
    return 1 if open_ or found["left_out"] else 0


def _listed(reports: list[dict[str, Any]], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(reports))
        return 0
    for one in reports:
        counts = ", ".join(f"{code} {number}" for code, number in one["counts"].items()) or "nothing differs"
        print(clean(f"{one['number']:>6} {one['at']} {one['cause']:<8} {one['compared']} compared: {counts}", 2000))
    return 0
