"""The chain of the audit trail: each entry carries the hash of the one before, so that a change of any is evident.

``hash`` is the SHA-256 of ``prev_hash`` (64 hexadecimal digits) followed by the canonical bytes of the entry. The first
entry follows a value made of the chain's name, so that the beginning of one chain is not the beginning of another.

A chain alone cannot tell that its end was cut off, or that somebody made all of it anew. That takes an ``Anchor``: the
hash of one entry, published each day where whoever could change the database cannot. Stores and publishes nothing.
"""

from __future__ import annotations

import enum
import hashlib
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.audit.entry import FORM, AuditEntry, EntryContent, canonical, checked
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CHAIN_CHARS_MAX: Final = 64
ANCHORS_MAX: Final = 10_000  # that one verification is held against: 27 years of days
_ANCHOR: Final = re.compile(r"linegate-audit/1/([a-z0-9-]{1,64})/([1-9][0-9]{0,17})/([0-9a-f]{64})")


class Fault(enum.StrEnum):
    """How a chain is broken."""

    CHANGED = "changed"  # the entry is not what its hash was made of
    MISSING = "missing"  # a number is left out
    OUT_OF_PLACE = "out of place"  # a number comes again, or too late
    NOT_LINKED = "not linked"  # it does not follow the entry before: one was put in, taken out or made anew
    CUT_OFF = "cut off"  # the chain ends before an anchor
    NOT_ANCHORED = "not anchored"  # the entry is another than the one that was published
    NOT_SIGNED = "not signed"  # a signature that is not the one of its record (``signature.py``)
    UNREADABLE = "unreadable"


class Head(NamedTuple):
    """The end of a chain: the number and the hash of its last entry."""

    seq: int
    hash: str


class Anchor(NamedTuple):
    """The hash of one entry as it was published outside."""

    chain: str
    seq: int
    hash: str


class Verified(NamedTuple):
    """Nothing is wrong with so many entries, up to ``head``; ``anchored`` is the highest number that is vouched for.

    Entries after ``anchored`` are consistent, but nobody outside could tell if the last of them were missing.
    """

    entries: int
    head: Head
    anchored: int = 0


class Broken(NamedTuple):
    """The first entry with which something is wrong: its number, how, and in words."""

    seq: int
    fault: Fault
    why: str


def genesis(chain: str) -> Head:
    """The beginning of the chain of that name (a-z, 0-9, "-"; at most 64). Raises ValueError."""
    if not re.fullmatch(r"[a-z0-9-]{1,64}", chain):
        raise ValueError(f"chain: found {clean(repr(chain), 80)}, allowed: 1 to {CHAIN_CHARS_MAX} of a-z, 0-9 and -")
    return Head(0, hashlib.sha256(f"linegate-audit/1/{chain}".encode()).hexdigest())


def linked(head: Head, content: EntryContent) -> AuditEntry:
    """The next entry of the chain. Raises AuditEntryError for content that must not be written down."""
    bare = AuditEntry(head.seq + 1, checked(content), head.hash, "")
    return bare._replace(hash=hash_of(bare))


def head_of(entry: AuditEntry) -> Head:
    """The chain's end, once this entry is in it."""
    return Head(entry.seq, entry.hash)


def hash_of(entry: AuditEntry) -> str:
    """What the hash of this entry must be. Raises ValueError for an entry of another form."""
    return hashlib.sha256(entry.prev_hash.encode() + canonical(entry)).hexdigest()


def fault_of(head: Head, entry: AuditEntry) -> Broken | None:
    """What is wrong with this entry as the next one after ``head``."""
    expected = head.seq + 1
    if entry.seq > expected:
        upto = f" to {entry.seq - 1}" if entry.seq - 1 > expected else ""
        return Broken(expected, Fault.MISSING, f"entry {expected}{upto} is missing: {entry.seq} follows {head.seq}")
    if entry.seq < expected:
        text = f"entry {entry.seq} comes after {head.seq}: it was put in, or moved"
        return Broken(entry.seq, Fault.OUT_OF_PLACE, text)
    if entry.form != FORM:
        text = f"entry {entry.seq} is of form {entry.form}, this linegate knows {FORM}; verify with a newer one"
        return Broken(entry.seq, Fault.UNREADABLE, text)
    if entry.prev_hash != head.hash:
        before = f"entry {head.seq}" if head.seq else "the beginning of this chain"
        text = (
            f"entry {entry.seq} does not follow {before}: it names {entry.prev_hash[:12]!a} as the hash before it,"
            f" found {head.hash[:12]!a}; one of the two was put in, taken out or made anew"
        )
        return Broken(entry.seq, Fault.NOT_LINKED, text)
    try:
        found = hash_of(entry)
    except (ValueError, TypeError) as error:  # half a character, or no text at all: we never wrote it
        return Broken(entry.seq, Fault.UNREADABLE, f"entry {entry.seq}: {clean(str(error), 200)}")
    if found != entry.hash:
        text = (
            f"entry {entry.seq} was changed: its fields have the hash {found[:12]!a}, its row says {entry.hash[:12]!a}"
        )
        return Broken(entry.seq, Fault.CHANGED, text)
    return None


def verify(
    start: Head,
    entries: Iterable[AuditEntry],
    anchors: Iterable[Anchor] = (),
    also: Callable[[AuditEntry | None, AuditEntry], Broken | None] | None = None,
) -> Verified | Broken:
    """Walk the entries after ``start`` once, in the order in which they come; memory does not grow with their number.

    ``start`` is ``genesis`` or a head that is known to be right. ``also`` is asked about each entry, with the one
    before it (None for the first): ``signature.fault_behind``. Raises ValueError for more than ``ANCHORS_MAX`` anchors.
    """
    expected = _expected(anchors)
    head, count, anchored = start, 0, 0
    before: AuditEntry | None = None
    if start.seq in expected and expected[start.seq] != {start.hash}:
        return _not_anchored(start)
    for entry in entries:
        broken = fault_of(head, entry) or (also(before, entry) if also is not None else None)
        if broken is not None:
            return broken
        head, count, before = head_of(entry), count + 1, entry
        published = expected.get(head.seq)
        if published is not None:
            if published != {head.hash}:
                return _not_anchored(head)
            anchored = head.seq
    last = max(expected, default=0)
    if last > head.seq:
        text = f"the chain ends with {head.seq}, but entry {last} was published: those after {head.seq} were cut off"
        return Broken(head.seq + 1, Fault.CUT_OFF, text)
    return Verified(count, head, anchored)


def anchor_of(chain: str, head: Head) -> Anchor:
    """What is to be published of a chain that has entries. Raises ValueError for one without."""
    genesis(chain)  # for its check of the name
    if head.seq < 1:
        raise ValueError("found no entry, allowed: a chain with one or more")
    return Anchor(chain, head.seq, head.hash)


def anchor_text(anchor: Anchor) -> str:
    """The anchor as one line: ``linegate-audit/1/CHAIN/NUMBER/HASH``."""
    return f"linegate-audit/1/{anchor.chain}/{anchor.seq}/{anchor.hash}"


def anchor_from(text: str) -> Anchor:
    """The anchor of ``anchor_text``. Raises ValueError."""
    found = _ANCHOR.fullmatch(text.strip())
    if found is None:
        shown = clean(repr(text), 120)
        raise ValueError(f"anchor: found {shown}, allowed: linegate-audit/1/CHAIN/NUMBER/HASH, as it was published")
    return Anchor(found[1], int(found[2]), found[3])


def _expected(anchors: Iterable[Anchor]) -> dict[int, set[str]]:
    """Hashes by number. Two that contradict each other fit no chain, and are found at that number."""
    expected: dict[int, set[str]] = {}
    for number, anchor in enumerate(anchors, 1):
        if number > ANCHORS_MAX:
            raise ValueError(f"anchors: found more than {ANCHORS_MAX}; verify against fewer of them")
        expected.setdefault(anchor.seq, set()).add(anchor.hash)
    return expected


def _not_anchored(head: Head) -> Broken:
    text = f"entry {head.seq} is not the one that was published: the chain was made anew, or the anchor is another's"
    return Broken(head.seq, Fault.NOT_ANCHORED, text)
