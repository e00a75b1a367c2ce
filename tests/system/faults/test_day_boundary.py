"""Midnight comes while the gateway is dead: the day is closed once, its record follows the chain, and is told."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time

import paho.mqtt.client as mqtt
import pytest
from conservation import rows
from paho.mqtt.enums import CallbackAPIVersion
from rig import Rig

from buffer.audit_chain import ChainReader
from gateway.core.audit.chain import Verified

SEED = 20_261_127
BUSY_S = 120.0
MIDNIGHT_S = dt.datetime(2027, 3, 27, tzinfo=dt.UTC).timestamp()
RECORDS = "SELECT day, number, digest, first_seq, last_seq, document FROM closing_record ORDER BY number"


class Days:
    """A client of the broker: what it hears of closed days, by the last level of the topic."""

    def __init__(self, port):
        self.heard = {"day": [], "day_closed": []}
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("linegate/+/machine/#", qos=1)
        self.client.on_message = self._take
        self.client.connect_async("127.0.0.1", port)
        self.client.loop_start()

    def _take(self, _client, _data, message):
        what = message.topic.rpartition("/")[2]
        if what in self.heard and message.payload:
            self.heard[what].append(json.loads(message.payload)["digest"])

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def kept(rig):
    return rows(rig.state_dir / "linegate.db", RECORDS)


async def until(rig, condition, what):
    end = time.monotonic() + BUSY_S
    while not (found := condition()):
        assert time.monotonic() < end, rig.failed(f"waited in vain for {what}")
        await asyncio.sleep(0.05)
    return found


@pytest.mark.timeout(600)
async def test_a_day_that_ends_between_two_kills_is_closed_once(tmp_path, wall):
    async with Rig(tmp_path, seed=SEED, env=wall.env, broker=True) as rig:
        rig.document["gateway"]["timezone"] = "UTC"
        rig.document["buffer"] = {"checkpoint": "100 ms", "day_grace": "0 s"}
        rig.document["work_units"]["ASM-01"].pop("calendar", None)
        wall.show(MIDNIGHT_S - 1800)
        await rig.open()
        await rig.produce()
        await rig.status_where(lambda view: view["targets"][0]["posted"] > 1, "bookings")
        assert kept(rig) == []
        await rig.kill(start=False)
        await rig.kill_broker()
        wall.show(MIDNIGHT_S + 5)
        rig.start()
        await asyncio.sleep(rig.rng.uniform(0.5, 3.0))
        await rig.kill()
        await until(rig, lambda: kept(rig), "the closing record")
        await rig.kill()  # right behind it, as likely as not before anybody is told
        await rig.start_broker()
        days = Days(rig.ports["broker"])
        try:
            await until(rig, lambda: days.heard["day"], "the retained record")
        finally:
            days.close()
        await rig.settled()
        rig.check()  # also that records follow one another, and agree with journal and audit trail

        (record,) = kept(rig)
        assert record["day"] == "2027-03-26", rig.failed(record["day"])
        document = json.loads(record["document"])
        assert "NOT_RUNNING" in document["incomplete"], rig.failed(document["incomplete"])
        assert set(days.heard["day"]) == {record["digest"]}
        assert set(days.heard["day_closed"]) <= {record["digest"]}
        counted = rows(
            rig.state_dir / "linegate.db",
            f"SELECT sum(json_extract(CAST(body AS TEXT), '$.pieces')) AS pieces FROM journal "
            f"WHERE kind = 'pieces' AND seq BETWEEN {record['first_seq']} AND {record['last_seq']}",
        )[0]["pieces"]
        operations = [sum(one["counted"].values()) for one in document["operations"]]
        assert sum(operations) + sum(document["unallocated"].values()) == counted, rig.failed(document)
        with ChainReader.open(rig.state_dir / "linegate.db") as reader:
            found = reader.verify()
            told = [one.content for one in reader.entries() if one.content.action == "day_closed"]
        assert isinstance(found, Verified), found
        assert [(one.field, one.new) for one in told] == [(record["day"], record["digest"])]


@pytest.mark.timeout(600)
async def test_a_day_that_is_closed_while_the_broker_is_away_is_told_when_it_is_back(tmp_path, wall):
    async with Rig(tmp_path, seed=SEED, env=wall.env, broker=True) as rig:
        rig.document["gateway"]["timezone"] = "UTC"
        rig.document["buffer"] = {"checkpoint": "100 ms", "day_grace": "0 s"}
        rig.document["work_units"]["ASM-01"].pop("calendar", None)
        wall.show(MIDNIGHT_S - 1800)
        await rig.open()
        assert await rig.stop() == 0
        await rig.kill_broker()
        wall.show(MIDNIGHT_S + 5)
        rig.start()
        await until(rig, lambda: kept(rig), "the closing record")
        waiting = await rig.status_where(lambda view: view["buffer"]["events"]["waiting"], "the event to wait")
        assert waiting["mqtt"]["connected"] is False
        await rig.start_broker()
        days = Days(rig.ports["broker"])
        try:
            await until(rig, lambda: days.heard["day_closed"], "the event")
        finally:
            days.close()
        assert set(days.heard["day_closed"]) == {kept(rig)[0]["digest"]}
