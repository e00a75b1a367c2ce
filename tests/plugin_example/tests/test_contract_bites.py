"""A driver that breaks one promise fails the contract at that promise."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from linegate_csv_tail import CsvSignal, CsvTailDriver, CsvTailSettings

import gateway.testing
from drivers.base import DriverContext
from gateway.core.duration import Duration
from gateway.core.model import Status
from gateway.testing import DriverContract, RefusedSignalContract


class Kept(CsvTailDriver):
    """Keeps its promises."""

    left: list[int] = []  # noqa: RUF012 - what a defect leaves behind, for the test to clear away


class LeavesFiles(Kept):
    async def open(self):
        self.left.append(os.open(os.devnull, os.O_RDONLY))


class LeavesTasks(Kept):
    async def open(self):
        self._task = asyncio.create_task(asyncio.sleep(3600))


class TakesEveryWrite(Kept):
    async def write(self, signal, value):
        pass


class StopsAtABadColumn(Kept):
    def _reading(self, found):
        reading = super()._reading(found)
        return reading._replace(values=tuple(value for value in reading.values if value.status is Status.BAD))


class TellsBadAgain(Kept):
    def _reading(self, found):
        self._problems.clear()
        return super()._reading(found)


class GivesNoReason(Kept):
    def problems(self):
        return {}


class BadWithAValue(Kept):
    def _reading(self, found):
        reading = super()._reading(found)
        values = [value._replace(value=0) if value.status is Status.BAD else value for value in reading.values]
        return reading._replace(values=tuple(values))


class SourceTimeInSeconds(Kept):
    def _reading(self, found):
        reading = super()._reading(found)
        return reading._replace(values=tuple(value._replace(source_time_ns=time.time()) for value in reading.values))


class NoticesAreNone(Kept):
    def notices(self):
        return None


class ClosesTooSlowly(Kept):
    async def close(self):
        # Far above the limit, from which the time is taken in which this process could not run.
        await asyncio.sleep(60 * gateway.testing.CANCEL_LIMIT_S)
        await super().close()


class Rig:
    def __init__(self, kind, folder):
        self.kind, self.folder = kind, folder
        self.expected = {"log.good": 12}
        self.expected_bad = {"log.missing": "no such column"}

    def now_ns(self):
        return time.time_ns()

    def make(self):
        signals = {"good": CsvSignal(column="good"), "missing": CsvSignal(column="scrap")}
        settings = CsvTailSettings(driver="csv_tail", file="press.csv", scan=Duration("50 ms"), signals=signals)
        context = DriverContext(
            source="log",
            now_ns=self.now_ns,
            rule_signals=frozenset(signals),
            telemetry_signals=frozenset(),
            state_dir=self.folder,
            base_dir=self.folder,
        )
        return self.kind(settings, context)

    async def start_device(self):
        (self.folder / "press.csv").write_text("good\n12\n")

    async def stop_device(self):
        (self.folder / "press.csv").unlink()


MANY = DriverContract.test_many_links_leave_neither_tasks_nor_file_descriptors
REFUSED = RefusedSignalContract.test_a_refused_signal_is_bad_once_and_stops_no_other
STAMPS = DriverContract.test_what_is_bad_has_no_value_and_every_stamp_is_a_time


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (LeavesFiles, MANY),
        (LeavesTasks, MANY),
        (TakesEveryWrite, DriverContract.test_a_write_to_an_unknown_signal_is_refused),
        (StopsAtABadColumn, REFUSED),
        (TellsBadAgain, REFUSED),
        (GivesNoReason, REFUSED),
        (BadWithAValue, STAMPS),
        (SourceTimeInSeconds, STAMPS),
        (ClosesTooSlowly, DriverContract.test_cancellation_ends_reading_at_once_and_leaves_no_task),
        (NoticesAreNone, DriverContract.test_making_and_closing_without_opening_does_no_harm),
    ],
    ids=lambda given: given.__name__.removeprefix("test_") if hasattr(given, "__name__") else None,
)
async def test_a_broken_promise_is_found(kind, promise, tmp_path, monkeypatch):
    await promise(DriverContract(), Rig(Kept, tmp_path))
    monkeypatch.setattr(gateway.testing, "STEP_LIMIT_S", 1.0)
    before = asyncio.all_tasks()
    # pytest.raises() of a test that expects an error fails with an exception of pytest's own.
    with pytest.raises((AssertionError, TimeoutError, pytest.fail.Exception)):
        await promise(DriverContract(), Rig(kind, tmp_path))
    for number in Kept.left:
        os.close(number)
    Kept.left.clear()
    for task in asyncio.all_tasks() - before:
        task.cancel()
