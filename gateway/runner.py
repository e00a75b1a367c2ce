"""Runs one work unit: inputs and deadlines into the core, its outputs into one transaction, then the announcements.

The order is the promise: the new state, the journal rows, the job orders and the postings of a step are committed
together, and nothing leaves the box before. Decides nothing about pieces or orders.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from buffer.errors import PostingMovedError, StoreError
from buffer.step import JournalRow, NewPosting, Step
from gateway import remembered
from gateway.caller import CALLER, TAKEN
from gateway.core import journal, snapshot
from gateway.core.audit import told
from gateway.core.confirming.corrections import Capability
from gateway.core.decided import asks
from gateway.core.document import encode, fields
from gateway.core.duration import seconds
from gateway.core.entries import LotNamed, SerialRead
from gateway.core.model import (
    Confirmation,
    DataValue,
    JobChanged,
    OrderReceived,
    TimePassed,
    Voided,
)
from gateway.core.orders.order_answer import answers_to
from gateway.informing import informed
from gateway.posting import posting_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from buffer.replays import TakenKey
    from buffer.store import Store
    from gateway.caller import Caller
    from gateway.core.audit.entry import EntryContent
    from gateway.core.model import Input, JobOrder, Output
    from gateway.core.orders.order_answer import OperationAnswer
    from gateway.core.unit_state import State
    from gateway.core.work_unit import WorkUnit

QUEUE_READINGS_MAX: Final = 1000  # readings that wait for the core; then the source waits (back-pressure)
STEP_INPUTS_MAX: Final = 500
COMMIT_RETRY_FIRST_S: Final = 0.5
COMMIT_RETRY_MAX_S: Final = 10.0
#: How often a decision is taken again because a confirmation that it takes back was sent meanwhile.
VOID_TRIES_MAX: Final = 5

log = structlog.get_logger(__name__)


class Hold:
    """A runner stands still between two inputs, from ``reached`` until ``release()``: its rules may be exchanged."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.released = asyncio.Event()
        self.exchanged = False
        self.anew = False

    def release(self) -> None:
        """Let it go on; may be called more than once."""
        self.released.set()


class _Item(NamedTuple):
    inputs: tuple[Input, ...]
    done: asyncio.Future[tuple[Output, ...]] | None
    hold: Hold | None = None
    caller: Caller | None = None
    taken: TakenKey | None = None


class RunnerHooks(NamedTuple):
    """What happens around a commit.

    ``targets`` names the connectors a job order's confirmations go to; ``answers_with`` the operations whose answers to
    an order its ERP is told together, None where it is told nothing. ``committed`` is told the outputs and the new
    state after every commit; it must not raise and must not wait. ``alive`` is called whenever the runner moved on.
    ``trouble`` hears a failing commit's reason, and "" once one succeeds again. ``heard`` is told the inputs that were
    handled, as the core saw them. ``common``: date, zone and versions of an audit entry at a steady time; without it
    there is no audit trail. ``corrects``: how those who get a job order's confirmations take a correction.
    """

    targets: Callable[[JobOrder], Sequence[str]]
    committed: Callable[[tuple[Output, ...], State], None]
    alive: Callable[[], None]
    trouble: Callable[[str], None]
    heard: Callable[[Sequence[Input]], None] = lambda _inputs: None
    answers_with: Callable[[JobOrder], tuple[str, ...] | None] = lambda _job: None
    common: Callable[[int], EntryContent] | None = None
    corrects: Callable[[JobOrder], Capability] = lambda _job: Capability.MANUAL


class _Made(NamedTuple):
    """What became of one item, or of the time."""

    outputs: tuple[Output, ...] = ()
    audit: tuple[EntryContent, ...] = ()
    error: Exception | None = None
    inputs: tuple[Input, ...] = ()


class Besides(NamedTuple):
    """What a step keeps besides state and outputs, by the names of ``Step``."""

    audit: tuple[EntryContent, ...] = ()
    answers: tuple[OperationAnswer, ...] = ()
    keys: tuple[TakenKey, ...] = ()


class Runner:
    """One work unit, for ever: ``run()`` ends by cancellation, or by ``drain()`` once the queue is empty."""

    def __init__(
        self,
        unit: WorkUnit,
        state: State,
        store: Store,
        *,
        now_ns: Callable[[], int],
        checkpoint_ns: int,
        idle_wake_ns: int,
        hooks: RunnerHooks,
    ) -> None:
        self.unit = unit
        self.state = state
        self._store = store
        self._now_ns = now_ns
        self._checkpoint_ns = checkpoint_ns
        self._idle_wake_ns = idle_wake_ns
        self._hooks = hooks
        self._queue: asyncio.Queue[_Item] = asyncio.Queue(QUEUE_READINGS_MAX)
        self._draining = asyncio.Event()
        self._committed_ns = now_ns()
        self._committed_state = state
        self._next: _Item | None = None  # taken from the queue, but it opens a step of its own
        self._last: dict[str, DataValue] = {}  # what each signal said last

    async def put(self, given: tuple[Input, ...]) -> None:
        """Hand over one reading's values, or what nobody waits for; waits while the queue is full."""
        await self._queue.put(_Item(given, None))

    async def submit(self, given: Input) -> tuple[Output, ...]:
        """Hand over an order, a decision, the clock or the calendar; returns its outputs once they are committed."""
        done: asyncio.Future[tuple[Output, ...]] = asyncio.get_running_loop().create_future()
        await self._queue.put(_Item((given,), done, caller=CALLER.get(), taken=TAKEN.get()))
        return await done

    def last_values(self) -> tuple[DataValue, ...]:
        """What each signal said last."""
        return tuple(self._last.values())

    async def hold(self) -> Hold:
        """Ask it to stand still behind everything that waits. The caller must release it, whatever happens."""
        hold = Hold()
        await self._queue.put(_Item((), None, hold))
        return hold

    def exchange(self, hold: Hold, unit: WorkUnit, state: State, hooks: RunnerHooks, *, anew: bool) -> None:
        """Other rules from here on, while it stands still.

        ``anew``: the state waits for values as after a restart, so what each signal said last is said again.
        """
        assert hold.reached.is_set()
        assert not hold.released.is_set()
        self.unit, self.state, self._hooks = unit, state, hooks
        hold.exchanged, hold.anew = True, anew

    def drain(self) -> None:
        """Finish what waits, commit, and end."""
        self._draining.set()
        if self._queue.empty():
            self._queue.put_nowait(_Item((), None))

    async def run(self) -> None:
        """The loop. Raises StoreError only where a repeat cannot help."""
        while True:
            items = await self._next_items()
            if items and items[0].hold is not None:
                await self._stand_still(items[0].hold)
            else:
                await self._step(items)
            self._hooks.alive()
            if self._draining.is_set() and self._queue.empty() and self._next is None:
                return

    async def _next_items(self) -> list[_Item]:
        """What waits, at most STEP_INPUTS_MAX inputs; an empty list when a deadline came first."""
        items: list[_Item] = []
        if self._next is not None:
            items, self._next = [self._next], None
        wait_ns = self._wait_ns()
        if not items and wait_ns > 0 and self._queue.empty():
            try:
                async with asyncio.timeout(seconds(wait_ns)):
                    items.append(await self._queue.get())
            except TimeoutError:
                return items
        if items and items[0].hold is not None:
            return items
        size = sum(len(item.inputs) for item in items)
        while size < STEP_INPUTS_MAX and not self._queue.empty():
            item = self._queue.get_nowait()
            opens = item.hold is not None or any(asks(given) for given in item.inputs)
            if items and opens:
                # What is remembered of an order must be read behind everything before it: it opens a step.
                self._next = item
                break
            items.append(item)
            if item.hold is not None:
                break
            size += len(item.inputs)
        return items

    async def _stand_still(self, hold: Hold) -> None:
        """Until it is released; under other rules the new state is durable before anything else happens."""
        hold.reached.set()
        await hold.released.wait()
        if not hold.exchanged:
            return
        await self._commit(self.state, (), self.state.journal_seq + 1)
        self._last = {signal: value for signal, value in self._last.items() if signal in self.unit.signals}
        if hold.anew and self._last:
            now_ns = self._now_ns()
            again = [value._replace(source_time_ns=None, received_time_ns=now_ns) for value in self._last.values()]
            await self._step([_Item(tuple(self.unit.in_order(again)), None)])

    def _wait_ns(self) -> int:
        now_ns = self._now_ns()
        due_ns = now_ns + self._idle_wake_ns
        deadline_ns = self.unit.next_deadline(self.state)
        if deadline_ns is not None:
            due_ns = min(due_ns, deadline_ns)
        if self.state != self._committed_state:
            due_ns = min(due_ns, self._committed_ns + self._checkpoint_ns)
        return due_ns - now_ns

    async def _step(self, items: list[_Item]) -> None:
        """Handle these and commit, all or nothing; again where a confirmation that was to be void is sent meanwhile.

        After VOID_TRIES_MAX the decision to make it void, which is the first item, fails alone.
        """
        for left in reversed(range(VOID_TRIES_MAX)):
            try:
                await self._stepped(items)
            except PostingMovedError as error:
                log.info("decision taken again", work_unit=self.unit.identity.machine, reason=str(error))
                if not left and items:
                    _answer(items[0], _Made(error=error))
                    await self._stepped(items[1:])
            else:
                return

    async def _stepped(self, items: list[_Item]) -> None:
        state = self.state
        results: list[_Made] = []
        for item in items:
            state, result = await self._handle(state, item)
            results.append(result)
        if self._queue.empty() and self._next is None:  # time may pass only behind the last input that is known
            state, passed = self.unit.handle(state, TimePassed(self._now_ns()))
            results.append(_Made(passed, self._audit(None, passed)))
        outputs = tuple(output for result in results for output in result.outputs)
        first_seq = self.state.journal_seq + 1
        due = self._now_ns() - self._committed_ns >= self._checkpoint_ns or self._draining.is_set()
        if outputs or any(item.done for item in items) or (due and state != self._committed_state):
            audit = tuple(entry for result in results for entry in result.audit)
            received = [given.job for item in items for given in item.inputs if isinstance(given, OrderReceived)]
            told = answers_to(received, outputs, state, self._hooks.answers_with)
            pairs = zip(items, results, strict=False)
            keys = tuple(item.taken for item, made in pairs if item.taken and not made.error)
            await self._commit(state, outputs, first_seq, Besides(audit, told, keys))
        self.state = state
        for item, result in zip(items, results, strict=False):  # the last may be the time's
            if result.inputs:
                self._hooks.heard(result.inputs)
            _answer(item, result)
        if outputs:
            self._hooks.committed(outputs, state)

    async def _handle(self, state: State, item: _Item) -> tuple[State, _Made]:
        """One item whole, or not at all: what the core cannot digest must stop neither this machine nor another.

        A reading that is dropped here moves no baseline: the next one catches up.
        """
        before = state
        made: tuple[Output, ...] = ()
        inputs: Sequence[Input] = item.inputs
        reader = self.unit.rules.work.serial_signal
        try:
            for given in item.inputs:
                if asks(given):  # it comes alone
                    whole = await informed(given, state, self.unit, self._store, self._hooks.corrects)
                    inputs = (whole,)
                    state, more = self.unit.handle(state, whole)
                else:
                    state, more = self.unit.handle(state, given)
                    if isinstance(given, DataValue):
                        self._last[given.signal] = given
                        if given.signal == reader and (read := await remembered.serial_of(self._store, state, given)):
                            state, found = self.unit.handle(state, read)
                            more += found
                made += more
            audit = self._audit(inputs[0] if item.done is not None else None, made, item.caller)
        except StoreError:
            raise
        except Exception as error:  # the supervisor of a work unit: a defect is told, not fatal
            log.exception("input dropped", work_unit=self.unit.identity.machine, inputs=repr(item.inputs)[:500])
            self._hooks.trouble(f"an input was dropped: {error!r}; see the log and report it")
            return before, _Made(error=error)
        return state, _Made(made, audit, inputs=tuple(inputs))

    def _audit(
        self, given: Input | None, outputs: tuple[Output, ...], caller: Caller | None = None
    ) -> tuple[EntryContent, ...]:
        common = self._hooks.common
        if common is None or (given is None and not outputs):
            return ()
        actor = None if caller is None else caller.actor
        return told.entries(given, outputs, self.unit.identity.machine, common, actor)

    async def _commit(
        self, state: State, outputs: tuple[Output, ...], first_seq: int, besides: Besides | None = None
    ) -> None:
        """Until it is durable: a failing disk is waited for, because nothing may go on without it."""
        step = self._make_step(state, outputs, first_seq)._replace(**(besides or Besides())._asdict())
        retry_s, failed = COMMIT_RETRY_FIRST_S, False
        while True:
            try:
                await self._store.commit(step)
                break
            except StoreError as error:
                if not error.temporary:
                    raise
                self._hooks.trouble(str(error))
                failed = True
                log.warning("commit failed, trying again", work_unit=step.work_unit, error=str(error), retry_s=retry_s)
            self._hooks.alive()
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, COMMIT_RETRY_MAX_S)
        if failed:
            self._hooks.trouble("")
        self._committed_ns, self._committed_state = self._now_ns(), state

    def _make_step(self, state: State, outputs: tuple[Output, ...], first_seq: int) -> Step:
        identity = self.unit.identity
        rows: list[JournalRow] = []
        postings: list[NewPosting] = []
        jobs = {}
        voids: list[str] = []
        for seq, output in enumerate(outputs, first_seq):
            kind, data = journal.row(output)
            rows.append(JournalRow(seq, state.at_ns, kind, _json(data)))
            if isinstance(output, JobChanged):
                jobs[output.record.job.key] = output.record
            elif isinstance(output, Confirmation):
                payload = encode(fields(identity, output))
                postings += [posting_of(output, target, payload) for target in self._hooks.targets(output.job)]
            elif isinstance(output, Voided):
                voids.append(output.key)
        return Step(
            work_unit=identity.machine,
            snapshot=snapshot.dump(self.unit, state),
            last_time_ns=state.at_ns,
            rows=tuple(rows),
            postings=tuple(postings),
            jobs=tuple(jobs.values()),
            voids=tuple(voids),
            identity=identity,
            serials=tuple(one.record for one in outputs if isinstance(one, SerialRead)),
            lots=tuple(one for one in outputs if isinstance(one, LotNamed)),
            links=tuple(
                link for one in outputs if isinstance(one, Confirmation) and one.work for link in one.work.links
            ),
        )


def _answer(item: _Item, result: _Made) -> None:
    """Tell the one who waits, once it is durable."""
    if item.caller is not None and result.audit:
        item.caller.told = True
    if item.done is not None and not item.done.done():
        if result.error is not None:
            item.done.set_exception(result.error)
        else:
            item.done.set_result(result.outputs)


def _json(data: Any) -> bytes:
    # The standard library's: it has no largest integer and takes any text, and whatever was counted must be written.
    return json.dumps(data, separators=(",", ":")).encode()
