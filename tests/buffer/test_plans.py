"""Questions about one order or one key find it by an index, whatever else is in the outbox."""

from __future__ import annotations

import contextlib
import re
import sqlite3

import pytest

from buffer import outbox, outbox_open, postings, reconciliation, retention, store
from buffer.entry import OutboxState
from buffer.outbox_pages import page_query
from buffer.outbox_whole import OF_OPERATION
from gateway.erp import order_closer

ONE_ORDER = {
    "unbooked": store._UNBOOKED,
    "settled": order_closer._SETTLED,
    "of operation": OF_OPERATION,
    "records of an order": reconciliation._RECORDS,
    "answered": outbox._ANSWERED,
    "last posted": outbox._LAST_POSTED,
    "states of a key": postings._STATES,
    "void": postings._VOID,
    "by key": reconciliation._BY_KEY,
    "posted and old": retention._POSTINGS["posted"],
    "void and old": retention._POSTINGS["voided"],
    "since posted": retention._SINCE_POSTED,
    "forgettable": f"{retention._FORGETTABLE} LIMIT ?2",
    "unconfirmed": retention._UNCONFIRMED,
    "what is open": outbox_open._OPEN,
    "page of a key": page_query(key="k")[0],
    "page of an order": page_query(order="A")[0],
    "page of an order and kind": page_query(order="A", kind="notice")[0],
    "page of a kind": page_query(kind="notice")[0],
    "page of a kind for a target": page_query(target="erp", kind="reversal")[0],
    "next page of a kind": page_query(kind="final", before_id=7)[0],
    "page of parked of a kind": page_query(state=OutboxState.PARKED, kind="notice")[0],
    "page of parked": page_query(state=OutboxState.PARKED)[0],
    "page of parked for a target": page_query(target="erp", state=OutboxState.PARKED)[0],
    "page of sending": page_query(state=OutboxState.SENDING)[0],
}
#: Among few: an index of what is being sent, of what is over for a target that is asked, of what is open.
FEW = ("outbox_sending", "outbox_standing", "outbox_voided")


@pytest.mark.parametrize("name", ONE_ORDER)
async def test_it_finds_what_it_asks_for_by_an_index(path, store, name):
    with contextlib.closing(sqlite3.connect(path)) as link:
        sql = ONE_ORDER[name]
        plan = [row[3] for row in link.execute(f"EXPLAIN QUERY PLAN {sql}", (1,) * _values(sql))]
    through = [step for step in plan if re.match(r"SCAN (outbox|journal)\b(?!_tally)", step)]
    assert not [step for step in through if not any(few in step for few in FEW)], plan


def _values(sql):
    numbered = [int(one[0]) for one in sql.split("?")[1:] if one[:1].isdigit()]
    return max(numbered) if numbered else sql.count("?")
