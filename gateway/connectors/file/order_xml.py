"""Orders in any XML, by the paths of their elements. Pure; what the values mean is not checked here.

Names are compared without their namespaces. Of what another party wrote nothing is expanded and nothing fetched.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from gateway.connectors.file.order_rows import LINES_MAX, Line, ours, text_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from gateway.connectors.file.settings import FileSettings

_DECLARATION: Final = re.compile(r"^\s*<\?xml[^>]*\?>")
UP: Final = "../"


def root_of(content: bytes, settings: FileSettings, reasons: list[str]) -> Element | None:
    """The document's root; None after noting why it is none.

    A file that is agreed to be in a code page is read in that one, whatever it declares.
    """
    body = content
    if settings.encoding.lower().replace("_", "-") not in {"utf-8", "utf8"}:
        text = text_of(content, settings, reasons)
        if text is None:
            return None
        body = _DECLARATION.sub("", text).encode()
    try:
        root: Element = fromstring(body)
    except ParseError as error:
        reasons.append(f"line {error.position[0]}: {error}, allowed: XML that is complete")
    except DefusedXmlException:
        reasons.append("line 1: found an entity or an external document, allowed: plain XML")
    except (LookupError, ValueError) as error:
        reasons.append(f"line 1: {error}, allowed: XML in {settings.encoding}")
    else:
        return root
    return None


def xml_rows(content: bytes, settings: FileSettings, plant_zone: str, reasons: list[str]) -> list[Line]:
    """One line for each operation's element, or each order's where they have none."""
    root = root_of(content, settings, reasons)
    if root is None:
        return []
    lines: list[Line] = []
    for number, order in enumerate(below(root, settings.order_path or "", from_root=True), start=1):
        operations = below(order, settings.operation_path) if settings.operation_path else [order]
        if not operations:
            reasons.append(f"order {number}: found no {settings.operation_path}, allowed: one at least")
        for count, operation in enumerate(operations, start=1):
            place = f"order {number}" if operation is order else f"order {number}, operation {count}"
            theirs = {
                column.name: value_at(operation, order, column.name) for column in settings.order_columns if column.name
            }
            lines.append(Line(place, ours(theirs, settings.order_columns, plant_zone, place, reasons)))
            if len(lines) > LINES_MAX:
                reasons.append(f"{place}: is one too many, allowed: {LINES_MAX} operations")
                return []
    return lines


def below(element: Element, path: str, *, from_root: bool = False) -> list[Element]:
    """The elements of a path, without looking at namespaces; from the root the first name is the root's own."""
    steps = [step for step in path.split("/") if step]
    found = [element]
    if from_root and steps:
        if local(element) != steps[0]:
            return []
        steps = steps[1:]
    for step in steps:
        found = [child for one in found for child in one if local(child) == step]
    return found


def local(element: Element) -> str:
    """The element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def value_at(operation: Element, order: Element, path: str) -> str:
    """The text of the first element of a path, or of its attribute; "" where there is none."""
    start = order if path.startswith(UP) else operation
    steps, _, attribute = path.removeprefix(UP).partition("@")
    found = below(start, steps)
    if not found:
        return ""
    if attribute:
        return found[0].get(attribute, "")
    return (found[0].text or "").strip()
