"""What went into a handling unit (pallet, box): good pieces by their lot, and serial numbers that were read meanwhile.

Listens to what an input came to, and tells the links once the next unit is named. A piece that is judged otherwise
afterwards stays where it was put. When a unit is full ``orders/handling_units.py`` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.entries import SerialRead
from gateway.core.model import Confirmation, PiecesProduced, Role
from gateway.core.work.genealogy import GenealogyLink, Tracked, TrackedKind
from gateway.core.work.lots import Certainty
from gateway.core.work.rounding import Exact, largest_remainders
from gateway.core.work.serials import held

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.core.model import Output
    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State

_HEARD: Final = (PiecesProduced, SerialRead, Confirmation)
#: Of one handling unit: lots of orders, and serial numbers. What comes on top of it is in no unit.
PACKED_MAX: Final = 2_000


class Packed(NamedTuple):
    """Pieces of one lot of an order, or one piece with a serial number, in a handling unit.

    ``lot`` is "" until somebody knows it. ``serial`` is "" for pieces of a lot.
    """

    unit: str
    order: str
    operation: str
    item: str
    uom: str
    lot: str
    serial: str
    pieces: int
    from_ns: int
    to_ns: int

    @property
    def key(self) -> tuple[str, str]:
        """Order and operation."""
        return (self.order, self.operation)


class UnitPacked(NamedTuple):
    """A handling unit is full, or ended: what went into it, as far as its lots are known now."""

    at_ns: int
    unit: str
    links: tuple[GenealogyLink, ...]


def packed_from(rows: Iterable[Sequence[Any]]) -> tuple[Packed, ...]:
    """What JSON made of the rows. Raises TypeError."""
    return tuple(Packed(*row) for row in rows)


def noted(before: State, state: State, machine: str, at_ns: int, out: list[Output]) -> State:
    """The state after an input: a piece waits for each duplicate serial number, then what was packed is noted."""
    if state.work.holds:
        state = held(state, at_ns, out)
    if before.handling_unit or state.work.packed:
        return packing(before, state, machine, at_ns, out)
    return state


def packing(before: State, state: State, machine: str, at_ns: int, out: list[Output]) -> State:
    """The state after an input: what came into the unit is noted, one that is full is told."""
    unit = before.handling_unit
    rows = list(state.work.packed)
    rests = not rows or rows[0].unit == state.handling_unit == unit  # the oldest stands first
    if rests and not any(isinstance(one, _HEARD) for one in out):
        return state
    for one in tuple(out):
        if isinstance(one, PiecesProduced) and unit:
            _put(rows, unit, _run(before, state, (one.order, one.operation)), one)
        elif isinstance(one, SerialRead) and unit and len(rows) < PACKED_MAX:
            record = one.record
            run = _run(before, state, (record.order, record.operation))
            if run is not None:
                place = (unit, *run.job.key, record.item, run.job.uom, "", record.serial, 1)
                rows.append(Packed(*place, record.at_ns, record.at_ns))
        elif isinstance(one, Confirmation) and one.work is not None and one.work.lots:
            rows = [_of_lot(row, one) for row in rows]
    rows = _to_originals(rows, [one for one in out if isinstance(one, Confirmation)])
    full: dict[str, list[GenealogyLink]] = {}
    after: list[Packed] = []
    for row in rows:
        link = None if row.unit == state.handling_unit else _link(row, state, machine)
        if link is not None:
            full.setdefault(row.unit, []).append(link)
        elif row.unit == state.handling_unit or _run(state, state, row.key) is not None:
            after.append(row)  # nobody names the lot of an order that is over and was not confirmed here
    out += [UnitPacked(at_ns, name, tuple(links)) for name, links in full.items()]
    kept = tuple(after)
    return state if kept == state.work.packed else state._replace(work=state.work._replace(packed=kept))


def _put(rows: list[Packed], unit: str, run: JobRun | None, one: PiecesProduced) -> None:
    if run is None or one.role is not Role.GOOD:
        return
    lot = run.work.produced.lot
    place = (unit, *run.job.key, run.job.product, run.job.uom, lot, "")
    at = next((at for at, row in enumerate(rows) if row[: len(place)] == place), None)
    if at is not None:
        row = rows[at]
        rows[at] = row._replace(
            pieces=row.pieces + one.pieces, from_ns=min(row.from_ns, one.t_from_ns), to_ns=max(row.to_ns, one.at_ns)
        )
    elif len(rows) < PACKED_MAX:
        rows.append(Packed(*place, one.pieces, one.t_from_ns, max(one.at_ns, one.t_from_ns)))


def _run(before: State, state: State, key: tuple[str | None, str | None]) -> JobRun | None:
    """As it is after the input; one that ended by it, as it was."""
    runs = (*state.open_runs(), *before.open_runs())
    return next((one for one in runs if one.job.key == key), None)


def _of_lot(row: Packed, said: Confirmation) -> Packed:
    """Where lots are not followed, the confirmation gives the lot its name."""
    assert said.work is not None, "it was looked at"
    if row.lot or row.serial or row.key != said.job.key:
        return row
    return row._replace(lot=said.work.lots[-1].lot)


def _to_originals(rows: list[Packed], told: Sequence[Confirmation]) -> list[Packed]:
    """Where lots are not followed, the lots of a leader's pieces are its originals': in each unit by what each is told.

    Nobody knows which pieces of a unit are whose.
    """
    found: list[Packed] = []
    for row in rows:
        mine = [one for one in told if (one.job.leader, one.job.operation) == row.key and _names(one, row)]
        if row.lot or row.serial or not mine:
            found.append(row)
            continue
        parts = largest_remainders(row.pieces, [one.good for one in mine])
        found += [
            _of_lot(row._replace(order=one.job.order, pieces=part), one)
            for one, part in zip(mine, parts, strict=True)
            if part
        ]
    return found


def _names(one: Confirmation, row: Packed) -> bool:
    """One that puts right what was told before says nothing of these pieces."""
    return one.good > 0 and one.work is not None and bool(one.work.lots) and one.period_to_ns >= row.from_ns


def _link(row: Packed, state: State, machine: str) -> GenealogyLink | None:
    kind, number = (TrackedKind.SERIAL, row.serial) if row.serial else (TrackedKind.LOT, row.lot)
    if not number:  # nobody confirmed it yet: an order that is open has a lot as soon as somebody does
        run = _run(state, state, row.key)
        number = "" if run is None else run.work.produced.lot
    if not number:
        return None
    certainty = Certainty.EXACT if row.serial else Certainty.INTERVAL
    name, child = f"{row.order}/{row.operation}/{machine}", Tracked(TrackedKind.HANDLING_UNIT, "", row.unit)
    parent = Tracked(kind, row.item, number)
    return GenealogyLink(parent, child, Exact(row.pieces), row.uom, name, row.from_ns, row.to_ns, certainty)
