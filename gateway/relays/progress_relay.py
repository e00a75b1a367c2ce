"""Tells machines how far other operations of their orders have got: after each commit, and once at the start.

What was told and not yet committed there when the gateway died is told again at the start, from what is remembered.
An operation that makes more than was told of the one before asks for it: what is told is always what is so right now.
Decides nothing about orders.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from buffer.errors import StoreError
from gateway.core.job_order import JobOrderState
from gateway.core.model import JobChanged, OrderProgress
from gateway.core.orders.progress import asked_of, asks, before, together, with_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from buffer.store import Store
    from gateway.core.job_order import JobRecord
    from gateway.core.model import Output
    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State
    from gateway.parts import Parts

Key = tuple[str, str]
#: States of an operation whose pieces are those of other job orders.
_DIVIDED: Final = frozenset({JobOrderState.SPLIT, JobOrderState.MERGED})

log = structlog.get_logger(__name__)


class ProgressRelay:
    """The way of this news between the work units of one gateway. ``now_ns`` is steady time."""

    def __init__(self, parts: Parts, store: Store, now_ns: Callable[[], int]) -> None:
        self._parts = parts
        self._store = store
        self._now_ns = now_ns
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._wanted: dict[str, set[Key]] = {}
        self._failed: set[str] = set()  # the database could not be asked

    def committed(self, name: str, outputs: Sequence[Output]) -> None:
        """A work unit committed these; waits for nobody."""
        own = self._parts.runners.get(name)
        if own is None or own.unit.rules.orders.shares_with is not None:
            return
        state, rules = own.state, own.unit.rules
        for run in state.at_work():
            if asks(run, rules.orders, rules.confirm.delivery):
                self._want(name, asked_of(run))
        changed = {key for one in outputs if isinstance(one, JobChanged) for key in _of(one.record, state)}
        worked = {key for run in state.at_work() for key in _made_by(run)}
        for other, runner in self._parts.runners.items():
            if other in self._failed:
                self._go_on(other)
            if changed:
                for run in runner.state.open_runs():
                    self._want(other, asked_of(run) & changed)
            for run in runner.state.at_work():
                if run.exceeds:  # told again with each piece that comes, until it is so no more
                    self._want(other, before(run) & worked)

    def _want(self, name: str, keys: Iterable[Key]) -> None:
        found = set(keys)
        if not found:
            return
        self._wanted.setdefault(name, set()).update(found)
        self._go_on(name)

    def _go_on(self, name: str) -> None:
        if name not in self._under_way:
            task = asyncio.create_task(self._tell(name), name="progress")
            self._under_way[name] = task
            task.add_done_callback(lambda _task: self._ended(name))

    def _ended(self, name: str) -> None:
        del self._under_way[name]
        if name in self._wanted and name not in self._failed:  # it came when all seemed to be told
            self._go_on(name)

    async def _tell(self, name: str) -> None:
        """All that is wanted by one work unit, until nothing is: one word at a time, each as of now."""
        while keys := self._wanted.pop(name, None):
            self._failed.discard(name)
            runner = self._parts.runners.get(name)
            if runner is None:
                return
            live = [one.state for one in self._parts.runners.values()]
            try:
                found = [await progress_of(self._store, live, key) for key in sorted(keys)]
            except StoreError as error:
                log.warning("progress cannot be told now", work_unit=name, error=str(error))
                self._wanted.setdefault(name, set()).update(keys)  # told with what is wanted next
                self._failed.add(name)
                return
            news = tuple(record for record in found if record is not None)
            rules, state = runner.unit.rules, runner.state
            asked = any(asks(run, rules.orders, rules.confirm.delivery) for run in state.at_work())
            if not asked and with_progress(state, news) is state:
                continue  # nothing new
            await runner.submit(OrderProgress(self._now_ns(), news))


def _of(record: JobRecord, state: State) -> tuple[Key, ...]:
    """The operations of the ERP's that a job order is, or leads: an original may be a part of one that was split.

    Of a leader that is over only the names of its originals are left, which then tell of themselves.
    """
    job = record.job
    if not job.leads:
        return (job.erp_key,)
    led = next((run for run in state.open_runs() if run.job.key == job.key), None)
    return tuple((order, job.operation) for order in job.leads) if led is None else _made_by(led)


def _made_by(run: JobRun) -> tuple[Key, ...]:
    """The operations of the ERP's that its pieces are of."""
    return (run.job.erp_key,) if run.merged is None else tuple(one.job.erp_key for one in run.merged.runs)


async def informed(store: Store, state: State) -> State:
    """A stored state with what is remembered of the operations that its orders wait for. Raises StoreError."""
    keys = sorted({key for run in state.open_runs() for key in asked_of(run)})
    found = [await progress_of(store, (), key) for key in keys]
    return with_progress(state, [record for record in found if record is not None])


async def progress_of(store: Store, live: Iterable[State], key: Key) -> JobRecord | None:
    """How far an operation of the ERP's is: by the machines' own states, and by what is remembered of what is over."""
    states = tuple(live)
    whole = await _record(store, states, key)
    if whole is None or whole.state not in _DIVIDED:
        return whole
    if whole.state is JobOrderState.MERGED:
        leader = await _record(store, states, (whole.job.leader, key[1]))
        if leader is None:
            return whole
        is_open = any(run.job.key == leader.job.key for one in states for run in one.open_runs())
        leader = leader._replace(external=(0, 0, 0))  # what was confirmed in the ERP is its originals'
        return together(whole, (leader if is_open else leader._replace(good=0),))
    names = [name for name in await store.orders_like(f"{key[0]}-") if name != key[0]]
    parts: list[JobRecord] = []
    led: set[str] = set()
    for name in names:
        one = await progress_of(store, states, (name, key[1]))
        if one is None or one.job.erp_key != key:
            continue
        if one.job.leader in led:  # what is open of its leader counts with another part
            one = one._replace(good=one.good - _open_of(states, (one.job.leader, key[1])))
        led |= {one.job.leader} - {""}
        parts.append(one)
    return together(whole, parts)


def _open_of(states: Sequence[State], key: Key) -> int:
    """The open good pieces of a leader, 0 where it is over."""
    runs = (run for state in states for run in state.open_runs())
    return next((run.open_good for run in runs if run.job.key == key and run.merged is not None), 0)


async def _record(store: Store, states: Sequence[State], key: Key) -> JobRecord | None:
    """One job order: as its machine has it now, else as it is remembered."""
    for state in states:
        for run in state.open_runs():
            if run.job.key == key:  # a leader's pieces are its originals' once they are confirmed
                return run.record() if run.merged is None else run.record()._replace(good=run.open_good)
    return await store.job_record(*key)
