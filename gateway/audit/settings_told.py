"""A configuration as names and values, and what differs between two of them, for the audit trail.

A secret is shown by where it is, as the configuration names it; its text is in no settings. Judges nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from gateway.core.audit.entry import Change, SystemAction
from gateway.core.audit.told import Told
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from config.settings import Settings

SECTIONS: Final = (
    "gateway",
    "sources",
    "work_units",
    "connectors",
    "calendars",
    "mqtt",
    "api",
    "alerts",
    "buffer",
    "log",
)
VALUE_CHARS_MAX: Final = 500
#: Differences that are told one by one; of more, the last entry says how many.
DIFFERENCES_MAX: Final = 300
DEPTH_MAX: Final = 20
#: What a driver or connector declares stands beside the common keys in the file.
_BESIDE: Final = frozenset({"connector_settings", "driver_settings"})


def values_of(settings: Settings) -> dict[str, str]:
    """Every setting by its dotted name, as text."""
    found: dict[str, str] = {}
    for section in SECTIONS:
        _flatten(section, getattr(settings, section), found, 0)
    return found


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[Told]:
    """An entry for each setting that differs, without a person."""
    names = [name for name in dict.fromkeys((*old, *new)) if old.get(name) != new.get(name)]
    told = [_difference(name, old.get(name), new.get(name)) for name in names[:DIFFERENCES_MAX]]
    if len(names) > DIFFERENCES_MAX:
        more = f"{len(names) - DIFFERENCES_MAX} more"
        told.append(_difference("", None, more)._replace(field="further settings", change=Change.MODIFY.value))
    return told


def _difference(name: str, old: str | None, new: str | None) -> Told:
    change = Change.CREATE if old is None else Change.DELETE if new is None else Change.MODIFY
    return Told(SystemAction.CONFIG_CHANGED.value, "configuration", "", change.value, clean(name, 100), old, new)


def _flatten(path: str, value: Any, found: dict[str, str], depth: int) -> None:
    below = _below(value)
    if below is None or depth >= DEPTH_MAX:
        if value is not None:
            found[path] = clean(str(value), VALUE_CHARS_MAX)
        return
    for name, one in below.items():
        _flatten(path if name in _BESIDE else f"{path}.{name}", one, found, depth + 1)


def _below(value: Any) -> Mapping[Any, Any] | None:
    """What a value is made of; None where it is one thing."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in dataclasses.fields(value) if one.repr}
    if hasattr(value, "_asdict"):
        named: Mapping[Any, Any] = value._asdict()
        return named
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (tuple, list, frozenset, set)) and any(_below(one) is not None for one in value):
        return dict(enumerate(value))
    return None
