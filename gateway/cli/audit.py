"""``linegate audit``: what persons told the gateway to do, and how it ended. Works while it is stopped, too."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

from gateway.cli import state_dir
from gateway.core.calendar.honest_time import utc_of
from gateway.core.document import utc
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse

    from buffer.audit import AuditRow

SHOWN_DEFAULT: Final = 50
SHOWN_MAX: Final = 10_000
#: For a person; ``--json`` cuts nothing.
SHOWN_CHARS_MAX: Final = 1000


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``audit`` with its verb."""
    parser = commands.add_parser("audit", help="what persons told the gateway to do, and how it ended")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    show = verbs.add_parser("show", help="newest last; works while the gateway is stopped, too")
    show.add_argument(
        "-n", type=int, default=SHOWN_DEFAULT, metavar="N", help=f"rows, 1 to {SHOWN_MAX} (default {SHOWN_DEFAULT})"
    )
    show.add_argument("--json", action="store_true", help="print for programs")
    state_dir.add_arguments(show)
    show.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 after printing, 1 where there is nothing to read, 2 for a number out of range."""
    from buffer.errors import StoreError
    from buffer.readonly import ReadOnlyStore
    from gateway.lock import DATABASE_NAME

    if not 1 <= args.n <= SHOWN_MAX:
        print(f"linegate: -n: found {args.n}, allowed 1 to {SHOWN_MAX}", file=sys.stderr)
        return 2
    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        with ReadOnlyStore(where / DATABASE_NAME) as store:
            # Stored times are steady: what was learned of UTC since names them.
            known = store.corrections()
            rows = [row._replace(at_ns=utc_of(known, row.at_ns)) for row in reversed(store.audit(args.n))]
    except StoreError as error:
        print(clean(f"linegate: {error}", SHOWN_CHARS_MAX), file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps([_plain(row) for row in rows]))
        return 0
    for row in rows:
        print(clean(_line(row), SHOWN_CHARS_MAX))
    if not rows:
        print("nothing")
    return 0


def _plain(row: AuditRow) -> dict[str, Any]:
    return {**row._asdict(), "at": utc(row.at_ns)}


def _line(row: AuditRow) -> str:
    change = f"{row.entity}: {'?' if row.old is None else row.old} -> {row.new}"
    about = "" if row.about is None else f" (of {row.about})"
    reason = f"  because {row.reason}" if row.reason else ""
    detail = f"  {row.detail}" if row.detail else ""
    return f"{row.seq:>6} {utc(row.at_ns)} {row.actor}  {row.action} {change}  {row.outcome}{about}{reason}{detail}"
