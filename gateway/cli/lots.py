"""``linegate lots``: mount lots, take them off, issue material, and trace where a lot came from or went."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.cli import person, state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``lots`` with its verbs."""
    parser = commands.add_parser("lots", help="mount lots, issue material, trace lots and serial numbers")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb, text in (("mount", "mount a lot at a feeder"), ("unmount", "take a lot off a feeder")):
        one = verbs.add_parser(verb, help=text)
        one.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
        one.add_argument("feeder", help="place where material is mounted, as in the configuration")
        one.add_argument("lot", help="lot, as on its label")
        if verb == "mount":
            one.add_argument("--item", default="", help="what the label says; it must belong there")
            one.add_argument("--quantity", default="", metavar="N", help="what is left of it, in the item's unit")
            one.add_argument("--replace", action="store_true", help="what was mounted is taken off")
        state_dir.add_arguments(one)
        one.set_defaults(run=change, verb=f"lot.{verb}")
    issue = verbs.add_parser("issue", help="say what an order used without pieces")
    issue.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
    issue.add_argument("order", help="order number")
    issue.add_argument("item", help="item of the order's BOM")
    issue.add_argument("quantity", help="how much, in the item's unit")
    issue.add_argument("--kind", choices=("purge", "startup"), default="purge", help="what for (purge)")
    issue.add_argument("--operation", default="", help="needed where the order has several here")
    issue.add_argument("--reason", default="", metavar="TEXT", help="why")
    state_dir.add_arguments(issue)
    issue.set_defaults(run=material)
    name = verbs.add_parser("name", help="say which lot an order took while nobody knew")
    name.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
    name.add_argument("order", help="order number")
    name.add_argument("feeder", help="place where material is mounted, as in the configuration")
    name.add_argument("lot", help="lot that was used")
    name.add_argument("--operation", default="", help="needed where the order has several here")
    name.add_argument("--reason", required=True, metavar="TEXT", help="how that is known")
    state_dir.add_arguments(name)
    name.set_defaults(run=known)
    serial = verbs.add_parser("serial", help="give the serial number of a piece")
    serial.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
    serial.add_argument("serial", help="serial number, as on the piece")
    serial.add_argument("--order", default="", help="order number; without it the running one")
    serial.add_argument("--operation", default="", help="needed where the order has several here")
    state_dir.add_arguments(serial)
    serial.set_defaults(run=piece)
    _add_reading(verbs)


def _add_reading(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Verbs that change nothing."""
    trace = verbs.add_parser("trace", help="what a lot or serial number went into, or was made from")
    trace.add_argument("number", help="lot or serial number")
    way = trace.add_mutually_exclusive_group()
    way.add_argument("--forward", dest="direction", action="store_const", const="forward", help="went into (default)")
    way.add_argument("--backward", dest="direction", action="store_const", const="backward", help="was made from")
    trace.add_argument("--json", action="store_true", help="print for programs")
    state_dir.add_arguments(trace)
    trace.set_defaults(run=show, direction="forward")
    used = verbs.add_parser("used", help="where a lot was used: what whoever holds it has to look at")
    used.add_argument("lot", help="lot, as on its label")
    used.add_argument("--json", action="store_true", help="print for programs")
    state_dir.add_arguments(used)
    used.set_defaults(run=where_used)


def change(args: argparse.Namespace) -> int:
    """One lot; 0 done, 1 refused, with the reason, 3 where no gateway runs."""
    names = ("item", "quantity", "replace") if args.verb == "lot.mount" else ()
    more = {name: getattr(args, name) for name in names}
    return _told(args, args.verb, machine=args.machine, feeder=args.feeder, lot=args.lot, **more)


def material(args: argparse.Namespace) -> int:
    """One issue; 0 done, 1 refused, with the reason, 3 where no gateway runs."""
    names = ("machine", "order", "operation", "item", "quantity", "kind", "reason")
    return _told(args, "material.issue", **{name: getattr(args, name) for name in names})


def known(args: argparse.Namespace) -> int:
    """A lot that was unknown; 0 done, 1 refused, with the reason, 3 where no gateway runs."""
    names = ("machine", "order", "operation", "feeder", "lot", "reason")
    return _told(args, "lots.name", **{name: getattr(args, name) for name in names})


def piece(args: argparse.Namespace) -> int:
    """One serial number; 0 taken, 1 refused, with the reason, 3 where no gateway runs."""
    names = ("machine", "serial", "order", "operation")
    return _told(args, "lots.serial", **{name: getattr(args, name) for name in names})


def show(args: argparse.Namespace) -> int:
    """One trace; 0 found, 1 refused, with the reason, 3 where no gateway runs."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        found = call(where, "lots.trace", number=args.number, direction=args.direction)
        page = found
        while going := [at for at, one in enumerate(page["traces"]) if one["next"] is not None]:
            # All pages of this answer have the same length.
            skip = page["traces"][going[0]]["next"]
            page = call(where, "lots.trace", number=args.number, direction=args.direction, skip=skip)
            _append(found, page)
    except ControlError as error:
        return state_dir.complain(error)
    if args.json:
        print(json.dumps(found))
        return 0
    for link in found["refused"]:
        print(clean(f"refused, it would be made from itself: {_name(link['parent'])} into {_name(link['child'])}"))
    for trace in found["traces"]:
        print(clean(_name(trace["start"])))
        for one in trace["reached"]:
            print(clean(f"{'  ' * one['depth']}{_name(one)}  {one['certainty']}"))
        if not trace["complete"]:
            print("and more: this is not all of it")
    return 0


def where_used(args: argparse.Namespace) -> int:
    """One lot; 0 told, 1 refused, with the reason, 3 where no gateway runs."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        found = call(where, "lots.used", lot=args.lot)
    except ControlError as error:
        return state_dir.complain(error)
    if args.json:
        print(json.dumps(found))
        return 0
    tell_use(found)
    return 0


def tell_use(found: dict[str, Any]) -> None:
    """Where a lot was used, a line for each kind of thing, a line for each confirmation."""
    names = {
        "orders": [f"{one['order']}/{one['operation']}" for one in found["orders"]],
        "products": found["products"],
        **{name: [one["number"] for one in found[name]] for name in ("lots", "serials", "handling_units")},
        "not confirmed yet": [f"{one['order']}/{one['operation']}" for one in found["open"] if one["order"]],
        "mounted": [f"{one['machine']} {one['feeder']}" for one in found["open"] if one["feeder"]],
    }
    for name, row in names.items():
        if row:
            more = found["left_out"].get(name, 0)
            print(clean(f"{name.replace('_', ' ')}: {', '.join(row)}{f' and {more} more' if more else ''}"))
    for one in found["confirmations"]:
        sent = "sent" if one["sent"] else "not sent"
        print(clean(f"confirmation {one['key']} to {one['target']}: {sent}, {one['state']}"))
    for kind, what in (("confirmations", "confirmations"), ("open", "places where it is open")):
        if more := found["left_out"].get(kind, 0):
            print(f"and {more} more {what}")
    if not any(names.values()) and not found["confirmations"]:
        print("used nowhere that is known here; orders that retention has forgotten (retention.orders) are not known")
    if not found["complete"]:
        print("and more: this is not all of it")


def _append(found: dict[str, Any], page: dict[str, Any]) -> None:
    """A further page of the same traces; one that begins meanwhile is no part of them."""
    for trace, more in zip(found["traces"], page["traces"], strict=False):
        if trace["start"] == more["start"]:
            trace["reached"] += more["reached"]
            trace["links"] += more["links"]
            trace["links_left_out"] += more["links_left_out"]
            trace["complete"] = trace["complete"] and more["complete"]
            trace["next"] = more["next"]


def _name(node: dict[str, Any]) -> str:
    return f"{node['kind']} {node['number']}" + (f" of {node['item']}" if node["item"] else "")


def _told(args: argparse.Namespace, verb: str, **arguments: Any) -> int:
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        answer = call(where, verb, who=person.name(), **arguments)
    except ControlError as error:
        return state_dir.complain(error)
    print(clean(answer))
    return 0
