"""One run, and the card as a power cut would have left it at very many of its writes: each image is opened and checked.

Every image must hold all that anybody was told before that moment: what was acknowledged, and what the ERP had booked.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import conservation
import lossy_disk
import lossyfs
import pytest
from rig import Rig

from buffer.schema import migrations
from buffer.store import Store

SEED = 20_261_125
ROOT = Path(__file__).parents[3]
MIGRATIONS = [number for number, _ in migrations()]
IMAGES = [40, pytest.param(3000, marks=pytest.mark.soak)]


@pytest.fixture
def images():
    """A folder in memory: opening an image flushes, and a real card would take a minute for all of them."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="linegate-images-", dir=where))
    yield folder
    shutil.rmtree(folder)


def written(folder, image, under=""):
    """The files of an image; the shared memory of SQLite does not outlive a power cut."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in image.items():
        if name.startswith(under) and "/" not in (last := name.removeprefix(under)) and not last.endswith("-shm"):
            (folder / last).write_bytes(content)
    return folder / "linegate.db"


async def opened(path):
    """By the real store, as at a start, and closed again."""
    store = await Store.open(path, now_ns=lambda: 10**18, max_bytes=1 << 28)
    await store.close()


def sound(path, told):
    link = sqlite3.connect(path)
    try:
        assert link.execute("PRAGMA integrity_check").fetchone() == ("ok",), told
        assert link.execute("PRAGMA foreign_key_check").fetchall() == [], told
    finally:
        link.close()


def chosen(record, count, rng):
    """(time, marks so far, image, text) for so many moments of a record, each with its kind of loss."""
    moments = len(record.log)
    picked = set(rng.sample(range(moments), min(count, moments)))
    marks = []
    for number, at_ns, name, values, disk in record.replayed():
        if name == "mark":
            marks.append(values)
        if number in picked:
            mode, seed = rng.choice(lossy_disk.MODES), rng.randrange(1 << 30)
            told = f"seed {SEED}: change {number} of {moments} ({name}), cut {mode} {seed}"
            yield at_ns, list(marks), disk.image(mode, random.Random(seed)), told


STEPS = """
import asyncio, sys
sys.path.append(sys.argv[2])
import lossyfs
from pathlib import Path
from buffer.outbox import Outbox
from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store

async def main():
    folder = Path(sys.argv[1])
    card = lossyfs.LossyFs.__new__(lossyfs.LossyFs)
    card._socket = Path(sys.argv[3])
    store = await Store.open(folder / "linegate.db", now_ns=lambda: 10**18, max_bytes=1 << 28)
    async def unit(name):
        for n in range(1, 21):
            rows = (JournalRow(2 * n - 1, n, "k", b"b"), JournalRow(2 * n, n, "k", b"b"))
            posting = NewPosting("erp", f"{name}/{n}", "m", name, "0010", n, "partial", b"p" * 2000, n)
            await store.commit(Step(name, str(n).encode(), n, rows, (posting,)))
            await asyncio.to_thread(card, f"mark {name} {n}")
    async with asyncio.TaskGroup() as group:
        for name in "ABC":
            group.create_task(unit(name))
    await store.close()

asyncio.run(main())
"""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", IMAGES)
async def test_every_acknowledged_step_is_in_every_image(card, tmp_path, images, count):
    card("record on")
    script = [sys.executable, "-c", STEPS, str(card.mount), str(Path(__file__).parent), str(card._socket)]
    done = await asyncio.to_thread(
        subprocess.run, script, capture_output=True, text=True, timeout=900, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    card(f"record save {tmp_path / 'run.record'}")
    record = lossyfs.load(tmp_path / "run.record")
    checked = 0
    for _, marks, image, told in chosen(record, count, random.Random(SEED)):
        path = written(images / "one", image)
        await opened(path)
        sound(path, told)
        kept = {row["id"]: int(row["snapshot"]) for row in conservation.rows(path, "SELECT * FROM work_unit")}
        for name in "ABC":
            acknowledged = max((int(n) for unit, n in marks if unit == name), default=0)
            have = kept.get(name, 0)
            # What was under way may be kept without anybody having been told.
            assert acknowledged <= have <= acknowledged + 1, f"{told}: unit {name}"
            posted = conservation.rows(path, "SELECT seq FROM outbox WHERE order_id = ? ORDER BY id", name)
            assert [row["seq"] for row in posted] == list(range(1, have + 1)), f"{told}: unit {name}"
            rows = conservation.rows(path, "SELECT seq FROM journal WHERE work_unit = ? ORDER BY seq", name)
            assert [row["seq"] for row in rows] == list(range(1, 2 * have + 1)), f"{told}: unit {name}"
        checked += 1
    assert checked >= min(count, 100)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", IMAGES)
async def test_what_the_erp_has_booked_is_in_every_image(tmp_path, card, images, count):
    """The whole daemon, from its first start: nothing leaves the box before it is on the card."""
    async with Rig(tmp_path / "plant", seed=SEED, card=card) as rig:
        await rig.open(daemon=False)
        card("record on")
        rig.start()
        await rig.ready()
        await rig.produce()
        await rig.status_where(lambda view: view["targets"][0]["posted"] >= 6, "confirmations to be booked")
        await rig.settled()
        card(f"record save {tmp_path / 'run.record'}")
        record = lossyfs.load(tmp_path / "run.record")
        seen = 0
        for at_ns, _, image, told in chosen(record, count, random.Random(SEED)):
            booked = conservation.booked_before(rig.ledger, at_ns)
            if not booked and "state/linegate.db" not in image:
                continue
            path = written(images / "one", image, "state/")
            await opened(path)
            sound(path, told)
            outbox = {row["key"]: row for row in conservation.rows(path, "SELECT * FROM outbox")}
            for entry in booked:
                row = outbox.get(entry["key"])
                assert row is not None, f"{told}: booked, and not on the card: {entry['key']}"
                assert hashlib.sha256(row["body"]).hexdigest() == entry["digest"], f"{told}: {entry['key']}"
            numbers = {}
            for row in outbox.values():
                numbers.setdefault((row["order_id"], row["operation"]), []).append(row["seq"])
            assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in numbers.values()), f"{told}: {numbers}"
            seen += len(booked) > 0
        assert seen > 0


def older(path, newest):
    """A database as the linegate of that migration left it, with a confirmation on the way and one that is booked."""
    link = sqlite3.connect(path, isolation_level=None)
    link.execute("PRAGMA journal_mode=WAL")
    for number, script in migrations():
        if number <= newest:
            link.executescript(f"BEGIN; {script}; PRAGMA user_version={number}; COMMIT")
        if number == 1:
            _filled(link)
    link.close()


def _filled(link):
    link.execute("INSERT INTO meta VALUES (1, 'abcdefghijklm', 7)")
    link.execute("INSERT INTO work_unit VALUES ('M', x'00')")
    for seq in range(1, 40):
        link.execute("INSERT INTO journal VALUES ('M', ?, ?, 'k', ?)", (seq, seq, b"j" * 500))
    record = {
        "job": {
            "order": "A", "operation": "10", "sequence": "0", "revision": 1, "work_center": "W", "product": "P",
            "uom": "PC", "quantity": "5", "sequence_no": 1, "source": "erp", "echo": [], "image_digest": "",
        },
        "state": "IN_PROGRESS", "seq": 2, "good": 3, "scrap": 0, "rework": 0, "last_hash": "",
    }  # fmt: skip
    link.execute("INSERT INTO job VALUES ('A', '10', ?)", (json.dumps(record).encode(),))
    for seq, state in ((1, "posted"), (2, "ready")):
        link.execute(
            "INSERT INTO outbox (target, key, message_id, order_id, operation, seq, kind, payload, body, content_type,"
            " name, state, due_ns, created_ns)"
            " VALUES ('erp', ?, 'm', 'A', '10', ?, 'partial', ?, x'00', 't', '', ?, 5, 5)",
            (f"P/abcdefghijklm/A/10/{seq}", seq, b"{}", state),
        )


@pytest.mark.parametrize("newest", MIGRATIONS[:-1])
async def test_a_migration_survives_a_power_cut_at_any_of_its_writes(card, images, tmp_path, newest):
    """From every older schema: what is left of the card at any write opens, whole, with every row that there was."""
    older(card.mount / "linegate.db", newest)
    card("sync")
    before = conservation.rows(
        card.mount / "linegate.db", "SELECT key, seq, state, payload, body FROM outbox ORDER BY id"
    )
    card("record on")
    await opened(card.mount / "linegate.db")
    card(f"record save {tmp_path / 'run.record'}")
    record = lossyfs.load(tmp_path / "run.record")
    for _, _, image, told in chosen(record, 4, random.Random(SEED + newest)):
        path = written(images / "one", image)
        if not path.with_name(
            f"{path.name}-journal"
        ).exists():  # who only reads cannot undo a rewriting that was cut off
            (schema,) = conservation.rows(path, "PRAGMA user_version")
            assert newest <= schema["user_version"] <= MIGRATIONS[-1], told
        await opened(path)
        sound(path, told)
        assert conservation.rows(path, "PRAGMA user_version")[0]["user_version"] == MIGRATIONS[-1], told
        assert conservation.rows(path, "SELECT key, seq, state, payload, body FROM outbox ORDER BY id") == before, told
        (journal,) = conservation.rows(path, "SELECT count(*) AS rows FROM journal")
        assert journal["rows"] == 39, told
