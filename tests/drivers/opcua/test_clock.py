"""Stamps in UTC and a steady time that is years away from it: a box without a battery."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from asyncua import ua
from pydantic import TypeAdapter

from drivers.opcua import PLUGIN

S = 10**9
BEHIND_NS = 3 * 365 * 86_400 * S
NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)


@pytest.fixture
async def late(server, context, tmp_path):
    """A driver whose gateway's steady time is three years behind UTC; ``late.offset_ns`` is what is known of that."""
    server.add("clock.Made", 1, ua.VariantType.Int32)

    class Late:
        offset_ns = BEHIND_NS

        async def open(self, mode):
            signals = {"shots": {"node": "nsu=m;s=clock.Made", "mode": mode, "scan": "50 ms"}}
            settings = TypeAdapter(PLUGIN.settings).validate_python(
                {
                    "driver": "opcua", "endpoint": f"opc.tcp://127.0.0.1:{server.port}", "security": "none",
                    "publish": "50 ms", "namespaces": {"m": "http://linegate.test/machine"}, "signals": signals,
                }
            )  # fmt: skip
            wanted = replace(
                context("imm", ["shots"], (), tmp_path, now_ns=lambda: time.time_ns() - BEHIND_NS),
                utc_offset_ns=lambda: self.offset_ns,
            )
            self.driver = PLUGIN.build(settings, wanted)
            await self.driver.open()
            return self.driver.readings()

    late = Late()
    yield late
    await late.driver.close()


@pytest.mark.parametrize("mode", ["subscribe", "read"])
async def test_a_stamp_in_utc_becomes_steady(server, late, next_of, mode):
    readings = await late.open(mode)
    before_ns = time.time_ns()
    server.write(
        "clock.Made", before_ns % 1000 + 2, ua.VariantType.Int32, source_time=datetime.fromtimestamp(time.time(), UTC)
    )
    found = await next_of(readings, "shots", lambda sample: sample.value == before_ns % 1000 + 2)
    assert abs(found.source_time_ns - (before_ns - BEHIND_NS)) < 5 * S
    assert abs(found.source_time_ns - found.received_time_ns) < 5 * S
    assert late.driver.notices() == {}


async def test_a_stamp_follows_what_is_learned_of_utc(server, late, next_of):
    late.offset_ns = 0  # nothing is known yet
    readings = await late.open("subscribe")
    server.write("clock.Made", 5001, ua.VariantType.Int32, source_time=NOW)
    found = await next_of(readings, "shots", lambda sample: sample.value == 5001)
    assert found.source_time_ns == int(NOW.timestamp()) * S
    late.offset_ns = BEHIND_NS
    server.write("clock.Made", 5002, ua.VariantType.Int32, source_time=NOW)
    found = await next_of(readings, "shots", lambda sample: sample.value == 5002)
    assert found.source_time_ns == int(NOW.timestamp()) * S - BEHIND_NS
