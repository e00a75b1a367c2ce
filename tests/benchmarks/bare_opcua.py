"""The bare loop of ``bench_opcua.py``: asyncua's subscription, paho and json. No reconnect, no quality, no counting."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time

import paho.mqtt.client as mqtt
from asyncua import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

# At its usual level the library formats every notification, even if nobody reads it.
logging.getLogger("asyncua").setLevel(logging.WARNING)


class Handler:
    """Publishes the changes of one notification as one message."""

    def __init__(self, broker: mqtt.Client, names: dict) -> None:
        self._broker = broker
        self._names = names
        self._values: dict[str, float] = {}

    def datachange_notification(self, node, value, _data) -> None:
        if not self._values:  # the library makes a task of each change: this runs after all of them
            asyncio.get_running_loop().call_soon(self._publish)
        self._values[self._names[node.nodeid]] = value

    def _publish(self) -> None:
        document = {"t": time.time_ns() // 1_000_000, "values": self._values}
        self._values = {}
        self._broker.publish("bare/telemetry/imm", json.dumps(document, separators=(",", ":")), qos=0)


async def main(endpoint: str, broker_port: int, nodes: int, publish_ms: float, namespace: str) -> None:
    broker = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    broker.connect("127.0.0.1", broker_port)
    broker.loop_start()
    # It never connects again: on a busy computer the usual four seconds for an answer would end it.
    async with Client(endpoint, timeout=60, watchdog_intervall=30) as client:
        index = await client.get_namespace_index(namespace)
        tags = [client.get_node(f"ns={index};s=Tag{number:04d}") for number in range(nodes)]
        names = {tag.nodeid: f"imm.tag{number:04d}" for number, tag in enumerate(tags)}
        subscription = await client.create_subscription(publish_ms, Handler(broker, names))
        await subscription.subscribe_data_change(tags)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]))
