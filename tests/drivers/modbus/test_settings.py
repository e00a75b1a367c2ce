from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from config.loader import load
from drivers.modbus import PLUGIN
from drivers.modbus.endpoint import Endpoint
from gateway.connectors import file
from gateway.core.duration import Duration

ADAPTER = TypeAdapter(PLUGIN.settings)
ROOT = Path(__file__).parents[3]
GOOD = {"driver": "modbus", "host": "plc", "signals": {"good": {"address": 0}}}


def test_the_demo_validates_and_describes_itself():
    sources = yaml.safe_load((ROOT / "config/examples/demo.yaml").read_text())["sources"]
    mine = [source for source in sources.values() if source["driver"] == "modbus"]
    assert mine
    for source in mine:
        settings = ADAPTER.validate_python(source)
        assert len(PLUGIN.describe(settings)) == len(settings.signals) + len(settings.blocks)
        assert not PLUGIN.simulated(settings)


def test_the_sample_loads_as_a_part_of_a_configuration(tmp_path):
    folder = ROOT / "gateway/connectors/file"
    connectors = yaml.safe_load((folder / "sample.yaml").read_text())["connectors"]
    document = {
        "gateway": {"id": "g", "plant": "P", "state_dir": "state"},
        **yaml.safe_load((ROOT / "drivers/modbus/sample.yaml").read_text()),
        "work_units": {
            "P-1": {"work_center": "W", "ideal_cycle": "2 s", "counters": [{"mode": "counter", "signal": "press.good"}]}
        },
        "connectors": connectors,
    }
    path = tmp_path / "linegate.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    loaded = load(path, drivers={"modbus": PLUGIN}, connectors={"file": file.PLUGIN}, env={})
    assert set(loaded.sources) == {"press", "left", "right", "io"}
    described = {name: PLUGIN.describe(source.driver_settings) for name, source in loaded.sources.items()}
    assert described["press"][1] == "scrap: holding 2 (PDU address; 400003 in manuals), uint32, order CDAB"
    assert described["press"][4] == (
        "lot: holding 30 (PDU address; 400031 in manuals), string of 12 characters, every 5 s"
    )
    assert "counter_0: input 16 (PDU address; 300017 in manuals), uint32" in described["io"]


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
        ({"signals": {"x": {"address": "30001", "table": "holding"}}}, "is in the table input, but table says holding"),
        ({"signals": {"x": {"address": "10001", "type": "int16"}}}, "a discrete is one bit"),
        ({"addressing": "manual", "signals": {"x": {"address": 10_001, "type": "int16"}}}, "signals: x: a discrete is"),
        ({"addressing": "manual", "signals": {"x": {"address": 33}}}, "in quotes"),
        ({"addressing": "one_based", "signals": {"x": {"address": 0}}}, "signals: x: address: found 0, allowed 1"),
        ({"signals": {"x": {"address": 0, "type": "string"}}}, "string and its length"),
        ({"signals": {"x": {"address": 0, "length": 4}}}, "string and its length"),
        ({"signals": {"x": {"address": 0, "type": "string", "length": 247}}}, "length: found 247, allowed 1 to 246"),
        ({"signals": {"x": {"address": 0, "encoding": "ascii"}}}, "encoding: only with"),
        ({"signals": {"x": {"address": 0, "byte": "low"}}}, "byte: only with"),
        ({"signals": {"x": {"address": 0, "type": "string", "length": 4, "scale": "2"}}}, "a text has none"),
        ({"signals": {"x": {"address": 0, "bit": 1, "deadband": "2"}}}, "deadband: a bit has none"),
        ({"signals": {"x": {"address": 0, "order": "ABCD", "word_order": "low_first"}}}, "name one"),
        ({"signals": {"x": {"address": 0, "order": "ACBD"}}}, "'ABCD', 'CDAB', 'BADC' or 'DCBA'"),
        ({"signals": {"x": {"address": 0, "scan": "1 ms"}}}, "scan: found 1 ms"),
        ({"signals": {"x": {"table": "input", "address": 0, "writable": {"values": ["1"]}}}}, "can only be read"),
        ({"signals": {"x": {"address": 0, "bit": 1, "writable": {"values": ["1"]}}}}, "set mask_writes: true"),
        ({"order": "ABCD", "word_order": "low_first"}, "name one"),
        ({"max_bits": 2_001}, "max_bits: found 2001, allowed 1 to 2000"),
        ({"signals": {f"s{i}": {"address": 0, "scan": f"{i + 1} s"} for i in range(9)}}, "found 9 different times"),
        ({"transport": "rtu"}, "host and port: not with transport: rtu"),
        ({"transport": "rtu", "host": None}, "device: found nothing"),
        ({"device": "/dev/ttyS0"}, "device and serial: only with transport: rtu"),
        ({"tls": {}}, "tls: needs transport: tls"),
        ({"transport": "rtu_over_tcp", "unit": 248}, "unit: found 248, allowed 1 to 247"),
        ({"transport": "rtu_over_tcp", "unit": 0}, "unit: found 0, allowed 1 to 247"),
        ({"quiet_time": "1 s"}, "quiet_time: not with transport: tcp"),
        ({"pause_after_connect": "31 s"}, "pause_after_connect: found 31 s"),
        ({"transport": "tls", "tls": {"cert_file": "a"}}, "cert_file and key_file belong together"),
        ({"blocks": [{"name": "r", "address": 0, "count": 1, "type": "string"}]}, "a range has numbers only"),
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


@pytest.mark.parametrize(
    ("serial", "words"),
    [
        ({"baudrate": 100}, "baudrate: found 100, allowed 300 to 4000000"),
        ({"byte_size": 7}, "allowed 8: RTU"),
        ({"parity": "mark"}, "'none', 'even' or 'odd'"),
        ({"rs485": {"delay_before_send": "1500 us"}}, "delay_before_send: found 1500 us, allowed whole milliseconds"),
        (
            {"rs485": {"delay_after_send": "1 s"}},
            "found 1 s, allowed whole milliseconds up to 100 ms",
        ),
    ],
)
def test_what_is_wrong_with_a_serial_line_is_named(serial, words):
    source = {**GOOD, "host": None, "transport": "rtu", "device": "/dev/ttyS0", "serial": serial}
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python(source)
    assert words in str(caught.value)


def test_the_defaults_of_each_transport():
    serial = ADAPTER.validate_python({**GOOD, "host": None, "transport": "rtu", "device": "/dev/ttyS0"})
    assert (serial.where, serial.quiet_ns) == ("/dev/ttyS0", Duration("1 s"))
    assert serial.gap_ns == 3.5 * 11 * 1_000_000_000 // 19_200, "3.5 characters of 11 bits"
    fast = ADAPTER.validate_python(
        {**GOOD, "host": None, "transport": "rtu", "device": "/dev/ttyS0", "serial": {"baudrate": 115_200}}
    )
    assert fast.gap_ns == Duration("1750 us")
    assert ADAPTER.validate_python({**GOOD, "transport": "tls"}).port_number == 802
    quiet = Endpoint(transport="rtu_over_tcp", host="plc", quiet_time=Duration("3 s"))
    assert (quiet.quiet_ns, quiet.port_number) == (Duration("3 s"), 502)
