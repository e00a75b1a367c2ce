"""``mes``: a fake MES on an MQTT 5 broker: publishes orders, books confirmations, says what it booked, also when asked.

Careless by default: a message that comes twice is booked twice. It acknowledges a message to the broker after it has
booked it, so that it goes on after a kill. Without ``--broker`` it starts a mosquitto of its own, on the port behind
``--port``. The bench's doors are those of every double.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from simulators.control import SimulatorError
from simulators.erp import double
from simulators.erp.checks import RefusedError, object_of, quantities
from simulators.erp.double import Double, run_double
from simulators.erp.ledger import Booking
from simulators.listener import bound_socket

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from simulators.control import Control
    from simulators.erp.faults import Due

ORDERS: Final = "mes/orders/"
CONFIRMATIONS: Final = "mes/confirmations/+/+"
ASK: Final = "mes/ask"
ANSWERS: Final = "mes/answers/+"
SESSION_S: Final = 86_400
#: A message that it cannot take now is taken after so long, in seconds.
AGAIN_S: Final = 0.3
RELEASE_S: Final = 0.1
#: How long a broker may take to listen and to answer, in seconds: a hang guard, on a busy computer as well.
START_S: Final = 30.0
LOOK_S: Final = 0.02
#: A port of its own choice that somebody else was quicker to take is chosen again so often.
TRIES: Final = 5
PORT_MAX: Final = 65_535
#: Faults whose turn comes when a message is seen, and when it has been booked.
BEFORE: Final = ("locked", "hang", "unavailable", "too-many", "error")
AFTER: Final = ("lose-answers", "half", "html", "garbage", "slow", "twice")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this simulator."""
    double.add_arguments(parser)
    parser.add_argument("--broker", default="", metavar="HOST:PORT", help="MQTT 5 broker (default: its own mosquitto)")
    parser.add_argument("--client-id", default="mes", help="its session at the broker")
    parser.add_argument("--silent", action="store_true", help="say nothing of what is booked unless it is asked")


class Mes(Double):
    """An MES behind a broker."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._broker: str = options.broker
        self._mosquitto: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._client: mqtt.Client | None = None
        self._releasing: asyncio.Task[None] | None = None
        self._sent = 0
        self._refused: dict[str, RefusedError] = {}
        #: Confirmations that it has booked or refused.
        self.taken = 0
        super().__init__(options)

    def routes(self) -> Mapping[tuple[str, str], Any]:
        """None: the broker is its only interface."""
        return {}

    def facts(self) -> dict[str, object]:
        """Where the broker is."""
        return {"broker": self._broker}

    async def open(self) -> None:
        """Start the broker where none is named, and subscribe. Raises SimulatorError."""
        if self.options.port and not self._broker:
            _behind(self.options.port)
        # First its own port: whoever has that is named, and no broker was started for nothing.
        await super().open()
        if not self._broker:
            self._broker = await asyncio.to_thread(self._start_mosquitto)
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.options.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        client.suppress_exceptions = True
        client.reconnect_delay_set(1, 5)
        topics = [(one, 1) for one in (CONFIRMATIONS, ASK, ANSWERS)]
        client.on_connect = lambda of, *_: of.subscribe(topics)

        def subscribed(*_: object) -> None:
            loop.call_soon_threadsafe(_set, ready)

        client.on_subscribe = subscribed

        def came(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
            loop.call_soon_threadsafe(self._take, message)

        client.on_message = came
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        session.SessionExpiryInterval = SESSION_S
        host, _, port = self._broker.rpartition(":")
        client.connect_async(host, int(port), 5, clean_start=False, properties=session)
        client.loop_start()
        self._client = client
        try:
            async with asyncio.timeout(START_S):
                await ready
        except TimeoutError:
            raise SimulatorError(f"--broker {self._broker}: no answer; start one that speaks MQTT 5") from None
        self._releasing = asyncio.create_task(self._release())

    async def close(self) -> None:
        """Leave the broker; its own ends too."""
        if self._releasing is not None:
            self._releasing.cancel()
            await asyncio.gather(self._releasing, return_exceptions=True)
        if self._client is not None:
            self._client.disconnect()
            await asyncio.to_thread(self._client.loop_stop)
        if self._mosquitto is not None:
            self._mosquitto.terminate()
            await asyncio.to_thread(self._mosquitto.wait)
        if self._folder is not None:
            self._folder.cleanup()
        await super().close()

    def _start_mosquitto(self) -> str:
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            raise SimulatorError("mes: mosquitto is missing; install it, or name a broker with --broker HOST:PORT")
        self._folder = tempfile.TemporaryDirectory(prefix="mes-broker-")
        config = Path(self._folder.name) / "mosquitto.conf"
        user = ["user root"] if os.geteuid() == 0 else []
        asked = self.options.port and _behind(self.options.port)
        for _ in range(1 if asked else TRIES):
            with bound_socket("127.0.0.1", asked) as reserved:
                port = reserved.getsockname()[1]
            lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence false", *user]
            config.write_text("\n".join(lines) + "\n")
            self._mosquitto = subprocess.Popen(  # noqa: S603 - found on the path, with a file of our own
                [program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            if _listens(self._mosquitto, port):
                return f"127.0.0.1:{port}"
            self._mosquitto.kill()
            self._mosquitto.wait()
        raise SimulatorError(
            f"mes: mosquitto does not listen on port {port} of 127.0.0.1, the one behind --port; see what uses it, "
            "give another --port (0: any free one), or name a broker with --broker HOST:PORT"
        )

    async def _release(self) -> None:
        while True:
            change, images = self.ledger.changes(self._sent)
            for image in images:
                self._publish(f"{ORDERS}{image['order_id']}", json.dumps(image).encode(), retain=True)
            self._sent = change
            await asyncio.sleep(RELEASE_S)

    def _publish(self, topic: str, body: bytes, *, retain: bool = False, correlation: bytes = b"") -> None:
        assert self._client is not None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.ContentType = "application/json"
        if correlation:
            properties.CorrelationData = correlation
        self._client.publish(topic, body, qos=1, retain=retain, properties=properties)

    def _take(self, message: mqtt.MQTTMessage) -> None:
        topic = str(message.topic)
        if topic == ASK:
            self._asked(message)
        elif topic.startswith(ANSWERS.rstrip("+")):
            self._take_answer(message)
        else:
            self._confirmed(message)

    def _confirmed(self, message: mqtt.MQTTMessage) -> None:
        due = self.faults.take("confirmations", *BEFORE)
        if due is not None and due.name != "error":
            self.later(max(due.number, AGAIN_S), lambda: self._book(message, None))
            return
        late = self.faults.take("confirmations", "late-book")
        if late is not None:
            self.later(late.number, lambda: self._book(message, None))
        else:
            self._book(message, due)

    def _book(self, message: mqtt.MQTTMessage, due: Due | None) -> None:
        message_id, key, reference, refused = _id_of(message), "", "", None
        try:
            booking = self._booking(bytes(message.payload))
            key = booking.key
            self._accepted(booking.order)
            if due is not None or booking.order in self.faults.poisoned:
                raise RefusedError("SYSTEM", "the booking failed")  # noqa: TRY301 - one way out for all refusals
            before = self.ledger.find(key) if self.idempotent else None
            reference = before[0] if before is not None else self.book(booking)
            self._refused.pop(key, None)
        except RefusedError as error:
            refused = error
            self._refused[key] = error
        assert self._client is not None
        self._client.ack(message.mid, message.qos)
        self.taken += 1
        topic = getattr(message.properties, "ResponseTopic", None)
        if topic is not None and not self.options.silent:
            self._tell(topic, _said(message_id, key, reference, refused), message_id)

    def _tell(self, topic: str, said: bytes, message_id: str) -> None:
        correlation = message_id.encode()
        due = self.faults.take("confirmations", *AFTER)
        if due is None:
            self._publish(topic, said, correlation=correlation)
        elif due.name in {"half", "html", "garbage"}:
            spoiled = {"half": said[: len(said) // 2], "html": b"<html><body>Sign in</body></html>"}
            self._publish(topic, spoiled.get(due.name, b"\x00\xff\xfe"), correlation=correlation)
        elif due.name == "slow":
            self.later(due.number, lambda: self._publish(topic, said, correlation=correlation))
        elif due.name == "twice":
            self._publish(topic, said, correlation=correlation)
            self._publish(topic, said, correlation=correlation)

    def _asked(self, message: mqtt.MQTTMessage) -> None:
        assert self._client is not None
        self._client.ack(message.mid, message.qos)
        topic = getattr(message.properties, "ResponseTopic", None)
        try:
            asked = object_of(bytes(message.payload))
        except RefusedError:
            return
        key, message_id = str(asked.get("key")), str(asked.get("message_id"))
        found = self.ledger.find(key)
        if topic is None or self.page_fault("lookups") is not None:
            return
        if found is None and key not in self._refused:
            said = json.dumps({"message_id": message_id, "key": key, "status": "unknown"}).encode()
        else:
            said = _said(message_id, key, found[0] if found else "", None if found else self._refused[key])
        self._publish(topic, said, correlation=message_id.encode())

    def _take_answer(self, message: mqtt.MQTTMessage) -> None:
        assert self._client is not None
        self._client.ack(message.mid, message.qos)
        try:
            body = object_of(bytes(message.payload))
            self.ledger.take_answer(
                str(body["idempotency_key"]), str(body["order_id"]), str(body["answer"]), message.payload.decode()
            )
        except (RefusedError, KeyError):
            return

    def _booking(self, payload: bytes) -> Booking:
        body = object_of(payload)
        order, operation, seq, key = (body.get(name) for name in ("order_id", "operation", "seq", "idempotency_key"))
        self.operation_of(self.order_of(order), operation)
        if type(seq) is not int or not isinstance(key, str):
            raise RefusedError("FORM", "seq and idempotency_key are needed")
        good, scrap, rework = quantities(body.get("qty"), signed=body.get("origin") == "correction")
        return Booking(
            key=key,
            order=str(order),
            operation=str(operation),
            seq=seq,
            work_center=str(body.get("work_center", "")),
            machine=str(body.get("machine", "")),
            good=good,
            scrap=scrap,
            rework=rework,
            final=int(body.get("type") == "final"),
            digest=hashlib.sha256(payload).hexdigest(),
        )


def _behind(port: int) -> int:
    """The broker's port. Raises SimulatorError if there is none behind this one."""
    if port == PORT_MAX:
        todo = f"give one up to {PORT_MAX - 1} (0: any free one), or name a broker with --broker HOST:PORT"
        raise SimulatorError(f"--port {port} is the last one, and its broker takes the one behind it; {todo}")
    return port + 1


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _id_of(message: mqtt.MQTTMessage) -> str:
    return bytes(getattr(message.properties, "CorrelationData", b"")).decode()


def _listens(broker: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until a broker listens; False: it ended instead, or took too long."""
    end_s = time.monotonic() + START_S
    while broker.poll() is None and time.monotonic() < end_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        time.sleep(LOOK_S)
    return False


def _said(message_id: str, key: str, reference: str, refused: RefusedError | None) -> bytes:
    told = {"message_id": message_id, "key": key, "status": "booked", "reference": reference}
    if refused is not None:
        told |= {"status": "refused", "reference": "", "code": refused.code, "message": str(refused)}
    return json.dumps(told).encode()


def config_text(options: argparse.Namespace, facts: dict[str, Any]) -> str:
    """The gateway's connector for this MES."""
    broker = str(options.broker or f"127.0.0.1:{_behind(int(facts['port']))}")
    host, _, port = broker.rpartition(":")
    return f"""\
connectors:
  erp:
    connector: mqtt
    host: {host}
    port: {port}
    ask_topic: {ASK}
    answers_topic: mes/answers/{{order}}
    poll_orders: 2 s
"""


async def run(options: argparse.Namespace, control: Control) -> None:
    """Serve until told to end. Raises SimulatorError if port or broker cannot be used."""
    await run_double(Mes, options, control)
