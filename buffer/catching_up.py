"""Orders that come after a restore: which of them the copy may have missed, though they were worked on already.

What an ERP delivers until it has nothing more may have been delivered, made and confirmed before, by the database that
is gone. The first confirmation of such an operation waits for a person, as that of every operation of the copy does.
What comes later is new. It sends nothing and approves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    import aiosqlite

    from buffer.store import Store

#: Stands for every feed of orders where the copy knows none.
ANY: Final = ""
_BEGIN: Final = "INSERT OR IGNORE INTO catching_up (connector) SELECT connector FROM connector_cursor"
_BEGIN_ANY: Final = "INSERT INTO catching_up (connector) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM catching_up)"
_OPEN: Final = "SELECT connector FROM catching_up"
_DONE: Final = "DELETE FROM catching_up WHERE connector = ?"


async def begin(connection: aiosqlite.Connection) -> None:
    """Every feed of orders that the copy knows has to catch up. In a transaction that is open."""
    await connection.execute_fetchall(_BEGIN)
    await connection.execute_fetchall(_BEGIN_ANY, (ANY,))


async def done(store: Store, connector: str) -> None:
    """This feed has nothing more. Raises StoreError."""
    await _forget(store, [name for (name,) in await store.read(_OPEN, ()) if name in (connector, ANY)])


async def only(store: Store, feeds: Iterable[str]) -> None:
    """Nobody waits for a feed that is not configured any more. Raises StoreError."""
    known = {*feeds, ANY}
    await _forget(store, [name for (name,) in await store.read(_OPEN, ()) if name not in known])


async def _forget(store: Store, names: list[str]) -> None:
    async def work(connection: aiosqlite.Connection) -> None:
        await connection.executemany(_DONE, [(name,) for name in names])

    if names:
        await store.write(work)
