"""Holds that stand on a whole machine, a product, a lot or an order: what they are of is held, also what comes later.

An order that one applies to goes on hold, or stays there, and returns to where it was once all of its holds are
released. Decides which orders that are; a hold of one operation alone is ``decisions.py``'s, and a machine is never
stopped for any of them.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.access.permissions import Action
from gateway.core.access.permissions import refusal as refusal_for
from gateway.core.access.roles import ActorRole
from gateway.core.model import JobChanged, JobOrderState
from gateway.core.orders.guards import Guard, GuardFacts, check
from gateway.core.orders.lifecycle import RUNNING, following
from gateway.core.orders.order_steps import objection
from gateway.core.orders.places import with_run
from gateway.core.refusal import Refusal, all_of, refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.core.entries import StandingHoldEntry
    from gateway.core.model import Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State

_S: Final = JobOrderState
#: At one machine: each of its orders may be held by all of them.
STANDING_HOLDS_MAX: Final = 100
#: Guards of a refusal: such a hold stands already, or none does.
HOLD_STANDS: Final = "HOLD_STANDS"
HOLD_KNOWN: Final = "HOLD_KNOWN"


class HoldScope(enum.StrEnum):
    """What a hold is of."""

    MACHINE = "machine"
    PRODUCT = "product"
    LOT = "lot"  # mounted, or being made
    ORDER = "order"  # all of its operations, also those that come


class StandingHold(NamedTuple):
    """One hold. ``name`` is the product, lot or order; "" for the machine itself."""

    scope: HoldScope
    name: str
    reason: str
    who: str
    since_ns: int

    @property
    def text(self) -> str:
        """As every refusal and every display names it."""
        return f"{f'{self.scope} {self.name}'.rstrip()}: {self.reason}"


class StandingHoldChanged(NamedTuple):
    """A hold of a machine, product, lot or order was set (``begins``) or released."""

    at_ns: int
    scope: HoldScope
    name: str
    begins: bool
    reason: str
    who: str


def holds_from(data: Iterable[Iterable[object]]) -> tuple[StandingHold, ...]:
    """What JSON made of the holds. Raises TypeError or ValueError for anything else."""
    found = (StandingHold(*one) for one in data)  # type: ignore[arg-type]  # the next line checks what matters
    return tuple(one._replace(scope=HoldScope(one.scope)) for one in found)


def on_run_from(data: Iterable[Iterable[str]]) -> tuple[tuple[str, str, str], ...]:
    """What JSON made of the holds that an order is on."""
    return tuple((scope, name, reason) for scope, name, reason in data)


def applies(dispatch: Dispatch, state: State, run: JobRun, scope: str, name: str) -> bool:
    """Whether a hold of this is one of the order, as things are now.

    A lot is one of the order's where it is mounted at a feeder that the order takes from, where pieces that are not
    confirmed took it, or where the order makes it.
    """
    job = run.job
    if scope == HoldScope.MACHINE:
        return True
    if scope == HoldScope.PRODUCT:
        return job.product == name
    if scope == HoldScope.ORDER:
        return name in (job.order, job.erp_order, *job.leads)
    batch = "" if job.image is None else job.image.batch
    used = (use.lot for made in run.work.made for use in made.uses)
    return name in (batch, run.work.produced.lot) or name in used or name in dispatch.work.lots_for(state, run)


class StandingHolds:
    """The holds of one work unit."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    def said(self, state: State, entry: StandingHoldEntry, out: list[Output]) -> State:
        """The state after a person set or released a hold; what cannot be is a REFUSED notice."""
        name = "" if entry.scope is HoldScope.MACHINE else entry.name
        there = next((one for one in state.standing if (one.scope, one.name) == (entry.scope, name)), None)
        why = self._why_not(state, entry, name, there)
        if why:
            out.append(refused(entry.at_ns, why))
            return state
        by = (entry.begins, entry.reason or "without a reason", entry.who)
        out.append(StandingHoldChanged(entry.at_ns, entry.scope, name, *by))
        if entry.begins:
            hold = StandingHold(entry.scope, name, by[1], entry.who, entry.at_ns)
            standing = (*state.standing, hold)
        else:
            standing = tuple(one for one in state.standing if one is not there)
        state = applied(self._dispatch, state._replace(standing=standing), entry.at_ns, out, by=entry.who)
        state = self._dispatch.complete_if_full(state, entry.at_ns, out)
        return self._dispatch.advance(state, entry.at_ns, out)

    def _why_not(self, state: State, entry: StandingHoldEntry, name: str, there: StandingHold | None) -> str:
        action = Action.HOLD if entry.begins else Action.RELEASE
        no = refusal_for(entry.role or ActorRole.SUPERVISOR, action)
        if no is not None:
            allowed = ", ".join(one.value for one in no.allowed)
            text = f"{no.code}: {no.text}"
            return Refusal(text, no.code, found=no.role, allowed=allowed, what_to_do="ask one of them")
        what = f"{entry.scope} {name}".rstrip()
        if entry.begins:
            return _may_begin(state, what, there)
        if there is None:
            stand = ", ".join(one.text for one in state.standing) or "none"
            text = (
                f"{what} is not on hold here; holds that stand: {stand}; a hold of one operation ends by order release"
            )
            return Refusal(text, HOLD_KNOWN, found=what, allowed=stand, what_to_do="name a hold that stands")
        facts = GuardFacts(signature_required=True, signed=bool(entry.signed_by))
        found = check((Guard.SIGNATURE,), facts, self._dispatch.rule)
        return all_of(objection(one) for one in found if one.blocks)


def _may_begin(state: State, what: str, there: StandingHold | None) -> str:
    if there is not None:
        text = f"{what} is on hold already: {there.reason} (by {there.who}); release it first for another reason"
        todo = "release it first for another reason"
        return Refusal(text, HOLD_STANDS, found=there.text, allowed="no such hold", what_to_do=todo)
    if len(state.standing) < STANDING_HOLDS_MAX:
        return ""
    found, todo = str(len(state.standing)), "release some first"
    text = f"found {found} holds that stand at this machine, allowed {STANDING_HOLDS_MAX}; {todo}"
    return Refusal(text, HOLD_STANDS, found=found, allowed=str(STANDING_HOLDS_MAX), what_to_do=todo)


def applied(dispatch: Dispatch, state: State, at_ns: int, out: list[Output], *, by: str = "") -> State:
    """The state with every open order on the holds that are its own; one that has none any more is where it was.

    A hold once on an order stays on it as long as it stands. What is only planned cannot be held yet.
    """
    known = {(one.scope.value, one.name): one for one in state.standing}
    for run in tuple(state.open_runs()):
        kept = [one for one in run.standing if one[:2] in known]
        if run.state is _S.ON_HOLD or _S.ON_HOLD in following(run.state):
            have = {one[:2] for one in kept}
            new = (one for key, one in known.items() if key not in have and applies(dispatch, state, run, *key))
            kept += [(one.scope.value, one.name, one.reason) for one in new]
        if tuple(kept) != run.standing:
            state = _on_holds(dispatch, state, run, tuple(kept), at_ns, out, by)
    return state


def _on_holds(
    dispatch: Dispatch,
    state: State,
    run: JobRun,
    standing: tuple[tuple[str, str, str], ...],
    at_ns: int,
    out: list[Output],
    by: str,
) -> State:
    more = [one for one in standing if one not in run.standing]
    text = f"hold of {_named(more[0])}" if more else f"hold of {_named(run.standing[0])} released"
    text = f"{text} by {by}" if by else text
    if run.state is not _S.ON_HOLD:
        if run.state in RUNNING and run.anything_open:
            run = dispatch.confirmed(state, run, at_ns, "hold", out)
        after = run._replace(state=_S.ON_HOLD, held_from=run.state, standing=standing)
    elif standing or run.hold_reason or run.held_from is None:
        after = run._replace(standing=standing)
    else:
        after = run._replace(state=run.held_from, held_from=None, standing=())
    out.append(JobChanged(at_ns, after.record(), run.state, text))
    return with_run(state, after)


def held_otherwise(before: State, state: State) -> bool:
    """Whether something changed since then that a hold may be of: what waits or runs beside, or what is mounted."""
    if before.queue is not state.queue or before.beside is not state.beside or before.standing is not state.standing:
        return True
    if before.work.feeders is state.work.feeders or all(one.scope is not HoldScope.LOT for one in state.standing):
        return False
    return _mounted(before) != _mounted(state)


def _mounted(state: State) -> tuple[str, ...]:
    return tuple(lot.lot for one in state.work.feeders for lot in one.lots if lot.unmounted_ns is None)


def _named(one: tuple[str, str, str]) -> str:
    return f"{one[0]} {one[1]}".rstrip()


def still_held(dispatch: Dispatch, state: State, run: JobRun) -> tuple[tuple[str, str, str], ...]:
    """The standing holds that keep an order on hold though its own is released; a lot that is gone keeps it no more."""
    return tuple(one for one in run.standing if applies(dispatch, state, run, *one[:2]))


def freed(run: JobRun) -> JobRun:
    """An order that leaves the machine, without the holds that stand there."""
    if not run.standing:
        return run
    if run.hold_reason or run.held_from is None:
        return run._replace(standing=())
    return run._replace(standing=(), state=run.held_from, held_from=None)


def mounts_held(dispatch: Dispatch, state: State, lot: str) -> tuple[str, str]:
    """What is against mounting a lot, as a refusal and as a warning; both "": nothing is."""
    hold = next((one for one in state.standing if one.scope is HoldScope.LOT and one.name == lot), None)
    if hold is None:
        return "", ""
    found = check((Guard.G1,), GuardFacts(holds=(hold.text,)), dispatch.rule)
    refusal = all_of(objection(one) for one in found if one.blocks)
    return refusal, "" if refusal else "; ".join(map(str, found))


def shown(hold: StandingHold) -> Mapping[str, object]:
    """A hold as every display shows it."""
    return {**hold._asdict(), "scope": hold.scope.value}
