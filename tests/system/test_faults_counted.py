"""Faults that a driver cannot see, and the pieces: never more than were made, and what may be missing is declared.

Each test is one daemon that goes through the faults of one machine, one after the other.
"""

from __future__ import annotations

import pytest

#: Pieces that have to be counted between two faults, so that each meets a machine that runs.
BETWEEN = 6


class Counting:
    """One machine behind the daemon, and the sum after each fault."""

    def __init__(self, plant, unit, until):
        self._plant = plant
        self._unit = unit
        self._until = until
        self.view = {}

    async def goes_on(self, pieces=BETWEEN):
        """The machine runs, the link is up, and more is counted."""
        before = sum(self._accounted(await self._plant.status())[:1])
        await self._plant.produce(self._unit)
        await self._plant.status_where(
            lambda view: view["sources"][0]["state"] == "up" and self._accounted(view)[0] >= before + pieces,
            "more pieces",
        )

    async def settles(self, fault):
        """Halt; the sum: counted <= made <= counted + review + unknown."""
        await self._plant.halt(self._unit)
        seen = []

        async def settled():
            view = await self._plant.status()
            made = sum(row["good"] + row["scrap"] for row in await self._visible())
            counted, review, unknown = self._accounted(view)
            seen[:] = [(counted, made, review, unknown)]
            assert counted <= made, f"{fault}: counted {counted} of {made} made"
            return view["sources"][0]["state"] == "up" and made <= counted + review + unknown

        await self._until(settled, lambda: f"the sum after {fault!r}: counted, made, review, unknown {seen}")

    async def _visible(self):
        return [row for row in await self._plant.truth(self._unit) if not row.get("stuck")]

    def _accounted(self, view):
        (unit,) = view["work_units"]
        self.view = unit
        bounds = [one["max_pieces"] for one in unit["unknown"]]
        unknown = float("inf") if None in bounds else sum(bounds)
        return unit["counted_good"] + unit["counted_scrap"], unit["review_pieces"], unknown


@pytest.fixture
def counting(plant, until):
    async def start(unit, *options, **source):
        plant.keep(unit)
        for rule in plant.document["work_units"][unit]["counters"]:
            if "max_rate" in rule:
                rule["max_rate"], rule["slack"] = "40 /min", 20  # what is too much for the machine is not believed
        (own,) = plant.document["sources"].values()
        own.update(source)
        await plant.start_erp("--release", "demo")
        await plant.start_machine(unit, *options)
        await plant.run()
        await plant.ready()
        return Counting(plant, unit, until)

    return start


async def is_over(machine, until):
    """A fault that ends after its time has ended."""

    async def none():
        return not (await machine.command("faults show"))["faults"]

    await until(none, "the end of the fault")


async def test_a_plc_that_lies_is_not_believed(counting, plant, until):
    # The machine runs many times faster than life: a moment without the processor must not look like a wild value.
    for rule in plant.document["work_units"]["ASM-01"]["counters"]:
        rule["slack"] = 20
    machine_counts = await counting("ASM-01", "--good", "3000", "--scrap", "200", timeout="300 ms")
    asm = plant.machines["ASM-01"]
    told = (
        "slow 100 5", "late 500 2", "torn 500 2", "wrong-unit 3", "garbage 3", "blackhole 0.4", "cut 0.4",
        "restart 0.3 keep",
    )  # fmt: skip
    hidden = ("frozen 0.4", "set good 65530", "reset", "restart 0.3 lose", "zero 0.4", "set scrap 40000")
    for fault in (*told, *hidden):
        # Set to 0 at the end of its range, a counter looks like one that rolls over: it must have gone beyond.
        await machine_counts.goes_on(2 * BETWEEN if fault == "reset" else BETWEEN)
        await asm.command(fault)
        await is_over(asm, until)
        await machine_counts.settles(fault)
        if fault == told[-1]:  # the counters told everything, if late
            await plant.arrived()
            assert (machine_counts.view["review_pieces"], machine_counts.view["unknown"]) == (0, [])
    await machine_counts.goes_on()
    await machine_counts.settles("all of it")


async def test_zero_reads_while_the_machine_stands_are_no_reset(counting, plant, until):
    # Without restart evidence: the boot counter is read as zero, too, and then nobody could tell it from a restart.
    # Three seconds without the processor, which are made up for at once, are no wild value; and however many pieces are
    # made before a look is taken, a zero stays farther off than that, because the roll-over does.
    for rule in plant.document["work_units"]["ASM-01"]["counters"]:
        del rule["restart_evidence"]
        rule["slack"] = 60
    machine_counts = await counting("ASM-01", "--good", "65300", "--scrap", "400")
    asm = plant.machines["ASM-01"]
    for _ in range(2):
        await machine_counts.goes_on()
        await plant.halt("ASM-01")
        await asm.command("zero 0.4")
        await is_over(asm, until)
        await machine_counts.settles("zero while it stands")
    await machine_counts.goes_on(260)  # over the roll-over
    await machine_counts.settles("the roll-over")
    assert (await asm.command("totals"))["good_total"] > 236
    result = await plant.arrived()  # to the piece
    assert result.balanced, result.to_json()
    assert (result.machines[0].review, result.machines[0].unknown) == (0, 0)


async def test_a_total_that_is_torn_at_the_device_is_not_believed(counting, plant, until):
    plant.document["sources"]["asm"]["signals"]["total"] = {"table": "holding", "address": 2, "type": "uint32"}
    plant.document["work_units"]["ASM-01"]["counters"] = [
        # What is torn is wrong by 65,536; a machine that was kept from the processor makes up for seconds at once.
        {"mode": "counter", "signal": "asm.total", "max_rate": "40 /min", "modulus": 2**32, "slack": 1000}
    ]
    machine_counts = await counting("ASM-01")
    asm = plant.machines["ASM-01"]
    await asm.command("set total 65525")
    set_aside = await plant.status_where(lambda view: view["work_units"][0]["review_pieces"], "the jump")
    await asm.command("torn-total 3")
    await machine_counts.goes_on(30)
    await is_over(asm, until)
    await machine_counts.settles("torn-total")
    assert machine_counts.view["review_pieces"] == set_aside["work_units"][0]["review_pieces"]


async def test_a_server_that_lies_is_not_believed(counting, plant, until):
    machine_counts = await counting("IMM-01", "--shots", "4821", timeout="1 s")
    imm = plant.machines["IMM-01"]
    for fault in (
        "zero 0.6", "frozen 0.6", "bad 0.6", "uncertain 0.6", "clock 2000-01-01T00:00:00", "clock 2031-01-01T00:00:00",
        "clock ok", "slow 200 0.6", "blackhole 1", "cut 0.5", "remove MachineCycleCounter 0.6", "session-limit 0 0.6",
        "restart shuffled",
    ):  # fmt: skip
        await machine_counts.goes_on(8)
        await imm.command(fault)
        if fault.startswith("session"):
            await imm.command("cut 0.05")
        if not fault.startswith("clock"):
            await is_over(imm, until)
        await machine_counts.settles(fault)
    assert (machine_counts.view["review_pieces"], machine_counts.view["unknown"]) == (0, [])
    await imm.command("zero-stopped on")
    await machine_counts.settles("zero-stopped")
    await machine_counts.goes_on(2 * 8)
    await imm.command("zero-stopped off")
    result = await (await halted(machine_counts, plant)).arrived()
    assert result.balanced, result.to_json()
    assert sum(result.machines[0].booked) > 0


async def halted(machine_counts, plant):
    await machine_counts.settles("all of it")
    return plant


async def test_contacts_that_bounce_hang_and_double_invent_no_piece(counting, plant, until):
    plant.document["work_units"]["PCK-01"]["counters"][0]["stuck_after"] = "30 s"
    machine_counts = await counting("PCK-01")
    pck = plant.machines["PCK-01"]
    for fault in ("bounce on 20 4", "double 5000 2", "stuck 1.5", "cut 0.6"):
        await machine_counts.goes_on(24)
        await pck.command(fault)
        if fault.startswith("bounce"):
            await machine_counts.goes_on(2 * 24)
            await pck.command("bounce on")
        else:
            await is_over(pck, until)
        await machine_counts.settles(fault)
    await plant.status_where(lambda view: view["work_units"][0]["unknown"], "the cut to be declared")
    result = await plant.arrived(exact=False)
    assert sum(result.machines[0].booked) > 0
    assert result.duplicate_keys == result.gaps == ()
