"""The grammar of the whole document, put together from this package's settings and the given drivers and connectors.

Builds types and JSON Schema from them; validates nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

from pydantic import Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from config.alert_settings import AlertSettings
from config.api_settings import ApiSettings
from config.bytesize import ByteSize
from config.settings import (
    CALENDARS_MAX,
    CONNECTORS_MAX,
    SOURCES_MAX,
    TESTS_MAX,
    WORK_UNITS_MAX,
    BufferSettings,
    ConnectorCommon,
    GatewaySettings,
    LogSettings,
    MqttSettings,
    Name,
    ReconciliationSettings,
    SourceCommon,
    TestName,
)
from gateway.core.duration import Duration
from gateway.core.rules import FORBID_UNKNOWN_KEYS, WorkUnitRules
from gateway.core.rules_calendar import CalendarRule
from gateway.core.rules_confirming import RetentionRule
from gateway.core.state.cycle_limit import CycleLimit
from gateway.core.tagged import TaggedBy
from gateway.trial.cases import RuleTest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import core_schema

OPTIONAL_SECTIONS: Final = (
    "calendars",
    "mqtt",
    "api",
    "alerts",
    "buffer",
    "retention",
    "reconciliation",
    "log",
    "tests",
)
SECTIONS: Final = ("gateway", "sources", "work_units", "connectors", *OPTIONAL_SECTIONS)

_ATTRIBUTE = re.compile(r"(\w+): (.*)")
_SECTION_TEXTS: Final = {
    "gateway": "Who this gateway is.",
    "sources": "Where values come from; a signal is called source.name in the rules.",
    "work_units": "What the values mean, machine by machine.",
    "connectors": "Where orders come from and confirmations go to.",
    "calendars": "When machines are meant to work; a work unit names its own.",
    "mqtt": "The broker; without this section nothing is published.",
    "api": "The local HTTP API; without this section nothing listens.",
    "alerts": "Who is told of what needs a person; without this section nobody is.",
    "buffer": "How much is kept on disk, and how long.",
    "retention": "How long records are kept after they are closed; the audit trail and what is not acknowledged stay.",
    "reconciliation": "When confirmations are compared with what the ERPs have booked.",
    "log": "What the gateway says about itself.",
    "tests": "What must come of the rules; run by linegate test, ignored by the gateway.",
    "include": "Further files or patterns, relative to this file; a name may stand in one file only.",
}


class PluginType(Protocol):
    """What the grammar needs to know of a driver or a connector."""

    @property
    def name(self) -> str:
        """The word in the file."""

    @property
    def settings(self) -> type[Any]:
        """A frozen dataclass with a Literal of that word."""


def document_type(drivers: Mapping[str, PluginType], connectors: Mapping[str, PluginType]) -> type[Any]:
    """The class of the whole document (without ``include``, which is resolved before).

    Raises TypeError for settings classes that are no frozen dataclasses with the right Literal.
    """
    sources = _one_of(drivers, SourceCommon, "driver")
    targets = _one_of(connectors, ConnectorCommon, "connector")
    return dataclasses.make_dataclass(
        "Document",
        [
            ("gateway", GatewaySettings),
            ("sources", Annotated[dict[Name, sources], Field(min_length=1, max_length=SOURCES_MAX)]),  # type: ignore[valid-type]  # a type made at run time
            ("work_units", Annotated[dict[Name, WorkUnitRules], Field(min_length=1, max_length=WORK_UNITS_MAX)]),
            ("connectors", Annotated[dict[Name, targets], Field(min_length=1, max_length=CONNECTORS_MAX)]),  # type: ignore[valid-type]  # a type made at run time
            (
                "calendars",
                Annotated[dict[Name, CalendarRule], Field(max_length=CALENDARS_MAX)],
                dataclasses.field(default_factory=dict),
            ),
            ("mqtt", MqttSettings | None, None),
            ("api", ApiSettings | None, None),
            ("alerts", AlertSettings | None, None),
            ("buffer", BufferSettings, BufferSettings()),
            ("retention", RetentionRule | None, None),
            ("reconciliation", ReconciliationSettings, ReconciliationSettings()),
            ("log", LogSettings, LogSettings()),
            (
                "tests",
                Annotated[dict[TestName, RuleTest], Field(max_length=TESTS_MAX)],
                dataclasses.field(default_factory=dict),
            ),
        ],
        frozen=True,
        kw_only=True,
        namespace={"__pydantic_config__": FORBID_UNKNOWN_KEYS, "__doc__": "Configuration of a linegate gateway."},
    )


def json_schema(document: type[Any], adapter: TypeAdapter[Any] | None = None) -> dict[str, Any]:
    """JSON Schema of the document, ``include`` added, descriptions taken from docstrings.

    ``adapter``: that of the document, where there is one already; to make it takes as long as the rest.
    """
    schema = class_schema(document, adapter)
    properties = schema["properties"]
    properties["include"] = {"type": "array", "items": {"type": "string"}, "default": []}
    for section, text in _SECTION_TEXTS.items():
        properties[section]["description"] = text
    for part in schema.get("$defs", {}).values():
        _leave_open_what_a_template_gives(part)
    # A file may hold some sections and leave the others to the files it includes.
    schema["anyOf"] = [{"required": schema.pop("required")}, {"required": ["include"]}]
    return schema


def class_schema(cls: type[Any], adapter: TypeAdapter[Any] | None = None) -> dict[str, Any]:
    """JSON Schema of one settings class, with descriptions; ``adapter`` as that of ``json_schema``."""
    return (adapter or TypeAdapter(cls)).json_schema(schema_generator=_Describing, mode="validation")


def attribute_texts(cls: type[Any]) -> dict[str, str]:
    """What the docstrings of a class and its bases say about each attribute, on one line."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        name = None
        _, _, listed = (base.__dict__.get("__doc__") or "").partition("Attributes:\n")
        for line in inspect.cleandoc("x\n" + listed).split("\n")[1:]:
            match = _ATTRIBUTE.fullmatch(line)
            if match:
                name = match[1]
                texts[name] = match[2]
            elif name and line.startswith(" "):
                texts[name] += " " + line.strip()
            else:
                name = None
    return texts


def own_settings(combined: Any, settings: type[Any]) -> Any:
    """The plugin's own settings object, out of one that carries the common keys too."""
    return settings(
        **{field.name: getattr(combined, field.name) for field in dataclasses.fields(settings) if field.init}
    )


def _leave_open_what_a_template_gives(part: dict[str, Any]) -> None:
    """A source with a template need not write the driver's keys itself; an editor must not ask for them."""
    if not {"driver", "template"} <= set(part.get("properties", ())):
        return
    own = [key for key in part.get("required", ()) if key != "driver"]
    part["required"] = ["driver"]
    if own:
        part["anyOf"] = [{"required": own}, {"required": ["template"]}]


class _Describing(GenerateJsonSchema):
    """JSON Schema with descriptions; a type that cannot be expressed allows anything instead of failing."""

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        result = super().dataclass_schema(schema)
        texts = attribute_texts(schema["cls"])
        for name, below in result.get("properties", {}).items():
            if below.get("default") == 0 and below.get("minimum", 0) > 0:
                del below["default"]  # it only stands for one that depends on other keys
            bounds = _comment(below)
            text = texts.get(name, "")
            if text or bounds:
                below["description"] = f"{text} Allowed: {bounds}.".strip() if bounds else text
        result["description"] = (schema["cls"].__doc__ or "").partition("\n")[0]
        return result

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        del schema, error_info
        return {}

    def encode_default(self, dft: Any) -> Any:
        if dft is None or type(dft) in (bool, int, float, str):
            return dft  # as it is: the general way makes an adapter for each of hundreds of defaults
        with_unit = isinstance(dft, (Duration, ByteSize, CycleLimit))
        return str(dft) if with_unit else super().encode_default(dft)


def _comment(schema: dict[str, Any]) -> str:
    for candidate in (schema, *schema.get("anyOf", ())):
        if "$comment" in candidate:
            return str(candidate["$comment"])
    return ""


def _one_of(plugins: Mapping[str, PluginType], common: type[Any], key: str) -> Any:
    if not plugins:
        return dict[str, Any]
    classes = [_with_common_keys(plugin, common, key) for plugin in plugins.values()]
    return Annotated[functools.reduce(operator.or_, classes), TaggedBy(key)]


def _with_common_keys(plugin: PluginType, common: type[Any], key: str) -> Any:
    settings = plugin.settings
    if not dataclasses.is_dataclass(settings) or key not in {field.name for field in dataclasses.fields(settings)}:
        raise TypeError(f"{key} {plugin.name!r}: {settings!r} must be a frozen dataclass with a field {key!r}")
    return dataclasses.make_dataclass(
        f"{plugin.name}_{key}",
        (),
        # The common keys stand first in the order of resolution only where the plugin does not declare them itself.
        bases=(settings, common),
        frozen=True,
        kw_only=True,
        namespace={"__pydantic_config__": FORBID_UNKNOWN_KEYS, "__doc__": settings.__doc__},
    )
