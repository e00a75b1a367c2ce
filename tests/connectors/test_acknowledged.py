"""A connector says that its target has news of what it accepted: it is asked about at once, and not at its next turn.

The clock stands still, so that nothing that waits for a time happens.
"""

import asyncio
import contextlib
import random

import pytest

from buffer.entry import OutboxState, Settlement
from buffer.errors import StoreError
from buffer.outbox import Outbox
from config.loader import load
from gateway import plugins
from gateway.build import Builder
from gateway.connectors.base import Capabilities, Lookup, LookupKind, Outcome, OutcomeKind, Rendered
from gateway.forwarder import Forwarder
from gateway.notify import Progress
from gateway.timing.clock import SteadyClock
from gateway.timing.clock_quality import TimeQuality

DEADLINE_S = 60.0
A1, B1 = ("A", "10", 1), ("B", "10", 1)
CONFIG = """\
gateway: { id: g, plant: P, timezone: UTC, state_dir: state }
sources:
  box: { driver: digital_io, pins: simulated, signals: { carton: { pin: 17 } } }
work_units:
  M1: { work_center: WC-1, counters: [{ mode: pulse, signal: box.carton }] }
connectors:
  share: { connector: file, folder: share }
  orders: { connector: file, folder: other, confirmations: false }
"""


class Heard:
    """Takes over and books when it is told to: ``heard`` are the keys whose booking it has heard of."""

    def __init__(self) -> None:
        self.heard: set[str] = set()
        self.sent: list[str] = []
        self.asked: list[str] = []
        self.answer = asyncio.Event()
        self.answer.set()

    @property
    def capabilities(self):
        return Capabilities(orders=False)

    def render(self, confirmation):
        return Rendered(confirmation["idempotency_key"].encode(), "text/plain", "n")

    async def send(self, posting):
        self.sent.append(posting.key)
        await self.answer.wait()
        return Outcome(OutcomeKind.ACCEPTED, reference="A-1")

    async def lookup(self, posting):
        self.asked.append(posting.key)
        return Lookup(LookupKind.FOUND, "R-1") if posting.key in self.heard else Lookup(LookupKind.ACCEPTED, "A-1")


class Falling(Outbox):
    """Its next question of what is accepted fails."""

    falls = 1

    async def accepted_due(self, target, now_ns):
        if self.falls:
            self.falls -= 1
            raise StoreError("the disk")
        await super().accepted_due(target, now_ns)


@pytest.fixture
def forwarded(filled, clock):
    @contextlib.asynccontextmanager
    async def running(connector, outbox=None, *, before=lambda _forwarder: None):
        forwarder = Forwarder(
            name="erp", connector=connector, outbox=outbox or filled.outbox, now_ns=clock, rng=random.Random(1)
        )
        before(forwarder)
        task = asyncio.create_task(forwarder.run())
        yield forwarder
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    return running


async def until(check):
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while not (found := await check()):
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.002)
    return found


async def first(filled, state, order=""):
    async def reached():
        found = [one for one in await filled.outbox.page() if one.order == (order or one.order)]
        return found[0] if found[0].state is state else None

    return await until(reached)


async def test_an_acknowledgement_is_asked_about_at_once(filled, forwarded):
    target = Heard()
    await filled.add(A1)
    async with forwarded(target) as forwarder:
        one = await first(filled, OutboxState.ACCEPTED)
        target.heard.add(one.key)
        assert not target.asked
        forwarder.accepted_changed()
        assert (await first(filled, OutboxState.POSTED)).reference == "R-1"


async def test_an_acknowledgement_may_come_before_the_end_of_the_send(filled, forwarded):
    target = Heard()
    await filled.add(B1)
    async with forwarded(target) as forwarder:
        await first(filled, OutboxState.ACCEPTED)  # it answers: more than one may be on its way
        target.answer.clear()
        await filled.add(A1)
        forwarder.wake()

        async def sent():
            return target.sent[1:]

        target.heard.update(await until(sent))
        forwarder.accepted_changed()

        async def looked():
            return not forwarder._ask_accepted

        await until(looked)  # and what is on its way is not accepted yet
        target.answer.set()
        await first(filled, OutboxState.POSTED, order="A")


async def test_it_may_be_told_before_anything_runs_and_more_often_than_needed(filled, clock, forwarded):
    target = Heard()
    await filled.add(A1)
    await filled.outbox.begin_send(1, (b"x", "t", "n"), clock())
    later_ns = clock() + 30_000_000_000
    one = await filled.outbox.settle(1, Settlement(OutboxState.ACCEPTED, later_ns, "A-1"), clock())
    target.heard.add(one.key)

    def told(forwarder):
        for _ in range(3):
            forwarder.accepted_changed()

    async with forwarded(target, before=told):
        assert (await first(filled, OutboxState.POSTED)).reference == "R-1"
    assert target.asked == [one.key]


async def test_a_disk_that_fails_meanwhile_loses_no_acknowledgement(filled, clock, forwarded):
    target, outbox = Heard(), Falling(filled.store)
    await filled.add(A1)
    async with forwarded(target, outbox) as forwarder:
        one = await first(filled, OutboxState.ACCEPTED)
        target.heard.add(one.key)
        forwarder.accepted_changed()

        async def fallen():
            return not outbox.falls

        await until(fallen)
        forwarder.wake()
        await first(filled, OutboxState.POSTED)


async def test_the_daemon_hands_it_from_the_connector_to_its_own_forwarder(filled, tmp_path, clock):
    file = tmp_path / "gateway.yaml"
    file.write_text(CONFIG)
    settings = load(file, drivers=plugins.drivers(), connectors=plugins.connectors(), env={})
    steady = SteadyClock(0, clock, clock, judge=lambda _wall: TimeQuality.TRUSTED, boot_id="b")
    builder = Builder(
        settings, filled.store, filled.outbox,
        clock=steady, progress=Progress(), rng=random.Random(1), warnings=[],
    )  # fmt: skip
    builder._connectors()
    said = {name: one._context.acknowledged for name, one in builder._parts.connectors.items()}
    said["share"]()  # nothing forwards yet
    parts = await builder.build()
    for name, one in parts.connectors.items():
        one._context.acknowledged()
        assert name in parts.forwarders or name == "orders"
    assert parts.forwarders["share"]._ask_accepted
