"""`linegate buffer verify`: each check finds the defect planted for it, and nothing in a database that is whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import resource
import sqlite3

import pytest

from buffer import audit_chain, closing, refusals, schema
from buffer.closing import Keeping
from buffer.entry import OutboxState, Settlement
from buffer.errors import StoreError
from buffer.outbox import Outbox
from buffer.retention import journal as prune_journal
from buffer.retention import postings as prune_postings
from buffer.step import JournalRow, NewPosting, Step
from buffer.verify import verified
from buffer.verify_found import TOLD_MAX
from gateway.cli import main
from gateway.core.audit.entry import EntryContent
from gateway.core.closing_record import DayBounds, DayFacts, OpenNow
from gateway.core.document import Identity, encode, message_id_of
from gateway.core.model import JobOrderState, JobRecord
from gateway.core.orders.erp_notice import ErpNotice, NoticeType
from gateway.core.retention import RecordClass
from gateway.core.work.genealogy import GenealogyLink, Tracked, TrackedKind
from gateway.core.work.lots import Certainty
from gateway.core.work.rounding import Exact

CHECKS = [
    "SQLite integrity_check", "journal numbers", "snapshots", "posting numbers", "keys and contents",
    "chain of confirmations", "messages", "steps", "heads of lanes", "sums of postings", "last numbers of orders",
    "journal contents", "confirmations in the audit trail", "audit trail", "genealogy", "closing records",
]  # fmt: skip
ENTRY = EntryContent(
    at_ns=1, utc_ns=1, time_quality=0, utc_offset_s=0, time_zone="UTC", user="u", role="r", auth="", client="",
    action="day_closed", change="event", entity="work_unit", entity_id="M1", config_version="", sw_version="",
)  # fmt: skip


def posting(order, seq, target="erp", at_ns=10):
    key = f"P/e/{order}/10/{seq}"
    document = {"idempotency_key": key, "seq": seq, "prev_hash": ""}
    if seq > 1:
        document["prev_hash"] = json.loads(posting(order, seq - 1, target, at_ns).payload)["hash"]
    payload = encode({**document, "hash": hashlib.sha256(encode(document)).hexdigest()})
    return NewPosting(target, key, message_id_of(key), order, "10", seq, "partial", payload, at_ns)


def link(parent, child):
    def lot(name):
        return Tracked(TrackedKind.LOT, "I", name)

    return GenealogyLink(lot(parent), lot(child), Exact(1), "PC", "A/10/1", 0, 1, Certainty.EXACT)


async def filled(store, make):
    """Two targets, three orders, a closed day, a pruned class: everything that a check looks at."""
    seq, outbox = 0, Outbox(store)
    for order in ("A", "B", "C"):
        for number in (1, 2, 3):
            rows = [JournalRow(seq + more, 10, kind, b"{}") for more, kind in enumerate(("count", "notice", "job"), 1)]
            seq += 3
            record = JobRecord(make.job(order, "10"), JobOrderState.IN_PROGRESS, number, 1, 0, 0, "h")
            new = [posting(order, number), *([posting(order, number, "mes")] if order == "B" else [])]
            links = (link(f"{order}{number}", f"{order}{number + 1}"),)
            state = json.dumps({"journal_seq": seq}).encode()
            await store.commit(Step("M1", state, 10, tuple(rows), tuple(new), (record,), links=links))
    for _ in range(2):
        for one in await outbox.due("erp", 100, 10):
            if one.order != "C":
                await outbox.begin_send(one.id, (b"x", "t", "n"), 20)
                await outbox.settle(one.id, Settlement(OutboxState.POSTED), 20)
    rows = closing.day_rows(store.path, "M1", None, 0, 50)
    facts = DayFacts(
        "M1", "gw", store.epoch, 1, "", DayBounds("2026-01-01", 0, 50), 60, 0, True, standing=(), set_aside=(),
        open_now=OpenNow({}, 0, ()), **rows._asdict(),
    )  # fmt: skip
    await closing.keep(store, Keeping(facts, 50, frozenset(), lambda made: ENTRY._replace(new=made.digest)))


@pytest.fixture
async def full(open_store, make, path):
    store = await open_store()
    await filled(store, make)
    await store.close()
    return path


def spoil(path, *changes):
    """Change the file behind its triggers, which are there again afterwards."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        triggers = other.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            other.execute(f"DROP TRIGGER {name}")
        for change in changes:
            other.execute(change)
        for _, sql in triggers:
            other.execute(sql)


def faults(path, **options):
    return {one.name: one.told for one in verified(path, **options) if one.defects}


async def test_a_database_that_is_whole_has_every_check_and_no_defect(full):
    found = list(verified(full))
    assert [one.name for one in found] == CHECKS
    assert {one.name: one.told for one in found if one.defects} == {}
    assert {one.name: one.looked_at for one in found if one.name != CHECKS[0]} == {
        "journal numbers": 27, "snapshots": 1, "posting numbers": 12, "keys and contents": 12,
        "chain of confirmations": 12, "messages": 4,
        "steps": 0, "heads of lanes": 4, "sums of postings": 12, "last numbers of orders": 3, "journal contents": 27,
        "confirmations in the audit trail": 0, "audit trail": 1,
        "genealogy": 9, "closing records": 1,
    }  # fmt: skip


PLANTED = [
    ("journal numbers", "DELETE FROM journal WHERE seq = 5", "numbers 5 to 5 are missing"),
    ("journal numbers", "DELETE FROM journal WHERE seq > 25", "26 to 27 are missing at the end"),
    ("journal numbers", "DELETE FROM journal_head", "no head"),
    ("journal numbers", "UPDATE journal SET at_ns = 9 WHERE seq = 20", "older than the one before"),
    ("journal numbers", "INSERT INTO journal_pruned VALUES ('M1', 'notices', 8, 1)", "pruned up to beyond"),
    ("snapshots", "UPDATE work_unit SET snapshot = x'00'", "cannot be read"),
    (
        "snapshots",
        "UPDATE work_unit SET snapshot = CAST('{\"journal_seq\": 3}' AS BLOB)",
        "of number 3, the journal ends at 27",
    ),
    ("posting numbers", "DELETE FROM outbox WHERE order_id = 'C' AND seq = 2", "numbers 2 to 2 are missing"),
    ("posting numbers", "DELETE FROM outbox WHERE order_id = 'A' AND seq = 2", "numbers 2 to 2 are missing"),
    ("posting numbers", "UPDATE outbox SET id = 99 WHERE order_id = 'C' AND seq = 1", "put in before number 1"),
    ("keys and contents", "UPDATE outbox SET payload = x'7b7d' WHERE target = 'mes' AND seq = 1", "different contents"),
    (
        "keys and contents",
        "UPDATE outbox SET payload = CAST(replace(payload, ':1,', ':9,') AS BLOB)",
        "hash was made of",
    ),
    ("keys and contents", "UPDATE outbox SET key = 'P/e/A/10/7' WHERE key = 'P/e/A/10/1'", "names another key"),
    ("keys and contents", "UPDATE outbox SET key = 'P/e/A/10/7' WHERE key = 'P/e/A/10/1'", "is not that of order A"),
    (
        "chain of confirmations",
        "UPDATE outbox SET payload = (SELECT payload FROM outbox WHERE key = 'P/e/B/10/2') WHERE key = 'P/e/A/10/2'",
        "order A operation 10: number 3 does not name the hash of number 2",
    ),
    ("keys and contents", "UPDATE outbox SET message_id = 'x' WHERE id = 1", "message id is not that of the key"),
    ("messages", "UPDATE outbox SET name = NULL WHERE state = 'posted'", "no whole message"),
    ("heads of lanes", "UPDATE outbox SET head = 0", "is not its only head"),
    ("heads of lanes", "UPDATE outbox SET head = 1 WHERE state = 'posted'", "and over"),
    ("heads of lanes", "UPDATE outbox SET head = seq = 2 WHERE order_id = 'C'", "is not its only head"),
    ("sums of postings", "UPDATE outbox_tally SET postings = 9 WHERE state = 'ready'", "the sum says 9"),
    ("sums of postings", "UPDATE outbox_tally SET postings = 1 WHERE state = 'posted'", "4 postings, the sum says 1"),
    ("last numbers of orders", "UPDATE job SET seq = 2 WHERE order_id = 'A'", "its last number is 2"),
    ("last numbers of orders", "UPDATE job SET seq = 9 WHERE order_id = 'C'", "the newest posting is 3"),
    ("last numbers of orders", "INSERT INTO job_number VALUES ('A', '10', 8, '', 1, 1)", "before it was forgotten"),
    ("audit trail", "UPDATE audit_entry SET detail = 'x'", "broken at 1"),
    ("genealogy", "UPDATE genealogy SET child = 'A1' WHERE parent = 'A3'", "into it again"),
    (
        "closing records",
        "UPDATE closing_record SET document = CAST(replace(document, '27', '26') AS BLOB)",
        "not that of its content",
    ),
    ("closing records", "UPDATE closing_record SET number = 2", "does not follow"),
    ("closing records", "DELETE FROM audit_entry", "not stand in the audit trail"),
    ("closing records", "DELETE FROM journal WHERE seq = 5", "made of 27 journal rows, found 26"),
]


BESIDE = [
    ("sums of postings", "UPDATE notice_tally SET postings = 3", "2 notices, their sum says 3"),
    ("sums of postings", "DELETE FROM notice_tally", "2 notices, their sum says 0"),
    ("sums of postings", "UPDATE answer_tally SET postings = 0", "1 answers to orders, their sum says 0"),
    (
        "sums of postings",
        "INSERT INTO answer_tally VALUES ('erp', 'posted', 999)",
        "posted: 0 answers to orders, their sum says 999",
    ),
    ("last numbers of orders", "DELETE FROM notice_head", "notices of order A: number 2 is there, the last one is 0"),
]


@pytest.fixture
async def beside(full, open_store):
    """The same, with two notices and an answer to an order."""
    store = await open_store()
    identity = Identity(plant="P", epoch=store.epoch, gateway_id="gw", line="L", machine="M1", work_center="WC-1")
    detail = {"state": "RELEASED", "previous_state": None, "cause": "-"}
    one = ErpNotice(NoticeType.STATUS, "state_changed", 10, 10, detail, order="A", targets=("erp",))
    await store.commit(Step("M1", b'{"journal_seq": 27}', 10, (), notices=(one, one), identity=identity))
    await refusals.put(store, identity, "erp", refusals.Refused("A", 2, ("x",)), now_ns=10, utc_ns=10)
    await store.close()
    return full


async def test_what_is_told_beside_them_is_no_defect(beside):
    assert faults(beside) == {}


@pytest.mark.parametrize(("check", "change", "text"), BESIDE)
async def test_what_is_told_beside_them_has_sums_and_numbers_of_its_own(beside, check, change, text):
    spoil(beside, change)
    found = faults(beside)
    assert list(found) == [check]
    assert any(text in one for one in found[check]), found


@pytest.mark.parametrize(("check", "change", "text"), PLANTED)
async def test_each_check_finds_its_planted_defect(full, check, change, text):
    ignoring = "PRAGMA ignore_check_constraints = ON"
    spoil(full, ignoring, change)
    assert any(text in told for told in faults(full).get(check, ())), faults(full)


async def test_one_key_twice_for_a_target_is_found(full):
    columns = "id, target, key, message_id, order_id, operation, seq, kind, payload, state, head, due_ns, created_ns"
    spoil(
        full, "CREATE TABLE copy AS SELECT * FROM outbox", "DROP TABLE outbox", "ALTER TABLE copy RENAME TO outbox",
        f"INSERT INTO outbox ({columns}, resends) SELECT 77, {columns[4:]}, 0 FROM outbox WHERE id = 1",
    )  # fmt: skip
    assert any("2 postings for erp, allowed: one" in told for told in faults(full)["messages"])


async def test_a_spoiled_page_is_found(full):
    with full.open("r+b") as file:
        file.seek(4096 * 9)
        file.write(b"\xff" * 2000)
    assert "SQLite integrity_check" in faults(full)


async def test_a_name_that_a_newer_record_must_follow_is_held_against_the_one_before(full, make, open_store):
    store = await open_store()
    before = await closing.last(store, "M1")
    rows = closing.day_rows(store.path, "M1", before, 50, 90)
    facts = DayFacts(
        "M1", "gw", store.epoch, 2, before.digest, DayBounds("2026-01-02", 50, 90), 95, 0, True, standing=(),
        set_aside=(), open_now=OpenNow({}, 0, ()), **rows._asdict(),
    )  # fmt: skip
    await closing.keep(store, Keeping(facts, 90, frozenset(), lambda made: ENTRY._replace(new=made.digest)))
    await store.close()
    assert faults(full) == {}
    spoil(full, "UPDATE closing_record SET first_seq = 30 WHERE number = 2")
    assert any("the record before ends at 27" in told for told in faults(full)["closing records"])


async def test_what_went_by_its_age_is_no_defect(full, open_store):
    store = await open_store()
    assert await prune_journal(store, "M1", RecordClass.RAW_JOURNAL, 11) == 9
    assert await prune_postings(store, 21) == 4
    rows = tuple(JournalRow(seq, 40, "job", b"{}") for seq in (28, 29, 30))
    await store.commit(Step("M1", b'{"journal_seq": 30}', 40, rows))
    await store.close()
    assert faults(full) == {}
    spoil(full, "DELETE FROM journal WHERE seq = 29")
    assert list(faults(full)) == ["journal numbers"]


async def test_a_trigger_that_is_away_is_a_defect_although_no_row_was_changed(full):
    with contextlib.closing(sqlite3.connect(full, isolation_level=None)) as other:
        other.execute("DROP TRIGGER audit_entry_is_immutable")
    ((said,),) = faults(full).values()
    assert said.startswith("audit_entry: trigger audit_entry_is_immutable is missing")


async def test_of_many_defects_some_are_told_and_all_are_counted(full):
    spoil(full, "UPDATE outbox SET message_id = 'x'", "UPDATE outbox SET key = key || 'x'")
    (found,) = [one for one in verified(full) if one.name == "keys and contents"]
    assert (len(found.told), found.defects) == (TOLD_MAX, 36)


async def test_it_works_beside_a_store_that_writes(full, open_store):
    store = await open_store()
    for check in verified(full):
        await store.write(lambda connection: audit_chain.append([ENTRY], connection))
        assert not check.defects, check
    await store.close()


def test_the_command_says_it_and_its_status_is_the_verdict(full_sync, capsys):
    assert main(["buffer", "verify", "-d", str(full_sync.parent)]) == 0
    assert capsys.readouterr().out.count(" ok\n") == len(CHECKS)
    spoil(full_sync, "UPDATE outbox SET head = 0")
    assert main(["buffer", "verify", "-d", str(full_sync.parent), "--quick", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in told["checks"] if one["defects"]] == ["heads of lanes"]
    assert told["checks"][0]["name"] == "SQLite quick_check"
    full_sync.unlink()
    assert main(["buffer", "verify", "-d", str(full_sync.parent)]) == 2
    assert "there is no database" in capsys.readouterr().err


@pytest.fixture
def full_sync(full):
    return full


def test_a_database_of_another_version_is_refused_by_name(tmp_path):
    path = tmp_path / "linegate.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {schema.migrations()[-1][0] + 1}")
    with pytest.raises(StoreError, match="this linegate knows up to"):
        list(verified(path))


@pytest.mark.soak
async def test_a_million_rows_need_no_more_memory_than_a_thousand(open_store, path):
    store = await open_store(4 * 2**30)
    for first in range(1, 1_000_001, 10_000):
        rows = tuple(JournalRow(seq, seq, "notice", b"{}") for seq in range(first, first + 10_000))
        state = json.dumps({"journal_seq": first + 9_999}).encode()
        await store.commit(Step("M1", state, first + 9_999, rows))
    await store.close()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert faults(path) == {}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000, "KiB more than before"
