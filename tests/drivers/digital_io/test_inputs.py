"""Edges that were lost, by the rules alone."""

import pytest

from drivers.digital_io.edge_clock import Times
from drivers.digital_io.inputs import LOST, Inputs
from drivers.digital_io.settings import DigitalIOSettings, DigitalSignal
from gateway.core.model import Status


@pytest.mark.parametrize(("timestamp", "stamp_ns"), [("gateway", None), ("device", 1_005)])
def test_a_lost_edge_is_stamped_as_the_others_are(context, timestamp, stamp_ns):
    settings = DigitalIOSettings(
        driver="digital_io", pins="simulated", signals={"carton": DigitalSignal(pin=17, timestamp=timestamp)}
    )
    inputs = Inputs(settings, context(source="box", rules=["carton"]))
    reading = inputs.take([(inputs.by_name["carton"], LOST, 5)], Times(1_000, 2_000))
    found = [(value.status, value.source_time_ns) for value in reading.values]
    assert (Status.BAD, stamp_ns) in found
    assert {stamp for _status, stamp in found} == {stamp_ns}
