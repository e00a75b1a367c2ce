"""``linegate reconcile``: what this gateway confirmed against what the ERP says it has booked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway.cli import state_dir
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
    parser.add_argument("--json", action="store_true", help="print for programs")
    state_dir.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 nothing differs, 1 something does or it was refused, 3 where no gateway runs."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
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
