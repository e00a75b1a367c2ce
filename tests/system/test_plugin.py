"""A driver in a distribution of its own: built, installed beside linegate, checked and run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[1] / "plugin_example"
DEADLINE_S = 100.0
pytestmark = pytest.mark.timeout(360)  # the first of them builds and installs it
CONFIG = """\
gateway: { id: box-1, plant: P1, state_dir: state }
sources:
  log: { driver: csv_tail, template: press-log }
work_units:
  PRESS-1: { work_center: WC-10, ideal_cycle: 10 ms, counters: [{ mode: counter, signal: log.good, slack: 100 }] }
connectors:
  share: { connector: file, folder: share }
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of packages with the example in it, as pip installs it; needs no network."""
    pytest.importorskip("hatchling", reason="the example's build back end is not installed")
    folder = tmp_path_factory.mktemp("plugin")
    # A copy, so that building leaves nothing in the source tree.
    ignored = shutil.ignore_patterns("__pycache__", ".pytest_cache")
    source = shutil.copytree(EXAMPLE, folder / "source", ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-index"]
    command = [*pip, "--no-build-isolation", "--target", folder / "site", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture
def environment(site):
    mine = {name: text for name, text in os.environ.items() if not name.startswith(("LINEGATE_", "PYTHON"))}
    return {**mine, "PYTHONPATH": str(site)}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "linegate.yaml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "press.csv").write_text("good,scrap\n100,0\n", encoding="utf-8")
    for name in ("orders", "confirmations"):
        (tmp_path / "share" / name).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def linegate(environment, folder):
    def run(*arguments):
        command = [sys.executable, "-P", "-m", "gateway", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, cwd=folder, env=environment
        )

    return run


def test_only_its_own_is_in_it(site):
    packages = {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")} - {"__pycache__"}
    assert packages == {"linegate_csv_tail.py", "linegate_csv_tail_templates"}


def test_check_takes_it(linegate):
    done = linegate("check", "linegate.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "source log: csv_tail, template press-log\n" in done.stdout
    assert "  good: column 'good' of ./press.csv" in done.stdout


def test_its_mistakes_are_told_like_all_others(linegate, folder):
    text = CONFIG.replace("template: press-log", "template: pres-log, scan: 1 ms")
    (folder / "linegate.yaml").write_text(text, encoding="utf-8")
    said = linegate("check", "linegate.yaml").stderr
    assert "linegate.yaml:3:38: sources.log.template: found 'pres-log', driver 'csv_tail' has no such template" in said
    assert "did you mean 'press-log'?" in said
    (folder / "linegate.yaml").write_text(text.replace("pres-", "press-"), encoding="utf-8")
    assert "sources.log.scan: found 1 ms, allowed 50 ms and above" in linegate("check", "linegate.yaml").stderr


def test_its_keys_are_in_the_schema(linegate):
    schema = json.loads(linegate("schema").stdout)
    assert "file" in schema["$defs"]["csv_tail_driver"]["properties"]


def test_a_running_gateway_counts_with_it(linegate, folder, environment):
    command = [sys.executable, "-P", "-m", "gateway", "run", "linegate.yaml"]
    with (folder / "log").open("wb") as log, subprocess.Popen(
        command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder, env=environment
    ) as gateway:  # fmt: skip
        try:
            until(lambda: status(linegate)["sources"][0]["state"] == "up", gateway, folder)
            with (folder / "press.csv").open("a", encoding="utf-8") as file:
                file.write("107,1\n")
            until(lambda: status(linegate)["work_units"][0]["counted_good"] == 7, gateway, folder)
        finally:
            gateway.terminate()
            gateway.wait(DEADLINE_S)


def status(linegate):
    done = linegate("status", "--json", "-d", "state")
    # Before the control socket listens there is nobody to ask.
    nobody = {"sources": [{"state": ""}], "work_units": [{"counted_good": None}]}
    return json.loads(done.stdout) if done.returncode == 0 else nobody


def until(condition, gateway, folder):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert gateway.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < end, (folder / "log").read_text()
        time.sleep(0.1)
