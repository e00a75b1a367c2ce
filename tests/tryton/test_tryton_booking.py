"""Confirmations in a real Tryton, step by step: what is booked there, what is refused, and what a repeat does."""

from __future__ import annotations

import pytest

from gateway.connectors.base import LookupKind, MappingError, OutcomeKind

NAMES = ["run", "cycle", "note", "cycle_run", "cycle_time", "cycle_do", "outputs"]


@pytest.fixture
def order(partner):
    """``order(quantity, ...)``: a released production; its id and number."""

    def made(quantity=100, **options):
        production = partner.order(quantity, **options)
        return production, partner.one("production", [["id", "=", production]], "number")["number"]

    return made


async def test_an_order_comes_with_its_works_as_operations(connector, order, partner):
    _, number = order(100, tolerance=0.1, reference="PO-4712")
    page = await connector.fetch_orders("")
    (found,) = [one for one in page.orders if one.order == number]
    assert not page.refused
    assert (found.product, found.uom, str(found.quantity)) == ("HOUSING", "u", "100")
    assert found.echo == {"reference": "PO-4712"}
    assert [(one.operation, one.work_center, one.text) for one in found.operations] == [
        ("10", "WC-IMM", "Moulding"),
        ("20", "WC-ASM", "Assembly"),
    ]
    image = found.image
    assert (str(image.over_tolerance), str(image.under_tolerance), image.status) == ("10", "10", "released")
    assert [(one.item, str(one.quantity), one.uom, one.flush_method) for one in image.components] == [
        ("GRAIN", "2", "u", "erp")
    ]


async def test_what_changed_comes_and_what_did_not_does_not(connector, order, partner):
    production, number = order(50)
    first = await connector.fetch_orders("")
    assert (await connector.fetch_orders(first.cursor)).orders == ()
    partner.model("production.write", [production], {"reference": "changed"})
    second = await connector.fetch_orders(first.cursor)
    (found,) = [one for one in second.orders if one.order == number]
    held = next(one for one in first.orders if one.order == number)
    assert found.echo == {"reference": "changed"}
    assert found.revision > held.revision
    partner.model("production.cancel", [production])
    third = await connector.fetch_orders(second.cursor)
    assert [one.cancelled for one in third.orders if one.order == number] == [True]
    assert (await connector.fetch_orders(third.cursor)).orders == ()


@pytest.mark.soak
async def test_97_good_and_3_scrap_over_two_operations(connector, sent, order, partner, documents):
    production, number = order(100, tolerance=0.1)
    first, last = documents(number, 10), documents(number, 20)
    whole = [sent(first.next(60, 1)), sent(first.next(40, 0, kind="final"))]
    whole += [sent(last.next(50, 2, minutes="2.5")), sent(last.next(47, 1, kind="final"))]
    for confirmation in whole:
        outcome = await confirmation.deliver(connector)
        assert outcome.kind is OutcomeKind.POSTED, outcome
        assert confirmation.over
        assert all(confirmation.references)
    assert partner.state(production) == "done"
    assert partner.stock(production) == (97.0, 3.0, {"done"})
    assert partner.cycles(production, 10) == [("done", 90.0)] * 2
    assert partner.cycles(production, 20) == [("done", 150.0), ("done", 90.0)]
    assert len(partner.notes(production)) == 4
    booked = await connector.booked(number)
    assert (booked.known, booked.closed) == (True, True)
    assert [(one.operation, one.good, one.scrap, one.highest) for one in booked.operations] == [
        ("10", 100, 1, (("epochepochabc", 2),)),
        ("20", 97, 3, (("epochepochabc", 2),)),
    ]


async def test_moves_are_the_whole_count_after_each_confirmation(connector, sent, order, partner, documents):
    production, number = order(100)
    last = documents(number, 20)
    for good, scrap, expected in ((10, 0, (10, 0)), (5, 2, (15, 2)), (0, 1, (15, 3)), (1, 0, (16, 3))):
        assert (await sent(last.next(good, scrap)).deliver(connector)).kind is OutcomeKind.POSTED
        assert partner.stock(production)[:2] == expected
    taken_back = last.next(-1, 1, kind="partial")
    assert (await sent(taken_back).deliver(connector)).kind is OutcomeKind.POSTED
    assert partner.stock(production)[:2] == (15, 4)
    assert len(partner.cycles(production)) == 4  # a correction is no work


async def test_every_step_twice_books_once(connector, sent, order, partner, documents):
    """The worst of all forwarders: it forgets every answer, and sends each step again."""
    production, number = order(10)
    for operation in (10, 20):
        confirmation = sent(documents(number, operation).next(9, 1, kind="final"))
        while not confirmation.over:
            again = confirmation.references
            await confirmation.send(connector)
            reference = confirmation.references[-1]
            confirmation.references = again
            assert (await confirmation.send(connector)).kind is OutcomeKind.POSTED
            assert confirmation.references[-1] == reference
    assert partner.stock(production) == (9.0, 1.0, {"done"})
    assert partner.cycles(production) == [("done", 90.0)] * 2
    assert len(partner.notes(production)) == 2


async def test_over_delivery_is_refused_until_a_person_releases_it(connector, sent, order, partner, documents):
    production, number = order(94, tolerance=0.04)
    assert (await sent(documents(number, 10).next(100, 0, kind="final")).deliver(connector)).kind is OutcomeKind.POSTED
    confirmation = sent(documents(number, 20).next(97, 3, kind="final"))
    outcome = await confirmation.deliver(connector)
    assert (outcome.kind, outcome.code) == (OutcomeKind.BUSINESS_REJECT, "over_tolerance")
    assert "100.0" in outcome.detail
    assert outcome.answer is not None
    assert confirmation.name == "do"
    assert partner.state(production) == "running"
    assert (await connector.lookup(confirmation.posting())).kind is LookupKind.ABSENT
    # Sent again without a release, nothing changes.
    assert (await confirmation.send(connector)).kind is OutcomeKind.BUSINESS_REJECT
    confirmation.released = True
    assert (await confirmation.send(connector)).kind is OutcomeKind.POSTED
    assert partner.stock(production) == (97.0, 3.0, {"done"})
    assert partner.found("res.user.warning", [], "name") == []


async def test_what_is_not_released_is_waited_for(connector, sent, order, partner, documents):
    production, number = order(10, assign=False)
    confirmation = sent(documents(number, 10).next(1))
    outcome = await confirmation.send(connector)
    assert (outcome.kind, outcome.code) == (OutcomeKind.WAIT_PRECONDITION, "not_released")
    partner.assign(production)
    assert (await confirmation.deliver(connector)).kind is OutcomeKind.POSTED


async def test_an_order_that_is_unknown_is_waited_for(connector, sent, documents):
    outcome = await sent(documents("777777", 10).next(1)).send(connector)
    assert (outcome.kind, outcome.code) == (OutcomeKind.WAIT_PRECONDITION, "unknown_order")
    assert (await connector.booked("777777")).known is False


@pytest.mark.soak
async def test_the_end_waits_for_the_other_works(connector, sent, order, documents):
    _, number = order(10)
    confirmation = sent(documents(number, 20).next(10, kind="final"))
    outcome = await confirmation.deliver(connector)
    assert (outcome.kind, outcome.code) == (OutcomeKind.WAIT_PRECONDITION, "works_unfinished")
    assert confirmation.name == "do"
    assert (await sent(documents(number, 10).next(10, kind="final")).deliver(connector)).kind is OutcomeKind.POSTED
    assert (await confirmation.send(connector)).kind is OutcomeKind.POSTED


async def test_what_is_over_in_tryton_is_refused(connector, sent, order, partner, documents):
    production, number = order(10)
    last = documents(number, 20)
    assert (await sent(documents(number, 10).next(10)).deliver(connector)).kind is OutcomeKind.POSTED
    assert (await sent(last.next(10, kind="final")).deliver(connector)).kind is OutcomeKind.POSTED
    for image in (last.next(1), last.next(-1, 1)):
        late = sent(image)
        outcome = await late.deliver(connector)
        assert (outcome.kind, outcome.code) == (OutcomeKind.BUSINESS_REJECT, "done")
        assert late.step == 0
    assert partner.stock(production) == (10.0, 0, {"done"})
    assert len(partner.notes(production)) == 2
    unknown = await sent(documents(number, 30).next(1)).send(connector)
    assert (unknown.kind, unknown.code) == (OutcomeKind.BUSINESS_REJECT, "unknown_operation")


async def test_a_production_that_is_cancelled_takes_nothing_more(connector, sent, order, partner, documents):
    """What was confirmed stays in its notes; the next confirmation waits for a person, and none of it is booked."""
    production, number = order(10)
    assert (await sent(documents(number, 10).next(2)).deliver(connector)).kind is OutcomeKind.POSTED
    before = await connector.fetch_orders("")
    partner.model("production.cancel", [production])
    (gone,) = [one for one in (await connector.fetch_orders(before.cursor)).orders if one.order == number]
    assert gone.cancelled
    # The work of 20, which had no cycle, is deleted in Tryton; the order still has both.
    assert [one.operation for one in gone.operations] == ["10", "20"]
    late = {operation: await sent(documents(number, operation).next(2)).deliver(connector) for operation in (10, 20)}
    assert (late[10].kind, late[10].code) == (OutcomeKind.BUSINESS_REJECT, "cancelled")
    assert late[20].kind is OutcomeKind.BUSINESS_REJECT
    assert partner.cycles(production) == [("done", 90.0)]
    assert len(partner.notes(production)) == 1
    booked = await connector.booked(number)
    assert (booked.known, booked.closed) == (True, True)


async def test_a_cancelled_cycle_is_a_persons_business(connector, sent, order, partner, documents):
    _, number = order(10)
    confirmation = sent(documents(number, 10).next(1))
    while confirmation.name != "cycle_run":
        assert (await confirmation.send(connector)).kind is OutcomeKind.POSTED
    partner.model("production.work.cycle.cancel", [int(confirmation.references[1])])
    outcome = await confirmation.send(connector)
    assert (outcome.kind, outcome.code) == (OutcomeKind.BUSINESS_REJECT, "cycle_cancelled")


@pytest.mark.soak
async def test_a_note_that_somebody_changed_stops_the_count(connector, sent, order, partner, documents):
    production, number = order(10)
    last = documents(number, 20)
    await sent(last.next(5)).deliver(connector)
    note = partner.one("ir.note", [["message", "like", f"gw:%/{number}/20/1%"]], "resource", "message")
    partner.model("ir.note.delete", [note["id"]])
    changed = {"resource": note["resource"], "message": note["message"].replace('"5"', '"five"')}
    partner.model("ir.note.create", [changed])
    outcome = await sent(last.next(5)).deliver(connector)
    assert (outcome.kind, outcome.code) == (OutcomeKind.BUSINESS_REJECT, "note_unreadable")
    assert "write back what stood there" in outcome.detail
    assert partner.stock(production)[0] == 5


@pytest.mark.soak
async def test_moves_that_a_person_divided_keep_their_sum(connector, sent, order, partner, documents):
    production, number = order(10)
    last = documents(number, 20)
    await sent(last.next(5)).deliver(connector)
    move = partner.one(
        "stock.move",
        [["production_output", "=", production]],
        "product",
        "unit",
        "from_location",
        "to_location",
        "company",
    )
    row = {name: move[name] for name in ("product", "unit", "from_location", "to_location", "company")}
    row |= {"currency": 1, "unit_price": {"__class__": "Decimal", "decimal": "0"}}
    partner.model("production.write", [production], {"outputs": [["create", [row | {"quantity": 2.0}]]]})
    await sent(last.next(3)).deliver(connector)
    assert partner.stock(production)[0] == 8
    partner.model("production.write", [production], {"outputs": [["create", [row | {"quantity": 20.0}]]]})
    outcome = await sent(last.next(1)).deliver(connector)
    assert (outcome.kind, outcome.code) == (OutcomeKind.BUSINESS_REJECT, "outputs")


@pytest.mark.soak
async def test_a_production_without_output_moves_gets_them(connector, sent, order, partner, documents):
    production, number = order(10)
    partner.model("production.write", [production], {"outputs": [["delete", partner.outputs(production)]]})
    assert (await sent(documents(number, 10).next(5, kind="final")).deliver(connector)).kind is OutcomeKind.POSTED
    assert (await sent(documents(number, 20).next(4, 1, kind="final")).deliver(connector)).kind is OutcomeKind.POSTED
    assert partner.stock(production) == (4.0, 1.0, {"done"})


async def test_a_scrap_location_is_named_where_there_is_a_choice(opened, sent, order, partner, documents):
    _, number = order(10)
    async with opened(scrap_location="NOWHERE") as other:
        outcome = await sent(documents(number, 20).next(1, 1)).deliver(other)
        assert (outcome.kind, outcome.code) == (OutcomeKind.BUSINESS_REJECT, "scrap_location")
    async with opened(scrap_location="SCRAP", complete=False, duration=()) as other:
        confirmation = sent(documents(number, 10).next(1, 1, kind="final"))
        confirmation.messages = (other.render(confirmation.image), *other.render(confirmation.image).more)
        assert (await confirmation.deliver(other)).kind is OutcomeKind.POSTED
        assert [message.name for message in confirmation.messages] == NAMES


async def test_work_centers_by_our_names(opened, order):
    _, number = order(10)
    async with opened(work_centers={"PRESS-1": "WC-IMM"}, planned=True) as other:
        page = await other.fetch_orders("")
        (found,) = [one for one in page.orders if one.order == number]
        assert [one.work_center for one in found.operations] == ["PRESS-1", "WC-ASM"]


@pytest.mark.parametrize(
    ("qty", "said"),
    [
        ({"good": "1.2.3", "scrap": []}, "qty.good: found '1.2.3'"),
        ({"good": "1", "scrap": "2"}, "qty.scrap"),
        ({"good": "1", "scrap": [{"qty": "NaN"}]}, "qty.scrap: found 'NaN'"),
        ("7", "qty: found '7'"),
    ],
)
def test_what_cannot_be_said_is_refused_before_it_is_sent(build, documents, qty, said):
    with pytest.raises(MappingError, match=said):
        build().render(documents("1", "10").next(1, qty=qty))
