"""A broker that is slow, frozen, half-open or gone is nothing that an order ever notices."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import signal
import time

import paho.mqtt.client as mqtt
import pytest
import storms
from conservation import rows
from kept_waiting import Deadline, Timeline
from paho.mqtt.enums import CallbackAPIVersion
from proxy import Proxy
from rig import Rig

S = 1_000_000_000
FIXED = 20_261_122
BUSY_S = 120.0
#: Confirmations in each weather, and what one may take then beyond what it takes undisturbed.
ENOUGH = 4
BEYOND_S = 1.0
#: A card that flushes late makes one look slow, a broker every one: the least of so many.
LOOKS = 3
#: What the gateway asks of the broker: told as lost after one and a half of these at most (and some for the computer).
KEEPALIVE_S = 5.0


class Listener:
    """Another client of the broker, directly, not through the proxy."""

    def __init__(self, port):
        self.states = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("linegate/+/state", qos=1)
        self.client.on_message = lambda _client, _data, message: self.states.append(json.loads(message.payload))
        self.client.connect_async("127.0.0.1", port)
        self.client.loop_start()

    def lost_since(self, told):
        """Whether it was told as lost after so many states: a gateway that has noticed, too, may be there again."""
        return not all(state["online"] for state in self.states[told:])

    @property
    def online(self):
        return bool(self.states) and self.states[-1]["online"]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
async def plant(tmp_path):
    """ASM-01 with a broker behind a proxy (``rig.wire``) and another listener (``rig.listener``)."""
    async with Rig(tmp_path, seed=FIXED, broker=True) as rig:
        rig.document["mqtt"].update(keepalive=f"{KEEPALIVE_S:g} s", heartbeat="1 s")
        await rig.open(daemon=False)
        rig.wire = await Proxy(rig.ports["broker"], seed=FIXED).start()
        rig.through["broker"] = rig.wire.port
        rig.write()
        rig.listener = Listener(rig.ports["broker"])
        rig.start()
        await rig.ready()
        with Timeline() as rig.timeline:
            yield rig
        rig.listener.close()
        await rig.wire.close()


async def reached(rig, condition, what, timeout_s=BUSY_S):
    soon = Deadline(timeout_s)
    while not condition():
        if soon.over():
            raise rig.failed(f"waited {timeout_s:g} s in vain for {what}")
        await asyncio.sleep(0.05)


async def latency_s(rig):
    """The p95 from the making of a confirmation to its booking, of the next few, in time in which all may run."""
    since_ns = time.time_ns()

    def booked():
        return rows(rig.ledger, "SELECT key, t_ns FROM bookings WHERE t_ns > ?", since_ns)

    await reached(rig, lambda: len(booked()) >= ENOUGH, "bookings")
    found = booked()  # before the outbox is read: what is confirmed and booked in between is nobody's yet
    made = {
        row["key"]: dt.datetime.fromisoformat(json.loads(row["payload"])["created_at"]).timestamp()
        for row in rows(rig.state_dir / "linegate.db", "SELECT key, payload FROM outbox WHERE kind <> 'ack'")
    }
    return storms.p95([rig.timeline.took_s(made[row["key"]], row["t_ns"] / S) for row in found])


async def as_usual_s(rig, usual_s):
    """That p95 in this weather: the first that is no slower than usual, or else the least."""
    found = []
    while len(found) < LOOKS:
        found.append(await latency_s(rig))
        if found[-1] <= usual_s + BEYOND_S:
            break
    return min(found)


async def test_no_weather_at_the_broker_delays_a_confirmation_and_the_will_tells_the_others(plant):
    rig = plant
    await reached(rig, lambda: rig.listener.online, "the gateway to be told online")
    await rig.produce()
    usual_s = await latency_s(rig)
    found = {}

    rig.wire.up.delay(0.4, 0.2)
    rig.wire.down.drip(0.02)
    found["slow"] = await as_usual_s(rig, usual_s)
    await rig.wire.mend()

    os.kill(rig.broker.pid, signal.SIGSTOP)
    found["frozen"] = await as_usual_s(rig, usual_s)
    os.kill(rig.broker.pid, signal.SIGCONT)

    rig.wire.half_open()
    began, told = time.monotonic(), len(rig.listener.states)
    found["half-open"] = await as_usual_s(rig, usual_s)
    await reached(rig, lambda: rig.listener.lost_since(told), "the will", 4 * KEEPALIVE_S)
    lost_s = time.monotonic() - began
    await rig.wire.mend()
    await reached(rig, lambda: rig.listener.online, "the gateway to be told online again")

    await rig.wire.refuse()
    found["gone"] = await as_usual_s(rig, usual_s)
    await rig.wire.mend()
    await reached(rig, lambda: rig.listener.online, "the gateway to be told online at last")

    slower = {name: took_s for name, took_s in found.items() if took_s > usual_s + BEYOND_S}
    assert not slower, rig.failed(f"usual {usual_s:.2f} s, but {slower}")
    await rig.settled()
    rig.check()
    storms.say(f"p95 usual {usual_s:.3f} s, {found}; told as lost after {lost_s:.1f} s of silence")
