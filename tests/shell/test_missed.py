"""Wrong passphrases: after five nothing is looked at for a while, which ends, and which a restart does not shorten."""

from __future__ import annotations

import new_database
import pytest

from buffer.store import Store
from config.loader import load
from gateway import plugins
from gateway.access import passphrase
from gateway.access.access_file import AccessFile
from gateway.access.tokens import issue
from gateway.access.users import Directory, add_user, set_passphrase
from gateway.asking.deciding import Deciding, Via
from gateway.audit.auditing import Auditing
from gateway.control import RequestError
from gateway.core.access.lockout import FIRST_WAIT_NS, FREE_FAILURES
from gateway.core.audit.signature import Profile
from gateway.timing.clock import SteadyClock

S = 1_000_000_000
NOW_NS = 1_780_000_000 * S
BY = {"by": "root", "at_ns": NOW_NS}
RIGHT, OTHER = "a long walk by the river", "a short walk by the sea"
CONFIG = """\
gateway: { id: box, plant: P, state_dir: state }
sources: { plc: { driver: modbus, host: 127.0.0.1, port: 1, signals: { good: { table: holding, address: 0 } } } }
work_units:
  M-1: { work_center: WC, ideal_cycle: 1 s, counters: [{ mode: counter, signal: plc.good }] }
connectors: { erp: { connector: rest, url: "http://127.0.0.1:1" } }
"""


class Gate:
    """One gateway, again and again, with a quality manager who wants to sign."""

    def __init__(self, folder):
        self.wall_ns, self.folder, self.store = NOW_NS, folder, None
        (folder / "linegate.yaml").write_text(CONFIG, encoding="utf-8")
        self.settings = load(
            folder / "linegate.yaml", drivers=plugins.drivers(), connectors=plugins.connectors(), env={}
        )
        self.users = AccessFile(folder)
        added = add_user(Directory(), "quinn", "Quinn Q", ["quality"], **BY)
        issued = issue(added, "quinn", "quality", **BY)
        self.token = issued.text
        self.users.change(lambda _: issued.directory)
        self.is_given(RIGHT)

    def is_given(self, words):
        kept = passphrase.hashed(words, "quinn")
        self.users.change(lambda found: set_passphrase(found, "quinn", kept, **BY, reason="forgotten"))

    async def begin(self):
        """The next run of it."""
        if self.store is not None:
            await self.store.close()
        self.store = await Store.open(
            new_database.at(self.folder / "linegate.db"), now_ns=lambda: self.wall_ns, max_bytes=2**26
        )
        rows = await self.store.read("SELECT last_time_ns FROM meta", ())
        last = max(int(rows[0][0]), 0)
        clock = SteadyClock(last, lambda: self.wall_ns, lambda: self.wall_ns - NOW_NS)
        auditing = Auditing(self.settings, self.store, clock)

        async def done(_request):
            return "done"

        self.door = Deciding(
            {"order.release": done}, {"order.release": lambda _: "release"}, questions={}, auditing=auditing,
            users=self.users, clock=clock, profile=Profile.REGULATED, on_refused=lambda *_: None,
        )  # fmt: skip

    async def signs(self, words):
        """What he is told."""
        asked = {"machine": "M-1", "order": "A", "reason": "checked", "token": self.token, "passphrase": words}
        try:
            return await self.door.take("order.release", Via.SOCKET, asked)
        except RequestError as error:
            return str(error)

    async def misses(self, times):
        for _ in range(times):
            assert "found a wrong passphrase" in await self.signs("something else")


@pytest.fixture
async def gate(tmp_path):
    made = Gate(tmp_path)
    await made.begin()
    yield made
    await made.store.close()


async def test_a_lock_out_ends_and_the_next_one_is_longer(gate):
    await gate.misses(FREE_FAILURES)
    gate.wall_ns += FIRST_WAIT_NS - S
    assert "come again in " in await gate.signs(RIGHT), "nobody looks at it"
    gate.wall_ns += S
    await gate.misses(1)
    gate.wall_ns += 2 * FIRST_WAIT_NS - S
    assert "found 6 wrong passphrases in a row" in await gate.signs(RIGHT)
    gate.wall_ns += S
    assert await gate.signs(RIGHT) == "done"
    await gate.begin()
    await gate.misses(1)
    assert await gate.signs(RIGHT) == "done", "it begins anew"


async def test_a_restart_clears_no_lock_out(gate):
    await gate.misses(FREE_FAILURES - 1)
    await gate.begin()
    await gate.misses(1)
    gate.wall_ns += 10 * S
    await gate.begin()
    assert "found 5 wrong passphrases in a row" in await gate.signs(RIGHT)
    assert "come again in 5" in await gate.signs(RIGHT), "the rest of it"
    gate.is_given(OTHER)
    assert await gate.signs(OTHER) == "done", "another passphrase ends it"
    await gate.begin()
    await gate.misses(FREE_FAILURES - 1)
    assert await gate.signs(OTHER) == "done"
