"""People, lots, serial numbers and corrections in a recording: a replay of it says the same, to the last decimal."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from gateway.core import snapshot
from gateway.core.confirming.booked import Confirmed, content_of
from gateway.core.confirming.corrections import Capability
from gateway.core.confirming.hold_back import Delivery
from gateway.core.document import encode, fields
from gateway.core.entries import (
    CorrectEntry,
    LotEntry,
    LotNameEntry,
    PresenceEntry,
    PresenceShared,
    ReclassifyEntry,
    SerialEntry,
    StandingHoldEntry,
    UndoEntry,
)
from gateway.core.model import (
    Confirmation,
    DataValue,
    JobChanged,
    JobOrder,
    OperatorEntry,
    OperatorVerb,
    OrderReceived,
    Role,
    Status,
)
from gateway.core.orders.job_image import with_image
from gateway.core.orders.order_image import Component, ImageOperation, OrderImage
from gateway.core.orders.standing_holds import HoldScope
from gateway.core.rules import CounterRule, OrderRule, WorkUnitRules
from gateway.core.rules_material import FeederRule, LabourRule, LotRule, WorkRule
from gateway.core.work_unit import WorkUnit
from gateway.trial.machine import identity_of
from gateway.trial.nobody import Persons, skills_without_names, without_names
from gateway.trial.recording import Header, end_line, header_line, line, parsed, row
from gateway.trial.replay import replayed

MIN = 60_000_000_000
T0 = 1_767_592_800_000_000_000
RULES = WorkUnitRules(
    work_center="WC-1",
    counters=(CounterRule(mode="counter", signal="plc.good"),),
    orders=OrderRule(at_target="continue"),
    work=WorkRule(
        lots=LotRule(feeders={"bowl": FeederRule(item="RING")}, missing="flag"),
        labour=LabourRule(skills={"Erika": ("weld",)}),
        serial_signal="plc.serial",
    ),
)
OPERATION = ImageOperation("0010", "WC-1", Decimal(100), skill="weld")
IMAGE = OrderImage(
    "erp", "4711", 1, "P", "PC", Decimal(100), (OPERATION,), components=(Component("RING", Decimal(1), "PC"),)
)
JOB = with_image(
    JobOrder("4711", "0010", "0", 1, "WC-1", "P", "", "PC", Decimal(100), 0, None, None, None, False, "erp", ()), IMAGE
)


class Machine:
    """A machine that is recorded from some moment on."""

    def __init__(self):
        self.unit = WorkUnit(RULES, identity_of("M-1", RULES))
        self.state = self.unit.initial(T0)
        self.persons, self.lines, self.made, self.record = Persons(), None, [], None

    def begins(self):
        state = snapshot.encode_whole(self.unit, without_names(self.state, self.persons))
        skills = skills_without_names(RULES.work.labour.skills, self.persons)
        self.lines = [header_line(Header("machine", "M-1", "box", "d", self.state.at_ns, state, skills=skills))]
        self.lines.append(line(row(DataValue("plc.good", 0, Status.GOOD, None, self.state.at_ns))))  # as it is there
        self.made.clear()

    def put(self, given):
        self.state, outputs = self.unit.handle(self.state, given)
        self.made += [one for one in outputs if isinstance(one, Confirmation)]
        for one in outputs:
            self.record = one.record if isinstance(one, JobChanged) else self.record
        if self.lines is not None:
            self.lines.append(line(row(given, self.persons)))

    def documents(self):
        return [json.loads(encode(fields(self.unit.identity, one))) for one in self.made]


@pytest.fixture
def machine():
    return Machine()


def test_a_replay_says_the_same_of_times_material_serials_and_corrections(machine):
    put, at = machine.put, lambda minute: T0 + minute * MIN
    put(DataValue("plc.good", 0, Status.GOOD, None, at(0)))
    put(PresenceEntry(at(0), True, "Erika", "Erika"))
    put(OrderReceived(at(1), JOB))
    machine.begins()
    put(PresenceEntry(at(2), True, "Max", "Max"))
    put(PresenceShared(at(3), "Max", 2, at(2)))
    put(DataValue("plc.good", 10, Status.GOOD, None, at(4)))  # of a lot that nobody knows
    put(LotNameEntry(at(5), "4711", "", "bowl", "L0", "label", "Erika"))
    put(LotEntry(at(5), True, "bowl", "L1", "Erika", quantity=Decimal(15)))
    for minute, serial in ((6, "S0"), (7, "S1"), (8, "S2"), (9, "S1")):
        put(SerialEntry(at(minute), serial))
    put(DataValue("plc.good", 30, Status.GOOD, None, at(10)))
    put(PresenceEntry(at(12), False, "Erika", "Erika"))
    put(OperatorEntry(at(13), OperatorVerb.INTERRUPT, "4711", "", "Max"))
    contents = tuple(content_of(one, Delivery.POSTED) for one in machine.documents())
    known = {"known": machine.record, "ledger": Confirmed(contents, Capability.NEGATIVE)}
    put(CorrectEntry(at(14), "4711", "", contents[-1].seq, "box", "Max", (17, 1, 0), **known))
    contents = tuple(content_of(one, Delivery.POSTED) for one in machine.documents())
    known = {"known": machine.record, "ledger": Confirmed(contents, Capability.NEGATIVE)}
    put(ReclassifyEntry(at(15), "4711", "", 2, Role.GOOD, Role.SCRAP, "BURR", "Max", **known))
    put(OperatorEntry(at(16), OperatorVerb.START, "4711", "", "Max"))  # nobody there can weld
    put(PresenceEntry(at(16), True, "Erika", "Erika"))
    put(OperatorEntry(at(17), OperatorVerb.START, "4711", "", "Max"))
    put(DataValue("plc.good", 35, Status.GOOD, None, at(20)))
    put(OperatorEntry(at(21), OperatorVerb.FINISH, "4711", "", "Max"))
    text = [*machine.lines, end_line(at(22), "done")]
    assert not {"Erika", "Max"} & {word for one in text for word in one.replace('"', " ").split()}
    result = replayed(parsed(text, "f"), "M-1", RULES)
    told = [json.loads(encode(fields(machine.unit.identity, one))) for one in result.ended.confirmations]
    asked = ("seq", "type", "qty", "times", "components", "lots", "serials", "data_quality_flags")
    original = machine.documents()
    assert len(told) == len(original) > 4
    assert [{key: one[key] for key in asked} for one in told] == [{key: one[key] for key in asked} for one in original]
    assert any(one["times"]["labour_min"] not in ("0.000", None) for one in told)
    assert {part["lot"] for one in told for line in one["components"] for part in line["lots"]} == {
        "L0",
        "L1",
        "UNKNOWN",
    }
    assert [len(one["operators"]) for one in told] == [len(one["operators"]) for one in original]
    assert result.numbers["confirmed labour ms"] == sum(
        int(Decimal(one["times"]["labour_min"] or 0) * 60_000) for one in original
    )
    assert result.numbers["hold"] == 1, "the duplicate of S1"


@pytest.mark.parametrize(("who", "there"), [("Erika", False), ("Max", True)])
def test_an_undo_by_another_person_is_refused_in_the_replay_as_it_was(machine, who, there):
    machine.put(DataValue("plc.good", 0, Status.GOOD, None, T0))
    machine.begins()
    machine.put(PresenceEntry(T0 + MIN, True, "Erika", "Erika"))
    machine.put(UndoEntry(T0 + MIN, who))
    text = [*machine.lines, end_line(T0 + 2 * MIN, "done")]
    unit = WorkUnit(RULES, identity_of("M-1", RULES))
    recording = parsed(text, "f")
    state = snapshot.decode(unit, recording.header.state)
    for given in recording.inputs:
        state, _ = unit.handle(state, given)
    for one in (machine.state, state):
        assert any(log_in.to_ns is None for log_in in one.work.labour.log_ins) is there


def test_no_state_with_which_a_recording_begins_names_a_person(machine):
    machine.put(PresenceEntry(T0, True, "Erika", "Erika"))
    machine.put(OrderReceived(T0, JOB))
    machine.put(StandingHoldEntry(T0, HoldScope.LOT, "L7", True, "crack", "Erika"))
    run = machine.state.running
    assert run is not None
    assert machine.state.standing[0].who == "Erika"
    kept = run._replace(work=run.work._replace(operators=("Erika",)))
    state = machine.state._replace(undoable=(kept,))
    assert state.last_word is not None, "it keeps those orders"
    assert "Erika" in json.dumps(snapshot.encode_whole(machine.unit, state))
    assert "Erika" not in json.dumps(snapshot.encode_whole(machine.unit, without_names(state, machine.persons)))
