"""``linegate reason``, which is ``linegate stop reason``: a person says why a machine stands, or stood."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gateway.cli import person, state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``reason``."""
    add_verb(commands)


def add_verb(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb, below ``stop`` too."""
    parser = commands.add_parser(
        "reason",
        help="say why a machine stands, or stood",
        description="Names the reason of a stop: the one that goes on, the one at --at, or a part of one. "
        "What the machine did stays as it is; the reason is written down with your name, and the last one counts.",
    )
    parser.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
    parser.add_argument("reason", help="such as NO_MATERIAL; up to 300 characters")
    parser.add_argument("--at", metavar="TIME", help="an instant of the stop, such as 2026-03-27T06:00:00+01:00")
    parser.add_argument("--from", dest="from_", metavar="TIME", help="only from then on, with --to")
    parser.add_argument("--to", metavar="TIME", help="and only up to then")
    state_dir.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 done, 1 refused, with the reason, 2 for times that make no sense, 3 where no gateway runs."""
    from gateway.control import ControlError, call

    if (args.from_ is None) != (args.to is None) or (args.at and args.from_):
        print("linegate: allowed: --at TIME, or both --from TIME and --to TIME, or none of them", file=sys.stderr)
        return 2
    where = state_dir.find(args)
    if where is None:
        return 1
    times = {"from": args.at or args.from_, "to": args.to}
    try:
        answer = call(where, "reason", machine=args.machine, reason=args.reason, who=person.name(), **times)
    except ControlError as error:
        return state_dir.complain(error)
    print(clean(answer))
    return 0
