"""From every schema there ever was, with rows in all of its tables: today's linegate keeps each row and goes on.

``test_crash_images.py`` of the faults cuts the power in the middle of migrations, ``test_upgrade.py`` goes on with what
a real gateway left behind; here are all tables, kills and a full disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import re
import signal
import sqlite3

import pytest

from buffer import audit_chain, closing
from buffer.closing import Keeping
from buffer.entry import OutboxState, Settlement
from buffer.errors import StoreError
from buffer.outbox import Outbox
from buffer.schema import migrations
from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store
from buffer.verify import verified
from gateway.core.audit.entry import EntryContent
from gateway.core.closing_record import DayBounds, DayFacts, OpenNow
from gateway.core.document import encode, message_id_of
from gateway.core.model import JobOrderState, JobRecord

SEED = 20_261_126
NEWEST = migrations()[-1][0]
OLDER = [number for number, _ in migrations()][:-1]
MAX_BYTES = 1 << 28
KILLS = 2
#: SQLite's steps between two looks at whether to die.
STEP = 50
#: What a column must hold that has its own rule.
SPECIAL = {"one": 1, "quality": 4, "outcome": "posted"}
#: Parts of the sums of postings: none of those that there are, and no other.
PARTS = {table: [("erp", "posted", 0)] for table in ("answer_tally", "notice_tally")}
ENTRY = EntryContent(
    at_ns=1, utc_ns=1, time_quality=0, utc_offset_s=0, time_zone="UTC", user="u", role="r", auth="", client="",
    action="day_closed", change="event", entity="work_unit", entity_id="M1", config_version="", sw_version="",
)  # fmt: skip


def posting(order, seq, target="erp", at_ns=10):
    key = f"P/e/{order}/10/{seq}"
    document = {"idempotency_key": key, "seq": seq}
    payload = encode({**document, "hash": hashlib.sha256(encode(document)).hexdigest()})
    return NewPosting(target, key, message_id_of(key), order, "10", seq, "partial", payload, at_ns)


async def produced(store, make):
    """What a gateway writes by itself; what is booked, waits, is in doubt, is parked."""
    outbox, seq = Outbox(store), 0
    for order in "ABCD":
        for number in (1, 2, 3):
            seq += 1
            record = JobRecord(make.job(order, "10"), JobOrderState.IN_PROGRESS, number, 1, 0, 0, "h")
            new = (posting(order, number), *([posting(order, number, "mes")] if order == "B" else []))
            state = json.dumps({"journal_seq": seq}).encode()
            await store.commit(Step("M1", state, 10, (JournalRow(seq, 10, "job", b"{}"),), new, (record,)))
    ends = dict(zip("ABC", (OutboxState.POSTED, OutboxState.UNCERTAIN, OutboxState.PARKED), strict=True))
    for one in await outbox.due("erp", 100, 10):
        if one.order in ends:
            await outbox.begin_send(one.id, (b"x", "t", "n"), 20)
            await outbox.settle(one.id, Settlement(ends[one.order], 30), 20)
    rows = closing.day_rows(store.path, "M1", None, 0, 50)
    facts = DayFacts(
        "M1", "gw", store.epoch, 1, "", DayBounds("2026-01-01", 0, 50), 60, 0, True, standing=(), set_aside=(),
        open_now=OpenNow({}, 0, ()), **rows._asdict(),
    )  # fmt: skip
    await closing.keep(store, Keeping(facts, 50, frozenset(), lambda made: ENTRY._replace(new=made.digest)))
    await store.write(lambda connection: audit_chain.keep_anchor("2026-01-01", 5, connection))


def tables(link):
    return [
        name
        for (name,) in link.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid")
        if name != "sqlite_sequence"
    ]


def columns(link, table):
    return {row[1]: row[2] for row in link.execute(f"PRAGMA table_info({table})")}


def without_triggers(link):
    """Takes all triggers away; what makes them again."""
    made = link.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in made:
        link.execute(f"DROP TRIGGER {name}")
    return [sql for _, sql in made]


def plausible(name, kind, number):
    return SPECIAL.get(name) or {"INTEGER": number, "TEXT": f"{name} {number}", "BLOB": b"{}"}[kind]


@pytest.fixture(scope="module")
def today(tmp_path_factory, make):
    """A database of today with rows in every table."""
    path = tmp_path_factory.mktemp("today") / "linegate.db"

    async def write():
        store = await Store.open(path, now_ns=lambda: 100, max_bytes=MAX_BYTES)
        await produced(store, make)
        await store.close()

    asyncio.run(write())
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as link:
        triggers = without_triggers(link)
        for table in tables(link):
            if link.execute(f"SELECT count(*) FROM {table}").fetchone()[0]:
                continue
            own = columns(link, table)
            numbers = (1, 2)[: 1 if "one" in own else 2]
            made = [[plausible(name, kind, number) for name, kind in own.items()] for number in numbers]
            for values in PARTS.get(table, made):
                link.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(own))})", values)
        for sql in triggers:
            link.execute(sql)
    assert not defects(path)
    return path


def older(path, today, newest):
    """The same rows as the linegate of that schema had them."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as link:
        link.execute("PRAGMA journal_mode=WAL")
        for number, script in migrations():
            if number <= newest:
                link.executescript(f"BEGIN; {script}; PRAGMA user_version={number}; COMMIT")
        link.execute("ATTACH ? AS today", (str(today),))
        link.execute("BEGIN")
        triggers = without_triggers(link)
        for table in tables(link):
            own = ", ".join(columns(link, table))
            link.execute(f"INSERT INTO {table} ({own}) SELECT {own} FROM today.{table}")
            assert link.execute(f"SELECT count(*) FROM {table}").fetchone()[0], f"{table} is empty"
        for sql in triggers:
            link.execute(sql)
        link.execute("COMMIT")
    return path


def contents(path, like=None):
    """Rows by table, of the tables and columns that ``like`` (or it itself) has."""
    with contextlib.closing(sqlite3.connect(path)) as link:
        shape = like or {table: tuple(columns(link, table)) for table in tables(link)}
        return shape, {
            table: sorted(link.execute(f"SELECT {', '.join(own)} FROM {table}").fetchall(), key=repr)
            for table, own in shape.items()
        }


def defects(path):
    return {one.name: one.told for one in verified(path) if one.defects}


async def opened(path, max_bytes=MAX_BYTES):
    return await Store.open(path, now_ns=lambda: 10**9, max_bytes=max_bytes, reserve_bytes=0)


@pytest.mark.parametrize("newest", OLDER)
async def test_every_row_is_there_and_the_forwarder_goes_on(today, path, newest):
    shape, before = contents(older(path, today, newest))
    store = await opened(path)
    await store.close()
    assert contents(path, shape)[1] == before
    assert not defects(path)
    store = await opened(path)
    try:
        outbox = Outbox(store)
        for target in ("erp", "mes"):
            while entries := await outbox.due(target, 10**9, 100):
                for one in entries:
                    await outbox.begin_send(one.id, (b"x", "t", "n"), 10**9, repeat_uncertain=True)
                    await outbox.settle(one.id, Settlement(OutboxState.POSTED), 10**9)
        counts = await outbox.counts("erp")
        assert (counts.waiting, counts.parked, counts.posted) == (2, 1, 9)  # a parked one holds back two behind it
    finally:
        await store.close()
    assert not defects(path)


def killing(after):
    """Every connection from here on; the process dies after so many steps of SQLite, in the middle of what it does."""
    left = [after]

    class Dying(sqlite3.Connection):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.set_progress_handler(self.stepped, STEP)

        def stepped(self):
            left[0] -= STEP
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return 0

    real = sqlite3.connect
    sqlite3.connect = lambda *args, **options: real(*args, **{"factory": Dying, **options})
    return left


def migrated_by_a_child(path, after):
    """In a process of its own, which dies after so many steps; those that it took, None where it died."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            left = killing(after)

            async def once():
                await (await opened(path)).close()

            asyncio.run(once())
            os.write(write_end, str(after - left[0]).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    _, status = os.waitpid(child, 0)
    said = os.read(read_end, 100)
    os.close(read_end)
    assert said or os.WIFSIGNALED(status), "the child failed"
    return int(said) if said else None


@pytest.mark.parametrize("newest", OLDER)
def test_a_kill_in_the_middle_leaves_all_or_nothing_of_each_migration(today, tmp_path, newest):
    rng = random.Random(SEED + newest)
    shape, before = contents(older(tmp_path / "whole.db", today, newest))
    steps = migrated_by_a_child(tmp_path / "whole.db", 10**9)
    for number in range(KILLS):
        path = older(tmp_path / f"killed-{number}.db", today, newest)
        after = rng.randrange(steps)
        told = f"seed {SEED}: schema {newest}, killed after {after} of {steps} steps"
        assert migrated_by_a_child(path, after) is None, told
        with contextlib.closing(sqlite3.connect(path)) as link:
            ((version,),) = link.execute("PRAGMA user_version")
        assert newest <= version <= NEWEST, told
        assert migrated_by_a_child(path, 10**9), told
        assert contents(path, shape)[1] == before, told
        assert not defects(path), told


@pytest.mark.parametrize("newest", [number for number in OLDER if number < 15])
async def test_without_room_it_says_so_and_nothing_is_half_made(today, path, newest):
    shape, before = contents(older(path, today, newest))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as link:
        link.execute("VACUUM")
        ((pages, page_bytes),) = link.execute("SELECT * FROM pragma_page_count, pragma_page_size")
    with pytest.raises(StoreError, match="there is no room") as caught:
        await opened(path, max_bytes=pages * page_bytes)
    assert caught.value.full
    assert str(path) in str(caught.value)
    with contextlib.closing(sqlite3.connect(path)) as link:
        assert link.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        ((version,),) = link.execute("PRAGMA user_version")
        made = {name for (name,) in link.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    scripts = "".join(script for number, script in migrations() if number <= version)
    assert made - {"sqlite_sequence"} == set(re.findall(r"CREATE TABLE (\w+)", scripts)) - {"outbox_new"}
    assert contents(path, shape)[1] == before
    store = await opened(path)
    await store.close()
    assert contents(path, shape)[1] == before
    assert not defects(path)
