"""``linegate record``: writes what reaches a machine, or comes from a source, to a file that can be replayed."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from gateway.cli import device, state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse

    from drivers.base import Driver, Reading

SECONDS_MAX: Final = 7 * 86_400.0
SIZE_MIB_DEFAULT: Final = 100
SIZE_MIB_MAX: Final = 10_000
FETCH_EVERY_S: Final = 0.5
#: So many inputs in one answer mean that more wait.
TAKEN_MAX: Final = 5000
MIB: Final = 1024 * 1024


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``record``."""
    parser = commands.add_parser(
        "record",
        help="write what a machine or a source says to a file, for linegate replay",
        description="Records through the running gateway: of a machine where it stands and every input as it reaches "
        "its rules, of a source every value that feeds a rule. With --config and no gateway running, a source is read "
        "directly, all its signals. Exit status 0 when the time is over or at Ctrl-C, 1 where it ended before.",
    )
    parser.add_argument("name", metavar="MACHINE|SOURCE", help="as in the configuration")
    parser.add_argument(
        "--out", "-o", type=Path, required=True, metavar="FILE", help="a new file; nothing is overwritten"
    )
    parser.add_argument("--seconds", type=float, required=True, metavar="N", help=f"how long, up to {SECONDS_MAX:g}")
    parser.add_argument(
        "--max-size",
        type=int,
        default=SIZE_MIB_DEFAULT,
        metavar="MIB",
        help=f"end at this size (default {SIZE_MIB_DEFAULT})",
    )
    state_dir.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 recorded, 1 ended too early or not at all, 2 wrong usage, 3 where no gateway runs."""
    if not 0 < args.seconds <= SECONDS_MAX:
        return device.complain(f"--seconds: found {args.seconds:g}, allowed more than 0, up to {SECONDS_MAX:g}", 2)
    if not 1 <= args.max_size <= SIZE_MIB_MAX:
        return device.complain(f"--max-size: found {args.max_size}, allowed 1 to {SIZE_MIB_MAX}", 2)
    from gateway.control import ControlError, NotRunningError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        begun = call(where, "record.open", name=args.name)
    except NotRunningError as error:
        return state_dir.complain(error) if args.config is None else _direct(args)
    except ControlError as error:
        return state_dir.complain(error)
    out = _created(args.out)
    if out is None:
        call(where, "record.close", recording=begun["recording"])
        return 1
    with out:
        return _fetch(_File(out, args.max_size * MIB, begun), where, begun["recording"], args.seconds)


class _File:
    """The file, and how much of it there may be."""

    def __init__(self, out: TextIO, size_max: int, begun: dict[str, Any]) -> None:
        self.inputs = 0
        self._out = out
        self._left = size_max
        self._write(begun["header"])
        self.rows(begun["rows"])

    def rows(self, rows: list[Any]) -> bool:
        """Write inputs; False once there is no room for more."""
        from gateway.trial.recording import line

        for data in rows:
            text = line(data)
            if len(text) > self._left:
                return False
            self._write(text)
            self.inputs += 1
        self._out.flush()
        return True

    def end(self, at_ns: int, why: str) -> None:
        """The last line, for which there always is room."""
        from gateway.trial.recording import end_line

        self._out.write(end_line(at_ns, why))
        print(clean(f"{self._out.name}: {self.inputs} inputs; {why}"))

    def _write(self, text: str) -> None:
        self._left -= len(text)
        self._out.write(text)


def _created(path: Path) -> TextIO | None:
    try:
        return path.open("x", encoding="ascii")
    except FileExistsError:
        print(f"{path}: already exists and is not overwritten; name another file", file=sys.stderr)
    except OSError as failure:
        print(f"{path}: cannot be written: {failure.strerror}; check the folder and its owner", file=sys.stderr)
    return None


def _fetch(file: _File, where: Path, recording: int, limit_s: float) -> int:
    """Fetch until the time is over; whatever ends it stands in the last line."""
    from gateway.control import ControlError, call

    end_s = time.monotonic() + limit_s
    now_ns, why, code, more, over = 0, "", 0, False, False
    while not why:
        try:
            time.sleep(0.0 if more or over else max(0.0, min(FETCH_EVERY_S, end_s - time.monotonic())))
        except KeyboardInterrupt:
            over = True
        try:
            taken = call(where, "record.take", recording=recording)
        except (ControlError, KeyboardInterrupt) as error:
            why, code = f"the gateway did not answer: {error}", 1
            break
        now_ns, more = taken["now_ns"], len(taken["rows"]) >= TAKEN_MAX
        if not file.rows(taken["rows"]):
            why, code = "the file reached --max-size", 1
        elif taken["ended"]:
            why, code = taken["ended"], 1
        elif not more and (over or time.monotonic() >= end_s):
            why = "done"
    file.end(now_ns, why)
    if code == 0:
        call(where, "record.close", recording=recording)
    return code


def _direct(args: argparse.Namespace) -> int:
    """Read the source itself: no gateway does."""
    from drivers.base import DriverError
    from gateway.commission.session import follow, run_until_stopped
    from gateway.timing.clock import SteadyClock
    from gateway.trial.recording import Header, header_line, row

    target = device.find(args, args.name, [])
    if isinstance(target, int):
        return target
    device.quiet_libraries()
    out = _created(args.out)
    if out is None:
        return 1
    now_ns = SteadyClock(0).now_ns
    with out:
        header = Header("source", args.name, "", "", now_ns(), None)
        file = _File(out, args.max_size * MIB, {"header": header_line(header), "rows": []})
        full: list[bool] = []

        def take(reading: Reading, _driver: Driver) -> None:
            rows = [data for data in map(row, reading.values) if data is not None]
            if not full and not file.rows(rows):
                full.append(True)

        try:
            run_until_stopped(follow(target, now_ns, take, lambda _text: None), limit_s=args.seconds)
        except DriverError as error:
            file.end(now_ns(), f"not readable: {error}")
            return device.complain(str(error))
        file.end(now_ns(), "the file reached --max-size" if full else "done")
    return 1 if full else 0
