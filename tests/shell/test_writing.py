"""Writing a signal on a person's word: what is allowed, what reaches the driver, and what is written down."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import new_database
import pytest

import drivers.supervisor
from buffer import audit
from buffer.errors import StoreError
from buffer.store import Store
from config.loader import load
from drivers.base import DriverError, Reading, WriteRefusedError, WriteUnverifiedError
from drivers.signal import SignalCommon
from drivers.supervisor import SourceSupervisor
from gateway.core.model import DataValue, Status
from gateway.sources.writing import SignalWriter, WritingError

NOW_NS = 1_795_000_000_000_000_000
CONFIG = """\
gateway: { id: box, plant: P, state_dir: state }
sources:
  plc:
    driver: bench
    signals:
      job: { writable: { max_length: 8 } }
      speed: { writable: { min: "0", max: "99.5" } }
      good: {}
work_units:
  M-1: { work_center: WC, ideal_cycle: 1 s, counters: [{ mode: counter, signal: plc.good }] }
connectors:
  erp: { connector: bench }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    driver: Literal["bench"]
    signals: dict[str, SignalCommon] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErpSettings:
    connector: Literal["bench"]


@dataclass(frozen=True)
class Plugin:
    name: str
    settings: type[Any]


class Device:
    """A driver whose writes end as the test says."""

    def __init__(self):
        self.ends_with = None
        self.written = []
        self.seen = None  # rows of the audit at the moment of the write
        self.store = None

    async def open(self):
        pass

    async def readings(self):
        yield Reading((DataValue("plc.speed", 7, Status.GOOD, None, NOW_NS),))
        await asyncio.sleep(3600)

    async def close(self):
        pass

    async def write(self, signal, value):
        self.seen = await rows(self.store)
        if self.ends_with is not None:
            raise self.ends_with
        self.written.append((signal, value))

    def problems(self):
        return {}

    def notices(self):
        return {}


async def rows(store):
    """The audit, oldest first, without numbers and times that every row has."""
    found = [audit.AuditRow(*row) for row in await store.read(*audit.newest_query(100))][::-1]
    assert [row.seq for row in found] == list(range(1, len(found) + 1))
    return [(row.entity, row.old, row.new, row.outcome, row.about) for row in found]


class Bench:
    def __init__(self, settings, store):
        self.device = Device()
        self.device.store = self.store = store
        self.supervisor = SourceSupervisor(
            name="plc",
            make_driver=lambda: self.device,
            rule_signals=(),
            now_ns=lambda: NOW_NS,
            deliver=self._deliver,
            stale_after_ns=10**12,
            backoff_max_ns=1,
            rng=random.Random(1),
            remembered=frozenset({"plc.speed", "plc.job"}),
        )
        self.writer = SignalWriter(settings, {"plc": self.supervisor}, store, lambda: NOW_NS)
        self.reading = asyncio.Event()

    async def _deliver(self, _reading):
        self.reading.set()

    async def write(self, signal, text, who="ann", reason="because"):
        return await self.writer.write(signal, text, who=who, reason=reason)

    async def refused(self, signal, text):
        with pytest.raises(WritingError) as caught:
            await self.write(signal, text)
        return str(caught.value)


@pytest.fixture
async def store(tmp_path):
    store = await Store.open(
        new_database.at(tmp_path / "linegate.db"), now_ns=lambda: NOW_NS, max_bytes=64 * 1024 * 1024
    )
    yield store
    await store.close()


@pytest.fixture
def stopped(tmp_path, store):
    """A source that nobody started."""
    path = tmp_path / "linegate.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    settings = load(
        path,
        drivers={"bench": Plugin("bench", BenchSettings)},
        connectors={"bench": Plugin("bench", ErpSettings)},
        env={},
    )
    return Bench(settings, store)


@pytest.fixture
async def bench(stopped):
    """A source that is up."""
    task = asyncio.create_task(stopped.supervisor.run())
    async with asyncio.timeout(60):
        await stopped.reading.wait()
    yield stopped
    task.cancel()
    await asyncio.wait({task})


async def test_a_write_stands_in_the_audit_before_it_happens_and_after(bench):
    assert await bench.write("plc.speed", "12.5") == "plc.speed: wrote 12.5 (it was 7)"
    assert bench.device.written == [("speed", 12.5)]
    attempt = ("plc.speed", "7", "12.5", "attempted", None)
    assert bench.device.seen == [attempt], "durable before the driver was asked"
    assert await rows(bench.store) == [attempt, ("plc.speed", "7", "12.5", "done", 1)]
    ((at_ns, actor, action, reason),) = await bench.store.read(
        "SELECT DISTINCT at_ns, actor, action, reason FROM audit", ()
    )
    assert (at_ns, actor, action, reason) == (NOW_NS, "ann", "write", "because")


async def test_an_unknown_old_value_is_not_made_up(bench):
    assert await bench.write("plc.job", "4711") == "plc.job: wrote 4711"
    assert await rows(bench.store) == [
        ("plc.job", None, "4711", "attempted", None),
        ("plc.job", None, "4711", "done", 1),
    ]


@pytest.mark.parametrize(
    ("signal", "text", "said"),
    [
        ("plc.speed", "99.6", ":7:26: sources.plc.signals.speed.writable: found '99.6', allowed: 0 to 99.5"),
        ("plc.job", "123456789", "writable: found '123456789', allowed: printable text of up to 8 characters"),
        ("plc.good", "1", "linegate.yaml:8:13: sources.plc.signals.good.writable: found nothing, allowed: limits (min"),
        ("plc.jab", "1", "found 'plc.jab', source 'plc' has no such signal; allowed: plc.job, plc.speed; did you mean"),
        ("box.job", "1", "found 'box.job', there is no such source; allowed: plc.job, plc.speed"),
        ("job", "1", "found 'job', there is no such source"),
    ],
)
async def test_a_refused_attempt_is_told_and_written_down(bench, signal, text, said):
    assert said in await bench.refused(signal, text)
    assert await rows(bench.store) == [(signal, None, text, "refused", None)]
    (detail,) = (await bench.store.read("SELECT detail FROM audit", ()))[0]
    assert said in detail
    assert bench.device.seen is None, "the driver was never asked"


@pytest.mark.parametrize(
    ("ends_with", "said", "outcome"),
    [
        (WriteRefusedError("exception 2"), "plc.job: not written: exception 2", "failed"),
        (WriteUnverifiedError("reads 7"), "plc.job: written, but not verified: reads 7", "unverified"),
        (DriverError("no answer"), "plc.job: it is not known whether it was written: no answer", "unknown"),
        (ZeroDivisionError("oops"), "plc.job: it is not known whether it was written: the driver failed", "unknown"),
    ],
)
async def test_how_an_attempt_can_end(bench, ends_with, said, outcome):
    bench.device.ends_with = ends_with
    assert said in await bench.refused("plc.job", "A")
    assert [row[3:] for row in await rows(bench.store)] == [("attempted", None), (outcome, 1)]


async def test_a_source_that_is_down_is_not_written_to(stopped):
    assert "plc.job: not written: source plc is not up" in await stopped.refused("plc.job", "A")
    assert [row[3] for row in await rows(stopped.store)] == ["attempted", "failed"]


async def test_what_cannot_be_written_down_is_not_done(bench, store):
    await store.close()
    with pytest.raises(StoreError):
        await bench.write("plc.job", "A")
    assert (bench.device.seen, bench.device.written) == (None, [])


async def test_an_end_that_cannot_be_written_down_is_told_with_it(bench, store):
    async def write_and_lose_the_disk(signal, value):
        bench.device.written.append((signal, value))
        await store.close()

    bench.device.write = write_and_lose_the_disk
    said = await bench.refused("plc.job", "A")
    assert said.startswith("plc.job: wrote A; this end could not be written down: ")
    assert bench.device.written == [("job", "A")]


async def test_an_answer_that_never_comes_is_unknown(bench, monkeypatch):
    monkeypatch.setattr(drivers.supervisor, "WRITE_TIMEOUT_S", 0.05)

    async def hang(_signal, _value):
        await asyncio.sleep(3600)

    bench.device.write = hang
    assert "not confirmed within 0.05 s" in await bench.refused("plc.job", "A")
    assert [row[3] for row in await rows(bench.store)] == ["attempted", "unknown"]


async def test_a_driver_that_was_given_no_turn_in_time_says_that_nothing_was_sent(bench, monkeypatch):
    monkeypatch.setattr(drivers.supervisor, "WRITE_TIMEOUT_S", 0.05)

    async def wait_for_a_turn(_signal, _value):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError as error:
            raise WriteRefusedError("was not sent") from error

    bench.device.write = wait_for_a_turn
    assert "plc.job: not written: was not sent" in await bench.refused("plc.job", "A")
    assert [row[3] for row in await rows(bench.store)] == ["attempted", "failed"]


async def test_what_steers_a_terminal_is_not_written_down(bench):
    await bench.refused("plc.\x1b[2J", "\x1b[2J\n")
    ((entity, new, detail),) = await bench.store.read("SELECT entity, new, detail FROM audit", ())
    assert (entity + new + detail).isprintable()
