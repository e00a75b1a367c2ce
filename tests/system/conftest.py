"""A plant of real processes: simulators, the daemon with a configuration file, and the command line beside them."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import time
from fractions import Fraction
from types import SimpleNamespace

import pytest
import pytest_asyncio
import warm
import yaml
from kept_waiting import Beat, Deadline, Taken, own_s, stood_s
from pydantic import TypeAdapter

from drivers.base import DriverContext
from drivers.supervisor import SourceSupervisor
from gateway import plugins
from gateway.control import ControlError, call
from gateway.core.duration import NS_PER_S
from gateway.core.model import Status
from gateway.demo import plan
from gateway.demo.process import Process
from gateway.demo.reconcile import reconcile
from gateway.sources.looks import STALE_AFTER_CYCLES, STALE_AFTER_MIN_NS

#: Modules that look at a process itself (its memory, arguments, environment), or at how it starts.
COLD = frozenset(
    {
        "test_demo",
        "test_demo_erps",
        "test_lean",
        "test_left_behind",
        "test_limits",
        "test_long_run",
        "test_benchmarks",
        "test_secrets",
        "test_upgrade",
    }
)
WAIT_S = 120.0
#: The look is work for the daemon too. What takes longer than a second is looked at less often.
POLL_S, POLL_LATER_S, LATER_S = 0.05, 0.15, 1.0
BEAT_S = 0.02
SPEED = 50  # times real time: an order of 24 pieces takes ASM-01 1.2 s
SIMULATORS = {"ASM-01": "asm-01", "IMM-01": "imm-01", "PCK-01": "pck-01"}
#: What is sent besides confirmations.
BESIDE = ("ack", "notice")
SOURCES = {"ASM-01": "asm", "IMM-01": "imm", "PCK-01": "box"}


async def until(condition, what, timeout_s=WAIT_S):
    """Ask until the answer is true; it is returned. ``condition`` may be a coroutine function.

    A shorter time limit than usual is a promise: it is counted in the time in which the processes may run.
    """
    deadline = Deadline(timeout_s) if timeout_s < WAIT_S else None
    began_s = time.monotonic()
    end_s = began_s + timeout_s
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        over = deadline.over() if deadline else time.monotonic() > end_s
        assert not over, f"waited {timeout_s:g} s in vain for {what() if callable(what) else what}"
        await asyncio.sleep(POLL_S if time.monotonic() < began_s + LATER_S else POLL_LATER_S)


def environment(extra):
    mine = {name: text for name, text in os.environ.items() if not name.startswith(("LINEGATE_", "NOTIFY_"))}
    return {**mine, **(extra or {})}


class Daemon:
    """One run of the gateway."""

    def __init__(self, process, log):
        self.process = process
        self.log = log

    @property
    def pid(self):
        return self.process.pid

    def text(self):
        return self.log.read_text(errors="replace")

    def kill(self):
        if self.process.returncode is None:
            self.process.kill()

    async def ended(self, timeout_s=WAIT_S):
        async with asyncio.timeout(timeout_s):
            return await self.process.wait()

    async def stop(self):
        """SIGTERM; the exit code and how long it took, to POLL_S, without what it waited for a processor."""
        taken, took_s = Taken(), 0.0
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        ending = asyncio.ensure_future(self.ended())
        while not ending.done():
            took_s = taken.seconds()  # while it is there: of one that is gone nobody knows how long it waited
            await asyncio.wait((ending,), timeout=POLL_S)
        return await ending, took_s


class Plant:
    """What a test needs around one gateway; ``keep`` some machines, start simulators, ``run``."""

    def __init__(self, folder):
        self.folder = folder
        self.state_dir = folder / "state"
        self.config = folder / "linegate.yaml"
        self.document = plan.example()
        self.document["log"] = {"level": "debug", "repeat_interval": "0 s"}
        self.document["connectors"]["erp"].update(backoff_max="1 s", auth_probe="1 s", server_time_limit="25 s")
        for source in self.document["sources"].values():
            source["backoff_max"] = "1 s"
        # On a busy computer a simulated machine makes up for its pauses in bursts, which are faster than it is: after
        # ten seconds it shows so many counts at once.
        for rule in self.document["work_units"]["ASM-01"]["counters"]:
            rule["max_rate"], rule["slack"] = "4000 /min", 10 * SPEED * 25 // 60
        self.broker = False
        self.ports = {"modbus": 1, "opcua": 1, "erp": 1, "broker": 1}
        self.erp = None
        self.machines = {}
        self.daemon = None
        self._before = {}
        self._simulators = []
        self._daemons = []

    def keep(self, *machines):
        """Only these machines are configured."""
        for machine, source in SOURCES.items():
            if machine not in machines:
                del self.document["work_units"][machine]
                del self.document["sources"][source]

    async def simulate(self, name, *options):
        process = Process(name, ["simulators", name, *options], self.folder / f"{name}.log")
        self._simulators.append(process)
        await process.start(speaks=True)
        return process

    async def start_erp(self, *options):
        self.erp = await self.simulate("erp", "--port", "0", *options)
        self.ports["erp"] = self.erp.ready["port"]

    async def start_machine(self, unit, *options):
        """Start a machine and let it stand; what it makes from now on counts."""
        truth = ("--truth", str(self.folder / f"{unit}.jsonl"))
        port = ("--socket", str(self.state_dir / "pins.sock")) if unit == "PCK-01" else ("--port", "0")
        name = SIMULATORS[unit]
        machine = await self.simulate(name, "--speed", str(SPEED), "--steady", *truth, *port, *options)
        self.machines[unit] = machine
        if unit != "PCK-01":
            self.ports["modbus" if unit == "ASM-01" else "opcua"] = machine.ready["port"]
        self._before[unit] = made(await machine.command("stop"))

    def scaled(self):
        """The configuration at the plant's speed and with its ports."""
        document = plan._scale(self.document, Fraction(SPEED))
        document["gateway"]["state_dir"] = str(self.state_dir)
        document.setdefault("buffer", {}).setdefault("checkpoint", "100 ms")
        sources, connectors = document["sources"], document["connectors"]
        if "asm" in sources:
            sources["asm"]["port"] = self.ports["modbus"]
        if "imm" in sources:
            sources["imm"]["endpoint"] = f"opc.tcp://127.0.0.1:{self.ports['opcua']}/imm-01"
        if "erp" in connectors:
            connectors["erp"]["url"] = f"http://127.0.0.1:{self.ports['erp']}"
        for unit in document["work_units"].values():
            for rule in unit["counters"]:
                if rule["mode"] == "pulse":
                    rule["debounce"] = "100 us"
        if self.broker:
            document["mqtt"]["port"] = self.ports["broker"]
        else:
            del document["mqtt"]
        return document

    def write(self):
        self.config.write_text(yaml.safe_dump(self.scaled(), sort_keys=False), encoding="utf-8")

    async def run(self, *, config=None, env=None, launcher=("-m", "gateway", "run")):
        """Start the daemon; returns without waiting for it."""
        if config is None:
            self.write()
        log = self.folder / f"gateway-{len(self._daemons) + 1}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", *launcher, str(config or self.config),
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, env=environment(env),
                start_new_session=True,
            )  # fmt: skip
        self.daemon = Daemon(process, log)
        self._daemons.append(self.daemon)
        return self.daemon

    async def ready(self):
        """Every source delivers and every machine has an order."""

        def runs(view):
            return all(source["state"] == "up" for source in view["sources"]) and all(
                unit["order"] for unit in view["work_units"]
            )

        return await self.status_where(runs, "sources up and orders running")

    async def produce(self, *units):
        for unit in units or self.machines:
            await self.machines[unit].command("start")

    async def halt(self, *units):
        for unit in units or self.machines:
            await self.machines[unit].command("stop")

    async def close(self):
        for daemon in self._daemons:
            daemon.kill()
            await daemon.process.wait()
        await asyncio.gather(*(process.stop() for process in self._simulators))

    # --- asking ------------------------------------------------------------------------------------------------------

    async def ask(self, verb, **arguments):
        return await asyncio.to_thread(call, self.state_dir, verb, **arguments)

    async def status(self):
        with contextlib.suppress(ControlError):
            return await self.ask("status")
        return None

    async def status_where(self, condition, what, timeout_s=WAIT_S):
        async def asked():
            view = await self.status()
            assert self.daemon.process.returncode is None, self.daemon.text()[-3000:]
            seen[:] = [view]
            return view if view is not None and condition(view) else None

        seen = []
        return await until(asked, lambda: f"{what}; the status was {seen}", timeout_s)

    async def counted(self, unit):
        view = await self.status()
        return next(sum(counts(one)) for one in view["work_units"] if one["id"] == unit)

    async def truth(self, unit):
        """Pieces made since the machine was started here."""
        # The machine may be in the middle of a line: what has no end yet is not said yet.
        text = (self.folder / f"{unit}.jsonl").read_text()
        rows = [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]
        before = sum(self._before[unit])
        return [row for row in rows if row["event"] == "pieces" and row["good_total"] + row["scrap_total"] > before]

    async def ledger(self):
        """What was booked by a gateway: not what a person posted in the ERP by hand."""
        rows = await asyncio.to_thread(self._erp, "GET", "/ledger", None)
        return [row for row in rows if not row["key"].startswith("manual-")]

    async def release(self, order, *operations, quantity=24, sequence_no=1, revision=1, product="P-1"):
        """Release an order at the ERP; ``operations`` as (number, work center)."""
        image = {
            "order_id": order, "revision": revision, "product": {"id": product, "uom": "PC"}, "qty": str(quantity),
            "sequence_no": sequence_no,
            "operations": [{"op": op, "work_center": center, "qty": str(quantity)} for op, center in operations],
        }  # fmt: skip
        await asyncio.to_thread(self._erp, "POST", "/orders", image)

    def _erp(self, method, path, document):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.ports["erp"], timeout=WAIT_S)) as link:
            body = None if document is None else json.dumps(document)
            link.request(method, path, body=body)
            answer = link.getresponse()
            text = answer.read()
            assert answer.status in (200, 201), text
            answered = json.loads(text)
            return answered.get("bookings", answered)

    async def cli(self, *arguments, env=None):
        """Run the command line; exit code, output, error output."""
        done = await asyncio.to_thread(
            warm.run, [sys.executable, "-P", "-m", "gateway", *map(str, arguments)], stdin=asyncio.subprocess.DEVNULL,
            capture_output=True, text=True, timeout=WAIT_S, env=environment(env),
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    async def outbox(self, *options):
        code, out, err = await self.cli("outbox", "list", "--json", "--limit", "1000", "-d", self.state_dir, *options)
        assert code == 0, err
        return json.loads(out)

    # --- the sum -----------------------------------------------------------------------------------------------------

    async def on_its_way(self):
        """Confirmations that are neither over nor parked, as of now: the figures of the status may be 0.2 s old."""
        rows = await self.ask("outbox.open")
        return [row for row in rows if row["state"] != "parked" and row["kind"] not in BESIDE]

    async def arrived(self, *, exact=True):
        """Wait until everything is counted and sent (machines must stand), then reconcile."""

        def still(view):
            if any(source["state"] != "up" for source in view["sources"]):
                return False
            if any(target["waiting"] for target in view["targets"]):
                return False
            return not exact or all(counts(unit) == goal[unit["id"]] for unit in view["work_units"])

        goal = {unit: total(await self.truth(unit)) for unit in self.machines}

        async def one_moment():
            """The views of one moment: a timer may confirm what was open while the others are being asked."""
            view = await self.status_where(still, f"all of {goal} counted and sent")
            if await self.on_its_way():
                return None
            # Before the ledger: what is booked meanwhile stands in both. What waits for two targets was made once.
            waiting = list({row["key"]: row for row in await self.ask("outbox.open")}.values())
            ledger = await self.ledger()
            same = view["work_units"] == (await self.ask("status"))["work_units"]
            return same and (ledger, waiting, view["work_units"])

        ledger, waiting, work_units = await until(one_moment, "a moment without a confirmation")
        truth = {unit: await self.truth(unit) for unit in self.machines}
        return reconcile(truth, ledger, waiting, work_units)


def made(totals):
    return totals["good_total"], totals["scrap_total"]


def counts(unit):
    return unit["counted_good"], unit["counted_scrap"]


def total(rows):
    return sum(row["good"] for row in rows), sum(row["scrap"] for row in rows)


@pytest.fixture(scope="module", autouse=True)
def forked(request):
    """Processes that the event loop starts are forks of a loaded interpreter, where that is the same (``warm.py``)."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.stem not in COLD:
            ours = SimpleNamespace(PIPE=subprocess.PIPE, Popen=warm.Popen)
            patch.setattr(asyncio.unix_events, "subprocess", ours)
        yield


@pytest.fixture
async def plant(tmp_path):
    plant = Plant(tmp_path)
    try:
        yield plant
    finally:
        await plant.close()


@pytest.fixture(name="until", scope="session")
def until_fixture():
    return until


@pytest.fixture
def write_yaml():
    def write(path, document):
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return path

    return write


# --- one source in the test's own process -----------------------------------------------------------------------------


class Watched:
    """A source: the real driver, built as the daemon builds it, under the real supervisor; looks at all it delivers.

    ``truths`` says for a signal which GOOD values are right; every other one stands in ``wrong``.
    """

    def __init__(self, settings, rules, folder, *, truths=None, backoff_max_ns=NS_PER_S, seed=1, source="plc"):
        driver_type = plugins.drivers()[settings["driver"]]
        own = TypeAdapter(driver_type.settings).validate_python(settings)
        context = DriverContext(
            source=source, now_ns=time.time_ns, rule_signals=frozenset(rules), telemetry_signals=frozenset(),
            state_dir=folder,
        )  # fmt: skip
        self.rules = tuple(f"{source}.{name}" for name in rules)
        self.backoff_max_ns = backoff_max_ns
        self.values = []  # (monotonic seconds, DataValue)
        self.last = {}  # signal to its last (monotonic seconds, DataValue)
        self.readings = 0
        self.statuses = []  # (UTC nanoseconds, SourceStatus) of every change
        self.wrong = []
        self._beat = Beat(BEAT_S)
        self._truths = {f"{source}.{name}": truth for name, truth in (truths or {}).items()}
        self.supervisor = SourceSupervisor(
            name=source,
            make_driver=lambda: driver_type.build(own, context),
            rule_signals=self.rules,
            now_ns=time.time_ns,
            deliver=self._deliver,
            stale_after_ns=max(STALE_AFTER_CYCLES * driver_type.cycle_ns(own), STALE_AFTER_MIN_NS),
            backoff_max_ns=backoff_max_ns,
            rng=random.Random(seed),
            on_status=self._on_status,
        )
        self._tasks = ()

    def start(self):
        self._tasks = (asyncio.create_task(self.supervisor.run()), asyncio.create_task(self._beat.run()))

    async def stop(self):
        """Cancel it, as a shutdown does; the seconds that it took, without those in which it could not run."""
        began, waited_s, stood = time.monotonic(), own_s(), stood_s()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = ()
        return time.monotonic() - began - max(own_s() - waited_s, stood_s() - stood)

    @property
    def status(self):
        return self.supervisor.status

    @property
    def slowest_s(self):
        """The longest time in which this process did nothing else."""
        return self._beat.slowest_s

    def after(self, since_s, *names):
        """Whether every signal (or these) had a GOOD value since then that is still the last word."""
        wanted = [f"{self.supervisor.status.name}.{name}" for name in names] or self.rules
        return all(
            name in self.last and self.last[name][0] > since_s and self.last[name][1].status is Status.GOOD
            for name in wanted
        )

    def since(self, moment_s, name=None):
        """What was delivered since then."""
        return [
            value for at_s, value in self.values if at_s > moment_s and name in (None, value.signal.partition(".")[2])
        ]

    async def _deliver(self, reading):
        at_s = time.monotonic()
        self.readings += bool(reading.values)
        for value in reading.values:
            self.values.append((at_s, value))
            self.last[value.signal] = (at_s, value)
            truth = self._truths.get(value.signal)
            if value.status is Status.GOOD and truth is not None and not truth(value.value):
                self.wrong.append(value)

    def _on_status(self, status):
        self.statuses.append((time.time_ns(), status))


class Rising:
    """The truth of a counter while nobody touches it: it never goes back, and stands where the machine is at most."""

    def __init__(self):
        self.last = None

    def __call__(self, value):
        last, self.last = self.last, value
        return type(value) is int and (last is None or value >= last)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def simulate(tmp_path_factory):
    """Start simulators that live as long as the module's tests: ``await simulate("asm-01", "--port", "0")``."""
    folder = tmp_path_factory.mktemp("simulators")
    started = []

    async def start(*arguments):
        process = Process(arguments[0], ["simulators", *map(str, arguments)], folder / f"{len(started)}.log")
        started.append(process)
        await process.start(speaks=True)
        return process

    yield start
    await asyncio.gather(*(process.stop() for process in started))


@pytest_asyncio.fixture(loop_scope="module")
async def watch(tmp_path):
    """Read a device in this process: ``watch(settings, rules, ...)`` gives a running ``Watched``."""
    watched = []

    def start(settings, rules, **options):
        watched.append(Watched(settings, rules, options.pop("folder", tmp_path), **options))
        watched[-1].start()
        return watched[-1]

    yield start
    for one in watched:
        await one.stop()


@pytest.fixture
def rising():
    return Rising
