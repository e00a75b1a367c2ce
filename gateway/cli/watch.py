"""``linegate watch``: a live table of a source's signals, without the daemon."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any, Final

from gateway.cli import device
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse

    from drivers.base import Driver, Reading
    from gateway.commission.target import Target

REPAINT_S: Final = 0.5
SECONDS_MAX: Final = 86_400.0


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``watch``."""
    parser = commands.add_parser(
        "watch",
        help="watch a source live, without the gateway",
        description="Shows value, age and number of changes of each signal, and how fast it moves, until Ctrl-C. Into "
        "a file or pipe: a line for each change, the table at the end. Exit status: 0, 1 where nothing could be read, "
        "2 wrong usage.",
    )
    parser.add_argument("source", metavar="SOURCE|ADDRESS", help="name in the configuration, or address of a device")
    parser.add_argument("signals", nargs="*", metavar="SIGNAL|VALUE", help="as for linegate read; default: all")
    device.add_config(parser)
    parser.add_argument("--seconds", type=float, metavar="N", help="end after N seconds (default: Ctrl-C)")
    parser.add_argument("--json", action="store_true", help="one JSON line for each change, a summary at the end")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 after watching, 1 where nothing could be read, 2 for wrong usage."""
    if args.seconds is not None and not 0 < args.seconds <= SECONDS_MAX:
        return device.complain(
            f"--seconds: found {args.seconds:g}, allowed more than 0, up to {SECONDS_MAX:g}", device.EXIT_USAGE
        )
    from gateway.commission.address import without_secrets
    from gateway.commission.progress import Progress

    progress = Progress(sys.stderr)
    progress.say(f"connecting to {without_secrets(args.source)} ...")
    try:
        target = device.find(args, args.source, args.signals)
    finally:
        progress.end()
    if isinstance(target, int):
        return target
    device.quiet_libraries()
    return _Screen(target, as_json=args.json).run(args.seconds)


class _Screen:
    """What is on the terminal, or goes down the pipe."""

    def __init__(self, target: Target, *, as_json: bool) -> None:
        from gateway.commission.watch import Watch
        from gateway.timing.clock import SteadyClock

        self._target = target
        self._as_json = as_json
        self._live = sys.stdout.isatty() and not as_json
        self._now_ns = SteadyClock(0).now_ns
        self._watch = Watch(target)
        self._problems: dict[str, str] = {}
        self._lost = ""
        self._painted = 0

    def run(self, limit_s: float | None) -> int:
        """Watch until the end."""
        from drivers.base import DriverError
        from gateway.commission.session import run_until_stopped

        try:
            run_until_stopped(self._follow(), limit_s=limit_s)
        except DriverError as error:
            return device.complain(str(error))
        if self._live:
            self._paint()
        elif self._as_json:
            print(json.dumps({"summary": self._watch.summary(), "problems": self._problems}))
        else:
            print(*self._lines(), sep="\n")
        return 0 if self._watch.any_value else 1

    async def _follow(self) -> None:
        import asyncio

        from gateway.commission.session import follow

        painting = asyncio.ensure_future(self._repaint()) if self._live else None
        try:
            await follow(self._target, self._now_ns, self._take, self._on_lost)
        finally:
            if painting is not None:
                painting.cancel()

    async def _repaint(self) -> None:
        import asyncio

        while True:
            self._paint()
            await asyncio.sleep(REPAINT_S)

    def _take(self, reading: Reading, driver: Driver) -> None:
        self._lost = ""
        self._problems = dict(driver.problems())
        for change in self._watch.take(reading.values):
            if self._as_json:
                print(json.dumps(change), flush=True)
            elif not self._live:
                print(_change_text(change), flush=True)

    def _on_lost(self, text: str) -> None:
        self._watch.lost()
        self._lost = text
        if not self._live:
            print(clean(f"linegate: {text}; trying again", device.SHOWN_CHARS_MAX), file=sys.stderr, flush=True)

    def _lines(self) -> list[str]:
        lines = self._watch.lines(self._now_ns(), self._problems)
        return [*lines, *([f"link lost, trying again: {self._lost}"] if self._lost else [])]

    def _paint(self) -> None:
        columns, rows = shutil.get_terminal_size()
        lines = [clean(line, columns - 1) for line in (f"{self._target.where}   Ctrl-C ends", *self._lines())]
        if len(lines) > rows - 1:
            lines = [*lines[: rows - 2], f"... {len(lines) - rows + 2} more lines; name the signals you want"]
        up = f"\x1b[{self._painted}A" if self._painted else ""
        sys.stdout.write(up + "".join(f"\r\x1b[K{line}\n" for line in lines) + "\x1b[J")
        sys.stdout.flush()
        self._painted = len(lines)


def _change_text(change: dict[str, Any]) -> str:
    from gateway.commission.view import value_text

    quality = "" if change["quality"] == "good" else f" ({change['quality']})"
    return clean(
        f"{change['source_time'] or change['time']}  {change['signal']}  {value_text(change['value'])}{quality}",
        device.SHOWN_CHARS_MAX,
    )
