"""A daemon that is stopped in the middle of what it does in threads: it ends in order, in time, without a trace."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import signal
from pathlib import Path

import drawn_seed
import pytest

from buffer.audit_chain import ChainReader
from gateway.lock import DATABASE_NAME

STOPS = 3
SEED = drawn_seed.draw("LINEGATE_SEED")
SEEDED = f"LINEGATE_SEED={SEED}"
#: The unit file gives it 15 s, and says that it takes 10.
STOP_MAX_S = 10.0
#: Its rounds look all the time, and a copy is nearly always under way.
HASTY = """
import dataclasses, sys
from buffer import backup
from gateway.cli import main
from gateway.core.duration import Duration
from gateway.rounds import audit_round, backup_round, closing_round, store_round, trail_round

for one in (audit_round, backup_round, closing_round, store_round, trail_round):
    one.LOOK_EVERY_S = 0.02
trail_round.CHECK_EVERY_NS = 0
backup.PAGES_AT_ONCE, backup.PAUSE_S = 1, 0.01
configure = backup_round.BackupRound.configure
def due(self, settings):
    configure(self, settings)
    self._rule = dataclasses.replace(self._rule, every=Duration("1 s"), keep=2)
backup_round.BackupRound.configure = due
sys.exit(main(["run", *sys.argv[1:]]))
"""
#: Its event loop stands still at a signal; whatever other threads still do they do to its end.
HANGS = """
import signal, sys, time
from gateway.cli import main

def hang(*_):
    print("it hangs", file=sys.stderr, flush=True)
    time.sleep(600)

signal.signal(signal.SIGUSR1, hang)
sys.exit(main(["run", *sys.argv[1:]]))
"""
FORBIDDEN = re.compile(
    r"Traceback|Fatal Python error|never awaited|was destroyed|never retrieved|Exception in|loop is closed|exc_type"
)
ASKED = ("/v1/states?machine=M-1&sums=true", "/v1/audit", "/v1/stops?machine=M-1", "/v1/changes?wait=20", "/v1/days")


@pytest.fixture
async def box(plant, port_for_later):
    """A gateway with everything that works in threads, at nothing: no device, no broker, no ERP answers."""
    (plant.folder / "copies").mkdir()
    document = plant.document
    document["sources"] = {
        "plc": {"driver": "digital_io", "pins": "simulated", "signals": {"good": {"pin": 17, "telemetry": True}}}
    }
    document["work_units"] = {
        "M-1": {"work_center": "WC-1", "counters": [{"mode": "pulse", "signal": "plc.good"}]},
    }
    document["buffer"] = {"backup": {"folder": str(plant.folder / "copies")}}
    document["gateway"]["anchor_file"] = str(plant.folder / "anchors.txt")
    document["api"] = {"port": port_for_later(), "requests_per_minute": 6000}
    plant.broker = True
    return plant


async def running(box, until, **how):
    daemon = await box.run(**how)
    await until(lambda: '"running"' in daemon.text() or daemon.process.returncode is not None, "the start")
    assert daemon.process.returncode is None, daemon.text()[-3000:]
    return daemon


async def stopped(daemon):
    """It ended in order and in time, and nothing in its log speaks of a defect."""
    code, took_s = await daemon.stop()
    text = daemon.text()
    found = FORBIDDEN.search(text)
    assert found is None, (SEEDED, text[max(found.start() - 300, 0) : found.end() + 3000])
    assert code == 0, (SEEDED, text[-3000:])
    assert took_s < STOP_MAX_S, SEEDED
    return text


async def hang_up(port, token, rng):
    """Ask, and go before the answer is there, again and again."""
    head = f"HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
    while True:
        with contextlib.suppress(OSError):
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {rng.choice(ASKED)} {head}".encode())
            await asyncio.sleep(rng.random() * 0.02)
            writer.transport.abort()
        await asyncio.sleep(0.01)


async def token_of(box):
    place = ("--role", "supervisor", "-d", box.state_dir)
    code, _out, err = await box.cli("user", "add", "ann", "--full-name", "Ann B", *place)
    assert code == 0, err
    code, out, err = await box.cli("user", "token", "ann", *place)
    assert code == 0, err
    return re.search(r"lg_\S+", out).group()


async def test_stopped_at_any_moment_it_ends_in_order_and_leaves_no_trace(box, until):
    rng, token = random.Random(SEED), ""
    for number in range(STOPS):
        daemon = await running(box, until, launcher=("-c", HASTY))
        token = token or await token_of(box)
        asking = [asyncio.create_task(hang_up(box.document["api"]["port"], token, rng)) for _ in range(2)]
        await asyncio.sleep(rng.random() * 0.7)  # the moment that is drawn
        if number % 2:
            daemon.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(rng.random() * 0.05)
        try:
            text = await stopped(daemon)
        finally:
            for one in asking:
                one.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        assert '"stopping"' in text
        with ChainReader.open(box.state_dir / DATABASE_NAME) as reader:
            last = reader.newest(1)[0].content
        assert (last.action, last.detail) == ("gateway_stopped", "in order"), SEEDED


def held(pipe):
    """The end of a pipe for which somebody waits at the other one; None while nobody does."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


async def test_it_ends_though_files_on_other_disks_never_answer(box, until):
    """The anchor file and then the configuration are such that reading never ends, as on a server that is gone."""
    anchors = box.folder / "anchors.txt"
    os.mkfifo(anchors)
    daemon = await running(box, until)
    ends = [await until(lambda: held(anchors), "the anchor file to be read")]
    os.mkfifo(box.folder / "pipe")
    (box.folder / "pipe").replace(box.config)
    daemon.process.send_signal(signal.SIGHUP)
    ends.append(await until(lambda: held(box.config), "the configuration to be read"))
    try:
        await stopped(daemon)
    finally:
        for one in ends:
            os.close(one)


def rest_of(daemon):
    """Function: whether each of its threads sleeps, and none has run since the look before."""
    last = {}

    def rests():
        nonlocal last
        before, last = last, {}
        with contextlib.suppress(OSError):  # one has just ended
            last = {one: (one / "status").read_text() for one in Path(f"/proc/{daemon.process.pid}/task").iterdir()}
        return bool(last) and last == before and all("\tS (sleeping)\n" in text for text in last.values())

    return rests


async def test_a_crash_says_at_which_line_every_thread_was(box, until):
    """As when the service manager ends one whose event loop hangs. A thread that runs meanwhile may spoil the list."""
    daemon = await running(box, until, launcher=("-c", HANGS))
    daemon.process.send_signal(signal.SIGUSR1)
    await until(lambda: "it hangs" in daemon.text(), "the event loop to hang")
    await until(rest_of(daemon), "the other threads to come to rest")
    daemon.process.send_signal(signal.SIGABRT)
    code, text = await daemon.ended(), daemon.text()
    assert code == -signal.SIGABRT, text[-3000:]
    assert "Fatal Python error: Aborted" in text
    assert re.search(r"in hang\n.*asyncio/base_events.py", text, re.DOTALL)
    assert text.count("hread 0x") > 1
