"""One operation on several machines: of which lot the pieces of a member are."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from gateway.core.entries import LotEntry
from gateway.core.model import Confirmation
from gateway.core.orders.job_image import with_image
from gateway.core.orders.lead import word_for
from gateway.core.orders.order_image import Component, ImageOperation, OrderImage
from gateway.core.orders.shares import MemberTold, sharing_from
from gateway.core.rules import ConfirmRule, CounterRule, OrderRule
from gateway.core.rules_material import BackflushRule, FeederRule, LotRule, WorkRule

GOOD = CounterRule(mode="counter", signal="plc.good")
FOLLOWED = WorkRule(
    lots=LotRule(feeders={"bowl": FeederRule(item="RING")}), backflush=BackflushRule(unit_decimals={"PC": 0})
)


RING = Component("RING", Decimal(1), "PC", lot_required=True)


def image(number):
    operation = ImageOperation("0010", "WC-1", Decimal(number))
    return OrderImage("erp", "A", 1, "ART-1", "PC", Decimal(number), (operation,), components=(RING,))


class Pair:
    """A lead with a feeder and a member that works from it, and what is under way between them."""

    def __init__(self, rig, **rules):
        self.lead = rig(GOOD, confirm=ConfirmRule(), **rules)
        self.member = rig(GOOD, orders=OrderRule(shares_with="M-01"))
        self.lead.make(0)
        self.member.make(0)

    def at(self, text):
        self.lead.at(text)
        self.member.now_ns = self.lead.now_ns

    def up(self, read_ns=0):
        member, at_ns = self.member, self.lead.now_ns
        since_ns = member.state.sharing.since_ns
        self.lead.put(
            MemberTold(at_ns, "M-02", member.state.at_ns, member.unit.shares(member.state), read_ns, since_ns)
        )

    def settle(self):
        for _ in range(3):
            self.up()
            self.member.put(word_for(self.lead.state, "M-02", self.lead.now_ns))

    def mount(self, lot, *, read=False):
        if read:
            self.member.make(0)
            self.up(self.member.now_ns)
        self.lead.put(LotEntry(self.lead.now_ns, True, "bowl", lot, "ann", replace=lot != "L1"))
        self.lead.make(0)


@pytest.fixture
def pair(rig):
    """``pair(**rules of the lead)``."""
    return lambda **rules: Pair(rig, **rules)


def used(floor):
    """Pieces of each lot, by the confirmations."""
    found = {}
    for one in floor.lead.all(Confirmation):
        for link in one.work.links:
            found[link.parent.number] = found.get(link.parent.number, 0) + int(link.quantity.fraction)
    return found


@pytest.mark.parametrize("stored", [False, True])
def test_a_piece_under_way_at_another_lot_is_of_the_lot_that_its_members_counters_say(pair, job, stored):
    floor = pair(work=FOLLOWED)
    floor.mount("L1")
    floor.lead.receive(with_image(job("A", 100), image(100)))
    floor.settle()
    floor.at("10 s")
    floor.member.make(3)
    floor.settle()
    floor.at("18 s")
    floor.mount("L2", read=True)
    if stored:  # the lead has been away since
        kept = json.loads(json.dumps(floor.lead.state.sharing._asdict()))
        floor.lead.state = floor.lead.state._replace(sharing=sharing_from(kept))
    floor.at("20 s")
    floor.member.make(1)
    floor.settle()
    floor.lead.says("finish", "A")
    assert used(floor) == {"L1": 3, "L2": 1}
