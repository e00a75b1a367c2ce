"""Whether the triggers that keep the audit trail and the closing records are in force, as the schema made them.

Whoever writes to the file can take a trigger away, change a row and put the trigger back; the chain finds the row. A
trigger that is away, or that says something else, is found here, also where no row was changed yet. Reads only, and
puts nothing back.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from buffer import schema
from buffer.readonly import reading

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

#: Tables of which no row may ever change or go.
TABLES: Final = ("audit", "audit_entry", "audit_anchor", "closing_record")

_TRIGGER: Final = re.compile(r"CREATE TRIGGER (\w+)[^;]*? ON (\w+)\b.*?^END(?=;)", re.DOTALL | re.MULTILINE)
_PRESENT: Final = "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'"


class Unguarded(NamedTuple):
    """A trigger that is not what the schema made, and how: ``missing``, ``changed`` or ``unknown``.

    ``trigger`` "": the whole table is missing.
    """

    table: str
    trigger: str
    how: str

    def __str__(self) -> str:
        return f"{self.table}: {f'trigger {self.trigger}' if self.trigger else 'the table'} is {self.how}"


def unguarded(path: Path) -> tuple[Unguarded, ...]:
    """What is wrong with the triggers of the tables that only grow; () where nothing is. Raises StoreError."""
    with reading(path) as connection:
        return unguarded_in(connection)


def unguarded_in(connection: sqlite3.Connection) -> tuple[Unguarded, ...]:
    """The same of an open database. Raises sqlite3.Error."""
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    wanted = _wanted(int(version))
    present = {
        (str(table), str(name)): str(sql) for name, table, sql in connection.execute(_PRESENT) if table in TABLES
    }
    tables = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    gone = [one for one in dict.fromkeys(table for table, _ in wanted) if one not in tables]
    found = [Unguarded(one, "", "missing") for one in gone]
    for (table, name), sql in wanted.items():
        if table in gone:
            continue
        if (table, name) not in present:
            found.append(Unguarded(table, name, "missing"))
        elif _plain(present[table, name]) != _plain(sql):
            found.append(Unguarded(table, name, "changed"))
    found += [Unguarded(*key, "unknown") for key in sorted(present.keys() - wanted.keys())]
    return tuple(found)


def _wanted(version: int) -> dict[tuple[str, str], str]:
    """Each trigger as the migrations up to this one wrote it, the last one of a name."""
    return {
        (match[2], match[1]): match[0]
        for number, script in schema.migrations()
        if number <= version
        for match in _TRIGGER.finditer(script)
        if match[2] in TABLES
    }


def _plain(sql: str) -> str:
    return " ".join(sql.split())
