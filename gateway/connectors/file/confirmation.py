"""Writes a confirmation as the one file that it becomes. Pure: same document, same bytes and same file name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import MappingError, Rendered
from gateway.connectors.file import b2mml_out, fields, lines_out, xml_out
from gateway.connectors.file.settings import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.file.settings import FileSettings

NAME_PART_MAX_CHARS: Final = 40
SHORT_ID_CHARS: Final = 12
SHORTER_ID_CHARS: Final = 8
SEQ_DIGITS: Final = 6
LONG_SEQ_DIGITS: Final = 8
CONTENT_TYPES: Final = {"csv": "text/csv", "fixed": "text/plain", "xml": "application/xml", "b2mml": "application/xml"}

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def render(
    document: Mapping[str, Any], settings: FileSettings, *, plant_zone: str, gateway: str, template: str
) -> Rendered:
    """The file's bytes and its name. Raises MappingError, naming the field."""
    confirmed = fields.read(document, settings.mapping)
    match settings.format:
        case "csv":
            body = lines_out.csv_lines(confirmed, settings, plant_zone)
        case "fixed":
            body = lines_out.fixed_lines(confirmed, settings, plant_zone)
        case "xml":
            body = xml_out.filled(template, confirmed, settings, plant_zone)
        case "b2mml":
            body = b2mml_out.performance(document, confirmed, settings, gateway)
    values = {name: value for name, value in confirmed.values.items() if isinstance(value, str)}
    return Rendered(body, CONTENT_TYPES[settings.format], file_name(values, settings, gateway))


def file_name(row: Mapping[str, str], settings: FileSettings, gateway: str) -> str:
    """``100240-0010-000003-<short id>.csv``: safe on every file system, and different for every confirmation."""
    bare_id = _UNSAFE.sub("", row["message_id"]).replace("-", "")
    if len(bare_id) < SHORT_ID_CHARS:
        raise MappingError(f"confirmation_id: found {row['message_id']!r}, allowed: a UUID")
    suffix = SUFFIXES[settings.format]
    if settings.name_style == "gateway":
        at = row["created_at"].partition(".")[0].replace("-", "").replace(":", "").removesuffix("Z")
        sender = _UNSAFE.sub("_", row["gateway"] or gateway)[:NAME_PART_MAX_CHARS]
        number = row["seq"].zfill(LONG_SEQ_DIGITS)
        return f"CONF_{sender}_{_UNSAFE.sub('_', at)}_{number}_{bare_id[-SHORTER_ID_CHARS:]}{suffix}"
    parts = [_UNSAFE.sub("_", row[name])[:NAME_PART_MAX_CHARS] for name in ("order", "operation")]
    return "-".join((*parts, row["seq"].zfill(SEQ_DIGITS), bare_id[:SHORT_ID_CHARS])) + suffix
