"""IDocs as XML: bytes in, segments out, and back. Pure; knows no message type, no order and no confirmation.

What comes from outside is read without entities and document types, and bounded in size, depth and number of elements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from xml.etree.ElementTree import ParseError
from xml.sax.saxutils import escape

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from xml.etree.ElementTree import Element

IDOC_MAX_BYTES: Final = 4 * 1024 * 1024
ELEMENTS_MAX: Final = 200_000
DEPTH_MAX: Final = 16
SHOWN_MAX_CHARS: Final = 60
CONTROL: Final = "EDI_DC40"
SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
#: Of the message in SAP's IDoc service over SOAP; what is in it has no namespace.
MESSAGES: Final = "urn:sap-com:document:sap:idoc:soap:messages"


class IdocError(ValueError):
    """Something is no IDoc; says what was found and what is allowed."""


class Segment(NamedTuple):
    """A segment: its fields by name, and the segments below it in their sequence."""

    name: str
    fields: Mapping[str, str]
    below: tuple[Segment, ...] = ()

    def all(self, name: str) -> Iterator[Segment]:
        """The segments of that name directly below."""
        return (one for one in self.below if one.name == name)

    def get(self, name: str) -> str:
        """A field without the blanks around it, "" where it is missing."""
        return self.fields.get(name, "").strip()


class Idoc(NamedTuple):
    """One IDoc: its basic type, its control record, and its segments under one without a name."""

    basic_type: str
    control: Segment
    data: Segment

    @property
    def message_type(self) -> str:
        """Such as LOIPRO."""
        return self.control.get("MESTYP")

    @property
    def number(self) -> str:
        """The sender's number of it."""
        return self.control.get("DOCNUM")

    def find(self, name: str) -> Iterator[Segment]:
        """Every segment of that name, however deep, in the sequence of the IDoc."""
        return _found(self.data, name)


def elements(content: bytes) -> Element:
    """The root of a bounded XML document. Raises IdocError."""
    if len(content) > IDOC_MAX_BYTES:
        raise IdocError(f"found {len(content)} bytes, allowed at most {IDOC_MAX_BYTES}")
    try:
        root: Element = defusedxml.ElementTree.fromstring(content, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise IdocError(f"found no XML ({clean(str(error) or type(error).__name__, SHOWN_MAX_CHARS)})") from error
    _check_bounds(root)
    return root


def read(content: bytes) -> tuple[Idoc, ...]:
    """The IDocs of a document, which may be wrapped in a SOAP envelope. Raises IdocError."""
    root = elements(content)
    if local_name(root) == "Envelope":
        body = next((one for one in root if local_name(one) == "Body"), None)
        if body is None or len(body) != 1:
            raise IdocError("found a SOAP envelope without one message in its body, allowed: one IDoc message")
        root = body[0]
    found = [one for one in root if local_name(one) == "IDOC"]
    if not found:
        raise IdocError(f"found <{clean(local_name(root), SHOWN_MAX_CHARS)}> without <IDOC>, allowed: an XML IDoc")
    return tuple(_idoc(local_name(root), one) for one in found)


def write(basic_type: str, control: Mapping[str, str], segments: tuple[Segment, ...], *, soap: bool) -> bytes:
    """One IDoc as UTF-8, fields in the sequence of their mapping, empty ones left out. ``soap``: in an envelope."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    if soap:
        lines.append(f'<soap:Envelope xmlns:soap="{SOAP}"><soap:Body>')
        lines.append(f'<idoc:{basic_type} xmlns:idoc="{MESSAGES}">')
    else:
        lines.append(f"<{basic_type}>")
    lines.append('<IDOC BEGIN="1">')
    _write(Segment(CONTROL, control), lines)
    for segment in segments:
        _write(segment, lines)
    lines.append("</IDOC>")
    lines.append(f"</idoc:{basic_type}></soap:Body></soap:Envelope>" if soap else f"</{basic_type}>")
    return ("\n".join(lines) + "\n").encode()


def local_name(element: Element) -> str:
    """The name without its namespace."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _write(segment: Segment, lines: list[str]) -> None:
    fields = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in segment.fields.items() if text)
    if not segment.below:
        lines.append(f'<{segment.name} SEGMENT="1">{fields}</{segment.name}>')
        return
    lines.append(f'<{segment.name} SEGMENT="1">{fields}')
    for one in segment.below:
        _write(one, lines)
    lines.append(f"</{segment.name}>")


def _idoc(basic_type: str, element: Element) -> Idoc:
    whole = _segment(element)
    control = next(whole.all(CONTROL), None)
    if control is None:
        raise IdocError(f"found an <IDOC> without <{CONTROL}>, allowed: one control record")
    return Idoc(control.get("IDOCTYP") or basic_type, control, whole)


def _segment(element: Element) -> Segment:
    fields: dict[str, str] = {}
    below: list[Segment] = []
    for one in element:
        # An empty segment is told from an empty field by its mark.
        if len(one) or "SEGMENT" in one.attrib:
            below.append(_segment(one))
        else:
            fields.setdefault(local_name(one), one.text or "")
    return Segment(local_name(element), fields, tuple(below))


def _found(segment: Segment, name: str) -> Iterator[Segment]:
    for one in segment.below:
        if one.name == name:
            yield one
        yield from _found(one, name)


def _check_bounds(root: Element) -> None:
    level, count = [root], 0
    for _ in range(DEPTH_MAX):
        count += len(level)
        level = [one for element in level for one in element]
        if count + len(level) > ELEMENTS_MAX:
            raise IdocError(f"found more than {ELEMENTS_MAX} elements, allowed at most so many")
        if not level:
            return
    raise IdocError(f"found elements more than {DEPTH_MAX} deep, allowed at most so deep")
