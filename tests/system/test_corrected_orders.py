"""Confirmations put right at a gateway that dies in each word: the ERP has what was counted, and what people say."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import random
import sys

import pytest

from gateway.control import ControlError

#: The moment of death is random: that is the test.
RNG = random.Random(20_261_123)
KILLED_WITHIN_S = 0.05
KEYS = (f"corrected-{number}" for number in itertools.count())
PASSPHRASE = "a long walk by the river"
#: Longer than a word and a gateway that dies in it take on any computer; what is held is let go by a person.
HELD = "5 min"
TOLD = {"machine": "ASM-01", "who": "ann"}


def jobs(view):
    (unit,) = view["work_units"]
    return {job["order"]: job for job in unit["queue"]}


def sums(ledger, order):
    rows = [row for row in ledger if row["order"] == order]
    return tuple(sum(row[role] for row in rows) for role in ("good", "scrap", "rework"))


class Floor:
    """One machine, and people who put right what was confirmed of it."""

    def __init__(self, plant, until, port):
        self.plant = plant
        self.port = port
        self.until = until

    async def begin(self, *orders, **confirm):
        plant = self.plant
        plant.keep("ASM-01")
        unit = plant.document["work_units"]["ASM-01"]
        unit["orders"] = {"choose": "command", "target_counts": "good", "at_target": "continue"}
        unit["confirm"] = confirm
        plant.document["connectors"]["erp"].update(
            correction="negative", idempotent=True, totals_path="/orders/{order}/totals"
        )
        plant.document["api"] = {"port": self.port()}
        await plant.start_erp("--idempotent")
        await plant.start_machine("ASM-01")
        await plant.run()
        for number, (order, quantity) in enumerate(orders):
            await plant.release(order, ("0010", "WC-ASM"), quantity=quantity, sequence_no=number)
        await self.where(lambda view: len(jobs(view)) == len(orders), "the orders")
        await self.up()

    async def where(self, condition, what):
        return await self.plant.status_where(condition, what)

    async def up(self):
        return await self.where(lambda view: all(one["state"] == "up" for one in view["sources"]), "the machine")

    async def window_is(self, length):
        """Who begins anew waits so long before what a person caused is sent."""
        self.plant.document["work_units"]["ASM-01"]["confirm"]["undo_window"] = length
        await self.dies()

    async def dies(self):
        self.plant.daemon.kill()
        await self.plant.daemon.ended()
        await self.plant.run()
        await self.up()

    async def say(self, verb, order, **more):
        return await self.plant.ask(verb, order=order, operation="", **TOLD, **more)

    async def dies_while(self, word, done):
        """The gateway is killed at some moment of a word; said again where it was lost, and it dies once more."""

        async def say():
            with contextlib.suppress(ControlError, OSError, http.client.HTTPException):
                await word()

        saying = asyncio.create_task(say())
        await asyncio.sleep(RNG.uniform(0, KILLED_WITHIN_S))
        self.plant.daemon.kill()
        await self.plant.daemon.ended()
        await saying
        await self.plant.run()
        await self.up()
        if not await done():
            await word()
            assert await done()
            await self.dies()
        assert await done(), "it was done, and is not any more"

    async def make(self, order, pieces):
        """The machine makes so many pieces at least, and all of it is counted; what it made of the order."""
        before = jobs(await self.plant.status())[order]
        made = before["good"] + before["scrap"]
        await self.plant.produce()
        await self.where(lambda view: jobs(view)[order]["good"] + jobs(view)[order]["scrap"] >= made + pieces, "pieces")
        stopped = await self.plant.machines["ASM-01"].command("stop")
        total = stopped["good_total"] + stopped["scrap_total"] - sum(self.plant._before["ASM-01"])
        await self.plant.status_where(lambda view: self.counted(view) == total, f"all of {total}")

    def counted(self, view):
        """As the machine counted, without what people say of it."""
        (unit,) = view["work_units"]
        return unit["counted_good"] + unit["counted_scrap"] - self.said

    said = 0

    async def postings(self, order):
        """State, kind, good and scrap by number."""
        found = {}
        for one in await self.plant.outbox():
            if one["order"] == order and one["kind"] != "ack":
                found[one["seq"]] = one
        return dict(sorted(found.items()))

    async def numbers(self, order):
        return [(one["kind"], one["state"]) for one in (await self.postings(order)).values()]

    async def all_sent(self):
        async def nothing_open():
            return await self.plant.ask("outbox.open") == []

        await self.until(nothing_open, "all of it at the ERP")
        return await self.plant.ledger()

    async def signer(self, role="supervisor"):
        place = ("-d", self.plant.state_dir)
        code, _out, err = await self.plant.cli("user", "add", "anna", "--full-name", "Anna Z", "--role", role, *place)
        assert code == 0, err
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "gateway", "user", "passphrase", "anna", *map(str, place),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await process.communicate(PASSPHRASE.encode())
        assert process.returncode == 0
        code, out, err = await self.plant.cli("user", "token", "anna", "--role", role, *place)
        assert code == 0, err
        return out.strip()

    async def api(self, what, token, **body):
        return await asyncio.to_thread(self._api, f"/v1/orders/{what}", token, {"machine": "ASM-01", **body})

    def _api(self, path, token, body):
        link = http.client.HTTPConnection("127.0.0.1", self.plant.document["api"]["port"], timeout=60)
        with contextlib.closing(link):
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            link.request("POST", path, json.dumps(body), headers | {"Idempotency-Key": next(KEYS)})
            answer = link.getresponse()
            return answer.status, json.loads(answer.read())

    async def agrees(self):
        """Nothing is found between gateway and ERP, whatever was taken back."""
        found = await self.plant.ask("reconcile")
        assert (found["findings"], found["not_compared"]) == ([], []), found


@pytest.fixture
def floor(plant, until, port_for_later):
    return Floor(plant, until, port_for_later)


@pytest.mark.timeout(600)
async def test_held_booked_and_final_confirmations_are_corrected_and_a_finish_is_undone(floor, plant):  # noqa: PLR0915 - one story
    await floor.begin(("A-1", 500), undo_window=HELD)
    token = await floor.signer()
    await floor.say("order.start", "A-1", reason="")
    await floor.make("A-1", 8)
    before = jobs(await plant.status())["A-1"]
    good, scrap = before["good"], before["scrap"]

    await floor.say("order.confirm", "A-1", reason="")
    assert await floor.numbers("A-1") == [("partial", "held")]

    async def correct(number, good, scrap):
        return await floor.say(
            "order.correct", "A-1", confirmation=number, good=good, scrap=scrap, rework=0, reason="wrong box"
        )

    async def has(number):
        return len(await floor.postings("A-1")) == number

    await floor.dies_while(lambda: correct(1, good - 2, scrap + 1), lambda: has(3))
    floor.said -= 1
    found = await floor.postings("A-1")
    assert [(one["kind"], one["state"]) for one in found.values()][:2] == [
        ("partial", "voided"),
        ("reversal", "voided"),
    ]
    await plant.ask("outbox.release", which=found[3]["no"], who="ann", reason="it is right now")
    ledger = await floor.all_sent()
    assert [(row["seq"], row["good"], row["scrap"]) for row in ledger] == [(3, good - 2, scrap + 1)], "3 only"
    await floor.agrees()

    await floor.window_is("0 s")
    with pytest.raises(ControlError, match="ALREADY_REVERSED"):
        await correct(1, 1, 1)
    await floor.dies_while(lambda: correct(3, good - 3, scrap + 1), lambda: has(5))
    floor.said -= 1
    ledger = await floor.all_sent()
    assert [row["seq"] for row in ledger] == [3, 4, 5]
    assert sums(ledger, "A-1") == (good - 3, scrap + 1, 0)
    await floor.agrees()

    async def reverse():
        return await floor.say("order.reverse", "A-1", confirmation=5, reason="not of this box")

    await floor.dies_while(reverse, lambda: has(6))
    ledger = await floor.all_sent()
    assert sums(ledger, "A-1") == (0, 0, 0)
    assert jobs(await plant.status())["A-1"]["good"] == good - 3, "they are the order's, and open again"
    await floor.agrees()

    await floor.make("A-1", 4)
    before = jobs(await plant.status())["A-1"]
    await floor.window_is(HELD)
    await floor.say("order.finish", "A-1", reason="mistaken")
    assert (await floor.numbers("A-1"))[6:] == [("final", "held")]

    async def undo():
        return await plant.ask("undo", **TOLD)

    await floor.dies_while(undo, lambda: has(8))
    assert (await floor.numbers("A-1"))[6:] == [("final", "voided"), ("reversal", "voided")]
    after = jobs(await plant.status())["A-1"]
    assert after == before, "as if nobody had said it"
    await floor.make("A-1", 4)

    await floor.window_is("0 s")
    counts = jobs(await plant.status())["A-1"]
    good, scrap = counts["good"], counts["scrap"]
    await floor.say("order.finish", "A-1", reason="less was needed")
    ledger = await floor.all_sent()
    assert sums(ledger, "A-1") == (good, scrap, 0)
    truth = await plant.truth("ASM-01")
    assert good + scrap == sum(row["good"] + row["scrap"] for row in truth) + floor.said
    assert [row["seq"] for row in ledger if row["final"]] == [9]
    with pytest.raises(ControlError, match="SIGNATURE_REQUIRED"):
        await correct(9, good, scrap)
    last = {row["seq"]: row for row in ledger}[9]
    asked = {"order": "A-1", "confirmation": 9, "good": last["good"] - 1, "scrap": last["scrap"], "rework": 0}
    status, refused = await floor.api("correct", token, **asked, reason="one short")
    assert (status, refused["guard"]) == (409, "SIGNATURE_REQUIRED"), refused

    async def signed():
        return await floor.api("correct", token, **asked, reason="one short", passphrase=PASSPHRASE)

    await floor.dies_while(signed, lambda: has(11))
    floor.said -= 1
    ledger = await floor.all_sent()
    assert sums(ledger, "A-1") == (good - 1, scrap, 0)
    assert good - 1 + scrap == sum(row["good"] + row["scrap"] for row in truth) + floor.said
    live = [row["seq"] for row in ledger if row["final"]]
    assert (live, [row["seq"] for row in ledger][-2:]) == ([9, 11], [10, 11])
    assert "A-1" not in jobs(await plant.status())
    assert len({row["key"] for row in ledger}) == len(ledger), "each once"
    await floor.agrees()


async def test_what_is_not_approved_is_confirmed_as_far_as_tolerated_and_the_rest_is_nobodys(floor, plant):
    await floor.begin(("B-1", 6), undo_window="0 s", delivery={"over_tolerance": "20"})
    await floor.say("order.start", "B-1", reason="")
    await floor.make("B-1", 12)
    counts = jobs(await plant.status())["B-1"]
    await floor.say("order.finish", "B-1", reason="")
    assert await floor.numbers("B-1") == [("final", "needs_approval")]
    await floor.dies()
    (unit,) = (await plant.status())["work_units"]
    assert unit["unallocated_good"] == 0

    async def reject():
        return await floor.say("order.reject", "B-1", confirmation=1, reason="nobody ordered them")

    async def done():
        return len(await floor.postings("B-1")) == 3

    await floor.dies_while(reject, done)
    ledger = await floor.all_sent()
    assert [(row["seq"], row["good"], row["scrap"], row["final"]) for row in ledger] == [(3, 7, counts["scrap"], True)]
    (unit,) = (await plant.status())["work_units"]
    assert unit["unallocated_good"] == counts["good"] - 7
    made = sum(row["good"] + row["scrap"] for row in await plant.truth("ASM-01"))
    assert sum(sums(ledger, "B-1")) + unit["unallocated_good"] + unit["unallocated_scrap"] == made
    await floor.agrees()
