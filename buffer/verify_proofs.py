"""Checks of contents against what proves them: rows of the journal, and what the audit trail says of confirmations.

A row of the journal is held against the checksum that was kept with it. A confirmation in the outbox is held against
the hash that the audit trail names, of one that a person caused and of one under which somebody put a signature. What
the trail says is itself proven by its chain. Rows and postings that are there and have nothing to be held against, and
postings that went by their age, are no defect; their number is said.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer.journal import checksum_of
from gateway.core.audit.entry import SystemAction
from gateway.core.audit.signature import from_text
from gateway.core.document import encode

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping

    from buffer.verify_found import Found

JOURNAL_CONTENTS: Final = "journal contents"
#: What a signed decision on a posting shows of the confirmation.
_SHOWN: Final = ("idempotency_key", "type", "qty")
#: As ``gateway.core.audit.rows`` tells a confirmation.
_TOLD_HASH: Final = re.compile(r"SHA-256 ([0-9a-f]{64})\Z")
#: Names as bytes: one that is no text any more must be found at its row, not end the walk.
_ROWS: Final = """
    SELECT CAST(work_unit AS BLOB), seq, at_ns, CAST(kind AS BLOB), body, checksum FROM journal ORDER BY work_unit, seq
"""
#: What a person caused, by the entry that tells it; what was signed, by the entry before the signature.
_CONFIRMED: Final = "SELECT seq, entity_id, new FROM audit_entry WHERE action = ? ORDER BY seq"
_SIGNED: Final = """
    SELECT one.seq, of.new, one.new FROM audit_entry AS one JOIN audit_entry AS of ON of.seq = one.seq - 1
    WHERE one.action = ? ORDER BY one.seq
"""
_POSTINGS: Final = """
    SELECT id, target, payload FROM outbox
    WHERE target IN (SELECT DISTINCT target FROM outbox_tally) AND key = ? ORDER BY id
"""


class _Said(NamedTuple):
    """What an entry says of a confirmation: who says so, its key, its hash, and what else is shown of it."""

    by: str
    key: str
    digest: str
    shown: Mapping[str, Any]


def _journal(connection: sqlite3.Connection, found: Found) -> None:
    without = 0
    for unit, seq, at_ns, kind, body, checksum in connection.execute(_ROWS):
        if checksum is None:
            without += 1
            continue
        found.looked_at += 1
        if checksum_of(unit, seq, at_ns, kind, body) != checksum:
            name, what = unit.decode("utf-8", "replace"), kind.decode("utf-8", "replace")
            found.defect(f"{name}: number {seq} ({what}) does not say what was written: its checksum is another one")
    if without:
        found.note(f"{without} rows are from before rows had a checksum: nothing proves their contents")


def _confirmations(connection: sqlite3.Connection, found: Found) -> None:
    gone = 0
    for said in _told(connection):
        postings = connection.execute(_POSTINGS, (said.key,)).fetchall()
        gone += not postings
        for number, target, payload in postings:
            found.looked_at += 1
            why = _difference(said, payload)
            if why:
                found.defect(f"id {number}: {said.key} for {target} was changed after it was {said.by}: {why}")
    if gone:
        found.note(f"{gone} that the trail names are not in the outbox (any more)")


def _told(connection: sqlite3.Connection) -> Iterator[_Said]:
    for seq, key, new in connection.execute(_CONFIRMED, (SystemAction.CONFIRMED.value,)):
        match = _TOLD_HASH.search(new or "")
        if match is not None:
            yield _Said(f"told to the audit trail (entry {seq})", key, match[1], {})
    for seq, record, signature in connection.execute(_SIGNED, (SystemAction.SIGNED.value,)):
        try:
            read = json.loads(record or "")
        except ValueError:  # another thing than a confirmation
            continue
        if isinstance(read, dict) and isinstance(read.get("hash"), str) and "idempotency_key" in read:
            shown = {name: read[name] for name in _SHOWN if name in read}
            by = f"signed by {_signer(signature or '')} (entry {seq})"
            yield _Said(by, str(read["idempotency_key"]), read["hash"], shown)


def _signer(signature: str) -> str:
    try:
        return from_text(signature).signer
    except ValueError:  # the check of the trail names it
        return "?"


def _difference(said: _Said, payload: bytes) -> str:
    try:
        document = json.loads(payload)
    except ValueError as error:
        return f"its content is no JSON: {error}"
    if not isinstance(document, dict):
        return "its content is no document"
    for name, value in said.shown.items():
        if document.get(name) != value:
            return f"{name} is {document.get(name)!r}, it was {value!r}"
    document.pop("hash", None)
    digest = hashlib.sha256(encode(document)).hexdigest()
    return "" if digest == said.digest else f"its hash is {digest}, it was {said.digest}"


CHECKS: Final[Mapping[str, Callable[[sqlite3.Connection, Found], None]]] = {
    JOURNAL_CONTENTS: _journal,
    "confirmations in the audit trail": _confirmations,
}
