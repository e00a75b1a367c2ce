"""What ``linegate template`` prints can be copied into a configuration that passes the check."""

import json
import textwrap

import pytest
import yaml

from gateway.cli import main

HEAD = """
gateway: { id: box-1, plant: P1, state_dir: state }
connectors:
  erp: { connector: rest, url: "http://127.0.0.1:18080" }
"""
WHERE = {
    "modbus": {"host": "192.0.2.10"},
    "opcua": {"endpoint": "opc.tcp://192.0.2.10:4840", "security": "none"},
}
#: Something that a parameter without a default can be.
GIVEN = {"modbus": '"40003"', "opcua": "i=85"}


def printed(capsys, *arguments):
    assert main(["template", *arguments]) == 0
    return capsys.readouterr().out


def test_the_list_names_driver_and_device(capsys):
    text = printed(capsys, "list")
    assert "moxa_iologik_e1210  modbus" in text
    assert "packml              opcua " in text
    listed = json.loads(printed(capsys, "list", "--json"))
    assert len(listed) == len(text.splitlines())
    assert {"name": "seneca_z_d_in", "driver": "modbus"}.items() <= listed[2].items()


def test_what_show_prints_passes_the_check_when_it_is_copied(capsys, tmp_path):
    for template in json.loads(printed(capsys, "list", "--json")):
        text = printed(capsys, "show", template["name"])
        source_text = text[text.index("sources:") : text.index("    # ... and where")].replace(
            ": ...", f": {GIVEN[template['driver']]}"
        )
        (source,) = yaml.safe_load(source_text)["sources"].values()
        rules = text.partition("Rules to copy below work_units")[2].partition("\n\n")[2]
        document = yaml.safe_load(HEAD)
        serial = "transport: rtu" in text
        where = {"device": "/dev/ttyUSB0"} if serial else WHERE[template["driver"]]
        document["sources"] = {"NAME": source | where}
        file = tmp_path / f"{template['name']}.yaml"
        # As a person copies it: YAML 1.1 would read OFF as false.
        file.write_text(f"{yaml.safe_dump(document)}work_units:\n{textwrap.indent(rules, '  ')}")
        status = main(["check", str(file)])
        assert status == 0, f"{template['name']}: {capsys.readouterr()}"
        capsys.readouterr()


def test_show_as_json_has_what_the_file_has(capsys):
    shown = json.loads(printed(capsys, "show", "packml", "--json"))
    assert shown["driver"] == "opcua"
    assert shown["signals"]["processed"] == {
        "path": "packml:Admin/packml:ProdProcessedCount",
        "index": 0,
        "field": "AccCount",
    }
    assert shown["parameters"]["machine"]["default"] is None


@pytest.mark.parametrize("name", ["pack_ml", "nothing-like-it"])
def test_an_unknown_template_names_those_there_are(name, capsys):
    assert main(["template", "show", name]) == 2
    error = capsys.readouterr().err
    assert f"found '{name}', allowed: advantech_adam6050, " in error
    assert ("did you mean" in error) == (name == "pack_ml")
