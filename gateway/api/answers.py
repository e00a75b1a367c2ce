"""The schemas of the answers, by name, as the OpenAPI document shows them and the tests hold the answers against them.

Views are taken from their classes, so that a new attribute is documented with its birth. Builds no answer.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter

from gateway.core.audit.entry import EntryContent
from gateway.shown.status import GatewayView, WorkUnitView

REF: Final = "#/components/schemas/{model}"
_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "array", "items": _TEXT}
_FLAG: Final = {"type": "boolean"}
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
        **_screen(),
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
        **_checking(),
        "stops": _object(machine=_TEXT, final_up_to=_TIME, stops={"type": "array", "items": _OPEN_OBJECT}),
        "buffer": _with(found["BufferFigures"], classes=_OBJECTS),
        "resolved": _object(done={"type": "array", "items": _OPEN_OBJECT}),
        "booked": _object(done=_object(**_BOOKED)),
        "trace": _object(number=_TEXT, direction=_TEXT, traces=_list_of("way"), refused=_OBJECTS),
        "lot_use": _LOT_USE,
        "way": _object(
            start=_OPEN_OBJECT,
            reached=_OBJECTS,
            links=_OBJECTS,
            links_left_out=_WHOLE,
            reached_in_all=_WHOLE,
            next={"type": ["integer", "null"], "description": "What to skip for the rest; null: there is none."},
            complete={"type": "boolean", "description": "false: more was made of it than one trace looks at."},
        ),
        "unallocated": _object(
            machine=_TEXT,
            time_zone=_TEXT,
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
        "holds": _object(holds={"type": "array", "items": _HOLD}),
        "done": _object(done={"type": "string", "description": "What was done, in words."}),
        "problem": _problem(),
    }


def _checking() -> dict[str, dict[str, Any]]:
    """What an auditor asks for."""
    return {
        "anchors": _object(
            entries=_WHOLE, hash=_TEXT, anchors={"type": "array", "items": _object(entry=_WHOLE, line=_TEXT)}
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
        "rendered": _OBJECTS,
        "offered": {
            **_object(orders=_OBJECTS, refused=_OBJECTS, not_shown=_WHOLE, cursor=_TEXT),
            "additionalProperties": True,
        },
        "resent": _object(
            done=_object(
                done={"type": "array", "items": _object(id=_WHOLE, seq=_WHOLE, key=_TEXT)},
                left={"type": "array", "items": _object(seq=_WHOLE, why=_TEXT)},
            )
        ),
        "told": _object(done={"type": "array", "items": _object(channel=_TEXT, ok=_FLAG, detail=_TEXT)}),
        "days": _object(days=_OBJECTS),
        "reconciliation": _object(reports={"type": "array", "items": _OPEN_OBJECT}),
        "retention": _object(
            kept={
                "type": "array",
                "items": _object(**{"class": _TEXT}, keep=_TEXT, since=_TIME, since_ns={"type": ["integer", "null"]}),
            },
            unconfirmed={"type": "array", "items": _object(machine=_TEXT, since=_TIME)},
            unconfirmed_since={"type": "object", "additionalProperties": _WHOLE},
        ),
        "reconciled": {
            **_object(
                done=_object(
                    compared=_WHOLE,
                    counts=_OPEN_OBJECT,
                    left_out=_WHOLE,
                    not_compared={"type": "array", "items": _TEXT},
                    findings=_OBJECTS,
                    report=_OPEN_OBJECT,
                )
            ),
            "description": "A report: each finding with what is proposed, and who settled it, if somebody did.",
        },
    }


def _screen() -> dict[str, dict[str, Any]]:
    """What a screen at the line is made of."""
    return {
        "changes": _object(
            cursor=_TEXT,
            everything=_FLAG,
            machines={"type": "array", "items": _TEXT},
            postings=_FLAG,
            events=_list_of("event"),
            events_missed=_FLAG,
        ),
        "event": _object(
            number=_WHOLE,
            at=_TIME,
            **dict.fromkeys(("machine", "what", "code", "order", "operation"), _TEXT),
            detail={"type": "object", "additionalProperties": _TEXT},
        ),
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
            holds=_OBJECTS,
            next={
                "oneOf": [{"type": "null"}, _object(order=_TEXT, operation=_TEXT, proposed=_FLAG, text=_TEXT)],
                "description": "What was said of the order that is next: a person is to start it, or why it waits.",
            },
            reasons={
                **_object(**dict.fromkeys(("stop", "scrap", "rework"), _TEXTS), only=_FLAG),
                "description": "What a person may choose from; only: nothing else is taken.",
            },
            unallocated=_OPEN_OBJECT,
            undo={"oneOf": [{"type": "null"}, _object(verb=_TEXT, who=_TEXT, until=_TIME)]},
            may={"type": "array", "items": _TEXT},
        ),
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

#: What a person's word made of a posting.
_BOOKED: Final[dict[str, Any]] = {
    **dict.fromkeys(("number", "seq", "step", "steps"), _WHOLE),
    **dict.fromkeys(("key", "target", "order", "operation", "state", "reference"), _TEXT),
    "asked": {"type": "string", "description": "What the ERP said when it was asked: found, or no clear answer."},
}


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_NUMBERED: Final = {"type": "array", "items": _object(number=_TEXT, item=_TEXT)}
_LOT_USE: Final = _object(
    lot=_TEXT,
    orders={"type": "array", "items": _object(order=_TEXT, operation=_TEXT)},
    products=_TEXTS,
    lots=_NUMBERED,
    serials=_NUMBERED,
    handling_units=_NUMBERED,
    confirmations={
        "type": "array",
        "items": _object(
            **dict.fromkeys(("key", "order", "operation", "target", "state"), _TEXT), seq=_WHOLE, sent=_FLAG
        ),
    },
    open={
        "type": "array",
        "items": _object(**dict.fromkeys(("machine", "order", "operation", "feeder"), _TEXT)),
        "description": "Where it is mounted, and orders of which pieces that are not confirmed took it.",
    },
    left_out={"type": "object", "additionalProperties": _WHOLE},
    complete={"type": "boolean", "description": "false: more was made of it than is looked at."},
)
_HOLD: Final = _object(machine=_TEXT, scope=_TEXT, name=_TEXT, reason=_TEXT, who=_TEXT, since=_TIME)


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
    known["properties"] |= {"before_good": {"type": ["integer", "null"]}, "exceeds_predecessor": {"type": "boolean"}}
    known["properties"]["waits_for"] = {"type": "array", "items": {"enum": ["first_article", "person"]}}
    known["properties"]["bom_waits"] = {"type": "string"}
    words = {"euromap": {"type": ["integer", "null"]}} | dict.fromkeys(("opc", "sap", "d365", "erpnext", "odoo"), _TEXT)
    known["properties"]["foreign"] = {**_object(**words), "description": "Its state in the words of others."}
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
    text = (
        "Problem details (RFC 9457): what was found, what is allowed, what to do. Where several guards are in the way "
        "each part names those of all, in one order, separated by semicolons."
    )
    return {**whole, "description": text}


def _posting() -> dict[str, Any]:
    return _object(
        **_SUMMARY,
        stamps=_object(**dict.fromkeys(("t_event", "t_derived", "t_queued", "t_sent", "t_acked"), _TIME)),
        stages_ms=_object(**dict.fromkeys(("detection", "trigger", "waiting", "answer"), _SUMMARY["latency_ms"])),
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
