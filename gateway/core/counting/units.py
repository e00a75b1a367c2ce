"""Counting mode ``units``: cartons, kilograms or metres from counts, with an exact ratio and no drift.

What is not a whole step yet is carried as a fraction. Converts nothing between units of measure and rounds nothing
twice; single weighings and tare are ``weighing.py``.
"""

from __future__ import annotations

from fractions import Fraction
from math import gcd
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.core.counting.detector import LOOKED_AT_EVERY_UNKNOWN, CounterSourceState, source_of, source_restored
from gateway.core.counting.pulse import PulseState  # noqa: TC001 - detector.loaded reads the types of the fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.counting.detector import Events, Sample
    from gateway.core.model import CountEvent
    from gateway.core.rules_pieces import UnitsRule


class UnitsState(NamedTuple):
    """The counter, and the part of a step that is not booked yet: ``carry / carry_of``, below 1.

    ``since_ns``: when the first count of that part was made, 0 where there is none.
    """

    source: CounterSourceState | PulseState | None = None
    carry: int = 0
    carry_of: int = 1
    since_ns: int = 0


class UnitsDetector:
    """The rule of one quantity, prepared.

    Args:
        rule: the settings.
        ideal_cycle_ns: ideal time of one count, for the rate limit of the counter.
        looked_at_every: how often signals are looked at, see ``detector.LOOKED_AT_EVERY_UNKNOWN``.
    """

    def __init__(
        self, rule: UnitsRule, ideal_cycle_ns: int | None, looked_at_every: Mapping[str, int] = LOOKED_AT_EVERY_UNKNOWN
    ) -> None:
        self._role = rule.role
        self._source: Any = source_of(rule.count, ideal_cycle_ns, looked_at_every)
        per_count = Fraction(rule.resolution) if rule.resolution is not None else None
        if rule.pulses_per_unit is not None:
            per_count = 1 / rule.pulses_per_unit.exact
        assert per_count is not None, "the rule has one of them"
        self._steps = per_count * 10**rule.decimals  # steps that one count is
        self.signals: tuple[str, ...] = self._source.signals

    def initial(self) -> UnitsState:
        """Nothing known, nothing carried."""
        return UnitsState(self._source.initial())

    def restored(self, state: UnitsState) -> UnitsState:
        """The carry stays."""
        return state._replace(source=source_restored(self._source, state.source))

    def carry(self, state: UnitsState) -> Fraction:
        """The part of a step that is not booked yet, exactly: from 0 to below 1."""
        return Fraction(state.carry, state.carry_of)

    def deadline(self, state: UnitsState) -> int | None:
        """When a level is believed."""
        due: int | None = self._source.deadline(state.source)
        return due

    def on_time(self, state: UnitsState, now_ns: int) -> tuple[UnitsState, Events]:
        """Levels that held are believed."""
        source, events = self._source.on_time(state.source, now_ns)
        return self._all(state._replace(source=source), events)

    def on_value(self, state: UnitsState, sample: Sample) -> tuple[UnitsState, Events]:
        """A value of the counter."""
        source, events = self._source.on_value(state.source, sample)
        return self._all(state._replace(source=source), events)

    def _all(self, state: UnitsState, events: Events) -> tuple[UnitsState, Events]:
        out: list[CountEvent] = []
        for event in events:
            state, one = self._convert(state, event)
            out.append(one)
        return state, tuple(out)

    def _convert(self, state: UnitsState, event: CountEvent) -> tuple[UnitsState, CountEvent]:
        """Every count is told, with the whole steps that it completes: mostly none, where a step takes many."""
        # Whole numbers, because every count passes here: a ``Fraction`` takes ten times as long.
        steps, of = self._steps.numerator, self._steps.denominator * state.carry_of
        whole, rest = divmod(state.carry * self._steps.denominator + event.delta * steps * state.carry_of, of)
        since_ns = state.since_ns or event.t_from_ns
        # What is set aside or may be lost is an upper bound: it is rounded up.
        lost = event.max_lost if event.max_lost <= 0 else -(-event.max_lost * self._steps // 1)
        converted = event._replace(
            delta=whole,
            t_from_ns=since_ns if whole else event.t_from_ns,
            estimated=event.estimated or whole > 1,
            review=-(-event.review * self._steps // 1) if event.review else 0,
            max_lost=lost,
            role=self._role,
            cycles=event.delta,
        )
        if not event.delta:
            return state, converted
        if not rest:
            since_ns = 0
        elif whole:
            since_ns = event.t_to_ns
        common = gcd(rest, of)
        return UnitsState(state.source, rest // common, of // common, since_ns), converted
