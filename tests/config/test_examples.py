"""The example and the starter pass with the real drivers and connectors, and the committed schema is theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import config
from config.errors import ConfigErrors
from config.loader import load
from config.schema import SCHEMA_FILE, schema_text
from drivers import digital_io, modbus, opcua
from gateway.connectors import business_central, d365, file, mqtt, rest, sap_idoc, sap_odata, tryton

FOLDER = Path(config.__file__).parent
DRIVERS = {plugin.name: plugin for plugin in (digital_io.PLUGIN, modbus.PLUGIN, opcua.PLUGIN)}
CONNECTORS = {
    plugin.name: plugin
    for plugin in (one.PLUGIN for one in (business_central, d365, file, mqtt, rest, sap_idoc, sap_odata, tryton))
}


@pytest.mark.parametrize("path", ["examples/demo.yaml", "examples/plant.yaml", "starter.yaml"])
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


def test_silence_shorter_than_the_scan_would_never_be_up(tmp_path):
    broken = tmp_path / "broken.yaml"
    example = (FOLDER / "examples" / "demo.yaml").read_text(encoding="utf-8")
    broken.write_text(example.replace("    scan: 250 ms\n", "    scan: 30 s\n    stale_after: 30 s\n"))
    with pytest.raises(ConfigErrors) as caught:
        load(broken, drivers=DRIVERS, connectors=CONNECTORS, env={})
    (error,) = caught.value.errors
    assert (error.path, error.text) == (
        "sources.asm.stale_after",
        "found '30 s', allowed: more than '30 s', the time between two readings",
    )
