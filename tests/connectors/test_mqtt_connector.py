"""The MQTT connector against a real mosquitto, with the double of an MES behind it."""

import asyncio
import dataclasses
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.connectors.base import ConnectorError, LookupKind, OutcomeKind, Posting
from gateway.connectors.mqtt import PLUGIN
from gateway.connectors.mqtt.settings import MqttTargetSettings
from gateway.contract import Booked, FaultContract, IdempotentContract, faults
from gateway.core.duration import Duration
from gateway.forwarder import Forwarder
from simulators.erp.mes import Mes

sys.path.append(str(Path(__file__).parent))
from mqtt_relay import Relay

DEADLINE_S = 60.0
RELAYED = {
    faults.LOST_ANSWER: "lose",
    faults.LOST_REQUEST: "cut",
    faults.LOGIN_EXPIRED: "0x87",
    faults.HTML: "html",
    faults.HALF_ANSWER: "half",
}


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
            "connector": "mqtt", "host": "127.0.0.1", "port": port, "timeout": Duration("60 s"),
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


class Bench:
    """An MES behind a broker behind a relay."""

    def __init__(self, broker, peer, mes, make, document, order_image, **changes):
        self.relay = Relay(broker.port)
        self.mes = mes
        self.document = document
        self._publisher = peer(broker.port)
        self._make = make
        self._changes = changes
        self._order_image = order_image
        self._timeout = Duration("60 s")
        self._built = []
        operations = [{"op": "0010", "work_center": "WC-ASM", "qty": "30000"}]
        mes.put_order(order_image("100240", qty="30000", operations=operations))

    def build(self):
        changes = {"timeout": self._timeout, **self._changes}
        self._built.append(self._make(self.relay.port, orders_topic="plan/orders/+", **changes))
        return self._built[-1]

    def release(self, order):
        self._publisher.say(f"plan/orders/{order}", self._order_image(order), retain=True)

    def take_away(self):
        self.relay.close()
        links = [link for one in self._built for link in (one._link, one._orders_link) if link is not None]
        for connection in filter(None, (link._connection for link in links)):
            wait_for(lambda of=connection: of.client.socket() is None, "the link to be lost")

    def working(self):
        return self.mes.double.taken < self.relay.forwarded

    def bookings(self, key):  # what the broker has the MES books a moment later
        wait_for(lambda: not self.working(), "the MES")
        return sum(one["key"] == key for one in self.mes.bookings())

    def booked(self):
        return [Booked(one["key"], Decimal(one["good"]), Decimal(one["scrap"])) for one in self.mes.bookings()]

    def fault(self, name, count=1):
        if name == faults.REFUSED:
            self.mes.do(f"error 422 {count}")
        elif name == faults.SLOW_BOOKING:
            self._timeout = Duration("2 s")  # the only one whose end nobody tells
            self.relay.faults += ["silent"] * count
            self.mes.do(f"late-book 2.6 {count}")
        elif name in RELAYED:
            self.relay.faults += [RELAYED[name]] * count
        else:
            return False
        return True


@pytest.fixture
def bench_on(broker, peer, make, running_double, document, order_image):
    benches = []

    def start(*, silent=False, **changes):
        options = {"broker": f"127.0.0.1:{broker.port}", "client_id": "mes", "silent": silent}
        mes = running_double(Mes, idempotent=changes.get("idempotent", False), **options)
        benches.append(Bench(broker, peer, mes, make, document, order_image, **changes))
        return benches[-1]

    yield start
    for one in benches:
        one.relay.close()


class TestContract(FaultContract):
    without: ClassVar = {faults.BUSY: "a message waits at the broker until the MES takes it"}
    killed_confirmations = 1

    @pytest.fixture
    def bench(self, bench_on):
        return bench_on(ask_topic="mes/ask")


@pytest.mark.soak
class TestLongContract(TestContract):
    killed_confirmations = 2


class TestIdempotent(IdempotentContract):
    @pytest.fixture
    def bench(self, bench_on):
        # Says nothing by itself: an acknowledgement between the two sends would make the second one POSTED.
        return bench_on(idempotent=True, silent=True, ask_topic="mes/ask")


# --- orders ------------------------------------------------------------------------------------------------------


async def opened(connector):
    await connector.open()
    end = time.monotonic() + DEADLINE_S
    while not (health := await connector.probe()).ok:  # one whose limit is short may not be connected yet
        assert time.monotonic() < end, health
    return connector


async def fetched(connector, cursor=""):
    """The next page that holds something."""
    end = time.monotonic() + DEADLINE_S
    while True:
        page = await connector.fetch_orders(cursor)
        if page.orders or page.refused:
            return page
        assert time.monotonic() < end, "no order came"


async def test_orders_that_came_while_the_gateway_was_away(broker, make, peer, order_image):
    first = await opened(make(broker.port))
    await first.close()
    publisher = peer(broker.port)
    publisher.say("mes/orders/1", order_image("1"))
    publisher.say("mes/orders/2", {"orders": [order_image("2"), order_image("3")]})
    second = await opened(make(broker.port))
    await until(lambda: len(second._orders.held._held) == 2, "both messages")
    page = await second.fetch_orders("")
    assert [one.order for one in page.orders] == ["1", "2", "3"]
    await second.close()  # killed before its commit: nothing was acknowledged
    third = await opened(make(broker.port))
    await until(lambda: len(third._orders.held._held) == 2, "both messages again")
    assert (await third.fetch_orders("")).orders == page.orders
    assert not (await third.fetch_orders(page.cursor)).orders
    await third.close()
    fourth = await opened(make(broker.port))
    publisher.say("mes/orders/4", order_image("4"))
    assert [one.order for one in (await fetched(fourth, page.cursor)).orders] == ["4"]


async def test_committed_orders_are_not_given_again_after_a_kill(broker, make, peer, order_image):
    first = await opened(make(broker.port))
    peer(broker.port).say("mes/orders/1", order_image("1"))
    page = await fetched(first)
    await first.close()  # the cursor is committed, and the broker was not told yet
    second = await opened(make(broker.port))
    assert not (await second.fetch_orders(page.cursor)).orders
    await until(lambda: not second._orders.held, "the order to be known as committed")


async def test_the_same_order_once_more_is_another_page(broker, make, peer, order_image):
    connector, publisher = await opened(make(broker.port)), peer(broker.port)
    publisher.say("mes/orders/1", order_image("1"))
    first = await fetched(connector)
    publisher.say("mes/orders/1", order_image("1"))
    await until(lambda: len(connector._orders.held._held) == 2, "the second one")
    again = await fetched(connector, first.cursor)
    assert again.orders == first.orders
    assert again.cursor != first.cursor
    assert not (await connector.fetch_orders(again.cursor)).orders


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"<html>", "found no JSON"),
        (b'{"orders": 5}', "orders: found int"),
        (b'{"order_id": "7"}', "operations"),
        (b"[1]", "found list"),
        (b"1" * (1024 * 1024 + 1), "bytes"),
    ],
)
async def test_a_malformed_order_is_refused_with_its_reason(broker, make, peer, payload, reason):
    connector = await opened(make(broker.port))
    peer(broker.port).say("mes/orders/7", payload)
    page = await fetched(connector)
    assert not page.orders
    assert any(reason in one for one in page.refused[0].reasons), page
    assert page.refused[0].place.startswith("mes/orders/7")
    assert not (await connector.fetch_orders(page.cursor)).refused


async def test_an_empty_message_clears_a_retained_order_and_says_nothing(broker, make, peer, order_image):
    publisher = peer(broker.port)
    publisher.say("mes/orders/1", order_image("1"), retain=True)
    connector = await opened(make(broker.port))
    page = await fetched(connector)
    publisher.say("mes/orders/1", b"", retain=True)
    publisher.say("mes/orders/2", order_image("2"))
    following = await fetched(connector, page.cursor)
    assert ([one.order for one in following.orders], following.refused) == (["2"], ())


async def test_a_broker_that_lost_the_session_is_told_and_what_came_is_not_lost(broker_on, make, peer, order_image):
    broker = broker_on(persistent=False)
    connector = await opened(make(broker.port))
    await connector.fetch_orders("")
    peer(broker.port).say("mes/orders/1", order_image("1"))
    await until(lambda: connector._orders.held, "the order")
    broker.kill()
    await until(lambda: not connector._orders_link.is_ready, "the link to be lost")
    with pytest.raises(ConnectorError, match="orders: MQTT broker"):
        await connector.fetch_orders("")
    broker.start()
    await until(lambda: connector._orders_link.is_ready, "the link")
    page = await fetched(connector)
    assert [one.order for one in page.orders] == ["1"]
    assert "lost the session" in page.refused[0].reasons[0]
    assert not (await connector.fetch_orders(page.cursor)).orders


async def test_a_broker_that_keeps_sessions_keeps_orders_over_its_restart(broker, make, peer, order_image):
    await (await opened(make(broker.port))).close()
    peer(broker.port).say("mes/orders/1", order_image("1"))
    broker.kill(signal.SIGTERM)
    broker.start()
    page = await fetched(await opened(make(broker.port)))
    assert ([one.order for one in page.orders], page.refused) == (["1"], ())


# --- confirmations -----------------------------------------------------------------------------------------------


def acknowledgement(sent, status="booked", **more):
    return {"message_id": sent.message_id, "status": status, "reference": "CNF-1", **more}


ACKNOWLEDGED = "mes/acknowledgements/demo"


async def test_the_message_says_whose_it_is(broker, make, peer, posting):
    mes = peer(broker.port, "mes/confirmations/#")
    connector = await opened(make(broker.port))
    sent = posting(connector, order="10/0+24#0%")
    outcome = await connector.send(sent)
    assert (outcome.kind, outcome.reference) == (OutcomeKind.ACCEPTED, sent.message_id)
    (heard,) = await until(lambda: mes.heard, "the message")
    assert heard.topic == "mes/confirmations/10%2F0%2B24%230%25/0010"
    assert heard.payload == sent.rendered.body
    told = heard.properties
    assert (told.CorrelationData, told.ResponseTopic) == (sent.message_id.encode(), ACKNOWLEDGED)
    assert (told.ContentType, heard.qos, heard.retain) == ("application/json", 1, False)
    assert ("key", sent.key) in told.UserProperty
    assert not hasattr(told, "MessageExpiryInterval")


async def test_booked_refused_late_double_and_foreign(broker, make, peer, posting):
    mes = peer(broker.port, "mes/confirmations/#")
    connector = await opened(make(broker.port))
    booked, refused, silent = (posting(connector, seq) for seq in (1, 2, 3))
    for one in (booked, refused, silent):
        assert (await connector.send(one)).kind is OutcomeKind.ACCEPTED
    mes.say(ACKNOWLEDGED, acknowledgement(booked))
    mes.say(ACKNOWLEDGED, acknowledgement(booked))
    mes.say(ACKNOWLEDGED, {"key": refused.key, "status": "refused", "code": "QTY", "message": "more than ordered"})
    mes.say(ACKNOWLEDGED, {"message_id": "of somebody else", "status": "booked"})
    for unreadable in (b"<html>", b"[]", b'{"status": "booked"}', b'{"key": "x", "status": "perhaps"}', b"\xff"):
        mes.say(ACKNOWLEDGED, unreadable)
    accepted = [one._replace(accepted=one.message_id) for one in (booked, refused, silent)]
    await until(lambda: connector._told.held.found(refused.key), "the refusal")
    found = [await connector.lookup(one) for one in accepted]
    assert [one.kind for one in found] == [LookupKind.FOUND, LookupKind.REFUSED, LookupKind.ACCEPTED]
    assert found[0].reference == "CNF-1"
    assert found[1].code == "QTY"
    assert "more than ordered" in found[1].detail
    connector.settled(booked.message_id, booked.key)
    mes.say(ACKNOWLEDGED, acknowledgement(booked))  # late
    await until(lambda: connector._told.held.trouble, "the unreadable ones")
    assert (await connector.probe()).ok
    # A person has it sent again: the old refusal says nothing any more.
    assert (await connector.send(refused)).kind is OutcomeKind.ACCEPTED


async def test_an_acknowledgement_comes_again_until_its_posting_is_settled(broker, make, peer, posting):
    mes = peer(broker.port, "mes/confirmations/#")
    first = await opened(make(broker.port))
    sent = posting(first)
    await first.send(sent)
    await first.close()
    mes.say(ACKNOWLEDGED, acknowledgement(sent))  # while the gateway is down
    accepted = sent._replace(accepted=sent.message_id)
    for _ in range(2):  # killed between the look-up and its commit, twice
        connector = await opened(make(broker.port))
        await until(lambda of=connector: of._told.held.found(sent.message_id), "the acknowledgement")
        assert (await connector.lookup(accepted)).kind is LookupKind.FOUND
        await connector.close()
    last = await opened(make(broker.port))
    await until(lambda: last._told.held.found(sent.message_id), "the acknowledgement")
    last.settled(sent.message_id, sent.key)
    await last.close()
    after = await opened(make(broker.port))
    mes.say(ACKNOWLEDGED, acknowledgement(posting(after, 2)))
    await until(lambda: after._told.held.found(posting(after, 2).message_id), "the next one")
    assert after._told.held.found(sent.message_id) is None


async def test_nobody_subscribed_is_not_booked_and_not_lost(broker, make, peer, posting):
    connector = await opened(make(broker.port))
    outcome = await connector.send(posting(connector))
    assert (outcome.kind, outcome.code) == (OutcomeKind.NOT_SENT, "0x10")
    assert "nobody is subscribed" in outcome.detail
    peer(broker.port, "mes/confirmations/#")
    assert (await connector.send(posting(connector))).kind is OutcomeKind.ACCEPTED


async def test_what_the_access_list_denies_is_a_matter_of_rights(broker_on, make, posting, tmp_path):
    access = tmp_path / "acl"
    access.write_text("topic read mes/acknowledgements/#\n")
    access.chmod(0o600)
    broker = broker_on("allow_anonymous true", f"acl_file {access}")
    connector = make(broker.port, orders_topic=None)
    await opened(connector)
    assert (await connector.send(posting(connector))).kind is OutcomeKind.AUTH


async def test_a_refused_login_is_a_matter_of_rights(broker_on, make, posting):
    broker = broker_on("allow_anonymous false")
    connector = make(broker.port, orders_topic=None)
    await connector.open()
    await until(lambda: connector._link.refusal, "the refusal")
    assert (await connector.send(posting(connector))).kind is OutcomeKind.AUTH
    assert not (await connector.probe()).ok


@pytest.mark.parametrize(
    ("code", "changes", "kind"),
    [
        ("0x97", {}, OutcomeKind.NOT_SENT),
        ("0x97", {"error_classes": {"0x97": "busy"}}, OutcomeKind.BUSY),
        ("0x87", {}, OutcomeKind.AUTH),
        ("0x99", {}, OutcomeKind.BUSINESS_REJECT),
        ("0x83", {}, OutcomeKind.NOT_SENT),
    ],
)
async def test_reason_codes_of_the_broker(bench_on, posting, code, changes, kind):
    bench = bench_on(**changes)
    connector = await opened(bench.build())
    bench.relay.faults.append(code)
    outcome = await connector.send(posting(connector))
    assert (outcome.kind, outcome.code) == (kind, code)
    assert not bench.booked()


async def test_a_frozen_broker_is_doubt_and_the_answer_is_found_when_it_goes_on(broker, make, peer, posting):
    mes = peer(broker.port, "mes/confirmations/#")
    connector = await opened(make(broker.port, timeout=Duration("2 s")))
    sent = posting(connector)
    broker.freeze()
    try:
        outcome = await connector.send(sent)
        assert outcome.kind is OutcomeKind.UNCERTAIN
        assert (await connector.lookup(sent)).kind is LookupKind.UNKNOWN
        assert (await connector.send(posting(connector, 2))).kind is OutcomeKind.NOT_SENT
    finally:
        broker.thaw()
    await until(lambda: mes.heard, "the message")
    mes.say(ACKNOWLEDGED, acknowledgement(sent))
    await until(lambda: connector._told.held.found(sent.message_id), "the acknowledgement")
    assert (await connector.lookup(sent)).kind is LookupKind.FOUND
    assert len(mes.heard) == 1


async def test_a_broker_that_is_killed_and_comes_back(broker, make, peer, posting):
    connector = await opened(make(broker.port, orders_topic=None))
    broker.kill()
    await until(lambda: not connector._link.is_ready and connector._link._pausing, "the link to be lost")
    outcome = await connector.send(posting(connector))
    assert outcome.kind is OutcomeKind.NOT_SENT
    assert "cannot be reached" in outcome.detail
    broker.start()
    peer(broker.port, "mes/confirmations/#")
    await until(lambda: connector._link.is_ready, "the link")
    assert (await connector.send(posting(connector))).kind is OutcomeKind.ACCEPTED


async def test_doubt_without_a_question_ends_with_a_person(bench_on, posting):
    bench = bench_on(silent=True, timeout=Duration("2 s"), acknowledgement_wait=Duration("300 ms"))
    connector = await opened(bench.build())
    sent = posting(connector)
    bench.relay.faults.append("lose")
    assert (await connector.send(sent)).kind is OutcomeKind.UNCERTAIN
    kinds = []
    while LookupKind.UNKNOWABLE not in kinds:
        kinds.append((await connector.lookup(sent)).kind)
        assert set(kinds) <= {LookupKind.UNKNOWN, LookupKind.UNKNOWABLE}
    assert bench.bookings(sent.key) == 1


async def test_without_acknowledgements_the_broker_has_it_is_all_that_is_known(broker, make, peer, posting):
    mes = peer(broker.port, "mes/confirmations/#")
    connector = await opened(make(broker.port, acknowledgements_topic=None))
    can = connector.capabilities
    assert (can.readback, can.can_lookup) == (False, False)
    assert (await connector.send(posting(connector))).kind is OutcomeKind.ACCEPTED
    (heard,) = await until(lambda: mes.heard, "the message")
    assert not hasattr(heard.properties, "ResponseTopic")


async def test_an_answer_to_an_order_goes_to_its_own_topic(broker, make, peer):
    mes = peer(broker.port, "mes/answers/#")
    connector = await opened(make(broker.port, answers_topic="mes/answers/{order}"))
    document = {
        "type": "order_ack",
        "idempotency_key": "k",
        "order_id": "7",
        "order_revision": 1,
        "answer": "DUPLICATE",
    }
    document["answer"] = "DUPLICATE"
    sent = Posting("k", "00000000-0000-5000-8000-000000000001", "7", "", 1, 1, connector.render(document), kind="ack")
    assert (await connector.send(sent)).kind is OutcomeKind.POSTED
    (heard,) = await until(lambda: mes.heard, "the answer")
    assert (heard.topic, json.loads(heard.payload)) == ("mes/answers/7", document)


async def test_the_forwarder_is_told_and_does_not_wait_for_its_next_question(bench_on, filled, make, context, clock):
    bench = bench_on()
    told = []
    forwarders = []

    def acknowledged():
        told.append(1)
        for one in forwarders:
            one.accepted_changed()

    settings = bench.build()._settings
    connector = PLUGIN.build(settings, dataclasses.replace(context(), acknowledged=acknowledged))
    await opened(connector)
    await filled.add(("100240", "0010", 1), ("100240", "0010", 2))
    forwarders.append(
        Forwarder(name="erp", connector=connector, outbox=filled.outbox, now_ns=clock, rng=random.Random(1))
    )
    task = asyncio.create_task(forwarders[0].run())
    try:
        end = time.monotonic() + DEADLINE_S
        # What is committed is told to the connector a moment later.
        while {one.state for one in await filled.outbox.page(limit=9)} != {"posted"} or forwarders[0].is_busy:
            assert time.monotonic() < end, await filled.outbox.page(limit=9)
            await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.wait([task])
        await connector.close()
    assert told
    assert len(bench.booked()) == 2
    assert not connector._told.held.sweep(), "what is settled is acknowledged to the broker"


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"host": "broker.example.com"}, "another machine"),
        ({"confirmations_topic": "a/+/b"}, "no \\+ and no #"),
        ({"confirmations_topic": "a/{seq}"}, "found {seq}"),
        ({"confirmations_topic": "a/{order"}, "braces"),
        ({"orders_topic": "a/#/b"}, "# for the last"),
        ({"orders_topic": "$SYS/#"}, "no \\$"),
        ({"orders_topic": None, "confirmations_topic": None}, "at least one"),
        ({"acknowledgements_topic": None, "ask_topic": "a"}, "needs acknowledgements_topic"),
        ({"ca_file": "a.pem"}, "tls: true"),
        ({"tls": True, "key_file": "a.pem"}, "both or none"),
        ({"timeout": Duration("2 min")}, "timeout"),
        ({"port": 70_000}, "port"),
        ({"client_id": ""}, "client_id"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, found):
    with pytest.raises(ValueError, match=found):
        MqttTargetSettings(**{"connector": "mqtt", "host": "127.0.0.1", **changes})


async def test_a_notice_goes_to_the_topic_of_its_type_and_is_told_with_the_brokers_word(broker, make, peer):
    mes = peer(broker.port, "mes/notices/#")
    connector = await opened(make(broker.port, notices=("status", "unallocated")))
    assert connector.capabilities.notices == {"status", "unallocated"}
    document = {
        "type": "notice",
        "notice": "unallocated",
        "idempotency_key": "k",
        "order_id": None,
        "seq": 1,
        "detail": {},
    }
    name = connector.render(document)
    sent = Posting("k", "00000000-0000-5000-8000-000000000001", "", "~notice", 1, 1, name, kind="notice")
    assert (await connector.send(sent)).kind is OutcomeKind.POSTED
    (heard,) = await until(lambda: mes.heard, "the notice")
    assert (heard.topic, json.loads(heard.payload)) == (
        f"mes/notices/{connector.context.gateway_id}/unallocated",
        document,
    )
