"""What follows from an outcome or a look-up: pure decisions, no clock, no I/O, no randomness.

The supervisor carries them out. A decision settles one posting, and may pause the whole target.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from buffer.entry import GOODS_ERROR, OutboxState, Settlement
from gateway.connectors.base import LookupKind, OutcomeKind
from gateway.core.duration import Duration

if TYPE_CHECKING:
    from buffer.entry import OutboxEntry
    from config.settings import ConnectorCommon
    from gateway.connectors.base import Capabilities, Lookup, Outcome

#: A target may ask for patience, but not for a week.
RETRY_AFTER_MAX_NS: Final = Duration("1 h")
#: A posting that could not be sent lets others go first for at most this long.
STEP_BACK_MAX_NS: Final = Duration("8 s")
#: Most targets book at once what they accept; who asks soon knows soon.
FIRST_QUESTION_NS: Final = Duration("500 ms")
PARALLEL_LANES_MAX: Final = 32
#: The kind of error of what the target's answers neither prove nor exclude.
UNCLEAR: Final = "unclear"
DOUBLINGS_MAX: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwarderSettings:
    """What the configuration says of a target; lengths of time in nanoseconds.

    Attributes:
        backoff_max_ns: longest pause of a target that cannot be reached.
        parallel_lanes: postings at a time, 1 to 32, at most one of a lane.
        wait_precondition_ns: pause of a posting whose precondition is missing at the target.
        auth_probe_ns: pause after refused credentials; then one harmless question first.
        late_after_ns: from the last piece to the answer; what takes longer is late.
        backlog_rate: postings a second at most of what has waited for more than five minutes; None: no limit.
        ask_accepted_ns: longest pause between two questions whether an accepted posting is booked; the first one comes
            after ``FIRST_QUESTION_NS``, and each pause is twice the one before.
        accepted_limit_ns: after this long accepted but not booked a person must look.
        busy_limit_ns: after this long locked a person must look.
        wait_limit_ns: after this long without its precondition a person must look.
        unclear_limit_ns: after this long a person must look at what the target's answers neither prove nor exclude.
    """

    backoff_max_ns: int = Duration("60 s")
    parallel_lanes: int = 4
    wait_precondition_ns: int = Duration("15 min")
    auth_probe_ns: int = Duration("15 min")
    late_after_ns: int = Duration("1 h")
    backlog_rate: int | None = None
    ask_accepted_ns: int = Duration("30 s")
    accepted_limit_ns: int = Duration("8 h")
    busy_limit_ns: int = Duration("4 h")
    wait_limit_ns: int = Duration("8 h")
    unclear_limit_ns: int = Duration("10 min")

    @classmethod
    def of(cls, settings: ConnectorCommon) -> Self:
        """As the configuration says."""
        return cls(
            backoff_max_ns=settings.backoff_max,
            parallel_lanes=settings.parallel_lanes,
            wait_precondition_ns=settings.wait_precondition,
            auth_probe_ns=settings.auth_probe,
            late_after_ns=settings.late_after,
            backlog_rate=settings.backlog_rate,
            ask_accepted_ns=settings.ask_accepted,
            accepted_limit_ns=settings.accepted_limit,
            busy_limit_ns=settings.busy_limit,
            wait_limit_ns=settings.wait_limit,
            unclear_limit_ns=settings.unclear_limit,
        )

    def __post_init__(self) -> None:
        """Nothing may repeat without a pause."""
        if not 1 <= self.parallel_lanes <= PARALLEL_LANES_MAX:
            raise ValueError(f"parallel_lanes: found {self.parallel_lanes}, allowed 1 to {PARALLEL_LANES_MAX}")
        if self.backlog_rate is not None and self.backlog_rate < 1:
            raise ValueError(f"backlog_rate: found {self.backlog_rate}, allowed 1 and more, or nothing")
        pauses = (self.backoff_max_ns, self.wait_precondition_ns, self.auth_probe_ns, self.ask_accepted_ns)
        if min(pauses) <= 0:
            raise ValueError(
                "backoff_max, wait_precondition, auth_probe, ask_accepted: found a pause of 0 or less, allowed: above 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwarderTimings:
    """Lengths of time that hardly anybody changes, in nanoseconds; a demo may scale them.

    Attributes:
        backoff_min_ns: longest first pause of a target that cannot be reached; doubles with each failure.
        send_timeout_ns: fence around one call of the connector, which has its own, shorter limits.
        busy_ladder_ns: pauses of a posting whose order is locked at the target; the last one repeats.
    """

    backoff_min_ns: int = Duration("1 s")
    send_timeout_ns: int = Duration("2 min")
    busy_ladder_ns: tuple[int, ...] = (
        Duration("30 s"),
        Duration("1 min"),
        Duration("2 min"),
        Duration("5 min"),
        Duration("10 min"),
    )

    def __post_init__(self) -> None:
        """Nothing may repeat without a pause."""
        if min((self.backoff_min_ns, *self.busy_ladder_ns)) <= 0 or not self.busy_ladder_ns:
            raise ValueError("forwarder timings: found a pause of 0 or less, allowed: above 0")


class Pause(enum.Enum):
    """What the target as a whole has to do."""

    NONE = "none"
    BACKOFF = "backoff"  # it does not answer as it should: all lanes wait
    AUTH = "auth"  # credentials refused: all lanes wait long, then one probe


class Decision(NamedTuple):
    """The next state of the posting, and what it says of the link (``reached`` None: nothing)."""

    settlement: Settlement
    reached: bool | None
    pause: Pause = Pause.NONE
    retry_after_ns: int = 0


class Policy:
    """Decides for one target."""

    def __init__(self, settings: ForwarderSettings, timings: ForwarderTimings, capabilities: Capabilities) -> None:
        self._settings = settings
        self._timings = timings
        self._can = capabilities

    def doubling_ns(self, failures: int) -> int:
        """The pause after so many failures in a row (1: the first), without jitter."""
        doubled_ns = self._timings.backoff_min_ns << min(max(failures - 1, 0), DOUBLINGS_MAX)
        return min(self._settings.backoff_max_ns, doubled_ns)

    def after_send(self, entry: OutboxEntry, outcome: Outcome, now_ns: int) -> Decision:
        """What follows from a send."""
        retry_after_ns = min(outcome.retry_after_ns or 0, RETRY_AFTER_MAX_NS)
        fault = (outcome.kind.value, outcome.code, outcome.detail)
        count = entry.error_count if entry.error_kind == outcome.kind else 0
        match outcome.kind:
            case OutcomeKind.POSTED:
                return Decision(_booked(outcome, now_ns), reached=True)
            case OutcomeKind.ACCEPTED:
                return Decision(self._taken_over(outcome.reference, now_ns, 0), reached=True)
            case OutcomeKind.NOT_SENT:
                back_ns = min(self.doubling_ns(count + 1), STEP_BACK_MAX_NS)
                settlement = Settlement(OutboxState.RETRY_WAIT, now_ns + back_ns, "", *fault)
                return Decision(settlement, reached=False, pause=Pause.BACKOFF, retry_after_ns=retry_after_ns)
            case OutcomeKind.AUTH:
                settlement = Settlement(OutboxState.RETRY_WAIT, now_ns, "", *fault)
                return Decision(settlement, reached=False, pause=Pause.AUTH)
            case OutcomeKind.UNCERTAIN | OutcomeKind.PROTOCOL:
                settlement = Settlement(OutboxState.UNCERTAIN, now_ns + self.doubling_ns(count + 1), "", *fault)
                reached = False if outcome.kind is OutcomeKind.PROTOCOL else None
                return Decision(settlement, reached=reached, pause=Pause.BACKOFF, retry_after_ns=retry_after_ns)
            case OutcomeKind.BUSY:
                ladder = self._timings.busy_ladder_ns
                pause_ns = max(ladder[min(count, len(ladder) - 1)], retry_after_ns)
                return _again_or_park(entry, outcome, now_ns, pause_ns, self._settings.busy_limit_ns)
            case OutcomeKind.WAIT_PRECONDITION:
                pause_ns = max(self._settings.wait_precondition_ns, retry_after_ns)
                return _again_or_park(entry, outcome, now_ns, pause_ns, self._settings.wait_limit_ns)
            case OutcomeKind.BUSINESS_REJECT | OutcomeKind.MAPPING:
                reached = True if outcome.kind is OutcomeKind.BUSINESS_REJECT else None
                return Decision(Settlement(OutboxState.PARKED, now_ns, "", *fault), reached=reached)

    def after_lookup(self, entry: OutboxEntry, lookup: Lookup, now_ns: int, *, started_ns: int) -> Decision:
        """What follows from a look-up of an uncertain or accepted posting.

        ``started_ns`` is when this process started: a send that an earlier process left unfinished ended before.
        """
        if lookup.kind is LookupKind.FOUND:
            return Decision(_booked(lookup, now_ns), reached=True)
        if lookup.kind is LookupKind.REFUSED:
            fault = (OutcomeKind.BUSINESS_REJECT.value, lookup.code, lookup.detail)
            return Decision(Settlement(OutboxState.PARKED, now_ns, "", *fault), reached=True)
        if lookup.kind is LookupKind.ACCEPTED and entry.state is not OutboxState.ACCEPTED:
            return Decision(self._taken_over(lookup.reference, now_ns, 0), reached=True)
        if lookup.kind in {LookupKind.UNKNOWABLE, LookupKind.UNKNOWN, LookupKind.UNCLEAR}:
            return self._not_known(entry, lookup, now_ns)
        if entry.state is OutboxState.ACCEPTED:
            return self._still_accepted(entry, now_ns)
        # Absence is no proof while the server may still be working on what it got.
        ended_ns = max(entry.last_sent_ns or 0, started_ns if entry.unclear_ns is None else entry.unclear_ns)
        proven_ns = ended_ns + self._can.server_time_limit_ns
        fault = (entry.error_kind, entry.error_code, entry.error_text)
        if now_ns >= proven_ns:
            return Decision(Settlement(OutboxState.READY, now_ns, "", *fault), reached=True)
        # What is booked late is found in between.
        due_ns = min(proven_ns, now_ns + self.doubling_ns(entry.lookups))
        return Decision(Settlement(OutboxState.UNCERTAIN, due_ns, "", *fault), reached=True)

    def waits(self, text: str, now_ns: int) -> Decision:
        """Another posting of this outbox comes first: looked at again as often as that one is."""
        due_ns = now_ns + self._settings.ask_accepted_ns
        fault = (OutcomeKind.WAIT_PRECONDITION.value, "", text)
        return Decision(Settlement(OutboxState.RETRY_WAIT, due_ns, "", *fault), reached=None)

    def _question_ns(self, asked: int) -> int:
        return min(self._settings.ask_accepted_ns, FIRST_QUESTION_NS << min(asked, DOUBLINGS_MAX))

    def _taken_over(self, reference: str, now_ns: int, asked: int) -> Settlement:
        """Where nobody can ask, the target's word is all that will ever be known."""
        if self._can.readback and self._can.can_lookup:
            return Settlement(OutboxState.ACCEPTED, now_ns + self._question_ns(asked), reference)
        return Settlement(OutboxState.DELIVERED, now_ns, reference)

    def _not_known(self, entry: OutboxEntry, lookup: Lookup, now_ns: int) -> Decision:
        if lookup.kind is LookupKind.UNKNOWABLE:
            return cannot_know(entry, now_ns)
        if lookup.kind is LookupKind.UNCLEAR:
            return self._unclear(entry, lookup, now_ns)
        fault = (entry.error_kind or OutcomeKind.UNCERTAIN, entry.error_code, f"look-up: {lookup.detail}")
        settlement = Settlement(entry.state, now_ns + self.doubling_ns(entry.lookups), "", *fault)
        return Decision(settlement, reached=None, pause=Pause.BACKOFF)

    def _unclear(self, entry: OutboxEntry, lookup: Lookup, now_ns: int) -> Decision:
        """Nobody else waits for it: the target answers."""
        since_ns = entry.error_since_ns if entry.error_kind == UNCLEAR and entry.error_since_ns is not None else now_ns
        fault = (UNCLEAR, lookup.code, lookup.detail)
        if now_ns - since_ns >= self._settings.unclear_limit_ns:
            return Decision(Settlement(OutboxState.PARKED, now_ns, "", *fault), reached=True)
        due_ns = min(now_ns + self._settings.ask_accepted_ns, since_ns + self._settings.unclear_limit_ns)
        return Decision(Settlement(entry.state, due_ns, "", *fault), reached=True)

    def _still_accepted(self, entry: OutboxEntry, now_ns: int) -> Decision:
        if now_ns - (entry.last_sent_ns or now_ns) >= self._settings.accepted_limit_ns:
            text = "the target accepted this and never booked it; look there, then retry or discard"
            return Decision(Settlement(OutboxState.PARKED, now_ns, "", "accepted", "", text), reached=True)
        due_ns = now_ns + self._question_ns(entry.lookups)
        return Decision(Settlement(OutboxState.ACCEPTED, due_ns), reached=True)


def cannot_know(entry: OutboxEntry, now_ns: int) -> Decision:
    """An uncertain posting of a target that can be asked nothing: a person has to."""
    text = f"nobody can ask the target whether this is booked; look there, then retry or discard ({entry.error_text})"
    return Decision(Settlement(OutboxState.PARKED, now_ns, "", "uncertain", entry.error_code, text), reached=None)


def _again_or_park(entry: OutboxEntry, outcome: Outcome, now_ns: int, pause_ns: int, limit_ns: int) -> Decision:
    fault = (outcome.kind.value, outcome.code, outcome.detail)
    since_ns = entry.error_since_ns if entry.error_kind == outcome.kind else None
    if since_ns is not None and now_ns - since_ns >= limit_ns:
        return Decision(Settlement(OutboxState.PARKED, now_ns, "", *fault), reached=True)
    return Decision(Settlement(OutboxState.RETRY_WAIT, now_ns + pause_ns, "", *fault), reached=True)


def _booked(said: Outcome | Lookup, now_ns: int) -> Settlement:
    """It is booked; where its material is not, that is a task for a person and no doubt about the confirmation."""
    fault = (GOODS_ERROR, "", said.goods_error) if said.goods_error else ("", "", "")
    return Settlement(OutboxState.POSTED, now_ns, said.reference, *fault)


def for_a_person(settlement: Settlement) -> str:
    """What somebody has to see to after this, "" for nothing."""
    if settlement.state is OutboxState.PARKED:
        return "posting parked"
    return "material not booked" if settlement.error_kind == GOODS_ERROR else ""
