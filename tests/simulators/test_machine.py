from dataclasses import replace

import pytest

from simulators.machine import Cycle, Machine, MachineSpec, Start, Stop
from simulators.modbus_server import ASM_01

HOUR_NS = 3_600_000_000_000


def run(machine, until_ns):
    events = []
    while machine.next_ns is not None and machine.next_ns <= until_ns:
        events.append(machine.step())
    return events


def test_the_same_seed_makes_the_same_day_and_another_seed_another():
    one, same, other = (run(Machine(ASM_01, seed=seed), 8 * HOUR_NS) for seed in (7, 7, 8))
    assert one == same
    assert one != other


def test_cycles_are_never_faster_than_nine_tenths_of_the_ideal_and_some_pieces_are_scrap():
    machine = Machine(ASM_01, seed=1)
    cycles = [event for event in run(machine, 24 * HOUR_NS) if isinstance(event, Cycle)]
    assert min(event.cycle_ns for event in cycles) >= 0.9 * ASM_01.ideal_cycle_ns
    assert (machine.good, machine.scrap) == (sum(e.good for e in cycles), sum(e.scrap for e in cycles))
    assert 0.03 < machine.scrap / machine.pieces < 0.05


def test_events_are_in_order_and_every_stop_of_its_own_ends_with_a_start():
    events = run(Machine(ASM_01, seed=3), 24 * HOUR_NS)
    assert [e.at_ns for e in events] == sorted(e.at_ns for e in events)
    around = [e for e in events if not isinstance(e, Cycle)]
    assert {e.reason for e in around if isinstance(e, Stop)} == {"micro", "fault"}
    assert all(isinstance(e, Stop if at % 2 == 0 else Start) for at, e in enumerate(around))


def test_a_machine_without_chance_can_be_reckoned_by_hand():
    spec = replace(ASM_01, scrap_share=0.02).without_chance()
    events = run(Machine(spec, seed=3), 100 * spec.ideal_cycle_ns)
    assert [event.at_ns for event in events] == [number * spec.ideal_cycle_ns for number in range(1, 101)]
    assert [number for number, event in enumerate(events, 1) if event.scrap] == [50, 100]


def test_a_steady_machine_never_stops_and_makes_the_same_pieces():
    steady = run(Machine(ASM_01.steady(), seed=3), 24 * HOUR_NS)
    troubled = [e for e in run(Machine(ASM_01, seed=3), 24 * HOUR_NS) if isinstance(e, Cycle)]
    assert all(isinstance(e, Cycle) for e in steady)
    assert [e[1:] for e in steady[: len(troubled)]] == [e[1:] for e in troubled]


@pytest.mark.parametrize("halt_ns", [0, 1_000_000_000, 77_000_000_000])
def test_a_halt_only_shifts_what_comes_after_it(halt_ns):
    undisturbed, halted = Machine(ASM_01, seed=5), Machine(ASM_01, seed=5)
    before = run(halted, halt_ns)
    assert halted.halt(halt_ns, "command") == Stop(halt_ns, "command")
    assert halted.next_ns is None
    assert halted.halt(halt_ns + 1, "command") is None
    assert halted.resume(halt_ns + HOUR_NS) is not None
    after = run(halted, halt_ns + 2 * HOUR_NS)
    expected = run(undisturbed, halt_ns + HOUR_NS)
    assert before + [e._replace(at_ns=e.at_ns - HOUR_NS) for e in after] == expected


def test_resuming_a_machine_that_stands_by_itself_does_not_claim_that_it_runs():
    spec = MachineSpec(name="M", ideal_cycle_ns=100, micro_stop_share=1.0, micro_stop_ns=(1000, 2000))
    machine = Machine(spec, seed=1)
    assert machine.step().reason == "micro"
    assert not machine.producing
    machine.halt(10, "command")
    assert machine.resume(20) == Stop(20, "micro")
    assert isinstance(machine.step(), Start)
    assert machine.producing
