"""Real brokers on free ports, and a second client that sees what they publish."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections import defaultdict

import orjson
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.monitor import Monitor, MonitorSettings
from gateway.shown.status import ClockView

DEADLINE_S = 60.0


def find_mosquitto():
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Mosquitto:
    """A mosquitto process that can be killed and started again on the same port, without a memory."""

    def __init__(self, folder, port, *lines):
        self.port = port
        self.config = folder / f"mosquitto-{port}.conf"
        user = ["user root"] if os.geteuid() == 0 else []
        self.config.write_text("\n".join([f"listener {port} 127.0.0.1", "persistence false", *user, *lines]) + "\n")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [find_mosquitto(), "-c", str(self.config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + DEADLINE_S
        while True:
            assert self.process.poll() is None, "mosquitto did not start"
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert time.monotonic() < deadline, "mosquitto does not listen"
                time.sleep(0.01)
            else:
                return self

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


class Watcher:
    """A second client: everything published below ``#``, in order, per topic."""

    def __init__(self, port, protocol=MQTTProtocolVersion.MQTTv5, context=None):
        self.messages = defaultdict(list)
        self.subscribed = False
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"watcher-{time.monotonic_ns()}", protocol=protocol
        )
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_subscribe = self._on_subscribe
        self.client.on_message = self._on_message
        if context is not None:
            self.client.tls_set_context(context)
        self.client.connect_async("127.0.0.1", port)
        self.client.loop_start()

    def _on_subscribe(self, *_):
        self.subscribed = True

    def _on_message(self, _client, _data, message):
        self.messages[message.topic].append((orjson.loads(message.payload), message.retain))

    def last(self, topic):
        return self.messages[topic][-1][0] if self.messages[topic] else None

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def free_port(port_for_later):
    return port_for_later


@pytest.fixture
def mosquitto(tmp_path, free_port):
    if find_mosquitto() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("mosquitto is not installed: apt-get install mosquitto")
        pytest.skip("mosquitto is not installed")
    brokers = []

    def start(*lines):
        brokers.append(Mosquitto(tmp_path, free_port(), *(lines or ("allow_anonymous true",))))
        return brokers[-1].start()

    yield start
    for broker in brokers:
        broker.kill()


@pytest.fixture
def watch():
    watchers = []

    def start(*args, **kwargs):
        watchers.append(Watcher(*args, **kwargs))
        return watchers[-1]

    yield start
    for watcher in watchers:
        watcher.close()


@pytest.fixture
def until():
    async def wait(condition, timeout_s=DEADLINE_S):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            await asyncio.sleep(0.01)

    return wait


@pytest.fixture
async def monitor_on():
    running = []

    def start(port, **settings):
        link_changed = settings.pop("link_changed", None)
        kept = {name: settings.pop(name) for name in ("shelf", "last_number") if name in settings}
        known = ClockView(quality="trusted", known=True, since_ns=0, utc_offset_ms=0, offset_ms=0)
        times = {"now_ns": time.time_ns, "utc_ns": lambda steady_ns: steady_ns, "clock": lambda: known}
        times = {name: settings.pop(name, default) for name, default in times.items()}
        monitor = Monitor(
            MonitorSettings(host="127.0.0.1", port=port, **settings),
            gateway_id="gw",
            version="0.1.0",
            boot_id="b1",
            link_changed=link_changed,
            **times,
            **kept,
        )
        running.append((monitor, asyncio.create_task(monitor.run())))
        monitor.task = running[-1][1]
        return monitor

    yield start
    for monitor, task in running:
        await monitor.close()
        if not task.cancelled():
            await asyncio.wait([task], timeout=60)
            assert task.done()
            assert task.cancelled() or task.exception() is None


@pytest.fixture
async def serve():
    servers, writers, handlers = [], [], []

    async def start(handler, port=0):
        async def handle(reader, writer):
            writers.append(writer)
            handlers.append(asyncio.current_task())
            await handler(reader, writer)
            writer.close()

        servers.append(await asyncio.start_server(handle, "127.0.0.1", port))
        return servers[-1].sockets[0].getsockname()[1]

    yield start
    for server in servers:
        server.close()
    for handler in handlers:
        handler.cancel()
    await asyncio.gather(*handlers, return_exceptions=True)
    for writer in writers:
        writer.transport.abort()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
