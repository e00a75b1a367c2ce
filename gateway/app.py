"""The composition root: builds every part from the settings, runs them, and stops them in the right order.

Order of the start: lock, database, clock, work units, targets, monitor, control socket, sources. Order of the stop: the
sources and order feeds first, then the work units (which commit what they have), then the targets (which let a posting
under way end), the monitor, the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from buffer import clock_record, damage
from buffer.errors import StoreError
from buffer.outbox import Outbox
from config.errors import ConfigError, ConfigErrors
from drivers.supervisor import DeliveryError
from gateway import __version__, logs
from gateway.access.access_file import AccessFile
from gateway.alerts import asked
from gateway.alerts.message import Sender
from gateway.api.routes import ROUTES
from gateway.asking.deciding import Deciding, Via
from gateway.build import Builder
from gateway.connectors.base import ConnectorError
from gateway.control import SOCKET_NAME, ControlError, ControlServer
from gateway.core.audit.signature import Profile
from gateway.erp.doubt_round import DoubtRound
from gateway.erp.order_closer import OrderCloser
from gateway.erp.reconciliation_round import ReconciliationRound
from gateway.erp.resending import Resending
from gateway.lock import StateDirError, StateDirLock
from gateway.monitoring import BuildError
from gateway.notify import Notifier, Progress, feed_watchdog
from gateway.plugins import PluginError
from gateway.reload import Reloader, ReloadError
from gateway.rounds.audit_round import AuditRound
from gateway.rounds.backup_round import BackupRound
from gateway.rounds.buffer_round import BufferRound
from gateway.rounds.closing_round import ClosingRound
from gateway.rounds.retention_round import RetentionRound
from gateway.rounds.store_round import StoreRound
from gateway.rounds.timekeeper import Timekeeper
from gateway.rounds.trail_round import TrailRound
from gateway.starting.database import open_database
from gateway.starting.lost_units import tell_lost
from gateway.tasks import Tasks
from gateway.timing.clock import SteadyClock
from gateway.timing.clock_quality import ClockJudge, boot_id
from gateway.verbs.control_verbs import Verbs
from gateway.verbs.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from buffer.store import Store
    from config.settings import Settings
    from gateway.alerts.round import AlertRound
    from gateway.api.compose import Api
    from gateway.audit.auditing import Auditing
    from gateway.connectors.base import Connector
    from gateway.parts import Parts
    from gateway.starting.database import Incident

DRAIN_RUNNERS_S: Final = 3.0
DRAIN_TARGETS_S: Final = 2.0
CLOSE_S: Final = 2.0
#: By then every part is made and every driver's library is loaded.
SETTLED_AFTER_S: Final = 5.0

log = structlog.get_logger(__name__)


class Round(Protocol):
    """What is done again and again while the gateway runs."""

    def run(self) -> Coroutine[Any, Any, None]:
        """For ever."""


class StartError(Exception):
    """The gateway cannot start, or must give up; says why and what to do."""


def main(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; 0 after a clean stop. Raises StartError."""
    logs.configure(
        level=settings.log.level,
        output=settings.log.format,
        repeat_interval_ns=settings.log.repeat_interval,
    )
    try:
        with StateDirLock(settings.gateway.state_dir):
            asyncio.run(App(settings).run())
    except (StateDirError, StoreError, PluginError, ControlError, BuildError, ConfigError, ConfigErrors) as error:
        raise StartError(str(error)) from error
    return 0


class App:
    """One run of the gateway in a locked state directory."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state_dir = Path(settings.gateway.state_dir)
        self._notifier = Notifier(os.environ)
        self._progress = Progress()
        self._stop = asyncio.Event()
        self._hangup = asyncio.Event()
        self._warnings: list[str] = list(settings.warnings)

    async def run(self) -> None:
        """Start, wait for the signal to stop or for a part that cannot go on, stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._hangup.set)
        clock: SteadyClock | None = None
        store, incidents = await open_database(
            self._state_dir, self._settings.buffer, lambda: clock.now_ns() if clock is not None else 0
        )
        self._warnings += [one.text for one in incidents]
        if store.interrupted:
            log.warning("postings were being sent when the gateway ended", postings=store.interrupted)
        try:
            judge = ClockJudge(self._settings.gateway.clock)
            clock = SteadyClock(
                await store.last_time_ns(),
                judge=judge,
                boot_id=boot_id(),
                before=await clock_record.load(store),
                history=await clock_record.corrections(store),
            )
            builder = Builder(
                self._settings,
                store,
                Outbox(store),
                clock=clock,
                progress=self._progress,
                rng=random.SystemRandom(),
                warnings=self._warnings,
            )
            await self._serve(builder, store, clock, incidents)
            if store.damaged is None:
                damage.clear(store.path)
        finally:
            await store.close()

    async def _serve(self, builder: Builder, store: Store, clock: SteadyClock, incidents: Sequence[Incident]) -> None:
        parts = await tell_lost(await builder.build(), store, clock)
        verbs_of = partial(_verbs, parts, store, clock, clock.now_ns(), self._warnings, builder.auditing)
        users = AccessFile(self._state_dir)
        audit = AuditRound(self._settings, store, clock, builder.auditing, users)
        keeper = RetentionRound(self._settings, store, clock, parts, builder.auditing)
        audited = (self._settings, store, clock, parts, builder.auditing)
        comparing, days, trail = ReconciliationRound(*audited), ClosingRound(*audited), TrailRound(*audited)
        buffer = BufferRound(store, clock, parts)
        copies = BackupRound(self._settings, store, clock, parts, builder.auditing)
        table = verbs_of(self._settings).table() | (
            audit.table()
            | keeper.table()
            | comparing.table()
            | buffer.table()
            | Resending(parts, store, clock, builder.auditing).table()
        )
        alerts = _alerts(self._settings, store, clock, parts, table)
        await copies.start()  # first: what tells of a restore is the first entry behind the copy's own
        await audit.start(incidents)
        deciding = _deciding(self._settings, table, builder.auditing, users, clock, audit)
        control = ControlServer(self._state_dir / SOCKET_NAME, deciding.door(Via.SOCKET))
        await control.start()
        api = _api(self._settings, parts, store, clock, deciding.door(Via.API), audit)
        await self._open_connectors(parts.connectors)
        parts.announce()
        timekeeper = Timekeeper(clock, store, parts, self._settings, builder.auditing)
        await timekeeper.start()
        for warning in (*self._warnings, *await parts.stranded()):
            log.warning("needs attention", text=warning)
        tasks = Tasks()
        self._start(tasks, parts, store, clock.now_ns)
        builder.shares.started()
        StoreRound(store, parts).start(tasks)
        rounds: dict[str, Round] = {
            "prune": keeper,
            "reconciliation": comparing,
            "days": days,
            "copies": copies,
            "doubts": DoubtRound(store, clock, parts, builder.auditing),
            "clock": timekeeper,
            "buffer": buffer,
            "trail": trail,
            **({} if alerts is None else {"alerts": alerts}),
        }
        for name, one in rounds.items():
            tasks.start(f"outer {name}", one.run())
        tasks.start("outer audit", audit.run(parts))
        reloader = Reloader(self._settings, builder, parts, tasks, warnings=self._warnings, utc_ns=clock.utc_now_ns)
        reloader.on_change = partial(_changed, table, verbs_of, (timekeeper, keeper, comparing, days, trail))
        reloader.on_taken = audit.configured
        table["reload"] = reloader.on_request
        table |= Recorder(parts, lambda: reloader.settings, clock.now_ns).table()
        log.info("running", version=__version__, epoch=store.epoch, state_dir=str(self._state_dir), pid=os.getpid())
        settled = asyncio.get_running_loop().call_later(SETTLED_AFTER_S, _exempt_from_collection)
        try:
            # Ready as soon as every part runs: a PLC or an ERP that is away is a state, not a failed start.
            await asyncio.sleep(0)
            self._notifier.ready(f"{len(parts.runners)} machines, {len(parts.sources)} sources")
            if api is not None:
                await api.start(tasks)
            tasks.start("outer watchdog", feed_watchdog(self._notifier, self._progress))
            tasks.start("outer hang-up", self._reload_on_hangup(reloader))
            await self._until_stopped(tasks)
        finally:
            settled.cancel()
            await self._end(parts, tasks, reloader, control, api)
            with contextlib.suppress(StoreError):  # the next start says that this end was not in order
                await audit.stop("in order" if self._stop.is_set() else "a part ended that must not; see the log")

    async def _end(
        self, parts: Parts, tasks: Tasks, reloader: Reloader, control: ControlServer, api: Api | None
    ) -> None:
        """Stop every part, those first from which the others hear."""
        self._notifier.stopping()
        log.info("stopping")
        await tasks.stop(["outer hang-up"])
        if api is not None:
            await api.close(tasks)
        await reloader.close()
        await tasks.stop([*tasks.names("orders"), *tasks.names("source")])
        for runner in parts.runners.values():
            runner.drain()
        await tasks.finish(tasks.names("work"), DRAIN_RUNNERS_S)
        await asyncio.gather(*(forwarder.drain(DRAIN_TARGETS_S) for forwarder in parts.forwarders.values()))
        await tasks.stop(tasks.names("target"))
        await control.close()
        if parts.monitor is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await parts.monitor.close("stop")
        await tasks.stop(tasks.names("outer"))
        for connector in parts.connectors.values():
            await connector.close()

    def _start(self, tasks: Tasks, parts: Parts, store: Store, now_ns: Callable[[], int]) -> None:
        tasks.start("outer closing", OrderCloser(parts, store, now_ns).run())
        if parts.monitor is not None:
            tasks.start("outer monitor", parts.monitor.run())
        for name, runner in parts.runners.items():
            tasks.start(f"work unit {name}", runner.run())
        for name, forwarder in parts.forwarders.items():
            tasks.start(f"target {name}", forwarder.run())
        for name, feed in parts.feeds.items():
            tasks.start(f"orders {name}", feed.run())
        for name, source in parts.sources.items():
            tasks.start(f"source {name}", source.run())

    async def _reload_on_hangup(self, reloader: Reloader) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            # What is refused stands in the log and in the status; there is nobody else to tell.
            with contextlib.suppress(ReloadError):
                await reloader.reload()

    async def _open_connectors(self, connectors: Mapping[str, Connector]) -> None:
        for name, connector in connectors.items():
            try:
                await connector.open()
            except ConnectorError as error:
                place = self._settings.place(f"connectors.{name}")
                raise StartError(f"{place}: connectors.{name}: {error}; correct its settings") from error

    async def _until_stopped(self, tasks: Tasks) -> None:
        """Until the signal, or until a part ends that must not. Raises StoreError, StartError."""
        stopped = asyncio.create_task(self._stop.wait())
        failed = asyncio.create_task(tasks.failed())
        try:
            done, _ = await asyncio.wait({stopped, failed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            failed.cancel()
        if stopped in done:
            return
        task = failed.result()
        error = task.exception()
        if isinstance(error, DeliveryError):
            error = error.__cause__ or error
        if isinstance(error, StoreError):
            raise error
        raise StartError(f"{task.get_name()} ended: {error!r}") from error


def _verbs(
    parts: Parts,
    store: Store,
    clock: SteadyClock,
    started_ns: int,
    warnings: list[str],
    auditing: Auditing,
    settings: Settings,
) -> Verbs:
    return Verbs(parts, store, clock, started_ns=started_ns, settings=settings, warnings=warnings, auditing=auditing)


def _deciding(
    settings: Settings,
    table: Mapping[str, Any],
    auditing: Auditing,
    users: AccessFile,
    clock: SteadyClock,
    audit: AuditRound,
) -> Deciding:
    """The guard in front of the verbs; what each of them is to the permissions stands in the table of the API."""
    return Deciding(
        table,
        {route.verb: route.action for route in ROUTES if route.writes},
        questions={route.verb: route.actions[0] for route in ROUTES if route.actions and not route.writes},
        auditing=auditing,
        users=users,
        clock=clock,
        profile=Profile(settings.gateway.profile),
        on_refused=audit.refused,
    )


def _api(
    settings: Settings,
    parts: Parts,
    store: Store,
    clock: SteadyClock,
    table: Mapping[str, Any],
    audit: AuditRound,
) -> Api | None:
    """Without the section, its libraries are not even loaded. Raises StartError."""
    if settings.api is None:
        return None
    from gateway.api.compose import api_of
    from gateway.api.server import ApiError

    try:
        return api_of(settings, settings.api, parts, store, clock, table, audit.refused)
    except ApiError as error:
        raise StartError(str(error)) from error


def _alerts(
    settings: Settings, store: Store, clock: SteadyClock, parts: Parts, table: dict[str, Any]
) -> AlertRound | None:
    """Without the section, its libraries are not even loaded. Raises ConfigError."""
    if settings.alerts is None:
        table |= asked.table({}, Sender("", "", ""), clock.now_ns, clock.utc_ns)
        return None
    from gateway.alerts.round import AlertRound

    alerts = AlertRound(settings, settings.alerts, store, clock, parts)
    table |= alerts.table()
    return alerts


def _changed(
    table: dict[str, Any],
    verbs_of: Callable[[Settings], Verbs],
    others: tuple[Timekeeper | RetentionRound | ReconciliationRound | ClosingRound | TrailRound, ...],
    new: Settings,
) -> None:
    table.update(verbs_of(new).table())
    for one in others:
        one.configure(new)


def _exempt_from_collection() -> None:
    """Look at what lives for ever once more, then never again: each full collection would stop everything for it.

    Not at what was loaded before ``main`` (``cli/run.py``): hardly any of that is garbage however much is configured,
    and to find it would stop everything for far longer.
    """
    gc.collect()
    gc.freeze()
