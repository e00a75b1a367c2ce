"""Reloads that wait for a file which never answers: how many there are, and what is told at the end."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace

import pytest

from gateway import reload
from gateway.control import RequestError
from gateway.reload import Reloader, ReloadError, StoppingError
from gateway.tasks import Tasks


@pytest.fixture
def pipe(tmp_path):
    """A configuration that nobody writes: reading it does not end."""
    pipe = tmp_path / "linegate.yaml"
    os.mkfifo(pipe)
    return pipe


@pytest.fixture
def reloader(pipe):
    parts = SimpleNamespace(trouble=lambda _name, _text: None)
    settings = SimpleNamespace(file=pipe)
    return Reloader(settings, None, parts, Tasks(), warnings=[], utc_ns=lambda: 0)


async def reader_of(pipe):
    """The end of the pipe for which somebody waits."""
    async with asyncio.timeout(60):
        while True:
            try:
                return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                await asyncio.sleep(0.01)


def asked(reloader, count):
    return [asyncio.create_task(reloader.on_request({})) for _ in range(count)]


async def test_whoever_asks_while_one_goes_on_is_answered_by_the_next_one(reloader, pipe):
    first = asked(reloader, 1)
    end = await reader_of(pipe)
    others = asked(reloader, 20)
    await asyncio.wait(others, timeout=0.05)
    assert len(reloader._asked) == 2, "the one that goes on, and one that reads the file anew for all others"
    pipe.unlink()  # what comes next finds nothing there
    os.close(end)
    answers = await asyncio.gather(*first, *others, return_exceptions=True)
    assert {type(one) for one in answers} == {RequestError}
    assert len({str(one) for one in answers[1:]}) == 1
    assert str(answers[1]) != str(answers[0])
    await asyncio.sleep(0)
    assert not reloader._asked
    with pytest.raises(ReloadError):  # nothing is left behind that would answer for ever
        await reloader.reload()


async def test_who_waits_for_one_that_is_cut_off_at_the_end_is_told_so(reloader, pipe, monkeypatch):
    monkeypatch.setattr(reload, "CLOSE_TIMEOUT_S", 0.05)
    waiting = asked(reloader, 1)
    end = await reader_of(pipe)
    waiting += asked(reloader, 1)
    await reloader.close()
    cut_off, never_begun = await asyncio.gather(*waiting, return_exceptions=True)
    assert str(cut_off) == "the gateway is stopping: the reload was cut off, it may be done in part"
    assert (cut_off.parts()["guard"], never_begun.parts()["guard"]) == ("BUSY", "BUSY")
    with pytest.raises(StoppingError, match="the gateway is stopping"):
        await reloader.reload()
    os.close(end)


async def test_one_who_goes_away_himself_is_told_nothing(reloader, pipe):
    (waiting,) = asked(reloader, 1)
    end = await reader_of(pipe)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert len(reloader._asked) == 1, "half a reload is none"
    os.close(end)
    async with asyncio.timeout(60):
        while reloader._asked:  # noqa: ASYNC110 - it ends in a thread
            await asyncio.sleep(0.01)
