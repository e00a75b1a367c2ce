"""Takes a changed configuration into the running gateway: all of it or nothing, the last good one is kept.

Sources that change are restarted alone; rules of a work unit change between two inputs, while it stands still. What is
fixed for the life of the process is refused by name. Starts no process and commits nothing itself.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from buffer.errors import StoreError
from config.errors import ConfigError, ConfigErrors
from config.loader import load
from gateway import changes, logs, own_thread, plugins
from gateway.control import RequestError
from gateway.core.carry_over import Carried, carried_over
from gateway.core.document import utc
from gateway.core.orders.counting_source import may_change
from gateway.core.snapshot import SnapshotError
from gateway.monitoring import BuildError
from gateway.plugins import PluginError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from config.settings import Settings
    from gateway.build import Builder
    from gateway.changes import Changes
    from gateway.core.unit_state import State
    from gateway.core.work_unit import WorkUnit
    from gateway.parts import Parts
    from gateway.tasks import Tasks
    from gateway.work_unit.hold import Hold
    from gateway.work_unit.runner import Runner

#: Until every work unit concerned stands still; a disk that fails keeps them from it, and nothing changes.
HOLD_TIMEOUT_S: Final = 10.0
DRAIN_RUNNER_S: Final = 3.0
CLOSE_TIMEOUT_S: Final = 2.0
#: What the status names while the last reload was refused.
TROUBLE: Final = "configuration"

log = structlog.get_logger(__name__)


class ReloadError(Exception):
    """The configuration was not taken; nothing has changed. Says everything that is wrong with it."""


class StoppingError(ReloadError):
    """The gateway stops: the reload did not begin, or was cut off in the middle."""


class _Plan(NamedTuple):
    """Everything that is made before anything is touched."""

    settings: Settings
    changes: Changes
    units: Mapping[str, WorkUnit]  # changed and added
    exchanged: tuple[str, ...]  # work units with other rules, or whose sources may be silent for another time
    added: Mapping[str, State]
    opened: Mapping[str, Mapping[str, str]]  # sources that are opened anew or for the first time, with their secrets
    stopped: tuple[str, ...]  # sources that are opened anew or are removed


class Reloader:
    """Reloads one running gateway; one reload at a time."""

    def __init__(
        self,
        settings: Settings,
        builder: Builder,
        parts: Parts,
        tasks: Tasks,
        *,
        warnings: list[str],
        utc_ns: Callable[[], int],
    ) -> None:
        #: What is in force.
        self.settings = settings
        self._builder = builder
        self._parts = parts
        self._tasks = tasks
        self._warnings = warnings
        self._utc_ns = utc_ns
        self._one = asyncio.Lock()
        self._asked: set[asyncio.Task[str]] = set()
        self._next: asyncio.Task[str] | None = None  # it has not begun: whoever asks now is answered by it
        self._closed = False
        self._leaving: dict[str, Runner] = {}  # work units that are no longer configured and still end
        #: Hears the settings that are in force from now on.
        self.on_change: Callable[[Settings], None] = lambda _settings: None
        #: Writes down what is different; what cannot be written down now is with the next start.
        self.on_taken: Callable[[Settings], Awaitable[None]] = _nothing

    async def close(self) -> None:
        """The gateway stops: no reload begins any more; one that goes on is waited for, so long, then cut off."""
        self._closed = True
        if self._asked:
            _, late = await asyncio.wait(self._asked, timeout=CLOSE_TIMEOUT_S)
            for one in late:  # it would start parts that nobody stops any more
                one.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def on_request(self, _request: Mapping[str, Any]) -> str:
        """The verb of the control socket. Raises RequestError."""
        try:
            return await self.reload()
        except StoppingError as error:
            todo = "look at linegate status once it runs again: it starts with the file as it is then"
            raise RequestError(str(error), guard="BUSY", what_to_do=todo) from error
        except ReloadError as error:
            todo = "put the file right; until then the gateway goes on with the settings it has"
            raise RequestError(str(error), guard="CONFIGURATION", what_to_do=todo) from error

    async def reload(self) -> str:
        """Read the file anew and take what has changed; says what that was. Raises ReloadError, StoppingError."""
        whole = self._next
        if whole is None:
            whole = self._next = asyncio.create_task(self._whole(), name="reload")
            self._asked.add(whole)
            whole.add_done_callback(self._ended)
        try:
            # Whoever asked may go away: half a reload is none.
            return await asyncio.shield(whole)
        except asyncio.CancelledError:
            asker = asyncio.current_task()
            if not whole.cancelled() or (asker is not None and asker.cancelling()):
                raise
        raise StoppingError("the gateway is stopping: the reload was cut off, it may be done in part")

    def _ended(self, whole: asyncio.Task[str]) -> None:
        self._asked.discard(whole)
        if self._next is whole:
            self._next = None
        if not whole.cancelled():
            whole.exception()  # nobody may be left to be told: log and status say it

    async def _whole(self) -> str:
        async with self._one:
            self._next = None
            if self._closed:
                raise StoppingError("the gateway is stopping")
            try:
                done = await self._reload()
            except ReloadError as error:
                log.error("configuration not reloaded", reason=str(error))  # noqa: TRY400 - the reason is the message
                when = utc(self._utc_ns())
                self._parts.trouble(TROUBLE, f"not reloaded at {when}, the one before is in force: {error}")
                raise
            self._parts.trouble(TROUBLE, "")
            log.info("configuration reloaded", changes=done, digest=self.settings.digest)
            return done

    async def _reload(self) -> str:
        try:
            known: dict[str, Any] = {
                "drivers": plugins.drivers(),
                "connectors": plugins.connectors(),
                "env": dict(os.environ),
            }
            new = await own_thread.run(partial(load, self.settings.file, **known), "reload")
            plan = await self._planned(new)
        except (OSError, ConfigError, ConfigErrors, PluginError, BuildError, SnapshotError, StoreError) as error:
            raise ReloadError(str(error)) from error
        found = plan.changes
        if found.any:
            await self._change(plan)
        if found.log_changed:
            logs.configure(level=new.log.level, output=new.log.format, repeat_interval_ns=new.log.repeat_interval)
        self._warnings[:] = [*new.warnings, *(one for one in self._warnings if one not in self.settings.warnings)]
        self.settings = new
        self.on_change(new)
        self._parts.announce()
        try:
            await self.on_taken(new)
        except StoreError as error:
            self._warnings.append(f"the changed configuration is not in the audit trail before the next start: {error}")
        return found.text()

    # --- before anything is touched --------------------------------------------------------------------------------

    async def _planned(self, new: Settings) -> _Plan:
        found = changes.between(self.settings, new)
        refused = [*found.refused, *self._with_open_orders(found), *self._counted_otherwise(new, found)]
        if refused:
            raise ReloadError("\n".join(refused))
        units = {name: self._builder.unit(name, new) for name in (*found.units_changed, *found.units_added)}
        other_silence = self._of_changed_sources(new, found)
        exchanged = (*found.units_changed, *other_silence)
        units |= other_silence
        for name in exchanged:
            self._carried(name, units[name])  # raises where it cannot be done
        added = {name: await self._builder.stored_state(units[name]) for name in found.units_added}
        restarted = tuple(dict.fromkeys((*found.sources_changed, *self._read_otherwise(new, found, units))))
        secrets = {name: self._builder.secrets_of(name, new) for name in (*restarted, *found.sources_added)}
        return _Plan(new, found, units, exchanged, added, secrets, (*restarted, *found.sources_removed))

    def _of_changed_sources(self, new: Settings, found: Changes) -> dict[str, WorkUnit]:
        """Work units under the same rules whose sources are lost after another time, or look more often or less."""
        if not found.sources_changed:
            return {}
        same = [name for name in new.work_units if name not in (*found.units_changed, *found.units_added)]
        units = {name: self._builder.unit(name, new) for name in same}
        running = {name: self._parts.runners[name].unit for name in same}
        return {name: one for name, one in units.items() if _looks(one) != _looks(running[name])}

    def _with_open_orders(self, found: Changes) -> list[str]:
        """Removing a work unit with open orders would leave them without a machine and without a final confirmation."""
        refused = []
        for name in found.units_removed:
            orders = [run.job.order for run in self._parts.runners[name].state.open_runs()]
            if orders:
                place = self.settings.place(f"work_units.{name}")
                refused.append(
                    f"{place}: work_units.{name}: removed, but it has open orders ({', '.join(orders[:5])}); finish "
                    "them first, or restart the gateway"
                )
        return refused

    def _counted_otherwise(self, new: Settings, found: Changes) -> list[str]:
        """Who counts is settled with the first piece: what the machine counted must not be reported once more."""
        refused = []
        for name in found.units_changed:
            was, now = (one.work_units[name].orders.counting_source for one in (self.settings, new))
            begun = [
                run.job.order for run in self._parts.runners[name].state.open_runs() if not may_change(sum(run.made))
            ]
            if was != now and begun:
                path = f"work_units.{name}.orders.counting_source"
                refused.append(
                    f"{new.place(path)}: {path}: found {now}, allowed {was} as long as orders with pieces are open "
                    f"({', '.join(begun[:5])}); finish them first"
                )
        return refused

    def _read_otherwise(self, new: Settings, found: Changes, units: Mapping[str, WorkUnit]) -> list[str]:
        """Sources that stay and must say a signal to a work unit that did not read it until now."""
        before = {name: runner.unit.signals for name, runner in self._parts.runners.items()}
        fresh = {signal for name, unit in units.items() for signal in unit.signals - before.get(name, frozenset())}
        kept = [name for name in new.sources if name not in found.sources_added]
        return [name for name in kept if any(signal.startswith(f"{name}.") for signal in fresh)]

    def _carried(self, name: str, unit: WorkUnit) -> Carried:
        runner = self._parts.runners[name]
        return carried_over(runner.unit, runner.state, unit)

    # --- the change ------------------------------------------------------------------------------------------------

    async def _change(self, plan: _Plan) -> None:
        """Stop what changes, exchange the rules at one instant, start again. Before that instant all can be undone."""
        found = plan.changes
        feeds = list(self._parts.feeds) if found.units_added or found.units_removed else []
        holds: dict[str, Hold] = {}
        await self._tasks.stop([f"orders {name}" for name in feeds])
        await self._tasks.stop([f"source {name}" for name in plan.stopped])
        try:
            async with asyncio.timeout(HOLD_TIMEOUT_S):
                for name in plan.stopped:
                    await self._builder.tell_lost(name)
                for name in (*plan.exchanged, *found.units_removed):
                    holds[name] = await self._parts.runners[name].hold()
                for hold in holds.values():
                    await hold.reached.wait()
            self._exchange(plan, holds)
        except (TimeoutError, SnapshotError, ReloadError) as error:
            for name in plan.stopped:
                self._open_source(name)
            self._start_feeds(feeds)
            text = str(error) or f"a work unit did not stand still within {HOLD_TIMEOUT_S:g} s; see its trouble"
            raise ReloadError(text) from error
        finally:
            for hold in holds.values():
                hold.release()
        await self._go_on(plan, feeds)

    def _exchange(self, plan: _Plan, holds: Mapping[str, Hold]) -> None:
        """The instant: nothing waits in here. Raises SnapshotError, ReloadError before the first change."""
        found = plan.changes
        carried = {name: self._carried(name, plan.units[name]) for name in plan.exchanged}
        if refused := [*self._with_open_orders(found), *self._counted_otherwise(plan.settings, found)]:
            raise ReloadError("\n".join(refused))
        runners = self._parts.runners
        for name, (state, anew) in carried.items():
            unit = plan.units[name]
            runners[name].exchange(holds[name], unit, state, self._builder.hooks(unit), anew=anew)
        self._leaving = {name: runners.pop(name) for name in found.units_removed}
        for name, state in plan.added.items():
            runners[name] = self._builder.runner(plan.units[name], state)
        # The order of the file, in every display.
        ordered = {name: runners[name] for name in plan.settings.work_units}
        runners.clear()
        runners.update(ordered)
        self._builder.take(plan.settings)

    async def _go_on(self, plan: _Plan, feeds: list[str]) -> None:
        found = plan.changes
        for name, runner in self._leaving.items():
            runner.drain()
            await self._tasks.finish([f"work unit {name}"], DRAIN_RUNNER_S)
            self._builder.forget(name)
        for name in found.units_added:
            self._tasks.start(f"work unit {name}", self._parts.runners[name].run())
        for name in found.sources_removed:
            self._builder.forget_source(name)
        for name, secrets in plan.opened.items():
            self._open_source(name, secrets)
        ordered = {name: self._parts.sources[name] for name in plan.settings.sources}
        self._parts.sources.clear()
        self._parts.sources.update(ordered)
        if feeds:
            self._builder.feeds()
        self._start_feeds(feeds)

    def _open_source(self, name: str, secrets: Mapping[str, str] | None = None) -> None:
        self._builder.source(name, secrets)
        self._tasks.start(f"source {name}", self._parts.sources[name].run())

    def _start_feeds(self, feeds: list[str]) -> None:
        for name in feeds:
            self._tasks.start(f"orders {name}", self._parts.feeds[name].run())


async def _nothing(_settings: Settings) -> None:
    return


def _looks(unit: WorkUnit) -> tuple[object, ...]:
    return unit.loss_found_within, unit.looked_at_every
