"""How long a record is kept: a decision over its class, when it was closed, whether it is settled, and now.

Never purged: the audit trail, what is still open, and what the ERP has not acknowledged. Deletes nothing.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from gateway.core.rules_confirming import RetentionRule


class RecordClass(enum.StrEnum):
    """What kind of record it is; the value is the key of its age in the rule, but for the audit trail."""

    RAW_JOURNAL = "raw_journal"
    CYCLE = "cycles"
    STATE = "states"
    NOTICE = "notices"
    ORDER = "orders"
    CONFIRMATION = "confirmations"
    REPORT = "reports"
    AUDIT = "audit"


#: What goes before its age where the disk is full, in this order; nothing else does.
THINNED_FIRST: Final = (RecordClass.RAW_JOURNAL, RecordClass.CYCLE)


#: What each kind of journal row is kept as.
CLASS_OF_KIND: Final = {
    # What single signals gave.
    "count": RecordClass.RAW_JOURNAL,
    "state": RecordClass.RAW_JOURNAL,
    # What was booked of it.
    "pieces": RecordClass.CYCLE,
    "unknown": RecordClass.CYCLE,
    "interval": RecordClass.STATE,
    "stop_reason": RecordClass.STATE,
    "reclassified": RecordClass.STATE,
    "reason_required": RecordClass.STATE,
    "setup_started": RecordClass.STATE,
    "setup_ended": RecordClass.STATE,
    "setup": RecordClass.STATE,
    "setup_overrun": RecordClass.STATE,
    "transition": RecordClass.STATE,
    "notice": RecordClass.NOTICE,
}


def class_of(kind: str) -> RecordClass:
    """What a kind of journal row is kept as; what is not named belongs to its order."""
    return CLASS_OF_KIND.get(kind, RecordClass.ORDER)


class Retained(NamedTuple):
    """A record, or a bundle of records of one class that closes together.

    ``closed_ns`` None: it is open. ``confirmed``: the ERP has acknowledged all that follows from it; True for what the
    ERP is not told of.
    """

    record_class: RecordClass
    closed_ns: int | None
    confirmed: bool


class Kept(enum.StrEnum):
    """Why a record stays."""

    NEVER_PURGED = "audit trail"
    OPEN = "open"
    UNCONFIRMED = "not acknowledged by the ERP"
    TOO_YOUNG = "not old enough"


class Purge(NamedTuple):
    """``kept`` None: it may be deleted. ``until_ns``: when that may be asked again; None: not by time alone."""

    kept: Kept | None
    until_ns: int | None = None

    @property
    def allowed(self) -> bool:
        """Whether it may be deleted."""
        return self.kept is None


def decide(rule: RetentionRule, record: Retained, now_ns: int, *, disk_full: bool = False) -> Purge:
    """Whether a record may be deleted now. ``disk_full``: what is thinned first goes before its age.

    Times on one axis, nanoseconds. A time that went back deletes nothing.
    """
    if record.record_class is RecordClass.AUDIT:
        return Purge(Kept.NEVER_PURGED)
    if record.closed_ns is None:
        return Purge(Kept.OPEN)
    if not record.confirmed:
        return Purge(Kept.UNCONFIRMED)
    until_ns = record.closed_ns + getattr(rule, record.record_class.value)
    if now_ns >= until_ns or (disk_full and record.record_class in THINNED_FIRST and now_ns >= record.closed_ns):
        return Purge(None)
    return Purge(Kept.TOO_YOUNG, until_ns)


def cutoff_ns(rule: RetentionRule, record_class: RecordClass, now_ns: int, unconfirmed_ns: int | None = None) -> int:
    """What was closed before this time may be deleted: ``decide`` for many records at once.

    ``unconfirmed_ns``: when the oldest thing began that is open or not acknowledged, None where there is none; what is
    not older stays. Raises ValueError for the audit trail.
    """
    if record_class is RecordClass.AUDIT:
        raise ValueError("the audit trail is never purged")
    old_ns = now_ns - int(getattr(rule, record_class.value)) + 1
    return old_ns if unconfirmed_ns is None else min(old_ns, unconfirmed_ns)
