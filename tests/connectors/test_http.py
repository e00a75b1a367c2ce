"""One request, one answer: what a server says too much is never taken for the answer to something else."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import pytest

from gateway.connectors.http import HttpClient, TransportError
from gateway.core.duration import NS_PER_S

REQUESTS = 20


def answer(number, status=201, pad=0):
    body = b'{"reference": "%d"}%s' % (number, b" " * pad)
    return b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        status, len(body), body,
    )  # fmt: skip


@pytest.fixture
async def server():
    """``server(said)``: a port; ``said(number)`` are the bytes for the request of that number, counted from 1."""
    open_writers, servers, tasks = [], [], []

    async def start(said):
        got = []

        async def serve(reader, writer):
            open_writers.append(writer)
            tasks.append(asyncio.current_task())
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                while True:
                    await reader.readuntil(b"\r\n\r\n")
                    got.append(len(open_writers))
                    writer.write(said(len(got)))
                    await writer.drain()

        servers.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        return servers[-1].sockets[0].getsockname()[1], got

    yield start
    for one in servers:
        one.close()
    for writer in open_writers:
        writer.transport.abort()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def client():
    made = []

    async def connect(port):
        made.append(HttpClient(f"http://127.0.0.1:{port}", timeout_ns=60 * NS_PER_S))
        await made[-1].open()
        return made[-1]

    yield connect
    for one in made:
        await one.close()


async def test_a_second_answer_is_not_taken_for_that_of_the_next_request(server, client):
    port, got = await server(lambda number: answer(number) * 2 if number == 1 else answer(number, 500))
    http = await client(port)
    assert (await http.request("GET", "/")).body == b'{"reference": "1"}'
    with pytest.raises(TransportError, match="more than one answer") as refused:
        await http.request("GET", "/")
    assert refused.value.sent, "it may have arrived: it has to be looked up"
    third = await http.request("GET", "/")
    assert (third.status, third.body) == (500, b'{"reference": "%d"}' % len(got))
    assert len(set(got)) == 2, "the connection that said too much was closed"


async def test_answers_that_come_at_once_are_believed_on_one_connection(server, client):
    port, got = await server(lambda number: answer(number, pad=100_000 * (number % 2)))
    http = await client(port)
    for number in range(1, REQUESTS + 1):
        assert (await http.request("GET", "/")).body.strip() == b'{"reference": "%d"}' % number
    assert len(set(got)) == 1


async def test_a_request_searches_no_folder_for_a_module(server, client, monkeypatch):
    """httpcore imports in the middle of each request; what is not installed must not cost a search each time."""
    port, _got = await server(answer)
    link = await client(port)
    await link.request("GET", "/")
    searched = []

    class Witness:
        @staticmethod
        def find_spec(name, path=None, target=None):
            searched.append(name)

    monkeypatch.setattr(sys, "meta_path", [Witness, *sys.meta_path])
    for _ in range(3):
        assert (await link.request("GET", "/")).status == 201
    assert searched == []
