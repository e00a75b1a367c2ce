"""Values that move without being reported: found, and never where the report was only on its way."""

import asyncio
import math
from itertools import pairwise

import pytest
from asyncua import ua

import drivers.opcua.driver as driver_module
from drivers.base import DriverError
from drivers.opcua.silence import SilenceCheck

LEVEL = {"level": {"node": "nsu=m;s=silence.Level"}}
SIGNALS = [{}, {"scale": "0.5"}, {"report": "change", "deadband": "1"}]


@pytest.fixture(scope="module")
def plant(server):
    server.add("silence.Level", 0, ua.VariantType.Int16)
    server.add("silence.Bit", False, ua.VariantType.Boolean)
    server.add("silence.Float", math.nan, ua.VariantType.Double)
    return server


@pytest.fixture
def checks(monkeypatch):
    """Check as often as the intervals allow; when that was."""
    done = []
    check = SilenceCheck.check

    async def counted(self):
        found = await check(self)
        done.append(asyncio.get_running_loop().time())
        return found

    monkeypatch.setattr(driver_module, "VERIFY_EVERY_S", 0.2)
    monkeypatch.setattr(SilenceCheck, "check", counted)
    return done


@pytest.fixture(autouse=True)
def at_rest(plant):
    yield
    plant.write("silence.Level", 0, ua.VariantType.Int16)
    plant.write("silence.Bit", False, ua.VariantType.Boolean)


async def drain(readings):
    async for _reading in readings:
        pass


async def test_a_bit_that_toggles_and_is_not_yet_reported_at_each_check_is_not_suspected(plant, drive, next_of):
    driver = await drive(plant.port, {"bit": {"node": "nsu=m;s=silence.Bit"}}, publish="300 ms")
    readings, silence, subscription = driver.readings(), driver._silence, driver._subscription
    await next_of(readings, "bit")
    (item,) = subscription.items()
    for _ in range(4):
        plant.write("silence.Bit", True, ua.VariantType.Boolean)
        assert await silence.check() == []
        assert (item.last, item.handle in subscription.watched) == (False, True), "the check came before the report"
        await next_of(readings, "bit", lambda sample: sample.value is True)
        plant.write("silence.Bit", False, ua.VariantType.Boolean)
        await next_of(readings, "bit", lambda sample: sample.value is False)
    assert driver.notices() == {}


async def test_a_server_that_reports_more_slowly_than_is_checked_is_heard(plant, drive, next_of, checks):
    driver = await drive(plant.port, LEVEL, publish="400 ms")
    readings = driver.readings()
    number = 0
    while len(checks) < 3:
        number += 1
        plant.write("silence.Level", number, ua.VariantType.Int16)
        await next_of(readings, "level", lambda sample, number=number: sample.value == number)
    gaps_s = [late_s - early_s for early_s, late_s in pairwise(checks)]
    assert min(gaps_s) >= 0.4 * driver_module.VERIFY_INTERVALS, "between two checks there is time for several reports"
    assert driver.notices() == {}


async def test_a_slow_look_at_one_variable_counts_too_and_an_absurd_one_is_limited(plant, drive):
    driver = await drive(plant.port, LEVEL)
    assert driver._verify_every_s() == 30
    (item,) = driver._items
    for granted_ms, every_s in ((60_000.0, 180), (100.0, 180), (1e300, 3_600)):
        granted = ua.MonitoredItemCreateResult(RevisedSamplingInterval=ua.Duration(granted_ms))
        driver._subscription._compare(item, granted)
        assert driver._verify_every_s() == every_s


@pytest.mark.parametrize("extra", SIGNALS, ids=["plain", "scaled", "on-change"])
async def test_a_silent_subscription_is_found_out(plant, drive, next_of, checks, extra):
    driver = await drive(plant.port, {"level": {**LEVEL["level"], **extra}})
    readings = driver.readings()
    await next_of(readings, "level")
    for number in (2, 4, 6):  # a value that moves and is reported raises no suspicion
        plant.write("silence.Level", number, ua.VariantType.Int16)
        await next_of(readings, "level", lambda sample, number=number: sample.value in (number, number / 2))
    await driver._session.client.uaclient.set_publishing_mode(
        ua.SetPublishingModeParameters(PublishingEnabled=False, SubscriptionIds=[driver._subscription._id])
    )
    plant.write("silence.Level", 8, ua.VariantType.Int16)
    words = r"is 8 \(Good\), but the server has reported nothing since 6, not even when it was monitored anew"
    with pytest.raises(DriverError, match=words):
        await asyncio.wait_for(drain(readings), 60)


async def test_a_variable_that_the_server_forgot_is_monitored_anew_and_the_link_stays(plant, drive, next_of, checks):
    driver = await drive(plant.port, LEVEL)
    readings = driver.readings()
    await next_of(readings, "level")
    (item,) = driver._items
    await driver._session.client.uaclient.delete_monitored_items(
        ua.DeleteMonitoredItemsParameters(
            SubscriptionId=ua.IntegerId(driver._subscription._id),
            MonitoredItemIds=[ua.IntegerId(item.server_handle)],
        )
    )
    plant.write("silence.Level", 8, ua.VariantType.Int16)
    await next_of(readings, "level", lambda sample: sample.value == 8)
    plant.write("silence.Level", 9, ua.VariantType.Int16)
    await next_of(readings, "level", lambda sample: sample.value == 9)
    assert driver.notices()["unreported"].startswith(
        "1 times a value had changed and the server did not report it, last that of imm.level; it was monitored anew"
    )


async def test_a_receiver_that_is_behind_accuses_nobody(plant, drive, next_of, until):
    driver = await drive(plant.port, LEVEL)
    silence, subscription = driver._silence, driver._subscription
    await until(lambda: not subscription.notifications.empty())
    plant.write("silence.Level", 5, ua.VariantType.Int16)
    await until(lambda: subscription.arrived >= 2)
    for _ in range(4):
        assert await silence.check() == []
    await next_of(driver.readings(), "level", lambda sample: sample.value == 5)
    assert await silence.check() == []
    assert (subscription.watched, driver.notices()) == (set(), {})


async def test_what_is_no_number_is_equal_to_itself(plant, drive, next_of):
    driver = await drive(plant.port, {"float": {"node": "nsu=m;s=silence.Float"}})
    await next_of(driver.readings(), "float")
    assert await driver._silence.check() == []
    assert driver._subscription.watched == set()
