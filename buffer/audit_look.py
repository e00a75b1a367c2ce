"""A look at the audit trail beside the gateway that writes it: its triggers, its end, and anchors that it must have.

The whole chain is ``linegate audit verify``'s; here only what a running gateway can afford again and again. What lies
before ``TAIL_ENTRIES`` is held by the anchors. Reads only, and tells nobody.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Final

from buffer.audit_chain import ChainReader
from buffer.audit_guards import unguarded
from buffer.audit_replaced import sorted_out
from gateway.core.audit.chain import ANCHORS_MAX, Broken, anchor_from, anchor_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from gateway.core.audit.chain import Anchor

#: Entries at the end that are verified one by one: some 0.3 s on two cores of 2020.
TAIL_ENTRIES: Final = 10_000
_FEW: Final = 5


def doubts(database: Path, lines: Iterable[str] = ()) -> tuple[str, ...]:
    """What is wrong with the trail, in words; () where nothing is found.

    ``lines``: anchors as they were kept elsewhere, of this chain and of others; the newest ``ANCHORS_MAX`` count. The
    beginning of one that was written whole behind it, or is still to be, is what a power cut or a full disk leaves.
    Raises StoreError where it cannot be read.
    """
    found = [str(one) for one in unguarded(database)]
    if any(text.endswith("the table is missing") for text in found):
        return tuple(found)
    with ChainReader.open(database) as reader:
        kept = reader.anchors(ANCHORS_MAX)
        elsewhere, wrong = _anchors(list(lines), reader.chain, kept)
        before = sorted_out(database, elsewhere)
        head = reader.head()
        broken = reader.verify_end(TAIL_ENTRIES)
        found += wrong
        found += [broken.why] if isinstance(broken, Broken) else []
        for place, anchors in (("", kept), (" of the anchor file", before.present)):
            missing = [one for one in anchors if not reader.has(one)]
            cut = [one for one in missing if one.seq > head.seq]
            if cut:
                text = f"the trail ends with {head.seq}, but there was an entry {max(one.seq for one in cut)}"
                found.append(f"{text}{_by(place, cut)}: entries were cut off")
            if other := [one for one in missing if one.seq <= head.seq]:
                numbers = ", ".join(str(one.seq) for one in sorted(other)[:_FEW])
                found.append(f"entries {numbers} are not those that were anchored{_by(place, other)}: made anew")
        if before.unproven:
            names = ", ".join(str(one.seq) for one in sorted(before.unproven)[:_FEW])
            found.append(f"entries {names} of the anchor file are in no database here: it was replaced by another")
    return tuple(found)


def anchor_lines(database: Path) -> list[str]:
    """The anchors that are kept of this chain as lines, the oldest first. Raises StoreError."""
    with ChainReader.open(database) as reader:
        return [anchor_text(one) for one in reversed(reader.anchors(ANCHORS_MAX))]


def _by(place: str, anchors: list[Anchor]) -> str:
    return f" ({len(anchors)} anchors{place} say so)" if len(anchors) > 1 else f" (an anchor{place} says so)"


def _anchors(lines: Sequence[str], chain: str, kept: Iterable[Anchor]) -> tuple[list[Anchor], list[str]]:
    """Those of this chain, and what is wrong with lines that are none and the beginning of none."""
    found: list[Anchor] = []
    none: dict[int, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            anchor = anchor_from(line)
        except ValueError:
            none[number] = line.strip()
            continue
        if anchor.chain == chain:
            found.append(anchor)
    whole = sorted({*map(anchor_text, kept), *lines}) if none else []
    wrong = [
        f"line {number} of the anchor file is no anchor"
        for number, text in none.items()
        if not _behind(whole, text).startswith(text)
    ]
    return found[-ANCHORS_MAX:], wrong[:_FEW]


def _behind(whole: Sequence[str], text: str) -> str:
    """The first one behind a text in order: that text is its beginning, or the beginning of none of them."""
    at = bisect.bisect_right(whole, text)
    return whole[at] if at < len(whole) else ""
