"""A real trytond beside the tests: one process for all, one template database for it, kept between runs."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "system" / "faults"))

import partner as tryton
from proxy import Proxy

from gateway.connectors.base import ConnectorContext, LookupKind, OutcomeKind, Posting, step_id
from gateway.connectors.tryton import PLUGIN
from gateway.connectors.tryton.settings import TrytonSettings
from gateway.core.duration import Duration
from gateway.core.secret import SecretRef

WAIT_S = 60
#: The first test makes the database of all, the others wait for it; in seconds, where nobody else uses the computer.
TIMEOUT_S = 600


def pytest_collection_modifyitems(items):
    """The long forms have the limit that ``make soak`` names: a marker would override it."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("soak") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """The folder with a database in which a plant is set up; made once for these versions (10 s)."""
    if why := tryton.missing():
        assert not os.environ.get("CI"), why
        pytest.skip(why)
    return tryton.cached_template(tmp_path_factory.getbasetemp().parent)


@pytest.fixture(scope="session")
def server(template, tmp_path_factory):
    """A trytond with a database of its own."""
    folder = tmp_path_factory.mktemp("tryton")
    shutil.copy(template / "plant.sqlite", folder)
    with tryton.Server(folder, "plant") as server:
        yield server


@pytest.fixture(scope="session")
def partner(server):
    """The planner and stock keeper at this Tryton."""
    return tryton.Partner(server.port)


@pytest.fixture
async def proxy(server):
    """A network before Tryton that can fail."""
    proxy = await Proxy(server.port, seed=7).start()
    yield proxy
    await proxy.close()


@pytest.fixture
def settings(server):
    """``settings(**changes)``: of a connector straight at the server."""

    def made(port=None, **changes):
        defaults = {
            "url": f"http://127.0.0.1:{port or server.port}", "database": "plant", "user": "linegate",
            "password": SecretRef(env="TRYTON_PASSWORD"), "timeout": Duration("60 s"),
            "server_time_limit": Duration("1 s"),
        }  # fmt: skip
        return TrytonSettings(connector="tryton", **{**defaults, **changes})

    return made


@pytest.fixture
def build(settings, tmp_path):
    """``build(**changes)``: a connector, as the daemon makes it."""

    def made(port=None, password=tryton.GATEWAY_PASSWORD, **changes):
        context = ConnectorContext(
            name="erp", gateway_id="gw-1", now_ns=time.time_ns, secrets={"password": password}, base_dir=tmp_path
        )
        return PLUGIN.build(settings(port, **changes), context)

    return made


@pytest.fixture
async def connector(build):
    """An opened connector straight at the server."""
    connector = build()
    await connector.open()
    yield connector
    await connector.close()


class Documents:
    """The confirmations of one operation of an order, one after the other."""

    def __init__(self, order, operation):
        self.order, self.operation = str(order), str(operation)
        self.seq = 0
        self.total = {"good": 0, "scrap": 0}

    def next(self, good=0, scrap=0, *, minutes="1.5", kind="partial", **changes):
        self.seq += 1
        self.total["good"] += good
        self.total["scrap"] += scrap
        return copy.deepcopy(document(self.order, self.operation, self.seq, good, scrap, minutes, kind) | changes)


def document(order, operation, seq, good, scrap, minutes="1.5", kind="partial"):
    """A canonical confirmation, as far as the connector reads it."""
    from gateway.core.document import message_id_of

    key = f"RQ1/epochepochabc/{order}/{operation}/{seq}"
    rows = [{"reason": None, "qty": str(scrap)}] if scrap else []
    return {
        "schema_version": 2, "confirmation_id": message_id_of(key), "idempotency_key": key, "gateway_id": "gw-1",
        "plant": "RQ1", "work_center": "WC-ASM", "order_id": order, "operation": operation, "seq": seq, "type": kind,
        "reverses": None, "qty": {"good": str(good), "scrap": rows, "rework": "0", "test": "0", "hold": "0"},
        "uom": "u", "times": {"machine_setup_min": "0", "labour_setup_min": "0", "machine_min": minutes,
        "labour_min": "0"},
    }  # fmt: skip


@pytest.fixture
def documents():
    """``documents(order, operation)``: makes its confirmations."""
    return Documents


class Sent:
    """A confirmation on its way, as the forwarder keeps it: the message, the references, baseline and attempts."""

    def __init__(self, connector, image):
        self.image = image
        first = connector.render(image)
        self.messages = (first._replace(more=()), *first.more)
        self.references = ()
        self.baselines = {}
        self.attempts = 0
        self.released = False
        self.outcome = None

    @property
    def step(self):
        return len(self.references)

    @property
    def name(self):
        return self.messages[self.step].name if not self.over else ""

    @property
    def over(self):
        return len(self.references) == len(self.messages)

    def posting(self):
        image, step = self.image, self.step
        return Posting(
            image["idempotency_key"], step_id(image["confirmation_id"], step), image["order_id"], image["operation"],
            image["seq"], self.attempts, self.messages[step], image["type"], step, len(self.messages), self.references,
            self.baselines.get(step), self.released,
        )  # fmt: skip

    async def send(self, connector):
        """One attempt at the step that is next; the outcome."""
        if self.step not in self.baselines:
            self.baselines[self.step] = await connector.baseline(self.posting())
        self.attempts += 1
        self.outcome = await connector.send(self.posting())
        if self.outcome.kind is OutcomeKind.POSTED:
            self.references += (self.outcome.reference,)
        return self.outcome

    async def look_up(self, connector):
        """What is known of the step that is next; taken over where it is found."""
        lookup = await connector.lookup(self.posting())
        if lookup.kind is LookupKind.FOUND:
            self.references += (lookup.reference,)
        return lookup

    async def deliver(self, connector):
        """All steps, as long as each is booked; the last outcome."""
        while not self.over:
            outcome = await self.send(connector)
            if outcome.kind is not OutcomeKind.POSTED:
                break
        return self.outcome


@pytest.fixture
def sent(connector):
    """``sent(image)``: a confirmation on its way."""

    def made(image):
        return Sent(connector, image)

    return made


@pytest.fixture
def opened(build):
    """``async with opened(port=...) as connector``: another connector, for a while."""

    @contextlib.asynccontextmanager
    async def use(**changes):
        other = build(**changes)
        await other.open()
        try:
            yield other
        finally:
            await other.close()

    return use


@pytest.fixture
def until():
    """``await until(condition, what)``: asks again until it is true."""

    async def wait(condition, what):
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, f"waited {WAIT_S} s in vain for {what}"
            await asyncio.sleep(0.05)

    return wait
