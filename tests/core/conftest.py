"""What the tests of the core share: one work unit in a rig that feeds it and keeps what it said.

The fixtures are factories without state, so that they serve property tests too. Times are given as text ("10 min")
after the rig's start.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.document import Identity
from gateway.core.duration import Duration
from gateway.core.model import (
    Confirmation,
    DataValue,
    JobChanged,
    JobOrder,
    Notice,
    OperatorEntry,
    OperatorVerb,
    OrderReceived,
    PiecesProduced,
    Role,
    Status,
    TimePassed,
)
from gateway.core.rules import CounterRule, WorkUnitRules
from gateway.core.work_unit import WorkUnit

if TYPE_CHECKING:
    from gateway.core.model import Input, JobRecord, Output

START_NS = 1_780_000_000_000_000_000  # 2026-05-28T20:26:40Z
IDENTITY = Identity(plant="P1", epoch="e0", gateway_id="gw", line="L1", machine="M-01", work_center="WC-1")
GOOD = CounterRule(mode="counter", signal="plc.good")


def job_order(order: str = "4711", quantity: str | int = 100, **over: Any) -> JobOrder:
    """A job order of the tests' work center."""
    plain: dict[str, Any] = {
        "order": order,
        "operation": "0010",
        "sequence": "0",
        "revision": 1,
        "work_center": "WC-1",
        "product": "ART-1",
        "product_revision": "A",
        "uom": "PC",
        "quantity": Decimal(quantity),
        "sequence_no": 0,
        "std_cycle_ns": None,
        "planned_start_ns": None,
        "planned_end_ns": None,
        "cancelled": False,
        "source": "erp",
        "echo": (),
    }
    return JobOrder(**plain | over)


class Rig:
    """One work unit, the clock beside it, and all it ever said."""

    def __init__(self, *counters: Any, **rules: Any) -> None:
        self.unit = WorkUnit(WorkUnitRules(work_center="WC-1", counters=counters or (GOOD,), **rules), IDENTITY)
        self.now_ns = START_NS
        self.state = self.unit.initial(START_NS)
        self.said: list[Output] = []
        self.records: dict[tuple[str, str], JobRecord] = {}
        self._shown: dict[str, int] = {}

    def at(self, text: str) -> Rig:
        """The clock shows this long after the start; the work unit is not told."""
        moment = START_NS + Duration(text)
        assert moment >= self.now_ns, "the clock never steps back"
        self.now_ns = moment
        return self

    def put(self, given: Input) -> list[Any]:
        """One input; what it led to."""
        self.state, outputs = self.unit.handle(self.state, given)
        self.said.extend(outputs)
        for output in outputs:
            if isinstance(output, JobChanged):
                self.records[output.record.job.key] = output.record
        return list(outputs)

    def wait(self) -> list[Any]:
        """Time has passed up to the clock."""
        return self.put(TimePassed(self.now_ns))

    def value(self, signal: str, value: Any, status: Status = Status.GOOD, source_ns: int | None = None) -> list[Any]:
        """A sampled value arrives now."""
        return self.put(DataValue(signal, value, status, source_ns, self.now_ns))

    def make(self, pieces: int, signal: str = "plc.good") -> list[Any]:
        """The machine's counter shows so many more; its first value is the baseline 1000."""
        if signal not in self._shown:
            self._shown[signal] = 1000
            self.value(signal, 1000)
        self._shown[signal] += pieces
        return self.value(signal, self._shown[signal])

    def receive(self, job: JobOrder) -> list[Any]:
        """The ERP's image of a job order, with what is remembered of it."""
        parts = tuple(one for one in self.records.values() if one.job.erp_order == job.order)
        return self.put(OrderReceived(self.now_ns, job, self.records.get(job.key), parts))

    def order(self, order: str = "4711", quantity: str | int = 100, **over: Any) -> list[Any]:
        """An order is released."""
        return self.receive(job_order(order, quantity, **over))

    def says(self, verb: str, order: str, operation: str = "", **more: Any) -> list[Any]:
        """A person decides."""
        known = self.records.get((order, operation or "0010"))
        return self.put(OperatorEntry(self.now_ns, OperatorVerb(verb), order, operation, "ann", known=known, **more))

    def all(self, kind: type) -> list[Any]:
        """Everything of one kind that was said, in order."""
        return [output for output in self.said if isinstance(output, kind)]

    @property
    def confirmed(self) -> list[tuple[str, int, int, str, str]]:
        """Confirmations in short: order, number, good, kind, trigger."""
        return [(c.job.order, c.seq, c.good, c.kind.value, c.trigger) for c in self.all(Confirmation)]

    @property
    def booked(self) -> list[tuple[str | None, int]]:
        """Pieces in short: order and pieces."""
        return [(p.order, p.pieces) for p in self.all(PiecesProduced)]

    @property
    def running(self) -> str | None:
        """The running order's name."""
        return self.state.running.job.order if self.state.running else None

    @property
    def queued(self) -> list[str]:
        """The waiting orders' names."""
        return [run.job.order for run in self.state.queue]

    @property
    def notices(self) -> list[tuple[str, dict[str, str]]]:
        """What a person should see."""
        return [(notice.code, dict(notice.detail)) for notice in self.all(Notice)]

    def close_books(self) -> None:
        """Every piece is confirmed, open or unallocated, role by role; raises AssertionError where one is missing."""
        confirmations, runs = self.all(Confirmation), list(self.state.open_runs())
        for role in map(str, Role):
            told = sum(getattr(c, role) for c in confirmations)
            still_open = sum(getattr(run, f"open_{role}") for run in runs)
            counted, nobodys = getattr(self.state.counted, role), getattr(self.state.unallocated, role)
            written_off = self.state.bucket.written_off if role == "scrap" else 0
            assert counted == told + still_open + nobodys + written_off, role
        keys = [run.job.key for run in runs]
        assert len(keys) == len(set(keys)), "an order is held once"
        assert self.state.journal_seq == len(self.said)


@pytest.fixture(scope="session")
def rig():
    """``rig(*counter_rules, **rules)`` makes a Rig; without arguments one free counter, plc.good."""
    return Rig


@pytest.fixture(scope="session")
def job():
    """``job(order, quantity, **fields)`` makes a JobOrder."""
    return job_order


@pytest.fixture(scope="session")
def identity():
    """Who confirms."""
    return IDENTITY
