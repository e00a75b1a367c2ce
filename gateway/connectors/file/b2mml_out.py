"""A confirmation as ProcessOperationsPerformance of B2MML 7, a reversal as CancelOperationsPerformance. Pure.

The Business To Manufacturing Markup Language (B2MML) is used courtesy of MESA International.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final
from xml.etree.ElementTree import Element, SubElement, tostring

from gateway.connectors.file.fields import Amount
from gateway.connectors.file.xml_out import xml_text
from gateway.connectors.mapping import words
from gateway.connectors.mapping.settings import MappingSettings
from gateway.core.document import message_id_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.file.fields import Confirmed
    from gateway.connectors.file.settings import FileSettings

#: What the orders of a schedule are given in ``echo``: the schedule's id, and the id of each operation's requirement.
SCHEDULE_ECHO: Final = "b2mml_schedule"
SEGMENT_ECHO: Final = "b2mml_segment_"
_TIMES: Final = {
    "MACHINE_SETUP_TIME": "t_machine_setup_min",
    "LABOUR_SETUP_TIME": "t_labour_setup_min",
    "MACHINE_TIME": "t_machine_min",
    "LABOUR_TIME": "t_labour_min",
}


def performance(document: Mapping[str, Any], confirmed: Confirmed, settings: FileSettings, gateway: str) -> bytes:
    """The message. Raises MappingError."""
    values = {name: value for name, value in confirmed.values.items() if isinstance(value, str)}
    verb = "Cancel" if document.get("type") == "reversal" and settings.correction == "cancel" else "Process"
    root = Element(
        f"{verb}OperationsPerformance",
        {"xmlns": settings.namespace, "releaseID": settings.release, "versionID": settings.release},
    )
    area = SubElement(root, "ApplicationArea")
    sender = SubElement(area, "Sender")
    _text(sender, "LogicalID", settings.partner or gateway)
    _text(sender, "ConfirmationCode", "Always" if settings.ack == "file" else "Never")
    _text(area, "CreationDateTime", values["created_at"] or values["to"])
    _text(area, "BODID", values["message_id"])
    data = SubElement(root, "DataArea")
    criteria = SubElement(SubElement(data, verb), "ActionCriteria")
    SubElement(criteria, "ActionExpression", {"actionCode": "Delete" if verb == "Cancel" else "Add"})
    body = SubElement(data, "OperationsPerformance")
    taken_back = values["reverses"] and message_id_of(values["reverses"])
    _text(body, "ID", taken_back if verb == "Cancel" and taken_back else values["message_id"])
    _text(body, "PublishedDate", values["created_at"])
    _text(body, "StartTime", values["from"])
    _text(body, "Endtime", values["to"])  # the schema writes it so
    _text(body, "OperationsType", "Production")
    _text(body, "OperationsScheduleID", str((document.get("echo") or {}).get(SCHEDULE_ECHO, "")))
    _response(body, document, confirmed, settings, values)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + bytes(tostring(root, encoding="utf-8")) + b"\n"


def _response(
    body: Element, document: Mapping[str, Any], confirmed: Confirmed, settings: FileSettings, values: dict[str, str]
) -> None:
    mapping = settings.mapping or MappingSettings()
    state = "Completed" if values["final"] else "Running"
    response = SubElement(body, "OperationsResponse")
    _text(response, "ID", values["message_id"])
    _text(response, "OperationsRequestID", values["order"])
    _text(response, "ResponseState", "Running")  # of the order as a whole only the ERP knows that it is completed
    segment = SubElement(response, "SegmentResponse")
    _text(segment, "ID", f"{values['message_id']}-1")
    day = values["posting_date"]
    _text(segment, "PostingDate", f"{dt.date.fromisoformat(day).isoformat()}T00:00:00Z" if day else "")
    _text(segment, "ActualStartTime", values["from"])
    _text(segment, "ActualEndTime", values["to"])
    _text(segment, "SegmentRequirementID", _segment_id(document, settings, values))
    _text(segment, "SegmentState", state)
    for name, field in _TIMES.items():
        minutes = confirmed.values[field]
        if isinstance(minutes, Amount) and minutes.by:
            _data(segment, name, f"{minutes.rounded(mapping.time_decimals):f}", "decimal", "MIN")
    _data(segment, "CYCLES", values["cycles"], "integer", "C62")
    for number, operator in enumerate(document.get("operators") or (), start=1):
        person = SubElement(segment, "PersonnelActual")
        _text(person, "ID", f"p{number}")
        _text(person, "PersonID", str(operator))
    if values["work_center"]:
        equipment = SubElement(segment, "EquipmentActual")
        _text(equipment, "ID", "e1")
        _text(equipment, "EquipmentID", values["work_center"])
    unit = words.unit_code(mapping, document)
    _material(segment, "good", confirmed.values["good"], "Produced", values, unit, settings)
    for number, one in enumerate(confirmed.reasons, start=1):
        made = _material(segment, f"scrap-{number}", one.quantity, "Scrap", values, unit, settings)
        if made is not None and one.reason:
            told = SubElement(made, "MaterialActualProperty")
            _text(told, "ID", "REASON")
            _value(told, one.reason, "string", None)
    _material(segment, "rework", confirmed.values["rework"], "Rework", values, unit, settings)


def _segment_id(document: Mapping[str, Any], settings: FileSettings, values: dict[str, str]) -> str:
    told = (document.get("echo") or {}).get(f"{SEGMENT_ECHO}{values['operation']}")
    if told:
        return str(told)
    text = settings.segment_id
    for name in ("order", "sequence", "operation"):
        text = text.replace(f"{{{name}}}", values[name])
    return text


def _material(
    segment: Element,
    name: str,
    amount: object,
    use: str,
    values: dict[str, str],
    unit: str,
    settings: FileSettings,
) -> Element | None:
    assert isinstance(amount, Amount), "FIELDS says so"
    places = None if settings.mapping is None else settings.mapping.quantity_decimals
    quantity = amount.rounded(places)
    if not quantity and use != "Produced":
        return None
    made = SubElement(segment, "MaterialActual")
    _text(made, "ID", name)
    _text(made, "MaterialDefinitionID", values["product"])
    if use == "Produced":
        _text(made, "MaterialLotID", values["batch"])
        _text(made, "MaterialUse", use)
    else:  # the list of the schema has no such use: it is another one, with its name
        SubElement(made, "MaterialUse", {"OtherValue": use}).text = "Other"
    part = SubElement(made, "Quantity")
    _text(part, "QuantityString", f"{quantity:f}")
    _text(part, "DataType", "decimal")
    _text(part, "UnitOfMeasure", unit)
    return made


def _data(segment: Element, name: str, value: str, kind: str, unit: str) -> None:
    data = SubElement(segment, "SegmentData")
    _text(data, "ID", name)
    _value(data, value, kind, unit)


def _value(parent: Element, text: str, kind: str, unit: str | None) -> None:
    value = SubElement(parent, "Value")
    _text(value, "ValueString", text)
    _text(value, "DataType", kind)
    _text(value, "UnitOfMeasure", unit or "")


def _text(parent: Element, name: str, text: str) -> None:
    """An element with its text; one that would be empty is left out."""
    if text:
        xml_text(text)  # what XML cannot carry is refused here, with the field
        SubElement(parent, name).text = text
