"""What happened at a machine: told once, not retained, and not lost with the link."""

from __future__ import annotations

import json
import signal

import new_database
import pytest

from buffer.outbox import Outbox
from buffer.store import Store
from gateway.core.document import Identity
from gateway.core.model import MachineState, Notice
from gateway.core.rules import CounterRule, WorkUnitRules
from gateway.core.rules_state import StopReasonRule, TimeModelRule
from gateway.core.state.interval import StateInterval
from gateway.core.state.setup import SetupEnded, SetupObservation, SetupOverrun
from gateway.core.state.time_elements import TimeModel
from gateway.core.state.timeline_state import ReasonRequired
from gateway.core.work_unit import WorkUnit
from gateway.monitor import bridge, events
from gateway.monitor.backlog import EVENTS_MAX, Backlog
from gateway.parts import Parts
from gateway.shown.machine_events import machine_event
from gateway.sources.taps import Taps
from gateway.work_unit.runner import Runner, RunnerHooks

S = 1_000_000_000
OFFSET_NS = 5 * S
TOPIC = "linegate/gw/machine/M1/interval"
STOP = StateInterval(
    MachineState.STOPPED, 10 * S, 70 * S + 1_500_000, "JAM", "alarm", planned=None, shift="2026-03-27/F", order="4711",
    operation="0010", stop_from_ns=9 * S, alarms=("101", "7"), amended="detection_lag",
)  # fmt: skip


def event(output):
    return machine_event("M1", output, TimeModel(TimeModelRule(), StopReasonRule()))


def told(output):
    found = event(output)
    return events.topic_of(found), json.loads(events.payload_of(found, lambda steady_ns: steady_ns + OFFSET_NS))


def test_a_final_interval():
    """This form is documented, and people build on it: names, order and units are fixed."""
    topic, payload = told(STOP)
    assert topic == "interval"
    assert list(payload.items()) == [
        ("v", 1), ("from", 15_000), ("to", 75_001), ("duration_ms", 60_001), ("state", "STOPPED"), ("element", "ADET"),
        ("reason", "JAM"), ("reason_source", "alarm"), ("alarms", ["101", "7"]), ("stop_since", 14_000),
        ("order", "4711"), ("operation", "0010"), ("shift", "F"), ("production_day", "2026-03-27"), ("planned", None),
        ("reduced_speed", False), ("speed_loss_ms", 0), ("estimated", False), ("overtime", False),
        ("amended", "detection_lag"),
    ]  # fmt: skip


def test_a_clock_that_steps_within_an_interval_bends_no_length():
    data = json.loads(
        events.payload_of(event(STOP), lambda steady_ns: steady_ns + (3600 * S if steady_ns > 50 * S else 0))
    )
    assert (data["from"], data["to"], data["stop_since"]) == (3_610_000, 3_670_001, 3_609_000)


def test_an_interval_outside_of_shifts_and_orders():
    _, payload = told(StateInterval(MachineState.NOT_SCHEDULED, 0, S, planned=MachineState.NOT_SCHEDULED))
    assert (payload["shift"], payload["production_day"], payload["order"]) == (None, None, None)
    assert (payload["planned"], payload["element"], payload["stop_since"]) == ("NOT_SCHEDULED", "OUTSIDE", None)


def test_what_somebody_should_look_at():
    assert told(ReasonRequired(400 * S, 100 * S, MachineState.STOPPED)) == (
        "attention",
        {"v": 1, "what": "reason_required", "at": 405_000, "since": 105_000, "state": "STOPPED", "planned_ms": None},
    )
    assert told(SetupOverrun(400 * S, 60 * S, 100 * S)) == (
        "attention",
        {"v": 1, "what": "setup_overrun", "at": 405_000, "since": 105_000, "state": None, "planned_ms": 60_000},
    )


def test_an_entry_of_the_setup_matrix():
    assert told(SetupObservation(10 * S, "P1", "P2", "T1", "T2", 7 * S, trigger="product")) == (
        "setup",
        {
            "v": 1, "at": 15_000, "duration_ms": 7000, "from_product": "P1", "to_product": "P2", "from_tool": "T1",
            "to_tool": "T2", "trigger": "product",
        },
    )  # fmt: skip


def test_what_is_not_told_on_its_own():
    assert event(SetupEnded(1, "first_good")) is None


def test_in_memory_the_oldest_is_dropped_and_counted():
    kept = Backlog(None, now_ns=lambda: 1, per_second=1000, wake=lambda: None)
    for number in range(EVENTS_MAX + 3):
        kept.put("M1", "t", b"%d" % number)
    assert (kept.waiting, kept.dropped) == (EVENTS_MAX, 3)


# --- with a broker ---------------------------------------------------------------------------------------------------


def numbered(number):
    return event(STOP._replace(from_ns=number * 1_000_000, to_ns=number * 1_000_000 + S))


async def test_events_wait_for_the_broker_and_are_not_retained(mosquitto, watch, monitor_on, until):
    broker = mosquitto()
    watcher = watch(broker.port)
    await until(lambda: watcher.subscribed)
    monitor = monitor_on(broker.port)
    for number in range(50):
        monitor.machine_event(numbered(number))
    assert not monitor.view().connected
    await until(lambda: len(watcher.messages[TOPIC]) == 50)
    assert [message["from"] for message, _ in watcher.messages[TOPIC]] == list(range(50)), "in their order, once each"
    late = watch(broker.port)
    await until(lambda: late.subscribed and late.messages["linegate/gw/state"])
    assert late.messages[TOPIC] == [], "what happened is not told to those who come later"


async def test_no_event_is_lost_when_the_broker_dies(mosquitto, watch, monitor_on, until, monkeypatch):
    # A watcher hears only what is published after it subscribed; the broker forgets it when it is killed.
    monkeypatch.setattr(bridge, "RETRY_MIN_S", 3.0)
    broker = mosquitto()
    monitor = monitor_on(broker.port)
    await until(lambda: monitor.view().connected and monitor._bridge.idle)
    broker.process.send_signal(signal.SIGSTOP)  # it takes what is sent, and acknowledges nothing
    for number in range(30):
        monitor.machine_event(numbered(number))
    await until(lambda: monitor._bridge.room(1) == 0)
    broker.kill()
    await until(lambda: not monitor.view().connected)
    for number in range(30, 60):
        monitor.machine_event(numbered(number))
    broker.start()
    second = watch(broker.port)
    await until(lambda: second.subscribed)
    await until(lambda: len(second.messages[TOPIC]) == 60)
    assert [message["from"] for message, _ in second.messages[TOPIC]] == list(range(60)), "in their order"
    assert monitor.view().events_dropped == 0


async def test_what_a_commit_brings_is_published(mosquitto, watch, monitor_on, until, tmp_path):
    """The way from a work unit's outputs to the broker: the machine as it is now, and each event."""
    rules = WorkUnitRules(work_center="WC", counters=(CounterRule(mode="counter", signal="plc.good"),))
    identity = Identity(plant="P", epoch="e", gateway_id="gw", line="", machine="M1", work_center="WC")
    unit = WorkUnit(rules, identity)
    broker = mosquitto()
    watcher = watch(broker.port)
    await until(lambda: watcher.subscribed)
    async with await Store.open(new_database.at(tmp_path / "linegate.db"), now_ns=lambda: 1, max_bytes=10**7) as store:
        parts = Parts(Outbox(store), Taps(lambda: 1), lambda at_ns: at_ns)
        parts.monitor = monitor_on(broker.port)
        hooks = RunnerHooks(lambda _job: (), lambda _outputs, _state: None, lambda: None, lambda _text: None)
        parts.runners["M1"] = Runner(
            unit, unit.initial(S), store, now_ns=lambda: 1, checkpoint_ns=S, idle_wake_ns=S, hooks=hooks
        )
        parts.publish("M1", (STOP, ReasonRequired(2 * S, S, MachineState.STOPPED), Notice(1, "X")))
        await until(lambda: watcher.messages["linegate/gw/machine/M1/attention"] and watcher.messages[TOPIC])
        assert watcher.last(TOPIC)["reason"] == "JAM"
        state = watcher.last("linegate/gw/machine/M1/state")
    assert (state["state"], state["reason"], state["evidence"]) == ("UNKNOWN", "NO_DATA_YET", "no data yet")


@pytest.mark.parametrize("waiting", [0, 25])
async def test_what_waits_is_told_before_the_end(mosquitto, watch, monitor_on, until, waiting):
    broker = mosquitto()
    watcher = watch(broker.port)
    monitor = monitor_on(broker.port)
    await until(lambda: watcher.subscribed and monitor.view().connected)
    for number in range(waiting):
        monitor.machine_event(numbered(number))
    await monitor.close()
    await until(lambda: (watcher.last("linegate/gw/state") or {}).get("online") is False)
    await until(lambda: len(watcher.messages[TOPIC]) == waiting)
