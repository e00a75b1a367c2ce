"""Verdicts on parts: which result belongs to which part, and what a part without one is.

A part waits for its verdict for a while; where several wait, verdicts come in the order of the parts. Two that
contradict each other are a conflict. Used by the modes ``part_result`` and ``start_end``; sees no part itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.counting.detector import LOOKED_AT_EVERY_UNKNOWN, NOTHING
from gateway.core.counting.pulse import LOOKS_PER_LEVEL, SETTLE_GRACE_NS
from gateway.core.model import CountEvent, Role, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.counting.detector import Events, Sample
    from gateway.core.model import Scalar
    from gateway.core.rules_counting import ResultRule

#: Parts that may wait for a verdict at once; beyond it the oldest is given up as one without.
OPEN_PARTS_MAX: Final = 64
#: Results that may wait for an edge to settle; beyond it the oldest is judged without.
EARLY_RESULTS_MAX: Final = 64
CONFLICT: Final = "conflict"
_SET: Final = "1"


class OpenPart(NamedTuple):
    """A part that waits.

    ``verdict`` "" for none yet; it came at ``verdict_ns`` and settles from ``told_ns`` on. ``heard``: the results were
    known all the time since the part came, so that their silence means something. ``shown``: that it came was told.
    ``reason``: why it is scrap.
    """

    t_from_ns: int
    t_ns: int
    arrived_ns: int
    cycle_ns: int | None
    flag: str = "OK"
    verdict: str = ""
    verdict_ns: int = 0
    told_ns: int = 0
    heard: bool = True
    shown: bool = False
    reason: str = ""


class EarlyResult(NamedTuple):
    """A result that came while an edge before it was still settling. ``text`` None: not known."""

    signal: str
    text: str | None
    t_ns: int
    arrived_ns: int


class VerdictState(NamedTuple):
    """What the result signals last showed, as text (None: not known), and the parts that wait, oldest first.

    Of polled results: ``looked_ns`` is when each was looked at last, ``gap_ns`` when a look came after a gap in which a
    verdict may have come and gone.
    """

    values: tuple[str | None, ...] = ()
    open: tuple[OpenPart, ...] = ()
    early: tuple[EarlyResult, ...] = ()
    looked_ns: tuple[int, ...] = ()
    gap_ns: int = 0


class Verdicts:
    """The rule of the results, prepared.

    Args:
        rule: the settings.
        signal: the part's signal: its events carry it.
        latch: what the signals show when a part comes is its verdict already, and a verdict without a part means
            nothing; else only a change after the part is one, and a change without a part is told.
        looked_at_every: how often signals are looked at, see ``detector.LOOKED_AT_EVERY_UNKNOWN``.
    """

    def __init__(
        self,
        rule: ResultRule,
        signal: str,
        *,
        latch: bool,
        looked_at_every: Mapping[str, int] = LOOKED_AT_EVERY_UNKNOWN,
    ) -> None:
        self._rule = rule
        self._signal = signal
        self._latch = latch
        self._window_ns = int(rule.window)
        self._settle_ns = int(rule.settle)
        self.signals = rule.signals
        # Within so many looks no verdict can come and go.
        self._unseen = {
            name: (at, LOOKS_PER_LEVEL * looked_at_every[name])
            for at, name in enumerate(rule.signals)
            if looked_at_every.get(name)
        }
        self._bits = {name: kind for name, kind in ((rule.ok, "good"), (rule.nok, "scrap")) if name is not None}

    def initial(self) -> VerdictState:
        """Nothing known, no part waits."""
        return VerdictState((None,) * len(self.signals))

    def restored(self, state: VerdictState) -> VerdictState:
        """The results must be seen anew; parts go on waiting, and are held where their verdict was missed."""
        return VerdictState((None,) * len(self.signals), _unheard(state.open))

    def deadline(self, state: VerdictState) -> int | None:
        """When the oldest part is decided without a further value."""
        if not state.open or state.early:  # an early result is judged once the edge has settled
            return None
        part = state.open[0]
        if part.verdict:
            return max(part.verdict_ns, part.told_ns) + self._settle_ns + SETTLE_GRACE_NS
        return max(part.t_ns, part.arrived_ns) + self._window_ns + SETTLE_GRACE_NS

    def on_time(self, state: VerdictState, now_ns: int, *, unsettled_ns: int | None) -> tuple[VerdictState, Events]:
        """Parts whose time is over are counted. ``unsettled_ns`` as for ``on_value``."""
        state, events = self._judge_early(state, unsettled_ns)
        while (due_ns := self.deadline(state)) is not None and due_ns <= now_ns:
            state, event = self._close_oldest(state)
            events += (event,)
        return state, events

    def on_value(self, state: VerdictState, sample: Sample, *, unsettled_ns: int | None) -> tuple[VerdictState, Events]:
        """One value of any of the rule's signals, after its edges.

        ``unsettled_ns``: since then a level may yet turn out to be an edge, None for none; a result waits for that.
        """
        if sample.signal in self._unseen:
            state = self._looked(state, sample)
        known_ns = sample.t_ns if unsettled_ns is None else min(unsettled_ns, sample.t_ns)
        state, events = self._judge_early(state, unsettled_ns)
        state, more = self.passed(state, known_ns)
        events += more
        if sample.signal not in self.signals:
            return state, events
        text = None if sample.status is not Status.GOOD else text_of(sample.value)
        result = EarlyResult(sample.signal, text, sample.t_ns, sample.arrived_ns)
        if unsettled_ns is not None and len(state.early) < EARLY_RESULTS_MAX:
            return state._replace(early=(*state.early, result)), events
        state, more = self._judge_early(state, None)
        state, last = self._result(state, result)
        return state, events + more + last

    def passed(self, state: VerdictState, t_ns: int) -> tuple[VerdictState, Events]:
        """It is known what happened before ``t_ns``: results are judged, parts that were decided are counted."""
        state, events = self._judge_early(state, t_ns)
        while state.open:
            part = state.open[0]
            if t_ns <= (part.verdict_ns + self._settle_ns if part.verdict else part.t_ns + self._window_ns):
                break
            state, event = self._close_oldest(state)
            events += (event,)
        return state, events

    def opened(self, state: VerdictState, part: OpenPart) -> tuple[VerdictState, Events]:
        """A part came: that the machine works is told now, what the part is when it is decided."""
        events: Events = NOTHING
        if len(state.open) >= OPEN_PARTS_MAX:
            state, event = self._close_oldest(state)
            events = (event,)
        kinds = {kind for kind in map(self._kind, self.signals, state.values) if kind} if self._latch else set()
        if kinds:
            verdict = kinds.pop() if len(kinds) == 1 else CONFLICT
            reason = self._reason(state.values[self.signals.index(self._rule.signal)]) if self._rule.signal else ""
            part = part._replace(verdict=verdict, verdict_ns=part.t_ns, told_ns=part.arrived_ns, reason=reason)
        waits = self._window_ns > 0
        heard = None not in state.values and part.t_ns > state.gap_ns
        part = part._replace(heard=heard, shown=waits)
        state = state._replace(open=(*state.open, part))
        if waits:
            seen = CountEvent(self._signal, 0, part.t_from_ns, part.t_ns, "OK", cycles=0, activity=1)
            return state, (*events, seen)
        state, event = self._close_oldest(state)
        return state, (*events, event)

    def _looked(self, state: VerdictState, sample: Sample) -> VerdictState:
        """A result was looked at: after a gap the silence of the parts that wait means nothing any more."""
        at, unseen_ns = self._unseen[sample.signal]
        looked_ns, arrived_ns = state.looked_ns or (0,) * len(self.signals), sample.arrived_ns
        if looked_ns[at] and arrived_ns - looked_ns[at] > unseen_ns:
            state = state._replace(open=_unheard(state.open), gap_ns=arrived_ns)
        looked_ns = (*looked_ns[:at], arrived_ns, *looked_ns[at + 1 :])
        return VerdictState(state.values, state.open, state.early, looked_ns, state.gap_ns)

    def _judge_early(self, state: VerdictState, before_ns: int | None) -> tuple[VerdictState, Events]:
        """Results that waited for an edge, those dated before ``before_ns``; all of them for None."""
        events: Events = NOTHING
        while state.early and (before_ns is None or state.early[0].t_ns < before_ns):
            result, state = state.early[0], state._replace(early=state.early[1:])
            state, passed = self.passed(state, result.t_ns)
            state, orphan = self._result(state, result)
            events += passed + orphan
        return state, events

    def _result(self, state: VerdictState, result: EarlyResult) -> tuple[VerdictState, Events]:
        index = self.signals.index(result.signal)
        before = state.values[index]
        if result.text == before:
            return state, NOTHING
        state = state._replace(values=(*state.values[:index], result.text, *state.values[index + 1 :]))
        if result.text is None:
            return state._replace(open=_unheard(state.open)), NOTHING
        kind = self._kind(result.signal, result.text)
        if before is None or not kind:  # what is found is no change
            return state, NOTHING
        judged = self._verdict(state, kind, result)
        if judged is not None:
            return judged, NOTHING
        t_ns = result.t_ns
        orphan = CountEvent(result.signal, 0, t_ns, t_ns, "ORPHAN_RESULT", role=Role.HOLD)
        return state, NOTHING if self._latch else (orphan,)

    def _verdict(self, state: VerdictState, kind: str, result: EarlyResult) -> VerdictState | None:
        """The state with the part that this verdict is for; None where it is for none."""
        parts, t_ns = state.open, result.t_ns
        told = sum(1 for part in parts if part.verdict)  # always the oldest ones
        if told:
            last = parts[told - 1]
            if last.verdict != kind and t_ns <= last.verdict_ns + self._settle_ns:
                return state._replace(open=(*parts[: told - 1], last._replace(verdict=CONFLICT), *parts[told:]))
        if told == len(parts) or not parts[told].t_ns <= t_ns <= parts[told].t_ns + self._window_ns:
            return None
        reason = self._reason(result.text) if result.signal == self._rule.signal else ""
        part = parts[told]._replace(verdict=kind, verdict_ns=t_ns, told_ns=result.arrived_ns, reason=reason)
        return state._replace(open=(*parts[:told], part, *parts[told + 1 :]))

    def _kind(self, signal: str, text: str | None) -> str:
        """Which verdict a signal's value is; "" for none."""
        if text is None:
            return ""
        if signal == self._rule.signal:
            return self._rule.map.get(text, "")
        return self._bits[signal] if text == _SET else ""

    def _reason(self, text: str | None) -> str:
        return self._rule.reasons.get(text or "", "")

    def _close_oldest(self, state: VerdictState) -> tuple[VerdictState, CountEvent]:
        part, flag = state.open[0], state.open[0].flag
        if part.verdict == CONFLICT:
            role, flag = Role.HOLD, "RESULT_CONFLICT"
        elif part.verdict:
            role = Role(part.verdict)
        else:
            role = Role(self._rule.undetermined) if part.heard else Role.HOLD
            flag = "RESULT_MISSING"
        event = CountEvent(
            self._signal, 1, part.t_from_ns, part.t_ns, flag, part.flag != "OK", cycle_ns=part.cycle_ns, role=role
        )
        if part.reason and role is Role.SCRAP:
            event = event._replace(reason=part.reason)
        if part.shown:
            event = event._replace(activity=0)
        return state._replace(open=state.open[1:]), event


def text_of(value: Scalar) -> str | None:
    """A result as text: true and false are "1" and "0", 2.0 is "2"; None where there is no value."""
    if value is None:
        return None
    if isinstance(value, (bool, int)) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    return str(value)


def _unheard(parts: tuple[OpenPart, ...]) -> tuple[OpenPart, ...]:
    return tuple(part._replace(heard=False) for part in parts)
