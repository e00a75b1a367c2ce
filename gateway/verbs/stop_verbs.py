"""What people say of stops afterwards: which there were, why, that one was two, or one after all; and an undo.

Stops are final intervals as people see them. Each word is handed to the work unit, which writes it down; that what is
named was a stop is checked here, against the journal. Changes no interval.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from buffer import journal
from buffer.readonly import ReadOnlyStore
from gateway.asking.offered import check_reason
from gateway.asking.speaker import runner_of, speaker, told
from gateway.control import RequestError, text_of
from gateway.core.document import utc
from gateway.core.entries import StopCutEntry, StopReasonEntry, UndoEntry
from gateway.core.instant import Instant
from gateway.core.state.annotations import AnnotationError, StopMerge, StopReasonAssigned, StopSplit, check, loaded
from gateway.core.state.stop_reasons import UNSPECIFIED
from gateway.core.state.timeline_state import interval_of
from gateway.own_thread import Turns
from gateway.shown.states_read import StatesError, read
from gateway.shown.states_text import stops

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buffer.store import Store
    from gateway.control import Verb
    from gateway.core.state.interval import StateInterval
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock
    from gateway.work_unit.runner import Runner

#: Final intervals that are looked at for one word: a stretch within one standstill has few.
INTERVALS_MAX: Final = 1000
ANNOTATIONS_MAX: Final = 10_000
STOPS_MAX: Final = 10_000  # in one answer


class StopVerbs:
    """These verbs of one running gateway."""

    def __init__(self, parts: Parts, store: Store, clock: SteadyClock) -> None:
        self._parts = parts
        self._store = store
        self._clock = clock
        # Each reads up to all that is kept of a machine: one at a time, also where nobody waits for the one before.
        self._listing = Turns("stops")

    def table(self) -> dict[str, Verb]:
        """Every verb by name."""
        return {
            "reason": self._reason,
            "stop.reason": self._reason,
            "stop.split": self._cut,
            "stop.merge": self._cut,
            "stop.list": self._list,
            "undo": self._undo,
        }

    async def _undo(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        last = runner.state.last_word
        entry = UndoEntry(self._clock.now_ns(), **speaker(request))
        told(await runner.submit(entry), f"{machine}: cannot undo")
        return f"{machine}: {'the last decision' if last is None else last.verb} is undone"

    async def _reason(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        reason, by = text_of(request, "reason"), speaker(request)
        check_reason(machine, runner, "stop", reason)
        from_ns, to_ns = (self._steady(request, name) for name in ("from", "to"))
        if from_ns is None and to_ns is not None:
            text = "to: found without from; name both, or one instant of the stop"
            raise RequestError(text, guard="TIME", what_to_do="name both, or one instant of the stop")
        if from_ns is not None:
            found = StopReasonAssigned(self._clock.now_ns(), from_ns, to_ns, reason, by["who"])
            await self._check(machine, runner, found)
        entry = StopReasonEntry(self._clock.now_ns(), from_ns, to_ns, reason, **by)
        outputs = told(await runner.submit(entry), f"{machine}: cannot name the stop")
        done = next(output for output in outputs if isinstance(output, StopReasonAssigned))
        which = "that goes on" if from_ns is None else f"at {utc(self._clock.utc_ns(done.from_ns))}"
        return f"{machine}: the stop {which} is named {reason}"

    async def _cut(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        merge, by = text_of(request, "verb") == "stop.merge", speaker(request)
        at_ns = self._steady(request, "at")
        if at_ns is None:
            raise RequestError("at: found nothing, allowed: a point in time", guard="TIME", what_to_do="name it")
        await self._check(machine, runner, StopSplit(self._clock.now_ns(), at_ns, by["who"]))
        at_ns = await self._cut_at(machine, at_ns, merge=merge)
        reason = text_of(request, "reason") if request.get("reason") else ""
        entry = StopCutEntry(self._clock.now_ns(), at_ns, merge, reason=reason, **by)
        told(await runner.submit(entry), f"{machine}: cannot {'merge' if merge else 'split'} the stop")
        when = utc(self._clock.utc_ns(at_ns))
        return f"{machine}: the stop is {'one again, over' if merge else 'two, before and after'} {when}"

    async def _cut_at(self, machine: str, at_ns: int, *, merge: bool) -> int:
        """The instant of the split. Raises RequestError where it is split there already, or is not to be merged."""
        cuts: set[int] = set()
        query = journal.of_kind_query(machine, "stop_reason", at_ns, ANNOTATIONS_MAX)
        for *_, body in await self._store.read(*query):
            found = loaded(json.loads(body))
            if isinstance(found, StopSplit):
                cuts.add(found.split_ns)
            elif isinstance(found, StopMerge):
                cuts.discard(found.split_ns)
        near = next((one for one in cuts if self._shown(one) == self._shown(at_ns)), None)
        if merge == (near is not None):
            return at_ns if near is None else near
        where = f"{machine}: {utc(self._clock.utc_ns(at_ns))}"
        known = ", ".join(self._shown(one) for one in sorted(cuts)) or "none"
        text = f"{where}: the stop is {'not ' if merge else ''}split there; splits from then on: {known}"
        todo = "name the instant of a split" if merge else "nothing: it is so already"
        raise RequestError(text, guard="STOP", found=where, allowed=known, what_to_do=todo)

    def _shown(self, at_ns: int) -> str:
        return str(utc(self._clock.utc_ns(at_ns)))

    async def _list(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        from_ns, to_ns = (
            _instant(text_of(request, name), name) if request.get(name) else None for name in ("from", "to")
        )

        def found() -> Any:
            with ReadOnlyStore(self._store.path) as store, store.moment():
                return stops(read(store, machine, from_utc_ns=from_ns, to_utc_ns=to_ns))

        try:
            listed = await self._listing.run(found)
        except StatesError:  # nothing is final in that time
            listed = []
        if request.get("without_reason") in (True, "true"):
            listed = [one for one in listed if one["reason"] in {"", UNSPECIFIED}]
        if len(listed) > STOPS_MAX:
            text = f"stops: found {len(listed)}, allowed: {STOPS_MAX}"
            raise RequestError(text, guard="LIMIT", allowed=str(STOPS_MAX), what_to_do="choose a shorter time")
        final_ns = self._clock.utc_ns(runner.state.track.timeline.final_ns)
        return {"machine": machine, "final_up_to": utc(final_ns), "stops": listed}

    async def _check(self, machine: str, runner: Runner, found: StopReasonAssigned | StopSplit) -> None:
        """Refuse what is final and was no stop; what is not final is the work unit's to say."""
        final_ns = runner.state.track.timeline.final_ns
        from_ns = found.split_ns if isinstance(found, StopSplit) else found.from_ns
        to_ns = None if isinstance(found, StopSplit) else found.to_ns
        where = f"{machine}: {utc(self._clock.utc_ns(from_ns))}"
        if from_ns >= final_ns:
            return
        if to_ns is not None and to_ns > final_ns:
            text = f"{where}: what happened up to {utc(self._clock.utc_ns(to_ns))} is not final yet"
            raise RequestError(text, guard="FINAL", allowed="what is final", what_to_do="wait a minute, or name less")
        row: list[StateInterval] = []
        for *_, body in await self._store.read(*journal.of_kind_query(machine, "interval", from_ns, INTERVALS_MAX)):
            interval = interval_of(json.loads(body))
            if interval.from_ns >= (from_ns + 1 if to_ns is None else to_ns):
                break
            row.append(interval)
        try:
            check(tuple(row), found)
        except AnnotationError as error:
            todo = f"see: linegate states {machine}"
            raise RequestError(f"{where}: {error}; {todo}", guard="STOP", what_to_do=todo) from error

    def _steady(self, request: Mapping[str, Any], name: str) -> int | None:
        """A time that a person named in UTC, on the axis of the machine."""
        if request.get(name) is None:
            return None
        wanted_ns = _instant(text_of(request, name), name)
        near_ns = wanted_ns - self._clock.offset_ns
        # What was learned of the time later than that instant does not hold for it.
        return near_ns - (self._clock.utc_ns(near_ns) - wanted_ns)


def _instant(text: str, name: str) -> int:
    try:
        return int(Instant(text))
    except ValueError as error:
        raise RequestError(f"{name}: {error}", guard="TIME", what_to_do=f"send another {name}") from error
