"""B2MML by its own schemas: what we write of any confirmation, and what the file partner writes."""

import functools
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.connectors.base import ConnectorContext
from gateway.connectors.file import PLUGIN
from gateway.connectors.file.orders import parse_file
from gateway.connectors.file.settings import FileSettings
from gateway.connectors.mapping.settings import MappingSettings
from simulators.erp import file_partner_forms as forms
from simulators.erp.checks import RefusedError
from tests.connectors.conftest import make_document, make_order

EXAMPLES = 60
#: The schemas are MESA's; they are looked for where a developer or the build has put them.
SCHEMAS = Path(os.environ.get("LINEGATE_B2MML", Path(__file__).parents[3] / "shared" / "b2mml"))


@functools.cache
def schema():
    from lxml import etree

    return etree.XMLSchema(etree.parse(SCHEMAS / "AllSchemas.xsd"))


def check(body):
    if not (SCHEMAS / "AllSchemas.xsd").exists():
        pytest.skip(f"the schemas of B2MML are not at hand in {SCHEMAS}; LINEGATE_B2MML names their folder")
    from lxml import etree

    document = etree.fromstring(body)
    assert schema().validate(document), f"{schema().error_log}\n{body.decode()}"


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=30)
NAMES = TEXTS.filter(str.strip)
NUMBERS = st.decimals(0, 10**6, allow_nan=False, allow_infinity=False, places=3).map(str)
MINUTES = st.none() | NUMBERS


@st.composite
def confirmations(draw):
    scrap = draw(st.lists(st.fixed_dictionaries({"reason": st.none() | NAMES, "qty": NUMBERS}), max_size=4))
    kind = draw(st.sampled_from(["partial", "final", "reversal"]))
    sign = "-" if kind == "reversal" else ""
    times = {f"{name}_min": draw(MINUTES) for name in ("machine", "labour", "machine_setup", "labour_setup")}
    changes = {
        "type": kind,
        "product": {"id": draw(TEXTS), "revision": draw(TEXTS)},
        "work_center": draw(TEXTS),
        "operation": draw(NAMES),
        "order_id": draw(NAMES),
        "qty": {"good": sign + draw(NUMBERS), "rework": draw(NUMBERS), "scrap": scrap},
        "times": times,
        "operators": draw(st.lists(TEXTS, max_size=3)),
        "lots": [{"lot": one, "qty": "1"} for one in draw(st.lists(TEXTS, max_size=2))],
        "posting_date": draw(st.none() | st.dates().map(str)),
        "cycles": draw(st.integers(0, 10**9)),
    }
    if kind == "reversal":
        changes["reverses"] = "RQ1/e/100240/0010/1"
    if draw(st.booleans()):
        changes["echo"] = {"b2mml_schedule": draw(TEXTS), "b2mml_segment_0010": draw(TEXTS)}
    return {**make_document(draw(st.integers(1, 10**6))), **changes}


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(
    confirmations(),
    st.sampled_from(["none", "file"]),
    st.sampled_from(["manual", "cancel", "negative"]),
    st.sampled_from([None, 0, 2]),
)
def test_any_confirmation_is_valid(image, ack, correction, decimals):
    mapping = None if decimals is None else MappingSettings(quantity_decimals=decimals)
    chosen = FileSettings(
        connector="file", folder="x", format="b2mml", ack=ack, correction=correction, mapping=mapping, partner="DE-1"
    )
    context = ConnectorContext(name="erp", gateway_id="demo", now_ns=lambda: 0, secrets={}, base_dir=Path("/x"))
    check(PLUGIN.build(chosen, context).render(image).body)


@pytest.mark.parametrize("refused", [None, RefusedError("RU/045", "order <closed> & done")])
def test_the_receipts_of_the_file_partner_are_valid(refused):
    check(forms.receipt_text("b2mml", make_document(1)["confirmation_id"], "4711", refused))


@pytest.mark.parametrize(
    "changes", [{}, {"cancelled": True}, {"planned_end": None, "priority": None}, {"order_id": "Ä<&>"}]
)
def test_the_schedules_of_the_file_partner_are_valid_and_taken(changes):
    text = forms.orders_text(make_order("100240", **changes), "b2mml", "utf-8", 7)
    orders, reasons = parse_file(text, FileSettings(connector="file", folder="x", format="b2mml"), "UTC")
    assert not reasons
    assert [order.order for order in orders] == [changes.get("order_id", "100240")]
    check(text)
