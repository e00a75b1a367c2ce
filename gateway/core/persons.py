"""What a person tells a work unit, handed to whom it concerns: orders, pieces, a setup, the reason of a stop.

What cannot be done becomes a REFUSED notice that says why. Decides nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from gateway.core.decided import decided
from gateway.core.entries import (
    AllocateEntry,
    CorrectEntry,
    ExternalEntry,
    LotEntry,
    LotNameEntry,
    MaterialEntry,
    MergeEntry,
    PersonsEntry,
    PresenceEntry,
    PresenceShared,
    ReclassifyEntry,
    RejectEntry,
    ReportEntry,
    SerialEntry,
    SetupEntry,
    SplitEntry,
    StandingHoldEntry,
    StopCutEntry,
    StopReasonEntry,
    UndoEntry,
    UnmergeEntry,
)
from gateway.core.model import OperatorEntry, OperatorVerb
from gateway.core.orders.correcting import corrected, rejected
from gateway.core.orders.disposition import reclassified
from gateway.core.orders.division import divided
from gateway.core.orders.external import taken_over
from gateway.core.orders.member import refused_here
from gateway.core.orders.places import scanned
from gateway.core.orders.reported import reported
from gateway.core.orders.standing_holds import StandingHolds
from gateway.core.refusal import Refusal, refused
from gateway.core.state.annotations import StopReasonAssigned, cut, why_it_stood
from gateway.core.state.interval import STOPS
from gateway.core.undo import last_word, undoable
from gateway.core.work import work_persons
from gateway.core.work.serials import serial_given

if TYPE_CHECKING:
    from gateway.core.model import Output
    from gateway.core.orders.allocation import Allocation
    from gateway.core.orders.decisions import Decisions
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.orders.job_run import JobRun
    from gateway.core.state.state_unit import MachineStateUnit
    from gateway.core.undo import Undo
    from gateway.core.unit_state import State


#: Every kind of entry that a person makes.
_WORK: Final = (PresenceEntry, LotEntry, MaterialEntry, LotNameEntry, SerialEntry)
#: What is decided where the orders are, not at a machine that works on them, too.
_OF_ORDERS: Final = (
    OperatorEntry,
    ReclassifyEntry,
    ReportEntry,
    ExternalEntry,
    SplitEntry,
    MergeEntry,
    UnmergeEntry,
    LotEntry,
    LotNameEntry,
    MaterialEntry,
    SerialEntry,
    StandingHoldEntry,
)
PERSONS: Final = (OperatorEntry, *get_args(PersonsEntry), PresenceShared)
_SETS_UP: Final = Refusal(
    "a setup goes on already", "SETUP", found="a setup", allowed="none that goes on", what_to_do="end it first"
)
_SETS_NOT_UP: Final = Refusal(
    "no setup goes on; begin one first", "SETUP", found="no setup", allowed="one that goes on", what_to_do="begin one"
)


class Persons:
    """The parts of one work unit that listen to people."""

    def __init__(
        self,
        dispatch: Dispatch,
        decisions: Decisions,
        allocation: Allocation,
        machine: MachineStateUnit,
        undo: Undo,
    ) -> None:
        self._dispatch = dispatch
        self._decisions = decisions
        self._allocation = allocation
        self._machine = machine
        self._undo = undo
        self._lead = dispatch.rule.shares_with
        self._holds = StandingHolds(dispatch)

    def said(self, state: State, entry: OperatorEntry | PersonsEntry | PresenceShared, out: list[Output]) -> State:
        """The state after a person's word, which is written down before what follows from it."""
        if isinstance(entry, PresenceShared):  # the gateway's, not a person's
            return work_persons.shared(self._dispatch, state, entry)
        if isinstance(entry, SerialEntry) and not entry.who:  # the reader's
            return serial_given(state, entry, out)
        start = len(out)
        before = state
        if self._lead is not None and isinstance(entry, _OF_ORDERS):
            out.append(refused(entry.at_ns, refused_here(self._lead)))
        elif isinstance(entry, _WORK):
            state = work_persons.said(self._dispatch, state, entry, out)
            if isinstance(entry, PresenceEntry) and self._dispatch.work.rule.labour.skills:
                state = self._dispatch.advance(state, entry.at_ns, out)  # what waited for somebody who can do it
        elif isinstance(entry, StandingHoldEntry):
            state = self._holds.said(state, entry, out)
        else:
            state = self._heard(state, entry, out)
        made = out[start:]
        out.insert(start, decided(entry, made))
        word = last_word(before, state, entry, made)
        return state._replace(last_word=word, undoable=undoable(before, state, word))

    def _heard(self, state: State, entry: OperatorEntry | PersonsEntry, out: list[Output]) -> State:
        if isinstance(entry, OperatorEntry):
            return self._order(state, entry, out)
        if isinstance(entry, (ReclassifyEntry, AllocateEntry, ReportEntry, ExternalEntry, CorrectEntry, RejectEntry)):
            return self._pieces(state, entry, out)
        if isinstance(entry, (SplitEntry, MergeEntry, UnmergeEntry)):
            return divided(self._dispatch, state, entry, out)
        if isinstance(entry, SetupEntry):
            sets_up = state.track.setup.since_ns is not None
            if sets_up == entry.begins:
                out.append(refused(entry.at_ns, _SETS_UP if sets_up else _SETS_NOT_UP))
                return state
            return self._setup(state, entry.at_ns, entry.who, out, begins=entry.begins)
        if isinstance(entry, UndoEntry):
            return self._undo.undo(state, entry, out)
        if isinstance(entry, StopCutEntry):
            out.append(cut(entry, state.track.timeline))
            return state
        assert isinstance(entry, StopReasonEntry), "material and people have their own module"
        told = why_it_stood(entry, state.track.timeline, stands=state.track.state in STOPS)
        out.append(told)
        if isinstance(told, StopReasonAssigned) and told.to_ns is None and told.from_ns == entry.at_ns:
            state = state._replace(track=state.track._replace(named=entry.reason))
        return state

    def _pieces(
        self,
        state: State,
        entry: ReclassifyEntry | AllocateEntry | ReportEntry | ExternalEntry | CorrectEntry | RejectEntry,
        out: list[Output],
    ) -> State:
        if isinstance(entry, CorrectEntry):
            return corrected(self._dispatch, state, entry, out)
        if isinstance(entry, RejectEntry):
            return rejected(self._dispatch, state, entry, out)
        if isinstance(entry, ReclassifyEntry):
            return reclassified(self._dispatch, state, entry, out)
        if isinstance(entry, ReportEntry):
            return reported(self._dispatch, state, entry, out)
        if isinstance(entry, ExternalEntry):
            return taken_over(self._dispatch, state, entry, out)
        return self._allocation.said(state, entry, out)

    def _order(self, state: State, entry: OperatorEntry, out: list[Output]) -> State:
        """A decision about an order; who starts the one that is being set up says that the setup is done."""
        if entry.verb is OperatorVerb.SCAN:
            found = scanned(state, entry.order, self._dispatch.rule.job_format)
            # Of what is none of the open ones the start says why.
            key = (entry.order.strip(), "") if isinstance(found, str) else found.job.key
            entry = entry._replace(verb=OperatorVerb.START, order=key[0], operation=key[1], code=entry.order)
        sets_up = state.track.setup.since_ns is not None
        run = next((one for one in state.at_work() if _is_meant(one, entry)), None)
        said_so = entry.verb in (OperatorVerb.START, OperatorVerb.COMPLETE_SETUP)
        if sets_up and said_so and run is not None:
            if self._decisions.may_complete_setup(state, entry, run):
                return self._setup(state, entry.at_ns, entry.who, out, begins=False)
            entry = entry._replace(verb=OperatorVerb.COMPLETE_SETUP)  # which tells what is in the way
        return self._decisions.decide(state, entry, out)

    def _setup(self, state: State, at_ns: int, who: str, out: list[Output], *, begins: bool) -> State:
        track, told = self._machine.operator_setup(state.track, at_ns, begins=begins, who=who)
        out += told
        return state._replace(track=track)


def _is_meant(run: JobRun, entry: OperatorEntry) -> bool:
    return run.job.order == entry.order and entry.operation in ("", run.job.operation)
