"""The table, the document and the server say the same: every route is documented, every documented one is there."""

from __future__ import annotations

import re

import jsonschema_rs
import pytest

from gateway.api.examples import EXAMPLES
from gateway.api.openapi import codes_of, openapi
from gateway.api.problem import CODES
from gateway.api.routes import OUTBOX_STATES, ROUTES
from gateway.core.access.permissions import NEEDS_REASON, PERMISSIONS
from gateway.core.orders.lifecycle import ActorRole

WRITING = [route for route in ROUTES if route.writes]
WITH_TOKEN = [route for route in ROUTES if route.actions]
MINUTE_NS = 60 * 10**9
NOT_READING = ("PUT", "PATCH", "DELETE", "OPTIONS")
VALUES = {
    "entries": "1,2", "quantities": "40,30", "leader": "L1", "orders": "4711,4712", "distribution": "by_open_qty",
    "ratios": "2,1", "good": 1, "scrap": 1, "rework": 1, "reference": "4711/2", "step": 1,
    "machine": "M-1", "order": "4711", "operation": "0010", "pieces": 1, "from": "good", "to": "scrap", "number": 1,
    "which": 1, "confirmation": 1, "key": "P/e/4711/0010/1",
    "reason": "NO_MATERIAL", "passphrase": "some words of my own", "at": "2026-03-27T06:00:00Z",
    "interrupt": True, "document": "D1", "verdict": "passed", "finding": "MISMATCH",
    "scope": "product", "name": "P-1",
    "person": "ann", "feeder": "bowl", "lot": "L1", "item": "RING", "quantity": "12.5", "replace": "true",
    "target": "erp", "channel": "mail", "kind": "purge", "direction": "forward", "serial": "SN-1",
}  # fmt: skip


def name(route):
    return route.verb


def body_of(route):
    times = {"from": "2026-03-27T06:00:00Z", "to": "2026-03-27T06:10:00Z"} if route.verb == "reason" else {}
    times |= {"from": 3, "to": 5} if route.verb == "outbox.resend_from" else {}
    return {field.name: {**VALUES, **times}[field.name] for field in route.body}


def path_of(route):
    return re.sub(r"\{(\w+)\}", lambda match: str(VALUES[match[1]]), route.path)


def query_of(route):
    needed = [f"{field.name}={VALUES[field.name]}" for field in route.query if field.required]
    return "?" + "&".join(needed) if needed else ""


def test_the_document_is_one_of_openapi_and_its_schemas_are_schemas():
    document = openapi(ROUTES, "1.2.3")
    assert document["openapi"] == "3.1.0"
    assert document["info"]["version"] == "1.2.3"
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    text = str(document)
    for wanted in re.findall(r"#/components/schemas/(\w+)", text):
        assert wanted in document["components"]["schemas"]


def test_each_operation_stands_under_its_subject():
    document = openapi(ROUTES, "0")
    tags = {item["operationId"]: item["tags"] for path in document["paths"].values() for item in path.values()}
    assert (tags["order.start"], tags["posting"], tags["health"]) == (["orders"], ["outbox"], ["health"])
    assert [one["name"] for one in document["tags"]] == list(dict.fromkeys(tag for (tag,) in tags.values()))


async def test_every_route_is_documented_and_every_documented_one_is_there(bench):
    document = (await bench.ask("GET", "/openapi.json")).json
    listed = {(path, method.upper()) for path, item in document["paths"].items() for method in item}
    assert listed == {(route.path, route.method) for route in ROUTES}
    token = bench.token("anna", "supervisor")
    for number, route in enumerate(ROUTES):
        answer = await bench.ask(
            route.method, path_of(route) + query_of(route), body_of(route) if route.writes else None, token=token,
            key=str(number),
        )  # fmt: skip
        assert answer.status == 200, (route.verb, answer.body)
        assert bench.told[-1]["verb"] == route.verb


async def test_each_example_of_the_document_can_be_sent_as_it_stands(bench):
    document = (await bench.ask("GET", "/openapi.json")).json
    token = bench.token("anna", "supervisor")
    for route in WRITING:
        content = document["paths"][route.path]["post"]["requestBody"]["content"]["application/json"]
        jsonschema_rs.validate(content["schema"], content["example"])
        answer = await bench.ask("POST", path_of(route), content["example"], token=token, key=route.verb)
        assert answer.status == 200, (route.verb, answer.body)
        told = {name: value for name, value in bench.told[-1].items() if name in content["example"]}
        assert told == content["example"], route.verb
    assert set(EXAMPLES) == {route.verb for route in WRITING}
    assert "passphrase" not in str(EXAMPLES)


def test_paths_and_verbs_are_each_there_once():
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert len({route.verb for route in ROUTES}) == len(ROUTES)
    shapes = [re.sub(r"\{\w+\}", "{}", route.path) for route in ROUTES]
    assert len(set(shapes)) == len(shapes)


@pytest.mark.parametrize("route", ROUTES, ids=name)
def test_a_row_is_whole(route):
    document = openapi([route], "1")
    operation = document["paths"][route.path][route.method.lower()]
    assert route.answer in document["components"]["schemas"]
    assert [field.name for field in route.params] == re.findall(r"\{(\w+)\}", route.path)
    assert (route.action_of is not None) == (len(route.actions) > 1)
    assert ("requestBody" in operation) == route.writes
    for code in codes_of(route):
        assert str(CODES[code][0]) in operation["responses"]
    if not route.writes:
        assert route.method == "GET"
        return
    # What is never done without a reason has a field for it, and is not done without.
    if any(action.value in NEEDS_REASON for action in route.actions):
        assert [field.required for field in route.body if field.name == "reason"] == [True]


def test_only_health_and_readiness_are_open():
    assert {route.path for route in ROUTES if not route.actions} == {"/health", "/ready"}


def test_the_words_are_those_of_the_outbox():
    from buffer.entry import OutboxState

    assert tuple(state.value for state in OutboxState) == OUTBOX_STATES


async def test_each_route_lets_in_whom_the_table_of_permissions_allows(bench, subtests):
    tokens = {role: bench.token(f"one-{role.value}", role.value) for role in ActorRole}
    for route in WITH_TOKEN:
        body = body_of(route) if route.writes else None
        allowed = PERMISSIONS[route.action(body or {})].roles
        for role, token in tokens.items():
            with subtests.test(route=route.verb, role=role.value):
                bench.told.clear()
                path = path_of(route) + query_of(route)
                answer = await bench.ask(route.method, path, body, token=token, key=route.verb)
                assert (answer.status == 200) is (role in allowed), answer
                assert len(bench.told) == (role in allowed)
        bench.now_ns += MINUTE_NS  # nobody asks too often


async def test_no_route_answers_without_a_token(bench, subtests):
    for route in WITH_TOKEN:
        with subtests.test(route=route.verb):
            path = path_of(route) + query_of(route)
            answer = await bench.ask(route.method, path, body_of(route) if route.writes else None)
            assert answer.status == 401
            assert bench.told == []
        bench.now_ns += MINUTE_NS


def _otherwise(body):
    name = next(one for one in ("machine", "reason", "order", "channel") if one in body)
    return {**body, name: {"machine": "M-2", "reason": "another one", "order": "4712", "channel": "sms"}[name]}


async def test_every_decision_is_taken_once_and_takes_no_unknown_field(bench, subtests):
    token = bench.token("anna", "supervisor")
    for route in WRITING:
        bench.told.clear()
        with subtests.test(route=route.verb):
            await decided_once(bench, route, token)
        bench.now_ns += MINUTE_NS


async def decided_once(bench, route, token):
    key = f"{route.verb}-a"
    first = await bench.ask("POST", path_of(route), body_of(route), token=token, key=key)
    again = await bench.ask("POST", path_of(route), body_of(route), token=token, key=key)
    assert (first.status, again.status, again.body) == (200, 200, first.body)
    odd = await bench.ask("POST", path_of(route), {**body_of(route), "force": True}, token=token, key=f"{route.verb}-b")
    assert (odd.status, odd.json["errors"][0]["field"]) == (422, "'force'")
    other = await bench.ask("POST", path_of(route), _otherwise(body_of(route)), token=token, key=key)
    assert (other.status, other.json["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert len(bench.told) == 1
    for method in NOT_READING:
        assert (await bench.ask(method, path_of(route), token=token)).status == 405
    assert len(bench.told) == 1
