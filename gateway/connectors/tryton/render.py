"""The steps of one confirmation, from its document alone. Pure; what the steps do is ``steps.py``'s business.

A step names the order, the operation and what has to be there after it; the ids of Tryton's records are found when it
is sent. Quantities are exact and never rounded: Tryton is told the sum of all of them.
"""

from __future__ import annotations

import enum
import json
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.base import MappingError, Rendered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.connectors.tryton.settings import TimeName


class StepName(enum.StrEnum):
    """What a confirmation needs, in this sequence; each is one call that changes something."""

    RUN = "run"  # the production runs
    CYCLE = "cycle"  # the work has a cycle of this confirmation
    NOTE = "note"  # the work has a note with its id, its cycle and its quantities
    CYCLE_RUN = "cycle_run"
    CYCLE_TIME = "cycle_time"  # the cycle has its duration
    CYCLE_DO = "cycle_do"
    OUTPUTS = "outputs"  # the output moves say what the last operation made
    DO = "do"  # the production is done


#: Where the reference of ``CYCLE`` stands among those of the steps before.
CYCLE_AT: Final = 1
STEPS: Final[tuple[StepName, ...]] = tuple(name for name in StepName if name is not StepName.DO)
#: A correction takes pieces back, or judges them otherwise. It is no work, and has no cycle.
CORRECTION_STEPS: Final[tuple[StepName, ...]] = (StepName.NOTE, StepName.OUTPUTS)
FINAL: Final = "final"
CONTENT_TYPE: Final = "application/json"
MICROSECONDS_PER_MINUTE: Final = 60_000_000
QUANTITY_MAX: Final = Decimal(10) ** 12
_REQUIRED: Final = ("confirmation_id", "idempotency_key", "order_id", "operation", "seq", "qty")


class Made(NamedTuple):
    """What one confirmation adds; below 0 in a correction."""

    good: Decimal
    scrap: Decimal
    rework: Decimal
    reasons: tuple[tuple[str, Decimal], ...] = ()


def steps_of(document: Mapping[str, Any], duration: Iterable[TimeName], *, complete: bool) -> Rendered:
    """The messages of a confirmation. Raises MappingError."""
    missing = [name for name in _REQUIRED if name not in document]
    if missing:
        raise MappingError(f"the confirmation has no {', '.join(missing)}; every confirmation must have them")
    made = _made(document["qty"])
    correction = document.get("type") == "reversal" or min(made[:3]) < 0
    names = CORRECTION_STEPS if correction else STEPS
    if document.get("type") == FINAL and complete and not correction:
        names = (*names, StepName.DO)
    shared = {
        "confirmation": document["confirmation_id"],
        "order": document["order_id"],
        "operation": document["operation"],
    }
    own: dict[StepName, dict[str, Any]] = {
        StepName.NOTE: {"note": note_text(document, made), "with_cycle": not correction},
        StepName.CYCLE_TIME: {"microseconds": _microseconds(document, duration)},
    }
    rendered = [
        Rendered(_bytes({"step": name.value, **shared, **own.get(name, {})}), CONTENT_TYPE, name.value)
        for name in names
    ]
    return rendered[0]._replace(more=tuple(rendered[1:]))


def note_text(document: Mapping[str, Any], made: Made) -> str:
    """What the note says of a confirmation, but for its cycle: one JSON object behind its id."""
    told: dict[str, Any] = {
        "key": document["idempotency_key"],
        "good": _text(made.good),
        "scrap": _text(made.scrap),
        "rework": _text(made.rework),
    }
    if made.reasons:
        told["reasons"] = {reason: _text(quantity) for reason, quantity in made.reasons}
    return f"gw:{document['confirmation_id']} {_bytes(told).decode()}"


def _made(qty: Any) -> Made:
    if not isinstance(qty, dict):
        raise MappingError(f"qty: found {qty!r}, allowed: an object with good, scrap and rework")
    rows = qty.get("scrap") or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise MappingError(f"qty.scrap: found {rows!r}, allowed: a list of objects with reason and qty")
    scrap = [(row.get("reason"), _number(row.get("qty"), "qty.scrap")) for row in rows]
    named: dict[str, Decimal] = {}
    for reason, quantity in scrap:
        if reason:
            named[str(reason)] = named.get(str(reason), Decimal(0)) + quantity
    return Made(
        _number(qty.get("good", "0"), "qty.good"),
        sum((quantity for _, quantity in scrap), Decimal(0)),
        _number(qty.get("rework", "0"), "qty.rework"),
        tuple(sorted(named.items())),
    )


def _microseconds(document: Mapping[str, Any], duration: Iterable[TimeName]) -> int:
    """The cycle's duration. Where nobody tells it is 0: Tryton would take the time between two of our calls."""
    times = document.get("times") or {}
    minutes = [_number(times.get(f"{name}_min") or "0", f"times.{name}_min") for name in duration]
    return max(int(sum(minutes, Decimal(0)) * MICROSECONDS_PER_MINUTE), 0)


def _number(value: Any, name: str) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or abs(number) >= QUANTITY_MAX:
        raise MappingError(f"{name}: found {value!r}, allowed: a number as text, below {QUANTITY_MAX}")
    return number


def _text(number: Decimal) -> str:
    return f"{number:f}"


def _bytes(image: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(image, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise MappingError(f"the confirmation cannot be written as JSON: {error}") from error
