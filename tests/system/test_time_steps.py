"""A wall clock that lies: the daemon starts in 1970, its clock is set while pieces are made, and between two runs.

libfaketime moves the wall clock of the daemon alone; its monotonic clock, the machines and the ERP go by the real time.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import json
import os
import sqlite3
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)  # they take 60 s together, on a computer that has nothing else to do

S = 10**9
BUSY_S = 90.0
DAY_S = 86_400
#: A cycle at the plant's speed is less than 0.4 s, and a timer is due every two seconds. A busy computer may look much
#: later; a clock that is followed is off by hours.
CYCLE_MAX_NS = 60 * S
#: The gateway looks at its clock every 2 s.
NEAR_S = 5.0
CONFIRM_S = 2.0
#: Two readings of the same clock, besides the time that it takes to ask.
STEADY_NS = S // 10
STEP_MIN_S = 3600
#: As the wall clock is tried, not the speed of the computer, the fast machine is a slow one.
SLOWER = {"ASM-01": "10", "IMM-01": "50"}
LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")


class WallClock:
    """What the daemon takes for the wall clock; may be set while it runs."""

    def __init__(self, library, file):
        self._file = file
        self.env = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",  # seconds; to read the file at every look costs more than the daemon
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # it makes the interpreter's threads spin
            "NO_FAKE_STAT": "1",
        }
        self.set(0)

    def set(self, ahead_s):
        """So many seconds ahead of the real time; negative: behind."""
        self.ahead_s = ahead_s
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{ahead_s:+.6f}\n")
        draft.replace(self._file)

    def utc(self):
        return time.time() + self.ahead_s


@pytest.fixture
def wall(tmp_path):
    found = next((path for pattern in LIBRARIES for path in Path("/").glob(pattern[1:])), None)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("libfaketime is not installed: apt-get install faketime")
        pytest.skip("libfaketime is not installed")
    return WallClock(found, tmp_path / "wall-clock")


@pytest.fixture
async def line(plant, wall):
    """Two machines whose gaps between cycles say what they do; nothing but the timer confirms."""
    plant.keep("ASM-01", "IMM-01")
    plant.document.pop("tests", None)  # they speak of the machines as they are in the demo
    units = plant.document["work_units"]
    for rule in units["IMM-01"]["counters"]:
        rule["max_rate"] = "400 /min"  # how long a box was without power is not known, and a busy computer is long off
    for unit in units.values():
        unit["state"] = {"stop_detect": "400 s"}  # 8 s at the plant's speed
        unit.pop("calendar", None)  # a day ahead it may be a Sunday
        unit["confirm"] = {"every": f"{CONFIRM_S * 50} s"}
    for source, pause in (("asm", "scan"), ("imm", "publish")):  # 50 ms at the plant's speed
        # Whoever waits for a processor that long is no lost link.
        plant.document["sources"][source].update({"stale_after": "6 s", "timeout": "30 s", pause: "2500 ms"})
    await plant.start_erp()
    for unit, center in (("ASM-01", "WC-ASM"), ("IMM-01", "WC-IMM")):
        await plant.start_machine(unit, "--speed", SLOWER[unit])
        await plant.release(f"for {unit}", ("0010", center), quantity=100_000)
    return plant


async def started(plant, wall):
    await plant.run(env=wall.env)
    return await plant.ready()


async def made(plant, pieces):
    """Wait until both machines made so many more and the gateway counted them."""
    now = {unit["id"]: unit["counted_good"] for unit in (await plant.status())["work_units"]}

    def enough(view):
        return all(unit["counted_good"] >= now[unit["id"]] + pieces for unit in view["work_units"])

    return await plant.status_where(enough, f"{pieces} pieces more than {now}", BUSY_S)


async def utc_is(plant, utc_s, quality=("trusted", "synchronised")):
    """Wait until the gateway shows this UTC (a function), with one of these words for who vouches for it."""

    def shown(view):
        return abs(view["now_ns"] / S - utc_s()) < 1.0 and view["clock"]["quality"] in quality

    return await plant.status_where(shown, f"UTC {utc_s():.0f}, {quality}")


class SteadyTime:
    """The gateway's steady time beside this computer's, as long as it takes to ask for it."""

    def __init__(self, now_ns, before_ns, behind_ns):
        self.now_ns, self.before_ns, self.behind_ns = now_ns, before_ns, behind_ns

    @classmethod
    async def of(cls, plant):
        before_ns = time.monotonic_ns()
        now_ns = (await plant.ask("status", steady=True))["now_ns"]
        return cls(now_ns, before_ns, time.monotonic_ns())

    def off_ns(self, earlier):
        """By how much it went on too fast (or too slowly: negative) since then; within what it took to ask, 0."""
        passed_ns = self.now_ns - earlier.now_ns
        least_ns, most_ns = self.before_ns - earlier.behind_ns, self.behind_ns - earlier.before_ns
        return max(0, passed_ns - most_ns) or min(0, passed_ns - least_ns)


def database_of(plant):
    return contextlib.closing(sqlite3.connect(f"file:{plant.state_dir / 'linegate.db'}?mode=ro", uri=True))


def journal(plant, kind, unit=None):
    with database_of(plant) as database:
        rows = database.execute("SELECT work_unit, body FROM journal WHERE kind = ? ORDER BY work_unit, seq", (kind,))
        return [json.loads(body) for name, body in rows if unit in (None, name)]


def cycles_ns(plant, unit="IMM-01"):
    """The times from piece to piece as the gateway dated them."""
    begun = [row["t_from_ns"] for row in journal(plant, "pieces", unit) if row["role"] == "good"]
    return [later - earlier for earlier, later in itertools.pairwise(begun)]


def states(plant, unit):
    """What the machine was seen to do, in order."""
    return [row["state"] for row in journal(plant, "state", unit)]


def timers(plant, unit):
    """When the timer confirmed."""
    return [row["at_ns"] for row in journal(plant, "job", unit) if row["trigger"] == "timer"]


async def confirmed_by_timers(plant, times):
    """Wait until the timer of each machine confirmed so often from now on."""
    due = {unit: len(timers(plant, unit)) + times for unit in plant.machines}
    await plant.status_where(
        lambda _view: all(len(timers(plant, unit)) >= number for unit, number in due.items()), "timers"
    )


def between(found):
    """What it was seen to do between the beginning of the production and its end."""
    last = len(found) - found[::-1].index("PRODUCING") - 1
    return [state for state in found[found.index("PRODUCING") : last] if state != "PRODUCING"]


async def confirmed(plant):
    """Every confirmation, oldest first: when it is listed as made, and its canonical document."""
    listed = await plant.outbox()
    with database_of(plant) as database:
        documents = {key: json.loads(payload) for key, payload in database.execute("SELECT key, payload FROM outbox")}
    return [(seconds(one["created"]), documents[one["key"]]) for one in reversed(listed)]


def seconds(text):
    return dt.datetime.fromisoformat(text).timestamp()


async def adds_up(plant):
    """Every piece the machines made is confirmed or open, once."""
    await plant.halt()
    await plant.status_where(lambda view: not view["targets"][0]["waiting"], "everything sent", BUSY_S)
    result = await plant.arrived()
    assert result.balanced, json.dumps(result.to_json(), indent=1)
    assert [(row.unknown, row.review) for row in result.machines] == [(0, 0)] * len(result.machines), result.to_json()
    return result


async def test_a_box_without_a_battery_starts_in_1970_and_learns_the_time_while_pieces_are_made(line, wall):
    began = time.time()
    wall.set(60 - began)  # 1970-01-01T00:01:00Z
    view = await started(line, wall)
    assert (view["clock"]["quality"], view["clock"]["known"]) == ("implausible", False)
    assert view["now_ns"] < DAY_S * S
    code, text, err = await line.cli("status", "-d", line.state_dir)
    assert code == 0, err
    assert "shows an impossible date since 1970-01-01T00:01" in text
    assert "times may be off" in text
    await line.produce()
    await line.status_where(lambda view: view["targets"][0]["posted"] >= 2, "confirmations without a date")
    right_s = time.time()
    wall.set(0)
    view = await utc_is(line, time.time)
    code, text, err = await line.cli("status", "-d", line.state_dir)
    assert "times may be off" not in text
    known = time.time()
    assert all(began - NEAR_S < source["since_ns"] / S < known + 1 for source in view["sources"]), (
        "earlier instants are right, too"
    )
    await made(line, 16)
    posted = view["targets"][0]["posted"]
    await line.status_where(lambda view: view["targets"][0]["posted"] >= posted + 2, "confirmations with a date")
    await adds_up(line)
    for unit in ("ASM-01", "IMM-01"):
        assert between(states(line, unit)) == [], "no stop was invented"
        assert 0 <= min(cycles_ns(line, unit)) <= max(cycles_ns(line, unit)) < CYCLE_MAX_NS
    assert journal(line, "notice") == [], "the OPC UA server's clock is right, and so was its stamp all along"
    documents = await confirmed(line)
    early = [document for _, document in documents if "CLOCK_NOT_SYNCHRONISED" in document["data_quality_flags"]]
    late = [document for _, document in documents if "CLOCK_NOT_SYNCHRONISED" not in document["data_quality_flags"]]
    assert early
    assert all(seconds(document["created_at"]) < DAY_S for document in early), "as it was known then"
    assert late
    for document in late:
        assert right_s - NEAR_S < seconds(document["created_at"]) < time.time() + 1
        assert began < seconds(document["period"]["from"])
        assert began < seconds(document["event_time_last"])
    listed = [made_s for made_s, _ in documents]
    assert began < min(listed)
    assert max(listed) < time.time(), "stored times are shown as they are known now"


async def test_a_clock_that_is_set_back_an_hour_and_on_by_a_day_moves_no_count_no_state_and_no_timer(line, wall, until):
    await started(line, wall)
    begun_ns = time.monotonic_ns()
    await line.produce()
    await made(line, 8)
    steady = await SteadyTime.of(line)
    for step_s in (-STEP_MIN_S, DAY_S):
        wall.set(step_s)
        await utc_is(line, wall.utc)
        await confirmed_by_timers(line, 2)
    wall.set(0)
    await utc_is(line, time.time)
    now = await SteadyTime.of(line)
    assert abs(now.off_ns(steady)) < STEADY_NS, "the steady time went on as if nothing happened"
    await adds_up(line)

    # The end of the order ends what the machine did in it; that is final some seconds later.
    await line.ask("order.finish", machine="IMM-01", order="for IMM-01", who="ann")

    def production():
        return [one for one in journal(line, "interval", "IMM-01") if one.get("order") and one["state"] != "UNKNOWN"]

    (last_ns,) = [row["at_ns"] for row in journal(line, "job", "IMM-01") if row["record"]["state"] == "COMPLETED"]
    await until(lambda: production() and production()[-1]["to_ns"] >= last_ns, "the final intervals of the order")
    for unit in ("ASM-01", "IMM-01"):
        assert between(states(line, unit)) == [], "no stop was invented"
        assert 0 <= min(cycles_ns(line, unit)) <= max(cycles_ns(line, unit)) < CYCLE_MAX_NS
        apart = [later - earlier for earlier, later in itertools.pairwise(timers(line, unit))]
        assert CONFIRM_S * S <= min(apart) <= max(apart) < CYCLE_MAX_NS, "no timer fell due early, none was put off"
    intervals = journal(line, "interval", "IMM-01")
    assert all(one["to_ns"] == after["from_ns"] for one, after in itertools.pairwise(intervals)), "without a gap"
    pieces = journal(line, "pieces", "IMM-01")
    first_ns, last_ns = pieces[0]["t_from_ns"], pieces[-1]["at_ns"]
    made_in = [one for one in intervals if one.get("order") and first_ns <= one["from_ns"] < last_ns]
    # Where the computer is so busy that a machine was not heard for a moment, that is told, and no stop.
    assert {one["state"] for one in made_in} <= {"PRODUCING", "UNKNOWN"}, made_in
    apart_ns = made_in[-1]["to_ns"] - made_in[0]["from_ns"] - (time.monotonic_ns() - begun_ns)
    assert abs(apart_ns) < STEP_MIN_S * S / 2, "its length is the real one"


async def test_a_restart_in_the_same_boot_goes_on_whatever_the_wall_clock_says(line, wall):
    await started(line, wall)
    await line.produce()
    await made(line, 8)
    steady = await SteadyTime.of(line)
    assert (await line.daemon.stop())[0] == 0
    wall.set(-2 * DAY_S)
    await started(line, wall)
    now = await SteadyTime.of(line)
    assert abs(now.off_ns(steady)) < STEADY_NS, "the same axis, exactly"
    await utc_is(line, wall.utc)
    await made(line, 8)
    wall.set(0)
    await utc_is(line, time.time)
    known = time.time()
    await made(line, 8)
    await confirmed_by_timers(line, 1)
    await adds_up(line)
    times = [row["at_ns"] for row in journal(line, "pieces", "IMM-01")]
    assert times == sorted(times)
    assert set(between(states(line, "IMM-01"))) <= {"UNKNOWN"}, "not known while the gateway was off; no stop"
    listed = [made_s for made_s, _ in await confirmed(line)]
    assert known - NEAR_S < listed[-1] < time.time() + 1


async def test_after_a_power_cut_a_clock_in_the_past_of_the_last_commit_loses_and_doubles_nothing(line, wall, until):
    await started(line, wall)
    await line.produce()
    await made(line, 8)
    last_ns = (await line.ask("status", steady=True))["now_ns"]
    line.daemon.kill()
    await line.daemon.ended()
    # The box itself cannot be switched off here: this is what makes another boot of it.
    with contextlib.closing(sqlite3.connect(line.state_dir / "linegate.db")) as database, database:
        database.execute("UPDATE clock SET boot_id = 'before the power cut'")
    wall.set(-3 * DAY_S)
    await started(line, wall)
    view = await line.ask("status", steady=True)
    assert last_ns - S < view["now_ns"] < last_ns + 60 * S, "never below what was committed"
    await utc_is(line, wall.utc)
    await made(line, 8)
    wall.set(0)
    await utc_is(line, time.time)
    known = time.time()
    await until(lambda: time.time() > known + NEAR_S, "the time at which every machine was told")
    await confirmed_by_timers(line, 2)  # the first may have been made before and seen after it
    result = await adds_up(line)
    assert (result.duplicate_keys, result.gaps) == ((), ())
    for unit in ("ASM-01", "IMM-01"):
        times = [row["at_ns"] for row in journal(line, "pieces", unit)]
        assert times == sorted(times)
        assert min(cycles_ns(line, unit)) >= 0
    late = [document for made_s, document in await confirmed(line) if made_s > known + NEAR_S]
    assert late
    for document in late:
        assert known < seconds(document["created_at"]) < time.time() + 1
        assert seconds(document["created_at"]) - seconds(document["period"]["from"]) < 60


def test_the_wall_clock_of_the_daemon_can_be_set_here(wall):
    """What the others stand on: the wall clock lies, the monotonic one does not."""
    wall.set(-DAY_S)

    async def shown():
        script = "import time; print(time.time(), time.monotonic())"
        process = await asyncio.create_subprocess_exec(
            "python3", "-c", script, stdout=asyncio.subprocess.PIPE, env={**os.environ, **wall.env}
        )
        return (await process.communicate())[0].split()

    faked, steady = map(float, asyncio.run(shown()))
    assert abs(faked - wall.utc()) < 30
    assert abs(steady - time.monotonic()) < 30
