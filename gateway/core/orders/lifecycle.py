"""The life of an operation: which state may follow which, who may cause it and how, what it asks and what it entails.

A table and the decisions on it. It asks no guard (``guards.py`` does) and carries out no effect.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.access.roles import ActorRole
from gateway.core.model import JobOrderState
from gateway.core.orders.guards import START_GUARDS, Guard

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ILLEGAL_TRANSITION",
    "ILLEGAL_TRIGGER",
    "INITIAL",
    "ROLE_NOT_ALLOWED",
    "RUNNING",
    "TERMINAL",
    "TRANSITIONS",
    "ActorRole",
    "Allowed",
    "Cause",
    "Effect",
    "OperationLife",
    "Refused",
    "S",
    "Transition",
    "Trigger",
    "decide",
    "following",
    "moved",
    "order_state",
]

S = JobOrderState


class Trigger(enum.StrEnum):
    """What asks for a change of state."""

    ERP_MESSAGE = "ERP message"  # an image of the order: released, in its dispatch list, held, closed, cancelled
    COMMAND = "command"  # a person says so: screen, command line, API
    SCAN = "scan"
    JOB_TAG = "job tag"  # the PLC names the job
    MACHINE_SIGNAL = "machine signal"  # tool, mode or state
    AUTO_ADVANCE = "auto-advance"
    SETUP_END = "setup end rule"  # such as cycles that were seen
    RUSH_ORDER = "rush order"
    SHIFT_END = "shift end policy"
    TARGET_REACHED = "target reached"
    FINAL_ACKNOWLEDGED = "final confirmation acknowledged"


class Effect(enum.StrEnum):
    """What must happen together with a change of state."""

    ORDER_RECEIVED = "ORDER_RECEIVED"
    ACK = "ACK"
    SNAPSHOT_HASH = "SNAPSHOT_HASH"
    QUEUE_POSITION = "QUEUE_POSITION"
    LEAVE_QUEUE = "LEAVE_QUEUE"
    PUBLISH = "PUBLISH"
    STOP_PREVIOUS = "STOP_PREVIOUS"  # per the rule ``when_running``
    FORCED_READ = "FORCED_READ"  # of the counters: the boundary of attribution
    SETUP_STARTED = "SETUP_STARTED"
    RESETUP_STARTED = "RESETUP_STARTED"  # inside of the order: no new run, its time is setup time
    SETUP_FINISHED = "SETUP_FINISHED"
    FIRST_GOOD_PART = "FIRST_GOOD_PART"
    OPERATION_STARTED = "OPERATION_STARTED"
    OPERATION_INTERRUPTED = "OPERATION_INTERRUPTED"  # with a reason
    OPERATION_RESUMED = "OPERATION_RESUMED"
    OPERATION_COMPLETED = "OPERATION_COMPLETED"
    PARTIAL_CONFIRMATION = "PARTIAL_CONFIRMATION"
    FINAL_CONFIRMATION = "FINAL_CONFIRMATION"
    HOLD_SET = "HOLD_SET"
    QUARANTINE = "QUARANTINE"  # the machine is not stopped: what it makes from now on is set apart
    HOLD_RELEASED = "HOLD_RELEASED"
    REOPENED = "REOPENED"
    REVERSE_FINAL = "REVERSE_FINAL"
    RETENTION_STARTS = "RETENTION_STARTS"
    CANCEL_ACCEPTED = "CANCEL_ACCEPTED"  # with the quantity that was made
    CHILDREN_CREATED = "CHILDREN_CREATED"
    JOINED_LEADER = "JOINED_LEADER"


class Cause(NamedTuple):
    """A trigger, and whose it may be."""

    trigger: Trigger
    roles: tuple[ActorRole, ...]


class Transition(NamedTuple):
    """One row of the table. ``state_from`` None: the order is new here."""

    state_from: JobOrderState | None
    state_to: JobOrderState
    causes: tuple[Cause, ...]
    guards: tuple[Guard, ...] = ()
    effects: tuple[Effect, ...] = ()


class Allowed(NamedTuple):
    """The change may happen once its guards are met; then its effects are due, in this order."""

    effects: tuple[Effect, ...]
    guards: tuple[Guard, ...]


class Refused(NamedTuple):
    """The change may not happen. ``allowed`` says what may: states, triggers or roles, by the code."""

    code: str
    text: str
    allowed: tuple[str, ...]


class OperationLife(NamedTuple):
    """Where an operation is in its life; ``held_from`` is where a hold returns it to (None unless ON_HOLD)."""

    state: JobOrderState | None = None
    held_from: JobOrderState | None = None


ILLEGAL_TRANSITION: Final = "ILLEGAL_TRANSITION"
ILLEGAL_TRIGGER: Final = "ILLEGAL_TRIGGER"
ROLE_NOT_ALLOWED: Final = "ROLE_NOT_ALLOWED"

INITIAL: Final = (S.PLANNED, S.RELEASED)
TERMINAL: Final = (S.CLOSED, S.CANCELLED, S.SPLIT, S.MERGED)
RUNNING: Final = frozenset({S.SETUP, S.IN_PROGRESS})

_R = ActorRole
_T = Trigger
_E = Effect
_AT_MACHINE: Final = (_R.OPERATOR, _R.SETTER, _R.SUPERVISOR)
_OFFICE: Final = (_R.SUPERVISOR, _R.PLANNER)
_ERP: Final = Cause(_T.ERP_MESSAGE, (_R.PLANNER,))
_BY_HAND: Final = (Cause(_T.COMMAND, _AT_MACHINE), Cause(_T.SCAN, _AT_MACHINE))
_BY_OFFICE: Final = (_ERP, Cause(_T.COMMAND, _OFFICE))


def _itself(*triggers: Trigger) -> tuple[Cause, ...]:
    return tuple(Cause(trigger, (_R.SERVICE,)) for trigger in triggers)


def _rows(
    froms: Iterable[JobOrderState | None],
    tos: Iterable[JobOrderState],
    causes: tuple[Cause, ...],
    guards: tuple[Guard, ...] = (),
    effects: tuple[Effect, ...] = (),
) -> list[Transition]:
    return [Transition(one, other, causes, guards, effects) for one in froms for other in tos]


_START = (*_BY_HAND, *_itself(_T.JOB_TAG, _T.AUTO_ADVANCE))
_STARTING = (_E.STOP_PREVIOUS, _E.FORCED_READ)
_INTERRUPT = (
    *_BY_HAND,
    Cause(_T.RUSH_ORDER, (_R.SUPERVISOR, _R.PLANNER, _R.SERVICE)),
    *_itself(_T.JOB_TAG, _T.SHIFT_END, _T.AUTO_ADVANCE),
)
_HOLD = (_ERP, Cause(_T.COMMAND, (_R.QUALITY, _R.SUPERVISOR)))
_COMPLETE = (_ERP, *_BY_HAND, *_itself(_T.TARGET_REACHED))
_STANDING = (S.RELEASED, S.DISPATCHED, S.INTERRUPTED, S.COMPLETED)
_HOLDABLE = (*_STANDING, S.SETUP, S.IN_PROGRESS)
_STARTED = (S.SETUP, S.IN_PROGRESS, S.INTERRUPTED, S.ON_HOLD)
_DIVISIBLE = (S.RELEASED, S.DISPATCHED, S.INTERRUPTED, S.ON_HOLD)
_SETTLED = (_E.FORCED_READ, _E.PARTIAL_CONFIRMATION)  # what was made so far; an empty confirmation is not sent
_INTERRUPTED = (*_SETTLED, _E.OPERATION_INTERRUPTED)

TRANSITIONS: Final[tuple[Transition, ...]] = (
    *_rows([None], [S.PLANNED], (_ERP,), (Guard.IMAGE_VALID,), (_E.ORDER_RECEIVED, _E.ACK)),
    # A supervisor's RELEASED is a child of a split or the leader of a merge.
    *_rows([None], [S.RELEASED], _BY_OFFICE, (Guard.IMAGE_VALID,), (_E.ORDER_RECEIVED, _E.SNAPSHOT_HASH, _E.ACK)),
    *_rows([S.PLANNED], [S.RELEASED], (_ERP,), (Guard.SNAPSHOT_COMPLETE,), (_E.SNAPSHOT_HASH,)),
    *_rows(
        [S.RELEASED],
        [S.DISPATCHED],
        _BY_OFFICE,
        (Guard.MACHINE_ALLOWED, Guard.NOT_CANCELLED),
        (_E.QUEUE_POSITION, _E.PUBLISH),
    ),
    *_rows([S.DISPATCHED], [S.RELEASED], _BY_OFFICE, (Guard.NOT_STARTED,), (_E.LEAVE_QUEUE,)),
    *_rows([S.DISPATCHED], [S.SETUP], _START, START_GUARDS, (*_STARTING, _E.SETUP_STARTED)),
    *_rows(
        [S.DISPATCHED],
        [S.IN_PROGRESS],
        _START,
        START_GUARDS,
        (*_STARTING, _E.OPERATION_STARTED),
    ),
    *_rows(
        [S.SETUP],
        [S.IN_PROGRESS],
        (Cause(_T.COMMAND, _AT_MACHINE), *_itself(_T.SETUP_END)),
        # G4 again: a changeover may begin with the wrong tool, but not end with it.
        (Guard.FIRST_ARTICLE, Guard.G4),
        (_E.SETUP_FINISHED, _E.FIRST_GOOD_PART),
    ),
    *_rows([S.SETUP, S.IN_PROGRESS], [S.INTERRUPTED], _INTERRUPT, (), _INTERRUPTED),
    *_rows([S.INTERRUPTED], [S.SETUP, S.IN_PROGRESS], _START, START_GUARDS, (*_STARTING, _E.OPERATION_RESUMED)),
    *_rows(
        [S.IN_PROGRESS],
        [S.SETUP],
        (Cause(_T.COMMAND, _AT_MACHINE), *_itself(_T.MACHINE_SIGNAL)),
        (),
        (_E.RESETUP_STARTED,),
    ),
    *_rows(_STANDING, [S.ON_HOLD], _HOLD, (), (_E.HOLD_SET,)),
    *_rows(
        [S.SETUP, S.IN_PROGRESS],
        [S.ON_HOLD],
        _HOLD,
        (),
        (_E.FORCED_READ, _E.PARTIAL_CONFIRMATION, _E.HOLD_SET, _E.QUARANTINE),
    ),
    *_rows([S.ON_HOLD], _STANDING, _HOLD, (Guard.SIGNATURE,), (_E.HOLD_RELEASED,)),
    *_rows([S.ON_HOLD], [S.SETUP, S.IN_PROGRESS], _HOLD, (Guard.SIGNATURE,), (_E.FORCED_READ, _E.HOLD_RELEASED)),
    *_rows(
        [S.IN_PROGRESS, S.INTERRUPTED],
        [S.COMPLETED],
        _COMPLETE,
        (Guard.DISPOSITIONS, Guard.LOTS_COMPLETE, Guard.DURATION),
        (_E.FORCED_READ, _E.FINAL_CONFIRMATION, _E.OPERATION_COMPLETED),
    ),
    *_rows(
        [S.COMPLETED],
        [S.IN_PROGRESS],
        (_ERP, Cause(_T.COMMAND, (_R.SUPERVISOR,))),
        (Guard.NOT_CLOSED,),
        (_E.REOPENED, _E.REVERSE_FINAL),
    ),
    *_rows(
        [S.COMPLETED],
        [S.CLOSED],
        (_ERP, *_itself(_T.FINAL_ACKNOWLEDGED)),
        (Guard.ALL_BOOKED,),
        (_E.RETENTION_STARTS,),
    ),
    *_rows([S.PLANNED, S.RELEASED, S.DISPATCHED], [S.CANCELLED], (_ERP,), (), (_E.LEAVE_QUEUE, _E.ACK)),
    *_rows(
        _STARTED,
        [S.CANCELLED],
        (_ERP,),
        (Guard.CANCEL_POLICY,),
        (*_SETTLED, _E.CANCEL_ACCEPTED),
    ),
    *_rows(_DIVISIBLE, [S.SPLIT], _BY_OFFICE, (Guard.REMAINING_DIVIDED,), (*_SETTLED, _E.CHILDREN_CREATED)),
    *_rows(_DIVISIBLE, [S.MERGED], _BY_OFFICE, (Guard.SAME_PRODUCT,), (*_SETTLED, _E.JOINED_LEADER)),
)

_BY_PAIR: Final = {(row.state_from, row.state_to): row for row in TRANSITIONS}


def following(state: JobOrderState | None, held_from: JobOrderState | None = None) -> tuple[JobOrderState, ...]:
    """The states that may follow.

    ON_HOLD goes on to ``held_from`` or to an end; out of a held COMPLETED there is no other end, because its final
    confirmation is out. Where nobody knows ``held_from`` (None), only the ends are left.
    """
    after = tuple(row.state_to for row in TRANSITIONS if row.state_from is state)
    if state is not S.ON_HOLD:
        return after
    if held_from is S.COMPLETED:
        return (S.COMPLETED,)
    return tuple(to for to in after if to not in _HOLDABLE or to is held_from)


def decide(
    state_from: JobOrderState | None,
    state_to: JobOrderState,
    trigger: Trigger,
    role: ActorRole,
    held_from: JobOrderState | None = None,
) -> Allowed | Refused:
    """Whether an operation may change its state so, by this trigger of this role.

    ``held_from`` is the state that a hold began in: an operation ON_HOLD returns to it and to no other. Codes:
    ILLEGAL_TRANSITION (never allowed), ILLEGAL_TRIGGER (not so), ROLE_NOT_ALLOWED (not by this one).
    """
    name = f"{state_from or 'a new order'} to {state_to}"
    allowed = following(state_from, held_from)
    if state_from in TERMINAL:
        return Refused(ILLEGAL_TRANSITION, f"{name} is not allowed: {state_from} is an end; release a new order", ())
    if state_to not in allowed:
        why = f": it was held in {held_from or 'an unknown state'}" if state_from is S.ON_HOLD else ""
        text = f"{name} is not allowed{why}; allowed from here: {', '.join(allowed)}"
        return Refused(ILLEGAL_TRANSITION, text, allowed)
    row = _BY_PAIR[state_from, state_to]
    roles = next((cause.roles for cause in row.causes if cause.trigger is trigger), None)
    if roles is None:
        triggers = tuple(cause.trigger.value for cause in row.causes)
        text = f"{name} is not allowed by {trigger}; allowed: {', '.join(triggers)}"
        return Refused(ILLEGAL_TRIGGER, text, triggers)
    if role not in roles:
        names = tuple(one.value for one in roles)
        text = f"{name} by {trigger} is not allowed for {role}; allowed: {', '.join(names)}; ask one of them"
        return Refused(ROLE_NOT_ALLOWED, text, names)
    return Allowed(row.effects, row.guards)


def moved(life: OperationLife, state_to: JobOrderState) -> OperationLife:
    """The life after a change that was decided: a hold remembers where it began."""
    return OperationLife(state_to, life.state if state_to is S.ON_HOLD else None)


_PROGRESS: Final = (S.PLANNED, S.RELEASED, S.DISPATCHED, S.SETUP, S.IN_PROGRESS, S.COMPLETED, S.CLOSED)


def order_state(operations: Iterable[JobOrderState]) -> JobOrderState:
    """The state of an order, from those of its operations. Raises ValueError without any.

    Before the first has started it is as far as the furthest (maximum); once all are complete, as far as the last
    (minimum). Between, whatever moves goes before what stands: IN_PROGRESS, SETUP (while nothing was made yet),
    ON_HOLD, INTERRUPTED. Operations that were cancelled, split or merged say nothing while there are others.
    """
    states = set(operations)
    if not states:
        raise ValueError("found no operation, allowed: one or more")
    alive = states - {S.CANCELLED, S.SPLIT, S.MERGED}
    if not alive:
        return next(state for state in (S.SPLIT, S.MERGED, S.CANCELLED) if state in states)
    if alive <= {S.COMPLETED, S.CLOSED}:
        return min(alive, key=_PROGRESS.index)
    if alive <= {S.PLANNED, S.RELEASED, S.DISPATCHED}:
        return max(alive, key=_PROGRESS.index)
    made = bool(alive & {S.INTERRUPTED, S.COMPLETED, S.CLOSED})
    if S.IN_PROGRESS in alive or (S.SETUP in alive and made):
        return S.IN_PROGRESS
    waiting = (S.SETUP, S.ON_HOLD, S.INTERRUPTED)
    # What is left has complete operations and others that have not begun: the order is under way.
    return next((state for state in waiting if state in alive), S.IN_PROGRESS)
