"""The device that a person named: a source of a configuration, or an address. Makes its settings; opens nothing."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.commission.address import AddressError, parse_device, parse_wanted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from config.settings import Settings
    from drivers.base import DriverType

#: What signals of an unnamed device are called inside; never shown.
UNNAMED: Final = "device"


class TargetError(Exception):
    """What was named cannot be looked at; says what was found and what is allowed."""


class Target(NamedTuple):
    """A source that can be opened.

    ``wanted`` are names of signals without the source; ``where`` names the device in messages; ``state_dir`` is where
    the driver finds its files, ``base_dir`` where relative paths of its settings start.
    """

    source: str
    where: str
    driver_type: DriverType
    settings: Any
    wanted: tuple[str, ...]
    state_dir: Path
    base_dir: Path
    secrets: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Target({self.where})"  # never the secrets

    def short(self, full: str) -> str:
        """The name of a signal as the person wrote it."""
        return full.removeprefix(f"{self.source}.")


def configured(settings: Settings, source: str, signals: Sequence[str] = ()) -> Target:
    """A source of a configuration; all its signals where none is named. Raises TargetError."""
    from config.errors import ConfigError, did_you_mean
    from gateway import plugins

    found = settings.sources.get(source)
    if found is None:
        near = did_you_mean(source, settings.sources)
        raise TargetError(
            f"{settings.file}: found no source {source!r}, allowed {', '.join(settings.sources)}{near}; or name a "
            f"device such as modbus://192.0.2.10/1"
        )
    driver_type = plugins.drivers()[found.driver]
    own = found.driver_settings
    known = tuple(driver_type.signals(own))
    wanted = tuple(name.removeprefix(f"{source}.") for name in signals) or known
    for name in wanted:
        if name not in known:
            raise TargetError(
                f"{settings.file}: source {source} has no signal {name!r}{did_you_mean(name, known)}; see: linegate "
                f"check {settings.file}"
            )
    where = f"{source} ({found.driver} {place_of(own)})"
    try:
        secrets = settings.secrets.resolve_all(own, f"sources.{source}")
    except ConfigError as error:
        raise TargetError(str(error)) from error
    return Target(source, where, driver_type, own, wanted, settings.gateway.state_dir, settings.base_dir, secrets)


def addressed(text: str, values: Sequence[str]) -> Target:
    """A device that no configuration names, with the values that are asked for. Raises TargetError."""
    from gateway import plugins

    try:
        device = parse_device(text)
        driver_type = plugins.drivers()[device.driver]
        signals = _opcua(values) if device.driver == "opcua" else _modbus(driver_type, device.keys, values)
    except AddressError as error:
        raise TargetError(str(error)) from error
    except KeyError as error:
        raise TargetError(f"{text}: the driver {error} is not installed here; install linegate whole") from error
    if not signals:
        raise TargetError(f"{text}: found no value to read, allowed such as {_example(device.driver)}")
    settings = _settings(driver_type, {**device.keys, "signals": signals}, text)
    # Nothing is kept for a device without a name; a driver that must keep something does it where everything is lost.
    return Target(UNNAMED, text, driver_type, settings, tuple(signals), Path(tempfile.gettempdir()), Path(), {})


def place_of(settings: Any) -> str:
    """Where a source's device is, as its settings say it."""
    for key in ("endpoint", "device", "chip", "pins"):
        if isinstance(found := getattr(settings, key, None), str):
            return found
    host = getattr(settings, "host", None)
    if host is None:
        return ""
    unit = getattr(settings, "unit", None)
    shown = f"[{host}]" if ":" in str(host) else host
    return f"{shown}:{getattr(settings, 'port', '')}{f' unit {unit}' if unit is not None else ''}"


def _example(driver: str) -> str:
    return "i=2258" if driver == "opcua" else "'holding 0 uint16'"


def _opcua(values: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {text: {"path" if text.startswith("/") else "node": text} for text in values}


def _modbus(driver_type: DriverType, keys: dict[str, Any], values: Sequence[str]) -> dict[str, dict[str, Any]]:
    signals: dict[str, dict[str, Any]] = {}
    for text in values:
        wanted = parse_wanted(text)
        if wanted.times == 1:
            signals[text] = wanted.keys
            continue
        width = _width(driver_type, keys, wanted.keys, text)
        first = wanted.keys["address"]
        rest = text.split(None, 2)[2]
        for index in range(wanted.times):
            address = first + index * width
            signals[f"{wanted.keys['table']} {address} {rest}".replace(f" x{wanted.times}", "")] = {
                **wanted.keys,
                "address": address,
            }
    return signals


def _width(driver_type: DriverType, keys: dict[str, Any], signal: dict[str, Any], text: str) -> int:
    from drivers.modbus.layout import BIT_TABLES, width_of

    _settings(driver_type, {**keys, "signals": {text: signal}}, text)  # so that what follows cannot fail
    return 1 if signal["table"] in BIT_TABLES else width_of(signal.get("type", "uint16"), signal.get("length"))


def _settings(driver_type: DriverType, keys: dict[str, Any], text: str) -> Any:
    return checked(driver_type.settings, {"driver": driver_type.name, **keys}, text)


def checked(kind: type[Any], data: dict[str, Any], text: str) -> Any:
    """An object of a settings class from keys as the configuration has them. Raises TargetError naming ``text``."""
    from pydantic import TypeAdapter, ValidationError

    from config.errors import dotted
    from config.messages import complaints

    adapter = TypeAdapter(kind)
    try:
        return adapter.validate_json(json.dumps(data), strict=True)
    except ValidationError as failure:
        said = complaints(list(failure.errors(include_url=False)), data, adapter.json_schema())
        texts = [f"{dotted(one.path).removeprefix('signals.')}: {one.text}" if one.path else one.text for one in said]
        raise TargetError(f"{text}: {'; '.join(texts)}") from failure
