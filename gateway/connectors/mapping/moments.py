"""Instants of a confirmation as dates and times of the ERP's clock. Pure; knows no clock and no calendar of shifts."""

from __future__ import annotations

import datetime as dt
import functools
import zoneinfo
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.connectors.base import MappingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.mapping.settings import MappingSettings


class Span(NamedTuple):
    """From when to when, on the ERP's clock, without an offset; the end is never before the beginning."""

    start: dt.datetime
    end: dt.datetime


@functools.lru_cache(maxsize=32)
def zone(name: str) -> dt.tzinfo:
    """The zone of an IANA name. Raises MappingError for one that the system does not know."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise MappingError(
            f"time_zone: found {name!r}, allowed: a name of the IANA time zone database, such as Europe/Berlin; if the "
            "name is right, the system's package tzdata is missing or old"
        ) from error


def zone_of(settings: MappingSettings, plant: str) -> dt.tzinfo:
    """The zone that the ERP reads in: its own, or the plant's (``ConnectorContext.time_zone``). Raises MappingError."""
    return zone(settings.time_zone or plant)


def moment(text: object, where: str) -> dt.datetime:
    """The instant of a UTC text of a document, aware. Raises MappingError."""
    try:
        found = dt.datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise MappingError(f"{where}: found {text!r}, allowed: a time such as 2026-03-29T00:59:30.000Z")
    return found.astimezone(dt.UTC)


def local(text: object, where: str, there: dt.tzinfo) -> dt.datetime:
    """The instant on the wall clock of the zone, whole seconds, without an offset. Raises MappingError.

    The hour that the clocks go back stands there twice: what only knows local time cannot tell the two apart.
    """
    return moment(text, where).astimezone(there).replace(tzinfo=None, microsecond=0)


def span(document: Mapping[str, Any], there: dt.tzinfo) -> Span:
    """The period of a confirmation on the wall clock. Raises MappingError.

    Where the clocks go back in between, its end would be before its beginning: it is the beginning then. Its true
    length is that of its activity times.
    """
    period = document.get("period")
    if not isinstance(period, dict):
        raise MappingError(f"period: found {period!r}, allowed: from and to; every confirmation must have them")
    start, end = local(period.get("from"), "period.from", there), local(period.get("to"), "period.to", there)
    return Span(start, max(start, end))


def posting_date(document: Mapping[str, Any], there: dt.tzinfo) -> dt.date:
    """The date that it counts for: decided when it was made, so that a repeat after midnight changes nothing.

    Of one without such a date, the day of its end. Raises MappingError.
    """
    told = document.get("posting_date")
    if told is None:
        return span(document, there).end.date()
    try:
        return dt.date.fromisoformat(told)
    except (TypeError, ValueError) as error:
        raise MappingError(f"posting_date: found {told!r}, allowed: a date such as 2026-03-29") from error
