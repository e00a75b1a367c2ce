"""Intervals and pieces of a machine, summed up by shift, production day or order, with the indicators of ISO 22400-2.

Elements are summed first and divided after. What cannot be known is None: no planned run time, no effectiveness. Reads
nothing: intervals, annotations and pieces are handed in.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.core.duration import Duration
from gateway.core.kpi import MachineKpis, Product, Quantities, machine_kpis
from gateway.core.model import Role
from gateway.core.rules_state import StopReasonRule, TimeModelRule
from gateway.core.state.time_elements import TimeElements, TimeModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.core.rules_state import StateRule
    from gateway.core.state.interval import StateInterval


class By(enum.StrEnum):
    """What is summed up."""

    SHIFT = "shift"
    DAY = "day"
    ORDER = "order"


class Made(NamedTuple):
    """Pieces as they were booked, or judged anew (less than none of what they were)."""

    at_ns: int
    role: Role
    pieces: int
    order: str | None
    operation: str | None


class KpiRules(NamedTuple):
    """What must be known of a machine's rules: which time is which element, and how long a piece should take.

    ``piece_ns`` is the planned run time of one piece where the order names none, None where nobody knows.
    """

    time_model: TimeModelRule
    elements: dict[str, Any]
    piece_ns: Fraction | None

    def model(self) -> TimeModel:
        """Prepared."""
        return TimeModel(self.time_model, StopReasonRule(elements=self.elements))


class Group(NamedTuple):
    """One shift, day or order: its sums and indicators. ``name`` is empty outside of shifts, and for no order."""

    name: str
    from_ns: int
    to_ns: int
    times: TimeElements
    quantities: Quantities
    kpis: MachineKpis


def plain_rules(rule: StateRule, ideal_cycle: Duration | None, pieces_per_cycle: int | None) -> dict[str, Any]:
    """The rules as JSON data, kept beside the state so that whoever reads the database can sum up."""
    piece = None
    if ideal_cycle is not None and pieces_per_cycle:
        piece = [int(ideal_cycle), pieces_per_cycle]
    model = rule.time_model
    return {
        "micro_stop_as": model.micro_stop_as,
        "cleaning_as": model.cleaning_as,
        "flexible_break_ns": int(model.flexible_break),
        "elements": dict(rule.reasons.elements),
        "piece_ns": piece,
    }


def loaded_rules(data: dict[str, Any]) -> KpiRules:
    """The rules from JSON data. Raises KeyError, TypeError or ValueError where it is none."""
    piece = data["piece_ns"]
    return KpiRules(
        TimeModelRule(
            micro_stop_as=data["micro_stop_as"],
            cleaning_as=data["cleaning_as"],
            flexible_break=Duration(data["flexible_break_ns"]),
        ),
        data["elements"],
        None if piece is None else Fraction(*piece),
    )


def key_of(by: By) -> Callable[[StateInterval], str]:
    """The name of the group that an interval belongs to."""
    if by is By.ORDER:
        return lambda found: "" if found.order is None else f"{found.order}/{found.operation or ''}"
    if by is By.DAY:
        return lambda found: found.shift.partition("/")[0]
    return lambda found: found.shift


def grouped(
    row: tuple[StateInterval, ...],
    made: Iterable[Made],
    by: By,
    rules: KpiRules,
    run_times: dict[tuple[str, str], int],
) -> tuple[Group, ...]:
    """The groups in the order in which they began.

    ``run_times`` is the planned run time of one piece by order and operation, in nanoseconds. Pieces belong to the
    shift or day in which they were booked; what was booked outside of ``row`` belongs to none of the groups.
    """
    key, model = key_of(by), rules.model()
    members: dict[str, list[StateInterval]] = {}
    for found in row:
        members.setdefault(key(found), []).append(found)
    pieces = _by_group(row, made, by, key)
    groups = []
    for name, of_it in members.items():
        whole = tuple(of_it)
        # A flexible break is one of a shift: a day has as many as shifts, an order none.
        times = _of_shifts(model, whole) if by is not By.ORDER else model.total(whole)
        mine = pieces.get(name, [])
        quantities = _quantities(mine)
        kpis = _kpis(times, quantities, mine, rules, run_times)
        groups.append(Group(name, whole[0].from_ns, whole[-1].to_ns, times, quantities, kpis))
    return tuple(groups)


def _of_shifts(model: TimeModel, row: tuple[StateInterval, ...]) -> TimeElements:
    shifts: dict[str, list[StateInterval]] = {}
    for found in row:
        shifts.setdefault(found.shift, []).append(found)
    total = TimeElements()
    for name, members in shifts.items():
        total = total.plus(model.of_shift(tuple(members)) if name else model.total(members))
    return total


def _by_group(
    row: tuple[StateInterval, ...], made: Iterable[Made], by: By, key: Callable[[StateInterval], str]
) -> dict[str, list[Made]]:
    begins = [found.from_ns for found in row]
    groups: dict[str, list[Made]] = {}
    for one in made:
        index = bisect_right(begins, one.at_ns) - 1
        if index < 0 or one.at_ns >= row[index].to_ns:
            continue
        if by is By.ORDER:
            name = "" if one.order is None else f"{one.order}/{one.operation or ''}"
        else:
            name = key(row[index])
        groups.setdefault(name, []).append(one)
    return groups


def _quantities(made: list[Made]) -> Quantities:
    sums = dict.fromkeys(Role, 0)
    for one in made:
        sums[one.role] += one.pieces
    # A sample that was taken out is neither good nor scrap, and no product.
    return Quantities(sums[Role.GOOD], sums[Role.SCRAP], sums[Role.REWORK], sums[Role.HOLD])


def _kpis(
    times: TimeElements,
    quantities: Quantities,
    made: list[Made],
    rules: KpiRules,
    run_times: dict[tuple[str, str], int],
) -> MachineKpis:
    products: dict[Fraction, int] = {}
    known = True
    for one in made:
        if one.role is Role.TEST:
            continue
        named = None if one.order is None else run_times.get((one.order, one.operation or ""))
        piece_ns = Fraction(named) if named else rules.piece_ns
        if piece_ns is None:
            known = False
        else:
            products[piece_ns] = products.get(piece_ns, 0) + one.pieces
    found = machine_kpis(times, quantities, [Product(piece_ns, pieces) for piece_ns, pieces in products.items()])
    if known:
        return found
    return found._replace(effectiveness=None, oee=None, nee=None, over_speed=False)
