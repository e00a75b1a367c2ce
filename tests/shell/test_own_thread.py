"""A call that never returns holds up nobody: not the next one of others, not the end of the process."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref
from functools import partial

import pytest

from gateway import own_thread
from gateway.own_thread import Turns

#: Opens a pipe at whose other end nobody is, gives it up, and comes to its end. The word says when that is.
GIVEN_UP = """
import asyncio, sys
from functools import partial
from gateway import own_thread

async def main():
    asyncio.get_running_loop().slow_callback_duration = 600  # a slow computer is no defect
    asking = asyncio.create_task(own_thread.run(partial(open, sys.argv[1]), "pipe"))
    await asyncio.wait([asking], timeout=0.1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    print("given up" if asking.cancelled() else asking)

asyncio.run(main())
"""
#: The call ends when nobody is there any more to be told.
TOLD_NOBODY = """
import asyncio, threading
from gateway import own_thread

goes_on, ended = threading.Event(), threading.Event()

def call():
    goes_on.wait()
    ended.set()
    return 1 / 0

async def main():
    asyncio.get_running_loop().slow_callback_duration = 600  # a slow computer is no defect
    own_thread.begin(call, "late")

asyncio.run(main())
threads = [one for one in threading.enumerate() if one.name == "late"]
goes_on.set()
threads[0].join()
print("ended", ended.is_set())
"""


def run(script, *arguments):
    command = [sys.executable, "-P", "-X", "dev", "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_process_ends_though_a_call_never_does(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    done = run(GIVEN_UP, tmp_path / "pipe")
    assert (done.returncode, done.stdout, done.stderr) == (0, "given up\n", "")


def test_a_call_that_ends_after_the_loop_leaves_no_trace():
    done = run(TOLD_NOBODY)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended True\n", "")


async def test_what_a_call_raises_is_told():
    with pytest.raises(ZeroDivisionError):
        await own_thread.run(lambda: 1 // 0, "one")
    assert await own_thread.run(lambda: threading.current_thread().name, "one") == "one"


async def test_a_system_without_threads_is_a_disk_that_does_not_answer(monkeypatch):
    def none(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    with pytest.raises(OSError, match=r"no thread for it .can't start new thread.: the machine has too many"):
        await own_thread.run(int, "one")


async def test_one_that_was_given_up_is_waited_for_before_the_next():
    turns, goes_on, begun = Turns("one"), threading.Event(), []

    def call(number):
        begun.append(number)
        assert goes_on.wait(60)
        return number

    first = asyncio.create_task(turns.run(partial(call, 1)))
    async with asyncio.timeout(60):
        while not begun:  # noqa: ASYNC110 - it is set in a thread
            await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    others = [asyncio.create_task(turns.run(partial(call, number))) for number in (2, 3)]
    await asyncio.wait(others, timeout=0.1)
    assert begun == [1]
    goes_on.set()
    assert await asyncio.gather(*others) == [2, 3]
    assert begun == [1, 2, 3]


class Found:
    """Something large."""


async def test_what_a_call_finds_for_one_who_has_gone_is_not_kept():
    turns, goes_on, found = Turns("one"), threading.Event(), []

    def call():
        assert goes_on.wait(60)
        result = Found()
        found.append(weakref.ref(result))
        return result

    asking = asyncio.create_task(turns.run(call))
    async with asyncio.timeout(60):
        while turns._running is None:  # noqa: ASYNC110 - there is nothing else to be seen of it
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        del asking  # its traceback has all that it knew
        goes_on.set()
        while not found or gc.collect() < 0 or found[0]() is not None:  # noqa: ASYNC110 - it is found in a thread
            await asyncio.sleep(0.01)


async def test_a_turn_comes_after_one_that_failed_or_could_not_begin(monkeypatch):
    turns = Turns("one")
    with pytest.raises(ZeroDivisionError):
        await turns.run(lambda: 1 // 0)
    with monkeypatch.context() as none:
        none.setattr(threading.Thread, "start", lambda _thread: int("no thread"))
        with pytest.raises(ValueError, match="no thread"):
            await turns.run(int)
    async with asyncio.timeout(60):
        assert await turns.run(int) == 0
