"""The state of a work unit under other rules, between two inputs: what goes on as it is, and what must be seen anew.

Counts, orders, confirmations and doubts always go on. Decides nothing about when rules change.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core import snapshot
from gateway.core.orders.handover import with_images

if TYPE_CHECKING:
    from gateway.core.rules import WorkUnitRules
    from gateway.core.unit_state import DetectorState, State
    from gateway.core.work_unit import WorkUnit

#: What these modes remember is the signal's own (a position, a level): it is as true under other limits.
_OF_THE_SIGNAL: Final = ("counter", "pulse")
#: Rules that the machine's state does not depend on; of the counters only what they read matters.
_NOT_OF_THE_STATE: Final = ("work_center", "confirm", "orders", "unallocated", "max_source_skew", "counters", "work")


class Carried(NamedTuple):
    """A state under other rules. ``anew``: something in it waits for values, as after a restart."""

    state: State
    anew: bool


def carried_over(old: WorkUnit, state: State, new: WorkUnit) -> Carried:
    """The state of ``old`` as ``new`` goes on with it. Raises snapshot.SnapshotError.

    A counter or pulse with the same signal keeps its position and level, whatever else of its rule changed; any other
    rule does if it is the same in every word. What is kept misses nothing.
    """
    images = {run.job.image_digest: run.job.image for run in state.all_runs() if run.job.image is not None}
    loaded = with_images(snapshot.load(new, snapshot.dump(old, state)), images)
    known = {(rule.mode, rule.signal): at for at, rule in enumerate(old.rules.counters)}
    detectors: list[DetectorState] = []
    anew = False
    for rule, otherwise in zip(new.rules.counters, loaded.detectors, strict=True):
        at = known.get((rule.mode, rule.signal))
        if at is not None and (rule.mode in _OF_THE_SIGNAL or rule == old.rules.counters[at]):
            detectors.append(state.detectors[at])
        else:
            detectors.append(otherwise)
            anew = True
    same_state = _basis(old) == _basis(new)
    track = state.track if same_state else to_be_told_anew(new, loaded).track
    return Carried(loaded._replace(detectors=tuple(detectors), track=track), anew or not same_state)


def to_be_told_anew(unit: WorkUnit, state: State) -> State:
    """A loaded state that takes the next value of each signal as new, even if it is the same: it may mean another."""
    fresh = unit.initial(state.at_ns).track
    return state._replace(track=state.track._replace(signals=fresh.signals))


def _basis(unit: WorkUnit) -> tuple[Any, ...]:
    rules: WorkUnitRules = unit.rules
    values = [getattr(rules, field.name) for field in dataclasses.fields(rules) if field.name not in _NOT_OF_THE_STATE]
    return (*values, *((rule.mode, rule.signal) for rule in rules.counters), unit.signals)
