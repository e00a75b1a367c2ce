"""What the device refuses is found down to the single signal, and never stops a neighbour."""

import asyncio
import itertools
import math

import pytest

import drivers.modbus.driver as driver_module
from gateway.core.duration import Duration
from gateway.core.model import Status


def good(reading):
    return {sample.signal: sample.value for sample in reading.values if sample.status is Status.GOOD}


def bad(reading):
    return {sample.signal for sample in reading.values if sample.status is Status.BAD}


def neighbours(count):
    return {f"r{i}": {"address": i} for i in range(count)}


async def read_until(readings, condition, most=None):
    """The first reading that is as wanted; of so many at most, or within a time that only a defect needs."""
    async with asyncio.timeout(60):
        for _ in itertools.count() if most is None else range(most):
            reading = await anext(readings)
            if condition(reading):
                return reading
    raise AssertionError("the condition did not come true")


@pytest.fixture
def refuses(device):
    """A device that refuses every request which touches certain registers."""
    whole = device.answer
    refused = {}

    async def answer(unit, pdu):
        if pdu[0] == 3:
            address, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
            for number in range(address, address + count):
                if number in refused:
                    device.requests.append(("holding", address, count))
                    return bytes([0x83, refused[number]])
        return await whole(unit, pdu)

    device.answer = answer
    return refused


@pytest.mark.parametrize("code", [1, 2, 3, 4, 8])
async def test_one_bad_register_is_isolated_and_its_neighbours_go_on(device, driver_for, refuses, code):
    device.tables["holding"] = {i: i for i in range(40)}
    refuses[17] = code
    driver = await driver_for(device, neighbours(40))
    readings = driver.readings()
    expected = {f"plc.r{i}": i for i in range(40) if i != 17}
    reading = await read_until(readings, lambda reading: good(reading) == expected, most=3)
    assert set(driver.problems()) == {"plc.r17"}
    assert f"holding 17 to 17 refused with exception {code}" in driver.problems()["plc.r17"]
    assert bad(reading) <= {"plc.r17"}
    device.requests.clear()
    assert good(await anext(readings)) == expected
    assert len(device.requests) <= 7, "as many pieces as halving needs, and no more"
    assert "read in pieces" in driver.notices()["requests"]


async def test_the_search_for_bad_registers_is_bounded_within_a_scan(device, driver_for, refuses):
    device.tables["holding"] = {i: i for i in range(120)}
    refuses |= dict.fromkeys(range(0, 120, 2), 2)
    driver = await driver_for(device, neighbours(120))
    readings = driver.readings()
    counts = []
    found_bad, found_good = set(), set()
    for _ in range(40):
        device.requests.clear()
        reading = await anext(readings)
        counts.append(len(device.requests))
        found_bad |= bad(reading)
        found_good = set(good(reading))
        if len(found_bad) == 60 and len(found_good) == 60:
            break
    assert found_bad == {f"plc.r{i}" for i in range(0, 120, 2)} == set(driver.problems())
    assert found_good == {f"plc.r{i}" for i in range(1, 120, 2)}
    assert max(counts) <= 60 + 2 * driver_module.SPLITS_PER_SCAN


async def test_a_hole_that_is_refused_is_left_out_at_once(device, driver_for):
    device.tables["holding"] = {0: 1, 1: 2, 9: 3, 20: 4}
    driver = await driver_for(device, {f"r{i}": {"address": i} for i in (0, 1, 9, 20)})
    readings = driver.readings()
    assert good(await anext(readings)) == {"plc.r0": 1, "plc.r1": 2, "plc.r9": 3, "plc.r20": 4}
    assert device.requests == [("holding", 0, 21), ("holding", 0, 2), ("holding", 9, 1), ("holding", 20, 1)]
    assert driver.problems() == {}


async def test_values_that_overlap_are_not_torn_by_a_split(device, driver_for, refuses):
    device.tables["holding"] = {i: i for i in range(8)}
    refuses[6] = 2
    signals = {
        "long": {"address": 0, "type": "uint64"},
        "middle": {"address": 2, "type": "uint32"},
        "flag": {"address": 3, "bit": 0},
        "gone": {"address": 6},
    }
    driver = await driver_for(device, signals)
    reading = await read_until(driver.readings(), lambda reading: "plc.long" in good(reading), most=3)
    assert good(reading) == {"plc.long": 0x0000_0001_0002_0003, "plc.middle": 0x0002_0003, "plc.flag": True}
    assert set(driver.problems()) == {"plc.gone"}


async def test_a_device_that_refused_while_starting_is_read_in_whole_requests_again(
    device, driver_for, refuses, monkeypatch
):
    monkeypatch.setattr(driver_module, "REFUSED_RETRY_FIRST_S", 0.02)
    monkeypatch.setattr(driver_module, "WHOLE_RETRY_FIRST_S", 0.05)
    device.tables["holding"] = {i: i for i in range(20)}
    refuses |= dict.fromkeys(range(20), 4)
    driver = await driver_for(device, neighbours(20))
    readings = driver.readings()
    seen = set()

    def all_bad(reading):
        seen.update(bad(reading))
        return len(seen) == 20

    await read_until(readings, all_bad)
    refuses.clear()
    everything = {f"plc.r{i}": i for i in range(20)}

    def whole_again(reading):
        one_request = device.requests[-1:] == [("holding", 0, 20)]
        device.requests.clear()
        return one_request and good(reading) == everything

    await read_until(readings, whole_again)
    assert driver.problems() == {}
    assert set(driver.notices()) <= {"scan"}, "a computer that is busy may leave out scans"


async def test_a_whole_request_that_stays_refused_is_tried_more_and_more_seldom(
    device, driver_for, refuses, monkeypatch
):
    monkeypatch.setattr(driver_module, "WHOLE_RETRY_FIRST_S", 0.03)
    device.tables["holding"] = {0: 1, 9: 2}
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    driver = await driver_for(device, {"a": {"address": 0}, "b": {"address": 9}}, scan=Duration("10 ms"))
    readings = driver.readings()
    for _ in range(40):
        assert good(await anext(readings)) == {"plc.a": 1, "plc.b": 2}
    tried = device.requests.count(("holding", 0, 10))
    # At once, after 0.03 s, 0.06 s more, 0.12 s more: on a busy computer the readings take longer, and there are more.
    assert 2 <= tried <= 1 + math.log2(1 + (loop.time() - start_s) / 0.03)
