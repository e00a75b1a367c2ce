"""``pck-01``: the digital outputs of a case packer, wired to the gateway's inputs by a local socket.

Connects to the gateway's Unix socket and writes JSON lines: a greeting with all levels, one line per edge, and all
levels again as a sign of life. Edge times are computed, not measured: a busy computer does not deform a pulse. The
gateway never answers.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from simulators import clock
from simulators.control import CommandError, SimulatorError, Truth
from simulators.faults import Faults
from simulators.machine import NS_PER_S, Cycle, MachineSpec, Stop
from simulators.pace import Pace, machine_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from simulators.control import Control
    from simulators.machine import Event

PCK_01: Final = MachineSpec(
    name="PCK-01",
    ideal_cycle_ns=54 * NS_PER_S,
    pieces=24,
    scrap_share=0.03,
    micro_stop_share=0.01,
    fault_share=0.002,
    alarms=(401,),
)

CARTON, REJECT, RUNNING, FAULT = 17, 27, 22, 23
#: How long a carton covers its sensor, and how long a contact bounces, in nanoseconds of machine time.
ACTIVE_NS: Final = 80_000_000
BOUNCE_NS: Final = 3_000_000
#: Extra edges at a change of a bouncing contact: even numbers, otherwise it would come to rest at the wrong level.
EXTRA_EDGES: Final = (2, 4)
#: Most extra edges, and the longest bouncing: a contact is at rest before the carton has passed.
MAX_EDGES: Final = 100
MAX_BOUNCE_NS: Final = 50_000_000
#: A carton that triggers twice does so at least this long after its first edge: the first pulse is over by then.
MIN_DOUBLE_NS: Final = 200_000_000
NS_PER_MS: Final = 1_000_000
#: The gateway is promised a sign of life every 200 ms.
LIFE_NS: Final = 100_000_000
RETRY_S: Final = 0.05
#: Where the printed configuration has the socket: in its state folder.
USUAL_SOCKET: Final = "state/pins.sock"
#: Longest path of a Unix socket on Linux, in bytes.
MAX_SOCKET_PATH: Final = 107


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this simulator."""
    parser.add_argument(
        "--socket",
        type=Path,
        default=Path(USUAL_SOCKET),
        help=f"the gateway's socket for simulated pins ({USUAL_SOCKET})",
    )


class Change(NamedTuple):
    """A pin changes its level: the (CLOCK_MONOTONIC) time of every edge until it is at rest."""

    pin: int
    level: int
    times_ns: tuple[int, ...]

    def lines(self) -> list[dict[str, object]]:
        """One line per edge; the last has the level at rest."""
        last = len(self.times_ns) - 1
        return [
            {"pin": self.pin, "level": self.level ^ ((last - at) & 1), "t_ns": time_ns}
            for at, time_ns in enumerate(self.times_ns)
        ]


class Wire:
    """The connection to the gateway; comes and goes with it."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._socket: socket.socket | None = None

    @property
    def connected(self) -> bool:
        """True until a write fails."""
        return self._socket is not None

    async def connect(self, greeting: Mapping[str, object]) -> None:
        """Try once; no gateway is no error."""
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self._path)
        except OSError:
            sock.close()
            return
        self._socket = sock
        self.send([greeting])

    def send(self, documents: Sequence[Mapping[str, object]]) -> bool:
        """Write all lines at once; False, and no connection any more, if they did not all go out."""
        if self._socket is None:
            return False
        data = b"".join(json.dumps(document).encode() + b"\n" for document in documents)
        try:
            if self._socket.send(data) == len(data):
                return True
        except OSError:
            pass  # the gateway is gone or does not read: the edges are lost, as on a real wire
        self.close()
        return False

    def close(self) -> None:
        """Drop the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class CasePacker:
    """PCK-01: its machine, its four outputs and the commands that break them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.truth = Truth(PCK_01.name, options.truth)
        self.wire = Wire(options.socket)
        self._levels = {CARTON: 0, REJECT: 0, RUNNING: 1, FAULT: 0}
        self._releases: deque[Change] = deque()
        self._bounce_edges: tuple[int, ...] = EXTRA_EDGES
        self._bounce_ns = BOUNCE_NS
        self._stuck_until_ns = 0
        self.faults = Faults()
        self._latest_ns = 0
        self._random = random.Random(f"bounce/{options.seed}")
        machine = machine_of(PCK_01, options)
        self.pace = Pace(machine, self.truth, speed=options.speed, stop_after=options.stop_after, apply=self._apply)

    async def run_wire(self) -> None:
        """Keep the connection, let go of sensors in time, give signs of life. For ever."""
        last_ns = 0
        while True:
            now_ns = clock.monotonic_ns()
            self._let_go(now_ns)
            if self.faults.on("cut"):
                self.wire.close()
            elif not self.wire.connected:
                await self.wire.connect({"hello": "pck-01", **self._life()})
                last_ns = clock.monotonic_ns()
            elif now_ns - last_ns >= LIFE_NS and not self._edge_under_way(now_ns):
                self.wire.send([self._life()])
                last_ns = now_ns
            wait_s = RETRY_S if not self._releases else (self._releases[0].times_ns[-1] - now_ns) / NS_PER_S
            await asyncio.sleep(max(0.0, min(RETRY_S, wait_s)))

    def declare(self, control: Control) -> None:
        """Add the commands."""
        self.pace.declare(control)
        self.faults.declare(control)
        self.faults.also_end(self._unstick)
        self.faults.also_end(lambda: self._bounce("on"))
        control.add("cut SECONDS", self._cut)
        control.add("stuck SECONDS", self._stick)
        control.add("bounce on|off [COUNT] [MS]", self._bounce)
        control.add("double MS COUNT", self._double)
        control.add("job TEXT", lambda text: self.truth.event("job", job=text))

    async def _apply(self, event: Event) -> None:
        if isinstance(event, Cycle):
            self._carton(event)
        elif isinstance(event, Stop):
            self._lamps(event.at_ns, running=0, fault=int(event.reason == "fault"))
            self.truth.event("stop", reason=event.reason, alarm=event.alarm)
        else:
            self._lamps(event.at_ns, running=1, fault=0)
            self.truth.event("start")

    def _carton(self, event: Event) -> None:
        assert isinstance(event, Cycle), "a carton is the end of a cycle"
        pin = CARTON if event.good else REJECT
        # The contact has come to rest when the machine's cycle ends: every edge to be written lies in the past.
        rise = self._change(pin, 1, event.at_ns - self._bounce_ns)
        first_ns = rise.times_ns[0]
        self._let_go(first_ns)
        hidden = bool(self._levels[pin])
        facts: dict[str, Any] = {"stuck": True} if hidden else {}
        sent = not hidden and self._move(rise)
        if not hidden:
            stuck = pin == CARTON and self._stuck_until_ns > first_ns
            release_ns = event.at_ns - self._bounce_ns + ACTIVE_NS
            release = self._change(pin, 0, release_ns)
            if stuck:
                release = Change(pin, 0, (max(self._stuck_until_ns, release.times_ns[0]),))
            self._releases.append(release)
            double_ns = None if stuck else self.faults.take("double")
            if double_ns is not None:
                self._releases.append(self._change(pin, 1, event.at_ns - self._bounce_ns + double_ns))
                self._releases.append(self._change(pin, 0, release_ns + double_ns))
                facts["double"] = True
        shown_ns = clock.wall_ns()
        wall_ns = shown_ns - (clock.monotonic_ns() - first_ns)
        self.truth.pieces(event.good, event.scrap, t_ns=wall_ns, pin=pin, sent=sent, shown_ns=shown_ns, **facts)

    def _lamps(self, at_ns: int, *, running: int, fault: int) -> None:
        time_ns = self.pace.monotonic_ns(at_ns)
        self._let_go(time_ns)
        for pin, level in ((RUNNING, running), (FAULT, fault)):
            if self._levels[pin] != level:
                self._move(Change(pin, level, (time_ns,)))

    def _change(self, pin: int, level: int, at_ns: int) -> Change:
        extra = self._random.choice(self._bounce_edges)
        bounces = sorted(self._random.randint(1, self._bounce_ns) for _ in range(extra))
        return Change(pin, level, tuple(self.pace.monotonic_ns(at_ns + offset) for offset in (0, *bounces)))

    def _move(self, change: Change) -> bool:
        # A person may press stop in the middle of a bounce: what follows is moved, time never runs backwards.
        change = change._replace(times_ns=tuple(max(self._latest_ns, time_ns) for time_ns in change.times_ns))
        self._latest_ns = change.times_ns[-1]
        self._levels[change.pin] = change.level
        return self.wire.send(change.lines())

    def _let_go(self, until_ns: int) -> None:
        """Write the falling edges whose time has come, in order."""
        due = sorted((one for one in self._releases if one.times_ns[-1] <= until_ns), key=lambda one: one.times_ns[0])
        for release in due:
            self._releases.remove(release)
            if self._levels[release.pin] != release.level:
                self._move(release)

    def _edge_under_way(self, now_ns: int) -> bool:
        # A sign of life between the edges of a bounce would contradict edges that are written after it.
        next_ns = self.pace.machine.next_ns
        rising = next_ns is not None and self.pace.monotonic_ns(next_ns - self._bounce_ns) <= now_ns
        return rising or any(release.times_ns[0] <= now_ns for release in self._releases)

    def _life(self) -> dict[str, Any]:
        levels = {str(pin): level for pin, level in self._levels.items()}
        self._latest_ns = max(self._latest_ns, clock.monotonic_ns())
        return {"t_ns": self._latest_ns, "levels": levels}

    def _cut(self, seconds: float) -> None:
        self.wire.close()
        self.faults.for_seconds("cut", seconds)
        self.truth.event("cut", seconds=seconds)

    def _stick(self, seconds: float) -> None:
        self._unstick()
        self._stuck_until_ns = clock.monotonic_ns() + int(seconds * NS_PER_S)
        self.faults.for_seconds("stuck", seconds)
        self.truth.event("stuck", seconds=seconds)

    def _unstick(self) -> None:
        now_ns = clock.monotonic_ns()
        held = (self._stuck_until_ns,)
        for release in [one for one in self._releases if one.times_ns == held and one.times_ns[0] > now_ns]:
            self._releases.remove(release)
            self._releases.append(release._replace(times_ns=(now_ns,)))
        self._stuck_until_ns = 0

    def _double(self, ms: float, count: int) -> None:
        if ms * NS_PER_MS < MIN_DOUBLE_NS:
            raise CommandError(f"'double' got {ms:g} for MS; allowed: a number from {MIN_DOUBLE_NS // NS_PER_MS}")
        self.faults.for_count("double", count, int(ms * NS_PER_MS))

    def _bounce(self, choice: str, edges: int | None = None, ms: float | None = None) -> None:
        bounce_ns = BOUNCE_NS if ms is None else int(ms * NS_PER_MS)
        if edges is not None and (edges % 2 or not edges <= MAX_EDGES):
            raise CommandError(f"'bounce' got {edges} for COUNT; allowed: an even number 0 to {MAX_EDGES}")
        if not 1 <= bounce_ns <= MAX_BOUNCE_NS:
            raise CommandError(f"'bounce' got {ms} for MS; allowed: above 0 to {MAX_BOUNCE_NS // NS_PER_MS}")
        self._bounce_ns = bounce_ns
        if choice == "off":
            self._bounce_edges = (0,)
        else:
            self._bounce_edges = EXTRA_EDGES if edges is None else (edges,)


def config_text(options: argparse.Namespace, facts: dict[str, Any]) -> str:  # noqa: ARG001 - it has no port
    """The gateway's source and work unit for this machine."""
    socket_key = "" if options.socket == Path(USUAL_SOCKET) else f"\n    socket: {options.socket.resolve()}"
    return f"""\
sources:
  box:
    driver: digital_io
    pins: simulated # on a Raspberry Pi: gpio{socket_key}
    signals:
      carton: {{ pin: {CARTON} }}
      reject: {{ pin: {REJECT} }}
      running: {{ pin: {RUNNING} }}
      fault: {{ pin: {FAULT} }}

work_units:
  PCK-01:
    work_center: WC-PCK
    ideal_cycle: 54 s
    counters:
      - {{ mode: pulse, signal: box.carton, role: good, pieces: 24, min_cycle: 20 s }} # 24 pieces in a carton
      - {{ mode: pulse, signal: box.reject, role: scrap, pieces: 24, min_cycle: 20 s }}
    state: {{ stop_detect: 2 min }}
    confirm: {{ every: 60 s }}
"""


async def run(options: argparse.Namespace, control: Control) -> None:
    """Run until told to end. Raises SimulatorError if the path cannot be a socket's."""
    if len(bytes(options.socket)) > MAX_SOCKET_PATH:
        raise SimulatorError(f"--socket {options.socket}: longer than {MAX_SOCKET_PATH} bytes; use a shorter path")
    packer = CasePacker(options)
    packer.declare(control)
    control.ready(socket=str(options.socket))
    try:
        await control.until_exit(asyncio.create_task(packer.pace.run()), asyncio.create_task(packer.run_wire()))
    finally:
        packer.wire.close()
        packer.truth.close()
