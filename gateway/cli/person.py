"""Who decides on this command line: the name that is stored beside a decision, and the passphrase of one who signs.

It grants nothing. Who acts as a user of the gateway has his token in ``LINEGATE_TOKEN``.
"""

from __future__ import annotations

import getpass
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

#: A longer line is no passphrase.
PASSPHRASE_CHARS_MAX = 1000


def name() -> str:
    """The login name, or the user id where this machine has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # which of the two depends on the Python
        return f"uid {os.getuid()}"


def add_signing(parser: argparse.ArgumentParser) -> None:
    """Add ``--sign`` to a verb that may have to be signed."""
    parser.add_argument(
        "--sign",
        action="store_true",
        help="sign it: asks for your passphrase, or takes one line of standard input; your token is in LINEGATE_TOKEN",
    )


def signing(args: argparse.Namespace) -> dict[str, str]:
    """The passphrase as an argument of a request, where the person signs; never shown."""
    if not args.sign:
        return {}
    if sys.stdin.isatty():
        return {"passphrase": getpass.getpass("Passphrase: ")}
    return {"passphrase": sys.stdin.readline(PASSPHRASE_CHARS_MAX).removesuffix("\n")}
