"""What is deleted by age, and what never is, in a real database."""

from __future__ import annotations

import asyncio
import json
import tempfile
from decimal import Decimal
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from buffer import audit_chain, audit_taken, genealogy, retention
from buffer.audit_chain import ChainReader
from buffer.entry import OutboxState, Settlement
from buffer.errors import StoreError
from buffer.journal import PiecesSpan, pieces_between
from buffer.outbox import Outbox
from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store
from gateway.core.audit.entry import EntryContent
from gateway.core.job_order import LastNumber
from gateway.core.journal import KINDS
from gateway.core.model import JobOrder, JobOrderState, JobRecord
from gateway.core.retention import CLASS_OF_KIND, RecordClass, Retained, class_of, cutoff_ns, decide
from gateway.core.rules_confirming import RetentionRule
from gateway.core.work.genealogy import GenealogyLink, Tracked, TrackedKind
from gateway.core.work.lots import Certainty
from gateway.core.work.rounding import Exact

D = 24 * 3600 * 10**9
LATER = 10**18
RULE = RetentionRule()
OVER = {JobOrderState.CLOSED, JobOrderState.CANCELLED}
ENTRY = EntryContent(
    at_ns=1, utc_ns=1, time_quality=0, utc_offset_s=0, time_zone="UTC", user="u", role="r", auth="", client="",
    action="a", change="event", entity="e", config_version="", sw_version="",
)  # fmt: skip


def job(order, **changes):
    made = JobOrder(
        order=order, operation="10", sequence="0", revision=4, work_center="WC", product="P", product_revision="",
        uom="PC", quantity=Decimal(5), sequence_no=0, std_cycle_ns=None, planned_start_ns=None, planned_end_ns=None,
        cancelled=False, source="erp",
    )  # fmt: skip
    return made._replace(**changes)


def record(order, state=JobOrderState.CLOSED, seq=2, **changes):
    return JobRecord(job(order, **changes), state, seq, 5, 0, 0, f"hash {order} {seq}")


def posting(order, seq=1, created_ns=0):
    document = json.dumps({"machine": "U", "period": {"from": "2026-03-01T00:00:00.000Z"}}).encode()
    return NewPosting("erp", f"P/e/{order}/10/{seq}", "m", order, "10", seq, "partial", document, created_ns)


async def book(store, at_ns, state=OutboxState.POSTED):
    outbox = Outbox(store)
    for entry in await outbox.due("erp", at_ns, 100):
        await outbox.begin_send(entry.id, (b"x", "t", "n"), at_ns, repeat_uncertain=True)
        await outbox.settle(entry.id, Settlement(state, at_ns), at_ns)


def step(seq=1, at_ns=0, kinds=(), **more):
    rows = tuple(JournalRow(number, at_ns, kind, b"{}") for number, kind in enumerate(kinds, seq))
    return Step("U", b"{}", at_ns, rows, **more)


def test_every_kind_of_row_has_a_class():
    assert set(CLASS_OF_KIND) <= set(KINDS.values())
    for kind in ("job", "confirmation", "order_ack", "decision", "allocation", "voided"):
        assert class_of(kind) is RecordClass.ORDER


@given(
    st.sampled_from([one for one in RecordClass if one is not RecordClass.AUDIT]),
    st.integers(0, 4000 * D),
    st.integers(0, 4000 * D),
    st.none() | st.integers(0, 4000 * D),
)
def test_the_border_says_what_each_single_decision_says(record_class, closed_ns, now_ns, open_ns):
    single = decide(RULE, Retained(record_class, closed_ns, open_ns is None or closed_ns < open_ns), now_ns)
    assert (closed_ns < cutoff_ns(RULE, record_class, now_ns, open_ns)) == single.allowed


def test_the_audit_trail_has_no_border():
    with pytest.raises(ValueError, match="never purged"):
        cutoff_ns(RULE, RecordClass.AUDIT, 10**30)


async def test_each_class_goes_by_itself_and_pieces_are_still_found_by_time(store):
    kinds = ("count", "pieces", "notice", "interval")
    for number in range(50):
        await store.commit(step(1 + 4 * number, number * D, kinds))
    assert await retention.journal(store, "U", RecordClass.RAW_JOURNAL, 40 * D) == 40
    assert await retention.journal(store, "U", RecordClass.NOTICE, 30 * D) == 30
    assert await retention.journal(store, "U", RecordClass.CYCLE, 20 * D) == 20
    left = [row.kind for row in await store.journal("U", 1, 1000)]
    assert {kind: left.count(kind) for kind in kinds} == {"count": 10, "pieces": 30, "notice": 20, "interval": 50}
    rows = await store.read("SELECT seq, at_ns, kind FROM journal ORDER BY seq", ())
    await store.close()
    import sqlite3

    with sqlite3.connect(store.path) as link:
        for from_day in range(-1, 52):
            for to_day in range(from_day, 52, 7):
                span = PiecesSpan("U", from_day * D, to_day * D)
                found = pieces_between(lambda sql, values: link.execute(sql, values).fetchall(), span)
                wanted = [1 for _, at_ns, kind in rows if kind == "pieces" and span.from_ns <= at_ns < span.to_ns]
                assert len(found) == len(wanted), span
    link.close()


async def test_what_goes_is_counted_in_its_own_transaction_and_told_once(store, open_store, path):
    for number in range(5):
        await store.commit(step(1 + 2 * number, number * D, ("count", "pieces")))
    assert await retention.journal(store, "U", RecordClass.RAW_JOURNAL, 2 * D) == 2
    assert await retention.journal(store, "U", RecordClass.CYCLE, 1 * D, how=audit_taken.THINNED) == 1
    await store.close()
    store = await open_store()  # the process ended before anybody told it
    first, second = await audit_taken.gone(store)
    assert first[:3] == ("purged", RecordClass.RAW_JOURNAL, 2)
    assert second[:3] == ("thinned", RecordClass.CYCLE, 1)
    await audit_taken.take(store, [], marks=first.marks)
    assert await retention.journal(store, "U", RecordClass.RAW_JOURNAL, 3 * D) == 1
    assert [one[:3] for one in await audit_taken.gone(store)] == [("purged", RecordClass.RAW_JOURNAL, 1), second[:3]]
    await store.close()


async def test_an_order_that_goes_is_told_in_its_transaction_or_stays(store):
    await store.commit(step(at_ns=5, jobs=(record("A"), record("B"))))

    def wrong(_order):
        return ENTRY._replace(change="delete")  # and says no reason

    with pytest.raises(Exception, match="reason"):
        await retention.orders(store, 6, 100, wrong)
    assert len(await store.job_records()) == 2
    assert await retention.orders(store, 6, 100, lambda order: ENTRY._replace(entity_id=order)) == 2
    assert await store.job_records() == []
    with ChainReader.open(store.path) as reader:
        assert [one.content.entity_id for one in reader.entries()] == ["A", "B"]


async def test_a_class_is_looked_through_once(store):
    for number in range(30):
        await store.commit(step(1 + 100 * number, number * D, ("count", *["interval"] * 99)))
    assert await retention.journal(store, "U", RecordClass.RAW_JOURNAL, 20 * D) == 20
    assert await store.read("SELECT seq, before_ns FROM journal_pruned", ()) == [(2000, 20 * D)]
    assert (await retention.kept_since(store))[RecordClass.RAW_JOURNAL] == 20 * D
    assert await retention.journal(store, "U", RecordClass.RAW_JOURNAL, 20 * D) == 0
    assert await retention.journal(store, "U", RecordClass.RAW_JOURNAL, LATER) == 10


async def test_an_order_leaves_its_numbers_and_takes_along_what_is_its_own(store):
    ends = (Tracked(TrackedKind.LOT, "I", "L1"), Tracked(TrackedKind.LOT, "P", "L2"))
    links = [
        GenealogyLink(*ends, Exact(1, 1), "PC", f"{order}/10/U", 0, 1, Certainty.EXACT) for order in ("A", "A0", "A-1")
    ]
    await store.commit(step(at_ns=5, jobs=(record("A"), record("A0", JobOrderState.COMPLETED)), links=tuple(links)))
    assert await retention.orders(store, 5, 100) == 0, "not older than that"
    assert await retention.orders(store, 6, 100) == 1
    assert [one.job.order for one in await store.job_records()] == ["A0"]
    assert await store.number_of("A", "10") == LastNumber(2, "hash A 2", 4)
    assert await store.number_of("A0", "10") is None
    assert {link.run for link in (await genealogy.along(store, ends[0], down=True)).row} == {"A0/10/U", "A-1/10/U"}
    assert await store.orders_like("A") == ("A", "A0"), "its name is not given out again"


@pytest.mark.parametrize("state", [one for one in JobOrderState if one.value not in retention.OVER])
async def test_what_is_open_is_never_forgotten(store, state):
    await store.commit(step(at_ns=5, jobs=(record("A", state),)))
    assert await retention.orders(store, LATER, LATER) == 0


async def test_an_order_waits_for_its_postings_and_for_its_other_operations(store):
    other = record("A", JobOrderState.COMPLETED, operation="20")
    await store.commit(step(at_ns=5, jobs=(record("A"), other), postings=(posting("A"),)))
    assert await retention.orders(store, LATER, LATER) == 0
    await store.commit(step(at_ns=5, jobs=(other._replace(state=JobOrderState.CLOSED),)))
    assert await retention.orders(store, LATER, LATER) == 0, "its confirmation is not booked"
    await book(store, 6, OutboxState.PARKED)
    assert await retention.orders(store, LATER, LATER) == 0, "nor if a person must decide"
    (entry,) = await Outbox(store).page()
    await Outbox(store).retry(entry.id, 7)
    await book(store, 8)
    assert await retention.orders(store, LATER, LATER) == 1


async def test_what_a_split_or_a_merge_ties_together_goes_together(store):
    parent, child = record("A", JobOrderState.SPLIT), record("A-001", JobOrderState.COMPLETED, erp_order="A")
    leader = record("M", JobOrderState.IN_PROGRESS, leads=("O",))
    await store.commit(step(at_ns=5, jobs=(parent, child, leader, record("O", JobOrderState.MERGED, leader="M"))))
    assert await retention.orders(store, LATER, LATER) == 0
    closed = [one._replace(state=JobOrderState.CLOSED) for one in (child, leader)]
    await store.commit(step(at_ns=6, jobs=tuple(closed)))
    assert await retention.orders(store, LATER, LATER) == 4


async def test_the_schema_keeps_the_last_number(store):
    await store.commit(step(at_ns=5, jobs=(record("A"),)))
    for sql in ("DELETE FROM job", "DELETE FROM job_number", "UPDATE job_number SET seq = 1"):
        if "number" in sql:
            await retention.orders(store, LATER, LATER)
        with pytest.raises(StoreError, match="last number"):
            await store.write(lambda link, sql=sql: link.execute_fetchall(sql))


# --- random histories ----------------------------------------------------------------------------------------------

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("days"), st.integers(1, 900)),
        st.tuples(st.just("change"), st.sampled_from("ABC"), st.sampled_from(list(JobOrderState))),
        st.tuples(st.just("confirm"), st.sampled_from("ABC")),
        st.tuples(st.just("book"), st.sampled_from([OutboxState.POSTED, OutboxState.PARKED, OutboxState.UNCERTAIN])),
        st.tuples(st.just("purge"), st.none()),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS)
def test_nothing_unconfirmed_no_entry_and_no_number_is_ever_lost(events):
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_history(Path(folder) / "x.db", events))


async def _history(path, events):
    async with await Store.open(path, now_ns=lambda: 0, max_bytes=1 << 26) as store:
        entries = await _lived(store, events)
    with audit_chain.ChainReader.open(path) as reader:
        assert reader.verify().entries == entries


async def _lived(store, events):
    now_ns, journal_seq, highest, entries, unbooked = 0, 0, {}, 0, set()
    for what, *more in events:
        if what == "days":
            now_ns += more[0] * D
        elif what in ("change", "confirm"):
            order, seq = more[0], highest.get(more[0], 0)
            known = await store.job_record(order, "10")
            left = await store.number_of(order, "10")
            assert seq == (known.seq if known else left.seq if left else 0), "the number goes on"
            new = (posting(order, seq + 1, now_ns),) if what == "confirm" else ()
            state = more[1] if what == "change" else known.state if known else JobOrderState.IN_PROGRESS
            highest[order] = seq + len(new)
            unbooked |= {one.key for one in new}
            made = record(order, state, highest[order])
            await store.commit(
                step(journal_seq + 1, now_ns, ("count", "job"), jobs=(made,), postings=new, audit=(ENTRY,))
            )
            journal_seq, entries = journal_seq + 2, entries + 1
        elif what == "book":
            await book(store, now_ns, more[0])
            unbooked -= {one.key for one in await Outbox(store).page(state=OutboxState.POSTED)}
        else:
            before = {one.job.order: one for one in await store.job_records()}
            for one in (RecordClass.RAW_JOURNAL, RecordClass.ORDER):
                await retention.journal(store, "U", one, cutoff_ns(RULE, one, now_ns))
            await retention.postings(store, cutoff_ns(RULE, RecordClass.CONFIRMATION, now_ns))
            await retention.orders(store, cutoff_ns(RULE, RecordClass.ORDER, now_ns), now_ns)
            gone = set(before) - {one.job.order for one in await store.job_records()}
            assert all(before[order].state.value in retention.OVER for order in gone)
            assert not any(key.split("/")[2] in gone for key in unbooked)
        assert unbooked <= {one.key for one in await Outbox(store).page(limit=1000)}
        assert await store.read("SELECT count(*) FROM audit_entry", ()) == [(entries,)]
    return entries
