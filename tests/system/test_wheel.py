"""The installed product: what is in the wheel, and that it works without the source tree."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from gateway import __version__

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gateway", "drivers", "buffer", "config", "simulators")
DATA = (
    "config/examples/demo.yaml",
    "config/starter.yaml",
    "config/linegate.schema.json",
    "gateway/connectors/notice.schema.json",
)

pytestmark = pytest.mark.timeout(900)


def run(*command, cwd, check=True):
    mine = {name: text for name, text in os.environ.items() if not name.startswith(("LINEGATE_", "PYTHON"))}
    ended = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=cwd, env=mine, timeout=600, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert not check or ended.returncode == 0, ended.stdout + ended.stderr
    return ended


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # Without the build back end in this environment pip takes it from the package index.
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", *isolation]
    run(*pip, "--wheel-dir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("linegate-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A virtual environment with the wheel and nothing else of ours; the dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    (site_packages,) = (folder / "venv" / "lib").glob("python3*/site-packages")
    # Only the path: the .pth files in there, such as the one of an editable installation, are not followed.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install"]
    run(*pip, "--no-deps", "--no-index", "--ignore-installed", wheel, cwd=folder)
    return folder


def test_what_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        (entry_points,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
        assert f"\nVersion: {__version__}\n" in archive.read(metadata).decode()
        assert "linegate = gateway.cli:main" in archive.read(entry_points).decode()
    assert names.issuperset(DATA)
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    # Every module and every file that a module reads at run time, and nothing that belongs to the source tree only.
    for package in PACKAGES:
        ours = {
            file.relative_to(ROOT).as_posix()
            for file in (ROOT / package).rglob("*")
            if file.suffix in {".py", ".sql", ".yaml", ".json"}
        }
        assert ours <= names, ours - names
    assert any(name.startswith("buffer/") and name.endswith(".sql") for name in names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)


def test_it_is_the_wheel_that_runs(installed):
    python = installed / "venv" / "bin" / "python"
    code = "import gateway, drivers, buffer, config, simulators as s; print(gateway.__file__, s.__file__)"
    out = run(python, "-P", "-c", code, cwd=installed).stdout
    assert str(ROOT) not in out
    assert out.count(str(installed)) == 2


def test_the_commands_from_another_directory(installed, tmp_path):
    linegate = installed / "venv" / "bin" / "linegate"
    assert run(linegate, "--version", cwd=tmp_path).stdout == f"linegate {__version__}\n"
    (example,) = (installed / "venv" / "lib").glob("python3*/site-packages/config/examples/demo.yaml")
    assert f"{example}: ok, 0 warnings" in run(linegate, "check", example, cwd=tmp_path).stdout
    assert json.loads(run(linegate, "schema", cwd=tmp_path).stdout)["type"] == "object"
    run(linegate, "init", cwd=tmp_path)
    assert ": ok, " in run(linegate, "check", "linegate.yaml", cwd=tmp_path).stdout
    for name in ("asm-01", "tst-01", "imm-01", "fil-02", "pck-01", "erp", "broker"):
        assert "--print-config" in run(linegate, "simulate", name, "--help", cwd=tmp_path).stdout


def test_the_demo_balances_from_the_wheel(installed, tmp_path):
    linegate = installed / "venv" / "bin" / "linegate"
    ended = run(linegate, "demo", "--seconds", "2", "--speed", "50", "--json", cwd=tmp_path, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert json.loads(ended.stdout)["balanced"] is True
    log = (tmp_path / ".demo" / "gateway.log").read_text()
    assert str(ROOT / "gateway") not in log
