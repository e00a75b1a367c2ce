"""The table from a kind of output to what it tells the audit trail: one row for each. Makes no entries.

Splits, merges and all other changes of an order's state are rows of ``JobChanged``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.access.permissions import Action
from gateway.core.audit.entry import CHARS_MAX, Change, SystemAction
from gateway.core.entries import PiecesReclassified
from gateway.core.model import Confirmation, JobChanged, Voided
from gateway.core.orders.order_changes import AckKind, OrderAck
from gateway.core.orders.standing_holds import StandingHoldChanged
from gateway.core.orders.unallocated import CountAllocation
from gateway.core.state.annotations import StopMerge, StopReasonAssigned, StopReasonWithdrawn, StopSplit
from gateway.core.state.setup import SetupEnded, SetupStarted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REFUSED: Final = "refused"


class Told(NamedTuple):
    """What one output tells, before it is known who caused it.

    ``record``: what a signature is put under, where ``new`` is too little. ``reason``: why, of what no person says.
    """

    action: str
    entity: str
    entity_id: str
    change: str = Change.EVENT.value
    field: str = ""
    old: str | None = None
    new: str | None = None
    outcome: str = "done"
    detail: str = ""
    order: str = ""
    record: str = ""
    reason: str = ""


class Row(NamedTuple):
    """One row of the table. ``always``: whether also where the input is no person's."""

    tell: Callable[[Any, str], Told | None]
    always: Callable[[Any], bool] = lambda _output: True


def plain(found: Mapping[str, Any]) -> str:
    """Names and values as JSON in their order, for the eye of an auditor and for a signature."""
    shown = {name: value for name, value in found.items() if value is not None}
    return json.dumps(shown, ensure_ascii=True, separators=(",", ":"), default=str)


# --- the table: each function is told an output and the work unit -----------------------------------------------------


def _job_changed(found: JobChanged, _unit: str) -> Told | None:
    record = found.record
    if found.previous is record.state:
        return None  # its numbers, which the journal keeps
    numbers = {name: getattr(record, name) for name in ("good", "scrap", "rework", "hold", "test", "seq")}
    return Told(
        SystemAction.STATE_CHANGED.value,
        "operation",
        "/".join(record.job.key),
        change=(Change.CREATE if found.previous is None else Change.EVENT).value,
        field="state",
        old=None if found.previous is None else found.previous.value,
        new=record.state.value,
        detail=found.trigger,
        order=record.job.order,
        record=plain({"order": record.job.order, "operation": record.job.operation, "state": record.state, **numbers}),
    )


def _reclassified(found: PiecesReclassified, _unit: str) -> Told:
    return Told(
        Action.CORRECT.value,
        "operation",
        f"{found.order}/{found.operation}",
        change=Change.MODIFY.value,
        field="pieces",
        old=f"{found.pieces} {found.from_role}",
        new=f"{found.pieces} {found.to_role}",
        order=found.order,
        record=plain(found._asdict()),
    )


def _stop_named(found: StopReasonAssigned, unit: str) -> Told:
    upto = None if found.to_ns is None else str(found.to_ns)
    detail = "the whole standstill" if upto is None else f"up to {upto}"
    where = f"{unit}/{found.from_ns}"
    return Told(Action.NAME_STOP.value, "stop", where, Change.CREATE.value, "reason", None, found.reason, detail=detail)


def _stop_cut(found: StopSplit | StopMerge, unit: str) -> Told:
    new = "split" if isinstance(found, StopSplit) else "merged"
    return Told(Action.NAME_STOP.value, "stop", f"{unit}/{found.split_ns}", Change.EVENT.value, "split", new=new)


def _reason_withdrawn(found: StopReasonWithdrawn, unit: str) -> Told:
    detail = f"the reason given at {found.given_ns}"
    return Told(Action.UNDO.value, "stop", f"{unit}/{found.from_ns}", Change.MODIFY.value, "reason", detail=detail)


def _setup_started(found: SetupStarted, unit: str) -> Told:
    return Told(Action.SETUP_AGAIN.value, "machine", unit, field="setup", new=found.trigger)


def _setup_ended(found: SetupEnded, unit: str) -> Told:
    return Told(Action.FINISH_SETUP.value, "machine", unit, field="setup", old="begun", new=found.trigger)


def _confirmed(found: Confirmation, _unit: str) -> Told:
    return Told(
        SystemAction.CONFIRMED.value,
        "confirmation",
        found.key,
        change=Change.CREATE.value,
        field=found.kind.value,
        new=f"good {found.good}, scrap {found.scrap}, rework {found.rework}, hold {found.hold}, SHA-256 {found.digest}",
        detail=f"{found.trigger} of {found.reverses}" if found.reverses else found.trigger,
        order=found.job.order,
    )


def _voided(found: Voided, _unit: str) -> Told:
    return Told(
        Action.CORRECT.value,
        "confirmation",
        found.key,
        change=Change.MODIFY.value,
        field="state",
        old="not sent",
        new="voided",
        detail=found.reason,
    )


def _allocated(found: CountAllocation, unit: str) -> Told:
    what, order = found.what, found.order
    return Told(
        Action.ALLOCATE.value,
        "operation" if order else "machine",
        f"{order}/{found.operation}" if order else unit,
        change=Change.MODIFY.value,
        field="pieces",
        old=f"{what.pieces} {what.role} of no order, entry {found.number}",
        new=f"{what.pieces} {found.role_to}" + ("" if order else ", written off"),
        detail=f"by {found.by}" + (f": {found.reason}" if found.reason else ""),
        order=order,
    )


def _acknowledged(found: OrderAck, _unit: str) -> Told | None:
    if found.kind is AckKind.DUPLICATE:
        return None
    if found.changed:
        return Told(
            SystemAction.ORDER_RECEIVED.value,
            *_answering(found),
            Change.MODIFY.value,
            field=", ".join(path for path, _, _ in found.changed)[: CHARS_MAX["field"]],
            old=plain({path: old for path, old, _ in found.changed}),
            new=plain({path: new for path, _, new in found.changed}),
            detail=found.kind.value,
            order=found.order,
            reason=f"revision {found.revision} of the ERP",
        )
    no = found.kind in (AckKind.ORDER_CHANGE_REJECTED, AckKind.CANCEL_REJECTED, AckKind.UNKNOWN_ORDER, AckKind.STALE)
    return Told(
        SystemAction.ORDER_RECEIVED.value,
        *_answering(found),
        field="revision",
        old=None if found.held_revision in (None, found.revision) else str(found.held_revision),
        new=str(found.revision),
        outcome=REFUSED if no else "done",
        detail="; ".join((found.kind.value, *found.reasons)),
        order=found.order,
    )


def _answering(found: OrderAck) -> tuple[str, str]:
    """Each operation here answers for itself: it says which one it is."""
    return ("operation", f"{found.order}/{found.operation}") if found.operation else ("order", found.order)


def _hold_changed(found: StandingHoldChanged, unit: str) -> Told:
    what = f"{found.scope} {found.name}".rstrip()
    return Told(
        (Action.HOLD if found.begins else Action.RELEASE).value,
        "hold",
        f"{unit}/{what}",
        change=(Change.CREATE if found.begins else Change.MODIFY).value,
        field="hold",
        old=None if found.begins else "set",
        new="set" if found.begins else "released",
        detail=found.reason,
        record=plain({"machine": unit, **found._asdict()}),
    )


TABLE: Final[dict[type, Row]] = {
    JobChanged: Row(_job_changed),
    OrderAck: Row(_acknowledged),
    PiecesReclassified: Row(_reclassified),
    CountAllocation: Row(_allocated),
    Voided: Row(_voided),
    StandingHoldChanged: Row(_hold_changed),
    StopReasonAssigned: Row(_stop_named),
    StopReasonWithdrawn: Row(_reason_withdrawn),
    StopSplit: Row(_stop_cut),
    StopMerge: Row(_stop_cut),
    SetupStarted: Row(_setup_started, always=lambda found: bool(found.who)),
    SetupEnded: Row(_setup_ended, always=lambda found: bool(found.who)),
    # Its ``audit_ref`` is this entry.
    Confirmation: Row(_confirmed, always=lambda found: bool(found.by)),
}
