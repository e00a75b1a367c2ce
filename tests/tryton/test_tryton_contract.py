"""The promises of every connector, kept against a real Tryton."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from gateway.connectors.base import LookupKind, OutcomeKind
from gateway.contract import ConnectorContract

ORDER = "100240"


@pytest.fixture
def bench(server, partner, build, documents):
    """A production of the contract's number, assigned; those of other tests are out of the way."""
    server.start()
    partner.put_away(server.folder / f"{server.database}.sqlite")
    production = partner.order(1000, number=int(ORDER))

    def document(seq):
        made = documents(ORDER, 20)
        made.seq = seq - 1
        return made.next(seq, 1)

    yield SimpleNamespace(
        build=build,
        document=document,
        release=lambda order: None,
        take_away=server.stop,
        bookings=lambda key: sum(key in note for note in partner.notes(production)),
    )
    server.start()


class TestContract(ConnectorContract):
    """A booking is a note with its key; the steps before it are sent as the forwarder sends them."""

    async def test_what_was_sent_is_found(self, bench, sent):
        connector = bench.build()
        await connector.open()
        confirmation = sent(bench.document(1))
        while not confirmation.over:
            confirmation.baselines[confirmation.step] = await connector.baseline(confirmation.posting())
            before = confirmation.posting()
            assert (await connector.lookup(before)).kind is LookupKind.ABSENT
            assert (await confirmation.send(connector)).kind is OutcomeKind.POSTED
            assert (await connector.lookup(before)).reference == confirmation.references[-1]
        assert bench.bookings(confirmation.image["idempotency_key"]) == 1
        await connector.close()

    async def test_several_lanes_at_once(self, bench, sent):
        connector = bench.build()
        await connector.open()
        lanes = [sent(bench.document(seq) | {"operation": str(10 * (1 + seq % 2))}) for seq in (1, 2)]
        outcomes = await asyncio.gather(*(lane.deliver(connector) for lane in lanes))
        assert [outcome.kind for outcome in outcomes] == [OutcomeKind.POSTED] * 2
        assert [bench.bookings(lane.image["idempotency_key"]) for lane in lanes] == [1, 1]
        await connector.close()
