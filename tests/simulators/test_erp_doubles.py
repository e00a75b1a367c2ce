"""What every double of an ERP keeps to, whatever its protocol: its doors, its ledger, its faults, its ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import sqlite3
import threading
import time

import pytest

from simulators.__main__ import ERPS, main

DOUBLES = ("erp", *ERPS)
ORDER = {
    "order_id": "4711",
    "revision": 1,
    "type": "MTO",
    "product": {"id": "ASSY-D20", "revision": "F", "uom": "PC"},
    "qty": "24",
    "operations": [{"op": "0010", "work_center": "WC-ASM", "qty": "24"}],
}
#: Faults that every double has, with what their commands take.
COUNTED = ("lose-answers", "lose-requests", "half", "locked", "refuse", "hang", "garbage", "twice", "hang-up")
ASK_S = 60.0


class Doors:
    """One double as a process, asked through the doors of the test bench."""

    def __init__(self, name, simulator, folder):
        self.name = name
        self.ledger_file = folder / "ledger.db"
        # The one that exchanges files would make its folder in the current one.
        where = ("--folder", folder / "exchange") if name == "file_partner" else ()
        self.simulator = simulator(name, "--ledger", self.ledger_file, *where)
        self.port = self.simulator.port

    def ask(self, method, path, body=None):
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ASK_S)
        try:
            data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            link.request(method, path, data)
            response = link.getresponse()
            return response.status, json.loads(response.read())
        finally:
            link.close()

    def fault(self, **named):
        return self.ask("POST", "/_faults", named)

    def left(self):
        return self.fault(fault="faults")[1]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """What a double writes into the current folder is not left in the checkout."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module", params=DOUBLES)
def doors(request, long_simulator, tmp_path_factory):
    """A double that runs for all tests of this file; each leaves it without faults."""
    return Doors(request.param, long_simulator, tmp_path_factory.mktemp(request.param))


def test_the_ready_line_says_where_it_is_and_health_answers_nobody_in_particular(doors):
    ready = doors.simulator.ready
    assert ready["name"] == doors.name
    assert ready["url"].startswith("http://127.0.0.1:")
    assert str(doors.port) in ready["url"]
    status, told = doors.ask("GET", "/health")
    assert (status, told["ok"], told["idempotent"]) == (200, True, False)


def test_an_order_is_released_repeated_and_never_taken_back_to_an_older_revision(doors):
    order = f"R-{doors.name}"
    assert doors.ask("POST", "/_orders", {**ORDER, "order_id": order})[0] == 201
    assert doors.ask("POST", "/_orders", {**ORDER, "order_id": order, "revision": 2})[0] == 201
    status, told = doors.ask("POST", "/_orders", {**ORDER, "order_id": order})
    assert (status, told["error"]["code"]) == (409, "STALE_REVISION")
    status, told = doors.ask("POST", "/_orders", {**ORDER, "order_id": order, "revision": "three"})
    assert (status, told["error"]["code"]) == (422, "ORDER_INVALID")
    assert doors.ask("POST", "/_orders", b"{")[0] == 400


def test_the_ledger_has_each_booking_its_sums_and_the_totals_and_lies_on_the_disk(doors):
    order = f"L-{doors.name}"
    doors.ask("POST", "/_orders", {**ORDER, "order_id": order})
    before = doors.simulator.do("totals")["good"]
    for pieces in (3, 4):
        doors.simulator.do(f"external {order} 0010 {pieces}")
    ledger = doors.ask("GET", "/ledger")[1]
    own = [one for one in ledger["bookings"] if one["order"] == order]
    assert [one["good"] for one in own] == [3, 4]
    assert len({one["key"] for one in own}) == 2
    (row,) = [one for one in ledger["sums"] if one["order"] == order]
    assert (row["good"], row["bookings"], row["keys"]) == (7, 2, 2)
    assert doors.simulator.do("totals")["good"] == before + 7
    with contextlib.closing(sqlite3.connect(doors.ledger_file)) as stored:
        assert stored.execute('SELECT sum(good) FROM bookings WHERE "order" = ?', (order,)).fetchone() == (7,)
    doors.simulator.do(f"forget {own[0]['key']}")
    kept = [one["key"] for one in doors.ask("GET", "/ledger")[1]["bookings"] if one["order"] == order]
    assert kept == [own[1]["key"]]


def test_faults_are_set_shown_and_cleared_all_at_once(doors):
    for number, name in enumerate(COUNTED, 2):
        assert doors.fault(fault=name, count=number)[0] == 200
    assert doors.fault(fault="error", status=503, count=1)[0] == 200
    assert doors.fault(fault="reject", order="4711")[0] == 200
    assert doors.fault(fault="poison", order="4712", status=500)[0] == 200
    told = doors.left()
    assert told["left"] == {f"{name} confirmations": number for number, name in enumerate(COUNTED, 2)} | {
        "error confirmations": 1
    }
    assert (told["rejected"], told["poisoned"]) == (["4711"], {"4712": 500})
    assert doors.fault(fault="clear")[0] == 200
    told = doors.left()
    assert (told["left"], told["rejected"], told["poisoned"]) == ({}, [], {})


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"fault": "nothing of the kind"}, "unknown command"),
        ({}, "unknown command"),
        ({"fault": "lose-answers"}, "count"),
        ({"fault": "lose-answers", "count": "many"}, "many"),
        ({"fault": "lose-answers", "count": 1, "colour": "red"}, "colour"),
    ],
    ids=["unknown", "nameless", "without a number", "no number", "too much"],
)
def test_a_fault_that_is_not_understood_is_refused_and_nothing_is_set(doors, named, said):
    status, told = doors.fault(**named)
    assert (status, told["ok"]) == (400, False)
    assert said in told["error"].lower()
    assert doors.left()["left"] == {}


def test_no_fault_stands_before_the_doors(doors):
    doors.fault(fault="signed-out", seconds=60)
    doors.fault(fault="unauthorized", count=9, path="all")
    doors.fault(fault="html", count=9, path="all")
    assert doors.ask("GET", "/health")[0] == 200
    assert doors.ask("GET", "/ledger")[0] == 200
    assert doors.fault(fault="clear")[0] == 200


def test_a_path_that_is_not_there_is_an_answer_and_ends_nothing(doors):
    link = http.client.HTTPConnection("127.0.0.1", doors.port, timeout=ASK_S)
    try:
        link.request("GET", "/no/such/path?with=%00")
        response = link.getresponse()
        response.read()
        # A real Kingdee says in a body with status 200 what is wrong.
        assert response.status in ({200} if doors.name == "kingdee" else {400, 401, 404})
    finally:
        link.close()
    assert doors.ask("GET", "/health")[0] == 200


def test_down_ends_by_itself(doors):
    assert doors.fault(fault="down", seconds=0.2)[0] == 200
    deadline = time.monotonic() + ASK_S
    while True:
        try:
            assert doors.ask("GET", "/health")[0] == 200
            break
        except OSError:
            assert time.monotonic() < deadline, "it does not come back"
            time.sleep(0.01)


def test_a_port_that_is_taken_is_a_sentence_and_status_1(doors, capsys, tmp_path):
    ended = []
    # In a thread: it has an event loop of its own.
    call = ["--port", str(doors.port), "--no-stdin", "--ledger", str(tmp_path / "other.db")]
    thread = threading.Thread(target=lambda: ended.append(main([doors.name, *call])))
    thread.start()
    thread.join(ASK_S)
    assert ended == [1]
    assert f"port {doors.port} on 127.0.0.1 is busy" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--colour", "red"], ["--port", "many"], ["--port", "70000"], ["--release", "all"]])
def test_wrong_options_are_status_2_and_say_what_is_wrong(doors, capsys, wrong):
    with pytest.raises(SystemExit) as ended:
        main([doors.name, *wrong])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert wrong[0] in said
    assert wrong[1] in said


def test_a_ledger_that_is_no_database_is_a_sentence_and_status_1(doors, capsys, tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("no database, and long enough to be looked at as one " * 40)
    ended = []
    thread = threading.Thread(target=lambda: ended.append(main([doors.name, "--no-stdin", "--ledger", str(other)])))
    thread.start()
    thread.join(ASK_S)
    assert ended == [1]
    said = capsys.readouterr().err
    assert str(other) in said
    assert "name a new file" in said
