import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from kept_waiting import Taken

from drivers.base import TelemetryBlock
from gateway.monitor import bridge
from gateway.shown.status import SourceView, TargetView, WorkUnitView

ROOT = "linegate/gw"
S = 1_000_000_000

CHILD = """
import asyncio, sys, time
from gateway.monitor import Monitor, MonitorSettings
from gateway.shown.status import ClockView
async def main():
    clock = ClockView(quality="trusted", known=True, since_ns=0, utc_offset_ms=0, offset_ms=0)
    monitor = Monitor(MonitorSettings(host="127.0.0.1", port=int(sys.argv[1])), gateway_id="gw", version="0.1.0",
                      now_ns=time.time_ns, utc_ns=lambda t: t, clock=lambda: clock)
    await monitor.run()
asyncio.run(main())
"""


def machine(good=0, state="PRODUCING"):
    return WorkUnitView(id="M1", state=state, state_since_ns=S, order="100240", operation="0010", good=good)


def source(state="up"):
    return SourceView(name="asm", state=state, since_ns=S, simulated=True)


def block(value):
    return [TelemetryBlock(("speed", "load"), [value, None], 1_700_000_000_123_000_000)]


async def test_everything_is_published_where_it_belongs(mosquitto, watch, monitor_on, until):
    broker = mosquitto()
    watcher = watch(broker.port)
    await until(lambda: watcher.subscribed)
    monitor = monitor_on(broker.port)
    monitor.source_changed(source())
    monitor.target_changed(TargetView(name="erp", link="down", since_ns=S, waiting=3, oldest_waiting_ns=S))
    monitor.work_unit_changed(machine(good=5))
    monitor.telemetry("asm", block(7))
    topics = ("state", "telemetry/asm", "machine/M1/order", "machine/M1/counts", "machine/M1/state", "source/asm")
    await until(lambda: all(watcher.last(f"{ROOT}/{topic}") for topic in topics))
    assert monitor.view().connected
    assert monitor.view().last_error == ""
    state = watcher.last(f"{ROOT}/state")
    assert (state["online"], state["version"], state["boot_id"]) == (True, "0.1.0", "b1")
    assert watcher.last(f"{ROOT}/telemetry/asm") == {"t": 1_700_000_000_123, "values": {"speed": 7, "load": None}}
    assert watcher.last(f"{ROOT}/machine/M1/counts")["good"] == 5
    assert watcher.last(f"{ROOT}/machine/M1/state")["state"] == "PRODUCING"
    assert watcher.last(f"{ROOT}/source/asm")["simulated"] is True
    await until(lambda: watcher.last(f"{ROOT}/health"))
    assert watcher.last(f"{ROOT}/health")["outbox_waiting"] == 3
    late = watch(broker.port)
    retained = ("machine/M1/order", "target/erp", "state")
    await until(lambda: all(late.last(f"{ROOT}/{topic}") for topic in retained))
    assert late.messages[f"{ROOT}/state"][0][1], "state must be retained"
    assert not late.messages[f"{ROOT}/telemetry/asm"], "telemetry must not be retained"
    # A live one may come meanwhile.
    assert not any(kept for _, kept in late.messages[f"{ROOT}/health"]), "the heartbeat must not be retained"


async def test_small_messages_in_a_burst_are_sent_at_once(mosquitto, monitor_on, until):
    monitor = monitor_on(mosquitto().port)
    await until(lambda: monitor.view().connected)
    assert monitor._bridge._attempt.client.socket().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_clean_stop_says_so_and_leaves_no_will(mosquitto, watch, monitor_on, until):
    broker = mosquitto()
    watcher = watch(broker.port)
    await until(lambda: watcher.subscribed)
    monitor = monitor_on(broker.port)
    await until(lambda: monitor.view().connected)
    monitor.work_unit_changed(machine(good=1))
    monitor.work_unit_changed(machine(good=2))
    monitor.telemetry("asm", block(1))
    await monitor.close("stop")
    await asyncio.wait_for(monitor.task, 60)
    await until(lambda: (watcher.last(f"{ROOT}/state") or {}).get("online") is False)
    assert watcher.last(f"{ROOT}/state")["reason"] == "stop"
    await until(lambda: (watcher.last(f"{ROOT}/machine/M1/counts") or {}).get("good") == 2)  # behind the state
    await until(lambda: watcher.last(f"{ROOT}/telemetry/asm"))
    monitor.telemetry("asm", block(2))
    monitor.source_changed(source())
    late = watch(broker.port)
    await until(lambda: late.last(f"{ROOT}/state"))
    assert late.last(f"{ROOT}/state")["reason"] == "stop"


async def test_after_sigkill_others_see_it_lost(mosquitto, watch, until):
    broker = mosquitto()
    watcher = watch(broker.port)
    await until(lambda: watcher.subscribed)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(broker.port), cwd=Path(__file__).parents[2]
    )
    try:
        await until(lambda: watcher.last(f"{ROOT}/state"))
        assert watcher.last(f"{ROOT}/state")["online"] is True
    finally:
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
    await until(lambda: (watcher.last(f"{ROOT}/state") or {}).get("online") is False)
    assert watcher.last(f"{ROOT}/state")["reason"] == "lost"
    assert watcher.last(f"{ROOT}/state")["since"] is None


async def test_cancelled_without_close_is_lost_not_silence(mosquitto, watch, monitor_on, until):
    broker = mosquitto()
    watcher = watch(broker.port)
    await until(lambda: watcher.subscribed)
    monitor = monitor_on(broker.port)
    await until(lambda: watcher.last(f"{ROOT}/state"))
    monitor.task.cancel()
    await until(lambda: (watcher.last(f"{ROOT}/state") or {}).get("online") is False)
    assert watcher.last(f"{ROOT}/state")["reason"] == "lost"


async def test_a_restarted_broker_gets_the_latest_of_everything(mosquitto, watch, monitor_on, until):
    broker = mosquitto()
    seen = []
    monitor = monitor_on(broker.port, queue_messages=100, link_changed=seen.append)
    await until(lambda: monitor.view().connected)
    monitor.work_unit_changed(machine(good=1))
    monitor.source_changed(source())
    broker.kill()
    await until(lambda: not monitor.view().connected)
    assert "connection lost" in monitor.view().last_error or "cannot be reached" in monitor.view().last_error
    before = monitor.view().dropped
    taken = Taken()
    for number in range(5000):
        monitor.telemetry("asm", block(number))
    assert taken.seconds() < 1
    assert monitor.view().dropped - before == 4900
    for good in range(2, 9):
        monitor.work_unit_changed(machine(good=good, state="STOPPED"))
    broker.start()
    watcher = watch(broker.port)
    await until(lambda: watcher.subscribed)
    await until(lambda: watcher.last(f"{ROOT}/source/asm") and watcher.last(f"{ROOT}/state"))
    await until(lambda: (watcher.last(f"{ROOT}/machine/M1/counts") or {}).get("good") == 8)
    await until(lambda: watcher.last(f"{ROOT}/machine/M1/state"))
    assert watcher.last(f"{ROOT}/state")["online"] is True
    assert watcher.last(f"{ROOT}/machine/M1/state")["state"] == "STOPPED"
    assert monitor.view().last_error == ""
    assert [view.connected for view in seen if view.connected] == [True, True]


async def test_telemetry_waits_for_the_broker_and_keeps_its_order(free_port, serve, monitor_on, until):
    received = []
    connack = b"\x20\x02\x00\x00"

    async def fake_broker(reader, writer):
        writer.write(connack)
        while packet := await reader.read(65536):
            received.append(packet)

    port = free_port()
    monitor = monitor_on(port, protocol="3.1.1", queue_messages=150)
    await until(lambda: "cannot be reached" in monitor.view().last_error)
    for number in range(200):
        monitor.telemetry("asm", block(number))
    await serve(fake_broker, port)
    await until(lambda: b'"speed":199,' in b"".join(received))
    stream = b"".join(received)
    places = [stream.index(b'"speed":%d,' % number) for number in range(50, 200)]
    assert places == sorted(places)
    assert b'"speed":49,' not in stream
    assert monitor.view().dropped == 50
    monitor.task.cancel()
    await until(lambda: not monitor.view().connected)


async def test_login_refused_is_an_error_not_an_exception(mosquitto, monitor_on, until):
    broker = mosquitto("allow_anonymous false")
    monitor = monitor_on(broker.port, username="gw", password="wrong")
    await until(lambda: "refused the connection" in monitor.view().last_error)
    assert "uthori" in monitor.view().last_error
    assert "mqtt.password" in monitor.view().last_error
    assert "wrong" not in monitor.view().last_error
    monitor.telemetry("asm", block(1))
    monitor.source_changed(source())
    assert not monitor.view().connected


async def test_a_topic_that_the_access_list_denies_is_named(mosquitto, watch, monitor_on, until, tmp_path):
    access = tmp_path / "acl"
    access.write_text(f"topic read #\ntopic write {ROOT}/state\ntopic write {ROOT}/health\n")
    access.chmod(0o644)
    broker = mosquitto("allow_anonymous true", f"acl_file {access}")
    watcher = watch(broker.port)
    await until(lambda: watcher.subscribed)
    monitor = monitor_on(broker.port)
    monitor.source_changed(source())
    await until(lambda: "refuses" in monitor.view().last_error)
    assert monitor.view().connected
    assert f"the broker refuses {ROOT}/source/asm" in monitor.view().last_error
    await until(lambda: watcher.last(f"{ROOT}/state"))
    assert not watcher.messages[f"{ROOT}/source/asm"]


async def test_no_broker_no_name_no_exception(free_port, monitor_on, until):
    monitor = monitor_on(free_port())
    await until(lambda: "cannot be reached" in monitor.view().last_error)
    monitor.telemetry("asm", block(1))
    assert not monitor.view().connected
    taken = Taken()
    await asyncio.wait_for(monitor.close(), 60)
    assert taken.seconds() < 3


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\x7f" + b"\xff" * 127, b""])
async def test_something_else_answers(answer, serve, monitor_on, until):
    async def stranger(reader, writer):
        await reader.read(100)
        writer.write(answer)
        await writer.drain()

    port = await serve(stranger)
    monitor = monitor_on(port)
    await until(lambda: "did not answer to MQTT" in monitor.view().last_error)
    assert not monitor.view().connected
    await monitor.close()
    await asyncio.wait_for(monitor.task, 60)


async def test_a_silent_broker_is_given_up(monkeypatch, serve, monitor_on, until):
    monkeypatch.setattr(bridge, "ANSWER_TIMEOUT_S", 0.2)

    async def silent(reader, writer):
        await reader.read()

    port = await serve(silent)
    monitor = monitor_on(port)
    await until(lambda: "silence" in monitor.view().last_error)
    await monitor.close()
    await asyncio.wait_for(monitor.task, 60)


async def test_a_version_refused_with_its_reason_falls_back_at_once(serve, monitor_on, until):
    versions = []

    async def only_311(reader, writer):
        connect = await reader.read(1000)
        versions.append(connect[connect.index(b"MQTT") + 4])
        writer.write(b"\x20\x03\x00\x84\x00" if versions[-1] == 5 else b"\x20\x02\x00\x00")
        while versions[-1] == 4 and await reader.read(1000):
            pass

    port = await serve(only_311)
    taken = Taken()
    monitor = monitor_on(port)
    await until(lambda: monitor.view().connected)
    assert versions == [5, 4]
    assert taken.seconds() < bridge.RETRY_MIN_S * 0.8
    monitor.task.cancel()
    await until(lambda: not monitor.view().connected)


async def test_heartbeats_on_a_link_that_stays_up(mosquitto, watch, monkeypatch, monitor_on, until):
    monkeypatch.setattr(bridge, "ANSWER_TIMEOUT_S", 1.0)
    broker = mosquitto()
    seen = []
    watcher = watch(broker.port)
    await until(lambda: watcher.subscribed)
    monitor_on(broker.port, heartbeat_ns=S, link_changed=seen.append)
    await until(lambda: len(watcher.messages[f"{ROOT}/health"]) >= 3)
    assert [document["seq"] for document, _ in watcher.messages[f"{ROOT}/health"]][:3] == [1, 2, 3]
    assert watcher.last(f"{ROOT}/health")["rss_bytes"] > 1_000_000
    links = [view.connected for view in seen]  # a busy computer may need more than one attempt
    assert links[links.index(True) :] == [True], "the link did not stay up"


async def test_a_broker_that_stops_reading_costs_bounded_memory_and_all_losses_are_counted(serve, monitor_on, until):
    names = tuple(f"signal_{number}" for number in range(1000))
    stalled = asyncio.Event()
    writers = []

    async def stops_reading(reader, writer):
        await reader.read(1000)
        writer.write(b"\x20\x02\x00\x00")
        writers.append(writer)
        writer.transport.pause_reading()
        await stalled.wait()

    monitor = monitor_on(await serve(stops_reading), protocol="3.1.1", queue_messages=10)
    await until(lambda: monitor.view().connected)
    sent = 0
    while monitor.view().dropped < 100:
        monitor.telemetry("asm", [TelemetryBlock(names, [1.5] * len(names), 0)])
        sent += 1
        await asyncio.sleep(0)
        assert sent < 20_000, "nothing was dropped"
    before = monitor.view().dropped
    assert len(monitor._bridge._attempt.unwritten) <= bridge.UNWRITTEN_MAX
    assert len(monitor._bridge._attempt.client._out_packet) <= bridge.UNWRITTEN_MAX + bridge.UNACKNOWLEDGED_MAX
    writers[0].transport.abort()
    await until(lambda: not monitor.view().connected)
    assert monitor.view().dropped > before, "what was never written is lost too"


async def test_closing_a_link_that_hangs_takes_no_longer_than_promised(serve, monitor_on, until):
    async def hangs(reader, writer):
        await reader.read(1000)
        writer.write(b"\x20\x02\x00\x00")
        await asyncio.Event().wait()

    port = await serve(hangs)
    monitor = monitor_on(port, protocol="3.1.1")
    await until(lambda: monitor.view().connected)
    taken = Taken()
    await monitor.close()
    await asyncio.wait_for(monitor.task, 50)
    assert taken.seconds() < 4.5
