"""``linegate outbox edit`` and ``export``: what a person does about confirmations that are parked.

``export`` reads the database alone, also while the gateway is stopped; ``edit`` asks the running gateway.
"""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING, Any, Final

from gateway.cli import person, state_dir
from gateway.core.calendar.honest_time import utc_of
from gateway.core.document import utc
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse

    from buffer.entry import OutboxEntry
    from buffer.readonly import ReadOnlyStore

#: Postings that are read at a time.
PAGE: Final = 500
OF_OPERATION_MAX: Final = 1000
SHOWN_CHARS_MAX: Final = 1000
NUMBER_DIGITS_MAX: Final = 18
#: Columns of the table; ``scrap`` is the sum of all reasons.
COLUMNS: Final = (
    "no", "key", "target", "order", "operation", "seq", "kind", "machine", "from", "to", "good", "scrap", "rework",
    "uom", "attempts", "last_sent", "error_kind", "error_code", "error", "suggested", "answer_status", "answer_body",
    "request",
)  # fmt: skip


def add_edit(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``edit``."""
    parser = verbs.add_parser(
        "edit",
        help="give a parked confirmation other numbers; a new one takes its place",
        description="Gives a parked confirmation other numbers: the old one becomes void, and a new one with a key of "
        "its own takes its place in the lane. Refused where the old one may be booked: look it up in the ERP first.",
    )
    parser.add_argument("which", help="its number or its key")
    for role in ("good", "scrap", "rework"):
        parser.add_argument(f"--{role}", type=int, required=True, metavar="N", help=f"{role} pieces as they should be")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; stored with your name")
    person.add_signing(parser)
    parser.set_defaults(run=edit)
    return parser


def add_export(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``export``."""
    parser = verbs.add_parser(
        "export",
        help="print all parked confirmations with request and answer, to book them by hand",
        description="Prints every parked confirmation, the oldest first, with what was sent, what the target answered "
        "and what can be done. It changes nothing: discard what was booked by hand.",
    )
    parser.add_argument(
        "--format", choices=("jsonl", "csv"), default="jsonl", help="one JSON object a line, or a table"
    )
    parser.add_argument("--target", help="only of this target")
    parser.set_defaults(run=export)
    return parser


def edit(args: argparse.Namespace) -> int:
    """Ask the running gateway for other numbers."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    # More digits than any number has: a key that nothing has, and so the answer is.
    is_number = args.which.isdecimal() and len(args.which) <= NUMBER_DIGITS_MAX
    which = int(args.which) if is_number else args.which
    numbers = {"good": args.good, "scrap": args.scrap, "rework": args.rework}
    try:
        more = person.signing(args)
        print(clean(call(where, "outbox.edit", which=which, who=person.name(), reason=args.reason, **numbers, **more)))
    except ControlError as error:
        return state_dir.complain(error)
    return 0


def export(args: argparse.Namespace) -> int:
    """Print what is parked: 0 also where nothing is."""
    from buffer.entry import OutboxState
    from buffer.errors import StoreError
    from buffer.readonly import ReadOnlyStore
    from gateway.lock import DATABASE_NAME

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        with ReadOnlyStore(where / DATABASE_NAME) as store:
            found: list[OutboxEntry] = []
            page = store.outbox(state=OutboxState.PARKED, target=args.target, limit=PAGE)
            while page:
                found += page
                page = store.outbox(state=OutboxState.PARKED, target=args.target, limit=PAGE, before_id=page[-1].id)
            rows = [_row(store, entry) for entry in reversed(found)]
    except StoreError as error:
        print(clean(f"linegate: {error}", SHOWN_CHARS_MAX), file=sys.stderr)
        return 1
    if args.format == "csv":
        table = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    else:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    return 0


def details(
    args: argparse.Namespace, entry: OutboxEntry
) -> tuple[dict[str, Any], dict[str, Any] | None, list[dict[str, Any]]]:
    """What is known besides: what can be done, what replaced it or is replaced by it; the answer; its steps."""
    from buffer import steps
    from buffer.errors import StoreError
    from buffer.outbox_links import links
    from buffer.readonly import ReadOnlyStore
    from gateway.forwarder.advice import suggested_for
    from gateway.lock import DATABASE_NAME

    where = state_dir.find(args)
    more: dict[str, Any] = {"suggested": suggested_for(entry)}
    if where is None:
        return more, None, []
    try:
        with ReadOnlyStore(where / DATABASE_NAME) as store:
            beside = [one for one in store.outbox(order=entry.order, limit=OF_OPERATION_MAX) if one.lane == entry.lane]
            known = store.corrections()
            told = steps.told(store.steps(entry.id), lambda at_ns: None if at_ns is None else utc(utc_of(known, at_ns)))
            return {**more, **links(entry, beside)._asdict()}, _answer(store, entry), told
    except StoreError:  # it was read a moment ago: what is known is shown
        return more, None, []


def _answer(store: ReadOnlyStore, entry: OutboxEntry) -> dict[str, Any] | None:
    from buffer import outbox_answers

    kept = outbox_answers.found(store.read(outbox_answers.READ, (entry.id,)))
    if kept is None:
        return None
    at_ns, attempt, answer = kept
    at = utc(utc_of(store.corrections(), at_ns))
    return {"at": at, "attempt": attempt, "status": answer.status, "headers": dict(answer.headers), "body": answer.body}


def _row(store: ReadOnlyStore, entry: OutboxEntry) -> dict[str, Any]:
    from gateway.forwarder.advice import suggested_for

    document = json.loads(entry.payload)
    quantities = document.get("qty") or {"good": "0", "scrap": [], "rework": "0"}
    period = document.get("period") or {}
    answer = _answer(store, entry) or {"status": "", "body": ""}
    sent_ns = entry.last_sent_ns
    return {
        "no": entry.id,
        "key": entry.key,
        "target": entry.target,
        "order": entry.order,
        "operation": entry.operation,
        "seq": entry.seq,
        "kind": entry.kind,
        "machine": document.get("machine", ""),
        "from": period.get("from", ""),
        "to": period.get("to", ""),
        "good": quantities["good"],
        "scrap": str(sum(int(one["qty"]) for one in quantities["scrap"])),
        "rework": quantities["rework"],
        "uom": document.get("uom", ""),
        "attempts": entry.attempts,
        "last_sent": None if sent_ns is None else utc(utc_of(store.corrections(), sent_ns)),
        "error_kind": entry.error_kind,
        "error_code": entry.error_code,
        "error": entry.error_text,
        "suggested": suggested_for(entry),
        "answer_status": answer["status"],
        "answer_body": answer["body"],
        "request": (entry.body or entry.payload).decode("utf-8", errors="replace"),
    }


def _cell(value: Any) -> Any:
    """A spreadsheet takes a text that begins so for a formula: what an ERP says must stay a text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
