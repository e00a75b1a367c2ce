"""A screen that waits for a change: it is told at once, takes nobody's room meanwhile, and learns what it missed."""

from __future__ import annotations

import asyncio

import pytest

from gateway.access import tokens, users
from gateway.api.changes import EVENTS_MAX, SPACING_S, Changes
from gateway.api.problem import ProblemError
from gateway.core.model import Notice
from gateway.core.refusal import REFUSED

NOTICE = Notice(5 * 10**9, "LOT_MISSING", (("feeder", "F-1"), ("order", "4711"), ("operation", "0010")))


@pytest.fixture
def changes():
    return Changes(255, lambda ns: ns)


async def asked(changes, **more):
    return await changes.table()["changes"]({"verb": "changes", **more})


async def test_the_first_answer_names_everything_and_gives_a_cursor(changes):
    changes.committed("M-1", (NOTICE,))
    first = await asked(changes, wait=30)
    assert first == {
        "cursor": "ff-1", "everything": True, "machines": ["M-1"], "postings": True, "events": [],
        "events_missed": True,
    }  # fmt: skip
    again = await asked(changes, after="ff-1")
    assert (again["everything"], again["machines"], again["postings"]) == (False, [], False)
    assert await asked(changes, after="fe-1", wait=30) == first, "of another run"
    assert (await asked(changes, after="ff-9", wait=30))["everything"], "of a number that was not given yet"


async def test_what_happened_since_is_told_with_its_words(changes):
    changes.committed("M-1", (NOTICE, Notice(1, REFUSED, (("why", "no"),))))
    changes.committed("M-2", ())
    found = await asked(changes, after="ff-0")
    assert found["machines"] == ["M-1", "M-2"]
    assert found["events"] == [
        {
            "number": 1, "at": "1970-01-01T00:00:05.000Z", "machine": "M-1", "what": "notice", "code": "LOT_MISSING",
            "order": "4711", "operation": "0010", "detail": {"feeder": "F-1"},
        }
    ]  # fmt: skip
    assert not found["events_missed"]
    of_one = await asked(changes, after="ff-0", machine="M-2")
    assert (of_one["machines"], of_one["events"]) == (["M-2"], [])


async def test_events_that_are_gone_are_said_to_be_missed(changes):
    for _ in range(EVENTS_MAX + 5):
        changes.committed("M-1", (NOTICE,))
    found = await asked(changes, after="ff-0")
    assert (len(found["events"]), found["events_missed"]) == (EVENTS_MAX, True)
    assert not (await asked(changes, after=f"ff-{EVENTS_MAX}"))["events_missed"]


async def test_one_of_several_events_of_a_commit_that_is_gone_is_missed_too(changes):
    changes.committed("M-1", (NOTICE, NOTICE))
    for _ in range(EVENTS_MAX - 1):
        changes.committed("M-1", (NOTICE,))
    assert (await asked(changes, after="ff-0"))["events_missed"]
    assert not (await asked(changes, after="ff-1"))["events_missed"]
    for _ in range(3):
        changes.committed("M-2", ())
    assert not (await asked(changes, after=f"ff-{EVENTS_MAX}"))["events_missed"]


async def test_other_machines_and_rules_after_a_reload_are_read_anew():
    known = {"M-1": 1, "M-2": 2}
    changes = Changes(255, lambda ns: ns, known)
    changes.committed("M-2", ())
    with pytest.raises(ProblemError, match="found 'M-3', allowed: M-1, M-2"):
        await asked(changes, machine="M-3")
    waits = asyncio.create_task(asked(changes, after="ff-1", wait=30, machine="M-1"))
    await asyncio.sleep(0)
    del known["M-2"]
    known["M-3"] = 3
    changes.configured()
    async with asyncio.timeout(60):
        told = await waits
    assert (told["everything"], told["cursor"]) == (True, "ff-2")
    changes.committed("M-3", (NOTICE,))
    after = await asked(changes, after=told["cursor"], machine="M-3")
    assert (after["everything"], after["machines"], len(after["events"])) == (False, ["M-3"], 1)
    assert (await asked(changes))["machines"] == ["M-3"], "a machine that is gone is named no more"


async def test_who_waits_is_told_of_his_machine_and_of_postings_alone(changes):
    waits = asyncio.create_task(asked(changes, after="ff-0", wait=30, machine="M-1"))
    await asyncio.sleep(0)
    changes.committed("M-2", ())
    await asyncio.sleep(SPACING_S + 0.1)  # a stretch of time in which it must not be answered
    assert not waits.done()
    changes.committed("M-1", ())
    async with asyncio.timeout(60):
        assert (await waits)["machines"] == ["M-1"]
    waits = asyncio.create_task(asked(changes, after="ff-2", wait=30, machine="M-1"))
    await asyncio.sleep(0)
    changes.posting_moved()
    async with asyncio.timeout(60):
        assert (await waits)["postings"]


async def test_without_a_change_the_answer_comes_when_the_time_is_over(changes):
    async with asyncio.timeout(60):
        found = await asked(changes, after="ff-0", wait=1)
    assert found == {
        "cursor": "ff-0", "everything": False, "machines": [], "postings": False, "events": [], "events_missed": False,
    }  # fmt: skip


async def test_a_machine_that_never_rests_does_not_make_a_screen_ask_for_ever(changes):
    loop, cursor = asyncio.get_running_loop(), "ff-0"
    began_s = loop.time()
    for number in range(1, 4):
        changes.committed("M-1", ())
        cursor = (await asked(changes, after=cursor, wait=30))["cursor"]
        assert cursor == f"ff-{number}"
    assert loop.time() - began_s >= 3 * SPACING_S


async def test_who_waits_takes_nobodys_room(make):
    bench = await make(concurrent=1, waiting=1)
    token = bench.token()
    waits = asyncio.create_task(bench.ask("GET", f"/v1/changes?after={bench.changes._run}-0&wait=30", token=token))
    await bench.until(lambda: bench.changes._waiting)
    assert (await bench.ask("GET", "/v1/me", token=token)).status == 200
    full = await bench.ask("GET", f"/v1/changes?after={bench.changes._run}-0&wait=30", token=token)
    assert (full.status, full.json["code"], full.headers["retry-after"]) == (503, "BUSY", "1")
    assert "api.waiting_requests" in full.json["detail"]
    bench.changes.committed("M-1", ())
    assert (await waits).json["machines"] == ["M-1"]
    assert (await bench.ask("GET", "/v1/changes", token=token)).status == 200


async def test_one_token_does_not_take_the_room_of_all_who_wait(make):
    bench = await make(waiting=3, waiting_per_token=1)
    token, other = bench.token(), bench.token("bert")
    path = f"/v1/changes?after={bench.changes._run}-0&wait=30"
    waits = [asyncio.create_task(bench.ask("GET", path, token=token))]
    await bench.until(lambda: len(bench.changes._waiting) == 1)
    full = await bench.ask("GET", path, token=token)
    assert (full.status, full.json["code"]) == (503, "BUSY")
    assert "1 of this token, allowed: 1 (api.waiting_per_token)" in full.json["detail"]
    waits.append(asyncio.create_task(bench.ask("GET", path, token=other)))
    await bench.until(lambda: len(bench.changes._waiting) == 2)
    bench.changes.committed("M-1", ())
    assert [(await one).status for one in waits] == [200, 200]
    assert (await bench.ask("GET", "/v1/changes", token=token)).status == 200, "its place is free again"


async def test_who_has_gone_waits_no_longer(make):
    bench = await make(waiting=1)
    token = bench.token()
    _reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    head = f"GET /v1/changes?after={bench.changes._run}-0&wait=30 HTTP/1.1\r\nHost: localhost\r\n"
    writer.write(f"{head}Authorization: Bearer {token}\r\n\r\n".encode())
    await bench.until(lambda: bench.changes._waiting)
    writer.close()
    await bench.until(lambda: not bench.changes._waiting)
    assert (await bench.ask("GET", "/v1/changes", token=token)).status == 200


@pytest.mark.parametrize("ending", ["revoked", "expired"])
async def test_who_waits_is_told_as_soon_as_his_token_is_worth_nothing(make, ending):
    bench = await make(waiting=2)
    token, other = bench.token(days=1), bench.token("bert")
    path = f"/v1/changes?after={bench.changes._run}-0&wait=30"
    waits, stays = (asyncio.create_task(bench.ask("GET", path, token=one)) for one in (token, other))
    await bench.until(lambda: len(bench.changes._waiting) == 2)
    if ending == "expired":
        bench.now_ns += 86_400 * 10**9
    else:
        number = token.split("_")[1]
        bench.file.change(lambda held: tokens.revoke_token(held, number, by="t", at_ns=bench.now_ns, reason="lost"))
    async with asyncio.timeout(15):  # half of what it would wait for
        answer = await waits
    assert (answer.status, answer.json["code"], ending in answer.json["detail"]) == (401, "NOT_AUTHENTICATED", True)
    assert not stays.done()
    bench.changes.committed("M-1", ())
    assert (await stays).status == 200


async def test_what_happens_after_the_end_of_a_token_is_not_told_to_it(make):
    bench = await make(waiting=1)
    token = bench.token()
    path = f"/v1/changes?after={bench.changes._run}-0&wait=30"
    waits = asyncio.create_task(bench.ask("GET", path, token=token))
    await bench.until(lambda: bench.changes._waiting)
    bench.file.change(lambda held: users.revoke_user(held, "anna", by="t", at_ns=bench.now_ns, reason="left"))
    bench.changes.committed("M-1", ())
    assert (await waits).status == 401


async def test_nobody_holds_up_the_end(make):
    bench = await make(waiting=1)
    token = bench.token()
    waits = asyncio.create_task(bench.ask("GET", f"/v1/changes?after={bench.changes._run}-0&wait=30", token=token))
    await bench.until(lambda: bench.changes._waiting)
    bench.changes.close()
    async with asyncio.timeout(60):
        assert (await waits).status == 200


@pytest.mark.parametrize("query", ["after=1", "after=ff-", "wait=31", "wait=-1", "wait=1.5", "machine=../x", "since=1"])
async def test_a_wrong_question_is_refused(make, query):
    bench = await make(waiting=1)
    assert (await bench.ask("GET", f"/v1/changes?{query}", token=bench.token())).json["code"] == "BAD_FIELD"
