"""What SAP tells of our IDocs in files: ALEAUD and STATUS IDocs, and extracts of what is booked. Pure.

An extract is a CSV with a header: ``EX_IDENT`` (the ticket's key), ``STATUS`` (posted or failed), and of a booked one
``RUECK`` and ``RMZHL``, of a failed one ``CODE`` and ``TEXT``. Further columns are not read.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.connectors.base import Lookup, LookupKind
from gateway.connectors.sap_idoc.answers import FAULTY, STORED
from gateway.connectors.sap_idoc.idoc_xml import IdocError, read
from gateway.connectors.sap_idoc.tickets import docnum_of, message_hex
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGES: Final = frozenset({"ALEAUD", "STATUS"})
SEGMENTS: Final = ("E1STATE", "E1STATS")
#: So many are kept in memory; the oldest go first.
KEPT_MAX: Final = 200_000
LINE_MAX_CHARS: Final = 2000
TEXT_MAX_CHARS: Final = 300
POSTED: Final = "posted"
FAILED: Final = "failed"
COLUMNS: Final = ("EX_IDENT", "STATUS")


class Told(NamedTuple):
    """What was told under a key: the ticket's, or the number of its IDoc. ``status``: posted, failed, stored."""

    key: str
    status: str
    reference: str = ""
    code: str = ""
    text: str = ""


class Statuses:
    """What was told so far, in the sequence in which it was told."""

    def __init__(self, *, stored_is_posted: bool) -> None:
        self._stored_is_posted = stored_is_posted
        self._told: dict[str, Told] = {}

    def add(self, told: Told) -> None:
        """A later word replaces an earlier one, unless it only says that the IDoc is stored."""
        if told.status == "stored" and self._told.get(told.key, told).status == POSTED:
            return
        self._told.pop(told.key, None)
        self._told[told.key] = told
        while len(self._told) > KEPT_MAX:
            del self._told[next(iter(self._told))]

    def lookup(self, message_id: str) -> Lookup | None:
        """What is known of a ticket; None: nothing that decides."""
        for key in (message_hex(message_id), docnum_of(message_id)):
            told = self._told.get(key)
            if told is None:
                continue
            if told.status == POSTED or (told.status == "stored" and self._stored_is_posted):
                return Lookup(LookupKind.FOUND, told.reference or told.key)
            if told.status == FAILED:
                text = told.text or "SAP could not book it; look at it in CO16N or BD87"
                return Lookup(LookupKind.REFUSED, detail=text, code=told.code)
        return None


def read_statuses(content: bytes) -> tuple[Told, ...]:
    """What a file tells. Raises IdocError for a file that is neither IDocs nor an extract."""
    if content.lstrip()[:1] == b"<":
        return tuple(_of_idocs(content))
    return tuple(_of_extract(content))


def _of_idocs(content: bytes) -> Iterator[Told]:
    for idoc in read(content):
        if idoc.message_type not in MESSAGES:
            raise IdocError(f"MESTYP: found {clean(idoc.message_type, 30)!r}, allowed: {', '.join(sorted(MESSAGES))}")
        for name in SEGMENTS:
            for one in idoc.find(name):
                status, number = one.get("STATUS"), one.get("DOCNUM").zfill(16)
                code = f"{one.get('STAMID')}/{one.get('STAMNO')}" if one.get("STAMID") else status
                text = clean(one.get("STATXT"), TEXT_MAX_CHARS)
                if status in FAULTY:
                    yield Told(number, FAILED, code=clean(code, 60), text=text)
                elif status == STORED:
                    yield Told(number, "stored")


def _of_extract(content: bytes) -> Iterator[Told]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise IdocError(f"found a byte that is no UTF-8 at {error.start}, allowed: UTF-8") from error
    head = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if ";" in head else ",")
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise IdocError(f"line 1: found no column {', '.join(missing)}, allowed: {', '.join(COLUMNS)}, RUECK, RMZHL")
    for row in reader:
        cells = {name: (cell or "").strip() for name, cell in row.items() if isinstance(cell, str) or cell is None}
        status = cells.get("STATUS", "").lower()
        if status not in (POSTED, FAILED):
            raise IdocError(f"line {reader.line_num}, STATUS: found {clean(status, 20)!r}, allowed: {POSTED}, {FAILED}")
        number = "/".join(filter(None, (cells.get("RUECK"), cells.get("RMZHL"))))
        code, said = (clean(cells.get(name, ""), TEXT_MAX_CHARS) for name in ("CODE", "TEXT"))
        yield Told(cells["EX_IDENT"].replace("-", "").upper(), status, clean(number, 60), code, said)
