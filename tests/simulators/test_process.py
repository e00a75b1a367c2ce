import json
import os
import signal
import socket
import subprocess
import sys

import pytest
import warm
from kept_waiting import Taken

from simulators.control import Command, CommandError

CHEAP = ["asm-01", "erp"]


@pytest.mark.parametrize("name", [*CHEAP, "imm-01", "fil-02", "broker", "pck-01", "tst-01"])
def test_it_ends_quickly_and_silently_when_its_input_ends(simulator, name, tmp_path):
    one = simulator(name, *(["--socket", tmp_path / "none"] if name == "pck-01" else []))
    taken = Taken()
    one.process.stdin.close()
    assert one.wait_exit() == 0
    assert taken.seconds() < 4  # promised is 1 s; a machine that runs tests is busy
    assert one.process.stderr.read() == ""


@pytest.mark.parametrize("name", CHEAP)
def test_it_ends_on_sigterm_and_on_the_command_exit(simulator, name):
    one = simulator(name)
    one.process.send_signal(signal.SIGTERM)
    assert one.wait_exit() == 0
    two = simulator(name)
    assert two.ask("exit") == {"ok": True}
    assert two.wait_exit() == 0


def test_without_stdin_it_runs_until_sigterm(root):
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "simulators", "erp", "--no-stdin"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    with process:
        port = json.loads(process.stdout.readline())["port"]
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("name", [*CHEAP, "imm-01", "fil-02", "broker"])
def test_a_busy_port_is_said_in_plain_words(name):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = warm.run(
            [sys.executable, "-P", "-m", "simulators", name, "--port", str(port)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"{name}: port {port} on 127.0.0.1 is busy; ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["asm-02"], [], ["asm-01", "--speed", "0"], ["asm-01", "--port", "70000"]])
def test_wrong_arguments_are_refused(arguments):
    done = warm.run(
        [sys.executable, "-P", "-m", "simulators", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 2
    assert "asm-01" in done.stderr


def test_refused_commands_say_what_is_allowed_and_change_nothing(simulator):
    one = simulator("asm-01")
    assert one.ask("frobnicate")["error"].startswith("unknown command 'frobnicate'; allowed: blackhole, cut, ")
    assert one.ask("cut soon")["error"] == "'cut' got 'soon' for SECONDS; allowed: a number 0 to 86400"
    assert one.ask("")["ok"] is False
    one.say("x" * 5000)
    assert one.answer()["ok"] is False
    assert one.ask("stop")["ok"] is True


@pytest.mark.parametrize(
    ("usage", "line", "expected"),
    [
        ("set good|scrap VALUE", "good 7", ["good", 7]),
        ("job TEXT", "100240 0010 x", ["100240 0010 x"]),
        ("html COUNT [PATH]", "2", [2]),
        ("html COUNT [PATH]", "2 orders", [2, "orders"]),
        ("slow MS COUNT", "1.5 3", [1.5, 3]),
        ("set good|scrap VALUE", "bad 7", None),
        ("faults off|show", "off", ["off"]),
        ("lamp on", "on", ["on"]),
        ("lamp on", "off", None),
        ("restart [SECONDS] [lose|keep]", "6 keep", [6.0, "keep"]),
        ("restart [SECONDS] [lose|keep]", "keep", None),
        ("stop [REASON] [ALARM]", "fault 101", ["fault", 101]),
        ("stop [REASON] [ALARM]", "lunch", None),
        ("set good|scrap VALUE", "good -1", None),
        ("set good|scrap VALUE", "good", None),
        ("html COUNT [PATH]", "2 ledger", None),
        ("error STATUS COUNT", "200 1", None),
        ("cut SECONDS", "nan", None),
        ("cut SECONDS", "inf", None),
        ("restart", "now", None),
    ],
)
def test_a_usage_text_is_the_check_of_its_words(usage, line, expected):
    command = Command(usage, lambda *_: None)
    if expected is None:
        with pytest.raises(CommandError):
            command.parse(line.split())
    else:
        assert command.parse(line.split()) == expected


def test_named_values_are_checked_like_words():
    command = Command("html COUNT [PATH]", lambda *_: None)
    assert command.parse_named({"count": 2, "path": "all"}) == [2, "all"]
    with pytest.raises(CommandError, match="no 'times'; allowed: count, path"):
        command.parse_named({"count": 2, "times": 1})
    with pytest.raises(CommandError, match="lacks a value"):
        command.parse_named({"path": "all"})


PURITY = """
import importlib, sys
importlib.import_module(sys.argv[1])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("modbus_server", set()),
        ("tst_01", set()),
        ("digital_io", set()),
        ("erp.server", set()),
        ("broker", set()),
        ("__main__", set()),
        ("opcua_server", {"asyncua"}),
        ("opcua_filler", {"asyncua"}),
    ],
)
def test_a_simulator_imports_nothing_of_the_product_and_only_the_library_it_needs(root, module, heavy):
    done = subprocess.run(
        [sys.executable, "-P", "-c", PURITY, f"simulators.{module}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
        timeout=100,
        check=True,
    )
    imported = set(done.stdout.split())
    assert "simulators" in imported
    assert not imported & {"gateway", "drivers", "buffer", "config"}
    assert imported & {"asyncua", "pymodbus", "amqtt", "httpx", "pydantic", "paho"} == heavy


def test_a_broken_truth_file_is_named(tmp_path):
    done = warm.run(
        [sys.executable, "-P", "-m", "simulators", "asm-01", "--truth", str(tmp_path / "no" / "t.jsonl")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert "--truth" in done.stderr
    assert "Traceback" not in done.stderr
