"""Random histories of counters with evidence, presets and order resets, and of devices that misread all of it at once.

Beside ``test_counter_histories.py``: here the evidence is read as well, and is misread with the value: zeros for
everything, older answers, answers that stand still for a while. Left out is what no rule can tell apart
(data/counter_cases.txt): wild values within reach, and a reset that nobody tells of. A loss is told too low only where
an answer was old or zero while the counter was set back or began anew (E06).
"""

from __future__ import annotations

import random

import pytest

from gateway.core.counting.detector import CounterSource, CounterSourceState, Sample, loaded, plain
from gateway.core.model import Status
from gateway.core.rate import Rate
from gateway.core.rules import CounterRule

S = 1_000_000_000
START_NS = 1_000_000_000_000_000
HISTORIES = 1_500
SOAK_HISTORIES = 20_000
FAULTS = ("miss", "bad", "zero", "zeros", "late", "frozen", "power", "power_kept", "order", "restart", "torn")
MISREAD = {"zero", "zeros", "late", "frozen"}
SET_BACK = {"power", "order"}
AWAY = SET_BACK | {"rolled", "frozen"}  # the value went away while an answer was old or zero


class Plant:
    """A machine, its register, its PLC's boot counter and job, and what is read of them."""

    def __init__(self, seed):
        self.choice = random.Random(seed)
        self.modulus = self.choice.choice((10_000, 2**16, 2**31, 2**32, None))
        self.preset = self.choice.choice((0, 0, 0, 1, 1000))
        rule = CounterRule(
            mode="counter",
            signal="plc.n",
            modulus=self.modulus,
            max_rate=Rate(2, S),
            reset_to=self.preset,
            jitter=self.choice.choice((0, 0, 2)),
            count_on_reset=self.choice.choice(("value", "value", "zero")),
            restart_evidence=("plc.boots",),
            order_reset="plc.job",
        )
        self.source = CounterSource(rule, None)
        self.state, self.t_ns = self.source.initial(), START_NS
        high = self.modulus or 10**9
        self.register = self.choice.choice((self.choice.randrange(60), high - 1 - self.choice.randrange(60), high // 2))
        self.boots, self.job = self.choice.randrange(1, 99), 1
        self.truth = self.booked = self.review = self.lost = self.stuck = 0
        self.seen, self.used = [], set()
        self.read(self.now())

    def now(self):
        return {"plc.boots": self.boots, "plc.job": f"J{self.job}", "plc.n": self.register}

    def read(self, values, status=Status.GOOD):
        for signal in self.source.signals:
            sample = Sample(signal, self.t_ns, values[signal], status, self.t_ns)
            self.state, events = self.source.on_value(self.state, sample)
            for event in events:
                assert event.delta >= 0
                self.booked += event.delta
                self.review += event.review
                self.lost += event.max_lost

    def run(self, seconds, share):
        made = self.choice.randrange(2 * seconds + 1) if share else 0
        self.t_ns += seconds * S
        self.truth += made
        self.register += made
        if self.modulus is not None and self.register >= self.modulus:
            self.register -= self.modulus
            self.used.add("rolled")

    def step(self, kind):
        self.used.add(kind)
        self.run(self.choice.choice((1, 1, 1, 2, 5)), self.choice.random() < 0.7)
        if kind in SET_BACK:
            self.boots, self.job = self.boots + (kind == "power"), self.job + (kind == "order")
            self.register = self.preset
            self.run(1, share=True)
        elif kind == "power_kept":
            self.boots += 1
        elif kind == "restart":
            self.state = self.source.restored(loaded(CounterSourceState, plain(self.state)))
        elif kind in ("zeros", "frozen"):
            self.stuck = self.choice.randrange(2, 6)
            self.held = {"plc.boots": 0, "plc.job": "", "plc.n": 0} if kind == "zeros" else self.now()
        self.show(kind)

    def show(self, kind):
        if kind == "bad":
            self.read(dict.fromkeys(self.now()), Status.BAD)
        elif self.stuck:
            self.stuck -= 1
            self.read(self.held)
        elif kind == "late" and self.seen:
            self.read(self.seen[-1])
        elif kind == "zero":
            self.read(self.now() | {"plc.n": 0})
        elif kind == "torn" and self.modulus not in (10_000, 2**16):
            self.read(self.now() | {"plc.n": (self.register + 65_536 * self.choice.randrange(1, 8)) % 2**31})
        elif kind != "miss":
            self.seen = [*self.seen[-2:], self.now()]
            self.read(self.now())

    def settle(self):
        """Clean readings at the end: a doubt is settled, and what is owed is paid."""
        self.stuck = 0
        for _ in range(40):
            self.run(1, share=True)
            self.read(self.now())


def check(histories):
    for seed in range(histories):
        plant = Plant(seed)
        mix = plant.choice.sample(FAULTS, plant.choice.randrange(1, 6))
        kinds = ("poll",) * plant.choice.choice((20, 40)) + tuple(mix)
        for _ in range(plant.choice.randrange(20, 100)):
            plant.step(plant.choice.choice(kinds))
        plant.settle()
        assert plant.booked <= plant.truth, f"history {seed}: over-counted after {sorted(plant.used)}"
        if plant.truth > plant.booked + plant.review + plant.lost:
            assert plant.used & MISREAD, f"history {seed}: an untold loss after {sorted(plant.used)}"
            assert plant.used & AWAY, f"history {seed}: an untold loss after {sorted(plant.used)}"


def test_nothing_is_counted_that_was_not_made():
    check(HISTORIES)


@pytest.mark.soak
def test_nothing_is_counted_that_was_not_made_in_many_histories():
    check(SOAK_HISTORIES)
