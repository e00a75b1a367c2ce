"""What people at the line tell machines through the control socket: setups, reasons of stops, what pieces are.

Each is handed to the work unit, which decides and writes down who said it. What is final cannot be judged there: that a
named stop was one is checked here, against the journal.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from buffer import journal
from gateway.control import NUMBER_MAX, RequestError, text_of
from gateway.core.document import utc
from gateway.core.entries import PiecesReclassified, ReclassifyEntry, SetupEntry, StopReasonEntry
from gateway.core.instant import Instant
from gateway.core.model import Role
from gateway.core.state.annotations import AnnotationError, StopReasonAssigned, check
from gateway.core.state.timeline_state import interval_of
from gateway.speaker import runner_of, speaker, told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buffer.store import Store
    from gateway.clock import SteadyClock
    from gateway.control import Verb
    from gateway.core.state.interval import StateInterval
    from gateway.parts import Parts
    from gateway.runner import Runner

#: Final intervals that are looked at for one reason: a stretch within one standstill has few.
INTERVALS_MAX: Final = 1000


class FloorVerbs:
    """These verbs of one running gateway."""

    def __init__(self, parts: Parts, store: Store, clock: SteadyClock) -> None:
        self._parts = parts
        self._store = store
        self._clock = clock

    def table(self) -> dict[str, Verb]:
        """Every verb by name."""
        return {
            "setup.begin": self._setup,
            "setup.end": self._setup,
            "reason": self._reason,
            "order.reclassify": self._reclassify,
        }

    async def _setup(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        begins = text_of(request, "verb") == "setup.begin"
        what = "begin" if begins else "end"
        entry = SetupEntry(self._clock.now_ns(), begins, **speaker(request))
        told(await runner.submit(entry), f"{machine}: cannot {what} a setup")
        return f"{machine}: setup {'begun' if begins else 'ended'}"

    async def _reclassify(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        pieces, order = request["pieces"], text_of(request, "order")
        if not isinstance(pieces, int) or isinstance(pieces, bool) or not 1 <= pieces <= NUMBER_MAX:
            shown = f"{str(pieces)[:40]!a}"
            text = f"pieces: found {shown}, allowed: a whole number, 1 and more"
            raise RequestError(text, guard="FIELD", found=shown, allowed="1 and more", what_to_do="say how many")
        before, after = (_role(request, name) for name in ("from", "to"))
        operation = text_of(request, "operation") if request.get("operation") else ""
        reason = text_of(request, "reason") if request.get("reason") else ""
        by = speaker(request)
        entry = ReclassifyEntry(self._clock.now_ns(), order, operation, pieces, before, after, reason, **by)
        outputs = told(await runner.submit(entry), f"{machine}: cannot reclassify pieces of {order}")
        done = next(output for output in outputs if isinstance(output, PiecesReclassified))
        return f"{machine}: {done.pieces} pieces of {done.order}/{done.operation} are {after} now, and were {before}"

    async def _reason(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        reason, by = text_of(request, "reason"), speaker(request)
        from_ns, to_ns = (self._steady(request, name) for name in ("from", "to"))
        if from_ns is None and to_ns is not None:
            text = "to: found without from; name both, or one instant of the stop"
            raise RequestError(text, guard="TIME", what_to_do="name both, or one instant of the stop")
        if from_ns is not None:
            await self._check(
                machine, runner, StopReasonAssigned(self._clock.now_ns(), from_ns, to_ns, reason, by["who"])
            )
        entry = StopReasonEntry(self._clock.now_ns(), from_ns, to_ns, reason, **by)
        outputs = told(await runner.submit(entry), f"{machine}: cannot name the stop")
        done = next(output for output in outputs if isinstance(output, StopReasonAssigned))
        which = "that goes on" if from_ns is None else f"at {utc(self._clock.utc_ns(done.from_ns))}"
        return f"{machine}: the stop {which} is named {reason}"

    async def _check(self, machine: str, runner: Runner, found: StopReasonAssigned) -> None:
        """Refuse what is final and was no stop; what is not final is the work unit's to say."""
        final_ns = runner.state.track.timeline.final_ns
        where = f"{machine}: {utc(self._clock.utc_ns(found.from_ns))}"
        if found.from_ns >= final_ns:
            return
        if found.to_ns is not None and found.to_ns > final_ns:
            text = f"{where}: what happened up to {utc(self._clock.utc_ns(found.to_ns))} is not final yet"
            raise RequestError(text, guard="FINAL", allowed="what is final", what_to_do="wait a minute, or name less")
        row: list[StateInterval] = []
        for *_, body in await self._store.read(
            *journal.of_kind_query(machine, "interval", found.from_ns, INTERVALS_MAX)
        ):
            interval = interval_of(json.loads(body))
            if interval.from_ns >= (found.from_ns + 1 if found.to_ns is None else found.to_ns):
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
        try:
            wanted_ns = int(Instant(text_of(request, name)))
        except ValueError as error:
            raise RequestError(f"{name}: {error}", guard="TIME", what_to_do=f"send another {name}") from error
        near_ns = wanted_ns - self._clock.offset_ns
        # What was learned of the time later than that instant does not hold for it.
        return near_ns - (self._clock.utc_ns(near_ns) - wanted_ns)


def _role(request: Mapping[str, Any], name: str) -> Role:
    text = text_of(request, name)
    if text not in list(Role):
        allowed = ", ".join(Role)
        raise RequestError(f"{name}: found {text!r}, allowed: {allowed}", guard="FIELD", found=text, allowed=allowed)
    return Role(text)
