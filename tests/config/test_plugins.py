"""Plugins are found through real entry points of real (small) distributions on the path."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PRESS = """
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from drivers.base import DriverType
from gateway.connectors.base import ConnectorType

@dataclass(frozen=True, kw_only=True)
class Signal:
    register: int

@dataclass(frozen=True, kw_only=True)
class Press:
    driver: Literal["press"]
    host: str
    signals: dict[str, Signal]

@dataclass(frozen=True, kw_only=True)
class Post:
    connector: Literal["post"]
    url: str

def no_io(*_):
    raise AssertionError("check builds nothing")

DRIVER = DriverType(
    name="press",
    settings=Press,
    build=no_io,
    describe=lambda s: [f"{name}: register {signal.register}" for name, signal in s.signals.items()],
    simulated=lambda s: s.host == "simulated",
)
CONNECTOR = ConnectorType(name="post", settings=Post, build=no_io, describe=lambda s: [f"posts to {s.url}"])
"""
BROKEN = 'raise RuntimeError("no such library here")\n'

CONFIG = """\
gateway: { id: box, plant: P, state_dir: state }
sources:
  asm: { driver: press, host: simulated, signals: { good: { register: 1 } } }
work_units:
  ASM-01: { work_center: WC, ideal_cycle: 1 s, counters: [{ mode: counter, signal: asm.good }] }
connectors:
  erp: { connector: post, url: "http://127.0.0.1:1" }
"""


def distribution(site, name, *, modules=(), points="", top_level=""):
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(textwrap.dedent(points), encoding="utf-8")
    (info / "top_level.txt").write_text(top_level, encoding="utf-8")
    (info / "RECORD").write_text("", encoding="utf-8")
    for module, text in modules:
        (site / f"{module}.py").write_text(text, encoding="utf-8")


@pytest.fixture
def site(tmp_path):
    site = tmp_path / "site"
    distribution(
        site,
        "presses",
        modules=[("press_plugin", PRESS)],
        points="""
        [linegate.drivers]
        press = press_plugin:DRIVER
        [linegate.connectors]
        post = press_plugin:CONNECTOR
        """,
    )
    (tmp_path / "linegate.yaml").write_text(CONFIG, encoding="utf-8")
    return site


@pytest.fixture
def cli(tmp_path):
    """Runs one sub-command of ``gateway.cli.config`` in a process of its own, with ``site`` on its path."""
    script = (
        "import argparse, sys; from gateway.cli import config; p = argparse.ArgumentParser(); "
        "config.add_parser(p.add_subparsers(required=True)); a = p.parse_args(); sys.exit(a.run(a))"
    )

    def running(*arguments, site=None, **env):
        path = os.pathsep.join([str(site), str(ROOT)] if site else [str(ROOT)])
        clean = {key: value for key, value in os.environ.items() if not key.startswith("LINEGATE_")}
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=tmp_path,
            env={**clean, "PYTHONPATH": path, **env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        # What the installed linegate itself cannot load here is the matter of other tests.
        said = [line for line in done.stderr.splitlines() if " of linegate 0" not in line]
        done.stderr = "\n".join(said)
        return done

    return running


def test_check_says_what_the_gateway_would_do(cli, site):
    done = cli("check", "linegate.yaml", site=site)
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        "source asm: press (simulated)",
        "  good: register 1",
        "work unit ASM-01: work center WC",
        "connector erp: post",
        "  posts to http://127.0.0.1:1",
        "mqtt: none",
    ):
        assert line in done.stdout.splitlines()
    assert "linegate.yaml: ok, " in done.stdout


def test_check_json(cli, site, tmp_path):
    import json

    done = json.loads(cli("check", "--json", "linegate.yaml", site=site).stdout)
    assert done["ok"] is True
    assert done["sources"]["asm"] == {
        "driver": "press", "template": None, "simulated": True, "signals": ["good: register 1"], "writable": {},
    }  # fmt: skip
    (tmp_path / "linegate.yaml").write_text(CONFIG.replace("driver: press", "driver: pres"), encoding="utf-8")
    done = cli("check", "--json", "linegate.yaml", site=site)
    assert done.returncode == 1
    (error,) = json.loads(done.stdout)["errors"]
    assert (error["file"], error["line"], error["column"]) == ("linegate.yaml", 3, 18)
    assert (error["path"], "did you mean 'press'" in error["message"]) == ("sources.asm.driver", True)


def test_check_prints_errors_and_reads_the_environment(cli, site):
    done = cli("check", "linegate.yaml", site=site, LINEGATE_GATEWAY__ID="a b")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0].startswith("environment: LINEGATE_GATEWAY__ID: gateway.id: found 'a b'")
    assert done.stderr.splitlines()[-1] == "linegate.yaml: 1 error"


def test_a_broken_plugin_does_not_stop_the_others(cli, site):
    points = "[linegate.drivers]\nbroken = broken_plugin:DRIVER\nodd = press_plugin:CONNECTOR\n"
    distribution(site, "brokens", modules=[("broken_plugin", BROKEN)], points=points)
    done = cli("check", "linegate.yaml", site=site)
    assert done.returncode == 0
    assert "'broken' of brokens 1.0 cannot be used: RuntimeError: no such library here" in done.stderr
    assert "'odd' of brokens 1.0 cannot be used: press_plugin:CONNECTOR is not a DriverType" in done.stderr


def test_two_distributions_with_the_same_name(cli, site):
    distribution(site, "others", points="[linegate.drivers]\npress = other:DRIVER\n")
    done = cli("check", "linegate.yaml", site=site)
    assert done.returncode == 1
    assert "both provide 'press'; uninstall one" in done.stderr
    assert "presses 1.0" in done.stderr
    assert "others 1.0" in done.stderr


def test_a_distribution_that_shadows_ours(cli, site):
    distribution(site, "config", top_level="config\n")
    done = cli("check", "linegate.yaml", site=site)
    assert done.returncode == 1
    assert "package 'config': also installed by config, which may shadow linegate's" in done.stderr


def test_secrets_that_cannot_be_resolved_are_warnings_without_their_text(cli, site, tmp_path):
    mqtt = "mqtt: { host: localhost, password: { file: pw } }\n"
    (tmp_path / "linegate.yaml").write_text(CONFIG + mqtt, encoding="utf-8")
    (tmp_path / "pw").write_text("canary-51", encoding="utf-8")
    (tmp_path / "pw").chmod(0o644)
    done = cli("check", "linegate.yaml", site=site)
    assert done.returncode == 0
    assert "warning: pw: mqtt.password: others may read this secret (mode 0644); run: chmod 600 pw" in done.stderr
    (tmp_path / "pw").chmod(0o600)
    done_right = cli("check", "linegate.yaml", site=site)
    assert done_right.stderr == ""
    assert "canary" not in done.stdout + done.stderr + done_right.stdout


def test_schema_of_what_is_installed(cli, site):
    import json

    done = cli("schema", site=site)
    schema = json.loads(done.stdout)
    assert schema["$defs"]["press_driver"]["properties"]["host"]["type"] == "string"
    assert "stale_after" in schema["$defs"]["press_driver"]["properties"]


def test_init_writes_a_starter_and_overwrites_nothing(cli, tmp_path):
    assert cli("init").returncode == 0
    starter = (tmp_path / "linegate.yaml").read_text(encoding="utf-8")
    assert "gateway:" in starter
    done = cli("init", "linegate.yaml")
    assert done.returncode == 1
    assert "already exists and is not overwritten" in done.stderr
    assert cli("init", "other.yaml").returncode == 0
    (tmp_path / "folder").mkdir()
    assert cli("init", "folder").returncode == 0
    assert (tmp_path / "folder" / "linegate.yaml").read_text(encoding="utf-8") == starter
    assert "cannot be written" in cli("init", "nowhere/x.yaml").stderr
