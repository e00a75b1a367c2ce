"""However long an ERP is away, notices for it do not grow without an end; what is not made is counted and told."""

from __future__ import annotations

import json
import sqlite3
from types import SimpleNamespace

import pytest

from buffer import notices
from buffer.beside import figures
from buffer.entry import OutboxState, Settlement
from buffer.outbox import Outbox
from buffer.step import Step
from buffer.verify import verified
from gateway.core.document import Identity
from gateway.core.orders.erp_notice import GROWING, ErpNotice, NoticeType
from gateway.parts import Parts
from gateway.rounds.buffer_round import BufferRound
from gateway.timing.clock import SteadyClock

MOST = 3
STATUS = ErpNotice(
    NoticeType.STATUS, "state_changed", 10, 10, {"state": "RELEASED", "previous_state": None, "cause": "-"}
)
QUALITY = STATUS._replace(type=NoticeType.QUALITY, event="judged", detail={"pieces": "1"})


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(notices, "WAITING_MAX", MOST)


@pytest.fixture
def tell(store):
    identity = Identity(plant="P", epoch=store.epoch, gateway_id="gw", line="L", machine="M1", work_center="WC-1")

    async def told(notice, *targets, order="A"):
        """One step with one notice."""
        made = notice._replace(targets=targets or ("erp",), order=order)
        await store.commit(Step("M1", b'{"journal_seq": 0}', 10, notices=(made,), identity=identity))

    return told


async def made(store, target="erp"):
    """Number and what was left out before it, by order."""
    page = await Outbox(store).page(target=target, limit=100)
    return [(one.order, one.seq, json.loads(one.payload)["left_out"]) for one in reversed(page)]


async def arrived(store, count=1):
    outbox = Outbox(store)
    for one in (await outbox.due("erp", 100, 100))[:count]:
        await outbox.begin_send(one.id, (b"x", "t", "n"), 20)
        await outbox.settle(one.id, Settlement(OutboxState.POSTED), 20)


async def left_out(store):
    return {one.target: one.notices_left_out for one in (await figures(store, 10, 0)).targets}


async def test_so_many_wait_and_no_more_and_the_next_one_says_how_many_are_missing(few, store, tell):
    for _ in range(MOST + 2):
        await tell(STATUS)
    await tell(QUALITY, order="B")
    assert await made(store) == [("A", 1, None), ("A", 2, None), ("A", 3, None)]
    assert await left_out(store) == {"erp": 3}
    await arrived(store)
    await tell(STATUS, order="C")
    assert (await made(store))[-1] == ("C", 1, {"quality": 1, "status": 2})
    assert await left_out(store) == {"erp": 0}, "it is told once"
    await arrived(store)
    await tell(STATUS)
    assert (await made(store))[-1] == ("A", 4, None), "its numbers have no gap"
    assert [one for one in verified(store.path) if one.defects] == []


async def test_a_step_goes_no_further_than_the_limit_by_its_own(few, store, tell):
    """Whatever it tells, as many wait as may, and each further one is counted."""
    identity = Identity(plant="P", epoch=store.epoch, gateway_id="gw", line="L", machine="M1", work_center="WC-1")
    both = [STATUS._replace(targets=("erp", "mes"), order="A")] * 2 + [
        QUALITY._replace(targets=("erp",), order="A")
    ] * 3
    await tell(STATUS)
    await store.commit(Step("M1", b'{"journal_seq": 0}', 10, notices=tuple(both), identity=identity))
    assert await made(store) == [("A", 1, None), ("A", 2, None), ("A", 3, None)]
    assert await made(store, "mes") == [("A", 1, None), ("A", 2, None)]
    assert await left_out(store) == {"erp": 3, "mes": 0}
    for _ in range(MOST):
        await arrived(store)
    await store.commit(Step("M1", b'{"journal_seq": 0}', 10, notices=tuple(both), identity=identity))
    assert (await made(store))[MOST:] == [("A", 4, {"quality": 3}), ("A", 5, None), ("A", 6, None)]
    assert await left_out(store) == {"erp": 2, "mes": 1}
    assert [one for one in verified(store.path) if one.defects] == []


async def test_each_target_has_its_own_and_nothing_else_of_the_step_is_left_out(few, store, tell, make):
    for _ in range(MOST + 1):
        await tell(STATUS)
    await tell(STATUS, "erp", "mes")
    assert await left_out(store) == {"erp": 2, "mes": 0}
    assert await made(store, "mes") == [("A", 1, None)]
    await store.commit(make.step(postings=[make.posting()]))
    assert (await Outbox(store).counts("erp")).waiting == 1, "a confirmation is never left out"


async def test_what_is_left_out_is_still_known_after_a_death(few, store, tell, open_store):
    for _ in range(MOST + 1):
        await tell(STATUS)
    await store.close()
    again = await open_store()
    assert await left_out(again) == {"erp": 1}
    await again.close()


async def test_what_grows_is_not_counted_because_it_is_offered_again(few, store, tell):
    for _ in range(MOST):
        await tell(STATUS)
    sums = {"waiting": {"good": "1"}, "received": {"good": "1"}}
    await tell(STATUS._replace(type=NoticeType.UNALLOCATED, event=GROWING, detail=sums), order="")
    assert await left_out(store) == {"erp": 0}


async def test_one_that_is_parked_counts_and_a_discarded_one_does_not(few, store, tell):
    outbox = Outbox(store)
    for _ in range(MOST):
        await tell(STATUS)
    (head,) = await outbox.due("erp", 100, 100)
    await outbox.begin_send(head.id, (b"x", "t", "n"), 20)
    await outbox.settle(head.id, Settlement(OutboxState.PARKED), 20)
    await tell(STATUS)
    assert await left_out(store) == {"erp": 1}
    await outbox.supersede(head.id, 20, who="ann")
    await tell(STATUS)
    assert (await made(store))[-1] == ("A", 4, {"status": 1})


async def degraded(store, notices):
    """What is said of them where the connector is told these types; None: there is no such connector (any more)."""
    parts = Parts(Outbox(store), None, lambda at_ns: at_ns)
    if notices is not None:
        parts.connectors["erp"] = SimpleNamespace(capabilities=SimpleNamespace(notices=notices))
        # It answers: nothing else is wrong.
        parts.forwarders["erp"] = SimpleNamespace(status=SimpleNamespace(link="up", failures=0))
    found = await BufferRound(store, SteadyClock(last_time_ns=0), parts).figures()
    return [one for one in found.degraded if one.startswith("notices erp: ")]


async def test_it_is_shown_as_long_as_a_later_one_will_say_so(few, store, tell):
    for _ in range(MOST + 2):
        await tell(STATUS)
    (told,) = await degraded(store, {NoticeType.STATUS})
    assert told.startswith("notices erp: 2 were not made"), told
    assert await degraded(store, frozenset()) == [], "it wants none any more: nobody misses one"
    assert await degraded(store, None) == [], "it is not there any more"
    await arrived(store)
    await tell(STATUS)
    assert await degraded(store, {NoticeType.STATUS}) == []


async def test_a_count_of_none_is_refused_by_the_schema(store):
    with sqlite3.connect(store.path) as link, pytest.raises(sqlite3.IntegrityError):
        link.execute("INSERT INTO notice_left_out VALUES ('erp', 'status', 0)")
    link.close()
