"""`linegate buffer export`: every row once, in order, and what was left out is said."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sqlite3
import stat

import pytest

from buffer.entry import OutboxState, Settlement
from buffer.export import BATCH_ROWS, Export, Wanted
from buffer.outbox import Outbox
from buffer.retention import journal as prune_journal
from buffer.step import JournalRow, NewPosting, Step
from gateway.cli import main
from gateway.core.retention import RecordClass

S = 10**9


def posting(order, seq, text="x"):
    content = json.dumps({"seq": seq, "text": text}).encode()
    return NewPosting("erp", f"P/e/{order}/10/{seq}", "m", order, "10", seq, "partial", content, seq * S)


@pytest.fixture
async def folder(store):
    new = [posting("A", seq) for seq in range(1, BATCH_ROWS + 5)] + [posting("B", 1, '=cmd("x")')]
    rows = tuple(JournalRow(seq, seq * S, "count" if seq < 4 else "job", b'{"order":"A"}') for seq in range(1, 8))
    await store.commit(Step("M1", b"{}", 7 * S, rows, tuple(new)))
    outbox = Outbox(store)
    (one,) = await outbox.page(order="B")
    await outbox.settle(one.id, Settlement(OutboxState.PARKED, 0, "", "refused", "422", "=why"), 9)
    await prune_journal(store, "M1", RecordClass.RAW_JOURNAL, 8 * S)
    return store.path.parent


def exported(folder, capsys, *arguments):
    code = main(["buffer", "export", "-d", str(folder), *map(str, arguments)])
    told = capsys.readouterr()
    return code, told.out, told.err


async def test_every_posting_comes_once_and_in_its_order_with_its_content(folder):
    made = Export(folder / "linegate.db", Wanted())
    found = list(made.postings())
    assert [one["no"] for one in found] == list(range(1, BATCH_ROWS + 6))
    assert found[1]["content"] == {"seq": 2, "text": "x"}
    assert (made.given, made.left_out) == (BATCH_ROWS + 5, {})


async def test_an_export_never_has_one_without_the_other_of_what_is_corrected_meanwhile(store, folder):
    """Read batch by batch a late one was void, and what took its place was made too late to be in it."""
    made = Export(folder / "linegate.db", Wanted())
    rows = made.postings()
    found = [next(rows)]
    last, new = BATCH_ROWS + 4, posting("A", BATCH_ROWS + 5)
    await Outbox(store).settle(last, Settlement(OutboxState.PARKED), 9)
    await Outbox(store).supersede(last, 9, who="ann")
    await store.commit(Step("M1", b"{}", 9 * S, (JournalRow(8, 9 * S, "job", b"{}"),), (new,)))
    found += rows
    assert [one["no"] for one in found] == list(range(1, BATCH_ROWS + 6))
    assert (found[last - 1]["state"], made.moments) == ("ready", 1)
    (again,) = (one for one in Export(folder / "linegate.db", Wanted()).postings() if one["no"] == last)
    assert again["state"] == "superseded"


async def test_who_reads_slowly_holds_no_moment_for_ever(store, folder):
    made = Export(folder / "linegate.db", Wanted(), moment_max_s=0.05)
    rows = made.postings()
    found = [next(rows)]
    with contextlib.closing(sqlite3.connect(folder / "linegate.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE later (a)")
        other.execute("PRAGMA busy_timeout = 60000")
        # Busy as long as somebody reads: it waits for the end of the moment.
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    found += rows
    assert [one["no"] for one in found] == list(range(1, BATCH_ROWS + 6))
    assert made.moments > 1


async def test_what_is_not_asked_for_is_counted(folder, capsys):
    code, out, err = exported(folder, capsys, "--parked")
    assert code == 0
    assert [json.loads(line)["key"] for line in out.splitlines()] == ["P/e/B/10/1"]
    assert err == f"1 rows; left out: {BATCH_ROWS + 4} not asked for\n"


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        (["--from", 3, "--to", 4], [3, 4]),
        (["--order", "B"], [BATCH_ROWS + 5]),
        (["--since", "1970-01-01T00:00:02Z", "--until", "1970-01-01T00:00:04Z"], [2, 3]),
        (["--target", "mes"], []),
        (["--state", "parked"], [BATCH_ROWS + 5]),
    ],
)
async def test_postings_by_number_order_time_target_and_state(folder, capsys, arguments, numbers):
    code, out, _ = exported(folder, capsys, *arguments)
    assert (code, [json.loads(line)["no"] for line in out.splitlines()]) == (0, numbers)


async def test_the_journal_from_a_number_on_says_what_went_by_its_age(folder, capsys):
    code, out, err = exported(folder, capsys, "--journal", "M1", "--from", 2)
    assert (code, [json.loads(line)["seq"] for line in out.splitlines()]) == (0, [4, 5, 6, 7])
    assert err == "4 rows; left out: 2 went by their age\n"


async def test_csv_is_for_a_spreadsheet_that_must_not_compute(folder, capsys):
    code, out, _ = exported(folder, capsys, "--format", "csv", "--parked")
    (row,) = csv.DictReader(io.StringIO(out))
    assert (code, row["order"], json.loads(row["content"])["text"]) == (0, "B", '=cmd("x")')
    assert row["error"] == "refused 422 =why"


async def test_a_file_is_made_anew_for_its_owner_only(folder, capsys, tmp_path):
    out = tmp_path / "out.jsonl"
    assert exported(folder, capsys, "--order", "B", "--out", out)[0] == 0
    assert (stat.S_IMODE(out.stat().st_mode), len(out.read_text().splitlines())) == (0o600, 1)
    code, _, err = exported(folder, capsys, "--out", out)
    assert (code, "File exists" in err, len(out.read_text().splitlines())) == (1, True, 1)


@pytest.mark.parametrize("arguments", [["--from", 0], ["--from", 3, "--to", 2], ["--since", "yesterday"]])
async def test_what_cannot_be_is_refused(folder, capsys, arguments):
    assert exported(folder, capsys, *arguments)[0] == 2


async def test_of_several_messages_each_is_told_with_its_reference(store, capsys):
    """Exported, and shown to a person: which are booked, under which reference, and which one is due."""
    await store.commit(Step("M1", b"{}", 1, (), (posting("C", 1),)))
    outbox = Outbox(store)
    (one,) = await outbox.page(order="C")
    more = ((b"second", "t", "n2"), (b"third", "t", "n3"))
    await outbox.begin_send(one.id, (b"first", "t", "n1"), 1, more=more, baseline=b"7 pieces")
    await outbox.next_step(one.id, Settlement(OutboxState.POSTED, 0, "R-1"), 2, go=True)
    folder = store.path.parent
    _, out, _ = exported(folder, capsys, "--order", "C")
    row = json.loads(out)
    assert (row["step"], row["steps"], row["message"]) == (1, 3, "first")
    told = [(at["state"], at["reference"], at["body"], at["before"]) for at in row["messages"]]
    assert told == [("posted", "R-1", None, "7 pieces"), ("", "", "second", None), ("", "", "third", None)]
    code, out, _ = exported(folder, capsys, "--order", "C", "--format", "csv")
    assert json.loads(next(csv.DictReader(io.StringIO(out)))["messages"]) == row["messages"]
    assert main(["outbox", "show", "-d", str(folder), str(one.id), "--json"]) == code == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["step"], shown["steps"], shown["messages"]) == (1, 3, row["messages"])
    assert main(["outbox", "show", "-d", str(folder), str(one.id)]) == 0
    assert '"reference": "R-1"' in capsys.readouterr().out
