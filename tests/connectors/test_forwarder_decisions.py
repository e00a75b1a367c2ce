"""What is durable before it takes effect, as the target sees it; and what persons get back of what they corrected."""

import asyncio
import contextlib
import json
import random
import sqlite3
from types import SimpleNamespace

import pytest

from buffer.entry import OutboxState
from buffer.step import JournalRow, NewPosting, Step
from gateway.connectors import file, rest
from gateway.connectors.file.settings import FileSettings
from gateway.connectors.http_answer import HIDDEN, SHOWN_BODY_MAX_BYTES
from gateway.connectors.rest.settings import RestSettings
from gateway.control import RequestError
from gateway.core.duration import Duration
from gateway.forwarder import Forwarder, ForwarderSettings
from gateway.verbs.outbox_verbs import OutboxVerbs

DEADLINE_S = 60.0
A1, A2 = ("A", "10", 1), ("A", "10", 2)
SECRET = "canary/+4711-do-not-tell"


class Witnessed(list):
    """The requests of the double; ``seen``: of each, what another reader of the database finds committed just then."""

    def __init__(self, path):
        super().__init__()
        self._path = path
        self.seen = []

    def append(self, request):
        with contextlib.closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)) as link:
            rows = link.execute("SELECT seq, state, attempts, lookups, body IS NOT NULL FROM outbox ORDER BY id")
            self.seen.append((*request[:2], rows.fetchall()))
        super().append(request)

    def first(self, method, path="/"):
        return next(rows for one, asked, rows in self.seen if one == method and asked.startswith(path))


@pytest.fixture
async def forwarding(filled, clock):
    """``forwarding(connector)``: a forwarder under way until the end of the block."""

    @contextlib.asynccontextmanager
    async def started(connector):
        await connector.open()
        forwarder = Forwarder(
            name="erp", connector=connector, outbox=filled.outbox, now_ns=clock, rng=random.Random(1),
            settings=ForwarderSettings(auth_probe_ns=Duration("1 min")),
        )  # fmt: skip
        task = asyncio.create_task(forwarder.run())
        try:
            yield forwarder
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await connector.close()

    return started


@pytest.fixture
def become(filled, clock):
    """Wait until a posting is in a state; ``passing_s``: of the gateway's time pass between two looks."""

    async def waited(forwarder, lane, state, passing_s=0.0):
        end = asyncio.get_running_loop().time() + DEADLINE_S
        while True:
            found = next(one for one in await filled.outbox.page() if (*one.lane, one.seq) == lane)
            if found.state is state:
                return found
            assert asyncio.get_running_loop().time() < end, found
            if not forwarder._under_way:
                clock.pass_s(passing_s)
                forwarder.wake()
            await asyncio.sleep(0.002)

    return waited


def over_rest(erp, context, **given):
    secrets = given.pop("secrets", {})
    settings = {"timeout": Duration("60 s"), "server_time_limit": Duration("1 s"), **given}
    return rest.PLUGIN.build(RestSettings(connector="rest", url=erp.url, **settings), context(**secrets))


async def test_what_a_target_sees_was_committed_before(erp, filled, context, tmp_path, forwarding, become):
    """A send, a look-up, and a probe: refused credentials are kept before anything else is asked."""
    erp.requests = seen = Witnessed(tmp_path / "linegate.db")
    erp.faults.extend([{"cut": True, "book": True}, {"status": 401, "body": b"{}"}])
    await filled.add(A1, A2)
    async with forwarding(over_rest(erp, context)) as forwarder:
        await become(forwarder, A1, OutboxState.POSTED, passing_s=1)
        await become(forwarder, A2, OutboxState.POSTED, passing_s=30)
    assert seen.first("POST") == [(1, "sending", 1, 0, 1), (2, "ready", 0, 0, 0)]
    assert seen.first("GET", "/confirmations/") == [(1, "uncertain", 1, 1, 1), (2, "ready", 0, 0, 0)]
    assert seen.first("GET", "/health") == [(1, "posted", 1, 1, 1), (2, "retry_wait", 1, 0, 1)]
    assert [rows[1] for one, _, rows in seen.seen if one == "POST"][1:] == [
        (2, "sending", 1, 0, 1),
        (2, "sending", 2, 0, 1),
    ]


async def test_what_needs_approval_leaves_after_the_approval_is_kept(
    erp, filled, context, tmp_path, forwarding, become, clock
):
    erp.requests = seen = Witnessed(tmp_path / "linegate.db")
    await filled.add(A1, state="needs_approval")
    async with forwarding(over_rest(erp, context)) as forwarder:
        await filled.add(("B", "10", 1))
        forwarder.wake()
        await become(forwarder, ("B", "10", 1), OutboxState.POSTED)
        assert [rows[0][1] for _, _, rows in seen.seen] == ["needs_approval"], "the other one went past it"
        (entry,) = await filled.outbox.approve(1, clock(), who="ann: counted")
        forwarder.wake()
        await become(forwarder, A1, OutboxState.POSTED)
    assert seen.seen[-1][2][0] == (1, "sending", 1, 0, 1)
    assert "ann" in entry.error_text


async def test_a_message_that_could_not_be_made_is_made_anew_after_the_configuration_changed(
    filled, context, tmp_path, forwarding, become, clock, document
):
    (tmp_path / "share" / "confirmations").mkdir(parents=True)
    said = {**document(1, "A", "10"), "machine": "станок"}
    posting = NewPosting(
        "erp", said["idempotency_key"], said["confirmation_id"], "A", "10", 1, "partial", json.dumps(said).encode(), 1
    )
    await filled.store.commit(Step("U", b"", 1, (JournalRow(1, 1, "k", b""),), (posting,)))

    def folder(encoding):
        settings = FileSettings(connector="file", folder="share", encoding=encoding, ack="moved")
        return file.PLUGIN.build(settings, context())

    async with forwarding(folder("windows-1252")) as forwarder:
        parked = await become(forwarder, A1, OutboxState.PARKED)
        assert (parked.error_kind, parked.body, parked.attempts) == ("mapping", None, 0)
        await filled.outbox.retry(parked.id, clock())
        forwarder.wake()
        await become(forwarder, A1, OutboxState.PARKED)
    assert not list((tmp_path / "share" / "confirmations").iterdir())
    async with forwarding(folder("utf-8")) as forwarder:
        await filled.outbox.retry(parked.id, clock())
        posted = await become(forwarder, A1, OutboxState.ACCEPTED)
    assert "станок".encode() in posted.body
    assert [one.read_bytes() for one in (tmp_path / "share" / "confirmations").glob("*.csv")] == [posted.body]


@pytest.mark.parametrize("written", [SECRET, json.dumps(SECRET)[1:-1].replace("/", "\\/")], ids=["plain", "escaped"])
async def test_no_secret_is_kept_of_an_answer_that_repeats_it(
    erp, filled, context, tmp_path, forwarding, become, written
):
    """Also where the end of what is kept falls into the middle of it."""
    told = f'{{"error": {{"code": "{written}", "message": "found Bearer {written}"}}, "echo": "'
    body = told + "x" * (SHOWN_BODY_MAX_BYTES - len(told) - 5) + written + '"}'
    headers = {"X-Request-Id": f"r {SECRET}", "WWW-Authenticate": f"Bearer {SECRET}"}
    erp.faults.append({"status": 422, "body": body.encode(), "headers": headers})
    await filled.add(A1)
    connector = over_rest(erp, context, secrets={"token": SECRET})
    async with forwarding(connector) as forwarder:
        parked = await become(forwarder, A1, OutboxState.PARKED)
        kept = await filled.outbox.answer(parked.id)
        assert SECRET not in forwarder.status.last_error
    assert erp.requests[0][2]["authorization"] == f"Bearer {SECRET}"
    assert HIDDEN in parked.error_text
    assert HIDDEN in kept[2].body
    for path in tmp_path.glob("linegate.db*"):
        for part in (SECRET[:12].encode(), written[:8].encode()):
            assert part not in path.read_bytes(), path


async def test_a_person_says_that_the_material_of_a_booking_is_posted(filled, clock):
    from buffer.entry import GOODS_ERROR, Settlement

    await filled.add(A1)
    await filled.outbox.begin_send(1, (b"{}", "t", "n"), clock())
    await filled.outbox.settle(1, Settlement(OutboxState.POSTED, clock(), "R", GOODS_ERROR, "", "deficit"), clock())
    verbs = OutboxVerbs(
        SimpleNamespace(outbox=filled.outbox, forwarders={}), SimpleNamespace(now_ns=clock), None, None
    ).table()
    asked = {"which": 1, "who": "ann", "reason": "MIGO 49"}
    ((done),) = await verbs["outbox.material-posted"](asked)
    assert (done["id"], (await filled.outbox.entry(1)).error_kind) == (1, "")
    with pytest.raises(RequestError, match="found nothing that was booked without its material") as refused:
        await verbs["outbox.material-posted"](asked)
    assert refused.value.guard == "GOODS_MOVEMENT"


@pytest.mark.parametrize("kind", ["uncertain", "protocol", "accepted", "by_hand"])
async def test_what_may_be_booked_is_not_edited(filled, clock, kind):
    from buffer.entry import Settlement

    await filled.add(A1)
    entry = await filled.outbox.begin_send(1, (b"{}", "t", "n"), clock())
    await filled.outbox.settle(entry.id, Settlement(OutboxState.PARKED, clock(), "", kind, "", "no"), clock())
    verbs = OutboxVerbs(
        SimpleNamespace(outbox=filled.outbox, forwarders={}), SimpleNamespace(now_ns=clock), None, None
    ).table()
    asked = {"which": 1, "who": "ann", "reason": "counted", "good": 1, "scrap": 0, "rework": 0}
    with pytest.raises(RequestError, match="may be booked") as refused:
        await verbs["outbox.edit"](asked)
    assert (refused.value.guard, refused.value.found) == ("MAY_BE_BOOKED", kind)
    assert (await filled.outbox.entry(1)).state is OutboxState.PARKED


async def test_what_is_made_now_does_not_wait_for_all_that_was_read_before_it(
    erp, filled, context, forwarding, become, clock
):
    backlog = [(f"O{number}", "10", 1) for number in range(20)]
    await filled.add(*backlog)
    erp.faults.append({"hold": True, "book": True, "body": b'{"reference": "C-1"}'})
    async with forwarding(over_rest(erp, context, timeout=Duration("60 s"))) as forwarder:
        end = asyncio.get_running_loop().time() + DEADLINE_S
        while not erp.order:
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.002)
        clock.pass_s(1)
        await filled.add(("LIVE", "10", 1))
        forwarder.wake()
        erp.release.set()
        await become(forwarder, backlog[-1], OutboxState.POSTED)
        await become(forwarder, ("LIVE", "10", 1), OutboxState.POSTED)
        orders = [key.split("/")[2] for key in erp.order]
    assert orders.index("LIVE") <= 8, orders
