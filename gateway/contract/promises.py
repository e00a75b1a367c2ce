"""The promises of a connector as tests: a connector's own tests subclass ``ConnectorContract``.

It stands in the package so that connectors outside this tree can use it. It tests what every connector must do; what an
answer of the target means is tested beside the connector. pytest is imported only where a test runs.
"""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.connectors.base import (
    ConnectorError,
    LookupKind,
    MappingError,
    OutcomeKind,
    Posting,
    Rendered,
    TakesBaseline,
)

if TYPE_CHECKING:
    from gateway.connectors.base import Connector

#: A call that was cancelled must end within this.
CANCEL_S: Final = 1.0
ORDER: Final = "100240"


class ConnectorBench(Protocol):
    """What the fixture ``bench`` of a subclass gives: a connector and a real target that it can be tried against."""

    def build(self) -> Connector:
        """A fresh connector for the target."""

    def document(self, seq: int) -> dict[str, Any]:
        """A complete canonical confirmation of order 100240, operation 0010."""

    def release(self, order: str) -> None:
        """Make the target offer this order."""

    def take_away(self) -> None:
        """Make the target unreachable."""

    def bookings(self, key: str) -> int:
        """How often the key is booked at the target."""


class ConnectorContract:
    """Subclass it as ``Test...`` and give a fixture ``bench``; needs pytest-asyncio in auto mode."""

    async def test_making_and_opening_need_no_target(self, bench: ConnectorBench) -> None:
        """A target that is down is a state, not a failed start."""
        bench.take_away()
        connector = bench.build()
        await connector.open()
        await connector.close()

    async def test_closing_is_possible_without_opening(self, bench: ConnectorBench) -> None:
        """It never raises."""
        await bench.build().close()

    async def test_capabilities_are_constant(self, bench: ConnectorBench) -> None:
        """The forwarder reads them once."""
        connector = bench.build()
        before = connector.capabilities
        await connector.open()
        assert connector.capabilities == before
        await connector.close()
        assert connector.capabilities == before
        assert before.server_time_limit_ns >= 0

    async def test_rendering_is_pure(self, bench: ConnectorBench) -> None:
        """Same document, same bytes, in every process; another document, other bytes; nothing is changed."""
        document = bench.document(3)
        untouched = copy.deepcopy(document)
        first = bench.build().render(document)
        assert first == bench.build().render(copy.deepcopy(document))
        assert document == untouched
        assert first != bench.build().render(bench.document(4))
        assert first.body
        assert first.content_type

    async def test_a_document_without_its_fields_is_refused(self, bench: ConnectorBench) -> None:
        """Before anything is sent, and saying which field."""
        import pytest

        for name in ("order_id", "operation", "seq", "qty"):
            document = bench.document(1)
            del document[name]
            with pytest.raises(MappingError, match=name.removesuffix("_id")):
                bench.build().render(document)

    async def test_what_was_sent_is_found(self, bench: ConnectorBench) -> None:
        """One send, one booking, a reference, and the look-up knows it."""
        connector = await _opened(bench)
        posting = _posting(connector, bench, 1)
        if isinstance(connector, TakesBaseline) and connector.capabilities.baseline:
            posting = posting._replace(baseline=await connector.baseline(posting))
        if connector.capabilities.can_lookup:
            found = await connector.lookup(posting)
            assert found.kind is LookupKind.ABSENT, found
        outcome = await connector.send(posting)
        assert outcome.kind in {OutcomeKind.POSTED, OutcomeKind.ACCEPTED}, outcome
        assert bench.bookings(posting.key) == 1
        if outcome.kind is OutcomeKind.POSTED:
            assert outcome.reference
            if connector.capabilities.can_lookup:
                assert (await connector.lookup(posting)).kind is LookupKind.FOUND
        await connector.close()

    async def test_several_lanes_at_once(self, bench: ConnectorBench) -> None:
        """The forwarder sends several lanes in parallel."""
        connector = await _opened(bench)
        postings = [_posting(connector, bench, seq) for seq in range(1, 9)]
        outcomes = await asyncio.gather(*(connector.send(posting) for posting in postings))
        assert {outcome.kind for outcome in outcomes} <= {OutcomeKind.POSTED, OutcomeKind.ACCEPTED}
        assert [bench.bookings(posting.key) for posting in postings] == [1] * 8
        await connector.close()

    async def test_a_target_that_is_away(self, bench: ConnectorBench) -> None:
        """Surely not sent, nothing found out, not well, no orders - and no other exception."""
        import pytest

        connector = await _opened(bench)
        posting = _posting(connector, bench, 1)
        bench.take_away()
        outcome = await connector.send(posting)
        assert outcome.kind is OutcomeKind.NOT_SENT, outcome
        assert outcome.detail
        if connector.capabilities.can_lookup:
            assert (await connector.lookup(posting)).kind is LookupKind.UNKNOWN
        health = await connector.probe()
        assert not health.ok
        assert health.detail
        if connector.capabilities.orders:
            with pytest.raises(ConnectorError):
                await connector.fetch_orders("")
        await connector.close()

    async def test_a_target_that_is_there_is_well(self, bench: ConnectorBench) -> None:
        """The probe changes nothing and says so."""
        connector = await _opened(bench)
        assert (await connector.probe()).ok
        await connector.close()

    async def test_orders_come_until_their_cursor_comes_back(self, bench: ConnectorBench) -> None:
        """At least once: the same cursor gives the same orders, also to a new process; the next one nothing new."""
        connector = await _opened(bench)
        if connector.capabilities.orders:
            bench.release(ORDER)
            first = await connector.fetch_orders("")
            assert [order.order for order in first.orders] == [ORDER]
            assert not first.refused
            after_crash = await _opened(bench)
            assert await after_crash.fetch_orders("") == first
            await after_crash.close()
            assert not (await connector.fetch_orders(first.cursor)).orders
        await connector.close()

    async def test_cancelling_a_send_ends_it(self, bench: ConnectorBench) -> None:
        """Soon, and with nothing left running."""
        connector = await _opened(bench)
        before = asyncio.all_tasks()
        task = asyncio.create_task(connector.send(_posting(connector, bench, 1)))
        await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=CANCEL_S)
        assert done
        await connector.close()
        assert asyncio.all_tasks() - before <= {task}


class IdempotentContract(ConnectorContract):
    """For settings that claim the target books a key once, however often it is sent."""

    async def test_an_idempotent_target_books_once(self, bench: ConnectorBench) -> None:
        """Whoever claims it must keep it, also from another process."""
        connector = await _opened(bench)
        assert connector.capabilities.idempotent
        posting = _posting(connector, bench, 1)
        first = await connector.send(posting)
        other = await _opened(bench)
        again = await other.send(posting._replace(attempt=2))
        assert (first.kind, first.reference) == (again.kind, again.reference)
        assert bench.bookings(posting.key) == 1
        await connector.close()
        await other.close()


async def _opened(bench: ConnectorBench) -> Connector:
    connector = bench.build()
    await connector.open()
    return connector


def _posting(connector: Connector, bench: ConnectorBench, seq: int) -> Posting:
    document = bench.document(seq)
    rendered: Rendered = connector.render(document)
    return Posting(
        document["idempotency_key"],
        document["confirmation_id"],
        document["order_id"],
        document["operation"],
        seq,
        1,
        rendered,
    )
