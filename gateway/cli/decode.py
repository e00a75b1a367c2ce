"""``linegate decode``: which reading of some Modbus registers is what the machine's display shows."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Final

from gateway.cli import device

if TYPE_CHECKING:
    from gateway.commission.address import Register
    from gateway.commission.decodings import Match, Shown

COUNT_DEFAULT: Final = 4
#: A device may refuse to be asked beyond its last register.
COUNTS_LESS: Final = (2, 1)
ROWS_MAX: Final = 20
EXAMPLES: Final = """examples:
  linegate decode 52429 17142 --shows 123.4
  linegate decode 0x0001,0xe240 --shows 123456
  linegate decode --read modbus://192.0.2.10/1/holding/100 --shows 23.7 --tolerance 0.3
  linegate decode --read "rtu:/dev/ttyUSB0?baudrate=9600&unit=3&table=input&address=0" --shows 1500
  linegate decode --read modbus://192.0.2.10/1/holding/8 --count 8 --shows "JOB 4711"

exit status: 0 something fits, 1 nothing fits or no answer, 2 wrong usage
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``decode``."""
    parser = commands.add_parser(
        "decode",
        help="find the type, order and scale with which Modbus registers are what the display shows",
        description="Tries every type, byte order and usual scale on some registers, from each of them on, and prints "
        "those that give what the machine's display shows, the likeliest first, ready to paste.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "words", nargs="*", metavar="WORD", help="registers, decimal or 0x..., in the order of addresses"
    )
    parser.add_argument("--read", metavar="ADDRESS/UNIT/TABLE/NUMBER", help="read them from a device instead")
    parser.add_argument(
        "--count", type=int, metavar="N", help=f"with --read: so many (default {COUNT_DEFAULT} or fewer)"
    )
    parser.add_argument("--shows", required=True, metavar="TEXT", help="what the display shows, with all its digits")
    parser.add_argument(
        "--tolerance", metavar="X", help="how far it may be off (default: half of the last digit shown)"
    )
    parser.add_argument("--json", action="store_true", help="print for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 where something fits, 1 where nothing does or nobody answers, 2 for wrong usage."""
    from gateway.commission.decodings import WORDS_MAX, matches, parse_shown, parse_words

    if bool(args.words) == bool(args.read):
        return device.complain("found registers and --read, or neither; allowed one of them", device.EXIT_USAGE)
    if args.count is not None and (not args.read or not 1 <= args.count <= WORDS_MAX):
        return device.complain(f"--count: found {args.count}, allowed 1 to {WORDS_MAX}, with --read", device.EXIT_USAGE)
    table, address = "holding", 0
    try:
        shown = parse_shown(args.shows, args.tolerance)
        if args.words:
            words = parse_words(args.words)
    except ValueError as error:
        return device.complain(str(error), device.EXIT_USAGE)
    if args.read:
        register = _register(args.read)
        if isinstance(register, int):
            return register
        read = _read(register, args)
        if isinstance(read, int):
            return read
        words, table, address = read, register.table, register.address
    found = matches(words, shown)
    if args.json:
        print(json.dumps(_document(words, shown, found, table, address)))
    else:
        _print(words, shown, found, table, address, named=bool(args.read))
    return 0 if found else device.EXIT_FAILED


def _register(text: str) -> Register | int:
    from gateway.commission.address import BIT_TABLES, AddressError, parse_register

    try:
        register = parse_register(text)
    except AddressError as error:
        return device.complain(str(error), device.EXIT_USAGE)
    if register.table in BIT_TABLES:
        return device.complain(f"{text}: a {register.table} is one bit, there is nothing to decode", device.EXIT_USAGE)
    return register


def _read(register: Register, args: argparse.Namespace) -> list[int] | int:
    from drivers.base import DriverError
    from gateway.commission.modbus_probe import Probe, endpoint_of
    from gateway.commission.progress import Progress
    from gateway.commission.scan import Kind
    from gateway.commission.session import run_until_stopped
    from gateway.commission.target import TargetError

    progress = Progress(sys.stderr)
    progress.say(f"reading {args.read} ...")
    device.quiet_libraries()
    counts = (args.count,) if args.count else (COUNT_DEFAULT, *COUNTS_LESS)
    try:
        endpoint = endpoint_of(register.device, args.read)
        answer = run_until_stopped(
            Probe(endpoint).first_answer(endpoint.unit, register.table, register.address, counts)
        )
    except (DriverError, TargetError) as error:
        progress.end()
        return device.complain(str(error), device.EXIT_USAGE if isinstance(error, TargetError) else device.EXIT_FAILED)
    progress.end()
    if answer is None:
        return device.EXIT_INTERRUPTED
    if answer.kind is not Kind.ANSWERS:
        why = f": {answer.text}" if answer.text else ""
        return device.complain(f"{args.read}: {answer.kind}{why}; what can be read there: linegate scan")
    return list(answer.words)


def _document(words: list[int], shown: Shown, found: list[Match], table: str, address: int) -> dict[str, object]:
    return {
        "words": words,
        "shows": shown.text,
        "tolerance": float(shown.tolerance),
        "matches": [
            {
                "offset": match.offset,
                "type": match.type,
                "order": match.order,
                "byte": match.byte,
                "registers": match.registers,
                "scale": match.scale,
                "value": match.value,
                "also": list(match.also),
                "signal": match.signal(table, address),
            }
            for match in found
        ],
    }


def _print(words: list[int], shown: Shown, found: list[Match], table: str, address: int, *, named: bool) -> None:
    from gateway.commission.view import flow, value_text
    from gateway.commission.view import table as as_table

    place = f"{table} {address} and following" if named else "registers"
    print(f"{place}: {' '.join(f'{word} (0x{word:04x})' for word in words)}")
    if not found:
        print(f"no reading of them gives {shown.text} (tolerance {float(shown.tolerance):g})")
        print("was it read while the display showed it? Widen it with --tolerance, or look elsewhere: linegate scan")
        return
    rows = [
        (
            value_text(match.value),
            "/".join((match.type, *match.also)) + (f" ({match.byte})" if match.byte else ""),
            "-" if match.registers == 1 and match.order == "ABCD" else match.order,
            match.scale,
            flow(match.signal(table, address)),
        )
        for match in found[:ROWS_MAX]
    ]
    for line in as_table(("VALUE", "TYPE", "ORDER", "SCALE", "SIGNAL"), rows):
        print(line)
    if len(found) > ROWS_MAX:
        print(f"... and {len(found) - ROWS_MAX} more (--json prints all)")
    if not named:
        print("addresses count from the first register given: put the right table and address in")
    if shown.number == 0:
        print("0 says little: almost everything reads 0 somehow; decode again when the display shows another value")
    elif len(found) > 1:
        print("several fit: decode again when the display shows another value, and take what fits both times")
