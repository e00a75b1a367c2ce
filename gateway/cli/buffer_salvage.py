"""``linegate buffer salvage``: what can still be read of a damaged database, for a person. Changes nothing."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from buffer.salvage import Found

EXIT_INCOMPLETE: Final = 1
EXIT_UNREADABLE: Final = 2
SHOWN_CHARS_MAX: Final = 1000
FILE_MODE: Final = 0o600
POSTINGS: Final = "unsent"
NUMBERS: Final = "numbers"


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``salvage``."""
    parser = verbs.add_parser(
        "salvage",
        help="read out of a damaged database what was not sent, and the last numbers; "
        f"exit status {EXIT_INCOMPLETE} if something could not be read",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="such as linegate.db.damaged-...; it is not changed")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write JSON lines and CSV there; without it JSON lines are printed"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: everything was read; 1: something was not; 2: nothing can be read, or nothing written."""
    from buffer.errors import StoreError
    from buffer.salvage import document, salvage

    try:
        found = salvage(args.file)
        unsent = [document(one) for one in found.unsent]
        numbers = [
            {"order": order, "operation": operation, "last_seq": seq}
            for (order, operation), seq in sorted(found.numbers.items())
        ]
        if args.out is None:
            for one in unsent:
                print(json.dumps({"what": POSTINGS, **one}))
            for number in numbers:
                print(json.dumps({"what": NUMBERS, **number}))
        else:
            args.out.mkdir(parents=True, exist_ok=True)
            _write(args.out / POSTINGS, unsent)
            _write(args.out / NUMBERS, numbers)
    except StoreError as error:
        print(clean(f"linegate: {error}", SHOWN_CHARS_MAX), file=sys.stderr)
        return EXIT_UNREADABLE
    except OSError as error:
        text = f"linegate: {error.filename}: {error.strerror}; name a folder without such a file"
        print(clean(text, SHOWN_CHARS_MAX), file=sys.stderr)
        return EXIT_UNREADABLE
    return _told(found)


def _told(found: Found) -> int:
    gone = sum(one.payload is None for one in found.unsent)
    print(
        f"{len(found.unsent)} confirmations are not booked ({gone} of them known by an index only: state and content "
        f"are gone), {found.sent} are over, {len(found.numbers)} last numbers",
        file=sys.stderr,
    )
    for text in found.unread:
        print(clean(f"not readable: {text}", SHOWN_CHARS_MAX), file=sys.stderr)
    return EXIT_INCOMPLETE if found.unread else 0


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Both forms, new files only: what was salvaged before is nothing to lose."""
    rows = list(rows)
    with _new(path.with_suffix(".jsonl")) as lines:
        for row in rows:
            lines.write(json.dumps(row) + "\n")
    with _new(path.with_suffix(".csv")) as table:
        writer = csv.writer(table)
        if rows:
            writer.writerow(rows[0])
        for row in rows:
            writer.writerow(_cell(value) for value in row.values())


def _new(path: Path) -> Any:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    return os.fdopen(fd, "w", encoding="utf-8", newline="")


def _cell(value: Any) -> Any:
    """A spreadsheet takes a text that begins so for a formula."""
    text = json.dumps(value) if isinstance(value, (dict, list)) else value
    return f"'{text}" if isinstance(text, str) and text[:1] in ("=", "+", "-", "@") else text
