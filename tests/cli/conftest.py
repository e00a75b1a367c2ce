"""The command line as a process, and one small daemon without machines or network for all tests that ask one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import NamedTuple

import pytest
import warm

from gateway.cli import main

WAIT_S = 60.0

CONFIG = """
gateway: { id: box-1, plant: P1, timezone: Europe/Berlin, state_dir: STATE_DIR }
sources:
  pins:
    driver: digital_io
    pins: simulated
    signals:
      piece: { pin: 17 }
work_units:
  M-1:
    work_center: WC-1
    ideal_cycle: 2 s
    counters:
      - { mode: pulse, signal: pins.piece }
    orders: { choose: command }
connectors:
  share: { connector: file, folder: share, poll_orders: 100 ms }
"""

ORDERS = """order;operation;work_center;product;quantity
4711;0010;WC-1;P;10
4712;0010;WC-1;P;10
4712;0020;WC-1;P;10
"""


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def environment(extra=None):
    mine = {name: text for name, text in os.environ.items() if not name.startswith(("LINEGATE_", "NOTIFY_"))}
    return {**mine, "COLUMNS": "100", **(extra or {})}


def run_cli(*arguments, env=None, cwd=None, **options):
    ended = warm.run(
        [sys.executable, "-P", "-m", "gateway", *map(str, arguments)], capture_output=True, text=True, check=False,
        timeout=120, stdin=subprocess.DEVNULL, env=environment(env), cwd=cwd, **options,
    )  # fmt: skip
    assert "Traceback" not in ended.stderr, ended.stderr
    return Ended(ended.returncode, ended.stdout, ended.stderr)


class Daemon:
    """A running gateway with its folder."""

    def __init__(self, folder, config=CONFIG, *, confirmations=True):
        self.folder = folder
        self.state_dir = folder / "state"
        self.config = folder / "linegate.yaml"
        self.config.write_text(config.replace("STATE_DIR", str(self.state_dir)))
        for name in ("orders", *(["confirmations"] if confirmations else [])):
            (folder / "share" / name).mkdir(parents=True, exist_ok=True)
        self.log = (folder / "log").open("wb")
        self.process = warm.Popen(
            [sys.executable, "-P", "-m", "gateway", "run", str(self.config)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=environment(),
        )  # fmt: skip

    def until(self, condition, what):
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, f"waited in vain for {what}: {(self.folder / 'log').read_text()}"
            time.sleep(0.05)

    def text(self):
        return (self.folder / "log").read_text()

    def listens(self):
        """The control socket of this run answers."""
        self.until(lambda: "running" in self.text() and run_cli("status", "-d", self.state_dir).code == 0, "the start")
        return self

    def take_orders(self):
        (self.folder / "share" / "orders" / "orders.csv").write_text(ORDERS)
        done = self.folder / "share" / "orders" / "done" / "orders.csv"
        self.until(done.exists, "the orders to be taken")

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            self.log.close()


@pytest.fixture(scope="session")
def linegate():
    return run_cli


@pytest.fixture
def wrong_usage(capsys, monkeypatch, tmp_path):
    """Commands that open nothing, run in this process and in an empty folder: ten times as fast."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main(list(map(str, arguments)))
        told = capsys.readouterr()
        return Ended(code, told.out, told.err)

    return run


class Simulator:
    """A bundled machine as a process; ``ready`` is what it said first."""

    def __init__(self, *arguments):
        self.process = warm.Popen(
            [sys.executable, "-P", "-m", "simulators", *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
        )  # fmt: skip
        self.ready = json.loads(self.process.stdout.readline())

    def command(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert answer["ok"], answer
        return answer

    def close(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def simulator():
    """Starts a machine; all of a module's machines end with it."""
    running = []

    def start(*arguments):
        running.append(Simulator(*arguments))
        return running[-1]

    yield start
    for machine in running:
        machine.close()


@pytest.fixture
def start_cli():
    """A command that goes on: its process."""
    running = []

    def start(*arguments, cwd=None, **options):
        process = warm.Popen(
            [sys.executable, "-P", "-m", "gateway", *map(str, arguments)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), cwd=cwd, **options,
        )  # fmt: skip
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def configured(tmp_path):
    """A configuration that nobody runs."""
    state_dir, config = tmp_path / "state", tmp_path / "linegate.yaml"
    config.write_text(CONFIG.replace("STATE_DIR", str(state_dir)))
    return config


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, request):
    """One for all tests of a module, configured as its ``configured_as`` says, where it has one."""
    config = getattr(request.module, "configured_as", str)(CONFIG)
    daemon = Daemon(tmp_path_factory.mktemp("gateway"), config)
    try:
        daemon.take_orders()
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def start_daemon(tmp_path):
    """Runs one gateway after the other in the same folder; each start ends the one before."""
    daemons = []

    def start(config=CONFIG, **options):
        if daemons:
            daemons[-1].close()
        daemons.append(Daemon(tmp_path, config, **options))
        return daemons[-1].listens()

    yield start
    for daemon in daemons:
        daemon.close()


@pytest.fixture
def config_text():
    return CONFIG
