"""A confirmation as XML by a template of the user. Pure, given the template's text.

``{{good}}`` is a field, ``{{good 2}}`` with two decimals, ``{{from yyyymmdd}}`` in a date form. What stands between
``{{#reasons}}`` and ``{{/reasons}}`` is repeated for each reason of scrap, with ``{{reason}}`` and ``{{reason_qty}}``
of its own. Values are escaped; a character that the code page cannot carry is written by its number, as XML allows.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from gateway.connectors.base import MappingError
from gateway.connectors.file.columns import DECIMALS_MAX, Column
from gateway.connectors.file.fields import FIELDS
from gateway.connectors.file.text_out import FORMS, Writer

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.connectors.file.fields import Confirmed, Value
    from gateway.connectors.file.settings import FileSettings

TEMPLATE_MAX_CHARS: Final = 200_000
SHOWN_MAX_CHARS: Final = 40
_PLACE: Final = re.compile(r"\{\{\s*([a-z_0-9]+)(?:\s+([^\s{}]+))?\s*\}\}")
_REPEATED: Final = re.compile(r"\{\{#reasons\}\}(.*?)\{\{/reasons\}\}", re.DOTALL)
_QUOTES: Final = {'"': "&quot;", "'": "&apos;"}
#: XML 1.0 has no way to write these.
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def filled(template: str, confirmed: Confirmed, settings: FileSettings, plant_zone: str) -> bytes:
    """The message. Raises MappingError: of the template too, with what is wrong in it."""
    if wrong := faults(template):
        raise MappingError(f"template: {wrong}")
    writer = Writer(settings, plant_zone)
    first = confirmed.rows("one")[0]

    def repeated(found: re.Match[str]) -> str:
        parts = []
        for one in confirmed.reasons:
            row = {**first, "reason": one.reason, "reason_qty": one.quantity}
            parts.append(_placed(found.group(1), row, writer))
        return "".join(parts)

    text = _placed(_REPEATED.sub(repeated, template), first, writer)
    try:
        fromstring(re.sub(r"^\s*<\?xml.*?\?>", "", text, flags=re.DOTALL).encode())
    except (ParseError, DefusedXmlException) as error:
        raise MappingError(
            f"template: what is filled in is no XML: {error}; allowed: one element with all in it"
        ) from error
    return text.encode(settings.encoding, "xmlcharrefreplace")


def read_template(path: Path) -> str:
    """The text in a template's file. Raises MappingError."""
    try:
        text = path.read_bytes().removeprefix(codecs.BOM_UTF8).decode()
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else str(error)
        raise MappingError(f"template: {path}: {told}; allowed: a file in utf-8 that can be read") from error
    if len(text) > TEMPLATE_MAX_CHARS:
        raise MappingError(f"template: {path}: found {len(text)} characters, allowed {TEMPLATE_MAX_CHARS}")
    return text


def faults(template: str) -> str:
    """What is wrong in a template, with its line; "" where nothing is."""
    for found in _PLACE.finditer(template):
        try:
            _checked(*found.groups())
        except MappingError as error:
            return f"line {_line_of(template, found.start())}: {error}"
    # Each place and each section is one word in what is left; lines stay where they are.
    left = _PLACE.sub("1", _REPEATED.sub(lambda found: found.group(1), template))
    if (at := re.search(r"\{\{|\}\}", left)) is not None:
        shown = left[at.start() : at.start() + SHOWN_MAX_CHARS].partition("\n")[0]
        allowed = "{{field}}, {{field form}}, {{#reasons}} with {{/reasons}} behind it"
        return f"line {_line_of(left, at.start())}: found {shown!r}, allowed: {allowed}"
    try:
        fromstring(re.sub(r"^\s*<\?xml.*?\?>", "", left, flags=re.DOTALL).encode())
    except ParseError as error:
        return f"line {error.position[0]}: is no XML: {error}; allowed: one element with all in it"
    except DefusedXmlException as error:
        return f"is no XML that can be taken: {error}; allowed: one element with all in it"
    return ""


def xml_text(text: str) -> str:
    """Escaped, in an element or an attribute. Raises MappingError for what XML cannot carry at all."""
    if (found := _FORBIDDEN.search(text)) is not None:
        raise MappingError(f"found {found.group()!r}, which XML cannot carry; allowed: printable characters")
    return escape(text, _QUOTES)


def _placed(text: str, row: dict[str, Value], writer: Writer) -> str:
    def value(found: re.Match[str]) -> str:
        name, form = found.groups()
        return xml_text(writer.plain(name, row[name], _checked(name, form)))

    return _PLACE.sub(value, text)


def _line_of(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _checked(name: str, form: str | None) -> Column:
    """How the field is written. Raises MappingError."""
    if name not in FIELDS or name == "scrap_reasons":
        raise MappingError(f"found {{{{{name}}}}}, allowed: {', '.join(sorted(FIELDS))}")
    if form is None:
        return Column(name=name, value=name)
    if form.isdecimal() and int(form) <= DECIMALS_MAX:
        return Column(name=name, value=name, decimals=int(form))
    found = next((one for one in (*FORMS, "local_iso") if one == form), None)
    if found is None:
        allowed = ", ".join((*FORMS, "local_iso"))
        raise MappingError(f"found {{{{{name} {form}}}}}, allowed: decimals 0 to {DECIMALS_MAX}, {allowed}")
    return Column(name=name, value=name, date=found)
