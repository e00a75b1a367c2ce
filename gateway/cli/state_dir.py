"""How a command finds the daemon: by its configuration file, or by its state directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse

    from gateway.control import ControlError

ENV_STATE_DIR: Final = "LINEGATE_GATEWAY__STATE_DIR"
EXIT_NOT_RUNNING: Final = 3  # as systemctl has it
SHOWN_CHARS_MAX: Final = 2000
SHOWN_LINES_MAX: Final = 110


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--config`` or ``--state-dir``."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--config", "-c", metavar="FILE", type=Path, help="configuration of the daemon")
    where.add_argument(
        "--state-dir",
        "-d",
        metavar="DIR",
        type=Path,
        help=f"its state directory (default: ${ENV_STATE_DIR}, /var/lib/linegate)",
    )


def find(args: argparse.Namespace) -> Path | None:
    """The state directory, or None after a message."""
    if args.config is not None:
        from gateway.cli.config import load_or_complain

        settings = load_or_complain(args.config)
        return None if settings is None else Path(settings.gateway.state_dir)
    found = args.state_dir or Path(os.environ.get(ENV_STATE_DIR, "/var/lib/linegate"))
    if not found.is_dir():
        print(
            f"linegate: state directory {found}: it does not exist; name the daemon's with --state-dir or --config",
            file=sys.stderr,
        )
        return None
    return Path(found)


def complain(error: ControlError) -> int:
    """Print why the daemon cannot be asked, or why it refused; 3 where none runs, else 1."""
    from gateway.control import NotRunningError

    print(clean(f"linegate: {error}", SHOWN_CHARS_MAX), file=sys.stderr)
    return EXIT_NOT_RUNNING if isinstance(error, NotRunningError) else 1


def complain_lines(error: ControlError) -> int:
    """The same for a reason of several lines."""
    from gateway.control import NotRunningError

    for line in f"linegate: {error}".splitlines()[:SHOWN_LINES_MAX]:
        print(clean(line, SHOWN_CHARS_MAX), file=sys.stderr)
    return EXIT_NOT_RUNNING if isinstance(error, NotRunningError) else 1
