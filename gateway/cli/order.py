"""``linegate order``: list, start, interrupt and finish job orders of the running gateway."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway.cli import person, state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse

VERBS = {
    "start": "start an order on a machine (the running one is interrupted)",
    "interrupt": "interrupt the running order",
    "finish": "end an order and confirm it finally",
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``order`` with its verbs."""
    parser = commands.add_parser("order", help="list, start, interrupt or finish orders")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb, text in VERBS.items():
        one = verbs.add_parser(verb, help=text)
        one.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
        one.add_argument("order", help="order number")
        one.add_argument("operation", nargs="?", default="", help="needed where the order has several here")
        state_dir.add_arguments(one)
        one.set_defaults(run=decide, verb=verb)
    show = verbs.add_parser("list", help="open orders of every machine")
    show.add_argument("--json", action="store_true", help="print for programs")
    state_dir.add_arguments(show)
    show.set_defaults(run=list_orders)


def decide(args: argparse.Namespace) -> int:
    """One decision; 0 done, 1 refused, with the reason, 3 where no gateway runs."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        answer = call(
            where,
            f"order.{args.verb}",
            machine=args.machine,
            order=args.order,
            operation=args.operation,
            who=person.name(),
        )
    except ControlError as error:
        return state_dir.complain(error)
    print(clean(answer))
    return 0


def list_orders(args: argparse.Namespace) -> int:
    """Open orders by machine."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        units = call(where, "status")["work_units"]
    except ControlError as error:
        return state_dir.complain(error)
    if args.json:
        print(json.dumps({unit["id"]: unit["queue"] for unit in units}))
        return 0
    for unit in units:
        print(unit["id"])
        for job in unit["queue"]:
            name = f"{job['order']}/{job['operation']}"
            made = f"{job['good']} good, {job['scrap']} scrap"
            print(clean(f"  {name:<20} {job['state']:<12} {made} of {job['quantity']}"))
        if not unit["queue"]:
            print("  no open order")
    return 0
