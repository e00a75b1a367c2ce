"""Which signals a counting rule names, and under which keys. Reads the rules only; checks and counts nothing."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from gateway.core.rules_inputs import CounterRule, PulseRule
from gateway.core.rules_packml import PackmlRule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.core.rules import AnyCountingRule

#: A place inside of a rule: ("cycle", "restart_evidence", 0).
Keys = tuple[str | int, ...]

_ONE: Final = frozenset(
    (
        "signal",
        "end_signal",
        "abort_signal",
        "active_signal",
        "quality_signal",
        "ok",
        "nok",
        "processed",
        "defective",
        "state",
        "order_reset",
        "tare_signal",
    )
)
_SEVERAL: Final = frozenset(("verdict_signals", "restart_evidence", "restart_uptime", "reset_evidence"))
_EVIDENCE: Final = frozenset(("restart_evidence", "restart_uptime", "reset_evidence", "order_reset"))
_COUNTED: Final = frozenset(("signal", "end_signal", "processed", "defective"))


def named(rule: Any, at: Keys = ()) -> Iterator[tuple[Keys, str]]:
    """Every signal that a rule names, with its place in the rule."""
    for field in dataclasses.fields(rule):
        value, place = getattr(rule, field.name), (*at, field.name)
        if dataclasses.is_dataclass(value):
            yield from named(value, place)
        elif field.name in _ONE and value is not None:
            yield place, value
        elif field.name in _SEVERAL:
            yield from (((*place, index), signal) for index, signal in enumerate(value))


def is_evidence(keys: Keys) -> bool:
    """Whether what is named there says how a counter is to be read."""
    return any(key in _EVIDENCE for key in keys)


def is_counted(keys: Keys) -> bool:
    """Whether what is named there is counted, so that every change of it matters."""
    return keys[-1] in _COUNTED and "results" not in keys


def counter_rules(rule: AnyCountingRule) -> Iterator[tuple[Keys, CounterRule]]:
    """The counters that a rule reads, with their places: those of a PackML machine too."""
    if isinstance(rule, PackmlRule):
        yield ("processed",), rule.counter(rule.processed)
        if rule.defective is not None:
            yield ("defective",), rule.counter(rule.defective)
        return
    yield from ((keys, inner) for keys, inner in inner_rules(rule) if isinstance(inner, CounterRule))


def inner_rules(rule: AnyCountingRule, at: Keys = ()) -> Iterator[tuple[Keys, CounterRule | PulseRule]]:
    """The counters and pulses that a rule is made of as the file writes them, with their places: itself, or inside."""
    if isinstance(rule, (CounterRule, PulseRule)):
        yield at, rule
        return
    for field in dataclasses.fields(rule):
        value = getattr(rule, field.name)
        if isinstance(value, (CounterRule, PulseRule)):
            yield (*at, field.name), value
