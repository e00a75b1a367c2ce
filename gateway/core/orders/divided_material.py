"""Material of an order that was split: its parts are one order to the ERP, and one of them takes what is used once.

The first part carries that until another one starts before it; one that goes without having begun leaves it to them.
It reckons no material: that is ``work/material_book.py``'s, who asks which items were taken already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.orders.places import with_run
from gateway.core.work.backflush import Backflush, components_of, fixed_names
from gateway.core.work.run_work import RunWork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State


def handed_on(parent: JobRun, children: Sequence[JobRun]) -> tuple[JobRun, ...]:
    """The new parts of a split order: the first with what is not told of its material, none takes twice what is once.

    With the first go the fractions that were rounded off, what a person issued and no confirmation told yet, and, where
    the order was never confirmed, what is used once.
    """
    names, work = _once(parent), parent.work
    fixed = names if parent.seq else work.material.fixed
    first = RunWork(
        material=work.material._replace(fixed=fixed), made=work.made, serials=work.serials, setups=work.setups
    )
    others = RunWork(material=Backflush((), names))
    return tuple(one._replace(work=others if at else first) for at, one in enumerate(children))


def taking(state: State, run: JobRun) -> tuple[State, JobRun]:
    """A part that starts before the one that carries what is used once takes that over; all others are as they were."""
    if not run.job.erp_order or _begun(run) or _lacks(run):
        return state, run
    carries = next((one for one in _siblings(state, run) if _lacks(one) and not _begun(one)), None)
    if carries is None:
        return state, run
    lacking = _lacks(carries)
    return with_run(state, _having(carries, lacking)), _lacking(run, lacking)


def left_to_siblings(state: State, gone: JobRun) -> State:
    """The state without a part that was cancelled: what is used once and it never took is for another one."""
    lacking = _lacks(gone) if gone.job.erp_order and not gone.seq else ()
    others = sorted(_siblings(state, gone), key=_begun)
    return with_run(state, _lacking(others[0], lacking)) if lacking and others else state


def _once(run: JobRun) -> tuple[str, ...]:
    return () if run.job.image is None else fixed_names(components_of(run.job.image, run.job.operation))


def _lacks(run: JobRun) -> tuple[str, ...]:
    return tuple(name for name in _once(run) if name not in run.work.material.fixed)


def _begun(run: JobRun) -> bool:
    """Whether it may have taken material already."""
    return bool(run.seq or run.anything_open or any(one.pieces for one in run.work.made))


def _siblings(state: State, run: JobRun) -> list[JobRun]:
    found = [one for one in state.open_runs() if one.job.erp_order and one.job.erp_key == run.job.erp_key]
    return [one for one in found if one.job.key != run.job.key]


def _having(run: JobRun, names: Sequence[str]) -> JobRun:
    material = run.work.material
    fixed = tuple(dict.fromkeys((*material.fixed, *names)))
    return run._replace(work=run.work._replace(material=material._replace(fixed=fixed)))


def _lacking(run: JobRun, names: Sequence[str]) -> JobRun:
    material = run.work.material
    fixed = tuple(name for name in material.fixed if name not in names)
    return run._replace(work=run.work._replace(material=material._replace(fixed=fixed)))
