"""A gateway in virtual time: the real runner of each machine with the real database, stepped by hand, and killed.

Nothing waits: each step is handed its inputs and the time, and is durable when it returns. A kill throws away all that
is in memory; the next start reads what was committed. The ERP is a ledger that books by key.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sqlite3
from functools import partial
from itertools import groupby
from operator import attrgetter
from types import SimpleNamespace

from buffer.audit_chain import keep_anchor
from buffer.entry import OutboxState, Settlement
from buffer.outbox import Outbox
from buffer.store import Store
from gateway.access.caller import CALLER, Caller
from gateway.audit.auditing import Auditing
from gateway.core import snapshot
from gateway.core.audit.told import Actor
from gateway.core.calendar.honest_time import TimeQuality
from gateway.core.calendar.shift_calendar import ShiftCalendar
from gateway.core.confirming.corrections import Capability
from gateway.core.entries import LotEntry
from gateway.core.model import CalendarPlan, DataValue, Notice, OrderReceived, Status, TimePassed
from gateway.core.orders.handover import with_images, without_moved
from gateway.core.orders.lead import word_for
from gateway.core.orders.shares import BETWEEN_MACHINES, MemberTold
from gateway.core.state.planned_time import plan_of
from gateway.order_feed import job_orders
from gateway.relays.share_relay import read_word, same_word
from gateway.starting.work_unit_of import work_unit_of
from gateway.timing.timezone import zone
from gateway.work_unit.boundary import nobody
from gateway.work_unit.runner import Runner, RunnerHooks

S = 1_000_000_000
HOUR = 3600 * S
EPOCH = "weekepoch0000"
DATABASE_MAX_BYTES = 2_000_000_000
TARGET = "erp"
ORDER_ACK = "order_ack"
LOST_ANSWERS = 0.03  # of the postings: booked, and nobody heard it


class Erp:
    """What an ERP has booked: each key once, its bytes for ever."""

    def __init__(self):
        self.booked = {}
        self.order = []
        self.read = []  # each once: they are looked at after every decision, and nobody changes them
        self.repeats = 0

    def book(self, key, payload):
        """Book, or see that it was booked."""
        if key in self.booked:
            assert self.booked[key] == payload, f"{key}: other bytes under the same key"
            self.repeats += 1
            return
        self.booked[key] = payload
        self.order.append(key)
        self.read.append(json.loads(payload))

    def documents(self):
        """The confirmations that were booked, in their order."""
        return [one for one in self.read if one["type"] != ORDER_ACK]

    def answers(self):
        """The answers to what it said of orders."""
        return [one for one in self.read if one["type"] == ORDER_ACK]


class Gateway:
    """The daemon's work units without its sources, forwarder and sockets."""

    def __init__(self, folder, settings, dice, now_ns):
        self.path = folder / "week.db"
        self.settings = settings
        self.now_ns = now_ns
        self.dice = dice
        self.erp = Erp()
        self.units, self.runners = {}, {}
        self.outputs = {name: [] for name in settings.work_units}
        self.decided = {name: set() for name in settings.work_units}  # when somebody, or the ERP, said something
        self.starts = 0
        self.anchors = []
        self.releases = self.approved = 0
        for name in settings.work_units:
            self.units[name] = work_unit_of(settings, name, EPOCH)
        self.leads = {name: lead for name, unit in self.units.items() if (lead := unit.rules.orders.shares_with)}
        self.sharing = {*self.leads, *self.leads.values()}
        alone = ((name, unit) for name, unit in self.units.items() if name not in self.leads)
        self.of_work_center = {unit.identity.work_center: name for name, unit in alone}
        self.calendar = ShiftCalendar(settings.calendars["plant"], zone("Europe/Berlin"))
        self._planned_ns = 0
        # Steady time is UTC here: that wall clocks jump is the plant's zone only.
        self.clock = SimpleNamespace(
            now_ns=lambda: self.now_ns, utc_ns=lambda at_ns: at_ns, offset_ns=0, quality=TimeQuality.SYNCHRONISED
        )

    # --- life ---

    async def start(self):
        """Begin, or begin again with what was committed."""
        self.store = await Store.open(self.path, now_ns=lambda: self.now_ns, max_bytes=DATABASE_MAX_BYTES)
        if not self.starts:
            await self.store.close()
            with contextlib.closing(sqlite3.connect(self.path)) as connection:
                connection.execute("UPDATE meta SET epoch = ?", (EPOCH,))
                connection.commit()
            self.store = await Store.open(self.path, now_ns=lambda: self.now_ns, max_bytes=DATABASE_MAX_BYTES)
        assert self.store.epoch == EPOCH
        self.starts += 1
        self.outbox = Outbox(self.store)
        self.auditing = Auditing(self.settings, self.store, self.clock)
        stored = await self.store.snapshots()
        for name, unit in self.units.items():
            state = await self._loaded(unit, stored[name]) if name in stored else unit.initial(self.now_ns)
            self.runners[name] = Runner(
                unit,
                state.at_clock(0, True),
                self.store,
                now_ns=lambda: self.now_ns,
                checkpoint_ns=S,
                idle_wake_ns=HOUR,
                hooks=RunnerHooks(
                    targets=lambda job: (TARGET,),
                    committed=lambda outputs, _state, name=name: self._committed(name, outputs),
                    alive=lambda: None,
                    trouble=self._trouble,
                    answers_with=lambda job: tuple(one.operation for one in job.image.operations),
                    common=self.auditing.common,
                    corrects=lambda job: Capability.CANCEL,
                    read=partial(self._look, name) if name in self.leads else nobody,
                ),
            )
        self._planned_ns, self._said = 0, {}
        await self.plan()

    async def _loaded(self, unit, stored):
        """As the daemon does it: images of orders are kept apart from the state."""
        state = snapshot.load(unit, stored)
        remembered = [await self.store.job_record(*run.job.key) for run in state.open_runs()]
        if unit.identity.machine in self.leads:  # the records are its lead's
            return with_images(state, {one.job.image_digest: one.job.image for one in remembered})
        state, moved = without_moved(state, {record.job.key: record for record in remembered}, unit.rules.unallocated)
        assert not moved
        return state

    async def stop(self):
        """Close the database; what is in memory is gone."""
        await self.store.close()

    def _trouble(self, text):
        raise AssertionError(text)

    def _committed(self, name, outputs):
        self.outputs[name] += outputs

    # --- inputs ---

    async def plan(self):
        """The hours ahead, each hour anew."""
        if self.now_ns - self._planned_ns >= HOUR:
            self._planned_ns = self.now_ns
            plan = plan_of(self.calendar, self.now_ns, 0, 48 * HOUR)
            await asyncio.gather(*(self.submit(name, plan) for name in self.units))

    async def take(self, name, changes):
        """What the devices showed up to now, as readings."""
        unit, runner = self.units[name], self.runners[name]
        for at_ns, together in groupby(changes, key=attrgetter("at_ns")):
            reading = [
                DataValue(one.signal, one.value, Status.BAD if one.value is None else Status.GOOD, None, at_ns)
                for one in together
            ]
            if runner._queue.full():
                await self._steps(runner)
            await runner.put(tuple(unit.in_order(reading)))
        await self._steps(runner)

    async def submit(self, name, given, who=None):
        """An order, a decision or the calendar; returns its outputs, committed."""
        if isinstance(given, LotEntry):
            await self._read_out(name)
        told = await self._submit(name, given, who)
        if name in self.sharing and not isinstance(given, CalendarPlan):
            await self.share()
        return told

    async def _submit(self, name, given, who=None):
        runner = self.runners[name]
        if not isinstance(given, (CalendarPlan, TimePassed, *BETWEEN_MACHINES)):
            self.decided[name].add(self.now_ns)
        CALLER.set(None if who is None else Caller(Actor(who, "supervisor", "token", "panel", reason="AS_PLANNED")))
        asked = asyncio.create_task(runner.submit(given))
        while not asked.done():
            if runner._queue.empty():  # turns of the loop, until it is there behind its question to the devices
                await asyncio.sleep(0)
            else:
                await self._steps(runner)
        return await asked

    async def _look(self, name, signals, _timeout_s):
        """A machine is looked at out of turn: it shows what it did before, or that would have been told."""
        runner = self.runners[name]
        again = (one for one in runner.last_values() if one.signal in signals)
        await runner.put(tuple(one._replace(received_time_ns=self.now_ns) for one in again))

    async def share(self):
        """Machines that work on one operation hear of each other, one word after the other, until nobody has news."""
        news = True
        while news:
            news = False
            for member, lead in self.leads.items():
                for up in (True, False):
                    word, said = self._word(member, lead, up=up), self._said.get((member, up))
                    if said is None or not same_word(said, word):
                        self._said[member, up], news = word, True
                        await self._submit(lead if up else member, word)

    def _word(self, member, lead, *, up):
        if not up:
            return word_for(self.runners[lead].state, member, self.now_ns)
        state = self.runners[member].state
        rows, since_ns = self.units[member].shares(state), state.sharing.since_ns
        return MemberTold(self.now_ns, member, state.at_ns, rows, since_ns=since_ns)

    async def _read_out(self, lead):
        """The members are looked at, as everything is right now, and tell what they made."""
        for member in [one for one, of in self.leads.items() if of == lead]:
            await self._submit(lead, read_word(self.runners[member], member, self.now_ns, self.now_ns))

    async def _steps(self, runner):
        """All that waits, as the runner's own loop would."""
        more = True
        while more:
            await runner._step([] if runner._queue.empty() and runner._next is None else await runner._next_items())
            more = not runner._queue.empty() or runner._next is not None

    async def release(self, order):
        """The ERP's order or its change, to every work unit that it concerns; returns what they said."""
        self.releases += 1
        found = []
        for job in job_orders(order, TARGET):
            found += await self.submit(self.of_work_center[job.work_center], OrderReceived(self.now_ns, job))
        return found

    async def anchor(self, day):
        """The end of the audit trail, for whoever is outside."""
        found = await self.store.write(partial(keep_anchor, day, self.now_ns))
        if found is not None:
            self.anchors.append(found)

    # --- the ERP ---

    async def forward(self):
        """Approve what is beyond a tolerance, deliver what is due; an answer that gets lost is looked up later."""
        for entry in await self.outbox.page(target=TARGET, state=OutboxState.NEEDS_APPROVAL):
            await self.outbox.approve(entry.id, self.now_ns, who="max: AS_AGREED")
            self.approved += 1
        while due := await self.outbox.due(TARGET, self.now_ns, 100):
            for entry in due:
                if entry.state is OutboxState.UNCERTAIN:
                    await self.outbox.begin_lookup(entry.id, self.now_ns)
                    assert entry.key in self.erp.booked
                    await self.outbox.settle(entry.id, Settlement(OutboxState.POSTED), self.now_ns)
                    continue
                sent = await self.outbox.begin_send(entry.id, (entry.payload, "application/json", ""), self.now_ns)
                self.erp.book(sent.key, sent.body)
                lost = self.dice.random() < LOST_ANSWERS
                ended = Settlement(OutboxState.UNCERTAIN, self.now_ns + 1) if lost else Settlement(OutboxState.POSTED)
                await self.outbox.settle(entry.id, ended, self.now_ns)

    async def forward_all(self):
        """The same, until each answer that got lost was looked up."""
        await self.forward()
        while await self.outbox.page(target=TARGET, state=OutboxState.UNCERTAIN):
            self.now_ns += 1
            await self.forward()


def refusals(outputs):
    """Why something was refused."""
    return [dict(one.detail)["reason"] for one in outputs if isinstance(one, Notice) and one.code == "REFUSED"]


def digest_of(path):
    """The hash of every row of every table: the whole database must be the same for the same seed."""
    digest = hashlib.sha256()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert {"journal", "outbox", "audit_entry", "work_unit", "job", "genealogy"} <= set(tables)
        for table in sorted(tables):
            digest.update(table.encode())
            columns = ", ".join(str(at) for at, *_ in connection.execute(f'PRAGMA table_info("{table}")'))
            order = ", ".join(str(int(at) + 1) for at in columns.split(", "))
            for row in connection.execute(f'SELECT * FROM "{table}" ORDER BY {order}'):
                digest.update(repr(row).encode())
    return digest.hexdigest()
