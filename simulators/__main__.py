"""``python -m simulators NAME [options]``: one simulated device or server per process.

Parses arguments and hands over; imports only the simulator that was asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from simulators.control import Control, SimulatorError
from simulators.printed import document
from simulators.scenario import Scenario

if TYPE_CHECKING:
    from types import ModuleType

#: Name on the command line -> module with ``add_arguments(parser)``, ``async run(options, control)`` and, for
#: ``--print-config``, ``config_text(options, facts) -> str`` and ``USUAL_PORT`` (see ``printed.py``).
SIMULATORS: Final = {
    "asm-01": "simulators.modbus_server",
    "imm-01": "simulators.opcua_server",
    "tst-01": "simulators.tst_01",
    "fil-02": "simulators.opcua_filler",
    "pck-01": "simulators.digital_io",
    "erp": "simulators.erp.server",
    "broker": "simulators.broker",
}
#: Doubles of real ERPs: ``erp NAME``, or NAME alone. Without a name it is the bundled one.
ERPS: Final = {
    "sap_odata": "simulators.erp.sap_odata",
    "sap_idoc": "simulators.erp.sap_idoc",
    "d365": "simulators.erp.d365",
    "business_central": "simulators.erp.business_central",
    "kingdee": "simulators.erp.kingdee",
    "file_partner": "simulators.erp.file_partner",
    "mes": "simulators.erp.mes",
}
#: Simulators that are no machine.
SERVERS: Final = ("erp", "broker", *ERPS)
MAX_SPEED: Final = 10_000


def main(arguments: list[str]) -> int:
    """Run the simulator named first; returns the exit code."""
    if arguments[:1] == ["erp"] and arguments[1:2] and not arguments[1].startswith("-"):
        if arguments[1] not in ERPS:
            print(f"erp: found {arguments[1]!r}, allowed: {', '.join(ERPS)}, or nothing", file=sys.stderr)
            return 2
        arguments = arguments[1:]
    if not arguments or arguments[0] not in SIMULATORS | ERPS:
        found = f"{arguments[0]!r} is no simulator; " if arguments and arguments[0] not in {"-h", "--help"} else ""
        names = ",".join((*SIMULATORS, *ERPS))
        print(f"{found}usage: python -m simulators {{{names}}} [options]", file=sys.stderr)
        return 2 if found or not arguments else 0
    name, *rest = arguments
    try:
        module, options = chosen(name, rest)
        if options.print_config:
            print(document(name, module, options, rest), end="")
            return 0
        asyncio.run(_run(module.run, name, options))
    except SimulatorError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def chosen(name: str, arguments: list[str]) -> tuple[ModuleType, argparse.Namespace]:
    """The module of a simulator, and its options. Wrong arguments end the process with status 2."""
    module = importlib.import_module((SIMULATORS | ERPS)[name])
    parser = _parser(name)
    module.add_arguments(parser)
    return module, parser.parse_args(arguments)


async def _run(run: object, name: str, options: argparse.Namespace) -> None:
    assert callable(run)
    scenario = None if options.scenario is None else Scenario.load(options.scenario)
    await run(options, Control(name, read_stdin=options.read_stdin, scenario=scenario, speed=options.speed))


def _parser(name: str) -> argparse.ArgumentParser:
    doubles = f"Doubles of real ERPs, each with its own options: erp NAME, NAME being one of {', '.join(ERPS)}."
    parser = argparse.ArgumentParser(prog=f"python -m simulators {name}", epilog=doubles if name == "erp" else None)

    # Servers take them too, so that one command line fits all; their help does not offer what has no effect.
    def of_machines(text: str) -> str:
        return argparse.SUPPRESS if name in SERVERS else text

    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=_port, default=0, help="port to listen on; 0: any free one, see the ready line")
    parser.add_argument("--seed", type=int, default=1, help=of_machines("another number, another day at the machine"))
    parser.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        help=of_machines("how many times faster than life the machine runs"),
    )
    parser.add_argument(
        "--truth", type=Path, help=of_machines("append what really happened to this file, as JSON lines")
    )
    parser.add_argument("--stop-after", type=int, metavar="N", help=of_machines("the machine stops after N pieces"))
    parser.add_argument("--steady", action="store_true", help=of_machines("the machine never stops by itself"))
    parser.add_argument(
        "--even", action="store_true", help=of_machines("no chance at all: steady, ideal cycles, scrap at intervals")
    )
    parser.add_argument("--scrap-share", type=_share, metavar="X", help=of_machines("share of scrapped cycles"))
    parser.add_argument("--scenario", type=Path, metavar="FILE", help="commands and when to give them, as YAML")
    parser.add_argument("--print-config", action="store_true", help="print the gateway's matching YAML and end")
    parser.add_argument("--no-stdin", dest="read_stdin", action="store_false", help="run without reading commands")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:  # noqa: PLR2004 - the largest TCP port
        raise argparse.ArgumentTypeError(f"{text!r} is no port; allowed: 0 to 65535")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; allowed: 0 to 1")
    return share


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= MAX_SPEED:
        raise argparse.ArgumentTypeError(f"{text!r} is no speed; allowed: above 0, at most {MAX_SPEED}")
    return speed


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is closed; taking a large address space apart piece by piece could outlast the promised second.
    os._exit(status)
