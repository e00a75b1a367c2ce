import textwrap
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from config.loader import load
from gateway import plugins
from gateway.connectors import business_central, d365, file, mqtt, rest, sap_idoc, sap_odata, tryton

COMMON = {"poll_orders"}  # keys of every connector, which the configuration handles
ROOT = Path(rest.__file__).parents[3]
MODULES = (business_central, d365, file, mqtt, rest, sap_idoc, sap_odata, tryton)
TYPES = {one.PLUGIN.name: one.PLUGIN for one in MODULES}
PATHS = [
    "config/examples/demo.yaml",
    "gateway/connectors/rest/kingdee.sample.yaml",
    *(f"gateway/connectors/{name}/sample.yaml" for name in TYPES),
]


@pytest.mark.parametrize("path", PATHS)
def test_samples_are_valid_settings(path):
    for image in yaml.safe_load((ROOT / path).read_text())["connectors"].values():
        plugin = TYPES[image["connector"]]
        own = {name: value for name, value in image.items() if name not in COMMON}
        settings = TypeAdapter(plugin.settings).validate_python(own)
        assert plugin.name == image["connector"]
        assert plugin.describe(settings)


def checked(folder, connectors):
    """What ``linegate check`` reads: the text of a sample behind that of a machine, not what YAML makes of it."""
    gateway = "gateway: { id: g, plant: P, state_dir: state }\n"
    unit = "{ work_center: W, ideal_cycle: 2 s, counters: [{ mode: counter, signal: press.good }] }"
    sources = (ROOT / "drivers/modbus/sample.yaml").read_text(encoding="utf-8")
    path = folder / "linegate.yaml"
    path.write_text(f"{gateway}{sources}\nwork_units:\n  P-1: {unit}\n{connectors}", encoding="utf-8")
    return load(path, drivers=plugins.drivers(), connectors=plugins.connectors(), env={})


@pytest.mark.parametrize("path", PATHS[1:])
def test_a_sample_behind_a_machine_passes_the_check(path, tmp_path):
    text = (ROOT / path).read_text(encoding="utf-8")
    settings = checked(tmp_path, text)
    assert settings.warnings == ()
    assert set(settings.connectors) == set(yaml.safe_load(text)["connectors"])


def test_the_sample_of_a_mapping_passes_the_check_in_a_connector(tmp_path):
    mapping = (ROOT / "gateway/connectors/mapping/sample.yaml").read_text(encoding="utf-8")
    files = "    connector: file\n    format: csv\n    folder: exchange\n"
    settings = checked(tmp_path, f"connectors:\n  erp:\n{files}{textwrap.indent(mapping, '    ')}")
    assert settings.warnings == ()


def test_every_sample_is_looked_at():
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / "gateway/connectors").rglob("*sample.yaml")}
    assert found == {*PATHS[1:], "gateway/connectors/mapping/sample.yaml"}


@pytest.mark.parametrize("name", TYPES)
def test_every_setting_is_in_the_readme(name):
    text = (ROOT / "gateway" / "connectors" / name / "README.md").read_text()
    keys = {field.name for field in fields(TYPES[name].settings)} - {"connector"}
    assert {key for key in keys if f"`{key}`" not in text} == set()


def test_importing_a_connector_is_cheap():
    import subprocess
    import sys

    modules = ", ".join(f"gateway.connectors.{name}" for name in TYPES)
    script = f"import sys, {modules}; print('httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"
