"""Judges the wall clock: synchronised, trusted, or neither. Sets nothing, and does not carry time on (``clock.py``)."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from gateway.core.calendar.honest_time import TimeQuality

if TYPE_CHECKING:
    from collections.abc import Callable

#: ``gateway.clock``. auto: only a time server makes the clock right; trust: it is right unless it is impossible.
ClockSetting = Literal["auto", "trust"]

#: 2026-01-01T00:00:00Z. No gateway of this version ran earlier; a release moves it to the year in which it is made.
BUILT_NS: Final = 1_767_225_600_000_000_000
#: systemd-timesyncd makes it when it has set the clock for the first time after a boot.
TIMESYNC_FLAG: Final = Path("/run/systemd/timesync/synchronized")
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

_STA_UNSYNC: Final = 0x0040  # linux/timex.h
_TIME_ERROR: Final = 5
#: The rest of struct timex; 208 bytes in all on 64 bit, 128 on 32 bit, and some to spare.
_REST_BYTES: Final = 256


class _Timex(ctypes.Structure):
    """The beginning of struct timex (adjtimex(2)), which is all that is read."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * _REST_BYTES),
    )


class ClockJudge:
    """Says what the wall clock is worth now.

    The kernel knows it best. Where it may not be asked (a sandbox), systemd-timesyncd's flag is taken.
    """

    def __init__(
        self,
        setting: ClockSetting,
        kernel: Callable[[], bool | None] | None = None,
        flag: Path = TIMESYNC_FLAG,
    ) -> None:
        self._trust = setting == "trust"
        self._kernel = kernel_synchronised if kernel is None else kernel
        self._flag = flag

    def __call__(self, wall_ns: int) -> TimeQuality:
        """The quality of a wall-clock time that was just read, UTC nanoseconds; never HOLDOVER."""
        if wall_ns < BUILT_NS:
            return TimeQuality.IMPLAUSIBLE
        synchronised = self._kernel()
        if synchronised is None:
            synchronised = _exists(self._flag)
        if synchronised:
            return TimeQuality.SYNCHRONISED
        return TimeQuality.TRUSTED if self._trust else TimeQuality.UNSYNCHRONISED


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # may not be looked at: then nobody vouches
        return False


def kernel_synchronised() -> bool | None:
    """Whether the kernel holds its clock for synchronised; None where it cannot or may not be asked."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):  # not Linux
        return None
    asked = _Timex(modes=0)  # 0: only asks
    state = adjtimex(ctypes.byref(asked))
    if state < 0:
        return None
    return state != _TIME_ERROR and not asked.status & _STA_UNSYNC


def boot_id(path: Path = BOOT_ID) -> str:
    """The kernel's random name of this boot; empty where there is none, which is then never the same boot."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
