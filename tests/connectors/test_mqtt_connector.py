"""The MQTT connector against a real mosquitto, with the double of an MES behind it."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import paho.mqtt.client as mqtt
import pytest

from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.connectors.base import ConnectorError, LookupKind, OutcomeKind, Posting
from gateway.connectors.mqtt import PLUGIN
from gateway.connectors.mqtt.settings import MqttTargetSettings
from gateway.contract import Booked, FaultContract, IdempotentContract
from gateway.contract.faults import BUSY, HALF_ANSWER, HTML, LOGIN_EXPIRED, LOST_ANSWER, LOST_REQUEST, REFUSED
from gateway.contract.faults import SLOW_BOOKING
from gateway.core.duration import Duration
from simulators.erp.mes import Mes

sys.path.append(str(Path(__file__).parent))
from mqtt_relay import Relay  # noqa: E402 - beside this file

DEADLINE_S = 20.0
RELAYED = {
    LOST_ANSWER: "lose", LOST_REQUEST: "cut", LOGIN_EXPIRED: "0x87", HTML: "html", HALF_ANSWER: "half",
}  # fmt: skip


def wait_for(condition, what):
    end = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.005)
    return found


async def until(condition, what):
    end = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        await asyncio.sleep(0.005)
    return found


class Broker:
    """A mosquitto that can be killed, frozen, and started again with what it had kept, or without."""

    def __init__(self, folder, port, *lines, persistent=True):
        self.port = port
        self.folder = folder / f"mosquitto-{port}"
        self.folder.mkdir()
        user = ["user root"] if os.geteuid() == 0 else []
        kept = ["persistence true", f"persistence_location {self.folder}/", "autosave_interval 1"]
        kept = [*kept, "autosave_on_changes true"] if persistent else ["persistence false"]
        self.config = self.folder / "mosquitto.conf"
        text = [f"listener {port} 127.0.0.1", *kept, *user, *(lines or ("allow_anonymous true",))]
        self.config.write_text("\n".join(text) + "\n")
        self.process = None

    def start(self):
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        self.process = subprocess.Popen(
            [program, "-c", str(self.config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(self._listens, "mosquitto")
        return self

    def _listens(self):
        assert self.process.poll() is None
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def kill(self, how=signal.SIGKILL):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
            self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)


class Peer:
    """Another client of the broker: what it hears, and what it says."""

    def __init__(self, port, *topics, session=None):
        self.heard = []
        self._ready = threading.Event()
        options = {"client_id": session} if session else {}
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5, **options)
        self.client.on_connect = lambda client, *_: client.subscribe([(one, 1) for one in (*topics, "nothing")])
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = lambda _client, _data, message: self.heard.append(message)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self._ready.wait(DEADLINE_S)

    def say(self, topic, content, *, retain=False, qos=1):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.client.publish(topic, body, qos=qos, retain=retain).wait_for_publish(DEADLINE_S)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker_on(tmp_path, port_for_later):
    if shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("mosquitto is not installed: apt-get install mosquitto")
        pytest.skip("mosquitto is not installed")
    brokers = []

    def start(*lines, **options):
        brokers.append(Broker(tmp_path, port_for_later(), *lines, **options))
        return brokers[-1].start()

    yield start
    for broker in brokers:
        broker.kill()


@pytest.fixture
def broker(broker_on):
    return broker_on()


@pytest.fixture
def peer():
    peers = []

    def start(*args, **options):
        peers.append(Peer(*args, **options))
        return peers[-1]

    yield start
    for one in peers:
        one.close()


@pytest.fixture
async def make(context):
    made = []

    def build(port, **changes):
        usual = {
            "connector": "mqtt", "host": "127.0.0.1", "port": port, "timeout": Duration("5 s"),
            "server_time_limit": Duration("0 s"),
        }  # fmt: skip
        made.append(PLUGIN.build(MqttTargetSettings(**{**usual, **changes}), context()))
        return made[-1]

    yield build
    for one in made:
        await one.close()


@pytest.fixture
def posting(document):
    def made(connector, seq=1, **changes):
        image = document(seq, **changes)
        return Posting(
            image["idempotency_key"], image["confirmation_id"], image["order_id"], image["operation"], seq, 1,
            connector.render(image),
        )  # fmt: skip

    return made


@pytest.fixture
def bench_on(broker, peer, make, running_double, document, order_image):
    relays = []

    def start(idempotent=False, silent=False, **changes):
        relay = Relay(broker.port)
        relays.append(relay)
        mes = running_double(
            Mes, broker=f"127.0.0.1:{broker.port}", client_id="mes", silent=silent, idempotent=idempotent
        )
        big = order_image("100240", qty="30000", operations=[{"op": "0010", "work_center": "WC-ASM", "qty": "30000"}])
        mes.put_order(big)
        publisher = peer(broker.port)
        built = []

        def build():
            built.append(make(relay.port, orders_topic="plan/orders/+", idempotent=idempotent, **changes))
            return built[-1]

        def take_away():
            relay.close()
            for one in built:
                for link in (one._link, one._orders_link):
                    if link is not None and (connection := link._connection) is not None:
                        wait_for(lambda of=connection: of.client.socket() is None, "the link to be lost")

        def bookings(key):  # what the broker has the MES books a moment later
            wait_for(lambda: mes.double.taken >= relay.forwarded, "the MES")
            return sum(one["key"] == key for one in mes.bookings())

        def fault(name, count=1):
            if name == REFUSED:
                mes.do(f"error 422 {count}")
            elif name == SLOW_BOOKING:
                relay.faults += ["silent"] * count
                mes.do(f"late-book 0.6 {count}")
            elif name in RELAYED:
                relay.faults += [RELAYED[name]] * count
            else:
                return False
            return True

        return SimpleNamespace(
            build=build,
            document=document,
            release=lambda order: publisher.say(f"plan/orders/{order}", order_image(order), retain=True),
            take_away=take_away,
            bookings=bookings,
            fault=fault,
            working=lambda: mes.double.taken < relay.forwarded,
            booked=lambda: [Booked(one["key"], Decimal(one["good"]), Decimal(one["scrap"])) for one in mes.bookings()],
            mes=mes,
            relay=relay,
        )

    yield start
    for relay in relays:
        relay.close()


class TestContract(FaultContract):
    without = {BUSY: "a message waits at the broker until the MES takes it"}

    @pytest.fixture
    def bench(self, bench_on):
        return bench_on(ask_topic="mes/ask", timeout=Duration("400 ms"))


class TestIdempotent(IdempotentContract):
    @pytest.fixture
    def bench(self, bench_on):
        # Says nothing by itself: an acknowledgement between the two sends would make the second one POSTED.
        return bench_on(idempotent=True, silent=True, ask_topic="mes/ask")
