"""amqtt speaks MQTT 3.1.1 only and stays silent on a version 5 CONNECT that carries a will."""

import asyncio
import logging

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from gateway.monitor import bridge
from gateway.shown.status import SourceView

pytest.importorskip("amqtt", reason="the demo's broker is not installed")
from amqtt.broker import Broker


@pytest.fixture
async def amqtt_port(free_port):
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    port = free_port()
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    yield port
    await broker.shutdown()


async def test_falls_back_to_3_1_1(amqtt_port, monkeypatch, monitor_on, watch, until):
    monkeypatch.setattr(bridge, "ANSWER_TIMEOUT_S", 0.5)
    monitor = monitor_on(amqtt_port)
    monitor.source_changed(SourceView(name="asm", state="up", since_ns=0, simulated=True))
    await until(lambda: monitor.view().connected)
    watcher = watch(amqtt_port, protocol=MQTTProtocolVersion.MQTTv311)
    await until(lambda: watcher.last("linegate/gw/source/asm") and watcher.last("linegate/gw/state"))
    assert watcher.last("linegate/gw/state")["online"] is True
    await monitor.close()
    await asyncio.wait_for(monitor.task, 60)
    await until(lambda: watcher.last("linegate/gw/state")["online"] is False)
    assert watcher.last("linegate/gw/state")["reason"] == "stop"
    await asyncio.to_thread(watcher.close)
