"""The broker is only listened to by others: without it the main job goes on, and with it everybody sees the truth."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections import defaultdict

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

BASE = "linegate/demo"


def find_mosquitto():
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Mosquitto:
    """Debian's broker on one port; killed and started again it has no memory."""

    def __init__(self, folder, port):
        self.port = port
        self._config = folder / "mosquitto.conf"
        user = "user root\n" if os.geteuid() == 0 else ""
        self._config.write_text(f"listener {port} 127.0.0.1\npersistence false\nallow_anonymous true\n{user}")
        self._process = None

    def start(self):
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen([find_mosquitto(), "-c", str(self._config)], stdout=quiet, stderr=quiet)
        deadline = time.monotonic() + 60
        while True:
            assert self._process.poll() is None, "mosquitto did not start"
            try:
                return socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert time.monotonic() < deadline, "mosquitto does not listen"
                time.sleep(0.02)

    def kill(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Watcher:
    """Another client of the broker: what it is told below ``#``, by topic."""

    def __init__(self, port):
        self.heard = defaultdict(list)
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_message = self._on_message
        self.client.connect_async("127.0.0.1", port)
        self.client.loop_start()

    def _on_message(self, _client, _data, message):
        self.heard[message.topic].append((json.loads(message.payload), message.retain))

    def last(self, topic):
        said = self.heard.get(f"{BASE}/{topic}")
        return said[-1][0] if said else None

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
async def site(plant, port_for_later):
    """ASM-01 with a broker configured that does not run yet; watchers are made on demand."""
    if find_mosquitto() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("mosquitto is not installed: apt-get install mosquitto")
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
    plant.ports["broker"] = port_for_later()
    plant.broker = True
    plant.document["mqtt"].update(protocol="auto", heartbeat="1 s")
    plant.keep("ASM-01")
    plant.mosquitto = Mosquitto(plant.folder, plant.ports["broker"])
    watchers = []

    def watch():
        watchers.append(Watcher(plant.ports["broker"]))
        return watchers[-1]

    plant.watch = watch
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01")
    yield plant
    for watcher in watchers:
        watcher.close()
    plant.mosquitto.kill()


def pieces(view):
    return sum(unit["counted_good"] + unit["counted_scrap"] for unit in view["work_units"])


async def test_a_broker_that_comes_late_and_dies_in_between_disturbs_nothing(site, until):
    await site.run()
    await site.ready()
    await site.produce()
    view = await site.status_where(lambda view: pieces(view) > 20 and view["targets"][0]["posted"] > 1, "bookings")
    assert view["mqtt"]["connected"] is False
    assert view["mqtt"]["last_error"]

    site.mosquitto.start()
    watcher = site.watch()
    await site.status_where(lambda view: view["mqtt"]["connected"], "the link to the broker")
    await until(lambda: (watcher.last("state") or {}).get("online") is True, "the retained state")
    await until(lambda: (watcher.last("health") or {}).get("seq"), "a heartbeat")
    await until(lambda: (watcher.last("machine/ASM-01/counts") or {}).get("counted_good"), "counts")
    await until(lambda: any("asm.current" in one["values"] for one, _ in telemetry(watcher)), "telemetry")

    site.mosquitto.kill()
    view = await site.status_where(lambda view: not view["mqtt"]["connected"], "the lost link")
    before, posted = pieces(view), view["targets"][0]["posted"]
    await site.status_where(
        lambda view: pieces(view) > before + 20 and view["targets"][0]["posted"] > posted + 1, "bookings without it"
    )
    site.mosquitto.start()
    late = site.watch()
    await until(lambda: (late.last("state") or {}).get("online") is True, "the state, said again to an empty broker")
    await until(lambda: (late.last("machine/ASM-01/counts") or {}).get("counted_good", 0) > before, "counts again")
    await site.halt()
    result = await site.arrived()
    assert result.balanced, result.to_json()
    assert (result.machines[0].unknown, result.machines[0].review) == (0, 0)


def telemetry(watcher):
    return watcher.heard.get(f"{BASE}/telemetry/asm", [])


async def test_state_will_and_heartbeat_as_a_subscriber_sees_them(site, until):
    site.mosquitto.start()
    watcher = site.watch()
    await site.run()
    await site.ready()
    await until(lambda: (watcher.last("state") or {}).get("online") is True, "online")
    await until(lambda: len(watcher.heard[f"{BASE}/health"]) >= 2, "two heartbeats")
    first, second = (said for said, _ in watcher.heard[f"{BASE}/health"][-2:])
    assert second["seq"] == first["seq"] + 1
    online = watcher.last("state")
    assert online["v"] == 1
    assert online["version"]

    # Who subscribes later hears the present, marked as retained; what is not said yet would come as news.
    topics = ("state", "machine/ASM-01/state", "machine/ASM-01/order", "source/asm", "target/erp")
    for topic in topics:
        await until(lambda topic=topic: watcher.last(topic), f"the first {topic}")
    await until(lambda: watcher.last("machine/ASM-01/order")["order"], "the order")
    await until(lambda: watcher.last("source/asm")["state"] == "up", "the link to the machine")
    late = site.watch()
    for topic in topics:
        await until(lambda topic=topic: late.last(topic), f"the retained {topic}")
        assert late.heard[f"{BASE}/{topic}"][0][1] is True, topic
    assert late.last("machine/ASM-01/order")["order"]
    assert late.last("source/asm")["state"] == "up"

    site.daemon.kill()
    await site.daemon.ended()
    await until(lambda: watcher.last("state")["online"] is False, "the will")
    assert watcher.last("state")["reason"] == "lost"

    await site.run()
    await site.ready()
    await until(lambda: watcher.last("state")["online"] is True, "online again")
    code, _took_s = await site.daemon.stop()
    assert code == 0
    await until(lambda: watcher.last("state")["online"] is False, "the farewell")
    assert watcher.last("state")["reason"] == "stop"
