import asyncio
import random
import struct
import time
from types import MappingProxyType

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

import drivers.modbus.driver as driver_module
from drivers.base import DriverError
from drivers.modbus import PLUGIN
from drivers.modbus.endpoint import Endpoint
from drivers.modbus.link import link_for
from drivers.modbus.settings import ModbusSettings
from drivers.modbus.signals import ModbusBlock, ModbusSignal
from drivers.supervisor import SourceSupervisor
from gateway.core.duration import Duration
from gateway.core.model import Status
from gateway.testing import DriverContract

MS = 1_000_000


class PymodbusRig:
    """The library's own server as the device: written by others, from the same specification."""

    expected = MappingProxyType(
        {
            "plc.good": 4_711,
            "plc.total": 2**63 + 1,
            "plc.temperature": 21.5,
            "plc.current": 12.3,
            "plc.running": True,
            "plc.alarm": True,
            "plc.level": -7,
        }
    )

    def __init__(self, context, port):
        self.port = port
        self._context = context
        self._server = None
        self._settings = ModbusSettings(
            driver="modbus",
            host="127.0.0.1",
            port=port,
            unit=7,
            scan=Duration("50 ms"),
            timeout=Duration("2 s"),
            signals={
                "good": ModbusSignal(address=0),
                "total": ModbusSignal(address=1, type="uint64"),
                "temperature": ModbusSignal(address=5, type="float32"),
                "current": ModbusSignal(address=7, scale="0.1"),
                "alarm": ModbusSignal(address=8, bit=2),
                "level": ModbusSignal(table="input", address=3, type="int16"),
                "running": ModbusSignal(table="coil", address=9),
            },
        )

    def make(self):
        return PLUGIN.build(self._settings, self._context(rules=self._settings.signals))

    def now_ns(self):
        return time.time_ns()

    async def start_device(self):
        holding = [4_711, 0x8000, 0, 0, 1, *struct.unpack(">2H", struct.pack(">f", 21.5)), 123, 0b100]
        tables = (
            [SimData(0, values=[False] * 9 + [True] * 7, datatype=DataType.BITS)],
            [SimData(0, values=[False] * 16, datatype=DataType.BITS)],
            [SimData(0, values=holding, datatype=DataType.REGISTERS)],
            [SimData(0, values=[0, 0, 0, 65_529], datatype=DataType.REGISTERS)],
        )
        device = SimDevice(id=7, simdata=tables)
        self._server = ModbusTcpServer([device], address=("127.0.0.1", self.port))
        await self._server.serve_forever(background=True)

    async def stop_device(self):
        if self._server is not None:
            await self._server.shutdown()
            self._server = None


class TestModbusContract(DriverContract):
    @pytest.fixture
    async def rig(self, context, port_for_later):
        rig = PymodbusRig(context, port_for_later())
        yield rig
        await rig.stop_device()


def good(reading):
    return {sample.signal: sample.value for sample in reading.values if sample.status is Status.GOOD}


def bad(reading):
    return {sample.signal for sample in reading.values if sample.status is Status.BAD and sample.value is None}


async def test_one_reading_per_scan_with_all_rule_values_changed_or_not(device, driver_for):
    device.tables["holding"] = {0: 5, 1: 6}
    driver = await driver_for(device, {"a": {"address": 0}, "b": {"address": 1}})
    readings = driver.readings()
    for _ in range(3):
        assert good(await anext(readings)) == {"plc.a": 5, "plc.b": 6}
    assert device.requests == [("holding", 0, 2)] * 3


async def test_the_schedule_does_not_drift_and_an_overrun_skips_scans(device, driver_for):
    device.tables["holding"] = {0: 1}
    driver = await driver_for(device, {"a": {"address": 0}}, scan=Duration("50 ms"))
    loop = asyncio.get_running_loop()
    readings = driver.readings()
    for _ in range(10):  # a busy computer can disturb it, and not ten times in a row
        await anext(readings)
        start, overruns = loop.time(), driver.overruns
        for _ in range(6):
            await anext(readings)
            await asyncio.sleep(0.02)  # the receiver's work must not add up
        took_s, overruns = loop.time() - start, driver.overruns - overruns
        if took_s < 6 * 0.05 + 0.02 + 0.045 and overruns == 0:
            break
    assert took_s < 6 * 0.05 + 0.02 + 0.045
    assert overruns == 0
    await asyncio.sleep(0.12)
    before = loop.time()
    await anext(readings)
    assert driver.overruns >= 2
    await anext(readings)
    assert loop.time() - before > 0.04, "missed scans are not caught up"


async def test_telemetry_comes_as_blocks_when_a_word_changed(device, driver_for):
    device.tables["holding"] = dict.fromkeys(range(200), 7)
    block = ModbusBlock(name="regs", address=0, count=200)
    driver = await driver_for(device, {}, blocks=(block,))
    readings = driver.readings()
    first, second = (await anext(readings)).blocks
    assert first.names == tuple(f"plc.regs.{i}" for i in range(125))
    assert list(first.values) == [7] * 125
    assert second.names[-1] == "plc.regs.199"
    assert (await anext(readings)).blocks == ()
    device.tables["holding"][150] = 8
    changed = None
    while not changed:
        changed = (await anext(readings)).blocks
    (only,) = changed
    assert only.names is second.names, "the prepared names are shared"
    assert only.values[25] == 8


async def test_unchanged_telemetry_is_repeated_after_ten_seconds(device, driver_for):
    clock = [10_000 * MS]
    device.tables["holding"] = {0: 7}
    driver = await driver_for(
        device, {"t": {"address": 0, "scale": "0.1"}}, rules=(), telemetry=["t"], now_ns=lambda: clock[0]
    )
    readings = driver.readings()
    (block,) = (await anext(readings)).blocks
    assert block == (("plc.t",), [0.7], 10_000 * MS)
    clock[0] += 9_999 * MS
    assert (await anext(readings)).blocks == ()
    clock[0] += 1 * MS
    (block,) = (await anext(readings)).blocks
    assert block.time_ns == 20_000 * MS


async def test_a_signal_can_feed_a_rule_and_telemetry(device, driver_for):
    device.tables["holding"] = {0: 7}
    driver = await driver_for(device, {"x": {"address": 0}}, telemetry=["x"])
    reading = await anext(driver.readings())
    assert good(reading) == {"plc.x": 7}
    assert reading.blocks[0].names == ("plc.x",)


async def test_a_refused_block_is_bad_once_and_the_others_go_on(device, driver_for, until, monkeypatch):
    monkeypatch.setattr(driver_module, "REFUSED_RETRY_FIRST_S", 0.05)
    device.tables["holding"] = {0: 1}
    device.tables["input"] = {5: 2}
    device.refuse[("input", 5)] = 4
    signals = {"a": {"address": 0}, "b": {"table": "input", "address": 5}}
    driver = await driver_for(device, signals, telemetry=["b"])
    readings = driver.readings()
    reading = await anext(readings)
    assert good(reading) == {"plc.a": 1}
    assert bad(reading) == {"plc.b"}
    assert reading.blocks[0].values == (None,)
    assert "input 5 to 5 refused with exception 4 (server device failure)" in driver.problems()["plc.b"]
    assert set(driver.problems()) == {"plc.b"}
    for _ in range(6):
        reading = await anext(readings)
        assert good(reading) == {"plc.a": 1}
        assert bad(reading) == set()
    asked = device.requests.count(("input", 5, 1))
    assert 1 < asked < 6, "refused requests are repeated, but more and more seldom"
    device.refuse.clear()
    while "plc.b" not in good(reading):
        reading = await anext(readings)
    assert good(reading) == {"plc.a": 1, "plc.b": 2}
    assert driver.problems() == {}


@pytest.mark.parametrize("code", [10, 11])
async def test_a_gateway_that_does_not_reach_the_unit_is_a_lost_link(device, driver_for, code):
    device.tables["holding"] = {0: 1}
    driver = await driver_for(device, {"a": {"address": 0}})
    readings = driver.readings()
    await anext(readings)
    device.refuse[("holding", 0)] = code
    with pytest.raises(DriverError, match=rf"exception {code} .*: nothing answers behind the gateway"):
        await anext(readings)


@pytest.mark.parametrize("code", [5, 6])
async def test_a_busy_device_is_asked_again_with_the_next_scan_and_bad_only_if_it_lasts(device, driver_for, code):
    device.tables["holding"] = {0: 1, 1: 2}
    driver = await driver_for(device, {"a": {"address": 0}, "b": {"address": 1}})
    readings = driver.readings()
    await anext(readings)
    device.refuse[("holding", 0)] = code
    assert (await anext(readings)).values == ()
    assert (await anext(readings)).values == ()
    assert driver.problems() == {}
    del device.refuse[("holding", 0)]
    assert good(await anext(readings)) == {"plc.a": 1, "plc.b": 2}
    device.refuse[("holding", 0)] = code
    await anext(readings)
    await anext(readings)
    assert bad(await anext(readings)) == {"plc.a", "plc.b"}
    assert f"exception {code}" in driver.problems()["plc.a"]
    assert all(count == 2 for _table, _address, count in device.requests), "nothing is split for being busy"


async def test_a_hole_that_the_device_refuses_is_left_out(device, driver_for):
    device.tables["holding"] = {0: 1, 5: 2}
    driver = await driver_for(device, {"a": {"address": 0}, "b": {"address": 5}})
    readings = driver.readings()
    assert bad(await anext(readings)) == set(), "the hole is to blame, not the signals"
    assert good(await anext(readings)) == {"plc.a": 1, "plc.b": 2}
    assert driver.problems() == {}


def short(tid, unit, pdu):
    pdu = struct.pack(">BBH", 3, 2, 99)
    return struct.pack(">HHHB", tid, 0, len(pdu) + 1, unit) + pdu


def torn(tid, unit, pdu):
    return struct.pack(">HHHB", tid, 0, len(pdu) - 1, unit) + pdu[:-2]


def odd(tid, unit, pdu):
    return struct.pack(">HHHB", tid, 0, len(pdu), unit) + pdu[:1] + bytes([pdu[1] - 1]) + pdu[2:-1]


def announced_longer(tid, unit, pdu):
    return struct.pack(">HHHB", tid, 0, len(pdu) + 1, unit) + pdu[:1] + bytes([pdu[1] + 2]) + pdu[2:]


def other_unit(tid, unit, pdu):
    return struct.pack(">HHHB", tid, 0, len(pdu) + 1, unit + 1) + pdu


def other_function(tid, unit, pdu):
    return struct.pack(">HHHB", tid, 0, len(pdu) + 1, unit) + b"\x04" + pdu[1:]


def other_request(tid, unit, pdu):
    return struct.pack(">HHHB", tid + 1, 0, len(pdu) + 1, unit) + pdu


def garbage(tid, unit, pdu):
    return random.Random(tid).randbytes(40)


def nothing(tid, unit, pdu):
    return b""


@pytest.mark.parametrize(
    "spoil",
    [short, torn, odd, announced_longer, other_unit, other_function, other_request, garbage, nothing],
    ids=lambda f: f.__name__,
)
async def test_an_answer_that_does_not_fit_is_a_lost_link_and_never_a_value(device, driver_for, spoil):
    device.tables["holding"] = {0: 1, 1: 2, 2: 3, 3: 4}
    driver = await driver_for(device, {"a": {"address": 0, "type": "uint64"}}, timeout=Duration("1 s"))
    readings = driver.readings()
    await anext(readings)
    device.spoil = spoil
    with pytest.raises(DriverError, match=r"127\.0\.0\.1:\d+ unit 1: .*holding 0 \(length 4\)"):
        await asyncio.wait_for(anext(readings), 60)


async def test_a_closed_connection_is_noticed_before_the_time_limit(device, driver_for, until):
    device.tables["holding"] = {0: 1}
    driver = await driver_for(device, {"a": {"address": 0}}, timeout=Duration("20 s"))
    readings = driver.readings()
    await anext(readings)
    device.spoil = nothing
    waiting = asyncio.ensure_future(anext(readings))
    await until(lambda: len(device.requests) == 2)
    await device.stop()
    done, _ = await asyncio.wait({waiting}, timeout=15)
    assert done
    assert isinstance(waiting.exception(), DriverError)


async def test_an_answer_has_exactly_the_bits_that_were_asked_for(device):
    device.tables["coil"] = {i: i % 3 == 0 for i in range(11)}
    link = link_for(Endpoint(host="127.0.0.1", port=device.port))
    await link.connect()
    assert await link.read("coil", 0, 11) == [i % 3 == 0 for i in range(11)]
    link.close()


async def test_coils_become_signals(device, driver_for):
    device.tables["coil"] = {i: i % 3 == 0 for i in range(11)}
    signals = {f"c{i}": {"table": "coil", "address": i} for i in range(11)}
    driver = await driver_for(device, signals)
    assert good(await anext(driver.readings())) == {f"plc.c{i}": i % 3 == 0 for i in range(11)}


async def test_under_the_supervisor_a_black_hole_is_bad_once_and_then_all_is_well_again(device, context, until):
    device.tables["holding"] = {0: 1}
    settings = ModbusSettings(
        driver="modbus",
        host="127.0.0.1",
        port=device.port,
        scan=Duration("20 ms"),
        timeout=Duration("500 ms"),
        signals={"a": ModbusSignal(address=0)},
    )
    readings = []

    async def deliver(reading):
        readings.append(reading)

    supervisor = SourceSupervisor(
        name="plc",
        make_driver=lambda: PLUGIN.build(settings, context(rules=["a"])),
        rule_signals=("plc.a",),
        now_ns=time.time_ns,
        deliver=deliver,
        stale_after_ns=5_000 * MS,
        backoff_max_ns=20 * MS,
        rng=random.Random(3),
    )
    task = asyncio.create_task(supervisor.run())
    await until(lambda: len(readings) > 3)
    device.spoil = nothing
    black_from = len(device.requests)
    await until(lambda: len(device.requests) > black_from + 2)
    assert [r for r in readings if bad(r)] == readings[-1:]
    device.spoil = None
    await until(lambda: good(readings[-1]) == {"plc.a": 1})
    await device.stop()
    await until(lambda: supervisor.status.state == "down")
    assert any(word in supervisor.status.last_error for word in ("no connection", "no usable answer"))
    device.tables["holding"] = {0: 2}
    await device.start()
    await until(lambda: good(readings[-1]) == {"plc.a": 2})
    assert len([r for r in readings if bad(r)]) == 2
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=60)
    assert done
