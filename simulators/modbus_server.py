"""``asm-01``: the PLC of an assembly machine, reached by Modbus, with faults down to the single byte.

Uses no Modbus library: a library would repair on the way out what a fault is meant to break.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from simulators import modbus_ports
from simulators.control import Truth
from simulators.machine import NS_PER_S, Cycle, MachineSpec, Stop
from simulators.modbus_faults import ModbusFaults
from simulators.modbus_station import Station, complete_link, source_keys
from simulators.pace import Pace, machine_of
from simulators.registers import AUTO_RUN, BLOCKED, FAULT, OFF, SETUP, STARVED, STOPPED, Registers

if TYPE_CHECKING:
    import argparse

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
#: The state word while the machine stands, by the reason of the stop; any other: stopped.
STANDING: Final = {
    "micro": STARVED,
    "starved": STARVED,
    "fault": FAULT,
    "setup": SETUP,
    "blocked": BLOCKED,
    "off": OFF,
}
#: Where a printed configuration expects the device if nobody named a place; a line is in the temporary folder.
USUAL_PORT: Final = 15020
USUAL_LINK: Final = "asm-01.tty"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this simulator."""
    modbus_ports.add_arguments(parser, transport="tcp", unit=1)
    parser.add_argument("--good", type=int, default=0, help="good counter at the start (65500: a roll-over soon)")
    parser.add_argument("--scrap", type=int, default=0, help="scrap counter at the start")
    parser.add_argument("--ramp", action="store_true", help="registers 1000 to 1999 change with every request")


class AssemblyMachine:
    """ASM-01: its machine, its PLC and the commands that break them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.truth = Truth(ASM_01.name, options.truth)
        self.faults = ModbusFaults(options.seed)
        self.registers = Registers(
            self.faults,
            good=options.good,
            scrap=options.scrap,
            ramp=options.ramp,
            seed=options.seed,
            on_job=lambda text: self.truth.event("job", job=text, by="write"),
        )
        self.station = Station(options, self.registers, self.faults)
        machine = machine_of(ASM_01, options)
        self.pace = Pace(machine, self.truth, speed=options.speed, stop_after=options.stop_after, apply=self._apply)

    def declare(self, control: Control) -> None:
        """Add the commands."""
        self.pace.declare(control)
        self.station.declare(control)
        control.add("zero SECONDS", lambda seconds: self.faults.for_seconds("zero", seconds))
        control.add("frozen SECONDS", self._freeze)
        control.add("torn-total COUNT", lambda count: self.faults.for_count("torn-total", count))
        control.add("restart [SECONDS] [lose|keep]", self._restart)
        control.add("reset", self._reset)
        control.add("set good|scrap|total VALUE", self._overwrite)
        control.add("job TEXT", self._job)

    async def _apply(self, event: Event) -> None:
        registers = self.registers
        if isinstance(event, Cycle):
            registers.count(event.good, event.scrap)
            self.truth.pieces(event.good, event.scrap)
        elif isinstance(event, Stop):
            registers.state = STANDING.get(event.reason, STOPPED)
            registers.alarm = event.alarm
            self.truth.event("stop", reason=event.reason, alarm=event.alarm)
        else:
            registers.state, registers.alarm = AUTO_RUN, 0
            self.truth.event("start")

    def _freeze(self, seconds: float) -> None:
        self.registers.freeze()
        self.faults.for_seconds("frozen", seconds)

    async def _restart(self, seconds: float = 0.0, choice: str = "lose") -> dict[str, object]:
        before = self.registers.counters()
        self.registers.restart(keep=choice == "keep")
        self.truth.event("reset", before=before, boots=self.registers.boots, kept=choice == "keep")
        await self.station.restart(seconds)
        return {"boots": self.registers.boots}

    def _reset(self) -> None:
        before = self.registers.counters()
        self.registers.reset()
        self.truth.event("reset", before=before, boots=self.registers.boots)

    def _overwrite(self, counter: str, value: int) -> None:
        before = self.registers.counters()[counter]
        setattr(self.registers, counter, value)
        self.truth.event("set", counter=counter, before=before, value=value)

    def _job(self, text: str) -> None:
        self.registers.job = text
        self.truth.event("job", job=text)


def complete(options: argparse.Namespace) -> list[str]:
    """Fill in what a printed configuration needs."""
    return complete_link(options, port=USUAL_PORT, link=USUAL_LINK)


def config_text(options: argparse.Namespace, facts: dict[str, Any]) -> str:
    """The gateway's source and work unit for this machine."""
    return f"""\
sources:
  asm:
{source_keys(options, facts)}
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
      job: {{ table: holding, address: 8, type: string, length: 16 }}
      tool: {{ table: holding, address: 16, type: uint16, telemetry: true }}

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
    confirm: {{ every_pieces: 10, every: 30 s, min_interval: 0 s }}
"""


async def run(options: argparse.Namespace, control: Control) -> None:
    """Serve until told to end. Raises SimulatorError if the port is busy."""
    machine = AssemblyMachine(options)
    machine.declare(control)
    try:
        await machine.station.run(control, machine.pace)
    finally:
        machine.truth.close()
