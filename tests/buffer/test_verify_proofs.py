"""`linegate buffer verify`: what was changed behind the gateway's back, in the journal and under a signature."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sqlite3
import threading

import pytest

from buffer.backup import copy
from buffer.restore import restore
from buffer.step import JournalRow, NewPosting, Step
from buffer.verify import verified
from gateway.cli import main
from gateway.core.access.permissions import Action
from gateway.core.access.roles import ActorRole
from gateway.core.audit.entry import Change, EntryContent, SystemAction
from gateway.core.audit.signature import Authentication
from gateway.core.audit.told import Actor, Told, decision, plain
from gateway.core.document import encode, message_id_of
from gateway.core.model import JobOrderState, JobRecord

CONTENTS, CONFIRMATIONS = "journal contents", "confirmations in the audit trail"
BODY = '{"signal":"asm.good","role":"good","pieces":7}'
KEYS = [f"P/e/A/10/{seq}" for seq in (1, 2, 3)]
ANN = Actor(
    "ann", ActorRole.SUPERVISOR.value, "token", "",
    authentication=Authentication("ann", "Ann Berg", ActorRole.SUPERVISOR.value, ("token", "passphrase"), 100),
)  # fmt: skip


def common(at_ns):
    return EntryContent(at_ns, at_ns, 4, 0, "UTC", "gateway", "service", "", "", "", "event", "")


def document(key, good="5", previous=""):
    whole = {"idempotency_key": key, "type": "partial", "qty": {"good": good}, "prev_hash": previous}
    return {**whole, "hash": hashlib.sha256(encode(whole)).hexdigest()}


def documents(first_good="5"):
    made = []
    for key in KEYS:
        made.append(document(key, first_good if not made else "5", made[-1]["hash"] if made else ""))
    return made


def trail():
    """The first is a person's, the second was let through with a signature; the third is nobody's."""
    first, second, _ = documents()
    told = Told(
        SystemAction.CONFIRMED.value, "confirmation", KEYS[0], change=Change.CREATE.value,
        new=f"good 5, scrap 0, rework 0, hold 0, SHA-256 {first['hash']}",
    )  # fmt: skip
    shown = {name: second[name] for name in ("idempotency_key", "type", "qty", "hash")}
    released = Told(
        Action.RELEASE_POSTING.value, "confirmation", KEYS[1], change=Change.MODIFY.value, field="state",
        new=plain({**shown, "state": "ready", "target": "erp"}),
    )  # fmt: skip
    caused = decision(told, 100, common, ANN._replace(authentication=None), "")
    return (*caused, *decision(released, 100, common, ANN, "looked at"))


@pytest.fixture
async def full(open_store, path, make):
    store = await open_store()
    rows = tuple(JournalRow(seq, 10, "pieces", BODY.encode()) for seq in (1, 2, 3))
    made = zip(KEYS, documents(), (1, 2, 3), strict=True)
    postings = tuple(
        NewPosting("erp", key, message_id_of(key), "A", "10", seq, "partial", encode(one), 10) for key, one, seq in made
    )
    record = JobRecord(make.job("A", "10"), JobOrderState.IN_PROGRESS, 3, 15, 0, 0, "h")
    await store.commit(Step("M1", b'{"journal_seq": 3}', 10, rows, postings, (record,), audit=trail()))
    await store.close()
    with contextlib.closing(sqlite3.connect(path)) as link:
        link.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def behind(path, *changes):
    """Change the file behind its triggers, which are there again afterwards."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as link:
        triggers = link.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            link.execute(f"DROP TRIGGER {name}")
        for change, *values in changes:
            link.execute(change, values)
        for _, sql in triggers:
            link.execute(sql)


def checks(path):
    return {one.name: one for one in verified(path)}


def faults(path):
    return {name: one.told for name, one in checks(path).items() if one.defects}


async def test_what_nobody_changed_is_whole_and_says_what_it_was_held_against(full):
    assert faults(full) == {}
    found = checks(full)
    assert (found[CONTENTS].looked_at, found[CONTENTS].notes) == (3, ())
    assert (found[CONFIRMATIONS].looked_at, found[CONFIRMATIONS].notes) == (2, ())


@pytest.mark.parametrize(
    "change",
    ["body = CAST(replace(body, '7', '8') AS BLOB)", "kind = 'piecez'", "at_ns = 11", "checksum = checksum + 1"],
)
async def test_a_row_of_the_journal_that_says_something_else_is_named(full, change):
    behind(full, (f"UPDATE journal SET {change} WHERE seq >= 3",))
    told = faults(full)
    assert list(told) == [CONTENTS]
    assert len(told[CONTENTS]) == 1
    assert told[CONTENTS][0].startswith("M1: number 3 (piece")


async def test_one_byte_of_the_file_is_found_where_sqlite_finds_nothing(full):
    whole = full.read_bytes()
    assert whole.count(BODY.encode()) == 3
    full.write_bytes(whole.replace(b'"pieces":7', b'"pieces":9', 1))
    assert list(faults(full)) == [CONTENTS]


async def test_a_name_that_is_no_text_any_more_is_a_defect_and_ends_no_other_check(full):
    behind(full, ("UPDATE journal SET kind = CAST(x'70ff' AS TEXT) WHERE seq = 2",))
    told = faults(full)
    assert list(told) == ["journal numbers", CONTENTS]
    assert told["journal numbers"][0].startswith("cannot be read: Could not decode")
    assert told[CONTENTS][0].startswith("M1: number 2 (p\ufffd)")


async def test_rows_from_before_are_told_as_such_and_are_no_defect(full, capsys):
    behind(full, ("UPDATE journal SET checksum = NULL WHERE seq < 3",))
    found = checks(full)[CONTENTS]
    assert (found.looked_at, found.defects) == (1, 0)
    (note,) = found.notes
    assert note.startswith("2 rows are from before rows had a checksum")
    assert await asyncio.to_thread(main, ["buffer", "verify", "-d", str(full.parent)]) == 0
    assert note in capsys.readouterr().out


async def test_a_spoiled_row_keeps_no_copy_and_no_restore_back(full, tmp_path):
    behind(full, ("UPDATE journal SET body = x'00' WHERE seq = 2",))
    await asyncio.to_thread(copy, full, tmp_path / "copy.db", threading.Event())
    await restore(tmp_path / "copy.db", full, at_ns=100, max_bytes=64 << 20)
    assert list(faults(full)) == [CONTENTS], "and it is still named"


async def test_a_check_that_is_not_wanted_is_not_made(full):
    every = [one.name for one in verified(full)]
    assert [one.name for one in verified(full, without=(CONTENTS,))] == [name for name in every if name != CONTENTS]
    assert CONTENTS in every


async def test_who_makes_everything_anew_behind_a_signature_is_found(full):
    """The first quantity, its hash and all hashes behind it: the chain of confirmations is whole, and the trail is."""
    made = documents(first_good="6")
    behind(
        full, *(("UPDATE outbox SET payload = ? WHERE key = ?", encode(one), one["idempotency_key"]) for one in made)
    )
    told = faults(full)
    assert list(told) == [CONFIRMATIONS]
    first, second = told[CONFIRMATIONS]
    assert first.startswith(f"id 1: {KEYS[0]} for erp was changed after it was told to the audit trail (entry 1): ")
    assert second.startswith(f"id 2: {KEYS[1]} for erp was changed after it was signed by ann (entry 3): its hash is")
    assert documents()[1]["hash"] in second


async def test_what_a_signature_shows_is_named_where_it_differs(full):
    behind(full, ("UPDATE outbox SET payload = ? WHERE id = 2", encode(document(KEYS[1], "50"))))
    (said,) = faults(full)[CONFIRMATIONS]
    assert said.endswith("qty is {'good': '50'}, it was {'good': '5'}")
    behind(full, ("UPDATE outbox SET payload = x'00' WHERE id = 2",))
    assert "its content is no JSON" in faults(full)[CONFIRMATIONS][0]


async def test_what_went_by_its_age_is_no_defect(full):
    behind(full, ("DELETE FROM outbox WHERE id = 1",))
    found = checks(full)[CONFIRMATIONS]
    assert (found.defects, found.notes) == (0, ("1 that the trail names are not in the outbox (any more)",))


async def test_json_has_the_notes(full, capsys):
    behind(full, ("UPDATE journal SET checksum = NULL",))
    assert await asyncio.to_thread(main, ["buffer", "verify", "-d", str(full.parent), "--json"]) == 0
    told = {one["name"]: one for one in json.loads(capsys.readouterr().out)["checks"]}
    assert told[CONTENTS]["notes"]
    assert (told[CONTENTS]["looked_at"], told[CONFIRMATIONS]["notes"]) == (0, [])
