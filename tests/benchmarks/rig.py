"""The processes of a benchmark - broker, simulator, candidate - and what the kernel says they cost.

Measures nothing by itself. Everything is started on free ports and ended with the rig, whatever happens.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, NamedTuple, Self

START_TIMEOUT_S = 120.0
#: Below those that the kernel gives to whoever asks for any port: nobody takes one before the broker listens.
QUIET_PORTS = range(12_000, 32_000)
STOP_TIMEOUT_S = 60.0
POLL_S = 0.01
KIB_PER_MB = 1000 / 1.024  # 1 MB = 10^6 bytes
HOST = "127.0.0.1"


class RigError(Exception):
    """A process did not start or ended early; says which, and what it said."""


class Memory(NamedTuple):
    """Resident memory of a process tree, MB (10^6 bytes); ``pss`` shares common pages among their users."""

    rss: float
    pss: float


class Candidate:
    """A program under test; its output goes to a log."""

    def __init__(self, name: str, process: subprocess.Popen, log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    def check(self) -> None:
        """Raises RigError if it has ended."""
        if self._process.poll() is not None:
            said = self._log.read_text(errors="replace").strip().splitlines()[-3:]
            raise RigError(f"{self.name} ended with code {self._process.returncode}: {' / '.join(said) or 'no word'}")

    @property
    def pid(self) -> int:
        """Of the process itself."""
        return self._process.pid

    def cpu_s(self) -> float:
        """Processor time of the process and its children so far, seconds."""
        return sum(_cpu_s(pid) for pid in _tree(self._process.pid))

    def memory(self) -> Memory:
        """Resident memory now."""
        found = [_rollup(pid) for pid in _tree(self._process.pid)]
        return Memory(sum(one["Rss"] for one in found) / KIB_PER_MB, sum(one["Pss"] for one in found) / KIB_PER_MB)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL."""
        _end(self._process)


class Rig:
    """A broker and a simulator for one benchmark; a context manager."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.folder = Path()
        self.broker_port = 0

    def __enter__(self) -> Self:
        # Without this, SIGTERM would leave every process behind.
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        self._stack.callback(signal.signal, signal.SIGTERM, before)
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="linegate-bench-")))
        self.broker_port = free_port()
        try:
            self._start_broker()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def simulator(self, name: str, *options: str) -> dict:
        """Start a simulator; what its ready line says. Raises RigError."""
        return self.device("-m", "simulators", name, "--port", "0", "--steady", *options)[0]

    def device(self, *arguments: str) -> tuple[dict, IO[bytes]]:
        """Start ``python -P ARGUMENTS``; what its first line says, and where more lines come. Raises RigError."""
        process = subprocess.Popen(
            [sys.executable, "-P", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._stack.callback(_end, process)
        line = process.stdout.readline()
        if not line:
            raise RigError(f"{' '.join(arguments[:3])} did not start; code {process.wait()}")
        return json.loads(line), process.stdout

    def start(self, name: str, *arguments: str, tree: Path | None = None) -> Candidate:
        """Start ``python -P ARGUMENTS``; ``tree``: a folder whose packages go before the installed ones."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=None if tree is None else {**os.environ, "PYTHONPATH": str(tree.resolve())},
            )
        self._stack.callback(_end, process)
        return Candidate(name, process, log)

    def daemon(self, sources: str, name: str, *, tree: Path | None = None) -> Candidate:
        """Start the gateway with these sources and work units (YAML), and a folder instead of an ERP."""
        home = self.folder / name
        erp = home / "erp"
        for folder in (erp / "orders", erp / "confirmations", home / "state"):
            folder.mkdir(parents=True, exist_ok=True)
        config = home / "linegate.yaml"
        config.write_text(
            f"gateway: {{ id: bench, plant: BENCH, timezone: UTC, state_dir: '{home / 'state'}' }}\n"
            f"sources:\n{sources}"
            f"connectors:\n  erp: {{ connector: file, folder: '{erp}' }}\n"
            f'mqtt: {{ host: {HOST}, port: {self.broker_port}, heartbeat: "30 s" }}\n'
        )
        return self.start(name, "-m", "gateway", "run", str(config), tree=tree)

    def _start_broker(self) -> None:
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            raise RigError("mosquitto is not installed, and a benchmark needs it: apt-get install mosquitto")
        config = self.folder / "mosquitto.conf"
        user = "user root\n" if os.geteuid() == 0 else ""
        config.write_text(
            f"listener {self.broker_port} {HOST}\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n{user}"
        )
        process = subprocess.Popen(
            [program, "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._stack.callback(_end, process)
        until(lambda: _listens(self.broker_port), "the broker listens", lambda: _alive(process, "mosquitto"))


def until(condition, what: str, check=lambda: None, timeout_s: float = START_TIMEOUT_S) -> None:
    """Wait for a condition; ``check`` may end the waiting by raising. Raises RigError."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        check()
        if time.monotonic() > deadline:
            raise RigError(f"waited {timeout_s:g} s in vain until {what}")
        time.sleep(POLL_S)


def free_port() -> int:
    """A port that nobody uses now, nor is given who asks for any."""
    for port in random.sample(QUIET_PORTS, len(QUIET_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise RigError(f"no port of {QUIET_PORTS} is free")


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _alive(process: subprocess.Popen, name: str) -> None:
    if process.poll() is not None:
        raise RigError(f"{name} ended with code {process.returncode}")


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _tree(pid: int) -> list[int]:
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                found += _tree(int(child))
    return found


def _cpu_s(pid: int) -> float:
    """utime + stime of a process; to the nanosecond where the kernel keeps the run time of each thread.

    The fine sum misses threads that have ended, the coarse one (10 ms) does not: the larger of the two is right.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    coarse = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    fine = 0.0
    for schedstat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            fine += int(schedstat.read_text().split()[0]) / 1e9
    return max(coarse, fine) if abs(coarse - fine) > 0.1 else fine


def _rollup(pid: int) -> dict[str, float]:
    """The sums of smaps_rollup, KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: float(line.split()[1]) for line in lines}
