"""The stored state: whole, or refused with a reason."""

from __future__ import annotations

import json

import pytest

from gateway.core import snapshot
from gateway.core.duration import Duration
from gateway.core.entries import SetupEntry
from gateway.core.model import JobOrderState, LostCounter, MachineState, Status, TimePassed
from gateway.core.orders.job_run import JobRun
from gateway.core.orders.standing_holds import HoldScope, StandingHold
from gateway.core.orders.unallocated import Found, add
from gateway.core.rate import Rate
from gateway.core.rules import CounterRule, OrderRule, PulseRule, Role
from gateway.core.rules_confirming import UnallocatedRule
from gateway.core.snapshot import SnapshotError

COUNTED = CounterRule(
    mode="counter", signal="plc.good", modulus=2**64, max_rate=Rate.parse("2 /s"), restart_evidence=("plc.boots",)
)
PULSES = PulseRule(mode="pulse", signal="box.n", role=Role.SCRAP, min_cycle=Duration("1 s"))


@pytest.fixture
def floor(rig):
    """A work unit that has something in every field."""
    made = rig(COUNTED, PULSES, orders=OrderRule(choose="job_signal", job_signal="plc.job"))
    for value in (2**60 - 2, 2**60 - 1):
        made.value("plc.good", value)
    made.order("A", "100.50", echo=(("so", "42"), ("cc", "ü")), std_cycle_ns=5)
    made.order("B", 50)
    made.value("plc.boots", "2026-05-28")
    made.value("plc.job", "A-0010")
    for second, value in enumerate((2**60, 2**60 + 1, 7, 8, 5000)):
        made.at(f"{second + 1} s").value("plc.good", value)
    made.value("box.n", False)
    made.value("box.n", None, Status.BAD)
    made.at("9 s").value("box.n", True)
    made.value("plc.job", "B-0010")
    made.value("plc.job", "A-0010")
    made.value("box.n", False)
    loose = Found("plc.good", Role.SCRAP, 3, 5, 9, "ART-1", "L1", "T1", 2)
    bucket = add(UnallocatedRule(), made.state.bucket, loose)
    previous = JobRun(made.state.running.job, JobOrderState.COMPLETED, good=4, seq=2, confirmed_ns=made.now_ns)
    made.state = made.state._replace(next_told="ORDER_WAITS A/0010: it is on hold", bucket=bucket, previous=previous)
    made.put(SetupEntry(made.now_ns, begins=True, who="ann"))
    beside = made.state.running._replace(job=made.state.running.job._replace(order="C"), documents_read=("D1",))
    made.state = made.state._replace(beside=(beside._replace(before_state=JobOrderState.SETUP),), undoable=(previous,))
    made.state = made.state._replace(handling_unit="P-1", lost=(LostCounter("plc.good", 5, 2**60),))
    hold = StandingHold(HoldScope.LOT, "L-7", "crack", "eve", 5)
    held = made.state.beside[0]._replace(standing=(("lot", "L-7", "crack"),))
    made.state = made.state._replace(standing=(hold,), beside=(held,))
    return made


def stored(floor):
    return json.loads(json.dumps(snapshot.encode(floor.unit, floor.state)))


def test_everything_comes_back_but_what_must_be_seen_anew(floor):
    state = snapshot.decode(floor.unit, stored(floor))
    assert state == floor.unit.restored(floor.state)
    for field in floor.state._fields:
        kept = getattr(floor.state, field)
        assert kept not in (None, (), ""), f"{field} proves nothing here"
        if field not in ("detectors", "track"):
            assert getattr(state, field) == kept, field
    assert state.detectors[0] == floor.state.detectors[0]
    assert (state.detectors[0].pending, state.detectors[0].old) != (None, None)
    assert state.detectors[0].value == 8
    assert state.running.job.quantity.as_tuple() == floor.state.running.job.quantity.as_tuple(), "100.50 stays 100.50"
    assert isinstance(state.track.state, MachineState)
    assert isinstance(state.unknown[0].role, Role)


ODD = {"good": 2**70, "hold_reason": "half \ud800", "open_flags": ("\u00fc",)}


@pytest.mark.parametrize("odd", [{}, {"good": 2**70}, {"hold_reason": "half \ud800"}, ODD])
def test_what_waits_is_written_whatever_it_holds(floor, odd):
    run = floor.state.beside[0]._replace(**odd, open_scrap_reasons=(("burr", 2),))
    state = floor.state._replace(queue=(run, *floor.state.queue))
    assert json.loads(snapshot.dump(floor.unit, state)) == json.loads(json.dumps(snapshot.encode(floor.unit, state)))
    assert run in snapshot.load(floor.unit, snapshot.dump(floor.unit, state)).queue


def test_a_level_must_be_seen_anew(floor):
    state = snapshot.decode(floor.unit, stored(floor))
    assert state.detectors[1].level is None
    assert state.detectors[1].candidate_ns == 0
    assert state.detectors[1].seen_ns == floor.state.detectors[1].candidate_ns - 1, "the unsettled edge may be lost"


def test_the_state_is_unknown_until_the_first_value(floor):
    state = snapshot.decode(floor.unit, stored(floor))
    assert state.track.watch.lost
    assert floor.unit.machine.deadline(state.track) == state.at_ns, "that is told at once"
    after, _ = floor.unit.handle(state, TimePassed(state.at_ns))
    assert after.track.state is MachineState.UNKNOWN
    assert after.track.reason == "no valid value of plc.good, box.n"


def test_a_state_without_history_begins_one(floor):
    """As the version before this one stored it."""
    old = stored(floor) | {"v": 2, "track": {"state": "PRODUCING", "since_ns": 5, "lost": []}}
    for name in ("utc_offset_ns", "clocks", "next_told", "bucket", "previous"):
        old.pop(name)
    old |= {"unallocated": [4, 0, 0, 0, 0], "unallocated_since_ns": None}
    state = snapshot.decode(floor.unit, old)
    assert state.counted == floor.state.counted
    assert state.track.timeline.final_ns == floor.state.at_ns


def test_another_configuration_finds_its_baselines(floor, rig):
    other = CounterRule(mode="counter", signal="plc.other")
    changed = rig(other, COUNTED, orders=OrderRule(choose="job_signal", job_signal="plc.job"))
    state = snapshot.decode(changed.unit, stored(floor))
    assert state.detectors == (changed.unit.initial(0).detectors[0], floor.state.detectors[0])


def test_another_counting_mode_starts_afresh(floor, rig):
    changed = rig(PulseRule(mode="pulse", signal="plc.good"), PULSES)
    state = snapshot.decode(changed.unit, stored(floor))
    assert state.detectors[0] == changed.unit.initial(0).detectors[0]


def test_new_evidence_starts_unknown(floor, rig):
    changed = rig(CounterRule(mode="counter", signal="plc.good", restart_evidence=("plc.new", "plc.boots")))
    assert snapshot.decode(changed.unit, stored(floor)).evidence == (None, "2026-05-28")


@pytest.mark.parametrize("version", [0, 6, "1", None])
def test_another_version_is_refused(floor, version):
    with pytest.raises(SnapshotError, match=r"state version .* of M-01; this program knows 5"):
        snapshot.decode(floor.unit, stored(floor) | {"v": version})


@pytest.mark.parametrize("whole", [None, [], "x", 5, {}])
def test_something_else_is_refused(floor, whole):
    with pytest.raises(SnapshotError, match="this program knows 5"):
        snapshot.decode(floor.unit, whole)


def test_a_missing_field_is_refused(floor):
    whole = stored(floor)
    for name in set(whole) - {
        "v",
        "kpi_rules",
        "sharing",
        "lost",
        "standing",
    }:  # for readers of the database; not in older states
        with pytest.raises(SnapshotError, match="the stored state of M-01 cannot be read"):
            snapshot.decode(floor.unit, {key: value for key, value in whole.items() if key != name})


@pytest.mark.parametrize(
    ("path", "broken"),
    [
        *[
            ((name,), wrong)
            for name in ("detectors", "track", "evidence", "counted", "unknown_older", "queue")
            for wrong in (None, 5)
        ],
        (("unknown_older",), [1]),
        (("counted",), [1, 2, 3, 4, 5, 6]),
        (("track", "state"), "DANCING"),
        (("track", "surprise"), 1),
        (("running", "state"), "DANCING"),
        (("running", "job"), None),
        (("running", "job", "quantity"), "many"),
        (("running", "surprise"), 1),
        (("queue", 0, "job", "echo"), 5),
        (("unknown", 0, "role"), "dust"),
        (("detectors", "plc.good", "mode"), None),
        (("detectors", "plc.good", "state"), None),
        (("detectors", "plc.good", "state", "pending"), [1]),
        (("detectors", "box.n", "state", "surprise"), 1),
    ],
)
def test_broken_data_is_refused(floor, path, broken):
    whole = stored(floor)
    place = whole
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = broken
    if path[-1] == "mode":
        del place["mode"]
    with pytest.raises(SnapshotError, match=r"the stored state of M-01 cannot be read: \w+"):
        snapshot.decode(floor.unit, whole)


def test_an_uptime_is_compared_across_a_restart_of_the_gateway(rig):
    rule = CounterRule(mode="counter", signal="plc.good", restart_uptime=("plc.seconds",))
    before = rig(rule)
    before.value("plc.seconds", 500.5)
    before.value("plc.good", 1000)
    after = rig(rule)
    after.state = snapshot.decode(after.unit, stored(before))
    after.value("plc.seconds", 12)
    assert after.state.detectors[0].evidence == "restart"


def test_a_state_from_before_uptimes_were_known_is_loaded(floor, rig):
    kept = stored(floor)
    named = CounterRule(
        mode="counter", signal="plc.good", modulus=2**64, restart_evidence=(), restart_uptime=("plc.boots", "plc.new")
    )
    now = rig(named, PULSES, orders=OrderRule(choose="job_signal", job_signal="plc.job"))
    now.state = snapshot.decode(now.unit, kept)
    assert now.state.evidence == ("2026-05-28", None), "a date once: evidence of another kind"
    now.at("1 h").value("plc.boots", 7)
    now.value("plc.new", 7)
    assert now.state.evidence == ("7", "7")


def test_pieces_without_an_order_of_an_older_state_become_one_entry_each_role(floor):
    old = stored(floor) | {"v": 4, "unallocated": [4, 0, 2, 0, 0], "unallocated_since_ns": floor.state.at_ns - 7}
    del old["bucket"], old["previous"]
    bucket = snapshot.decode(floor.unit, old).bucket
    assert [(one.number, one.what.role, one.what.pieces) for one in bucket.entries] == [
        (1, Role.GOOD, 4), (2, Role.REWORK, 2),
    ]  # fmt: skip
    assert (bucket.left.good, bucket.left.rework, bucket.since_ns) == (4, 2, floor.state.at_ns - 7)
