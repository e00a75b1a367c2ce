"""``imm-01``: the OPC UA server of an injection moulding machine, and many fast values for benchmarks.

The tags are those of OPC 40083 (Euromap 83) as a machine of that kind has them; its events and methods are left out.
"""

from __future__ import annotations

import asyncio
import functools
import random
import time
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua
from asyncua.ua.object_ids import ObjectIds

from simulators import opcua_security
from simulators.control import CommandError, SimulatorError
from simulators.machine import NS_PER_S, Cycle, MachineSpec, Stop
from simulators.opcua_config import source
from simulators.opcua_space import TypeId, Variable
from simulators.opcua_station import Station

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Mapping

    from simulators.control import Control
    from simulators.machine import Event
    from simulators.opcua_space import Space

CAVITIES: Final = 8
IMM_01: Final = MachineSpec(
    name="IMM-01",
    ideal_cycle_ns=18 * NS_PER_S,
    pieces=CAVITIES,
    micro_stop_share=0.005,
    micro_stop_ns=(10 * NS_PER_S, 30 * NS_PER_S),
    fault_share=0.001,
    alarms=(301, 302),
)

NAMESPACE: Final = "http://opcfoundation.org/UA/PlasticsRubber/GeneralTypes/"
USUAL_PORT: Final = 14840
NS_PER_MS: Final = 1_000_000
MAX_NODES: Final = 10_000
COUNTER_MAX: Final = 2**64 - 1

# Enumerations of OPC 40083, numbered from 0: the number of the data type in its namespace, its name, its words.
JOB_STATUS: Final = TypeId(NAMESPACE, 3017)
MACHINE_MODE: Final = TypeId(NAMESPACE, 3011)
PRODUCTION_STATUS: Final = TypeId(NAMESPACE, 3016)
CAVITY_QUALITY: Final = TypeId(NAMESPACE, 3020)
JOB_STATUS_WORDS: Final = (
    "OTHER", "TRANSFERRED_ASSIGNED", "SET_UP_ACTIVE", "SET_UP_INTERRUPTED", "SET_UP_FINISHED", "START_UP_ACTIVE",
    "JOB_IN_PRODUCTION", "JOB_INTERRUPTED", "JOB_FINISHED", "TEAR_DOWN_ACTIVE", "TEAR_DOWN_INTERRUPTED",
    "TEAR_DOWN_FINISHED",
)  # fmt: skip
MACHINE_MODE_WORDS: Final = ("OTHER", "AUTOMATIC", "SEMI_AUTOMATIC", "MANUAL", "SETUP", "SLEEP")
PRODUCTION_STATUS_WORDS: Final = (
    "OTHER", "NO_PRODUCTION", "START_UP", "READY_FOR_PRODUCTION", "PRODUCTION", "DRY_RUN",
)  # fmt: skip
CAVITY_WORDS: Final = ("NO_PART", "GOOD_PART", "BAD_PART", "REWORK")
JOB_IN_PRODUCTION, JOB_INTERRUPTED = 6, 7
AUTOMATIC: Final = 1
NO_PRODUCTION, PRODUCTION = 1, 4
NO_PART, GOOD_PART, BAD_PART = 0, 1, 2
#: Of a whole cycle.
GOOD_CYCLE, TEST_SAMPLE = 0, 2

#: Words of commands for the enumerations above, by number.
MODES: Final = "other|automatic|semi-automatic|manual|setup|sleep"
STATUSES: Final = "other|none|start-up|ready|production|dry-run"
CAVITY_STATES: Final = "off|good|bad|rework"


def _zero(_value: object) -> int:
    return 0


def _counter(key: str) -> Variable:
    return Variable(key=key, folder=("ActiveJobValues",), kind=ua.VariantType.UInt64, first=0, zero=_zero)


def _state(key: str, folder: str, data_type: TypeId, first: int) -> Variable:
    return Variable(key=key, folder=(folder,), kind=ua.VariantType.Int32, first=first, data_type=data_type)


VARIABLES: Final = (
    _counter("MachineCycleCounter"),
    _counter("JobCycleCounter"),
    _counter("JobGoodPartsCounter"),
    _counter("JobBadPartsCounter"),
    _counter("JobTestSamplesCounter"),
    Variable(
        key="LastCycleTime", folder=("ActiveJobValues",), kind=ua.VariantType.Double, first=0.0,
        data_type=TypeId("", ObjectIds.Duration),
    ),
    _state("JobStatus", "ActiveJobValues", JOB_STATUS, JOB_IN_PRODUCTION),
    Variable(
        key="CavityCycleQuality", folder=("ActiveJobValues",), kind=ua.VariantType.Int32, first=[NO_PART] * CAVITIES,
        data_type=CAVITY_QUALITY,
    ),
    Variable(key="CycleQuality", folder=("ActiveJobValues",), kind=ua.VariantType.Int32, first=GOOD_CYCLE),
    Variable(key="JobName", folder=("ActiveJob",), kind=ua.VariantType.String, first=""),
    _state("MachineMode", "MachineStatus", MACHINE_MODE, AUTOMATIC),
    _state("ProductionStatus", "ProductionControl", PRODUCTION_STATUS, PRODUCTION),
)  # fmt: skip
#: Counters of the running job, by what a person calls them: they start again at 0 with a job.
JOB_COUNTERS: Final = {
    "cycles": "JobCycleCounter",
    "good": "JobGoodPartsCounter",
    "bad": "JobBadPartsCounter",
    "samples": "JobTestSamplesCounter",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this simulator."""
    parser.add_argument("--shots", type=int, default=0, help="lifetime counter at the start")
    parser.add_argument("--bad-share", type=float, default=0.0, metavar="X", help="share of bad parts per cavity")
    parser.add_argument("--nodes", type=int, default=0, help="add so many Double nodes Tag0000 ... that keep changing")
    parser.add_argument("--rate", type=float, default=1.0, help="changes of each of them per second")
    opcua_security.add_arguments(parser)


class MouldingMachine:
    """IMM-01: what a shot means for its nodes, and the commands of its own."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._shots: int = options.shots
        self._job = dict.fromkeys(JOB_COUNTERS, 0)
        self._cavities = [GOOD_PART] * CAVITIES
        self._samples_due = 0
        self._random = random.Random(f"cavities/{options.seed}")
        self._tags: list[ua.NodeId] = []
        self.station = Station(
            options,
            IMM_01,
            uri=NAMESPACE,
            variables=VARIABLES,
            types=self._make_types,
            primary="MachineCycleCounter",
            apply=self._apply,
        )
        self._values = self.station.values

    async def build(self) -> None:
        """Make the address space and begin to listen."""
        await self.station.build()
        await self._values.put("MachineCycleCounter", self._shots)
        await self.station.open()

    async def run_tags(self) -> None:
        """Change the benchmark's nodes for ever: each value is the CLOCK_MONOTONIC second of its writing."""
        write = self.station.endpoint.server.write_attribute_value
        due = time.monotonic()
        while self._tags:
            for tag in self._tags:
                value = ua.Variant(time.monotonic(), ua.VariantType.Double)
                await write(tag, ua.DataValue(value, SourceTimestamp=self._values.stamp()))
            due += 1 / self._options.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.Event().wait()

    def declare(self, control: Control) -> None:
        """Add the commands."""
        counters: dict[str, tuple[int, Callable[[int], Awaitable[None]]]] = {"shots": (COUNTER_MAX, self._set_shots)}
        for name in JOB_COUNTERS:
            counters[name] = (COUNTER_MAX, functools.partial(self._set_job, name))
        self.station.declare(control, counters)
        control.add("job TEXT", self._new_job)
        control.add(f"cavity COUNT {CAVITY_STATES}", self._cavity)
        control.add("samples COUNT", self._sample)
        control.add(f"mode {MODES}", lambda word: self._put_word("MachineMode", MODES, word))
        control.add(f"production {STATUSES}", lambda word: self._put_word("ProductionStatus", STATUSES, word))

    async def _make_types(self, space: Space) -> None:
        await space.add_enumeration(JOB_STATUS, "JobStatusEnumeration", JOB_STATUS_WORDS)
        await space.add_enumeration(MACHINE_MODE, "MachineModeEnumeration", MACHINE_MODE_WORDS)
        await space.add_enumeration(PRODUCTION_STATUS, "ProductionStatusEnumeration", PRODUCTION_STATUS_WORDS)
        await space.add_enumeration(CAVITY_QUALITY, "CavityCycleQualityEnumeration", CAVITY_WORDS)
        self._tags = [await space.add_plain(f"Tag{number:04d}") for number in range(self._options.nodes)]

    async def _apply(self, event: Event) -> None:
        if isinstance(event, Cycle):
            await self._shot(event)
            return
        runs = not isinstance(event, Stop)
        await self._values.put("JobStatus", JOB_IN_PRODUCTION if runs else JOB_INTERRUPTED)
        await self._values.put("ProductionStatus", PRODUCTION if runs else NO_PRODUCTION)
        if isinstance(event, Stop):
            self.station.truth.event("stop", reason=event.reason, alarm=event.alarm)
        else:
            self.station.truth.event("start")

    async def _shot(self, event: Cycle) -> None:
        cavities = [self._quality(state) for state in self._cavities]
        good = cavities.count(GOOD_PART)
        bad = CAVITIES - good - cavities.count(NO_PART)
        sample = self._samples_due > 0
        made = {"cycles": 1, "samples": good + bad} if sample else {"cycles": 1, "good": good, "bad": bad}
        self._samples_due -= sample
        for name, count in made.items():
            self._job[name] += count
            await self._values.put(JOB_COUNTERS[name], self._job[name])
        await self._values.put("LastCycleTime", event.cycle_ns / self.station.pace.speed / NS_PER_MS)
        await self._values.put("CavityCycleQuality", cavities)
        await self._values.put("CycleQuality", TEST_SAMPLE if sample else GOOD_CYCLE)
        self._shots = (self._shots + 1) & COUNTER_MAX
        await self._values.put("MachineCycleCounter", self._shots)
        counted, facts = ((0, 0), {"samples": good + bad}) if sample else ((good, bad), {})
        self.station.truth.pieces(*counted, t_ns=None, shots=self._shots, cavities=cavities, **facts)

    def _quality(self, state: int) -> int:
        # One draw for every cavity and shot: the same seed gives the same parts whatever the commands are.
        spoiled = self._random.random() < self._options.bad_share
        return BAD_PART if spoiled and state == GOOD_PART else state

    async def _set_shots(self, value: int) -> None:
        self._shots = value
        await self._values.put("MachineCycleCounter", value)

    async def _set_job(self, name: str, value: int) -> None:
        self._job[name] = value
        await self._values.put(JOB_COUNTERS[name], value)

    async def _new_job(self, text: str) -> None:
        await self._values.put("JobName", text)
        for name in self._job:
            await self._set_job(name, 0)
        self.station.truth.event("job", job=text, shots=self._shots)

    def _cavity(self, number: int, word: str) -> None:
        if not 1 <= number <= CAVITIES:
            raise CommandError(f"'cavity' got {number}; allowed: 1 to {CAVITIES}")
        self._cavities[number - 1] = CAVITY_STATES.split("|").index(word)
        self.station.truth.event("cavity", cavity=number, state=word)

    def _sample(self, count: int) -> None:
        self._samples_due = count

    async def _put_word(self, key: str, words: str, word: str) -> None:
        await self._values.put(key, words.split("|").index(word))
        self.station.truth.event("mode", variable=key, word=word)


def config_text(options: argparse.Namespace, facts: Mapping[str, Any]) -> str:
    """The gateway's source and work unit for this machine."""
    head = source("imm", options, facts, path="/imm-01", publish="250 ms", namespaces={"rubber": NAMESPACE})
    return f"""\
{head}\
    signals:
      shots: {{ node: "nsu=rubber;s=MachineCycleCounter" }}
      started: {{ node: "i=2257" }} # ServerStatus.StartTime: changes when the server restarts
      job: {{ node: "nsu=rubber;s=JobName" }} # 100234-0010: order and operation
      job_status: {{ node: "nsu=rubber;s=JobStatus", telemetry: true }}
      mode: {{ node: "nsu=rubber;s=MachineMode", telemetry: true }}
      cycle_time: {{ node: "nsu=rubber;s=LastCycleTime", telemetry: true }}
      cavity: {{ node: "nsu=rubber;s=CavityCycleQuality", index: "0:7", telemetry: true }} # 1 good, 2 bad, 0 no part

work_units:
  IMM-01:
    work_center: WC-IMM
    ideal_cycle: 18 s
    counters:
      - {{ mode: counter, signal: imm.shots, role: good, pieces: {CAVITIES}, restart_evidence: [imm.started] }}
    state: {{ stop_detect: 36 s }}
    confirm: {{ every_pieces: 16, every: 60 s, min_interval: 0 s }}
"""


async def run(options: argparse.Namespace, control: Control) -> None:
    """Serve until told to end. Raises SimulatorError if the port is busy."""
    if not 0 <= options.nodes <= MAX_NODES or options.rate <= 0:
        raise SimulatorError(f"--nodes {options.nodes} --rate {options.rate}: allowed are 0 to {MAX_NODES}, above 0")
    if not 0 <= options.bad_share <= 1 or not 0 <= options.shots <= COUNTER_MAX:
        raise SimulatorError(f"--bad-share {options.bad_share} --shots {options.shots}: allowed 0 to 1, 0 to 2**64 - 1")
    machine = MouldingMachine(options)
    machine.declare(control)
    await machine.build()
    try:
        work = (asyncio.create_task(machine.station.pace.run()), asyncio.create_task(machine.run_tags()))
        await machine.station.serve(control, *work)
    finally:
        await machine.station.close()
