"""The outbox against a model of a few lines: any sequence of steps, settlements, decisions and restarts."""

import asyncio
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from buffer import retention
from buffer.entry import SENT_FROM, SETTLED_FROM, OutboxState, Settlement
from buffer.errors import OutboxError
from buffer.outbox import Outbox
from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store

TARGETS = ("erp", "archive")
LANES = (("A", "10"), ("A", "20"), ("B", "10"))
OVER = (OutboxState.POSTED, OutboxState.SUPERSEDED)
WORKABLE = (OutboxState.READY, OutboxState.RETRY_WAIT, OutboxState.UNCERTAIN, OutboxState.ACCEPTED)


class OutboxMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 100
        self.journal = 0
        self.seqs = {}
        self.rows = {}  # id -> dict: the model
        self.posted = dict.fromkeys(TARGETS, 0)
        self.open()

    def run(self, awaitable):
        return self.runner.run(awaitable)

    def open(self):
        path = Path(self.folder.name) / "x.db"
        self.store = self.run(Store.open(path, now_ns=lambda: self.now, max_bytes=1 << 26))
        self.outbox = Outbox(self.store)

    def teardown(self):
        self.run(self.store.close())
        self.runner.close()
        self.folder.cleanup()

    @rule(lanes=st.lists(st.tuples(st.sampled_from(TARGETS), st.sampled_from(LANES)), max_size=3))
    def commit(self, lanes):
        postings = []
        for target, lane in lanes:
            seq = self.seqs[target, lane] = self.seqs.get((target, lane), 0) + 1
            key = f"{lane[0]}/{lane[1]}/{seq}"
            postings.append(NewPosting(target, key, "m", *lane, seq, "partial", key.encode(), self.now))
            self.rows[len(self.rows) + 1] = {
                "target": target, "lane": lane, "seq": seq, "state": OutboxState.READY, "due": self.now, "body": None,
                "attempts": 0,
            }  # fmt: skip
        self.journal += 1
        row = JournalRow(self.journal, self.now, "k", b"")
        self.run(self.store.commit(Step("U", b"", self.now, (row,), tuple(postings))))

    @rule(ns=st.integers(0, 50))
    def time_passes(self, ns):
        self.now += ns

    def pick(self, data):
        return data.draw(st.sampled_from(sorted(self.rows)))

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), body=st.binary(min_size=1, max_size=3), repeat=st.booleans())
    def begin_send(self, data, body, repeat):
        entry_id = self.pick(data)
        row = self.rows[entry_id]
        allowed = row["state"] in SENT_FROM or (repeat and row["state"] is OutboxState.UNCERTAIN)
        message = (body, "t", "n")
        try:
            entry = self.run(self.outbox.begin_send(entry_id, message, self.now, repeat_uncertain=repeat))
        except OutboxError:
            assert not allowed
            return
        assert allowed
        row.update(state=OutboxState.SENDING, body=row["body"] or body, attempts=row["attempts"] + 1)
        assert entry.body == row["body"]

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), state=st.sampled_from(sorted(SETTLED_FROM)), wait=st.integers(0, 60))
    def settle(self, data, state, wait):
        entry_id = self.pick(data)
        row = self.rows[entry_id]
        allowed = row["state"] in SETTLED_FROM[state]
        try:
            self.run(self.outbox.settle(entry_id, Settlement(state, self.now + wait), self.now))
        except OutboxError:
            assert not allowed
            return
        assert allowed
        row.update(state=state, due=self.now + wait)
        self.posted[row["target"]] += state is OutboxState.POSTED

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), discard=st.booleans())
    def a_person_decides(self, data, discard):
        entry_id = self.pick(data)
        row = self.rows[entry_id]
        allowed = (OutboxState.PARKED,) if discard else (OutboxState.PARKED, OutboxState.RETRY_WAIT)
        decision = (
            self.outbox.supersede(entry_id, self.now, who="p") if discard else self.outbox.retry(entry_id, self.now)
        )
        try:
            self.run(decision)
        except OutboxError:
            assert row["state"] not in allowed
            return
        assert row["state"] in allowed
        row.update(
            state=OutboxState.SUPERSEDED if discard else OutboxState.READY, due=row["due"] if discard else self.now
        )

    @rule()
    def restart(self):
        self.run(self.store.close())
        self.open()
        for row in self.rows.values():
            if row["state"] is OutboxState.SENDING:
                row.update(state=OutboxState.UNCERTAIN, due=0)

    @rule()
    def prune(self):
        self.run(retention.postings(self.store, self.now + 1))
        for row in self.rows.values():
            if row["state"] is OutboxState.POSTED:
                row["pruned"] = True

    @invariant()
    def due_is_the_oldest_open_posting_of_each_lane(self):
        for target in TARGETS:
            for by_order in (False, True):
                heads = {}
                for entry_id, row in sorted(self.rows.items()):
                    lane = row["lane"][0] if by_order else row["lane"]
                    if row["target"] == target and row["state"] not in OVER:
                        heads.setdefault(lane, entry_id)
                expected = {
                    head
                    for head in heads.values()
                    if self.rows[head]["state"] in WORKABLE and self.rows[head]["due"] <= self.now
                }
                due = self.run(self.outbox.due(target, self.now, 100, lane_by_order=by_order))
                assert {entry.id for entry in due} == expected

    @invariant()
    def rows_and_counts_agree(self):
        kept = {entry.id: entry for entry in self.run(self.outbox.page(limit=1000))}
        assert set(kept) == {entry_id for entry_id, row in self.rows.items() if "pruned" not in row}
        for entry_id, entry in kept.items():
            row = self.rows[entry_id]
            assert (entry.state, entry.seq, entry.body, entry.attempts) == (
                row["state"], row["seq"], row["body"], row["attempts"],
            )  # fmt: skip
        for target in TARGETS:
            counts = self.run(self.outbox.counts(target))
            states = [row["state"] for row in self.rows.values() if row["target"] == target]
            assert counts.posted == self.posted[target]
            assert counts.parked == states.count(OutboxState.PARKED)
            assert counts.uncertain == states.count(OutboxState.UNCERTAIN)
            assert counts.waiting == sum(state not in (*OVER, OutboxState.PARKED) for state in states)
            assert (counts.oldest_created_ns is None) == all(state in OVER for state in states)


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
