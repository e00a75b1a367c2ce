"""What a confirmation document says of times, material, lots and people. Decides nothing."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any, Final

from gateway.core.model import MachineState
from gateway.core.work.rounding import decimal_steps
from gateway.core.work.time_account import MINUTE_PLACES, ActivityMinutes

if TYPE_CHECKING:
    from gateway.core.work.run_work import ConfirmedLines, ConfirmedWork, HeldMaterial


#: The last decimal of a share.
COVERAGE_STEP: Final = Decimal("0.0001")


def work_fields(work: ConfirmedWork | None) -> dict[str, Any]:
    """These fields in their fixed order; null or empty where nobody tells. Minutes and quantities are texts."""
    if work is None:
        times: dict[str, str | None] = dict.fromkeys(
            ("machine_setup_min", "labour_setup_min", "machine_min", "labour_min")
        )
        return {
            "times": times,
            "times_cumulative": dict(times),
            "machine_states": None,
            "components": [],
            "lots": [],
            "serials": [],
            "operators": [],
        }
    lots: dict[str, int] = {}
    for one in work.lots:
        lots[one.lot] = lots.get(one.lot, 0) + one.pieces
    return {
        "times": {f"{name}_min": str(minutes) for name, minutes in work.minutes._asdict().items()},
        "times_cumulative": {
            f"{name}_min": str(decimal_steps(steps, MINUTE_PLACES))
            for name, steps in zip(ActivityMinutes._fields, work.total, strict=True)
        },
        "machine_states": dict(work.states),
        "components": [_component(one) for one in work.lines],
        # Only where there is any: nobody but a later verdict asks for it.
        **({"components_held": [_held(one) for one in work.held]} if work.held else {}),
        "lots": [{"lot": lot, "qty": str(pieces)} for lot, pieces in lots.items() if lot and pieces],
        "serials": list(work.serials),
        "operators": list(work.operators),
    }


def coverage_of(work: ConfirmedWork | None) -> str | None:
    """Share of the order's time in which its machine was heard, "0" to "1", never rounded up; None of no time."""
    minutes = {} if work is None else {state: Decimal(text) for state, text in work.states}
    whole = sum(minutes.values(), Decimal(0))
    if whole <= 0:
        return None
    unheard = min(max(minutes.get(MachineState.UNKNOWN.value, Decimal(0)), Decimal(0)), whole)
    share = ((whole - unheard) / whole).quantize(COVERAGE_STEP, ROUND_FLOOR)
    return f"{share.normalize():f}"


def _component(told: ConfirmedLines) -> dict[str, Any]:
    line = told.line
    return {
        "item": line.item,
        "qty": str(line.quantity),
        "uom": line.uom,
        "kind": line.kind.value,
        "posting": line.posting.value,
        "separate": line.separate or None,
        "lots": [{"lot": lot, "qty": quantity} for lot, quantity in told.lots],
    }


def _held(one: HeldMaterial) -> dict[str, Any]:
    lots = [{"lot": lot, "qty": quantity} for lot, quantity in one.lots]
    return {"item": one.item, "uom": one.uom, "lots": lots}
