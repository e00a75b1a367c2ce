"""``linegate run FILE``: the daemon."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``run``."""
    parser = commands.add_parser("run", help="run the gateway", description="Run the gateway until SIGTERM or Ctrl-C.")
    add_file(parser)
    parser.set_defaults(run=run)


def add_file(parser: argparse.ArgumentParser) -> None:
    """``FILE``, or ``--config FILE`` as the other commands have it."""
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("file", type=Path, nargs="?", metavar="FILE", help="configuration file")
    given.add_argument("--config", "-c", type=Path, metavar="FILE", help="the same, as in other commands")


def run(args: argparse.Namespace) -> int:
    """Run until stopped; 0 after a clean stop, 1 where it cannot start or must give up."""
    from gateway.cli.config import load_or_complain

    settings = load_or_complain(args.file or args.config)
    if settings is None:
        return 1
    from gateway import app

    try:
        return app.main(settings)
    except app.StartError as error:
        print(f"linegate: {error}", file=sys.stderr)
        return 1
