"""A full disk, on a real file system of a few megabytes; mounting one needs root."""

import asyncio
import contextlib
import itertools
import os
import random
import subprocess

import pytest

from buffer.entry import OutboxState, Settlement
from buffer.errors import StoreError
from buffer.outbox import Outbox
from buffer.reserve import RESERVE_NAME, Reserve
from buffer.space import FREE_PAGES_KEPT, PAGES_AT_ONCE
from buffer.store import Store

MIB = 1024 * 1024
DISK_BYTES = 32 * MIB
RESERVE_BYTES = 4 * MIB  # as much as the write-ahead log, which must find its way into the file
BODY = (b"{}", "application/json", "")


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, in memory."""
    mount = tmp_path / "disk"
    mount.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting needs root: a full disk not run")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mount is not allowed here: a full disk not run ({done.stderr.decode(errors='replace').strip()})")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def bulky(size):
    """A state that cannot be packed."""
    return random.Random(7).randbytes(size)


def room(folder):
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def fill(ballast):
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


async def each(store, steps):
    for step in steps:
        await store.commit(step)


async def opened(disk, clock):
    return await Store.open(disk / "linegate.db", now_ns=clock, max_bytes=64 * MIB, reserve_bytes=RESERVE_BYTES)


def test_the_reserve_is_really_allocated(disk):
    before = room(disk)
    reserve = Reserve(disk, RESERVE_BYTES)
    assert reserve.make()
    assert before - room(disk) >= RESERVE_BYTES
    reserve.give_up()
    assert reserve.given_up
    assert room(disk) == before
    assert reserve.make()
    assert not reserve.given_up


async def test_a_full_disk_is_drained_and_nothing_is_lost(disk, clock, make):
    store = await opened(disk, clock)
    outbox, ballast = Outbox(store), disk / "ballast"
    await store.commit(make.step(postings=[make.posting(seq=1)]))
    fill(ballast)
    assert room(disk) == 0
    seq, refused = 1, None
    while refused is None:  # the log has some room left inside
        seq += 1
        try:
            await store.commit(make.step(seq=seq, rows=0, unit=f"U{seq}", snapshot=bulky(40_000)))
        except StoreError as error:
            refused = error
        assert seq < 1000
    assert refused.temporary
    assert refused.full
    assert "disk" in store.problem
    assert not (disk / RESERVE_NAME).exists()

    # What waits is still forwarded and settled, again and again; new steps wait.
    for _ in range(50):
        await outbox.begin_send(1, BODY, 2000)
        await outbox.settle(1, Settlement(OutboxState.UNCERTAIN), 2001)
        await outbox.settle(1, Settlement(OutboxState.READY), 2002)
        with pytest.raises(StoreError, match="disk is full"):
            await store.commit(make.step(seq=seq, rows=0, unit=f"U{seq}", snapshot=bulky(40_000)))

    ballast.unlink()
    await store.upkeep()
    assert store.problem == ""
    assert (disk / RESERVE_NAME).stat().st_size == RESERVE_BYTES
    await store.commit(make.step(seq=2, snapshot=b"new"))
    assert (await store.snapshots())["ASM-01"] == b"new"
    assert len(await store.snapshots()) == seq - 1
    assert (await store.read("PRAGMA integrity_check", ())) == [("ok",)]
    await store.close()


async def test_a_start_on_a_full_disk_gives_the_reserve_up(disk, clock, make):
    store = await opened(disk, clock)
    await store.commit(make.step(postings=[make.posting(seq=1)]))
    await store.close()
    fill(disk / "ballast")
    store = await opened(disk, clock)
    await Outbox(store).begin_send(1, BODY, 2000)
    assert "disk" in store.problem
    await store.close()


async def test_without_a_reserve_none_is_made(tmp_path, clock, make):
    store = await Store.open(tmp_path / "linegate.db", now_ns=clock, max_bytes=64 * MIB, reserve_bytes=0)
    await store.commit(make.step())
    assert not (tmp_path / RESERVE_NAME).exists()
    await store.close()


async def test_at_its_own_cap_the_reserve_stays_and_deleting_works(tmp_path, clock, make):
    store = await Store.open(tmp_path / "linegate.db", now_ns=clock, max_bytes=2 * MIB, reserve_bytes=RESERVE_BYTES)
    steps = [make.step(seq=seq, unit=f"U{seq}", rows=0, snapshot=bulky(20_000)) for seq in range(200)]
    with pytest.raises(StoreError, match="max_size") as refused:
        await each(store, steps)
    assert refused.value.temporary
    assert (tmp_path / RESERVE_NAME).exists()

    async def delete(connection):
        await connection.execute_fetchall("DELETE FROM work_unit WHERE id <> 'U0'")

    await store.write(delete)
    await store.commit(make.step(seq=1, unit="U1"))
    await store.close()


async def test_a_file_shrinks_in_small_steps(open_store, path, make):
    store = await open_store()
    for number in range(1, 151):
        await store.commit(make.step(unit=f"U{number}", snapshot=bulky(50_000)))
    full = (await store.stats()).database_bytes + (await store.stats()).wal_bytes

    async def delete(connection):
        await connection.execute_fetchall("DELETE FROM work_unit")

    await store.write(delete)
    pages = [(await store.read("PRAGMA page_count", ()))[0][0]]
    for _ in range(100):
        await store.upkeep()
        pages.append((await store.read("PRAGMA page_count", ()))[0][0])
    falls = [before - after for before, after in itertools.pairwise(pages)]
    assert 0 < max(falls) <= PAGES_AT_ONCE + 8, "bounded steps"
    assert pages[-1] < FREE_PAGES_KEPT + PAGES_AT_ONCE
    await store.close()
    assert path.stat().st_size < full / 2
    assert (await asyncio.to_thread(path.stat)).st_size < 5 * MIB
