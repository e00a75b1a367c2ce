"""An engineering change of a BOM from its effective time on: until then the former BOM is reckoned with.

The rest of the revision is in force at once. Asked at each revision and by a timer; judges no change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.document import utc
from gateway.core.model import JobChanged, JobOrderState
from gateway.core.orders.job_image import with_image
from gateway.core.orders.places import notice, with_run

if TYPE_CHECKING:
    from gateway.core.model import JobOrder, Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.orders.job_run import JobRun
    from gateway.core.orders.order_image import OrderImage
    from gateway.core.unit_state import State

_TRIGGER: Final = "engineering change"
_MERGED: Final = JobOrderState.MERGED


def dated(held: OrderImage | None, job: JobOrder, utc_ns: int, *, bom: bool) -> JobOrder:
    """The job order of a new revision with the BOM that holds until its effective time, where that is still to come.

    ``bom``: this revision changes it behind the first piece; else one that waits goes on waiting. ``utc_ns`` is now.
    """
    image = job.image
    if held is None or image is None:
        return job
    former = held.components if bom and held.former is None else held.former
    if former is None or image.effective_ns is None or image.effective_ns <= utc_ns:
        return job
    return with_image(job, image._replace(former=former))


def waits(job: JobOrder) -> str:
    """What the ERP is told of an accepted revision whose BOM is not in force yet; "" where it is."""
    image = job.image
    if image is None or image.former is None:
        return ""
    return f"components: those of {image.change_number} are reckoned with from {utc(image.effective_ns or 0)} on"


def earlier(run: JobRun, utc_offset_ns: int, due_ns: int | None) -> int | None:
    """The earlier of ``due_ns`` and the effective time of a BOM that waits, steady time; None: neither."""
    for one in (run,) if run.merged is None else (run, *run.merged.runs):
        image = one.job.image
        if image is not None and image.former is not None:
            at_ns = (image.effective_ns or 0) - utc_offset_ns
            due_ns = at_ns if due_ns is None else min(due_ns, at_ns)
    return due_ns


def in_force(dispatch: Dispatch, state: State, now_ns: int, out: list[Output]) -> State:
    """The state with each BOM whose time has come; what was made so far is confirmed by the former one."""
    for run in state.at_work():
        due_ns = earlier(run, state.utc_offset_ns, None)
        if due_ns is None or due_ns > now_ns:
            continue
        told = dispatch.confirmed(state, run, now_ns, _TRIGGER, out) if run.anything_open else run
        utc_ns = now_ns + state.utc_offset_ns
        after = _taken(told, utc_ns)
        out.append(JobChanged(now_ns, after.record(), after.state, _TRIGGER))
        if told.merged is not None:
            runs = tuple(_taken(one, utc_ns) for one in told.merged.runs)
            after = after._replace(merged=told.merged._replace(runs=runs))
            records = [one._replace(state=_MERGED).record() for one in runs]
            out += (JobChanged(now_ns, one, _MERGED, _TRIGGER) for one in records)
        number = "" if after.job.image is None else after.job.image.change_number
        out.append(notice(now_ns, "BOM_IN_FORCE", after.job, change_number=number))
        state = with_run(state, after)
    return state


def _taken(run: JobRun, utc_ns: int) -> JobRun:
    image = run.job.image
    if image is None or image.former is None or (image.effective_ns or 0) > utc_ns:
        return run
    return run._replace(job=with_image(run.job, image._replace(former=None)))
