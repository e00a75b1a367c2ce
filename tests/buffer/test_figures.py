"""The figures of the buffer say what SQL on the file says (P27), and when it will be full."""

from __future__ import annotations

import json
import random
import sqlite3
from functools import partial

import pytest

from buffer import samples
from buffer.beside import classes, classes_of_file, figures, figures_of_file
from buffer.classes import SAMPLED_ROWS, bytes_by_class
from buffer.entry import OPEN_STATES, OutboxState, Settlement
from buffer.figures import QUERY, Beside, figures_of
from buffer.outbox import Outbox
from buffer.readonly import ReadOnlyStore
from buffer.step import NewPosting
from gateway.core.duration import Duration

S = 1_000_000_000
MIB = 1024 * 1024
SEED = 20261122
OPEN = tuple(state.value for state in OPEN_STATES)
TARGETS = ("erp", "mes", "gone")


def posting(number, target, rng, now_ns):
    ack = rng.random() < 0.2
    order, operation = f"O{rng.randrange(40)}", "" if ack else "0010"
    kind = "ack" if ack else rng.choice(("partial", "final"))
    state = "ready" if ack else rng.choice(("ready", "ready", "held", "needs_approval", "parked"))
    return NewPosting(
        target, f"k{number}", f"m{number}", order, operation, number, kind, b'{"a":1}', now_ns, state, now_ns
    )


async def history(store, clock, make, rng, steps=120):
    """A random history: made, sent, booked, refused, given up, by several targets."""
    outbox = Outbox(store)
    for number in range(1, steps + 1):
        clock.ns += rng.randrange(1, 20 * S)
        target = rng.choice(TARGETS)
        unknown = [{"max_pieces": rng.choice((None, 3, 17))} for _ in range(rng.randrange(4))]
        snapshot = json.dumps({"review": rng.randrange(9), "unknown": unknown, "unknown_older": [2, 30]}).encode()
        await store.commit(
            make.step(number, at_ns=clock.ns, postings=(posting(number, target, rng, clock.ns),), snapshot=snapshot)
        )
        for entry in await outbox.due(target, clock.ns, 3):
            if entry.state not in (OutboxState.READY, OutboxState.HELD, OutboxState.RETRY_WAIT):
                continue
            await outbox.begin_send(entry.id, (b"x", "text/plain", "n"), clock.ns)
            ends = (OutboxState.POSTED, OutboxState.POSTED, OutboxState.PARKED, OutboxState.RETRY_WAIT,
                    OutboxState.UNCERTAIN, OutboxState.ACCEPTED, None)  # fmt: skip
            if (end := rng.choice(ends)) is not None:
                await outbox.settle(entry.id, Settlement(end, clock.ns, "", "kind", "", "text"), clock.ns)
        if rng.random() < 0.1:
            await store.write(partial(samples.take, at_ns=clock.ns, max_bytes=64 * MIB))
    return outbox


def by_sql(path):
    """The same figures by the plainest SQL there is, from the rows and from no tally."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as link:

        def one(sql, *values):
            return link.execute(sql, values).fetchone()[0]

        count = "SELECT count(*) FROM outbox WHERE target = ? AND state = ? AND "
        opened = "SELECT count(*) FROM outbox WHERE kind <> 'ack' AND state NOT IN ('posted', 'superseded', 'voided') "
        snapshots = [json.loads(row[0]) for row in link.execute("SELECT snapshot FROM work_unit")]
        bounds = [each["max_pieces"] for found in snapshots for each in found["unknown"]]
        return {
            "targets": {
                target: {
                    "states": {state: one(count + "kind <> 'ack'", target, state) for state in OPEN},
                    "answers": {state: one(count + "kind = 'ack'", target, state) for state in OPEN},
                    "waiting": one(opened + "AND state <> 'parked' AND target = ?", target),
                    "posted": one(count + "kind <> 'ack'", target, "posted"),
                    "oldest": one(
                        "SELECT min(created_ns) FROM outbox WHERE target = ? AND kind <> 'ack' "
                        "AND state NOT IN ('posted', 'superseded', 'voided')", target),
                } for (target,) in link.execute("SELECT DISTINCT target FROM outbox")
            },
            "waiting": one(opened + "AND state <> 'parked'"),
            "parked": one(opened + "AND state = 'parked'"),
            "needs_approval": one(opened + "AND state = 'needs_approval'"),
            "review": sum(found["review"] for found in snapshots),
            "intervals": len(bounds) + sum(found["unknown_older"][0] for found in snapshots),
            "max_pieces": sum(filter(None, bounds)) + sum(found["unknown_older"][1] for found in snapshots),
            "unbounded": bounds.count(None),
        }  # fmt: skip


def shown(found):
    return {
        "targets": {
            one.target: {
                "states": dict(one.states),
                "answers": {state: one.answers.get(state, 0) for state in OPEN},
                "waiting": one.waiting,
                "posted": one.posted,
                "oldest": one.oldest_ns,
            }
            for one in found.targets
        },
        "waiting": found.waiting,
        "parked": found.held.parked,
        "needs_approval": found.held.needs_approval,
        "review": found.held.review_pieces,
        "intervals": found.lost.intervals,
        "max_pieces": found.lost.max_pieces,
        "unbounded": found.lost.unbounded,
    }


@pytest.mark.parametrize("seed", range(SEED, SEED + 3))
async def test_after_any_history_the_figures_are_those_of_the_rows(open_store, clock, make, path, seed):
    async with await open_store() as store:
        outbox = await history(store, clock, make, random.Random(seed))
        found = await figures(store, clock.ns)
        assert shown(found) == by_sql(path), f"seed {seed}"
        counts = {target: await outbox.counts(target) for target in TARGETS}
        for one in found.targets:
            said = counts[one.target]
            assert (said.waiting, said.parked, said.posted, said.oldest_created_ns) == (
                one.waiting, one.states["parked"], one.posted, one.oldest_ns
            ), f"seed {seed}"  # fmt: skip
            assert said.answers_waiting + said.answers_parked == sum(one.answers.values()), f"seed {seed}"
        with ReadOnlyStore(path) as other:
            assert shown(figures_of_file(other)) == shown(found), f"seed {seed}"
            assert classes_of_file(other) == await classes(store)
    with ReadOnlyStore(path) as after:
        assert shown(figures_of_file(after)) == shown(found), f"seed {seed}"
        assert figures_of_file(after).room.max_bytes, "the budget is in the file: it is known with the gateway stopped"


async def test_a_rate_is_what_was_made_and_settled_since_the_sample(open_store, clock, make):
    async with await open_store() as store:
        await store.commit(make.step(1, postings=(make.posting(1), make.posting(2))))
        await store.write(partial(samples.take, at_ns=clock.ns, max_bytes=MIB))
        clock.ns += Duration("4 min")
        await store.commit(make.step(2, postings=(make.posting(3),)))
        outbox = Outbox(store)
        (head,) = await outbox.due("erp", clock.ns, 9)
        await outbox.begin_send(head.id, (b"x", "text/plain", "n"), clock.ns)
        await outbox.settle(head.id, Settlement(OutboxState.POSTED), clock.ns)
        (one,) = (await figures(store, clock.ns)).targets
    assert (one.recent_ns, one.made, one.settled) == (Duration("4 min"), 1, 1)


async def test_samples_stay_few(open_store, clock):
    async with await open_store() as store:
        for _ in range(200):
            clock.ns += Duration("10 min")
            await store.write(partial(samples.take, at_ns=clock.ns, max_bytes=MIB))
        kept = [row[0] for row in await store.read("SELECT at_ns FROM size_sample ORDER BY 1", ())]
    ages = [clock.ns - at_ns for at_ns in kept]
    assert max(ages) <= samples.COARSE_NS
    assert any(Duration("24 h") <= age <= Duration("26 h") for age in ages), "a day ago is known"
    assert len(kept) < 40


# --- when it is full ---

PAGE = 4096


def room_of(*, pages, free=0, max_mib=100, disk_mib=10_000, sizes=(), at_ns=10 * Duration("24 h")):
    rows = [("pages", None, None, pages, None), ("free", None, None, free, None), ("page", None, None, PAGE, None),
            ("held", None, None, 0, None)]  # fmt: skip
    rows += [("size", None, at_ns - age_ns, used, max_mib * MIB) for age_ns, used in sizes]
    return figures_of(rows, Beside(at_ns=at_ns, max_bytes=max_mib * MIB, disk_free_bytes=disk_mib * MIB)).room


def test_an_empty_database_is_not_growing_and_not_full():
    room = room_of(pages=10)
    assert (room.level, room.full_in_ns, room.grown_hour_bytes) == ("ok", None, None)


def test_room_is_what_file_and_disk_both_allow():
    assert room_of(pages=256 * 20).room_bytes == 80 * MIB
    assert room_of(pages=256 * 20, disk_mib=5).room_bytes == 5 * MIB
    assert room_of(pages=256 * 20, free=256 * 2, disk_mib=5).room_bytes == 7 * MIB, "free pages need no disk"


@pytest.mark.parametrize(("used_mib", "level"), [(89, "ok"), (91, "warning"), (94, "warning"), (96, "fatal")])
def test_little_room_is_a_warning_then_fatal(used_mib, level):
    assert room_of(pages=256 * used_mib).level == level


def test_a_full_disk_is_as_fatal_as_a_full_file():
    assert room_of(pages=256 * 20, disk_mib=0).level == "fatal"


def test_the_time_until_full_is_that_of_the_faster_growth():
    hour, day = Duration("1 h"), Duration("24 h")
    room = room_of(pages=256 * 20, sizes=((day, 18 * MIB), (hour, 19 * MIB)))
    assert (room.grown_hour_bytes, room.grown_day_bytes) == (1 * MIB, 2 * MIB)
    assert room.full_in_ns == 80 * hour, "80 MiB at 1 MiB an hour"
    assert room.level == "ok", "80 h is more than 72 h"
    room = room_of(pages=256 * 20, sizes=((day, 18 * MIB), (hour, 18 * MIB)))
    assert (room.full_in_ns, room.level) == (40 * hour, "warning")
    room = room_of(pages=256 * 20, sizes=((day, 10 * MIB), (hour, 20 * MIB)))
    assert (room.full_in_ns, room.level) == (8 * day, "warning"), "below 14 days at the day's pace"


def test_shrinking_is_not_growing():
    room = room_of(pages=256 * 20, sizes=((Duration("1 h"), 30 * MIB),))
    assert (room.grown_hour_bytes, room.full_in_ns, room.level) == (-10 * MIB, None, "ok")


async def test_bytes_by_class_are_near_the_truth(open_store, clock, make, path):
    async with await open_store() as store:
        for number in range(1, 800):
            await store.commit(make.step(number, postings=(make.posting(number),)))
        found = {one.name: one for one in await classes(store)}
        content = (
            await store.read("SELECT sum(length(payload) + 2 * length(key) + length(message_id)) FROM outbox", ())
        )[0][0]
    assert (found["confirmations"].rows, found["journal"].rows) == (799, 799)
    assert content < found["confirmations"].bytes < 4 * content


async def test_the_journals_of_many_machines_are_looked_at_together(open_store, clock, make):
    """Each machine's whole sample would cost more than all other figures."""
    async with await open_store() as store:
        for number, rows in enumerate((900, 300, 90, 10, 1, 1, 1, 1, 1, 1)):
            for first in range(1, rows + 1, 100):
                step = make.step(first, min(100, rows + 1 - first), unit=f"M-{number}")
                body = b"x" * 60 * (number + 1)
                await store.commit(step._replace(rows=tuple(row._replace(body=body) for row in step.rows)))
        found = {one.name: one for one in await classes(store)}
        ((rows, size),) = await store.read("SELECT count(*), sum(length(body)) FROM journal", ())
        looked = []
        await store.at_once(
            lambda link: bytes_by_class(lambda *asked: looked.append(asked) or link.execute(*asked).fetchall())
        )
    assert found["journal"].rows == rows, "no number is missing"
    assert size < found["journal"].bytes < 2 * size
    assert sum(values[1] for _sql, values in looked if len(values) == 2) == SAMPLED_ROWS


def test_the_question_is_one_statement():
    assert QUERY.count(";") == 0, "several would not be of one moment"
