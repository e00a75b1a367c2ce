"""What is seen from outside is UTC as it is known now, and says who vouches for it: status, log, stored rows."""

from __future__ import annotations

import dataclasses
import json
from typing import NamedTuple

import new_database
import orjson
import pytest

from buffer import audit, clock_record
from buffer.audit import AuditOutcome, NewAuditRow
from buffer.readonly import ReadOnlyStore
from buffer.step import NewPosting, Step
from buffer.store import Store
from gateway.cli import main
from gateway.core.audit.entry import EntryContent
from gateway.core.calendar.honest_time import TimeQuality, utc_of
from gateway.core.model import Role, UnknownInterval
from gateway.shown import status
from gateway.shown.status import (
    INSTANTS,
    ClockView,
    FeedView,
    GatewayView,
    SourceView,
    TargetView,
    WorkUnitView,
    in_utc,
    to_json,
)
from gateway.shown.status_text import clock_lines, lines
from gateway.shown.views import clock_view
from gateway.timing.clock import SteadyClock
from gateway.work_unit.narrate import narrate

S = 10**9
NOW = 1_795_000_000 * S  # 2026-11-18T11:06:40Z
#: Fields in nanoseconds that are lengths.
LENGTHS = {"length_ns", "duration_ns", "planned_ns", "recent_ns", "full_in_ns"}


class Span(NamedTuple):
    """A part of a view that has names."""

    from_ns: int
    shown: tuple[dict[str, int], ...]


class Box:
    """A box without a battery: the wall clock says 1970 until it is set."""

    def __init__(self):
        self.wall, self.monotonic, self.quality = 60 * S, 30 * S, TimeQuality.IMPLAUSIBLE
        self.clock = SteadyClock(
            0, lambda: self.wall, lambda: self.monotonic, judge=lambda _wall: self.quality, boot_id="b"
        )

    def pass_time(self, length_ns):
        self.wall += length_ns
        self.monotonic += length_ns

    def set(self, utc_ns, quality=TimeQuality.SYNCHRONISED):
        self.wall, self.quality = utc_ns, quality
        self.clock.check()


@pytest.fixture
def box():
    return Box()


def test_every_instant_of_a_view_is_known_as_one():
    views = [found for found in vars(status).values() if dataclasses.is_dataclass(found)]
    assert len(views) > 5
    in_ns = {one.name for view in views for one in dataclasses.fields(view) if one.name.endswith("_ns")}
    assert in_ns - LENGTHS <= INSTANTS, "instants that would be shown in steady time: add them to INSTANTS"
    assert not INSTANTS & LENGTHS


def gateway(box):
    now_ns = box.clock.now_ns()
    unknown = {"signal": "plc.n", "from_ns": 60 * S, "to_ns": 61 * S, "max_pieces": 3}
    return GatewayView(
        id="gw", version="0", pid=1, started_ns=60 * S, now_ns=now_ns, epoch="e", state_dir="s", config_digest="d",
        clock=clock_view(box.clock),
        sources=(SourceView(name="plc", state="up", since_ns=62 * S, last_value_ns=now_ns, problems={"from_ns": "x"}),),
        targets=(TargetView(name="erp", link="up", since_ns=63 * S, waiting=1, oldest_waiting_ns=64 * S),),
        work_units=(WorkUnitView(id="M", state="OFF", state_since_ns=65 * S, unknown=(unknown,), good=7),),
    )  # fmt: skip


def test_a_view_in_utc_has_every_instant_of_it_in_utc(box):
    box.pass_time(100 * S)
    box.set(NOW)
    document = to_json(in_utc(gateway(box), box.clock.utc_ns))
    begin_s = NOW // S - 100
    assert document["now_ns"] == NOW
    assert document["started_ns"] == begin_s * S
    assert document["clock"]["since_ns"] == NOW
    assert document["sources"][0]["since_ns"] == (begin_s + 2) * S
    assert document["sources"][0]["next_retry_ns"] is None
    assert document["sources"][0]["problems"] == {"from_ns": "x"}
    assert document["targets"][0]["oldest_waiting_ns"] == (begin_s + 4) * S
    assert document["work_units"][0]["state_since_ns"] == (begin_s + 5) * S
    assert document["work_units"][0]["unknown"][0]["to_ns"] == (begin_s + 1) * S
    assert document["work_units"][0]["good"] == 7
    assert document["mqtt"] is None


def test_a_view_is_written_byte_for_byte_as_its_copy_in_utc_is(box):
    box.pass_time(100 * S)
    box.set(NOW)
    named = Span(1, ({"since_ns": 66 * S},))
    run = {"order": "1", "since_ns": 67 * S, "before_good": 69 * S, "waits_for": ("person",), 7: [{"at_ns": 68 * S}]}
    unknown = {"from_ns": 3 * S, "span": named}
    unit = WorkUnitView(
        id="M", state="OFF", state_since_ns=65 * S, queue=(run, run), lots=({"left": None},), unknown=(unknown,)
    )
    view = dataclasses.replace(gateway(box), work_units=(unit,), feeds=(FeedView(name="erp", refused=({"x": [1]},)),))

    def plain(value):
        if isinstance(value, dict):
            return {str(name): plain(item) for name, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    for found, wanted in (
        (to_json(view, box.clock.utc_ns), in_utc(view, box.clock.utc_ns)),
        (to_json(view), view),
    ):
        assert orjson.dumps(found) == orjson.dumps(plain(dataclasses.asdict(wanted)))


def test_the_status_says_that_the_clock_is_not_to_be_believed(box):
    box.pass_time(720 * S)
    text = "\n".join(lines(to_json(gateway(box))))
    assert "clock        shows an impossible date since 1970-01-01T00:01:00.000Z (12 min): times may be off" in text
    box.set(NOW, TimeQuality.UNSYNCHRONISED)
    box.pass_time(5 * S)
    (line,) = clock_lines(to_json(clock_view(box.clock)), box.clock.now_ns())
    assert line == "clock        not synchronised since 2026-11-18T11:06:40.000Z (5 s): times may be off"
    box.set(box.wall)
    assert clock_lines(to_json(clock_view(box.clock)), box.clock.now_ns()) == []


def test_the_status_says_how_far_the_system_s_clock_is_off(box):
    box.set(NOW)
    box.wall, box.quality = box.wall + 3600 * S, TimeQuality.UNSYNCHRONISED
    box.clock.check()
    view = clock_view(box.clock)
    assert (view.quality, view.known) == ("holdover", True)
    assert clock_lines(to_json(view), box.clock.now_ns()) == [
        "clock        the system's clock is +3600.0 s off the gateway's own"
    ]


def test_the_log_names_the_time_without_data_in_utc(box, capsys):
    box.set(NOW)
    narrate("M", [UnknownInterval("plc.n", Role.GOOD, 60 * S, 61 * S, 3, "X", None, None)], box.clock.utc_ns)
    told = capsys.readouterr()
    assert "2026-11-18T11:06:40.000Z" in told.out + told.err
    assert "1970" not in told.out + told.err


async def test_stored_rows_are_shown_as_they_are_known_now(tmp_path, box, capsys):
    """Stored in 1970, listed after the time was learned: by another process, and while the gateway is stopped."""
    async with await Store.open(
        new_database.at(tmp_path / "linegate.db"), now_ns=box.clock.now_ns, max_bytes=2**26
    ) as store:
        posting = NewPosting("erp", "k/1", "m1", "4711", "10", 1, "partial", b"{}", box.clock.now_ns())
        await store.commit(Step("M", b"{}", box.clock.now_ns(), (), (posting,), ()))
        row = NewAuditRow(
            at_ns=box.clock.now_ns(), actor="ann", action="write", entity="plc.n", old=None, new="1", reason="",
            outcome=AuditOutcome.DONE, detail="", about=None,
        )  # fmt: skip
        at_ns, unknown = box.clock.now_ns(), box.clock.quality.value
        common = EntryContent(at_ns, at_ns, unknown, 0, "UTC", "ann", "operator", "", "", "write", "event", "signal")
        await audit.add(store, row, common)
        box.pass_time(100 * S)
        box.set(NOW)
        await clock_record.save(store, box.clock.record(), box.clock.corrections)
    with ReadOnlyStore(tmp_path / "linegate.db") as found:
        assert utc_of(found.corrections(), 60 * S) == NOW - 100 * S
    assert main(["outbox", "list", "--json", "-d", str(tmp_path)]) == 0
    (posting,) = json.loads(capsys.readouterr().out)
    assert (posting["created"], posting["last_sent"]) == ("2026-11-18T11:05:00.000Z", None)
    assert main(["audit", "show", "-d", str(tmp_path)]) == 0
    assert "2026-11-18T11:05:00.000Z" in capsys.readouterr().out


def test_a_view_of_the_clock_says_all_of_it(box):
    assert clock_view(box.clock) == ClockView(
        quality="implausible", known=False, since_ns=60 * S, utc_offset_ms=0, offset_ms=0
    )
