"""Persons of a recording without their names: the same person is the same number throughout, and nobody else is.

Names are kept nowhere; who was meant cannot be told from a recording.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State

#: Who decided, where it makes no difference which person it was.
WHO: Final = "recorded"


class Persons:
    """The persons of one recording, numbered as they appear."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def named(self, person: str) -> str:
        """What stands for this person; "" stays nobody."""
        return self._known.setdefault(person, f"person-{len(self._known) + 1}") if person else ""

    def all_named(self, persons: Iterable[str]) -> tuple[str, ...]:
        """What stands for each of these."""
        return tuple(self.named(one) for one in persons)


def skills_without_names(skills: Mapping[str, Sequence[str]], persons: Persons) -> dict[str, list[str]]:
    """Who can do what, as a configuration lists it."""
    return {persons.named(person): list(known) for person, known in sorted(skills.items())}


def without_names(state: State, persons: Persons) -> State:
    """The state of a machine in which no person is named."""
    labour = state.work.labour
    log_ins = tuple(one._replace(person=persons.named(one.person)) for one in labour.log_ins)
    holds = tuple((order, operation, WHO) for order, operation, _ in state.work.holds)
    last = state.last_word
    if last is not None:
        about = persons.all_named(last.detail) if last.verb.startswith("labour.") else last.detail
        last = last._replace(who=last.who if last.who == WHO else persons.named(last.who), detail=about)
    return state._replace(
        work=state.work._replace(labour=labour._replace(log_ins=log_ins), holds=holds),
        running=None if state.running is None else _run(state.running, persons),
        beside=tuple(_run(one, persons) for one in state.beside),
        queue=tuple(_run(one, persons) for one in state.queue),
        previous=None if state.previous is None else _run(state.previous, persons),
        last_word=last,
        undoable=tuple(_run(one, persons) for one in state.undoable),
        standing=tuple(one._replace(who=WHO) for one in state.standing),
    )


def _run(run: JobRun, persons: Persons) -> JobRun:
    merged = run.merged
    if merged is not None:
        merged = merged._replace(runs=tuple(_run(one, persons) for one in merged.runs))
    work = run.work._replace(operators=persons.all_named(run.work.operators))
    return run._replace(work=work, merged=merged)
