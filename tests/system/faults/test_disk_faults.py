"""The card is full, read-only, broken or slow while the plant produces, and well again: nothing is lost or doubled.

The gateway may end itself and be started again, as a service manager does; it must not invent, lose or forget.
"""

from __future__ import annotations

import asyncio
import time

import pytest
from rig import Rig

SEED = 20_261_124
#: From the end of the fault until values are read and can be written again. For the long forms, which run alone.
WELL_AGAIN_S = 15.0
QUICK_S = 10.0
ROOM_BYTES = 96 * 1024


async def trouble(rig):
    """The fault lasts for a moment that is random, with pieces in it."""
    before = sum(rig.made("ASM-01"))
    await asyncio.sleep(rig.rng.uniform(0.2, 0.8))
    end = time.monotonic() + 120
    while sum(rig.made("ASM-01")) == before:
        assert time.monotonic() < end, rig.failed("the machine makes nothing")
        await asyncio.sleep(0.02)


async def full(rig):
    rig.card(f"quota {rig.card('stats')['used'] + rig.rng.choice((0, ROOM_BYTES))}")
    await trouble(rig)
    rig.card("quota off")


async def read_only(rig):
    rig.card("ro on")
    await trouble(rig)
    rig.card("ro off")


async def read_only_at_the_start(rig):
    """A process that began on a read-only card: SQLite keeps its view of the file for as long as the process lives."""
    rig.card("ro on")
    await rig.kill()
    await trouble(rig)
    rig.card("ro off")


async def writes_fail(rig):
    rig.card(f"eio write {rig.rng.choice((1, 3, -1))}")
    await trouble(rig)
    rig.card("eio write 0")


async def flushes_fail(rig):
    rig.card(f"eio fsync {rig.rng.choice((1, 3, -1))}")
    await trouble(rig)
    rig.card("eio fsync 0")


async def flushes_fail_and_the_power(rig):
    """What a failed flush left in memory looks written, and is not: the cut shows whether anybody trusted it."""
    rig.card(f"eio fsync {rig.rng.choice((1, 2))}")
    await trouble(rig)
    rig.card("eio fsync 0")
    await rig.power_cut("drop")


async def reads_fail(rig):
    rig.card("eio read -1")
    await trouble(rig)
    rig.card("eio read 0")


PROFILES = (
    full, read_only, read_only_at_the_start, writes_fail, flushes_fail, flushes_fail_and_the_power, reads_fail,
)  # fmt: skip


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("rounds", [1, pytest.param(30, marks=pytest.mark.soak)])
async def test_a_card_that_fails_and_is_well_again(tmp_path, card, rounds):
    async with Rig(tmp_path / "plant", seed=SEED, card=card) as rig:
        await rig.open()
        await rig.produce()
        for _ in range(rounds):
            for profile in rig.rng.sample(PROFILES, len(PROFILES)):
                rig.note(f"card: {profile.__name__}")
                await profile(rig)
                rig.note("card: well again")
                began_s, made = time.monotonic(), sum(rig.made("ASM-01"))

                def caught_up(view, made=made):
                    (unit,) = view["work_units"]
                    return view["sources"][0]["state"] == "up" and unit["counted_good"] + unit["counted_scrap"] >= made

                await rig.status_where(caught_up, f"counting again after {profile.__name__}")
                took_s = time.monotonic() - began_s
                assert rounds == 1 or took_s < WELL_AGAIN_S, rig.failed(
                    f"{profile.__name__}: well again after {took_s:.1f} s"
                )
        await rig.settled()
        rig.check()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("stall_ms", [500, pytest.param(3000, marks=pytest.mark.soak)])
async def test_a_card_that_stalls(tmp_path, card, stall_ms):
    """Every flush takes long: the watchdog bites nobody, and afterwards everything is as quick as before."""
    async with Rig(tmp_path / "plant", seed=SEED, card=card, watchdog_s=10 if stall_ms < 1000 else 40) as rig:
        await rig.open()
        await rig.produce()
        rig.note(f"card: {stall_ms} ms a flush")
        card(f"slowsync {stall_ms}")
        flushes = card("stats")["fsyncs"]
        end = time.monotonic() + 120 + stall_ms / 10
        while card("stats")["fsyncs"] < flushes + 4:
            assert time.monotonic() < end, rig.failed("it does not write any more")
            await asyncio.sleep(0.05)
        card("slowsync 0")
        rig.note("card: well again")
        await rig.settled()
        assert rig.ends == [], rig.failed(f"it ended: {rig.ends}")
        assert rig.watchdog_kills == 0, rig.failed("the watchdog was not fed")
        view = rig.check()
        # Flat again: what is made now is booked as quickly as ever.
        await rig.produce()
        began_s, booked = time.monotonic(), view["targets"][0]["posted"]
        await rig.status_where(lambda now: now["targets"][0]["posted"] > booked + 2, "confirmations to be booked")
        assert stall_ms < 1000 or time.monotonic() - began_s < QUICK_S, rig.failed("it is still slow")
        await rig.settled()
        rig.check()
