"""What the mark keeps, and what a database that went back in time says about it at its next opening."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buffer import doubts, mark
from buffer.damage import set_aside
from buffer.entry import OutboxState, Settlement
from buffer.errors import StoreError
from buffer.mark import FILE_BYTES, Mark, Sent
from buffer.outbox import Outbox
from buffer.restore import restore
from buffer.step import NewPosting
from gateway.core.document import message_id_of
from gateway.core.model import JobOrderState, JobRecord

MESSAGE = (b"<b/>", "text/xml", "n.xml")
MIB = 1024 * 1024


def sent(number=1, *, lane="A", attempt=1, digest="d" * 16):
    key = f"P/e/{lane}/10/{number}"
    return Sent("erp", number, key, "partial", lane, "10", number, attempt, digest, 1000 + number, "n", "2", "1", "0")


def read(folder):
    return Mark(Path(folder) / "linegate.db").read()


def begun(folder, epoch="e" * 13):
    one = Mark(Path(folder) / "linegate.db")
    one.read()
    one.begin(epoch)
    return one


# --- the file ---------------------------------------------------------------------------------------------------------

TEXT = st.text(max_size=12)
LANES = st.sampled_from(["A", "B", "Ü/1", "\x00\n", "long" * 30])


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.lists(st.tuples(LANES, TEXT, st.integers(1, 3)), min_size=1, max_size=4), max_size=12),
    eras=st.lists(st.sampled_from(["one", "two", "three"]), max_size=3),
)
def test_what_was_written_is_read(groups, eras):
    with tempfile.TemporaryDirectory() as folder:
        kept, wanted, number = begun(folder, "zero"), {}, 0
        for index, group in enumerate(groups):
            era = (["zero", *dict.fromkeys(eras)] + ["last"] * len(groups))[index // 4]
            kept.begin(era)
            rows = []
            for lane, name, attempt in group:
                number += 1
                rows.append(sent(number, lane=lane, attempt=attempt)._replace(name=name))
                wanted[era, rows[-1].key] = rows[-1]
            kept.append(rows, {"M1": number})
            if index % 3 == 2:  # another process goes on
                kept.close()
                kept = begun(folder, era)
        kept.close()
        found = read(folder)
        assert (found.damaged, found.torn) == (0, False)
        assert found.journal == ({"M1": number} if number else {})
        got = {(era, one.key): one for era, one in found.sent}
        assert got.items() <= wanted.items()
        last = {(era, one.order): one for (era, _), one in wanted.items()}
        for (era, _), one in last.items():
            assert got[era, one.key] == one


def test_it_stays_small_and_knows_the_last_of_every_lane(tmp_path):
    kept = begun(tmp_path)
    for first in range(1, 3001, 10):
        kept.append([sent(one, lane=f"L{one % 50}") for one in range(first, first + 10)], {"M1": first})
    kept.close()
    sizes = {one.name: one.stat().st_size for one in tmp_path.iterdir()}
    assert sizes == {"linegate.mark": FILE_BYTES, "linegate.mark2": FILE_BYTES}
    found = read(tmp_path)
    last = {one.order: one.seq for _, one in sorted(found.sent, key=lambda pair: pair[1].seq)}
    assert last == {f"L{number % 50}": number for number in range(2951, 3001)}
    assert not found.dropped


def test_of_more_lanes_than_it_has_room_for_it_says_that_older_ones_are_not_named(tmp_path):
    kept = begun(tmp_path)
    for number in range(0, 1500, 30):
        kept.append([sent(one, lane=f"L{one}") for one in range(number, number + 30)], {})
    kept.close()
    found = read(tmp_path)
    assert found.dropped
    assert max(one.seq for _, one in found.sent) == 1499


def test_torn_at_each_byte_of_its_last_line_it_is_no_error_and_the_rest_is_whole(tmp_path):
    kept = begun(tmp_path)
    kept.append([sent(1)], {"M1": 1})
    file = tmp_path / "linegate.mark"
    before = file.read_bytes()
    kept.append([sent(2), sent(3, lane="B")], {"M1": 2})
    kept.close()
    after = file.read_bytes()
    end = len(after.rstrip(b"\0"))
    start = len(before.rstrip(b"\0"))
    assert before[:start] == after[:start]
    for cut in range(start, end):
        file.write_bytes(after[:cut].ljust(FILE_BYTES, b"\0"))
        found = read(tmp_path)
        assert [one.seq for _, one in found.sent] == [1], cut
        assert (found.damaged, found.torn) == (0, cut > start), cut
    # A hole in it, as a sector that was not written leaves it; and the mark goes on behind it.
    file.write_bytes(after[: start + 20] + bytes(100) + after[start + 120 :])
    assert read(tmp_path).damaged == 0
    again = begun(tmp_path)
    again.append([sent(4)], {})
    again.close()
    assert {one.seq for _, one in read(tmp_path).sent} == {1, 4}
    assert not read(tmp_path).damaged


def test_damaged_in_the_middle_it_is_said_and_the_rest_is_used(tmp_path):
    kept = begun(tmp_path)
    for number in range(1, 6):
        kept.append([sent(number, lane=f"L{number}")], {})
    kept.close()
    file = tmp_path / "linegate.mark"
    data = file.read_bytes()
    at = data.index(b'"L3"')
    file.write_bytes(data[:at] + b"X" + data[at + 1 :])
    found = read(tmp_path)
    assert found.damaged == 1
    assert [one.seq for _, one in found.sent] == [1, 2, 4, 5]
    begun(tmp_path).close()  # the other file takes its turn, with all that could be read
    (tmp_path / "linegate.mark").unlink()
    assert {one.seq for _, one in read(tmp_path).sent} == {1, 2, 4, 5}


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300), other=st.binary(max_size=300))
def test_whatever_stands_in_the_files_reading_raises_nothing(data, other):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "linegate.mark").write_bytes(data)
        (Path(folder) / "linegate.mark2").write_bytes(b'00000000 {"s":[[1]]}\n' + other)
        assert read(folder).sent == ()
        one = begun(folder)
        one.append([sent(1)], {})
        one.close()
        assert [each.seq for _, each in read(folder).sent] == [1]


# --- the database -----------------------------------------------------------------------------------------------------


def posting(seq, epoch, order="A", good=2):
    key = f"P/{epoch}/{order}/10/{seq}"
    payload = json.dumps({"qty": {"good": str(good), "scrap": [{"reason": None, "qty": "1"}], "rework": "0"}}).encode()
    return NewPosting("erp", key, message_id_of(key), order, "10", seq, "partial", payload, 10)


class Box:
    """A store whose files can be taken back to an earlier moment, without their mark."""

    def __init__(self, open_store, make, path):
        self.open_store, self.make, self.path = open_store, make, path
        self.store = self.outbox = None
        self.journal = 0

    async def open(self):
        self.store = await self.open_store()
        self.outbox = Outbox(self.store)
        self.journal = (await self.store.journal_seqs()).get("ASM-01", 0)
        return self.store

    async def put(self, *postings):
        self.journal += 1
        records = [
            JobRecord(self.make.job(one.order, "10"), JobOrderState.IN_PROGRESS, one.seq, 1, 0, 0, "h")
            for one in postings
        ]
        snapshot = json.dumps({"journal_seq": self.journal}).encode()
        step = self.make.step(self.journal, postings=postings, jobs=records, at_ns=5000, snapshot=snapshot)
        await self.store.commit(step)

    async def send(self, order="A", state=OutboxState.POSTED):
        (one,) = [each for each in await self.outbox.due("erp", 10**18, 10) if each.order == order]
        begun = await self.outbox.begin_send(one.id, MESSAGE, 7000)
        if state is not None:
            await self.outbox.settle(begun.id, Settlement(state, 0), 8000)

    def keep(self, name):
        with contextlib.closing(sqlite3.connect(self.path)) as link:
            link.execute("VACUUM INTO ?", (str(self.path.with_name(name)),))

    async def back_to(self, name):
        await self.store.close()
        for one in self.path.parent.glob("linegate.db*"):
            one.unlink()
        shutil.copy(self.path.with_name(name), self.path)
        return await self.open()

    async def states(self):
        return {one.key.rpartition("P/")[2].split("/", 1)[1]: one.state.value for one in await self.outbox.page()}


@pytest.fixture
async def box(open_store, make, path):
    one = Box(open_store, make, path)
    await one.open()
    yield one
    await one.store.close()


async def test_a_sound_database_stays_what_it_is(box):
    epoch = box.store.epoch
    await box.put(posting(1, epoch))
    await box.send()
    await box.put(posting(2, epoch))
    await box.send(state=None)  # the process dies while it is sent
    for _ in range(2):
        await box.store.close()
        await box.open()
        assert (box.store.older, box.store.epoch) == (None, epoch)
    assert await box.states() == {"A/10/1": "posted", "A/10/2": "uncertain"}


async def test_a_posting_that_left_and_is_not_there_stops_what_may_be_booked_already(box):
    epoch = box.store.epoch
    await box.put(posting(1, epoch), posting(1, epoch, "B"))
    await box.send()
    box.keep("old")
    await box.put(posting(2, epoch, good=17))
    await box.send()
    store = await box.back_to("old")
    assert store.epoch != epoch
    assert [one.seq for one in store.older.missing] == [2]
    assert "17 good, 1 scrap" in store.older.text
    assert f"P/{epoch}/A/10/2" in store.older.text
    assert await box.states() == {"A/10/1": "posted", "B/10/1": "needs_approval"}
    # The next confirmation of the operation names what may be in it; an order that comes again is stopped, too.
    await box.put(posting(2, store.epoch))
    (waits,) = await box.outbox.page(order="A", state=OutboxState.NEEDS_APPROVAL)
    assert f"P/{epoch}/A/10/2 (17 good, 1 scrap)" in waits.error_text
    (doubt,) = await doubts.open_ones(store)
    assert (doubt.booked, doubt.absent, doubt.unknown) == (0, 0, 1)
    # It is found once, whatever comes then.
    await store.close()
    store = await box.open()
    assert store.older is None
    assert len(await doubts.open_ones(store)) == 1


async def test_an_order_that_the_database_does_not_know_is_stopped_when_it_comes_again(box):
    box.keep("old")
    epoch = box.store.epoch
    await box.put(posting(1, epoch, "NEW"))
    await box.send("NEW")
    store = await box.back_to("old")
    await box.put(posting(1, store.epoch, "NEW"), posting(1, store.epoch, "OTHER"))
    assert await box.states() == {"NEW/10/1": "needs_approval", "OTHER/10/1": "ready"}


@pytest.mark.parametrize("with_message", [False, True])
async def test_a_posting_that_is_there_but_not_that_it_was_sent_becomes_uncertain(box, with_message):
    epoch = box.store.epoch
    await box.put(posting(1, epoch))
    if with_message:
        await box.send(state=OutboxState.RETRY_WAIT)
    box.keep("old")
    await box.send()
    store = await box.back_to("old")
    (one,) = await box.outbox.page()
    assert [sent.key for _, sent in store.older.behind] == [one.key]
    assert one.attempts == 1 + with_message
    if not with_message:
        (lost,) = await doubts.unrendered(store)
        await doubts.rendered(store, lost.id, MESSAGE)
        (one,) = await box.outbox.page()
    assert (one.state, one.body) == (OutboxState.UNCERTAIN, MESSAGE[0])
    # Nothing that was not sent is stopped.
    await box.put(posting(1, store.epoch, "C"))
    assert (await box.states())["C/10/1"] == "ready"


async def test_the_same_key_with_other_contents_is_parked(box):
    epoch = box.store.epoch
    box.keep("old")
    await box.put(posting(1, epoch, good=9))
    await box.send()
    files = {one: one.read_bytes() for one in box.path.parent.glob("linegate.mark*")}
    for one in files:
        one.unlink()
    await box.back_to("old")
    await box.put(posting(1, epoch, good=4))
    await box.store.close()
    for one, data in files.items():
        one.write_bytes(data)
    store = await box.open()
    assert [sent.good for _, sent in store.older.other] == ["9"]
    assert await box.states() == {"A/10/1": "parked"}


async def test_a_copy_from_before_an_older_epoch_is_found_too(box):
    box.keep("first")
    epoch = box.store.epoch
    await box.put(posting(1, epoch))
    await box.send()
    store = await box.back_to("first")
    second = store.epoch
    await box.put(posting(1, second, "B"))
    await box.send("B")
    store = await box.back_to("first")
    assert len({epoch, second, store.epoch}) == 3
    assert {one.key for one in store.older.missing} == {f"P/{epoch}/A/10/1", f"P/{second}/B/10/1"}


async def test_a_copy_that_a_person_restores_is_in_doubt_once(box, path):
    epoch = box.store.epoch
    await box.put(posting(1, epoch))
    box.keep("copy.db")
    await box.send()
    await box.store.close()
    made = await restore(path.with_name("copy.db"), path, at_ns=77, max_bytes=64 * MIB)
    store = await box.open()
    assert (store.older, store.epoch) == (None, made.epoch)
    assert not list(path.parent.glob("linegate.db.mark*"))


async def test_a_database_that_is_new_though_something_had_left_says_so_and_stops_nothing(box):
    epoch = box.store.epoch
    await box.put(posting(1, epoch))
    await box.send()
    await box.store.close()
    set_aside(box.path, at_ns=1)
    store = await box.open()
    assert store.older.made_anew
    assert epoch in store.older.text
    await box.put(posting(1, store.epoch))
    assert await box.states() == {"A/10/1": "ready"}
    await store.close()
    assert (await box.open()).older is None


async def test_what_went_by_its_age_is_not_missing(box):
    await box.put(posting(1, box.store.epoch))
    await box.send()
    await box.store.write(lambda connection: connection.execute_fetchall("DELETE FROM outbox"))
    await box.store.close()
    assert (await box.open()).older is None


async def test_without_a_mark_the_database_goes_on_and_makes_one(box):
    await box.put(posting(1, box.store.epoch))
    await box.send()
    await box.store.close()
    for one in box.path.parent.glob("linegate.mark*"):
        one.unlink()
    await box.open()
    assert box.store.older is None
    await box.put(posting(2, box.store.epoch))
    await box.send()
    assert [one.seq for _, one in read(box.path.parent).sent] == [2]


async def test_where_the_mark_cannot_be_written_nothing_leaves_and_the_rest_is_kept(box):
    await box.put(posting(1, box.store.epoch))
    for name in ("linegate.mark", "linegate.mark2"):
        box.path.with_name(name).mkdir()
    (one,) = await box.outbox.due("erp", 10**18, 10)
    beginning = asyncio.ensure_future(box.outbox.begin_send(one.id, MESSAGE, 7000))
    await box.put(posting(1, box.store.epoch, "B"))  # in the same transaction, or the next
    with pytest.raises(StoreError, match="the mark beside it cannot be written") as refused:
        await beginning
    assert refused.value.temporary
    assert (await box.states())["B/10/1"] == "ready"
    for name in ("linegate.mark", "linegate.mark2"):
        box.path.with_name(name).rmdir()
    await box.outbox.settle(one.id, Settlement(OutboxState.RETRY_WAIT, 0), 8000)
    await box.send()
    assert max(each.attempt for _, each in read(box.path.parent).sent) == 2


async def test_nothing_is_sent_before_the_mark_says_so(box, monkeypatch):
    """The mark is written behind the commit: a reader of the database sees the posting *sending* when it comes."""
    await box.put(posting(1, box.store.epoch))
    seen = []
    real = mark._write

    def write(fd, data, at):
        with contextlib.closing(sqlite3.connect(f"file:{box.path}?mode=ro", uri=True)) as link:
            seen.append(link.execute("SELECT state FROM outbox").fetchall())
        real(fd, data, at)

    monkeypatch.setattr(mark, "_write", write)
    await box.send(state=None)
    assert seen == [[("sending",)]]
