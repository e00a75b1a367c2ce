"""The TCP fault proxy itself: each fault does what its name says, and nothing else does."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from proxy import Proxy

WELL_S = 60.0
QUIET_S = 0.15
QUESTION = b"how many pieces?"


@pytest.fixture
async def line():
    """A proxy before a server that repeats what it hears, and ``line.ask(data)``."""
    tasks, writers = set(), []

    async def echo(reader, writer):
        tasks.add(asyncio.current_task())
        writers.append(writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = await Proxy(server.sockets[0].getsockname()[1], seed=7).start()
    yield proxy
    await proxy.close()
    server.close()
    for writer in writers:
        writer.transport.abort()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def connected(proxy):
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def asked(link, data=QUESTION, timeout_s=WELL_S):
    """All that comes back until as much came as was said, the end, or nothing for so long."""
    reader, writer = link
    writer.write(data)
    got = b""
    with contextlib.suppress(TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(timeout_s):
            while len(got) < len(data) and (more := await reader.read(65_536)):
                got += more
    return got


async def is_well(proxy):
    async with connected(proxy) as link:
        assert await asked(link) == QUESTION


async def test_what_is_sent_arrives_both_ways(line):
    many = bytes(range(256)) * 2_000
    async with connected(line) as link:
        assert await asked(link, many) == many
    assert (line.up.carried, line.down.carried) == (len(many), len(many))
    assert line.up.spoiled == line.down.spoiled == 0
    assert line.accepted == 1


async def test_refused_on_the_same_port_until_mended(line):
    async with connected(line) as link:
        assert await asked(link) == QUESTION
        await line.refuse()
        with pytest.raises(ConnectionResetError):
            await link[0].read(1)
    with pytest.raises(ConnectionRefusedError):
        async with connected(line):
            pass
    await line.mend()
    await is_well(line)


async def test_accepted_and_left_hanging(line):
    line.hang()
    async with connected(line) as link:
        assert await asked(link, timeout_s=QUIET_S) == b""
        assert line.up.carried == 0
        await line.mend()
        await is_well(line)


@pytest.mark.parametrize("way", ["up", "down"])
async def test_half_open_stands_and_says_nothing_and_new_connections_are_well(line, way):
    async with connected(line) as link:
        assert await asked(link) == QUESTION
        line.half_open(way)
        assert await asked(link, timeout_s=QUIET_S) == b""
        carried = len(QUESTION) * (1 if way == "up" else 2)
        end = time.monotonic() + WELL_S
        while line.up.carried < carried:
            assert time.monotonic() < end, "the other way still carries"
            await asyncio.sleep(0.01)
        assert line.up.carried == carried
        await line.mend()
        assert await asked(link, timeout_s=QUIET_S) == b"", "what was swallowed is gone for good"
        await is_well(line)
        assert line.open >= 1


async def test_late_by_the_delay(line):
    line.down.delay(0.2, jitter_s=0.1)
    began = time.monotonic()
    async with connected(line) as link:
        assert await asked(link) == QUESTION
    assert time.monotonic() - began >= 0.2


async def test_bytes_come_one_by_one(line):
    line.down.drip(0.005)
    async with connected(line) as link:
        link[1].write(QUESTION)
        async with asyncio.timeout(WELL_S):
            first = await link[0].read(65_536)
            assert 1 <= len(first) < len(QUESTION)
            assert first + await link[0].readexactly(len(QUESTION) - len(first)) == QUESTION


@pytest.mark.parametrize("then", ["close", "reset", "mute"])
async def test_cut_off_after_so_many_bytes(line, then):
    line.down.truncate(5, then=then)
    async with connected(line) as link:
        link[1].write(QUESTION)
        assert await link[0].readexactly(5) == QUESTION[:5]
        if then == "close":
            assert await link[0].read(1) == b""
        elif then == "reset":
            with pytest.raises(ConnectionResetError):
                await link[0].read(1)
        else:
            assert await asked(link, timeout_s=QUIET_S) == b""
    await is_well(line)


async def test_one_byte_is_another_and_the_seed_says_which(line):
    found = []
    for seed in (7, 7):
        async with Proxies(line.target, seed) as other:
            other.up.corrupt(1)
            async with connected(other) as link:
                found.append(await asked(link))
                assert await asked(link) == QUESTION, "only the next piece"
    assert found[0] == found[1]
    assert sum(a != b for a, b in zip(found[0], QUESTION, strict=True)) == 1


class Proxies(Proxy):
    """As a context."""

    def __init__(self, target, seed):
        super().__init__(target, seed=seed)

    async def __aenter__(self):
        return await self.start()

    async def __aexit__(self, *_):
        await self.close()


async def test_an_answer_comes_twice(line):
    line.down.duplicate(1)
    async with connected(line) as link:
        link[1].write(QUESTION)
        async with asyncio.timeout(WELL_S):
            assert await link[0].readexactly(2 * len(QUESTION)) == QUESTION * 2


async def test_reset_is_a_reset_and_cut_is_an_end(line):
    async with connected(line) as link:
        assert await asked(link) == QUESTION
        line.reset()
        with pytest.raises(ConnectionResetError):
            await link[0].read(1)
    async with connected(line) as link:
        assert await asked(link) == QUESTION
        line.cut()
        assert await link[0].read(1) == b""
    await is_well(line)
