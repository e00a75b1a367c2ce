"""The demo's stage: which processes there are, how they are started, asked and ended."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import json
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from buffer.readonly import ReadOnlyStore
from gateway import plugins
from gateway.control import ControlError, call
from gateway.demo import plan
from gateway.demo.bookings import in_our_words
from gateway.demo.process import Process
from gateway.demo.reconcile import reconcile
from gateway.lock import DATABASE_NAME

if TYPE_CHECKING:
    from collections.abc import Callable
    from fractions import Fraction
    from pathlib import Path

    from buffer.entry import OutboxEntry
    from gateway.demo.reconcile import Reconciliation

MARKER: Final = ".linegate-demo"
READY_TIMEOUT_S: Final = 120.0
SETTLE_TIMEOUT_S: Final = 60.0
#: So often the views are taken anew where the gateway confirmed something in between.
MOMENTS_MAX: Final = 20
LEDGER_TIMEOUT_S: Final = 60.0
SETTLE_POLL_S: Final = 0.3
SETTLED_AFTER: Final = 6  # equal views in a row
POLL_S: Final = 0.1
POSTINGS_PAGE: Final = 500
#: The ERP that everything in the demo is made for; others are doubles of real ones.
BUNDLED: Final = "erp"
#: Doubles that speak by files, and are told where.
WITH_FOLDER: Final = frozenset({"file_partner", "sap_idoc"})
PORT_TRIES: Final = 3
MACHINES: Final = {"ASM-01": "asm-01", "IMM-01": "imm-01", "PCK-01": "pck-01"}


class StageError(Exception):
    """The demo cannot start or go on; says what is missing and what to do."""


class Stage:
    """All processes of one run, in one folder that is wiped at the start."""

    def __init__(self, folder: Path, *, seed: int, speed: Fraction, erp: str = BUNDLED) -> None:
        self.folder = folder
        self.erp_name = erp
        self.state_dir = folder / "state"
        self.config = folder / "linegate.yaml"
        self._seed = seed
        self._speed = speed
        self._ports = plan.Ports(0, 0, 0, 0)
        self.has_broker = importlib.util.find_spec("amqtt") is not None
        self.machines: dict[str, Process] = {}
        self.erp: Process | None = None
        self.broker: Process | None = None
        self.daemon: Process | None = None
        self._before: dict[str, tuple[int, int]] = {}

    async def open(self) -> None:
        """Start everything; machines stand still until ``produce()``. Raises StageError."""
        running = await self.status()
        if running is not None:
            text = f"a demo runs there (process id {running['pid']}); end it, or choose another with --dir"
            raise StageError(f"{self.folder}: {text}")
        self._wipe()
        document = plan.example()
        await self._start_simulators(document)
        document = await self._with_erp(document)
        plan.write(self.config, document, self._ports, self.state_dir, self._speed, broker=self.has_broker)
        await self.start_daemon()
        await self.until(self._everything_runs, "every source to deliver and every machine to have an order")

    async def start_daemon(self) -> None:
        """Start the gateway; it is the real one, with a configuration file like any other."""
        log = self.folder / "gateway.log"
        told = self.erp.ready.get("environment", {}) if self.erp is not None else {}
        self.daemon = Process("gateway", ["gateway", "run", str(self.config)], log, told)
        await self.daemon.start(speaks=False)

    async def produce(self) -> None:
        """Let the machines run; what they made before does not count."""
        for name, machine in self.machines.items():
            self._before[name] = _made(await machine.command("totals"))
        for machine in self.machines.values():
            await machine.command("start")

    async def halt(self) -> None:
        """The machines stand still; their controllers stay reachable."""
        for machine in self.machines.values():
            await machine.command("stop")

    async def close(self) -> None:
        """End all processes, the gateway first, so that it drains."""
        everyone = [self.daemon, *self.machines.values(), self.erp, self.broker]
        if self.daemon is not None:
            await self.daemon.stop()
        await asyncio.gather(*(process.stop() for process in everyone if process is not None))

    # --- asking ----------------------------------------------------------------------------------------------------

    async def status(self) -> dict[str, Any] | None:
        """The gateway's status; None while it is down."""
        try:
            view: dict[str, Any] = await asyncio.to_thread(call, self.state_dir, "status", steady=True)
        except ControlError:
            return None
        return view

    async def open_postings(self) -> list[dict[str, Any]]:
        """What the outbox holds and the ERP has not confirmed."""
        postings: list[dict[str, Any]] = await asyncio.to_thread(call, self.state_dir, "outbox.open")
        return postings

    async def ledger(self) -> list[dict[str, Any]]:
        """What the ERP has booked, asked from the ERP itself."""
        bookings = await self._bookings()
        return in_our_words(bookings, await asyncio.to_thread(_postings, self.state_dir))

    async def truth(self) -> dict[str, list[dict[str, Any]]]:
        """Every piece that the machines made since ``produce()``: the simulators' own record."""
        pieces: dict[str, list[dict[str, Any]]] = {}
        for name, machine in self.machines.items():
            rows = [json.loads(line) for line in self._truth_file(name).read_text().splitlines()]
            made = [row for row in rows if row["event"] == "pieces"]
            before = self._before[name]
            pieces[name] = [row for row in made if _after(row, before)]
            total = _made(await machine.command("totals"))
            recorded = (sum(row["good"] for row in pieces[name]), sum(row["scrap"] for row in pieces[name]))
            if recorded != (total[0] - before[0], total[1] - before[1]):
                raise StageError(f"{name}: its record says {recorded}, its totals {total} less {before}")
        return pieces

    async def settled(self) -> dict[str, Any]:
        """Until nothing moves any more, or the time for it is over: what still waits then is shown as waiting."""
        last: Any = None
        same = 0
        view: dict[str, Any] | None = None
        end = time.monotonic() + SETTLE_TIMEOUT_S
        while time.monotonic() < end:
            view = await self.status()
            if view is not None:
                now = _still(view)
                same = same + 1 if now == last and now is not None else 0
                last = now
                if same >= SETTLED_AFTER:
                    return view
            await asyncio.sleep(SETTLE_POLL_S)
        if view is None:
            raise StageError(f"the gateway does not answer at the end; see {self._log()}")
        return view

    async def reconcile(self, final: dict[str, Any], faults: tuple[str, ...] = ()) -> Reconciliation:
        """Hold the four outside views of one moment against each other."""
        truth = await self.truth()
        units = final["work_units"]
        for _ in range(MOMENTS_MAX):
            # The outbox before the ledger: what is booked in between stands in both, and is recognised by its key.
            waiting = await self.open_postings()
            ledger = await self.ledger()
            view = await self.status()
            if view is None or view["work_units"] == units:
                break
            units = view["work_units"]  # a timer confirmed what was open while the others were being asked
        return reconcile(truth, ledger, waiting, units, faults)

    async def until(self, condition: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Wait until the status is so. Raises StageError after two minutes, or when the gateway has ended."""
        view: dict[str, Any] | None = None
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while True:
                    view = await self.status()
                    if view is not None and condition(view):
                        return view
                    if self.daemon is not None and self.daemon.returncode is not None:
                        raise StageError(f"the gateway ended with code {self.daemon.returncode}; see {self._log()}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise StageError(f"waited {READY_TIMEOUT_S:g} s in vain for {what}; see {self._log()}") from None

    # --- parts -----------------------------------------------------------------------------------------------------

    async def _bookings(self) -> list[dict[str, Any]]:
        """All bookings; a planted fault may have cut the ERP's connections just now, so again for a while."""
        end = time.monotonic() + LEDGER_TIMEOUT_S
        while True:
            try:
                return await asyncio.to_thread(_ledger, self._ports.erp)
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() >= end:
                    raise StageError(f"{self.erp_name}: asked for its ledger, found {error!r}") from error
            await asyncio.sleep(SETTLE_POLL_S)

    def _log(self) -> Path:
        return self.folder / "gateway.log"

    def _truth_file(self, machine: str) -> Path:
        return self.folder / f"{MACHINES[machine]}.truth.jsonl"

    def _wipe(self) -> None:
        try:
            if self.folder.exists():
                if any(self.folder.iterdir()) and not (self.folder / MARKER).exists():
                    text = "it is not empty and not a demo's folder; choose another with --dir"
                    raise StageError(f"{self.folder}: {text}")
                shutil.rmtree(self.folder)
            self.folder.mkdir(parents=True)
            (self.folder / MARKER).touch()
        except OSError as error:
            text = f"it cannot be made or emptied: {error.strerror}; choose another with --dir"
            raise StageError(f"{self.folder}: {text}") from error

    async def _start_simulators(self, document: dict[str, Any]) -> None:
        """On the ports of the file or on free ones; a port that was taken between looking and starting is left."""
        for tries_left in reversed(range(PORT_TRIES)):
            self._ports = plan.free_ports(document)
            for unit in MACHINES:
                self._truth_file(unit).unlink(missing_ok=True)  # of a try that failed
            started = self._simulators()
            ends = await asyncio.gather(*(one.start(speaks=True) for one in started), return_exceptions=True)
            failed = [end for end in ends if isinstance(end, BaseException)]
            if not failed:
                await self.halt()
                return
            await asyncio.gather(*(one.stop() for one in started))
            if not tries_left or not any("is busy" in str(error) for error in failed):
                raise StageError(str(failed[0])) from failed[0]

    def _simulators(self) -> list[Process]:
        ports, seed, speed = self._ports, str(self._seed), f"{float(self._speed):g}"

        def simulator(name: str, *options: str) -> Process:
            return Process(name, ["simulators", name, *options], self.folder / f"{name}.log")

        def machine(unit: str, *options: str) -> Process:
            truth = ("--truth", str(self._truth_file(unit)))
            return simulator(MACHINES[unit], "--seed", seed, "--speed", speed, *truth, *options)

        self.erp = simulator(self.erp_name, "--port", str(ports.erp), "--release", "demo", *self._erp_options())
        self.machines = {
            # Started near the end of the 16-bit range: the roll-over belongs to every demo.
            "ASM-01": machine("ASM-01", "--port", str(ports.modbus), "--good", "65500"),
            "IMM-01": machine("IMM-01", "--port", str(ports.opcua), "--shots", "4821"),
            "PCK-01": machine("PCK-01", "--socket", str(self.state_dir / "pins.sock")),
        }
        started = [self.erp, *self.machines.values()]
        if self.has_broker:
            self.broker = simulator("broker", "--port", str(ports.broker))
            started.append(self.broker)
        return started

    def _erp_options(self) -> tuple[str, ...]:
        """Of doubles that exchange files: where."""
        return ("--folder", str(self.folder / "exchange")) if self.erp_name in WITH_FOLDER else ()

    async def _with_erp(self, document: dict[str, Any]) -> dict[str, Any]:
        """The document with the connector of the ERP that was asked for. Raises StageError."""
        if self.erp_name == BUNDLED:
            return plan.with_bundled_erp(document, self._ports.erp)
        words = ["simulators", self.erp_name, "--port", str(self._ports.erp), *self._erp_options(), "--print-config"]
        printing = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await printing.communicate()
        try:
            return plan.with_connector(document, out.decode(), plugins.connectors())
        except ValueError as error:
            raise StageError(f"{self.erp_name}: {error}; {err.decode().strip()}") from error

    @staticmethod
    def _everything_runs(view: dict[str, Any]) -> bool:
        up = all(source["state"] == "up" for source in view["sources"])
        return up and all(unit["order"] and unit["state"] != "UNKNOWN" for unit in view["work_units"])


def _made(totals: dict[str, Any]) -> tuple[int, int]:
    return int(totals["good_total"]), int(totals["scrap_total"])


def _ledger(port: int) -> list[dict[str, Any]]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LEDGER_TIMEOUT_S)) as link:
        link.request("GET", "/ledger")
        bookings: list[dict[str, Any]] = json.loads(link.getresponse().read())["bookings"]
    return bookings


def _postings(state_dir: Path) -> list[dict[str, Any]]:
    """All postings, oldest first, whatever became of them."""
    found: list[OutboxEntry] = []
    with ReadOnlyStore(state_dir / DATABASE_NAME) as store:
        page = store.outbox(limit=POSTINGS_PAGE)
        while page:
            found += page
            page = store.outbox(limit=POSTINGS_PAGE, before_id=page[-1].id)
    return [
        {
            "key": one.key,
            "message_id": one.message_id,
            "machine": json.loads(one.payload).get("machine", ""),
            "order": one.order,
            "operation": one.operation,
            "seq": one.seq,
        }
        for one in reversed(found)
    ]


def _still(view: dict[str, Any]) -> Any:
    """What must not change any more; None while something is still on its way."""
    if any(source["state"] != "up" for source in view["sources"]):
        return None
    if any(target["waiting"] for target in view["targets"]):
        return None
    return [(unit["id"], unit["counted_good"], unit["counted_scrap"]) for unit in view["work_units"]]


def _after(row: dict[str, Any], before: tuple[int, int]) -> bool:
    return int(row["good_total"]) + int(row["scrap_total"]) > sum(before)
