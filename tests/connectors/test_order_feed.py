import asyncio
import contextlib
import json
import random
from decimal import Decimal

import pytest

from buffer import refusals
from buffer.errors import StoreError
from buffer.outbox import Outbox
from buffer.step import JournalRow, Step
from gateway.connectors.base import OrderPage
from gateway.connectors.refused_orders import refused_image
from gateway.connectors.rest import PLUGIN
from gateway.connectors.rest.settings import RestSettings
from gateway.core.document import Identity
from gateway.core.duration import Duration
from gateway.core.model import JobOrderState, JobRecord, Notice, Operation, ProductionOrder
from gateway.order_feed import REFUSED_MAX, OrderFeed

DEADLINE_S = 60.0
IDENTITY = Identity(plant="P", epoch="e", gateway_id="g", line="", machine="ASM-01", work_center="WC-ASM")


@pytest.fixture
async def feed(erp, filled, clock, context):
    connector = PLUGIN.build(RestSettings(connector="rest", url=erp.url, timeout=Duration("60 s")), context())
    await connector.open()
    taken = []
    trouble = {}
    answers = {}

    async def submit(unit, given):
        error = trouble.get(given.job.order)
        if error is not None:
            raise error
        taken.append((unit, given))
        return answers.get((unit, given.job.order), ())

    async def answer(order, revision, reasons):
        told = refusals.Refused(order, revision, reasons)
        if await refusals.put(filled.store, IDENTITY, "erp", told, now_ns=clock.ns, utc_ns=clock.ns):
            told_of.append(order)

    told_of = []
    made = OrderFeed(
        name="erp", connector=connector, store=filled.store, submit=submit, answer=answer,
        work_units={"WC-ASM": "ASM-01", "WC-OLD": "OLD-01"},
        now_ns=clock, poll_ns=10_000_000, backoff_max_ns=1_000_000_000, rng=random.Random(1),
    )  # fmt: skip
    made.told_of = told_of
    made.taken, made.trouble, made.answers, made.store = taken, trouble, answers, filled.store
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await connector.close()


async def until(check):
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while not (found := await check()):
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.005)
    return found


async def committed(feed, cursor):
    async def check():
        return (await feed.store.cursor("erp")).split(" ")[-1] == cursor

    await until(check)


async def test_operations_go_to_their_work_units(feed, erp, order_image, clock):
    erp.orders.append(order_image("100240"))
    await committed(feed, "1")
    ((unit, given),) = feed.taken
    assert unit == "ASM-01"
    assert given.at_ns == clock.ns
    assert given.known is None
    job = given.job
    assert (job.order, job.operation, job.work_center, job.quantity) == ("100240", "0010", "WC-ASM", Decimal(24))
    assert (job.product, job.product_revision, job.uom, job.source) == ("ASSY-D20", "F", "PC", "erp")
    assert dict(job.echo)["sales_order"] == "S-1"

    async def told():
        return feed.status.up is not None

    await until(told)  # a poll says how it went when its cursor is committed
    assert (feed.status.received, feed.status.elsewhere, feed.status.up) == (1, 1, True)
    assert feed.troubles() == ()


async def test_who_holds_an_operation_is_told_before_it_moves(feed, erp, order_image, filled):
    erp.orders.append(order_image("100240"))
    await committed(feed, "1")
    held = JobRecord(feed.taken[0][1].job._replace(work_center="WC-OLD"), JobOrderState.INTERRUPTED, 3, 20, 1, 0, "ab")
    await filled.store.commit(Step("OLD-01", b"", 1, (JournalRow(1, 1, "k", b""),), (), (held,)))
    erp.orders.append(order_image("100240", revision=2))
    await committed(feed, "2")
    assert [(unit, given.job.revision) for unit, given in feed.taken[1:]] == [("OLD-01", 2), ("ASM-01", 2)]


async def test_an_operation_that_its_order_is_sent_without_hears_of_it_first(feed, erp, order_image, filled):
    """Else it would wait at its machine for ever, also when the order itself is withdrawn."""
    erp.orders.append(order_image("100240"))
    await committed(feed, "1")
    job = feed.taken[0][1].job
    states = {"0015": JobOrderState.DISPATCHED, "0030": JobOrderState.COMPLETED, "0040": JobOrderState.CANCELLED}
    held = [JobRecord(job._replace(operation=name), state, 0, 0, 0, 0, "") for name, state in states.items()]
    other = held[0]._replace(job=job._replace(operation="0050", source="another"))
    away = held[0]._replace(job=job._replace(operation="0060", work_center="WC-ELSEWHERE"))
    records = (*held, other, away)
    await filled.store.commit(Step("OLD-01", b"", 1, (JournalRow(1, 1, "k", b""),), (), records))
    erp.orders.append(order_image("100240", revision=2, cancelled=True))
    await committed(feed, "2")
    told = [(unit, given.job.operation, given.job.revision, given.job.cancelled) for unit, given in feed.taken[1:]]
    assert told == [("ASM-01", "0015", 2, True), ("ASM-01", "0010", 2, True)]
    assert [one.operation for one in feed.taken[1][1].job.image.operations] == ["0010", "0020"]


async def test_an_order_that_a_work_unit_refuses_is_shown(feed, erp, order_image):
    notice = Notice(1, "ORDER_CHANGE_REJECTED", (("order", "7"), ("reason", "it runs at WC-OLD")))
    feed.answers["ASM-01", "7"] = (notice,)
    erp.orders.append(order_image("7"))
    await committed(feed, "1")
    (told,) = feed.troubles()
    assert "order 7, operation 0010: ASM-01: ORDER_CHANGE_REJECTED: it runs at WC-OLD" in told


async def test_a_full_work_unit_keeps_the_cursor(feed, erp, order_image):
    feed.answers["ASM-01", "1"] = (Notice(1, "JOB_QUEUE_FULL", (("limit", "2000"),)),)
    erp.orders += [order_image("1"), order_image("2")]

    async def full():
        return "too many open orders" in feed.status.last_error

    await until(full)
    assert await feed.store.cursor("erp") == ""
    assert [given.job.order for _, given in feed.taken][:2] == ["1", "2"]
    feed.answers.clear()
    feed.wake()
    await committed(feed, "2")


async def test_a_new_work_center_asks_for_everything_again(feed, erp, order_image, filled, context, clock):
    erp.orders.append(order_image("1"))
    await committed(feed, "1")
    later = OrderFeed(
        name="erp", connector=feed._connector, store=filled.store, work_units={"WC-PCK": "PCK-01"},
        submit=feed._submit, now_ns=clock, poll_ns=10_000_000, backoff_max_ns=1_000_000_000, rng=random.Random(1),
    )  # fmt: skip
    assert await later._poll()
    assert feed.taken[-1][0] == "PCK-01"


async def test_one_bad_order_stops_no_other(feed, erp, order_image):
    feed.trouble["2"] = RuntimeError("cannot")
    erp.orders += [order_image("1", qty="x"), order_image("2"), order_image("3")]
    await committed(feed, "3")
    assert [given.job.order for _, given in feed.taken] == ["3"]

    async def shown():
        return feed.status.refused

    refused = await until(shown)
    assert refused[0].place == "orders[0] (1)"
    assert "ASM-01 cannot take it" in refused[1].reasons[0]
    assert len(feed.troubles()) == 2


async def test_the_cursor_waits_for_the_buffer(feed, erp, order_image):
    feed.trouble["1"] = StoreError("disk full", temporary=True)
    erp.orders += [order_image("1"), order_image("2")]

    async def troubled():
        return "disk full" in feed.status.last_error

    await until(troubled)
    assert await feed.store.cursor("erp") == ""
    assert feed.taken == []
    feed.trouble.clear()
    feed.wake()
    await committed(feed, "2")
    assert [given.job.order for _, given in feed.taken] == ["1", "2"]


async def test_a_source_that_is_away_is_a_state(feed, erp, order_image):
    erp.stop()

    async def down():
        return feed.status.up is False

    await until(down)
    assert "orders cannot be fetched" in feed.troubles()[0]
    assert feed.status.next_poll_ns >= feed.status.last_poll_ns + 1_000_000_000
    erp.orders.append(order_image("1"))
    erp.start()
    feed.wake()
    await committed(feed, "1")

    async def up():
        return feed.status.up is True

    await until(up)  # told behind the last commit of the page


async def test_refusals_are_bounded(feed, erp, order_image):
    erp.orders += [order_image(str(number), qty="x") for number in range(REFUSED_MAX + 50)]
    await committed(feed, str(REFUSED_MAX + 50))

    async def shown():
        return len(feed.status.refused) == REFUSED_MAX

    await until(shown)
    assert feed.status.refused[-1].place.startswith(f"orders[{REFUSED_MAX + 49}]")


async def test_a_text_that_cannot_be_stored_is_refused(feed):
    class Careless:
        async def fetch_orders(self, _cursor):
            operation = Operation(operation="0010", work_center="WC-ASM", quantity=Decimal(1))
            broken = ProductionOrder(
                order="7\ud83d", revision=1, product="P", quantity=Decimal(1), operations=(operation,)
            )
            sound = ProductionOrder(order="8", revision=1, product="P", quantity=Decimal(1), operations=(operation,))
            return OrderPage((broken, sound), (), "9")

    feed._connector = Careless()
    feed.wake()
    await committed(feed, "9")
    assert {given.job.order for _, given in feed.taken} == {"8"}
    assert "control or broken characters" in feed.troubles()[0]


async def answered(feed):
    found = [entry for entry in await Outbox(feed.store).page(limit=100) if entry.kind == "ack"]
    return [json.loads(entry.payload) for entry in reversed(found)]


async def test_an_order_with_a_wrong_field_is_answered_once_and_the_others_go_on(feed, erp, order_image, filled):
    elsewhere = [{"op": "0010", "work_center": "WC-NONE"}]
    erp.orders += [order_image("1", qty="x", revision=4), order_image("2"), order_image("3", operations=elsewhere)]
    await committed(feed, "3")
    first, second = await answered(feed)
    assert (first["answer"], first["order_id"], first["order_revision"]) == ("refused", "1", 4)
    assert first["reasons"] == ["qty: found 'x', allowed: a number above 0 with at most 6 decimals"]
    assert (first["operations"], first["resend"], first["seq"]) == ([], False, 1)
    assert (second["answer"], second["order_id"]) == ("refused", "3")
    assert second["reasons"] == ["operations[].work_center: found WC-NONE, allowed: one of WC-ASM, WC-OLD"]
    assert [given.job.order for _, given in feed.taken] == ["2"]
    # The ERP sends all of it again, the first one with another mistake, the third one put right.
    erp.orders += [order_image("3"), order_image("1", qty="x", revision=4), order_image("1", qty=-1, revision=4)]
    await committed(feed, "6")
    assert [one["order_id"] for one in await answered(feed)] == ["1", "3", "1"]
    assert feed.told_of == ["1", "3", "1"]
    assert (await answered(feed))[-1]["seq"] == 2
    held = JobRecord(feed.taken[0][1].job, JobOrderState.DISPATCHED, 0, 0, 0, 0, "")
    await filled.store.commit(Step("ASM-01", b"", 1, (JournalRow(1, 1, "k", b""),), (), (held,)))
    erp.orders.append(order_image("2", qty="x", revision=9))
    await committed(feed, "7")
    last = (await answered(feed))[-1]
    assert (last["order_revision"], last["held_revision"]) == (9, held.job.revision), "that one is in force"
    assert len(feed.troubles()) == 2, "of the third one nothing is shown any more"


async def test_of_a_shared_feed_the_orders_of_others_are_passed_over(feed, erp, order_image):
    feed._answers_elsewhere = False
    erp.orders.append(order_image("3", operations=[{"op": "0010", "work_center": "WC-NONE"}]))
    await committed(feed, "1")
    assert (await answered(feed), feed.troubles()) == ([], ())


@pytest.mark.parametrize(
    ("number", "revision", "expected"),
    [
        ("4711", 3, ("4711", 3)),
        (4711, "7", ("4711", 7)),
        (" 4711 ", -1, ("4711", 0)),
        ("4711", True, ("4711", 0)),
        ("4711", 10**30, ("4711", 0)),
        ("4711", "9" * 5000, ("4711", 0)),
        ("", 1, ()),
        ("x" * 65, 1, ()),
        ("a\nb", 1, ()),
        (None, 1, ()),
        (["4711"], 1, ()),
    ],
)
def test_whom_a_refused_image_names(number, revision, expected):
    found = refused_image("here", {"order_id": number, "revision": revision}, ["why"])
    assert found.orders == ((expected,) if expected else ())
    assert refused_image("here", [number], ["why"]) == ("here", ("why",), ())
