"""The service manager's view of a real daemon: ready when it runs, fed while it gets on, starved when it hangs."""

from __future__ import annotations

import contextlib
import socket
import sqlite3

import pytest

#: Runs the daemon with a limit of 2 s instead of 30 s for a work unit without progress: nothing else is changed.
IMPATIENT = (
    "-c",
    """
import sys
import gateway.build
from gateway.cli import main
gateway.build.RUNNER_STALL_NS = 2_000_000_000
sys.exit(main(["run", sys.argv[1]]))
""",
)


class Manager:
    """The receiving end of NOTIFY_SOCKET, remembering all it heard."""

    def __init__(self, address):
        self._link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._link.bind(address)
        self._link.setblocking(False)
        self.heard = []

    def listen(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard.append(self._link.recv(4096).decode())
        return self.heard

    def fed(self):
        return self.listen().count("WATCHDOG=1")

    def forget(self):
        self.listen()
        self.heard = []

    def close(self):
        self._link.close()


@pytest.fixture
async def line(plant):
    address = str(plant.folder / "notify")
    plant.manager = Manager(address)
    plant.watched = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "600000"}
    plant.keep("ASM-01")
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01")
    yield plant
    plant.manager.close()


async def test_ready_when_it_runs_fed_while_it_gets_on_stopping_at_the_end(line, until):
    manager = line.manager
    await line.run(env=line.watched)
    await until(manager.listen, "the first message")
    # The very first message is that it is ready, and whoever waits for that can ask it at once.
    assert manager.heard[0].splitlines()[0] == "READY=1"
    assert (await line.ask("status"))["pid"] == line.daemon.pid
    assert sum(text.startswith("READY=1") for text in manager.heard) == 1
    await until(lambda: manager.fed() >= 4, "the watchdog to be fed")
    await line.daemon.stop()
    assert "STOPPING=1" in manager.listen()
    assert sum(text.startswith("READY=1") for text in manager.heard) == 1


async def test_a_gateway_that_cannot_start_never_says_that_it_is_ready(line):
    await line.run()
    await line.ready()
    second = await line.run(env=line.watched)
    assert await second.ended() == 1
    assert line.manager.listen() == []


async def test_ready_although_neither_the_plc_nor_the_erp_is_there(line, until):
    await line.machines["ASM-01"].stop()
    await line.erp.stop()
    await line.run(env=line.watched)
    await until(line.manager.listen, "a message")
    assert line.manager.heard[0].startswith("READY=1")
    await until(lambda: line.manager.fed() >= 4, "the watchdog to be fed: a machine that is off is no hang")


def stalls(manager):
    """Where in what was heard the stall is told."""
    return [at for at, text in enumerate(manager.listen()) if "work unit ASM-01: no progress" in text]


def starves(manager):
    """Whether the stall was told four times without a feed in between."""
    told = stalls(manager)
    return len(told) >= 4 and "WATCHDOG=1" not in manager.heard[told[-4] : told[-1]]


async def test_the_watchdog_starves_while_a_work_unit_hangs_and_is_fed_again_afterwards(line, until):
    """Another program holds the database's write lock, so that the commit of ASM-01 does not return."""
    manager = line.manager
    await line.run(env=line.watched, launcher=IMPATIENT)
    await line.ready()
    await line.produce()
    await line.status_where(lambda view: view["targets"][0]["posted"], "a booking")
    blocker = sqlite3.connect(line.state_dir / "linegate.db", isolation_level=None, timeout=60)
    try:
        blocker.execute("BEGIN IMMEDIATE")
        manager.forget()  # a computer that stood still was a stall of its own, which may have been over in between
        await until(lambda: starves(manager), lambda: f"the stall to be told, with every turn: {manager.heard}")
        manager.forget()
        blocker.execute("ROLLBACK")
        await until(lambda: manager.fed() >= 2, "the watchdog to be fed again")
        assert "STATUS=all parts get on again" in manager.heard
    finally:
        blocker.close()
    await line.halt()
    result = await line.arrived()
    assert result.balanced, result.to_json()
