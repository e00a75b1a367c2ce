"""The outputs of the core as journal rows: a kind and JSON data. Nothing is lost; the confirmation by its key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.core.entries import Decided, LotNamed, PiecesReclassified, SerialRead
from gateway.core.model import (
    Confirmation,
    CountEvent,
    JobChanged,
    Notice,
    PiecesProduced,
    StateChanged,
    UnknownInterval,
    Voided,
)
from gateway.core.orders.order_changes import OrderAck
from gateway.core.orders.shares import MemberPieces
from gateway.core.orders.standing_holds import StandingHoldChanged
from gateway.core.orders.stop_request import StopRequested
from gateway.core.orders.unallocated import CountAllocation
from gateway.core.snapshot import encode_job
from gateway.core.state.annotations import StopMerge, StopReasonAssigned, StopReasonWithdrawn, StopSplit, plain
from gateway.core.state.interval import StateInterval
from gateway.core.state.setup import SetupEnded, SetupObservation, SetupOverrun, SetupStarted, TransitionTime
from gateway.core.state.timeline_state import ReasonRequired
from gateway.core.work.packing import UnitPacked

if TYPE_CHECKING:
    from gateway.core.model import Output

KINDS: Final = {
    CountEvent: "count",
    PiecesProduced: "pieces",
    UnknownInterval: "unknown",
    StateChanged: "state",
    JobChanged: "job",
    Notice: "notice",
    Confirmation: "confirmation",
    Voided: "voided",
    StateInterval: "interval",
    ReasonRequired: "reason_required",
    SetupStarted: "setup_started",
    SetupEnded: "setup_ended",
    SetupObservation: "setup",
    TransitionTime: "transition",
    SetupOverrun: "setup_overrun",
    # One kind for all that people say of stops: whoever reads stops needs them in their order.
    StopReasonAssigned: "stop_reason",
    StopReasonWithdrawn: "stop_reason",
    StopSplit: "stop_reason",
    StopMerge: "stop_reason",
    PiecesReclassified: "reclassified",
    OrderAck: "order_ack",
    CountAllocation: "allocation",
    Decided: "decision",
    StopRequested: "stop_requested",
    LotNamed: "lot_named",
    SerialRead: "serial",
    MemberPieces: "member_pieces",
    StandingHoldChanged: "hold",
    UnitPacked: "packed",
}


def row(output: Output) -> tuple[str, dict[str, Any]]:
    """Kind and JSON data of one output."""
    kind = KINDS[type(output)]
    match output:
        case JobChanged(record=record):
            data = output._asdict() | {"record": {**record._asdict(), "job": encode_job(record.job)}}
        case Confirmation(job=job):
            # The outbox holds the whole document; the journal proves which one it was.
            data = {
                "key": output.key,
                "order": job.order,
                "operation": job.operation,
                "seq": output.seq,
                "kind": output.kind,
                "trigger": output.trigger,
                "good": output.good,
                "scrap": output.scrap,
                "rework": output.rework,
                "hold": output.hold,
                "test": output.test,
                "digest": output.digest,
            }
        case StateInterval():
            # By far the most frequent of the long ones: what is not said is as ``StateInterval`` says.
            silent = StateInterval._field_defaults
            data = {
                name: value for name, value in output._asdict().items() if name not in silent or value != silent[name]
            }
        case StopReasonAssigned() | StopReasonWithdrawn() | StopSplit() | StopMerge():
            data = plain(output)
        case OrderAck(produced=produced):
            data = output._asdict() | {"produced": {operation: str(made) for operation, made in produced}}
            if not output.changed:
                del data["changed"]
        case CountAllocation(what=what):
            data = output._asdict() | {"what": what._asdict()}
        case Notice(detail=detail) | Decided(detail=detail):
            data = output._asdict() | {"detail": dict(detail)}
        case _:
            data = output._asdict()
    return kind, data
