"""What was learned of the time is kept and told; each machine knows its hours ahead. A real database, a work unit."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import new_database
import pytest
import structlog

from buffer import clock_record
from buffer.errors import StoreError
from buffer.outbox import Outbox
from buffer.store import Store
from gateway.core import snapshot
from gateway.core.calendar.honest_time import CorrectionReason, TimeQuality
from gateway.core.document import Identity
from gateway.core.model import MachineState
from gateway.core.rules import CounterRule, WorkUnitRules
from gateway.core.rules_calendar import CalendarRule, ShiftRule
from gateway.core.work_unit import WorkUnit
from gateway.parts import Parts
from gateway.rounds.timekeeper import PLAN_EVERY_NS, Timekeeper
from gateway.sources.taps import Taps
from gateway.timing.clock import SteadyClock
from gateway.work_unit.runner import Runner, RunnerHooks

S = 10**9
HOUR = 3600 * S
SIX = 1_780_034_400 * S  # 2026-05-29T06:00:00Z
EARLY = CalendarRule(shifts={"F": ShiftRule(start=6 * 60, end=14 * 60)})
LATE = CalendarRule(shifts={"S": ShiftRule(start=14 * 60, end=22 * 60)})


class Bench:
    """One gateway's clock, store and a work unit; the wall clock is set by hand."""

    def __init__(
        self,
        store: Store,
        calendar: str | None = "early",
        wall_ns: int = SIX + HOUR,
        quality: TimeQuality = TimeQuality.TRUSTED,
    ) -> None:
        self.monotonic_ns, self.wall_ns = 10 * S, wall_ns
        self.quality = quality
        self.store = store
        self.clock = SteadyClock(
            0, lambda: self.wall_ns, lambda: self.monotonic_ns, judge=lambda _wall: self.quality, boot_id="b"
        )
        self.parts = Parts(Outbox(store), Taps(self.clock.now_ns), self.clock.utc_ns)
        self.runner = self.runner_of(calendar)
        self.parts.runners["M"] = self.runner
        self.keeper = Timekeeper(self.clock, store, self.parts, self.settings(calendar))

    @staticmethod
    def rules(calendar: str | None) -> WorkUnitRules:
        return WorkUnitRules(
            work_center="WC", counters=(CounterRule(mode="counter", signal="a.good"),), calendar=calendar
        )

    def settings(self, calendar: str | None):
        return SimpleNamespace(
            gateway=SimpleNamespace(timezone="UTC"),
            work_units={"M": self.rules(calendar)},
            calendars={"early": EARLY, "late": LATE},
        )

    def runner_of(self, calendar: str | None) -> Runner:
        identity = Identity(plant="P", epoch="e", gateway_id="g", line="", machine="M", work_center="WC")
        unit = WorkUnit(self.rules(calendar), identity)
        hooks = RunnerHooks(lambda _job: (), lambda *_: None, lambda: None, lambda _text: None)
        return Runner(
            unit,
            unit.initial(self.clock.now_ns()),
            self.store,
            now_ns=self.clock.now_ns,
            checkpoint_ns=S,
            idle_wake_ns=S // 100,
            hooks=hooks,
        )

    def later(self, length_ns: int, wall_step_ns: int = 0) -> None:
        """Time passes; the wall clock may be set besides."""
        self.monotonic_ns += length_ns
        self.wall_ns += length_ns + wall_step_ns

    @property
    def context(self):
        return self.runner.state.track.timeline.contexts[-1]

    @property
    def plan(self):
        return [(entry.planned, entry.from_ns) for entry in self.runner.state.track.plan]


@pytest.fixture
async def store(tmp_path):
    async with await Store.open(
        new_database.at(tmp_path / "linegate.db"), now_ns=lambda: SIX, max_bytes=2**26
    ) as store:
        yield store


@pytest.fixture
async def bench(store):
    bench = Bench(store)
    task = asyncio.create_task(bench.runner.run())
    yield bench
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_a_run_begins_with_is_kept(bench, store):
    await bench.keeper.start()
    assert (await clock_record.load(store)).boot_id == "b"
    assert [one.reason for one in await clock_record.corrections(store)] == [CorrectionReason.STARTED]


@pytest.mark.parametrize(("last_ns", "said"), [(0, []), (SIX, [HOUR // S])])
async def test_a_run_says_how_long_nothing_was_seen(bench, last_ns, said):
    bench.keeper._clock = SteadyClock(last_ns, lambda: bench.wall_ns, lambda: bench.monotonic_ns)
    with structlog.testing.capture_logs() as lines:
        await bench.keeper.start()
    assert [line["for_s"] for line in lines if line["event"].startswith("nothing was seen")] == said


async def test_a_machine_knows_its_hours_ahead(bench):
    await bench.keeper.look()
    assert (bench.context.planned, bench.context.shift) == (None, "2026-05-29/F")
    assert bench.plan[:2] == [(MachineState.NOT_SCHEDULED, SIX + 8 * HOUR), (None, SIX + 24 * HOUR)]
    stored = (await bench.store.snapshots())["M"]
    assert snapshot.load(bench.runner.unit, stored).track.plan == bench.runner.state.track.plan


async def test_a_clock_that_was_set_is_followed_kept_and_told(bench, store):
    await bench.keeper.start()
    await bench.keeper.look()
    bench.later(120 * S, wall_step_ns=8 * HOUR)
    await bench.keeper.look()
    assert bench.runner.state.utc_offset_ns == 8 * HOUR
    assert bench.context.planned is MachineState.NOT_SCHEDULED, "it was 15:02 all along"
    assert bench.plan[0] == (None, SIX + 16 * HOUR), "at 06:00 by the clock that is right"
    kept = await clock_record.corrections(store)
    assert [one.reason for one in kept] == [CorrectionReason.STARTED, CorrectionReason.STEPPED]
    assert (await clock_record.load(store)).offset_ns == 8 * HOUR


async def test_a_plan_is_made_anew_in_time_and_not_with_every_look(bench):
    await bench.keeper.look()
    first = bench.runner.state.journal_seq, bench.plan
    bench.later(10 * S)
    await bench.keeper.look()
    assert bench.plan == first[1]
    bench.later(int(PLAN_EVERY_NS))
    bench.runner.state = bench.runner.state._replace(track=bench.runner.state.track._replace(plan=()))
    await bench.keeper.look()
    assert bench.plan[:2] == first[1][:2]


async def test_other_settings_are_taken_with_the_next_look(bench):
    await bench.keeper.look()
    bench.keeper.configure(bench.settings("late"))
    await bench.keeper.look()
    assert bench.context.planned is MachineState.NOT_SCHEDULED
    assert bench.plan[0] == (None, SIX + 8 * HOUR)


async def test_no_hours_are_planned_for_a_date_that_is_certainly_wrong(store):
    bench = Bench(store, wall_ns=60 * S, quality=TimeQuality.IMPLAUSIBLE)
    task = asyncio.create_task(bench.runner.run())
    await bench.keeper.look()
    assert bench.plan == []
    assert bench.context.planned is None, "nobody knows; it is not taken for a holiday of 1970"
    bench.wall_ns, bench.quality = SIX + HOUR, TimeQuality.SYNCHRONISED
    await bench.keeper.look()
    assert bench.context.planned is None
    assert bench.plan[0] == (MachineState.NOT_SCHEDULED, SIX + 8 * HOUR - bench.clock.offset_ns)
    task.cancel()


async def test_a_machine_hears_whether_somebody_vouches_for_the_time(bench):
    await bench.keeper.look()
    assert bench.runner.state.clocks.known
    bench.quality = TimeQuality.UNSYNCHRONISED
    await bench.keeper.look()
    assert bench.runner.state.clocks.known, "it was known, and is carried on"
    bench.clock = SteadyClock(
        bench.clock.now_ns(), lambda: bench.wall_ns, lambda: bench.monotonic_ns, judge=lambda _wall: bench.quality
    )
    keeper = Timekeeper(bench.clock, bench.store, bench.parts, bench.settings(None))
    await keeper.look()
    assert not bench.runner.state.clocks.known
    bench.quality = TimeQuality.SYNCHRONISED
    await keeper.look()
    assert bench.runner.state.clocks.known


async def test_without_a_calendar_it_always_works(store):
    bench = Bench(store, calendar=None)
    await bench.keeper.look()
    assert bench.runner.state.track.plan == ()
    assert bench.context.planned is None


async def test_a_disk_that_fails_is_told_and_tried_again(bench, store, monkeypatch):
    await bench.keeper.start()
    bench.later(120 * S, wall_step_ns=HOUR)
    saved = clock_record.save

    async def full(*_args):
        raise StoreError("the disk is full", temporary=True)

    monkeypatch.setattr(clock_record, "save", full)
    await bench.keeper.look()
    assert "cannot be kept: the disk is full" in " ".join(bench.parts.troubles())
    assert bench.runner.state.utc_offset_ns == HOUR, "told nevertheless"
    monkeypatch.setattr(clock_record, "save", saved)
    await bench.keeper.look()
    assert bench.parts.troubles() == ()
    assert len(await clock_record.corrections(store)) == 2
