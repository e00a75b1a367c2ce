"""States stand packed in their rows; pages are small; an older file is brought to both."""

import asyncio
import contextlib
import json
import random
import sqlite3
import struct
import sys
from contextlib import closing

import pytest

from buffer import packing, schema
from buffer.readonly import ReadOnlyStore
from buffer.space import INCREMENTAL
from buffer.store import Store

SEED = 20_261_122
MIB = 1024 * 1024
OLD_PAGE_BYTES = 4096


def state(rng, entries=60, seq=1):
    """Much like a real one: the same names again and again, and numbers that differ."""
    row = [{"from_ns": rng.randrange(10**18, 2 * 10**18), "state": "PRODUCING", "order": "100"} for _ in range(entries)]
    return json.dumps(
        {"v": 5, "journal_seq": seq, "review": 3, "unknown": [], "unknown_older": [1, 2], "row": row}
    ).encode()


def test_whatever_is_packed_comes_back():
    rng = random.Random(SEED)
    for size in (0, 1, 2, 511, 512, 513, 5000, 70_000):
        for given in (rng.randbytes(size), b"{" * size, packing.MARKER * size):
            stored = packing.pack(given)
            assert packing.unpack(stored) == packing.unpacked(stored) == given, (SEED, size)
    given = state(rng)
    stored = packing.pack(given)
    assert len(stored) < len(given) / 2
    assert len(stored) % packing.STEP_BYTES == 0


def test_a_damaged_one_is_told_and_does_no_harm():
    stored = packing.pack(state(random.Random(SEED)))
    for damaged in (
        stored[:200],
        packing.MARKER,
        packing.MARKER + b"no stream",
        stored[:60] + b"\xff" * 40 + stored[100:],
    ):
        with pytest.raises(ValueError, match="packed state"):
            packing.unpack(damaged)
        assert packing.unpacked(damaged) == damaged


def test_one_that_unpacks_without_end_is_refused(monkeypatch):
    stored = packing.pack(b"0" * 100_000)
    monkeypatch.setattr(packing, "UNPACKED_MAX_BYTES", 50_000)
    with pytest.raises(ValueError, match="more than 50000 bytes"):
        packing.unpack(stored)


async def test_states_are_stored_packed_and_an_older_row_is_read_as_it_is(open_store, path, make):
    store = await open_store()
    given = state(random.Random(SEED))
    await store.commit(make.step(unit="M1", snapshot=given))
    await store.commit(make.step(unit="M2", snapshot=given))

    async def as_it_is(connection):
        await connection.execute_fetchall("UPDATE work_unit SET snapshot = ? WHERE id = 'M2'", (given,))

    await store.write(as_it_is)
    assert await store.snapshots() == {"M1": given, "M2": given}
    stored = dict(await store.read("SELECT id, length(snapshot) FROM work_unit", ()))
    assert stored["M2"] == len(given) > 2 * stored["M1"]
    with ReadOnlyStore(path) as view:
        assert view.snapshots() == {"M1": given, "M2": given}
        counted = view.read("SELECT json_extract(CAST(unpacked(snapshot) AS TEXT), '$.review') FROM work_unit", ())
        assert counted == [(3,), (3,)]
    await store.close()


def frames(path):
    """(bytes of a page, pages of each transaction) in the write-ahead log."""
    wal = path.with_name(path.name + "-wal").read_bytes()
    page_bytes, salt = struct.unpack(">I", wal[8:12])[0], wal[16:24]
    commits, pages, at = [], [], 32
    while at + 24 + page_bytes <= len(wal) and wal[at + 8 : at + 16] == salt:
        number, size = struct.unpack(">II", wal[at : at + 8])
        pages.append(number)
        if size:
            commits.append(pages)
            pages = []
        at += 24 + page_bytes
    return page_bytes, commits


async def test_a_step_writes_few_pages(open_store, path, make):
    store = await open_store()
    rng = random.Random(SEED)
    await store.commit(make.step(seq=1, snapshot=state(rng)))
    before = len(frames(path)[1])
    for seq in range(2, 42):
        await store.commit(make.step(seq=seq, snapshot=state(rng, seq=seq)))
    page_bytes, commits = frames(path)
    sizes = sorted(len(one) * page_bytes for one in commits[before:])
    assert len(sizes) == 40
    # Leaf and overflow pages of the state, time, head and row of the journal: no page is freed, none is taken.
    assert sizes[20] <= 7 * 1024, (SEED, sizes)
    assert sum(1 in one for one in commits[before:]) < 10, "the free list stays as it is"
    await store.close()


def made_old(path):
    """As an older linegate made it: large pages that are never given back, states as they are."""
    with closing(sqlite3.connect(path, isolation_level=None)) as link:
        packing.teach(link)
        link.execute("UPDATE work_unit SET snapshot = unpacked(snapshot)")
        for pragma in ("journal_mode=DELETE", f"page_size={OLD_PAGE_BYTES}", "auto_vacuum=NONE"):
            link.execute(f"PRAGMA {pragma}").fetchall()
        link.execute("VACUUM")
        link.execute("PRAGMA journal_mode=WAL").fetchall()


def how(path):
    with closing(sqlite3.connect(path)) as link:
        pragmas = ("page_size", "auto_vacuum", "journal_mode", "user_version")
        return [link.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]


async def filled(open_store, path, make, units=40):
    store = await open_store()
    rng = random.Random(SEED)
    for number in range(units):
        await store.commit(make.step(unit=f"M{number}", snapshot=state(rng), postings=[make.posting(seq=number + 1)]))
    content = await store.snapshots(), await store.read("SELECT * FROM outbox", ()), store.epoch
    await store.close()
    made_old(path)
    assert how(path)[:3] == [OLD_PAGE_BYTES, 0, "wal"]
    return content


async def test_an_older_file_is_rewritten_in_small_pages(open_store, path, make):
    content = await filled(open_store, path, make)
    store = await open_store(max_bytes=64 * MIB)
    assert (await store.snapshots(), await store.read("SELECT * FROM outbox", ()), store.epoch) == content
    await store.commit(make.step(unit="new"))

    async def limits(connection):
        names = ("max_page_count", "journal_mode", "synchronous", "temp_store", "busy_timeout")
        return [next(iter(await connection.execute_fetchall(f"PRAGMA {name}")))[0] for name in names]

    assert await store.write(limits) == [64 * MIB // schema.PAGE_BYTES, "wal", 2, 2, schema.BUSY_TIMEOUT_MS]
    await store.close()
    assert how(path) == [schema.PAGE_BYTES, INCREMENTAL, "wal", schema.migrations()[-1][0]]
    with closing(sqlite3.connect(path)) as link:
        assert link.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_file_that_somebody_reads_stays_as_it_is_until_the_next_start(open_store, path, make):
    content = await filled(open_store, path, make)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM outbox").fetchone()
        store = await open_store()
        assert await store.snapshots() == content[0]
        await store.commit(make.step(unit="new"))
        assert (await store.read("PRAGMA page_size", ()))[0][0] == OLD_PAGE_BYTES
    await store.close()
    await (await open_store()).close()
    assert how(path)[0] == schema.PAGE_BYTES


REWRITING = """
import asyncio, sys
from pathlib import Path
from buffer.store import Store
print("begin", flush=True)
asyncio.run(Store.open(Path(sys.argv[1]), now_ns=lambda: 1, max_bytes=1 << 26, reserve_bytes=0))
"""


async def test_one_who_dies_while_rewriting_leaves_what_was_there(open_store, path, make, clock):
    content = await filled(open_store, path, make, units=200)
    rng = random.Random(SEED)
    for _ in range(4):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-c", REWRITING, str(path), stdout=asyncio.subprocess.PIPE
        )
        await process.stdout.readline()
        await asyncio.sleep(rng.random() * 0.2)  # the moment of its death
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    store = await Store.open(path, now_ns=clock, max_bytes=64 * MIB)
    found = await store.snapshots(), await store.read("SELECT * FROM outbox", ()), store.epoch
    await store.close()
    assert found == content, SEED
    assert how(path)[:3] == [schema.PAGE_BYTES, INCREMENTAL, "wal"]
