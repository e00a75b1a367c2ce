"""The forwarder against a real HTTP target and a real database; only the clock is set by hand."""

import asyncio
import contextlib
import itertools
import random

import pytest

from buffer.entry import OutboxState
from gateway.connectors.rest import PLUGIN
from gateway.connectors.rest.settings import RestSettings
from gateway.core.duration import Duration
from gateway.forwarder import Forwarder, ForwarderSettings, ForwarderTimings, Link
from gateway.forwarder.budget import FAILING_PER_S_MAX

DEADLINE_S = 200.0
A1, A2, A3, B1, C1 = ("A", "10", 1), ("A", "10", 2), ("A", "10", 3), ("B", "10", 1), ("C", "10", 1)


class Running:
    """A forwarder under way, with the means to wait for what it does."""

    def __init__(self, forwarder, connector, outbox, clock) -> None:
        self.forwarder = forwarder
        self.connector = connector
        self.outbox = outbox
        self.clock = clock
        self._rests = False
        self._resting, forwarder._rest = forwarder._rest, self._rest
        self.task = asyncio.create_task(forwarder.run())

    async def _rest(self, deadline_ns):
        self._rests = True
        try:
            await self._resting(deadline_ns)
        finally:
            self._rests = False

    async def state(self, *lane):
        found = [entry for entry in await self.outbox.page(limit=1000) if (*entry.lane, entry.seq) == lane]
        return found[0]

    async def until(self, check, passing_s=0.0):
        """Wait until ``check()`` holds; ``passing_s``: let that much of the gateway's time pass between two looks."""
        end = asyncio.get_running_loop().time() + DEADLINE_S
        while not (found := await check()):
            assert asyncio.get_running_loop().time() < end, await self.outbox.page()
            assert not self.task.done(), self.task
            # No time passes while a request is on its way, nor while the forwarder still looks what is due.
            if self._rests and not self.forwarder._under_way:
                self.clock.pass_s(passing_s)
                self.forwarder.wake()
            await asyncio.sleep(0.002)
        return found

    async def until_state(self, lane, state, passing_s=0.0):
        async def check():
            entry = await self.state(*lane)
            return entry if entry.state is state else None

        return await self.until(check, passing_s)

    async def stop(self):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await self.connector.close()


@pytest.fixture
async def forward(erp, filled, clock, context):
    running = []

    async def started(*, can_lookup=True, outbox=None, parallel=4, timings=None, **changes):
        given = {"timeout": Duration("60 s"), "server_time_limit": Duration("60 s"), **changes}
        connector = PLUGIN.build(RestSettings(connector="rest", url=erp.url, **given), context())
        if not can_lookup:
            connector._capabilities = connector.capabilities._replace(can_lookup=False)
        await connector.open()
        forwarder = Forwarder(
            name="erp",
            connector=connector,
            outbox=outbox or filled.outbox,
            now_ns=clock,
            rng=random.Random(1),
            settings=ForwarderSettings(parallel_lanes=parallel),
            timings=timings,
        )
        running.append(Running(forwarder, connector, outbox or filled.outbox, clock))
        return running[-1]

    yield started
    erp.release.set()
    for one in running:
        await one.stop()


def keys(erp):
    return [(*key.split("/")[2:4], int(key.split("/")[4])) for key in erp.order]


async def test_lanes_are_forwarded_in_their_order(forward, filled, erp):
    await filled.add(A1, A2, B1, C1, A3)
    run = await forward()
    await run.until_state(A3, OutboxState.POSTED)
    await run.until_state(C1, OutboxState.POSTED)
    await run.until_state(B1, OutboxState.POSTED)
    assert [key for key in keys(erp) if key[0] == "A"] == [A1, A2, A3]
    assert sorted(keys(erp)) == sorted([A1, A2, B1, C1, A3])
    assert not erp.overlaps
    entry = await run.state(*A1)
    assert (entry.reference, entry.attempts) == (f"CNF-{keys(erp).index(A1) + 1}", 1)

    async def status():
        return run.forwarder.status if run.forwarder.status.posted == 5 else None

    found = await run.until(status)
    assert (found.link, found.waiting, found.oldest_waiting_ns) == (Link.UP, 0, None)
    assert found.last_posted_ns == run.clock.ns


async def test_what_is_committed_later_goes_at_once(forward, filled, erp):
    run = await forward()
    await asyncio.sleep(0)
    await filled.add(A1)
    run.forwarder.wake()
    await run.until_state(A1, OutboxState.POSTED)


@pytest.mark.parametrize("can_lookup", [True, False])
async def test_what_is_held_goes_when_its_window_is_over_and_not_before(forward, filled, erp, clock, can_lookup):
    end_ns = clock() + Duration("5 s")
    await filled.add(A1, state="held", due_ns=end_ns)
    await filled.add(A2)
    run = await forward(can_lookup=can_lookup)
    entry = await run.until_state(A2, OutboxState.POSTED, passing_s=0.1)
    assert keys(erp) == [A1, A2]
    assert (await run.state(*A1)).first_sent_ns >= end_ns
    assert (entry.attempts, entry.lookups) == (1, 0)


async def test_a_refused_posting_blocks_its_lane_only(forward, filled, erp):
    erp.by_order["A"] = {"status": 422, "body": b'{"error": {"code": "CLOSED", "message": "order closed"}}'}
    await filled.add(A1, A2, B1)
    run = await forward()
    entry = await run.until_state(A1, OutboxState.PARKED)
    assert (entry.error_kind, entry.error_code, entry.error_text) == (
        "business_reject", "CLOSED", "HTTP 422: order closed",
    )  # fmt: skip
    await run.until_state(B1, OutboxState.POSTED)
    assert (await run.state(*A2)).state is OutboxState.READY
    run.clock.pass_s(100_000)
    assert len(erp.posts()) == 2
    erp.by_order.clear()
    await filled.outbox.retry(entry.key, run.clock.ns)
    run.forwarder.wake()
    await run.until_state(A2, OutboxState.POSTED)
    assert len(set(erp.bodies[entry.key])) == 1


async def test_what_waits_behind_a_parked_posting_is_counted_and_its_reason_survives_a_restart(forward, filled, erp):
    erp.by_order["A"] = {"status": 422, "body": b'{"error": {"code": "CLOSED", "message": "order closed"}}'}
    await filled.add(A1)
    run = await forward()
    await run.until_state(A1, OutboxState.PARKED)

    async def counts(waiting):
        status = run.forwarder.status
        return status if (status.waiting, status.parked) == (waiting, 1) else None

    await run.until(lambda: counts(0))
    await filled.add(A2)
    run.forwarder.wake()
    await run.until(lambda: counts(1))
    await run.stop()
    run = await forward()
    status = await run.until(lambda: counts(1))
    assert status.last_error == "business_reject: HTTP 422: order closed"


async def test_a_lost_answer_is_looked_up_and_never_repeated(forward, filled, erp):
    erp.faults.extend([{"book": True, "cut": True}, {"status": 500, "book": True}, {"book": True, "half": True}])
    await filled.add(A1, A2, A3)
    run = await forward()
    await run.until_state(A3, OutboxState.POSTED, passing_s=0.2)
    assert keys(erp) == [A1, A2, A3]
    assert len(erp.posts()) == 3
    assert (await run.state(*A1)).reference == "CNF-F"


async def test_absence_counts_only_when_the_server_cannot_be_at_work_any_more(forward, filled, erp):
    erp.faults.append({"book_on_release": True})  # cut at once, booked later
    await filled.add(A1)
    run = await forward()
    entry = await run.until_state(A1, OutboxState.UNCERTAIN)
    sent_ns = entry.last_sent_ns

    async def looked():
        found = await run.state(*A1)
        return found if found.lookups >= 4 else None

    entry = await run.until(looked, passing_s=0.5)  # in between, because it may be booked late
    assert entry.state is OutboxState.UNCERTAIN
    assert run.clock.ns < sent_ns + 60_000_000_000
    for _ in range(20):  # asking again and again changes nothing before its time
        run.forwarder.wake()
        await asyncio.sleep(0.002)
    assert len(erp.posts()) == 1
    erp.release.set()

    async def booked():
        return erp.order

    await run.until(booked)
    await run.until_state(A1, OutboxState.POSTED, passing_s=5)
    assert len(erp.posts()) == 1
    assert keys(erp) == [A1]


async def test_proven_absence_leads_to_a_repeat_with_the_same_bytes(forward, filled, erp):
    erp.faults.append({"cut": True})
    await filled.add(A1)
    run = await forward()
    start_ns = run.clock.ns
    entry = await run.until_state(A1, OutboxState.POSTED, passing_s=1)
    assert keys(erp) == [A1]
    assert entry.attempts == 2
    assert entry.last_sent_ns >= start_ns + 60_000_000_000
    assert len(erp.bodies[entry.key]) == 2
    assert len(set(erp.bodies[entry.key])) == 1


async def test_an_idempotent_target_is_not_looked_up(forward, filled, erp):
    erp.idempotent = True
    erp.faults.append({"book": True, "cut": True})
    await filled.add(A1)
    run = await forward(idempotent=True)
    await run.until_state(A1, OutboxState.POSTED, passing_s=0.5)
    assert keys(erp) == [A1]
    assert {method for method, _, _ in erp.requests} == {"POST"}


async def test_without_any_way_to_ask_a_person_decides(forward, filled, erp):
    erp.faults.append({"book": True, "cut": True})
    await filled.add(A1, B1)
    run = await forward(can_lookup=False, parallel=1)
    entry = await run.until_state(A1, OutboxState.PARKED, passing_s=0.5)
    assert "look there" in entry.error_text
    await run.until_state(B1, OutboxState.POSTED, passing_s=0.5)
    assert keys(erp) == [A1, B1]


async def test_a_link_that_is_down_is_tried_gently_and_comes_back(forward, filled, erp):
    erp.stop()
    lanes = [(order, "10", 1) for order in "ABCDEFGHIJ"]
    await filled.add(*lanes)
    run = await forward()

    async def tried():
        return sum(entry.attempts for entry in await run.outbox.page()) >= 6

    start_ns = run.clock.ns
    await run.until(tried, passing_s=0.25)
    attempts = sum(entry.attempts for entry in await run.outbox.page())
    # Never faster than the budget, all lanes together.
    assert attempts <= FAILING_PER_S_MAX * (1 + (run.clock.ns - start_ns) // 1_000_000_000)
    assert run.clock.ns - start_ns <= 60_000_000_000
    assert not {entry.state for entry in await run.outbox.page()} & {OutboxState.UNCERTAIN, OutboxState.PARKED}

    async def shown():
        status = run.forwarder.status
        return status.link is Link.DOWN and status.next_retry_ns and "connection attempts failed" in status.last_error

    await run.until(shown)
    erp.start()
    for lane in lanes:
        await run.until_state(lane, OutboxState.POSTED, passing_s=0.25)
    assert len(keys(erp)) == 10

    async def well():
        return (run.forwarder.status.failures, run.forwarder.status.breaker) == (0, "closed")

    await run.until(well)


@pytest.mark.parametrize("can_lookup", [True, False])
async def test_an_order_that_the_target_cannot_digest_holds_back_its_own_lane_only(forward, filled, erp, can_lookup):
    """Also where nothing else was to be sent for hours, so that nothing ever told that the target is well."""
    erp.by_order["A"] = {"status": 500}
    await filled.add(A1)
    run = await forward(can_lookup=can_lookup, idempotent=True)

    async def tried():
        return (await run.state(*A1)).attempts >= 8

    await run.until(tried, passing_s=1.0)
    for number in range(5):
        lane = (f"B{number}", "10", 1)
        start_ns = run.clock.ns
        await filled.add(lane)
        run.forwarder.wake()
        entry = await run.until_state(lane, OutboxState.POSTED, passing_s=0.1)
        assert entry.last_sent_ns - start_ns <= Duration("1200 ms")
    assert (await run.state(*A1)).state is OutboxState.UNCERTAIN


async def test_retry_after_is_honoured(forward, filled, erp):
    erp.faults.append({"status": 503, "headers": {"Retry-After": "100"}})
    await filled.add(A1)
    run = await forward()
    start_ns = run.clock.ns
    entry = await run.until_state(A1, OutboxState.POSTED, passing_s=1)
    assert entry.last_sent_ns >= start_ns + 100_000_000_000


async def test_a_locked_order_is_tried_again_by_the_ladder_and_parked_at_last(forward, filled, erp):
    erp.by_order["A"] = {"status": 409, "body": b'{"error": {"code": "LOCKED", "message": "in use"}}'}
    await filled.add(A1, B1)
    run = await forward()
    start_ns = run.clock.ns
    sent_ns = []

    async def parked():
        entry = await run.state(*A1)
        if entry.last_sent_ns and entry.last_sent_ns not in sent_ns:
            sent_ns.append(entry.last_sent_ns)
        return entry.state is OutboxState.PARKED

    async def known():
        return await parked() or len(sent_ns) >= 8

    await run.until(known, passing_s=10)
    await run.until(parked, passing_s=60)
    pauses = [(after - before) // 1_000_000_000 for before, after in itertools.pairwise(sent_ns)]
    assert pauses[:7] == [pytest.approx(expected, abs=30) for expected in (30, 60, 120, 300, 600, 600, 600)]
    assert run.clock.ns - start_ns >= 4 * 3600 * 1_000_000_000
    assert (await run.state(*B1)).state is OutboxState.POSTED
    assert erp.booked[(await run.state(*A1)).key] == 0


async def test_a_missing_precondition_is_waited_for(forward, filled, erp):
    erp.by_order["A"] = {"status": 422, "body": b'{"error": {"code": "NOT_RELEASED", "message": "m"}}'}
    await filled.add(A1)
    run = await forward()
    start_ns = run.clock.ns
    entry = await run.until_state(A1, OutboxState.PARKED, passing_s=60)
    assert 8 * 3600 <= (run.clock.ns - start_ns) // 1_000_000_000 <= 9 * 3600
    assert 30 <= entry.attempts <= 34


async def test_refused_credentials_stop_the_target_until_a_probe(forward, filled, erp):
    erp.faults.append({"status": 401, "body": b"{}"})
    erp.get_faults.append({"status": 401, "body": b"{}"})  # the first probe
    await filled.add(A1, B1)
    run = await forward()
    start_ns = run.clock.ns

    async def down():
        return run.forwarder.status.link is Link.DOWN

    await run.until(down)
    for _ in range(14):
        run.clock.pass_s(60)
        run.forwarder.wake()
        await asyncio.sleep(0.005)
    assert len(erp.requests) == 1
    assert "auth" in run.forwarder.status.last_error
    entry = await run.until_state(A1, OutboxState.POSTED, passing_s=30)
    assert entry.last_sent_ns >= start_ns + 2 * 900_000_000_000
    await run.until_state(B1, OutboxState.POSTED)
    assert [path for method, path, _ in erp.requests if method == "GET"] == ["/health", "/health"]


async def test_something_else_answers(forward, filled, erp):
    erp.faults.append({"status": 200, "body": b"<html>log in", "type": "text/html"})
    await filled.add(A1)
    run = await forward()
    await run.until_state(A1, OutboxState.UNCERTAIN)
    assert run.forwarder._link is Link.DOWN
    await run.until_state(A1, OutboxState.POSTED, passing_s=1)
    assert keys(erp) == [A1]


async def test_what_is_only_accepted_is_posted_when_it_is_booked(forward, filled, erp):
    erp.faults.append({"status": 202, "body": b'{"reference": "Q-1"}'})
    await filled.add(A1, A2)
    run = await forward()
    entry = await run.until_state(A1, OutboxState.ACCEPTED)
    run.clock.pass_s(31)
    run.forwarder.wake()

    async def asked():
        return (await run.state(*A1)).lookups

    await run.until(asked)
    assert (await run.state(*A2)).state is OutboxState.READY
    erp._book(entry.key)
    await run.until_state(A2, OutboxState.POSTED, passing_s=5)
    assert keys(erp) == [A1, A2]


async def test_what_is_accepted_and_never_booked_is_shown_to_a_person(forward, filled, erp):
    erp.faults.append({"status": 202, "body": b"{}"})
    await filled.add(A1)
    run = await forward()
    entry = await run.until_state(A1, OutboxState.PARKED, passing_s=120)
    assert "never booked" in entry.error_text


async def test_a_confirmation_that_cannot_be_rendered_is_parked_unsent(forward, filled, erp):
    from buffer.step import JournalRow, NewPosting, Step

    bad = NewPosting("erp", "k1", "m", "Z", "10", 1, "partial", b'{"order_id": "Z"}', 1)
    worse = NewPosting("erp", "k2", "m", "Y", "10", 1, "partial", b"no json", 1)
    await filled.store.commit(Step("V", b"", 1, (JournalRow(1, 1, "k", b""),), (bad, worse)))
    await filled.add(A1)
    run = await forward()
    entry = await run.until_state(("Z", "10", 1), OutboxState.PARKED)
    assert (entry.error_kind, entry.body, entry.attempts) == ("mapping", None, 0)
    assert "idempotency_key" in entry.error_text
    assert "JSONDecodeError" in (await run.until_state(("Y", "10", 1), OutboxState.PARKED)).error_text
    await run.until_state(A1, OutboxState.POSTED)


async def test_draining_lets_a_running_send_finish(forward, filled, erp):
    erp.faults.append({"hold": True, "book": True, "body": b'{"reference": "C-9"}'})
    await filled.add(A1, A2)
    run = await forward(timeout=Duration("60 s"))

    async def arrived():
        return erp.order

    await run.until(arrived)
    draining = asyncio.create_task(run.forwarder.drain(60))
    await asyncio.sleep(0.01)
    assert not draining.done()
    erp.release.set()
    await draining
    await run.task
    assert (await run.state(*A1)).state is OutboxState.POSTED
    assert (await run.state(*A2)).state is OutboxState.READY


@pytest.mark.parametrize("how", ["drain", "cancel"])
async def test_what_is_under_way_at_the_end_is_uncertain_at_the_next_start(forward, filled, erp, reopen, how):
    erp.faults.append({"hold": True, "book": True})
    await filled.add(A1)
    run = await forward(timeout=Duration("60 s"))

    async def arrived():
        return erp.order

    await run.until(arrived)
    if how == "drain":
        await run.forwarder.drain(0.01)
    await run.stop()
    assert (await run.state(*A1)).state is OutboxState.SENDING
    await filled.store.close()
    again = await reopen()
    assert again.store.interrupted == 1
    erp.release.set()
    run = await forward(outbox=again.outbox)
    await run.until_state(A1, OutboxState.POSTED)
    assert keys(erp) == [A1]
    await run.stop()
    await again.store.close()


async def test_an_interrupted_send_is_not_proven_absent_by_the_time_that_passed_while_off(
    forward, filled, erp, clock, reopen
):
    await filled.add(A1)
    await filled.outbox.begin_send(1, (b'{"order_id":"A","operation":"10"}', "application/json", ""), clock.ns)
    await filled.store.close()
    clock.pass_s(3600)
    again = await reopen()
    started_ns = clock.ns
    run = await forward(outbox=again.outbox)
    entry = await run.until_state(A1, OutboxState.POSTED, passing_s=1)
    assert entry.last_sent_ns >= started_ns + 60_000_000_000
    await run.stop()
    await again.store.close()


async def test_a_full_buffer_loses_no_answer(forward, filled, erp, clock):
    await filled.add(A1)
    erp.faults.append({"hold": True, "book": True, "body": b'{"reference": "C-9"}'})
    run = await forward(timeout=Duration("60 s"))

    async def arrived():
        return erp.order

    await run.until(arrived)

    # Every write fails from here on, until the connections are opened again.
    await filled.store._opened.writing.execute_fetchall("PRAGMA query_only=ON")
    erp.release.set()

    async def troubled():
        return "buffer" in run.forwarder._last_error

    await run.until(troubled)
    entry = await run.until_state(A1, OutboxState.POSTED)
    assert entry.reference == "C-9"
    assert keys(erp) == [A1]


@pytest.mark.parametrize("changes", [{"parallel_lanes": 0}, {"parallel_lanes": 33}, {"backoff_max_ns": 0}])
def test_settings_that_are_refused(changes):
    with pytest.raises(ValueError, match="found"):
        ForwarderSettings(**changes)


@pytest.mark.parametrize("changes", [{"busy_ladder_ns": ()}, {"busy_ladder_ns": (0,)}, {"backoff_min_ns": 0}])
def test_timings_that_are_refused(changes):
    with pytest.raises(ValueError, match="above 0"):
        ForwarderTimings(**changes)


async def test_a_text_that_cannot_be_stored_parks_its_posting_and_stops_nothing(erp, filled, forward):
    await filled.add(A1, B1)
    body = b'{"error": {"code": "BAD\\u0000", "message": "Menge \\ud83d\\u001b[2J\\n999999 posted"}}'
    erp.by_order["A"] = {"status": 422, "body": body}
    running = await forward()
    entry = await running.until_state(A1, OutboxState.PARKED)
    assert (entry.error_code, entry.error_text) == ("BAD", "HTTP 422: Menge \ufffd [2J 999999 posted")
    await running.until_state(B1, OutboxState.POSTED)
    await filled.add(C1)
    running.forwarder.wake()
    await running.until_state(C1, OutboxState.POSTED)


async def test_an_unclear_posting_is_not_believed_to_be_booked_without_a_reference(erp, filled, forward):
    await filled.add(A1)
    erp.faults.append({"cut": True})
    for body in (b"{}", b'{"status": "ok"}', b'{"error": {"code": "NOT_FOUND", "message": "no such key"}}'):
        erp.get_faults.append({"status": 200, "body": body})
    running = await forward()
    entry = await running.until_state(A1, OutboxState.POSTED, passing_s=5)
    assert erp.booked[entry.key] == 1
    assert entry.attempts == 2
    assert not erp.get_faults
