"""For which inputs the counters are read first, so that what they show is the boundary between two orders.

A machine rarely makes a piece at the moment of a decision, and a counter is looked at now and then: without a reading
at the change nobody knows to which order a piece between two readings belongs. Where a shift ends, that is also the
boundary of what is confirmed in it. Reads nothing itself: whoever hands an input over does, and says with
``CountersRead`` what came of it. A decision never waits long for a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.entries import LotEntry, MergeEntry, PresenceEntry, SplitEntry, StandingHoldEntry, UnmergeEntry
from gateway.core.model import CountersRead, Notice, OperatorEntry, OperatorVerb, OrderReceived, Status
from gateway.core.orders.places import job_tag
from gateway.core.orders.shares import LeadTold

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gateway.core.model import DataValue, Input, Output
    from gateway.core.rules import OrderRule, WorkUnitRules
    from gateway.core.unit_state import State

#: Some counter could not be read at a change of orders.
NOT_READ: Final = "CHANGE_NOT_READ"

_V: Final = OperatorVerb
#: What a person says that changes whose the next piece is, how far it counts, or what is confirmed now.
_VERBS: Final = frozenset(
    {
        _V.START,
        _V.SCAN,
        _V.INTERRUPT,
        _V.FINISH,
        _V.HOLD,
        _V.RELEASE,
        _V.REOPEN,
        _V.CANCEL,
        _V.COMPLETE_SETUP,
        _V.RUSH,
        _V.APPROVE_FIRST_ARTICLE,
        _V.CONFIRM,
    }
)
#: An undo is none of these: a piece that is read for it would be in its way, and what it takes back never was.
_ENTRIES: Final = (LotEntry, MergeEntry, SplitEntry, StandingHoldEntry, UnmergeEntry)
#: After these an order may start by itself, where none runs.
_FREES: Final = frozenset({_V.DISPATCH, _V.ACKNOWLEDGE_DOCUMENTS, _V.MATERIAL_READY})


def is_read_first(given: Input, state: State, rule: OrderRule) -> bool:
    """Whether the counters are to be read before this is handed over.

    What an ERP says of an order that is not at work changes nothing that is made now, unless it may start by itself.
    Neither does an older image of one that is, or the same once more: an ERP may hand over every order at each poll.
    """
    starts_one = _starts_one(state, rule)
    if isinstance(given, OperatorEntry):
        return given.verb in _VERBS or (starts_one and given.verb in _FREES)
    if isinstance(given, OrderReceived):
        job = given.job
        held = next((run.job for run in state.at_work() if run.job.key == job.key), None)
        if starts_one and rule.choose == "job_signal":
            return job_tag(rule.job_format, job) == state.job_tag
        return starts_one or (held is not None and job.revision >= held.revision and job != held)
    if isinstance(given, LeadTold):
        runs = None if state.running is None else state.running.job.key
        return runs != (None if given.job is None else given.job.key)
    if isinstance(given, PresenceEntry):  # what waits may wait for somebody who can do it
        return starts_one and given.begins and bool(state.next_told)
    return isinstance(given, _ENTRIES)


def _starts_one(state: State, rule: OrderRule) -> bool:
    """Whether an order may start by itself, or because the machine names it already, and none runs."""
    if state.at_work():
        return False
    if rule.choose == "job_signal":
        return bool(state.job_tag)
    return rule.choose == "sequence" and rule.auto_advance == "auto"


def names_of(rules: WorkUnitRules) -> frozenset[str]:
    """The signals whose news may set off a change by itself: the job's name, or where none is, the tool's.

    With them what ends a setup: what was made before it was made in the setup.
    """
    orders, setup = rules.orders, rules.state.setup
    ends = frozenset(filter(None, (setup.release_signal,)))
    if orders.job_signal is not None:
        return ends | {orders.job_signal}
    by_itself = orders.choose == "sequence" and orders.auto_advance == "auto"
    return ends | (frozenset(filter(None, (setup.tool_signal, setup.recipe_signal))) if by_itself else frozenset())


def do_names_matter(names: Collection[str], state: State, rules: WorkUnitRules) -> bool:
    """Whether the news of one of these does now.

    Another tool or recipe only where no order runs, and the next one may have waited for it; a release only in a setup.
    """
    ends = rules.state.setup.release_signal
    if ends in names and state.track.setup.since_ns is not None:
        return True
    if not set(names) - {ends}:
        return False
    return rules.orders.job_signal is not None or (bool(state.next_told) and not state.at_work())


def next_by_itself(state: State, rule: OrderRule) -> int | None:
    """When a shift ends or begins that changes whose the next piece is, or what is confirmed; None: none that is known.

    An end confirms, or interrupts, what is at work. A beginning starts what waits for it.
    """
    shift = state.track.timeline.contexts[-1].shift if state.track.timeline.contexts else ""
    if shift:
        matters = bool(state.at_work())
    else:
        matters = bool(state.queue) and rule.at_shift_end == "interrupt" and _starts_one(state, rule)
    if not matters:
        return None
    return next((one.from_ns for one in state.track.plan if one.shift != shift), None)


def read_for(
    signals: Collection[str],
    last: Mapping[str, DataValue],
    times: Mapping[str, int],
    asked_ns: int,
    at_ns: int,
    due_ns: int = 0,
) -> CountersRead:
    """What came of it.

    Args:
        signals: the counters.
        last: what each signal said last.
        times: the time of each of these values, as the rules see it.
        asked_ns: when the counters were asked for.
        at_ns: now.
        due_ns: when the change comes by itself; 0: it is handed over next.
    """
    fresh = {
        name
        for name in signals
        if (one := last.get(name)) is not None and one.received_time_ns >= asked_ns and one.status is Status.GOOD
    }
    until_ns = min((times[name] for name in fresh), default=0)
    return CountersRead(at_ns, min(until_ns, at_ns), tuple(sorted(set(signals) - fresh)), due_ns)


def taken(state: State, given: CountersRead, rule: OrderRule, out: list[Output]) -> State:
    """The state that knows what the change which follows goes by; tells which counters it does not go by."""
    if given.missing and state.at_work():
        names = ", ".join(given.missing)
        what = "is shared by time and called estimated"
        if given.due_ns and rule.at_shift_end == "go_on":
            what = "is confirmed in the shift in which it is read"
        why = f"{names}: not read in time; what it moved by between two readings {what}"
        out.append(Notice(given.at_ns, NOT_READ, (("signals", names), ("reason", why))))
    if given.due_ns and given.due_ns <= given.at_ns:
        return state  # it has come already
    return state._replace(past=state.past.read_for(given.until_ns, given.due_ns))
