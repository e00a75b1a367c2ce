import asyncio
import socket
import time

import pytest
from asyncua import Client, ua
from asyncua.ua.uaerrors import UaError

from simulators.control import SimulatorError
from simulators.opcua_endpoint import Endpoint

URI = "http://opcfoundation.org/UA/PlasticsRubber/GeneralTypes/"
SPEED = 90  # a shot every 0.2 s


@pytest.fixture(scope="module")
def imm(long_simulator, tmp_path_factory):
    truth = tmp_path_factory.mktemp("imm") / "truth.jsonl"
    return long_simulator(
        "imm-01", "--speed", SPEED, "--shots", 1_000_000, "--steady", "--nodes", 3, "--rate", 20, truth=truth
    )


@pytest.fixture
async def client(imm):
    async with Client(imm.ready["endpoint"], timeout=30) as connected:
        yield connected


async def node(client, name):
    return client.get_node(f"ns={await client.get_namespace_index(URI)};s={name}")


async def until(condition, what, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (value := await condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        await asyncio.sleep(0.01)
    return value


async def test_the_namespace_is_not_where_one_would_guess(client):
    assert await client.get_namespace_index(URI) != 2


async def test_nodes_have_the_declared_types_and_agree_with_the_truth(imm, client):
    imm.do("start")
    shots = await node(client, "MachineCycleCounter")
    await until(lambda: _at_least(shots, 1_000_003), "three shots")
    totals = imm.do("stop")
    made = totals["good_total"] // 8
    assert totals["good_total"] % 8 == 0
    read = {}
    for name in ("MachineCycleCounter", "JobCycleCounter", "JobGoodPartsCounter", "JobBadPartsCounter"):
        value = await (await node(client, name)).read_data_value()
        assert value.Value.VariantType == ua.VariantType.UInt64
        assert value.SourceTimestamp is not None
        read[name] = value.Value.Value
    assert read == {
        "MachineCycleCounter": 1_000_000 + made,
        "JobCycleCounter": made,
        "JobGoodPartsCounter": 8 * made,
        "JobBadPartsCounter": 0,
    }
    assert 18_000 * 0.9 / SPEED <= await (await node(client, "LastCycleTime")).read_value() < 18_000 * 1.2 / SPEED
    assert await (await node(client, "JobStatus")).read_value() == 7
    assert await (await node(client, "MachineMode")).read_value() == 1
    pieces = imm.truth("pieces")
    assert [p["good"] for p in pieces] == [8] * made
    assert pieces[-1]["shots"] == 1_000_000 + made
    imm.do("start")
    assert await (await node(client, "JobStatus")).read_value() == 6


async def _at_least(node, value):
    return await node.read_value() >= value


async def test_benchmark_nodes_carry_the_time_of_their_writing(client):
    before = time.monotonic()
    tags = [await node(client, f"Tag{number:04d}") for number in range(3)]

    async def all_newer():
        return all(value > before for value in await client.read_values(tags))

    await until(all_newer, "new values")
    assert all(value <= time.monotonic() for value in await client.read_values(tags))


async def test_bad_delivers_the_status_and_the_counter_comes_back_without_a_gap(imm, client):
    shots = await node(client, "MachineCycleCounter")
    imm.do("bad 600")
    value = await shots.read_data_value(raise_on_bad_status=False)
    assert value.StatusCode.name == "BadSensorFailure"
    assert value.Value.Value is None
    imm.do("bad 0.4")

    async def good_again():
        return (await shots.read_data_value(raise_on_bad_status=False)).StatusCode.is_good()

    await until(good_again, "a good value")
    totals = imm.do("stop")
    assert await shots.read_value() == 1_000_000 + totals["good_total"] // 8
    imm.do("start")


async def test_cut_refuses_for_a_time_while_the_machine_goes_on(imm):
    async with Client(imm.ready["endpoint"], timeout=30) as client:
        lost = asyncio.Event()

        async def on_loss(_error):
            lost.set()

        client.connection_lost_callback = on_loss
        before = imm.do("totals")["good_total"]
        imm.do("cut 600")
        await asyncio.wait_for(lost.wait(), 60)
    with pytest.raises(ConnectionRefusedError):
        await Client(imm.ready["endpoint"], timeout=30).connect()
    began = time.monotonic()
    imm.do("cut 0.6")
    fresh = await until(lambda: _connected(imm.ready["endpoint"]), "the link")
    assert time.monotonic() - began >= 0.6
    imm.do("stop")
    totals = imm.do("totals")
    assert totals["good_total"] > before
    assert await (await node(fresh, "MachineCycleCounter")).read_value() == 1_000_000 + totals["good_total"] // 8
    imm.do("start")
    await fresh.disconnect()


async def _connected(endpoint):
    client = Client(endpoint, timeout=30)
    try:
        await client.connect()
    except (OSError, UaError, TimeoutError):
        return None
    return client


async def test_restart_changes_the_start_time_and_keeps_the_lifetime_counter(imm):
    endpoint = imm.ready["endpoint"]
    async with Client(endpoint, timeout=30) as client:
        before = await client.get_node("i=2257").read_value()
        shots = await (await node(client, "MachineCycleCounter")).read_value()
    imm.do("restart")
    client = await until(lambda: _connected(endpoint), "the link")
    after = await client.get_node("i=2257").read_value()
    assert after > before
    assert (await client.get_node("i=2256").read_value()).StartTime == after
    assert await (await node(client, "MachineCycleCounter")).read_value() >= shots
    await client.disconnect()
    assert imm.truth("restart")


async def test_a_new_job_resets_the_job_counters_only(imm, client):
    imm.do("stop")
    imm.do("job 100500-0010")
    assert await (await node(client, "JobName")).read_value() == "100500-0010"
    assert await (await node(client, "JobGoodPartsCounter")).read_value() == 0
    assert await (await node(client, "MachineCycleCounter")).read_value() > 1_000_000
    imm.do("start")


async def test_a_port_that_is_taken_between_binding_and_listening_is_said():
    endpoint = Endpoint("127.0.0.1", 0, "/x", None)
    await endpoint.server.init()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", endpoint.port))
        other.listen()
        with pytest.raises(SimulatorError, match=f"port {endpoint.port} on 127.0.0.1 is busy"):
            await endpoint.open()
