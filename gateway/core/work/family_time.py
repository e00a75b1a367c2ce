"""Which orders ran together on a machine and when, and whose its time is: shared exactly, by the rule of the tool.

Remembers what is not final yet. How the parts of one period are made is ``time_account.py``'s.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.counting.cavity import CavityDetector
from gateway.core.rules_pieces import CavityRule
from gateway.core.state.interval import cut
from gateway.core.work.time_account import FamilyMember, shared

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from fractions import Fraction

    from gateway.core.orders.job_run import JobRun
    from gateway.core.rules import WorkUnitRules
    from gateway.core.state.interval import StateInterval
    from gateway.core.work.activity_times import PeriodTimes

#: Changes of what runs together in time that is not final; of more the oldest are one.
TOGETHER_MAX: Final = 256

Key = tuple[str, str]


class Together(NamedTuple):
    """From an instant on these ran: order, operation and product of each."""

    from_ns: int
    members: tuple[tuple[str, str, str], ...]

    def runs(self, key: Key) -> bool:
        """Whether an order was among them."""
        return any(one[:2] == key for one in self.members)


class FamilyTime:
    """The rule of one machine: a cavity rule's ``machine_time``, else equal parts."""

    def __init__(self, rules: WorkUnitRules) -> None:
        self.possible = rules.orders.max_parallel_orders > 1
        tools = (rule for rule in rules.counters if isinstance(rule, CavityRule) and rule.parts)
        rule = next(tools, None)
        self._tool = None if rule is None else CavityDetector(rule, None)

    def seen(self, known: tuple[Together, ...], runs: Iterable[JobRun], at_ns: int) -> tuple[Together, ...]:
        """What is remembered, now that these run."""
        members = tuple((*run.job.key, run.job.product) for run in runs)
        if (known[-1].members if known else ()) == members:
            return known
        return (*known, Together(at_ns, members))[-TOGETHER_MAX:]

    def stretches(
        self, known: Sequence[Together], interval: StateInterval
    ) -> Iterator[tuple[StateInterval, Together | None]]:
        """An interval cut where what ran changed; None: its order ran alone."""
        rest: StateInterval | None = interval
        key = (interval.order or "", interval.operation or "")
        for at, one in enumerate(known):
            until_ns = known[at + 1].from_ns if at + 1 < len(known) else interval.to_ns
            before, rest = (None, None) if rest is None else cut(rest, one.from_ns)
            if before is not None:
                yield before, None
            now, rest = (None, None) if rest is None else cut(rest, until_ns)
            if now is not None:
                yield now, one if len(one.members) > 1 and one.runs(key) else None
        if rest is not None:
            yield rest, None

    def parts(self, period: PeriodTimes, together: Together, at_ns: int) -> list[tuple[Key, PeriodTimes]]:
        """The parts of a period, one for each order; they add up to it."""
        shares = {} if self._tool is None else self._tool.time_shares(at_ns)
        weights = _whole([shares.get(product) for _, _, product in together.members])
        members = [
            FamilyMember(order, operation, weight)
            for (order, operation, _), weight in zip(together.members, weights, strict=True)
        ]
        found = shared(period, members, "by_piece")
        return [((one.order, one.operation), part) for one, part in zip(members, found, strict=True)]


def kept(known: tuple[Together, ...], final_ns: int) -> tuple[Together, ...]:
    """What may still be asked for, once all up to an instant is final."""
    passed = sum(one.from_ns <= final_ns for one in known[1:])
    return known[passed:]


def together_from(rows: Iterable[Sequence[Any]]) -> tuple[Together, ...]:
    """What JSON made of it."""
    return tuple(
        Together(from_ns, tuple((order, operation, product) for order, operation, product in members))
        for from_ns, members in rows
    )


def _whole(shares: Sequence[Fraction | None]) -> list[int]:
    """Exact shares as whole weights; where one is not known, equal ones."""
    known = [one for one in shares if one is not None]
    if len(known) < len(shares):
        return [1] * len(shares)
    scale = math.lcm(*(one.denominator for one in known))
    return [int(one * scale) for one in known]
