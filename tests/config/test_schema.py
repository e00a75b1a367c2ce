from __future__ import annotations

import json

from config.grammar import attribute_texts, document_type, json_schema
from config.reference import README, readme_with_keys
from config.schema import document_schema, schema_text
from gateway.core.rules import OrderRule


def test_descriptions_come_from_the_docstrings(drivers, connectors):
    schema = document_schema(drivers, connectors)
    press = schema["$defs"]["press_driver"]["properties"]
    assert press["host"]["description"] == "address of the press."
    assert press["backoff_max"]["description"].endswith("Allowed: 1 s to 15 min.")
    assert press["backoff_max"]["default"] == "1 min"
    assert schema["properties"]["mqtt"]["description"].startswith("The broker")
    assert set(schema["properties"]) == {
        "gateway", "sources", "work_units", "connectors", "calendars", "mqtt", "api", "alerts", "buffer", "retention",
        "reconciliation", "log", "tests", "include",
    }  # fmt: skip
    assert schema["$defs"]["press_driver"]["additionalProperties"] is False


def test_sources_are_told_apart_by_their_driver(drivers, connectors):
    sources = document_schema(drivers, connectors)["properties"]["sources"]
    (branch,) = sources["patternProperties"].values()
    assert branch["discriminator"]["mapping"] == {"press": "#/$defs/press_driver", "switch": "#/$defs/switch_driver"}


def test_the_text_is_the_same_every_time(drivers, connectors):
    assert schema_text(drivers, connectors) == schema_text(drivers, connectors)
    assert json.loads(schema_text(drivers, connectors))["title"] == "linegate configuration"


def test_attribute_texts_join_their_lines():
    assert attribute_texts(OrderRule)["choose"].endswith("``command``: a person starts it.")


def test_the_readme_lists_every_key():
    text = README.read_text(encoding="utf-8")
    assert readme_with_keys(text) == text, "run: python -P -m config.reference"


def test_no_mapping_is_missing_in_the_readme():
    lines = README.read_text(encoding="utf-8").splitlines()
    for name, part in json_schema(document_type({}, {}))["$defs"].items():
        for key, below in part.get("properties", {}).items():
            said = below.get("description", "").replace("``", "`").replace("|", "\\|")
            rows = [line for line in lines if line.startswith(f"| `{key}` |") and line.endswith(f"| {said} |")]
            assert rows, f"{name}.{key}: in no table; name its class in config/reference.py"


def test_a_default_with_a_unit_is_what_one_would_write(drivers, connectors):
    state = document_schema(drivers, connectors)["$defs"]["StateRule"]["properties"]
    assert (state["slow"]["default"], state["micro_stop_max"]["default"]) == ("120 %", "5 min")
