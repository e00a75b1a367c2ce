"""The simulated plant in virtual time: the machines of ``simulators``, read by what only decodes in our drivers.

A ``Plant`` has the example configuration, one simulator, the source that reads it and the work unit that counts.
Nothing waits, nothing is a process: a shift takes seconds. Links are really open, but nobody speaks on them.
"""

from __future__ import annotations

import asyncio
import random
import struct
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import pytest
from asyncua import ua

import config
from config.loader import load
from drivers.base import DriverContext
from drivers.digital_io.edge_clock import Times
from drivers.digital_io.inputs import Inputs
from drivers.modbus.slots import Sinks, groups_of
from drivers.opcua.items import Translator, items_of
from drivers.opcua.structures import TypeBook
from gateway import plugins
from gateway.core import snapshot
from gateway.core.calendar.shift_calendar import ShiftCalendar
from gateway.core.document import Identity
from gateway.core.model import (
    Confirmation,
    CountEvent,
    DataValue,
    JobChanged,
    JobOrder,
    MachineState,
    Notice,
    OrderReceived,
    PiecesProduced,
    Role,
    Status,
    TimePassed,
    UnknownInterval,
)
from gateway.core.state.interval import StateInterval
from gateway.core.state.planned_time import plan_of
from gateway.core.work_unit import WorkUnit
from gateway.sources.looks import looked_at_every
from gateway.timing.timezone import zone
from simulators import clock
from simulators.__main__ import chosen
from simulators.control import Control
from simulators.digital_io import CasePacker
from simulators.modbus_pdu import READ_DISCRETE, READ_HOLDING, answer
from simulators.modbus_server import AssemblyMachine
from simulators.opcua_filler import Filler
from simulators.opcua_server import MouldingMachine
from simulators.tst_01 import LeakTester

S = 1_000_000_000
MIN = 60 * S
SIX = 1_780_027_200 * S  # 2026-05-29, 06:00 in Berlin
EXAMPLE = Path(config.__file__).parent / "examples" / "plant.yaml"
SETTLE_NS = 40 * MIN  # after this nothing can still change; a verdict is waited for half an hour
#: Work unit: its simulator, its class, the source that reads it.
MACHINES = MappingProxyType(
    {
        "ASM-01": ("asm-01", AssemblyMachine, "asm"),
        "TST-01": ("tst-01", LeakTester, "tst"),
        "IMM-01": ("imm-01", MouldingMachine, "imm"),
        "FIL-02": ("fil-02", Filler, "filler"),
        "PCK-01": ("pck-01", CasePacker, "box"),
    }
)
STARTED = ua.NodeId(2257)  # ServerStatus.StartTime
FUNCTIONS = {"holding": READ_HOLDING, "discrete": READ_DISCRETE}
ROLES = (Role.GOOD, Role.SCRAP, Role.REWORK, Role.HOLD, Role.TEST)


# --- what the gateway reads -------------------------------------------------------------------------------------------


class Source:
    """One source: when it looks, and what becomes of a link that is gone."""

    def __init__(self, plant, name, period_ns):
        self.plant, self.name, self.period_ns = plant, name, period_ns
        self.rules = frozenset(
            signal.partition(".")[2] for signal in plant.unit.signals if signal.startswith(f"{name}.")
        )
        self.settings = plant.settings.sources[name].driver_settings
        self.context = DriverContext(
            source=name, now_ns=clock.wall_ns, rule_signals=self.rules, telemetry_signals=frozenset(),
            state_dir=plant.folder,
        )  # fmt: skip
        self.deaf = False  # a look that is left out: the computer was busy
        self._up = False

    @property
    def gone(self):
        """Whether the link is gone."""
        return self.plant.machine.station.port.shut

    async def run(self):
        """Look for ever."""
        at_ns = 0
        while True:
            await clock.sleep_until_ns(at_ns)
            await clock.quiet(turn=1)
            self.look()
            at_ns += self.period_ns

    def look(self):
        """One scan."""
        if self.gone:
            if self._up:
                self.lost()
            self._up = False
        elif not self.deaf:
            if not self._up:
                self.on_link()
            self._up = True
            self.plant.take(self.read())

    def lost(self):
        """As the supervisor says it: every signal is BAD, once."""
        now_ns = clock.wall_ns()
        names = sorted(f"{self.name}.{signal}" for signal in self.rules)
        self.plant.take([DataValue(name, None, Status.BAD, None, now_ns) for name in names])

    def on_link(self):
        """A new connection."""


class ModbusSource(Source):
    """Requests as the driver plans them, answered by the simulator's tables, decoded by the driver's slots."""

    def __init__(self, plant, name):
        super().__init__(plant, name, int(plant.settings.sources[name].driver_settings.scan))
        self._tables = plant.machine.registers if hasattr(plant.machine, "registers") else plant.machine.module

    def on_link(self):
        groups = groups_of(self.name, self.settings, Sinks(self.settings, self.context))
        self._slots = [slot for group in groups for slot in group.slots]

    def read(self):
        values, blocks = [], []
        for slot in self._slots:
            table, address, length, _ = slot.request
            body = answer(self._tables, struct.pack(">BHH", FUNCTIONS[table], address, length))
            assert not body[0] & 0x80, f"exception {body[1]}"
            if table == "discrete":
                words = [bool(byte >> at & 1) for byte in body[2:] for at in range(8)][:length]
            else:
                words = list(struct.unpack_from(f">{length}H", body, 2))
            slot.take(words, clock.wall_ns(), values, blocks)
        return values


class OpcUaSource(Source):
    """A subscription: what changed since the last publishing, translated by the driver."""

    def __init__(self, plant, name):
        super().__init__(plant, name, int(plant.settings.sources[name].driver_settings.publish))
        self._server = plant.machine.station.endpoint.server

    @property
    def gone(self):
        """Also for one look after a restart that no look saw: sessions are gone then."""
        return self.plant.machine.station.endpoint.shut or (self._up and self._started() != self._since)

    def _started(self):
        return self._server.iserver.aspace.read_attribute_value(STARTED, ua.AttributeIds.Value).Value.Value

    def on_link(self):
        names = frozenset(self.settings.parts())
        wanted = frozenset(name for name in names if name in self.rules)
        self._items = items_of(self.settings, self.name, wanted, frozenset())
        self._translator = Translator("virtual", {}, TypeBook(None), self.context.utc_offset_ns)
        self._seen, self._since = {}, self._started()
        space = self.plant.machine.station.space
        self._nodes = []
        for item in self._items:
            key = item.text.partition(";s=")[2]
            node = space.nodes[key] if key else ua.NodeId.from_string(item.text)
            self._nodes.append((item, node))

    def read(self):
        values, now_ns = [], clock.wall_ns()
        space = self._server.iserver.aspace
        for item, node in self._nodes:
            data = space.read_attribute_value(node, ua.AttributeIds.Value)
            if self._seen.get(node) is not data:
                self._seen[node] = data
                self._translator.convert(item, data, now_ns, values, [], [])
        return values


class PinSource(Source):
    """The edges of the case packer as the driver takes them, and the levels every second."""

    def __init__(self, plant, name):
        super().__init__(plant, name, S)
        self.connected_to_plant = False
        self._edges = []
        self._known_ns = 0
        self._inputs = Inputs(self.settings, self.context)
        self._by_pin = {one.pin: self._inputs.by_name[key] for key, one in self.settings.signals.items()}
        plant.machine.wire = self

    # What the simulator thinks is its wire.

    @property
    def connected(self):
        return self.connected_to_plant

    async def connect(self, greeting):
        self.connected_to_plant = True
        self._inputs = Inputs(self.settings, self.context)
        self._by_pin = {one.pin: self._inputs.by_name[key] for key, one in self.settings.signals.items()}
        pins = {one.pin: key for key, one in self.settings.signals.items()}
        self._inputs.set_levels({pins[int(pin)]: level for pin, level in greeting["levels"].items()})
        self._known_ns = greeting["t_ns"]
        self.look()

    def send(self, documents):
        if not self.connected_to_plant:
            return False
        for line in documents:
            self._known_ns = line["t_ns"]
            if "pin" in line:
                self._edges.append((self._by_pin[line["pin"]], line["level"], line["t_ns"]))
        if self._edges:
            edges, self._edges = self._edges, []
            self.plant.take(self._inputs.take(edges, self._times()).values)
        return True

    def close(self):
        if self.connected_to_plant:
            self.lost()
        self.connected_to_plant = self._up = False

    # What the plant takes it for.

    @property
    def gone(self):
        return not self.connected_to_plant

    def lost(self):
        if not self.plant.over:
            super().lost()

    def read(self):
        return self._inputs.refresh(list(self._inputs.by_name.values()), self._known_ns, self._times()).values

    def _times(self):
        return Times(SIX - MIN, clock.wall_ns())


SOURCES = {"modbus": ModbusSource, "opcua": OpcUaSource, "digital_io": PinSource}


# --- the plant --------------------------------------------------------------------------------------------------------


class Plant:
    """One machine and its work unit. Virtual time begins at 05:59; all times here are nanoseconds after 06:00."""

    def __init__(self, folder, name, *arguments, settings=None, orders=(), seed=1, stands=False):
        self.stands = stands
        self.folder, self.name, self._arguments = folder, name, [*arguments, "--seed", str(seed)]
        self.settings = settings or example()
        rules = self.settings.work_units[name]
        identity = Identity(
            plant="RQ1", epoch="e0", gateway_id="plant", line="L1", machine=name, work_center=rules.work_center
        )
        self.unit = WorkUnit(rules, identity, looked_at_every=looked_at_every(self.settings, name))
        self.state = self.unit.initial(SIX - MIN)
        self.said, self.orders, self.records = [], orders, {}
        self.heard, self.did, self.over, self.down = [], [], False, False
        self.samples = self.unsure = 0  # pieces taken as samples; parts whose verdict nobody could read

    def work(self, story):
        """Let a story happen: ``async def story(plant)``; then time passes until everything is final."""
        clock.run_virtually(self._work(story), wall_origin_ns=SIX - MIN)
        return self

    async def _work(self, story):
        module_name, kind, source = MACHINES[self.name]
        arguments = [] if self.name == "PCK-01" else ["--port", "0"]
        arguments += ["--transport", "tcp"] if self.name == "TST-01" else []
        _, options = chosen(module_name, [*arguments, *self._arguments])
        self.machine = kind(options)
        self.pace = self.machine.pace if hasattr(self.machine, "pace") else self.machine.station.pace
        self.truth = self.machine.truth if hasattr(self.machine, "truth") else self.machine.station.truth
        self.truth.heard = self._hear
        self.control = Control(module_name, read_stdin=False)
        self.machine.declare(self.control)
        if self.stands:
            await self.does("stop")
        tasks = [asyncio.create_task(work) for work in await self._opened()]
        self.source = SOURCES[self.settings.sources[source].driver](self, source)
        tasks.append(asyncio.create_task(self.source.run()))
        try:
            self.put(plan_of(self.calendar, clock.wall_ns(), 0, 12 * 60 * MIN))
            await self.until(0)
            for number, quantity in enumerate(self.orders):
                self.order(f"{100240 + number}", quantity, sequence_no=number)
            telling = asyncio.create_task(story(self))
            await asyncio.wait({telling, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in (telling, *tasks):
                if task.done():
                    task.result()
            self.over = True
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close()
        self.put(TimePassed(max(clock.wall_ns(), self.state.at_ns) + SETTLE_NS))

    async def _opened(self):
        if self.name == "PCK-01":
            return [self.pace.run(), self.machine.run_wire()]
        if hasattr(self.machine, "build"):
            await self.machine.build()
            return [self.machine.run() if self.name == "FIL-02" else self.pace.run()]
        await self.machine.station.port.open()
        return [self.pace.run()]

    async def _close(self):
        if self.name == "FIL-02":
            self.machine.close()
        if hasattr(self.machine, "build"):
            await self.machine.station.close()
        elif self.name != "PCK-01":
            await self.machine.station.port.close()

    @property
    def calendar(self):
        return ShiftCalendar(self.settings.calendars["plant"], zone("Europe/Berlin"))

    # --- the story ---

    @property
    def now_ns(self):
        """Nanoseconds after 06:00."""
        return clock.monotonic_ns() - MIN

    async def until(self, at_ns):
        """Let time pass up to here."""
        await clock.sleep_until_ns(at_ns + MIN)
        await clock.quiet()  # the machine first

    async def does(self, command):
        """Give the simulator a command."""
        said = await self.control.execute(command)
        assert said["ok"], (command, said)
        return said

    # --- the gateway ---

    def order(self, number, quantity, **over):
        """The ERP releases an order."""
        plain = {
            "order": number, "operation": "0010", "sequence": "0", "revision": 1,
            "work_center": self.unit.rules.work_center, "product": "ASSY-D20", "product_revision": "A", "uom": "PC",
            "quantity": Decimal(quantity), "sequence_no": 0, "std_cycle_ns": None, "planned_start_ns": None,
            "planned_end_ns": None, "cancelled": False, "source": "erp",
        }  # fmt: skip
        job = JobOrder(**plain | over)
        self.put(OrderReceived(clock.wall_ns(), job, self.records.get(job.key)))

    def take(self, values):
        """What a source delivers."""
        if not self.down:
            for value in self.unit.in_order(values):
                self.put(value)
            if not values:
                self.put(TimePassed(clock.wall_ns()))

    def put(self, given):
        """One input."""
        self.state, outputs = self.unit.handle(self.state, given)
        if outputs:
            self.said += outputs
            self.records |= {one.record.job.key: one.record for one in outputs if isinstance(one, JobChanged)}

    def dies(self):
        """The gateway is gone; what it had committed stays."""
        self._stored, self.down = snapshot.dump(self.unit, self.state), True

    def comes_back(self):
        """And is started again."""
        self.state, self.down = snapshot.load(self.unit, self._stored), False
        self.put(plan_of(self.calendar, clock.wall_ns(), 0, 12 * 60 * MIN))
        self.source.on_link()

    def _hear(self, line):
        if line["event"] != "pieces":
            waits = self.name == "FIL-02" and self.machine.station.values.latest("Status.EquipmentBlocked")
            self.heard.append({**line, "waits": "BLOCKED" if waits else "STARVED"})
        else:
            self.samples += line.get("samples", 0)
            self.unsure += len(line.get("shown", ("ok",))) != 1

    # --- what it came to ---

    def all(self, kind):
        """Everything of one kind that was said."""
        return [one for one in self.said if isinstance(one, kind)]

    @property
    def row(self):
        """What was told as final."""
        return self.all(StateInterval)

    @property
    def booked(self):
        """Pieces by role."""
        found = dict.fromkeys(ROLES, 0)
        for one in self.all(PiecesProduced):
            found[one.role] += one.pieces
        return found

    @property
    def orphans(self):
        """Verdicts without a part: each was one that was not seen, and is not counted."""
        return sum(one.flag == "ORPHAN_RESULT" for one in self.all(CountEvent))

    def check_pieces(self, *, undecided=0):
        """booked <= truth <= booked + review + max_lost; equal where nothing was flagged.

        ``undecided`` parts may lie in the machine without a verdict: they are held, and in no log yet.
        """
        made = self.truth.totals()
        truth = {Role.GOOD: made["good_total"], Role.SCRAP: made["scrap_total"], Role.TEST: self.samples}
        booked, unknown = self.booked, self.unknown
        doubt = sum(unknown.values()) + self.review + self.orphans
        told = (made, booked, unknown, self.review, self.flags, self.did)
        for role, pieces in truth.items():
            assert booked[role] <= pieces <= booked[role] + booked[Role.HOLD] + doubt, (role, told)
            if not doubt and not booked[Role.HOLD]:
                assert booked[role] == pieces, (role, told)
        everything = sum(truth.values())
        assert sum(booked.values()) - undecided <= everything <= sum(booked.values()) + doubt, told
        assert booked[Role.REWORK] == 0
        self.close_books()

    @property
    def flags(self):
        """What was flagged, without what says that all is well."""
        notices = {one.code for one in self.all(Notice)}
        return notices | {one.flag for one in self.all(CountEvent)}

    @property
    def unknown(self):
        """Bounds of what nobody can know, by role; None: no bound."""
        found = dict.fromkeys(ROLES, 0)
        for one in self.all(UnknownInterval):
            assert one.max_pieces is not None, one
            found[one.role] += one.max_pieces
        return found

    @property
    def review(self):
        """Counts that wait for a person."""
        return self.state.review

    def close_books(self):
        """Every piece is confirmed, open or unallocated; each order's numbers are without a gap."""
        confirmations, runs = self.all(Confirmation), list(self.state.open_runs())
        for role in map(str, ROLES):
            told = sum(getattr(one, role) for one in confirmations)
            still_open = sum(getattr(run, f"open_{role}") for run in runs)
            nobodys = getattr(self.state.unallocated, role)
            assert getattr(self.state.counted, role) == told + still_open + nobodys, role
            assert getattr(self.state.counted, role) == self.booked[Role(role)], role
        numbers = {}
        for one in confirmations:
            numbers.setdefault(one.job.key, []).append(one.seq)
        for key, found in numbers.items():
            assert found == list(range(1, len(found) + 1)), key
        assert all(first.to_ns == second.from_ns for first, second in pairwise(self.row)), "states tile"

    def differences(self, truth, *, apart=()):
        """Stretches of the shift in which the state is not that of ``truth`` ((ns, state), sorted; None: any).

        ``apart``: stretches (ns, ns) that are not looked at. Times in nanoseconds after 06:00.
        """
        cuts = sorted({at for at, _ in truth} | {t - SIX for one in self.row for t in (one.from_ns, one.to_ns)}
                      | {at for pair in apart for at in pair})  # fmt: skip
        found = []
        for begin, end in pairwise(cut for cut in cuts if 0 <= cut <= 480 * MIN):
            one = next((one for one in self.row if one.from_ns <= begin + SIX < one.to_ns), None)
            # An estimated sum has no place of its own: it stands at the beginning of what nobody saw.
            said = one and (MachineState.UNKNOWN if one.estimated else one.state)
            true = next((state for at, state in reversed(truth) if at <= begin), None)
            if any(first <= begin and end <= last for first, last in apart) or true in (None, said):
                continue
            if found and found[-1][1] == begin and found[-1][2:] == (said, true):
                found[-1] = (found[-1][0], end, said, true)
            else:
                found.append((begin, end, said, true))
        return found


def example():
    """The example configuration."""
    return load(EXAMPLE, drivers=plugins.drivers(), connectors=plugins.connectors(), env={})


@pytest.fixture
def plant(tmp_path):
    """``plant(name, *options, orders=(4800, 2400), seed=1)`` makes a Plant."""

    def make(name, *arguments, **options):
        return Plant(tmp_path, name, *arguments, **options)

    return make


@pytest.fixture(scope="session", name="example")
def example_fixture():
    """The settings of the example configuration, anew."""
    return example


@pytest.fixture
def dice():
    """Random numbers by seed."""
    return random.Random


@pytest.fixture(scope="session")
def states():
    """What the machine was doing by its own log, as ``differences`` wants it."""
    return true_states


STANDING = {"micro": "STARVED", "starved": "STARVED", "setup": "SETUP", "blocked": "BLOCKED", "off": "OFF"}
PACKML = {4: "IDLE_NO_ORDER", 6: "PRODUCING", 16: "PRODUCING", 17: "IDLE_NO_ORDER"}


def true_states(plant):
    """(ns after 06:00, MachineState), sorted."""
    found = []
    for line in plant.heard:
        at_ns, event = line["t_ns"] - SIX, line["event"]
        if plant.name == "FIL-02":
            if event == "state":
                state = line["state"]
                found.append((at_ns, PACKML.get(state, line["waits"] if state in (5, 13, 14) else "STOPPED")))
        elif event == "start":
            found.append((at_ns, "PRODUCING"))
        elif event == "stop":
            told = STANDING.get(line["reason"], "STOPPED") if plant.name == "ASM-01" else "STOPPED"
            found.append((at_ns, told))
    first = [] if plant.name == "FIL-02" else [(-MIN, "PRODUCING")]
    return [(at_ns, MachineState(word)) for at_ns, word in (*first, *found)]
