"""Serial numbers of pieces as they are read: each piece is its order's, a number that was there before is held.

Which number is a duplicate is decided in ``produced_lots.py``. Counts nothing: for each duplicate one good piece that
was counted, or comes next, waits for a verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.entries import PiecesReclassified, SerialRead
from gateway.core.foreign_text import clean
from gateway.core.model import Notice, Role
from gateway.core.orders.order_image import OrderKind
from gateway.core.orders.places import named, with_run
from gateway.core.refusal import Refusal, refused
from gateway.core.work.produced_lots import SERIAL_CHARS_MAX, SerialHold, SerialRecord, serial_read
from gateway.core.work.refused import WorkRefused
from gateway.core.work.run_work import SERIALS_MAX

if TYPE_CHECKING:
    from gateway.core.entries import SerialEntry
    from gateway.core.model import Output
    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State

GATEWAY: Final = "gateway"
DUPLICATE: Final = "DUPLICATE_SERIAL"


def serial_given(state: State, entry: SerialEntry, out: list[Output]) -> State:
    """The state after a serial number was read, or given by a person or program.

    What the reader shows still is no further piece; what it showed first of all was one made before.
    """
    if not entry.who:
        before, serial = state.work.read, entry.serial
        if serial == before:
            return state
        state = state._replace(work=state.work._replace(read=serial))
        if before is None or not serial.strip():
            return state
    run = named(state, entry.order, entry.operation) if entry.order else state.running
    if run is None or isinstance(run, str):
        why = "no order runs" if run is None else run
        _not_taken(entry, "SERIAL_WITHOUT_ORDER", why, out)
        return state
    record = SerialRecord(run.job.product, entry.serial, *run.job.key, entry.at_ns)
    image = run.job.image
    rework = image is not None and image.order_kind is OrderKind.REWORK
    known = (*entry.earlier, *(one for other in state.open_runs() for one in other.work.serials))
    found = serial_read(record, known, rework=rework)
    if isinstance(found, WorkRefused):
        _not_taken(entry, found.code, Refusal(str(found), found.code, **_parts(found)), out)
        return state
    if isinstance(found, SerialHold):
        detail = {
            "order": record.order,
            "operation": record.operation,
            "item": record.item,
            "serial": record.serial,
            "reason": str(found),
        }
        out.append(Notice(entry.at_ns, DUPLICATE, tuple(detail.items())))
        holds = (*state.work.holds, (*run.job.key, entry.who or GATEWAY))
        return held(state._replace(work=state.work._replace(holds=holds)), entry.at_ns, out)
    out.append(SerialRead(entry.at_ns, record, found.first_pass))
    serials = run.work.serials
    if len(serials) < SERIALS_MAX:
        run = run._replace(work=run.work._replace(serials=(*serials, record)))
    return with_run(state, run)


def held(state: State, at_ns: int, out: list[Output]) -> State:
    """The state with a good piece on hold for each duplicate that waits for one; asked after every input."""
    waiting: list[tuple[str, str, str]] = []
    for order, operation, who in state.work.holds:
        run = next((one for one in state.open_runs() if one.job.key == (order, operation)), None)
        if run is None:
            continue  # it has ended: the notice stays
        if not run.open_good:
            waiting.append((order, operation, who))
            continue
        out.append(PiecesReclassified(at_ns, order, operation, 1, Role.GOOD, Role.HOLD, DUPLICATE, who))
        state = _one_on_hold(state, run)
    return state._replace(work=state.work._replace(holds=tuple(waiting)))


def _one_on_hold(state: State, run: JobRun) -> State:
    less = run._replace(good=run.good - 1, open_good=run.open_good - 1, hold=run.hold + 1, open_hold=run.open_hold + 1)
    counted = state.counted.plus(Role.GOOD, -1).plus(Role.HOLD, 1)
    return with_run(state._replace(counted=counted), less)


def _not_taken(entry: SerialEntry, code: str, why: str, out: list[Output]) -> None:
    """A person is refused; of what the reader showed somebody is told."""
    if entry.who:
        out.append(refused(entry.at_ns, why))
        return
    detail = (("serial", clean(entry.serial, SERIAL_CHARS_MAX)), ("reason", str(why)))
    out.append(Notice(entry.at_ns, code, detail))


def _parts(why: WorkRefused) -> dict[str, str]:
    return {"found": why.found, "allowed": why.allowed, "what_to_do": why.what_to_do}
