"""What a person knows to be booked: its state, its reference, its steps, its lane, and the audit in one transaction."""

from __future__ import annotations

import pytest

from buffer import booked, reconciliation
from buffer.booked import Word
from buffer.entry import BOOKED_FROM, BY_PERSON, GOODS_ERROR, OutboxState, Settlement
from buffer.errors import OutboxError
from buffer.outbox import Outbox
from buffer.verify import verified
from gateway.core.audit.entry import EntryContent

S = OutboxState
MESSAGE = (b"body", "application/json", "")
WORD = Word(0, "4711/2", "ann", "found by its text in CO14")
ENTRY = EntryContent(
    at_ns=1, utc_ns=1, time_quality=0, utc_offset_s=0, time_zone="UTC", user="ann", role="planner", auth="", client="",
    action="resolve_posting", change="modify", entity="confirmation", entity_id="K", config_version="", sw_version="",
    reason_text="found",
)  # fmt: skip


@pytest.fixture
async def outbox(store, make):
    for seq in (1, 2):
        await store.commit(make.step(seq=seq, postings=[make.posting(seq, "A", "10", created_ns=seq)]))
    return Outbox(store)


async def reach(outbox, state, more=()):
    """Posting 1 in this state."""
    if state is S.READY:
        return await outbox.entry(1)
    sending = await outbox.begin_send(1, MESSAGE, 100, more=more)
    if state is S.SENDING:
        return sending
    return await outbox.settle(1, Settlement(state, 10**9, "", "uncertain", "E1", "no answer"), 110)


@pytest.mark.parametrize("state", [one for one in S if one not in (S.HELD, S.NEEDS_APPROVAL, S.SUPERSEDED, S.VOIDED)])
async def test_in_which_states_a_word_counts(outbox, store, state):
    before = await reach(outbox, state)
    if state not in BOOKED_FROM:
        with pytest.raises(OutboxError, match=f"is {state} and cannot be told to be booked; allowed from: parked, unc"):
            await booked.by_person(store, 1, WORD, 500)
        assert await outbox.entry(1) == before
        return
    made = await booked.by_person(store, 1, WORD, 500)
    assert (made.state, made.reference, made.settled_ns, made.error_kind) == (S.POSTED, "4711/2", 500, BY_PERSON)
    assert made.error_text == "booked there, says ann: found by its text in CO14"
    assert (made.body, made.key, made.attempts, made.error_code) == (before.body, before.key, 1, "")
    assert await outbox.references(made) == ("4711/2",)
    assert [one.seq for one in await outbox.due("erp", 1000, 5)] == [2], "its lane goes on"
    assert (await outbox.counts("erp")).posted == 1
    with pytest.raises(OutboxError, match="is posted and cannot be told"):
        await booked.by_person(store, 1, WORD, 600)


async def test_step_by_step(outbox, store):
    """Three messages: the first is booked, says ann; the second is sent then, gets no answer, and so on."""
    await reach(outbox, S.PARKED, more=(MESSAGE, MESSAGE))
    with pytest.raises(OutboxError, match="found step 2, allowed the one that is due: 1"):
        await booked.by_person(store, 1, WORD._replace(step=1), 500)
    made = await booked.by_person(store, 1, WORD._replace(reference="R1"), 500)
    assert (made.state, made.step, made.error_kind, made.settled_ns) == (S.READY, 1, "", None)
    assert [one.seq for one in await outbox.due("erp", 1000, 5)] == [1], "the rest of it goes first"
    await reach(outbox, S.UNCERTAIN)
    assert (await booked.by_person(store, 1, Word(1, "R2", "ann", "seen"), 510)).step == 2
    await reach(outbox, S.ACCEPTED)
    made = await booked.by_person(store, 1, Word(2, "R3", "ann", "seen"), 520)
    assert (made.state, made.reference) == (S.POSTED, "R1, R2, R3")
    assert await outbox.references(made) == ("R1", "R2", "R3")


async def test_what_was_never_sent_is_booked_by_hand_and_the_database_is_whole(outbox, store, path):
    await outbox.settle(1, Settlement(S.PARKED, 0, "", "by_hand", "", "book it there"), 100)
    made = await booked.by_person(store, 1, WORD, 500, audit=(ENTRY,))
    assert (made.state, made.body, made.attempts) == (S.POSTED, b"", 0)
    with pytest.raises(OutboxError, match="was never sent from here; it cannot be sent again"):
        await reconciliation.resend(store, 1, 600, who="ann", reason="lost")
    rows = await store.read("SELECT action, entity_id FROM audit_entry", ())
    assert [tuple(row) for row in rows] == [("resolve_posting", "K")]
    found = {one.name: one.told for one in verified(path) if one.name in ("messages", "heads of lanes", "audit trail")}
    assert found == {"messages": (), "heads of lanes": (), "audit trail": ()}


async def test_nothing_is_kept_where_its_entry_cannot_be(outbox, store):
    before = await reach(outbox, S.PARKED)
    with pytest.raises(Exception, match="reason"):
        await booked.by_person(store, 1, WORD, 500, audit=(ENTRY._replace(reason_text="", reason_code=""),))
    assert await outbox.entry(1) == before


async def test_an_answer_about_one_step_is_none_about_the_next(outbox, store):
    """All of it is asked for again; while the target is asked for the first step, somebody says it is booked."""
    await reach(outbox, S.PARKED, more=(MESSAGE, MESSAGE))
    for step in range(3):
        made = await booked.by_person(store, 1, Word(step, f"R{step}", "ann", "seen"), 500)
        if made.state is not S.POSTED:
            await reach(outbox, S.UNCERTAIN)
    await reconciliation.resend(store, 1, 600, who="ann", reason="lost")
    asked = await outbox.begin_lookup(1, 610)
    assert (asked.state, asked.step) == (S.UNCERTAIN, 0)
    made = await booked.by_person(store, 1, Word(0, "R0", "ann", "seen"), 620)
    assert (made.state, made.step) == (S.UNCERTAIN, 1)
    with pytest.raises(OutboxError):
        await outbox.settle(1, Settlement(S.READY), 630, step=asked.step)
    with pytest.raises(OutboxError):
        await outbox.next_step(1, Settlement(S.POSTED, 0, "R0"), 630, go=False, step=asked.step)
    assert await outbox.entry(1) == made, "neither sent again nor taken for booked"
    assert (await outbox.next_step(1, Settlement(S.POSTED, 0, "R1"), 640, go=False, step=1)).step == 2


@pytest.mark.parametrize("by_word", [False, True])
async def test_material_that_is_missing_of_an_earlier_step_is_still_told_when_the_last_one_is_booked(
    outbox, store, by_word
):
    await reach(outbox, S.SENDING, more=(MESSAGE, MESSAGE))
    without = Settlement(S.POSTED, 0, "R1", GOODS_ERROR, "", "lot L7 is locked")
    await outbox.next_step(1, without, 110, go=True)
    await outbox.next_step(1, Settlement(S.POSTED, 0, "R2"), 120, go=True)
    if by_word:
        await outbox.settle(1, Settlement(S.UNCERTAIN, 10**9, "", "uncertain", "", "no answer"), 125)
        await booked.by_person(store, 1, Word(2, "R3", "ann", "seen"), 130)
    else:
        await outbox.settle(1, Settlement(S.POSTED, 0, "R3"), 130)
    made = await outbox.entry(1)
    said = "; booked there, says ann: seen" if by_word else ""
    assert (made.state, made.error_kind) == (S.POSTED, GOODS_ERROR)
    assert made.error_text == f"lot L7 is locked{said}"
    assert made.reference == "R1, R2, R3"
    assert (await outbox.counts("erp")).goods_errors == 1
    (told,) = await outbox.material_posted(1, 200, who="ann")
    assert (told.error_kind, (await outbox.counts("erp")).goods_errors) == ("", 0)
