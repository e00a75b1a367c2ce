"""``linegate buffer backup`` and ``restore``: a copy of the database while the gateway runs, and the way back."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.cli import state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse

SHOWN_CHARS_MAX: Final = 2000


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``backup`` and ``restore``."""
    saving = verbs.add_parser("backup", help="a verified copy of the database; works while the gateway runs")
    saving.add_argument("file", metavar="FILE", type=Path, help="a new file, mode 0600; never replaced")
    saving.set_defaults(run=backup)
    back = verbs.add_parser(
        "restore",
        help="put a copy in the place of the database; only while the gateway is stopped",
        description="The present database is kept beside it. A new epoch begins, so no key is given out twice. What "
        "the copy has to send, and the first confirmation of each operation that is not over, then waits for "
        "linegate outbox approve: what was sent since the copy was made it does not know.",
    )
    back.add_argument("file", metavar="FILE", type=Path, help="a copy that linegate buffer backup made")
    back.set_defaults(run=restore)
    for verb in (saving, back):
        state_dir.add_arguments(verb)


def backup(args: argparse.Namespace) -> int:
    """0 once the copy is verified and flushed, 1 where it cannot be made."""
    from buffer.backup import copy
    from buffer.errors import StoreError
    from gateway.lock import DATABASE_NAME

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        made = copy(where / DATABASE_NAME, args.file, threading.Event())
    except StoreError as error:
        return _complain(error)
    print(
        clean(
            f"{args.file}: {made.bytes} bytes, {made.journal_rows} journal rows were given, {made.postings} postings",
            SHOWN_CHARS_MAX,
        )
    )
    return 0


def restore(args: argparse.Namespace) -> int:
    """0 once it is in place, 1 where it was refused and everything is as it was."""
    from buffer.errors import StoreError
    from buffer.restore import restore as put_back
    from gateway.lock import DATABASE_NAME, StateDirError, StateDirLock
    from gateway.timing.clock import SteadyClock

    where = state_dir.find(args)
    if where is None:
        return 1
    try:
        with StateDirLock(where):
            # Nothing but the size of the disk bounds what was a database before.
            bounds = {"at_ns": SteadyClock(0).now_ns(), "max_bytes": 2**43}
            made = asyncio.run(put_back(args.file, where / DATABASE_NAME, **bounds))
    except (StoreError, StateDirError) as error:
        return _complain(error)
    kept = f"the database before is kept as {made.set_aside}" if made.set_aside else "there was no database before"
    print(clean(f"restored; {kept}; the new epoch is {made.epoch}", SHOWN_CHARS_MAX))
    print(
        f"{made.postings} postings wait for an approval, and so will the first one of {made.operations} operations: "
        "compare with the ERP (linegate reconcile), then linegate outbox approve"
    )
    return 0


def _complain(error: Exception) -> int:
    print(clean(f"linegate: {error}", SHOWN_CHARS_MAX), file=sys.stderr)
    return 1
