"""``linegate outbox``: what waits for the ERP, what was booked, and what a person must decide on."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer.entry import OutboxState
from gateway.cli import outbox_parked, person, state_dir
from gateway.core.calendar.honest_time import utc_of
from gateway.core.document import utc
from gateway.core.foreign_text import clean
from gateway.core.orders.erp_notice import POSTING_KINDS
from gateway.shown.posting_times import latency_ms, posting_times

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from buffer.entry import OutboxEntry
    from gateway.core.calendar.honest_time import ClockCorrection
    from gateway.core.confirming.stamps import Stamps

STATES: Final = tuple(state.value for state in OutboxState)
LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 1000
NUMBER_DIGITS_MAX: Final = 18
#: For a person; ``--json`` cuts nothing.
SHOWN_CHARS_MAX: Final = 1000


class _Shown(NamedTuple):
    """A posting with its times in UTC; its five times as they are stored, steady; what was learned of UTC since.

    ``beside``: what can be done and what replaces what, its answer, its steps; empty where nobody wants to know.
    """

    entry: OutboxEntry
    stamps: Stamps
    known: Sequence[ClockCorrection]
    beside: tuple[dict[str, Any], dict[str, Any] | None, list[dict[str, Any]]]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``outbox`` with its verbs."""
    parser = commands.add_parser(
        "outbox",
        help="list, show, retry, release, edit, settle, discard or export confirmations on their way to the ERP",
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="newest first; works while the gateway is stopped, too")
    listing.add_argument("--state", choices=STATES, help="only these")
    listing.add_argument("--order", help="only of this order")
    listing.add_argument(
        "--kind", choices=POSTING_KINDS, help="only these: ack is an answer to an order, notice what else is told"
    )
    listing.add_argument("--limit", type=int, default=LIMIT_DEFAULT, help=f"1 to {LIMIT_MAX} (default {LIMIT_DEFAULT})")
    listing.add_argument("--json", action="store_true", help="print for programs")
    listing.set_defaults(run=list_postings)
    one = verbs.add_parser("show", help="one posting whole: message, answer, what happened")
    one.add_argument("which", help="its number or its key")
    one.add_argument("--json", action="store_true", help="print for programs")
    one.set_defaults(run=show)
    again = verbs.add_parser("retry", help="send a parked or waiting posting again, with the same key and bytes")
    again.add_argument("which", help="its number or its key")
    again.add_argument("--reason", default="", metavar="TEXT", help="why; needed in the profile regulated")
    again.set_defaults(run=retry)
    never = verbs.add_parser(
        "discard",
        aliases=["cancel"],
        help="give up a posting that waits for a person for ever, so that those behind it go on",
        description="Gives up for ever a posting that is parked or needs approval: its pieces are never confirmed by "
        "this gateway, and those behind it go on. Book them in the ERP by hand, unless they are booked there (after a "
        "restore). A posting whose connector is gone need not be parked.",
    )
    never.add_argument("which", help="its number or its key")
    never.add_argument("--reason", required=True, metavar="TEXT", help="why; stored with your name")
    never.set_defaults(run=discard)
    goods = verbs.add_parser(
        "material-posted", help="say that the material of a booked confirmation is posted, which the ERP could not"
    )
    goods.add_argument("which", help="its number or its key")
    goods.add_argument("--reason", required=True, metavar="TEXT", help="how and where; stored with your name")
    goods.set_defaults(run=material_posted)
    letting, lost = _add_letting(verbs), _add_resend(verbs)
    parked = [
        add(verbs)
        for add in (
            outbox_parked.add_edit,
            outbox_parked.add_post_today,
            outbox_parked.add_booked,
            outbox_parked.add_export,
        )
    ]
    for verb in (listing, one, again, never, goods, *letting, lost, *parked):
        state_dir.add_arguments(verb)


def _add_letting(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Add ``approve`` and ``release``, which may have to be signed."""
    yes = verbs.add_parser(
        "approve", help="let a confirmation be sent that says more than the order's tolerance allows"
    )
    yes.add_argument("which", help="its number or its key")
    yes.add_argument("--reason", required=True, metavar="TEXT", help="why; stored with your name")
    person.add_signing(yes)
    yes.set_defaults(run=approve)
    now = verbs.add_parser(
        "release",
        help="send one before its window is over, or although the ERP warned of it",
        description="Sends a held confirmation now, before its window is over; or a parked one again with the same key "
        "and bytes, and the ERP is told that a person has seen its warning, where it can be told. A retry passes no "
        "warning over.",
    )
    now.add_argument("which", help="its number or its key")
    now.add_argument("--reason", required=True, metavar="TEXT", help="why; stored with your name")
    person.add_signing(now)
    now.set_defaults(run=release)
    return yes, now


def _add_resend(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    lost = verbs.add_parser(
        "resend",
        help="send a booked confirmation again that the ERP has lost, with the same key and bytes",
        description="Sends a confirmation again that the ERP acknowledged and does not have any more, as a "
        "reconciliation report says (MISSING_IN_ERP). The key and the bytes are the same. Where the ERP can be asked "
        "and has it, nothing is sent.",
    )
    lost.add_argument(
        "which", metavar="key", nargs="?", help="its key; or all of --target, --order, --operation, --from"
    )
    lost.add_argument("--target", metavar="TARGET", help="of this target")
    lost.add_argument("--order", metavar="ORDER", help="of this order")
    lost.add_argument("--operation", metavar="OPERATION", help="of this operation")
    lost.add_argument("--from", dest="first", type=int, metavar="N", help="from this confirmation number on")
    lost.add_argument("--to", dest="last", type=int, metavar="M", help="up to this one")
    lost.add_argument("--reason", required=True, metavar="TEXT", help="why; stored with your name")
    lost.set_defaults(run=resend)
    return lost


def resend(args: argparse.Namespace) -> int:
    """Ask the gateway to send booked postings again: 0 done, 1 refused, 2 asked wrongly, 3 where no gateway runs."""
    from gateway.control import ControlError, call

    lane = {"target": args.target, "order": args.order, "operation": args.operation, "from": args.first}
    if (args.which is None) is (None in lane.values()):
        print(
            "linegate: outbox resend: a key, or --target, --order, --operation and --from are needed", file=sys.stderr
        )
        return 2
    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        if args.which is None:
            names = {**lane, "to": args.last, "who": person.name(), "reason": args.reason}
            return _resent(call(where, "outbox.resend_from", **names))
        done = call(where, "outbox.resend", key=args.which, who=person.name(), reason=args.reason)
    except ControlError as error:
        return state_dir.complain(error)
    for one in done:
        print(clean(f"{one['id']}: {one['key']} for {one['target']} is sent again"))
    return 0


def _resent(found: dict[str, Any]) -> int:
    for one in found["done"]:
        print(clean(f"{one['id']}: number {one['seq']}, {one['key']} is sent again"))
    for one in found["left"]:
        print(clean(f"number {one['seq']} is not: {one['why']}"))
    return 0


def list_postings(args: argparse.Namespace) -> int:
    """Print postings, newest first."""
    if not 1 <= args.limit <= LIMIT_MAX:
        print(f"linegate: --limit: found {args.limit}, allowed 1 to {LIMIT_MAX}", file=sys.stderr)
        return 2
    found = _read(args, state=args.state, order=args.order, kind=args.kind, limit=args.limit)
    if found is None:
        return 1
    if args.json:
        print(json.dumps([_summary(one) for one in found]))
        return 0
    if found:
        print(f"{'NO':>6} {'STATE':<11} {'TARGET':<10} {'ORDER':<16} {'SEQ':>4} {'KIND':<8} {'TRIES':>5}  LAST ERROR")
    for entry, *_ in found:
        lane = f"{entry.order}/{entry.operation}"
        line = (
            f"{entry.id:>6} {entry.state:<11} {entry.target:<10} {lane:<16} {entry.seq:>4} {entry.kind:<8} "
            f"{entry.attempts:>5}  {entry.error_text}"
        )
        print(clean(line, SHOWN_CHARS_MAX))
    if not found:
        print("nothing")
    return 0


def show(args: argparse.Namespace) -> int:
    """Print one posting whole."""
    found = _read(args, whole=True, **_which(args.which))
    if found is None:
        return 1
    if not found:
        print(
            f"linegate: outbox: no posting {args.which[:SHOWN_CHARS_MAX]!a}; see: linegate outbox list", file=sys.stderr
        )
        return 1
    entry, stamps, known, (more, answer, steps) = found[0]
    whole = {
        **_summary(found[0]),
        **posting_times(stamps, lambda at_ns: None if at_ns is None else utc(utc_of(known, at_ns))),
        **more,
        "confirmation": json.loads(entry.payload),
        "message": _message(entry),
        "messages": steps,
        "answer": answer,
    }
    if args.json:
        print(json.dumps(whole))
        return 0
    for name, value in whole.items():
        if name == "messages" and not value:
            continue  # it is the one message
        if name in ("stamps", "stages_ms"):
            told = ", ".join(f"{key} {'-' if one is None else one}" for key, one in value.items())
            print(f"{name:<16} {told}")
            continue
        if name in ("confirmation", "message", "messages", "answer"):
            print(f"\n{name}:")
            for line in json.dumps(value, indent=2, ensure_ascii=False).split("\n"):
                print(clean(line, len(line)))
        else:
            print(clean(f"{name:<16} {value}", SHOWN_CHARS_MAX))
    return 0


def retry(args: argparse.Namespace) -> int:
    """Ask the running gateway to send it again."""
    said = {"reason": args.reason} if args.reason else {}
    return _decide(args, "outbox.retry", "is sent again", who=person.name(), **said)


def discard(args: argparse.Namespace) -> int:
    """Ask the running gateway to give it up."""
    return _decide(args, "outbox.discard", "is given up", who=person.name(), reason=args.reason)


def material_posted(args: argparse.Namespace) -> int:
    """Tell the running gateway so."""
    return _decide(args, "outbox.material-posted", "has its material", who=person.name(), reason=args.reason)


def approve(args: argparse.Namespace) -> int:
    """Ask the running gateway to let it go."""
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    which = _number_or_key(args.which)
    try:
        more = person.signing(args)
        print(clean(call(where, "outbox.approve", which=which, who=person.name(), reason=args.reason, **more)))
    except ControlError as error:
        return state_dir.complain(error)
    return 0


def release(args: argparse.Namespace) -> int:
    """Ask the running gateway to send it, warning or not."""
    return _decide(args, "outbox.release", "is released", who=person.name(), reason=args.reason)


def _decide(args: argparse.Namespace, verb: str, done: str, **arguments: str) -> int:
    from gateway.control import ControlError, call

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        more = person.signing(args) if "sign" in args else {}
        decided = call(where, verb, which=_number_or_key(args.which), **arguments, **more)
    except ControlError as error:
        return state_dir.complain(error)
    for posting in decided:
        place = f"{posting['order']}/{posting['operation']}"
        print(clean(f"{posting['id']}: {place} number {posting['seq']} for {posting['target']} {done}"))
    return 0


def _number_or_key(text: str) -> int | str:
    # More digits than any number has: a key that nothing has, and so the answer is.
    return int(text) if text.isdecimal() and len(text) <= NUMBER_DIGITS_MAX else text


def _which(text: str) -> dict[str, Any]:
    which = _number_or_key(text)
    # A page before the next id, one entry long, is the entry itself.
    return {"before_id": which + 1, "limit": 1, "exactly": which} if isinstance(which, int) else {"key": which}


def _read(
    args: argparse.Namespace, *, exactly: int | None = None, whole: bool = False, **filters: Any
) -> list[_Shown] | None:
    """What is shown of one moment; with ``whole`` with all that stands beside it. None: it cannot be read, and said."""
    from buffer.errors import StoreError
    from buffer.readonly import ReadOnlyStore
    from gateway.lock import DATABASE_NAME

    where = state_dir.find(args)
    if where is None:
        return None
    if filters.get("state"):
        filters["state"] = OutboxState(filters["state"])
    try:
        with ReadOnlyStore(where / DATABASE_NAME) as store, store.moment():
            known = store.corrections()
            found = [one for one in store.outbox(**filters) if exactly in (None, one.id)]
            return [
                _Shown(
                    _in_utc(one, known),
                    one.stamps,
                    known,
                    outbox_parked.details(store, one.id) if whole else ({}, None, []),
                )
                for one in found
            ]
    except StoreError as error:
        print(clean(f"linegate: {error}", SHOWN_CHARS_MAX), file=sys.stderr)
        return None


def _in_utc(entry: OutboxEntry, known: Sequence[ClockCorrection]) -> OutboxEntry:
    """Stored times are steady: what was learned of UTC since names them."""

    def named(steady_ns: int | None) -> int | None:
        return None if steady_ns is None else utc_of(known, steady_ns)

    return entry._replace(
        created_ns=utc_of(known, entry.created_ns),
        due_ns=utc_of(known, entry.due_ns),
        last_sent_ns=named(entry.last_sent_ns),
        event_ns=named(entry.event_ns),
        derived_ns=named(entry.derived_ns),
        settled_ns=named(entry.settled_ns),
    )


def _summary(shown: _Shown) -> dict[str, Any]:
    entry = shown.entry
    return {
        "no": entry.id,
        "key": entry.key,
        "state": entry.state.value,
        "target": entry.target,
        "order": entry.order,
        "operation": entry.operation,
        "seq": entry.seq,
        "kind": entry.kind,
        "created": utc(entry.created_ns),
        "attempts": entry.attempts,
        "lookups": entry.lookups,
        "last_sent": utc(entry.last_sent_ns),
        "settled": utc(entry.settled_ns),
        "due": utc(entry.due_ns),
        "event": utc(entry.event_ns),
        "derived": utc(entry.derived_ns),
        "latency_ms": latency_ms(shown.stamps),
        "reference": entry.reference,
        "step": entry.step,
        "steps": entry.steps,
        "released": bool(entry.released),
        "error": " ".join(filter(None, (entry.error_kind, entry.error_code, entry.error_text))),
    }


def _message(entry: OutboxEntry) -> dict[str, Any] | None:
    if entry.body is None:
        return None
    return {
        "content_type": entry.content_type,
        "name": entry.name,
        "body": entry.body.decode("utf-8", errors="replace"),
    }
