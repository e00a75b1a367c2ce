"""The round with a real database and a real server; only the clock is moved by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time

import new_database
import pytest

from buffer.entry import OutboxState, Settlement
from buffer.outbox import Outbox
from buffer.step import NewPosting, Step
from buffer.store import Store
from config.loader import load
from gateway import plugins
from gateway.alerts import round as alert_round
from gateway.alerts.round import AlertRound
from gateway.core.duration import NS_PER_S
from gateway.parts import Parts
from gateway.sources.taps import Taps
from gateway.timing.clock import SteadyClock

DEADLINE_S = 60.0
FIVE_MINUTES = 300
CONFIG = """
gateway: { id: box-1, plant: P1, timezone: Europe/Berlin, state_dir: STATE_DIR }
sources: { pins: { driver: digital_io, pins: simulated, signals: { piece: { pin: 17 } } } }
work_units: { M-1: { work_center: WC-1, ideal_cycle: 2 s, counters: [{ mode: pulse, signal: pins.piece }] } }
connectors: { share: { connector: file, folder: share } }
"""


class Bench:
    """A store with parked postings, and rounds that begin and end."""

    def __init__(self, folder, settings, robots):
        self.folder = folder
        self.settings = settings
        self.robots = robots
        self.moved_ns = 0
        self.store = None
        self.task = None
        self.number = 0

    def _now_ns(self):
        return self.clock.now_ns()

    def monotonic_ns(self):
        return time.monotonic_ns() + self.moved_ns

    def pass_s(self, seconds):
        self.moved_ns += seconds * NS_PER_S

    async def open(self):
        self.store = await Store.open(
            new_database.at(self.folder / "linegate.db"), now_ns=self._now_ns, max_bytes=2**26
        )
        self.clock = SteadyClock(await self.store.last_time_ns(), monotonic_ns=self.monotonic_ns)
        self.outbox = Outbox(self.store)
        self.robots.utc_ns = self.clock.utc_now_ns
        return self

    async def start(self):
        self.parts = Parts(self.outbox, Taps(self.clock.now_ns), self.clock.utc_ns)
        self.round = AlertRound(self.settings, self.settings.alerts, self.store, self.clock, self.parts)
        self.task = asyncio.create_task(self.round.run())

    async def stop(self):
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
            self.task = None

    async def park(self, count, state=OutboxState.PARKED):
        now_ns, first = self.clock.now_ns(), self.number
        self.number += count
        postings = [
            NewPosting("erp", f"k{n}", f"id{n}", f"o{n}", "0010", 1, "partial", b"{}", now_ns)
            for n in range(first, self.number)
        ]
        await self.store.commit(Step("M-1", b"", now_ns, (), tuple(postings), ()))
        ids = [one.id for one in await self.outbox.page(limit=count)]
        settled = Settlement(state, error_kind="business_reject", error_code="RU/018", error_text="locked by ann")
        await asyncio.gather(*(self.outbox.settle(one, settled, now_ns) for one in ids))
        assert len(ids) == count
        return ids

    async def until(self, check, what):
        end = time.monotonic() + DEADLINE_S
        while not check():
            assert not self.task.done(), self.task
            assert time.monotonic() < end, f"waited in vain for {what}: {self.robots.taken} {self.parts.troubles()}"
            await asyncio.sleep(0.01)

    async def looks(self, number=3):
        """So many whole looks pass."""
        await self.until(lambda: self.round._tellers, "the start")
        for _ in range(number):
            before = self.round._tellers[0].digest
            await self.until(lambda before=before: self.round._tellers[0].digest is not before, "a look")


@pytest.fixture
async def bench(tmp_path, robots, write_secrets, section, monkeypatch):
    monkeypatch.setattr(alert_round, "LOOK_EVERY_S", 0.03)
    monkeypatch.setattr(alert_round, "TELL_EVERY_S", 0.01)
    write_secrets(tmp_path)
    (tmp_path / "state").mkdir()
    config = tmp_path / "linegate.yaml"
    config.write_text(CONFIG.replace("STATE_DIR", str(tmp_path / "state")) + section)
    settings = load(config, drivers=plugins.drivers(), connectors=plugins.connectors(), env=dict(os.environ))
    bench = await Bench(tmp_path / "state", settings, robots).open()
    yield bench
    await bench.stop()
    await bench.store.close()


async def test_five_hundred_parked_are_one_message_a_channel_and_resolved_is_told(bench, robots, secret_texts, capfd):
    ids = await bench.park(500)
    await bench.start()
    await bench.looks()
    bench.pass_s(5)
    await bench.until(lambda: len(robots.taken) == 3, "a message in each room")
    for one in robots.taken:
        assert "NEW target erp: parked: 500 confirmations parked: o499/0010 number 1 (RU/018 locked by ann)" in one.text
        assert "and 495 more" in one.text
    await bench.looks()
    bench.pass_s(FIVE_MINUTES)
    await bench.looks(5)
    assert len(robots.taken) == 3, "nothing new, nothing said"
    for one in ids[:-1]:
        await bench.outbox.retry(one, bench.clock.now_ns())
    await bench.park(1)
    await bench.looks()
    bench.pass_s(5)
    await bench.until(lambda: len(robots.taken) == 6, "the one that came new")
    assert "MORE (+1) target erp: parked: 2 confirmations parked" in robots.taken[-1].text
    bench.pass_s(FIVE_MINUTES)
    for one in await bench.outbox.page(state=OutboxState.PARKED):
        await bench.outbox.retry(one.id, bench.clock.now_ns())
    await bench.looks()
    bench.pass_s(61)
    await bench.looks()
    bench.pass_s(5)
    await bench.until(lambda: len(robots.taken) == 9, "that it is over")
    assert "RESOLVED target erp: parked, after 11 min" in robots.taken[-1].text
    assert bench.parts.troubles() == ()
    out = capfd.readouterr()
    for secret in secret_texts:
        assert secret not in out.out + out.err


async def test_a_restart_tells_nothing_a_second_time(bench, robots):
    await bench.park(3)
    no_copy = "no copy of the database could be made"
    await bench.start()
    bench.parts.trouble("backup", no_copy)
    await bench.looks()
    bench.pass_s(5)
    await bench.until(lambda: len(robots.taken) == 3, "the messages")
    await bench.until(lambda: all(one.told for one in bench.round._saved.values()), "the file")
    told = json.loads((bench.folder / "alerts.json").read_text())
    for _ in range(3):
        await bench.stop()
        bench.pass_s(FIVE_MINUTES)
        await bench.start()
        bench.parts.trouble("backup", no_copy)
        await bench.looks()
        bench.pass_s(5)
        await bench.looks(4)
    assert len(robots.taken) == 3, robots.taken[3:]
    assert {row["kind"] for row in told["channels"]["room"]["told"]} == {"parked", "degraded"}
    await bench.stop()
    (bench.folder / "alerts.json").write_text('{"v":1,"channels":{"room":5}}')
    await bench.start()
    bench.parts.trouble("backup", no_copy)
    await bench.looks()
    bench.pass_s(5)
    await bench.until(lambda: len(robots.taken) == 6, "everything once more: nobody knows what was told")


async def test_a_channel_that_refuses_holds_up_nobody_and_hears_it_later(bench, robots, secret_texts):
    await bench.start()
    robots.always = (200, {}, b'{"errcode":-1,"errmsg":"system busy"}')
    await bench.park(2)
    await bench.looks()
    bench.pass_s(5)

    def failures():
        return sorted(teller.failures for teller in bench.round._tellers)

    await bench.until(lambda: failures() == [0, 1, 1], "the first attempts")
    await bench.until(lambda: "room" in str(bench.parts.troubles()), "what the status says")
    robots_asked_once = 3
    await bench.until(lambda: robots.asked == robots_asked_once, "the program to be asked, too")
    (said,) = bench.parts.troubles()
    assert "alerts: channel room cannot be told: HTTP 200 OK, errcode -1: system busy; next attempt " in said
    assert not [secret for secret in secret_texts if secret in said]
    await bench.looks(10)
    assert robots.asked == robots_asked_once, "not before its time"
    for number in range(1, 6):
        bench.pass_s(15 * 60)
        await bench.until(lambda number=number: failures() == [0, number + 1, number + 1], "another attempt")
    await bench.park(3)
    await bench.looks()
    robots.always = None
    bench.pass_s(15 * 60)
    await bench.until(lambda: robots.of("dingtalk") and robots.of("wecom"), "a robot that has come back")
    assert "NEW target erp: parked: 5 confirmations" in robots.of("dingtalk")[0].text
    await bench.until(lambda: bench.parts.troubles() == (), "the trouble to end")
    assert len(robots.of("dingtalk")) == 1


async def test_a_disk_that_is_full_keeps_nobody_from_being_told(bench, robots):
    (bench.folder / "alerts.json.new").mkdir()  # it cannot be written
    await bench.park(1)
    await bench.start()
    await bench.looks()
    bench.pass_s(5)
    await bench.until(lambda: len(robots.taken) == 3, "the messages")
    await bench.until(
        lambda: any("alerts.json: cannot be written" in one for one in bench.parts.troubles()), "the word"
    )
    (bench.folder / "alerts.json.new").rmdir()
    await bench.until(lambda: bench.parts.troubles() == (), "the file")
    assert (bench.folder / "alerts.json").stat().st_mode & 0o777 == 0o600


async def test_an_unreadable_database_resolves_nothing(bench, robots):
    await bench.park(1)
    await bench.start()
    await bench.looks()
    bench.pass_s(5)
    await bench.until(lambda: len(robots.taken) == 3, "the messages")
    await bench.store.close()
    bench.pass_s(FIVE_MINUTES)
    await bench.looks()
    bench.pass_s(FIVE_MINUTES)
    await bench.looks(5)
    assert not [one for one in robots.taken if "RESOLVED" in one.text]
