import os
import queue
import subprocess
import sys

import paho.mqtt.client as mqtt
import pytest

BLOCKED = """
import sys
sys.modules["amqtt"] = None
sys.argv = ["simulators", "broker"]
from simulators.__main__ import main
sys.exit(main(["broker"]))
"""


@pytest.fixture
def client(simulator):
    one = simulator("broker")
    arrived = queue.Queue()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
    client.on_message = lambda _client, _data, message: arrived.put((message.topic, message.payload))
    subscribed = queue.Queue()
    client.on_subscribe = lambda *_: subscribed.put(True)
    client.arrived, client.subscribed = arrived, subscribed
    client.connect("127.0.0.1", one.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


def test_it_passes_messages_on_and_says_nothing_about_itself(client):
    client.subscribe([("#", 1), ("$SYS/#", 1)])
    client.subscribed.get(timeout=60)
    client.publish("line/asm", b"1", qos=1).wait_for_publish(60)
    assert client.arrived.get(timeout=60) == ("line/asm", b"1")
    assert client.arrived.empty()


def test_it_keeps_retained_messages(client):
    client.publish("line/state", b"PRODUCING", qos=1, retain=True).wait_for_publish(60)
    client.subscribe("line/+", qos=1)
    assert client.arrived.get(timeout=60) == ("line/state", b"PRODUCING")


def test_without_the_library_it_names_the_extra(root):
    done = subprocess.run(
        [sys.executable, "-P", "-c", BLOCKED],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert "linegate[demo]" in done.stderr
    assert "Traceback" not in done.stderr
