"""Pragmas and ordered migrations of the database file. Knows nothing of what the tables mean."""

from __future__ import annotations

import sqlite3
from functools import cache, partial
from importlib import resources
from typing import TYPE_CHECKING, Final

from buffer import moment, packing
from buffer.errors import DamagedStoreError, NewerSchemaError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import aiosqlite

#: A commit writes whole pages, and most of what it changes are a few bytes in each. With pages of 4 KiB the same work
#: writes twice as much to a memory card.
PAGE_BYTES: Final = 1024
BUSY_TIMEOUT_MS: Final = 5000
WAL_LIMIT_BYTES: Final = 4 * 1024 * 1024
#: As far as the log may grow: a page that changes often is written back once for all of it.
WAL_AUTOCHECKPOINT_PAGES: Final = WAL_LIMIT_BYTES // PAGE_BYTES
#: Above this size the check at start would keep a machine waiting; damage is then found where it is read.
QUICK_CHECK_MAX_BYTES: Final = 256 * 1024 * 1024

_READING: Final = (
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA mmap_size=0",
)
#: FULL, not NORMAL: after a power cut NORMAL rolls committed numbers back, and they would be given out twice.
#: ``page_size`` and ``auto_vacuum`` hold for a file that is being made; ``buffer.space`` brings an older one to it.
_WRITING: Final = (
    f"PRAGMA page_size={PAGE_BYTES}",
    "PRAGMA auto_vacuum=INCREMENTAL",
    *_READING,
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    f"PRAGMA wal_autocheckpoint={WAL_AUTOCHECKPOINT_PAGES}",
    f"PRAGMA journal_size_limit={WAL_LIMIT_BYTES}",
    "PRAGMA foreign_keys=ON",
)
#: What must be in force before anything is written, as SQLite says it. A file system without shared memory, for
#: example, answers another journal mode, and goes on.
IN_FORCE: Final = {
    "journal_mode": "wal",
    "synchronous": 2,
    "wal_autocheckpoint": WAL_AUTOCHECKPOINT_PAGES,
    "journal_size_limit": WAL_LIMIT_BYTES,
    "foreign_keys": 1,
    "busy_timeout": BUSY_TIMEOUT_MS,
    "trusted_schema": 0,
    "temp_store": 2,
}
_FULL: Final = "FULL"
_DAMAGE: Final = frozenset({"CORRUPT", "NOTADB"})


def family(error: sqlite3.Error) -> str:
    """The family of SQLite's error: IOERR of SQLITE_IOERR_FSYNC, "" of an error that is not SQLite's."""
    name: str = getattr(error, "sqlite_errorname", "")
    return name.removeprefix("SQLITE_").split("_", 1)[0]


def is_full(error: sqlite3.Error) -> bool:
    """There is no room, on the device or in the file."""
    return family(error) == _FULL


def is_damage(error: sqlite3.Error) -> bool:
    """The file is not what SQLite wrote."""
    return family(error) in _DAMAGE


async def prepare_writer(connection: aiosqlite.Connection, path: Path, *, max_bytes: int) -> None:
    """Set the pragmas, check the file, and bring the schema up to date.

    Raises DamagedStoreError, NewerSchemaError, or StoreError where the file cannot be read or written.
    """
    try:
        page_bytes = await prepare_again(connection, max_bytes=max_bytes)
        await _check(connection, path, page_bytes)
        await _migrate(connection, path)
    except sqlite3.OperationalError as error:
        what = "there is no room" if is_full(error) else f"cannot be opened for writing: {error}"
        raise StoreError(
            f"{path}: {what}; check owner, rights and free space of its folder", full=is_full(error)
        ) from error
    except sqlite3.DatabaseError as error:
        raise DamagedStoreError(f"{path}: is not a sound database: {error}; set it aside and start again") from error


async def prepare_again(connection: aiosqlite.Connection, *, max_bytes: int) -> int:
    """Set the pragmas of the connection that writes, and see that they hold; returns the bytes of a page.

    Raises sqlite3.Error, StoreError.
    """
    return await moment.in_its_thread(connection, partial(_set, max_bytes))


def _set(max_bytes: int, connection: sqlite3.Connection) -> int:
    for pragma in _WRITING:
        connection.execute(pragma).fetchall()
    for name, wanted in IN_FORCE.items():
        ((found,),) = connection.execute(f"PRAGMA {name}").fetchall()
        if found != wanted:
            raise StoreError(f"PRAGMA {name}: found {found}, allowed {wanted}; put state_dir on an ordinary local disk")
    ((page_bytes,),) = connection.execute("PRAGMA page_size").fetchall()
    connection.execute(f"PRAGMA max_page_count={max(max_bytes // page_bytes, 1)}").fetchall()
    return int(page_bytes)


async def prepare_reader(connection: aiosqlite.Connection) -> None:
    """Pragmas of a connection that must never write."""
    for pragma in (*_READING, "PRAGMA query_only=ON"):
        await connection.execute_fetchall(pragma)
    await connection.create_function(packing.FUNCTION, 1, packing.unpacked, deterministic=True)


def migrations() -> list[tuple[int, str]]:
    """Number and SQL text of each migration, in order."""
    folder = resources.files("buffer") / "migrations"
    found = (entry for entry in folder.iterdir() if _is_sql(entry.name))
    return sorted((_number_of(entry.name), entry.read_text(encoding="utf-8")) for entry in found)


@cache
def newest_schema() -> int:
    """The number of the last migration; who only reads asks for it each time, and reads none of them."""
    return max(
        _number_of(one.name) for one in (resources.files("buffer") / "migrations").iterdir() if _is_sql(one.name)
    )


def _number_of(name: str) -> int:
    return int(name.split("_", 1)[0])


def _is_sql(name: str) -> bool:
    return name.endswith(".sql")


def check_present(path: Path, present: int) -> None:
    """Raises NewerSchemaError for a schema that is not known yet, StoreError for an older one."""
    newest = newest_schema()
    if present > newest:
        raise NewerSchemaError(f"{path}: has schema {present}, this linegate knows up to {newest}")
    if present < newest:
        raise StoreError(f"{path}: has the old schema {present}; start the gateway once to bring it to {newest}")


async def _check(connection: aiosqlite.Connection, path: Path, page_bytes: int) -> None:
    if await _number(connection, "PRAGMA page_count") * page_bytes > QUICK_CHECK_MAX_BYTES:
        return
    verdict = next(iter(await connection.execute_fetchall("PRAGMA quick_check(1)")))[0]
    if verdict != "ok":
        raise DamagedStoreError(f"{path}: is not a sound database: {verdict}; set it aside and start again")


async def _migrate(connection: aiosqlite.Connection, path: Path) -> None:
    steps = migrations()
    newest = steps[-1][0]
    present = await _number(connection, "PRAGMA user_version")
    if present > newest:
        raise NewerSchemaError(
            f"{path}: has schema {present}, this linegate knows up to {newest}; install the newer linegate again"
        )
    missing = [step for step in steps if step[0] > present]
    # A new file gets all of them at once: each transaction of its own is waited for until it is on the disk.
    for together in [[step] for step in missing] if present else [missing]:
        await moment.in_its_thread(connection, partial(_apply, together))


def _apply(steps: list[tuple[int, str]], connection: sqlite3.Connection) -> None:
    """Apply migrations in one transaction; a half-made schema does not stay behind, whatever ended it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number, script in steps:
            for statement in _statements(script):
                connection.execute(statement).fetchall()
            connection.execute(f"PRAGMA user_version={number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    # executescript() commits first, which would make the migration several transactions.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


async def _number(connection: aiosqlite.Connection, sql: str) -> int:
    return int(next(iter(await connection.execute_fetchall(sql)))[0])
