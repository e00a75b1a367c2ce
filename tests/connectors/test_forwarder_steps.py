"""Postings of several steps, baselines, acknowledgements and refusals, killed between every two steps.

The target is the careless ledger of ``stepped``.
"""

import pytest
from stepped import STEPS, Bench

from buffer.entry import GOODS_ERROR, OutboxState, Settlement
from gateway.contract import FaultContract
from gateway.contract.faults import HTML, LOGIN_EXPIRED, REFUSED
from gateway.contract.plant import Plant

WITHOUT = {"slow_booking": "plain calls"}


class TestThreeSteps(FaultContract):
    without = WITHOUT
    killed_confirmations = 1

    @pytest.fixture
    def bench(self, document):
        return Bench(document)


class TestThreeStepsWithBaselines(FaultContract):
    without = WITHOUT
    killed_confirmations = 1

    @pytest.fixture
    def bench(self, document):
        return Bench(document, baseline=True)


class TestThreeStepsAcceptedFirst(FaultContract):
    without = WITHOUT
    killed_confirmations = 1

    @pytest.fixture
    def bench(self, document):
        return Bench(document, later=True)


class TestAcceptedLetsTheNextOneGo(FaultContract):
    without = WITHOUT
    killed_confirmations = 1

    @pytest.fixture
    def bench(self, document):
        return Bench(document, later=True, steps=1, accepted_blocks=False)


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("fault", ["lost_answer", "lost_request", HTML, LOGIN_EXPIRED, REFUSED, "busy"])
async def test_a_fault_at_each_step(document, tmp_path, step, fault):
    bench = Bench(document)
    async with Plant(bench, tmp_path) as plant:
        await plant.add(2)
        bench.ledger.faults = [*[""] * step, fault]
        await plant.run()
        first, second = await plant.entries()
        if fault == REFUSED:
            assert (first.state, first.step, first.steps) == (OutboxState.PARKED, step, STEPS)
            assert second.attempts == 0
            assert len(bench.ledger.bookings) == step
            assert await plant._outbox.references(first) == tuple(f"R-{first.key}-{one}" for one in range(step))
        await plant.finish()
        plant.check_all_booked(await plant.entries())
        first = (await plant.entries())[0]
        assert first.reference == ", ".join(f"R-{first.key}-{one}" for one in range(STEPS))
        assert [one.sent_ns is not None for one in await plant._outbox.steps(first.id)] == [True] * STEPS


async def test_what_is_booked_in_part_says_so_when_it_is_given_up(document, tmp_path):
    bench = Bench(document)
    async with Plant(bench, tmp_path) as plant:
        await plant.add(1)
        bench.ledger.faults = ["", REFUSED]
        await plant.run()
        (one,) = await plant.entries()
        (gone,) = await plant._outbox.supersede(one.id, 1, who="p: by hand")
        assert f"(booked: the first 1 of 3 steps: R-{one.key}-0)" in gone.error_text


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        (["no_goods"], "deficit 0"),
        (["no_goods", "busy", "no_goods"], "deficit 0; deficit 1"),
        (["", "no_goods", "lost_answer"], "deficit 1"),
        (["", "", "no_goods"], "deficit 2"),
    ],
)
async def test_each_step_may_be_booked_without_its_material(document, tmp_path, faults, told):
    bench = Bench(document)
    async with Plant(bench, tmp_path) as plant:
        await plant.add(1)
        bench.ledger.faults = faults
        await plant.run()
        await plant.finish()
        (one,) = await plant.entries()
        assert (one.state, one.error_kind, one.error_text) == (OutboxState.POSTED, GOODS_ERROR, told)
        assert (await plant._outbox.counts("erp")).goods_errors == 1
        (seen,) = await plant._outbox.material_posted(one.id, 1, who="ann")
        assert seen.error_kind == ""


async def test_refused_after_it_was_accepted_waits_for_a_person(document, tmp_path):
    bench = Bench(document, later=True, steps=1)
    bench.ledger.refuse_later = 1
    async with Plant(bench, tmp_path) as plant:
        await plant.add(2)
        await plant.run()
        first, second = await plant.entries()
        assert (first.state, first.error_kind, first.error_code) == (
            OutboxState.PARKED, "business_reject", "PERIOD_CLOSED",
        )  # fmt: skip
        assert second.attempts == 0
        await plant._outbox.release(first.id, plant._now_ns, who="p")
        assert (await plant.entries())[0].released
        await plant.finish()
        plant.check_all_booked(await plant.entries())


async def test_what_nobody_can_ask_about_is_delivered_and_over(document, tmp_path):
    bench = Bench(document, later=True, steps=2, readback=False)
    async with Plant(bench, tmp_path) as plant:
        await plant.add(2)
        await plant.run()
        assert [one.state for one in await plant.entries()] == [OutboxState.DELIVERED] * 2
        counts = await plant._outbox.counts("erp")
        assert (counts.delivered, counts.posted, counts.waiting) == (2, 0, 0)
        assert not bench.ledger.asked


async def test_several_of_a_lane_wait_side_by_side_for_their_booking(document, tmp_path):
    bench = Bench(document, later=True, steps=1, accepted_blocks=False)
    async with Plant(bench, tmp_path) as plant:
        await plant.add(4)
        outbox = plant._outbox
        for one in await plant.entries():
            begun = await outbox.begin_send(one.id, (b"x", "t", "n"), 1)
            await outbox.settle(begun.id, Settlement(OutboxState.ACCEPTED, 5), 1, passed=True)
        assert [one.passed for one in await plant.entries()] == [1] * 4
        assert len(await outbox.due("erp", 10, 100)) == 4
        first = (await plant.entries())[0]
        await outbox.settle(first.id, Settlement(OutboxState.PARKED, 1, "", "business_reject"), 1)
        assert [one.id for one in await outbox.due("erp", plant._now_ns, 100)] == [
            2,
            3,
            4,
        ]  # the first one is with a person


@pytest.fixture
def reversing(document):
    """Documents of which each second one takes back the one before."""

    def made(seq):
        if seq % 2:
            return document(seq)
        return {**document(seq), "type": "reversal", "reverses": document(seq - 1)["idempotency_key"]}

    return made


async def test_a_reversal_waits_for_what_it_takes_back(reversing, tmp_path):
    """Accepted, it lets the next one of its lane go; one that takes it back has to know what was booked."""
    bench = Bench(reversing, later=True, steps=1, accepted_blocks=False)
    async with Plant(bench, tmp_path) as plant:
        await plant.add(2)
        await plant.run()
        plant.check_all_booked(await plant.entries())
        first, second = await plant.entries()
        assert bench.ledger.taken_back == {second.key: [f"R-{first.key}-0"]}
        assert second.first_sent_ns > first.settled_ns


async def test_a_reversal_names_each_step_that_is_booked(reversing, tmp_path):
    bench = Bench(reversing)
    async with Plant(bench, tmp_path) as plant:
        await plant.add(2)
        bench.ledger.faults = ["", "", REFUSED]
        await plant.run()
        first, second = await plant.entries()
        await plant._outbox.supersede(first.id, 1, who="p: given up")
        await plant.run()
        assert bench.ledger.taken_back == {second.key: [f"R-{first.key}-{step}" for step in range(2)]}


async def test_a_reversal_of_what_was_given_up_waits_for_a_person(reversing, tmp_path):
    bench = Bench(reversing, steps=1)
    async with Plant(bench, tmp_path) as plant:
        await plant.add(2)
        bench.ledger.faults = [REFUSED]
        await plant.run()
        first, _ = await plant.entries()
        await plant._outbox.supersede(first.id, 1, who="p: booked by hand")
        await plant.run()
        second = (await plant.entries())[1]
        assert (second.state, second.error_kind, second.attempts) == (OutboxState.PARKED, "mapping", 0)
        assert "is superseded" in second.error_text
        assert "take it back there by hand; then discard this" in second.error_text
        assert not bench.ledger.bookings
        assert not bench.ledger.taken_back


async def test_a_reversal_of_what_is_gone_waits_for_a_person(document, tmp_path):
    bench = Bench(lambda seq: {**document(seq), "type": "reversal", "reverses": "P/e/gone"}, steps=1)
    async with Plant(bench, tmp_path) as plant:
        await plant.add(1)
        await plant.run()
        (one,) = await plant.entries()
        assert (one.state, one.error_kind, one.attempts) == (OutboxState.PARKED, "mapping", 0)
        assert "'P/e/gone'" in one.error_text
        assert "retention.confirmations" in one.error_text


async def test_a_reversal_of_what_was_delivered_goes_without_a_reference(reversing, tmp_path):
    bench = Bench(reversing, later=True, steps=1, readback=False)
    async with Plant(bench, tmp_path) as plant:
        await plant.add(2)
        await plant.run()
        first, second = await plant.entries()
        assert [first.state, second.state] == [OutboxState.DELIVERED] * 2
        assert bench.ledger.taken_back == {second.key: [f"A-R-{first.key}-0"]}
