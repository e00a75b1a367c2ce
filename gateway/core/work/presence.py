"""At how many machines that work each person is at once: what the machines must be told of each other.

Looks at the states of all machines; changes none (``work_persons.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.work.labour import stretch_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.state.state_unit import MachineStateUnit
    from gateway.core.unit_state import State
    from gateway.core.work.labour import LogIn
    from gateway.core.work.ledger import WorkState
    from gateway.core.work_unit import WorkUnit


class ShareNews(NamedTuple):
    """A machine is to hear that a person who is logged in there is at so many machines that work, 1 and more."""

    machine: str
    person: str
    machines: int


def logged_in_now(work: WorkState) -> tuple[LogIn, ...]:
    """Who is at the machine, by when they came."""
    there = [one for one in work.labour.log_ins if one.to_ns is None]
    return tuple(sorted(there, key=lambda one: (one.from_ns if one.since_ns is None else one.since_ns, one.person)))


def works(unit: WorkUnit, state: State) -> bool:
    """Whether people at the machine work for an order now: one runs, and it is no break."""
    if state.running is None:
        return False
    machine: MachineStateUnit = unit.machine
    now = next(reversed(machine.not_final(state.track, state.at_ns + 1)), None)
    if now is None:
        return False
    element = machine.time_model.element(now)
    return stretch_of(unit.identity.machine, now, element, unit.rules.work.labour, basis="busy", crew=0) is not None


def share_news(machines: Iterable[tuple[WorkUnit, State]]) -> tuple[ShareNews, ...]:
    """Who must hear what, so that a person at k machines that work counts as a k-th at each; nothing if all know."""
    at: dict[str, list[tuple[WorkUnit, State, LogIn]]] = {}
    for unit, state in machines:
        for one in state.work.labour.log_ins:
            if one.to_ns is None:
                at.setdefault(one.person, []).append((unit, state, one))
    news: list[ShareNews] = []
    for person, places in at.items():
        many = 1
        if len(places) > 1:
            many = max(1, sum(works(unit, state) for unit, state, _ in places))
        news += [ShareNews(unit.identity.machine, person, many) for unit, _, one in places if one.machines != many]
    return tuple(news)
