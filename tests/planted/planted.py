"""Planted bugs: what must be caught if the suite has teeth. Each is one small patch of the running product.

A test puts one in with ``planted(NAME)`` and takes it out again. A daemon that runs with one::

    .venv/bin/python -P tests/planted/planted.py NAME run linegate.yaml

``BUGS`` says of each what is wrong and which check must see it: ``history`` (random histories, ``history.py``),
``model`` (the outbox against its model), ``card`` (a process on a file system that loses what was not fsynced), or a
script of ``scripts.py``.
"""

import contextlib
import functools
import json
import sys
import time
from typing import NamedTuple

from buffer import (
    audit_chain,
    due,
    entry,
    epochs,
    mark,
    opening,
    outbox,
    outbox_sends,
    postings,
    retention,
    schema,
    store,
    writer,
)
from buffer.entry import OutboxState, Settlement
from gateway.connectors.base import OutcomeKind
from gateway.connectors.rest import answers
from gateway.connectors.rest import connector as rest
from gateway.core import snapshot
from gateway.core.counting import counter, counter_limits
from gateway.forwarder import lane_work, policy, supervisor
from gateway.order_feed import OrderFeed

BUGS = {}
#: The clock on the wall, as a list of one: a history has its own.
WALL_NS = [time.time_ns]


class Bug(NamedTuple):
    """``plant`` gets a function that sets an attribute for as long as the bug is in."""

    name: str
    wrong: str
    check: str
    plant: object


def bug(check, wrong):
    def add(plant):
        name = plant.__name__
        BUGS[name] = Bug(name, wrong, check, plant)
        return plant

    return add


@contextlib.contextmanager
def planted(name):
    """The product with this bug in it; without it behind the block."""
    before = []

    def put(where, attribute, value):
        before.append((where, attribute, where.__dict__[attribute]))
        setattr(where, attribute, value)

    BUGS[name].plant(put)
    try:
        yield
    finally:
        for where, attribute, value in reversed(before):
            setattr(where, attribute, value)


# --- the disk ---------------------------------------------------------------------------------------------------------


def _pragma(put, word):
    told = tuple(one.replace("synchronous=FULL", f"synchronous={word}") for one in schema._WRITING)
    assert told != schema._WRITING
    put(schema, "_WRITING", told)
    # What is in force is looked at before anything is written: the bug is that this says so, too.
    put(schema, "IN_FORCE", {**schema.IN_FORCE, "synchronous": ("OFF", "NORMAL").index(word)})


@bug("card", "a commit is acknowledged before it is on the disk; a power cut takes it back")
def synchronous_normal(put):
    _pragma(put, "NORMAL")


@bug("card", "nothing is ever flushed; a power cut takes back much, or damages the file")
def synchronous_off(put):
    _pragma(put, "OFF")


@bug("card", "a write is acknowledged before its transaction is committed")
def acknowledged_before_commit(put):
    def told(done, result):
        if not done.done():
            done.set_result(result)

    def in_thread(group, _mark, owner):
        owner._conn.execute("BEGIN IMMEDIATE")
        results = [writer.run_here(one.work, owner._conn) for one in group]
        for one, result in zip(group, results, strict=True):
            one.done.get_loop().call_soon_threadsafe(told, one.done, result)
        owner._conn.execute("COMMIT")
        return results

    put(writer, "_in_thread", in_thread)


@bug("card", "an error of fsync is taken for success")
def fsync_error_acknowledged(put):
    real = writer.Writer._transaction

    async def transaction(self, group):
        try:
            return await real(self, group)
        except writer._DiskFailedError as failed:
            if schema.family(failed.error) != "IOERR":
                raise
            return [None] * len(group)

    put(writer.Writer, "_transaction", transaction)


@bug("an_older_database_is_noticed", "what leaves the box is not written into the mark")
def mark_not_written(put):
    put(mark.Mark, "append", lambda self, sent, journal: None)


# --- one transaction --------------------------------------------------------------------------------------------------


def _in_two(put, first, second):
    commit = store.Store.commit

    async def committed(self, step):
        await commit(self, first(step))
        if step.postings:
            await commit(self, second(step))

    put(store.Store, "commit", committed)


@bug("history", "state first, its postings in a transaction of their own: a death between loses them")
def two_transactions(put):
    _in_two(put, lambda step: step._replace(postings=()), lambda step: step._replace(rows=(), jobs=(), voids=()))


@bug("history", "postings first, the state in a transaction of its own: a death between counts them again")
def postings_before_state(put):
    commit = store.Store.commit

    async def committed(self, step):
        if step.postings:

            async def work(connection):
                await postings.add(connection, step.postings)

            await self.write(work)
        await commit(self, step._replace(postings=()))

    put(store.Store, "commit", committed)


@bug("history", "the numbers given out are kept in a transaction of their own: they are given out again")
def job_records_apart(put):
    _in_two(
        put,
        lambda step: step._replace(jobs=()) if step.postings else step,
        lambda step: step._replace(rows=(), postings=(), voids=()),
    )


@bug("audit_goes_with_its_step", "the audit entry is written in a transaction of its own, behind what it tells")
def audit_apart(put):
    commit = store.Store.commit

    async def committed(self, step):
        await commit(self, step._replace(audit=()))
        if step.audit:
            await self.write(functools.partial(audit_chain.append_all, step.audit))

    put(store.Store, "commit", committed)


@bug("history", "the counter's baseline lives in memory only: what is made while the gateway is off is lost")
def baseline_in_memory(put):
    load = snapshot.load

    def loaded(unit, stored):
        return load(unit, stored)._replace(detectors=unit.initial(0).detectors)

    put(snapshot, "load", loaded)


@bug("history", "the cursor of the orders is committed before the orders: a death between loses them")
def cursor_before_orders(put):
    async def polled(self):
        cursor = self._own(await self._store.cursor(self._name))
        page = await self._connector.fetch_orders(cursor)
        if page.cursor != cursor:
            await self._store.set_cursor(self._name, f"{self._stamp}{page.cursor}")
        for order in page.orders:
            await self._hand_over(order)
        return page.cursor != cursor and bool(page.orders)

    put(OrderFeed, "_poll", polled)


# --- keys and contents ------------------------------------------------------------------------------------------------


def _sent_as(put, changed):
    real = lane_work.step_posting
    put(lane_work, "step_posting", lambda *given: changed(real(*given)))


@bug("history", "the key is made when it is sent, not when the posting is")
def key_made_at_send_time(put):
    number = iter(range(10**9))
    _sent_as(put, lambda posting: posting._replace(key=f"{posting.key}-{next(number)}"))


@bug("history", "each repeat has a key of its own")
def new_key_on_retry(put):
    _sent_as(put, lambda one: one if one.attempt < 2 else one._replace(key=f"{one.key}-{one.attempt}"))


@bug("history", "the message is made anew for each attempt: one key, two contents")
def rendered_anew(put):
    def changed(posting):
        body = posting.rendered.body[:-1] + b',"attempt":%d}' % posting.attempt
        return posting._replace(rendered=posting.rendered._replace(body=body))

    _sent_as(put, changed)


@bug(
    "a_new_database_has_new_keys",
    "the name of the database is made from its path: after a lost one the keys come again",
)
def epoch_not_renewed(put):
    put(epochs.secrets, "token_bytes", lambda length: b"linegate"[:length])


# --- order ------------------------------------------------------------------------------------------------------------


def _due(put, sql):
    """Other heads are due: the guard of the database that only heads are sent goes, too."""
    put(due, "query", lambda _states, _order, *, lane_by_order: sql)
    put(due, "_BEHIND", due._BEHIND.replace("ORDER BY", "AND 1 = 0 ORDER BY"))
    put(outbox_sends, "IS_HEAD", "")


_ANY_DUE = f"""
    SELECT {entry.COLUMNS} FROM outbox AS one
    WHERE target = ? AND state IN ('held', 'ready', 'retry_wait', 'uncertain', 'accepted') AND due_ns <= ?
    %s ORDER BY due_ns, id LIMIT ?
"""


@bug("history", "the oldest of a lane is told by the clock on the wall, which is set now and then")
def order_by_wall_clock(put):
    row = postings._row

    def stamped(one):
        return row(one._replace(event_ns=WALL_NS[0](), derived_ns=WALL_NS[0]()))

    put(postings, "_row", stamped)
    older = """
        AND NOT EXISTS (
            SELECT 1 FROM outbox AS other WHERE other.target = one.target AND other.lane_order = one.lane_order
            AND other.operation = one.operation AND other.event_ns < one.event_ns
            AND other.state NOT IN ('posted', 'delivered', 'superseded', 'voided')
        )
    """
    _due(put, _ANY_DUE % older)


@bug("history", "a parked posting does not hold its lane: what follows overtakes it")
def parked_lets_pass(put):
    older = """
        AND NOT EXISTS (
            SELECT 1 FROM outbox AS other WHERE other.target = one.target AND other.lane_order = one.lane_order
            AND other.operation = one.operation AND other.id < one.id
            AND other.state NOT IN ('posted', 'delivered', 'superseded', 'voided', 'parked')
        )
    """
    _due(put, _ANY_DUE % older)


@bug("history", "two postings of a lane are under way at once")
def two_in_flight(put):
    _due(put, _ANY_DUE % "")
    put(supervisor.Forwarder, "_lane", lambda _self, one: (str(one.id),))


@bug("a_refused_order_delays_nobody", "one refused order holds back all the others")
def parked_blocks_all(put):
    real = outbox.Outbox.due_kinds

    async def due_kinds(self, target, now_ns, limit, **how):
        parked = await self.page(target=target, state=OutboxState.PARKED, limit=1)
        return ([], [], []) if parked else await real(self, target, now_ns, limit, **how)

    put(outbox.Outbox, "due_kinds", due_kinds)


# --- what is sent, and when -------------------------------------------------------------------------------------------


@bug("history", "it is booked in the outbox before the ERP has booked it: a lost request is never repeated")
def cursor_before_ack(put):
    async def deliver(self, one):
        kept, now_ns = self._target.outbox, self._target.now_ns()
        again = one.state is OutboxState.UNCERTAIN
        message = lane_work._fixed(await self._rendered(one))
        one = await kept.begin_send(one.id, message, now_ns, repeat_uncertain=again)
        await kept.settle(one.id, Settlement(OutboxState.POSTED, now_ns, "R"), now_ns)
        await self._send(lane_work.step_posting(one))

    put(lane_work.LaneWork, "_deliver", deliver)


@bug("history", "sending is not committed before the send: after a death nobody knows that it left")
def sending_not_committed(put):
    async def deliver(self, one):
        target = self._target
        message = target.connector.render(json.loads(one.payload))
        sent = one._replace(body=one.body or message.body, content_type=message.content_type, name=message.name)
        outcome = await self._send(lane_work.step_posting(sent))
        fixed = lane_work._fixed(message)
        one = await target.outbox.begin_send(one.id, fixed, target.now_ns(), repeat_uncertain=True)
        await self._settle(one, self._decided(one, outcome))

    put(lane_work.LaneWork, "_deliver", deliver)


@bug("history", "what was being sent when the process died is sent again without a look")
def sending_ready_at_restart(put):
    put(opening, "_FORGET_SENDING", "UPDATE outbox SET state = 'retry_wait' WHERE state = 'sending' RETURNING 1")


def _decided(put, changed):
    real = policy.Policy.after_send

    def after_send(self, one, outcome, now_ns):
        return changed(real(self, one, outcome, now_ns), one, outcome, now_ns)

    put(policy.Policy, "after_send", after_send)


def _becomes(decision, state, due_ns):
    return decision._replace(settlement=decision.settlement._replace(state=state, due_ns=due_ns))


@bug("history", "a clean success is sent again")
def repeat_of_a_success(put):
    def changed(decision, one, _outcome, now_ns):
        again = decision.settlement.state is OutboxState.POSTED and one.attempts == 1
        return _becomes(decision, OutboxState.RETRY_WAIT, now_ns) if again else decision

    _decided(put, changed)


@bug("history", "an unclear end is repeated without a look, although the ERP books twice what comes twice")
def blind_repeat(put):
    def changed(decision, _one, _outcome, now_ns):
        unclear = decision.settlement.state is OutboxState.UNCERTAIN
        return _becomes(decision, OutboxState.RETRY_WAIT, now_ns) if unclear else decision

    _decided(put, changed)


@bug("history", "that a look-up finds nothing is believed while the server may still be working on it")
def absence_believed_at_once(put):
    real = policy.Policy.after_lookup

    def after_lookup(self, one, lookup, now_ns, *, started_ns):
        return real(self, one._replace(last_sent_ns=0, unclear_ns=0), lookup, now_ns, started_ns=started_ns)

    put(policy.Policy, "after_lookup", after_lookup)


@bug("history", "a 500 is taken for a refusal, although the ERP may have booked before it failed")
def error_500_is_not_booked(put):
    put(answers, "BY_STATUS", answers.BY_STATUS | {500: OutcomeKind.NOT_SENT})


@bug("history", "taken over is counted as booked, although the ERP can be asked")
def accepted_is_posted(put):
    def changed(decision, _one, _outcome, now_ns):
        accepted = decision.settlement.state is OutboxState.ACCEPTED
        return _becomes(decision, OutboxState.POSTED, now_ns) if accepted else decision

    _decided(put, changed)


@bug("history", "a look-up that answers for another key is believed")
def answer_of_another_lookup(put):
    real = rest.lookup_of
    put(rest, "lookup_of", lambda found, keys: real(_without_keys(found), keys))


@bug("history", "a success that names another key is believed")
def answer_of_another_send(put):
    real = rest.outcome_of
    put(rest, "outcome_of", lambda found, now_ns, *keys: real(_without_keys(found), now_ns, *keys))


def _without_keys(found):
    return found._replace(body=found.body.replace(b'"idempotency_key"', b'"that"'))


@bug("history", "what the ERP refuses is sent again for ever")
def refusal_retried_for_ever(put):
    def changed(decision, _one, outcome, now_ns):
        refused = outcome.kind is OutcomeKind.BUSINESS_REJECT
        return _becomes(decision, OutboxState.RETRY_WAIT, now_ns + 10**9) if refused else decision

    _decided(put, changed)


@bug("an_ERP_that_is_down_is_asked_gently", "what could not be sent is sent again at once")
def no_back_off(put):
    def changed(decision, _one, _outcome, now_ns):
        waits = decision.settlement.state is OutboxState.RETRY_WAIT
        plain = decision._replace(pause=policy.Pause.NONE)
        return _becomes(plain, OutboxState.RETRY_WAIT, now_ns) if waits else decision

    _decided(put, changed)


@bug("history", "the ERP names the time to come back, and is asked before")
def retry_after_ignored(put):
    put(answers, "retry_after_ns", lambda _answer, _now_ns: 0)


# --- several steps ----------------------------------------------------------------------------------------------------


@bug("a_posting_in_steps_dies_anywhere", "a step leaves before the reference of the one before is kept")
def step_before_the_reference(put):
    real = lane_work.LaneWork._next_step

    async def next_step(self, entry, decision, *, go):
        rows = [
            row._replace(reference=decision.settlement.reference) if row.step == entry.step else row
            for row in await self._steps(entry)
        ]
        outcome = await self._send(lane_work.step_posting(entry._replace(step=entry.step + 1), rows))
        begun = await real(self, entry, decision, go=True)
        if begun is not None:
            await self._settle(begun, self._decided(begun, outcome), outcome)

    put(lane_work.LaneWork, "_next_step", next_step)


@bug("a_refused_step_is_retried", "a retry begins at the first step again")
def retry_from_the_first_step(put):
    real = lane_work.LaneWork._deliver

    async def deliver(self, one):
        for step in range(one.step):
            await self._send(lane_work.step_posting(one, await self._steps(one), step))
        await real(self, one)

    put(lane_work.LaneWork, "_deliver", deliver)


@bug("a_sum_is_measured_before", "what the target says before a send is asked after it")
def baseline_after_the_send(put):
    send, steps = lane_work.LaneWork._send, lane_work.LaneWork._steps
    said = {}

    async def late(self, posting):
        outcome = await send(self, posting)
        said[posting.message_id] = await self._target.connector.baseline(posting)
        return outcome

    async def told(self, one):
        return tuple(
            row._replace(baseline=said.get(lane_work.step_posting(one).message_id, row.baseline))
            for row in await steps(self, one)
        )

    put(lane_work.LaneWork, "_send", late)
    put(lane_work.LaneWork, "_steps", told)


@bug("what_was_accepted_may_be_refused", "taken over is counted as booked, also where the target refuses it later")
def accepted_counts_as_posted(put):
    put(
        policy.Policy,
        "_taken_over",
        lambda _self, reference, now_ns, _asked: Settlement(OutboxState.POSTED, now_ns, reference),
    )


@bug("model", "what is booked in part is made void, as if nothing of it were there")
def void_although_booked_in_part(put):
    _without_guard(put, "outbox_partly_booked_is_not_void")
    put(postings, "_STATES", postings._STATES.replace("attempts, step", "attempts, 0"))


# --- counting ---------------------------------------------------------------------------------------------------------


@bug("history", "what the counter shows at the first contact is booked")
def first_contact_is_booked(put):
    real = counter.CounterDetector.on_value

    def on_value(self, state, t_ns, value, status):
        if state.value is None:
            state = state._replace(value=0, t_ns=t_ns - 6000 * 10**9)
        return real(self, state, t_ns, value, status)

    put(counter.CounterDetector, "on_value", on_value)


@bug("history", "a roll-over is taken for a reset: what was made up to it is lost")
def rollover_is_a_reset(put):
    put(counter_limits.CounterLimits, "_rolls_over", lambda *_given: False)


# --- what is kept -----------------------------------------------------------------------------------------------------


@bug("model", "a posting is made void while it is being sent: void and booked")
def void_while_under_way(put):
    put(postings, "VOIDED_FROM", (*postings.VOIDED_FROM, OutboxState.SENDING, OutboxState.UNCERTAIN))
    put(postings, "_STATES", "SELECT id, state, 0, 0 FROM outbox WHERE key = ?")


def _without_guard(put, trigger):
    real = schema.prepare_writer

    async def prepare(connection, path, **how):
        await real(connection, path, **how)
        await connection.execute_fetchall(f"DROP TRIGGER {trigger}")
        await connection.execute_fetchall(f"CREATE TRIGGER {trigger} BEFORE UPDATE OF id ON outbox BEGIN SELECT 1; END")

    put(schema, "prepare_writer", prepare)


@bug("history", "when the outbox is long, its oldest posting that was not sent is dropped")
def oldest_unposted_evicted(put):
    _without_guard(put, "outbox_keeps_unposted")
    add = postings.add

    async def added(connection, new):
        await add(connection, new)
        (waiting,) = (await connection.execute_fetchall("SELECT count(*) FROM outbox WHERE state = 'ready'"))[0]
        if waiting > 3:
            await connection.execute_fetchall(
                "DELETE FROM outbox WHERE id = (SELECT min(id) FROM outbox WHERE state = 'ready')"
            )

    put(postings, "add", added)


@bug("model", "what is old enough is deleted, also where nobody knows whether it is booked")
def uncertain_is_pruned(put):
    _without_guard(put, "outbox_keeps_unposted")
    sql = retention._POSTINGS["posted"].replace("state = 'posted' AND settled_ns <", "state = 'uncertain' AND due_ns <")
    put(retention, "_POSTINGS", retention._POSTINGS | {"uncertain": sql.replace("ORDER BY settled_ns ", "")})


@bug("model", "a booked posting may be changed: nothing guards it")
def booked_is_not_final(put):
    _without_guard(put, "outbox_posted_is_final")


if __name__ == "__main__":
    from gateway.cli import main

    name, *rest_of = sys.argv[1:]
    if name not in BUGS:
        sys.exit(f"planted bug: found {name!r}, allowed: {', '.join(sorted(BUGS))}")
    with planted(name):
        sys.exit(main(rest_of))
