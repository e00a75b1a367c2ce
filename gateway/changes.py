"""What differs between two configurations, and what of it can change while the gateway runs. Changes nothing."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config.settings import Settings

RESTART: Final = "needs a restart of the gateway"
#: Sections that are fixed for the life of the process.
_FIXED: Final = ("gateway", "buffer", "mqtt", "api", "alerts", "connectors")


class Changes(NamedTuple):
    """Names of what was added, removed or changed. ``refused``: each a text with its place."""

    refused: tuple[str, ...]
    sources_added: tuple[str, ...]
    sources_removed: tuple[str, ...]
    sources_changed: tuple[str, ...]
    units_added: tuple[str, ...]
    units_removed: tuple[str, ...]
    units_changed: tuple[str, ...]
    calendars: tuple[str, ...]  # changed, added or removed
    log_changed: bool

    @property
    def any(self) -> bool:
        """Whether there is anything to do."""
        return self.log_changed or any(self[1:8])

    def text(self) -> str:
        """In one line, for a person."""
        parts = [
            f"{what} {', '.join(names)} {how}"
            for what, how, names in (
                ("rules of", "changed", self.units_changed),
                ("calendar", "changed", self.calendars),
                ("work unit", "added", self.units_added),
                ("work unit", "removed", self.units_removed),
                ("source", "added", self.sources_added),
                ("source", "removed", self.sources_removed),
                ("source", "changed", self.sources_changed),
            )
            if names
        ]
        return "; ".join([*parts, *(["log changed"] if self.log_changed else [])]) or "nothing changed"


def between(old: Settings, new: Settings) -> Changes:
    """The differences. Tests of rules are none."""
    calendars = _names(old.calendars, new.calendars)
    sources = _names(old.sources, new.sources)
    units = _names(old.work_units, new.work_units)
    return Changes(
        (*_refused(old, new), *_moved(old, new, units[2])),
        *sources,
        *units,
        tuple(name for names in calendars for name in names),
        log_changed=old.log != new.log,
    )


def _names(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Added, removed, changed."""
    return (
        tuple(name for name in new if name not in old),
        tuple(name for name in old if name not in new),
        tuple(name for name in new if name in old and old[name] != new[name]),
    )


def _refused(old: Settings, new: Settings) -> list[str]:
    return [
        f"{new.place(path)}: {path}: found a change, which {RESTART}; put it back or restart"
        for section in _FIXED
        for path in _paths(getattr(old, section), getattr(new, section), section)
    ]


def _paths(old: Any, new: Any, path: str) -> list[str]:
    """Where two settings differ, as deep as both are of one kind."""
    if old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        names = dict.fromkeys([*old, *new])
        return [one for name in names for one in _paths(old.get(name), new.get(name), f"{path}.{name}")]
    if dataclasses.is_dataclass(old) and type(old) is type(new):
        fields = [field.name for field in dataclasses.fields(old)]
        below = [_paths(getattr(old, name), getattr(new, name), _key(path, name)) for name in fields]
        return [one for paths in below for one in paths] or [path]
    return [path]


def _key(path: str, name: str) -> str:
    # What a driver or connector declares stands beside the common keys in the file.
    return path if name in {"connector_settings", "driver_settings"} else f"{path}.{name}"


def _moved(old: Settings, new: Settings, changed: tuple[str, ...]) -> list[str]:
    """A work unit that gets another work center would confirm its open orders under the wrong one."""
    return [
        f"{new.place(f'work_units.{name}.work_center')}: work_units.{name}.work_center: found "
        f"{new.work_units[name].work_center!r} instead of {old.work_units[name].work_center!r}, which {RESTART}; "
        "put it back or restart"
        for name in changed
        if old.work_units[name].work_center != new.work_units[name].work_center
    ] + [
        f"{new.place(f'work_units.{name}.orders')}: work_units.{name}.orders.shares_with: found a change, which "
        f"{RESTART}; put it back or restart"
        for name in changed
        if old.work_units[name].orders.shares_with != new.work_units[name].orders.shares_with
    ]
