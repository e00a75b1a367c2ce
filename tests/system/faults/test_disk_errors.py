"""The database on a disk that fails: what was refused is refused whole, and the same process goes on afterwards."""

from __future__ import annotations

import asyncio

import pytest

from buffer.errors import StoreError
from buffer.outbox import Outbox
from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store

MIB = 1024 * 1024
#: At 0.05 s a try: a minute.
TRIES_MAX = 1200


def step(seq):
    posting = NewPosting("erp", f"key/{seq}", f"id-{seq}", "4711", "0010", seq, "partial", b"{}" * 100, seq)
    return Step("M-1", str(seq).encode(), seq, (JournalRow(seq, seq, "k", b"{}"),), (posting,))


async def until_kept(store, seq):
    """As a runner does: the same step again, whole, for as long as the error says that it may help."""
    for _ in range(TRIES_MAX):
        error = await refusal(store, seq)
        if error is None:
            return
        assert error.temporary, error
        await asyncio.sleep(0.05)
    raise AssertionError(f"not kept after {TRIES_MAX} tries: {store.problem}")


async def refusal(store, seq):
    """The error of one try, None where it was kept."""
    try:
        await store.commit(step(seq))
    except StoreError as error:
        return error
    return None


async def whole(store, seqs):
    assert (await store.snapshots())["M-1"] == str(seqs).encode()
    assert (await store.journal_seqs())["M-1"] == seqs
    assert (await Outbox(store).counts("erp")).waiting == seqs
    assert await store.read("PRAGMA integrity_check", ()) == [("ok",)]


@pytest.mark.parametrize("kind", ["fsync", "write", "read"])
async def test_an_error_of_the_disk_is_followed_by_opening_anew(card, kind):
    store = await Store.open(card.mount / "linegate.db", now_ns=lambda: 1, max_bytes=64 * MIB, reserve_bytes=0)
    await store.commit(step(1))
    card(f"eio {kind} 2")
    refused = 0
    for seq in range(2, 12):
        if await refusal(store, seq) is not None:
            refused += 1
            await until_kept(store, seq)
    card(f"eio {kind} 0")
    if kind != "read":  # nothing has to be read while all pages are in memory
        assert refused
        assert store._recovery.reopened
        assert store.problem == ""
    # Nothing that was acknowledged rests on what a failed flush has left in memory.
    card("cut drop")
    await whole(store, 11)
    await store.close()


async def test_a_read_is_tried_again_on_new_connections(card):
    store = await Store.open(card.mount / "linegate.db", now_ns=lambda: 1, max_bytes=64 * MIB, reserve_bytes=0)
    await store.commit(step(1))
    await store.close()
    store = await Store.open(card.mount / "linegate.db", now_ns=lambda: 1, max_bytes=64 * MIB, reserve_bytes=0)
    card("eio read 1")
    assert len(await Outbox(store).page()) == 1
    card("eio read 0")
    await store.close()


async def test_a_disk_that_was_read_only_is_written_again_by_the_same_process(card):
    store = await Store.open(card.mount / "linegate.db", now_ns=lambda: 1, max_bytes=64 * MIB, reserve_bytes=0)
    await store.commit(step(1))
    card("ro on")
    for _ in range(3):
        with pytest.raises(StoreError) as refused:
            await store.commit(step(2))
        assert refused.value.temporary
    assert store.problem
    card("ro off")
    await until_kept(store, 2)
    await whole(store, 2)
    await store.close()


async def test_a_disk_that_stays_read_only_ends_the_process(card, monkeypatch):
    monkeypatch.setattr("buffer.recovery.GIVE_UP_S", 0.3)
    monkeypatch.setattr("buffer.recovery.REOPEN_PAUSE_S", 0.05)
    store = await Store.open(card.mount / "linegate.db", now_ns=lambda: 1, max_bytes=64 * MIB, reserve_bytes=0)
    await store.commit(step(1))
    card("ro on")
    for _ in range(TRIES_MAX):
        with pytest.raises(StoreError) as refused:
            await store.commit(step(2))
        if not refused.value.temporary:
            break
        await asyncio.sleep(0.05)
    assert not refused.value.temporary
    assert "a new process" in str(refused.value)
    card("ro off")
    await store.close()


async def test_a_full_disk_is_drained_with_what_the_reserve_held(card):
    store = await Store.open(card.mount / "linegate.db", now_ns=lambda: 1, max_bytes=64 * MIB, reserve_bytes=MIB)
    await store.commit(step(1))
    card("enospc on")
    refused, seq = None, 1
    while refused is None:
        seq += 1
        refused = await refusal(store, seq)
    assert refused.temporary
    assert "full" in store.problem
    kept = int((await store.snapshots())["M-1"])
    card("enospc off")
    await until_kept(store, kept + 1)
    assert store.problem == ""
    await whole(store, kept + 1)
    await store.close()
