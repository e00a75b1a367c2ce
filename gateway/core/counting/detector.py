"""What every counting mode looks like from outside, and what the composed ones are made of.

A detector is a rule, prepared: its methods are functions of a state and a sample, and return the new state and what was
counted. The states are plain values, so that ``plain`` and ``loaded`` can store any of them. Reads no clock and knows
no pieces' orders.

Samples are handed over in the order of their times; those of one time (one scan) in the order of ``signals``.
"""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType, UnionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from gateway.core.counting.counter import CounterDetector
from gateway.core.counting.counter_state import CounterState
from gateway.core.counting.evidence import is_told, kinds_of, shown
from gateway.core.counting.pulse import IDEAL_CYCLE_MARGIN, SLACK_PULSES, PulseDetector, PulseState
from gateway.core.model import CountEvent, Scalar, Status
from gateway.core.rules_inputs import CounterRule, CountingRule, PulseRule

if TYPE_CHECKING:
    from collections.abc import Mapping

S = TypeVar("S")
T = TypeVar("T", bound=tuple[Any, ...])

Events = tuple[CountEvent, ...]
NOTHING: Final[Events] = ()
#: How often, in nanoseconds, a signal is looked at and told although it stays the same; one that is not named tells
#: every change, or nobody knows how often it is looked at.
LOOKED_AT_EVERY_UNKNOWN: Final[Mapping[str, int]] = MappingProxyType({})


class Sample(NamedTuple):
    """One value as a detector sees it.

    ``t_ns`` is when it was so (the device's time where that is to be believed), ``arrived_ns`` when it came here.
    """

    signal: str
    t_ns: int
    value: Scalar
    status: Status
    arrived_ns: int


class Detector(Protocol[S]):
    """One counting rule, prepared. Holds no state: every method is a function of its arguments."""

    @property
    def signals(self) -> tuple[str, ...]:
        """Every signal it reads, in the order in which the values of one scan are to be handed over."""

    def initial(self) -> S:
        """A rule that has never seen anything."""

    def restored(self, state: S) -> S:
        """After a restart of the gateway: what must be seen anew is unknown."""

    def deadline(self, state: S) -> int | None:
        """When to call ``on_time`` although nothing arrives; None: never."""

    def on_time(self, state: S, now_ns: int) -> tuple[S, Events]:
        """Time has come."""

    def on_value(self, state: S, sample: Sample) -> tuple[S, Events]:
        """One value of one of ``signals``."""


def lost_bound(gap_ns: int, min_cycle_ns: int, ideal_cycle_ns: int | None) -> int:
    """Upper bound of the cycles in a gap: -1 where no rule gives one."""
    gap_ns = max(gap_ns, 0)
    if min_cycle_ns:
        return gap_ns // min_cycle_ns + 1
    if ideal_cycle_ns:
        return IDEAL_CYCLE_MARGIN[0] * gap_ns // (IDEAL_CYCLE_MARGIN[1] * ideal_cycle_ns) + SLACK_PULSES
    return -1


# --- sources: a counter or a pulse input inside of a composed rule ---------------------------------------------------


class CounterSourceState(NamedTuple):
    """A counter, and what its evidence signals last showed."""

    counter: CounterState = CounterState()
    told: tuple[str | None, ...] = ()


class CounterSource:
    """A free-running counter with the signals that say that its PLC restarted."""

    def __init__(self, rule: CounterRule, ideal_cycle_ns: int | None) -> None:
        self._detector = CounterDetector(rule, ideal_cycle_ns)
        self._signal = rule.signal
        self._kinds = kinds_of(rule)
        self._evidence = tuple(self._kinds)
        self.signals = (*self._evidence, rule.signal)

    def initial(self) -> CounterSourceState:
        """No baseline yet."""
        return CounterSourceState(self._detector.initial(), (None,) * len(self._evidence))

    def restored(self, state: CounterSourceState) -> CounterSourceState:
        """A counter goes on from its stored baseline: what was made meanwhile is caught up."""
        if len(state.told) == len(self._evidence):
            return state
        return CounterSourceState(state.counter, (None,) * len(self._evidence))

    def deadline(self, _state: CounterSourceState) -> int | None:
        """A counter waits for nothing but its next sample."""
        return None

    def on_time(self, state: CounterSourceState, _now_ns: int) -> tuple[CounterSourceState, Events]:
        """Nothing happens."""
        return state, NOTHING

    def settled(self, state: CounterSourceState, _t_ns: int, _arrived_ns: int) -> tuple[CounterSourceState, Events]:
        """Nothing is waiting to be proved by a later value of another signal."""
        return state, NOTHING

    def on_value(self, state: CounterSourceState, sample: Sample) -> tuple[CounterSourceState, Events]:
        """The counter's value, or one of its evidence signals."""
        if sample.signal != self._signal:
            return self._on_evidence(state, sample), NOTHING
        counter, event = self._detector.on_value(state.counter, sample.t_ns, sample.value, sample.status)
        return CounterSourceState(counter, state.told), NOTHING if event is None else (event,)

    def reset_seen(self, state: CounterSourceState, sample: Sample) -> tuple[CounterSourceState, bool]:
        """The machine resets its counters: a value below the baseline is that reset. True where this sample is it."""
        base, value = state.counter.value, sample.value
        if sample.status is not Status.GOOD or base is None or not isinstance(value, (int, float)) or value >= base:
            return state, False
        return state._replace(counter=state.counter._replace(evidence="reset", told_ns=sample.t_ns)), True

    def _on_evidence(self, state: CounterSourceState, sample: Sample) -> CounterSourceState:
        """A changed boot counter or start time, a fallen uptime: the counter's next value is after a restart."""
        kind = self._kinds[sample.signal]
        uptime = kind == "uptime"
        text = shown(sample.value, sample.status, uptime=uptime)
        index = self._evidence.index(sample.signal)
        known = state.told[index]
        if text is None or text == known:
            return state
        told = (*state.told[:index], text, *state.told[index + 1 :])
        if not is_told(text, known, uptime=uptime):
            return CounterSourceState(state.counter, told)
        change = (sample.signal, known or "", text)
        return CounterSourceState(self._detector.told(state.counter, kind, sample.t_ns, change), told)


class PulseSource:
    """A pulse input."""

    def __init__(
        self, rule: PulseRule, ideal_cycle_ns: int | None, looked_at_every: Mapping[str, int] = LOOKED_AT_EVERY_UNKNOWN
    ) -> None:
        self._detector = PulseDetector(rule, ideal_cycle_ns, looked_at_every.get(rule.signal, 0))
        self._debounce_ns = int(rule.debounce)
        self.signals = (rule.signal,)

    def initial(self) -> PulseState:
        """Level unknown."""
        return self._detector.initial()

    def restored(self, state: PulseState) -> PulseState:
        """The level must be read again."""
        return self._detector.restored(state)

    def deadline(self, state: PulseState) -> int | None:
        """When a level is believed or reported as stuck."""
        return self._detector.deadline(state)

    def on_time(self, state: PulseState, now_ns: int) -> tuple[PulseState, Events]:
        """A level that held is believed."""
        return self._detector.on_time(state, now_ns)

    def on_value(self, state: PulseState, sample: Sample) -> tuple[PulseState, Events]:
        """One level; where it is bad, the one before held up to here, as it does for a timer in between."""
        events = NOTHING
        if sample.status is not Status.GOOD:
            state, events = self.settled(state, sample.t_ns, sample.arrived_ns)
        state, more = self._detector.on_value(state, sample.t_ns, sample.value, sample.status, sample.arrived_ns)
        return state, events + more

    def settled(self, state: PulseState, t_ns: int, _arrived_ns: int) -> tuple[PulseState, Events]:
        """A later value of another signal proves that a level held: its edge is decided before that value counts."""
        if not state.candidate_ns or t_ns - state.candidate_ns < self._debounce_ns:
            return state, NOTHING
        # The other signal says nothing about how fresh this one is.
        return self._detector.held(state)


Source = CounterSource | PulseSource
SourceState = CounterSourceState | PulseState


def source_of(
    rule: CountingRule, ideal_cycle_ns: int | None, looked_at_every: Mapping[str, int] = LOOKED_AT_EVERY_UNKNOWN
) -> Any:
    """The counter or pulse input of a composed rule: a ``Source``, typed loosely because its state goes with it."""
    if isinstance(rule, CounterRule):
        return CounterSource(rule, ideal_cycle_ns)
    return PulseSource(rule, ideal_cycle_ns, looked_at_every)


def source_restored(source: Any, state: SourceState | None) -> Any:
    """The state of a source after a restart; a fresh one where the rule has another kind of source than it had."""
    fresh = source.initial()
    return source.restored(state) if type(state) is type(fresh) else fresh


def in_pieces(event: CountEvent, factor: int) -> CountEvent:
    """The same event with so many pieces for each count; a bound that is not known stays unknown."""
    if factor == 1:
        return event
    lost = event.max_lost * factor if event.max_lost > 0 else event.max_lost
    return event._replace(delta=event.delta * factor, review=event.review * factor, max_lost=lost)


# --- states as JSON data ---------------------------------------------------------------------------------------------


def plain(state: object) -> Any:
    """A detector's state as JSON data: fields by name, so that a later version can add one."""
    if isinstance(state, tuple):
        fields = getattr(state, "_fields", None)
        if fields is None:
            return [plain(item) for item in state]
        return {name: plain(item) for name, item in zip(fields, state, strict=True)}
    return state


def loaded(kind: type[T], data: Any) -> T:
    """A state of this kind from JSON data. Raises TypeError or ValueError where the data are no such state."""
    if not isinstance(data, dict):
        raise TypeError(f"{kind.__name__}: found {type(data).__name__}, allowed a JSON object")
    hints = _hints(kind)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise ValueError(f"{kind.__name__}: found {', '.join(unknown)}, allowed {', '.join(hints)}")
    return kind(**{name: _value(hints[name], item) for name, item in data.items()})


@lru_cache(maxsize=64)
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(hint: Any, data: Any) -> Any:
    choices = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    if isinstance(data, dict):
        for choice in choices:
            if set(data) <= set(getattr(choice, "_fields", ())):
                return loaded(choice, data)
        raise ValueError(f"found fields {', '.join(sorted(data))}, allowed those of {hint}")
    if isinstance(data, list):
        (item,) = [get_args(choice)[0] for choice in choices if get_origin(choice) is tuple]
        return tuple(_value(item, one) for one in data)
    return data
