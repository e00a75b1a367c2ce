"""What doubles of real ERPs have booked, by the gateway's keys: other forms of a key, steps, what is booked twice."""

from __future__ import annotations

import asyncio
import socket
from fractions import Fraction

import pytest
import yaml

from gateway import plugins
from gateway.connectors.base import step_id
from gateway.core.document import message_id_of
from gateway.demo import plan
from gateway.demo.bookings import in_our_words, not_booked
from gateway.demo.stage import Stage

KEY = "RQ1/e0/100240/0010/1"
POSTING = {
    "key": KEY,
    "message_id": message_id_of(KEY),
    "machine": "ASM-01",
    "order": "100240",
    "operation": "0010",
    "seq": 1,
}


def booking(key, good=0, scrap=0):
    return {"key": key, "order": "000000100240", "operation": "0010", "seq": 7, "good": good, "scrap": scrap}


@pytest.mark.parametrize(
    "written", [KEY, message_id_of(KEY), message_id_of(KEY).upper(), message_id_of(KEY).replace("-", "").upper()]
)
def test_a_key_is_known_in_every_form(written):
    (row,) = in_our_words([booking(written, 9, 1)], [POSTING])
    assert row == {"key": KEY, "machine": "ASM-01", "order": "100240", "operation": "0010", "seq": 1} | {
        "good": 9,
        "scrap": 1,
        "rework": 0,
    }


def test_steps_are_one_confirmation_and_the_same_step_again_is_two():
    first, second = message_id_of(KEY), step_id(message_id_of(KEY), 1)
    assert [row["good"] for row in in_our_words([booking(first, 9), booking(second, 0, 2)], [POSTING])] == [9]
    twice = in_our_words([booking(first, 9), booking(second, 0, 2), booking(second, 0, 2)], [POSTING])
    assert [(row["key"], row["good"], row["scrap"]) for row in twice] == [(KEY, 9, 2), (KEY, 0, 2)]


def test_what_nobody_sent_stays_and_belongs_to_no_machine():
    assert in_our_words([booking("manual-1", 5)], [POSTING]) == [{"machine": "", **booking("manual-1", 5)}]


def test_pieces_are_whole():
    assert in_our_words([booking(KEY, "9.000")], [POSTING])[0]["good"] == 9
    with pytest.raises(ValueError, match=r"found 9\.5 pieces booked"):
        in_our_words([booking(KEY, "9.5")], [POSTING])


def test_what_waits_is_what_is_not_booked():
    waiting = POSTING | {"good": 9, "scrap": 2}
    assert not_booked([waiting], []) == [waiting]
    assert not_booked([waiting], [POSTING | {"good": 9, "scrap": 2}]) == []
    assert not_booked([waiting], [POSTING | {"good": 9, "scrap": 0}]) == [waiting | {"good": 0}], "one step of two"


def test_the_connector_that_a_double_prints_takes_the_place_of_the_examples():
    printed = yaml.safe_dump({"connectors": {"sap": {"connector": "rest", "url": "http://127.0.0.1:7", "token": None}}})
    made = plan.with_connector(plan.example(), printed, plugins.connectors())["connectors"]
    assert made == {
        "erp": {
            "connector": "rest",
            "url": "http://127.0.0.1:7",
            "token": None,
            "poll_orders": "2 s",
            "server_time_limit": "5 s",
        }
    }


@pytest.mark.parametrize(
    ("printed", "said"),
    [("", "allowed: YAML with one connector"), ("connectors: { erp: { connector: fax } }", "found connector 'fax'")],
)
def test_what_prints_no_connector_is_refused(printed, said):
    with pytest.raises(ValueError, match=said):
        plan.with_connector(plan.example(), printed, plugins.connectors())


async def test_an_erp_whose_connections_were_cut_just_now_is_asked_for_its_ledger_again(tmp_path):
    asked = []

    async def answer(reader, writer):
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if len(asked) == 1:
            writer.transport.abort()
            return
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n{"bookings": [], "n": 12}')
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        stage = Stage(tmp_path / "demo", seed=1, speed=Fraction(50))
        stage._ports = plan.Ports(0, 0, 0, 0)._replace(erp=server.sockets[0].getsockname()[1])
        assert await stage._bookings() == []
    assert len(asked) == 2


def test_a_port_that_another_one_keeps_without_listening_is_not_free(port_for_later):
    """A double that is cut off keeps its port; another demo that took it meanwhile ended both."""
    document = plan.example()
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = port_for_later()  # that nobody is given who asks for any, also once it is free again
        kept.bind(("127.0.0.1", port))
        document["connectors"]["erp"]["url"] = f"http://127.0.0.1:{port}"
        assert plan.free_ports(document).erp != port
    assert plan.free_ports(document).erp == port
