"""``linegate scan``: which units of a Modbus line answer, and which addresses of a table can be read."""

from __future__ import annotations

import argparse
import json
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from gateway.cli import device

if TYPE_CHECKING:
    from gateway.commission.address import Device
    from gateway.commission.modbus_probe import Probe
    from gateway.commission.progress import Progress
    from gateway.commission.scan import TableMap, UnitFound

UNIT_MAX: Final = 247
ADDRESS_MAX: Final = 65_535
TO_DEFAULT: Final = 999
TIMEOUT_DEFAULT: Final = "500 ms"
PAUSE_DEFAULT_S: Final = 0.02
PAUSE_MAX_S: Final = 10.0
TABLES: Final = ("holding", "input", "coil", "discrete")
#: Registers in one line of --values.
VALUES_PER_LINE: Final = 8
EXAMPLES: Final = """examples:
  linegate scan modbus://192.0.2.10                           # units 1 to 247
  linegate scan "rtu:/dev/ttyUSB0?baudrate=9600&parity=N" --units 1-32
  linegate scan modbus://192.0.2.10 --unit 1 --table holding --from 0 --to 999 --values

Reads only, one request at a time with a pause; a running line is not disturbed by more than that.
exit status: 0 something was found, 1 nothing was found or nobody answers, 2 wrong usage
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``scan``."""
    parser = commands.add_parser(
        "scan",
        help="find Modbus units, or the readable addresses of a table",
        description="Without --unit: asks every unit for one register and says which answer, refuse, or stay silent. "
        "With --unit: finds the readable addresses of a table by halving what is refused.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "address",
        metavar="ADDRESS",
        help="modbus://HOST[:PORT], modbus+rtu://, modbus+udp://, modbus+tls://, rtu:DEVICE",
    )
    parser.add_argument("--units", default=f"1-{UNIT_MAX}", metavar="A-B", help=f"units to ask (default 1-{UNIT_MAX})")
    parser.add_argument("--unit", type=int, metavar="U", help="look at the addresses of this unit")
    parser.add_argument("--table", choices=TABLES, default="holding", help="of which table (default holding)")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="A", help="first PDU address (default 0)")
    parser.add_argument(
        "--to", type=int, default=TO_DEFAULT, dest="last", metavar="B", help=f"last PDU address (default {TO_DEFAULT})"
    )
    parser.add_argument(
        "--thorough", action="store_true", help="ask for every refused address, also within small areas"
    )
    parser.add_argument("--values", action="store_true", help="print what was read, too")
    parser.add_argument("--timeout", metavar="TIME", help=f"for each answer (default {TIMEOUT_DEFAULT})")
    parser.add_argument(
        "--pause",
        type=float,
        default=PAUSE_DEFAULT_S,
        metavar="S",
        help=f"between requests (default {PAUSE_DEFAULT_S})",
    )
    parser.add_argument("--json", action="store_true", help="print for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 where something was found, 1 where nothing was, 2 for wrong usage."""
    from gateway.commission.address import AddressError, parse_device
    from gateway.commission.progress import Progress

    try:
        found = parse_device(args.address)
        units = _checked(args, found)
    except (AddressError, _UsageError) as error:
        return device.complain(str(error), device.EXIT_USAGE)
    progress = Progress(sys.stderr)
    progress.say(f"connecting to {args.address} ...")
    try:
        return _scan(args, found, units, progress)
    finally:
        progress.end()


class _UsageError(ValueError):
    """An option is out of range."""


def _checked(args: argparse.Namespace, found: Device) -> range:
    if found.driver != "modbus":
        raise _UsageError(f"{args.address}: only Modbus can be scanned; for OPC UA: linegate browse {args.address}")
    match = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", args.units)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (-1, -1)
    if not 0 <= first <= last <= UNIT_MAX:
        raise _UsageError(f"--units: found {args.units!r}, allowed such as 1-{UNIT_MAX} or 5")
    if args.unit is None and "unit" in found.keys:
        args.unit = found.keys["unit"]
    if args.unit is not None and not 0 <= args.unit <= 255:  # noqa: PLR2004 - the largest unit identifier
        raise _UsageError(f"--unit: found {args.unit}, allowed 0 to 255")
    if not 0 <= args.first <= args.last <= ADDRESS_MAX:
        raise _UsageError(
            f"--from {args.first} --to {args.last}: allowed 0 to {ADDRESS_MAX}, the first not above the last (PDU "
            f"addresses: a manual's 40001 is holding 0)"
        )
    if not 0 <= args.pause <= PAUSE_MAX_S:
        raise _UsageError(f"--pause: found {args.pause:g}, allowed 0 to {PAUSE_MAX_S:g} seconds")
    return range(first, last + 1)


def _scan(args: argparse.Namespace, found: Device, units: range, progress: Progress) -> int:
    from drivers.base import DriverError
    from gateway.commission.modbus_probe import Probe, endpoint_of
    from gateway.commission.target import TargetError

    keys = {"timeout": args.timeout or TIMEOUT_DEFAULT, **found.keys}
    if args.timeout:
        keys["timeout"] = args.timeout
    keys["unit"] = args.unit if args.unit is not None else max(1, units[0])
    device.quiet_libraries()
    try:
        probe = Probe(endpoint_of(found._replace(keys=keys), args.address))
        if args.unit is None:
            return _scan_units(args, probe, units, progress)
        return _scan_table(args, probe, progress)
    except TargetError as error:
        progress.end()
        return device.complain(str(error), device.EXIT_USAGE)
    except DriverError as error:
        progress.end()
        return device.complain(str(error))


def _scan_units(args: argparse.Namespace, probe: Probe, units: range, progress: Progress) -> int:
    from gateway.commission.scan import Kind, scan_units
    from gateway.commission.session import run_until_stopped

    found: list[UnitFound] = []
    run_until_stopped(probe.closing(scan_units(probe, units, found, pause_s=args.pause, on_progress=progress.say)))
    progress.end()
    there = [one for one in found if one.kind is not Kind.SILENT]
    if args.json:
        rows = [{"unit": one.unit, "result": one.kind.value, "exception": one.code or None} for one in found]
        print(json.dumps({"address": args.address, "units": rows}))
    else:
        _print_units(args, found, there, len(units))
    return 0 if there else device.EXIT_FAILED


def _print_units(args: argparse.Namespace, found: list[UnitFound], there: list[UnitFound], wanted: int) -> None:
    from gateway.commission.scan import ILLEGAL_FUNCTION
    from gateway.commission.view import table

    if there:
        rows = [(str(one.unit), one.kind.value, one.text) for one in there]
        print(*table(("UNIT", "RESULT", "HOLDING 0"), rows), sep="\n")
    print(f"{len(found)} of {wanted} units asked: {len(there)} there, {len(found) - len(there)} gave no answer")
    if not there:
        print(
            "nobody is there: check speed, parity, polarity of the wires and termination on a serial line, address and "
            "port on a network; slow devices need --timeout '2 s'"
        )
    elif len(there) == len(found) > 1:
        print("every unit answers: this is one device that ignores the unit; use unit 1")
    else:
        table_there = "input" if there[0].code == ILLEGAL_FUNCTION else "holding"
        print(f"next: linegate scan '{args.address}' --unit {there[0].unit} --table {table_there}")


def _scan_table(args: argparse.Namespace, probe: Probe, progress: Progress) -> int:
    from gateway.commission.scan import TableScan
    from gateway.commission.session import run_until_stopped

    scan = TableScan(probe, args.unit, args.table, pause_s=args.pause, thorough=args.thorough, on_progress=progress.say)
    ended = run_until_stopped(probe.closing(scan.run(args.first, args.last)))
    progress.end()
    found = scan.result()
    if args.json:
        print(json.dumps(_document(args, found, whole=ended is not None)))
    else:
        _print_table(args, found, whole=ended is not None)
    return 0 if found.values else device.EXIT_FAILED


def _document(args: argparse.Namespace, found: TableMap, *, whole: bool) -> dict[str, Any]:
    return {
        "address": args.address,
        "unit": args.unit,
        "table": args.table,
        "areas": [
            {
                "first": area.first,
                "last": area.last,
                "result": area.kind.value,
                "exception": area.code or None,
                "sampled": area.sampled,
            }
            for area in found.areas
        ],
        "values": {str(address): int(value) for address, value in found.values.items()} if args.values else None,
        "requests": found.requests,
        "longest_request": found.longest,
        "max_registers": found.max_registers,
        "stopped": found.stopped or (None if whole else "interrupted"),
    }


def _print_table(args: argparse.Namespace, found: TableMap, *, whole: bool) -> None:
    from gateway.commission.view import table

    rows = [
        (
            str(area.first),
            str(area.last),
            str(area.last - area.first + 1),
            area.kind.value + (" (sampled)" if area.sampled else ""),
            area.text,
        )
        for area in found.areas
    ]
    if rows:
        print(*table(("FROM", "TO", "COUNT", "RESULT", ""), rows), sep="\n")
    if args.values:
        _print_values(args.table, found.values)
    print(f"{args.table}, unit {args.unit}: {len(found.values)} addresses can be read; {found.requests} requests")
    if not whole:
        print("interrupted: what is missing above was not asked for")
    if found.stopped:
        print(f"stopped: {found.stopped}")
    if found.max_registers is not None:
        print(
            f"longer requests than {found.longest} are refused; in the configuration: max_registers: "
            f"{found.max_registers}"
        )
    if any(area.sampled for area in found.areas):
        print("addresses between refused ones were not asked one by one; --thorough does that")


def _print_values(table: str, values: dict[int, int]) -> None:
    addresses = sorted(values)
    start = 0
    while start < len(addresses):
        end = start + 1
        while end < len(addresses) and end - start < VALUES_PER_LINE and addresses[end] == addresses[end - 1] + 1:
            end += 1
        print(f"  {table} {addresses[start]:>5}: {' '.join(f'{values[at]:>5}' for at in addresses[start:end])}")
        start = end
