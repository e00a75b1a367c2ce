"""The sum from outside finds what it is there for: each kind of loss, double and disorder, planted in a sound plant."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3

import conservation
import pytest

EPOCH = "abc"


def document(good, scrap, so_far):
    def quantities(good, scrap):
        return {"good": str(good), "scrap": [{"reason": None, "qty": str(scrap)}] if scrap else []}

    return json.dumps({"machine": "M", "qty": quantities(good, scrap), "qty_cumulative": quantities(*so_far)}).encode()


class World:
    """Order A: 10+0 and 4+1 booked, 5+0 waits, 3+0 not confirmed; order B: 2+0 booked, all of it; one piece without."""

    def __init__(self, folder):
        self.ledger, self.database = folder / "erp.db", folder / "linegate.db"
        self.truth = {"M": [{"t_ns": n, "good": int(n != 5), "scrap": int(n == 5)} for n in range(26)]}
        self.unit = {
            "id": "M", "order": "A", "operation": "10", "good": 22, "scrap": 1, "unconfirmed_good": 3,
            "unconfirmed_scrap": 0, "unallocated_good": 1, "unallocated_scrap": 0, "review_pieces": 0, "unknown": [],
        }  # fmt: skip
        columns = 'key, "order", operation, seq, machine, good, scrap, digest, t_ns DEFAULT 0'
        self.sql(self.ledger, f"CREATE TABLE bookings (id INTEGER PRIMARY KEY, {columns})")
        self.sql(self.database, "CREATE TABLE meta (epoch)")
        self.sql(self.database, "INSERT INTO meta VALUES (?)", EPOCH)
        self.sql(self.database, "CREATE TABLE job (record)")
        columns = "key, order_id, operation, seq, kind, payload, body, state"
        self.sql(self.database, f"CREATE TABLE outbox (id INTEGER PRIMARY KEY, {columns})")
        self.row("B", 1, 2, 0, (2, 0), "posted")
        self.row("A", 1, 10, 0, (10, 0), "posted")
        self.row("A", 2, 4, 1, (14, 1), "posted")
        self.row("A", 3, 5, 0, (19, 1), "ready")
        for order, good, scrap in (("A", 22, 1), ("B", 2, 0)):
            record = {"job": {"order": order, "operation": "10"}, "good": good, "scrap": scrap}
            self.sql(self.database, "INSERT INTO job VALUES (?)", json.dumps(record))

    def row(self, order, seq, good, scrap, so_far, state):
        key, payload = f"P/{EPOCH}/{order}/10/{seq}", document(good, scrap, so_far)
        self.sql(self.database, "INSERT INTO outbox (key, order_id, operation, seq, kind, payload, body, state)"
                 " VALUES (?, ?, '10', ?, 'partial', ?, ?, ?)", key, order, seq, payload, payload, state)  # fmt: skip
        if state == "posted":
            self.book(key, order, seq, good, scrap, hashlib.sha256(payload).hexdigest())

    def book(self, key, order, seq, good, scrap, digest):
        self.sql(self.ledger, 'INSERT INTO bookings (key, "order", operation, seq, machine, good, scrap, digest)'
                 " VALUES (?, ?, '10', ?, 'M', ?, ?, ?)", key, order, seq, good, scrap, digest)  # fmt: skip

    def sql(self, path, text, *values):
        with contextlib.closing(sqlite3.connect(path)) as link, link:
            link.execute(text, values)

    def problems(self, **allowed):
        return conservation.problems(self.truth, self.ledger, self.database, [self.unit], **allowed)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_a_sound_plant_balances(world):
    assert world.problems() == []


AGAIN = 'INSERT INTO bookings SELECT 9, key, "order", operation, seq, machine, good, scrap, digest, 0 FROM bookings'
PLANTED = {
    "a booking is gone": (lambda w: w.sql(w.ledger, "DELETE FROM bookings WHERE seq = 2"), "has never booked it"),
    "booked twice": (lambda w: w.sql(w.ledger, f"{AGAIN} WHERE seq = 2"), "booked 2 times"),
    "one key, two payloads": (lambda w: w.book(f"P/{EPOCH}/A/10/2", "A", 2, 4, 1, "00"), "two payloads"),
    "other bytes": (lambda w: w.sql(w.ledger, "UPDATE bookings SET digest = '00' WHERE seq = 2"), "other bytes"),
    "other quantities": (lambda w: w.sql(w.ledger, "UPDATE bookings SET good = 5 WHERE seq = 2"), "other quantities"),
    "out of order": (
        lambda w: w.sql(w.ledger, "UPDATE bookings SET id = 99 WHERE seq = 1 AND good = 10"),
        "numbers of abc/A/10 are [2, 1]",
    ),
    "a gap in the outbox": (lambda w: w.row("A", 5, 1, 0, (20, 1), "ready"), "numbers of abc/A/10 are [1, 2, 3, 5]"),
    "rolled back": (lambda w: w.sql(w.database, "DELETE FROM outbox WHERE seq = 2"), "the gateway does not know it"),
    "a posting vanished": (lambda w: w.sql(w.database, "DELETE FROM outbox WHERE seq = 3"), "5 pieces are lost"),
    "a piece more made": (lambda w: w.truth["M"].append({"t_ns": 99, "good": 1, "scrap": 0}), "1 pieces are lost"),
    "a piece invented": (lambda w: w.truth["M"].pop(), "never made"),
    "good for scrap": (lambda w: w.truth["M"][7].update(good=0, scrap=1), "exchanged"),
    "booked to the wrong order": (
        lambda w: w.sql(w.ledger, """UPDATE bookings SET "order" = 'B' WHERE seq = 2"""),
        "A/10: counted",
    ),
    "a second database": (lambda w: w.book("P/xyz/C/10/1", "C", 1, 0, 0, "00"), "keys of 2 databases"),
    "a cumulative that does not fit": (
        lambda w: w.sql(w.database, "UPDATE outbox SET payload = ? WHERE seq = 3", document(5, 0, (18, 1))),
        "so far",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found(world, name):
    plant, told = PLANTED[name]
    plant(world)
    found = world.problems()
    assert any(told in one for one in found), found


def test_unknown_pieces_are_believed_only_inside_what_was_declared(world):
    hidden = world.truth["M"] + [{"t_ns": 10_000_000_000 + n, "good": 1, "scrap": 0} for n in range(3)]
    world.truth["M"] = hidden
    interval = {"from_ns": 10_000_000_000, "to_ns": 10_000_000_002, "max_pieces": 3}
    world.unit["unknown"] = [interval]
    assert "3 pieces are lost" in world.problems()[0]
    assert world.problems(may_be_unknown=("M",)) == []
    world.unit["unknown"] = [{**interval, "max_pieces": 2}]
    assert "3 pieces are lost" in world.problems(may_be_unknown=("M",))[0]
    world.unit["unknown"] = [{**interval, "from_ns": 20_000_000_000, "to_ns": 30_000_000_000}]
    assert "3 pieces are lost" in world.problems(may_be_unknown=("M",))[0]


def test_a_piece_that_a_late_machine_showed_within_what_was_declared_was_there(world):
    late = {"t_ns": 10_000_000_000, "shown_ns": 12_000_000_000, "good": 1, "scrap": 0}
    world.truth["M"] += [late]
    world.unit["unknown"] = [{"from_ns": 11_000_000_000, "to_ns": 13_000_000_000, "max_pieces": 3}]
    assert world.problems(may_be_unknown=("M",)) == []
    late["shown_ns"] = late["t_ns"]
    assert "1 pieces are lost" in world.problems(may_be_unknown=("M",))[0]
    late |= {"t_ns": 14_000_000_000, "shown_ns": 15_000_000_000}
    assert "1 pieces are lost" in world.problems(may_be_unknown=("M",))[0]


def test_where_the_clocks_differ_the_bound_is_what_limits_the_unknown(world):
    interval = {"from_ns": 20_000_000_000, "to_ns": 30_000_000_000, "max_pieces": 3}
    world.truth["M"] += [{"t_ns": 99, "good": 1, "scrap": 0}] * 3
    allowed = {"may_be_unknown": ("M",), "dated": False}
    assert "3 pieces are lost" in world.problems(**allowed)[0]
    world.unit["unknown"] = [interval]
    assert world.problems(**allowed) == []
    world.truth["M"] += [{"t_ns": 99, "good": 1, "scrap": 0}]
    assert "4 pieces are lost" in world.problems(**allowed)[0]
    del world.truth["M"][-5:]
    assert "1 pieces that were never made" in world.problems(**allowed)[0]
