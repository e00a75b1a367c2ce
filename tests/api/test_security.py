"""What must not get through: each attempt is refused, logged without secrets, and reaches no verb."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
import structlog
from kept_waiting import Deadline

from gateway.control import RequestError
from gateway.core.duration import Duration

START = {"machine": "M-1", "order": "4711"}
RECLASSIFY = {"machine": "M-1", "order": "1", "pieces": 1, "from": "good", "to": "scrap", "reason": "dent"}


def lines(logged):
    return [one for one in logged if one["event"] == "api request refused"]


# --- who -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic bGc6bGc=",
        "Bearer lg_00000000_" + "0" * 64,
        "Bearer lg_00000000_" + "0" * 64 + "x" * 1000,
        "Bearer \xff\xfe",
    ],
)
async def test_without_a_token_that_is_accepted_nothing_is_answered(bench, authorization):
    with structlog.testing.capture_logs() as logged:
        for method, path, body in (("GET", "/v1/status", None), ("POST", "/v1/orders/start", START)):
            answer = await bench.ask(method, path, body, Authorization=authorization)
            assert (answer.status, answer.json["code"]) == (401, "NOT_AUTHENTICATED")
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert bench.told == []
    assert len(lines(logged)) == 2


async def test_a_token_with_another_secret_is_refused_and_in_no_log_line(bench):
    token = bench.token()
    wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
    with structlog.testing.capture_logs() as logged:
        answer = await bench.start_order(token=wrong)
        assert (await bench.start_order(token=token)).status == 200
    assert answer.status == 401
    assert lines(logged)[0]["code"] == "NOT_AUTHENTICATED UNKNOWN"
    for text in (str(logged), answer.body.decode()):
        assert token not in text
        assert wrong not in text
        assert token.split("_")[2] not in text


async def test_an_expired_token_is_refused(bench):
    token = bench.token(days=1)
    bench.now_ns += 86_400 * 10**9 - 1
    assert (await bench.start_order(token=token)).status == 200
    bench.now_ns += 1
    answer = await bench.start_order(token=token)
    assert (answer.status, "expired" in answer.json["detail"]) == (401, True)
    assert len(bench.told) == 1


async def test_a_revoked_token_is_refused_with_the_next_request(bench):
    from gateway.access import tokens, users

    token, other = bench.token("anna"), bench.token("berta")
    assert (await bench.start_order(token=token)).status == 200
    number = token.split("_")[1]
    bench.file.change(lambda held: tokens.revoke_token(held, number, by="test", at_ns=bench.now_ns, reason="lost"))
    answer = await bench.start_order(token=token, key="new")
    assert (answer.status, "revoked" in answer.json["detail"]) == (401, True)
    bench.file.change(lambda held: users.revoke_user(held, "berta", by="test", at_ns=bench.now_ns, reason="left"))
    assert (await bench.start_order(token=other)).status == 401
    assert len(bench.told) == 1


async def test_two_tokens_are_none(bench):
    token = bench.token()
    two = f"Bearer {token}\r\nAuthorization: Bearer {token}"
    assert (await bench.ask("GET", "/v1/status", Authorization=two)).status == 401


async def test_users_that_cannot_be_read_let_nobody_in(bench):
    token = bench.token()
    bench.file.path.chmod(0o644)
    answer = await bench.start_order(token=token)
    assert (answer.status, answer.json["code"]) == (503, "STORE")
    assert str(bench.file.path) not in answer.body.decode()
    assert bench.told == []


# --- what ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "path", "body"),
    [
        ("planner", "/v1/orders/start", START),
        ("quality", "/v1/orders/start", START),
        ("service", "/v1/orders/finish", START),
        ("planner", "/v1/stops/reason", {"machine": "M-1", "reason": "JAM"}),
        ("quality", "/v1/setups/begin", {"machine": "M-1"}),
        ("planner", "/v1/orders/reclassify", RECLASSIFY),
        ("operator", "/v1/orders/reclassify", {**RECLASSIFY, "from": "hold", "to": "good"}),
        ("operator", "/v1/orders/reclassify", {**RECLASSIFY, "from": "scrap", "to": "good"}),
    ],
)
async def test_a_wrong_role_is_refused_with_the_right_ones(bench, role, path, body):
    token = bench.token("anna", role)
    with structlog.testing.capture_logs() as logged:
        answer = await bench.ask("POST", path, body, token=token)
    assert (answer.status, answer.json["code"]) == (403, "NOT_PERMITTED")
    assert "supervisor" in answer.json["detail"]
    assert answer.json["errors"][0]["found"] == role
    assert bench.told == []
    (line,) = lines(logged)
    assert (line["role"], line["part"].split(" ")[0]) == (role, "anna")
    assert (await bench.ask("POST", path, body, token=bench.token("anna", "supervisor"))).status == 200


@pytest.mark.parametrize(
    ("code", "status", "body", "more"),
    [
        ("BODY_TOO_LARGE", 413, b" " * 4097, {}),
        ("IDEMPOTENCY_KEY_REUSED", 409, {**START, "order": "4712"}, {"key": "used"}),
        ("BAD_HEADER", 400, START, {"key": "two words"}),
        ("BAD_CONTENT_TYPE", 415, START, {"Content_Type": "text/plain"}),
        ("BAD_JSON", 400, b"no json", {}),
        ("BAD_FIELD", 422, {**START, "force": True}, {}),
    ],
)
async def test_what_is_refused_before_its_verb_is_logged_with_who_sent_it_and_nothing_of_what(
    bench, code, status, body, more
):
    token = bench.token()
    assert (await bench.start_order(token=token, key="used")).status == 200
    done = list(bench.told)
    with structlog.testing.capture_logs() as logged:
        answer = await bench.ask("POST", "/v1/orders/start", body, token=token, **more)
    assert (answer.status, answer.json["code"], bench.told) == (status, code, done)
    (line,) = lines(logged)
    assert (line["code"], line["part"], line["credential"]) == (code, "anna order.start", token.split("_")[1])
    assert "4712" not in str(logged)


async def test_who_may_do_nothing_here_is_refused_before_anything_of_his_is_read(bench):
    for body in (b"no json", b'{"unknown": 1}'):
        answer = await bench.ask("POST", "/v1/orders/start", body, token=bench.token("anna", "planner"))
        assert (answer.status, answer.json["code"]) == (403, "NOT_PERMITTED")


async def test_a_refused_role_does_not_use_up_the_key(bench):
    await bench.start_order(token=bench.token("anna", "planner"))
    assert (await bench.start_order(token=bench.token("anna", "operator"))).status == 200


async def test_a_signature_that_is_refused_does_not_use_up_the_key(bench):
    token = bench.token("anna", "supervisor")
    bench.fail = RequestError("SIGNATURE: found a wrong passphrase (1 in a row)", guard="SIGNATURE")
    assert (await bench.start_order(token=token)).json["guard"] == "SIGNATURE"
    bench.fail = None
    answer = await bench.start_order(token=token)
    assert (answer.status, answer.headers.get("idempotency-replayed")) == (200, None)
    assert (await bench.start_order(token=token)).headers["idempotency-replayed"] == "true"
    assert len(bench.told) == 2, "refused, and done once"


# --- how much --------------------------------------------------------------------------------------------------------


async def test_requests_a_minute_are_limited_for_each_token(make):
    bench = await make(per_minute=3)
    token, other = bench.token("anna"), bench.token("berta")
    assert [(await bench.ask("GET", "/v1/me", token=token)).status for _ in range(4)] == [200, 200, 200, 429]
    answer = await bench.start_order(token=token)
    assert (answer.status, answer.headers["retry-after"]) == (429, "21")
    assert (await bench.ask("GET", "/v1/me", token=other)).status == 200
    bench.now_ns += 20 * 10**9
    assert (await bench.ask("GET", "/v1/me", token=token)).status == 200
    assert all(told["verb"] == "me" for told in bench.told)


async def test_guesses_are_limited_and_lock_nobody_out(make):
    bench = await make(failures=5)
    wrong = "lg_00000000_" + "0" * 64
    with structlog.testing.capture_logs() as logged:
        statuses = [(await bench.ask("GET", "/v1/me", token=wrong)).status for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    assert len(lines(logged)) == 5
    assert (await bench.ask("GET", "/v1/me", token=bench.token())).status == 200


async def test_requests_at_a_time_are_limited(make):
    bench = await make(concurrent=2)
    bench.hold = asyncio.Event()
    token = bench.token()
    slow = [asyncio.create_task(bench.start_order(token=token, key=str(one))) for one in range(2)]
    await bench.until(lambda: len(bench.told) == 2)
    answer = await bench.ask("GET", "/health")
    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "BUSY", "1")
    bench.hold.set()
    assert [one.status for one in await asyncio.gather(*slow)] == [200, 200]
    assert (await bench.ask("GET", "/health")).status == 200


async def test_connections_are_limited(make):
    bench = await make(connections=3)
    held = [socket.create_connection(("127.0.0.1", bench.port)) for _ in range(3)]
    try:
        await bench.until(lambda: len(bench.server._server.server_state.connections) == 3)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await bench.ask("GET", "/health")
    finally:
        for one in held:
            one.close()


async def test_a_body_that_says_it_is_too_long_is_not_waited_for(bench):
    answer = await bench.ask(
        "POST", "/v1/orders/start", b"{}", token=bench.token(), Content_Length="4097", Connection="keep-alive"
    )
    assert (answer.status, answer.json["code"]) == (413, "BODY_TOO_LARGE")
    assert answer.headers["connection"] == "close"
    assert bench.told == []


async def test_a_body_that_is_too_long_without_saying_so_is_cut_off(bench):
    piece = b"1000\r\n" + b" " * 4096 + b"\r\n"
    answer = await bench.ask(
        "POST", "/v1/orders/start", piece * 3, token=bench.token(), Content_Length=None, Transfer_Encoding="chunked"
    )
    assert (answer.status, answer.json["code"]) == (413, "BODY_TOO_LARGE")
    assert bench.told == []


async def test_a_slow_body_is_given_up(make):
    bench = await make(timeout=Duration("1 s"))
    answer = await bench.ask("POST", "/v1/orders/start", b'{"machine"', token=bench.token(), Content_Length="50")
    assert (answer.status, answer.json["code"]) == (408, "BODY_TIMEOUT")
    assert answer.headers["connection"] == "close"
    assert bench.told == []


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost: 127", b"GET /heal"])
async def test_a_slow_head_is_given_up(make, sent):
    bench = await make(timeout=Duration("200 ms"))
    began, soon = time.monotonic(), Deadline(4)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await bench.raw(sent)
    assert time.monotonic() - began > 0.15
    assert not soon.over()


async def test_a_head_that_drips_is_given_up_too(make):
    bench = await make(timeout=Duration("1 s"))
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    try:
        writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        soon = Deadline(6)
        with pytest.raises(ConnectionError):  # noqa: PT012 - it drips until it is cut off
            while not soon.over():
                writer.write(b"X")
                await writer.drain()
                if not await _more(reader):
                    raise ConnectionResetError
    finally:
        writer.close()


async def _more(reader):
    try:
        async with asyncio.timeout(0.02):
            return await reader.read(1000) != b""
    except TimeoutError:
        return True


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: " + b"x" * 5000 + b"\r\n\r\n",
        b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"no http\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
        b"POST /v1/orders/start HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/orders/start HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=["header", "path", "text", "tls", "lengths", "negative"],
)
async def test_what_is_no_request_is_refused(bench, head):
    answer = await bench.raw(head)
    assert answer.status in {400, 431}
    assert answer.headers["content-type"] == "application/problem+json"
    assert "4096" in answer.json["detail"]
    assert bench.told == []


# --- how -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"{} {}",
        b'{"machine": "M-1", "machine": "M-2", "order": "1"}',
        b'{"machine": NaN}',
        b"[" * 2000,
        b'{"a":' * 600 + b"1" + b"}" * 600,
        b'{"pieces": ' + b"9" * 3900 + b"0" * 100 + b"1e",
        b"\xff\xfe{\x00}\x00",
        b'{"machine": "M\xff"}',
    ],
    ids=lambda body: repr(body[:20]),
)
async def test_what_is_no_object_in_json_is_refused(bench, body):
    answer = await bench.ask("POST", "/v1/orders/start", body, token=bench.token())
    assert (answer.status, answer.json["code"]) == (400, "BAD_JSON")
    assert len(answer.body) < 1000
    assert bench.told == []


async def test_a_number_of_thousands_of_digits_is_refused(bench):
    answer = await bench.ask("POST", "/v1/orders/reclassify", b'{"pieces": ' + b"9" * 4000 + b"}", token=bench.token())
    assert answer.status in {400, 422}
    assert len(answer.body) < 2000
    assert bench.told == []


@pytest.mark.parametrize("sort", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", None,
                                  "application/json; charset=utf-16"])  # fmt: skip
async def test_another_content_type_is_refused(bench, sort):
    answer = await bench.start_order(token=bench.token(), Content_Type=sort)
    assert (answer.status, answer.json["code"]) == (415, "BAD_CONTENT_TYPE")
    assert bench.told == []


async def test_a_packed_body_is_refused(bench):
    answer = await bench.start_order(token=bench.token(), Content_Encoding="gzip")
    assert (answer.status, answer.json["code"]) == (415, "BAD_CONTENT_TYPE")
    assert bench.told == []


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//v1/status",
        "/v1/status/",
        "/v1//status",
        "/V1/STATUS",
        "/v1/../v1/status",
        "/v1/%2e%2e/v1/status",
        "/v1/status%00",
        "/v1/work-units/..%2f..%2fetc%2fpasswd",
        "/v1/work-units/M-1/secret",
        "/docs",
        "/static/../users.json",
        "/users.json",
        "/v1/orders/start;x=1",
    ],
)
async def test_no_path_but_those_of_the_document(bench, path):
    for method, body in (("GET", None), ("POST", START)):
        answer = await bench.ask(method, path, body, token=bench.token("anna", "supervisor"))
        assert answer.status in {404, 405, 422}, path
        assert answer.headers["content-type"] == "application/problem+json"
    assert bench.told == []


async def test_a_length_beside_pieces_is_refused(bench):
    head = f"POST /v1/orders/start HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {bench.token()}\r\n"
    more = "Idempotency-Key: k\r\nContent-Type: application/json\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"
    answer = await bench.raw(f"{head}{more}\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    assert (answer.status, answer.json["code"], answer.headers["connection"]) == (400, "BAD_HEADER", "close")
    assert bench.told == []


async def test_a_path_takes_its_own_methods_only(bench):
    answer = await bench.ask("GET", "/v1/outbox/approve", token=bench.token())
    assert (answer.status, answer.headers["allow"]) == (405, "POST"), "it is no number of a posting"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "GET", "CONNECT", "PROPFIND"])
async def test_no_other_method(bench, method):
    answer = await bench.ask(method, "/v1/orders/start", token=bench.token())
    assert (answer.status, answer.json["code"], answer.headers["allow"]) == (405, "METHOD_NOT_ALLOWED", "POST")
    assert bench.told == []


async def test_a_page_of_another_site_learns_nothing_and_does_nothing(bench):
    token = bench.token()
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        answer = await bench.start_order(token=token, Origin=origin)
        assert (answer.status, answer.json["code"]) == (403, "FOREIGN_ORIGIN")
        asked = await bench.ask("OPTIONS", "/v1/orders/start", Origin=origin, Access_Control_Request_Method="POST")
        for one in (answer, asked):
            assert not any(name.startswith("access-control") for name in one.headers)
    assert bench.told == []
    own = f"http://127.0.0.1:{bench.port}"
    assert (await bench.start_order(token=token, Origin=own)).status == 200


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", True),
        ("localhost:8420", True),
        ("LOCALHOST", True),
        ("[::1]:8420", True),
        ("box-1.example:443", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example:127.0.0.1", False),
        ("box-1.example@evil.example", False),
        ("192.0.2.1", False),
        ("", False),
        ("127.0.0.1\r\nHost: evil.example", False),
    ],
)
async def test_a_name_that_is_not_its_own_is_refused(bench, host, allowed):
    answer = await bench.start_order(token=bench.token(), Host=host)
    assert (answer.status == 200) is allowed, answer
    assert len(bench.told) == allowed
    if not allowed:
        assert answer.status in {400, 421}


async def test_an_answer_does_not_wait_for_acknowledgements(bench):
    """With Nagle's algorithm each answer on a kept connection takes 40 ms."""
    with socket.create_connection(("127.0.0.1", bench.port)):
        await bench.until(lambda: bench.server._server.server_state.connections)
        (connection,) = bench.server._server.server_state.connections
        taken = connection.transport.get_extra_info("socket")
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_no_answer_is_kept_between_or_taken_for_another_kind(bench):
    for answer in (await bench.ask("GET", "/health"), await bench.ask("GET", "/nothing")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers


async def test_a_proxy_header_does_not_change_who_asks(bench):
    await bench.start_order(token=bench.token(), X_Forwarded_For="203.0.113.9", Forwarded="for=203.0.113.9")
    assert bench.told[0]["client"] == "127.0.0.1"


async def test_what_was_sent_is_in_no_log_line(bench, refused):
    bench.fail = refused("no", guard="REQUEST")
    token = bench.token()
    with structlog.testing.capture_logs() as logged:
        await bench.start_order({"machine": "M-1", "order": "secret-order"}, token=token)
        await bench.start_order({"machine": "M-1", "order": "secret-order", "password": "hunter2"}, token=token)
        await bench.ask("GET", "/v1/me?password=hunter2", token=token)
        await bench.ask("GET", "/hunter2?password=hunter2", token=token)
    said = str(logged)
    assert "api decision" in said
    for secret in (token, token.split("_")[2], "secret-order", "password"):
        assert secret not in said
