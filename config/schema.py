"""The JSON Schema of a configuration file, for editors and for other programs.

The types of drivers and connectors are given; this package knows none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from config.grammar import document_type, json_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config.grammar import PluginType

SCHEMA_FILE: Final = Path(__file__).with_name("linegate.schema.json")
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def document_schema(drivers: Mapping[str, PluginType], connectors: Mapping[str, PluginType]) -> dict[str, Any]:
    """The schema of the whole document; the same types give the same schema."""
    schema = json_schema(document_type(drivers, connectors))
    return {"$schema": DIALECT, "title": "linegate configuration", **{k: v for k, v in schema.items() if k != "title"}}


def schema_text(drivers: Mapping[str, PluginType], connectors: Mapping[str, PluginType]) -> str:
    """The schema as the committed file holds it."""
    return json.dumps(document_schema(drivers, connectors), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
