"""Whether a target may be asked at all, and when next: its circuit breaker. Pure: time and randomness are handed in.

Closed: all lanes send. Open: nothing does, until ``next_try_ns``. Half open: one trial posting finds out whether the
target is back; its success closes, its failure opens again for longer. It begins half open: whoever starts with wrong
credentials has an account that may be locked by the fourth attempt.

Only failures of the target itself count (not reached, no clear answer, something else answers), in a row: any answer
of the target, also one that refuses an order, ends the row. An unclear end says as much of the order as of the target,
so each lane counts once in a row, however often it is tried: an order that the ERP cannot digest opens nothing and
makes no pause longer, also where nothing else is to be sent, and holds back its own lane only. An ERP that answers
slowly counts as one that answers. Three are needed; one is enough where the target asks for a pause (Retry-After),
where something else answers in its place, and where it refuses the credentials: then nothing but a probe comes next.

The pause is drawn from 0 to a ceiling (full jitter): gateways that lost an ERP together do not come back together. The
ceiling doubles from ``backoff_min`` with each opening in a row that says something new, up to ``backoff_max``, and is
never more than half of what the outage has lasted: after a short outage nobody waits for long. A draw near 0 is no
danger: how often requests may fail is bounded by the budget that all targets share.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    import random

    from gateway.forwarder.budget import FailureBudget
    from gateway.forwarder.policy import Policy

#: So many failures of the target in a row open it.
OPENED_BY: Final = 3
#: So many lanes are remembered in a row of failures; the pause has its full length by then.
LANES_MAX: Final = 64
#: So long after a failure its target asks the budget first, even if it has answered since.
SUSPECT_NS: Final = NS_PER_S


class BreakerState(enum.StrEnum):
    """What may be sent."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """The circuit breaker of one target."""

    def __init__(self, policy: Policy, budget: FailureBudget, rng: random.Random, now_ns: int) -> None:
        self._policy = policy
        self._budget = budget
        self._rng = rng
        self._state = BreakerState.HALF_OPEN
        self._openings = 0
        self._failing_since_ns = now_ns
        self._last_failed_ns: int | None = None
        self._asked_until_ns = 0
        self._counted = 0  # failures in a row, an unclear end once for each lane
        self._unclear: set[tuple[str, ...]] = set()
        self.since_ns = now_ns
        self.next_try_ns: int | None = None
        self.failures = 0
        self.last_success_ns: int | None = None
        #: Credentials were refused: one harmless question comes before the next posting.
        self.probe_first = False

    @property
    def state(self) -> BreakerState:
        """As it was left; ``allows`` makes an open one half open once its time has come."""
        return self._state

    def allows(self, now_ns: int) -> bool:
        """Whether anything may be sent now: everything, or one trial."""
        if self._state is BreakerState.OPEN and self.next_try_ns is not None and now_ns >= self.next_try_ns:
            self._become(BreakerState.HALF_OPEN, now_ns)
        return self._state is not BreakerState.OPEN

    def wait_ns(self, now_ns: int) -> int:
        """How long the budget keeps a target back that failed last, or has failed just now."""
        lately = self._last_failed_ns is not None and now_ns - self._last_failed_ns < SUSPECT_NS
        return self._budget.wait_ns(now_ns) if self.failures or lately else 0

    def begun(self, now_ns: int) -> None:
        """A request begins. A trial counts as failed from the start: those of many targets begin together."""
        if self._state is BreakerState.HALF_OPEN:
            self._budget.failed(now_ns)

    def succeeded(self, now_ns: int) -> None:
        """The target answered, whatever it said of the posting."""
        self.last_success_ns = now_ns
        self.failures = self._counted = 0
        self._unclear.clear()
        if self.probe_first or now_ns < self._asked_until_ns:
            return  # what was under way meanwhile changes nothing about what the target asked for
        self._openings = 0
        self.next_try_ns = None
        self._become(BreakerState.CLOSED, now_ns)

    def failed(
        self, now_ns: int, *, lane: tuple[str, ...] | None = None, at_once: bool = False, at_least_ns: int = 0
    ) -> None:
        """A failure of the target itself; ``lane``: an unclear end, which may be the fault of what was sent.

        ``at_least_ns``: the pause that the target asked for.
        """
        if self._state is not BreakerState.HALF_OPEN:
            self._budget.failed(now_ns)
        self._last_failed_ns = now_ns
        if not self.failures:
            self._failing_since_ns = now_ns
        self.failures += 1
        says_more = lane is None or lane not in self._unclear
        self._counted += says_more
        if lane is not None and len(self._unclear) < LANES_MAX:
            self._unclear.add(lane)
        if at_least_ns:
            self._asked_until_ns = max(self._asked_until_ns, now_ns + at_least_ns)
        if self._state is BreakerState.OPEN:  # it was under way when the others failed
            self.next_try_ns = max(self.next_try_ns or 0, self._asked_until_ns)
        elif self._state is BreakerState.HALF_OPEN or at_once or at_least_ns or self._counted >= OPENED_BY:
            self._openings += says_more or not self._openings
            pause_ns = self._rng.randint(0, self.ceiling_ns(now_ns))
            self._open(max(now_ns + pause_ns, self._asked_until_ns), now_ns)

    def refused(self, now_ns: int, pause_ns: int) -> None:
        """Credentials refused: a long pause, so that nobody's account is locked, then a probe."""
        self.failures += 1
        self.probe_first = True
        self._open(max(self.next_try_ns or 0, now_ns + pause_ns), now_ns)

    def ceiling_ns(self, now_ns: int) -> int:
        """The longest pause that may be drawn now."""
        half_ns = (now_ns - self._failing_since_ns) // 2
        return min(self._policy.doubling_ns(self._openings), max(half_ns, self._policy.doubling_ns(1)))

    def _open(self, until_ns: int, now_ns: int) -> None:
        self.next_try_ns = until_ns
        self._become(BreakerState.OPEN, now_ns)

    def _become(self, state: BreakerState, now_ns: int) -> None:
        if state is not self._state:
            self._state, self.since_ns = state, now_ns
