"""Every counting mode: which detector a rule makes, and what its state is. Counts nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.core.counting.analog import AnalogDetector, AnalogState
from gateway.core.counting.cavity import CavityDetector, CavityState
from gateway.core.counting.counter import CounterDetector
from gateway.core.counting.detector import (
    LOOKED_AT_EVERY_UNKNOWN,
    CounterSource,
    CounterSourceState,
    Detector,
    PulseSource,
)
from gateway.core.counting.packml import PackmlDetector, PackmlState
from gateway.core.counting.part_result import PartResultDetector, PartResultState
from gateway.core.counting.pulse import PulseDetector, PulseState
from gateway.core.counting.roles import RolesDetector, RolesState
from gateway.core.counting.start_end import StartEndDetector, StartEndState
from gateway.core.counting.units import UnitsDetector, UnitsState
from gateway.core.counting.weighing import WeighingDetector, WeighingState
from gateway.core.orders.attribution import Dating
from gateway.core.rule_signals import inner_rules, is_counted, named
from gateway.core.rules_counting import AnalogRule, PartResultRule, StartEndRule
from gateway.core.rules_inputs import CounterRule, PulseRule
from gateway.core.rules_packml import PackmlRule
from gateway.core.rules_weighing import WeighingRule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.core.model import JobOrder
    from gateway.core.rules import AnyCountingRule

#: Modes that read pulses, which may come and go between two looks.
_OF_PULSES: Final = ("pulse", "start_end", "part_result", "roles", "cavity", "units")
#: Detector and state of each mode.
MODES: Final[dict[str, tuple[Any, type[Any]]]] = {
    "counter": (CounterSource, CounterSourceState),
    "pulse": (PulseSource, PulseState),
    "start_end": (StartEndDetector, StartEndState),
    "analog": (AnalogDetector, AnalogState),
    "part_result": (PartResultDetector, PartResultState),
    "roles": (RolesDetector, RolesState),
    "packml": (PackmlDetector, PackmlState),
    "cavity": (CavityDetector, CavityState),
    "units": (UnitsDetector, UnitsState),
    "weighing": (WeighingDetector, WeighingState),
}


def prepared(
    rule: AnyCountingRule, ideal_cycle_ns: int | None, looked_at_every: Mapping[str, int] = LOOKED_AT_EVERY_UNKNOWN
) -> Detector[Any]:
    """The detector of a rule.

    ``ideal_cycle_ns`` is the work unit's ideal time of one count, ``looked_at_every`` how often signals are looked at.
    """
    make, _ = MODES[rule.mode]
    looks = (looked_at_every,) if rule.mode in _OF_PULSES else ()
    detector: Detector[Any] = make(rule, ideal_cycle_ns, *looks)
    return detector


def detector_of(rule: AnyCountingRule, ideal_cycle_ns: int | None, looked_at_every: Mapping[str, int]) -> Any:
    """A rule's detector as a work unit asks it, typed loosely because its state goes with it."""
    # The two that see most values are asked directly, without a ``Sample`` for each value.
    if isinstance(rule, CounterRule):
        return CounterDetector(rule, ideal_cycle_ns)
    if isinstance(rule, PulseRule):
        return PulseDetector(rule, ideal_cycle_ns, looked_at_every.get(rule.signal, 0))
    return prepared(rule, ideal_cycle_ns, looked_at_every)


def state_of(rule: AnyCountingRule) -> type[Any]:
    """The kind of state that its detector keeps, for ``detector.loaded``."""
    _, kind = MODES[rule.mode]
    return kind


def waits_for_time(rule: AnyCountingRule) -> bool:
    """Whether its detector ever has a deadline: a counter waits for nothing but its next sample."""
    if isinstance(rule, (StartEndRule, AnalogRule, PartResultRule, WeighingRule)):
        return True
    return any(isinstance(inner, PulseRule) for _, inner in inner_rules(rule))


def datings(rules: Iterable[AnyCountingRule]) -> dict[str, Dating]:
    """What the interval of an event is, by the event's signal."""
    found: dict[str, Dating] = {}
    for rule in rules:
        if isinstance(rule, PackmlRule):
            found |= {signal: Dating.READINGS for signal in (rule.processed, rule.defective) if signal is not None}
        elif isinstance(rule, (StartEndRule, AnalogRule, WeighingRule)):
            found |= {signal: Dating.START for keys, signal in named(rule) if is_counted(keys)}
        elif isinstance(rule, PartResultRule):
            found[rule.signal] = Dating.PREVIOUS_END
        for _, inner in inner_rules(rule):
            found[inner.signal] = Dating.READINGS if isinstance(inner, CounterRule) else Dating.PREVIOUS_END
    return found


def pieces_per_cycle(rules: Iterable[AnyCountingRule]) -> int | None:
    """How many pieces one count is, where every rule counts cycles and says the same."""
    found = {rule.pieces if _counts_cycles(rule) else 0 for rule in rules}
    return found.pop() if len(found) == 1 else None


def ideal_ns_of(job: JobOrder | None, per_cycle: int | None) -> int | None:
    """The ideal cycle that an order names: its time for a piece, as often as one cycle makes pieces."""
    return job.std_cycle_ns * per_cycle if job is not None and job.std_cycle_ns and per_cycle else None


def _counts_cycles(rule: AnyCountingRule) -> bool:
    by_weight = isinstance(rule, WeighingRule) and rule.unit_weight is not None
    return not by_weight and rule.mode not in ("cavity", "units")
