"""Core, store and forwarder together under random polls, roll-overs, crashes and lost answers: every piece conserved.

The clock is the only double besides the ERP, which books whatever it is sent, twice if it is sent twice. A crash ends
the gateway between any two steps: before a commit, after it, before a send, after the booking, before the settlement.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from buffer.outbox import Outbox
from buffer.store import Store
from gateway.connectors.base import Capabilities, Health, Lookup, LookupKind, Outcome, OutcomeKind, Rendered
from gateway.core import snapshot
from gateway.core.document import Identity
from gateway.core.duration import Duration
from gateway.core.model import DataValue, JobOrder, OperatorEntry, OperatorVerb, OrderReceived, Status
from gateway.core.rate import Rate
from gateway.core.rules import ConfirmRule, CounterRule, WorkUnitRules
from gateway.core.work_unit import WorkUnit
from gateway.forwarder import Forwarder
from gateway.timing.clock import ManualClock
from gateway.work_unit.item import Item
from gateway.work_unit.runner import Runner, RunnerHooks
from gateway.work_unit.steps import step_of

S = 1_000_000_000
MODULUS = 65_536  # less of it than this passes between two committed readings in a whole history
RATE_PER_S = 10

RULES = WorkUnitRules(
    work_center="WC",
    counters=(
        CounterRule(mode="counter", signal="plc.good", modulus=MODULUS, max_rate=Rate.parse(f"{RATE_PER_S} /s")),
    ),
    confirm=ConfirmRule(every_pieces=7, min_interval=Duration("0 s")),
)


class Died(BaseException):
    """The process ends here."""


class Erp:
    """Books what it is sent; remembers keys only for look-ups. Each send takes the next fate."""

    capabilities = Capabilities(server_time_limit_ns=0)

    def __init__(self):
        self.booked: list[dict] = []
        self.fates: list[str] = []

    def render(self, confirmation):
        return Rendered(json.dumps(confirmation).encode(), "application/json", "")

    async def send(self, posting):
        fate = self.fates.pop(0) if self.fates else "ok"
        if fate == "die before booking":
            raise Died
        if fate == "refused":
            return Outcome(OutcomeKind.NOT_SENT, "connection refused")
        if fate == "lost":
            return Outcome(OutcomeKind.UNCERTAIN, "cut before the server read it")
        self.booked.append(json.loads(posting.rendered.body))
        if fate == "answer lost":
            return Outcome(OutcomeKind.UNCERTAIN, "no answer")
        if fate == "die after booking":
            raise Died
        return Outcome(OutcomeKind.POSTED, reference=f"R{len(self.booked)}")

    async def lookup(self, posting):
        found = [one for one in self.booked if one["idempotency_key"] == posting.key]
        return Lookup(LookupKind.FOUND, "R") if found else Lookup(LookupKind.ABSENT)

    async def probe(self):
        return Health(True, "")


class MortalRunner(Runner):
    """The real runner; ``die`` names where its next step ends the process."""

    die = ""

    async def _commit(self, state, outputs, first_seq, besides=None):
        if self.die == "before commit":
            raise Died
        await super()._commit(state, outputs, first_seq, besides)
        if self.die == "after commit":
            raise Died


class TwoTransactionsRunner(MortalRunner):
    """The planted bug: state first, postings in a transaction of their own."""

    async def _commit(self, state, outputs, first_seq, besides=None):
        step = step_of(self.unit, state, outputs, first_seq, self._hooks.targets)
        await self._store.commit(step._replace(postings=()))
        if self.die:
            raise Died
        if step.postings:
            await self._store.commit(step._replace(rows=(), jobs=()))


def _made(quantities):
    """Good pieces, and those that were made on hold and wait for a verdict."""
    return int(quantities["good"]) + int(quantities["hold"])


class Line(RuleBasedStateMachine):
    """A machine with a free-running counter, the gateway, an ERP."""

    runner_class = MortalRunner

    def __init__(self):
        super().__init__()
        self.loop = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock(1_000_000 * S)
        self.erp = Erp()
        self.made = 0
        self.start = 0
        self.orders = 0
        self.store = None

    def teardown(self):
        try:
            if self.store is not None:
                self.erp.fates = []
                self.poll(seconds=1, share=0, die="")
                for _ in range(200):
                    self.deliver(fates=[], die_settling=False)
                    if not self.waiting():
                        break
                self.check_everything_arrived()
        finally:
            if self.store is not None:
                self.loop.run(self.store.close())
            self.loop.close()
            self.folder.cleanup()

    @initialize(start=st.sampled_from([0, MODULUS - 20, MODULUS - 1]))
    def first_contact(self, start):
        self.start = start
        self.boot()
        self.poll(seconds=1, share=0, die="")

    # --- what happens ------------------------------------------------------------------------------------------------

    @rule(
        seconds=st.integers(1, 8),
        share=st.integers(0, 10),
        die=st.sampled_from(["", "", "before commit", "after commit"]),
    )
    def poll(self, seconds, share, die):
        self.clock.advance(seconds * S)
        self.made += seconds * RATE_PER_S * share // 10
        raw = (self.start + self.made) % MODULUS
        value = DataValue("plc.good", raw, Status.GOOD, None, self.clock.now_ns())
        self.step((value,), die)

    @rule(quantity=st.integers(1, 60), die=st.sampled_from(["", "", "before commit", "after commit"]))
    def release_order(self, quantity, die):
        self.orders += 1
        job = JobOrder(
            order=f"{self.orders:06}", operation="0010", sequence="0", revision=1, work_center="WC", product="P",
            product_revision="", uom="PC", quantity=Decimal(quantity), sequence_no=self.orders, std_cycle_ns=None,
            planned_start_ns=None, planned_end_ns=None, cancelled=False, source="erp",
        )  # fmt: skip
        known = self.loop.run(self.store.job_record(*job.key))
        self.step((OrderReceived(self.clock.now_ns(), job, known),), die)

    @rule(verb=st.sampled_from(OperatorVerb), number=st.integers(1, 6), die=st.sampled_from(["", "after commit"]))
    def decide(self, verb, number, die):
        self.step((OperatorEntry(self.clock.now_ns(), verb, f"{number:06}", "", "test"),), die)

    @rule(
        fates=st.lists(
            st.sampled_from(["ok", "refused", "lost", "answer lost", "die before booking", "die after booking"]),
            max_size=3,
        ),
        die_settling=st.booleans(),
    )
    def deliver(self, fates, die_settling):
        self.clock.advance(70 * S)  # beyond every pause
        self.erp.fates = list(fates)
        try:
            self.loop.run(self._deliver(die_settling))
        except Died:
            self.crash()

    @rule()
    def crash(self):
        self.loop.run(self.store.close())
        self.boot()

    # --- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def erp_holds_each_key_once_and_in_order(self):
        keys = [one["idempotency_key"] for one in self.erp.booked]
        assert len(keys) == len(set(keys)), "booked twice"
        lanes: dict[str, list[int]] = {}
        for one in self.erp.booked:
            lanes.setdefault(one["order_id"], []).append(one["seq"])
        for order, numbers in lanes.items():
            assert numbers == list(range(1, len(numbers) + 1)), f"{order}: {numbers}"

    @invariant()
    def nothing_is_booked_that_was_not_made(self):
        assert self.accounted() <= self.made

    def check_everything_arrived(self):
        assert not self.waiting()
        assert self.accounted() == self.made, f"made {self.made}, accounted for {self.accounted()}"
        self.erp_holds_each_key_once_and_in_order()

    # --- parts -------------------------------------------------------------------------------------------------------

    def accounted(self):
        if self.store is None:
            return 0
        state = self.runner.state
        booked_keys = {one["idempotency_key"] for one in self.erp.booked}
        booked = sum(_made(one["qty"]) for one in self.erp.booked)
        waiting = sum(_made(json.loads(one.payload)["qty"]) for one in self.waiting() if one.key not in booked_keys)
        assert state.review == 0
        assert state.unknown == ()
        still_open = sum(run.open_good + run.open_hold for run in state.open_runs())
        return booked + waiting + still_open + state.unallocated.good + state.unallocated.hold

    def waiting(self):
        async def ask():
            return (await Outbox(self.store).not_over(1000)).postings

        return self.loop.run(ask())

    def boot(self):
        async def start():
            self.store = await Store.open(
                Path(self.folder.name) / "line.db", now_ns=self.clock.now_ns, max_bytes=64 << 20
            )
            identity = Identity(
                plant="P", epoch=self.store.epoch, gateway_id="g", line="", machine="M", work_center="WC"
            )
            unit = WorkUnit(RULES, identity)
            stored = (await self.store.snapshots()).get("M")
            state = unit.initial(self.clock.now_ns()) if stored is None else snapshot.decode(unit, orjson.loads(stored))
            self.runner = self.runner_class(
                unit, state, self.store, now_ns=self.clock.now_ns, checkpoint_ns=0, idle_wake_ns=S,
                hooks=RunnerHooks(lambda _job: ("erp",), lambda _out, _state: None, lambda: None, lambda _text: None),
            )  # fmt: skip
            self.forwarder = Forwarder(
                name="erp",
                connector=self.erp,
                outbox=Outbox(self.store),
                now_ns=self.clock.now_ns,
                rng=random.Random(1),
            )

        self.loop.run(start())

    def step(self, inputs, die):
        self.runner.die = die
        try:
            self.loop.run(self.runner._step([Item(inputs, None)]))
        except Died:
            self.crash()
        finally:
            self.runner.die = ""

    async def _deliver(self, die_settling):
        await self.forwarder._cycle()
        tasks = list(self.forwarder._under_way.values())
        if die_settling and tasks:
            original = self.forwarder._outbox.settle

            async def settle(*_arguments, **_how):
                self.forwarder._outbox.settle = original
                raise Died

            self.forwarder._outbox.settle = settle
        await asyncio.wait(tasks) if tasks else None
        for task in tasks:
            if task.exception() is not None:
                raise task.exception()


class TwoTransactionsLine(Line):
    runner_class = TwoTransactionsRunner


BUDGET = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("histories", [40, pytest.param(5000, marks=pytest.mark.soak)])
def test_every_piece_is_conserved(histories):
    run_state_machine_as_test(Line, settings=settings(BUDGET, max_examples=histories))


@pytest.mark.timeout(3600)
def test_a_second_transaction_is_caught():
    """Of forty random histories none may die where it matters; as soon as one does, it is over."""
    with pytest.raises(AssertionError):
        # Found is enough: the smallest history is for people, and takes a minute to find.
        run_state_machine_as_test(
            TwoTransactionsLine, settings=settings(BUDGET, phases=[Phase.generate], max_examples=1000)
        )
