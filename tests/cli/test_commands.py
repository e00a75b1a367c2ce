"""Every command by itself: help, exit status, and what it says when something is missing."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import __version__, connectors
from gateway.cli import COMMANDS as MODULES
from gateway.cli import build_parser

COMMANDS = (
    (), ("run",), ("check",), ("schema",), ("init",), ("status",), ("order",), ("order", "start"),
    ("order", "interrupt"), ("order", "finish"), ("order", "list"), ("outbox",), ("outbox", "list"),
    ("outbox", "show"), ("outbox", "retry"), ("outbox", "discard"), ("demo",), ("simulate",),
)  # fmt: skip
HELP_S = 0.3
PR_CAPBSET_DROP = 24
#: A shared machine may be that much slower than the promise.
GENEROUS = 2
#: The first one may have to compile, and a processor that others use as well is slower.
TRIES = 5


def processor_s():
    """Time that ended processes of ours have had of a processor: others who want it too do not count."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(linegate, command):
    code, out, err = linegate(*command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: linegate{''.join(' ' + word for word in command)}")
    # A person must be told what it is for, not only how it is spelled.
    assert len(out.splitlines()) >= 4


@pytest.mark.parametrize("command", [(), ("demo",), ("status",)], ids=" ".join)
def test_help_is_quick(command):
    """A process that loads everything itself; those of the other tests need not."""
    took_s = []
    for _ in range(TRIES):
        began = processor_s()
        subprocess.run(
            [sys.executable, "-P", "-m", "gateway", *command, "--help"], check=True, stdout=subprocess.DEVNULL
        )
        took_s.append(processor_s() - began)
        if took_s[-1] < HELP_S * GENEROUS:
            break
    assert min(took_s) < HELP_S * GENEROUS, took_s


@pytest.mark.parametrize("command", ["order list", "status", "outbox retry 1", "audit verify"])
def test_a_word_loads_no_libraries(tmp_path, command):
    """They are three quarters of the time that a person waits for a word about a running gateway."""
    program = (
        "import sys\n"
        "from gateway.cli import main\n"
        f"main({[*command.split(), '-d', str(tmp_path)]!r})\n"
        "print(sorted({'asyncio', 'structlog', 'pydantic', 'yaml', 'httpx', 'gateway.cli.demo'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n"), done.stdout


def test_every_command_is_found_by_its_first_word():
    for word in MODULES:
        parser = build_parser(word)
        (commands,) = [action for action in parser._actions if isinstance(action.choices, dict)]
        assert word in commands.choices
        assert {MODULES[one] for one in commands.choices} == {MODULES[word]}
    (commands,) = [action for action in build_parser()._actions if isinstance(action.choices, dict)]
    assert list(commands.choices) == list(MODULES)


def test_help_names_every_command(linegate):
    out = linegate("--help").out
    for command in {words[0] for words in COMMANDS if words}:
        assert f"    {command} " in out, command


def test_check_takes_the_file_as_the_other_commands_do(linegate, tmp_path):
    code, out, err = linegate("check", "--config", str(tmp_path / "none.yaml"))
    assert (code, out) == (1, "")
    assert "none.yaml: there is no such file" in err


def test_version(linegate):
    assert linegate("--version") == (0, f"linegate {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "required: COMMAND"),
        (("strat",), "invalid choice: 'strat'"),
        (("run",), "FILE --config/-c is required"),
        (("order",), "required: VERB"),
        (("order", "stop", "M-1", "4711"), "invalid choice: 'stop'"),
        (("order", "start", "M-1"), "required: order"),
        (("outbox", "list", "--state", "lost"), "invalid choice: 'lost'"),
        (("outbox", "list", "--limit", "many"), "invalid int value: 'many'"),
        (("status", "-c", "a", "-d", "b"), "not allowed with argument"),
        (("outbox", "discard", "1"), "required: --reason"),
        (("simulate",), "required: name"),
        (("simulate", "asm-02"), "invalid choice: 'asm-02'"),
        (("check", "--yaml", "x"), "unrecognized arguments: --yaml"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_a_wrong_command_line_is_2_and_says_what_is_allowed(linegate, arguments, said):
    code, out, err = linegate(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "usage: linegate" in err


# --- without a daemon ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("what", ["missing file", "folder", "unreadable folder"])
def test_a_configuration_that_is_not_there(linegate, tmp_path, command, what):
    file = {
        "missing file": tmp_path / "linegate.yaml",
        "folder": tmp_path,
        "unreadable folder": tmp_path / "nowhere" / "linegate.yaml",
    }[what]
    code, out, err = linegate(command, file)
    assert (code, out) == (1, "")
    assert str(file) in err


def test_run_with_a_broken_configuration_names_every_error_and_starts_nothing(linegate, configured, tmp_path):
    text = configured.read_text().replace("pin: 17", "pin: seventeen").replace("work_center: WC-1", "work_centre: X")
    configured.write_text(text)
    code, out, err = linegate("run", configured)
    assert (code, out) == (1, "")
    assert "sources.pins.signals.piece.pin" in err
    assert "work_centre" in err
    assert f"{configured}:" in err
    assert not (tmp_path / "state").exists()


def test_check(linegate, configured):
    code, out, err = linegate("check", configured)
    assert code == 0, err
    assert "gateway box-1" in out
    assert "source pins: digital_io (simulated)" in out
    assert f"{configured}: ok, 0 warnings, sha256 " in out
    code, out, _err = linegate("check", "--json", configured)
    assert code == 0
    said = json.loads(out)
    assert said["ok"] is True
    assert {"ok", "warnings", "digest", "gateway", "sources", "work_units", "connectors", "mqtt"} <= set(said)
    assert said["work_units"]["M-1"]["work_center"] == "WC-1"
    configured.write_text(configured.read_text().replace("pin: 17", "pin: seventeen"))
    code, out, err = linegate("check", "--json", configured)
    assert (code, err) == (1, "")
    said = json.loads(out)
    assert said["ok"] is False
    assert [error["path"] for error in said["errors"]] == ["sources.pins.signals.piece.pin"]
    assert said["errors"][0]["line"] > 1


def test_what_init_writes_passes_the_check_and_is_not_overwritten(linegate, tmp_path):
    assert linegate("init", cwd=tmp_path).code == 0
    file = tmp_path / "linegate.yaml"
    assert linegate("check", file).code == 0
    before = file.read_text()
    code, _out, err = linegate("init", tmp_path)
    assert code == 1
    assert "already exists and is not overwritten" in err
    assert file.read_text() == before


def test_the_schema_of_a_notice_is_the_file(linegate):
    code, out, _err = linegate("schema", "--notice")
    assert (code, out) == (0, (Path(connectors.__file__).parent / "notice.schema.json").read_text())


def test_schema_is_json(linegate):
    code, out, _err = linegate("schema")
    assert code == 0
    assert json.loads(out)["type"] == "object"


ASKING = (
    ("status",), ("status", "--json"), ("order", "list"), ("order", "start", "M-1", "1"),
    ("order", "interrupt", "M-1", "1"), ("order", "finish", "M-1", "1"), ("outbox", "retry", "1"),
    ("outbox", "discard", "1", "--reason", "why"),
)  # fmt: skip


@pytest.mark.parametrize("command", ASKING, ids=" ".join)
def test_where_no_gateway_runs(linegate, tmp_path, command):
    code, out, err = linegate(*command, "--state-dir", tmp_path)
    assert (code, out) == (3, "")
    assert f"no linegate daemon runs in {tmp_path}" in err
    assert "linegate run FILE" in err


@pytest.mark.parametrize("command", [*ASKING, ("outbox", "list"), ("outbox", "show", "1")], ids=" ".join)
def test_where_the_state_directory_does_not_exist(linegate, tmp_path, command):
    gone = tmp_path / "gone"
    code, out, err = linegate(*command, "--state-dir", gone)
    assert (code, out) == (1, "")
    assert f"state directory {gone}: it does not exist" in err


def test_the_outbox_of_a_directory_without_a_database(linegate, tmp_path):
    code, _out, err = linegate("outbox", "list", "-d", tmp_path)
    assert code == 1
    assert "there is no database" in err


def test_the_socket_of_a_killed_gateway_is_no_gateway(linegate, tmp_path):
    import socket

    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control.sock"))
    assert linegate("status", "-d", tmp_path).code == 3


def test_a_state_directory_too_long_for_a_socket(linegate, configured, tmp_path):
    long = tmp_path / ("d" * 100)
    configured.write_text(configured.read_text().replace(str(tmp_path / "state"), str(long)))
    code, _out, err = linegate("run", configured)
    assert code == 1
    assert "a socket path has at most 107 bytes; shorten gateway.state_dir" in err


def test_a_state_directory_whose_parent_is_missing(linegate, configured, tmp_path):
    configured.write_text(configured.read_text().replace(str(tmp_path / "state"), str(tmp_path / "a" / "b")))
    code, _out, err = linegate("run", configured)
    assert code == 1
    assert f"the folder {tmp_path / 'a'} does not exist; create it" in err


def without_roots_privilege():
    """Root ignores file modes: in the child it gives that up (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH)."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (1, 2):
            if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


def test_a_state_directory_that_may_not_be_written(linegate, configured, tmp_path):
    readonly = tmp_path / "readonly"
    (readonly / "existing").mkdir(parents=True)
    text = configured.read_text()
    for state_dir, said in (
        (readonly / "state", "cannot be made: Permission denied"),
        (readonly / "existing", "lock cannot be opened for writing: Permission denied"),
    ):
        configured.write_text(text.replace(str(tmp_path / "state"), str(state_dir)))
        for folder in (readonly / "existing", readonly):
            folder.chmod(0o555)
        code, _out, err = linegate("run", configured, preexec_fn=without_roots_privilege)
        for folder in (readonly, readonly / "existing"):
            folder.chmod(0o755)
        assert code == 1, err
        assert f"state directory {state_dir}" in err
        assert said in err


def test_a_certificate_file_that_is_missing(linegate, configured):
    text = configured.read_text().replace(
        "{ connector: file, folder: share, poll_orders: 100 ms }",
        "{ connector: rest, url: https://erp.example.com, ca_file: no-such.pem }",
    )
    configured.write_text(text)
    code, _out, err = linegate("run", configured)
    assert code == 1
    assert f"{configured}:17:10: connectors.share: ca_file" in err
    assert "no-such.pem: cannot be used" in err


def test_the_reader_of_the_output_may_leave(configured):
    """``linegate schema | head -1``: no traceback, no error."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "gateway", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0
    assert err == ""
