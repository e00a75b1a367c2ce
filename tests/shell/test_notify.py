import asyncio
import os
import socket

import pytest

from gateway.notify import PARTS_MAX, Notifier, Progress, feed_watchdog
from gateway.timing.clock import ManualClock

S = 1_000_000_000


class Manager:
    """The receiving end of NOTIFY_SOCKET."""

    def __init__(self, address):
        self.link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.link.bind(address)
        self.link.setblocking(False)

    def heard(self):
        messages = []
        while True:
            try:
                messages.append(self.link.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture
def manager(tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    manager.address = str(tmp_path / "notify")
    yield manager
    manager.link.close()


def test_messages_over_a_path(manager):
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    assert notifier.ready("2 sources\n1 target")
    assert notifier.status("x" * 500)
    assert notifier.watchdog()
    assert notifier.stopping()
    assert notifier.ready()
    assert manager.heard() == [
        "READY=1\nSTATUS=2 sources 1 target",
        "STATUS=" + "x" * 200,
        "WATCHDOG=1",
        "STOPPING=1",
        "READY=1",
    ]


def test_messages_over_an_abstract_name():
    name = f"linegate-test-{os.getpid()}-{os.urandom(4).hex()}"
    manager = Manager("\0" + name)
    assert Notifier({"NOTIFY_SOCKET": "@" + name}).watchdog()
    assert manager.heard() == ["WATCHDOG=1"]
    manager.link.close()


def test_without_a_manager_nothing_happens():
    notifier = Notifier({})
    assert not notifier.ready()
    assert notifier.watchdog_interval_ns is None


def test_a_manager_that_is_gone_is_no_reason_to_fail(tmp_path):
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).watchdog()


def test_an_address_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="NOTIFY_SOCKET"):
        Notifier({"NOTIFY_SOCKET": "vsock:2:1"})


@pytest.mark.parametrize(
    ("env", "expected_ns"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30 * S),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30 * S),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_interval(env, expected_ns):
    assert Notifier(env).watchdog_interval_ns == expected_ns


def test_a_part_without_progress_is_named():
    clock = ManualClock(100 * S)
    progress = Progress(clock.now_ns)
    writer = progress.part("writer", 5 * S)
    reader = progress.part("reader", 60 * S)
    clock.advance(5 * S)
    assert progress.stalled() == ()
    clock.advance(1)
    (stalled,) = progress.stalled()
    assert (stalled.part, stalled.silent_ns, stalled.limit_ns) == ("writer", 5 * S + 1, 5 * S)
    assert str(stalled) == "writer: no progress for 5 s (limit 5 s)"
    writer.beat()
    assert progress.stalled() == ()
    assert [part.part for part in progress.stalled(clock.now_ns() + 61 * S)] == ["writer", "reader"]
    reader.done()
    writer.done()
    assert progress.stalled(10**12 * S) == ()


def test_parts_are_distinct_and_bounded():
    progress = Progress(lambda: 0)
    progress.part("a", 1)
    with pytest.raises(ValueError, match="already"):
        progress.part("a", 1)
    with pytest.raises(ValueError, match="limit"):
        progress.part("b", 0)
    for number in range(PARTS_MAX - 1):
        progress.part(f"p{number}", 1)
    with pytest.raises(ValueError, match="1000 parts"):
        progress.part("one more", 1)


async def test_the_watchdog_is_fed_only_from_progress(manager):
    clock = ManualClock()
    progress = Progress(clock.now_ns)
    writer = progress.part("writer", S)
    notifier = Notifier({"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000"})
    feeding = asyncio.create_task(feed_watchdog(notifier, progress))
    heard = []

    async def hear(message):
        async with asyncio.timeout(60):
            while not any(message in line for line in heard):
                await asyncio.sleep(0.001)
                heard.extend(manager.heard())

    await hear("WATCHDOG=1")
    clock.advance(2 * S)
    await hear("writer: no progress for 2 s")
    manager.heard()
    heard.clear()
    await hear("writer: no progress")
    assert not any("WATCHDOG=1" in line for line in heard), "fed without progress"
    writer.beat()
    await hear("WATCHDOG=1")
    feeding.cancel()
    await asyncio.wait([feeding])


async def test_where_nobody_watches_feeding_ends_at_once():
    async with asyncio.timeout(60):
        await feed_watchdog(Notifier({}), Progress())
