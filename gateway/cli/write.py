"""``linegate write``: one value to a signal that the configuration whitelists, through the running gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli import person, state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``write``."""
    parser = commands.add_parser(
        "write",
        help="write a value to a signal that the configuration whitelists (writable)",
        description="Writes one value to a machine, within the limits that the configuration gives the signal. Every "
        "attempt is written down first; see: linegate audit show.",
    )
    parser.add_argument("signal", metavar="SOURCE.SIGNAL", help="the signal, as rules name it")
    parser.add_argument("value", metavar="VALUE", help="number, true or false, or text")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why; written down with your name")
    parser.add_argument("--as", dest="who", metavar="NAME", help="written down beside your login name")
    state_dir.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 written and confirmed, 1 not written or not known, with the reason, 3 where no gateway runs."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    who = f"{args.who} ({person.name()})" if args.who else person.name()
    try:
        done = call(where, "write", signal=args.signal, value=args.value, who=who, reason=args.reason)
    except ControlError as error:
        return state_dir.complain(error)
    print(clean(done))
    return 0
