"""The control socket: what is in its way, what a verb may raise, what a request may be."""

from __future__ import annotations

import asyncio

import pytest

from buffer.errors import StoreError
from gateway.control import ControlError, ControlServer, NotRunningError, RequestError, call


async def failing(request):
    raise {
        "store": StoreError("disk full"),
        "request": RequestError("no", guard="REQUEST"),
        "overflow": OverflowError("big"),
        "defect": AttributeError("none"),
    }[request["how"]]


@pytest.fixture
async def server(tmp_path):
    made = ControlServer(tmp_path / "control.sock", {"fail": failing})
    await made.start()
    yield tmp_path
    await made.close()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("store", "the buffer: disk full"),
        ("request", "^no$"),
        ("overflow", "cannot be read"),
        ("defect", r"the gateway failed at it: AttributeError\('none'\); see its log"),
        ("else", "cannot be read"),
    ],
)
async def test_a_verb_that_fails_is_an_answer(server, how, said):
    with pytest.raises(ControlError, match=said):
        await asyncio.to_thread(call, server, "fail", how=how)


async def test_an_unknown_verb_names_the_known_ones(server):
    with pytest.raises(ControlError, match=r"unknown verb 'x'; allowed: fail"):
        await asyncio.to_thread(call, server, "x")


async def test_something_in_the_way_is_named(tmp_path):
    (tmp_path / "control.sock").mkdir()
    with pytest.raises(ControlError, match="in the way of the control socket"):
        await ControlServer(tmp_path / "control.sock", {}).start()


def test_nobody_listens(tmp_path):
    with pytest.raises(NotRunningError, match="no linegate daemon runs in"):
        call(tmp_path, "status")
