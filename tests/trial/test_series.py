"""The notation of series: what it means, and what is refused with which words."""

from __future__ import annotations

import pytest

from gateway.core.model import Status
from gateway.trial.series import SAMPLES_MAX, parsed

S = 1_000_000_000


def shown(text, every_ns=S, first_ns=0):
    marks = {Status.GOOD: "", Status.UNCERTAIN: "?", Status.BAD: "!"}
    return [
        (one.after_ns / S, one.value, marks[one.status]) for one in parsed(text, every_ns=every_ns, first_ns=first_ns)
    ]


def values(text):
    return [value for _, value, _ in shown(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 1 2", [0, 1, 2]),
        ("5x3", [5, 5, 5]),
        ("0x10", [0] * 10),
        ("2+1x3", [2, 3, 4, 5]),
        ("0 +1x3 +10", [0, 1, 2, 3, 13]),
        ("10-2x3", [10, 8, 6, 4]),
        ("-5 +2", [-5, -3]),
        ("0.1+0.1x2", [0.1, 0.2, 0.3]),
        ("1.0", [1.0]),
        ("true false", [True, False]),
        ("(1 0)x2", [1, 0, 1, 0]),
        ("0 (+1 _)x2", [0, 1, 2]),
        ("((1 0)x2 7)x2", [1, 0, 1, 0, 7, 1, 0, 1, 0, 7]),
        ("'a b' 'x'", ["a b", "x"]),
        ("18446744073709551615 +1", [2**64 - 1, 2**64]),
        ("5 bad +1", [5, None, 6]),
    ],
)
def test_values(text, expected):
    found = values(text)
    assert found == expected
    assert [type(one) for one in found] == [type(one) for one in expected]


def test_times_and_qualities():
    assert shown("0 _ 1 bad 7? @10s 8 9 _x2 4", S // 2, 2 * S) == [
        (2.0, 0, ""), (3.0, 1, ""), (3.5, None, "!"), (4.0, 7, "?"), (10.0, 8, ""), (10.5, 9, ""), (12.0, 4, ""),
    ]  # fmt: skip
    assert shown("@0s 0 @1.5s 1 @1.5s 2", None) == [(0.0, 0, ""), (1.5, 1, ""), (1.5, 2, "")]


@pytest.mark.parametrize(
    ("text", "every_ns", "said"),
    [
        ("", S, "found no value"),
        ("_x3", S, "found no value"),
        ("1 2 bda", S, "found 'bda', allowed: a number"),
        ("+1x3", S, "without a number before it"),
        ("1x0", S, "found x0, allowed x1 to"),
        ("(1 0", S, "found ( without its )"),
        ("1 0)", S, "found ) without its ("),
        ("@5s 1 @4s 2", S, "times that do not go back"),
        ("@5 1", S, "found '@5'"),
        ("(@5s 1)x2", S, "times outside of groups"),
        ("1 2", None, "a value without a time; set every"),
        ("@1s 1 2", None, "a value without a time; set every"),
        ("bad+1", S, "found 'bad+1'"),
        ("bad?", S, "found 'bad?'"),
        ("'a", S, "found"),
        (f"1x{SAMPLES_MAX} 1", S, "more than the allowed"),
        (f"(1x{SAMPLES_MAX})x{SAMPLES_MAX}", S, "more than the allowed"),
        ("(((((1)))))", S, "4 deep"),
        ("1 " * 20_000, S, "use repetitions"),
    ],
)
def test_refused(text, every_ns, said):
    with pytest.raises(ValueError, match=r"^values: ") as refused:
        parsed(text, every_ns=every_ns)
    assert said in str(refused.value)
