"""Lets a week of the plan happen: machines, people and ERP on one side, the gateway on the other, nothing at random.

It writes down what people did to pieces (``Week.judged``), so that the checks need not ask the gateway for that.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

from week_gateway import Gateway, refusals
from week_machines import CYCLES_NS, KINDS, MIN, S
from week_plan import BERLIN, HOUR, LATE, PRODUCTS, RUSH, WITHDRAWN, plan_of_week, released

import config
from config.loader import load
from gateway import plugins
from gateway.core.duration import Duration
from gateway.core.entries import PiecesReclassified, ReclassifyEntry, SetupEntry, StopReasonEntry, UndoEntry
from gateway.core.model import JobOrderState, OperatorEntry, OperatorVerb, Role, TimePassed
from gateway.core.orders.lifecycle import RUNNING

EXAMPLE = Path(config.__file__).parent / "examples" / "plant.yaml"
KILLS = 0.03  # of the ticks
SETTLE_NS = 2 * HOUR
#: Machines of which nobody can know what they made while nobody looked.
UNSEEN_IS_LOST = frozenset({"IMM-01", "TST-01", "PCK-01"})
FAR_FROM_FULL = 100


def settings_of_week():
    """The example configuration, with the slower cycles and fewer confirmations; moulding runs on past its target."""
    settings = load(EXAMPLE, drivers=plugins.drivers(), connectors=plugins.connectors(), env={})
    units = {}
    for name, rules in settings.work_units.items():
        orders = replace(rules.orders, choose="command", at_target="continue") if name == "IMM-01" else rules.orders
        units[name] = replace(
            rules,
            ideal_cycle=Duration(CYCLES_NS[name]),
            confirm=replace(rules.confirm, every_pieces=None, every=Duration("2 h")),
            orders=orders,
        )
    return replace(settings, work_units=units)


class DiedError(Exception):
    """The process is gone, before its transaction was."""


async def _dies(_step):
    raise DiedError


class Week:
    """One week, from Monday to Sunday, and everything that it came to."""

    def __init__(self, folder, season, seed):
        self.plan = plan_of_week(season, seed)
        self.dice = random.Random(f"run/{season}/{seed}")
        self.now_ns = self.plan.from_ns
        self.gateway = Gateway(folder, settings_of_week(), random.Random(f"erp/{season}/{seed}"), self.now_ns)
        self.devices = {name: kind(name, seed, self.now_ns) for name, kind in KINDS.items()}
        self.wanted = {one.number: one for one in self.plan.orders}
        self.revisions = Counter()
        self.judged = []  # (order, pieces, from, to)
        self.did = Counter()
        self.day = ""
        self.refused = []
        self.waiting = list(self.plan.deeds)
        self.unreleased = list(self.plan.orders)
        self.later = []  # (at_ns, machine, what, order)
        self.rest = {}  # machine: so long it stands or has no order on purpose

    def run(self):
        """All of it."""
        asyncio.run(self._run())
        return self

    async def _run(self):
        await self.gateway.start()
        try:
            await self._look()
            for at_ns in self.plan.ticks:
                await self._tick(max(at_ns, self.now_ns))
            await self._end()
        finally:
            await self.gateway.stop()

    # --- time ---

    async def _tick(self, at_ns):
        """Everything up to here, then what people and ERP do now."""
        await self._pass(at_ns)
        await self.gateway.plan()
        if self.dice.random() < KILLS:
            await self._kill()
        for wanted in [one for one in self.unreleased if one.at_ns <= at_ns]:
            self.unreleased.remove(wanted)
            await self._release(wanted)
        for due in [one for one in self.later if one[0] <= at_ns]:
            self.later.remove(due)
            await getattr(self, f"_{due[2]}")(due[1], due[3])
        for deed in [one for one in self.waiting if one.at_ns <= at_ns]:
            if await getattr(self, f"_{deed.what}")(deed.machine, deed.number):
                self.waiting.remove(deed)
                self.did[deed.what] += 1
        for name in self.devices:
            await self._tend(name)
        await self.gateway.forward()
        day = dt.datetime.fromtimestamp(at_ns // S, BERLIN).date().isoformat()
        if day != self.day:
            self.day = day
            await self.gateway.anchor(day)

    async def _pass(self, at_ns):
        self._pass_time(at_ns - self.now_ns)
        # The gateway looks all the time: a change of orders, and the end of a process, lie between two looks. What all
        # machines show goes into one transaction.
        told = ((name, [*device.advance(at_ns), *device.look(at_ns)]) for name, device in self.devices.items())
        await asyncio.gather(*(self._show(name, changes) for name, changes in told))

    async def _show(self, name, changes):
        await self.gateway.take(name, changes)

    async def _kill(self):
        """The process dies after a commit, and is started again."""
        await self.gateway.stop()
        await self.gateway.start()
        self.did["kill"] += 1
        await self._look()

    async def _update(self, _name, number):
        """The box gets new software. What only pulses tell stands meanwhile, what counts by itself goes on.

        The process dies in the middle of a commit, is started, ends again, and is away for some minutes.
        """
        pulsed = [name for name, device in self.devices.items() if name in UNSEEN_IS_LOST and device.runs]
        for name in pulsed:
            await self._show(name, self.devices[name].stop(self.now_ns, "off"))
            self.rest[name] = self.now_ns + HOUR
        runs = [run for run in map(self._running, self.devices) if run is not None]
        if pulsed or any(run.job.quantity - run.good - run.scrap < FAR_FROM_FULL for run in runs):
            return False
        self.gateway.store.commit = _dies
        self._pass_time(5 * MIN)
        told = ((name, device.advance(self.now_ns)) for name, device in self.devices.items())
        died = await asyncio.gather(*(self._show(name, changes) for name, changes in told), return_exceptions=True)
        assert any(isinstance(one, DiedError) for one in died)
        await self._kill()
        self.did["commit lost"] += 1
        await self.gateway.stop()
        self._pass_time((1 + number % 9) * MIN)
        for device in self.devices.values():
            device.advance(self.now_ns)
        await self.gateway.start()
        await self._look()
        return True

    def _pass_time(self, length_ns):
        self.now_ns += length_ns
        self.gateway.now_ns = self.now_ns

    async def _look(self):
        await asyncio.gather(*(self._show(name, device.look(self.now_ns)) for name, device in self.devices.items()))

    async def _end(self):
        """People end what is open; then nothing happens any more, until everything is final."""
        for name, device in self.devices.items():
            await self._show(name, device.stop(self.now_ns))
        self.now_ns += 5 * MIN
        await self._pass(self.now_ns)
        for name in self.devices:
            for run in tuple(self._state(name).open_runs()):
                if run.state is JobOrderState.ON_HOLD:
                    await self._release_hold(name, run.job.order)
            for run in tuple(self._state(name).open_runs()):
                await self._judge_held(name, run.job.order)
            for run in tuple(self._state(name).open_runs()):
                if run.state is JobOrderState.DISPATCHED:
                    await self._say(name, OperatorVerb.CANCEL, run.job.order)
                else:
                    await self._say(name, OperatorVerb.FINISH, run.job.order)
        self.now_ns += SETTLE_NS
        await self._pass(self.now_ns)
        for name in self.devices:
            await self.gateway.submit(name, TimePassed(self.now_ns))
        await self.gateway.forward()

    # --- the gateway as people see it ---

    def _state(self, name):
        return self.gateway.runners[name].state

    def _running(self, name):
        return self._state(name).running

    async def _say(self, name, verb, order, reason=""):
        told = await self.gateway.submit(name, OperatorEntry(self.now_ns, verb, order, "", "ann", reason), "ann")
        why = refusals(told)
        self.refused += [(name, verb.value, order, text) for text in why]
        return not why

    async def _judge(self, name, order, pieces, before, after):
        """A person says what pieces are; what was said and accepted is written down here."""
        entry = ReclassifyEntry(self.now_ns, order, "", pieces, before, after, "SURFACE", "ann")
        told = await self.gateway.submit(name, entry, "ann")
        self.refused += [(name, "reclassify", order, text) for text in refusals(told)]
        if any(isinstance(one, PiecesReclassified) for one in told):
            self.judged.append((order, pieces, before, after))
            return True
        return False

    # --- orders ---

    async def _release(self, wanted, **over):
        if wanted.kind == LATE and not over:
            return  # its pieces come first
        first = wanted.number not in self.revisions
        if wanted.kind == RUSH and first and self._in_progress(wanted.machine) is None:
            self.unreleased.append(wanted)  # it is to interrupt another one
            return
        self.revisions[wanted.number] += 1
        await self.gateway.release(released(wanted, revision=self.revisions[wanted.number], **over))
        self.did["release"] += 1
        if wanted.kind == RUSH and first:
            if await self._say(wanted.machine, OperatorVerb.START, wanted.number):
                self.did["rush"] += 1
        elif wanted.kind == WITHDRAWN and first:
            self.later.append((self.now_ns, wanted.machine, "withdraw", wanted.number))

    async def _withdraw(self, name, order):
        """The ERP cancels an order once a good part of it is made."""
        run = self._running(name)
        if run is None or run.job.order != order or run.good < 100:
            if any(one.job.order == order for one in self._state(name).open_runs()):
                self.later.append((self.now_ns + HOUR, name, "withdraw", order))
            return
        await self._release(self.wanted[order], cancelled=True)
        self.did["withdraw"] += 1

    async def _tend(self, name):
        """Whoever looks after the machine: it runs while it has an order, and stands otherwise."""
        device, run = self.devices[name], self._running(name)
        if self.now_ns < self.rest.get(name, 0):
            return
        settings = self.gateway.settings.work_units[name]
        runs_on = settings.orders.at_target == "continue"
        if run is not None and runs_on and run.good + run.scrap >= run.job.quantity and run.state in RUNNING:
            await self._say(name, OperatorVerb.FINISH, run.job.order)
        run = self._running(name)
        if run is None:
            waits = [one for one in self._state(name).queue if one.state is not JobOrderState.ON_HOLD]
            if waits and (settings.orders.choose == "command" or waits[0].waits_for_person):
                await self._say(name, OperatorVerb.START, waits[0].job.order)
        runs = self._running(name) is not None
        if runs and not device.runs:
            await self._show(name, device.start(self.now_ns))
        elif not runs and device.runs:
            await self._show(name, device.stop(self.now_ns))

    # --- deeds: each returns whether it could be done ---

    def _in_progress(self, name):
        run = self._running(name)
        return run if run is not None and run.state is JobOrderState.IN_PROGRESS else None

    async def _scrap(self, name, number):
        run = self._in_progress(name)
        pieces = (1 + number % 5) * _unit(name)
        if run is None or run.open_good < pieces:
            return False
        return await self._judge(name, run.job.order, pieces, Role.GOOD, Role.SCRAP)

    async def _rework(self, name, number):
        run = self._in_progress(name)
        pieces = (1 + number % 8) * _unit(name)
        if run is None or run.open_good < pieces:
            return False
        return await self._judge(name, run.job.order, pieces, Role.GOOD, Role.REWORK)

    async def _slip(self, name, number):
        """Somebody scraps the wrong pieces, or interrupts the wrong order, and takes it back: nothing has happened."""
        run = self._in_progress(name)
        if run is None or run.open_good < _unit(name):
            return False
        if number % 2:
            pieces = ReclassifyEntry(
                self.now_ns, run.job.order, "", _unit(name), Role.GOOD, Role.SCRAP, "SURFACE", "ann"
            )
            told = await self.gateway.submit(name, pieces, "ann")
        else:
            told = await self.gateway.submit(
                name, OperatorEntry(self.now_ns, OperatorVerb.INTERRUPT, run.job.order, "", "ann", "SLIP"), "ann"
            )
        assert not refusals(told), told
        told = await self.gateway.submit(name, UndoEntry(self.now_ns, "ann"), "ann")
        self.refused += [(name, "undo", run.job.order, text) for text in refusals(told)]
        return not refusals(told)

    async def _hold(self, name, number):
        run = self._in_progress(name)
        if run is None or not await self._say(name, OperatorVerb.HOLD, run.job.order, "COLOUR"):
            return False
        self.later.append((self.now_ns + (1 + number % 3) * HOUR, name, "release_hold", run.job.order))
        return True

    async def _release_hold(self, name, order):
        if await self._say(name, OperatorVerb.RELEASE, order, "COLOUR"):
            await self._judge_held(name, order)

    async def _judge_held(self, name, order):
        """Of what was made on hold one in seven is scrap, the rest is good."""
        run = next((one for one in self._state(name).open_runs() if one.job.order == order), None)
        if run is None or not run.open_hold:
            return
        bad = run.open_hold // 7 // _unit(name) * _unit(name)
        if bad:
            await self._judge(name, order, bad, Role.HOLD, Role.SCRAP)
        await self._judge(name, order, run.open_hold - bad, Role.HOLD, Role.GOOD)

    async def _interrupt(self, name, number):
        """A person interrupts; the machine stands for a while or the next order runs."""
        run = self._in_progress(name)
        return run is not None and await self._say(name, OperatorVerb.INTERRUPT, run.job.order, "MAT")

    async def _strays(self, name, number):
        """The order is interrupted, the machine goes on: pieces of nobody. The order that they are for comes later."""
        run = self._in_progress(name)
        if run is None or any(one[2] == "after_strays" for one in self.later if one[1] == name):
            return False
        late = next((one for one in self.plan.orders if one.machine == name and one.kind == LATE), None)
        if not await self._say(name, OperatorVerb.INTERRUPT, run.job.order, "LATE"):
            return False
        self.rest[name] = self.now_ns + 40 * MIN
        self.later.append((self.rest[name], name, "after_strays", late.number))
        return True

    async def _after_strays(self, name, order):
        self.revisions[order] += 1
        await self.gateway.release(released(self.wanted[order], revision=1))
        self.did["late"] += 1

    async def _change(self, name, factor):
        run = self._in_progress(name)
        if run is None or run.job.order not in self.wanted:
            return False
        _, _, cycle, _ = PRODUCTS[name]
        wanted = self.wanted[run.job.order]
        if wanted.kind == WITHDRAWN:
            return False
        quantity = max(int(wanted.quantity * factor) // cycle * cycle, cycle)
        self.wanted[wanted.number] = wanted = wanted._replace(quantity=quantity)
        await self._release(wanted, quantity=quantity)
        return True

    async def _more(self, name, number):
        return await self._change(name, 1.1)

    async def _less(self, name, number):
        return await self._change(name, 0.9)

    async def _setup(self, name, number):
        if self._in_progress(name) is None or self._state(name).track.setup.since_ns is not None:
            return False
        await self._show(name, self.devices[name].stop(self.now_ns, "setup"))
        self.rest[name] = self.now_ns + 30 * MIN
        told = await self.gateway.submit(name, SetupEntry(self.now_ns, True, "sam"), "sam")
        self.later.append((self.now_ns + 20 * MIN, name, "end_setup", ""))
        return not refusals(told)

    async def _end_setup(self, name, _order):
        if self._state(name).track.setup.since_ns is not None:
            await self.gateway.submit(name, SetupEntry(self.now_ns, False, "sam"), "sam")

    async def _fault(self, name, number):
        if not self.devices[name].runs:
            return False
        alarm = {"ASM-01": 101, "FIL-02": 2101, "PCK-01": 1}.get(name, 0)
        await self._show(name, self.devices[name].stop(self.now_ns, "fault", alarm))
        self.rest[name] = self.now_ns + (10 + number % 30) * MIN
        return True

    async def _reason(self, name, number):
        if self.devices[name].runs or self._running(name) is None:
            return False
        entry = StopReasonEntry(self.now_ns, None, None, "EXT.NO_STAFF", "ann")
        return not refusals(await self.gateway.submit(name, entry, "ann"))


def _unit(name):
    """Whole cartons are judged; else an order would end within one."""
    return PRODUCTS[name][2] if name == "PCK-01" else 1
