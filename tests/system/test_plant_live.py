"""The five machines as processes, one real gateway with the example configuration, kills in between: pieces and states.

Each machine at the speed at which a busy computer can still look often enough: the tester's verdicts are shown for half
a second, the filler makes ten bottles a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
from fractions import Fraction
from importlib import resources

import pytest
import yaml

from config.document import flatten
from config.include import read_with_includes
from gateway.control import ControlError, call
from gateway.demo import plan
from gateway.demo.process import Process

KILLS = 4
#: Work unit: simulator, source, speed, and what it makes at least between two kills.
MACHINES = {
    "ASM-01": ("asm-01", "asm", 20, 10),
    "TST-01": ("tst-01", "tst", 1, 1),
    "IMM-01": ("imm-01", "imm", 20, 8),
    "FIL-02": ("fil-02", "filler", 1, 20),
    "PCK-01": ("pck-01", "box", 20, 24),
}
#: How each is stopped at the end, and what it is then.
STOPS = {
    "ASM-01": ("stop fault 101", {"STOPPED"}, "TECH.FEEDER_JAM"),
    "TST-01": ("stop", {"MICRO_STOP", "STOPPED"}, None),  # STOPPED where no part was seen since the gateway is back
    "IMM-01": ("stop", {"STOPPED"}, None),
    "FIL-02": ("suspend blocked", {"BLOCKED"}, "EXT.CONVEYOR_FULL"),
    "PCK-01": ("stop fault 401", {"STOPPED"}, "TECH.PACKER"),
}
#: Those whose own stops would last too long here, or hide the reason of the last one.
STEADY = ("ASM-01", "TST-01", "FIL-02")
ROLES = ("good", "scrap", "rework", "hold", "test")
SMALL, LARGE = 48, 100_000
#: Parts that may lie in the tester while nobody looks: what becomes of them is known to nobody.
NESTS = 2
CONFIRMED = ("good", "scrap")


class Works:
    """The processes in one folder."""

    def __init__(self, folder):
        self.folder, self.state_dir, self.config = folder, folder / "state", folder / "linegate.yaml"
        self.machines, self.before, self.daemon, self.erp, self.seen = {}, {}, None, None, {}
        self._others = []

    async def open(self):
        self.erp = await self._start("erp", "--port", "0")
        for unit, (name, _, speed, _) in MACHINES.items():
            place = ("--socket", str(self.state_dir / "pins.sock")) if unit == "PCK-01" else ("--port", "0")
            link = ("--transport", "tcp") if unit == "TST-01" else ()
            truth = ("--truth", str(self.folder / f"{unit}.jsonl"))
            steady = ("--steady",) if unit in STEADY else ()
            machine = await self._start(name, *place, *link, *truth, *steady, "--speed", str(speed))
            self.machines[unit] = machine
            self.before[unit] = made(await machine.command("stop"))
        for unit, rules in self._document()["work_units"].items():
            for number, quantity in ((1, SMALL), (2, LARGE)):
                await self._release(f"{unit}/{number}", rules["work_center"], quantity, number)
        self.config.write_text(yaml.safe_dump(self._document(), sort_keys=False), encoding="utf-8")
        await self.run()

    async def _start(self, name, *options):
        process = Process(name, ["simulators", name, *options], self.folder / f"{name}.log")
        self._others.append(process)
        await process.start(speaks=True)
        return process

    def _document(self):
        """The example at each machine's speed, without what depends on the time of day."""
        with resources.as_file(resources.files("config").joinpath("examples/plant.yaml")) as path:
            document = flatten(read_with_includes(path)[0]).data
        document = plan._scale(document, Fraction(1))  # plain texts for the dumper
        for section in ("calendars", "tests"):
            document.pop(section, None)
        # On a busy computer a simulated machine makes up for its pauses in bursts, which are faster than it is.
        for rule in document["work_units"]["ASM-01"]["counters"]:
            rule["max_rate"] = "150 /min"
        for unit in ("ASM-01", "FIL-02"):  # what they make in ten seconds, and more
            for rule in document["work_units"][unit]["counters"]:
                rule["slack"] = 200
        document["gateway"]["state_dir"] = str(self.state_dir)
        document["buffer"] = {"checkpoint": "200 ms"}
        sources, units = document["sources"], document["work_units"]
        for unit, (name, source, speed, _) in MACHINES.items():
            units[unit].pop("calendar")
            units[unit] = plan._scale(units[unit], Fraction(speed))
            sources[source] = plan._scale(sources[source], Fraction(speed)) | {"backoff_max": "1 s"}
            if "port" in sources[source]:
                sources[source]["port"] = self.machines[unit].ready["port"]
            elif "endpoint" in sources[source]:
                sources[source]["endpoint"] = f"opc.tcp://127.0.0.1:{self.machines[unit].ready['port']}/{name}"
        sources["tst"]["scan"] = "100 ms"
        for rule in units["PCK-01"]["counters"]:
            rule["debounce"] = "100 us"
        document["connectors"]["erp"] |= {
            "url": f"http://127.0.0.1:{self.erp.ready['port']}", "poll_orders": "500 ms", "backoff_max": "1 s",
        }  # fmt: skip
        return document

    async def run(self):
        self.daemon = Process("gateway", ["gateway", "run", str(self.config)], self.folder / "gateway.log")
        await self.daemon.start(speaks=False)

    async def dies(self):
        self.daemon.kill()
        await self.daemon.wait()

    async def close(self):
        if self.daemon is not None:
            await self.daemon.stop()
        await asyncio.gather(*(process.stop() for process in self._others))

    # --- asking ---

    async def status(self):
        """The status, or None while it is down; what each machine's state was is kept."""
        with contextlib.suppress(ControlError):
            view = await asyncio.to_thread(call, self.state_dir, "status")
            for one in view["work_units"]:
                self.seen.setdefault(one["id"], set()).add(one["state"])
            return view
        return None

    async def totals(self, unit):
        good, scrap = made(await self.machines[unit].command("totals"))
        return good - self.before[unit][0], scrap - self.before[unit][1]

    async def samples_of(self, unit):
        text = (self.folder / f"{unit}.jsonl").read_text()  # the machine may be in the middle of a line
        return sum(json.loads(line).get("samples", 0) for line in text.splitlines(keepends=True) if line[-1] == "\n")

    async def ledger(self):
        return (await asyncio.to_thread(self._ask, "GET", "/ledger", None))["bookings"]

    async def _release(self, order, center, quantity, number):
        image = {
            "order_id": order, "revision": 1, "product": {"id": "P-1", "uom": "PC"}, "qty": str(quantity),
            "sequence_no": number, "operations": [{"op": "0010", "work_center": center, "qty": str(quantity)}],
        }  # fmt: skip
        await asyncio.to_thread(self._ask, "POST", "/orders", image)

    def _ask(self, method, path, document):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.erp.ready["port"], timeout=60)) as link:
            link.request(method, path, body=None if document is None else json.dumps(document))
            answer = link.getresponse()
            text = answer.read()
            assert answer.status in (200, 201), text
            return json.loads(text)


def made(totals):
    return totals["good_total"], totals["scrap_total"]


def units_of(view):
    return {one["id"]: one for one in view["work_units"]}


def counted(one):
    return {role: one[f"counted_{role}"] for role in ROLES}


@pytest.fixture
async def works(tmp_path):
    works = Works(tmp_path)
    try:
        await works.open()
        yield works
    finally:
        await works.close()


def runs(view):
    return all(source["state"] == "up" for source in view["sources"]) and all(
        unit["order"] for unit in view["work_units"]
    )


async def saw(works, until, condition, what, timeout_s=60):
    """Wait until the gateway's status is so; the status."""

    last = []

    async def asked():
        view = await works.status()
        last[:] = [view and [(one["id"], one["state"], one["reason"], one["order"]) for one in view["work_units"]]]
        return view if view is not None and condition(view) else None

    return await until(asked, lambda: f"{what}; found {last}", timeout_s)


@pytest.mark.timeout(240)
async def test_five_machines_and_a_gateway_that_dies(works, until):
    await saw(works, until, runs, "sources up and orders there")
    for machine in works.machines.values():
        await machine.command("start")

    def all_seen(_view):
        return all("PRODUCING" in works.seen[unit] for unit in MACHINES)

    await saw(works, until, all_seen, "every machine to be seen producing")
    for _ in range(KILLS):
        before = {unit: sum(await works.totals(unit)) for unit in MACHINES}

        async def goes_on(before=before):
            await works.status()
            now = {unit: sum(await works.totals(unit)) for unit in MACHINES}
            return all(now[unit] >= before[unit] + least for unit, (*_, least) in MACHINES.items())

        await until(goes_on, "every machine to make something", 60)
        await works.dies()
        await works.run()
        await saw(works, until, runs, "the gateway back")
    for unit, (command, *_) in STOPS.items():
        await works.machines[unit].command(command)
    truth = {unit: await works.totals(unit) for unit in MACHINES}

    def standing(view):
        found = units_of(view)
        return runs(view) and all(
            found[unit]["state"] in states and reason in (None, found[unit]["reason"])
            for unit, (_, states, reason) in STOPS.items()
        )

    await saw(works, until, standing, "every machine's state and reason")
    await still(works, until)
    view = await works.status()
    for unit, one in units_of(view).items():
        check_pieces(unit, one, truth[unit])
    check_erp(await works.ledger(), units_of(view))


async def still(works, until):
    """Nothing waits, and nothing has changed for a while."""
    last = []

    async def the_same():
        view = await works.status()
        now = view and [counted(one) for one in view["work_units"]]
        last.append(now)
        sent = view is not None and not any(target["waiting"] for target in view["targets"])
        return sent and last[-10:] == [now] * 10

    await until(the_same, "everything counted and sent", 60)


def check_pieces(unit, one, truth):
    """counted <= truth <= counted + review + what may be lost."""
    found = counted(one)
    told = (unit, truth, found, one["review_pieces"], one["unknown"])
    bounds = [interval["max_pieces"] for interval in one["unknown"]]
    assert None not in bounds, told
    doubt = sum(bounds) + one["review_pieces"] + (NESTS * (KILLS + 1) if unit == "TST-01" else 0)
    for role, pieces in zip(CONFIRMED, truth, strict=True):
        assert found[role] <= pieces <= found[role] + found["hold"] + doubt, told
    undecided = NESTS if unit == "TST-01" else 0
    assert sum(found.values()) - undecided <= sum(truth) <= sum(found.values()) + doubt, told
    if unit in ("ASM-01", "FIL-02"):  # counters run on: nothing is lost or in doubt
        assert (found["good"], found["scrap"], doubt) == (*truth, 0), told


def check_erp(ledger, units):
    """Each confirmation once and in order, the small orders complete, and all that was counted is somewhere."""
    keys = [entry["key"] for entry in ledger]
    assert len(keys) == len(set(keys)), "booked twice"
    orders = {}
    for entry in ledger:
        orders.setdefault(entry["order"], []).append(entry)
    for order, entries in orders.items():
        assert [int(entry["seq"]) for entry in entries] == list(range(1, len(entries) + 1)), order
    for unit, one in units.items():
        here = [entry for entry in ledger if entry["machine"] == unit]
        for role in CONFIRMED:
            booked = sum(int(entry[role]) for entry in here)
            assert booked + one[f"unconfirmed_{role}"] + one[f"unallocated_{role}"] == one[f"counted_{role}"], (
                unit,
                role,
            )
        small = orders.get(f"{unit}/1", [])
        if one["order"] == f"{unit}/2":  # then the first one is done
            assert [entry["final"] for entry in small].count(True) == 1, unit
            assert sum(int(entry[role]) for entry in small for role in CONFIRMED) == SMALL, unit
    assert sum(one["order"].endswith("/2") for one in units.values()) >= len(units) - 1
