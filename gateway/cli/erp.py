"""``linegate erp``: what the ERP would be sent, whether it is there, what it offers, and what it has booked.

Asks the running gateway, with its connections and counts; where none runs, the configuration alone. Changes nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.cli import state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from gateway.erp.erp_stopped import ErpStopped

SHOWN_CHARS_MAX: Final = 2000
NUMBER_DIGITS_MAX: Final = 18
#: A larger one is no confirmation, and no request for the control socket.
FILE_MAX_BYTES: Final = 48 * 1024


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``erp`` with its verbs."""
    parser = commands.add_parser(
        "erp",
        help="look at an ERP: the exact messages, a probe, its orders, what it has booked",
        description="Questions about an ERP that change nothing. They go through the running gateway; where none runs, "
        "they need --config.",
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    message = verbs.add_parser(
        "render",
        help="the exact message that would be sent; nothing is sent",
        description="The exact messages of an order's next confirmation, with what is counted and open now; of a "
        "stored posting; or of a confirmation in a file. Exit status: 0, 1 where it cannot be expressed.",
    )
    message.add_argument("order", nargs="?", default="", help="order number; or --posting, or --file")
    message.add_argument("--operation", default="", help="only this one of its operations")
    message.add_argument("--posting", metavar="NO|KEY", help="of this stored posting, whatever became of it")
    message.add_argument("--file", type=Path, metavar="FILE", help="of the confirmation document in this file (JSON)")
    message.add_argument("--target", default="", metavar="NAME", help="as this connector would be told")
    message.set_defaults(run=render)
    health = verbs.add_parser("probe", help="whether it answers; exit status 1 if one does not")
    health.add_argument("target", nargs="?", default="", metavar="NAME", help="only this connector")
    health.set_defaults(run=probe)
    offer = verbs.add_parser(
        "orders",
        help="what it offers, how it would be read, and what would be refused and why",
        description="Reads the orders that the ERP offers, takes none and moves no file. Exit status: 0, 1 where it "
        "cannot be asked or an order would be refused.",
    )
    offer.add_argument("target", nargs="?", default="", metavar="NAME", help="of this connector")
    offer.add_argument("--since", default="", metavar="CURSOR", help="only from this cursor on, as the answer names it")
    offer.set_defaults(run=orders)
    booked = verbs.add_parser("lookup", help="whether it has a key booked; exit status 0 only if it has")
    booked.add_argument("which", help="key or number of a posting")
    booked.add_argument("--target", default="", metavar="NAME", help="at this connector only")
    booked.set_defaults(run=lookup)
    for one in (message, health, offer, booked):
        one.add_argument("--json", action="store_true", help="print for programs")
        state_dir.add_arguments(one)


def render(args: argparse.Namespace) -> int:
    """Print messages; 0, or 1 after a message."""
    if sum(bool(given) for given in (args.order, args.posting, args.file)) != 1:
        print("linegate: erp render: found none or several, allowed one of ORDER, --posting, --file", file=sys.stderr)
        return 2
    asked: dict[str, Any] = {"target": args.target}
    if args.file is not None:
        document = _document(args.file)
        if document is None:
            return 1
        asked["document"] = document
        found = _ask(args, "erp.render", asked, lambda here: here.render_document(document, args.target))
    elif args.posting:
        which = asked["which"] = _number_or_key(args.posting)
        found = _ask(args, "erp.render", asked, lambda here: here.render_posting(which, args.target))
    else:
        asked |= {"order": args.order, "operation": args.operation}
        found = _ask(args, "erp.render", asked, lambda here: here.render_next(args.order, args.operation, args.target))
    if isinstance(found, int) or args.json:
        return _as_json(found)
    _print_messages(found)
    return 0


def _print_messages(found: list[dict[str, Any]]) -> None:
    for one in found:
        count = len(one["messages"])
        place = f"order {one['order']} operation {one['operation']}, {one['type']} number {one['seq']}"
        for message in one["messages"]:
            print(clean(f"{one['target']}: {place}: message {message['step'] + 1} of {count}", SHOWN_CHARS_MAX))
            for name in ("message_id", "content_type", "name"):
                print(clean(f"  {name:<13} {message[name] or '-'}", SHOWN_CHARS_MAX))
            for name, text in message["headers"].items():
                print(clean(f"  {name}: {text}", SHOWN_CHARS_MAX))
            if message["baseline"] is not None:
                print(clean(f"  {'baseline':<13} {message['baseline']}", SHOWN_CHARS_MAX))
            for line in str(message.get("body", message.get("base64"))).splitlines():
                print(clean(f"  {line}", len(line) + 2))
        for left in one["not_sent"]:
            print(clean(f"{one['target']}: {place}: sent by no message, post it there: {left}", SHOWN_CHARS_MAX))


def probe(args: argparse.Namespace) -> int:
    """Print how each target is; 0 if all are well."""
    found = _ask(args, "erp.probe", {"target": args.target}, lambda here: here.probe(args.target))
    if isinstance(found, int):
        return found
    if args.json:
        print(json.dumps(found))
    else:
        for one in found:
            print(clean(f"{one['target']}: {'ok' if one['ok'] else 'NOT OK'}: {one['detail']}", SHOWN_CHARS_MAX))
    return 0 if all(one["ok"] for one in found) else 1


def orders(args: argparse.Namespace) -> int:
    """Print what is offered; 0 if all of it could be read."""
    asked = {"target": args.target, "since": args.since}
    found = _ask(args, "erp.orders", asked, lambda here: here.orders(args.target, args.since))
    if isinstance(found, int):
        return found
    if args.json:
        print(json.dumps(found))
        return 1 if found["refused"] else 0
    for one in found["orders"]:
        gone = ", cancelled" if one["cancelled"] else ""
        head = (
            f"order {one['order']} revision {one['revision']}: {one['quantity']} {one['uom']} of {one['product']}{gone}"
        )
        print(clean(head, SHOWN_CHARS_MAX))
        for part in one["operations"]:
            where = part["machine"] or "no machine here"
            line = f"  {part['operation']} at {part['work_center']} ({where}): {part['quantity']}"
            print(clean(line, SHOWN_CHARS_MAX))
    for one in found["refused"]:
        print(clean(f"refused: {one['place']}: {'; '.join(one['reasons'])}", SHOWN_CHARS_MAX))
    more = f", {found['not_shown']} more not shown" if found["not_shown"] else ""
    told = f"{len(found['orders'])} orders, {len(found['refused'])} refused{more}; cursor {found['cursor'] or '-'}"
    print(clean(told, SHOWN_CHARS_MAX))
    return 1 if found["refused"] else 0


def lookup(args: argparse.Namespace) -> int:
    """Print what is booked; 0 if it is."""
    which = _number_or_key(args.which)
    asked = {"which": which, "target": args.target}
    found = _ask(args, "erp.lookup", asked, lambda here: here.lookup(which, args.target))
    if isinstance(found, int):
        return found
    if args.json:
        print(json.dumps(found))
    else:
        for one in found:
            said = " ".join(filter(None, (one["reference"], one["code"], one["detail"])))
            step = f", message {one['step'] + 1} of {one['steps']}" if one["steps"] > 1 else ""
            line = f"{one['target']}: {one['key']}{step}: {one['found']}{': ' + said if said else ''}"
            print(clean(line, SHOWN_CHARS_MAX))
    return 0 if all(one["found"] == "found" for one in found) else 1


def _ask(args: argparse.Namespace, verb: str, asked: dict[str, Any], here: Callable[[ErpStopped], Any]) -> Any:
    """The answer, or an exit code after a message."""
    from gateway.control import ControlError, NotRunningError, call

    where = state_dir.find(args) if args.config is None else _state_dir_of(args.config)
    if where is None:
        return 1
    try:
        return call(where, verb, **{name: value for name, value in asked.items() if value != ""})
    except NotRunningError as error:
        if args.config is None:
            print(
                clean(f"linegate: {error}, or name its configuration with --config", SHOWN_CHARS_MAX), file=sys.stderr
            )
            return state_dir.EXIT_NOT_RUNNING
    except ControlError as error:
        return state_dir.complain(error)
    return _stopped(args.config, here)


def _state_dir_of(file: Path) -> Path | None:
    from gateway.cli.config import load_or_complain

    settings = load_or_complain(file)
    return None if settings is None else Path(settings.gateway.state_dir)


def _stopped(file: Path, here: Callable[[ErpStopped], Any]) -> Any:
    from buffer.errors import StoreError
    from config.errors import ConfigError, ConfigErrors
    from gateway.cli.config import load_or_complain
    from gateway.core.preview import PreviewError
    from gateway.core.snapshot import SnapshotError
    from gateway.erp.erp_questions import QuestionError
    from gateway.erp.erp_stopped import ErpStopped

    settings = load_or_complain(file)
    if settings is None:
        return 1
    try:
        return here(ErpStopped(settings))
    except (QuestionError, PreviewError, StoreError, SnapshotError, ConfigError, ConfigErrors) as error:
        print(clean(f"linegate: {error}", SHOWN_CHARS_MAX), file=sys.stderr)
        return 1


def _document(file: Path) -> dict[str, Any] | None:
    from gateway.erp.erp_questions import QuestionError, document_of

    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_MAX_BYTES + 1)
        return document_of(content, FILE_MAX_BYTES)
    except OSError as error:
        print(clean(f"linegate: {file}: cannot be read: {error.strerror}", SHOWN_CHARS_MAX), file=sys.stderr)
    except QuestionError as error:
        print(clean(f"linegate: {file}: {error}", SHOWN_CHARS_MAX), file=sys.stderr)
    return None


def _number_or_key(text: str) -> int | str:
    return int(text) if text.isdecimal() and len(text) <= NUMBER_DIGITS_MAX else text


def _as_json(found: Any) -> int:
    if isinstance(found, int):
        return found
    print(json.dumps(found))
    return 0
