"""What the file partner reads and writes, in each of its formats: confirmations in, orders and receipts out.

Its own idea of each layout; it knows no folder and no ledger. Takes what it needs of a message and refuses the rest.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from xml.sax.saxutils import escape

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from simulators.erp.checks import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from xml.etree.ElementTree import Element

SUFFIXES: Final = {"csv": ".csv", "fixed": ".txt", "xml": ".xml", "b2mml": ".xml"}
B2MML: Final = "{http://www.mesa.org/xml/B2MML}"
#: Fields of a confirmation of fixed length, with their widths.
CONFIRMATION: Final = (
    ("message_id", 36),
    ("order", 12),
    ("operation", 4),
    ("work_center", 12),
    ("machine", 12),
    ("seq", 8),
    ("final", 1),
    ("good", 10),
    ("scrap", 10),
    ("rework", 10),
)
ORDER: Final = (
    ("order", 12),
    ("revision", 6),
    ("operation", 4),
    ("work_center", 12),
    ("product", 20),
    ("quantity", 10),
    ("uom", 3),
    ("sequence_no", 8),
    ("overlap", 5),
)
TEMPLATE: Final = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<CONF>'
    + "".join(f"<{name.upper()}>{{{{{name}}}}}</{name.upper()}>" for name, _ in CONFIRMATION)
    + "</CONF>\n"
)


class Message(NamedTuple):
    """What a confirmation asks for. ``key`` is what this ERP knows it by."""

    key: str
    message_id: str
    order: str
    operation: str
    seq: int
    work_center: str
    machine: str
    good: int
    scrap: int
    rework: int
    final: bool


def message_of(content: bytes, form: str, encoding: str) -> Message:
    """The confirmation in a file. Raises RefusedError: nothing of a file that is half or wrong is booked."""
    try:
        rows = (
            {"csv": _csv, "fixed": _fixed, "xml": _xml}[form](content, encoding) if form != "b2mml" else _b2mml(content)
        )
    except (UnicodeDecodeError, ParseError, DefusedXmlException, csv.Error) as error:
        raise RefusedError("FILE_INVALID", f"the file cannot be read: {error}") from error
    return _message(rows)


def orders_text(image: Mapping[str, Any], form: str, encoding: str, change: int) -> bytes:
    """A released order as a file."""
    rows = [_order_row(image, operation, change) for operation in image["operations"]]
    if form == "csv":
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
        writer.writerow([name for name, _ in ORDER])
        writer.writerows([[row[name] for name, _ in ORDER] for row in rows])
        return text.getvalue().encode(encoding)
    if form == "fixed":
        lines = ["".join(row[name].ljust(width)[:width] for name, width in ORDER) for row in rows]
        return "".join(f"{line}\r\n" for line in lines).encode(encoding)
    if form == "xml":
        operations = "".join(
            "<AG>" + "".join(f"<{name.upper()}>{escape(row[name])}</{name.upper()}>" for name, _ in ORDER) + "</AG>"
            for row in rows
        )
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<ORDERS><ORDER>{operations}</ORDER></ORDERS>\n'.encode()
    return _schedule(image, rows)


def receipt_text(form: str, message_id: str, reference: str, error: RefusedError | None) -> bytes:
    """The receipt of a confirmation: ConfirmBOD for B2MML, else one line of CSV."""
    status = "REFUSED" if error else "BOOKED"
    if form != "b2mml":
        text = "" if error is None else f"{error.code} {error}".replace(";", ",").replace("\n", " ")
        return f"id;status;erp_doc;message\r\n{message_id};{status};{reference};{text}\r\n".encode()
    action = "Rejected" if error else "Accepted"
    change = (
        f"<ChangeStatus><Code>{escape(error.code)}</Code><Description>{escape(str(error))}</Description></ChangeStatus>"
        if error
        else ""
    )
    area = f"<CreationDateTime>2026-01-01T00:00:00Z</CreationDateTime><BODID>{escape(message_id)}</BODID>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ConfirmBOD xmlns="{B2MML[1:-1]}">'
        f"<ApplicationArea><Sender><LogicalID>partner</LogicalID><ReferenceID>{reference}</ReferenceID></Sender>"
        "<CreationDateTime>2026-01-01T00:00:00Z</CreationDateTime></ApplicationArea><DataArea><Confirm>"
        f'<ResponseCriteria><ResponseExpression actionCode="{action}">.</ResponseExpression>{change}'
        f"</ResponseCriteria></Confirm><BOD><OriginalApplicationArea>{area}</OriginalApplicationArea></BOD></DataArea>"
        "</ConfirmBOD>\n"
    ).encode()


def _message(row: Mapping[str, str]) -> Message:
    missing = [name for name in ("message_id", "order", "operation", "good") if not row.get(name)]
    if missing:
        raise RefusedError("FIELD_MISSING", f"the message has no {', '.join(missing)}")
    numbers = {name: _whole(row, name) for name in ("good", "scrap", "rework", "seq")}
    return Message(
        key=row.get("key") or row["message_id"],
        message_id=row["message_id"],
        order=row["order"],
        operation=row["operation"],
        seq=numbers["seq"],
        work_center=row.get("work_center", ""),
        machine=row.get("machine", ""),
        good=numbers["good"],
        scrap=numbers["scrap"],
        rework=numbers["rework"],
        final=row.get("final") == "X" or row.get("type") == "final",
    )


def _whole(row: Mapping[str, str], name: str) -> int:
    try:
        return int(row.get(name) or "0")
    except ValueError as error:
        raise RefusedError("NUMBER_INVALID", f"{name}: found {row.get(name)!r}, needed is a whole number") from error


def _csv(content: bytes, encoding: str) -> dict[str, str]:
    rows = list(csv.DictReader(io.StringIO(content.decode(encoding), newline=""), delimiter=";", strict=True))
    if len(rows) != 1 or not content.endswith(b"\n"):
        raise RefusedError("FILE_INVALID", f"found {len(rows)} lines, or half of one; needed is one")
    return {str(name): str(cell or "") for name, cell in rows[0].items()}


def _fixed(content: bytes, encoding: str) -> dict[str, str]:
    text = content.decode(encoding)
    width = sum(width for _, width in CONFIRMATION)
    if not text.endswith("\r\n") or len(text) != width + 2:
        raise RefusedError("FILE_INVALID", f"found {len(text)} characters, needed are {width} and the line's end")
    found, at = {}, 0
    for name, size in CONFIRMATION:
        found[name] = text[at : at + size].strip()
        at += size
    return found


def _xml(content: bytes, _encoding: str) -> dict[str, str]:
    return {one.tag.lower(): one.text or "" for one in fromstring(content)}


def _b2mml(content: bytes) -> dict[str, str]:
    root: Element = fromstring(content)
    if root.tag != f"{B2MML}ProcessOperationsPerformance":
        raise RefusedError("VERB_UNKNOWN", f"found {root.tag}, needed is ProcessOperationsPerformance")
    response = root.find(f"{B2MML}DataArea/{B2MML}OperationsPerformance/{B2MML}OperationsResponse")
    segment = None if response is None else response.find(f"{B2MML}SegmentResponse")
    if response is None or segment is None:
        raise RefusedError("SEGMENT_MISSING", "the message has no SegmentResponse")
    sums = dict.fromkeys(("Produced", "Scrap", "Rework"), 0)
    for part in segment.findall(f"{B2MML}MaterialActual"):
        use = part.find(f"{B2MML}MaterialUse")
        name = "" if use is None else use.get("OtherValue") or use.text or ""
        if name in sums:
            sums[name] += int(part.findtext(f"{B2MML}Quantity/{B2MML}QuantityString") or "0")
    requirement = segment.findtext(f"{B2MML}SegmentRequirementID") or ""
    return {
        "message_id": root.findtext(f"{B2MML}ApplicationArea/{B2MML}BODID") or "",
        "order": response.findtext(f"{B2MML}OperationsRequestID") or "",
        "operation": requirement.rpartition("/")[2],
        "work_center": segment.findtext(f"{B2MML}EquipmentActual/{B2MML}EquipmentID") or "",
        "final": "X" if segment.findtext(f"{B2MML}SegmentState") == "Completed" else "",
        "good": str(sums["Produced"]),
        "scrap": str(sums["Scrap"]),
        "rework": str(sums["Rework"]),
    }


def _order_row(image: Mapping[str, Any], operation: Mapping[str, Any], change: int) -> dict[str, str]:
    product = image.get("product") or {}
    return {
        "order": str(image["order_id"]),
        "revision": str(image.get("revision", change)),
        "operation": str(operation["op"]),
        "work_center": str(operation["work_center"]),
        "product": str(product.get("id", "")),
        "quantity": str(operation.get("qty") or image.get("qty", "")),
        "uom": str(product.get("uom", "PC")),
        "sequence_no": str(image.get("sequence_no", 0)),
        "overlap": "true" if (operation.get("control") or {}).get("overlap") else "",
    }


def _schedule(image: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> bytes:
    segments = "".join(
        f"<SegmentRequirement><ID>{escape(row['order'])}/0/{escape(row['operation'])}</ID>"
        "<ProcessSegmentID>P</ProcessSegmentID><OperationsDefinitionID>R</OperationsDefinitionID>"
        f"<OperationsSegmentID>{escape(row['operation'])}</OperationsSegmentID><SegmentState>Released</SegmentState>"
        f"<EquipmentRequirement><ID>e</ID><EquipmentID>{escape(row['work_center'])}</EquipmentID>"
        "</EquipmentRequirement><MaterialRequirement><ID>m</ID>"
        f"<MaterialDefinitionID>{escape(row['product'])}</MaterialDefinitionID><MaterialUse>Produced</MaterialUse>"
        f"<Quantity><QuantityString>{escape(row['quantity'])}</QuantityString><DataType>decimal</DataType>"
        "<UnitOfMeasure>H87</UnitOfMeasure></Quantity></MaterialRequirement></SegmentRequirement>"
        for row in rows
    )
    # The revision of an order is the second in which its schedule was published.
    second = int(image.get("revision", 1))
    published = f"2026-01-01T{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z"
    area = f"<ApplicationArea><CreationDateTime>{published}</CreationDateTime></ApplicationArea>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<SyncOperationsSchedule xmlns="{B2MML[1:-1]}" releaseID="0700">{area}'
        f"<DataArea><Sync/><OperationsSchedule><ID>s-{escape(rows[0]['order'])}</ID>"
        f"<PublishedDate>{published}</PublishedDate><OperationsRequest><ID>{escape(rows[0]['order'])}</ID>"
        f"<RequestState>Released</RequestState>{segments}</OperationsRequest></OperationsSchedule></DataArea>"
        "</SyncOperationsSchedule>\n"
    ).encode()
