"""Every fault of the OPC UA machines as a client sees it; and what IMM-01 makes of its commands."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from asyncua import Client, ua
from asyncua.ua.uaerrors import BadTooManySessions, UaError
from kept_waiting import Taken

URI = "http://opcfoundation.org/UA/PlasticsRubber/GeneralTypes/"
SPEED = 180  # a shot every 0.1 s


@pytest.fixture(scope="module")
def imm(long_simulator, tmp_path_factory):
    truth = tmp_path_factory.mktemp("imm") / "truth.jsonl"
    return long_simulator("imm-01", "--speed", SPEED, "--steady", truth=truth)


@pytest.fixture(autouse=True)
def _healthy(imm):
    yield
    imm.do("faults off")
    imm.do("start")


@pytest.fixture
async def client(imm):
    connected = await connect(imm)
    yield connected
    await leave(connected)


async def connect(imm):
    one = Client(imm.ready["endpoint"], timeout=30)
    await one.connect()
    return one


async def leave(client):
    try:
        await client.disconnect()
    except (UaError, OSError, TimeoutError):
        client.disconnect_socket()


async def reconnect(imm):
    deadline = time.monotonic() + 60
    while True:
        try:
            return await connect(imm)
        except (OSError, UaError, TimeoutError):
            assert time.monotonic() < deadline, "no link"
            await asyncio.sleep(0.02)


async def node(client, name):
    return client.get_node(f"ns={await client.get_namespace_index(URI)};s={name}")


async def data(client, name):
    return await (await node(client, name)).read_data_value(raise_on_bad_status=False)


async def value(client, name):
    return (await data(client, name)).Value.Value


async def until(condition, what, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := await condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        await asyncio.sleep(0.01)
    return found


async def shots_made(imm, more=2):
    wanted = imm.do("totals")["good_total"] + 8 * more
    await until(lambda: asyncio.to_thread(lambda: imm.do("totals")["good_total"] >= wanted), "more shots")


class Watcher:
    """Every notification of one variable."""

    def __init__(self):
        self.seen = []

    def datachange_notification(self, _node, _value, event):
        self.seen.append(event.monitored_item.Value)


async def watch(client, name):
    watcher = Watcher()
    subscription = await client.create_subscription(50, watcher)
    await subscription.subscribe_data_change(await node(client, name))
    await until(lambda: _true(watcher.seen), "the first value")
    return watcher


async def _true(found):
    return bool(found)


async def test_a_black_hole_holds_everything_back_and_then_delivers_it(imm, client):
    shots = await node(client, "MachineCycleCounter")
    imm.do("blackhole 600")
    stranger = Client(imm.ready["endpoint"], timeout=0.3)
    with pytest.raises(TimeoutError):
        await stranger.connect()
    began, taken = time.monotonic(), Taken()
    imm.do("blackhole 0.8")
    assert await shots.read_value() >= 0
    assert time.monotonic() - began > 0.6
    assert taken.seconds() < 4


async def test_slow_answers_are_late_until_it_ends(imm, client):
    shots = await node(client, "MachineCycleCounter")
    imm.do("slow 900 600")
    began = time.monotonic()
    await shots.read_value()
    assert time.monotonic() - began >= 0.9
    assert imm.do("faults show")["faults"]["slow"] > 500
    imm.do("faults off")
    taken = Taken()
    await shots.read_value()
    assert taken.seconds() < 0.8


async def test_uncertain_keeps_the_value_and_bad_has_none(imm, client):
    imm.do("stop")
    made = await value(client, "JobGoodPartsCounter")
    imm.do("uncertain 600 JobGoodPartsCounter")
    imm.do("bad 600 JobStatus")
    uncertain, bad = await data(client, "JobGoodPartsCounter"), await data(client, "JobStatus")
    assert uncertain.StatusCode.name == "UncertainLastUsableValue"
    assert uncertain.Value.Value == made
    assert (bad.StatusCode.name, bad.Value.Value) == ("BadSensorFailure", None)
    assert (await data(client, "MachineCycleCounter")).StatusCode.is_good()
    refused = imm.ask("bad 60 Counter")
    assert refused["error"].startswith("found the node 'Counter'; allowed: all, MachineCycleCounter, ")
    imm.do("faults off")
    assert (await data(client, "JobStatus")).Value.Value == 7


async def test_frozen_values_stay_and_then_catch_up(imm, client):
    imm.do("frozen 600")
    before = await data(client, "MachineCycleCounter")
    await shots_made(imm)
    assert await data(client, "MachineCycleCounter") == before
    imm.do("faults off")
    assert await value(client, "MachineCycleCounter") >= before.Value.Value + 2


async def test_a_removed_node_is_unknown_to_readers_and_subscribers_and_comes_back(imm, client):
    watcher = await watch(client, "MachineCycleCounter")
    imm.do("remove MachineCycleCounter 600")
    assert (await data(client, "MachineCycleCounter")).StatusCode.name == "BadNodeIdUnknown"
    await until(lambda: _true(watcher.seen[-1].StatusCode.name == "BadNodeIdUnknown"), "the notification")
    folder = await node(client, "ActiveJobValues")
    assert "MachineCycleCounter" not in {(await one.read_browse_name()).Name for one in await folder.get_children()}
    imm.do("faults off")
    assert (await data(client, "MachineCycleCounter")).StatusCode.is_good()
    told = len(watcher.seen)
    await shots_made(imm)
    assert len(watcher.seen) == told  # the old item knows nothing of the new node
    again = await watch(client, "MachineCycleCounter")
    await until(lambda: _true(len(again.seen) > 1), "a change")


async def test_a_node_that_is_removed_for_a_time_comes_back_by_itself(imm, client):
    imm.do("remove JobName 600")
    assert (await data(client, "JobName")).StatusCode.name == "BadNodeIdUnknown"
    imm.do("remove JobName 0.2")
    await until(lambda: _good(client, "JobName"), "the node")


async def _good(client, name):
    return (await data(client, name)).StatusCode.is_good()


async def test_zeros(imm, client):
    await shots_made(imm, 1)
    imm.do("zero 600")
    assert (await value(client, "MachineCycleCounter"), await value(client, "JobGoodPartsCounter")) == (0, 0)
    imm.do("faults off")
    assert await value(client, "MachineCycleCounter") > 0
    imm.do("zero-stopped on")
    imm.do("stop")
    assert await value(client, "MachineCycleCounter") == 0
    imm.do("start")
    assert await value(client, "MachineCycleCounter") > 0


async def test_the_clock_jumps_with_all_its_stamps(imm, client):
    jumped = imm.do("clock 2000-01-01")
    assert jumped["clock"].startswith("2000-01-01T00:00:00")
    await shots_made(imm)
    begin = datetime(2000, 1, 1, tzinfo=UTC)
    for stamp in ((await data(client, "LastCycleTime")).SourceTimestamp, await client.get_node("i=2258").read_value()):
        assert begin <= stamp.replace(tzinfo=UTC) < begin + timedelta(minutes=10)
    assert imm.ask("clock yesterday")["error"].startswith("found the time 'yesterday'; allowed: ok, or such as 2000")
    imm.do("clock ok")
    await shots_made(imm, 1)
    stamp = (await data(client, "LastCycleTime")).SourceTimestamp.replace(tzinfo=UTC)
    assert abs(stamp.timestamp() - time.time()) < 60


async def test_the_session_limit_refuses_the_next_one(imm, client):
    imm.do("session-limit 1")
    with pytest.raises(BadTooManySessions):
        await connect(imm)
    assert await value(client, "MachineMode") == 1  # who is there stays
    imm.do("faults off")
    await leave(await connect(imm))
    imm.do("session-limit 0 600")
    with pytest.raises(BadTooManySessions):
        await connect(imm)
    imm.do("session-limit 0 0.2")
    await leave(await reconnect(imm))


async def test_dropped_subscriptions_fall_silent(imm, client):
    watcher = await watch(client, "MachineCycleCounter")
    assert imm.do("drop-subscriptions")["subscriptions"] == 1
    await value(client, "MachineCycleCounter")  # what was told before this answer has come: nobody heard it meanwhile
    told = len(watcher.seen)
    await shots_made(imm, 3)
    assert len(watcher.seen) <= told + 1  # one message may have been on its way
    again = await watch(client, "MachineCycleCounter")
    await until(lambda: _true(len(again.seen) > 1), "a change")


async def test_a_restart_ends_sessions_and_can_change_the_namespaces(imm, client):
    assert await client.get_namespace_index(URI) == 3
    started = await client.get_node("i=2257").read_value()
    await watch(client, "JobStatus")  # a session with a subscription outlives its connection, but no restart
    answer = imm.do("restart shuffled")
    imm.do("session-limit 1")
    assert answer["namespaces"][2] == URI
    fresh = await reconnect(imm)
    try:
        assert await fresh.get_namespace_index(URI) == 2
        assert await fresh.get_node("i=2257").read_value() > started
        assert (await data(fresh, "MachineCycleCounter")).Value.Value > 0
        moved = await fresh.get_node("ns=3;s=MachineCycleCounter").read_data_value(raise_on_bad_status=False)
        assert moved.StatusCode.name == "BadNodeIdUnknown"
    finally:
        await leave(fresh)
    imm.do("restart shuffled")
    again = await reconnect(imm)
    assert await again.get_namespace_index(URI) == 3
    await leave(again)
    assert [line["order"] for line in imm.truth("restart")][-2:] == ["shuffled"] * 2


async def test_frozen_values_survive_a_restart(imm, client):
    await shots_made(imm, 1)
    imm.do("stop")
    before = await value(client, "JobCycleCounter")
    assert before > 0
    imm.do("frozen 600")
    imm.do("restart")
    fresh = await reconnect(imm)
    assert await value(fresh, "JobCycleCounter") == before
    imm.do("start")
    await shots_made(imm)
    assert await value(fresh, "JobCycleCounter") == before
    await leave(fresh)


async def test_faults_off_opens_a_cut_at_once(imm):
    imm.do("cut 600")
    with pytest.raises(ConnectionRefusedError):
        await connect(imm)
    assert imm.do("faults show")["faults"] == {"cut": True}
    assert imm.do("faults off")["faults"] == {}
    await leave(await connect(imm))


async def test_counters_can_be_set_and_roll_over(imm, client):
    imm.do("stop")
    imm.do(f"set shots {2**64 - 1}")
    assert await value(client, "MachineCycleCounter") == 2**64 - 1
    imm.do("start")
    await until(lambda: _below(client, "MachineCycleCounter", 1000), "the roll-over")
    assert imm.ask("set shots -1")["error"].endswith(f"allowed: a whole number 0 to {2**64 - 1}")
    assert imm.truth("set")[-1]["value"] == 2**64 - 1


async def _below(client, name, limit):
    return await value(client, name) < limit


async def test_cavities_decide_what_a_shot_is_worth(imm, client):
    imm.do("stop")
    imm.do("job 100234-0010")
    imm.do("cavity 3 bad")
    imm.do("cavity 8 off")
    imm.do("samples 1")
    imm.do("start")
    await until(lambda: _at_least(client, "JobCycleCounter", 3), "three shots")
    imm.do("stop")
    pieces = [line for line in imm.truth("pieces") if line["t_ns"] > imm.truth("job")[-1]["t_ns"]]
    sample, *others = pieces
    assert (sample["good"], sample["scrap"], sample["samples"]) == (0, 0, 7)
    assert {(one["good"], one["scrap"]) for one in others} == {(6, 1)}
    assert others[0]["cavities"] == [1, 1, 2, 1, 1, 1, 1, 0] == await value(client, "CavityCycleQuality")
    assert await value(client, "JobTestSamplesCounter") == 7
    assert await value(client, "JobGoodPartsCounter") == 6 * len(others)
    assert await value(client, "JobBadPartsCounter") == len(others)
    assert await value(client, "JobCycleCounter") == len(pieces)
    assert imm.ask("cavity 9 bad")["error"] == "'cavity' got 9; allowed: 1 to 8"
    imm.do("cavity 3 good")
    imm.do("cavity 8 good")


async def _at_least(client, name, least):
    return await value(client, name) >= least


async def test_tags_stand_where_the_companion_specification_has_them(imm, client):
    vendor, rubber = await client.get_namespace_index("urn:simulators:imm-01:vendor"), 3
    for folder, name in (
        ("ActiveJobValues", "JobTestSamplesCounter"),
        ("ActiveJob", "JobName"),
        ("MachineStatus", "MachineMode"),
        ("ProductionControl", "ProductionStatus"),
    ):
        path = [f"{vendor}:IMM-01", f"{rubber}:{folder}", f"{rubber}:{name}"]
        assert (await client.nodes.objects.get_child(path)).nodeid.Identifier == name
    imm.do("mode setup")
    imm.do("production start-up")
    assert (await value(client, "MachineMode"), await value(client, "ProductionStatus")) == (4, 2)
    mode = client.get_node(await (await node(client, "MachineMode")).read_data_type())
    words = [field.Name for field in (await mode.read_data_type_definition()).Fields]
    assert words == ["OTHER", "AUTOMATIC", "SEMI_AUTOMATIC", "MANUAL", "SETUP", "SLEEP"]
    assert (await mode.read_browse_name()).Name == "MachineModeEnumeration"
    imm.do("mode automatic")
    imm.do("production production")
    cavities = await node(client, "CavityCycleQuality")
    assert await cavities.read_value_rank() == ua.ValueRank.OneDimension


async def test_a_scenario_gives_the_same_commands(simulator, tmp_path):
    scenario = tmp_path / "day.yaml"
    scenario.write_text('- { at: 18, do: "job FROM-SCENARIO" }\n- { at: 36, do: "frozen 600 JobName" }\n')
    one = simulator("imm-01", "--speed", SPEED, "--scenario", scenario, truth=tmp_path / "truth.jsonl")
    await until(lambda: asyncio.to_thread(lambda: "frozen JobName" in one.do("faults show")["faults"]), "the fault")
    client = await connect(one)
    assert await value(client, "JobName") == "FROM-SCENARIO"
    await leave(client)
    assert one.truth("job")[0]["job"] == "FROM-SCENARIO"
