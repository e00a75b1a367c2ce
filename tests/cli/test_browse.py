"""``linegate browse``: the tree of the simulated moulding machine."""

from __future__ import annotations

import json

import pytest

SHOTS = "nsu=http://opcfoundation.org/UA/PlasticsRubber/GeneralTypes/;s=MachineCycleCounter"


@pytest.fixture(scope="module")
def imm(simulator):
    return simulator("imm-01", "--stop-after", "1", "--shots", "700")


def test_what_is_shown_can_be_read(linegate, imm):
    endpoint = imm.ready["endpoint"]
    done = linegate("browse", endpoint, "--values", "--filter", "machinecycle", "--json")
    assert done.code == 0, done.err
    (node,) = [json.loads(line) for line in done.out.splitlines()]
    assert set(node) == {"path", "name", "node", "class", "type", "value", "status", "more"}
    assert (node["name"], node["node"], node["class"], node["type"]) == (
        "MachineCycleCounter",
        SHOTS,
        "Variable",
        "UInt64",
    )
    assert node["value"].startswith("70")
    # Both ways to name it are taken as they stand.
    read = json.loads(linegate("read", endpoint, node["node"], node["path"], "--json").out)
    assert [row["quality"] for row in read["signals"]] == ["good", "good"]


def test_the_tree_for_a_person(linegate, imm):
    done = linegate("browse", imm.ready["endpoint"], "--values")
    assert done.code == 0, done.err
    (row,) = [line for line in done.out.splitlines() if line.strip().startswith("MachineCycleCounter")]
    assert row.split()[1] == "UInt64"
    assert row.endswith(SHOTS)
    assert "Server ..." in done.out  # named, and not walked through
    assert " nodes" in done.out.splitlines()[-1]


def test_a_start_and_a_depth(linegate, imm):
    done = linegate("browse", imm.ready["endpoint"], "--path", "i=2253", "--depth", "1", "--json")
    nodes = [json.loads(line) for line in done.out.splitlines()]
    assert {"ServerStatus", "NamespaceArray"} <= {node["name"] for node in nodes}
    assert any(node["more"] for node in nodes)
    deeper = linegate("browse", imm.ready["endpoint"], "--path", "/Objects/Server/ServerStatus", "--depth", "1")
    assert "StartTime" in deeper.out


def test_members_of_a_structure_have_their_names(linegate, simulator):
    """What field: takes: the counts of the filler are arrays of structures."""
    filler = simulator("fil-02", "--stop-after", "1", "--steady")
    done = linegate("browse", filler.ready["endpoint"], "--values", "--filter", "ProdProcessedCount", "--json")
    (node,) = [json.loads(line) for line in done.out.splitlines()]
    assert node["type"] == "PackMLCountDataType"
    assert node["value"].startswith("[{ID: ")
    assert "AccCount: " in node["value"]


def test_a_start_that_is_not_there(linegate, imm):
    done = linegate("browse", imm.ready["endpoint"], "--path", "/Objects/Nothing")
    assert (done.code, done.out) == (1, "")
    assert "see what there is without --path" in done.err


def test_nothing_matches(linegate, imm):
    done = linegate("browse", imm.ready["endpoint"], "--filter", "no such thing")
    assert done.code == 1
    assert done.out.startswith("0 of ")


def test_nobody_there(linegate):
    done = linegate("browse", "opc.tcp://127.0.0.1:1/x")
    assert (done.code, done.out) == (1, "")
    assert "check address, port" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["opc.tcp://h", "--depth", "0"], "--depth"), (["modbus://h/1"], "found no value"), (["imm"], "linegate.yaml")],
)
def test_wrong_usage(wrong_usage, arguments, said):
    done = wrong_usage("browse", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
