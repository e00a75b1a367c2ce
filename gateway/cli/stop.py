"""``linegate stop``: list the stops of a machine, name one, say that one was two, or one after all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.cli import person, reason, state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``stop`` with its verbs."""
    parser = commands.add_parser("stop", help="list, name, split and merge the stops of a machine")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    one = verbs.add_parser(
        "list",
        help="the stops of the last 24 hours, or of a stretch of time",
        description="Lists the final stops of a machine; each part of one that was split is one of its own. Times are "
        "UTC. A stop is final some seconds after its end.",
    )
    one.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
    one.add_argument("--from", dest="from_", metavar="TIME", help="from then on, such as 2026-03-27T06:00:00+01:00")
    one.add_argument("--to", metavar="TIME", help="up to then (default: now)")
    one.add_argument("--without-reason", action="store_true", help="only those without a reason")
    one.add_argument("--json", action="store_true", help="print for programs")
    state_dir.add_arguments(one)
    one.set_defaults(run=list_stops)
    reason.add_verb(verbs)
    for verb, text in (("split", "say that a stop was two, before and after"), ("merge", "take a split back, at")):
        one = verbs.add_parser(
            verb,
            help=f"{text} an instant",
            description=f"{text[0].upper()}{text[1:]} an instant. No sum changes, and both parts keep the reason that "
            "they had. Written down with your name.",
        )
        one.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
        one.add_argument("at", help="the instant, such as 2026-03-27T06:10:00+01:00")
        one.add_argument("--reason", default="", metavar="TEXT", help="why")
        state_dir.add_arguments(one)
        one.set_defaults(run=cut, verb=f"stop.{verb}")


def cut(args: argparse.Namespace) -> int:
    """0 done, 1 refused, with the reason, 3 where no gateway runs."""
    return _asked(
        args, args.verb, lambda answer: print(clean(answer)), at=args.at, reason=args.reason, who=person.name()
    )


def list_stops(args: argparse.Namespace) -> int:
    """0 after printing, 1 refused, with the reason, 3 where no gateway runs."""

    def show(answer: dict[str, Any]) -> None:
        if args.json:
            print(json.dumps(answer))
            return
        for one in answer["stops"]:
            length = f"{one['duration_ms'] / 1000:.1f} s"
            why = " by ".join(filter(None, (one["reason"], one["reason_source"]))) or "no reason"
            print(clean(f"{one['from']}  {length:>11}  {one['state']:<12} {one['order'] or '-':<16} {why}"))
        print(clean(f"{answer['machine']}: {len(answer['stops'])} stops; final up to {answer['final_up_to']}"))

    return _asked(args, "stop.list", show, **{"from": args.from_, "to": args.to}, without_reason=args.without_reason)


def _asked(args: argparse.Namespace, verb: str, show: Any, **arguments: Any) -> int:
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        show(call(where, verb, machine=args.machine, **arguments))
    except ControlError as error:
        return state_dir.complain(error)
    return 0
