"""Random days of a work unit: orders, people, job tags, three counters and a pulse input, all mixed.

No piece is lost or doubled between counting and confirming; the numbers of confirmations have no gap; a restart and the
rhythm in which time is handed over change nothing.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import snapshot
from gateway.core.document import digest_of, message_id_of
from gateway.core.duration import Duration
from gateway.core.model import (
    Confirmation,
    ConfirmationKind,
    JobChanged,
    JobOrderState,
    Notice,
    Role,
    StateChanged,
    Status,
    TimePassed,
)
from gateway.core.orders.job_run import JobRun
from gateway.core.rules import ConfirmRule, CounterRule, OrderRule, PulseRule, StateRule
from gateway.core.state.cycle_limit import CycleLimit
from gateway.core.state.interval import StateInterval
from gateway.core.state.timeline_state import ReasonRequired

#: Of the profile: `make soak` gives more.
EXAMPLES = settings().max_examples

S = 1_000_000_000
ORDERS = ("A", "B", "C")
ROLES = ("good", "scrap", "rework")
#: The last confirmation here of an order that goes away may be of its times alone.
LEAVES = ("cancelled", "moved", "split")


def says_time(confirmation):
    """Whether it tells of any time."""
    return bool(any(confirmation.work.minutes) or confirmation.work.states)


class Step(NamedTuple):
    """What happens, so many seconds after the step before, and its details."""

    what: str
    after_s: int
    which: int
    amount: int


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(
            ("count",) * 8 + ("pulse",) * 3 + ("order",) * 4 + ("tag",) * 2 + ("say",) * 3 + ("bad", "boot", "time")
        ),
        st.sampled_from((0, 0, 1, 1, 7, 30, 200, 2000)),
        st.integers(0, 8),
        st.integers(0, 40),
    ),
    min_size=3,
    max_size=60,
)


@st.composite
def rules(draw):
    """A work unit as a configuration could write it."""
    choose = draw(st.sampled_from(("sequence", "job_signal", "command")))
    pieces = draw(st.sampled_from((1, 1, 3)))
    counters = [
        CounterRule(
            mode="counter", signal=f"plc.{role}", role=Role(role), pieces=pieces, restart_evidence=("plc.boots",)
        )
        for role in ROLES
    ]
    if draw(st.booleans()):
        counters.append(PulseRule(mode="pulse", signal="box.n", role=Role.GOOD))
    return counters, {
        "ideal_cycle": Duration("2 s"),
        "orders": OrderRule(
            choose=choose,
            job_signal="plc.job" if choose == "job_signal" else None,
            at_target=draw(st.sampled_from(("complete", "continue"))),
            target_counts=draw(st.sampled_from(("good_plus_scrap", "good"))),
        ),
        "confirm": ConfirmRule(
            every_pieces=draw(st.sampled_from((None, 1, 10))),
            every=draw(st.sampled_from((None, Duration("1 min")))),
            min_interval=draw(st.sampled_from((Duration("0 s"), Duration("30 s")))),
        ),
        "state": StateRule(stop_detect=CycleLimit.parse("10 s"), micro_stop_max=CycleLimit.parse("1 min")),
    }


class Day:
    """Plays steps to a rig; the same steps always give the same inputs."""

    def __init__(self, rig, job, chosen):
        counters, settings_ = chosen
        self.rig, self.job = rig(*counters, **settings_), job
        self.counts = dict.fromkeys(ROLES, 100)
        self.boots, self.high, self.revision = 1, False, 1
        self.play(Step("boot", 0, 0, 0))
        for which in range(3):
            self.play(Step("count", 0, which, 0))

    def play(self, step: Step) -> None:
        self.rig.now_ns += step.after_s * S
        role, order = ROLES[step.which % 3], ORDERS[step.which % 3]
        match step.what:
            case "count":
                self.counts[role] += step.amount
                self.rig.value(f"plc.{role}", self.counts[role])
            case "bad":
                self.rig.value(f"plc.{role}", None, Status.BAD)
            case "boot":
                self.boots += step.amount % 2
                self.rig.value("plc.boots", self.boots)
            case "pulse":
                self.high = not self.high
                late_ms = step.amount * 10
                self.rig.value("box.n", self.high, source_ns=self.rig.now_ns - late_ms * 1_000_000)
            case "order":
                self.revision += step.amount % 2
                self.rig.order(order, step.amount, revision=self.revision, cancelled=step.which > 6)
            case "tag":
                self.rig.value("plc.job", ("A-0010", "B-0010", "nobody", "")[step.amount % 4])
            case "say":
                self.rig.says(("start", "interrupt", "finish")[step.amount % 3], order)
            case "time":
                self.rig.wait()

    def end(self) -> None:
        self.rig.now_ns += 3600 * S
        self.rig.put(TimePassed(self.rig.now_ns))


def check_chains(rig) -> None:
    """Gapless numbers, unique keys, totals that are the sum of the deltas, digests that chain, one end at most."""
    lanes: dict[tuple[str, str], list[Any]] = {}
    for confirmation in rig.all(Confirmation):
        lanes.setdefault(confirmation.job.key, []).append(confirmation)
    keys = [confirmation.key for confirmation in rig.all(Confirmation)]
    assert len(keys) == len(set(keys))
    for (order, operation), lane in lanes.items():
        assert [c.seq for c in lane] == list(range(1, len(lane) + 1))
        assert [c.previous_digest for c in lane] == ["", *(c.digest for c in lane[:-1])]
        assert all(c.kind is ConfirmationKind.PARTIAL for c in lane[:-1]), "nothing follows the final one"
        for number, c in enumerate(lane, 1):
            assert c.key == f"P1/e0/{order}/{operation}/{number}"
            assert c.message_id == message_id_of(c.key)
            assert c.digest == digest_of(rig.unit.identity, c)
            assert c.period_from_ns <= c.period_to_ns <= c.created_ns
            for role in ROLES:
                assert getattr(c, f"total_{role}") == sum(getattr(before, role) for before in lane[:number])
            over = c.kind is ConfirmationKind.FINAL or (c.trigger.startswith(LEAVES) and says_time(c))
            assert over or c.good + c.scrap + c.rework > 0, "an empty partial one"
        record = rig.records[order, operation]
        assert (record.seq, record.last_hash) == (len(lane), lane[-1].digest)


@settings(max_examples=2 * EXAMPLES)
@given(chosen=rules(), steps=STEPS)
def test_every_piece_is_confirmed_open_or_unallocated(rig, job, chosen, steps):
    day = Day(rig, job, chosen)
    for step in steps:
        day.play(step)
        day.rig.close_books()
    day.end()
    day.rig.close_books()
    check_chains(day.rig)
    for run in day.rig.state.queue:
        assert run.open_pieces == 0, "an interrupted order has nothing open"
        assert day.rig.records[run.job.key] == run.record()
    for record in day.rig.records.values():
        held = [run for run in day.rig.state.open_runs() if run.job.key == record.job.key]
        ended = record.state in (JobOrderState.COMPLETED, JobOrderState.CANCELLED)
        assert len(held) == (0 if ended else 1), "open orders are held, ended ones are not"


@settings(max_examples=2 * EXAMPLES)
@given(chosen=rules(), steps=STEPS, ticks=st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_time_that_passes_between_inputs_changes_nothing(rig, job, chosen, steps, ticks):
    """Timers fire at their own time, whoever hands it over."""
    plain, ticking = Day(rig, job, chosen), Day(rig, job, chosen)
    for number, step in enumerate(steps):
        plain.play(step)
        tick_s = ticks[number % len(ticks)]
        start_ns = ticking.rig.now_ns
        for part in range(1, step.after_s // (tick_s + 1) + 1):
            if part > 10:
                break
            ticking.rig.put(TimePassed(start_ns + part * (tick_s + 1) * S))
        ticking.rig.put(TimePassed(start_ns))  # an old time is harmless
        ticking.play(step)
    plain.end()
    ticking.end()
    assert ticking.rig.said == plain.rig.said
    assert ticking.rig.state == plain.rig.state


@settings(max_examples=3 * EXAMPLES // 2)
@given(chosen=rules(), steps=STEPS)
def test_a_timer_never_fires_before_its_time_nor_late(rig, job, chosen, steps):
    """Exactly when ``next_deadline`` says so, and a nanosecond before nothing happens."""
    day = Day(rig, job, chosen)
    for step in steps:
        day.play(step)
        due = day.rig.unit.next_deadline(day.rig.state)
        if due is not None and due > day.rig.now_ns:
            _, early = day.rig.unit.handle(day.rig.state, TimePassed(due - 1))
            assert early == ()
            after, _ = day.rig.unit.handle(day.rig.state, TimePassed(due))
            following = day.rig.unit.next_deadline(after)
            assert following is None or following > due, "a timer that fired is not due again"


@settings(max_examples=3 * EXAMPLES // 2)
@given(chosen=rules(), steps=STEPS, restarts=st.sets(st.integers(0, 60), min_size=1, max_size=6))
def test_a_restart_between_any_two_inputs_changes_no_piece(rig, job, chosen, steps, restarts):
    """Only the machine's state is not known until the values are seen again; pulses are blind meanwhile by design."""
    counters, settings_ = chosen
    chosen = [rule for rule in counters if rule.mode == "counter"], settings_
    through, stopped = Day(rig, job, chosen), Day(rig, job, chosen)
    for number, step in enumerate(steps):
        through.play(step)
        if number in restarts:
            unit = stopped.rig.unit
            stored = json.dumps(snapshot.encode(unit, stopped.rig.state))
            stopped.rig.state = snapshot.decode(unit, json.loads(stored))
            again = json.loads(json.dumps(snapshot.encode(unit, stopped.rig.state)))
            assert snapshot.decode(unit, again) == stopped.rig.state
        stopped.play(step)
    through.end()
    stopped.end()

    def timeless(said):
        """Without what rests on the machine's times: nobody knows what it did while the gateway was down."""
        if isinstance(said, Confirmation):
            flags = tuple(flag for flag in said.flags if flag not in ("CHECKLIST_UNKNOWN", "CHECKLIST_DURATION"))
            return said._replace(work=None, digest="", previous_digest="", flags=flags)
        if isinstance(said, JobChanged):
            return said._replace(record=said.record._replace(last_hash=""))
        if isinstance(said, JobRun):
            return said._replace(work=None, last_hash="", checks=said.checks._replace(unknown=()))
        return tuple(map(timeless, said)) if type(said) is tuple else said

    def pieces_of(rig_):
        apart = (StateChanged, StateInterval, ReasonRequired)
        late = [said for said in rig_.said if isinstance(said, Notice) and said.code == "TIMES_AFTER_FINAL"]
        return [timeless(said) for said in rig_.said if not isinstance(said, apart) and said not in late]

    assert pieces_of(stopped.rig) == pieces_of(through.rig)
    for field in through.rig.state._fields:
        if field not in ("track", "journal_seq", "work"):
            found, expected = (timeless(getattr(one.rig.state, field)) for one in (stopped, through))
            assert found == expected, field


@pytest.mark.parametrize("what", ["count", "pulse", "order", "tag", "say"])
def test_the_random_day_reaches_everything(rig, job, what):
    """Inputs that never did anything would prove nothing."""
    counters = [
        CounterRule(mode="counter", signal="plc.good"),
        PulseRule(mode="pulse", signal="box.n"),
    ]
    choose = "job_signal" if what == "tag" else "command" if what == "say" else "sequence"
    orders = OrderRule(choose=choose, job_signal="plc.job" if what == "tag" else None)
    day = Day(rig, job, (counters, {"orders": orders}))
    day.play(Step("order", 1, 0, 9))
    before = len(day.rig.said)
    for amount in (0, 3, 0, 6):
        day.play(Step(what, 60, 0, amount))
    assert len(day.rig.said) > before
