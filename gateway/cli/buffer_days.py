"""``linegate buffer days``: the closing records of production days. Reads only, also while the gateway runs."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from gateway.cli import state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse

DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
SHOWN_CHARS_MAX: Final = 1000


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``days``."""
    showing = verbs.add_parser("days", help="the closing records of production days: complete or not, and why")
    showing.add_argument("--day", metavar="YYYY-MM-DD", help="only this day, with its operations")
    showing.add_argument("--machine", metavar="MACHINE", help="only of this machine")
    showing.add_argument("--json", action="store_true", help="print whole records for programs, one a line")
    state_dir.add_arguments(showing)
    showing.set_defaults(run=days)


def days(args: argparse.Namespace) -> int:
    """0 after printing, 1 where it cannot be read, 2 for an argument out of range."""
    from buffer.closing import records
    from buffer.errors import StoreError
    from gateway.lock import DATABASE_NAME

    if args.day is not None and not DAY.fullmatch(args.day):
        print(clean(f"linegate: --day: found {args.day!r}, allowed: YYYY-MM-DD", SHOWN_CHARS_MAX), file=sys.stderr)
        return 2
    where = state_dir.find(args)
    if where is None:
        return 1
    found = 0
    try:
        for one in records(where / DATABASE_NAME, day=args.day, work_unit=args.machine):
            found += 1
            if args.json:
                print(one.document.decode())
                continue
            for line in _lines(json.loads(one.document), whole=args.day is not None):
                print(clean(line, SHOWN_CHARS_MAX))
    except StoreError as error:
        print(clean(f"linegate: {error}", SHOWN_CHARS_MAX), file=sys.stderr)
        return 1
    if not found and not args.json:
        print("nothing")
    return 0


def _lines(record: dict[str, Any], *, whole: bool) -> list[str]:
    journal = record["journal"]
    said = f"not complete: {', '.join(record['incomplete'])}" if record["incomplete"] else "complete"
    numbers = "no rows" if journal["first"] is None else f"rows {journal['first']} to {journal['last']}"
    lines = [f"{record['production_day']} {record['machine']:<12} {said}; {numbers}"]
    if not whole:
        return lines
    lines.append(f"    {record['from']} to {record['to']}, closed {record['closed_at']}, digest {record['digest']}")
    for one in record["operations"]:
        counted, sent = one["counted"], one["confirmed"]
        states = ", ".join(f"{item['target']} {item['state']} {item['postings']}" for item in one["postings"])
        span = "none" if sent["first"] is None else f"{sent['first']} to {sent['last']}"
        lines.append(
            f"    {one['order']}/{one['operation']}: counted {counted['good']} good {counted['scrap']} scrap "
            f"{counted['rework']} rework {counted['hold']} hold; confirmed {sent['good']} good {sent['scrap']} scrap "
            f"{sent['rework']} rework, numbers {span}{'' if one['gapless'] else ' WITH GAPS'}; "
            f"open {one['not_confirmed']}; {states or 'no postings'}"
        )
    unknown = record["unknown"]
    if unknown["intervals"]:
        most = "nobody knows how many" if unknown["max_pieces"] is None else f"at most {unknown['max_pieces']}"
        lines.append(f"    {unknown['intervals']} intervals in which nobody counted: {most} pieces")
    ended = {True: "", False: ", the run before ended without a word"}
    lines += [f"    the gateway {one['what']}{ended[one['in_order']]}" for one in record["runs"]]
    return lines
