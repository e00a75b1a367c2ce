"""Asks a machine to stop where the target of its order is reached: writes the whitelisted signal, after the commit.

The request is in the journal, the writing in the audit trail. It is tried once: a request that a device does not take,
or that was committed right before the gateway died, is not repeated, because by then the machine may be at work on
something else. Whoever looks at the status sees that it failed, until another order begins there, over restarts too;
only of a request that was committed and not even begun when the gateway died nothing is known. Decides nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from buffer import audit, audit_taken
from buffer.audit import AuditOutcome
from buffer.errors import StoreError
from gateway.access.caller import CALLER, Caller
from gateway.audit.auditing import ITSELF
from gateway.core.audit.told import GATEWAY
from gateway.core.model import JobChanged
from gateway.core.orders.lifecycle import RUNNING
from gateway.core.orders.stop_request import StopRequested
from gateway.sources.writing import SignalWriter, WritingError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from buffer.store import Store
    from gateway.audit.auditing import Auditing
    from gateway.core.model import Output
    from gateway.core.unit_state import State
    from gateway.parts import Parts

#: The reason of a request, with the order between and the machine behind.
_TARGET: Final = "target of order "
_REACHED: Final = " reached"

log = structlog.get_logger(__name__)


class StopRequests:
    """The way of these requests to the devices of one gateway."""

    def __init__(self, parts: Parts, store: Store, auditing: Auditing, now_ns: Callable[[], int]) -> None:
        self._parts = parts
        self._store = store
        self._auditing = auditing
        self._now_ns = now_ns
        self._under_way: set[asyncio.Task[None]] = set()
        self._asked: dict[str, tuple[str, str]] = {}  # by machine: the order that it was asked to stop for last

    def committed(self, name: str, outputs: Sequence[Output]) -> None:
        """A work unit committed these; waits for nobody."""
        asked = self._asked.get(name)
        if asked is not None and (any(_begins(one, asked) for one in outputs) or self._on_another(name, asked)):
            self.forget(name)
            self._start(self._over(name), name)
        for one in outputs:
            if isinstance(one, StopRequested):
                self._asked[name] = (one.order, one.operation)
                self._start(self._ask(name, one), name)

    def _on_another(self, name: str, asked: tuple[str, str]) -> bool:
        """Whether a machine that works on another one's orders, whose record is not here, is at another one."""
        runner = self._parts.runners.get(name)
        if runner is None or runner.unit.rules.orders.shares_with is None:
            return False
        return runner.state.running is not None and runner.state.running.job.key != asked

    def forget(self, name: str) -> None:
        """Nobody waits for it any more: another order begins there, or the machine is not configured any more."""
        self._asked.pop(name, None)
        self._parts.trouble(_part(name), "")

    async def resume(self, name: str, signal: str, state: State) -> None:
        """After a restart: that the last request failed is told again, unless another order began. Raises StoreError.

        ``signal``: the one that is written.
        """
        last = await audit.last_of(self._store, signal, GATEWAY, _at(name))
        if last is None or last.outcome is AuditOutcome.DONE:
            return
        if last.at_ns <= await audit_taken.mark(self._store, _part(name)):
            return
        why = last.reason.removesuffix(_at(name))
        order, _, operation = why.removeprefix(_TARGET).removesuffix(_REACHED).rpartition("/")
        if any(run.job.key != (order, operation) and run.state in RUNNING for run in state.at_work()):
            return
        self._asked[name] = order, operation
        how = last.detail or f"{signal}: the gateway ended meanwhile, and it is not known whether it was written"
        self._failed(name, why, how)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=f"stop {name}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _failed(self, name: str, why: str, how: str) -> None:
        text = f"{why}, but the machine could not be asked to stop: {how}; stop it by hand"
        self._parts.trouble(_part(name), text)

    async def _over(self, name: str) -> None:
        """What was asked for until now is nobody's business after a restart."""
        try:
            await audit_taken.take(self._store, (), marks={_part(name): self._now_ns()})
        except StoreError as error:
            log.warning("end of a stop not kept", work_unit=name, reason=str(error))

    async def _ask(self, name: str, request: StopRequested) -> None:
        CALLER.set(Caller(ITSELF))  # of this task only
        part, why = _part(name), f"{_TARGET}{request.order}/{request.operation}{_REACHED}"
        try:
            settings, sources = self._auditing.settings, self._parts.sources
            writer = SignalWriter(settings, sources, self._store, self._now_ns, self._auditing.common)
            await writer.write(request.signal, request.value, who=GATEWAY, reason=f"{why}{_at(name)}")
        except (WritingError, StoreError) as error:
            log.warning("stop not asked for", work_unit=name, order=request.order, reason=str(error))
            if self._asked.get(name) == (request.order, request.operation):  # else nobody waits for it any more
                self._failed(name, why, str(error))
        else:
            self._parts.trouble(part, "")
            log.info("stop asked for", work_unit=name, order=request.order, signal=request.signal)


def _at(name: str) -> str:
    return f" at {name}"


def _part(name: str) -> str:
    return f"stop of {name}"


def _begins(one: Output, asked: tuple[str, str]) -> bool:
    """Whether another order begins than the one that the machine was asked to stop for."""
    if not isinstance(one, JobChanged) or one.record.job.key == asked:
        return False
    return one.record.state in RUNNING and one.previous not in RUNNING
