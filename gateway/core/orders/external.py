"""What somebody confirmed in the ERP, past the gateway, and a person takes over: less remains to be made.

It is in none of the gateway's own totals and is confirmed by nobody here, so nothing is posted twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.model import JobChanged
from gateway.core.orders.places import named, with_run
from gateway.core.orders.stop_request import ask_to_stop
from gateway.core.refusal import Refusal, refused

if TYPE_CHECKING:
    from gateway.core.entries import ExternalEntry
    from gateway.core.model import Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.unit_state import State


def taken_over(dispatch: Dispatch, state: State, entry: ExternalEntry, out: list[Output]) -> State:
    """The state with these pieces known; what cannot be done is a REFUSED notice. A full order completes."""
    run = named(state, entry.order, entry.operation)
    told = (entry.good, entry.scrap, entry.rework)
    if isinstance(run, str):
        out.append(refused(entry.at_ns, run))
        return state
    if min(told) < 0 or not any(told):
        found = f"{entry.good} good, {entry.scrap} scrap, {entry.rework} rework"
        todo = "have the difference settled in the ERP"
        text = f"PIECES: found {found}, allowed: 1 and more in all, none below 0; {todo}"
        out.append(refused(entry.at_ns, Refusal(text, "PIECES", found=found, allowed="1 and more", what_to_do=todo)))
        return state
    good, scrap, rework = (have + more for have, more in zip(run.external, told, strict=True))
    after = run._replace(external=(good, scrap, rework))
    out.append(JobChanged(entry.at_ns, after.record(), run.state, "confirmed in the ERP"))
    ask_to_stop(dispatch, state, run, after, entry.at_ns, out)
    return dispatch.complete_if_full(with_run(state, after), entry.at_ns, out)
