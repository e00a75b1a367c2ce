"""From a confirmation to the exact messages of its steps, and what is filled in when they leave. Pure.

``Rendered.name`` is ``STEP(STEPS BEFORE) METHOD TARGET``: with the stored bytes, all of a message but its headers. The
reference of an earlier step is not known when a message is stored: a mark stands for it, and what it is filled with
comes from the posting alone, so that every repeat is the same.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape as xml_escape

from gateway.connectors.base import STEPS_MAX, MappingError, Rendered, step_id
from gateway.connectors.mapping import amounts as mapped
from gateway.connectors.mapping import moments, words
from gateway.connectors.rest.filters import MARK, Scope, written
from gateway.connectors.rest.placeholders import filled, value_of
from gateway.core.orders.erp_notice import NOTICE

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from gateway.connectors.base import Posting
    from gateway.connectors.mapping.settings import MappingSettings
    from gateway.connectors.rest.plan import Plan, PlanRequest, PlanStep

MESSAGE_MAX_BYTES: Final = 256 * 1024
PARTS_MAX: Final = 5
REQUIRED: Final = ("idempotency_key", "order_id", "operation", "seq", "qty")
REVERSAL: Final = "reversal"
CONTENT_TYPES: Final = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "xml": "application/xml; charset=utf-8",
    "": "application/octet-stream",
}
_NUMBER: Final = re.compile(r'"@@reference\.(\d+)(?:\.(\d+))?\.number@@"')
_TEXT: Final = re.compile(r"@@reference\.(\d+)(?:\.(\d+))?@@")
_NAME: Final = re.compile(r"(\w+)\(([\w,]*)\) (\w+) (.+)", re.DOTALL)


class Message(NamedTuple):
    """A message as it leaves."""

    step: str
    method: str
    target: str
    body: bytes
    before: tuple[str, ...]


def rendered(plan: Plan, mapping: MappingSettings, there: dt.tzinfo, document: Mapping[str, Any]) -> Rendered:
    """The messages of a confirmation, or the one of a notice. Raises MappingError."""
    if document.get("type") == NOTICE:
        return _told(plan, there, document)
    missing = [name for name in REQUIRED if document.get(name) is None]
    if missing:
        raise MappingError(f"the confirmation has no {', '.join(missing)}; every confirmation must have them")
    steps = plan.reversal if document.get("type") == REVERSAL else plan.steps
    if not steps:
        raise MappingError("type: found reversal, allowed: partial, final; the profile has no steps for a reversal")
    values = {
        **document,
        "key": document["idempotency_key"],
        "message_id": document.get("confirmation_id"),
        "value": plan.values,
        "erp": _Erp(mapping, there, document),
        "step": {},
        "final": document.get("type") == "final",
    }
    scope = Scope(values, there, plan.profile.tables)
    messages: list[Rendered] = []
    before: list[str] = []
    for step in steps:
        when = step.settings.when
        if when is not None and written(value_of(scope, when.field)) not in when.any_of:
            continue
        for row in _rows(step, scope):
            if len(messages) == STEPS_MAX:
                raise MappingError(f"{step.name}: found more than {STEPS_MAX} messages, allowed at most so many")
            values["step_id"] = step_id(str(values["message_id"]), len(messages))
            messages.append(_message(step, before, scope if row is None else scope.with_row(row[0])))
            if step.name not in before:
                _mark(values["step"], step.name, len(messages) - 1)
            before.append(step.name)
    if not messages:
        raise MappingError(
            "found no step that this confirmation needs, allowed: at least one; look at the profile's when"
        )
    return messages[0]._replace(more=tuple(messages[1:]))


def _told(plan: Plan, there: dt.tzinfo, document: Mapping[str, Any]) -> Rendered:
    if plan.notice is None:
        raise MappingError("type: found notice, allowed: partial, final; the profile has no notice")
    values = {**document, "key": document["idempotency_key"], "value": plan.values}
    return _message(plan.notice, [], Scope(values, there, plan.profile.tables))


def leaving(posting: Posting) -> Message:
    """The message of a posting with the references of the steps before it. Raises MappingError."""
    found = _NAME.fullmatch(posting.rendered.name)
    if found is None:
        raise MappingError(
            f"the stored message has the name {posting.rendered.name[:80]!r}, allowed: one of this profile"
        )
    name, before, method, target = found.groups()
    body = posting.rendered.body
    if MARK.encode() in body:
        kind = posting.rendered.content_type
        escape = _in_json if "json" in kind else _in_xml if "xml" in kind else _in_url
        body = _with_references(body.decode(), posting.references, escape).encode()
    target = _with_references(target, posting.references, _in_url)
    return Message(name, method, target, body, tuple(filter(None, before.split(","))))


def posting_scope(plan: Plan, posting: Posting, there: dt.tzinfo, message: Message) -> Scope:
    """What headers and look-ups may name."""
    told: dict[str, str] = {}
    for name, reference in zip(message.before, posting.references, strict=False):
        if name not in told:
            told |= {name: reference, **{f"{name}.{at}": one for at, one in enumerate(reference.split("/"))}}
    values = {
        "key": posting.key,
        "message_id": posting.message_id,
        "order": posting.order,
        "operation": posting.operation,
        "seq": posting.seq,
        "kind": posting.kind,
        "attempt": posting.attempt,
        "accepted": posting.accepted,
        "value": plan.values,
        "step": told,
    }
    return Scope(values, there, plan.profile.tables)


def request_of(request: PlanRequest, scope: Scope, where: str) -> tuple[str, bytes, str]:
    """Target, body and content type of a request. Raises MappingError."""
    path = filled(request.path, scope._replace(mode="url"), f"{where}.path")
    query = {name: written(one) for name, one in filled(request.query, scope, f"{where}.query").items()}
    joint = "&" if "?" in path else "?"
    target = f"{path}{joint}{urlencode(query, quote_via=quote, safe='@')}" if query else path
    mode = "xml" if request.kind == "xml" else ""
    content: Any = filled(request.body, scope._replace(mode=mode), f"{where}.{request.kind}") if request.kind else ""
    if request.kind == "json":
        body = json_text(content).encode()
    elif request.kind == "form":
        body = urlencode({name: written(one) for name, one in content.items()}, safe="@").encode()
    else:
        body = str(content).encode()
    return target, body, CONTENT_TYPES[request.kind]


def json_text(value: Any) -> str:
    """Compact JSON in which a decimal is a number with just its digits."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json_text(str(name))}:{json_text(one)}" for name, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(json_text, value)) + "]"
    return f"{value:f}" if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


def _message(step: PlanStep, before: list[str], scope: Scope) -> Rendered:
    target, body, content_type = request_of(step.request, scope, f"{step.name}.request")
    if len(body) > MESSAGE_MAX_BYTES:
        raise MappingError(f"{step.name}: found {len(body)} bytes, allowed at most {MESSAGE_MAX_BYTES}")
    return Rendered(body, content_type, f"{step.name}({','.join(before)}) {step.request.method} {target}")


def _rows(step: PlanStep, scope: Scope) -> list[tuple[Any] | None]:
    if step.settings.for_each is None:
        return [None]
    return [(row,) for row in value_of(scope, step.settings.for_each) or []]


def _mark(told: dict[str, str], name: str, number: int) -> None:
    told[name] = f"{MARK}{number}@@"
    told.update({f"{name}.{part}": f"{MARK}{number}.{part}@@" for part in range(PARTS_MAX)})


class _Erp(dict[str, Any]):
    """What the mapping makes of a confirmation, made when a template asks: a unit that nobody names is none's error."""

    def __init__(self, mapping: MappingSettings, there: dt.tzinfo, document: Mapping[str, Any]) -> None:
        super().__init__()
        self._mapping, self._there, self._document = mapping, there, document

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in _MADE or name.startswith(_SLOTTED))

    def __getitem__(self, name: str) -> Any:
        if name in _MADE:
            return _MADE[name](self._mapping, self._there, self._document)
        slot = words.slots(self._mapping, self._document).get(int(name.rpartition(".")[2]))
        if slot is None:
            return None
        if name.startswith("activity_unit."):
            return slot.erp_unit or slot.unit
        return mapped.activity(self._mapping, slot, self._document)


def _reasons(mapping: MappingSettings, _there: dt.tzinfo, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"reason": words.reason(mapping, one.reason, document), "ours": one.reason, "qty": one.quantity}
        for one in mapped.amounts(mapping, document).reasons
    ]


def _messages(mapping: MappingSettings, there: dt.tzinfo, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For a target that takes one reason a message: all that is good with the first, each further one by itself."""
    made, reasons = mapped.amounts(mapping, document), _reasons(mapping, there, document)
    rows: list[dict[str, Any]] = []
    for number, one in enumerate(reasons or [{"reason": None, "qty": Decimal(0)}]):
        good, rework = (made.good, made.rework) if number == 0 else (Decimal(0), Decimal(0))
        rows.append({"good": good, "rework": rework, "scrap": one["qty"], "reason": one["reason"], "final": False})
    rows[-1]["final"] = document.get("type") == "final"
    return rows


def _finished(mapping: MappingSettings, _there: dt.tzinfo, document: Mapping[str, Any]) -> Decimal:
    made = mapped.amounts(mapping, document)
    return made.good + made.scrap + made.rework


_SLOTTED: Final = ("activity.", "activity_unit.")
_MADE: Final[dict[str, Any]] = {
    "finished": _finished,
    "messages": _messages,
    "good": lambda mapping, _there, document: mapped.amounts(mapping, document).good,
    "scrap": lambda mapping, _there, document: mapped.amounts(mapping, document).scrap,
    "rework": lambda mapping, _there, document: mapped.amounts(mapping, document).rework,
    "reasons": _reasons,
    "unit": lambda mapping, _there, document: words.unit(mapping, document),
    "unit_code": lambda mapping, _there, document: words.unit_code(mapping, document),
    "work_center": lambda mapping, _there, document: words.work_center(mapping, document),
    "posting_date": lambda _mapping, there, document: moments.posting_date(document, there).isoformat(),
    "start": lambda _mapping, there, document: moments.span(document, there).start.isoformat(),
    "end": lambda _mapping, there, document: moments.span(document, there).end.isoformat(),
}


def _with_references(text: str, references: tuple[str, ...], escape: Any) -> str:
    def of(match: re.Match[str]) -> str:
        number, part = int(match[1]), match[2]
        reference = references[number] if number < len(references) else ""
        if part is not None:
            parts = reference.split("/")
            reference = parts[int(part)] if int(part) < len(parts) else ""
        if not reference:
            raise MappingError(
                f"step {number + 1}: gave no reference{f' part {part}' if part else ''}, and a later one needs it"
            )
        return reference

    def numbered(match: re.Match[str]) -> str:
        reference = of(match)
        if not reference.isascii() or not reference.isdigit():
            raise MappingError(
                f"step {int(match[1]) + 1}: found the reference {reference[:40]!r}, allowed: a whole number"
            )
        return str(int(reference))

    return _TEXT.sub(lambda match: escape(of(match)), _NUMBER.sub(numbered, text))


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _in_xml(text: str) -> str:
    return xml_escape(text, {'"': "&quot;"})


def _in_url(text: str) -> str:
    return quote(text, safe="")
