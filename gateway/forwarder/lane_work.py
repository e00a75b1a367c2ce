"""What is done about one posting, and about those right behind it in its lane: send or look up, then settle.

Each change is durable before what it allows happens: a posting is *sending* before its first byte leaves, a look-up is
counted before it is asked, and the outcome of one posting is kept in the same transaction in which the next one of its
lane becomes *sending*, or its own next step. Decides nothing about outcomes (``policy``), nothing about whose turn it
is (``supervisor``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from buffer.entry import SENT_FROM, THERE, OutboxState
from buffer.errors import OutboxError, StoreError
from gateway.connectors.base import HearsSettled, LookupKind, MappingError, Outcome, OutcomeKind, step_id
from gateway.core.duration import NS_PER_S, Duration
from gateway.core.orders.erp_notice import BESIDE
from gateway.forwarder.asking import (
    NotBookedYetError,
    is_stepped,
    looked_up,
    message_of,
    more_of,
    reversed_references,
    step_posting,
    taken_baseline,
)
from gateway.forwarder.policy import Decision, Pause, Policy, cannot_know

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from buffer.entry import OutboxEntry
    from buffer.outbox import Outbox
    from buffer.steps import Message, StepRow
    from gateway.connectors.base import Connector, Posting, Rendered
    from gateway.core.target_answer import Answer

BUFFER_RETRY_S: Final = 1.0
#: A lane gives its place to another one after so many postings, or so much time.
SLICE_POSTINGS: Final = 32
SLICE_NS: Final = Duration("200 ms")
#: So many of a lane are read ahead.
AHEAD: Final = 8

#: States that end what a target said of a posting.
SETTLED: Final = THERE | {OutboxState.PARKED}

_log = structlog.get_logger(__name__)


class Target(NamedTuple):
    """What the work needs of its target. ``follow`` is told each decision before it is kept."""

    name: str
    connector: Connector
    outbox: Outbox
    policy: Policy
    now_ns: Callable[[], int]
    rng: random.Random
    send_timeout_ns: int
    started_ns: int
    follow: Callable[[OutboxEntry, Decision, Outcome | None], None]
    buffer_trouble: Callable[[StoreError], None]
    may_follow: Callable[[OutboxEntry], bool]


class _Next(NamedTuple):
    entry: OutboxEntry
    message: Rendered | None


class LaneWork:
    """The postings of one lane, from its head on, until the lane has had its turn."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._can = target.connector.capabilities
        self._ahead: list[OutboxEntry] = []
        self._sent = 0
        self._until_ns = target.now_ns() + SLICE_NS

    async def run(self, entry: OutboxEntry) -> None:
        """Work on a head of the outbox that is due."""
        target = self._target
        try:
            # Told twice an answer or a notice says nothing else.
            repeatable = entry.state is OutboxState.UNCERTAIN and (self._can.idempotent or entry.kind in BESIDE)
            if repeatable or entry.state in SENT_FROM:
                await self._deliver(entry)
            elif self._can.can_lookup:
                await self._look_up(entry)
            else:
                await self._settle(entry, cannot_know(entry, target.now_ns()))
        except OutboxError as error:
            # A person changed it meanwhile; the next cycle sees it as it is now.
            _log.info("posting changed meanwhile", target=target.name, key=entry.key, error=str(error))
        except StoreError as error:
            await self._not_begun(entry, error)

    async def _deliver(self, entry: OutboxEntry) -> None:
        target = self._target
        repeat = entry.state is OutboxState.UNCERTAIN
        try:
            message = await self._rendered(entry)
        except NotBookedYetError as error:
            await self._settle(entry, target.policy.waits(str(error), target.now_ns()))
            return
        except MappingError as error:
            baseline: bytes | Outcome | None = Outcome(OutcomeKind.MAPPING, str(error))
        else:
            baseline = None if repeat else await self._baseline(entry, message)
        if isinstance(baseline, Outcome):
            await self._settle(entry, self._decided(entry, baseline), baseline)
            return
        sending: OutboxEntry | None = await target.outbox.begin_send(
            entry.id,
            _fixed(message),
            target.now_ns(),
            repeat_uncertain=repeat,
            more=() if message is None else more_of(message),
            baseline=baseline,
        )
        while sending is not None:
            posting = step_posting(sending, await self._steps(sending))
            outcome, following = await asyncio.gather(self._send(posting), self._following(sending))
            self._sent += 1
            decision = self._decided(sending, outcome)
            sending = await self._settle(sending, decision, outcome, following)

    async def _rendered(self, entry: OutboxEntry) -> Rendered | None:
        """The message where none is fixed yet. Raises MappingError, NotBookedYetError."""
        if entry.body is not None:
            return None
        taken_back = await reversed_references(self._target.outbox, entry)
        return message_of(self._target.connector, entry.payload, taken_back)

    async def _steps(self, entry: OutboxEntry) -> tuple[StepRow, ...]:
        """What is kept beside the posting; nothing is read where nothing can be."""
        return await self._target.outbox.steps(entry.id) if is_stepped(entry, self._target.connector) else ()

    async def _baseline(self, entry: OutboxEntry, message: Rendered | None) -> bytes | Outcome | None:
        """What the target says before a send; None where that is not asked, or stands from before a doubtful one."""
        if not self._can.baseline or entry.kind in BESIDE:
            return None
        known = await self._steps(entry)
        # What was surely not booked may be asked of anew: meanwhile others may have booked.
        is_new = entry.state is OutboxState.RETRY_WAIT or all(
            one.baseline is None for one in known if one.step == entry.step
        )
        if not is_new:
            return None
        if message is not None:
            entry = entry._replace(
                body=message.body, content_type=message.content_type, name=message.name, steps=1 + len(message.more)
            )
        return await taken_baseline(self._target.connector, step_posting(entry, known), self._target.send_timeout_ns)

    async def _following(self, entry: OutboxEntry) -> _Next | None:
        """The next one of the lane, ready to be sent right behind this one; None where it has to wait for its turn."""
        target = self._target
        alone = self._can.lane_by_order or self._can.baseline or entry.step < entry.steps - 1
        if alone or self._sent + 1 >= SLICE_POSTINGS or target.now_ns() >= self._until_ns:
            return None
        if not self._ahead:
            try:
                self._ahead = await target.outbox.behind(entry, AHEAD)
            except StoreError:  # the settling finds out, and says so
                return None
        if not self._ahead:
            return None
        following = self._ahead.pop(0)
        if following.state not in SENT_FROM or following.due_ns > target.now_ns():
            return None
        try:
            return _Next(following, await self._rendered(following))
        except (MappingError, NotBookedYetError, StoreError):  # its own turn tells
            return None

    async def _send(self, posting: Posting) -> Outcome:
        limit_s = self._target.send_timeout_ns / NS_PER_S
        try:
            async with asyncio.timeout(limit_s):
                return await self._target.connector.send(posting)
        except TimeoutError:
            return Outcome(OutcomeKind.UNCERTAIN, f"no end within {limit_s:g} s")
        except Exception as error:  # noqa: BLE001 - whatever a connector raises, the posting may have arrived
            return Outcome(OutcomeKind.UNCERTAIN, f"the connector failed: {error!r}")

    def _decided(self, entry: OutboxEntry, outcome: Outcome) -> Decision:
        return self._target.policy.after_send(entry, outcome, self._target.now_ns())

    async def _look_up(self, entry: OutboxEntry) -> None:
        target = self._target
        entry = await target.outbox.begin_lookup(entry.id, target.now_ns())
        posting = step_posting(entry, await self._steps(entry))
        if self._can.baseline and posting.baseline is None and entry.state is OutboxState.UNCERTAIN:
            # Without what the target said before nothing it says now proves anything.
            await self._settle(entry, cannot_know(entry, target.now_ns()))
            return
        lookup = await looked_up(target.connector, posting, target.send_timeout_ns)
        decision = target.policy.after_lookup(entry, lookup, target.now_ns(), started_ns=target.started_ns)
        told = lookup.answer if lookup.kind is LookupKind.REFUSED else None
        # The next step goes in a turn of its own.
        await self._settle(entry, decision, answer=told)

    async def _settle(
        self,
        entry: OutboxEntry,
        decision: Decision,
        outcome: Outcome | None = None,
        following: _Next | None = None,
        answer: Answer | None = None,
    ) -> OutboxEntry | None:
        """Carry out a decision, and begin what comes next with it: the next step, or the next one of the lane.

        Returns what was begun. What is known of a posting is kept in hand until the buffer has it.
        """
        target = self._target
        decision = self._jittered(decision)
        target.follow(entry, decision, outcome)
        there = decision.settlement.state in THERE
        passes = decision.settlement.state is OutboxState.ACCEPTED and not self._can.accepted_blocks
        if there and entry.step < entry.steps - 1:
            return await self._next_step(entry, decision, go=outcome is not None and not self._can.baseline)
        if following is not None and not ((there or passes) and target.may_follow(following.entry)):
            following = None
        if not there and outcome is not None:
            answer = outcome.answer
        doubtful: tuple[OutboxEntry, StoreError] | None = None
        try:
            while True:
                try:
                    if following is None:
                        await target.outbox.settle(
                            entry.id, decision.settlement, target.now_ns(), answer, passed=passes, step=entry.step
                        )
                        self._tell_settled(entry, decision)
                        return None
                    begun = await target.outbox.settle_and_begin(
                        entry.id,
                        decision.settlement,
                        following.entry.id,
                        _fixed(following.message),
                        target.now_ns(),
                        more=() if following.message is None else more_of(following.message),
                        passed=passes,
                    )
                    self._tell_settled(entry, decision)
                    return begun  # noqa: TRY300 - the loop's other end
                except OutboxError:
                    raise
                except StoreError as error:
                    target.buffer_trouble(error)
                    if following is not None:
                        doubtful, following = (following.entry, error), None
                    await asyncio.sleep(BUFFER_RETRY_S)
        finally:
            if doubtful is not None:
                await self._not_begun(*doubtful)

    def _tell_settled(self, entry: OutboxEntry, decision: Decision) -> None:
        """The target may forget what it said of it."""
        connector = self._target.connector
        if decision.settlement.state in SETTLED and isinstance(connector, HearsSettled):
            connector.settled(step_id(entry.message_id, entry.step), entry.key)

    async def _next_step(self, entry: OutboxEntry, decision: Decision, *, go: bool) -> OutboxEntry | None:
        """This step is over: its reference is kept, and the next one begun with it, where it may go at once."""
        target = self._target
        go = go and target.may_follow(entry)
        while True:
            try:
                begun = await target.outbox.next_step(
                    entry.id, decision.settlement, target.now_ns(), go=go, step=entry.step
                )
            except OutboxError:
                raise
            except StoreError as error:
                # It may be committed, and only its mark be missing: then the next step has not left.
                await self._not_begun(entry, error, entry.step + 1)
                await asyncio.sleep(BUFFER_RETRY_S)
                found = await self._found(entry)
                if found is None or found.step > entry.step:
                    return None
                go = False
            else:
                return begun if begun.state is OutboxState.SENDING else None

    async def _found(self, entry: OutboxEntry) -> OutboxEntry | None:
        """The posting as it stands, whenever the buffer says it."""
        while True:
            try:
                return await self._target.outbox.entry(entry.id)
            except StoreError as error:
                self._target.buffer_trouble(error)
                await asyncio.sleep(BUFFER_RETRY_S)

    def _jittered(self, decision: Decision) -> Decision:
        """Postings that failed together do not come back together."""
        settlement, now_ns = decision.settlement, self._target.now_ns()
        if decision.pause is not Pause.BACKOFF or settlement.due_ns <= now_ns:
            return decision
        due_ns = now_ns + self._target.rng.randint(0, settlement.due_ns - now_ns)
        return decision._replace(settlement=settlement._replace(due_ns=due_ns))

    async def _not_begun(self, entry: OutboxEntry, error: StoreError, step: int = 0) -> None:
        # The mark may be there although its commit reported an error; nothing was sent in either case.
        target = self._target
        target.buffer_trouble(error)
        while True:
            try:
                found = await target.outbox.entry(entry.id)
                if found is not None and found.state is OutboxState.SENDING and found.step >= step:
                    outcome = Outcome(OutcomeKind.NOT_SENT, f"the buffer: {error}")
                    await target.outbox.settle(entry.id, self._decided(found, outcome).settlement, target.now_ns())
            except StoreError as again:
                target.buffer_trouble(again)
                await asyncio.sleep(BUFFER_RETRY_S)
            else:
                return


def _fixed(message: Rendered | None) -> Message | None:
    return None if message is None else (message.body, message.content_type, message.name)
