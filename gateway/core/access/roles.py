"""The roles in which persons and programs act: what each is, and how a text becomes one. Says not what they may do."""

from __future__ import annotations

import enum
from typing import Final

from gateway.core.foreign_text import clean


class ActorRole(enum.StrEnum):
    """Who asks. ``PLANNER`` is the planner and the ERP that speaks for him; ``SERVICE`` the gateway and its PLCs."""

    OPERATOR = "operator"
    SETTER = "setter"
    SUPERVISOR = "supervisor"
    QUALITY = "quality"
    PLANNER = "planner"
    SERVICE = "service"


MEANINGS: Final = {
    ActorRole.OPERATOR: "runs the machine",
    ActorRole.SETTER: "sets the machine up",
    ActorRole.SUPERVISOR: "answers for the shift",
    ActorRole.QUALITY: "judges what was made",
    ActorRole.PLANNER: "plans the orders; an ERP speaks for him",
    ActorRole.SERVICE: "the gateway itself, or a program beside it",
}


def role_of(text: str) -> ActorRole:
    """The role of that name. Raises ValueError with what is allowed."""
    try:
        return ActorRole(text)
    except ValueError:
        allowed = ", ".join(role.value for role in ActorRole)
        raise ValueError(f"role: found {clean(repr(text), 80)}, allowed: {allowed}") from None
