"""Our words and amounts in the ERP's: sums over any split, words that are never guessed, clocks that go back."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import fields
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gateway.connectors import mapping
from gateway.connectors.base import MappingError
from gateway.connectors.mapping import amounts, moments, words
from gateway.connectors.mapping.settings import DECIMALS_MAX, ActivitySlot, MappingSettings

FOLDER = Path(mapping.__file__).parent
TIMES = ("machine_setup", "labour_setup", "machine", "labour")


def document(**more):
    whole = {
        "order_id": "000000100240",
        "operation": "0010",
        "work_center": "IMM-07",
        "uom": "PCE",
        "qty": {"good": "97", "scrap": [{"reason": "FLASH", "qty": "3"}], "rework": "0"},
        "qty_cumulative": {"good": "197", "scrap": [{"reason": None, "qty": "5"}], "rework": "1"},
        "period": {"from": "2026-10-25T00:30:00.000Z", "to": "2026-10-25T01:10:00.000Z"},
        "posting_date": None,
    }
    return whole | more


def series(steps):
    """The documents of an operation, from what each adds: good, scrap by reason, rework and minutes in thousandths."""
    good = scrap = rework = 0
    minutes = dict.fromkeys(TIMES, 0)
    for add_good, add_scrap, add_rework, add_minutes in steps:
        good, scrap, rework = good + add_good, scrap + sum(add_scrap), rework + add_rework
        for name, more in zip(TIMES, add_minutes, strict=True):
            minutes[name] += more
        reasons = [{"reason": f"R{at}", "qty": thousandths(one)} for at, one in enumerate(add_scrap)]
        yield document(
            qty={"good": thousandths(add_good), "scrap": reasons, "rework": thousandths(add_rework)},
            qty_cumulative={
                "good": thousandths(good),
                "scrap": [{"reason": None, "qty": thousandths(scrap)}],
                "rework": thousandths(rework),
            },
            times={f"{name}_min": thousandths(more) for name, more in zip(TIMES, add_minutes, strict=True)},
            times_cumulative={f"{name}_min": thousandths(all_of_it) for name, all_of_it in minutes.items()},
        )


def thousandths(number):
    return str(Decimal(f"{number}e-3"))


PIECES = st.integers(0, 10**7)
STEP = st.tuples(PIECES, st.lists(PIECES, max_size=4), PIECES, st.tuples(*[st.integers(0, 10**6)] * 4))


@given(st.lists(STEP, min_size=1, max_size=12), st.integers(0, DECIMALS_MAX), st.sampled_from(["MIN", "H", "S"]))
@settings(max_examples=150, deadline=None)
def test_all_messages_add_up_to_the_total_rounded_once(steps, places, unit):
    own = MappingSettings(quantity_decimals=places, time_decimals=places)
    made = [amounts.amounts(own, one) for one in series(steps)]
    *_, last = series(steps)
    for role in ("good", "rework"):
        assert sum(getattr(one, role) for one in made) == amounts.rounded(Decimal(last["qty_cumulative"][role]), places)
    scrap = sum(Decimal(one["qty"]) for one in last["qty_cumulative"]["scrap"])
    assert sum(one.scrap for one in made) == amounts.rounded(scrap, places)
    for one in made:
        assert sum(part.quantity for part in one.reasons) == one.scrap
        assert min(one.good, one.scrap, one.rework, *(part.quantity for part in one.reasons), Decimal(0)) == 0
    for name in TIMES:
        told = [amounts.activity(own, ActivitySlot(time=name, unit=unit), one) for one in series(steps)]
        assert sum(told) == amounts.in_unit(Decimal(last["times_cumulative"][f"{name}_min"]), unit, places)
        assert min(told) >= 0
        assert told == [amounts.activity(own, ActivitySlot(time=name, unit=unit), one) for one in series(steps)], "pure"


def test_a_third_of_an_hour_three_times_is_an_hour():
    own, slot = MappingSettings(time_decimals=2), ActivitySlot(time="machine", unit="H")
    told = [amounts.activity(own, slot, one) for one in series([(0, [], 0, (0, 0, 20_000, 0))] * 3)]
    assert [amounts.written(one) for one in told] == ["0.33", "0.34", "0.33"]


def test_times_that_nobody_told_are_none():
    own, slot = MappingSettings(), ActivitySlot(time="labour")
    assert amounts.written(amounts.activity(own, slot, document(times={"labour_min": None}))) == "0.000"
    # A document of before the totals were told.
    assert amounts.activity(own, slot, document(times={"labour_min": "1.500"})) == Decimal("1.5")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"qty": None}, "no qty;"),
        ({"qty": {"good": "x", "scrap": [], "rework": "0"}}, "qty.good: found 'x', allowed: a number as text"),
        ({"qty": {"good": "NaN", "scrap": [], "rework": "0"}}, "qty.good: found 'NaN'"),
    ],
)
def test_amounts_that_are_none_are_refused(change, said):
    with pytest.raises(MappingError, match=re.escape(said)):
        amounts.amounts(MappingSettings(), document(**change))


def test_units():
    own = MappingSettings(units={"PCE": "ST", "KAR": "CAR"}, unit_codes={"KAR": "CT"})
    assert [words.unit(own, document(uom=ours)) for ours in ("PCE", "C62", "KAR")] == ["ST", "C62", "CAR"]
    assert [words.unit_code(own, document(uom=ours)) for ours in ("PCE", "st", "C62", "KAR", "kg")] == [
        "H87", "H87", "C62", "CT", "KGM",
    ]  # fmt: skip
    for asked in (words.unit, words.unit_code):
        with pytest.raises(MappingError, match=r"order 000000100240, operation 0010: uom: found 'PAL', allowed: .*KAR"):
            asked(own, document(uom="PAL"))
        with pytest.raises(MappingError, match="uom: found None"):
            asked(own, document(uom=None))


def test_reasons():
    own = MappingSettings(reasons={"FLASH": "0002"})
    assert words.reason(own, "FLASH", document()) == "0002"
    assert words.reason(own, None, document()) is None
    with pytest.raises(MappingError, match=r"found reason 'BURN', allowed: FLASH; add it to mapping.reasons"):
        words.reason(own, "BURN", document())
    assert words.reason(MappingSettings(reasons={"A": "1"}, default_reason="99"), "BURN", document()) == "99"
    assert words.reason(MappingSettings(no_reason="00"), None, document()) == "00"
    assert words.reason(MappingSettings(), "BURN", document()) == "BURN", "without a table, ours are the ERP's"


def test_work_centers_and_activities():
    slot = ActivitySlot(time="machine")
    own = MappingSettings(
        work_centers={"IMM-07": "IMM07"}, activities={"IMM-07": {3: slot, 1: slot}, "*": {2: slot}}
    )  # fmt: skip
    assert words.work_center(own, document()) == "IMM07"
    assert words.work_center(own, document(work_center="X")) == "X"
    assert list(words.slots(own, document())) == [1, 3]
    assert list(words.slots(own, document(work_center="X"))) == [2]
    assert words.slots(MappingSettings(), document()) == {}
    with pytest.raises(MappingError, match="work_center: found None"):
        words.work_center(own, document(work_center=None))


@pytest.mark.parametrize(
    ("order", "form", "long"),
    [
        ("000000100240", "100240", "000000100240"),
        ("100240", "100240", "000000100240"),
        ("0000", "0", "000000000000"),
        ("00A7", "00A7", "00A7"),
        ("", "", ""),
        ("\u0661\u0662", "\u0661\u0662", "\u0661\u0662"),  # digits, but none that an ERP pads
    ],
)
def test_order_numbers(order, form, long):
    assert words.match_form(order) == form
    assert words.with_leading_zeros(order, 12) == long


def on_the_wall(text):
    return dt.datetime.fromisoformat(text)


BERLIN = moments.zone("Europe/Berlin")


def test_the_hour_that_comes_twice():
    """00:30 UTC is 02:30 in summer time, 01:10 UTC 02:10 in winter time: before it, on the wall."""
    found = moments.span(document(), BERLIN)
    assert found == (on_the_wall("2026-10-25 02:30"), on_the_wall("2026-10-25 02:30"))
    spring = document(period={"from": "2026-03-29T00:30:00.000Z", "to": "2026-03-29T01:30:00.999Z"})
    assert moments.span(spring, BERLIN) == (on_the_wall("2026-03-29 01:30"), on_the_wall("2026-03-29 03:30"))


@given(st.datetimes(on_the_wall("2020-01-01 00:00"), on_the_wall("2035-01-01 00:00")), st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_no_period_ends_before_it_begins(start, seconds):
    period = {"from": f"{start.isoformat()}Z", "to": f"{(start + dt.timedelta(seconds=seconds)).isoformat()}Z"}
    found = moments.span(document(period=period), BERLIN)
    assert found.start <= found.end


def test_posting_dates():
    late = document(period={"from": "2026-06-30T21:00:00.000Z", "to": "2026-06-30T22:30:00.000Z"})
    assert moments.posting_date(late, BERLIN) == dt.date(2026, 7, 1)
    assert moments.posting_date(late | {"posting_date": "2026-06-30"}, BERLIN) == dt.date(2026, 6, 30)
    with pytest.raises(MappingError, match="posting_date: found 'soon', allowed: a date such as"):
        moments.posting_date(late | {"posting_date": "soon"}, BERLIN)
    with pytest.raises(MappingError, match=re.escape("period.to: found None, allowed: a time such as")):
        moments.posting_date(document(period={"from": "2026-06-30T21:00:00.000Z"}), BERLIN)


def test_whose_zone():
    shanghai = MappingSettings(time_zone="Asia/Shanghai")
    assert str(moments.zone_of(shanghai, "Europe/Berlin")) == "Asia/Shanghai"
    assert str(moments.zone_of(MappingSettings(), "Europe/Berlin")) == "Europe/Berlin"
    with pytest.raises(MappingError, match="time_zone: found 'Mars/Base'"):
        moments.zone("Mars/Base")


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ({"quantity_decimals": 7}, "quantity_decimals: found 7, allowed 0 to 6"),
        ({"time_decimals": -1}, "time_decimals: found -1"),
        ({"units": {"PCE": " "}}, "units: found 'PCE': ' ', allowed: two words"),
        ({"activities": {"*": {7: {"time": "machine"}}}}, "activities.*: found 7, allowed 1 to 6"),
        ({"activities": {"*": {1: {"time": "lunch"}}}}, "'machine_setup', 'labour_setup', 'machine' or 'labour'"),
        ({"time_zone": "Mars/Base"}, "time_zone: found 'Mars/Base', allowed: a name of the IANA"),
        ({"unit": {}}, "Unexpected keyword argument"),
    ],
)
def test_settings_that_are_wrong(image, said):
    with pytest.raises(ValidationError, match=re.escape(said)):
        TypeAdapter(MappingSettings).validate_python(image)


def test_the_sample_says_everything_that_the_readme_explains():
    image = yaml.safe_load((FOLDER / "sample.yaml").read_text())["mapping"]
    own = TypeAdapter(MappingSettings).validate_python(image)
    assert words.slots(own, document())[2] == ActivitySlot(time="machine", unit="H", erp_unit="STD")
    text = (FOLDER / "README.md").read_text()
    assert [one.name for one in fields(MappingSettings) if f"`{one.name}`" not in text] == []
