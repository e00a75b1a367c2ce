"""A real trytond beside the tests: its database, its process, and what a planner and a stock keeper do in it.

Speaks JSON-RPC by the standard library alone, and shares nothing with the connector: the same mistake on both sides
would cancel out. By itself it is a Tryton to try the gateway with::

    python tests/tryton/partner.py --port 8000 FOLDER

It releases an order, and another one for each quantity on standard input; any other line shows what was booked.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import datetime as dt
import fcntl
import gzip
import hashlib
import http.client
import importlib.util
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # quiet_ports.py, also where this is a program of its own

import quiet_ports

MODULES = ("production", "production_routing", "production_work", "production_split")
PACKAGES = ("trytond", *(f"trytond-{name.replace('_', '-')}" for name in MODULES))
#: So long a busy computer may take for what is done in seconds.
BUILD_S = 540
START_S = 120
CALL_S = 60
#: Of the administrator of databases that live as long as a test.
PASSWORD = "admin-of-a-test"
GATEWAY_PASSWORD = "gateway-of-a-test"
GROUPS = ("Production", "Stock")
CENTERS = {"Moulding": "WC-IMM", "Assembly": "WC-ASM"}
PER_HOUR = "36.00"
CONFIG = """\
[database]
uri = sqlite://
path = {folder}
[web]
listen = 127.0.0.1:{port}
[session]
authentications = password
"""


class RpcError(Exception):
    """What Tryton said instead of a result."""


def missing():
    """Why there is no Tryton here, "" where it is."""
    if importlib.util.find_spec("trytond") is None:
        return "trytond is not installed: pip install 'linegate[test]'"
    return ""


def template(cache):
    """The folder with a database in which the modules are activated; made once for each set of versions (8 s)."""
    versions = ",".join(f"{name}={metadata.version(name)}" for name in PACKAGES)
    ready = Path(cache) / f"tryton-{hashlib.sha256(f'{versions},{_own()}'.encode()).hexdigest()[:16]}"
    if ready.is_dir():
        return ready
    ready.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix="tryton-", dir=ready.parent))
    try:
        _furnished(making)
    except BaseException:
        shutil.rmtree(making)
        raise
    try:
        making.rename(ready)
    except OSError:  # another worker was faster
        shutil.rmtree(making)
    return ready


def _furnished(making):
    """Make the database in this folder, with a plant in it."""
    (making / "plant.sqlite").touch()
    (making / "password").write_text(PASSWORD)
    config = making / "trytond.conf"
    config.write_text(CONFIG.format(folder=making, port=1))
    tool = Path(sys.executable).with_name("trytond-admin")
    command = [sys.executable, "-W", "ignore", str(tool), "-c", str(config), "-d", "plant", "-u", "ir", "res", *MODULES]
    subprocess.run(
        [*command, "--activate-dependencies", "--email", "x@example.invalid", "-p"],
        env={**os.environ, "TRYTONPASSFILE": str(making / "password")}, check=True, timeout=BUILD_S,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    with Server(making, "plant") as server:
        Partner(server.port).furnish()
    with contextlib.closing(sqlite3.connect(making / "plant.sqlite")) as link:  # one file, whole: it is copied
        link.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def cached_template(fallback=None):
    """The template in the user's cache, or else below ``fallback``; others wait while one makes it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "linegate-tests"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:  # nobody's home can be written
        cache = Path(fallback or tempfile.gettempdir()) / "linegate-tests"
        cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return template(cache)


def _own():
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


class Server:
    """One trytond process on a free port; ``port`` stays when it is started again."""

    def __init__(self, folder, database, port=0):
        self.folder, self.database = Path(folder), database
        self.port = port or quiet_ports.find()
        self._process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_exc):
        self.stop()

    def start(self):
        """Start it, unless it runs, and wait until it answers."""
        if self._process is not None:
            return
        config = self.folder / "trytond.conf"
        config.write_text(CONFIG.format(folder=self.folder, port=self.port))
        tool = Path(sys.executable).with_name("trytond")
        command = [sys.executable, "-W", "ignore", str(tool), "-c", str(config), "-d", self.database]
        with (self.folder / "trytond.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_S
        while True:
            assert self._process.poll() is None, (self.folder / "trytond.log").read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert time.monotonic() < deadline, (self.folder / "trytond.log").read_text()
            time.sleep(0.05)

    def stop(self):
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Partner:
    """A person at Tryton: makes what a plant has, releases orders, and reads what was booked."""

    def __init__(self, port, database="plant", user="admin", password=PASSWORD):
        self.port, self.database = port, database
        self._authorization = None
        self._context = {}
        user_id, token, *_ = self.call("common.db.login", user, {"password": password}, "en")
        session = base64.b64encode(f"{user}:{user_id}:{token}".encode()).decode()
        self._authorization = f"Session {session}"
        self.refresh()

    def refresh(self):
        """Take over what the user may now see."""
        self._context = self.call("model.res.user.get_preferences", True, {})

    def call(self, method, *params):
        """One call; the result. Raises RpcError."""
        headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip"}
        if self._authorization is not None:
            headers["Authorization"] = self._authorization
        body = json.dumps({"id": 1, "method": method, "params": params}, default=_marked)
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=CALL_S)) as link:
            link.request("POST", f"/{self.database}/rpc/", body=body, headers=headers)
            answer = link.getresponse()
            data = answer.read()
        if answer.status != 200:
            raise RpcError(answer.status, data)
        if answer.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        document = json.loads(data)
        if "error" in document:
            raise RpcError(method, document["error"])
        return document["result"]

    def model(self, name, *params, **more):
        """A call of a model, with the context."""
        return self.call(f"model.{name}", *params, {**self._context, **more})

    def found(self, model, domain, *names):
        """Rows as they are."""
        return self.model(f"{model}.search_read", domain, 0, None, [["id", "ASC"]], list(names))

    def one(self, model, domain, *names):
        """The only row."""
        (row,) = self.found(model, domain, "id", *names)
        return row

    # --- the plant ---------------------------------------------------------------------------------------------------

    def furnish(self):
        """Company, product, BOM, routing of two operations, work centers, a scrap location, and the gateway's user."""
        currency = self._create(
            "currency.currency", name="Euro", code="EUR", symbol="E", digits=2, rounding=_decimal("0.01")
        )
        party = self._create("party.party", name="Plant RQ1")
        company = self._create("company.company", party=party, currency=currency)
        me = self.found("res.user", [["login", "=", "admin"]], "id")[0]["id"]
        self.model("res.user.write", [me], {"companies": [["add", [company]]], "company": company})
        self.refresh()
        warehouse = self.one("stock.location", [["type", "=", "warehouse"]], "production_location")
        self._create(
            "stock.location", name="Scrap", code="SCRAP", type="lost_found",
            waste_warehouses=[["add", [warehouse["id"]]]],
        )  # fmt: skip
        unit = self.one("product.uom", [["symbol", "=", "u"]])["id"]
        part = self._product("Housing", "HOUSING", unit, producible=True)
        grain = self._product("Granulate", "GRAIN", unit)
        bom = self._create(
            "production.bom", name="Housing",
            outputs=[["create", [{"product": part, "quantity": 1.0, "unit": unit}]]],
            inputs=[["create", [{"product": grain, "quantity": 2.0, "unit": unit}]]],
        )  # fmt: skip
        operations = {}
        centers = {}
        category = None
        for name, center in CENTERS.items():
            category = self._create("production.work.center.category", name=center)
            centers[name] = self._create(
                "production.work.center", name=center, category=category, company=company, warehouse=warehouse["id"],
                cost_method="hour", cost_price=_decimal(PER_HOUR),
            )  # fmt: skip
            operations[name] = self._create("production.routing.operation", name=name, work_center_category=category)
        steps = [{"sequence": 10 * (n + 1), "operation": one} for n, one in enumerate(operations.values())]
        self._create("production.routing", name="Housing", boms=[["add", [bom]]], steps=[["create", steps]])
        self._create(
            "production.work.center", name="Hall", company=company, warehouse=warehouse["id"],
            children=[["add", list(centers.values())]],
        )  # fmt: skip
        groups = [row["id"] for row in self.found("res.group", [["name", "in", list(GROUPS)]], "id")]
        self._create(
            "res.user", name="Linegate", login="linegate", password=GATEWAY_PASSWORD, companies=[["add", [company]]],
            company=company, groups=[["add", groups]],
        )  # fmt: skip

    def order(self, quantity=100, *, number=None, tolerance=None, assign=True, reference=None):
        """A production with its two works, released; its id."""
        if number is not None:
            sequence = self.one("ir.sequence", [["name", "=", "Production"]])["id"]
            self.model("ir.sequence.write", [sequence], {"number_next": number})
        bom = self.tolerate(tolerance)
        product = self.one("product.product", [["template.name", "=", "Housing"]], "default_uom")
        today = dt.date(2026, 11, 23)
        values = {
            "reference": reference, "product": product["id"], "bom": bom, "unit": product["default_uom"],
            "routing": self.one("production.routing", [])["id"], "quantity": float(quantity),
            "work_center": self.one("production.work.center", [["name", "=", "Hall"]])["id"],
            "planned_date": today, "planned_start_date": today,
        }  # fmt: skip
        production = self._create("production", **values)
        self._explode(production)
        self.model("production.wait", [production])
        if assign:
            self.assign(production)
        return production

    def tolerate(self, tolerance):
        """Write the tolerance of the BOM (a share, None: any quantity); its id."""
        bom = self.one("production.bom", [])["id"]
        self.model("production.bom.write", [bom], {"tolerance": tolerance})
        return bom

    def assign(self, production):
        """Release it: its material is there."""
        assert self.model("production.assign_try", [production]) in (None, True)
        state = self.state(production)
        if state != "assigned":  # no stock of the material: the planner insists
            self.model("production.assign_force", [production])
        assert self.state(production) == "assigned"

    def put_away(self, file):
        """Nobody is offered what was released so far, and its numbers are free again; past Tryton, in its file."""
        with contextlib.closing(sqlite3.connect(file, timeout=CALL_S)) as link, link:
            link.execute("UPDATE production SET state = 'cancelled', number = number || '-' || id")

    def state(self, production):
        """How far it is."""
        return self.one("production", [["id", "=", production]], "state")["state"]

    def production(self, number):
        """The id of the order of that number."""
        return self.one("production", [["number", "=", str(number)]])["id"]

    def stock(self, production):
        """Pieces in storage and in the scrap location that its output moves say, and the states of these moves."""
        names = ("quantity", "state", "to_location.code", "to_location.type")
        moves = self.found("stock.move", [["production_output", "=", production]], *names)
        good = sum(move["quantity"] for move in moves if move["to_location."]["type"] == "storage")
        scrap = sum(move["quantity"] for move in moves if move["to_location."]["code"] == "SCRAP")
        return good, scrap, {move["state"] for move in moves if move["quantity"]}

    def outputs(self, production):
        """Ids of its output moves."""
        return [row["id"] for row in self.found("stock.move", [["production_output", "=", production]], "id")]

    def cycles(self, production, sequence=None):
        """State and seconds of each cycle of the order, or of one operation of it."""
        domain = [["work.production", "=", production]]
        if sequence is not None:
            domain.append(["work.sequence", "=", sequence])
        rows = self.found("production.work.cycle", domain, "state", "duration")
        return [(row["state"], (row["duration"] or {}).get("seconds")) for row in rows]

    def notes(self, production):
        """The texts of the notes on the order's operations."""
        works = [row["id"] for row in self.found("production.work", [["production", "=", production]], "id")]
        resources = [f"production.work,{work}" for work in works]
        return [row["message"] for row in self.found("ir.note", [["resource", "in", resources]], "message")]

    def _explode(self, production):
        """What the client does when somebody presses the button of the BOM: the server only computes it."""
        (change,) = self.model("production.reset_bom", [production])
        values = {}
        for name in ("inputs", "outputs"):
            rows = [row for _, row in change.get(name, {}).get("add", ())]
            values[name] = [["create", [{key: row[key] for key in row if _is_written(key)} for row in rows]]]
        self.model("production.write", [production], values)

    def _product(self, name, code, unit, *, producible=False):
        template = self._create(
            "product.template", name=name, type="goods", default_uom=unit, producible=producible,
            products=[["create", [{"suffix_code": code}]]],
        )  # fmt: skip
        return self.one("product.product", [["template", "=", template]])["id"]

    def _create(self, model, **values):
        (created,) = self.model(f"{model}.create", [values])
        return created


def _is_written(key):
    return key in {"product", "unit", "quantity", "from_location", "to_location", "company", "currency", "unit_price"}


def _decimal(text):
    return {"__class__": "Decimal", "decimal": text}


def _marked(value):
    assert isinstance(value, dt.date)
    return {"__class__": "date", "year": value.year, "month": value.month, "day": value.day}


def main():
    """A plant in a folder, until standard input ends."""
    parser = argparse.ArgumentParser(description="A Tryton with a plant of two operations, to try the gateway with.")
    parser.add_argument("folder", type=Path, help="keeps its database; may be there already")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if not (options.folder / "plant.sqlite").exists():
        shutil.copy(cached_template() / "plant.sqlite", options.folder)
    with Server(options.folder.resolve(), "plant", options.port) as server:
        partner = Partner(server.port)
        made = [partner.order(100, tolerance=0.1, reference="PO-4712")]
        _say(f"http://127.0.0.1:{server.port}, database plant; user linegate, password {GATEWAY_PASSWORD}")
        _say(f"to look at it: user admin, password {PASSWORD}; one order is released")
        for line in sys.stdin:
            if line.strip().isdecimal():
                made.append(partner.order(int(line), tolerance=0.1))
            for production in made:
                good, scrap, _ = partner.stock(production)
                number = partner.one("production", [["id", "=", production]], "number")["number"]
                _say(f"order {number}: {partner.state(production)}, moves {good:g} good, {scrap:g} scrap")


def _say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
