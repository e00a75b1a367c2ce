"""``linegate undo``: takes back what you decided last at a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli import person, state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``undo``."""
    parser = commands.add_parser(
        "undo",
        help="take back what you decided last at a machine, within a few seconds",
        description="Takes back your own last decision at a machine: the start or the interruption of an order, a hold "
        "or its release, a judgement of pieces, a setup, the reason or the split of a stop. Within confirm.undo_window "
        "(5 s), and while nothing has used it. It is a decision of its own; nothing is deleted.",
    )
    parser.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
    state_dir.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 done, 1 refused, with the reason, 3 where no gateway runs."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        answer = call(where, "undo", machine=args.machine, who=person.name())
    except ControlError as error:
        return state_dir.complain(error)
    print(clean(answer))
    return 0
