"""SIGKILL in the middle of commits: what was acknowledged is there, and nothing is half there."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading

import pytest

from buffer.outbox import Outbox

CHILD = """
import asyncio, sys, time
from pathlib import Path
from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store

async def unit(store, name, seq):
    while True:
        seq += 1
        rows = (JournalRow(2 * seq - 1, seq, "k", b"b"), JournalRow(2 * seq, seq, "k", b"b"))
        posting = NewPosting("erp", f"{name}/{seq}", "m", name, "0010", seq, "partial", b"p" * 200, seq)
        await store.commit(Step(name, str(seq).encode(), seq, rows, (posting,)))
        sys.stdout.write(f"{name} {seq}\\n")
        sys.stdout.flush()

async def main():
    store = await Store.open(Path(sys.argv[1]), now_ns=time.time_ns, max_bytes=1 << 28)
    known = {name: int(body) for name, body in (await store.snapshots()).items()}
    async with asyncio.TaskGroup() as group:
        for name in "ABC":
            group.create_task(unit(store, name, known.get(name, 0)))

asyncio.run(main())
"""
KILLS = 6


async def test_killed_in_the_middle_of_commits(path, open_store):
    chance = random.Random(4)
    acknowledged = {"A": 0, "B": 0, "C": 0}
    for _ in range(KILLS):
        enough = sum(acknowledged.values()) + chance.randrange(20, 200)
        await asyncio.to_thread(_run_and_kill, path, acknowledged, enough)
        store = await open_store()
        outbox = Outbox(store)
        for name, body in (await store.snapshots()).items():
            kept = int(body)
            # Nothing acknowledged is lost; at most the step under way is kept without an acknowledgement.
            assert acknowledged[name] <= kept <= acknowledged[name] + 1
            acknowledged[name] = kept
            assert (await store.journal_seqs())[name] == 2 * kept
            seqs = await store.read("SELECT seq FROM journal WHERE work_unit = ? ORDER BY seq", (name,))
            assert [seq for (seq,) in seqs] == list(range(1, 2 * kept + 1))
            posted = await store.read("SELECT seq FROM outbox WHERE order_id = ? ORDER BY id", (name,))
            assert [seq for (seq,) in posted] == list(range(1, kept + 1))
        assert (await outbox.counts("erp")).waiting == sum(acknowledged.values())
        await store.close()


def _run_and_kill(path, acknowledged, enough):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        for line in child.stdout:
            name, seq = line.split()
            acknowledged[name] = int(seq)
            if sum(acknowledged.values()) >= enough:
                os.kill(child.pid, signal.SIGKILL)
                break
        for line in child.stdout:  # what was acknowledged between the decision and the kill
            if line.endswith("\n") and len(words := line.split()) == 2:
                acknowledged[words[0]] = int(words[1])
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert child.returncode == -signal.SIGKILL


async def test_the_process_ends_when_its_store_was_closed(path):
    # A forgotten connection thread would keep it alive for ever.
    script = CHILD.replace("while True:", "while seq < 3:").replace(
        "        async with asyncio.TaskGroup", "        async with asyncio.TaskGroup"
    )
    script = script.replace("asyncio.run(main())", "").replace("async def main():", "async def body(store):", 1)
    script = script.replace(
        "    store = await Store.open(Path(sys.argv[1]), now_ns=time.time_ns, max_bytes=1 << 28)\n", ""
    )
    script += """
async def main():
    async with await Store.open(Path(sys.argv[1]), now_ns=time.time_ns, max_bytes=1 << 28) as store:
        await body(store)
    print("closed")

asyncio.run(main())
"""
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("closed\n")


#: Its opening is given up when both connections stand and the reserve is still being made.
GIVEN_UP = """
import asyncio, sys, threading
from pathlib import Path
from buffer.reserve import Reserve
from buffer.store import Store

begun, goes_on = threading.Event(), threading.Event()
Reserve.make = lambda _reserve: begun.set() or goes_on.wait()

async def main():
    opening = asyncio.create_task(Store.open(Path(sys.argv[1]), now_ns=lambda: 1, max_bytes=1 << 28))
    await asyncio.to_thread(begun.wait)
    opening.cancel()
    await asyncio.wait([opening])
    goes_on.set()
    print(opening.cancelled())

asyncio.run(main())
for one in set(threading.enumerate()) - {threading.current_thread()}:
    one.join(30)  # one that was told to end may need a moment more
print(threading.active_count())
"""


async def test_an_opening_that_is_given_up_late_keeps_no_process_alive(path):
    command = [sys.executable, "-P", "-c", GIVEN_UP, str(path)]
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=90, check=False)
    assert (ended.returncode, ended.stdout) == (0, "True\n1\n"), ended.stderr


def of_connections():
    """Threads that run, without those of the event loop's pool, which stay for the next call."""
    return sum(not one.name.startswith("asyncio_") for one in threading.enumerate())


@pytest.mark.parametrize("moment", range(6))
async def test_a_cancelled_opening_leaves_no_thread(open_store, moment):
    before = of_connections()
    task = asyncio.create_task(open_store())
    for _ in range(moment * 3):
        await asyncio.sleep(0.0005)
    task.cancel()
    try:
        store = await task
    except asyncio.CancelledError:
        pass
    else:
        await store.close()
    deadline = asyncio.get_running_loop().time() + 60
    while of_connections() > before:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
