"""A Tryton that cannot be heard, is late, refuses, or is something else: after each fault its count is ours.

The forwarder's part is played as it plays it: after an unclear end a look-up, a repeat only where nothing is there; and
by a fresh connector each time, as after a kill.
"""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3

import pytest
import relay as relays

from gateway.connectors.base import ConnectorError, LookupKind, OutcomeKind
from gateway.core.duration import Duration

ATTEMPTS_MAX = 40
SEED = 20_261_122
WRITES = (
    "model.production.run",
    "model.production.work.cycle.create",
    "model.ir.note.create",
    "model.production.work.cycle.run",
    "model.production.work.cycle.write",
    "model.production.work.cycle.do",
    "model.stock.move.write",
    "model.production.write",
    "model.production.do",
)
CLEAR = (OutcomeKind.POSTED, OutcomeKind.NOT_SENT, OutcomeKind.UNCERTAIN)
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def relay(server):
    relay = relays.Relay(server.port)
    yield relay
    relay.close()


async def deliver(opened, confirmation, port, kinds=CLEAR, limit="60 s"):
    """As the forwarder does, killed after each clear or unclear failure: its outcomes."""
    outcomes = []
    doubtful = False
    while not confirmation.over:
        async with opened(port=port, timeout=Duration(limit)) as connector:
            if doubtful:
                assert (await confirmation.look_up(connector)).kind is not LookupKind.UNKNOWN
            while not confirmation.over:
                assert len(outcomes) < ATTEMPTS_MAX, outcomes
                try:
                    outcome = await confirmation.send(connector)
                except ConnectorError as error:  # the baseline could not be asked for: not sent
                    outcomes.append(str(error))
                    continue
                assert outcome.kind in kinds, outcome
                outcomes.append(outcome.kind)
                doubtful = outcome.kind is OutcomeKind.UNCERTAIN
                if outcome.kind is not OutcomeKind.POSTED:
                    break
    return outcomes


@pytest.mark.parametrize(
    "fault", ["lost", *(pytest.param(one, marks=pytest.mark.soak) for one in ("half", "away", "late"))]
)
async def test_every_call_that_changes_something_is_spoiled(opened, sent, partner, documents, relay, fault):
    production = partner.order(100)
    number = partner.one("production", [["id", "=", production]], "number")["number"]
    for method in WRITES:
        relay.spoil(method, fault)
    for operation, good, scrap in ((10, 100, 0), (20, 90, 0), (20, 7, 3)):
        made = documents(number, operation)
        made.seq = good  # another number each time
        kind = "final" if scrap else "partial"
        await deliver(opened, sent(made.next(good, scrap, kind=kind)), relay.port)
    assert relay.spoiled == len(WRITES)
    assert partner.stock(production) == (97.0, 3.0, {"done"})
    assert partner.cycles(production) == [("done", 90.0)] * 3
    assert len(partner.notes(production)) == 3


@pytest.mark.soak
@pytest.mark.parametrize(
    "method", ["model.production.work.cycle.create", "model.ir.note.create", "model.production.do"]
)
async def test_a_call_that_never_ends(opened, sent, partner, documents, relay, method):
    production = partner.order(10)
    number = partner.one("production", [["id", "=", production]], "number")["number"]
    relay.spoil(method, "hang")
    for operation in (10, 20):
        await deliver(opened, sent(documents(number, operation).next(9, 1, kind="final")), relay.port, limit="1 s")
    assert relay.spoiled == 1
    assert partner.stock(production) == (9.0, 1.0, {"done"})
    assert partner.cycles(production) == [("done", 90.0)] * 2
    assert len(partner.notes(production)) == 2


def seeds(number):
    return [SEED + n for n in range(number)]


@pytest.mark.soak
@pytest.mark.parametrize("seed", seeds(20))
async def test_random_faults_of_any_call(opened, sent, partner, documents, relay, seed):
    chance = random.Random(seed)
    production = partner.order(10)
    number = partner.one("production", [["id", "=", production]], "number")["number"]
    first, last = documents(number, 10), documents(number, 20)
    methods = (*WRITES, "model.production.search_read", "model.ir.note.search_read", "common.db.login")
    for n in range(3):
        for _ in range(chance.randrange(2, 5)):
            relay.spoil(chance.choice(methods), chance.choice(("lost", "half", "away")))
        for one in (first, last):
            image = one.next(chance.randrange(5), chance.randrange(3), kind="final" if n == 2 else "partial")
            confirmation = sent(image)
            for attempt in range(ATTEMPTS_MAX):
                try:
                    await deliver(opened, confirmation, relay.port)
                    break
                except AssertionError:  # the look-up was spoiled, too: the forwarder asks again
                    assert attempt < ATTEMPTS_MAX - 1, f"seed {seed}"
    assert partner.stock(production) == (last.total["good"], last.total["scrap"], {"done"}), f"seed {seed}"
    assert partner.cycles(production) == [("done", 90.0)] * 6, f"seed {seed}"
    assert len(partner.notes(production)) == 6, f"seed {seed}"


@pytest.mark.soak
async def test_a_cable_that_is_pulled(opened, sent, partner, documents, proxy):
    production = partner.order(10)
    number = partner.one("production", [["id", "=", production]], "number")["number"]
    confirmation = sent(documents(number, 20).next(5, 1))
    async with opened(port=proxy.port, timeout=Duration("1 s")) as connector:
        await confirmation.send(connector)
        await proxy.refuse()
        with pytest.raises(ConnectorError):
            await confirmation.send(connector)
        confirmation.baselines[1] = b'{"cycle":0}'
        assert (await confirmation.send(connector)).kind is OutcomeKind.NOT_SENT
        assert (await connector.lookup(confirmation.posting())).kind is LookupKind.UNKNOWN
        with pytest.raises(ConnectorError):
            await connector.booked(number)
        await proxy.mend()
        proxy.hang()
        assert (await confirmation.send(connector)).kind is OutcomeKind.NOT_SENT  # a question: nothing was changed
        await proxy.mend()
        assert (await confirmation.deliver(connector)).kind is OutcomeKind.POSTED
    assert partner.stock(production)[:2] == (5, 1)


async def test_a_transaction_that_ends_after_the_gateway_gave_up(
    opened, server, sent, partner, documents, relay, until
):
    """Somebody holds the database: the cycle is made, but later than the gateway waits and looks."""
    production = partner.order(10)
    number = partner.one("production", [["id", "=", production]], "number")["number"]
    confirmation = sent(documents(number, 20).next(5, 1))
    file = server.folder / f"{server.database}.sqlite"
    with contextlib.closing(sqlite3.connect(file, check_same_thread=False, isolation_level=None)) as link:
        relay.spoil("model.production.work.cycle.create", lambda: link.execute("BEGIN IMMEDIATE"))
        async with opened(port=relay.port, timeout=Duration("10 s")) as connector:
            assert (await confirmation.send(connector)).kind is OutcomeKind.POSTED
            assert (await confirmation.send(connector)).kind is OutcomeKind.UNCERTAIN
            # Absence is no proof: that is why a repeat waits for the server's time limit.
            assert (await confirmation.look_up(connector)).kind is LookupKind.ABSENT
            link.execute("ROLLBACK")
            await until(lambda: partner.cycles(production), "the cycle of the request that was given up")
            assert (await confirmation.look_up(connector)).kind is LookupKind.FOUND
            assert (await confirmation.deliver(connector)).kind is OutcomeKind.POSTED
    assert partner.stock(production)[:2] == (5, 1)
    assert partner.cycles(production) == [("done", 90.0)]
    assert len(partner.notes(production)) == 1


async def test_what_somebody_else_wrote_meanwhile_is_not_overwritten(opened, sent, partner, documents, relay):
    """Between the gateway's look and its write: Tryton refuses, and the next look sees both."""
    production = partner.order(100)
    number = partner.one("production", [["id", "=", production]], "number")["number"]
    last = documents(number, 20)

    def divide():
        """A stock keeper takes two of the pieces into a move of their own, and touches the planned one."""
        (move,) = partner.found(
            "stock.move",
            [["production_output", "=", production], ["to_location.type", "=", "storage"]],
            *("product", "unit", "from_location", "to_location", "company"),
        )
        made = {name: move[name] for name in ("product", "unit", "from_location", "to_location", "company")}
        made |= {"currency": 1, "unit_price": {"__class__": "Decimal", "decimal": "0"}, "quantity": 2.0}
        change = [["create", [made]], ["write", [move["id"]], {"quantity": 90.0}]]
        partner.model("production.write", [production], {"outputs": change})

    async with opened(port=relay.port) as connector:
        assert (await sent(last.next(5, 1)).deliver(connector)).kind is OutcomeKind.POSTED
        confirmation = sent(last.next(4, 0))
        relay.spoil(("model.stock.move.write", "model.production.write"), divide)
        outcome = await confirmation.deliver(connector)
        assert (outcome.kind, outcome.code) == (OutcomeKind.BUSY, "ConcurrencyException")
        assert partner.stock(production)[:2] == (92, 1)
        assert (await confirmation.deliver(connector)).kind is OutcomeKind.POSTED
    assert partner.stock(production)[:2] == (9, 1)
    assert len(partner.outputs(production)) == 3


ANSWERS = [
    ((200, {"Content-Type": "text/html"}, b"<html>Log in</html>"), OutcomeKind.PROTOCOL),
    ((404, {"Content-Type": "text/html"}, b"<html>not here</html>"), OutcomeKind.PROTOCOL),
    ((401, {}, b""), OutcomeKind.AUTH),
    ((403, {}, b""), OutcomeKind.AUTH),
    ((429, {"Retry-After": "7"}, b""), OutcomeKind.NOT_SENT),
    ((503, {"Retry-After": "7"}, b""), OutcomeKind.NOT_SENT),
    ((500, {}, b""), OutcomeKind.UNCERTAIN),
    ((504, {}, b""), OutcomeKind.UNCERTAIN),
    ((200, JSON, b'{"id": 1, "resu'), OutcomeKind.UNCERTAIN),
    ((200, JSON, b"[]"), OutcomeKind.UNCERTAIN),
    ((200, {**JSON, "Content-Encoding": "gzip"}, b'{"id":1}'), OutcomeKind.UNCERTAIN),
    ((200, JSON, json.dumps({"id": 1, "error": ["division by zero", "Traceback"]}).encode()), OutcomeKind.UNCERTAIN),
    ((200, JSON, b'{"id":1,"error":["ConcurrencyException","Records were modified"]}'), OutcomeKind.BUSY),
    ((200, JSON, b'{"id":1,"error":["UserError",["No.","",null]]}'), OutcomeKind.BUSINESS_REJECT),
    ((200, JSON, b'{"id":1,"error":["UserWarning",["abc.under_tolerance","Less.",""]]}'), OutcomeKind.BUSINESS_REJECT),
]  # fmt: skip


async def test_every_answer_has_its_class(opened, sent, partner, documents, relay):
    production = partner.order(10)
    number = partner.one("production", [["id", "=", production]], "number")["number"]
    confirmation = sent(documents(number, 20).next(5, 1))
    async with opened(port=relay.port, timeout=Duration("60 s")) as connector:
        await confirmation.send(connector)
        for answer, kind in ANSWERS:
            relay.spoil("model.production.work.cycle.create", answer, times=2 if answer[0] == 401 else 1)
            outcome = await confirmation.send(connector)
            assert outcome.kind is kind, (answer, outcome)
            assert outcome.answer is not None or answer[1].get("Content-Encoding"), answer
            assert (outcome.retry_after_ns == 7 * 10**9) == ("Retry-After" in answer[1]), answer
            assert (await connector.lookup(confirmation.posting())).kind is LookupKind.ABSENT
        async with opened(port=relay.port, error_classes={"ServerError": "business_reject"}) as other:
            relay.spoil("model.production.work.cycle.create", ANSWERS[11][0])
            assert (await confirmation.send(other)).kind is OutcomeKind.BUSINESS_REJECT
        assert partner.cycles(production) == []
        assert (await confirmation.deliver(connector)).kind is OutcomeKind.POSTED
    assert partner.stock(production)[:2] == (5, 1)


async def test_a_session_that_is_over_is_renewed_once(opened, sent, partner, documents, relay):
    production = partner.order(10)
    number = partner.one("production", [["id", "=", production]], "number")["number"]
    confirmation = sent(documents(number, 20).next(5, 1))
    async with opened(port=relay.port) as connector:
        assert (await confirmation.send(connector)).kind is OutcomeKind.POSTED
        relay.spoil("model.production.work.cycle.create", (401, {}, b""))
        assert (await confirmation.send(connector)).kind is OutcomeKind.POSTED
        assert relay.calls.count("common.db.login") == 2
        relay.spoil("*", (401, {}, b""), times=4)
        refused = await confirmation.send(connector)
        assert refused.kind is OutcomeKind.AUTH
        assert "user or password" in refused.detail
    async with opened(password="wrong") as connector:
        outcome = await confirmation.send(connector)
        assert (outcome.kind, outcome.code) == (OutcomeKind.AUTH, "401")
        assert "wrong" not in repr(outcome)
        assert not (await connector.probe()).ok
    async with opened(database="elsewhere") as connector:
        outcome = await confirmation.send(connector)
        assert outcome.kind is OutcomeKind.PROTOCOL
        assert "check url and database" in outcome.detail
    assert partner.cycles(production) == [("draft", None)]


@pytest.mark.soak
async def test_a_long_answer_is_read_whole(opened, partner):
    """Tryton says of every long answer that it is compressed; where it may compress it, that is true."""
    for _ in range(3):
        partner.order(10)
    async with opened() as connector:
        page = await connector.fetch_orders("")
    assert len(page.orders) >= 3
    assert not page.refused
