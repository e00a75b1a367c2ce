"""Configurations with tests, and the command line in this process."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from gateway.cli import main

CONFIG = """
gateway: { id: box-1, plant: P1, state_dir: STATE_DIR }
sources:
  plc:
    driver: modbus
    host: 192.0.2.10
    signals:
      good: { table: holding, address: 0, type: uint16 }
      scrap: { table: holding, address: 1, type: uint16 }
      state: { table: holding, address: 4, type: uint16 }
work_units:
  M-1:
    work_center: WC-1
    ideal_cycle: 2 s
    counters:
      - { mode: counter, signal: plc.good, role: good, modulus: 65536 }
      - { mode: counter, signal: plc.scrap, role: scrap, modulus: 65536 }
    state:
      signal: plc.state
      map: { "0": OFF, "1": STOPPED, "2": PRODUCING }
    confirm: { every_pieces: 4, min_interval: 0 s }
connectors:
  share: { connector: file, folder: share }
"""


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def config_text(tmp_path):
    return CONFIG.replace("STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def configured(tmp_path, config_text, monkeypatch):
    """Writes a configuration, with more text behind it; relative paths are short in messages."""
    monkeypatch.chdir(tmp_path)

    def write(more="", name="linegate.yaml", **replaced):
        text = config_text
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / name).write_text(text + more, encoding="utf-8")
        return name

    return write


@pytest.fixture
def linegate(capsys):
    def run(*arguments):
        code = main(list(map(str, arguments)))
        told = capsys.readouterr()
        return Ended(code, told.out, told.err)

    return run
