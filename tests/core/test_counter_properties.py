"""Random histories of a true machine and a faulty PLC: what is booked is never more than what was made.

Two worlds. In the first every fault can be told from the machine's own movement, and the books must be right: booked
is never more than the truth, and the truth never more than booked, set aside and possibly lost together. In the second
faults may look like movement (a zero read at the roll-over); there the error of each stays bounded. The cases that no
rule can tell apart stand in data/counter_cases.txt, E01 to E03.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import snapshot
from gateway.core.model import CountEvent, Status, UnknownInterval
from gateway.core.rate import Rate
from gateway.core.rules import CounterRule

#: Of the profile: `make soak` gives more.
EXAMPLES = settings().max_examples

S = 1_000_000_000
HIDDEN = ("miss", "bad", "restart")  # nothing is read, so nothing can be misread
FAULTS = ("reset", "reset_told", "retentive", "zero", "spike", "torn", "late")
CALM_POLLS = 2  # in the first world, faults are so many clean polls apart (a run of zero reads is one fault)
WINDOW_S = 20  # a doubt is settled within this time

STEPS = st.lists(
    st.tuples(
        st.sampled_from(("poll",) * 6 + HIDDEN + FAULTS),
        st.sampled_from((1, 1, 1, 2, 5)),  # seconds since the step before
        st.integers(0, 10),  # pieces made in it, at most what the machine can
        st.integers(0, 2**34),  # the fault's own choice
    ),
    min_size=5,
    max_size=70,
)
WIDTHS = [
    pytest.param(2**8, 5 * S, id="8 bit"),
    pytest.param(2**16, S // 2, id="16 bit"),
    pytest.param(2**32, S // 2, id="32 bit"),
]


class Plant:
    """A machine that makes at most one piece in ``per_ns``, and the register that shows them."""

    def __init__(self, rig, modulus, per_ns, first, *, tellable):
        rule = CounterRule(
            mode="counter", signal="plc.n", modulus=modulus, max_rate=Rate(1, per_ns), restart_evidence=("plc.boots",)
        )
        self.rig, self.modulus, self.per_ns, self.tellable = rig(rule), modulus, per_ns, tellable
        self.register = self.shown = first % modulus
        self.truth, self.boots, self.unseen_s, self.calm, self.last_fault = 0, 1, 0, CALM_POLLS, ""
        self.used = Counter()
        self.error_bound = 0
        self.rig.value("plc.boots", 1)
        self.rig.value("plc.n", self.register)

    def limit(self, seconds):
        """What is plausible in this time, as the rule promises: 1.2 times the rate, and two."""
        return 6 * seconds * S // (5 * self.per_ns) + 2

    def step(self, kind, seconds, made, choice):
        self.rig.now_ns += seconds * S
        self.unseen_s += seconds
        made = min(made, seconds * S // self.per_ns)
        misread = self.misread(kind, made, choice)
        if self.tellable and kind in FAULTS and not self.can_tell(kind, made, misread):
            kind = "poll"
        self.used[kind] += 1
        if kind in FAULTS:
            self.error_bound += 3 * self.limit(self.unseen_s + WINDOW_S)
        self.truth += made
        if kind in ("reset", "reset_told"):
            self.register = made - choice % (made + 1)
        else:
            self.register = (self.register + made) % self.modulus
        if kind in ("reset_told", "retentive"):
            self.boots += 1
            self.rig.value("plc.boots", self.boots)
        self.read(kind, misread)

    def read(self, kind, misread):
        if kind == "miss":
            return
        if kind == "restart":
            stored = json.loads(json.dumps(snapshot.encode(self.rig.unit, self.rig.state)))
            self.rig.state = snapshot.decode(self.rig.unit, stored)
            return
        if kind == "bad":
            before = self.rig.state.detectors[0]
            self.rig.value("plc.n", None, Status.BAD)
            after = self.rig.state.detectors[0]
            assert after._replace(quality_bad=False) == before._replace(quality_bad=False), "bad quality moves nothing"
            return
        self.calm, self.last_fault = (self.calm + 1, "") if kind == "poll" else (0, kind)
        if kind in ("zero", "spike", "torn", "late"):
            self.rig.value("plc.n", misread)
            return
        self.shown = self.register
        if kind == "poll":
            self.unseen_s = 0
        self.rig.value("plc.n", self.register)

    def misread(self, kind, made, choice):
        register = (self.register + made) % self.modulus
        return {
            "zero": 0,
            "spike": choice % self.modulus,
            "torn": (register + 65536 * (1 + choice % 7)) % self.modulus,
            "late": self.shown,
        }.get(kind, register)

    def can_tell(self, kind, made, misread):
        """Far from both ends of the range, calm before, and a wrong value that fits neither track."""
        room = self.limit(self.unseen_s + WINDOW_S)
        if not room < self.register < self.modulus - room - made:
            return False
        if self.calm < CALM_POLLS and not kind == "zero" == self.last_fault:
            return False
        if kind not in ("spike", "torn"):
            return True
        ahead = (misread - self.register) % self.modulus
        return 3 * room < ahead < self.modulus - room and room < misread < self.modulus - room

    def run(self, steps):
        for step in steps:
            self.step(*step)
        for _ in range(4):  # a doubt must be settled before the books are closed
            self.step("poll", 1, 0, 0)
        self.step("poll", self.per_ns // S + 1, 1, 0)

    @property
    def books(self):
        """Booked, set aside for review, possibly lost."""
        lost = sum(interval.max_pieces for interval in self.rig.all(UnknownInterval))
        return self.rig.state.counted.good, self.rig.state.review, lost


@pytest.mark.parametrize(("modulus", "per_ns"), WIDTHS)
@settings(max_examples=5 * EXAMPLES // 2)
@given(steps=STEPS, first=st.one_of(st.integers(0, 300), st.integers(0, 2**32)))
def test_faults_that_can_be_told_never_falsify_the_books(rig, modulus, per_ns, steps, first):
    plant = Plant(rig, modulus, per_ns, first, tellable=True)
    plant.run(steps)
    booked, review, lost = plant.books
    assert booked <= plant.truth, "over-counted"
    assert plant.truth <= booked + review + lost, "a loss that nobody was told of"
    assert all(event.delta >= 0 for event in plant.rig.all(CountEvent))
    plant.rig.close_books()


@pytest.mark.parametrize(("modulus", "per_ns"), WIDTHS)
@settings(max_examples=3 * EXAMPLES // 2)
@given(steps=STEPS, first=st.one_of(st.integers(0, 300), st.integers(0, 2**32)))
def test_an_undecidable_fault_errs_by_no_more_than_the_machine_could_make(rig, modulus, per_ns, steps, first):
    plant = Plant(rig, modulus, per_ns, first, tellable=False)
    plant.run(steps)
    booked, review, lost = plant.books
    assert booked - plant.truth <= plant.error_bound
    assert plant.truth - (booked + review + lost) <= plant.error_bound
    assert all(event.delta >= 0 for event in plant.rig.all(CountEvent))


@pytest.mark.parametrize(("modulus", "per_ns"), WIDTHS)
@settings(max_examples=EXAMPLES)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(("poll", *HIDDEN)), st.sampled_from((1, 2, 5)), st.integers(0, 10), st.just(0)),
        max_size=60,
    ),
    first=st.integers(0, 2**32),
)
def test_a_sound_counter_is_counted_to_the_piece(rig, modulus, per_ns, steps, first):
    """Missed polls, bad quality and restarts of the gateway cost nothing while the PLC goes on counting."""
    plant = Plant(rig, modulus, per_ns, first, tellable=True)
    reads_s = 0
    for step in steps:
        # Unseen for longer than a quarter of the range, an 8 bit counter could wrap unnoticed.
        reads_s = 0 if step[0] == "poll" else reads_s + step[1]
        plant.step(*(("poll", *step[1:]) if plant.limit(reads_s + 10) > modulus // 4 else step))
    plant.run([])
    assert plant.books[0] == plant.truth
    assert plant.books[1:] == (0, 0)


def test_the_random_world_meets_every_fault(rig):
    """A guard that let no fault through would prove nothing."""
    plant = Plant(rig, 2**32, S // 2, 100_000, tellable=True)
    for number, kind in enumerate((*HIDDEN, *FAULTS)):
        for _ in range(40 if kind.startswith("reset") else 4):
            plant.step("poll", 5, 9, 0)
        plant.step(kind, 2, 3, 1_000_000 * (number + 1))
        if kind.startswith("reset"):
            for _ in range(40):
                plant.step("poll", 5, 9, 0)
    assert set(plant.used) == {"poll", *HIDDEN, *FAULTS}
    flags = {event.flag for event in plant.rig.all(CountEvent)}
    assert {"RESET", "RESTART_RETENTIVE", "SPIKE_DROPPED", "PENDING", "BAD_QUALITY"} <= flags
