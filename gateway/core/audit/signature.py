"""Electronic signatures: what must be signed, by whom, and how a signature is bound to the one record it is about.

A signature names the signer, what it means, and when (21 CFR 11.50), and carries the hash of the record and of itself,
so that it fits no other record. That the signer is who he says, by two components (11.200), is the shell's work; this
module only refuses a signing that does not come with it. It stores nothing.
"""

from __future__ import annotations

import enum
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.access.permissions import Action, refusal
from gateway.core.access.roles import role_of
from gateway.core.audit.chain import Broken, Fault
from gateway.core.audit.entry import AuditEntryError, Change, EntryContent, SystemAction, checked
from gateway.core.foreign_text import clean, is_clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.audit.entry import AuditEntry

SIGNATURE_FORM: Final = 1
#: How long after his passphrase was checked a person may sign with it.
FRESH_NS: Final = 120 * 1_000_000_000
NAME_CHARS_MAX: Final = 64
ENTITY_CHARS_MAX: Final = 200


class Profile(enum.StrEnum):
    """How much is asked of a site: ``REGULATED`` is 21 CFR 11 and EU Annex 11."""

    STANDARD = "standard"
    REGULATED = "regulated"


class Meaning(enum.StrEnum):
    """What a signature says (11.50(a)(3))."""

    RELEASE = "I release this from its hold"
    APPROVAL = "I approve what is beyond the tolerance"
    POSTING = "I let this be posted, whatever its target warned of"
    RESPONSIBILITY = "I am responsible for this correction"


class Component(enum.StrEnum):
    """By what a person was recognised."""

    TOKEN = "token"  # noqa: S105 - the name of a component, not a token
    PASSPHRASE = "passphrase"  # noqa: S105 - the name of a component, not a passphrase


class Authentication(NamedTuple):
    """Who was recognised, as what, by what, and when the passphrase was checked."""

    user: str
    full_name: str
    role: str
    components: tuple[str, ...]
    at_ns: int


class Signature(NamedTuple):
    """``signer`` says ``meaning`` about the record whose hash is ``record_hash``; ``hash`` covers all the rest.

    ``at_ns`` is the gateway's steady time, ``utc_ns`` the date of it.
    """

    entity: str
    entity_id: str
    record_hash: str
    action: str
    meaning: str
    signer: str
    full_name: str
    role: str
    components: tuple[str, ...]
    at_ns: int
    utc_ns: int
    hash: str
    form: int = SIGNATURE_FORM


class SigningRefused(NamedTuple):
    """Nothing was signed. Codes: ROLE_NOT_ALLOWED, NOTHING_TO_SIGN, TWO_COMPONENTS, NOT_FRESH, INVALID."""

    code: str
    text: str


MEANINGS: Final[Mapping[Action, Meaning]] = {
    Action.RELEASE: Meaning.RELEASE,
    Action.APPROVE_OVER_TOLERANCE: Meaning.APPROVAL,
    Action.RELEASE_POSTING: Meaning.POSTING,
    Action.CORRECT_AFTER_FINAL: Meaning.RESPONSIBILITY,
}


def signature_required(action: Action, profile: Profile) -> Meaning | None:
    """What the signature for this action must mean, None where it needs none.

    In the standard profile a name and a reason are enough, but for a correction after the final confirmation.
    """
    if profile is Profile.STANDARD and action is not Action.CORRECT_AFTER_FINAL:
        return None
    return MEANINGS.get(action)


def record_hash(record: bytes) -> str:
    """The hash by which a signature names a record: SHA-256 of its one byte form."""
    return hashlib.sha256(record).hexdigest()


def sign(
    record: bytes, entity: str, entity_id: str, action: Action, by: Authentication, *, now_ns: int, utc_ns: int
) -> Signature | SigningRefused:
    """A signature under the record, for this action, by the person that was recognised just now."""
    refused = _refused(action, by, now_ns) or _unfit(entity, entity_id, by)
    if refused is not None:
        return refused
    bare = Signature(
        entity=entity,
        entity_id=entity_id,
        record_hash=record_hash(record),
        action=action.value,
        meaning=MEANINGS[action].value,
        signer=by.user,
        full_name=by.full_name,
        role=by.role,
        components=tuple(sorted(by.components)),
        at_ns=now_ns,
        utc_ns=utc_ns,
        hash="",
    )
    return bare._replace(hash=_hash_of(bare))


def fault_of(signature: Signature, record: bytes, action: Action) -> str:
    """What is wrong with this signature for that record and action, "" where nothing is."""
    if signature.form != SIGNATURE_FORM:
        return f"the signature is of form {signature.form}, this linegate knows {SIGNATURE_FORM}"
    if _hash_of(signature) != signature.hash:
        return "the signature was changed: its fields do not have its hash"
    if signature.record_hash != record_hash(record):
        return "the record was changed after it was signed, or the signature is another record's"
    wanted = MEANINGS.get(action)
    if wanted is None or signature.action != action.value or signature.meaning != wanted.value:
        return (
            f"it was signed for {clean(signature.action, 64)!a} with {clean(signature.meaning, 80)!a}, not for {action}"
        )
    return ""


def signed(signature: Signature, of: EntryContent) -> EntryContent:
    """The entry of the audit trail that keeps the signature, right behind the entry of what was signed (``of``).

    The record is the text ``new`` of that entry, so that it can be held against the signature for ever. Raises
    AuditEntryError where the two do not belong together.
    """
    wrong = _mismatch(signature, checked(of))
    if wrong:
        raise AuditEntryError(f"{of.action} of {of.entity} {of.entity_id}: {wrong}; sign this very record")
    return of._replace(
        action=SystemAction.SIGNED.value,
        change=Change.CREATE.value,
        role=signature.role,
        auth="+".join(signature.components),
        field="signature",
        old=None,
        new=to_text(signature),
        outcome="done",
        detail=signature.meaning,
    )


def fault_behind(before: AuditEntry | None, entry: AuditEntry) -> Broken | None:
    """What is wrong with an entry that is a signature: it must be one of the entry right before it. For ``verify``."""
    if entry.content.action != SystemAction.SIGNED:
        return None
    wrong = _fault_after(before, entry)
    if not wrong:
        return None
    return Broken(entry.seq, Fault.NOT_SIGNED, f"entry {entry.seq} is no valid signature: {wrong}")


def to_text(signature: Signature) -> str:
    """The signature as JSON in one fixed order."""
    return json.dumps(signature._asdict(), ensure_ascii=False, separators=(",", ":"))


def from_text(text: str) -> Signature:
    """The signature of ``to_text``. Raises ValueError."""
    try:
        return of_mapping(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"signature: found {clean(text, 80)!a}, allowed: what to_text made ({error})") from error


def of_mapping(found: Mapping[str, Any]) -> Signature:
    """The signature of ``_asdict`` that went through JSON. Raises TypeError, KeyError."""
    return Signature(**{**found, "components": tuple(found["components"])})


def _fault_after(before: AuditEntry | None, entry: AuditEntry) -> str:
    if before is None:
        return "there is no entry before it, which it should be about"
    try:
        return _mismatch(from_text(entry.content.new or ""), before.content)
    except ValueError as error:
        return str(error)


def _mismatch(signature: Signature, of: EntryContent) -> str:
    """Why the signature is not one of that entry, "" where it is."""
    try:
        wrong = fault_of(signature, (of.new or "").encode(), Action(of.action))
    except ValueError as error:  # no action of a person
        return str(error)
    if wrong:
        return wrong
    for name, found, wanted in (
        ("signer", signature.signer, of.user),
        ("entity", signature.entity, of.entity),
        ("entity_id", signature.entity_id, of.entity_id),
    ):
        if found != wanted:
            return f"its {name} is {clean(found, 64)!a}, that of the entry {clean(wanted, 64)!a}"
    return ""


def _hash_of(signature: Signature) -> str:
    document = signature._asdict()
    document.pop("hash")
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _refused(action: Action, by: Authentication, now_ns: int) -> SigningRefused | None:
    if action not in MEANINGS:
        allowed = ", ".join(MEANINGS)
        return SigningRefused("NOTHING_TO_SIGN", f"{action} is not signed; allowed: {allowed}")
    try:
        not_permitted = refusal(role_of(by.role), action)
    except ValueError as error:
        return SigningRefused("INVALID", str(error))
    if not_permitted is not None:
        return SigningRefused(not_permitted.code, not_permitted.text)
    missing = sorted(component.value for component in Component if component.value not in by.components)
    if missing:
        text = f"found {', '.join(by.components) or 'nothing'}, missing: {', '.join(missing)}; enter your passphrase"
        return SigningRefused("TWO_COMPONENTS", clean(text, 200))
    age_ns = now_ns - by.at_ns
    if not 0 <= age_ns <= FRESH_NS:
        text = f"the passphrase was checked {age_ns // 1_000_000_000} s ago, allowed: {FRESH_NS // 1_000_000_000} s"
        return SigningRefused("NOT_FRESH", f"{text}; enter it again")
    return None


def _unfit(entity: str, entity_id: str, by: Authentication) -> SigningRefused | None:
    for name, text, limit in (
        ("entity", entity, ENTITY_CHARS_MAX),
        ("entity_id", entity_id, ENTITY_CHARS_MAX),
        ("user", by.user, NAME_CHARS_MAX),
        ("full_name", by.full_name, NAME_CHARS_MAX),
    ):
        if not text.strip() or len(text) > limit or not is_clean(text):
            shown = clean(ascii(text), 80)
            return SigningRefused("INVALID", f"{name}: found {shown}, allowed: 1 to {limit} printable characters")
    return None
