"""``linegate simulate``: the bundled simulators by their names."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.simulate import ERPS
from simulators.__main__ import ERPS as DOUBLES
from simulators.__main__ import chosen
from simulators.control import CommandError, Control
from simulators.erp import double

TABLE = Path(double.__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")


@pytest.fixture
def simulate():
    running = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gateway", "simulate", *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_erp_works_and_ends_by_a_signal(simulate, number):
    erp = simulate("erp", "--port", "0", "--release", "demo", "--no-stdin")
    ready = json.loads(erp.stdout.readline())
    assert ready["ready"] is True
    assert ready["pid"] == erp.pid  # one process: a signal reaches the simulator itself
    link = http.client.HTTPConnection("127.0.0.1", ready["port"], timeout=60)
    link.request("GET", "/orders")
    assert len(json.loads(link.getresponse().read())["orders"]) == 4
    link.close()
    erp.send_signal(number)
    out, err = erp.communicate(timeout=60)
    assert (erp.returncode, out, err) == (0, "", "")


def test_a_terminals_ctrl_c_reaches_it_once_and_leaves_nothing(simulate):
    machine = simulate("asm-01", "--port", "0", "--no-stdin")
    machine.stdout.readline()
    os.killpg(machine.pid, signal.SIGINT)
    _out, err = machine.communicate(timeout=60)
    assert (machine.returncode, err) == (0, "")
    with pytest.raises(ProcessLookupError):
        os.killpg(machine.pid, 0)


def test_commands_on_standard_input_and_its_end(simulate):
    machine = simulate("asm-01", "--port", "0")
    machine.stdout.readline()
    out, err = machine.communicate("stop\nnonsense\n", timeout=60)
    assert (machine.returncode, err) == (0, "")
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["ok"] for answer in answers] == [True, False]


@pytest.mark.parametrize("name", ["asm-01", "imm-01", "erp", "broker"])
def test_a_busy_port_is_a_sentence(simulate, name):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = simulate(name, "--port", port)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err.startswith(f"{name}: port {port} on 127.0.0.1 is busy; ")
    assert len(err.splitlines()) == 1


def test_options_of_the_simulator_are_its_own(simulate):
    helped = simulate("erp", "--help")
    out, _err = helped.communicate(timeout=60)
    assert helped.returncode == 0
    assert "--idempotent" in out
    refused = simulate("erp", "--port", "70000")
    _out, err = refused.communicate(timeout=60)
    assert refused.returncode == 2
    assert "allowed: 0 to 65535" in err


@pytest.mark.parametrize("name", ["asm-01", "imm-01", "tst-01", "fil-02", "pck-01"])
def test_a_machine_prints_a_configuration_that_passes(simulate, linegate, tmp_path, name):
    printing = simulate(name, *(["--socket", "pins.sock"] if name == "pck-01" else []), "--print-config")
    out, err = printing.communicate(timeout=60)
    assert (printing.returncode, err) == (0, "")
    (tmp_path / "linegate.yaml").write_text(out)
    checked = linegate("check", tmp_path / "linegate.yaml")
    assert checked.code == 0, checked.err


def test_the_names_are_those_that_there_are(simulate):
    from gateway.cli.simulate import NAMES
    from simulators.__main__ import SIMULATORS

    assert set(NAMES) == set(SIMULATORS)
    assert tuple(DOUBLES) == ERPS


def test_a_double_of_an_erp_is_named_behind_it(simulate):
    refused = simulate("erp", "sap_r2")
    _out, err = refused.communicate(timeout=60)
    assert (refused.returncode, err) == (2, "erp: found 'sap_r2', allowed: " + ", ".join(ERPS) + ", or nothing\n")
    helped, _ = simulate("erp", "--help").communicate(timeout=60)
    assert [name for name in ERPS if name not in " ".join(helped.split())] == []


@pytest.mark.parametrize("name", ["erp", *ERPS])
async def test_the_table_of_the_doubles_says_their_options_and_commands(name, tmp_path, monkeypatch):
    """What a double has beyond what all of them have is in its row, and nothing else is."""
    monkeypatch.chdir(tmp_path)
    common = argparse.ArgumentParser(add_help=False)
    double.add_arguments(common)
    module, options = chosen(name, [])
    parser = argparse.ArgumentParser(add_help=False)
    module.add_arguments(parser)
    (kind,) = [one for one in vars(module).values() if getattr(one, "__module__", "") == module.__name__
               and isinstance(one, type) and issubclass(one, double.Double)]  # fmt: skip
    plain, own = Control(name, read_stdin=False), Control(name, read_stdin=False)
    one = kind(options)
    double.Double.declare(one, plain)
    one.declare(own)
    await one.close()
    rows = [line for line in TABLE.splitlines() if line.startswith(f"| [`{name}`](#{name}) |")]
    assert len(rows) == 1, name
    _, _, _, has, does, *_ = rows[0].split("|")
    more = {word for action in parser._actions for word in action.option_strings}
    less = {word for action in common._actions for word in action.option_strings}
    assert set(re.findall("`(.+?)`", has)) == more - less
    assert set(re.findall("`(.+?)`", does)) == commands(own) - commands(plain)


def commands(control):
    with pytest.raises(CommandError) as caught:
        control.command("nonsense")
    return set(str(caught.value).partition("allowed: ")[2].split(", "))


@pytest.mark.parametrize("name", ["erp", *ERPS])
def test_an_erp_prints_the_connector_that_speaks_to_it(simulate, linegate, tmp_path, name):
    """Put behind a machine it is a whole configuration that passes."""
    machine, _ = simulate("asm-01", "--print-config").communicate(timeout=60)
    words = () if name == "erp" else (name,)
    out, err = simulate("erp", *words, "--port", "18081", "--print-config").communicate(timeout=60)
    assert "connectors:" in out, err
    whole = machine[: machine.index("\nconnectors:")] + "\n" + out
    (tmp_path / "linegate.yaml").write_text(whole)
    checked = linegate("check", tmp_path / "linegate.yaml")
    assert checked.code == 0, checked.err + whole


@pytest.mark.parametrize(("name", "has"), [("erp", False), ("broker", False), ("asm-01", True)])
def test_help_offers_only_what_has_an_effect(simulate, name, has):
    out, _ = simulate(name, "--help").communicate(timeout=60)
    assert ("--steady" in out, "--seed" in out) == (has, has)
    assert "--port" in out
