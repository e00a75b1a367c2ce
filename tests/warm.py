"""Processes of the command line and of the simulators that need not load their libraries: a loaded one is forked.

``Popen`` and ``run`` are those of ``subprocess`` for ``[sys.executable, "-P", "-m", "gateway", ...]``: a process of
its own with its own streams, folder, environment, signals and exit status, a child of the test like any other. Only the
start of the interpreter and the imports are done once a worker.
What cannot be had that way starts cold by itself: another program, an environment that the interpreter itself reads
(``PYTHON...``, ``LD_PRELOAD``, ``LANG``), ``preexec_fn``.

It does not replace ``subprocess`` where the start itself is the matter: what is imported when, memory, time to start.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import importlib.util
import io
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

MODULES = ("gateway", "simulators")
#: What a word and what a daemon of the tests import, in the order in which the program itself would.
LOADED = ("gateway.cli", "gateway.app", "gateway.alerts", "gateway.api.server", "config.loader")
#: Those that most tests start; the others load what they need by themselves.
SIMULATORS = {
    "asm-01": "simulators.modbus_server",
    "imm-01": "simulators.opcua_server",
    "fil-02": "simulators.opcua_filler",
    "tst-01": "simulators.tst_01",
    "pck-01": "simulators.digital_io",
    "erp": "simulators.erp.server",
    "broker": "simulators.broker",
}
#: What a configuration names, and the module that a daemon with it imports, where it is one of the bundled ones.
NAMED = {"driver": "drivers.{}.driver", "connector": "gateway.connectors.{}.connector"}
#: What their libraries import when they are used first.
AT_FIRST_USE = ("httpcore", "anyio._backends._asyncio", "certifi")
CONFIG = re.compile(r"\b(driver|connector): [\"']?(\w+)")
#: What the interpreter reads before any code of ours runs: a fork would not see it.
READ_AT_START = ("PYTHON", "LD_", "LANG", "LC_", "MALLOC_", "GLIBC_")
#: One request: arguments and a whole environment.
REQUEST_BYTES_MAX = 128 * 1024
PR_SET_CHILD_SUBREAPER = 36
#: How often the loaded interpreter looks whether its test is still there.
PARENT_LOOK_S = 5.0


class _Streams(NamedTuple):
    stdin: int
    stdout: int
    stderr: int


class Popen(subprocess.Popen):
    """``subprocess.Popen`` that forks a loaded interpreter where that is the same."""

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest):
        (
            _info,
            _flags,
            shell,
            p2cread,
            p2cwrite,
            c2pread,
            c2pwrite,
            errread,
            errwrite,
            _restore,
            *who,
            session,
            _group,
        ) = rest
        words = [os.fsdecode(word) for word in args] if isinstance(args, (list, tuple)) else []
        env = dict(os.environ if env is None else env)
        plain = executable is None and preexec_fn is None and not pass_fds and not shell
        of_ours = words[:3] == [sys.executable, "-P", "-m"] and len(words) > 3 and words[3] in MODULES
        if not (plain and of_ours and _same_start(env) and all(one in (None, -1) for one in who)):
            super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest)
            return
        streams = _Streams(*(own if given == -1 else given for own, given in enumerate((p2cread, c2pwrite, errwrite))))
        asked = {"words": words[3:], "env": env, "cwd": os.fspath(cwd or Path.cwd()), "session": bool(session)}
        self.pid = _loaded().fork(asked, streams)
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)


def run(args, *, input=None, capture_output=False, timeout=None, check=False, **options):  # noqa: A002 - as subprocess.run
    """``subprocess.run`` by way of ``Popen``."""
    if input is not None:
        options["stdin"] = subprocess.PIPE
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Popen(args, **options) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    ended = subprocess.CompletedProcess(args, process.returncode, out, err)
    if check:
        ended.check_returncode()
    return ended


def _same_start(env):
    mine = {name: text for name, text in os.environ.items() if name.startswith(READ_AT_START)}
    return mine == {name: text for name, text in env.items() if name.startswith(READ_AT_START)}


class _Loaded:
    """The interpreter that is forked; it ends with this process."""

    def __init__(self):
        self._one_at_a_time = threading.Lock()
        # Its grandchildren become children of this process, which can wait for them like for its own.
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
        self._mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

        atexit.register(self.close, os.getpid())

    def close(self, owner):
        """End with the process that started it, not with one of its forks."""
        if os.getpid() == owner:
            self._mine.close()
            self.process.wait()

    def fork(self, asked, streams):
        """Pid of a process that runs what was asked."""
        with self._one_at_a_time:
            socket.send_fds(self._mine, [json.dumps(asked).encode()], list(streams))
            answer = self._mine.recv(64)
        assert answer, f"the loaded interpreter ended with {self.process.wait()}"
        return int(answer)


_STARTED = {}
_STARTING = threading.Lock()


def _loaded():
    with _STARTING:  # by pid: a fork of this process has its own
        if os.getpid() not in _STARTED:
            _STARTED[os.getpid()] = _Loaded()
        return _STARTED[os.getpid()]


# --- the loaded interpreter ------------------------------------------------------------------------------------------


def serve(link):
    """Fork for every request; returns in each child with what it has to run. Ends with the process that started it."""
    parent = os.getppid()
    link.settimeout(PARENT_LOOK_S)
    while True:
        try:
            data, streams, _flags, _address = socket.recv_fds(link, REQUEST_BYTES_MAX, 3)
        except TimeoutError:  # a fork of a test that was killed may still hold the other end
            if os.getppid() != parent:
                os._exit(0)
            continue
        if not data:
            os._exit(0)
        _load_for(json.loads(data))
        told, tell = os.pipe()
        between = os.fork()
        if between == 0:
            # The one in between ends at once, so that the process becomes a child of the test.
            pid = os.fork()
            if pid:
                os.write(tell, str(pid).encode())
                os._exit(0)
            for fd in (told, tell):
                os.close(fd)
            link.close()
            return json.loads(data), _Streams(*streams)
        for fd in (tell, *streams):
            os.close(fd)
        os.waitpid(between, 0)
        link.send(os.read(told, 64))
        os.close(told)


def _load_for(asked):
    """What a simulator or a daemon loads, once one of its kind is asked for: that of OPC UA takes half a second."""
    match asked["words"]:
        case ["simulators", name, *_]:
            _import(SIMULATORS.get(name))
        case ["gateway", "run", path]:
            with contextlib.suppress(OSError, UnicodeDecodeError):  # the daemon says what is wrong with the file
                _load_for_daemon(Path(asked["cwd"], path).read_text(encoding="utf-8"))


def _load_for_daemon(text):
    """Drivers, connectors and grammar of a configuration; what is written in another way the daemon loads by itself."""
    from config import loader
    from gateway import plugins

    named, known = set(CONFIG.findall(text)), {"driver": plugins.drivers(), "connector": plugins.connectors()}
    used = {kind: {name: one for name, one in types.items() if (kind, name) in named} for kind, types in known.items()}
    for kind, types in used.items():
        for name in types:
            _import(NAMED[kind].format(name))
    for name in AT_FIRST_USE:
        _import(name)
    if all(used.values()):
        loader._grammar(*used.values())


def _import(module):
    if module is not None and module not in sys.modules and importlib.util.find_spec(module) is not None:
        importlib.import_module(module)
        gc.collect()
        gc.freeze()


def become(asked, streams):
    """Streams, folder and environment as a program finds them that was started."""
    if asked["session"]:
        os.setsid()
    for own, given in enumerate(streams):
        os.dup2(given, own)
    for given in streams:
        os.close(given)
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    os.chdir(asked["cwd"])
    sys.stdin = sys.__stdin__ = open(0, encoding=sys.__stdin__.encoding, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = _writer(1, sys.__stdout__)
    sys.stderr = sys.__stderr__ = _writer(2, sys.__stderr__)
    sys.stderr.reconfigure(line_buffering=True)


def _writer(fd, before):
    return io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(fd, "w", closefd=False)),
        before.encoding,
        before.errors,
        line_buffering=os.isatty(fd),
    )


def _nothing():
    """What was loaded has been looked through once, before the fork: a daemon need not do so again."""


def main(number):
    """Load everything, then fork as long as the test runs."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from gateway import plugins
    from gateway.cli import COMMANDS

    sys.path.append(str(Path(__file__).parent))
    import grammars

    sys.path.pop()
    grammars.remember()
    for name in LOADED:
        importlib.import_module(name)
    for command in COMMANDS.values():
        importlib.import_module(f"gateway.cli.{command}")
    plugins.drivers()
    plugins.connectors()
    gc.collect()
    gc.freeze()
    asked, streams = serve(socket.socket(fileno=number))
    become(asked, streams)
    gc.unfreeze = _nothing
    module, *words = asked["words"]
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
