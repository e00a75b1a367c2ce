"""The triggers that keep what only grows: each one that is away, or says something else, is named."""

from __future__ import annotations

import contextlib
import re
import sqlite3

import pytest

from buffer import audit_guards, schema
from buffer.audit_guards import TABLES, Unguarded, unguarded


@pytest.fixture
async def database(open_store, path):
    await (await open_store()).close()
    return path


def change(path, *statements):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def triggers(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    return [row for row in rows if row[0] in TABLES]


def test_the_migrations_are_read_as_sqlite_reads_them(database):
    """Every trigger of these tables, in any migration, is one that is held against the file."""
    text = "\n".join(script for _, script in schema.migrations())
    written = [one for one in re.findall(r"CREATE TRIGGER (\w+)", text) if one.startswith(TABLES)]
    assert sorted(written) == sorted(name for _, name, _ in triggers(database))
    assert unguarded(database) == ()


def test_each_trigger_that_is_away_is_named(database):
    for table, name, sql in triggers(database):
        change(database, f"DROP TRIGGER {name}")
        assert unguarded(database) == (Unguarded(table, name, "missing"),)
        change(database, sql)
    assert unguarded(database) == (), "what is put back is as it was: the chain finds what was changed meanwhile"


def test_one_that_says_something_else_and_one_that_nobody_knows(database):
    change(
        database,
        "DROP TRIGGER audit_entry_is_kept",
        "CREATE TRIGGER audit_entry_is_kept BEFORE DELETE ON audit_entry WHEN 0 BEGIN SELECT 1; END",
        "CREATE TRIGGER quiet AFTER INSERT ON audit_entry BEGIN DELETE FROM audit_anchor; END",
    )
    assert [str(one) for one in unguarded(database)] == [
        "audit_entry: trigger audit_entry_is_kept is changed",
        "audit_entry: trigger quiet is unknown",
    ]


def test_a_schema_that_was_written_by_hand(database):
    change(
        database,
        "PRAGMA writable_schema=ON",
        "DELETE FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_entry'",
    )
    assert {one.how for one in unguarded(database)} == {"missing"}
    assert len(unguarded(database)) == 5


def test_an_older_schema_is_held_against_what_it_was(database, monkeypatch):
    change(database, "DROP TRIGGER closing_record_is_kept", "PRAGMA user_version=14")
    assert {one.table for one in unguarded(database) if one.how == "missing"} == set()
    assert audit_guards._wanted(1) == {}
