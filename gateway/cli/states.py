"""``linegate states``: what a machine did, from the database: intervals, time elements, indicators of ISO 22400-2.

Works while the gateway runs and while it is stopped; changes nothing.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

from gateway.cli import state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse

    from gateway.shown.states_read import StatesFound

SHOWN_CHARS_MAX: Final = 1000


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``states``."""
    parser = commands.add_parser(
        "states",
        help="what a machine did: states, time elements, OEE; works while the gateway is stopped, too",
        description="Lists the final states of a machine without gap or overlap, and sums them up by shift, production "
        "day or order with the indicators of ISO 22400-2. A state is final some seconds after its end. "
        "Without a choice of time: the last 24 hours. Times are UTC.",
    )
    parser.add_argument("machine", help="work unit, as in the configuration (ASM-01)")
    parser.add_argument("--from", dest="from_", metavar="TIME", help="from then on, such as 2026-03-27T06:00:00+01:00")
    parser.add_argument("--to", metavar="TIME", help="up to then (default: now)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--shift", metavar="DAY/NAME", help="one shift, such as 2026-03-27/F")
    which.add_argument("--day", metavar="DAY", help="one production day, such as 2026-03-27")
    which.add_argument("--order", metavar="ORDER", help="one order, all of its operations here")
    parser.add_argument(
        "--by", choices=("shift", "day", "order"), help="what is summed up (default: as chosen, or shift)"
    )
    parser.add_argument("--sums", action="store_true", help="print the sums only")
    parser.add_argument("--json", action="store_true", help="print for programs")
    state_dir.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 after printing, 1 where there is nothing to read, 2 for a time or a choice that makes no sense."""
    from buffer.errors import StoreError
    from buffer.readonly import ReadOnlyStore
    from gateway.lock import DATABASE_NAME
    from gateway.shown import states_text
    from gateway.shown.states_read import StatesError, read

    if (args.from_ or args.to) and (args.shift or args.day or args.order):
        print("linegate: --from and --to: found with --shift, --day or --order; choose one of them", file=sys.stderr)
        return 2
    try:
        chosen = _chosen(args)
    except ValueError as error:
        print(clean(f"linegate: {error}", SHOWN_CHARS_MAX), file=sys.stderr)
        return 2
    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        with ReadOnlyStore(where / DATABASE_NAME) as store, store.moment():
            found: StatesFound = read(store, args.machine, **chosen)
    except (StoreError, StatesError) as error:
        print(clean(f"linegate: {error}", SHOWN_CHARS_MAX), file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(states_text.document(found, sums_only=args.sums)))
        return 0
    for line in states_text.lines(found, sums_only=args.sums):
        print(clean(line, SHOWN_CHARS_MAX))
    return 0


def _chosen(args: argparse.Namespace) -> dict[str, Any]:
    from gateway.core.instant import Instant
    from gateway.core.state.report import By

    by = args.by or ("order" if args.order else "day" if args.day else "shift")
    times: dict[str, int | None] = {}
    for name, text in (("from", args.from_), ("to", args.to)):
        try:
            times[f"{name}_utc_ns"] = None if text is None else int(Instant(text))
        except ValueError as error:
            raise ValueError(f"--{name}: {error}") from error
    return {**times, "shift": args.shift, "day": args.day, "order": args.order, "by": By(by)}
