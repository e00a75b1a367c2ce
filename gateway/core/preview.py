"""What the next confirmation of an order would say if it were made now. Takes no number and changes nothing.

Says what is open as it stands: whether it would be made at all, and when, is decided in ``confirmation.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.core.document import fields
from gateway.core.model import ConfirmationKind

if TYPE_CHECKING:
    from gateway.core.unit_state import State
    from gateway.core.work_unit import WorkUnit

TRIGGER: Final = "preview"


class PreviewError(ValueError):
    """An order whose next confirmation cannot be told alone; says which and what to do."""


def previewed(unit: WorkUnit, state: State, order: str, operation: str, at_ns: int) -> list[tuple[str, dict[str, Any]]]:
    """Of an order's open operations here ("": all of them), by its own number or the ERP's: its source and document.

    None where this machine has no such order. Raises PreviewError for one that is led together with others.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for run in state.open_runs():
        if operation and operation != run.job.operation:
            continue
        if order in run.job.leads or (run.merged is not None and run.job.order == order):
            raise PreviewError(
                f"order {order} runs together with others as {run.job.order}: what each of them is told is divided "
                "when it is confirmed; look at it then with linegate outbox show"
            )
        if run.share_no or order not in (run.job.order, run.job.erp_order):
            continue
        _, confirmation = unit.closer.close(state, run, at_ns, ConfirmationKind.PARTIAL, TRIGGER, last=False)
        found.append((run.job.source, fields(unit.identity, confirmation)))
    return found
