"""The unit, the user and the lock as systemd and pip see them."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "systemd"
UNIT = FOLDER / "linegate.service"
SECURITY_THRESHOLD = "17"  # tenths: 1.7 of 10; 0.2 of it: the kernel may be asked about its clock (never set it)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def tool(name):
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/bin:/bin:/usr/sbin:/sbin")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed, and CI must not go without it: apt-get install systemd")
        pytest.skip(f"{name} is not installed on this machine")
    return found


def run(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=False)


def test_the_unit_is_understood_without_a_complaint(tmp_path):
    verify = tool("systemd-analyze")
    program = tmp_path / "opt" / "venv" / "bin" / "linegate"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "linegate.service"
    text = UNIT.read_text()
    assert text.count("/opt/linegate/") == 2  # start and reload
    unit.write_text(text.replace("/opt/linegate/", f"{tmp_path}/opt/"))
    result = run(verify, "verify", "--man=no", unit)
    assert result.stderr == ""
    assert result.returncode == 0
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSecs="))
    assert "WatchdogSecs" in run(verify, "verify", "--man=no", unit).stderr, "this check sees no fault"


def test_the_sandbox_is_tight(tmp_path):
    security = (tool("systemd-analyze"), "security", "--offline=yes", f"--threshold={SECURITY_THRESHOLD}", "--no-pager")
    result = run(*security, UNIT)
    assert result.returncode == 0, result.stdout + result.stderr
    loose = tmp_path / "linegate.service"
    loose.write_text(
        UNIT.read_text().replace("SystemCallFilter=@system-service\n", "").replace("PrivateUsers=yes\n", "")
    )
    assert run(*security, loose).returncode != 0, "this check sees no fault"


def test_the_user_and_its_device_groups(tmp_path):
    sysusers = tool("systemd-sysusers")
    if os.geteuid() != 0:
        pytest.skip("only root may make users, even below another root folder")
    (tmp_path / "etc").mkdir()
    result = run(sysusers, f"--root={tmp_path}", FOLDER / "linegate.sysusers.conf")
    assert result.returncode == 0, result.stderr
    assert "linegate:" in (tmp_path / "etc/passwd").read_text()
    groups = dict(line.split(":", 1) for line in (tmp_path / "etc/group").read_text().splitlines())
    supplementary = re.search(r"^SupplementaryGroups=(.*)$", UNIT.read_text(), re.MULTILINE)[1].split()
    assert supplementary == ["gpio", "dialout"]
    for group in supplementary:
        assert groups[group].endswith(":linegate")


def test_the_folders_and_who_may_read_them(tmp_path):
    tmpfiles = tool("systemd-tmpfiles")
    if os.geteuid() != 0:
        pytest.skip("only root may give files to another user")
    (tmp_path / "etc/linegate").mkdir(parents=True)
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nlinegate:x:900:901::/:/bin/false\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nlinegate:x:901:\n")
    (tmp_path / "etc/linegate/linegate.yaml").write_text("")
    result = run(tmpfiles, "--create", f"--root={tmp_path}", FOLDER / "linegate.tmpfiles.conf")
    assert result.returncode == 0, result.stderr
    config = (tmp_path / "etc/linegate/linegate.yaml").stat()
    assert (config.st_mode & 0o777, config.st_uid, config.st_gid) == (0o640, 0, 901)
    assert (tmp_path / "etc/linegate/credentials").stat().st_mode & 0o777 == 0o700


def locked(name):
    """Package to (version, number of hashes)."""
    packages = {}
    text = (FOLDER / name).read_text()
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    for line in lines:
        found = re.fullmatch(r"([a-z0-9][a-z0-9._-]*)==(\S+)\s+(.*?)\s*", line)
        assert found, f"not pinned: {line[:80]}"
        hashes = found[3].split()
        assert all(HASH.fullmatch(text) for text in hashes), f"not hashed: {line[:80]}"
        packages[found[1]] = (found[2], len(hashes))
    return packages


def test_the_lock_pins_and_hashes_every_runtime_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = locked("requirements.lock")
    assert all(hashes for _version, hashes in packages.values())
    for requirement in project["dependencies"]:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")
        assert name in packages, f"{name} is missing: make the lock again"
    for extra in ("pi", "sftp"):
        written = [re.split("[<>=]", text)[0] for text in project["optional-dependencies"][extra]]
        named = {name for text in written for name in re.findall(r"[a-z]+", text)}  # asyncssh[bcrypt] is both
        assert set(locked(f"requirements-{extra}.lock")) - set(packages) == named


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-pi.lock", "requirements-sftp.lock"])
def test_the_lock_names_no_index_and_no_place(name):
    text = "\n".join(line for line in (FOLDER / name).read_text().splitlines() if not line.startswith("#"))
    for word in ("index-url", "find-links", "trusted-host", "://", "file:"):
        assert word not in text
