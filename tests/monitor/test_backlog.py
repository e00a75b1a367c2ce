"""Events for the broker outlive it and the gateway; they are bounded, and nothing of theirs touches a confirmation."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time

import new_database
import pytest

from buffer import telemetry
from buffer.errors import StoreError
from buffer.store import Store
from buffer.telemetry import FILE_NAME, StoredEvent, TelemetryStore, figures_of_file
from gateway.monitor.backlog import Backlog
from gateway.shown.machine_events import AttentionEvent

S = 1_000_000_000
MIB = 1024 * 1024
TOPIC = "linegate/gw/machine/{}/attention"
WRITER = """
import asyncio, sys, time
from pathlib import Path
from gateway.shown.machine_events import AttentionEvent
from gateway.monitor import Monitor, MonitorSettings
from buffer.telemetry import TelemetryStore
from gateway.shown.status import ClockView

async def main(path, port, first):
    shelf = TelemetryStore(Path(path), max_bytes=1 << 24, max_age_ns=0)
    known = ClockView(quality="trusted", known=True, since_ns=0, utc_offset_ms=0, offset_ms=0)
    monitor = Monitor(MonitorSettings(host="127.0.0.1", port=port), gateway_id="gw", version="1", now_ns=time.time_ns,
        utc_ns=lambda at_ns: at_ns, clock=lambda: known, shelf=shelf, last_number=shelf.open())
    task = asyncio.create_task(monitor.run())
    for number in range(first, first + 60):
        since_ns = number * 1_000_000
        monitor.machine_event(AttentionEvent(work_unit=f"M{number % 3}", what="x", at_ns=0, since_ns=since_ns))
    while monitor.event_figures().stored < first + 60:
        await asyncio.sleep(0.01)
    print("kept", flush=True)
    await asyncio.sleep(60)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""

#: A call waits for the file's lock, which another connection holds; meanwhile the file is closed; then the lock goes.
CLOSED_UNDER_A_CALL = """
import sqlite3, sys, threading, time
from pathlib import Path
from buffer import telemetry
from buffer.telemetry import StoredEvent, TelemetryStore

telemetry._PRAGMAS += ("PRAGMA busy_timeout=60000",)  # however long a slow computer leaves the lock with the other
path = Path(sys.argv[1])
shelf = TelemetryStore(path, max_bytes=1 << 24, max_age_ns=0)
shelf.open()
shelf.add([StoredEvent(number, 1, "M1", "t", b"x") for number in range(20)])
other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
for _ in range(20):
    other.execute("BEGIN IMMEDIATE")
    call = threading.Thread(target=shelf.remove, args=(range(20), 1))
    call.start()
    while shelf._one_at_a_time.acquire(blocking=False):  # the call has not begun
        shelf._one_at_a_time.release()
        time.sleep(0.001)
    close = threading.Thread(target=shelf.close)
    close.start()
    close.join(0.02)
    assert close.is_alive(), "closed under the call"
    other.execute("ROLLBACK")
    call.join()
    close.join()
print("sent", shelf.figures().sent)
shelf.close()
"""


def attention(machine, number):
    return AttentionEvent(work_unit=machine, what="x", at_ns=0, since_ns=number * 1_000_000)


def stored(first, last, size=400, lane="M1", at_ns=0):
    return [StoredEvent(number, at_ns or number, lane, "t", b"x" * size) for number in range(first, last)]


@contextlib.contextmanager
def small_disk(folder):
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=False).returncode:
        pytest.skip("a file system cannot be mounted here (it needs root)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def shelf(tmp_path):
    made = []

    def open_shelf(max_bytes=16 * MIB, max_age_ns=0, folder=tmp_path):
        made.append(TelemetryStore(folder / FILE_NAME, max_bytes=max_bytes, max_age_ns=max_age_ns))
        return made[-1]

    yield open_shelf
    for one in made:
        one.close()


# --- the file ---


def test_over_budget_the_oldest_are_gone_and_counted(shelf, tmp_path):
    kept = shelf(max_bytes=MIB)
    kept.open()
    kept.add(stored(1, 6001))
    found = kept.figures()
    waiting = [one.number for one in kept.page(0, 10_000)]
    assert waiting == list(range(6001 - len(waiting), 6001)), "the youngest, without a gap"
    assert len(waiting) > 1000
    assert found.waiting + found.evicted == 6000 == found.stored
    assert found.used_bytes <= MIB
    assert (tmp_path / FILE_NAME).stat().st_size <= MIB, "it can never fill the card"
    kept.add(stored(6001, 6002, size=MIB // 4))
    assert kept.page(6000, 1)[0].number == 6001, "a large one finds room, too"


def test_what_is_too_old_goes_by_its_age(shelf):
    kept = shelf(max_age_ns=100)
    kept.open()
    kept.add(stored(1, 11, at_ns=1000) + stored(11, 21, at_ns=2000))
    assert kept.evict_old(1150) == 10
    assert (kept.figures().waiting, kept.figures().evicted_age) == (10, 10)


def test_space_is_given_back_when_the_backlog_is_gone(shelf, tmp_path):
    kept = shelf()
    kept.open()
    kept.add(stored(1, 5001))
    full = kept.figures().used_bytes
    for first in range(1, 5001, 100):
        kept.remove(range(first, first + 100), 100)
    kept.close()
    assert (tmp_path / FILE_NAME).stat().st_size < full / 4
    assert kept.open() == 5000, "numbers go on for ever"
    assert kept.figures().sent == 5000


@pytest.mark.parametrize("spoil", ["garbage", "middle", "version"])
def test_a_spoiled_file_is_made_anew_and_that_is_said(shelf, tmp_path, spoil):
    first = shelf()
    first.open()
    first.add(stored(1, 2001))
    first.close()
    path = tmp_path / FILE_NAME
    if spoil == "version":
        with sqlite3.connect(path) as link:
            link.execute("PRAGMA user_version=99")
        link.close()
    else:
        with path.open("r+b") as file:
            file.seek(0 if spoil == "garbage" else 8192)
            file.write(os.urandom(100_000))
    again = shelf()
    assert again.open() == 0
    assert "is made anew" in again.made_anew
    again.add(stored(1, 3))
    assert again.figures().waiting == 2


def test_a_file_that_goes_bad_while_it_is_used_is_made_anew(shelf, tmp_path):
    kept = shelf()
    kept.open()
    kept.add(stored(1, 9001))  # more than its cache holds
    kept.close()
    kept.open()
    with (tmp_path / FILE_NAME).open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(2_000_000))
    with pytest.raises(StoreError, match="malformed"):
        kept.page(0, 9000)
    kept.add(stored(9500, 9501))
    assert kept.made_anew
    assert [one.number for one in kept.page(0, 10)] == [9500]


def test_closed_under_a_call_that_still_writes(tmp_path):
    """In a process of its own: a connection that is closed under a statement ends it with a segmentation fault."""
    command = [sys.executable, "-P", "-X", "faulthandler", "-c", CLOSED_UNDER_A_CALL, str(tmp_path / FILE_NAME)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "sent 20\n"), done.stderr


async def test_ended_in_the_middle_of_a_write_it_counts_once(shelf, tmp_path, until, monkeypatch):
    monkeypatch.setattr(telemetry, "_PRAGMAS", (*telemetry._PRAGMAS, "PRAGMA busy_timeout=60000"))
    kept = shelf()
    backlog = Backlog(kept, now_ns=time.time_ns, per_second=100, wake=lambda: None, last_number=kept.open())
    running = asyncio.create_task(backlog.run())
    backlog.put("M1", "t", b"1")
    await until(lambda: backlog.figures().stored == 1)
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    with contextlib.closing(other):
        other.execute("BEGIN IMMEDIATE")
        backlog.put("M1", "t", b"2")
        await until(lambda: backlog._writing)
        backlog.end()
        other.execute("ROLLBACK")
    await running
    await backlog.close()
    found = figures_of_file(tmp_path / FILE_NAME)
    assert (found.stored, found.waiting) == (2, 2)


def test_of_a_stopped_gateway_the_figures_are_in_the_file(shelf, tmp_path):
    kept = shelf()
    kept.open()
    kept.add(stored(1, 6))
    kept.close()
    found = figures_of_file(tmp_path / FILE_NAME)
    assert (found.waiting, found.stored, found.max_bytes) == (5, 5, 16 * MIB)
    assert figures_of_file(tmp_path / "none.db") is None


async def test_on_a_full_device_confirmations_go_on(shelf, tmp_path, until):
    """Its file is on a small tmpfs, the database is elsewhere: what is committed there does not even get slower."""
    with small_disk(tmp_path / "small") as folder:
        kept = shelf(folder=folder)
        backlog = Backlog(kept, now_ns=time.time_ns, per_second=100, wake=lambda: None, last_number=kept.open())
        running = asyncio.create_task(backlog.run())
        async with await Store.open(
            new_database.at(tmp_path / "linegate.db"), now_ns=lambda: 1, max_bytes=64 * MIB
        ) as store:
            for number in range(3000):
                backlog.put("M1", "t", b"x" * 400)
                if not number % 100:
                    await store.set_cursor("erp", str(number))
            await until(lambda: backlog.error)
            await store.set_cursor("erp", "after")
            assert await store.cursor("erp") == "after"
        assert "disk is full" in backlog.error
        assert backlog.dropped > 500, "what does not fit into memory either is counted"
        backlog.end()
        await running
        kept.close()


# --- the order ---


async def test_what_waits_holds_up_no_other_machine_and_is_overtaken_by_none_of_its_own(until):
    now_ns = [0]
    backlog = Backlog(None, now_ns=lambda: now_ns[0], per_second=10, wake=lambda: None)
    running = asyncio.create_task(backlog.run())
    for number in range(20):
        backlog.put("M1", "t", b"%d" % number)
    backlog.link_up()
    await until(lambda: backlog.next_ns() is not None)
    backlog.put("M2", "t", b"live")
    backlog.put("M1", "t", b"20")
    assert backlog.take().payload == b"live", "a machine without a backlog does not wait for that of another"
    told = []
    for _ in range(200):
        if (event := backlog.take()) is None:
            now_ns[0] += S // 100
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            continue
        told.append((now_ns[0], int(event.payload)))
        backlog.acknowledged(event.number)
    assert [number for _, number in told] == list(range(len(told)))
    await until(lambda: backlog.take() is None or True)
    assert len(told) >= 10
    assert told[-1][0] - told[0][0] >= (len(told) - 1) * S // 10, "paced"
    running.cancel()


async def test_what_was_not_acknowledged_is_told_again_in_order(until, shelf):
    kept = shelf()
    backlog = Backlog(kept, now_ns=time.time_ns, per_second=10_000, wake=lambda: None, last_number=kept.open())
    running = asyncio.create_task(backlog.run())
    told = []

    def drain(acknowledge=lambda _number: True):
        while (event := backlog.take()) is not None:
            told.append(int(event.payload))
            if acknowledge(event.number):
                backlog.acknowledged(event.number)
        return not backlog.waiting

    backlog.link_up()
    for number in range(30):
        backlog.put("M1", "t", b"%d" % number)
    await until(lambda: (drain(lambda number: number <= 5), len(told) >= 10)[1])
    backlog.link_down()
    told.clear()
    backlog.put("M1", "t", b"30")
    await until(lambda: backlog.figures().stored >= 20)
    backlog.link_up()
    await until(lambda: drain() and len(told) >= 26)
    assert told == list(range(5, 31))
    backlog.end()
    await running
    await backlog.close()
    assert kept.open() == 31
    assert kept.figures().waiting == 0, "deleted once the broker had it"


# --- with a broker ---


async def test_events_survive_a_broker_that_is_away_and_sigkill(
    mosquitto, watch, monitor_on, until, shelf, tmp_path, port_for_later
):
    nobody = port_for_later()
    for first in (0, 60):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-c", WRITER, str(tmp_path / FILE_NAME), str(nobody), str(first),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert await process.stdout.readline() == b"kept\n"
        process.kill()
        await process.wait()
    broker = mosquitto()
    watcher = watch(broker.port)
    await until(lambda: watcher.subscribed)
    kept = shelf()
    monitor = monitor_on(broker.port, shelf=kept, last_number=kept.open())
    monitor.machine_event(attention("M0", 120))
    await until(lambda: sum(len(watcher.messages[TOPIC.format(f"M{one}")]) for one in range(3)) == 121)
    for one in range(3):
        numbers = [message["since"] for message, _ in watcher.messages[TOPIC.format(f"M{one}")]]
        assert numbers == list(range(one, 120 + (one == 0), 3)), "in the order of the machine, the new one last"
    await until(lambda: monitor.event_figures().waiting == 0)
    assert monitor.event_figures().sent == 121


async def test_a_frozen_broker_blocks_nothing_and_loses_nothing(mosquitto, watch, monitor_on, until, shelf):
    broker = mosquitto()
    kept = shelf()
    monitor = monitor_on(broker.port, shelf=kept, last_number=kept.open())
    await until(lambda: monitor.view().connected)
    broker.process.send_signal(signal.SIGSTOP)
    for number in range(500):
        monitor.machine_event(attention("M1", number))
    await until(lambda: monitor.event_figures().stored >= 400)
    broker.kill()
    broker.start()
    watcher = watch(broker.port)
    await until(lambda: watcher.subscribed)
    await until(lambda: monitor.event_figures().waiting == 0)
    await until(lambda: (watcher.last(TOPIC.format("M1")) or {}).get("since") == 499)  # it hears in a thread of its own
    numbers = [message["since"] for message, _ in watcher.messages[TOPIC.format("M1")]]
    assert numbers == sorted(numbers)
    assert monitor.view().events_dropped == 0
