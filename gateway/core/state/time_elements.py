"""Time elements of ISO 22400-2 as exact sums of intervals, per shift or per order.

Sums nanoseconds; ratios are made in ``kpi.py``. Elements are summed first and divided after, never averaged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.model import MachineState

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from gateway.core.rules_state import StopReasonRule, TimeModelRule
    from gateway.core.state.interval import StateInterval

_S = MachineState


class TimeElements(NamedTuple):
    """Sums in nanoseconds; the derived ones are properties.

    ``overtime_ns`` (produced in planned time), ``unallocated_ns`` (produced without an order), ``micro_stop_ns`` and
    ``estimated_ns`` are parts of other elements, told beside them; ``speed_loss_ns`` is a part of APT.
    """

    apt_ns: int = 0
    aust_ns: int = 0
    adet_ns: int = 0
    adot_ns: int = 0
    pdot_ns: int = 0
    unk_ns: int = 0
    outside_ns: int = 0
    overtime_ns: int = 0
    unallocated_ns: int = 0
    micro_stop_ns: int = 0
    estimated_ns: int = 0
    speed_loss_ns: int = 0

    @property
    def pot_ns(self) -> int:
        """Planned operation time: all but time outside of any shift; production there extends it."""
        return self.pdot_ns + self.pbt_ns

    @property
    def pbt_ns(self) -> int:
        """Planned busy time: POT - PDOT."""
        return self.aubt_ns + self.adot_ns + self.unk_ns

    @property
    def aupt_ns(self) -> int:
        """Unit processing time: APT + AUST."""
        return self.apt_ns + self.aust_ns

    @property
    def aubt_ns(self) -> int:
        """Unit busy time: AUPT + ADET."""
        return self.aupt_ns + self.adet_ns

    def plus(self, other: TimeElements) -> TimeElements:
        """Both together."""
        return TimeElements(*(one + more for one, more in zip(self, other, strict=True)))


class TimeModel:
    """The rule, prepared."""

    def __init__(self, rule: TimeModelRule, reasons: StopReasonRule) -> None:
        self._micro_stop = "APT" if rule.micro_stop_as == "production" else "ADET"
        self._cleaning: str = rule.cleaning_as
        self._flexible_ns = int(rule.flexible_break)
        self._by_reason = reasons.elements

    def element(self, found: StateInterval) -> str:
        """APT, AUST, ADET, ADOT, PDOT, UNK, or OUTSIDE of the planned operation time."""
        state = found.state
        if state is _S.PRODUCING:
            return "APT"
        if found.planned is _S.NOT_SCHEDULED or state is _S.NOT_SCHEDULED:
            return "OUTSIDE"
        if found.planned is not None or state is _S.PLANNED_STOP:
            return "PDOT"
        if state is _S.UNKNOWN:
            return "UNK"
        if found.reason in self._by_reason:
            return self._by_reason[found.reason]
        element = {
            _S.SETUP: "AUST",
            _S.MICRO_STOP: self._micro_stop,
            _S.CLEANING: self._cleaning,
            _S.IDLE_NO_ORDER: "ADOT",
        }.get(state, "ADET")
        # A delay is one of an order; without an order the machine is down, though available.
        return "ADOT" if element == "ADET" and found.order is None else element

    def of(self, found: StateInterval) -> TimeElements:
        """The elements of one interval."""
        length = found.length_ns
        name = f"{self.element(found).lower()}_ns"
        producing = found.state is _S.PRODUCING
        return TimeElements(
            overtime_ns=length if found.overtime else 0,
            unallocated_ns=length if producing and found.order is None else 0,
            micro_stop_ns=length if found.state is _S.MICRO_STOP else 0,
            estimated_ns=length if found.estimated else 0,
            speed_loss_ns=found.speed_loss_ns,
        )._replace(**{name: length})

    def total(self, row: Iterable[StateInterval]) -> TimeElements:
        """The sum of a row."""
        sums = [0] * len(TimeElements._fields)
        for found in row:
            for index, value in enumerate(self.of(found)):
                sums[index] += value
        return TimeElements(*sums)

    def by(
        self, row: Iterable[StateInterval], key: Callable[[StateInterval], Hashable]
    ) -> dict[Hashable, TimeElements]:
        """The sums by what the key names: ``per_shift``, ``per_order``, or the caller's own."""
        groups: dict[Hashable, list[StateInterval]] = {}
        for found in row:
            groups.setdefault(key(found), []).append(found)
        return {name: self.total(members) for name, members in groups.items()}

    def of_shift(self, row: tuple[StateInterval, ...]) -> TimeElements:
        """The sums of one whole shift, with its flexible break taken from its longest stop."""
        sums = self.total(row)
        if not self._flexible_ns:
            return sums
        stops: dict[int, dict[str, int]] = {}
        for found in row:
            if found.stop_from_ns is not None and found.planned is None:
                parts = stops.setdefault(found.stop_from_ns, {})
                name = f"{self.element(found).lower()}_ns"
                parts[name] = parts.get(name, 0) + found.length_ns
        longest = max(stops.values(), key=lambda parts: sum(parts.values()), default={})
        if sum(longest.values()) < self._flexible_ns:
            return sums  # no stop covers the break: it was not taken
        left = self._flexible_ns
        values = sums._asdict()
        for name, length in longest.items():
            taken = min(left, length)
            values[name] -= taken
            values["pdot_ns"] += taken
            left -= taken
        return TimeElements(**values)


def per_shift(found: StateInterval) -> str:
    """The shift that an interval belongs to."""
    return found.shift


def per_order(found: StateInterval) -> tuple[str, str] | None:
    """Order and operation that an interval belongs to; None: to none."""
    return None if found.order is None else (found.order, found.operation or "")
