"""Several scan times in one source, single requests, and what is worth reporting."""

import asyncio

from drivers.asking import AskedReading, Question
from drivers.modbus import PLUGIN
from drivers.modbus.settings import ModbusSettings
from drivers.modbus.signals import ModbusBlock, ModbusSignal
from gateway.core.duration import Duration
from gateway.core.model import Status

MS = 1_000_000
#: So often is tried what a busy computer can disturb.
ATTEMPTS = 10


def values_of(reading):
    return {sample.signal: sample.value for sample in reading.values}


async def test_signals_have_their_own_rhythm_and_slow_ones_share_the_instants_of_fast_ones(device, driver_for):
    device.tables["holding"] = {0: 1, 1: 2}
    signals = {"fast": {"address": 0}, "slow": {"address": 1, "scan": Duration("120 ms")}}
    loop = asyncio.get_running_loop()
    for _ in range(ATTEMPTS):
        driver = await driver_for(device, signals, scan=Duration("40 ms"))
        readings = driver.readings()
        found, start_s = [], None
        for _ in range(7):
            found.append(set(values_of(await anext(readings))))
            start_s = start_s or loop.time()
        if not driver.overruns:
            break
        # A busy computer left out scans: then the pattern is another, and says nothing.
        await readings.aclose()
        await driver.close()
    assert driver.notices() == {}
    both, fast = {"plc.fast", "plc.slow"}, {"plc.fast"}
    assert found == [both, fast, fast, both, fast, fast, both]
    assert loop.time() - start_s > 0.2


async def test_a_slow_rhythm_is_not_starved_by_a_fast_one_that_takes_too_long(device, driver_for):
    device.tables["holding"] = {0: 1, 1: 2}
    device.late_s[0] = 0.05
    driver = await driver_for(
        device,
        {"fast": {"address": 0, "scan": Duration("20 ms")}, "slow": {"address": 1}},
        scan=Duration("110 ms"),
    )
    readings = driver.readings()
    slow = 0
    for _ in range(10):
        slow += "plc.slow" in values_of(await anext(readings))
    assert slow >= 4
    assert driver.overruns > 5
    assert (
        f"{driver.overruns} scans left out since the link was made: the longest reading took"
        in (driver.notices()["scan"])
    )


async def test_the_fastest_rhythm_gives_signs_of_life_even_if_nobody_wants_its_values(device, driver_for):
    device.tables["holding"] = {0: 1, 1: 2}
    signals = {"fast": {"address": 0}, "slow": {"address": 1, "scan": Duration("10 s")}}
    driver = await driver_for(device, signals, rules=["slow"])
    readings = driver.readings()
    assert values_of(await anext(readings)) == {"plc.slow": 2}
    for _ in range(3):
        assert await asyncio.wait_for(anext(readings), 60) == ((), ())
    assert device.requests == [("holding", 1, 1)]


def test_the_silence_between_two_readings_is_that_of_the_fastest_rhythm():
    settings = ModbusSettings(
        driver="modbus",
        host="plc",
        scan=Duration("1 s"),
        signals={"a": ModbusSignal(address=0, scan=Duration("5 s")), "b": ModbusSignal(address=0)},
        blocks=(ModbusBlock(name="r", address=0, count=2, scan=Duration("200 ms")),),
    )
    assert PLUGIN.cycle_ns(settings) == Duration("200 ms")


async def test_single_batching_asks_for_every_signal_alone(device, driver_for):
    device.tables["holding"] = {0: 1, 1: 2, 2: 3}
    signals = {"a": {"address": 0}, "b": {"address": 1, "type": "uint32"}, "again": {"address": 0}}
    driver = await driver_for(device, signals, batching="single")
    assert values_of(await anext(driver.readings())) == {"plc.a": 1, "plc.b": 131_075, "plc.again": 1}
    assert device.requests == [("holding", 0, 1), ("holding", 1, 2), ("holding", 0, 1)]


async def test_a_limit_of_bits_counts_for_bits_only(device, driver_for):
    device.tables["coil"] = dict.fromkeys(range(40), True)
    device.tables["holding"] = dict.fromkeys(range(40), 1)
    signals = {f"c{i}": {"table": "coil", "address": i} for i in range(40)}
    signals |= {f"r{i}": {"address": i} for i in range(40)}
    driver = await driver_for(device, signals, max_bits=16)
    assert len(values_of(await anext(driver.readings()))) == 80
    assert sorted(device.requests) == [("coil", 0, 16), ("coil", 16, 16), ("coil", 32, 8), ("holding", 0, 40)]


async def test_a_signal_that_reports_changes_is_silent_in_between(device, driver_for):
    device.tables["holding"] = {0: 100, 1: 7}
    signals = {"level": {"address": 0, "report": "change", "deadband": "5"}, "plain": {"address": 1}}
    driver = await driver_for(device, signals)
    readings = driver.readings()
    assert values_of(await anext(readings)) == {"plc.level": 100, "plc.plain": 7}
    assert values_of(await anext(readings)) == {"plc.plain": 7}
    device.tables["holding"][0] = 104
    assert values_of(await anext(readings)) == {"plc.plain": 7}
    device.tables["holding"][0] = 105
    assert values_of(await anext(readings)) == {"plc.level": 105, "plc.plain": 7}
    device.refuse[("holding", 0)] = 4
    bad = []
    while not bad:
        bad = [s for s in (await anext(readings)).values if s.status is Status.BAD]
    assert "plc.level" in {sample.signal for sample in bad}


async def test_telemetry_within_its_deadband_waits_for_the_refresh(device, driver_for):
    clock = [10_000 * MS]
    device.tables["holding"] = {0: 100, 1: 7}
    signals = {"level": {"address": 0, "deadband": "5"}, "state": {"address": 1}}
    driver = await driver_for(device, signals, rules=(), telemetry=["level", "state"], now_ns=lambda: clock[0])
    readings = driver.readings()
    assert [list(block.values) for block in (await anext(readings)).blocks] == [[100, 7]]
    device.tables["holding"][0] = 104
    assert (await anext(readings)).blocks == ()
    device.tables["holding"][1] = 8
    assert [list(block.values) for block in (await anext(readings)).blocks] == [[104, 8]]
    device.tables["holding"][0] = 99
    assert (await anext(readings)).blocks == (), "near the 100 that moved it last"
    clock[0] += 10_000 * MS
    assert [list(block.values) for block in (await anext(readings)).blocks] == [[99, 8]]
    device.tables["holding"][0] = 90
    assert [list(block.values) for block in (await anext(readings)).blocks] == [[90, 8]]


async def test_a_question_is_answered_out_of_turn_and_also_what_has_not_changed(device, driver_for):
    device.tables["holding"] = {0: 1, 1: 2, 50: 7}
    signals = {"good": {"address": 0, "report": "change"}, "other": {"address": 50, "scan": Duration("20 s")}}
    driver = await driver_for(device, signals, scan=Duration("10 s"))
    readings = driver.readings()
    assert values_of(await anext(readings)) == {"plc.good": 1, "plc.other": 7}
    for number in (1, 2):
        driver.read_now(Question(frozenset({"good"}), number))
        found = await asyncio.wait_for(anext(readings), 60)
        assert isinstance(found, AskedReading)
        assert (found.number, values_of(found)) == (number, {"plc.good": 1})
    assert device.requests[-1] == ("holding", 0, 1)
    assert driver.overruns == 0


async def test_questions_that_come_together_are_answered_by_one_reading(device, driver_for):
    device.tables["holding"] = {0: 1, 50: 7}
    driver = await driver_for(device, {"good": {"address": 0}, "other": {"address": 50}}, scan=Duration("10 s"))
    readings = driver.readings()
    await anext(readings)
    driver.read_now(Question(frozenset({"good"}), 1))
    driver.read_now(Question(frozenset({"other"}), 2))
    found = await asyncio.wait_for(anext(readings), 60)
    assert (found.number, values_of(found)) == (2, {"plc.good": 1, "plc.other": 7})
