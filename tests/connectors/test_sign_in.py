"""Signing in: a real token server over TLS, client certificates, cookies; and no secret in any text."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import ssl
from types import SimpleNamespace
from urllib.parse import parse_qs

import pytest

from gateway.connectors.base import ConnectorContext, ConnectorError, OutcomeKind
from gateway.connectors.cookies import Cookies
from gateway.connectors.http import HttpAnswer, TransportError
from gateway.connectors.sign_in import SignIn
from gateway.connectors.signed_client import SignedClient, SignInRefusedError, outcome_of_failure
from gateway.core.duration import Duration
from gateway.core.secret import SecretRef
from simulators.certificates import make_certificates

SECRET = "s3cret-canary"
REF = SecretRef(env="NOT_READ_HERE")


class Server:
    """Answers each request with what ``said(method, path, headers, body)`` gives: status, document, headers."""

    def __init__(self, said, context=None):
        self.said, self.context, self.asked, self.tasks = said, context, [], set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.context)
        self.url = f"{'https' if self.context else 'http'}://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def serve(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split()
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.asked.append((method, path, headers, body.decode()))
                status, document, more = self.said(method, path, headers, body.decode())
                data = document if isinstance(document, bytes) else json.dumps(document).encode()
                lines = [f"HTTP/1.1 {status} x", "Content-Type: application/json", f"Content-Length: {len(data)}"]
                writer.write("\r\n".join([*lines, *more, "", ""]).encode() + data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.transport.abort()


class Tokens:
    """A token server: counts up; ``good`` are the tokens that the target takes."""

    def __init__(self):
        self.given, self.good, self.answer, self.lifetime = 0, set(), None, 3600

    def said(self, _method, path, headers, body):
        if path == "/token":
            self.form = {name: values[0] for name, values in parse_qs(body).items()}
            self.headers = headers
            if self.answer is not None:
                return self.answer
            self.given += 1
            self.good = {f"Bearer T{self.given}"}
            return 200, {"access_token": f"T{self.given}", "token_type": "Bearer", "expires_in": self.lifetime}, ()
        good = headers.get("authorization") in self.good
        return (200, {"ok": True}, ()) if good else (401, {"error": "expired"}, ())


@pytest.fixture
def certificates(tmp_path):
    return make_certificates(tmp_path / "pki", "127.0.0.1")


@pytest.fixture
def tls(certificates):
    def made(*, ask=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.server_cert, certificates.server_key)
        if ask:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(certificates.ca)
        return context

    return made


@pytest.fixture
def context(tmp_path):
    def made(**secrets):
        named = {f"sign_in.{name.replace('__', '.')}": text for name, text in secrets.items()}
        return ConnectorContext(name="erp", gateway_id="g", now_ns=lambda: 0, secrets=named, base_dir=tmp_path)

    return made


@pytest.fixture
async def signed(context):
    opened = []

    async def made(server, sign_in, now=None, ca_file="pki/ca.pem", **secrets):
        clock = None if now is None else (lambda: now.s)
        client = SignedClient(
            server.url, sign_in, context(**secrets), timeout_ns=Duration("60 s"), ca_file=ca_file, monotonic_s=clock
        )
        opened.append(client)
        await client.open()
        return client

    yield made
    for client in opened:
        await client.close()


def oauth2(server, **more):
    return SignIn(
        method="oauth2", token_url=f"{server.url}/token", client_id="gw", client_secret=REF, scope="https://erp/.default",
        token_ca_file="pki/ca.pem", **more,
    )  # fmt: skip


async def test_a_token_is_asked_for_once_and_renewed_a_minute_before_its_end(tls, signed):
    tokens, now = Tokens(), SimpleNamespace(s=1000.0)
    async with Server(tokens.said, tls()) as server:
        client = await signed(server, oauth2(server), now, client_secret=SECRET)
        answers = await asyncio.gather(*(client.request("GET", "/orders") for _ in range(4)))
        assert [one.status for one in answers] == [200] * 4
        assert tokens.given == 1, "one renewal at a time, kept for all"
        assert tokens.form == {
            "grant_type": "client_credentials", "scope": "https://erp/.default", "client_id": "gw",
            "client_secret": SECRET,
        }  # fmt: skip
        now.s = 1000 + 3539
        await client.request("GET", "/orders")
        assert tokens.given == 1
        now.s = 1000 + 3541
        assert (await client.request("GET", "/orders")).status == 200
        assert tokens.given == 2
        assert "T2" in client.secrets


async def test_a_token_that_expired_early_is_renewed_once_and_one_that_is_refused_is_told(tls, signed):
    tokens = Tokens()
    async with Server(tokens.said, tls()) as server:
        client = await signed(server, oauth2(server, client_in="header"), client_secret=SECRET)
        assert (await client.request("POST", "/book", body=b"{}")).status == 200
        assert tokens.headers["authorization"].startswith("Basic ")
        tokens.good = set()
        assert (await client.request("POST", "/book", body=b"{}")).status == 200, "renewed"
        assert [path for _, path, _, _ in server.asked] == ["/token", "/book", "/book", "/token", "/book"]
        tokens.said_before = tokens.said
        server.said = lambda *asked: (401, {}, ()) if asked[1] != "/token" else tokens.said(*asked)
        before = len(server.asked)
        assert (await client.request("POST", "/book", body=b"{}")).status == 401
        assert [path for _, path, _, _ in server.asked[before:]] == ["/book", "/token", "/book"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((400, {"error": "invalid_client", "error_description": f"bad {SECRET}"}, ()), OutcomeKind.AUTH),
        ((401, {"error": "invalid_client"}, ()), OutcomeKind.AUTH),
        ((403, b"<html>", ()), OutcomeKind.AUTH),
        ((400, {"error": "temporarily_unavailable"}, ()), OutcomeKind.NOT_SENT),
        ((429, {}, ()), OutcomeKind.NOT_SENT),
        ((503, b"", ()), OutcomeKind.NOT_SENT),
        ((404, b"", ()), OutcomeKind.NOT_SENT),
        ((200, b"<html>sign in</html>", ()), OutcomeKind.NOT_SENT),
        ((200, {"access_token": "a b"}, ()), OutcomeKind.NOT_SENT),
        ((200, {"access_token": "T", "token_type": "mac"}, ()), OutcomeKind.NOT_SENT),
        ((200, [1], ()), OutcomeKind.NOT_SENT),
    ],
)
async def test_what_a_token_server_may_say(tls, signed, answer, kind):
    tokens = Tokens()
    tokens.answer = answer
    async with Server(tokens.said, tls()) as server:
        client = await signed(server, oauth2(server), client_secret=SECRET)
        with pytest.raises(TransportError) as refused:
            await client.request("POST", "/book", body=b"{}")
        assert outcome_of_failure(refused.value).kind is kind
        assert SECRET not in str(refused.value)
        assert [path for _, path, _, _ in server.asked] == ["/token"], "the target was not asked"


@pytest.mark.parametrize("lifetime", [0, -3600, "soon", "-1", None, True, 10**400, float("nan"), 3600.5, [1], "3600"])
async def test_whatever_lifetime_a_token_server_names_the_token_is_used(tls, signed, lifetime):
    """One that expired in the past too: the target says so with 401, and is asked once more with a new one."""
    tokens, now = Tokens(), SimpleNamespace(s=1000.0)
    tokens.lifetime = lifetime
    async with Server(tokens.said, tls()) as server:
        client = await signed(server, oauth2(server), now, client_secret=SECRET)
        assert (await client.request("GET", "/orders")).status == 200
        tokens.good = set()  # it has expired there
        assert (await client.request("GET", "/orders")).status == 200
        assert tokens.given == 2


async def test_a_clock_on_the_wall_that_steps_ends_no_token(tls, signed, context):
    """Lengths are measured by a clock that never steps; where it goes on, the token ends."""
    tokens, now, wall = Tokens(), SimpleNamespace(s=1000.0), SimpleNamespace(ns=0)
    async with Server(tokens.said, tls()) as server:
        stepping = dataclasses.replace(context(client_secret=SECRET), now_ns=lambda: wall.ns)
        client = SignedClient(
            server.url, oauth2(server), stepping, timeout_ns=Duration("60 s"), ca_file="pki/ca.pem",
            monotonic_s=lambda: now.s,
        )  # fmt: skip
        await client.open()
        for step_s in (0, 10 * 365 * 86_400, -10 * 365 * 86_400):
            wall.ns += step_s * 10**9
            assert (await client.request("GET", "/orders")).status == 200
        assert tokens.given == 1
        now.s += 3600
        assert (await client.request("GET", "/orders")).status == 200
        assert tokens.given == 2
        await client.close()


async def test_a_token_server_that_says_nothing_ends_in_time_and_the_target_is_not_asked(signed, context):
    async def said_nothing(reader, writer):
        await reader.read()  # until the client gives up
        writer.close()

    silent = await asyncio.start_server(said_nothing, "127.0.0.1", 0)
    async with Server(lambda *_: (200, {}, ())) as server:
        port = silent.sockets[0].getsockname()[1]
        sign_in = SignIn(method="oauth2", token_url=f"http://127.0.0.1:{port}/t", client_id="gw", client_secret=REF)
        client = SignedClient(server.url, sign_in, context(client_secret=SECRET), timeout_ns=Duration("100 ms"))
        await client.open()
        with pytest.raises(TransportError, match=r"token server: .*no complete answer within 0.1 s") as failed:
            await client.request("POST", "/book", body=b"{}")
        assert outcome_of_failure(failed.value).kind is OutcomeKind.NOT_SENT
        assert SECRET not in str(failed.value)
        assert not server.asked
        await client.close()
    silent.close()


async def test_a_refusal_is_remembered_for_a_moment(tls, signed):
    tokens, now = Tokens(), SimpleNamespace(s=0.0)
    tokens.answer = (401, {"error": "invalid_client"}, ())
    async with Server(tokens.said, tls()) as server:
        client = await signed(server, oauth2(server), now, client_secret=SECRET)
        for _ in range(3):
            with pytest.raises(SignInRefusedError):
                await client.request("GET", "/orders")
        assert len(server.asked) == 1
        now.s, tokens.answer = 2.0, None
        assert (await client.request("GET", "/orders")).status == 200


async def test_a_token_server_that_is_away_is_not_sent(tls, signed):
    tokens = Tokens()
    async with Server(tokens.said, tls()) as server, Server(tokens.said, tls()) as away:
        sign_in = oauth2(away)
        away.server.close()
        client = await signed(server, sign_in, client_secret=SECRET)
        with pytest.raises(TransportError, match="token server") as failed:
            await client.request("POST", "/book", body=b"{}")
        assert outcome_of_failure(failed.value).kind is OutcomeKind.NOT_SENT
        assert not server.asked


async def test_basic_bearer_none_and_further_headers(signed):
    async with Server(lambda *_: (200, {}, ())) as server:
        ways = [
            (SignIn(), {}, None),
            (SignIn(method="basic", username="ann", password=REF), {"password": "p"}, "Basic YW5uOnA="),
            (SignIn(method="bearer", token=REF), {"token": "tok"}, "Bearer tok"),
        ]
        for sign_in, secrets, header in ways:
            client = await signed(server, sign_in, ca_file=None, **secrets)
            await client.request("GET", "/x")
            assert server.asked[-1][2].get("authorization") == header
        more = SignIn(headers={"Company": "CRONUS"}, secret_headers={"APIKey": REF})
        client = await signed(server, more, ca_file=None, secret_headers__APIKey="k-1")
        await client.request("GET", "/x")
        assert (server.asked[-1][2]["company"], server.asked[-1][2]["apikey"]) == ("CRONUS", "k-1")


async def test_a_client_certificate_is_shown_with_the_password_of_its_key(tls, signed, certificates, tmp_path):
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(certificates.client_key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"open-sesame")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    (tmp_path / "locked.key").write_bytes(pem)
    own = {"certificate_file": "pki/client.pem", "key_file": "locked.key", "key_password": REF}
    async with Server(lambda *_: (200, {}, ()), tls(ask=True)) as server:
        client = await signed(server, SignIn(method="certificate", **own), key_password="open-sesame")
        assert (await client.request("GET", "/x")).status == 200
        nobody = await signed(server, SignIn())
        with pytest.raises(TransportError):
            await nobody.request("GET", "/x")
        for password in ("wrong-canary", ""):
            with pytest.raises(ConnectorError, match=r"client\.pem") as refused:
                await signed(server, SignIn(method="certificate", **own), key_password=password)
            assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"method": "basic", "username": "a"}, "password"),
        ({"method": "bearer"}, "token"),
        ({"method": "oauth2", "client_id": "a", "client_secret": REF}, "token_url"),
        ({"method": "certificate"}, "certificate_file"),
        ({"method": "none", "username": "a"}, "username"),
        ({"method": "bearer", "token": REF, "scope": "x"}, "scope"),
        ({"key_file": "a.key"}, "certificate_file"),
        ({"method": "oauth2", "token_url": "http://erp/t", "client_id": "a", "client_secret": REF}, "token_url.*https"),
        ({"headers": {"a b": "c"}}, "headers"),
        ({"headers": {"a": "b\nc"}}, "headers.a"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        SignIn(**settings)


def test_a_missing_secret_is_named_and_the_text_for_people_has_none():
    text = str(oauth2(SimpleNamespace(url="https://login.example.com")))
    assert text == "sign-in oauth2 as gw at https://login.example.com/token"


async def test_a_secret_that_was_not_handed_in_is_named(context):
    client = SignedClient("http://127.0.0.1:1", SignIn(method="bearer", token=REF), context(), timeout_ns=10**9)
    with pytest.raises(ConnectorError, match=r"sign_in\.token"):
        await client.open()


async def test_cookies_are_kept_by_us_alone(signed):
    lines = ("Set-Cookie: SID=a1; Path=/; HttpOnly; Expires=Wed, 09 Jun 2100 10:18:14 GMT", "Set-Cookie: lang=en")
    async with Server(lambda *_: (200, {}, lines)) as server:
        client, cookies = await signed(server, SignIn(), ca_file=None), Cookies()
        cookies.keep(await client.request("GET", "/1"))
        await client.request("GET", "/2")
        assert "cookie" not in server.asked[-1][2], "nothing is kept behind our back"
        await client.request("GET", "/3", headers=cookies.header())
        assert server.asked[-1][2]["cookie"] == "SID=a1; lang=en"
        cookies.keep(HttpAnswer(200, {}, b"", ("lang=; Path=/", "SID=x; Max-Age=0")))
        assert cookies.header() == {}
        cookies.keep(HttpAnswer(200, {}, b"", ("SID=b; Max-Age=3600",)))
        assert "SID" in cookies
        cookies.clear()
        assert "SID" not in cookies
