"""``linegate simulate NAME``: one of the bundled simulators, as a process of its own."""

from __future__ import annotations

import argparse
import subprocess
import sys


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``simulate``; everything behind it goes to the simulator."""
    parser = commands.add_parser(
        "simulate",
        help="run a bundled simulator (asm-01, imm-01, pck-01, erp, broker)",
        add_help=False,
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Start it in its own process: the gateway imports nothing of the simulators."""
    command = [sys.executable, "-P", "-m", "simulators", *args.arguments]
    try:
        return subprocess.run(command, check=False).returncode  # noqa: S603 - our own interpreter and module
    except KeyboardInterrupt:
        return 0
