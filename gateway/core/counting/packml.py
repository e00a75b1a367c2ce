"""Counting mode ``packml``: the product counters of a PackML machine.

``AccCount`` is a counter of 31 bits. ``Count`` starts anew with each job: a value that falls while the machine resets
is that, not a fault. What is good follows as in the mode ``roles``. The machine's state is told elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.counting.detector import NOTHING, CounterSource, CounterSourceState
from gateway.core.counting.roles import RolesDetector, RolesState
from gateway.core.model import Status
from gateway.core.rules_counting import RolesRule

if TYPE_CHECKING:
    from gateway.core.counting.detector import Events, Sample
    from gateway.core.rules_packml import PackmlRule


class PackmlState(NamedTuple):
    """The counters, and the reset of ``Count``.

    ``resetting``: the machine is in the state in which it resets them. ``armed``: for each counter, whether its reset
    is still to come.
    """

    roles: RolesState = RolesState()
    resetting: bool = False
    armed: tuple[bool, ...] = ()


class PackmlDetector:
    """The product counters of one PackML machine, prepared.

    Args:
        rule: the settings.
        ideal_cycle_ns: ideal time of one product, for the rate limit of the counters.
    """

    def __init__(self, rule: PackmlRule, ideal_cycle_ns: int | None) -> None:
        self._rule = rule
        processed = rule.counter(rule.processed)
        roles = RolesRule(
            mode="roles",
            total=processed if rule.processed_includes_defective else None,
            good=None if rule.processed_includes_defective else processed,
            scrap=None if rule.defective is None else rule.counter(rule.defective),
        )
        self._roles = RolesDetector(roles, ideal_cycle_ns)
        self._counters = {inner.signal: index for index, inner in enumerate(roles.counters.values())}
        self._sources = tuple(CounterSource(rule.counter(signal), ideal_cycle_ns) for signal in self._counters)
        self.signals = (*(() if rule.state is None else (rule.state,)), *self._roles.signals)

    def initial(self) -> PackmlState:
        """Nothing known."""
        return PackmlState(self._roles.initial(), armed=(False,) * len(self._counters))

    def restored(self, state: PackmlState) -> PackmlState:
        """Counters go on from their baselines; a reset that was to come still is."""
        if len(state.armed) != len(self._counters):  # the rule has other counters than it had
            return self.initial()
        return state._replace(roles=self._roles.restored(state.roles))

    def deadline(self, _state: PackmlState) -> int | None:
        """Counters wait for nothing but their next sample."""
        return None

    def on_time(self, state: PackmlState, _now_ns: int) -> tuple[PackmlState, Events]:
        """Nothing happens."""
        return state, NOTHING

    def on_value(self, state: PackmlState, sample: Sample) -> tuple[PackmlState, Events]:
        """The state, a counter, or what tells of a restart."""
        if sample.signal == self._rule.state:
            state = self._on_state(state, sample)
        index = self._counters.get(sample.signal)
        if index is not None and state.armed[index]:
            state = self._on_armed(state, index, sample)
        if sample.signal not in self._roles.signals:
            return state, NOTHING
        roles, events = self._roles.on_value(state.roles, sample)
        return state._replace(roles=roles), events

    def _on_state(self, state: PackmlState, sample: Sample) -> PackmlState:
        if sample.status is not Status.GOOD:
            return state
        resetting = sample.value == self._rule.resetting_state
        return PackmlState(state.roles, resetting, (True,) * len(self._counters) if resetting else state.armed)

    def _on_armed(self, state: PackmlState, index: int, sample: Sample) -> PackmlState:
        kept = state.roles.sources[index]
        assert isinstance(kept, CounterSourceState), "a PackML machine has counters only"
        if sample.status is not Status.GOOD:
            return state
        kept, fell = self._sources[index].reset_seen(kept, sample)
        if not fell and state.resetting:  # it may come yet
            return state
        armed = (*state.armed[:index], False, *state.armed[index + 1 :])
        sources = (*state.roles.sources[:index], kept, *state.roles.sources[index + 1 :])
        return PackmlState(state.roles._replace(sources=sources), state.resetting, armed)
