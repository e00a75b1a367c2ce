"""Checks of the ``tests`` section against the rest of the document: machines and signals that must exist.

Runs no test; a gateway that runs ignores the section.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from config.errors import KeyPath, did_you_mean, listed
from config.messages import Complaint
from gateway.core.work_unit import WorkUnit
from gateway.trial.machine import identity_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.core.rules import WorkUnitRules


def misfits(document: Any) -> Iterator[Complaint]:
    """Everything in ``tests`` that does not fit the machines of this document."""
    for name, test in document.tests.items():
        path: KeyPath = ("tests", name)
        rules = document.work_units.get(test.machine)
        if rules is None:
            near = did_you_mean(test.machine, document.work_units)
            text = f"found {test.machine!r}, there is no such work unit; allowed: {listed(document.work_units)}{near}"
            yield Complaint((*path, "machine"), about_key=False, text=text)
            continue
        known = signals_of(test.machine, rules)
        for at, series in enumerate(test.series):
            if series.signal not in known:
                near = did_you_mean(series.signal, known)
                text = f"found {series.signal!r}, no rule of {test.machine} reads it; allowed: {listed(known)}{near}"
                yield Complaint((*path, "series", at, "signal"), about_key=False, text=text)


def signals_of(name: str, rules: WorkUnitRules) -> list[str]:
    """Every signal that the rules of a machine read."""
    return sorted(WorkUnit(rules, identity_of(name, rules)).signals)
