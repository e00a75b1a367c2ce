"""What comes out at a target, whatever happens on the way: a connector's own tests subclass ``FaultContract``.

Real outbox, real forwarder, a real target with faults; only the forwarder's clock is set by hand. After each fault the
target's sums and what waits or is parked are what was counted, and no key is booked twice; a person then decides about
what is parked as one who looks at the target, and the sums are equal. pytest is imported only where a test runs.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, Protocol

from gateway.contract.promises import ConnectorBench, ConnectorContract

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from buffer.entry import OutboxEntry
    from gateway.contract.plant import Plant

#: Confirmations of one lane in each scenario.
CONFIRMATIONS: Final = 2
#: A run without a kill comes long before this.
KILLS_MAX: Final = 200
#: Faults that every target can have; see ``FaultBench.fault``.
LOST_ANSWER: Final = "lost_answer"
LOST_REQUEST: Final = "lost_request"
SLOW_BOOKING: Final = "slow_booking"
BUSY: Final = "busy"
REFUSED: Final = "refused"
LOGIN_EXPIRED: Final = "login_expired"
HTML: Final = "html"
HALF_ANSWER: Final = "half_answer"
#: Of notices only; see ``NoticeBench.notices_meet``.
NOT_SERVED: Final = "not_served"
FAULTS: Final = (LOST_ANSWER, LOST_REQUEST, SLOW_BOOKING, BUSY, REFUSED, LOGIN_EXPIRED, HTML, HALF_ANSWER)


class Booked(NamedTuple):
    """One booking at the target, under the key of the confirmation as the gateway has it.

    ``part``: which of several messages of the confirmation it was, "" where there is one.
    """

    key: str
    good: Decimal
    scrap: Decimal = Decimal(0)
    part: str = ""


class FaultBench(ConnectorBench, Protocol):
    """What the fixture ``bench`` gives besides.

    The target is careless: a key that comes twice it books twice, unless its settings say that it does not. Its orders
    are large enough for 2,000 confirmations. Its own time limits are short, those of the connector are some tenths of
    a second.
    """

    def fault(self, name: str, count: int = 1) -> bool:
        """The next ``count`` messages meet this fault; False: it cannot happen at this target.

        ``lost_answer``: booked, and the connection ends without an answer. ``lost_request``: the connection ends, and
        nothing is booked. ``slow_booking``: booked after the connector gave up. ``busy``: locked, nothing booked.
        ``refused``: refused by business, for ever, for this message. ``login_expired``: the session or token is not
        valid any more. ``html``: a page with status 200, nothing booked. ``half_answer``: booked, and half an answer.
        """

    def working(self) -> bool:
        """Whether the target still works on something that it was slow with."""

    def booked(self) -> Sequence[Booked]:
        """Everything that is booked, each booking of its own."""


class FaultContract(ConnectorContract):
    """Subclass it as ``Test...`` and give a fixture ``bench`` (a ``FaultBench``); needs pytest-asyncio in auto mode."""

    #: Faults that this target is known not to have, with the reason; any other one must happen.
    without: ClassVar[dict[str, str]] = {}
    #: Confirmations of one lane in each scenario that is killed.
    killed_confirmations: ClassVar[int] = CONFIRMATIONS
    #: Killed at each moment with 1; a target that is slow may skip some, and do all of them elsewhere.
    killed_every: ClassVar[int] = 1

    async def test_nothing_happens_on_the_way(self, bench: FaultBench, tmp_path: Path) -> None:
        """Each is booked once, in order."""
        async with _plant(bench, tmp_path) as plant:
            await plant.add(CONFIRMATIONS)
            await plant.run()
            plant.check_all_booked(await plant.entries())

    async def test_answer_lost_after_booking(self, bench: FaultBench, tmp_path: Path) -> None:
        """It is looked up, or repeated where the target drops repeats."""
        await self._scenario(bench, tmp_path, LOST_ANSWER, 1)

    async def test_request_lost(self, bench: FaultBench, tmp_path: Path) -> None:
        """It is booked by the repeat."""
        await self._scenario(bench, tmp_path, LOST_REQUEST, 1)

    async def test_slow_booking_after_the_client_gave_up(self, bench: FaultBench, tmp_path: Path) -> None:
        """Absence proves nothing while the target works on it."""
        await self._scenario(bench, tmp_path, SLOW_BOOKING, 1)

    async def test_refused_by_business(self, bench: FaultBench, tmp_path: Path) -> None:
        """It is parked, and the one behind it waits."""
        await self._scenario(bench, tmp_path, REFUSED, 1)

    async def test_login_expired(self, bench: FaultBench, tmp_path: Path) -> None:
        """It signs in again; nothing is lost."""
        await self._scenario(bench, tmp_path, LOGIN_EXPIRED, 1)

    async def test_html_page_with_200(self, bench: FaultBench, tmp_path: Path) -> None:
        """Something else answered: that proves no booking."""
        await self._scenario(bench, tmp_path, HTML, 1)

    async def test_half_an_answer(self, bench: FaultBench, tmp_path: Path) -> None:
        """Booked, and not told so."""
        await self._scenario(bench, tmp_path, HALF_ANSWER, 1)

    async def test_locked_again_and_again(self, bench: FaultBench, tmp_path: Path) -> None:
        """It waits, and is booked once."""
        await self._scenario(bench, tmp_path, BUSY, 3)

    async def test_a_fault_at_a_repeat(self, bench: FaultBench, tmp_path: Path) -> None:
        """The request is lost, and the answer to its repeat."""
        if bench.fault(LOST_REQUEST):
            await self._scenario(bench, tmp_path, LOST_ANSWER, 1)

    async def test_killed_between_every_two_steps(self, bench: FaultBench, tmp_path: Path) -> None:
        """Before and behind each commit and each request, one after the other, until a run ends without a kill."""
        for moment in range(1, KILLS_MAX, self.killed_every):
            async with _plant(bench, tmp_path / str(moment), first=moment * CONFIRMATIONS) as plant:
                await plant.add(self.killed_confirmations)
                killed = await plant.run(kill_at=moment)
                plant.check(await plant.entries(), f"killed at moment {moment}: {plant.moments[-1:]}")
                await plant.finish()
                plant.check_all_booked(await plant.entries(), f"killed at moment {moment}: {plant.moments[-1:]}")
            if not killed:
                assert moment > 4 * self.killed_confirmations, "there are more moments than that"
                return
        raise AssertionError(f"no run without a kill in {KILLS_MAX}")

    async def test_no_answer_and_killed(self, bench: FaultBench, tmp_path: Path) -> None:
        """The answer is lost, and the process dies before and behind each step that follows."""
        if LOST_ANSWER in self.without:
            return
        for moment in range(4, KILLS_MAX, self.killed_every):
            async with _plant(bench, tmp_path / str(moment), first=moment * CONFIRMATIONS) as plant:
                await plant.add(self.killed_confirmations)
                assert bench.fault(LOST_ANSWER)
                killed = await plant.run(kill_at=moment)
                await plant.finish()
                plant.check_all_booked(await plant.entries(), f"killed at moment {moment}: {plant.moments[-1:]}")
            if not killed:
                return
        raise AssertionError(f"no run without a kill in {KILLS_MAX}")

    async def _scenario(self, bench: FaultBench, tmp_path: Path, fault: str, count: int) -> None:
        import pytest

        async with _plant(bench, tmp_path) as plant:
            await plant.add(CONFIRMATIONS)
            if not bench.fault(fault, count):
                assert fault in self.without, f"{fault}: the bench cannot do it, and `without` gives no reason"
                pytest.skip(f"{fault}: {self.without[fault]}")
            await plant.run()
            entries = await plant.entries()
            plant.check(entries, fault)
            if fault == REFUSED:
                parked = [one for one in entries if one.state == "parked"]
                assert [one.error_kind for one in parked] == ["business_reject"], entries
                assert parked[0].error_text
            await plant.finish()
            plant.check_all_booked(await plant.entries(), fault)


class NoticeBench(FaultBench, Protocol):
    """What the fixture ``bench`` gives for a connector that tells notices; ``build`` makes it tell them."""

    def notices_meet(self, name: str, count: int = 1) -> None:
        """The next ``count`` notices meet this fault: ``lost_answer`` (kept), or ``not_served`` (nobody knows them)."""

    def told(self) -> Sequence[str]:
        """The notices that the target keeps, in their order: the key or the message id of each."""


class NoticeContract:
    """Beside ``FaultContract``, for a connector that tells notices: give a fixture ``bench`` (a ``NoticeBench``)."""

    async def test_a_notice_whose_answer_is_lost_is_kept_once(self, bench: NoticeBench, tmp_path: Path) -> None:
        """It is told again without a look-up, and the target drops the repeat by its key."""
        async with _plant(bench, tmp_path) as plant:
            await plant.tell(2)
            bench.notices_meet(LOST_ANSWER)
            await plant.run()
            entries = await plant.entries()
            plant.check_all_booked(entries, LOST_ANSWER)
            assert [one.attempts for one in entries] == [2, 1], "no answer came to the first one"
            _check_told(bench, entries)

    async def test_a_notice_that_is_not_served_holds_up_none_else(self, bench: NoticeBench, tmp_path: Path) -> None:
        """It is parked; confirmations go on. Once the target knows it a person sends it again."""
        async with _plant(bench, tmp_path) as plant:
            await plant.tell(1)
            await plant.add(CONFIRMATIONS)
            bench.notices_meet(NOT_SERVED)
            await plant.run()
            notice, *others = await plant.entries()
            assert (notice.state, notice.error_kind) == ("parked", "business_reject"), notice
            assert notice.error_text
            plant.check_all_booked(others, NOT_SERVED)
            assert not bench.told()
            await plant.finish()
            plant.check_all_booked(await plant.entries(), NOT_SERVED)
            _check_told(bench, [notice])


def pieces(payload: bytes) -> tuple[Decimal, Decimal]:
    """Good pieces and scrap that a document counts."""
    made = json.loads(payload)["qty"]
    return Decimal(made["good"]), sum((Decimal(one["qty"]) for one in made["scrap"]), Decimal(0))


def _check_told(bench: NoticeBench, entries: Sequence[OutboxEntry]) -> None:
    keys, ids = [one.key for one in entries], [one.message_id for one in entries]
    assert list(bench.told()) in (keys, ids), f"found {bench.told()}, allowed: {keys} or {ids}"


def _plant(bench: FaultBench, folder: Path, first: int = 1) -> Plant:
    # The store and the forwarder are loaded where a test runs.
    from gateway.contract.plant import Plant

    return Plant(bench, folder, first)
