import asyncio
import contextlib
import datetime as dt
import json
import socket
import stat
import time
from types import MappingProxyType

import pytest
from kept_waiting import Taken

import drivers.digital_io.driver as driver_module
from drivers.base import DriverError, WriteRefusedError
from drivers.digital_io import PLUGIN
from drivers.digital_io.settings import DigitalIOSettings, DigitalSignal
from gateway.core.model import Status
from gateway.testing import DriverContract

MS = 1_000_000
EPOCH_NS = 1_800_000_000_000_000_000
#: A test that hangs ends; nothing is measured by it.
PATIENCE_S = 60.0


def monotonic_ns():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def steady_ns():
    """A steady clock with a known distance from CLOCK_MONOTONIC."""
    return EPOCH_NS + monotonic_ns()


class Simulator:
    """The other end of the socket, from the protocol alone."""

    def __init__(self, path, levels):
        self.path = path
        self.levels = dict(levels)
        self.alive = None

    async def connect(self, *, hello=True):
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            try:
                self.reader, self.writer = await asyncio.open_unix_connection(str(self.path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.005)
        if hello:
            self.send(hello="pck-01", t_ns=monotonic_ns(), levels=self._levels())

    def _levels(self):
        return {str(pin): level for pin, level in self.levels.items()}

    def send(self, **message):
        self.writer.write(json.dumps(message).encode() + b"\n")

    def edge(self, pin, level, t_ns=None):
        self.levels[pin] = level
        self.send(pin=pin, level=level, t_ns=t_ns or monotonic_ns())

    def sign(self):
        self.send(t_ns=monotonic_ns(), levels=self._levels())

    def live(self):
        async def speak():
            while not self.writer.is_closing():
                self.sign()
                await asyncio.sleep(0.1)

        self.alive = asyncio.create_task(speak())

    async def leave(self):
        if self.alive is not None:
            self.alive.cancel()
            await asyncio.wait({self.alive})
            self.alive = None
        self.writer.transport.abort()


SIGNALS = MappingProxyType(
    {
        "carton": DigitalSignal(pin=17),
        "reject": DigitalSignal(pin=2, pull="up"),
        "running": DigitalSignal(pin=22, active_low=True),
    }
)
LEVELS = MappingProxyType({17: 0, 2: 1, 22: 0, 5: 1})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pins.sock"


@pytest.fixture
def make(context, tmp_path):
    def make(**changes):
        settings = DigitalIOSettings(driver="digital_io", pins="simulated", signals=dict(SIGNALS), **changes)
        return PLUGIN.build(
            settings,
            context(source="box", rules=SIGNALS, telemetry=["running"], state_dir=tmp_path, now_ns=steady_ns),
        )

    return make


@pytest.fixture
async def session(make, path):
    """A driver with a simulator connected, and its readings."""
    driver = make()
    simulator = Simulator(path, LEVELS)
    await asyncio.gather(driver.open(), simulator.connect())
    simulator.live()
    yield driver, simulator, driver.readings()
    await simulator.leave()
    await driver.close()


class Rig:
    """A simulator that connects again whenever its connection ends."""

    expected = MappingProxyType({"box.carton": False, "box.reject": True, "box.running": True})

    def __init__(self, make, path):
        self.make = make
        self._path = path
        self._running = None

    def now_ns(self):
        return steady_ns()

    async def start_device(self):
        self._running = asyncio.create_task(self._run())

    async def stop_device(self):
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
            self._running = None

    async def _run(self):
        while True:
            simulator = Simulator(self._path, LEVELS)
            try:
                await simulator.connect()
                simulator.live()
                with contextlib.suppress(ConnectionError):  # broken, too, where it spoke before it heard of the end
                    await simulator.reader.read()  # the gateway says nothing: this is the end
                await simulator.leave()
            except asyncio.CancelledError:
                if hasattr(simulator, "writer"):
                    await simulator.leave()
                raise


class TestDigitalIOContract(DriverContract):
    @pytest.fixture
    async def rig(self, make, path):
        rig = Rig(make, path)
        yield rig
        await rig.stop_device()


async def collect(readings, seen):
    async for reading in readings:
        seen += reading.values


async def drain(readings):
    """Read to the end; fails if it does not come."""
    await asyncio.wait_for(collect(readings, []), PATIENCE_S)


async def edges(readings, count):
    """The next changes of value, refreshes left out."""
    found, last = [], {}
    async with asyncio.timeout(PATIENCE_S):
        async for reading in readings:
            for sample in reading.values:
                assert sample.status is Status.GOOD
                if last.get(sample.signal, sample.value) != sample.value:
                    found.append(sample)
                last[sample.signal] = sample.value
            if len(found) >= count:
                return found
    return found


async def test_every_edge_arrives_with_its_own_time(session):
    _driver, simulator, readings = session
    start = monotonic_ns()
    simulator.edge(17, 1, start + 1 * MS)
    simulator.edge(17, 0, start + 3 * MS)
    simulator.edge(22, 1, start + 4 * MS)
    first, second, third = await edges(readings, 3)
    assert [(s.signal, s.value) for s in (first, second, third)] == [
        ("box.carton", True),
        ("box.carton", False),
        ("box.running", False),
    ]
    assert abs(second.source_time_ns - first.source_time_ns - 2 * MS) < MS // 2
    assert abs(third.source_time_ns - first.source_time_ns - 3 * MS) < MS // 2
    assert abs(first.source_time_ns - (EPOCH_NS + start + 1 * MS)) < 1 * MS


async def test_the_first_known_levels_are_no_edges(make, path):
    driver, simulator = make(), Simulator(path, {17: 1, 2: 0, 22: 1})
    await asyncio.gather(driver.open(), simulator.connect())
    assert not driver._edges
    first = await anext(driver.readings())
    assert [(s.signal, s.value) for s in first.values] == [
        ("box.carton", True),
        ("box.reject", False),
        ("box.running", False),
    ]
    await simulator.leave()
    await driver.close()


async def test_edges_in_one_packet_with_the_hello_are_not_lost(make, path):
    driver, simulator = make(), Simulator(path, LEVELS)

    async def burst():
        await simulator.connect(hello=False)
        now = monotonic_ns()
        simulator.send(hello="pck-01", t_ns=now, levels={"17": 0, "2": 1, "22": 0})
        for number in range(100):
            simulator.edge(17, (number + 1) % 2, now + number)

    await asyncio.gather(driver.open(), burst())
    found = []
    async with asyncio.timeout(PATIENCE_S):
        async for reading in driver.readings():
            found += [s.value for s in reading.values if s.signal == "box.carton"]
            if len(found) >= 100:
                break
    assert found[:100] == [True, False] * 50
    await simulator.leave()
    await driver.close()


async def test_levels_are_repeated_every_second_with_a_fresh_time(session):
    _driver, _simulator, readings = session
    taken, began_s = Taken(), time.monotonic()
    first = await anext(readings)
    assert {s.signal: s.value for s in first.values} == Rig.expected
    assert first.blocks[0][:2] == (("box.running",), (True,))
    second = await anext(readings)
    assert {s.signal: s.value for s in second.values} == Rig.expected
    kept_ns = int((time.monotonic() - began_s - taken.seconds()) * 1_000 * MS)  # by a computer that others use
    for one, two in zip(first.values, second.values, strict=True):
        assert 800 * MS < two.received_time_ns - one.received_time_ns < 2_000 * MS + kept_ns
        assert 600 * MS - kept_ns < two.source_time_ns - one.source_time_ns < 2_000 * MS + kept_ns
        assert two.source_time_ns <= two.received_time_ns


async def test_a_level_in_a_sign_of_life_makes_up_for_a_missed_edge(session):
    _driver, simulator, readings = session
    simulator.levels[17] = 1
    (found,) = await edges(readings, 1)
    assert (found.signal, found.value) == ("box.carton", True)


async def test_a_leaving_simulator_is_a_lost_link_after_its_last_edge(session):
    _driver, simulator, readings = session
    await anext(readings)
    simulator.edge(17, 1)
    await simulator.writer.drain()
    simulator.alive.cancel()
    simulator.writer.write_eof()
    seen = []
    with pytest.raises(DriverError, match="the simulator has left"):
        await asyncio.wait_for(collect(readings, seen), PATIENCE_S)
    assert ("box.carton", True) in [sample[:2] for sample in seen]


async def test_a_silent_simulator_is_a_lost_link(session, monkeypatch):
    monkeypatch.setattr(driver_module, "SIMULATOR_SILENCE_NS", 300 * MS)
    _driver, simulator, readings = session
    await anext(readings)
    simulator.alive.cancel()
    with pytest.raises(DriverError, match=r"silent for \d+\.\d s"):
        await drain(readings)


async def test_a_second_simulator_is_turned_away(session, path):
    _driver, simulator, readings = session
    other = Simulator(path, LEVELS)
    await other.connect(hello=False)
    assert await asyncio.wait_for(other.reader.read(), PATIENCE_S) == b""
    other.writer.close()
    simulator.edge(17, 1)
    assert (await edges(readings, 1))[0].value is True


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"hello\n", "JSONDecodeError"),
        (b"[]\n", "TypeError"),
        (b"{}\n", "KeyError: 't_ns'"),
        (b'{"t_ns": 1.5, "levels": {}}\n', "whole number"),
        (b'{"t_ns": 1, "pin": 17, "level": 2}\n', "0 or 1"),
        (b'{"t_ns": 1, "pin": "17", "level": 1}\n', "a pin a number"),
        (b'{"t_ns": 1, "levels": {"17": true}}\n', "0 or 1"),
        (b'{"t_ns": 1, "levels": {"x": 1}}\n', "ValueError"),
        (b'{"t_ns": 1, "levels": {}, "hello": "again"}\n', "and no other does"),
        (b"\xff\xfe\n", "cannot be read"),
        (b"x" * 5_000 + b"\n", "more than 4096 bytes"),
    ],
)
async def test_a_malformed_line_is_a_lost_link_that_names_it(session, line, words):
    _driver, simulator, readings = session
    await anext(readings)
    simulator.writer.write(line)
    with pytest.raises(DriverError) as caught:
        await drain(readings)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ({"t_ns": 1, "levels": {"17": 0}}, "the first line says hello"),
        ({"hello": "pck-01", "t_ns": 1, "levels": {"17": 0, "2": 1}}, "simulator pck-01 has no pin 22"),
    ],
)
async def test_a_wrong_first_line_fails_the_opening(make, path, first, words):
    driver, simulator = make(), Simulator(path, {})

    async def connect():
        await simulator.connect(hello=False)
        simulator.send(**first)

    opened, _ = await asyncio.gather(driver.open(), connect(), return_exceptions=True)
    assert isinstance(opened, DriverError)
    assert words in str(opened)
    await simulator.leave()
    await driver.close()


async def test_the_socket_is_private_and_is_removed(session, path):
    driver, _simulator, _readings = session
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await driver.close()
    assert not path.exists()


@pytest.mark.parametrize("turns", range(4))
async def test_a_simulator_that_comes_at_the_moment_of_closing_is_hung_up_on(session, path, turns):
    """It would wait for ever on a connection that nobody reads, and never meet the next driver."""
    driver, _simulator, _readings = session
    with socket.socket(socket.AF_UNIX) as late:
        late.connect(str(path))
        late.setblocking(False)
        for _ in range(turns):  # of the event loop: until it is accepted, until it has a transport
            await asyncio.sleep(0)
        await driver.close()
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(PATIENCE_S):
                assert await asyncio.get_running_loop().sock_recv(late, 1) == b""


async def test_a_stale_socket_is_replaced(make, path):
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    driver, simulator = make(), Simulator(path, LEVELS)
    await asyncio.gather(driver.open(), simulator.connect())
    await simulator.leave()
    await driver.close()


async def test_a_socket_in_use_is_left_alone(make, path):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(1)
        driver = make()
        with pytest.raises(DriverError, match="another process listens there"):
            await driver.open()
        await driver.close()
        assert path.is_socket()


async def test_a_file_that_is_no_socket_is_left_alone(make, path):
    path.write_text("precious")
    driver = make()
    with pytest.raises(DriverError, match="no socket"):
        await driver.open()
    await driver.close()
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("where", "words"), [("x" * 120, "too long"), ("none/pins.sock", "check that the folder exists")]
)
async def test_a_path_that_cannot_be_is_said(make, where, words):
    driver = make(socket=where)
    with pytest.raises(DriverError, match=words):
        await driver.open()
    await driver.close()


async def test_too_many_waiting_edges_are_a_loss_that_is_said(session, monkeypatch):
    monkeypatch.setattr(driver_module, "EDGES_MAX", 10)
    _driver, simulator, readings = session
    await anext(readings)
    now = monotonic_ns()
    for number in range(40):
        simulator.edge(17, (number + 1) % 2, now + number)
    seen = []
    with pytest.raises(DriverError, match="more than 10 edges waited"):
        await asyncio.wait_for(collect(readings, seen), PATIENCE_S)
    assert len(seen) == 10


async def test_a_simulator_that_left_is_taken_again_with_what_it_says_then(make, path):
    simulator = Simulator(path, LEVELS)
    for level in (0, 1, 0):
        simulator.levels[17] = level
        driver = make()
        await asyncio.gather(driver.open(), simulator.connect())
        readings = driver.readings()
        first = (await asyncio.wait_for(anext(readings), PATIENCE_S)).values
        assert [sample.value for sample in first if sample.signal == "box.carton"] == [bool(level)]
        simulator.edge(17, 1 - level)
        second = (await asyncio.wait_for(anext(readings), PATIENCE_S)).values
        assert [sample.value for sample in second] == [not level]
        await simulator.leave()
        with pytest.raises(DriverError, match=r"has left|broke"):
            await drain(readings)
        await driver.close()


async def test_a_contact_that_bounces_and_one_that_is_stuck_are_told_as_they_are(session):
    _driver, simulator, readings = session
    start = monotonic_ns()
    for number in range(1_001):  # faster than the loop: all of them, in their order
        simulator.edge(17, (number + 1) % 2, start + number * 1_000)
    found = await edges(readings, 1_001)
    assert [sample.value for sample in found] == [True, False] * 500 + [True]
    assert abs(found[-1].source_time_ns - found[0].source_time_ns - MS) < MS // 10
    stuck = await anext(readings)  # nothing more comes of it, but its level does
    assert {s.signal: s.value for s in stuck.values}["box.carton"] is True


async def test_nothing_is_written(session):
    driver, _simulator, _readings = session
    with pytest.raises(WriteRefusedError, match=r"box\.carton: a digital input cannot be written \(found True\)"):
        await driver.write("carton", value=True)


async def test_edges_of_another_clock_are_named(session):
    driver, simulator, readings = session
    await anext(readings)
    assert driver.notices() == {}
    ahead_ns = monotonic_ns() + 2 * 86_400 * 1_000 * MS
    simulator.edge(17, 1, ahead_ns)
    async with asyncio.timeout(PATIENCE_S):
        async for _reading in readings:
            if driver.notices():
                break
    # CLOCK_MONOTONIC is how long the computer has been on: a month later it is February that is shown.
    shown = dt.datetime.fromtimestamp((EPOCH_NS + ahead_ns) // 10**9, dt.UTC)
    assert f"the clock of the edges shows {shown:%Y-%m-%d}" in driver.notices()["clock"]


async def test_real_pins_without_hardware_say_what_is_missing(context):
    settings = DigitalIOSettings(driver="digital_io", pins="gpio", signals=dict(SIGNALS))
    driver = PLUGIN.build(settings, context(source="box", rules=SIGNALS))
    # A computer without chips, or one whose chips are not a Raspberry Pi's or not for this user.
    with pytest.raises(DriverError, match=r"no GPIO chip in /dev|name chip and line instead|the group gpio|is in use"):
        await driver.open()
    await driver.close()
