"""``linegate order``: list, start, interrupt, finish, hold, release, reopen, cancel job orders; judge their pieces."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.cli import correction, division, person, state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse

VERBS = {
    "start": "start an order on a machine (the running one is interrupted)",
    "scan": "start the order of a barcode: its number, alone or with the operation behind / - + * or a blank",
    "interrupt": "interrupt the running order",
    "finish": "end an order and confirm it finally",
    "hold": "set an order on hold: it does not start, and what it makes waits for a verdict",
    "release": "end a hold: the order is where it was before",
    "reopen": "open an order again that is complete; its final confirmation is reversed",
    "cancel": "withdraw an order for the ERP; what was made is confirmed",
    "dispatch": "put a released order into the queue of its machine",
    "revoke": "take an order that was not started out of the queue again",
    "complete-setup": "say that the setup of the running order is done",
    "rush": "put an order before all others; what runs is interrupted for it, and goes on after it",
    "approve-first-article": "say that the first piece is right: production begins",
    "acknowledge-data": "take time without data, counters in doubt and unknown lots of an order as they are",
    "inspect": "enter the verdict of an order's inspection",
    "confirm": "confirm what was made since the last confirmation now",
    "material-ready": "say that the material of an order is at the machine",
    "material-missing": "say that the material of an order is not there: it does not start",
    "acknowledge-documents": "say that the documents of an order were read; without --document all of them",
}


_SYSTEMS = ("opc", "euromap", "sap", "d365", "erpnext", "odoo")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``order`` with its verbs."""
    parser = commands.add_parser("order", help="list, start, interrupt, finish, hold or reopen orders, judge pieces")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb, text in VERBS.items():
        one = verbs.add_parser(verb, help=text)
        one.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
        one.add_argument("order", help="order number")
        one.add_argument("operation", nargs="?", default="", help="needed where the order has several here")
        one.add_argument("--reason", default="", metavar="TEXT", help="why; it is written down with your name")
        if verb == "start":
            one.add_argument(
                "--interrupt", action="store_true", help="interrupt what runs; it is next after this order"
            )
        elif verb == "acknowledge-documents":
            one.add_argument("--document", default="", metavar="NAME", help="only this one")
        elif verb == "inspect":
            one.add_argument("--verdict", required=True, choices=("passed", "failed"), help="what it says")
        if verb == "release":
            person.add_signing(one)
        state_dir.add_arguments(one)
        one.set_defaults(run=decide, verb=verb)
    _add_reclassify(verbs)
    division.add_verbs(verbs)
    correction.add_verbs(verbs)
    show = verbs.add_parser("list", help="open orders of every machine")
    show.add_argument("--foreign", default="", choices=_SYSTEMS, metavar="SYSTEM", help="the states in its words, too")
    show.add_argument("--json", action="store_true", help="print for programs")
    state_dir.add_arguments(show)
    show.set_defaults(run=list_orders)


def _add_reclassify(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    one = verbs.add_parser(
        "reclassify",
        help="say what pieces are that were booked as something else, or were held",
        description="Pieces of an order become what you say: good ones that are scrap, held ones that are good. What "
        "is confirmed already is corrected. No piece is made or lost. Written down with your name.",
    )
    one.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
    one.add_argument("order", help="order number")
    one.add_argument("pieces", type=int, help="how many")
    one.add_argument("--from", dest="from_", required=True, choices=("good", "scrap", "rework", "hold"), help="were")
    one.add_argument("--to", required=True, choices=("good", "scrap", "rework"), help="are")
    one.add_argument("--operation", default="", help="needed where the order has several here")
    one.add_argument("--reason", default="", metavar="TEXT", help="why")
    person.add_signing(one)
    state_dir.add_arguments(one)
    one.set_defaults(run=reclassify)


def reclassify(args: argparse.Namespace) -> int:
    """One disposition; 0 done, 1 refused, with the reason, 3 where no gateway runs."""
    roles = {"from": args.from_, "to": args.to}
    return _told(
        args,
        "order.reclassify",
        order=args.order,
        operation=args.operation,
        pieces=args.pieces,
        reason=args.reason,
        **roles,
        **person.signing(args),
    )


def decide(args: argparse.Namespace) -> int:
    """One decision; 0 done, 1 refused, with the reason, 3 where no gateway runs."""
    more = {name: getattr(args, name) for name in ("interrupt", "document", "verdict") if getattr(args, name, None)}
    more |= person.signing(args) if args.verb == "release" else {}
    return _told(args, f"order.{args.verb}", order=args.order, operation=args.operation, reason=args.reason, **more)


def _told(args: argparse.Namespace, verb: str, **arguments: Any) -> int:
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        answer = call(where, verb, machine=args.machine, who=person.name(), **arguments)
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
            state = job["state"]
            if args.foreign:
                state = f"{state} ({_foreign(state, args.foreign)})"
            name = f"{job['order']}/{job['operation']}"
            made = f"{job['good']} good, {job['scrap']} scrap"
            more = "".join(
                f", {text}"
                for text in (
                    f"{job['hold']} wait for a verdict" if job["hold"] else "",
                    f"on hold: {job['hold_reason']}" if job["hold_reason"] else "",
                    "rush order" if job["rush"] else "",
                    job["bom_waits"],
                    f"more than the operation before has: {job['before_good']}" if job["exceeds_predecessor"] else "",
                )
                if text
            )
            print(clean(f"  {name:<20} {state:<12} {made} of {job['quantity']}{more}"))
        if not unit["queue"]:
            print("  no open order")
    return 0


def _foreign(state: str, system: str) -> str:
    """What a system calls a state; "none": it has no word for it."""
    from gateway.core.orders.foreign_states import WORDS

    word = WORDS[state][system]
    return f"{system}: {'none' if word in ('', None) else word}"
