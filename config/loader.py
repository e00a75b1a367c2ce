"""Loads a configuration: file and includes, environment, schema, checks across sections; all errors at once.

Is given the drivers, the connectors and the environment; reads YAML files, templates among them, and nothing else (no
secret either).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter, ValidationError

from config import rule_tests
from config.ages import ages
from config.crosscheck import crosscheck, warnings
from config.document import Flat, flatten
from config.environment import overlaid, overrides
from config.errors import ConfigError, ConfigErrors, KeyPath, Place, dotted, shown
from config.grammar import OPTIONAL_SECTIONS, SECTIONS, PluginType, document_type, json_schema, own_settings
from config.include import read_with_includes
from config.messages import Complaint, allowed_words, complaints, schema_at
from config.sampling import too_slow, unmeasured
from config.scalars import AmbiguousWord
from config.secrets import SecretStore
from config.settings import ConnectorCommon, ConnectorSettings, MqttSettings, Settings, SourceCommon, SourceSettings
from config.signal_types import Types, doubtful, unreadable
from config.templates import expanded
from config.thresholds import contradictions, pointless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

DEFAULT_CLIENT_ID: Final = "linegate-{id}"


def load(
    path: Path, *, drivers: Mapping[str, PluginType], connectors: Mapping[str, PluginType], env: Mapping[str, str]
) -> Settings:
    """The settings of a file, with the overrides of ``env``. Raises ConfigErrors with everything that is wrong."""
    root, notes = read_with_includes(path)
    flat = flatten(expanded(root, drivers, path.parent))
    over = overrides(env, flat.data, SECTIONS)
    data = overlaid(flat.data, over.data)
    for section in OPTIONAL_SECTIONS:
        if section in data and data[section] is None:
            del data[section]
    places = _Places(flat, over.places)
    errors = list(over.errors)
    # The grammar of a plugin that is not in the file would only make the start longer; only complaints name them all.
    named = (_used(drivers, data, "sources", "driver"), _used(connectors, data, "connectors", "connector"))
    document, raw_errors = _validated(data, _grammar(*named))
    # A member of an enumeration is one of the allowed words; the schema is made for complaints only.
    words = {path: word for path, word in _ambiguous_words(data, ()) if not isinstance(_reached(document, path), Enum)}
    schema: dict[str, Any] = {}
    if raw_errors or words:
        whole, schema = _described(drivers, connectors)
        document, raw_errors = _validated(data, whole)
    failed = (
        complaints(raw_errors, data, schema)
        if document is None
        else [
            *crosscheck(document, places.of_value, partial(_cycle_ns, drivers), partial(_signals, drivers)),
            *too_slow(document, partial(_looked_at_ns, drivers)),
            *unreadable(Types(document, partial(_value_type, drivers))),
            *contradictions(document, partial(_told_every_ns, drivers)),
            *rule_tests.misfits(document),
        ]
    )
    failed = _with_ambiguous_words(failed, words, data, schema)
    errors.extend(ConfigError(places.of(complaint), dotted(complaint.path), complaint.text) for complaint in failed)
    if errors or document is None:
        raise ConfigErrors(errors)
    noted = (
        *warnings(document),
        *unmeasured(document, partial(_looked_at_ns, drivers)),
        *doubtful(Types(document, partial(_value_type, drivers))),
        *pointless(document),
    )
    notes += [f"{places.of_value(at)}: {dotted(at)}: {text}" for at, text in noted]
    used = {section: below for section, below in data.items() if section != "tests"}
    digest = hashlib.sha256(json.dumps(used, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    base_dir = path.parent
    return Settings(
        gateway=document.gateway,
        sources={name: _source(source, drivers) for name, source in document.sources.items()},
        work_units=document.work_units,
        connectors={name: _connector(target, connectors) for name, target in document.connectors.items()},
        calendars=document.calendars,
        mqtt=_mqtt(document.mqtt, document.gateway.id),
        api=document.api,
        alerts=document.alerts,
        buffer=document.buffer,
        reconciliation=document.reconciliation,
        retention=ages(document.retention, document.buffer),
        log=document.log,
        tests=document.tests,
        secrets=SecretStore(base_dir, env),
        digest=digest,
        warnings=tuple(notes),
        file=path,
        base_dir=base_dir,
        places=places.values,
    )


# Most of the time of a start. Nothing is kept for the next reload: it would be two megabytes for ever.
def _grammar(drivers: Mapping[str, PluginType], connectors: Mapping[str, PluginType]) -> TypeAdapter[Any]:
    return TypeAdapter(document_type(drivers, connectors))


def _described(
    drivers: Mapping[str, PluginType], connectors: Mapping[str, PluginType]
) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    document = document_type(drivers, connectors)
    adapter: TypeAdapter[Any] = TypeAdapter(document)
    return adapter, json_schema(document, adapter)


class _Places:
    """Where keys and values stand: in a file, or in a variable that overrides it."""

    def __init__(self, flat: Flat, overriding: Mapping[KeyPath, Place]) -> None:
        new = {path: place for path, place in overriding.items() if path not in flat.places}
        leaves = {path: place for path, place in overriding.items() if not isinstance(_at(flat.data, path), dict)}
        self.values: dict[KeyPath, Place] = flat.places | new | leaves
        self._keys = flat.key_places | new

    def of(self, complaint: Complaint) -> Place:
        """The place a complaint is about; of the nearest parent's key where nothing is written there."""
        if not complaint.about_key and complaint.path in self.values:
            return self.values[complaint.path]
        path = complaint.path
        while path and path not in self._keys:
            if path in self.values:
                return self.values[path]
            path = path[:-1]
        return self._keys.get(path) or self.values[()]

    def of_value(self, path: KeyPath) -> Place:
        """The place of a value."""
        return self.of(Complaint(path, about_key=False, text=""))


def _at(data: Any, path: KeyPath) -> Any:
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _used(plugins: Mapping[str, PluginType], data: dict[str, Any], section: str, key: str) -> Mapping[str, PluginType]:
    """The plugins that a section names; all of them where it names none or another."""
    parts = data.get(section)
    found = (
        [part.get(key) if isinstance(part, dict) else None for part in parts.values()]
        if isinstance(parts, dict)
        else []
    )
    if not found or not all(isinstance(name, str) and name in plugins for name in found):
        return plugins
    return {name: plugins[name] for name in plugins if name in found}


def _validated(data: dict[str, Any], adapter: TypeAdapter[Any]) -> tuple[Any, list[Any]]:
    # As JSON: there a list is a tuple and a word an enumeration's member, and still "1" is not 1 and true is not 1.
    try:
        return adapter.validate_json(json.dumps(data), strict=True), []
    except ValidationError as failure:
        return None, list(failure.errors(include_url=False))


def _with_ambiguous_words(
    failed: list[Complaint], words: dict[KeyPath, str], data: Any, schema: dict[str, Any]
) -> list[Complaint]:
    """Refuse ``off`` and the like wherever it is not one of the allowed words; that says more than a wrong type."""
    refused = {}
    for path, word in words.items():
        part = schema_at(schema, data, path)
        if failed and not part:
            continue  # below an unknown key, which is reported
        if word not in allowed_words(part, schema):
            text = f"found {shown(word, path)}: {AmbiguousWord.REFUSAL}"
            refused[path] = Complaint(path, about_key=False, text=text)
    return [complaint for complaint in failed if complaint.path not in refused] + list(refused.values())


def _ambiguous_words(data: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(data, AmbiguousWord):
        yield path, data
    elif isinstance(data, (dict, list)):
        for key, below in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _ambiguous_words(below, (*path, key))


def _reached(document: Any, path: KeyPath) -> Any:
    """What a key of the file has become in the document; None where that cannot be said."""
    at = document
    for key in path:
        if isinstance(at, dict):
            at = at.get(key)
        elif isinstance(at, tuple) and isinstance(key, int):
            at = at[key] if key < len(at) else None
        else:
            at = getattr(at, str(key), None)
    return at


def _looked_at_ns(drivers: Mapping[str, PluginType], source: Any, signal: str) -> int:
    looked_at_ns: Callable[[Any, str], int] | None = getattr(drivers[source.driver], "looked_at_ns", None)
    return 0 if looked_at_ns is None else looked_at_ns(source, signal)


def _told_every_ns(drivers: Mapping[str, PluginType], source: Any, signal: str) -> int | None:
    told_every_ns: Callable[[Any, str], int | None] | None = getattr(drivers[source.driver], "told_every_ns", None)
    return None if told_every_ns is None else told_every_ns(source, signal)


def _value_type(drivers: Mapping[str, PluginType], source: Any, signal: str) -> str | None:
    value_type: Callable[[Any, str], str | None] | None = getattr(drivers[source.driver], "value_type", None)
    return None if value_type is None else value_type(source, signal)


def _cycle_ns(drivers: Mapping[str, PluginType], source: Any) -> int:
    cycle_ns: Callable[[Any], int] | None = getattr(drivers[source.driver], "cycle_ns", None)
    return 0 if cycle_ns is None else cycle_ns(source)


def _signals(drivers: Mapping[str, PluginType], source: Any) -> Sequence[str]:
    """Names that rules may use: a driver may know more of them than its ``signals`` lists one by one."""
    known: Callable[[Any], Sequence[str]] | None = getattr(drivers[source.driver], "signals", None)
    return tuple(getattr(source, "signals", ())) if known is None else known(source)


def _source(combined: Any, drivers: Mapping[str, PluginType]) -> SourceSettings:
    common = {field.name: getattr(combined, field.name) for field in dataclasses.fields(SourceCommon)}
    own = own_settings(combined, drivers[combined.driver].settings)
    return SourceSettings(driver=combined.driver, driver_settings=own, **common)


def _connector(combined: Any, connectors: Mapping[str, PluginType]) -> ConnectorSettings:
    common = {field.name: getattr(combined, field.name) for field in dataclasses.fields(ConnectorCommon)}
    own = own_settings(combined, connectors[combined.connector].settings)
    return ConnectorSettings(connector=combined.connector, connector_settings=own, **common)


def _mqtt(mqtt: MqttSettings | None, gateway_id: str) -> MqttSettings | None:
    if mqtt is None or mqtt.client_id is not None:
        return mqtt
    return dataclasses.replace(mqtt, client_id=DEFAULT_CLIENT_ID.format(id=gateway_id))
