"""Corrections and the outbox: what is void is void in one transaction with what takes its place, or nothing is kept."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from buffer.audit_taken import head
from buffer.entry import OutboxState, Settlement
from buffer.errors import PostingMovedError, StoreError
from buffer.outbox import Outbox
from buffer.step import Step
from gateway.core.audit.entry import EntryContent
from gateway.core.confirming.corrections import Capability
from gateway.core.confirming.hold_back import Delivery
from gateway.work_unit.ledgers import confirmed, delivery_of

BODY = (b"{}", "application/json", "")


def step(postings=(), voids=(), at_ns=2000, audit=()):
    return Step("ASM-01", b"{}", at_ns, postings=tuple(postings), voids=tuple(voids), audit=tuple(audit))


async def test_what_is_void_and_what_takes_its_place_are_one(open_store, make):
    store = await open_store()
    outbox = Outbox(store)
    first, second, third = (make.posting(seq) for seq in (1, 2, 3))
    await store.commit(step([first]))
    await store.commit(step([second._replace(state="voided", note="never sent"), third], [first.key]))
    assert [one.state for one in await outbox.page()] == ["ready", "voided", "voided"]
    assert [one.seq for one in await outbox.due("erp", 10**15, 9)] == [3], "the lane goes on behind it"


@pytest.mark.parametrize("moment", ["sending", "posted", "again", "gone"])
async def test_what_is_under_way_is_not_void_and_nothing_is_kept(open_store, make, moment):
    store = await open_store()
    outbox = Outbox(store)
    first, second = make.posting(1), make.posting(2)
    if moment != "gone":
        await store.commit(step([first]))
        (entry,) = await outbox.page()
        await outbox.begin_send(entry.id, BODY, 2000)
        if moment == "posted":
            await outbox.settle(entry.id, Settlement(OutboxState.POSTED), 2001)
        if moment == "again":  # a person has it sent again: it may be there
            await outbox.settle(entry.id, Settlement(OutboxState.RETRY_WAIT), 2001)
            await outbox.retry(entry.id, 2002)
    before = [one.state for one in await outbox.page()]
    with pytest.raises(PostingMovedError, match="100240/0010/1"):
        await store.commit(step([second], [first.key], 3000))
    assert [one.state for one in await outbox.page()] == before
    await store.commit(step([second], (), 3000))


STATES = [
    ({"state": "needs_approval"}, Delivery.NEEDS_APPROVAL),
    ({"state": "held"}, Delivery.HELD),
    ({"state": "ready"}, Delivery.READY),
    ({"state": "ready", "attempts": 1}, Delivery.RETRY_WAIT),
    ({"state": "parked", "attempts": 1, "error_kind": "business_reject"}, Delivery.PARKED),
    ({"state": "parked", "attempts": 0, "error_kind": "mapping"}, Delivery.PARKED),
    ({"state": "parked", "attempts": 1, "error_kind": "uncertain"}, Delivery.BY_HAND),
    ({"state": "parked", "attempts": 0, "error_kind": "by_hand"}, Delivery.BY_HAND),
    ({"state": "superseded", "error_kind": "by_hand"}, Delivery.POSTED),
    ({"state": "superseded", "error_kind": "business_reject"}, Delivery.ELSEWHERE),
    ({"state": "voided"}, Delivery.VOIDED_BEFORE_SEND),
    ({"state": "voided", "error_kind": "kept_back"}, Delivery.ELSEWHERE),
    ({"state": "voided", "error_kind": "kept_back", "kind": "reversal"}, Delivery.VOIDED_BEFORE_SEND),
    ({"state": "uncertain", "attempts": 1}, Delivery.UNCERTAIN),
    ({"state": "posted", "attempts": 1}, Delivery.POSTED),
]


@pytest.mark.parametrize(("fields", "delivery"), STATES)
async def test_how_far_it_got(open_store, make, fields, delivery):
    store = await open_store()
    await store.commit(step([make.posting(1)]))
    (entry,) = await Outbox(store).page()
    changed = entry._replace(**{**fields, "state": OutboxState(fields["state"])})
    assert delivery_of(changed) is delivery


def document(seq, good):
    return {
        "idempotency_key": f"RQ1/epoch/100240/0010/{seq}",
        "seq": seq,
        "type": "partial",
        "reverses": None,
        "origin": "auto",
        "period": {"from": "2026-05-28T20:26:40.000Z", "to": "2026-05-28T20:27:40.000Z"},
        "qty": {"good": str(good), "scrap": [{"reason": "BURR", "qty": "1"}], "rework": "0", "test": "0", "hold": "0"},
        "production_day": None,
        "shift": None,
        "event_time_last": None,
        "cycles": good,
        "estimated": {"any": False, "pieces": "0"},
        "data_quality_flags": [],
        "times": dict.fromkeys(("machine_setup_min", "labour_setup_min", "machine_min", "labour_min")),
        "hash": "ab",
    }


async def test_a_confirmation_for_two_targets_is_one(open_store, make):
    store = await open_store()
    outbox = Outbox(store)
    postings = [
        make.posting(seq, target=target)._replace(payload=json.dumps(document(seq, 10 * seq)).encode())
        for seq in (1, 2, 3)
        for target in ("erp", "copy")
    ]
    await store.commit(step(postings))
    ids = {one.seq: one.id for one in await outbox.page(target="erp")}
    first, second = ids[1], ids[2]
    await outbox.begin_send(first, BODY, 2000)
    assert await outbox.settle_and_begin(first, Settlement(OutboxState.POSTED), second, BODY, 2001)
    found = await confirmed(store, "100240", "0010", Capability.CANCEL)
    assert [(one.seq, one.pieces.good, one.pieces.scrap, one.delivery) for one in found.contents] == [
        (1, 10, 1, Delivery.POSTED),
        (2, 20, 1, Delivery.SENDING),
        (3, 30, 1, Delivery.READY),
    ]
    assert found.contents[0].scrap_reasons == (("BURR", 1),)


CHILD = """
import asyncio, sys, time
from pathlib import Path
from buffer.outbox import Outbox
from buffer.step import NewPosting, Step
from buffer.store import Store
from gateway.core.audit.entry import EntryContent

def posting(seq, state):
    return NewPosting("erp", f"k/{seq}", "m", "A", "0010", seq, "partial", b"{}", seq, state=state)

def content(what):
    return EntryContent(at_ns=1, utc_ns=1, time_quality=0, utc_offset_s=0, time_zone="UTC", user="ann",
        role="supervisor", auth="", client="", action="approve", change="event", entity="confirmation", entity_id=what,
        config_version="x", sw_version="1")

async def main():
    async with await Store.open(Path(sys.argv[1]), now_ns=time.time_ns, max_bytes=1 << 28) as store:
        seq = int(sys.argv[2])
        while True:
            old, new = f"k/{seq + 1}", posting(seq + 2, "needs_approval")
            await store.commit(Step("M", b"{}", 1, postings=(posting(seq + 1, "held"),)))
            await store.commit(Step("M", b"{}", 1, postings=(new,), voids=(old,), audit=(content(old),)))
            await Outbox(store).approve(new.key, 5, who="ann", audit=[content(new.key)])
            seq += 2
            sys.stdout.write(f"{seq}\\n")
            sys.stdout.flush()

asyncio.run(main())
"""


async def test_killed_between_it_is_void_with_what_takes_its_place_or_neither(path, open_store):
    last = 0
    for enough in (3, 8):
        await asyncio.to_thread(_killed, path, last, enough)
        store = await open_store()
        rows = await store.read("SELECT seq, state, error_text FROM outbox ORDER BY seq", ())
        entries = (await store.read("SELECT count(*) FROM audit_entry", ()))[0][0]
        voided = {seq for seq, state, _ in rows if state == "voided"}
        approved = {seq for seq, _, text in rows if text.startswith("approved")}
        last = rows[-1][0]
        assert last > enough
        for seq, state, _ in rows:
            assert (state == "voided") == (seq + 1 in {row[0] for row in rows} and seq % 2 == 1)
        assert entries == len(voided) + len(approved), "each with its entry, or not at all"
        last += last % 2
        await store.close()


def _killed(path, last, enough):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path), str(last)], stdout=subprocess.PIPE, text=True)
    try:
        for number, _line in enumerate(child.stdout):
            if number >= enough:
                os.kill(child.pid, signal.SIGKILL)
                break
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


DECIDED = {"approve": ("needs_approval", "ready"), "retry": ("parked", "ready"), "supersede": ("parked", "superseded")}


@pytest.mark.parametrize("verb", DECIDED)
async def test_a_decision_and_its_entry_are_one(open_store, make, verb):
    store = await open_store()
    outbox = Outbox(store)
    before, after = DECIDED[verb]
    await store.commit(step([make.posting(1)._replace(state=before)]))
    said = {} if verb == "retry" else {"who": "ann"}
    content = EntryContent(
        at_ns=1,
        utc_ns=1,
        time_quality=0,
        utc_offset_s=0,
        time_zone="UTC",
        user="ann",
        role="supervisor",
        auth="",
        client="",
        action="resolve_posting",
        change="event",
        entity="confirmation",
        entity_id="k",
        reason_code="not_given",
        config_version="x",
        sw_version="1",
    )

    async def decide():
        return await getattr(outbox, verb)(1, 5000, audit=[content], **said)

    async def sql(text):
        await store.write(lambda connection: connection.execute_fetchall(text))

    await sql("CREATE TRIGGER full BEFORE INSERT ON audit_entry BEGIN SELECT RAISE(ABORT, 'no room'); END")
    with pytest.raises(StoreError, match="no room"):
        await decide()
    assert (await outbox.entry(1)).state == before, "what cannot be told is not done"
    await sql("DROP TRIGGER full")
    await decide()
    assert ((await outbox.entry(1)).state, (await head(store)).seq) == (after, 1)
    with pytest.raises(StoreError, match="and cannot be"):
        await decide()
    assert (await head(store)).seq == 1, "what was not done is not told as done"
