"""The reference shift: one machine from 06:00 to 14:00, with numbers that can be checked by hand."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from gateway.core import kpi
from gateway.core.duration import Duration
from gateway.core.kpi import Product, Quantities
from gateway.core.model import Confirmation, ConfirmationKind, MachineState, Role
from gateway.core.state.time_elements import per_order, per_shift

S = 1_000_000_000
MIN = 60 * S
CYCLE = 2_400_000_000
SHIFT = "2026-05-29/F"
ORDERS = (4800, 2400)
#: The machine without chance: 2.4 s each, one of fifty is scrap, and it stops when both orders are made.
OPTIONS = ("--even", "--scrap-share", "0.02", "--stop-after", "7200")


async def reference(plant):
    """Set-up until 06:20, a jam from 08:00 to 08:12, a break from 10:00 to 10:30, 40 stops of 15 s, then nothing."""
    await plant.until(0)
    await plant.does("start")
    await plant.does("stop setup")
    await plant.until(20 * MIN)
    await plant.does("start")
    jammed = paused = False
    for number in range(1, 41):
        due_ns = plant.now_ns + 130 * CYCLE
        if due_ns > 120 * MIN and not jammed:
            jammed = True
            await plant.until(120 * MIN)
            await plant.does("stop fault 101")
            await plant.until(132 * MIN)
            await plant.does("start")
            due_ns += 12 * MIN
        if due_ns > 240 * MIN and not paused:
            paused = True
            await plant.until(240 * MIN)
            await plant.does("stop")
            await plant.until(270 * MIN)
            await plant.does("start")
            due_ns += 30 * MIN
        await plant.until(due_ns)
        await plant.does("stop micro")
        await plant.until(due_ns + 15 * S)
        await plant.does("start")
        assert plant.pace.machine.pieces == number * 130, "each stop is right after a piece"
    await plant.until(480 * MIN)


def scanned(settings, text):
    """The same settings with another scan of the assembly machine."""
    asm = settings.sources["asm"]
    own = replace(asm.driver_settings, scan=Duration(text))
    return replace(settings, sources=settings.sources | {"asm": replace(asm, driver_settings=own)})


def test_it_comes_out_to_the_digit(plant, example):
    """Every event lies on the grid of a scan of 600 ms: nothing is late."""
    one = plant("ASM-01", *OPTIONS, settings=scanned(example(), "600 ms"), orders=ORDERS, stands=True).work(reference)
    model = one.unit.machine.time_model
    times = model.by(one.row, per_shift)[SHIFT]
    assert (times.apt_ns, times.aust_ns, times.adet_ns, times.adot_ns) == (288 * MIN, 20 * MIN, 22 * MIN, 120 * MIN)
    assert (times.pbt_ns, times.pdot_ns, times.unk_ns) == (450 * MIN, 30 * MIN, 0)
    booked = one.booked
    assert (booked[Role.GOOD], booked[Role.SCRAP]) == (7056, 144)
    made = Quantities(good=booked[Role.GOOD], scrap=booked[Role.SCRAP])
    found = kpi.machine_kpis(times, made, [Product(Fraction(CYCLE), 7200)])
    assert (found.availability, found.effectiveness, found.quality_ratio) == (Fraction(64, 100), 1, Fraction(98, 100))
    assert found.oee == Fraction(6272, 10000)
    orders = model.by(one.row, per_order)
    assert (orders["100240", "0010"].apt_ns, orders["100241", "0010"].apt_ns) == (192 * MIN, 96 * MIN)
    finals = [one for one in one.all(Confirmation) if one.kind is ConfirmationKind.FINAL]
    assert [(one.job.order, one.total_good + one.total_scrap) for one in finals] == [("100240", 4800), ("100241", 2400)]
    (jam,) = [one for one in one.row if one.reason == "TECH.FEEDER_JAM"]
    assert (jam.state, jam.length_ns) == (MachineState.STOPPED, 12 * MIN)
    assert sum(one.state is MachineState.STARVED for one in one.row) == 40
    one.close_books()
