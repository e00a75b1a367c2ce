"""Who asks for what is being done right now: set where a request comes in, read where what it does is committed.

Between the two lie verbs that need not know of it. It grants nothing and recognises nobody.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from buffer.replays import TakenKey
    from gateway.core.audit.told import Actor


class Caller:
    """One request. ``told``: the audit trail has an entry of what became of it."""

    __slots__ = ("actor", "told")

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.told = False


#: The Idempotency-Key of the request, which is kept in the step of its decision; None where there is none.
TAKEN: Final[ContextVar[TakenKey | None]] = ContextVar("TAKEN", default=None)
#: Of the task that handles a request, and of those that it starts.
CALLER: Final[ContextVar[Caller | None]] = ContextVar("CALLER", default=None)
