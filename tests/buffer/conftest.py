"""Fixtures of the buffer's tests: real files, steps made from a few numbers."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

import new_database
import pytest

from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store
from gateway.core.model import JobOrder, JobOrderState, JobRecord

sys.path.append(str(Path(__file__).parent))  # the model of the outbox stands beside its test

MIB = 1024 * 1024


class Clock:
    def __init__(self) -> None:
        self.ns = 1_000_000_000_000

    def __call__(self) -> int:
        return self.ns


class Make:
    """Makers of plain data, so that a test says only what it is about."""

    @staticmethod
    def job(order="100240", operation="0010", **changes):
        fields = {
            "order": order,
            "operation": operation,
            "sequence": "0",
            "revision": 1,
            "work_center": "WC-ASM",
            "product": "ASSY-D20",
            "product_revision": "F",
            "uom": "PC",
            "quantity": Decimal("24.50"),
            "sequence_no": 10,
            "std_cycle_ns": 2_400_000_000,
            "planned_start_ns": None,
            "planned_end_ns": 5,
            "cancelled": False,
            "source": "erp",
            "echo": (("sales_order", "S-1"), ("customer", "Müller")),
        }
        return JobOrder(**{**fields, **changes})

    @classmethod
    def record(cls, seq=3, **changes):
        return JobRecord(cls.job(**changes), JobOrderState.IN_PROGRESS, seq, 20, 1, 0, "ab" * 32)

    @staticmethod
    def posting(seq=1, order="100240", operation="0010", target="erp", created_ns=1000):
        key = f"RQ1/epoch/{order}/{operation}/{seq}"
        return NewPosting(target, key, f"id-{key}", order, operation, seq, "partial", b'{"a":1}', created_ns)

    @staticmethod
    def step(seq=1, rows=1, unit="ASM-01", at_ns=1000, postings=(), jobs=(), snapshot=None):
        journal = tuple(JournalRow(seq + index, at_ns, "pieces", b"{}") for index in range(rows))
        body = snapshot if snapshot is not None else f"after {seq + rows - 1}".encode()
        return Step(unit, body, at_ns, journal, tuple(postings), tuple(jobs))


@pytest.fixture(scope="session")
def make():
    return Make


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "linegate.db"


@pytest.fixture
def open_store(path, clock):
    def opened(max_bytes=64 * MIB):
        return Store.open(new_database.at(path), now_ns=clock, max_bytes=max_bytes)

    return opened


@pytest.fixture
async def store(open_store):
    store = await open_store()
    yield store
    await store.close()
