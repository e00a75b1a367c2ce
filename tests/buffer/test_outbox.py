import asyncio
import sqlite3

import pytest

from buffer import reconciliation
from buffer.entry import GOODS_ERROR, SETTLED_FROM, OutboxState, Settlement
from buffer.errors import OutboxError, StoreError
from buffer.outbox import Outbox
from buffer.outbox_sends import ERROR_TEXT_MAX_CHARS
from buffer.readonly import ReadOnlyStore

MESSAGE = (b"body", "application/json", "")


@pytest.fixture
async def outbox(store, make):
    postings = [("A", "10", 1), ("A", "20", 1), ("A", "10", 2), ("B", "10", 1), ("A", "10", 3)]
    for seq, (order, operation, number) in enumerate(postings, start=1):
        await store.commit(make.step(seq=seq, postings=[make.posting(number, order, operation, created_ns=seq)]))
    return Outbox(store)


async def settled(outbox, entry_id, state, now_ns=100, **fields):
    await outbox.begin_send(entry_id, MESSAGE, now_ns)
    return await outbox.settle(entry_id, Settlement(state, **fields), now_ns)


def lanes(entries):
    return [(entry.order, entry.operation, entry.seq) for entry in entries]


async def test_only_the_head_of_each_lane_is_due(outbox):
    assert lanes(await outbox.due("erp", 100, 10)) == [("A", "10", 1), ("A", "20", 1), ("B", "10", 1)]
    assert lanes(await outbox.due("erp", 100, 2)) == [("A", "10", 1), ("A", "20", 1)]
    assert await outbox.due("erp", 0, 10) == []
    assert await outbox.due("other", 100, 10) == []


async def test_what_is_open_is_one_moment_however_fast_a_posting_goes_on(store, make):
    """Asked state by state it slipped through between two questions, and its pieces were nowhere."""
    await store.commit(make.step(postings=[make.posting(1), make.posting(1, "B")]))
    outbox = Outbox(store)

    async def goes_round():
        for _ in range(60):
            await settled(outbox, 1, OutboxState.RETRY_WAIT, due_ns=100)

    going = asyncio.create_task(goes_round())
    seen = []
    while not going.done():
        seen.append([(one.id, one.state) for one in (await outbox.not_over(10)).postings])
    await going
    assert {len(found) for found in seen} == {2}
    assert {state for found in seen for one, state in found if one == 1} >= {"sending", "retry_wait"}
    assert [one.id for one in (await outbox.not_over(1)).postings] == [2]
    await settled(outbox, 2, OutboxState.POSTED)
    assert [one.id for one in (await outbox.not_over(10)).postings] == [1]


async def test_a_lane_may_be_the_whole_order(outbox):
    assert lanes(await outbox.due("erp", 100, 10, lane_by_order=True)) == [("A", "10", 1), ("B", "10", 1)]
    await settled(outbox, 1, OutboxState.POSTED)
    assert lanes(await outbox.due("erp", 100, 10, lane_by_order=True)) == [("A", "20", 1), ("B", "10", 1)]


async def test_a_posted_head_makes_way_for_the_next(outbox):
    await settled(outbox, 1, OutboxState.POSTED, reference="CNF-1")
    assert lanes(await outbox.due("erp", 100, 10)) == [("A", "20", 1), ("A", "10", 2), ("B", "10", 1)] or lanes(
        await outbox.due("erp", 100, 10)
    ) == [("A", "20", 1), ("B", "10", 1), ("A", "10", 2)]
    assert (await outbox.entry(1)).reference == "CNF-1"


@pytest.mark.parametrize("state", [OutboxState.PARKED, OutboxState.RETRY_WAIT, OutboxState.ACCEPTED])
async def test_a_head_that_is_not_over_blocks_its_lane_only(outbox, state):
    await settled(outbox, 1, state, due_ns=1_000)
    assert lanes(await outbox.due("erp", 100, 10)) == [("A", "20", 1), ("B", "10", 1)]
    assert await outbox.next_due_ns("erp", 100) == (None if state is OutboxState.PARKED else 1_000)
    assert (("A", "10", 1) in lanes(await outbox.due("erp", 1_000, 10))) == (state is not OutboxState.PARKED)


@pytest.mark.parametrize("state", ["parked", "held", "needs_approval", "retry_wait"])
async def test_the_end_of_an_order_does_not_overtake_what_another_child_has_still_to_tell(store, make, state):
    """Two children have their own numbers, and one lane."""
    begins = state if state in ("held", "needs_approval") else "ready"
    first = make.posting(1, "A-001")._replace(lane_order="A", state=begins, due_ns=5000)
    last = make.posting(1, "A-002")._replace(lane_order="A", kind="final")
    other = make.posting(1, "A-001", "0020")._replace(lane_order="A")
    await store.commit(make.step(postings=[first, last, other]))
    outbox = Outbox(store)
    if begins == "ready":
        await settled(outbox, 1, OutboxState(state), due_ns=10**6)
    assert lanes(await outbox.due("erp", 2000, 10)) == [("A-001", "0020", 1)]
    assert lanes(await outbox.due("erp", 2000, 10, lane_by_order=True)) == []
    if state == "parked":
        await outbox.supersede(1, who="ann", now_ns=6000)
    elif state == "needs_approval":
        await outbox.approve(1, who="ann", now_ns=6000)
        await settled(outbox, 1, OutboxState.POSTED, 6000)
    else:
        await settled(outbox, 1, OutboxState.POSTED, 2 * 10**6)
    (head,) = [one for one in await outbox.due("erp", 10**7, 10) if one.operation == "0010"]
    assert (head.order, head.kind, head.lane) == ("A-002", "final", ("A", "0010"))
    with pytest.raises(StoreError, match="never changes"):
        await store.write(lambda link: link.execute("UPDATE outbox SET lane_order = 'B' WHERE id = 2"))


async def test_the_message_is_fixed_by_the_first_send_and_never_changes(outbox, path):
    entry = await outbox.begin_send(1, MESSAGE, 50)
    assert (entry.body, entry.content_type, entry.name) == MESSAGE
    assert (entry.attempts, entry.first_sent_ns, entry.last_sent_ns) == (1, 50, 50)
    await outbox.settle(1, Settlement(OutboxState.RETRY_WAIT, due_ns=60), 55)
    entry = await outbox.begin_send(1, (b"other", "x", "y"), 70)
    assert (entry.body, entry.attempts, entry.first_sent_ns, entry.last_sent_ns) == (b"body", 2, 50, 70)

    with sqlite3.connect(path) as raw:
        for change in ("body = x'00'", "name = 'n'", "payload = x'00'", "key = 'k'", "seq = 9", "order_id = 'Z'"):
            with pytest.raises(sqlite3.IntegrityError, match="never change"):
                raw.execute(f"UPDATE outbox SET {change} WHERE id = 1")
        with pytest.raises(sqlite3.IntegrityError, match="only posted"):
            raw.execute("DELETE FROM outbox WHERE id = 1")
    raw.close()


async def test_nothing_is_sent_without_a_message(outbox):
    with pytest.raises(StoreError):
        await outbox.begin_send(1, None, 50)
    assert (await outbox.entry(1)).state is OutboxState.READY


@pytest.mark.parametrize("state", SETTLED_FROM)
async def test_a_settlement_needs_the_right_state(outbox, state):
    await settled(outbox, 1, OutboxState.POSTED)
    with pytest.raises(OutboxError, match="is posted and cannot"):
        await outbox.settle(1, Settlement(state), 100)
    with pytest.raises(OutboxError, match="no such posting"):
        await outbox.settle(77, Settlement(state), 100)


@pytest.mark.parametrize("state", [OutboxState.SENDING, OutboxState.SUPERSEDED])
async def test_some_states_are_not_settlements(outbox, state):
    await outbox.begin_send(1, MESSAGE, 50)
    with pytest.raises(OutboxError):
        await outbox.settle(1, Settlement(state), 100)


async def test_equal_errors_in_a_row_are_counted_from_the_first(outbox):
    busy = {"error_kind": "busy", "error_code": "LOCKED", "error_text": "x" * 10_000}
    await settled(outbox, 1, OutboxState.RETRY_WAIT, 100, **busy)
    entry = await settled(outbox, 1, OutboxState.RETRY_WAIT, 200, **busy)
    assert (entry.error_kind, entry.error_count, entry.error_since_ns) == ("busy", 2, 100)
    assert len(entry.error_text) == ERROR_TEXT_MAX_CHARS
    entry = await settled(outbox, 1, OutboxState.RETRY_WAIT, 300, error_kind="auth")
    assert (entry.error_count, entry.error_since_ns, entry.error_code) == (1, 300, "")
    entry = await settled(outbox, 1, OutboxState.POSTED, 400)
    assert (entry.error_kind, entry.error_count, entry.error_since_ns, entry.settled_ns) == ("", 0, None, 400)


async def test_an_unclear_end_is_dated_when_it_was_noticed(outbox):
    entry = await settled(outbox, 1, OutboxState.UNCERTAIN, 100, error_kind="uncertain")
    assert entry.unclear_ns == 100
    assert (await outbox.begin_lookup(1, 150)).lookups == 1
    entry = await outbox.settle(1, Settlement(OutboxState.UNCERTAIN, error_kind="uncertain"), 200)
    assert (entry.unclear_ns, entry.error_count) == (100, 2)
    assert (await outbox.settle(1, Settlement(OutboxState.READY), 300)).state is OutboxState.READY
    entry = await outbox.begin_send(1, None, 400)
    assert (entry.unclear_ns, entry.lookups, entry.body) == (None, 0, b"body")
    with pytest.raises(OutboxError, match="cannot be looked up"):
        await outbox.begin_lookup(1, 500)


async def test_a_person_retries_what_is_parked_with_the_same_key(outbox):
    await settled(outbox, 1, OutboxState.PARKED, error_kind="business_reject", error_text="no")
    (entry,) = await outbox.retry("RQ1/epoch/A/10/1", 500)
    assert (entry.state, entry.due_ns, entry.error_kind, entry.body) == (OutboxState.READY, 500, "", b"body")
    with pytest.raises(OutboxError, match="is ready and cannot be retried; allowed from: parked, retry_wait"):
        await outbox.retry(1, 600)
    with pytest.raises(OutboxError, match="no such posting"):
        await outbox.retry("nothing", 600)


async def test_a_release_of_what_is_parked_is_known_until_it_is_parked_again_and_retried(outbox):
    with pytest.raises(OutboxError, match="is ready and cannot be released; allowed from: held, parked"):
        await outbox.release(1, 100, who="ann")
    await settled(outbox, 1, OutboxState.PARKED, error_kind="business_reject", error_text="warns")
    (retried,) = await outbox.retry(1, 300)
    assert (retried.state, retried.released) == (OutboxState.READY, 0)
    await settled(outbox, 1, OutboxState.PARKED, now_ns=400, error_kind="business_reject", error_text="warns")
    (released,) = await outbox.release(1, 500, who="ann")
    assert (released.state, released.due_ns, released.released, released.body) == (OutboxState.READY, 500, 1, b"body")
    await settled(outbox, 1, OutboxState.RETRY_WAIT, now_ns=600, error_kind="not_sent", error_text="down")
    (sooner,) = await outbox.retry(1, 700)
    assert sooner.released == 1, "nobody warned again"
    await settled(outbox, 1, OutboxState.PARKED, now_ns=800, error_kind="business_reject", error_text="warns of more")
    (again,) = await outbox.retry(1, 900)
    assert (again.state, again.released) == (OutboxState.READY, 0), "he did not say that he wants that passed over"


async def test_a_release_is_for_the_step_that_was_parked(outbox):
    """What the target warned of with one message says nothing of what it may warn of with the next."""
    await outbox.begin_send(1, MESSAGE, 100, more=(MESSAGE, MESSAGE))
    warns = Settlement(OutboxState.PARKED, error_kind="business_reject", error_text="warns")
    await outbox.settle(1, warns, 100)
    await outbox.release(1, 200, who="ann")
    sent = await outbox.begin_send(1, MESSAGE, 300)
    assert (sent.step, sent.released) == (0, 1)
    second = await outbox.next_step(1, Settlement(OutboxState.POSTED), 400, go=True)
    assert (second.step, second.released) == (1, 0)
    await outbox.settle(1, warns, 500)
    (released,) = await outbox.release(1, 600, who="ann")
    assert (released.step, released.released) == (1, 1)
    await outbox.begin_send(1, MESSAGE, 700)
    await outbox.settle(1, warns, 700)
    (again,) = await outbox.retry(1, 800)
    assert (again.step, again.released) == (1, 0), "it warned of something else, and he did not release that"


async def test_a_release_is_over_when_the_posting_is_sent_again_after_it_was_booked(outbox, store):
    await settled(outbox, 1, OutboxState.PARKED)
    await outbox.release(1, 200, who="ann")
    booked = await settled(outbox, 1, OutboxState.POSTED, now_ns=300)
    assert booked.released == 1
    again = await reconciliation.resend(store, 1, 400, who="eve", reason="lost there")
    assert (again.state, again.released) == (OutboxState.READY, 0)


async def test_a_release_of_what_is_held_sends_it_now_and_tells_the_target_nothing(store, make):
    outbox = Outbox(store)
    await store.commit(make.step(postings=[make.posting(1)._replace(state="held", due_ns=500)]))
    assert await outbox.due("erp", 100, 10) == []
    (released,) = await outbox.release(1, 100, who="eve")
    assert (released.state, released.released) == (OutboxState.READY, 0)
    assert lanes(await outbox.due("erp", 100, 10)) == [(released.order, released.operation, 1)]


@pytest.mark.parametrize("which", [0, -1, 2**63, 10**40, "\ud83d"])
async def test_what_no_posting_can_have_is_simply_not_there(outbox, which):
    for decide in (outbox.retry(which, 500), outbox.supersede(which, 500, who="ann")):
        with pytest.raises(OutboxError, match="no such posting"):
            await decide


async def test_texts_of_a_target_are_stored_in_one_clean_line(outbox):
    texts = {
        "reference": "R\ud83d\x1b[2J",
        "error_code": "B\nAD" + "x" * 500,
        "error_text": "Menge \ud83d\r\n" + "y" * 900,
    }
    entry = await settled(outbox, 1, OutboxState.PARKED, error_kind="business_reject", **texts)
    assert entry.reference == "R\ufffd [2J"
    assert entry.error_code.startswith("B ADxxx")
    assert len(entry.error_code) == 100
    assert entry.error_text.startswith("Menge \ufffd  yyy")
    assert len(entry.error_text) == ERROR_TEXT_MAX_CHARS
    (entry,) = await outbox.supersede(1, 700, who="ann\x1b[31m\ud83d")
    assert entry.error_text.endswith(" (superseded by ann [31m\ufffd)")


async def test_a_person_supersedes_what_is_parked_and_the_lane_goes_on(outbox):
    with pytest.raises(OutboxError, match="cannot be superseded"):
        await outbox.supersede(1, 100, who="ann")
    await settled(outbox, 1, OutboxState.PARKED, error_text="no")
    (entry,) = await outbox.supersede(1, 700, who="ann")
    assert (entry.state, entry.settled_ns, entry.error_text) == (OutboxState.SUPERSEDED, 700, "no (superseded by ann)")
    assert ("A", "10", 2) in lanes(await outbox.due("erp", 1000, 10))


async def test_pages_are_newest_first_and_bounded(outbox):
    assert [entry.id for entry in await outbox.page(limit=2)] == [5, 4]
    assert [entry.id for entry in await outbox.page(limit=9, before_id=4)] == [3, 2, 1]
    assert [entry.id for entry in await outbox.page(order="B")] == [4]
    await settled(outbox, 2, OutboxState.PARKED)
    assert [entry.id for entry in await outbox.page(state=OutboxState.PARKED, target="erp")] == [2]
    with pytest.raises(ValueError, match="allowed 1 to"):
        await outbox.page(limit=0)


async def test_counts(outbox):
    assert (await outbox.counts("erp"))[:6] == (5, 0, 0, 0, 0, 1)
    await settled(outbox, 1, OutboxState.POSTED, now_ns=123)
    await settled(outbox, 2, OutboxState.PARKED)
    await settled(outbox, 3, OutboxState.ACCEPTED)
    await settled(outbox, 4, OutboxState.UNCERTAIN)
    assert (await outbox.counts("erp"))[:6] == (3, 1, 1, 1, 1, 2)
    assert (await outbox.counts("nobody"))[:6] == (0, 0, 0, 0, 0, None)
    assert await outbox.targets() == ["erp"]
    assert await outbox.last_posted_ns("erp") == 123


async def test_a_booking_without_its_material_is_counted_until_a_person_has_posted_that(outbox):
    await settled(outbox, 1, OutboxState.POSTED, error_kind=GOODS_ERROR, error_text="deficit of 4 PC")
    await settled(outbox, 2, OutboxState.POSTED)
    found = await outbox.counts("erp")
    assert (found.posted, found.goods_errors, found.parked) == (2, 1, 0)
    with pytest.raises(OutboxError, match="have its material posted"):
        await outbox.material_posted(2, 5, who="ann")
    (done,) = await outbox.material_posted(1, 5, who="ann: MIGO 4900001")
    assert (done.state, done.error_kind, done.settled_ns is None) == (OutboxState.POSTED, "", False)
    assert "MIGO" in done.error_text
    assert (await outbox.counts("erp")).goods_errors == 0
    with pytest.raises(OutboxError):
        await outbox.material_posted(1, 6, who="ann")


async def test_the_queries_of_every_cycle_use_an_index(outbox, store):
    from buffer import due, outbox_counts

    heads = [
        due.query(states, order, lane_by_order=by_order)
        for states in (due._ANY, due._UNTRIED, due._TRIED)
        for order in (due._OLDEST, due._NEWEST)
        for by_order in (False, True)
    ]
    for sql, values in [
        *((sql, ("erp", 1, 1)) for sql in heads),
        (due._NEXT_DUE, ("erp", 1)),
        (due._BEHIND, ("erp", "A", "10", 1, 8)),
        outbox_counts.counts_query("erp"),
    ]:
        plan = await store.read(f"EXPLAIN QUERY PLAN {sql}", values)
        scans = [row[3] for row in plan if row[3].startswith("SCAN") and "CONSTANT" not in row[3]]
        assert not scans, plan
        assert not [row for row in plan if "TEMP B-TREE" in row[3]], plan
    for by_order in (False, True):  # among 100,000 heads that were never tried, those that were are found at once
        sql = due.query(due._TRIED, due._OLDEST, lane_by_order=by_order)
        plan = await store.read(f"EXPLAIN QUERY PLAN {sql}", ("erp", 1, 1))
        assert "USING INDEX outbox_tried" in plan[0][3], plan


async def test_what_is_approved_waits_for_its_window_and_holds_up_its_lane(store, make):
    first = make.posting(1, "Z", created_ns=1)._replace(state="needs_approval", due_ns=500)
    await store.commit(make.step(postings=[first, make.posting(2, "Z", created_ns=2)]))
    outbox = Outbox(store)
    assert await outbox.due("erp", 1_000, 10) == []
    with pytest.raises(OutboxError, match="allowed from: ready, held, retry_wait"):
        await outbox.begin_send(1, MESSAGE, 1_000)
    (held,) = await outbox.approve(1, 100, who="eve: agreed with sales")
    assert (held.state, held.error_text) == (OutboxState.HELD, "approved by eve: agreed with sales")
    assert await outbox.due("erp", 499, 10) == []
    assert lanes(await outbox.due("erp", 500, 10)) == [("Z", "0010", 1)]
    with pytest.raises(OutboxError, match="cannot be approved; allowed from: needs_approval"):
        await outbox.approve(1, 600, who="eve")
    await settled(outbox, 1, OutboxState.POSTED, now_ns=600)
    assert lanes(await outbox.due("erp", 600, 10)) == [("Z", "0010", 2)]


async def test_what_is_approved_after_its_window_is_ready(store, make):
    await store.commit(make.step(postings=[make.posting(1)._replace(state="needs_approval", due_ns=500)]))
    (ready,) = await Outbox(store).approve(1, 500, who="eve")
    assert ready.state is OutboxState.READY


async def test_the_newest_latency_comes_first(store, make):
    postings = [
        make.posting(number, f"O{number}")._replace(event_ns=10 * number, derived_ns=11) for number in (1, 2, 3)
    ]
    await store.commit(make.step(postings=postings))
    outbox = Outbox(store)
    for number, state in ((3, OutboxState.POSTED), (2, OutboxState.DELIVERED), (1, OutboxState.POSTED)):
        await settled(outbox, number, state, now_ns=2_000 + number)
    found = await outbox.answered("erp")
    assert [(one.t_acked_ns, one.latency_ns) for one in found] == [(2_003, 1_992), (2_002, 1_991), (2_001, 1_991)]
    assert {one.t_derived_ns for one in found} == {11}
    assert await outbox.answered("erp", limit=1) == found[:1]
    await reconciliation.resend(store, 3, 3_000, who="eve", reason="lost there")
    await settled(outbox, 3, OutboxState.POSTED, now_ns=9_000)
    assert await outbox.answered("erp") == found[1:], "its first answer is not known any more"


async def test_a_posting_is_shown_whole_as_of_one_moment(store, make, path):
    """Asked one by one it was shown as waiting, among the confirmations of an operation that is booked."""
    await store.commit(make.step(postings=[make.posting(1)]))
    seen = []

    def looks(connection):
        seen.append(connection.execute("SELECT state FROM outbox").fetchone())
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("UPDATE outbox SET state = 'retry_wait', attempts = 1, due_ns = 1 WHERE id = 1")
        seen.append(connection.execute("SELECT state FROM outbox").fetchone())

    await store.at_once(looks)
    assert seen == [("ready",), ("ready",)]
    assert (await Outbox(store).whole(1)).entry.state is OutboxState.RETRY_WAIT
    with ReadOnlyStore(path) as beside:
        with beside.moment():
            before = beside.outbox()
            await settled(Outbox(store), 1, OutboxState.POSTED, reference="R1")
            assert beside.outbox() == before
            assert beside.whole(1).entry == before[0]
            assert [one.state for one in before] == [OutboxState.RETRY_WAIT]
        assert [one.state for one in beside.outbox()] == [OutboxState.POSTED]
    assert (await Outbox(store).whole(1)).entry.reference == "R1"
    assert await Outbox(store).whole(2) is None
