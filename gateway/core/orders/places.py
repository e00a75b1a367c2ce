"""Where the job orders of a work unit are: at work on the machine, or waiting in their sequence; and how one is named.

Puts and finds. It neither confirms nor decides who runs.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Final

from gateway.core.model import Notice
from gateway.core.orders.queue_entries import rank_of
from gateway.core.refusal import REFUSED, Refusal, details

if TYPE_CHECKING:
    from gateway.core.model import JobOrder, Output
    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State


#: Signs between order and operation on a label.
_BETWEEN: Final = "/-+* "


def named(state: State, order: str, operation: str) -> JobRun | str:
    """The open job order that a person means, or why it is none; ``operation`` may be empty where there is only one."""
    found = [run for run in state.open_runs() if run.job.order == order and operation in ("", run.job.operation)]
    if len(found) == 1:
        return found[0]
    name = f"{order}/{operation}" if operation else order
    if found:
        operations = ", ".join(run.job.operation for run in found)
        text = f"order {name} has several operations here: {operations}; name one"
        return Refusal(text, "ONE_OPERATION", found=operations, allowed="one of them", what_to_do="name the operation")
    here = ", ".join("/".join(run.job.key) for run in state.open_runs()) or "none"
    text = f"order {name} is not open at this work unit; open orders: {here}"
    todo = "name an open order, or have this one released to this machine"
    return Refusal(text, "ORDER_OPEN", found=name, allowed=here, what_to_do=todo)


def scanned(state: State, code: str, job_format: str) -> JobRun | str:
    """The open job order that a barcode names, or why it is none.

    A barcode is the order number, alone or with the operation behind ``/``, ``-``, ``+``, ``*`` or a blank; or what the
    PLC would call it.
    """
    code = code.strip()
    if any(run.job.order == code for run in state.open_runs()):
        return named(state, code, "")
    for run in state.open_runs():
        order, operation = run.job.key
        if code in (job_tag(job_format, run.job), *(f"{order}{sign}{operation}" for sign in _BETWEEN)):
            return run
    return named(state, code, "")


def enqueue(state: State, run: JobRun) -> State:
    """The state with one more waiting job order, at its place."""
    waiting = list(state.queue)
    bisect.insort(waiting, run, key=rank_of)
    return state._replace(queue=tuple(waiting))


def put_to_work(state: State, run: JobRun) -> State:
    """The state with one more order on the machine: it leads where none ran, and runs beside the others else."""
    return state._replace(running=run) if state.running is None else state._replace(beside=(*state.beside, run))


def without(state: State, run: JobRun) -> State:
    """The state without a job order; where it led, the next one beside it leads."""
    key = run.job.key
    if state.running is not None and state.running.job.key == key:
        return state._replace(running=state.beside[0] if state.beside else None, beside=state.beside[1:])
    return state._replace(
        beside=tuple(other for other in state.beside if other.job.key != key),
        queue=tuple(other for other in state.queue if other.job.key != key),
    )


def with_run(state: State, run: JobRun) -> State:
    """The state with a job order as it is now, at its place."""
    key = run.job.key
    if state.running is not None and state.running.job.key == key:
        return state._replace(running=run)
    if any(other.job.key == key for other in state.beside):
        return state._replace(beside=tuple(run if other.job.key == key else other for other in state.beside))
    return enqueue(without(state, run), run)


def owing(state: State, ended: JobRun) -> State:
    """The state after children ended: whoever of the ERP's order is left tells it that it is complete."""
    runs = (ended,) if ended.merged is None else ended.merged.runs
    keys = {run.job.erp_key for run in runs if run.job.erp_order}
    if not keys:
        return state

    def marked(run: JobRun) -> JobRun:
        merged = run.merged
        if merged is not None:
            run = run._replace(merged=merged._replace(runs=tuple(marked(one) for one in merged.runs)))
        return run._replace(owes_final=True) if run.job.erp_key in keys else run

    for run in state.open_runs():
        after = marked(run)
        state = state if after == run else with_run(state, after)
    return state


def notice(at_ns: int, code: str, job: JobOrder, **detail: str) -> Notice:
    """Something a person should see of a job order."""
    return Notice(at_ns, code, (("order", job.order), ("operation", job.operation), *detail.items()))


def refusal_of(at_ns: int, job: JobOrder, why: str) -> Notice:
    """What is not done with a job order, and why; a ``Refusal`` with its parts."""
    return Notice(at_ns, REFUSED, (("order", job.order), ("operation", job.operation), *details(why)))


def job_tag(job_format: str, job: JobOrder) -> str:
    """The order as the PLC names it; ``job_format`` has {order} and may have {operation}."""
    return job_format.replace("{order}", job.order).replace("{operation}", job.operation)


def told(state: State, at_ns: int, code: str, job: JobOrder, text: str, out: list[Output]) -> State:
    """Said once, not each time that somebody asks."""
    said = f"{code} {'/'.join(job.key)}: {text}"
    if state.next_told == said:
        return state
    out.append(notice(at_ns, code, job, reason=text))
    return state._replace(next_told=said)
