"""The amounts of one message: rounded so that all messages of an operation add up to its total, rounded once. Pure.

Nothing is remembered for it: a confirmation has what it adds and the total behind it, and a message says what the
rounded total grows by. All of them together say the rounded total, however the work was cut into confirmations. Where a
confirmation is taken back, what follows may differ by one unit of the last decimal.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from gateway.connectors.base import MappingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.mapping.settings import ActivitySlot, MappingSettings

#: Minutes in one of each unit, as a fraction: numerator and denominator.
_PER_MINUTE: Final[dict[str, tuple[int, int]]] = {"MIN": (1, 1), "H": (1, 60), "S": (60, 1)}
#: Units of time by UN/ECE Recommendation 20.
TIME_CODES: Final[dict[str, str]] = {"MIN": "MIN", "H": "HUR", "S": "SEC"}
_ZERO: Final = Decimal(0)

#: What becomes of rework pieces at an ERP that has no field for them: the confirmation waits for a person, or they are
#: told as scrap.
Rework = Literal["refuse", "scrap"]


class ReasonAmount(NamedTuple):
    """Scrap of one reason, ours; None: nobody said why."""

    reason: str | None
    quantity: Decimal


class Amounts(NamedTuple):
    """What one message says was made. The scrap by reason adds up to ``scrap``. Below 0 in corrections only."""

    good: Decimal
    scrap: Decimal
    rework: Decimal
    reasons: tuple[ReasonAmount, ...]


def amounts(settings: MappingSettings, document: Mapping[str, Any]) -> Amounts:
    """The quantities of a confirmation. Raises MappingError for a document without them."""
    places = settings.quantity_decimals
    made, total = _part(document, "qty"), _part(document, "qty_cumulative")
    rows = [(row.get("reason"), _number(row.get("qty"), "qty.scrap")) for row in made.get("scrap") or []]
    scrap_after = sum((_number(row.get("qty"), "qty_cumulative.scrap") for row in total.get("scrap") or []), _ZERO)
    reached = scrap_after - sum((quantity for _, quantity in rows), _ZERO)
    reasons: list[ReasonAmount] = []
    for reason, quantity in rows:
        # One reason after the other, each from where the one before has come to: together they are the whole.
        reasons.append(ReasonAmount(reason, grown(reached + quantity, quantity, places)))
        reached += quantity
    good, rework = (
        grown(_number(total.get(role), f"qty_cumulative.{role}"), _number(made.get(role), f"qty.{role}"), places)
        for role in ("good", "rework")
    )
    return Amounts(good, sum((one.quantity for one in reasons), rounded(_ZERO, places)), rework, tuple(reasons))


def without_rework(made: Amounts, rework: Rework, document: Mapping[str, Any]) -> Amounts:
    """The amounts for an ERP that has no field for rework. Raises MappingError: no piece vanishes silently.

    As scrap it has no reason (``mapping.no_reason``).
    """
    if not made.rework:
        return made
    if rework == "refuse":
        raise MappingError(
            f"order {document.get('order_id')}: qty.rework: found {made.rework}, allowed: 0, there is no field for it; "
            "set rework: scrap to tell it as scrap, or book all of this by hand and discard it"
        )
    reasons = (*made.reasons, ReasonAmount(None, made.rework))
    return Amounts(made.good, made.scrap + made.rework, rounded(_ZERO, 0), reasons)


def activity(settings: MappingSettings, slot: ActivitySlot, document: Mapping[str, Any]) -> Decimal:
    """The time of a confirmation for one activity, in its unit. 0 where nobody tells. Raises MappingError."""
    places, name = settings.time_decimals, f"{slot.time}_min"
    times, totals = document.get("times") or {}, document.get("times_cumulative") or {}
    told = times.get(name)
    if told is None:
        return rounded(_ZERO, places)
    minutes = _number(told, f"times.{name}")
    # Documents of before this was told have no total: each of them is rounded by itself.
    after = minutes if totals.get(name) is None else _number(totals[name], f"times_cumulative.{name}")
    return in_unit(after, slot.unit, places) - in_unit(after - minutes, slot.unit, places)


def in_unit(minutes: Decimal, unit: str, places: int) -> Decimal:
    """Minutes in MIN, H or S with so many decimals."""
    numerator, denominator = _PER_MINUTE[unit]
    return rounded((minutes * numerator / denominator), places)


def grown(after: Decimal, by: Decimal, places: int) -> Decimal:
    """What the rounded total grows by when the total grows by ``by`` and is ``after`` then."""
    return rounded(after, places) - rounded(after - by, places)


def rounded(number: Decimal, places: int) -> Decimal:
    """With so many decimals; a half goes away from 0."""
    return number.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def written(number: Decimal) -> str:
    """The number as text: a point, all its decimals, no exponent, no sign at 0."""
    return f"{number + 0 if number else abs(number):f}"


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = document.get(name)
    if not isinstance(part, dict):
        raise MappingError(f"order {document.get('order_id')}: the confirmation has no {name}; every one must have it")
    return part


def _number(value: Any, name: str) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise MappingError(f"{name}: found {value!r}, allowed: a number as text")
    return number
