"""What people tell of themselves and of material: who is at the machine, which lots are mounted, what was used up.

What cannot be done is told with the code of the module that refuses it. Counts nothing; a change of lots asks for a
confirmation, whether one is made is ``closing.py``'s.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from gateway.core.confirming.triggers import Trigger
from gateway.core.entries import LotEntry, LotNamed, LotNameEntry, MaterialEntry, PresenceEntry, SerialEntry
from gateway.core.model import Notice
from gateway.core.orders.dispatch import named, with_run
from gateway.core.orders.standing_holds import mounts_held
from gateway.core.refusal import Refusal, refused
from gateway.core.work.backflush import LineKind
from gateway.core.work.labour import logged_in, logged_out, shared_by
from gateway.core.work.lots import LOT_UNKNOWN, UNKNOWN_LOT, Feeder, mount, unmount
from gateway.core.work.lots import named as with_lot_named
from gateway.core.work.refused import WorkRefused
from gateway.core.work.rounding import Exact
from gateway.core.work.serials import serial_given

if TYPE_CHECKING:
    from gateway.core.entries import PresenceShared, UndoEntry
    from gateway.core.model import Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State


def said(
    dispatch: Dispatch,
    state: State,
    entry: PresenceEntry | LotEntry | MaterialEntry | LotNameEntry | SerialEntry,
    out: list[Output],
) -> State:
    """The state after such a word of a person."""
    if isinstance(entry, SerialEntry):
        return serial_given(state, entry, out)
    if isinstance(entry, LotNameEntry):
        return _lot_named(dispatch, state, entry, out)
    if isinstance(entry, PresenceEntry):
        return _presence(dispatch, state, entry, out)
    if isinstance(entry, LotEntry):
        return _lot(dispatch, state, entry, out)
    return _material(dispatch, state, entry, out)


def kept_of(before: State, entry: PresenceEntry | LotEntry) -> tuple[Any, ...]:
    """What an undo of it needs: whom, or feeder, lot, what was left of it, and whether another one made way."""
    if isinstance(entry, PresenceEntry):
        return (entry.person,)
    there = next((one.lots for one in before.work.feeders if one.name == entry.feeder), ())
    lot = next((one for one in there if one.lot == entry.lot and one.unmounted_ns is None), None)
    left = None if lot is None or lot.remaining is None else list(lot.remaining)
    made_way = entry.mounts and entry.replace and any(one.unmounted_ns is None for one in there)
    return (entry.feeder, entry.lot, left, made_way)


def back(
    dispatch: Dispatch, state: State, verb: str, kept: tuple[Any, ...], entry: UndoEntry, out: list[Output]
) -> State:
    """The state with such a word taken back from here on; the time in between stays what it was."""
    by, at_ns = (entry.who, entry.role, entry.auth, entry.client), entry.at_ns
    if verb.startswith("labour."):
        return _presence(dispatch, state, PresenceEntry(at_ns, verb == "labour.out", kept[0], *by), out)
    feeder, lot, left, made_way = kept
    if made_way:
        todo = "mount what was there again, with --replace"
        text = f"{verb} took off what was there before and cannot be undone; {todo}"
        parts = {"found": "a lot that made way", "allowed": "a lot that was put behind others", "what_to_do": todo}
        out.append(refused(at_ns, Refusal(text, "UNDO", **parts)))
        return state
    taken_off = LotEntry(at_ns, verb == "lot.unmount", feeder, lot, entry.who)
    state = _lot(dispatch, state, taken_off, out)
    if left is None:
        return state
    feeders = tuple(_with_left(one, lot, Exact(*left)) if one.name == feeder else one for one in state.work.feeders)
    return state._replace(work=state.work._replace(feeders=feeders))


def _with_left(feeder: Feeder, lot: str, left: Exact) -> Feeder:
    lots = (one._replace(remaining=left) if one.lot == lot and one.unmounted_ns is None else one for one in feeder.lots)
    return feeder._replace(lots=tuple(lots))


def shared(dispatch: Dispatch, state: State, given: PresenceShared) -> State:
    """The state after it was told at how many machines that work a person is; of nobody here it says nothing."""
    since_ns = given.at_ns if given.since_ns is None else min(given.since_ns, given.at_ns)
    labour = shared_by(state.work.labour, given.person, dispatch.work.machine, since_ns, given.machines)
    return state if isinstance(labour, WorkRefused) else state._replace(work=state.work._replace(labour=labour))


def _presence(dispatch: Dispatch, state: State, entry: PresenceEntry, out: list[Output]) -> State:
    verb = logged_in if entry.begins else logged_out
    labour = verb(state.work.labour, entry.person, dispatch.work.machine, entry.at_ns)
    if isinstance(labour, WorkRefused):
        return _refused(state, entry.at_ns, labour, out)
    run = state.running
    if run is not None and not entry.begins:
        operators = tuple(sorted({*run.work.operators, entry.person}))
        state = state._replace(running=run._replace(work=run.work._replace(operators=operators)))
    return state._replace(work=state.work._replace(labour=labour))


def _lot(dispatch: Dispatch, state: State, entry: LotEntry, out: list[Output]) -> State:
    feeder = _feeder(state, entry.feeder)
    if isinstance(feeder, WorkRefused):
        return _refused(state, entry.at_ns, feeder, out)
    if entry.mounts:
        refusal, warning = mounts_held(dispatch, state, entry.lot)
        if refusal:
            out.append(refused(entry.at_ns, refusal))
            return state
        if warning:
            detail = (("feeder", entry.feeder), ("lot", entry.lot), ("reason", warning))
            out.append(Notice(entry.at_ns, "HELD_LOT_MOUNTED", detail))
        left = None if entry.quantity is None else Exact.of(entry.quantity)
        item = entry.item or feeder.item
        after = mount(feeder, entry.lot, item, entry.at_ns, quantity=left, replace=entry.replace)
    else:
        after = unmount(feeder, entry.lot, entry.at_ns)
    if isinstance(after, WorkRefused):
        return _refused(state, entry.at_ns, after, out)
    feeders = tuple(after if one is feeder else one for one in state.work.feeders)
    state = state._replace(work=state.work._replace(feeders=feeders))
    run = state.running
    if run is not None:
        state = with_run(state, dispatch.closer.asked(state, run, entry.at_ns, out, Trigger.LOT_CHANGE))
    return dispatch.advance(state, entry.at_ns, out)


def _feeder(state: State, name: str) -> Feeder | WorkRefused:
    feeder = next((one for one in state.work.feeders if one.name == name), None)
    if feeder is not None:
        return feeder
    names = ", ".join(one.name for one in state.work.feeders)
    todo = "name one of these" if names else "have the feeders of the machine configured (work.lots.feeders)"
    return WorkRefused("UNKNOWN_FEEDER", f"feeder {name}", "no such feeder", names or "none is configured", todo)


def _lot_named(dispatch: Dispatch, state: State, entry: LotNameEntry, out: list[Output]) -> State:
    """What is not confirmed, and what is: the lot is assumed from here on, because nobody saw it."""
    feeder = _feeder(state, entry.feeder)
    if isinstance(feeder, WorkRefused):
        return _refused(state, entry.at_ns, feeder, out)
    # What is no name of a lot that could be mounted is none that could have been.
    checked = mount(Feeder(feeder.name, feeder.item), entry.lot, feeder.item, entry.at_ns)
    if isinstance(checked, WorkRefused):
        return _refused(state, entry.at_ns, checked, out)
    run = named(state, entry.order, entry.operation)
    told = [name for name, item in entry.told if item == feeder.item]
    renamed = None if isinstance(run, str) else _with_named(run, entry)
    if renamed is None and not told:
        if isinstance(run, str):
            out.append(refused(entry.at_ns, run))
            return state
        why = with_lot_named((), feeder.name, entry.lot)
        assert isinstance(why, WorkRefused), "there is nothing to name"
        return _refused(state, entry.at_ns, why, out)
    out += [LotNamed(entry.at_ns, name, feeder.item, entry.lot) for name in told]
    if isinstance(run, str):
        return state
    after = run if renamed is None else renamed
    missing = tuple(item for item in after.checks.lots_missing if item != feeder.item)
    return dispatch.settled(state, after._replace(checks=after.checks._replace(lots_missing=missing)), entry.at_ns, out)


def _with_named(run: JobRun, entry: LotNameEntry) -> JobRun | None:
    """The order with the lot in what is not confirmed of it; None: no lot is unknown there."""
    made = []
    for one in run.work.made:
        uses = with_lot_named(one.uses, entry.feeder, entry.lot)
        made.append(one if isinstance(uses, WorkRefused) else one._replace(uses=uses))
    if tuple(made) == run.work.made:
        return None
    flags = run.open_flags
    if not any(use.lot == UNKNOWN_LOT for one in made for use in one.uses):
        flags = tuple(flag for flag in flags if flag != LOT_UNKNOWN)
    return run._replace(work=run.work._replace(made=tuple(made)), open_flags=flags)


def _material(dispatch: Dispatch, state: State, entry: MaterialEntry, out: list[Output]) -> State:
    run = named(state, entry.order, entry.operation)
    if isinstance(run, str):
        out.append(refused(entry.at_ns, run))
        return state
    if entry.quantity <= 0:
        found, allowed = str(entry.quantity), "more than 0"
        why = WorkRefused("QUANTITY", f"item {entry.item}", found, allowed, "enter what was used")
        return _refused(state, entry.at_ns, why, out)
    kind = LineKind.STARTUP if entry.startup else LineKind.PURGE
    used = dispatch.work.material.issued(
        state.work.feeders, run, entry.item, Fraction(entry.quantity), kind, entry.at_ns
    )
    if isinstance(used, WorkRefused):
        return _refused(state, entry.at_ns, used, out)
    feeders, run = used
    return with_run(state._replace(work=state.work._replace(feeders=feeders)), run)


def _refused(state: State, at_ns: int, why: WorkRefused, out: list[Output]) -> State:
    parts = {"found": why.found, "allowed": why.allowed, "what_to_do": why.what_to_do}
    out.append(refused(at_ns, Refusal(str(why), why.code, **parts)))
    return state
