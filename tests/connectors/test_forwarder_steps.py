"""Postings of several steps, baselines, acknowledgements and refusals, killed between every two steps.

The target is a careless ledger in this process that the connector reaches by plain calls: it books what comes twice
twice, so that its sums convict.
"""

from collections import Counter
from decimal import Decimal

import pytest

from buffer.entry import OutboxState, Settlement
from gateway.connectors.base import (
    BookedOrder,
    Capabilities,
    ConnectorError,
    Health,
    Lookup,
    LookupKind,
    MappingError,
    Outcome,
    OutcomeKind,
    Rendered,
)
from gateway.contract import Booked, FaultContract
from gateway.contract.faults import HTML, LOGIN_EXPIRED, REFUSED
from gateway.contract.plant import Plant

STEPS = 3
KINDS = {
    "busy": Outcome(OutcomeKind.BUSY, "locked"),
    "refused": Outcome(OutcomeKind.BUSINESS_REJECT, "closed", "CLOSED"),
    "login_expired": Outcome(OutcomeKind.AUTH, "expired"),
    "html": Outcome(OutcomeKind.PROTOCOL, "a page"),
}


class Ledger:
    """What is booked: message id, key, step, seq of the last booking."""

    def __init__(self, **can):
        self.can = can
        self.away = False
        self.faults = []
        self.bookings = []
        self.accepted = {}
        self.refuse_later = 0
        self.asked = Counter()
        self.later = False

    def book(self, posting):
        assert posting.references == tuple(f"R-{posting.key}-{step}" for step in range(posting.step)), posting
        assert posting.rendered.body == f"{posting.key} step {posting.step}".encode()
        self.bookings.append((posting.message_id, posting.key, posting.step))


class Stepped:
    """A connector in so many steps."""

    def __init__(self, ledger, steps=STEPS):
        self.ledger = ledger
        self.steps = steps

    @property
    def capabilities(self):
        return Capabilities(orders=False, **self.ledger.can)

    async def open(self):
        pass

    async def close(self):
        pass

    async def fetch_orders(self, _cursor):
        raise ConnectorError("no orders")

    def render(self, confirmation):
        try:
            key = confirmation["idempotency_key"]
            _ = confirmation["order_id"], confirmation["operation"], confirmation["seq"], confirmation["qty"]["good"]
        except KeyError as error:
            raise MappingError(f"{error}: missing") from error
        made = [Rendered(f"{key} step {step}".encode(), "text/plain", f"n{step}") for step in range(self.steps)]
        return made[0]._replace(more=tuple(made[1:]))

    async def baseline(self, posting):
        if self.ledger.away:
            raise ConnectorError("away")
        return str(len(self.ledger.bookings)).encode()

    async def send(self, posting):
        ledger = self.ledger
        if ledger.away:
            return Outcome(OutcomeKind.NOT_SENT, "away")
        fault = ledger.faults.pop(0) if ledger.faults else ""
        if fault in KINDS:
            return KINDS[fault]
        if fault == "lost_request":
            return Outcome(OutcomeKind.UNCERTAIN, "cut")
        reference = f"R-{posting.key}-{posting.step}"
        if ledger.later:
            ledger.accepted[posting.message_id] = posting
            outcome = Outcome(OutcomeKind.ACCEPTED, reference=f"A-{reference}")
        else:
            ledger.book(posting)
            outcome = Outcome(OutcomeKind.POSTED, reference=reference)
        return Outcome(OutcomeKind.UNCERTAIN, "no answer") if fault in {"lost_answer", "half_answer"} else outcome

    async def lookup(self, posting):
        ledger = self.ledger
        if ledger.away:
            return Lookup(LookupKind.UNKNOWN, detail="away")
        ledger.asked[posting.message_id] += 1
        if ledger.can.get("baseline"):
            assert posting.baseline is not None
            new = ledger.bookings[int(posting.baseline) :]
            there = any(one[0] == posting.message_id for one in new)
        else:
            there = any(one[0] == posting.message_id for one in ledger.bookings)
        if there:
            return Lookup(LookupKind.FOUND, f"R-{posting.key}-{posting.step}")
        if posting.message_id in ledger.accepted:
            if ledger.asked[posting.message_id] < 2:
                return Lookup(LookupKind.ACCEPTED, "A")
            if ledger.refuse_later:
                ledger.refuse_later -= 1
                del ledger.accepted[posting.message_id]
                return Lookup(LookupKind.REFUSED, detail="period closed", code="PERIOD_CLOSED")
            ledger.book(ledger.accepted.pop(posting.message_id))
            return Lookup(LookupKind.FOUND, f"R-{posting.key}-{posting.step}")
        return Lookup(LookupKind.ABSENT)

    async def probe(self):
        return Health(not self.ledger.away, "away" if self.ledger.away else "there")

    async def booked(self, order):
        return BookedOrder(order)


class Bench:
    def __init__(self, document, *, later=False, steps=STEPS, **can):
        self.ledger = Ledger(**can)
        self.ledger.later = later
        self.document = document
        self.steps = steps

    def build(self):
        return Stepped(self.ledger, self.steps)

    def release(self, order):
        pass

    def take_away(self):
        self.ledger.away = True

    def bookings(self, key):
        return sum(one[1] == key for one in self.ledger.bookings) + sum(
            one.key == key for one in self.ledger.accepted.values()
        )

    def fault(self, name, count=1):
        if name == "slow_booking":
            return False
        self.ledger.faults += [name] * count
        return True

    def working(self):
        return False

    def booked(self):
        # All pieces are in the last step, the steps before it move none.
        return [
            Booked(key, Decimal(10 * (step == self.steps - 1)), Decimal(step == self.steps - 1), str(step))
            for _, key, step in self.ledger.bookings
        ]


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
        assert "(booked: the first 1 of 3 steps)" in gone.error_text


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
