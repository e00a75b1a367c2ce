"""What others see of a reload: what the broker keeps of machines that are gone, and hours that change at once."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from gateway.demo import plan

BASE = "linegate/demo"
OF_THE_BOX = {f"{BASE}/machine/PCK-01/{what}" for what in ("state", "counts", "order")} | {f"{BASE}/source/box"}


def counted(view):
    return sum(unit["counted_good"] + unit["counted_scrap"] for unit in view["work_units"])


def unit_of(view, name):
    return next(unit for unit in view["work_units"] if unit["id"] == name)


async def reload(plant):
    plant.write()
    return await plant.cli("reload", "-d", plant.state_dir)


class Subscriber:
    """What the broker keeps: the last payload of each topic, without those that it forgot."""

    def __init__(self, port):
        self.kept = {}
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_message = self._on_message
        self.client.connect_async("127.0.0.1", port)
        self.client.loop_start()

    def _on_message(self, _client, _data, message):
        if message.payload:
            self.kept[message.topic] = message.payload
        else:
            self.kept.pop(message.topic, None)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def started(program, config, port):
    user = "user root\n" if os.geteuid() == 0 else ""
    config.write_text(f"listener {port} 127.0.0.1\npersistence false\nallow_anonymous true\n{user}")
    return subprocess.Popen([program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
async def seen(plant, until, port_for_later):
    """A plant with a real broker; ``subscriber()`` is another client that has just connected."""
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("mosquitto is not installed: apt-get install mosquitto")
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
    port = plant.ports["broker"] = port_for_later()
    plant.broker = True
    plant.document["mqtt"].update(protocol="auto", heartbeat="1 s")
    broker = started(program, plant.folder / "mosquitto.conf", port)
    clients = []

    def subscriber():
        clients.append(Subscriber(port))
        return clients[-1]

    plant.subscriber = subscriber
    await plant.start_erp()
    yield plant
    for client in clients:
        client.close()
    broker.kill()
    broker.wait()


async def two_machines(plant, until):
    plant.keep("ASM-01", "PCK-01")
    await plant.release("4711", ("0010", "WC-ASM"), quantity=5000)
    await plant.start_machine("ASM-01")
    await plant.start_machine("PCK-01")
    await plant.run()
    await plant.status_where(
        lambda view: all(source["state"] == "up" for source in view["sources"]) and unit_of(view, "ASM-01")["order"],
        "everything up",
    )
    await plant.produce()
    await plant.status_where(lambda view: unit_of(view, "PCK-01")["unallocated_good"] > 24, "cartons without an order")
    client = plant.subscriber()
    await until(
        lambda: set(client.kept) >= OF_THE_BOX, lambda: f"the machine at the broker; kept {sorted(client.kept)}"
    )
    return client


async def test_the_broker_forgets_a_machine_that_is_removed_while_it_produces(seen, until):
    client = await two_machines(seen, until)
    before = await seen.ask("status")
    del seen.document["work_units"]["PCK-01"], seen.document["sources"]["box"]
    assert await reload(seen) == (0, "work unit PCK-01 removed; source box removed\n", "")
    await until(lambda: not OF_THE_BOX & set(client.kept), lambda: f"nothing of it; kept {sorted(client.kept)}")
    late = seen.subscriber()
    await until(lambda: f"{BASE}/machine/ASM-01/counts" in late.kept, "the machine that stays")
    assert not OF_THE_BOX & set(late.kept)
    more = counted(before) + 20
    after = await seen.status_where(lambda view: unit_of(view, "ASM-01")["counted_good"] > more, "the other goes on")
    assert after["pid"] == before["pid"]
    # It comes back with its counts, and is shown again.
    example = plan.example()
    seen.document["work_units"]["PCK-01"] = example["work_units"]["PCK-01"]
    seen.document["sources"]["box"] = example["sources"]["box"] | {"backoff_max": "1 s"}
    assert await reload(seen) == (0, "work unit PCK-01 added; source box added\n", "")
    await until(lambda: set(client.kept) >= OF_THE_BOX, "the machine, shown again")
    await seen.halt()
    result = await seen.arrived(exact=False)
    # Cartons that passed while nobody looked at its inputs are declared, and no others.
    assert result.balanced, result.to_json()


async def test_the_broker_forgets_a_machine_that_was_taken_out_while_the_gateway_did_not_run(seen, until):
    client = await two_machines(seen, until)
    code, _took_s = await seen.daemon.stop()
    assert code == 0
    del seen.document["work_units"]["PCK-01"], seen.document["sources"]["box"]
    await seen.run()
    machine = {topic for topic in OF_THE_BOX if "/machine/" in topic}
    await until(lambda: not machine & set(client.kept), lambda: f"nothing of it; kept {sorted(client.kept)}")
    assert f"{BASE}/machine/ASM-01/counts" in client.kept


ALWAYS = {"shifts": {"all-day": {"start": "00:00", "end": "24:00"}}}


async def test_hours_change_at_once_and_counts_go_on(plant):
    """A machine that told its state is judged by its cycles; a calendar is given, changed and taken away."""
    plant.keep("ASM-01")
    plant.document["gateway"]["timezone"] = "UTC"
    del plant.document["calendars"], plant.document["work_units"]["ASM-01"]["calendar"]
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01")
    await plant.run()
    view = await plant.ready()
    await plant.produce()
    rules = plant.document["work_units"]["ASM-01"]

    async def state_is(wanted):
        await plant.status_where(lambda view: unit_of(view, "ASM-01")["state"] == wanted, wanted)

    await state_is("PRODUCING")
    rules["state"] = {"stop_detect": "1 h"}
    assert await reload(plant) == (0, "rules of ASM-01 changed\n", "")
    await state_is("PRODUCING")
    plant.document["calendars"] = {"week": ALWAYS}
    rules["calendar"] = "week"
    assert await reload(plant) == (0, "rules of ASM-01 changed; calendar week changed\n", "")
    await state_is("PRODUCING")
    today = dt.datetime.fromtimestamp(view["now_ns"] / 1e9, dt.UTC).date()
    around = {"date": str(today - dt.timedelta(days=1)), "until": str(today + dt.timedelta(days=1))}
    for last in (False, True):
        plant.document["calendars"] = {"week": {**ALWAYS, "exceptions": [{**around, "closed": True}]}}
        await plant.halt()
        assert await reload(plant) == (0, "calendar week changed\n", "")
        await state_is("NOT_SCHEDULED")
        before = counted(await plant.ask("status"))
        if last:
            del rules["calendar"], plant.document["calendars"]
            assert await reload(plant) == (0, "rules of ASM-01 changed; calendar week changed\n", "")
        else:
            plant.document["calendars"] = {"week": ALWAYS}
            assert await reload(plant) == (0, "calendar week changed\n", "")
        await plant.produce()
        await state_is("PRODUCING")
        await plant.status_where(lambda view, before=before: counted(view) > before, "pieces")
    await plant.halt()
    result = await plant.arrived()
    assert result.balanced, result.to_json()
    assert (result.machines[0].unknown, result.machines[0].review) == (0, 0)


#: A piece arrives behind the last look at a machine that is being removed.
ONE_MORE_PIECE = """
import sys
from gateway.work_unit.item import Item
from gateway.work_unit.runner import Runner
real = Runner.drain
def drain(self):
    last = self._last.get("asm.good")
    if last is not None:
        now_ns = self._now_ns()
        piece = last._replace(value=last.value + 1, source_time_ns=None, received_time_ns=now_ns)
        self._queue.put_nowait(Item((piece,), None))
    real(self)
Runner.drain = drain
from gateway.cli import main
sys.exit(main(["run", *sys.argv[1:]]))
"""


async def test_a_piece_that_comes_while_its_machine_is_removed_is_kept_and_ends_nothing(seen, until):
    seen.keep("ASM-01", "PCK-01")
    await seen.start_machine("ASM-01")
    await seen.start_machine("PCK-01")
    await seen.run(launcher=("-c", ONE_MORE_PIECE))
    before = await seen.status_where(lambda view: {one["state"] for one in view["sources"]} == {"up"}, "sources up")
    await seen.produce("ASM-01")
    await seen.status_where(lambda view: unit_of(view, "ASM-01")["unallocated_good"] > 3, "pieces")
    await seen.halt()
    goal = sum(row["good"] for row in await seen.truth("ASM-01"))
    await seen.status_where(lambda view: unit_of(view, "ASM-01")["counted_good"] == goal, "all of them")
    units = seen.document["work_units"]
    taken = units.pop("ASM-01")  # its source stays, and delivers to nobody
    assert await reload(seen) == (0, "work unit ASM-01 removed\n", "")
    client = seen.subscriber()
    await until(lambda: f"{BASE}/machine/PCK-01/state" in client.kept, "the machine that stays")
    await until(lambda: not any("ASM-01" in topic for topic in client.kept), "nothing of the one that is gone")
    units["ASM-01"] = taken
    assert await reload(seen) == (0, "work unit ASM-01 added\n", "")
    after = await seen.status_where(lambda view: len(view["work_units"]) == 2, "both")
    assert after["pid"] == before["pid"]
    assert unit_of(after, "ASM-01")["counted_good"] == goal + 1
