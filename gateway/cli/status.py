"""``linegate status``: what the daemon is doing, for people and with ``--json`` for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway.cli import state_dir

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``status``."""
    parser = commands.add_parser("status", help="show machines, sources and targets of the running gateway")
    state_dir.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the status for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 when it runs, 3 when it does not, 1 when it cannot be asked."""
    from gateway.control import ControlError, call
    from gateway.shown.status_text import lines

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        view = call(where, "status", steady=not args.json)
    except ControlError as error:
        return state_dir.complain(error)
    print(json.dumps(view) if args.json else "\n".join(lines(view)))
    return 0
