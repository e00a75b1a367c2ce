"""A plant around one gateway that dies: simulators, the ERP with a durable ledger, the daemon on a card that forgets.

How to use it::

    async with Rig(tmp_path, seed=7, card=card) as rig:      # card: the fixture, or None for a plain folder
        await rig.open()                    # everything runs; the machines stand
        await rig.produce()
        await rig.kill()                    # SIGKILL; it is started again, as a service manager does
        await rig.power_cut("torn")         # SIGKILL, and what was not fsynced is lost
        await rig.kill_at(17)               # SIGKILL exactly at the 17th change of a file from now on
        await rig.settled()                 # the machines stand, everything is counted and sent
        rig.check()                         # ``conservation``, from outside; raises with seed and events

Before ``open``: ``rig.document`` is the configuration in real time (change it), ``rig.machine_options`` and
``rig.erp_options`` go to the simulators. Arguments: ``launcher=("-m", "something", "run")`` starts the daemon by
another module, ``env={"LD_PRELOAD": ...}`` gives it more environment. ``rig.through["erp"] = PORT`` (or ``modbus``,
``opcua``, ``broker``) leads the daemon through a proxy; call ``rig.write()`` and ``kill`` for it to take effect
later on. ``wrap`` is put in front of the command line, such as ``("prlimit", "--nofile=64")``. ``watchdog_s`` makes
the rig a service manager that ends a daemon which does not feed its watchdog. ``rig.note(text)`` adds to the events
of the run.

The rig never looks into the daemon: it asks its control socket, as anybody may. It restarts what ended by itself, too,
and counts it (``rig.ends``).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import sys
import time
from fractions import Fraction
from pathlib import Path

import conservation
import quiet_ports
import yaml
from kept_waiting import Deadline

from buffer.verify import verified
from gateway.demo import plan
from gateway.demo.process import Process, ProcessError

WAIT_S = 60.0
POLL_S = 0.05
RESTART_S = 0.1
#: Somebody else may have taken the port that was free a moment ago; so often nobody has.
PORTS_MAX = 5
#: Bytes of the logs in a failure's text.
LOG_TAIL = 3000
STATUS_CHARS = 4000
SIMULATORS = {"ASM-01": "asm-01", "IMM-01": "imm-01", "PCK-01": "pck-01"}
#: What is sent besides confirmations.
BESIDE = ("ack", "notice")
SOURCES = {"ASM-01": "asm", "IMM-01": "imm", "PCK-01": "box"}


class RigError(AssertionError):
    """The plant did not do what it must; carries the seed, the events and the end of the log."""


class Rig:
    """One plant in one folder. ``speed``: times real time; at 50 ASM-01 makes 20 pieces/s, 24 an order."""

    def __init__(
        self, folder, *, seed, card=None, machines=("ASM-01",), speed=50, launcher=("-m", "gateway", "run"), env=None,
        wrap=(), watchdog_s=None, broker=False,
    ):  # fmt: skip
        self.folder = Path(folder)
        self.seed = seed
        self.rng = random.Random(seed)
        self.card = card
        self.state_dir = (self.folder if card is None else card.mount) / "state"
        self.config = self.folder / "linegate.yaml"
        self.ledger = self.folder / "erp.db"
        self.launcher, self.wrap, self.env = tuple(launcher), tuple(wrap), dict(env or {})
        self.watchdog_s = watchdog_s
        self.speed = speed
        self.document = _document(machines, broker=broker)
        self.machine_options = {machine: ["--steady"] for machine in machines}
        self.erp_options = ["--release", "demo"]
        self.ports = {}
        self.through = {}
        self.machines = {}
        self.erp = self.broker = self.daemon = None
        self.ends = []  # (exit code, whether the rig had ordered it)
        self.events = []
        self.starts = 0
        self.watchdog_kills = 0
        self.told = []  # (monotonic seconds, message) of the daemon to its service manager
        self._before = {}
        self._baselines = False  # every counter had its first value
        self._began_s = time.monotonic()
        self._wanted = asyncio.Event()
        self._ordered = False
        self._tasks = []
        self._notify = None
        self._spawning = asyncio.Lock()  # nobody is half started while the rig kills

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()

    # --- running -----------------------------------------------------------------------------------------------------

    async def open(self, *, daemon=True):
        """Start everything; the machines stand."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state_dir.mkdir(exist_ok=True)
        if self.card is not None:
            self.card("sync")  # the folder was there before the story begins
        await self.start_erp()
        for machine in self.machine_options:
            await self._start_machine(machine)
        if "mqtt" in self.document:
            await self.start_broker()
        self.write()
        if self.watchdog_s is not None:
            self._listen()
        self._tasks.append(asyncio.create_task(self._keep_running()))
        if daemon:
            self.start()
            await self.ready()

    def write(self):
        """Write the configuration, scaled to the speed, with the ports as they are now."""
        document = plan._scale(self.document, Fraction(self.speed))
        document["gateway"]["state_dir"] = str(self.state_dir)
        ports = self.ports | self.through
        if "asm" in document["sources"]:
            document["sources"]["asm"]["port"] = ports["modbus"]
        if "imm" in document["sources"]:
            document["sources"]["imm"]["endpoint"] = f"opc.tcp://127.0.0.1:{ports['opcua']}/imm-01"
        if "erp" in document["connectors"]:
            document["connectors"]["erp"]["url"] = f"http://127.0.0.1:{ports['erp']}"
        if "mqtt" in document:
            document["mqtt"]["port"] = ports["broker"]
        self.config.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")

    def start(self):
        """The daemon is wanted from here on."""
        self._wanted.set()

    async def stop(self):
        """SIGTERM, and it stays down; its exit code."""
        self._wanted.clear()
        process, self._ordered = self.daemon, True
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(WAIT_S):
                await process.wait()
        return process and process.returncode

    async def kill(self, *, start=True):
        """SIGKILL, now; it is started again unless it shall stay down."""
        self.note("SIGKILL")
        await self._die()
        if start:
            self.start()

    async def kill_at(self, changes, *, cut="", start=True, timeout_s=10.0):
        """SIGKILL at the so-many-th change on the card from now on, or after the time; ``cut``: the power, too."""
        process = self.daemon
        if process is not None and process.returncode is None:
            self.note(f"SIGKILL at change {changes} {cut and 'and cut ' + cut}")
            self._wanted.clear()
            self._ordered = True
            await asyncio.to_thread(self.card, f"kill {process.pid} {changes}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await process.wait()
        if cut:
            await self.power_cut(cut, start=start)
        else:
            await self.kill(start=start)

    async def power_cut(self, mode="drop", *, start=True):
        """The card forgets what was not fsynced: ``drop``, ``random`` or ``torn``, by the rig's own chance."""
        command = f"cut {mode} {self.rng.randrange(1 << 30)}"
        self.note(command)
        await self._die()
        await asyncio.to_thread(self.card, command)
        if start:
            self.start()

    async def produce(self, *machines):
        """The machines run."""
        for machine in machines or self.machines:
            await self.machines[machine].command("start")

    async def halt(self, *machines):
        """The machines stand."""
        for machine in machines or self.machines:
            await self.machines[machine].command("stop")

    async def start_erp(self):
        """The ERP, with the ledger that it had."""
        self.erp = await self._on_its_port("erp", "--ledger", str(self.ledger), *self.erp_options)

    async def kill_erp(self):
        """The ERP dies; its ledger is a file."""
        self.note("ERP killed")
        self.erp.kill()
        await self.erp.wait()

    async def start_broker(self):
        """The broker, on the port that it had."""
        self.broker = await self._on_its_port("broker")

    async def kill_broker(self):
        """The broker dies, and what it retained with it."""
        self.note("broker killed")
        self.broker.kill()
        await self.broker.wait()

    async def close(self):
        """End everything."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        with contextlib.suppress(Exception):
            await self._die()
        everyone = [*self.machines.values(), self.erp, self.broker]
        await asyncio.gather(*(process.stop() for process in everyone if process is not None))
        if self._notify is not None:
            asyncio.get_running_loop().remove_reader(self._notify)
            self._notify.close()

    def note(self, text):
        """Something was done to the plant."""
        self.events.append(f"{time.monotonic() - self._began_s:8.3f} s  {text}")

    # --- asking ------------------------------------------------------------------------------------------------------

    async def ask(self, verb, **arguments):
        """Ask the daemon; None while it does not answer. Raises RigError where it refuses."""
        return await asyncio.to_thread(self._asked, verb, arguments)

    async def status(self):
        """The daemon's status; None while it is down."""
        return await self.ask("status", steady=True)

    async def status_where(self, condition, what, timeout_s=WAIT_S):
        """Wait until the status fulfils a condition, so long without what the processes wait to run. RigError."""
        soon = Deadline(timeout_s)
        view = None
        while not soon.over():
            view = await self.status()
            if view is not None and condition(view):
                return view
            await asyncio.sleep(POLL_S)
        units = "" if view is None else "\n".join(map(str, view["work_units"]))
        raise self.failed(
            f"waited {timeout_s:g} s in vain for {what}; the status was {str(view)[:STATUS_CHARS]}\n--- units\n{units}"
        )

    async def ready(self, timeout_s=WAIT_S):
        """Every source delivers, every machine has an order, and every counter its baseline, durably."""

        def runs(view):
            return (
                all(one["state"] == "up" for one in view["sources"])
                and all(unit["order"] for unit in view["work_units"])
                and self._has_baselines()
            )

        return await self.status_where(runs, "every source to deliver and every machine to have an order", timeout_s)

    async def settled(self, *, waiting=0, timeout_s=WAIT_S):
        """Halt the machines and wait until every piece is counted and sent, but so many confirmations.

        Pieces in declared unknown intervals, up to their bounds, or under review are not waited for.
        """
        await self.halt()
        made = {machine: sum(self.made(machine)) for machine in self.machines}

        def still(view):
            if any(one["state"] != "up" for one in view["sources"]):
                return False
            if sum(target["waiting"] for target in view["targets"]) != waiting:
                return False
            return all(
                made[unit["id"]] - sum(conservation.counted(unit)) <= conservation.bound(unit)
                for unit in view["work_units"]
            )

        before = soon = None
        while True:
            view = await self.status_where(still, f"all of {made} to be counted and sent", timeout_s)
            soon = soon or Deadline(timeout_s)  # from the first rest on: until then it had a limit of its own
            # The figures of its targets may be of a moment ago; nobody waits for what is not sent at all.
            on_the_way = [one for one in await self.ask("outbox.open") or () if one["kind"] not in BESIDE]
            known = sum(one["state"] != "parked" for one in on_the_way) == waiting
            facts = [view["work_units"], len(conservation.rows(self.ledger, "SELECT id FROM bookings"))]
            if known and facts == before:
                return view
            assert not soon.over(), self.failed("it never comes to rest")
            before = facts
            await asyncio.sleep(4 * POLL_S)

    def truth(self, machine):
        """The rows of pieces that the machine made since it was started here."""
        return conservation.pieces(self.folder / f"{machine}.truth.jsonl", self._before[machine])

    def made(self, machine):
        """Good and scrap since the machine was started here."""
        found = self.truth(machine)
        return sum(row["good"] for row in found), sum(row["scrap"] for row in found)

    def check(self, **allowed):
        """The sum, from outside; call it at rest (``settled``). Raises RigError with the seed and the events.

        What is allowed besides: see ``conservation.problems``. Returns the status that it held for.
        """
        soon = Deadline(WAIT_S)
        while True:
            view = self._asked("status", {"steady": True})
            if view is None:
                raise self.failed("the daemon does not answer")
            truth = {machine: self.truth(machine) for machine in self.machines}
            database = self.state_dir / "linegate.db"
            posted = self._posted(database)
            problems = conservation.problems(truth, self.ledger, database, view["work_units"], **allowed)
            # A timer may have confirmed what was open while the others were being asked; the ERP may have booked it
            # between a look at its ledger and one at the outbox.
            after = self._asked("status", {"steady": True})
            same = after is not None and all(view[part] == after[part] for part in ("work_units", "targets"))
            if same and posted == self._posted(database):
                break
            assert not soon.over(), self.failed("it never comes to rest")
        # A database that was killed, cut and full must keep every promise of its own, too.
        for one in verified(database, quick=True):
            problems += [f"linegate buffer verify: {one.name}: {text}" for text in one.told]
        if problems:
            raise self.failed("\n".join(problems))
        return view

    def _posted(self, database):
        """What the ERP has booked, and what the gateway thinks of each posting."""
        booked = conservation.rows(self.ledger, "SELECT id FROM bookings")
        return len(booked), conservation.rows(database, "SELECT id, state FROM outbox ORDER BY id")

    def log(self):
        """All that the daemon has said, of all its runs."""
        path = self.folder / "gateway.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def failed(self, text):
        """The error with all that is needed to repeat it."""
        events = "\n".join(self.events[-200:])
        return RigError(f"seed {self.seed}: {text}\n--- events\n{events}\n--- log\n{self.log()[-LOG_TAIL:]}")

    def _has_baselines(self):
        """What a machine made before the first contact is nobody's business: so it starts after it.

        A link that is up may not have brought a value yet, and a kill then makes the next start the first contact.
        """
        if not self._baselines:
            wanted = {
                rule["signal"]
                for unit in self.document["work_units"].values()
                for rule in unit["counters"]
                if rule["mode"] in {"counter", "pulse"}
            }
            sql = "SELECT body FROM journal WHERE kind = 'count' ORDER BY seq LIMIT 1000"
            try:
                told = [json.loads(row["body"]) for row in conservation.rows(self.state_dir / "linegate.db", sql)]
            except sqlite3.Error:
                return False
            self._baselines = wanted <= {event["signal"] for event in told if event["flag"] == "BASELINE"}
        return self._baselines

    # --- parts -------------------------------------------------------------------------------------------------------

    async def _simulate(self, name, *options):
        process = Process(name, ["simulators", name, *options], self.folder / f"{name}.log")
        await process.start(speaks=True)
        return process

    async def _on_its_port(self, name, *options):
        """Where it listened before it died, too: a port that nobody is given by chance while it is down."""
        for last in reversed(range(PORTS_MAX)):
            port = self.ports.get(name) or quiet_ports.find()
            try:
                process = await self._simulate(name, "--port", str(port), *options)
            except ProcessError as error:
                if last == 0 or name in self.ports or "is busy" not in str(error):
                    raise
            else:
                self.ports[name] = port
                return process
        raise AssertionError("the last one is raised")

    async def _start_machine(self, machine):
        truth = ("--truth", str(self.folder / f"{machine}.truth.jsonl"))
        place = ("--socket", str(self.state_dir / "pins.sock")) if machine == "PCK-01" else ("--port", "0")
        options = ("--seed", str(self.seed), "--speed", str(self.speed), *truth, *place, *self.machine_options[machine])
        process = await self._simulate(SIMULATORS[machine], *options)
        self.machines[machine] = process
        if machine != "PCK-01":
            self.ports["modbus" if machine == "ASM-01" else "opcua"] = process.ready["port"]
        totals = await process.command("stop")
        self._before[machine] = totals["good_total"] + totals["scrap_total"]

    async def _keep_running(self):
        while True:
            await self._wanted.wait()
            async with self._spawning:
                if not self._wanted.is_set():
                    continue
                self._ordered = False
                with (self.folder / "gateway.log").open("ab") as output:
                    self.daemon = await asyncio.create_subprocess_exec(
                        *self.wrap, sys.executable, "-P", *self.launcher, str(self.config),
                        stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, env=self._environment(),
                        start_new_session=True,
                    )  # fmt: skip
                self.starts += 1
            watching = asyncio.create_task(self._watch(self.daemon))
            try:
                code = await self.daemon.wait()
            finally:
                watching.cancel()
            self.ends.append((code, self._ordered))
            if not self._ordered:
                self.note(f"the daemon ended by itself with code {code}")
            await asyncio.sleep(RESTART_S)

    async def _die(self):
        self._wanted.clear()
        async with self._spawning:
            process, self._ordered = self.daemon, True
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    def _environment(self):
        mine = {name: text for name, text in os.environ.items() if not name.startswith(("LINEGATE_", "NOTIFY_"))}
        if self._notify is not None:
            mine |= {"NOTIFY_SOCKET": self._address, "WATCHDOG_USEC": str(int(self.watchdog_s * 1_000_000))}
        return {**mine, **self.env}

    def _listen(self):
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._address = f"@linegate-rig-{os.getpid()}-{id(self)}"
        self._notify.bind("\0" + self._address[1:])
        asyncio.get_running_loop().add_reader(self._notify, self._heard)

    def _heard(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                self.told.append((time.monotonic(), self._notify.recv(4096).decode(errors="replace")))

    async def _watch(self, process):
        """As systemd does: once it was ready, it must feed the watchdog, in time in which it may run."""
        if self.watchdog_s is None:
            return
        began_s, fed_s, hungry = time.monotonic(), 0.0, None
        while True:
            await asyncio.sleep(POLL_S)
            mine = [(at_s, text) for at_s, text in self.told if at_s >= began_s]
            if not any("READY=1" in text for _, text in mine):
                continue
            last_s = max(at_s for at_s, text in mine if "READY=1" in text or "WATCHDOG=1" in text)
            if last_s != fed_s:
                fed_s, hungry = last_s, Deadline(self.watchdog_s)
            if hungry.over():
                self.watchdog_kills += 1
                self.note("the watchdog was not fed: SIGABRT")
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGABRT)
                return

    def _asked(self, verb, arguments):
        path = self.state_dir / "control.sock"
        try:
            folder = os.open(self.state_dir, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return None
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                link.settimeout(WAIT_S)
                link.connect(f"/proc/self/fd/{folder}/{path.name}")  # the name of a socket has at most 107 bytes
                link.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
                with link.makefile("rb") as lines:
                    answer = json.loads(lines.readline())
        except (OSError, ValueError):
            return None
        finally:
            os.close(folder)
        if not answer.get("ok"):
            raise self.failed(f"{verb}: refused: {answer}")
        return answer["result"]


def _document(machines, *, broker):
    """The example configuration with these machines, for a plant that must be quick to come back."""
    document = plan.example()
    for machine, source in SOURCES.items():
        if machine not in machines:
            del document["work_units"][machine]
            del document["sources"][source]
    document["log"] = {"level": "info", "repeat_interval": "0 s"}
    document["connectors"]["erp"].update(backoff_max="1 s", auth_probe="1 s", server_time_limit="25 s")
    document.setdefault("buffer", {}).setdefault("checkpoint", "100 ms")
    for source in document["sources"].values():
        source["backoff_max"] = "1 s"
    for unit in document["work_units"].values():
        for rule in unit["counters"]:
            if rule["mode"] == "pulse":
                rule["debounce"] = "100 us"
    if not broker:
        document.pop("mqtt", None)
    return document
