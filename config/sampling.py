"""Checks whether what is counted is looked at often enough. Knows no driver: how often that is, each driver tells.

A polled bit shows every pulse only if each level lasts for two looks; a counter must not go half around its range
between two, or a step back cannot be told from a step ahead.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from config.messages import Complaint
from gateway.core.counting.counter import IDEAL_CYCLE_MARGIN, RATE_TOLERANCE
from gateway.core.counting.pulse import LOOKS_PER_LEVEL
from gateway.core.duration import Duration
from gateway.core.rate import Rate
from gateway.core.rule_signals import counter_rules, inner_rules
from gateway.core.rules import PulseRule
from gateway.core.rules_counting import PartResultRule, StartEndRule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from config.errors import KeyPath
    from gateway.core.rules import AnyCountingRule, CounterRule, WorkUnitRules


class _Polled(NamedTuple):
    """A pulse on a signal that is looked at from time to time.

    ``key`` names the signal within ``path``, where the settings of the pulse stand. ``each_cycle``: it comes with every
    cycle of the machine.
    """

    path: KeyPath
    key: str
    rule: PulseRule
    look: Duration
    each_cycle: bool


def too_slow(document: Any, looked_at_ns: Callable[[Any, str], int]) -> Iterator[Complaint]:
    """Counts that would be missed, or that could not be told apart."""
    for pulses in _pulses(document, looked_at_ns):
        for pulse in pulses:
            yield from _too_fast(document, pulse)
        path, _, rule, look, _ = _slowest(pulses)
        width = rule.pulse_width
        if width is None or rule.accept_missed_pulses or width >= LOOKS_PER_LEVEL * look:
            continue
        text = (
            f"found '{width}', but the signal is looked at every '{look}'; allowed: {LOOKS_PER_LEVEL} times that or "
            "more; look more often, count in the PLC, or write accept_missed_pulses: true"
        )
        yield Complaint((*path, "pulse_width"), about_key=False, text=text)
    for path, counter, rules, look in _counters(document, looked_at_ns):
        steps = _steps(counter, rules, look)
        if counter.modulus is None or steps is None or 2 * steps < counter.modulus:
            continue
        text = (
            f"found {counter.modulus}, but up to {int(steps)} counts are possible between two looks, '{look}' apart; "
            f"allowed: more than {int(2 * steps)}; look more often, or count in a wider register"
        )
        yield Complaint((*path, "modulus"), about_key=False, text=text)


def _too_fast(document: Any, pulse: _Polled) -> Iterator[Complaint]:
    """No pulse of a signal that comes this often can last for two looks, and leave two between it and the next."""
    path, key, rule, look, each_cycle = pulse
    ideal = document.work_units[path[1]].ideal_cycle
    if ideal is None or rule.pulse_width is not None or rule.accept_missed_pulses or not each_cycle:
        return
    looks = LOOKS_PER_LEVEL if rule.edge == "both" else 2 * LOOKS_PER_LEVEL
    if ideal < looks * look:
        text = (
            f"found '{look}' between two looks at {rule.signal}, but a cycle takes '{ideal}' and needs {looks}; "
            f"allowed: up to '{Duration(ideal // looks)}'; look more often, count in the PLC, or write "
            "accept_missed_pulses: true"
        )
        yield Complaint((*path, key), about_key=False, text=text)


def unmeasured(document: Any, looked_at_ns: Callable[[Any, str], int]) -> Iterator[tuple[KeyPath, str]]:
    """Pulses of which nobody said how long they are, on signals that are looked at from time to time."""
    for pulses in _pulses(document, looked_at_ns):
        path, _, rule, look, _ = _slowest(pulses)
        if rule.pulse_width is None and not rule.accept_missed_pulses:
            text = (
                f"the signal is looked at every {look}: shorter levels are missed without a trace; measure them and "
                "name the shortest as pulse_width"
            )
            yield path, text


def _slowest(pulses: list[_Polled]) -> _Polled:
    """Of pulses that share their settings the one that is looked at least often."""
    return max(pulses, key=lambda pulse: pulse.look)


def _pulses(document: Any, looked_at_ns: Callable[[Any, str], int]) -> Iterator[list[_Polled]]:
    """Pulses on polled signals; those that share their settings together."""
    for unit, rules in document.work_units.items():
        for at, rule in enumerate(rules.counters):
            together: dict[KeyPath, list[_Polled]] = {}
            for path, key, pulse, each_cycle in _edges(rule, ("work_units", unit, "counters", at)):
                look = _look(document, pulse.signal, looked_at_ns)
                if look:
                    together.setdefault(path, []).append(_Polled(path, key, pulse, look, each_cycle))
            yield from together.values()


def _edges(rule: AnyCountingRule, path: KeyPath) -> Iterator[tuple[KeyPath, str, PulseRule, bool]]:
    """The edges that a rule counts by: where their settings stand, the signal's key, and if each cycle has one."""
    if isinstance(rule, StartEndRule):
        inputs = rule.inputs
        yield path, "signal", inputs["start"], True
        if rule.end_signal is not None:
            yield path, "end_signal", inputs["end"], True
        if rule.abort_signal is not None:
            yield path, "abort_signal", inputs["abort"], False
    elif isinstance(rule, PartResultRule):
        yield path, "signal", rule.part, True
    for keys, inner in inner_rules(rule):
        if isinstance(inner, PulseRule):
            # Of several counters on one machine each has its own pieces: not every cycle makes scrap.
            yield (*path, *keys), "signal", inner, rule.mode != "roles"


def _counters(
    document: Any, looked_at_ns: Callable[[Any, str], int]
) -> Iterator[tuple[KeyPath, CounterRule, WorkUnitRules, Duration]]:
    for unit, rules in document.work_units.items():
        for at, rule in enumerate(rules.counters):
            for keys, counter in counter_rules(rule):
                look = _look(document, counter.signal, looked_at_ns)
                place = () if rule.mode == "packml" else keys  # its counters share the settings of the rule
                if look:
                    yield ("work_units", unit, "counters", at, *place), counter, rules, look


def _look(document: Any, signal: str, looked_at_ns: Callable[[Any, str], int]) -> Duration:
    source, _, name = signal.partition(".")
    return Duration(looked_at_ns(document.sources[source], name) if source in document.sources else 0)


def _steps(counter: CounterRule, rules: WorkUnitRules, look: Duration) -> Fraction | None:
    """What a counter may move by between two looks; None where nothing says how fast it is."""
    rate = counter.max_rate
    if rate is None and rules.ideal_cycle is not None:
        rate = Rate(IDEAL_CYCLE_MARGIN[0], IDEAL_CYCLE_MARGIN[1] * rules.ideal_cycle)
    if rate is None:
        return None
    return Fraction(rate.counts * look, rate.per_ns) * Fraction(*RATE_TOLERANCE) + counter.slack
