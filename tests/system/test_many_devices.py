"""Many Modbus devices, some of them dead: the others keep their rhythm, on ports of their own and on one bus.

The rhythm is compared with a run of the same test without the dead ones, so that a slow computer is no failure; nor is
one that is busy for a moment: what the dead cost they cost in every round.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import pytest

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]

#: Every address of 127.0.0.0/8 is this computer: one simulator is fifteen devices, each with its own connection.
LIVE = [f"127.0.0.{number}" for number in range(1, 16)]
REFUSING = [f"127.0.0.{number}" for number in range(16, 19)]
MUTE = [f"127.0.0.{number}" for number in range(19, 21)]
SCAN_MS = 100
MEASURED_S = 3.0
ROUNDS = 12
KEPT = 0.9
BACKOFF_MAX_NS = 1_000_000_000
#: On a bus an attempt takes this long from everybody, and so one scan at most. Here the silent unit has no back-off to
#: speak of: every other 150 ms are lost (with the default back-off of one minute it is one attempt in half a minute).
BUS_TIMEOUT_MS = 150
BUS_BACKOFF_MAX_NS = 1_000_000
KEPT_ON_BUS = 0.75


def settings(host, port, **more):
    return {
        "driver": "modbus", "host": host, "port": port, "scan": f"{SCAN_MS} ms", "timeout": "500 ms",
        "signals": {"a": {"address": 300}, "b": {"address": 400}}, **more,
    }  # fmt: skip


async def scans(sources):
    """Scans of each source in the same time, from when all of them read."""
    for source in sources:
        deadline_s = time.monotonic() + 60
        while not source.after(0.0):
            assert time.monotonic() < deadline_s, source.status
            await asyncio.sleep(0.01)
    before = [source.readings for source in sources]
    await asyncio.sleep(MEASURED_S)  # waits for nothing: this is the time in which scans are counted
    return [source.readings - was for source, was in zip(sources, before, strict=True)]


async def rounds(measure, enough):
    """Measure until it is good enough, a few times at most; ``measure`` gives the scans with and without the dead."""
    seen = []
    for _ in range(ROUNDS):
        found, expected = await measure()
        seen.append((found, expected))
        if min(one / other for one, other in zip(found, expected, strict=True)) >= enough:
            return
    raise AssertionError(f"scans beside dead devices and without them: {seen}")


def right(value_of):
    return {name: lambda value, name=name: value == value_of[name] for name in value_of}


@pytest.fixture
def mute_port():
    """A port at which connections are made and nothing is ever answered, on the addresses of the mute."""
    with contextlib.ExitStack() as stack:
        port = 0
        for host in MUTE:
            listener = stack.enter_context(socket.socket())
            listener.bind((host, port))
            port = listener.getsockname()[1]
            listener.listen(64)
        yield port


async def stop(sources):
    for source in sources:
        await source.stop()


async def test_five_dead_devices_of_twenty_leave_the_rhythm_of_the_others(simulate, watch, mute_port, until):
    machine = await simulate("asm-01", "--host", "0.0.0.0", "--port", 0)

    def devices(name, hosts, port):
        truths = right({"a": 300, "b": 400})
        return [
            watch(settings(host, port), ("a", "b"), source=name + host, truths=truths, backoff_max_ns=BACKOFF_MAX_NS)
            for host in hosts
        ]

    async def measure():
        alone = devices("alone-", LIVE, machine.ready["port"])
        expected = await scans(alone)
        await stop(alone)
        with socket.socket() as closed:
            closed.bind((REFUSING[0], 0))  # bound and not listening: refused
            refused = devices("refused-", REFUSING, closed.getsockname()[1])
            mute = devices("mute-", MUTE, mute_port)
            beside = devices("beside-", LIVE, machine.ready["port"])
            found = await scans(beside)
            await until(lambda: all(source.status.failures >= 2 for source in (*refused, *mute)), "attempts in vain")
            await stop([*refused, *mute, *beside])
        assert all(source.readings == 0 for source in (*refused, *mute))
        assert all("refused" in source.status.last_error for source in refused)
        assert all("no usable answer" in source.status.last_error for source in mute)
        assert [source.wrong for source in beside] == [[]] * len(LIVE)
        return found, expected

    await rounds(measure, KEPT)


async def test_a_silent_unit_costs_its_bus_one_time_limit_per_attempt(simulate, watch, until):
    machine = await simulate(
        "asm-01", "--transport", "rtu_over_tcp", "--port", 0, "--other-units", "8,9", "--silent-units", "10"
    )

    def unit(number, name, backoff_max_ns=BACKOFF_MAX_NS):
        own = settings(
            "127.0.0.1", machine.ready["port"], transport="rtu_over_tcp", unit=number, timeout=f"{BUS_TIMEOUT_MS} ms"
        )
        truths = right({"a": 300, "b": 400})
        return watch(own, ("a", "b"), source=f"{name}{number}", truths=truths, backoff_max_ns=backoff_max_ns)

    async def measure():
        alone = [unit(number, "alone-") for number in (1, 8, 9)]
        expected = await scans(alone)
        await stop(alone)
        silent = unit(10, "silent-", BUS_BACKOFF_MAX_NS)
        beside = [unit(number, "beside-") for number in (1, 8, 9)]
        found = await scans(beside)
        await until(lambda: silent.status.failures >= MEASURED_S, "attempts in vain")
        await stop([silent, *beside])
        assert silent.readings == 0
        assert "no usable answer" in silent.status.last_error
        assert [source.wrong for source in beside] == [[], [], []]
        return found, expected

    await rounds(measure, KEPT_ON_BUS)
