"""Listening for recordings: bounded in number, in what waits, and in time; no gap is ever passed over."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.model import DataValue, Status, TimePassed
from gateway.sources.taps import ABANDONED_AFTER_NS, TAPS_MAX, WAITING_MAX, Taps
from gateway.tasks import Tasks

VALUE = DataValue("plc.good", 1, Status.GOOD, None, 5)


class Clock:
    def __init__(self):
        self.ns = 10**18

    def now_ns(self):
        return self.ns


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def taps(clock):
    return Taps(clock.now_ns)


def test_each_hears_its_own_only(taps):
    machine, source = taps.open("machine", "plc"), taps.open("source", "plc")
    taps.heard("machine", "plc", [VALUE, TimePassed(6)])
    taps.heard("machine", "other", [VALUE])
    taps.heard("source", "plc", [VALUE, VALUE])
    assert machine.take(10) == [["v", 5, "plc.good", 1, 0, None]]
    assert len(source.take(10)) == 2
    taps.close(machine)
    taps.heard("machine", "plc", [VALUE])
    assert machine.take(10) == []


def test_what_nobody_fetches_ends_the_recording_without_a_gap(taps):
    tap = taps.open("source", "plc")
    for at in range(WAITING_MAX + 10):
        taps.heard("source", "plc", [VALUE._replace(value=at)])
    assert tap.full
    first = tap.take(100)
    taps.heard("source", "plc", [VALUE])
    rest = tap.take(2 * WAITING_MAX)
    assert [row[3] for row in first + rest] == list(range(WAITING_MAX))


def test_so_many_at_once_and_given_up_when_nobody_asks(taps, clock):
    opened = [taps.open("source", "plc") for _ in range(TAPS_MAX)]
    assert taps.open("source", "plc") is None
    clock.ns += ABANDONED_AFTER_NS - 1
    assert taps.touch(opened[0])
    clock.ns += 2
    assert taps.open("source", "plc") is not None
    assert [taps.is_open(tap) for tap in opened] == [True, False, False, False]
    assert not taps.touch(opened[1])


async def test_tasks_are_stopped_on_purpose_or_heard_of():
    tasks = Tasks()

    async def fail():
        raise ValueError("broken")

    async def end():
        pass

    tasks.start("work a", asyncio.Event().wait())
    tasks.start("work b", end())
    tasks.start("source c", asyncio.Event().wait())
    assert tasks.names("work") == ["work a", "work b"]
    await tasks.stop(["work a", "nobody"])
    tasks.start("work a", fail())
    async with asyncio.timeout(60):
        failed = await tasks.failed()
    assert (failed.get_name(), str(failed.exception())) == ("work a", "broken")
    assert tasks.names("work") == []
    await tasks.finish(["source c"], 0.01)
    assert tasks.names("source") == []
