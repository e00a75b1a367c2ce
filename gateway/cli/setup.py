"""``linegate setup``: a person begins a setup of a machine, or says that it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.cli import person, state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse

VERBS: Final = {
    "begin": "the machine is being set up from now on (from its last good piece, where the rules say so)",
    "end": "the setup is done, whatever its rule waits for",
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``setup`` with its verbs."""
    parser = commands.add_parser("setup", help="begin or end the setup of a machine")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb, text in VERBS.items():
        one = verbs.add_parser(verb, help=text)
        one.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
        state_dir.add_arguments(one)
        one.set_defaults(run=decide, verb=verb)


def decide(args: argparse.Namespace) -> int:
    """0 done, 1 refused, with the reason, 3 where no gateway runs."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        answer = call(where, f"setup.{args.verb}", machine=args.machine, who=person.name())
    except ControlError as error:
        return state_dir.complain(error)
    print(clean(answer))
    return 0
