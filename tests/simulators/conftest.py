"""Starts simulators as what they are in the field: processes of their own, known by their ready line."""

import contextlib
import json
import queue
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import warm

ROOT = Path(__file__).resolve().parents[2]
ANSWER_S = 60.0
EXIT_S = 60.0
SILENCE_S = 0.3


class Simulator:
    def __init__(self, *arguments, truth=None, stderr=False):
        options = [] if truth is None else ["--truth", str(truth)]
        self.truth_file = truth
        self.process = warm.Popen(
            [sys.executable, "-P", "-m", "simulators", *map(str, arguments), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines = queue.Queue()
        self._errors = []
        self._listener = threading.Thread(target=self._hear) if stderr else None
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        if self._listener is not None:
            self._listener.start()
        try:
            self.ready = self.answer()
            assert self.ready["ready"] is True
        except BaseException:
            self.close()
            raise
        self.port = self.ready.get("port")

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _hear(self):
        for line in self.process.stderr:
            self._errors.append(line)

    def errors(self):
        return list(self._errors)

    def answer(self):
        line = self._lines.get(timeout=ANSWER_S)
        assert line is not None, "ended without an answer: " + self.process.stderr.read()
        return json.loads(line)

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, line):
        self.say(line)
        return self.answer()

    def do(self, line):
        answer = self.ask(line)
        assert answer["ok"] is True, answer
        return answer

    def truth(self, event=None):
        # The machine may be in the middle of a line: what has no end yet is not said yet.
        lines = [json.loads(line) for line in self.truth_file.read_text().splitlines(keepends=True) if line[-1] == "\n"]
        return [line for line in lines if event is None or line["event"] == event]

    def wait_exit(self):
        return self.process.wait(timeout=EXIT_S)

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(timeout=EXIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join()
        if self._listener is not None:
            self._listener.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


@pytest.fixture
def simulator():
    """A factory of running simulators; all are ended after the test."""
    running = []

    def start(*arguments, **options):
        running.append(Simulator(*arguments, **options))
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture(scope="module")
def long_simulator():
    """The same for a whole file: for simulators that take long to start."""
    running = []

    def start(*arguments, **options):
        running.append(Simulator(*arguments, **options))
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def eventually():
    """Wait until a condition holds; its last value is returned."""

    def wait(condition, what="the condition", seconds=60.0):
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
            time.sleep(0.005)
        return value

    return wait


@pytest.fixture
def root():
    return ROOT


class Wire:
    """A client that sees bytes."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S)
        self.transaction = 0

    def ask(self, function, address, count, unit=1):
        self.transaction += 1
        self.sock.sendall(struct.pack(">HHHBBHH", self.transaction, 0, 6, unit, function, address, count))

    def request(self, pdu, unit=1):
        """Send any request, return the answer without its header."""
        self.transaction += 1
        self.sock.sendall(struct.pack(">HHHB", self.transaction, 0, len(pdu) + 1, unit) + pdu)
        return self.frame()[7:]

    def frame(self):
        header = self._exactly(6)
        return header + self._exactly(struct.unpack(">H", header[4:])[0])

    def holding(self, address, count):
        self.ask(3, address, count)
        frame = self.frame()
        assert frame[:8] == struct.pack(">HHHBB", self.transaction, 0, 3 + 2 * count, 1, 3)
        return list(struct.unpack(f">{count}H", frame[9:]))

    def silent(self):
        self.sock.settimeout(SILENCE_S)
        try:
            return not self.sock.recv(1)
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(ANSWER_S)

    def closed(self):
        try:
            return self.sock.recv(1) == b""
        except ConnectionError:
            return True

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            assert more, f"closed after {data!r}"
            data += more
        return data


@pytest.fixture
def wire():
    opened = []

    def connect(port):
        opened.append(Wire(port))
        return opened[-1]

    yield connect
    for one in opened:
        one.sock.close()
