"""A process by ``warm`` is one by ``subprocess``: what it says, where it runs, whose child it is, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import warm

LINEGATE = (sys.executable, "-P", "-m", "gateway")


@pytest.mark.parametrize("words", [("--version",), ("strat",), ("status", "-d", "."), ("check", "none.yaml")], ids=str)
def test_output_errors_and_exit_status_are_those_of_a_cold_start(tmp_path, words):
    ended = [
        one(
            [*LINEGATE, *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "60"},
        )
        for one in (subprocess.run, warm.run)
    ]
    cold, forked = [(one.returncode, one.stdout, one.stderr) for one in ended]
    assert forked == cold


def test_folder_environment_and_input_are_what_was_given(tmp_path):
    assert warm.run([*LINEGATE, "init"], cwd=tmp_path, stdout=subprocess.DEVNULL).returncode == 0
    assert (tmp_path / "linegate.yaml").is_file()
    env = {**os.environ, "LINEGATE_GATEWAY__ID": "not a name"}
    done = warm.run([*LINEGATE, "check", "linegate.yaml"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, "LINEGATE_GATEWAY__ID" in done.stderr) == (1, True)
    done = warm.run([sys.executable, "-P", "-c", "print(input())"], input="a line", capture_output=True, text=True)
    assert done.stdout == "a line\n"
    with pytest.raises(subprocess.CalledProcessError):
        warm.run([*LINEGATE, "strat"], check=True, capture_output=True)


def test_it_is_a_child_that_ends_by_its_own_signal_and_its_group_is_its_own():
    with warm.Popen(
        [sys.executable, "-P", "-m", "simulators", "asm-01", "--port", "0"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        assert b"ready" in process.stdout.readline()
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
        assert int(status["PPid"]) == os.getpid()
        assert os.getsid(process.pid) == process.pid
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL


def test_what_the_interpreter_reads_at_its_start_is_not_lost():
    """A fork would not see it: such a process starts cold."""
    for env in ({**os.environ, "PYTHONVERBOSE": "1"}, os.environ):
        done = warm.run([*LINEGATE, "--version"], env=env, capture_output=True, text=True)
        assert ("import 'gateway.cli'" in done.stderr) == ("PYTHONVERBOSE" in env)
