"""SAP IDoc under the fault suite: each transport, accepted first and read back, and whatever goes wrong between."""

from collections import Counter
from decimal import Decimal
from types import SimpleNamespace
from typing import ClassVar

import pytest

from gateway.connectors.base import step_id
from gateway.connectors.sap_idoc import PLUGIN
from gateway.connectors.sap_idoc.settings import Readback, SapIdocSettings
from gateway.contract import Booked, FaultContract, IdempotentContract
from gateway.contract.faults import FAULTS
from gateway.contract.plant import Plant
from gateway.core.duration import Duration
from simulators.erp import sap_idoc
from simulators.erp.sap_idoc import SapIdoc

NO_ANSWER = "a file has no answer"


class _Idocs(FaultContract):
    transport: ClassVar[str]
    readback = True
    reasons: ClassVar = (None,)
    killed_confirmations = 1

    @pytest.fixture
    def bench(self, running_double, tmp_path, context, document, order_image, monkeypatch):
        monkeypatch.setattr(sap_idoc, "LOOK_S", 0.002)
        folder = tmp_path / "exchange"
        sap = running_double(SapIdoc, folder=folder, push=None, push_token="", co1l="0.002")
        sap.put_order(order_image("100240", qty="30000"))
        for path in (folder / "orders").iterdir():
            path.unlink()  # it is known there, and its image is not waiting
        settings = SapIdocSettings(
            connector="sap_idoc",
            transport=self.transport,
            folder="exchange",
            timeout=Duration("60 s"),
            order_numbers="short",
            statuses_folder="statuses",
            **({} if self.transport == "file" else {"url": sap.url}),
            **({"readback": Readback(url=sap.url)} if self.readback else {}),
        )
        keys = {}

        def counted(seq):
            image = document(seq)
            scrap = [{"reason": reason, "qty": "1"} for reason in self.reasons]
            total = {"good": str(10 * seq), "scrap": [{"reason": None, "qty": str(len(scrap) * seq)}], "rework": "0"}
            for step in range(len(scrap)):
                keys[step_id(image["confirmation_id"], step)] = image["idempotency_key"]
            made = {**image["qty"], "scrap": scrap}
            return image | {"qty": made, "qty_cumulative": total, "schema_version": 2}

        def working():
            files = folder.exists() and any((folder / "confirmations").glob("*.xml"))
            return files or bool(sap.double._late)

        def fault(name, count=1):
            return name not in self.without and sap.meets(name, count)

        def booked():
            return [
                Booked(keys[row["key"]], Decimal(row["good"]), Decimal(row["scrap"]), row["key"])
                for row in sap.bookings()
                if row["key"] in keys
            ]

        def bookings(key):
            while working():
                pass
            return Counter(one.key for one in booked())[key]

        def take_away():
            sap.take_away()
            folder.rename(folder.with_name("away"))

        return SimpleNamespace(
            build=lambda: PLUGIN.build(settings, context()),
            document=counted,
            release=lambda order: sap.put_order(order_image(order, qty="30000", revision=2)),
            take_away=take_away,
            bookings=bookings,
            fault=fault,
            working=working,
            booked=booked,
            sap=sap,
            folder=folder,
        )


class TestSoap(_Idocs, IdempotentContract):
    transport = "soap"


class TestHttp(_Idocs):
    transport = "http"

    async def test_co1l_books_hours_after_the_answer_was_lost(self, bench, tmp_path):
        """Nothing is found for long, and nothing is repeated by itself: it is stored there already."""
        sap, bench.sap.double._delay_s = bench.sap, None
        async with Plant(bench, tmp_path) as plant:
            await plant.add(1)
            assert sap.meets("lost_answer")
            await plant.run()
            (parked,) = await plant.entries()
            assert (parked.state, parked.error_kind, parked.attempts) == ("parked", "unclear", 1), parked
            assert parked.lookups >= 2, "asked at once, and again before it is given to a person"
            assert sap.call(sap.double.book_waiting) == 1
            await plant.retry(parked)  # it is looked for before it is sent
            await plant.run()
            plant.check_all_booked(await plant.entries())
        assert sum(sap.call(sap.double.store.counts).values()) == 1


class TestFile(_Idocs, IdempotentContract):
    transport = "file"
    without: ClassVar = dict.fromkeys(FAULTS, NO_ANSWER)


class _Long:
    reasons = ("A1", "B2")
    killed_confirmations = 2


@pytest.mark.soak
class TestSoapInSeveralTickets(_Long, TestSoap):
    pass


@pytest.mark.soak
class TestHttpInSeveralTickets(_Long, TestHttp):
    pass


@pytest.mark.soak
class TestFileInSeveralTickets(_Long, TestFile):
    pass


@pytest.mark.soak
class TestSoapToldByFiles(_Long, TestSoap):
    readback = False


@pytest.mark.soak
class TestFileToldByFiles(_Long, TestFile):
    readback = False
