"""What a machine did, read back from the database; and what people tell it through the control socket."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import random
import threading
from contextlib import asynccontextmanager
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import new_database
import pytest

from buffer import clock_record
from buffer.journal import of_kind_query
from buffer.outbox import Outbox
from buffer.readonly import ReadOnlyStore
from buffer.step import JournalRow, Step
from buffer.store import Store
from gateway.control import RequestError
from gateway.core import journal, snapshot
from gateway.core.calendar.honest_time import ClockCorrection, ClockRecord, CorrectionReason, TimeQuality
from gateway.core.document import Identity, utc
from gateway.core.duration import Duration
from gateway.core.entries import ReclassifyEntry, StopReasonEntry
from gateway.core.model import (
    CalendarPlan,
    DataValue,
    JobOrder,
    MachineState,
    OrderReceived,
    PlannedTime,
    Role,
    Status,
    TimePassed,
)
from gateway.core.rules import CounterRule, OrderRule, StateRule, WorkUnitRules
from gateway.core.rules_reasons import OfferedReasonsRule
from gateway.core.state.cycle_limit import CycleLimit
from gateway.core.state.report import By
from gateway.core.work_unit import WorkUnit
from gateway.parts import Parts
from gateway.shown import states_text
from gateway.shown.states_read import StatesError, read
from gateway.sources.taps import Taps
from gateway.verbs import stop_verbs
from gateway.verbs.floor_verbs import FloorVerbs
from gateway.verbs.order_verbs import OrderVerbs
from gateway.work_unit.runner import Runner, RunnerHooks

S = 1_000_000_000
M = MachineState
START_NS = 1_780_000_000 * S  # 2026-05-28T20:26:40Z
RULES = WorkUnitRules(
    work_center="WC",
    ideal_cycle=Duration("10 s"),
    counters=(
        CounterRule(mode="counter", signal="plc.good"),
        CounterRule(mode="counter", signal="plc.bad", role=Role.SCRAP),
    ),
    state=StateRule(stop_detect=CycleLimit.parse("20 s"), micro_stop_max=CycleLimit.parse("1 min")),
    orders=OrderRule(at_target="continue"),
    calendar="plant",
)  # fmt: skip


def job(order="4711"):
    return JobOrder(
        order=order, operation="0010", sequence="0", revision=1, work_center="WC", product="P", product_revision="",
        uom="PC", quantity=Decimal(1000), sequence_no=0, std_cycle_ns=None, planned_start_ns=None, planned_end_ns=None,
        cancelled=False, source="erp",
    )  # fmt: skip


class Machine:
    """A work unit whose steps are committed as the runner does."""

    def __init__(self, store, rules=RULES):
        identity = Identity(plant="P", epoch="e", gateway_id="gw", line="", machine="M-1", work_center="WC")
        self.unit, self.store = WorkUnit(rules, identity), store
        self.state, self.rows, self.jobs, self.counts = self.unit.initial(START_NS), [], {}, {}

    def put(self, given):
        first = self.state.journal_seq + 1
        self.state, outputs = self.unit.handle(self.state, given)
        for seq, output in enumerate(outputs, first):
            kind, data = journal.row(output)
            self.rows.append(JournalRow(seq, self.state.at_ns, kind, json.dumps(data).encode()))
            if kind == "job":
                self.jobs[output.record.job.key] = output.record

    def make(self, at_s, pieces, signal="plc.good"):
        self.counts[signal] = self.counts.get(signal, 1000) + pieces
        self.put(DataValue(signal, self.counts[signal], Status.GOOD, None, START_NS + at_s * S))

    async def commit(self):
        await self.store.commit(
            Step(
                "M-1", snapshot.dump(self.unit, self.state), self.state.at_ns, tuple(self.rows),
                jobs=tuple(self.jobs.values()),
            )
        )  # fmt: skip
        self.rows = []


@asynccontextmanager
async def opened(path):
    store = await Store.open(new_database.at(path), now_ns=lambda: START_NS, max_bytes=10**8)
    try:
        yield store
    finally:
        await store.close()


def play(machine):
    """Two shifts of half an hour. In the first: ten minutes without data or pieces, 60 pieces, a stop, 30 pieces."""
    play_plan(machine)
    machine.put(OrderReceived(START_NS, job(), None))
    play_pieces(machine)


def play_plan(machine):
    day = "2026-05-28"
    plan = (
        PlannedTime(START_NS, None, f"{day}/F"),
        PlannedTime(START_NS + 1800 * S, None, f"{day}/S"),
        PlannedTime(START_NS + 3600 * S, M.NOT_SCHEDULED, ""),
    )
    machine.put(CalendarPlan(START_NS, plan))


def play_pieces(machine):
    machine.make(0, 0)
    machine.make(0, 0, "plc.bad")
    for piece in range(60):
        machine.make(10 + 10 * piece, 1)  # 600 s
    machine.make(600, 3, "plc.bad")
    # It stands from 610 s to 1190 s: the piece at 1200 s began then.
    machine.make(1200, 1)
    for piece in range(59):
        machine.make(1210 + 10 * piece, 1)  # 1790 s
    for piece in range(60):
        machine.make(1800 + 10 * piece, 1)
    machine.put(TimePassed(START_NS + 4000 * S))


async def test_what_is_listed_tiles_and_sums_up(tmp_path):
    path = tmp_path / "linegate.db"
    async with opened(path) as store:
        machine = Machine(store)
        play(machine)
        await machine.commit()
        with ReadOnlyStore(path) as looking:  # beside the open database
            found = read(looking, "M-1")
            early = read(looking, "M-1", shift="2026-05-28/F")
            days = read(looking, "M-1", day="2026-05-28", by=By.DAY)
            orders = read(looking, "M-1", order="4711", by=By.ORDER)
    assert all(one.to_ns == other.from_ns for one, other in zip(found.row, found.row[1:], strict=False))
    assert found.row[0].from_ns == START_NS
    first, second = found.groups[:2]
    assert [(group.name, group.to_ns - group.from_ns) for group in (first, second)] == [
        ("2026-05-28/F", 1800 * S), ("2026-05-28/S", 1800 * S),
    ]  # fmt: skip
    # 600 s of pieces, then 610 s to 1190 s or 1200 s stood, then pieces up to 1790 s and one that belongs to the next.
    times = first.times
    assert (times.pbt_ns, times.adet_ns, times.apt_ns) == (1800 * S, 590 * S, 1210 * S)
    assert (first.quantities.good, first.quantities.scrap) == (120, 3)
    kpis = first.kpis
    assert kpis.availability == Fraction(1210, 1800)
    assert kpis.effectiveness == Fraction(1230, 1210)
    assert kpis.quality_ratio == Fraction(120, 123)
    assert kpis.oee == Fraction(1200, 1800)
    assert early.groups == (first,), "one shift by name is the same"
    assert [one.shift for one in early.row] == ["2026-05-28/F"] * len(early.row)
    (day,) = days.groups
    assert (day.name, day.times) == ("2026-05-28", first.times.plus(second.times))
    assert day.quantities.good == first.quantities.good + second.quantities.good == 180
    (order,) = orders.groups
    assert (order.name, order.quantities.good) == ("4711/0010", 180)


@pytest.mark.parametrize("step_ns", [86_400 * S, -3600 * S])
async def test_a_clock_that_steps_within_a_state_bends_no_length(tmp_path, step_ns):
    path, at_ns = tmp_path / "linegate.db", START_NS + 900 * S  # the machine stands
    started = ClockCorrection(START_NS, START_NS, 0, 0, TimeQuality.TRUSTED, CorrectionReason.STARTED)
    stepped = ClockCorrection(at_ns, at_ns, step_ns, 0, TimeQuality.TRUSTED, CorrectionReason.STEPPED)
    async with opened(path) as store:
        machine = Machine(store)
        play(machine)
        await machine.commit()
        with ReadOnlyStore(path) as looking:
            plain = read(looking, "M-1")
        record = ClockRecord("b", START_NS + 4000 * S, 1, step_ns, TimeQuality.TRUSTED)
        await clock_record.save(store, record, (started, stepped))
        with ReadOnlyStore(path) as looking:
            found = read(looking, "M-1")
    (place,) = [number for number, one in enumerate(plain.row) if one.from_ns < at_ns < one.to_ns]
    as_it_was, shown = plain.row[place], found.row[place]
    assert as_it_was.state is shown.state is M.STOPPED
    assert (shown.from_ns, shown.to_ns) == (as_it_was.from_ns + step_ns, as_it_was.to_ns + step_ns)
    assert shown.stop_from_ns == as_it_was.stop_from_ns + step_ns
    assert [one.length_ns for one in found.row] == [one.length_ns for one in plain.row]


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_happens_the_listing_tiles_and_its_sums_are_its_time(tmp_path, seed):
    """Random pieces, pauses, orders, losses of data and reasons: no gap, no overlap, nothing twice in the sums."""
    dice = random.Random(seed)
    async with opened(tmp_path / "linegate.db") as store:
        machine, at_s, made = Machine(store), 0, 0
        play_plan(machine)
        for number in range(400):
            at_s += dice.choice((1, 10, 10, 10, 15, 45, 200))
            match dice.randrange(12):
                case 0:
                    machine.put(OrderReceived(START_NS + at_s * S, job(f"47{number}"), None))
                case 1:
                    machine.put(DataValue("plc.good", None, Status.BAD, None, START_NS + at_s * S))
                case 2:
                    machine.put(StopReasonEntry(START_NS + at_s * S, None, None, f"R{number}", "ann"))
                case _:
                    machine.make(at_s, 1, dice.choice(("plc.good", "plc.bad")))
                    made += 1
            if not number % 50:
                machine.state = snapshot.load(machine.unit, snapshot.dump(machine.unit, machine.state))
                await machine.commit()
        machine.put(TimePassed(START_NS + (at_s + 1000) * S))
        await machine.commit()
        with ReadOnlyStore(tmp_path / "linegate.db") as looking:
            for by in By:
                found = read(looking, "M-1", by=by, from_utc_ns=START_NS, to_utc_ns=START_NS + 10**6 * S)
                row = found.row
                assert all(one.to_ns == other.from_ns for one, other in itertools.pairwise(row))
                assert (row[0].from_ns, row[-1].to_ns) == (START_NS, found.now.final_ns)
                span = sum(group.times.pot_ns + group.times.outside_ns for group in found.groups)
                assert span == row[-1].to_ns - row[0].from_ns
                # A group by order holds what an order made in its time; a late piece of a former one is in none.
                assert sum(group.quantities.produced for group in found.groups) <= made
    assert len(row) > 30


async def test_what_people_said_shows_in_the_view_and_in_the_sums(tmp_path):
    rules = RULES
    async with opened(tmp_path / "linegate.db") as store:
        machine = Machine(store, rules)
        play(machine)
        at = machine.state.at_ns
        machine.put(StopReasonEntry(at, START_NS + 700 * S, None, "NO_MATERIAL", "ann"))
        await machine.commit()
        with ReadOnlyStore(tmp_path / "linegate.db") as looking:
            found = read(looking, "M-1")
            inside = read(looking, "M-1", from_utc_ns=START_NS + 800 * S, to_utc_ns=START_NS + 900 * S)
    named = [one for one in found.row if one.reason == "NO_MATERIAL"]
    assert [(one.state, one.reason_source) for one in named] == [(M.STOPPED, "operator")]
    assert [(one.from_ns, one.to_ns, one.reason) for one in inside.row] == [
        (START_NS + 800 * S, START_NS + 900 * S, "NO_MATERIAL")
    ]
    text = "\n".join(states_text.lines(inside))
    assert "NO_MATERIAL by operator" in text
    assert "0:01:40.0  STOPPED" in text


async def test_a_judgement_moves_pieces_and_makes_none(tmp_path):
    async with opened(tmp_path / "linegate.db") as store:
        machine = Machine(store)
        machine.put(OrderReceived(START_NS, job(), None))
        machine.make(0, 0)
        machine.make(0, 0, "plc.bad")
        for piece in range(10):
            machine.make(10 + 10 * piece, 1)
        entry = ReclassifyEntry(START_NS + 101 * S, "4711", "", 4, Role.GOOD, Role.SCRAP, "", "ann")
        machine.put(entry)
        machine.put(TimePassed(START_NS + 1000 * S))
        machine.make(1000, 1)
        machine.put(TimePassed(START_NS + 2000 * S))
        await machine.commit()
        with ReadOnlyStore(tmp_path / "linegate.db") as looking:
            (group,) = read(looking, "M-1").groups
    assert group.name == ""
    assert (group.quantities.good, group.quantities.scrap, group.quantities.produced) == (7, 4, 11)


async def test_a_denominator_of_nothing_is_null_and_a_dash(tmp_path):
    rules = WorkUnitRules(work_center="WC", counters=RULES.counters)
    async with opened(tmp_path / "linegate.db") as store:
        machine = Machine(store, rules)
        machine.make(0, 0)
        machine.make(0, 0, "plc.bad")
        machine.put(OrderReceived(START_NS + 100 * S, job(), None))
        machine.make(130, 5)
        machine.make(160, 5)
        machine.put(TimePassed(START_NS + 7200 * S))
        await machine.commit()
        with ReadOnlyStore(tmp_path / "linegate.db") as looking:
            found = read(looking, "M-1", by=By.ORDER)
    shown = {group["name"]: group for group in states_text.document(found)["groups"]}
    idle, busy = shown[""], shown["4711/0010"]
    assert {idle["kpis"][name] for name in ("quality_ratio", "effectiveness", "oee", "setup_ratio")} == {None}
    assert (busy["kpis"]["quality_ratio"], busy["kpis"]["effectiveness"], busy["kpis"]["oee"]) == (1.0, None, None)
    header, _, line = states_text.lines(found, sums_only=True)[:3]
    columns = dict(zip(header.split(), line.split(), strict=True))
    assert (columns["ORDER"], columns["EFFECT"], columns["OEE"], columns["QUAL"]) == ("4711/0010", "-", "-", "100.0%")
    assert any("for 4711/0010: the planned time of a piece is not known" in text for text in states_text.lines(found))


async def test_what_cannot_be_read_says_why(tmp_path):
    async with opened(tmp_path / "linegate.db") as store:
        machine = Machine(store)
        with ReadOnlyStore(tmp_path / "linegate.db") as looking, pytest.raises(StatesError, match="known: none yet"):
            read(looking, "M-1")
        play(machine)
        await machine.commit()
        with ReadOnlyStore(tmp_path / "linegate.db") as looking:
            with pytest.raises(StatesError, match="unknown work unit 'M-2'; known: M-1"):
                read(looking, "M-2")
            with pytest.raises(
                StatesError, match=r"no final state of '2026-05-28/N'; found near it: 2026-05-28/F, 2026"
            ):
                read(looking, "M-1", shift="2026-05-28/N")
            with pytest.raises(StatesError, match="found 'yesterday', allowed a day such as 2026-03-27"):
                read(looking, "M-1", day="yesterday")
            with pytest.raises(StatesError, match="no final state of order '4712'; it does NOT_SCHEDULED since"):
                read(looking, "M-1", order="4712")


async def test_pieces_are_found_by_time_among_everything_else_also_after_pruning(tmp_path):
    async with opened(tmp_path / "linegate.db") as store:
        machine = Machine(store)
        play(machine)
        await machine.commit()
        with ReadOnlyStore(tmp_path / "linegate.db") as looking:
            whole = looking.pieces("M-1", 0, 2**62)
            assert len(whole) == 181
            assert looking.pieces("M-1", START_NS + 10 * S, START_NS + 30 * S) == whole[:2]
            assert looking.pieces("M-2", 0, 2**62) == []
        await store.write(
            lambda connection: connection.execute("DELETE FROM journal WHERE at_ns < ?", (START_NS + 1000 * S,))
        )
        with ReadOnlyStore(tmp_path / "linegate.db") as looking:
            assert len(looking.pieces("M-1", 0, 2**62)) == 120
            plan = looking._connection.execute(
                f"EXPLAIN QUERY PLAN {of_kind_query('M-1', 'interval', 0, 9)[0]}", ("M-1", 0, 9)
            ).fetchall()
    assert "journal_states" in str(plan)


# --- people ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def floor(path, *, good=0, scrap=0, rules=None):
    """A running work unit with the verbs of its people; the clock stands where the test puts it.

    ``good`` and ``scrap`` are made after the last shift, so that no confirmation has them.
    """
    async with opened(path) as store:
        machine = Machine(store, rules or RULES)
        play(machine)
        machine.make(4000, good)
        machine.make(4000, scrap, "plc.bad")
        await machine.commit()
        clock = SimpleNamespace(at_ns=machine.state.at_ns, offset_ns=0, utc_ns=lambda at_ns: at_ns)
        clock.now_ns = lambda: clock.at_ns
        hooks = RunnerHooks(lambda _job: (), lambda _outputs, _state: None, lambda: None, lambda _text: None)
        runner = Runner(
            machine.unit, machine.state, store, now_ns=clock.now_ns, checkpoint_ns=S, idle_wake_ns=S, hooks=hooks
        )
        parts = Parts(Outbox(store), Taps(clock.now_ns), clock.utc_ns)
        parts.runners["M-1"] = runner
        table = FloorVerbs(parts, store, clock).table() | OrderVerbs(parts, clock, "UTC").table()

        async def ask(verb, **given):
            return await table[verb]({"verb": verb, "machine": "M-1", "who": "ann", **given})

        task = asyncio.create_task(runner.run())
        try:
            yield ask, runner
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def at(seconds):
    return utc(START_NS + seconds * S)


async def test_a_stop_of_the_past_is_named(tmp_path):
    path = tmp_path / "linegate.db"
    async with floor(path) as (ask, _runner):
        assert await ask("reason", reason="JAM", **{"from": at(700), "to": None}) == (
            f"M-1: the stop at {at(700)} is named JAM"
        )
        assert await ask("reason", reason="TOOL", **{"from": at(800), "to": at(900)})
        with ReadOnlyStore(path) as looking:
            stops = [one for one in read(looking, "M-1").row if one.state is M.STOPPED]
    assert [(one.from_ns - START_NS, one.reason) for one in stops if one.reason_source == "operator"][1:] == [
        (800 * S, "TOOL"), (900 * S, "JAM"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"from": at(100), "to": None},
            "found outside of a stop, allowed: an instant inside of one; see: linegate states",
        ),
        ({"from": at(700), "to": at(1500)}, "found outside of a stop"),
        ({"from": at(3900), "to": at(3990)}, "is not final yet"),
        ({"from": None, "to": None}, "cannot name the stop: no stop goes on"),
        ({"from": "yesterday", "to": None}, "from: a point in time needs its date, time and offset"),
        ({"from": None, "to": at(5)}, "to: found without from"),
    ],
)
async def test_a_reason_that_has_no_stop_is_refused(tmp_path, given, said):
    async with floor(tmp_path / "linegate.db") as (ask, runner):
        before = runner.state.journal_seq
        with pytest.raises(RequestError, match=said.replace("(", r"\(")):
            await ask("reason", reason="JAM", **given)
        assert runner.state.journal_seq - before in (0, 2), "a refusal is told with who said what, or never came so far"


async def test_setups_and_pieces(tmp_path):
    async with floor(tmp_path / "linegate.db", good=100, scrap=3) as (ask, runner):
        assert await ask("setup.begin") == "M-1: setup begun"
        with pytest.raises(RequestError, match="M-1: cannot begin a setup: a setup goes on already"):
            await ask("setup.begin")
        assert await ask("setup.end") == "M-1: setup ended"
        told = await ask("order.reclassify", order="4711", pieces=2, **{"from": "good", "to": "scrap"})
        assert told == "M-1: 2 pieces of 4711/0010 are scrap now, and were good"
        assert runner.state.running.open_scrap == 5
        many = {"order": "4711", "pieces": 999, "from": "good", "to": "scrap"}
        with pytest.raises(RequestError, match="cannot reclassify pieces of 4711: REASON_MISSING"):
            await ask("order.reclassify", **many)
        with pytest.raises(
            RequestError, match="cannot reclassify pieces of 4711: NOT_ENOUGH: the operation has 98 good"
        ):
            await ask("order.reclassify", reason="look", **many)
        for wrong, said in (
            ({"pieces": True}, "pieces: found"), ({"pieces": 0}, "pieces: found"), ({"to": "gold"}, "to: found 'gold'"),
            ({"machine": "M-2"}, "unknown machine 'M-2'; allowed: M-1"),
        ):  # fmt: skip
            with pytest.raises(RequestError, match=said):
                await ask("order.reclassify", **{"order": "4711", "pieces": 1, "from": "good", "to": "scrap", **wrong})


async def test_only_reasons_that_are_offered_are_taken_wherever_one_is_said(tmp_path):
    offers = OfferedReasonsRule(stop=("JAM",), scrap=("BENT",), only=True)
    async with floor(tmp_path / "linegate.db", good=20, rules=dataclasses.replace(RULES, reasons=offers)) as (ask, run):
        pieces = {"order": "4711", "pieces": 1}
        said = (
            ("reason", {}, "stop", "JAM"),
            ("order.scrap", pieces, "scrap", "BENT"),
            ("order.reclassify", {**pieces, "from": "good", "to": "scrap"}, "scrap", "BENT"),
            ("order.report", {"order": "4711", "scrap": 1}, "scrap", "BENT"),
            ("order.allocate", {**pieces, "from": "good", "to": "scrap"}, "scrap", "BENT"),
        )
        for verb, fields, what, allowed in said:
            before = run.state
            with pytest.raises(RequestError, match=f"reason of {what}: found 'luck', allowed: {allowed} ") as found:
                await ask(verb, reason="luck", **fields)
            assert (found.value.guard, run.state) == ("REASON", before), verb
        # Of rework no list says anything, a write-off is no scrap, and good pieces need no reason.
        for verb, fields in (
            ("order.rework", pieces),
            ("order.report", {"order": "4711", "rework": 1}),
            ("order.report", {"order": "4711", "good": 1}),
            ("order.allocate", {"order": "", "pieces": 1, "to": "scrap"}),
        ):
            guard = ""
            try:
                await ask(verb, reason="luck", **fields)
            except RequestError as error:
                guard = error.guard
            assert guard != "REASON", (verb, fields)
        assert "1 piece is scrap" in await ask("order.scrap", reason="BENT", **pieces)


async def test_a_list_of_stops_waits_for_the_one_before_whose_asker_has_gone(tmp_path, monkeypatch):
    begun, may_end, reading = [], threading.Event(), stop_verbs.read

    def slow(*args, **more):
        begun.append(args)
        assert may_end.wait(60)
        return reading(*args, **more)

    monkeypatch.setattr(stop_verbs, "read", slow)
    async with floor(tmp_path / "linegate.db") as (ask, _run), asyncio.timeout(60):
        gone = asyncio.create_task(ask("stop.list"))
        while not begun:  # noqa: ASYNC110 - it is set in a thread
            await asyncio.sleep(0.01)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        second, third = (asyncio.create_task(ask("stop.list")) for _ in range(2))
        await asyncio.sleep(0.2)  # a stretch of time in which none may begin
        assert len(begun) == 1
        may_end.set()
        assert (await second)["stops"] == (await third)["stops"] != []


async def test_stops_without_a_reason_can_be_asked_for_alone(tmp_path):
    async with floor(tmp_path / "linegate.db") as (ask, _run):
        every = (await ask("stop.list"))["stops"]
        await ask("reason", reason="JAM", **{"from": at(700), "to": None})
        left = (await ask("stop.list", without_reason="true"))["stops"]
        assert len(left) < len(every)
        assert {one["reason"] for one in left} <= {"", "UNSPECIFIED"}
        assert "JAM" in {one["reason"] for one in (await ask("stop.list", without_reason="false"))["stops"]}
