"""What is in doubt after a database went back in time: asked at the target, let go where nothing is booked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from test_mark import MESSAGE, Box, posting

from buffer import doubts
from buffer.entry import OutboxState, Settlement
from buffer.outbox import Outbox
from gateway.audit.auditing import Auditing
from gateway.connectors.base import Capabilities, Lookup, LookupKind, Rendered
from gateway.core.calendar.honest_time import TimeQuality
from gateway.erp.doubt_round import DoubtRound
from gateway.timing.clock import ManualClock

S = 10**9
LIMIT_NS = 30 * S


class Target:
    """A target that can be asked: what it has booked, by key; None: it does not answer."""

    capabilities = Capabilities(server_time_limit_ns=LIMIT_NS)

    def __init__(self):
        self.booked = set()
        self.asked = []

    async def lookup(self, asked):
        self.asked.append(asked.key)
        if self.booked is None:
            return Lookup(LookupKind.UNKNOWN, detail="down")
        return Lookup(LookupKind.FOUND if asked.key in self.booked else LookupKind.ABSENT)

    def render(self, _document):
        return Rendered(*MESSAGE)


class Clock(ManualClock):
    """The steady clock of a test whose UTC is the same."""

    quality = TimeQuality.SYNCHRONISED
    offset_ns = 0

    def utc_ns(self, steady_ns):
        return steady_ns


class Plant:
    def __init__(self, box):
        self.target, self.troubles = Target(), {}
        self.clock = Clock(10**18)
        self.box = box
        self.parts = SimpleNamespace(
            outbox=Outbox(box.store),
            connectors={"erp": self.target}, forwarders={}, trouble=self.troubles.__setitem__
        )  # fmt: skip
        settings = SimpleNamespace(
            gateway=SimpleNamespace(id="gw", timezone="UTC", profile="standard"), digest="d"
        )  # fmt: skip
        self.round = DoubtRound(box.store, self.clock, self.parts, Auditing(settings, box.store, self.clock))


@pytest.fixture
async def box(open_store, make, path):
    """A posting left, and the database does not know it; another one waits, and one was sent."""
    one = Box(open_store, make, path)
    await one.open()
    epoch = one.store.epoch
    await one.put(posting(1, epoch), posting(1, epoch, "B"))
    one.keep("old")
    await one.send()
    await one.put(posting(2, epoch))
    await one.send()
    await one.back_to("old")
    one.lost = f"P/{epoch}/A/10/2"
    yield one
    await one.store.close()


async def test_what_is_proven_absent_needs_nobody(box):
    plant = Plant(box)
    assert await plant.round.look()
    assert "older than what has left the box" in plant.troubles["older database"]
    assert box.lost in plant.troubles["older database"]
    # What was sent has its message again, and is the forwarder's; the other one waits until the absence is proof.
    assert await box.states() == {"A/10/1": "uncertain", "B/10/1": "needs_approval"}
    plant.clock.advance(LIMIT_NS)
    await plant.round.look()
    assert await box.states() == {"A/10/1": "uncertain", "B/10/1": "ready"}
    assert plant.troubles["older database"] == ""
    assert not await doubts.open_ones(box.store)
    await box.put(posting(2, box.store.epoch))
    assert (await box.states())["A/10/2"] == "ready"


async def test_what_is_booked_waits_for_a_person_and_the_verdict_stays_until_he_has_looked(box):
    plant = Plant(box)
    plant.target.booked = {box.lost}
    plant.clock.advance(LIMIT_NS)
    assert await plant.round.look()
    assert "1 are booked" in plant.troubles["older database"]
    await box.put(posting(2, box.store.epoch), posting(2, box.store.epoch, "B"))
    assert await plant.round.look()
    for one in await box.outbox.page(state=OutboxState.NEEDS_APPROVAL):
        await box.outbox.approve(one.id, plant.clock.now_ns(), who="p: looked")
    head = (await box.outbox.page(order="A", state=OutboxState.UNCERTAIN))[0]
    await box.outbox.begin_lookup(head.id, 1)
    assert await plant.round.look(), "what was sent is not looked up yet"
    await box.outbox.settle(head.id, Settlement(OutboxState.POSTED, 0), 1)
    assert not await plant.round.look()
    assert plant.troubles["older database"] == ""


async def test_a_target_that_does_not_answer_is_asked_again(box):
    plant = Plant(box)
    plant.target.booked = None
    plant.clock.advance(LIMIT_NS)
    assert await plant.round.look()
    assert await plant.round.look()
    assert plant.target.asked == [box.lost] * 2
    assert (await doubts.open_ones(box.store))[0].unknown == 1


async def test_a_target_that_is_held_against_what_it_said_before_proves_nothing_once_that_is_lost(box):
    """It books without a key of ours: that something is not there would let go what is booked already."""
    plant = Plant(box)
    plant.target.capabilities = Capabilities(baseline=True)
    plant.clock.advance(LIMIT_NS)
    assert await plant.round.look()
    assert not plant.target.asked
    (doubt,) = await doubts.open_ones(box.store)
    assert (doubt.booked, doubt.absent, doubt.unknown) == (0, 0, 1)
    assert (await box.states())["B/10/1"] == "needs_approval"


MORE = ((b"second", "t", "n"), (b"third", "t", "n"))


class Stepped(Target):
    """It makes three messages of each."""

    def render(self, _document):
        return Rendered(*MESSAGE, tuple(Rendered(*one) for one in MORE))


async def in_steps(box, *, done):
    """A posting of three messages of which so many are booked, and the next one on its way."""
    (one,) = [each for each in await box.outbox.due("erp", 10**18, 10) if each.order == "C"]
    await box.outbox.begin_send(one.id, MESSAGE, 7000, more=MORE)
    for step in range(done):
        await box.outbox.next_step(one.id, Settlement(OutboxState.POSTED, 0, f"R{step}"), 7000, go=True)
    return one.id


@pytest.mark.parametrize("known", [False, True])
async def test_with_an_older_database_each_step_that_may_have_left_is_looked_up(box, known):
    """``known``: the database has the messages, and not that two of them are booked and the third one left."""
    epoch = box.store.epoch
    await box.put(posting(1, epoch, "C"))
    if known:
        await in_steps(box, done=0)
        await box.outbox.settle(3, Settlement(OutboxState.RETRY_WAIT, 0, "", "not_sent"), 7000)
    box.keep("before")
    await in_steps(box, done=2)
    store = await box.back_to("before")
    plant = Plant(box)
    plant.target = plant.parts.connectors["erp"] = Stepped()
    assert await plant.round.look()
    (one,) = await box.outbox.page(order="C")
    assert (one.state, one.step, one.steps, one.left_step) == (OutboxState.UNCERTAIN, 0, 3, 2)
    # Each one that was there is told to be there, and the next one is asked about before it goes.
    for step in range(2):
        one = await box.outbox.next_step(one.id, Settlement(OutboxState.POSTED, 0, f"R{step}"), 9000, go=True)
        assert (one.state, one.step) == (OutboxState.UNCERTAIN, step + 1), "it was sent without a look-up"
    await box.outbox.settle(one.id, Settlement(OutboxState.POSTED, 0, "R2"), 9000)
    (one,) = await box.outbox.page(order="C")
    assert await Outbox(store).references(one) == ("R0", "R1", "R2")


async def test_a_lost_posting_whose_second_step_left_is_booked_in_part(box):
    """A step leaves once the one before is booked: nobody has to be asked."""
    box.keep("before")
    await box.put(posting(1, box.store.epoch, "C"))
    await in_steps(box, done=1)
    store = await box.back_to("before")
    assert [one.step for one in store.older.missing if one.order == "C"] == [1]
    (doubt, *_) = await doubts.open_ones(store)
    assert doubt.booked == 1
