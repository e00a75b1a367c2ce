"""What a person asks and tells of a machine's states, at the command line of a running gateway."""

from __future__ import annotations

import json
import sqlite3

import pytest

from gateway.core.model import MachineState
from gateway.core.state.interval import StateInterval

S = 1_000_000_000
M = MachineState


@pytest.fixture
def ask(linegate, daemon):
    return lambda *arguments: linegate(*arguments, "-d", daemon.state_dir)


def journal(daemon):
    with sqlite3.connect(daemon.state_dir / "linegate.db") as database:
        return [
            (kind, json.loads(body)) for kind, body in database.execute("SELECT kind, body FROM journal ORDER BY seq")
        ]


def test_a_setup_is_begun_and_ended_by_a_person_and_written_down(ask, daemon):
    assert ask("setup", "begin", "M-1")[:2] == (0, "M-1: setup begun\n")
    code, out, err = ask("setup", "begin", "M-1")
    assert (code, out) == (1, "")
    assert "M-1: cannot begin a setup: a setup goes on already" in err
    assert ask("setup", "end", "M-1")[:2] == (0, "M-1: setup ended\n")
    rows = [(kind, data["who"]) for kind, data in journal(daemon) if kind in ("setup_started", "setup_ended")]
    assert [kind for kind, _ in rows] == ["setup_started", "setup_ended"]
    assert all(who for _, who in rows), "with the name of who said so"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("reason", "M-2", "JAM"), "unknown machine 'M-2'; allowed: M-1"),
        (("reason", "M-1", "JAM"), "M-1: cannot name the stop: "),
        (("reason", "M-1", "JAM", "--at", "2020-01-01T00:00:00Z"), "found outside of a stop"),
        (("reason", "M-1", "JAM", "--at", "yesterday"), "a point in time needs its date, time and offset"),
        (("reason", "M-1", "x" * 301, "--at", "2020-01-01T00:00:00Z"), "allowed: a text of 1 to 300 characters"),
        (("order", "reclassify", "M-1", "4711", "1", "--from", "good", "--to", "scrap"), "REASON_MISSING"),
        (("order", "reclassify", "M-1", "4712", "1", "--from", "good", "--to", "scrap"), "several operations here"),
        (("order", "reclassify", "M-1", "4711", "0", "--from", "good", "--to", "scrap"), "a whole number, 1 and more"),
        (("states", "M-2"), "unknown work unit 'M-2'; known: M-1"),
        (("states", "M-1", "--order", "9999"), "M-1: no final state of order '9999'"),
    ],
    ids=lambda words: " ".join(words)[:60] if isinstance(words, tuple) else "",
)  # fmt: skip
def test_what_cannot_be_done_says_why(ask, arguments, said):
    code, out, err = ask(*arguments)
    assert (code, out) == (1, "")
    assert said in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("states", "M-1", "--from", "noon"), "--from: a point in time needs its date, time and offset"),
        (("states", "M-1", "--from", "2026-01-01T00:00:00Z", "--day", "2026-01-01"), "choose one of them"),
        (("reason", "M-1", "JAM", "--from", "2026-01-01T00:00:00Z"), "both --from TIME and --to TIME"),
    ],
)
def test_wrong_usage(ask, arguments, said):
    code, out, err = ask(*arguments)
    assert (code, out) == (2, "")
    assert said in err


def add_intervals(database_file, *intervals):
    """As if the gateway had found them; their times are steady, in seconds before its last commit."""
    with sqlite3.connect(database_file) as database:
        ((now_ns,),) = database.execute("SELECT last_time_ns FROM meta")
        ((seq,),) = database.execute("SELECT coalesce(max(last_seq), 0) FROM journal_head WHERE work_unit = 'M-1'")
        for number, (state, from_s, to_s, more) in enumerate(intervals, seq + 1):
            interval = StateInterval(state, now_ns - from_s * S, now_ns - to_s * S, **more)
            body = json.dumps(interval._asdict()).encode()
            database.execute(
                "INSERT INTO journal (work_unit, seq, at_ns, kind, body) VALUES ('M-1', ?, ?, 'interval', ?)",
                (number, interval.to_ns, body),
            )


def test_states_are_listed_also_when_the_gateway_has_stopped(linegate, start_daemon):
    daemon = start_daemon()
    daemon.take_orders()
    code, out, err = linegate("states", "M-1", "-d", daemon.state_dir)
    assert (code, out) == (1, "")
    assert "M-1: no final state in that time; it does UNKNOWN since" in err
    daemon.close()
    shift = {"shift": "2026-03-27/F"}
    order = {"order": "4711", "operation": "0010", **shift}
    add_intervals(
        daemon.state_dir / "linegate.db",
        (M.UNKNOWN, 3600, 3000, {"reason": "COMM_LOSS", **shift}),
        (M.PRODUCING, 3000, 1200, order),
        (M.STOPPED, 1200, 600, {"reason": "JAM", "reason_source": "alarm", "stop_from_ns": 1, **order}),
    )
    code, out, err = linegate("states", "M-1", "-c", daemon.config)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[1:4] for line in lines[:4]] == [
        ["LENGTH", "STATE", "TIME"], ["0:10:00.0", "UNKNOWN", "UNK"], ["0:30:00.0", "PRODUCING", "APT"],
        ["0:10:00.0", "STOPPED", "ADET"],
    ]  # fmt: skip
    assert lines[3].endswith("4711/0010        JAM by alarm")
    sums = dict(zip(lines[5].split(), lines[6].split(), strict=True))
    assert (sums["SHIFT"], sums["APT"], sums["UNK"], sums["AVAIL"], sums["QUAL"], sums["OEE"]) == (
        "2026-03-27/F", "0:30:00.0", "0:10:00.0", "60.0%", "-", "-",
    )  # fmt: skip
    assert lines[7] == "2026-03-27/F: only 80.0% of its planned busy time is known"
    assert lines[-1].startswith("M-1: UNKNOWN since ")
    code, out, _err = linegate("states", "M-1", "--shift", "2026-03-27/F", "--sums", "--json", "-d", daemon.state_dir)
    assert code == 1, "that day is far from when it was"
    code, out, _err = linegate("states", "M-1", "--order", "4711", "--json", "-d", daemon.state_dir)
    found = json.loads(out)
    assert [one["state"] for one in found["intervals"]] == ["PRODUCING", "STOPPED"]
    assert (found["by"], found["groups"][0]["name"]) == ("order", "4711/0010")
    assert (found["groups"][0]["kpis"]["availability"], found["groups"][0]["kpis"]["quality_ratio"]) == (0.75, None)
    assert found["groups"][0]["times"]["adet_ms"] == 600_000


def test_the_status_says_since_when_and_why(ask):
    code, out, _err = ask("status")
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith("MACHINE")]
    assert line.split()[:4] == ["MACHINE", "STATE", "SINCE", "ORDER"]
