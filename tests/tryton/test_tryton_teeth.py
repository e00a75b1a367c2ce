"""The suite of Tryton has teeth: a connector that is broken on purpose does not get through it.

Each bug is one patch of the running connector, tried by the check that must see it; without the bug it passes.
"""

from __future__ import annotations

import pytest
from judging import Bench

from gateway.connectors.base import OutcomeKind
from gateway.connectors.tryton import render, steps
from gateway.connectors.tryton.outputs import booked
from gateway.contract import FaultContract

pytestmark = pytest.mark.soak

# The base class is no test of its own here.
Suite = type("Suite", (FaultContract,), {"__test__": False})
del FaultContract


@pytest.fixture
def bench(server, partner, build, documents):
    bench = Bench(server, partner, build, documents)
    yield bench
    bench.relay.close()


def cycle_repeated(monkeypatch):
    """A cycle whose answer was lost is made again."""

    async def none(_session, _step):
        return None

    monkeypatch.setattr(steps, "_cycle", none)


def note_last(monkeypatch):
    """The ledger is written behind what is reckoned from it."""
    names = [name for name in render.STEPS if name is not render.StepName.NOTE]
    monkeypatch.setattr(render, "STEPS", (*names, render.StepName.NOTE))


def moves_as_deltas(monkeypatch):
    """The moves grow by what a confirmation adds: once more with each repeat."""
    real, planned = steps.wanted, 100_000

    def more(moves, product, good, scrap):
        there = booked(moves, product, scrap[0])
        had = (0 if there[0] == planned else there[0], there[1])
        return real(moves, product, (good[0], had[0] + 3), (scrap[0], had[1] + 1))

    monkeypatch.setattr(steps, "wanted", more)


@pytest.mark.parametrize(
    ("bug", "scenario", "seen"),
    [
        (cycle_repeated, "test_answer_lost_after_booking", "a cycle that nobody names"),
        (note_last, "test_nothing_happens_on_the_way", "is posted, .* are booked"),
        (moves_as_deltas, "test_half_an_answer", "the moves say"),
    ],
)
async def test_a_bug_is_seen(bench, monkeypatch, tmp_path, bug, scenario, seen):
    async def checked():
        await getattr(Suite(), scenario)(bench, tmp_path)
        bench.check_cycles()

    bug(monkeypatch)
    with pytest.raises(AssertionError, match=seen):
        await checked()


async def test_a_warning_passed_over_without_a_person_is_seen(connector, sent, partner, documents, monkeypatch):
    """A connector that takes every posting for released does what the test of over-delivery says must not happen."""
    real = steps._do

    async def do(session, step):
        await real(session, step._replace(posting=step.posting._replace(released=True)))

    monkeypatch.setattr(steps, "_do", do)
    production = partner.order(94, tolerance=0.04)
    number = partner.one("production", [["id", "=", production]], "number")["number"]
    await sent(documents(number, 10).next(100, kind="final")).deliver(connector)
    outcome = await sent(documents(number, 20).next(97, 3, kind="final")).deliver(connector)
    with pytest.raises(AssertionError):
        assert (outcome.kind, outcome.code) == (OutcomeKind.BUSINESS_REJECT, "over_tolerance")
    assert partner.state(production) == "done"
