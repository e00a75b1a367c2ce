"""The rules of the counting modes that look at single parts or machines, exactly as the configuration file writes them.

Plain frozen dataclasses in the style of ``rules.py``; what they do stands in ``counting/``. Composed modes hold the
rules of their counters inside. PackML stands in ``rules_packml.py``, cavities and units of measure in
``rules_pieces.py``, single weighings in ``rules_weighing.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from gateway.core.duration import Duration
from gateway.core.model import Role
from gateway.core.ratio import decimal_of
from gateway.core.rules_inputs import (
    FORBID_UNKNOWN_KEYS,
    PIECES_PER_COUNT_MAX,
    CounterRule,
    CountingRule,
    PulseRule,
    check_scrap_reason,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECK_POLLS_MAX: Final = 1000
IN_PROCESS_MAX: Final = 10_000  # pieces between two sensors of one machine

Undetermined = Literal["hold", "scrap", "good", "rework"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRule:
    """Where a part's verdict comes from: two bits, or one signal with a value for each verdict.

    Attributes:
        ok: ``source.name`` of the bit that rises for a good part.
        nok: the bit that rises for a bad part.
        signal: one signal that names the verdict instead of two bits.
        map: value of that signal (as text; true and false are "1" and "0") to good, scrap, rework or hold; any other
            value is no verdict.
        reasons: values of that map which are scrap, to the code that the ERP knows the reason by.
        window: a verdict later than this after the part is not its verdict.
        settle: a contradicting verdict up to this long after the first one is a conflict.
        undetermined: what a part without a verdict is. Whatever stands here, it is held where the result was not known.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    ok: str | None = None
    nok: str | None = None
    signal: str | None = None
    map: dict[str, Literal["good", "scrap", "rework", "hold"]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    window: Duration = Duration("500 ms")
    settle: Duration = Duration("20 ms")
    undetermined: Undetermined = "hold"

    def __post_init__(self) -> None:
        """Bits or one signal, and a way to become good."""
        scrap = [text for text, verdict in self.map.items() if verdict == "scrap"]
        if unknown := sorted(set(self.reasons) - set(scrap)):
            allowed = ", ".join(scrap) or "none: map has no scrap"
            raise ValueError(f"reasons: found {', '.join(unknown)}, allowed values that are scrap: {allowed}")
        for reason in self.reasons.values():
            check_scrap_reason(Role.SCRAP, reason)
        bits = self.ok is not None or self.nok is not None
        if bits == (self.signal is not None):
            raise ValueError("results: found neither or both, allowed the bits ok and nok, or signal with map")
        if (self.signal is not None) != bool(self.map):
            raise ValueError("signal and map belong together: name both or neither")
        if self.ok is not None and self.ok == self.nok:
            raise ValueError(f"ok and nok: found {self.ok} for both, allowed two signals")
        if self.ok is None and bits and self.undetermined == "hold":
            raise ValueError(
                "nok without ok: every good part would be held; name ok, or say undetermined: good if silence is good"
            )
        if self.settle > self.window:
            raise ValueError(f"settle ({self.settle}) must not be longer than window ({self.window})")

    @property
    def signals(self) -> tuple[str, ...]:
        """Every signal that carries a verdict."""
        return tuple(name for name in (self.ok, self.nok, self.signal) if name is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartEndRule:
    """A cycle with a start and an end: two signals, or the two levels of one.

    Attributes:
        mode: ``start_end``.
        signal: ``source.name`` of the start; without end_signal its level says that a cycle is on.
        end_signal: the end.
        abort_signal: its rising edge ends a cycle that is not counted.
        role: what a counted piece is where no results are named.
        pieces: pieces per cycle.
        start_edge: which edge of signal is the start; without end_signal the other one is the end.
        end_edge: which edge of end_signal is the end.
        count_on: ``end``: counted when complete; ``start``: counted when begun.
        missing_end: what a cycle was that never ended before the next start: ``abort`` (nothing) or ``count``.
        debounce: a level must hold this long to be believed; the edge is dated at its beginning.
        min_cycle: what counts sooner after the last one is rejected.
        max_cycle: a longer cycle counts and has no cycle time.
        results: verdict of each cycle, as it stands at its end or comes within the window after it.
        pulse_width: the shortest time that each of its signals is high, and low, as for a pulse.
        accept_missed_pulses: go on although that is shorter than two looks, as for a pulse.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    mode: Literal["start_end"]
    signal: str
    end_signal: str | None = None
    abort_signal: str | None = None
    role: Role = Role.GOOD
    pieces: int = 1
    start_edge: Literal["rising", "falling"] = "rising"
    end_edge: Literal["rising", "falling"] = "rising"
    count_on: Literal["end", "start"] = "end"
    missing_end: Literal["abort", "count"] = "abort"
    debounce: Duration = Duration("5 ms")
    min_cycle: Duration = Duration(0)
    max_cycle: Duration | None = None
    results: ResultRule | None = None
    pulse_width: Duration | None = None
    accept_missed_pulses: bool = False

    def __post_init__(self) -> None:
        """What goes together."""
        check_pieces(self.pieces)
        _check_cycle(self.min_cycle, self.max_cycle)
        names = {"signal": self.signal, "end_signal": self.end_signal, "abort_signal": self.abort_signal}
        check_distinct(names | _result_names(self.results))
        if self.results is not None and self.count_on == "start":
            raise ValueError("count_on: found start with results, allowed end: a verdict comes after the cycle")
        _ = self.inputs

    @property
    def inputs(self) -> dict[str, PulseRule]:
        """Its edges as rules of their own; of edges at the same time, a cycle ends before the next one starts."""
        end_edge: Literal["rising", "falling"] = self.end_edge
        if self.end_signal is None:
            end_edge = "falling" if self.start_edge == "rising" else "rising"
        end = self._edge(self.end_signal or self.signal, end_edge, counts=self.count_on == "end")
        start = self._edge(self.signal, self.start_edge, counts=self.count_on == "start")
        if self.abort_signal is None:
            return {"end": end, "start": start}
        return {"abort": self._edge(self.abort_signal, "rising"), "end": end, "start": start}

    def _edge(self, signal: str, edge: Literal["rising", "falling"], *, counts: bool = False) -> PulseRule:
        return PulseRule(
            mode="pulse",
            signal=signal,
            edge=edge,
            debounce=self.debounce,
            min_cycle=self.min_cycle if counts else Duration(0),  # only what counts has a shortest cycle
            pulse_width=self.pulse_width,
            accept_missed_pulses=self.accept_missed_pulses,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalogRule:
    """A cycle told by a number that rises and falls: motor current, pressure, power.

    Attributes:
        mode: ``analog``.
        signal: ``source.name`` of the number.
        hi: from this value up the cycle is on, a decimal number in quotes.
        lo: from this value down it is off; in between nothing changes.
        role: what a counted piece is.
        pieces: pieces per cycle.
        on_delay: hi must hold this long; the beginning is dated where it was first reached.
        off_delay: lo must hold this long; the end is dated where it was first reached.
        min_on: a shorter cycle is not one (inrush current).
        count_on: ``off``: counted at its end; ``on``: at its beginning.
        max_gap: a loss of the signal up to this long changes nothing (a cycle that fits into it is not seen); a longer
            one ends an open cycle uncounted.
        max_cycle: a longer time between two counted cycles is a stop, not a cycle time.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    mode: Literal["analog"]
    signal: str
    hi: str
    lo: str
    role: Role = Role.GOOD
    pieces: int = 1
    on_delay: Duration = Duration("100 ms")
    off_delay: Duration = Duration("200 ms")
    min_on: Duration = Duration(0)
    count_on: Literal["off", "on"] = "off"
    max_gap: Duration = Duration("10 s")
    max_cycle: Duration | None = None

    def __post_init__(self) -> None:
        """Thresholds against each other."""
        check_pieces(self.pieces)
        if decimal_of("hi", self.hi) <= decimal_of("lo", self.lo):
            raise ValueError(f"hi ({self.hi}) must be above lo ({self.lo}): between them nothing changes")
        if self.count_on == "on" and self.min_on > self.on_delay:
            raise ValueError(
                f"min_on ({self.min_on}) is not known when a cycle begins; with count_on: on use on_delay instead"
            )
        _check_cycle(Duration(self.min_on + self.off_delay), self.max_cycle)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartResultRule:
    """A part comes, then its verdict: each part is counted as what it turned out to be.

    Attributes:
        mode: ``part_result``.
        signal: ``source.name`` of the part sensor.
        pieces: pieces per part signal.
        edge: which edge is a part.
        debounce: a level must hold this long to be believed; the part is dated at its beginning.
        min_cycle: an edge sooner after the last part is rejected.
        max_cycle: a longer time between two parts is a stop, not a cycle time.
        results: where the verdict comes from.
        pulse_width: the shortest time that the part sensor is high, and low, as for a pulse.
        accept_missed_pulses: go on although that is shorter than two looks, as for a pulse.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    mode: Literal["part_result"]
    signal: str
    pieces: int = 1
    edge: Literal["rising", "falling"] = "rising"
    debounce: Duration = Duration("5 ms")
    min_cycle: Duration = Duration(0)
    max_cycle: Duration | None = None
    results: ResultRule
    pulse_width: Duration | None = None
    accept_missed_pulses: bool = False
    role: ClassVar[Role] = Role.HOLD  # a part whose verdict is not known

    def __post_init__(self) -> None:
        """What goes together."""
        check_pieces(self.pieces)
        _check_cycle(self.min_cycle, self.max_cycle)
        check_distinct({"signal": self.signal, **_result_names(self.results)})
        if self.results.window <= 0:
            raise ValueError("results.window: found 0 s, allowed more than that: a verdict comes after its part")
        _ = self.part

    @property
    def part(self) -> PulseRule:
        """The part sensor as a rule of its own."""
        return PulseRule(
            mode="pulse",
            signal=self.signal,
            edge=self.edge,
            debounce=self.debounce,
            min_cycle=self.min_cycle,
            max_cycle=self.max_cycle,
            pulse_width=self.pulse_width,
            accept_missed_pulses=self.accept_missed_pulses,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RolesRule:
    """Several counters on one machine: what one does not count follows from the others.

    Attributes:
        mode: ``roles``.
        total: everything that was made.
        good: good pieces.
        scrap: scrapped pieces.
        rework: pieces to be worked on again.
        test: samples that were taken out.
        total_includes_test: the total counts samples too.
        in_process: pieces that may be between the total's sensor and the others': so many are not called good yet (nor
            scrap, where good is counted).
        authority: which two are booked where total, good and scrap are all counted; the third is compared with them.
        check_polls: so many samples of the total are compared with the others.
        tolerance: they may differ by this many pieces; at least what is made between two readings.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    mode: Literal["roles"]
    total: CountingRule | None = None
    good: CountingRule | None = None
    scrap: CountingRule | None = None
    rework: CountingRule | None = None
    test: CountingRule | None = None
    total_includes_test: bool = False
    in_process: int = 0
    authority: Literal["good_scrap", "total_scrap", "total_good"] = "good_scrap"
    check_polls: int = 20
    tolerance: int = 2
    role: ClassVar[Role] = Role.GOOD
    pieces: ClassVar[int] = 1  # its events count pieces

    def __post_init__(self) -> None:
        """Something must say what is good."""
        if self.total is None and self.good is None:
            raise ValueError(f"roles: found {', '.join(self.counters) or 'none'}, allowed at least total or good")
        if not 1 <= self.check_polls <= CHECK_POLLS_MAX:
            raise ValueError(f"check_polls: found {self.check_polls}, allowed 1 to {CHECK_POLLS_MAX}")
        if not 0 <= self.in_process <= IN_PROCESS_MAX:
            raise ValueError(f"in_process: found {self.in_process}, allowed 0 to {IN_PROCESS_MAX}")
        if self.in_process and (self.total is None or set(self.counters) == {"total"}):
            raise ValueError("in_process: found without total and another counter, allowed only between two of them")
        if self.tolerance < 0:
            raise ValueError(f"tolerance: found {self.tolerance}, allowed 0 and above")
        for name, rule in self.counters.items():
            if rule.role not in (Role.GOOD, name):
                raise ValueError(f"{name}.role: found {rule.role.value}, allowed {name}, or leave it out")
        check_distinct({name: rule.signal for name, rule in self.counters.items()})

    @property
    def counters(self) -> dict[str, CounterRule | PulseRule]:
        """The counters by name, the total last: it is judged when the others of its scan are known."""
        named = {name: getattr(self, name) for name in ("scrap", "rework", "test", "good", "total")}
        return {name: rule for name, rule in named.items() if rule is not None}

    @property
    def signal(self) -> str:
        """The signal that stands for the rule."""
        (*_, last) = self.counters.values()
        return last.signal


def check_pieces(pieces: int) -> None:
    """Pieces per count are within their range. Raises ValueError."""
    if not 1 <= pieces <= PIECES_PER_COUNT_MAX:
        raise ValueError(f"pieces: found {pieces}, allowed 1 to {PIECES_PER_COUNT_MAX}")


def _check_cycle(min_cycle: Duration, max_cycle: Duration | None) -> None:
    if max_cycle is not None and max_cycle <= min_cycle:
        raise ValueError(f"max_cycle ({max_cycle}) must be longer than the shortest cycle ({min_cycle})")


def check_distinct(names: Mapping[str, str | None]) -> None:
    """Each key's signal is another one. Raises ValueError."""
    given = [signal for signal in names.values() if signal is not None]
    doubled = sorted({signal for signal in given if given.count(signal) > 1})
    if doubled:
        keys = ", ".join(key for key, signal in names.items() if signal in doubled)
        raise ValueError(f"{keys}: found {', '.join(doubled)} more than once, allowed one signal for each")


def _result_names(results: ResultRule | None) -> dict[str, str | None]:
    if results is None:
        return {}
    return {"results.ok": results.ok, "results.nok": results.nok, "results.signal": results.signal}
