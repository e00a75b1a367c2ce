from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from config.errors import ConfigErrors
from config.loader import load
from drivers.digital_io import PLUGIN
from gateway.connectors import file

ADAPTER = TypeAdapter(PLUGIN.settings)
ROOT = Path(__file__).parents[3]
GOOD = {"driver": "digital_io", "pins": "simulated", "signals": {"carton": {"pin": 17}}}


@pytest.mark.parametrize(
    ("path", "simulated"), [("config/examples/demo.yaml", True), ("drivers/digital_io/sample.yaml", False)]
)
def test_the_written_examples_validate_and_describe_themselves(path, simulated):
    found = yaml.safe_load((ROOT / path).read_text())["sources"].values()
    mine = [source for source in found if source["driver"] == "digital_io"]
    assert mine
    for source in mine:
        settings = ADAPTER.validate_python(source)
        assert [line.split(": ")[0] for line in PLUGIN.describe(settings)] == list(settings.signals)
        assert PLUGIN.simulated(settings) is simulated


def test_the_kind_of_pins_must_be_written_down():
    with pytest.raises(ValidationError, match="pins"):
        ADAPTER.validate_python({key: value for key, value in GOOD.items() if key != "pins"})


def signals(**keys):
    return {"signals": {"x": keys}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pins": "mock"}, "Input should be 'gpio' or 'simulated'"),
        ({"signals": {}}, "signals: found none"),
        (signals(pin=1), "pin: found 1, allowed 2 to 27"),
        (signals(pin=28), "pin: found 28"),
        (signals(pin=2), "x: pull: found none, pin 2 has a resistor on the board: allowed up"),
        (signals(), "pin and line: found none, allowed: one of them"),
        (signals(pin=4, line=4), "pin and line: found both"),
        ({"signals": {"x": {"pin": 4}, "y": {"pin": 4}}}, "pin 4 is used twice, by x and y"),
        (signals(pin=4, pull="floating"), "Input should be 'up', 'down' or 'none'"),
        (signals(pin=4, kind="edge"), "Input should be 'pulse' or 'level'"),
        (signals(pin=4, scale="2"), "scale: found '2', allowed: nothing"),
        (signals(pin=4, offset="2"), "offset: found '2', allowed: nothing"),
        (signals(pin=4, deadband="2"), "deadband: found '2', allowed: nothing"),
        (signals(pin=4, writable={"values": ["1"]}), "writable: found limits, allowed: nothing; digital inputs"),
        (signals(pin=4, chip=" "), "chip: found an empty text"),
        (signals(line="DI3"), "x has line, allowed only with pins: gpio"),
        (signals(pin=4, chip="gpiochip0"), "x has chip, allowed only with pins: gpio"),
        (signals(pin=4, debounce="5 ms"), "x has debounce, allowed only with pins: gpio"),
        ({"chip": "gpiochip0"}, "chip: found 'gpiochip0', allowed only with pins: gpio"),
        ({"event_buffer": 100}, "event_buffer: found 100, allowed only with pins: gpio"),
        ({"pins": "gpio", "event_buffer": 15}, "event_buffer: found 15, allowed 16 to 1024"),
        ({"pins": "gpio", "event_buffer": 1_025}, "event_buffer: found 1025"),
        ({"pins": "gpio", "chip": ""}, "chip: found an empty text"),
        ({"pins": "gpio", **signals(line=-1, chip="gpiochip0")}, "line: found -1, allowed 0 and above"),
        ({"pins": "gpio", **signals(line=" ")}, "line: found an empty text"),
        ({"pins": "gpio", **signals(line=5)}, "x has line 5 and no chip"),
        ({"pins": "gpio", "signals": {"x": {"line": "A"}, "y": {"line": "A"}}}, "line A is used twice"),
        ({"pins": "gpio", **signals(pin=4, debounce="0 ms")}, "debounce: found 0 s, allowed 1 us to 1 s"),
        ({"pins": "gpio", **signals(pin=4, debounce="1.1 s")}, "debounce: found 1100 ms, allowed 1 us to 1 s"),
        ({"pins": "gpio", **signals(pin=4, debounce="1.5 us")}, "debounce: found 1.5 us, allowed whole microseconds"),
        ({"pins": "gpio", "socket": "a.sock"}, "only with pins: simulated"),
        ({"socket": " "}, "allowed a path"),
        ({"bounce": "5 ms"}, "Unexpected keyword argument"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(change, words):
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python({**GOOD, **change})
    assert words in str(caught.value)


def test_lines_of_any_board_are_described():
    settings = ADAPTER.validate_python(
        {
            "driver": "digital_io",
            "pins": "gpio",
            "chip": "gpiochip1",
            "signals": {
                "carton": {"line": "DI3", "debounce": "2 ms"},
                "reject": {"line": 5},
                "fifth": {"line": 5, "chip": "/dev/gpiochip0"},  # the same number, another chip
                "door": {"pin": 2, "kind": "level", "active_low": True},  # no resistor is known of this chip
            },
        }
    )
    assert PLUGIN.describe(settings) == [
        "carton: line DI3 of gpiochip1, high is true, pull none, debounce 2 ms in the kernel",
        "reject: line 5 of gpiochip1, high is true, pull none",
        "fifth: line 5 of /dev/gpiochip0, high is true, pull none",
        "door: GPIO 2 of gpiochip1, low is true, pull none, level only, not for counting",
    ]


CONFIGURATION = """
gateway: {{ id: box, plant: P1, state_dir: state }}
sources:
  box:
    driver: digital_io
    pins: simulated
    signals: {{ carton: {{ pin: 17, kind: {kind} }}, door: {{ pin: 22, kind: level }} }}
work_units:
  PCK:
    work_center: WC
    counters: [{{ mode: pulse, signal: box.carton }}]
    state: {{ signal: box.door, map: {{ "1": STOPPED, "0": PRODUCING }} }}
connectors:
  erp: {{ connector: file, folder: exchange }}
"""


def test_what_is_counted_needs_every_edge(tmp_path):
    path = tmp_path / "linegate.yaml"
    known = {"drivers": {"digital_io": PLUGIN}, "connectors": {"file": file.PLUGIN}, "env": {}}
    path.write_text(CONFIGURATION.format(kind="pulse"))
    load(path, **known)
    path.write_text(CONFIGURATION.format(kind="level"))
    with pytest.raises(ConfigErrors) as caught:
        load(path, **known)
    said = str(caught.value)
    assert "linegate.yaml:7:" in said
    assert "sources.box.signals.carton.kind: found 'level', but work_units.PCK.counters" in said
    assert "set kind: pulse" in said
    assert "door" not in said
