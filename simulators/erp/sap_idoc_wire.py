"""IDocs as the fake SAP reads and writes them. Books nothing, keeps nothing, and shares no code with any connector."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import defusedxml.ElementTree

from simulators.erp.checks import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from xml.etree.ElementTree import Element

ENVELOPE: Final = "http://schemas.xmlsoap.org/soap/envelope/"
MSGID: Final = "urn:sap.com:msgid="
MSGID_CHARS: Final = 32
ORDER_CHARS: Final = 12
#: SERIAL of the first change: the same image has the same number, however often it is sent.
FIRST_S: Final = 1_767_225_600
SYSTEM: Final = "S4PCLNT100"
POINT: Final = "%Y%m%d%H%M%S"


def ticket_of(content: bytes, *, soap: bool) -> tuple[str, str, dict[str, str]]:
    """The sender's number, the message id ("" for none) and the fields of one ticket. Raises RefusedError."""
    try:
        root = defusedxml.ElementTree.fromstring(content, forbid_dtd=True)
    except Exception as error:
        raise RefusedError("XML_INVALID", f"no XML: {error}", 400) from error
    if soap and root.tag != f"{{{ENVELOPE}}}Envelope":
        raise RefusedError("SOAP_INVALID", f"no SOAP envelope: {root.tag}", 400)
    idocs = [one for one in root.iter() if _local(one) == "IDOC"]
    if len(idocs) != 1:
        raise RefusedError("MULTIPLE_IDOCS_NOT_ALLOWED", f"{len(idocs)} IDocs, allowed is one")
    control = next((_fields(one) for one in idocs[0] if _local(one) == "EDI_DC40"), None)
    tickets = [_fields(one) for one in idocs[0].iter() if _local(one) == "E1BP_PP_TIMETICKET"]
    if control is None or control.get("MESTYP") != "PPCC2PRETTICKET" or len(tickets) != 1:
        raise RefusedError("EDI/028", "no PPCC2PRETTICKET with one ticket")
    arckey = control.get("ARCKEY", "")
    message_id = arckey.removeprefix(MSGID)
    if soap and not arckey:
        raise RefusedError("SOAP_MSGID_INITIAL", "ARCKEY is empty")
    if soap and (message_id == arckey or len(message_id) != MSGID_CHARS):
        raise RefusedError("SOAP_MSGID_PREFIX_INVALID", f"ARCKEY: {arckey!r}")
    return control.get("DOCNUM", ""), message_id, tickets[0]


def fault(code: str, text: str, *, sender: bool) -> bytes:
    """A SOAP fault with its code in the detail."""
    detail = f"<detail><ns:Error xmlns:ns='urn:linegate:double'><code>{escape(code)}</code></ns:Error></detail>"
    kind = "Client" if sender else "Server"
    inner = f"<faultcode>soap:{kind}</faultcode><faultstring>{escape(text)}</faultstring>{detail}"
    return _enveloped(f"<soap:Fault>{inner}</soap:Fault>")


def assigned(number: int) -> bytes:
    """What the SOAP service answers: the number that the IDoc has now."""
    inner = f"<DbId>{number:016d}</DbId>"
    namespace = "urn:sap-com:document:sap:idoc:soap:messages"
    return _enveloped(
        f'<n0:IDoc.Assignment xmlns:n0="{namespace}"><IdocAssign>{inner}</IdocAssign></n0:IDoc.Assignment>'
    )


def order_idoc(image: Mapping[str, Any], change: int) -> bytes:
    """The whole image of an order as LOIPRO04."""
    serial = time.strftime(POINT, time.gmtime(FIRST_S + change))
    control = {
        "TABNAM": "EDI_DC40",
        "MANDT": "100",
        "DOCNUM": f"{change:016d}",
        "DIRECT": "1",
        "IDOCTYP": "LOIPRO04",
        "MESTYP": "LOIPRO",
        "SNDPOR": "SAPS4P",
        "SNDPRT": "LS",
        "SNDPRN": SYSTEM,
        "RCVPRT": "LS",
        "RCVPRN": "LINEGATE",
        "CREDAT": serial[:8],
        "CRETIM": serial[8:],
        "SERIAL": serial,
    }
    product = image.get("product") or {}
    uom, quantity = product.get("uom", "PCE"), str(image.get("qty", "1"))
    operations = "".join(_operation(one, uom, quantity) for one in image["operations"])
    status = "I0045" if image.get("cancelled") else "I0002"
    item = _segment("E1AFPOL", {"POSNR": "0001", "PSMNG": quantity, "KDAUF": image.get("sales_order")})
    fields = {
        "AUFNR": sap_number(image["order_id"]),
        "AUTYP": "10",
        "AUART": "PP01",
        "WERKS": "RQ1",
        "MATNR": product.get("id", "M"),
        "GAMNG": quantity,
        "GMEIN": uom,
    }
    sequence = _segment("E1AFFLL", {"PLNFL": "000000"}, operations)
    header = _segment("E1AFKOL", fields, _segment("E1JSTKL", {"STAT": status}) + item + sequence)
    body = f'<IDOC BEGIN="1">{_segment("EDI_DC40", control)}{header}</IDOC>'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<LOIPRO04>{body}</LOIPRO04>\n'.encode()


def audit_idoc(sent_as: str, status: str, code: str, text: str, number: int) -> bytes:
    """An ALEAUD about one of the gateway's IDocs."""
    control = _segment("EDI_DC40", {"TABNAM": "EDI_DC40", "DOCNUM": f"{number:016d}", "MESTYP": "ALEAUD"})
    state = {"DOCNUM": sent_as, "STATUS": status, "STATXT": text}
    if "/" in code:
        state["STAMID"], state["STAMNO"] = code.split("/", 1)
    inner = _segment("E1ADHDR", {"MESTYP": "PPCC2PRETTICKET"}, _segment("E1STATE", state))
    return f'<ALEAUD01><IDOC BEGIN="1">{control}{inner}</IDOC></ALEAUD01>\n'.encode()


async def posted(url: str, token: str, content: bytes) -> int:
    """The status of one POST, 0 where there was no answer."""
    parts = urlsplit(url)
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        head = f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
        writer.write(f"{head}Content-Type: text/xml\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
        await writer.drain()
        line = await reader.readline()
        writer.close()
        return int(line.split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def sap_number(order: str) -> str:
    """Twelve digits."""
    return order.zfill(ORDER_CHARS) if order.isdigit() else order


def _operation(one: Mapping[str, Any], uom: str, quantity: str) -> str:
    fields = {
        "VORNR": one["op"],
        "STEUS": "PP01",
        "LTXA1": one.get("text"),
        "ARBPL": one["work_center"],
        "MGVRG": str(one.get("qty", quantity)),
        "MEINH": uom,
        "BMSCH": "1.000",
        "UEKAN": "X" if (one.get("control") or {}).get("overlap") else None,
    }
    if one.get("std_cycle_s"):
        fields |= {"VGE02": "SEC", "VGW02": str(one["std_cycle_s"])}
    return _segment("E1AFVOL", fields, _segment("E1JSTVL", {"STAT": "I0002"}))


def _segment(name: str, fields: Mapping[str, object], below: str = "") -> str:
    inner = "".join(f"<{key}>{escape(str(text))}</{key}>" for key, text in fields.items() if text not in (None, ""))
    return f'<{name} SEGMENT="1">{inner}{below}</{name}>'


def _enveloped(inner: str) -> bytes:
    return f'<soap:Envelope xmlns:soap="{ENVELOPE}"><soap:Body>{inner}</soap:Body></soap:Envelope>'.encode()


def _fields(element: Element) -> dict[str, str]:
    return {_local(one): one.text or "" for one in element if not len(one)}


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]
