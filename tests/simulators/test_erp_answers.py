"""The fake ERP's worst manners: each spoils what it says it spoils, books what it says it books, and ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time

import pytest

ORDER = {
    "order_id": "4711", "revision": 1, "product": {"id": "P", "uom": "PC"}, "qty": "24",
    "operations": [{"op": "0010", "work_center": "WC-ASM", "qty": "24"}],
}  # fmt: skip


class Client:
    """Speaks HTTP with its bare hands: what comes is looked at byte by byte."""

    def __init__(self, one):
        self.one = one
        assert self.ask("POST", "/orders", ORDER)[0] == 201

    def ask(self, method, path, body=None, **headers):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.one.port, timeout=60)) as link:
            link.request(method, path, None if body is None else json.dumps(body), headers)
            answer = link.getresponse()
            return answer.status, json.loads(answer.read()), answer.headers

    def message(self, key, order="4711"):
        body = json.dumps({
            "order_id": order, "operation": "0010", "seq": 1, "type": "partial",
            "qty": {"good": "1", "scrap": [], "rework": "0"},
        }).encode()  # fmt: skip
        head = f"POST /confirmations HTTP/1.1\r\nIdempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    @contextlib.contextmanager
    def link(self, timeout_s=60.0):
        with socket.create_connection(("127.0.0.1", self.one.port), timeout=timeout_s) as sock:
            yield sock

    def booked(self):
        return [one["key"] for one in self.ask("GET", "/ledger")[1]["bookings"]]

    def confirm(self, key):
        """The status of an ordinary confirmation."""
        with self.link() as sock:
            sock.sendall(self.message(key))
            return int(sock.recv(65_536).split()[1])


@pytest.fixture
def erp(simulator):
    def start(*arguments):
        return Client(simulator("erp", *arguments))

    return start


def everything(sock):
    got = b""
    while more := sock.recv(65_536):
        got += more
    return got


def test_hang_says_nothing_and_books_nothing(erp):
    client = erp()
    client.one.do("hang 1")
    with client.link(timeout_s=0.3) as sock:
        sock.sendall(client.message("k1"))
        with pytest.raises(TimeoutError):
            sock.recv(1)
    assert client.booked() == []
    assert client.confirm("k1") == 201


def test_garbage_is_no_http_although_booked(erp):
    client = erp("--seed", "5")
    client.one.do("garbage 1")
    with client.link() as sock:
        sock.sendall(client.message("k1"))
        assert b"HTTP/" not in everything(sock)
    assert client.booked() == ["k1"]
    assert client.confirm("k2") == 201


def test_drip_is_the_answer_byte_by_byte(erp, eventually):
    client = erp()

    def pieces():
        client.one.do("drip 1 1")
        with client.link() as sock:
            sock.sendall(client.message("k1"))
            got = []
            while not b"".join(got).endswith(b"}"):
                got.append(sock.recv(65_536))
        assert b"".join(got).startswith(b"HTTP/1.1 201 ")
        return got

    # Who was kept from running finds many bytes at once.
    eventually(lambda: len(pieces()) > 20, "an answer in pieces")
    assert set(client.booked()) == {"k1"}


def test_twice_is_the_same_answer_twice_on_one_connection_that_goes_on(erp):
    client = erp()
    client.one.do("twice 1")
    with client.link() as sock:
        sock.sendall(client.message("k1"))
        got = b""
        while got.count(b"CNF-000001") < 2:
            got += sock.recv(65_536)
        assert got.count(b"HTTP/1.1 201 ") == 2
        sock.sendall(client.message("k2"))
        assert b"CNF-000002" in sock.recv(65_536)
    assert client.booked() == ["k1", "k2"]


def test_hang_up_answers_and_leaves_in_the_middle_of_the_next_request(erp):
    client = erp()
    client.one.do("hang-up 1")
    with client.link() as sock:
        sock.sendall(client.message("k1"))
        assert b"CNF-000001" in sock.recv(65_536)
        sock.sendall(client.message("k2"))
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    assert client.booked() == ["k1"]


def test_too_many_says_when_to_come_back(erp):
    client = erp()
    client.one.do("too-many 3 1")
    with client.link() as sock:
        sock.sendall(client.message("k1"))
        answer = sock.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: 3\r\n" in answer
    assert client.booked() == []


def test_signed_out_for_a_while_on_every_path_but_the_test_bench(erp, eventually):
    client = erp()
    client.one.do("signed-out 600")
    assert client.confirm("k1") == 401
    assert client.ask("GET", "/orders")[0] == 401
    assert client.ask("GET", "/health")[0] == 200
    began = time.monotonic()
    client.one.do("signed-out 0.5")
    eventually(lambda: client.confirm("k1") == 201, "the next sign-in")
    assert time.monotonic() - began >= 0.4
    assert client.booked() == ["k1"]


def test_poison_is_an_error_for_one_order_until_it_is_healed(erp):
    client = erp()
    assert client.ask("POST", "/orders", {**ORDER, "order_id": "4712"})[0] == 201
    client.one.do("poison 500 4711")
    assert client.one.do("faults")["poisoned"] == {"4711": 500}
    assert [client.confirm("k1"), client.confirm("k1")] == [500, 500]
    with client.link() as sock:
        sock.sendall(client.message("k2", order="4712"))
        assert b" 201 " in sock.recv(65_536)
    client.one.do("heal 4711")
    assert client.confirm("k1") == 201
    assert client.booked() == ["k2", "k1"]


def test_the_log_has_every_request_and_how_it_was_answered(erp, tmp_path):
    log = tmp_path / "requests.jsonl"
    client = erp("--requests", str(log))
    client.one.do("error 500 1")
    assert [client.confirm("k1"), client.confirm("k1")] == [500, 201]
    client.one.do("lose-answers 1")
    with client.link() as sock:
        sock.sendall(client.message("k2"))
        assert everything(sock) == b""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    told = [(row["key"], row["order"], row["status"], row["fault"]) for row in rows if row["path"] == "/confirmations"]
    assert told == [("k1", "4711", 500, "error"), ("k1", "4711", 201, ""), ("k2", "4711", 0, "cut")]


def test_spared_messages_go_through_before_a_fault_has_its_turn(erp):
    client = erp()
    client.one.do("spare 2")
    client.one.do("locked 1")
    assert [client.confirm(f"k{number}") for number in range(4)] == [201, 201, 409, 201]
    assert client.booked() == ["k0", "k1", "k3"]
