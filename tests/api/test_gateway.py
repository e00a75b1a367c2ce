"""A real gateway process that is asked over HTTP: its answers keep its own document, its decisions are carried out."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import ipaddress
import itertools
import json
import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
import types
from pathlib import Path
from urllib.parse import quote

import jsonschema_rs
import pytest
import warm
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kept_waiting import Taken

from buffer.audit_chain import ChainReader
from gateway.api.routes import ROUTES
from gateway.asking.deciding import READS
from gateway.control import ControlError, call
from gateway.core.audit.entry import as_mapping
from gateway.lock import DATABASE_NAME

WAIT_S = 60.0
CONFIG = """
gateway: { id: box-1, plant: P1, timezone: Europe/Berlin, state_dir: STATE_DIR }
sources:
  pins:
    driver: digital_io
    pins: simulated
    signals: { piece: { pin: 17 } }
  press:
    driver: modbus
    host: 127.0.0.1
    port: PRESS
    scan: 100 ms
    signals: { good: { table: holding, address: 0 }, state: { table: holding, address: 4 } }
work_units:
  M-2:
    work_center: WC-2
    ideal_cycle: 2.4 s
    counters: [{ mode: counter, signal: press.good, modulus: 65536, max_rate: "40 /min" }]
    state: { signal: press.state, map: { "0": OFF, "1": STOPPED, "2": PRODUCING, "3": STOPPED, "4": SETUP } }
  M-1:
    work_center: WC-1
    ideal_cycle: 2 s
    counters: [{ mode: pulse, signal: pins.piece }]
    orders: { choose: command }
    confirm: { checklist: { duration: block, under_delivery: block }, delivery: { under_tolerance: "0" } }
connectors:
  share: { connector: file, folder: share, poll_orders: 100 ms }
api: API
"""
ORDERS = "order;operation;work_center;product;quantity\n4711;0010;WC-1;P;10\n4712;0010;WC-1;P;10\n4713;0010;WC-1;P;10\n"
#: What the document cannot say: which of these queries go together.
SCHEMATHESIS = """
[[operations]]
include-name = "GET /v1/states"
[operations.checks.positive_data_acceptance]
expected-statuses = [200, 404, 422]
[checks.missing_required_header]
expected-statuses = [400, 401, 422]
"""
#: So many are asked without a token that is accepted: here each of them hears that, and none to come later.
PATIENT = "{ port: PORT, requests_per_minute: 60000, refusals_per_minute: 60000 }"
KEYS = (f"key-{number}" for number in itertools.count())


class Gateway:
    """One running gateway with its folder."""

    def __init__(self, folder, port, api=PATIENT, *, tls=None, press=1):
        self.folder = folder
        self.state_dir = folder / "state"
        self.port = port
        self.tls = tls
        for name in ("orders", "confirmations"):
            (folder / "share" / name).mkdir(parents=True, exist_ok=True)
        config = folder / "linegate.yaml"
        api = api.replace("PORT", str(self.port))
        config.write_text(configured(self.state_dir, api, press))
        self.log = (folder / "log").open("wb")
        self.process = warm.Popen(
            [sys.executable, "-P", "-m", "gateway", "run", str(config)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=environment(),
        )  # fmt: skip
        self.until(self.listens, "the API to listen")

    def cli(self, *arguments, **variables):
        return warm.run(
            [sys.executable, "-P", "-m", "gateway", *arguments, "-d", str(self.state_dir)],
            capture_output=True, text=True, check=True, timeout=90, env=environment() | variables,
        ).stdout  # fmt: skip

    def token(self, name="anna", role="operator"):
        self.cli("user", "add", name, "--full-name", "Anna Z", "--role", role)
        return self.cli("user", "token", name, "--role", role).strip()

    def ask(self, method, path, body=None, token=None, key=None):
        """Status and document."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            headers |= {"Content-Type": "application/json", "Idempotency-Key": key or next(KEYS)}
        if self.tls is None:
            link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        else:
            link = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=90, context=self.tls)
        with contextlib.closing(link):
            link.request(method, path, None if body is None else json.dumps(body), headers)
            answer = link.getresponse()
            return answer.status, json.loads(answer.read())

    def listens(self):
        with contextlib.suppress(OSError):
            return self.ask("GET", "/health")[0] == 200
        return False

    def until(self, condition, what):
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, f"waited in vain for {what}: {self.text()}"
            time.sleep(0.05)

    def text(self):
        return (self.folder / "log").read_text()

    def take_orders(self):
        (self.folder / "share" / "orders" / "orders.csv").write_text(ORDERS)
        self.until((self.folder / "share" / "orders" / "done" / "orders.csv").exists, "the orders to be taken")

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            self.log.close()


def configured(state_dir, api, press=1):
    return CONFIG.replace("STATE_DIR", str(state_dir)).replace("API", api).replace("PRESS", str(press))


def environment():
    return {name: text for name, text in os.environ.items() if not name.startswith(("LINEGATE_", "NOTIFY_"))}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, port_for_later):
    machine = warm.Popen(
        [sys.executable, "-P", "-m", "simulators", "asm-01", "--port", "0", "--steady"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        press = json.loads(machine.stdout.readline())["port"]
        running = Gateway(tmp_path_factory.mktemp("gateway"), port_for_later(), press=press)
        try:
            running.take_orders()
            yield running
        finally:
            assert running.close() == 0, running.text()
    finally:
        machine.kill()
        machine.communicate()


@pytest.fixture(scope="module")
def token(gateway):
    return gateway.token("anna", "operator")


@pytest.fixture(scope="module")
def holds(gateway):
    """Whether an answer is what the gateway's document says."""
    document = gateway.ask("GET", "/openapi.json")[1]

    def check(path, method, status, answer):
        responses = document["paths"][path][method.lower()]["responses"]
        (content,) = responses[str(status)]["content"].values()
        schema = {**content["schema"], "components": document["components"]}
        jsonschema_rs.validate(schema, answer)

    return check


def test_orders_are_listed_and_started_by_whom_the_token_names(gateway, token, holds):
    status, listed = gateway.ask("GET", "/v1/orders?machine=M-1", token=token)
    holds("/v1/orders", "GET", status, listed)
    assert {job["order"]: job["state"] for job in listed["orders"]}["4711"] == "DISPATCHED"
    begun = {"machine": "M-1", "order": "4711"}
    status, answer = gateway.ask("POST", "/v1/orders/start", begun, token, "one")
    holds("/v1/orders/start", "POST", status, answer)
    assert status == 200, answer
    assert gateway.ask("POST", "/v1/orders/start", begun, token, "one") == (status, answer)
    status, refused = gateway.ask("POST", "/v1/orders/start", begun, token, "two")
    holds("/v1/orders/start", "POST", status, refused)
    assert (status, refused["code"]) == (409, "REFUSED")
    assert "it is running already" in refused["detail"]
    status, unit = gateway.ask("GET", "/v1/work-units/M-1", token=token)
    holds("/v1/work-units/{machine}", "GET", status, unit)
    assert unit["order"] == "4711"
    assert gateway.ask("POST", "/v1/setups/begin", {"machine": "M-1"}, token)[0] == 200
    assert gateway.ask("POST", "/v1/setups/end", {"machine": "M-1"}, token)[0] == 200
    assert gateway.ask("POST", "/v1/orders/interrupt", begun, token)[0] == 200
    assert gateway.ask("POST", "/v1/orders/start", {**begun, "order": "4712"}, token)[0] == 200
    status, refused = gateway.ask("POST", "/v1/orders/finish", {**begun, "order": "4712"}, token)
    holds("/v1/orders/finish", "POST", status, refused)
    points = (refused["guard"], refused["found"])
    assert points == ("checklist under_delivery", "0 of 10 made"), "a run took time, however short it was"
    ended = {**begun, "order": "4712", "reason": "tried"}
    assert gateway.ask("POST", "/v1/orders/finish", ended, token)[0] == 200

    def delivered():
        return gateway.ask("GET", "/v1/outbox?order=4712&state=delivered", token=token)[1]["postings"]

    gateway.until(delivered, "the confirmation")
    status, found = gateway.ask("GET", "/v1/outbox?order=4712", token=token)
    holds("/v1/outbox", "GET", status, found)
    number = found["postings"][0]["number"]
    status, posting = gateway.ask("GET", f"/v1/outbox/{number}", token=token)
    holds("/v1/outbox/{number}", "GET", status, posting)
    assert posting["confirmation"]["order_id"] == "4712"
    assert posting["message"]["content_type"] == "text/csv"
    assert (posting["steps"], posting["released"]) == (1, False)
    token = gateway.token("berta", "supervisor")
    status, found = gateway.ask("GET", "/v1/erp/probe", token=token)
    holds("/v1/erp/probe", "GET", status, found)
    assert [(one["target"], one["ok"]) for one in found] == [("share", True)], found
    status, found = gateway.ask("GET", f"/v1/erp/lookup?key={quote(posting['key'], safe='')}", token=token)
    holds("/v1/erp/lookup", "GET", status, found)
    assert [(one["key"], one["found"]) for one in found] == [(posting["key"], "accepted")], found
    released = gateway.ask("POST", f"/v1/outbox/{number}/release", {"reason": "agreed"}, token)
    holds("/v1/outbox/{number}/release", "POST", *released)
    assert (released[0], "allowed from: held, parked" in released[1]["detail"]) == (409, True), released


@pytest.mark.parametrize("path", ["/health", "/ready", "/v1/me", "/v1/status", "/v1/work-units", "/v1/orders"])
def test_an_answer_keeps_the_document(gateway, token, holds, path):
    status, answer = gateway.ask("GET", path, token=token)
    assert status == 200, answer
    holds(path, "GET", status, answer)


def test_states_are_those_of_the_command_line(gateway, token, holds):
    def producing():
        return gateway.ask("GET", "/v1/work-units/M-2", token=token)[1]["state"] == "PRODUCING"

    gateway.until(producing, "the press to be heard")
    for what in ("begin", "end"):
        assert gateway.ask("POST", f"/v1/setups/{what}", {"machine": "M-2"}, token)[0] == 200

    def known():
        return gateway.ask("GET", "/v1/states?machine=M-2", token=token)[0] == 200

    gateway.until(known, "a final state")
    status, answer = gateway.ask("GET", "/v1/states?machine=M-2&by=day", token=token)
    holds("/v1/states", "GET", status, answer)
    said = json.loads(gateway.cli("states", "M-2", "--by", "day", "--json"))
    assert (answer["work_unit"], answer["by"]) == (said["work_unit"], said["by"])
    assert answer["intervals"] == said["intervals"][: len(answer["intervals"])]
    status, sums = gateway.ask("GET", "/v1/states?machine=M-2&sums=true", token=token)
    assert "intervals" not in sums
    holds("/v1/states", "GET", status, sums)
    for path, code in (
        ("/v1/states?machine=M-1&order=9999", "NOT_FOUND"),
        ("/v1/states?machine=M-9", "NOT_FOUND"),
        ("/v1/states?machine=M-1&order=1&day=2026-01-01", "BAD_FIELD"),
    ):
        status, refused = gateway.ask("GET", path, token=token)
        assert refused["code"] == code
        holds("/v1/states", "GET", status, refused)


def test_a_hold_is_set_and_ended_by_one_who_may(gateway, token):
    judge = gateway.token("quinn", "quality")
    held = {"machine": "M-1", "order": "4713", "reason": "burrs"}
    assert gateway.ask("POST", "/v1/orders/hold", held, token)[0] == 403
    status, answer = gateway.ask("POST", "/v1/orders/hold", held, judge)
    assert status == 200, answer

    def state():
        listed = gateway.ask("GET", "/v1/orders?machine=M-1", token=token)[1]["orders"]
        return {job["order"]: job["state"] for job in listed}["4713"]

    assert state() == "ON_HOLD"
    assert gateway.ask("POST", "/v1/orders/start", {"machine": "M-1", "order": "4713"}, token)[0] == 409
    status, answer = gateway.ask("POST", "/v1/orders/release", held, judge)
    assert (status, state()) == (200, "DISPATCHED"), answer


def test_a_product_is_on_hold_at_every_machine_until_its_release(gateway, token, holds):
    judge = gateway.token("hilda", "quality")
    held = {"scope": "product", "name": "P", "reason": "crack"}
    assert gateway.ask("POST", "/v1/holds/set", held, token)[0] == 403
    assert gateway.ask("POST", "/v1/holds/set", {**held, "scope": "machine"}, judge)[0] == 409
    status, answer = gateway.ask("POST", "/v1/holds/set", held, judge, key="hold-1")
    assert status == 200, answer
    assert gateway.ask("POST", "/v1/holds/set", held, judge, key="hold-1") == (status, answer)
    assert gateway.ask("POST", "/v1/holds/set", held, judge)[1]["guard"] == "HOLD_STANDS"
    listed = gateway.ask("GET", "/v1/holds", token=token)
    holds("/v1/holds", "GET", *listed)
    assert [(one["machine"], one["name"], one["who"]) for one in listed[1]["holds"]] == [
        ("M-2", "P", "hilda"), ("M-1", "P", "hilda")
    ]  # fmt: skip
    status, answer = gateway.ask("GET", "/v1/orders?machine=M-1", token=token)
    holds("/v1/orders", "GET", status, answer)
    job = {one["order"]: one for one in answer["orders"]}["4713"]
    assert (job["state"], job["hold_reason"], job["foreign"]["opc"]) == (
        "ON_HOLD", "product P: crack", "Interrupted/Held"
    )  # fmt: skip
    status, refused = gateway.ask("POST", "/v1/orders/scan", {"machine": "M-1", "order": "4713/0010"}, token)
    assert (status, refused["guard"]) == (409, "G1 no active hold")
    assert gateway.ask("POST", "/v1/holds/release", {**held, "reason": "sorted"}, judge)[0] == 200
    assert gateway.ask("GET", "/v1/holds", token=token)[1] == {"holds": []}


def test_nothing_changes_after_a_refusal(gateway, token):
    def now():
        return gateway.ask("GET", "/v1/orders", token=token)[1], gateway.ask("GET", "/v1/outbox", token=token)[1]

    before = now()
    start = {"machine": "M-1", "order": "4713"}
    assert gateway.ask("POST", "/v1/orders/start", start)[0] == 401
    assert gateway.ask("POST", "/v1/orders/start", start, gateway.token("petra", "planner"))[0] == 403
    assert gateway.ask("POST", "/v1/orders/start", {**start, "force": True}, token)[0] == 422
    assert gateway.ask("POST", "/v1/orders/start", {**start, "reason": "x" * 70_000}, token)[0] == 413
    assert now() == before


def test_a_key_gets_the_same_answer_after_the_gateway_was_killed(tmp_path, port_for_later):
    running = Gateway(tmp_path, port_for_later())
    try:
        running.take_orders()
        token = running.token()
        asked = {"machine": "M-1", "order": "4711"}
        first = running.ask("POST", "/v1/orders/start", asked, token, key="k1")
        refused = running.ask("POST", "/v1/orders/start", asked, token, key="k2")
        assert (first[0], refused[0]) == (200, 409)
        running.cli("hold", "set", "machine", "M-1", "--reason", "maintenance")
        running.process.kill()
        running.process.wait()
        running.close()
        running = Gateway(tmp_path, port_for_later())
        assert running.ask("POST", "/v1/orders/start", asked, token, key="k1") == first
        assert running.ask("POST", "/v1/orders/start", asked, token, key="k2") == refused
        status, answer = running.ask("POST", "/v1/orders/start", {**asked, "order": "4712"}, token, key="k1")
        assert (status, answer["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
        with contextlib.closing(sqlite3.connect(running.state_dir / "linegate.db")) as database:
            starts = database.execute("SELECT count(*) FROM journal WHERE kind = 'decision'").fetchone()
        assert starts == (3,)
        (job,) = [one for one in running.ask("GET", "/v1/orders", token=token)[1]["orders"] if one["order"] == "4711"]
        assert (job["state"], job["hold_reason"]) == ("ON_HOLD", "machine: maintenance")
        running.cli("hold", "release", "machine", "M-1")
        (job,) = [one for one in running.ask("GET", "/v1/orders", token=token)[1]["orders"] if one["order"] == "4711"]
        assert (job["state"], job["hold_reason"]) == ("IN_PROGRESS", "")
    finally:
        running.close()


WRONG = {
    "machine": "M-1", "order": "9999", "operation": "0099", "pieces": 1, "from": "good", "to": "scrap", "number": 10**9,
    "reference": "4711/2", "step": 1, "scope": "product",
    "confirmation": 7,
    "reason": "NO_MATERIAL", "at": "2020-03-27T06:00:00Z",
}  # fmt: skip


def wrong(field):
    """A value that the field may have and that nothing here fits."""
    if field.name in WRONG and field.kind.takes(WRONG[field.name]):
        return WRONG[field.name]
    tried = ("2020-03-27T06:00:00Z", 10**9, 1, "9999", True, ["9999"], [1, 2], *getattr(field.kind, "words", ()))
    return next((one for one in tried if field.kind.takes(one)), None)


def newest_entry(gateway):
    with ChainReader.open(gateway.state_dir / "linegate.db") as reader:
        return reader.head().seq


def entries_of(gateway, after, user):
    """What a user did behind that entry."""
    with ChainReader.open(gateway.state_dir / "linegate.db") as reader:
        return [found for one in reader.entries(after) if (found := as_mapping(one))["user"] == user]


@pytest.mark.parametrize("route", [route for route in ROUTES if route.writes], ids=lambda route: route.verb)
def test_every_refusal_says_which_guard_and_what_to_do(gateway, holds, route, token_of):
    for role in ("supervisor", "quality", "planner", "operator"):
        body = {field.name: wrong(field) for field in route.body if field.required}
        path = re.sub(r"\{(\w+)\}", lambda match: str(WRONG.get(match[1], "9999")), route.path)
        token = token_of(role)
        before = newest_entry(gateway)
        status, answer = gateway.ask(route.method, path, body, token)
        if status in (200, 409) and route.verb not in READS:
            told = entries_of(gateway, before, f"one-{role}")
            assert told, "each decision, done or refused, stands in the audit trail"
            assert {(one["role"], one["auth"].partition(" ")[0], one["client"]) for one in told} == {
                (role, "token", "127.0.0.1")
            }  # fmt: skip
            assert (status == 409) == (told[0]["outcome"] == "refused")
            assert body.get("reason", "") in told[0]["reason_text"] + told[0]["new"]
        if status == 200:
            return  # nothing here stands against it
        holds(route.path, route.method, status, answer)
        assert answer["guard"], answer
        assert answer["what_to_do"], answer
        assert status < 500, answer
        if status == 409:
            named = {name: WRONG[name] for name in re.findall(r"\{(\w+)\}", route.path)}
            with pytest.raises(ControlError) as said:
                call(gateway.state_dir, route.verb, who="login", **body, **named)
            assert str(said.value) == answer["detail"], "the same words on the command line"
            assert said.value.parts.get("guard") == answer["guard"]
        if status != 403:
            return
    raise AssertionError(f"{route.verb}: nobody may")


@pytest.fixture(scope="module")
def token_of(gateway):
    known = {}

    def of(role):
        if role not in known:
            known[role] = gateway.token(f"one-{role}", role)
        return known[role]

    return of


def whole(gateway):
    """All that is kept of machines, orders, journal and postings; the machine M-1 makes nothing."""
    with contextlib.closing(sqlite3.connect(gateway.state_dir / "linegate.db")) as database:
        rows = [
            database.execute(sql).fetchall()
            for sql in (
                "SELECT order_id, operation, record FROM job ORDER BY 1, 2",
                "SELECT seq, kind, body FROM journal WHERE work_unit = 'M-1' ORDER BY seq",
                "SELECT key, digest FROM api_replay ORDER BY 1",
                "SELECT id, state FROM outbox ORDER BY id",
            )
        ]
    return rows, (gateway.state_dir / "users.json").read_bytes() if (gateway.state_dir / "users.json").exists() else b""


def test_what_may_not_be_leaves_everything_as_it_was(gateway, token, token_of):
    start = {"machine": "M-1", "order": "4713"}
    planner = token_of("planner")
    gateway.ask("GET", "/v1/me", token=planner)
    before = whole(gateway)
    tries = [
        ("POST", "/v1/orders/start", start, None),
        ("POST", "/v1/orders/start", start, "lg_00000000_" + "0" * 64),
        ("POST", "/v1/orders/start", start, planner),
        ("POST", "/v1/orders/start", {**start, "force": True}, token),
        ("POST", "/v1/orders/start", {**start, "machine": "../M-1"}, token),
        ("POST", "/v1/orders/start", {**start, "order": "4713\u202e"}, token),
        ("POST", "/v1/orders/start", {**start, "order": "x" * 70_000}, token),
        ("POST", "/v1/orders/../orders/start", start, token),
        ("POST", "/v1//orders/start", start, token),
        ("POST", "/v1/undo", {"machine": "M-9"}, token),
        ("POST", "/v1/stops/split", {"machine": "M-1", "at": "yesterday", "reason": "x"}, token),
        ("DELETE", "/v1/orders/start", start, token),
    ]
    for method, path, body, who in tries:
        status, answer = gateway.ask(method, path, body, who)
        assert 400 <= status < 500, (path, status, answer)
        assert answer["guard"]
        assert answer["what_to_do"]
    after = whole(gateway)
    assert after[1] == before[1]
    assert after[0][:2] == before[0][:2], "orders and journal"


def test_neither_tokens_nor_their_secrets_are_in_log_or_state(gateway, token):
    assert gateway.ask("GET", "/v1/status", token=token[:-1] + ("0" if token[-1] != "0" else "1"))[0] == 401
    gateway.until(lambda: "api request refused" in gateway.text(), "the refusal in the log")
    files = []
    for path in gateway.state_dir.iterdir():
        with contextlib.suppress(FileNotFoundError):  # the gateway goes on writing: one may be replaced just now
            files += [path.read_bytes()] if path.is_file() else []
    assert files
    for text in (gateway.text().encode(), *files):
        assert token.split("_")[2].encode() not in text
    assert token.split("_")[1] in gateway.text()


def test_a_question_on_the_command_line_is_asked_in_the_name_of_its_token(gateway, token, monkeypatch):
    """It stands before the test below, in whose minute more are refused than are named in the audit trail."""
    monkeypatch.setenv("LINEGATE_TOKEN", token)
    allowed = gateway.ask("GET", "/v1/work-units/M-1/dispatch", token=token)[1]["may"]
    assert call(gateway.state_dir, "dispatch", machine="M-1")["may"] == allowed
    assert "split" not in allowed, "an operator's, not a supervisor's"
    begun = call(gateway.state_dir, "record.open", name="M-1")
    assert call(gateway.state_dir, "record.take", recording=begun["recording"])["ended"] == ""
    assert call(gateway.state_dir, "record.close", recording=begun["recording"]) == "closed"
    with pytest.raises(ControlError, match="resolve_posting is not allowed for operator") as refused:
        call(gateway.state_dir, "erp.probe")
    assert refused.value.parts["guard"] == "ROLE_NOT_ALLOWED"
    wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
    monkeypatch.setenv("LINEGATE_TOKEN", wrong)
    with pytest.raises(ControlError, match="USER: the token is not accepted"):
        call(gateway.state_dir, "status")
    monkeypatch.delenv("LINEGATE_TOKEN")
    assert call(gateway.state_dir, "erp.probe")[0]["ok"], "a login of this computer is a supervisor's"

    def told():
        with ChainReader.open(gateway.state_dir / DATABASE_NAME) as reader:
            found = [as_mapping(one) for one in reader.newest(40)]
        return {
            (one["user"], one["auth"], one["entity_id"], one["detail"])
            for one in found
            if one["action"] == "access_refused" and one["entity"] == "control socket"
        }

    known = f"token {token.split('_')[1]}"

    def both():  # a look of the gateway may come between the two
        found = told()
        return ("anna", known, "erp.probe", "ROLE_NOT_ALLOWED") in found and (known, "status", "USER") in {
            one[1:] for one in found
        }

    gateway.until(both, "both refusals in the trail")


@pytest.mark.parametrize(
    ("phases", "examples"),
    [("fuzzing", "5"), pytest.param("coverage,fuzzing", "200", marks=[pytest.mark.soak, pytest.mark.timeout(3000)])],
    ids=["short", "long"],
)
def test_schemathesis_finds_no_way_to_break_it(gateway, tmp_path, phases, examples):
    """Every operation with many bodies, queries and headers, within the document and beside it."""
    token = gateway.token(f"sonja-{examples}", "supervisor")
    (tmp_path / "schemathesis.toml").write_text(SCHEMATHESIS)
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{gateway.port}/openapi.json",
            "--header", f"Authorization: Bearer {token}", "--max-examples", examples, "--seed", "1", "--no-color",
            "--phases", phases, "--request-timeout", "10", "--generation-database", "none",
        ],
        capture_output=True, text=True, check=False, timeout=2900, cwd=tmp_path, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert gateway.ask("GET", "/ready")[0] == 200
    assert "api request failed" not in gateway.text()


def test_the_erp_and_the_alerts_are_asked_by_programs_too(gateway, token_of, holds):
    planner, supervisor = token_of("planner"), token_of("supervisor")
    status, found = gateway.ask("GET", "/v1/erp/render?order=4711", token=planner)
    holds("/v1/erp/render", "GET", status, found)
    status, refused = gateway.ask("GET", "/v1/erp/render", token=planner)
    assert (status, refused["guard"]) == (409, "FIELD")
    status, offered = gateway.ask("GET", "/v1/erp/orders?target=share", token=planner)
    holds("/v1/erp/orders", "GET", status, offered)
    again = {"target": "share", "order": "4711", "operation": "0010", "from": 900, "reason": "lost"}
    status, refused = gateway.ask("POST", "/v1/reconciliation/resend-from", again, planner)
    assert (status, refused["guard"]) == (409, "KEPT")
    status, refused = gateway.ask("POST", "/v1/alerts/test", {}, supervisor)
    assert (status, "no channel is configured" in refused["detail"]) == (409, True)
    assert gateway.ask("POST", "/v1/alerts/test", {}, planner)[0] == 403


def test_a_machine_is_shown_the_same_on_the_command_line(gateway, token):
    status, found = gateway.ask("GET", "/v1/work-units/M-1/dispatch", token=token)
    assert status == 200
    shown = json.loads(gateway.cli("machine", "M-1", "--json"))
    same = set(found) - {"may", "undo"}  # of a supervisor; over in 5 s
    assert {name: shown[name] for name in same} == {name: found[name] for name in same}
    assert gateway.cli("machine", "M-1").startswith("M-1: ")
    assert "a login of this computer" in gateway.cli("user", "me")
    assert gateway.cli("user", "me", LINEGATE_TOKEN=token).startswith("anna, operator (Anna Z, until ")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        gateway.cli("user", "me", LINEGATE_TOKEN=token[:-1] + ("0" if token[-1] != "0" else "1"))
    assert "LINEGATE_TOKEN: " in refused.value.stderr


README = Path(__file__).parents[2] / "gateway" / "api" / "README.md"


def test_what_the_read_me_says_can_be_typed(gateway):
    """Each block of the read-me, one after another, in a shell beside a gateway."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 4
    typed = "".join(blocks).replace("8420", str(gateway.port)).replace("100201", "4713").replace("anna", "frieda")
    linegate = f'linegate() {{ {sys.executable} -P -m gateway "$@"; }}'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{linegate}\nset -x\n{typed}"], capture_output=True, text=True, check=False,
        timeout=240, cwd=gateway.folder, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout[-1500:], done.stderr[-1500:])
    assert '"done":"M-1: interrupt 4713 done"' in done.stdout
    assert done.stdout.count('"done"') == 7, done.stdout


def test_over_tls_and_a_clean_stop_with_open_connections(tmp_path, port_for_later):
    context = certificate(tmp_path)
    api = "{ listen: 0.0.0.0, port: PORT, refusals_per_minute: 1, tls: { cert_file: api.pem, key_file: api.key } }"
    running = Gateway(tmp_path, port_for_later(), api, tls=context)
    try:
        assert running.ask("GET", "/health")[0] == 200
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)) as plain:
            plain.request("GET", "/health")
            with pytest.raises((OSError, http.client.HTTPException)):
                plain.getresponse()
        assert [running.ask("GET", "/v1/me")[0] for _ in range(2)] == [401, 429], "one a minute, by its setting"
        one_is_taken_anew(running, tmp_path)
        idle = socket.create_connection(("127.0.0.1", running.port))
        kept = http.client.HTTPSConnection("127.0.0.1", running.port, timeout=60, context=running.tls)
        kept.request("GET", "/health")
        kept.getresponse().read()
    finally:
        taken = Taken()
        assert running.close() == 0, running.text()
    assert taken.seconds() < 10
    kept.close()
    idle.close()


def one_is_taken_anew(running, folder):
    """A renewed pair is shown without a restart; half of one changes nothing and is told."""
    (folder / "api.key").write_text("no key")
    running.until(lambda: "NOT_TAKEN" in running.text(), "the warning")
    assert running.ask("GET", "/health")[0] == 200, "the pair before is still shown"
    before, running.tls = running.tls, certificate(folder)
    running.until(running.listens, "the new certificate")
    with pytest.raises(ssl.SSLError):
        Gateway.ask(types.SimpleNamespace(tls=before, port=running.port), "GET", "/health")
    running.until(lambda: "api certificate renewed" in running.text(), "the line in the log")
    running.until(lambda: "ends" in running.cli("status"), "the warning of one that ends within an hour")


def certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "box-1")])
    now = dt.datetime.now(dt.UTC)  # noqa: TID251 - a certificate is held against the system's clock
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "api.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "api.key").write_bytes(key.private_bytes(*plain))
    return ssl.create_default_context(cafile=str(folder / "api.pem"))


def test_a_port_that_is_taken_and_a_wrong_certificate_end_the_start(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = start_in_vain(tmp_path, f"{{ port: {port} }}")
        assert f"api: cannot listen at 127.0.0.1, port {port}: Address already in use" in said
    (tmp_path / "x.pem").write_text("no certificate")
    said = start_in_vain(tmp_path, f"{{ port: {port}, tls: {{ cert_file: x.pem, key_file: x.pem }} }}")
    assert "api.tls: certificate or key cannot be used" in said
    checked = warm.run(
        [sys.executable, "-P", "-m", "gateway", "check", str(tmp_path / "linegate.yaml")],
        capture_output=True, text=True, check=False, timeout=90, env=environment(),
    )  # fmt: skip
    assert checked.returncode == 1
    assert "api.tls: certificate or key cannot be used" in checked.stderr


def start_in_vain(folder, api):
    config = folder / "linegate.yaml"
    (folder / "share" / "orders").mkdir(parents=True, exist_ok=True)
    config.write_text(configured(folder / "state", api))
    ended = warm.run(
        [sys.executable, "-P", "-m", "gateway", "run", str(config)],
        capture_output=True, text=True, check=False, timeout=90, env=environment(),
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_without_the_section_its_libraries_are_not_loaded(tmp_path):
    """They take memory that a small box has not."""
    config = tmp_path / "linegate.yaml"
    (tmp_path / "share" / "orders").mkdir(parents=True)
    (tmp_path / "share" / "confirmations").mkdir()
    config.write_text(configured(tmp_path / "state", "null"))
    program = (
        "import sys, os, pathlib, signal, threading, time\n"
        "from gateway.cli import main\n"
        "def end():\n"
        f"    while not pathlib.Path({str(tmp_path / 'state' / 'control.sock')!r}).exists():\n"
        "        time.sleep(0.05)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "threading.Thread(target=end, daemon=True).start()\n"
        f"code = main(['run', {str(config)!r}])\n"
        "print(code, sorted({'uvicorn', 'starlette', 'gateway.api.service'} & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False, timeout=90,
        env=environment(),
    )  # fmt: skip
    assert ended.stdout.strip() == "0 []", ended.stderr


def test_a_reload_keeps_the_api_and_refuses_another_port(gateway, token, port_for_later):
    before = gateway.text()
    config = gateway.folder / "linegate.yaml"
    good = config.read_text()
    try:
        config.write_text(good.replace(str(gateway.port), str(port_for_later())))
        gateway.process.send_signal(signal.SIGHUP)
        gateway.until(lambda: "configuration not reloaded" in gateway.text()[len(before) :], "the refusal")
        assert "api.port" in gateway.text()[len(before) :]
    finally:
        config.write_text(good)
    gateway.process.send_signal(signal.SIGHUP)
    gateway.until(lambda: "configuration reloaded" in gateway.text()[len(before) :], "the reload")
    assert gateway.ask("GET", "/v1/status", token=token)[0] == 200


def test_who_was_refused_and_what_was_decided_stand_in_the_audit_trail(gateway, token):
    auditor = gateway.token("quentin", "quality")
    assert gateway.ask("GET", "/v1/audit", token=token)[0] == 403
    assert gateway.ask("GET", "/v1/me", token="lg_00000000_" + "0" * 64)[0] == 401

    def refused():
        status, found = gateway.ask("GET", "/v1/audit?limit=1000", token=auditor)
        assert status == 200
        return {(one["user"], one["detail"]) for one in found["entries"] if one["action"] == "access_refused"}

    gateway.until(lambda: {("anna", "NOT_PERMITTED"), ("unknown", "NOT_AUTHENTICATED UNKNOWN")} <= refused(), "both")
    held = {"machine": "ASM-01", "order": "no such order", "reason": "look at it"}
    assert gateway.ask("POST", "/v1/orders/hold", held, auditor)[0] == 409
    _, found = gateway.ask("GET", "/v1/audit?who_did=quentin&limit=1", token=auditor)
    (entry,) = found["entries"]
    assert (entry["action"], entry["outcome"], entry["role"], entry["reason_text"]) == (
        "hold", "refused", "quality", "look at it",
    )  # fmt: skip
    assert entry["auth"].startswith("token ")
    assert entry["client"] == "127.0.0.1"


def test_a_passphrase_is_in_no_answer_and_no_log(gateway):
    token = gateway.token("rita", "quality")
    secret = "some very secret words"
    body = {"machine": "ASM-01", "order": "4711", "reason": "checked", "passphrase": secret}
    status, problem = gateway.ask("POST", "/v1/orders/release", body, token)
    assert (status, problem["guard"]) == (409, "SIGNATURE")
    status, problem = gateway.ask("POST", "/v1/orders/release", {**body, "passphrase": [secret]}, token)
    assert (status, problem["code"]) == (422, "BAD_FIELD")
    assert secret not in json.dumps(problem)
    assert secret not in gateway.text()
    assert secret.encode() not in (gateway.state_dir / "linegate.db-wal").read_bytes()
