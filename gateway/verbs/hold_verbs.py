"""Holds of a machine, a product, a lot or an order: which stand, and a person's word that sets or releases one.

Without a machine a hold is of all machines that have orders; each work unit decides for itself and writes it down. A
word that reached only some of them, because the gateway ended meanwhile, is said again: the others have it already. So
its Idempotency-Key goes with the last of them: before, it stands for nothing that was done. The others are told all at
once: one whose counters cannot be read makes none of them wait.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.access.caller import TAKEN
from gateway.asking.speaker import runner_of, speaker, told
from gateway.control import RequestError, text_of
from gateway.core.document import utc
from gateway.core.entries import StandingHoldEntry
from gateway.core.model import JobChanged, JobOrderState
from gateway.core.orders.standing_holds import HOLD_KNOWN, HOLD_STANDS, HoldScope, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.control import Verb
    from gateway.core.model import Output
    from gateway.core.orders.standing_holds import StandingHold
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock
    from gateway.work_unit.runner import Runner


class HoldVerbs:
    """These verbs of one running gateway."""

    def __init__(self, parts: Parts, clock: SteadyClock) -> None:
        self._parts = parts
        self._clock = clock

    def table(self) -> dict[str, Verb]:
        """Every verb by name."""
        return {"hold.set": self._said, "hold.release": self._said, "hold.list": self._list}

    async def _list(self, request: Mapping[str, Any]) -> Any:
        chosen = self._chosen(request, everywhere=True)
        return {"holds": [self._shown(name, hold) for name, one in chosen.items() for hold in one.state.standing]}

    def _shown(self, machine: str, hold: StandingHold) -> dict[str, Any]:
        told = {name: value for name, value in shown(hold).items() if name != "since_ns"}
        return {"machine": machine, **told, "since": utc(self._clock.utc_ns(hold.since_ns))}

    async def _said(self, request: Mapping[str, Any]) -> Any:
        begins = text_of(request, "verb") == "hold.set"
        scope, name = _named(request)
        reason = text_of(request, "reason") if request.get("reason") else ""
        more = {"signed_by": str(request.get("signed_by", "")), **speaker(request)}
        word = "set" if begins else "released"
        what = f"{scope} {name}".rstrip()
        chosen, key = self._chosen(request), TAKEN.get()

        async def one(machine: str) -> str:
            entry = StandingHoldEntry(self._clock.now_ns(), scope, name, begins, reason, **more)
            made = told(await chosen[machine].submit(entry), f"{machine}: the hold of {what} is not {word}")
            return _done(machine, made)

        *others, last = chosen
        TAKEN.set(None)  # of this request alone
        answers = await asyncio.gather(*map(one, others), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not _had(answer):
                raise answer
        TAKEN.set(key)
        answers += await asyncio.gather(one(last), return_exceptions=True)
        done = [answer for answer in answers if isinstance(answer, str)]
        refused = [answer for answer in answers if isinstance(answer, BaseException)]
        for answer in refused:
            if not (done and _had(answer)):
                raise answer
        return f"hold of {what} {word} at {'; '.join(done)}"

    def _chosen(self, request: Mapping[str, Any], *, everywhere: bool = False) -> dict[str, Runner]:
        """The machine that is named, else all that have orders of their own."""
        if request.get("machine"):
            return dict([runner_of(self._parts, request)])
        found = {
            name: runner for name, runner in self._parts.runners.items() if not runner.unit.rules.orders.shares_with
        }
        if request.get("scope") == HoldScope.MACHINE and not everywhere:
            allowed = ", ".join(found)
            text = f"machine: found none, allowed with scope machine: {allowed}"
            raise RequestError(text, guard="FIELD", allowed=allowed, what_to_do="name the machine")
        return found


def _named(request: Mapping[str, Any]) -> tuple[HoldScope, str]:
    scope = text_of(request, "scope")
    if scope not in list(HoldScope):
        allowed = ", ".join(HoldScope)
        text = f"scope: found {scope!a}, allowed: {allowed}"
        raise RequestError(text, guard="FIELD", found=scope, allowed=allowed, what_to_do="name one of them")
    if scope == HoldScope.MACHINE:
        if request.get("name"):
            text = "name: found one, allowed with scope machine: none; the machine is named by machine"
            raise RequestError(text, guard="FIELD", found=text_of(request, "name"), what_to_do="leave it out")
        return HoldScope.MACHINE, ""
    if not request.get("name"):
        text = f"name: found none, allowed with scope {scope}: a {scope}"
        raise RequestError(text, guard="FIELD", found="none", allowed=f"a {scope}", what_to_do=f"name the {scope}")
    return HoldScope(scope), text_of(request, "name")


def _had(answer: BaseException) -> bool:
    """Whether a machine has nothing to change: the hold stands there already, or does not."""
    return isinstance(answer, RequestError) and answer.guard in (HOLD_STANDS, HOLD_KNOWN)


def _done(machine: str, made: Sequence[Output]) -> str:
    """The machine with how many of its orders changed by it."""
    on_hold = [isinstance(one, JobChanged) and one.record.state is JobOrderState.ON_HOLD for one in made]
    freed = [isinstance(one, JobChanged) and one.previous is JobOrderState.ON_HOLD for one in made]
    held = sum(one and not two for one, two in zip(on_hold, freed, strict=True))
    free = sum(two and not one for one, two in zip(on_hold, freed, strict=True))
    number, word = (held, "held") if held else (free, "free again")
    return f"{machine} ({number} order{'s' * (number > 1)} {word})" if number else f"{machine} (no order changed)"
