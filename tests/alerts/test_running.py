"""A whole gateway as a process: a link that is down is told once, and the test verb, with and without a gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import NamedTuple

import pytest
import warm

from gateway.cli import main

WAIT_S = 60.0
CONFIG = """
gateway: { id: box-1, plant: P1, timezone: Europe/Berlin, state_dir: STATE_DIR }
sources: { pins: { driver: digital_io, pins: simulated, signals: { piece: { pin: 17 } } } }
work_units: { M-1: { work_center: WC-1, ideal_cycle: 2 s, counters: [{ mode: pulse, signal: pins.piece }] } }
connectors:
  share: { connector: file, folder: share, poll_orders: 100 ms, backoff_max: 1 s }
log: { level: debug, repeat_interval: 0 s }
"""


def environment():
    return {name: text for name, text in os.environ.items() if not name.startswith(("LINEGATE_", "NOTIFY_"))}


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def linegate(capsys):
    """A command in this process: the same code, without its start."""

    def run(*arguments):
        code = main(list(map(str, arguments)))
        return Ended(code, *capsys.readouterr())

    return run


@pytest.fixture
def configured(tmp_path, write_secrets, section):
    write_secrets(tmp_path)
    config = tmp_path / "linegate.yaml"
    section = section.replace("every: 1 min", "every: 3 s").replace("link_down_after: 5 min", "link_down_after: 1 s")
    config.write_text(CONFIG.replace("STATE_DIR", str(tmp_path / "state")) + section + "  resolved_after: 1 s\n")
    return config


@pytest.fixture
def start(configured):
    running = []

    def started():
        log = (configured.parent / "log").open("ab")
        running.append(
            warm.Popen([sys.executable, "-P", "-m", "gateway", "run", str(configured)], stdin=subprocess.DEVNULL,
                             stdout=log, stderr=log, env=environment())
        )  # fmt: skip
        log.close()
        return running[-1]

    yield started
    for process in running:
        process.kill()
        process.wait()


def until(check, what, log):
    end = time.monotonic() + WAIT_S
    while not (found := check()):
        assert time.monotonic() < end, f"waited in vain for {what}: {log.read_text()}"
        time.sleep(0.05)
    return found


def test_a_link_that_is_down_is_told_once_and_that_it_is_up_again(start, configured, robots, secret_texts, linegate):
    log = configured.parent / "log"
    gateway = start()
    for kind in ("dingtalk", "wecom", "webhook"):
        (first,) = until(lambda kind=kind: robots.of(kind), f"an alert by {kind}", log)
        assert "NEW orders of share: link_down: down for" in first.text
    told = configured.parent / "state" / "alerts.json"
    until(lambda: told.exists() and told.read_text().count("link_down") == 3, "the file", log)
    gateway.kill()
    gateway.wait()
    start()
    until(lambda: log.read_text().count("running ") + log.read_text().count('"running"') >= 2, "the second run", log)
    asked = linegate("alerts", "test", "office", "-c", configured)
    assert (asked.returncode, asked.stdout) == (0, "office: told: HTTP 200 OK, errcode 0: ok\n"), asked.stderr
    wrong = linegate("alerts", "test", "kitchen", "-c", configured)
    assert wrong.returncode == 1
    assert "channel: found 'kitchen', allowed: office, program, room" in wrong.stderr
    (configured.parent / "share" / "orders").mkdir(parents=True)
    last = until(lambda: [one for one in robots.taken if "RESOLVED" in one.text], "the good news", log)
    assert "RESOLVED orders of share: link_down, after" in last[0].text
    until(lambda: len([one for one in robots.taken if "RESOLVED" in one.text]) == 3, "everybody to know", log)
    assert [one.text for one in robots.taken if "NEW orders of share" in one.text][3:] == [], "told once"
    written = log.read_text() + told.read_text()
    assert [secret for secret in secret_texts if secret in written] == []


def test_a_test_message_with_the_configuration_alone(configured, robots, linegate):
    asked = linegate("alerts", "test", "-c", configured, "--json")
    assert asked.returncode == 0, asked.stderr
    assert [(one["channel"], one["ok"]) for one in json.loads(asked.stdout)] == [
        ("office", True), ("program", True), ("room", True),
    ]  # fmt: skip
    assert [one.text.startswith("linegate P1/box-1: test message") for one in robots.taken] == [True] * 3
    (configured.parent / "dingtalk.secret").write_text("SECwrong")
    refused = linegate("alerts", "test", "room", "-c", configured)
    assert (refused.returncode, refused.stdout) == (
        1, "room: NOT TOLD: HTTP 200 OK, errcode 310000: sign not match\n",
    )  # fmt: skip
    (configured.parent / "dingtalk.url").write_text("http://oapi.dingtalk.com/robot/send?access_token=0123456789")
    odd = linegate("alerts", "test", "room", "-c", configured)
    assert odd.returncode == 1
    assert "alerts.channels.room.url: the address in this secret: found http:// to another machine" in odd.stderr
    assert "0123456789" not in odd.stderr
    configured.write_text(CONFIG.replace("STATE_DIR", "state"))
    none = linegate("alerts", "test", "-c", configured)
    assert (none.returncode, none.stderr) == (
        1, "linegate: alerts: no channel is configured; name one in the section alerts, under channels\n",
    )  # fmt: skip
