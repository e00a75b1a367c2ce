"""The router's way of one scan: to whom each value goes, and in which turn, whatever order the device delivers."""

from __future__ import annotations

import itertools

import pytest

from drivers.base import Reading, TelemetryBlock
from gateway.core.document import Identity
from gateway.core.model import DataValue, Status
from gateway.core.rules import CounterRule, OrderRule, WorkUnitRules
from gateway.core.work_unit import WorkUnit
from gateway.sources.router import Router


class Machine:
    """Takes what the router hands over."""

    def __init__(self, name, **rules):
        counter = CounterRule(mode="counter", signal=f"plc.{name}", restart_evidence=("plc.boots",))
        identity = Identity(plant="P", epoch="e", gateway_id="g", line="", machine=name, work_center=name)
        self.unit = WorkUnit(WorkUnitRules(work_center=name, counters=(counter,), **rules), identity)
        self.taken = []

    async def put(self, values):
        self.taken.append([value.signal for value in values])


@pytest.mark.parametrize("scan", list(itertools.permutations(("job", "a", "boots"))))
async def test_evidence_goes_first_and_the_jobs_name_last(scan):
    one = Machine("a", orders=OrderRule(choose="job_signal", job_signal="plc.job"))
    other = Machine("b")
    router = Router("plc", (one, other), None)
    values = tuple(DataValue(f"plc.{name}", 1, Status.GOOD, None, 1) for name in scan)
    await router.deliver(Reading(values))
    assert one.taken == [["plc.boots", "plc.a", "plc.job"]]
    assert other.taken == [["plc.boots"]]


async def test_telemetry_goes_beside_the_machines():
    machine, seen = Machine("a"), []
    router = Router("plc", (machine,), lambda source, blocks: seen.append((source, blocks)))
    block = TelemetryBlock(("x",), (1,), 1)
    await router.deliver(Reading((), (block,)))
    await router.deliver(Reading())
    assert (machine.taken, seen) == ([], [("plc", (block,))])
    assert router.rule_signals == ("plc.a", "plc.boots")
