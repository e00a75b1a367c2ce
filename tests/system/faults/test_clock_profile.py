"""The wall clock of the daemon jumps by years, past 2038 and through the nights in which the clocks change.

``tests/system/test_time_steps.py`` tries hours and days with libfaketime; here the clock moves live, and far.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import random
import time
from zoneinfo import ZoneInfo

import pytest
import storms
from conservation import counted, rows
from rig import Rig

S = 1_000_000_000
YEAR_S = 365.25 * 86_400
FIXED = 20_261_122
BERLIN = ZoneInfo("Europe/Berlin")
#: Two seconds before the clocks are put back and on, in Berlin; and before 32 bits are full.
AUTUMN_S = dt.datetime(2026, 10, 25, 0, 59, 58, tzinfo=dt.UTC).timestamp()
SPRING_S = dt.datetime(2027, 3, 28, 0, 59, 58, tzinfo=dt.UTC).timestamp()
Y2038_S = 2**31 - 2.0
#: Timers of the gateway are 1.2 s at the rig's speed.
EVERY_S = 1.2
#: A busy computer looks late; a clock that is followed is off by years.
LATE_S = 300.0
#: How exactly the daemon must show what its clock does.
NEAR_S = 5.0


@pytest.fixture
async def plant(tmp_path, wall):
    """``plant(seed)``: ASM-01; only a timer confirms, and the machine makes some pieces in between."""
    started = []

    async def start(seed):
        rig = Rig(tmp_path, seed=seed, machines=("ASM-01",), speed=25, env={**wall.env, "TZ": "Europe/Berlin"})
        started.append(rig)
        unit = rig.document["work_units"]["ASM-01"]
        unit.pop("calendar", None)
        unit["confirm"] = {"every": "30 s", "min_interval": "0 s"}
        for rule in unit["counters"]:
            rule["slack"] = 400  # on a busy computer the machine comes in bursts, of some seconds
        await rig.open()
        return rig

    yield start
    for rig in started:
        await rig.close()


async def goes_on(rig, pieces=6, posted=1):
    """So many pieces are counted and so many confirmations booked, from now on."""
    view = await rig.status_where(lambda view: view["targets"], "the status")
    before, sent = sum(counted(view["work_units"][0])), view["targets"][0]["posted"]

    def more(view):
        return sum(counted(view["work_units"][0])) >= before + pieces and view["targets"][0]["posted"] >= sent + posted

    return await rig.status_where(more, f"{pieces} pieces and {posted} bookings more")


async def knows(rig, utc_s):
    """The daemon takes what its wall clock shows for the time: the step has reached it."""
    end = time.monotonic() + LATE_S
    while True:
        shown = await rig.ask("status")
        if shown is not None and abs(shown["now_ns"] / S - utc_s()) < NEAR_S:
            return
        if time.monotonic() > end:
            raise rig.failed(f"it shows {shown and shown['now_ns'] / S} s, its clock {utc_s():.0f} s")
        await asyncio.sleep(0.1)


async def looked(rig):
    """The status, and the seconds of this computer's steady clock between which the daemon gave it."""
    before_s = time.monotonic()
    view = await rig.status_where(lambda _view: True, "the status")
    return view, (before_s, time.monotonic())


def timers_ns(rig):
    """The steady instants at which the timer confirmed."""
    found = rows(rig.state_dir / "linegate.db", "SELECT body FROM journal WHERE kind = 'job' ORDER BY seq")
    return [body["at_ns"] for body in (json.loads(row["body"]) for row in found) if body["trigger"] == "timer"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("seed", "number"), [(FIXED, 6), *(pytest.param(FIXED + one, 24, marks=pytest.mark.soak) for one in range(1, 8))]
)
async def test_years_32_bits_and_clock_changes_move_no_count_no_order_no_timer_and_no_key(plant, wall, seed, number):
    rng = random.Random(seed)
    moments = {
        "ten years on": lambda: wall.set(10 * YEAR_S),
        "ten years back": lambda: wall.set(-10 * YEAR_S),
        "1970": lambda: wall.show(60.0),
        "just before 2038": lambda: wall.show(Y2038_S),
        "the night of autumn": lambda: wall.show(AUTUMN_S),
        "the night of spring": lambda: wall.show(SPRING_S),
    }
    wall.show(60.0)  # a box without a battery
    rig = await plant(seed)
    view, began_s = await looked(rig)
    assert view["clock"]["quality"] == "implausible", rig.failed(view["clock"])
    began_ns = view["now_ns"]
    await rig.produce()
    names = []
    while len(names) < number:
        names += rng.sample(sorted(moments), len(moments))
    kills = set(rng.sample(range(number), 2))
    for step, name in enumerate(names[:number]):
        rig.note(name)
        if step in kills:  # while it is down
            await rig.kill(start=False)
            moments[name]()
            rig.start()
            await rig.ready()
        else:  # while pieces are made
            moments[name]()
        await goes_on(rig)
        if name == "ten years on":
            await knows(rig, wall.utc)
    view, ended_s = await looked(rig)
    passed_s = (view["now_ns"] - began_ns) / S
    least_s, most_s = ended_s[0] - began_s[1], ended_s[1] - began_s[0]
    assert least_s - NEAR_S < passed_s < most_s + NEAR_S, rig.failed(f"steady time passed by {passed_s} s")
    wall.set(0)
    await knows(rig, time.time)
    await goes_on(rig)
    await rig.settled()
    view = rig.check()
    (unit,) = view["work_units"]
    assert (unit["review_pieces"], unit["unknown"]) == (0, []), rig.failed(unit)
    apart = [(later - earlier) / S for earlier, later in itertools.pairwise(timers_ns(rig))]
    assert apart, rig.failed("no timer")
    assert max(apart) < LATE_S, rig.failed(f"a timer was put off: {apart}")
    made = rows(rig.state_dir / "linegate.db", "SELECT created_ns FROM outbox ORDER BY id")
    times = [row["created_ns"] for row in made]
    assert times == sorted(times), rig.failed("confirmations are out of order")
    storms.say(f"seed {seed}: {names[:number]}, timers at most {max(apart):.2f} s apart")


@pytest.mark.parametrize("night_s", [AUTUMN_S, pytest.param(SPRING_S, marks=pytest.mark.soak)])
async def test_the_night_itself(plant, wall, night_s):
    """Daemon and plant live through the very change, in the zone in which it happens."""
    wall.show(night_s)
    rig = await plant(FIXED)
    await rig.produce()
    await rig.status_where(lambda _view: wall.utc() > night_s + 2 + EVERY_S, "the change")
    await goes_on(rig)
    await rig.settled()
    rig.check()
    documents = [
        json.loads(row["payload"])
        for row in rows(rig.state_dir / "linegate.db", "SELECT payload FROM outbox WHERE kind <> 'ack' ORDER BY id")
    ]
    stamps = [dt.datetime.fromisoformat(one["created_at"]) for one in documents]
    assert stamps == sorted(stamps), rig.failed(stamps)
    assert all(night_s - 5 < one.timestamp() < wall.utc() + 1 for one in stamps), rig.failed(stamps)
    zones = {one.astimezone(BERLIN).utcoffset() for one in (stamps[-1], dt.datetime.fromtimestamp(night_s, dt.UTC))}
    assert len(zones) == 2, "it was lived through"
