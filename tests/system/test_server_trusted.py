"""A server's certificate that somebody trusts is in the audit trail, whether or not the gateway runs meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from hashlib import sha256
from types import SimpleNamespace

import pytest

from buffer.audit_chain import ChainReader
from buffer.store import Store
from gateway.audit import trusted
from gateway.audit.auditing import Auditing
from gateway.core.calendar.honest_time import TimeQuality
from gateway.rounds import audit_round
from gateway.rounds.audit_round import AuditRound
from gateway.timing.clock import ManualClock

S = 1_000_000_000
WAIT_S = 60.0


class UtcClock(ManualClock):
    """Steady time is UTC here."""

    quality = TimeQuality.TRUSTED
    utc_now_ns = ManualClock.now_ns

    def utc_ns(self, steady_ns):
        return steady_ns


@pytest.fixture
async def store(tmp_path):
    store = await Store.open(tmp_path / "linegate.db", now_ns=lambda: 1, max_bytes=1 << 26)
    yield store
    await store.close()


def told(store):
    with ChainReader.open(store.path) as reader:
        found = [one.content for one in reader.entries() if one.content.field.startswith("sources.")]
    return [(one.field, one.old, one.new, one.reason_code) for one in found]


async def test_what_is_trusted_while_it_runs_and_while_it_does_not(store, tmp_path, monkeypatch):
    monkeypatch.setattr(audit_round, "values_of", lambda _settings: {"gateway.id": "g"})
    monkeypatch.setattr(audit_round, "LOOK_EVERY_S", 0.01)
    gateway = SimpleNamespace(id="g", timezone="UTC", profile="standard", state_dir=tmp_path)
    settings = SimpleNamespace(gateway=gateway, digest="d")
    clock = UtcClock(1_000_000 * S)
    users = SimpleNamespace(current=lambda: (SimpleNamespace(changes=()), None))
    parts = SimpleNamespace(trouble=lambda *_: None, monitor=None)

    def made():
        return AuditRound(settings, store, clock, Auditing(settings, store, clock), users)

    folder = tmp_path / trusted.FOLDER
    folder.mkdir(parents=True)
    first = made()
    await first.start()
    assert told(store) == []
    running = asyncio.create_task(first.run(parts))
    (folder / "press.der").write_bytes(b"one")
    async with asyncio.timeout(WAIT_S):
        while not told(store):  # noqa: ASYNC110 - another task writes it
            await asyncio.sleep(0.01)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    (folder / "press.der").write_bytes(b"two")
    await made().start()
    await made().start()
    name, one, two = "sources.press.trusted_certificate", sha256(b"one").hexdigest(), sha256(b"two").hexdigest()
    assert told(store) == [(name, None, one, ""), (name, one, two, "start")]
