"""The example and the starter pass with the real drivers and connectors, and the committed schema is theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import config
from config.loader import load
from config.schema import SCHEMA_FILE, schema_text
from drivers import digital_io, modbus, opcua
from gateway.connectors import file, rest

FOLDER = Path(config.__file__).parent
DRIVERS = {plugin.name: plugin for plugin in (digital_io.PLUGIN, modbus.PLUGIN, opcua.PLUGIN)}
CONNECTORS = {plugin.name: plugin for plugin in (file.PLUGIN, rest.PLUGIN)}


@pytest.mark.parametrize("path", ["examples/demo.yaml", "starter.yaml"])
def test_it_passes(path):
    settings = load(FOLDER / path, drivers=DRIVERS, connectors=CONNECTORS, env={})
    assert settings.warnings == ()
    for source in settings.sources.values():
        assert len(DRIVERS[source.driver].describe(source.driver_settings)) >= len(source.driver_settings.signals)
    for target in settings.connectors.values():
        assert CONNECTORS[target.connector].describe(target.connector_settings)


def test_the_committed_schema_is_current():
    committed = SCHEMA_FILE.read_text(encoding="utf-8")
    current = schema_text(DRIVERS, CONNECTORS)
    assert json.loads(committed) == json.loads(current), "run: linegate schema > config/linegate.schema.json"
    assert committed == current
