"""A confirmation: the claim on the ERP (ISA-95 job response). Plain data: neither when one is made nor its bytes."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gateway.core.job_order import JobOrder
    from gateway.core.work.run_work import ConfirmedWork


class ConfirmationKind(enum.StrEnum):
    """Partial while the operation goes on, final once; a reversal takes one back."""

    PARTIAL = "partial"
    FINAL = "final"
    REVERSAL = "reversal"


class Confirmation(NamedTuple):
    """The claim on the ERP: what was made for a job order since its last confirmation (ISA-95 job response).

    ``key`` is ``{plant}/{epoch}/{order}/{operation}/{seq}``, ``message_id`` its UUIDv5; both never change. Quantities
    are deltas; ``total_*`` are cumulated. Times are steady; UTC is ``utc_offset_ns`` more. ``shift`` is production day
    and shift in which the period ended, "" outside. ``digest`` is the SHA-256 of the content, with ``previous_digest``.
    ``scrap_reasons``: scrap by reason, the rest has none. ``work``: times,
    material, lots and people, None where nobody tells. ``reverses``: the key of what a reversal takes back; its
    quantities are below 0. ``by`` and ``reason``: whose word caused it. ``kept_back``: the milestone operation whose
    confirmation makes the ERP confirm this one, so that it is not sent. ``release_ns``: it is not sent before.
    ``derived_ns``: when its last piece was counted; ``last_event_ns`` is when that was made. ``delivery``: how far it
    is on its way from the start, "" as the other facts say. ``tool``: what the machine said was on it when the period
    ended, "" where nobody says.
    """

    key: str
    message_id: str
    kind: ConfirmationKind
    trigger: str
    job: JobOrder
    seq: int
    period_from_ns: int
    period_to_ns: int
    good: int
    scrap: int
    rework: int
    total_good: int
    total_scrap: int
    total_rework: int
    cycles: int
    estimated_pieces: int
    flags: tuple[str, ...]
    last_event_ns: int | None
    created_ns: int
    previous_digest: str
    digest: str
    hold: int = 0
    test: int = 0
    total_hold: int = 0
    total_test: int = 0
    utc_offset_ns: int = 0
    shift: str = ""
    work: ConfirmedWork | None = None
    scrap_reasons: tuple[tuple[str, int], ...] = ()
    origin: str = "auto"
    reverses: str = ""
    posting_date: str = ""
    event_day: str = ""
    by: str = ""
    reason: str = ""
    over_target: bool = False
    needs_approval: bool = False
    clear_reservations: bool = False
    kept_back: str = ""
    release_ns: int = 0
    derived_ns: int | None = None
    delivery: str = ""
    tool: str = ""


class Voided(NamedTuple):
    """A confirmation is not to be sent any more: something else takes its place. ``by`` and ``reason``: whose word."""

    at_ns: int
    key: str
    by: str
    reason: str
