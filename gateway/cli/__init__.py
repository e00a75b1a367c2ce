"""The command line: one sub-command a module. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final, Protocol

from gateway import __version__
from gateway.cli import (
    alerts,
    audit,
    browse,
    buffer,
    config,
    decode,
    demo,
    division,
    erp,
    labour,
    lots,
    opcua,
    order,
    outbox,
    read,
    reason,
    reconcile,
    record,
    reload,
    replay,
    retention,
    run,
    scan,
    setup,
    simulate,
    states,
    status,
    stop,
    template,
    test,
    undo,
    user,
    watch,
    witness,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_OK: Final = 0
EXIT_ERROR: Final = 1


class _Command(Protocol):
    """A module of this package."""

    def add_parser(self, commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        """Add its sub-commands; each sets ``run`` to a function of the parsed arguments that returns the exit code."""


COMMANDS: Final[tuple[_Command, ...]] = (
    run,
    config,
    test,
    record,
    replay,
    status,
    states,
    stop,
    reconcile,
    reason,
    undo,
    setup,
    reload,
    retention,
    order,
    division,
    labour,
    lots,
    outbox,
    erp,
    alerts,
    buffer,
    opcua,
    write,
    audit,
    user,
    template,
    browse,
    read,
    watch,
    scan,
    decode,
    witness,
    demo,
    simulate,
)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="linegate",
        description="Machine counters become production-order confirmations in the ERP, and no piece is lost.",
    )
    parser.add_argument("--version", action="version", version=f"linegate {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = build_parser().parse_args(argv)
    try:
        code: int = args.run(args)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return EXIT_OK
    return code
