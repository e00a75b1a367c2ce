"""``imm-01``: the OPC UA server of an injection moulding machine, and many fast values for benchmarks.

Uses asyncua. Offers no security: what is tested here is the loss of a link, not its secrecy.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua
from asyncua.server.server import Server
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from simulators.control import SimulatorError, Truth
from simulators.listener import bound_socket, unusable
from simulators.machine import NS_PER_S, Cycle, Machine, MachineSpec, Stop
from simulators.pace import Pace

if TYPE_CHECKING:
    import argparse
    import socket

    from asyncua.common.node import Node

    from simulators.control import Control
    from simulators.machine import Event

IMM_01: Final = MachineSpec(
    name="IMM-01",
    ideal_cycle_ns=18 * NS_PER_S,
    pieces=8,
    micro_stop_share=0.005,
    micro_stop_ns=(10 * NS_PER_S, 30 * NS_PER_S),
    fault_share=0.001,
    alarms=(301, 302),
)

NAMESPACE: Final = "http://opcfoundation.org/UA/PlasticsRubber/GeneralTypes/"
#: Registered first, so that nobody can get away with assuming namespace index 2.
OTHER_NAMESPACE: Final = "urn:simulators:imm-01:vendor"
PATH: Final = "/imm-01"
# JobStatus and MachineMode (OPC 40083): in production, interrupted; automatic.
JOB_IN_PRODUCTION, JOB_INTERRUPTED = 6, 7
AUTOMATIC: Final = 1
NS_PER_MS: Final = 1_000_000
#: How long a restart keeps the port shut, in seconds.
RESTART_S: Final = 0.2
MAX_NODES: Final = 10_000
#: How long closing connections may take before it is given up, in seconds.
CLOSE_S: Final = 0.5

NODES: Final = {
    "MachineCycleCounter": ua.VariantType.UInt64,
    "JobCycleCounter": ua.VariantType.UInt64,
    "JobGoodPartsCounter": ua.VariantType.UInt64,
    "JobBadPartsCounter": ua.VariantType.UInt64,
    "LastCycleTime": ua.VariantType.Double,
    "JobStatus": ua.VariantType.Int32,
    "JobName": ua.VariantType.String,
    "MachineMode": ua.VariantType.Int32,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this simulator."""
    parser.add_argument("--shots", type=int, default=0, help="lifetime counter at the start")
    parser.add_argument("--nodes", type=int, default=0, help="add so many Double nodes Tag0000 ... that keep changing")
    parser.add_argument("--rate", type=float, default=1.0, help="changes of each of them per second")


class Endpoint:
    """An asyncua server whose port can be shut and opened while its nodes live on."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._reserved: socket.socket | None = bound_socket(host, port)
        self.port: int = self._reserved.getsockname()[1]
        self.url = f"opc.tcp://{f'[{host}]' if ':' in host else host}:{self.port}{PATH}"
        self.server = Server()
        self._restoring: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen; the first time the server starts. Raises SimulatorError if the port is busy."""
        # The library binds by itself: the reservation ends in the very moment before.
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None
        try:
            if self.server.bserver is None:
                await self.server.start()
            else:
                await self.server.bserver.start()
        except OSError as error:
            raise SimulatorError(unusable(self._host, self.port, error)) from error

    async def cut(self, seconds: float) -> None:
        """Drop everybody and refuse connections for so long; a later cut replaces an earlier one."""
        if self._restoring is not None:
            self._restoring.cancel()
        if self._reserved is None:
            await self._shut()
            self._reserved = bound_socket(self._host, self.port)
        self._restoring = asyncio.create_task(self._restore(seconds))

    async def close(self) -> None:
        """End everything, quickly: ``Server.stop`` would wait for its clock, up to a second."""
        if self._restoring is not None:
            self._restoring.cancel()
        if self._reserved is not None:
            self._reserved.close()
        else:
            await self._shut()
        clock = self.server.iserver.time_task
        if clock is not None:
            clock.cancel()

    async def _shut(self) -> None:
        assert self.server.bserver is not None, "only an opened endpoint is shut"
        for transport in list(self.server.iserver.asyncio_transports):
            transport.abort()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.server.bserver.stop(), CLOSE_S)

    async def _restore(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._restoring = None
        await self.open()


class MouldingMachine:
    """IMM-01: its machine, its nodes and the commands that break them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.truth = Truth(IMM_01.name, options.truth)
        self.endpoint = Endpoint(options.host, options.port)
        self._shots = options.shots
        self._job_cycles = 0
        self._nodes: dict[str, Node] = {}
        self._tags: list[Node] = []
        self._recovering: asyncio.Task[None] | None = None
        machine = Machine(IMM_01.steady() if options.steady else IMM_01, seed=options.seed)
        self.pace = Pace(machine, self.truth, speed=options.speed, stop_after=options.stop_after, apply=self._apply)
        self._options = options

    async def build(self) -> None:
        """Make the address space and begin to listen."""
        server = self.endpoint.server
        await server.init()
        server.set_server_name("Simulated IMM-01")
        server.set_endpoint(self.endpoint.url)
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        await server.register_namespace(OTHER_NAMESPACE)
        index = await server.register_namespace(NAMESPACE)
        machine = await server.nodes.objects.add_object(_node_id("IMM-01", index), f"{index}:IMM-01")
        for name, kind in NODES.items():
            first = "" if kind is ua.VariantType.String else 0
            value = ua.Variant(float(first) if kind is ua.VariantType.Double else first, kind)
            self._nodes[name] = await machine.add_variable(_node_id(name, index), f"{index}:{name}", value)
        for number in range(self._options.nodes):
            name = f"Tag{number:04d}"
            value = ua.Variant(0.0, ua.VariantType.Double)
            self._tags.append(await machine.add_variable(_node_id(name, index), f"{index}:{name}", value))
        await self._write("MachineMode", AUTOMATIC)
        await self._write("JobStatus", JOB_IN_PRODUCTION)
        await self._write("MachineCycleCounter", self._shots)
        await self.endpoint.open()

    async def run_tags(self) -> None:
        """Change the benchmark's nodes for ever: each value is the CLOCK_MONOTONIC second of its writing."""
        due = time.monotonic()
        while self._tags:
            for tag in self._tags:
                await self._put(tag, ua.Variant(time.monotonic(), ua.VariantType.Double))
            due += 1 / self._options.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.Event().wait()

    async def _apply(self, event: Event) -> None:
        if isinstance(event, Cycle):
            self._job_cycles += 1
            await self._write("LastCycleTime", event.cycle_ns / self.pace.speed / NS_PER_MS)
            await self._write("JobCycleCounter", self._job_cycles)
            await self._write("JobGoodPartsCounter", self._job_cycles * IMM_01.pieces)
            self._shots += 1
            await self._write_shots()
            self.truth.pieces(event.good, event.scrap, shots=self._shots)
        elif isinstance(event, Stop):
            await self._write("JobStatus", JOB_INTERRUPTED)
            self.truth.event("stop", reason=event.reason, alarm=event.alarm)
        else:
            await self._write("JobStatus", JOB_IN_PRODUCTION)
            self.truth.event("start")

    def declare(self, control: Control) -> None:
        """Add the commands."""
        self.pace.declare(control)
        control.add("cut SECONDS", self.endpoint.cut)
        control.add("bad SECONDS", self._bad)
        control.add("restart", self._restart)
        control.add("job TEXT", self._job)

    async def _bad(self, seconds: float) -> None:
        if self._recovering is not None:
            self._recovering.cancel()
        self._recovering = asyncio.create_task(self._recover(seconds))
        await self._write_shots()

    async def _recover(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._recovering = None
        await self._write_shots()

    async def _restart(self) -> dict[str, object]:
        await self.endpoint.cut(RESTART_S)
        started = datetime.fromtimestamp(time.time(), tz=UTC)
        server = self.endpoint.server
        status = dataclasses.replace(await server.iserver.server_status_node.read_value(), StartTime=started)
        await server.iserver.server_status_node.write_value(status)
        start_node = server.get_node(ua.NodeId.from_string(f"i={ObjectIds.Server_ServerStatus_StartTime}"))
        await start_node.write_value(started)
        self.truth.event("restart", shots=self._shots)
        return {"start_time": started.isoformat()}

    async def _job(self, text: str) -> None:
        self._job_cycles = 0
        await self._write("JobName", text)
        await self._write("JobCycleCounter", 0)
        await self._write("JobGoodPartsCounter", 0)
        self.truth.event("job", job=text)

    async def _write_shots(self) -> None:
        if self._recovering is None:
            await self._write("MachineCycleCounter", self._shots)
        else:
            bad = ua.StatusCode(ua.UInt32(StatusCodes.BadSensorFailure))
            await self._put(self._nodes["MachineCycleCounter"], None, bad)

    async def _write(self, name: str, value: Any) -> None:
        await self._put(self._nodes[name], ua.Variant(value, NODES[name]))

    async def _put(self, node: Node, value: ua.Variant | None, status: ua.StatusCode | None = None) -> None:
        stamp = ua.DateTime.fromtimestamp(time.time(), tz=UTC)
        data = ua.DataValue(value, StatusCode=status or ua.StatusCode(), SourceTimestamp=stamp)
        await self.endpoint.server.write_attribute_value(node.nodeid, data)


def _node_id(name: str, index: int) -> ua.NodeId:
    return ua.NodeId.from_string(f"ns={index};s={name}")


async def run(options: argparse.Namespace, control: Control) -> None:
    """Serve until told to end. Raises SimulatorError if the port is busy."""
    if not 0 <= options.nodes <= MAX_NODES or options.rate <= 0:
        raise SimulatorError(f"--nodes {options.nodes} --rate {options.rate}: allowed are 0 to {MAX_NODES}, above 0")
    # Faults are the purpose here: the library's complaints about broken links would drown the rest.
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    machine = MouldingMachine(options)
    machine.declare(control)
    await machine.build()
    try:
        control.ready(port=machine.endpoint.port, host=options.host, endpoint=machine.endpoint.url)
        work = (asyncio.create_task(machine.pace.run()), asyncio.create_task(machine.run_tags()))
        await control.until_exit(*work)
    finally:
        await machine.endpoint.close()
        machine.truth.close()
