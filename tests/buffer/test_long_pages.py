"""Long pages of the API: what they say, and that nobody waits for the whole of one."""

from __future__ import annotations

import asyncio
import datetime as dt
from types import SimpleNamespace

import orjson
import pytest

from buffer.entry import OutboxState, Settlement
from buffer.outbox import Outbox
from gateway.api.reads import POSTINGS_AT_A_TIME, Reads
from gateway.core.document import utc

S = 1_000_000_000
POSTINGS = 3 * POSTINGS_AT_A_TIME + 7


@pytest.fixture
async def store(open_store):
    async with await open_store() as store:
        yield store


@pytest.fixture
async def outbox(store, make):
    outbox = Outbox(store)
    made = [
        make.posting(seq, created_ns=seq * S)._replace(event_ns=seq, derived_ns=seq) for seq in range(1, POSTINGS + 1)
    ]
    await store.commit(make.step(postings=made))
    await outbox.begin_send(1, (b"body", "application/json", "name"), 6 * S)
    await outbox.settle(1, Settlement(OutboxState.POSTED, reference="R"), 7 * S)
    return outbox


def page(outbox, store, limit):
    clock = SimpleNamespace(utc_ns=lambda steady_ns: steady_ns + 1000 * S)
    reads = Reads(SimpleNamespace(outbox=outbox), clock, store.path)
    return reads.table()["outbox"]({"limit": limit})


async def test_a_long_page_says_byte_for_byte_what_short_ones_do(outbox, store):
    whole = await page(outbox, store, POSTINGS)
    assert [one["number"] for one in whole["postings"]] == list(range(POSTINGS, 0, -1))
    for limit in (1, POSTINGS_AT_A_TIME, POSTINGS_AT_A_TIME + 1):
        assert orjson.dumps((await page(outbox, store, limit))["postings"]) == orjson.dumps(whole["postings"][:limit])
    last = whole["postings"][-1]
    assert (last["created"], last["event"]) == ("1970-01-01T00:16:41.000Z", "1970-01-01T00:16:40.000Z")


async def test_others_go_on_while_a_long_page_is_written(outbox, store, monkeypatch):
    turns, seen = 0, []

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    summary = Reads._summary

    def watched(reads, entry):
        seen.append(turns)
        return summary(reads, entry)

    monkeypatch.setattr(Reads, "_summary", watched)
    busy = asyncio.create_task(other())
    await page(outbox, store, POSTINGS)
    busy.cancel()
    assert len(seen) == POSTINGS
    assert max(map(seen.count, seen)) <= POSTINGS_AT_A_TIME, "so many in one turn of the event loop"


async def test_a_page_without_contents_differs_in_nothing_else(outbox):
    whole, bare = await outbox.page(limit=9), await outbox.page(limit=9, contents=False)
    assert [one._replace(payload=b"", body=None) for one in whole] == bare
    assert whole[0].payload != b""


@pytest.mark.parametrize(
    "at_ns", [0, 1, -1, 999_999, -1_000_001, 10**9 - 1, 2**62, -(2**62), 1_774_591_200_123_999_999]
)
def test_a_time_is_written_as_the_calendar_has_it(at_ns):
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=at_ns // 1000)
    assert utc(at_ns) == moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
