"""``linegate simulate NAME``: one of the bundled simulators, as a process of its own."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Final

#: What ``simulate erp`` may be followed by; without one of them it is the bundled ERP.
ERPS: Final = ("sap_odata", "sap_idoc", "d365", "business_central", "kingdee", "file_partner", "mes")
NAMES: Final = ("asm-01", "imm-01", "tst-01", "fil-02", "pck-01", "erp", "broker")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``simulate``; everything behind the name goes to the simulator."""
    parser = commands.add_parser(
        "simulate",
        help=f"run a bundled simulator ({', '.join(NAMES)})",
        description="Runs a simulator until Ctrl-C or the end of its standard input, where it takes commands. With "
        "--print-config behind the name it prints the gateway's matching configuration and ends. Doubles of real ERPs: "
        f"simulate erp NAME, NAME being one of {', '.join(ERPS)}.",
    )
    parser.add_argument("name", choices=NAMES, help="which one")
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="...", help="its options; see linegate simulate NAME --help"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Become the simulator: the gateway imports nothing of it, and signals and exit code are its own."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "simulators", args.name, *args.arguments])  # noqa: S606 - our own interpreter and module, no shell
