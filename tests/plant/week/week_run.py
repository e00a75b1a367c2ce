"""Lets a week of the plan happen: machines, people and ERP on one side, the gateway on the other, nothing at random.

What people do at the machines besides looking after them stands in ``week_deeds.py``.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections import Counter
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from week_deeds import SURVIVES_A_LOSS, Deeds, far_from_full
from week_gateway import Gateway, digest_of
from week_machines import CYCLES_NS, KINDS, MIN, Change, S
from week_plan import (
    BERLIN,
    FEEDERS,
    HOUR,
    LATE,
    LEADS,
    PEOPLE_COUNT,
    PRODUCTS,
    RUSH,
    WITHDRAWN,
    plan_of_week,
    released,
)

import config
from config.loader import load
from gateway import plugins
from gateway.core.duration import Duration
from gateway.core.entries import (
    UnmergeEntry,
)
from gateway.core.model import JobOrderState, OperatorVerb, TimePassed
from gateway.core.orders.lifecycle import RUNNING
from gateway.core.rules import ConfirmRule, OrderRule
from gateway.core.rules_material import FeederRule, WorkRule
from gateway.core.rules_state import StateRule

EXAMPLE = Path(config.__file__).parent / "examples" / "plant.yaml"
BARRIER_PIN = 5
KILLS = 0.03  # of the ticks
SETTLE_NS = 2 * HOUR
#: Machines of which nobody can know what they made while nobody looked.
UNSEEN_IS_LOST = frozenset({"IMM-01", "TST-01", "PCK-01"})
EARLY_TICKS = 144  # a day


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
            work=_work_rule(name, rules.work),
        )
    units["HND-01"] = _by_hand(units["PCK-01"])
    units["PRS-01"] = _press(units["ASM-01"], "prs1", work=_work_rule("PRS-01", settings.work_units["ASM-01"].work))
    member = OrderRule(shares_with="PRS-01")
    units["PRS-02"] = _press(units["ASM-01"], "prs2", orders=member, confirm=ConfirmRule(), work=WorkRule())
    box = settings.sources["box"]
    inputs = box.driver_settings.signals
    seen = replace(box.driver_settings, signals=inputs | {"barrier": replace(inputs["carton"], pin=BARRIER_PIN)})
    sources = settings.sources | {"box": replace(box, driver_settings=seen)}
    sources |= {"prs1": settings.sources["asm"], "prs2": settings.sources["asm"]}
    return replace(settings, work_units=units, sources=sources)


def _press(assembly, plc, **more):
    """One of two machines with the rules of another one, at a controller of its own."""

    def own(text):
        return text.replace("asm.", f"{plc}.")

    counters = tuple(
        replace(one, signal=own(one.signal), restart_evidence=tuple(map(own, one.restart_evidence)))
        for one in assembly.counters
    )
    reasons = replace(assembly.state.reasons, alarm_signals=tuple(map(own, assembly.state.reasons.alarm_signals)))
    state = replace(assembly.state, signal=own(assembly.state.signal), reasons=reasons)
    cycle = Duration(CYCLES_NS["PRS-01"])
    return replace(assembly, work_center="WC-PRS", ideal_cycle=cycle, counters=counters, state=state, **more)


def _by_hand(packing):
    """A workplace whose light barrier is looked at as the cartons are, and at which people count."""
    return replace(
        packing,
        work_center=PRODUCTS["HND-01"][0],
        ideal_cycle=Duration(CYCLES_NS["HND-01"]),
        counters=(replace(packing.counters[0], signal="box.barrier", pieces=1),),
        state=StateRule(),
        orders=replace(packing.orders, counting_source="operator"),
    )


def _work_rule(name, rule):
    if name not in FEEDERS:
        return rule
    feeder, item = FEEDERS[name]
    return replace(rule, lots=replace(rule.lots, feeders={feeder: FeederRule(item=item)}))


class DiedError(Exception):
    """The process is gone, before its transaction was."""


async def _dies(_step):
    raise DiedError


class Week(Deeds):
    """One week, from Monday to Sunday, and everything that it came to."""

    def __init__(self, folder, season, seed):
        self.plan = plan_of_week(season, seed)
        self.dice = random.Random(f"run/{season}/{seed}")
        self.now_ns = self.plan.from_ns
        self.gateway = Gateway(folder, settings_of_week(), random.Random(f"erp/{season}/{seed}"), self.now_ns)
        self.devices = {name: kind(name, seed, self.now_ns) for name, kind in KINDS.items()}
        self.together_at = (*LEADS.values(), *LEADS)  # machines of which what one makes changes the other one
        self.wanted = {one.number: one for one in self.plan.orders}
        self.revisions = Counter()
        self.judged = []  # (order, pieces, from, to)
        self.parts = {}  # child: the ERP's order that it is a part of
        self.together = {}  # leader: the orders that it makes
        self.allocated = []  # (machine, order, pieces, role)
        self.mounted = {}  # machine: [(at_ns, lot)]
        self.present = {name: [] for name in self.devices}  # machine: [(from_ns, to_ns, person, logged out)]
        self.blind = {name: [(self.now_ns, self.now_ns)] for name in self.devices}  # machine: [(from_ns, to_ns)]
        self.cut = {}  # machine: (from_ns, to_ns) of a loss that comes before the next look
        self.said = []  # (machine, verb, order, at_ns), all of them accepted
        self.quantities = {}  # order: [(at_ns, quantity)] as the ERP said it
        self.early_digest = ""
        self.did = Counter()
        self.day = ""
        self.refused = []
        self.waiting = list(self.plan.deeds)
        self.unreleased = list(self.plan.orders)
        self.later = []  # (at_ns, machine, what, order)
        self.rest = {}  # machine: so long it stands or has no order on purpose

    def run(self, *, only_early=False):
        """All of it, or the first day."""
        asyncio.run(self._run(only_early))
        return self

    async def _run(self, only_early):
        await self.gateway.start()
        try:
            await self._look()
            for name in FEEDERS:
                await self._lot(name)
            for number, at_ns in enumerate(self.plan.ticks):
                await self._tick(max(at_ns, self.now_ns))
                if number == EARLY_TICKS:
                    self.early_digest = digest_of(self.gateway.path)
                    if only_early:
                        return
            await self._end()
        finally:
            await self.gateway.stop()

    # --- time ---

    async def _tick(self, at_ns):
        """Everything up to here, then what people and ERP do now."""
        await self._pass(at_ns)
        for name in sorted(PEOPLE_COUNT):
            await self._report(name)
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
        seen = {name: self._seen(name, device, at_ns) for name, device in self.devices.items()}
        await self._pass_together({name: seen.pop(name) for name in self.together_at}, at_ns)
        told = ((name, [*seen.get(name, ()), *device.look(at_ns)]) for name, device in self.devices.items())
        await asyncio.gather(*(self._show(name, changes) for name, changes in told))
        await self.gateway.share()

    async def _pass_together(self, seen, at_ns):
        """What one of two machines made, the other one hears of before it makes anything itself."""
        changes = [(one.at_ns, name, one) for name, row in seen.items() for one in row]
        changes.sort(key=itemgetter(0))
        for (then_ns, name), row in groupby(changes, key=itemgetter(0, 1)):
            self.gateway.now_ns = then_ns
            await self._show(name, [one for *_, one in row])
            await self.gateway.share()
        self.gateway.now_ns = at_ns

    def _seen(self, name, device, at_ns):
        """What is seen of a device up to here: nothing between a loss of its link and its return."""
        if name not in self.cut:
            return device.advance(at_ns)
        from_ns, to_ns = self.cut.pop(name)
        if device.busy and name not in SURVIVES_A_LOSS:
            return device.advance(at_ns)  # it was started meanwhile, and the link held
        assert self.blind[name][-1] != (from_ns, to_ns) < (at_ns, at_ns), "it is lost and back between two looks"
        self.blind[name].append((from_ns, to_ns))
        before = device.advance(from_ns)
        lost = [Change(from_ns, signal, None) for signal in device.levels]
        device.advance(to_ns)
        return [*before, *lost, *device.look(to_ns), *device.advance(at_ns)]

    async def _show(self, name, changes):
        await self.gateway.take(name, changes)

    async def _kill(self):
        """The process dies after a commit, and is started again."""
        await self.gateway.stop()
        await self.gateway.start()
        self.did["kill"] += 1
        self._was_blind(self.now_ns)
        await self._look()

    async def _update(self, _name, number):
        """The box gets new software. What only pulses tell stands meanwhile, what counts by itself goes on.

        The process dies in the middle of a commit, is started, ends again, and is away for some minutes.
        """
        pulsed = [name for name, device in self.devices.items() if name in UNSEEN_IS_LOST and device.runs]
        for name in pulsed:
            await self._show(name, self.devices[name].stop(self.now_ns, "off"))
            self.rest[name] = self.now_ns + HOUR
        runs = [(name, run) for name in PRODUCTS if (run := self._running(name)) is not None]
        if pulsed or any(run.job.quantity - run.good - run.scrap < far_from_full(name) for name, run in runs):
            return False
        away_ns = self.now_ns
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
        self._was_blind(away_ns)
        await self._look()
        return True

    def _was_blind(self, from_ns):
        """Nobody looked since then."""
        for spans in self.blind.values():
            spans.append((from_ns, self.now_ns))

    def _pass_time(self, length_ns):
        self.now_ns += length_ns
        self.gateway.now_ns = self.now_ns

    async def _look(self):
        await asyncio.gather(*(self._show(name, device.look(self.now_ns)) for name, device in self.devices.items()))
        await self.gateway.share()

    async def _end(self):
        """People end what is open; then nothing happens any more, until everything is final."""
        for name, device in self.devices.items():
            await self._show(name, device.stop(self.now_ns))
        self.now_ns += 5 * MIN
        await self._pass(self.now_ns)
        for name in sorted(PEOPLE_COUNT):
            await self._report(name)
        for name in PRODUCTS:
            await self._end_orders(name)
        self.now_ns += SETTLE_NS
        await self._pass(self.now_ns)
        for name in self.devices:
            await self.gateway.submit(name, TimePassed(self.now_ns))
        await self.gateway.forward_all()

    async def _end_orders(self, name):
        for run in tuple(self._state(name).open_runs()):
            if run.state is JobOrderState.ON_HOLD:
                await self._release_hold(name, run.job.order)
        for run in tuple(self._state(name).open_runs()):
            await self._judge_held(name, run.job.order)
        for run in tuple(self._state(name).open_runs()):
            if run.merged is not None and run.state is JobOrderState.DISPATCHED:
                entry = UnmergeEntry(self.now_ns, run.job.order, "", "WEEKEND", "eve")
                await self._told(name, entry, run.job.order)
        for run in tuple(self._state(name).open_runs()):
            waits = run.state is JobOrderState.DISPATCHED
            await self._say(name, OperatorVerb.CANCEL if waits else OperatorVerb.FINISH, run.job.order, "WEEKEND")

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
        self.quantities.setdefault(wanted.number, []).append((self.now_ns, wanted.quantity))
        self.did["release"] += 1
        if wanted.kind == RUSH and first:
            if await self._say(wanted.machine, OperatorVerb.START, wanted.number):
                self.did["rush"] += 1
        elif wanted.kind == WITHDRAWN and first:
            self.later.append((self.now_ns, wanted.machine, "withdraw", wanted.number))

    async def _withdraw(self, name, order):
        """The ERP cancels an order once a good part of it is made."""
        run = self._running(name)
        if run is None or run.job.order != order or run.good < int(run.job.quantity) // 2:
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
        if run is None and name in PRODUCTS:
            waits = [one for one in self._state(name).queue if one.state is not JobOrderState.ON_HOLD]
            if waits and (settings.orders.choose == "command" or waits[0].waits_for_person):
                await self._say(name, OperatorVerb.START, waits[0].job.order)
        runs = self._running(name) is not None
        if runs and not device.runs:
            await self._show(name, device.start(self.now_ns))
        elif not runs and device.runs:
            await self._show(name, device.stop(self.now_ns))
