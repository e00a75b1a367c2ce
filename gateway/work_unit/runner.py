"""Runs one work unit: inputs and deadlines into the core, its outputs into one transaction, then the announcements.

The order is the promise: the new state, the journal rows, the job orders and the postings of a step are committed
together, and nothing leaves the box before. Decides nothing about pieces or orders.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from buffer.errors import PostingMovedError, StoreError
from gateway.access.caller import CALLER, TAKEN
from gateway.control import RequestError
from gateway.core.audit import told
from gateway.core.confirming.corrections import Capability
from gateway.core.decided import asks
from gateway.core.duration import seconds
from gateway.core.model import DataValue, OrderReceived, TimePassed
from gateway.core.orders.noticed import notices_of
from gateway.core.orders.order_answer import answers_to
from gateway.work_unit import remembered
from gateway.work_unit.boundary import Boundary, no_members, nobody
from gateway.work_unit.hold import Hold
from gateway.work_unit.informing import informed
from gateway.work_unit.item import Item, Made, answer, cut_off, ended
from gateway.work_unit.steps import step_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from buffer.replays import TakenKey
    from buffer.store import Store
    from gateway.access.caller import Caller
    from gateway.core.audit.entry import EntryContent
    from gateway.core.model import Input, JobOrder, Output
    from gateway.core.orders.erp_notice import ErpNotice
    from gateway.core.orders.order_answer import OperationAnswer
    from gateway.core.unit_state import State
    from gateway.core.work_unit import WorkUnit
    from gateway.work_unit.boundary import Members, Read

QUEUE_READINGS_MAX: Final = 1000  # readings that wait for the core; then the source waits (back-pressure)
STEP_INPUTS_MAX: Final = 500
COMMIT_RETRY_FIRST_S: Final = 0.5
COMMIT_RETRY_MAX_S: Final = 10.0
#: How often a decision is taken again because a confirmation that it takes back was sent meanwhile.
VOID_TRIES_MAX: Final = 5
REASON_CHARS_MAX: Final = 200  # of why a word was not taken

log = structlog.get_logger(__name__)


class RunnerHooks(NamedTuple):
    """What happens around a commit.

    ``targets`` names the connectors a job order's confirmations go to; ``answers_with`` the operations whose answers to
    an order its ERP is told together, None where it is told nothing; ``hears`` the connectors that are told a notice,
    and ``noticed`` is called with those for whom some are committed. ``committed`` is told the outputs and the new
    state after every commit; it must not raise and must not wait. ``alive`` is called whenever the runner moved on.
    ``trouble`` hears a failing commit's reason, and "" once one succeeds again. ``heard`` is told the inputs that were
    handled, as the core saw them. ``common``: date, zone and versions of an audit entry at a steady time; without it
    there is no audit trail. ``corrects``: how those who get a job order's confirmations take a correction. ``read`` has
    signals read out of turn, within so many seconds; ``members`` what other machines made of its orders told.
    ``listened``: whether anybody hears notices at all.
    """

    targets: Callable[[JobOrder], Sequence[str]]
    committed: Callable[[tuple[Output, ...], State], None]
    alive: Callable[[], None]
    trouble: Callable[[str], None]
    heard: Callable[[Sequence[Input]], None] = lambda _inputs: None
    answers_with: Callable[[JobOrder], tuple[str, ...] | None] = lambda _job: None
    hears: Callable[[ErpNotice], tuple[str, ...]] = lambda _notice: ()
    listened: Callable[[], bool] = lambda: True
    noticed: Callable[[set[str]], None] = lambda _targets: None
    common: Callable[[int], EntryContent] | None = None
    corrects: Callable[[JobOrder], Capability] = lambda _job: Capability.MANUAL
    read: Read = nobody
    members: Members = no_members


class Besides(NamedTuple):
    """What a step keeps besides state and outputs, by the names of ``Step``."""

    audit: tuple[EntryContent, ...] = ()
    answers: tuple[OperationAnswer, ...] = ()
    notices: tuple[ErpNotice, ...] = ()
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
        self._queue: asyncio.Queue[Item] = asyncio.Queue(QUEUE_READINGS_MAX)
        self._draining = asyncio.Event()
        self._committed_ns = now_ns()
        self._committed_state = state
        self._next: Item | None = None  # taken from the queue, but it opens a step of its own
        self._taken: Sequence[Item] = ()  # those of the step that is being made
        self._last: dict[str, DataValue] = {}  # what each signal said last
        self._boundary = Boundary(now_ns)
        self._ended = False

    async def put(self, given: tuple[Input, ...]) -> None:
        """Hand over one reading's values, or what nobody waits for; waits while the queue is full."""
        now = self._boundary.keeps_back(self.unit, self.state, given, self._hooks.read, self._put_read)
        if now:
            await self._put_read(now)

    async def _put_read(self, given: tuple[Input, ...], asked_ns: int = 0, due_ns: int = 0) -> None:
        await self._queue.put(Item(given, None, asked_ns=asked_ns, due_ns=due_ns))

    async def submit(self, given: Input) -> tuple[Output, ...]:
        """Hand over an order, a decision, the clock or the calendar; returns its outputs once they are committed.

        Raises RequestError where this runner has ended, or ends before it could do it: then nothing was decided.
        """
        return await (await self._handed_over(given))

    async def tell(self, given: Input) -> str:
        """Hand over the word of another machine; why it was not taken, "": it was, and is committed.

        What the core cannot digest is dropped, logged and told by this work unit, as any input is.
        """
        try:
            done = await self._handed_over(given)
        except RequestError as error:
            return str(error)
        try:
            await asyncio.wait((done,))
        finally:
            done.cancel()  # nobody waits for it any more; nothing where it is done
        why = done.exception()
        if why is None:
            return ""
        return str(why) if isinstance(why, RequestError) else f"{type(why).__name__}: {why}"[:REASON_CHARS_MAX]

    async def _handed_over(self, given: Input) -> asyncio.Future[tuple[Output, ...]]:
        if self._ended:
            raise ended(self.unit)
        with self._boundary.coming():
            hooks = self._hooks
            asked_ns = await self._boundary.before(self.unit, self.state, given, hooks.read, hooks.members)
            done: asyncio.Future[tuple[Output, ...]] = asyncio.get_running_loop().create_future()
            await self._queue.put(Item((given,), done, None, CALLER.get(), TAKEN.get(), asked_ns))
        if self._ended and not done.done():  # it ended while the counters were read, or while there was no room
            raise ended(self.unit)
        return done

    def last_values(self) -> tuple[DataValue, ...]:
        """What each signal said last."""
        return tuple(self._last.values())

    async def hold(self) -> Hold:
        """Ask it to stand still behind everything that waits. The caller must release it, whatever happens."""
        hold = Hold()
        await self._queue.put(Item((), None, hold))
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
        """Finish what waits, commit, and end. What waits for a reading does so no longer."""
        self._draining.set()
        self._boundary.wait_no_more()
        if self._queue.empty():
            self._queue.put_nowait(Item((), None))

    async def run(self) -> None:
        """The loop. Raises StoreError only where a repeat cannot help."""
        try:
            await self._run()
        finally:
            self._ended = True
            for item in self._taken:
                answer(item, Made(error=cut_off(self.unit)))
            if self._next is not None:
                answer(self._next, Made(error=ended(self.unit)))
            while not self._queue.empty():
                answer(self._queue.get_nowait(), Made(error=ended(self.unit)))

    async def _run(self) -> None:
        while True:
            items = await self._next_items()
            if items and items[0].hold is not None:
                await self._stand_still(items[0].hold)
            else:
                self._taken = items
                await self._step(items)
                self._taken = ()
            self._hooks.alive()
            if self._draining.is_set() and self._queue.empty() and self._next is None and not self._boundary.busy:
                return

    async def _next_items(self) -> list[Item]:
        """What waits, at most STEP_INPUTS_MAX inputs; an empty list when a deadline came first."""
        items: list[Item] = []
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
            await self._step([Item(tuple(self.unit.in_order(again)), None)])

    def _wait_ns(self) -> int:
        now_ns = self._now_ns()
        due_ns = now_ns + self._idle_wake_ns
        deadline_ns = self.unit.next_deadline(self.state)
        ahead_ns = self._boundary.ahead(self.unit, self.state, self._hooks.read, self._put_read)
        due_ns = min(due_ns, *(one for one in (deadline_ns, ahead_ns) if one is not None), due_ns)
        if self.state != self._committed_state:
            due_ns = min(due_ns, self._committed_ns + self._checkpoint_ns)
        return due_ns - now_ns

    async def _step(self, items: list[Item]) -> None:
        """Handle these and commit, all or nothing; again where a confirmation that was to be void is sent meanwhile.

        After VOID_TRIES_MAX the decision to make it void, which is the first item, fails alone.
        """
        for left in reversed(range(VOID_TRIES_MAX)):
            try:
                await self._stepped(items)
            except PostingMovedError as error:
                log.info("decision taken again", work_unit=self.unit.identity.machine, reason=str(error))
                if not left and items:
                    answer(items[0], Made(error=error))
                    await self._stepped(items[1:])
            else:
                return

    async def _stepped(self, items: list[Item]) -> None:
        state = self.state
        results: list[Made] = []
        for item in items:
            state, result = await self._handle(state, item)
            results.append(result)
        if self._queue.empty() and self._next is None:  # time may pass only behind the last input that is known
            state, passed = self.unit.handle(state, TimePassed(self._now_ns()))
            results.append(Made(passed, self._audit(None, passed)))
        outputs = tuple(output for result in results for output in result.outputs)
        first_seq = self.state.journal_seq + 1
        due = self._now_ns() - self._committed_ns >= self._checkpoint_ns or self._draining.is_set()
        notices = self._notices(outputs, state)
        if outputs or notices or any(item.done for item in items) or (due and state != self._committed_state):
            audit = tuple(entry for result in results for entry in result.audit)
            received = [given.job for item in items for given in item.inputs if isinstance(given, OrderReceived)]
            told = answers_to(received, outputs, state, self._hooks.answers_with)
            pairs = zip(items, results, strict=False)
            keys = tuple(item.taken for item, made in pairs if item.taken and not made.error)
            await self._commit(state, outputs, first_seq, Besides(audit, told, notices, keys))
        self.state = state
        if notices:
            self._hooks.noticed({name for one in notices for name in one.targets})
        for item, result in zip(items, results, strict=False):  # the last may be the time's
            if result.inputs:
                self._hooks.heard(result.inputs)
            answer(item, result)
        if outputs:
            self._hooks.committed(outputs, state)

    def _notices(self, outputs: tuple[Output, ...], state: State) -> tuple[ErpNotice, ...]:
        """What there is to tell, for those notices that somebody wants to hear."""
        made = notices_of(self._committed_state, outputs, state) if self._hooks.listened() else ()
        return tuple(one._replace(targets=targets) for one in made if (targets := self._hooks.hears(one)))

    async def _handle(self, state: State, item: Item) -> tuple[State, Made]:
        """One item whole, or not at all: what the core cannot digest must stop neither this machine nor another.

        A reading that is dropped here moves no baseline: the next one catches up.
        """
        before = state
        made: tuple[Output, ...] = ()
        inputs: Sequence[Input] = item.inputs
        if item.asked_ns:
            inputs = (self._boundary.came_of_it(self.unit, self._last, item.asked_ns, item.due_ns), *inputs)
        reader = self.unit.rules.work.serial_signal
        try:
            for given in inputs:
                if asks(given):  # it comes alone, or behind a reading
                    whole = await informed(given, state, self.unit, self._store, self._hooks.corrects)
                    inputs = (*inputs[:-1], whole)
                    state, more = self.unit.handle(state, whole)
                else:
                    state, more = self.unit.handle(state, given)
                    if isinstance(given, DataValue):
                        self._last[given.signal] = given
                        if given.signal == reader and (read := await remembered.serial_of(self._store, state, given)):
                            state, found = self.unit.handle(state, read)
                            more, inputs = more + found, remembered.behind(inputs, given, read)
                made += more
            audit = self._audit(inputs[-1] if item.done is not None else None, made, item.caller)
        except StoreError:
            raise
        except Exception as error:  # the supervisor of a work unit: a defect is told, not fatal
            log.exception("input dropped", work_unit=self.unit.identity.machine, inputs=repr(item.inputs)[:500])
            self._hooks.trouble(f"an input was dropped: {error!r}; see the log and report it")
            return before, Made(error=error)
        return state, Made(made, audit, inputs=tuple(inputs))

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
        step = step_of(self.unit, state, outputs, first_seq, self._hooks.targets)
        step = step._replace(**(besides or Besides())._asdict())
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
