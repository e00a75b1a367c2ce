"""The schemas of the answers, by name, as the OpenAPI document shows them and the tests hold the answers against them.

Views are taken from their classes, so that a new attribute is documented with its birth. Builds no answer.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter

from gateway.core.audit.entry import EntryContent
from gateway.status import GatewayView, WorkUnitView

REF: Final = "#/components/schemas/{model}"
_TEXT: Final = {"type": "string"}
_WHOLE: Final = {"type": "integer"}
_TIME: Final = {"type": ["string", "null"], "format": "date-time"}
_NAMED: Final = {"type": ["string", "null"]}
_RATIO: Final = {"type": ["number", "null"]}
#: Parts whose keys follow from the rules of the plant.
_OPEN_OBJECT: Final = {"type": "object"}
_OBJECTS: Final = {"type": "array", "items": _OPEN_OBJECT}


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by its name in ``components``."""
    found: dict[str, dict[str, Any]] = {}
    for view in (GatewayView, WorkUnitView):
        schema = TypeAdapter(view).json_schema(mode="serialization", ref_template=REF)
        for name, part in (*schema.pop("$defs", {}).items(), (view.__name__, schema)):
            found[name] = _whole(part)
    return {
        **found,
        "health": _object(status={"const": "ok"}),
        "ready": _object(status={"const": "ready"}, machines=_WHOLE),
        "me": _object(user=_TEXT, full_name=_TEXT, role=_TEXT, expires=_TIME, may={"type": "array", "items": _TEXT}),
        "status": {"$ref": REF.format(model="GatewayView")},
        "work_unit": {"$ref": REF.format(model="WorkUnitView")},
        "work_units": _object(work_units=_list_of("WorkUnitView")),
        "orders": _object(orders=_list_of("order")),
        "order": _order(),
        "states": _states(),
        "outbox": _object(postings=_list_of("summary")),
        "summary": _object(**_SUMMARY),
        "posting": _posting(),
        "audit": _object(entries=_list_of("audit_entry")),
        "audit_entry": _audit_entry(),
        "stops": _object(machine=_TEXT, final_up_to=_TIME, stops={"type": "array", "items": _OPEN_OBJECT}),
        "dispatch": _object(
            machine=_TEXT,
            state=_TEXT,
            state_since=_TIME,
            reason=_TEXT,
            reason_missing={"type": "boolean"},
            setup={"type": "boolean"},
            running={"type": "array", "items": {"$ref": REF.format(model="order")}},
            queue={"type": "array", "items": {"$ref": REF.format(model="order")}},
            operators=_OBJECTS,
            feeders={"type": "array", "items": _object(feeder=_TEXT, item=_TEXT)},
            lots=_OBJECTS,
            unallocated=_OPEN_OBJECT,
            undo={"oneOf": [{"type": "null"}, _object(verb=_TEXT, who=_TEXT, until=_TIME)]},
            may={"type": "array", "items": _TEXT},
        ),
        "buffer": _with(found["BufferFigures"], classes=_OBJECTS),
        "reconciliation": _object(reports={"type": "array", "items": _OPEN_OBJECT}),
        "resolved": _object(done={"type": "array", "items": _OPEN_OBJECT}),
        "trace": _object(number=_TEXT, direction=_TEXT, traces=_OBJECTS, refused=_OBJECTS),
        "unallocated": _object(
            machine=_TEXT,
            entries={
                "type": "array",
                "items": _object(
                    **dict.fromkeys(("number", "pieces", "estimated", "age_ms", "merged"), _WHOLE),
                    **dict.fromkeys(("role", "signal", "product", "tool", "lot"), _TEXT),
                    **{"from": _TIME, "to": _TIME},
                ),
            },
            written_off=_WHOLE,
        ),
        "probes": {"type": "array", "items": _object(target=_TEXT, ok={"type": "boolean"}, detail=_TEXT)},
        "lookups": {
            "type": "array",
            "items": _object(
                **dict.fromkeys(("target", "key", "message_id", "found", "reference", "code", "detail"), _TEXT),
                step=_WHOLE,
                steps=_WHOLE,
            ),
        },
        "done": _object(done={"type": "string", "description": "What was done, in words."}),
        "problem": _problem(),
    }


_SUMMARY: Final[dict[str, Any]] = {
    "number": _WHOLE,
    "key": _TEXT,
    "state": _TEXT,
    "target": _TEXT,
    "order": _TEXT,
    "operation": _TEXT,
    "seq": _WHOLE,
    "kind": _TEXT,
    "attempts": _WHOLE,
    "lookups": _WHOLE,
    "step": _WHOLE,
    "steps": _WHOLE,
    "released": {"type": "boolean"},
    "created": _TIME,
    "last_sent": _TIME,
    "settled": _TIME,
    "due": _TIME,
    "event": _TIME,
    "derived": _TIME,
    "latency_ms": {"type": ["integer", "null"]},
    "reference": _TEXT,
    "error": _TEXT,
}


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list_of(name: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": REF.format(model=name)}}


def _with(view: dict[str, Any], **more: dict[str, Any]) -> dict[str, Any]:
    """A view with further fields, all of them always there."""
    return {**view, "properties": {**view["properties"], **more}, "required": [*view["required"], *more]}


def _whole(view: dict[str, Any]) -> dict[str, Any]:
    """Every attribute of a view is always there, and no other; the first line of its docstring is enough."""
    properties = {
        name: {key: value for key, value in part.items() if key not in {"title", "default"}}
        for name, part in view["properties"].items()
    }
    return {**_object(**properties), "description": view.get("description", "").partition("\n")[0]}


def _order() -> dict[str, Any]:
    quantities = dict.fromkeys(("good", "scrap", "rework", "hold", "test"), _WHOLE)
    known = _object(machine=_TEXT, order=_TEXT, operation=_TEXT, state=_TEXT, quantity=_TEXT, **quantities)
    known["properties"] |= {"hold_reason": {"type": "string"}, "rush": {"type": "boolean"}}
    return {**known, "additionalProperties": True, "description": "An open order at a machine."}


def _audit_entry() -> dict[str, Any]:
    whole = {"at_ns", "utc_ns", "time_quality", "utc_offset_s"}
    fields: dict[str, Any] = {name: _WHOLE if name in whole else _TEXT for name in EntryContent._fields}
    fields |= {name: {"type": ["string", "null"]} for name in ("old", "new")}
    known = _object(form=_WHOLE, seq=_WHOLE, at=_TIME, **fields, prev_hash=_TEXT, hash=_TEXT)
    return {**known, "description": "One entry; its hash covers all of it and the hash of the one before."}


def _states() -> dict[str, Any]:
    group = {
        **_object(**{"from": _TIME, "to": _TIME}, name={"type": ["string", "null"]}),
        "additionalProperties": True,
    }
    group["properties"] |= {
        "times": _OPEN_OBJECT,
        "quantities": _OPEN_OBJECT,
        "kpis": {"type": "object", "additionalProperties": _RATIO},
    }
    interval = {
        "type": "object",
        "properties": {"from": _TIME, "to": _TIME, "state": _TEXT, "element": _TEXT, "duration_ms": _WHOLE},
        "required": ["from", "to", "state", "element", "duration_ms"],
    }
    whole = _object(
        **{"from": _TIME, "to": _TIME},
        work_unit=_TEXT,
        by=_TEXT,
        groups={"type": "array", "items": group},
        now=_object(state=_TEXT, since=_TIME, at=_TIME, final_up_to=_TIME),
    )
    whole["properties"]["intervals"] = {"type": "array", "items": interval}
    return whole


def _problem() -> dict[str, Any]:
    field = _object(field=_TEXT, found=_TEXT, allowed=_TEXT)
    whole = _object(type=_TEXT, title=_TEXT, status=_WHOLE, detail=_TEXT, code=_TEXT, guard=_TEXT, what_to_do=_TEXT)
    whole["properties"] |= {"errors": {"type": "array", "items": field}, "found": _TEXT, "allowed": _TEXT}
    return {**whole, "description": "Problem details (RFC 9457): what was found, what is allowed, what to do."}


def _posting() -> dict[str, Any]:
    return _object(
        **_SUMMARY,
        confirmation=_OPEN_OBJECT,
        message={
            "oneOf": [
                {"type": "null"},
                _object(content_type=_TEXT, name=_TEXT, body=_TEXT),
            ]
        },
        messages={
            "type": "array",
            "items": _object(
                step=_WHOLE,
                state=_TEXT,
                reference=_TEXT,
                accepted=_TEXT,
                sent=_TIME,
                settled=_TIME,
                before=_NAMED,
                name=_NAMED,
                body=_NAMED,
            ),
        },
        suggested=_TEXT,
        supersedes=_TEXT,
        superseded_by=_TEXT,
        answer={
            "oneOf": [
                {"type": "null"},
                _object(at=_TIME, attempt=_WHOLE, status=_TEXT, body=_TEXT, headers=_OPEN_OBJECT),
            ]
        },
    )
