"""In which turn the values of one scan are handed over, by their signals and times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.rule_signals import is_evidence, named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.core.model import DataValue
    from gateway.core.rules import WorkUnitRules

EVIDENCE_TURN: Final = 0
#: Behind every count, before the job's name: what filled a handling unit was made in the job before.
HANDLING_UNIT_TURN: Final = 999_999
JOB_TURN: Final = 1_000_000


def turns_of(rules: WorkUnitRules, orders: Iterable[tuple[str, ...]]) -> dict[str, int]:
    """The turn of each signal, from the order in which each rule reads its own."""
    turns: dict[str, int] = {}
    chains = list(orders)
    for _ in chains:  # a signal of several rules pushes back what follows it in each
        for chain in chains:
            turn = EVIDENCE_TURN
            for signal in chain:
                turn = turns[signal] = max(turns.get(signal, 0), turn + 1)
    if rules.confirm.handling_unit_signal is not None:
        turns[rules.confirm.handling_unit_signal] = HANDLING_UNIT_TURN
    if rules.orders.job_signal is not None:
        turns[rules.orders.job_signal] = JOB_TURN
    if rules.orders.cycle_job_signal is not None:  # it says whose the counts are that come with it
        turns[rules.orders.cycle_job_signal] = EVIDENCE_TURN
    evidence = (signal for rule in rules.counters for keys, signal in named(rule) if is_evidence(keys))
    return turns | dict.fromkeys(evidence, EVIDENCE_TURN)


def by_times(
    values: Sequence[DataValue], turns: Mapping[str, int], time_of: Callable[[DataValue, int], int]
) -> list[DataValue]:
    """By their times, those of one time in their turns; a signal's own keep their order.

    Evidence goes first and the job's name last, whatever their times.
    """
    latest: dict[str, int] = {}
    keyed: list[tuple[int, int, int, int]] = []
    for place, value in enumerate(values):
        turn = turns.get(value.signal, 1)
        if turn == EVIDENCE_TURN or turn >= HANDLING_UNIT_TURN:
            keyed.append((turn, 0, 0, place))
            continue
        t_ns = max(time_of(value, value.received_time_ns), latest.get(value.signal, 0))
        latest[value.signal] = t_ns
        keyed.append((EVIDENCE_TURN + 1, t_ns, turn, place))
    return [values[place] for *_, place in sorted(keyed)]
