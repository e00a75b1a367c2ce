"""Which passphrases were wrong how often in a row, and until when no further one is looked at: kept over restarts.

Each wrong one is durable together with its entry in the audit trail, before anybody is told that it was wrong: a
gateway that is started anew does not let anybody guess from the beginning. Whoever is given another passphrase begins
anew. Checks no passphrase, and keeps none: a few bits of the hash of its hash tell one from another.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from gateway.core.access import lockout

if TYPE_CHECKING:
    from gateway.audit.auditing import Auditing
    from gateway.core.audit.told import Actor, Told

#: Bytes of a hash that tell a user's passphrase from the one before: as many as a whole number of the database has.
_BYTES: Final = 7


class Missed:
    """Of all users of one gateway."""

    def __init__(self, auditing: Auditing) -> None:
        self._auditing = auditing
        self._known: dict[str, tuple[int, lockout.Lockout]] = {}

    async def of(self, user: str, kept: str) -> lockout.Lockout:
        """How it stands with the passphrase of which this is kept. Raises StoreError."""
        if user not in self._known:
            which, failures, until_ns = [await self._auditing.mark(one) for one in _marks(user)]
            self._known[user] = which, lockout.Lockout(failures, until_ns)
        which, found = self._known[user]
        return found if which == _which(kept) else lockout.Lockout()

    async def keep(self, user: str, kept: str, found: lockout.Lockout, *told: tuple[Told, Actor]) -> None:
        """How it stands now, durable together with these entries. Raises StoreError."""
        which = _which(kept)
        if self._known.get(user) == (which, found) and not told:
            return
        numbers = dict(zip(_marks(user), (which, found.failures, found.until_ns), strict=True))
        await self._auditing.tell_marked(told, numbers)
        self._known[user] = which, found


def _marks(user: str) -> tuple[str, str, str]:
    """Names of what is kept; the name of a user has no space in it."""
    return f"passphrase of {user}", f"passphrase of {user} wrong", f"passphrase of {user} until"


def _which(kept: str) -> int:
    return int.from_bytes(hashlib.sha256(kept.encode()).digest()[:_BYTES], "big")
