"""A link that comes and goes for ever: memory, file descriptors and tasks of the gateway's side stay as they are.

Each cycle is a connection, a first value, and a cut by the other side. The devices are processes of their own, so that
what is measured is the driver and its supervisor; the simulator of digital inputs is a few lines on a socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: The long form ends before the OPC UA server's 1,000 sessions are used up: those that were cut off last a minute.
CYCLES = [140, pytest.param(900, marks=pytest.mark.soak)]
WARM_UP = 60
#: What is held is the least of so many cycles one after the other: a connection that is just being opened or closed
#: holds what is gone in the next, a leak is in each of them.
LOOKS = 8
#: After the warm-up. A connection of any of these libraries is more than 30 objects. The memory of a process breathes,
#: the more so where a thousand other tests ran in it; the long form tells a leak outside of Python from that.
OBJECTS_PER_CYCLE = 4.0
BREATHING_KIB = 12_288
KIB_PER_CYCLE = 4.0
BACKOFF_MAX_NS = 5_000_000
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.fixture(autouse=True)
def unrecorded(caplog):
    """What pytest keeps of what libraries say of each lost link would be a leak of the test's own."""
    caplog.set_level(logging.CRITICAL + 1)


class Held(NamedTuple):
    """What this process holds."""

    resident_kib: int
    objects: int
    descriptors: int
    tasks: int

    @classmethod
    def now(cls):
        gc.collect()
        return cls(
            int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KIB,
            len(gc.get_objects()),
            len(list(Path("/proc/self/fd").iterdir())),
            len(asyncio.all_tasks()),
        )


class Cutter:
    """A port before a device's, whose connections can be cut."""

    def __init__(self, port):
        self.port = 0
        self._target = port
        self._server = None
        self._writers = set()

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self):
        for writer in self._writers:
            writer.transport.abort()

    async def close(self):
        self.cut()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        both = {writer, far_writer}
        self._writers |= both
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._writers -= both

    async def _pump(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@pytest_asyncio.fixture(loop_scope="module")
async def cutter():
    made = []

    async def start(port):
        made.append(Cutter(port))
        await made[-1].start()
        return made[-1]

    yield start
    for one in made:
        await one.close()


async def reconnects(source, cut, cycles):
    """Cut after each first value; what was held after the warm-up, and at the end."""
    before, after = [], []
    for cycle in range(cycles + 1):
        deadline_s = time.monotonic() + 60
        while source.status.state != "up" or source.status.reconnects < cycle:
            assert time.monotonic() < deadline_s, f"cycle {cycle}: {source.status}"
            await asyncio.sleep(0.001)
        for end, looks in ((WARM_UP, before), (cycles, after)):
            if end - LOOKS < cycle <= end:
                # A record of everything that was delivered would be a leak of the test's own.
                source.values.clear()
                source.statuses.clear()
                looks.append(Held.now())
        await cut()
    return [Held(*map(min, zip(*looks, strict=True))) for looks in (before, after)]


def is_flat(held, cycles):
    before, after = held
    cycles -= WARM_UP
    assert after.descriptors <= before.descriptors, held
    assert after.tasks <= before.tasks, held
    assert after.objects - before.objects <= OBJECTS_PER_CYCLE * cycles, held
    assert after.resident_kib - before.resident_kib <= BREATHING_KIB + KIB_PER_CYCLE * cycles, held


@pytest.mark.parametrize("cycles", CYCLES)
async def test_modbus_reconnects_without_end(cycles, simulate, watch, cutter):
    machine = await simulate("asm-01", "--port", 0, "--speed", 10)
    proxy = await cutter(machine.ready["port"])
    settings = {
        "driver": "modbus", "host": "127.0.0.1", "port": proxy.port, "scan": "10 ms",
        "signals": {"good": {"address": 0}},
    }  # fmt: skip
    source = watch(settings, ("good",), backoff_max_ns=BACKOFF_MAX_NS)

    async def cut():
        proxy.cut()

    is_flat(await reconnects(source, cut, cycles), cycles)


@pytest.mark.parametrize("cycles", CYCLES)
@pytest.mark.parametrize("mode", ["subscribe", "read"])
async def test_opc_ua_reconnects_without_end(mode, cycles, simulate, watch, cutter):
    machine = await simulate("imm-01", "--port", 0, "--speed", 10)
    proxy = await cutter(machine.ready["port"])
    tag = "nsu=http://opcfoundation.org/UA/PlasticsRubber/GeneralTypes/;s=MachineCycleCounter"
    settings = {
        "driver": "opcua", "endpoint": f"opc.tcp://127.0.0.1:{proxy.port}/imm-01", "security": "none", "mode": mode,
        "publish": "10 ms", "scan": "10 ms", "signals": {"shots": {"node": tag}},
    }  # fmt: skip
    source = watch(settings, ("shots",), backoff_max_ns=BACKOFF_MAX_NS)

    async def cut():
        proxy.cut()

    is_flat(await reconnects(source, cut, cycles), cycles)


@pytest.mark.parametrize("cycles", CYCLES)
async def test_digital_inputs_reconnect_without_end(cycles, watch, tmp_path):
    path = tmp_path / "pins.sock"
    source = watch(
        {"driver": "digital_io", "pins": "simulated", "signals": {"carton": {"pin": 17}}}, ("carton",),
        backoff_max_ns=BACKOFF_MAX_NS,
    )  # fmt: skip
    link = None

    async def simulator():
        nonlocal link
        while True:
            with contextlib.suppress(OSError):
                reader, link = await asyncio.open_unix_connection(path)
                for line in ({"hello": "test", "levels": {"17": 0}}, {"pin": 17, "level": 1}):
                    link.write(json.dumps({**line, "t_ns": time.monotonic_ns()}).encode() + b"\n")
                await reader.read()  # the gateway never writes: this is the end of the connection
                link.transport.abort()
            await asyncio.sleep(0.001)

    async def cut():
        link.transport.abort()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(simulator())
        held = await reconnects(source, cut, cycles)
        running.cancel()
    is_flat(held, cycles)
