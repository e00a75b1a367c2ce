"""When the last copy of a database was made, where and how large: a small file beside the database.

It stands beside it and not in it, because whoever copies may only read. It makes no copy, and a note that cannot be
read is none.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

NOTE_NAME: Final = "linegate.backup"
NOTE_BYTES_MAX: Final = 8192
FILE_MODE: Final = 0o600


class LastBackup(NamedTuple):
    """``at_utc_ns``: when the copy was done, UTC nanoseconds by the system's clock; ``bytes``: its size."""

    at_utc_ns: int
    file: str
    bytes: int


def leave(database: Path, copy: Path) -> None:
    """Write down this copy of the database; where that is impossible the copy is as good, and nobody hears of it."""
    target = database.with_name(NOTE_NAME)
    new = target.with_name(f"{NOTE_NAME}.new")
    with contextlib.suppress(OSError):
        found = copy.stat()
        new.write_text(json.dumps(LastBackup(found.st_mtime_ns, str(copy.resolve()), found.st_size)._asdict()))
        new.chmod(FILE_MODE)
        new.replace(target)


def last(database: Path) -> LastBackup | None:
    """What was written down, None where nothing was."""
    try:
        with database.with_name(NOTE_NAME).open("rb") as file:
            found: Any = json.loads(file.read(NOTE_BYTES_MAX))
        return LastBackup(int(found["at_utc_ns"]), str(found["file"]), int(found["bytes"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
