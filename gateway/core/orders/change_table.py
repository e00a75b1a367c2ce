"""What an ERP may change in an order that is held here: which kind a field is of, and the answer in each phase.

Data only: ``order_changes.py`` applies it.
"""

from __future__ import annotations

import enum
from typing import Final


class Phase(enum.StrEnum):
    """How far an operation has got, as far as changes are concerned."""

    BEFORE_START = "before_start"
    SETUP = "setup"
    AFTER_FIRST_PIECE = "after_first_piece"


PHASES: Final = tuple(Phase)


class ChangeKind(enum.StrEnum):
    """What a change is about: the rows of the table."""

    QUANTITY_UP = "quantity up"
    QUANTITY_DOWN = "quantity down"
    SCHEDULE = "dates, priority, sequence"
    WORK_CENTER = "work center"
    STANDARDS = "standard times and scrap"
    BOM = "BOM component"
    STRUCTURE = "product, unit, routing structure"
    TOLERANCES = "tolerances"
    INFORMATION = "texts and documents"
    HOLD = "hold by the ERP"
    CANCEL = "cancel"


class Answer(enum.StrEnum):
    """What is done with a change of one kind in one phase."""

    ACCEPT = "accept"
    ACCEPT_REVISION = "accept as new revision"
    ACCEPT_COUNTED = "accept; below what was made: over-delivery, complete"
    ACCEPT_UNSTABLE = "accept; the plan was not stable"
    ACCEPT_EFFECTIVE = "accept for indicators from the effective time"
    IF_NOT_RUNNING = "accept if not running"
    IF_INTERRUPTED = "accept if interrupted: confirm and move"
    IF_ENGINEERING_CHANGE = "accept if an engineering change with effective time"
    NOT_DURING_SETUP = "reject during setup"
    CLOSE_AND_CREATE_NEW = "reject: close and create new"
    POLICY = "policy"


class ChangeEffect(enum.StrEnum):
    """What must happen together with an accepted change."""

    NEW_REVISION = "NEW_REVISION"
    NEW_SNAPSHOT = "NEW_SNAPSHOT"
    OVER_DELIVERY = "OVER_DELIVERY"
    COMPLETE = "COMPLETE"
    PLAN_UNSTABLE = "PLAN_UNSTABLE"  # counts one in the indicator of plan stability
    KPI_FROM_EFFECTIVE_TIME = "KPI_FROM_EFFECTIVE_TIME"
    MOVE = "MOVE"
    CONFIRM = "CONFIRM"
    BOM_FROM_EFFECTIVE_TIME = "BOM_FROM_EFFECTIVE_TIME"
    SET_HOLD = "SET_HOLD"
    RELEASE_HOLD = "RELEASE_HOLD"
    STOP_AND_CONFIRM = "STOP_AND_CONFIRM"
    CANCEL = "CANCEL"


class ChangeCode(enum.StrEnum):
    """Why a further image changes nothing."""

    DUPLICATE = "DUPLICATE"
    STALE = "STALE"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    FOREIGN_SOURCE = "FOREIGN_SOURCE"
    CLOSE_AND_CREATE_NEW = "CLOSE_AND_CREATE_NEW"
    NOT_DURING_SETUP = "NOT_DURING_SETUP"
    INTERRUPT_FIRST = "INTERRUPT_FIRST"
    ORDER_ENDED = "ORDER_ENDED"
    CANCEL_REJECTED = "CANCEL_REJECTED"


_A: Final = Answer
_ALWAYS: Final = (_A.ACCEPT, _A.ACCEPT, _A.ACCEPT)

#: The answers before the start, during setup and after the first piece.
TABLE: Final[dict[ChangeKind, tuple[Answer, Answer, Answer]]] = {
    ChangeKind.QUANTITY_UP: _ALWAYS,
    ChangeKind.QUANTITY_DOWN: (_A.ACCEPT, _A.ACCEPT, _A.ACCEPT_COUNTED),
    ChangeKind.SCHEDULE: (_A.ACCEPT, _A.ACCEPT, _A.ACCEPT_UNSTABLE),
    ChangeKind.WORK_CENTER: (_A.ACCEPT, _A.IF_NOT_RUNNING, _A.IF_INTERRUPTED),
    ChangeKind.STANDARDS: (_A.ACCEPT, _A.ACCEPT, _A.ACCEPT_EFFECTIVE),
    ChangeKind.BOM: (_A.ACCEPT, _A.ACCEPT, _A.IF_ENGINEERING_CHANGE),
    ChangeKind.STRUCTURE: (_A.ACCEPT_REVISION, _A.NOT_DURING_SETUP, _A.CLOSE_AND_CREATE_NEW),
    ChangeKind.TOLERANCES: _ALWAYS,
    ChangeKind.INFORMATION: _ALWAYS,
    ChangeKind.HOLD: _ALWAYS,
    ChangeKind.CANCEL: (_A.ACCEPT, _A.POLICY, _A.POLICY),
}

#: What may still be changed where an operation has ended: it makes no difference to what was made.
AFTER_THE_END: Final = frozenset(
    {
        ChangeKind.QUANTITY_DOWN,
        ChangeKind.SCHEDULE,
        ChangeKind.STANDARDS,
        ChangeKind.TOLERANCES,
        ChangeKind.INFORMATION,
        ChangeKind.HOLD,
    }
)

#: Fields of an image by the kind of their change. Quantities are told apart by their direction, components are BOM.
ORDER_FIELDS: Final = {
    "product": ChangeKind.STRUCTURE,
    "product_revision": ChangeKind.STRUCTURE,
    "uom": ChangeKind.STRUCTURE,
    "conversions": ChangeKind.STRUCTURE,
    "order_type": ChangeKind.STRUCTURE,
    "order_kind": ChangeKind.STRUCTURE,
    "under_tolerance": ChangeKind.TOLERANCES,
    "over_tolerance": ChangeKind.TOLERANCES,
    "planned_start_ns": ChangeKind.SCHEDULE,
    "planned_end_ns": ChangeKind.SCHEDULE,
    "priority": ChangeKind.SCHEDULE,
    "sequence_no": ChangeKind.SCHEDULE,
    "documents": ChangeKind.INFORMATION,
    "quality_plan": ChangeKind.INFORMATION,
    "batch": ChangeKind.INFORMATION,
    "change_number": ChangeKind.INFORMATION,
    "effective_ns": ChangeKind.INFORMATION,
    "echo": ChangeKind.INFORMATION,
    "material_available": ChangeKind.INFORMATION,
    "hold": ChangeKind.HOLD,
}
OPERATION_FIELDS: Final = {
    "work_center": ChangeKind.WORK_CENTER,
    "sequence": ChangeKind.STRUCTURE,
    "text": ChangeKind.INFORMATION,
    "std_setup_ns": ChangeKind.STANDARDS,
    "std_cycle_ns": ChangeKind.STANDARDS,
    "base_quantity": ChangeKind.STANDARDS,
    "cavities": ChangeKind.STANDARDS,
    "std_scrap": ChangeKind.STANDARDS,
    "crew": ChangeKind.STANDARDS,
    "tool": ChangeKind.STRUCTURE,
    "recipe": ChangeKind.STRUCTURE,
    "skill": ChangeKind.STRUCTURE,
    "control": ChangeKind.STRUCTURE,
}
