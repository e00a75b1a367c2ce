"""The gateway looks at its own audit trail: triggers, its end, and anchors that are kept in a file."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from functools import partial
from types import SimpleNamespace

import pytest

from buffer import audit_look
from buffer.audit_chain import ChainReader, append, keep_anchor
from buffer.errors import StoreError
from buffer.store import Store
from gateway.audit.auditing import Auditing
from gateway.core.audit.chain import anchor_from, anchor_text
from gateway.core.audit.entry import EntryContent
from gateway.core.audit.signature import Action, Authentication, sign, signed
from gateway.core.calendar.honest_time import TimeQuality
from gateway.rounds.trail_round import AGAIN_NS, CHECK_EVERY_NS, FILE, TRAIL, TrailRound, add_missing
from gateway.timing.clock import ManualClock

S = 1_000_000_000
WAIT_S = 60.0
CONTENT = EntryContent(1, 2, 4, 0, "UTC", "ann", "operator", "token", "", "start", "event", "operation")


def tamper(path, *statements):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


class UtcClock:
    """Steady time is UTC here, and time of day goes on by hand."""

    quality = TimeQuality.TRUSTED

    def __init__(self, clock):
        self.now_ns = self.utc_now_ns = clock.now_ns

    def utc_ns(self, steady_ns):
        return steady_ns


class Watched:
    """A store with a trail, and the round that looks at it."""

    def __init__(self, folder):
        self.path, self.folder = folder / "linegate.db", folder / "elsewhere"
        self.file = self.folder / "anchors.txt"
        self.clock, self.troubles = ManualClock(1_000_000 * S), {}

    async def open(self, *, file=True):
        self.store = await Store.open(self.path, now_ns=self.clock.now_ns, max_bytes=64 << 20)
        gateway = SimpleNamespace(
            timezone="UTC", profile="standard", anchor_file="elsewhere/anchors.txt" if file else None
        )
        settings = SimpleNamespace(gateway=gateway, digest="d", base_dir=self.path.parent)
        clock = UtcClock(self.clock)
        parts = SimpleNamespace(trouble=self.troubles.__setitem__)
        self.round = TrailRound(settings, self.store, clock, parts, Auditing(settings, self.store, clock))
        return self

    async def writes(self, number):
        await self.store.write(partial(append, [CONTENT] * number))

    async def anchors(self, day):
        return await self.store.write(partial(keep_anchor, day, 1))

    async def later(self, time_ns):
        self.clock.advance(time_ns)
        await self.round.look()
        return self.troubles.get(TRAIL, ""), self.troubles.get(FILE, "")

    def lines(self):
        return self.file.read_text().splitlines()


@pytest.fixture
async def watched(tmp_path):
    found = Watched(tmp_path)
    found.folder.mkdir()
    await found.open()
    yield found
    await found.store.close()


async def test_a_trigger_that_is_taken_away_is_told_within_the_hour_and_once_in_the_trail(watched):
    await watched.writes(3)
    assert await watched.later(0) == ("", "")
    tamper(watched.path, "DROP TRIGGER audit_entry_is_kept")
    assert await watched.later(CHECK_EVERY_NS - 1) == ("", ""), "not yet"
    said, _ = await watched.later(1)
    assert said.startswith("audit_entry: trigger audit_entry_is_kept is missing; somebody changed the database")
    assert (await watched.later(CHECK_EVERY_NS))[0] == said
    with ChainReader.open(watched.path) as reader:
        (told,) = [one.content for one in reader.entries() if one.content.action == "trail_doubted"]
    assert told.new == "audit_entry: trigger audit_entry_is_kept is missing"


async def test_an_end_that_was_cut_and_one_that_was_made_anew_are_found_by_the_file(watched):
    await watched.writes(3)
    await watched.anchors("2026-01-01")
    await watched.writes(3)
    newest = await watched.anchors("2026-01-02")
    assert await watched.later(0) == ("", "")
    assert [anchor_from(line).seq for line in watched.lines()] == [3, 6]
    assert anchor_from(watched.lines()[-1]) == newest
    with contextlib.closing(sqlite3.connect(watched.path)) as connection:
        guards = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name IN "
            "('audit_entry_is_kept', 'audit_anchor_is_kept')"
        ).fetchall()
    tamper(
        watched.path, *(f"DROP TRIGGER {name}" for name, _ in guards),
        "DELETE FROM audit_anchor WHERE seq > 3", "DELETE FROM audit_entry WHERE seq > 4", *(sql for _, sql in guards),
    )  # fmt: skip
    assert audit_look.doubts(watched.path) == (), "whoever clears up behind himself is seen from outside only"
    said, _ = await watched.later(CHECK_EVERY_NS)
    assert "the trail ends with 4, but there was an entry 6 (an anchor of the anchor file says so)" in said
    await watched.writes(5)
    said, _ = await watched.later(CHECK_EVERY_NS)
    assert "entries 6 are not those that were anchored (an anchor of the anchor file says so): made anew" in said


async def test_a_changed_entry_near_the_end_is_found_and_one_behind_the_walk_is_not(watched, monkeypatch):
    await watched.writes(8)
    tamper(watched.path, "DROP TRIGGER audit_entry_is_immutable", "UPDATE audit_entry SET user = 'x' WHERE seq = 6")
    assert "entry 6 was changed" in audit_look.doubts(watched.path)[1]
    monkeypatch.setattr(audit_look, "TAIL_ENTRIES", 2)
    assert len(audit_look.doubts(watched.path)) == 1, "that one is linegate audit verify's"


async def test_a_disk_that_was_away_gets_its_lines_later_each_once(watched):
    shutil.rmtree(watched.folder)
    await watched.writes(2)
    await watched.anchors("2026-01-01")
    said = await watched.later(0)
    assert said[1].startswith(f"{watched.file}: No such file or directory; anchors are kept in the database")
    await watched.writes(2)
    await watched.anchors("2026-01-02")
    watched.folder.mkdir()
    watched.file.write_text("linegate-audit/1/torn")
    await watched.later(AGAIN_NS - 1)
    assert len(watched.lines()) == 1, "not asked again yet"
    said = await watched.later(1)
    assert said[1] == ""
    assert "line 1 of the anchor file is no anchor" in said[0]
    assert watched.lines()[0] == "linegate-audit/1/torn", "nothing in it is ever changed"
    assert [anchor_from(line).seq for line in watched.lines()[1:]] == [2, 4]
    assert add_missing(watched.file, watched.path) == 0
    await watched.later(CHECK_EVERY_NS)
    assert len(watched.lines()) == 3


async def test_the_beginning_of_a_line_that_a_power_cut_or_a_full_disk_left_is_nobodys_doing(watched):
    await watched.writes(2)
    await watched.anchors("2026-01-01")
    assert await watched.later(0) == ("", "")
    whole = watched.lines()[0]
    await watched.writes(2)
    newest = anchor_text(await watched.anchors("2026-01-02"))
    watched.file.write_text(f"{whole}\n{newest[:-9]}")
    assert await watched.later(CHECK_EVERY_NS) == ("", ""), "it is still to be written whole"
    assert watched.lines() == [whole, newest[:-9], newest]
    assert await watched.later(CHECK_EVERY_NS) == ("", ""), "it was written whole behind it"
    other = "1" if newest[-9] == "0" else "0"  # the next digit of the sum, and any that it is not
    watched.file.write_text(f"{whole}\n{newest[:-9]}{newest[-9]}\n{newest}\n")
    assert await watched.later(CHECK_EVERY_NS) == ("", ""), "a longer beginning is one, too"
    watched.file.write_text(f"{whole}\n{newest[:-9]}{other}\n{newest}\n")
    assert "line 2 of the anchor file is no anchor" in (await watched.later(CHECK_EVERY_NS))[0]


async def test_a_signature_at_the_beginning_of_the_walk_is_held_against_the_entry_before_it(watched, monkeypatch):
    by = Authentication("ann", "Ann Berg", "supervisor", ("passphrase", "token"), 1_000)
    of = CONTENT._replace(entity_id="A/10", action="correct_after_final", new='{"good":98}', reason_text="typed wrong")
    action = Action.CORRECT_AFTER_FINAL
    made = signed(sign(b'{"good":98}', of.entity, of.entity_id, action, by, now_ns=1_000, utc_ns=2_000), of)
    await watched.store.write(partial(append, [CONTENT, of, made, CONTENT]))
    monkeypatch.setattr(audit_look, "TAIL_ENTRIES", 2)
    assert audit_look.doubts(watched.path) == ()


async def test_a_file_that_is_away_hides_nothing_and_unsays_nothing(watched, monkeypatch):
    await watched.writes(3)
    await watched.anchors("2026-01-01")
    assert await watched.later(0) == ("", "")
    watched.file.write_text("somebody was here\n" + watched.file.read_text())
    doubted, _ = await watched.later(CHECK_EVERY_NS)
    assert doubted.startswith("line 1 of the anchor file is no anchor")
    shutil.move(watched.folder, watched.folder.with_name("away"))
    tamper(watched.path, "DROP TRIGGER audit_entry_is_kept")
    both, away = await watched.later(CHECK_EVERY_NS)
    assert "No such file" in away
    assert both.startswith("line 1 of the anchor file is no anchor; audit_entry: trigger audit_entry_is_kept is")
    shutil.move(watched.folder.with_name("away"), watched.folder)
    assert (await watched.later(AGAIN_NS))[1] == ""
    assert "line 1 of the anchor file" in watched.troubles[TRAIL]

    async def unread(_store):
        raise StoreError("the disk is away")

    with monkeypatch.context() as patched:
        patched.setattr("gateway.rounds.trail_round.audit_taken.last_anchor", unread)
        looking = asyncio.create_task(watched.round.run())
        async with asyncio.timeout(WAIT_S):
            while "the disk is away" not in watched.troubles[TRAIL]:  # noqa: ASYNC110 - a plain dict
                await asyncio.sleep(0)
        looking.cancel()
    assert "trigger audit_entry_is_kept is missing" in watched.troubles[TRAIL]
    assert "the disk is away" not in (await watched.later(1))[0]
