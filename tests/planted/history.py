"""One random history of a machine, the gateway and its ERP, from a seed: what was made is what arrives, exactly.

The real core, store, order feed, connector and forwarder on a clock that a seed moves; no process, no socket, so a
history takes a fraction of a second. The gateway dies between any two writes and around any booking. The verdict
comes from outside: from the machine's counter, from the ERP's books, and from what waits in the database.

    .venv/bin/python -P tests/planted/history.py --seeds 0-1000
"""

import argparse
import asyncio
import contextlib
import json
import random
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import structlog

from buffer.entry import OPEN_STATES, OutboxState
from buffer.errors import StoreError
from buffer.outbox import Outbox
from buffer.store import Store
from gateway.connectors.base import ConnectorContext
from gateway.connectors.rest.connector import RestConnector
from gateway.connectors.rest.settings import RestSettings
from gateway.core import snapshot
from gateway.core.document import Identity
from gateway.core.duration import Duration
from gateway.core.model import DataValue, OperatorEntry, OperatorVerb, Status
from gateway.core.rate import Rate
from gateway.core.rules import ConfirmRule, CounterRule, WorkUnitRules
from gateway.core.work_unit import WorkUnit
from gateway.forwarder import Forwarder
from gateway.order_feed import OrderFeed
from gateway.timing.clock import ManualClock
from gateway.work_unit.item import Item
from gateway.work_unit.runner import Runner, RunnerHooks

sys.path.append(str(Path(__file__).parent))

import planted
from history_erp import FATES, SERVER_TIME_LIMIT_NS, Died, Erp, S

MODULUS = 65_536
RATE_PER_S = 10
STEPS = 40
#: The longest that anything waits by itself, with all its repeats: locked orders for 4 h, accepted ones for 8 h.
LONGEST_NS = 9 * 3600 * S

RULES = WorkUnitRules(
    work_center="WC",
    counters=(
        CounterRule(mode="counter", signal="plc.good", modulus=MODULUS, max_rate=Rate.parse(f"{RATE_PER_S} /s")),
    ),
    confirm=ConfirmRule(every_pieces=7, min_interval=Duration("0 s")),
)
SETTINGS = RestSettings(connector="rest", url="http://127.0.0.1:1", server_time_limit=Duration("30 s"))
assert int(SETTINGS.server_time_limit) == SERVER_TIME_LIMIT_NS


class BrokenPromiseError(AssertionError):
    """Something was lost, booked twice, out of order, or asked too often; with seed and events."""


class History:
    """``run()`` raises BrokenPromiseError."""

    def __init__(self, seed, folder):
        self.seed = seed
        self.rng = random.Random(seed)
        self.path = Path(folder) / f"history-{seed}.db"
        self.clock = ManualClock(1_000_000 * S)
        self.wall_ns = 1_900_000_000 * S  # what a clock on the wall says: it is set now and then
        planted.WALL_NS[0] = lambda: self.wall_ns
        self.erp = Erp(self.clock, self.rng)
        self.events = []
        self.made = 0
        self.start = self.rng.choice([0, 1000, MODULUS - 20, MODULUS - 200])
        self.orders = 0
        self.writes_left = None  # so many writes to the database until the process dies
        self.after_write = False
        self.store = None

    async def run(self):
        try:
            await self._boot()
            await self._step((self._reading(),))
            for _ in range(STEPS):
                await self._something()
                self._check()
            await self._end()
        except StoreError as error:
            raise BrokenPromiseError(self._told(f"the gateway cannot go on: {error}")) from error
        finally:
            if self.store is not None:
                await self.store.close()

    # --- what happens ------------------------------------------------------------------------------------------------

    async def _something(self):
        rng = self.rng
        what = rng.choices(
            ["poll", "order", "fetch", "deliver", "crash", "decide", "wall", "poison", "away"],
            [12, 4, 5, 12, 2, 2, 2, 2, 1],
        )[0]
        if what in ("poll", "fetch", "deliver") and rng.random() < 0.25:
            self.writes_left, self.after_write = rng.randint(0, 3), rng.random() < 0.5
        self.events.append((self.clock.now_ns(), what, self.writes_left))
        try:
            await getattr(self, f"_{what}")()
        except Died:
            self.events.append((self.clock.now_ns(), "died"))
            await self._boot()
        self.writes_left = None

    async def _poll(self):
        seconds, share = self.rng.randint(1, 8), self.rng.randint(0, 10)
        self.clock.advance(seconds * S)
        self.wall_ns += seconds * S
        self.made += seconds * RATE_PER_S * share // 10
        await self._step((self._reading(),))

    async def _away(self):
        """The gateway is off while the machine goes on, perhaps over a roll-over."""
        seconds = self.rng.randint(30, 600)
        await self.store.close()
        self.clock.advance(seconds * S)
        self.made += self.rng.randint(0, seconds * RATE_PER_S)
        await self._boot()
        await self._step((self._reading(),))

    async def _order(self):
        self.orders += 1
        quantity = self.rng.randint(1, 60)
        self.erp.images.append({
            "order_id": f"{self.orders:06}", "revision": 1, "product": {"id": "P", "uom": "PC"}, "qty": str(quantity),
            "sequence_no": self.orders, "operations": [{"op": "0010", "work_center": "WC", "qty": str(quantity)}],
        })  # fmt: skip

    async def _fetch(self):
        while await self.feed._poll():
            pass

    async def _decide(self):
        verb, order = self.rng.choice(list(OperatorVerb)), f"{self.rng.randint(1, 6):06}"
        await self._step((OperatorEntry(self.clock.now_ns(), verb, order, "", "test"),))

    async def _wall(self):
        self.wall_ns += self.rng.choice([-10, -1, 1, 10]) * 365 * 86_400 * S

    async def _poison(self):
        """An order is closed at the ERP, or open again; then a person sends what was refused."""
        if self.erp.poisoned and self.rng.random() < 0.5:
            self.erp.poisoned.clear()
            self.erp.refused.clear()
            await self._retry_parked()
        elif self.orders:
            self.erp.poisoned.add(f"{self.rng.randint(1, self.orders):06}")

    async def _crash(self):
        raise Died

    async def _deliver(self):
        self.erp.fates = [self.rng.choice(("ok", *FATES)) for _ in range(self.rng.randint(0, 4))]
        await self._forward(self.rng.choice([1, 5, 70, 300]) * S)
        self.erp.fates = []

    # --- how -----------------------------------------------------------------------------------------------------

    def _reading(self):
        raw = (self.start + self.made) % MODULUS
        return DataValue("plc.good", raw, Status.GOOD, None, self.clock.now_ns())

    async def _step(self, inputs):
        await self.runner._step([Item(inputs, None)])

    async def _submit(self, _unit, given):
        done = asyncio.get_running_loop().create_future()
        await self.runner._step([Item((given,), done)])
        return await done

    async def _forward(self, length_ns):
        """The forwarder's life for so long: it looks whenever something is due."""
        until_ns = self.clock.now_ns() + length_ns
        while self.clock.now_ns() < until_ns:
            before_ns = self.clock.now_ns()
            due_ns = await self.forwarder._cycle()
            if tasks := self._started[:]:
                self._started.clear()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
                for error in filter(None, ended):
                    raise error
            elif due_ns is None or due_ns > before_ns:
                self.clock.advance(max(min(due_ns or until_ns, until_ns) - self.clock.now_ns(), 1))
                self.erp.settle()
                if due_ns is None:
                    return
            else:
                self.clock.advance(S // 1000)

    async def _boot(self):
        if self.store is not None:
            await self.store.close()
            self.store = None
        self.writes_left = None
        self.erp.not_before_ns = 0  # how long a target asked to be left alone is not kept
        store = await Store.open(self.path, now_ns=self.clock.now_ns, max_bytes=64 << 20)
        submit = store._writer.submit

        async def mortal(work, sent=None):
            if self.writes_left is None:
                return await submit(work, sent)
            self.writes_left -= 1
            if self.writes_left < 0 and not self.after_write:
                raise Died
            result = await submit(work, sent)
            if self.writes_left < 0:
                raise Died
            return result

        store._writer.submit = mortal
        self.store = store
        identity = Identity(plant="P", epoch=store.epoch, gateway_id="g", line="", machine="M", work_center="WC")
        unit = WorkUnit(RULES, identity)
        stored = (await store.snapshots()).get("M")
        state = unit.initial(self.clock.now_ns()) if stored is None else snapshot.load(unit, stored)
        self.runner = Runner(
            unit, state, store, now_ns=self.clock.now_ns, checkpoint_ns=0, idle_wake_ns=S,
            hooks=RunnerHooks(lambda _job: ("erp",), lambda _out, _state: None, lambda: None, lambda _text: None),
        )  # fmt: skip
        context = ConnectorContext(
            name="erp", gateway_id="g", now_ns=self.clock.now_ns, secrets={}, base_dir=self.path.parent
        )
        connector = RestConnector(SETTINGS, context)
        connector._client = self.erp
        self.outbox = Outbox(store)
        self.forwarder = Forwarder(
            name="erp", connector=connector, outbox=self.outbox, now_ns=self.clock.now_ns, rng=self.rng
        )
        start = self.forwarder._start

        def started(entry):
            start(entry)  # some end before the cycle does
            self._started.append(self.forwarder._under_way[self.forwarder._lane(entry)])

        self._started = []
        self.forwarder._start = started
        self.feed = OrderFeed(
            name="erp", connector=connector, store=store, work_units={"WC": "M"}, submit=self._submit,
            now_ns=self.clock.now_ns, poll_ns=S, backoff_max_ns=S, rng=self.rng,
        )  # fmt: skip

    # --- what must hold ----------------------------------------------------------------------------------------------

    async def _end(self):
        """Everybody is well again: all of it arrives, with the orders that were released."""
        self.erp.poisoned.clear()
        self.erp.fates = []
        self.erp.refused.clear()
        self.clock.advance(S)
        await self._fetch()
        await self._step((self._reading(),))
        for _ in range(6):
            await self._retry_parked()
            await self._forward(LONGEST_NS)
            if not self._open_rows() and not self.erp.coming:
                break
        self._check()
        self._demand(not self._open_rows(), f"does not arrive: {self._open_rows()}")
        self._demand(self._accounted() == self.made, f"made {self.made}, accounted for {self._accounted()}")
        rows = sqlite3.connect(self.path).execute("SELECT count(*) FROM outbox WHERE state = 'posted'").fetchone()
        counts = await self.outbox.counts("erp")
        self._demand(rows[0] == counts.posted == len(self.erp.booked), f"{rows[0]}, {counts.posted} posted, "
                     f"{len(self.erp.booked)} booked")  # fmt: skip
        known = {one.job.order for one in await self.store.job_records()}
        missing = {one["order_id"] for one in self.erp.images} - known
        self._demand(not missing, f"orders that never came: {sorted(missing)}")

    async def _retry_parked(self):
        for entry in await self.outbox.page(state=OutboxState.PARKED, limit=1000):
            await self.outbox.retry(entry.id, self.clock.now_ns())

    def _check(self):
        problems = self.erp.problems()
        self._demand(not problems, "; ".join(problems[:3]))
        self._demand(self._accounted() <= self.made, f"made {self.made}, accounted for {self._accounted()}")

    def _open_rows(self):
        marks = ", ".join(f"'{state}'" for state in OPEN_STATES)
        link = sqlite3.connect(self.path)
        try:
            return link.execute(f"SELECT key, state, payload FROM outbox WHERE state IN ({marks})").fetchall()
        finally:
            link.close()

    def _accounted(self):
        """Booked, waiting, not confirmed yet, and without an order."""
        booked = {one["idempotency_key"]: _made(one["qty"]) for one in self.erp.booked}
        waiting = {key: _made(json.loads(payload)["qty"]) for key, _, payload in self._open_rows()}
        state = self.runner.state
        still = sum(run.open_good + run.open_hold for run in state.open_runs())
        loose = state.unallocated.good + state.unallocated.hold
        return sum((waiting | booked).values()) + still + loose + state.review

    def _demand(self, right, what):
        if not right:
            raise BrokenPromiseError(self._told(what))

    def _told(self, what):
        return f"seed {self.seed}: {what}\n" + "\n".join(map(str, self.events[-12:]))


def _made(quantities):
    return int(quantities["good"]) + int(quantities["hold"])


def check(seeds):
    """Raises BrokenPromiseError for the first seed that breaks one; returns how many were run."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    memory = Path("/dev/shm")
    done = 0
    try:
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            for seed in seeds:
                asyncio.run(History(seed, folder).run())
                done += 1
    finally:
        structlog.reset_defaults()
    return done


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", default="0-99", metavar="FIRST-LAST")
    parser.add_argument("--keep-on", action="store_true", help="tell every seed that fails")
    parser.add_argument("--planted", default="", choices=("", *planted.BUGS), help="run with this bug")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition("-")
    began = time.monotonic()
    with planted.planted(arguments.planted) if arguments.planted else contextlib.nullcontext():
        failed = _all(range(int(first), int(last or first) + 1), keep_on=arguments.keep_on)
    took_s = time.monotonic() - began
    sys.stdout.write(f"{int(last or first) - int(first) + 1} histories, {failed} failed, {took_s:.1f} s\n")
    return bool(failed)


def _all(seeds, *, keep_on):
    failed = 0
    for seed in seeds:
        try:
            check([seed])
        except BrokenPromiseError as error:
            failed += 1
            sys.stdout.write(f"{error}\n")
            if not keep_on:
                break
    return failed


if __name__ == "__main__":
    sys.exit(main())
