"""``linegate hold``: set, release and list holds of a machine, a product, a lot or an order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.cli import person, state_dir
from gateway.cli.lots import tell_use
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

_SCOPES = ("machine", "product", "lot", "order")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``hold`` with its verbs."""
    parser = commands.add_parser("hold", help="set, release and list holds of a machine, a product, a lot or an order")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    words = (
        ("set", "hold all that is open of it, and what comes later"),
        ("release", "end a hold: its orders are where they were before, unless another one keeps them"),
    )
    for verb, text in words:
        one = verbs.add_parser(
            verb, help=text, description=f"{text[0].upper()}{text[1:]}. Written down with your name."
        )
        one.add_argument("scope", choices=_SCOPES, help="what it is of")
        one.add_argument("name", help="the machine, product, lot or order")
        one.add_argument("--at", default="", metavar="MACHINE", help="only there (default: all machines)")
        one.add_argument("--reason", required=verb == "set", default="", metavar="TEXT", help="why")
        if verb == "release":
            person.add_signing(one)
        state_dir.add_arguments(one)
        one.set_defaults(run=decide, verb=f"hold.{verb}")
    show = verbs.add_parser("list", help="holds that stand")
    show.add_argument("--at", default="", metavar="MACHINE", help="only there (default: all machines)")
    show.add_argument("--json", action="store_true", help="print for programs")
    state_dir.add_arguments(show)
    show.set_defaults(run=list_holds)


def decide(args: argparse.Namespace) -> int:
    """One word; 0 done, 1 refused, with the reason, 3 where no gateway runs."""
    more = person.signing(args) if args.verb == "hold.release" else {}
    machine, name = (args.name, "") if args.scope == "machine" else (args.at, args.name)
    named = {key: text for key, text in (("machine", machine), ("name", name), ("reason", args.reason)) if text}
    done = _asked(
        args, args.verb, lambda answer: print(clean(answer)), scope=args.scope, who=person.name(), **named, **more
    )
    # Whoever holds a lot has to look at what it went into.
    if done or args.scope != "lot" or args.verb != "hold.set":
        return done
    return _asked(args, "lots.used", tell_use, lot=args.name)


def list_holds(args: argparse.Namespace) -> int:
    """0 after printing, 3 where no gateway runs."""

    def show(answer: dict[str, Any]) -> None:
        if args.json:
            print(json.dumps(answer))
            return
        for one in answer["holds"]:
            what = f"{one['scope']} {one['name']}".rstrip()
            print(clean(f"{one['machine']:<12} {what:<28} since {one['since']}  {one['reason']} (by {one['who']})"))
        if not answer["holds"]:
            print("no hold stands")

    return _asked(args, "hold.list", show, **({"machine": args.at} if args.at else {}))


def _asked(args: argparse.Namespace, verb: str, show: Callable[[Any], None], **arguments: Any) -> int:
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        show(call(where, verb, **arguments))
    except ControlError as error:
        return state_dir.complain(error)
    return 0
