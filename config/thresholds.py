"""Checks of a work unit's limits against each other and against how often its signals are told.

Where one limit makes another pointless, pieces or stops would be lost in silence. Knows no driver.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from config.messages import Complaint
from gateway.core.duration import Duration
from gateway.core.model import Role
from gateway.core.rule_signals import counter_rules, inner_rules
from gateway.core.rules import PulseRule
from gateway.core.state.gaps import STOP_DETECT_UNKNOWN_CYCLE_NS, CycleGaps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from config.errors import KeyPath
    from gateway.core.rules import WorkUnitRules

#: Counters whose every piece is one of the machine's cycles.
_EVERY_CYCLE: Final = frozenset({Role.GOOD})


def contradictions(document: Any, told_every_ns: Callable[[Any, str], int | None]) -> Iterator[Complaint]:
    """Limits that cannot be meant."""
    for unit, rules in document.work_units.items():
        path: KeyPath = ("work_units", unit)
        yield from _gaps(path, rules)
        yield from _pulses(path, rules)
        yield from _setup(path, rules)
        yield from _stale(document, path, rules, told_every_ns)


def pointless(document: Any) -> Iterator[tuple[KeyPath, str]]:
    """Limits without an effect, and such that are missed, with their path."""
    used = {rules.calendar for rules in document.work_units.values()}
    for name in document.calendars:
        if name not in used:
            yield ("calendars", name), "no work unit names this calendar"
    yield from _counted_twice(document)
    for unit, rules in document.work_units.items():
        path: KeyPath = ("work_units", unit)
        yield from _no_micro_stops(path, rules)
        yield from _slow_counters(path, rules)
        if rules.ideal_cycle is None and rules.state.signal is None and rules.state.stop_detect is None:
            text = (
                "neither ideal_cycle nor state.signal is given: a stop is seen only after "
                f"{Duration(STOP_DETECT_UNKNOWN_CYCLE_NS)} without a piece, and orders without a cycle time have no "
                "speed loss and no effectiveness; name the ideal cycle"
            )
            yield path, text


def _counted_twice(document: Any) -> Iterator[tuple[KeyPath, str]]:
    """A signal that two machines count: what a copied section leaves behind."""
    first: dict[str, str] = {}
    for unit, rules in document.work_units.items():
        for at, rule in enumerate(rules.counters):
            for keys, inner in inner_rules(rule):
                other = first.setdefault(inner.signal, unit)
                if other != unit:
                    text = f"{inner.signal} is counted by {other} too: each of its pieces is booked twice"
                    yield ("work_units", unit, "counters", at, *keys, "signal"), text


def _gaps(path: KeyPath, rules: WorkUnitRules) -> Iterator[Complaint]:
    """Slow and stop_detect as lengths, against the ideal cycle."""
    ideal = rules.ideal_cycle
    if ideal is None:
        return
    gaps = CycleGaps(rules.state.timeline(ideal).gaps)
    for key, why in (("slow", "every cycle would be a slow one"), ("stop_detect", "every cycle would end in a stop")):
        limit = getattr(rules.state, key)
        if limit is not None and limit.length_ns is not None and limit.length_ns <= ideal:
            text = f"found '{limit}', allowed: more than the ideal cycle, '{ideal}'; {why}"
            yield Complaint((*path, "state", key), about_key=False, text=text)
            return
    slow, stop = gaps.slow_ns(ideal), gaps.stop_detect_ns(ideal)
    if slow > stop:
        key = "slow" if rules.state.slow.length_ns is not None else "stop_detect"
        text = (
            f"found '{getattr(rules.state, key)}', but a cycle is slow above '{Duration(slow)}' and a stop above "
            f"'{Duration(stop)}'; allowed: slow up to stop_detect"
        )
        yield Complaint((*path, "state", key), about_key=False, text=text)


def _no_micro_stops(path: KeyPath, rules: WorkUnitRules) -> Iterator[tuple[KeyPath, str]]:
    ideal = int(rules.ideal_cycle or 0)
    gaps = CycleGaps(rules.state.timeline(rules.ideal_cycle).gaps)
    if ideal and ideal + gaps.micro_stop_max_ns(ideal) <= gaps.stop_detect_ns(ideal):
        text = (
            f"found '{rules.state.micro_stop_max}', but a stop is only seen after "
            f"'{Duration(gaps.stop_detect_ns(ideal))}': no stop is ever a micro stop"
        )
        yield (*path, "state", "micro_stop_max"), text


def _pulses(path: KeyPath, rules: WorkUnitRules) -> Iterator[Complaint]:
    """A dead time that is longer than the ideal cycle rejects real pieces."""
    if rules.ideal_cycle is None:
        return
    for at, rule in enumerate(rules.counters):
        for keys, inner in inner_rules(rule):
            # In a mode that is made of pulses one pulse need not be one cycle of the machine.
            if isinstance(inner, PulseRule) and not keys and inner.min_cycle > rules.ideal_cycle:
                text = (
                    f"found '{inner.min_cycle}', but the ideal cycle is '{rules.ideal_cycle}': pieces that come in "
                    f"time would be rejected; allowed: up to '{rules.ideal_cycle}'"
                )
                yield Complaint((*path, "counters", at, "min_cycle"), about_key=False, text=text)


def _slow_counters(path: KeyPath, rules: WorkUnitRules) -> Iterator[tuple[KeyPath, str]]:
    """A maximum rate below what the ideal cycle makes."""
    if rules.ideal_cycle is None:
        return
    for at, rule in enumerate(rules.counters):
        for keys, counter in counter_rules(rule):
            rate = counter.max_rate
            if keys or rate is None or counter.role not in _EVERY_CYCLE:
                continue
            if Fraction(rate.counts * rules.ideal_cycle, rate.per_ns) < 1:
                text = (
                    f"found '{rate}', but the ideal cycle of '{rules.ideal_cycle}' makes more: pieces above it are set "
                    "aside for review; name the fastest rate that the machine can have"
                )
                yield (*path, "counters", at, "max_rate"), text


def _setup(path: KeyPath, rules: WorkUnitRules) -> Iterator[Complaint]:
    """A setup that could never end."""
    setup, state = rules.state.setup, rules.state
    if setup.end == "plc_release" and setup.release_signal is None and state.mode_signal is None:
        text = "found 'plc_release', but nothing tells it; name setup.release_signal or state.mode_signal"
        yield Complaint((*path, "state", "setup", "end"), about_key=False, text=text)


def _stale(
    document: Any, path: KeyPath, rules: WorkUnitRules, told_every_ns: Callable[[Any, str], int | None]
) -> Iterator[Complaint]:
    """Silence of a signal is no loss where it is told only when it changes."""
    limit = rules.state.data_loss.stale_after
    if limit is None:
        return
    state = rules.state.signal
    for signal in dict.fromkeys([state] if state is not None else [rule.signal for rule in rules.counters]):
        source, _, name = signal.partition(".")
        if source not in document.sources:
            continue
        every_ns = told_every_ns(document.sources[source], name)
        if every_ns is None:
            continue
        at: KeyPath = (*path, "state", "data_loss", "stale_after")
        if not every_ns:
            text = (
                f"found '{limit}', but {signal} is told only when it changes: a machine that stands would be UNKNOWN; "
                "remove it (a lost link is found by its source), or read the signal in a fixed rhythm"
            )
            yield Complaint(at, about_key=False, text=text)
            return
        if limit <= every_ns:
            text = (
                f"found '{limit}', allowed: more than '{Duration(every_ns)}', the time between two values of {signal}"
            )
            yield Complaint(at, about_key=False, text=text)
            return
