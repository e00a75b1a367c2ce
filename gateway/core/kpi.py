"""Key performance indicators of ISO 22400-2 as exact fractions of summed elements.

Pure arithmetic: a denominator of 0 gives None, never 0 or 1. Sums first, then divides; nothing is rounded or averaged.
Which time is which element is decided in ``state/time_elements.py``.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.core.state.time_elements import TimeElements

Ratio = Fraction | None

#: Below this share of known time an indicator is uncertain.
COVERAGE_MIN: Final = Fraction(95, 100)


class Quantities(NamedTuple):
    """Pieces by what they are. ``held`` wait for a decision: produced, and neither good nor scrap."""

    good: int = 0
    scrap: int = 0
    rework: int = 0
    held: int = 0

    @property
    def produced(self) -> int:
        """PQ."""
        return self.good + self.scrap + self.rework + self.held


class Product(NamedTuple):
    """What was made of one product: planned run time per piece (PRI, nanoseconds, a fraction), and pieces."""

    run_time_ns: Fraction
    produced: int


class OperationElements(NamedTuple):
    """One operation of an order, for the indicators of the whole order."""

    times: TimeElements
    quantities: Quantities


class MachineKpis(NamedTuple):
    """Indicators of a machine over some time; None where they cannot be.

    ``availability`` keeps unknown time in the denominator, ``availability_known`` leaves it out. ``effectiveness`` may
    be above 1; ``over_speed`` says so. ``uncertain``: less than 95 % of the planned busy time is known.
    """

    availability: Ratio
    availability_known: Ratio
    effectiveness: Ratio
    quality_ratio: Ratio
    oee: Ratio
    nee: Ratio
    allocation_efficiency: Ratio
    utilization_efficiency: Ratio
    technical_efficiency: Ratio
    setup_ratio: Ratio
    scrap_ratio: Ratio
    rework_ratio: Ratio
    coverage: Ratio
    over_speed: bool
    uncertain: bool


class OrderKpis(NamedTuple):
    """Indicators of an order over its operations; times in nanoseconds, the throughput in pieces per nanosecond."""

    allocation_ratio: Ratio
    production_process_ratio: Ratio
    throughput_rate: Ratio
    value_add_ns: int
    support_ns: int
    waiting_ns: int
    value_add_share: Ratio
    waiting_share: Ratio
    fall_off: tuple[Ratio, ...]
    rolled_yield: Ratio
    final_yield: Ratio


def ratio(part: Fraction | int, whole: Fraction | int) -> Ratio:
    """One by the other; None where there is nothing to divide by."""
    return Fraction(part) / Fraction(whole) if whole else None


def product_of(*factors: Ratio) -> Ratio:
    """All multiplied; None where one of them is."""
    result = Fraction(1)
    for factor in factors:
        if factor is None:
            return None
        result *= factor
    return result


def machine_kpis(times: TimeElements, quantities: Quantities, products: Iterable[Product]) -> MachineKpis:
    """The indicators of a machine, a shift, a day or a line, from summed elements."""
    planned_run = sum((product.run_time_ns * product.produced for product in products), Fraction(0))
    availability = ratio(times.apt_ns, times.pbt_ns)
    effectiveness = ratio(planned_run, times.apt_ns)
    quality = ratio(quantities.good, quantities.produced)
    unknown = ratio(times.unk_ns, times.pbt_ns)
    coverage = None if unknown is None else 1 - unknown
    return MachineKpis(
        availability=availability,
        availability_known=ratio(times.apt_ns, times.pbt_ns - times.unk_ns),
        effectiveness=effectiveness,
        quality_ratio=quality,
        oee=product_of(availability, effectiveness, quality),
        nee=product_of(ratio(times.aupt_ns, times.pbt_ns), effectiveness, quality),
        allocation_efficiency=ratio(times.aubt_ns, times.pbt_ns),
        utilization_efficiency=ratio(times.apt_ns, times.aubt_ns),
        technical_efficiency=ratio(times.apt_ns, times.apt_ns + times.adet_ns),
        setup_ratio=ratio(times.aust_ns, times.aupt_ns),
        scrap_ratio=ratio(quantities.scrap, quantities.produced),
        rework_ratio=ratio(quantities.rework, quantities.produced),
        coverage=coverage,
        over_speed=effectiveness is not None and effectiveness > 1,
        uncertain=coverage is not None and coverage < COVERAGE_MIN,
    )


def order_kpis(execution_ns: int, operations: Sequence[OperationElements]) -> OrderKpis:
    """The indicators of an order: its execution time (AOET, start to end) and its operations in their order.

    Raises ValueError without an operation. Operations that overlap may add up to more than the execution time: then
    nothing waits, and the ratios are above 1.
    """
    if not operations:
        raise ValueError("operations: found none, allowed: one and more")
    busy = sum(one.times.aubt_ns for one in operations)
    producing = sum(one.times.apt_ns for one in operations)
    support = busy - producing
    waiting = max(0, execution_ns - busy)
    first, last = operations[0].quantities, operations[-1].quantities
    return OrderKpis(
        allocation_ratio=ratio(busy, execution_ns),
        production_process_ratio=ratio(producing, execution_ns),
        throughput_rate=ratio(last.produced, execution_ns),
        value_add_ns=producing,
        support_ns=support,
        waiting_ns=waiting,
        value_add_share=ratio(producing, execution_ns),
        waiting_share=ratio(waiting, execution_ns),
        fall_off=tuple(ratio(one.quantities.scrap, first.produced) for one in operations),
        rolled_yield=product_of(*(ratio(one.quantities.good, one.quantities.produced) for one in operations)),
        final_yield=ratio(last.good, first.produced),
    )


def actual_to_planned_scrap(scrap: int, planned: int) -> Ratio:
    """SQ / PSQ."""
    return ratio(scrap, planned)


def worker_efficiency(work_ns: int, attendance_ns: int) -> Ratio:
    """APWT / APAT."""
    return ratio(work_ns, attendance_ns)


def first_pass_yield(good_parts: int, inspected_parts: int) -> Ratio:
    """GP / IP."""
    return ratio(good_parts, inspected_parts)


def corrective_maintenance_ratio(corrective_ns: int, preventive_ns: int) -> Ratio:
    """CMT / (CMT + PMT)."""
    return ratio(corrective_ns, corrective_ns + preventive_ns)


def merged_ns(stretches: Iterable[tuple[int, int]]) -> int:
    """How long at least one of these stretches (from, to) lasted: overlapping operations add value once."""
    total, until_ns = 0, None
    for begin, end in sorted(stretches):
        begin_ns = begin if until_ns is None else max(begin, until_ns)
        if end > begin_ns:
            total += end - begin_ns
        until_ns = end if until_ns is None else max(end, until_ns)
    return total


def mean(lengths_ns: Sequence[int]) -> tuple[Ratio, int]:
    """Mean of times between failures, to failure or to repair, with the number that it is the mean of."""
    return ratio(sum(lengths_ns), len(lengths_ns)), len(lengths_ns)
