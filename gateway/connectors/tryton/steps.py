"""One step of a confirmation at Tryton: is it there already, and the one call that brings it about.

Every step first reads whether what it wants is there, so that a repeat changes nothing. Tryton's errors have no codes:
after a refusal it is the state of the records, read again, that says what it meant. Whether and when a step is repeated
is the forwarder's business.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.base import MappingError, Outcome, OutcomeKind
from gateway.connectors.tryton import records
from gateway.connectors.tryton.notes import summed, with_cycle
from gateway.connectors.tryton.outputs import Change, wanted
from gateway.connectors.tryton.render import CYCLE_AT, StepName
from gateway.connectors.tryton.session import CallError
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.base import Posting
    from gateway.connectors.tryton.records import Production
    from gateway.connectors.tryton.session import Session
    from gateway.connectors.tryton.settings import TrytonSettings

SHOWN_MAX_CHARS: Final = 60
_NO_PRICE: Final = {"__class__": "Decimal", "decimal": "0"}
_BEFORE_RELEASE: Final = frozenset({"request", "draft", "waiting"})


class Step(NamedTuple):
    """A step with what it stands for in Tryton."""

    name: StepName
    image: Mapping[str, Any]
    posting: Posting
    production: Production
    work: Mapping[str, Any]

    @property
    def work_id(self) -> int:
        """Id of its work."""
        return int(self.work["id"])

    @property
    def confirmation(self) -> str:
        """Id of the confirmation as a whole."""
        return str(self.image["confirmation"])

    @property
    def cycle(self) -> int:
        """Id of the confirmation's cycle. Raises CallError where no step before made one."""
        found = self.posting.references[CYCLE_AT : CYCLE_AT + 1]
        if not found or not found[0].isdecimal():
            raise _refused(f"{self.name}: the step before left no cycle: found {found!r}", "no_cycle")
        return int(found[0])


async def find(session: Session, posting: Posting) -> Step:
    """What the posting speaks of. Raises CallError: unknown orders are waited for, unknown operations refused."""
    try:
        image = json.loads(posting.rendered.body)
        name, order, operation = StepName(image["step"]), str(image["order"]), str(image["operation"])
    except (ValueError, KeyError, TypeError) as error:
        raise CallError(
            Outcome(OutcomeKind.MAPPING, f"the message is no step of a confirmation ({error!r})")
        ) from error
    production = await records.production_of(session, order)
    if production is None:
        text = f"order {clean(order, SHOWN_MAX_CHARS)}: Tryton has no production of this number (for this user)"
        raise CallError(Outcome(OutcomeKind.WAIT_PRECONDITION, text, "unknown_order"))
    work = production.work(operation)
    if work is None:
        shown = clean(operation, SHOWN_MAX_CHARS)
        raise _refused(f"{production.reference}: has no operation {shown}", "unknown_operation")
    return Step(name, image, posting, production, work)


async def reference_of(session: Session, step: Step, settings: TrytonSettings) -> str | None:
    """The reference of a step that is booked, None where it is not. Raises CallError."""
    production = step.production
    match step.name:
        case StepName.RUN:
            return production.reference if production.state in {"running", "done"} else None
        case StepName.CYCLE:
            return await _cycle(session, step)
        case StepName.NOTE:
            note = (await records.notes_of(session, step.work_id)).get(step.confirmation)
            return None if note is None else f"note {note.id}"
        case StepName.CYCLE_RUN | StepName.CYCLE_TIME | StepName.CYCLE_DO:
            return await _cycle_stands(session, step)
        case StepName.OUTPUTS:
            if not production.is_last(step.work):
                return f"work {step.work_id}"
            return None if (await _change(session, step, settings))[0] else production.reference
        case StepName.DO:
            there = not production.is_last(step.work) or production.state == "done"
            return production.reference if there else None


async def carry_out(session: Session, step: Step, settings: TrytonSettings) -> str:
    """Bring it about, unless it is there; its reference. Raises CallError."""
    found = await reference_of(session, step, settings)
    if found is not None and step.name is not StepName.RUN:
        return found
    _check_open(step.production)
    if found is not None:
        return found
    if step.name is StepName.RUN:
        _check_released(step.production)
        await session.write("production.run", [step.production.id])
        return step.production.reference
    _check_running(step.production)
    match step.name:
        case StepName.OUTPUTS:
            await _write_outputs(session, step, *await _change(session, step, settings))
            return step.production.reference
        case StepName.DO:
            await _do(session, step)
            return step.production.reference
        case StepName.NOTE:
            return await _write_note(session, step)
        case StepName.CYCLE:
            (made,) = await session.write("production.work.cycle.create", [{"work": step.work_id}])
            return str(int(made))
    return await _write_cycle(session, step)


async def _write_note(session: Session, step: Step) -> str:
    text = str(step.image["note"])
    if step.image["with_cycle"]:
        text = with_cycle(text, step.cycle)
    values = {"resource": f"production.work,{step.work_id}", "message": text}
    (note,) = await session.write("ir.note.create", [values])
    return f"note {note}"


async def _write_cycle(session: Session, step: Step) -> str:
    if step.name is StepName.CYCLE_TIME:
        await session.write("production.work.cycle.write", [step.cycle], {"duration": _duration(step)})
    else:
        button = "run" if step.name is StepName.CYCLE_RUN else "do"
        await session.write(f"production.work.cycle.{button}", [step.cycle])
    return f"cycle {step.cycle}"


async def _cycle(session: Session, step: Step) -> str | None:
    notes = await records.notes_of(session, step.work_id)
    note = notes.get(step.confirmation)
    if note is not None and note.cycle is not None:
        return str(note.cycle)
    # Every cycle of ours is named by a note in the end: one that is not, is that of a step without an answer.
    before = json.loads(step.posting.baseline or b"{}").get("cycle", 0)
    named = {one.cycle for one in notes.values()}
    made = await records.own_cycles(session, step.work_id, before, named)
    return str(made[0]) if made else None


async def _cycle_stands(session: Session, step: Step) -> str | None:
    row = await records.cycle_of(session, step.cycle)
    if row is None:
        raise _refused(f"cycle {step.cycle}: is not there any more", "cycle_gone")
    state = str(row["state"])
    if state == "cancelled":
        raise _refused(f"cycle {step.cycle}: was cancelled in Tryton", "cycle_cancelled")
    if step.name is StepName.CYCLE_RUN:
        there = state in {"running", "done"}
    elif step.name is StepName.CYCLE_TIME:
        there = state == "done" or (state == "running" and row["duration"] == _duration(step))
    else:
        there = state == "done"
    return f"cycle {step.cycle}" if there else None


async def _change(session: Session, step: Step, settings: TrytonSettings) -> tuple[Change, int | None]:
    """What is to be written, and where scrap goes."""
    production = step.production
    total = summed("", (await records.notes_of(session, step.work_id)).values())
    moves = await records.output_moves(session, production)
    scrap: int | None = None
    if total.scrap or settings.scrap_location is not None:
        scrap = await records.scrap_location(session, production, settings.scrap_location)
    else:
        waste = (production.row.get("warehouse.") or {}).get("waste_locations") or []
        scrap = int(waste[0]) if len(waste) == 1 else None
    good = records.good_location(production)
    try:
        return wanted(moves, int(production.row["product"]), (good, total.good), (scrap, total.scrap)), scrap
    except MappingError as error:
        raise _refused(f"{production.reference}: {error}", "outputs") from error


async def _write_outputs(session: Session, step: Step, change: Change, scrap: int | None) -> None:
    """One call, one transaction; Tryton refuses where somebody changed a move since it was read."""
    production = step.production
    stamps = {f"stock.move,{move.id}": move.stamp for move, _ in change.write}
    if not change.create:
        # Written by themselves: the production stays as it is, and is no change of an order.
        pairs: list[Any] = []
        for move, quantity in change.write:
            pairs += [[move.id], {"quantity": quantity}]
        await session.write("stock.move.write", *pairs, stamps=stamps)
        return
    row = production.row
    made = [
        {
            "product": row["product"],
            "unit": row["unit"],
            "quantity": quantity,
            "from_location": row["location"],
            "to_location": location,
            "company": row["company"],
            # What goes to storage has a price; Tryton puts in the cost when the production is done.
            **({} if location == scrap else {"currency": row["company."]["currency"], "unit_price": _NO_PRICE}),
        }
        for location, quantity in change.create
    ]
    outputs: list[Any] = [["create", made]]
    outputs += [["write", [move.id], {"quantity": quantity}] for move, quantity in change.write]
    stamps[f"production,{production.id}"] = str(row["_timestamp"])
    await session.write("production.write", [production.id], {"outputs": outputs}, stamps=stamps)


async def _do(session: Session, step: Step) -> None:
    unfinished = [one for one in step.production.works if one["state"] not in {"finished", "done"}]
    if unfinished:
        text = f"{step.production.reference}: {len(unfinished)} of its works are not finished in Tryton"
        raise CallError(Outcome(OutcomeKind.WAIT_PRECONDITION, text, "works_unfinished"))
    try:
        await session.write("production.do", [step.production.id])
    except CallError as error:
        if not error.warning or not step.posting.released:
            raise
        # A person has seen it: exactly this warning is passed over, once. Another one is told again.
        await session.write("res.user.warning.skip", error.warning, False)
        await session.write("production.do", [step.production.id])


def _duration(step: Step) -> dt.timedelta:
    return dt.timedelta(microseconds=int(step.image["microseconds"]))


def _check_open(production: Production) -> None:
    if production.state in records.OVER:
        text = f"{production.reference}: is {production.state} in Tryton and takes nothing more"
        raise _refused(text, production.state)


def _check_released(production: Production) -> None:
    if production.state in _BEFORE_RELEASE:
        text = f"{production.reference}: is {production.state} in Tryton; assign its material there"
        raise CallError(Outcome(OutcomeKind.WAIT_PRECONDITION, text, "not_released"))


def _check_running(production: Production) -> None:
    if production.state != "running":
        text = f"{production.reference}: is {production.state} in Tryton; run it there"
        raise CallError(Outcome(OutcomeKind.WAIT_PRECONDITION, text, "not_running"))


def _refused(text: str, code: str) -> CallError:
    return CallError(Outcome(OutcomeKind.BUSINESS_REJECT, text, code))
