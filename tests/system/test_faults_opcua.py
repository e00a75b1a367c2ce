"""Every fault of an OPC UA server, subscribed and read: nothing wrong is GOOD, and it ends without a hand."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

import pytest
import pytest_asyncio

from drivers.opcua import certificates
from gateway.core.model import Status

pytestmark = pytest.mark.asyncio(loop_scope="module")

TAGS = "http://opcfoundation.org/UA/PlasticsRubber/GeneralTypes/"
BACKOFF_MAX_S = 1.0
WITHIN_S = 2 * BACKOFF_MAX_S
#: A single node that the server refuses has a back-off of its own: 1 s, 2 s, 4 s ..., up to one minute.
WITHIN_REFUSED_S = 4.5
#: Three keep-alives of one second, and the time limit of an answer.
SILENCE_S = 4.0
#: Longer than a process waits for a processor, where nothing hangs on the time limit and no link may be lost.
PATIENT = "10 s"
#: Signing, and the making of a session, take processor time; more is not responsive.
BUSY_MAX_S = 1.0
FOR_EVER = 80_000
SIGNALS = {
    "shots": {"node": f"nsu={TAGS};s=MachineCycleCounter"},
    "parts": {"path": "/Objects/machine:IMM-01/tags:ActiveJobValues/tags:JobGoodPartsCounter"},
    "cavity": {"node": f"nsu={TAGS};s=CavityCycleQuality", "index": 7},
    "job": {"node": f"nsu={TAGS};s=JobName"},
    "started": {"node": "i=2257"},
}
SOURCE = {
    "driver": "opcua", "security": "none", "publish": "50 ms", "scan": "50 ms", "timeout": "1 s", "signals": SIGNALS,
    "namespaces": {"machine": "urn:simulators:imm-01:vendor", "tags": TAGS},
}  # fmt: skip
#: Those that change by themselves with every shot: a subscription says nothing of the others.
MOVING = ("shots", "parts")


class Press(NamedTuple):
    """A moulding machine and the settings that read it."""

    machine: object
    settings: dict

    def patient(self):
        """With a time limit that only a dead server exceeds."""
        return self._replace(settings=self.settings | {"timeout": PATIENT})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def subscribed(simulate, until):
    return await a_press(simulate, until, mode="subscribe")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scanned(simulate, until):
    return await a_press(simulate, until, mode="read")


async def a_press(simulate, until, *options, **settings):
    machine = await simulate("imm-01", "--port", 0, "--speed", 100, "--steady", *options)

    async def made():
        return (await machine.command("totals"))["good_total"]

    await until(made, "the first shot: until then a cavity shows no part")
    await machine.command("job 4711-0010")
    return Press(machine, {"endpoint": machine.ready["endpoint"], **settings})


@pytest.fixture
def on_both(subscribed, scanned):
    """Run a check in both modes at the same time: nearly all of it is waiting."""

    async def run(check):
        async def one(press):
            try:
                await check(press)
            except BaseException as error:
                error.add_note(f"on {press.settings}")
                raise

        async with asyncio.TaskGroup() as group:
            for press in (subscribed, scanned):
                group.create_task(one(press))

    return run


@pytest.fixture
def connected(watch, rising, until):
    """A running source that has read everything once."""

    async def connect(press, **more):
        await press.machine.command("faults off")
        truths = {
            "shots": rising(), "parts": rising(), "job": lambda value: value == "4711-0010",
            "cavity": lambda value: value == 1, "started": lambda value: isinstance(value, str) and value[0] == "2",
        }  # fmt: skip
        source = watch({**SOURCE, **press.settings}, tuple(SIGNALS), truths=truths, **more)
        await until(lambda: source.after(0.0), lambda: f"the first values; {source.status}")
        return source

    return connect


async def flows_again(source, machine, until, within_s=WITHIN_S, names=MOVING):
    """End all faults; what moves must have a new GOOD value in time, and everything a GOOD one."""
    ended_s = time.monotonic()
    await machine.command("faults off")
    await until(lambda: source.after(ended_s, *names), lambda: f"values after the fault; {source.status}", within_s)
    await until(lambda: source.after(0.0), lambda: f"a GOOD value of each; {source.last}", within_s)


async def nothing_was_wrong(source, machine):
    # In this order: while the machine is asked, it makes more, and that is read, too.
    counted = max(value.value for value in source.since(0.0, "parts") if value.status is Status.GOOD)
    made = (await machine.command("totals"))["good_total"]
    assert counted <= made
    assert source.wrong == []
    assert source.slowest_s < BUSY_MAX_S


async def is_down(source, until, within_s=WITHIN_S):
    await until(lambda: source.status.state == "down", lambda: f"the loss; {source.status}", within_s)
    return time.monotonic()


@pytest.mark.parametrize("fault", [f"cut {FOR_EVER}", f"blackhole {FOR_EVER}"])
async def test_a_fault_of_the_link_is_told_and_ends_by_itself(fault, connected, until, on_both):
    async def check(press):
        source, machine = await connected(press), press.machine
        begun_ns = time.time_ns()
        await machine.command(fault)
        lost_s = await is_down(source, until, SILENCE_S + WITHIN_S)
        down = source.status
        assert down.since_ns >= begun_ns
        assert down.last_value_ns is not None
        assert press.settings["endpoint"] in down.last_error
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


async def test_a_slow_server_is_still_a_server(connected, until, on_both):
    async def check(press):
        source, machine = await connected(press.patient()), press.machine
        await machine.command(f"slow 150 {FOR_EVER}")
        for _ in range(2):
            since_s = time.monotonic()
            await until(
                lambda since_s=since_s: source.after(since_s, *MOVING), lambda: f"values; {source.status}", WITHIN_S
            )
        await flows_again(source, machine, until)
        assert source.status.reconnects == 0
        await nothing_was_wrong(source, machine)

    await on_both(check)


async def test_answers_beyond_the_time_limit_are_a_lost_link(scanned, connected, until):
    source, machine = await connected(scanned), scanned.machine
    await machine.command(f"slow 1500 {FOR_EVER}")
    lost_s = await is_down(source, until, 2 * WITHIN_S)
    failures = source.status.failures
    await until(lambda: source.status.failures > failures, "another attempt in vain", 3 * WITHIN_S)
    assert [value for value in source.since(lost_s) if value.status is not Status.BAD] == []
    await flows_again(source, machine, until)
    await nothing_was_wrong(source, machine)


@pytest.mark.parametrize(("fault", "status"), [("bad", Status.BAD), ("uncertain", Status.UNCERTAIN)])
async def test_a_quality_is_the_value_s_own(fault, status, connected, until, on_both):
    async def check(press):
        source, machine = await connected(press.patient()), press.machine
        await machine.command(f"{fault} {FOR_EVER} MachineCycleCounter")
        await until(lambda: source.last["plc.shots"][1].status is status, lambda: f"{fault}; {source.last}")
        spoilt_s = time.monotonic()
        await until(lambda: source.after(spoilt_s, "parts"), "the others")
        assert {value.status for value in source.since(spoilt_s, "shots")} <= {status}
        if status is Status.BAD:
            assert source.last["plc.shots"][1].value is None
            await until(lambda: "plc.shots" in source.status.problems, "the problem")
            assert "BadSensorFailure" in source.status.problems["plc.shots"]
        await flows_again(source, machine, until)
        await until(lambda: not source.status.problems, "no problem any more")
        assert source.status.reconnects == 0
        await nothing_was_wrong(source, machine)

    await on_both(check)


async def test_one_node_that_is_gone_stops_no_other_and_comes_back(connected, until, on_both):
    async def check(press):
        source, machine = await connected(press.patient()), press.machine
        await machine.command(f"remove MachineCycleCounter {FOR_EVER}")
        await until(lambda: source.last["plc.shots"][1].status is Status.BAD, lambda: f"BAD; {source.last}")
        gone_s = time.monotonic()
        await until(lambda: source.after(gone_s, "parts"), "the others")
        await until(lambda: set(source.status.problems) == {"plc.shots"}, "the problem")
        assert "BadNodeIdUnknown" in source.status.problems["plc.shots"]
        assert {value.status for value in source.since(gone_s, "shots")} <= {Status.BAD}
        await flows_again(source, machine, until, WITHIN_REFUSED_S)
        await until(lambda: not source.status.problems, "no problem any more")
        assert (source.status.state, source.status.reconnects) == ("up", 0)
        await nothing_was_wrong(source, machine)

    await on_both(check)


async def test_a_node_that_the_server_never_had_stops_no_other(subscribed, scanned, watch, until):
    ghost = {"node": f"nsu={TAGS};s=NoSuchNode"}
    for press in (subscribed, scanned):
        await press.machine.command("faults off")
        settings = {**SOURCE, **press.patient().settings, "signals": {**SIGNALS, "ghost": ghost}}
        source = watch(settings, (*SIGNALS, "ghost"))
        await until(lambda source=source: source.after(0.0, *SIGNALS), "the others")
        await until(lambda source=source: source.status.problems, "the problem")
        assert set(source.status.problems) == {"plc.ghost"}
        assert "BadNodeIdUnknown" in source.status.problems["plc.ghost"]
        assert (source.status.state, source.status.reconnects) == ("up", 0)


async def test_a_clock_that_jumps_stops_no_value_and_is_named(connected, until, on_both):
    async def check(press):
        source, machine = await connected(press.patient()), press.machine
        await machine.command("clock 2000-01-01T00:00:00")
        await until(lambda: "clock" in source.status.notices, lambda: f"the notice; {source.status}")
        assert "2000-01-01T00:00" in source.status.notices["clock"]
        wrong_s = time.monotonic()
        await until(lambda: source.after(wrong_s, *MOVING), "values")
        shot = source.since(wrong_s, "shots")[-1]
        # The device's stamp is passed on as it is: the core does not use it, because it is so far off.
        assert shot.source_time_ns < 1e18 < shot.received_time_ns
        assert abs(shot.received_time_ns - time.time_ns()) < 60e9
        await flows_again(source, machine, until)
        await until(lambda: "clock" not in source.status.notices, "the notice to go")
        assert (source.status.state, source.status.reconnects) == ("up", 0)
        await nothing_was_wrong(source, machine)

    await on_both(check)


async def test_a_server_without_a_free_session_is_asked_until_it_has_one(connected, until, on_both):
    async def check(press):
        source, machine = await connected(press), press.machine
        await machine.command("session-limit 0")
        await machine.command("cut 0.05")
        await is_down(source, until)
        await until(lambda: "BadTooManySessions" in source.status.last_error, lambda: f"the reason; {source.status}")
        assert source.status.state == "down"
        await flows_again(source, machine, until)
        await nothing_was_wrong(source, machine)

    await on_both(check)


@pytest.mark.parametrize("order", ["same", "shuffled"])
async def test_nodes_are_found_anew_after_a_restart_whatever_their_index(order, connected, until, on_both):
    async def check(press):
        source, machine = await connected(press), press.machine
        before = source.last["plc.started"][1].value
        await machine.command(f"restart {order}")
        begun_s = time.monotonic()
        await until(lambda: source.after(begun_s, *MOVING), lambda: f"values; {source.status}", WITHIN_S)
        await until(lambda: source.after(begun_s), "a value of each", WITHIN_S)
        assert source.status.reconnects >= 1
        assert source.last["plc.started"][1].value != before  # the core's evidence of the restart
        await nothing_was_wrong(source, machine)

    await on_both(check)


async def test_a_subscription_that_the_server_forgot_is_made_anew(subscribed, connected, until):
    source, machine = await connected(subscribed), subscribed.machine
    # One at least: the server may not have noticed yet that an earlier test has gone.
    assert (await machine.command("drop-subscriptions"))["subscriptions"] >= 1
    forgotten_s = time.monotonic()
    await until(lambda: source.status.state == "down", lambda: f"{source.status}", SILENCE_S + WITHIN_S)
    assert "no sign of life" in source.status.last_error or "Bad" in source.status.last_error
    await until(lambda: source.after(forgotten_s, *MOVING), lambda: f"values; {source.status}", WITHIN_S)
    await nothing_was_wrong(source, machine)


async def test_a_source_ends_at_once_in_the_middle_of_a_black_hole(connected, until, on_both):
    async def check(press):
        source = await connected(press)
        await press.machine.command(f"blackhole {FOR_EVER}")
        await until(lambda: time.monotonic() > source.last["plc.shots"][0] + 0.4, "silence")
        assert await source.stop() < 1.5  # what the supervisor allows to reading and to closing, and a little
        await press.machine.command("faults off")

    await on_both(check)


async def test_a_secured_link_comes_back_after_each_fault(simulate, connected, until, tmp_path_factory):
    """The server's certificate is pinned, the user has a password: both are needed anew each time."""
    pki, folder = tmp_path_factory.mktemp("pki"), tmp_path_factory.mktemp("gateway")
    press = await a_press(simulate, until, "--security", "encrypt", "--pki", pki, security="sign_and_encrypt")
    (shown,) = [file.read_bytes() for file in pki.rglob("*.der")]
    certificates.pin(folder / certificates.FOLDER, "plc", shown)
    source, machine = await connected(press, folder=folder), press.machine
    for fault in (f"cut {FOR_EVER}", f"blackhole {FOR_EVER}"):
        await machine.command(fault)
        await is_down(source, until, SILENCE_S + WITHIN_S)
        await flows_again(source, machine, until)
    await machine.command("restart shuffled")
    begun_s = time.monotonic()
    await until(lambda: source.after(begun_s), lambda: f"values; {source.status}", WITHIN_S)
    await nothing_was_wrong(source, machine)
