"""Files and the file partner under the fault suite: every way of telling what was booked, and whatever goes wrong."""

import errno
import time
from collections import Counter
from decimal import Decimal
from types import SimpleNamespace
from typing import ClassVar

import pytest

from gateway.connectors.base import LookupKind, OutcomeKind, Posting
from gateway.connectors.file import PLUGIN, handover
from gateway.connectors.file.settings import FileSettings
from gateway.contract import Booked, FaultContract
from gateway.contract.plant import Plant
from simulators.erp import file_partner
from simulators.erp.file_partner import FilePartner

DEADLINE_S = 60
NO_ANSWERS = "a file has no answer that could be cut"
FAULTS = {
    "lost_answer": "lose-answers {}",
    "slow_booking": "late-book 0.05 {}",
    "busy": "locked {}",
    "refused": "error 500 {}",
    "html": "html {}",
    "half_answer": "half {}",
}


class Files(FaultContract):
    ack: ClassVar[str]
    killed_confirmations = 1
    without: ClassVar = {
        "lost_request": "a file is there or not",
        "login_expired": "a folder has no sign-in",
        "html": NO_ANSWERS,
        "half_answer": NO_ANSWERS,
    }

    @pytest.fixture
    def bench(self, running_double, tmp_path, context, document, order_image, monkeypatch):
        monkeypatch.setattr(file_partner, "AGAIN_S", 0.02)
        share = tmp_path / "share"
        partner = running_double(
            FilePartner, folder=share, format="csv", ack=self.ack, encoding="utf-8", poll=0.002, session=0
        )
        partner.put_order(order_image("100240", qty="30000"))
        settings = FileSettings(connector="file", folder="share", ack=self.ack)

        def working():
            def found():
                return bool(partner.double._late) or any(
                    path.suffix == ".csv" for path in (share / "confirmations").iterdir()
                )

            return share.exists() and (found() or any((share / "confirmations" / "work").iterdir()))

        def rows():
            end_s = time.monotonic() + DEADLINE_S
            while working():
                assert time.monotonic() < end_s
                time.sleep(0.002)
            return partner.call(partner.double.ledger.bookings)

        def fault(name, count=1):
            if name in self.without:
                return False
            partner.do(FAULTS[name].format(count))
            return True

        def release(order):
            assert order == "100240"  # it is released already
            end_s = time.monotonic() + DEADLINE_S
            while not list((share / "orders").glob("*.csv")):
                assert time.monotonic() < end_s
                time.sleep(0.002)

        return SimpleNamespace(
            build=lambda: PLUGIN.build(settings, context()),
            document=document,
            release=release,
            take_away=lambda: share.rename(share.with_name("unmounted")),
            bookings=lambda key: Counter(one["key"] for one in rows())[key],
            fault=fault,
            working=working,
            booked=lambda: [Booked(one["key"], Decimal(one["good"]), Decimal(one["scrap"])) for one in rows()],
        )


class TestAFileSaysThatItIsBooked(Files):
    ack = "file"
    without: ClassVar = {name: Files.without[name] for name in ("lost_request", "login_expired")}


class TestMovedIsBooked(Files):
    ack = "moved"


class TestDeletedIsBooked(Files):
    ack = "deleted"


@pytest.fixture
def alone(tmp_path, context, document):
    """A folder that nobody reads."""
    for name in ("orders", "confirmations"):
        (tmp_path / "share" / name).mkdir(parents=True)

    def made(**changes):
        settings = FileSettings(connector="file", folder="share", **changes)
        return SimpleNamespace(
            build=lambda: PLUGIN.build(settings, context()),
            document=document,
            working=lambda: False,
            folder=tmp_path / "share" / "confirmations",
        )

    return made


@pytest.mark.parametrize("kill_at", [0, 3, 4, 5])
async def test_without_an_ack_it_ends_as_delivered_whatever_happens(alone, tmp_path, kill_at):
    bench = alone(confirmations_trigger=".OK")
    async with Plant(bench, tmp_path / "plant") as plant:
        await plant.add(2)
        assert await plant.run(kill_at) == bool(kill_at)
        await plant.run()
        entries = await plant.entries()
    assert [(one.state, one.attempts) for one in entries][1] == ("delivered", 1)
    assert entries[0].state == "delivered", "killed behind the send it was looked up, and it is there"
    assert sorted(path.suffix for path in bench.folder.iterdir()) == [".OK", ".OK", ".csv", ".csv"]


async def test_a_trigger_that_was_not_shown_is_shown_by_the_look_up(alone, monkeypatch):
    bench = alone(confirmations_trigger=".OK", ack="deleted")
    connector = bench.build()
    image = bench.document(1)
    posting = Posting(
        image["idempotency_key"], image["confirmation_id"], "100240", "0010", 1, 1, connector.render(image)
    )

    def failing(_place, _parcel):
        raise OSError(errno.EIO, "the share is away")

    with monkeypatch.context() as patched:
        patched.setattr(handover, "finish_trigger", failing)
        assert (await connector.send(posting)).kind is OutcomeKind.UNCERTAIN
    assert not list(bench.folder.glob("*.OK"))
    assert (await connector.lookup(posting)).kind is LookupKind.ACCEPTED
    assert [path.stem for path in bench.folder.glob("*.OK")] == [path.stem for path in bench.folder.glob("*.csv")]
