"""``asm-01``: the PLC of an assembly machine behind a Modbus TCP server, with faults down to the single byte.

Answers function codes 1 to 4 for one unit and refuses writes. Uses no Modbus library: a library would repair on the way
out what a fault is meant to break.
"""

from __future__ import annotations

import asyncio
import random
import struct
from typing import TYPE_CHECKING, Any, Final

from simulators.control import Truth
from simulators.listener import Listener
from simulators.machine import NS_PER_S, Cycle, Machine, MachineSpec, Stop
from simulators.pace import Pace
from simulators.registers import AUTO_RUN, FAULT, FIRST_ILLEGAL, STARVED, STOPPED, Registers

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from simulators.control import Control
    from simulators.machine import Event

ASM_01: Final = MachineSpec(
    name="ASM-01",
    ideal_cycle_ns=2_400_000_000,
    scrap_share=0.04,
    micro_stop_share=0.01,
    fault_share=0.001,
    fault_ns=(60 * NS_PER_S, 180 * NS_PER_S),
)

READ_COILS, READ_DISCRETE, READ_HOLDING, READ_INPUT = 1, 2, 3, 4
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, NO_SUCH_UNIT = 1, 2, 3, 0x0B
#: Most bits and registers that one request may ask for (Modbus application protocol 6.1, 6.3).
MAX_BITS: Final = 2000
MAX_REGISTERS: Final = 125
#: Length field of the header: the unit byte and at least a function code, at most 253 bytes of PDU.
LENGTHS: Final = range(2, 255)
USUAL_PORT: Final = 15020
HEADER: Final = struct.Struct(">HHHB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this simulator."""
    parser.add_argument("--unit", type=int, default=1, help="the unit that answers")
    parser.add_argument("--good", type=int, default=0, help="good counter at the start (65500: a roll-over soon)")
    parser.add_argument("--scrap", type=int, default=0, help="scrap counter at the start")
    parser.add_argument("--ramp", action="store_true", help="registers 1000 to 1999 change with every request")


class Faults:
    """What goes wrong with answers: counts of answers still to be spoiled, and switches for a time."""

    def __init__(self, seed: int) -> None:
        self.exception = [0, 0]  # code, count
        self.short = 0
        self.wrong_unit = 0
        self.garbage = 0
        self.slow = [0.0, 0]  # seconds, count
        self.silent = False
        self._random = random.Random(f"garbage/{seed}")

    def take_exception(self) -> int:
        """The exception code due now, 0 for none."""
        if self.exception[1] <= 0:
            return 0
        self.exception[1] -= 1
        return int(self.exception[0])

    def take_delay(self) -> float:
        """Seconds by which this answer is late."""
        if self.slow[1] <= 0:
            return 0.0
        self.slow[1] -= 1
        return self.slow[0]

    def spoil(self, frame: bytes) -> tuple[bytes, bool]:
        """The bytes really sent, and whether the connection stays silent after them."""
        if self.short > 0:
            self.short -= 1
            return frame[: len(frame) // 2], True
        if self.wrong_unit > 0:
            self.wrong_unit -= 1
            return frame[:6] + bytes([(frame[6] + 1) % 256]) + frame[7:], False
        if self.garbage > 0:
            self.garbage -= 1
            # A protocol identifier that is not 0 makes it surely no Modbus frame.
            return frame[:2] + b"\xff\xff" + self._random.randbytes(max(1, len(frame) - 4)), False
        return frame, False


class ModbusServer:
    """One unit's tables on a Modbus TCP port."""

    def __init__(self, host: str, port: int, *, unit: int, registers: Registers, faults: Faults) -> None:
        self.listener = Listener(host, port, self._serve)
        self._unit = unit
        self._registers = registers
        self._faults = faults

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mute = False
        while True:
            transaction, protocol, length, unit = HEADER.unpack(await reader.readexactly(HEADER.size))
            if protocol != 0 or length not in LENGTHS:
                return
            request = await reader.readexactly(length - 1)
            if mute or self._faults.silent:
                continue
            delay_s = self._faults.take_delay()
            if delay_s:
                await asyncio.sleep(delay_s)
            answer = self._answer(unit, request)
            frame = HEADER.pack(transaction, 0, len(answer) + 1, unit) + answer
            sent, mute = self._faults.spoil(frame)
            writer.write(sent)
            await writer.drain()

    def _answer(self, unit: int, request: bytes) -> bytes:
        function = request[0]
        code = self._faults.take_exception() or self._refusal(unit, request)
        if code:
            return bytes([function | 0x80, code])
        address, count = struct.unpack_from(">HH", request, 1)
        if function in {READ_COILS, READ_DISCRETE}:
            body = _packed(self._registers.bits(address, count))
        else:
            table = self._registers.holding if function == READ_HOLDING else self._registers.inputs
            body = struct.pack(f">{count}H", *table(address, count))
        return bytes([function, len(body)]) + body

    def _refusal(self, unit: int, request: bytes) -> int:
        if unit != self._unit:
            return NO_SUCH_UNIT
        if request[0] not in {READ_COILS, READ_DISCRETE, READ_HOLDING, READ_INPUT}:
            return ILLEGAL_FUNCTION
        if len(request) != 5:  # noqa: PLR2004 - function, address, count
            return ILLEGAL_VALUE
        address, count = struct.unpack_from(">HH", request, 1)
        if not 1 <= count <= (MAX_BITS if request[0] in {READ_COILS, READ_DISCRETE} else MAX_REGISTERS):
            return ILLEGAL_VALUE
        return ILLEGAL_ADDRESS if address + count > FIRST_ILLEGAL else 0


def _packed(bits: list[int]) -> bytes:
    number = sum(bit << at for at, bit in enumerate(bits))
    return number.to_bytes((len(bits) + 7) // 8, "little")


class AssemblyMachine:
    """ASM-01: its machine, its PLC and the commands that break them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.truth = Truth(ASM_01.name, options.truth)
        self.registers = Registers(good=options.good, scrap=options.scrap, ramp=options.ramp, seed=options.seed)
        self.faults = Faults(options.seed)
        self.server = ModbusServer(
            options.host, options.port, unit=options.unit, registers=self.registers, faults=self.faults
        )
        spec = ASM_01.steady() if options.steady else ASM_01
        machine = Machine(spec, seed=options.seed)
        self.pace = Pace(machine, self.truth, speed=options.speed, stop_after=options.stop_after, apply=self._apply)
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def _apply(self, event: Event) -> None:
        registers = self.registers
        if isinstance(event, Cycle):
            registers.count(event.good, event.scrap)
            self.truth.pieces(event.good, event.scrap)
        elif isinstance(event, Stop):
            registers.state = {"micro": STARVED, "fault": FAULT}.get(event.reason, STOPPED)
            registers.alarm = event.alarm
            self.truth.event("stop", reason=event.reason, alarm=event.alarm)
        else:
            registers.state, registers.alarm = AUTO_RUN, 0
            self.truth.event("start")

    def declare(self, control: Control) -> None:
        """Add the commands."""
        self.pace.declare(control)
        control.add("cut SECONDS", self.server.listener.cut)
        control.add("blackhole SECONDS", lambda seconds: self._for_a_time("silent", seconds))
        control.add("zero SECONDS", lambda seconds: self._for_a_time("all_zero", seconds))
        control.add("exception CODE COUNT", lambda code, count: self._set("exception", [code, count]))
        control.add("slow MS COUNT", lambda ms, count: self._set("slow", [ms / 1000, count]))
        control.add("short COUNT", lambda count: self._set("short", count))
        control.add("wrong-unit COUNT", lambda count: self._set("wrong_unit", count))
        control.add("garbage COUNT", lambda count: self._set("garbage", count))
        control.add("restart", self._restart)
        control.add("set good|scrap VALUE", self._overwrite)
        control.add("job TEXT", self._job)

    def _set(self, fault: str, value: Any) -> None:
        setattr(self.faults, fault, value)

    def _for_a_time(self, switch: str, seconds: float) -> None:
        place = self.faults if switch == "silent" else self.registers
        if switch in self._timers:
            self._timers[switch].cancel()
        setattr(place, switch, True)
        self._timers[switch] = asyncio.get_running_loop().call_later(seconds, setattr, place, switch, False)

    def _restart(self) -> dict[str, object]:
        before = {"good": self.registers.good, "scrap": self.registers.scrap}
        self.registers.restart()
        self.truth.event("reset", before=before, boots=self.registers.boots)
        self.server.listener.drop_connections()
        return {"boots": self.registers.boots}

    def _overwrite(self, counter: str, value: int) -> None:
        before = getattr(self.registers, counter)
        setattr(self.registers, counter, value)
        self.truth.event("set", counter=counter, before=before, value=value)

    def _job(self, text: str) -> None:
        self.registers.job = text


def config_text(options: argparse.Namespace, facts: Mapping[str, object]) -> str:
    """The gateway's source and work unit for this machine."""
    return f"""\
sources:
  asm:
    driver: modbus
    host: {facts["host"]}
    port: {facts["port"]}
    unit: {options.unit}
    scan: 250 ms
    word_order: low_first
    signals:
      good: {{ table: holding, address: 0, type: uint16 }}
      scrap: {{ table: holding, address: 1, type: uint16 }}
      total: {{ table: holding, address: 2, type: uint32, telemetry: true }}
      state: {{ table: holding, address: 4, type: uint16 }}
      alarm: {{ table: holding, address: 5, type: uint16, telemetry: true }}
      boots: {{ table: holding, address: 6, type: uint16 }}
      current: {{ table: holding, address: 7, type: int16, scale: "0.1", telemetry: true }}

work_units:
  ASM-01:
    work_center: WC-ASM
    ideal_cycle: 2.4 s
    counters:
      - {{ mode: counter, signal: asm.good, role: good, modulus: 65536, restart_evidence: [asm.boots] }}
      - {{ mode: counter, signal: asm.scrap, role: scrap, modulus: 65536, restart_evidence: [asm.boots] }}
    state:
      signal: asm.state
      map: {{ "0": OFF, "1": STOPPED, "2": PRODUCING, "3": STOPPED, "4": SETUP, "5": STARVED, "6": BLOCKED }}
    confirm: {{ every_pieces: 10, every: 30 s }}
"""


async def run(options: argparse.Namespace, control: Control) -> None:
    """Serve until told to end. Raises SimulatorError if the port is busy."""
    machine = AssemblyMachine(options)
    machine.declare(control)
    await machine.server.listener.open()
    try:
        control.ready(port=machine.server.listener.port, host=options.host, unit=options.unit)
        await control.until_exit(asyncio.create_task(machine.pace.run()))
    finally:
        await machine.server.listener.close()
        machine.truth.close()
