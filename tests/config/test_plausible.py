"""Rules that cannot read their signals, and limits that contradict each other, with the real drivers."""

from __future__ import annotations

import sys
import zoneinfo

import pytest

from config.errors import ConfigErrors
from config.loader import load
from drivers import digital_io, modbus, opcua
from gateway.connectors import file

DRIVERS = {plugin.name: plugin for plugin in (digital_io.PLUGIN, modbus.PLUGIN, opcua.PLUGIN)}
CONNECTORS = {file.PLUGIN.name: file.PLUGIN}

TEXT = """
gateway: {{ id: box-1, plant: P1, line: L1, timezone: Europe/Berlin, state_dir: state }}
sources:
  plc:
    driver: modbus
    host: 127.0.0.1
    scan: 250 ms
    signals:
      word: {{ table: holding, address: 0 }}
      wide: {{ table: holding, address: 2, type: uint32 }}
      signed: {{ table: holding, address: 4, type: int16 }}
      bcd: {{ table: holding, address: 5, type: bcd16 }}
      real: {{ table: holding, address: 6, type: float32 }}
      tenths: {{ table: holding, address: 8, type: uint32, scale: "0.1" }}
      hundreds: {{ table: holding, address: 10, type: uint32, scale: "100" }}
      text: {{ table: holding, address: 12, type: string, length: 4 }}
      bit: {{ table: discrete, address: 0 }}
      seldom: {{ table: holding, address: 20, type: uint32, report: change }}
  ua:
    driver: opcua
    endpoint: opc.tcp://127.0.0.1:4840
    security: none
    signals:
      shots: {{ node: "ns=2;s=shots" }}
      read: {{ node: "ns=2;s=read", mode: read, scan: 2 s }}
  box:
    driver: digital_io
    pins: simulated
    signals:
      piece: {{ pin: 17 }}
      runs: {{ pin: 22 }}
work_units:
  M1:
    work_center: WC-1
    ideal_cycle: 10 s
    counters: [ {rule} ]
    {more}
connectors:
  erp: {{ connector: file, folder: out }}
"""
WIDE = "{ mode: counter, signal: plc.wide }"


@pytest.fixture
def loaded(tmp_path):
    def loading(rule=WIDE, more="", **over):
        path = tmp_path / "linegate.yaml"
        text = TEXT.format(rule=rule, more=more)
        for old, new in over.get("instead", ()):
            assert old in text
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
        return load(path, drivers=DRIVERS, connectors=CONNECTORS, env={})

    return loading


@pytest.mark.parametrize(
    ("rule", "at", "text"),
    [
        (
            "{ mode: counter, signal: plc.word, modulus: 4294967296 }",
            "work_units.M1.counters.0.modulus",
            (
                "found 4294967296, but plc.word is uint16 and starts again after 65535: a roll-over would "
                "be taken for a "
                "reset; allowed: up to 65536"
            ),
        ),
        (
            "{ mode: counter, signal: plc.bcd, modulus: 65536 }",
            "work_units.M1.counters.0.modulus",
            (
                "found 65536, but plc.bcd is bcd16 and starts again after 9999: a roll-over would be taken "
                "for a reset; "
                "allowed: up to 10000"
            ),
        ),
        (
            "{ mode: counter, signal: plc.real }",
            "work_units.M1.counters.0.signal",
            (
                "found 'plc.real', which is float32: above 16777216 it does not show every piece; read the "
                "PLC's own whole "
                "number instead, or write a modulus up to 16777216 at which it starts again"
            ),
        ),
        (
            "{ mode: counter, signal: plc.bit }",
            "work_units.M1.counters.0.signal",
            "found 'plc.bit', which is a bit; allowed: a number that goes up; a bit is mode: pulse",
        ),
        (
            "{ mode: counter, signal: plc.text }",
            "work_units.M1.counters.0.signal",
            "found 'plc.text', which is a string; allowed: a number that goes up; a bit is mode: pulse",
        ),
        (
            "{ mode: counter, signal: plc.tenths }",
            "sources.plc.signals.tenths.scale",
            (
                "found '0.1', but work_units.M1.counters.0 counts this signal, and what is no whole number "
                "is not counted; "
                "remove it, and say with mode: units what one count is"
            ),
        ),
        (
            "{ mode: units, pulses_per_unit: '24', count: { mode: counter, signal: plc.word, modulus: 70000 } }",
            "work_units.M1.counters.0.count.modulus",
            (
                "found 70000, but plc.word is uint16 and starts again after 65535: a roll-over would be "
                "taken for a reset; "
                "allowed: up to 65536"
            ),
        ),
        (
            "{ mode: packml, processed: plc.word }",
            "work_units.M1.counters.0.modulus",
            (
                "found 2147483648, but plc.word is uint16 and starts again after 65535: a roll-over would "
                "be taken for a "
                "reset; allowed: up to 65536"
            ),
        ),
        (
            "{ mode: pulse, signal: plc.real, accept_missed_pulses: true }",
            "work_units.M1.counters.0.signal",
            "found 'plc.real', which is a float32; allowed: a bit; a number above a threshold is mode: analog",
        ),
        (
            "{ mode: pulse, signal: box.piece, min_cycle: 20 s }",
            "work_units.M1.counters.0.min_cycle",
            (
                "found '20 s', but the ideal cycle is '10 s': pieces that come in time would be rejected; "
                "allowed: up to "
                "'10 s'"
            ),
        ),
    ],
)
def test_counters_that_cannot_count_are_refused(loaded, rule, at, text):
    with pytest.raises(ConfigErrors) as caught:
        loaded(rule)
    (error,) = caught.value.errors
    assert (error.path, error.text) == (at, text)


@pytest.mark.parametrize(
    ("state", "at", "text"),
    [
        (
            '{ signal: plc.bit, map: { "1": PRODUCING, "true": STOPPED } }',
            "map.true",
            "found 'true', which no number reads as; write '1'",
        ),
        (
            '{ signal: box.runs, map: { "0": STOPPED, "1": PRODUCING, "2": OFF } }',
            "map.2",
            "found '2', but box.runs is a bit; allowed: 0, 1",
        ),
        (
            '{ signal: plc.word, map: { "02": PRODUCING } }',
            "map.02",
            "found '02', which no number reads as; write '2'",
        ),
        (
            '{ signal: plc.word, map: { "1": PRODUCING, "-1": OFF } }',
            "map.-1",
            "found '-1', but plc.word is uint16; allowed: 0 to 65535",
        ),
        (
            '{ signal: plc.word, map: { "1": PRODUCING, RUN: OFF } }',
            "map.RUN",
            "found 'RUN', but plc.word is uint16; allowed: 0 to 65535",
        ),
        (
            '{ signal: plc.word, map: { "1": PRODUCING }, mode_signal: plc.wide, modes: { "3.0": SETUP } }',
            "modes.3.0",
            "found '3.0', which no number reads as; write '3'",
        ),
        (
            "{ stop_detect: 10 s }",
            "stop_detect",
            ("found '10 s', allowed: more than the ideal cycle, '10 s'; every cycle would end in a stop"),
        ),
        (
            "{ slow: 9 s }",
            "slow",
            ("found '9 s', allowed: more than the ideal cycle, '10 s'; every cycle would be a slow one"),
        ),
        (
            "{ slow: 30 s }",
            "slow",
            ("found '30 s', but a cycle is slow above '30 s' and a stop above '20 s'; allowed: slow up to stop_detect"),
        ),
        (
            "{ slow: 180 %, stop_detect: 15 s }",
            "stop_detect",
            ("found '15 s', but a cycle is slow above '18 s' and a stop above '15 s'; allowed: slow up to stop_detect"),
        ),
        (
            "{ data_loss: { stale_after: 250 ms } }",
            "data_loss.stale_after",
            "found '250 ms', allowed: more than '250 ms', the time between two values of plc.wide",
        ),
        (
            "{ setup: { end: plc_release } }",
            "setup.end",
            "found 'plc_release', but nothing tells it; name setup.release_signal or state.mode_signal",
        ),
    ],
)
def test_states_that_would_not_be_seen_are_refused(loaded, state, at, text):
    with pytest.raises(ConfigErrors) as caught:
        loaded(more=f"state: {state}")
    (error,) = caught.value.errors
    assert (error.path, error.text) == (f"work_units.M1.state.{at}", text)


@pytest.mark.parametrize("signal", ["ua.shots", "plc.seldom"])
def test_silence_of_a_signal_that_tells_only_changes_is_no_loss(loaded, signal):
    with pytest.raises(ConfigErrors) as caught:
        loaded(f"{{ mode: counter, signal: {signal} }}", "state: { data_loss: { stale_after: 1 min } }")
    (error,) = caught.value.errors
    assert error.path == "work_units.M1.state.data_loss.stale_after"
    assert error.text.startswith(f"found '1 min', but {signal} is told only when it changes: a machine that stands")


@pytest.mark.parametrize(
    ("rule", "more", "at", "text"),
    [
        (
            "{ mode: counter, signal: plc.word }",
            "",
            "work_units.M1.counters.0",
            (
                "plc.word is uint16 and starts again after 65535, which looks like a reset; write modulus: "
                "65536, or the "
                "number at which the PLC starts again"
            ),
        ),
        (
            '{ mode: counter, signal: plc.wide, max_rate: "5 /min" }',
            "",
            "work_units.M1.counters.0.max_rate",
            (
                "found '5 /min', but the ideal cycle of '10 s' makes more: pieces above it are set aside "
                "for review; name "
                "the fastest rate that the machine can have"
            ),
        ),
        (
            WIDE,
            'state: { signal: plc.bit, map: { "0": STOPPED } }',
            "work_units.M1.state.map",
            "no value means PRODUCING: the machine will never be said to work",
        ),
        (
            WIDE,
            'state: { signal: plc.bit, map: { "1": PRODUCING } }',
            "work_units.M1.state.map",
            "plc.bit is a bit, and '0' is not in the table: the machine will be UNKNOWN then",
        ),
        (
            WIDE,
            "state: { micro_stop_max: 5 s }",
            "work_units.M1.state.micro_stop_max",
            "found '5 s', but a stop is only seen after '20 s': no stop is ever a micro stop",
        ),
    ],
)
def test_what_is_probably_not_meant_is_warned_of(loaded, rule, more, at, text):
    warning = next(one for one in loaded(rule, more).warnings if f": {at}: " in one)
    assert warning.endswith(f"{at}: {text}")


def test_a_signal_that_two_machines_count_is_warned_of(loaded):
    twin = "\n".join(
        ["  M2:", "    work_center: WC-2", "    ideal_cycle: 10 s", f"    counters: [ {WIDE} ]", "connectors:"]
    )
    (warning,) = loaded(instead=[("connectors:", twin)]).warnings
    assert warning.endswith(
        "work_units.M2.counters.0.signal: plc.wide is counted by M1 too: each of its pieces is booked twice"
    )


def test_a_missing_ideal_cycle_is_warned_of(loaded):
    settings = loaded("{ mode: pulse, signal: box.piece }", instead=[("    ideal_cycle: 10 s\n", "")])
    (warning,) = settings.warnings
    assert "work_units.M1: neither ideal_cycle nor state.signal is given: a stop is seen only after 1 min" in warning


def test_a_calendar_that_nobody_uses_is_warned_of(loaded):
    calendar = 'calendars: { two: { shifts: { F: { start: "06:00", end: "14:00" } } } }\nconnectors:'
    (warning,) = loaded(instead=[("connectors:", calendar)]).warnings
    assert warning.endswith("calendars.two: no work unit names this calendar")


@pytest.mark.parametrize(
    ("rule", "more"),
    [
        ("{ mode: counter, signal: plc.word, modulus: 65536 }", ""),
        ("{ mode: counter, signal: plc.word, modulus: 10000 }", ""),
        ("{ mode: counter, signal: plc.signed, modulus: 65536 }", ""),
        ("{ mode: counter, signal: plc.signed, modulus: 32768 }", ""),
        ("{ mode: counter, signal: plc.real, modulus: 10000 }", ""),
        ("{ mode: counter, signal: plc.hundreds }", ""),
        ("{ mode: counter, signal: ua.shots, modulus: 256 }", ""),
        ("{ mode: pulse, signal: box.piece, min_cycle: 10 s }", ""),
        (WIDE, 'state: { signal: box.runs, map: { "0": STOPPED, "1": PRODUCING } }'),
        (WIDE, 'state: { signal: plc.text, map: { RUN: PRODUCING, "01": STOPPED } }'),
        (WIDE, 'state: { signal: plc.signed, map: { "-1": OFF, "1": PRODUCING } }'),
        (WIDE, "state: { signal: plc.word, map: packml }"),
        (WIDE, "state: { stop_detect: 11 s, slow: 11 s }"),
        (WIDE, "state: { data_loss: { stale_after: 1 s } }"),
        ("{ mode: counter, signal: ua.read }", "state: { data_loss: { stale_after: 3 s } }"),
        ("{ mode: pulse, signal: box.piece }", "state: { data_loss: { stale_after: 10 s } }"),
    ],
)
def test_what_fits_is_taken(loaded, rule, more):
    assert loaded(rule, more).warnings == ()


def test_a_computer_without_time_zones_is_told_so(loaded, monkeypatch):
    """A minimal image has no zone files; then the package tzdata brings them, and it is one of our dependencies."""
    loaded()
    tzpath = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=())
    zoneinfo.ZoneInfo.clear_cache()
    try:
        loaded()
        for name in [name for name in sys.modules if name.partition(".")[0] == "tzdata"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "tzdata", None)
        zoneinfo.ZoneInfo.clear_cache()
        with pytest.raises(ConfigErrors) as caught:
            loaded()
    finally:
        monkeypatch.undo()
        zoneinfo.reset_tzpath(to=tzpath)
        zoneinfo.ZoneInfo.clear_cache()
    (error,) = caught.value.errors
    assert error.path == "gateway.timezone"
    assert error.text == (
        "found 'Europe/Berlin': there is no time zone database on this computer; install the package tzdata"
    )
