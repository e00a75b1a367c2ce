"""The driver's own tests: the contract of every driver, and what is special about this one."""

from __future__ import annotations

import time

import pytest
from linegate_csv_tail import DRIVER, CsvSignal, CsvTailSettings

from drivers.base import DriverContext
from gateway.core.duration import Duration
from gateway.core.model import Status
from gateway.testing import DriverContract, RefusedSignalContract

SIGNALS = {
    "good": CsvSignal(column="good"),
    "litres": CsvSignal(column="litres", scale="0.1", telemetry=True),
    "large": CsvSignal(column="large"),
    "missing": CsvSignal(column="scrap"),
}


class Rig:
    expected = {"log.good": 12, "log.litres": 4.5, "log.large": 2**60 + 1}  # noqa: RUF012 - the suite only reads it
    expected_bad = {"log.missing": "no such column"}  # noqa: RUF012 - the suite only reads it

    def __init__(self, folder):
        self.file = folder / "press.csv"
        self.folder = folder

    def now_ns(self):
        return time.time_ns()

    def make(self):
        settings = CsvTailSettings(driver="csv_tail", file="press.csv", scan=Duration("50 ms"), signals=dict(SIGNALS))
        context = DriverContext(
            source="log",
            now_ns=self.now_ns,
            rule_signals=frozenset(SIGNALS),
            telemetry_signals=frozenset({"litres"}),
            state_dir=self.folder,
            base_dir=self.folder,
        )
        return DRIVER.build(settings, context)

    async def start_device(self):
        self.file.write_text(f"good,litres,large\n11,44,1\n12,45,{2**60 + 1}\n99,")

    async def stop_device(self):
        self.file.unlink()


@pytest.fixture
async def rig(tmp_path):
    return Rig(tmp_path)


class TestContract(DriverContract, RefusedSignalContract):
    pass


async def test_a_line_without_its_end_is_still_being_written(rig):
    await rig.start_device()
    driver = rig.make()
    readings = driver.readings()
    first = {value.signal: value.value for value in (await anext(readings)).values}
    assert first["log.good"] == 12
    with rig.file.open("a") as file:
        file.write("46,7\n")
    second = await anext(readings)
    assert {value.signal: value.value for value in second.values} == {"log.good": 99, "log.litres": 4.6, "log.large": 7}
    assert (second.blocks[0].names, second.blocks[0].values) == (("log.litres",), [4.6])


async def test_a_log_without_a_line_is_bad_and_no_lost_link(rig):
    rig.file.write_text("good,litres,large\n")
    readings = rig.make().readings()
    assert {value.status for value in (await anext(readings)).values} == {Status.BAD}
    assert (await anext(readings)).values == ()


def test_a_log_cannot_be_whitelisted():
    from drivers.signal import Writable

    with pytest.raises(ValueError, match="a log cannot be written"):
        CsvSignal(column="a", writable=Writable(max_length=1))
