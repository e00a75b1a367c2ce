"""The bare loop of ``bench_modbus.py`` and ``bench_modbus_fleet.py``: pymodbus, paho and json.

No reconnect, no quality, no counting. One task and one connection for each device.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from pymodbus.client import AsyncModbusTcpClient

REGISTERS_PER_REQUEST = 125


async def scan(broker: mqtt.Client, plc: str, port: int, first: int, count: int, scan_s: float) -> None:
    device = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=1, retries=0)
    await device.connect()
    names = [f"{plc}.tag.{index}" for index in range(count)]
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    while True:
        words: list[int] = []
        for address in range(first, first + count, REGISTERS_PER_REQUEST):
            length = min(REGISTERS_PER_REQUEST, first + count - address)
            response = await device.read_holding_registers(address, count=length, device_id=1)
            if response.isError():
                raise SystemExit(f"{address}: {response}")
            words += response.registers
        document = {"t": time.time_ns() // 1_000_000, "values": dict(zip(names, words, strict=True))}
        broker.publish(f"bare/telemetry/{plc}", json.dumps(document, separators=(",", ":")), qos=0)
        due_s += scan_s
        await asyncio.sleep(due_s - loop.time())


async def main(ports: dict[str, int], broker_port: int, first: int, count: int, scan_s: float) -> None:
    broker = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    broker.connect("127.0.0.1", broker_port)
    broker.loop_start()
    await asyncio.gather(*(scan(broker, plc, port, first, count, scan_s) for plc, port in ports.items()))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1]), *map(int, sys.argv[2:5]), float(sys.argv[5])))
