"""What a confirmation document says of times, material, lots and people. Decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.core.work.run_work import ConfirmedLines, ConfirmedWork


def work_fields(work: ConfirmedWork | None) -> dict[str, Any]:
    """These fields in their fixed order; null or empty where nobody tells. Minutes and quantities are texts."""
    if work is None:
        times: dict[str, str | None] = dict.fromkeys(
            ("machine_setup_min", "labour_setup_min", "machine_min", "labour_min")
        )
        return {"times": times, "machine_states": None, "components": [], "lots": [], "serials": [], "operators": []}
    return {
        "times": {f"{name}_min": str(minutes) for name, minutes in work.minutes._asdict().items()},
        "machine_states": dict(work.states),
        "components": [_component(one) for one in work.lines],
        "lots": [{"lot": one.lot, "qty": str(one.pieces)} for one in work.lots if one.lot and one.pieces],
        "serials": list(work.serials),
        "operators": list(work.operators),
    }


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
