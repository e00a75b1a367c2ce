import os
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.lock import StateDirError, StateDirLock, StateDirLocked

HOLD = """
import sys, pathlib
from gateway.lock import StateDirLock
with StateDirLock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "state")],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout.readline() == b"held\n"
    yield child
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()


@contextmanager
def without_privileges():
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_makes_the_folder_for_its_owner_only_and_writes_the_pid(tmp_path):
    path = tmp_path / "state"
    with StateDirLock(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE((path / "lock").stat().st_mode) == 0o600
        assert (path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_second_process_is_refused_by_name_and_pid(tmp_path, holder):
    with pytest.raises(StateDirLocked) as caught:
        StateDirLock(tmp_path / "state").acquire()
    assert str(tmp_path / "state") in str(caught.value)
    assert str(holder.pid) in str(caught.value)
    assert caught.value.pid == holder.pid


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None])
def test_free_again_however_the_holder_ends(tmp_path, holder, end):
    if end is None:
        holder.stdin.close()
    else:
        holder.send_signal(end)
    holder.wait(timeout=60)
    with StateDirLock(tmp_path / "state"):
        assert (tmp_path / "state" / "lock").read_text() == f"{os.getpid()}\n"


def test_within_one_process_too(tmp_path):
    first = StateDirLock(tmp_path / "state")
    with first:
        with pytest.raises(StateDirLocked):
            StateDirLock(tmp_path / "state").acquire()
        with pytest.raises(StateDirError, match="already"):
            first.acquire()
    first.release()
    with first:
        pass


def test_an_unreadable_pid_is_no_reason_to_fail_otherwise(tmp_path):
    with StateDirLock(tmp_path / "state"):
        (tmp_path / "state" / "lock").write_text("not a number")
        with pytest.raises(StateDirLocked, match="another process") as caught:
            StateDirLock(tmp_path / "state").acquire()
    assert caught.value.pid is None


def test_a_missing_parent_is_named(tmp_path):
    with pytest.raises(StateDirError, match="does not exist") as caught:
        StateDirLock(tmp_path / "no" / "state").acquire()
    assert str(tmp_path / "no") in str(caught.value)
    assert not (tmp_path / "no").exists()


def test_a_file_in_its_place_is_named(tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(StateDirError, match="not a folder"):
        StateDirLock(tmp_path / "state").acquire()


def test_a_file_for_a_parent_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateDirError, match="cannot be made"):
        StateDirLock(tmp_path / "file" / "state").acquire()


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "state" / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(StateDirError, match="cannot be opened"):
        StateDirLock(tmp_path / "state").acquire()
    assert (tmp_path / "victim").read_text() == "precious"


def test_where_it_may_not_write():
    with tempfile.TemporaryDirectory() as name:
        parent = Path(name) / "parent"
        state = parent / "state"
        state.mkdir(parents=True)
        for folder in (Path(name), parent, state):
            folder.chmod(0o555)
        with without_privileges():
            with pytest.raises(StateDirError, match="Permission denied"):
                StateDirLock(parent / "other").acquire()
            with pytest.raises(StateDirError, match="cannot be opened for writing"):
                StateDirLock(state).acquire()
        for folder in (Path(name), parent, state):
            folder.chmod(0o755)
