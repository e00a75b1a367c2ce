"""``linegate audit show``, ``verify`` and ``export``: the trail, whether it is whole, and the trail for others.

They need no running gateway and do not disturb one; one that runs writes down that the trail was verified or exported.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.cli import person, state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from buffer.audit_chain import ChainReader, Wanted
    from buffer.audit_guards import Unguarded
    from buffer.audit_replaced import Replaced
    from gateway.core.audit.chain import Anchor
    from gateway.core.audit.entry import AuditEntry, EntryContent
    from gateway.core.calendar.honest_time import ClockCorrection

EXIT_BROKEN: Final = 4
#: A file of anchors has a line a day.
ANCHOR_FILE_BYTES_MAX: Final = 4 * 1024 * 1024
SHOWN_CHARS_MAX: Final = 1000
SHOWN_DEFAULT: Final = 50
SHOWN_MAX: Final = 10_000
NOTE_CHARS_MAX: Final = 300
ANCHORS_SHOWN_MAX: Final = 20


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``show``, ``verify`` and ``export`` to the verbs of ``audit``."""
    showing = verbs.add_parser("show", help="newest last; works while the gateway is stopped, too")
    showing.add_argument(
        "-n", type=int, default=SHOWN_DEFAULT, metavar="N", help=f"entries, 1 to {SHOWN_MAX} (default {SHOWN_DEFAULT})"
    )
    showing.add_argument("--json", action="store_true", help="print for programs")
    showing.set_defaults(run=show)
    checking = verbs.add_parser("verify", help=f"whether the trail is whole; exit status {EXIT_BROKEN} if it is not")
    checking.add_argument(
        "--anchors", metavar="FILE", type=Path, help="what was published of it, a line each; else those of the database"
    )
    checking.add_argument(
        "--anchor", metavar="NUMBER:HASH", action="append", default=[], help="one that was published; may be repeated"
    )
    checking.add_argument("--json", action="store_true", help="print for programs")
    checking.set_defaults(run=verify)
    keeping = verbs.add_parser(
        "anchors", help="the daily anchors, newest last; keep the lines where nobody who has this database can write"
    )
    keeping.add_argument(
        "-n", type=int, default=SHOWN_DEFAULT, metavar="N", help=f"1 to {SHOWN_MAX} (default {SHOWN_DEFAULT})"
    )
    keeping.add_argument("--now", action="store_true", help="then the end of the trail as it is now, as one more line")
    keeping.set_defaults(run=anchors)
    giving = verbs.add_parser("export", help="the trail on standard output, oldest first")
    giving.add_argument(
        "--format",
        choices=("jsonl", "csv", "html"),
        default="jsonl",
        help="jsonl can be verified anywhere where all of it is exported; csv and html are for reading and printing",
    )
    giving.set_defaults(run=export)
    for verb in (showing, giving):
        verb.add_argument("--order", metavar="ORDER", help="only of this order")
        verb.add_argument("--who", metavar="USER", help="only what this user did; gateway and erp are such names")
        verb.add_argument("--from", dest="from_", metavar="TIME", help="from then on: 2026-03-27T06:00:00+01:00")
        verb.add_argument("--to", metavar="TIME", help="before then")
    for verb in (showing, checking, keeping, giving):
        state_dir.add_arguments(verb)


def show(args: argparse.Namespace) -> int:
    """0 after printing, 1 where there is nothing to read, 2 for an argument out of range."""
    from buffer.audit_chain import ChainReader
    from buffer.errors import StoreError
    from buffer.readonly import ReadOnlyStore
    from gateway.core.audit.entry import as_mapping
    from gateway.core.document import utc
    from gateway.lock import DATABASE_NAME

    if not 1 <= args.n <= SHOWN_MAX:
        print(f"linegate: -n: found {args.n}, allowed 1 to {SHOWN_MAX}", file=sys.stderr)
        return 2
    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        wanted = _wanted(args)
        with ChainReader.open(where / DATABASE_NAME) as reader:
            found = reader.newest(args.n, wanted)[::-1]
        with ReadOnlyStore(where / DATABASE_NAME) as store:
            known = store.corrections()
    except (StoreError, ValueError) as error:
        return _complain(error)
    if args.json:
        print(json.dumps([{**as_mapping(one), "at": utc(_when_ns(one, known))} for one in found]))
        return 0
    for entry in found:
        print(clean(_line(entry, _when_ns(entry, known)), SHOWN_CHARS_MAX))
    if not found:
        print("nothing")
    return 0


def _when_ns(entry: AuditEntry, known: Sequence[ClockCorrection]) -> int:
    """Its date; where nobody vouched for it then, the date as it was learned since."""
    from gateway.core.calendar.honest_time import TimeQuality, utc_of

    content = entry.content
    return content.utc_ns if content.time_quality >= TimeQuality.TRUSTED else utc_of(known, content.at_ns)


def _line(entry: AuditEntry, utc_ns: int) -> str:
    from gateway.core.document import utc

    one = entry.content
    what = f"{one.entity} {one.entity_id} {one.field}".strip()
    change = "" if one.old is None and one.new is None else f": {'?' if one.old is None else one.old} -> {one.new}"
    reason = "  because " + " ".join(filter(None, (one.reason_code, one.reason_text))) if _has_reason(one) else ""
    detail = f"  {one.detail}" if one.detail else ""
    who = f"{one.user} ({one.role})"
    return f"{entry.seq:>6} {utc(utc_ns)} {who}  {one.action} {what}{change}  {one.outcome}{reason}{detail}"


def _has_reason(content: EntryContent) -> bool:
    return bool(content.reason_code or content.reason_text)


def _wanted(args: argparse.Namespace) -> Wanted:
    """Raises ValueError."""
    from buffer.audit_chain import Wanted
    from gateway.core.instant import Instant

    times = [None if text is None else int(Instant(text)) for text in (args.from_, args.to)]
    return Wanted(args.order, args.who, *times)


def _note(where: Path, what: str, detail: str) -> None:
    """A gateway that runs writes it down; without one there is nobody who may write."""
    from gateway.control import ControlError, NotRunningError, call

    try:
        call(where, "audit.note", what=what, detail=detail[:NOTE_CHARS_MAX], who=person.name())
    except NotRunningError:
        return
    except ControlError as error:
        print(clean(f"linegate: not written down: {error}", SHOWN_CHARS_MAX), file=sys.stderr)


def verify(args: argparse.Namespace) -> int:
    """0: whole; 4: broken, and where, not kept by its triggers, or anchors that nobody can prove; 1: cannot be read."""
    from buffer.audit_chain import ChainReader
    from buffer.audit_guards import unguarded
    from buffer.audit_replaced import sorted_out
    from buffer.errors import StoreError
    from gateway.core.audit.chain import Broken
    from gateway.lock import DATABASE_NAME

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        published = [] if args.anchors is None else _anchors(args.anchors)
        open_doors = unguarded(where / DATABASE_NAME)
        if any(not one.trigger for one in open_doors):
            return _unguarded(open_doors, as_json=args.json)
        with ChainReader.open(where / DATABASE_NAME) as reader:
            published += [_short_anchor(text, reader.chain) for text in args.anchor]
            before = sorted_out(where / DATABASE_NAME, published)
            found = reader.verify(before.present)
    except (StoreError, ValueError, OSError) as error:
        return _complain(error)
    said = f"broken at {found.seq}: {found.fault}" if isinstance(found, Broken) else f"whole: {found.entries} entries"
    _note(where, "verified", said)
    if isinstance(found, Broken):
        shown = {"whole": False, "entry": found.seq, "fault": found.fault.value, "why": found.why}
        print(json.dumps(shown) if args.json else clean(f"broken at {found.seq}: {found.why}", SHOWN_CHARS_MAX))
        return EXIT_BROKEN
    if open_doors:
        return _unguarded(open_doors, as_json=args.json, entries=found.entries)
    code = EXIT_BROKEN if before.unproven else 0
    if args.json:
        whole = {"whole": not code, "entries": found.entries, "hash": found.head.hash, "anchored": found.anchored}
        print(json.dumps(whole | _replaced(before)))
        return code
    print(f"whole: {found.entries} entries, the last has the hash {found.head.hash}")
    loose = found.entries - found.anchored
    print(f"anchored up to {found.anchored}; of the {loose} behind it nobody could tell whether the last were cut off")
    for line in _replaced_lines(before):
        print(clean(line, SHOWN_CHARS_MAX))
    return code


def _unguarded(found: Sequence[Unguarded], *, as_json: bool, entries: int = 0) -> int:
    """The schema does not keep the trail any more, whatever stands in it."""
    if as_json:
        print(json.dumps({"whole": False, "entries": entries, "unguarded": [str(one) for one in found]}))
        return EXIT_BROKEN
    for one in found:
        print(clean(f"not protected: {one}", SHOWN_CHARS_MAX))
    print(
        f"{entries} entries follow one another, but somebody changed the schema and could have cut off the last ones: "
        "hold the trail against anchors that were published (--anchors), and put the triggers back from a backup"
    )
    return EXIT_BROKEN


def _replaced(before: Replaced) -> dict[str, object]:
    """Nothing where every anchor is this chain's."""
    if not before.proven and not before.unproven:
        return {}
    return {
        "restored_at_entry": before.entry,
        "anchors_of_databases_before": [{"entry": one.seq, "database": name} for one, name in before.proven],
        "anchors_unproven": [one.seq for one in before.unproven],
    }


def _replaced_lines(before: Replaced) -> list[str]:
    what = f"entry {before.entry} tells that an older database took this one's place"
    lines = []
    if before.proven:
        numbers, names = _numbers([one for one, _ in before.proven]), sorted({name for _, name in before.proven})
        lines.append(f"{what}: published {numbers} stand in the one before, whose trail is whole: {', '.join(names)}")
    if before.unproven:
        lines.append(
            f"{what}: published {_numbers(before.unproven)} were written after the copy was made, and no database here "
            "has them; nothing else is wrong. Bring the database before (linegate.db.replaced-...) to prove them"
        )
    return lines


def _numbers(anchors: Sequence[Anchor]) -> str:
    shown = ", ".join(str(one.seq) for one in anchors[:ANCHORS_SHOWN_MAX])
    more = len(anchors) - ANCHORS_SHOWN_MAX
    return f"entries {shown}{f' and {more} more' if more > 0 else ''}"


def anchors(args: argparse.Namespace) -> int:
    """0 after printing, 1 where it cannot be read, 2 for an argument out of range."""
    from buffer.audit_chain import ChainReader
    from buffer.errors import StoreError
    from gateway.core.audit.chain import anchor_of, anchor_text
    from gateway.lock import DATABASE_NAME

    if not 1 <= args.n <= SHOWN_MAX:
        print(f"linegate: -n: found {args.n}, allowed 1 to {SHOWN_MAX}", file=sys.stderr)
        return 2
    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        with ChainReader.open(where / DATABASE_NAME) as reader:
            found, head = reader.anchors(args.n)[::-1], reader.head()
            if args.now and head.seq and head.seq not in {one.seq for one in found}:
                found.append(anchor_of(reader.chain, head))
    except (StoreError, ValueError) as error:
        return _complain(error)
    for one in found:
        print(anchor_text(one))
    if not found:
        print("linegate: there is no anchor yet; the gateway keeps one a day", file=sys.stderr)
    return 0


def export(args: argparse.Namespace) -> int:
    """Print the trail; 1 where it cannot be read."""
    from buffer.audit_chain import ChainReader
    from buffer.errors import StoreError
    from gateway.core.audit import export as forms
    from gateway.lock import DATABASE_NAME

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        wanted = _wanted(args)
        with ChainReader.open(where / DATABASE_NAME) as reader:
            entries = filter(wanted.takes, reader.entries())
            lines = {
                "csv": lambda: forms.csv_lines(entries),
                "html": lambda: forms.html_lines(entries, f"Audit trail {reader.chain}", _head(args, reader)),
                "jsonl": lambda: _json_lines(entries),
            }[args.format]()
            for line in lines:
                sys.stdout.write(line)
    except (StoreError, ValueError) as error:
        return _complain(error)
    _note(where, "exported", f"{args.format} {' '.join(str(one) for one in wanted if one is not None)}".strip())
    return 0


def _head(args: argparse.Namespace, reader: ChainReader) -> list[tuple[str, str]]:
    """What an inspector asks of a print before he reads it: of what, of when, by whom, and whether it is whole."""
    from gateway import __version__
    from gateway.core.audit.chain import Broken, anchor_text

    verdict, kept = reader.verify(), reader.anchors(1)
    if isinstance(verdict, Broken):
        state = f"BROKEN at entry {verdict.seq}: {verdict.why}"
    else:
        state = f"whole: {verdict.entries} entries, anchored up to {verdict.anchored}, last hash {verdict.head.hash}"
    wanted = {"order": args.order, "user": args.who, "from": args.from_, "before": args.to}
    chosen = ", ".join(f"{name} {text}" for name, text in wanted.items() if text) or "all entries"
    return [
        ("Chain", reader.chain),
        ("Shown", chosen),
        ("Printed", f"by {person.name()} on {platform.node()}, linegate {__version__}"),
        ("Verified while printing", state),
        ("Newest anchor", anchor_text(kept[0]) if kept else "none yet"),
    ]


def _json_lines(entries: Iterable[AuditEntry]) -> Iterator[str]:
    from gateway.core.audit.export import json_line

    return map(json_line, entries)


def _anchors(path: Path) -> list[Anchor]:
    from gateway.core.audit.chain import anchor_from

    if path.stat().st_size > ANCHOR_FILE_BYTES_MAX:
        raise ValueError(f"{path}: found {path.stat().st_size} bytes, allowed: up to {ANCHOR_FILE_BYTES_MAX}")
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                found.append(anchor_from(line))
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from error
    return found


def _short_anchor(text: str, chain: str) -> Anchor:
    """NUMBER:HASH of this database's chain. Raises ValueError."""
    from gateway.core.audit.chain import anchor_from

    number, _, digest = text.partition(":")
    try:
        return anchor_from(f"linegate-audit/1/{chain}/{number}/{digest}")
    except ValueError as error:
        raise ValueError(f"--anchor: found {text[:80]!a}, allowed: NUMBER:HASH, as it was published") from error


def _complain(error: Exception) -> int:
    print(clean(f"linegate: {error}", SHOWN_CHARS_MAX), file=sys.stderr)
    return 1
