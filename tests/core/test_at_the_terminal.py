"""What a screen at a machine is offered: reasons, the order that is next, and what an order waits for."""

from __future__ import annotations

import pytest

from gateway.core import snapshot
from gateway.core.model import Role
from gateway.core.offered_reasons import not_offered, offered
from gateway.core.orders.proposal import next_order_told
from gateway.core.rules import CounterRule, OrderRule
from gateway.core.rules_reasons import OfferedReasonsRule
from gateway.shown.views import work_unit_view


def test_reasons_are_those_of_the_list_and_those_that_rules_name_each_once(rig):
    counter = CounterRule(mode="counter", signal="plc.bad", role=Role.SCRAP, scrap_reason="BENT")
    floor = rig(counter, reasons=OfferedReasonsRule(scrap=("BENT", "SCRATCH"), stop=("JAM",), only=True))
    found = offered(floor.unit.rules)
    assert found == (("JAM",), ("BENT", "SCRATCH"), (), True)
    assert offered(rig(counter).unit.rules) == ((), ("BENT",), (), False)


@pytest.mark.parametrize(
    ("only", "what", "reason", "instead"),
    [
        (True, "stop", "JAM", ()),
        (True, "stop", "jam", ("JAM", "TOOL")),
        (True, "stop", "", ("JAM", "TOOL")),
        (True, "scrap", "JAM", ("BENT",)),
        (True, "rework", "anything", ()),  # no list says which there are
        (False, "stop", "anything", ()),
    ],
)
def test_only_takes_what_is_listed(rig, only, what, reason, instead):
    rules = rig(reasons=OfferedReasonsRule(stop=("JAM", "TOOL"), scrap=("BENT",), only=only)).unit.rules
    assert not_offered(rules, what, reason) == instead


def again(floor):
    """As after a restart."""
    return snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state))


def test_what_is_proposed_is_known_after_a_restart_until_it_is_started(rig):
    floor = rig(orders=OrderRule(auto_advance="propose"))
    assert next_order_told(floor.state) is None
    floor.order("A", 5)
    floor.order("B", 5)
    for state in (floor.state, again(floor)):
        found = next_order_told(state)
        assert found[:3] == ("A", "0010", True)
    floor.says("start", "A")
    assert next_order_told(floor.state) is None


def test_an_order_says_what_it_waits_for_also_after_a_restart(rig):
    floor = rig(orders=OrderRule(first_article="always"))
    floor.order("A", 5)
    floor.make(1)

    def waits():
        now, later = (
            [tuple(one["waits_for"]) for one in work_unit_view("M-1", state, floor.unit.machine.display).queue]
            for state in (floor.state, again(floor))
        )
        assert now == later
        return now[0]

    assert waits() == ("first_article",)
    floor.says("interrupt", "A")
    assert waits()[-1:] == ("person",)
