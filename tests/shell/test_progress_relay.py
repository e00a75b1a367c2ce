"""How far other operations are reaches a machine, also what comes as the last word ends or when no database answers."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from types import SimpleNamespace

import pytest

from buffer.errors import StoreError
from gateway.core.job_order import JobOrder, JobOrderState, JobRecord
from gateway.core.model import JobChanged
from gateway.core.orders.job_run import JobRun
from gateway.core.orders.merged import Merged
from gateway.core.orders.order_image import ImageOperation, OrderImage
from gateway.relays.progress_relay import ProgressRelay, progress_of

KEY = ("A", "0010")


class Records:
    """A database that knows of no order, and may be busy; remembers what it was asked."""

    def __init__(self):
        self.asked, self.busy = [], False

    async def job_record(self, *key):
        if self.busy:
            raise StoreError("busy", temporary=True)
        self.asked.append(key)


@pytest.fixture
def relay():
    orders = SimpleNamespace(shares_with=None)
    rules = SimpleNamespace(orders=orders, confirm=SimpleNamespace(delivery=None))
    state = SimpleNamespace(at_work=tuple, open_runs=tuple, running=None, beside=(), queue=())
    runner = SimpleNamespace(unit=SimpleNamespace(rules=rules), state=state)
    records = Records()
    made = ProgressRelay(SimpleNamespace(runners={"M": runner}), records, lambda: 0)
    made.records = records
    return made


async def until(true):
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - a plain condition
            await asyncio.sleep(0)


async def test_what_is_wanted_as_the_last_word_ends_is_told(relay):
    relay._want("M", {KEY})
    (task,) = relay._under_way.values()
    await until(task.done)
    relay._want("M", {("B", "0010")})  # before anybody heard that it has ended
    await until(lambda: len(relay.records.asked) == 2)
    assert relay.records.asked == [KEY, ("B", "0010")]


async def test_what_the_database_could_not_answer_is_told_behind_the_next_commit(relay):
    relay.records.busy = True
    relay._want("M", {KEY})
    await until(lambda: not relay._under_way)
    relay.records.busy = False
    relay.committed("M", ())
    await until(lambda: not relay._under_way)
    assert relay.records.asked == [KEY]


def job(order, **more):
    plain = ("0", 1, "WC-1", "ART-1", "A", "PC", Decimal(100), 0, None, None, None, False, "erp")
    return JobOrder(order, "0010", *plain, **more)


async def test_what_a_leader_of_a_split_orders_part_does_reaches_the_operation_behind_it(relay):
    """The ERP's operation is the whole's, which the leader does not name: its original is a part of it."""
    work = tuple(ImageOperation(number, "WC-1", Decimal(100)) for number in ("0010", "0020"))
    image = OrderImage("erp", "A", 1, "ART-1", "PC", Decimal(100), work)
    original = JobRun(job("A-001", erp_order="A", leader="L"))
    plain = JobRun(job("B", leader="L"))
    leads = job("L", leads=("A-001", "B"))
    leader = JobRun(leads, merged=Merged("by_open_qty", (), (original, plain), ()))
    behind = JobRun(job("A")._replace(operation="0020", image=image))
    rules = relay._parts.runners["M"].unit.rules
    for name, run in (("M", leader), ("N", behind)):
        open_runs = lambda run=run: (run,)  # noqa: E731 - one line
        state = SimpleNamespace(at_work=tuple, open_runs=open_runs, running=None, beside=(), queue=())
        relay._parts.runners[name] = SimpleNamespace(unit=SimpleNamespace(rules=rules), state=state)
    started = JobRecord(leads, JobOrderState.IN_PROGRESS, 0, 0, 0, 0, "")
    relay.committed("M", (JobChanged(0, started, JobOrderState.DISPATCHED, "started"),))
    await until(lambda: not relay._under_way)
    assert relay.records.asked == [KEY]


class Remembered:
    """Job orders of a database."""

    def __init__(self, *records):
        self.records = {one.job.key: one for one in records}

    async def job_record(self, *key):
        return self.records.get(key)

    async def orders_like(self, beginning):
        return tuple(order for order, _ in self.records if order.startswith(beginning))


async def test_the_open_pieces_of_a_leader_of_several_parts_count_once():
    """They are of one of its parts each, of which nobody knows yet; both parts are one operation to the ERP."""
    split = JobRecord(job("A"), JobOrderState.SPLIT, 0, 5, 0, 0, "")
    parts = [
        JobRecord(job(f"A-{at:03}", erp_order="A", leader="L"), JobOrderState.MERGED, 1, good, 0, 0, "")
        for at, good in ((1, 10), (2, 20))
    ]
    parts.append(JobRecord(job("A-003", erp_order="A"), JobOrderState.IN_PROGRESS, 1, 3, 0, 0, ""))
    leads = JobRecord(job("L", leads=("A-001", "A-002")), JobOrderState.IN_PROGRESS, 0, 37, 0, 0, "")
    store = Remembered(split, *parts, leads)
    run = SimpleNamespace(job=leads.job, merged=object(), open_good=7, record=lambda: leads)
    state = SimpleNamespace(open_runs=lambda: (run,))
    assert (await progress_of(store, (state,), ("A", "0010"))).good == 5 + 10 + 20 + 3 + 7
    assert (await progress_of(store, (), ("A", "0010"))).good == 5 + 10 + 20 + 3, "all that is over was handed to them"


async def test_what_was_confirmed_in_the_erp_of_an_original_counts_once():
    """Its leader wants less for it, and confirmed nothing."""
    original = JobRecord(job("A", leader="L"), JobOrderState.MERGED, 1, 10, 0, 0, "", external=(4, 0, 0))
    leads = JobRecord(job("L", leads=("A", "B")), JobOrderState.IN_PROGRESS, 0, 3, 0, 0, "", external=(4, 0, 0))
    found = await progress_of(Remembered(original, leads), (), ("A", "0010"))
    assert (found.good, found.external) == (10, (4, 0, 0))
