"""What the wall clock is worth: the kernel's word, timesyncd's flag, and what is possible at all."""

from __future__ import annotations

import ctypes
import sys
import time

import pytest

from gateway.core.calendar.honest_time import TimeQuality
from gateway.timing.clock_quality import BOOT_ID, BUILT_NS, ClockJudge, _Timex, boot_id, kernel_synchronised


@pytest.fixture
def flag(tmp_path):
    return tmp_path / "timesync" / "synchronized"


def raised(flag):
    flag.parent.mkdir()
    flag.touch()


@pytest.mark.parametrize(
    ("setting", "kernel", "expected"),
    [
        ("auto", True, TimeQuality.SYNCHRONISED),
        ("auto", False, TimeQuality.UNSYNCHRONISED),
        ("auto", None, TimeQuality.UNSYNCHRONISED),
        ("trust", True, TimeQuality.SYNCHRONISED),
        ("trust", False, TimeQuality.TRUSTED),
        ("trust", None, TimeQuality.TRUSTED),
    ],
)
def test_what_the_kernel_says(setting, kernel, expected, flag):
    assert ClockJudge(setting, lambda: kernel, flag)(BUILT_NS) is expected


@pytest.mark.parametrize("setting", ["auto", "trust"])
@pytest.mark.parametrize("wall_ns", [0, 5_000_000_000, BUILT_NS - 1])
def test_a_time_before_the_gateway_was_made_is_wrong_whoever_vouches_for_it(setting, wall_ns, flag):
    assert ClockJudge(setting, lambda: True, flag)(wall_ns) is TimeQuality.IMPLAUSIBLE


def test_timesyncd_s_flag_counts_where_the_kernel_may_not_be_asked(flag):
    judge = ClockJudge("auto", lambda: None, flag)
    assert judge(BUILT_NS) is TimeQuality.UNSYNCHRONISED
    raised(flag)
    assert judge(BUILT_NS) is TimeQuality.SYNCHRONISED


def test_the_kernel_s_word_counts_more_than_an_old_flag(flag):
    raised(flag)
    assert ClockJudge("auto", lambda: False, flag)(BUILT_NS) is TimeQuality.UNSYNCHRONISED


def test_a_flag_that_cannot_be_looked_at_vouches_for_nothing(tmp_path):
    too_long = tmp_path / ("x" * 300)
    with pytest.raises(OSError, match="too long"):
        too_long.stat()
    assert ClockJudge("auto", lambda: None, too_long)(BUILT_NS) is TimeQuality.UNSYNCHRONISED


def test_this_very_box_can_be_asked():
    """Linux answers; what it answers depends on the box, and adjtimex(8) would say the same."""
    assert kernel_synchronised() in ((True, False) if sys.platform == "linux" else (None,))
    assert ClockJudge("auto")(time.time_ns()) in TimeQuality


def test_the_status_is_read_where_the_kernel_writes_it():
    """Behind an unsigned int and four longs, each aligned (adjtimex(2))."""
    assert _Timex.status.offset == 5 * ctypes.sizeof(ctypes.c_long)
    assert ctypes.sizeof(_Timex) >= 208, "the kernel writes all of it"


def test_this_boot_has_a_name_that_stays():
    assert boot_id() == (BOOT_ID.read_text().strip() if BOOT_ID.exists() else "")


def test_a_boot_without_a_name(tmp_path):
    assert boot_id(tmp_path / "nothing") == ""
    (tmp_path / "odd").write_bytes(b"\xff\xfe")
    assert boot_id(tmp_path / "odd") == ""
