"""Answers that come late, where frames carry no number: they are never taken for another request's."""

import asyncio

import pytest

from drivers.base import DriverError
from drivers.modbus.doubt import ECHO, PATIENCE, QUIET_FACTOR_MAX, Doubt, Question
from drivers.modbus.endpoint import Endpoint
from drivers.modbus.link import RequestRefused, link_for
from gateway.core.duration import Duration

LIMIT_S = 60.0
TIMEOUT_S = 0.05
FIRST, SECOND = 100, 200
RUNS_ON_A_LOADED_MACHINE = 4


class Patient:
    """Asks again after a lost link, as the supervisor does; what it is told must be right each time."""

    def __init__(self, reached, unit=1, timeout_s=TIMEOUT_S):
        self._endpoint = Endpoint(timeout=Duration(f"{timeout_s * 1000:.0f} ms"), unit=unit, **reached)
        self._link = link_for(self._endpoint)
        self.failures = 0

    async def once(self, address):
        try:
            await self._link.connect()
            return list(await self._link.read("holding", address, 1))
        except DriverError:
            self.failures += 1
            return None
        finally:
            self._link.close()
            self._link = link_for(self._endpoint)

    async def read(self, address):
        async with asyncio.timeout(LIMIT_S):
            while (found := await self.once(address)) is None:
                pass
        return found


@pytest.fixture
async def bus(make_device):
    made = []

    async def make(transport, device=None):
        device, reached = make_device(transport) if device is None else device
        await device.start()
        made.append(device)
        device.tables["holding"] = {address: address for address in (FIRST, SECOND)}
        answer = device.answer

        async def after_a_while(unit, pdu):  # so that two answers come apart
            await asyncio.sleep(0.008)
            return await answer(unit, pdu)

        device.answer = after_a_while
        return device, reached

    yield make
    for device in made:
        await device.stop()


@pytest.mark.parametrize(
    ("transport", "diagnostics", "neighbour"),
    [
        ("rtu", "echo", False),
        ("rtu", "refused", False),
        ("rtu", "silent", True),
        ("rtu_over_tcp", "silent", False),
    ],
)
@pytest.mark.parametrize("lateness", [1.2, 2.1, 2.6, 3.0])
async def test_a_late_answer_is_not_taken_for_the_next_of_the_same_length(
    bus, transport, diagnostics, neighbour, lateness
):
    device, reached = await bus(transport)
    device.diagnostics = diagnostics
    if neighbour:  # the unit can be asked for two registers
        device.tables["holding"] |= {FIRST + 1: 7, SECOND + 1: 7}
    asker = Patient(reached())
    for _run in range(2):
        assert await asker.read(SECOND) == [SECOND]
        device.late_s[FIRST] = lateness * TIMEOUT_S
        assert await asker.once(FIRST) is None
        device.late_s.clear()
        for _again in range(2):
            assert await asker.read(SECOND) == [SECOND]
            assert await asker.read(FIRST) == [FIRST]
    assert asker.failures >= 2


@pytest.mark.parametrize("lateness", [2.1, 2.6])
async def test_a_late_answer_after_a_cancellation(bus, until, lateness):
    device, reached = await bus("rtu")
    asker = Patient(reached())
    device.late_s[FIRST] = lateness * TIMEOUT_S
    asking = asyncio.create_task(asker.once(FIRST))
    await until(lambda: device.requests)
    asking.cancel()
    await asyncio.wait({asking})
    device.late_s.clear()
    assert await asker.read(SECOND) == [SECOND]


@pytest.mark.parametrize("ahead_s", [0.0, 0.003, 0.01])
async def test_an_answer_that_others_overtook_is_not_taken_for_a_later_one(bus, ahead_s):
    """As behind a radio modem: the late frame comes in front of the answer to a later request of the same kind."""
    device, reached = await bus("rtu")
    loop = asyncio.get_running_loop()
    kept = []

    def held(_tid, unit, pdu):
        device.spoil = None
        kept.append(device.framed(0, unit, pdu))
        device.spoil = released
        return b""

    def released(_tid, unit, pdu):
        device.spoil = None
        frame = device.framed(0, unit, pdu)
        if pdu[0] != 3:
            device.spoil = released
            return frame
        if not ahead_s:
            return kept.pop() + frame
        device.spoil = behind
        return kept.pop() + behind(0, unit, pdu)

    def behind(_tid, unit, pdu):
        device.spoil = None
        loop.call_later(ahead_s, device.say, device.framed(0, unit, pdu))
        device.spoil = behind
        return b""

    asker = Patient(reached())
    assert await asker.read(SECOND) == [SECOND]
    device.spoil = held
    assert await asker.once(FIRST) is None
    found = [await asker.read(SECOND) for _ in range(3)]
    assert found == [[SECOND]] * 3
    assert not kept, "the frame was let go"
    assert asker.failures >= 2, "it cost the link once more"


@pytest.mark.parametrize("transport", ["rtu", "rtu_over_tcp"])
async def test_a_slow_units_answers_never_become_another_units(bus, transport):
    device, reached = await bus(transport)
    loop = asyncio.get_running_loop()

    def spoil(_tid, unit, pdu):
        device.spoil = None
        frame = device.framed(0, unit, pdu[:-1] + bytes([unit]) if pdu[0] == 3 else pdu)
        device.spoil = spoil
        if unit == 1:
            return frame
        loop.call_later(1.3 * TIMEOUT_S, device.say, frame)
        return b""

    device.spoil = spoil
    quick, slow = Patient(reached(), unit=1), Patient(reached(), unit=2)

    async def ask_slow():
        while device.asked.count(2) < 4:  # a busy computer may not even connect in time
            assert await slow.once(FIRST) is None

    async with asyncio.timeout(LIMIT_S):
        asking = asyncio.create_task(ask_slow())
        found = []
        while not asking.done():
            found.append(await quick.once(FIRST))
        await asking
    assert set(map(tuple, filter(None, found))) == {(1,)}, "never the other's"
    assert slow.failures >= device.asked.count(2), "one request each"


async def test_a_unit_that_knows_no_check_and_refuses_the_neighbours_comes_back(bus):
    device, reached = await bus("rtu")
    device.diagnostics = "silent"
    asker = Patient(reached())
    for _run in range(RUNS_ON_A_LOADED_MACHINE):  # there a refusal may come late enough to be proof
        before = asker.failures
        device.silent_units = {1}
        assert await asker.once(FIRST) is None
        device.silent_units = set()
        assert await asker.read(FIRST) == [FIRST]
        if asker.failures - before >= 3:
            return
    pytest.fail("neither the silence nor an early refusal was proof")


async def test_the_check_that_was_answered_last_comes_first(bus):
    device, reached = await bus("rtu")
    device.diagnostics = "silent"
    device.tables["holding"] |= {FIRST + 1: 7}
    asker = Patient(reached(), timeout_s=4 * TIMEOUT_S)
    checks = []
    for _run in range(RUNS_ON_A_LOADED_MACHINE):  # there the answer to a check may be late: then the other comes, too
        before = device.checks
        device.silent_units = {1}
        assert await asker.once(FIRST) is None
        device.silent_units = set()
        assert await asker.read(FIRST) == [FIRST]
        checks.append(device.checks - before)
        if checks[-1] == 0:
            break
    assert checks[0] >= 1
    assert checks[-1] == 0, "the one that no answer came to is asked first, each time"


async def test_without_a_missing_answer_nothing_is_checked(bus):
    device, reached = await bus("rtu")
    link = link_for(Endpoint(**reached()))
    await link.connect()
    for _ in range(3):
        await link.read("holding", FIRST, 1)
    with pytest.raises(RequestRefused):
        await link.read("holding", 5, 1)
    assert (device.checks, len(device.requests)) == (0, 4)
    link.close()


# --- the rules by themselves -----------------------------------------------------------------------------------------

READ = Question.reading("holding", 10, 1)


def missed(question=READ, *, at_s=0.0):
    doubt = Doubt()
    assert doubt.check_before(question) is None
    doubt.missed(question, at_s, 1.0, 1.0)
    return doubt


def test_the_silence_grows_and_is_short_again_after_an_answer():
    doubt = missed()
    silences = [doubt.quiet_until_s]
    for _ in range(5):
        doubt.check_missed(ECHO, 0.0, 1.0, 1.0)
        silences.append(doubt.quiet_until_s)
    assert silences == [2.0, 3.0, 5.0, 9.0, 9.0, 9.0]
    assert QUIET_FACTOR_MAX == 8
    doubt.check_missed(ECHO, 0.0, 1.0, 20.0)
    assert doubt.quiet_until_s == 31.0
    doubt.answered()
    doubt.missed(READ, 100.0, 1.0, 1.0)
    assert doubt.quiet_until_s == 102.0


@pytest.mark.parametrize(
    ("failed", "asked_before", "expected"),
    [
        (Question.reading("holding", 10, 4), (), Question.reading("holding", 10, 3)),
        (Question.reading("holding", 10, 4), (3, 2), Question.reading("holding", 10, 1)),
        (Question.reading("holding", 10, 2), (1,), Question.reading("holding", 10, 3)),
        (Question.reading("input", 10, 1), (), Question.reading("input", 10, 2)),
        (Question.reading("coil", 10, 9), (), Question.reading("coil", 10, 8)),
        (Question.reading("discrete", 10, 3), (), Question.reading("discrete", 10, 16)),
        (Question.reading("holding", 65_535, 1), (), ECHO),
        (Question(6, "holding", 10, 1), (1,), Question.reading("holding", 10, 2)),
        (Question(5, "coil", 10, 1), (), Question.reading("coil", 10, 8)),
    ],
)
def test_the_second_kind_of_check_has_a_length_that_no_request_had(failed, asked_before, expected):
    doubt = Doubt()
    for length in asked_before:
        assert doubt.check_before(Question.reading(failed.table, 10, length)) is None
    doubt.check_before(failed)
    doubt.missed(failed, 0.0, 1.0, 1.0)
    assert doubt.check_before(failed) is ECHO
    doubt.check_missed(ECHO, 0.0, 1.0, 1.0)
    assert doubt.check_before(failed) == expected
    assert expected.shape != failed.shape
    doubt.proved(expected, refused=False)
    assert doubt.check_before(failed) is None


def test_whose_refusal_it_can_be():
    doubt = missed()
    assert doubt.refusal_proves(ECHO, 2.0)
    other_length = Question.reading("holding", 10, 2)
    assert not doubt.refusal_proves(other_length, PATIENCE - 0.1), "the late one's, as well"
    assert doubt.refusal_proves(other_length, float(PATIENCE))
    assert missed(Question(16, "holding", 10, 2)).refusal_proves(other_length, 2.0)


def test_a_request_as_long_as_an_unanswered_check_is_preceded_by_one():
    doubt = missed()
    doubt.check_missed(ECHO, 0.0, 1.0, 1.0)
    check = doubt.check_before(READ)
    doubt.check_missed(check, 0.0, 1.0, 1.0)
    assert doubt.check_before(READ) is ECHO
    doubt.proved(ECHO, refused=True)
    assert doubt.check_before(READ) is None
    as_long = Question.reading("holding", 50, check.length)
    assert doubt.check_before(as_long) is ECHO
    doubt.proved(ECHO, refused=False)
    assert doubt.check_before(as_long) is None


def test_for_a_while_what_could_be_the_late_answer_is_checked_behind():
    doubt = missed()
    doubt.proved(doubt.check_before(READ), refused=False)
    assert doubt.check_behind(Question.reading("holding", 10, 2), 3.0) is None, "another length"
    assert doubt.check_behind(READ, 3.0) is ECHO
    doubt.check_missed(ECHO, 3.0, 1.0, 1.0)
    doubt.proved(doubt.check_before(READ), refused=False)
    assert doubt.check_behind(READ, 3.0 + PATIENCE - 0.1) is not None, "its own answer may come now"
    doubt.proved(ECHO, refused=False)
    assert doubt.check_behind(READ, 3.0 + PATIENCE) is None
