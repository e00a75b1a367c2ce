"""A posting of the outbox as others see it: its states, what is known of it, and what may follow upon what. No I/O."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.confirming.stamps import Stamps, queued

if TYPE_CHECKING:
    from collections.abc import Sequence


class OutboxState(enum.StrEnum):
    """Where a posting stands. What is not ``OVER`` blocks its lane, but for what is accepted and ``passed``."""

    NEEDS_APPROVAL = "needs_approval"  # beyond a tolerance: a person approves it first
    HELD = "held"  # waits for the end of its window, in which it may still be replaced
    READY = "ready"  # may be sent
    SENDING = "sending"  # committed before the first byte leaves; after a crash it is uncertain
    ACCEPTED = "accepted"  # taken over by the target, not yet booked there
    POSTED = "posted"  # booked
    DELIVERED = "delivered"  # taken over by a target that can never be asked whether it booked it
    UNCERTAIN = "uncertain"  # may or may not be booked: look up before any repeat
    RETRY_WAIT = "retry_wait"  # surely not booked: again when due
    PARKED = "parked"  # waits for a person
    SUPERSEDED = "superseded"  # a person decided that it is not to be posted
    VOIDED = "voided"  # replaced before it was sent, or the ERP confirms it by itself


#: It is settled for ever.
OVER: Final = frozenset({OutboxState.POSTED, OutboxState.DELIVERED, OutboxState.SUPERSEDED, OutboxState.VOIDED})
#: The same in SQL, in the words of the partial indexes.
OVER_SQL: Final = "('posted', 'delivered', 'superseded', 'voided')"
#: The target has it, for all that it can say.
THERE: Final = frozenset({OutboxState.POSTED, OutboxState.DELIVERED})
OPEN_STATES: Final = tuple(state for state in OutboxState if state not in OVER)
#: Every index of the outbox begins with the target: who asks for an order or a key of any target says it so, and the
#: outbox is not read from one end to the other.
ANY_TARGET: Final = "target IN (SELECT DISTINCT target FROM outbox_tally)"

#: From which states a settlement may lead to the state.
SETTLED_FROM: Final[dict[OutboxState, tuple[OutboxState, ...]]] = {
    OutboxState.POSTED: (OutboxState.SENDING, OutboxState.UNCERTAIN, OutboxState.ACCEPTED),
    OutboxState.DELIVERED: (OutboxState.SENDING, OutboxState.UNCERTAIN, OutboxState.ACCEPTED),
    OutboxState.ACCEPTED: (OutboxState.SENDING, OutboxState.UNCERTAIN, OutboxState.ACCEPTED),
    # Not only after a send: what its target says before a first send may be missing.
    OutboxState.RETRY_WAIT: (OutboxState.SENDING, OutboxState.READY, OutboxState.HELD, OutboxState.RETRY_WAIT),
    OutboxState.UNCERTAIN: (OutboxState.SENDING, OutboxState.UNCERTAIN),
    OutboxState.READY: (OutboxState.UNCERTAIN,),
    OutboxState.PARKED: (
        OutboxState.NEEDS_APPROVAL,
        OutboxState.HELD,
        OutboxState.READY,
        OutboxState.SENDING,
        OutboxState.RETRY_WAIT,
        OutboxState.UNCERTAIN,
        OutboxState.ACCEPTED,
    ),
}
SENT_FROM: Final = (OutboxState.READY, OutboxState.HELD, OutboxState.RETRY_WAIT)
APPROVED_FROM: Final = (OutboxState.NEEDS_APPROVAL,)
#: A person lets it go: before the end of its window, or although the target warns of it.
RELEASED_FROM: Final = (OutboxState.HELD, OutboxState.PARKED)
#: Nothing of it is at the target, nor will be once it is made void.
VOIDED_FROM: Final = (OutboxState.NEEDS_APPROVAL, OutboxState.HELD, OutboxState.READY, OutboxState.PARKED)
LOOKED_UP_FROM: Final = (OutboxState.UNCERTAIN, OutboxState.ACCEPTED)
RETRIED_FROM: Final = (OutboxState.PARKED, OutboxState.RETRY_WAIT)
#: Also what waits for a word after a restore and turns out to be booked, or what nobody wants to be booked.
SUPERSEDED_FROM: Final = (OutboxState.PARKED, OutboxState.NEEDS_APPROVAL)
#: A person knows better than the target's answers: it is booked there.
BOOKED_FROM: Final = (OutboxState.PARKED, OutboxState.UNCERTAIN, OutboxState.ACCEPTED)
#: Why a posting is booked although the target never said so: its ``error_kind`` then.
BY_PERSON: Final = "by_person"


class OutboxEntry(NamedTuple):
    """One posting. Times are nanoseconds UTC, None where it has not happened.

    ``body``, ``content_type`` and ``name`` are the exact message, None until it was fixed for the first send.
    ``unclear_ns`` is when the last send ended without a clear answer. ``error_count`` counts equal errors in a row,
    ``error_since_ns`` is the first of them. ``event_ns`` is when the last piece in it was made, ``derived_ns`` when
    that was counted. ``lane_order`` is the order as the ERP knows it, where that is another one.

    ``step`` of ``steps`` messages is due, from 0; ``body`` is that of step 0. ``attempts``, ``lookups`` and the errors
    are those of the posting and its step, ``attempts`` never begins anew. Up to ``left_step`` a message may have left
    before. ``released`` by a person, the step that is due; ``passed``: it is accepted, and the next one of its lane
    goes all the same.
    """

    id: int
    target: str
    key: str
    message_id: str
    order: str
    operation: str
    seq: int
    kind: str
    payload: bytes
    body: bytes | None
    content_type: str | None
    name: str | None
    state: OutboxState
    attempts: int
    lookups: int
    due_ns: int
    first_sent_ns: int | None
    last_sent_ns: int | None
    unclear_ns: int | None
    settled_ns: int | None
    reference: str
    error_kind: str
    error_code: str
    error_text: str
    error_since_ns: int | None
    error_count: int
    created_ns: int
    event_ns: int | None = None
    derived_ns: int | None = None
    lane_order: str = ""
    step: int = 0
    steps: int = 1
    left_step: int = 0
    released: int = 0
    passed: int = 0

    @property
    def stamps(self) -> Stamps:
        """Its five times; a posting without an event, or an older one, has the later ones only."""
        acked_ns = self.settled_ns if self.state in THERE else None
        return stamps_of(self.event_ns, self.derived_ns, self.created_ns, self.last_sent_ns, acked_ns)

    @property
    def lane(self) -> tuple[str, str]:
        """Order as the ERP knows it, and operation: one posting at a time, in sequence."""
        return (self.lane_order or self.order, self.operation)


def stamps_of(
    event_ns: int | None, derived_ns: int | None, created_ns: int, sent_ns: int | None, acked_ns: int | None
) -> Stamps:
    """The five times of a row. What was stored as derived after it was queued was derived with it."""
    if event_ns is None or derived_ns is None:
        made = Stamps(None, None, created_ns)
    else:
        made = queued(event_ns, min(derived_ns, created_ns), created_ns)
    return made._replace(t_sent_ns=sent_ns, t_acked_ns=acked_ns)


COLUMNS: Final = ", ".join("order_id" if name == "order" else name for name in OutboxEntry._fields)
_STATE_AT: Final = OutboxEntry._fields.index("state")


def entry_of(row: Sequence[Any]) -> OutboxEntry:
    """The entry of a row that was selected by ``COLUMNS``."""
    return OutboxEntry._make((*row[:_STATE_AT], OutboxState(row[_STATE_AT]), *row[_STATE_AT + 1 :]))


#: Of a posting that is booked: its material is not, and a person posts it. The confirmation stands all the same.
GOODS_ERROR: Final = "goods_movement_error"


class Settlement(NamedTuple):
    """What follows for a posting: its next state, when it is due again, and why.

    ``error_kind`` is empty where nothing is wrong; the same kind again counts on in ``error_count``.
    """

    state: OutboxState
    due_ns: int = 0
    reference: str = ""
    error_kind: str = ""
    error_code: str = ""
    error_text: str = ""


class OutboxCounts(NamedTuple):
    """How many confirmations are where, for one target; answers to orders and notices are counted apart.

    ``waiting``: all that are neither over nor parked (uncertain and accepted included). ``posted``
    and ``delivered`` count since the database exists, also what was pruned since; ``goods_errors`` of
    them were booked without their material. ``oldest_created_ns``: of the oldest
    posting that is not over yet, None if there is none.
    """

    waiting: int
    uncertain: int
    parked: int
    accepted: int
    posted: int
    oldest_created_ns: int | None
    held: int = 0
    needs_approval: int = 0
    goods_errors: int = 0
    answers_waiting: int = 0
    answers_parked: int = 0
    notices_waiting: int = 0
    notices_parked: int = 0
    delivered: int = 0
