import json
from decimal import Decimal

from gateway.core.confirming.quantities import Pieces
from gateway.core.confirming.stamps import Stages
from gateway.core.document import Identity
from gateway.core.duration import Duration
from gateway.core.model import JobOrder, Role
from gateway.core.orders.job_run import JobRun
from gateway.core.orders.unallocated import Bucket
from gateway.core.rules import CounterRule, WorkUnitRules
from gateway.core.unit_state import Tally
from gateway.core.work_unit import WorkUnit
from gateway.forwarder.target_status import Link, TargetStatus
from gateway.monitor.topics import machine_counts
from gateway.parts import target_view
from gateway.shown.status import ClockView, GatewayView, MqttView, SourceView, TargetView, WorkUnitView, to_json
from gateway.shown.status_text import machine_line
from gateway.shown.views import work_unit_view

CLOCK = ClockView(quality="trusted", known=True, since_ns=1, utc_offset_ms=0, offset_ms=0)


def test_the_whole_gateway_as_plain_json():
    view = GatewayView(
        id="gw",
        version="0.1.0",
        pid=1,
        started_ns=1,
        now_ns=2,
        epoch="e",
        state_dir="state",
        config_digest="sha256:0",
        clock=CLOCK,
        mqtt=MqttView(connected=False, last_error="down", dropped=3),
        sources=(SourceView(name="asm", state="up", since_ns=1, problems={"x": "gone"}),),
        targets=(TargetView(name="erp", link="up", since_ns=1),),
        work_units=(WorkUnitView(id="M1", state="OFF", state_since_ns=1, queue=({"order": "1", "tags": ("a",)},)),),
        warnings=("simulated",),
    )
    document = to_json(view)
    assert json.loads(json.dumps(document)) == document
    assert document["mqtt"] == {"connected": False, "last_error": "down", "dropped": 3, "events_dropped": 0}
    assert document["sources"][0]["problems"] == {"x": "gone"}
    assert document["work_units"][0]["queue"] == [{"order": "1", "tags": ["a"]}]
    assert document["warnings"] == ["simulated"]


def test_what_a_forwarder_knows_of_its_target_is_shown():
    """Each field has a value of its own: one that is not carried over, or over another, is found."""
    numbers = dict(zip(TargetStatus._fields, range(10**9, 10**11, 10**9), strict=False))
    words = {"name": "erp", "link": Link.UP, "last_error": "no route", "breaker": "open"}
    status = TargetStatus(**{**numbers, **words, "stages_p95": Stages(7_000_000, 8_999_999, None, 0)})
    lengths = {
        name.replace("_ns", "_ms"): status._asdict()[name] // 10**6
        for name in ("latency_last_ns", "latency_median_ns", "latency_p95_ns")
    }
    expected = {name: value for name, value in status._asdict().items() if name not in ("late_after_ns", "stages_p95")}
    expected = {name: value for name, value in expected.items() if name.replace("_ns", "_ms") not in lengths}
    stages = {"detection": 7, "trigger": 8, "waiting": None, "answer": 0}
    assert to_json(target_view(status)) == {**expected, **lengths, "stages_p95_ms": stages}


def test_without_a_broker():
    assert to_json(MqttView(connected=True)) == {"connected": True, "last_error": "", "dropped": 0, "events_dropped": 0}


def test_rework_is_shown_wherever_good_and_scrap_are():
    rules = WorkUnitRules(
        work_center="WC",
        ideal_cycle=Duration("1 s"),
        counters=(CounterRule(mode="counter", signal="plc.rework", role=Role.REWORK),),
    )
    identity = Identity(plant="P", epoch="e", gateway_id="gw", line="", machine="M1", work_center="WC")
    job = JobOrder(
        order="1", operation="10", sequence="0", revision=1, work_center="WC", product="X", product_revision="",
        uom="PC", quantity=Decimal(5), sequence_no=1, std_cycle_ns=None, planned_start_ns=None, planned_end_ns=None,
        cancelled=False, source="erp",
    )  # fmt: skip
    unit = WorkUnit(rules, identity)
    state = unit.initial(1)._replace(
        running=JobRun(job, good=1, scrap=2, rework=3, open_good=4, open_scrap=5, open_rework=6),
        counted=Tally(7, 8, 9),
        bucket=Bucket(received=Pieces(10, 11, 12)),
    )
    view = work_unit_view("M1", state, unit.machine.display)
    assert (view.good, view.scrap, view.rework) == (1, 2, 3)
    assert (view.unconfirmed_good, view.unconfirmed_scrap, view.unconfirmed_rework) == (4, 5, 6)
    assert (view.counted_good, view.counted_scrap, view.counted_rework) == (7, 8, 9)
    assert (view.unallocated_good, view.unallocated_scrap, view.unallocated_rework) == (10, 11, 12)
    assert view.queue[0]["rework"] == 3
    counts = json.loads(machine_counts(view))
    assert {name: counts[name] for name in counts if name.endswith("rework")} == {
        "rework": 3, "unconfirmed_rework": 6, "unallocated_rework": 12, "counted_rework": 9,
    }  # fmt: skip
    line = machine_line(to_json(view), 2)
    assert "15 unconfirmed" in line
    assert "33 unallocated" in line
