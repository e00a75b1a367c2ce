"""``linegate read``: one value of every signal of a source, without the daemon."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from gateway.cli import device
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse

    from gateway.commission.session import Snapshot
    from gateway.commission.target import Target

EXAMPLES = """examples:
  linegate read press --config linegate.yaml
  linegate read press good scrap
  linegate read modbus://192.0.2.10/1 "holding 0 uint32 CDAB" "40012 int16 scale=0.1" "holding 100 x10"
  linegate read "rtu:/dev/ttyUSB0?baudrate=9600&parity=N&unit=3" "input 0"
  linegate read opc.tcp://192.0.2.20:4840 i=2258

exit status: 0 everything was read, 1 something was not, 2 wrong usage
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``read``."""
    import argparse

    parser = commands.add_parser(
        "read",
        help="read a source once, without the gateway",
        description="Opens a source once and prints each signal with its value, quality and time. Needs no running "
        "gateway, keeps nothing, writes nothing to the device.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE|ADDRESS", help="name in the configuration, or address of a device")
    parser.add_argument("signals", nargs="*", metavar="SIGNAL|VALUE", help="default: every signal of the source")
    device.add_config(parser)
    parser.add_argument("--json", action="store_true", help="print for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 when everything was read, 1 when something was not, 2 for wrong usage."""
    from gateway.commission.address import without_secrets
    from gateway.commission.progress import Progress

    progress = Progress(sys.stderr)
    progress.say(f"reading {without_secrets(args.source)} ...")
    try:
        target = device.find(args, args.source, args.signals)
        return target if isinstance(target, int) else _read(target, progress, as_json=args.json)
    finally:
        progress.end()


def _read(target: Target, progress: Any, *, as_json: bool) -> int:
    from drivers.base import DriverError
    from gateway.commission.session import read_once, run_until_stopped
    from gateway.timing.clock import SteadyClock

    device.quiet_libraries()
    progress.say(f"reading {target.where} ...")
    try:
        found = run_until_stopped(read_once(target, SteadyClock(0).now_ns))
    except DriverError as error:
        progress.end()
        return device.complain(str(error))
    progress.end()
    if found is None:
        return device.EXIT_INTERRUPTED
    rows = [_row(target, name, found) for name in target.wanted]
    if as_json:
        print(json.dumps({"source": target.source, "signals": rows, "notices": dict(found.notices)}))
    else:
        _print(rows, found)
    return 0 if all(row["quality"] != "bad" for row in rows) else 1


def _row(target: Target, name: str, found: Snapshot) -> dict[str, Any]:
    from gateway.commission.view import QUALITY
    from gateway.core.document import utc

    full = f"{target.source}.{name}"
    value = found.values.get(full)
    problem = found.problems.get(full, "")
    if value is None:
        return {
            "signal": name,
            "value": None,
            "quality": "bad",
            "time": None,
            "source_time": None,
            "problem": problem or "no value came in time",
        }
    return {
        "signal": name,
        "value": value.value,
        "quality": QUALITY[value.status],
        "time": utc(value.received_time_ns),
        "source_time": utc(value.source_time_ns),
        "problem": problem,
    }


def _print(rows: list[dict[str, Any]], found: Snapshot) -> None:
    from gateway.commission.view import table, value_text

    cells = [
        (
            row["signal"],
            value_text(row["value"]),
            row["quality"],
            row["source_time"] or row["time"] or "-",
            "device" if row["source_time"] else "here",
        )
        for row in rows
    ]
    for line in table(("SIGNAL", "VALUE", "QUALITY", "TIME (UTC)", "CLOCK"), cells):
        print(line)
    for row in rows:
        if row["problem"]:
            print(clean(f"{row['signal']}: {row['problem']}", device.SHOWN_CHARS_MAX), file=sys.stderr)
    for key, text in found.notices.items():
        print(clean(f"note: {key}: {text}", device.SHOWN_CHARS_MAX), file=sys.stderr)
