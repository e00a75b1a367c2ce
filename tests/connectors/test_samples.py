from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

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
