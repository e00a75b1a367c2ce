"""The figures of the buffer are the same wherever they are shown, and what is wrong is said within seconds."""

from __future__ import annotations

import json
import sqlite3

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

#: Promised are 5 s on a machine that has time; the heartbeat of this gateway comes once a minute.
TOLD_WITHIN_S = 15
OPEN = "state NOT IN ('posted', 'superseded', 'voided')"


class Heard:
    """A client of the broker: the last document of each topic."""

    def __init__(self, port):
        self.last = {}
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_message = lambda _client, _data, message: self.last.__setitem__(
            message.topic.removeprefix("linegate/demo/"), json.loads(message.payload)
        )
        # the demo's broker speaks 3.1.1
        self.client.connect_async("127.0.0.1", port)
        self.client.loop_start()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def by_sql(state_dir):
    with sqlite3.connect(f"file:{state_dir}/linegate.db?mode=ro", uri=True) as link:
        rows = link.execute(f"SELECT state, kind = 'ack', count(*) FROM outbox WHERE {OPEN} GROUP BY 1, 2").fetchall()
        posted = link.execute("SELECT count(*) FROM outbox WHERE state = 'posted' AND kind <> 'ack'").fetchone()[0]
    states = {state: number for state, ack, number in rows if not ack}
    return {
        "states": states,
        "waiting": sum(number for state, number in states.items() if state != "parked"),
        "answers": sum(number for _, ack, number in rows if ack),
        "posted": posted,
    }


def shown(figures):
    targets = figures["targets"]
    states = {}
    for one in targets:
        for state, number in one["states"].items():
            states[state] = states.get(state, 0) + number
    return {
        "states": {state: number for state, number in states.items() if number},
        "waiting": figures["waiting"],
        "answers": sum(sum(one["answers"].values()) for one in targets),
        "posted": sum(one["posted"] for one in targets),
    }


@pytest.fixture
async def site(plant):
    broker = await plant.simulate("broker", "--port", "0")
    plant.ports["broker"] = broker.ready["port"]
    plant.broker = True
    plant.document["mqtt"].update(heartbeat="60 s")
    plant.keep("ASM-01")
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01")
    plant.heard = Heard(plant.ports["broker"])
    yield plant
    plant.heard.close()


async def test_every_surface_says_what_the_file_says(site, until):
    await site.run()
    await site.ready()
    await site.produce()
    await site.status_where(lambda view: view["targets"][0]["posted"] > 1, "bookings")

    await site.erp.stop()
    await site.status_where(lambda view: view["targets"][0]["link"] == "down", "the ERP is missed")
    await until(
        lambda: "target erp" in " ".join((site.heard.last.get("health") or {}).get("degraded", ())),
        "news of it, without waiting for the next heartbeat",
        TOLD_WITHIN_S,
    )
    view = await site.status()
    (reason,) = [text for text in view["buffer"]["degraded"] if text.startswith("target erp")]
    assert "last booked" in reason
    assert "check the network" in reason
    await site.status_where(lambda view: view["buffer"]["waiting"], "confirmations that wait")
    await site.halt()

    async def all_agree():
        before = by_sql(site.state_dir)
        code, out, err = await site.cli("buffer", "status", "--json", "-d", site.state_dir)
        assert code == 0, err
        status = await site.ask("status")
        surfaces = [shown(json.loads(out)), shown(status["buffer"]), shown(site.heard.last["buffer"])]
        target = status["targets"][0]
        surfaces.append(before | {"waiting": target["waiting"], "answers": target["answers_waiting"]})
        seen[:] = [before, *surfaces, by_sql(site.state_dir)]
        return all(one == before for one in seen)

    seen = []
    await until(lambda: "buffer" in site.heard.last, "the figures at the broker")
    await until(all_agree, lambda: f"one number everywhere: {seen}")
    assert seen[0]["waiting"]

    site.daemon.kill()
    await site.daemon.process.wait()
    code, out, err = await site.cli("buffer", "status", "--json", "-d", site.state_dir)
    assert code == 0, err
    left = by_sql(site.state_dir)  # an attempt may have begun, and a timer confirmed what was open, since the last look
    assert left["waiting"] >= seen[0]["waiting"]
    assert shown(json.loads(out)) == left, "also when nobody runs any more"
    code, out, _ = await site.cli("buffer", "status", "-d", site.state_dir)
    assert f"waiting {left['waiting']}" in out
