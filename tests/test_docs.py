"""The read-me files tell the truth: commands, folders, links, configurations and the samples of CONTRIBUTING.md."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from fnmatch import fnmatch
from pathlib import Path

import pytest

from config.loader import load
from drivers.base import DriverContext, DriverError
from gateway import plugins
from gateway.cli import build_parser
from gateway.connectors.base import ConnectorContext
from gateway.contract import ConnectorContract
from gateway.testing import DriverContract

ROOT = Path(__file__).parents[1]
CODE = ("gateway", "drivers", "buffer", "config", "simulators")
SKIPPED = {"node_modules", "__pycache__", "build", "dist"}
FENCE = re.compile(r"^```(\S*) ?(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
DEADLINE_S = 100.0


def ours(path):
    inside = path.relative_to(ROOT).parts
    return not any(part.startswith(".") or part in SKIPPED for part in inside[:-1])


def documents():
    return sorted(path for path in ROOT.rglob("*.md") if ours(path))


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def fences(name, language):
    return [(label, code) for found, label, code in FENCE.findall(text_of(name)) if found == language]


def anchors(path):
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ +(.+)$", re.sub(FENCE, "", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def subcommands(parser):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


# --- the command line ------------------------------------------------------------------------------------------------


def commands():
    for name, parser in subcommands(build_parser()):
        verbs = [verb for verb, _ in subcommands(parser)]
        yield from (f"{name} {verb}" for verb in verbs) if verbs else (name,)


def test_the_command_line_is_known():
    assert len(list(commands())) > 10


@pytest.mark.parametrize("command", list(commands()))
def test_every_command_stands_in_the_readme(command):
    rows = [line for line in text_of("README.md").splitlines() if line.startswith("| `")]
    assert any(re.match(rf"\| `{re.escape(command)}[ `]", row) for row in rows), f"no row for linegate {command}"


def test_every_option_of_the_demo_is_explained():
    parser = dict(subcommands(build_parser()))["demo"]
    options = {option for action in parser._actions for option in action.option_strings} - {"-h", "--help"}
    assert len(options) > 3
    for document in ("README.md", "gateway/demo/README.md"):
        assert [option for option in sorted(options) if f"`{option}" not in text_of(document)] == []


# --- folders, modules, links -----------------------------------------------------------------------------------------


def test_every_top_level_folder_stands_in_the_readme():
    tracked = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")} - SKIPPED
    shown = {name for name in tracked if f"`{name}/`" in text_of("README.md")}
    assert set(CODE) <= tracked
    # Another folder was left by something that writes where it stands; what a build makes is in .gitignore.
    ignored = [line.rstrip("/") for line in text_of(".gitignore").splitlines()]
    strange = {name for name in tracked - shown if not any(fnmatch(name, pattern) for pattern in ignored)}
    assert strange == set(), "not in the README: was it written into the checkout by accident?"


def modules(folder):
    for path in sorted((ROOT / folder).iterdir()):
        if path.suffix == ".py" and path.name != "__init__.py":
            yield path.name
        elif path.is_dir() and (path / "__init__.py").exists():
            yield f"{path.name}/"


@pytest.mark.parametrize("folder", ["gateway", "gateway/core", "gateway/demo"])
def test_every_module_stands_in_its_readme(folder):
    told = text_of(f"{folder}/README.md")
    found = list(modules(folder))
    assert len(found) > 4
    assert [name for name in found if f"`{name}`" not in told] == []


def test_rooms_without_a_page_stand_in_that_of_the_gateway():
    told = text_of("gateway/README.md")
    rooms = [path for path in (ROOT / "gateway").iterdir() if (path / "__init__.py").exists()]
    bare = [room for room in rooms if not (room / "README.md").exists() and room.name not in ("cli", "contract")]
    assert len(bare) > 4
    assert [
        f"{room.name}/{name}" for room in bare for name in modules(room) if f"`{room.name}/{name}`" not in told
    ] == []


@pytest.mark.parametrize("folder", ["gateway", "gateway/core", "gateway/demo"])
def test_no_readme_names_a_module_that_is_gone(folder):
    first_cells = re.findall(r"^\| `([\w/.]+)` \|", text_of(f"{folder}/README.md"), re.MULTILINE)
    named = [cell for cell in first_cells if cell.endswith((".py", "/"))]
    assert named
    assert [name for name in named if not (ROOT / folder / name).exists()] == []


def test_every_folder_of_tests_stands_in_its_readme():
    told = text_of("tests/README.md")
    found = [path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and list(path.rglob("*.py"))]
    assert len(found) > 4
    assert [name for name in found if f"`{name}/`" not in told] == []


def test_there_are_documents():
    found = {str(path.relative_to(ROOT)) for path in documents()}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "gateway/README.md", "gateway/DECISIONS.md"} <= found
    assert {f"{name}/README.md" for name in (*CODE, "systemd", "tests", "gateway/core", "gateway/connectors")} <= found


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    broken = []
    for link in LINK.findall(re.sub(FENCE, "", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_name_no_machine_path(path):
    assert re.findall(r"/(?:home|root|work|tmp|Users)/\S*", path.read_text(encoding="utf-8")) == []


def test_links_have_teeth():
    assert LINK.findall("see [a](b.md#c) and [d](e/)") == ["b.md#c", "e/"]
    assert "command-line" in anchors(ROOT / "README.md")


@pytest.mark.parametrize("folder", ["drivers", "gateway/connectors"])
def test_every_plugin_has_its_readme_and_sample(folder):
    table = text_of(f"{folder}/README.md")
    found = [path for path in (ROOT / folder).iterdir() if (path / "__init__.py").exists()]
    assert len(found) > 1
    for path in found:  # what is no plugin but a folder of settings has both as well
        assert (path / "README.md").is_file(), path.name
        assert (path / "sample.yaml").is_file(), path.name
        assert f"({path.name}/README.md)" in table


# --- configurations --------------------------------------------------------------------------------------------------


def whole_configurations():
    for name in ("README.md", "CONTRIBUTING.md", "gateway/README.md"):
        for number, (_label, code) in enumerate(fences(name, "yaml")):
            if re.search(r"^work_units:", code, re.MULTILINE):
                yield pytest.param(code, id=f"{name}-{number}")


def sample(name, folder, monkeypatch):
    """A module of CONTRIBUTING.md, imported."""
    (code,) = [code for label, code in fences("CONTRIBUTING.md", "python") if label == f"{name}.py"]
    path = folder / f"{name}.py"
    path.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("code", list(whole_configurations()))
def test_configurations_pass(code, tmp_path, monkeypatch):
    path = tmp_path / "linegate.yaml"
    path.write_text(code, encoding="utf-8")
    line_counter = sample("line_counter", tmp_path, monkeypatch)
    exchange_table = sample("exchange_table", tmp_path, monkeypatch)
    drivers = {**plugins.drivers(), "line_counter": line_counter.DRIVER}
    connectors = {**plugins.connectors(), "exchange_table": exchange_table.CONNECTOR}
    settings = load(path, drivers=drivers, connectors=connectors, env={})
    assert settings.warnings == ()


def test_the_readme_explains_ten_lines():
    (code,) = [code for _label, code in fences("README.md", "yaml") if "work_units:" in code]
    assert len(code.splitlines()) == 10
    explained = re.findall(r"^(\d+)\. ", text_of("README.md"), re.MULTILINE)
    assert explained == [str(number) for number in range(1, 11)]


# --- the samples of CONTRIBUTING.md ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["line_counter", "exchange_table"])
def test_a_sample_keeps_the_house_rules(name):
    (code,) = [code for label, code in fences("CONTRIBUTING.md", "python") if label == f"{name}.py"]
    for command in (("check",), ("format", "--check")):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "--stdin-filename", f"drivers/{name}.py", "-"],
            cwd=ROOT,
            input=code,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout + done.stderr


class LineDevice:
    """Answers each name with its number; a thread, so that it serves this process and others."""

    def __init__(self):
        self.numbers = {}
        self.hangs_up = False  # at the next question, politely
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._writers = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._server = None
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def start(self):
        self._call(self._start())

    def stop(self):
        self._call(self._stop())

    def close(self):
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self):
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.wait_for(self._idle.wait(), 10)

    async def _serve(self, reader, writer):
        self._writers.add(writer)
        self._idle.clear()
        try:
            while (line := await reader.readline()) and not self.hangs_up:
                writer.write(f"{self.numbers.get(line.decode().strip(), '?')}\n".encode())
                await writer.drain()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            if not self._writers:
                self._idle.set()
            writer.close()


@pytest.fixture
def device():
    device = LineDevice()
    device.start()
    yield device
    device.close()


class LineRig:
    def __init__(self, module, device, folder):
        self._device = device
        self._module = module
        self._folder = folder
        self.expected = {"counter.good": 17, "counter.scrap": 2**70}
        device.numbers = {"good": 17, "scrap": 2**70}
        device.stop()

    def make(self):
        signals = {name: self._module.LineSignal(ask=name) for name in ("good", "scrap")}
        settings = self._module.LineCounterSettings(
            driver="line_counter",
            host="127.0.0.1",
            port=self._device.port,
            scan=self._module.Duration("20 ms"),
            signals=signals,
        )
        context = DriverContext(
            source="counter",
            now_ns=self.now_ns,
            rule_signals=frozenset({"good", "scrap"}),
            telemetry_signals=frozenset({"scrap"}),
            state_dir=self._folder,
        )
        return self._module.DRIVER.build(settings, context)

    def now_ns(self):
        return time.time_ns()

    async def start_device(self):
        await asyncio.to_thread(self._device.start)

    async def stop_device(self):
        await asyncio.to_thread(self._device.stop)


class TestSampleDriver(DriverContract):
    @pytest.fixture
    def rig(self, device, tmp_path, monkeypatch):
        return LineRig(sample("line_counter", tmp_path, monkeypatch), device, tmp_path)

    async def test_a_bad_value_is_a_problem_and_no_lost_link(self, rig, device):
        await rig.start_device()
        driver = rig.make()
        await driver.open()
        readings = driver.readings()
        device.numbers["good"] = "x"
        reading = await anext(readings)
        by_name = {value.signal: value.value for value in reading.values}
        assert by_name == {"counter.good": None, "counter.scrap": 2**70}
        assert list(driver.problems()) == ["counter.good"]
        assert reading.blocks[0].names == ("counter.scrap",)
        device.numbers["good"] = "18"
        await anext(readings)
        assert driver.problems() == {}
        await readings.aclose()
        await driver.close()

    async def test_a_polite_end_is_a_lost_link(self, rig, device):
        await rig.start_device()
        driver = rig.make()
        await driver.open()
        readings = driver.readings()
        await anext(readings)
        device.hangs_up = True
        with pytest.raises(DriverError, match="closed the connection"):
            await asyncio.wait_for(anext(readings), DEADLINE_S)
        await driver.close()


def made_database(folder):
    path = folder / "exchange.db"
    (tables,) = [code for _label, code in fences("CONTRIBUTING.md", "sql")]
    with contextlib.closing(sqlite3.connect(path)) as link:
        link.executescript(tables)
    return path


def insert_order(path, order, quantity="24", work_center="WC-10"):
    row = (order, 1, "CAP-38", quantity, "0010", work_center)
    with contextlib.closing(sqlite3.connect(path)) as link, link:
        link.execute(
            "INSERT INTO orders (order_id, revision, product, quantity, operation, work_center) VALUES (?,?,?,?,?,?)",
            row,
        )


def booked(path):
    with contextlib.closing(sqlite3.connect(path)) as link:
        return [(key, json.loads(text)) for key, text in link.execute("SELECT key, document FROM confirmations")]


class TableBench:
    def __init__(self, module, folder):
        self._module = module
        self._folder = folder
        self.path = made_database(folder)

    def build(self):
        settings = self._module.ExchangeTableSettings(connector="exchange_table", database="exchange.db")
        context = ConnectorContext(
            name="erp", gateway_id="box-1", now_ns=time.time_ns, secrets={}, base_dir=self._folder
        )
        return self._module.CONNECTOR.build(settings, context)

    def document(self, seq):
        document = json.loads(text_of("tests/core/data/confirmation.json"))[0]
        key = f"P1/e0/100240/0010/{seq}"
        return document | {"order_id": "100240", "seq": seq, "idempotency_key": key, "confirmation_id": f"id-{seq}"}

    def release(self, order):
        insert_order(self.path, order)

    def take_away(self):
        self.path.unlink()

    def bookings(self, key):
        return [booked_key for booked_key, _ in booked(self.path)].count(key)


class TestSampleConnector(ConnectorContract):
    @pytest.fixture
    def bench(self, tmp_path, monkeypatch):
        return TableBench(sample("exchange_table", tmp_path, monkeypatch), tmp_path)

    async def test_a_wrong_order_is_refused_with_its_place(self, bench):
        insert_order(bench.path, "1", quantity="-3")
        insert_order(bench.path, "2")
        page = await bench.build().fetch_orders("")
        assert [order.order for order in page.orders] == ["2"]
        (refused,) = page.refused
        assert (refused.place, len(refused.reasons), page.cursor) == ("orders, row 1", 1, "2")


def test_the_gateway_runs_with_both_samples(tmp_path, device):
    """As plugins of their own distribution, found by their entry points."""
    for label, code in fences("CONTRIBUTING.md", "python"):
        (tmp_path / label).write_text(code, encoding="utf-8")
    info = tmp_path / "samples-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: samples\nVersion: 1.0\n", encoding="utf-8")
    points = "\n".join(code for _label, code in fences("CONTRIBUTING.md", "toml"))
    points = points.replace("project.entry-points.", "").replace('"', "")
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    (configuration,) = [code for _label, code in fences("CONTRIBUTING.md", "yaml") if "line_counter" in code]
    assert "4001" in configuration
    (tmp_path / "linegate.yaml").write_text(configuration.replace("4001", str(device.port)), encoding="utf-8")
    database = made_database(tmp_path)
    insert_order(database, "100240", quantity="5")
    device.numbers = {"good": 100}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LINEGATE_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(ROOT)])
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gateway", "run", "linegate.yaml"],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + DEADLINE_S
        while not (found := booked(database)):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            device.numbers["good"] += 1
            time.sleep(0.15)  # the machine's cycle
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code == 0
    ((key, document),) = found
    assert key.startswith("P1/")
    assert key.endswith("/100240/0010/1")
    assert (document["type"], document["qty"]["good"]) == ("final", "5")
