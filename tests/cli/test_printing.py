"""What an ERP wrote reaches a person's terminal as text, and never as a command to the terminal."""

from __future__ import annotations

import json
import re

import new_database
import pytest

from buffer.entry import OutboxState, Settlement
from buffer.outbox import Outbox
from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store
from gateway.shown.status import (
    ClockView,
    FeedView,
    GatewayView,
    MqttView,
    SourceView,
    TargetView,
    WorkUnitView,
    to_json,
)
from gateway.shown.status_text import lines

S = 1_000_000_000
#: Colour, a C1 control, a mark that turns the writing round; the line end would forge a line.
EVIL = "\x1b[31mred\x9b2J\u202eback\rover"
STEERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
async def outbox(tmp_path):
    """The database of a stopped gateway, with one parked posting whose texts are hostile."""
    payload = json.dumps({"note": EVIL}, ensure_ascii=False).encode()
    posting = NewPosting("erp", "P1/e/1/10/1", "m1", f"1{EVIL}", "10", 1, "final", payload, S)
    async with await Store.open(
        new_database.at(tmp_path / "linegate.db"), now_ns=lambda: S, max_bytes=1 << 26
    ) as store:
        await store.commit(Step("U", b"{}", S, (JournalRow(1, S, "k", b"{}"),), (posting,)))
        postings = Outbox(store)
        await postings.begin_send(1, (EVIL.encode(), "text/plain", f"n{EVIL}"), S)
        settlement = Settlement(OutboxState.PARKED, S, f"r{EVIL}", "business_reject", f"c{EVIL}", f"t{EVIL}\nforged")
        await postings.settle(1, settlement, S)
    return tmp_path


@pytest.mark.parametrize("words", [("list",), ("show", "1"), ("show", "P1/e/1/10/1")], ids=" ".join)
async def test_the_outbox(linegate, outbox, words):
    code, out, err = linegate("outbox", *words, "-d", outbox)
    assert (code, err) == (0, "")
    assert "red" in out
    assert not STEERS.search(out), ascii(out)
    assert not [line for line in out.splitlines() if line.startswith("forged")]


@pytest.mark.parametrize("which", ["9" * 18, "9" * 23, "9" * 5000, "-1", "\x1b[31m"])
async def test_a_number_or_key_that_nothing_has(linegate, outbox, which):
    code, out, err = linegate("outbox", "show", "-d", outbox, "--", which)
    assert (code, out) == (1, "")
    assert "no posting" in err
    assert not STEERS.search(err), ascii(err)


def test_the_status():
    evil = f"{EVIL}\nforged"
    unit = WorkUnitView(id="M-1", state="PRODUCING", state_since_ns=S, order=evil, operation=evil, target="1")
    view = GatewayView(
        id="gw", version="0", pid=1, started_ns=S, now_ns=2 * S, epoch="e", state_dir="s", config_digest="d",
        clock=ClockView(quality="trusted", known=True, since_ns=1, utc_offset_ms=0, offset_ms=0),
        mqtt=MqttView(connected=False, last_error=evil),
        sources=(
            SourceView(
                name="plc", state="down", since_ns=S, last_error=evil, problems={"x": evil}, notices={"x": evil},
            ),
        ),
        targets=(TargetView(name="erp", link="down", since_ns=S, last_error=evil),),
        feeds=(FeedView(name="erp", up=False, last_error=evil),),
        work_units=(unit,),
        warnings=(evil,),
    )  # fmt: skip
    text = "\n".join(lines(to_json(view)))
    assert text.count("red") == 8
    assert not STEERS.search(text), ascii(text)
    assert not [line for line in text.splitlines() if line.startswith("forged")]
