"""The circuit breaker, its budget and the choice of the next posting, with the time and the dice in the test's hand."""

import random
from collections import Counter

import pytest

from buffer.entry import OutboxState
from gateway.connectors.base import Capabilities
from gateway.forwarder.breaker import OPENED_BY, Breaker, BreakerState
from gateway.forwarder.budget import FAILING_PER_S_MAX, FailureBudget
from gateway.forwarder.pacing import LIVE_NS, Due, Pacer
from gateway.forwarder.policy import ForwarderSettings, ForwarderTimings, Policy

S = 1_000_000_000
NOW = 1_000_000 * S
SEEDS = range(20)


class Highest:
    """Dice that always show the most, or the least."""

    def __init__(self, *, most):
        self.most = most

    def randint(self, low, high):
        return high if self.most else low


def breaker_of(*, most=True, budget=None, rng=None, proven=True):
    policy = Policy(ForwarderSettings(), ForwarderTimings(), Capabilities())
    breaker = Breaker(policy, budget or FailureBudget(), rng or Highest(most=most), NOW)
    if proven:
        breaker.succeeded(NOW)
    return breaker


def test_it_begins_with_a_trial_and_an_answer_closes_it():
    breaker = breaker_of(proven=False)
    assert breaker.allows(NOW)
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.succeeded(NOW + S)
    assert (breaker.state, breaker.since_ns, breaker.last_success_ns) == (BreakerState.CLOSED, NOW + S, NOW + S)


def test_failures_in_a_row_open_it_and_an_answer_between_them_does_not():
    breaker = breaker_of()
    for _ in range(10):
        for _ in range(OPENED_BY - 1):
            breaker.failed(NOW)
        breaker.succeeded(NOW)
    assert breaker.state is BreakerState.CLOSED
    for _ in range(OPENED_BY):
        breaker.failed(NOW)
    assert breaker.state is BreakerState.OPEN
    assert not breaker.allows(NOW)
    assert NOW < breaker.next_try_ns <= NOW + S  # the first retry comes within a second
    assert breaker.allows(NOW + S)
    assert breaker.state is BreakerState.HALF_OPEN


def test_an_unclear_end_counts_once_for_each_lane_however_often_it_is_tried():
    breaker = breaker_of()
    for _ in range(100):
        breaker.failed(NOW, lane=("poisoned",))
    assert (breaker.state, breaker.failures) == (BreakerState.CLOSED, 100)
    breaker.failed(NOW, lane=("B",))
    assert breaker.state is BreakerState.CLOSED
    breaker.failed(NOW, lane=("C",))
    assert breaker.state is BreakerState.OPEN


def test_a_success_forgets_the_lanes_and_what_was_not_reached_counts_each_time():
    breaker = breaker_of()
    for lane in ("A", "B"):
        breaker.failed(NOW, lane=(lane,))
    breaker.succeeded(NOW)
    for lane in ("A", "B"):
        breaker.failed(NOW, lane=(lane,))
    assert breaker.state is BreakerState.CLOSED
    breaker.failed(NOW)
    assert breaker.state is BreakerState.OPEN


def test_a_poisoned_trial_makes_no_pause_longer_and_trials_of_other_lanes_do():
    """After a start nothing else may be there to be tried: what is made next waits for a second at most."""
    breaker = breaker_of(proven=False)
    now_ns = NOW
    for _ in range(50):
        assert breaker.allows(now_ns)
        breaker.failed(now_ns, lane=("poisoned",))
        assert breaker.next_try_ns - now_ns <= S
        now_ns += 60 * S
    for number in range(10):
        assert breaker.allows(now_ns)
        breaker.failed(now_ns, lane=(f"lane {number}",))
        pause_ns = breaker.next_try_ns - now_ns
        now_ns = breaker.next_try_ns
    assert pause_ns == 60 * S


@pytest.mark.parametrize("wish", [{"at_once": True}, {"at_least_ns": 100 * S}])
def test_one_failure_is_enough_where_it_speaks_for_the_whole_target(wish):
    breaker = breaker_of(most=False)
    breaker.failed(NOW, **wish)
    assert breaker.state is BreakerState.OPEN
    assert breaker.next_try_ns == NOW + wish.get("at_least_ns", 0)


def test_what_was_under_way_does_not_shorten_a_pause_that_the_target_asked_for():
    breaker = breaker_of(most=False)
    breaker.failed(NOW, at_least_ns=100 * S)
    breaker.succeeded(NOW + S)
    assert not breaker.allows(NOW + 99 * S)
    breaker.failed(NOW + 2 * S, at_least_ns=200 * S)
    assert not breaker.allows(NOW + 201 * S)
    assert breaker.allows(NOW + 202 * S)
    breaker.succeeded(NOW + 203 * S)
    assert breaker.state is BreakerState.CLOSED


def test_refused_credentials_end_only_by_a_probe():
    breaker = breaker_of()
    breaker.refused(NOW, 900 * S)
    breaker.succeeded(NOW + S)
    assert not breaker.allows(NOW + 899 * S)
    assert breaker.allows(NOW + 900 * S)
    assert breaker.probe_first


@pytest.mark.parametrize("seed", SEEDS)
def test_pauses_are_drawn_from_zero_on_and_never_outlast_half_the_outage(seed):
    """An outage of any length ends with a pause of at most half of it, or a second; never more than a minute."""
    breaker = breaker_of(rng=random.Random(seed))
    for _ in range(OPENED_BY):
        breaker.failed(NOW)
    now_ns, pauses = NOW, []
    while now_ns < NOW + 3600 * S:
        pause_ns = breaker.next_try_ns - now_ns
        assert 0 <= pause_ns <= min(max((now_ns - NOW) // 2, S), 60 * S), f"seed {seed}"
        pauses.append(pause_ns)
        now_ns = breaker.next_try_ns
        assert breaker.allows(now_ns)
        breaker.failed(now_ns)
    assert max(pauses) > 50 * S, f"seed {seed}"
    assert min(pauses[-20:]) < 30 * S, f"seed {seed}"  # full jitter, not equal jitter


def test_without_jitter_it_would_double():
    breaker = breaker_of(most=True)
    now_ns, pauses = NOW, []
    for _ in range(OPENED_BY):
        breaker.failed(now_ns)
    for _ in range(14):
        pauses.append((breaker.next_try_ns - now_ns) / S)
        now_ns = breaker.next_try_ns
        breaker.allows(now_ns)
        breaker.failed(now_ns)
    assert pauses[:4] == [1, 1, 1, 1.5]
    assert pauses[-1] == 60


@pytest.mark.parametrize("seed", SEEDS)
def test_all_targets_together_stay_within_the_budget(seed):
    """Twenty targets that fail at once, each as eager as the dice allow: at most twelve failures in any second."""
    rng = random.Random(seed)
    budget = FailureBudget()
    breakers = [breaker_of(budget=budget, rng=rng) for _ in range(20)]
    failed_ns = []
    for at in range(0, 20_000, 5):  # ms
        now_ns = NOW + at * S // 1000
        for breaker in breakers:
            if breaker.allows(now_ns) and not breaker.wait_ns(now_ns):
                breaker.begun(now_ns)
                breaker.failed(now_ns)
                failed_ns.append(now_ns)
    assert len(failed_ns) > 20
    first = [at_ns for at_ns in failed_ns if at_ns == NOW]  # nobody knew: one burst
    later = failed_ns[len(first) :]
    for at_ns in later:
        assert len([one for one in later if at_ns - S < one <= at_ns]) <= FAILING_PER_S_MAX, f"seed {seed}"


def test_a_healthy_target_never_waits_for_the_budget():
    budget = FailureBudget()
    broken, healthy = breaker_of(budget=budget), breaker_of(budget=budget)
    for _ in range(50):
        broken.failed(NOW)
    assert broken.wait_ns(NOW) > 0
    assert healthy.wait_ns(NOW) == 0


class One:
    """As much of a posting as the choice looks at."""

    def __init__(self, number, *, lane=None, created_ns=NOW, error_kind=""):
        self.id, self.created_ns, self.error_kind = number, created_ns, error_kind
        self.lane = (lane or f"lane {number}",)
        self.state = OutboxState.READY


def pacer_of(parallel=4, rate=None):
    return Pacer(parallel, rate, lambda entry: entry.lane)


def test_the_newest_and_the_oldest_take_turns_and_nothing_is_taken_twice():
    pacer = pacer_of()
    old = [One(number) for number in range(1, 101)]
    pacer.fill(Due(old[::-1], old, ()))
    taken = [pacer.choose((), 0, NOW).id for _ in range(100)]
    assert taken[:6] == [100, 1, 99, 2, 98, 3]
    assert sorted(taken) == list(range(1, 101))
    assert pacer.choose((), 0, NOW) is None


def test_what_was_tried_before_has_its_turn_and_never_more_than_half_of_the_lanes():
    pacer = pacer_of(parallel=4)
    tried = [One(number) for number in range(1, 50)]
    fresh = [One(number) for number in range(100, 150)]
    pacer.fill(Due(fresh[::-1], fresh, tried))
    kinds = Counter("tried" if pacer.choose((), 1, NOW).id < 100 else "fresh" for _ in range(30))
    assert kinds == {"tried": 10, "fresh": 20}
    assert all(pacer.choose((), 2, NOW).id >= 100 for _ in range(10))
    pacer.fill(Due((), (), tried))
    assert pacer.choose((), 2, NOW) is None
    assert pacer.choose((), 1, NOW).id == 1


def test_a_lane_that_is_under_way_is_left_alone():
    pacer = pacer_of()
    entries = [One(1, lane="A"), One(2, lane="B")]
    pacer.fill(Due(entries[::-1], entries, ()))
    assert pacer.choose({("A",)}, 0, NOW).id == 2
    assert pacer.choose({("A",)}, 0, NOW) is None


def test_a_trial_is_what_surely_never_arrived_and_not_the_order_that_hangs():
    pacer = pacer_of()
    hangs, unsent, fresh = One(1, error_kind="uncertain"), One(2, error_kind="not_sent"), One(3)
    pacer.fill(Due([fresh], [fresh], [hangs, unsent]))
    assert [pacer.trial((), NOW).id for _ in range(3)] == [2, 3, 1]


def test_a_rate_slows_down_the_backlog_and_nothing_else():
    pacer = pacer_of(rate=10)
    old = [One(number, created_ns=NOW - LIVE_NS - S) for number in range(1, 50)]
    live = [One(number) for number in range(100, 103)]
    pacer.fill(Due([*live[::-1], *old[::-1]], [*old, *live], ()))
    taken = []
    while (found := pacer.choose((), 0, NOW)) is not None:
        taken.append(found.id)
    assert sorted(taken) == [1, 100, 101, 102]
    assert pacer.next_ns == NOW + S // 10
    assert pacer.choose((), 0, NOW + S // 10).id in {2, 49}
    assert not pacer.may_follow(old[20], NOW + S // 10)
    assert pacer.may_follow(live[0], NOW + S // 10)
