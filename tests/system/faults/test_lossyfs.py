"""The lossy file system itself: it truly loses what was not fsynced, truly keeps what was, and fails as it is told."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
import subprocess
import sys
import time

import lossy_disk
import lossyfs
import pytest

PAGES = 64


def write(path, data, *, sync=False, mode="wb"):
    with path.open(mode) as file:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def fsync_folder(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def kept(card, name, data):
    write(card.mount / name, data, sync=True)
    fsync_folder(card.mount)


def test_a_cut_loses_what_was_not_fsynced_and_keeps_what_was(card):
    kept(card, "a", b"old " * 5000)
    with (card.mount / "a").open("r+b") as file:
        file.seek(4000)
        file.write(b"new " * 100)
        file.flush()
        assert (card.mount / "a").read_bytes()[4000:4004] == b"new "
        assert card("stats")["pages_not_durable"] == 2
    card("cut drop")
    assert (card.mount / "a").read_bytes() == b"old " * 5000
    write(card.mount / "a", b"!", sync=True, mode="r+b")
    card("cut drop")
    assert (card.mount / "a").read_bytes() == b"!" + (b"old " * 5000)[1:]


def test_sizes_are_lost_too(card):
    kept(card, "grown", b"x" * 100)
    kept(card, "cut", b"y" * 9000)
    write(card.mount / "grown", b"x" * 10_000, mode="ab")
    os.truncate(card.mount / "cut", 10)
    card("cut drop")
    assert (card.mount / "grown").read_bytes() == b"x" * 100
    assert (card.mount / "cut").read_bytes() == b"y" * 9000


def test_names_are_lost_without_an_fsync_of_their_folder(card):
    for name in ("stays", "renamed", "gone", "target"):
        kept(card, name, name.encode())
    write(card.mount / "new", b"new", sync=True)  # its content is durable, its name is not
    (card.mount / "gone").unlink()
    (card.mount / "renamed").rename(card.mount / "target")
    card("cut drop")
    assert {path.name: path.read_bytes() for path in card.mount.iterdir()} == {
        name: name.encode() for name in ("stays", "renamed", "gone", "target")
    }
    (card.mount / "renamed").rename(card.mount / "target")
    fsync_folder(card.mount)
    card("cut drop")
    assert (card.mount / "target").read_bytes() == b"renamed"
    assert not (card.mount / "renamed").exists()


def test_with_a_journal_of_names_any_fsync_keeps_them(card):
    card("names journal")
    write(card.mount / "new", b"new", sync=True)
    card("cut drop")
    assert (card.mount / "new").read_bytes() == b"new"


@pytest.mark.parametrize("mode", ["random", "torn"])
def test_what_is_kept_at_random_is_repeated_by_its_seed(card, mode):
    def one(seed):
        kept(card, "a", b"o" * lossy_disk.PAGE * PAGES)
        write(card.mount / "a", b"n" * lossy_disk.PAGE * PAGES, mode="r+b")
        card(f"cut {mode} {seed}")
        return (card.mount / "a").read_bytes()

    first, same, other = one(1), one(1), one(2)
    assert first == same != other
    units = {first[at : at + lossy_disk.SECTOR] for at in range(0, len(first), lossy_disk.SECTOR)}
    assert units == {b"o" * lossy_disk.SECTOR, b"n" * lossy_disk.SECTOR}
    pages = {first[at : at + lossy_disk.PAGE] for at in range(0, len(first), lossy_disk.PAGE)}
    assert (len(pages) > 2) == (mode == "torn")


def test_full_read_only_and_broken(card):
    kept(card, "a", b"a" * 8192)
    kept(card, "reserve", b"r" * 8192)
    card("enospc on")
    with pytest.raises(OSError, match="No space left") as caught:
        write(card.mount / "a", b"a" * 4096, mode="ab")
    assert caught.value.errno == errno.ENOSPC
    assert os.statvfs(card.mount).f_bavail == 0
    write(card.mount / "a", b"b" * 8192, mode="r+b")  # what is there already can be written again
    (card.mount / "reserve").unlink()
    write(card.mount / "a", b"a" * 4096, mode="ab")
    card("enospc off")
    card("ro on")
    for refused in (lambda: write(card.mount / "a", b"x", mode="r+b"), (card.mount / "a").unlink):
        with pytest.raises(OSError, match="Read-only") as caught:
            refused()
        assert caught.value.errno == errno.EROFS
    card("ro off")
    card("eio write 1")
    with pytest.raises(OSError, match="Input/output"):
        write(card.mount / "a", b"x", mode="r+b")
    card("eio read -1")
    with pytest.raises(OSError, match="Input/output"):
        (card.mount / "a").read_bytes()
    card("eio read 0")
    assert len((card.mount / "a").read_bytes()) == 12_288


def test_what_a_failed_fsync_left_is_not_made_durable_by_the_next(card):
    kept(card, "a", b"old")
    card("eio fsync 1")
    with (card.mount / "a").open("r+b") as file:
        file.write(b"new")
        file.flush()
        with pytest.raises(OSError, match="Input/output"):
            os.fsync(file.fileno())
        os.fsync(file.fileno())
    assert (card.mount / "a").read_bytes() == b"new"
    card("cut drop")
    assert (card.mount / "a").read_bytes() == b"old"


def test_a_slow_card_and_its_figures(card):
    before = card("stats")
    card("slowsync 200")
    began = time.monotonic()
    write(card.mount / "a", b"x" * 5000, sync=True)
    assert time.monotonic() - began >= 0.2
    after = card("stats")
    assert after["fsyncs"] - before["fsyncs"] == 1
    assert after["bytes_durable"] - before["bytes_durable"] == 2 * lossy_disk.PAGE
    assert after["bytes_written"] - before["bytes_written"] == 5000
    with pytest.raises(lossyfs.LossyError, match="no command"):
        card("melt")


ROWS = """
import sqlite3, sys
link = sqlite3.connect(sys.argv[1], isolation_level=None)
link.execute("PRAGMA journal_mode=WAL")
link.execute(f"PRAGMA synchronous={sys.argv[2]}")
link.execute("CREATE TABLE IF NOT EXISTS one (n INTEGER PRIMARY KEY)")
(n,) = link.execute("SELECT coalesce(max(n), 0) FROM one").fetchone()
while True:
    n += 1
    link.execute("INSERT INTO one VALUES (?)", (n,))
    print(n, flush=True)
"""


def acknowledged_rows(path, synchronous, rows):
    """A process commits until so many rows are acknowledged, and is killed."""
    with subprocess.Popen([sys.executable, "-c", ROWS, str(path), synchronous], stdout=subprocess.PIPE) as child:
        try:
            seen = [int(child.stdout.readline()) for _ in range(rows)]
        finally:
            child.kill()
        rest = child.stdout.read().splitlines(keepends=True)
    return int(rest[-1]) if rest and rest[-1].endswith(b"\n") else seen[-1]


def rows_there(path):
    link = sqlite3.connect(path)
    try:
        assert link.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return link.execute("SELECT max(n), count(*) FROM one").fetchone()
    finally:
        link.close()


@pytest.mark.parametrize("mode", ["drop", "random 5", "torn 6"])
def test_sqlite_loses_nothing_with_full_and_something_with_normal(card, mode):
    path = card.mount / "rows.db"
    rng = random.Random(mode)
    last = 0
    for _ in range(3):
        last = acknowledged_rows(path, "FULL", rng.randint(20, 60))
        card(f"cut {mode}")
        found = rows_there(path)
        assert last <= found[0] == found[1] <= last + 1, f"FULL, cut {mode}"
    lost = 0
    for _ in range(3):
        last = acknowledged_rows(path, "NORMAL", 200)
        card(f"cut {mode}")
        lost += last > rows_there(path)[0]
    assert lost, "a cut loses nothing of what was not fsynced: this tool cannot find anything"


def test_a_record_gives_the_image_of_every_moment(card, tmp_path):
    path = card.mount / "rows.db"
    card("record on")
    link = sqlite3.connect(path, isolation_level=None)
    link.execute("PRAGMA journal_mode=WAL")
    link.execute("PRAGMA synchronous=FULL")
    link.execute("CREATE TABLE one (n INTEGER PRIMARY KEY)")
    card("mark 0")
    for n in range(1, 16):
        link.execute("INSERT INTO one VALUES (?)", (n,))
        card(f"mark {n}")
    card(f"record save {tmp_path / 'rows.record'}")
    live = (card.mount / "rows.db-wal").read_bytes()
    link.close()
    record = lossyfs.load(tmp_path / "rows.record")
    acknowledged, images = None, 0
    rng = random.Random(3)
    for number, _, name, values, disk in record.replayed():
        if name == "mark":
            acknowledged = int(values[0])
        if acknowledged is None:
            continue
        for mode in lossy_disk.MODES:
            folder = tmp_path / f"{number}-{mode}"
            folder.mkdir()
            for file, content in disk.image(mode, rng).items():
                if not file.endswith("-shm"):
                    (folder / file).write_bytes(content)
            rows, _ = rows_there(folder / "rows.db")
            assert acknowledged <= (rows or 0) <= acknowledged + 1, f"change {number}, {mode}, seed 3"
            images += 1
    assert images > 100
    assert disk.files()["rows.db-wal"] == live
