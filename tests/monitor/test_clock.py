"""A box without a battery at a broker: what was said of 1970 is said again in UTC once that is known."""

from __future__ import annotations

import time

from drivers.base import TelemetryBlock
from gateway.core.calendar.honest_time import TimeQuality
from gateway.shown.status import SourceView, TargetView, WorkUnitView
from gateway.shown.views import clock_view
from gateway.timing.clock import SteadyClock

ROOT = "linegate/gw"
S = 10**9


class Box:
    def __init__(self):
        self.behind_ns = time.time_ns() - 60 * S
        self.quality = TimeQuality.IMPLAUSIBLE
        self.clock = SteadyClock(0, lambda: time.time_ns() - self.behind_ns, judge=lambda _wall: self.quality)


async def test_mqtt_shows_utc_and_names_it_anew_when_it_is_learned(mosquitto, watch, monitor_on, until):
    box, broker = Box(), mosquitto()
    watcher = watch(broker.port)
    clock = box.clock
    monitor = monitor_on(
        broker.port, now_ns=clock.now_ns, utc_ns=clock.utc_ns, clock=lambda: clock_view(clock), heartbeat_ns=S
    )
    begun_ns = clock.now_ns()
    monitor.source_changed(SourceView(name="plc", state="up", since_ns=begun_ns))
    monitor.target_changed(TargetView(name="erp", link="up", since_ns=begun_ns, waiting=1, oldest_waiting_ns=begun_ns))
    monitor.work_unit_changed(WorkUnitView(id="M", state="OFF", state_since_ns=begun_ns, last_piece_ns=begun_ns))
    times = {"state": "since", "source/plc": "since", "target/erp": "since", "machine/M/state": "since"}
    times["machine/M/counts"] = "last_piece"

    def shown(topic):
        return (watcher.last(f"{ROOT}/{topic}") or {}).get(times[topic], 0)

    await until(lambda: watcher.last(f"{ROOT}/health") and all(0 < shown(topic) < 10**6 for topic in times))
    health = watcher.last(f"{ROOT}/health")
    assert (health["clock_quality"], health["clock_known"], health["utc_offset_ms"]) == ("implausible", False, 0)
    box.behind_ns, box.quality = 0, TimeQuality.SYNCHRONISED
    clock.check()
    monitor.clock_changed()
    await until(lambda: all(abs(shown(topic) - time.time_ns() // 10**6) < 60_000 for topic in times))
    await until(lambda: watcher.last(f"{ROOT}/health")["clock_quality"] == "synchronised")
    health = watcher.last(f"{ROOT}/health")
    assert abs(health["time_ms"] - time.time_ns() // 10**6) < 60_000
    assert abs(health["utc_offset_ms"] - clock.offset_ns // 10**6) < 2
    assert health["uptime_s"] < 60, "a length"
    assert watcher.last(f"{ROOT}/target/erp")["oldest_waiting_s"] < 60, "a length"
    monitor.telemetry("plc", [TelemetryBlock(("n",), [1], clock.now_ns())])
    await until(lambda: watcher.last(f"{ROOT}/telemetry/plc"))
    assert abs(watcher.last(f"{ROOT}/telemetry/plc")["t"] - time.time_ns() // 10**6) < 60_000
