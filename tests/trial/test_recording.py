"""A recording as text and back, damaged files, and replays whose difference is known."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from gateway.core.confirming.booked import Confirmed, Content
from gateway.core.confirming.corrections import Capability, EntryKind
from gateway.core.confirming.hold_back import Delivery
from gateway.core.confirming.quantities import Pieces
from gateway.core.entries import (
    CorrectEntry,
    LotEntry,
    LotNameEntry,
    PresenceEntry,
    PresenceShared,
    ReclassifyEntry,
    RejectEntry,
    SerialEntry,
    SetupEntry,
    StandingHoldEntry,
    StopReasonEntry,
    UndoEntry,
)
from gateway.core.model import (
    CalendarPlan,
    CountersRead,
    DataValue,
    JobOrder,
    JobOrderState,
    JobRecord,
    MachineState,
    OperatorEntry,
    OperatorVerb,
    OrderReceived,
    PlannedTime,
    Role,
    Status,
    TimePassed,
)
from gateway.core.orders.job_image import with_image
from gateway.core.orders.lifecycle import ActorRole
from gateway.core.orders.order_image import ImageOperation, OrderImage
from gateway.core.orders.shares import Ended, LeadTold, MemberRow, MemberTold
from gateway.core.orders.standing_holds import HoldScope
from gateway.core.work.backflush import LineKind, MaterialLine, Posting
from gateway.core.work.produced_lots import SerialRecord
from gateway.core.work.run_work import ConfirmedLines, ConfirmedWork, HeldMaterial, MadeLot
from gateway.core.work.time_account import ActivityMinutes
from gateway.trial.nobody import Persons
from gateway.trial.recording import Header, RecordingError, end_line, header_line, line, parsed, row

S = 1_000_000_000
T0 = 1_767_592_800 * S

JOB = JobOrder(
    "4711", "0010", "0", 1, "WC-1", "P", "", "PC", Decimal("10.5"), 0, None, None, None, False, "erp", (("a", "b"),)
)  # fmt: skip
IMAGE = OrderImage("erp", "4711", 1, "P", "PC", Decimal("10.5"), (ImageOperation("0010", "WC-1", Decimal("10.5")),))
WITH_IMAGE = with_image(JOB, IMAGE)
RECORD = JobRecord(JOB, JobOrderState.ON_HOLD, 3, 7, 1, 0, "ab", 2, 0, JobOrderState.IN_PROGRESS, "crack")
MADE = MemberRow(7, "4711", "0010", 5, 1, estimated=2, from_ns=T0, to_ns=T0 + S, states=(("PRODUCING", S),))
WORKED = ConfirmedWork(
    ActivityMinutes(Decimal("0.500"), Decimal("0.000"), Decimal("1.250"), Decimal("-0.001")),
    (("PRODUCING", "1.250"),),
    (ConfirmedLines(MaterialLine("RING", "PC", Decimal(9), LineKind.PIECES, Posting.CONFIRMATION), (("L1", "9"),)),),
    (MadeLot("4711", 9),),
    ("S1",),
    ("person-1",),
    held=(HeldMaterial("RING", "PC", (("L1", "1"), ("L2", "0.5"))),),
)
CONTENT = Content("P/e/4711/0010/1", 1, EntryKind.PARTIAL, Pieces(8, 1), Delivery.POSTED, scrap_reasons=(("BURR", 1),))
LEDGER = Confirmed((CONTENT._replace(flags=("LATE",), work=WORKED, event_utc_ns=T0), CONTENT), Capability.NEGATIVE)
INPUTS = (
    OrderReceived(T0, JOB),
    DataValue("plc.good", 2**63 + 1, Status.GOOD, T0 - 1, T0),
    DataValue("plc.good", None, Status.BAD, None, T0 + S),
    DataValue("plc.x", 0.1, Status.UNCERTAIN, None, T0 + S),
    DataValue("plc.x", True, Status.GOOD, None, T0 + S),
    DataValue("plc.x", 'naïve "text"', Status.GOOD, None, T0 + S),
    OperatorEntry(T0 + 2 * S, OperatorVerb.FINISH, "4711", "0010", "recorded"),
    OrderReceived(T0 + 2 * S, WITH_IMAGE, RECORD, (RECORD._replace(job=WITH_IMAGE),)),
    OperatorEntry(T0 + 2 * S, OperatorVerb.REOPEN, "4711", "", "recorded", "more", ActorRole.SUPERVISOR, RECORD),
    OperatorEntry(T0 + 2 * S, OperatorVerb.START, "4711", "", "recorded", interrupt=True),
    OperatorEntry(T0 + 2 * S, OperatorVerb.ACKNOWLEDGE_DOCUMENTS, "4711", "", "recorded", documents=("D1", "D2")),
    MemberTold(T0 + 2 * S, "M-02", T0, (MADE,)),
    MemberTold(T0 + 2 * S, "M-02", T0, (MADE,), T0, T0 + S),
    LeadTold(T0 + 2 * S, WITH_IMAGE, True, (MADE,)),
    LeadTold(T0 + 2 * S, None),
    LeadTold(T0 + 2 * S, WITH_IMAGE, since_ns=T0 + S, ended=(Ended("4710", "0010", T0, T0 - S, full=True),), full=True),
    SetupEntry(T0 + 2 * S, begins=True, who="recorded"),
    StopReasonEntry(T0 + 2 * S, T0, None, "JAM", "recorded"),
    StopReasonEntry(T0 + 2 * S, None, None, "JAM", "recorded"),
    ReclassifyEntry(T0 + 2 * S, "4711", "", 3, Role.HOLD, Role.GOOD, "bent", "recorded"),
    PresenceEntry(T0 + 2 * S, True, "person-1", "recorded"),
    PresenceShared(T0 + 2 * S, "person-1", 2, T0),
    LotEntry(T0 + 2 * S, True, "bowl", "L1", "recorded", "RING", Decimal("400.5"), True),
    LotNameEntry(T0 + 2 * S, "4711", "", "bowl", "L1", "label", "recorded", told=(("4711/0010/M-1", "RING"),)),
    SerialEntry(T0 + 2 * S, "S1", earlier=(SerialRecord("P", "S1", "4710", "0010", T0),)),
    SerialEntry(T0 + 2 * S, "S1", "recorded", "4711", "0010"),
    CorrectEntry(T0 + 2 * S, "4711", "", 1, "box", "recorded", (8, 1, 0), signed_by="recorded", ledger=LEDGER),
    CorrectEntry(T0 + 2 * S, "4711", "", 1, "box", "recorded", known=RECORD, ledger=LEDGER),
    RejectEntry(T0 + 2 * S, "4711", "", 1, "too many", "recorded", known=RECORD, ledger=LEDGER),
    UndoEntry(T0 + 2 * S, "recorded", contents=LEDGER.contents),
    UndoEntry(T0 + 2 * S, "recorded"),
    StandingHoldEntry(T0 + 2 * S, HoldScope.LOT, "L1", True, "crack", "recorded"),
    StandingHoldEntry(T0 + 2 * S, HoldScope.LOT, "L1", False, "sorted", "recorded", signed_by="recorded"),
    OperatorEntry(T0 + 2 * S, OperatorVerb.RELEASE, "4711", "", "recorded", signed_by="recorded"),
    OperatorEntry(T0 + 2 * S, OperatorVerb.INSPECT, "4711", "", "recorded", verdict="passed"),
    OperatorEntry(T0 + 2 * S, OperatorVerb.REOPEN, "4711", "", "recorded", known=RECORD, ledger=LEDGER),
    CountersRead(T0 + 2 * S, T0 + S, ("plc.scrap",)),
    CountersRead(T0 + 2 * S, T0 + S, due_ns=T0 + 3 * S),
    ReclassifyEntry(T0 + 2 * S, "4711", "", 3, Role.GOOD, Role.SCRAP, "b", "recorded", known=RECORD, ledger=LEDGER),
)
HEADER = Header("source", "plc", "box-1", "abc", T0, None)


def written(inputs=INPUTS, header=HEADER, end=True):
    lines = [header_line(header), *(line(row(given)) for given in inputs)]
    return [*lines, end_line(T0 + 60 * S, "done")] if end else lines


def test_what_is_written_is_read_back_to_the_type():
    read = parsed(written(), "f")
    assert (read.header, read.inputs, read.ended_ns, read.ended) == (HEADER, INPUTS, T0 + 60 * S, "done")
    assert [type(one.value) for one in read.inputs if isinstance(one, DataValue)] == [
        type(one.value) for one in INPUTS if isinstance(one, DataValue)
    ]
    assert row(TimePassed(T0)) is None


def test_an_older_recording_of_a_leads_word_is_read():
    """It does not know since when an order runs, nor which ones ended."""
    (given,) = [one for one in INPUTS if isinstance(one, LeadTold) and one.ended]
    lines = [header_line(HEADER), line(row(given)[:5]), end_line(T0 + 60 * S, "done")]
    assert parsed(lines, "f").inputs == (given._replace(since_ns=0, ended=(), full=False),)


def test_nobody_is_named():
    given = OperatorEntry(T0, OperatorVerb.START, "4711", "0010", "Erika Mustermann")
    assert "Erika" not in line(row(given))
    assert "Erika" not in line(row(StopReasonEntry(T0, None, None, "JAM", "Erika Mustermann")))
    persons = Persons()
    rows = [row(PresenceEntry(T0, True, name, "boss"), persons)[2][1]["person"] for name in ("Erika", "Max", "Erika")]
    assert rows == ["person-1", "person-3", "person-1"], "the same one is told apart from others"
    worked = CONTENT._replace(work=WORKED._replace(operators=("Erika",)))
    entry = CorrectEntry(T0, "4711", "", 1, "box", "Erika", signed_by="Erika", ledger=Confirmed((worked,)))
    assert "Erika" not in line(row(entry))
    assert "Erika" not in line(row(StandingHoldEntry(T0, HoldScope.MACHINE, "", True, "crack", "Erika")))
    signed = OperatorEntry(T0, OperatorVerb.RELEASE, "4711", "", "Erika", signed_by="Erika")
    assert "Erika" not in line(row(signed))


@pytest.mark.parametrize("rest", ["", "[", '["v", 17675', '["end", 12, "do'])
def test_a_file_that_was_cut_off_is_good_up_to_there(rest):
    read = parsed([*written(end=False), *filter(None, [rest])], "f")
    assert (len(read.inputs), read.ended_ns) == (len(INPUTS), T0 + 2 * S)
    assert "cut off" in read.ended


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "f: is empty"),
        (["{}"], "f:1: found '{}', which is no line of a recording (the first line says that it is one)"),
        (["[1, 2]"], "f:1: found '[1, 2]', which is no line"),
        (
            ['{"linegate": "recording", "v": 2}'],
            "f:1: found a recording of version 2, allowed 1; replay it with the linegate that wrote it",
        ),
        (['{"linegate": "recording", "v": 1, "kind": "source"}'], "(name is missing)"),
        ([header_line(HEADER._replace(started_ns="x"))], "time 'x', a whole number of nanoseconds"),
        ([header_line(HEADER._replace(name=7))], "name or state is of another kind"),
        (["[" * 100_000], "it is no JSON"),
        (["gateway: {}\n"], "f:1: found 'gateway: {}', which is no line of a recording (it is no JSON)"),
        ([*written(end=False), '["v", 1\n'], f"f:{len(INPUTS) + 2}: found '[\"v\", 1', which is no line"),
        ([*written(end=False), '["zz", 1]\n'], "kind 'zz'"),
        ([*written(end=False), '["v", 1, "a", 1, 9, null]\n'], "no line"),
        ([*written(end=False), '["v", "1", "a", 1, 0, null]\n'], "time '1'"),
        ([*written(end=False), '["v", -1, "a", 1, 0, null]\n'], "time -1"),
        ([*written(end=False), '["v", 1, 17, 1, 0, null]\n'], "of another kind"),
        ([*written(end=False), '["v", 1, "a", {}, 0, null]\n'], "of another kind"),
        ([*written(), '["v", 1, "a", 1, 0, null]'], "behind the end"),
        (["x"], "f:1"),
    ],
)
def test_damage_is_told_with_its_line(lines, said):
    with pytest.raises(RecordingError) as refused:
        parsed(lines, "f")
    assert said in str(refused.value)


def values(signal, numbers, every_ns=2 * S):
    return [DataValue(signal, number, Status.GOOD, None, T0 + at * every_ns) for at, number in enumerate(numbers)]


@pytest.fixture
def recorded(tmp_path):
    def write(inputs, header=HEADER):
        path = tmp_path / "recording.jsonl"
        path.write_text("".join(written(sorted(inputs, key=lambda one: one.received_time_ns), header)))
        return path

    return write


def test_the_first_difference_is_found(configured, linegate, recorded):
    # 40 pieces in 2 s: too fast for an ideal cycle of 2 s, possible with one of 50 ms.
    file = recorded([*values("plc.good", [100, 101, 102, 142, 143]), *values("plc.state", [2])])
    old = configured(name="old.yaml")
    new = configured(name="new.yaml", **{"ideal_cycle: 2 s": "ideal_cycle: 50 ms"})
    ended = linegate("replay", file, "--config", new, "--against", old, "--json")
    assert ended.code == 0, ended.err
    result = json.loads(ended.out)["machines"]["M-1"]
    assert result["new"]["numbers"]["good"] == 43
    assert result["old"]["numbers"]["good"] < 43
    assert result["new"]["unread"] == ["plc.scrap"]
    assert result["first_difference"]["at_ns"] == T0 + 6 * S
    assert result["first_difference"]["after_ns"] == 6 * S
    ended = linegate("replay", file, "--config", new, "--against", old)
    lines = ended.out.splitlines()
    assert any(one.split()[:3] == ["good", str(result["old"]["numbers"]["good"]), "43"] for one in lines), ended.out
    assert any("first difference at 2026-01-05T06:00:06.000Z, 6.000 s after" in one for one in lines)
    assert any("not in the recording: plc.scrap" in one for one in lines)


def test_without_other_rules_it_only_counts(configured, linegate, recorded):
    ended = linegate("replay", recorded(values("plc.good", [1, 2, 3])), "--config", configured())
    assert ended.code == 0
    assert "difference" not in ended.out
    assert any(one.split() == ["good", "2"] for one in ended.out.splitlines())


@pytest.mark.parametrize(
    ("header", "inputs", "said"),
    [
        (
            HEADER._replace(kind="machine", name="X-9"),
            [],
            "of the work unit 'X-9', found in the configuration: M-1; name a",
        ),
        (HEADER, [], "the recording of the source 'plc' holds no input; record while it delivers values"),
        (
            HEADER,
            values("other.signal", [1]),
            "no work unit of the configuration reads any of its signals: other.signal",
        ),
        (HEADER._replace(kind="machine", name="M-1", state={"v": 77}), [], "cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused(configured, linegate, recorded, header, inputs, said):
    ended = linegate("replay", recorded(inputs, header), "--config", configured())
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err


def test_a_missing_file_is_told(configured, linegate):
    ended = linegate("replay", "nowhere.jsonl", "--config", configured())
    assert ended.code == 1
    assert "nowhere.jsonl: cannot be read" in ended.err


def test_hours_that_were_recorded_are_not_those_of_other_rules(configured, linegate, recorded):
    """Rules without a calendar have no hours, whatever the recording's machine had."""
    plan = CalendarPlan(T0, (PlannedTime(T0, MachineState.NOT_SCHEDULED, ""),))
    given = [*values("plc.good", range(9)), *values("plc.scrap", [0] * 9), *values("plc.state", [2] * 9)]
    file = recorded(given)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([lines[0], line(row(plan)), *lines[1:]]))
    ended = linegate("replay", file, "--config", configured(), "--json")
    durations = json.loads(ended.out)["machines"]["M-1"]["new"]["states_ns"]
    assert durations.get("NOT_SCHEDULED", 0) == 0
    assert durations["PRODUCING"] > 0
