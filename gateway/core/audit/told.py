"""What a work unit's outputs tell the audit trail: one table from a kind of output to its entry, and the entries.

A new output that an auditor must see is a new row of ``rows.TABLE``; a new word of a person has an entry without one,
and a row of ``ACTIONS`` gives it its name. Counts and intervals have none: the journal keeps them. Decides and keeps
nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.access.permissions import Action, refusal
from gateway.core.access.roles import ActorRole, role_of
from gateway.core.audit.entry import (
    CHARS_MAX,
    AuditEntryError,
    Change,
    EntryContent,
    checked,
    reason_required,
)
from gateway.core.audit.rows import REFUSED, TABLE, Told, plain
from gateway.core.audit.signature import MEANINGS, Authentication, SigningRefused, sign, signed
from gateway.core.entries import (
    CorrectEntry,
    ExternalEntry,
    PresenceShared,
    ReclassifyEntry,
    RejectEntry,
    SetupEntry,
    StandingHoldEntry,
    StopCutEntry,
    StopReasonEntry,
    UndoEntry,
)
from gateway.core.foreign_text import clean
from gateway.core.model import (
    CalendarPlan,
    ClockTold,
    Confirmation,
    DatabaseLost,
    DataValue,
    Notice,
    OperatorEntry,
    OperatorVerb,
    OrderProgress,
    OrderReceived,
    Role,
    TimePassed,
)
from gateway.core.orders.shares import BETWEEN_MACHINES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.core.model import Input, Output

#: Reason code where nobody was asked for one.
NOT_GIVEN: Final = "not_given"
GATEWAY: Final = "gateway"
ERP: Final = "erp"


__all__ = ["ACTIONS", "GATEWAY", "REFUSED", "TABLE", "Actor", "Told", "content_of", "decision", "entries", "plain"]


class Actor(NamedTuple):
    """Who asks: his name, in which role, how he was recognised, and from where.

    ``action``: what the verb is, where its table says so. ``authentication``: his passphrase was right just now, and he
    signs. ``reason`` goes with what names none of its own.
    """

    user: str
    role: str
    auth: str
    client: str
    action: str = ""
    reason: str = ""
    authentication: Authentication | None = None


_THE_GATEWAY: Final = Actor(GATEWAY, ActorRole.SERVICE.value, "", "")
#: What is no person's word, and no ERP's.
_NOBODY: Final = (
    *(DataValue, TimePassed, ClockTold, CalendarPlan, DatabaseLost, OrderProgress, PresenceShared),
    *BETWEEN_MACHINES,
)
_NEVER_EMPTY: Final = frozenset({"user", "role", "action", "entity"})
#: Fields of an input that stand elsewhere in the entry, or are too long.
_READ: Final = ("ledger", "contents", "signed_by", "told", "earlier", "before")
_NOT_SHOWN: Final = frozenset({"at_ns", "who", "role", "auth", "client", "known", "others", "job", "reason", *_READ})
_ONLY_IF_SAID: Final = frozenset({"interrupt", "documents", "verdict", "code"})


_OF_VERB: Final = {
    OperatorVerb.COMPLETE_SETUP: Action.FINISH_SETUP,
    OperatorVerb.SCAN: Action.START,
    OperatorVerb.REVOKE: Action.DISPATCH,
    OperatorVerb.RUSH: Action.DISPATCH,
    OperatorVerb.APPROVE_FIRST_ARTICLE: Action.APPROVE_FIRST_ARTICLE,
    OperatorVerb.ACKNOWLEDGE_DOCUMENTS: Action.ACKNOWLEDGE,
    OperatorVerb.ACKNOWLEDGE_DATA: Action.ACKNOWLEDGE,
    OperatorVerb.MATERIAL_READY: Action.TELL_MATERIAL,
    OperatorVerb.MATERIAL_MISSING: Action.TELL_MATERIAL,
}


def _judgement(entry: ReclassifyEntry) -> str:
    if entry.from_role is Role.HOLD:
        return Action.RELEASE.value
    return {Role.SCRAP: Action.SCRAP, Role.REWORK: Action.REWORK}.get(entry.to_role, Action.CORRECT).value


#: The action of a person's word, by its type; for one without a row it is what the table of the verbs says.
ACTIONS: Final[dict[type, Callable[[Any], str]]] = {
    OperatorEntry: lambda entry: _OF_VERB.get(entry.verb, entry.verb).value,
    SetupEntry: lambda entry: (Action.SETUP_AGAIN if entry.begins else Action.FINISH_SETUP).value,
    StopReasonEntry: lambda _entry: Action.NAME_STOP.value,
    StopCutEntry: lambda _entry: Action.NAME_STOP.value,
    UndoEntry: lambda _entry: Action.UNDO.value,
    ReclassifyEntry: _judgement,
    StandingHoldEntry: lambda entry: (Action.HOLD if entry.begins else Action.RELEASE).value,
    CorrectEntry: lambda _entry: Action.CORRECT.value,
    RejectEntry: lambda _entry: Action.CORRECT.value,
}


def _corrected(bare: Told, _given: CorrectEntry, outputs: Sequence[Output]) -> Told:
    """What each confirmation said that is taken back."""
    old = {
        one.reverses: {"good": -one.good, "scrap": -one.scrap, "rework": -one.rework, "hold": -one.hold}
        for one in outputs
        if isinstance(one, Confirmation) and one.reverses
    }
    return bare._replace(change=Change.MODIFY.value, field="confirmation", old=plain(old)) if old else bare


def _taken_over(bare: Told, given: ExternalEntry, _outputs: Sequence[Output]) -> Told:
    names, more = ("good", "scrap", "rework"), (given.good, given.scrap, given.rework)
    if given.before is None:
        return bare
    new = (had + plus for had, plus in zip(given.before, more, strict=True))
    old = plain(dict(zip(names, given.before, strict=True)))
    new_text = plain(dict(zip(names, new, strict=True)))
    return bare._replace(change=Change.MODIFY.value, field="confirmed in the ERP", old=old, new=new_text)


#: What a person's word changes that no output tells as such, with what was there before.
_CHANGES: Final[dict[type, Callable[[Told, Any, Sequence[Output]], Told]]] = {
    CorrectEntry: _corrected,
    ExternalEntry: _taken_over,
}
#: Judging pieces anew is a correction where it is signed.
_CORRECTS: Final = frozenset({Action.CORRECT.value, Action.SCRAP.value, Action.REWORK.value})


# --- entries ----------------------------------------------------------------------------------------------------------


def entries(
    given: Input | None,
    outputs: Sequence[Output],
    unit: str,
    common: Callable[[int], EntryContent],
    actor: Actor | None = None,
) -> tuple[EntryContent, ...]:
    """What an input and its outputs tell, in order; mostly nothing. ``given`` None: a reading, or the time.

    ``common`` knows the date, the zone and the versions at a steady time. ``actor`` None: who the input names. Raises
    AuditEntryError where a signature is asked for and cannot be given: nothing of the step may be kept then.
    """
    if given is None or isinstance(given, _NOBODY):
        return tuple(_system(outputs, unit, common, _THE_GATEWAY, _when_ns(given, outputs)))
    if isinstance(given, OrderReceived):
        erp = Actor(ERP, ActorRole.PLANNER.value, "", given.job.source)
        return tuple(_system(outputs, unit, common, erp, given.at_ns))
    who = actor or _named(given)
    # Timers that fell due before a person's word are not his.
    earlier = [one for one in outputs if getattr(one, "at_ns", given.at_ns) < given.at_ns]
    his = [one for one in outputs if getattr(one, "at_ns", given.at_ns) >= given.at_ns]
    reason = getattr(given, "reason", "") or who.reason
    made = list(_system(earlier, unit, common, _THE_GATEWAY, given.at_ns))
    for told in _of_person(given, his, unit, who):
        content = content_of(told, given.at_ns, common, who, reason)
        made.append(content)
        if told.action == (action := action_of(given, who)) and who.authentication is not None:
            made += _signature(content, told, action, who.authentication)
    return tuple(made)


def action_of(given: Any, actor: Actor) -> str:
    """What a person does by this word."""
    named = ACTIONS.get(type(given))
    text = named(given) if named is not None else actor.action or _snake(type(given).__name__.removesuffix("Entry"))
    name = re.sub(r"[^a-z0-9_]", "_", str(text).lower())
    # Who signs a correction answers for it, whether or not it had to be signed.
    if actor.authentication is None or name not in _CORRECTS:
        return name
    may = refusal(role_of(actor.role), Action.CORRECT_AFTER_FINAL) is None
    return Action.CORRECT_AFTER_FINAL.value if may else name


def decision(
    found: Told, at_ns: int, common: Callable[[int], EntryContent], actor: Actor, reason: str
) -> tuple[EntryContent, ...]:
    """The entry of a decision that is no work unit's, and the signature, where he signs. Raises AuditEntryError."""
    content = content_of(found, at_ns, common, actor, reason)
    by = actor.authentication
    return (content,) if by is None else (content, *_signature(content, found, found.action, by))


def content_of(
    told: Told, at_ns: int, common: Callable[[int], EntryContent], actor: Actor, reason: str = ""
) -> EntryContent:
    """The entry of what was told; texts are cut to what an entry takes, so that it can always be kept."""
    needs = told.outcome != REFUSED and reason_required(told.action, told.change)
    said = clean(reason, CHARS_MAX["reason_text"]).strip()
    content = common(at_ns)._replace(
        user=_fit("user", actor.user),
        role=_fit("role", actor.role),
        auth=_fit("auth", actor.auth),
        client=_fit("client", actor.client),
        action=_fit("action", told.action),
        change=told.change,
        entity=_fit("entity", told.entity),
        entity_id=_fit("entity_id", told.entity_id),
        field=_fit("field", told.field),
        old=told.old,
        new=told.new,
        outcome=told.outcome,
        detail=clean(told.detail, CHARS_MAX["detail"]),
        reason_code=NOT_GIVEN if needs and not said else "",
        reason_text=said,
        order=_fit("order", told.order),
    )
    return checked(content)


def _system(
    outputs: Iterable[Output], unit: str, common: Callable[[int], EntryContent], actor: Actor, at_ns: int
) -> Iterable[EntryContent]:
    """``at_ns``: when that happened which says no time of its own, such as an answer to the ERP."""
    for output in outputs:
        row = TABLE.get(type(output))
        told = row.tell(output, unit) if row is not None and row.always(output) else None
        if told is not None:
            yield content_of(told, getattr(output, "at_ns", at_ns), common, actor, told.reason)


def _when_ns(given: Input | None, outputs: Sequence[Output]) -> int:
    """The time of an input; where it has none, the last one that its outputs name."""
    found = getattr(given, "at_ns", None)
    return max((getattr(one, "at_ns", 0) for one in outputs), default=0) if found is None else int(found)


def _of_person(given: Any, outputs: Sequence[Output], unit: str, actor: Actor) -> list[Told]:
    action = action_of(given, actor)
    order, operation = (str(getattr(given, name, "") or "") for name in ("order", "operation"))
    entity, entity_id = ("operation", f"{order}/{operation}".rstrip("/")) if order else ("machine", unit)
    said = {name: value for name, value in given._asdict().items() if name not in _NOT_SHOWN}
    whole = plain({name: value for name, value in said.items() if value or name not in _ONLY_IF_SAID})
    bare = Told(action, entity, entity_id, new=whole, order=order)
    for output in outputs:
        if isinstance(output, Notice) and output.code == "REFUSED":
            return [bare._replace(outcome=REFUSED, detail=str(dict(output.detail).get("reason", "")))]
    rows = ((TABLE.get(type(output)), output) for output in outputs)
    found = [told for row, output in rows if row is not None for told in (row.tell(output, unit),) if told is not None]
    first = next((number for number, one in enumerate(found) if _is_it(one, action, entity, order, operation)), None)
    if first is None:
        changes = _CHANGES.get(type(given))
        return [bare if changes is None else changes(bare, given, outputs), *found]
    decided = found.pop(first)._replace(action=action)
    if actor.authentication is not None:
        decided = decided._replace(new=decided.record or decided.new)
    return [decided, *found]


def _is_it(told: Told, action: str, entity: str, order: str, operation: str) -> bool:
    """Whether it is the thing that was decided on, not one of what followed."""
    if order:
        meant = f"{order}/{operation}"
        return told.entity == entity and told.order == order and (not operation or told.entity_id == meant)
    return told.action == action


def _signature(content: EntryContent, told: Told, action: str, by: Authentication) -> list[EntryContent]:
    if told.outcome == REFUSED or action not in {one.value for one in MEANINGS}:
        return []
    record = (content.new or "").encode()
    found = sign(
        record,
        content.entity,
        content.entity_id,
        Action(action),
        by,
        now_ns=content.at_ns,
        utc_ns=content.utc_ns,
    )
    if isinstance(found, SigningRefused):
        raise AuditEntryError(f"SIGNATURE: {found.text}")
    return [checked(signed(found, content))]


def _named(given: Any) -> Actor:
    role = getattr(given, "role", None) or ActorRole.SUPERVISOR
    return Actor(getattr(given, "who", "") or GATEWAY, str(role), "", "")


def _fit(name: str, text: str) -> str:
    kept = clean(str(text), CHARS_MAX[name])
    return kept if kept.strip() or name not in _NEVER_EMPTY else "?"


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
