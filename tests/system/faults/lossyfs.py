"""``lossyfs``: a mounted file system that loses what was not fsynced, and fails on command. Needs /dev/fuse and fusepy.

As a program (``python lossyfs.py MOUNT SOCKET``) it is the file system; it ends when its standard input does. In a
test, ``LossyFs`` starts that program and speaks to it::

    with LossyFs(folder) as card:            # card.mount is an empty file system
        card("cut torn 7")                   # after the processes on it were killed
        card("quota 2000000"), card("quota off")

One line a command, one line of JSON an answer:

    cut drop | cut random SEED | cut torn SEED   what was not fsynced is lost, kept by page, or by sector of 512 bytes
    sync                          everything is durable
    names strict|journal          a name is durable by an fsync of its folder, or by any fsync (as with ext4)
    enospc on|off, quota BYTES|off    no file may grow above it
    ro on|off                     read-only
    eio read|write|fsync N        the next N of them fail (-1: all, 0: none); what a failed fsync left is never durable
    slowsync MS                   each fsync takes so long
    kill PID N                    SIGKILL for a process when the N-th change from now on is asked for, before it is made
    stats                         writes, bytes, fsyncs, and what would be lost now
    record on, record save FILE   keep all changes from here on; write them down (``load`` reads them)
    mark TEXT                     a note in the record
"""

from __future__ import annotations

import contextlib
import ctypes.util
import errno
import json
import os
import pickle
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import lossy_disk

START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 60.0
BLOCK = 4096
#: What a process may be killed at: every change, and every flush.
CHANGING = {"write", "fsync", "fsyncdir", "truncate", "create", "unlink", "rename", "mkdir"}
LINE_BYTES_MAX = 65_536


def no_device():
    """Why it cannot run on this machine at all, "" where it can."""
    return "" if os.access("/dev/fuse", os.R_OK | os.W_OK) else "/dev/fuse cannot be opened: lossyfs not run"


def missing():
    """What is not installed, "" where all is."""
    if ctypes.util.find_library("fuse") is None:
        return "libfuse2 is not installed: lossyfs not run"
    if _unmounter() is None:
        return "fusermount is not installed: lossyfs not run"
    try:
        import fuse  # noqa: F401 - whether it is there
    except ImportError:
        return "fusepy is not installed: lossyfs not run"
    return ""


def load(path):
    """The record that ``record save`` has written."""
    with Path(path).open("rb") as file:
        return lossy_disk.Record(*pickle.load(file))


class LossyError(Exception):
    """The file system refused a command or is gone; says which."""


class LossyFs:
    """One mounted file system, in a process of its own. ``mount`` is where; calling it gives a command."""

    def __init__(self, folder):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.mount = folder / "card"
        self._socket = folder / "card.ctl"
        self._log = folder / "lossyfs.log"
        self._process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Mount it. Raises LossyError."""
        self.mount.mkdir(exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(self.mount), str(self._socket)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(OSError, LossyError):
                if os.path.ismount(self.mount):
                    self("stats")
                    return
            if self._process.poll() is not None or time.monotonic() > end:
                told = self._log.read_text(errors="replace")[-2000:]
                self.stop()
                raise LossyError(f"{self.mount}: not mounted: {told or 'no answer in time'}")
            time.sleep(0.02)

    def stop(self):
        """Unmount it; whatever still has a file open there gets an error."""
        subprocess.run([_unmounter(), "-u", "-z", str(self.mount)], check=False, capture_output=True)
        if self._process is not None:
            self._process.kill()  # nothing mounted any more: there is nothing that it could write down
            self._process.wait()
            self._process.stdin.close()
            self._process = None
        self._socket.unlink(missing_ok=True)

    def __call__(self, command):
        """Give a command; its answer. Raises LossyError."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(ANSWER_TIMEOUT_S)
            # The path of a socket is at most 107 bytes: pytest's folders are longer.
            link.connect(f"/proc/self/fd/{_folder_fd(self._socket)}/{self._socket.name}")
            link.sendall(command.encode() + b"\n")
            with link.makefile("rb") as lines:
                answer = json.loads(lines.readline() or b'{"error": "it is gone"}')
        if "error" in answer:
            raise LossyError(f"lossyfs: {command}: {answer['error']}")
        return answer


_FDS: dict[str, int] = {}


def _folder_fd(path):
    folder = str(path.parent)
    if folder not in _FDS:
        _FDS[folder] = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    return _FDS[folder]


def _unmounter():
    return shutil.which("fusermount") or shutil.which("fusermount3")


# --- the program ------------------------------------------------------------------------------------------------------


class Card:
    """The disk with its lock, its commands and how slow it is."""

    def __init__(self):
        self.disk = lossy_disk.Disk()
        self.lock = threading.RLock()
        self.slow_s = 0.0
        self.open = {}
        self.trap = None  # (process id, changes that are left)
        self._base = None

    def obey(self, line):
        """Do one command."""
        words = line.split()
        with self.lock:
            found = getattr(self, f"_{words[0]}", None) if words else None
            if found is None:
                raise ValueError(f"no command {line!r}")
            return found(*words[1:]) or {}

    def _cut(self, mode, seed="0"):
        self.disk.log = None  # a record goes up to here at most
        self.disk.cut(mode, random.Random(f"{mode}/{seed}"))

    def _sync(self):
        self.disk.sync()

    def _names(self, how):
        self.disk.strict_names = {"strict": True, "journal": False}[how]

    def _enospc(self, how):
        self.disk.quota = self.disk.used() if _on(how) else None

    def _quota(self, size):
        self.disk.quota = None if size == "off" else int(size)

    def _ro(self, how):
        self.disk.read_only = _on(how)

    def _eio(self, what, count):
        self.disk.failing |= {{"read": "read", "write": "write", "fsync": "fsync"}[what]: int(count)}

    def _slowsync(self, milliseconds):
        self.slow_s = int(milliseconds) / 1000

    def _kill(self, process, count):
        self.trap = (int(process), int(count))

    def sprung(self):
        """One change more is asked for."""
        if self.trap is not None:
            process, left = self.trap
            self.trap = (process, left - 1) if left > 1 else None
            if self.trap is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                raise OSError(errno.EIO, "its process was killed")

    def _stats(self):
        return self.disk.stats()

    def _record(self, what, path=""):
        if what == "on":
            self._base, self.disk.log = lossy_disk.copied(self.disk), []
        elif what == "save":
            with Path(path).open("wb") as file:
                pickle.dump((self._base, self.disk.log), file)
            return {"changes": len(self.disk.log)}  # TypeError, said as it is: nothing is recorded
        else:
            raise ValueError(f"record {what}: allowed are on and save FILE")
        return None

    def _mark(self, *words):
        if self.disk.log is not None:
            self.disk.log.append((time.time_ns(), "mark", words))


def _on(word):
    return {"on": True, "off": False}[word]


def _front(card):  # noqa: C901 - one short method for each question of the kernel
    from fuse import FuseOSError, Operations

    class Front(Operations):
        """What the kernel asks. Handles are numbers of inodes: a file that lost its name stays readable."""

        use_ns = True
        flag_nullpath_ok = 1
        # Not offered, so that the kernel asks only once.
        getxattr = setxattr = listxattr = removexattr = access = None

        def __call__(self, operation, *arguments):
            try:
                if operation == "fsync" and card.slow_s:
                    time.sleep(card.slow_s)  # without the lock: what is in the cache can still be read
                with card.lock:
                    if operation in CHANGING:
                        card.sprung()
                    return getattr(self, operation)(*arguments)
            except FuseOSError:
                raise
            except OSError as error:
                raise FuseOSError(error.errno) from error
            except KeyError as error:
                raise FuseOSError(errno.ENOENT) from error

        def init(self, path):
            return None

        def destroy(self, path):
            return None

        def _node(self, path, handle=None):
            return card.open[handle] if handle else card.disk.find(path)

        def getattr(self, path, fh=None):
            node = self._node(path, fh)
            return {
                "st_ino": node.number, "st_mode": node.mode, "st_nlink": 2 if node.is_folder else 1,
                "st_uid": os.getuid(), "st_gid": os.getgid(), "st_size": len(node.data), "st_blksize": BLOCK,
                "st_blocks": -(-len(node.data) // 512), "st_mtime": node.changed_ns, "st_ctime": node.changed_ns,
                "st_atime": node.changed_ns,
            }  # fmt: skip

        def readdir(self, path, fh):
            return [".", "..", *self._node(path, fh).entries]

        def opendir(self, path):
            return self._handle(card.disk.find(path))

        def releasedir(self, path, fh):
            return self.release(path, fh)

        def fsyncdir(self, path, datasync, fh):
            card.disk.fsync(self._node(path, fh))

        def mkdir(self, path, mode):
            card.disk.create(*card.disk.place(path), stat.S_IFDIR | mode)

        def mknod(self, path, mode, dev):
            card.disk.create(*card.disk.place(path), mode)

        def create(self, path, mode, fi=None):
            return self._handle(card.disk.create(*card.disk.place(path), stat.S_IFREG | stat.S_IMODE(mode)))

        def open(self, path, flags):
            if card.disk.read_only and flags & (os.O_WRONLY | os.O_RDWR):
                raise FuseOSError(errno.EROFS)
            return self._handle(card.disk.find(path))

        def release(self, path, fh):
            card.open.pop(fh, None)
            return 0

        def read(self, path, size, offset, fh):
            return card.disk.read(self._node(path, fh), size, offset)

        def write(self, path, data, offset, fh):
            return card.disk.write(self._node(path, fh), data, offset)

        def truncate(self, path, length, fh=None):
            card.disk.truncate(self._node(path, fh), length)

        def fsync(self, path, datasync, fh):
            card.disk.fsync(self._node(path, fh))

        def unlink(self, path):
            card.disk.unlink(*card.disk.place(path))

        rmdir = unlink

        def rename(self, old, new):
            card.disk.rename(*card.disk.place(old), *card.disk.place(new))

        def chmod(self, path, mode):
            node = card.disk.find(path)
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)

        def chown(self, path, uid, gid):
            return 0

        def utimens(self, path, times=None):
            card.disk.find(path).changed_ns = time.time_ns()

        def statfs(self, path):
            total = lossy_disk.CAPACITY_BYTES if card.disk.quota is None else card.disk.quota
            free = card.disk.free() // BLOCK
            return {
                "f_bsize": BLOCK, "f_frsize": BLOCK, "f_blocks": total // BLOCK, "f_bfree": free, "f_bavail": free,
                "f_files": 10_000, "f_ffree": 9_000, "f_favail": 9_000, "f_namemax": 255,
            }  # fmt: skip

        def _handle(self, node):
            self.handles += 1
            card.open[self.handles] = node
            return self.handles

        handles = 0

    return Front()


def _serve(card, listening):
    while True:
        link, _ = listening.accept()
        with link, link.makefile("rb") as lines:
            line = lines.readline(LINE_BYTES_MAX)
            try:
                answer = card.obey(line.decode())
            except (ValueError, KeyError, TypeError, AssertionError, OSError) as error:
                answer = {"error": repr(error)}
            with contextlib.suppress(OSError):
                link.sendall(json.dumps(answer).encode() + b"\n")


def _until_nobody_wants_it(mount):
    sys.stdin.buffer.read()
    subprocess.run([_unmounter(), "-u", "-z", mount], check=False, capture_output=True)


def main(mount, control):
    """Be the file system until it is unmounted."""
    from fuse import FUSE

    card = Card()
    os.chdir(Path(control).parent)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    Path(control).unlink(missing_ok=True)
    listening.bind(Path(control).name)
    listening.listen(64)
    threading.Thread(target=_serve, args=(card, listening), daemon=True).start()
    threading.Thread(target=_until_nobody_wants_it, args=(mount,), daemon=True).start()
    # Nothing is cached about names and sizes: behind a cut the kernel must ask again.
    FUSE(
        _front(card), mount, foreground=True, use_ino=True, hard_remove=True, big_writes=True, nonempty=True,
        attr_timeout=0, entry_timeout=0, negative_timeout=0, fsname="lossyfs",
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
