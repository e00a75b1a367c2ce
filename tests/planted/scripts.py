"""Checks that need no luck: a few steps each, of the real store, forwarder and runner. Each raises AssertionError."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import structlog
from history import Died, History
from stepped import Bench

from buffer import damage
from buffer.errors import StoreError
from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store
from gateway.contract.faults import LOST_ANSWER, REFUSED
from gateway.contract.plant import Plant
from gateway.core.audit.entry import EntryContent

S = 1_000_000_000
CHILD_S = 300
#: A process that is read late must not have written so much ahead that a checkpoint has flushed it.
AHEAD = 40
ACKNOWLEDGED = 12
FAILURES_MAX = 20
#: A run without a kill comes long before this.
KILLS_MAX = 100


# --- in this process --------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _begun(folder, orders=1):
    """A gateway whose machine has an order running, and has made nothing yet."""
    history = History(0, folder)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    try:
        await history._boot()
        await history._step((history._reading(),))
        for _ in range(orders):
            await history._order()
        await history._fetch()
        yield history
    finally:
        structlog.reset_defaults()
        await history.store.close()


def _document(seq):
    """As much of a confirmation as a target in steps needs."""
    return {
        "confirmation_id": f"00000000-0000-5000-8000-{seq:012d}", "idempotency_key": f"P/e/A/10/{seq}",
        "order_id": "A", "operation": "10", "seq": seq, "type": "partial",
        "qty": {"good": "10", "scrap": [{"reason": None, "qty": "1"}]},
    }  # fmt: skip


async def a_posting_in_steps_dies_anywhere(folder):
    """Killed before and behind each commit and each message: no step is booked twice, none is left out."""
    for moment in range(1, KILLS_MAX):
        async with Plant(Bench(_document), folder / str(moment)) as plant:
            await plant.add(1)
            killed = await plant.run(kill_at=moment)
            await plant.finish()
            plant.check_all_booked(await plant.entries(), f"killed at moment {moment}")
        if not killed:
            return
    raise AssertionError(f"no run without a kill in {KILLS_MAX}")


async def a_refused_step_is_retried(folder):
    """It goes on where it was refused."""
    bench = Bench(_document)
    async with Plant(bench, folder) as plant:
        await plant.add(1)
        bench.ledger.faults = ["", REFUSED]
        await plant.finish()
        plant.check_all_booked(await plant.entries())


async def a_sum_is_measured_before(folder):
    """What was booked without an answer is found, at a target that is only known by its sums."""
    bench = Bench(_document, steps=1, baseline=True)
    async with Plant(bench, folder) as plant:
        await plant.add(1)
        bench.ledger.faults = [LOST_ANSWER]
        await plant.finish()
        plant.check_all_booked(await plant.entries())


async def what_was_accepted_may_be_refused(folder):
    """It is not counted as booked before it is."""
    bench = Bench(_document, later=True, steps=1)
    bench.ledger.refuse_later = 1
    async with Plant(bench, folder) as plant:
        await plant.add(1)
        await plant.finish()
        plant.check_all_booked(await plant.entries())


async def _make(history, pieces):
    while pieces:
        some = min(pieces, 30)
        history.clock.advance(4 * S)
        history.made += some
        pieces -= some
        await history._step((history._reading(),))


async def a_refused_order_delays_nobody(folder):
    """Of many orders one is closed at the ERP: it is set aside within 10 s, the others arrive (P12)."""
    async with _begun(folder, orders=9) as history:
        await _make(history, 150)
        orders = {key.split("/")[2] for key, _, _ in history._open_rows()}
        assert len(orders) > 1, orders
        refused = min(orders)
        history.erp.poisoned = {refused}
        await history._forward(60 * S)
        await _make(history, 90)  # it stays aside for those that come later, too
        assert len(history._open_rows()) > 1
        await history._forward(60 * S)
        asked = [at for at, _, status in history.erp.requests if status == 422]
        waiting = [key for key, state, _ in history._open_rows() if state != "parked" and refused not in key]
        parked = [key for key, state, _ in history._open_rows() if state == "parked"]
        assert history.erp.booked
        assert not waiting, f"order {refused} is refused, and these wait for it: {waiting}"
        assert len(parked) == 1, f"order {refused}: parked: {parked}"
        assert len(asked) == 1, f"order {refused}: refused, and asked {len(asked)} times"


async def an_older_database_is_noticed(folder):
    """An older copy of the file is put into its place: it says so, and gives out no key again (P9, P16)."""
    async with _begun(folder) as history:
        epoch = history.store.epoch
        copy = history.path.with_suffix(".copy")
        with contextlib.closing(sqlite3.connect(history.path)) as link:
            link.execute("VACUUM INTO ?", (str(copy),))
        await _make(history, 30)
        await history._forward(60 * S)
        assert history.erp.booked
        await history.store.close()
        for beside in ("-wal", "-shm"):
            history.path.with_name(history.path.name + beside).unlink(missing_ok=True)
        copy.replace(history.path)
        await history._boot()
        assert history.store.older is not None, "the database is older than what has left the box: nobody noticed"
        assert history.store.epoch != epoch
        await history._step((history._reading(),))
        waiting = [(key, state) for key, state, _ in history._open_rows()]
        assert all(state == "needs_approval" for _, state in waiting), waiting


async def an_ERP_that_is_down_is_asked_gently(folder):  # noqa: N802 - a name of a check
    """For two minutes every connection is refused: at most 12 requests in any second, and few altogether (P13)."""
    async with _begun(folder, orders=5) as history:
        await _make(history, 300)
        history.erp.fates = ["refused"] * 100_000
        for _ in range(24):
            if len(history.erp.requests) > 500:
                break
            await history._forward(5 * S)
        asked = history.erp.requests
        assert asked
        problems = history.erp.problems()
        assert not problems, problems[0]
        assert len(asked) <= 200, f"{len(asked)} requests in two minutes"


async def a_new_database_has_new_keys(folder):
    """The database is damaged and set aside: what the new one gives out was never given out before (P9, P16)."""
    async with _begun(folder, orders=2) as history:
        await _make(history, 60)
        before = {row[0] for row in history._open_rows()}
        await history.store.close()
        damage.set_aside(history.path, at_ns=history.clock.now_ns())
        await history._boot()
        await history._step((history._reading(),))
        await history._fetch()
        await _make(history, 60)
        after = {row[0] for row in history._open_rows()}
        assert before
        assert after
        assert not before & after, f"given out twice: {sorted(before & after)}"


async def audit_goes_with_its_step(folder):
    """The process dies at any write around a decision: its audit entry is there if and only if the decision is."""
    for writes in range(3):
        for after in (False, True):
            path = Path(folder) / f"audit-{writes}-{after}.db"
            store = await Store.open(path, now_ns=lambda: S, max_bytes=1 << 26)
            submit, left = store._writer.submit, [writes]

            async def mortal(work, submit=submit, left=left, after=after):
                left[0] -= 1
                if left[0] < 0 and not after:
                    raise Died
                result = await submit(work)
                if left[0] < 0:
                    raise Died
                return result

            store._writer.submit = mortal
            entry = EntryContent(S, S, 4, 0, "UTC", "ann", "operator", "", "", "retried", "event", "posting")
            with contextlib.suppress(Died):
                await store.commit(Step("U", b"s", S, (JournalRow(1, S, "k", b""),), audit=(entry,)))
            await store.close()
            with contextlib.closing(sqlite3.connect(path)) as link:
                told = link.execute("SELECT count(*) FROM audit_entry").fetchone()[0]
                done = link.execute("SELECT count(*) FROM journal").fetchone()[0]
            assert told == done, f"dead at write {writes}: {done} decisions, {told} of them in the audit trail"


# --- a process on a card that forgets ---------------------------------------------------------------------------------


def card(card, bug):
    """A process commits and says so; an fsync fails, then the power goes: what it said is there (P7, P18)."""
    for number, fault in enumerate(("", "eio fsync 1")):
        path = card.mount / f"cut-{number}.db"
        card("slowsync 0")
        child = subprocess.Popen(
            [sys.executable, "-P", __file__, bug, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,
        )
        said = 0
        timer = _alarm(child)
        try:
            _go_on(child, AHEAD)
            for line in child.stdout:
                said = int(line)
                if said == ACKNOWLEDGED // 2:
                    card(fault or "slowsync 100")
                if said >= ACKNOWLEDGED:
                    os.killpg(child.pid, signal.SIGKILL)
                    said = max([said, *map(int, child.stdout)])  # what it said before it died, too
                    break
                _go_on(child, 1)
        finally:
            timer.cancel()
            child.kill()
            code = child.wait()
            child.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()
        card("cut drop")
        if said == 0:  # no assertion: a bug that lets nothing begin is caught by nobody
            raise RuntimeError(f"{fault or 'a power cut'}: the process acknowledged nothing at all, ended with {code}")
        try:
            with contextlib.closing(sqlite3.connect(path)) as link:
                (sound,) = link.execute("PRAGMA quick_check").fetchone()
                kept = [row[0] for row in link.execute("SELECT seq FROM journal ORDER BY seq")]
        except sqlite3.DatabaseError as error:
            raise AssertionError(f"{fault or 'a power cut'}: {said} acknowledged, then {error}") from error
        assert sound == "ok", f"{fault or 'a power cut'}: {sound}"
        missing = sorted(set(range(1, said + 1)) - set(kept))
        assert not missing, f"{fault or 'a power cut'}: acknowledged and lost: {missing}"
        assert said >= ACKNOWLEDGED, f"{fault or 'a power cut'}: the process ended by itself after {said}"


def _go_on(child, steps):
    """So many more; one that has ended tells it by the end of what it says."""
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write("\n" * steps)
        child.stdin.flush()


def _alarm(child):
    timer = threading.Timer(CHILD_S, child.kill)
    timer.start()
    return timer


async def _commit_for_ever(path):
    seq, store, failures, wanted = 0, None, 0, 0
    while failures < FAILURES_MAX:
        if wanted == seq:
            wanted += len(await asyncio.to_thread(sys.stdin.readline))
        try:
            store = store or await Store.open(path, now_ns=time.time_ns, max_bytes=1 << 26)
            if (await store.journal_seqs()).get("U", 0) < seq + 1:
                posting = NewPosting("erp", f"k/{seq}", "m", "o", "10", seq + 1, "partial", b"p" * 200, seq)
                await store.commit(Step("U", b"s", seq + 1, (JournalRow(seq + 1, seq + 1, "k", b""),), (posting,)))
        except StoreError:
            if store is not None:
                await store.close()
            store, failures = None, failures + 1
            continue
        seq, failures = seq + 1, 0
        os.write(1, b"%d\n" % seq)


if __name__ == "__main__":
    import planted

    with planted.planted(sys.argv[1]) if sys.argv[1] else contextlib.nullcontext():
        asyncio.run(_commit_for_ever(Path(sys.argv[2])))
