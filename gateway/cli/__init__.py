"""The command line: one sub-command a module. Nothing is imported before it is needed: not even the other commands."""

from __future__ import annotations

import argparse
import gc
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, cast

from gateway import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_OK: Final = 0
EXIT_ERROR: Final = 1


class _Command(Protocol):
    """A module of this package."""

    def add_parser(self, commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        """Add its sub-commands; each sets ``run`` to a function of the parsed arguments that returns the exit code."""


#: The module of each command, in the order of the help.
COMMANDS: Final = {
    "run": "run",
    "check": "config",
    "schema": "config",
    "init": "config",
    "test": "test",
    "record": "record",
    "replay": "replay",
    "status": "status",
    "machine": "machine",
    "states": "states",
    "stop": "stop",
    "reconcile": "reconcile",
    "reason": "reason",
    "undo": "undo",
    "setup": "setup",
    "reload": "reload",
    "retention": "retention",
    "order": "order",
    "hold": "hold",
    "unallocated": "division",
    "labour": "labour",
    "lots": "lots",
    "outbox": "outbox",
    "erp": "erp",
    "alerts": "alerts",
    "buffer": "buffer",
    "opcua": "opcua",
    "write": "write",
    "audit": "audit",
    "user": "user",
    "template": "template",
    "browse": "browse",
    "read": "read",
    "watch": "watch",
    "scan": "scan",
    "decode": "decode",
    "witness": "witness",
    "demo": "demo",
    "simulate": "simulate",
}


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """The whole command line, or as much of it as one of ``COMMANDS`` needs: that is a fifth of the work."""
    parser = argparse.ArgumentParser(
        prog="linegate",
        description="Machine counters become production-order confirmations in the ERP, and no piece is lost.",
    )
    parser.add_argument("--version", action="version", version=f"linegate {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    modules = (COMMANDS[command],) if command else dict.fromkeys(COMMANDS.values())
    for module in modules:
        cast("_Command", import_module(f"gateway.cli.{module}")).add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Without ``argv`` it is the program, which ends with it."""
    words = sys.argv[1:] if argv is None else argv
    args = build_parser(words[0] if words and words[0] in COMMANDS else "").parse_args(words)
    try:
        code: int = args.run(args)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return EXIT_OK
    finally:
        if argv is None:
            gc.freeze()  # the end of the interpreter would look through everything once more, for a fifth of a second
    return code
