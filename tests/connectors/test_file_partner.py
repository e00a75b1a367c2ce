"""The file connector and the file partner, each in a process or object of its own: what was sent is what was booked."""

import asyncio
import json
import shutil
import subprocess
import sys
import urllib.request
from collections import Counter

import pytest
import yaml
from pydantic import TypeAdapter

from gateway.connectors.base import LookupKind, OutcomeKind, Posting, step_id
from gateway.connectors.file import PLUGIN

DEADLINE_S = 60
#: What the ERP does wrong while a confirmation is under way, and how often.
FAULTS = {
    "nothing": (),
    "an answer is lost after the booking": ("lose-answers 2",),
    "slow": ("slow 0.3 2",),
    "booked late, after the client gave up": ("late-book 0.4 2",),
    "busy": ("locked 4",),
    "half a receipt": ("half 2",),
    "a page where the receipt should be": ("html 2",),
    "garbage": ("garbage 2",),
    "the share goes away": ("unmount 0.4",),
}


class Partner:
    """The simulated ERP as a process; it keeps its folder, its ledger and its settings over a kill."""

    def __init__(self, folder, *options):
        self._words = [
            sys.executable, "-P", "-m", "simulators", "file_partner", "--folder", str(folder / "share"), "--ledger",
            str(folder / "ledger.db"), "--poll", "0.02", *options,
        ]  # fmt: skip
        self._process = None

    def start(self):
        self._process = subprocess.Popen(self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = json.loads(self._process.stdout.readline())
        return self

    def settings(self):
        """What it prints for the gateway, checked as a configuration is."""
        text = subprocess.run([*self._words, "--print-config"], capture_output=True, text=True, check=True).stdout
        image = yaml.safe_load(text)["connectors"]["erp"]
        own = {name: value for name, value in image.items() if name in PLUGIN.settings.__dataclass_fields__}
        return TypeAdapter(PLUGIN.settings).validate_python(own)

    def command(self, line):
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer["ok"], answer

    def release(self, *orders):
        for order in orders:
            image = {
                "order_id": order, "revision": 1, "qty": "24", "product": {"id": "ASSY-D20", "uom": "PC"},
                "operations": [{"op": "0010", "work_center": "WC-ASM", "qty": "24"}],
            }  # fmt: skip
            request = urllib.request.Request(f"{self.ready['url']}/_orders", json.dumps(image).encode())
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert answer.status == 201

    def bookings(self):
        with urllib.request.urlopen(f"{self.ready['url']}/ledger", timeout=60) as answer:
            return json.loads(answer.read())["bookings"]

    def kill(self):
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture
def partner(tmp_path):
    made = []

    def started(*options):
        made.append(Partner(tmp_path, *options))
        return made[-1].start()

    yield started
    for one in made:
        one.kill()
    shutil.rmtree(tmp_path / "share.away", ignore_errors=True)


def posting_of(connector, image):
    return Posting(
        image["idempotency_key"], step_id(image["confirmation_id"], 0), image["order_id"], image["operation"],
        image["seq"], 1, connector.render(image),
    )  # fmt: skip


async def settled(build, postings):
    """What a forwarder does: send until it is taken over, look up until it is settled; a new process now and then."""
    found = {}
    open_ones = dict.fromkeys(postings, False)
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while open_ones:
        assert asyncio.get_running_loop().time() < end, [one.key for one in open_ones]
        connector = build()
        for one, sent in list(open_ones.items()):
            if not sent:
                outcome = await connector.send(one)
                taken_over = {OutcomeKind.POSTED, OutcomeKind.ACCEPTED, OutcomeKind.UNCERTAIN}
                open_ones[one] = outcome.kind in taken_over
                continue
            looked = await connector.lookup(one)
            if looked.kind in {LookupKind.FOUND, LookupKind.REFUSED}:
                found[one.key] = looked
                del open_ones[one]
        await connector.close()
        await asyncio.sleep(0.02)
    return found


async def orders_of(build, count):
    """Every order once, as its page is committed."""
    cursor, found = "", set()
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while len(found) < count:
        assert asyncio.get_running_loop().time() < end, found
        connector = build()
        page = await connector.fetch_orders(cursor)
        assert page.refused == ()
        found |= {order.order for order in page.orders}
        cursor = page.cursor
        await connector.close()
        await asyncio.sleep(0.02)
    return found


@pytest.mark.parametrize("form", ["csv", "fixed", "xml", "b2mml"])
async def test_orders_come_and_confirmations_are_booked_in_every_format(partner, context, document, form):
    erp = partner("--format", form)
    settings = erp.settings()

    def build():
        return PLUGIN.build(settings, context())

    erp.release("100240", "100241")
    assert await orders_of(build, 2) == {"100240", "100241"}
    images = [document(seq, order) for order in ("100240", "100241") for seq in (1, 2)] + [document(1, "999999")]
    images[0]["type"] = "final"
    postings = [posting_of(build(), image) for image in images]
    found = await settled(build, postings)
    kinds = [found[image["idempotency_key"]].kind for image in images]
    assert kinds == [LookupKind.FOUND] * 4 + [LookupKind.REFUSED]
    refused = found[images[-1]["idempotency_key"]]
    assert "999999" in refused.detail
    assert all(found[image["idempotency_key"]].reference for image in images[:4])
    bookings = erp.bookings()
    assert [(row["good"], row["scrap"], row["rework"]) for row in bookings] == [(10, 1, 0)] * 4
    assert [row["final"] for row in bookings].count(True) == 1
    assert {row["key"] for row in bookings} <= {
        image[name] for image in images for name in ("idempotency_key", "confirmation_id")
    }


@pytest.mark.parametrize(
    ("ack", "fault"),
    [
        *(("file", fault) for fault in FAULTS),
        ("moved", "the share goes away"),
        ("deleted", "booked late, after the client gave up"),
        *(pytest.param(ack, fault, marks=pytest.mark.soak) for ack in ("moved", "deleted") for fault in FAULTS),
    ],
)
async def test_what_was_sent_is_booked_once_whatever_the_erp_does(partner, context, document, ack, fault):
    erp = partner("--ack", ack)
    settings = erp.settings()

    def build():
        return PLUGIN.build(settings, context())

    erp.release("100240")
    for command in FAULTS[fault]:
        erp.command(command)
    postings = [posting_of(build(), document(seq)) for seq in range(1, 5)]
    found = await settled(build, postings)
    assert {one.kind for one in found.values()} == {LookupKind.FOUND}
    keys = Counter(row["key"] for row in erp.bookings())
    assert keys == Counter(one.key for one in postings), (ack, fault)


@pytest.mark.parametrize("ack", ["moved", "deleted", "file"])
async def test_a_refusal_is_a_refusal_and_goes_out_anew_when_it_is_healed(partner, context, document, ack):
    erp = partner("--ack", ack)
    settings = erp.settings()

    def build():
        return PLUGIN.build(settings, context())

    erp.release("100240")
    erp.command("reject 100240")
    one = posting_of(build(), document(1))
    (refused,) = (await settled(build, [one])).values()
    assert refused.kind is LookupKind.REFUSED
    assert "takes no confirmations" in refused.detail
    assert erp.bookings() == []
    erp.command("accept 100240")
    (booked,) = (await settled(build, [one])).values()  # a person sends it again
    assert booked.kind is LookupKind.FOUND
    assert [row["key"] for row in erp.bookings()] == [one.key]


@pytest.mark.parametrize("ack", ["moved", "deleted", "file"])
async def test_an_erp_that_is_killed_goes_on_where_it_was(partner, context, document, ack):
    erp = partner("--ack", ack)
    settings = erp.settings()

    def build():
        return PLUGIN.build(settings, context())

    erp.release("100240")
    erp.command("lose-answers 3")
    postings = [posting_of(build(), document(seq)) for seq in range(1, 6)]
    connector = build()
    for one in postings:
        assert (await connector.send(one)).kind is OutcomeKind.ACCEPTED
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while not erp.bookings():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.01)
    erp.kill()
    erp.start()
    found = await settled(build, postings)
    assert {one.kind for one in found.values()} == {LookupKind.FOUND}
    assert Counter(row["key"] for row in erp.bookings()) == Counter(one.key for one in postings)


async def test_the_partner_is_careless_and_convicts_who_sends_twice(partner, context, document):
    erp = partner("--ack", "deleted")
    connector = PLUGIN.build(erp.settings(), context())
    erp.release("100240")
    one = posting_of(connector, document(1))
    file = context().base_dir / "share" / "confirmations" / one.rendered.name
    for _ in range(2):
        draft = file.with_name(f".{file.name}.tmp")  # the partner looks at any time: it finds all of it or nothing
        draft.write_bytes(one.rendered.body)
        draft.rename(file)
        end = asyncio.get_running_loop().time() + DEADLINE_S
        while file.exists():
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.01)
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while len(erp.bookings()) < 2:
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.01)
    assert [row["key"] for row in erp.bookings()] == [one.key] * 2
