"""How often the signals of a work unit are looked at: whose silence says something. With the real drivers."""

from __future__ import annotations

import pytest

from config.loader import load
from gateway import plugins
from gateway.core.duration import Duration
from gateway.sources.looks import looked_at_every, loss_found_within

MS = 1_000_000

TEXT = """
gateway: { id: box-1, plant: P1, line: L1, timezone: Europe/Berlin, state_dir: state }
sources:
  plc:
    driver: modbus
    host: 127.0.0.1
    scan: 250 ms
    signals:
      part: { table: discrete, address: 0 }
      fast: { table: discrete, address: 1, scan: 20 ms }
      changes: { table: discrete, address: 2, report: change }
  ua:
    driver: opcua
    endpoint: opc.tcp://127.0.0.1:4840
    security: none
    publish: 1 s
    stale_after: 40 s
    signals:
      told: { node: "ns=2;s=told" }
      read: { node: "ns=2;s=read", mode: read, scan: 2 s }
  box:
    driver: digital_io
    pins: simulated
    signals:
      carton: { pin: 17 }
work_units:
  M1:
    work_center: WC-1
    counters:
      - { mode: pulse, signal: plc.part, pulse_width: 600 ms }
      - { mode: pulse, signal: plc.fast, role: scrap, pulse_width: 100 ms }
      - { mode: pulse, signal: plc.changes, pulse_width: 600 ms }
      - { mode: pulse, signal: ua.told, pulse_width: 10 s }
      - { mode: pulse, signal: ua.read, pulse_width: 10 s }
      - { mode: pulse, signal: box.carton }
  M2:
    work_center: WC-2
    counters: [{ mode: pulse, signal: box.carton }]
connectors: { folder: { connector: file, folder: orders } }
"""


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "gateway.yaml"
    path.write_text(TEXT)
    return load(path, drivers=plugins.drivers(), connectors=plugins.connectors(), env={})


def test_only_what_is_told_with_every_look_is_looked_at_so_often(settings):
    assert looked_at_every(settings, "M1") == {"plc.part": 250 * MS, "plc.fast": 20 * MS, "ua.read": 2_000 * MS}
    assert looked_at_every(settings, "M2") == {}, "a pin tells every edge"


def test_the_slowest_source_says_when_a_link_is_lost(settings):
    assert loss_found_within(settings, "M1") == Duration("40 s")
    assert loss_found_within(settings, "M2") == Duration("10 s")
