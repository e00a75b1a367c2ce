"""``linegate audit verify`` and ``export``: whether the trail is whole, and the trail for others. Changes nothing.

Both need no running gateway, and do not disturb one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.cli import state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from gateway.core.audit.chain import Anchor
    from gateway.core.audit.entry import AuditEntry

EXIT_BROKEN: Final = 4
#: A file of anchors has a line a day.
ANCHOR_FILE_BYTES_MAX: Final = 4 * 1024 * 1024
SHOWN_CHARS_MAX: Final = 1000


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``verify`` and ``export`` to the verbs of ``audit``."""
    checking = verbs.add_parser("verify", help=f"whether the trail is whole; exit status {EXIT_BROKEN} if it is not")
    checking.add_argument(
        "--anchors", metavar="FILE", type=Path, help="what was published of it, a line each; else those of the database"
    )
    checking.add_argument("--json", action="store_true", help="print for programs")
    checking.set_defaults(run=verify)
    giving = verbs.add_parser("export", help="the whole trail on standard output, oldest first")
    giving.add_argument(
        "--format", choices=("jsonl", "csv"), default="jsonl", help="jsonl can be verified anywhere, csv is for reading"
    )
    giving.set_defaults(run=export)
    for verb in (checking, giving):
        state_dir.add_arguments(verb)


def verify(args: argparse.Namespace) -> int:
    """0: whole; 4: broken, and where; 1: it cannot be read, or the anchors cannot."""
    from buffer.audit_chain import ChainReader
    from buffer.errors import StoreError
    from gateway.core.audit.chain import Broken
    from gateway.lock import DATABASE_NAME

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        published = [] if args.anchors is None else _anchors(args.anchors)
        with ChainReader.open(where / DATABASE_NAME) as reader:
            found = reader.verify(published)
    except (StoreError, ValueError, OSError) as error:
        return _complain(error)
    if isinstance(found, Broken):
        shown = {"whole": False, "entry": found.seq, "fault": found.fault.value, "why": found.why}
        print(json.dumps(shown) if args.json else clean(f"broken at {found.seq}: {found.why}", SHOWN_CHARS_MAX))
        return EXIT_BROKEN
    if args.json:
        print(
            json.dumps({"whole": True, "entries": found.entries, "hash": found.head.hash, "anchored": found.anchored})
        )
        return 0
    print(f"whole: {found.entries} entries, the last has the hash {found.head.hash}")
    loose = found.entries - found.anchored
    print(f"anchored up to {found.anchored}; of the {loose} behind it nobody could tell whether the last were cut off")
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
        with ChainReader.open(where / DATABASE_NAME) as reader:
            entries = reader.entries()
            lines = forms.csv_lines(entries) if args.format == "csv" else _json_lines(entries)
            for line in lines:
                sys.stdout.write(line)
    except (StoreError, UnicodeError) as error:
        return _complain(error)
    return 0


def _json_lines(entries: Iterator[AuditEntry]) -> Iterator[str]:
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


def _complain(error: Exception) -> int:
    print(clean(f"linegate: {error}", SHOWN_CHARS_MAX), file=sys.stderr)
    return 1
