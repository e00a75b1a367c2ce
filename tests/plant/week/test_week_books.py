"""The books of the week in half an hour of one machine: what they allow, and what they see."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest
import week_gateway
from week_books import check_states_of, made_unseen, states, without
from week_checks import check_numbers, rows
from week_machines import MIN, S
from week_plan import HOUR
from week_run import Week

from gateway.core.model import MachineState, OperatorVerb, TimePassed

FILLER, ASSEMBLY = "FIL-02", "ASM-01"
ORDERS = {FILLER: "100540", ASSEMBLY: "100240"}


async def _half_an_hour(week, name):
    """Its link is lost for some minutes, in which it stands before every cycle."""
    device, order = week.devices[name], ORDERS[name]
    device._machine.spec = replace(device._machine.spec, micro_stop_share=1.0)
    await week.gateway.start()
    try:
        await week._look()
        await week._lot(name)
        await week._release(week.wanted[order])
        await week._tend(name)
        await week._pass(week.now_ns + 10 * MIN)
        week.cut[name] = (week.now_ns + 5 * S, week.now_ns + 200 * S)
        await week._pass(week.now_ns + 10 * MIN)
        await week._show(name, device.stop(week.now_ns))
        assert await week._say(name, OperatorVerb.FINISH, order, "WEEKEND")
        week._pass_time(HOUR)
        await week.gateway.submit(name, TimePassed(week.now_ns))
    finally:
        await week.gateway.stop()


@pytest.fixture(scope="module")
def half_an_hour(tmp_path_factory):
    """``half_an_hour(name)``: a week that ended after half an hour of one machine."""

    def happen(name):
        week = Week(tmp_path_factory.mktemp("week"), "spring", 1)
        asyncio.run(_half_an_hour(week, name))
        return week

    return happen


@pytest.fixture(scope="module")
def lost(half_an_hour):
    """Of the filler."""
    return half_an_hour(FILLER)


@pytest.fixture
def told(lost, monkeypatch):
    """``told(change)``: the same week, in which something else was told of the estimated sum."""

    def make(change):
        row = [change(one) if one.estimated else one for one in states(lost, FILLER)]
        monkeypatch.setitem(lost.gateway.outputs, FILLER, row)
        return lost

    return make


def test_an_estimated_sum_has_no_place_of_its_own(lost):
    (estimated,) = [one for one in states(lost, FILLER) if one.estimated]
    runs = lost.devices[FILLER].log.runs
    ran = [(at_ns, until_ns) for (at_ns, on), (until_ns, _) in pairwise(runs) if on]
    assert without([estimated[1:3]], ran), "the machine stood somewhere in there"
    check_states_of(lost, FILLER)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda one: one._replace(estimated=False), "told to run while it stood"),
        (lambda one: one._replace(to_ns=one.from_ns + 190 * S), "estimated, and not made"),
        (lambda one: one._replace(from_ns=one.from_ns - 10 * S), "unknown while somebody looked"),
        (lambda one: one._replace(state=MachineState.STOPPED, estimated=False), "ran, and that is not told"),
    ],
)
def test_no_more_than_that_is_allowed(told, change, seen):
    with pytest.raises(AssertionError, match=seen):
        check_states_of(told(change), FILLER)


def test_what_is_read_before_the_state_is_estimated_too(half_an_hour):
    """Its counters, good and scrap, stand before its state in each reading."""
    week = half_an_hour(ASSEMBLY)
    (estimated,) = [one for one in states(week, ASSEMBLY) if one.estimated]
    assert estimated.length_ns == len(made_unseen(week, ASSEMBLY)) * week.devices[ASSEMBLY].cycle_ns
    check_states_of(week, ASSEMBLY)


async def _ended_soon(week):
    await week.gateway.start()
    try:
        await week._look()
        await week._lot(ASSEMBLY)
        await week._release(week.wanted[ORDERS[ASSEMBLY]])
        await week._tend(ASSEMBLY)
        await week._pass(week.now_ns + 10 * MIN)
        await week._end()
    finally:
        await week.gateway.stop()


def test_answers_that_get_lost_in_the_last_hour_are_looked_up(tmp_path, monkeypatch):
    monkeypatch.setattr(week_gateway, "LOST_ANSWERS", 1)
    week = Week(tmp_path, "spring", 1)
    asyncio.run(_ended_soon(week))
    assert len(week.gateway.erp.documents()) >= 1
    assert {state for (state,) in rows(week, "SELECT state FROM outbox")} == {"posted"}
    check_numbers(week)
