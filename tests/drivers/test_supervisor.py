import asyncio
import random

import pytest
from kept_waiting import Deadline
from structlog.testing import capture_logs

import drivers.supervisor as supervisor_module
from drivers.base import DriverError, Reading, TelemetryBlock, WriteRefusedError
from drivers.supervisor import SourceSupervisor
from gateway.core.model import DataValue, Status

MS = 1_000_000
SIGNALS = ("plc.good", "plc.scrap")


def value(number, status=Status.GOOD):
    return Reading(values=(DataValue("plc.good", number, status, None, number),))


class ScriptedDriver:
    """Plays steps: a reading, an exception to raise, or a number of seconds to be silent."""

    def __init__(self, *steps, open_step=None):
        self.steps = steps
        self.open_step = open_step
        self.closed = 0
        self.bad = {}
        self.told = {}
        self.written = []

    async def open(self):
        if isinstance(self.open_step, BaseException):
            raise self.open_step
        if self.open_step is not None:
            await asyncio.sleep(self.open_step)

    async def readings(self):
        for step in self.steps:
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, Reading):
                yield step
            else:
                await asyncio.sleep(step)
        await asyncio.sleep(3600)

    async def close(self):
        self.closed += 1

    async def write(self, signal, value):
        self.written.append((signal, value))

    def problems(self):
        return self.bad

    def notices(self):
        return self.told


class DeafDriver(ScriptedDriver):
    """Ignores cancellation, in reading as in closing, until it is released."""

    def __init__(self):
        super().__init__()
        self.release = asyncio.Event()
        self.reading = asyncio.Event()

    async def _hang(self):
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                continue

    async def readings(self):
        yield value(1)
        self.reading.set()
        await self._hang()
        yield value(666)

    async def close(self):
        self.closed += 1
        await self._hang()


class Bench:
    """A supervisor with what it delivered and announced."""

    def __init__(
        self, *drivers, stale_ms=5_000, backoff_max_ms=10, rng=None, deliver=None, then=None, name="plc", **more
    ):
        self.drivers = list(drivers)
        self.made = []
        self.then = then or (lambda: ScriptedDriver(open_step=DriverError("refused")))
        self.readings = []
        self.statuses = []
        self.clock_ns = 0
        self.supervisor = SourceSupervisor(
            name=name,
            make_driver=self._make,
            rule_signals=SIGNALS,
            now_ns=lambda: self.clock_ns,
            deliver=deliver or self._deliver,
            stale_after_ns=stale_ms * MS,
            backoff_max_ns=backoff_max_ms * MS,
            rng=rng or random.Random(1),
            on_status=self.statuses.append,
            **more,
        )

    def _make(self):
        driver = self.drivers.pop(0) if self.drivers else self.then()
        self.made.append(driver)
        return driver

    async def _deliver(self, reading):
        self.readings.append(reading)

    @property
    def bad(self):
        return [r for r in self.readings if r.values and all(v.status is Status.BAD for v in r.values)]


@pytest.fixture
async def run():
    tasks, benches = [], []

    def start(bench):
        task = asyncio.create_task(bench.supervisor.run())
        tasks.append(task)
        benches.append(bench)
        return task

    yield start
    for driver in [driver for bench in benches for driver in bench.made if isinstance(driver, DeafDriver)]:
        driver.release.set()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def ends(task, limit_s):
    """Whether it ends within so much time in which the computer lets it run."""
    limit = Deadline(limit_s)
    while not task.done() and not limit.over():
        await asyncio.wait({task}, timeout=0.02)
    return task.done()


async def test_a_loss_is_told_once_as_bad_for_every_rule_signal(run, until):
    bench = Bench(ScriptedDriver(value(1), value(2), DriverError("cable pulled")))
    bench.clock_ns = 77
    run(bench)
    await until(lambda: len(bench.made) > 4)
    assert bench.readings[:2] == [value(1), value(2)]
    assert bench.readings[2:] == [Reading(values=tuple(DataValue(s, None, Status.BAD, None, 77) for s in SIGNALS))]
    assert bench.supervisor.status.last_error == "refused"
    assert any(s.last_error == "cable pulled" for s in bench.statuses)


async def test_each_loss_after_good_values_is_told_again(run, until):
    bench = Bench(then=lambda: ScriptedDriver(value(1), DriverError("flaky")))
    run(bench)
    await until(lambda: len(bench.bad) >= 3)
    kinds = ["bad" if r in bench.bad else "good" for r in bench.readings]
    assert kinds[:6] == ["good", "bad"] * 3
    assert bench.supervisor.status.reconnects >= 2


async def test_a_source_that_never_connects_delivers_nothing_but_shows(run, until):
    bench = Bench()
    assert bench.supervisor.status.state == "connecting"
    run(bench)
    await until(lambda: len(bench.made) > 3)
    assert bench.readings == []
    assert bench.statuses[0].state == "connecting"
    waiting = [s for s in bench.statuses if s.next_retry_ns is not None]
    assert waiting[-1].state == "down"
    assert waiting[-1].last_error == "refused"
    assert waiting[-1].last_value_ns is None
    assert all(driver.closed == 1 for driver in bench.made[:-1])


async def test_empty_readings_and_telemetry_alone_need_no_bad(run, until):
    block = TelemetryBlock(("plc.t",), (1.5,), 42)
    bench = Bench(ScriptedDriver(Reading(), Reading(blocks=(block,)), DriverError("gone")))
    run(bench)
    await until(lambda: len(bench.made) > 1)
    assert bench.readings == [Reading(), Reading(blocks=(block,))]
    assert bench.supervisor.status.last_value_ns == 42


async def test_silence_is_a_loss_and_signs_of_life_are_not(run, until):
    quiet = ScriptedDriver(value(1), 0.7, Reading(), 0.7, Reading(), 0.7, Reading())
    bench = Bench(quiet, stale_ms=2_000)
    run(bench)
    await until(lambda: bench.bad)
    assert bench.readings[:4] == [value(1), Reading(), Reading(), Reading()]
    await until(lambda: quiet.closed)
    assert quiet.closed == 1
    assert any("nothing heard for 2 s" in s.last_error for s in bench.statuses)


async def test_time_in_the_receiver_is_not_silence(run, until):
    gate = asyncio.Event()
    got = []

    async def slow(reading):
        got.append(reading)
        if len(got) == 1:
            await gate.wait()

    bench = Bench(ScriptedDriver(value(1), value(2)), stale_ms=50, deliver=slow)
    task = run(bench)
    done, _ = await asyncio.wait({task}, timeout=0.2)
    assert not done
    assert got == [value(1)], "back-pressure holds the driver"
    assert bench.supervisor.status.state == "up"
    gate.set()
    await until(lambda: value(2) in got)


async def test_a_failing_receiver_ends_the_supervisor(run):
    async def fail(reading):
        raise ZeroDivisionError("defect in the core")

    bench = Bench(ScriptedDriver(value(1)), deliver=fail)
    with pytest.raises(ZeroDivisionError):
        await run(bench)
    assert bench.made[0].closed == 1


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        (lambda: ScriptedDriver(value(1), KeyError("oops")), "KeyError"),
        (lambda: ScriptedDriver(open_step=ValueError("odd")), "ValueError: odd"),
        (lambda: ScriptedDriver(value(1), asyncio.CancelledError()), "cancelled itself"),
    ],
)
async def test_defects_of_a_driver_are_losses_with_their_type(run, until, driver, words):
    bench = Bench(driver())
    run(bench)
    await until(lambda: len(bench.made) > 1)
    assert any(words in s.last_error for s in bench.statuses)


async def test_a_driver_that_cannot_be_made_is_a_loss(run, until):
    def broken():
        raise ImportError("no such library")

    bench = Bench(then=broken)
    run(bench)
    await until(lambda: any(s.next_retry_ns is not None for s in bench.statuses))
    assert bench.supervisor.status.last_error == "ImportError: no such library"


async def test_connecting_has_a_time_limit(run, until, monkeypatch):
    monkeypatch.setattr(supervisor_module, "OPEN_TIMEOUT_S", 0.05)
    slow = ScriptedDriver(open_step=3600)
    bench = Bench(slow)
    run(bench)
    await until(lambda: len(bench.made) > 1)
    assert slow.closed == 1
    assert any("no connection within 0.05 s" in s.last_error for s in bench.statuses)


class RecordingRandom(random.Random):
    def __init__(self):
        super().__init__(1)
        self.asked = []

    def uniform(self, a, b):
        self.asked.append((a, b))
        return 0.0


async def test_backoff_doubles_to_its_limit_with_full_jitter(run, until):
    rng = RecordingRandom()
    bench = Bench(rng=rng, backoff_max_ms=20_000)
    run(bench)
    await until(lambda: len(rng.asked) >= 8)
    assert rng.asked[:8] == [(0.0, c) for c in (1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0, 20.0)]


async def test_backoff_starts_again_after_health_only(run, until, monkeypatch):
    monkeypatch.setattr(supervisor_module, "HEALTHY_AFTER_S", 0.5)
    rng = RecordingRandom()
    refused = [ScriptedDriver(open_step=DriverError("no")) for _ in range(3)]
    flaky = ScriptedDriver(value(1), DriverError("at once"))
    healthy = ScriptedDriver(value(1), 0.6, DriverError("later"))
    bench = Bench(*refused, flaky, healthy, rng=rng, backoff_max_ms=60_000)
    run(bench)
    await until(lambda: len(rng.asked) >= 6)
    assert [ceiling for _, ceiling in rng.asked[:6]] == [1.0, 2.0, 4.0, 8.0, 1.0, 2.0]


async def test_cancellation_closes_a_well_behaved_driver(run, until):
    driver = ScriptedDriver(value(1))
    bench = Bench(driver)
    task = run(bench)
    await until(lambda: bench.readings)
    task.cancel()
    assert await ends(task, 0.3)
    assert driver.closed == 1
    assert bench.bad == [], "a shutdown is not a loss"


async def test_cancellation_takes_one_second_at_most_with_a_deaf_driver(run):
    driver = DeafDriver()
    task = run(Bench(driver))
    await driver.reading.wait()
    task.cancel()
    assert await ends(task, 1.0), "a hanging driver must not hold the gateway"
    assert driver.closed == 1
    driver.release.set()


async def test_a_deaf_driver_is_replaced_and_its_late_value_never_arrives(run, until):
    deaf = DeafDriver()
    fresh = ScriptedDriver(value(2), 0.01, value(3))
    bench = Bench(deaf, fresh, stale_ms=1_000)
    run(bench)
    await until(lambda: value(2) in bench.readings)
    deaf.release.set()
    await until(lambda: value(3) in bench.readings)
    assert value(666) not in bench.readings
    assert len(bench.bad) == 1


async def test_one_hanging_source_does_not_touch_another(run, until):
    deaf = DeafDriver()
    hanging = Bench(deaf, stale_ms=30, name="deaf")
    working = Bench(ScriptedDriver(*[step for n in range(1, 40) for step in (value(n), 0.02)]), name="fine")
    run(hanging)
    run(working)
    await until(lambda: len(working.readings) == 39)
    assert working.bad == []
    assert working.supervisor.status.state == "up"
    assert hanging.supervisor.status.state == "down"
    deaf.release.set()


async def test_problems_of_single_signals_show_while_up(run, until, monkeypatch):
    monkeypatch.setattr(supervisor_module, "PROBLEMS_EVERY_S", 0.0)
    driver = ScriptedDriver(value(1), 0.02, value(2), 0.02, DriverError("gone"))
    driver.bad = {"plc.scrap": "exception 2"}
    bench = Bench(driver)
    run(bench)
    await until(lambda: len(bench.made) > 1)
    assert any(s.state == "up" and s.problems == {"plc.scrap": "exception 2"} for s in bench.statuses)
    assert bench.supervisor.status.problems == {}


async def test_repeated_losses_are_logged_at_once_then_seldom_with_their_number(run, until, monkeypatch):
    monkeypatch.setattr(supervisor_module, "LOG_REPEATS_EVERY_S", 0.5)
    with capture_logs() as logs:
        bench = Bench(rng=RecordingRandom())
        run(bench)
        await until(lambda: len([entry for entry in logs if entry["event"] == "source.lost"]) >= 2)
        losses = [entry for entry in logs if entry["event"] == "source.lost"]
    assert losses[0]["source"] == "plc"
    assert losses[0]["error"] == "refused"
    assert losses[0]["repeats"] == 0
    assert losses[1]["repeats"] >= 2
    assert len(losses) < len(bench.made) / 2


# --- values, not only signs of life ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sign",
    [Reading(), value(None, Status.BAD), Reading(blocks=(TelemetryBlock(("plc.t",), (None,), 1),))],
    ids=["empty", "bad", "empty block"],
)
async def test_signs_of_life_without_values_are_a_loss_where_values_are_wanted(run, until, sign):
    alive = ScriptedDriver(value(1), *[step for _ in range(2000) for step in (0.02, sign)])
    bench = Bench(alive, stale_ms=5_000, values_stale_after_ns=500 * MS)
    run(bench)
    await until(lambda: len(bench.made) > 1)
    assert any("no value for 500 ms, only signs of life" in s.last_error for s in bench.statuses)
    assert alive.closed == 1
    assert len(bench.readings) > 2


@pytest.mark.parametrize("fresh", [value(1), Reading(blocks=(TelemetryBlock(("plc.t",), (1,), 1),))])
async def test_values_in_time_keep_the_link(run, until, fresh):
    lively = ScriptedDriver(*[step for _ in range(20) for step in (fresh, 0.02)], DriverError("the end"))
    bench = Bench(lively, values_stale_after_ns=2_000 * MS)
    run(bench)
    await until(lambda: len(bench.made) > 1)
    assert len([r for r in bench.readings if r == fresh]) == 20
    assert not any("no value" in s.last_error for s in bench.statuses)


async def test_whichever_silence_is_longer_ago_ends_it(run, until):
    bench = Bench(ScriptedDriver(value(1)), stale_ms=60, values_stale_after_ns=10_000 * MS)
    run(bench)
    await until(lambda: len(bench.made) > 1)
    assert any("nothing heard for 60 ms" in s.last_error for s in bench.statuses)


async def test_the_last_value_is_the_last_good_one(run, until):
    mixed = Reading(
        values=(DataValue("plc.good", 5, Status.GOOD, None, 50), DataValue("plc.x", 1, Status.BAD, None, 51))
    )
    bench = Bench(ScriptedDriver(value(7), mixed, value(60, Status.UNCERTAIN), value(70, Status.BAD), Reading()))
    run(bench)
    await until(lambda: len(bench.readings) == 5)
    assert bench.supervisor.status.last_value_ns == 50


# --- what a driver tells, and what it does wrong ---------------------------------------------------------------------


async def test_notices_show_while_up(run, until, monkeypatch):
    monkeypatch.setattr(supervisor_module, "PROBLEMS_EVERY_S", 0.0)
    driver = ScriptedDriver(value(1), 0.02, value(2), DriverError("gone"))
    driver.told = {"clock": "the device's clock shows 2000-01-01"}
    bench = Bench(driver)
    run(bench)
    await until(lambda: len(bench.made) > 1)
    assert any(s.state == "up" and s.notices == driver.told for s in bench.statuses)
    assert bench.supervisor.status.notices == {}


async def test_what_a_driver_tells_is_bounded(run, until, monkeypatch):
    monkeypatch.setattr(supervisor_module, "PROBLEMS_EVERY_S", 0.0)
    driver = ScriptedDriver(value(1))
    driver.bad = {f"plc.{n}": "x" * 10_000 for n in range(5_000)}
    bench = Bench(driver)
    run(bench)
    problems = await until(lambda: bench.supervisor.status.problems)
    assert (len(problems), problems["..."]) == (201, "and 4800 more")
    assert max(map(len, problems.values())) == 500


@pytest.mark.parametrize("what", ["problems", "notices"])
@pytest.mark.parametrize("told", [ZeroDivisionError("oops"), None, 7])
async def test_a_driver_that_cannot_tell_goes_on_reading(run, until, monkeypatch, what, told):
    monkeypatch.setattr(supervisor_module, "PROBLEMS_EVERY_S", 0.0)

    def tell():
        if isinstance(told, Exception):
            raise told
        return told

    driver = ScriptedDriver(value(1), 0.02, value(2))
    setattr(driver, what, tell)
    bench = Bench(driver)
    run(bench)
    await until(lambda: value(2) in bench.readings)
    notice = await until(lambda: bench.supervisor.status.notices)
    assert notice["driver"].startswith(f"{what}() of the driver failed (")
    assert bench.supervisor.status.state == "up"


async def test_a_driver_whose_methods_are_no_coroutines_cannot_end_the_supervisor(run, until):
    class Odd(ScriptedDriver):
        def open(self):
            raise RuntimeError("at once")

        def close(self):
            raise RuntimeError("at the end")

    class Odder(Odd):
        def open(self):
            return None

    bench = Bench(Odd(), Odder(), ScriptedDriver(value(1)))
    run(bench)
    await until(lambda: value(1) in bench.readings)
    assert any(s.last_error == "RuntimeError: at once" for s in bench.statuses)
    assert any("TypeError" in s.last_error for s in bench.statuses)


async def test_calls_that_hang_for_ever_are_told(run, until, monkeypatch):
    monkeypatch.setattr(supervisor_module, "PROBLEMS_EVERY_S", 0.0)
    bench = Bench(DeafDriver(), ScriptedDriver(value(2)), stale_ms=1_000)
    run(bench)
    notices = await until(lambda: bench.supervisor.status.notices)
    assert notices["driver"].startswith("2 earlier calls of the driver hang"), "reading and closing"
    assert bench.supervisor.status.state == "up"


# --- writing ---------------------------------------------------------------------------------------------------------


async def test_a_write_goes_to_the_driver_that_reads(run, until):
    driver = ScriptedDriver(value(1))
    bench = Bench(driver)
    run(bench)
    await until(lambda: bench.readings)
    await bench.supervisor.write("job", "4711")
    assert driver.written == [("job", "4711")]


async def test_nothing_is_written_while_the_source_is_down(run, until):
    bench = Bench()
    with pytest.raises(WriteRefusedError, match="source plc is not up: no value came yet"):
        await bench.supervisor.write("job", 1)
    run(bench)
    await until(lambda: len(bench.made) > 1)
    with pytest.raises(WriteRefusedError, match="source plc is not up: refused"):
        await bench.supervisor.write("job", 1)
    assert all(driver.written == [] for driver in bench.made)


@pytest.mark.parametrize(
    ("raised", "expected", "words"),
    [
        (WriteRefusedError("not writable"), WriteRefusedError, "^not writable$"),
        (DriverError("no answer"), DriverError, "^no answer$"),
        (KeyError("job"), DriverError, r"the driver failed at it \(KeyError: 'job'\); read the value back"),
        (asyncio.CancelledError(), DriverError, "the link was lost meanwhile; read the value back"),
    ],
)
async def test_how_a_write_can_fail(run, until, raised, expected, words):
    class Refusing(ScriptedDriver):
        async def write(self, signal, value):
            raise raised

    bench = Bench(Refusing(value(1)))
    run(bench)
    await until(lambda: bench.readings)
    with pytest.raises(expected, match=words):
        await bench.supervisor.write("job", 1)
    assert bench.supervisor.status.state == "up", "a write that fails is no lost link"


class SlowWriter(ScriptedDriver):
    def __init__(self, *steps):
        super().__init__(*steps)
        self.gate = asyncio.Event()
        self.at_once = self.most = 0

    async def write(self, signal, value):
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await self.gate.wait()
        finally:
            self.at_once -= 1
        await super().write(signal, value)


async def test_writes_come_one_at_a_time_and_in_order(run, until):
    driver = SlowWriter(value(1))
    bench = Bench(driver)
    run(bench)
    await until(lambda: bench.readings)
    writes = [asyncio.create_task(bench.supervisor.write("job", n)) for n in range(5)]
    await until(lambda: driver.at_once)
    driver.gate.set()
    await asyncio.gather(*writes)
    assert (driver.most, driver.written) == (1, [("job", n) for n in range(5)])


async def test_a_write_has_a_time_limit_and_the_next_one_goes_on(run, until, monkeypatch):
    monkeypatch.setattr(supervisor_module, "WRITE_TIMEOUT_S", 0.05)
    driver = SlowWriter(value(1))
    bench = Bench(driver)
    run(bench)
    await until(lambda: bench.readings)
    with pytest.raises(DriverError, match=r"not confirmed within 0\.05 s; read the value back"):
        await bench.supervisor.write("job", 1)
    driver.gate.set()
    monkeypatch.undo()
    await bench.supervisor.write("job", 2)
    assert driver.written == [("job", 2)]


async def test_a_write_ends_before_its_driver_is_closed(run, until):
    end = asyncio.Event()

    class Ending(SlowWriter):
        async def readings(self):
            yield value(1)
            await end.wait()
            raise DriverError("cut")

        async def close(self):
            assert self.at_once == 0, "write() is not called once the driver closes"
            await super().close()

    driver = Ending()
    bench = Bench(driver)
    run(bench)
    await until(lambda: bench.readings)
    write = asyncio.create_task(bench.supervisor.write("job", 1))
    await until(lambda: driver.at_once)
    end.set()
    with pytest.raises(DriverError, match="the link was lost meanwhile"):
        await write
    await until(lambda: driver.closed)
    assert driver.written == []


async def test_the_last_values_of_remembered_signals(run, until):
    block = TelemetryBlock(("plc.job", "plc.t"), ("A", 1), 1)
    end = asyncio.Event()

    class Ending(ScriptedDriver):
        async def readings(self):
            yield Reading(blocks=(block,))
            yield value(5)
            await end.wait()
            raise DriverError("cut")

    bench = Bench(Ending(), remembered=frozenset({"plc.good", "plc.job", "plc.none"}))
    run(bench)
    await until(lambda: len(bench.readings) == 2)
    told = [bench.supervisor.last_value(f"plc.{name}") for name in ("good", "job", "none", "t")]
    assert told == [5, "A", None, None]
    end.set()
    await until(lambda: bench.supervisor.status.state == "down")
    assert bench.supervisor.last_value("plc.good") is None, "what was before a loss is not the present value"
