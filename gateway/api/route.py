"""One row of the table of the API: what a verb is asked by, and of whom. Knows no path and runs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.api.fields import Field
    from gateway.core.access.permissions import Action


class Route(NamedTuple):
    """One row.

    ``actions`` are those of which the role must have one; where it depends on the body, ``action_of`` says which.
    No action: anybody may ask, without a token. ``answer``: the name of its schema in ``answers.py``.
    """

    verb: str
    method: str
    path: str
    actions: tuple[Action, ...]
    answer: str
    summary: str
    params: tuple[Field, ...] = ()
    query: tuple[Field, ...] = ()
    body: tuple[Field, ...] = ()
    action_of: Callable[[Mapping[str, Any]], Action] | None = None
    may_be_missing: bool = False  # what the path or the query names
    waits: bool = False  # it may be answered late, and is no request under way meanwhile

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        return self.method != "GET"

    def action(self, body: Mapping[str, Any]) -> Action:
        """What the caller wants to do."""
        return self.actions[0] if self.action_of is None else self.action_of(body)
