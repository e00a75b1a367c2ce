"""Since when nothing is known of each machine, by what is left of the lost database, and who is told."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import new_database
import pytest

from buffer import damage
from buffer.mark import Mark, Sent
from buffer.remains import Remains
from buffer.step import Step
from buffer.store import Store
from gateway.core import snapshot
from gateway.core.calendar.honest_time import TimeQuality
from gateway.core.document import Identity
from gateway.core.model import DataValue, Status
from gateway.core.rate import Rate
from gateway.core.rules import CounterRule, WorkUnitRules
from gateway.core.work_unit import WorkUnit
from gateway.starting import lost_units
from gateway.work_unit.runner import Runner, RunnerHooks

S = 1_000_000_000
NOW_NS = 1_780_000_000 * S
WRITTEN_NS = NOW_NS - 9 * S


class Clock:
    """A clock that stands."""

    def __init__(self, quality):
        self.quality, self.offset_ns = quality, 0

    def now_ns(self):
        return NOW_NS


def unit_of(name):
    rule = CounterRule(mode="counter", signal="plc.good", max_rate=Rate.parse("2/s"))
    place = Identity(plant="P", epoch="e", gateway_id="g", line="L", machine=name, work_center=name)
    return WorkUnit(WorkUnitRules(work_center=name, counters=(rule,)), place)


def state_of(name):
    unit = unit_of(name)
    state, _ = unit.handle(unit.initial(NOW_NS - 60 * S), DataValue("plc.good", 41, Status.GOOD, None, NOW_NS - 50 * S))
    return snapshot.dump(unit, state)


def runner_of(unit, store):
    hooks = RunnerHooks(
        targets=lambda _: (), committed=lambda *_: None, alive=lambda: None, trouble=lambda _: None
    )  # fmt: skip
    state = unit.initial(NOW_NS)
    return Runner(unit, state, store, now_ns=lambda: NOW_NS, checkpoint_ns=S, idle_wake_ns=S, hooks=hooks)


async def run(store, names, *, left=()):
    """One start of a gateway with these machines: what each is told; ``left`` commit a state behind it."""
    parts = SimpleNamespace(runners={name: runner_of(unit_of(name), store) for name in names})
    assert await lost_units.tell_lost(parts, store, Clock(TimeQuality.TRUSTED)) is parts
    waiting = {name: one._queue.qsize() for name, one in parts.runners.items()}
    for name in left:
        runner = parts.runners[name]
        runner.drain()
        await runner.run()
        if not waiting[name]:
            await store.commit(Step(name, snapshot.dump(runner.unit, runner.state), NOW_NS))
    return waiting


@pytest.fixture
def opened(tmp_path):
    """Opens the database of a folder, as often as it is asked."""

    @contextlib.asynccontextmanager
    async def open_store():
        store = await Store.open(
            new_database.at(tmp_path / "linegate.db"), now_ns=lambda: NOW_NS, max_bytes=2**26, reserve_bytes=0
        )
        try:
            yield store
        finally:
            await store.close()

    return open_store


STATE = {"states": {"M1": state_of("M1")}}
CONFIRMED = {"confirmed_ns": {"M1": NOW_NS - 40 * S}}


@pytest.mark.parametrize(
    ("left", "sent_ns", "names", "since_ns", "value", "measured"),
    [
        (STATE | CONFIRMED, NOW_NS - 30 * S, ("M1",), NOW_NS - 50 * S, 41, True),
        ({"states": {"M1": b"rubbish"}} | CONFIRMED, NOW_NS - 30 * S, ("M1",), NOW_NS - 40 * S, None, True),
        (CONFIRMED | {"offset_ns": 3 * S}, 0, ("M1",), NOW_NS - 37 * S, None, True),
        ({}, NOW_NS - 30 * S, ("M1",), NOW_NS - 30 * S, None, True),
        ({}, NOW_NS - 30 * S, ("M1", "M2"), NOW_NS - 30 * S, None, False),  # the mark names no machine
        ({}, 0, ("M1",), WRITTEN_NS, None, False),
        ({"written_ns": 0}, 0, ("M1",), 0, None, False),  # since whenever
    ],
)
def test_since_when(left, sent_ns, names, since_ns, value, measured):
    found = Remains({}, {}, None, WRITTEN_NS)._replace(**left)
    clock = Clock(TimeQuality.TRUSTED)
    (one,) = lost_units.lost_of(unit_of("M1"), found, sent_ns, clock, alone=len(names) == 1).counters
    assert (one.since_ns, one.value, one.measured) == (since_ns, value, measured)


def test_a_clock_that_nobody_vouches_for_measures_nothing():
    found = Remains(STATE["states"], {}, None, WRITTEN_NS)
    (one,) = lost_units.lost_of(unit_of("M1"), found, 0, Clock(TimeQuality.UNSYNCHRONISED), alone=True).counters
    assert (one.value, one.measured) == (41, False)


async def test_a_new_plant_has_lost_nothing(opened):
    async with opened() as store:
        assert await run(store, ["M1"]) == {"M1": 0}


async def test_who_went_on_is_told_once_and_who_came_later_lost_nothing(tmp_path, opened):
    """The process dies between two commits: one machine has begun anew, the other is told at the next start."""
    path = tmp_path / "linegate.db"
    async with opened() as store:
        await run(store, ["M1", "M2"], left=["M1", "M2"])
    damage.set_aside(path, at_ns=17)
    (tmp_path / "linegate.db.damaged-9").write_bytes(b"an older one")
    async with opened() as store:
        assert await run(store, ["M1", "M2"]) == {"M1": 1, "M2": 1}
    async with opened() as store:
        assert await run(store, ["M1", "M2"], left=["M2"]) == {"M1": 1, "M2": 1}, "nothing was committed"
    async with opened() as store:
        assert await run(store, ["M1", "M2", "M3"], left=["M1"]) == {"M1": 1, "M2": 0, "M3": 0}
        rows = await store.read("SELECT kind FROM journal WHERE work_unit = 'M1'", ())
        assert [kind for (kind,) in rows] == ["notice"]
    async with opened() as store:
        assert await run(store, ["M1", "M2", "M3"]) == {"M1": 0, "M2": 0, "M3": 0}


async def test_a_database_that_is_gone_altogether_is_known_by_the_mark(tmp_path, opened):
    mark = Mark(tmp_path / "linegate.db")
    mark.begin("e1")
    mark.append([Sent("erp", 1, "k", "partial", "1", "10", 1, 1, "d", NOW_NS - S, "", "1", "0", "0")], {})
    mark.close()
    async with opened() as store:
        assert await run(store, ["M1"]) == {"M1": 1}
