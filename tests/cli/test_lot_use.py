"""What ``linegate lots used`` says of an answer."""

from __future__ import annotations

from gateway.cli.lots import tell_use

NOTHING = {"left_out": {}, "complete": True} | dict.fromkeys(
    ("orders", "products", "lots", "serials", "handling_units", "confirmations", "open"), ()
)


def test_a_lot_that_nothing_is_known_of_may_be_of_orders_that_are_forgotten(capsys):
    tell_use(NOTHING)
    (line,) = capsys.readouterr().out.splitlines()
    assert "orders that retention has forgotten (retention.orders) are not known" in line


def test_of_a_lot_that_is_known_nothing_is_said_of_what_is_forgotten(capsys):
    tell_use(NOTHING | {"lots": [{"number": "L-2", "item": "P"}]})
    assert capsys.readouterr().out.splitlines() == ["lots: L-2"]
