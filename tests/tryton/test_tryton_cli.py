"""``linegate erp`` and ``linegate check`` with a real Tryton: the exact steps, its orders, what it has."""

from __future__ import annotations

import json

import partner as tryton
import pytest

from gateway.cli import main

CONFIG = """\
gateway: { id: gw-1, plant: RQ1, state_dir: STATE }
sources: { pins: { driver: digital_io, pins: simulated, signals: { piece: { pin: 17 } } } }
work_units:
  ASM-01: { work_center: ASSEMBLY, ideal_cycle: 2 s, counters: [{ mode: pulse, signal: pins.piece }] }
connectors:
  erp:
    connector: tryton
    url: "http://127.0.0.1:PORT"
    database: plant
    user: linegate
    password: { env: TRYTON_PASSWORD }
    timeout: 10 s
    work_centers: { ASSEMBLY: WC-ASM }
"""


@pytest.fixture
def config(tmp_path, server, monkeypatch):
    monkeypatch.setenv("TRYTON_PASSWORD", tryton.GATEWAY_PASSWORD)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "linegate.yaml"
    path.write_text(CONFIG.replace("STATE", str(tmp_path / "state")).replace("PORT", str(server.port)))
    return path


@pytest.fixture
def linegate(capsys):
    """``linegate(words ...)``: exit code and what it said; the command line runs in this process."""

    def run(*words):
        code = main([str(word) for word in words])
        told = capsys.readouterr()
        return code, told.out + told.err

    return run


def test_what_a_person_asks_before_the_first_start(linegate, config, partner, documents, tmp_path):
    """Sign-in, orders, the steps of a confirmation and whether it is there: nothing is changed by asking."""
    production = partner.order(100, tolerance=0.1)
    number = partner.one("production", [["id", "=", production]], "number")["number"]
    code, said = linegate("erp", "probe", "-c", config)
    assert (code, said) == (0, "erp: ok: signed in as linegate; productions can be read (1 asked)\n")
    code, said = linegate("erp", "orders", "-c", config)
    assert f"order {number} revision " in said
    assert "  10 at WC-IMM (no machine here): 100\n  20 at ASSEMBLY (ASM-01): 100" in said
    document = documents(number, 20).next(97, 3, kind="final")
    file = tmp_path / "confirmation.json"
    file.write_text(json.dumps(document))
    code, said = linegate("erp", "render", "--file", file, "-c", config, "--json")
    (one,) = json.loads(said)
    steps = [json.loads(message["body"])["step"] for message in one["messages"]]
    assert (code, steps) == (
        0, ["run", "cycle", "note", "cycle_run", "cycle_time", "cycle_do", "outputs", "do"],
    )  # fmt: skip
    code, said = linegate("erp", "lookup", document["idempotency_key"], "-c", config)
    assert code == 1, said
    assert partner.state(production) == "assigned"
    assert partner.cycles(production) == []


@pytest.mark.parametrize(
    ("found", "instead", "said"),
    [
        ("database: plant", "database: /plant", "database: found '/plant', allowed: 1 to 63 letters"),
        ("user: linegate", 'user: "li:ne"', "user: found 'li:ne', allowed: a login without a colon"),
        ("timeout: 10 s", "timeout: 10 min", "timeout: found"),
        ("timeout: 10 s", "overlap: 2 h", "overlap: found"),
        ("timeout: 10 s", "duration: [machine, machine]", "duration: found machine, machine, allowed: each time once"),
        ("timeout: 10 s", "duration: [break]", "duration"),
        ("timeout: 10 s", "error_classes: { UserError: ignored }", "error_classes"),
        ("{ ASSEMBLY: WC-ASM }", "{ A: WC-ASM, B: WC-ASM }", "work_centers: found a name of Tryton's twice"),
        ("http://127.0.0.1:PORT", "http://tryton.example.com", "url"),
        ("    password: { env: TRYTON_PASSWORD }\n", "", "password"),
        ("timeout: 10 s", "mapping: {}", "mapping"),
    ],
)
def test_what_check_says_of_wrong_settings(linegate, tmp_path, monkeypatch, found, instead, said):
    monkeypatch.setenv("TRYTON_PASSWORD", "x")
    path = tmp_path / "linegate.yaml"
    assert found in CONFIG
    path.write_text(CONFIG.replace(found, instead).replace("STATE", str(tmp_path)).replace("PORT", "1"))
    code, told = linegate("check", path)
    assert code != 0
    assert said in told
    assert "connectors.erp" in told


def test_what_probe_says_of_what_is_wrong_there(linegate, config):
    text = config.read_text()
    for found, instead, said in (
        ("user: linegate", "user: nobody", "HTTP 401"),
        ("database: plant", "database: elsewhere", "check url and database"),
    ):
        config.write_text(text.replace(found, instead))
        code, told = linegate("erp", "probe", "-c", config)
        assert code == 1
        assert "erp: NOT OK: " in told
        assert said in told
