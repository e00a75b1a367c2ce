"""The promises of every connector, kept against a real Tryton, and what comes out there whatever happens on the way."""

from __future__ import annotations

import asyncio

import pytest
from judging import Bench

from gateway.connectors.base import LookupKind, OutcomeKind
from gateway.contract import FaultContract


@pytest.fixture
def bench(server, partner, build, documents):
    """A production of the contract's number, assigned; those of other tests are out of the way."""
    bench = Bench(server, partner, build, documents)
    yield bench
    bench.relay.close()
    if bench.judged:
        bench.check_cycles()


class TestContract(FaultContract):
    """A booking is in the output moves; the steps before it are sent as the forwarder sends them."""

    killed_confirmations = 1
    #: Each kind of moment, each in another step. All of them in each step: by ``make soak``.
    killed_every = 9

    async def test_what_was_sent_is_found(self, bench, sent):
        """Each step is absent before and found after."""
        connector = bench.build()
        await connector.open()
        confirmation = sent(bench.document(1))
        assert [message.name for message in confirmation.messages] == [
            "run", "cycle", "note", "cycle_run", "cycle_time", "cycle_do", "outputs",
        ]  # fmt: skip
        while not confirmation.over:
            confirmation.baselines[confirmation.step] = await connector.baseline(confirmation.posting())
            before = confirmation.posting()
            assert (await connector.lookup(before)).kind is LookupKind.ABSENT
            assert (await confirmation.send(connector)).kind is OutcomeKind.POSTED
            assert (await connector.lookup(before)).reference == confirmation.references[-1]
        assert bench.bookings(confirmation.image["idempotency_key"]) == 1
        await connector.close()

    async def test_several_lanes_at_once(self, bench, sent):
        connector = bench.build()
        await connector.open()
        lanes = [sent(bench.document(seq) | {"operation": str(10 * (1 + seq % 2))}) for seq in (1, 2)]
        outcomes = await asyncio.gather(*(lane.deliver(connector) for lane in lanes))
        assert [outcome.kind for outcome in outcomes] == [OutcomeKind.POSTED] * 2
        assert [bench.bookings(lane.image["idempotency_key"]) for lane in lanes] == [1, 1]
        await connector.close()

    @pytest.mark.soak
    async def test_nothing_happens_on_the_way(self, bench, tmp_path):
        await super().test_nothing_happens_on_the_way(bench, tmp_path)

    @pytest.mark.soak
    async def test_answer_lost_after_booking(self, bench, tmp_path):
        await super().test_answer_lost_after_booking(bench, tmp_path)

    @pytest.mark.soak
    async def test_request_lost(self, bench, tmp_path):
        await super().test_request_lost(bench, tmp_path)

    @pytest.mark.soak
    async def test_login_expired(self, bench, tmp_path):
        await super().test_login_expired(bench, tmp_path)

    @pytest.mark.soak
    async def test_html_page_with_200(self, bench, tmp_path):
        await super().test_html_page_with_200(bench, tmp_path)

    @pytest.mark.soak
    async def test_no_answer_and_killed(self, bench, tmp_path):
        await super().test_no_answer_and_killed(bench, tmp_path)


@pytest.mark.soak
class TestContractAtEveryMoment(TestContract):
    killed_every = 1
    killed_confirmations = 2


# The base class is no test of its own here.
del FaultContract
