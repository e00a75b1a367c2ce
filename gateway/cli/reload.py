"""``linegate reload``: has the running gateway take its changed configuration, all of it or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli import person, state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``reload``."""
    parser = commands.add_parser(
        "reload",
        help="have the running gateway read its changed configuration",
        description="The gateway reads the file it was started with again and takes what has changed while it runs: "
        "counts, orders and what waits to be sent go on. All or nothing: where anything is wrong or needs a restart, "
        "everything stays as it is, and the exit status is 1. SIGHUP does the same.",
    )
    parser.add_argument("--reason", default="", metavar="TEXT", help="why; it stands in the audit trail")
    state_dir.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 taken, 1 refused, with every reason, 3 where no gateway runs."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        said = {"reason": args.reason} if args.reason else {}
        done = call(where, "reload", who=person.name(), **said)
    except ControlError as error:
        return state_dir.complain_lines(error)
    print(clean(str(done), state_dir.SHOWN_CHARS_MAX))
    return 0
