"""Takes back what a person decided last at a machine: a new decision that restores, never a deletion.

Only his own last one, within ``confirm.undo_window``, and only while nothing has used it: no piece was booked by it, no
other word was said, no order has gone on. What the decision confirmed becomes void where it is not sent yet, and its
pieces are open again; else it was really made, and stays confirmed. The time in between stays what it was. Of a kind
that cannot be undone the refusal says what to do instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.confirmation import with_total_of
from gateway.core.confirming.corrections import Draft, EntryKind, Who
from gateway.core.confirming.hold_back import VOIDABLE, Delivery
from gateway.core.confirming.quantities import NOTHING
from gateway.core.decided import VERBS
from gateway.core.duration import Duration
from gateway.core.entries import LotEntry, PresenceEntry, ReclassifyEntry, StandingHoldEntry, UndoEntry
from gateway.core.model import Confirmation, JobChanged, JobOrderState, OperatorEntry, Role, Voided
from gateway.core.orders.corrected import Making, drafted
from gateway.core.orders.correcting import open_of, totals_of
from gateway.core.orders.disposition import reclassified
from gateway.core.orders.job_run import JobRun
from gateway.core.orders.lifecycle import RUNNING
from gateway.core.orders.places import enqueue, named, put_to_work, without
from gateway.core.refusal import Refusal, refused
from gateway.core.state.annotations import StopMerge, StopReasonAssigned, StopReasonWithdrawn, StopSplit
from gateway.core.state.setup import SetupState
from gateway.core.wording import pieces_of
from gateway.core.work import work_persons
from gateway.core.work.taken_back import links_stored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.core.confirming.booked import Content
    from gateway.core.entries import PersonsEntry
    from gateway.core.model import Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.orders.intake import Intake
    from gateway.core.state.state_unit import MachineStateUnit
    from gateway.core.unit_state import State

_S: Final = JobOrderState
GUARD: Final = "UNDO"
#: What of a job order a decision changes, and an undo puts back. Numbers are none of it: what was made was made.
_PUT_BACK: Final = ("state", "waits_for_person", "open_from_ns", "confirmed_ns", "held_from", "hold_reason", "resumes")
_FIELDS: Final = (*_PUT_BACK, "rush_no", "awaits_article", "article_approved", "documents_read")
#: Instead of an undo.
_INSTEAD: Final = {
    "order.finish": "open it again (linegate order reopen); its final confirmation is made",
    "order.reopen": "finish it",
    "order.cancel": "have the ERP release a new order",
    "hold.set": "release the hold (linegate hold release)",
    "hold.release": "set the hold again (linegate hold set)",
    "order.correct": "correct the confirmation again",
    "outbox.post_today": "correct the confirmation, or have the ERP book it into the other period",
    "order.reverse": "go on: its pieces are confirmed with the next one",
    "undo": "decide anew",
    "material.issue": "issue the difference with the next order, or correct the confirmation",
    "lots.name": "name the right lot once the confirmation is corrected",
    "lots.serial": "look at the piece; a number that was read stays read",
}
_ANEW: Final = "decide anew what is to be otherwise"


class RunBefore(NamedTuple):
    """A job order before a decision, and how the decision left it.

    ``at_work``: it was running. ``fields``: ``_FIELDS`` before. ``left``: its state after. ``numbers``: what was made
    and confirmed of it right after; None where later pieces do not matter, because it waits.
    """

    order: str
    operation: str
    at_work: bool
    fields: tuple[Any, ...]
    left: str
    numbers: tuple[int, ...] | None


class LastWord(NamedTuple):
    """What was decided last at a machine, and what was so before. JSON data throughout, but for ``setup``.

    ``confirmed``: order, operation, key and number of what it confirmed. ``detail``: what the kind needs. ``counted``:
    all pieces ever booked, right after it.
    """

    at_ns: int
    who: str
    verb: str
    runs: tuple[RunBefore, ...] = ()
    detail: tuple[Any, ...] = ()
    counted: int = 0
    named: str = ""
    setup: SetupState | None = None
    confirmed: tuple[tuple[str, str, str, int], ...] = ()


class Undo:
    """The rule at one work unit."""

    def __init__(self, dispatch: Dispatch, intake: Intake, machine: MachineStateUnit, window_ns: int) -> None:
        self._dispatch = dispatch
        self._intake = intake
        self._machine = machine
        self._window_ns = window_ns
        #: The kinds that can be undone, and how.
        self._how: Final = {
            "order.start": self._orders,
            "order.interrupt": self._orders,
            "order.finish": self._orders,
            "order.complete-setup": self._setup,
            "order.hold": self._hold,
            "order.release": self._release,
            "order.reclassify": self._judged,
            "setup.begin": self._setup,
            "setup.end": self._setup,
            "reason": self._reason,
            "stop.split": self._cut,
            "stop.merge": self._cut,
            "labour.in": self._work,
            "labour.out": self._work,
            "lot.mount": self._work,
            "lot.unmount": self._work,
        }

    def undo(self, state: State, entry: UndoEntry, out: list[Output]) -> State:
        """The state with the last decision taken back; what cannot be is a REFUSED notice."""
        last = state.last_word
        why = self._why_not(state, last, entry)
        if last is None or why:
            out.append(refused(entry.at_ns, why))
            return state
        start = len(out)
        state = self._how[last.verb](state, last, entry, out)
        return state if _was_refused(out[start:]) else state._replace(last_word=None, undoable=())

    def kept(self, state: State) -> State:
        """The state without a decision that can surely not be undone any more."""
        last = state.last_word
        over = last is not None and state.at_ns > last.at_ns + self._window_ns
        return state._replace(last_word=None, undoable=()) if over else state

    def _why_not(self, state: State, last: LastWord | None, entry: UndoEntry) -> str:
        window = Duration(self._window_ns)
        if last is None or entry.at_ns > last.at_ns + self._window_ns:
            text = f"nothing was decided at this machine within the last {window} (confirm.undo_window)"
            todo = "decide anew what is to be otherwise"
            return Refusal(text, GUARD, found="nothing", allowed=f"a decision of the last {window}", what_to_do=todo)
        if last.who != entry.who:
            text = f"the last decision here, {last.verb}, is {last.who}'s; allowed: one of your own"
            todo = f"ask {last.who}, or decide anew"
            return Refusal(text, GUARD, found=last.who, allowed=entry.who, what_to_do=todo)
        if last.verb not in self._how:
            todo = _INSTEAD.get(last.verb, "decide anew what is to be otherwise")
            text = f"{last.verb} cannot be undone; {todo}"
            return Refusal(text, GUARD, found=last.verb, allowed=", ".join(self._how), what_to_do=todo)
        return self._used(state, last, entry)

    def _used(self, state: State, last: LastWord, entry: UndoEntry) -> str:
        """What has used the decision since."""
        if last.verb.startswith(("setup.", "lot.")) and (made := sum(state.counted) - last.counted):
            return _is_used(last, f"{pieces_of(made)} made since")
        for before in last.runs:
            run = named(state, before.order, before.operation)
            if isinstance(run, str):
                if self._unsent(state, last, before, entry) is not None:
                    continue
                todo = _INSTEAD.get(last.verb, _ANEW)
                text = f"order {before.order} has ended by it, and is confirmed finally"
                return _is_used(last, f"{text}; {todo}" if last.verb in _INSTEAD else text, todo)
            if run.state.value != before.left:
                return _is_used(last, f"order {before.order} is {run.state} now, and was {before.left}")
            if before.numbers is not None and _numbers(run) != before.numbers:
                return _is_used(last, f"pieces of order {before.order} were made or confirmed since")
        return ""

    # --- how each kind is taken back -------------------------------------------------------------------------------

    def _orders(self, state: State, last: LastWord, entry: UndoEntry, out: list[Output]) -> State:
        """Orders are again where they were: those that run now first, because they make way."""
        text = f"undo of {last.verb} by {entry.who}"
        for before in sorted(last.runs, key=lambda one: one.at_work):
            run = named(state, before.order, before.operation)
            unsent = self._unsent(state, last, before, entry)
            if unsent is not None:
                content, kept = unsent
                back = self._voided(state, kept, content, text, entry, out)
                state = self._dispatch.work.reopened(state, kept.job.key)
            else:
                assert isinstance(run, JobRun), "it was looked at"
                back = run._replace(**_restored(before))
            out.append(JobChanged(entry.at_ns, back.record(), _S(before.left), text))
            state = without(state, back)
            state = put_to_work(state, back) if before.at_work else enqueue(state, back)
            if state.previous is not None and state.previous.job.key == back.job.key:
                state = state._replace(previous=None)
        keys = {(before.order, before.operation) for before in last.runs}
        state = state._replace(past=state.past.without(keys, last.at_ns))
        return self._setup(state, last, entry, out)

    def _unsent(
        self, state: State, last: LastWord, before: RunBefore, entry: UndoEntry
    ) -> tuple[Content, JobRun] | None:
        """What the decision confirmed of an order, if it is not sent and nothing came of it since; and the order."""
        key = (before.order, before.operation)
        kept = next((run for run in state.undoable if run.job.key == key), None)
        made = [name for order, operation, name, _ in last.confirmed if (order, operation) == key]
        found = [one for one in entry.contents if one.key.rsplit("/", 3)[1:3] == list(key)]
        if kept is None or len(made) != 1 or [one.key for one in found] != made or found[0].delivery not in VOIDABLE:
            return None
        run = named(state, *key)
        if isinstance(run, JobRun) and (
            run.seq != found[0].seq or run.anything_open or totals_of(run) != totals_of(kept)
        ):
            return None
        return found[0], kept

    def _voided(
        self, state: State, kept: JobRun, content: Content, text: str, entry: UndoEntry, out: list[Output]
    ) -> JobRun:
        """The order as it was before, behind the confirmation and its reversal, of which none is sent."""
        by = Who(entry.at_ns, entry.who, text)
        none = Delivery.VOIDED_BEFORE_SEND
        draft = Draft(EntryKind.REVERSAL, NOTHING.minus(content.pieces), none, content.key, -1, content.key, by)
        ended = kept._replace(seq=content.seq, last_hash=content.digest, work=links_stored(kept.work))
        ended, _ = with_total_of(ended, content.work)  # its reversal takes that back
        making = Making(self._dispatch.closer, state, (False, False))
        confirmed = totals_of(kept).minus(open_of(kept))
        after, reversal = drafted(making, ended, draft, content, content.work, confirmed)
        out += (Voided(entry.at_ns, content.key, entry.who, text), reversal)
        return after

    def _setup(self, state: State, last: LastWord, entry: UndoEntry, out: list[Output]) -> State:
        if last.setup is None:
            return state
        track, told = self._machine.setup_as(state.track, last.setup, entry.at_ns, entry.who)
        out += told
        return state._replace(track=track)

    def _hold(self, state: State, last: LastWord, entry: UndoEntry, out: list[Output]) -> State:
        run = named(state, *last.runs[0][:2])
        assert isinstance(run, JobRun), "it was looked at"
        return self._intake.released(state, run, entry.at_ns, f"undo of {last.verb} by {entry.who}", out)

    def _release(self, state: State, last: LastWord, entry: UndoEntry, out: list[Output]) -> State:
        run = named(state, *last.runs[0][:2])
        assert isinstance(run, JobRun), "it was looked at"
        reason = _restored(last.runs[0])["hold_reason"]
        return self._intake.held(state, run, entry.at_ns, f"undo of {last.verb} by {entry.who}", reason, out)

    def _judged(self, state: State, last: LastWord, entry: UndoEntry, out: list[Output]) -> State:
        order, operation, pieces, before, after = last.detail
        by = (entry.who, entry.role, entry.auth, entry.client)
        back = ReclassifyEntry(entry.at_ns, order, operation, pieces, Role(after), Role(before), "undo", *by)
        return reclassified(self._dispatch, state, back, out, back=True)

    def _work(self, state: State, last: LastWord, entry: UndoEntry, out: list[Output]) -> State:
        for one in last.runs:
            if one.fields[0] != one.left:
                out.append(refused(entry.at_ns, _is_used(last, f"order {one.order} is {one.left} by it")))
                return state
        return work_persons.back(self._dispatch, state, last.verb, last.detail, entry, out)

    def _reason(self, state: State, last: LastWord, entry: UndoEntry, out: list[Output]) -> State:
        (from_ns,) = last.detail
        out.append(StopReasonWithdrawn(entry.at_ns, last.at_ns, from_ns, entry.who))
        return state._replace(track=state.track._replace(named=last.named))

    def _cut(self, state: State, last: LastWord, entry: UndoEntry, out: list[Output]) -> State:
        (split_ns,) = last.detail
        kind = StopMerge if last.verb == "stop.split" else StopSplit
        out.append(kind(entry.at_ns, split_ns, entry.who))
        return state


def last_word(
    before: State, state: State, entry: OperatorEntry | PersonsEntry, made: Sequence[Output]
) -> LastWord | None:
    """What is remembered of a decision; a refused one changes nothing, and so does not what it would have undone."""
    if isinstance(entry, UndoEntry) or _was_refused(made):
        return state.last_word
    verb = VERBS[type(entry)](entry)
    verb = "order.start" if verb == "order.scan" else verb
    setup: SetupState | None = before.track.setup
    if state.track.setup.since_ns == before.track.setup.since_ns and verb not in ("order.start", "order.interrupt"):
        setup = None
    elif verb == "order.start" and state.track.setup.since_ns != before.track.setup.since_ns:
        verb = "order.complete-setup"  # who starts what is being set up says that the setup is done
    found = next((one for one in made if isinstance(one, (StopReasonAssigned, StopSplit, StopMerge))), None)
    detail: tuple[Any, ...] = ()
    if isinstance(entry, ReclassifyEntry):
        detail = (entry.order, entry.operation, entry.pieces, entry.from_role.value, entry.to_role.value)
    elif isinstance(entry, (PresenceEntry, LotEntry)):
        detail = work_persons.kept_of(before, entry)
    elif found is not None:
        detail = (found.from_ns if isinstance(found, StopReasonAssigned) else found.split_ns,)
    of_orders = not isinstance(entry, (ReclassifyEntry, PresenceEntry, StandingHoldEntry))
    runs = _changed(before, state) if of_orders else ()
    counted = sum(state.counted)
    confirmed = tuple((*one.job.key, one.key, one.seq) for one in made if isinstance(one, Confirmation))
    confirmed = confirmed if isinstance(entry, OperatorEntry) else ()
    return LastWord(entry.at_ns, entry.who, verb, runs, detail, counted, before.track.named, setup, confirmed)


def undoable(before: State, state: State, word: LastWord | None) -> tuple[JobRun, ...]:
    """The orders that a decision confirmed, as they were before it; a leader's originals are not put back."""
    if word is None or word is state.last_word:
        return state.undoable
    keys = {(order, operation) for order, operation, *_ in word.confirmed}
    return tuple(run for run in before.open_runs() if run.job.key in keys and run.merged is None)


def plain(last: LastWord | None) -> dict[str, Any] | None:
    """As JSON data."""
    if last is None:
        return None
    setup = None if last.setup is None else last.setup._asdict()
    return {**last._asdict(), "runs": [list(one) for one in last.runs], "setup": setup}


def loaded(data: Mapping[str, Any] | None) -> LastWord | None:
    """From JSON data. Raises TypeError or ValueError where it is none."""
    if data is None:
        return None
    runs = tuple(
        RunBefore(
            order, operation, at_work, tuple(map(_kept, fields)), left, None if numbers is None else tuple(numbers)
        )
        for order, operation, at_work, fields, left, numbers in data["runs"]
    )
    setup = None if data["setup"] is None else SetupState(**data["setup"])
    confirmed = tuple((order, operation, key, seq) for order, operation, key, seq in data.get("confirmed", ()))
    data = {name: value for name, value in data.items() if name != "undoable"}  # the snapshot's
    more = {"runs": runs, "detail": tuple(data["detail"]), "setup": setup, "confirmed": confirmed}
    return LastWord(**{**data, **more})


def _kept(field: Any) -> Any:
    return tuple(field) if isinstance(field, list) else field


def _changed(before: State, state: State) -> tuple[RunBefore, ...]:
    """The job orders that a decision changed, in the order in which they stood."""
    after = {run.job.key: run for run in state.open_runs()}
    found: list[RunBefore] = []
    for run in before.open_runs():
        left = after.get(run.job.key)
        if left is run:
            continue
        works = left is not None and left.state in RUNNING
        fields = tuple(getattr(run, name) for name in _FIELDS)
        was = _S.COMPLETED if left is None else left.state
        at_work = before.works_on(run.job.key)
        found.append(RunBefore(*run.job.key, at_work, fields, was.value, _numbers(left) if works and left else None))
    return tuple(found)


def _restored(before: RunBefore) -> dict[str, Any]:
    fields = dict(zip(_FIELDS, before.fields, strict=True))
    held_from = fields["held_from"]
    fields["state"] = _S(fields["state"])
    return {**fields, "held_from": None if held_from is None else _S(held_from)}


def _numbers(run: JobRun) -> tuple[int, ...]:
    return (run.good, run.scrap, run.rework, run.hold, run.test, run.seq)


def _was_refused(made: Sequence[Output]) -> bool:
    return any(getattr(one, "code", "") == "REFUSED" for one in made)


def _is_used(last: LastWord, by: str, todo: str = _ANEW) -> Refusal:
    return Refusal(f"{last.verb} was used already: {by}", GUARD, found=by, allowed="unused", what_to_do=todo)
