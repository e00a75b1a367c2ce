"""What one step of a work unit makes durable: its state, journal, job orders and postings as one unit.

Commits nothing, and decides nothing about pieces or orders.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from buffer.step import JournalRow, NewPosting, Step
from gateway.core import journal, snapshot
from gateway.core.document import encode, fields
from gateway.core.entries import LotNamed, SerialRead
from gateway.core.model import Confirmation, JobChanged, Voided
from gateway.core.work.packing import UnitPacked
from gateway.work_unit.posting import posting_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.core.model import JobOrder, Output
    from gateway.core.unit_state import State
    from gateway.core.work.genealogy import GenealogyLink
    from gateway.core.work_unit import WorkUnit


def step_of(
    unit: WorkUnit,
    state: State,
    outputs: tuple[Output, ...],
    first_seq: int,
    targets: Callable[[JobOrder], Sequence[str]],
) -> Step:
    """The step of these outputs; ``first_seq`` is the number of the first journal row.

    ``targets`` names the connectors that a job order's confirmations go to.
    """
    rows: list[JournalRow] = []
    postings: list[NewPosting] = []
    jobs = {}
    voids: list[str] = []
    for seq, output in enumerate(outputs, first_seq):
        kind, data = journal.row(output)
        rows.append(JournalRow(seq, state.at_ns, kind, _json(data)))
        if isinstance(output, JobChanged):
            jobs[output.record.job.key] = output.record
        elif isinstance(output, Confirmation):
            payload = encode(fields(unit.identity, output))
            postings += [posting_of(output, target, payload) for target in targets(output.job)]
        elif isinstance(output, Voided):
            voids.append(output.key)
    return Step(
        work_unit=unit.identity.machine,
        snapshot=snapshot.dump(unit, state),
        last_time_ns=state.at_ns,
        rows=tuple(rows),
        postings=tuple(postings),
        jobs=tuple(jobs.values()),
        voids=tuple(voids),
        identity=unit.identity,
        serials=tuple(one.record for one in outputs if isinstance(one, SerialRead)),
        lots=tuple(one for one in outputs if isinstance(one, LotNamed)),
        links=tuple(link for one in outputs for link in _links_of(one)),
    )


def _links_of(output: Output) -> tuple[GenealogyLink, ...]:
    if isinstance(output, UnitPacked):
        return output.links
    return output.work.links if isinstance(output, Confirmation) and output.work is not None else ()


def _json(data: Any) -> bytes:
    # The standard library's: it has no largest integer and takes any text, and whatever was counted must be written.
    return json.dumps(data, separators=(",", ":")).encode()
