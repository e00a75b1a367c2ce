"""Which device a commissioning command means: a source of a configuration, or an address. Opens nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from gateway.commission.target import Target

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130  # as a shell has it
#: Taken without being named, where it is there.
CONFIG_DEFAULT: Final = Path("linegate.yaml")
SHOWN_CHARS_MAX: Final = 2000


def add_config(parser: argparse.ArgumentParser) -> None:
    """``--config``."""
    parser.add_argument(
        "--config",
        "-c",
        metavar="FILE",
        type=Path,
        help=f"configuration that has the source (default: {CONFIG_DEFAULT})",
    )


def find(args: argparse.Namespace, source: str, values: Sequence[str]) -> Target | int:
    """The device with its values, or an exit code after a message."""
    from gateway.commission.address import is_address
    from gateway.commission.target import TargetError, addressed, configured

    try:
        if is_address(source):
            if args.config is not None:
                return complain(f"{source}: an address needs no --config; leave it out, or name a source", EXIT_USAGE)
            return addressed(source, values)
        file = args.config or CONFIG_DEFAULT
        if args.config is None and not file.exists():
            return complain(
                f"found source {source!r} and no {CONFIG_DEFAULT} here; name the configuration with --config FILE, or "
                f"a device such as modbus://192.0.2.10/1",
                EXIT_USAGE,
            )
        from gateway.cli.config import load_or_complain

        settings = load_or_complain(file)
        return EXIT_FAILED if settings is None else configured(settings, source, values)
    except TargetError as error:
        return complain(str(error), EXIT_USAGE)


def complain(text: str, code: int = EXIT_FAILED) -> int:
    """Print a sentence on standard error and return the exit code."""
    print(clean(f"linegate: {text}", SHOWN_CHARS_MAX), file=sys.stderr)
    return code


def quiet_libraries() -> None:
    """Keep what libraries log off the terminal: what matters of it comes as an error or a problem."""
    import logging

    logging.getLogger().addHandler(logging.NullHandler())
