from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from drivers.digital_io import PLUGIN

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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pins": "mock"}, "Input should be 'gpio' or 'simulated'"),
        ({"signals": {}}, "signals: found none"),
        ({"signals": {"x": {"pin": 1}}}, "pin: found 1, allowed 2 to 27"),
        ({"signals": {"x": {"pin": 28}}}, "pin: found 28"),
        ({"signals": {"x": {"pin": 2}}}, "pull: found none, pin 2 has a resistor on the board: allowed up"),
        ({"signals": {"x": {"pin": 4}, "y": {"pin": 4}}}, "pin 4 is used twice"),
        ({"signals": {"x": {"pin": 4, "pull": "floating"}}}, "Input should be 'up', 'down' or 'none'"),
        ({"pins": "gpio", "socket": "a.sock"}, "only with pins: simulated"),
        ({"socket": " "}, "allowed a path"),
        ({"debounce": "5 ms"}, "Unexpected keyword argument"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(change, words):
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python({**GOOD, **change})
    assert words in str(caught.value)
