"""Edges that were lost, by the rules alone."""

from dataclasses import replace

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


def test_stamps_of_edges_are_steady_and_what_a_person_reads_is_utc(context):
    """The kernel's stamps go with the monotonic clock: an offset of UTC moves none of them."""
    year_ns = 365 * 86_400 * 10**9
    settings = DigitalIOSettings(driver="digital_io", pins="simulated", signals={"carton": DigitalSignal(pin=17)})
    wanted = replace(context(source="box", rules=["carton"]), utc_offset_ns=lambda: 50 * year_ns)
    inputs = Inputs(settings, wanted)
    reading = inputs.take([(inputs.by_name["carton"], 1, 5)], Times(1_000, 2_000))
    assert {value.source_time_ns for value in reading.values} == {1_005}
    inputs.note_lost("carton", 3, 2_000)
    assert "the last time before 2019-12-20T00:00:00.000Z" in inputs.notices({})["edges_lost.carton"]
