"""FIL-02 as a client sees it: structures, PackML states, and counters that agree with the truth."""

import asyncio
import itertools
import json
import subprocess
import sys
import time

import pytest
import warm
import yaml
from asyncua import Client, ua
from asyncua.ua.uaerrors import UaError

PACKML = "http://opcfoundation.org/UA/PackML/"
SPEED = 10
ACC_START = 2**31 - 6
#: The transitions that OPC 30050 knows, as far as this machine takes them.
ALLOWED = {
    2: {15}, 15: {4}, 4: {3}, 3: {6}, 6: {10, 13, 16, 7, 8}, 10: {11}, 11: {12, 7, 8}, 12: {6}, 13: {5},
    5: {14, 10, 7, 8}, 14: {6}, 16: {17}, 17: {15, 7, 8}, 7: {2}, 8: {9}, 9: {1}, 1: {2},
}  # fmt: skip


@pytest.fixture(scope="module")
def filler(long_simulator, tmp_path_factory):
    truth = tmp_path_factory.mktemp("filler") / "truth.jsonl"
    options = ("--speed", SPEED, "--processed", ACC_START, "--defective", 7)
    return long_simulator("fil-02", "--steady", *options, truth=truth)


@pytest.fixture
async def client(filler):
    async with Client(filler.ready["endpoint"], timeout=30) as connected:
        await connected.load_data_type_definitions()
        yield connected


async def node(client, identifier):
    return client.get_node(f"ns={await client.get_namespace_index(PACKML)};s={identifier}")


async def value(client, identifier):
    return await (await node(client, identifier)).read_value()


async def until(client, identifier, wanted, seconds=60.0):
    deadline = time.monotonic() + seconds
    while (found := await value(client, identifier)) != wanted:
        assert time.monotonic() < deadline, f"{identifier} is {found}, not {wanted}"
        await asyncio.sleep(0.01)


async def made(filler, more):
    wanted = filler.do("totals")["good_total"] + more
    deadline = time.monotonic() + 60
    while filler.do("totals")["good_total"] < wanted:
        assert time.monotonic() < deadline, "the machine makes nothing"
        await asyncio.sleep(0.02)


async def test_the_counters_are_one_structure_and_agree_with_the_truth_beyond_the_roll_over(filler, client):
    await made(filler, 10)
    totals = filler.do("stop")
    processed, defective = (
        await value(client, "Admin.ProdProcessedCount"),
        await value(client, "Admin.ProdDefectiveCount"),
    )
    assert [type(one).__name__ for one in processed + defective] == ["PackMLCountDataType"] * 2
    assert processed[0].AccCount == (ACC_START + totals["good_total"]) % 2**31
    assert processed[0].AccCount < ACC_START  # it has rolled over
    assert defective[0].AccCount == 7 + totals["scrap_total"]
    assert (processed[0].Count, defective[0].Count) == (totals["good_total"], totals["scrap_total"])
    last = filler.truth("pieces")[-1]
    assert (last["processed"], last["defective"]) == (processed[0].AccCount, defective[0].AccCount)
    counter = await node(client, "Admin.ProdProcessedCount")
    assert await counter.read_value_rank() == ua.ValueRank.OneDimension
    data_type = await counter.read_data_type()
    assert (data_type.Identifier, data_type.NamespaceIndex) == (14, await client.get_namespace_index(PACKML))
    filler.do("start")


async def test_a_client_that_does_not_know_the_structure_gets_it_whole(filler):
    code = f"""
import asyncio
from asyncua import Client
async def main():
    async with Client({filler.ready["endpoint"]!r}, timeout=30) as client:
        index = await client.get_namespace_index({PACKML!r})
        return await client.get_node(f"ns={{index}};s=Admin.ProdProcessedCount").read_value()
print(type(asyncio.run(main())[0]).__name__)
"""
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "ExtensionObject", done.stderr


async def test_the_tree_can_be_walked_by_browse_names(client):
    vendor = await client.get_namespace_index("urn:simulators:fil-02:vendor")
    packml = await client.get_namespace_index(PACKML)
    assert {vendor, packml} == {2, 3}
    path = [f"{vendor}:FIL-02", f"{packml}:Admin", f"{packml}:ProdProcessedCount"]
    assert (await client.nodes.objects.get_child(path)).nodeid.Identifier == "Admin.ProdProcessedCount"
    status = await client.nodes.objects.get_child([path[0], f"{packml}:Status"])
    names = {(await child.read_browse_name()).Name for child in await status.get_children()}
    assert names >= {"StateCurrent", "UnitModeCurrent", "CurMachSpeed", "EquipmentBlocked", "EquipmentStarved"}


async def test_every_way_through_the_states_and_what_they_show(filler, client):
    await until(client, "Status.StateCurrent", 6)
    assert await value(client, "Status.CurMachSpeed") == 600 * SPEED
    assert await value(client, "Admin.MachDesignSpeed") == 600 * SPEED
    filler.do("suspend starved")
    await until(client, "Status.StateCurrent", 5)
    assert (await value(client, "Status.EquipmentStarved"), await value(client, "Status.EquipmentBlocked")) == (
        True,
        False,
    )
    assert await value(client, "Status.CurMachSpeed") == 0
    assert (await value(client, "Admin.StopReason")).ID == 11
    before = filler.do("totals")
    filler.do("start")
    assert await value(client, "Status.EquipmentStarved") is False
    filler.do("suspend blocked")
    assert await value(client, "Status.EquipmentBlocked") is True
    filler.do("hold")
    await until(client, "Status.StateCurrent", 11)
    assert filler.ask("suspend starved")["error"] == "'suspend' found the state HELD; allowed: EXECUTE"
    filler.do("start")
    filler.do("complete")
    await until(client, "Status.StateCurrent", 17)
    filler.do("start")
    filler.do("abort")
    await until(client, "Status.StateCurrent", 9)
    filler.do("start")
    filler.do("stop")
    await until(client, "Status.StateCurrent", 2)
    reason = await value(client, "Admin.StopReason")
    assert (reason.ID, reason.Trigger, reason.Message) == (1, True, "stop by the operator")
    filler.do("start")
    await made(filler, 1)
    assert filler.do("totals")["good_total"] > before["good_total"]
    states = [line["state"] for line in filler.truth("state")]
    assert states[0] == 15
    assert all(after in ALLOWED[first] for first, after in itertools.pairwise(states)), states


async def test_pieces_are_made_in_execute_only(filler):
    state = 2
    for line in filler.truth():
        state = line.get("state", state)
        assert line["event"] != "pieces" or state == 6, line


async def test_a_job_resets_count_but_not_the_accumulated_one(filler, client):
    await made(filler, 3)
    filler.do("job 200010-0010")
    totals = filler.do("stop")
    (processed,) = await value(client, "Admin.ProdProcessedCount")
    job = filler.truth("job")[-1]
    assert job["job"] == await value(client, "JobName") == processed.Name == "200010-0010"
    assert processed.Count == totals["good_total"] - job["good_total"]
    assert processed.AccCount == (ACC_START + totals["good_total"]) % 2**31
    filler.do("start")


async def test_set_and_mode(filler, client):
    filler.do("stop")
    filler.do("set processed 2147483647")
    assert (await value(client, "Admin.ProdProcessedCount"))[0].AccCount == 2147483647
    assert filler.ask("set processed 2147483648")["ok"] is False
    filler.do("mode maintenance")
    assert await value(client, "Status.UnitModeCurrent") == 2
    filler.do("mode produce")
    filler.do("start")


async def test_zeros_while_it_stands_hide_the_counters(filler, client):
    filler.do("stop")
    (kept,) = await value(client, "Admin.ProdProcessedCount")
    filler.do("zero-stopped on")
    (shown,) = await value(client, "Admin.ProdProcessedCount")
    assert (shown.AccCount, shown.Count, shown.Name) == (0, 0, kept.Name)
    filler.do("start")
    assert (await value(client, "Admin.ProdProcessedCount"))[0].AccCount >= kept.AccCount
    filler.do("stop")
    assert (await value(client, "Admin.ProdProcessedCount"))[0].AccCount == 0
    filler.do("faults off")
    assert (await value(client, "Admin.ProdProcessedCount"))[0].AccCount >= kept.AccCount
    filler.do("start")


async def test_a_restart_with_another_namespace_order_moves_every_node_and_keeps_the_counters(filler, client):
    filler.do("stop")
    (before,) = await value(client, "Admin.ProdProcessedCount")
    old = await client.get_namespace_index(PACKML)
    started = await client.get_node("i=2257").read_value()
    answer = filler.do("restart shuffled")
    assert answer["namespaces"].index(PACKML) != old
    deadline = time.monotonic() + 60
    while True:
        fresh = Client(filler.ready["endpoint"], timeout=30)
        try:
            await fresh.connect()
            break
        except (OSError, UaError):
            assert time.monotonic() < deadline, "no link after the restart"
            await asyncio.sleep(0.02)
    try:
        await fresh.load_data_type_definitions()
        assert await fresh.get_namespace_index(PACKML) == answer["namespaces"].index(PACKML)
        (after,) = await value(fresh, "Admin.ProdProcessedCount")
        assert (after.AccCount, after.Count) == (before.AccCount, before.Count)
        assert await fresh.get_node("i=2257").read_value() > started
        gone = await fresh.get_node(f"ns={old};s=Admin.ProdProcessedCount").read_data_value(raise_on_bad_status=False)
        assert gone.StatusCode.name == "BadNodeIdUnknown"
    finally:
        await fresh.disconnect()
    filler.do("restart shuffled")
    filler.do("start")


async def test_left_to_itself_it_is_held_and_suspended_and_goes_on(simulator, tmp_path):
    one = simulator("fil-02", "--speed", 1000, "--seed", 3, "--processed-means", "all", truth=tmp_path / "truth.jsonl")
    deadline = time.monotonic() + 60
    while not {5, 11} <= {line["state"] for line in one.truth("state")}:
        assert time.monotonic() < deadline, "no stop of its own"
        await asyncio.sleep(0.05)
    totals = one.do("stop")
    states = [line["state"] for line in one.truth("state")]
    assert all(after in ALLOWED[first] for first, after in itertools.pairwise(states)), states
    async with Client(one.ready["endpoint"], timeout=30) as client:
        await client.load_data_type_definitions()
        assert (await value(client, "Admin.ProdProcessedCount"))[0].AccCount == sum(
            totals[key] for key in ("good_total", "scrap_total")
        )
        assert (await value(client, "Admin.ProdDefectiveCount"))[0].AccCount == totals["scrap_total"] > 0


@pytest.mark.parametrize("options", [["--modulus", "1"], ["--processed", "100", "--modulus", "100"]])
def test_start_values_beyond_the_counter_are_refused(options):
    done = warm.run(
        [sys.executable, "-P", "-m", "simulators", "fil-02", *options],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("fil-02: --")
    assert "allowed" in done.stderr


@pytest.mark.parametrize("name", ["imm-01", "fil-02"])
def test_the_printed_configuration_is_whole(name):
    done = warm.run(
        [sys.executable, "-P", "-m", "simulators", name, "--print-config", "--security", "encrypt"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=100, check=True,
    )  # fmt: skip
    printed = yaml.safe_load(done.stdout)
    (source,) = printed["sources"].values()
    assert source["security"] == "sign_and_encrypt"
    assert source["endpoint"].endswith(f"/{name}")
    (unit,) = printed["work_units"].values()
    signals = {counter["signal"].partition(".")[2] for counter in unit["counters"]}
    assert signals <= set(source["signals"])
    json.dumps(printed)
