"""What other systems call the states of an operation: OPC 10031-4 job control, Euromap 83, SAP, D365, ERPNext, Odoo.

A table, read in both directions where a system tells states. It speaks to none of these systems.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from gateway.core.model import JobOrderState

S = JobOrderState


class JobCommand(enum.StrEnum):
    """What may be asked of a job (methods of the job order receiver, OPC 10031-4)."""

    STORE = "Store"
    STORE_AND_START = "StoreAndStart"
    START = "Start"
    REVOKE_START = "RevokeStart"
    UPDATE = "Update"
    PAUSE = "Pause"
    RESUME = "Resume"
    STOP = "Stop"
    ABORT = "Abort"
    CANCEL = "Cancel"
    CLEAR = "Clear"


class OpcState(NamedTuple):
    """State and sub state of a job (OPC 10031-4), by number and name; ``sub_number`` 0: none."""

    number: int
    name: str
    sub_number: int = 0
    sub_name: str = ""


class ForeignState(NamedTuple):
    """One state in the words of others; "" or None: the system has no word for it.

    ``euromap`` is the JobStatus of Euromap 83.
    """

    opc: OpcState | None
    euromap: int | None
    sap: str
    d365: str
    erpnext: str
    odoo: str


WAITING: Final = OpcState(2, "AllowedToStart", 1, "Waiting")
READY: Final = OpcState(2, "AllowedToStart", 2, "Ready")
LOADED: Final = OpcState(2, "AllowedToStart", 3, "Loaded")
_ABORTED: Final = OpcState(6, "Aborted")

FOREIGN: Final[dict[JobOrderState, ForeignState]] = {
    S.PLANNED: ForeignState(None, None, "CRTD", "Created", "", "draft"),
    S.RELEASED: ForeignState(OpcState(1, "NotAllowedToStart"), None, "REL", "Released", "Open", "pending"),
    S.DISPATCHED: ForeignState(WAITING, 1, "REL", "Released", "Open", "ready"),
    S.SETUP: ForeignState(OpcState(3, "Running"), 2, "REL", "Started", "Work In Progress", "progress"),
    S.IN_PROGRESS: ForeignState(OpcState(3, "Running"), 6, "PCNF", "Started", "Work In Progress", "progress"),
    S.INTERRUPTED: ForeignState(OpcState(4, "Interrupted", 2, "Suspended"), 7, "PCNF", "Started", "On Hold", "pause"),
    S.ON_HOLD: ForeignState(OpcState(4, "Interrupted", 1, "Held"), 7, "LKD", "on hold", "On Hold", "blocked"),
    S.COMPLETED: ForeignState(
        OpcState(5, "Ended", 1, "Completed"), 8, "CNF", "Reported as finished", "Completed", "done"
    ),
    S.CLOSED: ForeignState(OpcState(5, "Ended", 2, "Closed"), None, "TECO", "Ended", "Submitted", "done"),
    S.CANCELLED: ForeignState(_ABORTED, None, "DLFL", "Canceled", "Cancelled", "cancel"),
    # The parent of a split and the originals of a merge end; their successors are jobs of their own.
    S.SPLIT: ForeignState(_ABORTED, None, "split", "", "", "split"),
    S.MERGED: ForeignState(_ABORTED, None, "combined", "", "", "merge"),
}


def words_of(state: JobOrderState) -> dict[str, str | int | None]:
    """What each system calls a state, by system; the sub state of OPC 10031-4 behind a slash."""
    told = FOREIGN[state]
    opc = "" if told.opc is None else "/".join(filter(None, (told.opc.name, told.opc.sub_name)))
    return {**told._asdict(), "opc": opc}


#: The same of every state, by its name, for whoever shows many.
WORDS: Final = {state.value: words_of(state) for state in S}

#: Further words that mean the same, where a system tells its state to us.
_EUROMAP_FURTHER: Final = {
    3: S.SETUP,  # set-up interrupted
    4: S.SETUP,  # set-up finished
    5: S.SETUP,  # start-up
    9: S.COMPLETED,  # tear-down, interrupted, finished
    10: S.COMPLETED,
    11: S.COMPLETED,
}
_FROM_EUROMAP: Final = {1: S.DISPATCHED, 2: S.SETUP, 6: S.IN_PROGRESS, 7: S.INTERRUPTED, 8: S.COMPLETED} | (
    _EUROMAP_FURTHER
)
_FROM_OPC: Final = {
    (1, 0): S.RELEASED,
    (2, 0): S.DISPATCHED,
    (2, 1): S.DISPATCHED,
    (2, 2): S.DISPATCHED,
    (2, 3): S.DISPATCHED,
    (3, 0): S.IN_PROGRESS,
    (4, 0): S.INTERRUPTED,
    (4, 1): S.ON_HOLD,
    (4, 2): S.INTERRUPTED,
    (5, 0): S.COMPLETED,
    (5, 1): S.COMPLETED,
    (5, 2): S.CLOSED,
    (6, 0): S.CANCELLED,
}


def opc_state(state: JobOrderState, *, ready: bool = False, loaded: bool = False) -> OpcState | None:
    """State and sub state for OPC 10031-4; None: the job is not shown at all.

    A dispatched job is Waiting, Ready (everything it needs is there) or Loaded (it is the next one in the machine).
    """
    if state is S.DISPATCHED:
        return LOADED if loaded else READY if ready else WAITING
    return FOREIGN[state].opc


def from_opc(number: int, sub_number: int = 0) -> JobOrderState | None:
    """What a job of another machine or system is here; None: not a state of OPC 10031-4."""
    return _FROM_OPC.get((number, sub_number))


def from_euromap(job_status: int) -> JobOrderState | None:
    """What a JobStatus of Euromap 83 (0 to 11) is here; None: 0 (other) and what is no JobStatus."""
    return _FROM_EUROMAP.get(job_status)
