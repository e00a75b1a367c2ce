import asyncio
import contextlib
import csv
import errno
import io
import os
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest
from kept_waiting import Taken

from gateway.connectors.base import ConnectorError, LookupKind, MappingError, Outcome, OutcomeKind, Posting
from gateway.connectors.file import PLUGIN
from gateway.connectors.file import folder as files
from gateway.connectors.file.handover import FILE_MAX_BYTES
from gateway.connectors.file.orders import LINES_MAX, parse_file
from gateway.connectors.file.settings import FileSettings
from gateway.contract import Booked, FaultContract
from gateway.contract.faults import FAULTS
from gateway.core.duration import Duration
from gateway.core.foreign_text import is_clean

HEADER = "order;revision;operation;work_center;product;quantity;uom;sequence_no;std_cycle_s;cancelled"
TWO_LINES = f"{HEADER}\n100240;1;0010;WC-ASM;ASSY-D20;24;PC;10;2.4;\n100240;1;0020;WC-PCK;ASSY-D20;24;PC;10;;\n"


def settings_of(**changes):
    return FileSettings(connector="file", folder="share", **changes)


@pytest.fixture
def share(tmp_path):
    share = tmp_path / "share"
    (share / "orders").mkdir(parents=True)
    (share / "confirmations").mkdir()
    return share


@pytest.fixture
def make(context, share):
    return lambda **changes: PLUGIN.build(settings_of(**changes), context())


@pytest.fixture
def posting(document):
    def made(connector, seq=1, **changes):
        image = document(seq, **changes)
        return Posting(
            image["idempotency_key"], image["confirmation_id"], image["order_id"], image["operation"], seq, 1,
            connector.render(image),
        )  # fmt: skip

    return made


class TestContract(FaultContract):
    without = dict.fromkeys(FAULTS, "a folder answers at once, or not at all")

    @pytest.fixture
    def bench(self, make, share, document):
        def bookings(key):
            found = [path.read_text() for path in (share / "confirmations").rglob("*.csv")]
            return sum(f";{key};" in text for text in found)

        def release(order):
            (share / "orders" / f"{order}.csv").write_text(TWO_LINES.replace("100240", order))

        def booked():
            files = (share / "confirmations").rglob("*.csv")
            rows = [row for path in files for row in csv.DictReader(io.StringIO(path.read_text()), delimiter=";")]
            return [Booked(row["key"], Decimal(row["good"]), Decimal(row["scrap"])) for row in rows]

        def fault(name, count=1):
            return False

        return SimpleNamespace(
            build=make,
            document=document,
            release=release,
            take_away=lambda: share.rename(share.with_name("unmounted")),
            bookings=bookings,
            fault=fault,
            working=lambda: False,
            booked=booked,
        )


async def test_a_confirmation_is_one_readable_file(make, share, posting):
    connector = make()
    sent = posting(connector, 3)
    outcome = await connector.send(sent)
    (path,) = (share / "confirmations").iterdir()
    assert outcome == Outcome(OutcomeKind.ACCEPTED, reference=path.name)
    assert path.name.startswith("100240-0010-000003-")
    (row,) = csv.DictReader(io.StringIO(path.read_text()), delimiter=";")
    assert (row["order"], row["operation"], row["seq"], row["type"]) == ("100240", "0010", "3", "partial")
    assert (row["good"], row["scrap"], row["rework"], row["uom"]) == ("10", "1", "0", "PC")
    assert row["key"] == sent.key
    assert path.read_bytes() == sent.rendered.body


async def test_the_erp_may_have_moved_the_file_on(make, share, posting):
    connector = make()
    sent = posting(connector)
    await connector.send(sent)
    (share / "confirmations" / "done").mkdir()
    (share / "confirmations" / sent.rendered.name).rename(share / "confirmations" / "done" / sent.rendered.name)
    assert (await connector.lookup(sent)).kind is LookupKind.ACCEPTED
    assert (await connector.send(sent)).kind is OutcomeKind.ACCEPTED
    assert not (share / "confirmations" / sent.rendered.name).exists()


async def test_an_unmounted_share_is_never_papered_over(make, share, posting):
    connector = make()
    (share / "confirmations").rmdir()  # an empty mount point
    outcome = await connector.send(posting(connector))
    assert outcome.kind is OutcomeKind.NOT_SENT
    assert "mount the share" in outcome.detail
    assert not (share / "confirmations").exists()
    assert (await connector.lookup(posting(connector))).kind is LookupKind.UNKNOWN
    (share / "orders").rmdir()
    with pytest.raises(ConnectorError, match="mount the share"):
        await connector.fetch_orders("")
    assert list(share.iterdir()) == []


async def test_a_write_that_failed_half_way_left_nothing(make, share, posting, monkeypatch):
    connector = make()

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    outcome = await connector.send(posting(connector))
    assert outcome.kind is OutcomeKind.NOT_SENT
    assert list((share / "confirmations").iterdir()) == []
    monkeypatch.undo()
    assert (await connector.send(posting(connector))).kind is OutcomeKind.ACCEPTED


async def test_a_rename_that_is_not_known_to_be_durable_is_uncertain(make, share, posting, monkeypatch):
    connector = make()

    def failing(_folder):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "sync", failing)
    assert (await connector.send(posting(connector))).kind is OutcomeKind.UNCERTAIN


async def test_a_left_over_of_a_crash_is_overwritten(make, share, posting):
    connector = make()
    sent = posting(connector)
    (share / "confirmations" / f".{sent.rendered.name}.tmp").write_bytes(b"half")
    assert (await connector.send(sent)).kind is OutcomeKind.ACCEPTED
    assert [path.read_bytes() for path in (share / "confirmations").iterdir()] == [sent.rendered.body]


@pytest.mark.parametrize("order", ["../../etc/passwd", "a/b", "Ä ö", "x" * 64, ".hidden", "con:*?"])
def test_file_names_are_safe(make, document, order):
    name = make().render(document(1, order=order)).name
    assert name == Path(name).name
    assert name.isascii()
    assert not name.startswith(".")
    assert len(name) < 120
    assert name != make().render(document(2, order=order)).name


def test_the_confirmation_in_another_dialect(make, document):
    connector = make(delimiter="\t", encoding="cp1252", decimal_separator=",")
    image = document(1)
    image["qty"] = {
        "good": "1.5",
        "scrap": [{"reason": "Riß", "qty": "0.25"}, {"reason": "B", "qty": "1"}],
        "rework": "0",
    }
    image["machine"] = 'A"B'
    (row,) = csv.DictReader(io.StringIO(connector.render(image).body.decode("cp1252")), delimiter="\t")
    assert (row["good"], row["scrap"], row["scrap_reasons"]) == ("1,5", "1,25", "Riß=0,25,B=1")
    assert row["machine"] == 'A"B'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"machine": "机"}, "cp1252 cannot carry"),
        ({"qty": {"good": "many", "scrap": []}}, "qty.good: found 'many'"),
        ({"qty": {"good": 1.5, "scrap": []}}, "qty.good: found 1.5"),
        ({"qty": {"good": "1", "scrap": "1"}}, "qty.scrap: found '1'"),
        ({"qty": "1"}, "qty: found '1', allowed: an object"),
        ({"seq": "3"}, "seq: found '3'"),
        ({"order_id": ""}, "order_id: found ''"),
        ({"confirmation_id": "short"}, "a UUID"),
    ],
)
def test_a_confirmation_that_cannot_be_written(make, document, change, message):
    with pytest.raises(MappingError, match=message):
        make(encoding="cp1252").render({**document(1), **change})


async def test_files_move_when_their_cursor_came_back(make, share):
    connector = make()
    (share / "orders" / "a.csv").write_text(TWO_LINES)
    (share / "orders" / "b.csv").write_text(TWO_LINES.replace("24;PC", "none;PC"))
    (share / "orders" / "notes.txt").write_text("not orders")
    (share / "orders" / ".hidden.csv").write_text("x")
    page = await connector.fetch_orders("")
    assert [order.order for order in page.orders] == ["100240"]
    (refused,) = page.refused
    assert refused.place == "b.csv"
    assert refused.reasons[0].startswith("line 2, quantity: found 'none', allowed: a number above 0")
    assert [order for order, _ in refused.orders] == ["100240"], "who sent it is answered for each order"
    assert {path.name for path in (share / "orders").iterdir()} == {"a.csv", "b.csv", "notes.txt", ".hidden.csv"}

    after_restart = make()
    page = await after_restart.fetch_orders(page.cursor)
    assert (page.orders, page.refused, page.cursor) == ((), (), "")
    assert [path.name for path in (share / "orders" / "done").iterdir()] == ["a.csv"]
    errors = {path.name: path.read_text() for path in (share / "orders" / "error").iterdir()}
    assert sorted(errors) == ["b.csv", "b.csv.error.txt"]
    assert "line 2, quantity: found 'none'" in errors["b.csv.error.txt"]
    assert "line 3, quantity: found 'none'" in errors["b.csv.error.txt"]


async def test_a_new_file_under_an_old_name_is_read(make, share):
    connector = make()
    path = share / "orders" / "orders.csv"
    path.write_text(TWO_LINES)
    page = await connector.fetch_orders("")
    path.write_text(TWO_LINES.replace("100240", "100241"))
    page = await connector.fetch_orders(page.cursor)
    assert [order.order for order in page.orders] == ["100241"]
    page = await connector.fetch_orders(page.cursor)
    path.write_text(TWO_LINES)
    page = await connector.fetch_orders((await connector.fetch_orders(page.cursor)).cursor)
    assert sorted(path.name for path in (share / "orders" / "done").iterdir()) == ["orders.2.csv", "orders.csv"]


async def test_a_file_that_is_still_being_written_is_given_until_the_next_poll(make, share):
    connector = make()
    path = share / "orders" / "a.csv"
    path.write_text(TWO_LINES[:-5])
    assert (await connector.fetch_orders("")).cursor == ""
    path.write_text(TWO_LINES[:-2])
    assert (await connector.fetch_orders("")).cursor == ""
    path.write_text(TWO_LINES)
    assert len((await connector.fetch_orders("")).orders) == 1
    path.write_text(TWO_LINES.rstrip("\n"))
    assert (await connector.fetch_orders("")).cursor == ""
    assert len((await connector.fetch_orders("")).orders) == 1  # nobody writes any more: it simply ends so


@pytest.mark.parametrize("cursor", ["17", "[]", '{"../../secret.csv": "x"}', "{", '{"a.csv": 5}'])
async def test_a_strange_cursor_moves_nothing(make, share, cursor):
    (share / "secret.csv").write_text("x")
    (share / "orders" / "a.csv").write_text(TWO_LINES)
    assert len((await make().fetch_orders(cursor)).orders) == 1
    assert (share / "secret.csv").exists()
    assert (share / "orders" / "a.csv").exists()


async def test_a_file_that_is_too_big_is_refused(make, share):
    with (share / "orders" / "big.csv").open("wb") as file:
        file.truncate(FILE_MAX_BYTES + 1)
    page = await make().fetch_orders("")
    assert "bytes, allowed at most" in page.refused[0].reasons[0]
    await make().fetch_orders(page.cursor)
    assert (share / "orders" / "error" / "big.csv").exists()


async def test_a_file_with_a_strange_name_is_told_clean_and_moved(make, share):
    raw = b"a\x1b[2J\n\xff" + b"x" * 150 + b".csv"
    (share / "orders" / os.fsdecode(raw)).write_text("nothing\n")
    page = await make().fetch_orders("")
    (refused,) = page.refused
    assert refused.place.startswith("a [2J \ufffdxxx")
    assert len(refused.place) == 100
    assert is_clean(page.cursor)
    assert (await make().fetch_orders(page.cursor)).refused == ()
    assert os.fsdecode(raw) in {path.name for path in (share / "orders" / "error").iterdir()}


@pytest.mark.parametrize("length", [1, 5000])  # the second is none that a file system can have
async def test_a_missing_folder_with_a_strange_name_is_told_clean(context, posting, length):
    settings = FileSettings(connector="file", folder="no\x1b[2J\nwhere" + "x" * length)
    connector = PLUGIN.build(settings, context())
    with pytest.raises(ConnectorError) as refused:
        await connector.fetch_orders("")
    for text in (
        str(refused.value),
        (await connector.send(posting(connector))).detail,
        (await connector.lookup(posting(connector))).detail,
        (await connector.probe()).detail,
    ):
        assert text
        assert is_clean(text)
        assert len(text) <= 500


class Hanging:
    """A share on which one write hangs: to open a pipe that nobody reads takes as long as on a server that is gone."""

    def __init__(self, folder):
        self._folder = folder
        self._pipe = None

    def hang(self, name):
        self._pipe = self._folder / f".{name}.tmp"
        os.mkfifo(self._pipe)

    def threads(self):
        return [thread for thread in threading.enumerate() if thread.name == f"share {self._folder.parent}"]

    def is_called(self):
        return bool(self.threads())

    def go_on(self):
        with contextlib.suppress(FileNotFoundError):  # it went on before
            os.close(os.open(self._pipe, os.O_RDONLY | os.O_NONBLOCK))


@pytest.fixture
def hanging(share):
    hanging = Hanging(share / "confirmations")
    yield hanging
    if hanging.is_called():
        hanging.go_on()
        for thread in threading.enumerate():
            if thread.name == f"share {share}":
                thread.join(60)
    assert not hanging.is_called()


async def until(condition, limit_s=60):
    async with asyncio.timeout(limit_s):
        while not await condition():  # noqa: ASYNC110 - another thread's doing, it sets no event
            await asyncio.sleep(0.01)


async def test_a_share_that_hangs_holds_up_nothing_else(make, posting, hanging):
    connector = make(timeout=Duration("3 s"))
    first, second = posting(connector, 1), posting(connector, 2)
    hanging.hang(first.rendered.name)
    outcome = await connector.send(first)
    assert outcome.kind is OutcomeKind.UNCERTAIN  # the write was begun: nobody knows
    assert "no answer within 3 s" in outcome.detail

    threads = hanging.threads()
    taken = Taken()
    for _ in range(50):
        outcome = await connector.send(second)
        assert outcome.kind is OutcomeKind.NOT_SENT
        assert (await connector.lookup(first)).kind is LookupKind.UNKNOWN
        assert not (await connector.probe()).ok
        with pytest.raises(ConnectorError, match="has hung for"):
            await connector.fetch_orders("")
    assert taken.seconds() < 0.9, "refused at once, not after another limit"
    assert "has hung for" in outcome.detail
    assert hanging.threads() == threads, "no other one hangs beside it"
    await connector.close()

    hanging.go_on()

    async def answers():
        return (await connector.lookup(first)).kind is LookupKind.ABSENT

    await until(answers)
    for sent in (first, second):
        assert (await connector.send(sent)).kind is OutcomeKind.ACCEPTED
        assert (await connector.lookup(sent)).kind is LookupKind.ACCEPTED


async def test_who_waits_behind_a_call_that_hangs_is_told_that_nothing_was_sent(make, posting, hanging):
    connector = make(timeout=Duration("3 s"))
    sent = [posting(connector, number) for number in range(1, 6)]
    hanging.hang(sent[0].rendered.name)
    taken = Taken()
    outcomes = await asyncio.gather(*(connector.send(one) for one in sent))
    assert taken.seconds() < 5.5, "one limit for all, not one for each"
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.UNCERTAIN, *[OutcomeKind.NOT_SENT] * 4]


async def test_a_call_whose_caller_is_gone_is_still_waited_for(make, posting, hanging):
    connector = make(timeout=Duration("3 s"))
    first, second = posting(connector, 1), posting(connector, 2)
    hanging.hang(first.rendered.name)
    task = asyncio.create_task(connector.send(first))

    async def called():
        return hanging.is_called()

    await until(called)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await connector.send(second)).kind is OutcomeKind.NOT_SENT
    hanging.go_on()

    async def sent():
        return (await connector.send(second)).kind is OutcomeKind.ACCEPTED

    await until(sent)


STOPPED_WHILE_IT_HANGS = """
import asyncio, sys
from pathlib import Path
from gateway.connectors.base import ConnectorContext, Posting, Rendered
from gateway.connectors.file import PLUGIN
from gateway.connectors.file.settings import FileSettings

async def main():
    context = ConnectorContext(name="erp", gateway_id="g", now_ns=lambda: 0, secrets={}, base_dir=Path(sys.argv[1]))
    connector = PLUGIN.build(FileSettings(connector="file", folder="share"), context)
    posting = Posting("key", "id", "1", "10", 1, 1, Rendered(b"x", "text/csv", "name.csv"))
    try:
        await asyncio.wait_for(connector.send(posting), 0.5)
    except TimeoutError:
        await connector.close()
        print("given up")

asyncio.run(main())
"""


def test_a_share_that_hangs_does_not_hold_up_the_end_of_the_process(tmp_path, hanging):
    hanging.hang("name.csv")
    command = [sys.executable, "-c", STOPPED_WHILE_IT_HANGS, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "given up\n", "")


def test_orders_in_another_dialect():
    text = '﻿Order, OPERATION ,work_center,product,quantity,extra,std_cycle_s\r\n1,10,W,"P,1",24,?,2.5\r\n\r\n'
    orders, reasons = parse_file(text.encode(), settings_of(delimiter=","))
    assert reasons == ()
    assert (orders[0].product, orders[0].operations[0].std_cycle_ns) == ("P,1", 2_500_000_000)
    text = "order;operation;work_center;product;quantity;text\n1;10;W;Größe;24,5;Stück\n2;10;W;P;1;\n"
    orders, reasons = parse_file(text.encode("cp850"), settings_of(encoding="cp850", decimal_separator=","))
    assert [(order.order, order.product, order.quantity) for order in orders] == [
        ("1", "Größe", Decimal("24.5")),
        ("2", "P", Decimal(1)),
    ]


@pytest.mark.parametrize(("cell", "there"), [("true", True), ("no", False), ("", None)])
def test_the_material_is_there_or_not_or_nobody_tells(cell, there):
    text = f"order;operation;work_center;product;quantity;material_available\n1;10;W;P;1;{cell}\n"
    (order,), reasons = parse_file(text.encode(), settings_of())
    assert reasons == ()
    assert order.image.material_available is there


@pytest.mark.parametrize(("cell", "overlaps"), [("true", True), ("", False), ("no", False)])
def test_the_next_operation_may_begin_before(cell, overlaps):
    text = f"order;operation;work_center;product;quantity;overlap\n1;10;W;P;1;{cell}\n"
    (order,), reasons = parse_file(text.encode(), settings_of())
    assert reasons == ()
    assert order.image.operations[0].control.overlap is overlaps
    assert (
        "overlap: found 'perhaps'" in parse_file(text.replace(f";{cell}\n", ";perhaps\n").encode(), settings_of())[1][0]
    )


SHORT = "order;operation;work_center;product;quantity\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line 1: found no column order, operation, work_center, product, quantity, allowed: order;operation;"),
        ("order;operation;work_center;product\n1;1;1;1\n", "line 1: found no column quantity"),
        (SHORT.replace("\n", ";order\n"), "line 1: found a column twice"),
        (SHORT, "line 2: is missing"),
        (SHORT + "1;10;W;P\n", "line 2: found 4 columns, allowed: 5"),
        (SHORT + "1;10;W;P;1\n1;20;W;Q;1\n", "line 3: differs from the order's first line"),
        (SHORT + "1;10;W;P;1\n1;10;W;P;1\n", "line 3, operation: found '10', allowed: each operation of an order once"),
        (SHORT + "1;10;W;P;1\n2;10;W;P;1\n1;20;W;P;1\n", "line 4, order: found '1' again"),
        (SHORT + "1;10;W;P;1.000,5\n", "line 2, quantity: found '1.000,5'"),
        (SHORT + '1;10;W;"P;1\n', "line 2: "),
        (SHORT + ";10;W;P;1\n", "line 2, order: is missing"),
        (SHORT + "1;1/0;W;P;1\n", "line 2, operation: found '1/0'"),
        (SHORT + f"1;10;W;{'P' * 20_000};1\n", "line 2: is too long"),
    ],
)
def test_a_file_is_taken_whole_or_not_at_all(text, reason):
    orders, reasons = parse_file(text.encode(), settings_of())
    assert orders == ()
    assert any(found.startswith(reason) for found in reasons), reasons


def test_a_reason_is_one_short_clean_line():
    name = "\x1b[2J" + "x" * 5000
    text = SHORT + f"{name};10;W;P;1\n2;10;W;P;1\n{name};20;W;P;1\n"
    _, reasons = parse_file(text.encode(), settings_of())
    assert any(
        "order: found '\\x1b[2Jxxx" in reason and reason.endswith("again, allowed: its lines together")
        for reason in reasons
    )
    assert all(is_clean(reason) and len(reason) < 200 for reason in reasons)


def test_a_file_has_limits():
    many = SHORT + "".join(f"{number};10;W;P;1\n" for number in range(LINES_MAX + 5))
    orders, reasons = parse_file(many.encode(), settings_of())
    assert orders == ()
    assert "one too many" in reasons[0]
    bad = SHORT + "1;10;W;P;x\n" * 200
    assert len(parse_file(bad.encode(), settings_of())[1]) == 51


def test_a_point_where_a_comma_was_agreed_is_not_guessed():
    orders, reasons = parse_file((SHORT + "1;10;W;P;1.000\n").encode(), settings_of(decimal_separator=","))
    assert orders == ()
    assert reasons[0].startswith("line 2, quantity: found '1?000'")


def test_bytes_of_another_encoding_are_refused_with_their_line():
    orders, reasons = parse_file((SHORT + "1;10;W;Größe;1\n").encode("cp1252"), settings_of())
    assert orders == ()
    assert reasons == ("line 2: found a byte that is not utf-8, allowed: utf-8",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"orders_folder": "../x"}, "orders_folder"),
        ({"orders_folder": ".x"}, "orders_folder"),
        ({"confirmations_folder": ""}, "confirmations_folder"),
        ({"confirmations_folder": "orders"}, "two different folders"),
        ({"delimiter": ",", "decimal_separator": ","}, "two different characters"),
        ({"encoding": "klingon"}, "encoding"),
        ({"encoding": "base64"}, "encoding"),
        ({"encoding": "utf-16"}, "encoding"),
        ({"timeout": Duration("500 ms")}, "timeout"),
        ({"timeout": Duration("3 min")}, "timeout"),
    ],
)
def test_settings_that_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        settings_of(**changes)


def test_settings_are_described():
    assert PLUGIN.describe(settings_of())
