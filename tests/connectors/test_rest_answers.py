import datetime as dt
import json

import pytest

from gateway.connectors.base import LookupKind, OutcomeKind
from gateway.connectors.error_classes import table_of
from gateway.connectors.http import HttpAnswer
from gateway.connectors.http_answer import DETAIL_MAX_CHARS, REFERENCE_MAX_CHARS
from gateway.connectors.rest import judged
from gateway.connectors.rest.answers import lookup_of, outcome_of
from gateway.connectors.rest.filters import Scope
from gateway.connectors.rest.placeholders import Fields, compiled
from gateway.connectors.rest.plan import PlanLookup
from gateway.connectors.rest.profile import Answer, LookUp, Request
from gateway.connectors.rest.tree import Condition
from gateway.core.foreign_text import is_clean

NOW_NS = 1_800_000_000 * 1_000_000_000
S = 1_000_000_000
JSON, HTML = "application/json", "text/html"


def answer(status, body=b"", media=JSON, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpAnswer(status, {"content-type": media, **named}, body)


def error(code, message="why"):
    return b'{"error": {"code": "%s", "message": "%s"}}' % (code.encode(), message.encode())


CASES = [
    # status, body, media, expected
    (201, b'{"reference": "C-1"}', JSON, OutcomeKind.POSTED),
    (200, b'{"reference": "C-1", "duplicate": true}', JSON, OutcomeKind.POSTED),
    (200, b'{"reference": 17}', "application/vnd.x+json; charset=utf-8", OutcomeKind.POSTED),
    (202, b"{}", JSON, OutcomeKind.ACCEPTED),
    (201, b"{}", JSON, OutcomeKind.UNCERTAIN),
    (201, b'{"refer', JSON, OutcomeKind.UNCERTAIN),
    (200, b'{"reference": "C-1", "error": {"code": "X"}}', JSON, OutcomeKind.UNCERTAIN),
    (202, b'{"error": "queue is full"}', JSON, OutcomeKind.UNCERTAIN),
    (201, b'{"reference": " "}', JSON, OutcomeKind.UNCERTAIN),
    (200, b'{"reference": "C-1", "error": null}', JSON, OutcomeKind.POSTED),
    (204, b"", "", OutcomeKind.UNCERTAIN),
    (200, b"[1]", JSON, OutcomeKind.UNCERTAIN),
    (200, b"<html>log in</html>", HTML, OutcomeKind.PROTOCOL),
    (202, b"<html>log in</html>", HTML, OutcomeKind.PROTOCOL),
    (200, b"hello", "text/plain", OutcomeKind.PROTOCOL),
    (302, b"", HTML, OutcomeKind.PROTOCOL),
    (400, error("BAD"), JSON, OutcomeKind.BUSINESS_REJECT),
    (401, b"", HTML, OutcomeKind.AUTH),
    (403, error("NO"), JSON, OutcomeKind.AUTH),
    (404, error("ORDER_UNKNOWN"), JSON, OutcomeKind.BUSINESS_REJECT),
    (404, b"<html>", HTML, OutcomeKind.PROTOCOL),
    (404, b'{"message": "no Route matched"}', JSON, OutcomeKind.PROTOCOL),
    (405, b"", HTML, OutcomeKind.PROTOCOL),
    (408, b"", HTML, OutcomeKind.UNCERTAIN),
    (409, error("CLOSED"), JSON, OutcomeKind.BUSINESS_REJECT),
    (409, error("LOCKED"), JSON, OutcomeKind.BUSY),
    (410, error("GONE"), JSON, OutcomeKind.BUSINESS_REJECT),
    (412, b"", JSON, OutcomeKind.BUSY),
    (413, b"<html>", HTML, OutcomeKind.BUSINESS_REJECT),
    (415, b"", JSON, OutcomeKind.BUSINESS_REJECT),
    (418, b"", JSON, OutcomeKind.BUSINESS_REJECT),
    (422, error("OVER_DELIVERY"), JSON, OutcomeKind.BUSINESS_REJECT),
    (422, error("NOT_RELEASED"), JSON, OutcomeKind.WAIT_PRECONDITION),
    (423, b"", JSON, OutcomeKind.BUSY),
    (429, b"", JSON, OutcomeKind.NOT_SENT),
    (500, error("X"), JSON, OutcomeKind.UNCERTAIN),
    (502, b"<html>", HTML, OutcomeKind.UNCERTAIN),
    (503, b"<html>", HTML, OutcomeKind.UNCERTAIN),
    (504, b"", HTML, OutcomeKind.UNCERTAIN),
    (600, b"", HTML, OutcomeKind.PROTOCOL),
]


@pytest.mark.parametrize(("status", "body", "media", "kind"), CASES)
def test_what_an_answer_means(status, body, media, kind):
    outcome = outcome_of(answer(status, body, media), NOW_NS)
    assert outcome.kind is kind
    assert outcome.detail or kind in {OutcomeKind.POSTED, OutcomeKind.ACCEPTED}
    assert bool(outcome.reference) == (kind is OutcomeKind.POSTED)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("deficit of\n4 PC", "deficit of 4 PC"),
        ({"code": "M7 021", "message": "deficit of 4 PC"}, "M7 021: deficit of 4 PC"),
        ({"code": 7, "message": ""}, ""),
        ("", ""),
        (["no text"], ""),
        (None, ""),
    ],
)
def test_a_booking_without_its_material_is_a_booking(said, text):
    told = answer(201, json.dumps({"reference": "R-1", "goods_movement_error": said}).encode())
    outcome = outcome_of(told, NOW_NS)
    assert (outcome.kind, outcome.reference, outcome.goods_error) == (OutcomeKind.POSTED, "R-1", text)
    lookup = lookup_of(told._replace(status=200), {"key"})
    assert (lookup.kind, lookup.goods_error) == (LookupKind.FOUND, text)


def test_a_refusal_carries_code_and_message():
    outcome = outcome_of(answer(422, error("OVER_DELIVERY", "24 of 20")), NOW_NS)
    assert (outcome.code, outcome.detail) == ("OVER_DELIVERY", "HTTP 422: 24 of 20")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("7", 7 * S),
        ("0", 0),
        ("999999999999999999", 366 * 86_400 * S),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30 * S),
        ("Fri, 15 Jan 2017 08:00:30 GMT", 0),
        ("soon", None),
        ("Fri, 15 Jan 99999999999999999999 08:00:30 GMT", None),
        ("", None),
        ("-5", None),
    ],
)
def test_a_time_to_come_back(written, expected):
    outcome = outcome_of(answer(503, retry_after=written), NOW_NS)
    assert outcome.retry_after_ns == expected
    assert outcome.kind is (OutcomeKind.UNCERTAIN if expected is None else OutcomeKind.NOT_SENT)
    assert outcome_of(answer(429, retry_after=written), NOW_NS).kind is OutcomeKind.NOT_SENT


@pytest.mark.parametrize(
    ("status", "body", "media", "kind"),
    [
        (200, b'{"reference": "C-1"}', JSON, LookupKind.FOUND),
        (200, b'{"reference": "C-1", "error": null, "count": 1}', JSON, LookupKind.FOUND),
        (200, b'{"reference": "C-1", "idempotency_key": "%C3%A4/1"}', JSON, LookupKind.FOUND),
        (200, b'{"reference": "C-1", "key": "\xc3\xa4/1"}', JSON, LookupKind.FOUND),
        (200, b'{"reference": "C-1", "key": 17}', JSON, LookupKind.FOUND),
        (200, b'{"reference": "C-1", "idempotency_key": "other/1"}', JSON, LookupKind.UNKNOWN),
        (200, b'{"reference": "C-1", "key": "other/1"}', JSON, LookupKind.UNKNOWN),
        (200, b"{}", JSON, LookupKind.UNKNOWN),
        (200, b'{"reference": ""}', JSON, LookupKind.UNKNOWN),
        (200, b'{"reference": ["C-1"]}', JSON, LookupKind.UNKNOWN),
        (200, b'{"status": "ok"}', JSON, LookupKind.UNKNOWN),
        (200, b'{"bookings": []}', JSON, LookupKind.UNKNOWN),
        (200, error("NOT_FOUND", "unknown key"), JSON, LookupKind.UNKNOWN),
        (200, b'{"reference": "C-1", "error": {"code": "X"}}', JSON, LookupKind.UNKNOWN),
        (200, b'{"reference": "C-1", "error": true}', JSON, LookupKind.UNKNOWN),
        (200, b"[1]", JSON, LookupKind.UNKNOWN),
        (202, b'{"reference": "C-1"}', JSON, LookupKind.UNKNOWN),
        (404, error("NOT_FOUND"), JSON, LookupKind.ABSENT),
        (404, b"<html>", HTML, LookupKind.UNKNOWN),
        (404, b'{"message": "no Route matched"}', JSON, LookupKind.UNKNOWN),
        (200, b"<html>", HTML, LookupKind.UNKNOWN),
        (200, b'{"refe', JSON, LookupKind.UNKNOWN),
        (500, error("X"), JSON, LookupKind.UNKNOWN),
        (401, error("X"), JSON, LookupKind.UNKNOWN),
        (302, b"", HTML, LookupKind.UNKNOWN),
    ],
)
def test_what_a_lookup_means(status, body, media, kind):
    lookup = lookup_of(answer(status, body, media), {"\u00e4/1", "%C3%A4/1"})
    assert lookup.kind is kind
    assert lookup.detail or kind is LookupKind.FOUND
    assert lookup.reference == ("C-1" if kind is LookupKind.FOUND else "")


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"\xff\xfe", b"null", b'"text"', b'{"error": "text"}', b'{"error": {"code": 5}}']
)
@pytest.mark.parametrize("status", [200, 404, 422, 500])
def test_no_body_is_too_strange(status, body):
    outcome_of(answer(status, body), NOW_NS)
    lookup_of(answer(status, body), {"key"})


STRANGE = {"code": "BA\nD", "message": "Menge \ud83d\r\n\x1b[2J999999 posted \u202e" + "x" * 5000}
EXPECTED_START = "Menge \ufffd   [2J999999 posted  xxx"


@pytest.mark.parametrize("status", [200, 201, 202, 404, 409, 422, 500, 503])
def test_a_text_of_the_erp_is_one_clean_bounded_line(status):
    body = json.dumps({"error": STRANGE}).encode()
    outcome, lookup = outcome_of(answer(status, body), NOW_NS), lookup_of(answer(status, body), {"key"})
    assert EXPECTED_START in outcome.detail
    assert EXPECTED_START in lookup.detail
    assert outcome.code == "BA D"
    for text in (outcome.detail, lookup.detail):
        assert is_clean(text)
        assert len(text) <= DETAIL_MAX_CHARS


def test_a_reference_is_one_clean_bounded_line():
    body = json.dumps({"reference": "R-1\ud83d\n\x1b[31m" + "x" * 5000}).encode()
    for found in (outcome_of(answer(201, body), NOW_NS), lookup_of(answer(200, body), {"key"})):
        assert found.reference.startswith("R-1\ufffd  [31mxxx")
        assert len(found.reference) == REFERENCE_MAX_CHARS


def test_a_strange_media_type_is_shown_clean():
    for found in (outcome_of(answer(200, b"x", "a\x1b[2Jb"), NOW_NS), lookup_of(answer(200, b"x", "a\x1b[2Jb"), {"k"})):
        assert "a [2jb" in found.detail


def test_a_success_that_speaks_of_another_key_is_unclear():
    said = HttpAnswer(201, {"content-type": "application/json"}, b'{"reference": "R1", "idempotency_key": "other"}')
    assert outcome_of(said, 0, {"mine"}).kind is OutcomeKind.UNCERTAIN
    assert outcome_of(said, 0, {"mine", "other"}).kind is OutcomeKind.POSTED


ROWS = {
    "nothing there": ([], LookupKind.ABSENT),
    "of another": ([{"key": "k2", "state": "done", "id": "7"}], LookupKind.ABSENT),
    "booked": ([{"key": "k1", "state": "done", "id": "7"}], LookupKind.FOUND),
    "pending": ([{"key": "k1", "state": "queued", "id": "7"}], LookupKind.ACCEPTED),
    "refused": ([{"key": "k1", "state": "failed", "id": "7", "why": "RU/045"}], LookupKind.REFUSED),
    "refused once and booked": (
        [{"key": "k1", "state": "failed", "id": "6"}, {"key": "k1", "state": "done", "id": "7"}], LookupKind.FOUND,
    ),
    "does not say": ([{"key": "k1", "id": "7"}], LookupKind.UNKNOWN),
}  # fmt: skip


def test_a_profile_says_where_material_that_was_not_booked_stands():
    meaning = Answer(reference=("id",), goods_error=("cogi.code", "cogi.text"))
    said = {"id": "7", "cogi": {"code": "M7/021", "text": "deficit of 4 KG"}}
    table = table_of({}, {})
    for tree, error in ((said, "M7/021: deficit of 4 KG"), ({"id": "7", "cogi": {"code": ""}}, ""), ({"id": "7"}, "")):
        found = judged.outcome_of(answer(200, json.dumps(tree).encode()), meaning, table, NOW_NS, "k1")
        assert (found.kind, found.reference, found.goods_error) == (OutcomeKind.POSTED, "7", error)
        own = LookUp(request=Request(path="/"), rows="rows", reference=("id",), goods_error=meaning.goods_error)
        told = answer(200, json.dumps({"rows": [tree]}).encode())
        seen = judged.lookup_of(told, PlanLookup(None, {}, own), Answer(), Scope({}, dt.UTC, {}), "k1")
        assert (seen.kind, seen.goods_error) == (LookupKind.FOUND, error)


@pytest.mark.parametrize("case", ROWS)
def test_what_a_row_of_a_profile_says(case):
    rows, kind = ROWS[case]
    own = LookUp(
        request=Request(path="/"), rows="rows", match={"key": "{key}"}, reference=("id",), code="why",
        booked=Condition(path="state", any_of=("done",)), pending=Condition(path="state", any_of=("queued",)),
        refused=Condition(path="state", any_of=("failed",)),
    )  # fmt: skip
    fields = Fields(frozenset(["key"]))
    lookup = PlanLookup(None, {"key": compiled("{key}", "match", fields)}, own)
    told = answer(200, json.dumps({"rows": rows}).encode())
    found = judged.lookup_of(told, lookup, Answer(), Scope({"key": "k1"}, dt.UTC, {}), "k1")
    assert found.kind is kind, found
    assert found.reference == ("7" if kind in {LookupKind.FOUND, LookupKind.ACCEPTED, LookupKind.REFUSED} else "")
    assert found.code == ("RU/045" if kind is LookupKind.REFUSED else "")
