"""The shape of the code: who may import whom, how long a thing may be, and whose the names are."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("gateway", "drivers", "buffer", "config", "simulators")
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
#: Names that say nothing: such a module becomes the place for everything.
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}
CONTRACTS = (
    "Layers, top to bottom",
    "The core is pure",
    "Simulators import nothing of ours",
    "Nothing of ours imports the simulators",
    "httpx is imported in one module only",
)


def modules():
    return sorted(path for name in OURS for path in (ROOT / name).rglob("*.py"))


def lint_imports(root, *options):
    """Run the contracts on a tree; exit code and what was said, unwrapped."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"COLUMNS": "300"}
    program = (
        "import sys; sys.path.insert(0, '.');"
        "from importlinter.cli import lint_imports_command; lint_imports_command(prog_name='lint-imports')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, "--no-cache", *options],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def copy_of_the_code(folder):
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in OURS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


def test_the_import_contracts_hold():
    code, said = lint_imports(ROOT)
    assert code == 0, said
    for contract in CONTRACTS:
        assert contract in said
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in said


def test_the_contracts_have_teeth(tmp_path):
    """One forbidden import for each contract, in a copy: each is found where it was planted."""
    copy_of_the_code(tmp_path)
    plant(tmp_path / "gateway/core/rate.py", "import time")
    plant(tmp_path / "gateway/core/duration.py", "import gateway.shown.status")
    plant(tmp_path / "simulators/pace.py", "import config")
    plant(tmp_path / "buffer/__init__.py", "import simulators.pace")
    plant(tmp_path / "drivers/base.py", "import httpx")
    code, said = lint_imports(tmp_path)
    assert code != 0
    assert f"Contracts: 0 kept, {len(CONTRACTS)} broken." in said, said
    for found in (
        "gateway.core.rate -> time",
        "gateway.core.duration -> gateway.shown.status",
        "simulators.pace -> config",
        "buffer -> simulators.pace",
        "drivers.base -> httpx",
    ):
        assert found in said


def plant(path, line):
    path.write_text(f"{path.read_text()}\n{line}\n")


def test_there_is_something_to_look_at():
    assert len(modules()) > 50


@pytest.mark.parametrize("name", OURS)
def test_modules_and_functions_are_short(name):
    too_long = []
    for path in sorted((ROOT / name).rglob("*.py")):
        source = path.read_text()
        lines = len(source.splitlines())
        if lines > MODULE_LINES_MAX:
            too_long.append(f"{path.relative_to(ROOT)}: {lines} lines, allowed {MODULE_LINES_MAX}")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    place = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                    too_long.append(f"{place}: {length} lines, allowed {FUNCTION_LINES_MAX}")
    assert too_long == []


def test_no_module_has_an_empty_name():
    named = {part: path for path in modules() for part in path.relative_to(ROOT).with_suffix("").parts}
    assert {part: path for part, path in named.items() if part in EMPTY_NAMES} == {}


def test_every_module_says_what_it_is():
    silent = [path for path in modules() if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_tests_are_no_package():
    """A package ``tests/buffer`` would shadow the real ``buffer``."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("name", OURS)
def test_the_name_is_ours(name):
    """Names this plain could belong to somebody else's package: then ours would be hidden, or theirs."""
    assert set(packages_distributions().get(name, [])) <= {"linegate"}
    spec = importlib.util.find_spec(name)
    assert spec is not None
    origins = {Path(place).resolve() for place in spec.submodule_search_locations or ()}
    assert len(origins) == 1
    if not origins <= {ROOT / name}:  # installed as a wheel and tested from there
        (origin,) = origins
        assert list(origin.parent.glob("linegate-*.dist-info"))


def test_no_two_parts_tell_their_trouble_under_one_name():
    told = {}
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        for name in re.findall(r'^TROUBLE: Final = "(.+)"$', path.read_text(), re.MULTILINE):
            told.setdefault(name, []).append(path.name)
    assert len(told) > 3
    assert {name: parts for name, parts in told.items() if len(parts) > 1} == {}, "each takes back what the other says"
