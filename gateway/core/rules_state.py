"""The rules of machine states, setup and stop reasons, exactly as the configuration file writes them.

Plain frozen dataclasses like those of ``rules.py``. What they do stands in ``gateway/core/state``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Literal

from gateway.core.duration import Duration
from gateway.core.model import MachineState
from gateway.core.rules_running import RunningRule
from gateway.core.state.cycle_limit import CycleLimit
from gateway.core.state.maps import STATE_MAPS

FORBID_UNKNOWN_KEYS: Final[dict[str, Any]] = {"extra": "forbid"}
#: A stop is detected after more than one cycle, or each cycle would be one.
STOP_DETECT_SHARE_MIN: Final = 100  # percent of the ideal cycle
#: Within this time a lost link is found, where the source does not say otherwise.
LOSS_FOUND_WITHIN: Final = Duration("10 s")
SETTLE_EXTRA: Final = Duration("5 s")  # a device's stamp may be this much older than its arrival
GOOD_IN_A_ROW_MAX: Final = 100
TOLERANCE_PERCENT_MAX: Final = 100
REASONS_MAX: Final = 2000  # entries of one map
#: An interval waits this long until it is final, at most: so much may still change it.
WINDOW_MAX: Final = Duration("10 min")
STALE_AFTER_MAX: Final = Duration("1 h")
REQUIRED_AFTER_MAX: Final = Duration("7 d")
FLEXIBLE_BREAK_MAX: Final = Duration("1 d")
SETUP_PLANNED_MAX: Final = Duration("30 d")
SLOW: Final = CycleLimit.parse("120 %")
STOP_DETECT: Final = CycleLimit.parse("200 %")
MICRO_STOP_MAX: Final = CycleLimit.parse("5 min")

#: What a mode signal may say; everything else is a state.
MODE_STATES: Final = frozenset(
    {MachineState.SETUP, MachineState.MAINTENANCE, MachineState.CLEANING, MachineState.PLANNED_STOP, MachineState.OFF}
)

Element = Literal["APT", "AUST", "ADET", "ADOT", "PDOT"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleGapRule:
    """How the time between two cycles is judged.

    Attributes:
        running: a number that says whether the machine works: motor current, pressure, power.
        slow: a cycle longer than this runs at reduced speed (share of the ideal cycle, or a length).
        stop_detect: a gap longer than this holds a stop; a gap of exactly this does not.
        stop_detect_min: the shortest stop_detect, for fast machines.
        micro_stop_max: a standstill up to this long, and including it, is a micro stop.
        fallback_above: with an ideal cycle above this, an analog running signal decides before the gaps.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    slow: CycleLimit = SLOW
    stop_detect: CycleLimit = STOP_DETECT
    stop_detect_min: Duration = Duration("5 s")
    micro_stop_max: CycleLimit = MICRO_STOP_MAX
    fallback_above: Duration = Duration("60 s")

    def __post_init__(self) -> None:
        """Limits against each other."""
        for name, limit in (("slow", self.slow), ("stop_detect", self.stop_detect)):
            if limit.is_share and limit.of(100) < STOP_DETECT_SHARE_MIN:
                raise ValueError(f"{name}: found {limit}, allowed {STOP_DETECT_SHARE_MIN} % and above")
        if self.slow.is_share and self.stop_detect.is_share and self.stop_detect.of(10**6) < self.slow.of(10**6):
            raise ValueError(f"stop_detect: found {self.stop_detect}, allowed {self.slow} (slow) and above")
        if self.stop_detect_min <= 0:
            raise ValueError("stop_detect_min: found 0 s, allowed more than that")
        if self.micro_stop_max.of(10**9) <= 0:
            raise ValueError("micro_stop_max: found 0, allowed more than that")


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSignalRule:
    """The machine's own word about its state.

    Attributes:
        signal: ``source.name`` of the state number or running bit.
        map: ``packml`` (OPC 30050), ``machinery``, ``weihenstephan``, or a table of value (as text) to state.
        mode_signal: ``source.name`` of the mode or program number; with a named map only.
        modes: a table of mode (as text) to SETUP, MAINTENANCE, CLEANING, PLANNED_STOP or OFF.
        blocked_signal: ``source.name`` of PackML's EquipmentBlocked.
        starved_signal: ``source.name`` of PackML's EquipmentStarved.
        starting_as: what PackML's Starting is.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    signal: str
    map: str | dict[str, MachineState]
    mode_signal: str | None = None
    modes: dict[str, MachineState] = field(default_factory=dict)
    blocked_signal: str | None = None
    starved_signal: str | None = None
    starting_as: Literal["STOPPED", "PRODUCING"] = "STOPPED"

    def __post_init__(self) -> None:
        """A known map, and modes that are modes."""
        if isinstance(self.map, str) and self.map not in STATE_MAPS:
            allowed = ", ".join(STATE_MAPS)
            raise ValueError(f"map: found {self.map!r}, allowed: {allowed}, or a table of value to state")
        if not self.map:
            raise ValueError("map: found an empty table, allowed: at least one value")
        wrong = sorted(set(self.modes.values()) - MODE_STATES)
        if wrong:
            raise ValueError(f"modes: found {wrong[0].value}, allowed: {', '.join(sorted(MODE_STATES))}")
        if self.mode_signal is None and self.modes:
            raise ValueError("modes: found without mode_signal; name the signal that they belong to")
        if self.mode_signal is not None and not self.modes and not isinstance(self.map, str):
            raise ValueError("mode_signal: found with neither modes nor a named map; say what its values mean")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataLossRule:
    """When a machine that cannot be heard becomes UNKNOWN.

    Attributes:
        stale_after: no good sample for this long is a loss, from the last good one on; not for signals that are told
            only when they change. Without it only a bad quality is one, as a lost link of the source gives.
        back_fill: pieces that a counter made meanwhile become estimated production once it is heard again.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    stale_after: Duration | None = None
    back_fill: bool = True

    def __post_init__(self) -> None:
        """Positive and bounded, where given."""
        if self.stale_after is not None and self.stale_after <= 0:
            raise ValueError("stale_after: found 0 s, allowed more than that")
        _check_most("stale_after", self.stale_after, STALE_AFTER_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReasonRule:
    """Why the machine stands: the first alarm around the beginning of the stop, else the state's own reason.

    Attributes:
        alarm_signals: ``source.name`` of alarm codes; 0, false and an empty text are no alarm.
        alarms: alarm code (as text) to reason.
        before: an alarm this long before the stop may be its cause.
        after: and one this long after its beginning.
        states: machine state to the reason it has where no alarm tells more.
        values: value of the machine's state signal (as text) to the reason of a stop that it tells, before states.
        required_after: a stop without a reason asks for one after this long.
        elements: reason to the ISO 22400 time element that its time belongs to, in place of the usual one.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    alarm_signals: tuple[str, ...] = ()
    alarms: dict[str, str] = field(default_factory=dict)
    before: Duration = Duration("5 s")
    after: Duration = Duration("10 s")
    states: dict[MachineState, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    required_after: Duration = Duration("5 min")
    elements: dict[str, Element] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Bounded maps."""
        for name, table in (("alarms", self.alarms), ("values", self.values), ("elements", self.elements)):
            if len(table) > REASONS_MAX:
                raise ValueError(f"{name}: found {len(table)} entries, allowed up to {REASONS_MAX}")
        if min(self.before, self.after, self.required_after) < 0:
            raise ValueError("before, after and required_after: found less than 0 s, allowed 0 s and above")
        _check_most("before", self.before, WINDOW_MAX)
        _check_most("after", self.after, WINDOW_MAX)
        _check_most("required_after", self.required_after, REQUIRED_AFTER_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupRule:
    """When a changeover begins and ends, and what is made in it.

    Attributes:
        on_product_change: an order of another product than the one before starts a setup.
        on_tool_change: another tool starts a setup.
        tool_signal: ``source.name`` of the tool's identity.
        recipe_signal: ``source.name`` of the loaded recipe; an order that names another one does not start (G4).
        end: ``first_good``: the first good piece; ``n_good_in_tolerance``: that many in a row at the ideal cycle;
            ``operator_confirm``: a person says so; ``plc_release``: a signal, or the mode signal leaving setup.
        good_in_a_row: for ``n_good_in_tolerance``.
        tolerance_percent: how far from the ideal cycle such a cycle may be.
        release_signal: ``source.name`` whose change to true ends the setup (only with ``end: plc_release``).
        setup_from: ``last_good``: it began with the last good piece before; ``trigger``: when it was told.
        pieces_as: what a piece made in a setup is, with the reason STARTUP.
        planned: how long a setup is meant to take.
        alert_percent: a setup longer than this share of the planned one is reported.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    on_product_change: bool = True
    on_tool_change: bool = True
    tool_signal: str | None = None
    recipe_signal: str | None = None
    end: Literal["first_good", "n_good_in_tolerance", "operator_confirm", "plc_release"] = "first_good"
    good_in_a_row: int = 5
    tolerance_percent: int = 15
    release_signal: str | None = None
    setup_from: Literal["last_good", "trigger"] = "last_good"
    pieces_as: Literal["scrap", "good", "test"] = "scrap"
    planned: Duration | None = None
    alert_percent: int = 200

    def __post_init__(self) -> None:
        """Ranges, and a signal only where it is read."""
        if not 1 <= self.good_in_a_row <= GOOD_IN_A_ROW_MAX:
            raise ValueError(f"good_in_a_row: found {self.good_in_a_row}, allowed 1 to {GOOD_IN_A_ROW_MAX}")
        if not 0 < self.tolerance_percent < TOLERANCE_PERCENT_MAX:
            raise ValueError(f"tolerance_percent: found {self.tolerance_percent}, allowed 1 to 99")
        if self.planned is not None and self.planned <= 0:
            raise ValueError("planned: found 0 s, allowed more than that")
        _check_most("planned", self.planned, SETUP_PLANNED_MAX)
        if self.alert_percent < 100:  # noqa: PLR2004 - a setup within its plan is no alert
            raise ValueError(f"alert_percent: found {self.alert_percent}, allowed 100 and above")
        if self.release_signal is not None and self.end != "plc_release":
            raise ValueError(f"release_signal: found with end: {self.end}, allowed only with end: plc_release")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeModelRule:
    """Which ISO 22400 time element a state's time belongs to, where the standard leaves a choice.

    Attributes:
        micro_stop_as: ``delay``: ADET, as ISO 22400 names minor stoppages; ``production``: APT, a loss of performance.
        cleaning_as: AUST, ADET or PDOT; without an order, ADET is ADOT.
        flexible_break: this much of the longest stop of a shift is its break.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    micro_stop_as: Literal["delay", "production"] = "delay"
    cleaning_as: Literal["AUST", "ADET", "PDOT"] = "ADET"
    flexible_break: Duration = Duration(0)

    def __post_init__(self) -> None:
        """Bounded."""
        _check_most("flexible_break", self.flexible_break, FLEXIBLE_BREAK_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTimelineRule:
    """Everything about a machine's states.

    Attributes:
        ideal_cycle: ideal time of one cycle where the running order names none.
        explicit: the machine's own word, if it has one.
        running: a number that says whether it works, if there is one.
        gaps: how the time between cycles is judged.
        data_loss: when the machine is UNKNOWN.
        reasons: why it stands.
        setup: when it is being set up.
        time_model: which time element each state is.
        loss_found_within: how long a source may be silent before its link is taken for lost.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    ideal_cycle: Duration | None = None
    explicit: StateSignalRule | None = None
    running: RunningRule | None = None
    gaps: CycleGapRule = field(default_factory=CycleGapRule)
    data_loss: DataLossRule = field(default_factory=DataLossRule)
    reasons: StopReasonRule = field(default_factory=StopReasonRule)
    setup: SetupRule = field(default_factory=SetupRule)
    time_model: TimeModelRule = field(default_factory=TimeModelRule)
    loss_found_within: Duration = LOSS_FOUND_WITHIN

    @property
    def settle_ns(self) -> int:
        """An interval is final this long after its end: a loss of data and a late alarm still change it until then."""
        return max(self.data_loss.stale_after or 0, self.loss_found_within, self.reasons.after) + SETTLE_EXTRA


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRule:
    """How the machine's states, its stops and setups are told, as a work unit has it.

    Attributes:
        signal: ``source.name`` of an explicit state; none: the time between cycles decides.
        map: ``packml`` (OPC 30050), ``machinery``, ``weihenstephan``, or value of that signal (as text) to state.
        mode_signal: ``source.name`` of the mode or program number; with a named map or ``modes``.
        modes: mode (as text) to SETUP, MAINTENANCE, CLEANING, PLANNED_STOP or OFF.
        blocked_signal: ``source.name`` of PackML's EquipmentBlocked.
        starved_signal: ``source.name`` of PackML's EquipmentStarved.
        starting_as: what PackML's Starting is.
        running: a number that says whether the machine works: motor current, pressure, power.
        slow: a cycle longer than this runs at reduced speed (share of the ideal cycle, or a length).
        stop_detect: no cycle for longer than this is a stop; default twice the ideal cycle, at least 5 s.
        micro_stop_max: a stop up to this long is a micro stop.
        fallback_above: with an ideal cycle above this, an analog running signal decides before the cycles.
        data_loss: when the machine is UNKNOWN.
        reasons: why it stands.
        setup: when it is being set up.
        time_model: which ISO 22400 time element each state is.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    signal: str | None = None
    map: str | dict[str, MachineState] = field(default_factory=dict)
    mode_signal: str | None = None
    modes: dict[str, MachineState] = field(default_factory=dict)
    blocked_signal: str | None = None
    starved_signal: str | None = None
    starting_as: Literal["STOPPED", "PRODUCING"] = "STOPPED"
    running: RunningRule | None = None
    slow: CycleLimit = SLOW
    stop_detect: CycleLimit | None = None
    micro_stop_max: CycleLimit = MICRO_STOP_MAX
    fallback_above: Duration = Duration("60 s")
    data_loss: DataLossRule = field(default_factory=DataLossRule)
    reasons: StopReasonRule = field(default_factory=StopReasonRule)
    setup: SetupRule = field(default_factory=SetupRule)
    time_model: TimeModelRule = field(default_factory=TimeModelRule)

    def __post_init__(self) -> None:
        """A map goes with a signal; what the parts refuse is refused here."""
        if (self.signal is not None) != bool(self.map):
            raise ValueError("signal and map belong together: name both or neither")
        beside = (self.mode_signal, self.blocked_signal, self.starved_signal)
        if self.signal is None and (any(beside) or self.modes):
            raise ValueError("mode_signal, modes, blocked_signal and starved_signal: found without signal; name it too")
        if self.blocked_signal is not None and self.blocked_signal == self.starved_signal:
            raise ValueError(f"starved_signal: found {self.starved_signal}, which is blocked_signal too")
        if self.reasons.alarms and not self.reasons.alarm_signals:
            raise ValueError("reasons: found alarms without alarm_signals; name the signals that show their codes")
        strange = sorted(set(self.reasons.values) - set(self.map)) if isinstance(self.map, dict) else []
        if strange:
            raise ValueError(f"reasons: found values for {strange[0]!r}, which is no value in map; allowed: one of map")
        self.timeline(None)

    @property
    def signals(self) -> tuple[tuple[tuple[str | int, ...], str], ...]:
        """Every signal that is named, each behind its keys in the file."""
        named: list[tuple[tuple[str | int, ...], str | None]] = [
            ((key,), getattr(self, key)) for key in ("signal", "mode_signal", "blocked_signal", "starved_signal")
        ]
        named += [(("reasons", "alarm_signals", index), name) for index, name in enumerate(self.reasons.alarm_signals)]
        named += [
            (("setup", key), getattr(self.setup, key)) for key in ("tool_signal", "recipe_signal", "release_signal")
        ]
        named += [(("running", "signal"), None if self.running is None else self.running.signal)]
        return tuple((keys, name) for keys, name in named if name is not None)

    def timeline(
        self, ideal_cycle: Duration | None, loss_found_within: Duration = LOSS_FOUND_WITHIN
    ) -> StateTimelineRule:
        """The same, prepared for a machine with this ideal cycle and sources like that. Raises ValueError."""
        gaps = CycleGapRule(slow=self.slow, micro_stop_max=self.micro_stop_max, fallback_above=self.fallback_above)
        if self.stop_detect is not None:
            # Who writes a length means it, also below the usual least one.
            least = gaps.stop_detect_min if self.stop_detect.length_ns is None else Duration(self.stop_detect.length_ns)
            gaps = replace(gaps, stop_detect=self.stop_detect, stop_detect_min=min(least, gaps.stop_detect_min))
        explicit = None
        if self.signal is not None:
            explicit = StateSignalRule(
                signal=self.signal,
                map=self.map,
                mode_signal=self.mode_signal,
                modes=self.modes,
                blocked_signal=self.blocked_signal,
                starved_signal=self.starved_signal,
                starting_as=self.starting_as,
            )
        return StateTimelineRule(
            ideal_cycle=ideal_cycle,
            explicit=explicit,
            running=self.running,
            gaps=gaps,
            data_loss=self.data_loss,
            reasons=self.reasons,
            setup=self.setup,
            time_model=self.time_model,
            loss_found_within=loss_found_within,
        )


def _check_most(key: str, found: Duration | None, most: Duration) -> None:
    """Raise ValueError for more than is sensible: what waits for it would wait for ever."""
    if found is not None and found > most:
        raise ValueError(f"{key}: found {found}, allowed up to {most}")
