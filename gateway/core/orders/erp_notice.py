"""Notices to an ERP: what is no confirmation and no answer, and still worth telling it. One document each.

A change of state, a word about quality, pieces without an order, a report of reconciliation. Each has a number and a
key of its own, so that the numbers of confirmations stay theirs. It stores and sends nothing; what is told of a step
``noticed.py`` says. Source: the outbound types StatusChange, QualityEvent, UnallocatedNotice and ReconciliationReport.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.document import SCHEMA_VERSION, message_id_of, utc
from gateway.core.job_response import ConfirmationKind
from gateway.core.orders.order_answer import ACK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.document import Identity
    from gateway.core.model import JobOrder

#: The kind of a posting that is a notice.
NOTICE: Final = "notice"
#: What is told beside the confirmations: it books nothing, so told twice it says nothing else.
BESIDE: Final = frozenset({ACK, NOTICE})
#: Every kind of a posting.
POSTING_KINDS: Final = (*(kind.value for kind in ConfirmationKind), ACK, NOTICE)
#: The operation of such a posting: none of an order's, so that its lane is no confirmation's and no answer's.
NOTICE_LANE: Final = "~notice"
#: What is said of pieces without an order that go on coming. One that has not arrived says enough until it has.
GROWING: Final = "growing"
#: Entries of a list in one notice; further ones are counted.
LISTED_MAX: Final = 50


class NoticeType(enum.StrEnum):
    """What a connector may be told, by the words of its setting ``notices``."""

    STATUS = "status"
    QUALITY = "quality"
    UNALLOCATED = "unallocated"
    RECONCILIATION = "reconciliation"


ALL: Final = frozenset(NoticeType)


class ErpNotice(NamedTuple):
    """One thing that is told. ``targets`` hear it, each under a number of its own.

    ``job`` is the job order that it is about, None where it is about none or about one that is not known any more; then
    ``order`` and ``operation`` may still name it. ``at_utc_ns`` is when it happened, ``made_utc_ns`` when it was made
    known here. ``detail`` is what the type says, as JSON data. ``again``: nothing happened since the last one of its
    type and machine, so it is for those only whom that one told something else.
    """

    type: NoticeType
    event: str
    at_utc_ns: int
    made_utc_ns: int
    detail: Mapping[str, Any]
    job: JobOrder | None = None
    order: str = ""
    operation: str = ""
    targets: tuple[str, ...] = ()
    again: bool = False

    @property
    def erp_order(self) -> str:
        """The order as the ERP knows it, "" where it is about none."""
        return self.order if self.job is None else self.job.erp_key[0]


def key_of(identity: Identity, target: str, order: str, seq: int) -> str:
    """The idempotency key of the ``seq``-th notice about an order to a target."""
    return f"{identity.plant}/{identity.epoch}/{order}/{NOTICE_LANE}/{target}/{seq}"


def document(
    identity: Identity, notice: ErpNotice, target: str, seq: int, left_out: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """The whole notice, in its fixed order. ``seq``: its number among those about this order to this target.

    ``left_out``: how many by type were not made for this target since the last one that was.
    """
    job, order = notice.job, notice.erp_order
    key = key_of(identity, target, order, seq)
    own_order = notice.order if job is None else job.order
    return {
        "schema_version": SCHEMA_VERSION,
        "type": NOTICE,
        "notice": notice.type.value,
        "event": notice.event,
        "message_id": message_id_of(key),
        "idempotency_key": key,
        "gateway_id": identity.gateway_id,
        "plant": identity.plant,
        "line": identity.line or None,
        "work_center": identity.work_center or None,
        "machine": identity.machine or None,
        "order_id": order or None,
        "order_revision": None if job is None else job.revision,
        "shop_order": own_order if own_order != order else None,
        "operation": (notice.operation if job is None else job.operation) or None,
        "seq": seq,
        "at": utc(notice.at_utc_ns),
        "created_at": utc(notice.made_utc_ns),
        "left_out": dict(left_out) if left_out else None,
        "detail": dict(notice.detail),
    }


def reported(number: int, cause: str, at_utc_ns: int, report: Mapping[str, Any]) -> ErpNotice:
    """The notice of a report of reconciliation; ``report`` is the report's own document."""
    findings = report["findings"]
    listed = [
        {
            "code": one["code"],
            "order_id": one["order"],
            "operation": one["operation"],
            "text": one["text"],
            "proposed": one["proposed"],
            "difference": dict(one["difference"]),
            "settled": one["settled"] is not None,
        }
        for one in findings[:LISTED_MAX]
    ]
    detail = {
        "report": number,
        "cause": cause,
        "compared": report["compared"],
        "not_compared": len(report["not_compared"]),
        "counts": dict(report["counts"]),
        "findings": listed,
        "findings_more": len(findings) - len(listed) + report["left_out"],
    }
    return ErpNotice(NoticeType.RECONCILIATION, "reported", at_utc_ns, at_utc_ns, detail)
