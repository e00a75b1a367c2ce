from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from drivers.modbus import PLUGIN
from gateway.core.duration import Duration

ADAPTER = TypeAdapter(PLUGIN.settings)
ROOT = Path(__file__).parents[3]
GOOD = {"driver": "modbus", "host": "plc", "signals": {"good": {"address": 0}}}


def sources(path):
    return yaml.safe_load((ROOT / path).read_text())["sources"]


@pytest.mark.parametrize("path", ["config/examples/demo.yaml", "drivers/modbus/sample.yaml"])
def test_the_written_examples_validate_and_describe_themselves(path):
    mine = [source for source in sources(path).values() if source["driver"] == "modbus"]
    assert mine
    for source in mine:
        settings = ADAPTER.validate_python(source)
        assert len(PLUGIN.describe(settings)) == len(settings.signals) + len(settings.blocks)
        assert not PLUGIN.simulated(settings)


def test_the_description_names_the_pdu_address_and_the_manuals_number():
    settings = ADAPTER.validate_python(
        {
            **GOOD,
            "signals": {
                "good": {"address": 0, "type": "uint32"},
                "current": {"table": "input", "address": 7, "type": "int16", "scale": "0.1"},
                "alarm": {"address": 3, "bit": 4},
                "door": {"table": "discrete", "address": 11},
            },
            "blocks": [{"name": "regs", "address": 100, "count": 1000}],
        }
    )
    assert PLUGIN.describe(settings) == [
        "good: holding 0 (PDU address; 400001 in manuals), uint32",
        "current: input 7 (PDU address; 300008 in manuals), int16, scale 0.1",
        "alarm: holding 3 (PDU address; 400004 in manuals), bit 4",
        "door: discrete 11 (PDU address; 100012 in manuals)",
        "regs.0 to regs.999: from holding 100 (PDU address; 400101 in manuals), uint16",
    ]


def test_defaults():
    settings = ADAPTER.validate_python(GOOD)
    assert (settings.port_number, settings.unit, settings.max_registers, settings.max_hole) == (502, 1, 125, 16)
    assert (settings.bits_in_request, settings.quiet_ns, settings.gap_ns) == (2_000, 0, 0)
    assert settings.scan == Duration("1 s")
    assert settings.signals["good"].value_type_in("holding") == "uint16"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"host": " "}, "host: found nothing"),
        ({"port": 0}, "port: found 0, allowed 1 to 65535"),
        ({"unit": 256}, "unit: found 256"),
        ({"max_registers": 126}, "max_registers: found 126, allowed 1 to 125"),
        ({"max_hole": -1}, "max_hole: found -1"),
        ({"scan": "1 ms"}, "scan: found 1 ms, allowed 10 ms to 1 h"),
        ({"timeout": "0 s"}, "timeout: found 0 s"),
        ({"signals": {}}, "found 0 values"),
        ({"speed": 9600}, "Unexpected keyword argument"),
        ({"max_registers": 3, "signals": {"x": {"address": 0, "type": "int64"}}}, "takes 4 registers"),
        ({"signals": {"x": {"address": 65_536}}}, "a manual's 40001 is 0"),
        ({"signals": {"x": {"address": 65_535, "type": "uint32"}}}, "address: found 65535"),
        ({"signals": {"x": {"address": -1}}}, "address: found -1"),
        ({"signals": {"x": {"address": 0, "bit": 16}}}, "bit: found 16, allowed 0 to 15"),
        ({"signals": {"x": {"address": 0, "type": "bit"}}}, "belong together"),
        ({"signals": {"x": {"address": 0, "type": "int16", "bit": 1}}}, "belong together"),
        ({"signals": {"x": {"address": 0, "table": "coil", "type": "int16"}}}, "a coil is one bit"),
        ({"signals": {"x": {"address": 0, "table": "discrete", "bit": 0}}}, "a discrete is one bit"),
        ({"signals": {"x": {"address": 0, "scale": "fast"}}}, "scale: found 'fast'"),
        ({"signals": {"x": {"address": 0, "scale": "0"}}}, "scale: found '0'"),
        ({"signals": {"x": {"address": 0, "offset": "NaN"}}}, "offset: found 'NaN'"),
        ({"signals": {"x": {"address": 0, "bit": 1, "scale": "2"}}}, "a bit has none"),
        ({"blocks": [{"name": "good", "address": 0, "count": 1}]}, "good is named twice"),
        ({"blocks": [{"name": "r", "address": 0, "count": 0}]}, "count: found 0"),
        ({"blocks": [{"name": "r", "address": 65_000, "count": 600}]}, "length of 600"),
        ({"blocks": [{"name": "r", "address": 0, "count": 1, "type": "bit"}]}, "needs the table coil"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(change, words):
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python({**GOOD, **change})
    assert words in str(caught.value)


def test_importing_the_plugin_loads_no_protocol_library():
    import subprocess
    import sys

    code = (
        "import sys, drivers.modbus, drivers.opcua, drivers.digital_io;"
        "print([m for m in ('pymodbus', 'asyncua', 'gpiozero', 'lgpio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
