"""Inputs of this computer, against a stand-in for the kernel."""

import asyncio
import errno
import random
import time
from itertools import pairwise
from types import MappingProxyType

import gpiod
import gpiozero
import pytest
from gpiod.line import Bias, Clock, Direction, Edge

import drivers.digital_io.driver as driver_module
from drivers.base import DriverError, WriteRefusedError
from drivers.digital_io.driver import DigitalIODriver
from drivers.digital_io.gpiod_factory import GpiodFactory
from drivers.digital_io.settings import DigitalIOSettings, DigitalSignal
from gateway.core.counting.pulse import PulseDetector
from gateway.core.duration import Duration
from gateway.core.model import Status
from gateway.core.rules import PulseRule
from gateway.testing import DriverContract

MS = 1_000_000
EPOCH_NS = 1_800_000_000_000_000_000
#: A test that hangs ends; nothing is measured by it.
PATIENCE_S = 60.0
SIGNALS = MappingProxyType(
    {
        "carton": DigitalSignal(pin=17, pull="down"),
        "reject": DigitalSignal(pin=2, pull="up"),
        "running": DigitalSignal(pin=22, active_low=True),
    }
)


def monotonic_ns():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def steady_ns():
    """A steady clock with a known distance from CLOCK_MONOTONIC."""
    return EPOCH_NS + monotonic_ns()


@pytest.fixture
def make(context, kernel):
    def make(signals=SIGNALS, telemetry=(), **changes):
        settings = DigitalIOSettings(driver="digital_io", pins="gpio", signals=dict(signals), **changes)
        given = context(source="box", rules=signals, telemetry=telemetry, now_ns=steady_ns)
        return DigitalIODriver(settings, given, open_chip=kernel.open_chip, dev=kernel.dev)

    return make


@pytest.fixture
async def opened(make):
    """Make, open, and close at the end."""
    drivers = []

    async def opened(*args, **kwargs):
        driver = make(*args, **kwargs)
        drivers.append(driver)
        await driver.open()
        return driver, driver.readings()

    yield opened
    for driver in drivers:
        await driver.close()


async def until_values(readings, enough):
    """Collect values until the condition on all of them holds."""
    seen = []
    async with asyncio.timeout(PATIENCE_S):
        while not enough(seen):
            seen += (await anext(readings)).values
    return seen


def of(seen, signal):
    return [(sample.value, sample.status) for sample in seen if sample.signal == signal]


GOOD, BAD = Status.GOOD, Status.BAD


class Rig:
    expected = MappingProxyType({"box.carton": False, "box.reject": True, "box.running": True})

    def __init__(self, make, kernel, chip):
        self.make, self.kernel, self.chip = make, kernel, chip
        chip.refuses = errno.ENODEV
        chip[2].level = 1

    def now_ns(self):
        return steady_ns()

    async def start_device(self):
        self.chip.plug()

    async def stop_device(self):
        self.chip.unplug()


class TestGpiodContract(DriverContract):
    @pytest.fixture
    def rig(self, make, kernel, header):
        return Rig(make, kernel, header)


async def test_a_line_is_asked_for_once_and_alone_with_all_that_the_settings_say(opened, header):
    signals = {**SIGNALS, "door": DigitalSignal(line="GPIO5", debounce=Duration("2500 us"), kind="level")}
    await opened(signals, event_buffer=256)
    assert [header[n].requests for n in (17, 2, 22, 5, 3)] == [1, 1, 1, 1, 0]
    carton, reject, running, door = (header[n].request for n in (17, 2, 22, 5))
    for request in (carton, reject, running, door):
        assert request.settings.direction is Direction.INPUT
        assert request.settings.edge_detection is Edge.BOTH
        assert request.settings.event_clock is Clock.MONOTONIC
        assert request.settings.active_low is False  # the driver turns it round
        assert request.capacity == 256
        assert request.wire.consumer == "linegate"
    biases = [request.settings.bias for request in (carton, reject, running)]
    assert biases == [Bias.PULL_DOWN, Bias.PULL_UP, Bias.DISABLED]
    assert carton.settings.debounce_period.total_seconds() == 0
    assert door.settings.debounce_period.microseconds == 2_500


async def test_every_edge_arrives_with_the_kernels_time(opened, header):
    _driver, readings = await opened()
    await anext(readings)
    start = monotonic_ns() - 50 * MS
    for number in range(40):
        header[17].edge((number + 1) % 2, start + number * MS)
    seen = [sample for sample in (await anext(readings)).values if sample.signal == "box.carton"]
    assert [sample.value for sample in seen] == [True, False] * 20
    stamps = [sample.source_time_ns for sample in seen]
    assert [late - early for early, late in pairwise(stamps)] == [MS] * 39
    assert abs(stamps[0] - (EPOCH_NS + start)) < MS


async def test_timestamp_gateway_gives_none(opened, header):
    _driver, readings = await opened({"carton": DigitalSignal(pin=17, timestamp="gateway")})
    header[17].edge(1, monotonic_ns())
    seen = await until_values(readings, lambda seen: (True, GOOD) in of(seen, "box.carton"))
    assert {sample.source_time_ns for sample in seen} == {None}


async def test_lost_edges_are_told_with_their_number_and_the_signal_is_not_known_for_that_time(opened, header):
    driver, readings = await opened(event_buffer=16)
    await anext(readings)
    assert driver.notices() == {}
    start = monotonic_ns()
    header[17].edge(1, start)
    first = (await anext(readings)).values
    assert of(first, "box.carton") == [(True, GOOD)]
    for number in range(1, 50):  # the loop does not run meanwhile: 16 of these 49 remain
        header[17].edge((number + 1) % 2, start + number * MS)
    header[22].edge(1, start + 10 * MS)
    assert header[17].request.dropped == 33
    seen = await until_values(readings, lambda seen: of(seen, "box.running") and len(of(seen, "box.carton")) >= 17)
    carton = [sample for sample in seen if sample.signal == "box.carton"]
    assert carton[0].status is BAD
    assert carton[0].value is None
    assert abs(carton[0].source_time_ns - first[0].source_time_ns) < MS  # up to here all was known
    assert [sample.value for sample in carton[1:17]] == [True, False] * 8  # the 34th to the 49th
    assert carton[1].source_time_ns - carton[0].source_time_ns == 34 * MS
    assert (None, BAD) not in of(seen, "box.running")  # each input has its own buffer
    (key,) = driver.notices()
    assert key == "edges_lost.carton"
    assert driver.notices()[key].startswith("box.carton: 33 edges were dropped by the kernel")


async def test_what_was_lost_before_the_first_edge_counts_too(opened, header):
    driver, readings = await opened(event_buffer=16)
    for number in range(20):
        header[17].edge((number + 1) % 2, monotonic_ns())
    seen = await until_values(readings, lambda seen: len(of(seen, "box.carton")) >= 17)
    assert of(seen, "box.carton")[0] == (None, BAD)
    assert "box.carton: 4 edges were dropped" in driver.notices()["edges_lost.carton"]


async def test_the_kernels_numbers_may_roll_over(opened, header):
    driver, readings = await opened()
    pin = driver._gpio._pins["carton"]
    pin._next_seqno = 0xFFFF_FFFF
    header[17].request.seqno = 0xFFFF_FFFE
    for number in range(4):
        header[17].edge((number + 1) % 2, monotonic_ns())
    seen = await until_values(readings, lambda seen: len(of(seen, "box.carton")) >= 4)
    assert BAD not in {sample.status for sample in seen}
    assert driver.notices() == {}


async def test_a_level_that_was_back_before_the_kernel_looked_is_two_edges(opened, header):
    driver, readings = await opened()
    await anext(readings)
    now = monotonic_ns()
    header[17].edge(1, now)
    header[17].edge(1, now + MS)  # it was low in between, for less than an interrupt takes
    seen = await until_values(readings, lambda seen: len(of(seen, "box.carton")) >= 3)
    carton = [sample for sample in seen if sample.signal == "box.carton"][:3]
    assert [sample.value for sample in carton] == [True, False, True]
    assert carton[1].source_time_ns == carton[2].source_time_ns == carton[0].source_time_ns + MS
    assert "the level was back 1 times" in driver.notices()["short_pulses.carton"]


async def test_a_level_that_changed_without_an_edge_is_not_known_and_then_it_is(opened, header, monkeypatch):
    monkeypatch.setattr(driver_module, "REFRESH_S", 0.02)
    driver, readings = await opened()
    await anext(readings)
    header[17].edge(1, monotonic_ns())
    header[17].edge(0, monotonic_ns())
    vouched = (await until_values(readings, lambda seen: of(seen, "box.carton")[-1:] == [(False, GOOD)]))[-1]
    header[17].level = 1
    seen = await until_values(readings, lambda seen: (True, GOOD) in of(seen, "box.carton"))
    assert of(seen, "box.carton")[:2] == [(None, BAD), (True, GOOD)]  # the old level was not said once more
    lost = next(sample for sample in seen if sample.status is BAD)
    assert lost.source_time_ns >= vouched.source_time_ns - MS
    assert "1 times the level changed without an edge" in driver.notices()["edges_lost.carton"]
    header[17].edge(0, monotonic_ns())  # the second falling edge in a row, and yet no short pulse
    await until_values(readings, lambda seen: (False, GOOD) in of(seen, "box.carton"))
    assert set(driver.notices()) == {"edges_lost.carton"}


async def test_a_chip_that_goes_is_a_lost_link_that_is_said(opened, header):
    _driver, readings = await opened()
    await anext(readings)
    header.unplug()
    for _ in range(10):
        await asyncio.sleep(0)
    assert header[17].request.refusals == 1  # the loop does not ask for ever
    with pytest.raises(
        DriverError, match=r"line \d+ 'GPIO\d+' of gpiochip0 .* cannot be read any more: No such device"
    ):
        await until_values(readings, lambda _seen: False)


async def test_a_level_that_cannot_be_read_is_a_lost_link(opened, header):
    driver, readings = await opened()
    header[17].request.gone = True  # without a word from the kernel
    with pytest.raises(DriverError, match="box: inputs cannot be read: No such device"):
        await until_values(readings, lambda _seen: False)
    await driver.close()


async def test_a_listener_that_fails_ends_the_link_and_silences_no_other_input(opened, header):
    driver, readings = await opened()
    await anext(readings)
    original = driver._by_name
    driver._by_name = {name: each for name, each in original.items() if name != "carton"}
    now = monotonic_ns()
    header[17].edge(1, now)
    header[22].edge(1, now)
    seen = []
    with pytest.raises(DriverError, match=r"an edge of line 17 .* could not be taken: KeyError: 'carton'"):
        await until_values(readings, lambda values: seen.extend(values[len(seen) :]))
    assert (False, GOOD) in of(seen, "box.running")


async def test_edges_stay_with_the_kernel_while_the_core_is_busy(opened, header, monkeypatch):
    monkeypatch.setattr(driver_module, "EDGES_MAX", 50)
    driver, readings = await opened({"carton": DigitalSignal(pin=17)}, event_buffer=100)
    await anext(readings)
    level, sent = 0, 0

    async def burst(number):
        nonlocal level, sent
        for _ in range(number):
            level ^= 1
            sent += 1
            header[17].edge(level, monotonic_ns())
            if not sent % 40:
                await asyncio.sleep(0)

    await burst(120)
    assert len(driver._edges) <= 50 + 40 + 1
    left = len(header[17].request.events)
    assert left >= 20
    await burst(200)  # nobody reads: the kernel drops, and numbers
    dropped = header[17].request.dropped
    assert dropped == 320 - len(driver._edges) - 100
    seen = await until_values(readings, lambda seen: len(of(seen, "box.carton")) >= 320 - dropped + 1)
    assert len([each for each in of(seen, "box.carton")[: 321 - dropped] if each[1] is GOOD]) == 320 - dropped
    assert f"{dropped} edges were dropped" in driver.notices()["edges_lost.carton"]
    header[17].edge(level ^ 1, monotonic_ns())
    await until_values(readings, lambda seen: of(seen, "box.carton"))  # it hears again


async def test_a_level_is_told_once_for_edges_that_came_together_and_as_a_sign_of_life(opened, header):
    _driver, readings = await opened({"door": DigitalSignal(pin=17, kind="level")})
    first = (await anext(readings)).values
    assert of(first, "box.door") == [(False, GOOD)]
    now = monotonic_ns()
    for number in range(5):
        header[17].edge((number + 1) % 2, now + number)
    seen = (await anext(readings)).values
    assert of(seen, "box.door") == [(True, GOOD)]
    assert abs(seen[0].source_time_ns - (EPOCH_NS + now + 4)) < MS
    for number in range(4):
        header[17].edge(number % 2, now + 10 + number)
    assert (await anext(readings)).values == ()  # it is what it was
    assert of((await anext(readings)).values, "box.door") == [(True, GOOD)]  # within a second, all the same


async def test_report_change_leaves_out_what_is_known(opened, header, monkeypatch):
    monkeypatch.setattr(driver_module, "REFRESH_S", 0.01)
    signals = {"door": DigitalSignal(pin=17, kind="level", report="change"), "running": DigitalSignal(pin=22)}
    _driver, readings = await opened(signals)
    seen = await until_values(readings, lambda seen: len(of(seen, "box.running")) >= 10)
    assert of(seen, "box.door") == [(False, GOOD)]
    header[17].edge(1, monotonic_ns())
    seen = await until_values(readings, lambda seen: len(of(seen, "box.running")) >= 10)
    assert of(seen, "box.door") == [(True, GOOD)]


async def test_telemetry_goes_out_on_change(opened, header, monkeypatch):
    monkeypatch.setattr(driver_module, "REFRESH_S", 0.01)
    _driver, readings = await opened(telemetry=["running"])
    blocks = []
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(10):
            blocks += (await anext(readings)).blocks
        assert [block[:2] for block in blocks] == [(("box.running",), (True,))]
        header[22].edge(1, monotonic_ns())
        while len(blocks) < 2:
            blocks += (await anext(readings)).blocks
    assert blocks[1][:2] == (("box.running",), (False,))


async def test_nothing_is_written(opened, header):
    driver, _readings = await opened()
    with pytest.raises(WriteRefusedError, match=r"box\.carton: a digital input cannot be written"):
        await driver.write("carton", value=True)


async def test_two_sources_share_a_chip_but_no_line(opened, make, header):
    driver, readings = await opened({"carton": DigitalSignal(pin=17)})
    _other, others = await opened({"reject": DigitalSignal(pin=27)})
    third = make({"again": DigitalSignal(pin=17)})
    with pytest.raises(DriverError, match="is in use by 'linegate'"):
        await third.open()
    await third.close()
    await driver.close()
    header[27].edge(1, monotonic_ns())
    assert (True, GOOD) in of(await until_values(others, lambda seen: len(seen) >= 2), "box.reject")
    del readings


async def test_gpiozeros_own_devices_work_on_it(kernel, header):
    failures = []
    factory = GpiodFactory(
        asyncio.get_running_loop(), open_chip=kernel.open_chip, dev=kernel.dev, on_failure=failures.append
    )
    heard = asyncio.Event()
    with factory, gpiozero.DigitalInputDevice(17, pull_up=None, active_state=True, pin_factory=factory) as device:
        device.when_activated = heard.set
        assert device.value == 0
        header[17].edge(1, monotonic_ns())
        await asyncio.wait_for(heard.wait(), PATIENCE_S)
        assert device.value == 1
        assert 0 <= device.active_time < PATIENCE_S
        with pytest.raises(gpiozero.GPIOPinInUse):
            gpiozero.DigitalInputDevice("GPIO17", pull_up=None, active_state=True, pin_factory=factory)
        with pytest.raises(gpiozero.PinInvalidFunction, match="found output, allowed input"):
            gpiozero.LED(18, pin_factory=factory)
        with gpiozero.Button("GPIO5", bounce_time=0.005, pin_factory=factory) as button:
            assert header[5].request.settings.debounce_period.microseconds == 5_000
            assert header[5].request.settings.bias is Bias.PULL_UP
            assert button.is_pressed
    assert failures == []


# --- very many edges -----------------------------------------------------------------------------------------------


def bouncing(rng, edges, start_ns):
    """So many edges of pulses of 1 ms every 2 ms (1 kHz of edges), whose contacts bounce for up to 100 us."""
    t_ns, level, made = start_ns, 0, 0
    while made < edges:
        level ^= 1
        times = [t_ns]
        if rng.random() < 0.3:
            times += sorted(t_ns + rng.randrange(1_000, 100_000) for _ in range(rng.choice((2, 4))))
        for at, when in enumerate(times):
            yield level ^ (at & 1), when, level == 1 and at == 0
        made += len(times)
        t_ns += MS


class Counter:
    """The core's detector behind a driver: what it booked, and what it bounds as unknown."""

    def __init__(self):
        rule = PulseRule(mode="pulse", signal="box.carton", debounce=Duration("200 us"), min_cycle=Duration("1500 us"))
        self.detector = PulseDetector(rule, None)
        self.state = self.detector.initial()
        self.booked = self.unknown = 0

    def take(self, reading):
        on_value, state = self.detector.on_value, self.state
        for sample in reading.values:
            stamp = sample.source_time_ns
            state, events = on_value(state, stamp, sample.value, sample.status, stamp)
            for event in events:
                self.booked += event.delta
                self.unknown += event.max_lost
        self.state = state

    def settle(self):
        due = self.detector.deadline(self.state)
        if due is not None:
            self.state, events = self.detector.on_time(self.state, due)
            self.booked += sum(event.delta for event in events)


async def count(driver, readings, feeding):
    """Count until the feeder is done and everything is read."""
    counter = Counter()
    counter.take(await anext(readings))
    feeder = asyncio.create_task(feeding)
    async with asyncio.timeout(250):
        while not (feeder.done() and not driver._edges and driver._gpio.poll() and not driver._edges):
            counter.take(await anext(readings))
    await feeder
    counter.settle()
    return counter


@pytest.mark.parametrize("number", [200_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
async def test_very_many_edges_are_counted_exactly(opened, header, number):
    """1 kHz by their stamps, fed as fast as the path takes them."""
    driver, readings = await opened({"carton": DigitalSignal(pin=17)})
    wire, pulses, edges = header[17], 0, 0

    async def feed():
        nonlocal pulses, edges
        for level, t_ns, is_pulse in bouncing(random.Random(1), number, monotonic_ns()):
            while len(wire.request.events) >= 1_000:  # noqa: ASYNC110 - what is waited for is a kernel, without events
                await asyncio.sleep(0)
            wire.edge(level, t_ns)
            edges += 1
            pulses += is_pulse

    counter = await count(driver, readings, feed())
    assert edges >= number
    assert wire.request.dropped == 0
    assert driver.notices() == {}
    assert (counter.booked, counter.unknown) == (pulses, 0)


@pytest.mark.parametrize("seed", range(5))
async def test_edges_lost_in_the_kernel_are_bounded(opened, header, seed):
    """Bursts that the loop does not see in time: booked <= truth <= booked + unknown, and the number is exact."""
    driver, readings = await opened({"carton": DigitalSignal(pin=17)}, event_buffer=128)
    wire, pulses, rng = header[17], 0, random.Random(seed)

    async def feed():
        nonlocal pulses
        patience = 100
        for level, t_ns, is_pulse in bouncing(rng, 20_000, monotonic_ns()):
            wire.edge(level, t_ns)
            pulses += is_pulse
            patience -= 1
            if patience <= 0:
                patience = 100 if rng.random() < 0.9 else rng.randrange(129, 2_000)
                while wire.request.events:  # noqa: ASYNC110 - what is waited for is a kernel, without events
                    await asyncio.sleep(0)

    counter = await count(driver, readings, feed())
    dropped = wire.request.dropped
    assert dropped > 1_000
    assert f" {dropped} edges were dropped" in driver.notices()["edges_lost.carton"]
    assert counter.booked < pulses
    assert counter.booked <= pulses <= counter.booked + counter.unknown
    assert counter.unknown < dropped + 100  # the bound is worth something: a pulse is two edges at least


def test_the_stand_in_has_the_surface_of_the_library(kernel, header):
    """Every call that the driver makes exists on libgpiod's own classes."""
    for name in ("get_info", "get_line_info", "request_lines", "close"):
        assert callable(getattr(gpiod.Chip, name))
    for name in ("read_edge_events", "wait_edge_events", "get_values", "reconfigure_lines", "release", "fd"):
        assert hasattr(gpiod.LineRequest, name)
