"""``linegate witness``: measures a signal while somebody makes parts, and proposes the rule that counts them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

from gateway.cli import device

if TYPE_CHECKING:
    import argparse

    from gateway.commission.findings import Findings
    from gateway.commission.target import Target
    from gateway.commission.witness import Witness

SECONDS_DEFAULT: Final = 600.0
SECONDS_MAX: Final = 86_400.0
PARTS_MAX: Final = 100_000
LOOK_S: Final = 0.2


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``witness``."""
    parser = commands.add_parser(
        "witness",
        help="measure a signal while parts are made, and get the rule that counts them",
        description="Make some parts, count them by hand, and let this command watch the signal meanwhile. It measures "
        "pulses, bounce and missed edges, or the steps of a counter, and proposes the counting rule, the scan and the "
        "ideal cycle, with how sure they are. It ends by itself when all parts were seen and the signal rests, at "
        "--seconds, or with Ctrl-C. Exit status: 0 with a proposal that "
        "fits (without --parts: with any), 1 without, 2 wrong usage.",
    )
    parser.add_argument("signal", metavar="SOURCE.SIGNAL|ADDRESS", help="the signal, or the address of a device")
    parser.add_argument("value", nargs="?", metavar="VALUE", help='with an address: what to read, such as "holding 0"')
    device.add_config(parser)
    parser.add_argument("--parts", type=int, metavar="N", help="how many parts you make; 10 or more tell much")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS_DEFAULT, metavar="MAX", help=f"at most (default {SECONDS_DEFAULT:g})"
    )
    parser.add_argument("--json", action="store_true", help="print for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 with a proposal that fits, 1 without or where nothing could be read, 2 for wrong usage."""
    if args.parts is not None and not 1 <= args.parts <= PARTS_MAX:
        return device.complain(f"--parts: found {args.parts}, allowed 1 to {PARTS_MAX}", device.EXIT_USAGE)
    if not 0 < args.seconds <= SECONDS_MAX:
        return device.complain(
            f"--seconds: found {args.seconds:g}, allowed more than 0, up to {SECONDS_MAX:g}", device.EXIT_USAGE
        )
    from gateway.commission.address import is_address, without_secrets
    from gateway.commission.progress import Progress

    progress = Progress(sys.stderr)
    progress.say(f"connecting to {without_secrets(args.signal)} ...")
    try:
        if is_address(args.signal):
            target = device.find(args, args.signal, [args.value] if args.value else [])
        else:
            source, _, name = args.signal.partition(".")
            if not name or args.value:
                return device.complain(
                    f"found {args.signal!r}, allowed SOURCE.SIGNAL such as press.good, or an address and a value",
                    device.EXIT_USAGE,
                )
            target = device.find(args, source, [name])
        if isinstance(target, int):
            return target
        return _witness(target, args, progress)
    finally:
        progress.end()


def _witness(target: Target, args: argparse.Namespace, progress: Any) -> int:
    from drivers.base import DriverError
    from gateway.commission.session import run_until_stopped
    from gateway.commission.witness import Witness
    from gateway.timing.clock import SteadyClock

    if len(target.wanted) != 1:
        return device.complain(f"found {len(target.wanted)} values, allowed one", device.EXIT_USAGE)
    device.quiet_libraries()
    now_ns = SteadyClock(0).now_ns
    witness = Witness(target, args.parts, now_ns)
    try:
        run_until_stopped(_listen(target, witness, now_ns, progress), limit_s=args.seconds)
    except DriverError as error:
        progress.end()
        return device.complain(str(error))
    progress.end()
    found = witness.judge()
    return _print(found, as_json=args.json)


async def _listen(target: Target, witness: Witness, now_ns: Any, progress: Any) -> None:
    import asyncio

    from gateway.commission.session import follow

    following = asyncio.ensure_future(follow(target, now_ns, witness.take, witness.lost))
    try:
        while not witness.enough:
            await asyncio.wait({following}, timeout=LOOK_S)
            if following.done():
                following.result()
            progress.say(witness.progress())
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def _print(found: Findings, *, as_json: bool) -> int:
    from gateway.commission.findings import Sureness
    from gateway.commission.report import document, lines

    if as_json:
        print(json.dumps(document(found)))
    else:
        print(*lines(found), sep="\n")
    fits = bool(found.rule) and (found.sure is not Sureness.UNSURE or found.parts is None)
    return 0 if fits else 1
