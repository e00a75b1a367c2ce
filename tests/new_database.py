"""A database as the migrations leave it, for tests that only need one: made once a worker, then copied.

Whoever opens it does all the rest as ever: checks, pragmas, its epoch. The migrations themselves, and the making of the
file, are the matter of ``buffer/test_store.py`` and ``buffer/test_migrations.py``, which start from nothing.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from functools import cache
from pathlib import Path

from buffer import schema
from buffer.opening import FILE_MODE

MAX_BYTES = 1 << 26


@cache
def _made(migrations):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new.db"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            schema._set(MAX_BYTES, connection)
            schema._apply(migrations, connection)
        assert [one.name for one in Path(folder).iterdir()] == [path.name], "its log was written back"
        return path.read_bytes()


def at(path):
    """Put one there, unless there is a file already; returns the path."""
    with (
        contextlib.suppress(FileExistsError),
        os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE), "wb") as file,
    ):
        file.write(_made(tuple(schema.migrations())))
    return path
