"""What one step of a work unit leaves behind, to be committed in one transaction. Plain data, no behaviour."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from buffer.replays import TakenKey
    from gateway.core.audit.entry import EntryContent
    from gateway.core.document import Identity
    from gateway.core.entries import LotNamed
    from gateway.core.model import JobRecord
    from gateway.core.orders.erp_notice import ErpNotice
    from gateway.core.orders.order_answer import OperationAnswer
    from gateway.core.work.genealogy import GenealogyLink
    from gateway.core.work.produced_lots import SerialRecord


class JournalRow(NamedTuple):
    """One recorded input or output of a work unit.

    ``seq`` counts from 1 without a gap per work unit; ``kind`` names what ``body`` is.
    """

    seq: int
    at_ns: int
    kind: str
    body: bytes


class NewPosting(NamedTuple):
    """A confirmation on its way to one target. ``payload`` is the canonical document; key and payload never change.

    ``state`` is one of those that a posting begins in: ready, held, needs_approval, parked (a person books it by hand)
    or voided; ``note`` says why. It is not sent before ``due_ns`` (None: at once). ``event_ns`` and ``derived_ns`` are
    those of its last piece, None without any. ``lane_order``: the order as the ERP knows it, "" where it is this one;
    what has it in common, and the operation, is sent one after the other.
    """

    target: str
    key: str
    message_id: str
    order: str
    operation: str
    seq: int
    kind: str
    payload: bytes
    created_ns: int
    state: str = "ready"
    due_ns: int | None = None
    event_ns: int | None = None
    derived_ns: int | None = None
    note: str = ""
    lane_order: str = ""


class Step(NamedTuple):
    """The new state of a work unit with everything that follows from it: all of it is kept, or nothing.

    ``last_time_ns`` is the highest time the step has seen: the steady clock starts above it after a restart. ``voids``
    are keys of postings that must not be sent any more: where one of them is under way meanwhile, nothing is kept.
    ``answers`` are told to their targets once all operations of the order have one, ``notices`` at once; ``identity``
    is who speaks.
    ``keys``: the Idempotency-Keys of the decisions in it. ``links``, ``serials`` and ``lots`` (named
    later) are what it says of genealogy.
    """

    work_unit: str
    snapshot: bytes
    last_time_ns: int
    rows: tuple[JournalRow, ...] = ()
    postings: tuple[NewPosting, ...] = ()
    jobs: tuple[JobRecord, ...] = ()
    voids: tuple[str, ...] = ()
    answers: tuple[OperationAnswer, ...] = ()
    notices: tuple[ErpNotice, ...] = ()
    identity: Identity | None = None
    audit: tuple[EntryContent, ...] = ()
    links: tuple[GenealogyLink, ...] = ()
    serials: tuple[SerialRecord, ...] = ()
    lots: tuple[LotNamed, ...] = ()
    keys: tuple[TakenKey, ...] = ()
