"""Runs a test of rules and says what is not as expected, with what happened around it. Prints nothing."""

from __future__ import annotations

from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.model import DataValue, JobOrder, OperatorEntry, OrderReceived, TimePassed
from gateway.trial.cases import EXPECTED, NO_ORDER
from gateway.trial.machine import TriedMachine, by_time, time_of
from gateway.trial.series import parsed
from gateway.trial.telling import around

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.core.model import Confirmation, Input
    from gateway.core.rules import WorkUnitRules
    from gateway.trial.cases import Expectation, ExpectedConfirmation, RuleTest
    from gateway.trial.machine import Found, Hours

#: Keys and list positions below the test, such as ("expect", 0, "good").
Keys = tuple[str | int, ...]


class Failure(NamedTuple):
    """One thing that is not as expected: where the expectation stands, what it says, what was found."""

    keys: Keys
    expected: str
    found: str
    timeline: tuple[str, ...]


class Outcome(NamedTuple):
    """How one test ended. ``checked`` counts what was held against an expectation.

    ``unread``: signals that the rules read and that the test says nothing of.
    """

    failures: tuple[Failure, ...]
    checked: int
    unread: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.failures


def run(test: RuleTest, rules: WorkUnitRules, hours: Hours | None = None) -> Outcome:
    """Run one test on the rules of its machine; ``hours`` are the machine's own. Raises TooMuchError."""
    start_ns = int(test.start)
    machine = TriedMachine.fresh(test.machine, rules, start_ns, hours)
    looked: dict[int, tuple[Found, frozenset[str]]] = {}
    inputs = inputs_of(test, machine)
    position = 0
    for after_ns in sorted({int(one.at) for one in test.expect}):
        while position < len(inputs) and time_of(inputs[position]) <= start_ns + after_ns:
            machine.feed(inputs[position])
            position += 1
        machine.feed(TimePassed(start_ns + after_ns))
        looked[after_ns] = machine.found(), frozenset(machine.flags)
    for given in inputs[position:]:
        machine.feed(given)
    failures: list[Failure] = []
    checked = 0
    for index, expected in enumerate(test.expect):
        at_ns = start_ns + expected.at
        for key, wanted, found in _compared(expected, *looked[int(expected.at)], machine.state_at(at_ns).value):
            checked += 1
            if wanted != found:
                timeline = tuple(around(machine.happened, at_ns, start_ns))
                failures.append(Failure(("expect", index, key), wanted, found, timeline))
    if test.confirmations is not None:
        checked += 1 + len(test.confirmations)
        failures += _confirmations(test.confirmations, machine, start_ns)
    given_signals = {series.signal for series in test.series}
    return Outcome(tuple(failures), checked, tuple(sorted(machine.unit.signals - given_signals)))


def inputs_of(test: RuleTest, machine: TriedMachine) -> list[Input]:
    """Everything that arrives in the course of a test, in the order in which the daemon would hand it over.

    Of one moment the orders come first, then the decisions, then the values as the work unit reads them.
    """
    start_ns = int(test.start)
    given: list[Input] = [
        OrderReceived(start_ns + one.at, _job(one.order, one.operation, one.quantity, one.product, machine))
        for one in test.orders
    ]
    given += [OperatorEntry(start_ns + one.at, one.verb, one.order, one.operation, "test") for one in test.decisions]
    values = [
        DataValue(series.signal, sample.value, sample.status, None, start_ns + sample.after_ns)
        for series in test.series
        for sample in parsed(series.values, every_ns=series.every, first_ns=series.at)
    ]
    values.sort(key=lambda value: value.received_time_ns)
    for _, same in groupby(values, key=lambda value: value.received_time_ns):
        given += machine.unit.in_order(list(same))
    return by_time(given)


def _job(order: str, operation: str, quantity: int, product: str, machine: TriedMachine) -> JobOrder:
    return JobOrder(
        order=order,
        operation=operation,
        sequence="0",
        revision=1,
        work_center=machine.unit.identity.work_center,
        product=product,
        product_revision="",
        uom="PC",
        quantity=Decimal(quantity),
        sequence_no=0,
        std_cycle_ns=None,
        planned_start_ns=None,
        planned_end_ns=None,
        cancelled=False,
        source="test",
    )


def _compared(expected: Expectation, found: Found, flags: frozenset[str], state: str) -> Iterator[tuple[str, str, str]]:
    """Key, expected and found, of everything that the expectation names."""
    for key in EXPECTED:
        wanted = getattr(expected, key)
        if wanted is None:
            continue
        if key == "state":
            yield key, wanted.value, state
        elif key == "order":
            yield key, wanted, NO_ORDER if found.order is None else found.order
        else:
            yield key, str(wanted), str(getattr(found, key))
    missing = [flag for flag in expected.flags if flag not in flags]
    if expected.flags:
        came = ", ".join(sorted(flags)) or "none"
        wanted_flags = ", ".join(expected.flags)
        yield "flags", wanted_flags, came if missing else wanted_flags


def _confirmations(expected: Sequence[ExpectedConfirmation], machine: TriedMachine, start_ns: int) -> Iterator[Failure]:
    made = machine.confirmations
    for index, (wanted, found) in enumerate(zip(expected, made, strict=False)):
        for key, text in _named(wanted):
            have = _of_confirmation(found, key)
            if have != text:
                timeline = tuple(around(machine.happened, found.created_ns, start_ns))
                yield Failure(("confirmations", index, key), text, have, timeline)
    if len(expected) != len(made):
        last_ns = made[-1].created_ns if made else machine.state.at_ns
        timeline = tuple(around(machine.happened, last_ns, start_ns))
        yield Failure(("confirmations",), f"{len(expected)} confirmations", f"{len(made)}", timeline)


def _named(wanted: ExpectedConfirmation) -> Iterator[tuple[str, str]]:
    for key in ("order", "kind", "trigger", "good", "scrap", "rework"):
        value = getattr(wanted, key)
        if value is not None:
            yield key, str(getattr(value, "value", value))


def _of_confirmation(found: Confirmation, key: str) -> str:
    if key == "order":
        return found.job.order
    value = getattr(found, key)
    return str(getattr(value, "value", value))
