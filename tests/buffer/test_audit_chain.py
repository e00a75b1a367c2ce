"""The audit trail in the database: it only grows, one entry behind the other, together with what it tells."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
import tracemalloc
from functools import partial

import pytest

from buffer import audit, audit_chain, retention
from buffer.audit import AuditOutcome, AuditRow, NewAuditRow
from buffer.audit_chain import ChainReader, Wanted, append, keep_anchor, of_write_attempt
from buffer.errors import StoreError
from gateway.core.audit.chain import Anchor, Broken, Fault, Verified, anchor_of, genesis, verify
from gateway.core.audit.entry import CHARS_MAX, EntryContent, checked
from gateway.core.audit.export import entry_of_line, json_line
from gateway.core.audit.signature import Action, Authentication, sign, signed

CONTENT = EntryContent(
    at_ns=1_000,
    utc_ns=2_000,
    time_quality=4,
    utc_offset_s=7200,
    time_zone="Europe/Berlin",
    user="ann",
    role="supervisor",
    auth="token",
    client="127.0.0.1",
    action="correct",
    change="modify",
    entity="confirmation",
    entity_id="4711/0010/3",
    field="qty.good",
    old="100",
    new=None,
    reason_text="two test pieces",
    order="4711",
)


@pytest.fixture
async def store(open_store, path):
    store = await open_store()
    yield store
    await store.close()


@pytest.fixture
def reader(store):
    connection = sqlite3.connect(f"{store.path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
    yield ChainReader(connection)
    connection.close()


@pytest.fixture
def tamper(store):
    """Changes the file behind everybody's back, without its triggers."""

    def tampered(*statements, triggers=False):
        with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
            if not triggers:
                names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
                for (name,) in names:
                    connection.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                connection.execute(statement)

    return tampered


async def add(store, *contents):
    return await store.write(partial(append, contents or (CONTENT,)))


def numbered(count, **changes):
    return [CONTENT._replace(entity_id=str(number), **changes) for number in range(1, count + 1)]


async def test_entries_are_chained_and_read_back(store, reader):
    assert reader.head() == genesis(store.epoch)
    first = await add(store, *numbered(3))
    second = await add(store, CONTENT._replace(order="4712"))
    assert [entry.seq for entry in first.entries + second.entries] == [1, 2, 3, 4]
    assert tuple(reader.entries()) == first.entries + second.entries
    assert tuple(reader.entries(after=3)) == second.entries
    assert reader.head() == second.head
    assert reader.newest(2) == [second.entries[0], first.entries[2]]
    assert reader.newest(10, Wanted(order="4712")) == list(second.entries)
    assert reader.chain == store.epoch
    assert reader.verify() == Verified(4, second.head)
    with pytest.raises(ValueError, match="limit: found 0, allowed 1 to 10000"):
        reader.newest(0)


async def test_an_entry_is_kept_with_what_it_tells_or_not_at_all(store, reader):
    async def work(connection, *, fail):
        await connection.execute_fetchall("INSERT INTO connector_cursor (connector, cursor) VALUES ('erp', 'new')")
        await append([CONTENT], connection)
        if fail:
            raise RuntimeError("what was to be told went wrong")

    with pytest.raises(StoreError, match="went wrong"):
        await store.write(partial(work, fail=True))
    assert await store.cursor("erp") == ""
    assert list(reader.entries()) == []
    await store.write(partial(work, fail=False))
    assert await store.cursor("erp") == "new"
    assert [entry.seq for entry in reader.entries()] == [1]
    with pytest.raises(StoreError, match="found no reason"):
        await add(store, CONTENT, CONTENT._replace(reason_text=""))
    assert reader.head().seq == 1


async def test_many_at_once_share_a_transaction_and_stand_in_a_row(store, reader):
    await asyncio.gather(*(add(store, *numbered(3)) for _ in range(50)))
    assert reader.verify().entries == 150


async def test_the_number_of_one_transaction_is_bounded(store, reader):
    with pytest.raises(StoreError, match="found 1001, allowed: up to 1000"):
        await add(store, *numbered(audit_chain.APPEND_MAX + 1))
    assert reader.head().seq == 0


COLUMNS = ", ".join("order_id" if name == "order" else name for name in EntryContent._fields)
COPY = f"INSERT INTO audit_entry SELECT {{seq}}, {COLUMNS}, {{prev}}, hash, form FROM audit_entry WHERE seq = 2"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE audit_entry SET user = 'bob'", "an audit entry never changes"),
        ("UPDATE audit_entry SET hash = hash WHERE seq = 1", "an audit entry never changes"),
        ("DELETE FROM audit_entry", "an audit entry is never deleted"),
        ("DELETE FROM audit_entry WHERE seq = 2", "an audit entry is never deleted"),
        (COPY.replace("INSERT", "REPLACE").format(seq=2, prev="hash"), "is not the next one of the chain"),
        (COPY.replace("INSERT", "REPLACE").format(seq=1, prev="hash"), "is not the next one of the chain"),
        (COPY.format(seq=4, prev="hash"), "is not the next one of the chain"),
        (COPY.format(seq=-1, prev="hash"), "is not the next one of the chain"),
        (COPY.format(seq=3, prev="prev_hash"), "does not carry the hash of the one before"),
        (COPY.format(seq=3, prev="upper(hash)"), "does not carry the hash of the one before"),
        ("UPDATE audit_anchor SET hash = 'x'", "an anchor never changes"),
        ("DELETE FROM audit_anchor", "an anchor is never deleted"),
        (
            "REPLACE INTO audit_anchor SELECT seq, hash, '2026-01-01', 1 FROM audit_entry WHERE seq = 2",
            "never replaced",
        ),
        (
            "INSERT INTO audit_anchor SELECT 1, hash, '2026-01-01', 1 FROM audit_entry WHERE seq = 2",
            "not an audit entry",
        ),
    ],
)
async def test_no_program_can_change_what_was_written_down(store, tamper, reader, statement, said):
    await add(store, *numbered(2))
    assert await store.write(partial(keep_anchor, "2026-03-29", 1)) is not None
    before = list(reader.entries())
    with pytest.raises(sqlite3.IntegrityError, match=said):
        tamper(statement, triggers=True)
    assert list(reader.entries()) == before


async def test_the_next_entry_by_hand_is_let_in_and_found(store, tamper, reader):
    """The schema cannot make hashes: it holds the order, the walk holds the content."""
    await add(store, *numbered(2))
    tamper(COPY.format(seq=3, prev="hash"), triggers=True)
    assert reader.verify()[:2] == (3, Fault.CHANGED)


@pytest.mark.parametrize(
    ("statements", "seq", "fault"),
    [
        (["UPDATE audit_entry SET old = '101' WHERE seq = 2"], 2, Fault.CHANGED),
        (["UPDATE audit_entry SET reason_text = '' WHERE seq = 4"], 4, Fault.CHANGED),
        (["DELETE FROM audit_entry WHERE seq = 3"], 3, Fault.MISSING),
        (["DELETE FROM audit_entry WHERE seq < 3"], 1, Fault.MISSING),
        (
            ["DELETE FROM audit_entry WHERE seq = 3", "UPDATE audit_entry SET seq = 3 WHERE seq = 4"],
            3,
            Fault.NOT_LINKED,
        ),
        (
            [
                "UPDATE audit_entry SET seq = 99 WHERE seq = 2",
                "UPDATE audit_entry SET seq = 2 WHERE seq = 3",
                "UPDATE audit_entry SET seq = 3 WHERE seq = 99",
            ],
            2,
            Fault.NOT_LINKED,
        ),
        (["DELETE FROM audit_entry WHERE seq = 4"], 4, Fault.CUT_OFF),
        (["DELETE FROM audit_entry"], 1, Fault.CUT_OFF),
        (["UPDATE meta SET epoch = 'aaaaaaaaaaaaa'"], 1, Fault.NOT_LINKED),
        (["UPDATE audit_entry SET user = CAST(x'ff' AS TEXT) WHERE seq = 2"], 2, Fault.UNREADABLE),
    ],
)
async def test_whoever_takes_the_triggers_away_is_found(store, tamper, reader, statements, seq, fault):
    await add(store, *numbered(4, reason_code="X"))
    await store.write(partial(keep_anchor, "2026-03-29", 1))
    assert reader.verify().anchored == 4
    tamper(*statements)
    broken = reader.verify()
    assert isinstance(broken, Broken)
    assert (broken.seq, broken.fault) == (seq, fault), broken


async def test_only_what_was_published_outside_finds_a_chain_that_was_cut_with_its_anchors(store, tamper, reader):
    published = anchor_of(store.epoch, (await add(store, *numbered(4))).head)
    tamper("DELETE FROM audit_entry WHERE seq > 2", "DELETE FROM audit_anchor")
    assert isinstance(reader.verify(), Verified)
    assert reader.verify([published])[:2] == (3, Fault.CUT_OFF)
    with pytest.raises(ValueError, match=f"found one of the chain other, allowed: {store.epoch}"):
        reader.verify([published._replace(chain="other")])


async def test_an_anchor_is_kept_once_for_each_end(store, reader):
    assert await store.write(partial(keep_anchor, "2026-03-29", 1)) is None, "nothing to publish"
    head = (await add(store)).head
    assert await store.write(partial(keep_anchor, "2026-03-29", 1)) == Anchor(store.epoch, 1, head.hash)
    assert await store.write(partial(keep_anchor, "2026-03-30", 2)) is None, "nothing new"
    await add(store)
    assert (await store.write(partial(keep_anchor, "2026-03-30", 3))).seq == 2
    assert [anchor.seq for anchor in reader.anchors()] == [2, 1]
    assert [anchor.seq for anchor in reader.anchors(1)] == [2]


async def test_signatures_are_verified_with_the_chain(store, reader):
    by = Authentication("ann", "Ann Berg", "supervisor", ("passphrase", "token"), 1_000)
    of = CONTENT._replace(action="correct_after_final", new='{"good":98}')
    action = Action.CORRECT_AFTER_FINAL
    signature = sign(b'{"good":98}', of.entity, of.entity_id, action, by, now_ns=1_000, utc_ns=2_000)
    await add(store, of, signed(signature, of))
    assert reader.verify().entries == 2
    await add(store, of._replace(new='{"good":97}'), signed(signature, of))
    assert reader.verify()[:2] == (4, Fault.NOT_SIGNED)


async def test_the_steady_clock_starts_above_it(store):
    await add(store, CONTENT._replace(at_ns=77_000))
    await add(store, CONTENT)
    assert await store.last_time_ns() == 77_000


async def test_pruning_leaves_it_alone(store, reader, clock):
    await add(store, *numbered(3))
    clock.ns += 10**18
    await retention.postings(store, clock.ns)
    await retention.orders(store, clock.ns, clock.ns)
    assert reader.verify().entries == 3


async def test_it_goes_on_after_a_restart(store, open_store, reader):
    await add(store, *numbered(2))
    await store.close()
    again = await open_store()
    await add(again, *numbered(2))
    await again.close()
    assert reader.verify().entries == 4


async def test_an_export_can_be_verified_elsewhere(store, reader):
    await add(store, *numbered(5))
    lines = [json_line(entry) for entry in reader.entries()]
    assert verify(genesis(store.epoch), map(entry_of_line, lines)).head == reader.head()
    lines[2] = lines[2].replace('"old":"100"', '"old":"101"')
    assert verify(genesis(store.epoch), map(entry_of_line, lines))[:2] == (3, Fault.CHANGED)


async def test_a_walk_ends_while_others_write_and_holds_no_transaction(store, reader, monkeypatch):
    monkeypatch.setattr(audit_chain, "BATCH_ROWS", 2)
    await add(store, *numbered(5))
    seen = []
    for entry in reader.entries():
        seen.append(entry.seq)
        await add(store)
        assert await store.read("PRAGMA wal_checkpoint(TRUNCATE)", ()) is not None
    assert seen == [1, 2, 3, 4, 5]
    assert reader.verify().entries == 10


async def test_verification_needs_no_more_memory_for_more_entries(store, reader, monkeypatch):
    monkeypatch.setattr(audit_chain, "BATCH_ROWS", 100)

    async def peak_bytes():
        tracemalloc.start()
        assert isinstance(reader.verify(), Verified)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    await add(store, *numbered(300))
    few = await peak_bytes()
    for _ in range(3):
        await add(store, *numbered(900))
    assert reader.head().seq == 3000
    assert await peak_bytes() < few * 1.2


async def test_a_file_without_the_trail_is_told(tmp_path):
    connection = sqlite3.connect(tmp_path / "other.db")
    with pytest.raises(StoreError, match="the audit trail cannot be read: no such table"):
        ChainReader(connection).head()
    connection.close()


# --- the writes that were written down before ------------------------------------------------------------------------


async def test_the_audit_of_writes_becomes_a_part_of_the_chain(store, reader):
    attempt = await audit.add(store, NewAuditRow(5, "ann", "write", "plc.job", "1", "2", "why", AuditOutcome.ATTEMPTED))
    await audit.add(
        store, NewAuditRow(6, "ann", "write", "plc.job", "1", "2", "", AuditOutcome.FAILED, "away", attempt)
    )
    rows = [AuditRow(*row) for row in await store.read("SELECT * FROM audit ORDER BY seq", ())]
    await add(store, *(of_write_attempt(row, CONTENT) for row in rows))
    first, second = (entry.content for entry in reader.entries())
    assert (first.at_ns, first.action, first.entity, first.entity_id, first.old, first.new) == (
        5, "write_signal", "signal", "plc.job", "1", "2",
    )  # fmt: skip
    assert (first.outcome, first.reason_text, first.reason_code, first.field) == ("attempted", "why", "", "attempt 1")
    assert (second.outcome, second.detail, second.reason_code) == ("failed", "end of attempt 1; away", "not_given")
    assert second.field == "attempt 1"


def test_whatever_was_written_down_before_fits():
    long = AuditRow(7, 1, "a\n" * 900, "write", "s" * 900, "o" * 9000, None, "r\x00" * 900, "done", "d" * 9000, 3)
    kept = checked(of_write_attempt(long, CONTENT))
    for name, limit in CHARS_MAX.items():
        assert len(getattr(kept, name)) <= limit


async def test_a_step_keeps_its_entries_with_everything_else_of_it(store, reader, make):
    step = make.step()._replace(audit=tuple(numbered(3)))
    await store.commit(step)
    assert [entry.content.entity_id for entry in reader.entries()] == ["1", "2", "3"]
    # The journal number is taken: the step is refused as a whole.
    with pytest.raises(StoreError):
        await store.commit(step._replace(audit=tuple(numbered(2))))
    assert reader.head().seq == 3
    with pytest.raises(StoreError, match="role: found nothing"):
        await store.commit(make.step(seq=2)._replace(audit=(CONTENT._replace(role=""),)))
    await store.commit(make.step(seq=2)._replace(audit=tuple(numbered(audit_chain.APPEND_MAX + 1))))
    assert reader.verify().entries == 3 + audit_chain.APPEND_MAX + 1


PRINT_HEAD_ROWS = 5  # what was printed, when, by whom, and whether it is whole
ENTRIES_MANY = (25_000, 100_000)
EXPORT = """
import sys
from pathlib import Path
from gateway.cli import main
code = main(sys.argv[1:])
# Its own: ru_maxrss begins with that of the process that started it.
print(code, Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0], file=sys.stderr)
"""


async def exported_kib(folder):
    """The most memory that the command took, in KiB, and how many lines it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", EXPORT, "audit", "export", "--format", "html", "-d", str(folder),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    code, kib = map(int, err.split())
    assert code == 0
    return kib, out.count(b"</tr>")


@pytest.mark.parametrize("many", [ENTRIES_MANY[0], pytest.param(ENTRIES_MANY[1], marks=pytest.mark.soak)])
async def test_the_export_of_a_long_trail_takes_no_more_memory_than_that_of_a_short_one(store, many):
    batch = tuple(numbered(audit_chain.APPEND_MAX))
    await store.write(partial(append, batch))
    short, _ = await exported_kib(store.path.parent)
    for _ in range(many // len(batch) - 1):
        await store.write(partial(append, batch))
    long, rows = await exported_kib(store.path.parent)
    assert rows == many + 1 + PRINT_HEAD_ROWS
    assert long - short < 16 * 1024, (short, long)


COLUMNS = [name for name in EntryContent._fields if name != "order"]


@pytest.mark.parametrize("column", [*COLUMNS, "order_id", "seq", "prev_hash", "hash", "form"])
async def test_a_change_of_any_column_is_found(store, reader, tamper, column):
    await add(store, *numbered(5))
    kind = type(getattr(CONTENT, "order" if column == "order_id" else column, 1))
    new = "seq + 100" if column == "seq" else f"{column} + 1" if kind is int and column != "hash" else "'x'"
    if column in ("prev_hash", "hash"):
        new = f"'{'0' * 64}'"
    tamper("PRAGMA ignore_check_constraints = ON", f"UPDATE audit_entry SET {column} = {new} WHERE seq = 3")
    found = reader.verify()
    assert isinstance(found, Broken)
    assert found.seq in (3, 4)
