"""``linegate outbox edit``, ``post-today``, ``booked`` and ``export``: what a person does about what is parked.

``export`` reads the database alone, also while the gateway is stopped; the others ask the running gateway.
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
    from collections.abc import Callable, Sequence

    from buffer.entry import OutboxEntry
    from buffer.readonly import ReadOnlyStore
    from gateway.core.calendar.honest_time import ClockCorrection
    from gateway.core.target_answer import Answer

#: Postings that are read at a time.
PAGE: Final = 500
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


def add_post_today(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``post-today``."""
    parser = verbs.add_parser(
        "post-today",
        help="post a parked confirmation today, whose period the ERP has closed",
        description="Makes a parked confirmation anew with the posting date of today, for an ERP that has closed the "
        "period it belongs to: the old one becomes void, a new one with a key of its own takes its place in the lane. "
        "The dates of the events stay in it, and nothing else changes. Refused where the old one may be booked.",
    )
    parser.add_argument("which", help="its number or its key")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; stored with your name")
    person.add_signing(parser)
    parser.set_defaults(run=post_today)
    return parser


def add_booked(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``booked``."""
    parser = verbs.add_parser(
        "booked",
        help="say that a parked or unclear posting is booked in the ERP, and under which number",
        description="Settles a parked, uncertain or accepted posting by your word: it is booked in the ERP under this "
        "reference, and those behind it go on. Where the ERP can be asked it is asked first, and you are refused if it "
        "does not have it, or has it under another reference. A posting of several messages is settled one by one.",
    )
    parser.add_argument("which", help="its number or its key")
    parser.add_argument("--reference", required=True, metavar="R", help="its number in the ERP")
    parser.add_argument("--step", type=int, metavar="S", help="of several messages the one that is due, from 1")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="how you know; stored with your name")
    parser.set_defaults(run=booked)
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
    return _ask(args, "outbox.edit", str, good=args.good, scrap=args.scrap, rework=args.rework)


def post_today(args: argparse.Namespace) -> int:
    """Ask the running gateway for the date of today."""
    return _ask(args, "outbox.post_today", str)


def booked(args: argparse.Namespace) -> int:
    """Tell the running gateway that it is booked."""
    return _ask(args, "outbox.booked", _booked, reference=args.reference, step=args.step)


def _booked(one: dict[str, Any]) -> str:
    place = f"{one['number']}: {one['order']}/{one['operation']} number {one['seq']} for {one['target']}"
    said = "the ERP says so, too" if one["asked"] == "found" else "by your word: the ERP could not tell"
    if one["state"] == "posted":
        return f"{place} is booked as {one['reference']} ({said})"
    return f"{place}: message {one['step']} of {one['steps']} is booked as {one['reference']} ({said}); the next is due"


def _ask(args: argparse.Namespace, verb: str, told: Callable[[Any], str], **more: Any) -> int:
    """Ask the running gateway; 0 done and ``told``, 1 refused, 3 where none runs."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    # More digits than any number has: a key that nothing has, and so the answer is.
    is_number = args.which.isdecimal() and len(args.which) <= NUMBER_DIGITS_MAX
    which = int(args.which) if is_number else args.which
    said = {name: value for name, value in more.items() if value is not None}
    try:
        signed = person.signing(args) if "sign" in args else {}
        answer = call(where, verb, which=which, who=person.name(), reason=args.reason, **said, **signed)
    except ControlError as error:
        return state_dir.complain(error)
    print(clean(told(answer)))
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
        with ReadOnlyStore(where / DATABASE_NAME) as store, store.moment():
            known = store.corrections()
            found: list[OutboxEntry] = []
            page = store.outbox(state=OutboxState.PARKED, target=args.target, limit=PAGE)
            while page:
                found += page
                page = store.outbox(state=OutboxState.PARKED, target=args.target, limit=PAGE, before_id=page[-1].id)
            rows = [_row(store, entry, known) for entry in reversed(found)]
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


def details(store: ReadOnlyStore, posting: int) -> tuple[dict[str, Any], dict[str, Any] | None, list[dict[str, Any]]]:
    """What is known besides: what can be done, what replaced it or is replaced by it; the answer; its steps.

    Call it in the moment in which the posting was read. Raises StoreError.
    """
    from buffer import steps
    from gateway.forwarder.advice import suggested_for

    found = store.whole(posting)
    if found is None:
        return {}, None, []
    known = store.corrections()
    told = steps.told(found.steps, lambda at_ns: None if at_ns is None else utc(utc_of(known, at_ns)))
    more = {"suggested": suggested_for(found.entry), **found.links._asdict()}
    return more, _answer(found.answer, known), told


def _answer(kept: tuple[int, int, Answer] | None, known: Sequence[ClockCorrection]) -> dict[str, Any] | None:
    if kept is None:
        return None
    at_ns, attempt, answer = kept
    at = utc(utc_of(known, at_ns))
    return {"at": at, "attempt": attempt, "status": answer.status, "headers": dict(answer.headers), "body": answer.body}


def _row(store: ReadOnlyStore, entry: OutboxEntry, known: Sequence[ClockCorrection]) -> dict[str, Any]:
    from buffer import outbox_answers
    from gateway.forwarder.advice import suggested_for

    document = json.loads(entry.payload)
    quantities = document.get("qty") or {"good": "0", "scrap": [], "rework": "0"}
    period = document.get("period") or {}
    kept = outbox_answers.found(store.read(outbox_answers.READ, (entry.id,)))
    answer = _answer(kept, known) or {"status": "", "body": ""}
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
        "last_sent": None if sent_ns is None else utc(utc_of(known, sent_ns)),
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
