"""Published anchors that a restored copy cannot have: which of them the database before proves. Reads only.

A chain that goes on from a copy has other entries behind the copy's last one than those that were published. Its entry
``restored`` (or ``database_older``) says so, and the database before is kept beside it: where its own chain is whole up
to such an anchor, nothing was taken out of the trail, it was put away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from buffer.audit_chain import ChainReader
from buffer.errors import StoreError
from buffer.readonly import reading
from gateway.core.audit.chain import Verified
from gateway.core.audit.entry import SystemAction

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from gateway.core.audit.chain import Anchor

_FIRST: Final = "SELECT min(seq) FROM audit_entry WHERE action IN (?, ?)"
_HASH: Final = "SELECT hash FROM audit_entry WHERE seq = ?"
_KEPT: Final = "SELECT DISTINCT set_aside FROM restored WHERE set_aside <> '' ORDER BY number DESC"


class Replaced(NamedTuple):
    """``entry``: the first that tells of a copy in the database's place, 0 where none does.

    ``present``: anchors that this chain must have. ``proven``: those that it cannot have, each with the name of the
    database that has it; ``unproven``: those that no database here has.
    """

    entry: int
    present: tuple[Anchor, ...]
    proven: tuple[tuple[Anchor, str], ...] = ()
    unproven: tuple[Anchor, ...] = ()


def sorted_out(database: Path, published: Sequence[Anchor]) -> Replaced:
    """Which anchors are this chain's, and which those of a database before. Raises StoreError."""
    with reading(database) as connection:
        entry = connection.execute(_FIRST, (SystemAction.RESTORED, SystemAction.DATABASE_OLDER)).fetchone()[0] or 0
        found = {one: connection.execute(_HASH, (one.seq,)).fetchone() for one in published}
        kept = [str(name) for (name,) in connection.execute(_KEPT)]
    foreign = [one for one in published if entry and one.seq >= entry and found[one] != (one.hash,)]
    proven: dict[Anchor, str] = {}
    for name in kept:
        left = [one for one in foreign if one not in proven]
        proven |= dict.fromkeys(_had(database.with_name(name), left), name)
    return Replaced(
        entry,
        tuple(one for one in published if one not in foreign),
        tuple((one, proven[one]) for one in foreign if one in proven),
        tuple(one for one in foreign if one not in proven),
    )


def _had(kept: Path, anchors: Sequence[Anchor]) -> Iterable[Anchor]:
    """Those that stand in this database, where its chain is whole."""
    try:
        with reading(kept) as connection:
            here = [one for one in anchors if connection.execute(_HASH, (one.seq,)).fetchone() == (one.hash,)]
        if not here:
            return ()
        with ChainReader.open(kept) as reader:
            return here if isinstance(reader.verify(here), Verified) else ()
    except (StoreError, ValueError):  # it is not there, damaged, or of another chain: it proves nothing
        return ()
