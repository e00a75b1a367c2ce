"""What the control socket can be asked: status, orders, outbox, writing. Each verb calls the part that owns the answer.

What a request brings is checked here: its texts reach the journal, the log and other people's terminals.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import structlog

from buffer import reconciliation
from buffer.errors import StoreError
from gateway import __version__
from gateway.asking.speaker import runner_of, speaker, told
from gateway.control import TEXT_CHARS_MAX, RequestError, text_of
from gateway.core.model import JobChanged, JobOrderState, Notice, OperatorEntry, OperatorVerb
from gateway.core.orders.lifecycle import RUNNING, ActorRole
from gateway.shown.status import AuditView, GatewayView, ReconciliationView, to_json
from gateway.shown.views import clock_view
from gateway.sources.writing import SignalWriter, WritingError
from gateway.verbs.booked_verbs import BookedVerbs
from gateway.verbs.correct_verbs import CorrectVerbs
from gateway.verbs.erp_verbs import ErpVerbs
from gateway.verbs.floor_verbs import FloorVerbs
from gateway.verbs.hold_verbs import HoldVerbs
from gateway.verbs.order_verbs import OrderVerbs
from gateway.verbs.outbox_verbs import OutboxVerbs
from gateway.verbs.terminal_verbs import TerminalVerbs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buffer.figures import BufferFigures
    from buffer.store import Store
    from config.settings import Settings
    from gateway.audit.auditing import Auditing
    from gateway.control import Verb
    from gateway.core.model import Output
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

log = structlog.get_logger(__name__)


class Verbs:
    """The table of verbs of one running gateway."""

    def __init__(
        self,
        parts: Parts,
        store: Store,
        clock: SteadyClock,
        *,
        started_ns: int,
        settings: Settings,
        warnings: list[str],
        auditing: Auditing | None = None,
    ) -> None:
        self.parts = parts
        self._store = store
        self._clock = clock
        self._started_ns = started_ns
        self._settings = settings
        self._warnings = warnings
        self._floor = FloorVerbs(parts, store, clock)
        self._writer = SignalWriter(
            settings, parts.sources, store, clock.now_ns, None if auditing is None else auditing.common
        )
        self._auditing = auditing

    def table(self) -> dict[str, Verb]:
        """Every verb by name."""
        correct = CorrectVerbs(self.parts, self._clock, self._auditing)
        return {
            "status": self._status,
            **{f"order.{verb}": self._order for verb in OperatorVerb},
            **OutboxVerbs(self.parts, self._clock, self._auditing, correct).table(),
            **BookedVerbs(self.parts, self._store, self._clock, self._auditing).table(),
            **ErpVerbs(self.parts, self._clock, self._settings).table(),
            "write": self._write,
            **self._floor.table(),
            **OrderVerbs(self.parts, self._clock, self._settings.gateway.timezone).table(),
            **HoldVerbs(self.parts, self._clock).table(),
            **TerminalVerbs(self.parts, self._clock).table(),
            **correct.table(),
        }

    async def _status(self, request: Mapping[str, Any]) -> Any:
        """The status in UTC; with ``steady``, in the times by which lengths are measured."""
        view = await self._view()
        return to_json(view, None if request.get("steady") is True else self._clock.utc_ns)

    async def _view(self) -> GatewayView:
        parts = self.parts
        return GatewayView(
            id=self._settings.gateway.id,
            version=__version__,
            pid=os.getpid(),
            started_ns=self._started_ns,
            now_ns=self._clock.now_ns(),
            epoch=self._store.epoch,
            state_dir=str(self._settings.gateway.state_dir),
            config_digest=self._settings.digest,
            clock=clock_view(self._clock),
            audit=await self._audit(),
            reconciliation=await self._compared(),
            buffer=await self._buffer(),
            mqtt=parts.monitor.view() if parts.monitor is not None else None,
            sources=tuple(parts.source_view(name) for name in parts.sources),
            targets=tuple(parts.target_view(name) for name in parts.forwarders),
            feeds=tuple(parts.feed_view(name) for name in parts.feeds),
            work_units=tuple(parts.work_unit_view(name) for name in parts.runners),
            warnings=(*self._warnings, *parts.troubles(), *parts.late(self._clock.now_ns()), *await self._stranded()),
        )

    async def _audit(self) -> AuditView | None:
        try:
            return None if self._auditing is None else await self._auditing.view()
        except StoreError:  # the warnings say it; the rest of the status is wanted all the more
            return None

    async def _compared(self) -> ReconciliationView | None:
        try:
            found = await reconciliation.newest(self._store)
        except StoreError:  # the warnings say it, as above
            return None
        return None if found is None else ReconciliationView(**found._asdict())

    async def _buffer(self) -> BufferFigures | None:
        try:
            return None if self.parts.buffer is None else await self.parts.buffer()
        except StoreError:  # the warnings say it, as above
            return None

    async def _stranded(self) -> tuple[str, ...]:
        try:
            return await self.parts.stranded()
        except StoreError as error:  # the rest of the status is wanted all the more
            return (f"the buffer: {error}",)

    async def _order(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self.parts, request)
        verb = OperatorVerb(text_of(request, "verb").removeprefix("order."))
        order = text_of(request, "order")
        operation = text_of(request, "operation") if request.get("operation") else ""
        reason = text_of(request, "reason") if request.get("reason") else ""
        # Who may speak at this socket may do what a supervisor may, and withdraw an order for the planner.
        role = ActorRole.PLANNER if verb is OperatorVerb.CANCEL else ActorRole.SUPERVISOR
        by = speaker(request, role=role)
        signed = str(request.get("signed_by", ""))
        entry = OperatorEntry(self._clock.now_ns(), verb, order, operation, reason=reason, signed_by=signed, **by)
        if verb is OperatorVerb.START:
            entry = entry._replace(interrupt=request.get("interrupt") is True)
        elif verb is OperatorVerb.ACKNOWLEDGE_DOCUMENTS and request.get("document"):
            entry = entry._replace(documents=(text_of(request, "document"),))
        elif verb is OperatorVerb.INSPECT:
            entry = entry._replace(verdict=text_of(request, "verdict"))
        made = told(await runner.submit(entry), f"{machine}: cannot {verb} {order}")
        return f"{machine}: {verb} {order} done" + besides(verb, order, made)

    async def _write(self, request: Mapping[str, Any]) -> Any:
        signal, who = text_of(request, "signal"), text_of(request, "who")
        reason = text_of(request, "reason") if request.get("reason") else ""
        value = request["value"]
        if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX:
            raise RequestError(
                f"value: found {str(value)[:40]!a}, allowed: a text of up to {TEXT_CHARS_MAX} characters",
                guard="FIELD",
                what_to_do="send another value",
            )
        try:
            return await self._writer.write(signal, value, who=who, reason=reason)
        except WritingError as error:
            raise RequestError(str(error), guard="SIGNAL", what_to_do="look at the signal: linegate read") from error


#: Guards of a start, and points of the checklist, that only warn.
_PASSED: Final = frozenset({"START_WARNING", "FINISH_WARNING"})


def _starts(one: Output, order: str) -> bool:
    """Whether the order is at work from here on."""
    return isinstance(one, JobChanged) and one.record.job.order == order and one.record.state in RUNNING


def besides(verb: OperatorVerb, order: str, made: Sequence[Output]) -> str:
    """What the person should know besides: what was passed over, what keeps the order on hold or waiting."""
    passed = [dict(one.detail)["reason"] for one in made if isinstance(one, Notice) and one.code in _PASSED]
    text = "".join(f"; despite {one}" for one in passed)
    if verb is OperatorVerb.RUSH and not any(_starts(one, order) for one in made):
        text += "; it has not started: what runs goes on, and linegate order start starts it now"
    if verb is OperatorVerb.RELEASE:
        records = [one.record for one in made if isinstance(one, JobChanged) and one.record.job.order == order]
        held = next((one.hold_reason for one in records[-1:] if one.state is JobOrderState.ON_HOLD), "")
        text += f"; it stays on hold: {held}" if held else ""
    return text
