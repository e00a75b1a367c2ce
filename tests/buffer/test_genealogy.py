"""Genealogy in a real database: kept with its step, traced both ways, named later, never in a ring."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from buffer import genealogy
from buffer.outbox import Outbox
from buffer.step import NewPosting, Step
from gateway.control import RequestError
from gateway.core.duration import Duration
from gateway.core.entries import LotNamed
from gateway.core.job_order import JobOrderState, JobRecord
from gateway.core.work.genealogy import GenealogyLink, Tracked, TrackedKind, page_of, where_from, where_used
from gateway.core.work.lots import Certainty, Feeder, LotUse, MountedLot
from gateway.core.work.produced_lots import ProducedLot, SerialRecord
from gateway.core.work.rounding import Exact
from gateway.core.work.run_work import MadeLot
from gateway.verbs import work_verbs
from gateway.verbs.lot_use_verbs import LotUseVerbs
from gateway.verbs.work_verbs import WorkVerbs

CHILD = """
import asyncio, sys, time
from pathlib import Path
from buffer.step import NewPosting, Step
from buffer.store import Store
from gateway.core.work.genealogy import GenealogyLink, Tracked, TrackedKind
from gateway.core.work.lots import Certainty
from gateway.core.work.produced_lots import ProducedLot, SerialRecord
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


async def test_what_many_confirmations_told_of_the_same_two_is_one_link(store):
    made, other = lot("4711", "ART"), lot("4712", "ART")
    for at, certainty in enumerate((Certainty.EXACT, Certainty.EXACT, Certainty.INTERVAL, Certainty.EXACT)):
        one = link(lot("L1"), made, 1 + at, certainty=certainty)
        await kept(store, one._replace(from_ns=10 + at, to_ns=20 + at), at_ns=1 + at)
    await kept(store, link(lot("L1"), other, 5, run="4712/0010/M-01"))
    found = await genealogy.along(store, lot("L1"), down=True)
    assert sorted((one.child.number, one.quantity, one.from_ns, one.to_ns) for one in found.row) == [
        ("4711", Exact(3), 12, 22), ("4711", Exact(7), 10, 23), ("4712", Exact(5), 10, 20),
    ]  # fmt: skip
    cut = await genealogy.along(store, lot("L1"), down=True, links_max=2)
    assert (len(cut.row), cut.complete) == (2, False), "said, and not told as all of it"
    assert (await genealogy.along(store, lot("L1"), down=True, links_max=3)).complete


async def test_more_nodes_than_one_question_names_are_all_found(store):
    width = genealogy.ASKED_MAX + 7
    into = [link(lot("L1"), lot(f"P{one}", "PART")) for one in range(width)]
    onward = [link(lot(f"P{one}", "PART"), lot(f"A{one}", "ART"), run=f"A{one}/0010/M-02") for one in range(width)]
    await kept(store, *into, *onward)
    found = await genealogy.along(store, lot("L1"), down=True)
    trace = where_used(found.row, lot("L1"))
    assert (found.complete, len(found.row), len(trace.reached)) == (True, 2 * width, 2 * width)
    pages = [page_of(trace, skip, 300, down=True) for skip in range(0, 2 * width, 300)]
    assert [one for page in pages for one in page.reached] == list(trace.reached)
    assert sorted(one for page in pages for one in page.links) == sorted(trace.links), "each on one page"


class NoShift:
    """The clock as it is where nothing was learned of UTC."""

    def utc_ns(self, steady_ns):
        return steady_ns


async def test_pages_are_of_one_trace_and_a_search_outlives_who_asked(store):
    verb = WorkVerbs(None, store, NoShift()).table()["lots.trace"]
    asked = {"verb": "lots.trace", "number": "L1", "direction": "forward"}
    await kept(store, *(link(lot("L1"), lot(f"P{one:04}", "ART"), run=f"{one}/0010/M-01") for one in range(1_200)))
    # The asker goes at once, as after request_timeout.
    gone = asyncio.create_task(verb(asked))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    (first,) = (await verb(asked))["traces"]
    assert (len(first["reached"]), first["reached_in_all"], first["next"], first["complete"]) == (
        1000,
        1200,
        1000,
        True,
    )
    await kept(store, link(lot("L1"), lot("P0000-1", "ART"), run="9999/0010/M-01"))
    (rest,) = (await verb({**asked, "skip": 1000}))["traces"]
    names = [one["number"] for page in (first, rest) for one in page["reached"]]
    assert names == [f"P{one:04}" for one in range(1_200)], "of the moment of the first page"
    assert (rest["next"], len(first["links"]) + len(rest["links"])) == (None, 1200)
    (anew,) = (await verb({**asked, "limit": 2}))["traces"]
    assert ([one["number"] for one in anew["reached"]], anew["reached_in_all"]) == (["P0000", "P0000-1"], 1201)
    for wrong in ({"limit": 0}, {"skip": -1}, {"limit": "x"}):
        with pytest.raises(RequestError, match="allowed: a whole number"):
            await verb({**asked, **wrong})


async def test_one_trace_at_a_time_is_searched_and_none_is_kept_for_ever(store, monkeypatch):
    at_once, most = 0, 0
    along = genealogy.along

    async def counted(*args, **more):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.05)
        try:
            return await along(*args, **more)
        finally:
            at_once -= 1

    monkeypatch.setattr(genealogy, "along", counted)
    monkeypatch.setattr(work_verbs, "TRACE_KEPT", Duration("100 ms"))
    await kept(store, *(link(lot(f"L{one}"), lot(f"P{one}", "ART")) for one in range(4)))
    verbs = WorkVerbs(None, store, NoShift())
    verb = verbs.table()["lots.trace"]
    for one in range(4):
        gone = asyncio.create_task(verb({"verb": "lots.trace", "number": f"L{one}", "direction": "forward"}))
        while verbs._traces is None or verbs._traces[0] != f"L{one}":  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.005)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
    async with asyncio.timeout(60):
        while verbs._traces is not None:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)
    assert most == 1


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


async def test_what_was_not_found_is_looked_for_again(store):
    verb = WorkVerbs(None, store, NoShift()).table()["lots.trace"]
    asked = {"verb": "lots.trace", "number": "L1", "direction": "forward"}
    with pytest.raises(RequestError, match="L1: found in no confirmation"):
        await verb(asked)
    await kept(store, link(lot("L1"), lot("P1", "ART")))
    assert (await verb(asked))["traces"]


USE = LotUse("bowl", "RING", "L1", 3, Exact(3), 0, 0, Certainty.EXACT)


def confirms(order, seq, kind="partial", **said):
    payload = json.dumps({"components": [], "lots": [], "serials": [], **said}).encode()
    return NewPosting("erp", f"P/e/{order}/0010/{seq}", f"{order}-{seq}", order, "0010", seq, kind, payload, 1)


def one_run(*made):
    work = SimpleNamespace(made=made, produced=ProducedLot(1, "4720"))
    return SimpleNamespace(job=SimpleNamespace(key=("4712", "0010")), work=work, open_pieces=4)


class LateConfirmed(Outbox):
    """While the confirmations are read, what was open is confirmed."""

    state = None

    async def of_operation(self, *asked):
        self.state.open_runs = tuple
        return await super().of_operation(*asked)


@pytest.fixture
def used(store):
    """Who asks ``lots.used`` of a machine with these pieces that are not confirmed."""

    def made(*pieces):
        feeders = (
            Feeder("bowl", "RING", (MountedLot("L1", 0),)),
            Feeder("old", "RING", (MountedLot("L1", 0, None, 5),)),
        )
        state = SimpleNamespace(work=SimpleNamespace(feeders=feeders), open_runs=lambda: (one_run(*pieces),))
        outbox = LateConfirmed(store)
        outbox.state = state
        parts = SimpleNamespace(outbox=outbox, runners={"M-01": SimpleNamespace(state=state)})
        verb = LotUseVerbs(parts, store).table()["lots.used"]
        return lambda lot: verb({"verb": "lots.used", "lot": lot})

    return made


async def test_who_holds_a_lot_learns_where_it_was_used(store, used):
    """Links down to the box, the confirmations that name one of them, and what is open or mounted at a machine."""
    whole, serial = lot("4711", "ART"), Tracked(TrackedKind.SERIAL, "ART", "S1")
    box = Tracked(TrackedKind.HANDLING_UNIT, "", "BOX-1")
    links = (
        link(lot("L1"), whole),
        link(whole, serial),
        link(serial, box),
        link(whole, lot("A/1", "BIG"), run="A/1/0020/M-2"),
    )
    line = {"item": "RING", "lots": [{"lot": "L1", "qty": "4"}]}
    other = {"item": "RING", "lots": [{"lot": "L2", "qty": "4"}]}
    postings = (
        confirms("4711", 1, components=[line]),
        confirms("4711", 2, components=[other]),
        confirms("4711", 3, components=[other], components_held=[line]),
        confirms("4711", 4, serials=["S0", "S1"]),
        confirms("4711", 5, lots=[{"lot": "4711", "qty": "4"}]),
        confirms("4711", 6, components=[line]),
        confirms("4711", 7, components=[line])._replace(state="voided", note="0020 confirms it"),
        confirms("9", 1),
    )
    await kept(store, *links, postings=postings)
    await kept(store, at_ns=2, voids=("P/e/4711/0010/6",))
    ask = used(MadeLot("4712", 3, (USE,)))
    found = await ask("L1")
    assert found["orders"] == [{"order": "4711", "operation": "0010"}, {"order": "A/1", "operation": "0020"}]
    assert (found["products"], found["left_out"], found["complete"]) == (["ART", "BIG"], {}, True)
    named = [[one["number"] for one in found[kind]] for kind in ("lots", "serials", "handling_units")]
    assert named == [["4711", "A/1"], ["S1"], ["BOX-1"]]
    assert [(one["seq"], one["state"], one["sent"]) for one in found["confirmations"]] == [
        *((number, "ready", False) for number in (1, 3, 4, 5)),
        (7, "voided", False),
    ], "2 says another lot, 6 is void; 7 the ERP confirms by itself"
    assert found["open"] == [
        {"machine": "M-01", "order": "4712", "operation": "0010", "feeder": ""},
        {"machine": "M-01", "order": "", "operation": "", "feeder": "bowl"},
    ], "though it was confirmed while the answer was made: it is in one of both"
    nothing = await ask("nowhere")
    assert not any(nothing[name] for name in ("orders", "products", "confirmations", "open"))


async def test_who_holds_a_lot_that_was_made_here_learns_in_which_order(store, used):
    await kept(store, link(lot("L1"), lot("4711", "ART")), postings=(confirms("4711", 1, lots=[{"lot": "4711"}]),))
    found = await used(MadeLot("4711", 2), MadeLot("4712", 0))("4711")
    assert found["orders"] == [{"order": "4711", "operation": "0010"}]
    assert [one["seq"] for one in found["confirmations"]] == [1]
    assert [one["order"] for one in found["open"]] == ["4712"], "pieces of it are not confirmed yet"
    assert (await used(MadeLot("4711", 0))("4711"))["open"] == [], "without a piece it is no use"


async def test_who_holds_a_lot_that_is_linked_with_nothing_learns_which_order_made_it(store, used, make):
    """Its name has the number of its order in it, and the confirmation says it; another one like it does not."""
    records = tuple(
        JobRecord(make.job(order), JobOrderState.COMPLETED, 1, 4, 0, 0, "") for order in ("4713", "471", "9")
    )
    postings = (
        confirms("4713", 1, lots=[{"lot": "4713/early"}]),
        confirms("4713", 2, lots=[{"lot": "4713/late"}]),
        confirms("471", 1, lots=[{"lot": "471/early"}]),
    )
    await kept(store, jobs=records, postings=postings)
    found = await used()("4713/early")
    assert found["orders"] == [{"order": "4713", "operation": "0010"}]
    assert [one["key"] for one in found["confirmations"]] == ["P/e/4713/0010/1"]
    assert [one["order"] for one in (await used()("4720"))["open"]] == ["4712"], "what is open of it"
