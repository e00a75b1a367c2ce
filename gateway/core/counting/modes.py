"""Every counting mode: which detector a rule makes, and what its state is. Counts nothing itself."""

from __future__ import annotations

from typing import Annotated, Any, Final

from gateway.core.counting.analog import AnalogDetector, AnalogState
from gateway.core.counting.cavity import CavityDetector, CavityState
from gateway.core.counting.detector import CounterSource, CounterSourceState, Detector, PulseSource
from gateway.core.counting.packml import PackmlDetector, PackmlState
from gateway.core.counting.part_result import PartResultDetector, PartResultState
from gateway.core.counting.pulse import PulseState
from gateway.core.counting.roles import RolesDetector, RolesState
from gateway.core.counting.start_end import StartEndDetector, StartEndState
from gateway.core.counting.units import UnitsDetector, UnitsState
from gateway.core.rules import CounterRule, PulseRule
from gateway.core.rules_counting import AnalogRule, PackmlRule, PartResultRule, RolesRule, StartEndRule
from gateway.core.rules_pieces import CavityRule, UnitsRule
from gateway.core.tagged import TaggedBy

#: One entry of a work unit's ``counters``, of whatever mode.
AnyCountingRule = Annotated[
    CounterRule
    | PulseRule
    | StartEndRule
    | AnalogRule
    | PartResultRule
    | RolesRule
    | PackmlRule
    | CavityRule
    | UnitsRule,
    TaggedBy("mode"),
]

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
}


def prepared(rule: AnyCountingRule, ideal_cycle_ns: int | None) -> Detector[Any]:
    """The detector of a rule; ``ideal_cycle_ns`` is the work unit's ideal time of one count."""
    make, _ = MODES[rule.mode]
    detector: Detector[Any] = make(rule, ideal_cycle_ns)
    return detector


def state_of(rule: AnyCountingRule) -> type[Any]:
    """The kind of state that its detector keeps, for ``detector.loaded``."""
    _, kind = MODES[rule.mode]
    return kind
