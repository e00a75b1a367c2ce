"""Genealogy in a real database: kept with its step, traced both ways, named later, never in a ring."""

import asyncio
import os
import random
import signal
import subprocess
import sys

import pytest

from buffer import genealogy
from buffer.step import Step
from gateway.core.entries import LotNamed
from gateway.core.work.genealogy import GenealogyLink, Tracked, TrackedKind, where_from, where_used
from gateway.core.work.lots import Certainty
from gateway.core.work.produced_lots import SerialRecord
from gateway.core.work.rounding import Exact

CHILD = """
import asyncio, sys, time
from pathlib import Path
from buffer.step import NewPosting, Step
from buffer.store import Store
from gateway.core.work.genealogy import GenealogyLink, Tracked, TrackedKind
from gateway.core.work.lots import Certainty
from gateway.core.work.produced_lots import SerialRecord
from gateway.core.work.rounding import Exact

async def main():
    store = await Store.open(Path(sys.argv[1]), now_ns=time.time_ns, max_bytes=1 << 28)
    seq = int((await store.snapshots()).get("A", b"0"))
    while True:
        seq += 1
        made = Tracked(TrackedKind.LOT, "ART", f"P{seq}")
        links = tuple(
            GenealogyLink(lot, made, Exact(seq, 3), "PC", f"O{seq}/0010/A", 1, 2, Certainty.EXACT)
            for lot in (Tracked(TrackedKind.LOT, "RING", f"L{one}") for one in range(3))
        )
        serial = SerialRecord("ART", f"S{seq}", f"O{seq}", "0010", seq)
        posting = NewPosting("erp", f"A/{seq}", "m", "A", "0010", seq, "partial", b"p" * 200, seq)
        await store.commit(Step("A", str(seq).encode(), seq, (), (posting,), links=links, serials=(serial,)))
        sys.stdout.write(f"{seq}\\n")
        sys.stdout.flush()

asyncio.run(main())
"""
KILLS = 4


def lot(number, item="RING"):
    return Tracked(TrackedKind.LOT, item, number)


def link(parent, child, quantity=1, run="4711/0010/M-01", certainty=Certainty.EXACT):
    return GenealogyLink(parent, child, Exact.of(quantity), "PC", run, 10, 20, certainty)


async def kept(store, *links, at_ns=1, **more):
    await store.commit(Step("M-01", b"{}", at_ns, links=links, **more))


async def reached(store, start, *, down):
    links = await genealogy.along(store, start, down=down)
    assert links.complete
    trace = where_used(links.row, start) if down else where_from(links.row, start)
    return {one.node: (one.depth, one.certainty) for one in trace.reached}


async def test_a_lot_is_traced_both_ways_after_a_new_start(open_store):
    store = await open_store()
    part, whole = lot("4711", "PART"), lot("4712", "ART")
    serial = Tracked(TrackedKind.SERIAL, "ART", "4711")  # the same number, another thing
    await kept(store, link(lot("L1"), part, "1/3"), link(lot("L2"), part, certainty=Certainty.INTERVAL))
    await kept(store, link(part, whole, run="4712/0010/M-02"), link(whole, serial, run="4712/0010/M-02"))
    await store.close()
    store = await open_store()
    exact, interval = Certainty.EXACT, Certainty.INTERVAL
    assert await reached(store, lot("L1"), down=True) == {part: (1, exact), whole: (2, exact), serial: (3, exact)}
    assert await reached(store, serial, down=False) == {
        whole: (1, exact), part: (2, exact), lot("L1"): (3, exact), lot("L2"): (3, interval),
    }  # fmt: skip
    assert sorted(await genealogy.named(store, "4711")) == sorted([part, serial])
    assert await reached(store, part, down=False) == {lot("L1"): (1, exact), lot("L2"): (1, interval)}
    (found,) = (await genealogy.along(store, lot("L1"), down=True)).row[:1]
    assert found.quantity == Exact(1, 3), "exact"
    await store.close()


async def test_what_would_be_made_from_itself_is_kept_apart(store):
    first, second, third = (lot(name, "ART") for name in "ABC")
    await kept(store, link(first, second), link(second, third))
    await kept(store, link(third, first), link(first, first), link(first, third))
    assert [(one.parent, one.child) for one in await genealogy.refused(store, "A")] == [(third, first), (first, first)]
    assert set(await reached(store, first, down=True)) == {second, third}
    assert set(await reached(store, third, down=False)) == {first, second}
    assert await reached(store, first, down=False) == {}


async def test_an_unknown_lot_is_named_later(store):
    unknown, made = lot("UNKNOWN"), lot("4711", "ART")
    assumed = Certainty.ASSUMED
    await kept(store, link(unknown, made, 5, certainty=assumed), link(unknown, made, 7, "4711/0020/M-01", assumed))
    await kept(store, link(unknown, made, 9, "4711/0010/M-02", assumed), link(unknown, made, 9, "47110/0010/M-01"))
    assert await genealogy.unknown(store, "4711", "0010", "M-01") == (("4711/0010/M-01", "RING"),)
    assert len(await genealogy.unknown(store, "4711", "", "M-01")) == 2
    await kept(store, lots=(LotNamed(1, "4711/0010/M-01", "RING", "L9"), LotNamed(1, "4711/0020/M-01", "NUT", "L9")))
    assert await reached(store, lot("L9"), down=True) == {made: (1, assumed)}
    assert await genealogy.unknown(store, "4711", "", "M-01") == (("4711/0020/M-01", "RING"),)
    # A lot that was made from the product cannot have been in it.
    await kept(store, link(made, lot("L10")))
    await kept(store, lots=(LotNamed(1, "4711/0020/M-01", "RING", "L10"),))
    assert [one.parent for one in await genealogy.refused(store, "L10")] == [lot("L10")]


async def test_serial_numbers_are_remembered(store):
    first = SerialRecord("ART", "S1", "4711", "0010", 5)
    await kept(store, serials=(first, first._replace(operation="0020", at_ns=9), first._replace(serial="S2")))
    await kept(store, serials=(first,))
    assert await genealogy.serials(store, "S1") == (first, first._replace(operation="0020", at_ns=9))
    assert await genealogy.serials(store, "\ud800") == ()


@pytest.mark.parametrize("seed", [7])
async def test_killed_in_the_middle_of_commits(path, open_store, seed):
    chance, acknowledged = random.Random(seed), 0
    for _ in range(KILLS):
        enough = acknowledged + chance.randrange(20, 120)
        acknowledged = await asyncio.to_thread(_run_and_kill, path, enough)
        store = await open_store()
        kept_seq = int((await store.snapshots())["A"])
        assert acknowledged <= kept_seq <= acknowledged + 1
        ((links,),) = await store.read("SELECT count(*) FROM genealogy", ())
        ((serials,),) = await store.read("SELECT count(*) FROM serial", ())
        assert (links, serials) == (3 * kept_seq, kept_seq), "with its step, or not at all"
        last = await reached(store, lot(f"P{kept_seq}", "ART"), down=False)
        assert set(last) == {lot("L0"), lot("L1"), lot("L2")}
        assert len(await reached(store, lot("L0"), down=True)) == kept_seq
        acknowledged = kept_seq
        await store.close()


async def test_a_forgotten_order_takes_its_links_and_serial_numbers_with_it(store):
    first = SerialRecord("ART", "S1", "4711", "0010", 5)
    await kept(store, link(lot("L1"), lot("4711", "ART")), serials=(first, first._replace(order="47110")))
    await kept(store, link(lot("L1"), lot("47110", "ART"), run="47110/0010/M-01"))
    await store.write(lambda connection: genealogy.forget(connection, "4711"))
    assert set(await reached(store, lot("L1"), down=True)) == {lot("47110", "ART")}
    assert [one.order for one in await genealogy.serials(store, "S1")] == ["47110"]


def _run_and_kill(path, enough):
    acknowledged = 0
    with subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            acknowledged = int(line)
            if acknowledged >= enough:
                os.kill(child.pid, signal.SIGKILL)
                break
        for line in child.stdout:  # what was acknowledged between the decision and the kill
            if line.endswith("\n"):
                acknowledged = int(line)
    return acknowledged
