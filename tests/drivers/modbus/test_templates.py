"""Every template loads, plans, and reads a register image that is made from its manual's facts by hand."""

from pathlib import Path

import pytest
import yaml

from config.loader import load
from drivers.modbus import PLUGIN
from drivers.modbus.plan import Limits, fields_of, plan
from drivers.modbus.registers import decoder
from gateway.connectors import file

TEMPLATES = sorted(PLUGIN.templates.glob("*.yaml"))
ARGUMENTS = {"seneca_z_d_in": {"device": "/dev/ttyUSB0", "counter_1": 2}, "wago_750": {"counter": 4, "inputs": 8}}


@pytest.fixture
def configured(tmp_path):
    """A whole configuration with a template and the rules that it proposes, loaded as the daemon does."""

    def make(name, **extra):
        reached = {} if name == "seneca_z_d_in" else {"host": "192.0.2.1"}
        document = {
            "gateway": {"id": "g", "plant": "P", "state_dir": "state"},
            "sources": {
                "io": {
                    "driver": "modbus",
                    **reached,
                    **extra,
                    "template": {"name": name, "with": ARGUMENTS.get(name, {})},
                }
            },
            "connectors": {"erp": {"connector": "file", "folder": "share"}},
            "work_units": yaml.safe_load(text_of(name).replace("{source}", "io")),
        }
        path = tmp_path / "linegate.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return load(path, drivers={"modbus": PLUGIN}, connectors={"file": file.PLUGIN}, env={})

    return make


def text_of(name):
    return yaml.safe_load((PLUGIN.templates / f"{name}.yaml").read_text(encoding="utf-8"))["work_unit"]


def read(settings, memory):
    """All values of a source from a memory (table to address to word)."""
    found = {}
    for request in plan(fields_of("io", settings), Limits.of(settings)):
        words = [memory.get(request.table, {}).get(request.address + i, 0) for i in range(request.length)]
        found |= zip((f.name for f in request.fields), decoder(request, request.fields)(words), strict=True)
    return {name.removeprefix("io."): value for name, value in found.items()}


@pytest.mark.parametrize("name", [path.stem for path in TEMPLATES])
def test_a_template_loads_plans_and_its_rules_name_its_signals(configured, name):
    loaded = configured(name)
    settings = loaded.sources["io"].driver_settings
    assert len(PLUGIN.describe(settings)) == len(settings.signals)
    assert len(plan(fields_of("io", settings), Limits.of(settings))) <= 6
    (unit,) = loaded.work_units.values()
    assert unit.counters
    for rule in unit.counters:
        signal = settings.signals[rule.signal.removeprefix("io.")]
        assert rule.modulus == 2 ** (16 * signal.width_in(settings.place_of(signal).table))


def test_adam_6050_low_word_first(configured):
    memory = {"holding": {0: 0x0005, 1: 0x0001, 22: 7, 23: 2}, "coil": {32: True, 76: True}}
    found = read(configured("advantech_adam6050").sources["io"].driver_settings, memory)
    assert found["counter_0"] == 65_541, "40002 x 65536 + 40001"
    assert found["counter_11"] == 2 * 65_536 + 7
    assert [name for name, value in found.items() if value is True] == ["counting_0", "counting_11"]
    assert len(found) == 24


def test_iologik_e1210_high_word_first(configured):
    memory = {
        "input": {16: 0x0001, 17: 0x0005, 46: 2, 47: 7, 48: 0x8001},
        "discrete": {0: True, 15: True, 1_003: True},
        "coil": {256: True},
    }
    found = read(configured("moxa_iologik_e1210").sources["io"].driver_settings, memory)
    assert (found["counter_0"], found["counter_15"], found["inputs"]) == (65_541, 131_079, 0x8001)
    raised = {name for name, value in found.items() if value is True}
    # 11001 is what the manual prints for offset 1000: the table's own numbering starts at 10001.
    assert raised == {"input_0", "input_15", "overflow_3", "counting_0"}


def test_wago_750_at_its_place_in_the_process_image(configured):
    memory = {"input": {4: 0x7F03, 5: 0x0005, 6: 0x0001, 7: 9}, "discrete": {8: True, 23: True}}
    found = read(configured("wago_750").sources["io"].driver_settings, memory)
    assert (found["m404_status"], found["m404_count"]) == (3, 65_541)
    assert (found["m404_5_count_1"], found["m404_5_count_2"]) == (5, 1)
    assert (found["m638_status_1"], found["m638_count_1"], found["m638_count_2"]) == (3, 5, 9)
    assert {name for name, value in found.items() if value is True} == {"input_0", "input_15"}


def test_seneca_z_d_in(configured):
    memory = {"holding": {0: 10, 1: 0b1_0000_0001_1101, 2: 65_535, 6: 3}}
    settings = configured("seneca_z_d_in").sources["io"].driver_settings
    found = read(settings, memory)
    assert settings.transport == "rtu"
    assert [found[f"input_{n}"] for n in range(1, 6)] == [True, False, True, True, True], "the manual's example, 29"
    assert [found[f"overflow_{n}"] for n in range(1, 6)] == [False, False, False, False, True]
    assert (found["machine_id"], found["counter_1"], found["counter_5"]) == (10, 65_535, 3)


def test_the_readme_lists_every_template():
    text = (Path(PLUGIN.templates).parent / "README.md").read_text(encoding="utf-8")
    for path in TEMPLATES:
        assert f"`{path.stem}`" in text


def test_the_places_of_a_coupler_do_not_follow_the_way_numbers_are_meant(configured):
    def places(**extra):
        settings = configured("wago_750", **extra).sources["io"].driver_settings
        return {field.name: (field.table, field.address) for field in fields_of("io", settings)}

    assert places()["io.m404_status"] == ("input", 4)
    assert places()["io.m404_count"] == ("input", 5)
    assert places()["io.input_0"] == ("discrete", 8)
    assert places(addressing="one_based") == places()
