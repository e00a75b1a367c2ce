import json

from gateway.status import GatewayView, MqttView, SourceView, TargetView, WorkUnitView, to_json


def test_the_whole_gateway_as_plain_json():
    view = GatewayView(
        id="gw",
        version="0.1.0",
        pid=1,
        started_ns=1,
        now_ns=2,
        epoch="e",
        state_dir="state",
        config_digest="sha256:0",
        mqtt=MqttView(connected=False, last_error="down", dropped=3),
        sources=(SourceView(name="asm", state="up", since_ns=1, problems={"x": "gone"}),),
        targets=(TargetView(name="erp", link="up", since_ns=1),),
        work_units=(WorkUnitView(id="M1", state="OFF", state_since_ns=1, queue=({"order": "1", "tags": ("a",)},)),),
        warnings=("simulated",),
    )
    document = to_json(view)
    assert json.loads(json.dumps(document)) == document
    assert document["mqtt"] == {"connected": False, "last_error": "down", "dropped": 3}
    assert document["sources"][0]["problems"] == {"x": "gone"}
    assert document["work_units"][0]["queue"] == [{"order": "1", "tags": ["a"]}]
    assert document["warnings"] == ["simulated"]


def test_without_a_broker():
    assert to_json(MqttView(connected=True)) == {"connected": True, "last_error": "", "dropped": 0}
