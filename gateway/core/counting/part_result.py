"""Counting mode ``part_result``: a part comes, then the verdict on it.

A part is counted once its verdict is settled, or once it can no longer come; it is dated when the part came. A verdict
that comes later belongs to nobody: it is never given to the next part. Knows no orders and no measured values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.counting.detector import LOOKED_AT_EVERY_UNKNOWN, NOTHING
from gateway.core.counting.edges import Edges
from gateway.core.counting.pulse import PulseState  # noqa: TC001 - detector.loaded reads the types of the fields
from gateway.core.counting.verdicts import OpenPart, Verdicts, VerdictState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.counting.detector import Events, Sample
    from gateway.core.counting.edges import Edge
    from gateway.core.rules_counting import PartResultRule


class PartResultState(NamedTuple):
    """The part sensor, and the parts that wait for their verdict."""

    part: tuple[PulseState, ...] = ()
    verdicts: VerdictState = VerdictState()


class PartResultDetector:
    """The rule of one part sensor with its results, prepared.

    Args:
        rule: the settings.
        ideal_cycle_ns: ideal time between two parts; bounds what may have been lost where no minimum is set.
        looked_at_every: how often signals are looked at, see ``detector.LOOKED_AT_EVERY_UNKNOWN``.
    """

    def __init__(
        self,
        rule: PartResultRule,
        ideal_cycle_ns: int | None,
        looked_at_every: Mapping[str, int] = LOOKED_AT_EVERY_UNKNOWN,
    ) -> None:
        self._edges = Edges({"part": rule.part}, ideal_cycle_ns, looked_at_every)
        self._verdicts = Verdicts(rule.results, rule.signal, latch=False, looked_at_every=looked_at_every)
        # The part first: a verdict of the same scan is its own.
        self.signals = (rule.signal, *self._verdicts.signals)

    def initial(self) -> PartResultState:
        """Nothing known."""
        return PartResultState(self._edges.initial(), self._verdicts.initial())

    def restored(self, state: PartResultState) -> PartResultState:
        """Levels must be seen anew; parts that waited go on waiting."""
        return PartResultState(self._edges.restored(state.part), self._verdicts.restored(state.verdicts))

    def deadline(self, state: PartResultState) -> int | None:
        """When a level is believed or the oldest part is decided."""
        settled_ns, judged_ns = self._edges.deadline(state.part), self._verdicts.deadline(state.verdicts)
        return judged_ns if settled_ns is None or (judged_ns is not None and judged_ns < settled_ns) else settled_ns

    def on_time(self, state: PartResultState, now_ns: int) -> tuple[PartResultState, Events]:
        """Levels that held are believed, parts whose time is over are counted."""
        part, found = self._edges.on_time(state.part, now_ns)
        verdicts, events = self._parts(state.verdicts, found, now_ns)
        verdicts, more = self._verdicts.on_time(verdicts, now_ns, unsettled_ns=self._edges.unsettled(part))
        return PartResultState(part, verdicts), events + more

    def on_value(self, state: PartResultState, sample: Sample) -> tuple[PartResultState, Events]:
        """The part sensor or a result."""
        part, found = self._edges.on_value(state.part, sample)
        verdicts, events = self._parts(state.verdicts, found, sample.arrived_ns)
        verdicts, more = self._verdicts.on_value(verdicts, sample, unsettled_ns=self._edges.unsettled(part))
        return PartResultState(part, verdicts), events + more

    def _parts(self, state: VerdictState, found: list[Edge], arrived_ns: int) -> tuple[VerdictState, Events]:
        out: Events = NOTHING
        for _, event in found:
            state, events = self._verdicts.passed(state, event.t_to_ns)
            out += events
            if not event.delta:
                out += (event,)
                continue
            part = OpenPart(event.t_from_ns, event.t_to_ns, arrived_ns, event.cycle_ns)
            state, events = self._verdicts.opened(state, part)
            out += events
        return state, out
