"""A handling unit (pallet, box) is full once the machine names another one. Decides nothing about when to confirm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.confirming.triggers import Trigger as Asked

if TYPE_CHECKING:
    from gateway.core.model import Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.unit_state import State


def filled(dispatch: Dispatch, state: State, text: str, at_ns: int, out: list[Output]) -> State:
    """The machine names the handling unit that it fills; what went into the one before is asked to be confirmed.

    The first name after the beginning says nothing of what was made before. An empty name ends one, too.
    """
    name = text.strip("\0 \t\r\n")
    before = state.handling_unit
    if name == before:
        return state
    state = state._replace(handling_unit=name)
    if not before:
        return state
    for run in state.at_work():
        state = dispatch.asked(state, run, at_ns, out, Asked.HANDLING_UNIT)
    return state
