"""Requests as a screen or a program sends them: what reaches the verbs, what comes back."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from buffer.errors import StoreError
from buffer.replays import TakenKey
from gateway.access.caller import TAKEN
from gateway.api import gate
from gateway.api.problem import ProblemError, refuse
from gateway.control import RequestError
from gateway.core.duration import Duration
from gateway.verbs.hold_verbs import HoldVerbs

START = {"machine": "M-1", "order": "4711"}


async def test_a_decision_reaches_its_verb_with_the_one_who_took_it(bench):
    token = bench.token("anna", "operator")
    answer = await bench.start_order(token=token)
    assert (answer.status, answer.json) == (200, {"done": "order.start done"})
    assert answer.headers["content-type"] == "application/json"
    (told,) = bench.told
    assert told == {
        **START, "verb": "order.start", "who": "anna", "full_name": "Anna Z", "role": "operator",
        "credential": token.split("_")[1], "expires_ns": told["expires_ns"], "client": "127.0.0.1",
        "auth": f"token {token.split('_')[1]}",
    }  # fmt: skip


async def test_nobody_says_who_he_is_but_with_his_token(bench):
    answer = await bench.start_order({**START, "who": "the boss"}, token=bench.token())
    assert answer.status == 422
    assert answer.json["errors"][0]["field"] == "'who'"
    assert bench.told == []


async def test_what_a_verb_refuses_is_a_problem_with_its_words(bench, refused):
    bench.fail = refused("M-1: cannot start 4711: it is running already", guard="JOB")
    answer = await bench.start_order(token=bench.token())
    assert answer.status == 409
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert problem["code"] == "REFUSED"
    assert problem["status"] == 409
    assert problem["type"] == "urn:linegate:problem:refused"
    assert problem["detail"] == "M-1: cannot start 4711: it is running already"


async def test_a_defect_is_told_without_its_insides_and_ends_nothing(bench):
    bench.fail = ZeroDivisionError("a secret detail")
    answer = await bench.start_order(token=bench.token())
    assert (answer.status, answer.json["code"]) == (500, "FAILED")
    assert b"secret detail" not in answer.body
    bench.fail = None
    assert (await bench.ask("GET", "/health")).status == 200


async def test_a_database_that_fails_is_no_defect(bench):
    bench.fail = StoreError("the disk is full")
    answer = await bench.start_order(token=bench.token())
    assert (answer.status, answer.json["code"]) == (503, "STORE")


async def test_a_verb_may_say_which_field_and_what_is_allowed(bench):
    bench.fail = refuse("NOT_FOUND", "machine: found 'M-9', allowed: M-1")
    assert isinstance(bench.fail, ProblemError)
    answer = await bench.ask("GET", "/v1/work-units/M-9", token=bench.token())
    assert (answer.status, answer.json["detail"]) == (404, "machine: found 'M-9', allowed: M-1")


async def test_paths_and_queries_are_fields_too(bench):
    token = bench.token()
    assert (await bench.ask("GET", "/v1/outbox/7", token=token)).status == 200
    assert bench.told[-1]["number"] == 7
    assert (await bench.ask("GET", "/v1/outbox?limit=3&state=parked", token=token)).status == 200
    assert (bench.told[-1]["limit"], bench.told[-1]["state"]) == (3, "parked")
    assert (
        await bench.ask("GET", "/v1/states?machine=M-1&from=2026-03-27T06:00:00%2B01:00", token=token)
    ).status == 200
    assert bench.told[-1]["from"] == "2026-03-27T06:00:00+01:00"


@pytest.mark.parametrize(
    ("path", "field", "allowed"),
    [
        ("/v1/outbox/0", "number", "a whole number, 1 to 9223372036854775807"),
        ("/v1/outbox/9223372036854775808", "number", "a whole number"),
        ("/v1/outbox/seven", "number", "a whole number"),
        ("/v1/outbox?limit=1001", "limit", "a whole number, 1 to 1000"),
        ("/v1/outbox?limit=", "limit", "a whole number, 1 to 1000"),
        ("/v1/outbox?state=done", "state", "ready, sending, accepted"),
        ("/v1/outbox?sort=id", "'sort'", "state, order, key, kind, before, limit"),
        ("/v1/outbox?limit=1&limit=2", "'limit'", "one"),
        ("/v1/status?all=1", "'all'", "no field here"),
        ("/v1/states", "machine", "1 to 64 letters"),
        ("/v1/states?machine=M-1&from=yesterday", "from", "a point in time with its offset"),
        ("/v1/states?machine=M-1&from=2026-02-30T06:00:00Z", "from", "a point in time with its offset"),
        ("/v1/states?machine=M-1&from=9999-01-01T00:00:00Z", "from", "1970 to 2199"),
        ("/v1/orders?machine=M%201", "machine", "1 to 64 letters"),
    ],
)
async def test_a_wrong_field_is_named_with_what_is_allowed(bench, path, field, allowed):
    answer = await bench.ask("GET", path, token=bench.token())
    assert answer.status == 422, answer.body
    (error,) = answer.json["errors"]
    assert error["field"] == field
    assert allowed in error["allowed"]
    assert bench.told == []


@pytest.mark.parametrize(
    ("path", "body", "example"),
    [
        ("/v1/orders/split", {"order": "A", "quantities": [40, 30]}, "40,30"),
        ("/v1/orders/merge", {"leader": "L", "orders": ["A", "B"]}, "4711,4712"),
        ("/v1/orders/merge", {"leader": "L", "orders": "A,B", "ratios": [2, 1]}, "2,1"),
        ("/v1/orders/allocate", {"order": "A", "pieces": 1, "entries": [3], "reason": "its own"}, "3,4"),
    ],
)
async def test_who_sends_a_list_is_told_how_it_is_written(bench, path, body, example):
    answer = await bench.ask("POST", path, {"machine": "M-1", **body}, token=bench.token("a", "supervisor"), key="1")
    assert answer.status == 422, answer.body
    (error,) = answer.json["errors"]
    assert f'commas between the parts, such as "{example}"' in error["allowed"]
    assert bench.told == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"order": None}, "order"),
        ({"order": 4711}, "order"),
        ({"order": ""}, "order"),
        ({"order": "  "}, "order"),
        ({"order": "x" * 301}, "order"),
        ({"order": "47\n11"}, "order"),
        ({"order": "\ud800"}, "order"),
        ({"order": "47\u202e11"}, "order"),
        ({"machine": "../M-1"}, "machine"),
        ({"pieces": 0}, "pieces"),
        ({"pieces": 1.5}, "pieces"),
        ({"pieces": 1e19}, "pieces"),
        ({"pieces": 1e300}, "pieces"),
        ({"pieces": True}, "pieces"),
        ({"pieces": "1"}, "pieces"),
        ({"pieces": 2**63}, "pieces"),
        ({"to": "hold"}, "to"),
        ({"reason": "\x00"}, "reason"),
    ],
    ids=str,
)
async def test_every_field_of_a_body_is_checked(bench, change, field):
    good = {"machine": "M-1", "order": "4711", "pieces": 1, "from": "good", "to": "scrap", "reason": "dent"}
    token = bench.token()
    answer = await bench.ask("POST", "/v1/orders/reclassify", {**good, **change}, token=token)
    assert answer.status == 422, answer.body
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert bench.told == []
    assert (await bench.ask("POST", "/v1/orders/reclassify", good, token=token)).status == 200


async def test_a_whole_number_with_a_point_is_taken_exactly(bench):
    text = b'{"machine": "M-1", "order": "1", "pieces": %b, "from": "good", "to": "scrap", "reason": "dent"}'
    token = bench.token()
    for number, (pieces, taken) in enumerate(((b"7.0", 7), (b"9007199254740993.0", 2**53 + 1), (b"7e2", 700))):
        answer = await bench.ask("POST", "/v1/orders/reclassify", text % pieces, token=token, key=str(number))
        assert answer.status == 200, answer.body
        assert bench.told[-1]["pieces"] == taken
        assert type(bench.told[-1]["pieces"]) is int
    for pieces in (b"1e999999999", b"-1e-999999999", b"0.0", b"7." + b"0" * 900 + b"1"):
        assert (await bench.ask("POST", "/v1/orders/reclassify", text % pieces, token=token)).status == 422
    assert len(bench.told) == 3


async def test_a_missing_field_is_named(bench):
    answer = await bench.start_order({"machine": "M-1"}, token=bench.token())
    assert answer.json["errors"] == [
        {"field": "order", "found": "nothing", "allowed": "a text of 1 to 300 characters in one line, without control "
         "characters"}
    ]  # fmt: skip


# --- the same decision twice -----------------------------------------------------------------------------------------


async def test_the_same_key_gets_the_same_answer_and_nothing_is_done_twice(bench):
    token = bench.token()
    first = await bench.start_order(token=token, key="a")
    again = await bench.start_order(token=token, key="a")
    assert (again.status, again.body) == (first.status, first.body)
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert len(bench.told) == 1
    await bench.start_order(token=token, key="b")
    assert len(bench.told) == 2


async def test_a_refusal_is_replayed_too(bench, refused):
    token = bench.token()
    bench.fail = refused("not now", guard="BUSY")
    first = await bench.start_order(token=token)
    bench.fail = None
    again = await bench.start_order(token=token)
    assert (again.status, again.body) == (409, first.body)
    assert len(bench.told) == 1


async def test_what_surely_was_not_done_may_be_tried_with_the_same_key(bench):
    token = bench.token()
    bench.fail = StoreError("the disk is full")
    assert (await bench.start_order(token=token)).status == 503
    bench.fail = None
    assert (await bench.start_order(token=token)).status == 200


async def test_another_request_under_the_same_key_is_refused(bench):
    token = bench.token()
    await bench.start_order(token=token)
    for path, body in (("start", {**START, "order": "4712"}), ("finish", START)):
        answer = await bench.ask("POST", f"/v1/orders/{path}", body, token=token)
        assert (answer.status, answer.json["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert len(bench.told) == 1
    # The order of the keys is no difference.
    assert (await bench.start_order(dict(reversed(START.items())), token=token)).status == 200
    assert len(bench.told) == 1


async def test_a_key_is_its_users_own(bench):
    await bench.start_order(token=bench.token("anna"))
    await bench.start_order(token=bench.token("berta"))
    assert [told["who"] for told in bench.told] == ["anna", "berta"]


async def test_a_key_is_forgotten_after_its_time(bench):
    token = bench.token()
    await bench.start_order(token=token)
    bench.now_ns += 599 * 10**9
    await bench.start_order(token=token)
    assert len(bench.told) == 1
    bench.now_ns += 2 * 10**9
    await bench.start_order(token=token)
    assert len(bench.told) == 2


async def test_keys_are_bounded_and_none_is_forgotten_before_its_time(bench, monkeypatch):
    monkeypatch.setattr("gateway.api.replays.KEYS_PER_USER_MAX", 3)
    token, other = bench.token("anna"), bench.token("berta")
    for key in "abc":
        assert (await bench.start_order(token=token, key=key)).status == 200
    answer = await bench.start_order(token=token, key="d")
    assert (answer.status, answer.headers["retry-after"]) == (429, "601")
    assert (await bench.start_order(token=token, key="a")).headers["idempotency-replayed"] == "true"
    assert (await bench.start_order(token=other, key="d")).status == 200
    bench.now_ns += 601 * 10**9
    assert (await bench.start_order(token=token, key="d")).status == 200


async def test_a_decision_goes_on_when_nobody_waits_and_its_key_finds_the_end(make):
    bench = await make(timeout=Duration("1 s"))
    bench.hold = asyncio.Event()
    token = bench.token()
    answer = await bench.start_order(token=token)
    assert (answer.status, answer.json["code"]) == (504, "ANSWER_TIMEOUT")
    assert "same Idempotency-Key" in answer.json["what_to_do"]
    bench.hold.set()
    assert (await bench.start_order(token=token)).json == {"done": "order.start done"}
    assert len(bench.told) == 1


async def test_who_is_not_answered_before_the_end_is_told_so_and_the_log_has_no_defect(make, monkeypatch, caplog):
    bench = await make()
    bench.hold = asyncio.Event()
    monkeypatch.setattr(bench.server._server.config, "timeout_graceful_shutdown", 0.05)
    asking = [
        asyncio.create_task(bench.start_order(token=bench.token())),
        asyncio.create_task(bench.ask("GET", "/v1/status", token=bench.token())),
    ]
    await bench.until(lambda: len(bench.told) == 2)
    await bench.server.close()
    decision, question = await asyncio.gather(*asking)
    assert (decision.status, decision.json["code"]) == (504, "ANSWER_TIMEOUT"), (
        "it may be done: 503 says that it is not"
    )
    assert (question.status, question.json["code"]) == (503, "BUSY")
    for answer in (decision, question):
        assert "the gateway is stopping" in answer.json["detail"]
        assert "same Idempotency-Key" in answer.json["what_to_do"]
    assert "Exception in ASGI application" not in caplog.text


async def test_who_is_cut_off_before_his_body_came_is_told_so(make, monkeypatch, caplog):
    """The answer waits for the rest of a short body: until then none has begun."""
    bench = await make()
    began, drain, limits = asyncio.Event(), gate._Body.drain, iter((60.0, 0.05))

    async def draining(body):
        began.set()
        monkeypatch.setattr(gate, "DRAIN_S", next(limits))
        await drain(body)

    monkeypatch.setattr(gate._Body, "drain", draining)
    monkeypatch.setattr(bench.server._server.config, "timeout_graceful_shutdown", 0.05)
    head = f"POST /v1/orders/start HTTP/1.1\r\nHost: 127.0.0.1:{bench.port}\r\nContent-Length: 5\r\n\r\n"
    asking = asyncio.create_task(bench.raw(head.encode()))
    await asyncio.wait_for(began.wait(), 60)
    await bench.server.close()
    answer = await asking
    assert (answer.status, answer.json["code"]) == (504, "ANSWER_TIMEOUT")
    assert "Exception in ASGI application" not in caplog.text


async def test_two_at_the_same_moment_are_one_decision(bench):
    bench.hold = asyncio.Event()
    token = bench.token()
    both = [asyncio.create_task(bench.start_order(token=token)) for _ in range(2)]
    await bench.until(lambda: bench.told)
    bench.hold.set()
    answers = await asyncio.gather(*both)
    assert {answer.status for answer in answers} == {200}
    assert len(bench.told) == 1


@pytest.mark.parametrize("key", [None, "", "two words", "x" * 65, "\xe4"])
async def test_a_decision_needs_a_key(bench, key):
    answer = await bench.start_order(token=bench.token(), Idempotency_Key=key)
    assert (answer.status, answer.json["code"]) == (400, "BAD_HEADER")
    assert bench.told == []


class _Machine:
    """Notes under which key it is told something."""

    def __init__(self, heard, name):
        self.unit = SimpleNamespace(rules=SimpleNamespace(orders=SimpleNamespace(shares_with=None)))
        self._heard, self._name = heard, name

    async def submit(self, _entry):
        self._heard.append((self._name, TAKEN.get()))
        return ()


@pytest.mark.parametrize("verb", ["hold.set", "hold.release"])
async def test_a_hold_of_all_machines_keeps_its_key_with_the_last_of_them(verb):
    """Else the same key, sent again after a death in between, would be answered as done where it is half done."""
    heard = []
    machines = {name: _Machine(heard, name) for name in ("M-1", "M-2", "M-3")}
    verbs = HoldVerbs(SimpleNamespace(runners=machines), SimpleNamespace(now_ns=lambda: 1)).table()
    asked = {"verb": verb, "scope": "product", "name": "P", "reason": "crack", "who": "anna"}
    key = TakenKey("anna", "k1", b"", 1)
    TAKEN.set(key)
    await verbs[verb](asked)
    assert heard == [("M-1", None), ("M-2", None), ("M-3", key)]
    del heard[:]
    TAKEN.set(key)
    await verbs[verb]({**asked, "machine": "M-2"})
    assert heard == [("M-2", key)]


@pytest.mark.parametrize("verb", ["hold.set", "hold.release"])
async def test_a_hold_of_all_machines_waits_for_none_of_them_before_the_next(verb):
    """A machine whose device is silent waits for its counters: what the others make meanwhile would be on no hold."""
    heard, all_but_one = [], asyncio.Event()

    class Silent(_Machine):
        async def submit(self, entry):
            done = await super().submit(entry)
            if len(heard) == 3:
                all_but_one.set()
            await all_but_one.wait()
            return done

    machines = {name: Silent(heard, name) for name in ("M-1", "M-2", "M-3", "M-4")}
    verbs = HoldVerbs(SimpleNamespace(runners=machines), SimpleNamespace(now_ns=lambda: 1)).table()
    async with asyncio.timeout(60):
        answer = await verbs[verb]({"verb": verb, "scope": "product", "name": "P", "reason": "crack", "who": "anna"})
    assert [name for name, _ in heard] == ["M-1", "M-2", "M-3", "M-4"]
    assert answer.endswith("; ".join(f"{name} (no order changed)" for name in machines))


async def test_a_machine_that_cannot_take_a_hold_is_named_and_the_last_one_with_the_key_is_not_told():
    heard = []

    class Ended(_Machine):
        async def submit(self, entry):
            await super().submit(entry)
            raise RequestError("M-1 has ended", guard="STOPPING", what_to_do="ask again")

    machines = {"M-1": Ended(heard, "M-1"), "M-2": _Machine(heard, "M-2"), "M-3": _Machine(heard, "M-3")}
    verbs = HoldVerbs(SimpleNamespace(runners=machines), SimpleNamespace(now_ns=lambda: 1)).table()
    with pytest.raises(RequestError, match="M-1 has ended"):
        await verbs["hold.set"]({"verb": "hold.set", "scope": "product", "name": "P", "who": "anna"})
    assert [name for name, _ in heard] == ["M-1", "M-2"]
