import asyncio
import time
from datetime import UTC, datetime
from types import MappingProxyType

import pytest
from asyncua import ua
from kept_waiting import Taken

import drivers.opcua.refused as refused_module
import drivers.opcua.subscription as subscription_module
from drivers.asking import AskedReading, Question
from drivers.base import DriverError
from drivers.opcua import PLUGIN
from drivers.opcua.settings import OpcUaSettings, OpcUaSignal
from gateway.core.duration import Duration
from gateway.core.model import Status
from gateway.testing import DriverContract

URI = "http://linegate.test/machine"
VARIABLES = {
    "Shots": (2**63 + 5, ua.VariantType.UInt64),
    "Level": (-7, ua.VariantType.Int16),
    "Cycle": (17.25, ua.VariantType.Double),
    "Running": (True, ua.VariantType.Boolean),
    "Job": ("4711-0010", ua.VariantType.String),
    "Since": (datetime(2026, 11, 22, 4, 5, 6, tzinfo=UTC), ua.VariantType.DateTime),
    "Zones": ([1.0, 2.0], ua.VariantType.Double),
}


@pytest.fixture(scope="module")
def machine(server):
    for name, (value, kind) in VARIABLES.items():
        server.add(name, value, kind)
    return server


@pytest.fixture(autouse=True)
def reset(machine):
    yield
    for name, (value, kind) in VARIABLES.items():
        machine.write(name, value, kind)


def settings_for(port, signals, **changes):
    changes = {"publish": Duration("50 ms"), "timeout": Duration("20 s"), **changes}
    return OpcUaSettings(
        driver="opcua",
        endpoint=f"opc.tcp://127.0.0.1:{port}",
        security="none",
        signals={
            name: OpcUaSignal(node=node if "=" in node else f"nsu={URI};s={node}") for name, node in signals.items()
        },
        **changes,
    )


@pytest.fixture
async def driver_for(context):
    made = []

    async def make(port, signals, *, rules=None, telemetry=(), **changes):
        context_ = context(source="imm", rules=signals if rules is None else rules, telemetry=telemetry)
        driver = PLUGIN.build(settings_for(port, signals, **changes), context_)
        made.append(driver)
        await driver.open()
        return driver

    yield make
    for driver in made:
        await driver.close()


async def sample(readings, signal, accept=lambda _sample: True):
    async with asyncio.timeout(60):
        async for reading in readings:
            for found in reading.values:
                if found.signal == signal and accept(found):
                    return found
    return None


class Rig:
    expected = MappingProxyType(
        {
            "imm.shots": 2**63 + 5,
            "imm.level": -7,
            "imm.cycle": 17.25,
            "imm.running": True,
            "imm.job": "4711-0010",
            "imm.since": "2026-11-22T04:05:06Z",
        }
    )

    def __init__(self, proxy, context):
        self._proxy = proxy
        self._context = context
        self._signals = {name.removeprefix("imm."): name.removeprefix("imm.").capitalize() for name in self.expected}

    def make(self):
        settings = settings_for(self._proxy.port or 1, self._signals)
        return PLUGIN.build(settings, self._context(source="imm", rules=self._signals))

    def now_ns(self):
        return time.time_ns()

    async def start_device(self):
        await self._proxy.start()

    async def stop_device(self):
        await self._proxy.cut()


class TestOpcUaContract(DriverContract):
    @pytest.fixture
    async def rig(self, machine, proxy, context):
        proxy.target = machine.port
        return Rig(proxy, context)


async def test_changes_arrive_with_the_servers_time(machine, driver_for):
    driver = await driver_for(machine.port, {"shots": "Shots"})
    readings = driver.readings()
    await sample(readings, "imm.shots")
    stamp = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    machine.write("Shots", 2**64 - 1, ua.VariantType.UInt64, source_time=stamp)
    found = await sample(readings, "imm.shots")
    assert found.value == 2**64 - 1
    assert found.source_time_ns == 1_767_323_045_678_901_000


async def test_a_sensor_failure_is_bad_with_its_reason_until_it_is_good_again(machine, driver_for):
    driver = await driver_for(machine.port, {"cycle": "Cycle", "shots": "Shots"})
    readings = driver.readings()
    await sample(readings, "imm.cycle")
    machine.write("Cycle", None, status=ua.StatusCodes.BadSensorFailure)
    found = await sample(readings, "imm.cycle")
    assert (found.value, found.status) == (None, Status.BAD)
    assert "BadSensorFailure" in driver.problems()["imm.cycle"]
    machine.write("Cycle", 3.5, ua.VariantType.Double)
    found = await sample(readings, "imm.cycle")
    assert (found.value, found.status) == (3.5, Status.GOOD)
    assert driver.problems() == {}


async def test_an_uncertain_value_is_delivered_as_such(machine, driver_for):
    driver = await driver_for(machine.port, {"cycle": "Cycle"})
    readings = driver.readings()
    await sample(readings, "imm.cycle")
    machine.write("Cycle", 9.5, ua.VariantType.Double, status=ua.StatusCodes.UncertainLastUsableValue)
    found = await sample(readings, "imm.cycle")
    assert (found.value, found.status) == (9.5, Status.UNCERTAIN)


async def test_an_array_is_bad_with_a_reason(machine, driver_for):
    driver = await driver_for(machine.port, {"zones": "Zones"})
    found = await sample(driver.readings(), "imm.zones")
    assert (found.value, found.status) == (None, Status.BAD)
    assert "array of 2" in driver.problems()["imm.zones"]


async def test_one_bad_node_is_a_problem_and_is_tried_again(machine, driver_for, monkeypatch):
    monkeypatch.setattr(refused_module, "RETRY_FIRST_S", 0.1)
    signals = {"shots": "Shots", "late": "Late", "odd": "nsu=http://nowhere;s=Shots"}
    driver = await driver_for(machine.port, signals, telemetry=["late"])
    readings = driver.readings()
    first = await anext(readings)
    assert {(s.signal, s.status) for s in first.values} == {("imm.late", Status.BAD), ("imm.odd", Status.BAD)}
    assert first.blocks[0][:2] == (("imm.late",), (None,))
    assert "BadNodeIdUnknown" in driver.problems()["imm.late"]
    assert "the server has http://opcfoundation.org/UA/, " in driver.problems()["imm.odd"]
    assert (await sample(readings, "imm.shots")).status is Status.GOOD
    machine.add("Late", 12, ua.VariantType.Int32)
    found = await sample(readings, "imm.late")
    assert (found.value, found.status) == (12, Status.GOOD), "and BAD was said once only"
    assert set(driver.problems()) == {"imm.odd"}
    odd = next(item for item in driver._items if item.name == "imm.odd")
    tries = odd.refused_times
    async with asyncio.timeout(60):
        while odd.refused_times < tries + 2:
            assert all(s.signal != "imm.odd" for s in (await anext(readings)).values)


async def test_telemetry_comes_as_blocks_without_rule_values(machine, driver_for):
    signals = {"cycle": "Cycle", "level": "Level"}
    driver = await driver_for(machine.port, signals, rules=(), telemetry=signals)
    readings = driver.readings()
    blocks = []

    async def next_block():
        async with asyncio.timeout(60):
            async for reading in readings:
                assert reading.values == ()
                if reading.blocks:
                    return reading.blocks[0]
        return None

    block = await next_block()
    while len(block.names) < 2:
        block = await next_block()
    assert dict(zip(block.names, block.values, strict=True)) == {"imm.cycle": 17.25, "imm.level": -7}
    for number in (1, 2):
        machine.write("Level", number, ua.VariantType.Int16)
        blocks.append(await next_block())
    assert [b.values for b in blocks] == [[1], [2]]
    assert blocks[0].names is blocks[1].names, "receivers prepare per tuple"
    machine.write("Level", None, status=ua.StatusCodes.BadSensorFailure)
    assert (await next_block()).values == [None]


async def test_an_idle_server_gives_empty_readings(machine, driver_for, monkeypatch):
    monkeypatch.setattr(subscription_module, "KEEP_ALIVE_EVERY_NS", 100_000_000)
    driver = await driver_for(machine.port, {"level": "Level"})
    readings = driver.readings()
    await sample(readings, "imm.level")
    taken = Taken()
    for _ in range(3):
        assert await anext(readings) == ((), ())
    assert taken.seconds() < 2


async def test_a_black_hole_is_a_lost_link(machine, driver_for, proxy, monkeypatch):
    monkeypatch.setattr(subscription_module, "KEEP_ALIVE_EVERY_NS", 100_000_000)
    proxy.target = machine.port
    await proxy.start()
    driver = await driver_for(proxy.port, {"level": "Level"}, timeout=Duration("2 s"))
    readings = driver.readings()
    await sample(readings, "imm.level")
    proxy.frozen = True
    with pytest.raises(DriverError, match=r"no sign of life for 2\.3 s"):
        await asyncio.wait_for(_drain(readings), 60)
    taken = Taken()
    await driver.close()
    assert taken.seconds() < 1


async def _drain(readings):
    async for _reading in readings:
        pass


async def test_a_slow_receiver_holds_the_server_and_still_gets_the_latest(machine, driver_for):
    driver = await driver_for(machine.port, {"level": "Level"}, publish=Duration("10 ms"))
    readings = driver.readings()
    await sample(readings, "imm.level")
    number = 0

    async def next_one():
        nonlocal number
        number += 1
        machine.write("Level", number, ua.VariantType.Int16)
        await asyncio.sleep(0.012)

    async with asyncio.timeout(60):
        while not driver._subscription.notifications.full():
            await next_one()
    for _ in range(20):
        await next_one()
    found = await sample(readings, "imm.level", lambda s: s.value == number)
    assert found.status is Status.GOOD


async def test_a_restarted_server_may_number_its_namespaces_differently(
    machine, server_with_other_index, driver_for, proxy
):
    other = server_with_other_index
    assert other.index != machine.index
    other.add("Level", 99, ua.VariantType.Int16)
    proxy.target = machine.port
    await proxy.start()
    before = await driver_for(proxy.port, {"level": "Level"})
    readings = before.readings()
    assert (await sample(readings, "imm.level")).value == -7
    await proxy.cut()
    with pytest.raises(DriverError):
        await asyncio.wait_for(_drain(readings), 60)
    proxy.target = other.port
    await proxy.start()
    after = await driver_for(proxy.port, {"level": "Level"})
    assert (await sample(after.readings(), "imm.level")).value == 99


async def test_a_missing_notification_is_a_lost_link(machine, driver_for):
    driver = await driver_for(machine.port, {"level": "Level"})
    for number in (7, 8, 2**32 - 1):
        driver._subscription._last_sequence = None if number != 8 else 7
        driver._subscription._check_sequence(number)
    driver._subscription._check_sequence(1)
    with pytest.raises(DriverError, match="notification 3 came after 1"):
        driver._subscription._check_sequence(3)


async def test_something_else_that_answers_is_a_driver_error(context):
    async def answer(_reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    driver = PLUGIN.build(settings_for(port, {"x": "X"}), context(rules=["x"]))
    with pytest.raises(DriverError, match="no connection"):
        await driver.open()
    await driver.close()
    server.close()


def stamp():
    """Now, as a device says it."""
    return datetime.fromtimestamp(time.time(), UTC).replace(tzinfo=None)


@pytest.mark.parametrize("mode", ["subscribe", "read"])
async def test_a_question_is_answered_out_of_turn_and_no_older_report_follows(machine, driver_for, mode):
    slow = {"publish": Duration("2 s")} if mode == "subscribe" else {"scan": Duration("60 s")}
    driver = await driver_for(machine.port, {"level": "Level"}, mode=mode, **slow)
    readings = driver.readings()
    assert (await sample(readings, "imm.level")).value == -7
    found = []

    async def read_until(accept):
        async with asyncio.timeout(60):
            async for reading in readings:
                found.extend(one.value for one in reading.values)
                if accept(reading):
                    return reading
        return None

    for number, level in ((1, 11), (2, 12), (3, 12)):
        machine.write("Level", level, ua.VariantType.Int16, source_time=stamp())
        driver.read_now(Question(frozenset({"level"}), number))
        answer = await read_until(lambda reading: isinstance(reading, AskedReading))
        assert answer.number == number
        assert answer.values[0].value == level
    if mode == "subscribe":
        machine.write("Level", 13, ua.VariantType.Int16, source_time=stamp())
        await read_until(lambda reading: any(one.value == 13 for one in reading.values))
        assert found == sorted(found), "a report that was on its way set the value back"
    await driver.close()
