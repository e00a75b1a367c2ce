"""Edges keep their distance, whatever the computer does between two looks at its clocks."""

import random

from drivers.digital_io.edge_clock import SAMPLES_MAX, EdgeClock

OFFSET_NS = 1_800_000_000_000_000_000


class Computer:
    """Two clocks that run apart by ``drift`` (parts per million), and a process that is interrupted between reads."""

    def __init__(self, interruptions, drift=0):
        self.t_ns = 1_000_000_000
        self.interruptions = interruptions
        self.drift = drift
        self.reads = 0

    def _read(self):
        self.reads += 1
        self.t_ns += next(self.interruptions)
        return self.t_ns

    def monotonic_ns(self):
        return self._read()

    def now_ns(self):
        t_ns = self._read()
        return OFFSET_NS + t_ns + t_ns * self.drift // 1_000_000

    def offset_ns(self):
        return OFFSET_NS + self.t_ns * self.drift // 1_000_000


def random_pauses(seed):
    rng = random.Random(seed)
    while True:
        yield rng.choice((100, 1_000, 30_000, 5_000_000))


def test_interruptions_move_no_edge():
    computer = Computer(random_pauses(1))
    clock = EdgeClock(computer.now_ns, computer.monotonic_ns)
    offsets = [clock.times().offset_ns for _ in range(2_000)]
    assert len(set(offsets[100:])) == 1
    assert abs(offsets[-1] - OFFSET_NS) < 2_000


def test_a_clock_that_is_slewed_is_followed():
    computer = Computer(random_pauses(2), drift=500)
    clock = EdgeClock(computer.now_ns, computer.monotonic_ns)
    for _ in range(2_000):
        times = clock.times()
        assert abs(times.offset_ns - computer.offset_ns()) < 6_000_000
    computer.interruptions = iter([1_000] * 3)
    assert abs(clock.times().offset_ns - computer.offset_ns()) < 3_000


def test_an_interrupted_look_is_repeated_but_not_for_ever():
    computer = Computer(iter([100, 100, 100] + [10_000_000] * 100))
    clock = EdgeClock(computer.now_ns, computer.monotonic_ns)
    clock.times()
    assert computer.reads == 3
    clock.times()
    assert computer.reads == 3 + 3 * SAMPLES_MAX
