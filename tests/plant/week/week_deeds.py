"""What people do at the machines of the week, each deed as often as the plan says, when it can be done.

What was said and accepted is written down here, so that the checks need not ask the gateway for it.
"""

from __future__ import annotations

from decimal import Decimal

from week_gateway import refusals
from week_machines import MIN, S
from week_plan import FEEDERS, HOUR, LATE, LEADS, NORMAL, PRODUCTS, WITHDRAWN, released

from gateway.core.entries import (
    AllocateEntry,
    CorrectEntry,
    LotEntry,
    MergeEntry,
    PiecesReclassified,
    PresenceEntry,
    ReclassifyEntry,
    ReportEntry,
    SetupEntry,
    SplitEntry,
    StopReasonEntry,
    UndoEntry,
)
from gateway.core.model import JobChanged, JobOrderState, OperatorEntry, OperatorVerb, Role
from gateway.core.orders.lifecycle import ActorRole

#: Counters that go on by themselves: what they made while nobody looked is known afterwards.
SURVIVES_A_LOSS = frozenset({"ASM-01", "FIL-02", "PRS-01", "PRS-02"})
#: Pieces: an order that is not nearly full; what two machines make slowly is sooner.
FAR_FROM_FULL = 100
FAR_FROM_FULL_TOGETHER = 6


class Deeds:
    """What people say to the gateway; each deed returns whether it could be done."""

    # --- the gateway as people see it ---

    def _state(self, name):
        return self.gateway.runners[name].state

    def _running(self, name):
        return self._state(name).running

    async def _say(self, name, verb, order, reason=""):
        told = await self.gateway.submit(name, OperatorEntry(self.now_ns, verb, order, "", "ann", reason), "ann")
        why = refusals(told)
        self.refused += [(name, verb.value, order, text) for text in why]
        if not why:
            self.said.append((name, verb, order, self.now_ns))
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

    async def _correct(self, name, number):
        """Some of what the ERP has booked as good was scrap; the order goes on."""
        run = self._in_progress(name)
        pieces = (1 + number % 4) * _unit(name)
        if run is None or run.job.order not in self.wanted or run.good - run.open_good < pieces + run.open_good:
            return False
        # What is not confirmed yet is judged first, and is no correction.
        return await self._judge(name, run.job.order, run.open_good + pieces, Role.GOOD, Role.SCRAP)

    async def _report(self, name):
        """Whoever works there says what was made since he said it last; the machine's own numbers are never asked."""
        run, device = self._running(name), self.devices[name]
        if run is None or not device.basket.total():
            return
        good, scrap = device.basket["good"], device.basket["scrap"]
        entry = ReportEntry(self.now_ns, run.job.order, "", good, scrap, 0, "SURFACE" if scrap else "", "ann")
        told = await self._told(name, entry, run.job.order)
        assert not refusals(told), told
        device.told(self.now_ns)
        self.did["report"] += 1

    async def _amend(self, name, number):
        """A confirmation of an order that is over was wrong: a supervisor puts it right and signs."""
        orders = {one.number for one in self.plan.orders if one.machine == name and one.kind == NORMAL}
        orders -= set(self.parts.values()) | {one for group in self.together.values() for one in group}
        opened = {run.job.order for run in self._state(name).open_runs()}
        told = [one for one in self.gateway.erp.documents() if one["order_id"] in orders - opened]
        gone = {one["reverses"] for one in told} | {one["idempotency_key"] for one in told if one["reverses"]}
        told = [one for one in told if one["idempotency_key"] not in gone and int(one["qty"]["good"]) > 9 * _unit(name)]
        if not told or not any(one["type"] == "final" for one in told):
            return False
        wrong, pieces = told[number % len(told)], (1 + number % 9) * _unit(name)
        quantity = wrong["qty"]
        scrap = sum(int(one["qty"]) for one in quantity["scrap"])
        right = (int(quantity["good"]) - pieces, scrap + pieces, int(quantity["rework"]))
        order, signer = wrong["order_id"], "max: CORRECTED"
        entry = CorrectEntry(
            self.now_ns, order, "", wrong["seq"], "COUNTED_AGAIN", "eve", right, ActorRole.SUPERVISOR, signed_by=signer
        )
        if refusals(await self._told(name, entry, order)):
            return False
        self.judged.append((order, pieces, Role.GOOD, Role.SCRAP))
        return True

    async def _loss(self, name, number):
        """The link to the machine is lost and comes back, both before the next look; counters go on meanwhile."""
        device, run = self.devices[name], self._running(name)
        counts = name in SURVIVES_A_LOSS
        left = None if run is None else run.job.quantity - run.good - run.scrap
        if (
            name in self.cut
            or (counts and (left is None or left < far_from_full(name)))
            or (device.busy and not counts)
        ):
            return False
        from_ns = self.now_ns + (1 + number % 20) * S
        length_ns = min(at_ns for at_ns in self.plan.ticks if at_ns > from_ns) - from_ns
        self.cut[name] = (from_ns, from_ns + length_ns * (1 + number % 90) // 100)
        return True

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
        held = 0 if run is None else run.open_hold if run.job.leads else run.hold
        if not held:
            return
        bad = held // 7 // _unit(name) * _unit(name)
        if bad:
            await self._judge(name, order, bad, Role.HOLD, Role.SCRAP)
        await self._judge(name, order, held - bad, Role.HOLD, Role.GOOD)

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
        self.quantities.setdefault(order, []).append((self.now_ns, self.wanted[order].quantity))
        self.did["late"] += 1

    def _waiting(self, name):
        """Orders of the plan that wait, and that nothing else is meant to happen to."""
        kinds = {one.number: one.kind for one in self.plan.orders}
        return [run for run in self._state(name).queue if kinds.get(run.job.order) == NORMAL and not run.job.leads]

    async def _split(self, name, number):
        """An order that waits becomes two: each makes a part of what is left."""
        for run in self._waiting(name):
            left, unit = int(run.job.quantity) - run.good - run.scrap, PRODUCTS[name][2]
            if run.state is JobOrderState.ON_HOLD or left < 4 * unit:
                continue
            first = left // 3 // unit * unit
            parts = (Decimal(first), Decimal(left - first))
            entry = SplitEntry(self.now_ns, run.job.order, "", parts, "MACHINE", "eve")
            told = await self._told(name, entry, run.job.order)
            children = [one.record.job.order for one in told if isinstance(one, JobChanged) and one.previous is None]
            self.parts |= dict.fromkeys(children, run.job.order)
            return len(children) == 2
        return False

    async def _merge(self, name, number):
        """Two orders that wait are made together."""
        orders = [run.job.order for run in self._waiting(name) if run.state is not JobOrderState.ON_HOLD][:2]
        if len(orders) < 2:
            return False
        leader = f"M{orders[0]}"
        entry = MergeEntry(self.now_ns, leader, tuple(orders), "", "TOGETHER", "eve")
        told = await self._told(name, entry, leader)
        if refusals(told):
            return False
        self.together[leader] = tuple(orders)
        return True

    async def _lot(self, name, number=0):
        """Another lot is mounted in place of what was there."""
        feeder, item = FEEDERS[name]
        mounted = self.mounted.setdefault(name, [])
        lot = f"{item}/{len(mounted) + 1:03d}"
        told = await self._told(name, LotEntry(self.now_ns, True, feeder, lot, "sam", replace=bool(mounted)), lot)
        if not refusals(told):
            mounted.append((self.now_ns, lot))
        return not refusals(told)

    async def _present(self, name, number):
        """Somebody logs in at a machine, beside others or alone, and logs out some hours later."""
        person = f"{name}/{number % 3}"
        if any(one[2:] == (person, None) for one in self.present[name]):
            return False
        told = await self._told(name, PresenceEntry(self.now_ns, True, person, person), person)
        if refusals(told):
            return False
        self.present[name].append((self.now_ns, self.now_ns, person, None))
        self.later.append((self.now_ns + (1 + number % 9) * HOUR, name, "gone", person))
        return True

    async def _gone(self, name, person):
        told = await self._told(name, PresenceEntry(self.now_ns, False, person, person), person)
        assert not refusals(told), told
        at = next(at for at, one in enumerate(self.present[name]) if one[2:] == (person, None))
        self.present[name][at] = (self.present[name][at][0], self.now_ns, person, self.now_ns)

    async def _allocate(self, name, number):
        """What was made before its order was there becomes that order's."""
        late = next(one.number for one in self.plan.orders if one.machine == name and one.kind == LATE)
        left = self._state(name).bucket.left
        if late not in self.revisions or not left.good:
            return False
        for role in (Role.GOOD, Role.SCRAP):
            pieces = getattr(left, role)
            if pieces:
                entry = AllocateEntry(self.now_ns, late, "", pieces, role, "LATE_ORDER", "eve")
                if refusals(await self._told(name, entry, late)):
                    return False
                self.allocated.append((name, late, pieces, role))
        return True

    async def _told(self, name, entry, order):
        told = await self.gateway.submit(name, entry, "eve")
        self.refused += [(name, type(entry).__name__, order, text) for text in refusals(told)]
        return told

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


def far_from_full(name):
    """How many pieces an order lacks that does not end soon."""
    return FAR_FROM_FULL_TOGETHER if name in {*LEADS, *LEADS.values()} else FAR_FROM_FULL


def _unit(name):
    """Whole cartons are judged; else an order would end within one."""
    return PRODUCTS[name][2] if name == "PCK-01" else 1
