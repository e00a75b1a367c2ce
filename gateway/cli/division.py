"""``linegate order allocate``, ``split``, ``merge``, ``report``, ``scrap``, ``rework``; ``unallocated list``."""

from __future__ import annotations

import datetime as dt
import json
import zoneinfo
from typing import TYPE_CHECKING, Any

from gateway.cli import person, state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse

MS_PER_MIN = 60_000
ROLES = ("good", "scrap", "rework", "hold", "test")
DISTRIBUTIONS = ("by_open_qty", "sequential_by_due_date", "fixed_ratio")


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs of ``order``."""
    one = _verb(verbs, "allocate", "give pieces without an order to an order, or write them off", "order.allocate")
    one.add_argument("order", nargs="?", default="", help="order number; without one they are written off as scrap")
    one.add_argument("--pieces", type=int, required=True, help="how many")
    one.add_argument("--from", dest="from_", default="", choices=("", *ROLES), help="counted as; good by default")
    one.add_argument("--to", default="", choices=("", *ROLES), help="what they are; the same by default")
    one.add_argument("--entries", default="", help="only from these entries of the bucket, such as 3,4")
    one = _verb(verbs, "split", "split an order: its children get all that remains", "order.split")
    one.add_argument("order", help="order number")
    one.add_argument("operation", help="operation, such as 0010")
    one.add_argument("quantity", nargs="+", help="one for each child; in all what remains")
    one = _verb(verbs, "merge", "merge orders of one product under a new one", "order.merge")
    one.add_argument("leader", help="number of the order that leads them; a new one")
    one.add_argument("orders", nargs="+", metavar="ORDER", help="the orders")
    one.add_argument("--distribution", choices=DISTRIBUTIONS, help="how the pieces are shared (default: as configured)")
    one.add_argument("--ratios", default="", help="for fixed_ratio: one for each order, such as 2,1")
    one = _verb(verbs, "unmerge", "take a merge back, as long as nothing was made", "order.unmerge")
    one.add_argument("order", help="number of the order that leads")
    one = _verb(verbs, "report", "say how many pieces were made, where people count them", "order.report")
    one.add_argument("order", help="order number")
    for name in ("good", "scrap", "rework"):
        one.add_argument(f"--{name}", type=int, default=0, help="how many")
    for name, text in (("scrap", "good pieces that are scrap"), ("rework", "good pieces to be worked on again")):
        one = _verb(verbs, name, f"{text}; none is added", f"order.{name}")
        one.add_argument("order", help="order number")
        one.add_argument("pieces", type=int, help="how many")
        person.add_signing(one)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``unallocated``."""
    parser = commands.add_parser("unallocated", help="pieces that no order ran for")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    show = verbs.add_parser("list", help="what waits at a machine, since when, and what it is")
    show.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
    show.add_argument("--json", action="store_true", help="print for programs")
    state_dir.add_arguments(show)
    show.set_defaults(run=show_bucket)


def tell(args: argparse.Namespace) -> int:
    """One word about orders; 0 done, 1 refused, with the reason, 3 where no gateway runs."""
    asked: dict[str, Any] = {
        name: getattr(args, name)
        for name in ("order", "operation", "pieces", "to", "entries", "leader", "distribution", "ratios")
        if hasattr(args, name)
    }
    asked |= {name: getattr(args, name) for name in ("good", "scrap", "rework") if hasattr(args, name)}
    if asked.get("distribution", "") is None:
        del asked["distribution"]  # as configured
    if hasattr(args, "from_"):
        asked["from"] = args.from_
    if hasattr(args, "orders"):
        asked["orders"] = ",".join(args.orders)
    if hasattr(args, "quantity"):
        asked["quantities"] = ",".join(args.quantity)
    asked |= person.signing(args) if hasattr(args, "sign") else {}
    answer = _asked(args, args.verb, who=person.name(), reason=args.reason, **asked)
    if answer is None:
        return 1
    if isinstance(answer, int):
        return answer
    print(clean(str(answer)))
    return 0


def show_bucket(args: argparse.Namespace) -> int:
    """The bucket of a machine."""
    found = _asked(args, "unallocated")
    if not isinstance(found, dict):
        return 1 if found is None else int(found)
    if args.json:
        print(json.dumps(found))
        return 0
    for line in bucket_lines(found):
        print(clean(line))
    return 0


def bucket_lines(found: dict[str, Any]) -> list[str]:
    """What waits, under a heading, in the plant's time."""
    entries = found["entries"]
    if not entries:
        return ["nothing is without an order"]
    zone = found["time_zone"]
    times = f"{'MADE FROM':<19} {f'TO ({zone})':<19}"
    lines = [f"{'NO':>5}  {'PIECES':>7} {'WHAT':<6} {times}  {'WAITS':>10}  PRODUCT, TOOL, LOT"]
    for one in entries:
        what = ", ".join(filter(None, (one["product"], one["tool"], one["lot"]))) or "-"
        what += f" ({one['estimated']} of them estimated)" if one["estimated"] else ""
        span = f"{_at_plant(one['from'], zone)} {_at_plant(one['to'], zone)}"
        waits = f"{one['age_ms'] // MS_PER_MIN:>6} min"
        lines.append(f"{one['number']:>5}  {one['pieces']:>7} {one['role']:<6} {span}  {waits}  {what}")
    return lines


def _at_plant(text: str, zone: str) -> str:
    """A time in UTC as the clock on the wall showed it."""
    return f"{dt.datetime.fromisoformat(text).astimezone(zoneinfo.ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}"


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, verb: str
) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = verbs.add_parser(name, help=text)
    one.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
    if name != "split":
        one.add_argument("--operation", default="", help="needed where the order has several here")
    one.add_argument("--reason", default="", metavar="TEXT", help="why; it is written down with your name")
    state_dir.add_arguments(one)
    one.set_defaults(run=tell, verb=verb)
    return one


def _asked(args: argparse.Namespace, verb: str, **arguments: Any) -> Any:
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return None
    try:
        return call(where, verb, machine=args.machine, **arguments)
    except ControlError as error:
        return state_dir.complain(error)
