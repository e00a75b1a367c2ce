"""Digital inputs of one rule read together: debounced like pulses, their edges in the order in which they happened.

An edge is believed once its level held for the debounce time. A later value of any of the rule's signals proves that as
well as one of its own, so the outcome does not depend on how the values were grouped on their way. Gives edges, no
counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.counting.detector import LOOKED_AT_EVERY_UNKNOWN, NOTHING, PulseSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.counting.detector import Sample
    from gateway.core.counting.pulse import PulseState
    from gateway.core.model import CountEvent
    from gateway.core.rules_inputs import PulseRule


class Edge(NamedTuple):
    """What an input told: an edge (``event.delta`` 1, dated ``t_to_ns``), or something about it (delta 0)."""

    name: str
    event: CountEvent


class Edges:
    """Several pulse inputs, prepared.

    Args:
        inputs: what an edge means, to the rule of its input. Of edges with the same date the first named comes first.
        ideal_cycle_ns: ideal time between two edges of one input; bounds what may have been lost.
        looked_at_every: how often signals are looked at, see ``detector.LOOKED_AT_EVERY_UNKNOWN``.
    """

    def __init__(
        self,
        inputs: Mapping[str, PulseRule],
        ideal_cycle_ns: int | None,
        looked_at_every: Mapping[str, int] = LOOKED_AT_EVERY_UNKNOWN,
    ) -> None:
        self._names = tuple(inputs)
        self._sources = tuple(PulseSource(rule, ideal_cycle_ns, looked_at_every) for rule in inputs.values())
        self._may_stick = any(rule.stuck_after is not None for rule in inputs.values())
        self.signals = tuple(dict.fromkeys(rule.signal for rule in inputs.values()))

    def initial(self) -> tuple[PulseState, ...]:
        """Levels unknown."""
        return tuple(source.initial() for source in self._sources)

    def restored(self, states: tuple[PulseState, ...]) -> tuple[PulseState, ...]:
        """Levels must be seen anew."""
        if len(states) != len(self._sources):  # the rule has other inputs than it had
            return self.initial()
        return tuple(source.restored(state) for source, state in zip(self._sources, states, strict=True))

    def unsettled(self, states: tuple[PulseState, ...]) -> int | None:
        """Since when a level may yet turn out to be an edge; None where all are decided."""
        since_ns = [state.candidate_ns for state in states if state.candidate_ns]
        return min(since_ns) if since_ns else None

    def known(self, states: tuple[PulseState, ...]) -> bool:
        """Whether every level is known."""
        for state in states:  # noqa: SIM110 - asked for every value: four times as fast as a generator
            if state.level is None:
                return False
        return True

    def deadline(self, states: tuple[PulseState, ...]) -> int | None:
        """When the next level is believed."""
        due: int | None = None
        for source, state in zip(self._sources, states, strict=True):
            at_ns = source.deadline(state) if state.candidate_ns or self._may_stick else None
            if at_ns is not None and (due is None or at_ns < due):
                due = at_ns
        return due

    def on_time(self, states: tuple[PulseState, ...], now_ns: int) -> tuple[tuple[PulseState, ...], list[Edge]]:
        """Levels that held are believed."""
        after, found = [], []
        for name, source, state in zip(self._names, self._sources, states, strict=True):
            if not (state.candidate_ns or self._may_stick):  # the usual case
                after.append(state)
                continue
            kept, events = source.on_time(state, now_ns)
            after.append(kept)
            if events:
                found += [Edge(name, event) for event in events]
        return tuple(after), found if len(found) <= 1 else sorted(found, key=_date)

    def on_value(self, states: tuple[PulseState, ...], sample: Sample) -> tuple[tuple[PulseState, ...], list[Edge]]:
        """One value of any of the rule's signals."""
        after, found = [], []
        for name, source, state in zip(self._names, self._sources, states, strict=True):
            if sample.signal in source.signals:
                kept, events = source.on_value(state, sample)
            elif state.candidate_ns:
                kept, events = source.settled(state, sample.t_ns, sample.arrived_ns)
            else:
                kept, events = state, NOTHING
            after.append(kept)
            if events:
                found += [Edge(name, event) for event in events]
        return tuple(after), found if len(found) <= 1 else sorted(found, key=_date)


def _date(edge: Edge) -> int:
    return edge.event.t_to_ns
