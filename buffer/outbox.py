"""The outbox: postings wait here until the target has booked them. Each change is durable when its method returns.

It never sends and never decides: the forwarder does. Order in a lane and immutability are guarded by the schema.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from buffer import audit_chain, due, outbox_answers, outbox_open, outbox_sends, steps
from buffer.entry import (
    ANY_TARGET,
    APPROVED_FROM,
    COLUMNS,
    GOODS_ERROR,
    LOOKED_UP_FROM,
    RELEASED_FROM,
    RETRIED_FROM,
    SENT_FROM,
    SUPERSEDED_FROM,
    THERE,
    OutboxEntry,
    OutboxState,
    entry_of,
    stamps_of,
)
from buffer.errors import OutboxError
from buffer.mark import sent_of
from buffer.outbox_counts import counts_of, counts_query
from buffer.outbox_pages import ASKED, page_query
from buffer.outbox_sends import Leaving, listed, not_allowed
from buffer.outbox_whole import OF_OPERATION, Whole, whole
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiosqlite

    from buffer.entry import OutboxCounts, Settlement
    from buffer.mark import Sent
    from buffer.steps import Message, StepRow
    from buffer.store import Store
    from gateway.core.audit.entry import EntryContent
    from gateway.core.confirming.stamps import Stamps
    from gateway.core.target_answer import Answer

#: Of so many newest postings the latency is shown.
LATENCIES_MAX: Final = 200
WHO_MAX_CHARS: Final = 500
#: The highest number that SQLite can give.
ID_MAX: Final = 2**63 - 1

# What was sent again was answered long before: that answer is not known any more. Answers to orders and notices lie in
# between and have no event: of so many times more the confirmations are taken.
_ANSWERED: Final = """
    SELECT event_ns, derived_ns, created_ns, last_sent_ns, settled_ns FROM (
        SELECT * FROM (
            SELECT event_ns, derived_ns, created_ns, last_sent_ns, settled_ns, resends FROM outbox
            WHERE target = ?1 AND state = 'posted' ORDER BY settled_ns DESC LIMIT ?2 * 5
        ) UNION ALL SELECT * FROM (
            SELECT event_ns, derived_ns, created_ns, last_sent_ns, settled_ns, resends FROM outbox
            WHERE target = ?1 AND state = 'delivered' ORDER BY settled_ns DESC LIMIT ?2 * 5
        )
    ) WHERE event_ns IS NOT NULL AND derived_ns IS NOT NULL AND resends = 0 ORDER BY settled_ns DESC LIMIT ?2
"""
_LAST_POSTED: Final = "SELECT max(settled_ns) FROM outbox WHERE target = ? AND state = 'posted'"
_AGAIN: Final = """
    state = 'ready', due_ns = :now, settled_ns = NULL, error_kind = '', error_code = '', error_text = '',
    error_since_ns = NULL, error_count = 0
"""
# A warning that parks it once more is another one: who sends it again has not said that he wants that one passed over.
_RETRY: Final = f"{_AGAIN.rstrip()}, released = CASE WHEN state = 'parked' THEN 0 ELSE released END"
_RELEASE: Final = f"{_AGAIN.rstrip()}, released = CASE WHEN state = 'parked' THEN 1 ELSE released END"


class Outbox:
    """The postings of every target, in one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def due(self, target: str, now_ns: int, limit: int, *, lane_by_order: bool = False) -> list[OutboxEntry]:
        """The head of each lane that may be worked on now, longest due first (``buffer.due``)."""
        return await due.all_due(self._store, target, now_ns, limit, lane_by_order=lane_by_order)

    async def due_kinds(
        self, target: str, now_ns: int, limit: int, *, lane_by_order: bool = False
    ) -> tuple[list[OutboxEntry], list[OutboxEntry], list[OutboxEntry]]:
        """Such heads, up to ``limit`` of each kind: not tried, newest and oldest first; tried, longest due first."""
        return await due.by_kind(self._store, target, now_ns, limit, lane_by_order=lane_by_order)

    async def behind(self, entry: OutboxEntry, limit: int) -> list[OutboxEntry]:
        """Open postings of its lane that come after it, in their order."""
        return await due.behind(self._store, entry, limit)

    async def next_due_ns(self, target: str, after_ns: int) -> int | None:
        """The earliest time after ``after_ns`` at which a head becomes due, None if there is none."""
        return await due.next_due_ns(self._store, target, after_ns)

    async def begin_send(
        self,
        entry_id: int,
        message: Message | None,
        now_ns: int,
        *,
        repeat_uncertain: bool = False,
        more: Sequence[Message] = (),
        baseline: bytes | None = None,
    ) -> OutboxEntry:
        """Mark the step that is due as sending; fix its message (body, content type, name) if none is fixed yet.

        ``more``: the messages of the steps behind it. ``baseline``: what the target said just before. Only when this
        has returned may a byte leave. An uncertain posting is sent again only with ``repeat_uncertain``: the target
        drops repeats by itself. Raises OutboxError where the state does not allow it.
        """
        allowed = (*SENT_FROM, OutboxState.UNCERTAIN) if repeat_uncertain else SENT_FROM
        leaving = Leaving(message, more, baseline)

        async def work(connection: aiosqlite.Connection) -> OutboxEntry:
            entry = await outbox_sends.begin(connection, entry_id, leaving, now_ns, allowed=allowed)
            assert entry is not None, "without when_due it is begun, or refused"
            return entry

        return await self._store.write(work, _leaving)

    async def begin_lookup(self, entry_id: int, now_ns: int) -> OutboxEntry:
        """Count a look-up of an uncertain or accepted posting. Raises OutboxError."""
        return await self._change(entry_id, "lookups = lookups + 1", {"now": now_ns}, LOOKED_UP_FROM, "be looked up")

    async def settle(
        self,
        entry_id: int,
        settlement: Settlement,
        now_ns: int,
        answer: Answer | None = None,
        *,
        passed: bool = False,
        step: int | None = None,
    ) -> OutboxEntry:
        """Record how a send or look-up ended. Raises OutboxError where the state does not allow it.

        ``step``: which one it was of; where another one is due by now it is refused.

        ``answer`` is kept in the same transaction, instead of the one before. ``passed``: accepted, it lets the next
        one of its lane go. The target's own texts are cleaned: no connector can bring in what cannot be stored or
        shown.
        """
        work = partial(
            outbox_sends.settle, entry_id=entry_id, settlement=settlement, now_ns=now_ns, answer=answer,
            passed=passed, step=step,
        )  # fmt: skip
        return await self._store.write(work)

    async def settle_and_begin(
        self,
        entry_id: int,
        settlement: Settlement,
        next_id: int,
        message: Message | None,
        now_ns: int,
        *,
        more: Sequence[Message] = (),
        passed: bool = False,
    ) -> OutboxEntry | None:
        """``settle`` one posting and ``begin_send`` the next one of its lane in one transaction.

        None: the next one cannot be sent (any more), the first one is settled all the same. Raises OutboxError where
        the state of the first one does not allow it; then nothing is kept.
        """

        async def work(connection: aiosqlite.Connection) -> OutboxEntry | None:
            await outbox_sends.settle(connection, entry_id, settlement, now_ns, passed=passed)
            return await outbox_sends.begin(connection, next_id, Leaving(message, more), now_ns, when_due=True)

        return await self._store.write(work, _leaving)

    async def next_step(
        self, entry_id: int, settlement: Settlement, now_ns: int, *, go: bool, step: int | None = None
    ) -> OutboxEntry:
        """The step that is due is booked, or delivered: keep its reference, and begin the next one.

        With ``go`` it is *sending* when this returns, else ready; uncertain where its message may have left before.
        ``step``: which one it is; where another one is due by now it is refused. Raises OutboxError.
        """
        work = partial(
            outbox_sends.next_step, entry_id=entry_id, settlement=settlement, now_ns=now_ns, go=go, step=step
        )
        return await self._store.write(work, _leaving)

    async def accepted_due(self, target: str, now_ns: int) -> None:
        """All that is accepted may be asked about now. Raises StoreError."""
        await due.accepted_now(self._store, target, now_ns)

    async def steps(self, entry_id: int) -> tuple[StepRow, ...]:
        """The steps of a posting, () where it is one message without a baseline. Raises StoreError."""
        return steps.found(await self._store.read(steps.READ, (entry_id,)))

    async def references(self, entry: OutboxEntry) -> tuple[str, ...]:
        """The references of what is booked of a posting, one by one, in the sequence of its steps. Raises StoreError.

        () where nothing of it is there, or its target gave none.
        """
        if entry.steps == 1:
            return (entry.reference,) if entry.reference and entry.state in THERE else ()
        return tuple(one.reference for one in await self.steps(entry.id) if one.outcome and one.reference)

    async def answer(self, entry_id: int) -> tuple[int, int, Answer] | None:
        """When (ns), at which attempt and what the target answered last, as far as it was not that it is booked."""
        return outbox_answers.found(await self._store.read(outbox_answers.READ, (entry_id,)))

    async def retry(self, which: int | str, now_ns: int, *, audit: Sequence[EntryContent] = ()) -> list[OutboxEntry]:
        """A person's decision: parked or waiting postings are ready again, with the same key and bytes, at their step.

        ``which`` is an id, or a key (then for every target that has it in such a state). Raises OutboxError if there is
        none. ``audit`` is written in the same transaction.
        """
        return await self._decide(which, _RETRY, RETRIED_FROM, now_ns, "be retried", audit)

    async def supersede(
        self, which: int | str, now_ns: int, *, who: str, audit: Sequence[EntryContent] = ()
    ) -> list[OutboxEntry]:
        """A person's decision: a posting that waits for him is not to be posted; its lane goes on. Raises OutboxError.

        Of one with several steps those before the one that is due are booked and stay so; its text says it.
        ``audit`` is written in the same transaction.
        """
        change = f"""
            state = 'superseded', settled_ns = :now, error_text = error_text
                || {steps.BOOKED_IN_PART}
                || ' (superseded by ' || :who || ')'
        """
        return await self._decide(
            which, change, SUPERSEDED_FROM, now_ns, "be superseded", audit, who=clean(who, WHO_MAX_CHARS)
        )

    async def approve(
        self, which: int | str, now_ns: int, *, who: str, audit: Sequence[EntryContent] = ()
    ) -> list[OutboxEntry]:
        """A person's decision: what is beyond a tolerance may be sent, once its window is over. Raises OutboxError.

        ``audit`` is written in the same transaction.
        """
        change = """
            state = CASE WHEN due_ns > :now THEN 'held' ELSE 'ready' END,
            error_text = 'approved by ' || :who, error_kind = '', error_code = ''
        """
        name = clean(who, WHO_MAX_CHARS)
        return await self._decide(which, change, APPROVED_FROM, now_ns, "be approved", audit, who=name)

    async def material_posted(
        self, which: int | str, now_ns: int, *, who: str, audit: Sequence[EntryContent] = ()
    ) -> list[OutboxEntry]:
        """A person's word: the material that the target had not booked is booked now. Raises OutboxError.

        ``audit`` is written in the same transaction.
        """
        change = "error_text = 'material posted by ' || :who, error_kind = '', error_code = '', error_since_ns = NULL"
        name = clean(who, WHO_MAX_CHARS)
        booked = (OutboxState.POSTED,)
        return await self._decide(
            which, change, booked, now_ns, "have its material posted", audit, GOODS_ERROR, who=name
        )

    async def release(
        self, which: int | str, now_ns: int, *, who: str, audit: Sequence[EntryContent] = ()
    ) -> list[OutboxEntry]:
        """A person's decision: what is held goes out now; what is parked is ready, and its target told that he knows.

        What waits for an approval is approved instead. ``audit`` is written in the same transaction. Raises
        OutboxError.
        """
        name = clean(who, WHO_MAX_CHARS)
        return await self._decide(which, _RELEASE, RELEASED_FROM, now_ns, "be released", audit, who=name)

    async def answered(self, target: str, limit: int = LATENCIES_MAX) -> list[Stamps]:
        """The times of those booked or taken over last that have an event, the last one first."""
        return [stamps_of(*row) for row in await self._store.read(_ANSWERED, (target, limit))]

    async def get(self, key: str, target: str | None = None) -> OutboxEntry | None:
        """The posting with this key (of this target), None if there is none."""
        return next(iter(await self.page(key=key, target=target, limit=1)), None)

    async def entry(self, entry_id: int) -> OutboxEntry | None:
        """The posting with this id, None if there is none (or no longer)."""
        rows = await self._store.read(f"SELECT {COLUMNS} FROM outbox WHERE id = ?", (entry_id,))  # noqa: S608 - constant
        return entry_of(rows[0]) if rows else None

    async def whole(self, entry_id: int) -> Whole | None:
        """The posting with this id and all that stands beside it, of one moment. Raises StoreError."""
        return await whole(self._store, entry_id)

    async def page(
        self,
        *,
        target: str | None = None,
        state: OutboxState | None = None,
        order: str | None = None,
        key: str | None = None,
        kind: str | None = None,
        before_id: int | None = None,
        limit: int = 100,
        contents: bool = True,
    ) -> list[OutboxEntry]:
        """Postings, newest first; at most ``PAGE_MAX``. The next page starts before the last id of this one."""
        names = {"target": target, "order": order, "key": key, "kind": kind}
        sql, values = page_query(**names, state=state, before_id=before_id, limit=limit, contents=contents)
        return [entry_of(row) for row in await self._store.read(sql, values)]

    async def not_over(self, limit: int) -> outbox_open.NotOver:
        """What is not over of any target at one moment, newest first, at most ``limit``. Raises StoreError."""
        return await outbox_open.not_over(self._store, limit)

    async def of_operation(self, order: str, operation: str, limit: int) -> list[OutboxEntry]:
        """The confirmations of an operation for every target, newest first, at most ``limit``. Raises StoreError."""
        return [entry_of(row) for row in await self._store.read(OF_OPERATION, (order, operation, limit))]

    async def asked_for(self, target: str, limit: int) -> set[str] | None:
        """Message ids and names of all postings that are not over; None: more of them than the limit."""
        rows = await self._store.read(ASKED, (target, limit + 1))
        return {str(one) for row in rows for one in row if one} if len(rows) <= limit else None

    async def counts(self, target: str) -> OutboxCounts:
        """How much is where; cheap at any size of the outbox."""
        sql, values = counts_query(target)
        return counts_of(await self._store.read(sql, values))

    async def targets(self) -> list[str]:
        """Every target that ever had a posting, also one that is no longer configured."""
        return [str(row[0]) for row in await self._store.read("SELECT DISTINCT target FROM outbox_tally", ())]

    async def last_posted_ns(self, target: str) -> int | None:
        """When the target last booked something, None if never (or pruned since)."""
        found: int | None = (await self._store.read(_LAST_POSTED, (target,)))[0][0]
        return found

    async def _change(
        self,
        entry_id: int,
        change: str,
        values: dict[str, Any],
        allowed: tuple[OutboxState, ...],
        verb: str,
    ) -> OutboxEntry:
        async def work(connection: aiosqlite.Connection) -> OutboxEntry:
            sql = outbox_sends.updating(change, allowed, "")
            rows = list(await connection.execute_fetchall(sql, {**values, "id": entry_id}))
            if not rows:
                raise await outbox_sends.refused(connection, entry_id, allowed, verb)
            return entry_of(tuple(rows[0]))

        return await self._store.write(work)

    async def _decide(
        self,
        which: int | str,
        change: str,
        allowed: tuple[OutboxState, ...],
        now_ns: int,
        verb: str,
        audit: Sequence[EntryContent] = (),
        only: str = "",
        **values: str,
    ) -> list[OutboxEntry]:
        column = "id" if isinstance(which, int) else "key"
        where = "id = :which" if isinstance(which, int) else f"{ANY_TARGET} AND key = :which"
        # A person typed it: what no posting can have is no fault of the database.
        if not _is_storable(which):
            raise OutboxError(f"outbox, this {column}: there is no such posting; `linegate outbox list` shows them")
        kind = f" AND error_kind = '{only}'" if only else ""  # one of the constants of ``entry.py``
        sql = f"UPDATE outbox SET {change} WHERE {where} AND state IN ({listed(allowed)}){kind} RETURNING {COLUMNS}"  # noqa: S608 - constants of this module

        async def work(connection: aiosqlite.Connection) -> list[OutboxEntry]:
            rows = list(await connection.execute_fetchall(sql, {"which": which, "now": now_ns, **values}))
            if not rows:
                found = list(
                    await connection.execute_fetchall(f"SELECT state FROM outbox WHERE {where}", {"which": which})  # noqa: S608 - one of two constants
                )
                raise not_allowed(f"{column} {which}", found, allowed, verb)
            await steps.ask_again(connection, [row[0] for row in rows])
            if audit:
                await audit_chain.append_all(audit, connection)
            return [entry_of(tuple(row)) for row in rows]

        return await self._store.write(work)


def _leaving(entry: OutboxEntry | None) -> tuple[Sent, ...]:
    return (sent_of(entry),) if entry is not None and entry.state is OutboxState.SENDING else ()


def _is_storable(which: int | str) -> bool:
    if isinstance(which, int):
        return 1 <= which <= ID_MAX
    try:
        which.encode()
    except UnicodeEncodeError:
        return False
    return True
