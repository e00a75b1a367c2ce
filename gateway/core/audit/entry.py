"""One entry of the audit trail: who did what to which record, when and why, and its one byte form for ever.

Checks and bounds what is to be written down. It does not link entries (``chain.py``), and does not judge who may act
(``core/access``).
"""

from __future__ import annotations

import enum
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.access.permissions import NEEDS_REASON
from gateway.core.calendar.honest_time import TimeQuality
from gateway.core.foreign_text import clean, is_clean

if TYPE_CHECKING:
    from collections.abc import Mapping

FORM: Final = 1
VALUE_CHARS_MAX: Final = 4000  # old and new; of a longer one the beginning, its length and its hash are kept
TIME_NS_MAX: Final = 2**63 - 1
UTC_OFFSET_S_MAX: Final = 18 * 3600

#: Characters that each text may have.
CHARS_MAX: Final[Mapping[str, int]] = {
    "time_zone": 64,
    "user": 64,
    "role": 32,
    "auth": 64,
    "client": 128,
    "action": 64,
    "entity": 64,
    "entity_id": 200,
    "field": 100,
    "outcome": 32,
    "detail": 1000,
    "reason_code": 64,
    "reason_text": 500,
    "order": 64,
    "config_version": 80,
    "sw_version": 40,
}
_REQUIRED: Final = ("user", "role", "action", "entity", "outcome")
#: Made once: a long trail is written so again, entry by entry, to verify it.
_WRITTEN: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


class AuditEntryError(ValueError):
    """Such an entry is not written down; says which field, what was found and what is allowed."""


class Change(enum.StrEnum):
    """What an action did to records. A modification or a deletion is never without a reason."""

    EVENT = "event"  # something was done or refused; no record that stood before is different
    CREATE = "create"
    MODIFY = "modify"
    DELETE = "delete"


class SystemAction(enum.StrEnum):
    """What is written down besides the actions of persons (``access.permissions.Action``). The names never change."""

    GATEWAY_STARTED = "gateway_started"
    GATEWAY_STOPPED = "gateway_stopped"
    CONFIG_CHANGED = "config_changed"
    CLOCK_STEPPED = "clock_stepped"
    ORDER_RECEIVED = "order_received"
    STATE_CHANGED = "state_changed"
    CONFIRMED = "confirmed"
    ACCESS_REFUSED = "access_refused"
    USER_ADDED = "user_added"
    USER_ROLES_CHANGED = "user_roles_changed"
    USER_REVOKED = "user_revoked"
    TOKEN_ISSUED = "token_issued"  # noqa: S105 - the name of an action, not a token
    TOKEN_REVOKED = "token_revoked"  # noqa: S105 - the name of an action, not a token
    PASSPHRASE_SET = "passphrase_set"  # noqa: S105 - the name of an action, not a passphrase
    SIGNED = "signed"
    USERS_REPLACED = "users_replaced"
    EXPORTED = "exported"
    VERIFIED = "verified"
    TRAIL_DOUBTED = "trail_doubted"  # the running gateway found something wrong with the trail itself
    SERVER_TRUSTED = "server_trusted"  # the certificate of a source's server
    PURGED = "purged"
    DATABASE_SET_ASIDE = "database_set_aside"
    DATABASE_OLDER = "database_older"
    DAY_CLOSED = "day_closed"
    RESTORED = "restored"
    BACKED_UP = "backed_up"


class EntryContent(NamedTuple):
    """What an entry tells, before it has its place in the chain.

    ``at_ns`` is the gateway's steady time, ``utc_ns`` the date of it, ``time_quality`` what that date is worth
    (``TimeQuality``), ``utc_offset_s`` and ``time_zone`` the plant's wall clock then. ``user`` is a person's own name
    or "gateway"; ``auth`` how he was recognised; ``client`` from where. ``old`` None: there was nothing, or nobody
    knows. ``outcome`` is "done", "refused" or how else it ended. Lengths: ``CHARS_MAX``.
    """

    at_ns: int
    utc_ns: int
    time_quality: int
    utc_offset_s: int
    time_zone: str
    user: str
    role: str
    auth: str
    client: str
    action: str
    change: str
    entity: str
    entity_id: str = ""
    field: str = ""
    old: str | None = None
    new: str | None = None
    outcome: str = "done"
    detail: str = ""
    reason_code: str = ""
    reason_text: str = ""
    order: str = ""
    config_version: str = ""
    sw_version: str = ""


class AuditEntry(NamedTuple):
    """An entry in its place: ``seq`` counts from 1, ``hash`` covers all of it and ``prev_hash``."""

    seq: int
    content: EntryContent
    prev_hash: str
    hash: str
    form: int = FORM


def checked(content: EntryContent) -> EntryContent:
    """The content as it can be kept for ever.

    Texts that come from outside (detail, reason, old, new) are made safe to store; values that are too long keep their
    beginning, their length and their hash. Raises AuditEntryError for everything else that is out of range, and where
    the reason is missing.
    """
    for name, limit in CHARS_MAX.items():
        _check_text(name, getattr(content, name), limit)
    _check_numbers(content)
    if not _NAME.fullmatch(content.action):
        raise AuditEntryError(
            f"action: found {clean(repr(content.action), 80)}, allowed: a-z, 0-9 and _, a letter first"
        )
    if content.change not in tuple(Change):
        allowed = ", ".join(Change)
        raise AuditEntryError(f"change: found {clean(repr(content.change), 80)}, allowed: {allowed}")
    _check_reason(content)
    return content._replace(
        old=_value(content.old),
        new=_value(content.new),
        detail=clean(content.detail, CHARS_MAX["detail"]),
        reason_text=clean(content.reason_text, CHARS_MAX["reason_text"]).strip(),
    )


def reason_required(action: str, change: str) -> bool:
    """Whether it must be said why: recorded data change, or the action is one that always has a reason."""
    return change in (Change.MODIFY, Change.DELETE) or action in NEEDS_REASON


def canonical(entry: AuditEntry) -> bytes:
    """All that the hash covers, but the hash before it: JSON in one fixed order. Raises ValueError for another form."""
    if entry.form != FORM:
        raise ValueError(f"form: found {entry.form}, this linegate knows {FORM}; install a newer one")
    document = {"form": entry.form, "seq": entry.seq, **entry.content._asdict()}
    return _WRITTEN.encode(document).encode()


def as_mapping(entry: AuditEntry) -> dict[str, Any]:
    """All fields in one flat mapping, in the order of ``canonical``, then ``prev_hash`` and ``hash``."""
    values = (entry.form, entry.seq, *entry.content, entry.prev_hash, entry.hash)
    return dict(zip(_ALL, values, strict=True))


def of_mapping(found: Mapping[str, Any]) -> AuditEntry:
    """The entry of ``as_mapping``. Raises ValueError where a field is missing, unknown, or of a wrong type."""
    missing = [name for name in _ALL if name not in found]
    unknown = [name for name in found if name not in _ALL]
    if missing or unknown:
        shown = clean(", ".join(map(str, (missing or unknown)[:5])), 200)
        raise ValueError(f"fields {'missing' if missing else 'unknown'}: {shown}; is it an entry of form {FORM}?")
    for name in _ALL:
        value = found[name]
        allowed: type | tuple[type, ...] = int if name in _INTEGERS else str
        # True is an int to Python, and would be written as another text.
        if isinstance(value, bool) or not (isinstance(value, allowed) or (value is None and name in _NULLABLE)):
            raise ValueError(f"{name}: found {clean(repr(value), 80)}, allowed: {allowed!r}")
    content = EntryContent(**{name: found[name] for name in EntryContent._fields})
    return AuditEntry(found["seq"], content, found["prev_hash"], found["hash"], found["form"])


_ALL: Final = ("form", "seq", *EntryContent._fields, "prev_hash", "hash")
_INTEGERS: Final = frozenset({"form", "seq", "at_ns", "utc_ns", "time_quality", "utc_offset_s"})
_NULLABLE: Final = frozenset({"old", "new"})


def _check_text(name: str, text: str, limit: int) -> None:
    if not isinstance(text, str):
        raise AuditEntryError(f"{name}: found {clean(repr(text), 80)}, allowed: a text")
    if len(text) > limit:
        raise AuditEntryError(f"{name}: found {len(text)} characters, allowed: up to {limit}; say it shorter")
    if name in _REQUIRED and not text.strip():
        raise AuditEntryError(f"{name}: found nothing, allowed: 1 to {limit} characters")
    if name not in ("detail", "reason_text") and not is_clean(text):
        shown = clean(ascii(text), 80)
        raise AuditEntryError(f"{name}: found {shown}, allowed: a text without control characters")


def _check_numbers(content: EntryContent) -> None:
    qualities = [quality.value for quality in TimeQuality]
    for name, lowest, highest in (
        ("at_ns", 0, TIME_NS_MAX),
        ("utc_ns", 0, TIME_NS_MAX),
        ("time_quality", qualities[0], qualities[-1]),
        ("utc_offset_s", -UTC_OFFSET_S_MAX, UTC_OFFSET_S_MAX),
    ):
        value = getattr(content, name)
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            shown = clean(repr(value), 80)
            raise AuditEntryError(f"{name}: found {shown}, allowed: a whole number from {lowest} to {highest}")


def _check_reason(content: EntryContent) -> None:
    # What was refused changed nothing, and may have been refused for want of a reason.
    if content.outcome == "refused" or not reason_required(content.action, content.change):
        return
    if not content.reason_code.strip() and not content.reason_text.strip():
        place = f"{content.action} of {content.entity} {content.entity_id}".strip()
        raise AuditEntryError(f"{place}: found no reason, allowed: a reason code or a text; say why")


def _value(text: str | None) -> str | None:
    if text is None:
        return None
    kept = "\n".join(clean(line, len(line)) for line in text.split("\n"))
    if len(kept) <= VALUE_CHARS_MAX:
        return kept
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    mark = f"\u2026 ({len(text)} characters, SHA-256 {digest})"
    return kept[: VALUE_CHARS_MAX - len(mark)] + mark
