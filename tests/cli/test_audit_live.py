"""The audit trail of a running gateway: decisions, refusals, configuration, users, start, stop, kill; signatures."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sys

import pytest
import warm

from buffer.audit_chain import ChainReader
from gateway.core.audit.chain import Verified
from gateway.lock import DATABASE_NAME

PASSPHRASE = "correct horse battery"


@pytest.fixture
def trail():
    """The whole chain, verified, as (action, user, outcome)."""

    def read(daemon):
        with ChainReader.open(daemon.state_dir / DATABASE_NAME) as reader:
            assert isinstance(reader.verify(), Verified)
            return [entry.content for entry in reader.entries()]

    return read


def actions(contents):
    return [(one.action, one.user, one.outcome) for one in contents]


def user(linegate, state_dir, name, role):
    """A token of a new user."""
    assert linegate("user", "add", name, "--full-name", f"{name} X", "--role", role, "-d", state_dir).code == 0
    return linegate("user", "token", name, "--role", role, "-d", state_dir).out.strip()


def say(daemon, *words, token="", line=""):
    env = {name: text for name, text in os.environ.items() if not name.startswith("LINEGATE_")}
    done = warm.run(
        [sys.executable, "-P", "-m", "gateway", *words, "-d", str(daemon.state_dir)], input=line, text=True,
        capture_output=True, check=False, timeout=90, env={**env, **({"LINEGATE_TOKEN": token} if token else {})},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_what_happens_is_in_the_trail_and_the_chain_is_whole(linegate, start_daemon, trail):
    daemon = start_daemon().listens()
    daemon.take_orders()
    assert say(daemon, "order", "start", "M-1", "4711")[0] == 0
    assert say(daemon, "order", "start", "M-1", "4711")[0] == 1, "it runs already"
    assert say(daemon, "order", "hold", "M-9", "4711")[0] == 1, "there is no such machine"
    config = daemon.config.read_text()
    daemon.config.write_text(config.replace("ideal_cycle: 2 s", "ideal_cycle: 3 s"))
    assert say(daemon, "reload")[0] == 0
    token = user(linegate, daemon.state_dir, "anna", "quality")
    daemon.until(lambda: ("token_issued", "login") in {(c.action, c.auth) for c in trail(daemon)}, "the user")
    assert say(daemon, "order", "hold", "M-1", "4711", "--reason", "look at it", token=token)[0] == 0

    found = trail(daemon)
    assert actions(found)[0] == ("gateway_started", "gateway", "done")
    assert [one.entity_id for one in found if one.action == "state_changed" and one.user == "erp"] == [
        "4711/0010", "4711/0010", "4712/0010", "4712/0010", "4712/0020", "4712/0020",
    ], "each is released, then dispatched"  # fmt: skip
    started, again = [one for one in found if one.action == "start"]
    assert (started.old, started.new, started.outcome) == ("DISPATCHED", "IN_PROGRESS", "done")
    assert (again.outcome, again.entity_id) == ("refused", "4711")
    unknown, held = [one for one in found if one.action == "hold"]
    assert (unknown.outcome, "unknown machine" in unknown.detail) == ("refused", True)
    assert (held.user, held.role, held.reason_text, held.outcome) == ("anna", "quality", "look at it", "done")
    assert held.auth.startswith("token ")
    changed = [one for one in found if one.action == "config_changed" and one.field]
    assert [(one.field, one.reason_code) for one in changed if "ideal_cycle" in one.field] == [
        ("work_units.M-1.ideal_cycle", "reload")
    ]
    assert (("user_added", "anna") in {(one.action, one.entity_id) for one in found}) is True
    text = "\n".join(map(str, found))
    assert token.rsplit("_", 1)[1] not in text


def test_how_the_run_before_ended(start_daemon, trail):
    daemon = start_daemon().listens()
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    daemon = start_daemon().listens()
    daemon.close()
    daemon = start_daemon().listens()
    runs = [(one.action, one.detail) for one in trail(daemon) if one.action.startswith("gateway_")]
    assert [one for one, _ in runs] == [
        "gateway_started", "gateway_started", "gateway_stopped", "gateway_started",
    ]  # fmt: skip
    assert "did not end in order" in runs[1][1]
    assert runs[3][1] == "the run before ended in order"


def test_the_regulated_profile(linegate, start_daemon, trail, configured, tmp_path):
    config = configured.read_text().replace(str(tmp_path / "state"), "STATE_DIR")
    config = config.replace("plant: P1,", "plant: P1, profile: regulated,")
    daemon = start_daemon(config).listens()
    daemon.take_orders()
    code, _, err = say(daemon, "order", "hold", "M-1", "4711", "--reason", "x")
    assert code == 1
    assert "USER: found a login of this computer" in err
    assert "LINEGATE_TOKEN" in err
    token = user(linegate, daemon.state_dir, "anna", "quality")
    code, _, err = say(daemon, "order", "hold", "M-1", "4711", token=token)
    assert (code, "REASON: found none" in err) == (1, True)
    assert "ROLE_NOT_ALLOWED" in say(daemon, "order", "start", "M-1", "4711", "--reason", "x", token=token)[2]
    # That a token was issued is written down with the next look, which may come just now.
    (refused,) = [one for one in trail(daemon) if one.action == "start"]
    assert (refused.action, refused.user, refused.role, refused.outcome) == ("start", "anna", "quality", "refused")
    assert refused.auth.startswith("token "), "who it was, not the login of the computer"
    assert say(daemon, "order", "hold", "M-1", "4711", "--reason", "x", token=token)[0] == 0
    release = ("order", "release", "M-1", "4711", "--reason", "checked")
    code, _, err = say(daemon, *release, token=token)
    assert (code, "SIGNATURE: found no passphrase" in err) == (1, True)
    code, _, err = say(daemon, *release, "--sign", token=token, line=PASSPHRASE)
    assert "a wrong passphrase (1 in a row)" in err
    assert "linegate user passphrase" in err
    done = warm.run(
        [sys.executable, "-P", "-m", "gateway", "user", "passphrase", "anna", "-d", str(daemon.state_dir)],
        input=PASSPHRASE, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    code, out, err = say(daemon, *release, "--sign", token=token, line=PASSPHRASE)
    assert (code, err) == (0, ""), out
    *_, released, signed = [one for one in trail(daemon) if one.action in ("release", "signed")]
    assert (released.action, released.old, released.user) == ("release", "ON_HOLD", "anna")
    signature = json.loads(signed.new)
    assert (signature["signer"], signature["full_name"]) == ("anna", "anna X")
    assert signature["meaning"] == "I release this from its hold"
    for place in (daemon.state_dir / DATABASE_NAME, daemon.state_dir / f"{DATABASE_NAME}-wal", daemon.folder / "log"):
        assert not place.exists() or PASSPHRASE.encode() not in place.read_bytes()

    for number in range(5):
        err = say(daemon, *release, "--sign", token=token, line="not the right one")[2]
        assert f"({number + 1} in a row)" in err
    err = say(daemon, *release, "--sign", token=token, line=PASSPHRASE)[2]
    assert "SIGNATURE: found 5 wrong passphrases in a row" in err
    assert "linegate user passphrase anna" in err
    assert len([one for one in trail(daemon) if one.action == "access_refused"]) == 6
    anew = ["user", "passphrase", "anna", "--reason", "forgotten", "-d", str(daemon.state_dir)]
    done = warm.run(
        [sys.executable, "-P", "-m", "gateway", *anew],
        input=f"{PASSPHRASE} anew", text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    err = say(daemon, *release, "--sign", token=token, line=PASSPHRASE)[2]
    assert "(1 in a row)" in err, "the old one is wrong, and it is looked at again"


def test_a_release_of_a_confirmation_is_signed_in_the_regulated_profile(
    linegate, start_daemon, trail, configured, tmp_path
):
    config = configured.read_text().replace(str(tmp_path / "state"), "STATE_DIR")
    config = config.replace("plant: P1,", "plant: P1, profile: regulated,")
    counted = "orders: { choose: command, counting_source: operator }\n    confirm: { undo_window: 5 min }"
    daemon = start_daemon(config.replace("orders: { choose: command }", counted)).listens()
    daemon.take_orders()
    token = user(linegate, daemon.state_dir, "berta", "supervisor")
    done = warm.run(
        [sys.executable, "-P", "-m", "gateway", "user", "passphrase", "berta", "-d", str(daemon.state_dir)],
        input=PASSPHRASE, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in (
        ("order", "start", "M-1", "4711"),
        ("order", "report", "M-1", "4711", "--good", "3"),
        ("order", "confirm", "M-1", "4711"),
    ):
        code, _, err = say(daemon, *words, token=token)
        assert code == 0, (words, err)
    (held,) = json.loads(say(daemon, "outbox", "list", "--state", "held", "--json")[1])
    number = str(held["no"])
    release = ("outbox", "release", number, "--reason", "cannot wait")
    code, _, err = say(daemon, *release, token=token)
    assert (code, "SIGNATURE: found no passphrase" in err) == (1, True)
    code, out, err = say(daemon, *release, "--sign", token=token, line=PASSPHRASE)
    assert (code, err) == (0, ""), out
    assert "number 1 for share is released" in out
    *_, released, signed = [one for one in trail(daemon) if one.action in ("release_posting", "signed")]
    assert (released.entity_id, released.user, released.reason_text) == (held["key"], "berta", "cannot wait")
    assert json.loads(released.new)["qty"]["good"] == "3"
    assert json.loads(signed.new)["meaning"] == "I let this be posted, whatever its target warned of"


def test_the_trail_on_the_command_line(start_daemon, trail):
    daemon = start_daemon().listens()
    daemon.take_orders()
    say(daemon, "order", "start", "M-1", "4711")
    shown = json.loads(say(daemon, "audit", "show", "--json", "--order", "4711")[1])
    assert [one["action"] for one in shown][-1] == "start"
    assert {one["order"] for one in shown} == {"4711"}
    assert "DISPATCHED -> IN_PROGRESS" in say(daemon, "audit", "show", "--order", "4711", "-n", "1")[1]
    assert json.loads(say(daemon, "audit", "show", "--json", "--who", "nobody")[1]) == []
    code, out, err = say(daemon, "audit", "verify")
    assert (code, err) == (0, "")
    assert out.startswith("whole: ")
    assert " entries, anchored 20" in say(daemon, "status")[1]
    anchor = json.loads(say(daemon, "status", "--json")[1])["audit"]["anchor"]
    _, _, _, number, digest = anchor.split("/")
    assert say(daemon, "audit", "verify", "--anchor", f"{number}:{digest}")[0] == 0
    code, out, _ = say(daemon, "audit", "verify", "--anchor", f"9999:{digest}")
    assert (code, "were cut off" in out) == (4, True)
    assert "allowed: NUMBER:HASH" in say(daemon, "audit", "verify", "--anchor", "x")[2]
    code, out, err = say(daemon, "audit", "export", "--format", "csv", "--who", "erp")
    assert (code, err) == (0, "")
    assert {row["user"] for row in csv.DictReader(io.StringIO(out, newline=""))} == {"erp"}
    code, out, err = say(daemon, "audit", "export", "--format", "html")
    assert out.startswith("<!DOCTYPE html>")
    assert "<script" not in out
    daemon.until(lambda: "exported" in {one.action for one in trail(daemon)}, "the export in the trail")
    assert {"verified", "exported"} <= {one.action for one in trail(daemon)}
