"""A change of orders waits for the counters: in what order things are handed over, and what ends the wait."""

from __future__ import annotations

import asyncio
import contextlib
import random
from decimal import Decimal

import new_database
import pytest
from kept_waiting import Taken

from buffer.store import Store
from drivers.base import Reading
from drivers.supervisor import SourceSupervisor
from gateway.control import RequestError
from gateway.core.document import Identity
from gateway.core.duration import Duration
from gateway.core.model import (
    CalendarPlan,
    CountersRead,
    DataValue,
    JobOrder,
    Notice,
    OperatorEntry,
    OperatorVerb,
    OrderReceived,
    PlannedTime,
    Status,
)
from gateway.core.orders.job_image import with_image
from gateway.core.orders.lifecycle import ActorRole
from gateway.core.orders.order_image import ImageOperation, OrderImage
from gateway.core.rate import Rate
from gateway.core.rules import CounterRule, OrderRule, WorkUnitRules
from gateway.core.rules_state import SetupRule, StateRule
from gateway.core.work_unit import WorkUnit
from gateway.sources.router import Router
from gateway.work_unit.runner import Runner, RunnerHooks

S = 1_000_000_000
PLACE = Identity(plant="P", epoch="e", gateway_id="g", line="L", machine="M", work_center="WC")
SLOW = Duration("5 s")


class Plc:
    """A driver of a device that says what changes; its counter says nothing unless it is asked."""

    def __init__(self, floor):
        self.floor = floor
        self.news = floor.news = asyncio.Queue()

    async def open(self):
        """It is there."""

    async def close(self):
        """It is not."""

    async def readings(self):
        while True:
            yield await self.news.get()

    def read_now(self, question):
        self.floor.questions.append(question)
        match self.floor.answers:
            case "never":
                pass
            case "wrong":
                raise ZeroDivisionError("a defect of a driver")
            case _:
                self.floor.says(n=self.floor.pieces, answer=question)

    def problems(self):
        return {}

    def notices(self):
        return {}


class Floor:
    """One machine on a clock that goes on by itself, a thousandth of a second with each look at it."""

    def __init__(self, store, choose):
        self.time_ns, self.pieces, self.answers, self.questions = 1_780_000_000 * S, 0, "", []
        released = choose == "released"  # by the machine, at the end of each setup
        choose = "job_signal" if released else choose
        orders = OrderRule(
            choose=choose,
            read_at_change=SLOW,
            **({"job_signal": "plc.job", "job_format": "{order}"} if choose == "job_signal" else {}),
            at_shift_end="interrupt" if choose == "command" else "go_on",
        )
        by_tool = SetupRule(tool_signal="plc.tool", on_tool_change=False, on_product_change=False)
        by_machine = SetupRule(end="plc_release", release_signal="plc.release")
        self.products = None if released else 1  # signs of a product that differ
        state = StateRule(setup=by_machine if released else by_tool if choose == "sequence" else SetupRule())
        rule = CounterRule(mode="counter", signal="plc.n", max_rate=Rate.parse("10000/s"))
        self.unit = WorkUnit(
            WorkUnitRules(work_center="WC", counters=(rule,), orders=orders, state=state, calendar="plant"), PLACE
        )
        hooks = RunnerHooks(
            targets=lambda _: (),
            committed=lambda *_: None,
            alive=lambda: None,
            trouble=lambda _: None,
            heard=self.heard.extend,
            read=self.read,
        )
        self.runner = Runner(
            self.unit, self.unit.initial(self.time_ns), store,
            now_ns=self.now_ns, checkpoint_ns=S, idle_wake_ns=S // 20, hooks=hooks,
        )  # fmt: skip
        router = Router("plc", (self.runner,), None)
        self.source = SourceSupervisor(
            name="plc", make_driver=lambda: Plc(self), rule_signals=router.rule_signals, now_ns=self.now_ns,
            deliver=router.deliver, stale_after_ns=600 * S, backoff_max_ns=S, rng=random.Random(1),
        )  # fmt: skip

    @property
    def heard(self):
        self.__dict__.setdefault("_heard", [])
        return self._heard

    def now_ns(self):
        self.time_ns += 1_000_000
        return self.time_ns

    async def read(self, signals, timeout_s):
        await self.source.read_now(frozenset(name.removeprefix("plc.") for name in signals), timeout_s)

    def says(self, answer=None, **values):
        told = tuple(
            DataValue(f"plc.{name}", value, Status.GOOD, None, self.now_ns()) for name, value in values.items()
        )
        reading = Reading(told)
        self.news.put_nowait(reading if answer is None else answer.answered(reading))

    async def order(self, name):
        job = JobOrder(
            name, "0010", "0", 1, "WC", f"P-{name}"[:self.products], "", "PC", Decimal(1000), 1, None, None, None,
            cancelled=False, source="erp",
        )  # fmt: skip
        if self.unit.rules.state.setup.tool_signal is not None:
            work = ImageOperation("0010", "WC", Decimal(1000), tool=f"T-{name}")
            job = with_image(job, OrderImage("erp", name, 1, "P", "PC", Decimal(1000), (work,)))
        await self.runner.submit(OrderReceived(self.now_ns(), job, None))

    def start(self, name):
        entry = OperatorEntry(self.now_ns(), OperatorVerb.START, name, "0010", "ann", role=ActorRole.SUPERVISOR)
        return asyncio.create_task(self.runner.submit(entry))

    async def until(self, true):
        async with asyncio.timeout(60):
            while not true():  # noqa: ASYNC110 - conditions are of many kinds
                await asyncio.sleep(0.001)

    def made(self):
        return {run.job.order: run.good for run in self.runner.state.open_runs()}

    def names(self):
        return [one.value for one in self.heard if getattr(one, "signal", "") == "plc.job"]

    def runs(self):
        return None if self.runner.state.running is None else self.runner.state.running.job.order


@pytest.fixture
async def at(tmp_path):
    """``at(choose)``: a floor that runs, its counter seen at 0, with the orders A and B."""
    async with contextlib.AsyncExitStack() as stack:
        store = await Store.open(
            new_database.at(tmp_path / "linegate.db"), now_ns=lambda: S, max_bytes=2**26, reserve_bytes=0
        )
        stack.push_async_callback(store.close)

        async def opened(choose="command", **says):
            floor = Floor(store, choose)
            floor.task = asyncio.create_task(floor.runner.run())
            feeding = asyncio.create_task(floor.source.run())
            for task in (floor.task, feeding):
                stack.push_async_callback(asyncio.gather, task, return_exceptions=True)
                stack.callback(task.cancel)
            await floor.until(lambda: hasattr(floor, "news"))
            floor.says(n=0, **says)
            await floor.until(floor.runner.last_values)
            for name in "AB":
                await floor.order(name)
            return floor

        yield opened


async def test_the_plc_s_word_waits_for_the_counters_and_nothing_else_does(at):
    floor = await at("job_signal")
    floor.says(job="A")
    await floor.until(lambda: floor.runs() == "A")
    floor.pieces, floor.answers = 7, "never"
    floor.says(job="B")
    await floor.until(lambda: floor.questions)
    floor.says(n=5)  # it came meanwhile, and is counted at once
    await floor.until(lambda: floor.made()["A"] == 5)
    assert floor.runs() == "A"
    floor.says(n=7, answer=floor.questions[-1])
    await floor.until(lambda: floor.runs() == "B")
    floor.says(n=9)
    await floor.until(lambda: floor.made()["B"])
    assert floor.made() == {"A": 7, "B": 2}
    assert not any(isinstance(one, Notice) for one in floor.heard)


async def test_names_that_follow_each_other_are_handed_over_in_their_order(at):
    floor = await at("job_signal")
    floor.says(job="A")
    await floor.until(lambda: floor.runs() == "A")
    for name in ("B", "A", "A", "B"):
        floor.says(job=name)
    await floor.until(lambda: len(floor.names()) >= len("ABAB"))
    assert "".join(floor.names()) == "ABAB"


async def test_names_of_one_reading_do_not_overtake_each_other(at):
    """A server keeps several values between two reports: the last one is where the machine is."""
    floor = await at("job_signal")
    floor.says(job="A")
    await floor.until(lambda: floor.runs() == "A")
    told = [DataValue("plc.job", name, Status.GOOD, None, floor.now_ns()) for name in "BAB"]
    floor.news.put_nowait(Reading(tuple(told)))
    await floor.until(lambda: len(floor.names()) >= len("ABAB"))
    assert "".join(floor.names()) == "ABAB"
    assert floor.runs() == "B"
    assert floor.questions, "it was read first"


async def test_a_name_that_is_lost_is_lost_behind_what_it_said_before(at):
    floor = await at("job_signal")
    floor.says(job="A")
    await floor.until(lambda: floor.runs() == "A")
    floor.answers = "never"
    floor.says(job="B")
    await floor.until(lambda: floor.questions)
    lost = DataValue("plc.job", None, Status.BAD, None, floor.now_ns())
    floor.news.put_nowait(Reading((lost,)))
    floor.says(n=0, job="B")  # it is there again
    floor.says(n=1, job="B")
    await floor.until(lambda: floor.made()["A"])
    floor.says(answer=floor.questions[-1])
    await floor.until(lambda: len(floor.names()) >= len("AB-B"))
    assert floor.names() == ["A", "B", None, "B"]


async def test_what_a_setup_made_is_read_before_the_machine_is_released(at):
    floor = await at("released", release=False)
    floor.says(job="A")
    await floor.until(lambda: floor.runs() == "A")
    floor.says(job="B")
    await floor.until(lambda: floor.runs() == "B" and floor.runner.state.track.setup.since_ns)
    asked = len(floor.questions)
    floor.pieces = 3  # nobody has looked since
    floor.says(release=True)
    await floor.until(lambda: not floor.runner.state.track.setup.since_ns)
    floor.says(n=5)
    await floor.until(lambda: floor.made()["B"])
    run = floor.runner.state.running
    assert (run.scrap, run.good, len(floor.questions)) == (3, 2, asked + 1)
    floor.says(release=False)
    floor.says(release=True)  # nothing is set up
    floor.says(n=6)
    await floor.until(lambda: floor.made()["B"] == 3)
    assert len(floor.questions) == asked + 1


async def test_the_counters_are_read_before_the_tool_that_an_order_waits_for(at):
    floor = await at("sequence", tool="T-0")
    await floor.until(lambda: floor.runner.state.next_told)
    asked = len(floor.questions)
    floor.pieces = 7  # of nobody
    floor.says(tool="T-A")
    await floor.until(lambda: floor.runs() == "A")
    assert len(floor.questions) == asked + 1
    floor.says(n=9)
    await floor.until(lambda: floor.made()["A"])
    assert (floor.made()["A"], floor.runner.state.bucket.left.good) == (2, 7)
    floor.says(tool="T-B")  # something runs: nothing starts by it
    floor.says(n=10)
    await floor.until(lambda: floor.made()["A"] == 3)
    assert len(floor.questions) == asked + 1


@pytest.mark.parametrize("answers", ["never", "wrong"])
async def test_what_was_said_is_done_once_before_the_gateway_ends(at, answers):
    floor = await at()
    floor.answers = answers
    asked = floor.start("A"), floor.start("A")
    await floor.until(lambda: floor.questions)
    taken = Taken()
    floor.runner.drain()
    outputs = [one for task in asked for one in await task]
    await floor.task
    assert taken.seconds() < 4, "it waited for the device"
    assert floor.runs() == "A"
    assert [one.record.job.order for one in outputs if hasattr(one, "record")] == ["A"], outputs


async def test_a_name_that_is_kept_back_is_done_before_the_gateway_ends(at):
    floor = await at("job_signal")
    floor.says(job="A")
    await floor.until(lambda: floor.runs() == "A")
    floor.answers = "never"
    floor.says(job="B")
    await floor.until(lambda: floor.questions)
    floor.runner.drain()
    await floor.task
    assert floor.runs() == "B"


async def test_whoever_speaks_to_a_machine_that_is_not_run_any_more_hears_so(at):
    floor = await at()
    floor.runner.drain()
    await floor.task
    async with asyncio.timeout(60):
        with pytest.raises(RequestError, match="not run any more"):
            await floor.start("A")


@pytest.mark.parametrize("answers", ["", "never"])
async def test_the_counters_are_read_right_before_a_shift_ends(at, answers):
    floor = await at()
    await floor.start("A")
    asked = len(floor.questions)
    floor.pieces, floor.answers = 7, answers
    due_ns = floor.now_ns() + S // 2
    plan = [PlannedTime(floor.time_ns, None, "F"), PlannedTime(due_ns, None, "S")]
    await floor.runner.submit(CalendarPlan(floor.now_ns(), tuple(plan)))
    await floor.until(lambda: [one for one in floor.heard if isinstance(one, CountersRead) and one.due_ns == due_ns])
    (read,) = (one for one in floor.heard if isinstance(one, CountersRead) and one.due_ns)
    assert read.missing == (() if not answers else ("plc.n",))
    assert len(floor.questions) - asked == 2, "once to learn how long it takes"
    floor.time_ns = due_ns + S // 2
    floor.says(n=9)
    await floor.until(lambda: floor.runs() is None and floor.runner.state.bucket.left.good)
    left = floor.runner.state.bucket.left.good
    assert (floor.made()["A"], left) == ((7, 2) if not answers else (9 - left, left))


async def test_nobody_waits_for_a_reading_at_a_shift_s_end_once_the_gateway_ends(at):
    floor = await at()
    await floor.start("A")
    floor.answers, asked = "never", len(floor.questions)
    plan = [PlannedTime(floor.now_ns(), None, "F"), PlannedTime(floor.now_ns() + 4 * S, None, "S")]
    await floor.runner.submit(CalendarPlan(floor.now_ns(), tuple(plan)))
    await floor.until(lambda: len(floor.questions) > asked)
    taken = Taken()
    floor.runner.drain()
    await floor.task
    assert taken.seconds() < 3, "it waited for the device"
    assert not any(isinstance(one, CountersRead) and one.due_ns for one in floor.heard), "nothing is missing"
