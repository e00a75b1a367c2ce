import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.calendar.honest_time import (
    ClockCorrection,
    CorrectionReason,
    Outage,
    correction_for,
    utc_of,
    utc_span,
)
from gateway.core.calendar.honest_time import TimeQuality as Quality
from gateway.timing.clock import CORRECTIONS_MAX, ManualClock, Stamp, SteadyClock

S = 1_000_000_000


class Hands:
    def __init__(self, wall, monotonic):
        self.wall = wall
        self.monotonic = monotonic

    def clock(self, last=0):
        return SteadyClock(last, lambda: self.wall, lambda: self.monotonic)


def test_starts_at_the_wall_clock_and_runs_with_the_monotonic_one():
    hands = Hands(1000 * S, 50 * S)
    clock = hands.clock()
    assert clock.now_ns() == 1000 * S
    hands.monotonic += 7
    assert clock.now_ns() == 1000 * S + 7


@pytest.mark.parametrize("step", [-3600 * S, 3600 * S])
def test_a_step_of_the_wall_clock_is_shown_and_not_followed(step):
    hands = Hands(1000 * S, 0)
    clock = hands.clock()
    hands.wall += step
    hands.monotonic += S
    assert clock.now_ns() == 1001 * S
    assert clock.wall_error_ns() == step - S


def test_never_below_the_last_committed_time_across_restarts():
    hands = Hands(1000 * S, 0)
    last = hands.clock().now_ns()
    hands.wall -= 500 * S  # no battery, no time server yet
    clock = hands.clock(last)
    assert clock.now_ns() == last + 1
    assert clock.utc_now_ns() == 500 * S, "it is trusted"
    assert clock.wall_error_ns() == 0


def test_a_negative_time_is_refused():
    with pytest.raises(ValueError, match="allowed 0 and above"):
        SteadyClock(-1)


def test_the_real_clocks_go_forward():
    clock = SteadyClock(0)
    times = [clock.now_ns() for _ in range(100)]
    assert times == sorted(times)
    assert abs(clock.wall_error_ns()) < S


def test_the_manual_clock_moves_only_forward():
    clock = ManualClock(5)
    assert clock.advance(3) == 8
    assert clock.now_ns() == 8
    with pytest.raises(ValueError, match="never steps back"):
        clock.advance(-1)


# Honest time: what the gateway knows of UTC, with a wall clock and a monotonic clock that are moved by hand.

YEAR = 365 * 86_400 * S
NOW = int(datetime(2026, 11, 22, 8, tzinfo=UTC).timestamp()) * S


class Box(Hands):
    """A box: its two clocks, what its wall clock is worth, and what survives in the database."""

    def __init__(self, wall, quality, monotonic=30 * S):
        super().__init__(wall, monotonic)
        self.quality = quality
        self.boot = "boot-1"
        self.last = 0
        self.kept = None
        self.learned = []

    def start(self):
        return SteadyClock(
            self.last,
            lambda: self.wall,
            lambda: self.monotonic,
            judge=lambda _wall: self.quality,
            boot_id=self.boot,
            before=self.kept,
            history=self.learned,
        )

    def pass_time(self, duration_ns):
        self.wall += duration_ns
        self.monotonic += duration_ns

    def stop(self, clock):
        """The gateway ends; the box goes on."""
        self.last, self.kept = clock.now_ns(), clock.record()
        self.learned += clock.corrections

    def power_cut(self, away_ns, wall=None):
        """Everything stands still but the world; the wall clock comes back as it comes back."""
        self.boot += "'"
        self.monotonic = 20 * S
        self.wall = self.wall + away_ns if wall is None else wall


def test_1970_at_boot_and_the_time_server_answers_later():
    box = Box(5 * S, Quality.IMPLAUSIBLE)
    clock = box.start()
    first = clock.stamp()
    assert first == Stamp(5 * S, 5 * S, Quality.IMPLAUSIBLE)
    box.pass_time(60 * S)
    assert clock.check() is None
    box.wall, box.quality = NOW, Quality.SYNCHRONISED
    learned = clock.check()
    assert learned == ClockCorrection(65 * S, 5 * S, NOW - 65 * S, 0, Quality.SYNCHRONISED, CorrectionReason.LEARNED)
    assert clock.now_ns() == 65 * S, "the steady time is not moved"
    assert clock.stamp() == Stamp(65 * S, NOW, Quality.SYNCHRONISED)
    assert utc_of(clock.corrections, first.steady_ns) == NOW - 60 * S, "what was stamped before is right now"
    assert clock.check() is None, "once"


@pytest.mark.parametrize("years", [-10, 10])
def test_a_step_of_ten_years_moves_utc_and_nothing_else(years):
    box = Box(NOW, Quality.SYNCHRONISED)
    clock = box.start()
    box.pass_time(3600 * S)
    clock.check()
    before = clock.stamp()
    box.wall += years * YEAR
    learned = clock.check()
    assert learned.reason is CorrectionReason.STEPPED
    assert (learned.from_ns, learned.offset_ns, learned.previous_offset_ns) == (NOW + 3600 * S, years * YEAR, 0)
    box.pass_time(7)
    after = clock.stamp()
    assert after.steady_ns == before.steady_ns + 7
    assert after.utc_ns == before.utc_ns + 7 + years * YEAR
    assert utc_of(clock.corrections, before.steady_ns - 1) == before.utc_ns - 1, "what was stamped before it stays"
    assert utc_span(clock.corrections, before.steady_ns - S, after.steady_ns) == (
        after.utc_ns - 7 - S,
        after.utc_ns,
    )
    box.wall -= years * YEAR
    assert clock.check().offset_ns == 0
    assert clock.stamp().utc_ns == after.steady_ns


@pytest.mark.parametrize("years", [-10, 10])
def test_a_clock_that_somebody_sets_by_hand_is_not_followed(years):
    """Setting it tells the kernel that it is not synchronised any more: what was known is carried on."""
    box = Box(NOW, Quality.SYNCHRONISED)
    clock = box.start()
    box.pass_time(3600 * S)
    box.wall, box.quality = box.wall + years * YEAR, Quality.UNSYNCHRONISED
    assert clock.check() is None
    assert clock.stamp() == Stamp(NOW + 3600 * S, NOW + 3600 * S, Quality.HOLDOVER)
    assert clock.wall_error_ns() == years * YEAR, "it is shown"
    box.wall, box.quality = box.wall - years * YEAR, Quality.SYNCHRONISED
    assert clock.check() is None
    assert clock.quality is Quality.SYNCHRONISED


def test_an_unsynchronised_clock_that_steps_is_not_followed_until_somebody_vouches_for_it():
    box = Box(NOW, Quality.UNSYNCHRONISED)
    clock = box.start()
    box.pass_time(10 * S)
    box.wall += YEAR
    assert clock.check() is None
    assert clock.stamp() == Stamp(NOW + 10 * S, NOW + 10 * S, Quality.UNSYNCHRONISED)
    box.quality = Quality.SYNCHRONISED
    assert clock.check().offset_ns == YEAR
    assert utc_of(clock.corrections, NOW) == NOW + YEAR


def test_1970_and_then_set_to_something_possible():
    box = Box(5 * S, Quality.IMPLAUSIBLE)
    clock = box.start()
    box.wall, box.quality = NOW, Quality.UNSYNCHRONISED
    assert clock.check().offset_ns == NOW - 5 * S
    assert clock.quality is Quality.UNSYNCHRONISED
    box.wall, box.quality = NOW + 3 * S, Quality.SYNCHRONISED
    assert clock.check() == ClockCorrection(
        5 * S, 5 * S, NOW - 2 * S, NOW - 5 * S, Quality.SYNCHRONISED, CorrectionReason.LEARNED
    )
    assert [found.offset_ns for found in clock.corrections] == [NOW - 2 * S]


def test_a_clock_nobody_vouches_for_never_leads_below_what_was_committed():
    box = Box(5 * S, Quality.IMPLAUSIBLE)
    box.last = NOW
    clock = box.start()
    assert clock.stamp() == Stamp(NOW + 1, NOW + 1, Quality.IMPLAUSIBLE)
    box.wall, box.quality = NOW - YEAR, Quality.UNSYNCHRONISED
    assert clock.check().offset_ns == 0


def test_a_trusted_clock_that_steps_is_followed_while_it_is_possible():
    box = Box(NOW, Quality.TRUSTED)
    clock = box.start()
    box.pass_time(3600 * S)
    box.wall += 10 * S
    assert clock.check().offset_ns == 10 * S
    box.wall, box.quality = 0, Quality.IMPLAUSIBLE
    assert clock.check() is None
    assert clock.stamp() == Stamp(NOW + 3600 * S, NOW + 3610 * S, Quality.HOLDOVER)


def test_once_a_time_server_kept_it_trust_alone_is_not_enough_to_follow_a_step():
    box = Box(NOW, Quality.SYNCHRONISED)
    clock = box.start()
    box.pass_time(3600 * S)
    box.wall, box.quality = box.wall + YEAR, Quality.TRUSTED
    assert clock.check() is None
    assert clock.stamp() == Stamp(NOW + 3600 * S, NOW + 3600 * S, Quality.HOLDOVER)


def test_the_step_that_belongs_to_becoming_synchronised():
    """The kernel's flag may come a moment before the step: it tells the time of the whole run all the same."""
    box = Box(NOW, Quality.UNSYNCHRONISED)
    clock = box.start()
    box.pass_time(300 * S)
    box.quality = Quality.SYNCHRONISED
    assert clock.check().offset_ns == 0
    box.pass_time(5 * S)
    box.wall += YEAR
    learned = clock.check()
    assert (learned.reason, learned.from_ns, learned.offset_ns) == (CorrectionReason.STEPPED, NOW, YEAR)
    assert utc_of(clock.corrections, NOW) == NOW + YEAR


def test_small_differences_are_no_step():
    box = Box(NOW, Quality.SYNCHRONISED)
    clock = box.start()
    for drift_ns in (49_999_999, -99_999_998):
        box.pass_time(S)
        box.wall += drift_ns
        assert clock.check() is None
    box.wall -= 1
    assert clock.check().offset_ns == -50_000_000


def test_a_quality_that_rises_is_told_even_where_the_time_was_right():
    box = Box(NOW, Quality.UNSYNCHRONISED)
    clock = box.start()
    box.wall, box.quality = NOW + 10_000, Quality.SYNCHRONISED
    learned = clock.check()
    assert (learned.offset_ns, learned.quality) == (0, Quality.SYNCHRONISED)
    assert correction_for(clock.corrections, NOW).quality is Quality.SYNCHRONISED


@pytest.mark.parametrize("year", [2038, 2106, 2200])
def test_beyond_2038(year):
    moment = int(datetime(year, 1, 19, 3, 14, 8, tzinfo=UTC).timestamp()) * S
    box = Box(moment - 10 * S, Quality.SYNCHRONISED)
    clock = box.start()
    box.pass_time(20 * S)
    assert clock.check() is None
    assert clock.stamp() == Stamp(moment + 10 * S, moment + 10 * S, Quality.SYNCHRONISED)


def test_clock_changes_in_the_plant_s_zone_are_nothing_to_this_clock(monkeypatch):
    """It reads UTC: an hour in which Berlin skips one passes like any other."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        begin = int(datetime(2026, 3, 29, 0, 30, tzinfo=UTC).timestamp()) * S
        box = Box(begin, Quality.SYNCHRONISED)
        clock = box.start()
        box.pass_time(3600 * S)
        assert clock.check() is None
        assert clock.stamp().utc_ns == begin + 3600 * S
        assert abs(SteadyClock(0).now_ns() - time.time_ns()) < S
    finally:
        monkeypatch.undo()
        time.tzset()


def test_what_earlier_runs_stamped_is_named_by_what_they_knew():
    box = Box(5 * S, Quality.IMPLAUSIBLE)
    clock = box.start()
    box.pass_time(60 * S)
    box.wall, box.quality = NOW, Quality.SYNCHRONISED
    clock.check()
    first_ns = clock.now_ns()
    box.stop(clock)
    box.power_cut(600 * S)
    box.quality = Quality.TRUSTED
    clock = box.start()
    assert clock.utc_ns(first_ns) == NOW
    assert clock.utc_ns(5 * S) == NOW - 60 * S
    assert clock.utc_ns(4 * S) == 4 * S, "before the clock's first record nothing is known"
    assert clock.utc_ns(clock.now_ns()) == clock.utc_now_ns() == NOW + 600 * S


def test_what_is_learned_puts_right_every_run_of_the_same_boot():
    box = Box(5 * S, Quality.IMPLAUSIBLE)
    for _ in range(3):
        clock = box.start()
        box.pass_time(60 * S)
        box.stop(clock)
        box.pass_time(10 * S)
    clock = box.start()
    assert [found.reason for found in box.learned] == ["started", "resumed", "resumed"]
    box.wall, box.quality = NOW, Quality.SYNCHRONISED
    learned = clock.check()
    assert (learned.reason, learned.from_ns) == (CorrectionReason.LEARNED, 5 * S)
    assert clock.utc_ns(5 * S) == NOW - 210 * S
    box.wall += 7 * S  # it settles
    assert clock.check().from_ns == 5 * S
    assert clock.utc_ns(5 * S) == NOW - 203 * S


def test_a_step_between_two_runs_of_one_boot_leaves_the_first_one_alone():
    box = Box(NOW, Quality.TRUSTED)
    clock = box.start()
    box.pass_time(60 * S)
    box.stop(clock)
    box.pass_time(10 * S)
    box.wall += YEAR
    clock = box.start()
    assert clock.check().from_ns == NOW + 70 * S
    assert clock.utc_ns(NOW + 60 * S) == NOW + 60 * S
    assert clock.utc_ns(NOW + 70 * S) == NOW + 70 * S + YEAR


def test_since_when_the_quality_is_what_it_is():
    box = Box(NOW, Quality.UNSYNCHRONISED)
    clock = box.start()
    assert clock.quality_since_ns == NOW
    box.pass_time(10 * S)
    clock.check()
    assert clock.quality_since_ns == NOW
    box.quality = Quality.SYNCHRONISED
    clock.check()
    assert clock.quality_since_ns == NOW + 10 * S
    box.pass_time(10 * S)
    box.quality = Quality.UNSYNCHRONISED
    clock.check()
    assert (clock.quality, clock.quality_since_ns) == (Quality.HOLDOVER, NOW + 20 * S)


def test_a_restart_in_the_same_boot_goes_on_exactly_whatever_the_wall_clock_says():
    box = Box(5 * S, Quality.IMPLAUSIBLE)
    clock = box.start()
    box.pass_time(100 * S)
    box.stop(clock)
    box.pass_time(7 * S)
    box.wall += 20 * YEAR
    clock = box.start()
    assert clock.now_ns() == 112 * S
    assert clock.outage() == Outage(105 * S, 112 * S, 7 * S)
    assert clock.outage().gap_known


def test_a_restart_in_the_same_boot_keeps_what_was_learned():
    box = Box(5 * S, Quality.IMPLAUSIBLE)
    clock = box.start()
    box.wall, box.quality = NOW, Quality.SYNCHRONISED
    clock.check()
    box.stop(clock)
    box.pass_time(7 * S)
    box.wall, box.quality = 0, Quality.IMPLAUSIBLE
    clock = box.start()
    assert clock.stamp() == Stamp(12 * S, NOW + 7 * S, Quality.HOLDOVER)


def test_a_record_that_is_older_than_the_last_commit_changes_no_utc():
    box = Box(NOW, Quality.SYNCHRONISED)
    clock = box.start()
    box.stop(clock)
    box.pass_time(7 * S)
    box.last = NOW + 9 * S  # cannot be; the steady time must not go back all the same
    assert box.start().stamp() == Stamp(NOW + 9 * S + 1, NOW + 7 * S, Quality.SYNCHRONISED)


def test_after_a_power_cut_with_a_known_clock_the_outage_is_known():
    box = Box(NOW, Quality.SYNCHRONISED)
    box.stop(box.start())
    box.power_cut(3600 * S)
    assert box.start().outage() == Outage(NOW, NOW + 3600 * S, 3600 * S)


def test_after_a_power_cut_without_a_battery_the_outage_is_unknown_until_the_time_server_answers():
    box = Box(NOW, Quality.SYNCHRONISED)
    box.stop(box.start())
    box.power_cut(0, wall=5 * S)
    box.quality = Quality.IMPLAUSIBLE
    clock = box.start()
    assert clock.now_ns() == NOW + 1
    assert clock.outage() == Outage(NOW, NOW + 1, None)
    assert not clock.outage().gap_known
    box.pass_time(40 * S)
    box.wall, box.quality = NOW + 8 * 3600 * S + 40 * S, Quality.SYNCHRONISED
    assert clock.check().reason is CorrectionReason.LEARNED
    assert clock.outage().length_ns == 8 * 3600 * S
    assert clock.stamp().utc_ns == NOW + 8 * 3600 * S + 40 * S


def test_the_outage_is_measured_in_utc_not_on_an_axis_that_began_in_1970():
    box = Box(5 * S, Quality.IMPLAUSIBLE)
    clock = box.start()
    box.wall, box.quality = NOW, Quality.SYNCHRONISED
    clock.check()
    box.stop(clock)
    box.power_cut(3600 * S)
    clock = box.start()
    assert clock.outage() == Outage(5 * S, NOW + 3600 * S, 3600 * S)


def test_a_clock_that_was_saved_at_the_shutdown_looks_possible_and_proves_nothing():
    box = Box(NOW, Quality.SYNCHRONISED)
    box.stop(box.start())
    box.power_cut(0, wall=NOW + 60 * S)  # fake-hwclock: as if a minute had passed
    box.quality = Quality.UNSYNCHRONISED
    assert box.start().outage() == Outage(NOW, NOW + 60 * S, None)


def test_if_the_run_before_did_not_know_its_time_the_outage_stays_unknown():
    box = Box(5 * S, Quality.IMPLAUSIBLE)
    box.stop(box.start())
    box.power_cut(0, wall=NOW)
    box.quality = Quality.SYNCHRONISED
    assert box.start().outage() == Outage(5 * S, NOW, None)


def test_a_run_that_was_ten_years_ahead_is_followed_by_one_that_knows_the_time():
    box = Box(NOW + 10 * YEAR, Quality.TRUSTED)
    box.stop(box.start())
    box.power_cut(0, wall=NOW + 60 * S)
    clock = box.start()
    assert clock.stamp() == Stamp(NOW + 10 * YEAR + 1, NOW + 60 * S, Quality.TRUSTED)
    assert not clock.outage().gap_known


def test_nothing_was_committed_no_outage():
    assert Box(NOW, Quality.SYNCHRONISED).start().outage() is None


def test_without_a_name_of_the_boot_no_two_runs_are_in_the_same():
    box = Box(NOW, Quality.SYNCHRONISED)
    box.boot = ""
    box.stop(box.start())
    box.quality = Quality.UNSYNCHRONISED
    assert not box.start().outage().gap_known


def test_a_monotonic_clock_that_is_behind_the_record_is_another_boot():
    box = Box(NOW, Quality.SYNCHRONISED)
    box.stop(box.start())
    box.monotonic -= 1
    box.quality = Quality.UNSYNCHRONISED
    assert not box.start().outage().gap_known


def test_steps_without_end_take_no_memory_without_end():
    box = Box(NOW, Quality.SYNCHRONISED)
    clock = box.start()
    box.pass_time(100 * S)
    for _ in range(1000):
        box.pass_time(S)
        box.wall += S
        assert clock.check() is not None
    assert len(clock.corrections) == CORRECTIONS_MAX
    assert clock.corrections[0].from_ns == NOW, "the oldest became one"
    assert clock.stamp().utc_ns == box.wall


def test_an_interruption_between_reading_the_two_clocks_is_no_step():
    box = Box(NOW, Quality.SYNCHRONISED)
    late = iter([0, 0, 0, 2 * S, 0, 0])  # between the second reading and the wall clock the process stood still

    def monotonic():
        box.pass_time(next(late, 0))
        return box.monotonic

    clock = SteadyClock(0, lambda: box.wall, monotonic, judge=lambda _wall: box.quality)
    assert clock.check() is None


@settings(max_examples=200, deadline=None)
@given(
    moves=st.lists(
        st.tuples(
            st.integers(0, 10**12),
            st.sampled_from([0, 0, 0, 1, -1, 3600 * S, -3600 * S, 10 * YEAR, -10 * YEAR]),
            st.sampled_from([quality for quality in Quality if quality is not Quality.HOLDOVER]),
            st.sampled_from(["run", "run", "run", "restart", "power cut"]),
        ),
        max_size=30,
    )
)
def test_whatever_happens_to_the_wall_clock_lengths_are_those_of_the_monotonic_one(moves):
    box = Box(NOW, Quality.SYNCHRONISED)
    clock = box.start()
    steady = clock.now_ns()
    for length_ns, step_ns, quality, event in moves:
        box.pass_time(length_ns)
        box.wall, box.quality = max(box.wall + step_ns, 0), quality
        if event == "run":
            assert clock.now_ns() == steady + length_ns
        else:
            box.stop(clock)
            if event == "power cut":
                box.power_cut(S)
            clock = box.start()
            assert clock.now_ns() >= steady + length_ns, "the steady time never goes back"
            if event == "restart":
                assert clock.outage().gap_known == (box.last > 0)
        clock.check()
        steady = clock.now_ns()
        stamp = clock.stamp()
        assert stamp.utc_ns == utc_of(clock.corrections, stamp.steady_ns)
        if quality is Quality.SYNCHRONISED:
            assert abs(stamp.utc_ns - box.wall) < 50_000_000
            assert stamp.quality is Quality.SYNCHRONISED


def test_with_the_real_clocks_nothing_is_learned():
    clock = SteadyClock(0, judge=lambda _wall: Quality.SYNCHRONISED)
    assert clock.check() is None
    assert abs(clock.stamp().utc_ns - time.time_ns()) < S
