"""The canonical confirmation document: every field that an ERP may want, in one fixed order, as JSON.

One confirmation, one byte string, for ever: quantities are decimal strings (a JSON number is read as a double by half
of the world), times are UTC. A field whose source does not exist yet in this gateway is null, never guessed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid5

from gateway.core.work.work_fields import coverage_of, work_fields

if TYPE_CHECKING:
    from gateway.core.model import Confirmation, JobOrder

SCHEMA_VERSION: Final = 2
#: Namespace of the message ids (UUIDv5): fixed for all installations, or the same key would get two ids.
NAMESPACE: Final = UUID("6f1d1e0c-5a3b-5c8e-9d42-1b7f0a6c2e11")
SHARE_STEP: Final = Decimal("0.0001")
_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - UTC, which is not written as an offset
_NS_PER_S: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000
#: Times that are shown together are mostly of few seconds.
_SECONDS_KEPT: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who confirms: fixed for the life of a work unit object.

    Attributes:
        plant: the plant's name, first part of every key.
        epoch: random name of the database; a new database never repeats an old key.
        gateway_id: name of this gateway.
        line: name of the line.
        machine: name of the work unit.
        work_center: the ERP's name of it.
    """

    plant: str
    epoch: str
    gateway_id: str
    line: str
    machine: str
    work_center: str


def key_of(identity: Identity, job: JobOrder, seq: int) -> str:
    """The idempotency key ``{plant}/{epoch}/{order}/{operation}/{seq}``."""
    return f"{identity.plant}/{identity.epoch}/{job.order}/{job.operation}/{seq}"


def message_id_of(key: str) -> str:
    """UUIDv5 of the key."""
    return str(uuid5(NAMESPACE, key))


def utc(time_ns: int | None) -> str | None:
    """ISO 8601 UTC with milliseconds."""
    if time_ns is None:
        return None
    second, rest_ns = divmod(time_ns, _NS_PER_S)
    return f"{_to_the_second(second)}.{rest_ns // _NS_PER_MS:03d}Z"


@lru_cache(_SECONDS_KEPT)
def _to_the_second(second: int) -> str:
    return (_EPOCH + dt.timedelta(seconds=second)).isoformat(timespec="seconds")


def digest_of(identity: Identity, confirmation: Confirmation) -> str:
    """SHA-256 over the document without its own digest: it covers the previous one, so the chain is tamper-evident."""
    document = fields(identity, confirmation)
    document.pop("hash")
    return hashlib.sha256(encode(document)).hexdigest()


def encode(document: dict[str, Any]) -> bytes:
    """The one byte form of a document."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def fields(identity: Identity, confirmation: Confirmation) -> dict[str, Any]:
    """The document as a mapping, in its fixed order."""
    job, offset_ns = confirmation.job, confirmation.utc_offset_ns
    last_ns = confirmation.last_event_ns
    day, _, shift = confirmation.shift.partition("/")
    return {
        "schema_version": SCHEMA_VERSION,
        "confirmation_id": confirmation.message_id,
        "idempotency_key": confirmation.key,
        "gateway_id": identity.gateway_id,
        "plant": identity.plant,
        "line": identity.line,
        "work_center": identity.work_center,
        "machine": identity.machine,
        # What the ERP calls it: a child is posted to the order that it was split from.
        "order_id": job.erp_order or job.order,
        "order_revision": job.revision,
        "shop_order": job.leader or (job.order if job.erp_order else None),
        "operation": job.operation,
        "sequence": job.sequence,
        "seq": confirmation.seq,
        "type": confirmation.kind.value,
        "reverses": confirmation.reverses or None,
        "origin": str(confirmation.origin),
        "trigger": confirmation.trigger,
        "period": {
            "from": utc(confirmation.period_from_ns + offset_ns),
            "to": utc(confirmation.period_to_ns + offset_ns),
        },
        "qty": _made(confirmation),
        "qty_cumulative": _quantities(
            confirmation.total_good,
            confirmation.total_scrap,
            confirmation.total_rework,
            confirmation.total_test,
            confirmation.total_hold,
        ),
        "uom": job.uom,
        "product": {"id": job.product, "revision": job.product_revision},
        **work_fields(confirmation.work),
        "shift": shift or None,
        "production_day": day or None,
        **_judged(confirmation),
        "tool": confirmation.tool or None,
        "cycles": confirmation.cycles,
        "estimated": _estimated(confirmation),
        "coverage": coverage_of(confirmation.work),
        "data_quality_flags": list(confirmation.flags),
        "event_time_last": utc(None if last_ns is None else last_ns + offset_ns),
        "created_at": utc(confirmation.created_ns + offset_ns),
        "echo": dict(job.echo),
        # Entity and id of its entry in the audit trail: its number there is given in the commit.
        "audit_ref": f"confirmation/{confirmation.key}" if confirmation.by else None,
        "prev_hash": confirmation.previous_digest,
        "hash": confirmation.digest,
    }


def _made(one: Confirmation) -> dict[str, Any]:
    return _quantities(one.good, one.scrap, one.rework, one.test, one.hold, one.scrap_reasons)


def _estimated(one: Confirmation) -> dict[str, Any]:
    """Pieces without a time of their own, and their share of all that is told, "0" to "1", never rounded down.

    A correction may leave fewer pieces than were estimated: the share is 1 at most.
    """
    estimated, told = abs(one.estimated_pieces), sum(map(abs, (one.good, one.scrap, one.rework, one.test, one.hold)))
    share = Decimal(1)
    if estimated < told:
        share = (Decimal(estimated) / told).quantize(SHARE_STEP, ROUND_CEILING)
    return {
        "any": estimated > 0,
        "pieces": str(one.estimated_pieces),
        "share": f"{share.normalize():f}" if estimated else "0",
    }


def _judged(confirmation: Confirmation) -> dict[str, Any]:
    """When it counts, against what it was held, and whose word it was."""
    return {
        "posting_date": confirmation.posting_date or None,
        "event_day": confirmation.event_day or None,
        "clear_reservations": confirmation.clear_reservations,
        "over_target": confirmation.over_target,
        "needs_approval": confirmation.needs_approval,
        "entered_by": confirmation.by or None,
        "reason": confirmation.reason or None,
    }


def _quantities(
    good: int, scrap: int, rework: int, test: int, hold: int, named: tuple[tuple[str, int], ...] = ()
) -> dict[str, Any]:
    reasons: list[dict[str, Any]] = [{"reason": reason, "qty": str(pieces)} for reason, pieces in named if pieces]
    unnamed = scrap - sum(pieces for _, pieces in named)
    if unnamed:
        reasons.append({"reason": None, "qty": str(unnamed)})
    return {"good": str(good), "scrap": reasons, "rework": str(rework), "test": str(test), "hold": str(hold)}
