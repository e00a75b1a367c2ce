"""Whatever stands in the file, the loader answers with settings or with ConfigErrors."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from config.document import flatten, parse
from config.errors import ConfigErrors

GOOD = (Path(__file__).parent / "good" / "full.yaml").read_text(encoding="utf-8")
QUICK = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
#: A whole document is 50 times the work of a scrap.
WHOLE, WHOLE_LONG = 25, 500
WORDS = [
    "gateway",
    "sources",
    "driver",
    "press",
    "signals",
    "mode",
    "counter",
    "mqtt",
    "tls",
    "include",
    "asm",
    "*",
    "<<",
]

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10), st.sampled_from(WORDS), st.dates()
)
values = st.recursive(
    scalars,
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), below, max_size=4)
    ),
    max_leaves=12,
)


def as_yaml(value):
    """JSON is YAML, and quotes what must be quoted; odd characters come as escapes."""
    return json.dumps(value, default=str).encode()


@pytest.fixture
def outcome(tmp_path, load_file):
    path = tmp_path / "fuzz.yaml"

    def loading(content):
        path.write_bytes(content)
        try:
            return load_file(path)
        except ConfigErrors as failure:
            str(failure).encode("utf-8", "strict")  # every error can be printed
            return None if failure.errors else pytest.fail("refused without an error")

    return loading


@QUICK
@given(st.binary(max_size=200))
@example(b"\xff\xfe")
@example(b"%YAML 1." + b"9" * 5000 + b"\n---\na")
@example(b'"\\UFFFFFFFF"')
@example(b"? ? ? ?")
@example(b"[" * 5000)
@example(b"- " * 5000)
@example(b"{a: " * 5000)
@example(b"&a [*a]")
@example(b"!<tag:yaml.org,2002:python/object/apply:os.system> [ls]")
def test_bytes(outcome, content):
    outcome(content)


@QUICK
@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@`?,# \n\t0.1~<", max_size=60))
def test_punctuation(outcome, text):
    outcome(text.encode())


@QUICK
@given(values)
@example({"driver": "", "": None})  # an unknown key that reads as if a stray tag named it
@example({"mqtt": {"mode": "tls", "tls": {"mode": "x", "x": 1}}})
def test_values_anywhere(outcome, value):
    outcome(as_yaml(value))


def one_value_replaced(outcome, data):
    document = flatten(parse(GOOD.encode(), "good")).data
    at, key = document, data.draw(st.sampled_from(sorted(document)))
    while isinstance(at[key], (dict, list)) and at[key] and data.draw(st.integers(0, 3)):
        at = at[key]
        key = (
            data.draw(st.sampled_from(sorted(at)))
            if isinstance(at, dict)
            else data.draw(st.sampled_from(range(len(at))))
        )
    at[key] = data.draw(values)
    outcome(as_yaml(document))


@settings(QUICK, max_examples=WHOLE)
@given(st.data())
def test_a_good_document_with_one_value_replaced(outcome, data):
    one_value_replaced(outcome, data)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(QUICK, max_examples=WHOLE_LONG)
@given(st.data())
def test_a_good_document_with_one_value_replaced_many_times(outcome, data):
    one_value_replaced(outcome, data)


@pytest.mark.parametrize("number", [WHOLE, pytest.param(WHOLE_LONG, marks=pytest.mark.soak)])
def test_a_good_document_cut_or_changed_at_any_byte(outcome, number):
    content = GOOD.encode()
    dice = random.Random(20260131)
    for _ in range(number):
        at = dice.randrange(len(content))
        changed = dice.choice((content[:at], content[:at] + bytes([dice.randrange(256)]) + content[at + 1 :]))
        outcome(changed)


def test_the_good_document_passes_in_both_forms(outcome):
    assert outcome(GOOD.encode()) is not None
    assert outcome(as_yaml(flatten(parse(GOOD.encode(), "good")).data)) is not None
