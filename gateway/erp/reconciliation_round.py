"""Reconciliation of a running gateway: each night and on demand, with reports that stay, and what a person does then.

A run writes its report and nothing else. A posting that the ERP has lost is sent again, and what somebody posted in the
ERP is taken over, by a person's command only. What is compared ``reconciler.py`` says.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import structlog

from buffer import reconciliation
from buffer.errors import OutboxError, StoreError
from buffer.reconciliation import SaidOf, Settled, Telling
from gateway.access.caller import CALLER
from gateway.asking.refusing import of_resend, of_target
from gateway.asking.speaker import speaker, told
from gateway.audit.auditing import ITSELF
from gateway.connectors.base import TellsTotals
from gateway.control import RequestError, text_of
from gateway.core.access.permissions import Action as DecisionOf
from gateway.core.audit.entry import Change
from gateway.core.audit.told import Told
from gateway.core.document import Identity, utc
from gateway.core.entries import ExternalEntry
from gateway.core.orders.erp_notice import NoticeType
from gateway.core.orders.external import concerned
from gateway.core.orders.reconciliation import SETTLED_BY_PERSON, FindingCode, LookedUp
from gateway.erp import reconciler
from gateway.erp.accepting_postings import for_whom, known_before, machine_of
from gateway.erp.answering import hearers
from gateway.erp.resent import is_told, resent
from gateway.timing.timezone import zone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buffer.entry import OutboxEntry
    from buffer.reconciliation import StoredReport
    from buffer.store import Store
    from config.settings import Settings
    from gateway.audit.auditing import Auditing
    from gateway.control import Verb
    from gateway.core.audit.entry import EntryContent
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

LOOK_EVERY_S: Final = 30.0
REPORTS_SHOWN_MAX: Final = 30
NIGHTLY: Final = "nightly"
ASKED: Final = "asked"
#: Findings that hinder no closing: what is not booked yet hinders it by itself.
HARMLESS: Final = frozenset({FindingCode.IN_BUFFER.value})

log = structlog.get_logger(__name__)


class ReconciliationRound:
    """One gateway; ``run`` it in a task."""

    def __init__(self, settings: Settings, store: Store, clock: SteadyClock, parts: Parts, auditing: Auditing) -> None:
        self._auditing = auditing
        self._store = store
        self._clock = clock
        self._parts = parts
        self._one_at_a_time = asyncio.Lock()
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """These settings hold from now on."""
        self._nightly = settings.reconciliation.nightly
        self._zone = zone(settings.gateway.timezone)
        self._gateway = settings.gateway
        self._due_ns = self._next_ns(self._clock.utc_now_ns())

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {
            "reconcile": self._asked,
            "reconcile.reports": self._reports,
            "reconcile.accept": self._accept,
            "reconcile.settle": self._settle,
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
            found, left_out = await reconciler.reconcile(self._parts, self._store, at_ns, order)
            known = await reconciliation.settled(self._store)
            document = reconciler.document(found, left_out, {key: self._by(one) for key, one in known.items()})
            # Each finding by itself: another one with its code stands all the same.
            said = [
                SaidOf(
                    name,
                    operation,
                    tuple(code.value for code, which in codes if (name, operation, which) not in known),
                )
                for name, operation, codes in found.said
            ]
            telling = self._telling(at_ns, document)
            kept = await reconciliation.keep(
                self._store,
                at_ns,
                cause,
                json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(),
                sum(len(one.codes) for one in said),
                said,
                telling,
            )
        for name in telling.targets if telling is not None else ():
            if name in self._parts.forwarders:  # it may have been taken out of the configuration meanwhile
                self._parts.forwarders[name].wake()
        log.info("reconciled", number=kept.number, compared=found.compared, findings=kept.findings, cause=cause)
        if self._parts.monitor is not None:
            self._parts.monitor.reconciled(self.summary(kept))
        return kept

    def _telling(self, at_ns: int, document: Mapping[str, Any]) -> Telling | None:
        """Who tells the report to whom; None: nobody wants to hear."""
        targets = hearers(self._parts, NoticeType.RECONCILIATION)
        if not targets:
            return None
        own, nobodys = self._gateway, ""  # a report is the gateway's, and no machine's
        where = {"plant": own.plant, "gateway_id": own.id, "line": own.line}
        identity = Identity(**where, epoch=self._store.epoch, machine=nobodys, work_center=nobodys)
        return Telling(identity, targets, self._clock.utc_ns(at_ns), document)

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
            "settled": sum(one.get("settled") is not None for one in document["findings"]),
        }

    def _by(self, one: Settled) -> dict[str, str]:
        return {"who": one.who, "at": str(utc(self._clock.utc_ns(one.at_ns))), "reason": one.reason}

    async def _asked(self, request: Mapping[str, Any]) -> Any:
        order = text_of(request, "order") if request.get("order") else ""
        try:
            return self._whole(await self.reconcile(ASKED, order))
        except reconciler.UnknownOrderError as error:
            todo = "see linegate order list; of a closed order only its last numbers may be left"
            raise RequestError(f"{error}; {todo}", guard="ORDER", what_to_do=todo) from error

    async def _reports(self, request: Mapping[str, Any]) -> Any:
        if request.get("number") is None:
            kept = await reconciliation.last(self._store, REPORTS_SHOWN_MAX)
            return {"reports": [self.summary(one) for one in kept]}
        one = await reconciliation.report(self._store, int(request["number"]))
        if one is None:
            raise RequestError(
                f"report {request['number']}: there is no such report (any more)",
                guard="REPORT",
                what_to_do="see linegate reconcile --reports",
            )
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
            audit = resent(self._auditing, entries, reason)
            ids = [entry.id for entry in entries]
            await reconciliation.resend_all(self._store, ids, now_ns, who=who, reason=reason, audit=audit)
            for entry in entries:
                self._parts.forwarders[entry.target].wake()
        except OutboxError as error:
            raise of_resend(error) from error
        is_told()
        return [{"id": one.id, "key": one.key, "target": one.target} for one in entries]

    async def _check_lost(self, entry: OutboxEntry) -> None:
        """Raises RequestError where its target has it, or takes no confirmations any more."""
        connector = self._parts.connectors.get(entry.target)
        if connector is None or entry.target not in self._parts.forwarders:
            raise of_target(f"outbox, key {entry.key}", entry.target, self._parts.forwarders)
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
        async with self._one_at_a_time:
            return await self._taken_over(request, order, operation, reason)

    async def _taken_over(self, request: Mapping[str, Any], order: str, operation: str, reason: str) -> str:
        good, scrap, rework = await self._proposed(order, operation)
        runner = await machine_of(self._parts, self._store, order, operation)
        parts = concerned(runner.state, order, operation)
        entry = ExternalEntry(
            self._clock.now_ns(),
            order,
            operation,
            good,
            scrap,
            rework,
            reason=reason,
            before=await known_before(self._store, parts, order, operation),
            **speaker(request),
        )
        told(await runner.submit(entry), f"cannot take over for {order}")
        text = f"order {order} operation {operation}: taken over {good} good, {scrap} scrap, {rework} rework"
        return text + for_whom(runner.state, order, parts)

    async def _proposed(self, order: str, operation: str) -> tuple[int, int, int]:
        """What the last report that speaks of it found more in the ERP, in whole pieces. Raises RequestError."""
        code = FindingCode.EXTERNAL_CONFIRMATION.value
        for one in await self._last_found(order, operation):
            if one["code"] == code:
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

    async def _last_found(self, order: str, operation: str) -> list[dict[str, Any]]:
        """What the last report that compared an operation found of it, and nobody has settled."""
        compared_ns, codes = await reconciliation.said_of(self._store, order, operation) or (0, ())
        known = await reconciliation.settled(self._store)
        reports = await reconciliation.last(self._store, reconciliation.PAGE_MAX) if codes else []
        return [
            one
            for kept in reports
            if kept.at_ns == compared_ns
            for one in json.loads(kept.document)["findings"]
            if (one["order"], one["operation"]) == (order, operation)
            and one["code"] in codes
            and (order, operation, one.get("identity", "")) not in known
        ]

    async def _settle(self, request: Mapping[str, Any]) -> Any:
        """A person has dealt with what the last report found of an operation: it is no finding any more.

        Neither the ERP nor a number here changes. Another difference of the operation is found again. Each is settled
        by itself: where there are several, ``finding`` names one by its code or its identity.
        """
        order, operation, reason = (text_of(request, name) for name in ("order", "operation", "reason"))
        who, now_ns = text_of(request, "who"), self._clock.now_ns()
        async with self._one_at_a_time:
            found = await self._last_found(order, operation)
            mine = [one for one in found if one["code"] in SETTLED_BY_PERSON and "identity" in one]
            if not mine:
                others = ", ".join(sorted({one["code"] for one in found})) or "nothing"
                raise RequestError(
                    f"order {order} operation {operation}: found {others} in the last report, allowed to settle: "
                    f"{', '.join(sorted(SETTLED_BY_PERSON))}; what else there is goes by itself or by linegate outbox",
                    guard="FINDING",
                    what_to_do=f"run linegate reconcile {order} first",
                )
            mine = _meant(mine, str(request.get("finding") or ""), f"order {order} operation {operation}")
            contents: list[EntryContent] = []
            caller = CALLER.get()
            actor = ITSELF if caller is None else caller.actor
            for one in mine:
                told = Told(
                    DecisionOf.RESOLVE_POSTING.value,
                    "operation",
                    f"{order}/{operation}",
                    Change.MODIFY.value,
                    field=f"reconciliation {one['code']}",
                    old=one["text"],
                    new="settled",
                    detail=f"proposed: {one['proposed']}",
                    order=order,
                )
                contents += self._auditing.decision(told, actor, reason)
            settled = [Settled(order, operation, one["identity"], now_ns, who, reason) for one in mine]
            over = {one["identity"] for one in mine}
            _, codes = await reconciliation.said_of(self._store, order, operation) or (0, ())
            # Those that the report had no room for stand, too.
            unseen = Counter(codes) - Counter(one["code"] for one in found)
            left = (*(one["code"] for one in found if one.get("identity") not in over), *unseen.elements())
            await reconciliation.settle(self._store, settled, left, contents)
            if caller is not None:
                caller.told = True
        log.warning("difference settled", order=order, operation=operation, who=who, reason=reason)
        return f"order {order} operation {operation}: settled {', '.join(one['code'] for one in mine)}"

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


def _meant(found: list[dict[str, Any]], which: str, where: str) -> list[dict[str, Any]]:
    """The one that a person means, of those that he may settle. Raises RequestError where that is not one."""
    # Two reports of one moment say the same.
    found = list({one["identity"]: one for one in found}.values())
    meant = [one for one in found if which in ("", one["code"], one["identity"])]
    if len(meant) == 1:
        return meant
    names = "; ".join(f"{one['identity']!r} ({one['text']})" for one in found)
    of = f" of {which}" if which else ""
    raise RequestError(
        f"{where}: found {len(meant)} findings{of}, allowed to settle: one at a time: {names}",
        guard="FINDING",
        found=which or str(len(meant)),
        allowed=names,
        what_to_do="name one by its code, or by its identity where two have one code (--finding)",
    )


async def agrees(store: Store, order: str, operation: str) -> bool:
    """Whether the ERP says nothing else of an operation, as far as the last report knows. Raises StoreError."""
    said = await reconciliation.said_of(store, order, operation)
    return said is None or set(said[1]) <= HARMLESS
