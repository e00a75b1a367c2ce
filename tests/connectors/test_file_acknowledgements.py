"""How files change hands, and what an ERP says of a confirmation: in real folders."""

import contextlib
import errno
import hashlib
import os
from types import SimpleNamespace

import pytest

from gateway.connectors.base import ConnectorError, LookupKind, OutcomeKind, Posting
from gateway.connectors.file import PLUGIN
from gateway.connectors.file.columns import Column
from gateway.connectors.file.folder import LocalPlace
from gateway.connectors.file.settings import FileSettings
from gateway.contract import ConnectorContract

HEADER = "order;revision;operation;work_center;product;quantity;uom\n"
ORDER = HEADER + "100240;1;0010;WC-ASM;ASSY-D20;24;PC\n"
SEMAPHORE = {"append_to": "CONF.TXT", "semaphore": "CONF.OK", "semaphore_held": "CONF.LG"}
SCHEDULE = """<SyncOperationsSchedule xmlns="http://www.mesa.org/xml/B2MML" releaseID="0700"><ApplicationArea>
<CreationDateTime>2026-11-22T06:00:00Z</CreationDateTime></ApplicationArea><DataArea><Sync/><OperationsSchedule><ID>s</ID>
<OperationsRequest><ID>100240</ID><SegmentRequirement><ID>1</ID><OperationsSegmentID>0010</OperationsSegmentID>
<EquipmentRequirement><EquipmentID>WC-ASM</EquipmentID></EquipmentRequirement><MaterialRequirement>
<MaterialDefinitionID>A</MaterialDefinitionID><MaterialUse>Produced</MaterialUse><Quantity><QuantityString>24
</QuantityString><UnitOfMeasure>C62</UnitOfMeasure></Quantity></MaterialRequirement></SegmentRequirement>
</OperationsRequest></OperationsSchedule></DataArea></SyncOperationsSchedule>"""


@pytest.fixture
def share(tmp_path):
    for name in ("orders", "confirmations", "receipts", "answers"):
        (tmp_path / "share" / name).mkdir(parents=True)
    return tmp_path / "share"


@pytest.fixture
def make(context):
    return lambda **changes: PLUGIN.build(
        FileSettings(**{"connector": "file", "folder": "share", **changes}), context()
    )


@pytest.fixture
def posting(document):
    def made(connector, seq=1, **changes):
        image = document(seq)
        return Posting(
            image["idempotency_key"], image["confirmation_id"], image["order_id"], image["operation"], seq, 1,
            connector.render(image), **changes,
        )  # fmt: skip

    return made


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


class TestReceiptsContract(ConnectorContract):
    """With the settings that leave the least to chance."""

    @pytest.fixture(params=["csv", "b2mml"])
    def bench(self, request, make, share, document):
        settings = {"format": request.param, "ack": "file", "orders_claim": True, "confirmations_trigger": ".OK"}
        suffix, text = {"csv": ("csv", ORDER), "b2mml": ("xml", SCHEDULE)}[request.param]
        ids = {}

        def bookings(key):
            found = [path.read_text() for path in (share / "confirmations").glob(f"*.{suffix}")]
            return sum(ids.get(key, key) in one for one in found)

        def documented(seq):
            image = document(seq)
            ids[image["idempotency_key"]] = image["confirmation_id"] if suffix == "xml" else image["idempotency_key"]
            return image

        return SimpleNamespace(
            build=lambda: make(**settings),
            document=documented,
            release=lambda order: (share / "orders" / f"{order}.{suffix}").write_text(text.replace("100240", order)),
            take_away=lambda: share.rename(share.with_name("unmounted")),
            bookings=bookings,
        )


async def sent_once(connector, one):
    outcome = await connector.send(one)
    assert outcome.kind is OutcomeKind.ACCEPTED, outcome
    assert (await connector.lookup(one)).kind is LookupKind.ACCEPTED


async def test_moved_to_done_is_booked_and_to_error_is_refused(make, share, posting):
    connector = make(ack="moved")
    booked, refused = posting(connector, 1), posting(connector, 2)
    for one, folder in ((booked, "done"), (refused, "error")):
        await sent_once(connector, one)
        (share / "confirmations" / folder).mkdir()
        (share / "confirmations" / one.rendered.name).rename(share / "confirmations" / folder / one.rendered.name)
    assert (await connector.lookup(booked)).kind is LookupKind.FOUND
    found = await connector.lookup(refused)
    assert (found.kind, found.code) == (LookupKind.REFUSED, "error")
    (share / "confirmations" / "error" / f"{refused.rendered.name}.err.txt").write_text("order is closed\n")
    assert (await connector.lookup(refused)).detail == "order is closed "
    # A person corrected it there and sends it again: it goes out anew, what was refused is kept.
    assert (await connector.send(refused)).kind is OutcomeKind.ACCEPTED
    assert names(share / "confirmations") == [refused.rendered.name]
    assert f"{refused.rendered.name}.refused1" in names(share / "confirmations" / "error")


async def test_a_file_in_error_is_a_refusal_with_any_settings(make, share, posting):
    connector = make()
    one = posting(connector)
    await connector.send(one)
    (share / "confirmations" / "error").mkdir()
    (share / "confirmations" / one.rendered.name).rename(share / "confirmations" / "error" / one.rendered.name)
    assert (await connector.lookup(one)).kind is LookupKind.REFUSED


async def test_deleted_is_booked_and_never_given_again(make, share, posting):
    connector = make(ack="deleted")
    one = posting(connector)
    assert (await connector.lookup(one)).kind is LookupKind.ABSENT
    await sent_once(connector, one)
    (share / "confirmations" / one.rendered.name).unlink()
    for again in (connector, make(ack="deleted")):  # another process too
        assert (await again.lookup(one)).kind is LookupKind.FOUND
        assert (await again.send(one)).kind is OutcomeKind.ACCEPTED
        assert names(share / "confirmations") == []


CSV_RECEIPTS = {
    "booked": ("id;status;erp_doc;message\n{id};OK;4711;\n", LookupKind.FOUND, "4711", ""),
    "by key": ("status;message;id;erp_doc\nposted;;{key};4711\n", LookupKind.FOUND, "4711", ""),
    "without heads": ("{id};booked;4711;\n", LookupKind.FOUND, "4711", ""),
    "refused": ("{id};ERROR;;order closed\n", LookupKind.REFUSED, "", "order closed"),
    "one line of two": ("{id};OK;1;\n{id};ERROR;;reason unknown\n", LookupKind.REFUSED, "", "reason unknown"),
    "another word": ("{id};QUEUED;;\n", LookupKind.ACCEPTED, "", ""),
    "half": ("{id};OK;47", LookupKind.ACCEPTED, "", ""),
    "of another": ("00000000-0000-0000-0000-000000000000;OK;1;\n", LookupKind.ACCEPTED, "", ""),
    "empty": ("", LookupKind.ACCEPTED, "", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CSV_RECEIPTS)
async def test_receipts_of_csv(make, share, posting, case):
    text, kind, reference, detail = CSV_RECEIPTS[case]
    connector = make(ack="file")
    one = posting(connector)
    await sent_once(connector, one)
    (share / "confirmations" / one.rendered.name).unlink()  # read; that says nothing yet
    assert (await connector.lookup(one)).kind is LookupKind.ACCEPTED
    assert (await connector.send(one)).kind is OutcomeKind.ACCEPTED
    assert names(share / "confirmations") == []
    stem = one.rendered.name.removesuffix(".csv")
    (share / "receipts" / f"ACK_{stem}.csv").write_text(text.format(id=one.message_id, key=one.key))
    for again in (connector, make(ack="file")):  # the answer of the first may not have been kept
        found = await again.lookup(one)
        waits = one.rendered.name if kind is LookupKind.ACCEPTED else reference
        assert (found.kind, found.reference, found.detail) == (kind, waits, detail)
    assert (names(share / "receipts") == []) == (kind is not LookupKind.ACCEPTED)


BODS = """<ConfirmBOD xmlns="http://www.mesa.org/xml/B2MML"><ApplicationArea><Sender><ReferenceID>4711
</ReferenceID></Sender><CreationDateTime>2026-11-22T06:00:00Z</CreationDateTime></ApplicationArea><DataArea><Confirm>
<ResponseCriteria><ResponseExpression actionCode="{action}">/</ResponseExpression><ChangeStatus><Code>{code}</Code>
<Description>{text}</Description></ChangeStatus></ResponseCriteria></Confirm><BOD><OriginalApplicationArea>
<CreationDateTime>2026-11-22T06:00:00Z</CreationDateTime><BODID>{id}</BODID></OriginalApplicationArea></BOD></DataArea>
</ConfirmBOD>"""
ACKNOWLEDGED = """<AcknowledgeOperationsPerformance xmlns="http://www.mesa.org/xml/B2MML"><ApplicationArea><BODID>4711
</BODID></ApplicationArea><DataArea><Acknowledge><OriginalApplicationArea><BODID>{id}</BODID></OriginalApplicationArea>
<ResponseCriteria><ResponseExpression actionCode="{action}"/><ChangeStatus><ReasonCode>{code}</ReasonCode><Reason>{text}
</Reason></ChangeStatus></ResponseCriteria></Acknowledge></DataArea></AcknowledgeOperationsPerformance>"""
PLAIN = "<ACK><LINE><id>{id}</id><status>{action}</status><erp_doc>4711</erp_doc><message>{text}</message></LINE></ACK>"


@pytest.mark.parametrize("text", [BODS, ACKNOWLEDGED, PLAIN])
async def test_receipts_of_xml(make, share, posting, text):
    connector = make(ack="file", format="b2mml")
    booked, refused, half = (posting(connector, seq) for seq in (1, 2, 3))
    for one, action in ((booked, "Accepted"), (refused, "Rejected"), (half, "Accepted")):
        await sent_once(connector, one)
        content = text.format(id=one.message_id, action=action, code="RU/045", text="order closed")
        path = share / "receipts" / f"ACK_{one.rendered.name}"
        path.write_text(content[:-20] if one is half else content)
    found = await connector.lookup(booked)
    assert (found.kind, found.reference) == (LookupKind.FOUND, "4711")
    found = await connector.lookup(refused)
    assert (found.kind, found.detail) == (LookupKind.REFUSED, "order closed")
    assert found.code == ("Rejected" if text is PLAIN else "RU/045")
    assert (await connector.lookup(half)).kind is LookupKind.ACCEPTED
    # A person sends the refused one again: the old receipt is not taken for the new one's.
    assert (await connector.send(refused)).kind is OutcomeKind.ACCEPTED
    assert (await connector.lookup(refused)).kind is LookupKind.ACCEPTED


async def test_a_bomb_is_no_receipt(make, share, posting):
    connector = make(ack="file")
    one = posting(connector)
    await sent_once(connector, one)
    bomb = f'<!DOCTYPE a [<!ENTITY x "{one.message_id}">]><A><L><id>&x;</id><status>OK</status></L></A>'
    (share / "receipts" / f"ACK_{one.message_id}.xml").write_text(bomb)
    assert (await connector.lookup(one)).kind is LookupKind.ACCEPTED


async def test_the_trigger_comes_last_and_the_checksum_before(make, share, posting, monkeypatch):
    connector = make(confirmations_trigger=".OK", checksum=True)
    one = posting(connector)
    seen = []
    rename = LocalPlace.rename

    def watched(self, source, target):
        rename(self, source, target)
        seen.append(target.name)

    monkeypatch.setattr(LocalPlace, "rename", watched)
    await connector.send(one)
    stem = one.rendered.name.removesuffix(".csv")
    assert seen == [f"{one.rendered.name}.sha256", one.rendered.name, f"{stem}.OK"]
    said = (share / "confirmations" / f"{one.rendered.name}.sha256").read_text().split()
    assert said == [hashlib.sha256(one.rendered.body).hexdigest(), one.rendered.name]
    # The ERP takes the trigger first and is still reading: a repeat does not show it again.
    (share / "confirmations" / f"{stem}.OK").unlink()
    await connector.send(one)
    assert f"{stem}.OK" not in names(share / "confirmations")


#: Every call that changes something, one after the other: the process ends before the n-th.
class Killed(BaseException):
    pass


WAYS = {
    "trigger": {"confirmations_trigger": ".OK", "checksum": True, "ack": "moved"},
    "deleted": {"ack": "deleted", "confirmations_trigger": ".OK"},
    "append": {**SEMAPHORE, "header": True},
}


@pytest.mark.parametrize("way", WAYS)
async def test_killed_between_every_two_steps_it_is_given_once(make, share, posting, monkeypatch, way):
    folder = share / "confirmations"
    taken, steps = [], 0
    for last_step in range(1, 40):
        if way == "append":
            (folder / "CONF.OK").write_bytes(b"")
        one = posting(make(**WAYS[way]), last_step)
        left = last_step
        originals = {name: getattr(LocalPlace, name) for name in ("write", "rename", "remove", "make_folder", "sync")}

        def dying(name, original=originals):
            def call(self, *values):
                nonlocal left
                left -= 1
                if left == 0:
                    raise Killed
                return original[name](self, *values)

            return call

        with monkeypatch.context() as patch:
            for name in originals:
                patch.setattr(LocalPlace, name, dying(name))
            with contextlib.suppress(Killed):
                await make(**WAYS[way]).send(one)
        killed = left <= 0
        taken += take_all(folder, way)  # the ERP may have taken it meanwhile
        again = make(**WAYS[way])
        await again.lookup(one)
        assert (await again.send(one)).kind is OutcomeKind.ACCEPTED
        taken += take_all(folder, way)
        assert taken.count(one.key) == 1, (way, last_step)
        assert (folder / "CONF.OK").exists() or way != "append"
        steps = last_step
        if not killed:
            break
    assert 5 < steps < 39, "every step was tried"


def take_all(folder, way):
    """What an ERP does that empties or deletes what it has read; it looks for triggers where there are some."""
    keys = []
    for path in sorted(folder.iterdir()):
        is_data = path.is_file() and not path.name.startswith(".") and path.suffix in {".csv", ".TXT"}
        ready = way == "append" or path.with_suffix(".OK").exists()
        if is_data and ready and (way != "append" or (folder / "CONF.OK").exists()):
            keys += [line.split(";")[1] for line in path.read_text().splitlines()[1:]]
            if way == "trigger":
                (folder / "done").mkdir(exist_ok=True)
                path.rename(folder / "done" / path.name)
            else:
                path.unlink()
            if way != "append":
                path.with_suffix(".OK").unlink()
    return keys


async def test_one_file_for_all_under_a_semaphore(make, share, posting):
    connector = make(**SEMAPHORE)
    folder = share / "confirmations"
    first, second = posting(connector, 1), posting(connector, 2)
    outcome = await connector.send(first)
    assert (outcome.kind, "the other side is at the file" in outcome.detail) == (OutcomeKind.BUSY, True)
    (folder / "CONF.OK").write_bytes(b"")
    for one in (first, second, first):
        assert (await connector.send(one)).kind is OutcomeKind.ACCEPTED
    assert names(folder) == ["CONF.OK", "CONF.TXT"]
    lines = (folder / "CONF.TXT").read_text().splitlines()
    assert [line.split(";")[1] for line in lines] == ["key", first.key, second.key]
    (folder / "CONF.TXT").unlink()
    assert (await connector.lookup(first)).kind is LookupKind.ACCEPTED
    (folder / "CONF.OK").rename(folder / "CONF.ERP")
    assert (await connector.send(posting(connector, 3))).kind is OutcomeKind.BUSY


async def test_a_vanished_mount_is_not_written_to(make, share, posting):
    connector = make(marker_file=".mounted", orders_claim=True)
    one = posting(connector)
    outcome = await connector.send(one)  # the sub-folders are there: an empty mount point with leftovers
    assert (outcome.kind, "the share is not mounted" in outcome.detail) == (OutcomeKind.NOT_SENT, True)
    assert (await connector.lookup(one)).kind is LookupKind.UNKNOWN
    assert not (await connector.probe()).ok
    with pytest.raises(ConnectorError, match=r"\.mounted: is missing"):
        await connector.fetch_orders("")
    assert names(share / "confirmations") == []
    (share / ".mounted").write_bytes(b"")
    assert (await connector.send(one)).kind is OutcomeKind.ACCEPTED


@pytest.mark.parametrize("number", [errno.EACCES, errno.EBUSY, errno.ESTALE, errno.EIO])
async def test_a_sharing_violation_is_tried_again(make, share, posting, monkeypatch, number):
    connector = make()
    one = posting(connector)
    with monkeypatch.context() as patch:

        def locked(*_):
            raise OSError(number, os.strerror(number))

        patch.setattr(LocalPlace, "write", locked)
        assert (await connector.send(one)).kind is OutcomeKind.NOT_SENT
        patch.undo()
        patch.setattr(LocalPlace, "rename", locked)
        assert (await connector.send(one)).kind is OutcomeKind.UNCERTAIN
    assert (await connector.lookup(one)).kind is LookupKind.ABSENT
    assert (await connector.send(one)).kind is OutcomeKind.ACCEPTED


async def test_claimed_files_survive_a_crash_and_are_filed_by_day(make, share, clock):
    connector = make(orders_claim=True, done_by_day=True)
    (share / "orders" / "a.csv").write_text(ORDER)
    first = await connector.fetch_orders("")
    assert names(share / "orders" / "work") == ["a.csv"]
    assert names(share / "orders") == []
    (share / "orders" / "a.csv").write_text(ORDER.replace("100240", "100241"))  # the same name again, while it is read
    assert await make(orders_claim=True, done_by_day=True).fetch_orders("") == first
    second = await connector.fetch_orders(first.cursor)
    assert [order.order for order in second.orders] == ["100241"]
    assert names(share / "orders" / "done" / "20270115") == ["a.csv"]


async def test_an_order_file_is_complete_with_its_trigger(make, share):
    connector = make(orders_trigger=".OK")
    for name in ("a", "b"):
        (share / "orders" / f"{name}.csv").write_text(ORDER.replace("100240", name))
    assert (await connector.fetch_orders("")).orders == ()
    (share / "orders" / "a.OK").write_bytes(b"")
    (share / "orders" / "b.csv.OK").write_bytes(b"")
    page = await connector.fetch_orders("")
    assert [order.order for order in page.orders] == ["a", "b"]
    await connector.fetch_orders(page.cursor)
    assert names(share / "orders") == []


async def test_an_order_file_is_complete_when_nobody_writes_any_more(make, share, clock):
    from gateway.core.duration import Duration

    connector = make(orders_stable=Duration("10 s"))
    (share / "orders" / "a.csv").write_text(ORDER)
    assert (await connector.fetch_orders("")).orders == ()
    clock.pass_s(9)
    assert (await connector.fetch_orders("")).orders == ()
    (share / "orders" / "a.csv").write_text(ORDER + "100240;1;0020;WC-PCK;ASSY-D20;24;PC\n")
    clock.pass_s(9)
    assert (await connector.fetch_orders("")).orders == ()
    clock.pass_s(10)
    (order,) = (await connector.fetch_orders("")).orders
    assert len(order.operations) == 2


async def test_half_a_document_is_given_until_the_next_poll(make, share):
    connector = make(format="b2mml")
    path = share / "orders" / "a.xml"
    path.write_text(SCHEDULE[:-4])
    assert (await connector.fetch_orders("")).refused == ()
    path.write_text(SCHEDULE)
    assert len((await connector.fetch_orders("")).orders) == 1
    path.write_text(SCHEDULE[:-4])
    await connector.fetch_orders("")
    assert "allowed: XML that is complete" in (await connector.fetch_orders("")).refused[0].reasons[0]


async def test_gaps_and_repeats_of_order_files_are_told_also_after_a_restart(make, share):
    settings = {"orders_number": r"_(\d+)\.", "orders_pattern": "ORD_*.csv"}
    cursor, told = "", []
    for number in (7, 8, 11, 11, 12):
        (share / "orders" / f"ORD_{number}.csv").write_text(ORDER)
        (share / "orders" / "other.csv").write_text(ORDER)
        page = await make(**settings).fetch_orders(cursor)  # a new process each time
        assert len(page.orders) == 1
        told += [reason for one in page.refused for reason in one.reasons]
        cursor = (await make(**settings).fetch_orders(page.cursor)).cursor
    assert told == [
        "number: found 11 after 8, 9 to 10 did not come; its orders are taken; ask for it",
        "number: found 11 after 11, so it came twice or late; its orders are taken",
    ]
    assert names(share / "orders") == ["other.csv"]


async def test_order_files_have_checksums(make, share):
    connector = make(checksum=True)
    for name, digest in (("a", hashlib.sha256(ORDER.encode()).hexdigest()), ("b", "00"), ("c", None)):
        (share / "orders" / f"{name}.csv").write_text(ORDER)
        if digest is not None:
            (share / "orders" / f"{name}.csv.sha256").write_text(f"{digest}  {name}.csv\n")
    page = await connector.fetch_orders("")
    assert len(page.orders) == 1
    assert [(one.place, one.reasons[0].partition(",")[0]) for one in page.refused] == [
        ("b.csv", ".sha256: is of another content"),
        ("c.csv", ".sha256: is missing"),
    ]
    await connector.fetch_orders(page.cursor)
    assert names(share / "orders") == []
    assert names(share / "orders" / "error") == ["b.csv", "b.csv.error.txt", "c.csv", "c.csv.error.txt"]


def test_what_is_written_is_told():
    columns = (Column(value="order", width=3),)
    settings = FileSettings(
        connector="file", folder="x", format="fixed", columns=columns, order_columns=columns, ack="file"
    )
    assert any("ACK_ files in receipts" in line for line in PLUGIN.describe(settings))
