"""What arrives at the broker, and when: the same for every candidate. Interprets no payload."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

TIMEOUT_S = 60.0


class Arrival(NamedTuple):
    """One message; CLOCK_MONOTONIC nanoseconds."""

    at_ns: int
    payload: bytes


class Subscriber:
    """Collects the messages of all topics that have ``part`` in them."""

    def __init__(self, host: str, port: int, part: str) -> None:
        self.arrivals: list[Arrival] = []
        subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=0)
        self._client.on_subscribe = lambda *_: subscribed.set()

        def on_message(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
            at_ns = time.monotonic_ns()
            if part in message.topic:
                self.arrivals.append(Arrival(at_ns, message.payload))

        self._client.on_message = on_message
        self._client.connect(host, port)
        self._client.loop_start()
        if not subscribed.wait(TIMEOUT_S):
            raise TimeoutError(f"the broker did not answer within {TIMEOUT_S:g} s")

    def between(self, from_ns: int, to_ns: int) -> list[Arrival]:
        """What arrived in a window."""
        return [one for one in tuple(self.arrivals) if from_ns <= one.at_ns < to_ns]

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()
