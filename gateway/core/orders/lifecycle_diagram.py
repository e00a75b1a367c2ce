"""Draws the table of ``lifecycle.py`` as Mermaid state diagrams, so that the read-me cannot tell another story.

Text only: it renders nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.model import JobOrderState
from gateway.core.orders.lifecycle import TERMINAL, TRANSITIONS, Trigger

if TYPE_CHECKING:
    from gateway.core.orders.lifecycle import Transition

_S: Final = JobOrderState
_ENDS_EARLY: Final = frozenset({_S.CANCELLED, _S.SPLIT, _S.MERGED})
TRIGGERS_SHOWN_MAX: Final = 3  # at one arrow

#: Title of each diagram, in the order of the read-me.
TITLES: Final = ("From the ERP's order to the closed one", "Holds", "Other ends")


def title_of(row: Transition) -> str:
    """The diagram that an arrow belongs to: each to exactly one."""
    if row.state_to in _ENDS_EARLY:
        return TITLES[2]
    if _S.ON_HOLD in (row.state_from, row.state_to):
        return TITLES[1]
    return TITLES[0]


def diagram(title: str) -> str:
    """One diagram as Mermaid text. Arrows are named by their triggers, the first of them."""
    rows = [row for row in TRANSITIONS if title_of(row) == title]
    lines = ["stateDiagram-v2"]
    for row in rows:
        start = "[*]" if row.state_from is None else row.state_from.value
        lines.append(f"    {start} --> {row.state_to.value}: {_label(row)}")
    ends = [state for state in TERMINAL if any(row.state_to is state for row in rows)]
    lines.extend(f"    {state.value} --> [*]" for state in ends)
    return "\n".join(lines)


def _label(row: Transition) -> str:
    triggers = [cause.trigger for cause in row.causes]
    shown = triggers[:TRIGGERS_SHOWN_MAX]
    more = " ..." if len(triggers) > len(shown) else ""
    return ", ".join(_short(trigger) for trigger in shown) + more


def _short(trigger: Trigger) -> str:
    return "ERP" if trigger is Trigger.ERP_MESSAGE else trigger.value
