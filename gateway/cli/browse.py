"""``linegate browse``: the tree of an OPC UA server, with the text of each node for the configuration."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any, Final

from gateway.cli import device
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.commission.browse import Node, Walk
    from gateway.commission.progress import Progress
    from gateway.commission.target import Target

DEPTH_DEFAULT: Final = 6
DEPTH_MAX: Final = 50
#: Read by nobody: an address needs a value to make settings of.
PROBE_NODE: Final = "i=2258"
NAME_WIDTH: Final = 36
TYPE_WIDTH: Final = 16
EXAMPLES: Final = """examples:
  linegate browse opc.tcp://192.0.2.20:4840 --values
  linegate browse moulding --config linegate.yaml --filter counter --values
  linegate browse opc.tcp://192.0.2.20:4840 --path "/Objects/2:Machine" --depth 2

With --json: one line for each node. What stands in the last column is what node: takes in the configuration.
exit status: 0 something was found, 1 nothing was found or no connection, 2 wrong usage
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``browse``."""
    parser = commands.add_parser(
        "browse",
        help="show the tree of an OPC UA server",
        description="Shows what an OPC UA server has, below Objects or another node, with types, values if wanted, and "
        "each node ready to paste. Reads only. A server that wants security needs a source in a configuration.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", metavar="SOURCE|ADDRESS", help="name in the configuration, or opc.tcp://HOST:PORT/PATH"
    )
    device.add_config(parser)
    parser.add_argument(
        "--path", metavar="P", help="start here: a node (nsu=..., i=...) or a browse path (default Objects)"
    )
    parser.add_argument(
        "--depth", type=int, default=DEPTH_DEFAULT, metavar="N", help=f"so many levels (default {DEPTH_DEFAULT})"
    )
    parser.add_argument("--values", action="store_true", help="read the variables, too")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only nodes with this in their name or node")
    parser.add_argument("--json", action="store_true", help="print for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 where something was found, 1 where nothing was, 2 for wrong usage."""
    from gateway.commission.progress import Progress

    if not 1 <= args.depth <= DEPTH_MAX:
        return device.complain(f"--depth: found {args.depth}, allowed 1 to {DEPTH_MAX}", device.EXIT_USAGE)
    from gateway.commission.address import without_secrets

    progress = Progress(sys.stderr)
    progress.say(f"connecting to {without_secrets(args.source)} ...")
    try:
        found = device.find(args, args.source, [PROBE_NODE] if args.source.startswith("opc.tcp://") else [])
        if isinstance(found, int):
            return found
        if found.driver_type.name != "opcua":
            return device.complain(
                f"{found.where}: only OPC UA has a tree; for Modbus: linegate scan", device.EXIT_USAGE
            )
        return _browse(found, args, progress)
    finally:
        progress.end()


def _browse(found: Target, args: argparse.Namespace, progress: Progress) -> int:
    from drivers.base import DriverError
    from gateway.commission.browse import Walk
    from gateway.commission.session import run_until_stopped
    from gateway.timing.clock import SteadyClock

    device.quiet_libraries()
    walk = Walk(found, depth=args.depth, values=args.values, wanted=args.filter, on_progress=progress.say)
    printer = _Printer(progress, as_json=args.json, flat=bool(args.filter), values=args.values)
    try:
        ended = run_until_stopped(_print_all(walk, args.path, SteadyClock(0).now_ns, printer))
    except DriverError as error:
        progress.end()
        return device.complain(str(error))
    except LookupError as error:
        progress.end()
        return device.complain(f"{found.where}: {args.path}: {error.args[0]}; see what there is without --path")
    progress.end()
    if not args.json:
        _print_end(walk, printer.printed, args.filter, interrupted=ended is None)
    return 0 if printer.printed else device.EXIT_FAILED


async def _print_all(walk: Walk, path: str | None, now_ns: Callable[[], int], printer: _Printer) -> bool:
    async for siblings in walk.nodes(path, now_ns):
        printer.take(siblings)
    return True


def _print_end(walk: Walk, printed: int, wanted: str, *, interrupted: bool) -> None:
    if wanted:
        print(f"{printed} of {walk.seen} nodes have {wanted!r} in name or node")
    else:
        print(f"{walk.seen} nodes")
    if interrupted:
        print("interrupted: there may be more")
    elif not walk.whole:
        print("the tree is longer than this; begin further down with --path")


class _Printer:
    """Prints nodes as they are found."""

    def __init__(self, progress: Progress, *, as_json: bool, flat: bool, values: bool) -> None:
        self.printed = 0
        self._progress = progress
        self._as_json = as_json
        self._flat = flat
        self._values = values

    def take(self, siblings: list[Node]) -> None:
        """Print some nodes."""
        self._progress.end()
        for node in siblings:
            self.printed += 1
            print(json.dumps(node.document()) if self._as_json else self._line(node), flush=True)

    def _line(self, node: Node) -> str:
        indent = "" if self._flat else "  " * node.level
        more = " ..." if node.cut else ""
        name = f"{indent}{node.name}{more}"
        if node.node_class != "Variable":
            return clean(f"{name:<{NAME_WIDTH}}  {f'({node.node_class})':<{TYPE_WIDTH}}  {node.node}", 300)
        cells: list[Any] = [f"{name:<{NAME_WIDTH}}", f"{node.type_name:<{TYPE_WIDTH}}"]
        if self._values:
            cells.append(f"{node.value if node.value is not None else node.status:<20}")
        return clean("  ".join([*cells, node.node]), 300)
