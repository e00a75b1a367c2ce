"""The sum, checked from outside: every piece that the machines made is somewhere, and none is anywhere twice.

made = booked in the ERP's ledger + waiting in the outbox + counted and not yet confirmed + without an order
     + under review + declared unknown

It imports nothing of the product: it reads the simulators' own record of what they made, the ERP's ledger and the
gateway's database by SQL, and what the gateway says over its control socket. It decides nothing about why.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sqlite3
import time
from collections import defaultdict
from pathlib import Path

BUSY_S = 60.0
#: States of a posting that says nothing to the ERP any more.
#: With fewer intervals in it the status names all of them.
SHOWN_AT_LEAST = 50
OVER = ("posted", "superseded", "voided")
#: The simulators date a piece a moment before the gateway can see it.
INTERVAL_TOLERANCE_NS = 150_000_000


def rows(path, sql, *values):
    """Rows of a database that others may be writing, as dictionaries."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_S)) as link:
        link.row_factory = sqlite3.Row
        return [dict(row) for row in link.execute(sql, values)]


def pieces(path, before=0):
    """The pieces of a machine's record, without the first so many; a line without its end is not said yet."""
    lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [row for row in found if row["event"] == "pieces" and row["good_total"] + row["scrap_total"] > before]


def counted(unit):
    """Good and scrap that the gateway says it has ever counted at a work unit."""
    return unit["counted_good"], unit["counted_scrap"]


def bound(unit):
    """So many pieces of a work unit at most are declared unknown, or under review."""
    bounds = [one["max_pieces"] for one in unit["unknown"]]
    return (math.inf if None in bounds else sum(bounds)) + unit["review_pieces"]


def problems(truth, ledger, database, units, *, epochs=1, may_be_unknown=(), dated=True):
    """What is wrong, one line each; nothing: all is well. At rest only: machines stand, nothing is under way.

    Args:
        truth: rows of pieces by machine.
        ledger: the ERP's SQLite file.
        database: the gateway's.
        units: ``work_units`` of the gateway's status.
        epochs: so many databases may have given out keys (a damaged one is set aside, and its open postings with it).
        may_be_unknown: machines whose pieces may fall while nobody looks: pulses; a controller that restarts between
            two looks, and its counter rolls over there.
        dated: whether the gateway's clock and the machines' are the same, so that each piece that is missing must have
            been made within a declared interval; its bound is the limit in any case.
    """
    booked = rows(ledger, "SELECT * FROM bookings ORDER BY id")
    outbox = [posting(row) for row in rows(database, "SELECT * FROM outbox WHERE kind <> 'ack' ORDER BY id")]
    jobs = [json.loads(row["record"]) for row in rows(database, "SELECT record FROM job")]
    (meta,) = rows(database, "SELECT epoch FROM meta")
    found = [
        *_keys(booked, outbox, meta["epoch"], epochs),
        *_sequences(booked, outbox),
        *_orders(booked, outbox, jobs, units, meta["epoch"]),
    ]
    in_ledger = {row["key"] for row in booked}
    waiting = [row for row in outbox if row["state"] not in OVER and row["key"] not in in_ledger]
    for shown in units:
        unit = {**shown, "unknown": _declared(shown, database)}
        made = truth.get(unit["id"], [])
        found += _machine(unit, made, booked, waiting, may_be_unknown=unit["id"] in may_be_unknown, dated=dated)
    if not units:
        found.append("the gateway names no machine: nothing was checked")
    return found


def posting(row):
    """A row of the outbox with what its document says."""
    document = json.loads(row["payload"])
    good, scrap = _quantities(document["qty"])
    so_far = _quantities(document["qty_cumulative"])
    return {**row, "machine": document["machine"], "good": good, "scrap": scrap, "so_far": so_far}


def _quantities(document):
    return int(document["good"]), sum(int(one["qty"]) for one in document["scrap"])


def _keys(booked, outbox, epoch, epochs):  # noqa: C901 - one line for each thing that can be wrong
    """No key twice, none with two payloads, none that the gateway does not know, none that it only believes."""
    by_key = defaultdict(list)
    for row in booked:
        by_key[row["key"]].append(row)
    ours = {row["key"]: row for row in outbox}
    for key, entries in by_key.items():
        if len(entries) > 1:
            yield f"booked {len(entries)} times: {key}"
        if len({entry["digest"] for entry in entries}) > 1:
            yield f"one key, two payloads: {key}"
        if key.split("/")[1] != epoch:
            continue  # of a database that was set aside
        row = ours.get(key)
        if row is None:
            yield f"booked, and the gateway does not know it: {key}"
        elif hashlib.sha256(row["body"] or b"").hexdigest() != entries[0]["digest"]:
            yield f"booked with other bytes than the outbox holds: {key}"
        elif (row["good"], row["scrap"]) != (entries[0]["good"], entries[0]["scrap"]):
            yield f"booked with other quantities than the outbox holds: {key}"
    for key, row in ours.items():
        if row["state"] == "posted" and key not in by_key:
            yield f"the gateway takes it for booked, the ERP has never booked it: {key}"
    seen = {key.split("/")[1] for key in by_key} | {epoch}
    if len(seen) > epochs:
        yield f"keys of {len(seen)} databases, {epochs} expected: {sorted(seen)}"


def _sequences(booked, outbox):
    """Numbers from 1 without a gap, at the ERP in the order in which they came, per database, order and operation."""
    for name, entries in (("booked", booked), ("outbox", outbox)):
        numbers = defaultdict(list)
        for row in entries:
            _plant, epoch, order, operation, seq = row["key"].split("/")
            numbers[epoch, order, operation].append(int(seq))
            if int(seq) != row["seq"]:
                yield f"{name}: {row['key']} has the number {row['seq']}"
        for lane, seqs in numbers.items():
            if seqs != list(range(1, len(seqs) + 1)):
                yield f"{name}: numbers of {'/'.join(lane)} are {seqs}"


def _orders(booked, outbox, jobs, units, epoch):  # noqa: C901 - three sources of the same sums
    """Per order and operation: what was counted for it is booked, waits, or is not confirmed yet, exactly."""
    sums = defaultdict(lambda: [0, 0])
    in_ledger = set()
    for row in booked:
        in_ledger.add(row["key"])
        if row["key"].split("/")[1] == epoch:
            _add(sums[row["order"], row["operation"]], row)
    so_far = defaultdict(lambda: [0, 0])
    for row in outbox:
        lane = (row["order_id"], row["operation"])
        _add(so_far[lane], row)
        if tuple(so_far[lane]) != row["so_far"]:
            yield f"{row['key']}: says {row['so_far']} so far, its lane comes to {so_far[lane]}"
        if row["key"] not in in_ledger and row["state"] not in OVER:
            _add(sums[lane], row)
    counted_for = {}
    for record in jobs:
        counted_for[record["job"]["order"], record["job"]["operation"]] = [record["good"], record["scrap"]]
    for unit in units:
        if unit["order"]:
            lane = (unit["order"], unit["operation"])
            sums[lane][0] += unit["unconfirmed_good"]
            sums[lane][1] += unit["unconfirmed_scrap"]
            counted_for[lane] = [unit["good"], unit["scrap"]]
    for lane in sorted({*sums, *counted_for}):
        if sums[lane] != counted_for.get(lane, [0, 0]):
            yield f"{'/'.join(lane)}: counted {counted_for.get(lane)}, booked, waiting and unconfirmed {sums[lane]}"


def _declared(unit, database):
    """Every interval that was declared unknown: the status names the newest only, the journal all."""
    newest = unit["unknown"]
    if len(newest) < SHOWN_AT_LEAST:
        return newest
    found = rows(database, "SELECT body FROM journal WHERE work_unit = ? AND kind = 'unknown' ORDER BY seq", unit["id"])
    written = [json.loads(row["body"]) for row in found]
    assert len(written) >= len(newest), (
        f"{unit['id']}: the journal has {len(written)} intervals, the status {len(newest)}"
    )
    return [{"from_ns": one["t_from_ns"], "to_ns": one["t_to_ns"], "max_pieces": one["max_pieces"]} for one in written]


def _machine(unit, made, booked, waiting, *, may_be_unknown, dated):
    """What a machine made, against where it is."""
    name = unit["id"]
    goal = [sum(row["good"] for row in made), sum(row["scrap"] for row in made)]
    known = [unit["unconfirmed_good"] + unit["unallocated_good"], unit["unconfirmed_scrap"] + unit["unallocated_scrap"]]
    for row in (*booked, *waiting):
        if row["machine"] == name:
            _add(known, row)
    missing = sum(goal) - sum(known) - unit["review_pieces"]
    told = f"{name}: made {goal}, accounted for {known}, under review {unit['review_pieces']}"
    if missing < 0:
        yield f"{told}: {-missing} pieces that were never made"
    elif not unit["review_pieces"] and (known[0] > goal[0] or known[1] > goal[1]):
        yield f"{told}: good and scrap are exchanged"
    if missing <= 0:
        return
    if not may_be_unknown:
        yield f"{told}: {missing} pieces are lost"
        return
    bounds = [one["max_pieces"] for one in unit["unknown"]]
    dark = sum(
        row["good"] + row["scrap"] for row in made if not dated or any(_inside(row, one) for one in unit["unknown"])
    )
    if not bounds or missing > dark or (None not in bounds and missing > sum(bounds)):
        yield f"{told}: {missing} pieces are lost, {dark} fell into the declared intervals, which allow {bounds}"


def _inside(row, interval):
    """A machine that was kept waiting shows a piece after it was due: until then nobody can have counted it."""
    due_ns, shown_ns = row["t_ns"], max(row["t_ns"], row.get("shown_ns", 0))
    return (
        interval["from_ns"] - INTERVAL_TOLERANCE_NS <= shown_ns and due_ns <= interval["to_ns"] + INTERVAL_TOLERANCE_NS
    )


def _add(pair, row):
    pair[0] += row["good"]
    pair[1] += row["scrap"]


def booked_before(ledger, at_ns):
    """What the ERP had booked at a moment."""
    return rows(ledger, "SELECT * FROM bookings WHERE t_ns < ? ORDER BY id", at_ns)


def until(condition, what, timeout_s=120.0):
    """Wait for a condition in a test without a loop."""
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {timeout_s:g} s in vain for {what}"
        time.sleep(0.02)
    return found
