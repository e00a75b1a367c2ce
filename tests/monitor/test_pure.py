import math
from dataclasses import fields, replace
from decimal import Decimal

import orjson
import pytest

from drivers.base import TelemetryBlock
from gateway.monitor import MonitorSettings, topics
from gateway.monitor.pending import QUEUED_VALUES_MAX, RETAINED_INTERVAL_NS, Retained, TelemetryQueue
from gateway.monitor.protocol import SILENT_ENDS_MAX, ProtocolChoice
from gateway.shown.status import ClockView, SourceView, TargetView, WorkUnitView

S = 1_000_000_000
CLOCK = ClockView(quality="holdover", known=True, since_ns=0, utc_offset_ms=800_000, offset_ms=-2000)


def test_the_tree_of_topics():
    tree = topics.Topics("plant/line", "gw-1")
    assert tree.state == "plant/line/gw-1/state"
    assert tree.health == "plant/line/gw-1/health"
    assert tree.machine("ASM-01", "counts") == "plant/line/gw-1/machine/ASM-01/counts"
    assert tree.source("asm") == "plant/line/gw-1/source/asm"
    assert tree.target("erp") == "plant/line/gw-1/target/erp"
    assert tree.telemetry("asm") == "plant/line/gw-1/telemetry/asm"


def test_names_with_a_meaning_to_mqtt_stay_one_level_and_distinct():
    assert topics.level("a/b+c#d") == "a%2Fb%2Bc%23d"
    assert topics.level("a%2Fb") != topics.level("a/b")


@pytest.mark.parametrize("root", ["", "/a", "a/", "a/+/b", "#"])
def test_a_root_that_is_no_topic_is_refused(root):
    with pytest.raises(ValueError, match=r"mqtt\.topic"):
        topics.Topics(root, "gw")


def test_telemetry_merges_blocks_of_one_reading():
    payload = topics.telemetry(
        [TelemetryBlock(("a", "b"), [1, None], 5_000_000), TelemetryBlock(("c",), [2.5], 7_999_999)]
    )
    assert payload == b'{"t":7,"values":{"a":1,"b":null,"c":2.5}}'


def test_telemetry_is_exact_beyond_64_bits_and_always_json():
    values = [2**64 + 1, math.nan, -math.inf, "\ud800", True, 18446744073709551615]
    payload = topics.telemetry([TelemetryBlock(("a", "b", "c", "d", "e", "f"), values, 0)])
    assert b'"a":18446744073709551617' in payload
    assert b'"b":null,"c":null' in payload
    assert b'"e":true,"f":18446744073709551615' in payload
    assert b"NaN" not in payload


def test_the_heartbeat_sums_up_the_targets():
    views = [
        TargetView(name="a", link="up", since_ns=0, waiting=3, oldest_waiting_ns=40 * S),
        TargetView(name="b", link="down", since_ns=0, waiting=4, oldest_waiting_ns=10 * S),
        TargetView(name="c", link="up", since_ns=0),
    ]
    document = orjson.loads(
        topics.health(
            seq=2,
            now_ns=100 * S,
            started_ns=70 * S,
            targets=views,
            rss_bytes=5,
            dropped=1,
            events_dropped=4,
            clock=CLOCK,
            utc_now_ns=900 * S,
        )
    )
    assert document == {
        "v": 1,
        "seq": 2,
        "uptime_s": 30,
        "time_ms": 900_000,
        "outbox_waiting": 7,
        "outbox_oldest_s": 90,
        "rss_bytes": 5,
        "telemetry_dropped": 1,
        "events_dropped": 4,
        "clock_quality": "holdover",
        "clock_known": True,
        "clock_offset_ms": -2000,
        "utc_offset_ms": 800_000,
        "status": "ok",
        "degraded": [],
        "buffer": None,
    }


def test_nothing_waits_and_nobody_knows_the_memory():
    document = orjson.loads(
        topics.health(
            seq=1,
            now_ns=S,
            started_ns=0,
            targets=[],
            rss_bytes=None,
            dropped=0,
            events_dropped=0,
            clock=CLOCK,
            utc_now_ns=S,
        )
    )
    assert (document["outbox_waiting"], document["outbox_oldest_s"], document["rss_bytes"]) == (0, 0, None)


def test_documents_of_a_machine():
    view = WorkUnitView(
        id="ASM-01",
        state="PRODUCING",
        state_since_ns=3 * S,
        order="100240",
        operation="0010",
        product="P1",
        target="100",
        good=7,
        last_piece_ns=4 * S,
        unknown=({"signal": "a.b", "max_pieces": 3}, {"signal": "a.c", "max_pieces": 4}),
        queue=(
            {"order": "100241", "operation": "0010", "state": "DISPATCHED", "quantity": Decimal("50.5"), "good": 0},
        ),
    )
    assert orjson.loads(topics.machine_state(view)) == {
        "v": 1,
        "state": "PRODUCING",
        "since": 3000,
        "reason": "",
        "reason_source": "",
        "evidence": "",
        "reduced_speed": False,
        "shift": None,
        "production_day": None,
        "planned": None,
    }
    counts = orjson.loads(topics.machine_counts(view))
    assert (counts["good"], counts["last_piece"]) == (7, 4000)
    assert (counts["unknown_intervals"], counts["unknown_max_pieces"]) == (2, 7)
    order = orjson.loads(topics.machine_order(view))
    found = {"order": "100241", "operation": "0010", "state": "DISPATCHED", "quantity": "50.5"}
    assert order["queue"] == [found | {"hold_reason": None, "exceeds_predecessor": None}]


def test_one_unbounded_interval_makes_the_bound_unknown():
    view = WorkUnitView(id="m", state="OFF", state_since_ns=0, unknown=({"max_pieces": 3}, {"max_pieces": None}))
    assert orjson.loads(topics.machine_counts(view))["unknown_max_pieces"] is None


def test_documents_of_the_links():
    source = SourceView(name="asm", state="up", since_ns=S, simulated=True, problems={"x": "no node"}, last_value_ns=9)
    source = replace(source, notices={"clock": "is wrong"}, reconnects=3)
    assert orjson.loads(topics.source_document(source)) == {
        "v": 1,
        "state": "up",
        "since": 1000,
        "simulated": True,
        "error": "",
        "next_retry": None,
        "reconnects": 3,
        "problems": {"x": "no node"},
        "notices": {"clock": "is wrong"},
    }
    target = TargetView(name="erp", link="down", since_ns=S, waiting=2, oldest_waiting_ns=S, parked=1, posted=9)
    document = orjson.loads(topics.target_document(target, 60))
    assert (document["oldest_waiting_s"], document["parked"], document["posted"]) == (60, 1, 9)
    left_out = {"name", "since_ns", "oldest_waiting_ns", "last_error"}
    told = {field.name.removesuffix("_ns") for field in fields(TargetView) if field.name not in left_out}
    assert set(document) == told | {"v", "since", "oldest_waiting_s", "error"}


def test_a_topic_is_due_twice_per_second_and_the_latest_wins():
    retained = Retained()
    assert retained.put("t", b"1")
    assert retained.due(S, 9) == [("t", b"1")]
    assert not retained.put("t", b"1")
    assert retained.next_due_ns() is None
    retained.put("t", b"2")
    retained.put("t", b"3")
    assert retained.due(S + RETAINED_INTERVAL_NS - 1, 9) == []
    assert retained.next_due_ns() == S + RETAINED_INTERVAL_NS
    assert retained.due(S + RETAINED_INTERVAL_NS, 9) == [("t", b"3")]


def test_before_the_end_what_changed_is_due_at_once():
    retained = Retained()
    retained.put("t", b"1")
    retained.due(S, 9)
    retained.put("t", b"2")
    assert retained.due(S, 9) == []
    retained.hurry()
    assert retained.due(S, 9) == [("t", b"2")]


def test_a_new_connection_makes_everything_due_in_the_order_it_came():
    retained = Retained()
    for topic in ("state", "a", "b"):
        retained.put(topic, b"x")
    retained.due(S, 9)
    retained.all_due()
    assert [topic for topic, _ in retained.due(S, 2)] == ["state", "a"]
    assert [topic for topic, _ in retained.due(S, 2)] == ["b"]


def test_a_full_queue_drops_the_oldest_and_counts_it():
    queue = TelemetryQueue(3)
    for number in range(5):
        queue.put("t", [TelemetryBlock(("a",), [number], 0)])
    queue.put("t", [TelemetryBlock((), [], 0)])
    assert (len(queue), queue.dropped) == (3, 2)
    assert queue.take()[1][0].values == [2]


def test_the_queue_is_bounded_by_values_too():
    names = tuple(map(str, range(1000)))
    queue = TelemetryQueue(100_000)
    for _ in range(QUEUED_VALUES_MAX // 1000 + 10):
        queue.put("t", [TelemetryBlock(names, range(1000), 0)])
    assert (len(queue), queue.dropped) == (QUEUED_VALUES_MAX // 1000, 10)


def test_auto_goes_back_and_forth_and_pauses_before_5():
    choice = ProtocolChoice("auto")
    assert choice.version == "5"
    assert choice.refused() is True
    assert choice.version == "3.1.1"
    assert choice.closed_unanswered() is False
    assert choice.version == "5"


def test_a_version_that_worked_is_kept_while_the_broker_restarts():
    choice = ProtocolChoice("auto")
    choice.connected()
    for _ in range(SILENT_ENDS_MAX - 1):
        assert choice.closed_unanswered() is False
        assert choice.version == "5"
    assert choice.closed_unanswered() is True
    assert choice.version == "3.1.1"


@pytest.mark.parametrize("setting", ["5", "3.1.1"])
def test_a_fixed_version_stays(setting):
    choice = ProtocolChoice(setting)
    assert not choice.refused()
    assert not choice.closed_unanswered()
    assert choice.version == setting


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"host": ""}, "host"),
        ({"port": 0}, "port"),
        ({"keepalive_ns": 1}, "keepalive"),
        ({"heartbeat_ns": 1}, "heartbeat"),
        ({"queue_messages": 0}, "queue_messages"),
        ({"client_id": "x" * 129}, "client_id"),
        ({"password": "p"}, "username"),
        ({"host": "broker.example"}, "encrypted"),
    ],
)
def test_settings_out_of_range_are_named(wrong, named):
    with pytest.raises(ValueError, match=named):
        MonitorSettings(**{"host": "127.0.0.1", **wrong})


def test_plain_text_within_the_machine_or_expressly():
    for host in ("localhost", "127.0.0.9", "::1"):
        MonitorSettings(host=host)
    MonitorSettings(host="10.0.0.1", allow_plaintext=True)


def test_the_password_is_not_shown():
    assert "s3cret" not in repr(MonitorSettings(host="localhost", username="u", password="s3cret"))


def test_the_anchor_of_the_audit_trail():
    assert topics.Topics("plant", "box-1").audit == "plant/box-1/audit"
    anchor = f"linegate-audit/1/epoch/7/{'a' * 64}"
    assert orjson.loads(topics.audit_document(anchor)) == {"v": 1, "anchor": anchor}
