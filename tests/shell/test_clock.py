import pytest

from gateway.clock import ManualClock, SteadyClock

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
    assert clock.wall_offset_ns() == step - S


def test_never_below_the_last_committed_time_across_restarts():
    hands = Hands(1000 * S, 0)
    last = hands.clock().now_ns()
    hands.wall -= 500 * S  # no battery, no time server yet
    clock = hands.clock(last)
    assert clock.now_ns() == last + 1
    assert clock.wall_offset_ns() == -500 * S - 1


def test_a_negative_time_is_refused():
    with pytest.raises(ValueError, match="allowed 0 and above"):
        SteadyClock(-1)


def test_the_real_clocks_go_forward():
    clock = SteadyClock(0)
    times = [clock.now_ns() for _ in range(100)]
    assert times == sorted(times)
    assert abs(clock.wall_offset_ns()) < S


def test_the_manual_clock_moves_only_forward():
    clock = ManualClock(5)
    assert clock.advance(3) == 8
    assert clock.now_ns() == 8
    with pytest.raises(ValueError, match="never steps back"):
        clock.advance(-1)
