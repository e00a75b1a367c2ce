"""What a code means: the person's word before the connector's, the exact before the general, and never by text."""

from __future__ import annotations

import re

import pytest

from gateway.connectors.base import OutcomeKind
from gateway.connectors.error_classes import BY_STATUS, check_error_classes, table_of

BUSY, WAIT, REJECT = OutcomeKind.BUSY, OutcomeKind.WAIT_PRECONDITION, OutcomeKind.BUSINESS_REJECT
DEFAULT = BY_STATUS | {"RU/018": BUSY, "RU/*": WAIT, "409 LOCKED": BUSY}


@pytest.mark.parametrize(
    ("own", "codes", "status", "kind"),
    [
        ({}, ["RU/018"], 400, BUSY),
        ({}, ["RU/019"], 400, WAIT),
        ({}, ["M3/001"], 400, REJECT),
        ({}, ["M3/001", "RU/018"], 400, BUSY),
        ({}, ["RU/777", "RU/018"], 400, BUSY),
        ({}, [], None, REJECT),
        ({}, ["LOCKED"], 409, BUSY),
        ({}, ["LOCKED"], 422, REJECT),
        ({}, [], 401, OutcomeKind.AUTH),
        ({}, [], 500, OutcomeKind.UNCERTAIN),
        ({}, [], 302, OutcomeKind.PROTOCOL),
        ({}, [], 418, REJECT),
        ({"RU/018": "business_reject"}, ["RU/018"], 400, REJECT),
        ({"RU/*": "auth"}, ["RU/018"], 400, OutcomeKind.AUTH),
        ({"RU/*": "auth", "RU/01*": "busy"}, ["RU/011"], 400, BUSY),
        ({"409": "wait_precondition"}, ["LOCKED"], 409, WAIT),
        ({" M3/001 ": "busy"}, ["", "M3/001"], 400, BUSY),
        ({"500": "not_sent"}, [], 500, OutcomeKind.NOT_SENT),
    ],
)
def test_the_class_of_an_error(own, codes, status, kind):
    assert table_of(own, DEFAULT).of(codes, status) is kind


def test_what_no_table_knows_is_not_found():
    assert table_of({}, {}).found(["X"], 400) is None


@pytest.mark.parametrize("name", ["", " ", "*", "R*U", "x" * 101])
def test_rows_that_never_fit_are_refused(name):
    with pytest.raises(ValueError, match=re.escape(f"found {name!r}, allowed: a code (RU/018)")):
        check_error_classes({name: "busy"})


def test_the_table_is_bounded():
    check_error_classes({f"A/{number}": "busy" for number in range(500)})
    with pytest.raises(ValueError, match="found 501 rows, allowed at most 500"):
        check_error_classes({f"A/{number}": "busy" for number in range(501)})
