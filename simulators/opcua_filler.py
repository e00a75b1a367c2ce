"""``fil-02``: the OPC UA server of a filler with PackML states and counters (OPC 30050).

Shows the parts of the Admin and Status objects that a gateway reads; state machine objects and methods are left out.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua

from simulators import opcua_security
from simulators.control import CommandError, SimulatorError
from simulators.machine import NS_PER_S, Cycle, MachineSpec, Stop
from simulators.opcua_config import source
from simulators.opcua_packml import (
    ALARM_TYPE,
    COUNT_TYPE,
    MODE_TYPE,
    MODE_WORDS,
    NAMESPACE,
    TO_EXECUTE,
    WAYS,
    PackMLAlarmDataType,
    PackMLCountDataType,
    State,
    Walk,
    add_types,
)
from simulators.opcua_space import Variable
from simulators.opcua_station import Station

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from simulators.control import Control
    from simulators.machine import Event

FIL_02: Final = MachineSpec(
    name="FIL-02",
    ideal_cycle_ns=NS_PER_S // 10,
    scrap_share=0.01,
    micro_stop_share=0.0005,
    micro_stop_ns=(5 * NS_PER_S, 20 * NS_PER_S),
    fault_share=0.0001,
    alarms=(2101, 2102, 2203),
)
USUAL_PORT: Final = 14841
#: The counters are Int32: after 2,147,483,647 comes 0.
MODULUS_MAX: Final = 2**31
#: How long a state on the way lasts, in seconds of machine time.
DWELL_S: Final = 0.5
DESIGN_SPEED: Final = 600.0  # packages a minute, at --speed 1
PRODUCE: Final = 1
PROCESSED, DEFECTIVE = "Admin.ProdProcessedCount", "Admin.ProdDefectiveCount"
#: Identifiers of stop reasons that are no alarm of the machine.
OPERATOR, STARVED, BLOCKED = 1, 11, 12
BOTTLES: Final = "Bottles"


def _blank(counts: list[PackMLCountDataType]) -> list[PackMLCountDataType]:
    return [dataclasses.replace(one, Count=ua.Int32(0), AccCount=ua.Int32(0)) for one in counts]


def _counts(key: str) -> Variable:
    kind, first = ua.VariantType.ExtensionObject, [PackMLCountDataType()]
    return Variable(key=key, folder=("Admin",), kind=kind, first=first, data_type=COUNT_TYPE, zero=_blank)


def _status(name: str, kind: ua.VariantType, first: Any) -> Variable:
    return Variable(key=f"Status.{name}", folder=("Status",), kind=kind, first=first)


VARIABLES: Final = (
    _counts(PROCESSED),
    _counts(DEFECTIVE),
    Variable(
        key="Admin.StopReason",
        folder=("Admin",),
        kind=ua.VariantType.ExtensionObject,
        first=PackMLAlarmDataType(),
        data_type=ALARM_TYPE,
    ),
    Variable(key="Admin.MachDesignSpeed", folder=("Admin",), kind=ua.VariantType.Float, first=0.0),
    _status("StateCurrent", ua.VariantType.Int32, int(State.STOPPED)),
    Variable(
        key="Status.UnitModeCurrent",
        folder=("Status",),
        kind=ua.VariantType.Int32,
        first=PRODUCE,
        data_type=MODE_TYPE,
    ),
    _status("CurMachSpeed", ua.VariantType.Float, 0.0),
    _status("MachSpeed", ua.VariantType.Float, 0.0),
    _status("EquipmentBlocked", ua.VariantType.Boolean, first=False),
    _status("EquipmentStarved", ua.VariantType.Boolean, first=False),
    Variable(key="JobName", folder=(), kind=ua.VariantType.String, first=""),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this simulator."""
    parser.add_argument("--processed", type=int, default=0, metavar="N", help="AccCount of processed at the start")
    parser.add_argument("--defective", type=int, default=0, metavar="N", help="AccCount of defective at the start")
    parser.add_argument("--modulus", type=int, default=MODULUS_MAX, help="where AccCount starts again at 0")
    parser.add_argument(
        "--processed-means",
        choices=("good", "all"),
        default="good",
        help="whether ProdProcessedCount counts the good ones or the defective ones as well",
    )
    opcua_security.add_arguments(parser)


class Filler:
    """FIL-02: what a bottle and a state mean for its nodes, and the commands of its own."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        unit = ua.EUInformation(DisplayName=ua.LocalizedText("bottle"))
        self._counts = {
            PROCESSED: PackMLCountDataType(Unit=unit, AccCount=ua.Int32(options.processed)),
            DEFECTIVE: PackMLCountDataType(Unit=unit, AccCount=ua.Int32(options.defective)),
        }
        self._walk = Walk(DWELL_S / options.speed, self._enter)
        self._random = random.Random(f"suspended/{options.seed}")
        self._way = "stop"  # what a stop from outside is to be
        self.station = Station(
            options,
            FIL_02,
            uri=NAMESPACE,
            variables=VARIABLES,
            types=add_types,
            primary=PROCESSED,
            apply=self._apply,
        )
        self._values = self.station.values

    async def build(self) -> None:
        """Make the address space and begin to listen; the machine is stopped."""
        await self.station.build()
        speed = DESIGN_SPEED * self._options.speed
        for key in ("Admin.MachDesignSpeed", "Status.MachSpeed"):
            await self._values.put(key, speed)
        for counts in self._counts.values():
            counts.Name = ua.String(BOTTLES)
        await self._show_counts()
        await self.station.open()

    async def run(self) -> None:
        """Start up, and produce for ever."""
        await self._start_up()
        await self.station.pace.run()

    def declare(self, control: Control) -> None:
        """Add the commands."""
        highest = self._options.modulus - 1
        names = {"processed": PROCESSED, "defective": DEFECTIVE}
        counters = {name: (highest, self._setter(key)) for name, key in names.items()}
        self.station.declare(control, counters)
        control.add("start", self._start)
        control.add("stop", lambda: self._halt("stop"))
        control.add("hold", lambda: self._halt("hold"))
        control.add("suspend starved|blocked", self._suspend)
        control.add("complete", lambda: self._halt("complete"))
        control.add("abort", lambda: self._halt("abort"))
        control.add("job TEXT", self._job)
        control.add("mode produce|maintenance|manual", self._mode)

    def close(self) -> None:
        """Walk no more."""
        self._walk.close()

    @property
    def _halted(self) -> bool:
        """True while a person keeps it from producing."""
        return self.station.pace.machine.next_ns is None

    async def _apply(self, event: Event) -> None:
        if isinstance(event, Cycle):
            await self._bottle(event)
        elif isinstance(event, Stop):
            await self._stopped(event)
            self.station.truth.event("stop", reason=event.reason, alarm=event.alarm)
        else:
            self.station.truth.event("start")
            await self._walk.finish()
            await self._walk.go(TO_EXECUTE[self._walk.state])

    async def _bottle(self, event: Cycle) -> None:
        await self._walk.finish()  # a bottle is made in Execute, however short the way there was
        if event.good or self._options.processed_means == "all":
            await self._count(PROCESSED)
        if event.scrap:
            await self._count(DEFECTIVE)
        counts = self._counts
        self.station.truth.pieces(
            event.good,
            event.scrap,
            processed=int(counts[PROCESSED].AccCount),
            defective=int(counts[DEFECTIVE].AccCount),
        )

    async def _stopped(self, event: Stop) -> None:
        """Suspended where the machine waits, Held where it has a fault, and whatever a person wants."""
        await self._walk.finish()
        if event.reason in {"micro", "fault"} and self._walk.state is not State.EXECUTE:
            await self._walk.go(TO_EXECUTE[self._walk.state])  # started again by a person while it stood by itself
            await self._walk.finish()
        if event.reason == "micro":
            word = self._random.choice(("starved", "blocked"))
            await self._wait_for(word)
            way = "suspend"
        elif event.reason == "fault":
            await self._put_reason(event.alarm, f"fault {event.alarm}")
            way = "hold"
        else:
            way = "complete" if event.reason == "stop-after" else self._way
            if way not in {"suspend", "complete"}:
                await self._put_reason(OPERATOR, f"{way} by the operator")
        await self._walk.go(WAYS[way][0])

    async def _enter(self, state: State) -> None:
        if state is State.RESETTING:
            for counts in self._counts.values():
                counts.Count = ua.Int32(0)
            await self._show_counts()
        if state is State.EXECUTE:
            await self._put_reason(0, "")
            await self._wait_for("")
        await self._values.put("Status.CurMachSpeed", DESIGN_SPEED * self._options.speed * (state is State.EXECUTE))
        await self._values.put("Status.StateCurrent", int(state))
        self.station.truth.event("state", state=int(state), name=state.name)

    async def _start(self) -> dict[str, object]:
        """Leave whatever state it stands in; a running machine goes on."""
        if not self._halted:
            return self.station.pace.totals()
        await self._start_up()
        return await self.station.pace.start()

    async def _start_up(self) -> None:
        await self._walk.finish()
        await self._walk.go(TO_EXECUTE[self._walk.state])
        await self._walk.arrive()

    async def _halt(self, way: str) -> dict[str, object]:
        """Make no more bottles, and go where a person wants the machine."""
        if self._walk.target not in WAYS[way][1]:
            allowed = ", ".join(sorted(state.name for state in WAYS[way][1]))
            raise CommandError(f"{way!r} found the state {self._walk.target.name}; allowed: {allowed}")
        self._way = way
        halted = self._halted
        totals = await self.station.pace.stop()
        if halted and self._walk.target is not WAYS[way][0][-1]:
            await self._walk.go(WAYS[way][0])
        return totals

    async def _suspend(self, word: str) -> dict[str, object]:
        if self._walk.target is State.EXECUTE:
            await self._wait_for(word)
        return await self._halt("suspend")

    async def _wait_for(self, word: str) -> None:
        """Starved, blocked, or neither."""
        await self._values.put("Status.EquipmentStarved", word == "starved")
        await self._values.put("Status.EquipmentBlocked", word == "blocked")
        if word:
            await self._put_reason(STARVED if word == "starved" else BLOCKED, word)

    async def _put_reason(self, number: int, message: str) -> None:
        now = self._values.stamp()
        reason = PackMLAlarmDataType(ua.Int32(number), Message=ua.String(message), DateTime=now)
        reason.Trigger = bool(number)  # type: ignore[assignment] # the library's Boolean cannot be made
        await self._values.put("Admin.StopReason", reason)

    async def _count(self, key: str) -> None:
        counts = self._counts[key]
        counts.Count = ua.Int32(min(counts.Count + 1, MODULUS_MAX - 1))
        counts.AccCount = ua.Int32((counts.AccCount + 1) % self._options.modulus)
        await self._values.put(key, [dataclasses.replace(counts)])

    async def _show_counts(self) -> None:
        for key, counts in self._counts.items():
            await self._values.put(key, [dataclasses.replace(counts)])

    def _setter(self, key: str) -> Any:
        async def change(value: int) -> None:
            self._counts[key].AccCount = ua.Int32(value)
            await self._show_counts()

        return change

    async def _job(self, text: str) -> dict[str, object]:
        """The end of a job and the beginning of the next: Complete, Resetting, Execute."""
        running = not self._halted
        if running and self._walk.target is State.EXECUTE:
            await self._halt("complete")
            await self._walk.arrive()
        await self._values.put("JobName", text)
        for counts in self._counts.values():
            counts.Name = ua.String(text)
        await self._show_counts()
        self.station.truth.event("job", job=text, processed=int(self._counts[PROCESSED].AccCount))
        return await self._start() if running else self.station.pace.totals()

    async def _mode(self, word: str) -> None:
        await self._values.put("Status.UnitModeCurrent", [one.lower() for one in MODE_WORDS].index(word))
        self.station.truth.event("mode", variable="Status.UnitModeCurrent", word=word)


def config_text(options: argparse.Namespace, facts: Mapping[str, Any]) -> str:
    """The gateway's source and work unit for this machine."""
    head = source("filler", options, facts, path="/fil-02", publish="250 ms", namespaces={"packml": NAMESPACE})
    processed, defective = (f'node: "nsu=packml;s={key}", index: 0' for key in (PROCESSED, DEFECTIVE))
    defects = f"""\
      - {{ mode: counter, signal: filler.scrap, role: scrap, modulus: {options.modulus}, max_rate: "900 /min" }}
"""
    if options.processed_means == "all":
        defects = """\
      # ProdDefectiveCount is not counted as scrap: these bottles are among the processed ones already.
"""
    return f"""\
{head}\
    signals:
      good: {{ {processed}, field: AccCount }}
      scrap: {{ {defective}, field: AccCount }}
      count: {{ {processed}, field: Count, telemetry: true }} # of the running job
      state: {{ node: "nsu=packml;s=Status.StateCurrent" }}
      mode: {{ node: "nsu=packml;s=Status.UnitModeCurrent", telemetry: true }}
      speed: {{ node: "nsu=packml;s=Status.CurMachSpeed", telemetry: true }}
      stop_reason: {{ node: "nsu=packml;s=Admin.StopReason", field: ID, telemetry: true }}
      starved: {{ node: "nsu=packml;s=Status.EquipmentStarved", telemetry: true }}
      blocked: {{ node: "nsu=packml;s=Status.EquipmentBlocked", telemetry: true }}

work_units:
  FIL-02:
    work_center: WC-FIL
    ideal_cycle: 100 ms
    counters:
      - {{ mode: counter, signal: filler.good, role: good, modulus: {options.modulus}, max_rate: "900 /min" }}
{defects}\
    state:
      signal: filler.state
      # The numbers of OPC 30050; another PackML machine may have others. Suspended is waiting: starved or blocked.
      map:
        "1": STOPPED
        "2": STOPPED
        "3": STOPPED
        "4": IDLE_NO_ORDER
        "5": STARVED
        "6": PRODUCING
        "7": STOPPED
        "8": STOPPED
        "9": STOPPED
        "10": STOPPED
        "11": STOPPED
        "12": STOPPED
        "13": STARVED
        "14": STARVED
        "15": STOPPED
        "16": PRODUCING
        "17": IDLE_NO_ORDER
    confirm: {{ every_pieces: 1000, every: 60 s }}
"""


async def run(options: argparse.Namespace, control: Control) -> None:
    """Serve until told to end. Raises SimulatorError if the port is busy."""
    if not 2 <= options.modulus <= MODULUS_MAX:  # noqa: PLR2004 - a counter has two values at least
        raise SimulatorError(f"--modulus {options.modulus}: allowed 2 to {MODULUS_MAX}")
    if (
        not 0
        <= min(options.processed, options.defective)
        <= max(options.processed, options.defective)
        < options.modulus
    ):
        found = f"--processed {options.processed} --defective {options.defective}"
        raise SimulatorError(f"{found}: allowed 0 to {options.modulus - 1}, below --modulus")
    filler = Filler(options)
    filler.declare(control)
    await filler.build()
    try:
        await filler.station.serve(control, asyncio.create_task(filler.run()))
    finally:
        filler.close()
        await filler.station.close()
