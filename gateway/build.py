"""Makes every part of one run from the settings and ties them together. Starts nothing and does no I/O but reads."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from buffer import refusals
from drivers.base import DriverContext, Reading
from drivers.supervisor import SourceSupervisor
from gateway import logs, plugins
from gateway.audit.auditing import Auditing
from gateway.core import snapshot
from gateway.core.duration import Duration
from gateway.core.model import Confirmation, DataValue, Status
from gateway.core.orders.order_changes import OrderAck
from gateway.erp.answering import answers_with, hearers, hears_answers, listened, orders_without_target
from gateway.erp.connecting import connector_of
from gateway.forwarder import FailureBudget, Forwarder, ForwarderSettings
from gateway.monitoring import BuildError, monitor_of
from gateway.order_feed import OrderFeed
from gateway.parts import Parts
from gateway.relays.presence_relay import PresenceRelay
from gateway.relays.progress_relay import ProgressRelay
from gateway.relays.share_relay import ShareRelay
from gateway.relays.stop_requests import StopRequests
from gateway.sources.looks import stale_after_ns
from gateway.sources.router import Router
from gateway.sources.taps import Taps
from gateway.starting.resuming import resumed
from gateway.starting.work_unit_of import work_unit_of
from gateway.work_unit.narrate import narrate
from gateway.work_unit.posting import capability_of
from gateway.work_unit.runner import Runner, RunnerHooks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from random import Random

    from buffer.outbox import Outbox
    from buffer.store import Store
    from config.settings import Settings
    from gateway.core.model import JobOrder, Output
    from gateway.core.orders.erp_notice import ErpNotice
    from gateway.core.unit_state import State
    from gateway.core.work_unit import WorkUnit
    from gateway.notify import Part, Progress
    from gateway.timing.clock import SteadyClock

IDLE_WAKE_NS: Final = Duration("1 s")
#: Longer without a step of a work unit is no slow disk any more: the service manager restarts the gateway.
RUNNER_STALL_NS: Final = Duration("30 s")

log = structlog.get_logger(__name__)


class Builder:
    """Makes the parts of one run."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        outbox: Outbox,
        *,
        clock: SteadyClock,
        progress: Progress,
        rng: Random,
        warnings: list[str],
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._now_ns = clock.now_ns
        self._progress = progress
        self._rng = rng
        self._warnings = warnings
        self._parts = Parts(outbox, Taps(clock.now_ns), clock.utc_ns)
        self.auditing = Auditing(settings, store, clock)
        self._relay = ProgressRelay(self._parts, store, clock.now_ns)
        self._stops = StopRequests(self._parts, store, self.auditing, clock.now_ns)
        self.shares = ShareRelay(self._parts, clock.now_ns, self._read_now)
        self._presence = PresenceRelay(self._parts, clock.now_ns)
        self._routers: dict[str, Router] = {}
        self._watched: dict[str, Part] = {}

    async def build(self) -> Parts:
        """Everything, ready to run. Raises BuildError, StoreError, ConfigError."""
        self._parts.monitor = await monitor_of(self._settings, self._clock, self._warnings)
        self._connectors()
        await self._runners()
        self._targets()
        self.feeds()
        for name in self._settings.sources:
            self.source(name)
        self._warnings += orders_without_target(self._settings, self._parts)
        self._presence.told()
        return self._parts

    # --- work units ------------------------------------------------------------------------------------------------

    async def _runners(self) -> None:
        snapshots = await self._store.snapshots()
        for name in self._settings.work_units:
            unit = self.unit(name, self._settings)
            state = await self.state_of(unit, snapshots.get(name))
            self._parts.runners[name] = self.runner(unit, state)
            if signal := unit.rules.confirm.delivery.stop_signal:
                await self._stops.resume(name, signal, state)
        gone = sorted(set(snapshots) - set(self._settings.work_units))
        if gone:
            self._warnings.append(f"kept the counts of work units that are no longer configured: {', '.join(gone)}")
        if self._parts.monitor is not None:
            for name in gone:
                self._parts.monitor.work_unit_removed(name)

    def unit(self, name: str, settings: Settings) -> WorkUnit:
        """The rules of one work unit, prepared."""
        return work_unit_of(settings, name, self._store.epoch)

    def hooks(self, unit: WorkUnit) -> RunnerHooks:
        """What happens around the commits of a work unit under these rules."""
        name, also_to = unit.identity.machine, unit.rules.confirm.also_to
        if name not in self._watched:
            self._watched[name] = self._progress.part(f"work unit {name}", RUNNER_STALL_NS)
        return RunnerHooks(
            targets=partial(self._targets_of, also_to),
            committed=partial(self._committed, name),
            alive=self._watched[name].beat,
            trouble=partial(self._parts.trouble, name),
            heard=partial(self._parts.taps.heard, "machine", name),
            answers_with=partial(answers_with, self._parts),
            hears=partial(self._hear, also_to),
            listened=partial(listened, self._parts),
            noticed=self._wake,
            common=self.auditing.common,
            read=self._read_now,
            members=partial(self.shares.read_out, name),
            corrects=lambda job: capability_of(
                [self._parts.connectors.get(target) for target in self._targets_of(also_to, job)]
            ),
        )

    def runner(self, unit: WorkUnit, state: State) -> Runner:
        """A work unit that can run."""
        return Runner(
            unit,
            state,
            self._store,
            now_ns=self._now_ns,
            checkpoint_ns=self._settings.buffer.checkpoint,
            idle_wake_ns=IDLE_WAKE_NS,
            hooks=self.hooks(unit),
        )

    def forget(self, name: str) -> None:
        """A work unit has ended in order, and is not configured any more."""
        self._watched.pop(name).done()
        self._parts.trouble(name, "")
        self._stops.forget(name)
        if self._parts.monitor is not None:
            self._parts.monitor.work_unit_removed(name)

    def forget_source(self, name: str) -> None:
        """A source was stopped, and is not configured any more."""
        del self._parts.sources[name]
        if self._parts.monitor is not None:
            self._parts.monitor.source_removed(name)

    async def stored_state(self, unit: WorkUnit) -> State:
        """Where a work unit begins that was not configured until now. Raises BuildError, StoreError."""
        return await self.state_of(unit, (await self._store.snapshots()).get(unit.identity.machine))

    async def state_of(self, unit: WorkUnit, stored: bytes | None) -> State:
        """Where a work unit goes on; None: it has never run. Raises BuildError, StoreError."""
        if stored is None:
            return unit.initial(self._now_ns()).at_clock(self._clock.offset_ns, self._clock.quality.known)
        try:
            state = snapshot.load(unit, stored).at_clock(self._clock.offset_ns, self._clock.quality.known)
        except snapshot.SnapshotError as error:
            raise BuildError(f"{error}; start the linegate that wrote it, or move the database away") from error
        return await resumed(self._store, unit, state, self._warnings)

    def _targets_of(self, also_to: Sequence[str], job: JobOrder) -> tuple[str, ...]:
        """Back to where the order came from, and the copies that the rule names.

        Where its connector is gone, or takes no confirmations and the rule names none: to the only target there is.
        Among several nobody can choose: then they wait under the connector's name, in sight, until a person decides.
        """
        forwarders = self._parts.forwarders
        if job.source in forwarders:
            main: tuple[str, ...] = (job.source,)
        elif also_to and job.source in self._settings.connectors:
            main = ()
        elif len(forwarders) == 1:
            main = tuple(forwarders)
        else:
            main = (job.source,)
            log.warning("confirmation without a target", source=job.source, order=job.order, targets=sorted(forwarders))
        return tuple(dict.fromkeys((*main, *also_to)))

    def _hear(self, also_to: Sequence[str], notice: ErpNotice) -> tuple[str, ...]:
        """Who hears of an order is who gets its confirmations; what is about none, whoever wants to."""
        if not (wants := hearers(self._parts, notice.type)) or notice.job is None:
            return wants
        return tuple(name for name in self._targets_of(also_to, notice.job) if name in wants)

    def _wake(self, targets: Iterable[str]) -> None:
        for name in targets:
            if name in self._parts.forwarders:
                self._parts.forwarders[name].wake()

    def _committed(self, name: str, outputs: tuple[Output, ...], _state: State) -> None:
        narrate(name, outputs, self._clock.utc_ns)
        # One that was removed still commits what waited for it, and is shown no longer.
        if name in self._parts.runners:
            self._parts.publish(name, outputs)
        self._relay.committed(name, outputs)
        self._stops.committed(name, outputs)
        self.shares.committed(name)
        self._presence.committed(name, outputs)
        if any(isinstance(output, (Confirmation, OrderAck)) for output in outputs):
            for forwarder in self._parts.forwarders.values():
                forwarder.wake()

    # --- north -----------------------------------------------------------------------------------------------------

    def _connectors(self) -> None:
        types = plugins.connectors()
        for name in self._settings.connectors:
            self._parts.connectors[name] = connector_of(
                self._settings,
                name,
                types,
                self._clock.utc_now_ns,
                partial(self._parts.acknowledged, name),
                partial(self._parts.orders_came, name),
            )

    def _targets(self) -> None:
        budget = FailureBudget()
        for name, connector in self._parts.connectors.items():
            settings = self._settings.connectors[name]
            if settings.confirmations:
                self._parts.forwarders[name] = Forwarder(
                    name=name,
                    connector=connector,
                    outbox=self._parts.outbox,
                    now_ns=self._now_ns,
                    settings=ForwarderSettings.of(settings),
                    rng=self._rng,
                    on_status=self._target_changed,
                    budget=budget,
                )

    def feeds(self) -> None:
        """Make every order feed, for the work units that are configured now."""
        units = self._settings.work_units.items()
        by_work_center = {rules.work_center: name for name, rules in units if rules.orders.shares_with is None}
        for name, connector in self._parts.connectors.items():
            settings = self._settings.connectors[name]
            if settings.orders:
                self._parts.feeds[name] = OrderFeed(
                    name=name,
                    connector=connector,
                    store=self._store,
                    work_units=by_work_center,
                    submit=lambda unit, given: self._parts.runners[unit].submit(given),
                    now_ns=self._now_ns,
                    poll_ns=settings.poll_orders,
                    backoff_max_ns=settings.backoff_max,
                    rng=self._rng,
                    answer=partial(self._refusal, name),
                    answers_elsewhere=settings.orders_elsewhere == "refuse",
                )

    async def _refusal(self, name: str, order: str, revision: int, reasons: tuple[str, ...]) -> None:
        """An order that reached no work unit is answered, where its connector takes answers. Raises StoreError."""
        runner = next(iter(self._parts.runners.values()), None)
        if runner is None or not hears_answers(self._parts, name):
            return
        told = refusals.Refused(order, revision, reasons)
        now_ns = self._now_ns()
        if await refusals.put(
            self._store, runner.unit.identity, name, told, now_ns=now_ns, utc_ns=now_ns + self._clock.offset_ns
        ):
            self._parts.forwarders[name].wake()

    def _target_changed(self, status: Any) -> None:
        self._parts.target_changed(status.name)

    # --- south -----------------------------------------------------------------------------------------------------

    def source(self, name: str, secrets: Mapping[str, str] | None = None) -> None:
        """Make one source for the work units that there are now. Raises ConfigError where it must resolve secrets."""
        settings = self._settings.sources[name]
        driver_type = plugins.drivers()[settings.driver]
        router = self._routers[name] = self._router(name)
        own = settings.driver_settings
        signals: Mapping[str, Any] = own.signals
        secrets = self.secrets_of(name, self._settings) if secrets is None else secrets
        context = DriverContext(
            source=name,
            now_ns=self._now_ns,
            rule_signals=frozenset(signal.partition(".")[2] for signal in router.rule_signals),
            telemetry_signals=frozenset(key for key, signal in signals.items() if getattr(signal, "telemetry", False)),
            state_dir=self._settings.gateway.state_dir,
            base_dir=self._settings.base_dir,
            secrets=secrets,
            utc_offset_ns=lambda: self._clock.offset_ns,
        )
        self._parts.sources[name] = SourceSupervisor(
            name=name,
            make_driver=partial(driver_type.build, own, context),
            rule_signals=router.rule_signals,
            now_ns=self._now_ns,
            deliver=partial(self._deliver, name),
            stale_after_ns=stale_after_ns(settings),
            backoff_max_ns=settings.backoff_max,
            rng=self._rng,
            on_status=self._source_changed,
            simulated=driver_type.simulated(own),
            values_stale_after_ns=settings.values_stale_after,
            remembered=frozenset(
                f"{name}.{key}" for key, signal in signals.items() if getattr(signal, "writable", None) is not None
            ),
        )

    def secrets_of(self, name: str, settings: Settings) -> Mapping[str, str]:
        """What a source needs to log in, kept out of the log. Raises ConfigError."""
        secrets = settings.secrets.resolve_all(settings.sources[name].driver_settings, f"sources.{name}")
        for text in secrets.values():
            logs.register_secret(text)
        return secrets

    def _router(self, name: str) -> Router:
        telemetry = self._parts.monitor.telemetry if self._parts.monitor is not None else None
        return Router(name, tuple(self._parts.runners.values()), telemetry)

    async def _deliver(self, name: str, reading: Reading) -> None:
        self._parts.taps.heard("source", name, reading.values)
        await self._routers[name].deliver(reading)

    async def _read_now(self, signals: frozenset[str], timeout_s: float) -> None:
        """Have signals (full names) read out of turn, all of their sources at once."""
        wanted: dict[str, set[str]] = {}
        for name in signals:
            source, _, own = name.partition(".")
            wanted.setdefault(source, set()).add(own)
        there = [(self._parts.sources[name], own) for name, own in wanted.items() if name in self._parts.sources]
        await asyncio.gather(*(source.read_now(frozenset(own), timeout_s) for source, own in there))

    async def tell_lost(self, name: str) -> None:
        """Say BAD for every signal of a source that was stopped: nobody knows what it says meanwhile."""
        now_ns, signals = self._now_ns(), self._routers[name].rule_signals
        await self._deliver(
            name, Reading(values=tuple(DataValue(one, None, Status.BAD, None, now_ns) for one in signals))
        )

    def take(self, settings: Settings) -> None:
        """Other settings from here on; every source's readings go to the work units that there are now."""
        self._settings = settings
        self.auditing.configure(settings)
        self._routers = {name: self._router(name) for name in self._routers if name in settings.sources}
        self._presence.told()

    def _source_changed(self, status: Any) -> None:
        if self._parts.monitor is not None:
            self._parts.monitor.source_changed(self._parts.source_view(status.name))
