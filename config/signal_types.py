"""Checks whether a rule can read its signals: a counter's type, range and scale, the values of a state map.

Knows no driver: what the values of a signal are, each driver tells where its settings say so. Compares no limits with
each other (``thresholds.py``).
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from config.errors import KeyPath, dotted, listed
from config.messages import Complaint
from gateway.core.model import MachineState
from gateway.core.rule_signals import counter_rules, inner_rules
from gateway.core.rules_inputs import PulseRule
from gateway.core.state.maps import as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.core.rules import CounterRule, StateRule

#: Numbers up to which a floating-point register still tells neighbours apart.
_EXACT_TO: Final = {"float16": 2**11, "float32": 2**24, "float64": 2**53}
_BCD: Final = {"bcd16": 10**4, "bcd32": 10**8}
#: A range that a machine gets through in its life.
_OFTEN: Final = 2**24
_INTEGER: Final = re.compile(r"(u?)int(\d+)")
_TWO_VALUES: Final = ("0", "1")
_WORDS: Final = {"true": "1", "false": "0", "on": "1", "off": "0"}
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?")


class Types(NamedTuple):
    """The settings of all sources, and how to ask their drivers for a signal's type."""

    document: Any
    value_type: Callable[[Any, str], str | None]

    def of(self, signal: str) -> str | None:
        """``uint16`` and the like; None where nobody says."""
        source, _, name = signal.partition(".")
        return self.value_type(self.document.sources[source], name) if source in self.document.sources else None

    def own(self, signal: str) -> Any:
        """The signal's own settings, None where it has none."""
        source, _, name = signal.partition(".")
        signals = getattr(self.document.sources.get(source), "signals", {})
        return signals.get(name) if isinstance(signals, dict) else None


def unreadable(types: Types) -> Iterator[Complaint]:
    """What can never be counted or understood."""
    for path, rule in _counters(types.document):
        yield from _counter(types, path, rule)
    for unit, rules in types.document.work_units.items():
        for at, rule in enumerate(rules.counters):
            for keys, inner in inner_rules(rule):
                yield from _pulse(types, ("work_units", unit, "counters", at, *keys), inner)
        path = ("work_units", unit, "state")
        if isinstance(rules.state.map, dict):
            yield from _table(types, (*path, "map"), rules.state.signal, rules.state.map)
        yield from _table(types, (*path, "modes"), rules.state.mode_signal, rules.state.modes)


def doubtful(types: Types) -> Iterator[tuple[KeyPath, str]]:
    """What is allowed and probably not meant, with its path."""
    for path, rule in _counters(types.document):
        values = _range(types.of(rule.signal))
        if values is not None and values[1] < _OFTEN and rule.modulus is None and _plain(types, rule.signal):
            text = (
                f"{rule.signal} is {types.of(rule.signal)} and starts again after {values[1]}, which looks like a "
                f"reset; write modulus: {values[1] + 1}, or the number at which the PLC starts again"
            )
            yield path, text
    for unit, rules in types.document.work_units.items():
        yield from (((("work_units", unit, "state", "map")), text) for text in _gaps(types, rules.state))


def _counters(document: Any) -> Iterator[tuple[KeyPath, CounterRule]]:
    for unit, rules in document.work_units.items():
        for at, rule in enumerate(rules.counters):
            for keys, counter in counter_rules(rule):
                yield ("work_units", unit, "counters", at, *keys), counter


def _counter(types: Types, path: KeyPath, rule: CounterRule) -> Iterator[Complaint]:
    found, key = types.of(rule.signal), path if _is_name(path) else (*path, "signal")
    if found in ("bit", "string"):
        text = f"found {rule.signal!r}, which is a {found}; allowed: a number that goes up; a bit is mode: pulse"
        yield Complaint(key, about_key=False, text=text)
        return
    yield from _fractions(types, path, rule)
    modulus = (*(path[:-1] if _is_name(path) else path), "modulus")
    exact = _EXACT_TO.get(found or "")
    if exact is not None and (rule.modulus is None or rule.modulus > exact):
        text = (
            f"found {rule.signal!r}, which is {found}: above {exact} it does not show every piece; read the PLC's own "
            f"whole number instead, or write a modulus up to {exact} at which it starts again"
        )
        yield Complaint(key, about_key=False, text=text)
    values = _range(found)
    if values is None or rule.modulus is None or not _plain(types, rule.signal):
        return
    low, high = values
    if rule.modulus > high - low + 1:
        text = (
            f"found {rule.modulus}, but {rule.signal} is {found} and starts again after {high}: a roll-over would be "
            f"taken for a reset; allowed: up to {high + 1}"
        )
        yield Complaint(modulus, about_key=False, text=text)


def _pulse(types: Types, path: KeyPath, rule: CounterRule | PulseRule) -> Iterator[Complaint]:
    found = types.of(rule.signal)
    if isinstance(rule, PulseRule) and (found == "string" or found in _EXACT_TO):
        text = f"found {rule.signal!r}, which is a {found}; allowed: a bit; a number above a threshold is mode: analog"
        yield Complaint((*path, "signal"), about_key=False, text=text)


def _is_name(path: KeyPath) -> bool:
    """The path of a PackML machine's counter is that of its signal already; its other settings stand beside it."""
    return path[-1] in ("processed", "defective")


def _fractions(types: Types, path: KeyPath, rule: CounterRule) -> Iterator[Complaint]:
    """A counter moves by whole numbers."""
    own = types.own(rule.signal)
    source, _, name = rule.signal.partition(".")
    for key in ("scale", "offset"):
        text = getattr(own, key, None)
        if text is not None and Fraction(text).denominator != 1:
            said = (
                f"found {text!r}, but {dotted(path)} counts this signal, and what is no whole number is not counted; "
                "remove it, and say with mode: units what one count is"
            )
            yield Complaint(("sources", source, "signals", name, key), about_key=False, text=said)


def _plain(types: Types, signal: str) -> bool:
    """The rules see the register's own numbers."""
    own = types.own(signal)
    return getattr(own, "scale", None) is None and getattr(own, "offset", None) is None


def _range(found: str | None) -> tuple[int, int] | None:
    """Least and greatest number of a whole number's type."""
    if found in _BCD:
        return 0, _BCD[found] - 1
    match = _INTEGER.fullmatch(found or "")
    if match is None:
        return None
    bits = int(match[2])
    return (0, 2**bits - 1) if match[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _table(types: Types, path: KeyPath, signal: str | None, table: Mapping[str, Any]) -> Iterator[Complaint]:
    """Values of a map that the signal can never show."""
    if signal is None:
        return
    found = types.of(signal)
    values = _range(found) if _plain(types, signal) else None
    for key in table:
        meant = _canonical(key)
        if found == "bit" and meant not in _TWO_VALUES:
            text = f"found {key!r}, but {signal} is a bit; allowed: {listed(_TWO_VALUES)}"
        elif found != "string" and meant != key:
            text = f"found {key!r}, which no number reads as; write {meant!r}"
        elif values is not None and not (_NUMBER.fullmatch(key) and values[0] <= int(key) <= values[1]):
            text = f"found {key!r}, but {signal} is {found}; allowed: {values[0]} to {values[1]}"
        else:
            continue
        yield Complaint((*path, key), about_key=True, text=text)


def _canonical(key: str) -> str:
    """A value as the rules compare it: true is 1, 2.0 is 2."""
    text = key.strip()
    if _NUMBER.fullmatch(text):
        return as_text(float(text)) if "." in text else str(int(text))
    return _WORDS.get(text.lower(), key)


def _gaps(types: Types, rule: StateRule) -> Iterator[str]:
    """States that a table leaves out."""
    if rule.signal is None or not isinstance(rule.map, dict):
        return
    if MachineState.PRODUCING not in rule.map.values():
        yield "no value means PRODUCING: the machine will never be said to work"
    missing = [value for value in _TWO_VALUES if value not in rule.map]
    if types.of(rule.signal) == "bit" and missing:
        yield f"{rule.signal} is a bit, and {missing[0]!r} is not in the table: the machine will be UNKNOWN then"
