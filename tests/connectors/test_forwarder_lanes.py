"""Any target behaviour, any lanes: never two under way in a lane, never out of order, nothing lost, nothing twice."""

import asyncio
import random
import tempfile
from collections import Counter
from pathlib import Path

import hypothesis.strategies as st
import new_database
from hypothesis import HealthCheck, given, settings

from buffer.entry import OutboxState
from buffer.outbox import Outbox
from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store
from gateway.connectors.base import Capabilities, Health, Lookup, LookupKind, Outcome, OutcomeKind, Rendered
from gateway.forwarder import Forwarder, ForwarderSettings

#: Of the profile: `make soak` gives more.
EXAMPLES = settings().max_examples

DEADLINE_S = 60.0
LATE_NS = 3_000_000_000


class Target:
    """A target in memory that does what the plan says, then behaves well."""

    def __init__(self, plan, now_ns, *, lane_by_order, idempotent):
        self.capabilities = Capabilities(
            server_time_limit_ns=LATE_NS, lane_by_order=lane_by_order, idempotent=idempotent
        )
        self.plan = list(plan)
        self.now_ns = now_ns
        self.booked = []
        self.late = []  # (due, key)
        self.under_way = Counter()
        self.most = 0
        self.faults = []

    def render(self, confirmation):
        return Rendered(confirmation["key"].encode(), "text/plain", "")

    def book(self, key):
        if not (self.capabilities.idempotent and key in self.booked):
            self.booked.append(key)

    def arrive(self):
        for due, key in list(self.late):
            if due <= self.now_ns():
                self.late.remove((due, key))
                self.book(key)

    async def send(self, posting):
        lane = posting.order if self.capabilities.lane_by_order else (posting.order, posting.operation)
        self.under_way[lane] += 1
        self.most = max(self.most, sum(self.under_way.values()))
        if self.under_way[lane] > 1:
            self.faults.append(f"two under way in {lane}")
        assert posting.rendered.body == posting.key.encode()
        try:
            kind, booked = self.plan.pop(0) if self.plan else (OutcomeKind.POSTED, True)
            for _ in range(len(self.plan) % 3):
                await asyncio.sleep(0)
            if kind is None:
                if booked == "late":
                    self.late.append((self.now_ns() + LATE_NS - 1, posting.key))
                elif booked:
                    self.book(posting.key)
                raise ConnectionError("cut")
            if kind in {OutcomeKind.POSTED, OutcomeKind.ACCEPTED}:
                self.book(posting.key)
            return Outcome(kind, "planned")
        finally:
            self.under_way[lane] -= 1

    async def lookup(self, posting):
        self.arrive()
        await asyncio.sleep(0)
        return Lookup(LookupKind.FOUND if posting.key in self.booked else LookupKind.ABSENT)

    async def probe(self):
        return Health(ok=True, detail="")


BEHAVIOUR = st.sampled_from(
    [
        (OutcomeKind.POSTED, True),
        (OutcomeKind.ACCEPTED, True),
        (OutcomeKind.NOT_SENT, False),
        (OutcomeKind.BUSY, False),
        (OutcomeKind.WAIT_PRECONDITION, False),
        (OutcomeKind.BUSINESS_REJECT, False),
        (OutcomeKind.AUTH, False),
        (OutcomeKind.UNCERTAIN, False),
        (OutcomeKind.PROTOCOL, False),
        (None, False),
        (None, True),
        (None, "late"),
    ]
)


@settings(max_examples=EXAMPLES // 5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lanes=st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from(["10", "20"])), min_size=1, max_size=10),
    plan=st.lists(BEHAVIOUR, max_size=12),
    by_order=st.booleans(),
    idempotent=st.booleans(),
    parallel=st.integers(1, 4),
    restarts=st.integers(0, 2),
)
def test_lanes(lanes, plan, by_order, idempotent, parallel, restarts):
    asyncio.run(_check(lanes, plan, by_order, idempotent, parallel, restarts))


async def _check(lanes, plan, by_order, idempotent, parallel, restarts):
    now = [10**18]
    target = Target(plan, lambda: now[0], lane_by_order=by_order, idempotent=idempotent)
    rng = random.Random(len(plan))
    keys = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.db"
        seqs = Counter()
        postings = []
        for lane in lanes:
            seqs[lane] += 1
            key = f"{lane[0]}/{lane[1]}/{seqs[lane]}"
            keys.append(key)
            body = b'{"key": "%s"}' % key.encode()
            postings.append(NewPosting("t", key, "m", *lane, seqs[lane], "partial", body, now[0]))
        async with await Store.open(new_database.at(path), now_ns=lambda: now[0], max_bytes=1 << 26) as store:
            await store.commit(Step("U", b"", 1, (JournalRow(1, 1, "k", b""),), tuple(postings)))
        for cycles in [rng.randrange(1, 12) for _ in range(restarts)] + [None]:
            async with await Store.open(new_database.at(path), now_ns=lambda: now[0], max_bytes=1 << 26) as store:
                await _forward(store, target, now, rng, parallel, cycles)
    lane_of = (lambda key: key.split("/")[0]) if by_order else (lambda key: key.rsplit("/", 1)[0])
    assert target.faults == []
    assert target.most <= parallel
    assert Counter(target.booked) == Counter(keys)  # nothing lost, nothing twice
    for lane in {lane_of(key) for key in keys}:
        assert [key for key in target.booked if lane_of(key) == lane] == [key for key in keys if lane_of(key) == lane]


async def _forward(store, target, now, rng, parallel, cycles):
    """Until all is posted, or for so many looks and then cut off; a person retries what is parked."""
    outbox = Outbox(store)
    forwarder = Forwarder(
        name="t", connector=target, outbox=outbox, now_ns=lambda: now[0], rng=rng,
        settings=ForwarderSettings(parallel_lanes=parallel),
    )  # fmt: skip
    task = asyncio.create_task(forwarder.run())
    end = asyncio.get_running_loop().time() + DEADLINE_S
    try:
        while cycles is None or cycles > 0:
            cycles = cycles - 1 if cycles is not None else None
            counts = await outbox.counts("t")
            if counts.waiting + counts.parked == 0:
                return
            assert asyncio.get_running_loop().time() < end, (await outbox.page(), forwarder.status)
            assert not task.done(), task
            for entry in await outbox.page(state=OutboxState.PARKED):
                await outbox.retry(entry.id, now[0])
            if not forwarder._under_way:
                now[0] += rng.randrange(0, 100_000_000_000)
            forwarder.wake()
            await asyncio.sleep(0)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        # What the target had begun ends before the next process starts.
        now[0] += LATE_NS
        target.arrive()
