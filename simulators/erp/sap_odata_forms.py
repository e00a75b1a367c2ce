"""How this fake SAP writes: OData V2 documents, errors with their details, dates, decimals, flags.

Decides nothing and keeps nothing. The codes are plausible ones; which a real release sends is for its table of errors.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from simulators.erp.checks import RefusedError
from simulators.erp.http import Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT: Final = "/sap/opu/odata/sap/"
LOCKED: Final = "CO/469"
NOT_RELEASED: Final = "RU/110"
CLOSED: Final = "RU/111"
OVER_DELIVERY: Final = "RU/120"
NO_ORDER: Final = "RU/001"
NO_OPERATION: Final = "RU/002"
BAD_VALUE: Final = "RU/130"
PERIOD_CLOSED: Final = "M7/053"
NOT_LATEST: Final = "RU/150"
NOT_THERE: Final = "RU/151"
FRAME: Final = "/IWBEP/CX_MGW_BUSI_EXCEPTION"
LOGIN: Final = b"<html><head><title>Logon failed</title></head><body>No logon possible (user or password)</body></html>"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def one(row: Mapping[str, Any], status: int = 200, **more: Any) -> Response:
    """One entity."""
    return Response(status, json.dumps({"d": row}).encode(), content_type="application/json;charset=utf-8", **more)


def many(rows: Iterable[Mapping[str, Any]]) -> Response:
    """A set of entities."""
    body = json.dumps({"d": {"results": list(rows)}}).encode()
    return Response(200, body, content_type="application/json;charset=utf-8")


def error(status: int, code: str, text: str, service: str = "", **more: Any) -> Response:
    """An error as the gateway of SAP frames it: the business code, and the frame's own behind it."""
    details = [
        {"code": code, "message": text, "propertyref": "", "severity": "error", "target": ""},
        {"code": "RU/999", "message": "see the long text", "propertyref": "", "severity": "warning", "target": ""},
        {"code": FRAME, "message": "An exception was raised.", "propertyref": "", "severity": "error", "target": ""},
    ]
    inner = {
        "application": {"component_id": "PP-SFC", "service_namespace": "/SAP/", "service_id": service},
        "transactionid": "0" * 32,
        "timestamp": time.strftime("%Y%m%d%H%M%S.0000000", time.gmtime()),
        "errordetails": details,
    }
    document = {"error": {"code": code, "message": {"lang": "en", "value": text}, "innererror": inner}}
    return Response(status, json.dumps(document).encode(), content_type="application/json;charset=utf-8", **more)


def unauthorized() -> Response:
    """401 with the page of the web server in front."""
    headers = {"WWW-Authenticate": 'Basic realm="SAP NetWeaver Application Server [S4P/100]"'}
    return Response(401, LOGIN, content_type="text/html; charset=utf-8", headers=headers)


def token_wanted() -> Response:
    """403 that is no matter of rights."""
    headers = {"x-csrf-token": "Required"}
    return Response(403, b"CSRF token validation failed", content_type="text/plain;charset=utf-8", headers=headers)


def metadata(service: str, sets: Iterable[str], functions: Iterable[str]) -> Response:
    """A small $metadata."""
    entities = "".join(f'<EntitySet Name="{name}" EntityType="{service}.{name}Type"/>' for name in sets)
    imports = "".join(f'<FunctionImport Name="{name}" m:HttpMethod="POST"/>' for name in functions)
    text = (
        '<?xml version="1.0" encoding="utf-8"?><edmx:Edmx Version="1.0" '
        'xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx"><edmx:DataServices '
        'xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata" m:DataServiceVersion="2.0">'
        f'<Schema Namespace="{service}" xmlns="http://schemas.microsoft.com/ado/2008/09/edm">'
        f'<EntityContainer Name="{service}_Entities">{entities}{imports}</EntityContainer></Schema>'
        "</edmx:DataServices></edmx:Edmx>"
    )
    return Response(200, text.encode(), content_type="application/xml;charset=utf-8")


def decimal(number: object) -> str:
    """A quantity: a text with three decimals."""
    return f"{Decimal(str(number)):.3f}"


def pieces(name: str, value: object) -> int:
    """A quantity of a message in whole pieces. Raises RefusedError."""
    try:
        number = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or number < 0 or number != number.to_integral_value():
        raise RefusedError(BAD_VALUE, f"{name}: {value!r} is not allowed: a whole quantity from 0 on, as text", 400)
    return int(number)


def date(text: object) -> str:
    """A day, as ISO text, in the form of a document."""
    moment = datetime.fromisoformat(str(text)[:10]).replace(tzinfo=UTC)
    return f"/Date({(moment - _EPOCH) // timedelta(milliseconds=1)})/"


def day_of(value: object) -> str:
    """The day of a date in a document. Raises RefusedError."""
    text = str(value)
    if not (text.startswith("/Date(") and text.endswith(")/") and text[6:-2].lstrip("-").isdigit()):
        raise RefusedError(BAD_VALUE, f"{value!r} is no date of OData V2", 400)
    return (_EPOCH + timedelta(milliseconds=int(text[6:-2]))).date().isoformat()


def time_of_day(text: object) -> str:
    """A time of day from an ISO text."""
    moment = datetime.fromisoformat(str(text))
    return f"PT{moment.hour:02d}H{moment.minute:02d}M{moment.second:02d}S"


def flag(value: object) -> str:
    """The letter X, or nothing."""
    return "X" if value else ""


def stamp() -> str:
    """Now, as the stamp of a change."""
    return time.strftime("%Y%m%d%H%M%S", time.gmtime())


def outside(number: str) -> str:
    """A number as OData shows it: without leading zeros."""
    return (number.lstrip("0") or "0") if number.isdecimal() else number
