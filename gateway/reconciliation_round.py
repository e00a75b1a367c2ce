"""Reconciliation of a running gateway: each night and on demand, with reports that stay, and what a person does then.

A run writes its report and nothing else. A posting that the ERP has lost is sent again, and what somebody posted in the
ERP is taken over, by a person's command only. What is compared ``reconciler.py`` says.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import TYPE_CHECKING, Any, Final

import structlog

from buffer import reconciliation
from buffer.errors import OutboxError, StoreError
from buffer.reconciliation import SaidOf
from gateway import reconciler
from gateway.connectors.base import TellsTotals
from gateway.control import RequestError, text_of
from gateway.core.document import utc
from gateway.core.entries import ExternalEntry
from gateway.core.orders.reconciliation import FindingCode, LookedUp
from gateway.speaker import speaker, told
from gateway.timezone import zone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buffer.entry import OutboxEntry
    from buffer.reconciliation import StoredReport
    from buffer.store import Store
    from config.settings import Settings
    from gateway.clock import SteadyClock
    from gateway.control import Verb
    from gateway.parts import Parts

LOOK_EVERY_S: Final = 30.0
REPORTS_SHOWN_MAX: Final = 30
NIGHTLY: Final = "nightly"
ASKED: Final = "asked"
#: Findings that hinder no closing: what is not booked yet hinders it by itself.
HARMLESS: Final = frozenset({FindingCode.IN_BUFFER.value})

log = structlog.get_logger(__name__)


class ReconciliationRound:
    """One gateway; ``run`` it in a task."""

    def __init__(self, settings: Settings, store: Store, clock: SteadyClock, parts: Parts) -> None:
        self._store = store
        self._clock = clock
        self._parts = parts
        self._one_at_a_time = asyncio.Lock()
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """These settings hold from now on."""
        self._nightly = settings.reconciliation.nightly
        self._zone = zone(settings.gateway.timezone)
        self._due_ns = self._next_ns(self._clock.utc_now_ns())

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {
            "reconcile": self._asked,
            "reconcile.reports": self._reports,
            "reconcile.accept": self._accept,
            "outbox.resend": self._resend,
        }

    async def run(self) -> None:
        """For ever. Raises StoreError only where a repeat cannot help."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                if not error.temporary:
                    raise
                log.warning("reconciliation failed, trying again", error=str(error), retry_s=LOOK_EVERY_S)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> StoredReport | None:
        """The nightly run, once it is due. Raises StoreError."""
        if self._due_ns is None or self._clock.utc_now_ns() < self._due_ns:
            return None
        made = None
        if any(isinstance(one, TellsTotals) and one.capabilities.totals for one in self._parts.connectors.values()):
            made = await self.reconcile(NIGHTLY)
        self._due_ns = self._next_ns(self._clock.utc_now_ns())
        return made

    async def reconcile(self, cause: str, order: str = "") -> StoredReport:
        """Compare, and keep the report. Raises StoreError."""
        async with self._one_at_a_time:
            at_ns = self._clock.now_ns()
            found, left_out, edges = await reconciler.reconciled(self._parts, self._store, at_ns, order)
            codes: dict[tuple[str, str], list[str]] = {(edge.order, edge.operation): [] for edge in edges}
            for one in found.findings:
                codes[one.order, one.operation].append(one.code.value)
            document = reconciler.document(found, left_out)
            kept = await reconciliation.keep(
                self._store,
                at_ns,
                cause,
                json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(),
                len(found.findings) + found.left_out,
                [SaidOf(*key, tuple(dict.fromkeys(said))) for key, said in codes.items()],
            )
        log.info("reconciled", number=kept.number, compared=found.compared, findings=kept.findings, cause=cause)
        if self._parts.monitor is not None:
            self._parts.monitor.reconciled(self.summary(kept))
        return kept

    def summary(self, kept: StoredReport) -> dict[str, Any]:
        """A report in short, with its time in UTC."""
        document = json.loads(kept.document)
        return {
            "number": kept.number,
            "at": utc(self._clock.utc_ns(kept.at_ns)),
            "cause": kept.cause,
            "compared": document["compared"],
            "findings": kept.findings,
            "counts": document["counts"],
            "not_compared": len(document["not_compared"]),
        }

    async def _asked(self, request: Mapping[str, Any]) -> Any:
        order = text_of(request, "order") if request.get("order") else ""
        return self._whole(await self.reconcile(ASKED, order))

    async def _reports(self, request: Mapping[str, Any]) -> Any:
        if request.get("number") is None:
            kept = await reconciliation.last(self._store, REPORTS_SHOWN_MAX)
            return {"reports": [self.summary(one) for one in kept]}
        one = await reconciliation.report(self._store, int(request["number"]))
        if one is None:
            raise RequestError(f"report {request['number']}: there is no such report (any more)", guard="REPORT")
        return {"reports": [self._whole(one)]}

    def _whole(self, kept: StoredReport) -> dict[str, Any]:
        return {**json.loads(kept.document), "report": self.summary(kept)}

    async def _resend(self, request: Mapping[str, Any]) -> Any:
        """A booked posting goes out again, with the same key and bytes, unless its target says that it has it."""
        key, who, reason = text_of(request, "key"), text_of(request, "who"), text_of(request, "reason")
        try:
            entries = await reconciliation.booked(self._store, key)
            for entry in entries:
                await self._check_lost(entry)
            now_ns = self._clock.now_ns()
            for entry in entries:
                await reconciliation.resend(self._store, entry.id, now_ns, who=who, reason=reason)
                self._parts.forwarders[entry.target].wake()
        except OutboxError as error:
            raise RequestError(str(error), guard="POSTED") from error
        return {"done": [{"id": one.id, "key": one.key, "target": one.target} for one in entries]}

    async def _check_lost(self, entry: OutboxEntry) -> None:
        """Raises RequestError where its target has it, or takes no confirmations any more."""
        connector = self._parts.connectors.get(entry.target)
        if connector is None or entry.target not in self._parts.forwarders:
            text = f"outbox, key {entry.key}: no connector {entry.target!r} takes confirmations; configure it again"
            raise RequestError(text, guard="TARGET", found=entry.target)
        if await reconciler.looked_up(self._parts.outbox, connector, entry) in (LookedUp.FOUND, LookedUp.REVERSED):
            raise RequestError(
                f"outbox, key {entry.key}: {entry.target} has it; it is not sent again",
                guard="FOUND_IN_ERP",
                found="booked",
                allowed="a posting that the ERP does not have",
                what_to_do="ask for a reconciliation report; correct the confirmation if it is wrong",
            )

    async def _accept(self, request: Mapping[str, Any]) -> Any:
        """What the last report proposes to take over of an operation becomes known here; nothing is sent."""
        order, operation = text_of(request, "order"), text_of(request, "operation")
        reason = text_of(request, "reason")
        good, scrap, rework = await self._proposed(order, operation)
        runner = next(
            (one for one in self._parts.runners.values() if _holds(one.state, order, operation)),
            None,
        )
        if runner is None:
            raise RequestError(
                f"order {order} operation {operation}: is not open at a machine; there is nothing left that it reduces",
                guard="ORDER_OPEN",
                what_to_do="settle the difference in the ERP",
            )
        entry = ExternalEntry(
            self._clock.now_ns(), order, operation, good, scrap, rework, reason=reason, **speaker(request)
        )
        told(await runner.submit(entry), f"cannot take over for {order}")
        return f"order {order} operation {operation}: taken over {good} good, {scrap} scrap, {rework} rework"

    async def _proposed(self, order: str, operation: str) -> tuple[int, int, int]:
        """What the last report that speaks of it found more in the ERP, in whole pieces. Raises RequestError."""
        said = await reconciliation.said_of(self._store, order, operation)
        code = FindingCode.EXTERNAL_CONFIRMATION.value
        compared_ns, codes = said or (0, ())
        reports = await reconciliation.last(self._store, reconciliation.PAGE_MAX)
        for kept in [one for one in reports if one.at_ns == compared_ns and code in codes]:
            for one in json.loads(kept.document)["findings"]:
                if (one["order"], one["operation"], one["code"]) != (order, operation, code):
                    continue
                numbers = one["difference"]
                try:
                    return int(numbers["good"]), int(numbers["scrap"]), int(numbers["rework"])
                except ValueError as error:
                    text = f"order {order} operation {operation}: found parts of pieces, allowed: whole pieces"
                    raise RequestError(text, guard="WHOLE_PIECES", what_to_do="settle it in the ERP") from error
        raise RequestError(
            f"order {order} operation {operation}: the last report proposes nothing to take over",
            guard="PROPOSAL",
            allowed=f"an operation with the finding {code}",
            what_to_do=f"run linegate reconcile {order} first",
        )

    def _next_ns(self, utc_now_ns: int) -> int | None:
        """When the nightly run is due next, in UTC; None: never."""
        if self._nightly is None:
            return None
        hours, minutes = divmod(int(self._nightly) % (24 * 60), 60)
        today = self._zone.local(max(utc_now_ns, 0)).date()
        for day in (today, today + dt.timedelta(days=1)):
            due_ns = self._zone.utc_ns(dt.datetime.combine(day, dt.time(hours, minutes)))
            if due_ns > utc_now_ns:
                return due_ns
        return utc_now_ns + 24 * 3600 * 10**9  # a day of 23 hours can end before


async def agrees(store: Store, order: str, operation: str) -> bool:
    """Whether the ERP says nothing else of an operation, as far as the last report knows. Raises StoreError."""
    said = await reconciliation.said_of(store, order, operation)
    return said is None or set(said[1]) <= HARMLESS


def _holds(state: Any, order: str, operation: str) -> bool:
    return any(run.job.key == (order, operation) for run in state.open_runs())
