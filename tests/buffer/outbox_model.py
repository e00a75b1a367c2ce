"""The outbox against a model of it: what any sequence of steps, sends, decisions and deaths must leave behind.

A Hypothesis state machine over a real store. The model is a dictionary of plain values and knows no SQL. Postings begin
in each state in which they can, lanes are shared by the children of a split, answers and notices have theirs, and so
have two targets. Whoever sends does as the forwarder: one posting of a lane at a time, its head. Everything else
is tried in any state, and must be refused where the tables of ``buffer.entry`` do not allow it.
"""

import asyncio
import shutil
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import hypothesis.strategies as st
import new_database
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from buffer import reconciliation, retention
from buffer.entry import (
    APPROVED_FROM,
    LOOKED_UP_FROM,
    RELEASED_FROM,
    RETRIED_FROM,
    SENT_FROM,
    SETTLED_FROM,
    SUPERSEDED_FROM,
    VOIDED_FROM,
    OutboxState,
    Settlement,
)
from buffer.errors import OutboxError, PostingMovedError, StoreError
from buffer.outbox import Outbox
from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store
from gateway.core.target_answer import Answer

S = OutboxState
#: A target, and whether it takes one posting at a time of an operation (False) or of a whole order (True).
TARGETS = {"erp": False, "archive": True}
#: Order, operation, the order as the ERP knows it, kind.
LINES = (
    ("A", "10", "A", "partial"),
    ("A", "20", "A", "partial"),
    ("A/1", "10", "A", "partial"),
    ("B", "10", "", "partial"),
    ("A", "", "", "ack"),
    ("A", "~notice", "", "notice"),
)
#: What is told beside the confirmations, each kind counted apart from them.
BESIDE = ("ack", "notice")
OVER = (S.POSTED, S.DELIVERED, S.SUPERSEDED, S.VOIDED)
THERE = (S.POSTED, S.DELIVERED)
WORKABLE = (S.HELD, S.READY, S.RETRY_WAIT, S.UNCERTAIN, S.ACCEPTED)
BEGINNINGS = (*[S.READY] * 6, S.HELD, S.HELD, S.NEEDS_APPROVAL, S.PARKED, S.VOIDED)
#: What nobody may do to a row, whatever it is (? is its id), and whether it is forbidden in this state.
TAMPERING = {
    "UPDATE outbox SET key = key || 'x' WHERE id = ?": lambda _row: True,
    "UPDATE outbox SET payload = x'00' WHERE id = ?": lambda _row: True,
    "UPDATE outbox SET seq = seq + 100 WHERE id = ?": lambda _row: True,
    "UPDATE outbox SET lane_order = 'Z' WHERE id = ?": lambda _row: True,
    "UPDATE outbox SET body = x'00', content_type = 'z', name = 'z' WHERE id = ?": lambda row: row["body"] is not None,
    "UPDATE outbox SET state = 'ready' WHERE id = ?": lambda row: row["state"] in OVER,
    "UPDATE outbox SET step = step + 1 WHERE id = ?": lambda _row: True,
    "UPDATE outbox SET step = step - 1 WHERE id = ?": lambda _row: True,
    "UPDATE outbox SET steps = steps + 1 WHERE id = ?": lambda row: row["body"] is not None,
    "UPDATE outbox SET state = 'posted' WHERE id = ?": lambda row: row["step"] < row["steps"] - 1,
    "UPDATE outbox SET passed = 1 WHERE id = ?": lambda row: row["state"] is not S.ACCEPTED,
    "UPDATE outbox_steps SET body = x'00' WHERE posting = ?": lambda row: row["steps"] > 1 and row["body"] is not None,
    "DELETE FROM outbox_steps WHERE posting = ?": lambda row: row["steps"] > 1 and row["body"] is not None,
    "UPDATE outbox SET state = 'voided' WHERE id = ?": lambda row: (
        row["state"] in (S.POSTED, S.DELIVERED, S.SUPERSEDED) or row["step"] > 0
    ),
    "DELETE FROM outbox WHERE id = ?": lambda row: row["state"] not in (S.POSTED, S.DELIVERED, S.VOIDED),
}


#: How many messages a confirmation of a line needs, by its operation.
STEPS = {"10": 1, "20": 3, "": 1, "~notice": 1}

#: A posting in the making: its line, who gets it, how it begins, how long its window is.
MADE = st.tuples(
    st.sampled_from(LINES), st.sampled_from([("erp",), ("archive",), ("erp", "archive")]),
    st.sampled_from(BEGINNINGS), st.integers(1, 60),
)  # fmt: skip
#: How sends end; None: not yet.
ENDINGS = st.lists(
    st.sampled_from([S.POSTED, S.POSTED, S.ACCEPTED, S.UNCERTAIN, S.RETRY_WAIT, S.PARKED, None]), min_size=1, max_size=4
)
#: Of these lines an accepted one lets the next one go.
PASSING = "erp"


class OutboxMachine(RuleBasedStateMachine):
    """``rows`` is the model: id to a dictionary."""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.lives = 0
        self.now = 100
        self.journal = 0
        self.seqs = Counter()
        self.rows = {}
        self.posted = Counter()

    def run(self, awaitable):
        # Not Runner.run, which sets the handler of a signal anew each time.
        return self.runner.get_loop().run_until_complete(awaitable)

    def of_each(self, ask):
        async def answers():
            return [(await ask(entry_id), entry_id, row) for entry_id, row in self.rows.items()]

        return self.run(answers())

    @initialize(made=st.lists(MADE, min_size=3, max_size=8))
    def begin(self, made):
        self.open()
        self.step(made)

    @property
    def path(self):
        return Path(self.folder.name) / f"{self.lives}.db"

    def open(self):
        self.store = self.run(Store.open(new_database.at(self.path), now_ns=lambda: self.now, max_bytes=1 << 26))
        self.outbox = Outbox(self.store)

    def teardown(self):
        if hasattr(self, "store"):
            self.run(self.store.close())
        self.runner.close()
        self.folder.cleanup()

    # --- steps -------------------------------------------------------------------------------------------------------

    @rule(made=st.lists(MADE, max_size=3))
    def commit(self, made):
        self.step(made)

    @precondition(lambda self: self.rows)
    @rule(made=st.lists(MADE, max_size=1), data=st.data(), sure=st.booleans())
    def commit_and_void(self, made, data, sure):
        keys = sorted({row["key"] for row in self.rows.values()})
        keys = [key for key in keys if self.voidable(key)] or keys if sure else keys
        self.step(made, (data.draw(st.sampled_from(keys)),))

    def step(self, made, void=()):
        postings, new, seqs = [], [], Counter(self.seqs)
        for line, targets, state, wait in made:
            order, operation, lane_order, kind = line
            seqs[line] += 1
            key = f"{order}|{operation}|{seqs[line]}"
            due = self.now + wait if state is S.HELD else self.now
            note = "by hand" if state in (S.PARKED, S.VOIDED) else ""
            for target in targets:
                payload = f"{key}>{target}".encode()
                postings.append(
                    NewPosting(
                        target, key, "m", order, operation, seqs[line], kind, payload, self.now, state.value, due,
                        note=note, lane_order=lane_order,
                    )
                )  # fmt: skip
                new.append({
                    "target": target, "key": key, "seq": seqs[line], "kind": kind, "payload": payload,
                    "lane": (target, lane_order or order, operation), "state": state, "due": due, "body": None,
                    "attempts": 0, "resends": 0, "created": self.now, "step": 0, "steps": 1, "left": 0, "released": 0,
                    "passed": 0, "done": {}, "measured": {},
                    "settled": self.now if state in (S.VOIDED, S.PARKED) else None,
                })  # fmt: skip
        step = Step(
            "U", f"{self.journal + 1}".encode(), self.now, (JournalRow(self.journal + 1, self.now, "k", b""),),
            tuple(postings), voids=tuple(void),
        )  # fmt: skip
        try:
            self.run(self.store.commit(step))
        except PostingMovedError:
            assert not all(self.voidable(key) for key in void), f"{void} could have been made void"
            return  # rows_and_counts_agree sees that nothing of it was kept
        assert all(self.voidable(key) for key in void), f"of {void} one has left, or is over"
        for key in void:
            for row in self.kept(key):
                row.update(state=S.VOIDED, settled=self.now)
        self.seqs, self.journal = seqs, self.journal + 1
        for row in new:
            self.rows[len(self.rows) + 1] = row

    def kept(self, key):
        return [row for row in self.rows.values() if row["key"] == key and "pruned" not in row]

    def voidable(self, key):
        rows = self.kept(key)
        sent_since = [row for row in rows if row["attempts"] and row["state"] is not S.PARKED]
        return bool(rows) and not sent_since and all(row["state"] in VOIDED_FROM and not row["step"] for row in rows)

    @rule(ns=st.integers(0, 50))
    def time_passes(self, ns):
        self.now += ns

    # --- what the forwarder does -------------------------------------------------------------------------------------

    def pick(self, data, *states):
        """An id; of one of these states where there is one, so that a history gets anywhere."""
        wanted = [one for one, row in self.rows.items() if row["state"] in states and "pruned" not in row]
        return data.draw(st.sampled_from(wanted or sorted(self.rows)))

    def under_way(self, row):
        """What is being sent in the lane of this row."""
        return [one for one in self.rows.values() if one["state"] is S.SENDING and self.shares(one, row)]

    @rule(to=st.sampled_from(sorted(TARGETS)), body=st.sampled_from([b"x", b"yy"]), ends=ENDINGS)
    def forward(self, to, body, ends):
        self.send(to, body, ends)

    @rule(to=st.sampled_from(sorted(TARGETS)), ends=ENDINGS, later=st.integers(30, 100))
    def forward_later(self, to, ends, later):
        """Windows and pauses are over by then."""
        self.now += later
        self.send(to, b"z", ends)

    def send(self, to, body, ends):
        due = self.run(self.outbox.due(to, self.now, 100, lane_by_order=TARGETS[to]))
        for entry, end in zip(due, ends, strict=False):
            row = self.rows[entry.id]
            if self.under_way(row):
                assert row["resends"] or row["state"] is S.ACCEPTED or "let_go" in row, "two of a lane to do"
                continue  # a person had an older one sent again: the forwarder waits for what is under way
            if row["state"] not in SENT_FROM:
                continue
            measured = f"{entry.id} before {self.now}".encode() if row["kind"] not in BESIDE else None
            sent = self.run(
                self.outbox.begin_send(
                    entry.id, (body, "t", "n"), self.now, more=self.more(row, body), baseline=measured
                )
            )
            self.begun(row, body)
            if measured is not None:
                row["measured"][row["step"]] = measured
            assert (sent.body, sent.payload, sent.key) == (row["body"], row["payload"], row["key"])
            if end is not None:
                self.settle_one(entry.id, end, 20)

    @staticmethod
    def more(row, body):
        """The messages behind the first one."""
        return [(body + str(step).encode(), "t", "n") for step in range(1, STEPS[row["lane"][2]])]

    def begun(self, row, body):
        """It is on its way; its messages are fixed with the first send."""
        if row["body"] is None:
            row.update(body=body, steps=1 + len(self.more(row, body)))
        row.update(state=S.SENDING, attempts=row["attempts"] + 1, sent=self.now)

    @staticmethod
    def beside(row):
        """The lane of an order that answers, notices and ("") all the confirmations have for themselves."""
        return row["kind"] if row["kind"] in BESIDE else ""

    @staticmethod
    def shares(one, other):
        """Whether two rows are in one lane, as their target sees lanes."""
        (target, order, _), by_order = other["lane"], TARGETS[other["target"]]
        if by_order:
            return one["lane"][:2] == (target, order) and OutboxMachine.beside(one) == OutboxMachine.beside(other)
        return one["lane"] == other["lane"]

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), repeat=st.booleans())
    def send_out_of_turn(self, data, repeat):
        """What may not be sent is refused; what is uncertain is sent again only on demand."""
        entry_id = self.pick(data, S.UNCERTAIN, S.PARKED, S.NEEDS_APPROVAL)
        row = self.rows[entry_id]
        if row["state"] in SENT_FROM and "pruned" not in row:
            return
        allowed = repeat and row["state"] is S.UNCERTAIN and "pruned" not in row
        if allowed and (self.under_way(row) or entry_id not in self.heads(row["target"], by_order=False)):
            return
        try:
            self.run(self.outbox.begin_send(entry_id, (b"other", "t", "n"), self.now, repeat_uncertain=repeat))
        except OutboxError:
            assert not allowed
            return
        assert allowed, f"sent while {row['state']}"
        row.update(state=S.SENDING, attempts=row["attempts"] + 1, sent=self.now)

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def look_up(self, data):
        entry_id = self.pick(data, S.UNCERTAIN, S.ACCEPTED)
        row = self.rows[entry_id]
        allowed = row["state"] in LOOKED_UP_FROM and "pruned" not in row
        try:
            self.run(self.outbox.begin_lookup(entry_id, self.now))
        except OutboxError:
            assert not allowed
            return
        assert allowed

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), state=st.sampled_from(sorted(S)), wait=st.integers(0, 60))
    def settle(self, data, state, wait):
        self.settle_one(self.pick(data, S.SENDING, S.UNCERTAIN, S.ACCEPTED), state, wait)

    def settle_one(self, entry_id, state, wait):
        row = self.rows[entry_id]
        allowed = row["state"] in SETTLED_FROM.get(state, ()) and "pruned" not in row
        told = None if state is S.POSTED else Answer(f"HTTP {wait}", (("server", "x"),), f"{entry_id} at {self.now}")
        settlement = Settlement(state, self.now + wait, f"R{self.now}" if state in THERE else "")
        if state in THERE and row["step"] < row["steps"] - 1:
            self.go_on(entry_id, settlement, allowed=allowed, go=bool(wait % 2))
            return
        passed = row["target"] == PASSING and bool(wait % 3)
        try:
            self.run(self.outbox.settle(entry_id, settlement, self.now, told, passed=passed))
        except OutboxError:
            assert not allowed
            return
        assert allowed, f"{row['state']} became {state}"
        self.settled(row, state, wait, passed=passed, reference=settlement.reference)
        row["answer"] = row.get("answer") if told is None else (self.now, row["attempts"], told)

    def settled(self, row, state, wait, *, passed=False, reference=""):
        if row["passed"]:
            row["let_go"] = True  # others of its lane have gone, or may be on their way
        passes = state is S.ACCEPTED and passed and row["step"] == row["steps"] - 1
        row.update(
            state=state, due=self.now + wait, settled=self.now if state in (*THERE, S.PARKED) else None,
            passed=int(passes),
        )  # fmt: skip
        if state in THERE and row["steps"] > 1:
            row["done"][row["step"]] = (state.value, reference)
        self.posted[row["target"]] += state is S.POSTED and row["kind"] not in BESIDE

    def go_on(self, entry_id, settlement, *, allowed, go):
        """A step is over, and not the last one: nothing but the next step can follow."""
        row = self.rows[entry_id]
        before = row["step"]
        if allowed:
            try:
                self.run(self.outbox.settle(entry_id, settlement, self.now))
            except StoreError:
                pass
            else:
                raise AssertionError("over although a step is missing")
        try:
            entry = self.run(self.outbox.next_step(entry_id, settlement, self.now, go=go))
        except OutboxError:
            assert not allowed
            return
        assert allowed, f"{row['state']} went on"
        left = before < row["left"]
        state = S.UNCERTAIN if left else S.SENDING if go else S.READY
        row["done"][before] = (settlement.state.value, settlement.reference)
        row.update(state=state, due=self.now, settled=None, step=before + 1, passed=0, released=0)
        if state is S.SENDING:
            row.update(attempts=row["attempts"] + 1, sent=self.now)
        assert (entry.state, entry.step, entry.lookups) == (state, before + 1, 0)

    @precondition(lambda self: any(row["step"] < row["steps"] - 1 for row in self.rows.values()))
    @rule(data=st.data(), state=st.sampled_from(THERE), go=st.booleans())
    def a_step_is_over(self, data, state, go):
        wanted = [
            one for one, row in self.rows.items()
            if row["state"] in SETTLED_FROM[state] and row["step"] < row["steps"] - 1
        ]  # fmt: skip
        if wanted:
            self.go_on(data.draw(st.sampled_from(wanted)), Settlement(state, 0, f"R{self.now}"), allowed=True, go=go)

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def no_step_without_its_turn(self, data):
        """Neither behind the last one, nor from a state in which nothing is known of it."""
        entry_id = self.pick(data, *S)
        row = self.rows[entry_id]
        if row["state"] in SETTLED_FROM[S.POSTED] and row["step"] < row["steps"] - 1:
            return
        try:
            self.run(self.outbox.next_step(entry_id, Settlement(S.POSTED, 0, "R"), self.now, go=True))
        except OutboxError:
            return
        raise AssertionError(f"went on from {row['state']} at step {row['step']} of {row['steps']}")

    @rule(to=st.sampled_from(sorted(TARGETS)))
    def the_target_has_news(self, to):
        self.run(self.outbox.accepted_due(to, self.now))
        for one in self.heads(to, by_order=False):
            row = self.rows[one]
            if row["state"] is S.ACCEPTED:
                row["due"] = min(row["due"], self.now)

    @rule(
        data=st.data(), wait=st.integers(0, 9),
        state=st.sampled_from([*[S.POSTED] * 4, S.ACCEPTED, S.ACCEPTED, S.PARKED, S.RETRY_WAIT, S.HELD]),
    )  # fmt: skip
    def settle_and_send_the_next(self, data, state, wait):
        """Both in one transaction; the next one only where it is the oldest of its lane by then, and due."""
        self.send("erp", b"y", [None])
        sending = [one for one, row in self.rows.items() if row["state"] is S.SENDING and row["target"] == "erp"]
        if not sending:
            return
        first = data.draw(st.sampled_from(sending))
        row = self.rows[first]
        if state in THERE and row["step"] < row["steps"] - 1:
            return  # its own next step comes first
        passed = state is S.ACCEPTED
        lane = [one for one, other in self.rows.items() if other["lane"] == row["lane"] and one != first]
        behind = [one for one in lane if self.rows[one]["state"] not in OVER]
        following = data.draw(st.sampled_from(behind[:1] or lane or [first]))
        settlement = Settlement(state, self.now + wait, "R" if state is S.POSTED else "")
        try:
            begun = self.run(
                self.outbox.settle_and_begin(
                    first, settlement, following, (b"n", "t", "n"), self.now,
                    more=self.more(self.rows[following], b"n"), passed=passed,
                )
            )  # fmt: skip
        except OutboxError:
            assert state not in SETTLED_FROM or row["state"] not in SETTLED_FROM[state]
            return  # rows_are_those_of_the_model sees that nothing of it was kept
        assert row["state"] in SETTLED_FROM[state]
        self.settled(row, state, wait, passed=passed, reference=settlement.reference)
        other = self.rows[following]
        may = following in self.heads("erp", by_order=False) and "pruned" not in other
        if not (may and other["state"] in SENT_FROM and other["due"] <= self.now):
            assert begun is None
            return
        self.begun(other, b"n")
        assert (begun.id, begun.state, begun.body) == (following, S.SENDING, other["body"])

    # --- what persons do ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), verb=st.sampled_from(["retry", "supersede", "approve", "release"]), by_key=st.booleans())
    def a_person_decides(self, data, verb, by_key):
        allowed = {
            "retry": RETRIED_FROM, "supersede": SUPERSEDED_FROM, "approve": APPROVED_FROM, "release": RELEASED_FROM,
        }[verb]  # fmt: skip
        entry_id = self.pick(data, *allowed)
        which = self.rows[entry_id]["key"] if by_key else entry_id
        meant = self.kept(which) if by_key else [one for one in [self.rows[entry_id]] if "pruned" not in one]
        changed = [row for row in meant if row["state"] in allowed]
        decide = {
            "retry": lambda: self.outbox.retry(which, self.now),
            "supersede": lambda: self.outbox.supersede(which, self.now, who="p"),
            "approve": lambda: self.outbox.approve(which, self.now, who="p"),
            "release": lambda: self.outbox.release(which, self.now, who="p"),
        }
        try:
            self.run(decide[verb]())
        except OutboxError:
            assert not changed
            return
        assert changed, f"{verb} took {[row['state'] for row in meant]}"
        for row in changed:
            if verb != "approve":
                row["measured"].pop(row["step"], None)  # what the target said before is no measure any more
            if verb == "release":
                row["released"] = row["released"] or int(row["state"] is S.PARKED)
            if verb == "retry" and row["state"] is S.PARKED:
                row["released"] = 0  # what parked it once more is another warning: of that one he has said nothing
            if verb in ("retry", "release"):
                row.update(state=S.READY, due=self.now, settled=None)
            elif verb == "supersede":
                row.update(state=S.SUPERSEDED, settled=self.now)
            else:
                row.update(state=S.HELD if row["due"] > self.now else S.READY)

    @precondition(lambda self: any(row["state"] is S.POSTED for row in self.rows.values()))
    @rule(data=st.data(), booked=st.booleans())
    def a_person_sends_again(self, data, booked):
        entry_id = self.pick(data, S.POSTED) if booked else self.pick(data, *S)
        row = self.rows[entry_id]
        allowed = row["state"] in THERE and "pruned" not in row
        was = row["state"]
        try:
            self.run(reconciliation.resend(self.store, entry_id, self.now, who="p", reason="lost"))
        except StoreError:
            assert not allowed
            return
        assert allowed
        several = row["steps"] > 1
        row.update(
            state=S.UNCERTAIN if several else S.READY, due=self.now, settled=None, resends=row["resends"] + 1,
            step=0, left=row["steps"] - 1, measured={}, released=0,
            done={step: ("", reference) for step, (_, reference) in row["done"].items()},
        )  # fmt: skip
        self.posted[row["target"]] -= row["kind"] not in BESIDE and was is S.POSTED

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def nobody_tampers(self, data):
        entry_id = self.pick(data, *S)
        row = self.rows[entry_id]
        for sql in [sql for sql, forbidden in TAMPERING.items() if "pruned" not in row and forbidden(row)]:
            try:
                self.run(self.store.write(partial(_execute, sql, entry_id)))
            except StoreError:
                continue
            raise AssertionError(f"possible while {row['state']}: {sql}")

    @rule(age=st.integers(0, 40))
    def prune(self, age):
        before = self.now + 1 - age
        self.run(retention.postings(self.store, before))
        for row in self.rows.values():
            if row["state"] in (S.POSTED, S.DELIVERED, S.VOIDED) and row["settled"] < before:
                row["pruned"] = True

    # --- the process ends --------------------------------------------------------------------------------------------

    @rule(killed=st.booleans())
    def restart(self, killed):
        """Closed in order, or killed: then what is in the files at this moment is all there is."""
        if killed:
            files = [self.path.with_name(self.path.name + end) for end in ("", "-wal")]
            self.lives += 1
            for file, end in zip(files, ("", "-wal"), strict=True):
                if file.exists():
                    shutil.copyfile(file, self.path.with_name(self.path.name + end))
        self.run(self.store.close())
        self.open()
        for row in self.rows.values():
            if row["state"] is S.SENDING:
                row.update(state=S.UNCERTAIN, due=row["sent"])

    # --- what must hold ----------------------------------------------------------------------------------------------

    def heads(self, target, *, by_order):
        """The oldest open posting of each lane, beside those that let others of their lane go."""
        found, passed = {}, set()
        for entry_id, row in sorted(self.rows.items()):
            if row["target"] == target and row["state"] not in OVER:
                lane = (row["lane"][1], self.beside(row)) if by_order else row["lane"]
                if row["passed"]:
                    passed.add(entry_id)
                else:
                    found.setdefault(lane, entry_id)
        return {*found.values(), *passed}

    @invariant()
    def due_is_the_oldest_open_posting_of_each_lane(self):
        for target in TARGETS:
            for by_order in (False, True):
                heads = {one for one in self.heads(target, by_order=by_order) if self.rows[one]["state"] in WORKABLE}
                due = self.run(self.outbox.due(target, self.now, 100, lane_by_order=by_order))
                assert {entry.id for entry in due} == {one for one in heads if self.rows[one]["due"] <= self.now}
            later = [
                self.rows[one]["due"] for one in self.heads(target, by_order=False)
                if self.rows[one]["state"] in WORKABLE and self.rows[one]["due"] > self.now
            ]  # fmt: skip
            assert self.run(self.outbox.next_due_ns(target, self.now)) == min(later, default=None)
        marked = {row[0] for row in self.run(self.store.read("SELECT id FROM outbox WHERE head = 1", ()))}
        assert marked == self.heads("erp", by_order=False) | self.heads("archive", by_order=False)

    @invariant()
    def one_of_a_lane_is_under_way(self):
        sending = [row for row in self.rows.values() if row["state"] is S.SENDING]
        for row in sending:
            assert sum(self.shares(one, row) for one in sending) == 1, row

    @invariant()
    def rows_are_those_of_the_model(self):
        kept = {entry.id: entry for entry in self.run(self.outbox.page(limit=1000))}
        assert set(kept) == {entry_id for entry_id, row in self.rows.items() if "pruned" not in row}
        for entry_id, entry in kept.items():
            row = self.rows[entry_id]
            assert (entry.target, entry.key, entry.seq, entry.kind, entry.payload, entry.lane) == (
                row["target"], row["key"], row["seq"], row["kind"], row["payload"], row["lane"][1:],
            )  # fmt: skip
            assert (entry.state, entry.body, entry.attempts, entry.due_ns, entry.settled_ns) == (
                row["state"], row["body"], row["attempts"], row["due"], row["settled"],
            )  # fmt: skip
            assert (entry.step, entry.steps, entry.left_step, entry.released, entry.passed) == (
                row["step"], row["steps"], row["left"], row["released"], row["passed"],
            )  # fmt: skip

    @invariant()
    def steps_are_those_of_the_model(self):
        for found, entry_id, row in self.of_each(self.outbox.steps):
            kept = {one.step: one for one in found}
            if "pruned" in row:
                assert not kept
                continue
            done = {at: (one.outcome, one.reference) for at, one in kept.items() if one.outcome or one.reference}
            assert done == row["done"], entry_id
            assert {at: one.baseline for at, one in kept.items() if one.baseline is not None} == row["measured"]
            if row["steps"] > 1:
                assert sorted(kept) == list(range(row["steps"]))
                body = row["body"]
                assert [kept[at].body for at in range(1, row["steps"])] == [m[0] for m in self.more(row, body)]
                booked = sum(bool(outcome) for outcome, _ in row["done"].values())
                assert booked == (row["steps"] if row["state"] in THERE else row["step"]), "a step was left out"

    @invariant()
    def answers_are_those_of_the_model(self):
        for found, entry_id, row in self.of_each(self.outbox.answer):
            assert found == (None if "pruned" in row else row.get("answer")), entry_id
        assert not self.run(
            self.store.read("SELECT * FROM outbox_answer WHERE posting NOT IN (SELECT id FROM outbox)", ())
        )

    @invariant()
    def counts_are_those_of_the_model(self):
        for target in TARGETS:
            counts = self.run(self.outbox.counts(target))
            rows = [row for row in self.rows.values() if row["target"] == target and row["kind"] not in BESIDE]
            answers, notices = (
                [row["state"] for row in self.rows.values() if row["target"] == target and row["kind"] == kind]
                for kind in BESIDE
            )
            states = Counter(row["state"] for row in rows)
            still = [row["created"] for row in rows if row["state"] not in OVER]
            assert counts.posted == self.posted[target]
            assert counts.waiting == sum(states[one] for one in S if one not in (*OVER, S.PARKED))
            assert counts.oldest_created_ns == (still[0] if still else None)
            for one in (S.PARKED, S.UNCERTAIN, S.ACCEPTED, S.HELD, S.NEEDS_APPROVAL):
                assert getattr(counts, one) == states[one], one
            assert counts.answers_waiting == sum(one not in (*OVER, S.PARKED) for one in answers)
            assert counts.answers_parked == answers.count(S.PARKED)
            assert counts.notices_waiting == sum(one not in (*OVER, S.PARKED) for one in notices)
            assert counts.notices_parked == notices.count(S.PARKED)

    @invariant()
    def nothing_of_a_refused_step_is_there(self):
        seqs = self.run(self.store.journal_seqs())
        assert seqs.get("U", 0) == self.journal
        assert self.run(self.store.snapshots()) == ({"U": str(self.journal).encode()} if self.journal else {})


async def _execute(sql, entry_id, connection):
    return await connection.execute_fetchall(sql, (entry_id,))
