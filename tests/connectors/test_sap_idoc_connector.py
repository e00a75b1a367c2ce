"""The SAP IDoc connector against a fake SAP on real sockets and folders: what each transport promises, and more."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from gateway.connectors.base import ConnectorContext, ConnectorError, LookupKind, OutcomeKind, Posting, step_id
from gateway.connectors.sap_idoc import PLUGIN
from gateway.connectors.sap_idoc.idoc_xml import IDOC_MAX_BYTES
from gateway.connectors.sap_idoc.settings import Partner, Readback, Receiver, SapIdocSettings
from gateway.core.duration import Duration
from gateway.core.secret import SecretRef
from simulators.control import Control
from simulators.erp import sap_idoc
from simulators.erp.http import Request

DEADLINE_S = 60


class Sap:
    """The double in a thread of its own; what is asked of it runs on its loop."""

    def __init__(self, folder: Path, *options: str) -> None:
        parser = argparse.ArgumentParser()
        sap_idoc.add_arguments(parser)
        words = ["--folder", str(folder), *options]
        self.options = parser.parse_args(words)
        self.options.host, self.options.port, self.options.seed = "127.0.0.1", 0, 1
        self.loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._open())
        self._ready.set()
        self.loop.run_forever()
        self.loop.run_until_complete(self.double.close())
        self.loop.close()

    async def _open(self) -> None:
        self.double = sap_idoc.SapIdoc(self.options)
        self.double.declare(Control("sap_idoc", read_stdin=False))
        await self.double.open()

    def asked(self, call):
        async def run():
            return call()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(DEADLINE_S)

    def down(self) -> None:
        asyncio.run_coroutine_threadsafe(self.double.listener.cut(3600), self.loop).result(DEADLINE_S)

    def fault(self, command: str) -> None:
        async def run():
            name, *values = command.split()
            found = self.double._control.command(name)
            done = found.run(*found.parse(values))
            if asyncio.iscoroutine(done):
                await done

        asyncio.run_coroutine_threadsafe(run(), self.loop).result(DEADLINE_S)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.double.listener.port}"

    def release(self, order: str, operations=("0010",)) -> None:
        image = {
            "order_id": order,
            "revision": 1,
            "product": {"id": "P-1", "uom": "PCE"},
            "qty": "1000",
            "operations": [{"op": op, "work_center": "WC-ASM", "std_cycle_s": "2.4"} for op in operations],
        }
        request = Request("POST", "/_orders", {}, {}, json.dumps(image).encode())
        assert self.asked(lambda: self.double.put_order(request).status) == 201

    def booked(self) -> list[dict]:
        return self.asked(self.double.ledger.bookings)


class Bench:
    def __init__(self, sap: Sap, folder: Path, make_document, now_ns, **changes) -> None:
        self.sap, self.folder, self._document, self._now_ns, self.changes = sap, folder, make_document, now_ns, changes

    def settings(self, **changes) -> SapIdocSettings:
        transport = {**self.changes, **changes}.get("transport", "soap")
        plain = {
            "transport": transport,
            "folder": str(self.folder),
            "timeout": Duration("60 s"),
            "order_numbers": "short",
            "partner": Partner(receiver_port="SAPS4P", receiver="S4PCLNT100"),
            "readback": Readback(url=self.sap.url),
            **({} if transport == "file" else {"url": self.sap.url}),
        }
        return SapIdocSettings(connector="sap_idoc", **{**plain, **self.changes, **changes})

    def build(self, secrets=None, **changes):
        context = ConnectorContext(
            name="erp", gateway_id="demo", now_ns=self._now_ns, secrets=secrets or {}, base_dir=self.folder
        )
        return PLUGIN.build(self.settings(**changes), context)

    def document(self, seq: int, order: str = "100240") -> dict:
        document = self._document(seq, order)
        total = {"good": str(10 * seq), "scrap": [{"reason": None, "qty": str(seq)}], "rework": "0"}
        return document | {"qty_cumulative": total, "schema_version": 2, "uom": "PCE"}

    def release(self, order: str) -> None:
        self.sap.release(order)

    def take_away(self) -> None:
        self.sap.down()
        self.folder.rename(self.folder.with_name("away"))

    def bookings(self, key: str) -> int:
        document = next(one for seq in range(1, 20) if (one := self.document(seq))["idempotency_key"] == key)
        deadline = time.monotonic() + (60 if self.settings().transport == "file" else 0)
        while True:  # from a folder SAP takes them by and by
            found = sum(row["key"] == document["confirmation_id"] for row in self.sap.booked())
            if found or time.monotonic() >= deadline:
                return found
            time.sleep(0.02)


@pytest.fixture
def sap(tmp_path):
    folder = tmp_path / "exchange"
    double = Sap(folder)
    yield double
    double.close()


@pytest.fixture
def made_bench(sap, tmp_path, document, clock):
    sap.release("900001")  # an order that confirmations of the contract may go to, whatever it releases
    shutil.rmtree(tmp_path / "exchange" / "orders")
    (tmp_path / "exchange" / "orders").mkdir()

    def made(**changes):
        return Bench(sap, tmp_path / "exchange", document, clock, **changes)

    return made


@pytest.fixture
async def opened(made_bench):
    connectors = []

    async def made(secrets=None, **changes):
        bench = made_bench()
        connector = bench.build(secrets, **changes)
        await connector.open()
        connectors.append(connector)
        return bench, connector

    yield made
    for connector in connectors:
        await connector.close()


def posting(connector, document, step=0, **more) -> Posting:
    rendered = connector.render(document)
    one = (rendered, *rendered.more)[step]
    key, lane = document["idempotency_key"], (document["order_id"], document["operation"], document["seq"])
    return Posting(
        key, step_id(document["confirmation_id"], step), *lane, 1, one, step=step, steps=1 + len(rendered.more), **more
    )


async def until(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def test_what_each_transport_promises(made_bench):
    can = {name: made_bench(transport=name).build().capabilities for name in ("soap", "http", "file")}
    assert {name: one.idempotent for name, one in can.items()} == {"soap": True, "http": False, "file": True}
    assert not any(one.accepted_blocks for one in can.values())
    assert {one.correction for one in can.values()} == {"manual"}
    alone = made_bench(readback=None).build().capabilities
    assert (alone.readback, alone.can_lookup) == (False, False)


async def test_accepted_is_not_posted_until_co1l_booked_it(opened, sap):
    bench, connector = await opened()
    sap.release("100240")
    sap.double._delay_s = None  # booked by hand
    sent = posting(connector, bench.document(1))
    outcome = await connector.send(sent)
    assert outcome.kind is OutcomeKind.ACCEPTED
    assert outcome.reference.isdigit()
    asked = sent._replace(accepted=outcome.reference)
    assert (await connector.lookup(asked)).kind is LookupKind.ABSENT
    assert sap.asked(sap.double.book_waiting) == 1
    found = await connector.lookup(asked)
    assert (found.kind, found.reference) == (LookupKind.FOUND, "1/1")


async def test_all_confirmations_of_an_operation_can_be_read_where_the_key_is_no_filter(opened, sap):
    bench, connector = await opened(readback=Readback(url=sap.url, filter_by_key=False))
    sap.release("100240")
    first, second = (posting(connector, bench.document(seq)) for seq in (1, 2))
    assert (await connector.send(first)).kind is OutcomeKind.ACCEPTED
    assert (await connector.lookup(first)).kind is LookupKind.FOUND
    assert (await connector.lookup(second)).kind is LookupKind.ABSENT


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("locked 1", OutcomeKind.BUSY),
        ("unauthorized 1", OutcomeKind.AUTH),
        ("unavailable 9 1", OutcomeKind.NOT_SENT),
        ("html 1", OutcomeKind.PROTOCOL),
        ("error 500 1", OutcomeKind.UNCERTAIN),
        ("error-booked 500 1", OutcomeKind.UNCERTAIN),
        ("lose-answers 1", OutcomeKind.UNCERTAIN),
        ("half 1", OutcomeKind.UNCERTAIN),
        ("garbage 1", OutcomeKind.UNCERTAIN),
        ("late-book 0.05 1", OutcomeKind.UNCERTAIN),
    ],
)
async def test_over_soap_nothing_is_booked_twice_whatever_went_wrong(opened, sap, fault, kind):
    bench, connector = await opened()
    sap.release("100240")
    sap.fault(fault)
    sent = posting(connector, bench.document(1))
    assert (await connector.send(sent)).kind is kind
    again = await connector.send(sent._replace(attempt=2))
    assert again.kind is OutcomeKind.ACCEPTED
    await until(sap.booked)
    await until(lambda: not sap.double._late)
    assert [row["key"] for row in sap.booked()] == [sent.message_id]


async def test_what_is_in_doubt_over_plain_http_goes_to_a_person_and_is_not_repeated(opened, sap, clock):
    bench, connector = await opened(transport="http")
    sap.release("100240")
    sap.fault("error 500 1")
    sent = posting(connector, bench.document(1), sent_ns=clock())
    assert (await connector.send(sent)).kind is OutcomeKind.UNCERTAIN
    for _ in range(2):  # whenever it is asked: that nothing is found proves nothing
        doubt = await connector.lookup(sent)
        assert (doubt.kind, doubt.code) == (LookupKind.UNCLEAR, "IN_DOUBT")
        clock.pass_s(30 * 86_400)
    # The number of a first IDoc, which a person had sent again, says nothing of the second one.
    assert (await connector.lookup(sent._replace(accepted="7", attempt=2))).kind is LookupKind.UNCLEAR
    assert (await connector.lookup(sent._replace(accepted="7"))).kind is LookupKind.ABSENT
    sap.fault("lose-answers 1")
    booked = posting(connector, bench.document(2), sent_ns=clock())
    assert (await connector.send(booked)).kind is OutcomeKind.UNCERTAIN
    assert (await connector.lookup(booked)).kind is LookupKind.FOUND


async def test_before_a_person_s_repeat_over_plain_http_sap_is_asked(opened, sap):
    bench, connector = await opened(transport="http")
    sent = posting(connector, bench.document(1))
    sap.double._delay_s = None
    sap.release("100240")
    assert (await connector.send(sent)).kind is OutcomeKind.ACCEPTED
    assert sap.asked(sap.double.book_waiting) == 1  # a person corrected it there, and has it sent again here
    again = await connector.send(sent._replace(attempt=2))
    assert (again.kind, again.reference) == (OutcomeKind.POSTED, "1/1")
    assert sum(sap.asked(sap.double.store.counts).values()) == 1
    sap.fault("html 1 lookups")
    assert (await connector.send(sent._replace(attempt=3))).kind is OutcomeKind.NOT_SENT
    assert sum(sap.asked(sap.double.store.counts).values()) == 1


async def test_the_error_pool_comes_back_by_aleaud_and_the_booking_by_an_extract(opened, sap):
    bench, connector = await opened(readback=None, statuses_folder="statuses")
    sent = posting(connector, bench.document(1))  # its order is not released there
    assert (await connector.send(sent)).kind is OutcomeKind.ACCEPTED
    refused = await connector.lookup(sent)
    assert (refused.kind, refused.code) == (LookupKind.REFUSED, "ORDER_UNKNOWN") or refused.code == "51"
    sap.release("100240")
    assert sap.asked(sap.double._correct) == 1
    found = await connector.lookup(sent)
    assert (found.kind, found.reference) == (LookupKind.FOUND, "CNF-000001/1")
    fresh = bench.build(readback=None, statuses_folder="statuses")  # what was read before is read again
    await fresh.open()
    assert (await fresh.lookup(sent)).kind is LookupKind.FOUND
    await fresh.close()


async def test_what_a_person_takes_back_in_sap_goes_to_a_person(opened, sap):
    bench, connector = await opened()
    sap.release("100240")
    sent = posting(connector, bench.document(1))
    assert (await connector.send(sent)).kind is OutcomeKind.ACCEPTED
    shown = sap_idoc._shown
    sap_idoc._shown = lambda *row: shown(*row) | {"IsReversed": True}
    try:
        found = await connector.lookup(sent)
    finally:
        sap_idoc._shown = shown
    assert (found.kind, found.code, found.reference) == (LookupKind.REFUSED, "REVERSED", "1/1")


async def test_reasons_are_tickets_of_their_own_and_the_sum_is_exact(opened, sap):
    bench, connector = await opened()
    sap.release("100240")
    document = bench.document(1) | {
        "type": "final",
        "qty": {"good": "97", "scrap": [{"reason": "A1", "qty": "2"}, {"reason": "B2", "qty": "1"}], "rework": "4"},
        "qty_cumulative": {"good": "97", "scrap": [{"reason": None, "qty": "3"}], "rework": "4"},
    }
    for step in range(2):
        assert (await connector.send(posting(connector, document, step))).kind is OutcomeKind.ACCEPTED
    rows = sap.booked()
    assert [(row["good"], row["scrap"], row["rework"], row["final"]) for row in rows] == [
        (97, 2, 4, False),
        (0, 1, 0, True),
    ]
    assert len({row["key"] for row in rows}) == 2


async def test_a_file_is_handed_over_once_although_sap_deletes_it(opened, sap):
    bench, connector = await opened(transport="file")
    sap.release("100240")
    sent = posting(connector, bench.document(1))
    assert (await connector.send(sent)).kind is OutcomeKind.ACCEPTED
    await until(sap.booked)
    await until(lambda: not list((bench.folder / "confirmations").glob("*.xml")))
    after_a_crash = bench.build(transport="file")
    await after_a_crash.open()
    assert (await after_a_crash.send(sent._replace(attempt=2))).kind is OutcomeKind.ACCEPTED
    await after_a_crash.close()
    assert not list((bench.folder / "confirmations").glob("*.xml"))
    assert len(sap.booked()) == 1


async def test_own_files_are_cleared_away_when_they_are_old_and_nobody_asks(opened, sap, clock):
    bench, connector = await opened(transport="file", statuses_folder="statuses", keep_files=Duration("30 d"))
    sap.release("100240")
    over, waits = (posting(connector, bench.document(seq)) for seq in (1, 2))
    for one in (over, waits):
        assert (await connector.send(one)).kind is OutcomeKind.ACCEPTED
    await until(lambda: len(sap.booked()) == 2)
    for one in (over, waits):
        assert (await connector.lookup(one)).kind is LookupKind.FOUND
    page = await connector.fetch_orders("")
    await connector.fetch_orders(page.cursor)
    (bench.folder / "orders" / ".known").mkdir()
    for number, deleted in (("1", True), ("2", False)):
        known = {"revision": 1, "operations": {"0010": {"revision": 1, "deleted": deleted, "fields": {}}}}
        (bench.folder / "orders" / ".known" / f"{number}.json").write_text(json.dumps(known))

    def left():
        return sorted(str(path.relative_to(bench.folder)) for path in bench.folder.rglob("*") if path.is_file())

    before = left()
    assert len(before) == 7, before  # two traces, two extracts, an order, two that are known
    assert connector.capabilities.sweeps
    clock.ns = time.time_ns() + Duration("29 d")
    assert not await connector.sweep(frozenset({waits.rendered.name}))
    assert left() == before
    clock.pass_s(2 * 86_400)
    assert not await connector.sweep(frozenset({waits.rendered.name}))
    (trace,) = (bench.folder / "confirmations" / ".sent").rglob("*.xml")
    assert trace.name == waits.rendered.name
    assert left() == sorted([str(trace.relative_to(bench.folder)), "orders/.known/2.json"])
    again = await connector.send(waits._replace(attempt=2))
    assert again.kind is OutcomeKind.ACCEPTED
    assert not list((bench.folder / "confirmations").glob("*.xml"))


async def test_a_probe_says_what_is_missing(opened, sap):
    bench, connector = await opened(statuses_folder="statuses")
    good = await connector.probe()
    assert good.ok, good
    assert good.detail.startswith("IDoc service: is there; read-back: is there; ")
    (bench.folder / "statuses").rmdir()
    bad = await connector.probe()
    assert not bad.ok
    assert "statuses: is missing" in bad.detail
    elsewhere = bench.build(path="/sap/bc/srt/nothing")
    await elsewhere.open()
    bad = await elsewhere.probe()
    await elsewhere.close()
    assert not bad.ok
    assert "HTTP 404" in bad.detail


async def test_what_is_not_booked_in_co1l_is_corrected_there_and_posted_once(opened, sap, tmp_path):
    """The order takes nothing: the error pool, by ALEAUD; a person corrects it there, and retries here."""
    bench, connector = await opened(statuses_folder="statuses")
    sap.release("100240")
    sap.fault("reject 100240")
    sent = posting(connector, bench.document(1))
    outcome = await connector.send(sent)
    assert outcome.kind is OutcomeKind.BUSINESS_REJECT  # the service itself says so
    sap.fault("accept 100240")
    sap.double._delay_s = None
    assert (await connector.send(sent._replace(attempt=2))).kind is OutcomeKind.ACCEPTED
    sap.fault("reject 100240")
    assert sap.asked(sap.double.book_waiting) == 0
    refused = await connector.lookup(sent)
    assert (refused.kind, refused.code) == (LookupKind.REFUSED, "51"), refused
    sap.fault("accept 100240")
    assert sap.asked(sap.double._correct) == 1
    assert (await connector.send(sent._replace(attempt=3))).kind is OutcomeKind.ACCEPTED  # SAP drops it
    assert (await connector.lookup(sent)).kind is LookupKind.FOUND
    assert len(sap.booked()) == 1


def pushed(port: int, content: bytes, authorization: str) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/idoc", content, {"Authorization": authorization})
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


async def test_sap_may_push_and_is_answered_once_the_idoc_is_on_the_disk(opened, sap):
    from simulators.erp.sap_idoc_wire import order_idoc

    receiver = Receiver(port=0, token=SecretRef(env="T"))
    bench, connector = await opened({"receiver.token": "s3cret"}, receiver=receiver)
    image = {"order_id": "100240", "qty": "5", "operations": [{"op": "0010", "work_center": "W"}]}
    content, port = order_idoc(image, 7), connector.receiver_port

    def post(body, authorization="Bearer s3cret"):
        return asyncio.to_thread(pushed, port, body, authorization)

    assert await post(content, "Bearer wrong") == 401
    assert await post(content, "Basic " + base64.b64encode(b"sap:wrong").decode()) == 401
    assert await post(b"<html/>") == 422
    # Far more than a socket holds back: whoever is cut off while it sends sees a reset, and no answer.
    assert await post(b"x" * (3 * IDOC_MAX_BYTES)) == 413
    assert not (await connector.fetch_orders("")).orders
    assert await post(content, "Basic " + base64.b64encode(b"sap:s3cret").decode()) == 200
    assert len(list((bench.folder / "orders").glob("*.xml"))) == 1
    assert await post(content) == 200  # again: it is there
    page = await connector.fetch_orders("")
    assert [(one.order, one.revision) for one in page.orders] == [("100240", 820540807_000007)]
    assert not (await connector.fetch_orders(page.cursor)).orders
    assert await post(content) == 200
    assert not (await connector.fetch_orders("")).orders
    shutil.rmtree(bench.folder / "orders")
    assert await post(order_idoc(image, 8)) == 503  # SAP keeps it, and sends it again


async def test_the_double_pushes_its_orders_and_they_are_fetched_at_once(tmp_path, clock, running_double, order_image):
    folder, came = tmp_path / "exchange", []
    (folder / "orders").mkdir(parents=True)
    settings = SapIdocSettings(
        connector="sap_idoc",
        url="http://127.0.0.1:1",
        folder="exchange",
        order_numbers="short",
        receiver=Receiver(port=0, token=SecretRef(env="T")),
    )
    context = ConnectorContext(
        name="erp",
        gateway_id="demo",
        now_ns=clock,
        secrets={"receiver.token": "s3cret"},
        base_dir=tmp_path,
        orders_came=lambda: came.append(1),
    )
    connector = PLUGIN.build(settings, context)
    await connector.open()
    try:
        url = f"http://127.0.0.1:{connector.receiver_port}/idoc"
        push = {"folder": None, "push": url, "push_token": "s3cret", "co1l": "0"}
        sap_idoc_double = await asyncio.to_thread(running_double, sap_idoc.SapIdoc, **push)
        for order in ("100240", "100241"):
            await asyncio.to_thread(sap_idoc_double.put_order, order_image(order))
        await until(lambda: len(came) >= 2)
        page = await connector.fetch_orders("")
        assert [one.order for one in page.orders] == ["100240", "100241"]
        assert not page.refused
        assert connector.capabilities.one_at_a_time  # the port is its own: nobody else may ask beside it
    finally:
        await connector.close()


async def test_a_folder_that_is_away_is_noticed(opened):
    bench, connector = await opened()
    shutil.rmtree(bench.folder / "orders")
    with pytest.raises(ConnectorError, match="is missing"):
        await connector.fetch_orders("")


@pytest.fixture
def mock_url(port_for_later):
    mock = shutil.which("mock-sap", path=str(Path(sys.executable).parent))
    if mock is None:
        why = "mock-sap is not installed: pip install mock-sap"
        assert not os.environ.get("CI"), why
        pytest.skip(why)
    command = [mock, "--port", str(port_for_later()), "--no-csrf", "-q"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield f"http://127.0.0.1:{command[2]}"
    process.terminate()
    process.wait(DEADLINE_S)


async def test_mock_sap_takes_our_idoc(opened, mock_url):
    """Another one's idea of SAP: it stores what we send, and says 51 where posting is set to fail."""
    bench, connector = await opened(transport="http", url=mock_url, path="/sap/bc/idoc", readback=None)
    sent = posting(connector, bench.document(1))
    outcome = await connector.send(sent)
    deadline = time.monotonic() + DEADLINE_S
    while outcome.kind is OutcomeKind.NOT_SENT and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        outcome = await connector.send(sent)
    assert outcome.kind is OutcomeKind.ACCEPTED, outcome
    assert re.fullmatch(r"\d+", outcome.reference), outcome
    rule = json.dumps({"message_type": "PPCC2PRETTICKET", "status": "51", "text": "no"}).encode()
    asked = urllib.request.Request(
        f"{mock_url}/_mock/idoc-posting", rule, {"Content-Type": "application/json"}, method="POST"
    )
    await asyncio.to_thread(lambda: urllib.request.urlopen(asked, timeout=DEADLINE_S).close())
    refused = await connector.send(posting(connector, bench.document(2)))
    assert (refused.kind, refused.code) == (OutcomeKind.BUSINESS_REJECT, "51"), refused


def test_the_double_is_a_program(tmp_path):
    """Named on the command line; its ledger and its IDocs outlive it."""
    ledger = tmp_path / "ledger.db"
    command = [sys.executable, "-m", "simulators", "sap_idoc", "--ledger", str(ledger), "--co1l", "hand"]
    counts = []
    for _ in range(2):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            ready = json.loads(process.stdout.readline())
            if not counts:
                body = (Path(__file__).parent / "data" / "ticket.xml").read_bytes()
                asked = urllib.request.Request(f"{ready['url']}/sap/bc/srt/idoc", body)
                urllib.request.urlopen(asked, timeout=DEADLINE_S).close()
            answers = []
            process.stdin.write("pool\n")
            process.stdin.flush()
            answers.append(process.stdout.readline())
            process.kill()
            counts.append(answers[0])
    assert all('"stored": 1' in one for one in counts), counts


def test_keys_are_sap_guids(made_bench):
    document = made_bench().document(1) | {"confirmation_id": str(uuid4())}
    body = made_bench().build().render(document).body.decode()
    assert f"<EX_IDENT>{UUID(document['confirmation_id']).hex.upper()}</EX_IDENT>" in body
    assert f"<ARCKEY>urn:sap.com:msgid={UUID(document['confirmation_id']).hex.upper()}</ARCKEY>" in body
    assert Decimal(re.search("<YIELD>(.*?)</YIELD>", body)[1]) == 10
