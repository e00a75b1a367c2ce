"""Job orders as the queue and the guards see them: their places, and the facts about a start that are known today.

Asks and decides nothing. What nobody tells (people's skills, mounted lots) is no fact, and what is no fact is no
objection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.model import JobOrderState
from gateway.core.orders.guards import GuardFacts
from gateway.core.orders.job_image import recipe_of, tool_of
from gateway.core.orders.queue import QUEUE_MAX, QUEUED, QueueEntry, ahead, rank

if TYPE_CHECKING:
    from gateway.core.orders.job_run import JobRun
    from gateway.core.state.state_unit import MachineStateUnit
    from gateway.core.unit_state import State


def rank_of(run: JobRun) -> tuple[int, int, int, int, int, int, str, str]:
    """The place of a job order in its queue."""
    return rank(_entry(run))


def entry_of(run: JobRun, *, setup_planned: bool) -> QueueEntry:
    """A job order of the queue, with what decides whether it starts by itself."""
    return _entry(run)._replace(tool=tool_of(run.job), setup_planned=setup_planned)


def holds_of(run: JobRun) -> tuple[str, ...]:
    """The active holds."""
    return (run.holds or ("without a reason",)) if run.state is JobOrderState.ON_HOLD else ()


def material_of(run: JobRun) -> bool | None:
    """Whether its material is there: a person's word, else the ERP's; None: nobody tells."""
    image = run.job.image
    return run.material if run.material is not None or image is None else image.material_available


def start_facts(state: State, run: JobRun, machine: MachineStateUnit, *, setup_planned: bool) -> GuardFacts:
    """What is known of the start of a job order."""
    others = tuple(one.job.order for one in state.at_work() if one.job.key != run.job.key)
    image = run.job.image
    before = None if image is None else image.predecessor(run.job.operation)
    here = None if before is None else _open_operation(state, run.job.order, before.operation)
    queue = tuple(_entry(other) for other in state.queue[:QUEUE_MAX] if other.state in QUEUED)
    return GuardFacts(
        holds=holds_of(run),
        predecessor="" if before is None else before.operation,
        predecessor_state=run.before_state if here is None else here.state,
        material_available=material_of(run),
        overlap=before is not None and before.control.overlap,
        tool_wanted=tool_of(run.job),
        tool_found=machine.tool_told(state.track),
        recipe_wanted=recipe_of(run.job),
        recipe_found=machine.recipe_told(state.track),
        changeover=setup_planned,
        running=others,
        documents_required=() if image is None else image.documents,
        documents_acknowledged=run.documents_read,
        ahead=ahead(queue, run.job.key),
    )


def _entry(run: JobRun) -> QueueEntry:
    job = run.job
    return QueueEntry(
        job.order,
        job.operation,
        run.state,
        job.sequence_no,
        0 if job.image is None else job.image.priority,
        job.planned_start_ns,
        rush_no=run.rush_no,
        resumes=run.resumes,
        waits_for_person=run.waits_for_person,
        holds=holds_of(run),
    )


def _open_operation(state: State, order: str, operation: str) -> JobRun | None:
    """Another operation of the order, if it is open here."""
    return next((run for run in state.open_runs() if run.job.key == (order, operation)), None)
