"""Which reasons a person is offered at a machine: those of its own list, and those that its rules name besides.

Reads the rules; what a reason does is decided where it is said. A machine of which nothing is written offers none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.core.rules import WorkUnitRules


class Offered(NamedTuple):
    """Reasons by what they are of, in the order of the configuration. ``only``: others are refused."""

    stop: tuple[str, ...]
    scrap: tuple[str, ...]
    rework: tuple[str, ...]
    only: bool


def offered(rules: WorkUnitRules) -> Offered:
    """What the rules of a machine name."""
    told, own = rules.state.reasons, rules.reasons
    by_rule = (*told.values.values(), *told.states.values(), *told.alarms.values(), *told.elements)
    return Offered(
        _each_once((*own.stop, *by_rule)), _each_once((*own.scrap, *_of_counters(rules))), own.rework, own.only
    )


def not_offered(rules: WorkUnitRules, what: str, reason: str) -> tuple[str, ...]:
    """The reasons that may be said instead; () where this one is taken. ``what``: stop, scrap or rework.

    A kind of which no list says anything takes every reason.
    """
    found = offered(rules)
    known: tuple[str, ...] = {"stop": found.stop, "scrap": found.scrap, "rework": found.rework}[what]
    return known if found.only and reason not in known else ()


def _of_counters(rules: WorkUnitRules) -> Iterator[str]:
    for rule in rules.counters:
        if named := getattr(rule, "scrap_reason", ""):
            yield named
        results = getattr(rule, "results", None)
        yield from () if results is None else results.reasons.values()


def _each_once(reasons: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reasons))
