import base64
import hashlib
import http.client
import json
import time
from urllib.parse import quote

import pytest

ORDER = {
    "order_id": "4711",
    "revision": 1,
    "type": "MTO",
    "product": {"id": "ASSY-D20", "revision": "F", "uom": "PC"},
    "qty": "24",
    "operations": [
        {"op": "0010", "work_center": "WC-ASM", "qty": "24"},
        {"op": "0020", "work_center": "WC-PCK", "qty": "24"},
    ],
}


class Client:
    """One keep-alive connection to the ERP."""

    def __init__(self, port, token=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def ask(self, method, path, body=None, **headers):
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            self.connection.request(method, path, data, {**self.headers, **named})
            response = self.connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise
        kind = response.headers["Content-Type"]
        self.last = response
        return response.status, json.loads(content) if kind == "application/json" else content

    def get(self, path):
        return self.ask("GET", path)

    def confirm(self, key="k/1", **changes):
        return self.ask("POST", "/confirmations", confirmation(**changes), Idempotency_Key=key)

    def fault(self, **fault):
        status, answer = self.ask("POST", "/_faults", fault)
        assert status == 200, answer
        return answer

    def ledger(self):
        return self.get("/ledger")[1]

    def booked(self):
        return [booking["key"] for booking in self.ledger()["bookings"]]


def confirmation(order="4711", operation="0010", seq=1, good="10", scrap="1", kind="partial", **more):
    return {
        "order_id": order,
        "operation": operation,
        "seq": seq,
        "type": kind,
        "machine": "ASM-01",
        "work_center": "WC-ASM",
        "qty": {"good": good, "scrap": [{"reason": None, "qty": scrap}], "rework": "0"},
        **more,
    }


@pytest.fixture
def connect():
    opened = []

    def open_(port, **options):
        opened.append(Client(port, **options))
        return opened[-1]

    yield open_
    for one in opened:
        one.connection.close()


@pytest.fixture
def erp(simulator, connect):
    """A running ERP with one order, and a client."""

    def start(*arguments, token=None):
        one = simulator("erp", *arguments)
        client = connect(one.port, token=token)
        assert client.ask("POST", "/orders", ORDER)[0] in {201, 401}
        client.simulator = one
        return client

    return start


def test_a_confirmation_is_booked_and_found(erp):
    client = erp()
    key = "RQ1/1/4711/0010/1"
    assert client.confirm(key) == (201, {"reference": "CNF-000001", "duplicate": False})
    assert client.get("/confirmations/" + quote(key, safe="")) == (200, {"reference": "CNF-000001", "count": 1})
    status, body = client.get("/confirmations/" + quote("RQ1/1/4711/0010/2", safe=""))
    assert (status, body["error"]["code"]) == (404, "NOT_FOUND")
    (booking,) = client.ledger()["bookings"]
    assert {name: booking[name] for name in ("key", "order", "operation", "seq", "good", "scrap", "final")} == {
        "key": key,
        "order": "4711",
        "operation": "0010",
        "seq": 1,
        "good": 10,
        "scrap": 1,
        "final": False,
    }
    assert booking["digest"] == hashlib.sha256(json.dumps(confirmation()).encode()).hexdigest()
    assert abs(booking["t_ns"] - time.time_ns()) < 60e9


def test_careless_books_the_same_key_twice_so_that_the_sum_convicts(erp):
    client = erp()
    assert [client.confirm()[0] for _ in range(2)] == [201, 201]
    assert client.get("/confirmations/k%2F1")[1] == {"reference": "CNF-000001", "count": 2}
    (row,) = client.ledger()["sums"]
    assert (row["good"], row["scrap"], row["bookings"], row["keys"]) == (20, 2, 2, 1)
    assert client.simulator.do("totals")["good"] == 20


def test_idempotent_books_once_and_refuses_other_content_under_the_same_key(erp):
    client = erp("--idempotent")
    assert client.confirm() == (201, {"reference": "CNF-000001", "duplicate": False})
    assert client.confirm() == (200, {"reference": "CNF-000001", "duplicate": True})
    status, body = client.confirm(good="11")
    assert (status, body["error"]["code"]) == (422, "KEY_REUSE")
    assert client.booked() == ["k/1"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"order": "4712"}, "ORDER_UNKNOWN"),
        ({"order": 4711}, "ORDER_UNKNOWN"),
        ({"operation": "0030"}, "OPERATION_UNKNOWN"),
        ({"seq": 0}, "SEQ_INVALID"),
        ({"seq": "1"}, "SEQ_INVALID"),
        ({"seq": True}, "SEQ_INVALID"),
        ({"good": "1.5"}, "QTY_INVALID"),
        ({"good": "-1"}, "QTY_INVALID"),
        ({"good": 10}, "QTY_INVALID"),
        ({"scrap": ""}, "QTY_INVALID"),
        ({"kind": "other"}, "TYPE_INVALID"),
        ({"kind": "reversal"}, "NOTHING_TO_REVERSE"),
        ({"kind": "reversal", "reverses": "k/7"}, "NOTHING_TO_REVERSE"),
        ({"qty": None}, "QTY_INVALID"),
    ],
)
def test_wrong_data_are_refused_with_a_code_and_not_booked(erp, changes, code):
    client = erp()
    status, body = client.confirm(**changes)
    assert (status, body["error"]["code"]) == (422, code)
    assert client.booked() == []


def test_a_body_changed_on_the_way_a_missing_key_and_no_json_are_refused(erp):
    client = erp()
    body = json.dumps(confirmation()).encode()
    right = base64.b64encode(hashlib.sha256(body).digest()).decode()
    wrong = base64.b64encode(hashlib.sha256(b"").digest()).decode()
    send = lambda data, **headers: client.ask("POST", "/confirmations", data, **headers)  # noqa: E731 - three short calls
    refused = send(body, Idempotency_Key="k", Content_Digest=f"sha-256=:{wrong}:")
    assert (refused[0], refused[1]["error"]["code"]) == (400, "DIGEST_MISMATCH")
    assert send(body)[1]["error"]["code"] == "KEY_MISSING"
    assert send(b"{", Idempotency_Key="k")[1]["error"]["code"] == "BODY_INVALID"
    assert send(b"[]", Idempotency_Key="k")[1]["error"]["code"] == "BODY_INVALID"
    assert client.booked() == []
    assert send(body, Idempotency_Key="k", Content_Digest=f"sha-256=:{right}:")[0] == 201


def test_the_ledger_outlives_a_kill(erp, tmp_path, simulator, connect):
    file = tmp_path / "erp.db"
    client = erp("--ledger", file)
    client.confirm("k/1")
    client.confirm("k/2", seq=2, kind="final")
    client.simulator.process.kill()
    client.simulator.wait_exit()
    again = connect(simulator("erp", "--ledger", file).port)
    assert again.booked() == ["k/1", "k/2"]
    assert again.confirm("k/3", operation="0020") == (201, {"reference": "CNF-000003", "duplicate": False})
    assert [order["order_id"] for order in again.get("/orders?since=")[1]["orders"]] == ["4711"]


def test_orders_come_once_per_change(erp):
    client = erp()
    status, page = client.get("/orders?since=")
    assert (status, page["orders"]) == (200, [ORDER])
    assert client.get("/orders?since=" + page["cursor"])[1] == {"cursor": page["cursor"], "orders": []}
    changed = {**ORDER, "revision": 2, "qty": "48"}
    assert client.ask("POST", "/orders", changed)[0] == 201
    later = client.get("/orders?since=" + page["cursor"])[1]
    assert later["orders"] == [changed]
    assert int(later["cursor"]) > int(page["cursor"])
    assert client.get("/orders?since=99999999")[1]["orders"] == [changed]  # a cursor of a ledger that is gone
    assert client.get("/orders?since=x")[1]["error"]["code"] == "CURSOR_INVALID"


def test_a_stale_revision_is_refused_and_a_repeat_is_not(erp):
    client = erp()
    cursor = client.get("/orders")[1]["cursor"]
    assert client.ask("POST", "/orders", ORDER)[0] == 201
    assert client.get("/orders?since=" + cursor)[1]["orders"] == []
    client.ask("POST", "/orders", {**ORDER, "revision": 5})
    for revision in (4, 5):
        status, body = client.ask("POST", "/orders", {**ORDER, "revision": revision, "qty": "1"})
        assert (status, body["error"]["code"]) == (409, "STALE_REVISION")
    assert client.ask("POST", "/orders", {**ORDER, "operations": []})[1]["error"]["code"] == "ORDER_INVALID"


def test_the_demo_keeps_two_orders_of_each_kind_open_at_every_operation(erp):
    client = erp("--release", "demo")
    page = client.get("/orders?since=")[1]
    demo = [order for order in page["orders"] if order["order_id"] != "4711"]
    assert [order["order_id"] for order in demo] == ["100240", "100241", "100500", "100501"]
    first = demo[0]
    assert (first["qty"], first["product"]["id"], first["sequence_no"]) == ("24", "ASSY-D20", 10)
    assert [(o["op"], o["work_center"], o["std_cycle_s"]) for o in first["operations"]] == [
        ("0010", "WC-ASM", "2.4"),
        ("0020", "WC-PCK", "2.25"),
    ]
    assert (demo[2]["qty"], demo[2]["operations"][0]["work_center"]) == ("48", "WC-IMM")
    # One operation confirmed finally: its machine needs another order, though nothing is packed yet.
    client.confirm("a", order="100240", kind="final")
    page = client.get("/orders?since=" + page["cursor"])[1]
    assert [order["order_id"] for order in page["orders"]] == ["100242"]
    client.confirm("b", order="100240", operation="0020", kind="final")
    assert client.get("/orders?since=" + page["cursor"])[1]["orders"] == []
    # A finished order is no longer released; a partial confirmation finishes nothing.
    client.confirm("c", order="100241", kind="partial")
    ids = [order["order_id"] for order in client.get("/orders?since=")[1]["orders"]]
    assert ids == ["100241", "100500", "100501", "4711", "100242"]


def test_a_token_is_demanded(erp, tmp_path, connect):
    (tmp_path / "token").write_text("s3cret\n")
    refused = erp("--token", tmp_path / "token")
    assert refused.get("/orders")[0] == 401
    assert refused.confirm()[0] == 401
    assert refused.get("/health")[0] == 200
    accepted = connect(refused.simulator.port, token="s3cret")
    accepted.ask("POST", "/orders", ORDER)
    assert accepted.confirm()[0] == 201
    assert connect(refused.simulator.port, token="s3cre").get("/orders")[0] == 401


def test_lost_answers_are_booked(erp):
    client = erp()
    client.simulator.do("lose-answers 2")
    for key in ("k/1", "k/2"):
        with pytest.raises(http.client.RemoteDisconnected):
            client.confirm(key)
    assert client.booked() == ["k/1", "k/2"]
    assert client.confirm("k/3")[0] == 201


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"fault": "error", "status": 503, "count": 1}, 503, "HTTP_503"),
        ({"fault": "locked", "count": 1}, 409, "LOCKED"),
        ({"fault": "unauthorized", "count": 1}, 401, "UNAUTHORIZED"),
        ({"fault": "unavailable", "seconds": 7, "count": 1}, 503, "UNAVAILABLE"),
    ],
)
def test_a_refusal_on_command_is_not_booked_and_ends(erp, fault, status, code):
    client = erp()
    client.fault(**fault)
    answer = client.confirm()
    assert (answer[0], answer[1]["error"]["code"]) == (status, code)
    assert client.last.headers["Retry-After"] == ("7" if code == "UNAVAILABLE" else None)
    assert client.booked() == []
    assert client.confirm()[0] == 201


def test_error_booked_is_an_error_although_booked(erp):
    client = erp()
    client.fault(fault="error-booked", status=500, count=1)
    assert client.confirm()[0] == 500
    assert client.booked() == ["k/1"]


def test_html_is_a_login_page_with_status_200_and_not_booked(erp):
    client = erp()
    client.fault(fault="html", count=1)
    status, page = client.confirm()
    assert status == 200
    assert page.startswith(b"<!DOCTYPE html>")
    assert client.booked() == []
    assert client.confirm()[0] == 201


@pytest.mark.parametrize(("path", "question"), [("orders", "/orders"), ("lookups", "/confirmations/k")])
def test_html_and_unauthorized_have_counters_of_their_own_for_orders_and_lookups(erp, path, question):
    client = erp()
    client.fault(fault="html", count=1, path=path)
    client.fault(fault="unauthorized", count=1, path=path)
    assert client.confirm()[0] == 201
    assert client.get(question)[0] == 401
    assert client.get(question)[1].startswith(b"<!DOCTYPE")
    assert isinstance(client.get(question)[1], dict)
    client.fault(fault="html", count=1, path="all")
    assert client.get(question)[0] == client.confirm("k/2")[0] == 200


def test_half_books_and_cuts_the_body(erp):
    client = erp()
    client.fault(fault="half", count=1)
    with pytest.raises(http.client.IncompleteRead) as cut:
        client.confirm()
    assert 0 < len(cut.value.partial) < 40
    assert client.booked() == ["k/1"]


def test_slow_books_at_once_and_answers_late(erp, connect):
    client = erp()
    client.fault(fault="slow", seconds=0.4, count=1)
    began = time.monotonic()
    assert client.confirm()[0] == 201
    assert time.monotonic() - began >= 0.4
    assert client.confirm("k/2")[0] == 201


def test_late_book_cuts_and_books_afterwards(erp, eventually):
    client = erp()
    keys = [f"k/{number}" for number in range(1, 100)]

    def looked_before_it_was_booked():
        key = keys.pop(0)
        client.fault(fault="late-book", seconds=0.4, count=1)
        with pytest.raises(http.client.RemoteDisconnected):
            client.confirm(key)
        missing = client.get(f"/confirmations/{quote(key, safe='')}")[0] == 404
        eventually(lambda: key in client.booked(), "the booking")
        return missing

    eventually(looked_before_it_was_booked, "a look in time")
    assert len(client.booked()) == len(set(client.booked())) == 99 - len(keys)


def test_late_book_and_a_repeat_meanwhile_are_two_bookings_only_where_careless(erp, eventually):
    for options, expected in (([], 2), (["--idempotent"], 1)):
        client = erp(*options)
        client.fault(fault="late-book", seconds=0.2, count=1)
        with pytest.raises(http.client.RemoteDisconnected):
            client.confirm()
        client.confirm()
        client.fault(fault="late-book", seconds=0.3, count=1)
        with pytest.raises(http.client.RemoteDisconnected):
            client.confirm("k/2")
        eventually(lambda client=client: "k/2" in client.booked(), "the last booking")
        assert client.booked().count("k/1") == expected


def test_reject_refuses_an_order_until_it_is_accepted(erp):
    client = erp()
    client.fault(fault="reject", order="4711")
    for _ in range(3):
        assert client.confirm()[1]["error"]["code"] == "ORDER_REJECTED"
    client.fault(fault="accept", order="4711")
    assert client.confirm()[0] == 201


def test_down_refuses_connections_for_a_time(erp, eventually):
    client = erp()
    client.fault(fault="down", seconds=600)
    with pytest.raises(OSError):  # noqa: PT011 - the open connection dies in one of several ways
        client.get("/health")
    with pytest.raises(ConnectionRefusedError):
        client.get("/health")

    def healthy():
        try:
            return client.get("/health")[0] == 200
        except OSError:
            return False

    began = time.monotonic()
    client.simulator.do("down 0.5")
    eventually(healthy, "health")
    assert time.monotonic() - began >= 0.5
    assert client.get("/orders")[1]["orders"] == [ORDER]


def test_a_refused_booking_does_not_use_up_a_fault_that_follows_a_booking(erp):
    client = erp()
    client.fault(fault="lose-answers", count=1)
    assert client.confirm(seq=0)[0] == 422
    assert client.simulator.do("faults")["left"] == {"lose-answers confirmations": 1}
    client.simulator.do("clear")
    assert client.confirm()[0] == 201


def test_unknown_faults_and_paths_are_refused(erp):
    client = erp()
    status, answer = client.ask("POST", "/_faults", {"fault": "explode"})
    assert status == 400
    assert "unknown command 'explode'; allowed: accept, " in answer["error"]
    assert client.ask("POST", "/_faults", {"fault": "error", "status": 200, "count": 1})[0] == 400
    assert client.get("/nothing")[0] == 404
    assert client.get("/health") == (200, {"ok": True, "idempotent": False})


def test_requests_that_are_too_long_are_refused(erp):
    client = erp()
    client.connection.putrequest("POST", "/confirmations")
    client.connection.putheader("Content-Length", "1000001")
    client.connection.endheaders()
    assert client.connection.getresponse().status == 413
