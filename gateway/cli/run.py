"""``linegate run FILE``: the daemon."""

from __future__ import annotations

import faulthandler
import gc
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

    from config.settings import Settings

#: Files and sockets that the gateway has open by itself, with those who ask it; and for each source and connector.
FILES_ALONE: Final = 48
FILES_EACH: Final = 4
#: So long may a thread compute (a long page, a look at the trail) before the event loop goes on, each time that this
#: comes back from the kernel; Python's own 5 ms add up to more than an answer takes.
SWITCH_S: Final = 0.001


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
    # A crash would be silent, and so would the SIGABRT of the service manager's watchdog: what every thread was at then
    # goes into the journal.
    if sys.__stderr__ is not None and not faulthandler.is_enabled():
        faulthandler.enable(sys.__stderr__)
    # What is loaded stays: to look through it again and again would only make the start longer.
    gc.disable()
    try:
        return _run(args)
    except MemoryError:
        # What it had not committed is read again from the machines; there is nothing to save here.
        print(
            "linegate: there is not enough memory; allow it more (MemoryMax= of the unit, ulimit -v) or configure less",
            file=sys.stderr,
        )
        return 1
    finally:
        gc.enable()


def _run(args: argparse.Namespace) -> int:
    from gateway.cli.config import load_or_complain

    settings = load_or_complain(args.file or args.config)
    if settings is None:
        return 1
    if text := _too_few_files(settings):
        print(f"linegate: {text}", file=sys.stderr)
        return 1
    from gateway import app

    # From here on with the collector: a big database or a long catching up may leave more than what was loaded.
    gc.freeze()
    gc.enable()
    sys.setswitchinterval(SWITCH_S)
    try:
        return app.main(settings)
    except app.StartError as error:
        print(f"linegate: {error}", file=sys.stderr)
        return 1


def _too_few_files(settings: Settings) -> str:
    """What is wrong with the limit of open files, "" where it is enough: better no start than one that half works."""
    allowed, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = FILES_ALONE + FILES_EACH * (len(settings.sources) + len(settings.connectors))
    if allowed == resource.RLIM_INFINITY or allowed >= needed:
        return ""
    return f"open files are limited to {allowed}, needed are {needed}; raise it (LimitNOFILE= of the unit, ulimit -n)"
