"""The search for readable addresses: a device as a table of areas, and how many questions it takes."""

from __future__ import annotations

import pytest

from gateway.commission.scan import Answer, Kind, TableScan, scan_units


class Tables:
    """Answers like a device that has some areas, takes requests up to a length, and counts them."""

    def __init__(self, *areas, longest=125, code=2):
        self.there = {address for first, last in areas for address in range(first, last + 1)}
        self.longest = longest
        self.code = code
        self.requests = 0
        self.silent = False

    async def ask(self, unit, table, address, count):
        self.requests += 1
        if self.silent:
            return Answer(Kind.SILENT, text="nothing came")
        wanted = range(address, address + count)
        if count > self.longest or not self.there.issuperset(wanted):
            return Answer(Kind.REFUSED, code=self.code, text=f"exception {self.code}")
        return Answer(Kind.ANSWERS, words=[at % 65_536 for at in wanted])


async def mapped(device, first, last, *, thorough=False, table="holding"):
    scan = TableScan(device, 1, table, pause_s=0, thorough=thorough, on_progress=lambda _text: None)
    return await scan.run(first, last)


def readable(found):
    return [(area.first, area.last) for area in found.areas if area.kind is Kind.ANSWERS]


@pytest.mark.parametrize(
    ("areas", "requests"),
    [
        ([(0, 999)], 8),
        ([(0, 99)], 80),
        ([(0, 46), (100, 149), (500, 531)], 140),
        ([(250, 260)], 130),
        ([], 60),
    ],
)
async def test_areas_are_found_with_few_requests(areas, requests):
    device = Tables(*areas)
    found = await mapped(device, 0, 999)
    assert readable(found) == areas
    assert sorted(found.values) == sorted(device.there)
    assert found.requests == device.requests <= requests
    assert [area.first for area in found.areas] == [0, *(area.last + 1 for area in found.areas[:-1])]
    assert found.areas[-1].last == 999


async def test_a_single_register_between_refused_ones_needs_thoroughness():
    device = Tables((0, 9), (20, 20), (803, 804))
    assert readable(await mapped(device, 0, 999, thorough=True)) == [(0, 9), (20, 20), (803, 804)]
    quick = await mapped(device, 0, 999)
    assert any(area.sampled for area in quick.areas)


async def test_a_device_that_takes_short_requests_only():
    found = await mapped(Tables((0, 999), longest=60), 0, 999)
    assert readable(found) == [(0, 999)]
    assert found.longest <= 60
    assert found.max_registers is not None
    assert 30 <= found.max_registers <= 63


async def test_a_device_without_that_table_is_asked_once():
    device = Tables(code=1)
    found = await mapped(device, 0, 999)
    assert device.requests == 1
    assert "has no table holding" in found.stopped


async def test_a_device_that_falls_silent_is_left():
    device = Tables((0, 999))
    device.silent = True
    found = await mapped(device, 0, 999)
    assert device.requests == 3
    assert "did not answer 3 times" in found.stopped


async def test_bits_are_asked_for_in_long_requests():
    found = await mapped(Tables((0, 1_999), longest=2_000), 0, 1_999, table="coil")
    assert (readable(found), found.requests, found.max_registers) == ([(0, 1_999)], 1, None)


class Units:
    """Units of a line: a number to how it reacts; ``busy`` times it is busy before."""

    def __init__(self, reactions, busy=0):
        self.reactions = reactions
        self.busy = busy

    async def ask(self, unit, table, address, count):
        if self.busy:
            self.busy -= 1
            return Answer(Kind.REFUSED, code=6, text="busy")
        return self.reactions.get(unit, Answer(Kind.SILENT))


async def test_units_answer_refuse_or_stay_silent():
    line = Units(
        {
            3: Answer(Kind.ANSWERS, words=[7]),
            5: Answer(Kind.REFUSED, code=2, text="exception 2"),
            7: Answer(Kind.REFUSED, code=11, text="exception 11"),
        }
    )
    found = []
    await scan_units(line, range(1, 9), found, pause_s=0, on_progress=lambda _text: None)
    assert [one.unit for one in found] == list(range(1, 9))
    assert {one.unit: one.kind for one in found if one.kind is not Kind.SILENT} == {
        3: Kind.ANSWERS,
        5: Kind.REFUSED,  # it is there, and refuses the register
    }


async def test_a_busy_unit_is_asked_again():
    found = []
    line = Units({1: Answer(Kind.ANSWERS, words=[7])}, busy=1)
    await scan_units(line, [1], found, pause_s=0, on_progress=lambda _text: None)
    assert found[0].kind is Kind.ANSWERS
