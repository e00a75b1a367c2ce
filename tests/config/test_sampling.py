"""Counts on signals that are looked at too rarely, with the real drivers: what is refused, and what is warned of."""

from __future__ import annotations

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
      shots: {{ table: holding, address: 0, type: uint32 }}
      bit: {{ table: discrete, address: 0 }}
      fast: {{ table: discrete, address: 1, scan: 20 ms }}
  ua:
    driver: opcua
    endpoint: opc.tcp://127.0.0.1:4840
    security: none
    publish: 1 s
    signals:
      shots: {{ node: "ns=2;s=shots" }}
      bit: {{ node: "ns=2;s=bit" }}
      fast: {{ node: "ns=2;s=fast", sampling: 20 ms }}
      every: {{ node: "ns=2;s=every", sampling: 0 s }}
      read: {{ node: "ns=2;s=read", mode: read, scan: 2 s }}
work_units:
  M1:
    work_center: WC-1
    ideal_cycle: 1 s
    counters: [ {rule} ]
connectors:
  erp: {{ connector: file, folder: out }}
"""


@pytest.fixture
def loaded(tmp_path):
    def loading(rule):
        path = tmp_path / "linegate.yaml"
        path.write_text(TEXT.format(rule=rule), encoding="utf-8")
        return load(path, drivers=DRIVERS, connectors=CONNECTORS, env={})

    return loading


@pytest.mark.parametrize(
    ("rule", "at", "found", "every"),
    [
        ("{ mode: pulse, signal: plc.bit, pulse_width: 499 ms }", "", "499 ms", "250 ms"),
        ("{ mode: pulse, signal: ua.bit, pulse_width: 100 ms }", "", "100 ms", "1 s"),
        (
            "{ mode: units, pulses_per_unit: '24', count: { mode: pulse, signal: ua.read, pulse_width: 1 s } }",
            ".count",
            "1 s",
            "2 s",
        ),
        (
            "{ mode: cavity, cavities: 2, cycle: { mode: pulse, signal: plc.bit, pulse_width: 1 ms } }",
            ".cycle",
            "1 ms",
            "250 ms",
        ),
        ("{ mode: start_end, signal: plc.bit, pulse_width: 499 ms }", "", "499 ms", "250 ms"),
        ("{ mode: start_end, signal: plc.fast, end_signal: ua.read, pulse_width: 300 ms }", "", "300 ms", "2 s"),
        ("{ mode: start_end, signal: ua.read, end_signal: plc.fast, pulse_width: 300 ms }", "", "300 ms", "2 s"),
        ("{ mode: part_result, signal: plc.bit, pulse_width: 1 ms, results: { ok: plc.fast } }", "", "1 ms", "250 ms"),
    ],
)
def test_pulses_that_would_be_missed_are_refused(loaded, rule, at, found, every):
    with pytest.raises(ConfigErrors) as caught:
        loaded(rule)
    (error,) = caught.value.errors
    assert str(error).endswith(
        f"work_units.M1.counters.0{at}.pulse_width: found '{found}', but the signal is looked at every '{every}'; "
        "allowed: 2 times that or more; look more often, count in the PLC, or write accept_missed_pulses: true"
    )


@pytest.mark.parametrize(
    ("rule", "found", "steps", "every", "least"),
    [
        ('{ mode: counter, signal: plc.shots, modulus: 256, max_rate: "420 /s" }', 256, 128, "250 ms", 256),
        ("{ mode: packml, processed: ua.shots, modulus: 7 }", 7, 3, "1 s", 7),
    ],
)
def test_a_counter_that_is_too_narrow_is_refused(loaded, rule, found, steps, every, least):
    with pytest.raises(ConfigErrors) as caught:
        loaded(rule)
    (error,) = caught.value.errors
    assert str(error).endswith(
        f"work_units.M1.counters.0.modulus: found {found}, but up to {steps} counts are possible between two looks, "
        f"'{every}' apart; allowed: more than {least}; look more often, or count in a wider register"
    )


@pytest.mark.parametrize(
    "rule",
    [
        "{ mode: pulse, signal: plc.bit, pulse_width: 500 ms }",
        "{ mode: pulse, signal: plc.fast, pulse_width: 40 ms }",
        "{ mode: pulse, signal: ua.fast, pulse_width: 40 ms }",
        "{ mode: pulse, signal: ua.every }",
        "{ mode: pulse, signal: plc.bit, pulse_width: 10 ms, accept_missed_pulses: true }",
        "{ mode: pulse, signal: plc.bit, accept_missed_pulses: true }",
        "{ mode: start_end, signal: plc.bit, end_signal: plc.fast, pulse_width: 500 ms }",
        "{ mode: start_end, signal: ua.read, accept_missed_pulses: true }",
        "{ mode: start_end, signal: ua.every }",
        "{ mode: part_result, signal: plc.bit, pulse_width: 500 ms, results: { ok: plc.fast } }",
        "{ mode: part_result, signal: ua.read, accept_missed_pulses: true, results: { ok: plc.fast } }",
        "{ mode: cavity, cavities: 2, cycle: { mode: pulse, signal: ua.read, accept_missed_pulses: true } }",
        '{ mode: counter, signal: plc.shots, modulus: 256, max_rate: "419 /s" }',
        "{ mode: counter, signal: plc.shots }",
    ],
)
def test_what_is_seen_is_taken(loaded, rule):
    assert loaded(rule).warnings == ()


@pytest.mark.parametrize(("signal", "every"), [("plc.bit", "250 ms"), ("ua.fast", "20 ms")])
def test_pulses_of_unknown_length_are_warned_of(loaded, signal, every):
    (warning,) = loaded(f"{{ mode: pulse, signal: {signal} }}").warnings
    assert f"work_units.M1.counters.0: the signal is looked at every {every}: shorter levels are missed" in warning


@pytest.mark.parametrize(("edge", "needs", "most"), [("rising", 4, "250 ms"), ("both", 2, "500 ms")])
def test_a_machine_that_is_faster_than_the_looks_is_refused(loaded, edge, needs, most):
    """Each level must be seen twice: however long they are, a short cycle has no room for that."""
    with pytest.raises(ConfigErrors) as caught:
        loaded(f"{{ mode: pulse, signal: ua.read, edge: {edge} }}")
    (error,) = caught.value.errors
    assert str(error).endswith(
        f"work_units.M1.counters.0.signal: found '2 s' between two looks at ua.read, but a cycle takes '1 s' and needs "
        f"{needs}; allowed: up to '{most}'; look more often, count in the PLC, or write accept_missed_pulses: true"
    )
    assert loaded(f"{{ mode: pulse, signal: ua.read, edge: {edge}, accept_missed_pulses: true }}").warnings == ()


@pytest.mark.parametrize(
    ("rule", "keys"),
    [
        ("{{ mode: start_end, signal: ua.read{} }}", ["signal"]),
        ("{{ mode: start_end, signal: plc.fast, end_signal: ua.read, abort_signal: ua.bit{} }}", ["end_signal"]),
        ("{{ mode: start_end, signal: ua.read, end_signal: ua.every{} }}", ["signal"]),
        ("{{ mode: part_result, signal: ua.read, results: {{ ok: plc.fast }}{} }}", ["signal"]),
        ("{{ mode: cavity, cavities: 2, cycle: {{ mode: pulse, signal: ua.read{} }} }}", ["cycle.signal"]),
        ("{{ mode: units, pulses_per_unit: '24', count: {{ mode: pulse, signal: ua.read{} }} }}", ["count.signal"]),
    ],
)
def test_every_mode_of_edges_is_held_against_the_ideal_cycle(loaded, rule, keys):
    """An abort need not come with every cycle, and may be looked at less often."""
    with pytest.raises(ConfigErrors) as caught:
        loaded(rule.format(""))
    assert [error.path for error in caught.value.errors] == [f"work_units.M1.counters.0.{key}" for key in keys]
    assert "found '2 s' between two looks at ua.read, but a cycle takes '1 s' and needs 4" in str(caught.value)
    assert loaded(rule.format(", accept_missed_pulses: true")).warnings == ()


@pytest.mark.parametrize(
    "rule",
    [
        "{ mode: start_end, signal: plc.fast, end_signal: plc.bit }",
        "{ mode: part_result, signal: plc.bit, results: { ok: ua.every } }",
    ],
)
def test_one_warning_for_the_slowest_of_its_signals(loaded, rule):
    (warning,) = loaded(rule).warnings
    assert "work_units.M1.counters.0: the signal is looked at every 250 ms: shorter levels are missed" in warning


def test_scrap_need_not_come_with_every_cycle(loaded):
    rule = "{ mode: roles, total: { mode: counter, signal: plc.shots }, scrap: { mode: pulse, signal: ua.read } }"
    (warning,) = loaded(rule).warnings
    assert "work_units.M1.counters.0.scrap: the signal is looked at every 2 s" in warning
