from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from drivers.opcua import PLUGIN

ADAPTER = TypeAdapter(PLUGIN.settings)
SECRET = {"file": "me.password"}
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
        ({"scan": "1 ms"}, "scan: found 1 ms, allowed 10 ms to 1 h"),
        ({"start": "Press"}, "start: found 'Press', which does not begin with '/'"),
        ({"start": "/q:Press"}, "start: found '/q:Press' with the namespace 'q', known are di, "),
        ({"namespaces": {"a b": "x"}}, "namespaces: found the short name 'a b'"),
        ({"user": {"name": "me"}}, "user: allowed are name and password, or cert_file and key"),
        ({"user": {"name": "me", "password": SECRET, "cert_file": "a.pem"}}, "user: allowed are name and password"),
        ({"user": {"name": "me", "password": SECRET}}, "found 'none' with a password, which would be readable"),
        ({"signals": {"x": {"node": "nsu=q;s=A"}}}, "signals.x.node: found 'nsu=q;s=A' with the namespace 'q'"),
        ({"signals": {"x": {"path": "q:A"}}}, "signals.x.path: found 'q:A' with the namespace 'q'"),
        ({"signals": {"x": {"path": "A"}}}, "signals.x.path: found 'A', which does not begin with '/'"),
        ({"signals": {"x": {}}}, "node, path: name the variable by exactly one"),
        ({"signals": {"x": {"node": "i=1", "path": "/A"}}}, "node, path: name the variable by exactly one"),
        ({"signals": {"x": {"node": "i=1", "index": "3:1"}}}, "a range of 2 to 1000 elements, lowest first"),
        ({"signals": {"x": {"node": "i=1", "index": "0:1000"}}}, "a range of 2 to 1000 elements, lowest first"),
        ({"signals": {"x": {"node": "i=1", "index": -1}}}, "index: found -1, allowed such as 3"),
        ({"signals": {"x": {"node": "i=1", "index": 2**31}}}, "index: found 2147483648, allowed up to"),
        ({"signals": {"x": {"node": "i=1", "field": "A..B"}}}, "field: found 'A..B'"),
        ({"signals": {"x": {"node": "i=1", "deadband": "1", "deadband_percent": "1"}}}, "name one of them only"),
        ({"signals": {"x": {"node": "i=1", "deadband_percent": "101"}}}, "deadband_percent: found 101"),
        ({"signals": {"x": {"node": "i=1", "deadband": "-1"}}}, "deadband: found -1"),
        ({"signals": {"x": {"node": "i=1", "index": 1, "writable": {"values": ["1"]}}}}, "only a whole variable"),
        ({"signals": {"x": {"node": "i=1", "queue_size": 0}}}, "queue_size: found 0"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(change, words):
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python({**GOOD, **change})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "opc.tcp://127.0.0.1:4840"},
        {"endpoint": "opc.tcp://[::1]:4840/x"},
        {"insecure": True},
        {"security": "sign"},
        {"security": "sign_and_encrypt"},
    ],
)
def test_a_password_may_go_where_nobody_reads_along_or_where_that_was_decided(change):
    ADAPTER.validate_python({**GOOD, "user": {"name": "me", "password": SECRET}, **change})


def test_ranges_are_signals_of_their_own():
    zones = {"node": "i=1", "index": "2:4"}
    settings = ADAPTER.validate_python({**GOOD, "signals": {"zone": zones, "cell": {"node": "i=2", "index": "1,2"}}})
    assert PLUGIN.signals(settings) == ("zone.2", "zone.3", "zone.4", "cell")
    assert [part.element for part in settings.parts().values()] == [(2,), (3,), (4,), (1, 2)]


@pytest.mark.parametrize(
    ("change", "cycle_s"),
    [({}, 1), ({"publish": "5 s"}, 5), ({"mode": "read", "scan": "20 s"}, 20)],
)
def test_the_longest_regular_silence(change, cycle_s):
    assert PLUGIN.cycle_ns(ADAPTER.validate_python({**GOOD, **change})) == cycle_s * 10**9


def test_what_is_described_names_element_member_and_scan():
    signals = {"x": {"path": "m:A", "index": 0, "field": "B.C", "mode": "read", "scan": "2 s"}}
    settings = ADAPTER.validate_python({**GOOD, "namespaces": {"m": "u"}, "start": "i=85", "signals": signals})
    assert PLUGIN.describe(settings) == ["x: i=85 / m:A[0].B.C, read every 2 s"]
