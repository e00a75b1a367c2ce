"""``linegate audit verify`` and ``export`` on a database with a trail."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import io
import json
import sqlite3
import threading
from functools import partial

import new_database
import pytest

from buffer.audit_chain import ChainReader, append
from buffer.backup import copy
from buffer.restore import restore
from buffer.store import Store
from gateway.cli import audit_trail
from gateway.core.audit.chain import anchor_of, anchor_text, genesis, verify
from gateway.core.audit.entry import EntryContent
from gateway.core.audit.export import entry_of_line

CONTENT = EntryContent(
    1, 2, 4, 0, "UTC", "ann", "operator", "token", "", "start", "event", "operation", new="=1+1", order="4711"
)


@pytest.fixture
def trail(tmp_path):
    """A database with three entries; the name of its chain and its end."""

    async def made():
        store = await Store.open(new_database.at(tmp_path / "linegate.db"), now_ns=lambda: 1, max_bytes=1 << 26)
        appended = await store.write(partial(append, [CONTENT._replace(entity_id=str(n)) for n in (1, 2, 3)]))
        await store.close()
        return store.epoch, appended.head

    return asyncio.run(made())


def change(folder, script):
    with contextlib.closing(sqlite3.connect(folder / "linegate.db")) as connection:
        connection.executescript(script)


@pytest.fixture
def run(tmp_path, capsys):
    def called(*words):
        parser = argparse.ArgumentParser()
        audit_trail.add_verbs(parser.add_subparsers(required=True))
        args = parser.parse_args([*words, "--state-dir", str(tmp_path)])
        code = args.run(args)
        said = capsys.readouterr()
        return code, said.out, said.err

    return called


def test_a_whole_trail(run, trail, tmp_path):
    epoch, head = trail
    code, out, err = run("verify")
    assert (code, err) == (0, "")
    assert out.startswith(f"whole: 3 entries, the last has the hash {head.hash}\nanchored up to 0; of the 3 behind it")
    anchors = tmp_path / "anchors.txt"
    anchors.write_text(f"\n{anchor_text(anchor_of(epoch, head))}\n")
    found = json.loads(run("verify", "--anchors", str(anchors), "--json")[1])
    assert found == {"whole": True, "entries": 3, "hash": head.hash, "anchored": 3}


def test_a_broken_one(run, trail, tmp_path):
    epoch, head = trail
    anchors = tmp_path / "anchors.txt"
    anchors.write_text(anchor_text(anchor_of(epoch, head)))
    change(tmp_path, "DROP TRIGGER audit_entry_is_kept; DELETE FROM audit_entry WHERE seq = 3;")
    code, out, _ = run("verify")
    assert (code, out.splitlines()[0]) == (4, "not protected: audit_entry: trigger audit_entry_is_kept is missing")
    assert "2 entries follow one another, but somebody changed the schema" in out, "without an anchor nobody can tell"
    code, out, _ = run("verify", "--anchors", str(anchors))
    assert code == audit_trail.EXIT_BROKEN
    assert out == ("broken at 3: the chain ends with 2, but entry 3 was published: those after 2 were cut off\n")
    change(tmp_path, "DROP TRIGGER audit_entry_is_immutable; UPDATE audit_entry SET user = 'bob' WHERE seq = 2;")
    code, out, _ = run("verify", "--json")
    assert (code, json.loads(out)["entry"], json.loads(out)["fault"]) == (audit_trail.EXIT_BROKEN, 2, "changed")


def test_a_table_that_is_gone_is_no_question_of_rights(run, trail, tmp_path):
    change(tmp_path, "DROP TABLE audit_anchor;")
    code, out, err = run("verify", "--json")
    assert (code, err) == (audit_trail.EXIT_BROKEN, "")
    assert json.loads(out)["unguarded"] == ["audit_anchor: the table is missing"]


async def _restored_behind_an_anchor(tmp_path):
    """A copy with three entries, restored after a fourth was published; the chain goes on with another fourth."""
    path = tmp_path / "linegate.db"
    await asyncio.to_thread(copy, path, tmp_path / "copy.db", threading.Event())
    published = await _told(path, CONTENT._replace(detail="published, and gone with the database before"))
    made = await restore(tmp_path / "copy.db", path, at_ns=77, max_bytes=1 << 26)
    await _told(path, CONTENT._replace(action="restored", entity="database"))
    return anchor_text(published), path.with_name(made.set_aside)


async def _told(path, content):
    """The anchor of the chain once this is in it."""
    store = await Store.open(new_database.at(path), now_ns=lambda: 1, max_bytes=1 << 26)
    made = await store.write(partial(append, [content]))
    await store.close()
    with ChainReader.open(path) as reader:
        return anchor_of(reader.chain, made.head)


async def test_an_anchor_that_a_restored_copy_cannot_have_is_explained_and_proven(run, trail, tmp_path):
    published, kept = await _restored_behind_an_anchor(tmp_path)
    anchors = tmp_path / "anchors.txt"
    anchors.write_text(published)
    code, out, _ = run("verify", "--anchors", str(anchors))
    assert code == 0, out
    assert "entry 4 tells that an older database took this one's place: published entries 4 stand in the one" in out
    assert out.rstrip().endswith(kept.name)

    # Without that database nobody can tell a restore from entries that were taken out.
    kept.rename(tmp_path / "elsewhere.db")
    code, out, _ = run("verify", "--anchors", str(anchors), "--json")
    told = json.loads(out)
    assert (code, told["whole"], told["anchors_unproven"]) == (audit_trail.EXIT_BROKEN, False, [4])
    assert "Bring the database before" in run("verify", "--anchors", str(anchors))[1]

    # And one whose trail was changed proves nothing.
    (tmp_path / "elsewhere.db").rename(kept)
    assert run("verify", "--anchors", str(anchors))[0] == 0
    with contextlib.closing(sqlite3.connect(kept, isolation_level=None)) as other:
        other.executescript("DROP TRIGGER audit_entry_is_immutable; UPDATE audit_entry SET user = 'x' WHERE seq = 2;")
    assert run("verify", "--anchors", str(anchors))[0] == audit_trail.EXIT_BROKEN


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("linegate-audit/1/other/1/" + "a" * 64, "anchor: found one of the chain other"),
        ("\nnonsense", "anchors.txt:2: anchor: found 'nonsense'"),
        (None, "No such file"),
    ],
)
def test_anchors_that_cannot_be_used(run, trail, tmp_path, text, said):
    anchors = tmp_path / "anchors.txt"
    if text is not None:
        anchors.write_text(text)
    code, out, err = run("verify", "--anchors", str(anchors))
    assert (code, out) == (1, "")
    assert said in err


def test_the_trail_for_others(run, trail):
    epoch, head = trail
    code, out, _ = run("export")
    assert code == 0
    assert verify(genesis(epoch), map(entry_of_line, out.splitlines())).head == head
    _, out, _ = run("export", "--format", "csv")
    first, *rows = csv.DictReader(io.StringIO(out, newline=""))
    assert (first["seq"], first["new"], first["order"]) == ("1", "'=1+1", "4711")
    assert rows[-1]["hash"] == head.hash


def test_a_print_says_of_what_it_is_and_whether_that_is_whole(run, trail, tmp_path):
    epoch, head = trail
    _, out, _ = run("export", "--format", "html", "--order", "<4711>")
    assert f"<tr><th>Chain</th><td>{epoch}</td></tr>" in out
    assert "<tr><th>Shown</th><td>order &lt;4711&gt;</td></tr>" in out
    assert f"whole: 3 entries, anchored up to 0, last hash {head.hash}" in out
    assert "<p>0 entries</p>" in out
    change(tmp_path, "DROP TRIGGER audit_entry_is_immutable; UPDATE audit_entry SET time_quality = 99 WHERE seq = 2;")
    code, out, _ = run("export", "--format", "html")
    assert (code, "BROKEN at entry 2: entry 2 was changed" in out, "<p>3 entries</p>" in out) == (0, True, True)


def test_anchors_are_printed_as_verify_takes_them(run, trail, tmp_path):
    code, out, err = run("anchors")
    assert (code, out, "there is no anchor yet" in err) == (0, "", True)
    epoch, head = trail
    code, out, err = run("anchors", "--now")
    assert (code, out, err) == (0, f"{anchor_text(anchor_of(epoch, head))}\n", "")
    (tmp_path / "kept").write_text(out)
    change(tmp_path, "DROP TRIGGER audit_entry_is_kept; DELETE FROM audit_entry WHERE seq = 3;")
    assert "those after 2 were cut off" in run("verify", "--anchors", str(tmp_path / "kept"))[1]


def test_where_there_is_nothing_to_read(run, tmp_path):
    assert run("verify")[2].startswith(f"linegate: {tmp_path}/linegate.db: there is no database")
    assert run("export")[0] == 1
