"""The audit trail as text for others: JSON lines, which can be verified anywhere; CSV and HTML, which people read.

JSON lines are the entries themselves: ``entry_of_line`` gives back what ``json_line`` was made of. CSV is for reading:
times are added in words, and a text that a spreadsheet would take for a formula gets an apostrophe in front. HTML is
one page without scripts and without anything from elsewhere, made to be printed. Opens no file.
"""

from __future__ import annotations

import datetime as dt
import html
import json
import re
from typing import TYPE_CHECKING, Final

from gateway.core.audit.entry import AuditEntry, EntryContent, as_mapping, of_mapping
from gateway.core.calendar.honest_time import TimeQuality
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: A longer line is none of ours, and is not parsed.
LINE_CHARS_MAX: Final = 100_000
CSV_COLUMNS: Final = ("seq", "at_utc", "at_local", *EntryContent._fields, "prev_hash", "hash", "form")

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FORMULA: Final = re.compile(r"[=+\-@\t\r]")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def json_line(entry: AuditEntry) -> str:
    """The entry as one line of JSON, with its end of line."""
    return json.dumps(as_mapping(entry), ensure_ascii=False, separators=(",", ":")) + "\n"


def entry_of_line(line: str) -> AuditEntry:
    """The entry of ``json_line``. Raises ValueError."""
    if len(line) > LINE_CHARS_MAX:
        raise ValueError(f"found a line of {len(line)} characters, allowed: up to {LINE_CHARS_MAX}")
    try:
        found = json.loads(line)
    except RecursionError as error:
        raise ValueError("found JSON that is nested too deeply, allowed: an entry") from error
    if not isinstance(found, dict):
        raise ValueError(f"found {clean(line, 80)!a}, allowed: an entry as a JSON object")  # noqa: TRY004 - of a text, not a type
    return of_mapping(found)


def csv_lines(entries: Iterable[AuditEntry]) -> Iterator[str]:
    """A head and one record for each entry, as RFC 4180 has it (CR LF, quotes where needed)."""
    yield ",".join(CSV_COLUMNS) + "\r\n"
    for entry in entries:
        fields = as_mapping(entry)
        fields["at_utc"] = local_text(entry.content.utc_ns, 0)
        fields["at_local"] = local_text(entry.content.utc_ns, entry.content.utc_offset_s)
        yield ",".join(_cell(fields[name]) for name in CSV_COLUMNS) + "\r\n"


_HTML_HEAD: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
@page {{ size: A4 landscape; margin: 12mm 12mm 16mm; @bottom-left {{ content: "{title}"; font: 7pt sans-serif }}
  @bottom-right {{ content: "page " counter(page) " of " counter(pages); font: 7pt sans-serif }} }}
body {{ font: 9pt sans-serif; margin: 0 }}
table {{ border-collapse: collapse; width: 100% }}
thead {{ display: table-header-group }}
tr {{ break-inside: avoid }}
th, td {{ border: 0.3pt solid #888; padding: 1mm; text-align: left; vertical-align: top; overflow-wrap: break-word }}
.entries {{ table-layout: fixed }}
.refused {{ background: #eee }}
.hash {{ font: 6pt monospace }}
.head th {{ width: 40mm }}
.head {{ margin-bottom: 4mm }}
</style></head><body><h1>{title}</h1>
{head}<p>Times are the plant's wall clock with its offset from UTC; "(not vouched for)": no trusted clock stood behind
it. Grey: refused. Each hash covers its entry and the hash before it.</p>
<table class="entries">{columns}
<thead><tr><th>No.</th><th>When</th><th>Who</th><th>What</th><th>Old</th><th>New</th><th>Why</th><th>Hash</th></tr>
</thead><tbody>
"""
#: Of the columns, mm; 273 in all. No number, time or word of ours is broken in two; what is longer is.
_WIDTHS_MM: Final = (13, 40, 30, 68, 30, 44, 28, 20)


def html_lines(entries: Iterable[AuditEntry], title: str, head: Iterable[tuple[str, str]] = ()) -> Iterator[str]:
    """One page, piece by piece; nothing of an entry is taken for markup.

    ``title``: letters, digits, spaces and "-". ``head``: names and values that stand above the entries.
    """
    rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in head)
    shown = f'<table class="head">{rows}</table>\n' if rows else ""
    columns = "".join(f'<col style="width: {width}mm">' for width in _WIDTHS_MM)
    yield _HTML_HEAD.format(title=html.escape(title), head=shown, columns=columns)
    count = 0
    for count, entry in enumerate(entries, 1):  # noqa: B007 - told at the end
        yield _html_row(entry)
    yield f"</tbody></table><p>{count} entries</p></body></html>\n"


def _html_row(entry: AuditEntry) -> str:
    found = entry.content
    what = f"{found.action} {found.outcome}: {found.entity} {found.entity_id} {found.field}".strip()
    cells = (
        str(entry.seq),
        # A blank for the T, where a line may end.
        f"{local_text(found.utc_ns, found.utc_offset_s).replace('T', ' ')} {found.time_zone}{_doubt(found)}",
        " ".join(text for text in (found.user, found.role, found.auth, found.client) if text),
        f"{what}; {found.detail}" if found.detail else what,
        found.old or "",
        found.new or "",
        " ".join(text for text in (found.reason_code, found.reason_text) if text),
    )
    kind = ' class="refused"' if found.outcome == "refused" else ""
    shown = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
    return f'<tr{kind}>{shown}<td class="hash">{html.escape(entry.hash)}</td></tr>\n'


def _doubt(found: EntryContent) -> str:
    return "" if found.time_quality >= TimeQuality.TRUSTED else " (not vouched for)"


def local_text(utc_ns: int, utc_offset_s: int) -> str:
    """The time on the wall with its offset, ISO 8601, in milliseconds (cut, not rounded)."""
    zone = dt.timezone(dt.timedelta(seconds=utc_offset_s))
    moment = (_EPOCH + dt.timedelta(microseconds=utc_ns // 1000)).astimezone(zone)
    return moment.isoformat(timespec="milliseconds")


def _cell(value: str | int | None) -> str:
    if not isinstance(value, str):
        return "" if value is None else str(value)
    text = f"'{value}" if _FORMULA.match(value) and not _NUMBER.fullmatch(value) else value
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\r\n]', text) else text
