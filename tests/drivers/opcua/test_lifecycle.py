"""Reading in scans, nodes that come and go, servers that restart or have no room, and writing."""

import asyncio
import time

import pytest
from asyncua import ua
from asyncua.server.internal_session import InternalSession

import drivers.opcua.driver as driver_module
import drivers.opcua.refused as refused_module
from drivers.base import DriverError, WriteRefusedError
from gateway.core.model import Status
from gateway.testing import DriverContract, RefusedSignalContract

LEVEL = {"level": {"node": "nsu=m;s=life.Level"}}
EXPECTED = {"imm.level": -7, "imm.shots": 2**63 + 5, "imm.first": 1.5}
SIGNALS = {
    **LEVEL,
    "shots": {"path": "/Objects/m:Shots"},
    "first": {"node": "nsu=m;s=life.Row", "index": 0},
    "missing": {"node": "nsu=m;s=life.Missing"},
}


@pytest.fixture(scope="module")
def plant(server):
    server.add("life.Level", -7, ua.VariantType.Int16)
    server.add("life.Shots", 2**63 + 5, ua.VariantType.UInt64)
    server.add("life.Row", [1.5, 2.5], ua.VariantType.Double)
    return server


@pytest.fixture(autouse=True)
def quick(monkeypatch, plant):
    monkeypatch.setattr(refused_module, "RETRY_FIRST_S", 0.1)
    yield
    plant.write("life.Level", -7, ua.VariantType.Int16)


class Rig:
    expected = EXPECTED
    expected_bad = {"imm.missing": "BadNodeIdUnknown"}  # noqa: RUF012 - read only

    def __init__(self, proxy, make):
        self._proxy = proxy
        self.make = lambda: make(proxy.port or 1)

    def now_ns(self):
        return time.time_ns()

    async def start_device(self):
        await self._proxy.start()

    async def stop_device(self):
        await self._proxy.cut()


class TestReadContract(DriverContract, RefusedSignalContract):
    @pytest.fixture
    async def rig(self, plant, proxy, configured):
        proxy.target = plant.port
        return Rig(proxy, lambda port: configured(port, SIGNALS, mode="read", scan="50 ms"))


class TestMixedContract(DriverContract, RefusedSignalContract):
    @pytest.fixture
    async def rig(self, plant, proxy, configured):
        proxy.target = plant.port
        mixed = {**SIGNALS, "level": {**SIGNALS["level"], "mode": "read", "scan": "60 ms"}}
        return Rig(proxy, lambda port: configured(port, mixed))


async def test_every_scan_gives_every_value_and_telemetry_only_what_changed(plant, drive):
    signals = {**LEVEL, "warm": {"node": "nsu=m;s=life.Row", "index": 0, "telemetry": True}}
    driver = await drive(plant.port, signals, telemetry=["warm"], mode="read", scan="30 ms")
    readings = driver.readings()
    seen = [await asyncio.wait_for(anext(readings), 60) for _ in range(4)]
    assert [[sample.value for sample in reading.values] for reading in seen] == [[-7]] * 4
    assert [len(reading.blocks) for reading in seen] == [1, 0, 0, 0]
    assert seen[0].blocks[0][:2] == (("imm.warm",), [1.5])


async def test_scans_that_the_server_cannot_follow_are_counted(plant, drive):
    driver = await drive(plant.port, LEVEL, mode="read", scan="20 ms")
    readings, start_s = driver.readings(), time.monotonic()
    await anext(readings)
    await asyncio.sleep(0.1)  # the receiver is busy: this is the cause, not a wait for an effect
    for _ in range(6):
        await anext(readings)
    number, words = driver.notices()["scan"].split(" ", 1)
    assert words.startswith("scans were left out")
    assert 3 <= int(number) <= (time.monotonic() - start_s) / 0.02, "they are left out, not made up for"


@pytest.mark.filterwarnings(
    "ignore:coroutine 'MonitoredItemService.datachange_callback' was never awaited"
)  # asyncua's
@pytest.mark.parametrize("mode", ["subscribe", "read"])
async def test_a_node_that_vanishes_and_comes_back_is_read_again(plant, drive, next_of, mode, monkeypatch):
    monkeypatch.setattr(driver_module, "VERIFY_EVERY_S", 0.2)  # this server does not say that a node is gone
    name = f"life.Fleeting-{mode}"
    plant.add(name, 1, ua.VariantType.Int32)
    signals = {"fleeting": {"node": f"nsu=m;s={name}"}, "level": {"node": "nsu=m;s=life.Level"}}
    driver = await drive(plant.port, signals, mode=mode, scan="30 ms")
    readings = driver.readings()
    assert (await next_of(readings, "fleeting")).value == 1
    plant.remove(name)
    found = await next_of(readings, "fleeting", lambda sample: sample.status is not Status.GOOD)
    assert (found.value, found.status) == (None, Status.BAD)
    for number in (50, 51):  # the other one goes on
        plant.write("life.Level", number, ua.VariantType.Int16)
        found = None
        while found != number:
            for sample in (await asyncio.wait_for(anext(readings), 60)).values:
                assert sample.signal == "imm.level", "BAD was said once only"
                found = sample.value
    assert "BadNodeIdUnknown" in driver.problems()["imm.fleeting"]
    plant.add(name, 2, ua.VariantType.Int32)
    found = await next_of(readings, "fleeting")
    assert (found.value, found.status) == (2, Status.GOOD), "BAD was said once only"
    assert driver.problems() == {}
    plant.write(name, 3, ua.VariantType.Int32)
    assert (await next_of(readings, "fleeting", lambda sample: sample.value == 3)).status is Status.GOOD


async def test_a_namespace_that_comes_while_connected_is_found(plant, drive, next_of):
    uri = "http://linegate.test/late"
    driver = await drive(plant.port, {"late": {"node": f"nsu={uri};s=Late"}})
    readings = driver.readings()
    assert (await next_of(readings, "late")).status is Status.BAD
    assert f"refused: unknown namespace {uri}; the server has " in driver.problems()["imm.late"]
    index = plant.call(plant._server.register_namespace(uri))
    plant.call(plant._server.nodes.objects.add_variable(ua.NodeId("Late", index), "Late", 5))
    assert (await next_of(readings, "late")).value == 5


async def test_a_path_is_resolved_anew_after_a_restart_with_another_order_of_namespaces(
    plant, server_with_other_index, drive, next_of, proxy
):
    other = server_with_other_index
    assert other.index != plant.index
    other.add_object("Press")
    other.add("Press.Count", 99, ua.VariantType.Int16, parent="Press")
    plant.add_object("Press")
    plant.add("Press.Count", 5, ua.VariantType.Int16, parent="Press")
    proxy.target = plant.port
    await proxy.start()
    signals = {"count": {"path": "m:Count"}}
    before = await drive(proxy.port, signals, start="/Objects/m:Press")
    readings = before.readings()
    assert (await next_of(readings, "count")).value == 5
    await proxy.cut()
    with pytest.raises(DriverError):
        await asyncio.wait_for(_drain(readings), 60)
    proxy.target = other.port
    await proxy.start()
    after = await drive(proxy.port, signals, start="/Objects/m:Press")
    assert (await next_of(after.readings(), "count")).value == 99


async def _drain(readings):
    async for _reading in readings:
        pass


async def test_a_server_without_a_free_session_is_named_and_works_again_later(plant, drive, next_of, monkeypatch):
    full = await drive(plant.port, LEVEL, opened=False)
    monkeypatch.setattr(InternalSession, "max_connections", 0)  # earlier tests' sessions may end meanwhile
    with pytest.raises(DriverError, match="the server has no free session: close other clients or raise its limit"):
        await full.open()
    monkeypatch.undo()
    assert (await next_of((await drive(plant.port, LEVEL)).readings(), "level")).value == -7


async def test_a_server_that_stops_and_starts_is_read_again(make_server, drive, next_of, proxy):
    first = make_server()
    first.add("life.Level", 1, ua.VariantType.Int16)
    proxy.target = first.port
    await proxy.start()
    driver = await drive(proxy.port, LEVEL)
    readings = driver.readings()
    await next_of(readings, "level")
    await asyncio.to_thread(first.call, first._server.stop())
    with pytest.raises(DriverError):
        await asyncio.wait_for(_drain(readings), 60)
    closing = await drive(proxy.port, LEVEL, opened=False)
    with pytest.raises(DriverError, match="no connection"):
        await closing.open()


async def test_a_lost_link_ends_slow_scans_at_once(plant, drive, proxy):
    proxy.target = plant.port
    await proxy.start()
    driver = await drive(proxy.port, LEVEL, mode="read", scan="1 min")
    readings = driver.readings()
    await anext(readings)
    waiting = asyncio.ensure_future(anext(readings))
    await asyncio.sleep(0)
    await proxy.cut()
    with pytest.raises(DriverError, match="link lost"):
        await asyncio.wait_for(waiting, 60)


# --- writing

LIMITS = {"min": "0", "max": "1000000"}


@pytest.fixture(scope="module")
def writable(plant):
    kinds = {"Byte": 1, "Int16": 1, "UInt64": 1, "Float": 1.0, "Boolean": False, "String": "", "DateTime": None}
    for name, value in kinds.items():
        kind = getattr(ua.VariantType, name)
        plant.add(f"write.{name}", ua.Variant(value, kind) if value is None else value, kind)
        plant.call(plant.nodes[f"write.{name}"].set_writable())
    return plant


@pytest.mark.parametrize(
    ("name", "extra", "value", "stored"),
    [
        ("Byte", {}, 200, 200),
        ("Int16", {"scale": "0.1"}, 12.5, 125),
        ("Int16", {"scale": "0.1", "offset": "-5"}, 0, 50),
        ("UInt64", {}, 2**63 + 1, 2**63 + 1),
        ("Float", {}, 2, 2.0),
        ("Boolean", {}, True, True),
        ("String", {}, "4711", "4711"),
    ],
)
async def test_a_value_is_written_in_the_variables_own_type(writable, drive, name, extra, value, stored):
    signal = {"node": f"nsu=m;s=write.{name}", "writable": LIMITS, **extra}
    driver = await drive(writable.port, {"x": signal, **LEVEL}, rules={"level"})
    await driver.write("x", value)
    found = writable.read(f"write.{name}")
    assert (found, type(found)) == (stored, type(stored))


@pytest.mark.parametrize(
    ("name", "extra", "value", "words"),
    [
        ("Byte", {}, 256, "found 256, allowed by the variable's type Byte: 0 to 255"),
        ("Int16", {}, 1.5, "found 1.5, allowed by the variable's type Int16"),
        ("Int16", {"scale": "0.1"}, 0.05, "allowed by the variable's type Int16"),
        ("Byte", {}, "on", "cannot take"),
        ("Byte", {}, True, "cannot take"),
        ("DateTime", {}, 5, "cannot take"),
        ("Int16", {"scale": "2"}, "x", "allowed a number, because it has a scale"),
    ],
)
async def test_what_the_type_cannot_hold_is_refused(writable, drive, name, extra, value, words):
    signal = {"node": f"nsu=m;s=write.{name}", "writable": LIMITS, **extra}
    driver = await drive(writable.port, {"x": signal})
    before = writable.read(f"write.{name}")
    with pytest.raises(WriteRefusedError, match=words):
        await driver.write("x", value)
    assert writable.read(f"write.{name}") == before


async def test_a_variable_that_may_not_be_written_or_is_not_there_is_refused(plant, drive):
    signals = {
        "level": {"node": "nsu=m;s=life.Level", "writable": LIMITS},
        "gone": {"node": "nsu=m;s=nowhere", "writable": LIMITS},
        "path": {"path": "/Objects/m:Nowhere", "writable": LIMITS},
    }
    driver = await drive(plant.port, signals)
    for name, words in (("level", "Bad.*: "), ("gone", "BadNodeIdUnknown"), ("path", "BadNoMatch")):
        with pytest.raises(WriteRefusedError, match=words):
            await driver.write(name, 1)
    with pytest.raises(WriteRefusedError, match="other: not a signal that can be written; allowed: level, gone, path"):
        await driver.write("other", 1)


async def test_a_write_over_a_lost_link_is_not_known(plant, drive, proxy):
    proxy.target = plant.port
    await proxy.start()
    driver = await drive(proxy.port, {"level": {"node": "nsu=m;s=life.Level", "writable": LIMITS}})
    await proxy.cut()
    with pytest.raises(DriverError, match="it is not known whether it was written"):
        await driver.write("level", 1)
