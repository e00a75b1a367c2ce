"""What linegate leaves in the folders is cleared away when it is old and settled, and never before."""

import json
import os
from dataclasses import replace

import pytest

from buffer.entry import OutboxState, Settlement
from gateway.connectors.base import LookupKind, OutcomeKind, Posting
from gateway.connectors.file import PLUGIN, notice_file, sweeping
from gateway.connectors.file.settings import FileSettings
from gateway.core.document import Identity
from gateway.core.duration import Duration
from gateway.core.orders import erp_notice
from gateway.core.orders.erp_notice import ErpNotice, NoticeType
from gateway.forwarder.sweeping import Sweeper

DAY_NS = Duration("1 d")


@pytest.fixture
def share(tmp_path):
    for name in ("orders/done/20260101", "orders/error", "confirmations/done", "confirmations/error", "receipts/done"):
        (tmp_path / "share" / name).mkdir(parents=True)
    return tmp_path / "share"


@pytest.fixture
def make(context):
    return lambda **changes: PLUGIN.build(FileSettings(connector="file", folder="share", **changes), context())


@pytest.fixture
def aged(share, clock):
    """Make a file, or what is there already, so many days old."""

    def age(name, days):
        path = share / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        at_ns = clock() - days * DAY_NS
        os.utime(path, ns=(at_ns, at_ns))
        return path

    return age


def posting_of(connector, image):
    return Posting(
        image["idempotency_key"], image["confirmation_id"], image["order_id"], image["operation"], image["seq"], 1,
        connector.render(image),
    )  # fmt: skip


def files(share):
    return {str(path.relative_to(share)) for path in share.rglob("*") if path.is_file()}


async def test_only_what_is_old_settled_and_its_own_goes(make, share, aged):
    own = ["orders/done/a.csv", "orders/error/b.csv", "orders/error/b.csv.error.txt", "orders/done/20260101/c.csv"]
    own += ["receipts/done/ACK_settled.csv", "confirmations/error/settled.csv.refused1", ".refused2"]
    own = [name if name != ".refused2" else "receipts/done/ACK_settled.csv.refused2" for name in own]
    own += ["confirmations/.sent/demo-erp/settled.csv"]
    kept = [
        "orders/new.csv",
        "confirmations/new.csv",
        "confirmations/done/theirs.csv",
        "confirmations/error/theirs.csv",
    ]
    kept += ["receipts/ACK_unread.csv", "confirmations/.sent/demo-erp/open.csv", "receipts/done/ACK_open.csv"]
    kept += ["confirmations/error/open.csv.refused1", "confirmations/.sent/other-erp/settled.csv"]
    kept += ["receipts/done/ACK_11111111-1111-5111-8111-111111111111.xml"]
    for name in own + kept:
        aged(name, 91)
    young = aged("confirmations/.sent/demo-erp/young.csv", 89)
    connector = make(ack="file", done_by_day=True)
    assert connector.capabilities.sweeps
    asked = frozenset(["open.csv", "11111111-1111-5111-8111-111111111111"])
    assert await connector.sweep(asked) is False
    assert files(share) == {*kept, str(young.relative_to(share))}
    assert not (share / "orders" / "done" / "20260101").exists()
    assert await connector.sweep(frozenset()) is False
    assert "confirmations/.sent/demo-erp/open.csv" not in files(share)


async def test_a_sweep_is_short_and_says_that_there_is_more(make, share, aged, monkeypatch):
    monkeypatch.setattr(sweeping, "SWEPT_MAX", 3)
    for number in range(7):
        aged(f"orders/done/{number}.csv", 100)
    connector = make()
    assert [await connector.sweep(frozenset()) for _ in range(3)] == [True, True, False]
    assert files(share) == set()


async def test_never_where_the_settings_say_so(make, aged, share):
    aged("orders/done/a.csv", 10_000)
    connector = make(keep_files=None)
    assert not connector.capabilities.sweeps
    assert await connector.sweep(frozenset()) is False
    assert files(share) == {"orders/done/a.csv"}
    with pytest.raises(ValueError, match="keep_files: found 1 h, allowed 1 d and more, or null"):
        FileSettings(connector="file", folder="x", keep_files=Duration("1 h"))


async def test_a_parked_posting_keeps_its_trace_and_is_not_given_twice(filled, make, share, aged, document, clock):
    """The ERP took two and said nothing: one was parked, one was booked; a person sends the parked one again."""
    connector = make(ack="deleted")
    await filled.add(("100240", "0010", 1), ("100241", "0010", 1))
    for order, state in (("100240", OutboxState.PARKED), ("100241", OutboxState.POSTED)):
        one = posting_of(connector, document(1, order))
        assert (await connector.send(one)).kind is OutcomeKind.ACCEPTED
        (share / "confirmations" / one.rendered.name).unlink()
        aged(f"confirmations/.sent/demo-erp/{one.rendered.name}", 400)
        entry = await filled.outbox.get(one.key)
        rendered = one.rendered
        await filled.outbox.begin_send(entry.id, (rendered.body, rendered.content_type, rendered.name), clock())

        await filled.outbox.settle(entry.id, Settlement(state, clock(), "x"), clock())
    sweeper = Sweeper("erp", connector, filled.outbox)
    assert await sweeper.sweep() is False
    parked = posting_of(connector, document(1, "100240"))
    assert files(share) == {f"confirmations/.sent/demo-erp/{parked.rendered.name}"}
    assert (await connector.lookup(parked)).kind is LookupKind.FOUND
    assert (await connector.send(parked)).kind is OutcomeKind.ACCEPTED
    assert list((share / "confirmations").glob("*.csv")) == [], "given a second time"


async def test_more_than_can_be_looked_at_clears_nothing(filled, make, share, aged, monkeypatch):
    monkeypatch.setattr("gateway.forwarder.sweeping.ASKED_MAX", 1)
    await filled.add(("1", "0010", 1), ("2", "0010", 1))
    aged("orders/done/a.csv", 100)
    assert await Sweeper("erp", make(), filled.outbox).sweep() is False
    assert files(share) == {"orders/done/a.csv"}


async def test_refused_again_and_again_keeps_a_few(make, share, document):
    connector = make(ack="moved")
    one = posting_of(connector, document(1))
    for _ in range(12):
        assert (await connector.send(one)).kind is OutcomeKind.ACCEPTED
        name = one.rendered.name
        (share / "confirmations" / name).rename(share / "confirmations" / "error" / name)
        assert (await connector.lookup(one)).kind is LookupKind.REFUSED
    kept = [path.name for path in (share / "confirmations" / "error").glob("*.refused*")]
    assert len(kept) == 9


def notice(identity, target="erp", seq=1):
    """A notice of somebody as a file: its name and its bytes."""
    about = ErpNotice(NoticeType.UNALLOCATED, "collecting", 0, 0, {})
    rendered = notice_file.render(erp_notice.document(identity, about, target, seq))
    return rendered.name, rendered.body


async def test_old_notices_of_its_own_go_and_no_others(make, share, aged, context, monkeypatch):
    monkeypatch.setattr(sweeping, "READ_MAX", 3)
    own = Identity(plant="P1", epoch="e0", gateway_id=context().gateway_id, line="", machine="A", work_center="WC-A")
    connector = make(notices_folder="told", notices=("unallocated",))
    there = {}
    for what, who, target, seq, days in (
        *(("own", own, context().name, seq, 91) for seq in range(11, 18)),
        ("open", own, context().name, 18, 400),
        ("young", own, context().name, 19, 89),
        *(("another gateway's", replace(own, gateway_id="other"), context().name, seq, 400) for seq in range(1, 8)),
        ("another connector's", own, "other", 21, 400),
    ):
        name, body = notice(who, target, seq)
        (aged(f"told/{name}", 0)).write_bytes(body)
        aged(f"told/{name}", days)
        there[f"told/{name}"] = what
    broken = f"told/gateway-unallocated-000031-{'a' * 12}.json"
    for name, body in ((broken, b"{"), ("told/theirs.json", json.dumps({"gateway_id": own.gateway_id}).encode())):
        aged(name, 0).write_bytes(body)
        aged(name, 400)
        there[name] = "nobody's"
    asked = frozenset(name.removeprefix("told/") for name, what in there.items() if what == "open")
    for _ in range(9):  # three are read at a time, and foreign ones stay
        await connector.sweep(asked)
    assert files(share) == {name for name, what in there.items() if what != "own"}
