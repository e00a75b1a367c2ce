"""Labour: data/work_labour.txt case by case, at once and piecemeal, and what holds for any log-ins."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.duration import Duration
from gateway.core.model import MachineState
from gateway.core.rules_material import LabourRule
from gateway.core.rules_state import StopReasonRule, TimeModelRule
from gateway.core.state.interval import StateInterval
from gateway.core.state.time_elements import TimeModel
from gateway.core.work import labour as work
from gateway.core.work.refused import WorkRefused

TABLE = Path(__file__).parent / "data" / "work_labour.txt"
HOUR_NS = 3_600_000_000_000
MODEL = TimeModel(TimeModelRule(), StopReasonRule())
DAY_NS = 24 * HOUR_NS


def cases():
    name, lines = "", []
    for line in TABLE.read_text().splitlines():
        if line.startswith("case "):
            if lines:
                yield pytest.param(lines, id=name)
            name, lines = line.removeprefix("case "), []
        elif line.startswith("  "):
            lines.append(line.split())
    yield pytest.param(lines, id=name)


def clock(text):
    hours, minutes = text.split(":")
    return int(hours) * HOUR_NS + int(minutes) * HOUR_NS // 60


def rule_of(lines):
    plain = {}
    for verb, *words in lines:
        if verb in ("share", "crew"):
            plain["crew_factor" if verb == "crew" else verb] = words[0]
        elif verb == "breaks":
            plain["breaks"] = True
        elif verb == "max":
            plain["log_in_max"] = Duration(" ".join(words))
    return LabourRule(**plain)


def intervals(lines, rule):
    for verb, *words in lines:
        if verb == "run":
            machine, order, begin, end, *state = words
            found = StateInterval(
                MachineState(state[0] if state else "PRODUCING"),
                clock(begin),
                clock(end),
                order=None if order == "-" else order,
                operation="0010",
            )
            yield work.stretch_of(machine, found, MODEL.element(found), rule, basis="busy", crew=2), machine, found


def events(lines):
    """Log-ins and log-outs as they happen."""
    for verb, *words in lines:
        if verb == "log":
            person, machine, begin, end = words
            yield clock(begin), 1, work.logged_in, person, machine
            if end != "-":
                yield clock(end), 0, work.logged_out, person, machine


def sums(slices):
    found = {}
    for one in slices:
        labour, setup = found.get((one.order, one.machine), (0, 0))
        found[one.order, one.machine] = (labour + one.labour.fraction, setup + one.labour_setup.fraction)
    return {key: tuple(Fraction(part) / HOUR_NS for part in both) for key, both in found.items() if any(both)}


@pytest.mark.parametrize("lines", list(cases()))
def test_labour_of_all_at_once(lines):
    rule = rule_of(lines)
    stretches = [one for one, _, _ in intervals(lines, rule) if one]
    log_ins = [
        work.LogIn(words[0], words[1], clock(words[2]), None if words[3] == "-" else clock(words[3]))
        for verb, *words in lines
        if verb == "log"
    ]
    slices = work.labour_of(stretches, log_ins, rule, 0, DAY_NS)
    assert sums(slices) == expected(lines)


def expected(lines):
    return {(words[0], words[1]): (Fraction(words[2]), Fraction(words[3])) for verb, *words in lines if verb == "="}


@pytest.mark.parametrize("lines", list(cases()))
def test_labour_as_it_happens(lines):
    """Log-ins at their time, each interval an hour after its end, settled whenever something is in."""
    rule = rule_of(lines)
    labour = work.watching(work.Labour(), ("M1", "M2", "M3"), 0)
    todo = [(at, 0, order, act, args) for at, order, act, *args in events(lines)]
    todo += [(found.to_ns + HOUR_NS, 1, 0, one, (machine, found)) for one, machine, found in intervals(lines, rule)]
    told = []
    for at, kind, _, act, args in sorted(todo, key=lambda one: one[:3]):
        if kind == 0:
            labour = act(labour, *args, at)
            assert isinstance(labour, work.Labour), str(labour)
        else:
            labour = work.took(labour, args[0], args[1].to_ns, act)
        labour, slices = work.settled(labour, rule)
        told += slices
        assert work.labour_from(json.loads(json.dumps(labour._asdict()))) == labour
    for one in labour.machines:
        labour = work.took(labour, one.name, DAY_NS, None)
    labour, slices = work.settled(labour, rule)
    assert sums([*told, *slices]) == expected(lines)
    assert not labour.stretches
    assert all(one.to_ns is None for one in labour.log_ins)


def test_what_a_person_may_not():
    labour = work.watching(work.Labour(), ("M1", "M2"), 0)
    labour = work.logged_in(labour, "A", "M1", 100)
    for found, code in (
        (work.logged_in(labour, "A", "M1", 200), "ALREADY_LOGGED_IN"),
        (work.logged_in(labour, "A", "M9", 200), "UNKNOWN_MACHINE"),
        (work.logged_out(labour, "A", "M2", 200), "NOT_LOGGED_IN"),
        (work.logged_out(labour, "B", "M1", 200), "NOT_LOGGED_IN"),
        (work.logged_out(labour, "A", "M1", 99), "LOG_OUT_BEFORE_LOG_IN"),
    ):
        assert isinstance(found, WorkRefused)
        assert found.code == code
        assert all(found)
        assert found.what_to_do in str(found)
    for name in ("M1", "M2"):
        labour = work.took(labour, name, 500, None)
    labour, _ = work.settled(labour, LabourRule())
    assert work.logged_in(labour, "A", "M2", 499).code == "LABOUR_SETTLED"
    assert work.logged_out(labour, "A", "M1", 499).code == "LABOUR_SETTLED"
    assert work.logged_out(labour, "A", "M1", 500).log_ins == (work.LogIn("A", "M1", 100, 500),)


def test_a_log_in_that_was_none_leaves_no_trace():
    labour = work.logged_in(work.watching(work.Labour(), ["M1"], 0), "A", "M1", 100)
    assert work.logged_out(labour, "A", "M1", 100).log_ins == ()


def test_a_forgotten_log_out_is_told():
    labour = work.logged_in(work.watching(work.Labour(), ["M1"], 0), "A", "M1", 100)
    rule = LabourRule(log_in_max=Duration("8 h"))
    assert work.expired(labour, rule, 100 + 8 * HOUR_NS - 1) == ()
    assert work.expired(labour, rule, 100 + 8 * HOUR_NS) == labour.log_ins
    labour = work.took(labour, "M1", 100 + 8 * HOUR_NS, None)
    assert work.settled(labour, rule)[0].log_ins == ()


def test_machines_come_and_go():
    labour = work.took(work.watching(work.Labour(), ("M1", "M2"), 50), "M1", 70, None)
    labour = work.logged_in(work.logged_in(labour, "A", "M1", 60), "A", "M2", 60)
    assert work.settled(labour, LabourRule())[0] == labour
    labour = work.watching(labour, ["M3", "M1"], 80)
    assert labour.machines == (work.MachineSeen("M1", 70, 50), work.MachineSeen("M3", 80, 80))
    assert labour.log_ins == (work.LogIn("A", "M1", 60),)
    assert work.settled(labour, LabourRule())[0].machine("M1").settled_ns == 70


def test_a_machine_that_tells_nothing_holds_up_only_those_that_share_its_people():
    one = work.RunStretch("M1", "4711", "0010", 0, 100, setup=False, crew_milli=0)
    labour = work.watching(work.Labour(), ("M1", "M2", "M3"), 0)
    for person, machine in (("A", "M1"), ("B", "M2"), ("B", "M3")):
        labour = work.logged_in(labour, person, machine, 0)
    for name in ("M1", "M2"):
        labour = work.took(labour, name, 100, one._replace(machine=name))
    labour, slices = work.settled(labour, LabourRule())
    assert [(found.machine, found.labour.fraction) for found in slices] == [("M1", 100)]
    assert [found.settled_ns for found in labour.machines] == [100, 0, 0]
    # A goes to M3 as well: from then on M1 waits for it, too, and what was told stays told.
    assert work.logged_in(labour, "A", "M3", 99).code == "LABOUR_SETTLED"
    labour = work.logged_in(labour, "A", "M3", 110)
    labour = work.took(labour, "M1", 200, one._replace(from_ns=100, to_ns=200))
    assert work.settled(labour, LabourRule()) == (labour, ())
    labour = work.took(labour, "M2", 200, None)
    labour = work.took(labour, "M3", 160, one._replace(machine="M3", from_ns=50, to_ns=160))
    labour, slices = work.settled(labour, LabourRule())
    told = {}
    for found in slices:
        told[found.machine] = told.get(found.machine, 0) + found.labour.fraction
    # M1: 10 alone, 50 shared; M2 and M3 share B from 50 to 100; then B is at M3 alone, with A from 110 on.
    assert told == {"M1": 10 + 25, "M2": 50 + 25, "M3": 25 + 60 + 25}
    assert [found.settled_ns for found in labour.machines] == [160, 160, 160]


def test_what_is_told_stays_told_when_a_slower_machine_joins():
    one = work.RunStretch("M1", "4711", "0010", 0, 100, setup=False, crew_milli=0)
    labour = work.watching(work.Labour(), ("M1", "M2", "M3"), 0)
    for person, machine in (("A", "M1"), ("A", "M2"), ("B", "M1")):
        labour = work.logged_in(labour, person, machine, 0)
    labour = work.took(work.took(labour, "M1", 100, one), "M2", 60, None)
    labour, first = work.settled(labour, LabourRule())
    assert (sum(found.labour.fraction for found in first), labour.stretches[0].from_ns) == (120, 60)
    # B goes to M3, of which nothing was told yet: the three are told together from now on.
    labour = work.logged_in(labour, "B", "M3", 100)
    for name in ("M2", "M3"):
        labour = work.took(labour, name, 100, None)
    labour, second = work.settled(labour, LabourRule())
    assert sum(found.labour.fraction for found in second) == 80


def test_what_waits_is_bounded():
    labour = work.watching(work.Labour(), [f"M{n}" for n in range(20)], 0)
    for n in range(work.MACHINES_PER_PERSON_MAX):
        labour = work.logged_in(labour, "A", f"M{n}", 0)
    assert work.logged_in(labour, "A", "M19", 0).code == "TOO_MANY_LOG_INS"
    for n in range(work.LOG_INS_MAX - work.MACHINES_PER_PERSON_MAX):
        labour = work.logged_in(labour, f"P{n}", "M19", 0)
    assert work.logged_in(labour, "Z", "M19", 0).code == "TOO_MANY_LOG_INS"
    one = work.RunStretch("M1", "4711", "0010", 0, 1, setup=False, crew_milli=0)
    row = tuple(one._replace(from_ns=n, to_ns=n + 1, setup=bool(n % 2)) for n in range(work.STRETCHES_MAX))
    seen = (work.MachineSeen("M1", work.STRETCHES_MAX, 0), work.MachineSeen("M2", 0, 0))
    full = labour._replace(stretches=row, machines=seen)
    goes_on = one._replace(from_ns=work.STRETCHES_MAX, to_ns=work.STRETCHES_MAX + 9, setup=True)
    assert len(work.took(full, "M1", goes_on.to_ns, goes_on).stretches) == work.STRETCHES_MAX
    with pytest.raises(ValueError, match="stretches waiting, allowed no more; M2"):
        work.took(full, "M1", goes_on.to_ns, goes_on._replace(setup=False))
    with pytest.raises(ValueError, match="found its time"):
        work.took(full, "M9", 1, None)
    with pytest.raises(ValueError, match="it is in already"):
        work.took(full, "M1", 1, None)


PEOPLE, MACHINES = ("A", "B", "C"), ("M1", "M2", "M3")


@st.composite
def days(draw):
    """Machines that run or stand, and people who come and go; times are whole and small."""
    stretches = []
    for machine in MACHINES:
        edges = sorted(draw(st.sets(st.integers(0, 60), max_size=8)))
        stretches += [
            work.RunStretch(machine, f"4{machine}", "0010", a, b, draw(st.booleans()), draw(st.integers(0, 2500)))
            for a, b in itertools.pairwise(edges)
            if draw(st.booleans())
        ]
    log_ins = []
    for person, machine in itertools.product(PEOPLE, MACHINES):
        edges = sorted(draw(st.sets(st.integers(0, 60), max_size=4)))
        log_ins += [work.LogIn(person, machine, a, b) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    return stretches, log_ins


@given(days(), st.sampled_from(("by_running_machines", "full")), st.lists(st.integers(0, 60), max_size=4))
def test_each_instant_is_shared_once(day, share, cuts):
    """Against a walk from instant to instant; and cut anywhere, the sum is the same."""
    stretches, log_ins = day
    rule = LabourRule(share=share)
    walked = {}
    for at in range(60):
        running = [one for one in stretches if one.from_ns <= at < one.to_ns]
        at_work = {
            (one.person, one.machine)
            for one in log_ins
            if one.from_ns <= at < one.to_ns and any(run.machine == one.machine for run in running)
        }
        for run in running:
            there = [person for person, machine in at_work if machine == run.machine]
            parts = [1 if share == "full" else sum(who == person for who, _ in at_work) for person in there]
            amount = sum((Fraction(1, part) for part in parts), Fraction(0))
            amount = amount if there else Fraction(run.crew_milli, 1000)
            key = (run.machine, run.setup)
            walked[key] = walked.get(key, 0) + amount
        if share == "by_running_machines" and not any(run.crew_milli for run in running):
            people = len({person for person, _ in at_work})
            found = work.labour_of(running, log_ins, rule, at, at + 1)
            assert sum(one.labour.fraction + one.labour_setup.fraction for one in found) == people
    edges = [0, *sorted(cuts), 60]
    slices = [
        one for a, b in itertools.pairwise(edges) if a < b for one in work.labour_of(stretches, log_ins, rule, a, b)
    ]
    found = {}
    for one in slices:
        for setup, amount in ((False, one.labour), (True, one.labour_setup)):
            found[one.machine, setup] = found.get((one.machine, setup), 0) + amount.fraction
    assert {key: one for key, one in found.items() if one} == {key: one for key, one in walked.items() if one}


@given(days(), st.randoms(use_true_random=False))
def test_piecemeal_is_the_same_as_at_once(day, random):
    """Machines tell their time in any order, people come and go in time: each slice is told once, and the sum is it."""
    stretches, log_ins = day
    rule = LabourRule()
    labour = work.watching(work.Labour(), MACHINES, 0)
    people = [(one.to_ns, 0, work.logged_out, one) for one in log_ins]
    people = sorted([*people, *((one.from_ns, 1, work.logged_in, one) for one in log_ins)], key=lambda one: one[:2])
    queues = {name: [one for one in stretches if one.machine == name] for name in MACHINES}
    told, now = [], 0
    for at, _, act, one in [*people, (100, 0, None, None)]:
        for name in random.sample(MACHINES, len(MACHINES)):
            while queues[name] and queues[name][0].to_ns <= random.randint(now, at):
                stretch = queues[name].pop(0)
                labour = work.took(labour, name, stretch.to_ns, stretch)
            labour, slices = work.settled(labour, rule)
            told += slices
        now = at
        if act is not None:
            labour = act(labour, one.person, one.machine, at)
    for name, queue in queues.items():
        for stretch in queue:
            labour = work.took(labour, name, stretch.to_ns, stretch)
        labour = work.took(labour, name, 100, None)
    labour, slices = work.settled(labour, rule)
    assert sums([*told, *slices]) == sums(work.labour_of(stretches, log_ins, rule, 0, 100))
    assert {one.settled_ns for one in labour.machines} == {100}
    assert (labour.stretches, labour.log_ins) == ((), ())


@pytest.mark.parametrize(
    ("plain", "text"),
    [
        ({"crew_factor": "-1"}, 'crew_factor: found "-1", allowed "0" to "100"'),
        ({"crew_factor": "101"}, "crew_factor"),
        ({"crew_factor": "0.0005"}, "at most 3 decimals"),
        ({"crew_factor": "two"}, "crew_factor: found 'two'"),
        ({"log_in_max": Duration(0)}, "log_in_max: found 0 s"),
        ({"log_in_max": Duration("8 d")}, "up to 7 d"),
    ],
)
def test_rules_that_cannot_be(plain, text):
    with pytest.raises(ValueError, match=text):
        LabourRule(**plain)
