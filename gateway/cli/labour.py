"""``linegate labour``: who works at a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli import person, state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``labour`` with its verbs."""
    parser = commands.add_parser("labour", help="log people in and out at machines")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb, text in (("in", "a person begins to work at a machine"), ("out", "a person ceases to")):
        one = verbs.add_parser(verb, help=text)
        one.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
        one.add_argument("person", nargs="?", help="whom it is about; without it you")
        state_dir.add_arguments(one)
        one.set_defaults(run=run, verb=f"labour.{verb}")


def run(args: argparse.Namespace) -> int:
    """0 done, 1 refused, with the reason, 3 where no gateway runs."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    who = person.name()
    try:
        answer = call(where, args.verb, machine=args.machine, person=args.person or who, who=who)
    except ControlError as error:
        return state_dir.complain(error)
    print(clean(answer))
    return 0
