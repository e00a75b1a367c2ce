"""Exact times told in minutes with three decimals, and shared by the orders of a family tool.

Over all confirmations of an order the minutes add up to its time, rounded once. Which time it is, is decided in
``activity_times.py``.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.duration import NS_PER_UNIT
from gateway.core.state.time_elements import TimeElements
from gateway.core.work.activity_times import PeriodTimes
from gateway.core.work.rounding import (
    Exact,
    RoundingCarry,
    carry_from_row,
    decimal_steps,
    largest_remainders,
    steps_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.core.rules_material import FamilyTime, MachineTimeBasis

MINUTE_PLACES: Final = 3
FAMILY_MAX: Final = 16  # orders that run together

MINUTE_STEP_NS: Final = Fraction(NS_PER_UNIT["min"], 10**MINUTE_PLACES)
_ZERO: Final = Decimal(0)


class ActivityMinutes(NamedTuple):
    """What one confirmation says, in minutes with three decimals; never negative.

    Labour is time of persons: two of them for an hour are 120. Labour in setup is apart from the other.
    """

    machine_setup: Decimal
    labour_setup: Decimal
    machine: Decimal
    labour: Decimal


class TimeAccount(NamedTuple):
    """All times of an order and what was told of them, in the sequence of ``ActivityMinutes``."""

    machine_setup: RoundingCarry = RoundingCarry()
    labour_setup: RoundingCarry = RoundingCarry()
    machine: RoundingCarry = RoundingCarry()
    labour: RoundingCarry = RoundingCarry()

    def booked(self, period: PeriodTimes, basis: MachineTimeBasis) -> TimeAccount:
        """With the times of one more period."""
        return TimeAccount(
            self.machine_setup.plus(period.setup_ns),
            self.labour_setup.plus(period.labour_setup.fraction),
            self.machine.plus(period.machine_ns(basis)),
            self.labour.plus(period.labour.fraction),
        )

    def tell(self) -> tuple[TimeAccount, ActivityMinutes]:
        """What a confirmation says now."""
        told = [carry.tell(MINUTE_STEP_NS) for carry in self]
        minutes = ActivityMinutes(*(decimal_steps(steps, MINUTE_PLACES) for _, steps in told))
        return TimeAccount(*(carry for carry, _ in told)), minutes

    def take_back(self, minutes: ActivityMinutes) -> TimeAccount:
        """After a confirmation that said so was reversed: its minutes are due again. Raises ValueError."""
        return TimeAccount(
            *(carry.take_back(steps_of(number, MINUTE_PLACES)) for carry, number in zip(self, minutes, strict=True))
        )


class FamilyMember(NamedTuple):
    """An order in a family tool, with what it made in the period that is shared.

    ``piece_weight`` of one piece, in any unit that all of them share; needed for ``by_weight`` only.
    """

    order: str
    operation: str
    pieces: int = 0
    piece_weight: Decimal = _ZERO
    leading: bool = False


def shared(period: PeriodTimes, members: Sequence[FamilyMember], how: FamilyTime) -> tuple[PeriodTimes, ...]:
    """The times of a machine by the orders that ran together on it, to the nanosecond.

    Each element goes by largest remainder, the first member before equal ones; labour is shared as a fraction. Where
    nothing was made in the period the parts are equal (for all but ``leading_order``). Raises ValueError without one
    leading order where that is asked for, for negative pieces or weights, and for more than FAMILY_MAX members.
    """
    weights = _weights(members, how)
    whole = sum(weights)
    elements = list(zip(*(largest_remainders(total, weights) for total in period.elements), strict=True))
    late = largest_remainders(period.late_ns, weights)
    return tuple(
        PeriodTimes(
            TimeElements(*elements[index]),
            Exact.of(period.labour.fraction * weight / whole),
            Exact.of(period.labour_setup.fraction * weight / whole),
            late[index],
        )
        for index, weight in enumerate(weights)
    )


def _weights(members: Sequence[FamilyMember], how: FamilyTime) -> list[Fraction]:
    if not 1 <= len(members) <= FAMILY_MAX:
        raise ValueError(f"family: found {len(members)} orders, allowed 1 to {FAMILY_MAX}")
    if any(one.pieces < 0 or one.piece_weight < 0 for one in members):
        raise ValueError("family: found pieces or a weight below 0, allowed 0 and above")
    if how == "leading_order":
        leading = [one.order for one in members if one.leading]
        if len(leading) != 1:
            raise ValueError(f"family: found {len(leading)} leading orders, allowed exactly one")
        return [Fraction(one.leading) for one in members]
    weights = [Fraction(1)] * len(members)
    if how == "by_piece":
        weights = [Fraction(one.pieces) for one in members]
    elif how == "by_weight":
        weights = [one.pieces * Fraction(one.piece_weight) for one in members]
    return weights if any(weights) else [Fraction(1)] * len(members)


def account_from(document: Mapping[str, Any]) -> TimeAccount:
    """What ``_asdict`` and JSON made of a ``TimeAccount``."""
    return TimeAccount(**{name: carry_from_row(row) for name, row in document.items()})
