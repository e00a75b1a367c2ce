"""Work units that come and go in one running gateway without orders, and what its log says."""

from __future__ import annotations

import json

SECOND = """
  M-2:
    work_center: WC-2
    counters:
      - { mode: pulse, signal: pins.other, role: good }
connectors:"""


def units(linegate, daemon):
    status = json.loads(linegate("status", "--json", "-d", daemon.state_dir).out)
    return {unit["id"]: unit for unit in status["work_units"]}


def test_a_machine_comes_and_goes(start_daemon, linegate, config_text):
    daemon = start_daemon()
    first = daemon.config.read_text()
    second = first.replace("\nconnectors:", SECOND).replace("{ pin: 17 }", "{ pin: 17 }\n      other: { pin: 18 }")
    daemon.config.write_text(second)
    ended = linegate("reload", "-d", daemon.state_dir)
    assert (ended.code, ended.out) == (0, "work unit M-2 added; source pins changed\n"), ended
    assert list(units(linegate, daemon)) == ["M-1", "M-2"]
    daemon.take_orders()
    daemon.until(lambda: units(linegate, daemon)["M-1"]["queue"], "the orders of M-1")
    daemon.config.write_text(first)
    ended = linegate("reload", "-c", daemon.config)
    assert (ended.code, ended.out) == (0, "work unit M-2 removed; source pins changed\n"), ended
    assert list(units(linegate, daemon)) == ["M-1"]
    daemon.config.write_text(second.replace("work_center: WC-1", "work_center: WC-3"))
    ended = linegate("reload", "-d", daemon.state_dir)
    assert ended.code == 1
    assert "found 'WC-3' instead of 'WC-1', which needs a restart of the gateway" in ended.err
    daemon.config.write_text(second)
    ended = linegate("reload", "-d", daemon.state_dir)
    assert (ended.code, ended.out) == (0, "work unit M-2 added; source pins changed\n"), ended


def test_the_log_changes_and_tests_are_no_change(start_daemon, linegate, config_text):
    daemon = start_daemon()
    text = daemon.config.read_text()
    daemon.config.write_text(text + "log: { level: error }\n")
    ended = linegate("reload", "-d", daemon.state_dir)
    assert (ended.code, ended.out) == (0, "log changed\n"), ended
    daemon.config.write_text(text + "log: { level: debug }\n")
    assert linegate("reload", "-d", daemon.state_dir).code == 0
    daemon.until(lambda: "configuration reloaded" in daemon.text(), "a line of the new level")
    more = (
        "tests: { a: { machine: M-1, series: [{ signal: pins.piece, every: 1 s, values: '1' }], confirmations: [] } }\n"
    )
    daemon.config.write_text(text + "log: { level: debug }\n" + more)
    assert linegate("reload", "-d", daemon.state_dir).out == "nothing changed\n"
