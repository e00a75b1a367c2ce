"""``linegate demo``: the product doing its job, with everything it needs bundled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli.simulate import ERPS

if TYPE_CHECKING:
    import argparse

BUNDLED = "erp"
SPEED_MAX = 50.0


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``demo``."""
    parser = commands.add_parser(
        "demo",
        help="three simulated machines, an ERP and the gateway between them",
        description="Starts three simulated machines, a fake ERP, a broker and the gateway, shows them live, and ends "
        "with a reconciliation table. Exit status 0 only if every piece is accounted for.",
    )
    parser.add_argument("--seconds", type=float, metavar="N", help="end by itself after N seconds (default: Ctrl-C)")
    parser.add_argument("--seed", type=int, default=1, help="of the machines and of the chaos (default 1)")
    parser.add_argument("--speed", type=float, default=5.0, help="times real time, 1 to 50 (default 5)")
    parser.add_argument("--chaos", action="store_true", help="plant faults: ERP, answers, PLC link, SIGKILL")
    parser.add_argument(
        "--erp",
        choices=(BUNDLED, *ERPS),
        default=BUNDLED,
        metavar="NAME",
        help=f"which simulated ERP: {BUNDLED} (the bundled one), {', '.join(ERPS)}",
    )
    parser.add_argument("--json", action="store_true", help="print only the reconciliation, for programs")
    parser.add_argument("--dir", default=".demo", metavar="DIR", help="where its files go (default .demo)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 when it balances, 1 when it does not or could not start."""
    from gateway.demo import show

    return show.run(args)
