"""Code pages, commas, widths, sums and rounding, several at once and over many confirmations."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.connectors.base import MappingError
from gateway.connectors.file import fields, lines_out
from gateway.connectors.file.columns import Column
from gateway.connectors.file.settings import FileSettings
from gateway.connectors.mapping.settings import MappingSettings
from tests.connectors.conftest import make_document

ORDER = (Column(value="order", width=12),)
SCRAP = [{"reason": "Riß", "qty": "1.5"}, {"reason": "Öl", "qty": "0.25"}]


def fixed(*columns, **changes):
    return FileSettings(
        connector="file",
        folder="x",
        format="fixed",
        columns=columns,
        order_columns=ORDER,
        **{"header": False} | changes,
    )


def rendered(document, chosen):
    confirmed = fields.read(document, chosen.mapping)
    write = lines_out.fixed_lines if chosen.format == "fixed" else lines_out.csv_lines
    return write(confirmed, chosen, "UTC")


def made(seq=1, good="10", scrap=(), total=None, **changes):
    quantities = {"good": good, "scrap": list(scrap), "rework": "0"}
    whole = {"good": total or good, "scrap": [{"reason": None, "qty": "0"}], "rework": "0"}
    cumulative = {"qty_cumulative": whole} if total is not None else {}
    return {**make_document(seq), "qty": quantities, **cumulative, **changes}


def test_umlauts_a_comma_and_a_trailing_sign_in_fixed_length_of_cp850():
    chosen = fixed(
        Column(value="machine", width=8), Column(value="good", width=9, decimals=2, sign="trailing"),
        Column(value="reason", width=4), encoding="cp850", decimal_separator=",",
    )  # fmt: skip
    image = made(good="-1234.5", scrap=SCRAP, machine="Prüf-Öl")
    line = "Prüf-Öl  1234,50-Riß ".encode("cp850")
    assert rendered(image, chosen) == line + b"\r\n"
    assert len(line) == 21


@pytest.mark.parametrize(
    ("image", "column", "text"),
    [
        (made(good="1000000"), Column(value="good", width=6), "good: found '1000000', 7 bytes long, allowed 6"),
        (made(good="99999.5"), Column(value="good", width=7, decimals=2), "'99999,50', 8 bytes long, allowed 7"),
        (made(good="-1"), Column(value="good", width=1, cut=True), "good: found '-1', 2 bytes long, allowed 1"),
        (made(machine="Prüfplatz"), Column(value="machine", width=8), "machine: found 'Prüfplatz', 9 bytes"),
    ],
)
def test_what_is_too_long_is_parked_and_a_number_never_cut(image, column, text):
    with pytest.raises(MappingError, match=text):
        rendered(image, fixed(column, encoding="cp850", decimal_separator=","))


def test_width_counts_bytes_where_a_character_has_several():
    column = Column(value="machine", width=8)
    with pytest.raises(MappingError, match="9 bytes long, allowed 8"):
        rendered(made(machine="Prüfung1"), fixed(column, encoding="utf-8"))
    assert rendered(made(machine="Prüfung1"), fixed(column, encoding="cp850")).startswith("Prüfung1".encode("cp850"))


def test_the_sum_of_a_trailer_is_that_of_the_lines():
    chosen = FileSettings(
        connector="file", folder="x", lines="reasons", trailer="SUMME", decimal_separator=",", encoding="cp850",
        mapping=MappingSettings(quantity_decimals=1),
        columns=(Column(name="AUFNR", value="order"), Column(name="GUT", value="good"),
                 Column(name="AUS", value="scrap"),
                 Column(name="GRUND", value="reason"), Column(name="MENGE", value="quantity")),
    )  # fmt: skip
    lines = rendered(made(good="2.25", scrap=SCRAP), chosen).decode("cp850").splitlines()
    rows = [line.split(";") for line in lines[1:-1]]
    assert [row[3] for row in rows] == ["Riß", "Öl"]
    name, count, total, *_ = lines[-1].split(";")
    assert (name, count) == ("SUMME", "2")
    assert Decimal(total.replace(",", ".")) == sum(Decimal(row[4].replace(",", ".")) for row in rows)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.decimals(0, 50, places=4, allow_nan=False, allow_infinity=False), min_size=2, max_size=40),
    st.integers(0, 3),
)
def test_rounded_deltas_of_many_confirmations_add_up_to_the_rounded_total(parts, places):
    """Kilograms and metres: what was rounded away comes with a later message, and none is lost or invented."""
    chosen = fixed(Column(value="good", width=20), mapping=MappingSettings(quantity_decimals=places))
    total, written = Decimal(0), Decimal(0)
    for seq, part in enumerate(parts, start=1):
        total += part
        written += Decimal(rendered(made(seq, good=str(part), total=str(total), uom="KG"), chosen).decode().strip())
        assert abs(written - total) <= Decimal(1).scaleb(-places) / 2, (seq, parts)
