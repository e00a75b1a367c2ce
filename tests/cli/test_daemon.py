"""What a person and a program can ask a running gateway."""

from __future__ import annotations

import json
import sqlite3

import pytest

from gateway.shown.status import FeedView, GatewayView, SourceView, TargetView, WorkUnitView

FIELDS = {
    view: set(view.__dataclass_fields__) for view in (FeedView, GatewayView, SourceView, TargetView, WorkUnitView)
}  # fmt: skip


@pytest.fixture
def ask(linegate, daemon):
    return lambda *arguments: linegate(*arguments, "-d", daemon.state_dir)


def test_status_for_programs_has_every_key_and_nothing_else(ask, daemon):
    code, out, err = ask("status", "--json")
    assert (code, err) == (0, "")
    view = json.loads(out)
    assert set(view) == FIELDS[GatewayView] == {
        "id", "version", "pid", "started_ns", "now_ns", "epoch", "state_dir", "config_digest", "clock", "audit",
        "mqtt", "buffer", "reconciliation", "sources", "targets", "feeds", "work_units", "warnings",
    }  # fmt: skip
    assert view["pid"] == daemon.process.pid
    assert view["state_dir"] == str(daemon.state_dir)
    assert view["mqtt"] is None
    assert [set(source) for source in view["sources"]] == [FIELDS[SourceView]]
    assert [set(target) for target in view["targets"]] == [FIELDS[TargetView]]
    assert [set(feed) for feed in view["feeds"]] == [FIELDS[FeedView]]
    assert [set(unit) for unit in view["work_units"]] == [FIELDS[WorkUnitView]]
    assert view["sources"][0]["simulated"] is True
    assert isinstance(view["now_ns"], int)


def test_status_for_people(ask):
    code, out, _err = ask("status")
    assert code == 0
    assert out.splitlines()[0].startswith("box-1  linegate ")
    assert "M-1" in out
    assert "SIMULATED" in out
    assert "share" in out


def test_the_configuration_leads_to_the_daemon_as_well(linegate, daemon):
    code, out, err = linegate("status", "--json", "--config", daemon.config)
    assert code == 0, err
    assert json.loads(out)["pid"] == daemon.process.pid


def test_a_second_gateway_is_refused_with_the_first_ones_process_id(linegate, daemon):
    code, _out, err = linegate("run", daemon.config)
    assert code == 1
    assert f"in use by the gateway with process id {daemon.process.pid}" in err
    assert daemon.process.poll() is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("start", "M-2", "4711"), "unknown machine 'M-2'; allowed: M-1"),
        (("start", "M-1", "9999"), "M-1: cannot start 9999: order 9999 is not open at this work unit; open orders: 47"),
        (("start", "M-1", "4712"), "order 4712 has several operations here: 0010, 0020; name one"),
        (("start", "M-1", "4712", "0030"), "order 4712/0030 is not open at this work unit"),
        (("interrupt", "M-1", "4712", "0010"), "it is not running but DISPATCHED"),
        (("finish", "M-1", "4712", "0010"), "it has not been started"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_an_order_command_that_cannot_be_done_says_why(ask, arguments, said):
    code, out, err = ask("order", *arguments)
    assert (code, out) == (1, "")
    assert said in err


def test_an_order_on_hold_until_it_is_released(ask):
    order = ("M-1", "4712", "0020")
    assert ask("order", "hold", *order, "--reason", "lot recalled").code == 0
    code, _out, err = ask("order", "start", *order)
    assert code == 1
    assert "G1 no active hold: found hold lot recalled, wanted no active hold; quality or a supervisor releases" in err
    assert "ON_HOLD (sap: LKD) " in ask("order", "list", "--foreign", "sap").out
    assert ask("order", "release", *order).code == 0
    for verb, said in (
        ("release", "it is not on hold"),
        ("reopen", "it is open, DISPATCHED"),
        ("complete-setup", "setup"),
    ):
        code, _out, err = ask("order", verb, *order)
        assert (code, said in err) == (1, True)


def test_an_order_from_start_to_its_confirmation(ask, daemon):
    assert ask("order", "start", "M-1", "4711").code == 0
    code, _out, err = ask("order", "start", "M-1", "4711")
    assert (code, "it is running already" in err) == (1, True)
    listed = json.loads(ask("order", "list", "--json").out)
    assert {(job["order"], job["operation"]): job["state"] for job in listed["M-1"]} == {
        ("4711", "0010"): "IN_PROGRESS", ("4712", "0010"): "DISPATCHED", ("4712", "0020"): "DISPATCHED",
    }  # fmt: skip
    assert ask("order", "finish", "M-1", "4711").code == 0
    folder = daemon.folder / "share" / "confirmations"
    daemon.until(lambda: list(folder.glob("4711-0010-000001-*.csv")), "the final confirmation")

    def delivered():
        return json.loads(ask("outbox", "list", "--json", "--order", "4711", "--state", "delivered").out)

    daemon.until(delivered, "the posting to be settled")
    (posting,) = delivered()
    assert set(posting) == {
        "no", "key", "state", "target", "order", "operation", "seq", "kind", "created", "attempts", "lookups",
        "last_sent", "settled", "due", "reference", "error", "event", "derived", "latency_ms",
        "released",
        "step",
        "steps",
    }  # fmt: skip
    assert (posting["target"], posting["kind"], posting["seq"], posting["attempts"]) == ("share", "final", 1, 1)
    code, out, _err = ask("outbox", "list")
    assert code == 0
    assert "4711/0010" in out
    for which in (posting["no"], posting["key"]):
        shown = json.loads(ask("outbox", "show", which, "--json").out)
        assert shown["confirmation"]["order_id"] == "4711"
        times = [shown["stamps"][name] for name in ("t_event", "t_derived", "t_queued", "t_sent", "t_acked")]
        assert times == [posting[name] for name in ("event", "derived", "created", "last_sent", "settled")]
        lengths = [length for length in shown["stages_ms"].values() if length is not None]
        assert list(shown["stages_ms"]) == ["detection", "trigger", "waiting", "answer"]
        assert len(lengths) == (4 if posting["event"] else 2)
        assert shown["message"]["content_type"] == "text/csv"
    assert "4711" in ask("outbox", "show", posting["no"]).out
    code, _out, err = ask("outbox", "retry", posting["no"])
    assert code == 1
    assert "delivered" in err


@pytest.mark.parametrize("limit", ["0", "-1", "1001"])
def test_the_outbox_is_listed_in_bounds(ask, limit):
    code, out, err = ask("outbox", "list", "--limit", limit)
    assert (code, out) == (2, "")
    assert f"--limit: found {limit}, allowed 1 to 1000" in err


def test_an_empty_list_is_a_list_for_programs_and_a_word_for_people(ask):
    assert ask("outbox", "list", "--json", "--order", "none").out == "[]\n"
    assert ask("outbox", "list", "--order", "none").out == "nothing\n"


def test_asking_changes_nothing(ask, daemon):
    before = dump(daemon.state_dir / "linegate.db")
    for arguments in (("status",), ("order", "list"), ("outbox", "list"), ("outbox", "show", "1")):
        ask(*arguments)
    assert dump(daemon.state_dir / "linegate.db") == before


def dump(path):
    link = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        tables = ("outbox", "job", "journal")
        return [link.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables]
    finally:
        link.close()


def test_only_the_owner_may_ask(daemon):
    assert (daemon.state_dir / "control.sock").stat().st_mode & 0o777 == 0o600
    assert daemon.state_dir.stat().st_mode & 0o777 == 0o700
    assert (daemon.state_dir / "linegate.db").stat().st_mode & 0o777 == 0o600
