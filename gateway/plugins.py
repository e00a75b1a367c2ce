"""Finds the drivers and connectors that are installed, through their entry points.

A plugin that cannot be imported is reported with its distribution and does not stop the others. Builds no driver.
"""

from __future__ import annotations

import functools
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from drivers.base import DriverType
from gateway.connectors.base import ConnectorType

if TYPE_CHECKING:
    from collections.abc import Iterable

DRIVER_GROUP: Final = "linegate.drivers"
CONNECTOR_GROUP: Final = "linegate.connectors"
DISTRIBUTION: Final = "linegate"
#: Names so general that another distribution may carry them too: the one installed last would win, silently.
OUR_PACKAGES: Final = ("gateway", "drivers", "buffer", "config", "simulators")


class PluginError(Exception):
    """The installation is at fault, not the configuration; says which distribution and what to do."""


class Discovery(NamedTuple):
    """What an entry point group holds: usable types by name, and why others are not usable, by name."""

    types: dict[str, Any]
    problems: dict[str, str]


def drivers() -> dict[str, DriverType]:
    """The usable drivers by name. Raises PluginError: none is installed, or two distributions give the same name."""
    return discover(DRIVER_GROUP).types


def connectors() -> dict[str, ConnectorType]:
    """The usable connectors by name. Raises PluginError like ``drivers``."""
    return discover(CONNECTOR_GROUP).types


def problems() -> tuple[str, ...]:
    """One sentence for each plugin that is installed but cannot be used. Raises PluginError like ``drivers``."""
    return tuple(text for group in (DRIVER_GROUP, CONNECTOR_GROUP) for text in discover(group).problems.values())


@functools.cache
def discover(group: str) -> Discovery:
    """Import every plugin of a group, once per process. Raises PluginError."""
    found = tuple(entry_points(group=group))
    if not found:
        raise PluginError(
            f"nothing is installed under {group}: the package runs without being installed; "
            f"install {DISTRIBUTION} (pip install -e .)"
        )
    _refuse_doubles(found, group)
    discovery = Discovery({}, {})
    kind: type[Any] = DriverType if group == DRIVER_GROUP else ConnectorType
    for point in sorted(found, key=lambda point: point.name):
        try:
            plugin = point.load()
        except Exception as failure:  # noqa: BLE001 - foreign code may fail with anything; it is reported, not hidden
            discovery.problems[point.name] = _problem(point, group, f"{type(failure).__name__}: {failure}")
            continue
        if not isinstance(plugin, kind) or plugin.name != point.name:
            wrong = f"{point.value} is not a {kind.__name__} with the name {point.name!r}"
            discovery.problems[point.name] = _problem(point, group, wrong)
        else:
            discovery.types[point.name] = plugin
    return discovery


def foreign_owners() -> tuple[str, ...]:
    """Which other distributions carry a package with the name of one of ours; empty when all is well."""
    owners: dict[str, set[str]] = {package: set() for package in OUR_PACKAGES}
    for distribution in distributions():
        for package in _carried(distribution):
            owners[package].add(distribution.metadata["Name"])
    return tuple(
        f"package {package!r}: also installed by {', '.join(others)}, which may shadow {DISTRIBUTION}'s; "
        f"uninstall {others[0]} here, or give {DISTRIBUTION} its own virtual environment, and reinstall it"
        for package in OUR_PACKAGES
        if (others := sorted(owners[package] - {DISTRIBUTION}))
    )


def _carried(distribution: Distribution) -> set[str]:
    """Those of ``OUR_PACKAGES`` that a distribution installs.

    ``importlib.metadata.packages_distributions`` says it of all packages, and takes a path object for each installed
    file for that: longer than everything else that checks a configuration.
    """
    declared = distribution.read_text("top_level.txt")
    record = distribution.read_text("RECORD")
    if declared:
        carried = set(declared.split())
    elif record is not None:
        carried = {line.removeprefix('"').partition("/")[0] for line in record.splitlines() if ".py" in line}
    else:
        carried = {file.parts[0] for file in distribution.files or () if file.suffix == ".py"}
    return carried.intersection(OUR_PACKAGES)


def _refuse_doubles(found: Iterable[EntryPoint], group: str) -> None:
    first: dict[str, EntryPoint] = {}
    for point in found:
        other = first.setdefault(point.name, point)
        if (_distribution(other), other.value) != (_distribution(point), point.value):
            raise PluginError(
                f"{group}: {_distribution(other)} and {_distribution(point)} both provide {point.name!r}; uninstall one"
            )


def _problem(point: EntryPoint, group: str, reason: str) -> str:
    return (
        f"{group}: {point.name!r} of {_distribution(point)} cannot be used: {reason}; "
        "reinstall that distribution, or uninstall it"
    )


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"
