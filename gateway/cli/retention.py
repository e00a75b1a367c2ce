"""``linegate retention``: how long each kind of record is kept, and from when on it is there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway.cli import state_dir
from gateway.core.document import utc
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``retention``."""
    parser = commands.add_parser(
        "retention",
        help="show how long records are kept, and from when on they are there",
        description="Shows what the section retention of the configuration says, and from when on each kind of record "
        "is there. What a machine has open, or its ERP has not acknowledged, keeps all that was recorded since.",
    )
    parser.add_argument("--json", action="store_true", help="print for programs")
    state_dir.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 done, 1 refused, 3 where no gateway runs."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        found = call(where, "retention")
    except ControlError as error:
        return state_dir.complain(error)
    if args.json:
        print(json.dumps(found))
        return 0
    for one in found["kept"]:
        since = "all of it is there" if one["since_ns"] is None else f"there from {utc(one['since_ns'])} on"
        print(f"{one['class']:<14} {one['keep']:<9} {since}")
    for unit, since_ns in found["unconfirmed_since"].items():
        print(clean(f"{unit}: open or not acknowledged since {utc(since_ns)}; what was recorded since then stays"))
    return 0
