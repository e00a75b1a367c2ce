"""A further image of an order against the one that is held: what changes, whether it may, and what the ERP is told.

All or nothing: one field that may not change refuses the whole image. It changes no order and sends nothing.
"""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from gateway.core.foreign_text import clean
from gateway.core.orders.change_table import (
    AFTER_THE_END,
    OPERATION_FIELDS,
    ORDER_FIELDS,
    PHASES,
    TABLE,
    Answer,
    ChangeCode,
    ChangeEffect,
    ChangeKind,
    Phase,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.core.orders.order_image import Component, ImageOperation, OrderImage

SHOWN_MAX_CHARS: Final = 60  # of an old or new value
CancelPolicy = Literal["stop_and_confirm", "reject"]
_ZERO: Final = Decimal(0)


class RunFacts(NamedTuple):
    """How far one operation has got. ``produced`` is what was made here against its quantity, in the order's unit.

    ``external`` counts against it, too: somebody confirmed it in the ERP, who is not told of it again. ``running``: a
    machine is set up for it or makes it right now. ``work_center`` is where it really is ("": where the held image
    says). ``ended``: complete or closed.
    """

    phase: Phase = Phase.BEFORE_START
    produced: Decimal = _ZERO
    external: Decimal = _ZERO
    running: bool = False
    work_center: str = ""
    on_hold: bool = False
    ended: bool = False


class FieldChange(NamedTuple):
    """One field that differs. ``operation`` "": of the order as a whole. Values as text, "" where there is none."""

    path: str
    kind: ChangeKind
    operation: str
    old: str
    new: str


class DueEffect(NamedTuple):
    """An effect, and the operation that it is due at ("": the order)."""

    effect: ChangeEffect
    operation: str


class ChangeRefusal(NamedTuple):
    """Why one field may not change."""

    code: ChangeCode
    path: str
    found: str
    allowed: str
    what_to_do: str

    def __str__(self) -> str:
        return f"{self.code}: {self.path}: found {self.found}, allowed: {self.allowed}; {self.what_to_do}"


class AckKind(enum.StrEnum):
    """What the ERP is told."""

    ORDER_ACCEPTED = "ORDER_ACCEPTED"
    ORDER_CHANGE_ACCEPTED = "ORDER_CHANGE_ACCEPTED"
    ORDER_CHANGE_REJECTED = "ORDER_CHANGE_REJECTED"
    CANCEL_ACCEPTED = "CANCEL_ACCEPTED"
    CANCEL_REJECTED = "CANCEL_REJECTED"
    DUPLICATE = "DUPLICATE"
    STALE = "STALE"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"


class OrderAck(NamedTuple):
    """The acknowledgement. ``held_revision`` is in force from now on, None: the order is not held.

    ``produced`` is what each started operation had made when it was cancelled, with its parts where it was split.
    ``resend``: the ERP is asked for the whole order. ``operation`` is the one that answers, "" where the order does.
    ``changed``: field, old, new of each.
    """

    kind: AckKind
    order: str
    revision: int
    held_revision: int | None
    reasons: tuple[str, ...] = ()
    produced: tuple[tuple[str, Decimal], ...] = ()
    resend: bool = False
    operation: str = ""
    changed: tuple[tuple[str, str, str], ...] = ()


class ChangeAccepted(NamedTuple):
    """The whole new image is in force; its effects are due."""

    image: OrderImage
    changes: tuple[FieldChange, ...]
    effects: tuple[DueEffect, ...]
    ack: OrderAck


class ChangeRefused(NamedTuple):
    """Nothing changes; every field that may not."""

    refusals: tuple[ChangeRefusal, ...]
    ack: OrderAck


class ChangeIgnored(NamedTuple):
    """Nothing changes, and nothing is wrong: an image that came twice, or late."""

    code: ChangeCode
    ack: OrderAck


ChangeDecision = ChangeAccepted | ChangeRefused | ChangeIgnored


def decide(
    held: OrderImage | None, facts: Mapping[str, RunFacts], new: OrderImage, cancel_policy: CancelPolicy
) -> ChangeDecision:
    """What becomes of a change. ``held`` None: a change of an order that was never received.

    ``facts`` by operation number; an operation without any has not been started.
    """
    if held is None:
        reason = f"order {new.order} is not held here; send it whole"
        ack = OrderAck(AckKind.UNKNOWN_ORDER, new.order, new.revision, None, (reason,), resend=True)
        return ChangeIgnored(ChangeCode.UNKNOWN_ORDER, ack)
    assert held.order == new.order, "a change is compared with its own order"
    if held.source != new.source:
        what = f"change it there, or close it and release a new order from {new.source}"
        return _refuse(held, new, [ChangeRefusal(ChangeCode.FOREIGN_SOURCE, "source", new.source, held.source, what)])
    # ERPs withdraw an order without a new revision.
    withdrawn = new.cancelled and not held.cancelled
    told = new.status is not held.status
    if new.revision < held.revision or (new.revision == held.revision and not withdrawn and not told):
        return _ignore(held, new)
    if held.cancelled:
        what = "release a new order with a new number"
        found = f"revision {new.revision} of a cancelled order"
        return _refuse(held, new, [ChangeRefusal(ChangeCode.ORDER_ENDED, "order", found, "none", what)])
    if withdrawn:
        return _cancel(held, facts, new, cancel_policy)
    if new.revision == held.revision:  # of such an image only the status is taken, like a withdrawal
        ack = OrderAck(AckKind.ORDER_CHANGE_ACCEPTED, new.order, new.revision, new.revision)
        return ChangeAccepted(held._replace(status=new.status), (), (), ack)
    return _change(held, facts, new)


def differences(held: OrderImage, new: OrderImage) -> tuple[FieldChange, ...]:
    """Every field that differs, with the kind of its change; revision and source are none."""
    found = list(_fields(held, new, ORDER_FIELDS, "", ""))
    found.extend(_quantity(held.quantity, new.quantity, "quantity", ""))
    for number in dict.fromkeys(one.operation for one in (*held.operations, *new.operations)):
        old, now = held.operation(number), new.operation(number)
        path = f"operations[{number}]"
        if old is None or now is None:
            found.append(FieldChange(path, ChangeKind.STRUCTURE, "", _shown(old and number), _shown(now and number)))
            continue
        found.extend(_fields(old, now, OPERATION_FIELDS, f"{path}.", number))
        found.extend(_quantity(old.quantity, now.quantity, f"{path}.quantity", number))
    if _order_of(held) != _order_of(new) and sorted(_order_of(held)) == sorted(_order_of(new)):
        text = [", ".join(_order_of(image)) for image in (held, new)]
        found.append(FieldChange("operations", ChangeKind.STRUCTURE, "", text[0], text[1]))
    found.extend(_components(held.components, new.components))
    return tuple(found)


# --- decisions -------------------------------------------------------------------------------------------------------


def _change(held: OrderImage, facts: Mapping[str, RunFacts], new: OrderImage) -> ChangeDecision:
    changes = differences(held, new)
    refusals: list[ChangeRefusal] = []
    effects: dict[DueEffect, None] = {}
    for change in changes:
        fact = _facts_of(change, held, facts)
        given = _judge(change, fact, new)
        if isinstance(given, ChangeRefusal):
            refusals.append(given)
        else:
            effects.update(dict.fromkeys(DueEffect(effect, change.operation) for effect in given))
    if refusals:
        return _refuse(held, new, refusals)
    told = (("revision", str(held.revision), str(new.revision)), *((one.path, one.old, one.new) for one in changes))
    ack = OrderAck(AckKind.ORDER_CHANGE_ACCEPTED, new.order, new.revision, new.revision, changed=told)
    return ChangeAccepted(new, changes, tuple(effects), ack)


def _cancel(
    held: OrderImage, facts: Mapping[str, RunFacts], new: OrderImage, cancel_policy: CancelPolicy
) -> ChangeDecision:
    known = [facts.get(one.operation, RunFacts()) for one in held.operations]
    started = [one.operation for one, fact in zip(held.operations, known, strict=True) if _begun(fact)]
    answer = TABLE[ChangeKind.CANCEL][PHASES.index(_furthest(facts, held))]
    refusal: ChangeRefusal | None = None
    if known and all(fact.ended for fact in known):
        what = "reverse the final confirmation, or return the goods"
        refusal = ChangeRefusal(ChangeCode.CANCEL_REJECTED, "cancelled", "a complete order", "an open order", what)
    elif answer is Answer.POLICY and cancel_policy == "reject":
        found, what = f"operation {', '.join(started)} started", "finish or interrupt it here first"
        refusal = ChangeRefusal(ChangeCode.CANCEL_REJECTED, "cancelled", found, "an order that was not started", what)
    if refusal is not None:
        ack = OrderAck(AckKind.CANCEL_REJECTED, new.order, new.revision, held.revision, (str(refusal),))
        return ChangeRefused((refusal,), ack)
    # Only the withdrawal is taken: what else such an image says is not about an order any more.
    image = held._replace(cancelled=True, revision=new.revision)
    change = FieldChange("cancelled", ChangeKind.CANCEL, "", "", "cancelled")
    effects = [DueEffect(ChangeEffect.STOP_AND_CONFIRM, name) for name in started if not facts[name].ended]
    effects.append(DueEffect(ChangeEffect.CANCEL, ""))
    produced = tuple((name, facts[name].produced) for name in started)
    ack = OrderAck(AckKind.CANCEL_ACCEPTED, new.order, new.revision, new.revision, (), produced)
    return ChangeAccepted(image, (change,), tuple(effects), ack)


def _ignore(held: OrderImage, new: OrderImage) -> ChangeIgnored:
    same = held._replace(former=None) == new
    code = ChangeCode.DUPLICATE if same else ChangeCode.STALE
    reason = f"revision {held.revision} is held"
    if not same and held.revision == new.revision:
        reason = f"revision {held.revision} is held and says something else; a change needs a higher revision"
    ack = OrderAck(AckKind(code.value), new.order, new.revision, held.revision, (reason,))
    return ChangeIgnored(code, ack)


def _refuse(held: OrderImage, new: OrderImage, refusals: list[ChangeRefusal]) -> ChangeRefused:
    ack = OrderAck(AckKind.ORDER_CHANGE_REJECTED, new.order, new.revision, held.revision, tuple(map(str, refusals)))
    return ChangeRefused(tuple(refusals), ack)


def _judge(change: FieldChange, fact: RunFacts, new: OrderImage) -> tuple[ChangeEffect, ...] | ChangeRefusal:
    """The effects of one change, or why it may not be."""
    answer = TABLE[change.kind][PHASES.index(fact.phase)]
    old = change.old or "nothing"
    if fact.ended and change.kind not in AFTER_THE_END:
        what = "reopen the operation, or release a new order"
        return ChangeRefusal(ChangeCode.ORDER_ENDED, change.path, change.new, f"{old} (operation complete)", what)
    if change.kind is ChangeKind.HOLD:
        return (ChangeEffect.SET_HOLD if new.hold else ChangeEffect.RELEASE_HOLD,)
    if change.kind is ChangeKind.WORK_CENTER and change.new == fact.work_center:
        return ()  # it is there already
    if answer is Answer.ACCEPT_COUNTED:
        return _counted(_quantity_of(new, change.operation), fact)
    if answer in _EFFECTS and _is_met(answer, fact, new):
        return _NEVERTHELESS.get((answer, change.kind), _EFFECTS[answer])
    code, what = _REFUSED[answer]
    place = fact.work_center or change.old
    what = what.format(operation=change.operation, place=place)
    return ChangeRefusal(code, change.path, change.new or "nothing", old, what)


def _is_met(answer: Answer, fact: RunFacts, new: OrderImage) -> bool:
    """Whether the condition of an answer is met; most have none."""
    match answer:
        case Answer.IF_NOT_RUNNING:
            return not fact.running
        case Answer.IF_INTERRUPTED:
            return not fact.running and not fact.on_hold
        case Answer.IF_ENGINEERING_CHANGE:
            return bool(new.change_number) and new.effective_ns is not None
        case _:
            return True


def _counted(quantity: Decimal, fact: RunFacts) -> tuple[ChangeEffect, ...]:
    """A lower quantity against what the ERP has and gets of it, whoever made it."""
    if quantity >= fact.produced + fact.external:
        return ()
    over = ChangeEffect.OVER_DELIVERY
    return (over,) if fact.ended else (over, ChangeEffect.COMPLETE)


_EFFECTS: Final[dict[Answer, tuple[ChangeEffect, ...]]] = {
    Answer.ACCEPT: (),
    Answer.ACCEPT_REVISION: (ChangeEffect.NEW_REVISION, ChangeEffect.NEW_SNAPSHOT),
    Answer.ACCEPT_UNSTABLE: (ChangeEffect.PLAN_UNSTABLE,),
    Answer.ACCEPT_EFFECTIVE: (ChangeEffect.KPI_FROM_EFFECTIVE_TIME, ChangeEffect.NEW_SNAPSHOT),
    Answer.IF_NOT_RUNNING: (ChangeEffect.MOVE,),
    Answer.IF_INTERRUPTED: (ChangeEffect.CONFIRM, ChangeEffect.MOVE),
    Answer.IF_ENGINEERING_CHANGE: (ChangeEffect.BOM_FROM_EFFECTIVE_TIME, ChangeEffect.NEW_SNAPSHOT),
}
#: What a plain acceptance entails for some kinds.
_NEVERTHELESS: Final = {
    (Answer.ACCEPT, ChangeKind.WORK_CENTER): (ChangeEffect.MOVE,),
    (Answer.ACCEPT, ChangeKind.BOM): (ChangeEffect.NEW_SNAPSHOT,),
    (Answer.ACCEPT, ChangeKind.STANDARDS): (ChangeEffect.NEW_SNAPSHOT,),
}
_INTERRUPT: Final = "interrupt operation {operation} at {place}, then send it again"
_REFUSED: Final = {
    Answer.IF_NOT_RUNNING: (ChangeCode.INTERRUPT_FIRST, _INTERRUPT),
    Answer.IF_INTERRUPTED: (ChangeCode.INTERRUPT_FIRST, _INTERRUPT),
    Answer.IF_ENGINEERING_CHANGE: (
        ChangeCode.CLOSE_AND_CREATE_NEW,
        "close this order and release a new one, or send an engineering change with its effective time",
    ),
    Answer.NOT_DURING_SETUP: (
        ChangeCode.NOT_DURING_SETUP,
        "send the order without it, or have it cancelled and release a new one",
    ),
    Answer.CLOSE_AND_CREATE_NEW: (ChangeCode.CLOSE_AND_CREATE_NEW, "close this order and release a new one"),
}


# --- facts and differences -------------------------------------------------------------------------------------------


def _begun(fact: RunFacts) -> bool:
    return fact.phase is not Phase.BEFORE_START


def _furthest(facts: Mapping[str, RunFacts], held: OrderImage) -> Phase:
    phases = [facts[one.operation].phase for one in held.operations if one.operation in facts]
    return max(phases, key=PHASES.index, default=Phase.BEFORE_START)


def _facts_of(change: FieldChange, held: OrderImage, facts: Mapping[str, RunFacts]) -> RunFacts:
    """Those of its operation; the whole order is as far as its furthest one, and has made what its last one made."""
    if change.operation:
        return facts.get(change.operation, RunFacts())
    known = [facts.get(one.operation, RunFacts()) for one in held.operations]
    return known[-1]._replace(
        phase=_furthest(facts, held),
        running=any(fact.running for fact in known),
        work_center="",
        on_hold=any(fact.on_hold for fact in known),
        ended=all(fact.ended for fact in known),
    )


def _quantity_of(image: OrderImage, number: str) -> Decimal:
    one = image.operation(number)
    return image.quantity if one is None else one.quantity


def _fields(
    old: OrderImage | ImageOperation,
    new: OrderImage | ImageOperation,
    kinds: Mapping[str, ChangeKind],
    where: str,
    operation: str,
) -> Iterator[FieldChange]:
    for name, kind in kinds.items():
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield FieldChange(f"{where}{name}", kind, operation, _shown(before), _shown(after))


def _quantity(old: Decimal, new: Decimal, path: str, operation: str) -> Iterator[FieldChange]:
    if old != new:
        kind = ChangeKind.QUANTITY_UP if new > old else ChangeKind.QUANTITY_DOWN
        yield FieldChange(path, kind, operation, str(old), str(new))


def _order_of(image: OrderImage) -> list[str]:
    return [one.operation for one in image.operations]


def _components(old: tuple[Component, ...], new: tuple[Component, ...]) -> Iterator[FieldChange]:
    """Lines of the BOM that are not the same on both sides, whatever their sequence."""
    before, after = list(old), list(new)
    for one in old:
        if one in after:
            after.remove(one)
            before.remove(one)
    for one in before:
        yield FieldChange(f"components[{one.item}]", ChangeKind.BOM, one.operation, _line(one), "")
    for one in after:
        yield FieldChange(f"components[{one.item}]", ChangeKind.BOM, one.operation, "", _line(one))


def _line(one: Component) -> str:
    besides = "" if one.kind == "consumed" else f" as {one.kind}"
    return f"{one.quantity} {one.uom} of {one.item}{' once' if one.fixed else ''}{besides}"


def _shown(value: Any) -> str:
    return "" if value is None else clean(str(value), SHOWN_MAX_CHARS)
