"""Every template is loaded as the daemon does it, and reads a machine that has the nodes of its specification."""

import struct
import textwrap
from pathlib import Path

import pytest
import yaml
from asyncua import ua
from asyncua.common.structures104 import new_struct, new_struct_field

from config.loader import load
from drivers.opcua import PLUGIN
from drivers.opcua.address import KNOWN_NAMESPACES
from gateway.connectors import file

TEMPLATES = sorted(path.stem for path in PLUGIN.templates.glob("*.yaml"))
MACHINES = {
    "packml": "/Objects/packml:PackMLObjects/m:Line1",
    "machinery": "/Objects/machinery:Machines/m:Press",
    "euromap83": "nsu=m;s=Press.Interface",
    "weihenstephan": "/Objects/m:Filler",
}
#: What the machine shows, and what comes out; the rest is zero.
SHOWN = {
    "packml": {
        "processed": 2_000_000_000, "processed_of_job": 17, "defective": 4, "defective_of_job": 1, "state": "Execute",
        "mode": 0, "speed": 36.5, "blocked": False, "starved": True,
    },
    "machinery": {"state": "Executing", "mode": "Processing", "cycles": 2**32 - 1, "power_on": 5.0, "operating": 4.0},
    "euromap83": {
        "cycles": 2**63 + 1, "good_of_job": 80, "bad_of_job": 3, "samples_of_job": 2, "cycle_time": 18_000.0,
        "job_status": 6, "mode": 1, "production": 4,
    },
    "weihenstephan": {"good": 5_000, "bad": 6, "state": 128, "mode": 8, "program": 1},
}  # fmt: skip


@pytest.fixture
def loaded(tmp_path):
    """The settings of a source with a template, in a whole configuration with the rules that it proposes."""

    def make(name, port=4840):
        raw = yaml.safe_load((PLUGIN.templates / f"{name}.yaml").read_text())
        document = {
            "gateway": {"id": "g", "plant": "P", "state_dir": "state"},
            "sources": {
                "line": {
                    "driver": "opcua",
                    "endpoint": f"opc.tcp://127.0.0.1:{port}",
                    "security": "none",
                    "publish": "50 ms",
                    "namespaces": {"m": "http://linegate.test/machine"},
                    "template": {"name": name, "with": {"machine": MACHINES[name]}},
                }
            },
            "connectors": {"erp": {"connector": "file", "folder": "share"}},
        }
        path = tmp_path / "linegate.yaml"
        rules = textwrap.indent(raw["work_unit"].replace("{source}", "line"), "  ")  # copied, as a person would
        path.write_text(f"{yaml.safe_dump(document, sort_keys=False)}work_units:\n{rules}")
        return load(path, drivers={"opcua": PLUGIN}, connectors={"file": file.PLUGIN}, env={})

    return make


class Plant:
    """A server with the namespaces of the templates, and the objects and variables that addresses name."""

    def __init__(self, server):
        self.server, self.core = server, server._server
        self.spaces = {uri: server.call(self.core.register_namespace(uri)) for uri in KNOWN_NAMESPACES.values()}
        self.spaces["http://linegate.test/machine"] = server.index
        self.press = server.call(self.core.nodes.objects.add_object(ua.NodeId("Press.Interface", server.index), "2:P"))
        fields = [new_struct_field("ID", ua.VariantType.Int32), new_struct_field("Name", ua.VariantType.String)]
        fields += [new_struct_field(name, ua.VariantType.Int32) for name in ("Count", "AccCount")]
        packml = self.spaces[KNOWN_NAMESPACES["packml"]]
        self.count_type, (encoding,) = server.call(new_struct(self.core, packml, "PackMLCountDataType", fields))
        self.encoding = encoding.nodeid

    def counts(self, job, total):
        bodies = [struct.pack("<iiii", 1, -1, *pair) for pair in ((job, total), (0, 0))]
        return [ua.ExtensionObject(TypeId=self.encoding, Body=body) for body in bodies]

    def build(self, address, value, datatype=None):
        """The objects on the way and the variable at its end; one that is there stays."""
        self.server.call(self._build(address, value, datatype))

    async def _build(self, address, value, datatype):
        node = self.core.nodes.root if address.node == "i=84" else self.press
        for number, element in enumerate(address.path):
            name = ua.QualifiedName(element.name, 0 if element.uri is None else self.spaces[element.uri])
            found = [child for child in await node.get_children() if await child.read_browse_name() == name]
            if found:
                node = found[0]
            elif number + 1 < len(address.path):
                node = await node.add_object(ua.NodeId(0, name.NamespaceIndex or 1), name)
            else:
                node = await node.add_variable(ua.NodeId(0, name.NamespaceIndex or 1), name, value, datatype=datatype)


@pytest.fixture(scope="module")
def plant(server):
    return Plant(server)


def value_of(name, signal, shown, plant):
    if name == "packml" and signal in {"processed", "defective"}:
        return plant.counts(shown[f"{signal}_of_job"], shown[signal]), plant.count_type.nodeid
    value = shown[signal]
    if isinstance(value, str):
        return ua.LocalizedText(value, "en"), None
    kind = ua.VariantType.UInt64 if isinstance(value, int) and not isinstance(value, bool) else None
    return ua.Variant(value, kind), None


@pytest.mark.parametrize("name", TEMPLATES)
async def test_a_template_reads_its_machine(plant, loaded, context, first_values, tmp_path, name):
    settings = loaded(name, plant.server.port).sources["line"].driver_settings
    shown = SHOWN[name]
    assert set(shown) | {"started"} == set(settings.signals), "the table above names every signal"
    for signal in shown:
        if not (name == "packml" and signal.endswith("_of_job")):
            plant.build(settings.address(settings.signals[signal]), *value_of(name, signal, shown, plant))
    driver = PLUGIN.build(settings, context("imm", settings.signals, (), tmp_path))
    await driver.open()
    try:
        found = await first_values(driver.readings(), *settings.signals)
        assert driver.problems() == {}
    finally:
        await driver.close()
    assert found.pop("started").startswith("20")
    assert found == shown


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_rules_of_a_template_know_every_state_that_it_maps(loaded, name):
    settings = loaded(name)
    (rules,) = settings.work_units.values()
    assert rules.state.signal.removeprefix("line.") in settings.sources["line"].driver_settings.signals
    assert str(SHOWN[name][rules.state.signal.removeprefix("line.")]) in rules.state.map


def test_the_state_of_packml_may_be_one_number(loaded, tmp_path):
    loaded("packml")
    path = tmp_path / "linegate.yaml"
    text = path.read_text().replace(
        "machine: /Objects/p", "state: packml:Status/packml:StateCurrent\n        machine: /Objects/p"
    )
    path.write_text(text)
    settings = load(path, drivers={"opcua": PLUGIN}, connectors={"file": file.PLUGIN}, env={}).sources["line"]
    assert settings.driver_settings.signals["state"].path == "packml:Status/packml:StateCurrent"


def test_the_readme_lists_every_template():
    text = (Path(PLUGIN.templates).parent / "README.md").read_text(encoding="utf-8")
    for name in TEMPLATES:
        assert f"`{name}`" in text
