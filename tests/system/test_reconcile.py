"""The demo's arithmetic: it must say no to every kind of loss that it is there to find."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.demo import show
from gateway.demo.reconcile import INTERVAL_TOLERANCE_NS, reconcile, table

S = 1_000_000_000


def piece(t_s, good=1, scrap=0):
    return {"t_ns": t_s * S, "good": good, "scrap": scrap}


def booking(seq, good, scrap=0, *, order="100240", machine="ASM-01", key=None):
    return {
        "key": key or f"{machine}/{order}/{seq}", "machine": machine, "order": order, "operation": "0010", "seq": seq,
        "good": good, "scrap": scrap,
    }  # fmt: skip


def unit(machine="ASM-01", *, unconfirmed=(0, 0), unallocated=(0, 0), review=0, unknown=(), order="100240"):
    return {
        "id": machine, "order": order, "operation": "0010" if order else None,
        "unconfirmed_good": unconfirmed[0], "unconfirmed_scrap": unconfirmed[1],
        "unallocated_good": unallocated[0], "unallocated_scrap": unallocated[1],
        "review_pieces": review, "unknown": list(unknown),
    }  # fmt: skip


def dark(from_s, to_s, most):
    return {
        "signal": "box.carton",
        "from_ns": from_s * S,
        "to_ns": to_s * S,
        "max_pieces": most,
        "flag": "GATEWAY_DOWN",
    }


TEN = [piece(second) for second in range(10)]

BALANCED = {
    "all booked": (TEN, [booking(1, 6), booking(2, 4)], [], unit()),
    "one of each": (TEN, [booking(1, 6)], [booking(2, 1)], unit(unconfirmed=(1, 0), unallocated=(1, 0), review=1)),
    "scrap": ([*TEN, piece(11, 0, 2)], [booking(1, 10, 1)], [], unit(unconfirmed=(0, 1))),
    "booked although the answer was lost": (TEN, [booking(1, 10)], [booking(1, 10)], unit()),
    "unknown within its bound": (TEN, [booking(1, 8)], [], unit(unknown=[dark(4, 5, 3)])),
    "unknown without a bound": (TEN, [booking(1, 8)], [], unit(unknown=[dark(4, 5, None)])),
    "two intervals": (TEN, [booking(1, 7)], [], unit(unknown=[dark(1, 2, 2), dark(8, 8, 1)])),
    "nothing made": ([], [], [], unit(order=None)),
}
WRONG = {
    "a missing piece": (TEN, [booking(1, 9)], [], unit(), "1 pieces are missing and no unknown interval was declared"),
    "a piece too many": (TEN, [booking(1, 11)], [], unit(), "1 pieces more than were made"),
    "counted twice, as unallocated": (TEN, [booking(1, 10)], [], unit(unallocated=(3, 0)), "3 pieces more than were"),
    "good and scrap exchanged": (
        TEN, [booking(1, 9, 1)], [], unit(), "good and scrap are exchanged: made [10, 0], accounted for [9, 1]"
    ),
    "exchanged behind an unknown piece": (
        [*TEN, piece(10, 0, 2)],
        [booking(1, 11)],
        [],
        unit(unknown=[dark(10, 10, 1)]),
        "good and scrap are exchanged: made [10, 2], accounted for [11, 0]",
    ),
    "beyond the bound": (
        TEN, [booking(1, 5)], [], unit(unknown=[dark(3, 7, 4)]), "5 pieces are missing, the declared intervals allow 4"
    ),
    "not in the dark": (
        TEN, [booking(1, 7)], [], unit(unknown=[dark(20, 30, 50)]), "3 pieces are missing, only 0 fell into"
    ),
    "partly in the dark": (
        TEN, [booking(1, 7)], [], unit(unknown=[dark(8, 30, 50)]), "3 pieces are missing, only 2 fell into"
    ),
    "unbounded and not in the dark": (
        TEN, [booking(1, 7)], [], unit(unknown=[dark(20, 30, None)]), "3 pieces are missing, only 0 fell into"
    ),
}  # fmt: skip


def balance(pieces, ledger, waiting, work_unit):
    return reconcile({work_unit["id"]: pieces}, ledger, waiting, [work_unit])


@pytest.mark.parametrize(("pieces", "ledger", "waiting", "work_unit"), BALANCED.values(), ids=BALANCED)
def test_balanced(pieces, ledger, waiting, work_unit):
    result = balance(pieces, ledger, waiting, work_unit)
    assert result.balanced, result.to_json()
    assert (result.machines[0].reason, result.duplicate_keys, result.gaps) == ("", (), ())
    assert "WRONG" not in "\n".join(table(result))
    assert json.loads(json.dumps(result.to_json()))["balanced"] is True


@pytest.mark.parametrize(("pieces", "ledger", "waiting", "work_unit", "reason"), WRONG.values(), ids=WRONG)
def test_not_balanced(pieces, ledger, waiting, work_unit, reason):
    result = balance(pieces, ledger, waiting, work_unit)
    assert not result.balanced
    assert result.machines[0].reason.startswith(reason)
    text = "\n".join(table(result))
    assert "WRONG" in text
    assert f"!! {reason}" in text


def test_a_doubled_key_does_not_balance_although_the_sum_may():
    twice = [booking(1, 5, key="K"), booking(2, 5, key="K")]
    result = balance(TEN, twice, [], unit())
    assert result.machines[0].balanced
    assert result.duplicate_keys == ("K",)
    assert not result.balanced
    assert "!! booked twice: K" in table(result)


@pytest.mark.parametrize("numbers", [(1, 3), (2, 1), (1, 1), (2, 3)])
def test_a_gap_or_a_wrong_order_in_a_sequence_does_not_balance(numbers):
    ledger = [booking(seq, 5, key=f"K{at}") for at, seq in enumerate(numbers)]
    result = balance(TEN, ledger, [], unit())
    assert result.gaps == (f"100240/0010: booked in the order {list(numbers)}",)
    assert not result.balanced
    assert any(line.startswith("!! sequence 100240/0010") for line in table(result))


def test_a_gap_in_one_order_is_not_filled_by_another():
    ledger = [booking(1, 5), booking(2, 2, order="100241"), booking(3, 3)]
    assert balance(TEN, ledger, [], unit()).gaps == (
        "100240/0010: booked in the order [1, 3]",
        "100241/0010: booked in the order [2]",
    )


def test_one_machine_does_not_pay_for_another():
    ledger = [booking(1, 9), booking(1, 11, order="7", machine="IMM-01")]
    result = reconcile({"ASM-01": TEN, "IMM-01": TEN}, ledger, [], [unit(), unit("IMM-01", order="7")])
    assert [row.balanced for row in result.machines] == [False, False]


def test_a_machine_without_a_record_made_nothing():
    result = reconcile({}, [booking(1, 1)], [], [unit()])
    assert result.machines[0].reason == "1 pieces more than were made"


def test_a_piece_at_the_very_edge_of_an_interval_may_be_unknown_and_one_beyond_it_may_not():
    edge_ns = 5 * S + INTERVAL_TOLERANCE_NS
    for t_ns, balanced in ((edge_ns, True), (edge_ns + 1, False)):
        made = [{"t_ns": t_ns, "good": 1, "scrap": 0}]
        assert balance(made, [], [], unit(unknown=[dark(4, 5, 1)])).balanced is balanced


@pytest.mark.parametrize(("good", "code"), [(10, 0), (9, 1)])
def test_the_exit_code_and_the_json_say_the_same(monkeypatch, capsys, good, code):
    async def played(_self):
        await asyncio.sleep(0)
        return balance(TEN, [booking(1, good)], [], unit())

    monkeypatch.setattr(show._Show, "run", played)
    arguments = {"speed": 5.0, "seconds": 1.0, "seed": 1, "dir": ".", "chaos": False}
    assert show.run(_Arguments(json=True, erp="erp", **arguments)) == code
    assert json.loads(capsys.readouterr().out)["balanced"] is (code == 0)
    assert show.run(_Arguments(json=False, erp="erp", **arguments)) == code
    assert ("NOT BALANCED" in capsys.readouterr().out) is (code == 1)


class _Arguments:
    def __init__(self, **values):
        self.__dict__.update(values)
