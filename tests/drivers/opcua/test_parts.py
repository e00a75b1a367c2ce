"""Parts of variables: elements, members of structures, texts of enumerations, scales, deadbands."""

import asyncio
import struct
from datetime import UTC, datetime

import pytest
from asyncua import ua
from asyncua.common.structures104 import new_enum, new_struct, new_struct_field

from drivers.report import CLOCK_OFF_NS
from gateway.core.model import Status

COUNT_FIELDS = (("ID", ua.VariantType.Int32), ("Name", ua.VariantType.String), ("Count", ua.VariantType.Int32),
                ("AccCount", ua.VariantType.Int32))  # fmt: skip


def text(value):
    encoded = value.encode()
    return struct.pack("<i", len(encoded)) + encoded


class Machine:
    """Structures as a PLC has them: described by the server, unknown to this process."""

    def __init__(self, server):
        self.server = server
        server.call(self._define())

    async def _define(self):
        core, index = self.server._server, self.server.index
        fields = [new_struct_field(name, kind) for name, kind in COUNT_FIELDS]
        self.count_type, (encoding,) = await new_struct(core, index, "LinegateCount", fields)
        self.encoding = encoding.nodeid
        fields = [
            new_struct_field("Speed", ua.VariantType.Double),
            new_struct_field("Counts", self.count_type, array=True),
            new_struct_field("Note", ua.VariantType.String, optional=True),
            new_struct_field("Unit", ua.NodeId(887)),
        ]
        self.outer_type, (encoding,) = await new_struct(core, index, "LinegateOuter", fields)
        self.outer_encoding = encoding.nodeid
        self.mode_type = await new_enum(core, index, "LinegateMode", ["Off", "Manual", "Automatic"])

    def count(self, job, total):
        body = struct.pack("<i", 7) + text("cans") + struct.pack("<ii", job, total)
        return ua.ExtensionObject(TypeId=self.encoding, Body=body)

    def outer(self, speed, counts, note=None):
        body = struct.pack("<Id", 0 if note is None else 1, speed)
        body += struct.pack("<i", len(counts)) + b"".join(self.count(*one).Body for one in counts)
        body += b"" if note is None else text(note)
        body += text("http://units") + struct.pack("<i", 4711) + b"\x02" + text("pcs") + b"\x02" + text("pieces")
        return ua.ExtensionObject(TypeId=self.outer_encoding, Body=body)


@pytest.fixture(scope="module")
def machine(server):
    return Machine(server)


async def test_members_of_one_structure_come_from_one_value(machine, server, drive, first_values):
    kind = ua.VariantType.ExtensionObject
    server.add("parts.Processed", [machine.count(3, 1_000), machine.count(0, 0)], kind, machine.count_type.nodeid)
    at = {"node": "nsu=m;s=parts.Processed", "index": 0}
    signals = {"job": {**at, "field": "Count"}, "total": {**at, "field": "AccCount"}, "name": {**at, "field": "Name"}}
    driver = await drive(server.port, signals)
    assert len(driver._subscription.items()) == 1, "they share one monitored item"
    readings = driver.readings()
    assert await first_values(readings, "job", "total", "name") == {"job": 3, "total": 1_000, "name": "cans"}
    for number in range(1, 20):
        server.write("parts.Processed", [machine.count(number, 1_000 + number), machine.count(0, 0)], kind)
    async with asyncio.timeout(60):
        async for reading in readings:
            values = [sample.value for sample in reading.values if sample.signal != "imm.name"]
            assert all(total == 1_000 + job for job, total in zip(values[::2], values[1::2], strict=True))
            if 19 in values:
                break


async def test_structures_in_structures_optional_members_and_standard_ones(machine, server, drive, first_values):
    kind = ua.VariantType.ExtensionObject
    server.add("parts.Outer", machine.outer(2.5, [(1, 11), (2, 22)], "hot"), kind, machine.outer_type.nodeid)
    at = {"node": "nsu=m;s=parts.Outer"}
    signals = {
        "speed": {**at, "field": "Speed"},
        "second": {**at, "field": "Counts.1.AccCount"},
        "note": {**at, "field": "Note"},
        "unit": {**at, "field": "Unit.UnitId"},
        "label": {**at, "field": "Unit.DisplayName"},
    }
    driver = await drive(server.port, signals)
    readings = driver.readings()
    found = await first_values(readings, *signals)
    assert found == {"speed": 2.5, "second": 22, "note": "hot", "unit": 4711, "label": "pcs"}
    server.write("parts.Outer", machine.outer(3.5, [(1, 11), (2, 23)]), kind)
    found = await first_values(readings, *signals)
    assert found == {"speed": 3.5, "second": 23, "note": None, "unit": 4711, "label": "pcs"}
    assert set(driver.problems()) == {"imm.note"}, "an optional member that is not there is BAD, the others go on"


@pytest.mark.parametrize(
    ("signal", "words"),
    [
        ({"node": "nsu=m;s=parts.Shape"}, "set field to one of its members: ID, Name, Count, AccCount"),
        ({"node": "nsu=m;s=parts.Shape", "field": "Cuont"}, "has no member 'Cuont'; it has ID, Name, Count, AccCount"),
        ({"node": "nsu=m;s=parts.Shape", "field": "Count.X"}, "the value is a int, not a structure; leave field out"),
        ({"node": "nsu=m;s=parts.Row"}, "array of 3; name one element with index"),
        ({"node": "nsu=m;s=parts.Row", "index": 3}, "the array has 3 elements, index 3 is not among them"),
        ({"node": "nsu=m;s=parts.Plain", "index": 0}, "not an array; leave index out"),
        ({"node": "nsu=m;s=parts.Plain", "field": "A"}, "not a structure; leave field out"),
        ({"node": "nsu=m;s=parts.Text", "scale": "0.1"}, "'idle', no number that can be scaled"),
    ],
)
async def test_a_part_that_is_not_there_is_bad_with_what_is_there(machine, server, drive, next_of, signal, words):
    if "parts.Shape" not in server.nodes:
        kind = ua.VariantType.ExtensionObject
        server.add("parts.Shape", machine.count(1, 2), kind, machine.count_type.nodeid)
        server.add("parts.Row", [1, 2, 3], ua.VariantType.Int32)
        server.add("parts.Plain", 5, ua.VariantType.Int32)
        server.add("parts.Text", "idle", ua.VariantType.String)
    good = {"node": "nsu=m;s=parts.Plain"}
    other = {"node": "nsu=m;s=parts.Shape", "field": "Count"}  # so that the structure is known
    driver = await drive(server.port, {"odd": signal, "good": good, "other": other})
    readings = driver.readings()
    found = await next_of(readings, "odd")
    assert (found.value, found.status) == (None, Status.BAD)
    assert words in driver.problems()["imm.odd"]
    assert set(driver.problems()) == {"imm.odd"}


async def test_a_structure_that_the_server_does_not_describe_is_a_problem_with_advice(server, drive, next_of):
    secret = ua.ExtensionObject(TypeId=ua.NodeId(77_777, server.index), Body=b"\x01\x02")
    server.add("parts.Secret", secret, ua.VariantType.ExtensionObject, ua.NodeId(ua.ObjectIds.Structure))
    server.add("parts.Beside", 1, ua.VariantType.Int32)
    signals = {"secret": {"node": "nsu=m;s=parts.Secret", "field": "A"}, "beside": {"node": "nsu=m;s=parts.Beside"}}
    driver = await drive(server.port, signals)
    readings = driver.readings()
    assert (await next_of(readings, "secret")).status is Status.BAD
    assert "configure the variable of the single member" in driver.problems()["imm.secret"]
    assert (await next_of(readings, "beside")).status is Status.GOOD


async def test_elements_of_arrays_and_tables(server, drive, first_values):
    server.add("parts.Zones", [1.5, 2.5, 3.5, 4.5], ua.VariantType.Double)
    table = ua.Variant([[1, 2, 3], [4, 5, 6]], ua.VariantType.Int32, Dimensions=[2, 3])
    server.add("parts.Table", table)
    server.add("parts.Bytes", b"\x01\xff", ua.VariantType.ByteString)
    signals = {
        "zone": {"node": "nsu=m;s=parts.Zones", "index": 1, "scale": "10"},
        "all": {"node": "nsu=m;s=parts.Zones", "index": "1:3"},
        "cell": {"node": "nsu=m;s=parts.Table", "index": "1,2"},
        "bytes": {"node": "nsu=m;s=parts.Bytes"},
        "byte": {"node": "nsu=m;s=parts.Bytes", "index": 1},
    }
    driver = await drive(server.port, signals)
    found = await first_values(driver.readings(), "zone", "all.1", "all.2", "all.3", "cell", "bytes", "byte")
    assert found == {"zone": 25, "all.1": 2.5, "all.2": 3.5, "all.3": 4.5, "cell": 6, "bytes": "01ff", "byte": 255}


async def test_an_enumeration_is_a_number_or_the_servers_text_for_it(machine, server, drive, first_values, next_of):
    server.add("parts.Mode", 2, ua.VariantType.Int32, machine.mode_type.nodeid)
    server.add("parts.State", 0, ua.VariantType.Int32, ua.NodeId(ua.ObjectIds.ServerState))
    server.add("parts.Bare", 3, ua.VariantType.Int32)
    signals = {
        "mode": {"node": "nsu=m;s=parts.Mode"},
        "word": {"node": "nsu=m;s=parts.Mode", "enum": "text"},
        "state": {"node": "nsu=m;s=parts.State", "enum": "text"},
        "bare": {"node": "nsu=m;s=parts.Bare", "enum": "text"},
    }
    driver = await drive(server.port, signals)
    readings = driver.readings()
    found = await first_values(readings, *signals)
    assert found == {"mode": 2, "word": "Automatic", "state": "Running", "bare": None}
    assert "has no texts; set enum: number" in driver.problems()["imm.bare"]
    server.write("parts.Mode", 9, ua.VariantType.Int32)
    assert (await next_of(readings, "word")).value == "9", "a number without a text is not hidden"


async def test_texts_ids_and_the_servers_own_status(server, drive, first_values):
    server.add("parts.Label", ua.LocalizedText("Betrieb", "de"), ua.VariantType.LocalizedText)
    server.add("parts.Id", ua.NodeId("Execute", server.index), ua.VariantType.NodeId)
    signals = {
        "label": {"node": "nsu=m;s=parts.Label"},
        "id": {"node": "nsu=m;s=parts.Id"},
        "state": {"node": "i=2256", "field": "State"},
        "product": {"node": "i=2256", "field": "BuildInfo.ProductName"},
    }
    found = await first_values((await drive(server.port, signals)).readings(), *signals)
    assert found["label"] == "Betrieb"
    assert found["id"] == "nsu=http://linegate.test/machine;s=Execute"
    assert found["state"] == 0
    assert found["product"] == "FreeOpcUa Python Server"


async def test_large_integers_stay_exact_through_scale_and_offset(server, drive, first_values):
    server.add("parts.Large", 2**63 + 1, ua.VariantType.UInt64)
    signals = {"large": {"node": "nsu=m;s=parts.Large", "scale": "10", "offset": "1"}}
    assert await first_values((await drive(server.port, signals)).readings(), "large") == {
        "large": (2**63 + 1) * 10 + 1
    }


@pytest.mark.parametrize("mode", ["subscribe", "read"])
async def test_a_deadband_holds_small_changes_back(server, drive, next_of, mode):
    name = f"parts.Warm-{mode}"
    server.add(name, 100.0, ua.VariantType.Double)
    signal = {"node": f"nsu=m;s={name}", "scale": "0.1", "deadband": "1", "report": "change", "mode": mode}
    driver = await drive(server.port, {"warm": signal, "all": {"node": f"nsu=m;s={name}"}}, scan="30 ms")
    readings = driver.readings()
    assert (await next_of(readings, "warm")).value == 10
    seen = []
    for value in (105.0, 109.0, 95.0, 110.0, 119.0, 125.0):
        server.write(name, value, ua.VariantType.Double)
        async with asyncio.timeout(60):
            while True:
                reading = await anext(readings)
                seen += [sample.value for sample in reading.values if sample.signal == "imm.warm"]
                if any((sample.signal, sample.value) == ("imm.all", value) for sample in reading.values):
                    break
        await asyncio.sleep(0)
    if mode == "read":  # the change is seen in the scan after at the latest
        seen += [
            sample.value for _ in range(2) for sample in (await anext(readings)).values if sample.signal == "imm.warm"
        ]
    assert seen == [11.0, 12.5]


async def test_a_deadband_in_percent_needs_the_servers_range(server, drive, next_of):
    server.add("parts.Level", 50.0, ua.VariantType.Double)
    server.add("parts.NoRange", 50.0, ua.VariantType.Double)
    span = ua.Range(Low=0.0, High=200.0)
    server.call(server.nodes["parts.Level"].add_property(0, "EURange", span))
    signals = {
        "level": {"node": "nsu=m;s=parts.Level", "deadband_percent": "5", "report": "change"},
        "bare": {"node": "nsu=m;s=parts.NoRange", "deadband_percent": "5", "report": "change"},
    }
    driver = await drive(server.port, signals)
    readings = driver.readings()
    assert (await next_of(readings, "bare")).status is Status.BAD
    assert "no EURange" in driver.problems()["imm.bare"]
    assert (await next_of(readings, "level")).value == 50
    for value in (59.0, 41.0, 60.0):
        server.write("parts.Level", value, ua.VariantType.Double)
    assert (await next_of(readings, "level")).value == 60


async def test_values_that_the_servers_queue_lost_are_counted(server, drive, next_of):
    server.add("parts.Fast", 1, ua.VariantType.Int32)
    driver = await drive(server.port, {"fast": {"node": "nsu=m;s=parts.Fast", "queue_size": 2}})
    readings = driver.readings()
    await next_of(readings, "fast")
    assert driver.notices() == {}
    server.write("parts.Fast", 2, ua.VariantType.Int32, status=0x0480)
    found = await next_of(readings, "fast")
    assert (found.value, found.status) == (2, Status.GOOD)
    assert "imm.fast 1 times; raise queue_size (now 2)" in driver.notices()["queue"]


async def test_a_wrong_clock_of_the_server_is_named_and_an_old_value_is_not(server, drive, next_of):
    server.add("parts.Stamped", 1, ua.VariantType.Int32)
    node = {"node": "nsu=m;s=parts.Stamped"}
    driver = await drive(server.port, {"device": node, "gateway": {**node, "timestamp": "gateway"}})
    readings = driver.readings()
    long_ago = datetime(2020, 5, 5, tzinfo=UTC)
    await next_of(readings, "device")
    server.write("parts.Stamped", 2, ua.VariantType.Int32, source_time=long_ago)
    found = await next_of(readings, "device", lambda sample: sample.value == 2)
    assert found.source_time_ns == int(long_ago.timestamp()) * 10**9
    assert driver.notices() == {}
    reset = datetime(2000, 1, 1, 0, 0, 12, tzinfo=UTC)
    server.write("parts.Stamped", 3, ua.VariantType.Int32, source_time=reset)
    found = await next_of(readings, "gateway", lambda sample: sample.value == 3)
    assert found.source_time_ns is None
    assert driver.notices()["clock"] == "the device's clock shows 2000-01-01T00:00:12Z; times of arrival are used"
    assert found.received_time_ns - int(reset.timestamp()) * 10**9 > CLOCK_OFF_NS
