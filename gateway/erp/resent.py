"""What the audit trail is told of postings that a person sends again, each with what it was. Sends nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access.caller import CALLER
from gateway.audit.auditing import ITSELF
from gateway.core.access.permissions import Action
from gateway.core.audit.entry import Change
from gateway.core.audit.told import Told, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buffer.entry import OutboxEntry
    from gateway.audit.auditing import Auditing
    from gateway.core.audit.entry import EntryContent


def resent(auditing: Auditing, entries: Sequence[OutboxEntry], reason: str) -> tuple[EntryContent, ...]:
    """The entries, to be kept in the transaction that makes them ready again."""
    caller = CALLER.get()
    actor = ITSELF if caller is None else caller.actor
    made: list[EntryContent] = []
    for one in entries:
        told = Told(
            Action.RESOLVE_POSTING.value,
            "confirmation",
            one.key,
            Change.MODIFY.value,
            field="state",
            old=plain({"state": one.state.value, "reference": one.reference or None}),
            new=plain({"state": "ready", "target": one.target}),
            detail="sent again: the target has lost it",
            order=one.order,
        )
        made += auditing.decision(told, actor, reason)
    return tuple(made)


def is_told() -> None:
    """The request has its entries: none is made for it behind."""
    caller = CALLER.get()
    if caller is not None:
        caller.told = True
