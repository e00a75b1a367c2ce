"""The figures of the buffer as a person reads them. Makes text only."""

from __future__ import annotations

from typing import Any, Final

from gateway.core.document import utc
from gateway.core.duration import NS_PER_S
from gateway.core.foreign_text import clean
from gateway.core.wording import pieces_of

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP: Final = 1024
S_PER_MIN: Final = 60
S_PER_H: Final = 3600
S_PER_D: Final = 86_400
TEXT_CHARS_MAX: Final = 1000


def lines(found: dict[str, Any]) -> list[str]:
    """The document of ``linegate buffer status``; its times are UTC."""
    text = [f"database {found['epoch']}  as of {utc(found['at_ns'])}", ""]
    text += [target_line(one, found["at_ns"]) for one in found["targets"]] or ["no postings yet"]
    text += ["", *room_lines(found), lost_line(found), held_line(found)]
    if (events := found.get("events")) is not None:
        text.append(events_line(events))
    if found.get("classes"):
        text += ["", "bytes by class, estimated from a sample of rows (indexes and small tables are the rest):"]
        text += [f"  {one['name']:<14} {size(one['bytes']):>10}  {one['rows']} rows" for one in found["classes"]]
        rest = max(found["room"]["used_bytes"] - sum(one["bytes"] for one in found["classes"]), 0)
        text.append(f"  {'rest':<14} {size(rest):>10}")
    return text + [f"DEGRADED {clean(one, TEXT_CHARS_MAX)}" for one in found["degraded"]]


def summary_line(found: dict[str, Any]) -> str:
    """One line for ``linegate status``."""
    room, lost, held = found["room"], found["lost"], found["held"]
    text = f"{'buffer':<12} {found['waiting']} waiting, {_full(room)}, {_lost(lost)}, "
    return text + f"{held['parked']} parked, {held['needs_approval']} to approve"


def target_line(one: dict[str, Any], now_ns: int) -> str:
    """One target: what waits by state, the oldest, how it grows and drains, answers apart."""
    states = "  ".join(f"{name.replace('_', ' ')} {number}" for name, number in one["states"].items() if number)
    text = f"{clean(one['target']):<12} waiting {one['waiting']}  posted {one['posted']}"
    if one.get("delivered"):
        text += f"  delivered {one['delivered']}"
    if states:
        text += f"  ({states})"
    if one["oldest_ns"] is not None:
        text += f"  oldest {_length(now_ns - one['oldest_ns'])}"
    if one["recent_ns"]:
        text += f"  in the last {_length(one['recent_ns'])}: {one['made']} made, {one['settled']} settled"
    if one["answers"]:
        told = "  ".join(f"{name.replace('_', ' ')} {number}" for name, number in one["answers"].items())
        text += f"  answers to orders: {told}"
    return text


def room_lines(found: dict[str, Any]) -> list[str]:
    """How full it is, what it grows, and the files beside it."""
    room = found["room"]
    most = size(room["max_bytes"]) if room["max_bytes"] else "not known"
    grown = [
        f"{size(room[name])} in the last {what}"
        for name, what in (("grown_hour_bytes", "hour"), ("grown_day_bytes", "day"))
        if room[name] is not None
    ]
    reserve = size(found["reserve_bytes"]) if found["reserve_bytes"] else "none"
    commit = (
        "" if found["last_commit_ns"] is None
        else f"  last commit {utc(found['last_commit_ns'])} in {found['last_commit_ms']} ms"
    )  # fmt: skip
    beside = f"database {size(found['database_bytes'])}  log {size(found['wal_bytes'])}  reserve {reserve}{commit}"
    backup = (
        "none was ever made (linegate buffer backup)" if found["last_backup_ns"] is None
        else f"{utc(found['last_backup_ns'])} in {clean(found['last_backup_file'])}, {size(found['last_backup_bytes'])}"
    )  # fmt: skip
    return [
        f"{'room':<12} {size(room['used_bytes'])} used of {most}, room for {size(room['room_bytes'])}, {_full(room)}",
        f"{'growth':<12} {', '.join(grown) or 'not known yet'}",
        f"{'files':<12} {beside}",
        f"{'last backup':<12} {backup}",
    ]


def lost_line(found: dict[str, Any]) -> str:
    """What cannot be known any more."""
    aside = ", ".join(found["lost"]["set_aside"])
    return f"{'known lost':<12} {_lost(found['lost'])}{f'; set aside: {aside}' if aside else ''}"


def held_line(found: dict[str, Any]) -> str:
    """What waits for a person."""
    held = found["held"]
    return (
        f"{'held':<12} {pieces_of(held['review_pieces'])} under review, {held['orders']} orders on hold, "
        f"{held['needs_approval']} to approve, {held['parked']} parked"
    )


def events_line(events: dict[str, Any]) -> str:
    """The best-effort class."""
    where = f"{size(events['used_bytes'])} of {size(events['max_bytes'])}" if events["path"] else "in memory"
    text = f"{'events':<12} {events['waiting']} wait for the broker ({where}), {events['sent']} sent"
    if events["evicted"] or events["evicted_age"]:
        text += f", dropped: {events['evicted']} for room, {events['evicted_age']} for age"
    return f"{text}; {clean(events['error'])}" if events["error"] else text


def size(number: int) -> str:
    """Bytes in the largest unit of which there is at least one, rounded down to a tenth."""
    sign, tenths, unit = ("-" if number < 0 else ""), abs(number) * 10, 0
    while tenths >= _STEP * 10 and unit < len(_UNITS) - 1:
        tenths, unit = tenths // _STEP, unit + 1
    return f"{sign}{tenths // 10}.{tenths % 10} {_UNITS[unit]}" if unit else f"{number} B"


def _full(room: dict[str, Any]) -> str:
    if room["level"] != "ok":
        return f"{room['level']}: {room['reason']}"
    if room["full_in_ns"] is not None:
        return f"full in {_length(room['full_in_ns'])} at this rate"
    known = room["grown_hour_bytes"] is not None
    return "not growing" if known else "growth not known yet"


def _lost(lost: dict[str, Any]) -> str:
    if not lost["intervals"]:
        return "nothing lost"
    bound = f"at most {pieces_of(lost['max_pieces'])}"
    if lost["unbounded"]:
        bound += f", {lost['unbounded']} without a bound"
    return f"{lost['intervals']} intervals that nobody can know ({bound})"


def _length(length_ns: int) -> str:
    length_s = max(length_ns, 0) // NS_PER_S
    if length_s < S_PER_MIN:
        return f"{length_s} s"
    if length_s < S_PER_H:
        return f"{length_s // S_PER_MIN} min"
    if length_s < S_PER_D:
        return f"{length_s // S_PER_H} h {length_s % S_PER_H // S_PER_MIN} min"
    return f"{length_s // S_PER_D} d {length_s % S_PER_D // S_PER_H} h"
