"""Which role may do what, what asks for a reason, and what may be signed for: one table and the decision on it.

A permission is about the person. Whether the order's state lets it happen is decided by ``orders/lifecycle.py``, and
both must agree. It knows no user: who has which role is the shell's business.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from gateway.core.orders.lifecycle import ROLE_NOT_ALLOWED, ActorRole


class Action(enum.StrEnum):
    """What a person or a program may ask for. The names are written into the audit trail and never change."""

    SEE = "see"
    SEE_AUDIT = "see_audit"
    DISPATCH = "dispatch"  # into the queue, out of it, its sequence
    START = "start"  # also resume
    FINISH_SETUP = "finish_setup"
    SETUP_AGAIN = "setup_again"
    INTERRUPT = "interrupt"
    FINISH = "finish"
    CONFIRM = "confirm"  # a partial confirmation now
    SCRAP = "scrap"  # declares good pieces as scrap
    REWORK = "rework"
    NAME_STOP = "name_stop"  # also split and merge of stops
    LOG_ON = "log_on"  # who works at the machine
    MOUNT_LOT = "mount_lot"
    ISSUE_MATERIAL = "issue_material"
    TELL_MATERIAL = "tell_material"  # that an order's material is there, or is not
    ACKNOWLEDGE = "acknowledge"  # documents, time without data
    INSPECT = "inspect"  # the verdict of an inspection
    ALLOCATE = "allocate"  # pieces of no order
    UNDO = "undo"  # the last action of one's own
    SPLIT = "split"
    MERGE = "merge"
    HOLD = "hold"
    RELEASE = "release"
    APPROVE_FIRST_ARTICLE = "approve_first_article"
    APPROVE_OVER_TOLERANCE = "approve_over_tolerance"
    RELEASE_POSTING = "release_posting"  # before its window is over, or although its target warns
    REOPEN = "reopen"
    CORRECT = "correct"  # what is recorded or confirmed
    CORRECT_AFTER_FINAL = "correct_after_final"
    RESOLVE_POSTING = "resolve_posting"  # send again, give up
    WRITE_SIGNAL = "write_signal"
    TEST_ALERTS = "test_alerts"  # a message that says it is a test


class Permission(NamedTuple):
    """One row of the table. ``reason``: it changes what is recorded, and is not done without saying why."""

    roles: tuple[ActorRole, ...]
    reason: bool = False


class NotPermitted(NamedTuple):
    """The role may not do that; ``allowed`` are those that may."""

    role: ActorRole
    action: Action
    allowed: tuple[ActorRole, ...]

    @property
    def code(self) -> str:
        """The code that a refused transition has, too."""
        return ROLE_NOT_ALLOWED

    @property
    def text(self) -> str:
        """Role, action, who may, what to do."""
        names = ", ".join(role.value for role in self.allowed)
        return f"{self.action} is not allowed for {self.role}; allowed: {names}; ask one of them"


_R = ActorRole
_AT_MACHINE: Final = (_R.OPERATOR, _R.SETTER, _R.SUPERVISOR)
_ON_PIECES: Final = (*_AT_MACHINE, _R.QUALITY)
_OFFICE: Final = (_R.SUPERVISOR, _R.PLANNER)
_JUDGES: Final = (_R.SUPERVISOR, _R.QUALITY)
_PERSONS: Final = (*_AT_MACHINE, _R.QUALITY, _R.PLANNER)

PERMISSIONS: Final[dict[Action, Permission]] = {
    Action.SEE: Permission(tuple(ActorRole)),
    Action.SEE_AUDIT: Permission(_JUDGES),
    Action.DISPATCH: Permission(_OFFICE),
    Action.START: Permission(_AT_MACHINE),
    Action.FINISH_SETUP: Permission(_AT_MACHINE),
    Action.SETUP_AGAIN: Permission(_AT_MACHINE),
    Action.INTERRUPT: Permission(_AT_MACHINE),
    Action.FINISH: Permission(_AT_MACHINE),
    Action.CONFIRM: Permission(_AT_MACHINE),
    Action.SCRAP: Permission(_ON_PIECES, reason=True),
    Action.REWORK: Permission(_ON_PIECES, reason=True),
    Action.NAME_STOP: Permission(_AT_MACHINE, reason=True),
    Action.LOG_ON: Permission(_AT_MACHINE),
    Action.MOUNT_LOT: Permission(_AT_MACHINE),
    Action.ISSUE_MATERIAL: Permission(_AT_MACHINE),
    Action.TELL_MATERIAL: Permission((*_AT_MACHINE, _R.PLANNER)),
    Action.ACKNOWLEDGE: Permission(_ON_PIECES),
    Action.INSPECT: Permission(_JUDGES),
    Action.ALLOCATE: Permission((*_AT_MACHINE, _R.PLANNER), reason=True),
    Action.UNDO: Permission(_PERSONS),
    Action.SPLIT: Permission(_OFFICE),
    Action.MERGE: Permission(_OFFICE),
    Action.HOLD: Permission(_JUDGES, reason=True),
    Action.RELEASE: Permission(_JUDGES, reason=True),
    Action.APPROVE_FIRST_ARTICLE: Permission(_JUDGES),
    Action.APPROVE_OVER_TOLERANCE: Permission(_OFFICE, reason=True),
    Action.RELEASE_POSTING: Permission(_OFFICE, reason=True),
    Action.REOPEN: Permission((_R.SUPERVISOR,), reason=True),
    Action.CORRECT: Permission(_JUDGES, reason=True),
    Action.CORRECT_AFTER_FINAL: Permission(_JUDGES, reason=True),
    Action.RESOLVE_POSTING: Permission(_OFFICE, reason=True),
    Action.WRITE_SIGNAL: Permission((_R.SETTER, _R.SUPERVISOR, _R.SERVICE), reason=True),
    Action.TEST_ALERTS: Permission((_R.SUPERVISOR, _R.SERVICE)),
}

#: Names of actions that are never done without a reason.
NEEDS_REASON: Final = frozenset(action.value for action, row in PERMISSIONS.items() if row.reason)


def refusal(role: ActorRole, action: Action) -> NotPermitted | None:
    """Why this role may not do that; None: it may."""
    allowed = PERMISSIONS[action].roles
    return None if role in allowed else NotPermitted(role, action, allowed)


def permitted(role: ActorRole) -> tuple[Action, ...]:
    """All that this role may do, for a screen that shows no button that would be refused."""
    return tuple(action for action, row in PERMISSIONS.items() if role in row.roles)
