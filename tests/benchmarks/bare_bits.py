"""The Modbus half of the bare loops of ``bench_latency.py``: pymodbus, paho and json. No reconnect, no counting.

Publishes all discrete inputs whenever one of them has changed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from pymodbus.client import AsyncModbusTcpClient


async def main(port: int, broker_port: int, count: int, scan_s: float) -> None:
    broker = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    broker.connect("127.0.0.1", broker_port)
    broker.loop_start()
    device = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=1, retries=0)
    await device.connect()
    names = [f"plc.b{index}" for index in range(count)]
    last: list[bool] = []
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    while True:
        response = await device.read_discrete_inputs(0, count=count, device_id=1)
        if response.isError():
            raise SystemExit(str(response))
        states = response.bits[:count]
        if states != last:
            last = states
            document = {"t": time.time_ns() // 1_000_000, "values": dict(zip(names, states, strict=True))}
            broker.publish("bare/telemetry/plc", json.dumps(document, separators=(",", ":")), qos=0)
        due_s += scan_s
        await asyncio.sleep(due_s - loop.time())


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:4]), float(sys.argv[4])))
