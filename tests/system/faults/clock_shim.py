"""Builds ``clockshim.c`` and moves the wall clock of a process that was started with it.

The clock of this process, and of every one that was started without, is not touched.
"""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
import time
from pathlib import Path

SOURCE = Path(__file__).with_name("clockshim.c")
OFFSET = struct.Struct("=q")
NS_PER_S = 10**9


def missing():
    """What is not installed, "" if nothing."""
    return "" if shutil.which("gcc") else "gcc is not installed: apt-get install gcc libc6-dev"


def build(folder):
    """The library."""
    library = folder / "clockshim.so"
    command = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


class WallClock:
    """What processes with ``env`` take for the wall clock; ``set`` it while they run."""

    def __init__(self, library, file):
        file.write_bytes(OFFSET.pack(0))
        self.env = {"LD_PRELOAD": str(library), "CLOCKSHIM_FILE": str(file)}
        self.ahead_s = 0.0
        with file.open("r+b") as opened:
            self._page = mmap.mmap(opened.fileno(), OFFSET.size)

    def set(self, ahead_s):
        """So many seconds ahead of the real time; negative: behind."""
        self.ahead_s = ahead_s
        self._page[:] = OFFSET.pack(round(ahead_s * NS_PER_S))

    def show(self, utc_s):
        """Make it show this UTC (seconds) now, and go on from there."""
        self.set(utc_s - time.time())

    def utc(self):
        """What it shows."""
        return time.time() + self.ahead_s

    def close(self):
        self._page.close()
