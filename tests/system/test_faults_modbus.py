"""Every fault of a Modbus link, on TCP and on a serial line: nothing wrong is GOOD, and it ends without a hand."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

import pytest
import pytest_asyncio

from gateway.core.model import Status

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMEOUT_MS = 250
BACKOFF_MAX_S = 1.0
WITHIN_S = 2 * BACKOFF_MAX_S
#: A single signal that the device refuses has a back-off of its own: 1 s, 2 s, 4 s ..., up to one minute.
WITHIN_REFUSED_S = 4.5
#: Longer than a process waits for a processor, where nothing hangs on the time limit and no link may be lost.
PATIENT = "5 s"
#: A process that shares its processors may wait; one that blocks for a time limit of the driver is not responsive.
BUSY_MAX_S = 1.0
FOR_EVER = 80_000
#: Registers beyond the machine's own have their address as value: an answer to another request shows.
SIGNALS = {
    "good": {"table": "holding", "address": 0},
    "boots": {"table": "holding", "address": 6},
    "job": {"table": "holding", "address": 8, "type": "string", "length": 16},
    "a": {"table": "holding", "address": 300},
    "b": {"table": "holding", "address": 400},
    "c": {"table": "input", "address": 500},
    "wide": {"table": "holding", "address": 600, "type": "uint32"},
    "on": {"table": "discrete", "address": 701},
    "off": {"table": "coil", "address": 700},
}
FIXED = {"a": 300, "b": 400, "c": 500, "wide": 600 << 16 | 601, "on": True, "off": False, "job": "4711-0010"}

LOST = (
    f"cut {FOR_EVER}",
    f"blackhole {FOR_EVER}",
    f"silent {FOR_EVER}",
    f"slow {2 * TIMEOUT_MS} {FOR_EVER}",
    f"late {2 * TIMEOUT_MS} {FOR_EVER}",
    f"torn {2 * TIMEOUT_MS} {FOR_EVER}",
    f"half {FOR_EVER}",
    f"short {FOR_EVER}",
    f"fewer {FOR_EVER}",
    f"more {FOR_EVER}",
    f"wrong-unit {FOR_EVER}",
    f"wrong-function {FOR_EVER}",
    f"garbage {FOR_EVER}",
    f"exception 11 {FOR_EVER}",
)
REFUSED = (f"exception 1 {FOR_EVER}", f"exception 4 {FOR_EVER}", f"exception 6 {FOR_EVER}")
#: What a link has to bear.
BORNE = (f"slow 20 {FOR_EVER}", f"late 20 {FOR_EVER}", f"torn 20 {FOR_EVER}")
ONCE = ("late 375 1", "torn 375 1", "fewer 1", "wrong-unit 1", "wrong-function 1", "garbage 1", "exception 6 1")


class Line(NamedTuple):
    """A machine on one transport, and the settings that read it."""

    machine: object
    settings: dict


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tcp(simulate):
    machine = await simulate("asm-01", "--port", 0, "--speed", 20, "--steady")
    await machine.command("job 4711-0010")
    return Line(machine, {"host": "127.0.0.1", "port": machine.ready["port"]})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rtu(simulate, tmp_path_factory):
    link = tmp_path_factory.mktemp("line") / "tty"
    machine = await simulate("asm-01", "--transport", "rtu", "--link", link, "--speed", 20, "--steady")
    await machine.command("job 4711-0010")
    return Line(machine, {"transport": "rtu", "device": str(link), "serial": {"parity": "none"}, "quiet_time": "150ms"})


@pytest.fixture
def on_both(tcp, rtu):
    """Run a check on both transports at the same time: nearly all of it is waiting."""

    async def run(check, *arguments):
        async def one(line):
            try:
                await check(line, *arguments)
            except BaseException as error:
                error.add_note(f"on {line.settings}")
                raise

        async with asyncio.TaskGroup() as group:
            for line in (tcp, rtu):
                group.create_task(one(line))

    return run


@pytest.fixture
def connected(watch, rising, until):
    """A running source that has read everything once."""

    async def connect(line, backoff_max_ns=int(BACKOFF_MAX_S * 1e9), **more):
        await line.machine.command("faults off")
        settings = {
            "driver": "modbus", "scan": "40 ms", "timeout": f"{TIMEOUT_MS} ms", "signals": SIGNALS, **line.settings,
            **more,
        }  # fmt: skip
        truths = {name: fixed(value) for name, value in FIXED.items()}
        source = watch(settings, tuple(SIGNALS), truths={**truths, "good": rising()}, backoff_max_ns=backoff_max_ns)
        await until(lambda: source.after(0.0), lambda: f"the first values; {source.status}")
        return source

    return connect


def fixed(right):
    return lambda value: value == right and type(value) is type(right)


async def flows_again(source, machine, until, within_s=WITHIN_S):
    """End all faults; every signal must have a new GOOD value in time."""
    ended_s = time.monotonic()
    await machine.command("faults off")
    await until(lambda: source.after(ended_s), lambda: f"values after the fault; {source.status}", within_s)


async def nothing_was_wrong(source, machine):
    # In this order: while the machine is asked, it makes more, and that is read, too.
    counted = max(value.value for value in source.since(0.0, "good") if value.status is Status.GOOD)
    made = (await machine.command("totals"))["good_total"]
    assert counted <= made
    assert source.wrong == []
    assert source.slowest_s < BUSY_MAX_S


@pytest.mark.parametrize("fault", LOST)
async def test_a_fault_of_the_link_is_told_and_ends_by_itself(fault, connected, until, on_both):
    async def check(line):
        source, machine = await connected(line), line.machine
        begun_ns = time.time_ns()
        await machine.command(fault)
        down = await until(
            lambda: source.status.state == "down" and source.status, lambda: f"the loss; {source.status}", WITHIN_S
        )
        lost_s = time.monotonic()
        assert down.since_ns >= begun_ns
        assert down.last_value_ns is not None
        assert str(line.settings.get("device") or line.settings["port"]) in down.last_error
        assert {value.status for _at_s, value in source.last.values()} == {Status.BAD}
        waits = await until(
            lambda: [one.next_retry_ns - at_ns for at_ns, one in source.statuses if one.next_retry_ns],
            "the next attempt",
        )
        assert max(waits) <= BACKOFF_MAX_S * 1e9
        failures = source.status.failures
        await until(lambda: source.status.failures > failures, "another attempt in vain", 2 * WITHIN_S)
        assert [value for value in source.since(lost_s) if value.status is not Status.BAD] == []
        await flows_again(source, machine, until)
        assert source.status.state == "up"
        assert source.status.last_error
        await nothing_was_wrong(source, machine)

    await on_both(check)


@pytest.mark.parametrize("fault", REFUSED)
async def test_refusals_are_problems_of_signals_not_of_the_link(fault, connected, until, on_both):
    async def check(line):
        source, machine = await connected(line, timeout=PATIENT), line.machine
        await machine.command(fault)
        problems = await until(
            lambda: len(source.status.problems) == len(SIGNALS) and source.status.problems,
            lambda: f"all signals refused; {source.status}",
        )
        assert source.status.state == "up"
        assert all(f"exception {fault.split()[1]}" in reason for reason in problems.values())
        assert {value.status for _at_s, value in source.last.values()} == {Status.BAD}
        await flows_again(source, machine, until, WITHIN_REFUSED_S)
        await until(lambda: not source.status.problems, "no problems any more")
        assert source.status.reconnects == 0
        await nothing_was_wrong(source, machine)

    await on_both(check)


@pytest.mark.parametrize("fault", BORNE)
async def test_a_slow_link_is_still_a_link(fault, connected, until, on_both):
    async def check(line):
        source, machine = await connected(line, scan="200 ms", timeout=PATIENT), line.machine
        await machine.command(fault)
        for _ in range(2):
            since_s = time.monotonic()
            await until(lambda since_s=since_s: source.after(since_s), lambda: f"values; {source.status}")
        await flows_again(source, machine, until)
        assert source.status.reconnects == 0
        await nothing_was_wrong(source, machine)

    await on_both(check)


async def test_a_single_spoilt_answer_is_never_taken_for_another(connected, until, on_both):
    """One request a signal: each answer has the length of the next one's."""

    async def check(line):
        source, machine = await connected(line, batching="single"), line.machine

        async def used_up():
            return not (await machine.command("faults show"))["faults"]

        for fault in ONCE:
            await machine.command(fault)
            await until(used_up, f"{fault!r} to happen")
            happened_s = time.monotonic()
            await until(lambda since_s=happened_s: source.after(since_s), f"values after {fault!r}", WITHIN_S)
        assert source.status.reconnects >= len(ONCE) - 2
        await nothing_was_wrong(source, machine)

    await on_both(check)


async def test_a_late_answer_on_a_line_never_meets_the_next_question(rtu, connected, until):
    """Nothing in it says what it answers. The next attempt comes at once here, and asks all the time."""
    source, machine = await connected(rtu, batching="single", backoff_max_ns=1_000_000), rtu.machine
    await machine.command(f"slow 25 {FOR_EVER}")
    for times in range(1, 7):
        await machine.command(f"late {TIMEOUT_MS + 50} 1")
        await until(lambda times=times: source.status.reconnects >= times, lambda: f"the link; {source.status}")
        again_s = time.monotonic()
        await until(lambda since_s=again_s: source.after(since_s), "values")
    await nothing_was_wrong(source, machine)


@pytest.mark.parametrize("fault", ["crc", "noise"])
async def test_a_serial_line_that_is_disturbed_brings_no_wrong_value(rtu, fault, connected, until):
    source, machine = await connected(rtu, timeout="100 ms"), rtu.machine
    await machine.command(f"crc {FOR_EVER}" if fault == "crc" else f"noise 30 {FOR_EVER}")
    await until(lambda: source.status.state == "down", lambda: f"the loss; {source.status}", WITHIN_S)
    lost_s = time.monotonic()
    failures = source.status.failures
    await until(lambda: source.status.failures > failures + 1, "more attempts", 3 * WITHIN_S)
    if fault == "crc":
        assert [value for value in source.since(lost_s) if value.status is not Status.BAD] == []
    await flows_again(source, machine, until)
    await nothing_was_wrong(source, machine)


async def test_a_restart_of_the_plc_reaches_the_core_as_evidence(connected, until, on_both):
    async def check(line):
        source, machine = await connected(line), line.machine
        before, times = source.last["plc.boots"][1].value, source.status.reconnects
        begun_s = time.monotonic()
        await machine.command("restart 0.3 keep")
        await until(
            lambda: source.status.reconnects > times, lambda: f"the link again; {source.status}", 0.3 + WITHIN_S
        )
        again_s = time.monotonic()
        await until(lambda: source.after(again_s), "values after the restart", WITHIN_S)
        assert Status.BAD in {value.status for value in source.since(begun_s, "boots")}
        assert source.last["plc.boots"][1].value == before + 1
        await nothing_was_wrong(source, machine)

    await on_both(check)


async def test_one_bad_register_stops_no_other_and_comes_back(connected, until, on_both):
    async def check(line):
        source, machine = await connected(line, timeout=PATIENT), line.machine
        await machine.command(f"exception 2 {FOR_EVER} 300 300")
        others = [name for name in SIGNALS if name != "a"]
        await until(lambda: source.status.problems, "the problem")
        assert set(source.status.problems) == {"plc.a"}
        assert "holding 300" in source.status.problems["plc.a"]
        assert "exception 2" in source.status.problems["plc.a"]
        refused_s = time.monotonic()
        await until(lambda: source.after(refused_s, *others), "the others")
        assert source.last["plc.a"][1].status is Status.BAD
        await flows_again(source, machine, until, WITHIN_REFUSED_S)
        await until(lambda: not source.status.problems, "no problem any more")
        assert (source.status.state, source.status.reconnects) == ("up", 0)
        await nothing_was_wrong(source, machine)

    await on_both(check)


async def test_an_address_that_the_device_never_had_stops_no_other(watch, until, on_both):
    """It lies beside others, so that it is found by taking a request apart."""

    async def check(line):
        await line.machine.command("faults off")
        near = {name: {"table": "holding", "address": address} for name, address in (("c", 59_998), ("d", 59_999))}
        signals = {**SIGNALS, **near, "ghost": {"table": "holding", "address": 60_000}}
        settings = {"driver": "modbus", "scan": "40 ms", "timeout": PATIENT, "signals": signals, **line.settings}
        source = watch(settings, tuple(signals))
        others = [name for name in signals if name != "ghost"]
        await until(lambda: source.after(0.0, *others), lambda: f"the others; {source.status}")
        await until(lambda: source.status.problems, "the problem")
        assert set(source.status.problems) == {"plc.ghost"}
        assert "exception 2" in source.status.problems["plc.ghost"]
        assert (source.last["plc.c"][1].value, source.last["plc.d"][1].value) == (59_998, 59_999)
        assert (source.status.state, source.status.reconnects) == ("up", 0)

    await on_both(check)


async def test_a_source_ends_at_once_in_the_middle_of_a_black_hole(connected, until, on_both):
    async def check(line):
        source = await connected(line, timeout="20 s")
        await line.machine.command(f"blackhole {FOR_EVER}")
        await until(lambda: time.monotonic() > source.last["plc.a"][0] + 0.3, "silence")
        assert source.status.state == "up"
        assert await source.stop() < BUSY_MAX_S
        await line.machine.command("faults off")

    await on_both(check)
