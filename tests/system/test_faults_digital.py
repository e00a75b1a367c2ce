"""Every fault of simulated digital inputs as their driver sees it: told, ended without a hand, every edge in order."""

from __future__ import annotations

import itertools
import os
import signal
import time

import pytest
import pytest_asyncio

from gateway.core.model import Status

pytestmark = pytest.mark.asyncio(loop_scope="module")

BACKOFF_MAX_S = 1.0
WITHIN_S = 2 * BACKOFF_MAX_S
#: The simulator speaks every 200 ms; the driver takes it for dead after 2 s.
SILENCE_S = 2.0
BUSY_MAX_S = 1.0
FOR_EVER = 80_000
SIGNALS = {"carton": {"pin": 17}, "reject": {"pin": 27}, "running": {"pin": 22, "kind": "level"}, "fault": {"pin": 23}}


class Box:
    """The inputs and where they are."""

    def __init__(self, folder):
        self.folder = folder
        self.path = folder / "pins.sock"
        self.machine = None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def box(simulate, tmp_path_factory):
    box = Box(tmp_path_factory.mktemp("box"))
    box.machine = await simulate("pck-01", "--socket", box.path, "--speed", 100, "--steady")
    return box


@pytest.fixture
def connected(watch, until):
    async def connect(box):
        await box.machine.command("faults off")
        settings = {"driver": "digital_io", "pins": "simulated", "signals": SIGNALS}
        # The machine never has a fault here: its lamp is dark whatever happens to the wire.
        truths = {name: lambda value: type(value) is bool for name in SIGNALS} | {"fault": lambda value: value is False}
        source = watch(settings, tuple(SIGNALS), truths=truths, folder=box.folder)
        await until(lambda: source.after(0.0), lambda: f"the first levels; {source.status}")
        return source

    return connect


async def is_told(source, until, within_s):
    await until(lambda: source.status.state == "down", lambda: f"the loss; {source.status}", within_s)
    assert "simulator" in source.status.last_error
    assert {value.status for _at_s, value in source.last.values()} == {Status.BAD}
    waits = await until(
        lambda: [one.next_retry_ns - at_ns for at_ns, one in source.statuses if one.next_retry_ns], "the next attempt"
    )
    assert max(waits) <= BACKOFF_MAX_S * 1e9
    return time.monotonic()


async def edges_come_again(source, until, since_s):
    """Levels of all inputs, and edges of the one that moves."""
    await until(lambda: source.after(since_s), lambda: f"levels; {source.status}", WITHIN_S)
    await until(
        lambda: len({value.value for value in source.since(since_s, "carton") if value.status is Status.GOOD}) > 1,
        lambda: f"edges; {source.status}",
    )
    assert source.status.state == "up"
    assert source.wrong == []
    assert source.slowest_s < BUSY_MAX_S


async def test_a_wire_that_is_off_is_told_and_ends_by_itself(box, connected, until):
    source = await connected(box)
    await box.machine.command(f"cut {FOR_EVER}")
    lost_s = await is_told(source, until, WITHIN_S)
    await until(lambda: source.status.next_retry_ns is None, "another attempt")
    assert [value for value in source.since(lost_s) if value.status is not Status.BAD] == []
    ended_s = time.monotonic()
    await box.machine.command("faults off")
    await edges_come_again(source, until, ended_s)


async def test_inputs_that_hang_are_told_and_read_again_when_they_go_on(box, connected, until):
    source = await connected(box)
    os.kill(box.machine.pid, signal.SIGSTOP)
    try:
        await is_told(source, until, SILENCE_S + WITHIN_S)
    finally:
        ended_s = time.monotonic()
        os.kill(box.machine.pid, signal.SIGCONT)
    await edges_come_again(source, until, ended_s)


async def test_inputs_that_die_are_read_again_when_others_take_their_place(box, connected, simulate, until):
    source = await connected(box)
    box.machine.kill()
    await is_told(source, until, WITHIN_S)
    ended_s = time.monotonic()
    box.machine = await simulate("pck-01", "--socket", box.path, "--speed", 100, "--steady")
    await edges_come_again(source, until, ended_s)


@pytest.mark.parametrize("fault", ["bounce on 40 12", "double 300 1000", f"stuck {FOR_EVER}"])
async def test_what_a_contact_does_is_no_fault_of_the_link(box, fault, connected, until):
    source = await connected(box)
    await box.machine.command(fault)
    since_s = time.monotonic()
    await until(lambda: source.after(since_s), "levels")
    if fault.startswith("stuck"):
        await until(lambda: source.last["plc.carton"][1].value is True, "the stuck level")
    ended_s = time.monotonic()
    await box.machine.command("faults off")
    await edges_come_again(source, until, ended_s)
    assert source.status.reconnects == 0


async def test_every_edge_is_delivered_in_order_with_its_own_time(box, connected, until):
    source = await connected(box)
    await box.machine.command("bounce on 40 12")
    # A carton every 0.54 s, up and down, with 40 extra edges each.
    await until(lambda: len(source.since(0.0, "carton")) > 200, "edges")
    stamps = [value.source_time_ns for value in source.since(0.0, "carton")]
    assert stamps == sorted(stamps)
    changes = [value.value for value in source.since(0.0, "carton")]
    repeated = sum(one == other for one, other in itertools.pairwise(changes))
    seconds = (stamps[-1] - stamps[0]) / 1e9
    assert repeated <= 2 * (seconds + 1)  # the levels of every second, and no edge without its counterpart
    assert source.wrong == []
