from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from drivers.opcua import PLUGIN

ADAPTER = TypeAdapter(PLUGIN.settings)
ROOT = Path(__file__).parents[3]
GOOD = {
    "driver": "opcua",
    "endpoint": "opc.tcp://plc:4840",
    "security": "none",
    "signals": {"good": {"node": "ns=2;s=Counter"}},
}


@pytest.mark.parametrize("path", ["config/examples/demo.yaml", "drivers/opcua/sample.yaml"])
def test_the_written_examples_validate_and_describe_themselves(path):
    found = yaml.safe_load((ROOT / path).read_text())["sources"].values()
    mine = [source for source in found if source["driver"] == "opcua"]
    assert mine
    for source in mine:
        settings = ADAPTER.validate_python(source)
        lines = PLUGIN.describe(settings)
        assert [line.split(": ")[0] for line in lines] == list(settings.signals)
        assert not PLUGIN.simulated(settings)


def test_no_security_must_be_written_down():
    with pytest.raises(ValidationError, match="security"):
        ADAPTER.validate_python({key: value for key, value in GOOD.items() if key != "security"})


@pytest.mark.parametrize("node", ["i=2257", "ns=4;i=1", "nsu=http://x/y;s=a;b=c", "g=1", "ns=3;b=AQ==", "s=a b"])
def test_node_ids_as_text(node):
    settings = ADAPTER.validate_python({**GOOD, "signals": {"x": {"node": node}}})
    assert settings.signals["x"].node == node


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"endpoint": "http://plc"}, "endpoint: found 'http://plc', allowed opc.tcp://host:port/path"),
        ({"endpoint": "opc.tcp://"}, "endpoint: found"),
        ({"endpoint": "opc.tcp://me:secret@plc"}, "user name before @"),
        ({"security": "tls"}, "Input should be 'none', 'sign' or 'sign_and_encrypt'"),
        ({"publish": "1 ms"}, "publish: found 1 ms, allowed 10 ms to 1 min"),
        ({"sampling": "2 min"}, "sampling: found 2 min"),
        ({"queue_size": 0}, "queue_size: found 0, allowed 1 to 10000"),
        ({"timeout": "0 s"}, "timeout: found 0 s"),
        ({"signals": {}}, "signals: found 0"),
        ({"signals": {"x": {"node": "Counter"}}}, "node: found 'Counter', allowed such as"),
        ({"signals": {"x": {"node": "ns=2;x=1"}}}, "node: found"),
        ({"usr": "me"}, "Unexpected keyword argument"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(change, words):
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python({**GOOD, **change})
    assert words in str(caught.value)
