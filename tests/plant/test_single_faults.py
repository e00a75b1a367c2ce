"""Faults that need other rules than the example's: a torn word, a job that nobody released, wild and late orders."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drivers.modbus.signals import ModbusSignal
from gateway.core.duration import Duration
from gateway.core.model import PiecesProduced, Role, UnknownInterval
from gateway.core.rules import CounterRule, OrderRule, PulseRule
from gateway.core.rules_counting import RolesRule

S = 1_000_000_000
MIN = 60 * S
MINUTES = 60


@pytest.fixture
def changed(example):
    """The example's settings with other signals and rules for the assembly machine."""

    def change(signals, **rules):
        settings = example()
        asm = settings.sources["asm"]
        own = replace(asm.driver_settings, signals={**asm.driver_settings.signals, **signals})
        return replace(
            settings,
            sources={**settings.sources, "asm": replace(asm, driver_settings=own)},
            work_units={**settings.work_units, "ASM-01": replace(settings.work_units["ASM-01"], **rules)},
        )

    return change


@pytest.mark.parametrize("seed", [1, 2])
def test_a_torn_total_is_a_spike_and_no_piece(plant, dice, changed, seed):
    total = ModbusSignal(table="holding", address=2, type="uint32")
    rule = RolesRule(
        mode="roles",
        total=CounterRule(mode="counter", signal="asm.total", modulus=2**32, restart_evidence=("asm.boots",)),
        scrap=CounterRule(mode="counter", signal="asm.scrap", modulus=2**16, restart_evidence=("asm.boots",)),
    )
    random = dice(f"torn/{seed}")
    torn = []

    async def story(plant):
        at_ns = MIN
        while at_ns < (MINUTES - 2) * MIN:
            await plant.until(at_ns)
            await plant.does("torn-total 1")
            torn.append(at_ns)
            at_ns += random.randrange(20, 90) * S + random.randrange(S)
        await plant.until((MINUTES - 1) * MIN)
        await plant.does("stop")
        await plant.until(MINUTES * MIN)

    # The total passes 2 * 65536 on the way: both words change.
    one = plant("ASM-01", "--good", "130900", settings=changed({"total": total}, counters=(rule,)), seed=seed)
    one.work(story)
    made = one.truth.totals()
    assert made["good_total"] > 1000
    assert len(torn) > 30
    assert "SPIKE_DROPPED" in one.flags
    assert (one.booked[Role.GOOD], one.booked[Role.SCRAP]) == (made["good_total"], made["scrap_total"])
    assert (one.review, sum(one.unknown.values())) == (0, 0)
    one.close_books()


def test_a_job_that_nobody_released_gets_no_piece_and_takes_none(plant, changed):
    job = ModbusSignal(table="holding", address=8, type="string", length=16)
    orders = OrderRule(choose="job_signal", job_signal="asm.job", at_target="continue")
    jobs = ("100240-0010", "NO-SUCH-JOB", "100241-0010", "100240-0010", "?", "100241-0010")
    made = {}

    async def story(plant):
        before = 0
        for number, name in enumerate(jobs):
            await plant.until((1 + 8 * number) * MIN + number * 777_777_777)
            now = plant.pace.machine.pieces
            made[jobs[number - 1] if number else "before"] = made.get(jobs[number - 1], 0) + now - before
            before = now
            await plant.does(f"job {name}")
        await plant.until(50 * MIN)
        await plant.does("stop")
        await plant.until(51 * MIN)
        made[jobs[-1]] += plant.pace.machine.pieces - before

    one = plant("ASM-01", settings=changed({"job": job}, orders=orders), orders=(50, 50)).work(story)
    booked = {}
    for output in one.all(PiecesProduced):
        booked[output.order] = booked.get(output.order, 0) + output.pieces
    assert sum(booked.values()) == one.pace.machine.pieces
    # What was made between a change and the next look may go to either side: one piece for each change.
    assert abs(booked["100240"] - made["100240-0010"]) <= 2
    assert abs(booked["100241"] - made["100241-0010"]) <= 2
    nobodys = made["before"] + made["NO-SUCH-JOB"] + made["?"]
    assert abs(booked[None] - nobodys) <= 3
    assert min(made.values()) > 10
    one.close_books()


VERDICTS = {"ok_1": Role.GOOD, "nok_1": Role.SCRAP, "ok_2": Role.GOOD, "nok_2": Role.SCRAP}


@pytest.mark.parametrize("seed", [1, 2])
def test_looks_that_are_left_out_lose_pulses_that_are_declared(plant, dice, example, seed):
    """The tester's verdicts as pulses of 500 ms, looked at every 250 ms. No link is lost and no value is bad."""
    settings = example()
    counters = tuple(
        PulseRule(mode="pulse", signal=f"tst.{name}", role=role, min_cycle=Duration("3 s"))
        for name, role in VERDICTS.items()
    )
    rules = replace(settings.work_units["TST-01"], counters=counters)
    settings = replace(settings, work_units={**settings.work_units, "TST-01": rules})
    random, left_out = dice(f"looks/{seed}"), []

    async def story(plant):
        at_ns = MIN
        while at_ns < (MINUTES - 2) * MIN:
            await plant.until(at_ns)
            plant.source.deaf = True
            left_out.append(random.choice((0.2, 0.3, 0.6, 1, 2.5, 8)))
            await plant.until(at_ns + int(left_out[-1] * S))
            plant.source.deaf = False
            at_ns += random.randrange(60, 240) * S + random.randrange(S)
        await plant.until((MINUTES - 1) * MIN)
        await plant.does("stop")
        await plant.until(MINUTES * MIN)

    one = plant("TST-01", settings=settings, orders=(10_000,), seed=seed).work(story)
    made, declared = one.truth.totals(), one.all(UnknownInterval)
    truth = {Role.GOOD: made["good_total"], Role.SCRAP: made["scrap_total"]}
    assert sum(truth.values()) > sum(one.booked[role] for role in truth), "nothing was lost: this would prove little"
    for role, pieces in truth.items():
        assert one.booked[role] <= pieces <= one.booked[role] + one.unknown[role], (role, truth, one.booked)
    assert len(declared) <= len(VERDICTS) * sum(length > 0.25 for length in left_out)
    one.close_books()
