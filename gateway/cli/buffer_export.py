"""``linegate buffer export``: postings, journal or closing records for others, as JSON lines or CSV.

Reads only, also while the gateway runs. What was left out is said on standard error.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from gateway.cli import state_dir
from gateway.cli.outbox import STATES
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

FILE_MODE: Final = 0o600
SHOWN_CHARS_MAX: Final = 1000
#: What a spreadsheet would take for a formula.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``export``."""
    giving = verbs.add_parser(
        "export",
        help="postings, the journal of a machine, or closing records, for other programs",
        description="Without more it gives every posting with its content and the message that was sent.",
    )
    what = giving.add_mutually_exclusive_group()
    what.add_argument("--parked", action="store_true", help="only postings that wait for a person")
    what.add_argument("--state", choices=STATES, help="only postings in this state")
    what.add_argument("--journal", metavar="MACHINE", help="the journal of this machine instead")
    what.add_argument("--days", action="store_true", help="the closing records instead, always as JSON lines")
    giving.add_argument("--order", metavar="ORDER", help="only what belongs to this order")
    giving.add_argument("--target", metavar="TARGET", help="only postings for this target")
    giving.add_argument("--from", dest="first", type=int, default=1, metavar="N", help="from this number on")
    giving.add_argument("--to", dest="last", type=int, metavar="N", help="up to this number")
    giving.add_argument("--since", metavar="TIME", help="from then on: 2026-03-27T06:00:00+01:00")
    giving.add_argument("--until", metavar="TIME", help="before then")
    giving.add_argument("--format", choices=("jsonl", "csv"), default="jsonl", help="JSON lines (default) or CSV")
    giving.add_argument("--out", metavar="FILE", type=Path, help="a new file, mode 0600; else standard output")
    state_dir.add_arguments(giving)
    giving.set_defaults(run=export)


def export(args: argparse.Namespace) -> int:
    """0 after everything was written, 1 where it cannot be read or written, 2 for an argument out of range."""
    from buffer.errors import StoreError
    from buffer.export import JOURNAL_FIELDS, POSTING_FIELDS, Export, Wanted
    from gateway.core.instant import Instant
    from gateway.lock import DATABASE_NAME

    try:
        times = [None if text is None else int(Instant(text)) for text in (args.since, args.until)]
    except ValueError as error:
        return _complain(error, 2)
    if args.first < 1 or (args.last is not None and args.last < args.first):
        text = f"--from, --to: found {args.first} to {args.last}, allowed: 1 and above, in their order"
        return _complain(text, 2)
    where = state_dir.find(args)
    if where is None:
        return 1
    state = "parked" if args.parked else args.state
    wanted = Wanted(args.order, state, args.target, times[0], times[1], args.first, args.last)
    made = Export(where / DATABASE_NAME, wanted)
    fields: Sequence[str] = JOURNAL_FIELDS if args.journal else POSTING_FIELDS
    rows = made.journal(args.journal) if args.journal else made.days() if args.days else made.postings()
    try:
        with _opened(args.out) as out:
            if args.format == "csv" and not args.days:
                _csv(rows, fields, out)
            else:
                _lines(rows, out)
            if args.out is not None:
                out.flush()
                os.fsync(out.fileno())
    except (StoreError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        return _complain(error, 1)
    left = ", ".join(f"{number} {why}" for why, number in made.left_out.items()) or "nothing"
    print(f"{made.given} rows; left out: {left}", file=sys.stderr)
    if made.moments > 1:
        text = "what was corrected meanwhile may be there as it was before and after; export into a file with --out"
        print(f"read at {made.moments} moments, because it took long: {text}", file=sys.stderr)
    return 0


class _opened:  # noqa: N801 - a context manager, used like a function
    """A new file that only its owner reads, or standard output, which stays open."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: TextIO | None = None

    def __enter__(self) -> TextIO:
        if self._path is None:
            return sys.stdout
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(self._path, flags, FILE_MODE), "w", encoding="utf-8", newline="")
        return self._file

    def __exit__(self, *_exc: object) -> None:
        if self._file is not None:
            self._file.close()


def _lines(rows: Iterable[dict[str, Any]], out: TextIO) -> None:
    out.writelines(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)


def _csv(rows: Iterable[dict[str, Any]], fields: Sequence[str], out: TextIO) -> None:
    writer = csv.writer(out)
    writer.writerow(fields)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in fields])


def _cell(value: Any) -> str | int | None:
    if value is None or isinstance(value, int):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return f"'{text}" if text.startswith(FORMULA) else text


def _complain(error: Exception | str, code: int) -> int:
    print(clean(f"linegate: {error}", SHOWN_CHARS_MAX), file=sys.stderr)
    return code
