"""Writes the list of keys in this folder's README from the settings classes, so that it cannot be wrong.

Keys of single drivers and connectors stand in their own READMEs. ``python -P -m config.reference`` updates the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from config.grammar import class_schema, document_type, json_schema
from config.settings import ConnectorCommon, SourceCommon
from config.templates import Template

README: Final = Path(__file__).with_name("README.md")
BEGIN: Final = "<!-- keys: begin (written by config/reference.py) -->"
END: Final = "<!-- keys: end -->"

_REFERENCE: Final = "#/$defs/"
_WORK_UNITS: Final = (
    ("work_units.ID", "WorkUnitRules"),
    ("work_units.ID.counters[] with mode: counter", "CounterRule"),
    ("work_units.ID.counters[] with mode: pulse", "PulseRule"),
    ("work_units.ID.counters[] with mode: start_end", "StartEndRule"),
    ("work_units.ID.counters[] with mode: analog", "AnalogRule"),
    ("work_units.ID.counters[] with mode: part_result", "PartResultRule"),
    ("results of mode: start_end or part_result", "ResultRule"),
    ("work_units.ID.counters[] with mode: roles", "RolesRule"),
    ("work_units.ID.counters[] with mode: packml", "PackmlRule"),
    ("work_units.ID.counters[] with mode: cavity", "CavityRule"),
    ("closed[] of mode: cavity", "ClosedCavity"),
    ("work_units.ID.counters[] with mode: units", "UnitsRule"),
    ("work_units.ID.counters[] with mode: weighing", "WeighingRule"),
    ("work_units.ID.orders", "OrderRule"),
    ("work_units.ID.orders.guards", "GuardRule"),
    ("work_units.ID.confirm", "ConfirmRule"),
    ("work_units.ID.confirm.delivery", "DeliveryRule"),
    ("work_units.ID.confirm.checklist", "ChecklistRule"),
    ("work_units.ID.unallocated", "UnallocatedRule"),
    ("work_units.ID.state", "StateRule"),
    ("work_units.ID.state.running", "RunningRule"),
    ("work_units.ID.state.data_loss", "DataLossRule"),
    ("work_units.ID.state.reasons", "StopReasonRule"),
    ("work_units.ID.state.setup", "SetupRule"),
    ("work_units.ID.state.time_model", "TimeModelRule"),
    ("work_units.ID.reasons", "OfferedReasonsRule"),
    ("work_units.ID.work", "WorkRule"),
    ("work_units.ID.work.times", "ActivityRule"),
    ("work_units.ID.work.labour", "LabourRule"),
    ("work_units.ID.work.backflush", "BackflushRule"),
    ("work_units.ID.work.lots", "LotRule"),
    ("work_units.ID.work.lots.feeders.NAME", "FeederRule"),
)
_REST: Final = (
    ("calendars.NAME", "CalendarRule"),
    ("calendars.NAME.shifts.NAME", "ShiftRule"),
    ("breaks[] of a shift", "BreakRule"),
    ("calendars.NAME.exceptions[]", "ExceptionRule"),
    ("mqtt", "MqttSettings"),
    ("mqtt.tls", "TlsSettings"),
    ("any secret (mqtt.password ...)", "SecretRef"),
    ("api", "ApiSettings"),
    ("api.tls", "ApiTlsSettings"),
    ("alerts", "AlertSettings"),
    ("alerts.channels.NAME", "ChannelSettings"),
    ("buffer", "BufferSettings"),
    ("buffer.backup", "BackupSettings"),
    ("buffer.telemetry", "EventBufferSettings"),
    ("retention", "RetentionRule"),
    ("reconciliation", "ReconciliationSettings"),
    ("log", "LogSettings"),
    ("tests.NAME", "RuleTest"),
    ("tests.NAME.series[]", "Series"),
    ("tests.NAME.orders[]", "OrderGiven"),
    ("tests.NAME.decisions[]", "DecisionGiven"),
    ("tests.NAME.expect[]", "Expectation"),
    ("tests.NAME.confirmations[]", "ExpectedConfirmation"),
)


_KINDS: Final = {
    "string": "text",
    "integer": "whole number",
    "boolean": "true or false",
    "array": "list",
    "object": "mapping",
}


def keys_text() -> str:
    """Markdown tables of every key that is the same in every installation."""
    schema = json_schema(document_type({}, {}))
    defs = dict(schema["$defs"])
    for common in (SourceCommon, ConnectorCommon):
        part = class_schema(common)
        defs |= {common.__name__: part, **part.get("$defs", {})}
    defs["Template"] = class_schema(Template)
    defs |= defs["Template"]["$defs"]
    sections = [
        ("gateway", "GatewaySettings"),
        ("sources.NAME (besides the driver's own keys)", "SourceCommon"),
        ("sources.NAME.template", "TemplateUse"),
        *_WORK_UNITS,
        ("connectors.NAME (besides the connector's own keys)", "ConnectorCommon"),
        *_REST,
        ("a template file", "Template"),
        ("a template file: parameters.NAME", "TemplateParameter"),
    ]
    return "\n".join(_table(title, defs[name], defs) for title, name in sections)


def readme_with_keys(text: str) -> str:
    """The README's text with its list of keys renewed. Raises ValueError where the two marks are missing."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{README.name}: the marks {BEGIN!r} and {END!r} are missing; put them back")
    return f"{head}{BEGIN}\n\n{keys_text()}\n{END}{tail}"


def _table(title: str, part: dict[str, Any], defs: dict[str, Any]) -> str:
    lines = [f"### {title}", "", "| Key | Allowed | Default | Meaning |", "| --- | --- | --- | --- |"]
    required = part.get("required", ())
    for key, below in part["properties"].items():
        default = "*required*" if key in required else _default(below.get("default"))
        cells = (
            f"`{key}`",
            _kind(below, defs),
            default,
            below.get("description", "").replace("``", "`").replace("|", "\\|"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _default(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "see there"
    if value is None or value in ([], {}):
        return "none"
    return f"`{json.dumps(value)}`" if isinstance(value, bool) or value == "" else f"`{value}`"


def _kind(part: dict[str, Any], defs: dict[str, Any]) -> str:
    while "$ref" in part:
        part = defs[part["$ref"].removeprefix(_REFERENCE)]
    options = [option for option in part.get("anyOf", part.get("oneOf", ())) if option.get("type") != "null"]
    if options:
        return " or ".join(dict.fromkeys(_kind(option, defs) for option in options))
    words = [*part.get("enum", ()), *([part["const"]] if "const" in part else [])]
    if words:
        return ", ".join(f"`{word}`" for word in words)
    if "minimum" in part and "maximum" in part:
        return f"{part['minimum']} to {part['maximum']}"
    if "examples" in part:
        return f"with unit, such as `{part['examples'][0]}`"
    return _KINDS.get(part.get("type", ""), "number")


if __name__ == "__main__":
    README.write_text(readme_with_keys(README.read_text(encoding="utf-8")), encoding="utf-8")
