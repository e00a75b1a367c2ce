"""A test of rules, exactly as the configuration file writes it under ``tests``.

Plain frozen dataclasses, checked like the rules themselves; runs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from gateway.core.duration import Duration
from gateway.core.instant import Instant
from gateway.core.model import ConfirmationKind, MachineState, OperatorVerb
from gateway.core.rules import FORBID_UNKNOWN_KEYS
from gateway.trial.series import parsed

SERIES_MAX: Final = 64
EXPECTATIONS_MAX: Final = 1000
SAMPLES_OF_A_TEST_MAX: Final = 500_000
LENGTH_MAX: Final = Duration("366 d")  # of a test
#: Between these a test begins: there is a calendar for all of it.
FIRST_START: Final = Instant("1970-01-02T00:00:00Z")
LAST_START: Final = Instant("2200-01-01T00:00:00Z")
#: A Monday; where a test names no moment, none matters.
START: Final = Instant("2026-01-05T06:00:00Z")
#: What ``order`` of an expectation says where no order is to run.
NO_ORDER: Final = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What one signal shows in the course of a test.

    Attributes:
        signal: ``source.name``, one that the machine's rules read.
        values: one sample after the other, such as ``0 +1x10 bad 13``.
        every: time from one to the next; not needed where each value has its own ``@`` time.
        at: time of the first, after the start of the test.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    signal: str
    values: str
    every: Duration | None = None
    at: Duration = Duration(0)

    def __post_init__(self) -> None:
        """The notation."""
        if self.every is not None and self.every <= 0:
            raise ValueError("every: found 0 s, allowed more than that")
        parsed(self.values, every_ns=self.every, first_ns=self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderGiven:
    """An order that the ERP releases for the machine in the course of a test.

    Attributes:
        order: its number.
        operation: its operation.
        quantity: its target, pieces.
        product: what is made.
        at: when it arrives, after the start of the test.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    order: str
    operation: str = "0010"
    quantity: int
    product: str = "P"
    at: Duration = Duration(0)

    def __post_init__(self) -> None:
        """A target is positive."""
        if self.quantity < 1:
            raise ValueError(f"quantity: found {self.quantity}, allowed 1 and above")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionGiven:
    """What a person tells the machine in the course of a test.

    Attributes:
        verb: start, interrupt, finish, hold, release, reopen, cancel, complete-setup, rush,
            approve-first-article, material-ready, material-missing or acknowledge-documents.
        order: number of the order.
        operation: needed where the order has several here.
        at: when, after the start of the test.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    verb: OperatorVerb
    order: str
    operation: str = ""
    at: Duration = Duration(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What must be true at one moment; what is not named may be anything.

    Attributes:
        at: when, after the start of the test; what arrives at this very moment is counted in.
        good: good pieces counted since the start.
        scrap: pieces of scrap counted since the start.
        rework: pieces for rework counted since the start.
        hold: pieces counted since the start that wait for a verdict.
        test: samples counted since the start.
        unallocated: pieces counted without an order, of whatever kind.
        review: pieces set aside for a person.
        unknown: pieces that at most may have been made and that nobody can know.
        unknown_intervals: number of intervals in which pieces may have been made that nobody can know.
        state: the machine's state at that moment, as it is known at the end of the test.
        order: number of the running order; ``none`` where none is to run.
        confirmations: number of confirmations made since the start.
        flags: each of these flags or notices has come by then.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    at: Duration
    good: int | None = None
    scrap: int | None = None
    rework: int | None = None
    hold: int | None = None
    test: int | None = None
    unallocated: int | None = None
    review: int | None = None
    unknown: int | None = None
    unknown_intervals: int | None = None
    state: MachineState | None = None
    order: str | None = None
    confirmations: int | None = None
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Something is expected."""
        if not self.flags and all(getattr(self, key) is None for key in EXPECTED):
            raise ValueError(f"names nothing that is expected; allowed: {', '.join((*EXPECTED, 'flags'))}")


#: Keys of an expectation that are held against one found value.
EXPECTED: Final = (
    "good", "scrap", "rework", "hold", "test", "unallocated", "review", "unknown", "unknown_intervals", "state",
    "order", "confirmations",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedConfirmation:
    """One confirmation that must have been made; what is not named may be anything.

    Attributes:
        order: number of the order.
        kind: partial or final.
        trigger: why it was made.
        good: good pieces in it.
        scrap: pieces of scrap in it.
        rework: pieces for rework in it.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    order: str | None = None
    kind: ConfirmationKind | None = None
    trigger: str | None = None
    good: int | None = None
    scrap: int | None = None
    rework: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTest:
    """A test of one machine's rules: what its signals show, and what must come of it.

    Attributes:
        machine: the work unit whose rules are tested.
        start: the moment that all times of the test count from; shifts and dates depend on it.
        series: what the signals show.
        orders: orders that the ERP releases meanwhile.
        decisions: what a person tells the machine meanwhile.
        expect: what must be true, and when.
        confirmations: every confirmation of the test, in order.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    machine: str
    start: Instant = START
    series: tuple[Series, ...]
    orders: tuple[OrderGiven, ...] = ()
    decisions: tuple[DecisionGiven, ...] = ()
    expect: tuple[Expectation, ...] = ()
    confirmations: tuple[ExpectedConfirmation, ...] | None = None

    def __post_init__(self) -> None:
        """Bounded, and something is expected."""
        if not 1 <= len(self.series) <= SERIES_MAX:
            raise ValueError(f"series: found {len(self.series)}, allowed 1 to {SERIES_MAX}")
        if len(self.expect) > EXPECTATIONS_MAX:
            raise ValueError(f"expect: found {len(self.expect)}, allowed up to {EXPECTATIONS_MAX}")
        if not self.expect and self.confirmations is None:
            raise ValueError("names nothing that is expected; give expect or confirmations")
        if not FIRST_START <= self.start <= LAST_START:
            raise ValueError(f"start: found {self.start}, allowed {FIRST_START} to {LAST_START}")
        names = [one.signal for one in self.series]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"series: found {', '.join(doubled)} twice; write each signal's values as one series")
        self._bounded()

    def _bounded(self) -> None:
        samples = [parsed(one.values, every_ns=one.every, first_ns=one.at) for one in self.series]
        times = [int(one.at) for group in (self.expect, self.orders, self.decisions) for one in group]
        length_ns = max([*times, *(series[-1].after_ns for series in samples)])
        if length_ns > LENGTH_MAX:
            raise ValueError(f"found something {Duration(length_ns)} after the start, allowed up to {LENGTH_MAX}")
        total = sum(map(len, samples))
        if total > SAMPLES_OF_A_TEST_MAX:
            raise ValueError(f"series: found {total} values, allowed {SAMPLES_OF_A_TEST_MAX} in one test")
