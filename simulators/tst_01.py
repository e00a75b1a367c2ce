"""``tst-01``: a leak tester with two nests, wired to an input module on a serial line (Modbus RTU).

Uses no Modbus library: a library would repair on the way out what a fault is meant to break.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from simulators import modbus_ports
from simulators.control import Truth
from simulators.machine import Cycle, MachineSpec, Stop
from simulators.modbus_faults import ModbusFaults
from simulators.modbus_station import Station, complete_link, source_keys
from simulators.nests import CHANNEL_NAMES, NESTS, InputModule
from simulators.pace import Pace, machine_of

if TYPE_CHECKING:
    import argparse

    from simulators.control import Control
    from simulators.machine import Event

#: The nests take turns: a part every 2.25 s, 4.5 s for each.
TST_01: Final = MachineSpec(
    name="TST-01",
    ideal_cycle_ns=2_250_000_000,
    scrap_share=0.03,
    micro_stop_share=0.01,
    fault_share=0.001,
)
USUAL_PORT: Final = 15021
#: Where a printed configuration expects the device if nobody named a place; the line is in the temporary folder.
USUAL_LINK: Final = "tst-01.tty"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this simulator."""
    modbus_ports.add_arguments(parser, transport="rtu", unit=7)


class LeakTester:
    """TST-01: its machine, its input module and the commands that break them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.truth = Truth(TST_01.name, options.truth)
        self.faults = ModbusFaults(options.seed)
        machine = machine_of(TST_01, options)
        self.pace = Pace(machine, self.truth, speed=options.speed, stop_after=options.stop_after, apply=self._apply)
        self.module = InputModule(
            self.faults, seed=options.seed, now_ns=self.pace.machine_now_ns, on_clear=self._on_clear
        )
        self.station = Station(options, self.module, self.faults)
        self._nest = 0

    def declare(self, control: Control) -> None:
        """Add the commands."""
        self.pace.declare(control)
        self.station.declare(control)
        faults = self.faults
        control.add("zero SECONDS", lambda seconds: faults.for_seconds("zero", seconds))
        control.add("frozen SECONDS", self._freeze)
        control.add("missing COUNT", lambda count: faults.for_count("missing", count))
        control.add("both COUNT", lambda count: faults.for_count("both", count))
        control.add("stuck INPUT SECONDS", lambda channel, seconds: faults.for_seconds(f"stuck {channel}", seconds))
        control.add("bounce INPUT COUNT", lambda channel, count: faults.for_count(f"bounce {channel}", count))
        control.add("restart [SECONDS] [lose|keep]", self._restart)
        control.add("reset", self._reset)
        control.add(f"set {'|'.join(CHANNEL_NAMES)} VALUE", self._overwrite)
        control.add("job TEXT", lambda text: self.truth.event("job", job=text))

    async def _apply(self, event: Event) -> None:
        if isinstance(event, Cycle):
            shown = self.module.tested(self._nest, event.at_ns, good=bool(event.good))
            self._nest = (self._nest + 1) % NESTS
            self.truth.pieces(event.good, event.scrap, **shown)
        elif isinstance(event, Stop):
            self.truth.event("stop", reason=event.reason, alarm=event.alarm)
        else:
            self.truth.event("start")

    def _freeze(self, seconds: float) -> None:
        self.module.freeze()
        self.faults.for_seconds("frozen", seconds)

    async def _restart(self, seconds: float = 0.0, choice: str = "lose") -> None:
        self._reset(kept=choice == "keep")
        await self.station.restart(seconds)

    def _reset(self, *, kept: bool = False) -> None:
        before = dict(zip(CHANNEL_NAMES, self.module.counters, strict=True))
        if not kept:
            self.module.reset()
        self.truth.event("reset", before=before, kept=kept)

    def _overwrite(self, counter: str, value: int) -> None:
        channel = CHANNEL_NAMES.index(counter)
        before = self.module.counters[channel]
        self.module.counters[channel] = value
        self.truth.event("set", counter=counter, before=before, value=value)

    def _on_clear(self, counter: str) -> None:
        before = self.module.counters[CHANNEL_NAMES.index(counter)]
        self.truth.event("set", counter=counter, before=before, value=0, by="write")


def complete(options: argparse.Namespace) -> list[str]:
    """Fill in what a printed configuration needs."""
    return complete_link(options, port=USUAL_PORT, link=USUAL_LINK)


def config_text(options: argparse.Namespace, facts: dict[str, Any]) -> str:
    """The gateway's source and work unit for this machine."""
    return f"""\
sources:
  tst:
{source_keys(options, facts)}
    scan: 250 ms
    word_order: high_first
    signals:
      present_1: {{ table: discrete, address: 0, telemetry: true }}
      ok_1: {{ table: input, address: 18, type: uint32 }}
      nok_1: {{ table: input, address: 20, type: uint32 }}
      leak_1: {{ table: input, address: 40, type: int16, scale: "0.01", telemetry: true }}
      present_2: {{ table: discrete, address: 3, telemetry: true }}
      ok_2: {{ table: input, address: 24, type: uint32 }}
      nok_2: {{ table: input, address: 26, type: uint32 }}
      leak_2: {{ table: input, address: 41, type: int16, scale: "0.01", telemetry: true }}

work_units:
  TST-01:
    work_center: WC-TST
    ideal_cycle: 2.25 s # two nests, 4.5 s each
    counters:
      - {{ mode: counter, signal: tst.ok_1, role: good, modulus: 4294967296, max_rate: "16 /min" }}
      - {{ mode: counter, signal: tst.nok_1, role: scrap, modulus: 4294967296, max_rate: "16 /min" }}
      - {{ mode: counter, signal: tst.ok_2, role: good, modulus: 4294967296, max_rate: "16 /min" }}
      - {{ mode: counter, signal: tst.nok_2, role: scrap, modulus: 4294967296, max_rate: "16 /min" }}
    state: {{ stop_detect: 10 s }}
    confirm: {{ every_pieces: 10, every: 30 s, min_interval: 0 s }}
"""


async def run(options: argparse.Namespace, control: Control) -> None:
    """Serve until told to end. Raises SimulatorError if the port is busy or the link cannot be made."""
    machine = LeakTester(options)
    machine.declare(control)
    try:
        await machine.station.run(control, machine.pace)
    finally:
        machine.truth.close()
