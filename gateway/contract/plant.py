"""A gateway's outbox and forwarder before a target, for ``FaultContract``: it can be killed between any two steps.

Killed means: what is in the files of the database at this moment is all there is. It judges by the target's bookings.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Self

from buffer.entry import OVER, THERE, OutboxState
from buffer.outbox import Outbox
from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store
from gateway.connectors.base import HearsSettled, OutcomeKind
from gateway.contract.faults import pieces
from gateway.core.document import Identity
from gateway.core.duration import NS_PER_S, Duration
from gateway.core.orders import erp_notice
from gateway.core.orders.erp_notice import ErpNotice, NoticeType
from gateway.forwarder import Forwarder, ForwarderSettings, ForwarderTimings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from buffer.entry import OutboxEntry
    from gateway.connectors.base import Capabilities, Connector, Health, Lookup, OrderPage, Outcome, Posting, Rendered
    from gateway.contract.faults import FaultBench

TARGET: Final = "erp"
#: Of a whole scenario, in real time.
LIMIT_S: Final = 60.0
LOOK_S: Final = 0.002
#: So much of the gateway's time passes where nothing is under way.
JUMP_NS: Final = Duration("2 s")
#: Nothing has changed for so many looks in a row: what is left waits for a person.
STILL_LOOKS: Final = 40
START_NS: Final = 1_800_000_000 * NS_PER_S
BUFFER_MAX_BYTES: Final = 1 << 26
SETTINGS: Final = ForwarderSettings(
    backoff_max_ns=Duration("2 s"),
    wait_precondition_ns=Duration("2 s"),
    auth_probe_ns=Duration("2 s"),
    ask_accepted_ns=Duration("1 s"),
    unclear_limit_ns=Duration("10 s"),
)
TIMINGS: Final = ForwarderTimings(backoff_min_ns=Duration("100 ms"), busy_ladder_ns=(Duration("1 s"),))


#: A database without anything in it, made once: a kill suite opens hundreds.
_EMPTY: Final[list[bytes]] = []


class Plant:
    """One outbox in a folder of its own; ``first`` is the number of its first confirmation, so that keys are new."""

    def __init__(self, bench: FaultBench, folder: Path, first: int = 1) -> None:
        self._bench = bench
        self._folder = folder
        self._first = first
        self._now_ns = START_NS
        self._lives = 0
        self._killing = _Killing()
        self._store: Store | None = None
        self.documents: list[dict[str, Any]] = []
        #: What was done, in order; the process was killed at the last one.
        self.moments: list[str] = self._killing.moments

    async def __aenter__(self) -> Self:
        """Open the outbox."""
        self._folder.mkdir(parents=True, exist_ok=True)
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        if self._store is not None:
            await self._store.close()

    async def add(self, count: int) -> None:
        """So many confirmations of one lane."""
        made = [self._bench.document(seq) for seq in range(self._first, self._first + count)]
        self.documents += made
        postings = tuple(
            NewPosting(
                TARGET,
                one["idempotency_key"],
                one["confirmation_id"],
                one["order_id"],
                one["operation"],
                one["seq"],
                one["type"],
                json.dumps(one, separators=(",", ":")).encode(),
                self._now_ns,
            )
            for one in made
        )
        assert self._store is not None
        await self._store.commit(Step("U", b"", self._now_ns, (JournalRow(1, self._now_ns, "k", b""),), postings))

    async def tell(self, count: int) -> None:
        """So many notices, in the lane of those that are about no order."""
        assert self._store is not None
        who = Identity(plant="P", epoch="e", gateway_id="g", line="", machine="", work_center="")
        about = ErpNotice(NoticeType.UNALLOCATED, erp_notice.GROWING, self._now_ns, self._now_ns, {})
        made = [erp_notice.document(who, about, TARGET, seq) for seq in range(self._first, self._first + count)]
        postings = tuple(
            NewPosting(
                TARGET,
                one["idempotency_key"],
                one["message_id"],
                "",
                erp_notice.NOTICE_LANE,
                one["seq"],
                erp_notice.NOTICE,
                json.dumps(one, separators=(",", ":")).encode(),
                self._now_ns,
            )
            for one in made
        )
        await self._store.commit(Step("U", b"", self._now_ns, postings=postings))

    async def entries(self) -> list[OutboxEntry]:
        """The postings, in their order."""
        return sorted(await self._outbox.page(limit=1000), key=lambda one: one.id)

    async def run(self, kill_at: int = 0) -> bool:
        """Forward until all is over or waits for a person; whether it was killed at this moment, from 1."""
        connector = self._bench.build()
        await connector.open()
        assert self._store is not None
        store = self._store
        self._killing.arm(kill_at, lambda: self._copy(self._lives + 1))
        forwarder = Forwarder(
            name=TARGET,
            connector=_Watched(connector, self._killing),
            outbox=_WatchedOutbox(store, self._killing),
            now_ns=lambda: self._now_ns,
            rng=random.Random(self._first),  # noqa: S311 - jitter, told by the first number
            settings=SETTINGS,
            timings=TIMINGS,
        )
        task = asyncio.create_task(forwarder.run())
        try:
            await self._until_still(forwarder, task)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await connector.close()
        if not self._killing.dead:
            return False
        await store.close()
        self._lives += 1
        await self._open()
        return True

    async def finish(self) -> None:
        """Go on, and decide about what is parked as a person who looks at the target, until nothing is left."""
        for _ in range(4 * len(self.documents) + 4):
            await self.run()
            parked = [one for one in await self.entries() if one.state is OutboxState.PARKED]
            if not parked:
                return
            for one in parked:
                # Of several messages some may be there: those are looked up by the forwarder itself.
                there = self._bench.bookings(one.key) and one.steps == 1
                if there:
                    await self._outbox.supersede(one.id, self._now_ns, who="who looked: it is booked")
                else:
                    await self._outbox.retry(one.id, self._now_ns)
        raise AssertionError(f"a person decides and decides: {await self.entries()}")

    async def retry(self, entry: OutboxEntry) -> None:
        """A person wants a parked one to be sent again."""
        await self._outbox.retry(entry.id, self._now_ns)

    def check(self, entries: Sequence[OutboxEntry], where: str = "") -> None:
        """The target's sum, and what waits or is parked, are what was counted; no key is booked twice."""
        booked = self._booked(where)
        for one in _of_pieces(entries):
            good, scrap = pieces(one.payload)
            there = booked.get(one.key, (Decimal(0), Decimal(0)))
            told = f"{where}: key {one.key} is {one.state.value}, {there} of {(good, scrap)} are booked"
            if one.state in THERE:
                assert there == (good, scrap), told
            assert there[0] <= good, told
            assert there[1] <= scrap, told
            if one.state in {OutboxState.READY, OutboxState.HELD} and not one.attempts:
                assert not any(there), told

    def check_all_booked(self, entries: Sequence[OutboxEntry], where: str = "") -> None:
        """Nothing waits, and the target's sum is what was counted."""
        assert {one.state for one in entries} <= OVER, f"{where}: {entries}"
        self.check(entries, where)
        booked = self._booked(where)
        counted = {one.key: pieces(one.payload) for one in _of_pieces(entries)}
        assert booked == counted, f"{where}: booked {booked}, counted {counted}"

    def _booked(self, where: str) -> Mapping[str, tuple[Decimal, Decimal]]:
        mine = {str(one["idempotency_key"]) for one in self.documents}
        rows = [one for one in self._bench.booked() if one.key in mine]
        twice = [one for one, times in Counter((row.key, row.part) for row in rows).items() if times > 1]
        assert not twice, f"{where}: booked twice: {twice}"
        sums: dict[str, tuple[Decimal, Decimal]] = {}
        for row in rows:
            good, scrap = sums.get(row.key, (Decimal(0), Decimal(0)))
            sums[row.key] = (good + row.good, scrap + row.scrap)
        return sums

    @property
    def _outbox(self) -> Outbox:
        assert self._store is not None
        return Outbox(self._store)

    async def _open(self) -> None:
        path = self._folder / f"{self._lives}.db"
        if _EMPTY and not path.exists():
            path.write_bytes(_EMPTY[0])
        elif not _EMPTY:
            await (await Store.open(path, now_ns=lambda: START_NS, max_bytes=BUFFER_MAX_BYTES)).close()
            _EMPTY.append(path.read_bytes())
        self._store = await Store.open(path, now_ns=lambda: self._now_ns, max_bytes=BUFFER_MAX_BYTES)

    def _copy(self, life: int) -> None:
        """What is in the files now is all that a killed process leaves."""
        for file in sorted(self._folder.glob(f"{self._lives}.*")):
            if not file.name.endswith("-shm"):
                shutil.copyfile(file, file.with_name(file.name.replace(f"{self._lives}.", f"{life}.", 1)))

    async def _until_still(self, forwarder: Forwarder, task: asyncio.Task[None]) -> None:
        end_s = asyncio.get_running_loop().time() + LIMIT_S
        still, before = 0, None
        while still < STILL_LOOKS and not self._killing.dead:
            assert asyncio.get_running_loop().time() < end_s, f"no end: {await self.entries()}"
            assert not task.done(), task
            if not forwarder.is_busy and not self._bench.working():
                found = [(one.id, one.state, one.step) for one in await self.entries()]
                if all(state in OVER for _, state, _ in found):
                    return
                waits = any(state is OutboxState.PARKED for _, state, _ in found)
                still = still + 1 if found == before and waits else 0
                before = found
                self._now_ns += JUMP_NS
                forwarder.wake()
            await asyncio.sleep(LOOK_S)


def _of_pieces(entries: Sequence[OutboxEntry]) -> list[OutboxEntry]:
    return [one for one in entries if one.kind not in erp_notice.BESIDE]


class _Killing:
    """Counts moments, and stands still at the one at which the process dies."""

    def __init__(self) -> None:
        self.moments: list[str] = []
        self.dead = False
        self._at = 0
        self._copy: Callable[[], None] = lambda: None

    def arm(self, at: int, copy: Callable[[], None]) -> None:
        self.moments.clear()
        self.dead, self._at, self._copy = False, at, copy

    async def moment(self, name: str) -> None:
        if self.dead:
            await asyncio.Event().wait()
        self.moments.append(name)
        if len(self.moments) == self._at:
            self.dead = True
            self._copy()
            await asyncio.Event().wait()

    async def around(self, name: str, work: Awaitable[Any]) -> Any:
        try:
            await self.moment(f"before {name}")
        except BaseException:
            if asyncio.iscoroutine(work):
                work.close()
            raise
        result = await work
        await self.moment(f"behind {name}")
        return result


class _Watched:
    """The connector, with a moment before and behind each question."""

    def __init__(self, connector: Connector, killing: _Killing) -> None:
        self._connector = connector
        self._killing = killing

    @property
    def capabilities(self) -> Capabilities:
        return self._connector.capabilities

    async def open(self) -> None:
        await self._connector.open()

    async def close(self) -> None:
        await self._connector.close()

    async def fetch_orders(self, cursor: str) -> OrderPage:
        return await self._connector.fetch_orders(cursor)

    def render(self, confirmation: Mapping[str, Any]) -> Rendered:
        return self._connector.render(confirmation)

    async def send(self, posting: Posting) -> Outcome:
        outcome: Outcome = await self._killing.around(f"send {posting.seq}", self._connector.send(posting))
        assert isinstance(outcome.kind, OutcomeKind), outcome
        return outcome

    async def lookup(self, posting: Posting) -> Lookup:
        found: Lookup = await self._killing.around(f"look-up {posting.seq}", self._connector.lookup(posting))
        return found

    async def baseline(self, posting: Posting) -> bytes:
        taken = self._connector.baseline(posting)  # type: ignore[attr-defined]  # only asked where the connector has it
        said: bytes = await self._killing.around(f"baseline {posting.seq}", taken)
        return said

    async def probe(self) -> Health:
        return await self._connector.probe()

    def settled(self, posting_id: str, key: str) -> None:
        if isinstance(self._connector, HearsSettled) and not self._killing.dead:
            self._connector.settled(posting_id, key)


class _WatchedOutbox(Outbox):
    """The outbox, with a moment before and behind each commit."""

    def __init__(self, store: Store, killing: _Killing) -> None:
        super().__init__(store)
        self._killing = killing

    async def begin_send(self, *values: Any, **named: Any) -> OutboxEntry:
        begun: OutboxEntry = await self._killing.around("begin", super().begin_send(*values, **named))
        return begun

    async def begin_lookup(self, *values: Any, **named: Any) -> OutboxEntry:
        begun: OutboxEntry = await self._killing.around("begin a look-up", super().begin_lookup(*values, **named))
        return begun

    async def settle(self, *values: Any, **named: Any) -> OutboxEntry:
        settled: OutboxEntry = await self._killing.around("settle", super().settle(*values, **named))
        return settled

    async def settle_and_begin(self, *values: Any, **named: Any) -> OutboxEntry | None:
        work = super().settle_and_begin(*values, **named)
        begun: OutboxEntry | None = await self._killing.around("settle and begin", work)
        return begun

    async def next_step(self, *values: Any, **named: Any) -> OutboxEntry:
        begun: OutboxEntry = await self._killing.around("next step", super().next_step(*values, **named))
        return begun
